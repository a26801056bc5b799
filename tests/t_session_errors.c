/* Runs that are refused, and runs that fail on their way: which code and words, and that a session goes
 * on as if there had been no such run. */
#define _POSIX_C_SOURCE 200809L

#include "graphs.h"

#include <pthread.h>
#include <time.h>

/* A graph y = sum(x * 2) over rows of 3, with what else feeds and fetches may name. */
typedef struct {
    ag_graph *g;
    ag_tensor *x, *y, *h, *k, *w; /* h = x * 2 */
    ag_tensor *v, *two;           /* what fits x, [2, 3], and what does not, [2] */
} errors_graph;

static errors_graph errors_open(ag_context *c)
{
    errors_graph e = { .g = graphs_graph(c),
                       .v = graphs_numbers(c, AG_F32, AG_SHAPE(2, 3)),
                       .two = ag_ones(c, AG_SHAPE(2)) };
    e.x = ag_placeholder(e.g, AG_F32, AG_SHAPE(-1, 3), .name = "x");
    e.h = ag_mul(e.x, 2);
    e.y = ag_sum(e.h);
    e.k = ag_constant(e.g, e.two, .name = "k");
    e.w = ag_variable(e.g, e.two, .name = "w");
    CHECK(e.v && e.y && e.k && e.w && ag_set_name(e.h, "h"));
    return e;
}

/* The session still works. */
#define CHECK_WORKS(e, s) CHECK_SAME(FETCH(s, (e).y, { (e).x, (e).v }), ag_sum(ag_mul((e).v, 2)))

/* ---- feeds ---- */

static void t_feeds_that_are_missing(ag_context *c)
{
    static const char sentence[] =
        "You must feed a value for placeholder tensor 'x' with dtype float32 and shape [-1, 3]";
    const errors_graph e = errors_open(c);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(e.g, graphs_backend[b]);
        CHECK_ERROR(FETCH(s, e.y), AG_ERR_VALUE, sentence);
        CHECK_ERROR(FETCH(s, e.x), AG_ERR_VALUE, sentence);
        CHECK_ERROR(FETCH(s, e.h, { e.k, e.two }, { e.y, ag_scalar(c, 1) }), AG_ERR_VALUE,
                    sentence);
        CHECK_WORKS(e, s);
    }
}

/* What has no name goes by its number in the text of the graph, a feed also by its place. */
static void t_tensors_without_names(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *h = ag_mul(x, 2),
              *z = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 3)), *y = ag_add(h, z),
              *w = ag_variable_empty(g, AG_F32, AG_SHAPE()), *three = ag_ones(c, AG_SHAPE(3));
    CHECK(y && w && three);
    char *text = ag_graph_to_string(g);
    CHECK(text);
    const bool shown = strstr(text, "%2 = mul ") && strstr(text, "%3 = placeholder f32[-1, 3]\n") &&
                       strstr(text, "%5 = variable f32[]\n");
    ag_free(text);
    CHECK(shown);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_ERROR(FETCH(s, y, { x, three }), AG_ERR_VALUE,
                    "You must feed a value for placeholder tensor %3 of ag_graph_to_string "
                    "(placeholder without a name) with dtype float32 and shape [-1, 3]");
        CHECK_ERROR(FETCH(s, y, { x, three }, { z, three }), AG_ERR_SHAPE,
                    "ag_session_run: feed 1: Cannot feed value of shape [3] for tensor %3 of "
                    "ag_graph_to_string (placeholder without a name), which has shape [-1, 3]");
        CHECK_ERROR(FETCH(s, y, { h, three }, { h, three }), AG_ERR_VALUE,
                    "tensor %2 of ag_graph_to_string (mul without a name) is fed twice");
        CHECK_ERROR(FETCH(s, w), AG_ERR_VALUE,
                    "Attempting to use uninitialized value %5 of ag_graph_to_string (variable "
                    "without a name)");
        CHECK_ERROR(ag_variable_set(s, w, three), AG_ERR_SHAPE,
                    "ag_variable_set: Cannot feed value of shape [3] for tensor %5 of ");
        CHECK_ERROR(ag_variable_value(s, w), AG_ERR_VALUE, "uninitialized value %5 of ");
    }
}

