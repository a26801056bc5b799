/*
 * Comparing derivatives with central differences: the arguments, the order of checks, second order.
 *
 * A check is a struct that knows the function, the result of one call, and how to compare; the parts
 * beside this file fill matrices (gradcheck_derive.c), compare them (gradcheck_compare.c) and look
 * at what else a rule must do (gradcheck_rules.c). The second-order check is the first-order check of
 * a function that computes gradients.
 */
#include "gradcheck.h"

#include <math.h>
#include <stdio.h>

/* ---- one check ---- */

/* Derivatives beside `numerical`: backward twice, or forward. */
static bool gradcheck_compare(const ag__check *k, const double *numerical, bool forward)
{
    const int64_t rows = forward ? ag__check_in_directions(k) : k->rows;
    const int64_t cols = forward ? k->cols : ag__check_out_directions(k), size = rows * cols;
    const size_t bytes = (size_t)size * sizeof(double) * (forward ? 1 : 2);
    double *first = ag__alloc(k->c, bytes), *again = first ? first + size : NULL;
    bool ok = first != NULL;
    if (ok && forward)
        ok = ag__check_forward(k, first) && ag__check_compare_forward(k, numerical, first);
    else if (ok)
        ok = ag__check_reverse(k, first) && ag__check_reverse(k, again) &&
             ag__check_compare_reverse(k, numerical, first, again);
    ag__free(k->c, first, bytes);
    return ok;
}

static bool gradcheck_jacobians(const ag__check *k)
{
    int64_t size, bytes;
    if (!ag__mul_fits(k->fast ? k->n_wanted + k->m : k->rows, k->rows + k->cols, &size) ||
        !ag__mul_fits(size, 2 * sizeof(double), &bytes))
        return ag_fail(k->c, AG_ERR_MEMORY, "%s: a Jacobian of %lld by %lld is too large", k->name,
                       (long long)k->rows, (long long)k->cols);
    bytes = ag__check_in_directions(k) * k->cols * (int64_t)sizeof(double);
    double *numerical = ag__alloc(k->c, (size_t)bytes);
    bool ok = numerical && ag__check_numerical(k, numerical);
    if (ok && !k->differentiable)
        ok = ag__check_compare_zero(k, numerical);
    else if (ok)
        ok = (!k->reverse || gradcheck_compare(k, numerical, false)) &&
             (!k->forward || gradcheck_compare(k, numerical, true));
    ag__free(k->c, numerical, (size_t)bytes);
    return ok;
}

/* In PyTorch's order. */
static bool gradcheck_all(const ag__check *k)
{
    if (!gradcheck_jacobians(k))
        return false;
    if (!k->differentiable)
        return true;
    if (k->forward && k->undefined && !ag__check_undefined_tangents(k))
        return false;
    if (!k->reverse)
        return true;
    return (!k->batched || ag__check_batched(k)) && ag__check_multiplied(k) &&
           (!k->undefined || ag__check_undefined_gradients(k));
}

/* `n` numbers in [0, 1) of norm 1, which depend on nothing but n and the place. */
static void gradcheck_draw(double *v, int64_t n, int place)
{
    uint64_t state = 0x9e3779b97f4a7c15u * (uint64_t)(place + 1);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        v[i] = (double)(state >> 11) / 9007199254740992.0;
        sum += v[i] * v[i];
    }
    for (int64_t i = 0; i < n && sum > 0; i++)
        v[i] /= sqrt(sum);
}

/* Everything but the vectors is ready. */
static bool gradcheck_with_vectors(ag__check *k)
{
    const size_t n = (size_t)(2 * k->rows + k->cols);
    k->u = ag__alloc(k->c, n * sizeof(double));
    if (!k->u)
        return false;
    k->old = k->u + k->rows;
    k->v = k->old + k->rows;
    double *at = k->u;
    for (int i = 0; i < k->n_wanted; at += k->in[k->wanted[i++]]->numel)
        gradcheck_draw(at, k->in[k->wanted[i]]->numel, i);
    at = k->v;
    for (int j = 0; j < k->m; at += k->out_numel[j++])
        gradcheck_draw(at, k->out_numel[j], k->n + j);
    const bool ok = gradcheck_all(k);
    ag__free(k->c, k->u, n * sizeof(double));
    return ok;
}

