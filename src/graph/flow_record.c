/*
 * Loops and branches as instructions: their functions are traced into regions, and checked to keep
 * the types that loops need. What bodies use from outside becomes operands of the instruction.
 */
#include <string.h>

#include "flow.h"
#include "rules.h"

/* ---- shared ---- */

/* An instruction in the making: operands, the captured ones last, and types of the results. */
typedef struct {
    const char *op;
    ag__region *r;        /* where it will stand */
    ag__region_mark mark; /* of r as it was */
    int n_in, n_out;
    int32_t *in;       /* room for the operands that are given */
    ag__geometry *out; /* room for the results' types */
    size_t bytes;
} record_draft;

static bool record_begin(record_draft *d, const char *op, ag__region *r, int n_in, int n_out)
{
    const size_t types = (size_t)n_out * sizeof(ag__geometry);
    *d = (record_draft){ .op = op, .r = r, .n_in = n_in, .n_out = n_out };
    if (!r || !ag__graph_open(op, r->graph))
        return false;
    d->mark = ag__region_here(r);
    d->bytes = types + (size_t)n_in * sizeof(int32_t);
    d->out = ag__alloc(r->graph->c, d->bytes);
    if (!d->out)
        return false;
    d->in = (int32_t *)(void *)((char *)d->out + types);
    return true;
}

static bool record_operands(record_draft *d, int at, ag_tensor *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if ((d->in[at + i] = ag__region_operand(d->r, d->op, list[i])) < 0)
            return false;
    return true;
}

/* The end: the instruction, if all went well so far. Results belong to the innermost scope. */
static bool record_end(record_draft *d, bool ok, const ag__op *row, const ag__attrs *attrs,
                       ag__region *const *regions, int n_regions, ag_tensor **out)
{
    if (!d->out)
        return false;
    ag_context *c = d->r->graph->c;
    const int32_t *captured = NULL;
    const int n_captured = ok ? ag__trace_join(regions, n_regions, &captured) : -1;
    int32_t *in = n_captured < 0
                      ? NULL
                      : ag__graph_alloc(d->r->graph, (size_t)(d->n_in + n_captured) * sizeof *in);
    ok = in != NULL;
    if (ok) {
        memcpy(in, d->in, (size_t)d->n_in * sizeof *in);
        memcpy(in + d->n_in, captured, (size_t)n_captured * sizeof *in);
        const ag__inst like = { .op = row,
                                .n_in = d->n_in + n_captured,
                                .n_out = d->n_out,
                                .n_regions = n_regions,
                                .in = in,
                                .attrs = attrs,
                                .regions = regions };
        ok = ag__graph_infer(d->r, &like, d->out) && ag__record_in(d->r, &like, d->out, out);
    }
    if (!ok)
        ag__region_rewind(d->r, d->mark);
    for (int j = 0; j < d->n_out && ok; j++)
        ag__give(out[j]);
    ag__free(c, d->out, d->bytes);
    return ok;
}

/* ---- while ---- */

static bool record_cond_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const ag__while_call *w = arg;
    (void)m;
    out[0] = w->cond(in, n, w->options->user);
    return out[0] != NULL;
}

static bool record_body_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const ag__while_call *w = arg;
    (void)m;
    return w->body(in, n, out, w->options->user);
}

/* The shape that variable i has in every iteration: as it enters, or -1 where the invariants say
 * so. */
static bool record_invariant(const ag__while_call *w, int i, const ag_tensor *x, ag__geometry *g)
{
    ag__shape_text a, b;
    const ag_ints *wanted = w->options->shape_invariants ? &w->options->shape_invariants[i] : NULL;
    ag__geometry_set(g, (ag_dtype)x->dtype, ag__sizes(x));
    if (!wanted || wanted->n < 0)
        return true;
    bool fits = wanted->n == x->ndim;
    for (int d = 0; d < x->ndim && fits; d++) {
        fits = wanted->data[d] == -1 || wanted->data[d] == x->dims[d];
        g->shape[d] = wanted->data[d];
    }
    return fits ||
           ag_fail(x->c, AG_ERR_SHAPE,
                   "ag_while_loop: The shape invariant specified for variable %d is not compatible "
                   "with the initial shape of the loop variable. It enters the loop with shape %s, "
                   "but the specified shape invariant is %s.",
                   i, ag__shape_string(&a, ag__sizes(x)), ag__shape_string(&b, *wanted));
}

