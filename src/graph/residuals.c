/*
 * What to keep for a backward pass: of a region that computes values and then derivatives from them, the
 * values that the derivatives need. Whatever follows from parameters that are at hand anyway is computed
 * again, and so are views, fills and loops of unknown length; everything else is kept. What depends on
 * random numbers is never computed again.
 */
#include <string.h>

#include "traced.h"

enum { RESIDUAL_FORWARD = 1, RESIDUAL_FREE = 2, RESIDUAL_NEEDED = 4 };

/* Forward: depends on the first n parameters only. Free: and on those at hand. */
static void residuals_sort(const ag__region *joint, int n, const bool *at_hand, uint8_t *marks)
{
    for (int i = 0; i < n; i++)
        marks[joint->params[i]] |= RESIDUAL_FORWARD | (at_hand[i] ? RESIDUAL_FREE : 0);
    for (int k = 0; k < joint->n_insts; k++) {
        const ag__inst *i = &joint->insts[k];
        uint8_t both = RESIDUAL_FORWARD | RESIDUAL_FREE;
        for (int j = 0; j < i->n_in; j++)
            both &= i->in[j] < 0 ? both : marks[i->in[j]];
        if (ag__inst_draws(i)) /* another call would draw other numbers */
            both &= RESIDUAL_FORWARD;
        for (int j = 0; j < i->n_out; j++)
            marks[i->out + j] |= both;
    }
}

/* Views and fills cost nothing. What has no size that is known beforehand, the stacks of a loop inside
 * this one, could only be kept in a stack of stacks. */
static bool residuals_is_cheap(const ag__region *joint, const ag__inst *i)
{
    for (int j = 0; j < i->n_out; j++)
        if (ag__shape_numel(ag__value_shape(&joint->values[i->out + j])) < 0)
            return true;
    return i->op->is_view || i->op->is_hidden_view || i->op == ag__ops[AG_OP_full_like];
}

/* From the last instruction to the first: what backward instructions, and cheap ones that they need,
 * use of the forward part. Results are needed where they are backward, or say so already. */
static void residuals_need(const ag__region *joint, uint8_t *marks)
{
    for (int k = joint->n_insts - 1; k >= 0; k--) {
        const ag__inst *i = &joint->insts[k];
        bool needed = false, forward = true;
        for (int j = 0; j < i->n_out; j++) {
            needed = needed || marks[i->out + j] & RESIDUAL_NEEDED;
            forward = forward && marks[i->out + j] & RESIDUAL_FORWARD;
        }
        if (!needed || (forward && !residuals_is_cheap(joint, i)))
            continue;
        for (int j = 0; j < i->n_in; j++)
            if (i->in[j] >= 0)
                marks[i->in[j]] |= RESIDUAL_NEEDED;
    }
}

/* What draws random numbers cannot be computed again. */
static bool residuals_repeatable(const ag__region *joint, const uint8_t *marks)
{
    for (int k = 0; k < joint->n_insts; k++) {
        const ag__inst *i = &joint->insts[k];
        bool again = false;
        for (int j = 0; j < i->n_out; j++)
            again = again ||
                    (marks[i->out + j] & RESIDUAL_NEEDED && marks[i->out + j] & RESIDUAL_FORWARD);
        if (again && residuals_is_cheap(joint, i) && ag__inst_draws(i))
            return ag_fail(joint->graph->c, AG_ERR_UNSUPPORTED,
                           "a loop in a loop draws random numbers, and its gradient is taken");
    }
    return true;
}

static bool residuals_keeps(const ag__region *joint, const uint8_t *marks, int v)
{
    const int32_t inst = joint->values[v].inst;
    return (marks[v] & RESIDUAL_NEEDED) && (marks[v] & RESIDUAL_FORWARD) &&
           !(marks[v] & RESIDUAL_FREE) &&
           (inst < 0 || !residuals_is_cheap(joint, &joint->insts[inst]));
}

bool ag__residuals(ag_context *c, const ag__region *joint, int n, int first_result,
                   const bool *at_hand, int32_t **kept, int *n_kept)
{
    const size_t values = (size_t)joint->n_values;
    uint8_t *marks = ag__alloc(c, values);
    *kept = ag__alloc(c, values * sizeof **kept);
    *n_kept = 0;
    if (marks && *kept) {
        memset(marks, 0, values);
        residuals_sort(joint, n, at_hand, marks);
        for (int j = first_result; j < joint->n_outs; j++)
            marks[joint->outs[j]] |= RESIDUAL_NEEDED;
        residuals_need(joint, marks);
        for (int v = 0; v < joint->n_values; v++)
            if (residuals_keeps(joint, marks, v))
                (*kept)[(*n_kept)++] = v;
    }
    const bool ok = marks && *kept && residuals_repeatable(joint, marks);
    if (!ok)
        ag__free(c, *kept, values * sizeof **kept);
    ag__free(c, marks, values);
    return ok;
}
