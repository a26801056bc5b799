/* Building a graph: its placeholders, constants and variables, their names, what is refused once it is
 * finalised or gone, and what a tensor without data refuses. Shapes: t_graph_shapes. */
#include "graphs.h"

/* ---- what a graph begins with ---- */

static void t_a_placeholder_says_what_it_is(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(-1, 3), .name = "x"),
              *k = ag_placeholder(g, AG_I64, AG_SHAPE()), *t = ag_ones(c, AG_SHAPE(2));
    CHECK(x && k && t);
    CHECK_SHAPE(x, AG_SHAPE(-1, 3));
    CHECK_INT(ag_size(x, -1), 3);
    CHECK_INT(ag_shape(x)[0], -1);
    CHECK_INT(ag_dtype_of(x), AG_F64);
    CHECK_TEXT(ag_name(x), "x");
    CHECK_INT(ag_ndim(k), 0);
    CHECK(ag_is_symbolic(x) && ag_graph_of(x) == g && ag_context_of(x) == c);
    CHECK(!ag_is_symbolic(t) && !ag_graph_of(t) && !ag_error(c));
    CHECK(ag_graph_context(g) == c);
    CHECK_ERROR(ag_size(x, 2) != -1, AG_ERR_INDEX, "Dimension out of range");
}

static void t_placeholders_that_cannot_be(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    const ag_ints missing = { NULL, 2 }, negative = { NULL, -1 },
                  long_list = { (int64_t[17]){ 1 }, 17 };
    CHECK_ERROR(ag_placeholder(g, AG_F32, AG_SHAPE(-2, 3)), AG_ERR_SHAPE, "[-2, 3]");
    CHECK_ERROR(ag_placeholder(g, AG_F32, missing), AG_ERR_VALUE,
                "ag_placeholder: the list of sizes or dims is NULL");
    CHECK_ERROR(ag_placeholder(g, AG_F32, negative), AG_ERR_SHAPE, "ag_placeholder");
    CHECK_ERROR(ag_placeholder(g, AG_F32, long_list), AG_ERR_SHAPE, "17 numbers");
    CHECK_ERROR(ag_placeholder(g, (ag_dtype)99, AG_SHAPE(2)), AG_ERR_DTYPE, "99");
    CHECK_ERROR(ag_variable_empty(g, AG_F32, missing), AG_ERR_VALUE, "NULL");
    CHECK_ERROR(ag_constant(g, NULL), AG_ERR_VALUE, "NULL");
    CHECK_ERROR(ag_variable(g, NULL), AG_ERR_VALUE, "NULL");
    CHECK(!ag_graph_new(NULL) && !ag_placeholder(NULL, AG_F32, AG_SHAPE(2)));
    CHECK(!ag_graph_find(NULL, "x") && !ag_graph_finalize(NULL) && !ag_session_new(NULL));
    ag_graph_free(NULL);
    ag_session_free(NULL);
    CHECK(ag_placeholder(g, AG_BOOL, AG_SHAPE(0, -1)));
}

/* Constants and initial values are copies, and so are tensors with data that an operation meets. */
static void t_data_is_copied(ag_context *c)
{
    ag_tensor *t = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .requires_grad = true);
    ag_graph *g = graphs_graph(c);
    ag_tensor *k = ag_constant(g, t, .name = "k"), *w = ag_variable(g, t, .name = "w"),
              *x = ag_placeholder(g, AG_F32, AG_SHAPE(2));
    ag_tensor *y = ag_add(x, t);
    CHECK(k && w && y && ag_is_symbolic(k) && ag_is_symbolic(w));
    CHECK_SHAPE(w, AG_SHAPE(2));
    AG_NO_GRAD (c)
        CHECK(ag_fill_(t, 7));
    for (int i = 0; i < GRAPHS_BACKENDS; i++) {
        ag_session *s = graphs_session(g, graphs_backend[i]);
        CHECK_VALUES(FETCH(s, k), AG_SHAPE(2), AG_VALUES(1, 2), 0);
        CHECK_VALUES(FETCH(s, w), AG_SHAPE(2), AG_VALUES(1, 2), 0);
        CHECK_VALUES(FETCH(s, y, { x, t }), AG_SHAPE(2), AG_VALUES(8, 9), 0);
    }
    CHECK(!ag_is_symbolic(ag_add(t, t)));
}

