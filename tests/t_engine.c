/* Backward passes: which nodes run, what becomes of roots and inputs that are given twice, of
 * values that a pass has given up, of gradients that are there already. Expectations are
 * PyTorch's. */
#include "harness.h"

static ag_tensor *leaf(ag_context *c, double v)
{
    return ag_scalar(c, v, .dtype = AG_F64, .requires_grad = true);
}

static ag_tensor *pair(ag_context *c, double v, double w)
{
    return ag_array(c, AG_VALUES(v, w), AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
}

static const char second_time[] = "Trying to backward through the graph a second time (or directly "
                                  "access saved tensors after they have already been freed).";

/* ---- inputs ---- */

static void t_inputs_that_are_leaves(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 5), *y = ag_mul(ag_mul(x, w), x);
    CHECK(ag_backward(y, .inputs = &x, .n_inputs = 1, .retain_graph = true));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 20, 0);
    CHECK(!ag_grad_of(w));
    CHECK(ag_backward(y, .inputs = &w, .n_inputs = 1));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 20, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(w)), 4, 0);
}

/* An input that is a result gets a .grad, as if it had been asked to retain it. */
static void t_inputs_that_are_results(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_mul(y, 3);
    CHECK(z && !ag_retains_grad(y));
    CHECK(ag_backward(z, .inputs = &y, .n_inputs = 1));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 3, 0);
    CHECK(ag_retains_grad(y) && !ag_grad_of(x));
}

static void t_inputs_above_and_below_each_other(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_exp(y), *both[] = { y, x }, *g[2];
    CHECK(ag_backward(ag_mul(z, 2), .inputs = both, .n_inputs = 2, .retain_graph = true));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 2 * exp(4), 1e-14);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 8 * exp(4), 1e-14);
    CHECK(ag_grad(&z, 1, both, 2, g));
    CHECK_CLOSE(ag_item(g[0]), exp(4), 1e-14);
    CHECK_CLOSE(ag_item(g[1]), 4 * exp(4), 1e-14);
}

static void t_a_root_as_input(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *in[] = { y, x, x }, *g[3];
    CHECK(ag_grad(&y, 1, in, 3, g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g[0]), 1, 0);
    CHECK_CLOSE(ag_item(g[1]), 4, 0);
    CHECK_CLOSE(ag_item(g[2]), 4, 0);
    CHECK(ag_backward(y, .inputs = &y, .n_inputs = 1));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 1, 0);
    CHECK(!ag_grad_of(x));
}

static void t_an_input_named_twice_accumulates_once(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *twice[] = { x, x };
    CHECK(ag_backward(y, .inputs = twice, .n_inputs = 2));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 4, 0);
}

/* Nodes that lead to no input do not run, so that they keep what they saved. */
static void t_what_is_pruned_is_not_freed(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *e = ag_exp(x), *y = ag_mul(e, e), *g;
    ag_tensor *other = ag_sin(w), *z = ag_add(y, other);
    CHECK(z && ag_grad(&z, 1, &e, 1, &g));
    CHECK_CLOSE(ag_item(g), 2 * exp(2), 1e-14);
    CHECK_ERROR(ag_grad(&z, 1, &e, 1, &g), AG_ERR_GRAD, second_time);
    CHECK(ag_backward(e) && ag_backward(other)); /* neither exp nor sin have run */
    CHECK_CLOSE(ag_item(ag_grad_of(x)), exp(2), 1e-14);
    CHECK_CLOSE(ag_item(ag_grad_of(w)), cos(3), 1e-14);
}

/* The first one has no accumulator, the second one has one in another graph. */
static void t_unreachable_inputs(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *fresh = leaf(c, 3), *elsewhere = leaf(c, 4), *g[3];
    ag_tensor *y = ag_mul(x, 2), *other = ag_mul(elsewhere, 2);
    ag_tensor *in[] = { fresh, elsewhere, x };
    CHECK(y && other);
    static const char unused[] =
        "One of the differentiated Tensors appears to not have been used in "
        "the graph. Set allow_unused=True if this is the desired behavior.";
    CHECK_ERROR(ag_grad(&y, 1, in, 1, g), AG_ERR_GRAD, unused);
    CHECK_ERROR(ag_grad(&y, 1, in, 3, g), AG_ERR_GRAD, unused);
    CHECK(ag_grad(&y, 1, in, 3, g, .allow_unused = true));
    CHECK(!g[0] && !g[1]);
    CHECK_CLOSE(ag_item(g[2]), 2, 0);
    CHECK(ag_backward(y, .inputs = in, .n_inputs = 2)); /* nothing to do is no error */
    CHECK(!ag_grad_of(fresh) && !ag_grad_of(elsewhere) && !ag_grad_of(x));
}

