/*
 * Instructions of a region become steps, its values tensors.
 *
 * What instructions need is known from the schedule, so each result finds its place at once: that
 * of an operand which ends there, the place where it is wanted in the end (a target), or one of its
 * own, whose time in use begins with this step and is stretched by each that reads it. Views are
 * windows over the storage of their operand and take no step; where its strides allow none, a copy
 * in order comes first.
 */
#include <string.h>

#include "plan_parts.h"

extern const ag__op ag__op_as_strided;

/* ---- views ---- */

/* The geometries of the results; false, where the operand's strides allow none, without an
 * error. */
static bool plan_geometry(const ag__call *call, ag__geometry *g)
{
    ag__quiet q;
    ag__quiet_begin(&q, call->c);
    const bool ok = call->op->infer(call, g);
    ag__quiet_forget(&q, call->c);
    return ok;
}

static bool plan_windows(plan_build *b, const ag__inst *i, ag__geometry *g)
{
    plan_value x = *ag__plan_in(b, i, 0);
    const bool by_strides = i->op == &ag__op_as_strided;
    if (by_strides && (x.t->offset || !ag__is_contiguous(x.t)) &&
        !ag__plan_dense(b->p, b->block, &x))
        return false;
    ag__call call = { i->op, b->p->c, &x.t, 1, i->attrs, i->n_out };
    if (!plan_geometry(&call, g) &&
        (!ag__plan_dense(b->p, b->block, &x) || !call.op->infer(&call, g)))
        return false;
    for (int j = 0; j < i->n_out; j++) {
        if (b->s.last[i->out + j] < 0)
            continue;
        ag_tensor *t = ag__tensor_window(x.t, &g[j]);
        if (!ag__plan_keep(b->p, t))
            return false;
        b->values[i->out + j] = (plan_value){ .t = t, .place = x.place, .lent = x.lent };
    }
    return true;
}

static bool plan_view(plan_build *b, const ag__inst *i)
{
    const size_t bytes = (size_t)i->n_out * sizeof(ag__geometry);
    ag__geometry *g = ag__alloc(b->p->c, bytes);
    const bool ok = g && plan_windows(b, i, g);
    ag__free(b->p->c, g, bytes);
    return ok;
}

/* ---- rows that compute ---- */

bool ag__plan_whole(const ag__plan *p, const plan_value *v)
{
    return v->place >= 0 && ag__plan_size(v->t) == p->places[v->place].bytes && v->t->offset == 0 &&
           ag__is_contiguous(v->t);
}

int32_t ag__plan_base(const plan_build *b, int32_t v)
{
    for (int32_t by; (by = b->r->values[v].inst) >= 0; v = b->r->insts[by].in[0])
        if (!ag__plan_shares(b->r->insts[by].op))
            break;
    return v;
}

bool ag__plan_ends(const plan_build *b, int32_t v, int32_t k)
{
    const plan_value *x = &b->values[v];
    return !(b->p->off & AG_PASS_REUSE) && !x->lent && b->s.last[ag__plan_base(b, v)] == k &&
           ag__plan_whole(b->p, x);
}

/* Operand j of a pointwise row may be written over: no other operand reads its elements in
 * another order. */
static bool plan_over(const plan_build *b, int32_t k, int j, const ag__value *result)
{
    const ag__inst *i = &b->r->insts[k];
    const plan_value *x = ag__plan_in(b, i, j);
    if (!ag__plan_ends(b, i->in[j], k) || x->t->numel != ag__shape_numel(ag__value_shape(result)) ||
        ag__itemsize((ag_dtype)x->t->dtype) != ag__itemsize((ag_dtype)result->dtype))
        return false;
    for (int m = 0; m < i->n_in; m++) {
        const plan_value *y = ag__plan_in(b, i, m);
        if (y->place == x->place &&
            (y->t->numel != x->t->numel || y->t->dtype != x->t->dtype || !ag__is_contiguous(y->t)))
            return false;
    }
    return true;
}

/* The result, over operand x. */
static bool plan_reuse(plan_build *b, const plan_value *x, const ag__value *result, plan_value *v)
{
    ag__geometry g;
    int64_t stride = 1;
    ag__geometry_set(&g, (ag_dtype)result->dtype, ag__value_shape(result));
    g.offset = 0;
    for (int d = g.ndim - 1; d >= 0; d--) {
        g.strides[d] = stride;
        stride *= g.shape[d] > 0 ? g.shape[d] : 1;
    }
    ag_tensor *t = ag__tensor_window(x->t, &g);
    if (t)
        t->dtype = result->dtype;
    *v = (plan_value){ .t = t, .place = x->place };
    return ag__plan_keep(b->p, t);
}

static bool plan_suits(const plan_value *target, const ag__value *v)
{
    return target && target->t->dtype == v->dtype &&
           ag__same_shape(ag__sizes(target->t), ag__value_shape(v));
}

