/*
 * gradcheck and gradgradcheck of right rules and of deliberately wrong ones, which are operations made
 * here. What it says is what PyTorch says, where PyTorch says something.
 */
#include "harness.h"

#include "ops/op.h"

#include <stdio.h>

#define FUNCTION(name)                                                                             \
    static bool name(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
#define UNUSED (void)n, (void)m, (void)user

/* ---- operations ---- */

static bool like_infer(const ag__call *call, ag__geometry *out)
{
    for (int j = 0; j < call->op->n_out; j++)
        ag__geometry_of(call->in[0], &out[j]);
    return true;
}

/* Each result is the sum of the operands. */
static bool sum_kernel(const ag__call *call, ag_tensor *const *out)
{
    for (int j = 0; j < call->op->n_out; j++) {
        double *y = ag_data(out[j]);
        for (int64_t i = 0; i < ag_numel(out[j]); i++)
            y[i] = 0;
        for (int k = 0; k < call->n_in; k++)
            for (int64_t i = 0; i < ag_numel(out[j]); i++)
                y[i] += ((double *)ag_data(call->in[k]))[i];
    }
    return true;
}

/* What a function below calls: its user pointer. */
static ag__op op_of(int n_in, int n_out, bool (*vjp)(ag__rule *r), bool (*jvp)(ag__rule *r))
{
    return (ag__op){ .name = "test",
                     .node_name = "TestBackward",
                     .kind = AG_KIND_GENERAL,
                     .n_in = n_in,
                     .n_out = n_out,
                     .infer = like_infer,
                     .kernel = sum_kernel,
                     .vjp = vjp,
                     .jvp = jvp };
}

FUNCTION(apply)
{
    (void)m;
    ag_tensor *made[AG_MAX_OUTPUTS];
    if (!ag__run(user, in, n, NULL, made))
        return false;
    for (int j = 0; j < ((const ag__op *)user)->n_out; j++)
        out[j] = ag__give(made[j]);
    return true;
}

static bool right_vjp(ag__rule *r)
{
    for (int i = 0; i < r->op->n_in; i++)
        r->out[i] = r->g[0];
    return true;
}
static bool triple_vjp(ag__rule *r) { return (r->out[0] = ag_mul(r->g[0], 3)) != NULL; }
static bool ones_vjp(ag__rule *r) { return (r->out[0] = ag_ones_like(r->g[0])) != NULL; }
static bool gap_vjp(ag__rule *r) /* of dense gradients only the second derivative is right */
{
    r->out[0] = r->g[0];
    if (!ag_is_contiguous(r->g[0]))
        r->out[0] = ag_add(r->g[0], ag_detach(r->g[0]));
    return r->out[0] != NULL;
}

static int calls; /* of the rules below since the test began */
static double drift;
static bool drifting_vjp(ag__rule *r)
{
    return (r->out[0] = ag_mul(r->g[0], 1 + drift * calls++)) != NULL;
}
static bool failing_vjp(ag__rule *r) /* the fifth time */
{
    r->out[0] = r->g[0];
    return calls++ != 4 || ag_fail(r->c, AG_ERR_IO, "its own reason");
}

/* Two results. From the sixth call on undefined gradients are an error, or counted as ones: one-element
 * Jacobians take four, and one is to see that gradients are multiplied. */
static bool add_vjp(ag__rule *r)
{
    r->out[0] = !r->g[0] ? r->g[1] : !r->g[1] ? r->g[0] : ag_add(r->g[0], r->g[1]);
    return r->out[0] != NULL;
}
static bool strict_vjp(ag__rule *r)
{
    const bool early = calls++ < 5 || (r->g[0] && r->g[1]);
    return early ? add_vjp(r) : ag_fail(r->c, AG_ERR_VALUE, "both are needed");
}
static bool lavish_vjp(ag__rule *r)
{
    if (calls++ < 5 || (r->g[0] && r->g[1]))
        return add_vjp(r);
    return (r->out[0] = ag_ones_like(r->g[0] ? r->g[0] : r->g[1])) != NULL;
}

static bool right_jvp(ag__rule *r)
{
    r->out[0] = r->g[0] ? r->g[0] : r->g[1];
    if (r->op->n_in == 2 && r->g[0] && r->g[1])
        r->out[0] = ag_add(r->g[0], r->g[1]);
    return r->out[0] != NULL;
}
static bool double_jvp(ag__rule *r) { return (r->out[0] = ag_mul(r->g[0], 2)) != NULL; }
static bool greedy_jvp(ag__rule *r) /* wrong when both tangents are there */
{
    return right_jvp(r) && (!r->g[0] || !r->g[1] || (r->out[0] = ag_mul(r->out[0], 3)));
}

/* ---- functions ---- */

FUNCTION(mixed) /* two outputs and an integer one, of x, w and a constant */
{
    UNUSED;
    out[0] = ag_sum(ag_mul(ag_sin(in[0]), in[1]), .dims = AG_DIMS(0));
    out[1] = ag_mul(ag_exp(in[1]), in[2]);
    out[2] = ag_gt(in[0], 0);
    return out[0] && out[1] && out[2];
}

FUNCTION(half_square) /* x times x, of which only one factor counts */
{
    UNUSED;
    return (out[0] = ag_mul(in[0], ag_detach(in[0]))) != NULL;
}

FUNCTION(detached)
{
    UNUSED;
    return (out[0] = ag_square(ag_detach(in[0]))) != NULL;
}

FUNCTION(nothing)
{
    UNUSED;
    return (out[0] = ag_floor(ag_detach(in[0]))) != NULL;
}

static bool sin_vjp(ag__rule *r) { return (r->out[0] = ag_mul(r->g[0], 3)) != NULL; }
static bool sin_kernel(const ag__call *call, ag_tensor *const *out)
{
    for (int64_t i = 0; i < ag_numel(out[0]); i++)
        ((double *)ag_data(out[0]))[i] = sin(((double *)ag_data(call->in[0]))[i]);
    return true;
}

static ag_tensor *leaf(ag_context *c, ag_ints shape)
{
    ag_tensor *x = ag_rand(c, shape, .dtype = AG_F64, .requires_grad = true);
    CHECK(x);
    return x;
}

static void begin(double by)
{
    calls = 0;
    drift = by;
}

/* ---- right ---- */

static void t_right_functions_pass(ag_context *c)
{
    ag_tensor *in[] = { leaf(c, AG_SHAPE(2, 3)), leaf(c, AG_SHAPE(3)), ag_ones(c, AG_SHAPE(3)) };
    CHECK(in[2]);
    for (int i = 0; i < 3; i++)
        WATCH(in[i]);
    CHECK(ag_gradcheck(mixed, in, 3, NULL, .n_outputs = 3));
    CHECK(ag_gradcheck(mixed, in, 3, NULL, .n_outputs = 3, .forward_mode = true, .batched = true));
    CHECK(ag_gradcheck(mixed, in, 3, NULL, .n_outputs = 3, .forward_mode = true, .batched = true,
                       .fast_mode = true));
    CHECK(
        ag_gradcheck(mixed, in, 3, NULL, .n_outputs = 3, .forward_mode = true, .no_reverse = true));
    CHECK(ag_gradgradcheck(mixed, in, 3, NULL, .n_outputs = 3));
    CHECK(ag_gradgradcheck(mixed, in, 3, NULL, .n_outputs = 3, .forward_over_reverse = true,
                           .batched = true, .non_contiguous_grads = true));
    CHECK(ag_gradgradcheck(mixed, in, 3, NULL, .n_outputs = 3, .forward_over_reverse = true,
                           .fast_mode = true));
    CHECK(ag_gradgradcheck(mixed, in, 3, NULL, .n_outputs = 3, .forward_over_reverse = true,
                           .no_reverse = true));
    CHECK(ag_gradcheck(nothing, in, 2, NULL) &&
          ag_gradcheck(nothing, in, 2, NULL, .fast_mode = true));
    CHECK(!ag_grad_of(in[0]) && ag_grad_enabled(c));
    AG_NO_GRAD (c) {
        CHECK(ag_gradcheck(mixed, in, 3, NULL, .n_outputs = 3, .forward_mode = true));
        CHECK(!ag_grad_enabled(c));
    }
}

static void t_rules_of_operations(ag_context *c)
{
    ag_tensor *in[] = { leaf(c, AG_SHAPE(2)), leaf(c, AG_SHAPE(2)) };
    ag__op sum = op_of(2, 1, right_vjp, right_jvp);
    CHECK(ag_gradcheck(apply, in, 2, &sum, .forward_mode = true, .batched = true));
    ag__op forward_only = op_of(1, 1, triple_vjp, right_jvp);
    CHECK(ag_gradcheck(apply, in, 1, &forward_only, .forward_mode = true, .no_reverse = true));
    ag__op derived = op_of(2, 1, right_vjp, NULL);
    CHECK(ag_gradcheck(apply, in, 2, &derived, .forward_mode = true));
}

/* ---- wrong ---- */

static void t_jacobians_are_shown(ag_context *c)
{
    ag_tensor *x = ag_arange(c, 0, 6, 1, .dtype = AG_F64);
    CHECK(x && (x = ag_requires_grad_(ag_detach(ag_reshape(x, AG_SHAPE(2, 3))), true)));
    ag__op wrong = op_of(1, 1, sin_vjp, NULL);
    wrong.kernel = sin_kernel;
    WATCH(x);
    CHECK_ERROR(ag_gradcheck(apply, &x, 1, &wrong), AG_ERR_GRAD,
                "Jacobian mismatch for output 0 with respect to input 0,\n"
                "numerical:tensor([[ 1.0000,  0.0000,  0.0000,  0.0000,  0.0000,  0.0000],\n"
                "        [ 0.0000,  0.5403,  0.0000,  0.0000,  0.0000,  0.0000],\n"
                "        [ 0.0000,  0.0000, -0.4161,  0.0000,  0.0000,  0.0000],\n"
                "        [ 0.0000,  0.0000,  0.0000, -0.9900,  0.0000,  0.0000],\n"
                "        [ 0.0000,  0.0000,  0.0000,  0.0000, -0.6536,  0.0000],\n"
                "        [ 0.0000,  0.0000,  0.0000,  0.0000,  0.0000,  0.2837]],\n"
                "       dtype=torch.float64)\n"
                "analytical:tensor([[3., 0., 0., 0., 0., 0.],\n"
                "        [0., 3., 0., 0., 0., 0.],\n"
                "        [0., 0., 3., 0., 0., 0.],\n"
                "        [0., 0., 0., 3., 0., 0.],\n"
                "        [0., 0., 0., 0., 3., 0.],\n"
                "        [0., 0., 0., 0., 0., 3.]], dtype=torch.float64)\n"
                "Farthest off is the derivative of element [1, 0] of the output with respect to "
                "element [1, 0] of the input: numerical -0.98999");
    CHECK_ERROR(ag_gradcheck(apply, &x, 1, &wrong, .forward_mode = true, .no_reverse = true),
                AG_ERR_GRAD,
                "Jacobian computed with forward mode mismatch for output 0 with respect to input "
                "0,\nnumerical:tensor([[ 1.0000,");
}

/* Of a large Jacobian the part around the worst entry is shown, whole to the message's end. */
static void t_large_jacobians_are_cut(ag_context *c)
{
    const int64_t n = harness_faults() ? 12 : 60;
    ag_tensor *x = ag_full(c, ((ag_ints){ &n, 1 }), 1e-3, .dtype = AG_F64);
    CHECK(x && ag_requires_grad_(x, true));
    ((double *)ag_data(x))[n - 2] = 12345.678;
    CHECK_ERROR(ag_gradcheck(half_square, &x, 1, NULL), AG_ERR_GRAD,
                harness_faults() ? "element [10] of the output with respect to element [10]"
                                 : "element [58] of the output with respect to element [58]");
    ag_tensor *wide = leaf(c, ((ag_ints){ &n, 1 }));
    bool failed = !ag_gradcheck(half_square, &wide, 1, NULL);
    const ag_status *e = ag_error(c);
    CHECK(failed && e && e->code == AG_ERR_GRAD);
    CHECK(strlen(e->message) < 2000 && strstr(e->message, "dtype=torch.float64)\nanalytical:"));
    CHECK(strcmp(e->message + strlen(e->message) - 2, ".\n") == 0 &&
          strstr(e->message, "Farthest"));
    CHECK(harness_faults() || strstr(e->message, " of [60, 60])\n"));
    ag_error_clear(c);
}

static void t_wrong_inputs_are_numbered(ag_context *c)
{
    ag_tensor *in[] = { ag_ones(c, AG_SHAPE(2), .dtype = AG_F64), leaf(c, AG_SHAPE()) };
    CHECK(in[0]);
    ag_tensor *turned[] = { in[1], in[0] };
    CHECK_ERROR(ag_gradcheck(half_square, turned, 2, NULL), AG_ERR_GRAD,
                "Jacobian mismatch for output 0 with respect to input 0,");
    ag__op wrong = op_of(2, 1, triple_vjp, NULL); /* of the first operand; none of the second */
    ag_tensor *both[] = { in[0], leaf(c, AG_SHAPE(2)) };
    CHECK_ERROR(
        ag_gradcheck(apply, both, 2, &wrong), AG_ERR_GRAD,
        "Jacobian mismatch for output 0 with respect to input 1,\n"
        "numerical:tensor([[1.0000, 0.0000],\n        [0.0000, 1.0000]], dtype=torch.float64)\n"
        "analytical:tensor([[0., 0.],\n        [0., 0.]], dtype=torch.float64)\n");
}

static void t_fast_mode(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_SHAPE(3));
    ag__op wrong = op_of(1, 1, triple_vjp, NULL);
    WATCH(x);
    CHECK_ERROR(ag_gradcheck(apply, &x, 1, &wrong, .fast_mode = true), AG_ERR_GRAD,
                "The above quantities relating the numerical and analytical jacobians are computed "
                "\nin fast mode. Below, we recompute numerical and analytical jacobians in slow "
                "mode:\n\nNumerical:\n tensor([[1.0000,");
    ag__op forward = op_of(1, 1, right_vjp, double_jvp);
    CHECK_ERROR(ag_gradcheck(apply, &x, 1, &forward, .fast_mode = true, .forward_mode = true),
                AG_ERR_GRAD,
                "Jacobian computed with forward mode mismatch for output 0 with "
                "respect to input 0,\nnumerical:tensor([[");
    CHECK_ERROR(ag_gradcheck(detached, &x, 1, NULL, .fast_mode = true), AG_ERR_GRAD,
                "Numerical gradient for function expected to be zero");
}

