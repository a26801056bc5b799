/*
 * Every row of the operation table, and the public functions made of several, on symbolic operands: the
 * samples of samples.def and all pointwise rows, a test for each.
 *
 * In a traced graph, whose tensors have nodes, the engine itself takes derivatives of symbolic tensors.
 * Replayed on data that must give the bits of the same passes on data. In a recorded graph a session
 * must do so, with placeholders of the operands' shapes and with nothing but their ranks known; there all
 * tensors are symbolic, those too that a sample makes of data.
 */
#include "graphs.h"
#include "samples.h"

#include "graph/replay.h"
#include "ops/pointwise.h"

#include <stdlib.h>

enum { MAX_IN = SAMPLE_MAX_OPERANDS, SEED = 5 };

/* A sample, or a pointwise row called with operands of its domain. */
typedef struct {
    const char *name;
    const sample *s;
    const ag__op *op;
    int n;
    bool integral;
} subject;

static subject subject_sample(const sample *s)
{
    return (subject){ s->name, s, NULL, sample_operands(s), s->traits & INTEGRAL };
}

static subject subject_row(int row)
{
    const ag__op *op = ag__ops[row];
    return (subject){ op->name, NULL, op, op->n_in, !op->vjp };
}

static ag_tensor *call(const subject *t, ag_context *c, ag_tensor *const *x)
{
    if (t->s)
        return t->s->call(c, x);
    const bool bounds = t->op == ag__ops[AG_OP_clamp] || t->op == ag__ops[AG_OP_hardtanh];
    return ag__run1(t->op, x, t->n,
                    &(ag__attrs){ .p = bounds ? -.875 : 1, .q = bounds ? .875 : 2 });
}

/* The operands, which are leaves. */
static void leaves(ag_context *c, const subject *t, ag_tensor **x)
{
    const ag_ints shapes[MAX_IN] = { AG_SHAPE(2, 3), AG_SHAPE(3), AG_SHAPE(2, 1) };
    if (t->s) {
        sample_leaves(c, t->s, LAYOUT_DENSE, x);
        return;
    }
    for (int i = 0; i < t->n; i++) {
        const ag__pointwise *row = t->op->pointwise;
        x[i] = ag_rand(c, shapes[i], .dtype = AG_F64);
        CHECK(x[i]);
        double *v = ag_data(x[i]);
        for (int64_t k = 0; k < ag_numel(x[i]) && row->lo < row->hi; k++)
            v[k] = row->lo + (row->hi - row->lo) * v[k];
        ag_requires_grad_(x[i], true);
    }
}

/* Fixed numbers in the shape and dtype of t. */
static ag_tensor *cotangent(ag_context *c, ag_tensor *t)
{
    ag_tensor *v = graphs_numbers(c, AG_F64, (ag_ints){ ag_shape(t), ag_ndim(t) });
    return v ? ag_to(v, ag_dtype_of(t)) : NULL;
}

/* ---- comparison ---- */

/* The same dtype and shape, and the same bits or, with a tolerance, values. */
static void check_same(const subject *t, const char *what, ag_tensor *a, ag_tensor *b,
                       double tolerance)
{
    static union {
        double f64[512];
        float f32[512];
        unsigned char bytes[4096];
    } va, vb;
    if (!a || !b)
        FAIL("%s: %s is NULL", t->name, what);
    bool same = ag_ndim(a) == ag_ndim(b) && ag_dtype_of(a) == ag_dtype_of(b);
    for (int i = 0; i < ag_ndim(a) && same; i++)
        same = ag_shape(a)[i] == ag_shape(b)[i];
    if (!same)
        FAIL("%s: %s has another shape or dtype", t->name, what);
    const size_t bytes = (size_t)ag_numel(a) * ag_dtype_size(ag_dtype_of(a));
    CHECK(bytes <= sizeof va);
    CHECK(ag_copy_out(a, va.bytes, bytes) && ag_copy_out(b, vb.bytes, bytes));
    if (memcmp(va.bytes, vb.bytes, bytes) == 0)
        return;
    if (tolerance == 0 || ag_dtype_of(a) > AG_F64)
        FAIL("%s: %s differs", t->name, what);
    for (int64_t i = 0; i < ag_numel(a); i++) {
        const bool wide = ag_dtype_of(a) == AG_F64;
        const double x = wide ? va.f64[i] : (double)va.f32[i];
        const double y = wide ? vb.f64[i] : (double)vb.f32[i];
        if (!harness_is_close(x, y, wide ? tolerance : 1e-5))
            FAIL("%s: element %lld of %s is %.17g, not %.17g", t->name, (long long)i, what, x, y);
    }
}

