/*
 * Prune: what no result depends on goes, also inside of loops and branches, with their operands and
 * results that are left over; and of instructions of which one is the other's twin, one stays.
 *
 * Marks spread from the results over a list of values that are needed, each of which is taken from
 * it once: so a variable of a loop is needed when its result is, or the condition, or what is
 * needed in the body, and there is no iterating to a fixed point. Then marked values are copied.
 *
 * Of a chain of twins the last that is needed stands for all, at the place of the first: their
 * operands are the same, and so are their first results.
 */
#include <string.h>

#include "passes.h"
#include "rewrite.h"

typedef struct prune_region {
    const ag__region *r;
    struct prune_region *outer, *inner; /* inner: the regions of its instructions in order */
    const ag__inst *owner;
    int nr;         /* which of the owner's regions */
    bool *needed;   /* values */
    bool *live;     /* instructions */
    int32_t *param; /* values: which parameter; -1: none */
    int32_t *first; /* instructions: where their regions stand in `inner` */
    int32_t *stand; /* instructions: which stands for it */
    int n_inner;
} prune_region;

typedef struct {
    prune_region *in;
    int32_t value;
} prune_item;

typedef struct {
    ag_context *c;
    prune_item *list;
    int n;
    size_t room;
    bool twins;
} prune_marks;

/* ---- the tree of regions ---- */

static size_t prune_bytes(const ag__region *r)
{
    const size_t values = (size_t)r->n_values, insts = (size_t)r->n_insts;
    return values * (sizeof(int32_t) + 1) + insts * (2 * sizeof(int32_t) + 1);
}

static bool prune_open(prune_marks *m, prune_region *p)
{
    const ag__region *r = p->r;
    int32_t *block = ag__alloc(m->c, prune_bytes(r));
    if (!block)
        return false;
    p->param = block;
    p->first = p->param + r->n_values;
    p->stand = p->first + r->n_insts;
    p->needed = (bool *)(p->stand + r->n_insts);
    p->live = p->needed + r->n_values;
    memset(p->needed, 0, (size_t)r->n_values + (size_t)r->n_insts);
    for (int v = 0; v < r->n_values; v++)
        p->param[v] = -1;
    for (int k = 0; k < r->n_params; k++)
        p->param[r->params[k]] = k;
    for (int k = 0; k < r->n_insts; k++) {
        p->first[k] = p->n_inner;
        p->stand[k] = k;
        p->n_inner += r->insts[k].n_regions;
        m->twins = m->twins || r->insts[k].twin;
    }
    m->room += (size_t)r->n_values;
    p->inner = ag__alloc(m->c, (size_t)p->n_inner * sizeof *p->inner);
    if (!p->inner) {
        p->n_inner = 0;
        return false;
    }
    memset(p->inner, 0, (size_t)p->n_inner * sizeof *p->inner);
    bool ok = true;
    for (int k = 0; k < r->n_insts && ok; k++)
        for (int j = 0; j < r->insts[k].n_regions && ok; j++) {
            prune_region *inner = &p->inner[p->first[k] + j];
            *inner = (prune_region){
                .r = r->insts[k].regions[j], .outer = p, .owner = &r->insts[k], .nr = j
            };
            ok = prune_open(m, inner);
        }
    return ok;
}

static void prune_close(prune_marks *m, prune_region *p)
{
    for (int k = 0; k < p->n_inner; k++)
        if (p->inner[k].r)
            prune_close(m, &p->inner[k]);
    ag__free(m->c, p->inner, (size_t)p->n_inner * sizeof *p->inner);
    if (p->param)
        ag__free(m->c, p->param, prune_bytes(p->r));
}

static prune_region *prune_inner(const prune_region *p, const ag__inst *i, int nr)
{
    return &p->inner[p->first[i - p->r->insts] + nr];
}

/* ---- marks ---- */

/* The value that stands for v. */
static int32_t prune_stand(const prune_region *p, int32_t v)
{
    const int32_t k = p->r->values[v].inst;
    if (k < 0)
        return v;
    return p->r->insts[p->stand[k]].out + (v - p->r->insts[k].out);
}

static void prune_mark(prune_marks *m, prune_region *p, int32_t v)
{
    v = v < 0 ? v : prune_stand(p, v);
    if (v < 0 || p->needed[v])
        return;
    p->needed[v] = true;
    m->list[m->n++] = (prune_item){ p, v };
}

/* A loop, the first time that something of it is needed: how often it runs. */
static void prune_mark_loop(prune_marks *m, prune_region *p, const ag__inst *i)
{
    const int carry = ag__inst_carry(i), xs = ag__inst_xs(i);
    prune_region *body = prune_inner(p, i, 0);
    bool known = xs == 0 || i->attrs->list[AG_FLOW_LENGTH] != -1;
    for (int k = carry; k < carry + xs; k++)
        known = known || p->r->values[i->in[k]].shape[0] >= 0;
    if (!known)
        prune_mark(m, body, body->r->params[carry]);
    if (i->attrs->list[AG_FLOW_LENGTH] == -2)
        prune_mark(m, p, i->in[carry + xs]);
    if (i->n_regions > 1) {
        prune_region *cond = prune_inner(p, i, 1);
        prune_mark(m, cond, cond->r->outs[0]);
    }
}