static void t_other_sentences(ag_context *c)
{
    ag_tensor *one = leaf(c, AG_SHAPE(1));
    WATCH(one);
    CHECK_ERROR(ag_gradcheck(detached, &one, 1, NULL), AG_ERR_GRAD,
                "Numerical gradient for function expected to be zero");
    ag__op ones = op_of(1, 1, ones_vjp, NULL);
    CHECK_ERROR(ag_gradcheck(apply, &one, 1, &ones), AG_ERR_GRAD,
                "backward not multiplied by grad_output");
    ag__op drifts = op_of(1, 1, drifting_vjp, NULL);
    begin(1e-9);
    CHECK_ERROR(ag_gradcheck(apply, &one, 1, &drifts), AG_ERR_GRAD,
                "Backward is not reentrant, i.e., running backward with same input and grad_output "
                "multiple times gives different values, although analytical gradient matches "
                "numerical gradient. The tolerance for nondeterminism was 0.0.");
    begin(1e-9);
    CHECK_ERROR(ag_gradcheck(apply, &one, 1, &drifts, .nondet_tol = 1e-10, .fast_mode = true),
                AG_ERR_GRAD, "The tolerance for nondeterminism was 1e-10.");
    begin(1e-9);
    CHECK(ag_gradcheck(apply, &one, 1, &drifts, .nondet_tol = 1e-3));
    begin(1e-4);
    CHECK_ERROR(ag_gradcheck(apply, &one, 1, &drifts, .nondet_tol = 1, .batched = true),
                AG_ERR_GRAD,
                "For output 0 and input 0:\n\ngradcheck or gradgradcheck failed while testing "
                "batched gradient computation.\n\nGot:\ntensor([1.");
    ag__op fails = op_of(1, 1, failing_vjp, NULL);
    calls = 2; /* two passes come before those of the batch */
    CHECK_ERROR(ag_gradcheck(apply, &one, 1, &fails, .batched = true), AG_ERR_GRAD,
                "While computing batched gradients, got: its own reason");
    calls = 4;
    CHECK_ERROR(ag_gradcheck(apply, &one, 1, &fails), AG_ERR_IO, "its own reason");
}

