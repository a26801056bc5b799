/* Prune: what no result needs goes, in loops and branches too, and of twins one stays. */
#include "passes.h"

static void t_what_nobody_needs_goes(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2)), *y = passes_param(g, AG_F32, AG_SHAPE(2));
    ag_tensor *kept = ag_exp(x);
    CHECK(ag_mul(ag_sin(kept), y));
    OUTS(g, ag_neg(kept));
    CHECK_GRAPH(g, "(%0 f32[2], %1 f32[2])\n"
                   "%2 = exp f32[2] %0\n"
                   "%3 = sin f32[2] %2\n"
                   "%4 = mul f32[2] %3 %1\n"
                   "%5 = neg f32[2] %2\n"
                   "return %5\n");
    ag_graph *after = passes_run(g, ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f32[2], %1 f32[2])\n"
                       "%2 = exp f32[2] %0\n"
                       "%3 = neg f32[2] %2\n"
                       "return %3\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F32, AG_SHAPE(2)), ag_ones(c, AG_SHAPE(2)));
}

/* ---- loops ---- */

static ag_tensor *first_is_small(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(v[0], 40);
}

/* a counts, b needs c, c needs nothing else, d and e need each other; f is captured for e. */
static bool five_variables(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = ag_add(v[0], 1);
    next[1] = ag_add(v[1], v[2]);
    next[2] = ag_mul(v[2], 2);
    next[3] = ag_add(v[3], v[4]);
    next[4] = ag_mul(ag_exp(v[3]), user);
    return next[4] != NULL;
}

static void t_variables_that_nobody_needs(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *in[5], *out[5];
    for (int k = 0; k < 5; k++)
        in[k] = passes_param(g, AG_F32, AG_SHAPE());
    ag_tensor *f = passes_param(g, AG_F32, AG_SHAPE());
    CHECK(ag_while_loop(first_is_small, five_variables, in, 5, out, .user = f));
    OUTS(g, out[1]);
    ag_graph *after = passes_run(g, ag__pass_prune);
    CHECK_GRAPH(after,
                "(%0 f32[], %1 f32[], %2 f32[], %3 f32[], %4 f32[], %5 f32[])\n"
                "%6 %7 %8 = while f32[] f32[] f32[] %0 %1 %2 list=[3, 0, 0, 0, 0, -1, 0, 0]\n"
                "    (%0 f32[], %1 f32[], %2 f32[]) {\n"
                "        %3 = constant f32[]! data=[1]\n"
                "        %4 = add f32[] %0 %3\n"
                "        %5 = add f32[] %1 %2\n"
                "        %6 = constant f32[]! data=[2]\n"
                "        %7 = mul f32[] %2 %6\n"
                "        return %4 %5 %7\n"
                "    }\n"
                "    (%0 f32[], %1 f32[], %2 f32[]) {\n"
                "        %3 = constant f32[]! data=[40]\n"
                "        %4 = lt bool[] %0 %3\n"
                "        return %4\n"
                "    }\n"
                "return %7\n");
    ag_tensor *one = ag_scalar(c, 1), *two = ag_scalar(c, 2);
    CHECK_COMPUTE(g, after, ag_scalar(c, 30), one, two, one, one, one);
}

static bool sums_and_gives(ag_tensor *const *carry, int n, ag_tensor *const *x, int k,
                           ag_tensor **next, ag_tensor **y, int m, void *user)
{
    (void)n, (void)k;
    next[0] = ag_add(carry[0], x[0]);
    next[1] = ag_add(carry[1], ag_exp(x[1]));
    y[0] = ag_mul(next[0], x[0]);
    ag_tensor *more = ag_mul(carry[1], user); /* captures, wanted or not */
    if (m > 1)
        y[1] = more;
    return more != NULL;
}

static ag_graph *scanned(ag_context *c, ag_tensor **out)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *init[] = { passes_param(g, AG_F32, AG_SHAPE()),
                          passes_param(g, AG_F32, AG_SHAPE()) };
    ag_tensor *xs[] = { passes_param(g, AG_F32, AG_SHAPE(3)),
                        passes_param(g, AG_F32, AG_SHAPE(3)) };
    ag_tensor *f = passes_param(g, AG_F32, AG_SHAPE());
    CHECK(ag_scan(sums_and_gives, init, 2, xs, 2, out, out + 2, 2, .user = f));
    return g;
}

static void t_results_and_xs_of_a_scan(ag_context *c)
{
    ag_tensor *out[4], *one = ag_scalar(c, 1), *t = graphs_numbers(c, AG_F32, AG_SHAPE(3));
    ag_graph *g = scanned(c, out);
    OUTS(g, out[2]);
    ag_graph *after = passes_run(g, ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f32[], %1 f32[], %2 f32[3], %3 f32[3], %4 f32[])\n"
                       "%5 %6 = scan f32[] f32[3] %0 %2 list=[1, 1, 1, 0, 0, -1, 0, 0]\n"
                       "    (%0 f32[], %1 f32[]) {\n"
                       "        %2 = add f32[] %0 %1\n"
                       "        %3 = mul f32[] %2 %1\n"
                       "        return %2 %3\n"
                       "    }\n"
                       "return %6\n");
    CHECK_COMPUTE(g, after, one, one, t, t, one);
}

