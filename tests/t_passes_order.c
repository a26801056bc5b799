/* Order: rows come where they are first used, when that shortens what is in use. */
#include "passes.h"

static ag_tensor *wide(ag_graph *g) { return passes_param(g, AG_F32, AG_SHAPE(4, 4)); }

/* What follows from parameters alone comes where it is used. The sum stays, as what it makes room for is
 * more than its result; and so do draws and results. */
static void t_late_where_it_is_shorter(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = wide(g), *y = wide(g);
    ag_tensor *a = ag_exp(ag_tanh(x)), *p = ag_sin(y);
    ag_tensor *s = ag_sum(ag_rand_like(x)), *q = ag_mul(p, s), *r = ag_mul(q, ag_t(a));
    OUTS(g, q, r);
    CHECK_GRAPH(passes_run(g, ag__pass_order), "(%0 f32[4, 4], %1 f32[4, 4])\n"
                                               "%2 = rand_like f32[4, 4] %0\n"
                                               "%3 = sum f32[] %2\n"
                                               "%4 = sin f32[4, 4] %1\n"
                                               "%5 = mul f32[4, 4] %4 %3\n"
                                               "%6 = tanh f32[4, 4] %0\n"
                                               "%7 = exp f32[4, 4] %6\n"
                                               "%8 = t f32[4, 4] %7\n"
                                               "%9 = mul f32[4, 4] %5 %8\n"
                                               "return %5 %9\n");
}

/* Two layers that are computed again, one after the other, each when its turn comes. */
static void t_what_is_computed_again(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *kept1 = wide(g), *kept2 = wide(g), *gradient = wide(g);
    ag_tensor *h1 = ag_gelu(kept1, false), *h2 = ag_gelu(kept2, false);
    ag_tensor *d2 = ag_matmul(h2, gradient), *d1 = ag_matmul(h1, d2);
    OUTS(g, d2, d1);
    ag_graph *after = passes_run(g, ag__pass_order);
    CHECK_GRAPH(after, "(%0 f32[4, 4], %1 f32[4, 4], %2 f32[4, 4])\n"
                       "%3 = gelu f32[4, 4] %1\n"
                       "%4 = mm f32[4, 4] %3 %2\n"
                       "%5 = gelu f32[4, 4] %0\n"
                       "%6 = mm f32[4, 4] %5 %4\n"
                       "return %4 %6\n");
    ag_tensor *t = graphs_numbers(c, AG_F32, AG_SHAPE(4, 4));
    CHECK_COMPUTE(g, after, t, ag_neg(t), ag_t(t));
}

static bool step(ag_tensor *const *v, int n, ag_tensor *const *x, int k, ag_tensor **next,
                 ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)y, (void)m, (void)user;
    ag_tensor *early = ag_tanh(x[0]), *s = ag_mul(ag_rand_like(v[0]), v[0]);
    next[0] = ag_add(s, early);
    return next[0] != NULL;
}

static void t_in_bodies(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(3, 2)),
              *v = passes_param(g, AG_F32, AG_SHAPE(2)), *out;
    CHECK(ag_scan(step, &v, 1, &x, 1, &out, NULL, 0));
    OUTS(g, out);
    CHECK_GRAPH(passes_run(g, ag__pass_order),
                "(%0 f32[3, 2], %1 f32[2])\n"
                "%2 = scan f32[2] %1 %0 list=[1, 1, 0, 0, 0, -1, 0, 0]\n"
                "    (%0 f32[2], %1 f32[2]) {\n"
                "        %2 = rand_like f32[2] %0\n"
                "        %3 = mul f32[2] %2 %0\n"
                "        %4 = tanh f32[2] %1\n"
                "        %5 = add f32[2] %3 %4\n"
                "        return %5\n"
                "    }\n"
                "return %2\n");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_late_where_it_is_shorter), TEST(t_what_is_computed_again), TEST(t_in_bodies));
}
