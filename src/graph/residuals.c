/*
 * What to keep for a backward pass: of a region that computes values and then derivatives from
 * them, some of the forward values that the derivatives need. Others are computed again, from what
 * is kept and from parameters that are at hand.
 *
 * Which, is a cut of least cost (cut.h) between what there is and what is needed:
 *
 *     source -> instruction    what it costs to run it again; never, where it is too much or draws
 *     operand -> instruction   never cut: to run it again, its operands must be there
 *     instruction -> result    what it costs to keep it: its bytes
 *     value -> sink            never cut, where a backward instruction uses it
 *
 * An instruction on the sink's side is run again; a value there whose instruction is not is kept.
 * What an element passes through when it is computed again is little beside its bytes, but not
 * nothing, so in a long chain something is kept now and then. Of equal cuts the one that runs least
 * again is taken.
 *
 * What follows from nothing that changes between the calls has no part in this: it is never kept.
 * Of very large regions everything is kept but what costs nothing.
 */
#include <string.h>

#include "../ops/matmul.h"
#include "../ops/pointwise.h"
#include "cut.h"
#include "rewrite.h"
#include "traced.h"

enum {
    RESIDUAL_FORWARD = 1, /* depends on the function's parameters only */
    RESIDUAL_SAME = 2,    /* and on those alone that are the same in every call */
    RESIDUAL_HELD = 4,    /* a parameter that is at hand */
    RESIDUAL_NEEDED = 8,  /* in the backward part */
    RESIDUAL_REACHED = 16 /* there, or to compute again what is */
};

/* Costs, in parts of a byte that is kept. */
enum {
    RESIDUAL_BYTE = 64,
    RESIDUAL_FUNCTION = 8,  /* of a byte of exp, tanh and so on, beside their arithmetic, */
    RESIDUAL_LINES = 24,    /* of softmax, layer_norm, */
    RESIDUAL_REDUCTION = 4, /* of what is reduced, */
    RESIDUAL_COPY = 2,      /* of what is copied, */
    RESIDUAL_SHORT = 32,   /* and a part for each term of products, up to so many, computed again */
    RESIDUAL_LARGE = 20000 /* values */
};

typedef struct {
    ag_context *c;
    const ag__region *joint;
    uint8_t *marks; /* of values */
    bool *again;    /* instructions that are run again where they are needed */
} residuals;

static bool residuals_is(const residuals *r, int32_t v, int mark)
{
    return v >= 0 && (r->marks[v] & mark);
}

/* ---- what depends on what ---- */

static void residuals_sort(const residuals *r, int n, const ag__at_hand *at_hand)
{
    for (int p = 0; p < n; p++)
        r->marks[r->joint->params[p]] |=
            (uint8_t)(RESIDUAL_FORWARD | (at_hand[p] ? RESIDUAL_HELD : 0) |
                      (at_hand[p] == AG_ALWAYS_SAME ? RESIDUAL_SAME : 0));
    for (int k = 0; k < r->joint->n_insts; k++) {
        const ag__inst *i = &r->joint->insts[k];
        int both = RESIDUAL_FORWARD | RESIDUAL_SAME;
        for (int j = 0; j < i->n_in; j++)
            both &= i->in[j] < 0 ? both : r->marks[i->in[j]];
        if (ag__inst_draws(i)) /* another call would draw other numbers */
            both &= RESIDUAL_FORWARD;
        for (int j = 0; j < i->n_out; j++)
            r->marks[i->out + j] |= (uint8_t)both;
    }
}

static bool residuals_any(const residuals *r, const ag__inst *i, int mark)
{
    bool any = false;
    for (int j = 0; j < i->n_out; j++)
        any = any || residuals_is(r, i->out + j, mark);
    return any;
}

static void residuals_mark_operands(const residuals *r, const ag__inst *i, int mark)
{
    for (int j = 0; j < i->n_in; j++)
        if (i->in[j] >= 0)
            r->marks[i->in[j]] |= (uint8_t)mark;
}

/* What results, which are needed, need of the forward part. */
static void residuals_need(const residuals *r, int first_result)
{
    const ag__region *joint = r->joint;
    for (int j = first_result; j < joint->n_outs; j++)
        r->marks[joint->outs[j]] |= RESIDUAL_NEEDED;
    for (int k = joint->n_insts - 1; k >= 0; k--) {
        const ag__inst *i = &joint->insts[k];
        if (residuals_any(r, i, RESIDUAL_NEEDED) && !residuals_any(r, i, RESIDUAL_FORWARD))
            residuals_mark_operands(r, i, RESIDUAL_NEEDED);
    }
}

/* ---- costs ---- */

static int64_t residuals_bytes(const residuals *r, int32_t v)
{
    return v < 0 ? 0 : ag__value_bytes(&r->joint->values[v]);
}

/* What has no size that is known beforehand, the stacks of a loop inside this one, could only be
 * kept in a stack of stacks. */
static bool residuals_is_unknown(const residuals *r, const ag__inst *i)
{
    for (int j = 0; j < i->n_out; j++)
        if (residuals_bytes(r, i->out + j) == INT64_MAX)
            return true;
    return false;
}

