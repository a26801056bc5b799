/*
 * Losses. mse_loss and nll_loss are rows; cross_entropy is log_softmax and nll_loss, with PyTorch's
 * label smoothing added by operations.
 */
#include "compose.h"
#include "index.h"

#include <math.h>

static bool loss_check_reduction(const ag__call *call)
{
    const int64_t r = call->attrs->i[0];
    return r == AG_MEAN || r == AG_SUM || r == AG_NONE ||
           ag_fail(call->c, AG_ERR_VALUE, "ag_%s: %lld is not a reduction", call->op->name,
                   (long long)r);
}

static bool loss_check_float(const ag__call *call, ag_dtype d)
{
    return ag__is_float(d) || ag_fail(call->c, AG_ERR_DTYPE, "ag_%s: not implemented for %s",
                                      call->op->name, ag_dtype_name(d));
}

/* ---- mse_loss: i[0] is the reduction ---- */

static bool mse_loss_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *target = call->in[1];
    /* PyTorch broadcasts before it promotes, so that a 0-dim operand counts in full. */
    out->dtype = ag__promote_dtypes((ag_dtype)x->dtype, (ag_dtype)target->dtype);
    if (!loss_check_reduction(call) || !loss_check_float(call, out->dtype) ||
        !ag__broadcast(call->c, "mse_loss", ag__sizes(x), ag__sizes(target), out) ||
        !ag__check_shape(call->c, "ag_mse_loss", (ag_ints){ out->shape, out->ndim }, out->dtype))
        return false;
    out->ndim = call->attrs->i[0] == AG_NONE ? out->ndim : 0;
    return true;
}

/* t's values in f64, broadcast to the shape; one reference for the caller. */
static ag_tensor *loss_values(ag_tensor *t, const ag__geometry *shape)
{
    ag_tensor *v = ag__tensor_new(t->c, AG_F64, shape->ndim, shape->shape);
    if (v)
        ag__copy_data(v, t);
    return v;
}

static bool mse_loss_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag__geometry shape;
    if (!ag__broadcast(call->c, "mse_loss", ag__sizes(call->in[0]), ag__sizes(call->in[1]), &shape))
        return false;
    ag_tensor *x = loss_values(call->in[0], &shape),
              *y = x ? loss_values(call->in[1], &shape) : NULL;
    const ag_dtype d = (ag_dtype)out[0]->dtype;
    const bool ok = y != NULL;
    if (ok) {
        const double *a = (const double *)(const void *)ag__at(x);
        const double *b = (const double *)(const void *)ag__at(y);
        double lane[8] = { 0 }, sum = 0;
        for (int64_t i = 0; i < x->numel; i++) {
            const double square = (a[i] - b[i]) * (a[i] - b[i]);
            if (call->attrs->i[0] == AG_NONE)
                ag__store(d, ag__at(out[0]), i, square);
            lane[i % 8] += square;
        }
        for (int k = 0; k < 8; k++)
            sum += lane[k];
        if (call->attrs->i[0] != AG_NONE)
            ag__store(d, ag__at(out[0]), 0,
                      call->attrs->i[0] == AG_MEAN ? sum / (double)x->numel : sum);
    }
    ag__tensor_unref(x);
    ag__tensor_unref(y);
    return ok;
}

static unsigned mse_loss_needs(unsigned wanted) { return wanted ? 3u : 0; }

/* Operand i; truth values, which a difference refuses, as numbers. */
static ag_tensor *mse_loss_operand(const ag__rule *r, int i)
{
    ag_tensor *t = ag__in(r, i);
    return t && t->dtype == AG_BOOL ? ag_to(t, (ag_dtype)r->g[0]->dtype) : t;
}

static bool mse_loss_vjp(ag__rule *r)
{
    ag_tensor *difference = (ag_sub)(mse_loss_operand(r, 0), mse_loss_operand(r, 1));
    if (!difference)
        return false;
    const double factor = r->attrs->i[0] == AG_MEAN ? 2 / (double)difference->numel : 2;
    ag_tensor *g = (ag_mul)((ag_mul)(difference, ag__number(difference, factor)), r->g[0]);
    if (!g)
        return false;
    if (ag__wants(r, 0) && !(r->out[0] = ag__sum_to(g, ag__in_shape(r, 0))))
        return false;
    return !ag__wants(r, 1) || (r->out[1] = ag__sum_to(ag_neg(g), ag__in_shape(r, 1)));
}

