/* The life of nodes. See node.h. */
#include "node.h"

#include <stddef.h>
#include <string.h>

#include "meta.h"
#include "../ops/pointwise.h"

const ag__op ag__accumulate_op = { .name = "accumulate", .node_name = "AccumulateGrad",
                                   .kind = AG_KIND_NODIFF, .n_in = 0, .n_out = 1 };

/* A node with room for everything, its arrays laid out behind the header. */
static ag_node *node_new(ag_context *c, const ag__op *op, int n_in, int n_out, int n_saved,
                         size_t attr_bytes, int n_dims)
{
    const size_t edges = sizeof(ag__edge) * (size_t)n_in, outputs = sizeof(ag__output) * (size_t)n_out;
    const size_t saved = sizeof(ag__saved) * (size_t)n_saved;
    const size_t dims = sizeof(int64_t) * (size_t)n_dims;
    const size_t bytes = sizeof(ag_node) + edges + outputs + saved + attr_bytes + dims;
    char *at = ag__alloc(c, bytes);
    if (!at)
        return NULL;
    ag_node *n = (ag_node *)at;
    memset(at, 0, bytes);
    n->c = c;
    n->op = op;
    n->refs = 1;
    n->bytes = (uint32_t)bytes;
    n->n_in = (uint16_t)n_in;
    n->n_out = (uint16_t)n_out;
    n->edges = (ag__edge *)(at + sizeof(ag_node));
    n->outputs = (ag__output *)((char *)n->edges + edges);
    n->saved = (ag__saved *)((char *)n->outputs + outputs);
    n->attrs = attr_bytes ? (ag__attrs *)((char *)n->saved + saved) : NULL;
    c->nodes++;
    ag__context_ref(c);
    return n;
}

static void node_set_output(ag_node *n, int j, const ag_tensor *t, int64_t *dims)
{
    for (int i = 0; i < t->ndim; i++)
        dims[i] = t->dims[i];
    n->outputs[j] = (ag__output){ t->dtype, t->ndim, dims, NULL };
}

static ag_node *node_accumulator(ag_tensor *t)
{
    ag__meta *m = ag__meta_of(t);
    if (!m)
        return NULL;
    if (m->accumulator)
        return ag__node_ref(m->accumulator);
    ag_node *n = node_new(t->c, &ag__accumulate_op, 0, 1, 0, 0, t->ndim);
    if (!n)
        return NULL;
    node_set_output(n, 0, t, (int64_t *)(n->saved));
    n->seq = UINT64_MAX;
    n->leaf = ag__tensor_ref(t);
    return m->accumulator = n;
}

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

static bool node_save(ag_node *n, const ag__call *call, ag_tensor *const *out, unsigned mask)
{
    for (int bit = 0; bit < 16; bit++) {
        if (!(mask & 1u << bit))
            continue;
        const bool is_output = bit >= 12;
        ag_tensor *t = is_output ? out[bit - 12] : bit < call->n_in ? call->in[bit] : NULL;
        if (!t)
            continue;
        t = is_output ? ag__tensor_alias(t) : ag__tensor_ref(t);
        if (!t)
            return false;
        n->saved[n->n_saved++] = (ag__saved){ t, t->storage->version, is_output,
                                              (uint8_t)(is_output ? bit - 12 : bit) };
        n->c->saved_bytes += t->storage->bytes;
    }
    return true;
}

