/*
 * Compiled functions: ag_compile and ag_call.
 *
 * What a call gives is compared with the plain function, which is called beside it: values,
 * gradients of several orders, errors. Functions count their calls in `user`, so that a trace can
 * be told from a run of what was traced.
 */
#include <stdlib.h>

#include "harness.h"

static const double CLOSE = 1e-12;

/* ---- functions ---- */

typedef struct {
    int runs;
    ag_tensor *w;                   /* captured */
    ag_function *inner;             /* called inside */
    bool fails, silent, leaves_out; /* and how: without a reason, with an output that stays NULL */
} shared;

/* y = sin(x) y + exp(x y / 4) */
static bool smooth(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ((shared *)user)->runs++;
    out[0] = ag_add(ag_mul(ag_sin(in[0]), in[1]), ag_exp(ag_div(ag_mul(in[0], in[1]), 4)));
    return out[0] != NULL;
}

/* A matrix, and the mean of its rows' logarithms of sums. */
static bool two_results(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ((shared *)user)->runs++;
    out[0] = ag_tanh(ag_matmul(in[0], ag_t(in[1])));
    out[1] = ag_mean(ag_logsumexp(out[0], .dims = AG_DIMS(1)));
    return out[0] && out[1];
}

static ag_function *compile(ag_context *c, ag_fn fn, int m, shared *s)
{
    ag_function *f = ag_compile(c, fn, m, s);
    CHECK(f);
    return f;
}

static void free_function(void *f) { ag_function_free(f); }

/* Freed when the test ends. */
static ag_function *compiled(ag_context *c, ag_fn fn, int m, shared *s)
{
    ag_function *f = compile(c, fn, m, s);
    harness_defer(free_function, f);
    return f;
}

static ag_tensor *vector(ag_context *c, bool wants)
{
    return ag_array(c, AG_VALUES(0.3, -0.7, 1.1), AG_SHAPE(3), .dtype = AG_F64,
                    .requires_grad = wants);
}

static ag_tensor *other_vector(ag_context *c, bool wants)
{
    return ag_array(c, AG_VALUES(1.5, 0.4, -0.9), AG_SHAPE(3), .dtype = AG_F64,
                    .requires_grad = wants);
}

static ag_tensor *matrix(ag_context *c, bool wants)
{
    return ag_array(c, AG_VALUES(0.5, -1, 0.25, 0.75, 1.25, -0.5), AG_SHAPE(2, 3), .dtype = AG_F64,
                    .requires_grad = wants);
}

/* The same type, and values within CLOSE of the greatest. */
static void check_same(ag_tensor *is, ag_tensor *expected)
{
    CHECK(is && expected && ag_dtype_of(is) == ag_dtype_of(expected));
    CHECK_INT(ag_ndim(is), ag_ndim(expected));
    for (int d = 0; d < ag_ndim(is); d++)
        CHECK_INT(ag_shape(is)[d], ag_shape(expected)[d]);
    ag_tensor *a = ag_reshape(is, AG_SHAPE(-1)), *b = ag_reshape(expected, AG_SHAPE(-1));
    CHECK(a && b);
    double most = 0;
    for (int64_t i = 0; i < ag_numel(b); i++)
        most = fmax(most, fabs(ag_at(b, i)));
    most = most > 0 ? most : 1;
    for (int64_t i = 0; i < ag_numel(a); i++)
        CHECK_CLOSE(ag_at(a, i) / most, ag_at(b, i) / most, CLOSE);
}

/* ---- signatures ---- */

static void t_each_signature_is_traced_once(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    CHECK_INT(ag_function_traces(f), 0);
    CHECK_INT(s.runs, 0);
    ag_tensor *three[] = { vector(c, false), other_vector(c, false) },
              *again[] = { other_vector(c, false), vector(c, false) },
              *wanting[] = { vector(c, true), other_vector(c, false) },
              *matrices[] = { matrix(c, false), matrix(c, false) },
              *floats[] = { ag_to(three[0], AG_F32), ag_to(three[1], AG_F32) };
    ag_tensor **calls[] = { three, again, three, wanting, matrices, floats, wanting, floats };
    const int traces[] = { 1, 1, 1, 2, 3, 4, 4, 4 };
    for (int i = 0; i < 8; i++) {
        ag_tensor *y, *expected;
        CHECK(ag_call(f, calls[i], 2, &y, 1));
        CHECK(smooth(calls[i], 2, &expected, 1, &plain));
        CHECK_INT(ag_function_traces(f), traces[i]);
        CHECK_INT(s.runs, traces[i]);
        CHECK(!ag_is_symbolic(y) && ag_requires_grad(y) == (calls[i] == wanting));
        CHECK(calls[i] != floats || ag_dtype_of(y) == AG_F32);
        if (calls[i] != floats)
            check_same(y, expected);
        else
            CHECK_CLOSE(ag_at(y, 1), ag_at(expected, 1), 1e-6);
    }
}

