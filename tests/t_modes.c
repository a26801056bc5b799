/*
 * Modes: no_grad and enable_grad, inference mode and what its tensors may not do, anomaly mode; how
 * they nest and that they are as before after errors. Expectations and sentences are PyTorch's.
 */
#include "harness.h"

static ag_tensor *leaf(ag_context *c)
{
    return ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3), .dtype = AG_F64, .requires_grad = true);
}

/* ---- no_grad, enable_grad ---- */

static void t_no_grad(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = NULL, *z = NULL;
    AG_NO_GRAD (c) {
        CHECK(!ag_grad_enabled(c));
        CHECK(y = ag_mul(x, 2));
        AG_ENABLE_GRAD (c) {
            CHECK(ag_grad_enabled(c));
            CHECK(z = ag_mul(x, 2));
        }
        CHECK(!ag_grad_enabled(c));
    }
    CHECK(ag_grad_enabled(c));
    CHECK(!ag_requires_grad(y) && !ag_grad_fn(y) && ag_is_leaf(y));
    CHECK(ag_requires_grad(z) && ag_grad_fn(z));
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD,
                "element 0 of tensors does not require grad and does not have a grad_fn");
}

static void t_set_grad_enabled(ag_context *c)
{
    CHECK(ag_set_grad_enabled(c, false));
    CHECK(!ag_set_grad_enabled(c, false));
    CHECK(!ag_requires_grad(ag_mul(leaf(c), 2)));
    CHECK(!ag_set_grad_enabled(c, true));
    CHECK(ag_requires_grad(ag_mul(leaf(c), 2)));
    AG_NO_GRAD (c)
        ag_set_grad_enabled(c, true); /* the block restores what was before it */
    CHECK(ag_grad_enabled(c));
    ag_set_grad_enabled(c, false);
    AG_ENABLE_GRAD (c)
        ag_set_grad_enabled(c, true);
    CHECK(!ag_grad_enabled(c));
    CHECK(!ag_grad_enabled(NULL) && !ag_set_grad_enabled(NULL, true));
}

static bool leaves_early(ag_context *c, int how)
{
    for (int i = 0; i < 2; i++)
        AG_NO_GRAD (c) {
            if (how == 0)
                return !ag_grad_enabled(c);
            if (how == 1)
                break; /* ends the block, not the loop */
            AG_INFERENCE_MODE (c)
                return ag_inference_mode_enabled(c);
        }
    return ag_grad_enabled(c);
}

/* A block that is left by return or break restores the mode. */
static void t_blocks_are_left(ag_context *c)
{
    for (int how = 0; how < 3; how++) {
        CHECK(leaves_early(c, how));
        CHECK(ag_grad_enabled(c) && !ag_inference_mode_enabled(c));
    }
}

static void t_writes_without_grad(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_sum(ag_mul(x, x));
    const int64_t version = ag_version(x);
    CHECK_ERROR(ag_add_(x, 1), AG_ERR_GRAD,
                "a leaf Variable that requires grad is being used in an in-place operation.");
    AG_NO_GRAD (c)
        CHECK(ag_add_(x, 1) == x);
    CHECK(ag_is_leaf(x) && ag_requires_grad(x));
    CHECK_VALUES(x, AG_SHAPE(3), AG_VALUES(2, 3, 4), 0);
    CHECK_INT(ag_version(x) - version, 1);
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "modified by an inplace operation");
}

static void t_view_without_grad(ag_context *c)
{
    ag_tensor *base = ag_mul(leaf(c), 1), *v = NULL;
    AG_NO_GRAD (c)
        v = ag_narrow(base, 0, 0, 2);
    CHECK(v);
    CHECK_ERROR(ag_add_(v, 1), AG_ERR_GRAD,
                "A view was created in no_grad mode and is being modified inplace with grad mode "
                "enabled. Given that this use case is ambiguous and error-prone, it is forbidden. "
                "You can clarify your code by moving both the view and the inplace either both "
                "inside the no_grad block (if you don't want the inplace to be tracked) or both "
                "outside (if you want the inplace to be tracked).");
    AG_NO_GRAD (c)
        CHECK(ag_add_(v, 1));
    CHECK_VALUES(base, AG_SHAPE(3), AG_VALUES(2, 3, 3), 0);
}

