/*
 * Branches and loops in plans. Their regions become blocks of steps of their own; what is captured,
 * and what branches are given, are the very tensors of the region around.
 *
 * A carry of a loop is one tensor: what enters is copied into it, or it lies there already; the
 * body reads it as a parameter, and what is left in it is the result. At the end of the body's
 * steps stand those that bring its results into the carries. Mostly the body has written over the
 * carry itself, and there is nothing to do. Large ones are exchanged with the buffer of the body's
 * result where this is one, the rest is copied; what would be overwritten before it is read, as in
 * (a, b) = (b, a), waits in a copy meanwhile.
 *
 * Operands that are taken step by step, and results that are stacked, have a tensor for one step
 * whose storage floats over the stack. One element does not float, so that steps may know its
 * address.
 */
#include "plan_parts.h"

#include <string.h>

enum { FLOW_SWAP_BYTES = 64 }; /* from there on exchanging is cheaper than copying */

static void flow_touch_operands(plan_build *b, const ag__inst *i)
{
    for (int j = 0; j < i->n_in; j++)
        ag__plan_touch(b->p, ag__plan_in(b, i, j));
}

static plan_value flow_lent(const plan_value *v)
{
    plan_value lent = *v;
    lent.lent = true;
    return lent;
}

/* ---- branches ---- */

static bool flow_one_branch(plan_build *b, const ag__inst *i, int at, plan_block **block,
                            const plan_value *results)
{
    const ag__region *r = i->regions[at];
    const int n = i->n_in - 1, m = i->n_out;
    plan_value *params = ag__graph_alloc(b->p->g, (size_t)(n + m) * sizeof *params);
    *block = ag__plan_block(b->p);
    if (!params || !*block)
        return false;
    for (int j = 0; j < n; j++)
        params[j] = flow_lent(ag__plan_in(b, i, 1 + j));
    plan_value *outs = params + n;
    if (!ag__plan_region(b->p, r, *block, params, results, outs))
        return false;
    for (int j = 0; j < m; j++) {
        if (outs[j].dynamic)
            return ag__plan_unsupported(b->p, "a branch with a result of unknown size");
        if (results[j].t && outs[j].t != results[j].t &&
            !ag__plan_copy(b->p, *block, &results[j], &outs[j]))
            return false;
    }
    return true;
}

static bool flow_branch_results(plan_build *b, const ag__inst *i)
{
    for (int j = 0; j < i->n_out; j++) {
        const ag__value *v = &b->r->values[i->out + j];
        if (!ag__plan_knows(v))
            return ag__plan_unsupported(b->p, "a branch with a result of unknown size");
        if (b->s.last[i->out + j] >= 0 &&
            !ag__plan_tensor(b->p, (ag_dtype)v->dtype, ag__value_shape(v), PLAN_NO_PLACE,
                             &b->values[i->out + j]))
            return false;
    }
    return true;
}

bool ag__plan_branch(plan_build *b, int32_t k)
{
    const ag__inst *i = &b->r->insts[k];
    ag__plan *p = b->p;
    plan_branch *branch = ag__graph_alloc(p->g, sizeof *branch);
    if (!branch)
        return false;
    const plan_value *index = ag__plan_in(b, i, 0);
    if (index->dynamic || index->t->numel != 1)
        return ag__plan_unsupported(p, "a branch by more than one element");
    branch->index = index->t;
    branch->two = i->op == &ag__op_cond;
    branch->n = i->n_regions;
    branch->blocks = ag__graph_alloc(p->g, (size_t)branch->n * sizeof *branch->blocks);
    p->now++;
    if (!branch->blocks || !flow_branch_results(b, i))
        return false;
    for (int at = 0; at < branch->n; at++)
        if (!flow_one_branch(b, i, at, &branch->blocks[at], &b->values[i->out]))
            return false;
    plan_step *s = ag__plan_step(p, b->block, PLAN_BRANCH);
    if (!s)
        return false;
    s->u.branch = branch;
    flow_touch_operands(b, i);
    for (int j = 0; j < i->n_out; j++)
        ag__plan_touch(p, &b->values[i->out + j]);
    return true;
}

/* ---- loops ---- */

