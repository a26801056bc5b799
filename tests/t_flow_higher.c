/*
 * Derivatives of derivatives: gradients that bodies and branches take themselves, differentiated
 * from outside; forward over reverse and the other way round; Jacobians and Hessians; high orders.
 */
#include "flow.h"

/* dy/dx, of a kind that can be differentiated again. */
static ag_tensor *grad(ag_tensor *y, ag_tensor *x)
{
    ag_tensor *d = NULL;
    return ag_grad(&y, 1, &x, 1, &d, .create_graph = true) ? d : NULL;
}

/* ---- gradients inside bodies ---- */

static ag_tensor *cube_less(ag_tensor *y, ag_tensor *a)
{
    return ag_sub(ag_mul(ag_square(y), y), a);
}

/* Newton's method for y^3 = a. */
FLOW_STEP(root_step)
{
    STEP_UNUSED;
    ag_tensor *f = cube_less(v[0], FLOW_IN(0));
    return (next[0] = ag_sub(v[0], ag_div(f, grad(f, v[0])))) != NULL;
}

FLOW_BUILD(cube_less_input)
{
    BUILD_UNUSED;
    return (out[0] = cube_less(in[0], FLOW_IN(0))) != NULL;
}

/* The same with a derivative in forward mode. */
FLOW_STEP(root_step_forward)
{
    STEP_UNUSED;
    ag_tensor *f = NULL, *df = NULL, *one = ag_ones_like(v[0]);
    return one && ag_jvp(cube_less_input, v, 1, &one, &f, 1, &df, user) &&
           (next[0] = ag_sub(v[0], ag_div(f, df))) != NULL;
}

FLOW_BUILD(cube_root)
{
    BUILD_UNUSED;
    return (out[0] = flow_repeat_one(8, root_step, ag_mul(in[0], .5), (void *)in)) != NULL;
}

FLOW_BUILD(cube_root_forward)
{
    BUILD_UNUSED;
    return (out[0] = flow_repeat_one(8, root_step_forward, ag_mul(in[0], .5), (void *)in)) != NULL;
}

static void t_newton(ag_context *c)
{
    FLOW_CHECK(c, .build = cube_root, .in = { SCALAR(5) }, .out = { SCALAR(1.709975946676697) },
               .d1 = { AG_VALUES(0.11399839644511314) }, .d2 = { AG_VALUES(-0.015199786192681749) },
               .d3 = { AG_VALUES(0.005066595397560582) });
    FLOW_CHECK(c, .build = cube_root_forward, .in = { SCALAR(5) },
               .out = { SCALAR(1.709975946676697) }, .d1 = { AG_VALUES(0.11399839644511314) },
               .d2 = { AG_VALUES(-0.015199786192681749) },
               .d3 = { AG_VALUES(0.005066595397560582) });
}

/* Gradient descent: v = w; in = w, data, rate. */
FLOW_STEP(descent_step)
{
    STEP_UNUSED;
    ag_tensor *error = ag_square(ag_sub(ag_mul(v[0], FLOW_IN(1)), 1));
    ag_tensor *decay = ag_div(ag_square(ag_square(v[0])), 8);
    ag_tensor *slope = grad(ag_sum(ag_add(error, decay)), v[0]);
    return (next[0] = ag_sub(v[0], ag_mul(FLOW_IN(2), slope))) != NULL;
}

static void t_descent(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(3, descent_step),
               .in = { VECTOR(1, -0.5), VECTOR(0.5, 2), SCALAR(0.1) },
               .out = { VECTOR(1, 0.4871018768484884) },
               .d1 = { AG_VALUES(0.5119999999999999, 0.005720136051007546),
                       AG_VALUES(0, -0.17623142983275966), AG_VALUES(0.8815262258884157) },
               .d2 = { AG_VALUES(-12.756479999999998, -2.763855709562627),
                       AG_VALUES(-2.3359999999999994, -23.354816393242963),
                       AG_VALUES(-273.0969854568632) },
               .d3 = { AG_VALUES(141.61658880000002, 872.3380180707768),
                       AG_VALUES(-102.29376000000002, 2489.0728077776826),
                       AG_VALUES(39213.81509510561) });
}

