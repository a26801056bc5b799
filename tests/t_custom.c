/*
 * Functions with rules of their own: what their forward may do and save, what their backward is given
 * and may answer, and the sentences when it may not. Expectations are those of torch.autograd.Function.
 */
#include "harness.h"

/* What the rules below note; given to ag_apply as `user`, so it outlives the context: static. */
typedef struct {
    int forwards, backwards, frees;
    bool grad_enabled[2]; /* in forward and backward */
    bool needs[2][3];     /* needs_input_grad in forward and backward */
    bool requires_grad;   /* of what forward computed */
    ag_tensor *seen[4];   /* gradients that backward got, or operands that forward got */
    double values[4];     /* and what they held */
    bool fail, materialize_off;
    ag_tensor *other; /* something from outside */
    ag_code code;
} notes;

static void count_free(void *user) { ((notes *)user)->frees++; }

static ag_tensor *leaf(ag_context *c)
{
    return ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3), .dtype = AG_F64, .requires_grad = true);
}

static ag_tensor *apply1(const ag_custom *f, ag_tensor *x, notes *n)
{
    ag_tensor *y = NULL;
    return ag_apply(f, &x, 1, &y, 1, n) ? y : NULL;
}

/* ---- the plain case: 2 x ---- */

static bool twice_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    notes *note = ag_ctx_user(ctx);
    (void)n, (void)m;
    note->forwards++;
    note->seen[0] = in[0];
    note->grad_enabled[0] = ag_grad_enabled(ag_ctx_context(ctx));
    out[0] = ag_mul(in[0], 2);
    note->requires_grad = ag_requires_grad(out[0]);
    return out[0] != NULL;
}

static bool twice_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    note->backwards++;
    note->grad_enabled[1] = ag_grad_enabled(ag_ctx_context(ctx));
    grad_in[0] = ag_mul(g[0], 2);
    return grad_in[0] != NULL;
}

static const ag_custom twice = {
    .name = "Twice", .forward = twice_forward, .backward = twice_backward, .free_user = count_free
};

static void t_plain(ag_context *c)
{
    static notes n;
    n = (notes){ .grad_enabled = { true, true } };
    AG_SCOPE (c) {
        ag_tensor *x = leaf(c), *y = apply1(&twice, x, &n);
        CHECK(y);
        CHECK_VALUES(y, AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
        CHECK(n.seen[0] == x);
        CHECK(!n.grad_enabled[0] && !n.requires_grad);
        CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "TwiceBackward");
        CHECK_INT(ag_node_n_inputs(ag_grad_fn(y)), 1);
        CHECK_TEXT(ag_node_name(ag_node_next(ag_grad_fn(y), 0, NULL)), "AccumulateGrad");
        CHECK(ag_backward(ag_sum(y)));
        CHECK(!n.grad_enabled[1]);
        CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 2, 2), 0);
        CHECK(ag_backward(ag_sum(y))); /* nothing was saved */
        CHECK_INT(n.forwards, 1);
        CHECK_INT(n.backwards, 2);
        CHECK_INT(n.frees, 0);
    }
    CHECK_INT(n.frees, 1);
}

/* No graph is wanted: user is freed at once. */
static void t_no_graph(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y;
    CHECK(y = apply1(&twice, ag_detach(x), &n));
    CHECK(!ag_requires_grad(y) && !ag_grad_fn(y));
    CHECK_INT(n.frees, 1);
    AG_NO_GRAD (c) {
        CHECK(y = apply1(&twice, x, &n));
        CHECK(!ag_requires_grad(y) && !ag_grad_fn(y));
    }
    CHECK_INT(n.frees, 2);
}

static void t_double_backward(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y = ag_mul(apply1(&twice, x, &n), x), *g, *h;
    y = ag_sum(y); /* 2 x^2 */
    CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
    CHECK(n.grad_enabled[1]);
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(4, 8, 12), 0);
    g = ag_sum(g);
    CHECK(ag_grad(&g, 1, &x, 1, &h));
    CHECK_VALUES(h, AG_SHAPE(3), AG_VALUES(4, 4, 4), 0);
}

/* ---- saving: an input, nothing, an output and an intermediate; exp(x) x ---- */

static bool saving_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    ag_tensor *e = ag_exp(in[0]);
    out[0] = ag_mul(e, in[0]);
    return out[0] && ag_ctx_save(ctx, (ag_tensor *[]){ in[0], NULL, out[0], e }, 4);
}

/* (e^x x)' = e^x + y */
static bool saving_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    note->backwards++;
    if (ag_ctx_n_saved(ctx) != 4)
        return ag_fail(ag_ctx_context(ctx), AG_ERR_INTERNAL, "not four");
    ag_tensor *x = ag_ctx_saved(ctx, 0), *none = ag_ctx_saved(ctx, 1), *y = ag_ctx_saved(ctx, 2),
              *e = ag_ctx_saved(ctx, 3);
    if (!x || !y || !e || none)
        return false;
    note->needs[0][0] = ag_requires_grad(x);
    note->needs[0][1] = ag_requires_grad(y);
    note->needs[0][2] = ag_requires_grad(e);
    note->seen[0] = x;
    note->seen[1] = (ag_tensor *)(void *)ag_grad_fn(y);
    grad_in[0] = ag_mul(g[0], ag_add(note->fail ? ag_exp(x) : e, y));
    return grad_in[0] != NULL;
}

