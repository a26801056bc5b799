/* Gradients of a graph are tensors of the graph: with respect to placeholders, constants, variables and
 * intermediates, to any order, and equal to those of the dynamic graph. */
#include "graphs.h"

static ag_tensor *numbers(ag_context *c, double a, double b)
{
    return ag_array(c, AG_VALUES(a, b), AG_SHAPE(2), .dtype = AG_F64);
}
static ag_tensor *place(ag_graph *g) { return ag_placeholder(g, AG_F64, AG_SHAPE(-1)); }

/* dy/dx of a y of one element; NULL on error. */
static ag_tensor *gradient(ag_tensor *y, ag_tensor *x)
{
    ag_tensor *d = NULL;
    return ag_grad(&y, 1, &x, 1, &d) ? d : NULL;
}
static ag_tensor *cube(ag_tensor *x) { return ag_mul(x, ag_mul(x, x)); }

/* ---- with respect to what ---- */

static void t_powers_to_the_third_order(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 2, -1), *x = place(g);
    ag_tensor *first = gradient(ag_sum(cube(x)), x), *second = gradient(ag_sum(first), x),
              *third = gradient(ag_sum(second), x);
    CHECK(v && third);
    CHECK_SHAPE(first, AG_SHAPE(-1));
    CHECK_INT(ag_dtype_of(third), AG_F64);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_SAME(FETCH(s, first, { x, v }), numbers(c, 12, 3));
        CHECK_SAME(FETCH(s, second, { x, v }), numbers(c, 12, -6));
        CHECK_SAME(FETCH(s, third, { x, v }), numbers(c, 6, 6));
    }
}

static void t_constants_variables_and_intermediates(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 3, 4), *x = place(g), *k = ag_constant(g, numbers(c, 1, 2)),
              *w = ag_variable(g, numbers(c, 5, 6)), *h = ag_mul(ag_mul(x, k), w),
              *y = ag_sum(ag_square(h));
    ag_tensor *const in[] = { x, k, w, h, y, x };
    ag_tensor *d[6] = { NULL };
    CHECK(v && y && ag_grad(&y, 1, in, 6, d));
    const ag_feed feed = { x, v };
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_tensor *t[6] = { NULL };
        CHECK(ag_session_run(graphs_session(g, graphs_backend[b]), &feed, 1, d, 6, t));
        CHECK_SAME(t[0], numbers(c, 2 * 15 * 5, 2 * 48 * 12)); /* 2 h k w; h = (15, 48) */
        CHECK_SAME(t[1], numbers(c, 2 * 15 * 15, 2 * 48 * 24));
        CHECK_SAME(t[2], numbers(c, 2 * 15 * 3, 2 * 48 * 8));
        CHECK_SAME(t[3], numbers(c, 30, 96));
        CHECK_CLOSE(ag_item(t[4]), 1, 0);
        CHECK_SAME(t[5], t[0]);
    }
}

/* The rules take the values of the run: of a fed h too. y = e^h with h = x^2. */
static void t_where_an_intermediate_is_fed(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 3, 4), *u = numbers(c, 0, 1), *x = place(g), *h = ag_square(x),
              *y = ag_exp(h), *sum = ag_sum(y), *dh = gradient(sum, h), *dx = gradient(sum, x);
    CHECK(v && u && dh && dx);
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_SAME(FETCH(s, dh, { h, u }), ag_exp(u)); /* x is not needed */
        CHECK_SAME(FETCH(s, dx, { h, u }, { x, v }), ag_mul(ag_exp(u), ag_mul(v, 2)));
        CHECK_SAME(FETCH(s, dh, { h, v }, { y, u }), u);
    }
}

static void t_detach_stops(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 3, 4), *x = place(g), *d = NULL;
    ag_tensor *part = gradient(ag_sum(ag_mul(x, ag_detach(x))), x), *none = ag_sum(ag_detach(x));
    CHECK(v && part && none);
    CHECK_ERROR(ag_grad(&none, 1, &x, 1, &d), AG_ERR_GRAD, "One of the differentiated Tensors");
    CHECK(ag_grad(&none, 1, &x, 1, &d, .allow_unused = true) && !d);
    for (int b = 0; b < GRAPHS_BACKENDS; b++)
        CHECK_SAME(FETCH(graphs_session(g, graphs_backend[b]), part, { x, v }), v);
}

/* ---- what is not connected ---- */