/* Halley's method for cos x = x: second derivatives inside the body. */
FLOW_STEP(halley_step)
{
    STEP_UNUSED;
    ag_tensor *f = ag_sub(ag_cos(v[0]), v[0]), *d = grad(f, v[0]), *dd = grad(d, v[0]);
    ag_tensor *by = ag_sub(ag_mul(ag_square(d), 2), ag_mul(f, dd));
    return (next[0] = ag_sub(v[0], ag_div(ag_mul(ag_mul(f, d), 2), by))) != NULL;
}

/* Newton's method for the minimum of exp x - a x. */
FLOW_STEP(minimum_step)
{
    STEP_UNUSED;
    ag_tensor *f = ag_sub(ag_exp(v[0]), ag_mul(FLOW_IN(1), v[0])), *d = grad(f, v[0]);
    return (next[0] = ag_sub(v[0], ag_div(d, grad(d, v[0])))) != NULL;
}

static void t_second_derivatives_inside(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(3, halley_step), .in = { SCALAR(0.3) },
               .out = { SCALAR(0.7390851332151607) }, .d1 = { AG_VALUES(1.0967682987873814e-19) },
               .d2 = { AG_VALUES(-7.152813822435612e-18) },
               .d3 = { AG_VALUES(4.507237068083922e-16) });
    FLOW_CHECK(c, FLOW_LOOP(6, minimum_step), .in = { SCALAR(0.3), SCALAR(2) },
               .out = { SCALAR(0.6931471805599453) }, .d1 = { AG_VALUES(0), AG_VALUES(0.5) },
               .d2 = { AG_VALUES(0), AG_VALUES(-0.5) }, .d3 = { AG_VALUES(0), AG_VALUES(1) });
}

FLOW_STEP(square_times_input)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(ag_square(v[0]), FLOW_IN(1))) != NULL;
}

/* The gradient of a loop, in the body of a loop. */
FLOW_STEP(inner_gradient_step)
{
    STEP_UNUSED;
    ag_tensor *inner = flow_repeat_one(2, square_times_input, v[0], user);
    return (next[0] = ag_add(ag_div(grad(inner, v[0]), 4), FLOW_IN(0))) != NULL;
}

static void t_gradient_of_inner(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(2, inner_gradient_step), .in = { SCALAR(0.5), SCALAR(1.5) },
               .out = { SCALAR(3.1441731452941895) },
               .d1 = { AG_VALUES(31.38558292388916), AG_VALUES(12.54861831665039) },
               .d2 = { AG_VALUES(639.8154602050781), AG_VALUES(278.0790023803711) });
}

/* With respect to what comes from outside. */
FLOW_STEP(captured_gradient_step)
{
    STEP_UNUSED;
    ag_tensor *w = FLOW_IN(1);
    return (next[0] = ag_add(ag_mul(v[0], w), grad(ag_sin(ag_mul(w, w)), w))) != NULL;
}

typedef struct {
    ag_tensor *x, *f;
} outer;

FLOW_STEP(outer_gradient_step)
{
    STEP_UNUSED;
    const outer *o = user;
    return (next[0] = ag_add(ag_mul(v[0], o->x), grad(o->f, o->x))) != NULL;
}

/* Of what was computed before the loop. */
FLOW_BUILD(gradient_of_outer)
{
    BUILD_UNUSED;
    outer o = { in[0], ag_mul(ag_square(in[0]), in[0]) };
    return o.f && (out[0] = flow_repeat_one(2, outer_gradient_step, in[0], &o)) != NULL;
}

