/*
 * Fold: what depends on constants alone is computed now, by the operation itself, where the result
 * is small. A branch whose index is a constant takes the place of the instruction; a constant that
 * a region captures becomes one inside; a tensor filled with one value is a constant of one
 * element, expanded.
 *
 * An operation that fails stays as it is: it may never run, and if it does, its error is the
 * program's.
 */
#include <string.h>

#include "flow.h"
#include "passes.h"
#include "rewrite.h"

extern const ag__op ag__op_full_like, ag__op_expand;

enum { FOLD_BYTES = 65536 }; /* results up to so many may be larger than the operands */

/* ---- rows ---- */

/* All operands are constants; *bytes: of all of them. */
static bool fold_operands(const ag__rewrite *rw, const ag__inst *i, const int32_t *in,
                          int64_t *bytes)
{
    *bytes = 0;
    for (int k = 0; k < i->n_in; k++) {
        if (in[k] < 0)
            continue;
        if (!ag__value_constant(rw->to, in[k]))
            return false;
        *bytes += ag__value_bytes(&rw->to->values[in[k]]);
    }
    return true;
}

static bool fold_is_cheap(const ag__rewrite *rw, const ag__inst *i, int64_t in_bytes)
{
    const int64_t most = in_bytes > FOLD_BYTES && !i->op->is_view ? in_bytes : FOLD_BYTES;
    int64_t bytes = 0;
    for (int j = 0; j < i->n_out && bytes <= most; j++) {
        const int64_t more = ag__value_bytes(&rw->from->values[i->out + j]);
        bytes = more > most ? INT64_MAX : bytes + more;
    }
    return bytes <= most;
}

/* Computes i; false: it stays, or there is an error, which is out of memory. */
static bool fold_compute(ag_context *c, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    ag__quiet q;
    ag_scope s;
    const bool grad = c->grad_enabled;
    ag__quiet_begin(&q, c);
    ag__bracket_begin(&s, c);
    c->grad_enabled = false;
    const bool ok = ag__run_many(i->op, in, i->n_in, i->attrs, i->n_out, out);
    c->grad_enabled = grad;
    ag__bracket_end(&s);
    if (c->status.code == AG_ERR_MEMORY)
        ag__quiet_tell(&q, c);
    else
        ag__quiet_forget(&q, c);
    return ok;
}

/* t as a constant like v, which owns its data; NULL without an error: it is of another type. */
static ag_tensor *fold_own(ag_tensor *t, const ag__value *v)
{
    const bool number = t->flags & AG_T_NUMBER;
    if (t->dtype != v->dtype || number != v->number ||
        !ag__same_shape(ag__sizes(t), ag__value_shape(v)))
        return NULL;
    if (t->refs == 1 && t->storage->refs == 1 && ag__is_contiguous(t))
        return ag__tensor_ref(t);
    return ag__contiguous_copy(t, (ag_dtype)t->dtype);
}

/* Results as constants; *folded: they could be. */
static bool fold_results(ag__rewrite *rw, const ag__inst *i, ag_tensor *const *out, bool *folded)
{
    ag_context *c = rw->to->graph->c;
    const unsigned failures = c->failures;
    bool ok = true;
    for (int j = 0; j < i->n_out && *folded && ok; j++) {
        ag_tensor *own = fold_own(out[j], &rw->from->values[i->out + j]);
        *folded = own != NULL;
        ok = !ag__failed_since(c, failures);
        const int32_t v = own ? ag__rewrite_constant(rw, own) : -1;
        ok = ok && (!own || v >= 0);
        rw->map[i->out + j] = v;
        ag__tensor_unref(own);
    }
    return ok;
}

static bool fold_row(ag__rewrite *rw, const ag__inst *i, const int32_t *in, bool *folded)
{
    ag_context *c = rw->to->graph->c;
    const unsigned failures = c->failures;
    const size_t bytes = (size_t)(i->n_in + i->n_out) * sizeof(ag_tensor *);
    ag_tensor **list = ag__alloc(c, bytes), **out = list ? list + i->n_in : NULL;
    if (!list)
        return false;
    for (int k = 0; k < i->n_in; k++)
        list[k] = in[k] < 0 ? NULL : ag__value_constant(rw->to, in[k]);
    *folded = fold_compute(c, i, list, out);
    bool ok = *folded || !ag__failed_since(c, failures);
    if (*folded) {
        ok = fold_results(rw, i, out, folded);
        for (int j = 0; j < i->n_out; j++)
            ag__tensor_unref(out[j]);
    }
    ag__free(c, list, bytes);
    return ok;
}

