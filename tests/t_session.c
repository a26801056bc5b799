/* Runs of a graph: what is fed, what is fetched, what is computed for it, and who owns the results.
 * Variables: t_session_variables; gradients: t_session_gradients; errors: t_session_errors. */
#include "graphs.h"

/* ---- fetches ---- */

static void t_many_fetches(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1)),
              *k = ag_constant(g, ag_scalar(c, 10, .dtype = AG_I64)), *w = ag_variable(g, v),
              *h = ag_mul(x, w), *y = ag_sum(ag_add(h, k)), *i = ag_argmax(h, 0, false);
    ag_tensor *const fetches[] = { y, x, k, w, h, y, i };
    const ag_feed feed = { x, v };
    CHECK(v && y && i);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_tensor *r[7] = { NULL };
        CHECK(ag_session_run(graphs_session(g, graphs_backend[b]), &feed, 1, fetches, 7, r));
        CHECK_VALUES(r[0], AG_SHAPE(), AG_VALUES(44), 0);
        CHECK_SAME(r[1], v);
        CHECK_INT(ag_dtype_of(r[2]), AG_I64);
        CHECK_VALUES(r[2], AG_SHAPE(), AG_VALUES(10), 0);
        CHECK_SAME(r[3], v);
        CHECK_VALUES(r[4], AG_SHAPE(3), AG_VALUES(1, 4, 9), 0);
        CHECK_SAME(r[5], r[0]);
        CHECK_VALUES(r[6], AG_SHAPE(), AG_VALUES(2), 0);
        for (int j = 0; j < 7; j++) {
            CHECK(!ag_is_symbolic(r[j]) && !ag_requires_grad(r[j]) && ag_is_leaf(r[j]));
            CHECK(ag_context_of(r[j]) == c);
        }
        ag_drop(r[0]); /* what was fetched twice is owned twice */
        CHECK_CLOSE(ag_item(r[5]), 44, 0);
    }
}

/* Writing into a result touches neither the graph nor a variable. */
static void t_results_are_the_callers(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
    ag_tensor *k = ag_constant(g, v), *w = ag_variable(g, v), *y = ag_add(k, w),
              *view = ag_select(w, 0, 1), *turned = ag_reshape(k, AG_SHAPE(2, 1));
    ag_tensor *const fetches[] = { k, w, y, view, turned };
    CHECK(y && view && turned);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        for (int run = 0; run < 2; run++) {
            ag_tensor *r[5] = { NULL };
            CHECK(ag_session_run(s, NULL, 0, fetches, 5, r));
            CHECK_SAME(r[0], v);
            CHECK_SAME(r[1], v);
            CHECK_VALUES(r[2], AG_SHAPE(2), AG_VALUES(2, 4), 0);
            CHECK_VALUES(r[3], AG_SHAPE(), AG_VALUES(2), 0);
            CHECK_VALUES(r[4], AG_SHAPE(2, 1), AG_VALUES(1, 2), 0);
            for (int j = 0; j < 5; j++)
                CHECK(ag_fill_(r[j], 100));
        }
        CHECK_SAME(ag_variable_value(s, w), v);
    }
}

static ag_session *open_session;
static ag_graph *open_graph;

static void free_session_and_graph(void *unused)
{
    (void)unused;
    ag_session_free(open_session);
    ag_graph_free(open_graph);
    open_session = NULL;
    open_graph = NULL;
}

static void t_results_outlive_session_and_graph(ag_context *c)
{
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        harness_defer(free_session_and_graph, NULL);
        open_graph = ag_graph_new(c);
        ag_tensor *kept = NULL;
        AG_SCOPE (c) {
            ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
            ag_tensor *x = ag_placeholder(open_graph, AG_F32, AG_SHAPE(2)), *y = ag_mul(x, x);
            open_session = ag_session_new(open_graph, .backend = graphs_backend[b]);
            kept = ag_keep(FETCH(open_session, y, { x, v }));
        }
        free_session_and_graph(NULL);
        CHECK_VALUES(kept, AG_SHAPE(2), AG_VALUES(1, 4), 0);
    }
}

