/*
 * while loops in longer programs: one after and beside the other, stop-gradients, recomputation,
 * sizes that change; and one graph that runs many times.
 */
#include "flow.h"

FLOW_STEP(times_first)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], FLOW_IN(0))) != NULL;
}

FLOW_STEP(square_step)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], v[0])) != NULL;
}

FLOW_TEST(is_below_100)
{
    STEP_UNUSED;
    return ag_lt(v[0], 100);
}

FLOW_TEST(always)
{
    STEP_UNUSED;
    return ag_scalar(ag_context_of(v[0]), 1, .dtype = AG_BOOL); /* with data, also in a graph */
}

FLOW_BUILD(power)
{
    BUILD_UNUSED;
    ag_tensor *one = ag_ones_like(in[0]);
    return flow_repeat(in[1], times_first, &one, 1, out, (void *)in);
}

/* ---- several loops ---- */

FLOW_STEP(sine_step)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(ag_sin(v[0]), FLOW_IN(1))) != NULL;
}

FLOW_STEP(quadratic_step)
{
    STEP_UNUSED;
    return (next[0] = ag_add(ag_square(v[0]), FLOW_IN(1))) != NULL;
}

FLOW_STEP(shifted_sine_step)
{
    STEP_UNUSED;
    return (next[0] = ag_sin(ag_add(v[0], FLOW_IN(0)))) != NULL;
}

FLOW_BUILD(serial)
{
    BUILD_UNUSED;
    ag_tensor *y = flow_repeat_one(4, sine_step, in[0], (void *)in);
    return (out[0] = flow_repeat_one(3, quadratic_step, y, (void *)in)) != NULL;
}

FLOW_BUILD(parallel)
{
    BUILD_UNUSED;
    ag_tensor *y = flow_repeat_one(3, times_first, in[0], (void *)in);
    ag_tensor *z = flow_repeat_one(2, shifted_sine_step, in[0], (void *)in);
    return (out[0] = ag_mul(y, z)) != NULL;
}

static void t_several_loops(ag_context *c)
{
    FLOW_CHECK(c, .build = serial, .in = { SCALAR(0.7), SCALAR(1.5) },
               .out = { SCALAR(231.42737048051274) },
               .d1 = { AG_VALUES(74.54611800526236), AG_VALUES(1161.8956639840394) },
               .d2 = { AG_VALUES(-1760.3385575979407), AG_VALUES(5001.2227825753525) },
               .d3 = { AG_VALUES(-12358.420018921057), AG_VALUES(-79425.75460692965) });
    FLOW_CHECK(c, .build = parallel, .in = { SCALAR(0.7) }, .out = { SCALAR(0.23852362236504412) },
               .d1 = { AG_VALUES(1.3261867994264025) }, .d2 = { AG_VALUES(5.100784871357654) },
               .d3 = { AG_VALUES(12.38320160329916) });
}

/* ---- where gradients stop ---- */

FLOW_STEP(detach_in_step)
{
    STEP_UNUSED;
    return (next[0] = ag_add(ag_mul(v[0], FLOW_IN(0)), ag_detach(v[0]))) != NULL;
}

FLOW_STEP(detach_carry_step)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(ag_detach(v[0]), ag_square(FLOW_IN(0)))) != NULL;
}

static void t_detach(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(3, detach_in_step), .in = { SCALAR(1.5) }, .out = { SCALAR(23.4375) },
               .d1 = { AG_VALUES(21.75) }, .d2 = { AG_VALUES(30) }, .d3 = { AG_VALUES(36) });
    FLOW_CHECK(c, FLOW_LOOP(3, detach_carry_step), .in = { SCALAR(1.5) },
               .out = { SCALAR(17.0859375) }, .d1 = { AG_VALUES(22.78125) },
               .d2 = { AG_VALUES(15.1875) }, .d3 = { AG_VALUES(0) });
}

/* ---- longer programs ---- */

FLOW_STEP(logistic_step)
{
    STEP_UNUSED;
    next[0] = ag_mul(ag_mul(FLOW_IN(1), v[0]), ag_sub(1, v[0]));
    return next[0] != NULL;
}

static void t_logistic(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(6, logistic_step), .in = { SCALAR(0.3), SCALAR(3.2) },
               .out = { SCALAR(0.7230156058015114) },
               .d1 = { AG_VALUES(-2.6447152320241805), AG_VALUES(0.006806588840393923) },
               .d2 = { AG_VALUES(-69.5328315278625), AG_VALUES(-19.01283750625564) },
               .d3 = { AG_VALUES(413.6434876718314), AG_VALUES(-627.2292036608433) });
}