/* ---- a subject's values ---- */

/* What they are taken with, of which symbolic stand-ins are made. */
typedef struct {
    ag_tensor *x[MAX_IN], *v, *u[MAX_IN]; /* cotangents of y and of the gradients */
} inputs;

enum {
    Y,      /* the result */
    G,      /* its gradients, */
    AGAIN,  /* with a graph, */
    SECOND, /* and gradients of these */
    VALUE,  /* beside a tangent */
    TANGENT,
    WHATS
};
static const char *const what_names[WHATS] = { "the result",         "a gradient",
                                               "a gradient's graph", "a second gradient",
                                               "the primal",         "a tangent" };
typedef ag_tensor *values[WHATS][MAX_IN];

static bool call_fn(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return (out[0] = call(user, ag_context_of(in[0]), in)) != NULL;
}

/* Gradients of gradients where some depend on an operand still. */
static bool take_second(const subject *t, const inputs *in, values r)
{
    ag_tensor *g[MAX_IN], *u[MAX_IN];
    int n = 0;
    for (int i = 0; i < t->n; i++)
        if (r[AGAIN][i] && ag_requires_grad(r[AGAIN][i])) {
            g[n] = r[AGAIN][i];
            u[n++] = in->u[i];
        }
    return n == 0 || ag_grad(g, n, in->x, t->n, r[SECOND], .grad_outputs = u, .allow_unused = true);
}

static bool take_gradients(subject *t, ag_context *c, const inputs *in, values r)
{
    ag_tensor *y = r[Y][0] = call(t, c, in->x);
    if (!y || !ag_requires_grad(y) || ag_numel(y) < 0)
        return y != NULL;
    return ag_grad(&y, 1, in->x, t->n, r[G], .grad_outputs = &in->v, .retain_graph = true,
                   .allow_unused = true) &&
           ag_grad(&y, 1, in->x, t->n, r[AGAIN], .grad_outputs = &in->v, .create_graph = true,
                   .allow_unused = true) &&
           take_second(t, in, r);
}

static bool take_tangent(subject *t, ag_context *c, const inputs *in, values r)
{
    (void)c;
    return ag_jvp(call_fn, in->x, t->n, in->u, r[VALUE], 1, r[TANGENT], t);
}

static void make_inputs(ag_context *c, const subject *t, inputs *in)
{
    *in = (inputs){ .v = NULL };
    leaves(c, t, in->x);
    ag_tensor *y = call(t, c, in->x);
    CHECK(y);
    CHECK(in->v = cotangent(c, y));
    for (int i = 0; i < t->n; i++)
        CHECK(in->u[i] = cotangent(c, in->x[i]));
}

/* ---- traced graphs ---- */

static ag_tensor *param(ag_graph *g, ag_tensor *t, ag_tensor **args, int *n)
{
    const ag_ints shape = { ag_shape(t), ag_ndim(t) };
    const int32_t v = ag__region_param(&g->main, ag_dtype_of(t), shape, false);
    ag_tensor *p = v < 0 ? NULL : ag__give(ag__symbol_new(&g->main, v));
    CHECK(p);
    if (ag_requires_grad(t))
        p->flags |= AG_T_REQUIRES_GRAD;
    args[(*n)++] = t;
    return p;
}