static bool residuals_is_free(const ag__inst *i)
{
    return i->op->is_view || i->op->is_hidden_view || i->op == ag__ops[AG_OP_full_like];
}

static bool residuals_among(const ag__op *op, const int *list, int n)
{
    for (int k = 0; k < n; k++)
        if (ag__ops[list[k]] == op)
            return true;
    return false;
}

/* Of a structured row, for each byte of the larger of operand and result; -1: too much. */
static int64_t residuals_rate(const ag__op *op)
{
    static const int lines[] = { AG_OP_softmax, AG_OP_log_softmax, AG_OP_layer_norm };
    static const int reductions[] = { AG_OP_sum,           AG_OP_mean,      AG_OP_nansum,
                                      AG_OP_prod,          AG_OP_amax,      AG_OP_amin,
                                      AG_OP_argmax,        AG_OP_argmin,    AG_OP_var,
                                      AG_OP_std,           AG_OP_logsumexp, AG_OP_norm,
                                      AG_OP_count_nonzero, AG_OP_any,       AG_OP_all };
    static const int copies[] = { AG_OP_cat,          AG_OP_stack,          AG_OP_flip,
                                  AG_OP_tril,         AG_OP_triu,           AG_OP_clone,
                                  AG_OP_to,           AG_OP_masked_fill,    AG_OP_one_hot,
                                  AG_OP_index_select, AG_OP_slice_backward, AG_OP_select_backward };
    return residuals_among(op, lines, AG_COUNT(lines))             ? RESIDUAL_LINES
           : residuals_among(op, reductions, AG_COUNT(reductions)) ? RESIDUAL_REDUCTION
           : residuals_among(op, copies, AG_COUNT(copies))         ? RESIDUAL_COPY
                                                                   : -1;
}

/* Of a product of matrices: how many terms a sum has; -1: too many. */
static int64_t residuals_terms(const residuals *r, const ag__inst *i)
{
    if (!ag__is_product(i->op))
        return -1;
    const ag__value *v = &r->joint->values[i->in[i->n_in - 2]];
    const int64_t terms = v->shape[v->ndim - 1];
    return terms > RESIDUAL_SHORT ? -1 : terms;
}

static int64_t residuals_times(int64_t bytes, int64_t rate)
{
    return bytes > AG_CUT_MOST / (2 * RESIDUAL_BYTE) ? AG_CUT_MOST : bytes * rate;
}

/* Of running an instruction again. What cannot be kept must be run again, whatever it costs. */
static int64_t residuals_run(const residuals *r, const ag__inst *i)
{
    if (ag__inst_draws(i))
        return AG_CUT_NEVER;
    if (residuals_is_unknown(r, i))
        return AG_CUT_MOST;
    if (residuals_is_free(i))
        return 0;
    const int64_t out = residuals_bytes(r, i->out);
    const ag__pointwise *row = i->op->pointwise;
    if (row)
        return residuals_times(out,
                               row->cost +
                                   (row->keeps_integers || row->predicate ? 0 : RESIDUAL_FUNCTION));
    const int64_t terms = residuals_terms(r, i), rate = residuals_rate(i->op);
    if (terms >= 0)
        return residuals_times(out, terms);
    int64_t most = out;
    for (int j = 0; j < i->n_in; j++)
        if (residuals_bytes(r, i->in[j]) > most)
            most = residuals_bytes(r, i->in[j]);
    return rate < 0 ? AG_CUT_NEVER : residuals_times(most, rate);
}

/* Of keeping a value. Views would be copied, and computing one again costs nothing. */
static int64_t residuals_keep(const residuals *r, int32_t v)
{
    const int32_t k = r->joint->values[v].inst;
    const bool view = k >= 0 && residuals_is_free(&r->joint->insts[k]);
    const int64_t bytes = residuals_bytes(r, v);
    return bytes == INT64_MAX ? AG_CUT_NEVER
                              : residuals_times(bytes, RESIDUAL_BYTE + (view ? RESIDUAL_COPY : 0));
}

/* ---- the choice ---- */

/* Whether instruction i is part of the choice, as running it again can make a difference. */
static bool residuals_is_open(const residuals *r, const ag__inst *i)
{
    return residuals_any(r, i, RESIDUAL_FORWARD) && !residuals_any(r, i, RESIDUAL_SAME);
}

/* From what is needed back to what could be run again; how many values that are. */
static int residuals_reach(const residuals *r)
{
    const ag__region *joint = r->joint;
    int n = 0;
    for (int k = joint->n_insts - 1; k >= 0; k--) {
        const ag__inst *i = &joint->insts[k];
        if (residuals_is_open(r, i) && residuals_any(r, i, RESIDUAL_NEEDED | RESIDUAL_REACHED) &&
            residuals_run(r, i) < AG_CUT_NEVER)
            residuals_mark_operands(r, i, RESIDUAL_REACHED);
    }
    for (int v = 0; v < joint->n_values; v++)
        n += residuals_is(r, v, RESIDUAL_NEEDED | RESIDUAL_REACHED) &&
             residuals_is(r, v, RESIDUAL_FORWARD);
    return n;
}

