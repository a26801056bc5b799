/*
 * Reductions. The operand is brought to the order [outer][reduced][inner] with a dtype that there
 * are loops for (kernels/reduce.h): often it lies that way already, otherwise it is copied.
 *
 * Derivatives put g back beside the operand: ag__reduce_beside gives it the reduced dimensions as
 * ones. What other families of reductions share with this one, attributes too, is in reduce.h.
 */
#include <math.h>

#include "dims.h"
#include "reduce.h"

/* ---- dimensions ---- */

int ag__reduce_mask(ag_context *c, const char *name, const ag__attrs *a, int ndim)
{
    int mask = 0;
    if (a->n == 0)
        return (1 << ndim) - 1;
    for (int k = 0; k < a->n; k++) {
        const int d = ag__op_dim(c, name, a->list[k], ndim);
        if (d < 0)
            return -1;
        if (mask & 1 << d) {
            ag__fail(c, AG_ERR_VALUE, "ag_%s: dim %d appears multiple times in the list of dims",
                     name, d);
            return -1;
        }
        mask |= 1 << d;
    }
    return mask;
}

static int64_t reduce_count(ag_ints shape, int mask)
{
    int64_t n = 1;
    for (int i = 0; i < shape.n; i++)
        n *= mask & 1 << i ? shape.data[i] : 1;
    return n;
}

bool ag__reduce_shape(const ag__call *call, ag__geometry *out, ag_dtype dtype)
{
    const ag_tensor *x = call->in[0];
    const int mask = ag__reduce_mask(call->c, call->op->name, call->attrs, x->ndim);
    if (mask < 0)
        return false;
    out->dtype = dtype;
    out->ndim = 0;
    for (int i = 0; i < x->ndim; i++)
        if (!(mask & 1 << i))
            out->shape[out->ndim++] = x->dims[i];
        else if (call->attrs->i[0])
            out->shape[out->ndim++] = 1;
    return true;
}

ag_tensor *ag__reduce_beside(const ag__rule *r, ag_tensor *t)
{
    const ag_ints shape = ag__in_shape(r, 0);
    const int mask = ag__reduce_mask(r->c, r->op->name, r->attrs, shape.n);
    int64_t kept[AG_MAX_DIMS];
    if (!t || r->attrs->i[0])
        return t;
    for (int i = 0; i < shape.n; i++)
        kept[i] = mask & 1 << i ? 1 : shape.data[i];
    return ag_reshape(t, (ag_ints){ kept, shape.n });
}

static int64_t reduce_rule_count(const ag__rule *r)
{
    const ag_ints shape = ag__in_shape(r, 0);
    return reduce_count(shape, ag__reduce_mask(r->c, r->op->name, r->attrs, shape.n));
}

ag_tensor *ag__reduce_likewise(const ag__rule *r, ag_tensor *x,
                               ag_tensor *(*reduction)(ag_tensor *, const ag_reduce_options *))
{
    const ag_reduce_options options = { .size = sizeof options,
                                        .keepdim = true,
                                        .dims = { r->attrs->list, r->attrs->n } };
    return reduction(x, &options);
}

/* ---- layout ---- */

/* Dimensions of more than one element, those with large strides first. */
static int reduce_by_stride(const ag_tensor *x, int *order)
{
    int n = 0;
    for (int d = 0; d < x->ndim; d++) {
        if (x->dims[d] == 1)
            continue;
        int at = n++;
        for (; at > 0 && x->dims[x->ndim + order[at - 1]] < x->dims[x->ndim + d]; at--)
            order[at] = order[at - 1];
        order[at] = d;
    }
    return n;
}

/* In this order the reduced dimensions are neighbours and the others come as in the result. */
static bool reduce_order_fits(const int *order, int n, int mask)
{
    int runs = 0, last = -1;
    for (int i = 0; i < n; i++) {
        const bool reduced = mask & 1 << order[i];
        runs += reduced && (i == 0 || !(mask & 1 << order[i - 1]));
        if (!reduced && order[i] < last)
            return false;
        last = reduced ? last : order[i];
    }
    return runs <= 1;
}