const ag__op ag__op_mse_loss = { .name = "mse_loss",
                                 .node_name = "MseLossBackward0",
                                 .operands = (const char *const[]){ "self", "target" },
                                 .kind = AG_KIND_GENERAL,
                                 .n_in = 2,
                                 .n_out = 1,
                                 .takes_attrs = true,
                                 .infer = mse_loss_infer,
                                 .kernel = mse_loss_kernel,
                                 .needs = mse_loss_needs,
                                 .vjp = mse_loss_vjp };

ag_tensor *(ag_mse_loss)(ag_tensor *x, ag_tensor *target, const ag_loss_options *o)
{
    return ag__binary(&ag__op_mse_loss, x, target,
                      &(ag__attrs){ .i = { o ? o->reduction : AG_MEAN } });
}

/* ---- nll_loss: i[0] is the reduction, i[1] the ignored class; the second result, which only the
 *      derivative sees, is the sum of the weights of the targets that count ---- */

/* Shapes of x (N, C, d...) or (C), and of target (N, d...) or (). */
static bool nll_check_target(const ag__call *call)
{
    const ag_tensor *x = call->in[0], *t = call->in[1];
    ag__shape_text a, b;
    if (x->ndim == 0)
        return ag_fail(call->c, AG_ERR_SHAPE, "ag_nll_loss: Expected 1 or more dimensions (got 0)");
    if (t->dtype != AG_I64 && t->dtype != AG_I32)
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_nll_loss: expected target dtype to be int64, but got %s",
                       ag_dtype_name((ag_dtype)t->dtype));
    bool fits = t->ndim == x->ndim - 1;
    for (int i = 0; i < t->ndim && fits; i++)
        fits = t->dims[i] == x->dims[i ? i + 1 : 0];
    return fits || ag_fail(call->c, AG_ERR_SHAPE,
                           "ag_nll_loss: Expected target of the input's shape without its class "
                           "dimension: got input %s, target %s",
                           ag__shape_string(&a, ag__sizes(x)), ag__shape_string(&b, ag__sizes(t)));
}

static bool nll_check_weight(const ag__call *call)
{
    const ag_tensor *x = call->in[0], *w = call->in[2];
    const int64_t classes = x->dims[x->ndim > 1];
    ag__shape_text text;
    if (!w)
        return true;
    if (w->ndim != 1 || w->dims[0] != classes)
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_nll_loss: weight tensor should be defined either for all %lld classes or no "
            "classes but got weight tensor of shape: %s",
            (long long)classes, ag__shape_string(&text, ag__sizes(w)));
    if (w->dtype != x->dtype)
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_nll_loss: expected scalar type %s for weight, but found "
                       "%s",
                       ag_dtype_name((ag_dtype)x->dtype), ag_dtype_name((ag_dtype)w->dtype));
    return !ag__wants_grad(w) || !call->c->grad_enabled ||
           ag_fail(
               call->c, AG_ERR_GRAD,
               "ag_nll_loss: The function 'nll_loss_forward' is not differentiable with respect to "
               "argument 'weight'. This input cannot have requires_grad True.");
}

static bool nll_loss_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    if (!loss_check_reduction(call) || !loss_check_float(call, (ag_dtype)x->dtype) ||
        !nll_check_target(call) || !nll_check_weight(call))
        return false;
    const bool whole = call->attrs->i[0] == AG_NONE;
    ag__geometry_set(&out[0], (ag_dtype)x->dtype,
                     whole ? ag__sizes(call->in[1]) : (ag_ints){ NULL, 0 });
    ag__geometry_set(&out[1], x->dtype == AG_F64 ? AG_F64 : AG_F32, (ag_ints){ NULL, 0 });
    return true;
}

/* x's element for target element k of `inner` per sample, in the tensor's memory. */
static int64_t nll_offset(const ag_tensor *x, int64_t k, int64_t class_index)
{
    const int64_t *size = ag__shape(x), *stride = ag__strides(x);
    int64_t at = class_index * stride[x->ndim > 1];
    for (int i = x->ndim - 1; i >= 2; i--) {
        at += k % size[i] * stride[i];
        k /= size[i];
    }
    return x->ndim > 1 ? at + k * stride[0] : at;
}

static bool nll_check_classes(ag_context *c, const int64_t *target, int64_t n, int64_t classes,
                              int64_t ignored)
{
    for (int64_t k = 0; k < n; k++)
        if (target[k] != ignored && (target[k] < 0 || target[k] >= classes))
            return ag_fail(c, AG_ERR_INDEX,
                           "ag_nll_loss: Target %lld is out of bounds. [%lld classes]",
                           (long long)target[k], (long long)classes);
    return true;
}

