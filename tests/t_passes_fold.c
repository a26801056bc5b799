/* Fold: what depends on constants alone is computed once, branches whose index is known are taken. */
#include "passes.h"

static ag_tensor *constant(ag_graph *g, ag_tensor *t)
{
    const int32_t v = t ? ag__region_operand(&g->main, "test", t) : -1;
    ag_tensor *s = v < 0 ? NULL : ag__give(ag__symbol_new(&g->main, v));
    CHECK(s);
    return s;
}

static void t_rows_of_constants(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2));
    ag_tensor *k = constant(g, ag_array(c, AG_VALUES(1, 4), AG_SHAPE(2)));
    OUTS(g, ag_add(ag_mul(ag_sqrt(k), ag_t(k)), x));
    ag_graph *after = passes_run(passes_run(g, ag__pass_fold), ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f32[2])\n"
                       "%1 = constant f32[2] data=[1, 8]\n"
                       "%2 = add f32[2] %1 %0\n"
                       "return %2\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F32, AG_SHAPE(2)));
}

/* Draws stay, and so does what would be large, and what fails: it has an error when it runs. */
static void t_what_is_not_folded(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(3));
    ag_tensor *k = constant(g, ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3))),
              *at = constant(g, ag_array(c, AG_VALUES(7), AG_SHAPE(1), .dtype = AG_I64));
    ag_tensor *large = ag_sum(ag_add(k, ag_expand(k, AG_SHAPE(9000, 3))));
    OUTS(g, ag_rand_like(k), ag_index_select(k, 0, at), large, x);
    ag_graph *after = passes_run(passes_run(g, ag__pass_fold), ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f32[3])\n"
                       "%1 = constant f32[3] data=[1, 2, 3]\n"
                       "%2 = constant i64[1] data=[7]\n"
                       "%3 = expand f32[9000, 3] %1 list=[9000, 3]\n"
                       "%4 = add f32[9000, 3] %1 %3\n"
                       "%5 = sum f32[] %4\n"
                       "%6 = rand_like f32[3] %1\n"
                       "%7 = index_select f32[1] %1 %2\n"
                       "return %6 %7 %5 %0\n");
    CHECK(!ag_error(c));
    ag_tensor *outs[4];
    CHECK_ERROR(ag__region_call(c, &after->main, &k, outs, false), AG_ERR_INDEX,
                "index 7 is out of bounds");
}

static void t_tensors_of_one_value(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F16, AG_SHAPE(2)),
              *y = passes_param(g, AG_F64, AG_SHAPE(100, 100));
    OUTS(g, ag_ones_like(x), ag_sum(ag_mul(ag_ones_like(y), y)));
    ag_graph *after = passes_run(passes_run(g, ag__pass_fold), ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f16[2], %1 f64[100, 100])\n"
                       "%2 = constant f16[2] data=[1, 1]\n"
                       "%3 = constant f64[] data=[1]\n"
                       "%4 = expand f64[100, 100] %3 list=[100, 100]\n"
                       "%5 = mul f64[100, 100] %4 %1\n"
                       "%6 = sum f64[] %5\n"
                       "return %2 %6\n");
    CHECK_COMPUTE(g, after, ag_ones(c, AG_SHAPE(2), .dtype = AG_F16),
                  graphs_numbers(c, AG_F64, AG_SHAPE(100, 100)));
}

/* ---- branches ---- */

static bool doubled(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_add(in[0], in[0]);
    return out[0] != NULL;
}
static bool outside(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)in;
    out[0] = ag_exp(user);
    return out[0] != NULL;
}
static bool either(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *k = ag_scalar(in[0]->c, 1, .dtype = AG_I64);
    const int32_t v = k ? ag__region_operand(in[0]->c->tracing, "test", k) : -1;
    ag_tensor *index = v < 0 ? NULL : ag__give(ag__symbol_new(in[0]->c->tracing, v));
    const ag_fn fns[] = { doubled, outside };
    return index && ag_switch(index, fns, 2, in, n, out, m, .user = user);
}

static void t_branches_that_are_known(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2)), *u = passes_param(g, AG_F32, AG_SHAPE(2)),
              *y;
    ag_tensor *pred = constant(g, ag_scalar(c, 1, .dtype = AG_BOOL));
    CHECK(ag_cond(pred, either, doubled, &x, 1, &y, 1, .user = u));
    OUTS(g, ag_neg(y));
    ag_graph *after = passes_run(passes_run(g, ag__pass_fold), ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f32[2], %1 f32[2])\n"
                       "%2 = exp f32[2] %1\n"
                       "%3 = neg f32[2] %2\n"
                       "return %3\n");
    ag_tensor *t = graphs_numbers(c, AG_F32, AG_SHAPE(2));
    CHECK_COMPUTE(g, after, t, ag_sin(t));
}

/* ---- loops ---- */

static bool steps(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                  ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m;
    ag_tensor *const *captured = user;
    next[0] = ag_add(ag_mul(carry[0], ag_exp(captured[0])), x[0]);
    y[0] = ag_pow(next[0], captured[1]);
    return y[0] != NULL;
}

/* Also a number stays a number, beside which i64 stays i64. */
static void t_captured_constants(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *init = passes_param(g, AG_F32, AG_SHAPE(2)),
              *xs = passes_param(g, AG_F32, AG_SHAPE(3, 2));
    ag_tensor *captured[] = { constant(g, ag_zeros(c, AG_SHAPE(2))),
                              constant(g, ag__give(ag__tensor_number(c, 2, AG_F64))) };
    ag_tensor *carry, *y;
    CHECK(ag_scan(steps, &init, 1, &xs, 1, &carry, &y, 1, .user = captured));
    OUTS(g, carry, y);
    ag_graph *after = passes_run(passes_run(g, ag__pass_fold), ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f32[2], %1 f32[3, 2])\n"
                       "%2 %3 = scan f32[2] f32[3, 2] %0 %1 list=[1, 1, 1, 0, 0, -1, 0, 0]\n"
                       "    (%0 f32[2], %1 f32[2]) {\n"
                       "        %2 = constant f64[]! data=[2]\n"
                       "        %3 = constant f32[2] data=[1, 1]\n"
                       "        %4 = mul f32[2] %0 %3\n"
                       "        %5 = add f32[2] %4 %1\n"
                       "        %6 = pow f32[2] %5 %2\n"
                       "        return %5 %6\n"
                       "    }\n"
                       "return %2 %3\n");
    CHECK_COMPUTE(g, after, ag_ones(c, AG_SHAPE(2)), graphs_numbers(c, AG_F32, AG_SHAPE(3, 2)));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_rows_of_constants), TEST(t_what_is_not_folded), TEST(t_tensors_of_one_value),
               TEST(t_branches_that_are_known), TEST(t_captured_constants));
}