static const ag_custom saving = { .name = "Saving",
                                  .forward = saving_forward,
                                  .backward = saving_backward,
                                  .free_user = count_free };

static void t_saving(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y = apply1(&saving, x, &n), *s = ag_sum(y), *g, *h;
    CHECK(s);
    CHECK_INT(ag_node_n_saved(ag_grad_fn(y)), 4);
    CHECK_TEXT(ag_node_saved_name(ag_grad_fn(y), 0), "saved");
    CHECK(ag_node_saved(ag_grad_fn(y), 0) == x);
    CHECK(!ag_node_saved(ag_grad_fn(y), 1) && !ag_error(c));
    CHECK(ag_grad_fn(ag_node_saved(ag_grad_fn(y), 2)) == ag_grad_fn(y));
    CHECK(ag_grad(&s, 1, &x, 1, &g, .create_graph = true));
    CHECK(n.seen[0] == x);
    CHECK(n.needs[0][0] && n.needs[0][1] && !n.needs[0][2]);
    CHECK((void *)n.seen[1] == (void *)ag_grad_fn(y));
    for (int i = 0; i < 3; i++)
        CHECK_CLOSE(ag_at(g, i), exp(i + 1) * (i + 2), 1e-14);
    /* to the second derivative the intermediate e is a constant: d(e + y) = y' */
    ag_tensor *t = ag_sum(g);
    CHECK(ag_grad(&t, 1, &x, 1, &h, .retain_graph = true));
    for (int i = 0; i < 3; i++)
        CHECK_CLOSE(ag_at(h, i), exp(i + 1) * (i + 2), 1e-14);
    n.fail = true; /* computed from x instead: (x + 2) e^x */
    CHECK(ag_grad(&s, 1, &x, 1, &g, .create_graph = true) && (t = ag_sum(g)));
    CHECK(ag_grad(&t, 1, &x, 1, &h, .retain_graph = true));
    for (int i = 0; i < 3; i++)
        CHECK_CLOSE(ag_at(h, i), exp(i + 1) * (i + 3), 1e-14);
    CHECK(ag_backward(s));
    CHECK_ERROR(ag_backward(s), AG_ERR_GRAD,
                "Trying to backward through the graph a second time (or directly access saved "
                "tensors after they have already been freed).");
    CHECK_ERROR(ag_node_saved(ag_grad_fn(y), 0), AG_ERR_GRAD,
                "Trying to backward through the graph a second time");
}

static void t_saved_value_is_changed(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *y = ag_sum(apply1(&saving, a, &n));
    CHECK(ag_add_(a, 1));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD,
                "one of the variables needed for gradient computation has been modified by an "
                "inplace operation: [float64 [3]]");
    CHECK_INT(n.backwards, 0);
}

static void t_saved_output_is_changed(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y = apply1(&saving, x, &n);
    CHECK(ag_add_(y, 1));
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD, "modified by an inplace operation");
}

static bool reads_too_far(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)g, (void)grad_in;
    return ag_ctx_saved(ctx, 4) != NULL;
}

static void t_saved_index(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    const ag_custom f = { .name = "Far", .forward = saving_forward, .backward = reads_too_far };
    ag_tensor *y = ag_sum(apply1(&f, leaf(c), &n));
    CHECK(y);
    CHECK(!ag_backward(y));
    CHECK_INT((int64_t)ag_error(c)->code, AG_ERR_INDEX);
}

/* ---- operands that want a gradient ---- */

static bool product_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    notes *note = ag_ctx_user(ctx);
    (void)m;
    for (int i = 0; i < n; i++)
        note->needs[0][i] = ag_ctx_needs_input_grad(ctx, i);
    out[0] = ag_mul(ag_mul(in[0], in[1]), in[2]);
    return out[0] && ag_ctx_save(ctx, in, n);
}

static bool product_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    for (int i = 0; i < 3; i++) {
        note->needs[1][i] = ag_ctx_needs_input_grad(ctx, i);
        ag_tensor *a = ag_ctx_saved(ctx, (i + 1) % 3), *b = ag_ctx_saved(ctx, (i + 2) % 3);
        if (!a || !b)
            return false;
        grad_in[i] = ag_mul(g[0], ag_mul(a, b)); /* one more than is wanted */
    }
    return grad_in[2] != NULL;
}

static const ag_custom product = { .name = "Product",
                                   .forward = product_forward,
                                   .backward = product_backward };

static void t_needs_input_grad(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *w = ag_detach(leaf(c)), *z = leaf(c), *y;
    CHECK(ag_apply(&product, (ag_tensor *[]){ x, w, z }, 3, &y, 1, &n));
    CHECK(n.needs[0][0] && !n.needs[0][1] && n.needs[0][2]);
    y = ag_sum(y);
    CHECK(ag_backward(y, .inputs = &z, .n_inputs = 1, .retain_graph = true));
    CHECK(!n.needs[1][0] && !n.needs[1][1] && n.needs[1][2]);
    CHECK(!ag_grad_of(x));
    CHECK_VALUES(ag_grad_of(z), AG_SHAPE(3), AG_VALUES(1, 4, 9), 0);
    CHECK(ag_backward(y));
    CHECK(n.needs[1][0] && !n.needs[1][1] && n.needs[1][2]);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1, 4, 9), 0);
    CHECK(!ag_grad_of(w));
}

