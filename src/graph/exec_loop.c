/*
 * Loops of plans. All of an iteration is steps of the body; around them nothing is done but moving
 * the tensors that stand for one step of a stack.
 */
#include <string.h>

#include "plan_parts.h"
#include "rules.h"

/* Of a loop that runs. */
typedef struct {
    ag__plan *p;
    const plan_loop *l;
    int64_t length; /* -1: as long as the condition holds */
} exec_state;

static bool exec_length(exec_state *s)
{
    const plan_loop *l = s->l;
    s->length = l->length;
    if (l->length_of)
        s->length = ag__load_int((ag_dtype)l->length_of->dtype, ag__at(l->length_of), 0);
    for (int j = 0; j < l->n_xs; j++)
        if (!ag__rule_length(s->p->c, j, ag__sizes(l->xs[j].stack), &s->length))
            return false;
    if (s->length < 0 && !l->cond)
        s->length = 0;
    for (int j = 0; j < l->n_ys; j++)
        if (!l->ys[j].buffer && l->ys[j].stack->dims[0] != s->length)
            return ag_fail(s->p->c, AG_ERR_SHAPE,
                           "ag_scan: %lld steps, where there is room for %lld",
                           (long long)s->length, (long long)l->ys[j].stack->dims[0]);
    return true;
}

static bool exec_goes_on(exec_state *s, int64_t done, bool *goes_on)
{
    const plan_loop *l = s->l;
    *goes_on = !(l->limit && done >= l->limit) && !(s->length >= 0 && done >= s->length);
    if (!*goes_on || !l->cond)
        return true;
    if (!ag__exec_block(s->p, l->cond))
        return false;
    *goes_on =
        l->pred_data ? *l->pred_data : ag__load((ag_dtype)l->pred->dtype, ag__at(l->pred), 0) != 0;
    return true;
}

/* Step `at` of all stacks; there are `done` steps so far. */
static bool exec_stacks(exec_state *s, int64_t at, int64_t done)
{
    const plan_loop *l = s->l;
    for (int j = 0; j < l->n_xs; j++) {
        const plan_x *x = &l->xs[j];
        char *from = ag__at(x->stack) + (size_t)at * x->bytes;
        if (x->copies)
            memcpy(x->step->storage->data, from, x->bytes);
        else
            x->step->storage->data = from;
    }
    for (int j = 0; j < l->n_ys; j++) {
        const plan_y *y = &l->ys[j];
        const int64_t steps = s->length >= 0 ? s->length : done + 1;
        if (y->buffer &&
            !ag__plan_room(s->p, y->buffer, (size_t)steps * y->bytes, (size_t)done * y->bytes))
            return false;
        char *data = y->buffer ? y->buffer->data : ag__at(y->stack);
        y->step->storage->data = data + (size_t)at * y->bytes;
    }
    return true;
}

static bool exec_iterations(exec_state *s, int64_t *done)
{
    const plan_loop *l = s->l;
    const bool stacks = l->n_xs + l->n_ys > 0;
    for (;; ++*done) {
        bool goes_on;
        if (!ag__goes_on(s->p->c) || !exec_goes_on(s, *done, &goes_on))
            return false;
        if (!goes_on)
            return true;
        if (stacks && !exec_stacks(s, l->reverse ? s->length - 1 - *done : *done, *done))
            return false;
        if (!ag__exec_block(s->p, l->body))
            return false;
    }
}

/* Stacks get as many steps as there were. */
static void exec_finish(const exec_state *s, int64_t done)
{
    const plan_loop *l = s->l;
    for (int j = 0; j < l->n_ys; j++) {
        const plan_y *y = &l->ys[j];
        if (!y->buffer)
            continue;
        y->stack->dims[0] = done;
        y->stack->numel = done * y->step->numel;
        y->stack->storage->bytes = (size_t)done * y->bytes;
        if (y->buffer->data)
            y->stack->storage->data = y->buffer->data;
    }
    if (l->count)
        memcpy(ag__at(l->count), &done, sizeof done);
}

void ag__exec_began(const plan_loop *l)
{
    for (int m = 0; m < l->n_swaps; m++) {
        l->swaps[m].began[0] = l->swaps[m].carry->data;
        l->swaps[m].began[1] = l->swaps[m].next->data;
    }
}

void ag__exec_return(const plan_loop *l)
{
    for (int m = 0; m < l->n_swaps; m++) {
        const plan_swap *w = &l->swaps[m];
        if (w->carry->data == w->began[0])
            continue;
        memcpy(w->began[0], w->began[1], w->bytes);
        w->carry->data = w->began[0];
        w->next->data = w->began[1];
    }
}

bool ag__exec_loop(ag__plan *p, const plan_loop *l)
{
    exec_state s = { p, l, -1 };
    int64_t done = 0;
    if (!exec_length(&s))
        return false;
    ag__exec_began(l);
    const bool ok = exec_iterations(&s, &done);
    ag__exec_return(l);
    if (ok)
        exec_finish(&s, done);
    return ok;
}