static void t_feeds_of_another_dtype_or_shape(ag_context *c)
{
    const errors_graph e = errors_open(c);
    ag_tensor *ints = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_I64),
              *wide = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_F64);
    CHECK(ints && wide);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(e.g, graphs_backend[b]);
        CHECK_ERROR(FETCH(s, e.y, { e.x, ints }), AG_ERR_DTYPE, "'x'");
        CHECK_ERROR(FETCH(s, e.y, { e.x, wide }), AG_ERR_DTYPE, "float64");
        CHECK_ERROR(FETCH(s, e.y, { e.x, e.two }), AG_ERR_SHAPE,
                    "Cannot feed value of shape [2] for tensor 'x', which has shape [-1, 3]");
        CHECK_ERROR(FETCH(s, e.y, { e.x, ag_ones(c, AG_SHAPE(2, 4)) }), AG_ERR_SHAPE,
                    "Cannot feed value of shape [2, 4] for tensor 'x', which has shape [-1, 3]");
        CHECK_ERROR(FETCH(s, e.y, { e.x, ag_ones(c, AG_SHAPE(1, 2, 3)) }), AG_ERR_SHAPE,
                    "Cannot feed value of shape [1, 2, 3] for tensor 'x'");
        /* intermediates, constants and variables too, and what is not needed */
        CHECK_ERROR(FETCH(s, e.y, { e.h, e.two }), AG_ERR_SHAPE,
                    "Cannot feed value of shape [2] for tensor 'h', which has shape [-1, 3]");
        CHECK_ERROR(FETCH(s, e.y, { e.h, wide }), AG_ERR_DTYPE, "'h'");
        CHECK_ERROR(FETCH(s, e.k, { e.k, e.v }), AG_ERR_SHAPE,
                    "Cannot feed value of shape [2, 3] for tensor 'k', which has shape [2]");
        CHECK_ERROR(FETCH(s, e.w, { e.w, ints }), AG_ERR_DTYPE, "'w'");
        CHECK_ERROR(FETCH(s, e.k, { e.x, ints }), AG_ERR_DTYPE, "'x'");
        CHECK_WORKS(e, s);
    }
}

/* Sizes that fit each alone and not each other are found where they meet. */
static void t_feeds_that_do_not_fit_together(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1)),
              *z = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *y = ag_add(x, z),
              *two = ag_ones(c, AG_SHAPE(2)), *three = ag_ones(c, AG_SHAPE(3));
    CHECK(y && two && three);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_ERROR(FETCH(s, y, { x, two }, { z, three }), AG_ERR_SHAPE,
                    "The size of tensor a (2) must match the size of tensor b (3) at non-singleton "
                    "dimension 0");
        CHECK_SAME(FETCH(s, y, { x, two }, { z, two }), ag_mul(two, 2));
    }
}

static void t_feeds_that_are_none(ag_context *c)
{
    const errors_graph e = errors_open(c), other = errors_open(c);
    const ag_feed twice[] = { { e.x, e.v }, { e.h, e.v }, { e.x, e.v } };
    ag_tensor *again = ag_graph_find(e.g, "x"), *t = NULL;
    CHECK(again);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(e.g, graphs_backend[b]);
        CHECK_ERROR(ag_session_run(s, twice, 3, &e.y, 1, &t), AG_ERR_VALUE, "'x'");
        CHECK_ERROR(FETCH(s, e.y, { e.x, e.v }, { again, e.v }), AG_ERR_VALUE, "'x'");
        CHECK_ERROR(FETCH(s, e.y, { e.v, e.v }), AG_ERR_VALUE, "is not symbolic");
        CHECK_ERROR(FETCH(s, e.y, { e.x, e.h }), AG_ERR_VALUE, "symbolic");
        CHECK_ERROR(FETCH(s, e.y, { e.x, e.x }), AG_ERR_VALUE, "symbolic");
        CHECK_ERROR(FETCH(s, e.y, { NULL, e.v }), AG_ERR_VALUE, "NULL");
        CHECK_ERROR(FETCH(s, e.y, { e.x, NULL }), AG_ERR_VALUE, "NULL");
        CHECK_ERROR(FETCH(s, e.y, { e.x, e.v }, { other.x, e.v }), AG_ERR_GRAPH, "graph");
        CHECK(!t);
        CHECK_WORKS(e, s);
    }
}

/* ---- fetches ---- */

