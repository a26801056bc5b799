/*
 * What loops and branches refuse: structure, dtypes and shapes, in the words of TensorFlow and
 * JAX. Most of it holds for tensors with data and in a graph; a graph is the same text after each
 * failed call.
 */
#include "flow.h"
#include "refused.h"

/* ---- both ways ---- */

/* Ones with data, or a placeholder where there is a graph. */
static ag_tensor *make(ag_context *c, ag_graph *g, ag_dtype dtype, ag_ints shape)
{
    ag_tensor *t = g ? ag_placeholder(g, dtype, shape) : ag_ones(c, shape, .dtype = dtype);
    CHECK(t);
    return t;
}

/* Runs the block with g NULL, then with a graph. */
#define BOTH_WAYS(c, g)                                                                            \
    for (ag_graph * g##_all[] = { NULL, flow_graph(c) }, *g = g##_all[0], **g##_at = g##_all;      \
         g##_at < g##_all + 2; g##_at++, g = g##_all[1])

/* ---- steps ---- */

FLOW_TEST(is_small)
{
    STEP_UNUSED;
    return ag_lt(ag_sum(v[0]), 40);
}

FLOW_STEP(twice)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], 2)) != NULL;
}

FLOW_STEP(longer)
{
    STEP_UNUSED;
    ag_tensor *parts[] = { v[0], ag_slice(v[0], 0, 0, 1, 1) };
    return (next[0] = ag_cat(parts, 2, 0)) != NULL;
}

FLOW_STEP(deeper)
{
    STEP_UNUSED;
    return (next[0] = ag_unsqueeze(v[0], 0)) != NULL;
}

FLOW_STEP(to_captured)
{
    STEP_UNUSED, (void)v;
    return (next[0] = user) != NULL;
}

FLOW_STEP(to_single)
{
    STEP_UNUSED;
    return (next[0] = ag_to(v[0], AG_F32)) != NULL;
}

/* ---- shapes of loop variables: fixed in a graph. With data it is a loop of C. ---- */

static void t_shape_is_not_invariant(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *y;
    CHECK_REFUSED(g, ag_while_loop(is_small, longer, &x, 1, &y), AG_ERR_SHAPE,
                  "is not an invariant for the loop. It enters the loop with shape [2], but has "
                  "shape [3] after one iteration. Provide shape invariants using the "
                  "`shape_invariants` argument");
    CHECK_REFUSED(g, ag_while_loop(is_small, deeper, &x, 1, &y), AG_ERR_SHAPE,
                  "It enters the loop with shape [2], but has shape [1, 2] after one iteration.");
    const ag_ints any = AG_SHAPE(-1);
    CHECK_REFUSED(g,
                  ag_while_loop(is_small, deeper, &x, 1, &y, .shape_invariants = &any,
                                .maximum_iterations = 2),
                  AG_ERR_SHAPE, "is not an invariant for the loop.");
    CHECK(ag_while_loop(is_small, longer, &x, 1, &y, .shape_invariants = &any));
}

/* Where the body's size is not known before the run, it is looked at then. */
static void t_size_is_forgotten(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *y, *r;
    ag_tensor *w = make(c, g, AG_F64, AG_SHAPE(-1));
    CHECK(ag_while_loop(is_small, to_captured, &x, 1, &y, .user = w));
    CHECK_INT(ag_size(y, 0), 2);
    const ag_feed good[] = { { x, ag_ones(c, AG_SHAPE(2), .dtype = AG_F64) },
                             { w, ag_full(c, AG_SHAPE(2), 30, .dtype = AG_F64) } };
    const ag_feed bad[] = { good[0], { w, ag_full(c, AG_SHAPE(3), 30, .dtype = AG_F64) } };
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        CHECK_ERROR(ag_session_run(s, bad, 2, &y, 1, &r), AG_ERR_SHAPE,
                    "enters the loop with shape [2], but has shape [3] after one iteration.");
        CHECK_VALUES(flow_fetch(s, good, 2, y), AG_SHAPE(2), AG_VALUES(30, 30), 0);
    }
    /* The other way round the loop forgets what the body knows. */
    CHECK(ag_while_loop(is_small, to_captured, &w, 1, &y, .user = x));
    CHECK_INT(ag_size(y, 0), -1);
}

