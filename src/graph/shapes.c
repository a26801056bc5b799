/*
 * Shapes of results when sizes of operands are not known yet.
 *
 * The rows' `infer` functions take numbers for sizes. So unknown sizes are tried out, with numbers
 * that hardly occur; what differs between the results is unknown. Where the operands do not fit
 * with these, sizes that stand in the call are tried in their place, as in [-1, 3] + [5, 3], and
 * stay for those dims that need it. Sizes that must agree are changed together, and each is 0 and 1
 * for once, which may be less than a part that is cut out.
 *
 * The time of a trial grows with the number of operands, so the number of trials must not: unknown
 * sizes of many operands, as those of cat, are told apart by their dimension alone.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "graph.h"

extern const ag__op ag__op_view, ag__op_unsafe_view; /* which take -1 themselves */

/* Numbers to try: the largest with which there are not too many elements. */
static const int64_t shapes_numbers[][2] = { { 1009, 1013 }, { 97, 101 }, { 11, 13 }, { 3, 5 } };

enum { SHAPES_CANDIDATES = 12, SHAPES_TRIALS = 512, SHAPES_PAIRS = 32 };
enum { SHAPES_ROLES = AG_MAX_DIMS + 1 }; /* where there are more operands, they are alike */

/* An unknown size, or all those of one dimension of many operands that are alike. */
typedef struct {
    int64_t size, kept;
    int from_start, from_end; /* which dimension */
    int candidate;
    bool fixed, chosen; /* it must be what it is; it is one of those that change */
} shapes_place;

/* Where it stands, in a stand-in of an operand. */
typedef struct {
    int64_t *at;
    int place;
} shapes_use;

/* Operands whose unknown sizes stand for something. */
typedef struct {
    const ag__call *call;
    ag_tensor **in; /* the call's operands, or stand-ins for them */
    shapes_place *places;
    shapes_use *uses;
    int n, n_uses;
    bool alike;
    int shared[AG_MAX_DIMS][AG_MAX_DIMS]; /* places of operands that are alike, + 1: by rank */
    int64_t beside[AG_MAX_DIMS]; /* the largest size known, by dimension from the last; 0: none */
    int64_t one, other;
    int64_t candidates[SHAPES_CANDIDATES]; /* `one` and sizes that stand in the call */
    int n_candidates;
} shapes_trial;

static void shapes_set(shapes_trial *t, int64_t size)
{
    for (int i = 0; i < t->n; i++)
        if (!t->places[i].fixed)
            t->places[i].size = size;
}

/* Gives the stand-ins the sizes of their places; false when one is too large. */
static bool shapes_apply(const shapes_trial *t)
{
    const ag__call *call = t->call;
    for (int i = 0; i < t->n_uses; i++)
        *t->uses[i].at = t->places[t->uses[i].place].size;
    for (int i = 0; i < call->n_in; i++) {
        ag_tensor *x = t->in[i];
        if (x == call->in[i])
            continue;
        if (!ag__check_shape(call->c, call->op->name, ag__sizes(x), (ag_dtype)x->dtype))
            return false;
        x->numel = ag__shape_numel(ag__sizes(x));
    }
    return true;
}