static void t_fetches_that_are_none(ag_context *c)
{
    const errors_graph e = errors_open(c), other = errors_open(c);
    const ag_feed feed = { e.x, e.v };
    ag_tensor *const part[] = { e.y, NULL };
    ag_tensor *t[2] = { e.two, e.two };
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(e.g, graphs_backend[b]);
        CHECK_ERROR(ag_session_run(s, &feed, 1, part, 2, t), AG_ERR_VALUE, "NULL");
        CHECK(t[0] == e.two && t[1] == e.two); /* as it was */
        CHECK_ERROR(FETCH(s, e.v, { e.x, e.v }), AG_ERR_VALUE, "symbolic");
        CHECK_ERROR(FETCH(s, other.y, { e.x, e.v }), AG_ERR_GRAPH, "graph");
        CHECK_ERROR(ag_session_run(s, NULL, 1, &e.y, 1, t), AG_ERR_VALUE, "NULL");
        CHECK_ERROR(ag_session_run(s, &feed, 1, NULL, 1, t), AG_ERR_VALUE, "NULL");
        CHECK_ERROR(ag_session_run(s, &feed, 1, &e.y, 1, NULL), AG_ERR_VALUE, "NULL");
        CHECK_ERROR(ag_session_run(s, &feed, -1, &e.y, 1, t), AG_ERR_VALUE, "-1");
        CHECK_ERROR(ag_session_run(s, &feed, 1, &e.y, -1, t), AG_ERR_VALUE, "-1");
        CHECK(ag_session_run(s, &feed, 1, NULL, 0, NULL)); /* nothing is nothing */
        CHECK(ag_session_run(s, NULL, 0, NULL, 0, NULL));
        CHECK(!ag_session_run(NULL, &feed, 1, &e.y, 1, t) && !ag_error(c));
        CHECK_WORKS(e, s);
    }
}

static ag_tensor *inside; /* a value of a loop's body, or of a branch */

static void release_tensor(void *t) { ag_release(t); }

static ag_tensor *below_ten(ag_tensor *const *vars, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(ag_sum(vars[0]), 10);
}
static bool adds_one(ag_tensor *const *vars, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    next[0] = ag_add(vars[0], 1);
    if (!next[0])
        return false;
    inside = ag_retain(next[0]);
    harness_defer(release_tensor, inside);
    return true;
}
static bool one_more(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)m;
    return adds_one(in, n, out, user);
}

static void t_tensors_of_loops_and_branches(ag_context *c)
{
    const errors_graph e = errors_open(c);
    ag_tensor *out = NULL, *z = ag_placeholder(e.g, AG_F32, AG_SHAPE());
    CHECK(z && ag_while_loop(below_ten, adds_one, &z, 1, &out));
    ag_tensor *const of_loop = inside;
    CHECK(ag_cond(ag_lt(z, 0), one_more, one_more, &z, 1, &out, 1));
    ag_tensor *const all[] = { of_loop, inside }, *const value = ag_scalar(c, 1);
    CHECK(value);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(e.g, graphs_backend[b]);
        for (int i = 0; i < 2; i++) {
            CHECK_ERROR(FETCH(s, all[i], { z, value }), AG_ERR_GRAPH,
                        "ag_session_run: fetch 0 is inside a loop or branch, and has no single "
                        "value; return it as one of the results");
            CHECK_ERROR(ag_variable_value(s, all[i]), AG_ERR_GRAPH,
                        "ag_variable_value: the variable is inside");
            CHECK_ERROR(ag_variable_set(s, all[i], value), AG_ERR_GRAPH, "inside");
            CHECK_ERROR(FETCH(s, e.y, { e.x, e.v }, { all[i], value }), AG_ERR_GRAPH, "inside");
            CHECK_ERROR(ag_add(all[i], 1), AG_ERR_GRAPH, "inside");
            CHECK_ERROR(ag_group(&all[i], 1), AG_ERR_GRAPH, "inside");
        }
        CHECK_WORKS(e, s);
    }
}

static void t_variables_that_are_none(ag_context *c)
{
    const errors_graph e = errors_open(c), other = errors_open(c);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(e.g, graphs_backend[b]);
        CHECK_ERROR(ag_variable_value(s, e.v), AG_ERR_VALUE,
                    "ag_variable_value: the variable is not symbolic: it holds data");
        CHECK_ERROR(ag_variable_set(s, e.v, e.v), AG_ERR_VALUE,
                    "ag_variable_set: the variable is not symbolic");
        CHECK_ERROR(ag_variable_value(s, e.x), AG_ERR_VALUE,
                    "ag_variable_value: the tensor is no variable of a graph; ag_variable makes "
                    "one");
        CHECK_ERROR(ag_variable_set(s, e.k, e.two), AG_ERR_VALUE, "is no variable");
        CHECK_ERROR(ag_variable_value(s, other.w), AG_ERR_GRAPH,
                    "ag_variable_value: the variable: Tensor is not an element of this graph.");
        CHECK_ERROR(ag_variable_set(s, e.w, e.w), AG_ERR_VALUE,
                    "ag_variable_set: the value for tensor 'w' is symbolic");
        CHECK_SAME(ag_variable_value(s, e.w), e.two);
        CHECK_WORKS(e, s);
    }
    ag_session *left = graphs_session(e.g, AG_BACKEND_FUSED);
    ag_graph *g = ag_graph_new(c);
    ag_session *s = g ? ag_session_new(g) : NULL;
    ag_graph_free(g);
    CHECK(s);
    harness_defer(graphs_free_session, s);
    CHECK_ERROR(ag_variable_value(s, e.w), AG_ERR_GRAPH, "ag_variable_value: the graph was freed");
    CHECK_ERROR(FETCH(s, e.y), AG_ERR_GRAPH, "ag_session_run: the graph was freed");
    CHECK_WORKS(e, left);
}