static void t_invariants_do_not_fit(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *y;
    const ag_ints three = AG_SHAPE(3), rank = AG_SHAPE(-1, -1);
    CHECK_REFUSED(g, ag_while_loop(is_small, twice, &x, 1, &y, .shape_invariants = &three),
                  AG_ERR_SHAPE, "is not compatible with the initial shape of the loop variable");
    CHECK_REFUSED(g, ag_while_loop(is_small, twice, &x, 1, &y, .shape_invariants = &rank),
                  AG_ERR_SHAPE, "is not compatible with the initial shape of the loop variable");
    ag_tensor *wide = make(c, g, AG_F64, AG_SHAPE(2, 2));
    const ag_ints rows = AG_SHAPE(2, -1);
    CHECK_REFUSED(g, ag_while_loop(is_small, longer, &wide, 1, &y, .shape_invariants = &rows),
                  AG_ERR_SHAPE, "has shape [3, ");
}

/* ---- dtypes ---- */

static void t_dtype_changes(ag_context *c)
{
    BOTH_WAYS(c, g)
    {
        ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *y;
        CHECK_REFUSED(g, ag_while_loop(is_small, to_single, &x, 1, &y), AG_ERR_DTYPE,
                      "variable 0 has dtype float64, but the body gives it dtype float32");
        CHECK(ag_while_loop(is_small, twice, &x, 1, &y));
        CHECK_INT(ag_dtype_of(y), AG_F64);
    }
}

/* ---- conditions and bodies that do not do their part ---- */

FLOW_TEST(of_each)
{
    STEP_UNUSED;
    return ag_lt(v[0], 40);
}

FLOW_TEST(no_condition)
{
    STEP_UNUSED, (void)v;
    return NULL;
}

FLOW_STEP(no_body)
{
    STEP_UNUSED, (void)next;
    return false;
}

FLOW_STEP(leaves_out)
{
    STEP_UNUSED, (void)next;
    return true;
}

FLOW_STEP(says_why)
{
    STEP_UNUSED, (void)next;
    return ag_fail(ag_context_of(v[0]), AG_ERR_INDEX, "there is no more %s", "room");
}

FLOW_TEST(says_why_not)
{
    STEP_UNUSED;
    ag_fail(ag_context_of(v[0]), AG_ERR_INDEX, "there is no condition");
    return NULL;
}

FLOW_TEST(is_small_beside)
{
    STEP_UNUSED;
    return ag_lt(v[0], (ag_tensor *)user);
}

/* A loop that begins with data becomes part of the graph that its condition belongs to. */
static void t_condition_of_a_graph(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *limit = make(c, g, AG_F64, AG_SHAPE()), *x = make(c, NULL, AG_F64, AG_SHAPE()), *y;
    CHECK(ag_while_loop(is_small_beside, twice, &x, 1, &y, .user = limit));
    CHECK(ag_graph_of(y) == g);
    CHECK(x = ag_constant(g, x));
    CHECK(ag_while_loop(is_small_beside, twice, &x, 1, &y, .user = limit));
    const ag_feed feed = { limit, ag_scalar(c, 5, .dtype = AG_F64) };
    CHECK_CLOSE(ag_item(flow_fetch(flow_session(g, AG_BACKEND_FUSED), &feed, 1, y)), 8, 0);
}

static void t_functions_that_fail(ag_context *c)
{
    BOTH_WAYS(c, g)
    {
        ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *y;
        if (!g)
            WATCH(x);
        CHECK_REFUSED(g, ag_while_loop(of_each, twice, &x, 1, &y), AG_ERR_SHAPE,
                      "must be a scalar, got shape [2]");
        CHECK_REFUSED(g, ag_while_loop(no_condition, twice, &x, 1, &y), AG_ERR_VALUE,
                      "ag_while_loop");
        CHECK_REFUSED(g, ag_while_loop(is_small, no_body, &x, 1, &y), AG_ERR_VALUE,
                      "ag_while_loop");
        CHECK_REFUSED(g, ag_while_loop(is_small, leaves_out, &x, 1, &y), AG_ERR_VALUE,
                      "ag_while_loop");
        CHECK_REFUSED(g, ag_while_loop(is_small, says_why, &x, 1, &y), AG_ERR_INDEX,
                      "there is no more room");
        CHECK_REFUSED(g, ag_while_loop(says_why_not, twice, &x, 1, &y), AG_ERR_INDEX,
                      "there is no condition");
        UNWATCH();
    }
}