/* Handles go with their scope; the graph keeps its values, and names find them again. */
static void t_values_outlive_their_handles(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
    CHECK(v);
    AG_SCOPE (c) {
        ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "x");
        ag_tensor *y = ag_square(ag_add(x, ag_ones(c, AG_SHAPE(2))));
        CHECK(y && ag_set_name(y, "y"));
    }
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_tensor *x = ag_graph_find(g, "x"), *y = ag_graph_find(g, "y");
        CHECK(x && y);
        CHECK_VALUES(FETCH(graphs_session(g, graphs_backend[b]), y, { x, v }), AG_SHAPE(2),
                     AG_VALUES(4, 9), 0);
    }
}

/* ---- feeds ---- */

static void t_anything_can_be_fed(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2)),
              *u = ag_array(c, AG_VALUES(5, 6), AG_SHAPE(2));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *k = ag_constant(g, v),
              *w = ag_variable(g, v), *h = ag_mul(x, k), *y = ag_add(h, w);
    CHECK(v && u && y);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_VALUES(FETCH(s, y, { x, u }), AG_SHAPE(2), AG_VALUES(6, 14), 0);
        CHECK_VALUES(FETCH(s, y, { h, u }), AG_SHAPE(2), AG_VALUES(6, 8), 0); /* x is not needed */
        CHECK_VALUES(FETCH(s, y, { x, u }, { h, v }), AG_SHAPE(2), AG_VALUES(2, 4), 0);
        CHECK_VALUES(FETCH(s, y, { x, u }, { k, u }), AG_SHAPE(2), AG_VALUES(26, 38), 0);
        CHECK_VALUES(FETCH(s, y, { w, u }, { x, v }), AG_SHAPE(2), AG_VALUES(6, 10), 0);
        CHECK_SAME(FETCH(s, y, { y, u }), u);
        CHECK_SAME(FETCH(s, w, { w, u }), u);
        CHECK_SAME(FETCH(s, w), v); /* for that run only */
        CHECK_SAME(FETCH(s, k), v);
        CHECK_VALUES(FETCH(s, y, { x, u }), AG_SHAPE(2), AG_VALUES(6, 14), 0);
    }
}

/* Operations that follow a fed value see it, those before it do not. */
static void t_a_fed_value_in_the_middle(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2)), *nine = ag_full(c, AG_SHAPE(2), 9);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)), *a = ag_add(x, 1), *b = ag_mul(a, 2),
              *d = ag_sub(b, 3);
    ag_tensor *const fetches[] = { a, b, d };
    const ag_feed feeds[] = { { x, v }, { b, nine } };
    CHECK(v && nine && d);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_tensor *r[3] = { NULL };
        CHECK(ag_session_run(graphs_session(g, graphs_backend[k]), feeds, 2, fetches, 3, r));
        CHECK_VALUES(r[0], AG_SHAPE(2), AG_VALUES(2, 3), 0);
        CHECK_SAME(r[1], nine);
        CHECK_VALUES(r[2], AG_SHAPE(2), AG_VALUES(6, 6), 0);
    }
}

/* Values to be fed may lie in any way, and be part of a dynamic graph, which they do not join. */
static void t_feeds_of_any_layout(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *leaf =
        ag_array(c, AG_VALUES(1, 2, 3, 4, 5, 6), AG_SHAPE(2, 3), .requires_grad = true);
    ag_tensor *turned = ag_t(leaf), *spread = ag_expand(ag_ones(c, AG_SHAPE(1, 2)), AG_SHAPE(3, 2)),
              *gapped = ag_slice(ag_arange(c, 0, 12, 1, .dtype = AG_F32), 0, 0, 12, 2);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(3, 2)),
              *z = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *y = ag_mul(x, 2), *q = ag_add(z, 1);
    CHECK(turned && spread && gapped && y && q);
    WATCH(leaf);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        ag_tensor *r = FETCH(s, y, { x, turned });
        CHECK_VALUES(r, AG_SHAPE(3, 2), AG_VALUES(2, 8, 4, 10, 6, 12), 0);
        CHECK(!ag_requires_grad(r));
        CHECK_VALUES(FETCH(s, y, { x, spread }), AG_SHAPE(3, 2), AG_VALUES(2, 2, 2, 2, 2, 2), 0);
        CHECK_VALUES(FETCH(s, q, { z, gapped }), AG_SHAPE(6), AG_VALUES(1, 3, 5, 7, 9, 11), 0);
    }
}

