/* What the tests of passes share: traced graphs made by hand, passes over them, their text, and what they
 * compute. */
#ifndef AG_TESTS_PASSES_H
#define AG_TESTS_PASSES_H

#include "graphs.h"

#include "graph/passes.h"
#include "graph/replay.h"
#include "graph/text.h"

enum { PASSES_MAX = 64 };

static inline void passes_stop(void *c) { ((ag_context *)c)->tracing = NULL; }

/* A traced graph, into which calls with symbolic tensors are recorded until passes_outs. */
static inline ag_graph *passes_graph(ag_context *c)
{
    ag_graph *g = ag__graph_new(c, true);
    CHECK(g);
    harness_defer(graphs_free_graph, g);
    harness_defer(passes_stop, c);
    c->tracing = &g->main;
    return g;
}

static inline ag_tensor *passes_param(ag_graph *g, ag_dtype dtype, ag_ints shape)
{
    const int32_t v = ag__region_param(&g->main, dtype, shape, false);
    ag_tensor *t = v < 0 ? NULL : ag__give(ag__symbol_new(&g->main, v));
    CHECK(t);
    return t;
}

static inline void passes_outs(ag_graph *g, ag_tensor *const *list, int n)
{
    int32_t outs[PASSES_MAX];
    for (int j = 0; j < n; j++) {
        CHECK(list[j]);
        outs[j] = ag__region_operand(&g->main, "test", list[j]);
        CHECK(outs[j] >= 0);
    }
    CHECK(ag__region_set_outs(&g->main, outs, n));
    g->c->tracing = NULL;
}
#define OUTS(g, ...)                                                                               \
    passes_outs(g, (ag_tensor *[]){ __VA_ARGS__ },                                                 \
                (int)(sizeof((ag_tensor *[]){ __VA_ARGS__ }) / sizeof(ag_tensor *)))

/* g after a pass. */
static inline ag_graph *passes_run(const ag_graph *g, ag__pass_fn *pass)
{
    ag_graph *new = pass(g);
    CHECK(new);
    harness_defer(graphs_free_graph, new);
    return new;
}

static inline void passes_text(const char *file, int line, const ag_graph *g, const char *expected)
{
    static char text[16384]; /* static: a check jumps */
    char *s = ag__graph_string(g);
    if (!s)
        harness_fail(file, line, "no text");
    const char *body = strchr(s, '\n') + 1;
    const size_t n = strlen(body) < sizeof text - 1 ? strlen(body) : sizeof text - 1;
    memcpy(text, body, n);
    text[n] = '\0';
    ag_free(s);
    harness_text(file, line, "the graph", text, expected);
}
/* g's text behind the first line. */
#define CHECK_GRAPH(g, expected) passes_text(__FILE__, __LINE__, g, expected)

/* g's results. */
static inline void passes_call(const ag_graph *g, ag_tensor *const *args, ag_tensor **outs)
{
    CHECK(g->main.n_outs <= PASSES_MAX);
    CHECK(ag__region_call(g->c, &g->main, args, outs, false));
    for (int j = 0; j < g->main.n_outs; j++)
        if (outs[j]->own.scope) /* an argument, or a result that is there twice */
            ag__tensor_unref(outs[j]);
        else
            ag__give(outs[j]);
}

static inline void passes_same(const ag_graph *a, const ag_graph *b, ag_tensor *const *args)
{
    ag_tensor *x[PASSES_MAX], *y[PASSES_MAX];
    CHECK_INT(b->main.n_outs, a->main.n_outs);
    CHECK_INT(b->main.n_params, a->main.n_params);
    for (int p = 0; p < a->main.n_params; p++)
        CHECK(args[p]);
    passes_call(a, args, x);
    passes_call(b, args, y);
    for (int j = 0; j < a->main.n_outs; j++)
        CHECK_SAME(y[j], x[j]);
}
/* Both compute the same bits from these tensors. */
#define CHECK_COMPUTE(a, b, ...) passes_same(a, b, (ag_tensor *[]){ __VA_ARGS__ })

#endif