FLOW_STEP(times_second)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], FLOW_IN(1))) != NULL;
}

/* The number of states is not known beforehand. */
FLOW_BUILD(snapshots_below_100)
{
    BUILD_UNUSED;
    return ag_while_loop(is_below_100, times_second, in, 1, out, .user = (void *)in,
                         .snapshots = 2);
}

static void t_snapshots(ag_context *c)
{
    const int numbers[] = { 1, 2, 3, 100 };
    for (int i = 0; i < (harness_faults() ? 1 : 4); i++)
        FLOW_CHECK(c, FLOW_LOOP(6, logistic_step, .snapshots = numbers[i]),
                   .in = { SCALAR(0.3), SCALAR(3.2) }, .out = { SCALAR(0.7230156058015114) },
                   .d1 = { AG_VALUES(-2.6447152320241805), AG_VALUES(0.006806588840393923) },
                   .d2 = { AG_VALUES(-69.5328315278625), AG_VALUES(-19.01283750625564) },
                   .d3 = { AG_VALUES(413.6434876718314), AG_VALUES(-627.2292036608433) });
    FLOW_CHECK(c, .build = snapshots_below_100, .in = { SCALAR(2), SCALAR(3) },
               .out = { SCALAR(162) }, .d1 = { AG_VALUES(81), AG_VALUES(216) },
               .d2 = { AG_VALUES(216), AG_VALUES(540) }, .d3 = { AG_VALUES(432), AG_VALUES(1008) });
}

FLOW_STEP(newton_step)
{
    STEP_UNUSED;
    return (next[0] = ag_div(ag_add(v[0], ag_div(FLOW_IN(0), v[0])), 2)) != NULL;
}

FLOW_TEST(is_not_root)
{
    (void)n;
    return ag_gt(ag_abs(ag_sub(ag_square(v[0]), FLOW_IN(0))), 1e-6);
}

FLOW_BUILD(newton_until)
{
    BUILD_UNUSED;
    return ag_while_loop(is_not_root, newton_step, in, 1, out, .user = (void *)in);
}

static void t_newton(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(9, newton_step), .in = { SCALAR(2) }, .out = { SCALAR(sqrt(2)) },
               .d1 = { AG_VALUES(.5 / sqrt(2)) }, .d2 = { AG_VALUES(-.25 * pow(2, -1.5)) },
               .d3 = { AG_VALUES(.375 * pow(2, -2.5)) });
    FLOW_CHECK(c, .build = newton_until, .in = { SCALAR(2) }, .out = { SCALAR(1.4142135623746899) },
               .d1 = { AG_VALUES(0.35355339061171626) }, .d2 = { AG_VALUES(-0.08838834745780866) },
               .d3 = { AG_VALUES(0.06629126246168672) });
}

FLOW_STEP(matrix_step)
{
    STEP_UNUSED;
    return (next[0] = ag_matmul(FLOW_IN(0), v[0])) != NULL;
}

FLOW_STEP(matrix_square_step)
{
    STEP_UNUSED;
    return (next[0] = ag_matmul(v[0], v[0])) != NULL;
}

FLOW_BUILD(matrix_power)
{
    BUILD_UNUSED;
    return flow_repeat(in[2], matrix_step, &in[1], 1, out, (void *)in);
}

static void t_matrices(ag_context *c)
{
    FLOW_CHECK(c, .build = matrix_power,
               .in = { TENSOR(AG_F64, AG_SHAPE(2, 2), 1, 0.5, -0.25, 0.75), VECTOR(1, -2),
                       INTEGER(3) },
               .out = { VECTOR(-1.53125, -0.765625) },
               .d1 = { AG_VALUES(-0.4921875, -3.3359375, 0.3828125, -6.5625),
                       AG_VALUES(0.041015625, 1.216796875),
                       { NULL, 0 } },
               .d2 = { AG_VALUES(5.845703125, -15.126953125, 10.62890625, -17.6025390625),
                       AG_VALUES(4.7626953125, 8.7763671875),
                       { NULL, 0 } },
               .d3 = { AG_VALUES(59.9873046875, 9.787109375, 76.728515625, 22.31640625),
                       AG_VALUES(31.2333984375, 40.7490234375),
                       { NULL, 0 } });
    FLOW_CHECK(c, FLOW_LOOP(2, matrix_square_step),
               .in = { TENSOR(AG_F64, AG_SHAPE(2, 2), 0.5, 0.25, -0.5, 1) },
               .out = { TENSOR(AG_F64, AG_SHAPE(2, 2), -0.265625, 0.375, -0.75, 0.484375) },
               .d1 = { AG_VALUES(-1.5, -1.796875, 3.6171875, 2.546875) },
               .d2 = { AG_VALUES(2.9140625, 0.79296875, 24.939453125, 24.3203125) },
               .d3 = { AG_VALUES(71.6220703125, 76.27734375, 133.3720703125, 148.6474609375) });
}

