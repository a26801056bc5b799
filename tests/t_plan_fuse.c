/*
 * Which instructions of a plan become programs, as numbers of steps, and that programs give the bits of
 * single rows: in groups written by hand, and in random graphs of pointwise rows, views, reductions and
 * products.
 */
#include "plans.h"

#include <stdio.h>

#define GRAPH(name) static bool name(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
#define UNUSED (void)arg, (void)n, (void)m

static ag_tensor *numbers(ag_context *c, ag_dtype dtype, ag_ints shape)
{
    ag_tensor *t = ag_rand(c, shape, .dtype = AG_F64);
    CHECK(t = t ? ag_to(ag_add(ag_mul(t, 2), .5), dtype) : NULL);
    return t;
}

/* Checks the values and, with and without fusion, the number of steps. */
static void check_steps(ag_context *c, ag__traced_fn *fn, int n, int m, ag_ints shape, int fused,
                        int single)
{
    plans_case k = { .fn = fn, .n = n, .m = m, .name = "group" };
    for (int i = 0; i < n; i++) {
        k.args[i] = numbers(c, AG_F32, shape);
        k.others[i] = numbers(c, AG_F32, shape);
    }
    plans_check_off(c, &k, 0);
    CHECK_INT(ag__plan_steps(plans_held), fused);
    plans_check_off(c, &k, AG_PASS_REUSE);
    CHECK_INT(ag__plan_steps(plans_held), fused);
    plans_check_off(c, &k, AG_PASS_FUSE);
    CHECK_INT(ag__plan_steps(plans_held), single);
}

/* ---- groups ---- */

GRAPH(chain)
{
    UNUSED;
    return (out[0] = ag_tanh(ag_add(ag_mul(in[0], in[1]), ag_exp(in[0])))) != NULL;
}

/* A value that is reduced and given out; reductions that differ in what they leave. */
GRAPH(reduced)
{
    UNUSED;
    ag_tensor *d = ag_square(ag_sub(in[0], in[1]));
    out[0] = ag_sum(d, .dims = AG_DIMS(1));
    out[1] = ag_amax(d, .dims = AG_DIMS(-1), .keepdim = true);
    out[2] = d;
    out[3] = ag_mean(d);
    return out[0] && out[1] && out[3];
}

/* Columns are not at the end. */
GRAPH(columns)
{
    UNUSED;
    return (out[0] = ag_sum(ag_mul(in[0], in[1]), .dims = AG_DIMS(0))) != NULL;
}

/* What stands between, and does not need the group, runs before it. */
GRAPH(between)
{
    UNUSED;
    ag_tensor *a = ag_mul(in[0], 2), *p = ag_mm(in[0], ag_t(in[1])), *b = ag_add(a, 1);
    ag_tensor *s = ag_sum(p), *d = ag_mul(b, s);
    out[0] = d;
    return (out[1] = p) && d;
}

/* What needs the group ends it: a product, a view. */
GRAPH(needed)
{
    UNUSED;
    ag_tensor *a = ag_exp(ag_neg(in[0])), *p = ag_mm(a, ag_t(in[1])),
              *b = ag_mul(ag_add(a, 1), in[1]);
    ag_tensor *t = ag_t(b);
    out[0] = ag_relu(ag_add(t, ag_mul(t, 3)));
    return (out[1] = p) && out[0];
}

/* Two shapes by turns. */
GRAPH(two_shapes)
{
    UNUSED;
    ag_tensor *r = ag_select(in[0], 0, 0), *a = ag_sin(in[0]), *b = ag_cos(r), *d = ag_add(a, 1),
              *e = ag_mul(b, 2), *f = ag_mul(d, in[1]), *g = ag_sub(e, 1);
    out[0] = f;
    return (out[1] = g) && f;
}

/* Rows and columns that are spread, and the group's own row beside it. */
GRAPH(spread)
{
    UNUSED;
    ag_tensor *row = ag_select(in[0], 0, 1), *column = ag_slice(in[1], 1, 2, 3, 1);
    ag_tensor *a = ag_mul(ag_add(in[0], row), column);
    out[0] = ag_sub(ag_square(a), ag_select(a, 0, 2));
    return out[0] != NULL;
}

GRAPH(seventeen)
{
    UNUSED;
    ag_tensor *x = in[0];
    for (int i = 0; i < 17; i++)
        x = ag_add(x, in[1]);
    return (out[0] = x) != NULL;
}

GRAPH(one)
{
    UNUSED;
    return (out[0] = ag_mul(in[0], in[1])) != NULL;
}