ag_tensor *ag__reduce_bring(ag_tensor *x, int mask, ag_dtype compute, ag__lanes *l)
{
    int order[AG_MAX_DIMS], n = reduce_by_stride(x, order);
    if (!reduce_order_fits(order, n, mask)) {
        n = 0;
        for (int reduced = 0; reduced < 2; reduced++)
            for (int d = 0; d < x->ndim; d++)
                if (!!(mask & 1 << d) == reduced)
                    order[n++] = d;
    }
    ag__geometry g = { .ndim = n, .offset = x->offset };
    *l = (ag__lanes){ 1, 1, 1, 1, 1 };
    bool seen = false, dense = true;
    for (int i = 0; i < n; i++) {
        const bool reduced = mask & 1 << order[i];
        g.shape[i] = x->dims[order[i]];
        g.strides[i] = x->dims[x->ndim + order[i]];
        seen = seen || reduced;
        *(reduced ? &l->n : seen ? &l->inner : &l->outer) *= g.shape[i];
    }
    int64_t stride = 1;
    for (int i = n - 1; i >= 0; stride *= g.shape[i--])
        dense = dense && g.strides[i] == stride;
    if (compute == (ag_dtype)x->dtype && (dense || x->numel == 0))
        return ag__tensor_ref(x);
    ag_tensor *view = ag__tensor_window(x, &g);
    ag_tensor *copy = view ? ag__contiguous_copy(view, compute) : NULL;
    ag__tensor_unref(view);
    return copy;
}

bool ag__reduce_run(const ag__call *call, ag_tensor *out, int which, ag_dtype compute)
{
    ag_tensor *x = call->in[0];
    ag__lanes l;
    const int mask = ag__reduce_mask(call->c, call->op->name, call->attrs, x->ndim);
    const int64_t count = reduce_count(ag__sizes(x), mask);
    const bool spread = which == AG_REDUCE_VAR || which == AG_REDUCE_STD;
    const ag_dtype result = ag__reduced_dtype(which, compute);
    ag_tensor *from = ag__reduce_bring(x, mask, compute, &l);
    ag_tensor *to = ag__computed_in(out, result);
    bool ok = from && to;
    if (ok && out->numel > 0) {
        const int64_t divisor = spread && !call->attrs->i[1] ? count - 1 : count;
        l.n = count;
        l.stride = l.inner;
        l.divisor = divisor > 0 ? (double)divisor : 0;
        ok = ag__reduce(call->c, compute, which, ag__at(from), ag__at(to), l);
        if (ok && to != out)
            ag__copy_data(out, to);
    }
    ag__tensor_unref(from);
    ag__tensor_unref(to);
    return ok;
}

static bool reduce_kernel(const ag__call *call, ag_tensor *const *out, int which)
{
    return ag__reduce_run(call, out[0], which, ag__reduce_dtype((ag_dtype)out[0]->dtype));
}

ag_tensor *ag__reduce_call(const ag__op *op, ag_tensor *x, double p, const ag_reduce_options *o)
{
    ag__attrs a = { .p = p,
                    .n = o ? o->dims.n : 0,
                    .i = { o && o->keepdim, o && o->correction_zero } };
    if (!x)
        return NULL;
    if (a.n < 0 || a.n > AG_MAX_DIMS || (a.n > 0 && !o->dims.data))
        return ag__fail(x->c, AG_ERR_VALUE, "ag_%s: .dims holds %d dimensions; the tensor has %d",
                        op->name, a.n, x->ndim);
    for (int i = 0; i < a.n; i++)
        a.list[i] = o->dims.data[i];
    return ag__unary(op, x, &a);
}

/* ---- sum and mean ---- */

static bool sum_infer(const ag__call *call, ag__geometry *out)
{
    const ag_dtype d = (ag_dtype)call->in[0]->dtype;
    return ag__reduce_shape(call, out, ag__is_float(d) ? d : AG_I64);
}
static bool sum_kernel(const ag__call *call, ag_tensor *const *out)
{
    return reduce_kernel(call, out, AG_REDUCE_SUM);
}
static bool sum_vjp(ag__rule *r)
{
    ag_tensor *g = ag__reduce_beside(r, r->g[0]);
    return (r->out[0] = g ? ag_expand(g, ag__in_shape(r, 0)) : NULL) != NULL;
}

