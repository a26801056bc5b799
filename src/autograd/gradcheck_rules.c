/*
 * What a rule must do beside giving the right derivative: multiply by the gradient that comes in, cope
 * with undefined ones, and give the same for a batch of gradients as for each of them.
 */
#include <math.h>
#include <stdio.h>

#include "gradcheck.h"

/* ---- shared ---- */

/* The differentiable outputs, packed to the front of y[]; how many. */
static int rules_outputs(const ag__check *k, ag_tensor **y)
{
    int n = 0;
    for (int j = 0; j < k->m; j++)
        if (ag__wants_grad(k->out[j]))
            y[n++] = k->out[j];
    return n;
}

static void rules_wanted(const ag__check *k, ag_tensor **wanted)
{
    for (int i = 0; i < k->n_wanted; i++)
        wanted[i] = k->in[k->wanted[i]];
}

/* Fails with a sentence of its own, which the pending error ends; lack of memory stays what it is. */
static bool rules_fail_because(const ag__check *k, const char *before)
{
    const ag_status *status = ag_error(k->c);
    char why[AG_MESSAGE_MAX / 2];
    if (status && status->code == AG_ERR_MEMORY)
        return false;
    snprintf(why, sizeof why, "%s", status ? status->message : "");
    ag_error_clear(k->c);
    return ag_fail(k->c, AG_ERR_GRAD, "%s%s", before, why);
}

static bool rules_is_zero(const ag_tensor *t)
{
    for (int64_t i = 0; t && i < t->numel; i++)
        if (ag__check_read(t, i) != 0)
            return false;
    return true;
}

/* As torch.allclose does by default. */
static bool rules_are_close(const ag_tensor *a, const ag_tensor *b)
{
    for (int64_t i = 0; i < a->numel; i++) {
        const double x = ag__check_read(a, i), y = ag__check_read(b, i);
        if (x != y && !(isfinite(y) && fabs(x - y) <= 1e-8 + 1e-5 * fabs(y)))
            return false;
    }
    return true;
}

/* ---- gradients that come in ---- */

bool ag__check_multiplied(const ag__check *k)
{
    ag_tensor **y = k->lists, **v = y + k->m, **wanted = v + k->m, **grads = wanted + k->n;
    ag_scope *s = ag_scope_begin(k->c);
    const int n = rules_outputs(k, y);
    bool ok = s != NULL;
    for (int j = 0; j < n && ok; j++)
        ok = (v[j] = ag__check_tensor(y[j], NULL)) != NULL;
    rules_wanted(k, wanted);
    ok = ok && ag_grad(y, n, wanted, k->n_wanted, grads, .grad_outputs = v, .retain_graph = true,
                       .allow_unused = true);
    for (int i = 0; i < k->n_wanted && ok; i++)
        if (!rules_is_zero(grads[i]))
            ok = ag_fail(k->c, AG_ERR_GRAD,
                         "backward not multiplied by grad_output [the gradient of input %d is not "
                         "zero when those of all outputs are]",
                         k->wanted[i]);
    ag_scope_end(s);
    return ok;
}

/* The identity, whose gradient is undefined. */
static bool rules_undefined_infer(const ag__call *call, ag__geometry *out)
{
    ag__geometry_of(call->in[0], out);
    return true;
}
static bool rules_undefined_vjp(ag__rule *r)
{
    (void)r;
    return true;
}
static const ag__op rules_undefined = { .name = "undefined_grad",
                                        .node_name = "UndefinedGrad",
                                        .kind = AG_KIND_GENERAL,
                                        .n_in = 1,
                                        .n_out = 1,
                                        .is_view = true,
                                        .infer = rules_undefined_infer,
                                        .vjp = rules_undefined_vjp };

static bool rules_fail_undefined(const ag__check *k, const char *expected)
{
    char sentence[512];
    if (ag__failed(k->c) && ag_error(k->c)->code == AG_ERR_MEMORY)
        return false;
    ag__log(k->c, "Backwards compatibility: New undefined gradient support checking feature is "
                  "enabled by default, but it may break existing callers of this function. If this "
                  "is true for you, you can call this function with \"check_undefined_grad=False\" "
                  "(.no_undefined_check) to disable the feature");
    snprintf(sentence, sizeof sentence,
             "Expected %s. Please look at \"Notes about undefined output gradients\" in "
             "\"tools/autograd/derivatives.yaml\"%s",
             expected, ag__failed(k->c) ? ": " : "");
    return rules_fail_because(k, sentence);
}

/* The gradients of outputs are zero, that of `which` (of all, for -1) is undefined. */
static bool rules_check_undefined(const ag__check *k, int which)
{
    ag_tensor **y = k->lists, **v = y + k->m, **wanted = v + k->m, **grads = wanted + k->n;
    ag_scope *s = ag_scope_begin(k->c);
    const int n = rules_outputs(k, y);
    bool ok = s != NULL;
    for (int j = 0; j < n && ok; j++) {
        ok = (v[j] = ag__check_tensor(y[j], NULL)) != NULL;
        if (ok && (which < 0 || which == j))
            ok = (y[j] = ag__unary(&rules_undefined, y[j], NULL)) != NULL;
    }
    rules_wanted(k, wanted);
    if (ok && !ag_grad(y, n, wanted, k->n_wanted, grads, .grad_outputs = v, .retain_graph = true,
                       .allow_unused = true))
        ok = rules_fail_undefined(k, "backward function to handle undefined output grads");
    for (int i = 0; i < k->n_wanted && ok; i++)
        if (!rules_is_zero(grads[i]))
            ok = rules_fail_undefined(k, "all input grads to be undefined or zero when all output "
                                         "grads are undefined or zero");
    ag_scope_end(s);
    return ok;
}