/* ---- random numbers ---- */

static bool times_random(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    ag_tensor *r = ag_rand_like(in[0]);
    out[0] = ag_mul(in[0], r);
    return out[0] != NULL;
}

/* (x r)^3 at x = 2. A plan that is differentiated again would draw again. */
static void t_gradients_see_the_numbers_of_the_call(ag_context *c)
{
    for (int backend = 0; backend < 2; backend++) {
        ag_function *f = ag_compile(c, times_random, 1, NULL,
                                    .backend = backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        CHECK(f);
        harness_defer(free_function, f);
        ag_tensor *x = ag_scalar(c, 2, .dtype = AG_F64, .requires_grad = true), *y, *d, *dd;
        CHECK(ag_call(f, &x, 1, &y, 1));
        const double r = ag_item(y) / 2, cube = r * r * r;
        ag_tensor *z = ag_mul(ag_square(y), y);
        CHECK(ag_grad(&z, 1, &x, 1, &d, .retain_graph = true));
        CHECK_CLOSE(ag_item(d) / (12 * cube), 1, 1e-13);
        if (backend) {
            CHECK(ag_grad(&z, 1, &x, 1, &d, .create_graph = true) && ag_grad(&d, 1, &x, 1, &dd));
            CHECK_CLOSE(ag_item(d) / (12 * cube), 1, 1e-13);
            CHECK_CLOSE(ag_item(dd) / (12 * cube), 1, 1e-13);
        } else {
            CHECK_ERROR(ag_grad(&z, 1, &x, 1, &d, .create_graph = true), AG_ERR_UNSUPPORTED,
                        "draws random numbers");
        }
    }
}

/* ---- constants of its graph ---- */

static ag_tensor *below_ten(ag_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(ag_sum(in[0]), 10);
}

static bool thrice(ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    ag_tensor *k = ag_scalar(ag_context_of(in[0]), 3);
    (void)n, (void)user;
    out[0] = ag_mul(in[0], ag_constant(ag_graph_of(in[0]), k, .name = "three"));
    return out[0] != NULL;
}

/* 3 x, and times 3 until it is 10: a constant of a body and one of the function. */
static bool with_constants(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)m;
    ag_tensor *x;
    return thrice(in, n, &x, user) && ag_while_loop(below_ten, thrice, &x, 1, out);
}

static bool with_placeholder(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_add(in[0], ag_placeholder(ag_graph_of(in[0]), AG_F32, AG_SHAPE(3)));
    return out[0] != NULL;
}

static bool with_variable(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    ag_tensor *zero = ag_scalar(ag_context_of(in[0]), 0);
    out[0] = ag_add(in[0], ag_variable(ag_graph_of(in[0]), zero));
    return out[0] != NULL;
}

static void t_constants_are_recorded_in_functions(ag_context *c)
{
    ag_function *f = compiled(c, with_constants, 1, NULL);
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y, *gradient;
    CHECK(ag_call(f, &x, 1, &y, 1));
    CHECK_CLOSE(ag_at(y, 0), 9, 1e-6);
    ag_tensor *sum = ag_sum(y);
    CHECK(ag_grad(&sum, 1, &x, 1, &gradient));
    CHECK_CLOSE(ag_at(gradient, 1), 9, 1e-6);
    const ag_fn wrong[] = { with_placeholder, with_variable };
    for (int i = 0; i < 2; i++) {
        f = compiled(c, wrong[i], 1, NULL);
        CHECK_ERROR(ag_call(f, &x, 1, &y, 1), AG_ERR_GRAPH,
                    "a compiled function has no placeholders and variables");
    }
}

static void t_sizes_of_one_and_zero_are_signatures(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *x = vector(c, false), *one = ag_full(c, AG_SHAPE(1), 2, .dtype = AG_F64),
              *number = ag_scalar(c, 2, .dtype = AG_F64),
              *none = ag_zeros(c, AG_SHAPE(0), .dtype = AG_F64);
    ag_tensor *calls[][2] = { { x, one }, { x, number }, { number, number }, { none, one } };
    for (int i = 0; i < 4; i++) {
        ag_tensor *y, *expected;
        CHECK(ag_call(f, calls[i], 2, &y, 1) && smooth(calls[i], 2, &expected, 1, &plain));
        check_same(y, expected);
        CHECK_INT(ag_function_traces(f), i + 1);
    }
}