static void t_gradcheck(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y, *g[3], *in[3] = { x, leaf(c), leaf(c) }, *h[3];
    CHECK(ag_apply(&product, in, 3, &y, 1, &n));
    y = ag_sum(y);
    CHECK(ag_grad(&y, 1, in, 3, g, .create_graph = true));
    ag_tensor *s = ag_sum(g[0]);
    CHECK(ag_grad(&s, 1, in, 3, h, .allow_unused = true));
    CHECK(!h[0]);
    CHECK_VALUES(h[1], AG_SHAPE(3), AG_VALUES(1, 2, 3), 0);
    CHECK_VALUES(h[2], AG_SHAPE(3), AG_VALUES(1, 2, 3), 0);
}

/* ---- gradients of the outputs ---- */

/* Two outputs, 2 x and 3 x, of which the second may be marked. */
static bool pair_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    notes *note = ag_ctx_user(ctx);
    (void)n, (void)m;
    out[0] = ag_mul(in[0], 2);
    out[1] = note->code ? ag_argmax(in[0], 0, false) : ag_mul(in[0], 3);
    if (note->fail)
        ag_ctx_mark_non_differentiable(ctx, out[1]);
    if (note->materialize_off)
        ag_ctx_set_materialize_grads(ctx, false);
    return out[0] && out[1];
}

static bool pair_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    for (int i = 0; i < 2; i++) {
        note->seen[i] = g[i];
        note->values[i] = g[i] ? ag_item(ag_sum(g[i])) : -1;
        note->values[2 + i] = g[i] ? (double)ag_numel(g[i]) : -1;
    }
    grad_in[0] = ag_mul(g[0] ? g[0] : g[1], 2);
    return grad_in[0] != NULL;
}

static const ag_custom pair = { .name = "Pair",
                                .forward = pair_forward,
                                .backward = pair_backward };

static void t_materialized(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *out[2];
    CHECK(ag_apply(&pair, &x, 1, out, 2, &n));
    CHECK_INT(ag_output_nr(out[0]), 0);
    CHECK_INT(ag_output_nr(out[1]), 1);
    CHECK(ag_grad_fn(out[0]) == ag_grad_fn(out[1]));
    CHECK(ag_backward(ag_sum(out[0])));
    CHECK(n.seen[0] && n.seen[1]);
    CHECK_CLOSE(n.values[0], 3, 0);
    CHECK_CLOSE(n.values[1], 0, 0); /* zeros of its shape */
    CHECK_CLOSE(n.values[3], 3, 0);
}

static void t_not_materialized(ag_context *c)
{
    static notes n;
    n = (notes){ .materialize_off = true };
    ag_tensor *x = leaf(c), *out[2];
    CHECK(ag_apply(&pair, &x, 1, out, 2, &n));
    CHECK(ag_backward(ag_sum(out[0])));
    CHECK(n.seen[0] && !n.seen[1]);
    CHECK(ag_backward(ag_sum(out[1])));
    CHECK(!n.seen[0] && n.seen[1]);
}

static void t_non_differentiable(ag_context *c)
{
    for (int off = 0; off < 2; off++) {
        static notes n;
        n = (notes){ .fail = true, .materialize_off = off };
        ag_tensor *x = leaf(c), *out[2];
        CHECK(ag_apply(&pair, &x, 1, out, 2, &n));
        CHECK(ag_requires_grad(out[0]) && !ag_requires_grad(out[1]));
        CHECK(!ag_grad_fn(out[1]) && ag_is_leaf(out[1]));
        CHECK(ag_backward(ag_sum(ag_mul(out[0], out[1]))));
        CHECK(off ? !n.seen[1] : n.seen[1] && n.values[1] == 0 && n.values[3] == 3);
        CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(6, 12, 18), 0);
    }
}

static void t_integer_output(ag_context *c)
{
    static notes n;
    n = (notes){ .code = AG_ERR_DTYPE };
    ag_tensor *x = leaf(c), *out[2];
    CHECK(ag_apply(&pair, &x, 1, out, 2, &n));
    CHECK_INT((int64_t)ag_dtype_of(out[1]), AG_I64);
    CHECK(!ag_requires_grad(out[1]) && !ag_grad_fn(out[1]));
    CHECK(ag_backward(ag_sum(out[0])));
    CHECK(n.seen[1] && n.values[1] == 0 && n.values[3] == 1);
}

/* ---- gradients of the inputs ---- */

static bool answers_other(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    (void)g;
    note->backwards++;
    grad_in[0] = note->other;
    return true;
}

static const ag_custom answering = { .name = "F",
                                     .forward = twice_forward,
                                     .backward = answers_other };

