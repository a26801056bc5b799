/* All passes together: what they make of a graph, which are left out, what a dump shows, large graphs. */
#include "passes.h"

static ag_graph *copy(ag_context *c, const ag_graph *g)
{
    (void)c;
    ag_graph *new = ag__pass_prune(g); /* nothing that the results need is lost */
    CHECK(new);
    return new;
}

static ag_graph *optimized(ag_context *c, const ag_graph *g, int off)
{
    ag_graph *new = ag__optimize(copy(c, g), &(ag__planning){ .off = off });
    CHECK(new);
    harness_defer(graphs_free_graph, new);
    return new;
}

/* ---- a loop ---- */

static ag_tensor *few(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(v[0], 3);
}
static bool layer(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    ag_tensor *const *p = user; /* weight, bias */
    ag_tensor *scale = ag_mul(ag_exp(ag_ones_like(p[1])), ag_neg(ag_neg(p[1])));
    next[0] = ag_add(v[0], ag_mul(1, ag_ones_like(v[0])));
    next[1] = ag_tanh(ag_add(ag_t(ag_mm(ag_t(p[0]), ag_t(v[1]))), ag_mul(scale, 1)));
    next[2] = ag_add(v[2], ag_mul(v[1], 0));
    return next[2] != NULL;
}

static ag_graph *recurrent(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *v[] = { passes_param(g, AG_I64, AG_SHAPE()), passes_param(g, AG_F32, AG_SHAPE(2, 3)),
                       passes_param(g, AG_F32, AG_SHAPE(2, 3)) };
    ag_tensor *p[] = { passes_param(g, AG_F32, AG_SHAPE(3, 3)),
                       passes_param(g, AG_F32, AG_SHAPE(3)) };
    ag_tensor *out[3];
    CHECK(ag_while_loop(few, layer, v, 3, out, .user = p));
    OUTS(g, out[1]);
    return g;
}

static void t_a_loop(ag_context *c)
{
    ag_graph *g = recurrent(c), *after = optimized(c, g, 0);
    CHECK_GRAPH(after, "(%0 i64[], %1 f32[2, 3], %2 f32[2, 3], %3 f32[3, 3], %4 f32[3])\n"
                       "%5 = constant f32[3] data=[2.7182817, 2.7182817, 2.7182817]\n"
                       "%6 = mul f32[3] %5 %4\n"
                       "%7 %8 = while i64[] f32[2, 3] %0 %1 %3 %6 list=[2, 0, 0, 0, 0, -1, 0, 0]\n"
                       "    (%0 i64[], %1 f32[2, 3], %2 f32[3, 3], %3 f32[3]) {\n"
                       "        %4 = constant i64[] data=[1]\n"
                       "        %5 = add i64[] %0 %4\n"
                       "        %6 = mm f32[2, 3] %1 %2\n"
                       "        %7 = add f32[2, 3] %6 %3\n"
                       "        %8 = tanh f32[2, 3] %7\n"
                       "        return %5 %8\n"
                       "    }\n"
                       "    (%0 i64[], %1 f32[2, 3], %2 f32[3, 3], %3 f32[3]) {\n"
                       "        %4 = constant i64[]! data=[3]\n"
                       "        %5 = lt bool[] %0 %4\n"
                       "        return %5\n"
                       "    }\n"
                       "return %8\n");
    ag_tensor *t = graphs_numbers(c, AG_F32, AG_SHAPE(2, 3)),
              *zero = ag_scalar(c, 0, .dtype = AG_I64);
    CHECK_COMPUTE(g, after, zero, t, t, graphs_numbers(c, AG_F32, AG_SHAPE(3, 3)),
                  graphs_numbers(c, AG_F32, AG_SHAPE(3)));
}

/* ---- what runs ---- */

static void write_name(const char *pass, const char *graph, void *user)
{
    strcat(user, strncmp(graph, "autograd graph", 14) ? "?" : pass);
    strcat(user, " ");
}