static bool mean_infer(const ag__call *call, ag__geometry *out)
{
    const ag_dtype d = (ag_dtype)call->in[0]->dtype;
    if (!ag__is_float(d))
        return ag_fail(
            call->c, AG_ERR_DTYPE,
            "ag_mean: could not infer output dtype. Input dtype must be either a floating "
            "point or complex dtype. Got: %s",
            ag_dtype_name(d));
    return ag__reduce_shape(call, out, d);
}
static bool mean_kernel(const ag__call *call, ag_tensor *const *out)
{
    return reduce_kernel(call, out, AG_REDUCE_MEAN);
}
static bool mean_vjp(ag__rule *r)
{
    ag_tensor *g = ag__reduce_beside(r, r->g[0]);
    const int64_t n = reduce_rule_count(r);
    if (n > 0) /* or nobody receives anything, and g's gradient is 0, not 0 / 0 */
        g = g ? ag_div(g, (double)n) : NULL;
    return (r->out[0] = g ? ag_expand(g, ag__in_shape(r, 0)) : NULL) != NULL;
}

const ag__op ag__op_sum = { .name = "sum",
                            .node_name = "SumBackward0",
                            .node_name_dims = "SumBackward1",
                            .kind = AG_KIND_LINEAR,
                            .n_in = 1,
                            .n_out = 1,
                            .takes_attrs = true,
                            .infer = sum_infer,
                            .kernel = sum_kernel,
                            .vjp = sum_vjp };
const ag__op ag__op_mean = { .name = "mean",
                             .node_name = "MeanBackward0",
                             .node_name_dims = "MeanBackward1",
                             .kind = AG_KIND_LINEAR,
                             .n_in = 1,
                             .n_out = 1,
                             .takes_attrs = true,
                             .infer = mean_infer,
                             .kernel = mean_kernel,
                             .vjp = mean_vjp };

ag_tensor *(ag_sum)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_sum, x, 0, o);
}
ag_tensor *(ag_mean)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_mean, x, 0, o);
}

ag_tensor *ag__sum_to(ag_tensor *g, ag_ints shape)
{
    if (!g || ag__same_shape(ag__sizes(g), shape))
        return g;
    ag__attrs a = { .i = { 1 } };
    const int lead = g->ndim - shape.n;
    for (int i = 0; i < g->ndim; i++)
        if (i < lead || (shape.data[i - lead] == 1 && g->dims[i] != 1))
            a.list[a.n++] = i;
    ag_tensor *sum = a.n ? ag__unary(&ag__op_sum, g, &a) : g;
    return lead && sum ? ag_reshape(sum, shape) : sum;
}

/* ---- nansum ---- */

static bool nansum_kernel(const ag__call *call, ag_tensor *const *out)
{
    const bool floats = ag__is_float((ag_dtype)out[0]->dtype);
    return reduce_kernel(call, out, floats ? AG_REDUCE_NUMBERS : AG_REDUCE_SUM);
}
static bool nansum_vjp(ag__rule *r)
{
    ag_tensor *g = ag__reduce_beside(r, r->g[0]), *nan = g ? ag_isnan(ag__in(r, 0)) : NULL;
    return (r->out[0] = nan ? ag_where(nan, 0, g) : NULL) != NULL;
}

const ag__op ag__op_nansum = { .name = "nansum",
                               .node_name = "NansumBackward0",
                               .kind = AG_KIND_GENERAL,
                               .n_in = 1,
                               .n_out = 1,
                               .takes_attrs = true,
                               .infer = sum_infer,
                               .kernel = nansum_kernel,
                               .needs = ag__reduce_needs_x,
                               .vjp = nansum_vjp };

ag_tensor *(ag_nansum)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_nansum, x, 0, o);
}

/* ---- prod ---- */

static bool prod_kernel(const ag__call *call, ag_tensor *const *out)
{
    return reduce_kernel(call, out, AG_REDUCE_PROD);
}

/*
 * g times the product of all other columns, for each column of x (rows, n), without division: the
 * gradient of a product tree. The first half of the columns is multiplied with the second; what
 * reaches a product goes, times the other factor, to each of the two.
 */
