/*
 * Derivatives of functions: tangents of every pointwise row and every structured sample against central
 * differences and against two passes back; tangents of tangents and of gradients; what results require.
 */
#include "samples.h"

#include "ops/pointwise.h"

enum { MAX_IN = 3 };

static void check_near(const char *what, const char *name, ag_tensor *a, ag_tensor *b,
                       double tolerance)
{
    CHECK(a && b);
    CHECK_INT(ag_numel(a), ag_numel(b));
    ag_tensor *x = ag_reshape(a, AG_SHAPE(-1)), *y = ag_reshape(b, AG_SHAPE(-1));
    CHECK(x && y);
    for (int64_t i = 0; i < ag_numel(a); i++)
        if (!harness_is_close(ag_at(x, i), ag_at(y, i), tolerance))
            FAIL("%s, %s: element %lld is %.17g, expected %.17g", name, what, (long long)i,
                 ag_at(x, i), ag_at(y, i));
}

/* ---- the same by other means ---- */

/* (fn(in + h t) - fn(in - h t)) / 2 h, outside the graph; fn has one output. */
static ag_tensor *by_differences(ag_fn fn, ag_tensor *const *in, int n, ag_tensor *const *t,
                                 void *user)
{
    const double h = 1e-6;
    ag_tensor *moved[MAX_IN], *y[2] = { NULL };
    ag_context *c = ag_context_of(in[0]);
    const bool was = ag_set_grad_enabled(c, false);
    bool ok = true;
    for (int side = 0; side < 2 && ok; side++) {
        for (int i = 0; i < n && ok; i++)
            ok = (moved[i] = t[i] ? ag_add(in[i], ag_mul(t[i], side ? -h : h)) : in[i]) != NULL;
        ok = ok && fn(moved, n, &y[side], 1, user);
    }
    ag_tensor *d = ok ? ag_div(ag_sub(y[0], y[1]), 2 * h) : NULL;
    ag_set_grad_enabled(c, was);
    return d;
}

/* The gradient, with respect to v, of <fn's gradient at v, t>: NULL with *ok when nothing depends. */
static ag_tensor *by_two_passes(ag_fn fn, ag_tensor *const *in, int n, ag_tensor *const *t,
                                void *user, bool *ok)
{
    ag_tensor *y = NULL, *g[MAX_IN], *of[MAX_IN], *with[MAX_IN], *tangent = NULL;
    int k = 0;
    *ok = fn(in, n, &y, 1, user);
    ag_tensor *v = *ok ? ag_requires_grad_(ag_zeros_like(y), true) : NULL;
    *ok = v &&
          ag_grad(&y, 1, in, n, g, .grad_outputs = &v, .create_graph = true, .allow_unused = true);
    for (int i = 0; i < n && *ok; i++)
        if (t[i] && g[i] && ag_requires_grad(g[i])) {
            of[k] = g[i];
            with[k++] = t[i];
        }
    if (*ok && k)
        *ok = ag_grad(of, k, &v, 1, &tangent, .grad_outputs = with, .allow_unused = true);
    return tangent;
}

/* ag_jvp of a function of one output against both, with all tangents and with each alone. */
static void check_tangents(ag_context *c, const char *name, ag_fn fn, ag_tensor *const *in, int n,
                           void *user)
{
    for (int only = n > 1 ? -1 : 0; only < n; only++)
        AG_SCOPE (c) {
            ag_tensor *t[MAX_IN] = { NULL }, *y = NULL, *tangent = NULL, *plain = NULL;
            for (int i = 0; i < n; i++)
                if (only < 0 || i == only)
                    CHECK(t[i] = ag_randn_like(in[i]));
            bool ok = true;
            ag_tensor *expected = by_differences(fn, in, n, t, user);
            ag_tensor *exact = by_two_passes(fn, in, n, t, user, &ok);
            CHECK(expected && ok);
            CHECK(fn(in, n, &plain, 1, user));
            if (!ag_jvp(fn, in, n, t, &y, 1, &tangent, user))
                FAIL("%s", name);
            check_near("the value", name, y, plain, 0);
            if (!tangent)
                CHECK(tangent = ag_zeros_like(y));
            check_near("the tangent beside differences", name, tangent, expected, 1e-4);
            if (exact &&
                strcmp(name, "mean_empty") != 0) /* 0 / 0 forward, as differences have it */
                check_near("the tangent", name, tangent, exact, 1e-12);
            AG_NO_GRAD (c) {
                CHECK(ag_jvp(fn, in, n, t, &y, 1, &plain, user));
                CHECK(!ag_requires_grad(y) && !ag_requires_grad(plain));
                if (plain)
                    check_near("the tangent outside the graph", name, plain, tangent, 1e-12);
            }
        }
}

/* ---- every row ---- */

typedef struct {
    const ag__op *op;
    ag__attrs attrs;
} row_call;

static bool run_row(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const row_call *r = user;
    (void)m;
    return (out[0] = ag__run1(r->op, in, n, &r->attrs)) != NULL;
}

static ag_tensor *draw(ag_context *c, const ag__pointwise *row, ag_ints shape)
{
    ag_tensor *x = ag_add(ag_mul(ag_rand(c, shape, .dtype = AG_F64), row->hi - row->lo), row->lo);
    return ag_requires_grad_(ag_detach(x), true);
}