static void keep_log(ag_context *c, const char *message, void *user)
{
    (void)c;
    snprintf(user, 1024, "%s", message);
}

static void t_undefined_gradients(ag_context *c)
{
    ag_tensor *one = leaf(c, AG_SHAPE(1));
    ag__op strict = op_of(1, 2, strict_vjp, NULL), lavish = op_of(1, 2, lavish_vjp, NULL);
    WATCH(one);
    begin(0);
    CHECK_ERROR(ag_gradcheck(apply, &one, 1, &strict, .n_outputs = 2), AG_ERR_GRAD,
                "Expected backward function to handle undefined output grads. Please look at "
                "\"Notes about undefined output gradients\" in "
                "\"tools/autograd/derivatives.yaml\": both are needed");
    begin(0);
    CHECK_ERROR(ag_gradcheck(apply, &one, 1, &lavish, .n_outputs = 2), AG_ERR_GRAD,
                "Expected all input grads to be undefined or zero when all output grads are "
                "undefined or zero. Please look at \"Notes about undefined output gradients\" in "
                "\"tools/autograd/derivatives.yaml\"");
    begin(0);
    CHECK(ag_gradcheck(apply, &one, 1, &lavish, .n_outputs = 2, .no_undefined_check = true));
}

static void t_undefined_tangents(ag_context *c)
{
    ag_tensor *in[] = { leaf(c, AG_SHAPE(2)), leaf(c, AG_SHAPE(2)) };
    ag__op greedy = op_of(2, 1, right_vjp, greedy_jvp);
    CHECK_ERROR(ag_gradcheck(apply, in, 2, &greedy, .forward_mode = true), AG_ERR_GRAD,
                "Mismatch in tangent values for output with index: 0 when input: 0 has an "
                "undefined tangent value.  Got: tensor([");
    CHECK(ag_gradcheck(apply, in, 2, &greedy, .forward_mode = true, .no_undefined_check = true));
}