/* No x is needed; there are three steps all the same. */
static bool counts(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                   ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m, (void)user;
    next[0] = ag_add(carry[0], carry[0]);
    y[0] = ag_exp(x[0]);
    return y[0] != NULL;
}

static void t_a_scan_without_xs_knows_its_length(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *init = passes_param(g, AG_F32, AG_SHAPE()),
              *xs = passes_param(g, AG_F32, AG_SHAPE(3)), *carry, *y;
    CHECK(ag_scan(counts, &init, 1, &xs, 1, &carry, &y, 1));
    OUTS(g, carry);
    ag_graph *after = passes_run(g, ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f32[], %1 f32[3])\n"
                       "%2 = scan f32[] %0 list=[1, 0, 0, 0, 0, 3, 0, 0]\n"
                       "    (%0 f32[]) {\n"
                       "        %1 = add f32[] %0 %0\n"
                       "        return %1\n"
                       "    }\n"
                       "return %2\n");
    CHECK_COMPUTE(g, after, ag_scalar(c, 3), graphs_numbers(c, AG_F32, AG_SHAPE(3)));
}

/* ---- branches ---- */

static bool branch_a(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_exp(in[0]);
    out[1] = ag_sin(in[1]);
    return out[1] != NULL;
}
static bool branch_b(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    out[0] = ag_mul(in[0], in[2]);
    out[1] = user;
    return out[0] != NULL;
}

static void t_results_of_branches(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *pred = passes_param(g, AG_BOOL, AG_SHAPE()), *in[3], *out[2];
    for (int k = 0; k < 3; k++)
        in[k] = passes_param(g, AG_F32, AG_SHAPE(2));
    ag_tensor *f = passes_param(g, AG_F32, AG_SHAPE(2));
    CHECK(ag_cond(pred, branch_a, branch_b, in, 3, out, 2, .user = f));
    OUTS(g, out[0]);
    ag_graph *after = passes_run(g, ag__pass_prune);
    CHECK_GRAPH(after, "(%0 bool[], %1 f32[2], %2 f32[2], %3 f32[2], %4 f32[2])\n"
                       "%5 = cond f32[2] %0 %1 %3 i=[2]\n"
                       "    (%0 f32[2], %1 f32[2]) {\n"
                       "        %2 = mul f32[2] %0 %1\n"
                       "        return %2\n"
                       "    }\n"
                       "    (%0 f32[2], %1 f32[2]) {\n"
                       "        %2 = exp f32[2] %0\n"
                       "        return %2\n"
                       "    }\n"
                       "return %5\n");
    ag_tensor *t = graphs_numbers(c, AG_F32, AG_SHAPE(2)), *u = ag_exp(t);
    CHECK_COMPUTE(g, after, ag_scalar(c, 1, .dtype = AG_BOOL), t, u, u, t);
    CHECK_COMPUTE(g, after, ag_scalar(c, 0, .dtype = AG_BOOL), t, u, u, t);
}

/* ---- twins ---- */

static void t_twins(ag_context *c)
{
    ag_tensor *out[4], *one = ag_scalar(c, 1), *t = graphs_numbers(c, AG_F32, AG_SHAPE(3));
    ag_graph *g = passes_graph(c);
    ag_tensor *init[] = { passes_param(g, AG_F32, AG_SHAPE()),
                          passes_param(g, AG_F32, AG_SHAPE()) };
    ag_tensor *xs[] = { passes_param(g, AG_F32, AG_SHAPE(3)),
                        passes_param(g, AG_F32, AG_SHAPE(3)) };
    ag_tensor *f = passes_param(g, AG_F32, AG_SHAPE()), *more[4], *last[4];
    CHECK(ag_scan(sums_and_gives, init, 2, xs, 2, out, out + 2, 1, .user = f));
    ag_tensor *between = ag_exp(out[0]);
    CHECK(ag_scan(sums_and_gives, init, 2, xs, 2, more, more + 2, 2, .user = f));
    CHECK(ag_scan(sums_and_gives, init, 2, xs, 2, last, last + 2, 2, .user = f));
    g->main.insts[0].twin = 2;
    g->main.insts[2].twin = 3;
    OUTS(g, between, more[3]); /* only the first one's sum is wanted */
    ag_graph *after = passes_run(g, ag__pass_prune);
    CHECK_GRAPH(after,
                "(%0 f32[], %1 f32[], %2 f32[3], %3 f32[3], %4 f32[])\n"
                "%5 %6 %7 = scan f32[] f32[] f32[3] %0 %1 %2 %3 %4 list=[2, 2, 1, 0, 0, -1, 0, 0]\n"
                "    (%0 f32[], %1 f32[], %2 f32[], %3 f32[], %4 f32[]) {\n"
                "        %5 = add f32[] %0 %2\n"
                "        %6 = exp f32[] %3\n"
                "        %7 = add f32[] %1 %6\n"
                "        %8 = mul f32[] %1 %4\n"
                "        return %5 %7 %8\n"
                "    }\n"
                "%8 = exp f32[] %5\n"
                "return %8 %7\n");
    CHECK_COMPUTE(g, after, one, one, t, t, one);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_what_nobody_needs_goes), TEST(t_variables_that_nobody_needs),
               TEST(t_results_and_xs_of_a_scan), TEST(t_a_scan_without_xs_knows_its_length),
               TEST(t_results_of_branches), TEST(t_twins));
}