static void t_wrong_shapes(ag_context *c)
{
    ag_tensor *x = leaf(c), *m = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_F64, .requires_grad = true);
    static notes n;
    n = (notes){ .other = ag_ones(c, AG_SHAPE(10), .dtype = AG_F64) };
    ag_tensor *y = ag_sum(apply1(&answering, x, &n));
    WATCH(x);
    CHECK_ERROR(ag_backward(y), AG_ERR_SHAPE,
                "Function FBackward returned an invalid gradient at index 0 - got [10] but "
                "expected shape compatible with [3]");
    UNWATCH();
    n.other = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64); /* fewer dimensions do not do */
    y = ag_sum(apply1(&answering, m, &n));
    CHECK_ERROR(ag_backward(y), AG_ERR_SHAPE,
                "Function FBackward returned an invalid gradient at index 0 - got [3] but expected "
                "shape compatible with [2, 3]");
    n.other = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_F64);
    CHECK_ERROR(ag_backward(y), AG_ERR_SHAPE,
                "got [2, 2] but expected shape compatible with [2, 3]");
}

/* Gradients of a shape that the operand broadcasts to are summed; dtypes are brought to the operand's. */
static void t_repaired(ag_context *c)
{
    ag_tensor *x = leaf(c),
              *row = ag_ones(c, AG_SHAPE(1, 3), .dtype = AG_F64, .requires_grad = true);
    static notes n;
    n = (notes){ .other = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_F64) };
    CHECK(ag_backward(ag_sum(apply1(&answering, x, &n))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 2, 2), 0);
    n.other = ag_ones(c, AG_SHAPE(4, 3), .dtype = AG_F64);
    CHECK(ag_backward(ag_sum(apply1(&answering, row, &n))));
    CHECK_VALUES(ag_grad_of(row), AG_SHAPE(1, 3), AG_VALUES(4, 4, 4), 0);
    ag_zero_grad(x);
    n.other = ag_ones(c, AG_SHAPE(3), .dtype = AG_F32);
    CHECK(ag_backward(ag_sum(apply1(&answering, x, &n))));
    CHECK_INT((int64_t)ag_dtype_of(ag_grad_of(x)), AG_F64);
    ag_zero_grad(x);
    n.other = ag_ones(c, AG_SHAPE(3), .dtype = AG_I64);
    CHECK(ag_backward(ag_sum(apply1(&answering, x, &n))));
    CHECK_INT((int64_t)ag_dtype_of(ag_grad_of(x)), AG_F64);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1, 1, 1), 0);
}

/* No gradient is none, also behind the operations before, and not zeros. */
static void t_undefined_gradient(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y, *g;
    CHECK(ag_backward(ag_sum(apply1(&answering, x, &n))));
    CHECK(!ag_grad_of(x));
    CHECK(ag_backward(ag_sum(apply1(&answering, ag_mul(x, x), &n))));
    CHECK(!ag_grad_of(x));
    CHECK_INT(n.backwards, 2);
    y = ag_sum(apply1(&answering, x, &n));
    CHECK(ag_grad(&y, 1, &x, 1, &g, .allow_unused = true, .retain_graph = true));
    CHECK(!g);
    CHECK(ag_grad(&y, 1, &x, 1, &g, .materialize_grads = true));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(0, 0, 0), 0);
}

/* ---- once differentiable ---- */

static void t_once_differentiable(ag_context *c)
{
    static notes n;
    n = (notes){ .grad_enabled = { true, true } };
    const ag_custom once = { .name = "Once",
                             .forward = twice_forward,
                             .backward = twice_backward,
                             .once_differentiable = true };
    ag_tensor *x = leaf(c), *y = apply1(&once, x, &n), *v = ag_ones_like(x), *g;
    CHECK(ag_requires_grad_(v, true));
    CHECK(ag_grad(&y, 1, &x, 1, &g, .grad_outputs = &v, .create_graph = true));
    CHECK(!n.grad_enabled[1]);
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(2, 2, 2), 0);
    CHECK(ag_requires_grad(g));
    g = ag_sum(g);
    CHECK_ERROR(ag_backward(g), AG_ERR_GRAD,
                "trying to differentiate twice a function that was marked with "
                "@once_differentiable");
    ag_tensor *z = ag_sum(ag_mul(apply1(&once, x, &n), x));
    CHECK(ag_backward(z)); /* once is fine */
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(4, 8, 12), 0);
}

/* ---- written in place ---- */

static bool dirty_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    notes *note = ag_ctx_user(ctx);
    (void)n;
    if (!ag_mul_(in[0], 2))
        return false;
    ag_ctx_mark_dirty(ctx, in[0]);
    out[0] = note->fail ? ag_mul(in[0], 1) : in[0];
    if (m > 1)
        out[1] = ag_mul(in[0], 3);
    return out[0] && (m < 2 || out[1]);
}

static bool dirty_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    note->backwards++;
    grad_in[0] = ag_mul(note->materialize_off ? ag_add(g[0], ag_mul(g[1], 3)) : g[0], 2);
    return grad_in[0] != NULL;
}

static const ag_custom dirty = {
    .name = "Dirty", .forward = dirty_forward, .backward = dirty_backward, .free_user = count_free
};

