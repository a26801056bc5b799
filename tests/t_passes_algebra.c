/* Algebra: each rule does what it says, where the result keeps its dtype and shape, and nowhere else. */
#include "passes.h"

static ag_graph *simplified(const ag_graph *g)
{
    return passes_run(passes_run(g, ag__pass_algebra), ag__pass_prune);
}

/* The values that rules may go wrong with. */
static ag_tensor *special(ag_context *c, ag_dtype dtype)
{
    return ag_array(c, AG_VALUES(0., -0., 1, -2.5, INFINITY, -INFINITY, 3e-39, 100), AG_SHAPE(8),
                    .dtype = dtype);
}

/* ---- patterns ---- */

typedef ag_tensor *pattern_fn(ag_tensor *x, ag_tensor *y);
static ag_tensor *times_one(ag_tensor *x, ag_tensor *y) { return (void)y, ag_mul(x, 1); }
static ag_tensor *one_times(ag_tensor *x, ag_tensor *y) { return (void)y, ag_mul(1., x); }
static ag_tensor *over_one(ag_tensor *x, ag_tensor *y) { return (void)y, ag_div(x, 1); }
static ag_tensor *less_zero(ag_tensor *x, ag_tensor *y) { return (void)y, ag_sub(x, 0); }
static ag_tensor *times_minus(ag_tensor *x, ag_tensor *y) { return (void)y, ag_mul(x, -1); }
static ag_tensor *over_minus(ag_tensor *x, ag_tensor *y) { return (void)y, ag_div(x, -1); }
static ag_tensor *one_over(ag_tensor *x, ag_tensor *y) { return (void)y, ag_div(1, x); }
static ag_tensor *minus_minus(ag_tensor *x, ag_tensor *y) { return (void)y, ag_neg(ag_neg(x)); }
static ag_tensor *plus_minus(ag_tensor *x, ag_tensor *y) { return ag_add(x, ag_neg(y)); }
static ag_tensor *minus_plus(ag_tensor *x, ag_tensor *y) { return ag_add(ag_neg(x), y); }
static ag_tensor *less_minus(ag_tensor *x, ag_tensor *y) { return ag_sub(x, ag_neg(y)); }
static ag_tensor *both_minus(ag_tensor *x, ag_tensor *y) { return ag_mul(ag_neg(x), ag_neg(y)); }
static ag_tensor *both_over(ag_tensor *x, ag_tensor *y) { return ag_div(ag_neg(x), ag_neg(y)); }
static ag_tensor *times_itself(ag_tensor *x, ag_tensor *y) { return (void)y, ag_mul(x, x); }
static ag_tensor *minus_squared(ag_tensor *x, ag_tensor *y)
{
    return (void)y, ag_square(ag_neg(x));
}
static ag_tensor *abs_squared(ag_tensor *x, ag_tensor *y) { return (void)y, ag_square(ag_abs(x)); }
static ag_tensor *abs_minus(ag_tensor *x, ag_tensor *y) { return (void)y, ag_abs(ag_neg(x)); }
static ag_tensor *abs_twice(ag_tensor *x, ag_tensor *y) { return (void)y, ag_abs(ag_abs(x)); }
static ag_tensor *relu_twice(ag_tensor *x, ag_tensor *y) { return (void)y, ag_relu(ag_relu(x)); }
static ag_tensor *max_itself(ag_tensor *x, ag_tensor *y) { return (void)y, ag_maximum(x, x); }
static ag_tensor *min_itself(ag_tensor *x, ag_tensor *y) { return (void)y, ag_minimum(x, x); }
static ag_tensor *either_way(ag_tensor *x, ag_tensor *y) { return ag_where(ag_gt(y, 0), x, x); }
static ag_tensor *not_not(ag_tensor *x, ag_tensor *y)
{
    return ag_logical_not(ag_logical_not(ag_gt(x, y)));
}
static ag_tensor *and_itself(ag_tensor *x, ag_tensor *y)
{
    ag_tensor *t = ag_gt(x, y);
    return ag_logical_and(t, t);
}
static ag_tensor *or_itself(ag_tensor *x, ag_tensor *y)
{
    ag_tensor *t = ag_gt(x, y);
    return ag_logical_or(t, t);
}
static ag_tensor *whole_ones(ag_tensor *x, ag_tensor *y)
{
    return (void)y, ag_mul(x, ag_ones(x->c, AG_SHAPE(8), .dtype = (ag_dtype)x->dtype));
}
static ag_tensor *like_ones(ag_tensor *x, ag_tensor *y) { return ag_mul(x, ag_ones_like(y)); }
static ag_tensor *spread_one(ag_tensor *x, ag_tensor *y)
{
    return ag_div(x, ag_expand(ag_ones_like(ag_sum(y)), AG_SHAPE(8)));
}
static ag_tensor *if_true(ag_tensor *x, ag_tensor *y)
{
    return ag_where(ag_ones(x->c, AG_SHAPE(), .dtype = AG_BOOL), x, y);
}
static ag_tensor *if_false(ag_tensor *x, ag_tensor *y)
{
    return ag_where(ag_zeros(x->c, AG_SHAPE(8), .dtype = AG_BOOL), y, x);
}
static ag_tensor *two_steps(ag_tensor *x, ag_tensor *y)
{
    return ag_sub(x, ag_mul(ag_div(ag_mul(y, 1), -1), 1));
}

