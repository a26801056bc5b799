/* What the tests of static graphs share: graphs and sessions that go when the test ends, runs of one
 * fetch, both ways of running, and comparison to the last bit. */
#ifndef AG_TESTS_GRAPHS_H
#define AG_TESTS_GRAPHS_H

#include "harness.h"

enum { GRAPHS_BACKENDS = 2, GRAPHS_MAX_BYTES = 4096 };

/* Every check of a result holds for each of them. */
static const ag_backend graphs_backend[GRAPHS_BACKENDS] = { AG_BACKEND_INTERPRET,
                                                            AG_BACKEND_FUSED };

static inline void graphs_free_graph(void *g) { ag_graph_free(g); }
static inline void graphs_free_session(void *s) { ag_session_free(s); }

static inline ag_graph *graphs_graph(ag_context *c)
{
    ag_graph *g = ag_graph_new(c);
    CHECK(g);
    harness_defer(graphs_free_graph, g);
    return g;
}

static inline ag_session *graphs_session(ag_graph *g, ag_backend backend)
{
    ag_session *s = ag_session_new(g, .backend = backend);
    CHECK(s);
    harness_defer(graphs_free_session, s);
    return s;
}

/* The value of one fetch; NULL when the run fails. FETCH(s, y, { x, v }, { w, u }) feeds x and w. */
static inline ag_tensor *graphs_fetch(ag_session *s, ag_tensor *fetch, const ag_feed *feeds, int n)
{
    ag_tensor *result = NULL;
    return ag_session_run(s, feeds, n, &fetch, 1, &result) ? result : NULL;
}
#define GRAPHS_FEEDS(...) ((const ag_feed[]){ { NULL, NULL }, __VA_ARGS__ } + 1)
#define GRAPHS_COUNT(...)                                                                          \
    ((int)(sizeof((const ag_feed[]){ { NULL, NULL }, __VA_ARGS__ }) / sizeof(ag_feed)) - 1)
#define FETCH(s, fetch, ...)                                                                       \
    graphs_fetch(s, fetch, GRAPHS_FEEDS(__VA_ARGS__), GRAPHS_COUNT(__VA_ARGS__))

/* Floats that follow each other and lie in [0.5, 2]; integers and bools 0, 1, 0, 1, ... */
static inline ag_tensor *graphs_numbers(ag_context *c, ag_dtype dtype, ag_ints shape)
{
    ag_tensor *t = ag_empty(c, shape, .dtype = dtype);
    if (!t)
        return NULL;
    void *data = ag_data(t);
    for (int64_t i = 0; i < ag_numel(t); i++) {
        const double v = 0.5 + (double)(i * 7 % 16) / 10;
        if (dtype == AG_F32)
            ((float *)data)[i] = (float)v;
        else if (dtype == AG_F64)
            ((double *)data)[i] = v;
        else if (dtype == AG_I64)
            ((int64_t *)data)[i] = i % 2;
        else
            ((bool *)data)[i] = i % 2 != 0;
    }
    return t;
}

static inline void graphs_same(const char *file, int line, const char *text, ag_tensor *t,
                               ag_tensor *expected)
{
    static unsigned char a[GRAPHS_MAX_BYTES], b[GRAPHS_MAX_BYTES]; /* static: a check jumps */
    if (!t || !expected)
        harness_fail(file, line, "%s or what it is compared with is NULL", text);
    bool same = ag_dtype_of(t) == ag_dtype_of(expected) && ag_ndim(t) == ag_ndim(expected);
    for (int d = 0; d < ag_ndim(t) && same; d++)
        same = ag_shape(t)[d] == ag_shape(expected)[d];
    if (!same)
        harness_fail(file, line, "%s has another dtype or shape than expected", text);
    const size_t bytes = (size_t)ag_numel(t) * ag_dtype_size(ag_dtype_of(t));
    if (bytes > GRAPHS_MAX_BYTES)
        harness_fail(file, line, "%s is too large to be compared", text);
    if (!ag_copy_out(t, a, bytes) || !ag_copy_out(expected, b, bytes))
        harness_fail(file, line, "%s cannot be read", text);
    for (size_t i = 0; i < bytes; i++)
        if (a[i] != b[i])
            harness_fail(file, line, "%s differs at element %zu", text,
                         i / ag_dtype_size(ag_dtype_of(t)));
}
/* t has the dtype, the shape and every bit of expected. */
#define CHECK_SAME(t, expected) graphs_same(__FILE__, __LINE__, #t, t, expected)

static inline void graphs_shape(const char *file, int line, const char *text, ag_tensor *t,
                                ag_ints shape)
{
    if (!t)
        harness_fail(file, line, "%s is NULL", text);
    harness_int(file, line, text, ag_ndim(t), shape.n);
    for (int d = 0; d < shape.n; d++)
        if (ag_size(t, d) != shape.data[d])
            harness_fail(file, line, "size %d of %s is %lld, expected %lld", d, text,
                         (long long)ag_size(t, d), (long long)shape.data[d]);
}
/* t has this shape; -1 is what is known only when the graph runs. */
#define CHECK_SHAPE(t, shape) graphs_shape(__FILE__, __LINE__, #t, t, shape)

#endif
