/*
 * Branches inside loops and loops inside branches: predicates from all levels, branches that would
 * give NaN in some iterations only.
 */
#include "flow.h"

/* ---- branches in loops ---- */

FLOW_BUILD(quarter_square)
{
    BUILD_UNUSED;
    return (out[0] = ag_div(ag_square(in[0]), 4)) != NULL;
}

FLOW_BUILD(thrice_and_square)
{
    BUILD_UNUSED;
    return (out[0] = ag_add(ag_mul(in[0], 3), ag_square(in[0]))) != NULL;
}

FLOW_STEP(cond_step)
{
    STEP_UNUSED;
    return ag_cond(ag_gt(v[0], 2), quarter_square, thrice_and_square, v, 1, next, 1);
}

FLOW_BUILD(root_branch)
{
    BUILD_UNUSED;
    return (out[0] = ag_sub(ag_mul(ag_sqrt(in[0]), 2), 2)) != NULL;
}

FLOW_BUILD(square_and_1)
{
    BUILD_UNUSED;
    return (out[0] = ag_add(ag_square(in[0]), 1)) != NULL;
}

/* The untaken branch would give NaN in some iterations. */
FLOW_STEP(guarded_step)
{
    STEP_UNUSED;
    return ag_cond(ag_gt(v[0], 0), root_branch, square_and_1, v, 1, next, 1);
}

FLOW_BUILD(times_captured)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(in[0], FLOW_IN(1))) != NULL;
}

FLOW_BUILD(and_sine)
{
    BUILD_UNUSED;
    return (out[0] = ag_add(in[0], ag_sin(FLOW_IN(1)))) != NULL;
}

/* The predicate comes from outside the loop. */
FLOW_STEP(outer_pred_step)
{
    STEP_UNUSED;
    return ag_cond(FLOW_IN(0), times_captured, and_sine, v, 1, next, 1, .user = user);
}

FLOW_BUILD(outer_pred)
{
    BUILD_UNUSED;
    ag_tensor *times = flow_integer(ag_context_of(in[0]), 3);
    return flow_repeat(times, outer_pred_step, &in[1], 1, out, (void *)in);
}

static void t_cond_in_while(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(5, cond_step), .in = { SCALAR(1.25) },
               .out = { SCALAR(374.87218625167884) }, .d1 = { AG_VALUES(6209.647508733691) },
               .d2 = { AG_VALUES(98690.22671634509) }, .d3 = { AG_VALUES(1502897.9958023643) });
    FLOW_CHECK(c, FLOW_LOOP(4, guarded_step), .in = { SCALAR(1.5) },
               .out = { SCALAR(0.3953615796514951) }, .d1 = { AG_VALUES(-1.340441698179222) },
               .d2 = { AG_VALUES(3.390883535987301) }, .d3 = { AG_VALUES(-8.514085361297443) });
    FLOW_CHECK(c, .build = outer_pred, .in = { TRUTH(1), SCALAR(1.5) }, .out = { SCALAR(5.0625) },
               .d1 = { { NULL, 0 }, AG_VALUES(13.5) }, .d2 = { { NULL, 0 }, AG_VALUES(54) },
               .d3 = { { NULL, 0 }, AG_VALUES(144) });
    FLOW_CHECK(c, .build = outer_pred, .in = { TRUTH(0), SCALAR(1.5) },
               .out = { SCALAR(4.492484959812163) },
               .d1 = { { NULL, 0 }, AG_VALUES(1.2122116050031086) },
               .d2 = { { NULL, 0 }, AG_VALUES(-5.9849699196243265) },
               .d3 = { { NULL, 0 }, AG_VALUES(-0.8488464200124348) });
}

FLOW_STEP(square_less_outer)
{
    STEP_UNUSED;
    return (next[0] = ag_sub(ag_square(v[0]), FLOW_IN(0))) != NULL;
}

FLOW_STEP(exponential_times_outer)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(ag_exp(ag_neg(v[0])), FLOW_IN(0))) != NULL;
}

FLOW_BUILD(loop_of_squares)
{
    BUILD_UNUSED;
    return (out[0] = flow_repeat_one(3, square_less_outer, in[0], (void *)in)) != NULL;
}

FLOW_BUILD(loop_of_exponentials)
{
    BUILD_UNUSED;
    return (out[0] = flow_repeat_one(2, exponential_times_outer, in[0], (void *)in)) != NULL;
}

