/*
 * while loops and their gradients: counters, captured tensors, trip counts that depend on data,
 * variables of every kind.
 */
#include "flow.h"

FLOW_TEST(is_below_100)
{
    STEP_UNUSED;
    return ag_lt(v[0], 100);
}

/* ---- the founding counter ---- */

FLOW_TEST(first_is_less)
{
    STEP_UNUSED;
    return ag_lt(v[0], v[1]);
}

FLOW_STEP(add_2_and_1)
{
    STEP_UNUSED;
    next[0] = ag_add(v[0], 2);
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

FLOW_BUILD(counter)
{
    BUILD_UNUSED;
    return ag_while_loop(first_is_less, add_2_and_1, in, 2, out);
}

static void t_counter(ag_context *c)
{
    FLOW_CHECK(c, .build = counter, .in = { INTEGER(0), INTEGER(10) },
               .out = { INTEGER(20), INTEGER(20) });
    FLOW_CHECK(c, .build = counter, .in = { SCALAR(0), SCALAR(10) },
               .out = { SCALAR(20), SCALAR(20) }, .d1 = { AG_VALUES(1), AG_VALUES(2) },
               .d2 = { AG_VALUES(0), AG_VALUES(0) }, .d3 = { AG_VALUES(0), AG_VALUES(0) });
    FLOW_CHECK(c, .build = counter, .in = { VECTOR(0.5), VECTOR(3.25) },
               .out = { VECTOR(6.5), VECTOR(6.25) }, .d1 = { AG_VALUES(1), AG_VALUES(2) },
               .d2 = { AG_VALUES(0), AG_VALUES(0) },
               .d3 = { AG_VALUES(0), AG_VALUES(0) }); /* the condition has shape [1] */
}

static void t_founding_counter(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *first = ag_constant(g, flow_integer(c, 0)), *out[2], *results[2];
    ag_tensor *second = ag_constant(g, flow_integer(c, 10));
    ag_tensor *init[] = { first, second };
    CHECK(ag_while_loop(first_is_less, add_2_and_1, init, 2, out));
    CHECK(ag_is_symbolic(out[0]) && ag_dtype_of(out[1]) == AG_I64);
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        CHECK(ag_session_run(s, NULL, 0, out, 2, results));
        CHECK_PRINTS(results[0], "tensor(20)");
        CHECK_PRINTS(results[1], "tensor(20)");
        const ag_feed feed = { second, flow_integer(c, 2) }; /* any tensor may be fed */
        CHECK_CLOSE(ag_item(flow_fetch(s, &feed, 1, out[0])), 4, 0);
    }
}

/* ---- captured tensors, and none ---- */

FLOW_STEP(times_first)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], FLOW_IN(0))) != NULL;
}

FLOW_BUILD(power)
{
    BUILD_UNUSED;
    ag_tensor *one = ag_ones_like(in[0]);
    return flow_repeat(in[1], times_first, &one, 1, out, (void *)in);
}

static void t_power(ag_context *c)
{
    FLOW_CHECK(c, .build = power, .in = { SCALAR(3), INTEGER(4) }, .out = { SCALAR(81) },
               .d1 = { AG_VALUES(108), { NULL, 0 } }, .d2 = { AG_VALUES(108), { NULL, 0 } },
               .d3 = { AG_VALUES(72), { NULL, 0 } });
    FLOW_CHECK(c, .build = power, .in = { SCALAR(3), INTEGER(1) }, .out = { SCALAR(3) },
               .d1 = { AG_VALUES(1), { NULL, 0 } }, .d2 = { AG_VALUES(0), { NULL, 0 } },
               .d3 = { AG_VALUES(0), { NULL, 0 } });
    FLOW_CHECK(c, .build = power, .in = { SCALAR(3), INTEGER(0) }, .out = { SCALAR(1) },
               .d1 = { AG_VALUES(0), { NULL, 0 } }, .d2 = { AG_VALUES(0), { NULL, 0 } },
               .d3 = { AG_VALUES(0), { NULL, 0 } }); /* no iteration */
    FLOW_CHECK(c, .build = power, .in = { VECTOR(2, -1, 0.5), INTEGER(5) },
               .out = { VECTOR(32, -1, 0.03125) },
               .d1 = { AG_VALUES(80, 5.625, 0.390625), { NULL, 0 } },
               .d2 = { AG_VALUES(160, -25.3125, 3.90625), { NULL, 0 } },
               .d3 = { AG_VALUES(240, 85.4296875, 29.296875), { NULL, 0 } });
}