static void t_dumps_and_what_is_off(ag_context *c)
{
    char names[128] = "";
    ag_graph *g = recurrent(c),
             *all = ag__optimize(copy(c, g), &(ag__planning){ 0, write_name, names, false });
    CHECK(all);
    harness_defer(graphs_free_graph, all);
    CHECK_TEXT(names, "prune fold cse algebra transpose hoist cse prune order ");
    names[0] = '\0';
    ag_graph *some = ag__optimize(copy(c, g), &(ag__planning){ AG_PASS_CSE | AG_PASS_HOIST,
                                                               write_name, names, false });
    CHECK(some);
    harness_defer(graphs_free_graph, some);
    CHECK_TEXT(names, "prune fold algebra transpose prune order ");
    names[0] = '\0';
    ag_graph *none =
        ag__optimize(copy(c, g), &(ag__planning){ AG_PASS_ALL, write_name, names, false });
    CHECK(none);
    harness_defer(graphs_free_graph, none);
    CHECK_TEXT(names, "prune prune ");
}

/* Every pass alone, and all but each. */
static void t_every_choice_computes_the_same(ag_context *c)
{
    static const int bits[] = { AG_PASS_FOLD, AG_PASS_CSE, AG_PASS_TRANSPOSE, AG_PASS_HOIST,
                                AG_PASS_ALGEBRA };
    ag_graph *g = recurrent(c);
    ag_tensor *t = graphs_numbers(c, AG_F32, AG_SHAPE(2, 3)),
              *zero = ag_scalar(c, 0, .dtype = AG_I64);
    ag_tensor *w = graphs_numbers(c, AG_F32, AG_SHAPE(3, 3)),
              *b = graphs_numbers(c, AG_F32, AG_SHAPE(3));
    for (int k = 0; k < 5; k++) {
        CHECK_COMPUTE(g, optimized(c, g, bits[k]), zero, t, t, w, b);
        CHECK_COMPUTE(g, optimized(c, g, AG_PASS_ALL & ~bits[k]), zero, t, t, w, b);
    }
}

/* ---- random graphs ---- */

typedef struct {
    uint64_t state;
    ag_tensor *values[40];
    int n;
} program;

static int draw(program *p, int n)
{
    p->state = p->state * 6364136223846793005u + 1442695040888963407u;
    return (int)((p->state >> 33) % (uint64_t)n);
}
static ag_tensor *some(program *p) { return p->values[draw(p, p->n)]; }

static ag_tensor *call(program *p)
{
    ag_tensor *a = some(p), *b = some(p);
    switch (draw(p, 14)) {
    case 0: return ag_mul(a, b);
    case 1: return ag_sub(a, b);
    case 2: return ag_neg(a);
    case 3: return ag_tanh(a);
    case 4: return ag_t(a);
    case 5: return ag_mm(a, b);
    case 6: return ag_sum(a, .dims = AG_SHAPE(draw(p, 2)), .keepdim = true);
    case 7: return ag_mul(a, draw(p, 3) - 1);
    case 8: return ag_add(a, ag_ones_like(b));
    case 9: return ag_where(ag_gt(a, 0), b, b);
    case 10: return ag_view(ag_view(a, AG_SHAPE(-1)), (ag_ints){ ag_shape(a), ag_ndim(a) });
    case 11: return ag_to(ag_to(a, AG_F64), AG_F32);
    case 12: return ag_expand(ag_sum(a, .dims = AG_SHAPE(0), .keepdim = true), AG_SHAPE(3, 3));
    default: return ag_scalar(a->c, draw(p, 3) - 1);
    }
}