/* Values are nodes 2 and up, instructions follow. */
static void residuals_join(const residuals *r, ag__cut_net *cut)
{
    const ag__region *joint = r->joint;
    const int of_insts = 2 + joint->n_values;
    for (int v = 0; v < joint->n_values; v++) {
        const int32_t k = joint->values[v].inst;
        if (!residuals_is(r, v, RESIDUAL_NEEDED | RESIDUAL_REACHED) ||
            !residuals_is(r, v, RESIDUAL_FORWARD) ||
            residuals_is(r, v, RESIDUAL_SAME | RESIDUAL_HELD))
            continue;
        ag__cut_join(cut, k < 0 ? 0 : of_insts + k, 2 + v, residuals_keep(r, v));
        if (residuals_is(r, v, RESIDUAL_NEEDED))
            ag__cut_join(cut, 2 + v, 1, AG_CUT_NEVER);
    }
    for (int k = 0; k < joint->n_insts; k++) {
        const ag__inst *i = &joint->insts[k];
        if (!residuals_is_open(r, i) || !residuals_any(r, i, RESIDUAL_NEEDED | RESIDUAL_REACHED))
            continue;
        const int64_t run = residuals_run(r, i);
        ag__cut_join(cut, 0, of_insts + k, run);
        for (int j = 0; j < i->n_in && run < AG_CUT_NEVER; j++)
            if (i->in[j] >= 0 && !residuals_is(r, i->in[j], RESIDUAL_SAME | RESIDUAL_HELD))
                ag__cut_join(cut, 2 + i->in[j], of_insts + k, AG_CUT_NEVER);
    }
}

static int residuals_edges(const ag__region *joint)
{
    int n = 2 * joint->n_values + joint->n_insts;
    for (int k = 0; k < joint->n_insts; k++)
        n += joint->insts[k].n_in;
    return n;
}

/* Without a cut: what costs nothing is run again. */
static void residuals_choose_plainly(const residuals *r)
{
    for (int k = 0; k < r->joint->n_insts; k++) {
        const ag__inst *i = &r->joint->insts[k];
        r->again[k] = residuals_is_free(i) || residuals_is_unknown(r, i) ||
                      residuals_any(r, i, RESIDUAL_SAME);
    }
}

static bool residuals_choose(const residuals *r)
{
    const ag__region *joint = r->joint;
    residuals_choose_plainly(r);
    if (residuals_reach(r) > RESIDUAL_LARGE)
        return true;
    ag__cut_net cut;
    if (!ag__cut_begin(&cut, r->c, 2 + joint->n_values + joint->n_insts, residuals_edges(joint)))
        return false;
    residuals_join(r, &cut);
    if (ag__cut_solve(&cut))
        for (int k = 0; k < joint->n_insts; k++)
            if (residuals_is_open(r, &joint->insts[k]))
                r->again[k] = ag__cut_behind(&cut, 2 + joint->n_values + k);
    ag__cut_end(&cut);
    return true;
}

/* What the choice keeps. False when it runs again what draws random numbers. */
static bool residuals_collect(const residuals *r, int32_t *kept, int *n_kept)
{
    const ag__region *joint = r->joint;
    for (int k = joint->n_insts - 1; k >= 0; k--) {
        const ag__inst *i = &joint->insts[k];
        if (!r->again[k] || !residuals_any(r, i, RESIDUAL_FORWARD) ||
            !residuals_any(r, i, RESIDUAL_NEEDED))
            continue;
        if (ag__inst_draws(i))
            return ag_fail(r->c, AG_ERR_UNSUPPORTED,
                           "a loop in a loop draws random numbers, and its gradient is taken");
        residuals_mark_operands(r, i, RESIDUAL_NEEDED);
    }
    for (int v = 0; v < joint->n_values; v++) {
        const int32_t k = joint->values[v].inst;
        if (residuals_is(r, v, RESIDUAL_NEEDED) && residuals_is(r, v, RESIDUAL_FORWARD) &&
            !residuals_is(r, v, RESIDUAL_HELD) && !(k >= 0 && r->again[k]))
            kept[(*n_kept)++] = v;
    }
    return true;
}

bool ag__residuals(ag_context *c, const ag__region *joint, int n, int first_result,
                   const ag__at_hand *at_hand, int32_t **kept, int *n_kept)
{
    const size_t values = (size_t)joint->n_values, insts = (size_t)joint->n_insts;
    residuals r = { c, joint, ag__alloc(c, values), ag__alloc(c, insts) };
    *kept = ag__alloc(c, values * sizeof **kept);
    *n_kept = 0;
    bool ok = r.marks && r.again && *kept;
    if (ok) {
        memset(r.marks, 0, values);
        residuals_sort(&r, n, at_hand);
        residuals_need(&r, first_result);
        ok = residuals_choose(&r) && residuals_collect(&r, *kept, n_kept);
    }
    if (!ok) {
        ag__free(c, *kept, values * sizeof **kept);
        *kept = NULL;
        *n_kept = 0;
    }
    ag__free(c, r.marks, values);
    ag__free(c, r.again, insts);
    return ok;
}
