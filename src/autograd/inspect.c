/*
 * Looking at a graph: places in it as tensors, the names of saved values, and what a graph keeps alive.
 */
#include <string.h>

#include "meta.h"
#include "saved.h"
#include "view.h"

/* ---- places ---- */

ag_tensor *ag_node_edge(ag_node *n, int nr)
{
    if (!n)
        return NULL;
    if (nr < 0 || nr >= n->n_out)
        return ag__fail(n->c, AG_ERR_INDEX,
                        "ag_node_edge: %s has %d outputs, there is none of number %d",
                        ag_node_name(n), n->n_out, nr);
    const ag__output *o = &ag__node_outputs(n)[nr];
    ag__geometry g = { .dtype = (ag_dtype)o->dtype };
    ag__geometry_set(&g, g.dtype, (ag_ints){ o->shape, o->ndim });
    ag_tensor *one = ag__tensor_new(n->c, g.dtype, 0, NULL);
    if (one)
        ag__store(g.dtype, one->storage->data, 0, 0);
    ag_tensor *t = one ? ag__give(ag__tensor_window(one, &g)) : NULL; /* strides are all 0 */
    ag__tensor_unref(one);
    if (t)
        ag__node_adopt(n, nr, t);
    return t;
}

ag_tensor *ag_gradient_edge(ag_tensor *t)
{
    ag__edge e;
    if (!t || !ag__fresh(t) || !ag__has_place("ag_gradient_edge", t))
        return NULL;
    if (!ag__wants_grad(t))
        return ag__fail(
            t->c, AG_ERR_GRAD,
            "ag_gradient_edge: It is not possible to get the gradient edge for a Tensor "
            "that does not require gradients");
    if (!ag__gradient_edge(t, &e))
        return NULL;
    ag_tensor *edge = ag_node_edge(e.node, e.nr);
    ag__node_unref(e.node);
    return edge;
}

/* ---- saved values ---- */

const char *ag_node_saved_name(const ag_node *n, int i)
{
    if (!n || i < 0 || i >= n->n_saved)
        return NULL;
    const ag__saved *s = &ag__node_saved(n)[i];
    if (n->op->name_of)
        return "saved";
    if (s->kind == AG_SAVED_INPUT)
        return ag__op_operand_name(n->op, s->nr);
    if (n->op->results)
        return n->op->results[s->nr];
    static const char *const results[] = { "result0", "result1", "result2" };
    return n->op->n_out == 1 ? "result" : results[s->nr];
}

static int inspect_find(const ag_saved_use *uses, int n, const char *operation)
{
    int k = 0;
    while (k < n && strcmp(uses[k].operation, operation) != 0)
        k++;
    return k;
}

/* Adds to *use what n saved. A storage counts when it is seen for the first time. */
static bool inspect_add(ag_saved_use *use, const ag_node *n, ag__pointers *seen)
{
    const ag__saved *s = ag__node_saved(n);
    use->nodes++;
    for (int i = 0; i < n->n_saved; i++) {
        const size_t before = seen->n;
        use->values += s[i].tensor != NULL;
        if (!s[i].tensor || s[i].is_packed)
            continue;
        if (!ag__pointers_add(seen, s[i].tensor->storage))
            return false;
        use->bytes += seen->n > before ? s[i].tensor->storage->bytes : 0;
    }
    return true;
}

static void inspect_sort(ag_saved_use *uses, int n)
{
    for (int i = 1; i < n; i++) {
        const ag_saved_use use = uses[i];
        int k = i;
        for (; k > 0 && uses[k - 1].bytes < use.bytes; k--)
            uses[k] = uses[k - 1];
        uses[k] = use;
    }
}

/* Fills all[], with room for an entry a node, and gives the number of operations; -1 when out of
 * memory. */
static int inspect_collect(const ag__pointers *nodes, ag_saved_use *all, ag__pointers *seen)
{
    int n = 0;
    for (size_t i = 0; i < nodes->n; i++) {
        const ag_node *node = nodes->list[i];
        if (node->n_saved == 0)
            continue;
        const char *name = ag_node_name(node);
        const int k = inspect_find(all, n, name);
        if (k == n)
            all[n++] = (ag_saved_use){ .operation = name };
        if (!inspect_add(&all[k], node, seen))
            return -1;
    }
    inspect_sort(all, n);
    return n;
}

int ag_saved_bytes(ag_tensor *t, ag_saved_use *uses, int capacity)
{
    if (!t || !ag__fresh(t) || !ag__has_place("ag_saved_bytes", t))
        return -1;
    ag__pointers nodes = { .c = t->c }, seen = { .c = t->c };
    const bool found = ag__node_reach(t->grad_fn, &nodes);
    const size_t bytes = (nodes.n + 1) * sizeof(ag_saved_use);
    ag_saved_use *all = found ? ag__alloc(t->c, bytes) : NULL;
    const int n = all ? inspect_collect(&nodes, all, &seen) : -1;
    for (int i = 0; uses && i < n && i < capacity; i++)
        uses[i] = all[i];
    ag__free(t->c, all, bytes);
    ag__pointers_release(&seen);
    ag__pointers_release(&nodes);
    return n;
}