/* k has its options and inputs. */
static bool gradcheck_run(ag__check *k)
{
    const size_t n = (size_t)k->n, m = (size_t)k->m;
    const size_t bytes =
        m * sizeof(int64_t) + (2 * m + 3 * (n + m)) * sizeof(ag_tensor *) + n * sizeof(int);
    char *block = ag__alloc(k->c, bytes);
    ag_scope *s = block ? ag_scope_begin(k->c) : NULL;
    bool ok = s != NULL;
    if (ok) {
        k->out_numel = (int64_t *)(void *)block;
        k->out = (ag_tensor **)(void *)(k->out_numel + m);
        k->again = k->out + m;
        k->lists = k->again + m;
        k->wanted = (int *)(void *)(k->lists + 3 * (n + m));
        for (int i = 0; i < k->n; i++)
            if (ag__wants_grad(k->in[i])) {
                k->wanted[k->n_wanted++] = i;
                k->rows += k->in[i]->numel;
            }
        ok = ag__check_call(k, k->out);
    }
    for (int j = 0; j < k->m && ok; j++) {
        k->out_numel[j] = k->out[j]->numel;
        k->cols += k->out_numel[j];
        k->differentiable = k->differentiable || ag__wants_grad(k->out[j]);
    }
    ok = ok && gradcheck_with_vectors(k);
    ag_scope_end(s);
    ag__free(k->c, block, bytes);
    return ok;
}

/* ---- arguments ---- */

static bool gradcheck_check_input(const ag__check *k, int i)
{
    const ag_tensor *t = k->in[i];
    if (!ag__list_check(k->c, k->name, "input", i, t))
        return false;
    if (!ag__wants_grad(t))
        return true;
    if (t->dtype != AG_F64) {
        char text[256];
        snprintf(text, sizeof text,
                 "Input #%d requires gradient and is not a double precision floating point or "
                 "complex. This check will likely fail if all the inputs are not of double "
                 "precision floating point or complex. ",
                 i);
        ag__log(k->c, text);
    }
    for (int d = 0; d < t->ndim; d++)
        if (t->dims[t->ndim + d] == 0 && t->dims[d] > 1)
            return ag_fail(
                k->c, AG_ERR_VALUE,
                "The %dth input has a dimension with stride 0. gradcheck only supports inputs "
                "that are non-overlapping to be able to compute the numerical gradients "
                "correctly. You should call .contiguous on the input before passing it to "
                "gradcheck.",
                i);
    return true;
}

static bool gradcheck_check_options(const ag__check *k, const ag_gradcheck_options *o, bool second)
{
    if (!k->fn || o->n_outputs < 0)
        return ag_fail(k->c, AG_ERR_VALUE, "%s: %s", k->name,
                       k->fn ? ".n_outputs is negative" : "the function is NULL");
    if (!k->reverse && !k->forward)
        return ag_fail(k->c, AG_ERR_VALUE, "%s: Expected at least one of %s to be True", k->name,
                       second ? "check_fwd_over_rev (.forward_over_reverse) or check_rev_over_rev "
                                "(not .no_reverse)"
                              : "check_forward_ad (.forward_mode) or check_backward_ad (not "
                                ".no_reverse)");
    if (!k->reverse && k->batched)
        return ag_fail(k->c, AG_ERR_VALUE,
                       "%s: Setting check_batched_grad=True (.batched) requires %s (not "
                       ".no_reverse) to be True",
                       k->name, second ? "check_rev_over_rev" : "check_backward_ad");
    return true;
}

/* Fills k from the caller's arguments; false, with an error when there is a context to keep it. */
static bool gradcheck_begin(ag__check *k, bool second, ag_fn fn, ag_tensor *const *in, int n,
                            void *user, const ag_gradcheck_options *o)
{
    ag_context *c = ag__list_context(in, n);
    if (!c)
        return false;
    *k = (ag__check){ .c = c,
                      .name = second ? "ag_gradgradcheck" : "ag_gradcheck",
                      .fn = fn,
                      .user = user,
                      .in = in,
                      .n = n,
                      .m = o->n_outputs ? o->n_outputs : 1,
                      .eps = o->eps != 0 ? o->eps : 1e-6,
                      .atol = o->atol != 0 ? o->atol : 1e-5,
                      .rtol = o->rtol != 0 ? o->rtol : 1e-3,
                      .nondet_tol = o->nondet_tol,
                      .forward = o->forward_mode || (second && o->forward_over_reverse),
                      .reverse = !o->no_reverse,
                      .undefined = !o->no_undefined_check,
                      .batched = o->batched,
                      .fast = o->fast_mode };
    if (!gradcheck_check_options(k, o, second))
        return false;
    bool any = false;
    for (int i = 0; i < n; i++) {
        if (!gradcheck_check_input(k, i) || !ag__has_data(k->name, in[i]))
            return false;
        any = any || ag__wants_grad(in[i]);
    }
    return any ||
           ag_fail(c, AG_ERR_VALUE,
                   "gradcheck expects at least one input tensor to require gradient, but none of "
                   "the them have requires_grad=True.");
}

static const ag_gradcheck_options gradcheck_defaults = { .size = sizeof gradcheck_defaults };

bool(ag_gradcheck)(ag_fn fn, ag_tensor *const *in, int n, void *user, const ag_gradcheck_options *o)
{
    ag__check k;
    if (!gradcheck_begin(&k, false, fn, in, n, user, o ? o : &gradcheck_defaults))
        return false;
    const bool enabled = ag_set_grad_enabled(k.c, true);
    const bool ok = gradcheck_run(&k);
    ag_set_grad_enabled(k.c, enabled);
    return ok;
}