/* A loop in the making. */
typedef struct {
    plan_build *b;
    ag__plan *p;
    const ag__inst *i;
    int32_t k;
    plan_loop *loop;
    int n_carry, n_xs, n_ys;
    int32_t begins;      /* when the first step of an iteration may be */
    plan_value *params;  /* of the body: carries, steps of xs, captured values */
    plan_value *stacks;  /* of the xs */
    plan_value *targets; /* of the body's results: where one step of a stack goes */
    plan_value *outs;    /* of the body */
} flow_loop;

static const ag__value *flow_param(const flow_loop *l, int j)
{
    const ag__region *body = l->i->regions[0];
    return &body->values[body->params[j]];
}

/* Carry j is what enters, when nobody else needs it, or a copy of it. */
static bool flow_enter(flow_loop *l, int j)
{
    const plan_value *x = ag__plan_in(l->b, l->i, j);
    const ag__value *v = flow_param(l, j);
    plan_value *carry = &l->params[j];
    const unsigned number = v->number ? AG_T_NUMBER : 0;
    if (x->dynamic || !ag__plan_knows(v))
        return ag__plan_unsupported(l->p, "a loop variable of unknown size");
    bool mine = ag__plan_ends(l->b, l->i->in[j], l->k) && (x->t->flags & AG_T_NUMBER) == number;
    for (int m = 0; m < l->i->n_in && mine; m++)
        mine = m == j || ag__plan_in(l->b, l->i, m)->place != x->place;
    *carry = *x;
    if (mine)
        return true;
    if (!ag__plan_dense(l->p, l->b->block, carry))
        return false;
    carry->t->flags = (uint8_t)((carry->t->flags & ~(unsigned)AG_T_NUMBER) | number);
    return true;
}

/* Of a stack that may be a view out of order, a copy in order. */
static bool flow_order(flow_loop *l, int j)
{
    static const ag__attrs none = { 0 };
    plan_value *x = &l->stacks[j], copy;
    const ag__value *v = &l->b->r->values[l->i->in[l->n_carry + j]];
    if (!x->dynamic)
        return ag__is_contiguous(x->t) || ag__plan_dense(l->p, l->b->block, x);
    if (v->inst < 0 || !ag__plan_shares(l->b->r->insts[v->inst].op))
        return true;
    ag__inst *clone = ag__graph_alloc(l->p->g, sizeof *clone);
    if (!clone || !ag__plan_bound(l->p, (ag_dtype)v->dtype, ag__value_shape(v), &copy))
        return false;
    *clone = (ag__inst){ .op = ag__ops[AG_OP_clone], .n_in = 1, .n_out = 1, .attrs = &none };
    const plan_value from = *x;
    *x = copy;
    return ag__plan_dynamic(l->p, l->b->block, clone, &(const plan_value *){ &from }, &copy);
}

static bool flow_x(flow_loop *l, int j)
{
    plan_x *x = &l->loop->xs[j];
    plan_value *step = &l->params[l->n_carry + j];
    const ag__value *v = flow_param(l, l->n_carry + j);
    if (!ag__plan_knows(v))
        return ag__plan_unsupported(l->p, "a loop over steps of unknown size");
    const int64_t numel = ag__shape_numel(ag__value_shape(v));
    x->copies = numel == 1;
    if (!ag__plan_tensor(l->p, (ag_dtype)v->dtype, ag__value_shape(v),
                         x->copies ? PLAN_NO_PLACE : PLAN_FLOATS, step))
        return false;
    step->lent = !x->copies;
    x->stack = l->stacks[j].t;
    x->step = step->t;
    x->bytes = ag__plan_size(step->t);
    return true;
}

