/*
 * Tracing: a function of the program is called once, with symbolic tensors, and what it records
 * becomes a region.
 */
#include <string.h>

#include "../autograd/backward.h"
#include "graph.h"

/* Symbolic tensors of the innermost scope for new parameters of r. */
static bool trace_params(ag__region *r, const ag__type *params, int n, ag_tensor **in)
{
    for (int i = 0; i < n; i++) {
        const int32_t v = ag__region_param(r, params[i].dtype, params[i].shape, params[i].number);
        in[i] = v < 0 ? NULL : ag__give(ag__symbol_new(r, v));
        if (!in[i])
            return false;
    }
    return true;
}

static bool trace_outs(ag__region *r, const char *op, ag_tensor *const *out, int m)
{
    ag_context *c = r->graph->c;
    const size_t bytes = (size_t)m * sizeof(int32_t);
    int32_t *outs = ag__alloc(c, bytes);
    bool ok = outs != NULL;
    for (int j = 0; j < m && ok; j++) {
        if (!out[j])
            ok = ag_fail(c, AG_ERR_VALUE, "ag_%s: a function did not give its result %d", op, j);
        outs[j] = ok ? ag__region_operand(r, op, out[j]) : -1;
        ok = outs[j] >= 0;
    }
    ok = ok && ag__region_set_outs(r, outs, m);
    ag__free(c, outs, bytes);
    return ok;
}

static bool trace_call(ag__region *r, const char *op, ag__traced_fn *fn, void *arg,
                       const ag__type *params, int n, int m)
{
    ag_context *c = r->graph->c;
    const size_t bytes = (size_t)(n + m) * sizeof(ag_tensor *);
    ag_tensor **in = ag__alloc(c, bytes), **out = in ? in + n : NULL;
    if (!in)
        return false;
    for (int j = 0; j < m; j++)
        out[j] = NULL;
    const bool ok = trace_params(r, params, n, in) &&
                    (fn(arg, in, n, out, m) ||
                     ag_fail(c, AG_ERR_VALUE, "ag_%s: a function failed without an error", op)) &&
                    trace_outs(r, op, out, m);
    ag__free(c, in, bytes);
    return ok;
}

ag__region *ag__trace(const char *op, ag_graph *g, ag__region *parent, const ag__type *params,
                      int n, ag__traced_fn *fn, void *arg, int m)
{
    ag_context *c = g->c;
    ag__region *const around = c->tracing;
    ag__region *r = ag__region_new(g, parent);
    if (!r)
        return NULL;
    ag_scope s;
    const bool inference = c->inference;
    ag__bracket_begin(&s, c);
    c->tracing = r;
    c->inference = false;
    g->recording++;
    const bool ok = trace_call(r, op, fn, arg, params, n, m);
    g->recording--;
    c->inference = inference;
    c->tracing = around;
    ag__bracket_end(&s);
    return ok ? r : NULL;
}

/* The captured values in the order of `all`, which holds those of r. False when out of memory. */
static bool trace_spread(ag__region *r, const int32_t *all, int n_all)
{
    ag_context *c = r->graph->c;
    const int own = r->n_params - r->n_captured, n = r->n_captured;
    const size_t bytes = (size_t)n * sizeof(int32_t);
    int32_t *old = ag__alloc(c, 2 * bytes), *of = old ? old + n : NULL;
    bool ok = old != NULL;
    if (ok && n) {
        memcpy(old, r->params + own, bytes);
        memcpy(of, r->captured, bytes);
    }
    r->n_params = own;
    for (int i = 0; i < n_all && ok; i++) {
        int k = 0;
        while (k < n && of[k] != all[i])
            k++;
        const ag__value v = r->parent->values[all[i]];
        const int32_t param = ag__region_param(r, (ag_dtype)v.dtype, ag__value_shape(&v), v.number);
        ok = param >= 0;
        if (ok && k < n)
            r->params[r->n_params - 1] = old[k];
    }
    ag__free(c, old, 2 * bytes);
    return ok;
}

int ag__trace_join(ag__region *const *regions, int n, const int32_t **captured)
{
    ag_graph *g = regions[0]->graph;
    int room = 0, n_all = 0;
    for (int k = 0; k < n; k++)
        room += regions[k]->n_captured;
    int32_t *all = ag__graph_alloc(g, (size_t)room * sizeof *all);
    if (!all)
        return -1;
    for (int k = 0; k < n; k++)
        for (int i = 0; i < regions[k]->n_captured; i++) {
            int at = 0;
            while (at < n_all && all[at] != regions[k]->captured[i])
                at++;
            all[at] = regions[k]->captured[i];
            n_all += at == n_all;
        }
    for (int k = 0; k < n; k++)
        if (!trace_spread(regions[k], all, n_all))
            return -1;
    *captured = all;
    return n_all;
}

/* ---- without a region of its own ---- */

bool ag__attempt(const char *op, ag_tensor *const *in, int n, bool (*fn)(void *arg), void *arg)
{
    ag__region *r = ag__region_for(op, in, n);
    if (!r || !ag__graph_open(op, r->graph))
        return false;
    const ag__region_mark mark = ag__region_here(r);
    const int32_t fixed = r->n_fixed;
    r->n_fixed = mark.n_values;
    r->graph->recording++;
    const bool ok = fn(arg);
    r->graph->recording--;
    r->n_fixed = fixed;
    if (!ok)
        ag__region_rewind(r, mark);
    return ok;
}
