/*
 * Loops and branches while a recorded graph is traced for known shapes. Bodies are traced again,
 * for the shapes that their variables have; all that they use is a parameter of theirs.
 *
 * A traced `while` has one variable more than the recorded one: it counts the iterations, for the
 * loop that takes its derivative back (flow_rule.c). Where nobody needs it, it is pruned.
 */
#include <string.h>

#include "rules.h"
#include "traced.h"

/* ---- instructions with nodes ---- */

static bool traced_attach(ag_context *c, const ag__flow *f, ag__flow_place place, ag_tensor **out)
{
    ag_node *n = ag__node_new(c, &ag__flow_node_op, f->n_in, out, f->n_out, f->n_in, sizeof place);
    if (!n)
        return false;
    memcpy(ag__node_payload(n), &place, sizeof place);
    bool ok = true;
    for (int i = 0; i < f->n_in && ok; i++)
        ok = ag__saved_set(n, i, f->in[i], AG_SAVED_INPUT, i);
    ok = ok && ag__node_connect(n, f->in);
    for (int j = 0; j < f->n_out && ok; j++)
        if (ag__is_float((ag_dtype)out[j]->dtype))
            ag__node_adopt(n, j, out[j]);
    ag__node_unref(n);
    return ok;
}

static bool traced_operands(ag__region *r, const ag__flow *f, int32_t *in)
{
    for (int i = 0; i < f->n_in; i++)
        if ((in[i] = ag__region_operand(r, f->op->name, f->in[i])) < 0)
            return false;
    for (int k = 0; k < f->n_regions; k++)
        if (f->regions[k]->n_captured)
            return ag_fail(r->graph->c, AG_ERR_INTERNAL, "a traced body captured a value");
    return true;
}

bool ag__traced_flow(ag_context *c, const ag__flow *f, ag_tensor **out)
{
    ag__region *r = c->tracing;
    const size_t bytes = (size_t)f->n_in * sizeof(int32_t);
    int32_t *in = ag__alloc(c, bytes);
    if (!in)
        return false;
    bool ok = traced_operands(r, f, in) && ag__record_in(r,
                                                         &(ag__inst){ .op = f->op,
                                                                      .n_in = f->n_in,
                                                                      .n_out = f->n_out,
                                                                      .n_regions = f->n_regions,
                                                                      .in = in,
                                                                      .attrs = f->attrs,
                                                                      .regions = f->regions },
                                                         f->types, out);
    ag__free(c, in, bytes);
    if (!ok)
        return false;
    bool wanted = false;
    for (int i = 0; i < f->n_in; i++)
        wanted = wanted || ag__wants_grad(f->in[i]);
    if (!wanted || !c->grad_enabled ||
        traced_attach(c, f, (ag__flow_place){ r, r->n_insts - 1 }, out))
        return true;
    for (int j = 0; j < f->n_out; j++)
        ag__tensor_unref(out[j]);
    return false;
}

/* ---- bodies ---- */

/* A function that replays a recorded region, and counts when there is one variable more. */
typedef struct {
    ag_context *c;
    const ag__region *region;
    int n_carry; /* of the recorded loop; -1: nothing is counted */
} traced_body;

static bool traced_body_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const traced_body *b = arg;
    const int counts = b->n_carry >= 0, n_own = n - counts;
    const size_t bytes = (size_t)n * sizeof(ag_tensor *);
    ag_tensor **args = ag__alloc(b->c, bytes);
    if (!args)
        return false;
    for (int i = 0; i < n_own; i++) /* the counter stands behind the variables */
        args[i] = in[counts && i >= b->n_carry ? i + 1 : i];
    bool ok = ag__region_call(b->c, b->region, args, out, false);
    for (int j = 0; j < m - counts && ok; j++)
        ag__settle(out[j]);
    ag__free(b->c, args, bytes);
    if (ok && counts && m == b->n_carry + 1) {
        out[m - 1] = ag_add(in[b->n_carry], 1);
        ok = out[m - 1] != NULL;
    }
    return ok;
}