/* ---- second order ---- */

typedef struct {
    ag_fn fn;
    void *user;
    int n, m; /* fn's inputs and outputs */
} gradcheck_gradient;

/* Keeps of y[0..m) what requires a gradient, beside its cotangents; returns how many. */
static int gradcheck_pack(ag_tensor **y, ag_tensor **g, int m)
{
    int n = 0;
    for (int j = 0; j < m; j++) {
        if (!y[j] || !ag__wants_grad(y[j]))
            continue;
        y[n] = y[j];
        g[n++] = g[j];
    }
    return n;
}

/* An ag_fn: inputs and cotangents in, the gradients of the inputs that require one out. */
static bool gradcheck_gradient_fn(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const gradcheck_gradient *f = user;
    ag_context *c = in[0]->c;
    const size_t bytes = (size_t)(2 * f->m + n) * sizeof(ag_tensor *);
    ag_tensor **y = ag__alloc(c, bytes);
    if (!y)
        return false;
    ag_tensor **g = y + f->m, **wanted = g + f->m;
    int n_wanted = 0;
    for (int i = 0; i < f->n; i++)
        if (ag__wants_grad(in[i]))
            wanted[n_wanted++] = in[i];
    for (int j = 0; j < f->m; j++) {
        y[j] = NULL;
        g[j] = in[f->n + j];
    }
    bool ok = f->fn(in, f->n, y, f->m, f->user);
    const int n_y = ok ? gradcheck_pack(y, g, f->m) : 0;
    if (ok && n_y)
        ok = ag_grad(y, n_y, wanted, n_wanted, out, .grad_outputs = g, .create_graph = true,
                     .materialize_grads = true);
    for (int i = 0; i < m && ok && !n_y; i++)
        ok = (out[i] = ag_zeros_like(wanted[i])) != NULL;
    ag__free(c, y, bytes);
    return ok;
}

/* A cotangent for y: fixed numbers in [-1, 1) that depend on nothing but their place; with gaps
 * between them when that is asked for. */
static ag_tensor *gradcheck_cotangent(ag_tensor *y, int place, bool gaps)
{
    const ag_dtype d = (ag_dtype)y->dtype;
    const ag_tensor_options o = { .size = sizeof o, .dtype = d };
    int64_t shape[AG_MAX_DIMS] = { 0 };
    for (int i = 0; i < y->ndim; i++)
        shape[i] = y->dims[i];
    gaps = gaps && y->numel > 1;
    if (gaps)
        shape[y->ndim - 1] *= 2;
    ag_tensor *g = (ag_zeros)(y->c, (ag_ints){ shape, y->ndim }, &o);
    uint64_t state = 0x9e3779b97f4a7c15u * (uint64_t)(place + 1);
    for (int64_t i = 0; g && i < g->numel; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        ag__store(d, ag__at(g), i, (double)(state >> 11) / 4503599627370496.0 - 1);
    }
    g = g && gaps ? ag_slice(g, -1, 0, INT64_MAX, 2) : g;
    return g && ag__wants_grad(y) ? ag_requires_grad_(g, true) : g;
}

/* all: the inputs, then room for a cotangent of each output. */
static bool gradcheck_second(const ag__check *k, ag_tensor **all, bool gaps)
{
    gradcheck_gradient f = { k->fn, k->user, k->n, k->m };
    if (!ag__check_call(k, all + k->n))
        return false;
    int n_wanted = 0;
    for (int i = 0; i < k->n; i++) {
        all[i] = k->in[i];
        n_wanted += ag__wants_grad(all[i]);
    }
    for (int j = 0; j < k->m; j++)
        if (!(all[k->n + j] = gradcheck_cotangent(all[k->n + j], j, gaps)))
            return false;
    ag__check second = *k;
    second.fn = gradcheck_gradient_fn;
    second.user = &f;
    second.in = all;
    second.n = k->n + k->m;
    second.m = n_wanted;
    return gradcheck_run(&second);
}

bool(ag_gradgradcheck)(ag_fn fn, ag_tensor *const *in, int n, void *user,
                       const ag_gradcheck_options *o)
{
    ag__check k;
    o = o ? o : &gradcheck_defaults;
    if (!gradcheck_begin(&k, true, fn, in, n, user, o))
        return false;
    const bool enabled = ag_set_grad_enabled(k.c, true);
    const size_t bytes = (size_t)(k.n + k.m) * sizeof(ag_tensor *);
    ag_tensor **all = ag__alloc(k.c, bytes);
    ag_scope *s = all ? ag_scope_begin(k.c) : NULL;
    const bool ok = s && gradcheck_second(&k, all, o->non_contiguous_grads);
    ag_scope_end(s);
    ag__free(k.c, all, bytes);
    ag_set_grad_enabled(k.c, enabled);
    return ok;
}
