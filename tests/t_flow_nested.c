/*
 * Loops inside each other, and what the inner ones capture from all levels around them.
 */
#include "flow.h"

/* What inner functions see of the levels around them. */
typedef struct {
    ag_tensor *const *in; /* of the build function */
    ag_tensor *a, *b, *d; /* loop variables around */
} levels;

FLOW_STEP(times_first_input)
{
    (void)v, (void)n;
    return (next[0] = ag_mul(v[0], ((levels *)user)->in[0])) != NULL;
}

/* ---- while in while ---- */

/* v = i, y: the inner loop runs i times, not at all at first. */
FLOW_STEP(triangle_step)
{
    STEP_UNUSED;
    levels l = { .in = user };
    ag_tensor *y = NULL;
    next[0] = ag_add(v[0], 1);
    return next[0] && flow_repeat(v[0], times_first_input, &v[1], 1, &y, &l) &&
           (next[1] = ag_add(y, 1)) != NULL;
}

FLOW_BUILD(triangle)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { flow_integer(ag_context_of(in[0]), 0), in[0] }, *last[2];
    if (!init[0] || !flow_repeat(in[1], triangle_step, init, 2, last, (void *)in))
        return false;
    out[0] = last[1];
    return true;
}

static void t_triangle(ag_context *c)
{
    FLOW_CHECK(c, .build = triangle, .in = { SCALAR(1.25), INTEGER(4) },
               .out = { SCALAR(14.58795166015625) },
               .d1 = { AG_VALUES(61.907958984375), { NULL, 0 } },
               .d2 = { AG_VALUES(247.978515625), { NULL, 0 } },
               .d3 = { AG_VALUES(846.8203125), { NULL, 0 } });
    FLOW_CHECK(c, .build = triangle, .in = { SCALAR(1.25), INTEGER(1) }, .out = { SCALAR(2.25) },
               .d1 = { AG_VALUES(1), { NULL, 0 } }, .d2 = { AG_VALUES(0), { NULL, 0 } },
               .d3 = { AG_VALUES(0), { NULL, 0 } }); /* the inner loop never runs */
    FLOW_CHECK(c, .build = triangle, .in = { SCALAR(1.25), INTEGER(0) }, .out = { SCALAR(1.25) },
               .d1 = { AG_VALUES(1), { NULL, 0 } }, .d2 = { AG_VALUES(0), { NULL, 0 } },
               .d3 = { AG_VALUES(0), { NULL, 0 } }); /* nor does the outer */
}

/* Each level counts in v[0] and works on v[1]; the innermost uses the counters of all. */
FLOW_STEP(deep_3)
{
    STEP_UNUSED;
    const levels *l = user;
    ag_tensor *term = ag_add(ag_mul(l->a, .25), ag_mul(l->b, .125));
    next[0] = ag_add(v[0], 1);
    next[1] = ag_add(ag_mul(v[1], l->in[0]), term);
    return next[0] && next[1];
}

static bool deeper(ag_tensor *const *v, ag_tensor **next, ag_body_fn step, levels *l)
{
    ag_context *c = ag_context_of(v[0]);
    ag_tensor *init[] = { ag_zeros_like(l->d), v[1] }, *last[2];
    if (!init[0] || !flow_repeat(flow_integer(c, 2), step, init, 2, last, l))
        return false;
    next[1] = last[1];
    return (next[0] = ag_add(v[0], 1)) != NULL;
}

FLOW_STEP(deep_2)
{
    STEP_UNUSED;
    levels l = *(levels *)user;
    l.b = v[0];
    return deeper(v, next, deep_3, &l);
}

FLOW_STEP(deep_1)
{
    STEP_UNUSED;
    levels l = *(levels *)user;
    l.a = v[0];
    return deeper(v, next, deep_2, &l);
}

FLOW_BUILD(three_deep)
{
    BUILD_UNUSED;
    levels l = { .in = in, .d = flow_like(in[0], 0) };
    ag_tensor *init[] = { l.d, in[0] }, *last[2];
    return l.d && deeper(init, last, deep_1, &l) && (out[0] = last[1]) != NULL;
}

