/*
 * Elements by a mask, a tensor of truth values: masked_fill, masked_select and masked_scatter.
 * Operand and mask broadcast together; elements are taken in order.
 */
#include "index.h"
#include "inplace.h"

#include <string.h>

/* ---- what the rows share ---- */

int64_t ag__mask_count(ag_tensor *mask, ag_ints shape)
{
    ag_tensor *t = ag__spread(mask, AG_BOOL, shape);
    if (!t)
        return -1;
    const char *on = ag__at(t);
    int64_t n = 0;
    for (int64_t k = 0; k < t->numel; k++)
        n += on[k] != 0;
    ag__tensor_unref(t);
    return n;
}

/* ---- masked_fill ---- */

static bool masked_fill_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *mask = call->in[1], *value = call->in[2];
    if (mask->dtype != AG_BOOL)
        return ag_fail(
            call->c, AG_ERR_DTYPE,
            "ag_masked_fill: masked_fill only supports boolean masks, but got mask with dtype "
            "%s",
            ag_dtype_name((ag_dtype)mask->dtype));
    if (value->ndim != 0)
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_masked_fill: masked_fill only supports a 0-dimensional value tensor, but got "
            "tensor with %d dimension(s).",
            value->ndim);
    out->dtype = (ag_dtype)x->dtype;
    return ag__broadcast(call->c, "masked_fill", ag__sizes(x), ag__sizes(mask), out) &&
           ag__check_shape(call->c, "ag_masked_fill", (ag_ints){ out->shape, out->ndim },
                           out->dtype);
}

static bool masked_fill_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag_tensor *y = out[0], *mask = ag__spread(call->in[1], AG_BOOL, ag__sizes(y));
    const ag_tensor *value = call->in[2];
    const ag_dtype d = (ag_dtype)y->dtype;
    const size_t size = ag__itemsize(d);
    char element[16];
    if (!mask)
        return false;
    ag__convert(d, element, 1, (ag_dtype)value->dtype, ag__at(value), 1, 1);
    ag__copy_data(y, call->in[0]);
    const char *on = ag__at(mask);
    char *to = ag__at(y);
    for (int64_t k = 0; k < y->numel; k++, to += size)
        if (on[k])
            memcpy(to, element, size);
    ag__tensor_unref(mask);
    return true;
}

static unsigned masked_fill_needs(unsigned wanted) { return wanted & 5 ? 2u : 0; }

static bool masked_fill_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0], *mask = ag__in(r, 1);
    if (ag__wants(r, 0)) {
        ag_tensor *kept = (ag_masked_fill)(g, mask, ag__number(g, 0));
        if (!kept || !(r->out[0] = ag__sum_to(kept, ag__in_shape(r, 0))))
            return false;
    }
    if (ag__wants(r, 2)) {
        ag_tensor *filled = (ag_where)(mask, g, ag__number(g, 0));
        r->out[2] = filled ? (ag_sum)(filled, NULL) : NULL;
        return r->out[2] != NULL;
    }
    return true;
}

const ag__op ag__op_masked_fill = { .name = "masked_fill",
                                    .node_name = "MaskedFillBackward1",
                                    .operands = (const char *const[]){ "self", "mask", "value" },
                                    .kind = AG_KIND_GENERAL,
                                    .n_in = 3,
                                    .n_out = 1,
                                    .infer = masked_fill_infer,
                                    .kernel = masked_fill_kernel,
                                    .needs = masked_fill_needs,
                                    .vjp = masked_fill_vjp };

ag_tensor *(ag_masked_fill)(ag_tensor *x, ag_tensor *mask, ag_tensor *value)
{
    return ag__run1(&ag__op_masked_fill, (ag_tensor *[]){ x, mask, value }, 3, NULL);
}

ag_tensor *(ag_masked_fill_)(ag_tensor *x, ag_tensor *mask, ag_tensor *value)
{
    return ag__inplace(&ag__op_masked_fill, "ag_masked_fill_", (ag_tensor *[]){ x, mask, value }, 3,
                       NULL);
}

/* ---- masked_select ---- */