FLOW_STEP(rising_step)
{
    STEP_UNUSED;
    next[0] = ag_mul(v[0], ag_add(FLOW_IN(0), v[1]));
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

/* x (x + 1) (x + 2) ...: an integer counter takes part in floating sums. */
FLOW_BUILD(rising)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { ag_ones_like(in[0]), flow_integer(ag_context_of(in[0]), 0) }, *last[2];
    if (!init[0] || !init[1] || !flow_repeat(in[1], rising_step, init, 2, last, (void *)in))
        return false;
    out[0] = last[0];
    return true;
}

FLOW_TEST(first_is_at_most)
{
    (void)user;
    return ag_le(v[0], n > 2 ? v[2] : FLOW_IN(0));
}

FLOW_STEP(factorial_step)
{
    STEP_UNUSED;
    next[0] = ag_add(v[0], 1);
    next[1] = ag_mul(v[1], v[0]);
    if (n > 2)
        next[2] = v[2];
    return next[0] && next[1];
}

FLOW_BUILD(factorial)
{
    BUILD_UNUSED;
    ag_context *c = ag_context_of(in[0]);
    ag_tensor *init[] = { flow_integer(c, 1), flow_integer(c, 1), in[0] }, *last[3];
    if (!init[0] || !init[1] || !ag_while_loop(first_is_at_most, factorial_step, init, 3, last))
        return false;
    out[0] = last[1];
    return true;
}

/* The variables hold data; what the condition captures decides. */
FLOW_BUILD(factorial_captured)
{
    BUILD_UNUSED;
    ag_context *c = ag_context_of(in[0]);
    ag_tensor *init[] = { flow_integer(c, 1), flow_integer(c, 1) }, *last[2];
    if (!init[0] || !init[1] ||
        !ag_while_loop(first_is_at_most, factorial_step, init, 2, last, .user = (void *)in))
        return false;
    out[0] = last[1];
    return true;
}

static void t_factorials(ag_context *c)
{
    FLOW_CHECK(c, .build = rising, .in = { SCALAR(1.5), INTEGER(4) }, .out = { SCALAR(59.0625) },
               .d1 = { AG_VALUES(93), { NULL, 0 } }, .d2 = { AG_VALUES(103), { NULL, 0 } },
               .d3 = { AG_VALUES(72), { NULL, 0 } });
    FLOW_CHECK(c, .build = factorial, .in = { INTEGER(10) }, .out = { INTEGER(3628800) });
    FLOW_CHECK(c, .build = factorial_captured, .in = { INTEGER(10) }, .out = { INTEGER(3628800) },
               .skip = ~(unsigned)(FLOW_LEAVES | FLOW_RESULTS)); /* t_flow_errors.c says why */
}

FLOW_STEP(affine_step)
{
    STEP_UNUSED;
    return (next[0] = ag_add(ag_mul(v[0], FLOW_IN(1)), FLOW_IN(2))) != NULL;
}

static void t_captured(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(3, affine_step),
               .in = { VECTOR(1, 2, -1), VECTOR(0.5, -0.5, 2), SCALAR(3) },
               .out = { VECTOR(5.375, 2, 13) },
               .d1 = { AG_VALUES(0.125, -0.140625, 10), AG_VALUES(6.75, 1.6875, 3.75),
                       AG_VALUES(11.34375) },
               .d2 = { AG_VALUES(1.5, 1.79296875, 33.75), AG_VALUES(24.75, 0.94921875, 20.625),
                       AG_VALUES(18.0625) },
               .d3 = { AG_VALUES(12, -15.240234375, 75.9375), AG_VALUES(60, 73.51171875, 80.15625),
                       AG_VALUES(30.81640625) }); /* one of them broadcasts */
}

