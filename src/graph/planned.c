/*
 * From a function to a plan, see planned.h. What the program has switched on for its own calls
 * (gradients, inference, anomaly mode, hooks for saved values) is off while a function is traced.
 */
#include "planned.h"

#include <string.h>

/* Parameters and results of g's main region around a call of fn. */
static bool planned_trace(ag_graph *g, const char *op, const ag__type *params, int n,
                          ag__traced_fn *fn, void *arg, ag_tensor **lists, int m)
{
    ag__region *r = &g->main;
    ag_tensor **in = lists, **out = lists + n;
    int32_t *outs = ag__graph_alloc(g, (size_t)m * sizeof *outs);
    for (int i = 0; i < n; i++) {
        const int32_t v = ag__region_param(r, params[i].dtype, params[i].shape, params[i].number);
        if (v < 0 || !(in[i] = ag__give(ag__symbol_new(r, v))))
            return false;
    }
    if (!outs || !fn(arg, in, n, out, m))
        return false;
    for (int j = 0; j < m; j++)
        if ((outs[j] = ag__region_operand(r, op, out[j])) < 0)
            return false;
    return ag__region_set_outs(r, outs, m);
}

ag_graph *ag__traced_new(ag_context *c, const char *op, const ag__type *params, int n,
                         ag__traced_fn *fn, void *arg, int m)
{
    const size_t bytes = (size_t)(n + m) * sizeof(ag_tensor *);
    ag_graph *g = ag__graph_new(c, true);
    ag_tensor **lists = g ? ag__alloc(c, bytes) : NULL;
    ag__region *const around = c->tracing;
    struct ag__saved_hooks *const hooks = c->saved_hooks;
    const bool anomaly = c->anomaly, inference = c->inference, grad = c->grad_enabled;
    ag_scope s;
    ag__bracket_begin(&s, c);
    c->tracing = g ? &g->main : NULL;
    c->saved_hooks = NULL;
    c->anomaly = c->inference = c->grad_enabled = false;
    const bool ok = lists && planned_trace(g, op, params, n, fn, arg, lists, m);
    c->grad_enabled = grad;
    c->inference = inference;
    c->anomaly = anomaly;
    c->saved_hooks = hooks;
    c->tracing = around;
    ag__bracket_end(&s);
    ag__free(c, lists, bytes);
    if (ok)
        return g;
    ag_graph_free(g);
    return NULL;
}

ag__plan *ag__planned(ag_graph *g, const int32_t *into, const ag__planning *how)
{
    ag__planning plan = *how;
    plan.off |= into ? AG__PASS_ORDER : 0;
    g = g ? ag__optimize(g, &plan) : NULL;
    if (!g)
        return NULL;
    const int m = g->main.n_outs;
    int32_t *all = into ? NULL : ag__graph_alloc(g, (size_t)m * sizeof *all);
    if (!into && !all) {
        ag_graph_free(g);
        return NULL;
    }
    for (int j = 0; j < m && !into; j++)
        all[j] = -1;
    return ag__plan_new(g, into ? into : all, how->off);
}

bool ag__planning_refused(ag_context *c, ag__quiet *q, bool ok)
{
    const ag_code code = c->status.code;
    if (ok || code == AG_ERR_MEMORY || code == AG_ERR_CANCELLED) {
        ag__quiet_tell(q, c);
        return false;
    }
    ag__quiet_forget(q, c);
    return true;
}
