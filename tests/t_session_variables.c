/* Variables: each session's own, written at the end of a run by the assignments that it needs. */
#include "graphs.h"

static ag_tensor *numbers(ag_context *c, double a, double b)
{
    return ag_array(c, AG_VALUES(a, b), AG_SHAPE(2));
}

/* ---- sessions ---- */

static void t_each_session_has_its_own(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *initial = numbers(c, 1, 2), *w = ag_variable(g, initial, .name = "w"),
              *more = ag_assign_add(w, ag_ones(c, AG_SHAPE(2)));
    CHECK(more);
    CHECK_SHAPE(more, AG_SHAPE(2));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]),
                   *other = graphs_session(g, graphs_backend[b]);
        CHECK_SAME(ag_variable_value(s, w), initial);
        CHECK_SAME(FETCH(s, more), numbers(c, 2, 3));
        CHECK_SAME(FETCH(s, more), numbers(c, 3, 4));
        CHECK_SAME(ag_variable_value(s, w), numbers(c, 3, 4));
        CHECK_SAME(ag_variable_value(other, w), initial);
        CHECK_SAME(FETCH(other, w), initial);
    }
}

static void t_values_from_outside(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *w = ag_variable(g, numbers(c, 1, 2)), *y = ag_mul(w, 2), *value = numbers(c, 5, 6);
    CHECK(y && value);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        ag_tensor *copy = ag_variable_value(s, w);
        CHECK(copy && !ag_is_symbolic(copy) && ag_fill_(copy, 9));
        CHECK_SAME(FETCH(s, y), numbers(c, 2, 4));
        ag_tensor *set = ag_clone(value);
        CHECK(ag_variable_set(s, w, set) && ag_fill_(set, 9)); /* that is copied too */
        CHECK_SAME(FETCH(s, y), numbers(c, 10, 12));
        CHECK_SAME(FETCH(s, y, { w, numbers(c, 7, 8) }), numbers(c, 14, 16));
        CHECK_SAME(ag_variable_value(s, w), value); /* a feed is for its run only */
    }
}

static void t_values_from_outside_that_do_not_fit(ag_context *c)
{
    ag_graph *g = graphs_graph(c), *h = graphs_graph(c);
    ag_tensor *v = numbers(c, 1, 2);
    ag_tensor *w = ag_variable(g, v, .name = "w"), *z = ag_variable(h, v), *y = ag_mul(w, 2),
              *x = ag_placeholder(g, AG_F32, AG_SHAPE(2));
    ag_session *s = graphs_session(g, AG_BACKEND_FUSED);
    CHECK(v && y && z && x);
    CHECK_ERROR(ag_variable_set(s, w, ag_ones(c, AG_SHAPE(3))), AG_ERR_SHAPE, "[3]");
    CHECK_ERROR(ag_variable_set(s, w, ag_ones(c, AG_SHAPE(2), .dtype = AG_F64)), AG_ERR_DTYPE,
                "float64");
    CHECK_ERROR(ag_variable_set(s, w, NULL), AG_ERR_VALUE, "NULL");
    CHECK_ERROR(ag_variable_set(s, NULL, v), AG_ERR_VALUE, "NULL");
    CHECK_ERROR(ag_variable_set(s, w, x), AG_ERR_VALUE, "symbolic");
    CHECK_ERROR(ag_variable_set(s, y, v), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_variable_set(s, x, v), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_variable_set(s, v, v), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_variable_set(s, z, v), AG_ERR_GRAPH, "graph");
    CHECK_ERROR(ag_variable_value(s, y), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_variable_value(s, v), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_variable_value(s, z), AG_ERR_GRAPH, "graph");
    CHECK(!ag_variable_value(NULL, w) && !ag_variable_set(NULL, w, v));
    ag_error_clear(c);
    CHECK_SAME(ag_variable_value(s, w), v);
}

/* ---- assignments ---- */

static void t_a_run_reads_what_was_there_at_its_start(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *w = ag_variable(g, ag_scalar(c, 1)), *r = ag_add(w, 0),
              *new = ag_assign(w, ag_mul(w, 3)), *late = ag_mul(w, 10), *next = ag_mul(new, 10);
    ag_tensor *const fetches[] = { new, r, w, late, next };
    static const double expected[2][5] = { { 3, 1, 1, 10, 30 }, { 9, 3, 3, 30, 90 } };
    CHECK(r && late && next);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_CLOSE(ag_item(FETCH(s, r)), 1, 0); /* needs no assignment, and makes none */
        for (int run = 0; run < 2; run++) {
            ag_tensor *t[5] = { NULL };
            CHECK(ag_session_run(s, NULL, 0, fetches, 5, t));
            for (int i = 0; i < 5; i++)
                CHECK_CLOSE(ag_item(t[i]), expected[run][i], 0);
        }
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 9, 0);
        CHECK_CLOSE(ag_item(FETCH(s, next)), 270, 0); /* what depends on it makes it happen */
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 27, 0);
    }
}

