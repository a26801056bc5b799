/* Which instructions of a region are needed for some of its values, and how long values are. */
#include <string.h>

#include "replay.h"

static void schedule_use(ag__schedule *s, int32_t v, int32_t by)
{
    if (v >= 0 && s->last[v] < by)
        s->last[v] = by;
}

/* Instruction k is needed, and with it what it reads. An assignment does not read what it overwrites. */
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
    const size_t bytes = values * sizeof(int32_t) + values + insts;
    *s = (ag__schedule){ .n_insts = r->n_insts, .n_values = r->n_values };
    s->last = ag__alloc(c, bytes);
    if (!s->last)
        return false;
    s->source = (bool *)(s->last + values);
    s->needed = s->source + values;
    memset(s->source, 0, values + insts);
    for (size_t v = 0; v < values; v++)
        s->last[v] = -1;
    for (int j = 0; j < n; j++)
        s->last[outs[j]] = INT32_MAX;
    for (int32_t k = r->n_insts - 1; k >= 0; k--) {
        const ag__inst *i = &r->insts[k];
        bool needed = false;
        for (int j = 0; j < i->n_out; j++)
            needed = needed || (s->last[i->out + j] >= 0 && !(fed && fed[i->out + j]));
        if (needed)
            schedule_need(s, r, k);
    }
    return true;
}

void ag__schedule_free(ag__schedule *s, ag_context *c)
{
    const size_t insts = (size_t)s->n_insts, values = (size_t)s->n_values;
    ag__free(c, s->last, values * sizeof(int32_t) + values + insts);
    s->last = NULL;
}