static void t_strides_are_no_part_of_a_signature(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *m = ag_reshape(ag_arange(c, 0, 9, 1, .dtype = AG_F64), AG_SHAPE(3, 3));
    ag_tensor *dense[] = { m, ag_square(m) },
              *turned[] = { ag_t(m), ag_expand(vector(c, false), AG_SHAPE(3, 3)) };
    ag_tensor *y, *expected;
    CHECK(ag_call(f, dense, 2, &y, 1) && ag_call(f, turned, 2, &y, 1));
    CHECK(smooth(turned, 2, &expected, 1, &plain));
    check_same(y, expected);
    CHECK_INT(ag_function_traces(f), 1);
}

/* ---- values and gradients ---- */

/* Derivatives of y to the third order at x, one after the other: d[k] of sum d[k - 1]^2 / 2. */
static bool derivatives(ag_tensor *y, ag_tensor *x, ag_tensor **d)
{
    for (int k = 0; k < 3; k++) {
        ag_tensor *root = ag_div(ag_sum(ag_square(y)), 2);
        if (!ag_grad(&root, 1, &x, 1, &d[k], .create_graph = true))
            return false;
        y = d[k];
    }
    return true;
}

static void t_gradients_to_third_order(ag_context *c)
{
    static const ag_backend backends[] = { AG_BACKEND_FUSED, AG_BACKEND_INTERPRET };
    for (int b = 0; b < 2; b++) {
        shared s = { 0 }, plain = { 0 };
        ag_function *f = ag_compile(c, smooth, 1, &s, .backend = backends[b]);
        CHECK(f);
        harness_defer(free_function, f);
        ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y, *z, *is[3], *expected[3];
        for (int i = 0; i < 2; i++) {
            CHECK(ag_call(f, in, 2, &y, 1) && smooth(in, 2, &z, 1, &plain));
            CHECK(derivatives(y, in[i], is) && derivatives(z, in[i], expected));
            for (int k = 0; k < 3; k++)
                check_same(is[k], expected[k]);
        }
        CHECK_INT(s.runs, 1);
    }
}

static void t_inside_a_larger_expression(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *x = vector(c, true), *w = other_vector(c, true), *leaves[] = { x, w };
    ag_tensor *grads[2][2], *second[2][2];
    for (int compiled_now = 0; compiled_now < 2; compiled_now++) {
        ag_tensor *in[] = { ag_exp(x), ag_mul(w, x) }, *y, *z;
        if (compiled_now)
            CHECK(ag_call(f, in, 2, &y, 1));
        else
            CHECK(smooth(in, 2, &y, 1, &plain));
        in[0] = ag_tanh(y); /* and once more, of its own result */
        if (compiled_now)
            CHECK(ag_call(f, in, 2, &z, 1));
        else
            CHECK(smooth(in, 2, &z, 1, &plain));
        ag_tensor *root = ag_sum(ag_mul(z, ag_cos(y)));
        CHECK(ag_grad(&root, 1, leaves, 2, grads[compiled_now], .create_graph = true));
        root = ag_sum(ag_mul(grads[compiled_now][0], grads[compiled_now][1]));
        CHECK(ag_grad(&root, 1, leaves, 2, second[compiled_now]));
    }
    for (int i = 0; i < 2; i++) {
        check_same(grads[1][i], grads[0][i]);
        check_same(second[1][i], second[0][i]);
    }
    CHECK_INT(s.runs, 1);
}

static void t_two_results(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, two_results, 2, &s);
    ag_tensor *in[] = { matrix(c, true), matrix(c, true) }, *y[2], *z[2], *is[2], *expected[2];
    CHECK(ag_call(f, in, 2, y, 2) && two_results(in, 2, z, 2, &plain));
    check_same(y[0], z[0]);
    check_same(y[1], z[1]);
    for (int j = 0; j < 2; j++) { /* only one of them is used */
        ag_tensor *a = ag_sum(y[j]), *b = ag_sum(z[j]);
        CHECK(ag_grad(&a, 1, in, 2, is, .retain_graph = true));
        CHECK(ag_grad(&b, 1, in, 2, expected, .retain_graph = true));
        check_same(is[0], expected[0]);
        check_same(is[1], expected[1]);
    }
    ag_tensor *w[] = { matrix(c, false), ag_scalar(c, -2, .dtype = AG_F64) };
    w[0] = ag_slice(w[0], 1, 0, 2, 1);
    CHECK(ag_grad(y, 2, in, 2, is, .grad_outputs = w) &&
          ag_grad(z, 2, in, 2, expected, .grad_outputs = w));
    check_same(is[0], expected[0]);
    check_same(is[1], expected[1]);
}

static void t_the_call_is_one_node(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y;
    CHECK(ag_call(f, in, 2, &y, 1));
    CHECK(!ag_is_leaf(y) && ag_grad_fn(y));
    int found = 0;
    for (int i = 0; i < ag_node_n_inputs(ag_grad_fn(y)); i++) {
        ag_node *next = ag_node_next(ag_grad_fn(y), i, NULL);
        found += next && strcmp(ag_node_name(next), "AccumulateGrad") == 0;
    }
    CHECK_INT(found, 2);
}