/* Two variables trade their values. */
static void t_assignments_are_simultaneous(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *a = ag_variable(g, numbers(c, 1, 2)), *b = ag_variable(g, numbers(c, 3, 4));
    ag_tensor *both[] = { ag_assign(a, b), ag_assign(b, a) }, *trade = ag_group(both, 2);
    CHECK(trade);
    CHECK_INT(ag_ndim(trade), 0);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        ag_tensor *t = FETCH(s, trade);
        CHECK(t && ag_ndim(t) == 0);
        CHECK_SAME(ag_variable_value(s, a), numbers(c, 3, 4));
        CHECK_SAME(ag_variable_value(s, b), numbers(c, 1, 2));
        CHECK(FETCH(s, trade));
        CHECK_SAME(ag_variable_value(s, a), numbers(c, 1, 2));
    }
}

/* assign_add and assign_sub go on from the assignments before them, in the order of recording. */
static void t_assignments_in_a_row(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *w = ag_variable(g, ag_scalar(c, 1)), *two = ag_scalar(c, 2), *five = ag_scalar(c, 5);
    ag_tensor *a = ag_assign_add(w, two), *b = ag_assign_add(w, five), *d = ag_assign_sub(w, two);
    ag_tensor *const fetches[] = { a, b, d }, *const turned[] = { d, b, a };
    CHECK(a && b && d);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        ag_tensor *t[3] = { NULL };
        CHECK(ag_session_run(s, NULL, 0, fetches, 3, t));
        CHECK_CLOSE(ag_item(t[0]), 3, 0);
        CHECK_CLOSE(ag_item(t[1]), 8, 0);
        CHECK_CLOSE(ag_item(t[2]), 6, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 6, 0);
        CHECK(ag_session_run(s, NULL, 0, turned, 3, t));
        CHECK_CLOSE(ag_item(t[0]), 11, 0);
        CHECK_CLOSE(ag_item(t[1]), 13, 0);
        CHECK_CLOSE(ag_item(t[2]), 8, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 11, 0);
        CHECK_CLOSE(ag_item(FETCH(s, a)), 13, 0); /* not what comes after it */
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 13, 0);
    }
}

/* They take the dtype of the variable, and have no dimensions. */
static void t_numbers_are_assigned(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *n = ag_variable(g, ag_scalar(c, 5, .dtype = AG_I64));
    ag_tensor *x = ag_variable(g, ag_scalar(c, 5)), *v = ag_variable(g, ag_ones(c, AG_SHAPE(3)));
    ag_tensor *more = ag_assign_add(n, 2), *less = ag_assign_sub(x, 0.5), *none = ag_assign(x, 0);
    ag_tensor *const fetches[] = { more, less, none };
    CHECK(more && less && none);
    CHECK(ag_dtype_of(more) == AG_I64 && ag_dtype_of(none) == AG_F32);
    CHECK_ERROR(ag_assign_add(v, 1), AG_ERR_SHAPE,
                "ag_assign_add: the variable has shape [3], the value []");
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        ag_tensor *t[3] = { NULL };
        CHECK(ag_session_run(s, NULL, 0, fetches, 3, t));
        CHECK_CLOSE(ag_item(t[0]), 7, 0);
        CHECK_CLOSE(ag_item(t[1]), 4.5, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, n)), 7, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, x)), 0, 0);
    }
}

static void t_the_last_assignment_stays(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *w = ag_variable(g, ag_scalar(c, 0));
    ag_tensor *first = ag_assign(w, ag_scalar(c, 1)), *second = ag_assign(w, ag_scalar(c, 2)),
              *third = ag_assign_sub(w, ag_scalar(c, 0.5));
    ag_tensor *const turned[] = { second, first }, *const last[] = { third, second };
    CHECK(first && second && third);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        ag_tensor *t[2] = { NULL };
        CHECK(ag_session_run(s, NULL, 0, turned, 2, t));
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 2, 0);
        CHECK(ag_session_run(s, NULL, 0, last, 2, t));
        CHECK_CLOSE(ag_item(t[0]), 1.5, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 1.5, 0);
        CHECK_CLOSE(ag_item(FETCH(s, first)), 1, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 1, 0);
    }
}