bool ag__plan_home(plan_build *b, int32_t v, const plan_value *over)
{
    const ag__value *result = &b->r->values[v];
    plan_value *value = &b->values[v];
    if (plan_suits(b->target[v], result)) {
        *value = *b->target[v];
        value->lent = true;
        ag__plan_touch(b->p, value);
        return true;
    }
    return over ? plan_reuse(b, over, result, value)
                : ag__plan_tensor(b->p, (ag_dtype)result->dtype, ag__value_shape(result),
                                  PLAN_NO_PLACE, value);
}

/* The operand that the result of a pointwise row is written over; NULL: none. */
static const plan_value *plan_overwritten(const plan_build *b, int32_t k)
{
    const ag__inst *i = &b->r->insts[k];
    for (int j = 0; j < i->n_in && i->op->pointwise; j++)
        if (plan_over(b, k, j, &b->r->values[i->out]))
            return ag__plan_in(b, i, j);
    return NULL;
}

/* One element, of operands that have one: its loop may be called directly, when nothing moves. */
static bool plan_places(plan_build *b, const ag__inst *i, plan_kernel *kernel)
{
    if (!i->op->pointwise || kernel->out[0]->numel != 1)
        return true;
    for (int j = 0; j < i->n_in; j++)
        if (kernel->call.in[j]->numel != 1)
            return true;
    kernel->place = ag__graph_alloc(b->p->g, (size_t)(1 + i->n_in) * sizeof *kernel->place);
    if (!kernel->place)
        return false;
    kernel->place[0] = b->values[i->out].place;
    for (int j = 0; j < i->n_in; j++)
        kernel->place[1 + j] = ag__plan_in(b, i, j)->place;
    return true;
}

/* A row gives numbers when it gets nothing else. */
static bool plan_numbers(const ag__call *call)
{
    for (int j = 0; j < call->n_in; j++)
        if (!(call->in[j]->flags & AG_T_NUMBER))
            return false;
    return call->op->pointwise;
}

plan_kernel *ag__plan_kernel(plan_build *b, int32_t k)
{
    ag__plan *p = b->p;
    const ag__inst *i = &b->r->insts[k];
    plan_kernel *kernel = ag__graph_alloc(p->g, sizeof *kernel);
    const size_t tensors = (size_t)i->n_in + (size_t)i->n_out;
    ag_tensor **in = kernel ? ag__graph_alloc(p->g, tensors * sizeof *in) : NULL;
    if (!in)
        return NULL;
    kernel->call = (ag__call){ i->op, p->c, in, i->n_in, i->attrs, i->n_out };
    kernel->out = in + i->n_in;
    for (int j = 0; j < i->n_in; j++) {
        const plan_value *x = ag__plan_in(b, i, j);
        in[j] = x ? x->t : NULL;
        ag__plan_touch(p, x);
    }
    for (int j = 0; j < i->n_out; j++) {
        if (!ag__plan_home(b, i->out + j, plan_overwritten(b, k)))
            return NULL;
        kernel->out[j] = b->values[i->out + j].t;
        if (plan_numbers(&kernel->call))
            kernel->out[j]->flags |= AG_T_NUMBER;
    }
    return kernel;
}

static bool plan_compute(plan_build *b, int32_t k)
{
    plan_step *s = ag__plan_step(b->p, b->block, PLAN_KERNEL);
    plan_kernel *kernel = s ? ag__plan_kernel(b, k) : NULL;
    if (!kernel)
        return false;
    s->u.kernel = kernel;
    return plan_places(b, &b->r->insts[k], kernel);
}

/* ---- rows whose sizes are known when they run ---- */

bool ag__plan_dynamic(ag__plan *p, plan_block *block, const ag__inst *i,
                      const plan_value *const *in, const plan_value *out)
{
    plan_step *s = ag__plan_step(p, block, PLAN_DYNAMIC);
    plan_dynamic *d = s ? ag__graph_alloc(p->g, sizeof *d) : NULL;
    const size_t n = (size_t)i->n_in + 2 * (size_t)i->n_out;
    d = d && (d->in = ag__graph_alloc(p->g, n * sizeof *d->in)) ? d : NULL;
    d = d && (d->binds = ag__graph_alloc(p->g, (size_t)i->n_out)) ? d : NULL;
    if (!d)
        return false;
    s->u.dynamic = d;
    d->inst = i;
    d->out = d->in + i->n_in;
    d->room = d->out + i->n_out;
    for (int j = 0; j < i->n_in; j++) {
        d->in[j] = in[j] ? in[j]->t : NULL;
        ag__plan_touch(p, in[j]);
    }
    for (int j = 0; j < i->n_out; j++) {
        d->out[j] = out[j].t;
        d->binds[j] = out[j].t && out[j].dynamic;
        if (out[j].t && out[j].place >= 0)
            p->places[out[j].place].from = p->places[out[j].place].to = p->now;
    }
    return true;
}