static void t_pointwise_rows(ag_context *c)
{
    const ag_ints shapes[][MAX_IN] = {
        { AG_SHAPE(2, 3), AG_SHAPE(2, 3), AG_SHAPE(2, 3) },
        { AG_SHAPE(2, 1), AG_SHAPE(3), AG_SHAPE(1, 3) },
        { AG_SHAPE(), AG_SHAPE(2), AG_SHAPE() },
        { AG_SHAPE(0, 3), AG_SHAPE(1, 3), AG_SHAPE(0, 1) },
    };
    for (int k = 0; k < AG_OP_COUNT; k++) {
        const ag__op *op = ag__ops[k];
        const bool few = k == AG_OP_div || k == AG_OP_where;
        if (!op->pointwise || !op->vjp || (harness_faults() && !few))
            continue;
        row_call r = { op, { .p = 1, .q = 2 } };
        if (k == AG_OP_clamp || k == AG_OP_hardtanh)
            r.attrs = (ag__attrs){ .p = -.9, .q = .9 };
        for (int s = 0; s < (harness_faults() ? 1 : 4); s++)
            AG_SCOPE (c) {
                ag_tensor *in[MAX_IN] = { NULL };
                for (int i = 0; i < op->n_in; i++)
                    WATCH(in[i] = draw(c, op->pointwise, shapes[s][i]));
                check_tangents(c, op->name, run_row, in, op->n_in, &r);
                UNWATCH();
            }
    }
}

static void t_structured_samples(ag_context *c)
{
    for (int k = 0; k < SAMPLE_COUNT; k++) {
        const sample *s = &samples[k];
        if (s->traits & INTEGRAL || (harness_faults() && k % 24))
            continue;
        for (int l = 0; l < (s->traits & PLAIN || harness_faults() ? 1 : LAYOUT_COUNT); l++)
            AG_SCOPE (c) {
                ag_tensor *leaves[SAMPLE_MAX_OPERANDS];
                sample_use use = { c, s, (layout)l, false };
                sample_leaves(c, s, (layout)l, leaves);
                for (int i = 0; i < sample_operands(s); i++)
                    WATCH(leaves[i]);
                check_tangents(c, s->name, sample_run, leaves, sample_operands(s), &use);
                UNWATCH();
            }
    }
}

/* ---- functions ---- */

#define FUNCTION(name)                                                                             \
    static bool name(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
#define UNUSED (void)n, (void)m, (void)user

/* x0^2 x1, sin x0, x1, and the number of elements */
FUNCTION(several)
{
    UNUSED;
    out[0] = ag_mul(ag_square(in[0]), in[1]);
    out[1] = ag_sin(in[0]);
    out[2] = in[1];
    out[3] = ag_scalar(ag_context_of(in[0]), (double)ag_numel(in[0]), .dtype = AG_I64);
    return out[0] && out[1] && out[3];
}

FUNCTION(cube)
{
    UNUSED;
    return (out[0] = ag_mul(ag_square(in[0]), in[0])) != NULL;
}

FUNCTION(scaled) /* by a tensor from outside */
{
    (void)n, (void)m;
    return (out[0] = ag_mul(ag_square(in[0]), (ag_tensor *)user)) != NULL;
}

static ag_tensor *doubles(ag_context *c, ag_values v, bool requires_grad)
{
    const int64_t n = v.n;
    ag_tensor *t =
        ag_array(c, v, ((ag_ints){ &n, 1 }), .dtype = AG_F64, .requires_grad = requires_grad);
    CHECK(t);
    return t;
}

static void t_values(ag_context *c)
{
    ag_tensor *in[] = { doubles(c, AG_VALUES(1, 2), false), doubles(c, AG_VALUES(3, 4), false) };
    ag_tensor *t[] = { doubles(c, AG_VALUES(1, -1), false), doubles(c, AG_VALUES(10, 1), false) };
    ag_tensor *y[4], *d[4];
    CHECK(ag_jvp(several, in, 2, t, y, 4, d, NULL));
    CHECK_VALUES(y[0], AG_SHAPE(2), AG_VALUES(3, 16), 0);
    CHECK_VALUES(d[0], AG_SHAPE(2), AG_VALUES(16, -12), 0); /* 2 x0 x1 t0 + x0^2 t1 */
    CHECK_VALUES(d[1], AG_SHAPE(2), AG_VALUES(cos(1), -cos(2)), 1e-15);
    CHECK_VALUES(y[2], AG_SHAPE(2), AG_VALUES(3, 4), 0);
    CHECK_VALUES(d[2], AG_SHAPE(2), AG_VALUES(10, 1), 0);
    CHECK_INT((int64_t)ag_item(y[3]), 2);
    CHECK(!d[3]);
    for (int j = 0; j < 4; j++)
        CHECK(!ag_requires_grad(y[j]) && !ag_requires_grad(d[j]) && ag_is_leaf(y[j]));
}

static void t_undefined_tangents(ag_context *c)
{
    ag_tensor *in[] = { doubles(c, AG_VALUES(1, 2), true), doubles(c, AG_VALUES(3, 4), false) };
    ag_tensor *second[] = { NULL, doubles(c, AG_VALUES(10, 1), false) }, *none[] = { NULL, NULL };
    ag_tensor *y[4], *d[4];
    CHECK(ag_jvp(several, in, 2, second, y, 4, d, NULL));
    CHECK_VALUES(d[0], AG_SHAPE(2), AG_VALUES(10, 4), 0);
    CHECK(!d[1]);
    CHECK_VALUES(d[2], AG_SHAPE(2), AG_VALUES(10, 1), 0);
    CHECK(ag_requires_grad(y[0]) && ag_requires_grad(y[1]) && !ag_requires_grad(y[2]));
    CHECK(ag_requires_grad(d[0]) && !ag_requires_grad(d[2]));
    CHECK(ag_jvp(several, in, 2, none, y, 4, d, NULL));
    CHECK_VALUES(y[0], AG_SHAPE(2), AG_VALUES(3, 16), 0);
    CHECK(!d[0] && !d[1] && !d[2] && !d[3]);
    ag_tensor *x = ag_scalar(c, 3, .dtype = AG_F64); /* one input of one element: v is 1 */
    CHECK(x && ag_jvp(cube, &x, 1, NULL, y, 1, d, NULL));
    CHECK_CLOSE(ag_item(d[0]), 27, 0);
}

/* Tangents take the dtype of their input, those of results the dtype of the result. */
static void t_dtypes(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .dtype = AG_F16), *y, *d;
    ag_tensor *w = ag_array(c, AG_VALUES(1e-3, 1), AG_SHAPE(2)), *t = ag_ones(c, AG_SHAPE(2));
    CHECK(x && w && t);
    CHECK(ag_jvp(scaled, &x, 1, &t, &y, 1, &d, w));
    CHECK(ag_dtype_of(d) == AG_F32);
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(2 * (double)1e-3f, 4), 0);
}