static pattern_fn *const patterns[] = {
    times_one,     one_times,   over_one,   less_zero,  times_minus, over_minus, one_over,
    minus_minus,   plus_minus,  minus_plus, less_minus, both_minus,  both_over,  times_itself,
    minus_squared, abs_squared, abs_minus,  abs_twice,  relu_twice,  max_itself, min_itself,
    either_way,    not_not,     and_itself, or_itself,  whole_ones,  like_ones,  spread_one,
    if_true,       if_false,    two_steps
};
enum { PATTERNS = sizeof patterns / sizeof *patterns };

static void t_patterns(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(8)), *y = passes_param(g, AG_F32, AG_SHAPE(8));
    ag_tensor *out[PATTERNS];
    for (int k = 0; k < PATTERNS; k++)
        out[k] = patterns[k](x, y);
    passes_outs(g, out, PATTERNS);
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 f32[8], %1 f32[8])\n"
                       "%2 = neg f32[8] %0\n"
                       "%3 = neg f32[8] %0\n"
                       "%4 = reciprocal f32[8] %0\n"
                       "%5 = sub f32[8] %0 %1\n"
                       "%6 = sub f32[8] %1 %0\n"
                       "%7 = add f32[8] %0 %1\n"
                       "%8 = mul f32[8] %0 %1\n"
                       "%9 = div f32[8] %0 %1\n"
                       "%10 = square f32[8] %0\n"
                       "%11 = square f32[8] %0\n"
                       "%12 = square f32[8] %0\n"
                       "%13 = abs f32[8] %0\n"
                       "%14 = abs f32[8] %0\n"
                       "%15 = relu f32[8] %0\n"
                       "%16 = gt bool[8] %0 %1\n"
                       "%17 = gt bool[8] %0 %1\n"
                       "%18 = gt bool[8] %0 %1\n"
                       "%19 = add f32[8] %0 %1\n"
                       "return %0 %0 %0 %0 %2 %3 %4 %0 %5 %6 %7 %8 %9 %10 %11 %12 %13 %14 %15 %0 "
                       "%0 %0 %16 %17 %18 %0 %0 %0 %0 %0 %19\n");
    CHECK_COMPUTE(g, after, special(c, AG_F32), graphs_numbers(c, AG_F32, AG_SHAPE(8)));
}

