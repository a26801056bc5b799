/*
 * Running sums and products along a dimension: cumsum, cumprod and logcumsumexp.
 *
 * The gradient of cumprod needs no division. y_i = x_i y_(i-1), so that what reaches y_i in all is
 * s_i = g_i + x_(i+1) s_(i+1), and x_i gets s_i y_(i-1). That recurrence is a row, in both directions:
 *     forward    h_i = b_i + a_i h_(i-1)
 *     back       h_i = b_i + a_(i+1) h_(i+1)
 * Either is the transpose of the other: with s for the other one of (a, t), t the incoming gradient,
 * b gets s, and a_i gets s_i h_(i-1), or s_(i-1) h_i, and nothing for i = 0, which is not used.
 *
 * The gradient of logcumsumexp is a scan of its own, and so is that one's: two rows, linear in
 * their first operand, whose derivatives are written in each other. With w_ij = e^(x_j - y_i) for
 * j <= i:
 *     vjp(g, x, y)_j = sum_i g_i w_ij        jvp(h, x, y)_i = sum_j h_j w_ij
 * Since d w_ij = w_ij (dx_j - dy_i), with t for the incoming gradient of either result u:
 *     of vjp: to g: jvp(t), to x: t u, to y: -g jvp(t)
 *     of jvp: to h: vjp(t), to x: h vjp(t), to y: -t u
 *
 * i[0] of the attributes is the dimension; i[1] of the recurrence is 1 when it goes back.
 */
#include "dims.h"
#include "lanes.h"
#include "op.h"

static bool scan_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const ag_dtype d = (ag_dtype)x->dtype;
    ag__geometry_set(out, ag__is_float(d) ? d : AG_I64, ag__sizes(x));
    for (int i = 1; i < call->n_in; i++)
        if (!ag__attrs_fit(call, ag__same_shape(ag__sizes(x), ag__sizes(call->in[i]))))
            return false;
    return ag__op_dim(call->c, call->op->name, call->attrs->i[0], x->ndim) >= 0;
}

static bool scan_float_infer(const ag__call *call, ag__geometry *out)
{
    const ag_dtype d = (ag_dtype)call->in[0]->dtype;
    if (!ag__is_float(d))
        return ag_fail(call->c, AG_ERR_DTYPE, "ag_%s: not implemented for %s", call->op->name,
                       ag_dtype_name(d));
    return scan_infer(call, out);
}

/* All operands are of one shape: x alone, or a gradient, x and the running result. */
static bool scan_run(const ag__call *call, ag_tensor *out, int which)
{
    const ag_dtype compute = ag__reduce_dtype((ag_dtype)out->dtype);
    const int dim = ag__op_dim(call->c, call->op->name, call->attrs->i[0], out->ndim);
    ag_tensor *in[3] = { 0 };
    bool ok = true;
    for (int i = 0; i < call->n_in && ok; i++)
        ok = (in[i] = ag__ready(call->in[i], compute)) != NULL;
    ag_tensor *to = ok ? ag__computed_in(out, compute) : NULL;
    if (to && out->numel > 0) {
        const void *data[3] = { NULL };
        for (int i = 0; i < call->n_in; i++)
            data[i] = ag__at(in[i]);
        ag__scan(call->c, compute, which, data, ag__at(to), ag__lanes_along(ag__sizes(out), dim));
        if (to != out)
            ag__copy_data(out, to);
    }
    for (int i = 0; i < call->n_in; i++)
        ag__tensor_unref(in[i]);
    ag__tensor_unref(to);
    return to != NULL;
}

static ag__attrs scan_dim(const ag__rule *r) { return (ag__attrs){ .i = { r->attrs->i[0] } }; }

/* ---- cumsum ---- */

static bool cumsum_kernel(const ag__call *call, ag_tensor *const *out)
{
    return scan_run(call, out[0], AG_SCAN_CUMSUM);
}
/* The running sum from the other end. */
static bool cumsum_vjp(ag__rule *r)
{
    const int dim = (int)r->attrs->i[0];
    if (r->g[0]->ndim == 0)
        return (r->out[0] = r->g[0]) != NULL;
    ag_tensor *t = ag_flip(r->g[0], AG_DIMS(dim));
    t = t ? ag_cumsum(t, dim) : NULL;
    return (r->out[0] = t ? ag_flip(t, AG_DIMS(dim)) : NULL) != NULL;
}