static bool shapes_infer(const shapes_trial *t, ag__geometry *out)
{
    const ag__call *call = t->call;
    const ag__call tried = { call->op, call->c, t->in, call->n_in, call->attrs, call->n_out };
    return shapes_apply(t) && call->op->infer(&tried, out);
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

static void shapes_add_candidate(shapes_trial *t, int64_t size)
{
    for (int k = 0; k < t->n_candidates; k++)
        if (t->candidates[k] == size)
            return;
    if (size >= 0 && t->n_candidates < SHAPES_CANDIDATES)
        t->candidates[t->n_candidates++] = size;
}

static void shapes_find_candidates(shapes_trial *t)
{
    const ag__call *call = t->call;
    shapes_add_candidate(t, t->one);
    for (int i = 0; i < call->n_in; i++)
        for (int d = 0; call->in[i] && d < call->in[i]->ndim; d++)
            shapes_add_candidate(t, call->in[i]->dims[d]);
    for (int k = 0; k < call->attrs->n && k < AG_MAX_DIMS; k++)
        shapes_add_candidate(t, call->attrs->list[k]);
    shapes_add_candidate(t, 1);
    shapes_add_candidate(t, 0);
}

/* Counts on to the next choice of a candidate for each place; false when there are no more. */
static bool shapes_next(shapes_trial *t)
{
    int i = 0;
    while (i < t->n && ++t->places[i].candidate == t->n_candidates)
        t->places[i++].candidate = 0;
    for (int k = 0; k < t->n; k++)
        t->places[k].size = t->candidates[t->places[k].candidate];
    return i < t->n;
}

/* What stands beside the places, and the numbers to try. */
static void shapes_look(shapes_trial *t)
{
    bool unknown[AG_MAX_DIMS] = { false };
    for (int i = 0; i < t->call->n_in; i++) {
        const ag_tensor *x = t->call->in[i];
        for (int d = 0; x && d < x->ndim; d++) {
            int64_t *size = &t->beside[x->ndim - 1 - d];
            *size = x->dims[d] > *size ? x->dims[d] : *size;
            unknown[x->ndim - 1 - d] |= x->dims[d] < 0;
        }
    }
    double bytes = HUGE_VAL;
    for (int k = 0; k < AG_COUNT(shapes_numbers) && bytes > (double)INT64_MAX / 2; k++) {
        t->one = shapes_numbers[k][0];
        t->other = shapes_numbers[k][1];
        bytes = (double)sizeof(double) * t->call->n_in;
        for (int d = 0; d < AG_MAX_DIMS; d++) {
            const int64_t least = unknown[d] ? t->other : 1;
            bytes *= (double)(t->beside[d] > least ? t->beside[d] : least);
        }
    }
}

/* Each place takes the size that stands beside it. */
static void shapes_set_beside(shapes_trial *t)
{
    for (int i = 0; i < t->n; i++) {
        const int64_t size = t->beside[t->places[i].from_end];
        t->places[i].size = size ? size : t->one;
    }
}

/* Any candidate in one of the places; the others stay. */
static bool shapes_change_one(shapes_trial *t, int *left, ag__geometry *out)
{
    for (int i = 0; i < t->n; i++) {
        const int64_t size = t->places[i].size;
        for (int k = 0; k < t->n_candidates && --*left >= 0; k++) {
            t->places[i].size = t->candidates[k];
            if (shapes_fits(t, out))
                return true;
        }
        t->places[i].size = size;
    }
    return false;
}

/* Sizes with which the operands fit: one for all places, those beside them, these but one, or
 * any. */
static bool shapes_find(shapes_trial *t, ag__geometry *out)
{
    shapes_find_candidates(t);
    for (int k = 0; k < t->n_candidates; k++) {
        shapes_set(t, t->candidates[k]);
        if (shapes_fits(t, out))
            return true;
    }
    shapes_set_beside(t);
    if (shapes_fits(t, out))
        return true;
    int left = SHAPES_TRIALS / (1 + t->call->n_in / SHAPES_ROLES);
    if (shapes_change_one(t, &left, out))
        return true;
    while (--left >= 0 && shapes_next(t))
        if (shapes_fits(t, out))
            return true;
    return false;
}

/* Which places must be what they are. */
static void shapes_fix(shapes_trial *t, ag__geometry *out)
{
    for (int i = 0; i < t->n; i++) {
        shapes_place *p = &t->places[i];
        const int64_t size = p->size;
        p->size = t->one;
        p->fixed = size != t->one && !shapes_fits(t, out);
        if (p->fixed)
            p->size = size;
    }
}

/* The error that comes with sizes that are unknown, told with -1 in their place. */
static bool shapes_fail(shapes_trial *t, ag__geometry *out)
{
    ag_context *c = t->call->c;
    char number[8], *at;
    ag__quiet q;
    const int digits = snprintf(number, sizeof number, "%d", (int)t->one);
    shapes_set(t, t->one);
    ag__quiet_begin(&q, c);
    shapes_infer(t, out);
    while (digits > 1 && (at = strstr(c->message, number)) != NULL) {
        memcpy(at, "-1", 2);
        memmove(at + 2, at + digits, strlen(at + digits) + 1);
    }
    ag__quiet_tell(&q, c);
    return false;
}

/* What is another size in `other` is not known. */
static void shapes_compare(const shapes_trial *t, ag__geometry *out, const ag__geometry *other)
{
    for (int j = 0; j < t->call->n_out; j++)
        for (int d = 0; d < out[j].ndim; d++)
            if (out[j].shape[d] != other[j].shape[d])
                out[j].shape[d] = -1;
}

/* Tries another size in the chosen places, if it fits; none is chosen then. */
static void shapes_vary(shapes_trial *t, int64_t size, ag__geometry *out, ag__geometry *other)
{
    bool any = false;
    for (int i = 0; i < t->n; i++) {
        shapes_place *p = &t->places[i];
        any = any || p->chosen;
        p->kept = p->size;
        p->size = p->chosen ? size : p->kept;
        p->chosen = false;
    }
    if (any && shapes_fits(t, other))
        shapes_compare(t, out, other);
    for (int i = 0; i < t->n; i++)
        t->places[i].size = t->places[i].kept;
}

/* The result with one number for all places, and -1 where it changes with any of them. Operands
 * that are alike share places by dimension, and need not be changed in more than one way. */
static bool shapes_merge(shapes_trial *t, ag__geometry *out, ag__geometry *other)
{
    shapes_set(t, t->one);
    if (!shapes_infer(t, out))
        return false;
    for (int i = 0; i < t->n; i++)
        t->places[i].chosen = !t->places[i].fixed;
    shapes_vary(t, t->other, out, other);
    for (int i = 0; i < t->n && !t->alike; i++) {
        for (int size = 0; size < 2; size++) {
            t->places[i].chosen = true;
            shapes_vary(t, size, out, other);
        }
        for (int k = 0; k < i && t->n <= SHAPES_PAIRS; k++) {
            t->places[i].chosen = t->places[k].chosen = true;
            shapes_vary(t, t->other, out, other);
        }
    }
    for (int d = 0; d < AG_MAX_DIMS; d++) {
        for (int i = 0; i < t->n; i++)
            t->places[i].chosen = t->places[i].from_start == d;
        shapes_vary(t, t->other, out, other);
        for (int i = 0; i < t->n && !t->alike; i++)
            t->places[i].chosen = t->places[i].from_end == d;
        shapes_vary(t, t->other, out, other);
    }
    return true;
}

static bool shapes_try(shapes_trial *t, ag__geometry *out, ag__geometry *other)
{
    shapes_look(t);
    if (!shapes_find(t, out))
        return shapes_fail(t, out);
    shapes_fix(t, out);
    return shapes_merge(t, out, other);
}

/* The place of dimension d of an operand that has `ndim`. */
static int shapes_place_of(shapes_trial *t, int ndim, int d)
{
    int *shared = t->alike ? &t->shared[ndim - 1][d] : NULL;
    if (shared && *shared)
        return *shared - 1;
    t->places[t->n] = (shapes_place){ .from_start = d, .from_end = ndim - 1 - d };
    if (shared)
        *shared = t->n + 1;
    return t->n++;
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
        for (int d = 0; d < y->ndim; d++)
            if (y->dims[d] < 0)
                t->uses[t->n_uses++] = (shapes_use){ &y->dims[d], shapes_place_of(t, y->ndim, d) };
    }
    return true;
}