/* These are not the same to the last bit: the sign of a zero, the last digit of a power. */
static void t_inexact_patterns(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(8));
    OUTS(g, ag_add(x, 0), ag_add(0., x), ag_sub(0, x), ag_pow(x, 1), ag_pow(x, 2));
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 f32[8])\n"
                       "%1 = neg f32[8] %0\n"
                       "%2 = square f32[8] %0\n"
                       "return %0 %0 %1 %0 %2\n");
    ag_tensor *t = special(c, AG_F32), *a[5], *b[5];
    CHECK(t);
    passes_call(g, &t, a);
    passes_call(after, &t, b);
    for (int j = 0; j < 5; j++)
        for (int k = 0; k < 8; k++)
            CHECK_CLOSE(ag_item(ag_select(b[j], 0, k)), ag_item(ag_select(a[j], 0, k)), 1e-6);
}

/* The result has another dtype or shape than what would replace it, or another value. */
static void t_patterns_that_do_not_fit(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *i = passes_param(g, AG_I64, AG_SHAPE(2)), *x = passes_param(g, AG_F32, AG_SHAPE(2)),
              *b = passes_param(g, AG_BOOL, AG_SHAPE(2));
    OUTS(g, ag_mul(i, 1.), ag_div(i, 1), ag_mul(x, ag_ones(c, AG_SHAPE(3, 2))),
         ag_mul(x, ag_scalar(c, 1, .dtype = AG_F64)), ag_mul(b, 1), ag_mul(x, 0), ag_div(x, 2),
         ag_pow(x, 3), ag_pow(i, 2.), ag_pow(b, 2), ag_logical_not(ag_logical_not(i)), ag_sub(x, x),
         ag_mul(x, ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2))),
         ag_add(x, ag_scalar(c, 0, .dtype = AG_F64)));
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 i64[2], %1 f32[2], %2 bool[2])\n"
                       "%3 = constant f64[]! data=[1]\n"
                       "%4 = mul f32[2] %0 %3\n"
                       "%5 = constant i64[]! data=[1]\n"
                       "%6 = div f32[2] %0 %5\n"
                       "%7 = constant f32[3, 2] data=[1, 1, 1, 1, 1, 1]\n"
                       "%8 = mul f32[3, 2] %1 %7\n"
                       "%9 = mul i64[2] %2 %5\n"
                       "%10 = constant f32[]! data=[0]\n"
                       "%11 = mul f32[2] %1 %10\n"
                       "%12 = constant f32[]! data=[2]\n"
                       "%13 = div f32[2] %1 %12\n"
                       "%14 = constant f32[]! data=[3]\n"
                       "%15 = pow f32[2] %1 %14\n"
                       "%16 = constant f64[]! data=[2]\n"
                       "%17 = pow f32[2] %0 %16\n"
                       "%18 = constant i64[]! data=[2]\n"
                       "%19 = pow i64[2] %2 %18\n"
                       "%20 = logical_not bool[2] %0\n"
                       "%21 = logical_not bool[2] %20\n"
                       "%22 = sub f32[2] %1 %1\n"
                       "%23 = constant f32[2] data=[1, 2]\n"
                       "%24 = mul f32[2] %1 %23\n"
                       "return %4 %6 %8 %1 %9 %11 %13 %15 %17 %19 %21 %22 %24 %1\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_I64, AG_SHAPE(2)),
                  graphs_numbers(c, AG_F32, AG_SHAPE(2)), graphs_numbers(c, AG_BOOL, AG_SHAPE(2)));
}

/* ---- shapes ---- */

static void t_reshapes(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2, 1, 3));
    OUTS(g, ag_view(ag_view(x, AG_SHAPE(6)), AG_SHAPE(2, 1, 3)),
         ag_view(ag_squeeze(x, 1), AG_SHAPE(3, 2)), ag_unsqueeze(ag_squeeze(x, 1), 1),
         ag_expand(ag_view(x, AG_SHAPE(2, 3)), AG_SHAPE(1, 2, 3)), ag_sum(x, .dims = AG_SHAPE(1)),
         ag_mean(x, .dims = AG_SHAPE(1), .keepdim = true),
         ag_transpose(ag_squeeze(ag_transpose(x, 0, 1), 0), 0, 1),
         ag_reshape(ag_permute(x, AG_SHAPE(1, 0, 2)), AG_SHAPE(6)), ag_squeeze(x, 1));
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 f32[2, 1, 3])\n"
                       "%1 = view f32[3, 2] %0 list=[3, 2]\n"
                       "%2 = view f32[1, 2, 3] %0 list=[1, 2, 3]\n"
                       "%3 = view f32[2, 3] %0 list=[2, 3]\n"
                       "%4 = view f32[2, 3] %0 list=[2, 3]\n"
                       "%5 = transpose f32[3, 2] %4 i=[0, 1]\n"
                       "%6 = view f32[6] %0 list=[6]\n"
                       "%7 = squeeze f32[2, 3] %0 i=[1]\n"
                       "return %0 %1 %0 %2 %3 %0 %5 %6 %7\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F32, AG_SHAPE(2, 1, 3)));
}