static void t_numbers_beside_symbolic_tensors(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_array(c, AG_VALUES(3, 4), AG_SHAPE(2), .dtype = AG_I64);
    ag_tensor *u = ag_array(c, AG_VALUES(.25, 1. / 3), AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *i = ag_placeholder(g, AG_I64, AG_SHAPE(-1)),
              *x = ag_placeholder(g, AG_F64, AG_SHAPE(-1));
    CHECK(v && u && i && x);
    ag_tensor *const recorded[] = { ag_add(i, 2),
                                    ag_sub(1, i),
                                    ag_mul(i, 1.5),
                                    ag_pow(2, x),
                                    ag_mul(x, .1),
                                    ag_lt(i, 3.5),
                                    ag_where(ag_gt(x, .3), 1, 0.5) };
    ag_tensor *const eager[] = { ag_add(v, 2),
                                 ag_sub(1, v),
                                 ag_mul(v, 1.5),
                                 ag_pow(2, u),
                                 ag_mul(u, .1),
                                 ag_lt(v, 3.5),
                                 ag_where(ag_gt(u, .3), 1, 0.5) };
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        for (size_t j = 0; j < sizeof eager / sizeof *eager; j++) {
            CHECK(recorded[j] && eager[j]);
            CHECK_INT(ag_dtype_of(recorded[j]), ag_dtype_of(eager[j]));
            CHECK_SAME(FETCH(s, recorded[j], { i, v }, { x, u }), eager[j]);
        }
    }
}

/* ---- names ---- */

static void t_names_are_unique(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *t = ag_ones(c, AG_SHAPE(2));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "x"),
              *second = ag_constant(g, t, .name = "x"), *third = ag_variable(g, t, .name = "x"),
              *none = ag_placeholder(g, AG_F32, AG_SHAPE(-1));
    CHECK(x && second && third && none);
    CHECK_TEXT(ag_name(x), "x");
    CHECK_TEXT(ag_name(second), "x_1");
    CHECK_TEXT(ag_name(third), "x_2");
    ag_tensor *y = ag_add(x, none);
    CHECK(y && ag_set_name(y, "loss"));
    CHECK_TEXT(ag_name(y), "loss");
    CHECK(ag_set_name(none, "x_1")); /* taken */
    CHECK(ag_name(none) && strcmp(ag_name(none), "x_1") != 0);
    CHECK(!ag_graph_find(g, "y") && !ag_graph_find(g, "") && !ag_error(c));
    ag_session *s = graphs_session(g, AG_BACKEND_INTERPRET);
    CHECK_VALUES(FETCH(s, ag_graph_find(g, "loss"), { ag_graph_find(g, "x"), t },
                       { ag_graph_find(g, ag_name(none)), t }),
                 AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK(ag_set_name(y, "y") && ag_graph_find(g, "y") && !ag_graph_find(g, "loss"));
}

static bool named_body(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                       ag_tensor **y, int m, void *user)
{
    (void)n, (void)x, (void)k, (void)y, (void)m, (void)user;
    return (next[0] = ag_mul(carry[0], 2)) && ag_set_name(next[0], "inside") && !ag_name(next[0]);
}

/* A function that names its values may be a body, where there are no names. */
static void t_names_in_bodies_are_ignored(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE()), *y;
    CHECK(x && ag_scan(named_body, &x, 1, NULL, 0, &y, NULL, 0, .length = 3));
    CHECK(!ag_graph_find(g, "inside") && !ag_error(c));
    ag_session *s = graphs_session(g, AG_BACKEND_FUSED);
    CHECK_VALUES(FETCH(s, y, { x, ag_ones(c, AG_SHAPE()) }), AG_SHAPE(), AG_VALUES(8), 0);
}