/* A condition has one result, and the parameters of its body. */
static bool traced_cond_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)m;
    const traced_body *b = arg;
    const size_t bytes = (size_t)n * sizeof(ag_tensor *);
    ag_tensor **args = ag__alloc(b->c, bytes);
    if (!args)
        return false;
    for (int i = 0; i < n - 1; i++)
        args[i] = in[i >= b->n_carry ? i + 1 : i];
    const bool ok = ag__region_call(b->c, b->region, args, out, false);
    ag__free(b->c, args, bytes);
    if (ok)
        ag__settle(out[0]);
    return ok;
}

/* Results of a body have the types of the variables; otherwise it is run step by step. */
static bool traced_keeps(const ag__region *body, const ag__type *types, int n)
{
    for (int i = 0; i < n; i++) {
        const ag__value *v = ag__region_out(body, i);
        if (!ag__same_shape(ag__value_shape(v), types[i].shape) ||
            (ag_dtype)v->dtype != types[i].dtype)
            return ag_fail(body->graph->c, AG_ERR_UNSUPPORTED,
                           "variable %d of a loop changes its shape", i);
    }
    return true;
}

static void traced_geometry(ag__geometry *g, const ag__type *type)
{
    ag__geometry_set(g, type->dtype, type->shape);
}

/* What the counter begins with, as a value of the region that is traced. */
static ag_tensor *traced_zero(ag_context *c)
{
    ag_tensor *zero = ag_scalar(c, 0, .dtype = AG_I64);
    const int32_t v = zero ? ag__region_operand(c->tracing, "while_loop", zero) : -1;
    return v < 0 ? NULL : ag__give(ag__symbol_new(c->tracing, v));
}

bool ag__traced_while(ag_context *c, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    const int n_carry = (int)i->attrs->list[AG_FLOW_CARRY], n = i->n_in + 1;
    const size_t tensors = (size_t)n * sizeof(ag_tensor *),
                 types_bytes = (size_t)n * sizeof(ag__type);
    const size_t out_bytes = (size_t)(n_carry + 1) * (sizeof(ag__geometry) + sizeof(ag_tensor *));
    ag_tensor **all = ag__alloc(c, tensors);
    ag__type *types = ag__alloc(c, types_bytes);
    ag__geometry *geometry = ag__alloc(c, out_bytes);
    ag_tensor **results = geometry ? (ag_tensor **)(void *)(geometry + n_carry + 1) : NULL;
    ag_tensor *zero = traced_zero(c);
    bool ok = all && types && geometry && zero;
    for (int k = 0; k < n && ok; k++) {
        all[k] = k < n_carry ? in[k] : k == n_carry ? zero : in[k - 1];
        types[k] = ag__type_of(all[k]);
        types[k].number = types[k].number && k > n_carry;
        if (k <= n_carry)
            traced_geometry(&geometry[k], &types[k]);
    }
    ag__region *regions[2] = { NULL, NULL };
    traced_body body = { c, i->regions[0], n_carry }, cond = { c, i->regions[1], n_carry };
    ag_graph *g = c->tracing->graph;
    ok =
        ok &&
        (regions[1] = ag__trace("while_loop", g, c->tracing, types, n, traced_cond_fn, &cond, 1)) &&
        (regions[0] = ag__trace("while_loop", g, c->tracing, types, n, traced_body_fn, &body,
                                n_carry + 1)) &&
        traced_keeps(regions[0], types, n_carry + 1);
    ag__attrs attrs = ag__attrs_of(i);
    attrs.list[AG_FLOW_CARRY] = n_carry + 1;
    const ag__flow f = { i->op, &attrs, regions, 2, n, n_carry + 1, all, geometry };
    ok = ok && ag__traced_flow(c, &f, results);
    for (int j = 0; j <= n_carry && ok; j++)
        if (j < n_carry)
            out[j] = results[j];
        else
            ag__tensor_unref(results[j]);
    ag__free(c, all, tensors);
    ag__free(c, types, types_bytes);
    ag__free(c, geometry, out_bytes);
    return ok;
}

/* ---- scan ---- */

/* The leading size of all xs. */
static bool traced_length(ag_context *c, const ag__inst *i, ag_tensor *const *xs, int k,
                          int64_t *length)
{
    *length = i->attrs->list[AG_FLOW_LENGTH];
    for (int j = 0; j < k; j++)
        if (!ag__rule_length(c, j, ag__sizes(xs[j]), length))
            return false;
    return true;
}