static void t_orders_of_dimensions(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2, 3)),
              *y = passes_param(g, AG_F32, AG_SHAPE(2, 3, 4));
    OUTS(g, ag_t(ag_t(x)), ag_transpose(ag_t(x), -1, 0),
         ag_transpose(ag_transpose(ag_t(x), 0, 1), 0, 1),
         ag_permute(ag_permute(y, AG_SHAPE(1, 2, 0)), AG_SHAPE(-1, 0, 1)),
         ag_permute(ag_transpose(y, 0, 2), AG_SHAPE(1, 0, 2)), ag_transpose(y, 0, 1));
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 f32[2, 3], %1 f32[2, 3, 4])\n"
                       "%2 = transpose f32[3, 2] %0 i=[0, 1]\n"
                       "%3 = permute f32[3, 4, 2] %1 list=[1, 2, 0]\n"
                       "%4 = transpose f32[3, 2, 4] %1 i=[0, 1]\n"
                       "return %0 %0 %2 %1 %3 %4\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F32, AG_SHAPE(2, 3)),
                  graphs_numbers(c, AG_F32, AG_SHAPE(2, 3, 4)));
}

static void t_expansions(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(3)),
              *y = passes_param(g, AG_F32, AG_SHAPE(2, 3)),
              *d = passes_param(g, AG_F64, AG_SHAPE());
    OUTS(g, ag_mul(ag_expand(x, AG_SHAPE(2, 3)), y), ag_exp(ag_expand(x, AG_SHAPE(2, 3))),
         ag_expand(ag_expand(x, AG_SHAPE(2, 3)), AG_SHAPE(4, 2, 3)), ag_expand(x, AG_SHAPE(3)),
         ag_add(ag_expand(x, AG_SHAPE(2, 3)), ag_expand(x, AG_SHAPE(2, 3))),
         ag_add(ag_expand(d, AG_SHAPE(2, 3)), y)); /* of f64, which it is no more as a scalar */
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 f32[3], %1 f32[2, 3], %2 f64[])\n"
                       "%3 = mul f32[2, 3] %0 %1\n"
                       "%4 = expand f32[2, 3] %0 list=[2, 3]\n"
                       "%5 = exp f32[2, 3] %4\n"
                       "%6 = expand f32[4, 2, 3] %0 list=[4, 2, 3]\n"
                       "%7 = expand f32[2, 3] %0 list=[2, 3]\n"
                       "%8 = add f32[2, 3] %0 %7\n"
                       "%9 = expand f64[2, 3] %2 list=[2, 3]\n"
                       "%10 = add f64[2, 3] %9 %1\n"
                       "return %3 %5 %6 %0 %8 %10\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F32, AG_SHAPE(3)),
                  graphs_numbers(c, AG_F32, AG_SHAPE(2, 3)), ag_scalar(c, .1, .dtype = AG_F64));
}

/* ---- conversions and copies ---- */

