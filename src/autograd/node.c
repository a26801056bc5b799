/* The life of nodes. See node.h. */
#include "node.h"

#include <stddef.h>
#include <string.h>

#include "meta.h"
#include "../ops/pointwise.h"

enum { NODE_INPUTS = 12 }; /* those that masks have a bit for: see AG_SAVE_OUTPUT */

const ag__op ag__accumulate_op = { .name = "accumulate",
                                   .node_name = "AccumulateGrad",
                                   .kind = AG_KIND_NODIFF,
                                   .n_in = 0,
                                   .n_out = 1 };

/* A node whose edges, saved values and attributes are yet to be filled in. `n_dims` is the rank of
 * all outputs together. */
static ag_node *node_new(ag_context *c, const ag__op *op, int n_in, int n_out, int n_saved,
                         size_t attr_bytes, int n_dims)
{
    const size_t bytes = sizeof(ag_node) + sizeof(ag__edge) * (size_t)n_in +
                         sizeof(ag__output) * (size_t)n_out + sizeof(ag__saved) * (size_t)n_saved +
                         attr_bytes + sizeof(int64_t) * (size_t)n_dims;
    ag_node *n = ag__alloc(c, bytes);
    if (!n)
        return NULL;
    *n = (ag_node){ .c = c,
                    .op = op,
                    .refs = 1,
                    .bytes = (uint32_t)bytes,
                    .n_in = (uint16_t)n_in,
                    .n_out = (uint16_t)n_out,
                    .n_saved = (uint16_t)n_saved };
    for (int i = 0; i < n_in; i++)
        n->edges[i].node = NULL;
    for (int i = 0; i < n_saved; i++)
        ag__node_saved(n)[i].tensor = NULL;
    c->nodes++;
    ag__context_ref(c);
    return n;
}

static void node_set_output(ag_node *n, int j, const ag_tensor *t, int64_t *dims)
{
    for (int i = 0; i < t->ndim; i++)
        dims[i] = t->dims[i];
    ag__node_outputs(n)[j] = (ag__output){ t->dtype, t->ndim, dims, NULL };
}

/* See Note [accumulators]. */
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
        n = node_new(t->c, &ag__accumulate_op, 0, 1, 0, 0, t->ndim);
        if (!n)
            return NULL;
        node_set_output(n, 0, t, (int64_t *)ag__node_saved(n));
        n->seq = UINT64_MAX;
        n->leaf = t;
    }
    ag__tensor_ref(t);
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

void ag__node_free_accumulator(ag_node *n) { ag__free(n->c, n, n->bytes); }