bool ag__check_undefined_gradients(const ag__check *k)
{
    const int n = rules_outputs(k, k->lists);
    if (!rules_check_undefined(k, -1))
        return false;
    for (int j = 0; j < n && n > 1; j++)
        if (!rules_check_undefined(k, j))
            return false;
    return true;
}

/* ---- tangents that come in ---- */

static bool rules_compare_tangents(const ag__check *k, int input, ag_tensor *const *zero,
                                   ag_tensor *const *undefined)
{
    for (int j = 0; j < k->m; j++) {
        if (!zero[j] || !undefined[j] || rules_are_close(zero[j], undefined[j]))
            continue;
        char *got = ag_to_string(zero[j]), *expected = got ? ag_to_string(undefined[j]) : NULL;
        if (expected)
            ag_fail(k->c, AG_ERR_GRAD,
                    "Mismatch in tangent values for output with index: %d when input: %d has an "
                    "undefined tangent value.  Got: %.600s but expected: %.600s",
                    j, input, got, expected);
        ag_free(got);
        ag_free(expected);
        return false;
    }
    return true;
}

/* All wanted inputs have tangents; for one it makes no difference whether it is zero or undefined. */
static bool rules_check_tangent(const ag__check *k, int input)
{
    ag_tensor **t = k->lists, **zero = t + k->n, **undefined = zero + k->m;
    const double *u = k->u;
    ag_scope *s = ag_scope_begin(k->c);
    bool ok = s != NULL;
    for (int i = 0; i < k->n; i++)
        t[i] = NULL;
    for (int i = 0; i < k->n_wanted && ok; u += k->in[k->wanted[i++]]->numel) {
        const int nr = k->wanted[i];
        ok = (t[nr] = ag__check_tensor(k->in[nr], nr == input ? NULL : u)) != NULL;
    }
    const bool enabled = ag_set_grad_enabled(k->c, false);
    ok = ok && ag_jvp(k->fn, k->in, k->n, t, k->again, k->m, zero, k->user);
    t[input] = NULL;
    ok = ok && ag_jvp(k->fn, k->in, k->n, t, k->again, k->m, undefined, k->user) &&
         rules_compare_tangents(k, input, zero, undefined);
    ag_set_grad_enabled(k->c, enabled);
    ag_scope_end(s);
    return ok;
}

bool ag__check_undefined_tangents(const ag__check *k)
{
    for (int i = 0; i < k->n_wanted; i++)
        if (!rules_check_tangent(k, k->wanted[i]))
            return false;
    return true;
}

/* ---- batches ---- */

static const char rules_batched[] =
    "gradcheck or gradgradcheck failed while testing batched gradient computation.";

/* Row `row` of the batch beside the gradient of its cotangent alone. */
static bool rules_compare_batch(const ag__check *k, int output, int64_t row, ag_tensor *const *got,
                                ag_tensor *const *expected)
{
    for (int i = 0; i < k->n_wanted; i++) {
        ag_tensor *g = got[i] ? ag_select(got[i], 0, row) : NULL;
        if (got[i] && !g)
            return false;
        if (!g && !expected[i])
            continue;
        if (g && expected[i] && rules_are_close(g, expected[i]))
            continue;
        char *a = g ? ag_to_string(g) : NULL, *b = expected[i] ? ag_to_string(expected[i]) : NULL;
        ag_fail(k->c, AG_ERR_GRAD,
                "For output %d and input %d:\n\n%s\n\nGot:\n%.600s\n\nExpected:\n%.600s", output,
                k->wanted[i], rules_batched, a ? a : "None", b ? b : "None");
        ag_free(a);
        ag_free(b);
        return false;
    }
    return true;
}

/* Two cotangents together: v, and v from the other end. */
static bool rules_check_batch(const ag__check *k, int j, const double *v)
{
    ag_tensor *y = k->out[j], *pair[2] = { NULL }, *both = NULL;
    ag_tensor **wanted = k->lists, **got = wanted + k->n, **expected = got + k->n;
    ag_scope *s = ag_scope_begin(k->c);
    bool ok = s && (pair[0] = ag__check_tensor(y, v)) && (pair[1] = ag__check_tensor(y, NULL));
    for (int64_t e = 0; e < k->out_numel[j] && ok; e++)
        ag__store((ag_dtype)y->dtype, ag__at(pair[1]), e, -v[k->out_numel[j] - 1 - e]);
    rules_wanted(k, wanted);
    ok = ok && (both = ag_stack(pair, 2, 0)) != NULL;
    if (ok && !ag_grad(&y, 1, wanted, k->n_wanted, got, .grad_outputs = &both, .batched = true,
                       .retain_graph = true, .allow_unused = true)) {
        rules_fail_because(k, "While computing batched gradients, got: ");
        ok = false;
    }
    for (int64_t row = 0; row < 2 && ok; row++)
        ok = ag_grad(&y, 1, wanted, k->n_wanted, expected, .grad_outputs = &pair[row],
                     .retain_graph = true, .allow_unused = true) &&
             rules_compare_batch(k, j, row, got, expected);
    ag_scope_end(s);
    return ok;
}

bool ag__check_batched(const ag__check *k)
{
    const double *v = k->v;
    for (int j = 0; j < k->m; v += k->out_numel[j++])
        if (ag__wants_grad(k->out[j]) && !rules_check_batch(k, j, v))
            return false;
    return true;
}