static bool plan_unknown(plan_build *b, const ag__inst *i)
{
    const plan_value **in = ag__graph_alloc(b->p->g, (size_t)i->n_in * sizeof *in);
    for (int j = 0; j < i->n_in && in; j++)
        in[j] = ag__plan_in(b, i, j);
    bool ok = in != NULL;
    for (int j = 0; j < i->n_out && ok; j++) {
        const ag__value *v = &b->r->values[i->out + j];
        plan_value *out = &b->values[i->out + j];
        if (b->s.last[i->out + j] < 0)
            continue;
        ok = ag__plan_knows(v)
                 ? ag__plan_tensor(b->p, (ag_dtype)v->dtype, ag__value_shape(v), PLAN_NO_PLACE, out)
                 : ag__plan_bound(b->p, (ag_dtype)v->dtype, ag__value_shape(v), out);
    }
    return ok && ag__plan_dynamic(b->p, b->block, i, in, &b->values[i->out]);
}

/* ---- regions ---- */

static bool plan_is_dynamic(const plan_build *b, const ag__inst *i)
{
    for (int j = 0; j < i->n_in; j++) {
        const plan_value *x = ag__plan_in(b, i, j);
        if (x && x->dynamic)
            return true;
    }
    for (int j = 0; j < i->n_out; j++)
        if (!ag__plan_knows(&b->r->values[i->out + j]))
            return true;
    return false;
}

static bool plan_inst(plan_build *b, int32_t k)
{
    const ag__inst *i = &b->r->insts[k];
    if (b->group[k])
        return b->group[k] != k || ag__fuse_step(b, k);
    b->p->n_nodes++;
    if (i->op == &ag__op_constant) {
        b->values[i->out] = (plan_value){ .t = i->tensor, .place = PLAN_CONSTANT, .lent = true };
        return true;
    }
    if (i->op == &ag__op_detach) {
        b->values[i->out] = *ag__plan_in(b, i, 0);
        return true;
    }
    if (i->op == &ag__op_cond || i->op == &ag__op_switch)
        return ag__plan_branch(b, k);
    if (i->op == &ag__op_while || i->op == &ag__op_scan)
        return ag__plan_loop(b, k);
    if (i->op == &ag__op_while_back)
        return ag__plan_back(b, k);
    const bool by_sizes =
        i->op == &ag__op_reshape_like || i->op == &ag__op_expand_like || i->op == &ag__op_cut_like;
    if (!i->op->infer && !by_sizes)
        return ag__plan_unsupported(b->p, i->op->name);
    if (by_sizes || plan_is_dynamic(b, i))
        return plan_unknown(b, i);
    return ag__plan_shares(i->op) ? plan_view(b, i) : plan_compute(b, k);
}

/* What is a view of a value needs it as long as itself. */
static void plan_stretch(plan_build *b)
{
    for (int32_t k = b->r->n_insts - 1; k >= 0; k--) {
        const ag__inst *i = &b->r->insts[k];
        if (!b->s.needed[k] || !ag__plan_shares(i->op))
            continue;
        for (int j = 0; j < i->n_out; j++)
            if (b->s.last[i->in[0]] < b->s.last[i->out + j])
                b->s.last[i->in[0]] = b->s.last[i->out + j];
    }
}

static bool plan_insts(plan_build *b, const int32_t *wanted, int n, const plan_value *params,
                       const plan_value *targets, plan_value *outs)
{
    const ag__region *r = b->r;
    const bool main = r == &b->p->g->main;
    plan_stretch(b);
    if (!(b->p->off & AG_PASS_FUSE))
        ag__fuse(b);
    for (int j = 0; j < r->n_params; j++)
        b->values[r->params[j]] = params[j];
    for (int j = 0; j < n && targets; j++)
        if (targets[j].t && !b->target[wanted[j]] && !(main && b->p->into[j] >= 0))
            b->target[wanted[j]] = &targets[j];
    if (main)
        ag__plan_over(b, targets);
    for (int32_t k = 0; k < r->n_insts; k++)
        if (b->s.needed[k] && !plan_inst(b, k))
            return false;
    for (int j = 0; j < n; j++) {
        outs[j] = b->values[wanted[j]];
        ag__plan_touch(b->p, &outs[j]);
    }
    return true;
}

bool ag__plan_part(ag__plan *p, const ag__region *r, const int32_t *wanted, int n,
                   plan_block *block, const plan_value *params, const plan_value *targets,
                   plan_value *outs)
{
    const size_t n_values = (size_t)r->n_values, n_insts = (size_t)r->n_insts;
    const size_t bytes =
        n_values * (sizeof(plan_value) + sizeof(plan_value *)) + n_insts * sizeof(int32_t);
    plan_build b = { .p = p, .r = r, .block = block };
    if (!block || !ag__schedule_make(&b.s, p->c, r, wanted, n, NULL))
        return false;
    b.values = ag__alloc(p->c, bytes);
    if (b.values) {
        memset(b.values, 0, bytes);
        b.target = (const plan_value **)(void *)(b.values + n_values);
        b.group = (int32_t *)(void *)(b.target + n_values);
    }
    const bool ok = b.values && plan_insts(&b, wanted, n, params, targets, outs);
    ag__free(p->c, b.values, bytes);
    ag__schedule_free(&b.s, p->c);
    return ok;
}

bool ag__plan_region(ag__plan *p, const ag__region *r, plan_block *block, const plan_value *params,
                     const plan_value *targets, plan_value *outs)
{
    return ag__plan_part(p, r, r->outs, r->n_outs, block, params, targets, outs);
}