FLOW_STEP(reads_data)
{
    STEP_UNUSED;
    return ag_item(v[0]) > 3 ? twice(v, n, next, user) : no_body(v, n, next, user);
}

/* In a graph there is no data to look at: that is what ag_cond is for. */
static void t_data_in_a_body(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE()), *y;
    CHECK_REFUSED(g, ag_while_loop(is_small, reads_data, &x, 1, &y), AG_ERR_GRAPH, "symbolic");
}

/* ---- arguments ---- */

static void t_arguments_of_while(ag_context *c)
{
    BOTH_WAYS(c, g)
    {
        ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *y, *half[] = { x, NULL }, *two[2];
        CHECK_REFUSED(g, ag_while_loop(NULL, twice, &x, 1, &y), AG_ERR_VALUE, "ag_while_loop");
        CHECK_REFUSED(g, ag_while_loop(is_small, NULL, &x, 1, &y), AG_ERR_VALUE, "ag_while_loop");
        CHECK_REFUSED(g, ag_while_loop(is_small, twice, half, 2, two), AG_ERR_VALUE,
                      "ag_while_loop");
        CHECK_REFUSED(g, ag_while_loop(is_small, twice, &x, 1, NULL), AG_ERR_VALUE,
                      "ag_while_loop");
        CHECK(!ag_while_loop(is_small, twice, &x, -1, &y));
        ag_error_clear(c);
        CHECK_REFUSED(g, ag_while_loop(is_small, twice, &x, 1, &y, .maximum_iterations = -1),
                      AG_ERR_VALUE, "maximum_iterations");
        CHECK_REFUSED(g, ag_while_loop(is_small, twice, &x, 1, &y, .snapshots = -1), AG_ERR_VALUE,
                      "snapshots");
    }
}

static ag_tensor *inside; /* a body */

FLOW_STEP(keeps_inside)
{
    STEP_UNUSED;
    next[0] = inside = ag_mul(v[0], 2);
    return ag_retain(inside) != NULL;
}

static void release_inside(void *unused)
{
    (void)unused;
    ag_release(inside);
    inside = NULL;
}

static void t_other_graphs(ag_context *c)
{
    ag_graph *g = flow_graph(c), *other = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(1)), *y, *two[2];
    ag_tensor *foreign = make(c, other, AG_F64, AG_SHAPE(1)), *both[] = { x, foreign };
    CHECK_REFUSED(g, ag_while_loop(is_small, longer, both, 2, two), AG_ERR_GRAPH, "");
    CHECK_REFUSED(g, ag_while_loop(is_small, to_captured, &x, 1, &y, .user = foreign), AG_ERR_GRAPH,
                  "");
    /* What a body computes exists inside it only. */
    harness_defer(release_inside, NULL);
    CHECK(ag_while_loop(is_small, keeps_inside, &x, 1, &y));
    CHECK_REFUSED(g, ag_mul(inside, x), AG_ERR_GRAPH, "");
    CHECK_REFUSED(g, ag_grad(&inside, 1, &x, 1, two, .allow_unused = true), AG_ERR_GRAPH, "");
    const ag_feed feed = { x, ag_ones(c, AG_SHAPE(1), .dtype = AG_F64) };
    ag_session *s = flow_session(g, AG_BACKEND_FUSED);
    CHECK_ERROR(ag_session_run(s, &feed, 1, &inside, 1, two), AG_ERR_GRAPH, "");
    CHECK_VALUES(flow_fetch(s, &feed, 1, y), AG_SHAPE(1), AG_VALUES(64), 0);
}

