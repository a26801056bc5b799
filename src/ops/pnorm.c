/*
 * The norm (sum |x|^p)^(1/p) over dimensions, for every p: how many are not 0 for p = 0, the greatest
 * |x| for infinity, the least for -infinity.
 *
 * Powers are taken of |x| / m, with m the greatest |x|, or the least where p < 0: they lie in [0, 1]
 * and one of them is 1, so that nothing overflows and no sum vanishes. Squares are added as they are,
 * which takes one pass, and only results that come near the limits of their type are computed so.
 *
 * With u = |x| / y the derivative is sign(x) u^(p - 1), where u^(p - 1) lies in [0, 1] too. It is 0
 * where x or y is 0, and stays 0 there in all further derivatives.
 *
 * attrs.p is p; the rest is as for all reductions.
 */
#include <math.h>
#include <string.h>

#include "reduce.h"

/* ---- the value ---- */

/* y, the results of x in lanes l, by powers relative to the greatest or the least. */
static bool pnorm_scaled(ag_context *c, ag_dtype compute, double p, const void *x, void *y,
                         ag__lanes l)
{
    const int64_t results = l.outer * l.inner;
    const size_t size = ag__itemsize(compute);
    const size_t bytes = (size_t)(results * (l.n + 1)) * size;
    char *center = ag__alloc(c, bytes), *powers = center ? center + (size_t)results * size : NULL;
    bool ok = center &&
              ag__reduce(c, compute, p < 0 ? AG_REDUCE_MIN_ABS : AG_REDUCE_MAX_ABS, x, center, l);
    if (ok) {
        ag__powers(c, compute, p, x, center, powers, l);
        ok = ag__reduce(c, compute, AG_REDUCE_SUM, powers, y, l);
    }
    if (ok)
        ag__reducers_of(compute)->powers_end(y, center, results, p);
    ag__free(c, center, bytes);
    return ok;
}

static bool pnorm_squares(ag_context *c, ag_dtype compute, const void *x, void *y, ag__lanes l)
{
    const ag__reducers *r = ag__reducers_of(compute);
    const int64_t results = l.outer * l.inner;
    const size_t bytes = (size_t)results * ag__itemsize(compute);
    if (!ag__reduce(c, compute, AG_REDUCE_SQUARES, x, y, l))
        return false;
    void *other = NULL;
    if (!r->squares_are_safe(y, results)) {
        other = ag__alloc(c, bytes);
        if (!other || !pnorm_scaled(c, compute, 2, x, other, l)) {
            ag__free(c, other, bytes);
            return false;
        }
    }
    r->squares_end(y, other, results);
    ag__free(c, other, bytes);
    return true;
}

static bool pnorm_powers(const ag__call *call, ag_tensor *out)
{
    const double p = call->attrs->p;
    const ag_dtype compute = ag__reduce_dtype((ag_dtype)out->dtype);
    ag_tensor *x = call->in[0];
    ag__lanes l;
    ag_tensor *from =
        ag__reduce_bring(x, ag__reduce_mask(call->c, call->op->name, call->attrs, x->ndim), compute,
                         &l);
    ag_tensor *to = ag__computed_in(out, compute);
    bool ok = from && to;
    if (ok && x->numel == 0 && to->numel > 0) {
        memset(ag__at(to), 0, (size_t)to->numel * ag__itemsize(compute));
    } else if (ok && to->numel > 0) {
        l.stride = l.inner;
        ok = p == 2 ? pnorm_squares(call->c, compute, ag__at(from), ag__at(to), l)
                    : pnorm_scaled(call->c, compute, p, ag__at(from), ag__at(to), l);
    }
    if (ok && to != out)
        ag__copy_data(out, to);
    ag__tensor_unref(from);
    ag__tensor_unref(to);
    return ok;
}

static bool pnorm_kernel(const ag__call *call, ag_tensor *const *out)
{
    const double p = call->attrs->p;
    const ag_dtype compute = ag__reduce_dtype((ag_dtype)out[0]->dtype);
    return p == 0     ? ag__reduce_run(call, out[0], AG_REDUCE_NONZERO, compute)
           : p == 1   ? ag__reduce_run(call, out[0], AG_REDUCE_ABS, compute)
           : isinf(p) ? ag__reduce_run(call, out[0], p > 0 ? AG_REDUCE_MAX_ABS : AG_REDUCE_MIN_ABS,
                                       compute)
                      : pnorm_powers(call, out[0]);
}