/* ---- trip counts that depend on data ---- */

FLOW_TEST(is_not_1)
{
    STEP_UNUSED;
    return ag_ne(v[0], 1);
}

FLOW_STEP(collatz_step)
{
    STEP_UNUSED;
    ag_tensor *even = ag_eq(ag_remainder(v[0], 2), 0);
    ag_tensor *half = ag_to(ag_div(v[0], 2), AG_I64);
    next[0] = ag_where(even, half, ag_add(ag_mul(v[0], 3), 1));
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

FLOW_BUILD(collatz)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { in[0], flow_integer(ag_context_of(in[0]), 0) };
    return init[1] && ag_while_loop(is_not_1, collatz_step, init, 2, out);
}

FLOW_STEP(square_step)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], v[0])) != NULL;
}

FLOW_BUILD(square_below_100)
{
    BUILD_UNUSED;
    return ag_while_loop(is_below_100, square_step, in, 1, out);
}

FLOW_STEP(times_second)
{
    STEP_UNUSED;
    return (next[0] = ag_mul(v[0], FLOW_IN(1))) != NULL;
}

FLOW_BUILD(multiply_below_100)
{
    BUILD_UNUSED;
    return ag_while_loop(is_below_100, times_second, in, 1, out, .user = (void *)in);
}

FLOW_TEST(is_short)
{
    STEP_UNUSED;
    return ag_lt(ag_sum(ag_square(v[0])), 500);
}

FLOW_STEP(grow_step)
{
    STEP_UNUSED;
    return (next[0] = ag_add(v[0], ag_div(ag_square(v[0]), 4))) != NULL;
}

FLOW_BUILD(double_while_short)
{
    BUILD_UNUSED;
    return ag_while_loop(is_short, grow_step, in, 1, out);
}

static void t_counts_from_data(ag_context *c)
{
    if (!harness_faults())
        FLOW_CHECK(c, .build = collatz, .in = { INTEGER(27) }, .out = { INTEGER(1), INTEGER(111) });
    FLOW_CHECK(c, .build = square_below_100, .in = { SCALAR(2) }, .out = { SCALAR(256) },
               .d1 = { AG_VALUES(1024) }, .d2 = { AG_VALUES(3584) }, .d3 = { AG_VALUES(10752) });
    FLOW_CHECK(c, .build = multiply_below_100, .in = { SCALAR(2), SCALAR(3) },
               .out = { SCALAR(162) }, .d1 = { AG_VALUES(81), AG_VALUES(216) },
               .d2 = { AG_VALUES(216), AG_VALUES(540) }, .d3 = { AG_VALUES(432), AG_VALUES(1008) });
    FLOW_CHECK(c, .build = double_while_short, .in = { VECTOR(1, 2, 3) },
               .out = { VECTOR(2.31353759765625, 12.140625, 48.98931884765625) },
               .d1 = { AG_VALUES(4.43701171875, 20.390625, 80.0933837890625) },
               .d2 = { AG_VALUES(6.49755859375, 30.73095703125, 118.70956420898438) },
               .d3 = { AG_VALUES(9.1318359375, 42.4478759765625, 156.9843292236328) });
}

FLOW_TEST(the_flag)
{
    STEP_UNUSED;
    return v[0];
}

FLOW_STEP(flagged_step)
{
    STEP_UNUSED;
    next[1] = ag_div(ag_square(v[1]), 2);
    next[0] = ag_lt(next[1], 50);
    return next[0] && next[1];
}

/* A bool variable is the condition. */
FLOW_BUILD(flagged)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { ag_scalar(ag_context_of(in[0]), 1, .dtype = AG_BOOL), in[0] }, *last[2];
    if (!init[0] || !ag_while_loop(the_flag, flagged_step, init, 2, last))
        return false;
    out[0] = last[1];
    return true;
}