static void t_unused_inputs_as_zeros(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = pair(c, 1, 2), *y = ag_mul(x, x), *in[] = { w, x }, *g[2];
    CHECK(ag_grad(&y, 1, in, 2, g, .materialize_grads = true, .create_graph = true));
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK(ag_requires_grad(g[0]) && ag_is_leaf(g[0]));
    CHECK_CLOSE(ag_item(g[1]), 4, 0);
    CHECK(ag_grad(&y, 1, in, 2, g, .materialize_grads = true));
    CHECK(!ag_requires_grad(g[0]));
}

/* ---- roots ---- */

static void t_roots_given_twice(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *roots[] = { y, y, x, x }, *g;
    CHECK(ag_backward_all(roots, 2, .retain_graph = true));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 8, 0);
    CHECK(ag_grad(roots + 2, 2, &x, 1, &g));
    CHECK_CLOSE(ag_item(g), 2, 0);
    CHECK(ag_grad(roots, 4, &x, 1, &g));
    CHECK_CLOSE(ag_item(g), 10, 0);
}

static void t_roots_below_roots(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *roots[] = { y, x, ag_mul(y, y) };
    CHECK(ag_backward_all(roots, 3));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 37, 0); /* 4 + 1 + 32 */
}

static void t_roots_with_gradients(ag_context *c)
{
    ag_tensor *x = pair(c, 2, 3), *y = ag_mul(x, x), *z = ag_mul(ag_mul(y, y), y);
    ag_tensor *roots[] = { y, z, ag_sum(x) };
    ag_tensor *gy = ag_array(c, AG_VALUES(1, -1), AG_SHAPE(2), .dtype = AG_F64),
              *gz = ag_array(c, AG_VALUES(.5, 2), AG_SHAPE(2), .dtype = AG_F64);
    CHECK(gy && gz);
    CHECK(ag_backward_all(roots, 3, .gradients = (ag_tensor *[]){ gy, gz, NULL }));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(4 + 96 + 1, -6 + 2916 + 1), 0);
}

static void t_a_leaf_as_root(ag_context *c)
{
    ag_tensor *x = pair(c, 2, 3), *g = ag_array(c, AG_VALUES(5, 7), AG_SHAPE(2), .dtype = AG_F64);
    CHECK(x && g);
    CHECK(ag_backward(x, .gradient = g) && ag_backward(x, .gradient = g));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(10, 14), 0);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(5, 7), 0);
}

/* Not the rank counts, the number of elements does. */
static void t_one_element_is_a_scalar(ag_context *c)
{
    ag_tensor *x = ag_full(c, AG_SHAPE(1, 1, 1), 3, .requires_grad = true);
    CHECK(ag_backward(ag_mul(x, x)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(1, 1, 1), AG_VALUES(6), 0);
}

/* ---- values that a pass gives up ---- */

static void t_retain_graph(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_exp(x), *z = ag_mul(y, y);
    CHECK(z);
    for (int i = 1; i <= 3; i++) {
        CHECK(ag_backward(z, .retain_graph = i < 3));
        CHECK_CLOSE(ag_item(ag_grad_of(x)), i * 2 * exp(4), 1e-13);
    }
    CHECK_ERROR(ag_backward(z), AG_ERR_GRAD, second_time);
    CHECK_ERROR(ag_backward(ag_add(y, 1)), AG_ERR_GRAD, second_time);
}

static void t_nodes_without_saved_values_run_again(ag_context *c)
{
    ag_tensor *x = pair(c, 2, 3);
    ag_tensor *y = ag_sum(ag_sub(ag_neg(ag_t(ag_unsqueeze(ag_add(x, 1), 0))), ag_add(x, x)));
    CHECK(y);
    for (int i = 0; i < 3; i++)
        CHECK(ag_backward(y));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(-18, -18), 0); /* broadcast to (2, 2) */
}