FLOW_BUILD(while_in_cond)
{
    BUILD_UNUSED;
    return ag_cond(in[0], loop_of_squares, loop_of_exponentials, &in[1], 1, out, 1);
}

static void t_while_in_cond(ag_context *c)
{
    FLOW_CHECK(c, .build = while_in_cond, .in = { TRUTH(1), SCALAR(1.5) },
               .out = { SCALAR(-0.62109375) }, .d1 = { { NULL, 0 }, AG_VALUES(-4.75) },
               .d2 = { { NULL, 0 }, AG_VALUES(-25.25) }, .d3 = { { NULL, 0 }, AG_VALUES(348) });
    FLOW_CHECK(c, .build = while_in_cond, .in = { TRUTH(0), SCALAR(1.5) },
               .out = { SCALAR(1.0733341887774561) },
               .d1 = { { NULL, 0 }, AG_VALUES(0.8353027405689868) },
               .d2 = { { NULL, 0 }, AG_VALUES(0.585536616666745) },
               .d3 = { { NULL, 0 }, AG_VALUES(-0.20583381278449941) });
}

FLOW_BUILD(product_branch)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(in[0], in[1])) != NULL;
}

FLOW_BUILD(square_branch)
{
    BUILD_UNUSED;
    return (out[0] = ag_add(in[0], ag_mul(FLOW_IN(1), ag_square(in[1])))) != NULL;
}

FLOW_SCAN_STEP(branching_step)
{
    SCAN_UNUSED;
    ag_tensor *operands[] = { carry[0], x[0] };
    if (!ag_cond(ag_gt(x[0], 0), product_branch, square_branch, operands, 2, next, 1, .user = user))
        return false;
    y[0] = next[0];
    return true;
}

FLOW_BUILD(cond_in_scan)
{
    BUILD_UNUSED;
    return ag_scan(branching_step, &in[1], 1, in, 1, &out[0], &out[1], 1, .user = (void *)in);
}

FLOW_BUILD(times_x)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(in[0], FLOW_IN(0))) != NULL;
}

FLOW_BUILD(its_sine)
{
    BUILD_UNUSED;
    return (out[0] = ag_sin(in[0])) != NULL;
}

FLOW_BUILD(and_x_squared)
{
    BUILD_UNUSED;
    return (out[0] = ag_add(in[0], ag_square(FLOW_IN(0)))) != NULL;
}

/* v = y, i: i goes beyond the branches. */
FLOW_STEP(switch_step)
{
    STEP_UNUSED;
    const ag_fn fns[] = { times_x, its_sine, and_x_squared };
    next[1] = ag_add(v[1], 1);
    return next[1] && ag_switch(v[1], fns, 3, v, 1, next, 1, .user = user);
}

FLOW_BUILD(switch_in_while)
{
    BUILD_UNUSED;
    ag_context *c = ag_context_of(in[0]);
    ag_tensor *init[] = { in[0], flow_integer(c, 0) }, *last[2];
    if (!init[1] || !flow_repeat(flow_integer(c, 5), switch_step, init, 2, last, (void *)in))
        return false;
    out[0] = last[0];
    return true;
}

static void t_branches_in_loops(ag_context *c)
{
    FLOW_CHECK(c, .build = cond_in_scan, .in = { VECTOR(1, -2, 3, 0.25), SCALAR(0.5) },
               .out = { SCALAR(1.875), VECTOR(0.5, 2.5, 7.5, 1.875) },
               .d1 = { AG_VALUES(6.703125, -22.8125, 7.734375, 25.3125), AG_VALUES(59.03125) },
               .d2 = { AG_VALUES(35.70703125, -113.99609375, 37.125, 94.078125),
                       AG_VALUES(51.0234375) },
               .d3 = { AG_VALUES(76.95703125, -165.146484375, 37.17333984375, -59.326171875),
                       AG_VALUES(-37.6435546875) });
    FLOW_CHECK(c, .build = switch_in_while, .in = { SCALAR(0.75) },
               .out = { SCALAR(2.2208026735360202) }, .d1 = { AG_VALUES(5.768886748846601) },
               .d2 = { AG_VALUES(6.491917983006092) }, .d3 = { AG_VALUES(-7.6547192467290355) });
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_cond_in_while), TEST(t_while_in_cond), TEST(t_branches_in_loops));
}
