/* Common subexpressions: of equal instructions, constants, loops and branches one stays. */
#include "passes.h"

static void t_equal_rows(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2)), *y = passes_param(g, AG_F32, AG_SHAPE(2));
    ag_tensor *a = ag_mul(ag_add(x, y), 2), *b = ag_mul(ag_add(y, x), 2),
              *d = ag_mul(ag_sub(x, y), 2);
    OUTS(g, a, b, d, ag_mul(ag_sub(y, x), 2));
    ag_graph *after = passes_run(passes_run(g, ag__pass_cse), ag__pass_prune);
    CHECK_GRAPH(after, "(%0 f32[2], %1 f32[2])\n"
                       "%2 = add f32[2] %0 %1\n"
                       "%3 = constant f32[]! data=[2]\n"
                       "%4 = mul f32[2] %2 %3\n"
                       "%5 = sub f32[2] %0 %1\n"
                       "%6 = mul f32[2] %5 %3\n"
                       "%7 = sub f32[2] %1 %0\n"
                       "%8 = mul f32[2] %7 %3\n"
                       "return %4 %4 %6 %8\n");
    ag_tensor *t = graphs_numbers(c, AG_F32, AG_SHAPE(2));
    CHECK_COMPUTE(g, after, t, ag_exp(t));
}

/* Attributes, dtypes, numbers, the sign of zero and draws make a difference. */
static void t_what_is_not_equal(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2, 2));
    OUTS(g, ag_sum(x, .dims = AG_SHAPE(0)), ag_sum(x, .dims = AG_SHAPE(1)), ag_to(x, AG_F64),
         ag_to(x, AG_F16), ag_rand_like(x), ag_rand_like(x), ag_mul(x, 0.), ag_mul(x, -0.),
         ag_mul(x, ag_scalar(c, 0.)), ag_leaky_relu(x, .1), ag_leaky_relu(x, .2));
    CHECK_INT(passes_run(g, ag__pass_cse)->main.n_insts, g->main.n_insts);
}

/* Their lists differ, their shapes do not. */
static void t_views_by_shape(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2, 3));
    OUTS(g, ag_view(x, AG_SHAPE(3, 2)), ag_view(x, AG_SHAPE(3, -1)), ag_view(x, AG_SHAPE(6)));
    ag_graph *after = passes_run(g, ag__pass_cse);
    CHECK_GRAPH(after, "(%0 f32[2, 3])\n"
                       "%1 = view f32[3, 2] %0 list=[3, 2]\n"
                       "%2 = view f32[6] %0 list=[6]\n"
                       "return %1 %1 %2\n");
}

/* ---- regions ---- */

static ag_tensor *is_small(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(ag_sum(v[0]), 100);
}
static bool grows(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = ag_add(ag_mul(v[0], 2), ag_exp(user));
    return next[0] != NULL;
}
static bool grows_otherwise(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = ag_add(ag_mul(v[0], 3), ag_exp(user));
    return next[0] != NULL;
}
static bool takes_noise(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    next[0] = ag_add(v[0], ag_add(ag_rand_like(v[0]), 1));
    return next[0] != NULL;
}

static void t_equal_loops(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2)), *u = passes_param(g, AG_F32, AG_SHAPE(2)),
              *y[3];
    CHECK(ag_while_loop(is_small, grows, &x, 1, &y[0], .user = u));
    CHECK(ag_while_loop(is_small, grows, &x, 1, &y[1], .user = u));
    CHECK(ag_while_loop(is_small, grows_otherwise, &x, 1, &y[2], .user = u));
    OUTS(g, y[0], y[1], y[2]);
    ag_graph *after = passes_run(passes_run(g, ag__pass_cse), ag__pass_prune);
    CHECK_INT(after->main.n_insts, 2);
    CHECK(after->main.outs[0] == after->main.outs[1] && after->main.outs[2] != after->main.outs[0]);
    ag_tensor *t = graphs_numbers(c, AG_F32, AG_SHAPE(2));
    CHECK_COMPUTE(g, after, t, t);
}

static void t_loops_that_draw(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2)), *y[2];
    CHECK(ag_while_loop(is_small, takes_noise, &x, 1, &y[0]));
    CHECK(ag_while_loop(is_small, takes_noise, &x, 1, &y[1]));
    OUTS(g, y[0], y[1]);
    CHECK_INT(passes_run(g, ag__pass_cse)->main.n_insts, 2);
}

/* What is there outside is captured; what a branch before it computed is not there. */
static bool branch_of_exp(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    out[0] = ag_mul(ag_exp(in[0]), ag_sin(user));
    return out[0] != NULL;
}
static bool branch_of_sin(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *pred = ag_gt(ag_sum(in[0]), 1);
    return pred && ag_cond(pred, branch_of_exp, branch_of_exp, in, n, out, m, .user = user);
}

static void t_values_from_outside(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *pred = passes_param(g, AG_BOOL, AG_SHAPE()),
              *x = passes_param(g, AG_F32, AG_SHAPE(2)), *y;
    ag_tensor *outside = ag_exp(x);
    CHECK(ag_cond(pred, branch_of_sin, branch_of_exp, &x, 1, &y, 1, .user = x));
    OUTS(g, outside, y);
    ag_graph *after = passes_run(passes_run(g, ag__pass_cse), ag__pass_prune);
    CHECK_GRAPH(after, "(%0 bool[], %1 f32[2])\n"
                       "%2 = exp f32[2] %1\n"
                       "%3 = cond f32[2] %0 %1 %2 i=[2]\n"
                       "    (%0 f32[2], %1 f32[2]) {\n"
                       "        %2 = sin f32[2] %0\n"
                       "        %3 = mul f32[2] %1 %2\n"
                       "        return %3\n"
                       "    }\n"
                       "    (%0 f32[2], %1 f32[2]) {\n"
                       "        %2 = sum f32[] %0\n"
                       "        %3 = constant f32[]! data=[1]\n"
                       "        %4 = gt bool[] %2 %3\n"
                       "        %5 = cond f32[2] %4 %0 %1 i=[2]\n"
                       "            (%0 f32[2], %1 f32[2]) {\n"
                       "                %2 = sin f32[2] %0\n"
                       "                %3 = mul f32[2] %1 %2\n"
                       "                return %3\n"
                       "            }\n"
                       "            (%0 f32[2], %1 f32[2]) {\n"
                       "                %2 = sin f32[2] %0\n"
                       "                %3 = mul f32[2] %1 %2\n"
                       "                return %3\n"
                       "            }\n"
                       "        return %5\n"
                       "    }\n"
                       "return %2 %3\n");
    ag_tensor *t = graphs_numbers(c, AG_F32, AG_SHAPE(2));
    CHECK_COMPUTE(g, after, ag_scalar(c, 0, .dtype = AG_BOOL), t);
    CHECK_COMPUTE(g, after, ag_scalar(c, 1, .dtype = AG_BOOL), t);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_equal_rows), TEST(t_what_is_not_equal), TEST(t_views_by_shape),
               TEST(t_equal_loops), TEST(t_loops_that_draw), TEST(t_values_from_outside));
}