FLOW_STEP(shrink_step)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], .999)) != NULL;
}

static void t_many_iterations(ag_context *c)
{
    const int times = harness_faults() ? 5 : 3000;
    const double scale = pow(.999, times);
    FLOW_CHECK(c, FLOW_LOOP(times, shrink_step), .in = { VECTOR(2, -3) },
               .out = { VECTOR(2 * scale, -3 * scale) }, .d1 = { AG_VALUES(scale, 1.125 * scale) });
}

/* ---- sizes that change ---- */

FLOW_STEP(append_step)
{
    STEP_UNUSED;
    ag_tensor *last = ag_div(ag_select(v[0], 0, -1), 4);
    ag_tensor *parts[] = { v[0], ag_reshape(ag_mul(ag_sum(v[0]), last), AG_SHAPE(1)) };
    return parts[1] && (next[0] = ag_cat(parts, 2, 0)) != NULL;
}

static void t_growing(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(3, append_step, .shape_invariants = &AG_SHAPE(-1)),
               .in = { VECTOR(1, 2) }, .out = { VECTOR(1, 2, 1.5, 1.6875, 2.6103515625) },
               .d1 = { AG_VALUES(7.443359375, 13.849609375) },
               .d2 = { AG_VALUES(14.47265625, 29.55426025390625) },
               .d3 = { AG_VALUES(29.3587646484375, 62.6768798828125) });
}

/* A dim that enters as -1 may change without being told. */
static void t_unknown_dim_grows(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(-1)), *y, *sum, *dx, *fetches[2], *results[2];
    CHECK(y = flow_repeat_one(2, append_step, x, NULL));
    CHECK_INT(ag_size(y, 0), -1);
    CHECK(sum = ag_sum(y));
    CHECK(ag_grad(&sum, 1, &x, 1, &dx));
    CHECK_INT(ag_ndim(dx), 1);
    fetches[0] = y;
    fetches[1] = dx;
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        const ag_feed two = { x, ag_array(c, AG_VALUES(2, 4), AG_SHAPE(2), .dtype = AG_F64) };
        CHECK(ag_session_run(s, &two, 1, fetches, 2, results));
        /* [a, b], s = a + b, p = s b / 4, q = (s + p) p / 4; S = s + p + q */
        CHECK_VALUES(results[0], AG_SHAPE(4), AG_VALUES(2, 4, 6, 18), 1e-13);
        CHECK_VALUES(results[1], AG_SHAPE(2), AG_VALUES(8, 16.25), 1e-13);
        const ag_feed one = { x, ag_array(c, AG_VALUES(4), AG_SHAPE(1), .dtype = AG_F64) };
        CHECK(ag_session_run(s, &one, 1, fetches, 2, results));
        CHECK_VALUES(results[0], AG_SHAPE(3), AG_VALUES(4, 4, 8), 1e-13);
        CHECK_VALUES(results[1], AG_SHAPE(1), AG_VALUES(1 + 2 + 7), 1e-13);
    }
}

static void t_static_sizes(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(2, -1)), *y, *z;
    CHECK(y = flow_repeat_one(2, square_step, x, NULL));
    CHECK(ag_size(y, 0) == 2 && ag_size(y, 1) == -1);
    const ag_ints all = AG_SHAPE(-1, -1);
    CHECK(ag_while_loop(always, square_step, &x, 1, &z, .maximum_iterations = 2,
                        .shape_invariants = &all));
    CHECK(ag_size(z, 0) == -1 && ag_size(z, 1) == -1);
    const ag_ints as_it_enters = { NULL, -1 };
    CHECK(ag_while_loop(always, square_step, &x, 1, &z, .maximum_iterations = 2,
                        .shape_invariants = &as_it_enters));
    CHECK_INT(ag_size(z, 0), 2);
}

/* ---- one graph, many runs ---- */

typedef struct {
    int conds, bodies;
} calls;

FLOW_TEST(counted_cond)
{
    (void)n;
    ((calls *)user)->conds++;
    return ag_lt(v[0], 100);
}

FLOW_STEP(counted_body)
{
    ((calls *)user)->bodies++;
    return square_step(v, n, next, user);
}