bool ag__gradient_edge(ag_tensor *t, ag__edge *edge)
{
    *edge = (ag__edge){ NULL, 0 };
    if (!t || !ag__wants_grad(t))
        return true;
    *edge = t->grad_fn ? (ag__edge){ ag__node_ref(t->grad_fn), t->output_nr }
                       : (ag__edge){ node_accumulator(t), 0 };
    return edge->node != NULL;
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

/* Saves the operands and results in `mask`; the entries of absent operands stay empty. */
static bool node_save(ag_node *n, const ag__call *call, ag_tensor *const *out, unsigned mask)
{
    for (ag__saved *s = ag__node_saved(n); mask; mask &= mask - 1, s++) {
        const int bit = ag__lowest_bit(mask);
        const bool is_output = bit >= NODE_INPUTS;
        const int nr = is_output ? bit - NODE_INPUTS : bit;
        ag_tensor *t = is_output         ? ag__tensor_alias(out[nr])
                       : nr < call->n_in ? call->in[nr]
                                         : NULL;
        *s = (ag__saved){ t, 0, is_output, (uint8_t)nr };
        if (!t && is_output)
            return false;
        if (!t)
            continue;
        if (!is_output)
            ag__tensor_ref(t);
        s->version = t->storage->version;
        n->c->saved_bytes += t->storage->bytes;
    }
    return true;
}

static size_t node_attr_bytes(const ag__call *call)
{
    return call->op->takes_attrs
               ? offsetof(ag__attrs, list) + sizeof(int64_t) * (size_t)call->attrs->n
               : 0;
}

bool ag__node_attach(const ag__call *call, ag_tensor *const *out)
{
    const ag__op *op = call->op;
    unsigned wanted = 0, numbers = 0;
    int n_dims = 0;
    for (int i = 0; i < call->n_in && i < NODE_INPUTS; i++) {
        const unsigned flags = call->in[i] ? call->in[i]->flags : 0;
        wanted |= flags & AG_T_REQUIRES_GRAD ? 1u << i : 0;
        numbers |= flags & AG_T_NUMBER ? 1u << i : 0;
    }
    for (int j = 0; j < op->n_out; j++)
        n_dims += out[j]->ndim;
    const unsigned mask = node_needs(op, wanted);
    const size_t attr_bytes = node_attr_bytes(call);
    ag_node *n =
        node_new(call->c, op, call->n_in, op->n_out, node_count_bits(mask), attr_bytes, n_dims);
    if (!n)
        return false;
    int64_t *dims = (int64_t *)((char *)n + n->bytes) - n_dims;
    for (int j = 0; j < op->n_out; dims += out[j++]->ndim)
        node_set_output(n, j, out[j], dims);
    bool ok = node_save(n, call, out, mask);
    for (int i = 0; i < call->n_in && ok; i++)
        ok = ag__gradient_edge(call->in[i], &n->edges[i]);
    if (!ok) {
        ag__node_unref(n);
        return false;
    }
    if (attr_bytes)
        memcpy((void *)(uintptr_t)ag__node_attrs(n), call->attrs, attr_bytes);
    n->numbers = (uint8_t)numbers;
    n->seq = call->c->next_seq++;
    for (int j = 0; j < op->n_out; j++) {
        if (!ag__is_float((ag_dtype)out[j]->dtype))
            continue;
        out[j]->grad_fn = ag__node_ref(n);
        out[j]->output_nr = (uint16_t)j;
        out[j]->flags |= AG_T_REQUIRES_GRAD;
    }
    ag__node_unref(n);
    return true;
}

void ag__node_release_saved(ag_node *n)
{
    if (n->n_saved == 0 || n->freed)
        return;
    n->freed = true;
    ag__saved *saved = ag__node_saved(n);
    for (int i = 0; i < n->n_saved; i++) {
        ag_tensor *t = saved[i].tensor;
        saved[i].tensor = NULL;
        if (t)
            n->c->saved_bytes -= t->storage->bytes;
        ag__tensor_unref(t);
    }
}

static void node_free(ag_node *n)
{
    ag_context *c = n->c;
    ag__node_release_saved(n);
    for (int i = 0; i < n->n_in; i++)
        ag__node_unref(n->edges[i].node);
    for (int j = 0; j < n->n_out; j++)
        if (ag__node_outputs(n)[j].retains)
            ag__node_outputs(n)[j].retains->meta->retains_grad = false;
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

static bool node_fail_changed(const ag_node *n, const ag__saved *s)
{
    const ag_tensor *t = s->tensor;
    ag__shape_text text;
    const ag_node *maker = s->is_output ? n : t->grad_fn;
    return ag_fail(n->c, AG_ERR_GRAD,
                   "one of the variables needed for gradient computation has been modified by an "
                   "inplace operation: [%s %s], which is output %d of %s, is at version %u; "
                   "expected version %u instead. It was saved by %s and changed by %s. Hint: "
                   "change a clone of it (ag_clone), or compute out of place.",
                   ag_dtype_name((ag_dtype)t->dtype), ag__shape_string(&text, ag__sizes(t)),
                   s->is_output ? s->nr : t->output_nr, maker ? ag_node_name(maker) : "a leaf",
                   t->storage->version, s->version, ag_node_name(n),
                   t->storage->writer ? t->storage->writer : "the program");
}

bool ag__node_check_saved(const ag_node *n)
{
    if (n->freed)
        return ag_fail(
            n->c, AG_ERR_GRAD,
            "Trying to backward through the graph a second time (or directly access saved "
            "tensors after they have already been freed). Saved intermediate values of the "
            "graph are freed when you call .backward() or autograd.grad(). Specify "
            "retain_graph=True if you need to backward through the graph a second time or "
            "if you need to access saved tensors after calling backward. [%s]",
            ag_node_name(n));
    const ag__saved *s = ag__node_saved(n);
    for (int i = 0; i < n->n_saved; i++, s++)
        if (s->tensor && s->tensor->storage->version != s->version)
            return node_fail_changed(n, s);
    return true;
}

bool ag__node_retain_output(ag_tensor *t)
{
    ag__output *o = &ag__node_outputs(t->grad_fn)[t->output_nr];
    if (o->retains && o->retains != t)
        o->retains->meta->retains_grad = false;
    o->retains = t;
    return true;
}

void ag__node_forget_output(ag_tensor *t)
{
    ag__output *o = t->grad_fn ? &ag__node_outputs(t->grad_fn)[t->output_nr] : NULL;
    if (o && o->retains == t)
        o->retains = NULL;
}

/* ---- public ---- */

ag_tensor *ag__node_leaf(const ag_node *n) { return n->op == &ag__accumulate_op ? n->leaf : NULL; }
const char *ag_node_name(const ag_node *n)
{
    return n ? ag__op_node_name(n->op, n->numbers, ag__node_attrs(n)) : NULL;
}
int ag_node_n_inputs(const ag_node *n) { return n ? n->n_in : -1; }

ag_node *ag_node_next(const ag_node *n, int i, int *output_nr)
{
    if (!n || i < 0 || i >= n->n_in)
        return NULL;
    if (output_nr)
        *output_nr = n->edges[i].nr;
    return n->edges[i].node;
}