static bool nll_loss_kernel(const ag__call *call, ag_tensor *const *out)
{
    const ag_tensor *x = call->in[0], *w = call->in[2];
    const int64_t ignored = call->attrs->i[1], reduction = call->attrs->i[0];
    const ag_dtype d = (ag_dtype)x->dtype;
    ag_tensor *t = ag__ready(call->in[1], AG_I64);
    if (!t)
        return false;
    const int64_t *target = (const int64_t *)(const void *)ag__at(t);
    const bool ok = nll_check_classes(call->c, target, t->numel, x->dims[x->ndim > 1], ignored);
    double sum = 0, total = 0;
    for (int64_t k = 0; k < t->numel && ok; k++) {
        double loss = 0;
        if (target[k] != ignored) {
            const double weight = w ? ag__load(d, ag__at(w), target[k] * w->dims[1]) : 1;
            loss = -weight * ag__load(d, ag__at(x), nll_offset(x, k, target[k]));
            total += weight;
        }
        if (reduction == AG_NONE)
            ag__store(d, ag__at(out[0]), k, loss);
        sum += loss;
    }
    if (reduction != AG_NONE)
        ag__store(d, ag__at(out[0]), 0,
                  reduction == AG_SUM      ? sum
                  : total == 0 && sum == 0 ? (double)NAN
                                           : sum / total);
    ag__store((ag_dtype)out[1]->dtype, ag__at(out[1]), 0, total);
    ag__tensor_unref(t);
    return ok;
}

static unsigned nll_loss_needs(unsigned wanted)
{
    return wanted & 1 ? 2u | 4u | AG_SAVE_OUTPUT << 1 : 0;
}

/* An integer beside targets, which a real number would turn into f32. */
static ag_tensor *loss_integer(ag_context *c, int64_t v)
{
    ag_tensor *t = ag__tensor_new(c, AG_I64, 0, NULL);
    if (t)
        *(int64_t *)(void *)ag__at(t) = v;
    return ag__give(t);
}

/* Where targets count, and the targets with class 0 in place of the ignored ones. */
static bool loss_targets(ag_tensor *target, int64_t ignored, ag_tensor **counts, ag_tensor **safe)
{
    *counts = (ag_ne)(target, loss_integer(target->c, ignored));
    *safe = ag_to((ag_where)(*counts, target, loss_integer(target->c, 0)), AG_I64);
    return *safe != NULL;
}

/* x[n, target[n]] has the derivative -weight[target[n]], over the total for a mean, all others 0.
 */
static bool nll_loss_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0], *target = ag__in(r, 1), *weight = ag__in(r, 2);
    if (!g || !ag__wants(r, 0))
        return true;
    const ag_ints shape = ag__in_shape(r, 0);
    const int dim = shape.n > 1;
    ag_tensor *counts, *safe;
    if (!loss_targets(target, r->attrs->i[1], &counts, &safe))
        return false;
    ag_tensor *factor;
    if (!weight) {
        factor = ag_to(counts, (ag_dtype)g->dtype);
    } else {
        factor = ag_index_select(weight, 0, ag_reshape(safe, AG_SHAPE(safe->numel)));
        factor = ag_reshape(factor, ag__sizes(target));
    }
    if (r->attrs->i[0] == AG_MEAN)
        factor = (ag_div)(factor, ag_detach(ag__out(r, 1)));
    factor = factor ? (ag_where)(counts, factor, ag__number(factor, 0)) : NULL; /* even 0 / 0 */
    ag_tensor *values = (ag_mul)(factor, ag_neg(g));
    if (!values)
        return false;
    r->out[0] =
        ag__scatter_add_zeros(ag_unsqueeze(values, dim), dim, ag_unsqueeze(safe, dim), shape);
    return r->out[0] != NULL;
}

const ag__op ag__op_nll_loss = { .name = "nll_loss",
                                 .node_name = "NllLossBackward0",
                                 .operands = (const char *const[]){ "self", "target", "weight" },
                                 .kind = AG_KIND_GENERAL,
                                 .n_in = 3,
                                 .n_out = 2,
                                 .takes_attrs = true,
                                 .optional = 4,
                                 .infer = nll_loss_infer,
                                 .kernel = nll_loss_kernel,
                                 .needs = nll_loss_needs,
                                 .vjp = nll_loss_vjp };

static int64_t loss_ignored(const ag_loss_options *o)
{
    return o && o->ignore_index != 0 ? o->ignore_index : -100;
}