/* ---- sessions ---- */

static void t_sessions_that_cannot_be(ag_context *c)
{
    const errors_graph e = errors_open(c);
    ag_graph *empty = graphs_graph(c);
    CHECK_ERROR(ag_session_new(e.g, .backend = (ag_backend)7), AG_ERR_VALUE, "7");
    CHECK_ERROR(ag_session_new(e.g, .backend = (ag_backend)-1), AG_ERR_VALUE, "-1");
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(empty, graphs_backend[b]);
        CHECK_ERROR(
            ag_session_run(s, NULL, 0, NULL, 0, NULL), AG_ERR_GRAPH,
            "The Session graph is empty.  Add operations to the graph before calling run().");
        CHECK_ERROR(FETCH(s, e.y, { e.x, e.v }), AG_ERR_GRAPH, "graph");
    }
}

static void t_a_closed_session(ag_context *c)
{
    static const char sentence[] = "Attempted to use a closed Session.";
    const errors_graph e = errors_open(c);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(e.g, graphs_backend[b]);
        ag_tensor *t = FETCH(s, e.y, { e.x, e.v });
        CHECK(t);
        ag_session_close(s);
        ag_session_close(s);
        CHECK_ERROR(FETCH(s, e.y, { e.x, e.v }), AG_ERR_GRAPH, sentence);
        CHECK_ERROR(ag_session_run(s, NULL, 0, NULL, 0, NULL), AG_ERR_GRAPH, sentence);
        CHECK_ERROR(ag_variable_value(s, e.w), AG_ERR_GRAPH, sentence);
        CHECK_ERROR(ag_variable_set(s, e.w, e.two), AG_ERR_GRAPH, sentence);
        CHECK_SAME(t, ag_sum(ag_mul(e.v, 2)));
        CHECK_WORKS(e, graphs_session(e.g, graphs_backend[b])); /* another one works */
    }
    ag_session_close(NULL);
}

/* ---- contexts ---- */

static void close_context(void *other) { ag_close(other); }

static void t_a_session_of_another_context(ag_context *c)
{
    const errors_graph e = errors_open(c);
    ag_context *other = ag_open();
    CHECK(other);
    harness_defer(close_context, other);
    CHECK(!ag_session_new(e.g, .context = other)); /* not before the graph is finished */
    const ag_status *status = ag_error(c) ? ag_error(c) : ag_error(other);
    CHECK(status);
    CHECK_INT(status->code, AG_ERR_GRAPH);
    ag_error_clear(c);
    ag_error_clear(other);
    CHECK(ag_graph_finalize(e.g));
    ag_tensor *v = graphs_numbers(other, AG_F32, AG_SHAPE(2, 3));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = ag_session_new(e.g, .backend = graphs_backend[b], .context = other);
        CHECK(s);
        harness_defer(graphs_free_session, s);
        ag_tensor *t = FETCH(s, e.y, { e.x, v });
        CHECK(t && ag_context_of(t) == other && ag_context_of(ag_variable_value(s, e.w)) == other);
        CHECK_SAME(t, ag_sum(ag_mul(e.v, 2)));
        CHECK(!FETCH(s, e.y, { e.x, e.v })); /* a value of the graph's context */
        CHECK(ag_error(other) && !ag_error(c));
        CHECK_INT(ag_error(other)->code, AG_ERR_VALUE);
        CHECK(strstr(ag_error(other)->message, "context"));
        ag_error_clear(other);
        CHECK_ERROR(FETCH(graphs_session(e.g, graphs_backend[b]), e.y, { e.x, v }), AG_ERR_VALUE,
                    "context");
    }
}