/* For these p the norm of nothing has no value. */
static bool pnorm_check_some(const ag__call *call)
{
    const ag_tensor *x = call->in[0];
    const double p = call->attrs->p;
    const int mask = ag__reduce_mask(call->c, call->op->name, call->attrs, x->ndim);
    if (mask < 0 || x->numel > 0 || !(p < 0 || isinf(p)))
        return mask >= 0;
    if (call->attrs->n == 0)
        return ag_fail(call->c, AG_ERR_VALUE,
                       "ag_norm: linalg.vector_norm cannot compute the %g norm on an empty tensor "
                       "because the operation does not have an identity",
                       p);
    for (int d = 0; d < x->ndim; d++)
        if (mask & 1 << d && x->dims[d] == 0)
            return ag_fail(call->c, AG_ERR_INDEX,
                           "ag_norm: linalg.vector_norm cannot compute the %g norm on the "
                           "dimension %d because this dimension is empty and the operation does "
                           "not have an identity",
                           p, d);
    return true;
}

static bool pnorm_infer(const ag__call *call, ag__geometry *out)
{
    const ag_dtype d = (ag_dtype)call->in[0]->dtype;
    if (!ag__is_float(d))
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_norm: linalg.vector_norm: Expected a floating point or complex tensor "
                       "as input. Got %s",
                       ag_dtype_name(d));
    return pnorm_check_some(call) && ag__reduce_shape(call, out, d);
}

/* ---- the derivative ---- */

/* Those with |x| = y share g evenly; where y is NaN, the NaNs are these. */
static ag_tensor *pnorm_vjp_extreme(const ag__rule *r, ag_tensor *g, ag_tensor *x, ag_tensor *y)
{
    ag_tensor *size = ag_abs(x), *equal = size ? ag_eq(size, y) : NULL;
    ag_tensor *nan = equal ? ag_isnan(x) : NULL, *some = nan ? ag_logical_or(equal, nan) : NULL;
    ag_tensor *count = some ? ag__reduce_likewise(r, some, ag_sum) : NULL;
    ag_tensor *share = count ? ag_div(g, count) : NULL, *sign = share ? ag_sign(x) : NULL;
    ag_tensor *all = sign ? ag_mul(share, sign) : NULL;
    return all ? ag_where(some, all, 0) : NULL;
}

/* x / y, and 0 where y is. */
static ag_tensor *pnorm_vjp_squares(ag_tensor *g, ag_tensor *x, ag_tensor *y)
{
    ag_tensor *flat = ag_eq(y, 0), *safe = flat ? ag_where(flat, 1, y) : NULL;
    ag_tensor *u = safe ? ag_div(x, safe) : NULL, *slope = u ? ag_where(flat, 0, u) : NULL;
    return slope ? ag_mul(g, slope) : NULL;
}

static ag_tensor *pnorm_vjp_powers(ag_tensor *g, ag_tensor *x, ag_tensor *y, double p)
{
    ag_tensor *flat = ag_eq(y, 0), *safe = flat ? ag_where(flat, 1, y) : NULL;
    ag_tensor *zero = safe ? ag_eq(x, 0) : NULL, *dead = zero ? ag_logical_or(flat, zero) : NULL;
    ag_tensor *size = dead ? ag_abs(x) : NULL, *ratio = size ? ag_div(size, safe) : NULL;
    ag_tensor *u = ratio ? ag_where(dead, 1, ratio) : NULL;
    ag_tensor *power = u ? ag_pow(u, p - 1) : NULL, *sign = power ? ag_sign(x) : NULL;
    ag_tensor *signed_power = sign ? ag_mul(sign, power) : NULL;
    ag_tensor *slope = signed_power ? ag_where(dead, 0, signed_power) : NULL;
    return slope ? ag_mul(g, slope) : NULL;
}

static bool pnorm_vjp(ag__rule *r)
{
    const double p = r->attrs->p;
    ag_tensor *x = ag__in(r, 0), *y = ag__reduce_beside(r, ag__out(r, 0));
    ag_tensor *g = ag__reduce_beside(r, r->g[0]), *sign = p == 1 ? ag_sign(x) : NULL;
    if (!y || !g)
        return false;
    r->out[0] = p == 0     ? ag_zeros_like(x)
                : p == 1   ? (sign ? ag_mul(g, sign) : NULL)
                : p == 2   ? pnorm_vjp_squares(g, x, y)
                : isinf(p) ? pnorm_vjp_extreme(r, g, x, y)
                           : pnorm_vjp_powers(g, x, y, p);
    return r->out[0] != NULL;
}

const ag__op ag__op_norm = { .name = "norm",
                             .node_name = "LinalgVectorNormBackward0",
                             .kind = AG_KIND_GENERAL,
                             .n_in = 1,
                             .n_out = 1,
                             .takes_attrs = true,
                             .infer = pnorm_infer,
                             .kernel = pnorm_kernel,
                             .needs = ag__reduce_needs_both,
                             .vjp = pnorm_vjp };

ag_tensor *(ag_norm)(ag_tensor *x, double p, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_norm, x, p, o);
}