ag_tensor *(ag_nll_loss)(ag_tensor *x, ag_tensor *target, const ag_loss_options *o)
{
    const ag__attrs attrs = { .i = { o ? o->reduction : AG_MEAN, loss_ignored(o) } };
    ag_tensor *out[AG_MAX_OUTPUTS], *in[] = { x, target, o ? o->weight : NULL };
    if (!x || !ag__run(&ag__op_nll_loss, in, 3, &attrs, out))
        return NULL;
    ag__tensor_unref(out[1]);
    return ag__give(out[0]);
}

/* ---- cross_entropy ---- */

/* What smoothing adds: for each target that counts, the sum of -weight * x over all classes. */
static ag_tensor *cross_entropy_smooth(ag_tensor *x, ag_tensor *target, const ag_loss_options *o)
{
    const int dim = x->ndim > 1;
    const ag_ints class_dim = AG_DIMS(dim);
    ag_tensor *counts, *safe, *weight = o->weight, *weighted = x;
    if (!loss_targets(target, loss_ignored(o), &counts, &safe))
        return NULL;
    if (weight) {
        int64_t shape[AG_MAX_DIMS];
        for (int i = 0; i < x->ndim; i++)
            shape[i] = i == dim ? weight->numel : 1;
        weighted = (ag_mul)(x, ag_reshape(weight, (ag_ints){ shape, x->ndim }));
    }
    ag_tensor *each = ag_neg(ag_sum(weighted, .dims = class_dim));
    each = each ? (ag_where)(counts, each, ag__number(each, 0)) : NULL;
    if (o->reduction == AG_NONE || !each)
        return each;
    ag_tensor *sum = (ag_sum)(each, NULL);
    if (o->reduction == AG_SUM)
        return sum;
    ag_tensor *total = counts;
    if (weight) {
        total = ag_index_select(weight, 0, ag_reshape(safe, AG_SHAPE(safe->numel)));
        total = total ? (ag_where)(ag_reshape(counts, AG_SHAPE(counts->numel)), total,
                                   ag__number(total, 0))
                      : NULL;
    }
    return (ag_div)(sum, ag_to((ag_sum)(total, NULL), (ag_dtype)x->dtype));
}

/* What smoothing gives to each class of x, as a number beside t. */
static ag_tensor *cross_entropy_share(ag_tensor *x, double smoothing, const ag_tensor *t)
{
    const int64_t classes = x->dims[x->ndim > 1];
    if (classes >= 0)
        return ag__number(t, smoothing / (double)classes);
    int64_t others[AG_MAX_DIMS] = { 0 }; /* a run counts them, whatever the other sizes are */
    for (int i = 1; i < x->ndim - 1; i++)
        others[i] = i + 1;
    ag_tensor *each = x->ndim > 1 ? ag_sum(x, .dims = { others, x->ndim - 1 }) : x;
    ag_tensor *ones = each ? ag_ones_like(each) : NULL, *count = ag_sum(ag_to(ones, AG_F64));
    ag_tensor *share = count ? (ag_div)(ag__number(count, smoothing), count) : NULL;
    return share ? ag_to(share, (ag_dtype)t->dtype) : NULL;
}

static ag_tensor *cross_entropy_compose(ag_tensor *logits, ag_tensor *target,
                                        const ag_loss_options *o)
{
    ag_tensor *x = ag_log_softmax(logits, logits->ndim > 1);
    ag_tensor *loss = (ag_nll_loss)(x, target, o);
    const double smoothing = o ? o->label_smoothing : 0;
    if (!loss || smoothing == 0)
        return loss;
    ag_tensor *smooth = cross_entropy_smooth(x, target, o);
    if (!smooth)
        return NULL;
    return (ag_add)((ag_mul)(loss, ag__number(loss, 1 - smoothing)),
                    (ag_mul)(smooth, cross_entropy_share(x, smoothing, smooth)));
}

ag_tensor *(ag_cross_entropy)(ag_tensor *logits, ag_tensor *target, const ag_loss_options *o)
{
    if (!logits)
        return NULL;
    if (o && !(o->label_smoothing >= 0 && o->label_smoothing <= 1))
        return ag__fail(logits->c, AG_ERR_VALUE,
                        "ag_cross_entropy: label_smoothing must be between 0.0 and 1.0. Got: %g",
                        o->label_smoothing);
    if (logits->ndim == 0)
        return ag__fail(logits->c, AG_ERR_SHAPE,
                        "ag_cross_entropy: Expected 1 or more dimensions (got 0)");
    ag_scope s;
    ag__bracket_begin(&s, logits->c);
    return ag__compose_end(&s, cross_entropy_compose(logits, target, o));
}