static void t_three_deep(ag_context *c)
{
    if (!harness_faults())
        FLOW_CHECK(c, .build = three_deep, .in = { SCALAR(1.1) },
                   .out = { SCALAR(4.165023941000003) }, .d1 = { AG_VALUES(22.705361790000012) },
                   .d2 = { AG_VALUES(147.6001312000001) }, .d3 = { AG_VALUES(906.7417440000006) });
}

FLOW_STEP(times_input_and_1)
{
    STEP_UNUSED;
    return (next[0] = ag_add(ag_mul(v[0], ((levels *)user)->in[0]), 1)) != NULL;
}

FLOW_STEP(sine_times_input)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(ag_sin(v[0]), ((levels *)user)->in[0])) != NULL;
}

FLOW_STEP(times_outer)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], ((levels *)user)->a)) != NULL;
}

FLOW_STEP(times_half_input)
{
    STEP_UNUSED;
    return (next[0] = ag_div(ag_mul(v[0], ((levels *)user)->in[0]), 2)) != NULL;
}

FLOW_STEP(serial_step)
{
    STEP_UNUSED;
    levels l = { .in = user };
    ag_tensor *y = flow_repeat_one(3, times_input_and_1, v[0], &l);
    return (next[0] = flow_repeat_one(2, sine_times_input, y, &l)) != NULL;
}

FLOW_STEP(parallel_step)
{
    STEP_UNUSED;
    levels l = { .in = user, .a = v[0] };
    ag_tensor *y = flow_repeat_one(2, times_outer, v[0], &l);
    ag_tensor *z = flow_repeat_one(3, times_half_input, v[0], &l);
    return (next[0] = ag_add(y, z)) != NULL;
}

static void t_inner_loops(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(2, serial_step), .in = { SCALAR(0.8) },
               .out = { SCALAR(0.35303929236773596) }, .d1 = { AG_VALUES(0.020814326593996485) },
               .d2 = { AG_VALUES(4.590570653342462) }, .d3 = { AG_VALUES(196.02474828861085) });
    FLOW_CHECK(c, FLOW_LOOP(2, parallel_step), .in = { SCALAR(0.8) },
               .out = { SCALAR(0.21468859596800016) }, .d1 = { AG_VALUES(2.345075998720002) },
               .d2 = { AG_VALUES(23.232587366400015) }, .d3 = { AG_VALUES(205.89938688000012) });
}

/* ---- scans and while loops ---- */

FLOW_SCAN_STEP(times_and_sine)
{
    SCAN_UNUSED;
    next[0] = y[0] = ag_add(ag_mul(carry[0], x[0]), ag_sin(carry[0]));
    return next[0] != NULL;
}

FLOW_STEP(sum_of_scan)
{
    STEP_UNUSED;
    ag_tensor *last = NULL, *ys = NULL, *const *in = user;
    return ag_scan(times_and_sine, v, 1, &in[1], 1, &last, &ys, 1) &&
           (next[0] = ag_sum(ys)) != NULL;
}

FLOW_BUILD(scan_in_while)
{
    BUILD_UNUSED;
    return flow_repeat(in[2], sum_of_scan, in, 1, out, (void *)in);
}

FLOW_TEST(is_below_10)
{
    STEP_UNUSED;
    return ag_lt(v[0], 10);
}

FLOW_STEP(twice_and_outer)
{
    STEP_UNUSED;
    return (next[0] = ag_add(ag_mul(v[0], 2), ((levels *)user)->a)) != NULL;
}

FLOW_SCAN_STEP(while_step)
{
    SCAN_UNUSED;
    levels l = { .a = x[0] };
    if (!ag_while_loop(is_below_10, twice_and_outer, carry, 1, y, .user = &l))
        return false;
    return (next[0] = ag_div(y[0], 8)) != NULL;
}

FLOW_BUILD(while_in_scan)
{
    BUILD_UNUSED;
    return ag_scan(while_step, in, 1, &in[1], 1, &out[0], &out[1], 1);
}

/* Some steps have a loop without iterations. */
FLOW_SCAN_STEP(some_while_step)
{
    SCAN_UNUSED;
    levels l = { .a = x[0] };
    ag_tensor *begin = ag_add(carry[0], x[0]), *end = NULL;
    if (!begin || !ag_while_loop(is_below_10, twice_and_outer, &begin, 1, &end, .user = &l))
        return false;
    next[0] = ag_div(end, 8);
    return next[0] && (y[0] = ag_mul(end, x[0])) != NULL;
}