/* Replays the main region; results[k] is the value of outs[k]. */
static void replay(ag_context *c, const subject *t, ag_graph *g, ag_tensor *const *args,
                   ag_tensor *const *outs, int n, ag_tensor **results)
{
    int32_t numbers[WHATS * MAX_IN];
    for (int k = 0; k < n; k++)
        CHECK((numbers[k] = ag__region_operand(&g->main, "test", outs[k])) >= 0);
    CHECK(ag__region_set_outs(&g->main, numbers, n));
    ag_manual_seed(c, SEED);
    if (!ag__region_call(c, &g->main, args, results, false))
        FAIL("%s: the traced graph does not run", t->name);
    for (int k = 0; k < n; k++) {
        CHECK(ag__lend(results[k])); /* it may be one of args */
        ag_release(results[k]);
    }
}

/* What of the values is computed eagerly by a fused loop, in a graph by a composition; and what may be
 * multiplied in another order. */
static double tolerance(const subject *t, int what)
{
    return (what == G && !t->s) || (t->s && t->s->traits & ROUNDS && what == SECOND) ? 1e-12 : 0;
}

static void check_traced(ag_context *c, subject *t,
                         bool (*take)(subject *, ag_context *, const inputs *, values))
{
    inputs in, symbols = { .v = NULL };
    values eager = { { NULL } }, traced = { { NULL } };
    ag_tensor *args[2 * MAX_IN + 1], *outs[WHATS * MAX_IN], *results[WHATS * MAX_IN];
    int n_args = 0, n = 0;
    make_inputs(c, t, &in);
    CHECK(take(t, c, &in, eager));
    ag_graph *g = ag__graph_new(c, true);
    CHECK(g);
    harness_defer(graphs_free_graph, g);
    for (int i = 0; i < t->n; i++) {
        symbols.x[i] = param(g, in.x[i], args, &n_args);
        symbols.u[i] = param(g, in.u[i], args, &n_args);
    }
    symbols.v = param(g, in.v, args, &n_args);
    if (!take(t, c, &symbols, traced))
        FAIL("%s: it cannot be traced", t->name);
    const bool unknown = traced[Y][0] && ag_numel(traced[Y][0]) < 0; /* as of what a mask selects */
    for (int w = 0; w < WHATS; w++)
        for (int i = 0; i < t->n; i++) {
            if (!traced[w][i] != !eager[w][i] && !unknown)
                FAIL("%s: %s is there, but not %s", t->name, what_names[w],
                     traced[w][i] ? "eagerly" : "in the traced graph");
            if (traced[w][i])
                outs[n++] = traced[w][i];
        }
    replay(c, t, g, args, outs, n, results);
    n = 0;
    for (int w = 0; w < WHATS; w++)
        for (int i = 0; i < t->n; i++)
            if (traced[w][i])
                check_same(t, what_names[w], results[n++], eager[w][i], tolerance(t, w));
}

/* A gradient that was traced without a graph is a region like any other: replayed in a second traced graph
 * it is differentiated there, as those of bodies and branches are. */
