/*
 * What is easy to get wrong when loops share memory and values: variables that are one tensor,
 * views, constants as next values, gradients that feed loops, random numbers that a gradient must
 * meet again.
 */
#include "flow.h"

/* ---- variables that are one tensor ---- */

FLOW_STEP(aliased_step)
{
    STEP_UNUSED;
    next[0] = next[1] = ag_add(ag_mul(v[0], v[1]), ag_sin(v[0]));
    return next[0] != NULL;
}

FLOW_BUILD(aliased)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { in[0], in[0] };
    return flow_repeat(flow_integer(ag_context_of(in[0]), 3), aliased_step, init, 2, out, NULL);
}

/* The body gives a captured tensor as it is. */
FLOW_STEP(captured_step)
{
    STEP_UNUSED;
    next[1] = FLOW_IN(1);
    return (next[0] = ag_mul(v[0], v[1])) != NULL;
}

/* The body gives a tensor with data. */
FLOW_STEP(constant_step)
{
    STEP_UNUSED;
    next[0] = ag_mul(v[0], v[1]);
    return next[0] && (next[1] = flow_like(v[0], .5)) != NULL;
}

FLOW_BUILD(captured_next)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { in[0], in[0] }, *times = flow_integer(ag_context_of(in[0]), 3);
    return flow_repeat(times, captured_step, init, 2, out, (void *)in);
}

FLOW_BUILD(constant_next)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { in[0], in[0] }, *times = flow_integer(ag_context_of(in[0]), 3);
    return flow_repeat(times, constant_step, init, 2, out, NULL);
}

static void t_one_tensor(ag_context *c)
{
    FLOW_CHECK(c, .build = aliased, .in = { SCALAR(1.25) },
               .out = { SCALAR(48.14148740126483), SCALAR(48.14148740126483) },
               .d1 = { AG_VALUES(520.1540937505985) }, .d2 = { AG_VALUES(1285.9653666782024) },
               .d3 = { AG_VALUES(-442.9986217805118) });
    FLOW_CHECK(c, .build = captured_next, .in = { SCALAR(1.5), SCALAR(0.75) },
               .out = { SCALAR(1.265625), SCALAR(0.75) },
               .d1 = { AG_VALUES(1.6875), AG_VALUES(5.375) },
               .d2 = { AG_VALUES(10.125), AG_VALUES(13.5) },
               .d3 = { AG_VALUES(36), AG_VALUES(27) });
    FLOW_CHECK(c, .build = constant_next, .in = { SCALAR(1.5) },
               .out = { SCALAR(0.5625), SCALAR(0.5) }, .d1 = { AG_VALUES(0.75) },
               .d2 = { AG_VALUES(0.5) }, .d3 = { AG_VALUES(0) });
}

/* ---- views ---- */

FLOW_STEP(transposed_step)
{
    STEP_UNUSED;
    return (next[0] = ag_matmul(ag_transpose(v[0], 0, 1), FLOW_IN(0))) != NULL;
}

/* One element, three times. */
FLOW_STEP(spread_step)
{
    STEP_UNUSED;
    return (next[0] = ag_expand(ag_sum(ag_mul(v[0], FLOW_IN(0))), AG_SHAPE(3))) != NULL;
}

FLOW_STEP(flipped_step)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(ag_flip(v[0], AG_DIMS(0)), FLOW_IN(0))) != NULL;
}

FLOW_STEP(rows_step)
{
    STEP_UNUSED;
    ag_tensor *first = ag_select(v[0], 0, 0), *second = ag_select(v[0], 0, 1);
    ag_tensor *rows[] = { second, ag_mul(first, second) };
    return rows[0] && rows[1] && (next[0] = ag_stack(rows, 2, 0)) != NULL;
}