/* Division of integers may fail, and stands alone. */
GRAPH(integers)
{
    UNUSED;
    ag_tensor *a = ag_to(ag_mul(in[0], 100), AG_I32), *b = ag_to(in[1], AG_I32);
    out[0] = ag_add(ag_remainder(a, ag_add(b, 3)), 1);
    return out[0] != NULL;
}

static void t_groups(ag_context *c)
{
    const ag_ints shape = AG_SHAPE(5, 7);
    check_steps(c, chain, 2, 1, shape, 1, 4);
    check_steps(c, reduced, 2, 4, shape, 2, 5);
    check_steps(c, columns, 2, 1, shape, 2, 2);
    check_steps(c, between, 2, 2, shape, 3, 5);
    check_steps(c, needed, 2, 2, shape, 4, 8);
    check_steps(c, two_shapes, 2, 2, shape, 2, 6);
    check_steps(c, spread, 2, 1, shape, 2, 4);
    check_steps(c, seventeen, 2, 1, shape, 2, 17);
    check_steps(c, one, 2, 1, shape, 1, 1);
    check_steps(c, integers, 2, 1, shape, 3, 6);
    check_steps(c, chain, 2, 1, AG_SHAPE(), 4,
                4); /* one element: their loops are called as they are */
    check_steps(c, reduced, 2, 4, AG_SHAPE(0, 7), 5, 5);
}

static void t_long_lines(ag_context *c)
{
    if (harness_faults())
        return;
    check_steps(c, chain, 2, 1, AG_SHAPE(3, 300), 1, 4);
    check_steps(c, columns, 2, 1, AG_SHAPE(300, 3), 2, 2);
}

/* ---- the end of a product ---- */

/* relu(a b' + bias), and what came before relu. */
GRAPH(ended)
{
    UNUSED;
    ag_tensor *p = ag_addmm(ag_select(in[1], 1, 0), in[0], ag_t(in[1]), .beta = .5, .alpha = 2);
    out[0] = ag_relu(ag_add(p, .25));
    return (out[1] = p) && out[0];
}

GRAPH(ended_batches)
{
    UNUSED;
    ag_tensor *a = ag_unsqueeze(in[0], 0), *b = ag_unsqueeze(in[1], 0);
    ag_tensor *both = ag_stack((ag_tensor *[]){ ag_squeeze(a, 0), ag_squeeze(b, 0) }, 2, 0);
    out[0] = ag_exp(ag_neg(ag_bmm(both, ag_transpose(both, 1, 2))));
    return out[0] != NULL;
}

/* Of two, the later one is ended. */
GRAPH(ended_once)
{
    UNUSED;
    ag_tensor *p = ag_mm(in[0], ag_t(in[1])), *q = ag_mm(in[1], ag_t(in[0]));
    return (out[0] = ag_tanh(ag_sub(p, q))) != NULL;
}

/* Others than the group need it before: a view, a sum. */
GRAPH(not_ended)
{
    UNUSED;
    ag_tensor *p = ag_mm(in[0], ag_t(in[1])), *s = ag_sum(p), *q = ag_mm(in[1], ag_t(in[0]));
    out[0] = ag_mul(ag_mul(p, s), 2);
    out[1] = ag_mul(ag_add(q, 1), ag_t(q));
    return out[0] && out[1];
}

/* What is reduced is not the end of a product, nor is what is written over its operand. */
GRAPH(not_over)
{
    UNUSED;
    ag_tensor *x = ag_mul(in[0], .125), *y = ag_mul(in[1], .125);
    out[0] = ag_mul(ag_mm(x, x), x);
    out[1] = ag_sum(ag_mul(ag_mm(y, y), 2));
    return out[0] && out[1];
}

static void t_ends_of_products(ag_context *c)
{
    check_steps(c, ended, 2, 2, AG_SHAPE(5, 7), 1, 3);
    check_steps(c, ended_batches, 2, 1, AG_SHAPE(5, 7), 2, 4);
    check_steps(c, ended_once, 2, 1, AG_SHAPE(5, 7), 2, 4);
    check_steps(c, not_ended, 2, 2, AG_SHAPE(5, 5), 4, 7);
    check_steps(c, not_over, 2, 2, AG_SHAPE(5, 5), 4, 7);
    if (harness_faults())
        return;
    check_steps(c, ended, 2, 2, AG_SHAPE(400, 300), 1, 3); /* blocks of rows, by two threads */
    check_steps(c, not_over, 2, 2, AG_SHAPE(384, 384), 4, 7);
}

/* ---- random graphs ---- */

enum { RANDOM_VALUES = 40 };
typedef struct {
    uint64_t state;
    int steps;
} random_graph;