/* ---- derivatives of tangents ---- */

static void t_results_are_differentiable(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(2, 3), true), *t = doubles(c, AG_VALUES(1, 2), true);
    ag_tensor *w = doubles(c, AG_VALUES(5, 7), true), *y, *d, *g[3], *of[] = { x, t, w };
    CHECK(ag_jvp(scaled, &x, 1, &t, &y, 1, &d, w)); /* 2 w x t */
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(20, 84), 0);
    ag_tensor *sum = ag_sum(d), *value = ag_sum(y);
    CHECK(ag_grad(&sum, 1, of, 3, g, .retain_graph = true));
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(10, 28), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(20, 42), 0);
    CHECK_VALUES(g[2], AG_SHAPE(2), AG_VALUES(4, 12), 0);
    CHECK(ag_backward(value));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(20, 42), 0);
    CHECK(ag_backward(sum));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(30, 70), 0);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(8, 21), 0);
}

/* With a constant input the results depend on what fn uses beside it, and on no stand-in. */
static void t_results_require_what_they_depend_on(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(2, 3), false), *t = doubles(c, AG_VALUES(1, 2), false);
    ag_tensor *w = doubles(c, AG_VALUES(5, 7), true), *plain = doubles(c, AG_VALUES(5, 7), false);
    ag_tensor *y, *d;
    CHECK(ag_jvp(scaled, &x, 1, &t, &y, 1, &d, plain));
    CHECK(!ag_requires_grad(y) && !ag_requires_grad(d));
    CHECK(ag_jvp(scaled, &x, 1, &t, &y, 1, &d, w));
    CHECK(ag_requires_grad(y) && ag_requires_grad(d));
    CHECK(ag_node_n_inputs(ag_grad_fn(y)) == 2 && !ag_node_next(ag_grad_fn(y), 0, NULL));
    CHECK(ag_backward(ag_sum(d)));
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(4, 12), 0);
    CHECK(!ag_grad_of(x));
    AG_NO_GRAD (c) {
        CHECK(ag_jvp(scaled, &w, 1, &t, &y, 1, &d, w));
        CHECK(!ag_requires_grad(y) && !ag_requires_grad(d) && ag_requires_grad(w));
        CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(50, 196), 0); /* w beside the input is a constant */
    }
    CHECK(ag_grad_enabled(c));
}

/* The directional derivative of the directional derivative along user, a tensor. */
FUNCTION(cube_tangent)
{
    ag_tensor *y, *along = user;
    UNUSED;
    return ag_jvp(cube, in, 1, &along, &y, 1, out, NULL);
}

FUNCTION(cube_tangent_twice)
{
    ag_tensor *y, *along = user;
    UNUSED;
    return ag_jvp(cube_tangent, in, 1, &along, &y, 1, out, user);
}

FUNCTION(cube_gradient)
{
    ag_tensor *y = NULL, *sum;
    UNUSED;
    return cube(in, 1, &y, 1, NULL) && (sum = ag_sum(y)) &&
           ag_grad(&sum, 1, in, 1, out, .create_graph = true);
}

FUNCTION(cube_pulled)
{
    ag_tensor *y, *v = user;
    UNUSED;
    return ag_vjp(cube, in, 1, &y, 1, &v, out, NULL);
}