static bool flow_y(flow_loop *l, int j)
{
    const int32_t result = l->i->out + l->n_carry + j;
    const ag__value *v = ag__region_out(l->i->regions[0], l->n_carry + j);
    const ag__value *s = &l->b->r->values[result];
    plan_value *step = &l->targets[l->n_carry + j], *stack = &l->b->values[result];
    const bool known = ag__plan_knows(s);
    if (!ag__plan_knows(v) || (known && l->i->op == &ag__op_while))
        return ag__plan_unsupported(l->p, "a stack of what has no known size");
    if (l->b->s.last[result] < 0)
        return true;
    plan_y *y = &l->loop->ys[l->loop->n_ys++];
    if (!ag__plan_tensor(l->p, (ag_dtype)v->dtype, ag__value_shape(v), PLAN_FLOATS, step) ||
        !ag__plan_tensor(l->p, (ag_dtype)s->dtype, ag__value_shape(s),
                         known ? PLAN_NO_PLACE : PLAN_FLOATS, stack) ||
        (!known && !(y->buffer = ag__plan_buffer(l->p))))
        return false;
    stack->lent = !known;
    y->stack = stack->t;
    y->step = step->t;
    y->bytes = ag__plan_size(step->t);
    return true;
}

/* How many iterations there are, and how many there were. */
static bool flow_counts(flow_loop *l)
{
    const int64_t *list = l->i->attrs->list;
    l->loop->limit = list[AG_FLOW_LIMIT];
    l->loop->reverse = list[AG_FLOW_REVERSE];
    l->loop->length = list[AG_FLOW_LENGTH] >= 0 ? list[AG_FLOW_LENGTH] : -1;
    if (list[AG_FLOW_LENGTH] == -2) {
        const plan_value *length = ag__plan_in(l->b, l->i, l->n_carry + l->n_xs);
        if (length->dynamic || length->t->numel != 1)
            return ag__plan_unsupported(l->p, "a length of more than one element");
        l->loop->length_of = length->t;
    }
    if (!list[AG_FLOW_COUNT])
        return true;
    const int32_t v = l->i->out + l->n_carry + l->n_ys;
    if (!ag__plan_tensor(l->p, AG_I64, (ag_ints){ 0 }, PLAN_NO_PLACE, &l->b->values[v]))
        return false;
    l->loop->count = l->b->values[v].t;
    return true;
}

static bool flow_condition(flow_loop *l)
{
    const ag__region *r = l->i->regions[1];
    plan_value *params = ag__graph_alloc(l->p->g, (size_t)r->n_params * sizeof *params), pred;
    l->loop->cond = ag__plan_block(l->p);
    if (!params || !l->loop->cond)
        return false;
    for (int j = 0; j < r->n_params; j++)
        params[j] = flow_lent(&l->params[j]);
    if (!ag__plan_region(l->p, r, l->loop->cond, params, NULL, &pred))
        return false;
    if (pred.dynamic || pred.t->numel != 1)
        return ag__plan_unsupported(l->p, "a condition of more than one element");
    l->loop->pred = pred.t;
    l->loop->pred_place = pred.place;
    return true;
}

static bool flow_body(flow_loop *l)
{
    /* One element is written to where its step has a known address, and copied. */
    const int m = l->n_carry + l->n_ys;
    plan_value *targets = ag__graph_alloc(l->p->g, (size_t)m * sizeof *targets);
    if (!targets)
        return false;
    for (int j = l->n_carry; j < m; j++)
        if (l->targets[j].t && l->targets[j].t->numel > 1)
            targets[j] = l->targets[j];
    return ag__plan_region(l->p, l->i->regions[0], l->loop->body, l->params, targets, l->outs);
}

/* ---- from one iteration to the next ---- */

/* The next value of carry j lies in a carry, which may be overwritten before it is read. */
static bool flow_waits(const flow_loop *l, int j)
{
    for (int m = 0; m < l->n_carry; m++)
        if (l->outs[j].place == l->params[m].place)
            return true;
    return false;
}

static bool flow_swaps(const flow_loop *l, int j)
{
    const plan_value *next = &l->outs[j];
    if (next->lent || !ag__plan_whole(l->p, next) || ag__plan_size(next->t) <= FLOW_SWAP_BYTES)
        return false;
    for (int m = 0; m < l->loop->n_swaps; m++)
        if (l->loop->swaps[m].next == next->t->storage)
            return false;
    return true;
}

static void flow_swap(flow_loop *l, int j)
{
    plan_swap *swap = &l->loop->swaps[l->loop->n_swaps++];
    plan_place *carry = &l->p->places[l->params[j].place];
    plan_place *next = &l->p->places[l->outs[j].place];
    *swap = (plan_swap){ .carry = l->params[j].t->storage,
                         .next = l->outs[j].t->storage,
                         .bytes = carry->bytes };
    carry->moves = next->moves = true;
    next->from = next->from < l->begins ? next->from : l->begins;
}

