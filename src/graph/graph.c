/* The life of graphs and of what they are made of. See graph.h. */
#include "graph.h"

#include <string.h>

#include "rows.h"

enum { CHUNK_BYTES = 16384, CHUNK_ALIGN = 16 };

/* ---- memory ---- */

static ag__chunk *graph_chunk(ag_graph *g, size_t bytes)
{
    const size_t head = (sizeof(ag__chunk) + CHUNK_ALIGN - 1) / CHUNK_ALIGN * CHUNK_ALIGN;
    const size_t more = bytes + head > CHUNK_BYTES ? bytes + head : CHUNK_BYTES;
    ag__chunk *chunk = ag__alloc(g->c, more);
    if (!chunk)
        return NULL;
    *chunk = (ag__chunk){ g->chunks, more, head };
    return g->chunks = chunk;
}

void *ag__graph_alloc(ag_graph *g, size_t bytes)
{
    ag__chunk *chunk = g->chunks;
    bytes = (bytes + CHUNK_ALIGN - 1) / CHUNK_ALIGN * CHUNK_ALIGN;
    if ((!chunk || chunk->used + bytes > chunk->bytes) && !(chunk = graph_chunk(g, bytes)))
        return NULL;
    void *p = (char *)chunk + chunk->used;
    chunk->used += bytes;
    memset(p, 0, bytes);
    return p;
}

static void *graph_copy(ag_graph *g, const void *from, size_t bytes)
{
    void *p = ag__graph_alloc(g, bytes);
    if (p && bytes)
        memcpy(p, from, bytes);
    return p;
}

/* ---- graphs ---- */

ag_graph *ag__graph_new(ag_context *c, bool traced)
{
    ag_graph *g = ag__alloc(c, sizeof *g);
    if (!g)
        return NULL;
    *g = (ag_graph){ .c = c, .traced = traced };
    atomic_init(&g->refs, 1);
    g->main.graph = g;
    ag__context_ref(c);
    return g;
}

void ag__graph_ref(ag_graph *g) { atomic_fetch_add(&g->refs, 1); }

void ag__graph_unref(ag_graph *g)
{
    if (!g || atomic_fetch_sub(&g->refs, 1) > 1)
        return;
    ag_context *c = g->c;
    ag__free(c, g, sizeof *g);
    ag__context_unref(c);
}

static void graph_free_region(ag_context *c, ag__region *r)
{
    for (int i = 0; i < r->n_insts; i++)
        ag__tensor_unref(r->insts[i].tensor);
    ag__free(c, r->values, (size_t)r->room_values * sizeof *r->values);
    ag__free(c, r->insts, (size_t)r->room_insts * sizeof *r->insts);
    ag__free(c, r->params, (size_t)r->room_params * sizeof *r->params);
    ag__free(c, r->captured, (size_t)r->room_captured * sizeof *r->captured);
}

/* Its end would pull the ground from under the function that runs. */
static bool graph_is_recording(const char *op, ag_graph *g)
{
    return g->recording &&
           !ag_fail(g->c, AG_ERR_GRAPH,
                    "ag_%s: a function is recorded into the graph at this moment; call it when "
                    "the loop, branch or derivative is there",
                    op);
}

void ag_graph_free(ag_graph *g)
{
    if (!g || g->freed || graph_is_recording("graph_free", g))
        return;
    ag_context *c = g->c;
    g->freed = true;
    graph_free_region(c, &g->main);
    for (ag__region *r = g->regions; r; r = r->next)
        graph_free_region(c, r);
    while (g->after)
        ag_control_dependencies_pop(g);
    for (ag__chunk *chunk = g->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        ag__free(c, chunk, chunk->bytes);
    }
    ag__free(c, g->names, (size_t)g->room_names * sizeof *g->names);
    ag__free(c, g->prefix, g->prefix_bytes);
    ag__graph_unref(g);
}

bool ag__graph_alive(const char *op, const ag_graph *g)
{
    return !g->freed || ag_fail(g->c, AG_ERR_GRAPH, "ag_%s: the graph was freed", op);
}

bool ag__graph_open(const char *op, const ag_graph *g)
{
    return ag__graph_alive(op, g) &&
           (!g->finalized ||
            ag_fail(g->c, AG_ERR_GRAPH, "ag_%s: Graph is finalized and cannot be modified.", op));
}

ag_graph *ag_graph_new(ag_context *c) { return c ? ag__graph_new(c, false) : NULL; }
ag_context *ag_graph_context(const ag_graph *g) { return g ? g->c : NULL; }

bool ag_graph_finalize(ag_graph *g)
{
    if (!g || !ag__graph_alive("graph_finalize", g) || graph_is_recording("graph_finalize", g))
        return false;
    g->finalized = true;
    return true;
}

bool ag_is_symbolic(const ag_tensor *t) { return t && ag__is_symbolic(t); }

ag_graph *(ag_graph_of)(ag_tensor *t)
{
    ag_graph *g = ag_is_symbolic(t) ? ag__symbol_of(t)->graph : NULL;
    return g && !g->freed ? g : NULL;
}

/* ---- regions ---- */

ag__region *ag__region_new(ag_graph *g, ag__region *parent)
{
    ag__region *r = ag__graph_alloc(g, sizeof *r);
    if (!r)
        return NULL;
    r->graph = g;
    r->parent = parent;
    r->next = g->regions;
    return g->regions = r;
}