static void t_name_scopes(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    CHECK(ag_name_scope_push(g, "layer"));
    ag_tensor *w = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "w");
    CHECK(ag_name_scope_push(g, "inner"));
    ag_tensor *b = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "b"), *y = ag_mul(w, b);
    CHECK(y && ag_set_name(y, "y"));
    ag_name_scope_pop(g);
    ag_tensor *b2 = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "b");
    ag_name_scope_pop(g);
    ag_tensor *out = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "w");
    CHECK(ag_name_scope_push(g, "layer"));
    ag_tensor *again = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "w");
    ag_name_scope_pop(g);
    CHECK(b && b2 && out && again);
    CHECK_TEXT(ag_name(w), "layer/w");
    CHECK_TEXT(ag_name(b), "layer/inner/b");
    CHECK_TEXT(ag_name(y), "layer/inner/y");
    CHECK_TEXT(ag_name(b2), "layer/b");
    CHECK_TEXT(ag_name(out), "w");
    CHECK_TEXT(ag_name(again), "layer/w_1");
    CHECK(ag_graph_find(g, "layer/inner/b") && !ag_graph_find(g, "inner/b"));
    CHECK_ERROR(ag_name_scope_push(g, NULL), AG_ERR_VALUE, "NULL");
    ag_name_scope_pop(g); /* one too many: nothing */
    ag_error_clear(c);
    CHECK_TEXT(ag_name(ag_placeholder(g, AG_F32, AG_SHAPE(), .name = "free")), "free");
}

/* ---- a finalised graph ---- */

static const char finalized[] = "Graph is finalized and cannot be modified.";

static ag_tensor *is_small(ag_tensor *const *vars, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(ag_sum(vars[0]), 10);
}
static bool doubles(ag_tensor *const *vars, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    next[0] = ag_mul(vars[0], 2);
    return next[0] != NULL;
}
static bool doubles_all(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)m;
    return doubles(in, n, out, user);
}
static bool sums(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **carry_out,
                 ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)y, (void)m, (void)user;
    carry_out[0] = ag_add(carry[0], x[0]);
    return carry_out[0] != NULL;
}

#define CHECK_FINAL(call) CHECK_ERROR(call, AG_ERR_GRAPH, finalized)

static void t_a_finalised_graph_takes_nothing_more(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *t = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "x"),
              *w = ag_variable(g, t, .name = "w"), *y = ag_sum(ag_mul(x, w)), *result = NULL;
    CHECK(t && x && w && y);
    CHECK(ag_graph_finalize(g) && ag_graph_finalize(g));
    ag_tensor *const both[] = { x, w };
    ag_fn branches[] = { doubles_all, doubles_all };
    WATCH(t);
    CHECK_FINAL(ag_add(x, 1));
    CHECK_FINAL(ag_add(t, x));
    CHECK_FINAL(ag_add_(x, 1));
    CHECK_FINAL(ag_neg(x));
    CHECK_FINAL(ag_neg_(x));
    CHECK_FINAL(ag_matmul(x, w));
    CHECK_FINAL(ag_sum(x));
    CHECK_FINAL(ag_select(x, 0, 0));
    CHECK_FINAL(ag_cat(both, 2, 0));
    CHECK_FINAL(ag_to(x, AG_F64));
    CHECK_FINAL(ag_clone(x));
    CHECK_FINAL(ag_zeros_like(x));
    CHECK_FINAL(ag_rand_like(x));
    CHECK_FINAL(ag_dropout(x, .5, true));
    CHECK_FINAL(ag_placeholder(g, AG_F32, AG_SHAPE(2)));
    CHECK_FINAL(ag_constant(g, t));
    CHECK_FINAL(ag_variable(g, t));
    CHECK_FINAL(ag_variable_empty(g, AG_F32, AG_SHAPE(2)));
    CHECK_FINAL(ag_assign(w, x));
    CHECK_FINAL(ag_assign_add(w, t));
    CHECK_FINAL(ag_assign_sub(w, x));
    CHECK_FINAL(ag_group(both, 2));
    CHECK_FINAL(ag_grad(&y, 1, &x, 1, &result));
    CHECK_FINAL(ag_while_loop(is_small, doubles, &x, 1, &result));
    CHECK_FINAL(ag_cond(y, doubles_all, doubles_all, &x, 1, &result, 1));
    CHECK_FINAL(ag_switch(y, branches, 2, &x, 1, &result, 1));
    CHECK_FINAL(ag_scan(sums, &y, 1, &x, 1, &result, NULL, 0));
    CHECK(!result);
    for (int i = 0; i < GRAPHS_BACKENDS; i++) {
        ag_session *s = graphs_session(g, graphs_backend[i]);
        CHECK_VALUES(FETCH(s, y, { x, t }), AG_SHAPE(), AG_VALUES(5), 0);
    }
}

/* ---- no data ---- */