static bool call(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    return ag_call(user, in, n, out, m);
}

static void t_gradcheck(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s), *g = compiled(c, two_results, 2, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) };
    CHECK(ag_gradcheck(call, in, 2, f));
    CHECK(ag_gradgradcheck(call, in, 2, f));
    ag_tensor *matrices[] = { matrix(c, true), matrix(c, true) };
    CHECK(ag_gradcheck(call, matrices, 2, g, .n_outputs = 2));
    CHECK(ag_gradgradcheck(call, matrices, 2, g, .n_outputs = 2, .fast_mode = true));
}

static void t_forward_mode(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, false), other_vector(c, false) }, *v[] = { in[1], NULL };
    ag_tensor *y, *z, *is, *expected;
    CHECK(ag_jvp(call, in, 2, v, &y, 1, &is, f));
    CHECK(ag_jvp(smooth, in, 2, v, &z, 1, &expected, &plain));
    check_same(y, z);
    check_same(is, expected);
}

static void t_backward_adds_to_leaves(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y, *z, *expected;
    CHECK(ag_call(f, in, 2, &y, 1) && smooth(in, 2, &z, 1, &plain));
    y = ag_sum(y);
    z = ag_sum(z);
    CHECK(ag_backward(y, .retain_graph = true) && ag_backward(y));
    CHECK(ag_grad(&z, 1, in, 1, &expected));
    check_same(ag_grad_of(in[0]), ag_mul(expected, 2));
}

static void t_a_freed_graph_is_an_error(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y;
    CHECK(ag_call(f, in, 2, &y, 1));
    y = ag_sum(y);
    CHECK(ag_backward(y));
    WATCH(in[0]);
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "Trying to backward through the graph a second time");
    CHECK(ag_call(f, in, 2, &y, 1) && ag_backward(ag_sum(y)));
}

static void t_a_changed_input_is_an_error(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *x = ag_mul(vector(c, true), 1), *in[] = { x, other_vector(c, false) }, *y;
    CHECK(ag_call(f, in, 2, &y, 1));
    CHECK(ag_add_(x, 1));
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD, "modified by an inplace operation");
}

static void t_results_are_tensors_like_others(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *swapped[] = { in[1], in[0] }, *y,
              *later, *z, *g, *expected;
    CHECK(ag_call(f, in, 2, &y, 1) && smooth(in, 2, &z, 1, &plain));
    CHECK(ag_call(f, swapped, 2, &later, 1)); /* does not write into y */
    check_same(y, z);
    CHECK(ag_mul_(y, 3) && ag_add_(ag_select(y, 0, 1), 1)); /* nor y into later */
    y = ag_sum(y);
    z = ag_mul(ag_sum(z), 3);
    CHECK(ag_grad(&y, 1, in, 1, &g) && ag_grad(&z, 1, in, 1, &expected));
    check_same(g, expected);
    CHECK(smooth(swapped, 2, &z, 1, &plain));
    check_same(later, z);
}

static void t_without_gradients(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, false) }, *y = NULL;
    AG_NO_GRAD (c)
        CHECK(ag_call(f, in, 2, &y, 1));
    CHECK(!ag_requires_grad(y) && ag_is_leaf(y));
    CHECK(ag_call(f, in, 2, &y, 1));
    CHECK(ag_requires_grad(y));
    AG_INFERENCE_MODE (c)
        CHECK(ag_call(f, in, 2, &y, 1));
    CHECK(!ag_requires_grad(y));
}

/* ---- kinds of inputs and outputs ---- */

static bool embed(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_square(ag_embedding(in[0], in[1]));
    out[1] = ag_add(in[1], 1);
    return out[0] && out[1];
}

static void t_integers(ag_context *c)
{
    ag_function *f = compiled(c, embed, 2, NULL);
    ag_tensor *w = matrix(c, true), *y[2], *g;
    ag_tensor *in[] = { w, ag_array(c, AG_VALUES(1, 0, 1), AG_SHAPE(3), .dtype = AG_I64) };
    CHECK(ag_call(f, in, 2, y, 2));
    CHECK(ag_requires_grad(y[0]) && !ag_requires_grad(y[1]));
    CHECK_VALUES(y[1], AG_SHAPE(3), AG_VALUES(2, 1, 2), 0);
    ag_tensor *root = ag_sum(y[0]);
    CHECK(ag_grad(&root, 1, &w, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(2, 3), AG_VALUES(1, -2, 0.5, 3, 5, -2), 0);
    in[1] = ag_array(c, AG_VALUES(1, 5, 1), AG_SHAPE(3), .dtype = AG_I64);
    CHECK_ERROR(ag_call(f, in, 2, y, 2), AG_ERR_INDEX,
                "index 5 is out of bounds for dimension 0 with size 2");
}

static void t_inputs_that_need_no_gradient(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, false) }, *y, *g[2];
    CHECK(ag_call(f, in, 2, &y, 1));
    y = ag_sum(y);
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK(ag_grad_of(in[0]) && !ag_grad_of(in[1]));
    CHECK_ERROR(ag_grad(&y, 1, in, 2, g), AG_ERR_GRAD, "require");
}

