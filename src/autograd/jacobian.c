/*
 * Matrices of derivatives, and products with them, from ag_vjp and ag_jvp: a Jacobian is as many
 * products as it has rows, or in forward mode columns; a Hessian is the Jacobian of the gradient.
 */
#include "backward.h"
#include "trial.h"

#include "../ops/compose.h"

/* ---- Jacobians ---- */

static ag_ints jacobian_shape(const ag_tensor *y, const ag_tensor *x, int64_t *dims)
{
    const int n = y->ndim + x->ndim;
    for (int i = 0; i < n && i < AG_MAX_DIMS; i++)
        dims[i] = i < y->ndim ? y->dims[i] : x->dims[i - y->ndim];
    return (ag_ints){ dims, n };
}

/* The unit vectors of t's elements, one after the other in the first dimension. */
static ag_tensor *jacobian_units(const ag_tensor *t)
{
    int64_t dims[AG_MAX_DIMS + 1] = { t->numel };
    for (int i = 0; i < t->ndim; i++)
        dims[i + 1] = t->dims[i];
    ag_tensor *eye = ag_eye(t->c, t->numel, .dtype = (ag_dtype)t->dtype);
    return eye ? ag_reshape(eye, (ag_ints){ dims, t->ndim + 1 }) : NULL;
}

static bool jacobian_zeros(const ag_tensor *y, const ag_tensor *x, ag_tensor **jacobian)
{
    int64_t dims[AG_MAX_DIMS];
    *jacobian = ag_zeros(x->c, jacobian_shape(y, x, dims), .dtype = (ag_dtype)y->dtype);
    return *jacobian != NULL;
}

/* One batched pass over the graph of the trial's only output. */
static bool jacobian_pull(ag__trial *t)
{
    ag_tensor *y = t->out[0], *x = t->in[0], *rows = NULL;
    int64_t dims[AG_MAX_DIMS];
    if (!ag__wants_grad(y) || y->numel == 0)
        return jacobian_zeros(y, x, &t->more[0]);
    ag_tensor *units = jacobian_units(y);
    if (!units || !ag_grad(&y, 1, &x, 1, &rows, .grad_outputs = &units, .batched = true,
                           .create_graph = t->records, .allow_unused = true))
        return false;
    if (!rows)
        return jacobian_zeros(y, x, &t->more[0]);
    return (t->more[0] = ag_reshape(rows, jacobian_shape(y, x, dims))) != NULL;
}

/* One call of fn for each element of x. */
static ag_tensor *jacobian_push(ag_fn fn, ag_tensor *x, void *user)
{
    ag_tensor *units = jacobian_units(x), *y = NULL, *whole = NULL;
    int64_t dims[AG_MAX_DIMS];
    for (int64_t i = 0; units && i < x->numel; i++) {
        ag_tensor *unit = ag_select(units, 0, i), *column = NULL;
        if (!unit || !ag_jvp(fn, &x, 1, &unit, &y, 1, &column, user))
            return NULL;
        column = ag_reshape(column ? column : ag_zeros_like(y), AG_SHAPE(-1, 1));
        whole = whole && column ? ag_cat((ag_tensor *[]){ whole, column }, 2, 1) : column;
        if (!whole)
            return NULL;
    }
    return whole ? ag_reshape(whole, jacobian_shape(y, x, dims)) : NULL;
}

static bool jacobian_check(const char *name, ag_fn fn, ag_tensor *x)
{
    return x && ag__trial_check(name, fn, &x, 1, 1) &&
           (ag__is_float((ag_dtype)x->dtype) ||
            ag_fail(x->c, AG_ERR_DTYPE,
                    "%s: x has dtype %s; derivatives are with respect to "
                    "floating point numbers",
                    name, ag_dtype_name((ag_dtype)x->dtype)));
}

/* The sizes of y, which are known, and of x, of which [n, x's sizes] are those of rows. */
static ag_tensor *jacobian_shaped(ag_tensor *rows, const ag_tensor *y, const ag_tensor *x)
{
    int64_t dims[AG_MAX_DIMS];
    const ag_ints shape = jacobian_shape(y, x, dims);
    for (int i = 0; i < x->ndim && y->ndim + i < AG_MAX_DIMS; i++)
        dims[y->ndim + i] = ag__size_or_same(rows, i + 1);
    return ag_reshape(rows, shape);
}

/* In a static graph: one pass for each element of y becomes part of it. */
typedef struct {
    const char *name;
    ag_fn fn;
    void *user;
    ag_tensor *x, *jacobian;
} jacobian_call;

/* Zeros: y's sizes, and x behind them. */
static ag_tensor *jacobian_zero_rows(const ag_tensor *y, ag_tensor *x)
{
    int64_t sizes[AG_MAX_DIMS + 1] = { y->numel };
    for (int i = 0; i < x->ndim; i++)
        sizes[i + 1] = -1;
    ag_tensor *zeros = ag_unsqueeze(ag_zeros_like(x), 0);
    return zeros ? ag_expand(zeros, (ag_ints){ sizes, x->ndim + 1 }) : NULL;
}