static void t_create_graph_keeps_values(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_exp(x), *g;
    CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
    CHECK(ag_requires_grad(g));
    CHECK(ag_backward(y));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, second_time);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), exp(2), 1e-14);
}

/* Two losses over one trunk. */
static void t_second_loss_over_a_freed_trunk(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *trunk = ag_exp(x), *a = ag_mul(trunk, 2), *b = ag_mul(trunk, 3);
    CHECK(a && b && ag_backward(a));
    WATCH(x);
    CHECK_ERROR(ag_backward(b), AG_ERR_GRAD, second_time);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 2 * exp(2), 1e-14);
}

/* The mode of the caller does not matter, that of rules is what create_graph says. */
static void t_passes_have_a_mode_of_their_own(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(ag_mul(x, x), x), *g, *h;
    CHECK(y);
    AG_NO_GRAD (c) {
        CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
        CHECK(ag_requires_grad(g) && !ag_grad_enabled(c));
        CHECK(ag_grad(&g, 1, &x, 1, &h, .retain_graph = true));
        CHECK(!ag_requires_grad(h));
    }
    CHECK_CLOSE(ag_item(h), 12, 0);
    CHECK(ag_grad(&g, 1, &x, 1, &h));
    CHECK(!ag_requires_grad(h) && ag_grad_enabled(c));
}

/* ---- gradients that are there already ---- */

static void t_accumulates_in_place(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_sum(ag_add(x, x));
    CHECK(ag_backward(y));
    ag_tensor *g = ag_grad_of(x);
    void *data = ag_data(g);
    CHECK(g && data);
    CHECK_INT(ag_version(g), 0);
    CHECK(ag_backward(y));
    CHECK(ag_grad_of(x) == g && ag_data(g) == data);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(4, 4), 0);
    CHECK_INT(ag_version(g), 1);
}

static void t_accumulates_beside_with_create_graph(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_sum(ag_mul(x, x));
    CHECK(ag_backward(y, .retain_graph = true));
    ag_tensor *g = ag_grad_of(x);
    CHECK(g && ag_backward(y, .create_graph = true));
    CHECK(ag_grad_of(x) != g && ag_requires_grad(ag_grad_of(x)));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(2, 4), 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(4, 8), 0);
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_grad_of(x))), "AddBackward0");
}

/* A .grad that the program has put there is written, whatever it is. */
static void t_accumulates_into_a_given_gradient(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_sum(ag_mul(x, x)), *g = pair(c, 1, 1);
    CHECK(y && ag_set_grad(x, g));
    CHECK(ag_backward(y));
    CHECK(ag_grad_of(x) == g);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(3, 5), 0);
}

static void t_retained_gradients_are_replaced(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_mul(x, x), *s = ag_sum(y);
    CHECK(ag_retain_grad(y) && ag_retain_grad(y)); /* once is enough */
    CHECK(ag_backward(s, .retain_graph = true));
    ag_tensor *g = ag_grad_of(y);
    CHECK(g && ag_backward(s, .retain_graph = true));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK(ag_retain_grad(x) && !ag_retains_grad(x)); /* nothing to do for a leaf */
    CHECK(ag_backward(s));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(6, 12), 0);
}