/* Its first input, twice the second, and a number. */
static bool as_is(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    out[0] = in[0];
    out[1] = ag_mul(in[1], 2);
    out[2] = ((shared *)user)->w;
    return out[1] != NULL;
}

static void t_outputs_that_are_inputs(ag_context *c)
{
    shared s = { .w = ag_scalar(c, 7, .dtype = AG_F64) };
    ag_function *f = compiled(c, as_is, 3, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y[3], *g[2];
    CHECK(ag_call(f, in, 2, y, 3));
    check_same(y[0], in[0]);
    CHECK(ag_is_leaf(in[0]) && ag_requires_grad(y[0]));
    ag_tensor *root = ag_sum(ag_mul(y[0], y[1]));
    CHECK(ag_grad(&root, 1, in, 2, g));
    check_same(g[0], ag_mul(in[1], 2));
    check_same(g[1], ag_mul(in[0], 2));
}

static void t_outputs_that_depend_on_no_input(ag_context *c)
{
    shared s = { .w = ag_scalar(c, 7, .dtype = AG_F64) };
    ag_function *f = compiled(c, as_is, 3, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y[3], *g;
    CHECK(ag_call(f, in, 2, y, 3));
    CHECK_CLOSE(ag_item(y[2]), 7, 0);
    ag_tensor *root = ag_sum(ag_mul(y[1], y[2])); /* it takes part all the same */
    CHECK(ag_grad(&root, 1, &in[0], 1, &g, .allow_unused = true, .retain_graph = true));
    root = ag_sum(ag_mul(y[1], y[2]));
    CHECK(ag_grad(&root, 1, &in[1], 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(14, 14, 14), 0);
}

static void t_the_same_input_twice(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *x = vector(c, true), *in[] = { x, x }, *y, *z, *is[3], *expected[3];
    CHECK(ag_call(f, in, 2, &y, 1) && smooth(in, 2, &z, 1, &plain));
    CHECK(derivatives(y, x, is) && derivatives(z, x, expected));
    for (int k = 0; k < 3; k++)
        check_same(is[k], expected[k]);
    in[1] = other_vector(c, true); /* of the same signature, and not the same */
    CHECK(ag_call(f, in, 2, &y, 1) && smooth(in, 2, &z, 1, &plain));
    check_same(y, z);
}

static bool captures(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    shared *s = user;
    (void)n, (void)m;
    s->runs++;
    out[0] = ag_mul(ag_square(in[0]), s->w);
    return out[0] != NULL;
}

static void t_captured_tensors_are_constants(ag_context *c)
{
    shared s = { .w = other_vector(c, true) };
    ag_function *f = compiled(c, captures, 1, &s);
    ag_tensor *x = vector(c, true), *y, *z, *g;
    CHECK(ag_call(f, &x, 1, &y, 1) && captures(&x, 1, &z, 1, &s));
    check_same(y, z);
    y = ag_sum(y);
    CHECK(ag_backward(y));
    CHECK(!ag_grad_of(s.w));
    check_same(ag_grad_of(x), ag_mul(ag_mul(x, s.w), 2));
    AG_NO_GRAD (c)
        CHECK(ag_fill_(s.w, 100)); /* the trace has a copy */
    CHECK(ag_call(f, &x, 1, &y, 1));
    check_same(y, z);
    y = ag_sum(y);
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    check_same(g, ag_grad_of(x));
}

/* ---- control flow ---- */

static ag_tensor *goes_on(ag_tensor *const *vars, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(ag_sum(ag_square(vars[0])), 50);
}

static bool doubles(ag_tensor *const *vars, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = ag_mul(ag_add(vars[0], ag_sin(vars[1])), 1.5);
    next[1] = ag_mul(vars[1], *(ag_tensor *const *)user);
    return next[0] && next[1];
}

static bool bigger(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_mul(in[0], in[0])) != NULL;
}

static bool smaller(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_sin(in[0])) != NULL;
}

/* A loop until the state is large, and a branch on what it came to; x is captured by the body. */
static bool flows(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *init[] = { in[0], in[1] }, *end[2], *scale = ag_tanh(in[1]);
    (void)n, (void)m;
    ((shared *)user)->runs++;
    if (!ag_while_loop(goes_on, doubles, init, 2, end, .user = &scale) ||
        !ag_cond(ag_gt(ag_sum(end[0]), 0), bigger, smaller, end, 1, out, 1))
        return false;
    out[0] = ag_sin(ag_div(ag_add(out[0], in[1]), 8));
    return out[0] != NULL;
}

static void t_control_flow_inside(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, flows, 1, &s);
    static const double scales[] = { 1, -2, 0.125, 30 }; /* other branches, numbers of steps */
    for (int i = 0; i < 4; i++) {
        ag_tensor *in[2], *y, *z, *is[3], *expected[3];
        AG_NO_GRAD (c) {
            in[0] = ag_mul(vector(c, false), scales[i]);
            in[1] = ag_mul(other_vector(c, false), 0.5);
        }
        CHECK(ag_requires_grad_(in[0], true) && ag_requires_grad_(in[1], true));
        CHECK(ag_call(f, in, 2, &y, 1) && flows(in, 2, &z, 1, &plain));
        check_same(y, z);
        CHECK(derivatives(y, in[1], is) && derivatives(z, in[1], expected));
        for (int k = 0; k < 3; k++)
            check_same(is[k], expected[k]);
    }
    CHECK_INT(s.runs, 1);
}