/* The mode of the program does not reach into a pass. */
static void t_pass_without_grad(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_sum(ag_mul(x, x)), *g = NULL;
    AG_NO_GRAD (c) {
        CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
        CHECK(!ag_grad_enabled(c));
    }
    CHECK(ag_requires_grad(g));
    CHECK(ag_backward(y));
    CHECK(ag_grad_enabled(c));
}

/* ---- inference mode ---- */

static void t_inference(ag_context *c)
{
    ag_tensor *x = leaf(c), *made = NULL, *computed = NULL, *of_x = NULL, *view = NULL, *own = NULL;
    CHECK(!ag_inference_mode_enabled(c));
    AG_INFERENCE_MODE (c) {
        CHECK(ag_inference_mode_enabled(c) && !ag_grad_enabled(c));
        CHECK(made = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64));
        CHECK(computed = ag_mul(made, 2));
        CHECK(of_x = ag_mul(x, 2));
        CHECK(view = ag_narrow(x, 0, 0, 2));
        CHECK(own = ag_ones(c, AG_SHAPE(3), .requires_grad = true));
        CHECK(ag_requires_grad(own) && !ag_requires_grad(ag_mul(own, 2)));
        AG_ENABLE_GRAD (c) {
            CHECK(ag_grad_enabled(c) && ag_inference_mode_enabled(c));
            CHECK(!ag_requires_grad(ag_mul(x, 2)) && ag_is_inference(ag_mul(x, 2)));
        }
    }
    CHECK(!ag_inference_mode_enabled(c) && ag_grad_enabled(c));
    CHECK(ag_is_inference(made) && ag_is_inference(computed) && ag_is_inference(of_x));
    CHECK(!ag_requires_grad(of_x) && !ag_grad_fn(of_x));
    CHECK(!ag_is_inference(view) && !ag_grad_fn(view) && ag_is_view(view));
    CHECK(!ag_is_inference(x) && !ag_is_inference(NULL));
}

static ag_tensor *inference_ones(ag_context *c)
{
    ag_tensor *t = NULL;
    AG_INFERENCE_MODE (c)
        t = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64);
    return t;
}

static void t_inference_tensors(ag_context *c)
{
    ag_tensor *x = leaf(c), *a = inference_ones(c), *v;
    CHECK(a);
    CHECK_ERROR(ag_version(a) >= 0, AG_ERR_GRAD, "Inference tensors do not track version counter.");
    static const char write[] =
        "Inplace update to inference tensor outside InferenceMode is not allowed.You can make a "
        "clone to get a normal tensor before doing inplace update.";
    CHECK_ERROR(ag_add_(a, 1), AG_ERR_GRAD, write);
    CHECK_ERROR(ag_zero_(a), AG_ERR_GRAD, write);
    CHECK(v = ag_narrow(a, 0, 0, 2));
    CHECK(ag_is_inference(v) && ag_is_inference(ag_detach(a)));
    CHECK_ERROR(ag_add_(v, 1), AG_ERR_GRAD, write);
    CHECK_ERROR(ag_requires_grad_(a, true), AG_ERR_GRAD,
                "Setting requires_grad=True on inference tensor outside InferenceMode is not "
                "allowed.");
    CHECK(ag_requires_grad_(a, false) == a);
    CHECK_ERROR(ag_mul(x, a), AG_ERR_GRAD, "Inference tensors cannot be saved for backward.");
    CHECK_ERROR(ag_mul_(ag_mul(x, 1), a), AG_ERR_GRAD,
                "Inference tensors cannot be saved for backward.");
    AG_INFERENCE_MODE (c)
        CHECK(ag_add_(v, 1) && ag_add_(a, 1));
    CHECK_VALUES(a, AG_SHAPE(3), AG_VALUES(3, 3, 2), 0);
}

