/* The dynamic graph: values, gradients, freeing, and the sentences of its errors. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <autograd.h>

#include <string.h>

static int open_context(void **state) { return (*state = ag_open()) ? 0 : -1; }
static int close_context(void **state) { return ag_close(*state), 0; }

static void assert_error(ag_context *c, ag_code code, const char *sentence)
{
    assert_non_null(ag_error(c));
    assert_int_equal(ag_error(c)->code, code);
    assert_non_null(strstr(ag_error(c)->message, sentence));
    ag_error_clear(c);
}

static ag_tensor *leaf(ag_context *c, double v)
{
    return ag_scalar(c, v, .dtype = AG_F64, .requires_grad = true);
}

static void t_founding_example(void **state)
{
    ag_context *c = *state;
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 1);
    assert_true(ag_backward(ag_mul(ag_add(x, w), ag_add(w, 1))));
    assert_float_equal(ag_item(ag_grad_of(w)), 5, 0);
    assert_float_equal(ag_item(ag_grad_of(x)), 2, 0);
}

static void t_gradients_accumulate(void **state)
{
    ag_tensor *x = leaf(*state, 3);
    assert_true(ag_backward(ag_mul(x, x)));
    assert_true(ag_backward(ag_mul(x, 2)));
    assert_float_equal(ag_item(ag_grad_of(x)), 8, 0);
}

static void t_third_derivative(void **state)
{
    ag_tensor *x = leaf(*state, 2), *y = ag_mul(ag_mul(x, x), ag_mul(x, x)), *g[3];
    assert_true(ag_grad(&y, 1, &x, 1, &g[0], .create_graph = true));
    assert_true(ag_grad(&g[0], 1, &x, 1, &g[1], .create_graph = true));
    assert_true(ag_grad(&g[1], 1, &x, 1, &g[2]));
    assert_float_equal(ag_item(g[0]), 32, 1e-12);
    assert_float_equal(ag_item(g[1]), 48, 1e-12);
    assert_float_equal(ag_item(g[2]), 48, 1e-12);
}

static void t_second_pass_needs_retained_values(void **state)
{
    ag_tensor *x = leaf(*state, 2), *y = ag_mul(x, x), *z = ag_add(x, x);
    assert_true(ag_backward(y, .retain_graph = true));
    assert_true(ag_backward(y));
    assert_false(ag_backward(y));
    assert_error(*state, AG_ERR_GRAD, "Trying to backward through the graph a second time");
    assert_true(ag_backward(z) && ag_backward(z)); /* nothing was saved */
}

static void t_changed_value_is_an_error(void **state)
{
    ag_context *c = *state;
    ag_tensor *x = leaf(c, 2), *w = ag_scalar(c, 3, .dtype = AG_F64), *y = ag_mul(x, w);
    assert_non_null(ag_add_(w, 1));
    assert_false(ag_backward(y));
    assert_error(c, AG_ERR_GRAD, "modified by an inplace operation");
    assert_null(ag_grad_of(x));
}

static void t_inputs_prune(void **state)
{
    ag_tensor *x = leaf(*state, 2), *w = leaf(*state, 5), *y = ag_mul(x, w);
    assert_true(ag_backward(y, .inputs = &x, .n_inputs = 1));
    assert_float_equal(ag_item(ag_grad_of(x)), 5, 0);
    assert_null(ag_grad_of(w));
}

static void t_unused_input(void **state)
{
    ag_context *c = *state;
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 5), *y = ag_mul(x, 2), *g = x;
    assert_false(ag_grad(&y, 1, &w, 1, &g));
    assert_error(c, AG_ERR_GRAD, "appears to not have been used in the graph");
    assert_ptr_equal(g, x);
    assert_true(ag_grad(&y, 1, &w, 1, &g, .allow_unused = true));
    assert_null(g);
    assert_true(ag_grad(&y, 1, &w, 1, &g, .materialize_grads = true));
    assert_float_equal(ag_item(g), 0, 0);
}

static void t_root_errors(void **state)
{
    ag_context *c = *state;
    ag_tensor *a = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .requires_grad = true);
    ag_tensor *b = ag_mul(a, a);
    assert_false(ag_backward(b));
    assert_error(c, AG_ERR_GRAD, "grad can be implicitly created only for scalar outputs");
    assert_false(ag_backward(b, .gradient = ag_ones(c, AG_SHAPE(3))));
    assert_error(c, AG_ERR_SHAPE, "Mismatch in shape: grad_output[0] has a shape of [3]");
    assert_false(ag_backward(ag_ones(c, AG_SHAPE(1))));
    assert_error(c, AG_ERR_GRAD, "element 0 of tensors does not require grad");
}

static void t_retain_grad(void **state)
{
    ag_tensor *x = leaf(*state, 2), *y = ag_mul(x, x);
    assert_true(ag_retain_grad(y));
    assert_true(ag_backward(ag_mul(y, y)));
    assert_float_equal(ag_item(ag_grad_of(y)), 8, 0);
}

static void t_shapes_that_do_not_broadcast(void **state)
{
    ag_context *c = *state;
    assert_null(ag_add(ag_ones(c, AG_SHAPE(2, 3)), ag_ones(c, AG_SHAPE(4))));
    assert_error(c, AG_ERR_SHAPE, "the shapes are [2, 3] and [4]");
}

static void t_long_chain(void **state)
{
    ag_context *c = *state;
    ag_tensor *x = leaf(c, 1), *y = ag_mul(x, 1);
    for (int i = 0; i < 300000; i++) {
        ag_tensor *next = ag_mul(y, x);
        ag_drop(y);
        y = next;
    }
    assert_true(ag_backward(y));
    assert_float_equal(ag_item(ag_grad_of(x)), 300001, 0);
    ag_drop(y);
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    assert_int_equal(s.nodes, 0);
}

/* Every allocation of a step fails once: the error is MEMORY and the leaf is as before. */
static void t_every_allocation_fails(void **state)
{
    ag_context *c = *state;
    ag_tensor *x = leaf(c, 2);
    for (int64_t n = 1;; n++) {
        bool ok = false;
        ag_memory_fail_at(c, n, false);
        ag_scope *s = ag_scope_begin(c);
        ag_tensor *y = s ? ag_mul(ag_sin(ag_mul(x, x)), ag_add(x, 1)) : NULL;
        ok = y && ag_backward(y);
        ag_scope_end(s);
        ag_memory_fail_at(c, 0, false);
        if (ok)
            break;
        assert_error(c, AG_ERR_MEMORY, "out of memory");
        assert_null(ag_grad_of(x));
        assert_true(n < 1000);
    }
    assert_float_equal(ag_item(ag_grad_of(x)), -0.7568024953079282 - 0.6536436208636119 * 12, 1e-12);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_context, close_context)
    const struct CMUnitTest tests[] = {
        T(t_founding_example), T(t_gradients_accumulate), T(t_third_derivative),
        T(t_second_pass_needs_retained_values), T(t_changed_value_is_an_error), T(t_inputs_prune),
        T(t_unused_input), T(t_root_errors), T(t_retain_grad), T(t_shapes_that_do_not_broadcast),
        T(t_long_chain), T(t_every_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