static void t_gradient_of_captured(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(2, captured_gradient_step), .in = { SCALAR(1.25), SCALAR(0.5) },
               .out = { SCALAR(1.765868632565967) },
               .d1 = { AG_VALUES(0.25), AG_VALUES(4.754543747960795) },
               .d2 = { AG_VALUES(2), AG_VALUES(5.40167500495372) },
               .d3 = { AG_VALUES(8), AG_VALUES(-107.53038980081836) },
               .skip = FLOW_MIXED); /* where w has data, and wants no gradient */
    FLOW_CHECK(c, .build = gradient_of_outer, .in = { SCALAR(1.5) }, .out = { SCALAR(20.25) },
               .d1 = { AG_VALUES(36) }, .d2 = { AG_VALUES(42) }, .d3 = { AG_VALUES(24) });
}

FLOW_SCAN_STEP(gradient_step)
{
    SCAN_UNUSED;
    ag_tensor *d = grad(ag_sin(ag_mul(carry[0], x[0])), carry[0]);
    next[0] = ag_add(ag_mul(carry[0], .5), d);
    return next[0] && (y[0] = ag_mul(d, x[0])) != NULL;
}

FLOW_BUILD(scan_gradients)
{
    BUILD_UNUSED;
    return ag_scan(gradient_step, in, 1, &in[1], 1, &out[0], &out[1], 1);
}

FLOW_BUILD(gradient_of_sine)
{
    BUILD_UNUSED;
    return (out[0] = grad(ag_mul(ag_sin(in[0]), in[0]), in[0])) != NULL;
}

FLOW_BUILD(gradient_of_fourth_power)
{
    BUILD_UNUSED;
    return (out[0] = grad(ag_square(ag_square(in[0])), in[0])) != NULL;
}

FLOW_BUILD(branch_gradient)
{
    BUILD_UNUSED;
    return ag_cond(in[0], gradient_of_sine, gradient_of_fourth_power, &in[1], 1, out, 1);
}

static void t_gradients_in_scans_and_branches(ag_context *c)
{
    FLOW_CHECK(c, .build = scan_gradients, .in = { SCALAR(1.5), VECTOR(0.5, -0.25, 2) },
               .out = { SCALAR(1.7687309833577296),
                        VECTOR(0.18292221721845522, 0.06008387644574612, 3.2198752552799883) },
               .d1 = { AG_VALUES(-2.313295637501032),
                       AG_VALUES(-0.4812072005451977, -12.084079278885723, 5.976962163970714) },
               .d2 = { AG_VALUES(-10.773797068803077),
                       AG_VALUES(24.11738505197429, -134.4952892334386, -57.05267867107391) },
               .d3 = { AG_VALUES(270.4608294342128),
                       AG_VALUES(895.8442066962887, -659.387056390703, -549.500229217589) });
    FLOW_CHECK(c, .build = branch_gradient, .in = { TRUTH(1), SCALAR(1.5) },
               .out = { SCALAR(1.1036007891056088) },
               .d1 = { { NULL, 0 }, AG_VALUES(-1.354768076570676) },
               .d2 = { { NULL, 0 }, AG_VALUES(-6.197181524627435) },
               .d3 = { { NULL, 0 }, AG_VALUES(4.8531746929410815) });
    FLOW_CHECK(c, .build = branch_gradient, .in = { TRUTH(0), SCALAR(1.5) },
               .out = { SCALAR(13.5) }, .d1 = { { NULL, 0 }, AG_VALUES(27) },
               .d2 = { { NULL, 0 }, AG_VALUES(72) }, .d3 = { { NULL, 0 }, AG_VALUES(96) });
}

/* ---- differential equations ---- */

/* Symplectic Euler steps of a pendulum; in = q, p, h. */
FLOW_STEP(pendulum_step)
{
    STEP_UNUSED;
    ag_tensor *h = FLOW_IN(2);
    next[1] = ag_sub(v[1], ag_mul(h, ag_sin(v[0])));
    return (next[0] = ag_add(v[0], ag_mul(h, next[1]))) != NULL;
}