static void t_warnings(ag_context *c)
{
    char log[1024] = "";
    ag_context *loud = ag_open(.log = keep_log, .log_user = log);
    (void)c;
    if (!loud)
        FAIL("no context");
    ag_tensor *x = ag_ones(loud, AG_SHAPE(2)), *y = ag_full(loud, AG_SHAPE(1), 2, .dtype = AG_F64);
    ag_tensor *in[] = { x, ag_requires_grad_(ag_ones(loud, AG_SHAPE(2)), true) };
    ag_gradcheck(half_square, in, 2, NULL); /* single precision: whatever comes out */
    const bool precise = strcmp(log, "Input #1 requires gradient and is not a double precision "
                                     "floating point or complex. This check will likely fail if "
                                     "all the inputs are not of double precision floating point or "
                                     "complex. ") == 0;
    ag_error_clear(loud);
    ag__op lavish = op_of(1, 2, lavish_vjp, NULL);
    ag_requires_grad_(y, true);
    begin(0);
    const bool failed = !ag_gradcheck(apply, &y, 1, &lavish, .n_outputs = 2);
    const bool compatible =
        strncmp(log,
                "Backwards compatibility: New undefined gradient support checking feature is "
                "enabled by default, but it may break existing callers of this function.",
                147) == 0;
    ag_close(loud);
    CHECK(precise && failed && compatible);
}

