/* A copy of a graph for another context: the same values by the same numbers. Reads the graph
 * only, so threads with contexts of their own may copy a finished one at the same time. */
#include <string.h>

#include "graph.h"

static ag__region *copy_nested(ag_graph *g, ag__region *parent, const ag__region *from);

/* A tensor's data in a new tensor of g's context. */
static ag_tensor *copy_tensor(ag_graph *g, const ag_tensor *from)
{
    if (from->c == g->c) /* nobody writes it */
        return ag__tensor_ref((ag_tensor *)(uintptr_t)from);
    ag_tensor *t = ag__tensor_new(g->c, (ag_dtype)from->dtype, from->ndim, from->dims);
    if (!t)
        return NULL;
    memcpy(ag__at(t), ag__at(from), (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype));
    t->flags |= from->flags & AG_T_NUMBER;
    return t;
}

static bool copy_value(ag__region *r, const ag__value *from)
{
    const int32_t v =
        ag__region_value(r, (ag_dtype)from->dtype, ag__value_shape(from), from->number);
    if (v < 0)
        return false;
    r->values[v].inst = from->inst;
    return true;
}

static bool copy_inst(ag__region *r, const ag__inst *from)
{
    ag__inst like = *from;
    ag__region *few[8];
    const size_t bytes = (size_t)from->n_regions * sizeof(ag__region *);
    ag__region **regions = from->n_regions > AG_COUNT(few) ? ag__alloc(r->graph->c, bytes) : few;
    bool ok = regions != NULL;
    for (int k = 0; k < from->n_regions && ok; k++)
        ok = (regions[k] = copy_nested(r->graph, r, from->regions[k])) != NULL;
    like.regions = regions;
    like.n_out = 0; /* the values are there */
    like.tensor = NULL;
    if (ok && from->tensor)
        ok = (like.tensor = copy_tensor(r->graph, from->tensor)) != NULL;
    ag__inst *i = ok ? ag__region_add(r, &like, NULL) : NULL;
    if (i) {
        i->out = from->out;
        i->n_out = from->n_out;
    } else {
        ag__tensor_unref(like.tensor);
    }
    if (regions != few)
        ag__free(r->graph->c, regions, bytes);
    return i != NULL;
}

static bool copy_region(ag__region *r, const ag__region *from)
{
    bool ok = true;
    for (int v = 0; v < from->n_values && ok; v++)
        ok = copy_value(r, &from->values[v]);
    for (int k = 0; k < from->n_insts && ok; k++)
        ok = copy_inst(r, &from->insts[k]);
    const size_t bytes = (size_t)from->n_params * sizeof(int32_t);
    if (!ok || !(r->params = ag__alloc(r->graph->c, bytes)))
        return false;
    if (bytes)
        memcpy(r->params, from->params, bytes);
    r->n_params = r->room_params = from->n_params;
    return ag__region_set_outs(r, from->outs, from->n_outs);
}

static ag__region *copy_nested(ag_graph *g, ag__region *parent, const ag__region *from)
{
    ag__region *r = ag__region_new(g, parent);
    return r && copy_region(r, from) ? r : NULL;
}

ag__region *ag__region_copy(ag_graph *g, const ag__region *from)
{
    return copy_nested(g, NULL, from);
}

static bool copy_names(ag_graph *g, const ag_graph *from)
{
    for (int v = 0; v < from->main.n_values; v++)
        if (from->main.values[v].name && !ag__graph_name(g, v, from->main.values[v].name))
            return false;
    return true;
}

ag_graph *ag__graph_copy(ag_context *c, const ag_graph *from)
{
    ag_graph *g = ag__graph_new(c, from->traced);
    if (!g)
        return NULL;
    if (copy_region(&g->main, &from->main) && copy_names(g, from)) {
        g->finalized = true;
        return g;
    }
    ag_graph_free(g);
    return NULL;
}