static void check_retraced(ag_context *c, subject *t)
{
    inputs in, first = { .v = NULL }, again = { .v = NULL };
    values eager = { { NULL } };
    ag_tensor *args[2][2 * MAX_IN + 1], *symbols[2 * MAX_IN + 1], *g[MAX_IN], *u[MAX_IN];
    ag_tensor *seconds[MAX_IN] = { NULL }, *results[MAX_IN];
    int32_t outs[MAX_IN];
    int n_args[2] = { 0, 0 }, n = 0, n_outs = 0, n_results = 0;
    make_inputs(c, t, &in);
    CHECK(take_gradients(t, c, &in, eager));
    ag_graph *graphs[2];
    inputs *const stand_ins[2] = { &first, &again };
    for (int k = 0; k < 2; k++) {
        CHECK(graphs[k] = ag__graph_new(c, true));
        harness_defer(graphs_free_graph, graphs[k]);
        for (int i = 0; i < t->n; i++) {
            stand_ins[k]->x[i] = param(graphs[k], in.x[i], args[k], &n_args[k]);
            stand_ins[k]->u[i] = param(graphs[k], in.u[i], args[k], &n_args[k]);
        }
        stand_ins[k]->v = param(graphs[k], in.v, args[k], &n_args[k]);
    }
    ag_tensor *y = call(t, c, first.x);
    CHECK(y);
    if (!ag_requires_grad(y) || ag_numel(y) < 0)
        return;
    CHECK(ag_grad(&y, 1, first.x, t->n, g, .grad_outputs = &first.v, .allow_unused = true));
    for (int i = 0; i < t->n; i++)
        if (g[i]) {
            CHECK((outs[n_outs] = ag__region_operand(&graphs[0]->main, "test", g[i])) >= 0);
            u[n_outs++] = again.u[i];
        }
    CHECK(ag__region_set_outs(&graphs[0]->main, outs, n_outs));
    for (int i = 0; i < t->n; i++) {
        symbols[2 * i] = again.x[i];
        symbols[2 * i + 1] = again.u[i];
    }
    symbols[2 * t->n] = again.v;
    CHECK(ag__region_call(c, &graphs[0]->main, symbols, g, true));
    for (int k = 0; k < n_outs; k++)
        ag__settle(g[k]);
    for (int k = 0; k < n_outs; k++)
        if (ag_requires_grad(g[k])) {
            g[n] = g[k];
            u[n++] = u[k];
        }
    if (n && !ag_grad(g, n, again.x, t->n, seconds, .grad_outputs = u, .allow_unused = true))
        FAIL("%s: a traced gradient cannot be differentiated", t->name);
    for (int i = 0; i < t->n; i++)
        if (seconds[i])
            g[n_results++] = seconds[i];
    replay(c, t, graphs[1], args[1], g, n_results, results);
    for (int i = 0, k = 0; i < t->n; i++) {
        ag_tensor *zeros = ag_zeros_like(in.x[i]);
        CHECK(zeros);
        if (seconds[i] || eager[SECOND][i])
            check_same(t, "a second gradient of a traced one", seconds[i] ? results[k++] : zeros,
                       eager[SECOND][i] ? eager[SECOND][i] : zeros, 1e-11);
    }
}

/* ---- recorded graphs ---- */

/* A size that was said is the one that comes. */
static void check_said(const subject *t, ag_tensor *said, ag_tensor *y)
{
    bool ok = ag_ndim(said) == ag_ndim(y) && ag_dtype_of(said) == ag_dtype_of(y);
    for (int d = 0; d < ag_ndim(y) && ok; d++)
        ok = ag_shape(said)[d] == -1 || ag_shape(said)[d] == ag_shape(y)[d];
    if (!ok)
        FAIL("%s: the graph said another shape or dtype", t->name);
}

static ag_tensor *placeholder(ag_graph *g, ag_tensor *like, bool unknown)
{
    int64_t sizes[AG_MAX_DIMS];
    for (int d = 0; d < ag_ndim(like); d++)
        sizes[d] = unknown ? -1 : ag_shape(like)[d];
    return ag_placeholder(g, ag_dtype_of(like), ((ag_ints){ sizes, ag_ndim(like) }));
}

/* Only a run knows how many elements a mask takes. */
static bool has_data_for_shape(const sample *s)
{
    return s && (s->row == AG_OP_masked_select || strncmp(s->name, "index_mask", 10) == 0);
}