static bool random_body(ag_tensor *const *carry, int n, ag_tensor *const *x, int k,
                        ag_tensor **next, ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m;
    program p = *(program *)user;
    p.values[p.n++] = carry[0];
    p.values[p.n++] = x[0];
    for (int i = 0; i < 8; i++) {
        ag_tensor *t = call(&p);
        if (!t)
            return false;
        if (ag_ndim(t) == 2 && ag_size(t, 0) == 3 && ag_size(t, 1) == 3)
            p.values[p.n++] = t;
    }
    next[0] = ag_tanh(p.values[p.n - 1]);
    y[0] = some(&p);
    next[1] = carry[1];
    ((program *)user)->state = p.state;
    return next[0] && y[0];
}

static void random_graph(ag_context *c, uint64_t seed)
{
    program p = { .state = seed };
    ag_graph *g = passes_graph(c);
    const ag_ints shape = AG_SHAPE(3, 3);
    for (int k = 0; k < 3; k++)
        p.values[p.n++] = passes_param(g, AG_F32, shape);
    ag_tensor *xs = passes_param(g, AG_F32, AG_SHAPE(2, 3, 3)), *carry[2], *y;
    for (int i = 0; i < 10; i++) {
        ag_tensor *t = call(&p);
        CHECK(t);
        if (ag_ndim(t) == 2 && ag_size(t, 0) == 3 && ag_size(t, 1) == 3 && ag_is_symbolic(t))
            p.values[p.n++] = t;
    }
    ag_tensor *init[] = { some(&p), some(&p) };
    CHECK(ag_scan(random_body, init, 2, &xs, 1, carry, &y, 1, .user = &p));
    OUTS(g, carry[0], carry[1], y, p.values[p.n - 1]);
    ag_tensor *args[] = { graphs_numbers(c, AG_F32, shape),
                          ag_neg(graphs_numbers(c, AG_F32, shape)), ag_zeros(c, shape),
                          graphs_numbers(c, AG_F32, AG_SHAPE(2, 3, 3)) };
    CHECK_COMPUTE(g, optimized(c, g, AG_PASS_ALGEBRA), args[0], args[1], args[2], args[3]);
    ag_graph *after = optimized(c, g, 0);
    ag_tensor *a[4], *b[4];
    passes_call(g, args, a);
    passes_call(after, args, b);
    for (int j = 0; j < 4; j++) {
        CHECK_CLOSE(ag_item(ag_sum(ag_to(ag_ne(a[j], b[j]), AG_F32))),
                    ag_item(ag_sum(ag_to(ag_logical_and(ag_isnan(a[j]), ag_isnan(b[j])), AG_F32))),
                    0);
    }
}

static void t_random_graphs(ag_context *c)
{
    const int n = harness_faults() ? 1 : 6; /* so many as a test may release */
    for (int k = 0; k < n; k++)
        AG_SCOPE (c)
            random_graph(c, 77u + (uint64_t)k);
}

/* ---- size ---- */

/* A chain of 100000 operations: half of it is nobody's, a part folds, the rest is computed twice. */
static void t_a_long_chain(ag_context *c)
{
    if (harness_faults())
        return;
    enum { LENGTH = 20000 };
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2)), *a = x, *b = x, *d = x;
    AG_SCOPE (c) {
        for (int k = 0; k < LENGTH; k++) {
            CHECK((a = ag_tanh(a)) && (b = ag_tanh(b)) && (d = ag_exp(d)));
            CHECK((a = ag_neg(ag_neg(a))) && (b = ag_neg(ag_neg(b))));
        }
        OUTS(g, a, b);
    }
    CHECK_INT(g->main.n_insts, 7 * LENGTH);
    ag_graph *after = optimized(c, g, 0);
    CHECK_INT(after->main.n_insts, LENGTH);
    CHECK(after->main.outs[0] == after->main.outs[1]);
    CHECK_INT(optimized(c, g, AG_PASS_ALGEBRA)->main.n_insts, 3 * LENGTH);
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F32, AG_SHAPE(2)));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_a_loop), TEST(t_dumps_and_what_is_off),
               TEST(t_every_choice_computes_the_same), TEST(t_random_graphs), TEST(t_a_long_chain));
}