static ag_tensor *prod_spread(ag_tensor *g, ag_tensor *x)
{
    const int64_t n = x->dims[1], half = n / 2;
    if (n == 1)
        return g;
    ag_tensor *a = ag_narrow(x, 1, 0, half), *b = ag_narrow(x, 1, half, half);
    ag_tensor *products = a && b ? ag_mul(a, b) : NULL;
    ag_tensor *rest = n % 2 ? ag_narrow(x, 1, 2 * half, 1) : NULL;
    if (n % 2)
        products = products && rest ? ag_cat((ag_tensor *[]){ products, rest }, 2, 1) : NULL;
    ag_tensor *all = products ? prod_spread(g, products) : NULL;
    ag_tensor *pairs = all ? ag_narrow(all, 1, 0, half) : NULL;
    ag_tensor *parts[3] = { pairs ? ag_mul(pairs, b) : NULL, pairs ? ag_mul(pairs, a) : NULL,
                            pairs && n % 2 ? ag_narrow(all, 1, half, 1) : NULL };
    if (!parts[0] || !parts[1] || (n % 2 && !parts[2]))
        return NULL;
    return ag_cat(parts, n % 2 ? 3 : 2, 1);
}

static bool prod_vjp(ag__rule *r)
{
    ag_tensor *x = ag__in(r, 0), *g = r->g[0];
    const int mask = ag__reduce_mask(r->c, r->op->name, r->attrs, x->ndim);
    int64_t order[AG_MAX_DIMS], back[AG_MAX_DIMS], shape[AG_MAX_DIMS];
    int n = 0;
    if (x->numel == 0)
        return (r->out[0] = ag_zeros_like(x)) != NULL;
    for (int reduced = 0; reduced < 2; reduced++)
        for (int d = 0; d < x->ndim; d++)
            if (!!(mask & 1 << d) == reduced) {
                shape[n] = x->dims[d];
                back[d] = n;
                order[n++] = d;
            }
    const int64_t count = reduce_count(ag__sizes(x), mask), rows = x->numel / count;
    g = ag_reshape(g, AG_SHAPE(rows, 1));
    x = ag_permute(x, (ag_ints){ order, n });
    x = x ? ag_reshape(x, AG_SHAPE(rows, count)) : NULL;
    ag_tensor *spread = g && x ? prod_spread(g, x) : NULL;
    spread = spread ? ag_reshape(spread, (ag_ints){ shape, n }) : NULL;
    return (r->out[0] = spread ? ag_permute(spread, (ag_ints){ back, n }) : NULL) != NULL;
}

const ag__op ag__op_prod = { .name = "prod",
                             .node_name = "ProdBackward0",
                             .node_name_dims = "ProdBackward1",
                             .kind = AG_KIND_GENERAL,
                             .n_in = 1,
                             .n_out = 1,
                             .takes_attrs = true,
                             .infer = sum_infer,
                             .kernel = prod_kernel,
                             .needs = ag__reduce_needs_x,
                             .vjp = prod_vjp };

ag_tensor *(ag_prod)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_prod, x, 0, o);
}

/* ---- amax, amin, argmax, argmin ---- */

bool ag__reduce_check_some(const ag__call *call)
{
    const ag_tensor *x = call->in[0];
    const char *name = call->op->name;
    const int mask = ag__reduce_mask(call->c, name, call->attrs, x->ndim);
    if (mask < 0)
        return false;
    if (x->numel == 0 && call->attrs->n == 0)
        return ag_fail(
            call->c, AG_ERR_VALUE,
            "ag_%s: Expected reduction dim to be specified for input.numel() == 0. Specify "
            "the reduction dim with the 'dim' argument.",
            name);
    for (int d = 0; d < x->ndim; d++)
        if (mask & 1 << d && x->dims[d] == 0)
            return ag_fail(call->c, AG_ERR_INDEX,
                           "ag_%s: Expected reduction dim %d to have non-zero size.", name, d);
    return true;
}

static bool extreme_infer(const ag__call *call, ag__geometry *out)
{
    return ag__reduce_check_some(call) && ag__reduce_shape(call, out, (ag_dtype)call->in[0]->dtype);
}
static bool amax_kernel(const ag__call *call, ag_tensor *const *out)
{
    return reduce_kernel(call, out, AG_REDUCE_MAX);
}
static bool amin_kernel(const ag__call *call, ag_tensor *const *out)
{
    return reduce_kernel(call, out, AG_REDUCE_MIN);
}

