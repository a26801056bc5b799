/*
 * Shapes of results when sizes of operands are not known yet.
 *
 * The rows' `infer` functions take numbers for sizes. So unknown sizes are tried out: twice, with two
 * numbers that hardly occur; what differs between the results is unknown. Where the operands do not fit
 * with these, a size that stands among the operands is tried in their place, as in [-1, 3] + [5, 3], and
 * stays for those dims that need it.
 */
#include <stdio.h>
#include <string.h>

#include "graph.h"

extern const ag__op ag__op_view, ag__op_unsafe_view; /* which take -1 themselves */

enum { SHAPES_MAX = 32, SHAPES_ONE = 1009, SHAPES_OTHER = 1013 };

/* Operands whose unknown sizes, `places` of them, stand for something. */
typedef struct {
    const ag__call *call;
    ag_tensor **in; /* the call's operands, or stand-ins for them */
    int64_t *place[SHAPES_MAX];
    bool fixed[SHAPES_MAX]; /* it must be what it is */
    int places;
} shapes_trial;

static void shapes_set(shapes_trial *t, int64_t size)
{
    for (int i = 0; i < t->places; i++)
        if (!t->fixed[i])
            *t->place[i] = size;
}

static bool shapes_infer(const shapes_trial *t, ag__geometry *out)
{
    const ag__call *call = t->call;
    for (int i = 0; i < call->n_in;
         i++) /* sizes have changed, and with them the number of elements */
        if (t->in[i] != call->in[i])
            t->in[i]->numel = ag__shape_numel(ag__sizes(t->in[i]));
    return call->op->infer(&(ag__call){ call->op, call->c, t->in, call->n_in, call->attrs,
                                        call->n_out },
                           out);
}

/* Errors of a trial are nobody's business. */
static bool shapes_fits(const shapes_trial *t, ag__geometry *out)
{
    ag__quiet q;
    ag__quiet_begin(&q, t->call->c);
    const bool ok = shapes_infer(t, out);
    ag__quiet_forget(&q, t->call->c);
    return ok;
}

/* Some size of the operands with which they fit. */
static bool shapes_find(shapes_trial *t, ag__geometry *out)
{
    shapes_set(t, SHAPES_ONE);
    if (shapes_fits(t, out))
        return true;
    for (int i = 0; i < t->call->n_in; i++) {
        const ag_tensor *x = t->call->in[i];
        for (int d = 0; x && d < x->ndim; d++) {
            if (x->dims[d] < 0)
                continue;
            shapes_set(t, x->dims[d]);
            if (shapes_fits(t, out))
                return true;
        }
    }
    return false;
}

/* Which places must be what they are. */
static void shapes_fix(shapes_trial *t, ag__geometry *out)
{
    for (int i = 0; i < t->places; i++) {
        const int64_t size = *t->place[i];
        *t->place[i] = SHAPES_ONE;
        t->fixed[i] = !shapes_fits(t, out);
        if (t->fixed[i])
            *t->place[i] = size;
    }
}

/* The error that comes with sizes that are unknown, told with -1 in their place. */
static bool shapes_fail(shapes_trial *t, ag__geometry *out)
{
    ag_context *c = t->call->c;
    char number[8], *at;
    ag__quiet q;
    const int digits = snprintf(number, sizeof number, "%d", SHAPES_ONE);
    shapes_set(t, SHAPES_ONE);
    ag__quiet_begin(&q, c);
    shapes_infer(t, out);
    while ((at = strstr(c->message, number)) != NULL) {
        memcpy(at, "-1", 2);
        memmove(at + 2, at + digits, strlen(at + digits) + 1);
    }
    ag__quiet_tell(&q, c);
    return false;
}

static bool shapes_merge(shapes_trial *t, ag__geometry *out, ag__geometry *other)
{
    shapes_set(t, SHAPES_ONE);
    if (!shapes_infer(t, out))
        return false;
    shapes_set(t, SHAPES_OTHER);
    const bool both = shapes_fits(t, other);
    for (int j = 0; j < t->call->n_out; j++)
        for (int d = 0; d < out[j].ndim; d++)
            if (both ? out[j].shape[d] != other[j].shape[d] : out[j].shape[d] >= SHAPES_ONE)
                out[j].shape[d] = -1;
    return true;
}

static bool shapes_try(shapes_trial *t, ag__geometry *out, ag__geometry *other)
{
    if (!shapes_find(t, out))
        return shapes_fail(t, out);
    shapes_fix(t, out);
    return shapes_merge(t, out, other);
}

/* Operands of unknown size are replaced by symbolic tensors that are nobody's values. */
static bool shapes_stand_in(shapes_trial *t)
{
    for (int i = 0; i < t->call->n_in; i++) {
        ag_tensor *x = t->call->in[i];
        t->in[i] = x;
        if (!x || x->numel >= 0)
            continue;
        ag_tensor *y =
            ag__tensor_symbol(x->c, (ag_dtype)x->dtype, x->ndim, x->dims, *ag__symbol_of(x));
        if (!y)
            return false;
        t->in[i] = y;
        for (int d = 0; d < y->ndim && t->places < SHAPES_MAX; d++)
            if (y->dims[d] < 0)
                t->place[t->places++] = &y->dims[d];
    }
    return true;
}

bool ag__infer_unknown(const ag__call *call, ag__geometry *out)
{
    const bool sizes_given = call->op == &ag__op_view || call->op == &ag__op_unsafe_view;
    bool all_known = true;
    for (int i = 0; i < call->n_in; i++)
        all_known = all_known && (!call->in[i] || call->in[i]->numel >= 0);
    if (sizes_given || all_known)
        return call->op->infer(call, out);
    const size_t in_bytes = (size_t)call->n_in * sizeof(ag_tensor *);
    const size_t bytes = (size_t)call->n_out * sizeof *out;
    shapes_trial t = { .call = call, .in = ag__alloc(call->c, in_bytes) };
    ag__geometry *other = t.in ? ag__alloc(call->c, bytes) : NULL;
    if (t.in)
        memset(t.in, 0, in_bytes);
    const bool ok = other && shapes_stand_in(&t) && shapes_try(&t, out, other);
    for (int i = 0; t.in && i < call->n_in; i++)
        if (t.in[i] && t.in[i] != call->in[i])
            ag__tensor_unref(t.in[i]);
    ag__free(call->c, t.in, in_bytes);
    ag__free(call->c, other, bytes);
    return ok;
}