static void t_views(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(3, transposed_step),
               .in = { TENSOR(AG_F64, AG_SHAPE(2, 2), 0.5, -1, 2, 0.25) },
               .out = { TENSOR(AG_F64, AG_SHAPE(2, 2), 5.3125, -1.59375, -1.59375, 4.31640625) },
               .d1 = { AG_VALUES(-2.265625, -18.7578125, 5.845703125, 2.1328125) },
               .d2 = { AG_VALUES(11.029296875, 13.849609375, -18.7060546875, 25.447265625) },
               .d3 = { AG_VALUES(92.384765625, 177.53515625, 80.8203125, 184.548828125) });
    FLOW_CHECK(c, FLOW_LOOP(3, spread_step), .in = { VECTOR(1, -2, 0.5) },
               .out = { VECTOR(1.3125, 1.3125, 1.3125) },
               .d1 = { AG_VALUES(-16.03125, -21.09375, -16.875) },
               .d2 = { AG_VALUES(102.7265625, 171.28125, 114.5390625) },
               .d3 = { AG_VALUES(25.41796875, -441.59765625, -62.859375) });
    FLOW_CHECK(c, FLOW_LOOP(3, flipped_step), .in = { VECTOR(1, -2, 0.5) },
               .out = { VECTOR(0.25, 16, 0.25) }, .d1 = { AG_VALUES(1.125, -36, 2.25) },
               .d2 = { AG_VALUES(6.75, 60.75, 10.125) },
               .d3 = { AG_VALUES(25.3125, -68.34375, 27) });
    FLOW_CHECK(c, FLOW_LOOP(3, rows_step), .in = { VECTOR(1.5, -0.5) },
               .out = { VECTOR(0.375, -0.28125) }, .d1 = { AG_VALUES(-0.171875, 0.3984375) },
               .d2 = { AG_VALUES(1.44140625, -3.63671875) },
               .d3 = { AG_VALUES(-6.486328125, 2.6279296875) });
}

/* ---- who uses what ---- */

FLOW_TEST(is_below_second)
{
    STEP_UNUSED;
    return ag_lt(v[0], FLOW_IN(1));
}

FLOW_STEP(times_first)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], FLOW_IN(0))) != NULL;
}

/* The condition alone uses the limit. */
FLOW_BUILD(limit_only)
{
    BUILD_UNUSED;
    return ag_while_loop(is_below_second, times_first, in, 1, out, .user = (void *)in);
}

FLOW_STEP(both_step)
{
    STEP_UNUSED;
    next[0] = ag_mul(v[0], v[1]);
    next[1] = ag_add(v[1], FLOW_IN(0));
    return next[0] && next[1];
}

FLOW_BUILD(both_used)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { in[0], flow_like(in[0], 1) }, *last[2];
    ag_tensor *times = flow_integer(ag_context_of(in[0]), 3);
    if (!init[1] || !flow_repeat(times, both_step, init, 2, last, (void *)in))
        return false;
    out[1] = last[1];
    return (out[0] = ag_mul(last[0], last[1])) != NULL;
}

FLOW_STEP(times_first_and_sine)
{
    STEP_UNUSED;
    return (next[0] = ag_add(ag_mul(v[0], FLOW_IN(0)), ag_sin(v[0]))) != NULL;
}

/* A loop goes on from the gradient of another. */
FLOW_BUILD(loop_of_gradient)
{
    BUILD_UNUSED;
    ag_tensor *y = flow_repeat_one(3, times_first, in[0], (void *)in), *d = NULL;
    return y && ag_grad(&y, 1, in, 1, &d, .create_graph = true) &&
           (out[0] = flow_repeat_one(2, times_first_and_sine, d, (void *)in)) != NULL;
}

static void t_who_uses_what(ag_context *c)
{
    FLOW_CHECK(c, .build = limit_only, .in = { SCALAR(1.5), SCALAR(10) },
               .out = { SCALAR(11.390625) }, .d1 = { AG_VALUES(45.5625), AG_VALUES(0) },
               .d2 = { AG_VALUES(151.875), AG_VALUES(0) }, .d3 = { AG_VALUES(405), AG_VALUES(0) });
    FLOW_CHECK(c, .build = both_used, .in = { SCALAR(1.5) }, .out = { SCALAR(82.5), SCALAR(5.5) },
               .d1 = { AG_VALUES(180.25) }, .d2 = { AG_VALUES(273) }, .d3 = { AG_VALUES(282) });
    FLOW_CHECK(c, .build = loop_of_gradient, .in = { SCALAR(1.25) },
               .out = { SCALAR(12.482474428495808) }, .d1 = { AG_VALUES(43.47240646509637) },
               .d2 = { AG_VALUES(781.7620858277683) }, .d3 = { AG_VALUES(-20910.46119962095) });
}

/* ---- random numbers ---- */