static bool jacobian_record(void *arg)
{
    jacobian_call *k = arg;
    ag_context *c = k->x->c;
    ag_tensor *x = ag_clone(k->x), *y, *rows = NULL; /* other uses of it do not count */
    if (!x || !ag__trial_run(c, k->name, k->fn, &x, 1, &y, 1, k->user))
        return false;
    if (y->numel < 0)
        return ag_fail(c, AG_ERR_SHAPE,
                       "%s: the sizes of the function's result must be known in a graph, since "
                       "they decide how many passes there are",
                       k->name);
    if (y->numel && ag__is_symbolic(y)) {
        ag_tensor *units = jacobian_units(y);
        if (!units || !ag_grad(&y, 1, &x, 1, &rows, .grad_outputs = &units, .batched = true,
                               .allow_unused = true))
            return false;
    }
    rows = rows ? rows : jacobian_zero_rows(y, x);
    return rows && (k->jacobian = jacobian_shaped(rows, y, x)) != NULL;
}

/* The Jacobian by rows, under the name of the public function. */
static ag_tensor *jacobian_reverse(const char *name, ag_fn fn, ag_tensor *x, void *user)
{
    ag__trial t;
    ag_tensor *y, *jacobian;
    if (ag__any_recorded(&x, 1)) {
        jacobian_call k = { name, fn, user, x, NULL };
        return ag__attempt(name + 3, &x, 1, jacobian_record, &k) ? k.jacobian : NULL;
    }
    if (!ag__trial_begin(&t, name, fn, &x, 1, 1, 1))
        return NULL;
    const bool ok = ag__trial_call(&t, fn, &x, NULL, user) && jacobian_pull(&t);
    return ag__trial_end(&t, ok, &y, &jacobian) ? jacobian : NULL;
}

ag_tensor *(ag_jacobian)(ag_fn fn, ag_tensor *x, void *user, const ag_jacobian_options *options)
{
    ag_scope s;
    if (!jacobian_check("ag_jacobian", fn, x))
        return NULL;
    ag__bracket_begin(&s, x->c);
    const bool forward =
        options && options->forward_mode && x->numel > 0 && !ag__any_recorded(&x, 1);
    ag_tensor *j =
        forward ? jacobian_push(fn, x, user) : jacobian_reverse("ag_jacobian", fn, x, user);
    return ag__compose_end(&s, j);
}

/* ---- second derivatives of a function with one element ---- */

typedef struct {
    const char *name; /* of the public function */
    ag_fn fn;
    void *user;
    ag_tensor *value; /* owned: that of the latest call */
} hessian_function;

/* The function itself, which must have one element. */
static bool hessian_value(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    hessian_function *h = user;
    if (!h->fn(in, n, out, m, h->user))
        return false;
    if (out[0] && out[0]->numel != 1)
        return ag_fail(out[0]->c, AG_ERR_SHAPE,
                       "%s: The Tensor returned by the function given to hessian should contain a "
                       "single element",
                       h->name);
    ag__tensor_unref(h->value);
    h->value = NULL;
    ag_tensor *outside = out[0] && ag__is_symbolic(out[0]) ? ag_detach(out[0]) : out[0];
    h->value = outside ? ag__tensor_alias(outside) : NULL;
    return h->value != NULL;
}

/* Its gradient, as a function that can be differentiated. */
static bool hessian_gradient(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *y;
    (void)n, (void)m;
    return ag_vjp(hessian_value, in, 1, &y, 1, NULL, out, user);
}

/* Gives the product to the scope around s, and the value with it. */
static ag_tensor *hessian_end(ag_scope *s, hessian_function *h, ag_tensor *product,
                              ag_tensor **value)
{
    product = ag__compose_end(s, product);
    if (product && value)
        *value = ag__give(h->value);
    else
        ag__tensor_unref(h->value);
    return product;
}

ag_tensor *ag_hessian(ag_fn fn, ag_tensor *x, void *user)
{
    hessian_function h = { "ag_hessian", fn, user, NULL };
    ag_scope s;
    if (!jacobian_check(h.name, fn, x))
        return NULL;
    ag__bracket_begin(&s, x->c);
    return hessian_end(&s, &h, jacobian_reverse(h.name, hessian_gradient, x, &h), NULL);
}

ag_tensor *ag_hvp(ag_fn fn, ag_tensor *x, ag_tensor *v, ag_tensor **value, void *user)
{
    hessian_function h = { "ag_hvp", fn, user, NULL };
    ag_tensor *gradient, *product = NULL;
    ag_scope s;
    if (!jacobian_check(h.name, fn, x) || !v)
        return NULL;
    if (ag__any_recorded(&x, 1)) /* H is symmetric, and the value must not be inside of ag_jvp */
        return ag_vhp(fn, x, v, value, user);
    ag__bracket_begin(&s, x->c);
    if (ag_jvp(hessian_gradient, &x, 1, &v, &gradient, 1, &product, &h) && !product)
        product = ag_zeros_like(x);
    return hessian_end(&s, &h, product, value);
}

ag_tensor *ag_vhp(ag_fn fn, ag_tensor *x, ag_tensor *v, ag_tensor **value, void *user)
{
    hessian_function h = { "ag_vhp", fn, user, NULL };
    ag_tensor *gradient, *product = NULL;
    ag_scope s;
    if (!jacobian_check(h.name, fn, x) || !v)
        return NULL;
    ag__bracket_begin(&s, x->c);
    if (!ag_vjp(hessian_gradient, &x, 1, &gradient, 1, &v, &product, &h))
        product = NULL;
    return hessian_end(&s, &h, product, value);
}