FLOW_BUILD(first)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(in[0], 1)) != NULL;
}

FLOW_SCAN_STEP(sums)
{
    SCAN_UNUSED;
    return (next[0] = y[0] = ag_add(carry[0], x[0])) != NULL;
}

static void t_finalized(ag_context *c)
{
    static const char sentence[] = "Graph is finalized and cannot be modified.";
    ag_graph *g = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *p = make(c, g, AG_BOOL, AG_SHAPE()), *y, *d,
              *z;
    CHECK(ag_while_loop(is_small, twice, &x, 1, &y));
    CHECK(d = ag_sum(y));
    CHECK(ag_graph_finalize(g));
    CHECK_REFUSED(g, ag_while_loop(is_small, twice, &x, 1, &z), AG_ERR_GRAPH, sentence);
    CHECK_REFUSED(g, ag_cond(p, first, first, &x, 1, &z, 1), AG_ERR_GRAPH, sentence);
    CHECK_REFUSED(g, ag_scan(sums, &x, 1, &x, 1, &z, &z, 1), AG_ERR_GRAPH, sentence);
    CHECK_REFUSED(g, ag_grad(&d, 1, &x, 1, &z), AG_ERR_GRAPH, sentence);
    const ag_feed feed = { x, ag_ones(c, AG_SHAPE(2), .dtype = AG_F64) };
    CHECK_CLOSE(ag_item(flow_fetch(flow_session(g, AG_BACKEND_FUSED), &feed, 1, d)), 64, 0);
}

/* ---- branches ---- */

FLOW_BUILD(single)
{
    BUILD_UNUSED;
    return (out[0] = ag_to(in[0], AG_F32)) != NULL;
}

FLOW_BUILD(another_rank)
{
    BUILD_UNUSED;
    return (out[0] = ag_unsqueeze(in[0], 0)) != NULL;
}

FLOW_BUILD(nothing)
{
    BUILD_UNUSED, (void)in, (void)out;
    return true;
}

FLOW_BUILD(refuses)
{
    BUILD_UNUSED, (void)out;
    return ag_fail(ag_context_of(in[0]), AG_ERR_INDEX, "this branch is closed");
}

static void t_branches(ag_context *c)
{
    BOTH_WAYS(c, g)
    {
        ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *p = make(c, g, AG_BOOL, AG_SHAPE()), *y;
        ag_tensor *each = make(c, g, AG_BOOL, AG_SHAPE(2));
        CHECK_REFUSED(g, ag_cond(each, first, first, &x, 1, &y, 1), AG_ERR_SHAPE,
                      "must be a scalar, got shape [2]");
        CHECK_REFUSED(g, ag_cond(p, nothing, first, &x, 1, &y, 1), AG_ERR_VALUE, "ag_cond");
        CHECK_REFUSED(g, ag_cond(p, refuses, first, &x, 1, &y, 1), AG_ERR_INDEX,
                      "this branch is closed");
        CHECK_REFUSED(g, ag_cond(p, NULL, first, &x, 1, &y, 1), AG_ERR_VALUE, "ag_cond");
        CHECK_REFUSED(g, ag_cond(p, first, NULL, &x, 1, &y, 1), AG_ERR_VALUE, "ag_cond");
        CHECK_REFUSED(g, ag_cond(p, first, first, NULL, 1, &y, 1), AG_ERR_VALUE, "ag_cond");
        CHECK(!ag_cond(NULL, first, first, &x, 1, &y, 1));
        ag_error_clear(c);
    }
}

/* A graph holds both branches, so that they must agree. */
static void t_branches_differ(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *p = make(c, g, AG_BOOL, AG_SHAPE()), *y;
    CHECK_REFUSED(g, ag_cond(p, first, single, &x, 1, &y, 1), AG_ERR_DTYPE, "ag_cond");
    CHECK_REFUSED(g, ag_cond(p, first, another_rank, &x, 1, &y, 1), AG_ERR_SHAPE, "ag_cond");
    CHECK_REFUSED(g, ag_cond(p, first, refuses, &x, 1, &y, 1), AG_ERR_INDEX,
                  "this branch is closed");
    CHECK_REFUSED(g, ag_cond(p, first, nothing, &x, 1, &y, 1), AG_ERR_VALUE, "ag_cond");
    const ag_fn fns[] = { first, first, single };
    ag_tensor *i = make(c, g, AG_I64, AG_SHAPE());
    CHECK_REFUSED(g, ag_switch(i, fns, 3, &x, 1, &y, 1), AG_ERR_DTYPE, "ag_switch");
}