static void t_conversions(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(8)), *i = passes_param(g, AG_I32, AG_SHAPE(2)),
              *h = passes_param(g, AG_F16, AG_SHAPE(2));
    OUTS(g, ag_to(ag_to(x, AG_F64), AG_F32), ag_to(ag_to(x, AG_F64), AG_F16),
         ag_to(ag_to(x, AG_F64), AG_I8), ag_to(ag_to(i, AG_F64), AG_I32),
         ag_to(ag_to(i, AG_I64), AG_I8), ag_to(ag_to(h, AG_F32), AG_BF16));
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 f32[8], %1 i32[2], %2 f16[2])\n"
                       "%3 = to f16[8] %0 i=[2]\n"
                       "%4 = to i8[8] %0 i=[4]\n"
                       "%5 = to i8[2] %1 i=[4]\n"
                       "%6 = to bf16[2] %2 i=[3]\n"
                       "return %0 %3 %4 %1 %5 %6\n");
    ag_tensor *v = ag_array(c, AG_VALUES(-3, 70000), AG_SHAPE(2), .dtype = AG_I32);
    ag_tensor *w = ag_array(c, AG_VALUES(.1, 65504), AG_SHAPE(2), .dtype = AG_F16);
    CHECK_COMPUTE(g, after, special(c, AG_F32), v, w);
}

static void t_conversions_that_lose(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2)), *i = passes_param(g, AG_I32, AG_SHAPE(2)),
              *l = passes_param(g, AG_I64, AG_SHAPE(2)), *u = passes_param(g, AG_U8, AG_SHAPE(2));
    OUTS(g, ag_to(ag_to(x, AG_F16), AG_F32), ag_to(ag_to(x, AG_I32), AG_F32),
         ag_to(ag_to(i, AG_F32), AG_I32), ag_to(ag_to(i, AG_F64), AG_I8),
         ag_to(ag_to(l, AG_F64), AG_I64), ag_to(ag_to(i, AG_BOOL), AG_I32),
         ag_to(ag_to(u, AG_I8), AG_I32), ag_to(ag_to(i, AG_U8), AG_I32));
    CHECK_INT(simplified(g)->main.n_insts, 16);
}

static void t_copies(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(4, 2));
    OUTS(g, ag_clone(ag_t(ag_clone(x))), ag_slice(x, 0, 0, 4, 1), ag_slice(x, 0, -9, 9, 1),
         ag_cat(&x, 1, 0), ag_slice(x, 0, 0, 4, 2), ag_slice(x, 0, 1, 4, 1));
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 f32[4, 2])\n"
                       "%1 = t f32[2, 4] %0\n"
                       "%2 = slice f32[2, 2] %0 i=[0, 0, 4, 2]\n"
                       "%3 = slice f32[3, 2] %0 i=[0, 1, 4, 1]\n"
                       "return %1 %0 %0 %0 %2 %3\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F32, AG_SHAPE(4, 2)));
}

/* ---- in bodies ---- */

static bool steps(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                  ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m, (void)user;
    next[0] = ag_add(ag_mul(carry[0], 1), ag_neg(x[0]));
    y[0] = ag_neg(ag_neg(next[0]));
    return y[0] != NULL;
}

static void t_in_a_body(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *init = passes_param(g, AG_F32, AG_SHAPE()),
              *xs = passes_param(g, AG_F32, AG_SHAPE(3)), *carry, *y;
    CHECK(ag_scan(steps, &init, 1, &xs, 1, &carry, &y, 1));
    OUTS(g, y);
    ag_graph *after = simplified(g);
    CHECK_GRAPH(after, "(%0 f32[], %1 f32[3])\n"
                       "%2 %3 = scan f32[] f32[3] %0 %1 list=[1, 1, 1, 0, 0, -1, 0, 0]\n"
                       "    (%0 f32[], %1 f32[]) {\n"
                       "        %2 = sub f32[] %0 %1\n"
                       "        return %2 %2\n"
                       "    }\n"
                       "return %3\n");
    CHECK_COMPUTE(g, after, ag_scalar(c, 2), graphs_numbers(c, AG_F32, AG_SHAPE(3)));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_patterns), TEST(t_inexact_patterns), TEST(t_patterns_that_do_not_fit),
               TEST(t_reshapes), TEST(t_orders_of_dimensions), TEST(t_expansions),
               TEST(t_conversions), TEST(t_conversions_that_lose), TEST(t_copies),
               TEST(t_in_a_body));
}