/* Elements equal to the result share g evenly; where the result is NaN, the NaNs are these. */
static bool extreme_vjp(ag__rule *r)
{
    ag_tensor *x = ag__in(r, 0), *g = ag__reduce_beside(r, r->g[0]);
    ag_tensor *y = ag__reduce_beside(r, ag__out(r, 0));
    ag_tensor *equal = y ? ag_eq(x, y) : NULL, *nan = equal ? ag_isnan(x) : NULL;
    ag_tensor *winners = nan ? ag_logical_or(equal, nan) : NULL;
    ag_tensor *count = winners ? ag__reduce_likewise(r, winners, ag_sum) : NULL;
    ag_tensor *share = g && count ? ag_div(g, count) : NULL;
    return (r->out[0] = share ? ag_where(winners, share, 0) : NULL) != NULL;
}

const ag__op ag__op_amax = { .name = "amax",
                             .node_name = "AmaxBackward0",
                             .kind = AG_KIND_GENERAL,
                             .n_in = 1,
                             .n_out = 1,
                             .takes_attrs = true,
                             .infer = extreme_infer,
                             .kernel = amax_kernel,
                             .needs = ag__reduce_needs_both,
                             .vjp = extreme_vjp };
const ag__op ag__op_amin = { .name = "amin",
                             .node_name = "AminBackward0",
                             .kind = AG_KIND_GENERAL,
                             .n_in = 1,
                             .n_out = 1,
                             .takes_attrs = true,
                             .infer = extreme_infer,
                             .kernel = amin_kernel,
                             .needs = ag__reduce_needs_both,
                             .vjp = extreme_vjp };

ag_tensor *(ag_amax)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_amax, x, 0, o);
}
ag_tensor *(ag_amin)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_amin, x, 0, o);
}

static bool arg_infer(const ag__call *call, ag__geometry *out)
{
    if (call->in[0]->dtype == AG_BOOL)
        return ag_fail(call->c, AG_ERR_DTYPE, "ag_%s: does not support bool input", call->op->name);
    return ag__reduce_check_some(call) && ag__reduce_shape(call, out, AG_I64);
}
static bool argmax_kernel(const ag__call *call, ag_tensor *const *out)
{
    return ag__reduce_run(call, out[0], AG_REDUCE_ARGMAX,
                          ag__reduce_dtype((ag_dtype)call->in[0]->dtype));
}
static bool argmin_kernel(const ag__call *call, ag_tensor *const *out)
{
    return ag__reduce_run(call, out[0], AG_REDUCE_ARGMIN,
                          ag__reduce_dtype((ag_dtype)call->in[0]->dtype));
}

const ag__op ag__op_argmax = { .name = "argmax",
                               .kind = AG_KIND_NODIFF,
                               .n_in = 1,
                               .n_out = 1,
                               .takes_attrs = true,
                               .infer = arg_infer,
                               .kernel = argmax_kernel };
const ag__op ag__op_argmin = { .name = "argmin",
                               .kind = AG_KIND_NODIFF,
                               .n_in = 1,
                               .n_out = 1,
                               .takes_attrs = true,
                               .infer = arg_infer,
                               .kernel = argmin_kernel };

ag_tensor *ag_argmax(ag_tensor *x, int dim, bool keepdim)
{
    const ag__attrs a = ag__reduce_along(dim, keepdim);
    return ag__unary(&ag__op_argmax, x, &a);
}
ag_tensor *ag_argmin(ag_tensor *x, int dim, bool keepdim)
{
    const ag__attrs a = ag__reduce_along(dim, keepdim);
    return ag__unary(&ag__op_argmin, x, &a);
}

/* ---- var and std ---- */

static bool var_infer(const ag__call *call, ag__geometry *out)
{
    const ag_dtype d = (ag_dtype)call->in[0]->dtype;
    if (!ag__is_float(d))
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_%s: std and var only support floating point and complex dtypes; got %s",
                       call->op->name, ag_dtype_name(d));
    return ag__reduce_shape(call, out, d);
}
static bool var_kernel(const ag__call *call, ag_tensor *const *out)
{
    return reduce_kernel(call, out, AG_REDUCE_VAR);
}
static bool std_kernel(const ag__call *call, ag_tensor *const *out)
{
    return reduce_kernel(call, out, AG_REDUCE_STD);
}