#define CHECK_NO_DATA(call) CHECK_ERROR(call, AG_ERR_GRAPH, "symbolic")

static bool is_number(double v) { return !isnan(v); }

static ag_tensor *keeps(ag_tensor *grad, void *user)
{
    (void)user;
    return grad;
}

static void t_a_symbolic_tensor_has_no_data(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(1), .name = "x"), *y = ag_sum(x);
    ag_tensor *t = ag_ones(c, AG_SHAPE(1));
    float out[1] = { 5 };
    CHECK(x && y && t);
    WATCH(t);
    CHECK_NO_DATA(is_number(ag_item(x)));
    CHECK_NO_DATA(is_number(ag_at(x, 0)));
    CHECK_NO_DATA(ag_data(x));
    CHECK_NO_DATA(ag_copy_out(x, out, sizeof out));
    CHECK_CLOSE(out[0], 5, 0);
    CHECK_NO_DATA(ag_to_string(x));
    CHECK_NO_DATA((ag_print(x), false));
    CHECK_NO_DATA(ag_save_npy(x, harness_path("symbolic.npy")));
    CHECK_NO_DATA(ag_backward(y));
    CHECK_NO_DATA(ag_backward_all(&y, 1));
    CHECK_NO_DATA(ag_requires_grad_(x, true));
    CHECK_NO_DATA(ag_retain_grad(y));
    CHECK_NO_DATA(ag_register_hook(y, keeps, NULL));
    CHECK_NO_DATA(ag_set_grad(x, t));
    CHECK_ERROR(ag_set_grad(x, t), AG_ERR_GRAPH,
                "ag_set_grad: the tensor is symbolic and has no "
                "node of its own: ag_grad differentiates");
    CHECK_ERROR(ag_grad(&t, 1, &x, 1, &y), AG_ERR_GRAD,
                "does not have a grad_fn: it holds data, which depend on no value of a graph");
    CHECK_ERROR(ag_sgd(&x, 1, .lr = .1), AG_ERR_GRAPH,
                "optimizer: parameter 0 is symbolic; in a static graph a step is made of ag_grad");
    CHECK_NO_DATA(ag_share(c, x));
    CHECK_NO_DATA(ag_sgd(&x, 1, .lr = .1));
    CHECK_NO_DATA(ag_uniform_(x, 0, 1));
    CHECK(!ag_grad_of(x) && !ag_grad_fn(y) && !ag_is_view(y) && !ag_error(c));
}

/* A tensor with data cannot become one without. */
static void t_symbolic_values_for_tensors_with_data(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)), *t = ag_ones(c, AG_SHAPE(2));
    ag_tensor *m = ag_ones(c, AG_SHAPE(2), .dtype = AG_BOOL),
              *leaf = ag_ones(c, AG_SHAPE(2), .requires_grad = true);
    CHECK(x && t && m && leaf);
    WATCH(t);
    WATCH(leaf);
    CHECK_NO_DATA(ag_add_(t, x));
    CHECK_NO_DATA(ag_copy_(t, x));
    CHECK_NO_DATA(ag_lerp_(t, t, x));
    CHECK_NO_DATA(ag_masked_fill_(t, m, ag_sum(x)));
    CHECK_NO_DATA(ag_set_grad(leaf, x));
    CHECK_NO_DATA(ag_backward(ag_mul(leaf, 2), .gradient = x));
}

/* ---- tensors from elsewhere ---- */

static void close_context(void *other) { ag_close(other); }

static void t_two_graphs_do_not_mix(ag_context *c)
{
    static const char sentence[] = "different graphs";
    ag_graph *g = graphs_graph(c), *h = graphs_graph(c);
    ag_tensor *t = ag_ones(c, AG_SHAPE(2));
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)),
              *z = ag_placeholder(h, AG_F32, AG_SHAPE(2)), *w = ag_variable(g, t);
    CHECK(t && x && z && w);
    ag_tensor *const both[] = { x, z };
    ag_tensor *y = ag_sum(x), *results[2] = { NULL };
    CHECK(y);
    CHECK_ERROR(ag_add(x, z), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_cat(both, 2, 0), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_add_(x, z), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_linear(ag_reshape(x, AG_SHAPE(1, 2)), ag_reshape(z, AG_SHAPE(1, 2)), NULL),
                AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_assign(w, z), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_group(both, 2), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_control_dependencies_push(g, both, 2), AG_ERR_GRAPH, "graph");
    CHECK_ERROR(ag_grad(&y, 1, &z, 1, results), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_while_loop(is_small, doubles, both, 2, results), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_constant(g, z), AG_ERR_GRAPH,
                "ag_constant: the tensor is symbolic, so it is a value of a graph already");
    CHECK_ERROR(ag_variable(g, x), AG_ERR_GRAPH, "ag_variable: the tensor is symbolic");
    CHECK_ERROR(ag_assign(x, t), AG_ERR_VALUE, "ag_variable makes one");
}

