/* Hoist: what is the same in every iteration is computed in front of the loop. */
#include "passes.h"

static ag_graph *hoisted(const ag_graph *g)
{
    return passes_run(passes_run(g, ag__pass_hoist), ag__pass_prune);
}

static ag_tensor *below(ag_tensor *const *v, int n, void *user)
{
    (void)n;
    ag_tensor *const *captured = user;
    return ag_lt(ag_sum(v[0]), ag_mul(captured[0], 10));
}

/* exp(k) + 1 is always the same, w[7] may fail, a draw is never the same, v[1] is handed on. */
static bool body(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    ag_tensor *const *captured = user;
    ag_tensor *same = ag_add(ag_exp(captured[0]), 1);
    ag_tensor *risky = ag_index_select(captured[1], 0, captured[2]);
    ag_tensor *noise = ag_mul(ag_rand_like(captured[0]), 0);
    ag_tensor *rest = ag_add(ag_sum(risky), noise), *wave = ag_sin(v[1]);
    next[0] = ag_add(ag_add(ag_mul(v[0], same), wave), rest);
    next[1] = v[1];
    return next[0] != NULL;
}

static void t_what_stays_the_same(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *v[] = { passes_param(g, AG_F32, AG_SHAPE(2)), passes_param(g, AG_F32, AG_SHAPE(2)) },
              *out[2];
    ag_tensor *captured[] = { passes_param(g, AG_F32, AG_SHAPE()),
                              passes_param(g, AG_F32, AG_SHAPE(3)),
                              passes_param(g, AG_I64, AG_SHAPE(1)) };
    CHECK(ag_while_loop(below, body, v, 2, out, .user = captured));
    OUTS(g, out[0], out[1]);
    ag_graph *after = hoisted(g);
    CHECK_GRAPH(after,
                "(%0 f32[2], %1 f32[2], %2 f32[], %3 f32[3], %4 i64[1])\n"
                "%5 = exp f32[] %2\n"
                "%6 = constant f32[]! data=[1]\n"
                "%7 = add f32[] %5 %6\n"
                "%8 = sin f32[2] %1\n"
                "%9 = constant f32[]! data=[10]\n"
                "%10 = mul f32[] %2 %9\n"
                "%11 = while f32[2] %0 %2 %3 %4 %7 %8 %10 list=[1, 0, 0, 0, 0, -1, 0, 0]\n"
                "    (%0 f32[2], %1 f32[], %2 f32[3], %3 i64[1], %4 f32[], %5 f32[2], %6 f32[]) {\n"
                "        %7 = index_select f32[1] %2 %3\n"
                "        %8 = rand_like f32[] %1\n"
                "        %9 = constant f32[]! data=[0]\n"
                "        %10 = mul f32[] %8 %9\n"
                "        %11 = sum f32[] %7\n"
                "        %12 = add f32[] %11 %10\n"
                "        %13 = mul f32[2] %0 %4\n"
                "        %14 = add f32[2] %13 %5\n"
                "        %15 = add f32[2] %14 %12\n"
                "        return %15\n"
                "    }\n"
                "    (%0 f32[2], %1 f32[], %2 f32[3], %3 i64[1], %4 f32[], %5 f32[2], %6 f32[]) {\n"
                "        %7 = sum f32[] %0\n"
                "        %8 = lt bool[] %7 %6\n"
                "        return %8\n"
                "    }\n"
                "return %11 %1\n");
    ag_tensor *args[] = { graphs_numbers(c, AG_F32, AG_SHAPE(2)), ag_ones(c, AG_SHAPE(2)),
                          ag_scalar(c, 2), ag_ones(c, AG_SHAPE(3)),
                          ag_array(c, AG_VALUES(1), AG_SHAPE(1), .dtype = AG_I64) };
    CHECK(args[4]);
    CHECK_COMPUTE(g, after, args[0], args[1], args[2], args[3], args[4]);
    /* Without an iteration nothing fails. */
    ag_tensor *far = ag_array(c, AG_VALUES(7), AG_SHAPE(1), .dtype = AG_I64);
    CHECK_COMPUTE(g, after, ag_mul(args[1], 100), args[1], args[2], args[3], far);
}

/* ---- loops in loops and branches ---- */

static bool inner(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                  ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)y, (void)m;
    ag_tensor *const *of = user; /* the parameter, the carry of the outer loop */
    ag_tensor *wave = ag_mul(x[0], ag_sin(ag_add(of[1], of[0])));
    next[0] = ag_add(ag_mul(carry[0], ag_exp(of[0])), wave);
    return next[0] != NULL;
}
static bool outer(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                  ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)y, (void)m;
    ag_tensor *const *p = user;
    ag_tensor *of[] = { p[0], carry[0] };
    (void)x;
    return ag_scan(inner, carry, 1, &p[1], 1, next, NULL, 0, .user = of);
}

