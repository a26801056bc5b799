/*
 * What the end of a product costs in a static graph: act(x W + b) for x of several sizes, in float32,
 * with fusion, where the end takes rows while they are in the cache, and without, where it takes the
 * whole result.
 *
 *     product [threads, default 1]
 *
 * Medians of samples that are taken by turns, in microseconds, and their ratio.
 */
#define _POSIX_C_SOURCE 200809L

#include <autograd.h>

#include <stdio.h>
#include <stdlib.h>

#include "timing.h"

enum { SAMPLES = 31, WAYS = 2 };

/* act(x W + b) of x [rows, terms] and W [terms, columns] */
typedef struct {
    const char *name;
    ag_tensor *(*act)(ag_tensor *x);
    int64_t rows, terms, columns;
} layer;

static double sample(ag_session *s, ag_feed feed, ag_tensor *y, int times)
{
    ag_tensor *result;
    const double start = now_us();
    for (int i = 0; i < times; i++)
        AG_SCOPE (ag_context_of(feed.value))
            ag_session_run(s, &feed, 1, &y, 1, &result);
    return (now_us() - start) / times;
}

static void measure(ag_context *c, const layer *l)
{
    const int times = l->rows * l->columns < 100000 ? 50 : 2;
    ag_graph *g = ag_graph_new(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(l->rows, l->terms));
    ag_tensor *w = ag_constant(g, ag_randn(c, AG_SHAPE(l->terms, l->columns)));
    ag_tensor *y = l->act(ag_addmm(ag_constant(g, ag_randn(c, AG_SHAPE(l->columns))), x, w));
    const ag_feed feed = { x, ag_randn(c, AG_SHAPE(l->rows, l->terms)) };
    ag_session *s[WAYS] = { ag_session_new(g), ag_session_new(g, .passes_off = AG_PASS_FUSE) };
    double taken[WAYS][SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        for (int way = 0; way < WAYS; way++)
            taken[way][i] = sample(s[way], feed, y, times);
    for (int way = 0; way < WAYS; way++)
        ag_session_free(s[way]);
    ag_graph_free(g);
    const double fused = median(taken[0], SAMPLES), plain = median(taken[1], SAMPLES);
    printf("%-5s %7lld x %4lld x %4lld %10.1f %10.1f %6.2f\n", l->name, (long long)l->rows,
           (long long)l->terms, (long long)l->columns, fused, plain, fused / plain);
}

int main(int argc, char **argv)
{
    static const layer layers[] = {
        { "relu", ag_relu, 256, 64, 64 },    { "tanh", ag_tanh, 256, 64, 64 },
        { "relu", ag_relu, 65536, 64, 64 },  { "tanh", ag_tanh, 65536, 64, 64 },
        { "relu", ag_relu, 262144, 32, 32 }, { "relu", ag_relu, 2048, 256, 1024 },
    };
    ag_context *c = ag_open(.on_error = ag_print_and_exit,
                            .threads = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1);
    printf("act   rows x terms x columns        fused      plain\n");
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        AG_SCOPE (c)
            measure(c, &layers[i]);
    ag_close(c);
    return 0;
}
