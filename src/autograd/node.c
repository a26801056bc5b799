/* The life of nodes. See node.h. */
#include "node.h"

#include <stddef.h>
#include <string.h>

#include "../base/site.h"
#include "../ops/pointwise.h"
#include "hooks.h"
#include "meta.h"
#include "saved.h"

const ag__op ag__accumulate_op = { .name = "accumulate",
                                   .node_name = "AccumulateGrad",
                                   .kind = AG_KIND_NODIFF,
                                   .n_in = 0,
                                   .n_out = 1 };

static void node_set_output(ag_node *n, int j, const ag_tensor *t, int64_t *dims)
{
    for (int i = 0; i < t->ndim; i++)
        dims[i] = t->dims[i];
    ag__node_outputs(n)[j] = (ag__output){ t->dtype, t->ndim, dims };
}

ag_node *ag__node_new(ag_context *c, const ag__op *op, int n_in, ag_tensor *const *like, int n_out,
                      int n_saved, size_t payload_bytes)
{
    int n_dims = 0;
    for (int j = 0; j < n_out; j++)
        n_dims += like[j]->ndim;
    payload_bytes = (payload_bytes + 7) / 8 * 8;
    const size_t bytes = sizeof(ag_node) + sizeof(ag__edge) * (size_t)n_in +
                         sizeof(ag__output) * (size_t)n_out + sizeof(ag__saved) * (size_t)n_saved +
                         payload_bytes + sizeof(int64_t) * (size_t)n_dims;
    ag_node *n = ag__alloc(c, bytes);
    if (!n)
        return NULL;
    *n = (ag_node){ .c = c,
                    .op = op,
                    .refs = 1,
                    .bytes = (uint32_t)bytes,
                    .n_in = (uint16_t)n_in,
                    .n_out = (uint16_t)n_out,
                    .n_saved = (unsigned)n_saved & 0x3fffff };
    for (int i = 0; i < n_in; i++)
        n->edges[i].node = NULL;
    for (int i = 0; i < n_saved; i++)
        ag__node_saved(n)[i] = (ag__saved){ .kind = AG_SAVED_INPUT };
    int64_t *dims = (int64_t *)((char *)n + bytes) - n_dims;
    for (int j = 0; j < n_out; dims += like[j++]->ndim)
        node_set_output(n, j, like[j], dims);
    c->nodes++;
    ag__context_ref(c);
    return n;
}

ag__extra *ag__node_extra(ag_node *n)
{
    if (!n->extra) {
        n->extra = ag__alloc(n->c, sizeof *n->extra);
        if (n->extra)
            memset(n->extra, 0, sizeof *n->extra);
    }
    return n->extra;
}

static void node_free_extra(ag_node *n)
{
    if (n->extra)
        ag__hooks_free(n);
    ag__free(n->c, n->extra, sizeof *n->extra);
}

/* ---- accumulators: see Note [accumulators] ---- */

static ag_node *node_accumulator(ag_tensor *t)
{
    ag__meta *m = ag__meta_of(t);
    if (!m)
        return NULL;
    ag_node *n = m->accumulator;
    if (n && n->refs > 0)
        return ag__node_ref(n);
    if (n) { /* it wakes up */
        n->refs = 1;
        t->c->nodes++;
        ag__context_ref(t->c);
    } else {
        n = ag__node_new(t->c, &ag__accumulate_op, 0, &t, 1, 0, 0);
        if (!n)
            return NULL;
        n->seq = UINT64_MAX;
        n->leaf = t;
    }
    ag__tensor_ref(t);
    if (t->flags & AG_T_VIEW)
        ag__view_of(t)->base->flags |= AG_T_HELD;
    return m->accumulator = n;
}

/* Nobody refers to n any more. */
static void node_sleep(ag_node *n)
{
    ag_context *c = n->c;
    c->nodes--;
    ag__tensor_unref(n->leaf);
    ag__context_unref(c);
}

void ag__node_free_accumulator(ag_node *n)
{
    node_free_extra(n);
    ag__free(n->c, n, n->bytes);
}