/* Where they need not be saved they take part like any other; what comes out is a normal tensor. */
static void t_inference_tensors_take_part(ag_context *c)
{
    ag_tensor *x = leaf(c), *a = inference_ones(c), *y, *n;
    CHECK(a && (y = ag_add(x, a)));
    CHECK(ag_requires_grad(y) && !ag_is_inference(y));
    CHECK(n = ag_mul(a, 2));
    CHECK(!ag_is_inference(n));
    CHECK(ag_add_(n, 1));
    CHECK(n = ag_clone(a));
    CHECK(!ag_is_inference(n));
    CHECK(ag_requires_grad(ag_mul(n, x)));
    CHECK(n = ag_zeros_like(x));
    CHECK(ag_copy_(n, a) && ag_add_(n, a) && !ag_is_inference(n));
    CHECK_INT(ag_version(n), 2);
    CHECK(n = ag_mul(x, 1));
    CHECK(ag_add_(n, a) && ag_requires_grad(n));
    CHECK(y = ag_mul(x, x)); /* as a gradient of a root too */
    CHECK(ag_backward(y, .gradient = a));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
}

/* Normal tensors may be written inside, and their version says so. */
static void t_normal_tensors_inside(ag_context *c)
{
    ag_tensor *x = leaf(c), *n = ag_mul(x, 1), *y = ag_sum(ag_mul(ag_exp(n), n)), *v = NULL;
    CHECK(y);
    const int64_t version = ag_version(n);
    AG_INFERENCE_MODE (c) {
        CHECK(ag_add_(n, 1) && ag_add_(x, 1));
        CHECK(v = ag_narrow(n, 0, 0, 2));
    }
    CHECK_INT(ag_version(n) - version, 1);
    CHECK(!ag_is_inference(n) && ag_is_leaf(x));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "modified by an inplace operation");
    CHECK_ERROR(ag_add_(v, 1), AG_ERR_GRAD,
                "A view was created in inference mode and is being modified inplace in normal "
                "mode. Given that this use case is ambiguous and error-prone, it is forbidden. You "
                "can clarify your code by moving both the view and the inplace either both inside "
                "the inference_mode block (if you don't want the inplace to be tracked) or both "
                "outside (if you want the inplace to be tracked).");
    ag_tensor *plain = ag_ones(c, AG_SHAPE(3));
    AG_INFERENCE_MODE (c)
        CHECK(v = ag_narrow(plain, 0, 0, 2));
    CHECK(ag_add_(v, 1)); /* nothing of it is in a graph */
    CHECK_VALUES(plain, AG_SHAPE(3), AG_VALUES(2, 2, 1), 0);
}

static void t_inference_nests(ag_context *c)
{
    AG_INFERENCE_MODE (c) {
        AG_INFERENCE_MODE (c)
            CHECK(ag_inference_mode_enabled(c));
        CHECK(ag_inference_mode_enabled(c));
        AG_NO_GRAD (c)
            CHECK(ag_inference_mode_enabled(c));
        CHECK(ag_set_inference_mode(c, false));
        CHECK(!ag_is_inference(ag_ones(c, AG_SHAPE(1))));
        CHECK(!ag_set_inference_mode(c, true));
        CHECK(ag_is_inference(ag_ones(c, AG_SHAPE(1))));
    }
    CHECK(!ag_inference_mode_enabled(c) && !ag_inference_mode_enabled(NULL));
    CHECK(!ag_set_inference_mode(c, true));
    CHECK(!ag_requires_grad(ag_mul(leaf(c), 2))); /* without a block it is the same */
    CHECK(ag_set_inference_mode(c, false));
}