bool ag__infer_unknown(const ag__call *call, ag__geometry *out)
{
    const bool sizes_given = call->op == &ag__op_view || call->op == &ag__op_unsafe_view;
    ag_context *c = call->c;
    size_t unknown = 0;
    for (int i = 0; i < call->n_in; i++)
        for (int d = 0; call->in[i] && d < call->in[i]->ndim; d++)
            unknown += call->in[i]->dims[d] < 0;
    if (sizes_given || unknown == 0)
        return call->op->infer(call, out);
    const size_t in_bytes = (size_t)call->n_in * sizeof(ag_tensor *);
    const size_t bytes = (size_t)call->n_out * sizeof *out;
    const size_t place_bytes = unknown * sizeof(shapes_place);
    const size_t use_bytes = unknown * sizeof(shapes_use);
    shapes_trial t = { .call = call,
                       .in = ag__alloc(c, in_bytes),
                       .alike = call->n_in > SHAPES_ROLES };
    ag__geometry *other = t.in ? ag__alloc(c, bytes) : NULL;
    t.places = other ? ag__alloc(c, place_bytes) : NULL;
    t.uses = t.places ? ag__alloc(c, use_bytes) : NULL;
    if (t.in)
        memset(t.in, 0, in_bytes);
    const bool ok = t.uses && shapes_stand_in(&t) && shapes_try(&t, out, other);
    for (int i = 0; t.in && i < call->n_in; i++)
        if (t.in[i] && t.in[i] != call->in[i])
            ag__tensor_unref(t.in[i]);
    ag__free(c, t.in, in_bytes);
    ag__free(c, other, bytes);
    ag__free(c, t.places, place_bytes);
    ag__free(c, t.uses, use_bytes);
    return ok;
}