static ag_tensor *growth(ag_tensor *y) { return ag_mul(y, ag_sub(2, y)); }

/* The classical Runge-Kutta method; in = y, h. */
FLOW_STEP(runge_kutta_step)
{
    STEP_UNUSED;
    ag_tensor *h = FLOW_IN(1), *half = ag_div(h, 2), *k1 = growth(v[0]);
    ag_tensor *k2 = growth(ag_add(v[0], ag_mul(half, k1)));
    ag_tensor *k3 = growth(ag_add(v[0], ag_mul(half, k2)));
    ag_tensor *k4 = growth(ag_add(v[0], ag_mul(h, k3)));
    ag_tensor *sum = ag_add(ag_add(k1, k4), ag_mul(ag_add(k2, k3), 2));
    return (next[0] = ag_add(v[0], ag_div(ag_mul(h, sum), 6))) != NULL;
}

static void t_differential_equations(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(4, pendulum_step, .vars = 2),
               .in = { SCALAR(1), SCALAR(0), SCALAR(0.1) },
               .out = { SCALAR(0.9165498522671787), SCALAR(-0.331922174368341) },
               .d1 = { AG_VALUES(0.5054161517113164), AG_VALUES(2.326390942648476),
                       AG_VALUES(-8.101878856642145) },
               .d2 = { AG_VALUES(-16.01148606974798), AG_VALUES(7.370639306707005),
                       AG_VALUES(-30.96382420961187) },
               .d3 = { AG_VALUES(-68.64391953108648), AG_VALUES(-161.1708870501989),
                       AG_VALUES(460.04367121277795) });
    FLOW_CHECK(c, FLOW_LOOP(3, runge_kutta_step), .in = { SCALAR(1), SCALAR(0.25) },
               .out = { SCALAR(1.6351057096772645) },
               .d1 = { AG_VALUES(0.5965167456411369), AG_VALUES(1.788790773839482) },
               .d2 = { AG_VALUES(-5.3074055326473575), AG_VALUES(-15.95101029241896) });
}

/* ---- forward mode, alone and over or under reverse mode ---- */

FLOW_STEP(times_first)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], FLOW_IN(0))) != NULL;
}

FLOW_BUILD(fifth_power)
{
    BUILD_UNUSED;
    return (out[0] = flow_repeat_one(4, times_first, in[0], (void *)in)) != NULL;
}

FLOW_BUILD(gradient_of_fifth_power)
{
    ag_tensor *y;
    return fifth_power(in, n, &y, m, user) && (out[0] = grad(y, in[0])) != NULL;
}

/* in = x, v: the tangent along v of x^5. */
FLOW_BUILD(tangent)
{
    BUILD_UNUSED;
    ag_tensor *y = NULL;
    return ag_jvp(fifth_power, in, 1, &in[1], &y, 1, out, user);
}

FLOW_BUILD(tangent_of_gradient)
{
    BUILD_UNUSED;
    ag_tensor *y = NULL;
    return ag_jvp(gradient_of_fifth_power, in, 1, &in[1], &y, 1, out, user);
}

FLOW_BUILD(tangent_of_this)
{
    BUILD_UNUSED;
    ag_tensor *y = NULL;
    return ag_jvp(fifth_power, in, 1, (ag_tensor *const *)user, &y, 1, out, NULL);
}

FLOW_BUILD(tangent_of_tangent)
{
    BUILD_UNUSED;
    ag_tensor *y = NULL;
    return ag_jvp(tangent_of_this, in, 1, &in[1], &y, 1, out, (void *)&in[1]);
}

/* The same by ag_vjp: one input, one output. */
FLOW_BUILD(pulled)
{
    BUILD_UNUSED;
    ag_tensor *y = NULL;
    return ag_vjp(fifth_power, in, 1, &y, 1, &in[1], out, user);
}

