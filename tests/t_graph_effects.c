/* What does not stay as it was recorded: tensors of a graph that are written in place, and random
 * numbers, which are new in each run. */
#include "graphs.h"

/* ---- in place: the tensor stands for the new value from then on ---- */

static void t_in_place(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1), .name = "x");
    ag_tensor *before = ag_mul(x, 10);
    CHECK(v && before);
    CHECK(ag_add_(x, 1) == x);
    ag_tensor *between = ag_mul(x, 10);
    CHECK(between && ag_mul_(x, x) == x && ag_neg_(x) == x);
    ag_tensor *after = ag_mul(x, 10);
    CHECK(after && ag_is_symbolic(x));
    CHECK_SHAPE(x, AG_SHAPE(-1));
    ag_tensor *placeholder = ag_graph_find(g, "x");
    CHECK(placeholder);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        CHECK_VALUES(FETCH(s, before, { placeholder, v }), AG_SHAPE(2), AG_VALUES(10, 20), 0);
        CHECK_VALUES(FETCH(s, between, { placeholder, v }), AG_SHAPE(2), AG_VALUES(20, 30), 0);
        CHECK_VALUES(FETCH(s, after, { placeholder, v }), AG_SHAPE(2), AG_VALUES(-40, -90), 0);
        CHECK_VALUES(FETCH(s, x, { placeholder, v }), AG_SHAPE(2), AG_VALUES(-4, -9), 0);
        CHECK_VALUES(FETCH(s, placeholder, { placeholder, v }), AG_SHAPE(2), AG_VALUES(1, 2), 0);
        CHECK_VALUES(FETCH(s, after, { x, v }), AG_SHAPE(2), AG_VALUES(10, 20), 0);
    }
    CHECK_VALUES(v, AG_SHAPE(2), AG_VALUES(1, 2), 0);
}

/* What reads a constant or a variable and writes that value in place leaves both as they are. */
static void t_in_place_on_constants_and_variables(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
    ag_tensor *k = ag_constant(g, v, .name = "k"), *w = ag_variable(g, v, .name = "w");
    CHECK(k && w);
    CHECK(ag_add_(k, 1) == k && ag_fill_(w, 5) == w && ag_copy_(w, ag_mul(k, w)) == w);
    for (int i = 0; i < GRAPHS_BACKENDS; i++) {
        ag_session *s = graphs_session(g, graphs_backend[i]);
        for (int run = 0; run < 2; run++)
            CHECK_VALUES(FETCH(s, w), AG_SHAPE(2), AG_VALUES(10, 15), 0);
        CHECK_VALUES(FETCH(s, ag_graph_find(g, "k")), AG_SHAPE(2), AG_VALUES(1, 2), 0);
        CHECK_VALUES(FETCH(s, ag_graph_find(g, "w")), AG_SHAPE(2), AG_VALUES(1, 2), 0);
        CHECK_VALUES(ag_variable_value(s, ag_graph_find(g, "w")), AG_SHAPE(2), AG_VALUES(1, 2), 0);
    }
}

/* Structured writes, against the same calls on data. */
static bool writes(ag_tensor *x, ag_tensor *i, ag_tensor *m)
{
    return ag_index_add_(x, 0, i, ag_ones_like(ag_index_select(x, 0, i))) &&
           ag_masked_fill_(x, m, 9) && ag_clamp_(x, 1, 8) && ag_lerp_(x, ag_square(x), .25) &&
           ag_index_put_(x, &i, 1, ag_sum(x), true);
}

static void t_structured_writes(ag_context *c)
{
    ag_tensor *v = graphs_numbers(c, AG_F32, AG_SHAPE(3, 2)),
              *j = graphs_numbers(c, AG_I64, AG_SHAPE(3)),
              *n = graphs_numbers(c, AG_BOOL, AG_SHAPE(3, 1)), *expected = ag_clone(v);
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 2), .name = "x"),
              *i = ag_placeholder(g, AG_I64, AG_SHAPE(-1)),
              *m = ag_placeholder(g, AG_BOOL, AG_SHAPE(-1, 1));
    CHECK(expected && j && n && x && i && m);
    CHECK(writes(expected, j, n) && writes(x, i, m));
    for (int k = 0; k < GRAPHS_BACKENDS; k++)
        CHECK_SAME(FETCH(graphs_session(g, graphs_backend[k]), x, { ag_graph_find(g, "x"), v },
                         { i, j }, { m, n }),
                   expected);
}

/* y = ((x + 1) x)^2 by writes; dy/dx = 2 (x^2 + x) (2 x + 1). */
static void t_gradients_through_writes(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(2)), *dx = NULL;
    ag_tensor *y = ag_add(x, 1);
    CHECK(v && y && ag_mul_(y, x) && ag_square_(y));
    ag_tensor *sum = ag_sum(y);
    CHECK(sum && ag_grad(&sum, 1, &x, 1, &dx));
    for (int k = 0; k < GRAPHS_BACKENDS; k++)
        CHECK_VALUES(FETCH(graphs_session(g, graphs_backend[k]), dx, { x, v }), AG_SHAPE(2),
                     AG_VALUES(12, 60), 0);
}