static void t_assignments_that_do_not_fit(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 1, 2), *w = ag_variable(g, v, .name = "w"),
              *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)), *y = ag_mul(w, 2);
    CHECK(v && w && x && y);
    CHECK_ERROR(ag_assign(w, ag_ones(c, AG_SHAPE(3))), AG_ERR_SHAPE, "[3]");
    CHECK_ERROR(ag_assign(w, ag_sum(x)), AG_ERR_SHAPE, "[]"); /* it does not broadcast */
    CHECK_ERROR(ag_assign_add(w, ag_ones(c, AG_SHAPE(2, 2))), AG_ERR_SHAPE, "[2, 2]");
    CHECK_ERROR(ag_assign(w, ag_to(x, AG_F64)), AG_ERR_DTYPE, "float64");
    CHECK_ERROR(ag_assign_sub(w, ag_to(x, AG_I64)), AG_ERR_DTYPE, "int64");
    CHECK_ERROR(ag_assign(x, v), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_assign(y, v), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_assign(v, x), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_assign_add(v, v), AG_ERR_VALUE, "variable");
    CHECK_ERROR(ag_assign(w, NULL), AG_ERR_VALUE, "NULL");
    CHECK(!ag_assign(NULL, v));
    ag_error_clear(c);
    CHECK(!ag_group(NULL, 2)); /* there is no context to tell */
    CHECK_SAME(FETCH(graphs_session(g, AG_BACKEND_FUSED), w), v);
}

/* A size that is known only in the run must fit then. */
static void t_assigned_sizes_that_turn_out_wrong(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 1, 2), *w = ag_variable(g, v),
              *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1)), *new = ag_assign(w, x);
    CHECK(new);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        CHECK_ERROR(FETCH(s, new, { x, ag_ones(c, AG_SHAPE(3)) }), AG_ERR_SHAPE, "[3]");
        CHECK_SAME(ag_variable_value(s, w), v);
        CHECK_SAME(FETCH(s, new, { x, numbers(c, 3, 4) }), numbers(c, 3, 4));
        CHECK_SAME(ag_variable_value(s, w), numbers(c, 3, 4));
    }
}

/* ---- order ---- */

static void t_control_dependencies(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *one = ag_scalar(c, 1), *w = ag_variable(g, ag_scalar(c, 1)),
              *other = ag_variable(g, ag_scalar(c, 100)), *new = ag_assign(w, ag_mul(w, 2)),
              *more = ag_assign_add(other, one);
    CHECK(new &&more &&ag_control_dependencies_push(g, &new, 1));
    ag_tensor *after = ag_add(w, 0);
    CHECK(ag_control_dependencies_push(g, &more, 1));
    ag_tensor *after_both = ag_add(w, other);
    ag_control_dependencies_pop(g);
    ag_tensor *after_one = ag_add(w, other);
    ag_control_dependencies_pop(g);
    ag_tensor *outside = ag_add(w, other);
    CHECK(after && after_both && after_one && outside);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        CHECK_CLOSE(ag_item(FETCH(s, after)), 2, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 2, 0);
        CHECK_CLOSE(ag_item(FETCH(s, after_both)), 4 + 101, 0);
        CHECK_CLOSE(ag_item(FETCH(s, after_one)), 8 + 101, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, other)), 101, 0);
        CHECK_CLOSE(ag_item(FETCH(s, outside)), 8 + 101, 0);
        CHECK_CLOSE(ag_item(ag_variable_value(s, w)), 8, 0);
    }
}

static void t_control_dependencies_that_cannot_be(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_scalar(c, 1), *none = NULL, *x = ag_placeholder(g, AG_F32, AG_SHAPE());
    CHECK(v && x);
    CHECK_ERROR(ag_control_dependencies_push(g, &none, 1), AG_ERR_VALUE, "NULL");
    CHECK_ERROR(ag_control_dependencies_push(g, NULL, 1), AG_ERR_VALUE, "NULL");
    CHECK_ERROR(ag_control_dependencies_push(g, &x, -1), AG_ERR_VALUE, "-1");
    CHECK_ERROR(ag_control_dependencies_push(g, &v, 1), AG_ERR_VALUE, "symbolic");
    CHECK(ag_control_dependencies_push(g, NULL, 0));
    ag_control_dependencies_pop(g);
    ag_control_dependencies_pop(g); /* one too many: nothing */
    ag_error_clear(c);
    CHECK(ag_add(x, 1));
}