static void t_dirty(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *b, *g;
    const int64_t version = ag_version(a);
    CHECK(b = apply1(&dirty, a, &n));
    CHECK(b == a);
    CHECK_TEXT(ag_node_name(ag_grad_fn(a)), "DirtyBackward");
    CHECK(ag_version(a) > version);
    CHECK_VALUES(a, AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
    b = ag_sum(a);
    CHECK(ag_grad(&b, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(2, 2, 2), 0);
}

static void t_dirty_without_graph(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *a = ag_detach(leaf(c)), *b = apply1(&dirty, a, &n);
    CHECK(b == a && !ag_requires_grad(a));
    CHECK_INT(n.frees, 1);
}

static void t_dirty_two_outputs(ag_context *c)
{
    static notes n;
    n = (notes){ .materialize_off = true };
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *out[2], *s, *g;
    CHECK(ag_apply(&dirty, &a, 1, out, 2, &n));
    CHECK(out[0] == a);
    s = ag_sum(ag_add(out[0], out[1]));
    CHECK(ag_grad(&s, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(8, 8, 8), 0);
}

static bool add_into_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    if (!ag_add_(in[0], in[1]))
        return false;
    ag_ctx_mark_dirty(ctx, in[0]);
    out[0] = in[0];
    return true;
}

static bool add_into_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx;
    grad_in[0] = grad_in[1] = g[0];
    return true;
}

/* A leaf without a gradient becomes the result. */
static void t_dirty_leaf_joins_the_graph(ag_context *c)
{
    const ag_custom f = { .name = "AddInto",
                          .forward = add_into_forward,
                          .backward = add_into_backward };
    ag_tensor *x = leaf(c), *a = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64), *y, *g;
    CHECK(ag_apply(&f, (ag_tensor *[]){ a, x }, 2, &y, 1, NULL));
    CHECK(y == a && ag_requires_grad(a) && !ag_is_leaf(a));
    y = ag_sum(a);
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(1, 1, 1), 0);
}

static void t_dirty_errors(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *out[2];
    CHECK_ERROR(apply1(&dirty, x, &n), AG_ERR_GRAD,
                "a leaf Variable that requires grad has been used in an in-place operation.");
    CHECK_INT(n.frees, 1);
    CHECK_ERROR(apply1(&dirty, ag_narrow(x, 0, 0, 2), &n), AG_ERR_GRAD,
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation.");
    n.fail = true;
    CHECK_ERROR(apply1(&dirty, ag_mul(x, 1), &n), AG_ERR_GRAD,
                "Some elements marked as dirty during the forward method were not returned as "
                "output. The inputs that are modified inplace must all be outputs of the "
                "Function.");
    n.fail = false;
    ag_tensor *view = ag_narrow(ag_mul(x, 1), 0, 0, 2);
    CHECK_ERROR(ag_apply(&dirty, &view, 1, out, 2, &n), AG_ERR_GRAD,
                "If your Function modifies inplace an input that is a view of another Tensor, your "
                "Function cannot return more than one Tensor.");
    CHECK_INT(n.frees, 4);
}

/* The view's function becomes a part of the base's history. */
static void t_dirty_view(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *base = ag_mul(x, 1), *v = ag_narrow(base, 0, 0, 2), *w, *s, *g;
    CHECK(w = apply1(&dirty, v, &n));
    CHECK(w == v);
    CHECK_TEXT(ag_node_name(ag_grad_fn(base)), "CopySlices");
    CHECK_VALUES(base, AG_SHAPE(3), AG_VALUES(2, 4, 3), 0);
    s = ag_sum(base);
    CHECK(ag_grad(&s, 1, &x, 1, &g, .retain_graph = true));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(2, 2, 1), 0);
    s = ag_sum(v);
    CHECK(ag_grad(&s, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(2, 2, 0), 0);
}

/* ---- operands returned, views returned ---- */

static bool same_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    notes *note = ag_ctx_user(ctx);
    (void)n;
    if (m == 2) {
        out[0] = ag_narrow(in[0], 0, 0, 2);
        out[1] = ag_narrow(in[0], 0, 2, 1);
        return out[0] && out[1];
    }
    out[0] = note->fail ? ag_narrow(in[0], 0, 0, 2) : in[0];
    return out[0] != NULL;
}

static bool same_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    (void)ctx;
    note->backwards++;
    if (note->materialize_off)
        grad_in[0] = ag_cat(g, 2, 0);
    else if (note->fail)
        grad_in[0] =
            ag_cat((ag_tensor *[]){ ag_mul(g[0], 5),
                                    ag_zeros(ag_context_of(g[0]), AG_SHAPE(1), .dtype = AG_F64) },
                   2, 0);
    else
        grad_in[0] = ag_mul(g[0], 5);
    return grad_in[0] != NULL;
}

static const ag_custom same = { .name = "Same",
                                .forward = same_forward,
                                .backward = same_backward };

static void t_input_returned(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y;
    CHECK(y = apply1(&same, x, &n));
    CHECK(y != x);
    CHECK(ag_data(y) == ag_data(x));
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "SameBackward");
    CHECK(ag_is_view(y) && ag_base_of(y) == x);
    CHECK(ag_is_leaf(x));
    CHECK(ag_backward(ag_sum(ag_mul(y, x))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(6, 12, 18), 0); /* 5 x + y */
    CHECK_INT(n.backwards, 1);
}

