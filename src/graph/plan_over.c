/*
 * Results over arguments. Mostly they wait in the arena for the end of the run, when nothing can
 * fail any more, and are copied. But what a pointwise step computes may be written over the
 * argument at once when nobody reads that later, this step reads it element by element, and no step
 * from there on can fail: so the updates at the end of a training step take no memory and no
 * copies.
 */
#include "../ops/matmul.h"
#include "../ops/pointwise.h"
#include "plan_parts.h"

/* When instruction k runs, in the order of instructions. */
static int32_t over_when(const plan_build *b, int32_t k) { return b->group[k] ? b->group[k] : k; }

/* A step of this instruction always succeeds. */
static bool over_succeeds(const plan_build *b, int32_t k)
{
    const ag__inst *i = &b->r->insts[k];
    const bool divides = i->op == ag__ops[AG_OP_fmod] || i->op == ag__ops[AG_OP_remainder];
    for (int j = 0; j < i->n_in; j++)
        if (i->in[j] >= 0 && !ag__plan_knows(&b->r->values[i->in[j]]))
            return false;
    return (b->group[k] && !ag__is_product(i->op)) || i->op == &ag__op_constant ||
           ag__plan_shares(i->op) || i->op == ag__ops[AG_OP_to] || i->op == ag__ops[AG_OP_clone] ||
           (i->op->pointwise && !divides);
}

/* Instruction k reads nothing of parameter q, or all of it in the order of value v. */
static bool over_reads(const plan_build *b, int32_t k, int32_t q, const ag__value *v)
{
    const ag__inst *i = &b->r->insts[k];
    const ag__value *x = &b->r->values[q];
    for (int j = 0; j < i->n_in; j++)
        if (i->in[j] >= 0 && ag__plan_base(b, i->in[j]) == q &&
            (i->in[j] != q || x->dtype != v->dtype ||
             !ag__same_shape(ag__value_shape(x), ag__value_shape(v))))
            return false;
    return true;
}

static bool over_may(const plan_build *b, int32_t v, int32_t q)
{
    const ag__region *r = b->r;
    const int32_t by = r->values[v].inst;
    if (by < 0 || b->target[v] || b->values[q].place != PLAN_FLOATS ||
        !(b->group[by] || r->insts[by].op->pointwise) || !over_succeeds(b, by))
        return false;
    const int32_t when = over_when(b, by);
    if (b->s.last[q] > when)
        return false;
    for (int32_t k = 0; k < r->n_insts; k++) {
        if (!b->s.needed[k] || over_when(b, k) < when)
            continue;
        if (!over_succeeds(b, k) || !over_reads(b, k, q, &r->values[v]))
            return false;
    }
    return true;
}

void ag__plan_over(plan_build *b, const plan_value *targets)
{
    const ag__region *r = b->r;
    const int32_t *into = b->p->into;
    for (int j = 0; j < r->n_outs; j++)
        if (!ag__plan_knows(ag__region_out(r, j))) /* it is made in the end, which may fail */
            return;
    for (int j = 0; j < r->n_outs && !(b->p->off & AG_PASS_REUSE); j++) {
        bool alone = into[j] >= 0 && targets[j].t;
        for (int i = 0; i < r->n_outs && alone; i++)
            alone = i == j || into[i] != into[j];
        if (alone && over_may(b, r->outs[j], r->params[into[j]]))
            b->target[r->outs[j]] = &targets[j];
    }
}