FLOW_STEP(times_random)
{
    STEP_UNUSED;
    ag_tensor *r = ag_add(ag_rand_like(v[0]), .5);
    next[1] = ag_add(v[1], ag_square(r));
    return next[1] && (next[0] = ag_mul(v[0], r)) != NULL;
}

/* y = x r1 r2 r3 r4, q = r1^2 + ... + r4^2. */
static bool random_product(ag_tensor *x, int snapshots, ag_tensor **out)
{
    ag_tensor *init[] = { x, ag_mul(x, 0) };
    const ag_while_options with = { .size = sizeof with, .snapshots = snapshots };
    return init[1] &&
           flow_repeat_with(flow_integer(ag_context_of(x), 4), times_random, init, 2, out, &with);
}

/* dy/dx = y / x only where the gradient uses the numbers that y was made with. */
static void check_random(double y, double q, double dx, double x)
{
    CHECK_CLOSE(dx, y / x, 1e-13);
    CHECK(fabs(q / 4 - sqrt(fabs(y / x))) > 1e-6); /* as it is when all are the same */
}

static void t_random_numbers(ag_context *c)
{
    const int snapshots[] = { 0, 1, 2 };
    ag_manual_seed(c, 7);
    for (int i = 0; i < 3; i++) {
        ag_tensor *x = ag_scalar(c, 3, .dtype = AG_F64, .requires_grad = true), *out[2], *r[3];
        CHECK(random_product(x, snapshots[i], out));
        CHECK(ag_grad(out, 1, &x, 1, r));
        check_random(ag_item(out[0]), ag_item(out[1]), ag_item(r[0]), 3);
        ag_graph *g = flow_graph(c);
        CHECK(x = ag_placeholder(g, AG_F64, AG_SHAPE()));
        ag_tensor *fetches[3];
        CHECK(random_product(x, snapshots[i], fetches));
        CHECK(ag_grad(fetches, 1, &x, 1, &fetches[2]));
        const ag_feed feed = { x, ag_scalar(c, 3, .dtype = AG_F64) };
        for (int backend = 0; backend < 2; backend++) {
            ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
            CHECK(ag_session_run(s, &feed, 1, fetches, 3, r));
            const double before = ag_item(r[0]);
            check_random(before, ag_item(r[1]), ag_item(r[2]), 3);
            CHECK(ag_session_run(s, &feed, 1, fetches, 3, r));
            check_random(ag_item(r[0]), ag_item(r[1]), ag_item(r[2]), 3);
            CHECK(ag_item(r[0]) != before); /* each run draws anew */
        }
    }
}

/* y = x r: gradients of y, of 3 y, and both of y^2 are of the same numbers. */
static void t_random_numbers_of_several_gradients(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE()), *out[2], *fetches[5], *r[5];
    CHECK(x && random_product(x, 0, out));
    ag_tensor *thrice = ag_mul(out[0], 3), *square = ag_square(out[0]);
    fetches[0] = out[0];
    CHECK(ag_grad(out, 1, &x, 1, &fetches[1]) && ag_grad(&thrice, 1, &x, 1, &fetches[2]));
    CHECK(ag_grad(&square, 1, &x, 1, &fetches[3]) && ag_grad(&fetches[3], 1, &x, 1, &fetches[4]));
    const ag_feed feed = { x, ag_scalar(c, 2, .dtype = AG_F64) };
    for (int backend = 0; backend < 2; backend++)
        for (int m = 1; m < 5; m++) { /* one of them beside y, and all */
            ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
            ag_tensor *two[] = { fetches[0], fetches[m] };
            CHECK(ag_session_run(s, &feed, 1, two, 2, r));
            const double once = ag_item(r[0]) / 2;
            const double alone[] = { 1, once, 3 * once, 4 * once * once, 2 * once * once };
            CHECK_CLOSE(ag_item(r[1]) / alone[m], 1, 1e-13);
            CHECK(ag_session_run(s, &feed, 1, fetches, 5, r));
            const double y = ag_item(r[0]) / 2;
            const double all[] = { 2 * y, y, 3 * y, 4 * y * y, 2 * y * y };
            for (int i = 0; i < 5; i++)
                CHECK_CLOSE(ag_item(r[i]) / all[i], 1, 1e-13);
        }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_random_numbers_of_several_gradients), TEST(t_one_tensor), TEST(t_views),
               TEST(t_who_uses_what), TEST(t_random_numbers));
}
