/*
 * What depends on addresses: when the arena is there, steps of one element get the loop they call
 * and where its data lie, and small copies become moves of bytes. Storages that move while the plan
 * runs are left to steps that look them up.
 */
#include "../ops/pointwise.h"
#include "plan_parts.h"

enum { LINK_MOVE_BYTES = 64 };

static bool link_fixed(const ag__plan *p, int32_t place)
{
    return place == PLAN_CONSTANT || (place >= 0 && !p->places[place].moves);
}

/* The kernels of integer division refuse a 0, which loops do not. */
static bool link_divides(const plan_kernel *k)
{
    const ag_tensor *b = k->call.in[1];
    return k->place[2] == PLAN_CONSTANT && ag__load_int((ag_dtype)b->dtype, ag__at(b), 0) != 0;
}

/* The loop of a row for one element of each operand. */
static bool link_one(ag__plan *p, plan_step *s)
{
    const plan_kernel *k = s->u.kernel;
    const ag__call *call = &k->call;
    const ag_tensor *out = k->out[0];
    if (!k->place)
        return true;
    for (int j = 0; j <= call->n_in; j++)
        if (!link_fixed(p, k->place[j]))
            return true;
    const ag__pointwise *row = call->op->pointwise;
    const ag_dtype compute = ag__pointwise_compute(call, (ag_dtype)out->dtype);
    if (compute == AG_I64 && (row->index == AG_OP_fmod || row->index == AG_OP_remainder) &&
        !link_divides(k))
        return true;
    const int type = compute == AG_F32   ? AG_LOOP_F32
                     : compute == AG_F64 ? AG_LOOP_F64
                                         : AG_LOOP_I64;
    plan_mixed m = { .one = { .loop = ag__loop_best()->rows[row->index].value[type],
                              .p = call->attrs->p,
                              .q = call->attrs->q },
                     .compute = compute,
                     .result = row->predicate ? AG_BOOL : compute,
                     .n = call->n_in };
    bool mixed = m.result != (ag_dtype)out->dtype;
    for (int j = 0; j < 4; j++) {
        const ag_tensor *t = j == 0 || j > call->n_in ? out : call->in[j - 1];
        m.one.data[j] = ag__at(t);
        m.dtype[j] = (ag_dtype)t->dtype;
        mixed = mixed || (j > 0 && j <= call->n_in && m.dtype[j] != compute);
    }
    for (int j = call->n_in + 1; j < 4; j++) /* what the loop does not use may be any array */
        m.one.data[j] = m.one.data[1];
    if (!mixed) {
        s->kind = PLAN_ONE;
        s->u.one = m.one;
        return true;
    }
    plan_mixed *kept = ag__graph_alloc(p->g, sizeof *kept);
    if (!kept)
        return false;
    *kept = m;
    s->kind = PLAN_MIXED;
    s->u.mixed = kept;
    return true;
}

static void link_copy(const ag__plan *p, plan_step *s)
{
    ag_tensor *to = s->u.copy.to, *from = s->u.copy.from;
    if (!link_fixed(p, s->u.copy.to_place) || !link_fixed(p, s->u.copy.from_place) ||
        to->dtype != from->dtype || !ag__is_contiguous(to) || !ag__is_contiguous(from) ||
        ag__plan_size(to) > LINK_MOVE_BYTES)
        return;
    s->kind = PLAN_MOVE;
    s->u.move.to = ag__at(to);
    s->u.move.from = ag__at(from);
    s->u.move.bytes = ag__plan_size(to);
}

static void link_loop(const ag__plan *p, plan_loop *l)
{
    if (l->cond && l->pred->dtype == AG_BOOL && link_fixed(p, l->pred_place))
        l->pred_data = (const bool *)ag__at(l->pred);
}

bool ag__plan_link(ag__plan *p)
{
    for (plan_block *b = p->blocks; b; b = b->next)
        for (int i = 0; i < b->n; i++) {
            plan_step *s = &b->steps[i];
            if (s->kind == PLAN_KERNEL && !link_one(p, s))
                return false;
            if (s->kind == PLAN_PROGRAM &&
                !(s->u.program.made = ag__program_new(p->c, s->u.program.text)))
                return false;
            if (s->kind == PLAN_COPY)
                link_copy(p, s);
            if (s->kind == PLAN_LOOP)
                link_loop(p, s->u.loop);
        }
    return true;
}