static void t_tangents_of_tangents(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(2, 3), false), *t = doubles(c, AG_VALUES(1, 2), false);
    ag_tensor *y, *d;
    CHECK(ag_jvp(cube_tangent, &x, 1, &t, &y, 1, &d, t));
    CHECK_VALUES(y, AG_SHAPE(2), AG_VALUES(12, 54), 0);
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(12, 72), 0); /* 6 x t^2 */
    CHECK(ag_jvp(cube_tangent_twice, &x, 1, &t, &y, 1, &d, t));
    CHECK_VALUES(y, AG_SHAPE(2), AG_VALUES(12, 72), 0);
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(6, 48), 0); /* 6 t^3 */
    CHECK(!ag_requires_grad(y) && !ag_requires_grad(d));
}

static void t_tangents_of_gradients(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(2, 3), false), *t = doubles(c, AG_VALUES(1, 2), false);
    ag_tensor *one = doubles(c, AG_VALUES(1, 1), false), *y, *d;
    CHECK(ag_jvp(cube_gradient, &x, 1, &t, &y, 1, &d, NULL));
    CHECK_VALUES(y, AG_SHAPE(2), AG_VALUES(12, 27), 0);
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(12, 36), 0);
    CHECK(ag_jvp(cube_pulled, &x, 1, &t, &y, 1, &d, one));
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(12, 36), 0);
    CHECK(ag_vjp(cube_tangent, &x, 1, &y, 1, &t, &d, one)); /* reverse over forward */
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(12, 36), 0);
    CHECK(ag_vjp(cube_gradient, &x, 1, &y, 1, &t, &d, NULL)); /* reverse over reverse */
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(12, 36), 0);
}

/* ---- the graph inside ---- */

FUNCTION(written)
{
    UNUSED;
    ag_tensor *x = ag_mul(in[0], 2);
    return x && ag_mul_(x, in[0]) && ag_add_(x, 1) && (out[0] = ag_mul(x, x));
}

static void t_in_place_inside(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(2, 3), false), *t = doubles(c, AG_VALUES(1, 2), false);
    ag_tensor *y, *d;
    CHECK(ag_jvp(written, &x, 1, &t, &y, 1, &d, NULL)); /* (2 x^2 + 1)^2 */
    CHECK_VALUES(y, AG_SHAPE(2), AG_VALUES(81, 361), 0);
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(144, 912), 0);
}

/* 10 x0^2 and x1^3, written into slices, and given back in views. */
FUNCTION(sliced)
{
    UNUSED;
    ag_tensor *x = ag_mul(in[0], in[0]), *first = ag_slice(x, 0, 0, 1, 1);
    return first && ag_mul_(first, 10) &&
           ag_mul_(ag_slice(x, 0, 1, 2, 1), ag_slice(in[0], 0, 1, 2, 1)) &&
           (out[0] = ag_reshape(x, AG_SHAPE(1, 2))) && (out[1] = first);
}

FUNCTION(writes_input)
{
    UNUSED;
    return (out[0] = ag_mul_(ag_slice(in[0], 0, 0, 1, 1), 2)) != NULL;
}

static void t_writes_into_views(ag_context *c)
{
    ag_tensor *leaf = doubles(c, AG_VALUES(2, 3), true), *t = doubles(c, AG_VALUES(1, 2), false);
    ag_tensor *in[] = { ag_detach(leaf), leaf, ag_mul(leaf, 1) }, *y[2], *d[2];
    CHECK(in[0] && in[2]);
    for (int k = 0; k < 3; k++) {
        CHECK(ag_jvp(sliced, &in[k], 1, &t, y, 2, d, NULL));
        CHECK_VALUES(y[0], AG_SHAPE(1, 2), AG_VALUES(40, 27), 0);
        CHECK_VALUES(d[0], AG_SHAPE(1, 2), AG_VALUES(40, 54), 0);
        CHECK_VALUES(y[1], AG_SHAPE(1), AG_VALUES(40), 0);
        CHECK_VALUES(d[1], AG_SHAPE(1), AG_VALUES(40), 0);
        CHECK(ag_requires_grad(y[1]) == (k > 0) && ag_requires_grad(d[1]) == (k > 0));
    }
    CHECK(ag_add_(y[1], 1) && ag_requires_grad(y[1]));
    CHECK(ag_jvp(sliced, &in[0], 1, &t, y, 2, d, NULL));
    CHECK(ag_add_(y[1], 1) && !ag_requires_grad(y[1])); /* no view of what is inside */
    CHECK_ERROR(ag_jvp(writes_input, &in[0], 1, &t, y, 1, d, NULL), AG_ERR_GRAD,
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation.");
    CHECK_ERROR(ag_jvp(writes_input, &leaf, 1, &t, y, 1, d, NULL), AG_ERR_GRAD,
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation.");
    CHECK_ERROR(ag_jvp(writes_input, &in[2], 1, &t, y, 1, d, NULL), AG_ERR_UNSUPPORTED,
                "ag_jvp: the function writes into input 0, which requires a gradient; let it write "
                "into a clone (ag_clone)");
}

static void t_modes(ag_context *c)
{
    ag_tensor *leaf = doubles(c, AG_VALUES(2, 3), true), *t = doubles(c, AG_VALUES(1, 2), false);
    ag_tensor *base = ag_mul(leaf, 1), *view = ag_slice(base, 0, 0, 2, 1), *y, *d, *inside;
    CHECK(view && ag_mul_(base, 2)); /* the view's place in the graph is out of date */
    CHECK(ag_jvp(cube, &view, 1, &t, &y, 1, &d, NULL));
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(48, 216), 0);
    CHECK(ag_backward(ag_sum(d))); /* 3 (2 x)^2 t */
    CHECK_VALUES(ag_grad_of(leaf), AG_SHAPE(2), AG_VALUES(48, 144), 0);
    AG_INFERENCE_MODE (c) {
        CHECK(ag_jvp(cube, &leaf, 1, &t, &y, 1, &d, NULL));
        CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(12, 54), 0);
        CHECK(!ag_requires_grad(y) && !ag_requires_grad(d) && ag_inference_mode_enabled(c));
        CHECK(inside = ag_mul(t, 1));
        CHECK_ERROR(ag_jvp(cube, &inside, 1, &t, &y, 1, &d, NULL), AG_ERR_GRAD,
                    "Inference tensors cannot be saved for backward.");
    }
    CHECK(ag_grad_enabled(c) && !ag_inference_mode_enabled(c));
}