static void t_switch(ag_context *c)
{
    BOTH_WAYS(c, g)
    {
        const ag_fn fns[] = { first, first }, hole[] = { NULL, NULL };
        ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *i = make(c, g, AG_I64, AG_SHAPE()), *y;
        ag_tensor *each = make(c, g, AG_I64, AG_SHAPE(2)), *real = make(c, g, AG_F64, AG_SHAPE());
        CHECK_REFUSED(g, ag_switch(each, fns, 2, &x, 1, &y, 1), AG_ERR_SHAPE, "ag_switch");
        CHECK_REFUSED(g, ag_switch(real, fns, 2, &x, 1, &y, 1), AG_ERR_DTYPE, "ag_switch");
        CHECK_REFUSED(g, ag_switch(i, fns, 0, &x, 1, &y, 1), AG_ERR_VALUE, "ag_switch");
        CHECK_REFUSED(g, ag_switch(i, hole, 2, &x, 1, &y, 1), AG_ERR_VALUE, "ag_switch");
        CHECK_REFUSED(g, ag_switch(i, NULL, 2, &x, 1, &y, 1), AG_ERR_VALUE, "ag_switch");
    }
}

/* ---- scans ---- */

FLOW_SCAN_STEP(single_carry)
{
    SCAN_UNUSED;
    next[0] = ag_to(carry[0], AG_F32);
    return next[0] && (y[0] = x[0]) != NULL;
}

FLOW_SCAN_STEP(longer_carry)
{
    SCAN_UNUSED;
    return (y[0] = x[0]) != NULL && longer(carry, 1, next, user);
}

FLOW_SCAN_STEP(no_y)
{
    SCAN_UNUSED;
    return (next[0] = carry[0]) != NULL;
}

static void t_scans(ag_context *c)
{
    static const char differ[] =
        "carry input and carry output must have equal types, but they differ";
    BOTH_WAYS(c, g)
    {
        ag_tensor *init = make(c, g, AG_F64, AG_SHAPE(2)), *last, *ys;
        ag_tensor *xs[] = { make(c, g, AG_F64, AG_SHAPE(3, 2)),
                            make(c, g, AG_F64, AG_SHAPE(4, 2)) };
        ag_tensor *number = make(c, g, AG_F64, AG_SHAPE());
        CHECK_REFUSED(g, ag_scan(single_carry, &init, 1, xs, 1, &last, &ys, 1), AG_ERR_DTYPE,
                      differ);
        if (g)
            CHECK_REFUSED(g, ag_scan(longer_carry, &init, 1, xs, 1, &last, &ys, 1), AG_ERR_SHAPE,
                          differ);
        CHECK_REFUSED(g, ag_scan(sums, &init, 1, xs, 2, &last, &ys, 1), AG_ERR_SHAPE,
                      "scan got values with different leading axis sizes: 3");
        CHECK_REFUSED(g, ag_scan(sums, &init, 1, &number, 1, &last, &ys, 1), AG_ERR_SHAPE,
                      "to scan");
        CHECK_REFUSED(g, ag_scan(sums, &init, 1, xs, 1, &last, &ys, 1, .length = 5), AG_ERR_SHAPE,
                      "scan got `length` argument of 5 which disagrees with leading axis sizes");
        CHECK_REFUSED(g, ag_scan(no_y, &init, 1, xs, 1, &last, &ys, 1), AG_ERR_VALUE, "ag_scan");
        CHECK_REFUSED(g, ag_scan(no_y, &init, 1, NULL, 0, &last, NULL, 0, .length = -1),
                      AG_ERR_VALUE, "length");
        CHECK_REFUSED(g, ag_scan(NULL, &init, 1, xs, 1, &last, &ys, 1), AG_ERR_VALUE, "ag_scan");
        CHECK(ag_scan(sums, &init, 1, xs, 1, &last, &ys, 1, .length = 3));
    }
}