static void t_out_of_two_loops(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *init = passes_param(g, AG_F32, AG_SHAPE()),
              *xs = passes_param(g, AG_F32, AG_SHAPE(3)), *y;
    ag_tensor *p[] = { passes_param(g, AG_F32, AG_SHAPE()), passes_param(g, AG_F32, AG_SHAPE(2)) };
    CHECK(ag_scan(outer, &init, 1, &xs, 1, &y, NULL, 0, .user = p));
    OUTS(g, y);
    ag_graph *after = hoisted(g);
    CHECK_GRAPH(after, "(%0 f32[], %1 f32[3], %2 f32[], %3 f32[2])\n"
                       "%4 = exp f32[] %2\n"
                       "%5 = scan f32[] %0 %3 %2 %4 list=[1, 0, 0, 0, 0, 3, 0, 0]\n"
                       "    (%0 f32[], %1 f32[2], %2 f32[], %3 f32[]) {\n"
                       "        %4 = add f32[] %0 %2\n"
                       "        %5 = sin f32[] %4\n"
                       "        %6 = scan f32[] %0 %1 %5 %3 list=[1, 1, 0, 0, 0, -1, 0, 0]\n"
                       "            (%0 f32[], %1 f32[], %2 f32[], %3 f32[]) {\n"
                       "                %4 = mul f32[] %1 %2\n"
                       "                %5 = mul f32[] %0 %3\n"
                       "                %6 = add f32[] %5 %4\n"
                       "                return %6\n"
                       "            }\n"
                       "        return %6\n"
                       "    }\n"
                       "return %5\n");
    CHECK_COMPUTE(g, after, ag_scalar(c, 1), graphs_numbers(c, AG_F32, AG_SHAPE(3)),
                  ag_scalar(c, .5), graphs_numbers(c, AG_F32, AG_SHAPE(2)));
}

static bool heavy(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    out[0] = ag_add(in[0], ag_exp(user));
    return out[0] != NULL;
}
static bool light(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_neg(in[0]);
    return out[0] != NULL;
}
static bool branches(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                     ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)y, (void)m;
    ag_tensor *pred = ag_gt(x[0], 0);
    return pred && ag_cond(pred, heavy, light, carry, 1, next, 1, .user = user);
}

/* A branch may not be taken, and what would be large to hold is computed again. */
static void t_what_stays_inside(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *init = passes_param(g, AG_F32, AG_SHAPE()),
              *xs = passes_param(g, AG_F32, AG_SHAPE(3)), *y;
    ag_tensor *p = passes_param(g, AG_F32, AG_SHAPE());
    CHECK(ag_scan(branches, &init, 1, &xs, 1, &y, NULL, 0, .user = p));
    OUTS(g, y);
    CHECK_INT(hoisted(g)->main.n_insts, 1);
}

static bool large(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                  ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)y, (void)m;
    ag_tensor *p = user;
    ag_tensor *column = ag_unsqueeze(p, 1), *row = ag_unsqueeze(p, 0);
    ag_tensor *sum = ag_sum(ag_mul(row, column));
    next[0] = ag_add(ag_add(carry[0], x[0]), sum);
    return next[0] != NULL;
}

static void t_what_is_large(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *init = passes_param(g, AG_F32, AG_SHAPE()),
              *xs = passes_param(g, AG_F32, AG_SHAPE(3)), *y;
    ag_tensor *p = passes_param(g, AG_F32, AG_SHAPE(600));
    CHECK(ag_scan(large, &init, 1, &xs, 1, &y, NULL, 0, .user = p));
    OUTS(g, y);
    ag_graph *after = hoisted(g);
    CHECK_GRAPH(after, "(%0 f32[], %1 f32[3], %2 f32[600])\n"
                       "%3 = unsqueeze f32[600, 1] %2 i=[1]\n"
                       "%4 = unsqueeze f32[1, 600] %2\n"
                       "%5 = scan f32[] %0 %1 %3 %4 list=[1, 1, 0, 0, 0, -1, 0, 0]\n"
                       "    (%0 f32[], %1 f32[], %2 f32[600, 1], %3 f32[1, 600]) {\n"
                       "        %4 = mul f32[600, 600] %3 %2\n"
                       "        %5 = sum f32[] %4\n"
                       "        %6 = add f32[] %0 %1\n"
                       "        %7 = add f32[] %6 %5\n"
                       "        return %7\n"
                       "    }\n"
                       "return %5\n");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_what_stays_the_same), TEST(t_out_of_two_loops), TEST(t_what_stays_inside),
               TEST(t_what_is_large));
}