static ag_tensor *rows_function(ag_tensor *x) { return ag_softmax(ag_matmul(x, ag_t(x)), 0); }

/* Sizes of -1 are those of the feed, run by run. */
static void t_sizes_change_between_runs(ag_context *c)
{
    static const int64_t sizes[] = { 1, 4, 0, 4, 2, 1 };
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 3)), *y = rows_function(x);
    CHECK(y);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            AG_SCOPE (c) {
                ag_tensor *v = graphs_numbers(c, AG_F32, AG_SHAPE(sizes[i], 3));
                CHECK_SAME(FETCH(s, y, { x, v }), rows_function(v));
            }
        ag_session_statistics stats;
        ag_session_stats(s, &stats);
        CHECK_INT(stats.runs, 6);
        if (graphs_backend[b] == AG_BACKEND_FUSED)
            CHECK_INT(stats.plans, 4); /* 1, 4, 0 and 2 rows */
    }
}

/* Statistics tell of the plan that ran last, also when it was made before another. */
static void t_statistics_of_the_plan_that_ran(ag_context *c)
{
    static const int64_t sizes[] = { 100, 10, 100 };
    size_t bytes[3];
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 3)), *y = rows_function(x);
    CHECK(y);
    ag_session *s = graphs_session(g, AG_BACKEND_FUSED);
    for (int i = 0; i < 3; i++)
        AG_SCOPE (c) {
            ag_session_statistics stats;
            CHECK(FETCH(s, y, { x, ag_ones(c, AG_SHAPE(sizes[i], 3)) }));
            ag_session_stats(s, &stats);
            CHECK_INT(stats.plans, i == 0 ? 1 : 2);
            bytes[i] = stats.arena_bytes;
        }
    CHECK(bytes[0] > bytes[1]);
    CHECK_INT(bytes[2], bytes[0]);
}

/* ---- what is computed ---- */

static void t_only_what_is_needed_runs(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2)),
              *zero = ag_scalar(c, 0, .dtype = AG_I64);
    ag_tensor *at = ag_array(c, AG_VALUES(9), AG_SHAPE(1), .dtype = AG_I64);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)),
              *z = ag_placeholder(g, AG_F32, AG_SHAPE(2));
    ag_tensor *y = ag_mul(x, 3), *both = ag_add(y, z), *outside = ag_index_select(x, 0, at);
    ag_tensor *k = ag_constant(g, zero), *by_zero = ag_remainder(k, k);
    CHECK(v && both && outside && by_zero);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_VALUES(FETCH(s, y, { x, v }), AG_SHAPE(2), AG_VALUES(3, 6), 0);
        CHECK_VALUES(FETCH(s, y, { x, v }, { z, v }), AG_SHAPE(2), AG_VALUES(3, 6), 0);
        CHECK_ERROR(FETCH(s, outside, { x, v }), AG_ERR_INDEX, "index 9 is out of bounds");
        CHECK_ERROR(FETCH(s, by_zero), AG_ERR_VALUE, "ZeroDivisionError");
        CHECK_VALUES(FETCH(s, both, { x, v }, { z, v }), AG_SHAPE(2), AG_VALUES(4, 8), 0);
    }
}