static bool masked_select_infer(const ag__call *call, ag__geometry *out)
{
    ag_tensor *x = call->in[0], *mask = call->in[1];
    ag__geometry whole;
    if (mask->dtype != AG_BOOL)
        return ag_fail(
            call->c, AG_ERR_DTYPE,
            "ag_masked_select: masked_select: expected BoolTensor for mask, got dtype %s",
            ag_dtype_name((ag_dtype)mask->dtype));
    if (!ag__broadcast(call->c, "masked_select", ag__sizes(x), ag__sizes(mask), &whole) ||
        !ag__check_shape(call->c, "ag_masked_select", (ag_ints){ whole.shape, whole.ndim },
                         (ag_dtype)x->dtype))
        return false;
    const int64_t n = ag__is_symbolic(mask) /* -1: only a run knows */
                          ? -1
                          : ag__mask_count(mask, (ag_ints){ whole.shape, whole.ndim });
    ag__geometry_set(out, (ag_dtype)x->dtype, (ag_ints){ &n, 1 });
    return n >= 0 || ag__is_symbolic(mask);
}

static bool masked_select_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag__geometry g;
    if (!ag__broadcast(call->c, "masked_select", ag__sizes(call->in[0]), ag__sizes(call->in[1]),
                       &g))
        return false;
    const ag_ints shape = { g.shape, g.ndim };
    ag_tensor *mask = ag__spread(call->in[1], AG_BOOL, shape);
    ag_tensor *x = mask ? ag__spread(call->in[0], (ag_dtype)call->in[0]->dtype, shape) : NULL;
    if (x) {
        const size_t size = ag__itemsize((ag_dtype)x->dtype);
        const char *on = ag__at(mask), *from = ag__at(x);
        char *to = ag__at(out[0]);
        for (int64_t k = 0; k < x->numel; k++, from += size)
            if (on[k]) {
                memcpy(to, from, size);
                to += size;
            }
    }
    const bool ok = x != NULL;
    ag__tensor_unref(mask);
    ag__tensor_unref(x);
    return ok;
}

static unsigned masked_select_needs(unsigned wanted) { return wanted & 1 ? 2u : 0; }

static bool masked_select_vjp(ag__rule *r)
{
    ag_tensor *mask = ag__in(r, 1);
    const ag_ints shape = ag__in_shape(r, 0);
    ag__geometry g;
    if (!ag__broadcast(r->c, "masked_select", shape, ag__sizes(mask), &g))
        return false;
    ag_tensor *zeros = ag__zeros_beside(r->g[0], (ag_ints){ g.shape, g.ndim });
    ag_tensor *whole = zeros ? ag_masked_scatter(zeros, mask, r->g[0]) : NULL;
    return (r->out[0] = whole ? ag__sum_to(whole, shape) : NULL) != NULL;
}

const ag__op ag__op_masked_select = { .name = "masked_select",
                                      .node_name = "MaskedSelectBackward0",
                                      .operands = (const char *const[]){ "self", "mask" },
                                      .kind = AG_KIND_LINEAR,
                                      .n_in = 2,
                                      .n_out = 1,
                                      .infer = masked_select_infer,
                                      .kernel = masked_select_kernel,
                                      .needs = masked_select_needs,
                                      .vjp = masked_select_vjp };

ag_tensor *ag_masked_select(ag_tensor *x, ag_tensor *mask)
{
    return ag__binary(&ag__op_masked_select, x, mask, NULL);
}

/* ---- masked_scatter: operands x, mask, src ---- */

static bool masked_scatter_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *src = call->in[2];
    const ag_tensor *mask = call->in[1];
    if (mask->dtype != AG_BOOL)
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_masked_scatter: masked_scatter_ only supports boolean masks, but got "
                       "mask with dtype %s",
                       ag_dtype_name((ag_dtype)mask->dtype));
    if (x->dtype != src->dtype)
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_masked_scatter: expected self and source to have same dtypes but got %s "
                       "and %s",
                       ag_dtype_name((ag_dtype)x->dtype), ag_dtype_name((ag_dtype)src->dtype));
    out->dtype = (ag_dtype)x->dtype;
    return ag__broadcast(call->c, "masked_scatter", ag__sizes(x), ag__sizes(mask), out) &&
           ag__check_shape(call->c, "ag_masked_scatter", (ag_ints){ out->shape, out->ndim },
                           out->dtype);
}