/* Values that went through hooks come back through them. */
static void *pack(ag_tensor *t, void *user)
{
    (void)user;
    return ag_retain(ag_neg(t));
}
static ag_tensor *unpack(void *packed, void *user)
{
    ++*(int *)user;
    return ag_neg((ag_tensor *)packed);
}
static void free_packed(void *packed, void *user)
{
    (void)user;
    ag_release((ag_tensor *)packed);
}

FUNCTION(products)
{
    UNUSED;
    return (out[0] = ag_matmul(ag_sin(in[0]), ag_mul(in[0], in[0]))) != NULL;
}

static void t_saved_hooks_inside(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(1, 2, 3, 4), AG_SHAPE(2, 2), .dtype = AG_F64);
    ag_tensor *t = ag_array(c, AG_VALUES(1, 0, -1, 2), AG_SHAPE(2, 2), .dtype = AG_F64);
    ag_tensor *y, *d, *with, *through;
    int unpacked = 0;
    CHECK(x && t);
    CHECK(ag_jvp(products, &x, 1, &t, &y, 1, &d, NULL));
    CHECK(ag_saved_hooks_push(c, pack, unpack, &unpacked, .free_packed = free_packed));
    const bool ok = ag_jvp(products, &x, 1, &t, &with, 1, &through, NULL);
    ag_saved_hooks_pop(c);
    CHECK(ok && unpacked > 0);
    check_near("the tangent through hooks", "products", through, d, 0);
}

/* ---- functions with rules of their own ---- */

static bool cube_forward(ag_ctx *x, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    return ag_ctx_save(x, in, n) && cube(in, n, out, m, NULL);
}
static bool cube_backward(ag_ctx *x, ag_tensor *const *g, ag_tensor **out)
{
    return (out[0] = ag_mul(ag_mul(ag_square(ag_ctx_saved(x, 0)), 3), g[0])) != NULL;
}
static bool blind_backward(ag_ctx *x, ag_tensor *const *g, ag_tensor **out) /* leaves the graph */
{
    return cube_backward(x, g, out) && (out[0] = ag_detach(out[0])) != NULL;
}
static bool seven_jvp(ag_ctx *x, ag_tensor *const *t, ag_tensor **out) /* seen to be used */
{
    return cube_backward(x, t, out) && (out[0] = ag_mul(out[0], 7)) != NULL;
}
static bool silent_jvp(ag_ctx *x, ag_tensor *const *t, ag_tensor **out)
{
    (void)x, (void)t, (void)out;
    return false;
}

FUNCTION(custom) { return ag_apply(user, in, n, out, m, NULL); }

static void t_custom_functions(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(2, 3), true), *t = doubles(c, AG_VALUES(1, 2), false);
    ag_custom f = { .name = "Cube", .forward = cube_forward, .backward = cube_backward };
    ag_tensor *y, *d;
    WATCH(x);
    CHECK(ag_jvp(custom, &x, 1, &t, &y, 1, &d, &f)); /* derived */
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(12, 54), 0);
    CHECK(ag_requires_grad(d));
    f.jvp = seven_jvp;
    CHECK(ag_jvp(custom, &x, 1, &t, &y, 1, &d, &f));
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(84, 378), 0);
    ag_tensor *sum = ag_sum(d), *g;
    CHECK(ag_grad(&sum, 1, &x, 1, &g)); /* 42 x t */
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(84, 252), 0);
    f.once_differentiable = true;
    AG_NO_GRAD (c)
        CHECK(ag_jvp(custom, &x, 1, &t, &y, 1, &d, &f));
    CHECK_VALUES(d, AG_SHAPE(2), AG_VALUES(84, 378), 0);
    f.jvp = silent_jvp;
    CHECK_ERROR(ag_jvp(custom, &x, 1, &t, &y, 1, &d, &f), AG_ERR_GRAD,
                "function CubeBackward: jvp returned false and told no reason");
    f.jvp = NULL;
    CHECK_ERROR(ag_jvp(custom, &x, 1, &t, &y, 1, &d, &f), AG_ERR_GRAD,
                "You must implement the jvp function for custom autograd.Function to use it with "
                "forward mode AD.");
    f = (ag_custom){ .name = "Cube", .forward = cube_forward, .backward = blind_backward };
    CHECK_ERROR(ag_jvp(custom, &x, 1, &t, &y, 1, &d, &f), AG_ERR_GRAD,
                "function CubeBackward: You must implement the jvp function for custom "
                "autograd.Function to use it with forward mode AD");
}