static void t_two_contexts_do_not_mix(ag_context *c)
{
    ag_context *other = ag_open();
    CHECK(other);
    harness_defer(close_context, other);
    ag_tensor *foreign = ag_ones(other, AG_SHAPE(2));
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)),
              *w = ag_variable(g, ag_ones(c, AG_SHAPE(2)));
    CHECK(foreign && x && w);
    CHECK_ERROR(ag_add(x, foreign), AG_ERR_VALUE,
                "ag_add: operands 0 and 1 belong to different contexts; use ag_share");
    CHECK_ERROR(ag_constant(g, foreign), AG_ERR_VALUE, "context");
    CHECK_ERROR(ag_variable(g, foreign), AG_ERR_VALUE, "context");
    CHECK_ERROR(ag_assign(w, foreign), AG_ERR_VALUE, "context");
    CHECK(!ag_error(other));
}

/* ---- after the graph ---- */

static ag_graph *freed; /* NULL once it is */

static void free_graph_once(void *unused)
{
    (void)unused;
    ag_graph_free(freed);
    freed = NULL;
}

static void t_tensors_outlive_their_graph(ag_context *c)
{
    freed = ag_graph_new(c);
    CHECK(freed);
    harness_defer(free_graph_once, NULL);
    ag_tensor *t = ag_ones(c, AG_SHAPE(2));
    ag_tensor *x = ag_placeholder(freed, AG_F32, AG_SHAPE(2), .name = "x"),
              *w = ag_variable(freed, t), *y = ag_sum(x), *result = NULL;
    CHECK(y && w);
    ag_session *s = graphs_session(freed, AG_BACKEND_FUSED);
    ag_tensor *value = FETCH(s, y, { x, t });
    CHECK(value);
    ag_graph *later = graphs_graph(c);
    ag_tensor *z = ag_placeholder(later, AG_F32, AG_SHAPE(2));
    CHECK(z);
    free_graph_once(NULL);
    CHECK_CLOSE(ag_item(value), 2, 0);
    CHECK_INT(ag_dtype_of(x), AG_F32);
    CHECK_INT(ag_size(x, 0), 2);
    CHECK(ag_is_symbolic(x) && !ag_graph_of(x));
    CHECK_ERROR(ag_add(x, 1), AG_ERR_GRAPH, "freed");
    CHECK_ERROR(ag_add(z, x), AG_ERR_GRAPH, "freed");
    CHECK_ERROR(ag_neg_(x), AG_ERR_GRAPH, "freed");
    CHECK_ERROR(ag_assign(w, t), AG_ERR_GRAPH, "freed");
    CHECK_ERROR(ag_grad(&y, 1, &x, 1, &result), AG_ERR_GRAPH, "freed");
    CHECK_ERROR(is_number(ag_item(y)), AG_ERR_GRAPH, "symbolic");
    CHECK_ERROR(FETCH(s, y, { x, t }), AG_ERR_GRAPH, "freed");
    CHECK_ERROR(ag_variable_value(s, w), AG_ERR_GRAPH, "freed");
    ag_drop(x);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_a_placeholder_says_what_it_is), TEST(t_placeholders_that_cannot_be),
               TEST(t_data_is_copied), TEST(t_numbers_beside_symbolic_tensors),
               TEST(t_names_are_unique), TEST(t_names_in_bodies_are_ignored), TEST(t_name_scopes),
               TEST(t_a_finalised_graph_takes_nothing_more), TEST(t_a_symbolic_tensor_has_no_data),
               TEST(t_symbolic_values_for_tensors_with_data), TEST(t_two_graphs_do_not_mix),
               TEST(t_two_contexts_do_not_mix), TEST(t_tensors_outlive_their_graph));
}