FLOW_BUILD(while_in_scan_some)
{
    BUILD_UNUSED;
    return ag_scan(some_while_step, in, 1, &in[1], 1, &out[0], &out[1], 1);
}

static void t_scan_and_while(ag_context *c)
{
    FLOW_CHECK(c, .build = scan_in_while, .in = { SCALAR(0.5), VECTOR(1, -1, 0.5), INTEGER(2) },
               .out = { SCALAR(0.5457783376084061) },
               .d1 = { AG_VALUES(0.18068135493865445),
                       AG_VALUES(-0.2682868008816807, 0.5902471457277314, -0.11189693133242223),
                       { NULL, 0 } },
               .d2 = { AG_VALUES(9.120094849058699),
                       AG_VALUES(-10.380156477927128, -59.89841964333743, 0.5279847585514137),
                       { NULL, 0 } },
               .d3 = { AG_VALUES(302.58910219662073),
                       AG_VALUES(-183.79628787552292, -1203.780193571916, -78.32190388420459),
                       { NULL, 0 } });
    FLOW_CHECK(c, .build = while_in_scan, .in = { SCALAR(1.5), VECTOR(1, 0.5, 2) },
               .out = { SCALAR(1.4375), VECTOR(19, 11, 11.5) },
               .d1 = { AG_VALUES(29.25), AG_VALUES(25.59375, 9.9375, 7.125) },
               .d2 = { AG_VALUES(0), AG_VALUES(0, 0, 0) },
               .d3 = { AG_VALUES(0), AG_VALUES(0, 0, 0) });
    FLOW_CHECK(c, .build = while_in_scan_some, .in = { SCALAR(1.5), VECTOR(1, 90, 2, 81) },
               .out = { SCALAR(10.335205078125), VECTOR(13, 8246.25, 26.90625, 6697.212890625) },
               .d1 = { AG_VALUES(105.41015625),
                       AG_VALUES(210.4677734375, 389.5234375, 58.83203125, 388.868896484375) },
               .d2 = { AG_VALUES(18.6182861328125), AG_VALUES(68.58200073242188, 14.533447265625,
                                                              12.060546875, 12.111572265625) },
               .d3 = { AG_VALUES(0), AG_VALUES(0, 0, 0, 0) });
}

FLOW_SCAN_STEP(add_square)
{
    SCAN_UNUSED;
    return (next[0] = y[0] = ag_add(carry[0], ag_square(x[0]))) != NULL;
}

FLOW_SCAN_STEP(multiply_quarter)
{
    SCAN_UNUSED;
    return (next[0] = y[0] = ag_div(ag_mul(carry[0], x[0]), 4)) != NULL;
}

/* One scan over what another gave. */
FLOW_BUILD(scan_of_scan)
{
    BUILD_UNUSED;
    ag_tensor *zero = flow_like(in[0], 0), *one = flow_like(in[0], 1), *last = NULL, *ys = NULL;
    return ag_scan(add_square, &zero, 1, in, 1, &last, &ys, 1) &&
           ag_scan(multiply_quarter, &one, 1, &ys, 1, &out[0], &out[1], 1);
}

FLOW_SCAN_STEP(add_product)
{
    SCAN_UNUSED;
    return (next[0] = ag_add(carry[0], ag_mul(x[0], x[1]))) != NULL;
}

/* A row of the matrix times the vector that the level around it carries. */
FLOW_SCAN_STEP(row_step)
{
    SCAN_UNUSED;
    const levels *l = user;
    ag_tensor *zero = flow_like(x[0], 0), *xs[] = { x[0], l->a };
    return ag_scan(add_product, &zero, 1, xs, 2, y, NULL, 0);
}

FLOW_STEP(rows_step)
{
    STEP_UNUSED;
    levels l = { .in = user, .a = v[0] };
    return ag_scan(row_step, NULL, 0, &l.in[1], 1, NULL, next, 1, .user = &l);
}

FLOW_STEP(grid_inner)
{
    STEP_UNUSED;
    const levels *l = user;
    return (next[0] = ag_add(ag_mul(v[0], l->in[0]), ag_mul(l->a, l->b))) != NULL;
}