/* ---- size ---- */

FUNCTION(chain)
{
    (void)n, (void)m;
    ag_tensor *x = in[0];
    for (int i = 0; i < *(int *)user && x; i++)
        x = i % 2 ? ag_unsqueeze(ag_mul(x, 0.5), 0) : ag_squeeze(ag_mul(x, 2), 0);
    return (out[0] = x) != NULL;
}

/* Views take the generic way, whose passes back must not walk the graph behind their node. */
static void t_long_chains(ag_context *c)
{
    int steps = harness_faults() ? 6 : 100000;
    ag_tensor *x = ag_ones(c, AG_SHAPE(1, 2), .requires_grad = true),
              *t = ag_full(c, AG_SHAPE(1, 2), 3);
    ag_tensor *y, *d;
    CHECK(x && t);
    CHECK(ag_jvp(chain, &x, 1, &t, &y, 1, &d, &steps));
    CHECK_VALUES(d, AG_SHAPE(1, 2), AG_VALUES(3, 3), 0);
    CHECK(ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(1, 2), AG_VALUES(1, 1), 0);
}

/* A trial leaves nothing behind but its results. */
static void t_memory(ag_context *c)
{
    ag_tensor *in[] = { doubles(c, AG_VALUES(1, 2), true), doubles(c, AG_VALUES(3, 4), false) };
    ag_tensor *t[] = { doubles(c, AG_VALUES(1, -1), false), doubles(c, AG_VALUES(10, 1), false) };
    ag_memory_statistics before, after;
    ag_memory_stats(c, &before);
    for (int k = 0; k < 2; k++)
        AG_SCOPE (c) {
            ag_tensor *y[4], *d[4];
            ag_set_grad_enabled(c, k);
            const bool ok =
                ag_jvp(several, in, 2, t, y, 4, d, NULL) &&
                ag_vjp(several, in, 2, y, 4, (ag_tensor *[]){ t[0], t[1], t[0], NULL }, d, NULL);
            ag_set_grad_enabled(c, true);
            CHECK(ok);
        }
    ag_memory_stats(c, &after);
    CHECK_INT(after.tensors, before.tensors);
    CHECK_INT(after.nodes, before.nodes);
    CHECK_INT((int64_t)after.saved_bytes, (int64_t)before.saved_bytes);
}

/* ---- reverse mode ---- */

static void t_vjp(ag_context *c)
{
    ag_tensor *in[] = { doubles(c, AG_VALUES(1, 2), true), doubles(c, AG_VALUES(3, 4), false) };
    ag_tensor *v[] = { doubles(c, AG_VALUES(1, 2), true), NULL, NULL, NULL }, *y[4], *g[2], *gg;
    CHECK(ag_vjp(several, in, 2, y, 4, v, g, NULL));
    CHECK_VALUES(y[0], AG_SHAPE(2), AG_VALUES(3, 16), 0);
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(6, 32), 0); /* 2 x0 x1 v */
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(1, 8), 0);
    CHECK(ag_requires_grad(g[0]) && ag_requires_grad(g[1]) && !ag_requires_grad(y[2]));
    ag_tensor *sum = ag_sum(g[1]);
    CHECK(ag_grad(&sum, 1, in, 1, &gg));
    CHECK_VALUES(gg, AG_SHAPE(2), AG_VALUES(2, 8), 0);
    AG_NO_GRAD (c) {
        CHECK(ag_vjp(several, in, 2, y, 4, v, g, NULL));
        CHECK(!ag_requires_grad(y[0]) && !ag_requires_grad(g[0]) && !ag_requires_grad(g[1]));
        CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(6, 32), 0);
    }
    ag_tensor *x = ag_scalar(c, 3),
              *unused[] = { x, ag_ones(c, AG_SHAPE(2)), ag_arange(c, 0, 2, 1, .dtype = AG_I64) };
    ag_tensor *three[3];
    CHECK(x && unused[1] && unused[2]);
    CHECK(ag_vjp(cube, unused, 3, y, 1, NULL, three, NULL)); /* one output of one element */
    CHECK_CLOSE(ag_item(three[0]), 27, 0);
    CHECK_VALUES(three[1], AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK(!three[2] && !ag_grad_of(x) && !ag_requires_grad(three[0]));
}

/* ---- many cotangents at once ---- */

