/* The dynamic graph: values, gradients, freeing, and the sentences of its errors. */
#include "harness.h"

static ag_tensor *leaf(ag_context *c, double v)
{
    return ag_scalar(c, v, .dtype = AG_F64, .requires_grad = true);
}

static void t_founding_example(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 1);
    CHECK(ag_backward(ag_mul(ag_add(x, w), ag_add(w, 1))));
    CHECK_CLOSE(ag_item(ag_grad_of(w)), 5, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 2, 0);
}

static void t_gradients_accumulate(ag_context *c)
{
    ag_tensor *x = leaf(c, 3);
    CHECK(ag_backward(ag_mul(x, x)));
    CHECK(ag_backward(ag_mul(x, 2)));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 8, 0);
}

static void t_third_derivative(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(ag_mul(x, x), ag_mul(x, x)), *g[3];
    CHECK(ag_grad(&y, 1, &x, 1, &g[0], .create_graph = true));
    CHECK(ag_grad(&g[0], 1, &x, 1, &g[1], .create_graph = true));
    CHECK(ag_grad(&g[1], 1, &x, 1, &g[2]));
    CHECK_CLOSE(ag_item(g[0]), 32, 1e-12);
    CHECK_CLOSE(ag_item(g[1]), 48, 1e-12);
    CHECK_CLOSE(ag_item(g[2]), 48, 1e-12);
}

static void t_second_pass_needs_retained_values(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_add(x, x);
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK(ag_backward(y));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "Trying to backward through the graph a second time");
    CHECK(ag_backward(z) && ag_backward(z)); /* nothing was saved */
}

static void t_changed_value_is_an_error(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = ag_scalar(c, 3, .dtype = AG_F64), *y = ag_mul(x, w);
    CHECK(ag_add_(w, 1));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "modified by an inplace operation");
    CHECK(!ag_grad_of(x));
}

static void t_inputs_prune(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 5), *y = ag_mul(x, w);
    CHECK(ag_backward(y, .inputs = &x, .n_inputs = 1));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 5, 0);
    CHECK(!ag_grad_of(w));
}

static void t_unused_input(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 5), *y = ag_mul(x, 2), *g = x;
    CHECK_ERROR(ag_grad(&y, 1, &w, 1, &g), AG_ERR_GRAD,
                "appears to not have been used in the graph");
    CHECK(g == x);
    CHECK(ag_grad(&y, 1, &w, 1, &g, .allow_unused = true));
    CHECK(!g);
    CHECK(ag_grad(&y, 1, &w, 1, &g, .materialize_grads = true));
    CHECK_CLOSE(ag_item(g), 0, 0);
}

static void t_root_errors(ag_context *c)
{
    ag_tensor *a = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .requires_grad = true);
    ag_tensor *b = ag_mul(a, a);
    CHECK_ERROR(ag_backward(b), AG_ERR_GRAD,
                "grad can be implicitly created only for scalar outputs");
    CHECK_ERROR(ag_backward(b, .gradient = ag_ones(c, AG_SHAPE(3))), AG_ERR_SHAPE,
                "Mismatch in shape: grad_output[0] has a shape of [3]");
    CHECK_ERROR(ag_backward(ag_ones(c, AG_SHAPE(1))), AG_ERR_GRAD,
                "element 0 of tensors does not require grad");
}

static void t_retain_grad(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    CHECK(ag_retain_grad(y));
    CHECK(ag_backward(ag_mul(y, y)));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 8, 0);
}

static void t_shapes_that_do_not_broadcast(ag_context *c)
{
    CHECK_ERROR(ag_add(ag_ones(c, AG_SHAPE(2, 3)), ag_ones(c, AG_SHAPE(4))), AG_ERR_SHAPE,
                "the shapes are [2, 3] and [4]");
}

static void t_long_chain(ag_context *c)
{
    const int length = harness_faults() ? 100 : 300000;
    ag_tensor *x = leaf(c, 1), *y = ag_mul(x, 1);
    for (int i = 0; i < length; i++) {
        ag_tensor *next = ag_mul(y, x);
        ag_drop(y);
        CHECK(y = next);
    }
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), length + 1, 0);
    ag_drop(y);
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    CHECK_INT(s.nodes, 0);
}