static void t_tangents(ag_context *c)
{
    FLOW_CHECK(c, .build = pulled, .in = { SCALAR(1.5), SCALAR(2) }, .out = { SCALAR(50.625) },
               .d1 = { AG_VALUES(135), AG_VALUES(25.3125) },
               .d2 = { AG_VALUES(405), AG_VALUES(67.5) }, .d3 = { AG_VALUES(900), AG_VALUES(135) });
    FLOW_CHECK(c, .build = tangent, .in = { SCALAR(1.5), SCALAR(2) }, .out = { SCALAR(50.625) },
               .d1 = { AG_VALUES(135), AG_VALUES(25.3125) },
               .d2 = { AG_VALUES(405), AG_VALUES(67.5) }, .d3 = { AG_VALUES(900), AG_VALUES(135) });
    FLOW_CHECK(c, .build = tangent_of_gradient, .in = { SCALAR(1.5), SCALAR(2) },
               .out = { SCALAR(135) }, .d1 = { AG_VALUES(270), AG_VALUES(67.5) },
               .d2 = { AG_VALUES(630), AG_VALUES(135) }, .d3 = { AG_VALUES(960), AG_VALUES(180) });
    FLOW_CHECK(c, .build = tangent_of_tangent, .in = { SCALAR(1.5), SCALAR(2) },
               .out = { SCALAR(270) }, .d1 = { AG_VALUES(540), AG_VALUES(270) },
               .d2 = { AG_VALUES(1800), AG_VALUES(810) },
               .d3 = { AG_VALUES(4440), AG_VALUES(1800) });
}

/* ---- matrices of derivatives ---- */

FLOW_SCAN_STEP(multiply)
{
    SCAN_UNUSED;
    next[0] = ag_mul(carry[0], x[0]);
    if (m > 0)
        y[0] = next[0];
    return next[0] != NULL;
}

FLOW_BUILD(products)
{
    BUILD_UNUSED;
    ag_tensor *one = flow_like(in[0], 1), *last = NULL;
    return ag_scan(multiply, &one, 1, in, 1, &last, out, 1);
}

FLOW_BUILD(product)
{
    BUILD_UNUSED;
    ag_tensor *one = flow_like(in[0], 1);
    return ag_scan(multiply, &one, 1, in, 1, out, NULL, 0);
}

FLOW_TEST(sum_is_short)
{
    STEP_UNUSED;
    return ag_lt(ag_sum(v[0]), 50);
}

FLOW_STEP(square_step)
{
    STEP_UNUSED;
    return (next[0] = ag_square(v[0])) != NULL;
}

/* x^4 for the x below. */
FLOW_BUILD(squares)
{
    BUILD_UNUSED;
    return ag_while_loop(sum_is_short, square_step, in, 1, out);
}

FLOW_BUILD(weighted_squares)
{
    BUILD_UNUSED;
    ag_tensor *y,
        *w = ag_array(ag_context_of(in[0]), AG_VALUES(1, 2, 3), AG_SHAPE(3), .dtype = AG_F64);
    return ag_while_loop(sum_is_short, square_step, in, 1, &y) &&
           (out[0] = ag_square(ag_sum(ag_mul(y, w)))) != NULL;
}