static void t_input_returned_without_graph(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y = NULL;
    AG_NO_GRAD (c)
        CHECK(y = apply1(&same, x, &n));
    CHECK(!ag_requires_grad(y) && !ag_grad_fn(y) && ag_data(y) == ag_data(x));
    CHECK(ag_requires_grad(x));
}

static const char created_inside[] =
    "This view was created inside a custom Function (or because an input was returned as-is) and "
    "the autograd logic to handle view+inplace would override the custom backward associated with "
    "the custom Function, leading to incorrect gradients. This behavior is forbidden. You can fix "
    "this by cloning the output of the custom Function.";

static void t_returned_is_not_written(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *y;
    CHECK(y = apply1(&same, a, &n));
    CHECK_ERROR(ag_mul_(y, 2), AG_ERR_GRAD, "is a view and is being modified inplace.");
    CHECK_ERROR(ag_mul_(y, 2), AG_ERR_GRAD, created_inside);
    CHECK(ag_mul_(a, 2));
    CHECK_ERROR(ag_sum(y), AG_ERR_GRAD,
                "is a view and its base or another view of its base has been modified inplace.");
}

static void t_view_returned(ag_context *c)
{
    static notes n;
    n = (notes){ .fail = true };
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *y, *s, *g;
    CHECK(y = apply1(&same, a, &n));
    CHECK(ag_is_view(y));
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "SameBackward");
    s = ag_sum(y);
    CHECK(ag_grad(&s, 1, &x, 1, &g, .retain_graph = true));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(5, 5, 0), 0);
    CHECK_ERROR(ag_mul_(y, 2), AG_ERR_GRAD, created_inside);
}

static void t_views_returned(ag_context *c)
{
    static notes n;
    n = (notes){ .materialize_off = true };
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *y[2], *s, *g;
    CHECK(ag_apply(&same, &a, 1, y, 2, &n));
    s = ag_add(ag_sum(y[0]), ag_mul(ag_sum(y[1]), 2));
    CHECK(ag_grad(&s, 1, &x, 1, &g, .retain_graph = true));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(1, 1, 2), 0);
    CHECK_ERROR(ag_mul_(y[0], 2), AG_ERR_GRAD,
                "This view is the output of a function that returns multiple views. Such functions "
                "do not allow the output views to be modified inplace. You should replace the "
                "inplace operation by an out-of-place one.");
}

/* One tensor twice: it is the last of the outputs that it stands for. */
static bool double_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)n, (void)m;
    out[0] = out[1] = ag_mul(in[0], 2);
    return out[0] != NULL;
}

static bool double_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    for (int i = 0; i < 2; i++)
        note->values[i] = ag_item(ag_sum(g[i]));
    grad_in[0] = ag_mul(ag_add(g[0], g[1]), 2);
    return grad_in[0] != NULL;
}

static void t_output_twice(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    const ag_custom f = { .name = "Double",
                          .forward = double_forward,
                          .backward = double_backward };
    ag_tensor *x = leaf(c), *y[2];
    CHECK(ag_apply(&f, &x, 1, y, 2, &n));
    CHECK(y[0] == y[1]);
    CHECK_INT(ag_output_nr(y[0]), 1);
    CHECK(ag_backward(ag_sum(ag_add(y[0], y[1]))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(4, 4, 4), 0);
    CHECK_CLOSE(n.values[0], 0, 0);
    CHECK_CLOSE(n.values[1], 6, 0);
}

/* ---- callbacks that fail ---- */

static bool failing_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    notes *note = ag_ctx_user(ctx);
    (void)n, (void)m;
    out[0] = ag_mul(in[0], 2);
    return note->code && ag_fail(ag_ctx_context(ctx), note->code, "the forward is tired");
}

static bool failing_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    grad_in[0] = ag_mul(g[0], 2);
    return note->code && ag_fail(ag_ctx_context(ctx), note->code, "the backward is tired");
}

static bool empty_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)in, (void)n, (void)m, (void)out;
    return true;
}

static void t_forward_fails(ag_context *c)
{
    static notes n;
    n = (notes){ .code = AG_ERR_IO };
    const ag_custom f = { .name = "Tired",
                          .forward = failing_forward,
                          .backward = failing_backward,
                          .free_user = count_free };
    const ag_custom empty = { .name = "Empty",
                              .forward = empty_forward,
                              .backward = failing_backward,
                              .free_user = count_free };
    ag_tensor *x = leaf(c);
    CHECK_ERROR(apply1(&f, x, &n), AG_ERR_IO, "the forward is tired");
    CHECK_INT(n.frees, 1);
    n.code = AG_OK;
    CHECK(!apply1(&f, x, &n)); /* without a message of its own */
    CHECK(ag_error(c) && strstr(ag_error(c)->message, "Tired"));
    ag_error_clear(c);
    CHECK_INT(n.frees, 2);
    CHECK(!apply1(&empty, x, &n));
    CHECK(ag_error(c) && strstr(ag_error(c)->message, "Empty"));
    ag_error_clear(c);
    CHECK_INT(n.frees, 3);
}