/* PyTorch's names, which tell numbers from tensors. */
static void t_names_of_nodes(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *on = ag_isnan(x);
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_mul(x, 2))), "MulBackward0");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_pow(x, x))), "PowBackward1");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_pow(x, 2))), "PowBackward0");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_sub(x, 1))), "SubBackward0");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_sub(1, x))), "RsubBackward1");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_lerp(x, x, x))), "LerpBackward1");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_lerp(x, x, .5))), "LerpBackward0");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_sum(x))), "SumBackward0");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_prod(x, .dims = AG_DIMS(0)))), "ProdBackward1");
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_masked_fill(x, on, 1))), "MaskedFillBackward0");
    int nr = -1;
    ag_tensor *y = ag_add(x, 1);
    CHECK(y);
    ag_node *accumulate = ag_node_next(ag_grad_fn(y), 0, &nr);
    CHECK_TEXT(ag_node_name(accumulate), "AccumulateGrad");
    CHECK_INT(nr, 0);
    CHECK_INT(ag_node_n_inputs(ag_grad_fn(y)), 2);
    CHECK(!ag_node_next(ag_grad_fn(y), 1, NULL));
    ag_tensor *z = ag_mul(x, 3);
    CHECK(z && ag_node_next(ag_grad_fn(z), 0, NULL) == accumulate); /* one for each leaf */
}

static int n_warnings;
static void count_warning(ag_context *c, const char *message, void *user)
{
    (void)c;
    n_warnings += strstr(message, user) != NULL;
}

static void t_warnings_come_once(ag_context *unused)
{
    (void)unused;
    n_warnings = 0;
    ag_context *c = ag_open(.log = count_warning, .log_user = "reference cycle");
    ag_context *d = ag_open(.log = count_warning, .log_user = "retain_grad");
    for (int i = 0; c && d && i < 2; i++) {
        ag_tensor *x = leaf(c, 2), *u = leaf(d, 2);
        CHECK(ag_backward(ag_mul(x, x), .create_graph = true));
        CHECK(!ag_grad_of(u) && !ag_grad_of(ag_mul(u, u)));
    }
    ag_close(c);
    ag_close(d);
    CHECK_INT(n_warnings, 2);
}

/* A gradient that repeats memory is replaced; any other is written, however it lies. */
static void t_accumulates_beside_a_strided_gradient(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(3), .requires_grad = true), *one = ag_ones(c, AG_SHAPE(1));
    CHECK(ag_set_grad(x, ag_expand(one, AG_SHAPE(3))));
    CHECK(ag_backward(ag_sum(ag_mul(x, ag_arange(c, 0, 3, 1)))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1, 2, 3), 0);
    CHECK_CLOSE(ag_item(one), 1, 0);
    ag_tensor *m = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true);
    ag_tensor *six = ag_reshape(ag_arange(c, 0, 6, 1), AG_SHAPE(3, 2));
    CHECK(ag_set_grad(m, ag_t(six)));
    CHECK(ag_backward(ag_sum(m)));
    CHECK_VALUES(ag_grad_of(m), AG_SHAPE(2, 3), AG_VALUES(1, 3, 5, 2, 4, 6), 0);
    CHECK_CLOSE(ag_at(six, 2, 1), 6, 0);
}

static void t_scopes_end_once(ag_context *c)
{
    ag_scope *outer = ag_scope_begin(c), *inner = outer ? ag_scope_begin(c) : NULL;
    CHECK(inner);
    ag_tensor *x = leaf(c, 2);
    CHECK(x);
    CHECK(ag_keep(x) == x);
    ag_scope_end(outer); /* and inner with it */
    ag_scope_end(inner);
    ag_scope_end(outer);
    ag_scope_end(NULL);
    CHECK(leaf(c, 3));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_founding_example), TEST(t_gradients_accumulate), TEST(t_third_derivative),
               TEST(t_second_pass_needs_retained_values), TEST(t_changed_value_is_an_error),
               TEST(t_inputs_prune), TEST(t_unused_input), TEST(t_root_errors), TEST(t_retain_grad),
               TEST(t_shapes_that_do_not_broadcast), TEST(t_long_chain), TEST(t_names_of_nodes),
               TEST(t_warnings_come_once), TEST(t_accumulates_beside_a_strided_gradient),
               TEST(t_scopes_end_once));
}