const ag__op ag__op_cumsum = { .name = "cumsum",
                               .node_name = "CumsumBackward0",
                               .kind = AG_KIND_LINEAR,
                               .n_in = 1,
                               .n_out = 1,
                               .takes_attrs = true,
                               .infer = scan_infer,
                               .kernel = cumsum_kernel,
                               .vjp = cumsum_vjp };

ag_tensor *ag_cumsum(ag_tensor *x, int dim)
{
    return ag__unary(&ag__op_cumsum, x, &(ag__attrs){ .i = { dim } });
}

/* ---- cumprod ---- */

static unsigned scan_needs_both(unsigned wanted) { return wanted | AG_SAVE_OUTPUT; }

/* t moved on by one along dim: t_(i-1) at i; at 0 what `first` makes. t has dimensions and elements. */
static ag_tensor *scan_shift(ag_tensor *t, int dim, ag_tensor *(*first)(ag_tensor *like))
{
    ag_tensor *head = ag_narrow(t, dim, 0, 1), *start = head ? first(head) : NULL;
    ag_tensor *rest = start ? ag_narrow(t, dim, 0, ag_size(t, dim) - 1) : NULL;
    return rest ? ag_cat((ag_tensor *[]){ start, rest }, 2, dim) : NULL;
}

static bool recurrence_kernel(const ag__call *call, ag_tensor *const *out)
{
    return scan_run(call, out[0], call->attrs->i[1] ? AG_SCAN_RECURRENCE_BACK : AG_SCAN_RECURRENCE);
}
static unsigned recurrence_needs(unsigned wanted) { return 1 | (wanted & 1 ? AG_SAVE_OUTPUT : 0); }
static ag_tensor *scan_recur(const ag__rule *r, ag_tensor *b, bool back)
{
    const ag__attrs a = { .i = { r->attrs->i[0], back } };
    return ag__binary(ag__ops[AG_OP_recurrence], ag__in(r, 0), b, &a);
}
static bool recurrence_vjp(ag__rule *r)
{
    const int dim = (int)r->attrs->i[0];
    const bool back = r->attrs->i[1];
    ag_tensor *s = scan_recur(r, r->g[0], !back);
    r->out[1] = ag__wants(r, 1) ? s : NULL;
    if (!s || !ag__wants(r, 0))
        return s != NULL;
    if (s->ndim == 0 || s->numel == 0)
        return (r->out[0] = ag_zeros_like(s)) != NULL;
    ag_tensor *h = ag__out(r, 0),
              *earlier = h ? scan_shift(back ? s : h, dim, ag_zeros_like) : NULL;
    return (r->out[0] = earlier ? ag_mul(earlier, back ? h : s) : NULL) != NULL;
}

const ag__op ag__op_recurrence = { .name = "recurrence",
                                   .node_name = "RecurrenceBackward0",
                                   .kind = AG_KIND_GENERAL,
                                   .n_in = 2,
                                   .n_out = 1,
                                   .takes_attrs = true,
                                   .infer = scan_float_infer,
                                   .kernel = recurrence_kernel,
                                   .needs = recurrence_needs,
                                   .vjp = recurrence_vjp };

static bool cumprod_kernel(const ag__call *call, ag_tensor *const *out)
{
    return scan_run(call, out[0], AG_SCAN_CUMPROD);
}
static bool cumprod_vjp(ag__rule *r)
{
    ag_tensor *s = scan_recur(r, r->g[0], true), *y = ag__out(r, 0);
    if (!s || !y || s->ndim == 0 || s->numel == 0)
        return (r->out[0] = y ? s : NULL) != NULL;
    ag_tensor *before = scan_shift(y, (int)r->attrs->i[0], ag_ones_like);
    return (r->out[0] = before ? ag_mul(s, before) : NULL) != NULL;
}

const ag__op ag__op_cumprod = { .name = "cumprod",
                                .node_name = "CumprodBackward0",
                                .kind = AG_KIND_GENERAL,
                                .n_in = 1,
                                .n_out = 1,
                                .takes_attrs = true,
                                .infer = scan_infer,
                                .kernel = cumprod_kernel,
                                .needs = scan_needs_both,
                                .vjp = cumprod_vjp };

ag_tensor *ag_cumprod(ag_tensor *x, int dim)
{
    return ag__unary(&ag__op_cumprod, x, &(ag__attrs){ .i = { dim } });
}

/* ---- logcumsumexp ---- */

/* x and y always; the first operand for the gradients of these, and so the result. */
static unsigned scan_needs_weights(unsigned wanted)
{
    return 6 | (wanted & 6 ? 1 | AG_SAVE_OUTPUT : 0);
}