static void t_backward_fails(ag_context *c)
{
    static notes n;
    n = (notes){ .code = AG_ERR_IO };
    const ag_custom f = { .name = "Tired", .forward = twice_forward, .backward = failing_backward };
    ag_tensor *x = leaf(c), *y = ag_sum(apply1(&f, ag_mul(x, x), &n));
    WATCH(x);
    CHECK_ERROR(ag_backward(y), AG_ERR_IO, "the backward is tired");
    n.code = AG_OK;
    CHECK(!ag_backward(y));
    CHECK(ag_error(c) && strstr(ag_error(c)->message, "TiredBackward"));
    UNWATCH();
    ag_error_clear(c);
    CHECK(ag_grad_enabled(c));
    /* the product's saved values are still there */
    CHECK(ag_backward(ag_sum(ag_mul(x, x))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
}

static void t_bad_calls(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_tensor *x = leaf(c), *y;
    CHECK(!ag_apply(&twice, (ag_tensor *[]){ NULL }, 1, &y, 1, &n));
    CHECK(!ag_error(c));
    const ag_custom no_forward = { .name = "Bare", .backward = twice_backward };
    CHECK_ERROR(apply1(&no_forward, x, &n), AG_ERR_VALUE, "forward");
}

static bool saves_many(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)m;
    out[0] = in[0];
    for (int i = 0; i < 2; i++)
        if (!ag_ctx_save(ctx, in, n))
            return false;
    return true;
}

/* A node counts its operands, results and saved values in 16 bits. */
static void t_too_many(ag_context *c)
{
    enum { MANY = 70000 };
    static ag_tensor *many[MANY];
    static notes n;
    n = (notes){ 0 };
    const ag_custom f = { .name = "Many", .forward = saves_many, .free_user = count_free };
    ag_tensor *x = leaf(c), *y;
    CHECK(x);
    for (int i = 0; i < MANY; i++)
        many[i] = x;
    CHECK_ERROR(ag_apply(&f, many, MANY, &y, 1, &n), AG_ERR_VALUE,
                "ag_apply: 70000 inputs and 1 outputs: a node has 65535 at most");
    CHECK_ERROR(ag_apply(&f, many, MANY / 2, &y, 1, &n), AG_ERR_VALUE,
                "ag_ctx_save: a node saves 65535 values at most");
    CHECK_INT(n.frees, 2);
}

/* ---- passes and functions inside ---- */

/* Computes its gradient by a pass of its own over x w. */
static bool reenter_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    ag_context *c = ag_ctx_context(ctx);
    note->backwards++;
    AG_ENABLE_GRAD (c) {
        ag_tensor *x = ag_requires_grad_(ag_detach(note->other), true), *y, *inner;
        y = ag_sum(ag_mul(ag_mul(x, x), note->seen[1]));
        if (!ag_grad(&y, 1, &x, 1, &inner))
            return false;
        if (note->fail && !ag_backward(ag_sum(ag_mul(note->seen[1], note->seen[1]))))
            return false;
        grad_in[0] = ag_mul(g[0], inner);
    }
    return grad_in[0] != NULL;
}

static void t_pass_inside(ag_context *c)
{
    static notes n;
    n = (notes){ .fail = true };
    const ag_custom f = { .name = "Reenter",
                          .forward = twice_forward,
                          .backward = reenter_backward };
    ag_tensor *x = leaf(c), *w = leaf(c);
    n.other = x;
    n.seen[1] = w;
    ag_tensor *y = ag_sum(ag_add(apply1(&f, ag_mul(x, 1), &n), ag_mul(w, x)));
    CHECK(ag_backward(y));
    /* w got 2 w in the pass inside, and x */
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(3), AG_VALUES(3, 6, 9), 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(3, 10, 21), 0); /* 2 x w + w */
    CHECK(ag_grad_enabled(c));
}

/* The pass inside fails, and with it the one around it. */
static bool reenter_failing(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    notes *note = ag_ctx_user(ctx);
    grad_in[0] = g[0];
    return ag_backward(note->other);
}

static void t_error_inside(ag_context *c)
{
    static notes n;
    n = (notes){ .code = AG_ERR_IO };
    const ag_custom tired = { .name = "Tired",
                              .forward = twice_forward,
                              .backward = failing_backward };
    const ag_custom f = { .name = "Reenter",
                          .forward = twice_forward,
                          .backward = reenter_failing };
    ag_tensor *a = leaf(c), *b = leaf(c);
    n.other = ag_sum(apply1(&tired, ag_mul(b, b), &n));
    ag_tensor *y = ag_sum(apply1(&f, ag_mul(a, a), &n));
    WATCH(a);
    WATCH(b);
    CHECK_ERROR(ag_backward(y), AG_ERR_IO, "the backward is tired");
    UNWATCH();
}

/* A function whose forward and backward apply another one. */
static bool outer_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)m;
    return ag_apply(&twice, in, n, out, 1, ag_ctx_user(ctx)) && ag_ctx_save(ctx, in, 1);
}

static bool outer_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    return ag_apply(&twice, g, 1, grad_in, 1, ag_ctx_user(ctx));
}