FLOW_SCAN_STEP(grid_step)
{
    SCAN_UNUSED;
    levels l = { .in = user, .a = carry[0], .b = x[0] };
    ag_tensor *z = NULL;
    return flow_repeat(l.in[1], grid_inner, carry, 1, &z, &l) &&
           (next[0] = y[0] = ag_div(z, 4)) != NULL;
}

/* The inner loop captures from two levels, and its count from outside. */
FLOW_BUILD(grid)
{
    BUILD_UNUSED;
    ag_context *c = ag_context_of(in[0]);
    ag_tensor *xs = ag_array(c, AG_VALUES(1, .5, -1), AG_SHAPE(3), .dtype = AG_F64);
    return ag_scan(grid_step, in, 1, &xs, 1, &out[0], &out[1], 1, .user = (void *)in);
}

static void t_scans(ag_context *c)
{
    FLOW_CHECK(c, .build = scan_of_scan, .in = { VECTOR(1, 2, 3) },
               .out = { SCALAR(1.09375), VECTOR(0.25, 0.3125, 1.09375) },
               .d1 = { AG_VALUES(11.6328125, 4.390625, 1.5234375) },
               .d2 = { AG_VALUES(36.18359375, 15.4150390625, 5.662109375) },
               .d3 = { AG_VALUES(93.076904296875, 42.4765625, 16.538818359375) });
    FLOW_CHECK(c, FLOW_LOOP(2, rows_step),
               .in = { VECTOR(1, 2), TENSOR(AG_F64, AG_SHAPE(2, 2), 0.5, -1, 1, 0.25) },
               .out = { VECTOR(-2.25, -1.125) },
               .d1 = { AG_VALUES(0.09375, -1.8046875), AG_VALUES(0.125, 4.75, -2.40625, 0.25) },
               .d2 = { AG_VALUES(8.6953125, -1.5859375),
                       AG_VALUES(11.78125, 19.171875, 10.40625, 18.1015625) },
               .d3 = { AG_VALUES(39.7109375, 42.04296875),
                       AG_VALUES(17.84375, 20.0390625, 19.47265625, 21.8671875) });
    FLOW_CHECK(c, .build = grid, .in = { SCALAR(1.2), INTEGER(3) },
               .out = { SCALAR(-0.6827870543999999),
                        VECTOR(1.6103999999999998, 1.4284247999999997, -0.6827870543999999) },
               .d1 = { AG_VALUES(11.623179844999996), { NULL, 0 } },
               .d2 = { AG_VALUES(39.28426485), { NULL, 0 } },
               .d3 = { AG_VALUES(177.20083199999996), { NULL, 0 } });
}

/* ---- one graph, many runs ---- */

/* Inner loops of each length in turn: what is kept for the gradient has another size each time. */
static void t_many_runs(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *in[] = { ag_placeholder(g, AG_F64, AG_SHAPE()),
                        ag_placeholder(g, AG_I64, AG_SHAPE()) };
    ag_tensor *y, *d[2];
    CHECK(in[0] && in[1] && triangle(in, 2, &y, 1, NULL));
    CHECK(ag_grad(&y, 1, in, 1, &d[0]));
    CHECK(ag_grad(&d[0], 1, in, 1, &d[1]));
    const double x = 1.25;
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        for (int times = 3; times >= 0; times--) {
            /* y_0 = x, y_i = y_{i-1} x^(i-1) + 1: x; x + 1; x^2 + x + 1; x^4 + x^3 + x^2 + 1 */
            const double dx[] = { 1, 1, 2 * x + 1, ((4 * x + 3) * x + 2) * x };
            const double ddx[] = { 0, 0, 2, (12 * x + 6) * x + 2 };
            const ag_feed feeds[] = { { in[0], ag_scalar(c, x, .dtype = AG_F64) },
                                      { in[1], flow_integer(c, times) } };
            CHECK_CLOSE(ag_item(flow_fetch(s, feeds, 2, d[0])), dx[times], 1e-13);
            CHECK_CLOSE(ag_item(flow_fetch(s, feeds, 2, d[1])), ddx[times], 1e-13);
        }
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_triangle), TEST(t_three_deep), TEST(t_inner_loops), TEST(t_scan_and_while),
               TEST(t_scans), TEST(t_many_runs));
}