static bool logcumsumexp_kernel(const ag__call *call, ag_tensor *const *out)
{
    return scan_run(call, out[0], AG_SCAN_LOGCUMSUMEXP);
}
static bool logcumsumexp_vjp_kernel(const ag__call *call, ag_tensor *const *out)
{
    return scan_run(call, out[0], AG_SCAN_LOGCUMSUMEXP_VJP);
}
static bool logcumsumexp_jvp_kernel(const ag__call *call, ag_tensor *const *out)
{
    return scan_run(call, out[0], AG_SCAN_LOGCUMSUMEXP_JVP);
}

static ag_tensor *scan_weighted(const ag__rule *r, const ag__op *op, ag_tensor *t)
{
    const ag__attrs a = scan_dim(r);
    return ag__run1(op, (ag_tensor *[]){ t, ag__in(r, 1), ag__in(r, 2) }, 3, &a);
}

static bool logcumsumexp_backward_vjp(ag__rule *r)
{
    ag_tensor *t = r->g[0], *s = scan_weighted(r, ag__ops[AG_OP_logcumsumexp_jvp], t);
    if (!s)
        return false;
    r->out[0] = ag__wants(r, 0) ? s : NULL;
    if (ag__wants(r, 1) && !(r->out[1] = ag_mul(t, ag__out(r, 0))))
        return false;
    ag_tensor *down = ag__wants(r, 2) ? ag_mul(ag__in(r, 0), s) : NULL;
    return !ag__wants(r, 2) || (r->out[2] = down ? ag_neg(down) : NULL);
}

static bool logcumsumexp_jvp_vjp(ag__rule *r)
{
    ag_tensor *t = r->g[0], *s = scan_weighted(r, ag__ops[AG_OP_logcumsumexp_backward], t);
    if (!s)
        return false;
    r->out[0] = ag__wants(r, 0) ? s : NULL;
    if (ag__wants(r, 1) && !(r->out[1] = ag_mul(ag__in(r, 0), s)))
        return false;
    ag_tensor *down = ag__wants(r, 2) ? ag_mul(t, ag__out(r, 0)) : NULL;
    return !ag__wants(r, 2) || (r->out[2] = down ? ag_neg(down) : NULL);
}

const ag__op ag__op_logcumsumexp_backward = { .name = "logcumsumexp_backward",
                                              .node_name = "LogcumsumexpBackwardBackward0",
                                              .kind = AG_KIND_GENERAL,
                                              .n_in = 3,
                                              .n_out = 1,
                                              .takes_attrs = true,
                                              .infer = scan_float_infer,
                                              .kernel = logcumsumexp_vjp_kernel,
                                              .needs = scan_needs_weights,
                                              .vjp = logcumsumexp_backward_vjp };
const ag__op ag__op_logcumsumexp_jvp = { .name = "logcumsumexp_jvp",
                                         .node_name = "LogcumsumexpJvpBackward0",
                                         .kind = AG_KIND_GENERAL,
                                         .n_in = 3,
                                         .n_out = 1,
                                         .takes_attrs = true,
                                         .infer = scan_float_infer,
                                         .kernel = logcumsumexp_jvp_kernel,
                                         .needs = scan_needs_weights,
                                         .vjp = logcumsumexp_jvp_vjp };

static bool logcumsumexp_vjp(ag__rule *r)
{
    const ag__attrs a = scan_dim(r);
    ag_tensor *y = ag__out(r, 0);
    r->out[0] = y ? ag__run1(&ag__op_logcumsumexp_backward,
                             (ag_tensor *[]){ r->g[0], ag__in(r, 0), y }, 3, &a)
                  : NULL;
    return r->out[0] != NULL;
}

const ag__op ag__op_logcumsumexp = { .name = "logcumsumexp",
                                     .node_name = "LogcumsumexpBackward0",
                                     .kind = AG_KIND_GENERAL,
                                     .n_in = 1,
                                     .n_out = 1,
                                     .takes_attrs = true,
                                     .infer = scan_float_infer,
                                     .kernel = logcumsumexp_kernel,
                                     .needs = scan_needs_both,
                                     .vjp = logcumsumexp_vjp };

ag_tensor *ag_logcumsumexp(ag_tensor *x, int dim)
{
    return ag__unary(&ag__op_logcumsumexp, x, &(ag__attrs){ .i = { dim } });
}