/* ---- errors ---- */

static bool failing(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const shared *s = user;
    (void)n, (void)m;
    out[0] = s->leaves_out ? NULL : ag_exp(in[0]);
    if (!s->fails)
        return s->leaves_out || out[0];
    return s->silent ? false : ag_fail(ag_context_of(in[0]), AG_ERR_SHAPE, "no such luck");
}

static void t_functions_that_fail(ag_context *c)
{
    shared s = { .fails = true };
    ag_function *f = compiled(c, failing, 1, &s);
    ag_tensor *x = vector(c, true), *y;
    CHECK(x);
    WATCH(x);
    CHECK_ERROR(ag_call(f, &x, 1, &y, 1), AG_ERR_SHAPE, "no such luck");
    CHECK_INT(ag_function_traces(f), 0);
    s.silent = true;
    CHECK_ERROR(ag_call(f, &x, 1, &y, 1), AG_ERR_VALUE, "ag_call: ");
    s.fails = false;
    s.leaves_out = true;
    CHECK_ERROR(ag_call(f, &x, 1, &y, 1), AG_ERR_VALUE, "ag_call: ");
    s.leaves_out = false; /* a failed trace is no trace */
    UNWATCH();
    CHECK(ag_call(f, &x, 1, &y, 1) && ag_backward(ag_sum(y)));
    check_same(ag_grad_of(x), ag_exp(x));
    CHECK_INT(ag_function_traces(f), 1);
}

static bool misfit(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_add(in[0], in[1])) != NULL;
}

static void t_errors_of_operations(ag_context *c)
{
    ag_function *f = compiled(c, misfit, 1, NULL);
    ag_tensor *in[] = { vector(c, true), ag_zeros(c, AG_SHAPE(2), .dtype = AG_F64) }, *y;
    CHECK_ERROR(ag_call(f, in, 2, &y, 1), AG_ERR_SHAPE, "must match");
    CHECK_INT(ag_function_traces(f), 0);
}

static void t_calls_that_do_not_fit(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), NULL }, *y[2];
    CHECK(in[0]);
    WATCH(in[0]);
    CHECK(
        !ag_call(f, in, 2, y, 1)); /* the failure of whoever made it NULL, or an error of its own */
    ag_error_clear(c);
    CHECK_INT(s.runs, 0);
    in[1] = other_vector(c, true);
    CHECK_ERROR(ag_call(f, in, 2, y, 2), AG_ERR_VALUE, "ag_call: ");
    CHECK_ERROR(ag_call(f, in, 2, y, 0), AG_ERR_VALUE, "ag_call: ");
    CHECK_INT(s.runs, 0);
}

static void t_compilations_that_do_not_fit(ag_context *c)
{
    shared s = { 0 };
    CHECK_ERROR(ag_compile(c, NULL, 1, &s), AG_ERR_VALUE, "ag_compile: ");
    CHECK_ERROR(ag_compile(c, smooth, -1, &s), AG_ERR_VALUE, "ag_compile: ");
    CHECK_ERROR(ag_compile(c, smooth, 1, &s, .backend = (ag_backend)99), AG_ERR_VALUE,
                "ag_compile: ");
    ag_function_free(NULL);
}

static void close_context(void *c) { ag_close(c); }

static void t_inputs_of_another_context(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_context *d = ag_open(0);
    CHECK(d);
    harness_defer(close_context, d);
    ag_tensor *in[] = { vector(c, false), other_vector(d, false) }, *y;
    CHECK_ERROR(ag_call(f, in, 2, &y, 1), AG_ERR_VALUE, "context");
}

/* ---- functions in functions ---- */