static int next_random(random_graph *r, int n)
{
    r->state = r->state * 6364136223846793005u + 1442695040888963407u;
    return (int)((r->state >> 33) % (uint64_t)n);
}

/* A value of many shapes; all begin with what in[0], [3, 4], and in[1], [4, 4], are. */
static ag_tensor *random_value(random_graph *r, ag_tensor *const *v, int n)
{
    ag_tensor *a = v[next_random(r, n)], *b = v[next_random(r, n)], *s = v[0];
    const ag_dtype more[] = { AG_F32, AG_F64, AG_I32, AG_I64, AG_F16, AG_BOOL };
    if (ag_dtype_of(a) == AG_BOOL)
        return ag_to(a, AG_F32);
    switch (next_random(r, 19)) {
    case 0: return ag_sin(a);
    case 1: return ag_tanh(a);
    case 2: return ag_neg(a);
    case 3: return ag_sigmoid(a);
    case 4: return ag_mul(a, .5);
    case 5: return ag_ndim(a) == 2 ? ag_t(a) : ag_cos(a);
    case 6: return ag_ndim(a) ? ag_sum(a, .dims = AG_DIMS(-1), .keepdim = true) : ag_exp(ag_neg(a));
    case 7:
        return ag_ndim(a) && ag__is_float(ag_dtype_of(a)) ? ag_mean(a, .dims = AG_DIMS(0))
                                                          : ag_add(a, 1);
    case 8: return ag_ndim(a) ? ag_select(a, 0, 0) : ag_relu(a);
    case 9: return ag_view(a, ((ag_ints){ (int64_t[]){ ag_numel(a) }, 1 }));
    case 10: return ag_to(a, more[next_random(r, AG_COUNT(more))]);
    case 11:
        return ag_ndim(a) == 2 && ag__is_float(ag_dtype_of(a)) ? ag_mm(a, ag_t(a)) : ag_mul(a, a);
    case 13: return ag_lt(a, .5);
    case 14: return ag_where(ag_ge(a, 0), a, ag_neg(a));
    case 15: return ag_add(ag_remainder(a, 3), 1);
    case 12: return ag_add(s, ag_amax(a));
    default: break;
    }
    const ag_ints shapes[] = { { ag_shape(a), ag_ndim(a) }, { ag_shape(b), ag_ndim(b) } };
    bool fits = true;
    for (int d = 1; d <= shapes[0].n && d <= shapes[1].n; d++) {
        const int64_t x = shapes[0].data[shapes[0].n - d], y = shapes[1].data[shapes[1].n - d];
        fits = fits && (x == y || x == 1 || y == 1);
    }
    if (!fits || ag_dtype_of(b) == AG_BOOL)
        b = a;
    return next_random(r, 3) ? ag_mul(ag_sub(a, b), .25) : ag_maximum(a, ag_mul(b, .75));
}

static bool random_traced(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    random_graph r = *(random_graph *)arg;
    ag_tensor *v[RANDOM_VALUES] = { in[0], in[1], in[2] };
    for (int i = n; i < n + r.steps; i++)
        if (!(v[i] = random_value(&r, v, i)))
            return false;
    for (int j = 0; j < m; j++) /* the first may be written over an argument of its type */
        out[j] = j ? v[n + next_random(&r, r.steps)] : ag_add(in[0], ag_sum(v[n + r.steps - 1]));
    return out[0] != NULL;
}

static void t_random_graphs(ag_context *c)
{
    for (int seed = 0; seed < (harness_faults() ? 2 : 400); seed++)
        AG_SCOPE (c) {
            random_graph r = { (uint64_t)seed * 77 + 5, 2 + seed % (RANDOM_VALUES - 5) };
            char name[32];
            snprintf(name, sizeof name, "seed %d", seed);
            plans_case k = { .fn = random_traced, .arg = &r, .n = 3, .m = 3, .name = name };
            k.into[0] = seed % 3 == 0;
            const bool wide = seed % 2; /* more than what is copied into the arena, or not */
            for (int a = 0; a < 2; a++) {
                ag_tensor **args = a ? k.others : k.args;
                args[0] = numbers(c, AG_F32, wide ? AG_SHAPE(6, 5) : AG_SHAPE(3, 4));
                args[1] = numbers(c, AG_F64, wide ? AG_SHAPE(5, 5) : AG_SHAPE(4, 4));
                args[2] = numbers(c, AG_F32, AG_SHAPE(1));
            }
            plans_check(c, &k);
        }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_groups), TEST(t_long_lines), TEST(t_ends_of_products), TEST(t_random_graphs));
}