/* ---- second order ---- */

FUNCTION(exp_of_applied)
{
    ag_tensor *x = NULL;
    return apply(in, n, &x, m, user) && (out[0] = ag_exp(x)) != NULL;
}

static void t_second_order(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_SHAPE(3));
    ag__op gaps = op_of(1, 1, gap_vjp, NULL), forward = op_of(1, 1, right_vjp, double_jvp);
    WATCH(x);
    CHECK(ag_gradgradcheck(apply, &x, 1, &gaps));
    CHECK_ERROR(ag_gradgradcheck(apply, &x, 1, &gaps, .non_contiguous_grads = true), AG_ERR_GRAD,
                "Jacobian mismatch for output 0 with respect to input 1,");
    CHECK(ag_gradgradcheck(exp_of_applied, &x, 1, &forward));
    CHECK_ERROR(ag_gradgradcheck(exp_of_applied, &x, 1, &forward, .forward_over_reverse = true),
                AG_ERR_GRAD,
                "Jacobian computed with forward mode mismatch for output 0 with respect to input "
                "0,");
    CHECK_ERROR(ag_gradgradcheck(half_square, &x, 1, NULL), AG_ERR_GRAD,
                "Jacobian mismatch for output 0 with respect to input 0,");
}

static void t_options_that_exclude_each_other(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_SHAPE(3));
    CHECK_ERROR(ag_gradcheck(half_square, &x, 1, NULL, .no_reverse = true), AG_ERR_VALUE,
                "ag_gradcheck: Expected at least one of check_forward_ad (.forward_mode) or "
                "check_backward_ad (not .no_reverse) to be True");
    CHECK_ERROR(ag_gradgradcheck(half_square, &x, 1, NULL, .no_reverse = true), AG_ERR_VALUE,
                "ag_gradgradcheck: Expected at least one of check_fwd_over_rev "
                "(.forward_over_reverse) or check_rev_over_rev (not .no_reverse) to be True");
    CHECK_ERROR(ag_gradcheck(half_square, &x, 1, NULL, .no_reverse = true, .forward_mode = true,
                             .batched = true),
                AG_ERR_VALUE,
                "Setting check_batched_grad=True (.batched) requires check_backward_ad (not "
                ".no_reverse) to be True");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_right_functions_pass), TEST(t_rules_of_operations),
               TEST(t_jacobians_are_shown), TEST(t_large_jacobians_are_cut),
               TEST(t_wrong_inputs_are_numbered), TEST(t_fast_mode), TEST(t_other_sentences),
               TEST(t_undefined_gradients), TEST(t_undefined_tangents), TEST(t_warnings),
               TEST(t_second_order), TEST(t_options_that_exclude_each_other));
}