static void t_batched_gradients(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(1, 2), true), *w = doubles(c, AG_VALUES(3, 4), true);
    ag_tensor *other = doubles(c, AG_VALUES(1, 1), true), *in[] = { x, w, other }, *g[3];
    ag_tensor *v = ag_array(c, AG_VALUES(1, 0, 0, 1, 1, -1), AG_SHAPE(3, 2), .dtype = AG_F64);
    ag_tensor *y = ag_mul(ag_square(x), w);
    CHECK(v && y);
    const double by_x[] = { 6, 0, 0, 16, 6, -16 }, by_w[] = { 1, 0, 0, 4, 1, -4 };
    CHECK(ag_grad(&y, 1, in, 3, g, .grad_outputs = &v, .batched = true, .retain_graph = true,
                  .allow_unused = true));
    CHECK_VALUES(g[0], AG_SHAPE(3, 2), ((ag_values){ by_x, 6 }), 0);
    CHECK_VALUES(g[1], AG_SHAPE(3, 2), ((ag_values){ by_w, 6 }), 0);
    CHECK(!g[2] && !ag_requires_grad(g[0]) && !ag_grad_of(x));
    CHECK(ag_grad(&y, 1, in, 3, g, .grad_outputs = &v, .batched = true, .create_graph = true,
                  .materialize_grads = true));
    CHECK_VALUES(g[0], AG_SHAPE(3, 2), ((ag_values){ by_x, 6 }), 0);
    CHECK_VALUES(g[2], AG_SHAPE(3, 2), AG_VALUES(0, 0, 0, 0, 0, 0), 0);
    ag_tensor *sum = ag_sum(ag_mul(g[0], g[0])), *second; /* (4 x^2 w^2) (1 + 1) */
    CHECK(ag_grad(&sum, 1, &x, 1, &second));
    CHECK_VALUES(second, AG_SHAPE(2), AG_VALUES(8 * 9 * 2, 8 * 2 * 16 * 2), 0);
    WATCH(x);
    CHECK(ag_grad(&y, 1, in, 2, g, .grad_outputs = &v, .batched = true)); /* gives y's graph up */
    UNWATCH();
    CHECK_VALUES(g[1], AG_SHAPE(3, 2), ((ag_values){ by_w, 6 }), 0);
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD,
                "Trying to backward through the graph a second time");
}

/* A cotangent that is left out is 1 each time. */
static void t_batched_gradients_of_several_outputs(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(1, 2), true), *g;
    ag_tensor *y[] = { ag_sum(ag_square(x)), ag_mul(x, 3) };
    ag_tensor *v[] = { NULL, ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_F64) };
    CHECK(y[0] && y[1] && v[1]);
    CHECK(ag_grad(y, 2, &x, 1, &g, .grad_outputs = v, .batched = true));
    CHECK_VALUES(g, AG_SHAPE(2, 2), AG_VALUES(5, 7, 5, 7), 0);
}

static void t_bad_batches(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(1, 2), true), *other = doubles(c, AG_VALUES(1), true);
    ag_tensor *y[] = { ag_mul(x, x), ag_mul(x, 3) }, *g = NULL, *inputs[] = { x, other };
    ag_tensor *three = ag_ones(c, AG_SHAPE(3, 2)), *two = ag_ones(c, AG_SHAPE(2, 2));
    ag_tensor *narrow = ag_ones(c, AG_SHAPE(2, 1)), *none = ag_ones(c, AG_SHAPE(0, 2));
    ag_tensor *flat = ag_scalar(c, 1), *both[] = { three, two }, *half[] = { NULL, two }, *gs[2];
    CHECK(y[0] && y[1] && three && two && narrow && none && flat);
    WATCH(x);
    WATCH(y[0]);
    CHECK_ERROR(ag_grad(y, 1, &x, 1, &g, .grad_outputs = &narrow, .batched = true), AG_ERR_SHAPE,
                "If `is_grads_batched=True`, we interpret the first dimension of each grad_output "
                "as the batch dimension. The sizes of the remaining dimensions are expected to "
                "match the shape of corresponding output, but a mismatch was detected: "
                "grad_output[0] has a shape of [1] and output[0] has a shape of [2]. If you only "
                "want some tensors in `grad_output` to be considered batched, consider using "
                "vmap.");
    CHECK_ERROR(ag_grad(y, 1, &x, 1, &g, .grad_outputs = &flat, .batched = true), AG_ERR_SHAPE,
                "grad_output[0] has a shape of [] and output[0] has a shape of [2].");
    CHECK_ERROR(ag_grad(y, 1, &x, 1, &g, .grad_outputs = &none, .batched = true), AG_ERR_SHAPE,
                "index 0 is out of bounds for dimension 0 with size 0");
    CHECK_ERROR(ag_grad(y, 2, &x, 1, &g, .grad_outputs = both, .batched = true), AG_ERR_SHAPE,
                "vmap: Expected all tensors to have the same size in the mapped dimension, got "
                "sizes [3, 2] for the mapped dimension");
    CHECK_ERROR(ag_grad(y, 2, &x, 1, &g, .grad_outputs = half, .batched = true), AG_ERR_GRAD,
                "grad can be implicitly created only for scalar outputs");
    CHECK_ERROR(ag_grad(y, 1, inputs, 2, gs, .grad_outputs = &two, .batched = true), AG_ERR_GRAD,
                "One of the differentiated Tensors appears to not have been used in the graph.");
    CHECK(!g);
    CHECK(ag_grad(y, 1, &x, 1, &g, .grad_outputs = &two, .batched = true));
}

