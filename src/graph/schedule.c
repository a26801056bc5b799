/*
 * Which instructions of a region are needed for some of its values, and which is the last to use
 * each value: one walk back. Where a value is given that gradients flow through, what computes it
 * is needed too, for its nodes; the given one is then put in its place.
 */
#include <string.h>

#include "gradient.h"
#include "replay.h"

static void schedule_use(ag__schedule *s, int32_t v, int32_t by)
{
    if (v >= 0 && s->last[v] < by)
        s->last[v] = by;
}

/* A value that is given and that lies between the outputs and an input of gradient g is a
 * bridge: the derivatives are those of the graph, taken at what is given. */
static bool schedule_bridge(ag__schedule *s, ag_context *c, const ag__region *r, const ag__inst *g,
                            const bool *fed)
{
    const size_t n = (size_t)r->n_values;
    bool *marks = ag__alloc(c, 2 * n), *behind = marks ? marks + n : NULL;
    if (!marks)
        return false;
    memset(marks, 0, 2 * n);
    for (int j = 0; j < g->n_in; j++)
        if (j < g->attrs->i[0])
            marks[g->in[j]] = true;
        else if (j >= 2 * g->attrs->i[0])
            behind[g->in[j]] = true;
    for (int k = 0; k < r->n_insts; k++) {
        const ag__inst *i = &r->insts[k];
        bool depends = false;
        for (int j = 0; j < i->n_in; j++)
            depends = depends || (i->in[j] >= 0 && behind[i->in[j]]);
        for (int j = 0; j < i->n_out && depends; j++) {
            s->bridge[i->out + j] = s->bridge[i->out + j] || (fed[i->out + j] && i->op->vjp);
            behind[i->out + j] = true;
        }
    }
    const bool ok = ag__depend(r, marks);
    for (size_t v = 0; v < n && ok; v++)
        s->bridge[v] = s->bridge[v] && marks[v];
    ag__free(c, marks, 2 * n);
    return ok;
}

/* Instruction k is needed, and with it what it reads. An assignment does not read what it
 * overwrites. */
static void schedule_need(ag__schedule *s, const ag__region *r, int32_t k)
{
    const ag__inst *i = &r->insts[k];
    const bool overwrites = i->op == &ag__op_assign && i->attrs->i[0] == AG_ASSIGN;
    s->needed[k] = true;
    for (int j = overwrites; j < i->n_in; j++)
        schedule_use(s, i->in[j], k);
    for (int j = 0; j < i->n_after; j++)
        schedule_use(s, i->after[j], k);
    if (i->op != &ag__op_gradient)
        return;
    s->differentiates = true;
    for (int j = 2 * (int)i->attrs->i[0]; j < i->n_in; j++)
        s->source[i->in[j]] = true;
}

bool ag__schedule_make(ag__schedule *s, ag_context *c, const ag__region *r, const int32_t *outs,
                       int n, const bool *fed)
{
    const size_t insts = (size_t)r->n_insts, values = (size_t)r->n_values;
    const size_t bytes = values * sizeof(int32_t) + 2 * values + insts;
    *s = (ag__schedule){ .n_insts = r->n_insts, .n_values = r->n_values };
    s->last = ag__alloc(c, bytes);
    if (!s->last)
        return false;
    s->source = (bool *)(s->last + values);
    s->bridge = s->source + values;
    s->needed = s->bridge + values;
    memset(s->source, 0, 2 * values + insts);
    for (size_t v = 0; v < values; v++)
        s->last[v] = -1;
    for (int j = 0; j < n; j++)
        s->last[outs[j]] = INT32_MAX;
    for (int32_t k = r->n_insts - 1; k >= 0; k--) {
        const ag__inst *i = &r->insts[k];
        bool needed = false;
        for (int j = 0; j < i->n_out; j++)
            needed = needed || (s->last[i->out + j] >= 0 &&
                                !(fed && fed[i->out + j] && !s->bridge[i->out + j]));
        if (!needed)
            continue;
        schedule_need(s, r, k);
        if (fed && i->op == &ag__op_gradient && !schedule_bridge(s, c, r, i, fed)) {
            ag__schedule_free(s, c);
            return false;
        }
    }
    return true;
}

void ag__schedule_free(ag__schedule *s, ag_context *c)
{
    const size_t insts = (size_t)s->n_insts, values = (size_t)s->n_values;
    ag__free(c, s->last, values * sizeof(int32_t) + 2 * values + insts);
    s->last = NULL;
}