bool ag__while_record(const ag__while_call *w, ag_tensor *const *vars, ag_tensor **out)
{
    ag_context *c = vars[0]->c;
    ag__region *r =
        ag__any_symbolic(vars, w->n) ? ag__region_for("while_loop", vars, w->n) : w->symbolic;
    record_draft d;
    if (!record_begin(&d, "while_loop", r, w->n, w->n))
        return false;
    const size_t bytes = (size_t)w->n * sizeof(ag__type);
    ag__type *types = ag__alloc(c, bytes);
    bool ok = types && record_operands(&d, 0, vars, w->n);
    for (int i = 0; i < w->n && ok; i++) {
        ok = record_invariant(w, i, vars[i], &d.out[i]);
        types[i] = (ag__type){ d.out[i].dtype, { d.out[i].shape, d.out[i].ndim }, false };
    }
    ag__region *regions[2] = { NULL, NULL };
    ag_graph *g = r->graph;
    ok = ok &&
         (regions[1] = ag__trace("while_loop", g, r, types, w->n, record_cond_fn,
                                 (void *)(uintptr_t)w, 1)) &&
         (regions[0] = ag__trace("while_loop", g, r, types, w->n, record_body_fn,
                                 (void *)(uintptr_t)w, w->n));
    ag__free(c, types, bytes);
    const ag__attrs attrs = { .n = AG_FLOW_ATTRS,
                              .list = { [AG_FLOW_CARRY] = w->n,
                                        [AG_FLOW_LIMIT] = w->limit,
                                        [AG_FLOW_SNAPSHOTS] = w->options->snapshots,
                                        [AG_FLOW_LENGTH] = -1 } };
    return record_end(&d, ok, &ag__op_while, &attrs, regions, 2, out);
}

/* ---- branches ---- */

typedef struct {
    ag_fn fn;
    void *user;
} record_branch;

static bool record_branch_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const record_branch *b = arg;
    return b->fn(in, n, out, m, b->user);
}

bool ag__branches_record(const char *op, ag_tensor *index, const ag_fn *fns, int n_fns,
                         ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_context *c = index->c;
    record_draft d;
    if (!record_begin(&d, op, ag__region_for(op, &index, 1), 1 + n, m))
        return false;
    const size_t bytes = (size_t)n * sizeof(ag__type), r_bytes = (size_t)n_fns * sizeof(void *);
    ag__type *types = ag__alloc(c, bytes);
    ag__region **regions = types ? ag__alloc(c, r_bytes) : NULL;
    bool ok = regions && record_operands(&d, 0, &index, 1) && record_operands(&d, 1, in, n);
    for (int i = 0; i < n && ok; i++)
        types[i] = (ag__type){ (ag_dtype)in[i]->dtype, ag__sizes(in[i]), false };
    for (int k = 0; k < n_fns && ok; k++) {
        record_branch b = { fns[k], user };
        regions[k] = ag__trace(op, d.r->graph, d.r, types, n, record_branch_fn, &b, m);
        ok = regions[k] != NULL;
    }
    const ag__attrs attrs = { .i = { n } };
    const ag__op *row = !strcmp(op, "cond") ? &ag__op_cond : &ag__op_switch;
    ok = record_end(&d, ok, row, &attrs, regions, n_fns, out);
    ag__free(c, types, bytes);
    ag__free(c, regions, r_bytes);
    return ok;
}

/* ---- scan ---- */

static bool record_scan_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const ag__scan_call *s = arg;
    (void)n, (void)m;
    return s->fn(in, s->n, in + s->n, s->k, out, out + s->n, s->m, s->options->user);
}