/* No two .grad fields share memory, nor does one with the gradient that a program passed in. */
static void t_gradients_do_not_alias(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *w = pair(c, 3, 4),
              *ones = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *y = ag_add(x, w);
    CHECK(ag_retain_grad(y) && ag_backward(y, .gradient = ones));
    CHECK(ag_add_(ag_grad_of(x), 5) && ag_mul_(ag_grad_of(w), 3));
    CHECK_VALUES(ones, AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(6, 6), 0);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(3, 3), 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

/* A buffer that three consumers share must not be added to by one of them. */
static void t_buffers_are_added_to_by_one_owner(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 1), *y = pair(c, 1, 1);
    ag_tensor *p = ag_add(x, 2), *q = ag_add(y, 2), *r = ag_add(x, 2);
    ag_tensor *sum = ag_add(ag_add(p, q), r);
    for (int i = 0; i < 4; i++) {
        p = ag_mul(p, 2);
        q = ag_mul(q, 2);
        r = ag_mul(r, 2);
    }
    ag_tensor *out = ag_add(sum, ag_add(ag_add(p, q), r));
    CHECK(ag_backward(out, .gradient = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(34, 34), 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(17, 17), 0);
}

/* ---- shapes and dtypes of gradients ---- */

static void t_broadcast_operands_get_sums(ag_context *c)
{
    ag_tensor *m = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true);
    ag_tensor *row = ag_ones(c, AG_SHAPE(3), .requires_grad = true);
    ag_tensor *column = ag_full(c, AG_SHAPE(2, 1), 2, .requires_grad = true);
    ag_tensor *one = ag_scalar(c, 3, .requires_grad = true);
    CHECK(ag_backward(ag_sum(ag_mul(ag_mul(m, row), ag_mul(column, one)))));
    CHECK_VALUES(ag_grad_of(m), AG_SHAPE(2, 3), AG_VALUES(6, 6, 6, 6, 6, 6), 0);
    CHECK_VALUES(ag_grad_of(row), AG_SHAPE(3), AG_VALUES(12, 12, 12), 0);
    CHECK_VALUES(ag_grad_of(column), AG_SHAPE(2, 1), AG_VALUES(9, 9), 0);
    CHECK_VALUES(ag_grad_of(one), AG_SHAPE(), AG_VALUES(12), 0);
}

static void t_broadcast_over_nothing(ag_context *c)
{
    ag_tensor *a = ag_ones(c, AG_SHAPE(4, 0), .requires_grad = true);
    ag_tensor *b = ag_ones(c, AG_SHAPE(4, 1), .requires_grad = true);
    CHECK(ag_backward(ag_sum(ag_add(a, b))));
    CHECK_VALUES(ag_grad_of(b), AG_SHAPE(4, 1), AG_VALUES(0, 0, 0, 0), 0);
    CHECK_INT(ag_numel(ag_grad_of(a)), 0);
    CHECK_INT(ag_size(ag_grad_of(a), 0), 4);
}

static void t_gradients_have_the_dtype_of_the_operand(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *w = pair(c, 2, 3);
    ag_tensor *h = ag_ones(c, AG_SHAPE(2), .dtype = AG_F16, .requires_grad = true), *y, *g;
    CHECK(y = ag_mul(ag_mul(x, w), h));
    CHECK_INT(ag_dtype_of(y), AG_F64);
    CHECK(ag_backward(ag_sum(y)));
    CHECK_INT(ag_dtype_of(ag_grad_of(x)), AG_F32);
    CHECK_INT(ag_dtype_of(ag_grad_of(w)), AG_F64);
    CHECK_INT(ag_dtype_of(ag_grad_of(h)), AG_F16);
    CHECK_VALUES(ag_grad_of(h), AG_SHAPE(2), AG_VALUES(2, 3), 0);
    ag_tensor *z = ag_sum(ag_to(x, AG_F64));
    CHECK(ag_grad(&z, 1, &x, 1, &g));
    CHECK_INT(ag_dtype_of(g), AG_F32);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_inputs_that_are_leaves), TEST(t_inputs_that_are_results),
               TEST(t_inputs_above_and_below_each_other), TEST(t_a_root_as_input),
               TEST(t_an_input_named_twice_accumulates_once), TEST(t_what_is_pruned_is_not_freed),
               TEST(t_unreachable_inputs), TEST(t_unused_inputs_as_zeros),
               TEST(t_roots_given_twice), TEST(t_roots_below_roots), TEST(t_roots_with_gradients),
               TEST(t_a_leaf_as_root), TEST(t_one_element_is_a_scalar), TEST(t_retain_graph),
               TEST(t_nodes_without_saved_values_run_again), TEST(t_create_graph_keeps_values),
               TEST(t_second_loss_over_a_freed_trunk), TEST(t_passes_have_a_mode_of_their_own),
               TEST(t_accumulates_in_place), TEST(t_accumulates_beside_with_create_graph),
               TEST(t_accumulates_into_a_given_gradient), TEST(t_retained_gradients_are_replaced),
               TEST(t_gradients_do_not_alias), TEST(t_buffers_are_added_to_by_one_owner),
               TEST(t_broadcast_operands_get_sums), TEST(t_broadcast_over_nothing),
               TEST(t_gradients_have_the_dtype_of_the_operand));
}