bool ag__node_attach(const ag__call *call, ag_tensor *const *out)
{
    const ag__op *op = call->op;
    unsigned wanted = 0;
    int n_dims = 0;
    for (int i = 0; i < call->n_in && i < 12; i++)
        wanted |= call->in[i] && ag__wants_grad(call->in[i]) ? 1u << i : 0;
    for (int j = 0; j < op->n_out; j++)
        n_dims += out[j]->ndim;
    const unsigned mask = node_needs(op, wanted);
    const size_t attr_bytes = op->takes_attrs ? offsetof(ag__attrs, list) +
                                                    sizeof(int64_t) * (size_t)call->attrs->n
                                              : 0;
    ag_node *n = node_new(call->c, op, call->n_in, op->n_out, node_count_bits(mask), attr_bytes, n_dims);
    if (!n)
        return false;
    bool ok = true;
    for (int i = 0; i < call->n_in && ok; i++)
        ok = ag__gradient_edge(call->in[i], &n->edges[i]);
    ok = ok && node_save(n, call, out, mask);
    if (!ok) {
        ag__node_unref(n);
        return false;
    }
    if (attr_bytes)
        memcpy(n->attrs, call->attrs, attr_bytes);
    int64_t *dims = (int64_t *)((char *)n + n->bytes) - n_dims;
    for (int j = 0; j < op->n_out; dims += out[j++]->ndim)
        node_set_output(n, j, out[j], dims);
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
    if (n->n_saved == 0)
        return;
    n->freed = true;
    for (int i = 0; i < n->n_saved; i++) {
        ag_tensor *t = n->saved[i].tensor;
        n->saved[i].tensor = NULL;
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
        if (n->outputs[j].retains)
            n->outputs[j].retains->meta->retains_grad = false;
    ag_tensor *leaf = n->leaf;
    if (leaf)
        leaf->meta->accumulator = NULL;
    ag__free(c, n, n->bytes);
    c->nodes--;
    ag__tensor_unref(leaf);
    ag__context_unref(c);
}

/* Freeing a node gives up its neighbours, and a saved tensor may own the last reference to a node:
 * all that die meanwhile queue here, so a graph of any depth needs no C stack. */
void ag__node_unref(ag_node *n)
{
    if (!n || --n->refs > 0)
        return;
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

bool ag__node_check_saved(const ag_node *n)
{
    if (n->freed)
        return ag_fail(n->c, AG_ERR_GRAD,
                       "Trying to backward through the graph a second time (or directly access saved "
                       "tensors after they have already been freed). Saved intermediate values of the "
                       "graph are freed when you call .backward() or autograd.grad(). Specify "
                       "retain_graph=True if you need to backward through the graph a second time or "
                       "if you need to access saved tensors after calling backward. [%s]",
                       n->op->node_name);
    for (int i = 0; i < n->n_saved; i++) {
        const ag__saved *s = &n->saved[i];
        if (s->tensor->storage->version == s->version)
            continue;
        const ag_tensor *t = s->tensor;
        ag__shape_text text;
        const ag_node *maker = s->is_output ? n : t->grad_fn;
        return ag_fail(n->c, AG_ERR_GRAD,
                       "one of the variables needed for gradient computation has been modified by an "
                       "inplace operation: [%s %s], which is output %d of %s, is at version %u; "
                       "expected version %u instead. It was saved by %s and changed by %s. Hint: "
                       "change a clone of it (ag_clone), or compute out of place.",
                       ag_dtype_name((ag_dtype)t->dtype), ag__shape_string(&text, ag__sizes(t)),
                       s->is_output ? s->nr : t->output_nr,
                       maker ? maker->op->node_name : "a leaf", t->storage->version, s->version,
                       n->op->node_name, t->storage->writer ? t->storage->writer : "the program");
    }
    return true;
}

bool ag__node_retain_output(ag_tensor *t)
{
    ag__output *o = &t->grad_fn->outputs[t->output_nr];
    if (o->retains && o->retains != t)
        o->retains->meta->retains_grad = false;
    o->retains = t;
    return true;
}

void ag__node_forget_output(ag_tensor *t)
{
    if (t->meta->retains_grad && t->grad_fn && t->grad_fn->outputs[t->output_nr].retains == t)
        t->grad_fn->outputs[t->output_nr].retains = NULL;
}

/* ---- public ---- */

ag_tensor *ag__node_leaf(const ag_node *n) { return n->leaf; }
const char *ag_node_name(const ag_node *n) { return n ? n->op->node_name : NULL; }
int ag_node_n_inputs(const ag_node *n) { return n ? n->n_in : -1; }

ag_node *ag_node_next(const ag_node *n, int i, int *output_nr)
{
    if (!n || i < 0 || i >= n->n_in)
        return NULL;
    if (output_nr)
        *output_nr = n->edges[i].nr;
    return n->edges[i].node;
}