static void t_pass_inside_inference(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_sum(ag_mul(x, x));
    AG_INFERENCE_MODE (c)
        CHECK(ag_backward(y));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
}

/* ---- modes and callbacks ---- */

typedef struct {
    bool fail, leave_on, grad_enabled;
    double factor;
} script;

static bool scripted_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const script *s = ag_ctx_user(ctx);
    (void)n, (void)m;
    if (s->leave_on)
        ag_set_grad_enabled(ag_ctx_context(ctx), true);
    out[0] = ag_mul(in[0], 2);
    return out[0] != NULL;
}

static bool scripted_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    script *s = ag_ctx_user(ctx);
    ag_context *c = ag_ctx_context(ctx);
    s->grad_enabled = ag_grad_enabled(c);
    if (s->leave_on)
        ag_set_grad_enabled(c, !s->grad_enabled);
    AG_ENABLE_GRAD (c) {
        if (s->fail)
            return ag_fail(c, AG_ERR_IO, "the rule gave up");
    }
    for (int i = 0; grad_in && i < 2; i++)
        grad_in[i] = ag_mul(g[0], i ? s->factor : 1);
    return grad_in[1] != NULL;
}

static const ag_custom scripted = { .name = "Scripted",
                                    .forward = scripted_forward,
                                    .backward = scripted_backward };

static ag_tensor *apply(ag_tensor *a, ag_tensor *b, script *s)
{
    ag_tensor *y = NULL;
    return ag_apply(&scripted, (ag_tensor *[]){ a, b }, 2, &y, 1, s) ? ag_sum(y) : NULL;
}

static void t_modes_after_errors(ag_context *c)
{
    for (int record = 0; record < 2; record++) {
        script s = { .fail = true };
        ag_tensor *x = leaf(c), *w = leaf(c), *y = apply(x, w, &s), *g;
        ag_set_grad_enabled(c, record);
        WATCH(x);
        CHECK_ERROR(ag_backward(y), AG_ERR_IO, "the rule gave up");
        CHECK(ag_grad_enabled(c) == record);
        CHECK_ERROR(ag_grad(&y, 1, &x, 1, &g, .create_graph = true), AG_ERR_IO, "the rule gave up");
        CHECK(ag_grad_enabled(c) == record);
        UNWATCH();
        ag_set_grad_enabled(c, true);
    }
}

/* A callback that leaves a mode behind does not change it for those after it. */
static void t_modes_left_behind(ag_context *c)
{
    script s = { .leave_on = true }, watcher = { .factor = 1 };
    ag_tensor *x = leaf(c), *w = leaf(c), *y = NULL;
    AG_NO_GRAD (c) {
        CHECK(apply(x, w, &s));
        CHECK(!ag_grad_enabled(c));
    }
    ag_tensor *first = NULL;
    CHECK(ag_apply(&scripted, (ag_tensor *[]){ x, w }, 2, &first, 1, &watcher));
    y = apply(first, w, &s);
    CHECK(ag_backward(y));
    CHECK(!s.grad_enabled && !watcher.grad_enabled);
    CHECK(ag_grad_enabled(c));
}

static ag_tensor *failing_hook(ag_tensor *grad, void *user)
{
    ag_context *c = ag_context_of(grad);
    (void)user;
    ag_set_grad_enabled(c, true);
    return ag_fail(c, AG_ERR_IO, "the hook gave up"), NULL;
}

static void t_modes_after_a_hook(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_mul(x, x);
    CHECK(ag_register_hook(y, failing_hook, NULL));
    y = ag_sum(y);
    AG_NO_GRAD (c) {
        CHECK_ERROR(ag_backward(y), AG_ERR_IO, "the hook gave up");
        CHECK(!ag_grad_enabled(c));
    }
    CHECK(ag_grad_enabled(c) && !ag_grad_of(x));
}

/* ---- anomaly mode ---- */

