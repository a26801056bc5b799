/*
 * What the passes over static graphs take, and what they bring.
 *
 *   passes      ms for each pass over a chain of 100,000 operations, of which a part folds, a part is
 *               there twice and a part is needed by nobody.
 *   transpose   us for a product that is transposed and added to something: as it stands, and as the
 *               pass transpose leaves it.
 *   addmm       us for a product and a bias: as two operations, and as one.
 */
#define _POSIX_C_SOURCE 200809L

#include "graph/passes.h"
#include "graph/replay.h"

#include <stdio.h>
#include <stdlib.h>

#include "timing.h"

enum { CHAIN = 100000, SAMPLES = 11, ITERATIONS = 20 };

static void need(const void *p)
{
    if (!p)
        exit(1);
}

static ag_tensor *parameter(ag_graph *g, ag_ints shape)
{
    ag_tensor *t =
        ag__give(ag__symbol_new(&g->main, ag__region_param(&g->main, AG_F32, shape, false)));
    need(t);
    return t;
}

static void result(ag_graph *g, ag_tensor *y)
{
    need(y);
    if (!ag__region_set_outs(&g->main, &ag__symbol_of(y)->value, 1))
        exit(1);
    g->c->tracing = NULL;
}

static ag_graph *begin(ag_context *c)
{
    ag_graph *g = ag__graph_new(c, true);
    need(g);
    c->tracing = &g->main;
    return g;
}

static ag_graph *chain(ag_context *c)
{
    ag_graph *g = begin(c);
    ag_tensor *x = parameter(g, AG_SHAPE(4)), *a = x, *b = x;
    AG_SCOPE (c) {
        for (int k = 0; k < CHAIN / 6; k++) {
            a = ag_mul(ag_tanh(a), ag_ones_like(a));
            b = ag_neg(ag_neg(ag_tanh(b)));
        }
        result(g, ag_add(a, x));
    }
    return g;
}

static void measure_passes(ag_context *c)
{
    static const struct {
        const char *name;
        ag__pass_fn *run;
    } passes[] = { { "prune", ag__pass_prune },
                   { "fold", ag__pass_fold },
                   { "cse", ag__pass_cse },
                   { "algebra", ag__pass_algebra },
                   { "transpose", ag__pass_transpose },
                   { "hoist", ag__pass_hoist } };
    ag_graph *g = chain(c);
    for (size_t k = 0; k < sizeof passes / sizeof *passes; k++) {
        double times[SAMPLES];
        for (int s = 0; s < SAMPLES; s++) {
            const double start = now_us();
            ag_graph *new = passes[k].run(g);
            need(new);
            ag_graph_free(new);
            times[s] = now_us() - start;
        }
        printf("%-10s %8.1f ms for %d operations\n", passes[k].name, median(times, SAMPLES) / 1e3,
               g->main.n_insts);
    }
    ag_graph_free(g);
}

/* us of a run of g with these arguments. */
static double measure_graph(const ag_graph *g, ag_tensor *const *args)
{
    double times[SAMPLES];
    ag_tensor *out;
    for (int s = 0; s < SAMPLES; s++) {
        const double start = now_us();
        for (int i = 0; i < ITERATIONS; i++) {
            if (!ag__region_call(g->c, &g->main, args, &out, false))
                exit(1);
            ag__tensor_unref(out);
        }
        times[s] = (now_us() - start) / ITERATIONS;
    }
    return median(times, SAMPLES);
}

static void measure_products(ag_context *c, int64_t rows, int64_t in, int64_t out)
{
    ag_tensor *args[] = { ag_randn(c, AG_SHAPE(rows, in)), ag_randn(c, AG_SHAPE(rows, out)),
                          ag_randn(c, AG_SHAPE(out, in)) };
    need(args[2]);
    ag_graph *g = begin(c);
    ag_tensor *x = parameter(g, AG_SHAPE(rows, in)), *d = parameter(g, AG_SHAPE(rows, out)),
              *w = parameter(g, AG_SHAPE(out, in));
    result(g, ag_sub(w, ag_mul(ag_t(ag_mm(ag_t(x), d)), .01)));
    ag_graph *after = ag__pass_transpose(g);
    need(after);
    printf("transpose  %8.1f us, %8.1f us as a product of transposed operands (%d, %d, %d)\n",
           measure_graph(g, args), measure_graph(after, args), (int)rows, (int)in, (int)out);
    ag_graph_free(g);
    ag_graph_free(after);

    ag_tensor *with_bias[] = { args[0], args[2], ag_randn(c, AG_SHAPE(out)) };
    ag_graph *graphs[2];
    for (int k = 0; k < 2; k++) {
        g = graphs[k] = begin(c);
        x = parameter(g, AG_SHAPE(rows, in));
        w = parameter(g, AG_SHAPE(out, in));
        ag_tensor *b = parameter(g, AG_SHAPE(out));
        result(g, k ? ag_addmm(b, x, ag_t(w)) : ag_add(ag_mm(x, ag_t(w)), b));
    }
    printf("addmm      %8.1f us, %8.1f us as one operation\n", measure_graph(graphs[0], with_bias),
           measure_graph(graphs[1], with_bias));
    ag_graph_free(graphs[0]);
    ag_graph_free(graphs[1]);
}

int main(void)
{
    ag_context *c = ag_open(NULL);
    need(c);
    measure_passes(c);
    AG_SCOPE (c) {
        measure_products(c, 64, 128, 128);
        measure_products(c, 256, 784, 128);
        measure_products(c, 1024, 512, 512);
    }
    ag_close(c);
    return 0;
}