/* ---- variables without a value ---- */

static void t_a_variable_without_a_value(ag_context *c)
{
    static const char sentence[] = "Attempting to use uninitialized value w";
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 1, 2), *w = ag_variable_empty(g, AG_F32, AG_SHAPE(2), .name = "w"),
              *y = ag_mul(w, 2), *set = ag_assign(w, v), *use = ag_mul(set, 5);
    CHECK(v && y && use);
    CHECK_SHAPE(w, AG_SHAPE(2));
    ag_graph *h = graphs_graph(c);
    ag_tensor *e = ag_variable_empty(h, AG_F32, AG_SHAPE(2), .name = "w"),
              *more = ag_assign_add(e, v);
    CHECK(more);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        CHECK_ERROR(FETCH(s, y), AG_ERR_VALUE, sentence);
        CHECK_ERROR(FETCH(s, w), AG_ERR_VALUE, sentence);
        CHECK_ERROR(ag_variable_value(s, w), AG_ERR_VALUE, sentence);
        CHECK_SAME(FETCH(s, y, { w, v }), numbers(c, 2, 4)); /* a feed is a value */
        CHECK_ERROR(FETCH(s, y), AG_ERR_VALUE, sentence);
        CHECK_SAME(FETCH(s, use), numbers(c, 5, 10)); /* an assignment reads nothing */
        CHECK_SAME(FETCH(s, y), numbers(c, 2, 4));
        ag_session *other = graphs_session(h, graphs_backend[k]);
        CHECK_ERROR(FETCH(other, more), AG_ERR_VALUE, sentence);
        CHECK(ag_variable_set(other, e, v));
        CHECK_SAME(FETCH(other, more), numbers(c, 2, 4));
    }
}

/* ---- runs that fail ---- */

static void t_a_failed_run_leaves_variables(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *one = ag_ones(c, AG_SHAPE(2)), *v = numbers(c, 1, 2);
    ag_tensor *w = ag_variable(g, v), *u = ag_variable(g, v),
              *i = ag_placeholder(g, AG_I64, AG_SHAPE(1));
    ag_tensor *const fetches[] = { ag_assign_add(w, one), ag_assign(u, ag_mul(w, 9)),
                                   ag_index_select(w, 0, i) };
    ag_tensor *good = ag_zeros(c, AG_SHAPE(1), .dtype = AG_I64),
              *bad = ag_full(c, AG_SHAPE(1), 5, .dtype = AG_I64);
    CHECK(fetches[0] && fetches[1] && fetches[2] && good && bad);
    const ag_feed feeds[] = { { i, good }, { i, bad } };
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        ag_tensor *t[3] = { NULL };
        CHECK_ERROR(ag_session_run(s, &feeds[1], 1, fetches, 3, t), AG_ERR_INDEX,
                    "index 5 is out of bounds for dimension 0 with size 2");
        CHECK_SAME(ag_variable_value(s, w), v);
        CHECK_SAME(ag_variable_value(s, u), v);
        CHECK(ag_session_run(s, &feeds[0], 1, fetches, 3, t));
        CHECK_SAME(ag_variable_value(s, w), numbers(c, 2, 3));
        CHECK_SAME(ag_variable_value(s, u), numbers(c, 9, 18));
    }
}

/* ---- learning by assignments ---- */

/* Least squares for a line through centred points: w = sum x y / sum x^2, b = mean y. The eager loop
 * beside it makes the same steps. */