static void t_traced_once(ag_context *c)
{
    calls eager = { 0, 0 }, traced = { 0, 0 };
    ag_tensor *x = ag_scalar(c, 2, .dtype = AG_F64), *y, *dx;
    CHECK(ag_while_loop(counted_cond, counted_body, &x, 1, &y, .user = &eager));
    CHECK(eager.conds == 4 && eager.bodies == 3);
    ag_graph *g = flow_graph(c);
    CHECK(x = ag_placeholder(g, AG_F64, AG_SHAPE()));
    CHECK(ag_while_loop(counted_cond, counted_body, &x, 1, &y, .user = &traced));
    CHECK(ag_grad(&y, 1, &x, 1, &dx));
    CHECK(ag_grad(&dx, 1, &x, 1, &dx));
    ag_session *s = flow_session(g, AG_BACKEND_FUSED);
    for (int i = 0; i < 3; i++) {
        const ag_feed feed = { x, ag_scalar(c, 2 + 4 * i, .dtype = AG_F64) };
        CHECK(flow_fetch(s, &feed, 1, dx));
    }
    CHECK(traced.conds == 1 && traced.bodies == 1);
}

/* Stacks of the gradient loop begin anew in each run; counts go up and down. */
static void t_many_counts(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *in[] = { ag_placeholder(g, AG_F64, AG_SHAPE()),
                        ag_placeholder(g, AG_I64, AG_SHAPE()) };
    ag_tensor *fetches[3], *results[3];
    CHECK(in[0] && in[1] && power(in, 2, &fetches[0], 1, NULL));
    CHECK(ag_grad(&fetches[0], 1, in, 1, &fetches[1]));
    CHECK(ag_grad(&fetches[1], 1, in, 1, &fetches[2]));
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        const int counts[] = { 3, 0, 7, 1, 2 };
        for (int i = 0; i < 5; i++)
            AG_SCOPE (c) {
                const int k = counts[i];
                const double x = 1 + .25 * i;
                const ag_feed feeds[] = { { in[0], ag_scalar(c, x, .dtype = AG_F64) },
                                          { in[1], flow_integer(c, k) } };
                CHECK(ag_session_run(s, feeds, 2, fetches, 3, results));
                CHECK_CLOSE(ag_item(results[0]), pow(x, k), 1e-13);
                CHECK_CLOSE(ag_item(results[1]), k * pow(x, k - 1), 1e-13);
                CHECK_CLOSE(ag_item(results[2]), k * (k - 1) * pow(x, k - 2), 1e-13);
            }
    }
}

/* A graph that ran may be differentiated and run again; a second gradient is the same as the
 * first. */
static void t_extended_after_a_run(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE()), *y, *first, *second;
    CHECK(ag_while_loop(is_below_100, square_step, &x, 1, &y));
    ag_session *s = flow_session(g, AG_BACKEND_FUSED);
    const ag_feed feed = { x, ag_scalar(c, 2, .dtype = AG_F64) };
    CHECK_CLOSE(ag_item(flow_fetch(s, &feed, 1, y)), 256, 0);
    CHECK(ag_grad(&y, 1, &x, 1, &first));
    CHECK_CLOSE(ag_item(flow_fetch(s, &feed, 1, first)), 1024, 0);
    CHECK(ag_grad(&y, 1, &x, 1, &second));
    CHECK_CLOSE(ag_item(flow_fetch(s, &feed, 1, second)), 1024, 0);
}

/* The derivative with respect to what a loop gave, of what another made of it. */
static void t_between_loops(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE()), *y, *z, *d[2];
    CHECK(ag_while_loop(is_below_100, square_step, &x, 1, &y));
    CHECK(z = flow_repeat_one(2, square_step, y, NULL));
    ag_tensor *of[] = { x, y };
    CHECK(ag_grad(&z, 1, of, 2, d));
    ag_session *s = flow_session(g, AG_BACKEND_FUSED);
    const ag_feed feed = { x, ag_scalar(c, 5, .dtype = AG_F64) };
    CHECK_CLOSE(ag_item(flow_fetch(s, &feed, 1, d[1])), 4 * pow(625, 3), 1e-13);
    CHECK_CLOSE(ag_item(flow_fetch(s, &feed, 1, d[0])), 16 * pow(5, 15), 1e-13);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_several_loops), TEST(t_detach), TEST(t_logistic), TEST(t_snapshots),
               TEST(t_newton), TEST(t_matrices), TEST(t_many_iterations), TEST(t_growing),
               TEST(t_unknown_dim_grows), TEST(t_static_sizes), TEST(t_traced_once),
               TEST(t_many_counts), TEST(t_extended_after_a_run), TEST(t_between_loops));
}