/* ---- loops: vars[0] grows by vars[1] as long as it is below a limit ---- */

typedef struct {
    ag_tensor *limit;
    ag_tensor *vector; /* the body takes element vars[0] of it; NULL: it does not */
} loop;

static ag_tensor *below_limit(ag_tensor *const *vars, int n, void *user)
{
    (void)n;
    return ag_lt(vars[0], ((loop *)user)->limit);
}
static bool steps(ag_tensor *const *vars, int n, ag_tensor **next, void *user)
{
    const loop *l = user;
    next[0] = ag_add(vars[0], vars[1]);
    next[1] = vars[1];
    if (n == 3)
        next[2] = ag_add(vars[2], ag_take(l->vector, vars[0]));
    return next[0] && (n < 3 || next[2]);
}

static ag_tensor *whole(ag_context *c, double v) { return ag_scalar(c, v, .dtype = AG_I64); }

static void t_loops_end_at_their_maximum(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *zero = whole(c, 0), *one = whole(c, 1), *ten = whole(c, 10);
    ag_tensor *const init[] = { ag_placeholder(g, AG_I64, AG_SHAPE()),
                                ag_placeholder(g, AG_I64, AG_SHAPE()) };
    loop l = { .limit = whole(c, 100) };
    ag_tensor *out[2] = { NULL };
    CHECK(zero && one && ten);
    CHECK(ag_while_loop(below_limit, steps, init, 2, out, .user = &l, .maximum_iterations = 25));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_CLOSE(ag_item(FETCH(s, out[0], { init[0], zero }, { init[1], ten })), 100, 0);
        CHECK_CLOSE(ag_item(FETCH(s, out[0], { init[0], zero }, { init[1], one })), 25, 0);
        CHECK_CLOSE(ag_item(FETCH(s, out[0], { init[0], zero }, { init[1], zero })), 0, 0);
    }
}

/* The vector has 3 elements: a fourth step fails, and the run with it. */
static void t_loops_that_fail_on_their_way(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *zero = whole(c, 0), *one = whole(c, 1), *three = whole(c, 3), *four = whole(c, 4);
    ag_tensor *w = ag_variable(g, ag_scalar(c, 5)), *bumped = ag_assign_add(w, ag_scalar(c, 1));
    ag_tensor *const init[] = { ag_constant(g, zero), ag_constant(g, one), ag_mul(w, 1) };
    loop l = { .limit = ag_placeholder(g, AG_I64, AG_SHAPE()),
               .vector = ag_array(c, AG_VALUES(1, 2, 4), AG_SHAPE(3)) };
    ag_tensor *out[3] = { NULL };
    CHECK(three && four && bumped && l.vector);
    CHECK(ag_while_loop(below_limit, steps, init, 3, out, .user = &l));
    ag_tensor *const fetches[] = { out[2], bumped };
    const ag_feed feeds[] = { { l.limit, three }, { l.limit, four } };
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        ag_tensor *t[2] = { NULL };
        CHECK_ERROR(ag_session_run(s, &feeds[1], 1, fetches, 2, t), AG_ERR_INDEX, "ag_take");
        CHECK(!t[0] && !t[1]);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 5, 0);
        CHECK(ag_session_run(s, &feeds[0], 1, fetches, 2, t));
        CHECK_CLOSE(ag_item(t[0]), 12, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 6, 0);
    }
}

/* What a body would compute alike in every turn is not computed where there is none. */
static ag_tensor *below_zero(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(v[0], 0);
}

static bool adds_a_remainder(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    ag_tensor *const *of = user;
    (void)n;
    next[0] = ag_add(v[0], ag_remainder(of[0], of[1]));
    return next[0] != NULL;
}

static void t_loops_without_turns_divide_nothing(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *seven = whole(c, 7), *zero = whole(c, 0), *under = whole(c, -5), *end = NULL;
    ag_tensor *of[] = { ag_placeholder(g, AG_I64, AG_SHAPE()),
                        ag_placeholder(g, AG_I64, AG_SHAPE()) };
    ag_tensor *start = ag_placeholder(g, AG_I64, AG_SHAPE());
    CHECK(seven && zero && under && of[0] && of[1] && start);
    CHECK(ag_while_loop(below_zero, adds_a_remainder, &start, 1, &end, .user = of));
    const ag_feed none[] = { { of[0], seven }, { of[1], zero }, { start, seven } };
    const ag_feed some[] = { { of[0], seven }, { of[1], zero }, { start, under } };
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        ag_tensor *t = NULL;
        CHECK(ag_session_run(s, none, 3, &end, 1, &t));
        CHECK_CLOSE(ag_item(t), 7, 0);
        CHECK_ERROR(ag_session_run(s, some, 3, &end, 1, &t), AG_ERR_VALUE, "ag_remainder");
    }
}