static void t_a_line_is_learnt(ag_context *c)
{
    const int steps = harness_faults() ? 2 : 60;
    ag_tensor *vx = ag_array(c, AG_VALUES(-1.5, -.5, .5, 1.5), AG_SHAPE(4), .dtype = AG_F64),
              *vy = ag_array(c, AG_VALUES(-3, 0, 2, 7), AG_SHAPE(4), .dtype = AG_F64),
              *zero = ag_scalar(c, 0, .dtype = AG_F64);
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(-1)),
              *y = ag_placeholder(g, AG_F64, AG_SHAPE(-1));
    ag_tensor *p[] = { ag_variable(g, zero), ag_variable(g, zero) }, *d[2] = { NULL };
    ag_tensor *loss = ag_mse_loss(ag_add(ag_mul(x, p[0]), p[1]), y);
    CHECK(vx && vy && loss && ag_grad(&loss, 1, p, 2, d));
    ag_tensor *steps_of[] = { ag_assign_sub(p[0], ag_mul(d[0], .25)),
                              ag_assign_sub(p[1], ag_mul(d[1], .25)) };
    ag_tensor *step = ag_group(steps_of, 2);
    CHECK(step && ag_graph_finalize(g));
    const ag_feed feeds[] = { { x, vx }, { y, vy } };
    ag_tensor *const fetches[] = { step, loss };
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        ag_tensor *e[] = { ag_scalar(c, 0, .dtype = AG_F64, .requires_grad = true),
                           ag_scalar(c, 0, .dtype = AG_F64, .requires_grad = true) };
        for (int i = 0; i < steps; i++)
            AG_SCOPE (c) {
                ag_tensor *t[2] = { NULL }, *de[2] = { NULL };
                ag_tensor *eager = ag_mse_loss(ag_add(ag_mul(vx, e[0]), e[1]), vy);
                CHECK(ag_session_run(s, feeds, 2, fetches, 2, t));
                CHECK_SAME(t[1], ag_detach(eager));
                CHECK(ag_grad(&eager, 1, e, 2, de));
                AG_NO_GRAD (c)
                    for (int j = 0; j < 2; j++)
                        CHECK(ag_sub_(e[j], ag_mul(de[j], .25)));
            }
        for (int j = 0; j < 2; j++)
            CHECK_SAME(ag_variable_value(s, p[j]), ag_detach(e[j]));
        if (harness_faults())
            continue;
        CHECK_CLOSE(ag_item(ag_variable_value(s, p[0])), 3.2, 1e-12);
        CHECK_CLOSE(ag_item(ag_variable_value(s, p[1])), 1.5, 1e-12);
    }
}

/* ---- memory ---- */

/* relu(x A + b) B, and its gradient */
static ag_tensor *network_step(ag_context *c, ag_graph *g, ag_tensor *x, ag_tensor *label)
{
    ag_tensor *initial[] = { ag_randn(c, AG_SHAPE(8, 6)), ag_zeros(c, AG_SHAPE(6)),
                             ag_randn(c, AG_SHAPE(6, 3)) };
    ag_tensor *p[3], *d[3], *updates[3];
    for (int i = 0; i < 3; i++)
        p[i] = ag_variable(g, initial[i]);
    ag_tensor *h = ag_relu(ag_addmm(p[1], x, p[0]));
    ag_tensor *loss = ag_cross_entropy(ag_mm(h, p[2]), label);
    if (!ag_grad(&loss, 1, p, 3, d))
        return NULL;
    for (int i = 0; i < 3; i++)
        updates[i] = ag_assign_sub(p[i], ag_mul(d[i], .1));
    return ag_group(updates, 3);
}

/* Products this small need no packing, which takes blocks of the context's cache. */
static void t_a_step_asks_for_its_results_alone(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 8)),
              *label = ag_placeholder(g, AG_I64, AG_SHAPE(-1));
    ag_tensor *step = network_step(c, g, x, label), *none = ag_constant(g, ag_scalar(c, 0));
    const ag_feed feeds[] = { { x, ag_randn(c, AG_SHAPE(4, 8)) },
                              { label, ag_randint(c, 0, 3, AG_SHAPE(4)) } };
    CHECK(step && none && feeds[0].value && feeds[1].value);
    ag_session *s = graphs_session(g, AG_BACKEND_FUSED);
    int64_t asked[2] = { 0, 0 };
    for (int i = 0; i < 6; i++)
        AG_SCOPE (c) {
            ag_tensor *const fetches[] = { none, step };
            ag_tensor *result;
            ag_memory_statistics before, after;
            ag_memory_stats(c, &before);
            CHECK(ag_session_run(s, feeds, i % 2 ? 2 : 0, &fetches[i % 2], 1, &result));
            ag_memory_stats(c, &after);
            asked[i % 2] = after.allocations - before.allocations;
        }
    CHECK_INT(asked[1], asked[0]);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_each_session_has_its_own), TEST(t_values_from_outside),
               TEST(t_values_from_outside_that_do_not_fit),
               TEST(t_a_run_reads_what_was_there_at_its_start),
               TEST(t_assignments_are_simultaneous), TEST(t_assignments_in_a_row),
               TEST(t_numbers_are_assigned), TEST(t_the_last_assignment_stays),
               TEST(t_assignments_that_do_not_fit), TEST(t_assigned_sizes_that_turn_out_wrong),
               TEST(t_control_dependencies), TEST(t_control_dependencies_that_cannot_be),
               TEST(t_a_variable_without_a_value), TEST(t_a_failed_run_leaves_variables),
               TEST(t_a_line_is_learnt), TEST(t_a_step_asks_for_its_results_alone));
}