static void t_flagged(ag_context *c)
{
    FLOW_CHECK(c, .build = flagged, .in = { SCALAR(3) }, .out = { SCALAR(51.2578125) },
               .d1 = { AG_VALUES(136.6875) }, .d2 = { AG_VALUES(318.9375) },
               .d3 = { AG_VALUES(637.875) });
}

FLOW_TEST(always)
{
    STEP_UNUSED;
    return ag_scalar(ag_context_of(v[0]), 1, .dtype = AG_BOOL); /* with data, also in a graph */
}

FLOW_TEST(square_is_not_negative)
{
    STEP_UNUSED;
    return ag_ge(ag_square(v[0]), 0);
}

FLOW_BUILD(limited)
{
    (void)n, (void)m;
    ag_cond_fn cond = user ? always : square_is_not_negative;
    return ag_while_loop(cond, square_step, in, 1, out, .maximum_iterations = 3);
}

/* The condition ends the loop before the limit does. */
FLOW_BUILD(not_limited)
{
    BUILD_UNUSED;
    return ag_while_loop(is_below_100, square_step, in, 1, out, .maximum_iterations = 1000);
}

static void t_maximum_iterations(ag_context *c)
{
    FLOW_CHECK(c, .build = limited, .in = { SCALAR(1.25) }, .out = { SCALAR(5.9604644775390625) },
               .d1 = { AG_VALUES(38.14697265625) }, .d2 = { AG_VALUES(213.623046875) },
               .d3 = { AG_VALUES(1025.390625) });
    FLOW_CHECK(c, .build = limited, .user = c, .in = { SCALAR(1.25) },
               .out = { SCALAR(5.9604644775390625) }, .d1 = { AG_VALUES(38.14697265625) },
               .d2 = { AG_VALUES(213.623046875) }, .d3 = { AG_VALUES(1025.390625) });
    FLOW_CHECK(c, .build = not_limited, .in = { SCALAR(2) }, .out = { SCALAR(256) },
               .d1 = { AG_VALUES(1024) }, .d2 = { AG_VALUES(3584) }, .d3 = { AG_VALUES(10752) });
}

/* ---- variables of every kind ---- */

FLOW_STEP(fibonacci_step)
{
    STEP_UNUSED;
    next[0] = v[1];
    return (next[1] = ag_add(v[0], v[1])) != NULL;
}

FLOW_STEP(swap_step)
{
    STEP_UNUSED;
    next[0] = v[1];
    next[1] = v[0];
    return true;
}

FLOW_STEP(rotate_step)
{
    STEP_UNUSED;
    next[0] = v[1];
    next[1] = v[2];
    return (next[2] = ag_mul(v[0], v[1])) != NULL;
}

static void t_several_variables(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(7, fibonacci_step, .vars = 2), .in = { SCALAR(1.5), SCALAR(-2) },
               .out = { SCALAR(-14), SCALAR(-22.5) }, .d1 = { AG_VALUES(34), AG_VALUES(55) },
               .d2 = { AG_VALUES(0), AG_VALUES(0) }, .d3 = { AG_VALUES(0), AG_VALUES(0) });
    FLOW_CHECK(c, FLOW_LOOP(5, swap_step, .vars = 2), .in = { SCALAR(1.5), SCALAR(-2) },
               .out = { SCALAR(-2), SCALAR(1.5) }, .d1 = { AG_VALUES(2), AG_VALUES(1) },
               .d2 = { AG_VALUES(0), AG_VALUES(0) }, .d3 = { AG_VALUES(0), AG_VALUES(0) });
    FLOW_CHECK(c, FLOW_LOOP(4, rotate_step, .vars = 3),
               .in = { SCALAR(1.5), SCALAR(0.5), SCALAR(-2) },
               .out = { SCALAR(-1), SCALAR(-1.5), SCALAR(-0.75) },
               .d1 = { AG_VALUES(-3.5), AG_VALUES(-17), AG_VALUES(3.125) },
               .d2 = { AG_VALUES(-14.75), AG_VALUES(-20.5), AG_VALUES(18.75) },
               .d3 = { AG_VALUES(12), AG_VALUES(90), AG_VALUES(56) });
}