/* Parameters of the body: the carry, and a step of each x. */
static bool record_scan_types(const ag__scan_call *s, ag__type *types)
{
    for (int j = 0; j < s->n; j++)
        types[j] = (ag__type){ (ag_dtype)s->init[j]->dtype, ag__sizes(s->init[j]), false };
    for (int j = 0; j < s->k; j++)
        types[s->n + j] = (ag__type){ (ag_dtype)s->xs[j]->dtype,
                                      { s->xs[j]->dims + 1, s->xs[j]->ndim - 1 },
                                      false };
    return true;
}

static bool record_scan_in(const ag__scan_call *s, ag__region *r, ag_tensor **out)
{
    record_draft d;
    if (!record_begin(&d, "scan", r, s->n + s->k, s->n + s->m))
        return false;
    const size_t bytes = (size_t)(s->n + s->k) * sizeof(ag__type);
    ag__type *types = ag__alloc(s->c, bytes);
    ag__region *body = NULL;
    const bool ok = types && record_operands(&d, 0, s->init, s->n) &&
                    record_operands(&d, s->n, s->xs, s->k) && record_scan_types(s, types) &&
                    (body = ag__trace("scan", r->graph, r, types, s->n + s->k, record_scan_fn,
                                      (void *)(uintptr_t)s, s->n + s->m));
    ag__free(s->c, types, bytes);
    const int64_t wanted = s->options->length; /* of xs whose length is not known */
    const int64_t length = s->k == 0 ? s->length : s->length < 0 && wanted > 0 ? wanted : -1;
    const ag__attrs attrs = { .n = AG_FLOW_ATTRS,
                              .list = { [AG_FLOW_CARRY] = s->n,
                                        [AG_FLOW_XS] = s->k,
                                        [AG_FLOW_YS] = s->m,
                                        [AG_FLOW_REVERSE] = s->options->reverse,
                                        [AG_FLOW_LENGTH] = length } };
    return record_end(&d, ok, &ag__op_scan, &attrs, &body, 1, out);
}

bool ag__scan_record(const ag__scan_call *s, ag_tensor **carry_out, ag_tensor **ys)
{
    const size_t bytes = (size_t)(s->n + s->m) * sizeof(ag_tensor *);
    ag_tensor **out = ag__alloc(s->c, bytes);
    if (!out)
        return false;
    ag__region *r = ag__region_for("scan", s->init, s->n);
    if (!r && !ag__any_symbolic(s->init, s->n))
        r = ag__region_for("scan", s->xs, s->k);
    const bool ok = r && record_scan_in(s, r, out);
    for (int j = 0; j < s->n && ok; j++)
        carry_out[j] = out[j];
    for (int j = 0; j < s->m && ok; j++)
        ys[j] = out[s->n + j];
    ag__free(s->c, out, bytes);
    return ok;
}

bool ag__scan_empty(const ag__scan_call *s, ag_tensor **ys)
{
    ag_graph *g = ag__graph_new(s->c, false);
    const size_t bytes = (size_t)(s->n + s->m) * sizeof(ag_tensor *);
    ag_tensor **out = g ? ag__alloc(s->c, bytes) : NULL;
    ag_scope scope;
    bool ok = out != NULL;
    ag__bracket_begin(&scope, s->c);
    ok = ok && record_scan_in(s, &g->main, out);
    for (int j = 0; j < s->m && ok; j++) {
        const ag_tensor *y = out[s->n + j];
        for (int d = 0; d < y->ndim && ok; d++)
            ok = y->dims[d] >= 0 ||
                 ag_fail(s->c, AG_ERR_SHAPE, "ag_scan: without steps the shape of y %d is unknown",
                         j);
        ys[j] = ok ? ag_zeros(s->c, ag__sizes(y), .dtype = (ag_dtype)y->dtype) : NULL;
        ok = ys[j] != NULL;
        if (ok)
            ag_keep(ys[j]);
    }
    ag__bracket_end(&scope);
    ag__free(s->c, out, bytes);
    ag_graph_free(g);
    return ok;
}
