/* See capture.h. */
#include "capture.h"

/* The walk: nodes whose edges are yet to be looked at. Nodes that were made since `first` belong to no
 * pass yet, so a number of a pass marks those that were seen. */
typedef struct {
    ag__captures *found;
    ag_context *c;
    uint64_t first, mark;
    ag_node **stack;
    int n, room;
} capture_walk;

bool ag__same_place(ag_tensor *a, ag_tensor *b)
{
    ag__edge x, y = { NULL, 0 };
    const bool ok = ag__gradient_edge(a, &x) && ag__gradient_edge(b, &y);
    ag__node_unref(x.node);
    ag__node_unref(y.node);
    return ok && x.node == y.node && x.nr == y.nr;
}

static bool capture_add(ag__captures *k, const ag__edge *e)
{
    ag_context *c = e->node->c;
    for (int i = 0; i < k->n; i++)
        if (k->places[i]->grad_fn == e->node && k->places[i]->output_nr == e->nr)
            return true;
    ag_tensor **places = ag__make_room(c, k->places, k->n, &k->room, 8, sizeof *places);
    if (!places)
        return false;
    k->places = places;
    ag_tensor *stand_in = ag_node_edge(e->node, e->nr);
    if (!stand_in)
        return false;
    k->places[k->n++] = ag__tensor_ref(stand_in);
    return true;
}

static bool capture_visit(capture_walk *w, const ag__edge *e)
{
    if (!e->node || e->node->pass == w->mark)
        return true;
    if (e->node->seq < w->first || ag__node_leaf(e->node))
        return capture_add(w->found, e);
    ag_node **stack = ag__make_room(w->c, w->stack, w->n, &w->room, 64, sizeof *stack);
    if (!stack)
        return false;
    w->stack = stack;
    e->node->pass = w->mark;
    w->stack[w->n++] = e->node;
    return true;
}

bool ag__capture(ag__captures *k, ag_context *c, ag_tensor *const *out, int n, uint64_t first)
{
    capture_walk w = { .found = k, .c = c, .first = first, .mark = ++c->pass };
    bool ok = true;
    for (int i = 0; i < n && ok; i++) {
        ag__edge e;
        ok = ag__gradient_edge(out[i], &e) && capture_visit(&w, &e);
        ag__node_unref(e.node);
    }
    while (w.n > 0 && ok) {
        const ag_node *node = w.stack[--w.n];
        for (int i = 0; i < node->n_in && ok; i++)
            ok = capture_visit(&w, &node->edges[i]);
    }
    ag__free(c, w.stack, (size_t)w.room * sizeof *w.stack);
    return ok;
}

void ag__captures_release(ag__captures *k, ag_context *c)
{
    for (int i = 0; i < k->n; i++)
        ag__tensor_unref(k->places[i]);
    ag__free(c, k->places, (size_t)k->room * sizeof *k->places);
    *k = (ag__captures){ NULL, 0, 0 };
}