FLOW_STEP(invariant_step)
{
    STEP_UNUSED;
    next[1] = v[1];
    return (next[0] = ag_add(ag_mul(v[0], v[1]), ag_cos(v[1]))) != NULL;
}

FLOW_STEP(vain_step)
{
    STEP_UNUSED;
    next[0] = ag_sub(ag_square(v[0]), 1);
    if (n > 1)
        next[1] = ag_mul(v[1], 2);
    return next[0] && (n == 1 || next[1]);
}

FLOW_STEP(count_step)
{
    STEP_UNUSED;
    next[0] = ag_mul(v[0], 2);
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

/* x decides about the count, which has no derivative. */
FLOW_BUILD(count_beside)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { in[0], flow_like(in[0], 0) }, *last[2];
    if (!init[1] || !ag_while_loop(is_below_100, count_step, init, 2, last))
        return false;
    out[0] = last[1];
    return true;
}

static void t_unused(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(3, invariant_step, .vars = 2), .in = { SCALAR(1.5), SCALAR(-0.5) },
               .out = { SCALAR(0.47068692141777957), SCALAR(-0.5) },
               .d1 = { AG_VALUES(-0.125), AG_VALUES(3.484569153953152) },
               .d2 = { AG_VALUES(1.5), AG_VALUES(-6.056043595274068) },
               .d3 = { AG_VALUES(-12), AG_VALUES(34.06793631068827) });
    FLOW_CHECK(c, FLOW_LOOP(3, vain_step, .vars = 2), .in = { SCALAR(1.5), SCALAR(2.5) },
               .out = { SCALAR(-0.68359375) }, .d1 = { AG_VALUES(8.4375), AG_VALUES(0) },
               .d2 = { AG_VALUES(138.375), AG_VALUES(0) },
               .d3 = { AG_VALUES(1075.5), AG_VALUES(0) });
    /* A compiled function is one node, which depends on all its inputs. */
    FLOW_CHECK(c, FLOW_LOOP(3, vain_step), .in = { SCALAR(1.5), SCALAR(2.5) },
               .out = { SCALAR(-0.68359375) }, .d1 = { AG_VALUES(8.4375), UNUSED },
               .d2 = { AG_VALUES(138.375), AG_VALUES(0) },
               .d3 = { AG_VALUES(1075.5), AG_VALUES(0) }, .skip = FLOW_COMPILED);
    FLOW_CHECK(c, .build = count_beside, .in = { SCALAR(1.5) }, .out = { SCALAR(7) },
               .d1 = { AG_VALUES(0) });
}

static void t_dtypes_and_no_elements(ag_context *c)
{
    FLOW_CHECK(c, FLOW_LOOP(3, times_first), .in = { TENSOR(AG_F32, AG_SHAPE(2), 1.5, -2) },
               .out = { TENSOR(AG_F32, AG_SHAPE(2), 5.0625, 16) }, .d1 = { AG_VALUES(13.5, -36) },
               .d2 = { AG_VALUES(27, 60.75) });
    FLOW_CHECK(c, FLOW_LOOP(3, times_first), .in = { TENSOR(AG_F64, AG_SHAPE(0, 3)) },
               .out = { TENSOR(AG_F64, AG_SHAPE(0, 3)) }, .d1 = { AG_VALUES() },
               .d2 = { AG_VALUES() });
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_counter), TEST(t_founding_counter), TEST(t_power), TEST(t_factorials),
               TEST(t_captured), TEST(t_counts_from_data), TEST(t_flagged),
               TEST(t_maximum_iterations), TEST(t_several_variables), TEST(t_unused),
               TEST(t_dtypes_and_no_elements));
}
