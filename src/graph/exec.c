/*
 * Running plans, see plan.h: arguments are bound or copied, then steps are taken from a list. What
 * is written over an argument is written when nothing can fail any more.
 */
#include <string.h>

#include "../ops/matmul.h"
#include "../ops/pointwise.h"
#include "../tensor/foreign.h"
#include "../kernels/convert.h"
#include "flow.h"
#include "plan_parts.h"

/* ---- steps ---- */

static void exec_mixed(const plan_mixed *m)
{
    int64_t room[4];
    char *data[4];
    for (int j = 0; j <= m->n; j++) {
        const ag_dtype wanted = j ? m->compute : m->result;
        data[j] = m->dtype[j] == wanted ? m->one.data[j] : (char *)&room[j];
        if (j && m->dtype[j] != wanted)
            ag__convert(wanted, data[j], 1, m->dtype[j], m->one.data[j], 1, 1);
    }
    for (int j = m->n + 1; j < 4; j++)
        data[j] = data[1];
    m->one.loop(1, data, m->one.p, m->one.q);
    if (data[0] != m->one.data[0])
        ag__convert(m->dtype[0], m->one.data[0], 1, m->result, data[0], 1, 1);
}

/* Most are numbers. */
static void exec_move(char *to, const char *from, size_t bytes)
{
    if (bytes == 4)
        memcpy(to, from, 4);
    else if (bytes == 8)
        memcpy(to, from, 8);
    else
        memmove(to, from, bytes);
}

static bool exec_dynamic(const plan_dynamic *d)
{
    const ag__inst *i = d->inst;
    if (!ag__replay_row(i, d->in, d->room))
        return false;
    bool ok = true;
    for (int j = 0; j < i->n_out; j++) {
        ag_tensor *t = d->room[j], *out = d->out[j];
        if (out && d->binds[j]) {
            ag__tensor_bind(out, t);
        } else if (out) {
            ok = ok && (ag__same_shape(ag__sizes(t), ag__sizes(out)) ||
                        ag_fail(t->c, AG_ERR_SHAPE,
                                "ag_%s: a result has another shape than the plan "
                                "has room for",
                                i->op->name));
            if (ok)
                ag__copy_data(out, t);
        }
        ag__tensor_unref(t);
    }
    return ok;
}

static void exec_rows(void *program, int64_t from, int64_t n)
{
    ag__program_part(program, from, n);
}

static bool exec_program(const plan_step *s)
{
    ag__program *p = s->u.program.made;
    const plan_kernel *k = s->u.program.product;
    if (!k) {
        ag__program_run(p);
        return true;
    }
    ag__program_bind(p);
    return ag__product(&k->call, k->out[0], &(ag__product_end){ exec_rows, p });
}

static bool exec_branch(ag__plan *p, const plan_branch *b)
{
    const ag_dtype dtype = (ag_dtype)b->index->dtype;
    const int at = b->two ? ag__load(dtype, ag__at(b->index), 0) != 0
                          : ag__flow_branch(ag__load_int(dtype, ag__at(b->index), 0), b->n);
    return ag__exec_block(p, b->blocks[at]);
}

bool ag__exec_block(ag__plan *p, const plan_block *block)
{
    const plan_step *s = block->steps;
    for (int left = block->n; left; left--, s++) {
        bool ok = true;
        switch (s->kind) {
        case PLAN_ONE: s->u.one.loop(1, s->u.one.data, s->u.one.p, s->u.one.q); break;
        case PLAN_MIXED: exec_mixed(s->u.mixed); break;
        case PLAN_MOVE: exec_move(s->u.move.to, s->u.move.from, s->u.move.bytes); break;
        case PLAN_COPY: ag__copy_data(s->u.copy.to, s->u.copy.from); break;
        case PLAN_KERNEL:
            ok = s->u.kernel->call.op->kernel(&s->u.kernel->call, s->u.kernel->out);
            break;
        case PLAN_PROGRAM: ok = exec_program(s); break;
        case PLAN_DYNAMIC: ok = exec_dynamic(s->u.dynamic); break;
        case PLAN_SWAP: {
            ag__storage *a = s->u.swap->carry, *b = s->u.swap->next;
            void *data = a->data;
            a->data = b->data;
            b->data = data;
            break;
        }
        case PLAN_BRANCH: ok = exec_branch(p, s->u.branch); break;
        case PLAN_LOOP: ok = ag__exec_loop(p, s->u.loop); break;
        case PLAN_BACK: ok = ag__exec_back(p, s->u.back); break;
        }
        if (!ok)
            return false;
    }
    return true;
}