/* There are elements of src enough. */
static bool masked_scatter_check(const ag__call *call, ag_tensor *mask)
{
    const int64_t n = mask ? ag__mask_count(mask, ag__sizes(mask)) : -1;
    const int64_t have = call->in[2]->numel;
    if (n > have)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_masked_scatter: Number of elements of source < number of ones in mask: "
                       "%lld and %lld",
                       (long long)have, (long long)n);
    return n >= 0;
}

static bool masked_scatter_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag_tensor *y = out[0], *mask = ag__spread(call->in[1], AG_BOOL, ag__sizes(y));
    ag_tensor *src =
        masked_scatter_check(call, mask) ? ag__ready(call->in[2], (ag_dtype)y->dtype) : NULL;
    if (src) {
        const size_t size = ag__itemsize((ag_dtype)y->dtype);
        const char *on = ag__at(mask), *from = ag__at(src);
        char *to = ag__at(y);
        ag__copy_data(y, call->in[0]);
        for (int64_t k = 0; k < y->numel; k++, to += size)
            if (on[k]) {
                memcpy(to, from, size);
                from += size;
            }
    }
    const bool ok = src != NULL;
    ag__tensor_unref(mask);
    ag__tensor_unref(src);
    return ok;
}

static unsigned masked_scatter_needs(unsigned wanted) { return wanted & 5 ? 2u : 0; }

/* The elements of g that the mask takes, and zeros behind them, n in all, when a graph does not know yet
 * how many it takes: each goes to its number among them, the others to place n, which is left out. */
static ag_tensor *masked_pack(ag_tensor *g, ag_tensor *mask, int64_t n)
{
    const ag_ints flat = AG_SHAPE(g->numel);
    mask = ag_expand(mask, ag__sizes(g));
    mask = mask ? ag_reshape(mask, flat) : NULL;
    ag_tensor *nth = mask ? ag_cumsum(mask, 0) : NULL, *at = nth ? ag_sub(nth, 1) : NULL;
    at = at ? ag_where(mask, at, n) : NULL;
    ag_tensor *zeros = at ? ag__zeros_beside(g, AG_SHAPE(n + 1)) : NULL;
    ag_tensor *elements = zeros ? ag_reshape(g, flat) : NULL;
    ag_tensor *all = elements ? ag_scatter(zeros, 0, at, elements) : NULL;
    return all ? ag_slice(all, 0, 0, n, 1) : NULL;
}

/* Elements of src beyond those that the mask takes have no gradient. */
static bool masked_scatter_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0], *mask = ag__in(r, 1);
    if (ag__wants(r, 0)) {
        ag_tensor *kept = (ag_masked_fill)(g, mask, ag__number(g, 0));
        if (!kept || !(r->out[0] = ag__sum_to(kept, ag__in_shape(r, 0))))
            return false;
    }
    if (!ag__wants(r, 2))
        return true;
    const ag_ints shape = ag__in_shape(r, 2);
    const int64_t all = ag__shape_numel(shape);
    ag_tensor *used = ag__is_symbolic(mask) ? masked_pack(g, mask, all) : ag_masked_select(g, mask);
    if (!used)
        return false;
    const int64_t rest = all - used->numel;
    if (rest > 0)
        used = ag_cat((ag_tensor *[]){ used, ag__zeros_beside(g, AG_SHAPE(rest)) }, 2, 0);
    return (r->out[2] = used ? ag_reshape(used, shape) : NULL) != NULL;
}

const ag__op ag__op_masked_scatter = { .name = "masked_scatter",
                                       .node_name = "MaskedScatterBackward0",
                                       .operands =
                                           (const char *const[]){ "self", "mask", "source" },
                                       .kind = AG_KIND_LINEAR,
                                       .n_in = 3,
                                       .n_out = 1,
                                       .infer = masked_scatter_infer,
                                       .kernel = masked_scatter_kernel,
                                       .needs = masked_scatter_needs,
                                       .vjp = masked_scatter_vjp };

ag_tensor *ag_masked_scatter(ag_tensor *x, ag_tensor *mask, ag_tensor *src)
{
    return ag__run1(&ag__op_masked_scatter, (ag_tensor *[]){ x, mask, src }, 3, NULL);
}

ag_tensor *ag_masked_scatter_(ag_tensor *x, ag_tensor *mask, ag_tensor *src)
{
    return ag__inplace(&ag__op_masked_scatter, "ag_masked_scatter_",
                       (ag_tensor *[]){ x, mask, src }, 3, NULL);
}