static bool calls_inner(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    shared *s = user;
    ag_tensor *again[2];
    s->runs++;
    if (!ag_call(s->inner, in, n, out, m))
        return false;
    again[0] = ag_cos(out[0]);
    again[1] = in[0];
    return ag_call(s->inner, again, 2, out, m);
}

static void t_a_function_that_calls_another(ag_context *c)
{
    shared s = { 0 }, plain = { 0 }, outer = { 0 };
    ag_function *inner = compiled(c, smooth, 1, &s);
    outer.inner = inner;
    ag_function *f = compiled(c, calls_inner, 1, &outer);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y, *z, *is[3], *expected[3];
    for (int k = 0; k < 2; k++)
        CHECK(ag_call(f, in, 2, &y, 1));
    CHECK_INT(outer.runs, 1);
    CHECK(smooth(in, 2, &z, 1, &plain));
    ag_tensor *again[] = { ag_cos(z), in[0] };
    CHECK(smooth(again, 2, &z, 1, &plain));
    check_same(y, z);
    CHECK(derivatives(y, in[0], is) && derivatives(z, in[0], expected));
    for (int k = 0; k < 3; k++)
        check_same(is[k], expected[k]);
}

static void t_a_function_that_calls_itself(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, calls_inner, 1, &s);
    s.inner = f;
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y;
    CHECK_ERROR(ag_call(f, in, 2, &y, 1), AG_ERR_GRAPH, "ag_call: ");
}

/* ---- lifetimes and memory ---- */

static ag_function *freed_early;
static void free_early(void *unused)
{
    (void)unused;
    ag_function_free(freed_early);
    freed_early = NULL;
}

static void t_a_graph_outlives_its_function(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    freed_early = compile(c, smooth, 1, &s);
    harness_defer(free_early, NULL);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y, *z, *is[3], *expected[3];
    CHECK(ag_call(freed_early, in, 2, &y, 1) && smooth(in, 2, &z, 1, &plain));
    free_early(NULL);
    check_same(y, z);
    CHECK(derivatives(y, in[0], is) && derivatives(z, in[0], expected));
    for (int k = 0; k < 3; k++)
        check_same(is[k], expected[k]);
}

static void t_a_function_outlives_the_scope_of_its_first_call(ag_context *c)
{
    shared s = { 0 }, plain = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) }, *y, *z, *g, *expected;
    AG_SCOPE (c)
        CHECK(ag_call(f, in, 2, &y, 1) && ag_backward(ag_sum(y)));
    CHECK(ag_call(f, in, 2, &y, 1) && smooth(in, 2, &z, 1, &plain));
    y = ag_sum(y);
    z = ag_sum(z);
    CHECK(ag_grad(&y, 1, in, 1, &g) && ag_grad(&z, 1, in, 1, &expected));
    check_same(g, expected);
    CHECK_INT(s.runs, 1);
}

static ag_memory_statistics stats_of(ag_context *c)
{
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    return s;
}

static bool layer(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    ag_tensor *h = ag_gelu(ag_linear(in[0], in[2], in[3]), false);
    out[0] = ag_mse_loss(ag_softmax(h, -1), in[1]);
    return out[0] != NULL;
}

static void free_optimizer(void *o) { ag_optimizer_free(o); }

/* From the third on, a step takes what the step before gave back. */
static void t_training_steps_do_not_grow(ag_context *c)
{
    ag_function *f = compiled(c, layer, 1, NULL);
    ag_tensor *in[] = { ag_randn(c, AG_SHAPE(16, 30)), ag_rand(c, AG_SHAPE(16, 40)),
                        ag_randn(c, AG_SHAPE(40, 30), .requires_grad = true),
                        ag_zeros(c, AG_SHAPE(40), .requires_grad = true) };
    CHECK(in[0] && in[1] && in[2] && in[3]);
    ag_optimizer *o = ag_sgd(in + 2, 2, .lr = 0.01, .momentum = 0.5);
    CHECK(o);
    harness_defer(free_optimizer, o);
    ag_memory_statistics was = { 0 };
    double first = 0, last = 0;
    for (int step = 0; step < 6; step++) {
        AG_SCOPE (c) {
            ag_tensor *loss;
            CHECK(ag_call(f, in, 4, &loss, 1));
            ag_optimizer_zero_grad(o);
            CHECK(ag_backward(loss) && ag_step(o));
            last = ag_item(loss);
            first = step ? first : last;
        }
        const ag_memory_statistics now = stats_of(c);
        if (step > 1) {
            CHECK_INT(now.system_calls, was.system_calls);
            CHECK_INT((int64_t)now.current_bytes, (int64_t)was.current_bytes);
            CHECK_INT(now.tensors, was.tensors);
            CHECK_INT(now.nodes, was.nodes);
        }
        was = now;
    }
    CHECK(last < first);
    CHECK_INT(ag_function_traces(f), 1);
}