/* A random operation shows how often it ran. */
static void t_each_operation_runs_once(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_ones(c, AG_SHAPE(30));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *y = ag_rand_like(x), *f = ag_mul(y, 2),
              *h = ag_sub(f, y);
    ag_tensor *const fetches[] = { f, y, h, y };
    const ag_feed feed = { x, v };
    CHECK(v && h);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_tensor *r[4] = { NULL };
        CHECK(ag_session_run(graphs_session(g, graphs_backend[b]), &feed, 1, fetches, 4, r));
        CHECK_SAME(r[0], ag_mul(r[1], 2));
        CHECK_SAME(r[2], ag_sub(r[0], r[1]));
        CHECK_SAME(r[3], r[1]);
    }
}

static void t_a_graph_grows_between_runs(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)), *y = ag_add(x, 1);
    CHECK(v && y);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_VALUES(FETCH(s, y, { x, v }), AG_SHAPE(2), AG_VALUES(2, 3), 0);
        ag_tensor *more = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *w = ag_variable(g, v);
        ag_tensor *z = ag_add(ag_mul(y, w), more), *dz = NULL, *sum = ag_sum(z);
        CHECK(sum && ag_grad(&sum, 1, &x, 1, &dz));
        CHECK_VALUES(FETCH(s, z, { x, v }, { more, v }), AG_SHAPE(2), AG_VALUES(3, 8), 0);
        CHECK_VALUES(FETCH(s, dz, { x, v }, { more, v }), AG_SHAPE(2), AG_VALUES(1, 2), 0);
        CHECK_VALUES(FETCH(s, y, { x, v }), AG_SHAPE(2), AG_VALUES(2, 3), 0);
    }
    CHECK(ag_graph_finalize(g));
    CHECK_VALUES(FETCH(graphs_session(g, AG_BACKEND_FUSED), y, { x, v }), AG_SHAPE(2),
                 AG_VALUES(2, 3), 0);
}

/* ---- two counters, 0 and 10, that grow by 2 and by 1 until the first has caught up ---- */

static ag_tensor *is_behind(ag_tensor *const *vars, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(vars[0], vars[1]);
}
static bool count(ag_tensor *const *vars, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    next[0] = ag_add(vars[0], 2);
    next[1] = ag_add(vars[1], 1);
    return next[0] && next[1];
}

static void t_two_counters(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *zero = ag_scalar(c, 0, .dtype = AG_I32), *ten = ag_scalar(c, 10, .dtype = AG_I32);
    ag_tensor *const init[] = { ag_placeholder(g, AG_I32, AG_SHAPE()), ag_constant(g, ten) };
    ag_tensor *out[2] = { NULL };
    const ag_feed feed = { init[0], zero };
    CHECK(zero && ag_while_loop(is_behind, count, init, 2, out));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_tensor *r[2] = { NULL };
        CHECK(ag_session_run(graphs_session(g, graphs_backend[b]), &feed, 1, out, 2, r));
        CHECK_PRINTS(r[0], "tensor(20, dtype=torch.int32)");
        CHECK_PRINTS(r[1], "tensor(20, dtype=torch.int32)");
    }
}

/* The results of more threads are those of one. */
static void t_threads_of_a_session(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = graphs_numbers(c, AG_F32, AG_SHAPE(20, 30));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 30)), *y = ag_sum(rows_function(x));
    CHECK(v && y);
    ag_tensor *expected = ag_sum(rows_function(v));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = ag_session_new(g, .backend = graphs_backend[b], .threads = 2);
        CHECK(s);
        harness_defer(graphs_free_session, s);
        CHECK_SAME(FETCH(s, y, { x, v }), expected);
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_many_fetches), TEST(t_results_are_the_callers),
               TEST(t_results_outlive_session_and_graph), TEST(t_values_outlive_their_handles),
               TEST(t_anything_can_be_fed), TEST(t_a_fed_value_in_the_middle),
               TEST(t_feeds_of_any_layout), TEST(t_sizes_change_between_runs),
               TEST(t_statistics_of_the_plan_that_ran), TEST(t_only_what_is_needed_runs),
               TEST(t_each_operation_runs_once), TEST(t_a_graph_grows_between_runs),
               TEST(t_two_counters), TEST(t_threads_of_a_session));
}
