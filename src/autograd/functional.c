/*
 * Derivatives of functions: see trial.h for how a function is differentiated from outside.
 */
#include "backward.h"
#include "trial.h"

static bool functional_check(const ag__trial *t, ag_tensor *const *cotangents)
{
    if (!cotangents)
        return (t->m == 1 && t->out[0]->numel == 1) ||
               ag_fail(
                   t->c, AG_ERR_VALUE,
                   "ag_vjp: The vector v can only be None if the user-provided function returns "
                   "a single Tensor with a single element.");
    for (int j = 0; j < t->m; j++)
        if (!ag__trial_check_v(t, cotangents[j], t->out[j], j, t->m))
            return false;
    return true;
}

/* Whether the gradients are part of the caller's graph. */
static bool functional_is_differentiable(const ag__trial *t, ag_tensor *const *cotangents,
                                         bool *differentiable)
{
    ag__tape tape;
    *differentiable = false;
    if (!t->records)
        return true;
    if (!ag__tape_open(&tape, t->c, t->from, t->out, t->m))
        return false;
    *differentiable = ag__tape_mark(&tape, t->hidden, t->n);
    ag__tape_close(&tape, false);
    for (int j = 0; cotangents && j < t->m; j++)
        *differentiable = *differentiable || (cotangents[j] && ag__wants_grad(cotangents[j]));
    return true;
}

/* Gradients flow through output y. */
static bool functional_counts(ag_tensor *y)
{
    return ag__wants_grad(y) || (ag__any_recorded(&y, 1) && ag__is_float((ag_dtype)y->dtype));
}

/* The gradients of the floating point inputs; lists[] has room for 2 m + 2 n tensors. */
static bool functional_pull(ag__trial *t, ag_tensor *const *cotangents, ag_tensor **lists)
{
    ag_tensor **y = lists, **v = y + t->m, **x = v + t->m, **g = x + t->n;
    int n_y = 0, n_x = 0;
    bool differentiable;
    for (int j = 0; j < t->m; j++)
        if (functional_counts(t->out[j]) && (!cotangents || cotangents[j])) {
            y[n_y] = t->out[j];
            v[n_y++] = cotangents ? cotangents[j] : NULL;
        }
    for (int i = 0; i < t->n; i++)
        if (ag__is_float((ag_dtype)t->in[i]->dtype))
            x[n_x++] = t->in[i];
    if (!functional_is_differentiable(t, cotangents, &differentiable) ||
        (n_x && n_y &&
         !ag_grad(y, n_y, x, n_x, g, .grad_outputs = v, .create_graph = differentiable,
                  .materialize_grads = true)))
        return false;
    for (int i = 0, k = 0; i < t->n; i++) {
        if (!ag__is_float((ag_dtype)t->in[i]->dtype))
            continue;
        t->more[i] = n_y ? g[k++] : ag_zeros_like(t->in[i]);
        if (!t->more[i])
            return false;
    }
    return true;
}

/* In a static graph: fn of copies of its inputs, so that other uses of these do not count, and a
 * gradient with respect to the copies. */
typedef struct {
    ag__trial t; /* as far as results and their gradients go */
    ag_fn fn;
    void *user;
    ag_tensor *const *in, *const *cotangents;
    ag_tensor **lists;
} functional_call;

static bool functional_record(void *arg)
{
    functional_call *k = arg;
    ag__trial *t = &k->t;
    for (int i = 0; i < t->n; i++)
        if (!(t->in[i] = ag_clone(k->in[i])))
            return false;
    return ag__trial_run(t->c, t->name, k->fn, t->in, t->n, t->out, t->m, k->user) &&
           functional_check(t, k->cotangents) && functional_pull(t, k->cotangents, k->lists);
}

static bool functional_vjp_recorded(functional_call *k, ag_tensor **out, ag_tensor **grads)
{
    ag__trial *t = &k->t;
    const int n = t->n, m = t->m, count = 4 * n + 3 * m;
    const size_t bytes = (size_t)count * sizeof(ag_tensor *);
    ag_tensor **block = ag__alloc(t->c, bytes);
    if (!block)
        return false;
    for (int i = 0; i < count; i++)
        block[i] = NULL;
    t->in = block;
    t->out = t->in + n;
    t->more = t->out + m;
    k->lists = t->more + n;
    const bool ok = ag__attempt("vjp", k->in, n, functional_record, k);
    for (int j = 0; j < m && ok; j++)
        out[j] = t->out[j];
    for (int i = 0; i < n && ok; i++)
        grads[i] = t->more[i];
    ag__free(t->c, block, bytes);
    return ok;
}

bool ag_vjp(ag_fn fn, ag_tensor *const *in, int n, ag_tensor **out, int m,
            ag_tensor *const *cotangents, ag_tensor **grads, void *user)
{
    ag__trial t;
    if (ag__any_recorded(in, n)) {
        ag_context *c = ag__trial_check("ag_vjp", fn, in, n, m);
        functional_call k = {
            { .c = c, .name = "ag_vjp", .n = n, .m = m }, fn, user, in, cotangents, NULL
        };
        return c && functional_vjp_recorded(&k, out, grads);
    }
    if (!ag__trial_begin(&t, "ag_vjp", fn, in, n, m, n))
        return false;
    const size_t bytes = (size_t)(2 * (m + n)) * sizeof(ag_tensor *);
    ag_tensor **lists = ag__alloc(t.c, bytes);
    const bool ok = lists && ag__trial_call(&t, fn, in, NULL, user) &&
                    functional_check(&t, cotangents) && functional_pull(&t, cotangents, lists);
    ag__free(t.c, lists, bytes);
    return ag__trial_end(&t, ok, out, grads);
}