static void check_recorded(ag_context *c, const subject *t, bool unknown)
{
    inputs in, symbols = { .v = NULL };
    ag_tensor *fetches[1 + MAX_IN], *results[1 + MAX_IN] = { NULL }, *gradients[MAX_IN];
    make_inputs(c, t, &in);
    ag_tensor *y = call(t, c, in.x);
    CHECK(y);
    ag_graph *g = graphs_graph(c);
    ag_feed feeds[MAX_IN + 1];
    for (int i = 0; i < t->n; i++) {
        CHECK(symbols.x[i] = placeholder(g, in.x[i], unknown));
        feeds[i] = (ag_feed){ symbols.x[i], in.x[i] };
    }
    CHECK(symbols.v = placeholder(g, in.v, unknown));
    feeds[t->n] = (ag_feed){ symbols.v, in.v };
    fetches[0] = call(t, c, symbols.x);
    if (!fetches[0] && unknown && ag_error(c) && ag_error(c)->code == AG_ERR_SHAPE &&
        strstr(ag_error(c)->message, "must be known in a graph")) {
        ag_error_clear(c);
        return;
    }
    if (!fetches[0])
        FAIL("%s: it cannot be recorded", t->name);
    if (!ag_is_symbolic(fetches[0])) /* made of data that the sample holds */
        return;
    check_said(t, fetches[0], y);
    const bool differentiates = ag_requires_grad(y);
    if (differentiates)
        CHECK(ag_grad(&y, 1, in.x, t->n, gradients, .grad_outputs = &in.v, .allow_unused = true) &&
              ag_grad(fetches, 1, symbols.x, t->n, fetches + 1, .grad_outputs = &symbols.v,
                      .materialize_grads = true));
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_manual_seed(c, SEED);
        ag_session *s = graphs_session(g, graphs_backend[k]);
        ag_session_statistics stats;
        if (!ag_session_run(s, feeds, t->n + 1, fetches, differentiates ? 1 + t->n : 1, results))
            FAIL("%s: the graph does not run", t->name);
        ag_session_stats(s, &stats);
        if (stats.plans == 0 && k > 0 && !unknown && !has_data_for_shape(t->s))
            FAIL("%s: the graph was not planned, though its shapes are known", t->name);
        const double near = graphs_backend[k] == AG_BACKEND_INTERPRET ? 0 : 1e-12;
        check_same(t, "the session's result", results[0], y, near);
        for (int i = 0; i < t->n && differentiates; i++)
            if (gradients[i])
                check_same(t, "the session's gradient", results[1 + i], gradients[i], near);
    }
}

/* ---- the tests ---- */

/* When memory fails, an eighth of the tests are enough. */
static void check(ag_context *c, subject t, int number)
{
    if (harness_faults() && number % 8)
        return;
    AG_SCOPE (c)
        check_traced(c, &t, take_gradients);
    AG_SCOPE (c)
        if (!t.integral)
            check_traced(c, &t, take_tangent);
    AG_SCOPE (c)
        if (!t.integral && !harness_faults())
            check_retraced(c, &t);
    if (harness_faults())
        return;
    AG_SCOPE (c)
        check_recorded(c, &t, false);
    AG_SCOPE (c)
        if (!t.s ||
            t.s - samples != SAMPLE_squeeze_nothing) /* a size that is taken for 1, and is 3 */
            check_recorded(c, &t, true);
}

/* Views of data: there is no storage to look into. */
static bool reads_storage(const sample *s) { return s->row == AG_OP_as_strided; }

static void check_sample(ag_context *c, int number)
{
    const sample *s = &samples[number];
    if (!reads_storage(s)) {
        check(c, subject_sample(s), number);
        return;
    }
    ag_tensor *x[SAMPLE_MAX_OPERANDS];
    sample_leaves(c, s, LAYOUT_DENSE, x);
    ag_tensor *p = placeholder(graphs_graph(c), x[0], false);
    CHECK(p);
    CHECK_ERROR(s->call(c, &p), AG_ERR_GRAPH, "ag_as_strided: the tensor is symbolic");
}

#define SAMPLE(name, row, shapes, traits, call)                                                    \
    static void t_##name(ag_context *c) { check_sample(c, SAMPLE_##name); }
#include "samples.def"

#define PREDICATE1(name, value)                                                                    \
    static void t_row_##name(ag_context *c) { check(c, subject_row(AG_OP_##name), AG_OP_##name); }
#define PREDICATE2(name, value) PREDICATE1(name, )
#define UNARY(name, ...) PREDICATE1(name, )
#define BINARY(name, ...) PREDICATE1(name, )
#define TERNARY(name, ...) PREDICATE1(name, )
#define STRUCTURED(name)
#include "ops/ops.def"

static const harness_test tests[] = {
#define SAMPLE(name, row, shapes, traits, call) TEST(t_##name),
#include "samples.def"
#define PREDICATE1(name, value) TEST(t_row_##name),
#define PREDICATE2(name, value) TEST(t_row_##name),
#define UNARY(name, ...) TEST(t_row_##name),
#define BINARY(name, ...) TEST(t_row_##name),
#define TERNARY(name, ...) TEST(t_row_##name),
#define STRUCTURED(name)
#include "ops/ops.def"
};

int main(int argc, char **argv)
{
    return harness_run(argc, argv, tests, (int)(sizeof tests / sizeof *tests));
}