static void t_function_inside(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    const ag_custom f = { .name = "Outer",
                          .forward = outer_forward,
                          .backward = outer_backward,
                          .free_user = count_free };
    AG_SCOPE (c) {
        ag_tensor *x = leaf(c), *y = apply1(&f, x, &n), *g, *h, *v = ag_ones_like(x);
        CHECK(y);
        CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "OuterBackward");
        CHECK(ag_requires_grad_(v, true));
        CHECK(ag_grad(&y, 1, &x, 1, &g, .grad_outputs = &v, .create_graph = true));
        CHECK_TEXT(ag_node_name(ag_grad_fn(g)), "TwiceBackward");
        g = ag_sum(g);
        CHECK(ag_grad(&g, 1, &v, 1, &h));
        CHECK_VALUES(h, AG_SHAPE(3), AG_VALUES(2, 2, 2), 0);
    }
    CHECK_INT(n.forwards, 2);
    CHECK_INT(n.frees, 3);
}

/* ---- forward mode ---- */

static bool saving_jvp(ag_ctx *ctx, ag_tensor *const *tangents, ag_tensor **out)
{
    notes *note = ag_ctx_user(ctx);
    note->forwards++;
    if (note->code)
        return ag_fail(ag_ctx_context(ctx), note->code, "the tangent is tired");
    ag_tensor *y = ag_ctx_saved(ctx, 2), *e = ag_ctx_saved(ctx, 3);
    out[0] = ag_mul(tangents[0], ag_add(e, y));
    return out[0] != NULL;
}

static const ag_custom *jvp_of; /* what fn_of_custom applies */

static bool fn_of_custom(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    return ag_apply(jvp_of, in, n, out, m, user);
}

/* By the function's own rule, or else by that of backward if it can be differentiated. */
static void t_jvp(ag_context *c)
{
    static notes n;
    n = (notes){ 0 };
    ag_custom f = saving;
    ag_tensor *x = leaf(c), *v = ag_ones_like(x), *y, *t;
    jvp_of = &f;
    for (int own = 0; own < 2; own++) {
        f.jvp = own ? saving_jvp : NULL;
        n = (notes){ .fail = true };
        CHECK(ag_jvp(fn_of_custom, &x, 1, &v, &y, 1, &t, &n));
        CHECK_INT(n.forwards, own);
        for (int i = 0; i < 3; i++) {
            CHECK_CLOSE(ag_at(y, i), exp(i + 1) * (i + 1), 1e-14);
            CHECK_CLOSE(ag_at(t, i), exp(i + 1) * (i + 2), 1e-14);
        }
    }
    n.code = AG_ERR_IO;
    CHECK_ERROR(ag_jvp(fn_of_custom, &x, 1, &v, &y, 1, &t, &n), AG_ERR_IO, "the tangent is tired");
    f.jvp = NULL;
    f.once_differentiable = true;
    CHECK_ERROR(ag_jvp(fn_of_custom, &x, 1, &v, &y, 1, &t, &n), AG_ERR_GRAD,
                "You must implement the jvp function for custom autograd.Function to use it with "
                "forward mode AD.");
}

/* ---- long chains ---- */

static bool sum_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)n, (void)m;
    out[0] = ag_add(in[0], in[1]);
    return out[0] != NULL;
}

static bool sum_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx;
    grad_in[0] = g[0];
    return true;
}

static const ag_custom sum = {
    .name = "Sum", .forward = sum_forward, .backward = sum_backward, .free_user = count_free
};

static void t_deep_chain(ag_context *c)
{
    const int depth = harness_faults() ? 20 : 100000;
    for (int run = 0; run < 2; run++) { /* run backwards; only freed */
        static notes n;
        n = (notes){ 0 };
        ag_scope *s = ag_scope_begin(c);
        CHECK(s);
        ag_tensor *x = leaf(c), *y = ag_mul(x, 1);
        for (int i = 0; i < depth; i++) {
            ag_tensor *z = NULL;
            CHECK(ag_apply(&sum, (ag_tensor *[]){ y, y }, 2, &z, 1, &n));
            ag_drop(y);
            y = z;
        }
        if (run == 0) {
            CHECK(ag_backward(ag_sum(y)));
            CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1, 1, 1), 0);
        }
        ag_scope_end(s);
        CHECK_INT(n.frees, depth);
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_plain), TEST(t_no_graph), TEST(t_double_backward), TEST(t_saving),
               TEST(t_saved_value_is_changed), TEST(t_saved_output_is_changed), TEST(t_saved_index),
               TEST(t_needs_input_grad), TEST(t_gradcheck), TEST(t_materialized),
               TEST(t_not_materialized), TEST(t_non_differentiable), TEST(t_integer_output),
               TEST(t_wrong_shapes), TEST(t_repaired), TEST(t_undefined_gradient),
               TEST(t_once_differentiable), TEST(t_dirty), TEST(t_dirty_without_graph),
               TEST(t_dirty_two_outputs), TEST(t_dirty_leaf_joins_the_graph), TEST(t_dirty_errors),
               TEST(t_dirty_view), TEST(t_input_returned), TEST(t_input_returned_without_graph),
               TEST(t_returned_is_not_written), TEST(t_view_returned), TEST(t_views_returned),
               TEST(t_output_twice), TEST(t_forward_fails), TEST(t_backward_fails),
               TEST(t_bad_calls), TEST(t_too_many), TEST(t_pass_inside), TEST(t_error_inside),
               TEST(t_function_inside), TEST(t_jvp), TEST(t_deep_chain));
}