static bool adds_x(ag_tensor *const *carry, int n, ag_tensor *const *x, int k,
                   ag_tensor **carry_out, ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m, (void)user;
    carry_out[0] = y[0] = ag_add(carry[0], x[0]);
    return y[0] != NULL;
}

/* .length says what the size of the xs does not. */
static void t_scans_of_another_length(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *xs = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *last = NULL, *ys = NULL;
    ag_tensor *init = ag_scalar(c, 0), *three = ag_ones(c, AG_SHAPE(3)), *dx = NULL;
    ag_tensor *four = ag_ones(c, AG_SHAPE(4));
    CHECK(xs && init && three && four);
    CHECK(ag_scan(adds_x, &init, 1, &xs, 1, &last, &ys, 1, .length = 3));
    CHECK(ag_size(ys, 0) == 3);
    CHECK(ag_grad(&last, 1, &xs, 1, &dx));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        ag_tensor *t = NULL;
        CHECK(ag_session_run(s, &(ag_feed){ xs, three }, 1, &last, 1, &t));
        CHECK_CLOSE(ag_item(t), 3, 0);
        CHECK(ag_session_run(s, &(ag_feed){ xs, three }, 1, &dx, 1, &t));
        CHECK_CLOSE(ag_item(ag_sum(t)), 3, 0);
        CHECK_ERROR(ag_session_run(s, &(ag_feed){ xs, four }, 1, &last, 1, &t), AG_ERR_SHAPE,
                    "different leading axis sizes: 3 and 4");
    }
}

/* ---- a loop without an end ---- */

static void *cancel_soon(void *c)
{
    nanosleep(&(struct timespec){ .tv_nsec = 20 * 1000 * 1000 }, NULL);
    ag_set_cancelled(c, true);
    return NULL;
}

static void t_a_run_is_cancelled(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *zero = whole(c, 0), *one = whole(c, 1);
    ag_tensor *w = ag_variable(g, ag_scalar(c, 5)), *bumped = ag_assign_add(w, ag_scalar(c, 1));
    ag_tensor *const init[] = { ag_placeholder(g, AG_I64, AG_SHAPE()),
                                ag_placeholder(g, AG_I64, AG_SHAPE()) };
    loop l = { .limit = whole(c, 10) };
    ag_tensor *out[2] = { NULL };
    CHECK(one && bumped && ag_while_loop(below_limit, steps, init, 2, out, .user = &l));
    ag_tensor *const fetches[] = { bumped, out[0] };
    const ag_feed endless[] = { { init[0], zero }, { init[1], zero } },
                  ends[] = { { init[0], zero }, { init[1], one } };
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        ag_tensor *t[2] = { NULL };
        bool ran;
        if (harness_faults()) { /* a run that ends early must leave no thread behind */
            ag_set_cancelled(c, true);
            ran = ag_session_run(s, endless, 2, fetches, 2, t);
        } else {
            pthread_t thread;
            CHECK(pthread_create(&thread, NULL, cancel_soon, c) == 0);
            ran = ag_session_run(s, endless, 2, fetches, 2, t);
            pthread_join(thread, NULL);
        }
        ag_set_cancelled(c, false);
        CHECK_ERROR(ran, AG_ERR_CANCELLED, "cancel");
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 5, 0);
        CHECK(ag_session_run(s, ends, 2, fetches, 2, t));
        CHECK_CLOSE(ag_item(t[1]), 10, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 6, 0);
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_feeds_that_are_missing), TEST(t_tensors_without_names),
               TEST(t_feeds_of_another_dtype_or_shape), TEST(t_feeds_that_do_not_fit_together),
               TEST(t_feeds_that_are_none), TEST(t_fetches_that_are_none),
               TEST(t_tensors_of_loops_and_branches), TEST(t_variables_that_are_none),
               TEST(t_sessions_that_cannot_be), TEST(t_a_closed_session),
               TEST(t_a_session_of_another_context), TEST(t_loops_end_at_their_maximum),
               TEST(t_loops_that_fail_on_their_way), TEST(t_loops_without_turns_divide_nothing),
               TEST(t_scans_of_another_length), TEST(t_a_run_is_cancelled));
}