static void t_unconnected_inputs(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 3, 4), *x = place(g), *z = place(g), *y = ag_sum(ag_square(x));
    ag_tensor *const in[] = { z, x };
    ag_tensor *d[2] = { y, y };
    CHECK(v && y && z);
    CHECK_ERROR(ag_grad(&y, 1, in, 2, d), AG_ERR_GRAD,
                "One of the differentiated Tensors appears to not have been used in the graph. Set "
                "allow_unused=True if this is the desired behavior.");
    CHECK(ag_grad(&y, 1, in, 2, d, .allow_unused = true));
    CHECK(!d[0] && d[1]);
    CHECK(ag_grad(&y, 1, in, 2, d, .materialize_grads = true));
    CHECK(d[0] && ag_is_symbolic(d[0]));
    CHECK_SHAPE(d[0], AG_SHAPE(-1));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_SAME(FETCH(s, d[0], { z, numbers(c, 7, 8) }), numbers(c, 0, 0));
        CHECK_SAME(FETCH(s, d[1], { x, v }), numbers(c, 6, 8));
    }
}

/* What comes later than y, or goes through something without a derivative, is not connected either. */
static void t_inputs_that_y_does_not_depend_on(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = place(g), *y = ag_sum(ag_square(x)), *later = ag_mul(y, 2), *d = NULL;
    ag_tensor *i = ag_placeholder(g, AG_I64, AG_SHAPE()),
              *compared = ag_sum(ag_to(ag_lt(x, 1), AG_F64));
    CHECK(later && i && compared);
    CHECK_ERROR(ag_grad(&y, 1, &later, 1, &d), AG_ERR_GRAD, "One of the differentiated Tensors");
    CHECK_ERROR(ag_grad(&compared, 1, &x, 1, &d), AG_ERR_GRAD, "");
    CHECK_ERROR(ag_grad(&y, 1, &i, 1, &d), AG_ERR_GRAD, "One of the differentiated Tensors");
    CHECK(!d);
}

/* ---- cotangents ---- */

static void t_grad_outputs(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 3, 4), *x = place(g), *weights = place(g),
              *concrete = numbers(c, 10, 1);
    ag_tensor *const out[] = { ag_square(x), ag_mul(x, 5) };
    ag_tensor *const cotangents[] = { weights, concrete }, *const half[] = { NULL, concrete };
    ag_tensor *d[2] = { NULL };
    CHECK(v && concrete && out[0] && out[1] && weights);
    CHECK(ag_grad(out, 2, &x, 1, &d[0], .grad_outputs = cotangents));
    ag_tensor *const mixed[] = { ag_sum(out[0]), out[1] };
    CHECK(mixed[0] && ag_grad(mixed, 2, &x, 1, &d[1], .grad_outputs = half));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(g, graphs_backend[b]);
        CHECK_SAME(FETCH(s, d[0], { x, v }, { weights, numbers(c, 1, 2) }), numbers(c, 56, 21));
        CHECK_SAME(FETCH(s, d[1], { x, v }), numbers(c, 56, 13));
    }
}

/* The gradient of a gradient with respect to its cotangent is the function's own derivative. */
static void t_derivative_in_the_cotangent(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 3, 4), *x = place(g), *u = place(g), *y = ag_square(x), *d = NULL;
    CHECK(v && y && ag_grad(&y, 1, &x, 1, &d, .grad_outputs = &u));
    ag_tensor *tangent = gradient(ag_sum(d), u);
    CHECK(tangent);
    for (int b = 0; b < GRAPHS_BACKENDS; b++)
        CHECK_SAME(FETCH(graphs_session(g, graphs_backend[b]), tangent, { x, v }, { u, v }),
                   numbers(c, 6, 8));
}

static void t_cotangents_that_do_not_fit(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(2)), *z = place(g), *y = ag_square(x),
              *q = ag_square(z), *d = NULL;
    ag_tensor *three = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64),
              *s = ag_placeholder(g, AG_F64, AG_SHAPE(3));
    CHECK(y && q && three && s);
    static const char mismatch[] =
        "Mismatch in shape: grad_output[0] has a shape of [3] and output[0] has a shape of [2].";
    CHECK_ERROR(ag_grad(&y, 1, &x, 1, &d), AG_ERR_GRAD,
                "grad can be implicitly created only for scalar outputs");
    CHECK_ERROR(ag_grad(&q, 1, &z, 1, &d), AG_ERR_GRAD,
                "grad can be implicitly created only for scalar outputs");
    CHECK_ERROR(ag_grad(&y, 1, &x, 1, &d, .grad_outputs = &three), AG_ERR_SHAPE, mismatch);
    CHECK_ERROR(ag_grad(&y, 1, &x, 1, &d, .grad_outputs = &s), AG_ERR_SHAPE, mismatch);
    CHECK(!ag_grad(NULL, 1, &x, 1, &d) && !ag_grad(&y, 1, NULL, 1, &d) && !d);
    ag_error_clear(c);
}