/* A write that is refused changes nothing. */
static void t_writes_that_are_refused(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)),
              *i = ag_placeholder(g, AG_I64, AG_SHAPE(2));
    CHECK(v && x && i);
    CHECK_ERROR(ag_add_(x, ag_ones(c, AG_SHAPE(3))), AG_ERR_SHAPE, "must match the size of tensor");
    CHECK_ERROR(ag_add_(x, ag_ones(c, AG_SHAPE(2, 2))), AG_ERR_SHAPE, "[2, 2]");
    CHECK_ERROR(ag_add_(i, 1.5), AG_ERR_DTYPE, "can't be cast to the desired output type");
    CHECK_VALUES(FETCH(graphs_session(g, AG_BACKEND_FUSED), x, { x, v }), AG_SHAPE(2),
                 AG_VALUES(1, 2), 0);
}

/* ---- tensors like symbolic ones ---- */

static void t_zeros_and_ones_like(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_ones(c, AG_SHAPE(3, 2), .dtype = AG_I64);
    ag_tensor *x = ag_placeholder(g, AG_I64, AG_SHAPE(-1, 2));
    ag_tensor *zeros = ag_zeros_like(x), *ones = ag_ones_like(x);
    CHECK(v && zeros && ones);
    CHECK_SHAPE(zeros, AG_SHAPE(-1, 2));
    CHECK_INT(ag_dtype_of(ones), AG_I64);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        CHECK_SAME(FETCH(s, zeros, { x, v }), ag_zeros_like(v));
        CHECK_SAME(FETCH(s, ones, { x, v }), v);
    }
}

/* ---- random numbers ---- */

/* How many elements of a and b, of one shape and float32, are equal. */
static int64_t equals(ag_tensor *a, ag_tensor *b)
{
    ag_tensor *n = ag_count_nonzero(ag_eq(a, b));
    return n ? (int64_t)ag_item(n) : -1;
}

static void t_each_run_draws_anew(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_ones(c, AG_SHAPE(40));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1));
    ag_tensor *const draws[] = { ag_rand_like(x), ag_randn_like(x), ag_dropout(x, .5, true),
                                 ag_bernoulli(ag_mul(x, .5)) };
    CHECK(v);
    for (int k = 0; k < GRAPHS_BACKENDS; k++)
        for (size_t i = 0; i < sizeof draws / sizeof *draws; i++)
            AG_SCOPE (c) {
                CHECK(draws[i]);
                CHECK_SHAPE(draws[i], AG_SHAPE(-1));
                ag_session *s = ag_session_new(g, .backend = graphs_backend[k]);
                ag_manual_seed(c, 5);
                ag_tensor *first = FETCH(s, draws[i], { x, v }),
                          *second = FETCH(s, draws[i], { x, v });
                ag_manual_seed(c, 5);
                ag_tensor *again = FETCH(s, draws[i], { x, v });
                ag_session_free(s);
                CHECK(first && second);
                CHECK(equals(first, second) < 40);
                CHECK_SAME(again, first);
            }
}

/* Two operations of one run draw for themselves, and so does an equal one. */
static void t_equal_draws_are_not_one(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_ones(c, AG_SHAPE(40));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(40));
    ag_tensor *const fetches[] = { ag_rand_like(x), ag_rand_like(x) };
    ag_tensor *results[2] = { NULL };
    const ag_feed feed = { x, v };
    CHECK(v && fetches[0] && fetches[1]);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        CHECK(ag_session_run(graphs_session(g, graphs_backend[k]), &feed, 1, fetches, 2, results));
        CHECK(equals(results[0], results[1]) < 40);
    }
}

static void t_dropout(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = graphs_numbers(c, AG_F32, AG_SHAPE(60));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *dx = NULL;
    ag_tensor *y = ag_dropout(x, .25, true), *sum = ag_sum(y);
    CHECK(v && sum && ag_grad(&sum, 1, &x, 1, &dx));
    ag_tensor *const fetches[] = { y, dx };
    const ag_feed feed = { x, v };
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_tensor *r[2] = { NULL };
        ag_manual_seed(c, 11);
        CHECK(ag_session_run(graphs_session(g, graphs_backend[k]), &feed, 1, fetches, 2, r));
        int zeros = 0;
        for (int64_t i = 0; i < 60; i++) {
            const double kept = ag_at(r[0], i) != 0, scale = 1 / .75;
            zeros += kept == 0;
            CHECK_CLOSE(ag_at(r[0], i), kept * scale * ag_at(v, i), 1e-6);
            CHECK_CLOSE(ag_at(r[1], i), kept * scale, 1e-6);
        }
        CHECK(zeros > 0 && zeros < 60);
    }
}

/* A run that is not asked for a draw, or is fed it, draws nothing. */
static void t_no_draw_without_need(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_ones(c, AG_SHAPE(8));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(8)), *draw = ag_rand_like(x),
              *sum = ag_add(draw, x), *plain = ag_mul(x, 2);
    CHECK(v && sum && plain);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        ag_manual_seed(c, 3);
        ag_tensor *expected = FETCH(s, draw, { x, v });
        ag_manual_seed(c, 3);
        CHECK_SAME(FETCH(s, plain, { x, v }), ag_mul(v, 2));
        CHECK_SAME(FETCH(s, sum, { x, v }, { draw, v }), ag_mul(v, 2));
        CHECK_SAME(FETCH(s, draw, { x, v }), expected);
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_in_place), TEST(t_in_place_on_constants_and_variables),
               TEST(t_structured_writes), TEST(t_gradients_through_writes),
               TEST(t_writes_that_are_refused), TEST(t_zeros_and_ones_like),
               TEST(t_each_run_draws_anew), TEST(t_equal_draws_are_not_one), TEST(t_dropout),
               TEST(t_no_draw_without_need));
}
