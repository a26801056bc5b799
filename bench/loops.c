/*
 * Loops of static graphs, planned and interpreted: ns per iteration.
 *
 *   counter   while first < second: first + 2, second + 1, float32 numbers
 *   vector    while i < n: x, turned round, becomes x w + b, a thousand elements in two
 *             buffers that are exchanged
 *   scan      a carry and a stacked result, one element each
 *   rnn       h becomes tanh(h W + x), 1 x 32, stacked
 *
 * Each figure is the least of several samples: the machine's other work only ever adds.
 */
#define _POSIX_C_SOURCE 200809L

#include <autograd.h>

#include <stdio.h>

#include "timing.h"

enum { SAMPLES = 7 };

/* ---- the loops ---- */

static ag_tensor *first_is_less(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(v[0], v[1]);
}

static bool count(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    next[0] = ag_add(v[0], 2);
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

static bool counter(ag_context *c, ag_graph *g, double iterations, ag_tensor **out)
{
    (void)c;
    ag_tensor *init[] = { ag_constant(g, ag_scalar(c, 0)),
                          ag_constant(g, ag_scalar(c, iterations)) };
    return ag_while_loop(first_is_less, count, init, 2, out);
}

static bool step_vector(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    ag_tensor *const *p = user;
    (void)n;
    next[0] = ag_add(v[0], 1);
    next[1] = v[1];
    next[2] = ag_add(ag_mul(ag_flip(v[2], AG_DIMS(0)), p[0]), p[1]);
    return next[0] && next[2];
}

static bool vector(ag_context *c, ag_graph *g, double iterations, ag_tensor **out)
{
    ag_tensor *p[] = { ag_constant(g, ag_full(c, AG_SHAPE(1000), .5)),
                       ag_constant(g, ag_full(c, AG_SHAPE(1000), 1)) };
    ag_tensor *init[] = { ag_constant(g, ag_scalar(c, 0)), ag_constant(g, ag_scalar(c, iterations)),
                          ag_constant(g, ag_full(c, AG_SHAPE(1000), 3)) };
    return ag_while_loop(first_is_less, step_vector, init, 3, out, .user = p);
}

static bool step_scan(ag_tensor *const *carry, int n, ag_tensor *const *x, int k,
                      ag_tensor **carry_out, ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m, (void)user;
    carry_out[0] = ag_add(ag_mul(carry[0], .5), x[0]);
    y[0] = ag_mul(carry_out[0], 2);
    return carry_out[0] && y[0];
}

static bool scan(ag_context *c, ag_graph *g, double iterations, ag_tensor **out)
{
    ag_tensor *init = ag_constant(g, ag_scalar(c, 0));
    ag_tensor *xs = ag_constant(g, ag_full(c, AG_SHAPE((int64_t)iterations), 1));
    return ag_scan(step_scan, &init, 1, &xs, 1, out, out + 1, 1);
}

static bool step_rnn(ag_tensor *const *carry, int n, ag_tensor *const *x, int k,
                     ag_tensor **carry_out, ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m;
    y[0] = carry_out[0] = ag_tanh(ag_add(ag_mm(carry[0], user), x[0]));
    return y[0] != NULL;
}

static bool rnn(ag_context *c, ag_graph *g, double iterations, ag_tensor **out)
{
    ag_tensor *init = ag_constant(g, ag_zeros(c, AG_SHAPE(1, 32)));
    ag_tensor *w = ag_constant(g, ag_full(c, AG_SHAPE(32, 32), .01));
    ag_tensor *xs = ag_constant(g, ag_full(c, AG_SHAPE((int64_t)iterations, 1, 32), .1));
    return ag_scan(step_rnn, &init, 1, &xs, 1, out, out + 1, 1, .user = w);
}

/* ---- measuring ---- */

typedef bool build_fn(ag_context *c, ag_graph *g, double iterations, ag_tensor **out);

/* ns per iteration; 0: it failed. */
static double measure(build_fn *build, int n, double iterations, ag_backend backend)
{
    ag_context *c = ag_open();
    ag_graph *g = ag_graph_new(c);
    ag_tensor *out[3], *results[3];
    double best = 0;
    ag_session *s = build(c, g, iterations, out) ? ag_session_new(g, .backend = backend) : NULL;
    for (int i = 0; i < SAMPLES && s; i++) {
        const double start = now_ns();
        if (!ag_session_run(s, NULL, 0, out, n, results))
            break;
        const double took = (now_ns() - start) / iterations;
        best = i == 0 || took < best ? took : best;
        for (int j = 0; j < n; j++)
            ag_drop(results[j]);
    }
    if (ag_error(c))
        fprintf(stderr, "%s\n", ag_error(c)->message);
    ag_session_free(s);
    ag_graph_free(g);
    ag_close(c);
    return best;
}

int main(void)
{
    static const struct {
        const char *name;
        build_fn *build;
        int n; /* results */
        double iterations;
    } loops[] = { { "counter", counter, 2, 1e6 },
                  { "vector", vector, 3, 1e4 },
                  { "scan", scan, 2, 1e5 },
                  { "rnn", rnn, 2, 1e4 } };
    printf("ns per iteration  %10s %12s\n", "planned", "interpreted");
    for (size_t i = 0; i < sizeof loops / sizeof *loops; i++)
        printf("%-17s %10.1f %12.1f\n", loops[i].name,
               measure(loops[i].build, loops[i].n, loops[i].iterations, AG_BACKEND_FUSED),
               measure(loops[i].build, loops[i].n, loops[i].iterations / 100,
                       AG_BACKEND_INTERPRET));
    return 0;
}