/* ---- the same as the dynamic graph, to the last bit ---- */

static ag_tensor *net(ag_tensor *const *p)
{
    ag_tensor *h = ag_tanh(ag_linear(p[0], p[1], p[2]));
    h = ag_layer_norm(h, 1, NULL, NULL, 1e-5);
    ag_tensor *columns = ag_cat((ag_tensor *const[]){ h, ag_slice(h, 1, 0, 4, 2) }, 2, 1);
    return ag_add(ag_mean(ag_log_softmax(columns, 1)),
                  ag_sum(ag_mul(ag_amax(h), ag_sigmoid(p[2]))));
}

static void t_a_net_and_its_second_order(ag_context *c)
{
    ag_tensor *v[] = { graphs_numbers(c, AG_F32, AG_SHAPE(3, 2)),
                       graphs_numbers(c, AG_F32, AG_SHAPE(4, 2)),
                       graphs_numbers(c, AG_F32, AG_SHAPE(4)) };
    ag_graph *g = graphs_graph(c);
    ag_tensor *p[] = { ag_placeholder(g, AG_F32, AG_SHAPE(-1, 2)),
                       ag_placeholder(g, AG_F32, AG_SHAPE(4, -1)),
                       ag_placeholder(g, AG_F32, AG_SHAPE(-1)) };
    ag_tensor *fetches[6] = { NULL }, *expected[6] = { NULL };
    ag_feed feeds[3];
    for (int i = 0; i < 3; i++) {
        CHECK(v[i] && p[i] && ag_requires_grad_(v[i], true));
        feeds[i] = (ag_feed){ p[i], v[i] };
    }
    ag_tensor *y = net(p), *e = net(v);
    CHECK(y && ag_grad(&y, 1, p, 3, fetches));
    CHECK(e && ag_grad(&e, 1, v, 3, expected, .create_graph = true));
    ag_tensor *y2 = ag_sum(ag_square(fetches[1])), *e2 = ag_sum(ag_square(expected[1]));
    CHECK(y2 && ag_grad(&y2, 1, p, 3, fetches + 3));
    CHECK(e2 && ag_grad(&e2, 1, v, 3, expected + 3));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_tensor *t[6] = { NULL };
        CHECK(ag_session_run(graphs_session(g, graphs_backend[b]), feeds, 3, fetches, 6, t));
        for (int i = 0; i < 6; i++)
            CHECK_SAME(t[i], ag_detach(expected[i]));
    }
}

/* Gradient mode is of the dynamic graph: that of a static one is there without it. */
static void t_gradients_without_gradient_mode(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 3, 4), *x = place(g), *d = NULL, *t = NULL;
    CHECK(v && x);
    AG_NO_GRAD (c) {
        d = gradient(ag_sum(ag_square(x)), x);
        t = FETCH(graphs_session(g, AG_BACKEND_INTERPRET), d, { x, v });
    }
    CHECK_SAME(t, numbers(c, 6, 8));
}

/* ---- ag_vjp and ag_jvp ---- */

static bool cube_fn(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = cube(in[0]);
    return out[0] != NULL;
}

static void t_products_with_the_jacobian(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = numbers(c, 2, 3), *u = numbers(c, 1, 10), *x = place(g), *w = place(g);
    ag_tensor *fetches[4] = { NULL };
    CHECK(v && u && x && w);
    CHECK(ag_vjp(cube_fn, &x, 1, &fetches[0], 1, &w, &fetches[1], NULL));
    CHECK(ag_jvp(cube_fn, &x, 1, &w, &fetches[2], 1, &fetches[3], NULL));
    const ag_feed feeds[] = { { x, v }, { w, u } };
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_tensor *t[4] = { NULL };
        CHECK(ag_session_run(graphs_session(g, graphs_backend[b]), feeds, 2, fetches, 4, t));
        CHECK_SAME(t[0], numbers(c, 8, 27));
        CHECK_SAME(t[1], numbers(c, 12, 270));
        CHECK_SAME(t[2], t[0]);
        CHECK_SAME(t[3], t[1]);
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_powers_to_the_third_order), TEST(t_constants_variables_and_intermediates),
               TEST(t_where_an_intermediate_is_fed), TEST(t_detach_stops),
               TEST(t_unconnected_inputs), TEST(t_inputs_that_y_does_not_depend_on),
               TEST(t_grad_outputs), TEST(t_derivative_in_the_cotangent),
               TEST(t_cotangents_that_do_not_fit), TEST(t_a_net_and_its_second_order),
               TEST(t_gradients_without_gradient_mode), TEST(t_products_with_the_jacobian));
}