/* ---- values that are the same everywhere ---- */

static bool fold_full(ag__rewrite *rw, const ag__inst *i)
{
    const ag__value *v = &rw->from->values[i->out];
    const double value = i->attrs->p;
    const bool small = ag__value_bytes(v) <= FOLD_BYTES;
    ag__attrs attrs = { .n = v->ndim };
    for (int d = 0; d < v->ndim; d++)
        attrs.list[d] = v->shape[d];
    ag_tensor *t =
        ag__tensor_new(rw->to->graph->c, (ag_dtype)v->dtype, small ? v->ndim : 0, v->shape);
    if (!t)
        return false;
    ag__convert((ag_dtype)t->dtype, ag__at(t), 1, AG_F64, &value, 0, t->numel);
    int32_t new = ag__rewrite_constant(rw, t);
    ag__tensor_unref(t);
    if (new >= 0 && !small)
        new = ag__rewrite_add(
            rw,
            &(ag__inst){ .op = &ag__op_expand, .n_in = 1, .n_out = 1, .in = &new, .attrs = &attrs },
            v);
    return (rw->map[i->out] = new) >= 0;
}

/* ---- branches ---- */

static bool fold_branch(ag__rewrite *rw, const ag__inst *i, const ag_tensor *index)
{
    ag_context *c = rw->to->graph->c;
    const int k =
        i->op == &ag__op_cond
            ? ag__load((ag_dtype)index->dtype, ag__at(index), 0) != 0
            : ag__flow_branch(ag__load_int((ag_dtype)index->dtype, ag__at(index), 0), i->n_regions);
    const size_t bytes = (size_t)(i->n_in + i->n_out) * sizeof(int32_t);
    int32_t *args = ag__alloc(c, bytes), *outs = args ? args + i->n_in : NULL;
    if (!args)
        return false;
    for (int p = 1; p < i->n_in; p++)
        args[p - 1] = rw->map[i->in[p]];
    const bool ok = ag__rewrite_inline(rw, i->regions[k], args, outs);
    for (int j = 0; j < i->n_out && ok; j++)
        rw->map[i->out + j] = outs[j];
    ag__free(c, args, bytes);
    return ok;
}

/* ---- the pass ---- */

static bool fold_inst(ag__rewrite *rw, const ag__inst *i)
{
    int64_t bytes;
    bool folded = false;
    if (i->op == &ag__op_cond || i->op == &ag__op_switch) {
        const ag_tensor *index = ag__value_constant(rw->to, rw->map[i->in[0]]);
        if (index && index->numel == 1)
            return fold_branch(rw, i, index);
    }
    if (i->op == &ag__op_full_like && ag__value_bytes(&rw->from->values[i->out]) < INT64_MAX &&
        !rw->from->values[i->out].number)
        return fold_full(rw, i);
    if (ag__inst_is_row(i) && !i->op->draws && i->n_in > 0) {
        const int32_t *in = ag__rewrite_in(rw, i);
        if (!in || (fold_operands(rw, i, in, &bytes) && fold_is_cheap(rw, i, bytes) &&
                    !fold_row(rw, i, in, &folded)))
            return false;
    }
    return folded || ag__rewrite_copy(rw, i);
}

static bool fold_enter(ag__rewrite *rw)
{
    for (int p = 0; p < rw->from->n_params; p++) {
        int32_t *v = &rw->map[rw->from->params[p]];
        const int32_t outside = *v < 0 ? -1 : ag__rewrite_outside(rw, *v);
        ag_tensor *constant = outside < 0 ? NULL : ag__value_constant(rw->outer->to, outside);
        if (constant && (*v = ag__rewrite_constant(rw, constant)) < 0)
            return false;
    }
    return true;
}

ag_graph *ag__pass_fold(const ag_graph *g)
{
    return ag__rewrite_graph(g, &(ag__rewrite_pass){ .inst = fold_inst, .enter = fold_enter });
}