int32_t ag__region_value(ag__region *r, ag_dtype dtype, ag_ints shape, bool number)
{
    int64_t *dims = graph_copy(r->graph, shape.data, (size_t)shape.n * sizeof *dims);
    ag__value *values = dims ? ag__make_room(r->graph->c, r->values, r->n_values, &r->room_values,
                                             16, sizeof *values)
                             : NULL;
    if (!values)
        return -1;
    r->values = values;
    values[r->n_values] = (ag__value){ .dtype = (uint8_t)dtype,
                                       .ndim = (uint8_t)shape.n,
                                       .number = number,
                                       .inst = -1,
                                       .born = r->graph->n_born++,
                                       .shape = dims };
    return r->n_values++;
}

int32_t ag__region_param(ag__region *r, ag_dtype dtype, ag_ints shape, bool number)
{
    int32_t *params =
        ag__make_room(r->graph->c, r->params, r->n_params, &r->room_params, 8, sizeof *params);
    if (!params)
        return -1;
    r->params = params;
    const int32_t v = ag__region_value(r, dtype, shape, number);
    if (v >= 0)
        params[r->n_params++] = v;
    return v;
}

/* The lists of an instruction, in the graph's memory. */
static bool graph_copy_lists(ag_graph *g, ag__inst *i, const ag__inst *like)
{
    static const ag__attrs none = { 0 };
    const ag__attrs *a = like->attrs ? like->attrs : &none;
    i->in = graph_copy(g, like->in, (size_t)like->n_in * sizeof *i->in);
    i->after = graph_copy(g, like->after, (size_t)like->n_after * sizeof *i->after);
    i->regions =
        graph_copy(g, (const void *)like->regions, (size_t)like->n_regions * sizeof *i->regions);
    i->attrs = graph_copy(g, a, offsetof(ag__attrs, list) + (size_t)a->n * sizeof *a->list);
    return i->in && i->after && i->regions && i->attrs;
}

bool ag__inst_gives_number(const ag__region *r, const ag__inst *like)
{
    if (like->tensor)
        return like->tensor->flags & AG_T_NUMBER;
    bool number = like->op->pointwise != NULL;
    for (int k = 0; k < like->n_in && number; k++)
        number = r->values[like->in[k]].number;
    return number;
}

ag__inst *ag__region_add(ag__region *r, const ag__inst *like, const ag__geometry *out)
{
    ag_graph *g = r->graph;
    const ag__region_mark mark = ag__region_here(r);
    ag__inst *insts = ag__make_room(g->c, r->insts, r->n_insts, &r->room_insts, 16, sizeof *insts);
    if (!insts)
        return NULL;
    r->insts = insts;
    ag__inst *i = &insts[r->n_insts];
    *i = *like;
    i->out = r->n_values;
    bool ok = graph_copy_lists(g, i, like);
    for (int j = 0; j < like->n_out && ok; j++) {
        const int32_t v = ag__region_value(r, out[j].dtype, (ag_ints){ out[j].shape, out[j].ndim },
                                           ag__inst_gives_number(r, like));
        ok = v >= 0;
        if (ok)
            r->values[v].inst = r->n_insts;
    }
    if (!ok) {
        ag__region_rewind(r, mark);
        return NULL;
    }
    r->n_insts++;
    return i;
}

bool ag__inst_draws(const ag__inst *i)
{
    bool draws = i->op->draws;
    for (int k = 0; k < i->n_regions && !draws; k++)
        draws = ag__region_draws(i->regions[k]);
    return draws;
}

bool ag__region_draws(const ag__region *r)
{
    for (int k = 0; k < r->n_insts; k++)
        if (ag__inst_draws(&r->insts[k]))
            return true;
    return false;
}

bool ag__region_set_outs(ag__region *r, const int32_t *outs, int n)
{
    const int32_t *copy = graph_copy(r->graph, outs, (size_t)n * sizeof *outs);
    if (!copy)
        return false;
    r->outs = copy;
    r->n_outs = n;
    return true;
}

ag__region_mark ag__region_here(const ag__region *r)
{
    return (ag__region_mark){ r->n_values, r->n_insts, r->n_params, r->n_captured };
}

static bool graph_depends(const ag__after *after, int32_t from)
{
    bool depends = false;
    for (int k = 0; k < after->n; k++)
        depends = depends || after->values[k] >= from;
    return depends;
}

void ag__region_rewind(ag__region *r, ag__region_mark mark)
{
    ag_graph *g = r->graph;
    while (r == &g->main && g->after && graph_depends(g->after, mark.n_values))
        ag_control_dependencies_pop(g);
    while (r->n_insts > mark.n_insts)
        ag__tensor_unref(r->insts[--r->n_insts].tensor);
    for (int k = 0; k < AG_NUMBERS; k++)
        if (r->numbers[k] > mark.n_values)
            r->numbers[k] = 0;
    for (int k = 0; r == &g->main && k < g->room_names; k++)
        if (g->names[k].name && g->names[k].value >= mark.n_values)
            g->names[k].value = -1;
    r->n_values = mark.n_values;
    r->n_params = mark.n_params;
    r->n_captured = mark.n_captured;
}