static void t_anomaly_switch(ag_context *c)
{
    CHECK(!ag_anomaly_enabled(c));
    CHECK(!ag_set_anomaly_enabled(c, true));
    CHECK(ag_set_anomaly_enabled(c, true));
    CHECK(ag_anomaly_enabled(c));
    CHECK(ag_set_anomaly_enabled(c, false));
    CHECK(!ag_anomaly_enabled(c) && !ag_anomaly_enabled(NULL));
    CHECK(!ag_set_anomaly_enabled(NULL, true));
}

static void t_anomaly_finds_nan(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *y = ag_sum(ag_mul(ag_sqrt(ag_mul(x, 0)), 0));
    ag_set_anomaly_enabled(c, true);
    WATCH(x);
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD,
                "Function 'SqrtBackward0' returned nan values in its 0th output.");
    UNWATCH();
    CHECK(ag_anomaly_enabled(c));
    ag_set_anomaly_enabled(c, false);
    CHECK(ag_backward(y));
    CHECK(isnan(ag_at(ag_grad_of(x), 0)));
}

static void t_anomaly_in_the_second_output(ag_context *c)
{
    script s = { .factor = NAN };
    ag_tensor *x = leaf(c), *w = leaf(c), *y = apply(x, w, &s), *g;
    ag_set_anomaly_enabled(c, true);
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD,
                "Function 'ScriptedBackward' returned nan values in its 1th output.");
    CHECK_ERROR(ag_grad(&y, 1, &w, 1, &g), AG_ERR_GRAD, "returned nan values in its 1th output.");
    s.factor = 1;
    CHECK(ag_backward(y));
}

/* Infinities are no NaN. */
static void t_anomaly_lets_pass(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true), *y;
    ag_set_anomaly_enabled(c, true);
    y = ag_sqrt(x);
    CHECK(ag_backward(ag_sum(y)));
    CHECK(isinf(ag_at(ag_grad_of(x), 0)));
}

/* An error of a rule's own keeps its text, and says whose rule it was. */
static void t_anomaly_names_the_rule(ag_context *c)
{
    script s = { .fail = true };
    ag_tensor *x = leaf(c), *y = apply(ag_mul(x, 1), leaf(c), &s);
    ag_set_anomaly_enabled(c, true);
    CHECK_ERROR(ag_backward(y), AG_ERR_IO, "the rule gave up");
    CHECK_ERROR(ag_backward(y), AG_ERR_IO, "Error detected in ScriptedBackward.");
    CHECK_ERROR(ag_mul(x, ag_ones(c, AG_SHAPE(2), .dtype = AG_F64)), AG_ERR_SHAPE, "ag_mul");
    ag_set_anomaly_enabled(c, false);
    CHECK(!ag_backward(y));
    CHECK(ag_error(c) && !strstr(ag_error(c)->message, "Error detected"));
}

static void t_anomaly_and_graphs(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_sum(ag_mul(ag_mul(x, x), x)), *g, *h;
    ag_set_anomaly_enabled(c, true);
    CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
    CHECK(g = ag_sum(g));
    CHECK(ag_grad(&g, 1, &x, 1, &h));
    CHECK_VALUES(h, AG_SHAPE(3), AG_VALUES(6, 12, 18), 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_no_grad), TEST(t_set_grad_enabled), TEST(t_blocks_are_left),
               TEST(t_writes_without_grad), TEST(t_view_without_grad), TEST(t_pass_without_grad),
               TEST(t_inference), TEST(t_inference_tensors), TEST(t_inference_tensors_take_part),
               TEST(t_normal_tensors_inside), TEST(t_inference_nests),
               TEST(t_pass_inside_inference), TEST(t_modes_after_errors), TEST(t_modes_left_behind),
               TEST(t_modes_after_a_hook), TEST(t_anomaly_switch), TEST(t_anomaly_finds_nan),
               TEST(t_anomaly_in_the_second_output), TEST(t_anomaly_lets_pass),
               TEST(t_anomaly_names_the_rule), TEST(t_anomaly_and_graphs));
}