/* ---- bad arguments ---- */

FUNCTION(fails)
{
    UNUSED;
    (void)out;
    return user ? ag_fail(ag_context_of(in[0]), AG_ERR_IO, "%s", (const char *)user) : false;
}

FUNCTION(gives_nothing)
{
    UNUSED;
    (void)in, (void)out;
    return true;
}

static void t_bad_arguments(ag_context *c)
{
    ag_tensor *x = doubles(c, AG_VALUES(1, 2), true), *one = doubles(c, AG_VALUES(1), false);
    ag_tensor *wide = doubles(c, AG_VALUES(1, 2, 3), false),
              *integers = ag_arange(c, 0, 2, 1, .dtype = AG_I64);
    ag_tensor *y = NULL, *d = NULL, *pair[] = { x, x }, *hole[] = { x, NULL };
    ag_tensor *second[] = { NULL, wide }, *ys[4], *ds[4];
    CHECK(integers);
    WATCH(x);
    CHECK_ERROR(ag_jvp(NULL, &x, 1, &x, &y, 1, &d, NULL), AG_ERR_VALUE,
                "ag_jvp: the function is NULL");
    CHECK_ERROR(ag_vjp(cube, &x, 1, &y, -1, &x, &d, NULL), AG_ERR_VALUE,
                "ag_vjp: the number of outputs is negative");
    CHECK_ERROR(ag_jvp(cube, hole, 2, pair, &y, 1, &d, NULL), AG_ERR_VALUE,
                "ag_jvp: input 1 is NULL");
    CHECK_ERROR(ag_jvp(cube, &x, 1, &wide, &y, 1, &d, NULL), AG_ERR_SHAPE,
                "v has invalid size: should be [2] but got [3].");
    CHECK_ERROR(ag_jvp(cube, pair, 2, second, &y, 1, &d, NULL), AG_ERR_SHAPE,
                "Entry 1 in v has invalid size: should be [2] but got [3].");
    CHECK_ERROR(ag_jvp(cube, &x, 1, &integers, &y, 1, &d, NULL), AG_ERR_DTYPE,
                "ag_jvp: v has dtype int64 beside a tensor of dtype float64; both must be floating "
                "point");
    CHECK_ERROR(ag_jvp(cube, &integers, 1, &x, &y, 1, &d, NULL), AG_ERR_DTYPE,
                "v has dtype float64 beside a tensor of dtype int64");
    CHECK_ERROR(ag_jvp(cube, &x, 1, NULL, &y, 1, &d, NULL), AG_ERR_VALUE,
                "The vector v can only be None if the input to the user-provided function is a "
                "single Tensor with a single element.");
    CHECK_ERROR(ag_vjp(cube, &x, 1, &y, 1, NULL, &d, NULL), AG_ERR_VALUE,
                "The vector v can only be None if the user-provided function returns a single "
                "Tensor with a single element.");
    CHECK_ERROR(ag_vjp(cube, &x, 1, &y, 1, &one, &d, NULL), AG_ERR_SHAPE,
                "v has invalid size: should be [2] but got [1].");
    CHECK_ERROR(ag_vjp(several, pair, 2, ys, 4, (ag_tensor *[]){ x, wide, NULL, NULL }, ds, NULL),
                AG_ERR_SHAPE, "Entry 1 in v has invalid size: should be [2] but got [3].");
    CHECK_ERROR(ag_vjp(several, pair, 2, ys, 4, (ag_tensor *[]){ x, x, x, one }, ds, NULL),
                AG_ERR_SHAPE, "Entry 3 in v has invalid size: should be [] but got [1].");
    CHECK_ERROR(ag_jvp(fails, &x, 1, &x, &y, 1, &d, NULL), AG_ERR_VALUE,
                "ag_jvp: the function failed");
    CHECK_ERROR(ag_jvp(fails, &x, 1, &x, &y, 1, &d, "its own reason"), AG_ERR_IO, "its own reason");
    CHECK_ERROR(ag_vjp(gives_nothing, &x, 1, &y, 1, &x, &d, NULL), AG_ERR_VALUE,
                "ag_vjp: output 0 is NULL");
    CHECK(!y && !d && ag_grad_enabled(c));
    CHECK(!ag_jvp(cube, NULL, 0, NULL, NULL, 0, NULL, NULL));
    CHECK(!ag_vjp(cube, NULL, 1, NULL, 1, NULL, NULL, NULL) && !ag_error(c));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_pointwise_rows), TEST(t_structured_samples), TEST(t_values),
               TEST(t_undefined_tangents), TEST(t_dtypes), TEST(t_results_are_differentiable),
               TEST(t_results_require_what_they_depend_on), TEST(t_tangents_of_tangents),
               TEST(t_tangents_of_gradients), TEST(t_in_place_inside), TEST(t_writes_into_views),
               TEST(t_modes), TEST(t_custom_functions), TEST(t_saved_hooks_inside),
               TEST(t_long_chains), TEST(t_memory), TEST(t_vjp), TEST(t_batched_gradients),
               TEST(t_batched_gradients_of_several_outputs), TEST(t_bad_batches),
               TEST(t_bad_arguments));
}