static void traced_scan_types(ag_tensor *const *in, int n, int n_carry, int n_xs, ag__type *types)
{
    for (int k = 0; k < n; k++) {
        types[k] = ag__type_of(in[k]);
        types[k].number = types[k].number && k >= n_carry + n_xs;
        if (k >= n_carry && k < n_carry + n_xs)
            types[k].shape = (ag_ints){ in[k]->dims + 1, in[k]->ndim - 1 };
    }
}

bool ag__traced_scan(ag_context *c, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    const int n_carry = (int)i->attrs->list[AG_FLOW_CARRY], n_xs = (int)i->attrs->list[AG_FLOW_XS];
    int64_t length;
    if (!traced_length(c, i, in + n_carry, n_xs, &length))
        return false;
    const size_t types_bytes = (size_t)i->n_in * sizeof(ag__type);
    const size_t out_bytes = (size_t)i->n_out * sizeof(ag__geometry);
    ag__type *types = ag__alloc(c, types_bytes);
    ag__geometry *geometry = ag__alloc(c, out_bytes);
    bool ok = types && geometry;
    if (ok)
        traced_scan_types(in, i->n_in, n_carry, n_xs, types);
    traced_body b = { c, i->regions[0], -1 };
    ag__region *body = ok ? ag__trace("scan", c->tracing->graph, c->tracing, types, i->n_in,
                                      traced_body_fn, &b, i->n_out)
                          : NULL;
    ok = body && traced_keeps(body, types, n_carry);
    for (int j = 0; j < i->n_out && ok; j++) {
        const ag__value *v = ag__region_out(body, j);
        ag__geometry *g = &geometry[j];
        ag__geometry_set(g, (ag_dtype)v->dtype, ag__value_shape(v));
        if (j < n_carry)
            continue;
        memmove(g->shape + 1, g->shape, (size_t)g->ndim++ * sizeof *g->shape);
        g->shape[0] = length;
    }
    ag__attrs attrs = ag__attrs_of(i);
    if (n_xs)
        attrs.list[AG_FLOW_LENGTH] = -1;
    const ag__flow f = { i->op, &attrs, &body, 1, i->n_in, i->n_out, in, geometry };
    ok = ok && ag__traced_flow(c, &f, out);
    ag__free(c, types, types_bytes);
    ag__free(c, geometry, out_bytes);
    return ok;
}

/* ---- branches ---- */

static bool traced_agree(ag__region *const *regions, int n, ag__geometry *geometry, int m)
{
    for (int j = 0; j < m; j++) {
        const ag__value *a = ag__region_out(regions[0], j);
        ag__geometry_set(&geometry[j], (ag_dtype)a->dtype, ag__value_shape(a));
        for (int k = 1; k < n; k++)
            if (!ag__same_shape(ag__value_shape(ag__region_out(regions[k], j)), ag__value_shape(a)))
                return ag_fail(regions[0]->graph->c, AG_ERR_UNSUPPORTED,
                               "result %d of a branch has a shape of its own", j);
    }
    return true;
}

bool ag__traced_branch(ag_context *c, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    const int n = i->n_in - 1;
    const size_t types_bytes = (size_t)n * sizeof(ag__type);
    const size_t out_bytes = (size_t)i->n_out * sizeof(ag__geometry);
    const size_t region_bytes = (size_t)i->n_regions * sizeof(ag__region *);
    ag__type *types = ag__alloc(c, types_bytes);
    ag__geometry *geometry = ag__alloc(c, out_bytes);
    ag__region **regions = ag__alloc(c, region_bytes);
    bool ok = types && geometry && regions;
    for (int k = 0; k < n && ok; k++)
        types[k] = ag__type_of(in[k + 1]);
    for (int k = 0; k < i->n_regions && ok; k++) {
        traced_body b = { c, i->regions[k], -1 };
        regions[k] = ag__trace(i->op->name, c->tracing->graph, c->tracing, types, n, traced_body_fn,
                               &b, i->n_out);
        ok = regions[k] != NULL;
    }
    ok = ok && traced_agree(regions, i->n_regions, geometry, i->n_out);
    const ag__flow f = { i->op, i->attrs, regions, i->n_regions, i->n_in, i->n_out, in, geometry };
    ok = ok && ag__traced_flow(c, &f, out);
    ag__free(c, types, types_bytes);
    ag__free(c, geometry, out_bytes);
    ag__free(c, regions, region_bytes);
    return ok;
}