ag_tensor *ag__node_leaf(const ag_node *n) { return n->op == &ag__accumulate_op ? n->leaf : NULL; }

/* ---- recording ---- */

bool ag__gradient_edge(ag_tensor *t, ag__edge *edge)
{
    *edge = (ag__edge){ NULL, 0 };
    if (!t || !ag__wants_grad(t))
        return true;
    *edge = t->grad_fn ? (ag__edge){ ag__node_ref(t->grad_fn), t->output_nr }
                       : (ag__edge){ node_accumulator(t), 0 };
    return edge->node != NULL;
}

void ag__node_adopt(ag_node *n, int nr, ag_tensor *t)
{
    ag_node *old = t->grad_fn;
    t->grad_fn = ag__node_ref(n);
    t->output_nr = (uint16_t)nr;
    t->flags |= AG_T_REQUIRES_GRAD;
    ag__node_unref(old);
}

static int node_count_bits(unsigned v)
{
    int n = 0;
    for (; v; v &= v - 1)
        n++;
    return n;
}

/* What a call of op saves when gradients of the inputs in `wanted` are wanted. */
static unsigned node_needs(const ag__op *op, unsigned wanted)
{
    if (op->pointwise)
        return ag__pointwise_needs(op, wanted);
    return op->needs ? op->needs(wanted) : 0;
}

static size_t node_attr_bytes(const ag__call *call)
{
    return call->op->takes_attrs
               ? offsetof(ag__attrs, list) + sizeof(int64_t) * (size_t)call->attrs->n
               : 0;
}

/* In anomaly and checked mode a node remembers its call. One made by a rule is the fault of the call
 * whose rule it is. */
static bool node_set_site(ag_node *n)
{
    ag_context *c = n->c;
    const char *site = c->rule_site;
    if (!site && !ag__site_text(c, NULL, &site))
        return false;
    if (site && !ag__node_extra(n))
        return false;
    if (site)
        n->extra->site = site;
    return true;
}

static inline bool node_connect(ag_node *n, ag_tensor *const *in)
{
    for (int i = 0; i < n->n_in; i++)
        if (in[i] && ag__wants_grad(in[i]) && !ag__gradient_edge(in[i], &n->edges[i]))
            return false;
    n->seq = n->c->next_seq++;
    return AG_LIKELY(!n->c->site_file && !n->c->rule_site) || node_set_site(n);
}

bool ag__node_connect(ag_node *n, ag_tensor *const *in) { return node_connect(n, in); }

bool ag__node_attach(const ag__call *call, ag_tensor *const *out)
{
    const ag__op *op = call->op;
    unsigned wanted = 0, numbers = 0;
    for (int i = 0; i < call->n_in && i < AG_SAVE_INPUTS; i++) {
        const unsigned flags = call->in[i] ? call->in[i]->flags : 0;
        wanted |= flags & AG_T_REQUIRES_GRAD ? 1u << i : 0;
        numbers |= flags & AG_T_NUMBER ? 1u << i : 0;
    }
    const unsigned mask = node_needs(op, wanted);
    const size_t attr_bytes = node_attr_bytes(call);
    ag_node *n =
        ag__node_new(call->c, op, call->n_in, out, call->n_out, node_count_bits(mask), attr_bytes);
    if (!n)
        return false;
    if (attr_bytes)
        memcpy(ag__node_payload(n), call->attrs, attr_bytes);
    n->numbers = (uint8_t)numbers;
    if (!ag__saved_set_call(n, call, out, mask) || !node_connect(n, call->in)) {
        ag__node_unref(n);
        return false;
    }
    for (int j = 0; j < call->n_out; j++)
        if (ag__is_float((ag_dtype)out[j]->dtype))
            ag__node_adopt(n, j, out[j]);
    ag__node_unref(n);
    return true;
}

/* ---- the rule ---- */