/* Steps at the end of the body. What waits is copied before anything is written, and buffers are
 * exchanged when all has been read. */
static bool flow_next(flow_loop *l)
{
    plan_block *body = l->loop->body;
    for (int j = l->n_carry; j < l->n_carry + l->n_ys; j++)
        if (l->targets[j].t && l->targets[j].t != l->outs[j].t &&
            !ag__plan_copy(l->p, body, &l->targets[j], &l->outs[j]))
            return false;
    for (int j = 0; j < l->n_carry; j++) {
        plan_value *next = &l->outs[j];
        if (next->dynamic)
            return ag__plan_unsupported(l->p, "a loop variable of unknown size");
        const bool there = next->place == l->params[j].place && ag__plan_whole(l->p, next);
        const bool waits = !there && flow_waits(l, j), swaps = !there && !waits && flow_swaps(l, j);
        if (swaps)
            flow_swap(l, j);
        if (waits && !ag__plan_dense(l->p, body, next))
            return false;
        if (there || swaps)
            next->t = NULL; /* nothing to copy */
    }
    for (int j = 0; j < l->n_carry; j++)
        if (l->outs[j].t && !ag__plan_copy(l->p, body, &l->params[j], &l->outs[j]))
            return false;
    for (int m = 0; m < l->loop->n_swaps; m++) {
        plan_step *s = ag__plan_step(l->p, body, PLAN_SWAP);
        if (!s)
            return false;
        s->u.swap = &l->loop->swaps[m];
    }
    return true;
}

/* ---- all of a loop ---- */

static bool flow_lists(flow_loop *l)
{
    const int m = l->n_carry + l->n_ys, n = l->i->n_in + l->n_xs + 2 * m;
    l->params = ag__graph_alloc(l->p->g, (size_t)n * sizeof *l->params);
    l->loop = ag__graph_alloc(l->p->g, sizeof *l->loop);
    if (!l->params || !l->loop)
        return false;
    l->stacks = l->params + l->i->n_in;
    l->targets = l->stacks + l->n_xs;
    l->outs = l->targets + m;
    plan_loop *loop = l->loop;
    loop->n_xs = l->n_xs;
    loop->xs = ag__graph_alloc(l->p->g, (size_t)l->n_xs * sizeof *loop->xs);
    loop->ys = ag__graph_alloc(l->p->g, (size_t)l->n_ys * sizeof *loop->ys);
    loop->swaps = ag__graph_alloc(l->p->g, (size_t)l->n_carry * sizeof *loop->swaps);
    loop->body = ag__plan_block(l->p);
    return loop->xs && loop->ys && loop->swaps && loop->body;
}

static bool flow_operands(flow_loop *l)
{
    const int own = l->n_carry + l->n_xs;
    const int given = own + (l->i->attrs->list[AG_FLOW_LENGTH] == -2);
    for (int j = 0; j < l->n_carry; j++)
        if (!flow_enter(l, j))
            return false;
    for (int j = 0; j < l->n_xs; j++) {
        l->stacks[j] = *ag__plan_in(l->b, l->i, l->n_carry + j);
        if (!flow_order(l, j))
            return false;
    }
    for (int j = given; j < l->i->n_in; j++)
        l->params[own + j - given] = flow_lent(ag__plan_in(l->b, l->i, j));
    return true;
}

static bool flow_make(flow_loop *l)
{
    bool ok = flow_lists(l) && flow_operands(l);
    l->begins = ++l->p->now;
    for (int j = 0; j < l->n_xs && ok; j++)
        ok = flow_x(l, j);
    for (int j = 0; j < l->n_ys && ok; j++)
        ok = flow_y(l, j);
    return ok && flow_counts(l) && (l->i->op != &ag__op_while || flow_condition(l)) &&
           flow_body(l) && flow_next(l);
}

