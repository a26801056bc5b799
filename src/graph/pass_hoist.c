/*
 * Hoist: what is the same in every iteration of a loop is computed in front of it. These are
 * constants, captured values, variables that the body hands on as they are, and what rows compute
 * from such alone. The value is captured then. An instruction leaves as many loops as it can at
 * once.
 *
 * It runs once even when the loop does not, so it must not be able to fail: no row whose kernel
 * looks at values and may refuse them. And its result is held while the loop runs, so it must not
 * be large.
 */
#include "passes.h"
#include "rewrite.h"

enum { HOIST_BYTES = 1 << 20 }; /* results up to so many may be larger than the operands */

/* ---- what may leave ---- */

/* Rows, beside the pointwise ones and views, that take all values. */
static bool hoist_is_safe(const ag__op *op)
{
    static const int safe[] = { AG_OP_sum,
                                AG_OP_mean,
                                AG_OP_nansum,
                                AG_OP_prod,
                                AG_OP_amax,
                                AG_OP_amin,
                                AG_OP_argmax,
                                AG_OP_argmin,
                                AG_OP_var,
                                AG_OP_std,
                                AG_OP_norm,
                                AG_OP_logsumexp,
                                AG_OP_count_nonzero,
                                AG_OP_any,
                                AG_OP_all,
                                AG_OP_cumsum,
                                AG_OP_cumprod,
                                AG_OP_mm,
                                AG_OP_bmm,
                                AG_OP_mv,
                                AG_OP_dot,
                                AG_OP_addmm,
                                AG_OP_softmax,
                                AG_OP_log_softmax,
                                AG_OP_layer_norm,
                                AG_OP_cat,
                                AG_OP_stack,
                                AG_OP_flip,
                                AG_OP_tril,
                                AG_OP_triu,
                                AG_OP_clone,
                                AG_OP_to,
                                AG_OP_full_like,
                                AG_OP_slice_backward,
                                AG_OP_select_backward };
    if (op == ag__ops[AG_OP_fmod] || op == ag__ops[AG_OP_remainder]) /* by an integer 0 */
        return false;
    if (op->pointwise || op->is_view || op->is_hidden_view)
        return true;
    for (int k = 0; k < AG_COUNT(safe); k++)
        if (ag__ops[safe[k]] == op)
            return true;
    return false;
}

static bool hoist_is_cheap(const ag__rewrite *rw, const ag__inst *i)
{
    int64_t in = HOIST_BYTES, out = 0;
    for (int k = 0; k < i->n_in; k++) {
        const int64_t bytes = i->in[k] < 0 ? 0 : ag__value_bytes(&rw->from->values[i->in[k]]);
        in = bytes > in ? bytes : in;
    }
    for (int j = 0; j < i->n_out && out <= in; j++) {
        const int64_t bytes = ag__value_bytes(&rw->from->values[i->out + j]);
        out = bytes > in ? INT64_MAX : out + bytes;
    }
    return i->op->is_view || i->op->is_hidden_view || out <= in;
}

/* ---- leaving ---- */

/* The region is a part of a loop, and all operands are the same in every iteration. */
static bool hoist_stays_same(const ag__rewrite *rw, const int32_t *in, int n)
{
    bool same = rw->owner && ag__inst_is_loop(rw->owner), all_constants = true;
    for (int k = 0; k < n && same; k++) {
        const bool constant = in[k] < 0 || ag__value_constant(rw->to, in[k]);
        all_constants = all_constants && constant;
        same = constant || ag__rewrite_outside(rw, in[k]) >= 0;
    }
    return same && !all_constants;
}

/* What the operands are outside. */
static bool hoist_operands(ag__rewrite *rw, const int32_t *in, int n, int32_t *outside)
{
    bool ok = true;
    for (int k = 0; k < n && ok; k++) {
        ag_tensor *constant = in[k] < 0 ? NULL : ag__value_constant(rw->to, in[k]);
        outside[k] = in[k] < 0  ? -1
                     : constant ? ag__rewrite_constant(rw->outer, constant)
                                : ag__rewrite_outside(rw, in[k]);
        ok = in[k] < 0 || outside[k] >= 0;
    }
    return ok;
}

/* Adds i, with these operands, as far outside as it can be; out: its results in rw->to. */
static bool hoist_add(ag__rewrite *rw, const ag__inst *i, const int32_t *in, const ag__value *types,
                      int32_t *out)
{
    ag_context *c = rw->to->graph->c;
    if (!hoist_stays_same(rw, in, i->n_in)) {
        ag__inst like = *i;
        like.in = in;
        out[0] = ag__rewrite_add(rw, &like, types);
        for (int j = 1; j < i->n_out; j++)
            out[j] = out[0] + j;
        return out[0] >= 0;
    }
    const size_t bytes = (size_t)i->n_in * sizeof(int32_t);
    int32_t *outside = ag__alloc(c, bytes);
    bool ok = outside && hoist_operands(rw, in, i->n_in, outside) &&
              hoist_add(rw->outer, i, outside, types, out);
    for (int j = 0; j < i->n_out && ok; j++)
        ok = (out[j] = ag__rewrite_capture(rw, out[j])) >= 0;
    ag__free(c, outside, bytes);
    return ok;
}

/* ---- the pass ---- */

static bool hoist_is_kept(const ag__region *body, int j)
{
    return body->outs[j] == body->params[j];
}

static bool hoist_loop(ag__rewrite *rw, const ag__inst *i)
{
    if (!ag__rewrite_copy(rw, i))
        return false;
    for (int j = 0; j < ag__inst_carry(i); j++)
        if (hoist_is_kept(i->regions[0], j) &&
            ag__value_alike(&rw->from->values[i->in[j]], &rw->from->values[i->out + j]))
            rw->map[i->out + j] = rw->map[i->in[j]];
    return true;
}

static bool hoist_inst(ag__rewrite *rw, const ag__inst *i)
{
    if (ag__inst_is_loop(i))
        return hoist_loop(rw, i);
    if (!rw->outer || !ag__inst_is_row(i) || i->op->draws || i->n_out < 1 ||
        !hoist_is_safe(i->op) || !hoist_is_cheap(rw, i))
        return ag__rewrite_copy(rw, i);
    int32_t *in = ag__rewrite_in(rw, i);
    return in && hoist_add(rw, i, in, &rw->from->values[i->out], &rw->map[i->out]);
}

/* A variable that the body hands on is captured instead. */
static bool hoist_enter(ag__rewrite *rw)
{
    const ag__inst *i = rw->owner;
    bool ok = true;
    for (int j = 0; i && j < ag__inst_carry(i) && ok; j++) {
        int32_t *v = &rw->map[rw->from->params[j]];
        const int32_t outside = rw->outer->map[i->in[j]];
        if (*v < 0 || !hoist_is_kept(i->regions[0], j) ||
            !ag__value_alike(&rw->outer->to->values[outside], &rw->to->values[*v]))
            continue;
        *v = ag__rewrite_capture(rw, outside);
        ok = *v >= 0;
    }
    return ok;
}

ag_graph *ag__pass_hoist(const ag_graph *g)
{
    return ag__rewrite_graph(g, &(ag__rewrite_pass){ .inst = hoist_inst, .enter = hoist_enter });
}