static void t_jacobians(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(2, -3, 1), AG_SHAPE(3), .dtype = AG_F64);
    const ag_values of_products = AG_VALUES(1, 0, 0, -3, 2, 0, -3, 2, -6);
    const ag_values of_squares = AG_VALUES(32, 0, 0, 0, -108, 0, 0, 0, 4);
    for (int forward = 0; forward < 2; forward++) {
        CHECK_VALUES(ag_jacobian(products, x, NULL, .forward_mode = forward), AG_SHAPE(3, 3),
                     of_products, 1e-13);
        CHECK_VALUES(ag_jacobian(squares, x, NULL, .forward_mode = forward), AG_SHAPE(3, 3),
                     of_squares, 1e-13);
    }
    CHECK_VALUES(ag_hessian(product, x, NULL), AG_SHAPE(3, 3),
                 AG_VALUES(0, 1, -3, 1, 0, 2, -3, 2, 0), 1e-13);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2, -1), AG_SHAPE(3), .dtype = AG_F64), *value;
    CHECK_VALUES(ag_hvp(product, x, v, &value, NULL), AG_SHAPE(3), AG_VALUES(5, -1, 1), 1e-13);
    CHECK_CLOSE(ag_item(value), -6, 1e-13);
    CHECK_VALUES(ag_vhp(product, x, v, &value, NULL), AG_SHAPE(3), AG_VALUES(5, -1, 1), 1e-13);
    /* s = x1^4 + 2 x2^4 + 3 x3^4 = 181, y = s^2: H = 2 s' s'^T + 2 s s'', s' = (32, -216, 12) */
    CHECK_VALUES(ag_hessian(weighted_squares, x, NULL), AG_SHAPE(3, 3),
                 AG_VALUES(2048 + 362 * 48, -13824, 768, -13824, 93312 + 362 * 216, -5184, 768,
                           -5184, 288 + 362 * 36),
                 1e-13);
}

static void t_gradcheck(ag_context *c)
{
    if (harness_faults())
        return; /* of the checks themselves; other tests meet the loops */
    ag_tensor *in[] = { ag_scalar(c, .8, .dtype = AG_F64, .requires_grad = true),
                        ag_array(c, AG_VALUES(.5, -1, 2), AG_SHAPE(3), .dtype = AG_F64,
                                 .requires_grad = true),
                        ag_scalar(c, .1, .dtype = AG_F64, .requires_grad = true) };
    CHECK(ag_gradcheck(fifth_power, in, 1, NULL, .forward_mode = true));
    CHECK(ag_gradgradcheck(fifth_power, in, 1, NULL, .forward_over_reverse = true));
    CHECK(ag_gradcheck(products, &in[1], 1, NULL, .forward_mode = true));
    CHECK(ag_gradgradcheck(products, &in[1], 1, NULL, .forward_over_reverse = true));
    CHECK(ag_gradcheck(scan_gradients, in, 2, NULL, .n_outputs = 2, .forward_mode = true));
    CHECK(ag_gradgradcheck(scan_gradients, in, 2, NULL, .n_outputs = 2));
}

/* ---- high orders ---- */

/* x^5: five times, then zero, both ways. */
static void t_sixth_order(ag_context *c)
{
    const double x = 1.5,
                 expected[] = { 5 * pow(x, 4), 20 * pow(x, 3), 60 * x * x, 120 * x, 120, 0 };
    ag_graph *g = flow_graph(c);
    ag_tensor *value = ag_scalar(c, x, .dtype = AG_F64, .requires_grad = true);
    ag_tensor *p = ag_placeholder(g, AG_F64, AG_SHAPE()), *d[6], *results[6], *y;
    CHECK(p && fifth_power(&p, 1, &y, 1, NULL));
    for (int i = 0; i < 6; i++)
        CHECK(ag_grad(i ? &d[i - 1] : &y, 1, &p, 1, &d[i], .materialize_grads = true));
    const ag_feed feed = { p, value };
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        CHECK(ag_session_run(s, &feed, 1, d, 6, results));
        for (int i = 0; i < 6; i++)
            CHECK_CLOSE(ag_item(results[i]), expected[i], 1e-13);
    }
    CHECK(fifth_power(&value, 1, &y, 1, NULL));
    for (int i = 0; i < 5; i++) {
        CHECK(y = grad(y, value));
        CHECK_CLOSE(ag_item(y), expected[i], 1e-13);
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_newton), TEST(t_descent), TEST(t_second_derivatives_inside),
               TEST(t_gradient_of_inner), TEST(t_gradient_of_captured),
               TEST(t_gradients_in_scans_and_branches), TEST(t_differential_equations),
               TEST(t_tangents), TEST(t_jacobians), TEST(t_gradcheck), TEST(t_sixth_order));
}