bool ag__node_run(ag_node *n, bool (*run)(ag__rule *r), const ag__edge *edges, ag_tensor *const *g,
                  bool owns_g, bool all, ag_tensor **out)
{
    static const ag__attrs none = { 0 };
    ag_tensor *few[8], **values = NULL;
    if (!ag__saved_check(n))
        return false;
    const size_t bytes = (size_t)n->n_saved * sizeof *values;
    if (AG_UNLIKELY(n->packed)) {
        values = n->n_saved <= AG_COUNT(few) ? few : ag__alloc(n->c, bytes);
        if (!values)
            return false;
    }
    ag__rule rule = { .op = n->op,
                      .c = n->c,
                      .node = n,
                      .attrs = n->op->takes_attrs ? ag__node_attrs(n) : &none,
                      .edges = edges,
                      .g = g,
                      .out = out,
                      .values = values,
                      .owns_g = owns_g,
                      .all = all };
    const bool ok = (!values || ag__saved_unpack(n, values)) && run(&rule);
    if (values && values != few)
        ag__free(n->c, values, bytes);
    return ok || ag_fail(n->c, AG_ERR_INTERNAL, "%s failed", ag_node_name(n));
}

bool ag__node_apply(ag_node *n, const ag__edge *edges, ag_tensor *const *g, bool owns_g, bool all,
                    ag_tensor **out)
{
    for (int i = 0; i < n->n_in; i++)
        out[i] = NULL;
    return ag__node_run(n, n->op->vjp, edges, g, owns_g, all, out);
}

ag_tensor *ag__node_fit(const ag__edge *e, ag_tensor *g)
{
    const ag__output *o = &ag__node_outputs(e->node)[e->nr];
    g = ag__sum_to(g, (ag_ints){ o->shape, o->ndim });
    return g && g->dtype != o->dtype ? ag_to(g, (ag_dtype)o->dtype) : g;
}

/* ---- the end ---- */

static void node_free(ag_node *n)
{
    ag_context *c = n->c;
    ag__saved_release(n);
    if (n->op->release)
        n->op->release(n);
    for (int i = 0; i < n->n_in; i++)
        ag__node_unref(n->edges[i].node);
    node_free_extra(n);
    ag__free(c, n, n->bytes);
    c->nodes--;
    ag__context_unref(c);
}

/* Freeing a node gives up its neighbours, and a saved tensor may own the last reference to a node:
 * all that die meanwhile queue here, so a graph of any depth needs no C stack. */
void ag__node_unref(ag_node *n)
{
    if (!n || --n->refs > 0)
        return;
    if (n->op == &ag__accumulate_op) {
        node_sleep(n);
        return;
    }
    ag_context *c = n->c;
    n->next_dying = c->dying;
    c->dying = n;
    if (c->reaping)
        return;
    c->reaping = true;
    ag__context_ref(c);
    while (c->dying) {
        ag_node *dead = c->dying;
        c->dying = dead->next_dying;
        node_free(dead);
    }
    c->reaping = false;
    ag__context_unref(c);
}

bool ag__node_reach(ag_node *root, ag__pointers *found)
{
    bool ok = !root || ag__pointers_add(found, root);
    for (size_t i = 0; i < found->n && ok; i++) {
        const ag_node *n = found->list[i];
        for (int k = 0; k < n->n_in && ok; k++)
            ok = !n->edges[k].node || ag__pointers_add(found, n->edges[k].node);
    }
    return ok;
}

/* ---- public ---- */

const char *ag_node_name(const ag_node *n)
{
    if (!n)
        return NULL;
    return n->op->name_of ? n->op->name_of(n)
                          : ag__op_node_name(n->op, n->numbers, ag__node_attrs(n));
}
int ag_node_n_inputs(const ag_node *n) { return n ? n->n_in : -1; }
int ag_node_n_outputs(const ag_node *n) { return n ? n->n_out : -1; }

ag_node *ag_node_next(const ag_node *n, int i, int *output_nr)
{
    if (!n || i < 0 || i >= n->n_in)
        return NULL;
    if (output_nr)
        *output_nr = n->edges[i].nr;
    return n->edges[i].node;
}
