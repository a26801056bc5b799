/*
 * Order: rows are moved to where their results are first used, when that shortens what is in use:
 * their results are at least as large as what could be given up behind them where they stood. So
 * what a backward pass computes again for each layer is there when its turn comes, not all at once.
 *
 * Instructions stay in their order but for those that are late: these come before the first that
 * uses them. Draws, control flow and what gives results of the region stay.
 */
#include <string.h>

#include "passes.h"
#include "rewrite.h"

typedef struct {
    int32_t *base; /* of values: what they are views of, or themselves */
    int32_t *last; /* of bases: who uses them last; n_insts: the region's results do */
    int32_t *next; /* of instructions: operands seen to; -1: it is copied */
    int32_t *path;
    bool *late; /* of instructions */
    size_t bytes;
} order_region;

static void order_use(order_region *o, int32_t v, int32_t k)
{
    if (v >= 0 && o->last[o->base[v]] < k)
        o->last[o->base[v]] = k;
}

static void order_uses(order_region *o, const ag__region *r)
{
    for (int v = 0; v < r->n_values; v++) {
        const ag__inst *i = ag__value_inst(r, v);
        o->base[v] = i && i->op->is_view ? o->base[i->in[0]] : v;
        o->last[v] = -1;
    }
    for (int k = 0; k < r->n_insts; k++) {
        for (int j = 0; j < r->insts[k].n_in; j++)
            order_use(o, r->insts[k].in[j], k);
        for (int j = 0; j < r->insts[k].n_after; j++)
            order_use(o, r->insts[k].after[j], r->n_insts);
    }
    for (int j = 0; j < r->n_outs; j++)
        order_use(o, r->outs[j], r->n_insts);
}

static bool order_is_late(const order_region *o, const ag__region *r, int32_t k)
{
    const ag__inst *i = &r->insts[k];
    int64_t gained = 0, lost = 0;
    if (!ag__inst_is_row(i) || i->op->draws || i->n_after)
        return false;
    for (int j = 0; j < i->n_out; j++) {
        const int64_t bytes = ag__value_bytes(&r->values[i->out + j]);
        if (o->last[o->base[i->out + j]] == r->n_insts || bytes == INT64_MAX)
            return false;
        gained += bytes;
    }
    if (i->op->is_view)
        return true;
    for (int j = 0; j < i->n_in; j++) {
        const int32_t v = i->in[j] < 0 ? -1 : o->base[i->in[j]];
        const int64_t bytes = v < 0 ? 0 : ag__value_bytes(&r->values[v]);
        if (v >= 0 && o->last[v] == k && ag__value_inst(r, v) && !ag__value_constant(r, v))
            lost += bytes < INT64_MAX - lost ? bytes : INT64_MAX - lost;
    }
    return gained >= lost;
}

/* ---- the pass ---- */

static bool order_enter(ag__rewrite *rw)
{
    ag_context *c = rw->to->graph->c;
    const ag__region *r = rw->from;
    const size_t values = (size_t)r->n_values, insts = (size_t)r->n_insts;
    const size_t bytes = sizeof(order_region) + (2 * values + 2 * insts) * sizeof(int32_t) + insts;
    order_region *o = rw->info = ag__alloc(c, bytes);
    if (!o)
        return false;
    memset(o, 0, bytes);
    o->bytes = bytes;
    o->base = (int32_t *)(void *)(o + 1);
    o->last = o->base + values;
    o->next = o->last + values;
    o->path = o->next + insts;
    o->late = (bool *)(o->path + insts);
    order_uses(o, r);
    for (int k = 0; k < r->n_insts; k++)
        o->late[k] = order_is_late(o, r, k);
    return true;
}

static void order_leave(ag__rewrite *rw)
{
    order_region *o = rw->info;
    if (o)
        ag__free(rw->to->graph->c, o, o->bytes);
}

/* The next operand of instruction k that is to be computed yet: its instruction; -1: there is
 * none. */
static int32_t order_missing(order_region *o, const ag__region *r, int32_t k)
{
    const ag__inst *i = &r->insts[k];
    while (o->next[k] < i->n_in) {
        const int32_t v = i->in[o->next[k]++], from = v < 0 ? -1 : r->values[v].inst;
        if (from >= 0 && o->late[from] && o->next[from] >= 0)
            return from;
    }
    return -1;
}

static bool order_inst(ag__rewrite *rw, const ag__inst *i)
{
    order_region *o = rw->info;
    const ag__region *r = rw->from;
    int32_t k = (int32_t)(i - r->insts);
    int n = 0;
    if (o->late[k])
        return true;
    for (o->path[n++] = k; n;) {
        k = order_missing(o, r, o->path[n - 1]);
        if (k >= 0) {
            o->path[n++] = k;
            continue;
        }
        k = o->path[--n];
        o->next[k] = -1;
        if (!ag__rewrite_copy(rw, &r->insts[k]))
            return false;
    }
    return true;
}

ag_graph *ag__pass_order(const ag_graph *g)
{
    return ag__rewrite_graph(g, &(ag__rewrite_pass){ .inst = order_inst,
                                                     .enter = order_enter,
                                                     .leave = order_leave });
}
