/*
 * Random draws that take part in graphs: bernoulli and dropout. Numbers come from the context's
 * generator, one for each element in order, so that they do not depend on threads. A call that fails
 * leaves the generator as it was.
 *
 * What is drawn does not change with the probability but at jumps: its derivative is 0, as in PyTorch.
 * dropout is a product with drawn factors, which are 0 or 1 / (1 - p).
 */
#include "compose.h"
#include "index.h"
#include "inplace.h"

/* ---- bernoulli: operand p; bernoulli_over: operands x, p, of which x gives dtype and shape ---- */

static bool draw_check(const ag__call *call, ag_tensor *p)
{
    if (!ag__is_float((ag_dtype)p->dtype) && !(p->flags & AG_T_NUMBER))
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_%s: expected probabilities tensor to have floating type, got %s",
                       call->op->name, ag_dtype_name((ag_dtype)p->dtype));
    ag_tensor *t = ag__ready(p, AG_F64);
    if (!t)
        return false;
    const double *v = (const double *)(const void *)ag__at(t);
    int64_t k = 0;
    while (k < t->numel && v[k] >= 0 && v[k] <= 1)
        k++;
    const bool ok = k == t->numel ||
                    ag_fail(call->c, AG_ERR_VALUE,
                            "ag_%s: Expected p_in >= 0 && p_in <= 1 to be true, but got false: "
                            "element %lld is %g",
                            call->op->name, (long long)k, v[k]);
    ag__tensor_unref(t);
    return ok;
}

static bool bernoulli_infer(const ag__call *call, ag__geometry *out)
{
    ag_tensor *p = call->in[call->n_in - 1];
    ag__geometry_set(out, (ag_dtype)call->in[0]->dtype, ag__sizes(p));
    return (call->n_in == 1 ||
            ag__broadcast(call->c, "bernoulli", ag__sizes(call->in[0]), ag__sizes(p), out)) &&
           ag__check_shape(call->c, "ag_bernoulli", (ag_ints){ out->shape, out->ndim }, out->dtype);
}

static bool bernoulli_kernel(const ag__call *call, ag_tensor *const *out)
{
    if (!draw_check(call, call->in[call->n_in - 1]))
        return false;
    ag_tensor *p = ag__tensor_new(call->c, AG_F64, out[0]->ndim, out[0]->dims);
    if (!p)
        return false;
    ag__copy_data(p, call->in[call->n_in - 1]);
    double *v = (double *)(void *)ag__at(p);
    for (int64_t k = 0; k < p->numel; k++)
        v[k] = ag__uniform(call->c) < v[k];
    ag__copy_data(out[0], p);
    ag__tensor_unref(p);
    return true;
}

static bool bernoulli_vjp(ag__rule *r)
{
    for (int i = 0; i < 2 && i < r->op->n_in; i++)
        if (ag__wants(r, i) && !(r->out[i] = ag__zeros_beside(r->g[0], ag__in_shape(r, i))))
            return false;
    return true;
}

const ag__op ag__op_bernoulli = { .name = "bernoulli",
                                  .draws = true,
                                  .node_name = "BernoulliBackward0",
                                  .operands = (const char *const[]){ "self" },
                                  .kind = AG_KIND_GENERAL,
                                  .n_in = 1,
                                  .n_out = 1,
                                  .infer = bernoulli_infer,
                                  .kernel = bernoulli_kernel,
                                  .vjp = bernoulli_vjp };
const ag__op ag__op_bernoulli_over = { .name = "bernoulli",
                                       .draws = true,
                                       .node_name = "BernoulliBackward1",
                                       .operands = (const char *const[]){ "self", "p" },
                                       .kind = AG_KIND_GENERAL,
                                       .n_in = 2,
                                       .n_out = 1,
                                       .infer = bernoulli_infer,
                                       .kernel = bernoulli_kernel,
                                       .vjp = bernoulli_vjp };

ag_tensor *ag_bernoulli(ag_tensor *p)
{
    if (!p)
        return NULL;
    const ag__random before = p->c->random;
    ag_tensor *y = ag__unary(&ag__op_bernoulli, p, NULL);
    if (!y)
        p->c->random = before;
    return y;
}

ag_tensor *(ag_bernoulli_)(ag_tensor *x, ag_tensor *p)
{
    if (!x)
        return NULL;
    ag_context *c = x->c;
    const ag__random before = c->random;
    x = ag__inplace(&ag__op_bernoulli_over, "ag_bernoulli_", (ag_tensor *[]){ x, p }, 2, NULL);
    if (!x)
        c->random = before;
    return x;
}

/* ---- dropout ---- */

static bool dropout_check(const char *name, const ag_tensor *x, double p)
{
    if (!(p >= 0 && p <= 1))
        return ag_fail(x->c, AG_ERR_VALUE,
                       "%s: dropout probability has to be between 0 and 1, but got %g", name, p);
    return ag__is_float((ag_dtype)x->dtype) ||
           ag_fail(x->c, AG_ERR_DTYPE,
                   "%s: result type float32 can't be cast to the desired output type %s", name,
                   ag_dtype_name((ag_dtype)x->dtype));
}

/* dropout_factors: a factor for each element of x, p being the probability of 0. */
static bool dropout_infer(const ag__call *call, ag__geometry *out)
{
    ag__geometry_set(out, (ag_dtype)call->in[0]->dtype, ag__sizes(call->in[0]));
    return true;
}

static bool dropout_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag_tensor *t = out[0];
    const double p = call->attrs->p, kept = p < 1 ? 1 / (1 - p) : 0;
    for (int64_t k = 0; k < t->numel; k++)
        ag__store((ag_dtype)t->dtype, ag__at(t), k, ag__uniform(call->c) < 1 - p ? kept : 0);
    return true;
}

const ag__op ag__op_dropout_factors = { .name = "dropout",
                                        .kind = AG_KIND_NODIFF,
                                        .n_in = 1,
                                        .n_out = 1,
                                        .takes_attrs = true,
                                        .draws = true,
                                        .infer = dropout_infer,
                                        .kernel = dropout_kernel };

static ag_tensor *dropout_factors(ag_tensor *x, double p)
{
    return ag__unary(&ag__op_dropout_factors, x, &(ag__attrs){ .p = p });
}

ag_tensor *ag_dropout(ag_tensor *x, double p, bool training)
{
    if (!x || !dropout_check("ag_dropout", x, p))
        return NULL;
    if (!training || p == 0 || x->numel == 0)
        return ag__lend(x);
    const ag__random before = x->c->random;
    ag_scope s;
    ag__bracket_begin(&s, x->c);
    ag_tensor *factors = dropout_factors(x, p);
    ag_tensor *y = ag__compose_end(&s, factors ? (ag_mul)(x, factors) : NULL);
    if (!y)
        x->c->random = before;
    return y;
}

ag_tensor *ag_dropout_(ag_tensor *x, double p, bool training)
{
    if (!x || !dropout_check("ag_dropout_", x, p))
        return NULL;
    if (!training || p == 0 || x->numel == 0)
        return x;
    const ag__random before = x->c->random;
    ag_scope s;
    if (!ag__inplace_open(&s, "ag_dropout_", &x, 1))
        return NULL;
    ag_context *c = x->c;
    ag_tensor *factors = dropout_factors(x, p);
    x = ag__inplace_close(&s, "ag_dropout_", x, factors ? (ag_mul)(x, factors) : NULL);
    if (!x)
        c->random = before;
    return x;
}