static void t_calls_do_not_grow(ag_context *c)
{
    shared s = { 0 };
    ag_function *f = compiled(c, smooth, 1, &s);
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) };
    CHECK(in[0] && in[1]);
    ag_memory_statistics was = { 0 };
    for (int k = 0; k < 5; k++) {
        AG_SCOPE (c) {
            ag_tensor *y, *d[3];
            CHECK(ag_call(f, in, 2, &y, 1) && derivatives(y, in[0], d));
        }
        const ag_memory_statistics now = stats_of(c);
        CHECK(k < 2 || now.system_calls == was.system_calls);
        CHECK(k < 2 || now.current_bytes == was.current_bytes);
        was = now;
    }
}

static void t_a_function_gives_its_memory_back(ag_context *c)
{
    shared s = { 0 };
    ag_tensor *in[] = { vector(c, true), other_vector(c, true) };
    CHECK(in[0] && in[1]);
    ag_memory_statistics was = { 0 };
    for (int k = 0; k < 4; k++) {
        AG_SCOPE (c) {
            freed_early = compile(c, smooth, 1, &s);
            if (k == 0)
                harness_defer(free_early, NULL);
            ag_tensor *y, *g;
            CHECK(ag_call(freed_early, in, 2, &y, 1));
            y = ag_sum(y);
            CHECK(ag_grad(&y, 1, in, 1, &g));
        }
        free_early(NULL);
        const ag_memory_statistics now = stats_of(c);
        CHECK(k < 2 || now.current_bytes == was.current_bytes);
        CHECK(k < 2 || (now.tensors == was.tensors && now.nodes == was.nodes));
        was = now;
    }
}

/* ---- options ---- */

typedef struct {
    int dumps;
    bool named;
} dumped;

static void dump(const char *pass, const char *graph, void *user)
{
    dumped *d = user;
    d->dumps++;
    d->named = d->named || (pass && graph && strstr(graph, "sin"));
}

static void dump_drawing(const char *pass, const char *graph, void *user)
{
    (void)pass;
    *(bool *)user = !strncmp(graph, "digraph", 7) && strstr(graph, "sin");
}

static void t_graphs_can_be_looked_at(ag_context *c)
{
    shared s = { 0 };
    dumped d = { 0 };
    ag_function *f =
        ag_compile(c, smooth, 1, &s, .dump = dump, .dump_user = &d, .passes_off = AG_PASS_FUSE);
    CHECK(f);
    harness_defer(free_function, f);
    ag_tensor *in[] = { vector(c, false), other_vector(c, false) }, *y;
    CHECK(ag_call(f, in, 2, &y, 1));
    CHECK(d.dumps > 0 && d.named);
    const int dumps = d.dumps;
    CHECK(ag_call(f, in, 2, &y, 1));
    CHECK_INT(d.dumps, dumps);
    bool drawn = false;
    f = ag_compile(c, smooth, 1, &s, .dump = dump_drawing, .dump_user = &drawn, .dump_dot = true);
    CHECK(f);
    harness_defer(free_function, f);
    CHECK(ag_call(f, in, 2, &y, 1) && drawn);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_each_signature_is_traced_once), TEST(t_constants_are_recorded_in_functions),
               TEST(t_gradients_see_the_numbers_of_the_call),
               TEST(t_sizes_of_one_and_zero_are_signatures),
               TEST(t_strides_are_no_part_of_a_signature), TEST(t_gradients_to_third_order),
               TEST(t_inside_a_larger_expression), TEST(t_two_results),
               TEST(t_the_call_is_one_node), TEST(t_gradcheck), TEST(t_forward_mode),
               TEST(t_backward_adds_to_leaves), TEST(t_a_freed_graph_is_an_error),
               TEST(t_a_changed_input_is_an_error), TEST(t_results_are_tensors_like_others),
               TEST(t_without_gradients), TEST(t_integers), TEST(t_inputs_that_need_no_gradient),
               TEST(t_outputs_that_are_inputs), TEST(t_outputs_that_depend_on_no_input),
               TEST(t_the_same_input_twice), TEST(t_captured_tensors_are_constants),
               TEST(t_control_flow_inside), TEST(t_functions_that_fail),
               TEST(t_errors_of_operations), TEST(t_calls_that_do_not_fit),
               TEST(t_compilations_that_do_not_fit), TEST(t_inputs_of_another_context),
               TEST(t_a_function_that_calls_another), TEST(t_a_function_that_calls_itself),
               TEST(t_a_graph_outlives_its_function),
               TEST(t_a_function_outlives_the_scope_of_its_first_call),
               TEST(t_training_steps_do_not_grow), TEST(t_calls_do_not_grow),
               TEST(t_a_function_gives_its_memory_back), TEST(t_graphs_can_be_looked_at));
}