/* Result j of i, which is part of p. */
static void prune_mark_result(prune_marks *m, prune_region *p, const ag__inst *i, int j)
{
    const bool first = !p->live[i - p->r->insts];
    p->live[i - p->r->insts] = true;
    if (!i->n_regions) {
        for (int k = 0; k < i->n_in && first; k++)
            prune_mark(m, p, i->in[k]);
    } else if (ag__inst_is_loop(i)) {
        prune_region *body = prune_inner(p, i, 0);
        if (first)
            prune_mark_loop(m, p, i);
        if (j < ag__inst_carry(i))
            prune_mark(m, body, body->r->params[j]);
        else if (j < body->r->n_outs)
            prune_mark(m, body, body->r->outs[j]);
    } else {
        prune_mark(m, p, i->in[0]);
        for (int k = 0; k < i->n_regions; k++) {
            prune_region *branch = prune_inner(p, i, k);
            prune_mark(m, branch, branch->r->outs[j]);
        }
    }
}

/* Parameter k of p. A variable's stands in the body for all that the variable needs. */
static void prune_mark_param(prune_marks *m, prune_region *p, int k)
{
    if (!p->outer)
        return;
    const bool variable = k < ag__inst_carry(p->owner);
    if (variable && p->nr > 0) {
        prune_region *body = prune_inner(p->outer, p->owner, 0);
        prune_mark(m, body, body->r->params[k]);
        return;
    }
    if (variable)
        prune_mark(m, p, p->r->outs[k]);
    prune_mark(m, p->outer, p->owner->in[ag__inst_operand(p->owner, k)]);
}

static void prune_run(prune_marks *m, prune_region *p)
{
    for (int j = 0; j < p->r->n_outs; j++)
        prune_mark(m, p, p->r->outs[j]);
    while (m->n) {
        const prune_item at = m->list[--m->n];
        const ag__inst *i = ag__value_inst(at.in->r, at.value);
        if (i)
            prune_mark_result(m, at.in, i, at.value - i->out);
        else
            prune_mark_param(m, at.in, at.in->param[at.value]);
    }
}

/* ---- twins ---- */

/* Chooses who stands for whom, and takes all marks away. */
static void prune_choose(prune_region *p)
{
    const ag__region *r = p->r;
    for (int k = r->n_insts - 1; k >= 0; k--) {
        const int32_t twin = r->insts[k].twin;
        if (twin && ag__inst_is_twin(&r->insts[k], &r->insts[twin]) && p->live[p->stand[twin]])
            p->stand[k] = p->stand[twin];
    }
    memset(p->needed, 0, (size_t)r->n_values + (size_t)r->n_insts);
    for (int k = 0; k < p->n_inner; k++)
        prune_choose(&p->inner[k]);
}

/* ---- the copy ---- */

static bool prune_enter(ag__rewrite *rw)
{
    rw->info = rw->outer ? prune_inner(rw->outer->info, rw->owner, rw->nr) : rw->pass->state;
    return true;
}

static bool prune_is_needed(const prune_region *p, const ag__inst *i, int param)
{
    bool needed = false;
    for (int nr = 0; nr < i->n_regions && !needed; nr++) {
        const prune_region *inner = prune_inner(p, i, nr);
        needed = param < inner->r->n_params && inner->needed[inner->r->params[param]];
    }
    return needed;
}

static bool prune_copy_nested(ag__rewrite *rw, const prune_region *p, const ag__inst *i)
{
    ag_context *c = rw->to->graph->c;
    const size_t bytes = (size_t)i->n_in + (size_t)i->n_out;
    bool *in = ag__alloc(c, bytes), *out = in ? in + i->n_in : NULL;
    if (!in)
        return false;
    memset(in, 1, (size_t)i->n_in); /* those that are no parameters stay */
    for (int k = 0; k < i->regions[0]->n_params; k++)
        in[ag__inst_operand(i, k)] = prune_is_needed(p, i, k);
    for (int j = 0; j < i->n_out; j++)
        out[j] = j < ag__inst_carry(i) ? in[j] : p->needed[i->out + j];
    const bool ok = ag__rewrite_some(rw, i, in, out);
    ag__free(c, in, bytes);
    return ok;
}

static bool prune_inst(ag__rewrite *rw, const ag__inst *i)
{
    const prune_region *p = rw->info;
    const int32_t stand = p->stand[i - p->r->insts];
    const ag__inst *s = &p->r->insts[stand];
    if (!p->live[stand])
        return true;
    bool copied = false;
    for (int j = 0; j < s->n_out; j++)
        copied = copied || rw->map[s->out + j] >= 0;
    if (!copied && !(s->n_regions ? prune_copy_nested(rw, p, s) : ag__rewrite_copy(rw, s)))
        return false;
    for (int j = 0; j < i->n_out; j++)
        rw->map[i->out + j] = rw->map[s->out + j];
    return true;
}

ag_graph *ag__pass_prune(const ag_graph *g)
{
    prune_marks m = { .c = g->c };
    prune_region main = { .r = &g->main };
    ag_graph *new = NULL;
    if (prune_open(&m, &main) && (m.list = ag__alloc(m.c, m.room * sizeof *m.list))) {
        prune_run(&m, &main);
        if (m.twins) {
            prune_choose(&main);
            prune_run(&m, &main);
        }
        new = ag__rewrite_graph(g, &(ag__rewrite_pass){
                                       .inst = prune_inst, .enter = prune_enter, .state = &main });
    }
    ag__free(m.c, m.list, m.room * sizeof *m.list);
    prune_close(&m, &main);
    return new;
}