/* ---- what goes in and comes out ---- */

static bool exec_inputs(ag__plan *p, ag_tensor *const *args)
{
    for (int j = 0; j < p->g->main.n_params; j++) {
        const plan_input *in = &p->inputs[j];
        ag_tensor *t = in->tensor;
        if (in->buffer && ag__is_contiguous(args[j])) {
            t->storage->data = ag__at(args[j]);
            continue;
        }
        if (in->buffer) {
            if (!ag__plan_room(p, in->buffer, ag__plan_size(t), 0))
                return false;
            t->storage->data = in->buffer->data;
        }
        ag__copy_data(t, args[j]);
    }
    return true;
}

/* Argument `over` lies in memory of its own: no step would see it written in another's. */
static bool exec_apart(const ag__plan *p, ag_tensor *const *args, int over)
{
    const char *begin = ag__at(args[over]), *end = begin + ag__plan_size(args[over]);
    bool apart = ag__is_contiguous(args[over]);
    for (int i = 0; i < p->g->main.n_params && apart; i++) {
        const char *other = ag__at(args[i]);
        apart = i == over || !p->inputs[i].buffer || !ag__is_contiguous(args[i]) || other >= end ||
                other + ag__plan_size(args[i]) <= begin;
    }
    return apart;
}

/* Makes what is given out, so that nothing can fail in the end, and binds results that are
 * computed where they are wanted. */
static bool exec_targets(ag__plan *p, ag_tensor *const *args, ag_tensor **results)
{
    for (int j = 0; j < p->g->main.n_outs; j++) {
        const plan_result *r = &p->results[j];
        ag_tensor *t = r->tensor;
        char *data = NULL;
        if (p->into[j] < 0 && !r->dynamic) {
            results[j] = ag__tensor_new(p->c, (ag_dtype)t->dtype, t->ndim, t->dims);
            if (!results[j])
                return false;
            data = ag__at(results[j]);
        } else if (r->direct && exec_apart(p, args, p->into[j])) {
            data = ag__at(args[p->into[j]]);
        } else if (r->direct) {
            if (!ag__plan_room(p, r->buffer, ag__plan_size(t), 0))
                return false;
            data = r->buffer->data;
        }
        if (r->direct)
            t->storage->data = data;
    }
    return true;
}

static bool exec_results(ag__plan *p, ag_tensor **results)
{
    for (int j = 0; j < p->g->main.n_outs; j++) {
        const ag_tensor *t = p->results[j].tensor;
        if (p->into[j] >= 0 || p->results[j].direct)
            continue;
        if (!results[j] &&
            !(results[j] = ag__tensor_new(p->c, (ag_dtype)t->dtype, t->ndim, t->dims)))
            return false;
        ag__copy_data(results[j], t);
    }
    return true;
}

static bool exec_run(ag__plan *p, ag_tensor *const *args, ag_tensor **results)
{
    if (!exec_inputs(p, args) || !exec_targets(p, args, results) || !ag__exec_block(p, p->main) ||
        !exec_results(p, results))
        return false;
    for (int j = 0; j < p->g->main.n_outs; j++)
        if (p->into[j] >= 0 && ag__at(p->results[j].tensor) != ag__at(args[p->into[j]]))
            ag__copy_data(args[p->into[j]], p->results[j].tensor);
    return true;
}

bool ag__plan_run(ag__plan *p, ag_tensor *const *args, ag_tensor **results)
{
    ag_context *c = p->c;
    const bool grad = c->grad_enabled, inference = c->inference;
    for (int j = 0; j < p->g->main.n_outs; j++)
        results[j] = NULL;
    c->grad_enabled = c->inference = false;
    const bool ok = exec_run(p, args, results);
    c->grad_enabled = grad;
    c->inference = inference;
    for (int j = 0; j < p->n_bound; j++)
        ag__tensor_bind(p->bound[j], p->nothing);
    for (int j = 0; j < p->g->main.n_outs && !ok; j++) {
        ag__tensor_unref(results[j]);
        results[j] = NULL;
    }
    return ok;
}