bool ag__plan_loop(plan_build *b, int32_t k)
{
    const ag__inst *i = &b->r->insts[k];
    const int64_t *list = i->attrs->list;
    flow_loop l = { .b = b,
                    .p = b->p,
                    .i = i,
                    .k = k,
                    .n_carry = (int)list[AG_FLOW_CARRY],
                    .n_xs = (int)list[AG_FLOW_XS],
                    .n_ys = (int)list[AG_FLOW_YS] };
    plan_step *s = flow_make(&l) ? ag__plan_step(b->p, b->block, PLAN_LOOP) : NULL;
    if (!s)
        return false;
    s->u.loop = l.loop;
    flow_touch_operands(b, i);
    for (int j = 0; j < l.n_carry; j++) {
        b->values[i->out + j] = l.params[j];
        ag__plan_touch(b->p, &l.outs[j]); /* it may be the carry in some iterations */
    }
    for (int j = 0; j < l.n_carry + l.n_xs; j++)
        ag__plan_touch(b->p, &l.params[j]);
    for (int j = 0; j < l.n_xs; j++)
        ag__plan_touch(b->p, &l.stacks[j]);
    for (int j = 0; j < l.n_ys + (l.loop->count != NULL); j++)
        ag__plan_touch(b->p, &b->values[i->out + l.n_carry + j]);
    return true;
}

/* ---- loops that go back ---- */

/* One of the two parts: what brings results `from` to `to` of the region into these carries. */
static bool flow_part(const flow_loop *all, const plan_value *params, int from, int to,
                      plan_loop **made)
{
    const ag__region *r = all->i->regions[0];
    flow_loop l = *all;
    l.params += from;
    l.outs += from;
    l.n_carry = to - from;
    *made = l.loop = ag__graph_alloc(l.p->g, sizeof *l.loop);
    if (!l.loop)
        return false;
    l.loop->swaps = ag__graph_alloc(l.p->g, (size_t)l.n_carry * sizeof *l.loop->swaps);
    l.loop->body = ag__plan_block(l.p);
    return l.loop->swaps && l.loop->body &&
           ag__plan_part(l.p, r, r->outs + from, to - from, l.loop->body, params, NULL, l.outs) &&
           flow_next(&l);
}

/* A state is lent to the part that goes back, so that none of its results is exchanged with it. */
static bool flow_parts(flow_loop *l, plan_back *back)
{
    const int n_params = l->i->regions[0]->n_params, n = back->n_states;
    plan_value *params = ag__graph_alloc(l->p->g, (size_t)n_params * sizeof *params);
    back->states = ag__graph_alloc(l->p->g, (size_t)n * sizeof *back->states);
    back->kept = ag__plan_buffer(l->p);
    back->numbers = ag__plan_buffer(l->p);
    if (!params || !back->states || !back->kept || !back->numbers)
        return false;
    for (int j = 0; j < n_params; j++)
        params[j] = j < n ? flow_lent(&l->params[j]) : l->params[j];
    for (int j = 0; j < n; j++) {
        back->states[j] = l->params[j].t;
        back->bytes += ag__plan_size(l->params[j].t);
    }
    return flow_part(l, l->params, 0, n, &back->forward) &&
           flow_part(l, params, n, l->n_carry, &back->backward);
}

bool ag__plan_back(plan_build *b, int32_t k)
{
    const ag__inst *i = &b->r->insts[k];
    flow_loop l = { .b = b, .p = b->p, .i = i, .k = k };
    l.n_carry = (int)i->attrs->list[AG_FLOW_CARRY];
    plan_back *back = ag__graph_alloc(b->p->g, sizeof *back);
    if (!back || !flow_lists(&l) || !flow_operands(&l))
        return false;
    l.begins = ++b->p->now;
    if (!flow_counts(&l))
        return false;
    back->n_states = (int)i->attrs->i[0];
    back->snapshots = i->attrs->list[AG_FLOW_SNAPSHOTS];
    back->length_of = l.loop->length_of;
    plan_step *s = flow_parts(&l, back) ? ag__plan_step(b->p, b->block, PLAN_BACK) : NULL;
    if (!s)
        return false;
    s->u.back = back;
    flow_touch_operands(b, i);
    for (int j = 0; j < l.n_carry; j++) {
        b->values[i->out + j] = l.params[j];
        ag__plan_touch(b->p, &l.params[j]);
        ag__plan_touch(b->p, &l.outs[j]);
    }
    return true;
}