/* d var / d x_i = 2 (x_i - mean) / (n - correction); NaN when that is 0 / 0. */
static ag_tensor *var_gradient(const ag__rule *r, ag_tensor *g)
{
    ag_tensor *x = ag__in(r, 0);
    const int64_t count = reduce_rule_count(r), divisor = r->attrs->i[1] ? count : count - 1;
    ag_tensor *scaled =
        g ? ag_mul(g, divisor > 0 ? 2.0 / (double)divisor : (double)INFINITY) : NULL;
    ag_tensor *mean = scaled ? ag__reduce_likewise(r, x, ag_mean) : NULL;
    ag_tensor *rest = mean ? ag_sub(x, mean) : NULL;
    return rest ? ag_mul(scaled, rest) : NULL;
}

static bool var_vjp(ag__rule *r)
{
    return (r->out[0] = var_gradient(r, ag__reduce_beside(r, r->g[0]))) != NULL;
}

/* d std = d var / (2 std), and 0 where all elements are equal. */
static bool std_vjp(ag__rule *r)
{
    ag_tensor *g = ag__reduce_beside(r, r->g[0]), *y = ag__reduce_beside(r, ag__out(r, 0));
    ag_tensor *twice = y ? ag_mul(y, 2) : NULL, *flat = twice ? ag_eq(y, 0) : NULL;
    ag_tensor *quotient = g && flat ? ag_div(g, twice) : NULL;
    ag_tensor *g_var = quotient ? ag_where(flat, 0, quotient) : NULL;
    return (r->out[0] = var_gradient(r, g_var)) != NULL;
}

const ag__op ag__op_var = { .name = "var",
                            .node_name = "VarBackward0",
                            .kind = AG_KIND_GENERAL,
                            .n_in = 1,
                            .n_out = 1,
                            .takes_attrs = true,
                            .infer = var_infer,
                            .kernel = var_kernel,
                            .needs = ag__reduce_needs_x,
                            .vjp = var_vjp };
const ag__op ag__op_std = { .name = "std",
                            .node_name = "StdBackward0",
                            .kind = AG_KIND_GENERAL,
                            .n_in = 1,
                            .n_out = 1,
                            .takes_attrs = true,
                            .infer = var_infer,
                            .kernel = std_kernel,
                            .needs = ag__reduce_needs_both,
                            .vjp = std_vjp };

ag_tensor *(ag_var)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_var, x, 0, o);
}
ag_tensor *(ag_std)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_std, x, 0, o);
}

/* ---- logsumexp ---- */

static bool logsumexp_infer(const ag__call *call, ag__geometry *out)
{
    const ag_dtype d = (ag_dtype)call->in[0]->dtype;
    return ag__reduce_shape(call, out, ag__is_float(d) ? d : AG_F32);
}
static bool logsumexp_kernel(const ag__call *call, ag_tensor *const *out)
{
    return reduce_kernel(call, out, AG_REDUCE_LOGSUMEXP);
}
/* g times e^(x - y), where nothing overflows since y >= x, over its sum: that is 1 but for the digits
 * that y lost by its size, and 0 where all x are -inf and so have no influence. */
static bool logsumexp_vjp(ag__rule *r)
{
    ag_tensor *g = ag__reduce_beside(r, r->g[0]), *y = ag__reduce_beside(r, ag__out(r, 0));
    ag_tensor *finite = y ? ag_isfinite(y) : NULL, *shift = finite ? ag_where(finite, y, 0) : NULL;
    ag_tensor *below = shift ? ag_sub(ag__in(r, 0), shift) : NULL;
    ag_tensor *weights = below ? ag_exp(below) : NULL;
    ag_tensor *sum = weights ? ag__reduce_likewise(r, weights, ag_sum) : NULL;
    ag_tensor *none = sum ? ag_eq(sum, 0) : NULL, *total = none ? ag_where(none, 1, sum) : NULL;
    ag_tensor *share = g && total ? ag_div(g, total) : NULL;
    return (r->out[0] = share ? ag_mul(share, weights) : NULL) != NULL;
}

const ag__op ag__op_logsumexp = { .name = "logsumexp",
                                  .node_name = "LogsumexpBackward0",
                                  .kind = AG_KIND_GENERAL,
                                  .n_in = 1,
                                  .n_out = 1,
                                  .takes_attrs = true,
                                  .infer = logsumexp_infer,
                                  .kernel = logsumexp_kernel,
                                  .needs = ag__reduce_needs_both,
                                  .vjp = logsumexp_vjp };

ag_tensor *(ag_logsumexp)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_logsumexp, x, 0, o);
}