/* ---- gradients ---- */

static void t_gradients(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(2)), *z = make(c, g, AG_F64, AG_SHAPE(2)), *y, *d;
    ag_tensor *count = make(c, g, AG_I64, AG_SHAPE());
    CHECK(ag_while_loop(is_small, twice, &x, 1, &y));
    CHECK_REFUSED(g, ag_grad(&y, 1, &x, 1, &d), AG_ERR_GRAD,
                  "grad can be implicitly created only for scalar outputs");
    CHECK_REFUSED(g, ag_grad(&y, 1, &x, 1, &d, .grad_outputs = &count), AG_ERR_SHAPE,
                  "Mismatch in shape");
    CHECK(y = ag_sum(y));
    CHECK_REFUSED(g, ag_grad(&y, 1, &z, 1, &d), AG_ERR_GRAD,
                  "One of the differentiated Tensors appears to not have been used in the graph.");
    CHECK(ag_grad(&y, 1, &z, 1, &d, .allow_unused = true) && !d);
    CHECK_REFUSED(g, ag_grad(&y, 1, &count, 1, &d), AG_ERR_GRAD, "");
}

/* ---- in runs ---- */

FLOW_STEP(times_captured)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], (ag_tensor *)user)) != NULL;
}

/* Sizes that are not known before fail when the body runs; the session goes on. */
static void t_shapes_in_a_run(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = make(c, g, AG_F64, AG_SHAPE(-1)), *w = make(c, g, AG_F64, AG_SHAPE(-1)), *y, *r;
    CHECK(ag_while_loop(is_small, times_captured, &x, 1, &y, .user = w));
    ag_tensor *three = ag_full(c, AG_SHAPE(3), 4, .dtype = AG_F64);
    ag_tensor *two = ag_full(c, AG_SHAPE(2), 4, .dtype = AG_F64);
    const ag_feed bad[] = { { x, two }, { w, three } }, good[] = { { x, two }, { w, two } };
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        CHECK_ERROR(ag_session_run(s, bad, 2, &y, 1, &r), AG_ERR_SHAPE,
                    "ag_mul: The size of tensor a (2) must match the size of tensor b (3)");
        CHECK_VALUES(flow_fetch(s, good, 2, y), AG_SHAPE(2), AG_VALUES(64, 64), 0);
    }
}

/* Lengths of scans that turn out to differ. */
static void t_lengths_in_a_run(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *xs[] = { make(c, g, AG_F64, AG_SHAPE(-1)), make(c, g, AG_F64, AG_SHAPE(-1)) };
    ag_tensor *zero = ag_scalar(c, 0, .dtype = AG_F64), *last, *ys, *r;
    CHECK(ag_scan(sums, &zero, 1, xs, 2, &last, &ys, 1));
    const ag_feed feeds[] = { { xs[0], ag_ones(c, AG_SHAPE(3), .dtype = AG_F64) },
                              { xs[1], ag_ones(c, AG_SHAPE(2), .dtype = AG_F64) } };
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        CHECK_ERROR(ag_session_run(s, feeds, 2, &last, 1, &r), AG_ERR_SHAPE,
                    "scan got values with different leading axis sizes: 3");
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_shape_is_not_invariant), TEST(t_size_is_forgotten),
               TEST(t_invariants_do_not_fit), TEST(t_dtype_changes), TEST(t_condition_of_a_graph),
               TEST(t_functions_that_fail), TEST(t_data_in_a_body), TEST(t_arguments_of_while),
               TEST(t_other_graphs), TEST(t_finalized), TEST(t_branches), TEST(t_branches_differ),
               TEST(t_switch), TEST(t_scans), TEST(t_gradients), TEST(t_shapes_in_a_run),
               TEST(t_lengths_in_a_run));
}
