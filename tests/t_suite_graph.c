/* What PyTorch's own tests say of passes, told again for this library: edges, hooks and retained
 * gradients beside writes, functions with rules of their own that start passes, saved values and what
 * hooks make of them, checkpoints inside gradients. */
#include "harness.h"

static ag_tensor *leaf(ag_context *c, double v)
{
    return ag_scalar(c, v, .dtype = AG_F64, .requires_grad = true);
}
static ag_tensor *vector(ag_context *c, int n, double v)
{
    return ag_full(c, AG_SHAPE(n), v, .dtype = AG_F64, .requires_grad = true);
}
static double grad_of(ag_tensor *t)
{
    ag_tensor *g = ag_grad_of(t);
    return g ? ag_item(ag_sum(g)) : NAN;
}
static ag_tensor *derivative(ag_tensor *y, ag_tensor *x, bool create_graph)
{
    ag_tensor *g;
    return y && ag_grad(&y, 1, &x, 1, &g, .create_graph = create_graph) ? g : NULL;
}
/* The node that operand i of t's node leads to. */
static ag_node *behind(ag_tensor *t, int i)
{
    return t ? ag_node_next(ag_grad_fn(t), i, NULL) : NULL;
}

/* A hook that counts, sees and multiplies. */
typedef struct {
    int calls;
    double seen, factor;
} counter;
static ag_tensor *count(ag_tensor *g, void *user)
{
    counter *n = user;
    n->calls++;
    n->seen = g ? ag_item(ag_sum(g)) : NAN;
    return n->factor != 0 ? ag_mul(g, n->factor) : NULL;
}
static void count_node(ag_tensor **in, int n_in, ag_tensor *const *out, int n_out, void *user)
{
    (void)in, (void)n_in, (void)out, (void)n_out;
    ((counter *)user)->calls++;
}

/* x itself; backward fails */
static bool copy_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)n, (void)m;
    return (out[0] = ag_clone(in[0])) != NULL;
}
static bool boom_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)g, (void)grad_in;
    return ag_fail(ag_ctx_context(ctx), AG_ERR_VALUE, "Boom!");
}
static const ag_custom boom = { .name = "Boom",
                                .forward = copy_forward,
                                .backward = boom_backward };

/* ---- which nodes run ---- */

static ag_tensor *written_with(ag_tensor *x, ag_tensor *y, bool use_before)
{
    ag_tensor *out = ag_view(ag_clone(x), AG_SHAPE(-1));
    ag_tensor *before = use_before ? ag_mul(out, 2) : NULL;
    out = out && ag_add_(out, y) ? out : NULL;
    return ag_sum(use_before ? ag_add(out, before) : out);
}
/* The rule of a write runs inside CopySlices, which asks it for the gradients of this pass only. */
static void t_copy_slices_run_what_is_wanted(ag_context *c)
{
    ag_tensor *x = vector(c, 2, 1), *y = vector(c, 2, 3), *safe, *out, *g[2];
    CHECK(x && y && ag_apply(&boom, &y, 1, &safe, 1, NULL));
    for (int i = 0; i < 2; i++) {
        CHECK((out = written_with(x, safe, i)));
        CHECK_ERROR(ag_backward(out), AG_ERR_VALUE, "Boom!");
        CHECK(!ag_grad_of(x));
        CHECK((out = written_with(x, safe, i)));
        CHECK_ERROR(ag_grad(&out, 1, &y, 1, g), AG_ERR_VALUE, "Boom!");
        CHECK((out = written_with(x, safe, i)) && ag_grad(&out, 1, &x, 1, g));
        CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(i ? 3 : 1, i ? 3 : 1), 0);
        CHECK((out = written_with(x, safe, i)) && ag_grad(&out, 1, &safe, 1, g));
        ag_tensor *two[] = { x, safe };
        CHECK((out = written_with(x, safe, i)) && ag_grad(&out, 1, two, 2, g));
        CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(1, 1), 0);
    }
}

static void t_copy_slices_do_not_look_behind(ag_context *c)
{
    ag_tensor *x = vector(c, 2, 1), *y = vector(c, 2, 3), *out, *g[2];
    counter n = { 0 };
    CHECK(x && y && (out = ag_view(ag_clone(x), AG_SHAPE(-1))) && ag_register_hook(out, count, &n));
    ag_tensor *b = ag_add(out, y), *inputs[] = { b, y };
    CHECK(b && ag_add_(out, y));
    ag_tensor *sum = ag_sum(ag_add(out, b));
    CHECK(sum && ag_grad(&sum, 1, inputs, 2, g));
    CHECK_INT(n.calls, 0);
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(2, 2), 0);
}

static void t_unreachable_inputs_run_nothing(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = leaf(c, 1), *z = leaf(c, 1), *bad, *g[2];
    ag_tensor *twice = ag_mul(x, 2), *inputs[] = { y, z };
    CHECK(y && z && twice && ag_apply(&boom, &twice, 1, &bad, 1, NULL));
    CHECK(ag_grad(&bad, 1, &y, 1, g, .allow_unused = true) && !g[0]);
    ag_tensor *sum = ag_add(bad, z);
    CHECK(sum && ag_grad(&sum, 1, inputs, 2, g, .allow_unused = true));
    CHECK(!g[0] && ag_item(g[1]) == 1);
    CHECK(ag_backward(bad, .inputs = &y, .n_inputs = 1));
    CHECK(!ag_grad_of(y));
}

/* What a leaf wants is asked when a pass comes to it. */
static void t_leaves_that_want_no_gradient_any_more(ag_context *c)
{
    ag_tensor *x = vector(c, 2, 3), *w = vector(c, 2, 1), *y = ag_sum(ag_mul(x, w));
    counter n = { 0 };
    CHECK(y && ag_register_hook(x, count, &n) && ag_requires_grad_(x, false));
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK(!ag_grad_of(x) && n.calls == 1);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(3, 3), 0);
    ag_tensor *g;
    CHECK_ERROR(ag_grad(&y, 1, &x, 1, &g, .retain_graph = true), AG_ERR_GRAD,
                "One of the differentiated Tensors does not require grad");
    CHECK(ag_requires_grad_(x, true) && ag_backward(y, .retain_graph = true));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK(ag_detach_(x) && ag_backward(y, .retain_graph = true));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

static void t_leaves_that_became_results(ag_context *c)
{
    ag_tensor *x = vector(c, 2, 3), *w = vector(c, 2, 1), *y = ag_sum(ag_mul(x, 2));
    CHECK(y && w && ag_requires_grad_(x, false) && ag_add_(x, w));
    CHECK(!ag_is_leaf(x));
    CHECK_ERROR(ag_backward(y, .retain_graph = true), AG_ERR_GRAD,
                "leaf variable has been moved into the graph interior");
    CHECK(!ag_grad_of(x) && ag_backward(ag_sum(x)));
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

static void t_places_before_and_after_a_write(ag_context *c)
{
    ag_tensor *x = ag_clone(vector(c, 2, 1)), *old = ag_gradient_edge(x), *g[2];
    CHECK(old && ag_mul_(x, 2));
    ag_tensor *sum = ag_sum(x), *inputs[] = { old, x };
    CHECK(sum && ag_grad(&sum, 1, inputs, 2, g));
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

static void t_passes_in_two_steps(ag_context *c)
{
    ag_tensor *x =
        ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *middle = ag_cos(ag_sin(x)), *out = ag_sum(ag_sin(ag_exp(middle)));
    ag_tensor *edge = ag_gradient_edge(middle),
              *at_once = ag_sum(ag_sin(ag_exp(ag_cos(ag_sin(x)))));
    ag_tensor *whole, *half, *rest, *wrong = ag_ones(c, AG_SHAPE(4), .dtype = AG_F64);
    CHECK(edge && wrong && (whole = derivative(at_once, x, false)));
    CHECK(ag_grad(&out, 1, &edge, 1, &half));
    CHECK_ERROR(ag_grad(&edge, 1, &x, 1, &rest), AG_ERR_GRAD,
                "grad can be implicitly created only for scalar outputs");
    CHECK_ERROR(ag_grad(&edge, 1, &x, 1, &rest, .grad_outputs = &wrong), AG_ERR_SHAPE,
                "Mismatch in shape: grad_output[0] has a shape of [4] and output[0] has a shape of "
                "[2].");
    CHECK(ag_grad(&edge, 1, &x, 1, &rest, .grad_outputs = &half));
    CHECK_VALUES(rest, AG_SHAPE(2), AG_VALUES(ag_at(whole, 0), ag_at(whole, 1)), 1e-15);
}

static void t_gradients_in_shards(ag_context *c)
{
    ag_tensor *leaves[6], *middle[6], *d[6], *loss = NULL;
    for (int i = 0; i < 6; i++) {
        CHECK((leaves[i] = ag_zeros(c, AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true)));
        CHECK((middle[i] = ag_add(ag_mul(leaves[i], i), ag_mul(leaves[i], leaves[i]))));
        ag_tensor *part = ag_sum(ag_mul(middle[i], i));
        CHECK((loss = loss ? ag_add(loss, part) : part));
    }
    for (int i = 0; i < 6; i += 2) /* the first frees nothing that the others need */
        CHECK(ag_grad(&loss, 1, middle + i, 2, d + i));
    CHECK(ag_backward_all(middle, 6, .gradients = d));
    for (int i = 0; i < 6; i++)
        CHECK_VALUES(ag_grad_of(leaves[i]), AG_SHAPE(2), AG_VALUES(i * i, i * i), 0);
}

static void t_long_branches_do_not_share_buffers(ag_context *c)
{
    ag_tensor *x = vector(c, 2, 1), *y = vector(c, 2, 1);
    CHECK(x && y);
    ag_tensor *p = ag_add(x, 2), *q = ag_add(y, 2), *r = ag_add(x, 2), *s = ag_add(ag_add(p, q), r);
    for (int i = 0; i < 4; i++)
        CHECK((p = ag_mul(p, 2)) && (q = ag_mul(q, 2)) && (r = ag_mul(r, 2)));
    ag_tensor *out = ag_add(s, ag_add(ag_add(p, q), r)), *g = ag_ones_like(out);
    CHECK(g && ag_backward(out, .gradient = g));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(34, 34), 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(17, 17), 0);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(1, 1), 0); /* what is given stays as it is */
}

static void t_nothing_to_sum_is_zero(ag_context *c)
{
    ag_tensor *a = ag_zeros(c, AG_SHAPE(4, 0), .dtype = AG_F64, .requires_grad = true),
              *b = ag_ones(c, AG_SHAPE(4, 1), .dtype = AG_F64, .requires_grad = true);
    CHECK(a && b && ag_backward(ag_sum(ag_add(a, b))));
    CHECK_VALUES(ag_grad_of(b), AG_SHAPE(4, 1), AG_VALUES(0, 0, 0, 0), 0);
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(4, 0), AG_VALUES(), 0);
}

static void t_three_derivatives_of_a_product(ag_context *c)
{
    ag_tensor *x = leaf(c, .5), *a = leaf(c, 1), *y = ag_mul(x, a), *d, *none, *zero;
    CHECK(y && (d = derivative(y, x, true)));
    CHECK(ag_grad(&d, 1, &x, 1, &none, .create_graph = true, .allow_unused = true) && !none);
    CHECK(ag_grad(&d, 1, &x, 1, &zero, .create_graph = true, .materialize_grads = true));
    CHECK_CLOSE(ag_item(zero), 0, 0);
    CHECK(ag_requires_grad(zero)); /* so that it can be differentiated once more */
    CHECK(ag_grad(&zero, 1, &x, 1, &d, .materialize_grads = true));
    CHECK_CLOSE(ag_item(d), 0, 0);
}

/* Rows of a mean go from where an element was found to numbers: integers lead nowhere. */
static void t_indices_are_outside_the_graph(ag_context *c)
{
    ag_tensor *x =
        ag_array(c, AG_VALUES(1, 3, 2, 0), AG_SHAPE(2, 2), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *a = ag_mul(x, 2), *at, *sorted, *order;
    CHECK(a && ag_max_dim(a, 1, true, NULL, &at) && ag_sort(a, 1, false, &sorted, &order));
    CHECK(!ag_requires_grad(at) && !ag_requires_grad(order) && ag_requires_grad(sorted));
    CHECK(!ag_requires_grad(ag_argmin(a, 0, false)) && !ag_requires_grad(ag_count_nonzero(a)));
    CHECK(ag_backward(ag_sum(ag_add(ag_to(at, AG_F64), a))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2, 2), AG_VALUES(2, 2, 2, 2), 0);
}

/* ---- hooks and retained gradients ---- */

static void t_hooks_before_and_after_writes(ag_context *c)
{
    ag_tensor *a = leaf(c, 1), *b = ag_clone(a);
    counter first = { .factor = 2 }, second = { .factor = 2 };
    CHECK(b && ag_register_hook(b, count, &first) && ag_mul_(b, 2));
    CHECK(ag_register_hook(b, count, &second) && ag_backward(b));
    CHECK_CLOSE(first.seen, 4, 0); /* two of the product, two of the second hook */
    CHECK_CLOSE(second.seen, 1, 0);
    CHECK_CLOSE(grad_of(a), 8, 0);
    ag_zero_grad(a);
    CHECK((b = ag_clone(a)) && ag_register_hook(b, count, &first));
    CHECK(ag_mul_(b, 2) && ag_mul_(b, 2) && ag_backward(b));
    CHECK_CLOSE(first.seen, 4, 0);
    CHECK_CLOSE(grad_of(a), 8, 0);
    CHECK_INT(first.calls, 2);
}

static void t_retained_gradients_follow_writes(ag_context *c)
{
    ag_tensor *a = ag_clone(vector(c, 5, 1));
    counter n[3] = { { 0 } };
    CHECK(a && ag_register_hook(a, count, &n[0]) && ag_retain_grad(a));
    CHECK(ag_register_hook(a, count, &n[1]) && ag_mul_(a, 2) && ag_mul_(a, 2));
    CHECK(ag_register_hook(a, count, &n[2]));
    CHECK(ag_backward(ag_sum(ag_add(a, 1))));
    CHECK_CLOSE(n[0].seen, 20, 0);
    CHECK_CLOSE(n[1].seen, 20, 0);
    CHECK_CLOSE(n[2].seen, 5, 0);
    CHECK_INT(n[0].calls + n[1].calls + n[2].calls, 3);
    CHECK(ag_retains_grad(a));
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(5), AG_VALUES(1, 1, 1, 1, 1), 0);
}

static void t_retained_gradients_of_written_bases_and_views(ag_context *c)
{
    ag_tensor *x = ag_clone(vector(c, 1, 1)), *v = ag_slice(x, 0, 0, 1, 1);
    CHECK(v && ag_retain_grad(x) && ag_mul_(v, 2) && ag_mul_(x, 2) && ag_backward(ag_sum(x)));
    CHECK_CLOSE(grad_of(x), 1, 0); /* of what x is last */
    ag_tensor *w;
    CHECK((x = ag_clone(vector(c, 1, 1))) && (v = ag_slice(x, 0, 0, 1, 1)) &&
          (w = ag_slice(x, 0, 0, 1, 1)));
    CHECK(ag_retain_grad(v) && ag_retain_grad(w) && ag_mul_(v, 2));
    CHECK(ag_backward(ag_sum(ag_add(v, w))));
    CHECK_CLOSE(grad_of(v), 1, 0);
    CHECK_CLOSE(grad_of(w), 1, 0);
}

/* 2 x and 3 x */
static bool multiples_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)n, (void)m;
    return (out[0] = ag_mul(in[0], 2)) && (out[1] = ag_mul(in[0], 3));
}
static bool multiples_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx;
    return (grad_in[0] = ag_add(ag_mul(g[0], 2), ag_mul(g[1], 3))) != NULL;
}
static const ag_custom multiples = { .name = "Multiples",
                                     .forward = multiples_forward,
                                     .backward = multiples_backward };

static void t_one_of_two_results_is_written(ag_context *c)
{
    ag_tensor *x = vector(c, 3, 1), *y[2];
    counter n[3] = { { 0 } };
    CHECK(x && ag_apply(&multiples, &x, 1, y, 2, NULL));
    CHECK(ag_register_hook(y[0], count, &n[0]) && ag_register_hook(y[1], count, &n[1]));
    CHECK(ag_retain_grad(y[0]) && ag_retain_grad(y[1]));
    CHECK(ag_mul_(y[0], 2) && ag_register_hook(y[0], count, &n[2]));
    CHECK(ag_backward(ag_sum(ag_add(y[0], ag_mul(y[1], 3)))));
    CHECK_CLOSE(n[0].seen, 6, 0);
    CHECK_CLOSE(n[1].seen, 9, 0);
    CHECK_CLOSE(n[2].seen, 3, 0);
    CHECK_INT(n[0].calls + n[1].calls + n[2].calls, 3);
    CHECK_CLOSE(grad_of(y[0]), 3, 0);
    CHECK_CLOSE(grad_of(y[1]), 9, 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(13, 13, 13), 0);
}

static void t_hooks_of_parts(ag_context *c)
{
    ag_tensor *x = vector(c, 5, 1), *p[5];
    counter n = { 0 };
    CHECK(x);
    CHECK_INT(ag_unbind(x, 0, p, 5), 5);
    CHECK(ag_register_hook(p[0], count, &n));
    for (int i = 0; i < 5; i++) {
        CHECK(ag_backward(p[i]) && !ag_grad_of(p[i]));
        CHECK_CLOSE(n.seen, i ? NAN : 1, 0); /* undefined where another part is used */
    }
    CHECK_INT(n.calls, 5);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(5), AG_VALUES(1, 1, 1, 1, 1), 0);
}

static void t_two_parts_as_inputs(ag_context *c)
{
    ag_tensor *x = vector(c, 4, 1), *p[2], *g[2];
    counter n = { 0 };
    CHECK(x && ag_register_hook(x, count, &n));
    CHECK_INT(ag_chunk(x, 2, 0, p, 2), 2);
    ag_tensor *y = ag_sum(ag_add(p[0], ag_mul(p[1], 2)));
    CHECK(y && ag_grad(&y, 1, p, 2, g, .create_graph = true));
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK(n.calls == 0 && !ag_grad_of(x));
}

static bool leaf_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)n, (void)m;
    out[0] = in[0];
    return (out[1] = ag_add(in[0], in[1])) != NULL;
}
static bool leaf_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx;
    return (grad_in[0] = ag_add(g[0], g[1])) && (grad_in[1] = g[1]);
}
static const ag_custom with_leaf = { .name = "WithLeaf",
                                     .forward = leaf_forward,
                                     .backward = leaf_backward };

/* A hook of the returned operand sees uses of the result, not of the operand. */
static void t_hooks_of_returned_leaves(ag_context *c)
{
    ag_tensor *in[] = { vector(c, 2, 1), vector(c, 2, 1) }, *y[2];
    counter n = { 0 };
    CHECK(in[0] && in[1] && ag_apply(&with_leaf, in, 2, y, 2, NULL));
    CHECK(ag_register_hook(y[0], count, &n));
    CHECK(ag_backward(ag_sum(ag_add(ag_add(y[0], y[1]), in[0]))));
    CHECK_CLOSE(n.seen, 2, 0);
    CHECK_VALUES(ag_grad_of(in[0]), AG_SHAPE(2), AG_VALUES(3, 3), 0);
    CHECK_VALUES(ag_grad_of(in[1]), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

typedef struct {
    int calls, there;
} group;
static void note_group(ag_tensor *const *grads, int n, void *user)
{
    group *g = user;
    g->calls++;
    g->there = 0;
    for (int i = 0; i < n; i++)
        g->there |= (grads[i] != NULL) << i;
}
static void t_groups_of_hooks_see_the_pass(ag_context *c)
{
    ag_tensor *t[4], *bad;
    group seen = { 0 };
    for (int i = 0; i < 4; i++)
        CHECK((t[i] = i < 2 ? ag_mul(vector(c, 2, 1), 2) : vector(c, 2, 1)));
    ag_hook *hook = ag_register_multi_grad_hook(t, 4, note_group, &seen);
    ag_tensor *out = ag_sum(ag_mul(t[1], t[2])),
              *in[3][2] = { { t[1], t[2] }, { t[0], t[3] }, { t[0], t[2] } };
    static const int calls[] = { 1, 1, 2 }, there[] = { 6, 6, 4 };
    CHECK(hook && out);
    for (int i = 0; i < 3; i++) {
        CHECK(ag_backward(out, .inputs = in[i], .n_inputs = 2, .retain_graph = true));
        CHECK_INT(seen.calls, calls[i]);
        CHECK_INT(seen.there, there[i]);
    }
    CHECK(ag_apply(&boom, &t[1], 1, &bad, 1, NULL) && (bad = ag_sum(ag_mul(bad, t[2]))));
    CHECK_ERROR(ag_backward(bad, .inputs = in[0], .n_inputs = 2, .retain_graph = true),
                AG_ERR_VALUE, "Boom!");
    CHECK_INT(seen.calls, 2);
    ag_hook_remove(hook);
    CHECK(ag_backward(out, .inputs = in[2], .n_inputs = 2));
    CHECK_INT(seen.calls, 2);
}

/* ---- passes inside passes ---- */

typedef struct {
    ag_tensor *leaf;
    ag_hook *self;
} penalty;
/* The gradient of 2 g + leaf, added. */
static ag_tensor *add_penalty(ag_tensor *grad, void *user)
{
    penalty *p = user;
    ag_tensor *g = NULL;
    ag_hook_remove(p->self);
    AG_ENABLE_GRAD (ag_context_of(grad)) {
        ag_tensor *more = p->leaf ? ag_requires_grad_(ag_detach(p->leaf), true) : NULL;
        g = ag_requires_grad_(ag_detach(grad), true);
        ag_tensor *out = ag_mul(g, 2);
        out = more ? ag_add(out, more) : ag_add(out, 5);
        if (!out || !ag_backward(ag_sum(out)))
            return NULL;
    }
    return ag_add(ag_grad_of(g), grad);
}
static void t_a_hook_of_a_leaf_starts_a_pass(ag_context *c)
{
    ag_tensor *x = vector(c, 3, 4);
    penalty p = { .leaf = x };
    CHECK(x && (p.self = ag_register_hook(x, add_penalty, &p)));
    CHECK(ag_backward(ag_sum(ag_mul(x, x))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(10, 10, 10), 0);
}
static void t_a_hook_of_a_result_starts_a_pass(ag_context *c)
{
    ag_tensor *x = vector(c, 3, 4), *y = ag_mul(x, x);
    penalty p = { 0 };
    CHECK(y && (p.self = ag_register_hook(y, add_penalty, &p)) && ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(24, 24, 24), 0); /* 6 x */
}

/* x - 1, whose backward goes through itself again while that is not negative */
typedef struct {
    char log[64];
    int n;
} order;
static bool again_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    return (out[0] = ag_sub(in[0], 1)) && ag_ctx_save(ctx, out, 1);
}
static bool again_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in);
static const ag_custom again = { .name = "Again",
                                 .forward = again_forward,
                                 .backward = again_backward };
static bool again_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    order *o = ag_ctx_user(ctx);
    ag_tensor *x = ag_ctx_saved(ctx, 0), *y;
    o->log[o->n++ % 63] = 'r';
    grad_in[0] = g[0];
    if (!x || ag_item(x) < 0)
        return x != NULL;
    AG_ENABLE_GRAD (ag_ctx_context(ctx)) {
        ag_tensor *next = ag_requires_grad_(ag_detach(x), true);
        return next && ag_apply(&again, &next, 1, &y, 1, o) && ag_backward(y);
    }
    return false;
}
static bool note_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    order *o = ag_ctx_user(ctx);
    o->log[o->n++ % 63] = 'f';
    grad_in[0] = g[0];
    return true;
}
static const ag_custom note = { .name = "Note",
                                .forward = copy_forward,
                                .backward = note_backward };

static void t_inner_passes_come_before_older_nodes(ag_context *c)
{
    static order o;
    o = (order){ .n = 0 };
    ag_tensor *a = leaf(c, 6), *b = leaf(c, 9), *ya, *yb;
    CHECK(a && b && ag_apply(&note, &a, 1, &ya, 1, &o) && ag_apply(&again, &b, 1, &yb, 1, &o));
    CHECK(ag_backward(ag_mul(ya, yb)));
    CHECK_TEXT(o.log, "rrrrrrrrrrf");
}
static void t_inner_passes_200_deep(ag_context *c)
{
    static order o;
    o = (order){ .n = 0 };
    ag_tensor *x = leaf(c, harness_faults() ? 5 : 200), *y;
    CHECK(x && ag_apply(&again, &x, 1, &y, 1, &o) && ag_backward(y));
    CHECK_INT(o.n, harness_faults() ? 6 : 201);
    CHECK_CLOSE(grad_of(x), 1, 0);
}

/* the cube of noise by a pass of its own, whatever the mode outside */
static bool modes_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    ag_context *c = ag_ctx_context(ctx);
    const bool outside = ag_grad_enabled(c);
    AG_ENABLE_GRAD (c) {
        ag_tensor *x = ag_full(c, AG_SHAPE(3), 2, .dtype = AG_F64, .requires_grad = true);
        ag_tensor *y = ag_mul(x, ag_mul(x, x)), *grad;
        ag_tensor *one = ag_detach(g[0]);
        if (!one || !ag_grad(&y, 1, &x, 1, &grad, .grad_outputs = &one) || !ag_grad_enabled(c))
            return false;
        grad_in[0] = grad;
    }
    return ag_grad_enabled(c) == outside;
}
static const ag_custom modes = { .name = "Modes",
                                 .forward = copy_forward,
                                 .backward = modes_backward };
static void t_inner_passes_restore_the_mode(ag_context *c)
{
    for (int create = 0; create < 2; create++) {
        ag_tensor *x = vector(c, 3, 1), *y;
        CHECK(x && ag_apply(&modes, &x, 1, &y, 1, NULL));
        CHECK(ag_backward(ag_sum(y), .create_graph = create));
        CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(12, 12, 12), 0);
        ag_zero_grad(x);
    }
}

/* ---- functions ---- */

/* The product of all elements, by its value: 0 / 0 where it is 0. */
static bool product_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    out[0] = ag_prod(in[0]);
    return out[0] && ag_ctx_save(ctx, (ag_tensor *[]){ in[0], out[0] }, 2);
}
static bool product_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    return (grad_in[0] = ag_div(ag_mul(g[0], ag_ctx_saved(ctx, 1)), ag_ctx_saved(ctx, 0))) != NULL;
}
static const ag_custom product = { .name = "Product",
                                   .forward = product_forward,
                                   .backward = product_backward };

/* A saved result leads back to the function, in one graph of derivatives after the other. */
static void t_saved_results_in_repeated_derivatives(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(2, 3, 4), AG_SHAPE(3), .dtype = AG_F64,
                            .requires_grad = true),
              *y;
    CHECK(x && ag_apply(&product, &x, 1, &y, 1, NULL));
    for (int i = 0; i < 2; i++) {
        ag_tensor *d = derivative(y, x, true), *first = ag_select(d, 0, 0), *dd;
        CHECK(first && ag_grad(&first, 1, &x, 1, &dd, .retain_graph = true));
        CHECK_VALUES(dd, AG_SHAPE(3), AG_VALUES(0, 4, 3), 1e-15);
    }
    CHECK(derivative(y, x, true) && derivative(y, x, false)); /* kept by the former */
    CHECK_ERROR(derivative(y, x, false), AG_ERR_GRAD, "Specify retain_graph=True");
}

/* clone, marked as without a derivative, or not */
static bool fixed_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    out[0] = ag_clone(in[0]);
    if (m == 1 && out[0])
        ag_ctx_mark_non_differentiable(ctx, out[0]);
    return out[0] != NULL;
}
static bool none_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx, (void)g, (void)grad_in;
    return true;
}
static const ag_custom fixed = { .name = "Fixed",
                                 .forward = fixed_forward,
                                 .backward = none_backward };
static const ag_custom none = { .name = "None",
                                .forward = copy_forward,
                                .backward = none_backward };

static void t_fixed_results_and_undefined_gradients(ag_context *c)
{
    ag_tensor *x = vector(c, 2, 3), *square = ag_mul(x, x), *r;
    CHECK(square && ag_apply(&fixed, &square, 1, &r, 1, NULL) && !ag_requires_grad(r));
    CHECK(ag_backward(ag_sum(ag_mul(r, x))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(9, 9), 0);
    ag_zero_grad(x);
    CHECK((square = ag_mul(x, x)) && ag_apply(&none, &square, 1, &r, 1, NULL));
    CHECK(ag_requires_grad(r) && ag_backward(ag_sum(r)) && !ag_grad_of(x));
    CHECK((square = ag_mul(x, x)) && ag_apply(&none, &square, 1, &r, 1, NULL));
    CHECK(ag_backward(ag_sum(ag_mul(r, x))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(9, 9), 0);
}

static bool duplicate_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    if (ag_ctx_user(ctx))
        ag_ctx_mark_dirty(ctx, in[0]);
    out[0] = out[1] = ag_ctx_user(ctx) ? ag_mul_(in[0], 2) : ag_mul(in[0], 2);
    return out[0] != NULL;
}
static bool duplicate_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx;
    return (grad_in[0] = ag_add(ag_mul(g[0], 2), ag_mul(g[1], 2))) != NULL;
}
static const ag_custom duplicate = { .name = "Duplicate",
                                     .forward = duplicate_forward,
                                     .backward = duplicate_backward };
static bool duplicated(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *copy = ag_clone(in[0]), *y[2];
    (void)n, (void)m;
    return copy && ag_apply(&duplicate, &copy, 1, y, 2, user) && y[0] == y[1] &&
           (out[0] = ag_add(y[0], ag_mul(y[1], y[1])));
}
static void t_one_result_twice(ag_context *c)
{
    static bool in_place = true;
    ag_tensor *x =
        ag_array(c, AG_VALUES(.5, -1), AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
    CHECK(x && ag_gradcheck(duplicated, &x, 1, NULL) && ag_gradgradcheck(duplicated, &x, 1, NULL));
    CHECK(ag_gradcheck(duplicated, &x, 1, &in_place) &&
          ag_gradgradcheck(duplicated, &x, 1, &in_place));
}

/* ---- saved values ---- */

static void t_saved_results_share_the_version(ag_context *c)
{
    ag_tensor *a = vector(c, 2, 1), *b = ag_exp(a),
              *saved = b ? ag_node_saved(ag_grad_fn(b), 0) : NULL;
    CHECK(saved && saved != b && ag_version(saved) == ag_version(b));
    AG_NO_GRAD (c)
        CHECK(ag_add_(b, 1));
    CHECK_INT(ag_version(saved), ag_version(b));
    CHECK_CLOSE(ag_at(saved, 0), exp(1) + 1, 1e-15);
}

static void *pack_double(ag_tensor *t, void *user)
{
    ++*(int *)user;
    return ag_retain(ag_mul(t, 2));
}
static ag_tensor *unpack_as_is(void *packed, void *user) { return (void)user, packed; }
static void give_up(void *packed, void *user) { (void)user, ag_release(packed); }

/* a^3 saves a once; its derivative g 3 a^2 saves g and a. */
static void t_packed_values_in_second_derivatives(ag_context *c)
{
    static const double factors[4] = { 1, 2, 4, 8 };
    int packs = 0;
    for (int k = 0; k < 4; k++) { /* bit 0: hooks around the function, bit 1: around the passes */
        ag_tensor *a = vector(c, 2, 1.5), *s, *g;
        CHECK(a);
        if (k & 1)
            CHECK(
                ag_saved_hooks_push(c, pack_double, unpack_as_is, &packs, .free_packed = give_up));
        s = ag_sum(ag_pow(a, 3));
        if (k == 1)
            ag_saved_hooks_pop(c);
        if (k == 2 && s)
            CHECK(
                ag_saved_hooks_push(c, pack_double, unpack_as_is, &packs, .free_packed = give_up));
        g = s ? derivative(s, a, true) : NULL;
        const bool ok = g && ag_backward(ag_sum(g));
        if (k >= 2)
            ag_saved_hooks_pop(c);
        CHECK(ok);
        CHECK_VALUES(ag_grad_of(a), AG_SHAPE(2), AG_VALUES(9 * factors[k], 9 * factors[k]), 1e-15);
    }
}

static void t_numbers_are_not_packed(ag_context *c)
{
    int packs = 0;
    ag_tensor *a = vector(c, 2, 1), *out, *g;
    CHECK(a && ag_saved_hooks_push(c, pack_double, unpack_as_is, &packs, .free_packed = give_up));
    out = ag_sum(ag_mul(a, 3));
    ag_saved_hooks_pop(c);
    CHECK(out && (g = derivative(out, a, false)));
    CHECK_INT(packs, 0);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(3, 3), 0);
}

/* What is saved goes with the graph, or with the pass. */
static void t_saved_values_are_given_up(ag_context *c)
{
    ag_memory_statistics s;
    ag_tensor *a = vector(c, 2, 1), *y = NULL;
    CHECK(a);
    for (int k = 0; k < 3; k++) {
        AG_SCOPE (c) {
            ag_tensor *b = ag_add(a, 1);
            CHECK(b && (y = ag_keep(ag_sum(ag_mul(b, b)))));
        }
        ag_memory_stats(c, &s);
        CHECK(s.saved_bytes >= 16 && s.nodes >= 3);
        if (k)
            CHECK(ag_backward(y, .retain_graph = k == 2));
        ag_memory_stats(c, &s);
        CHECK((s.saved_bytes > 0) == (k != 1));
        ag_drop(y);
        ag_memory_stats(c, &s);
        CHECK_INT((int64_t)s.saved_bytes, 0);
        CHECK_INT(s.nodes, 0);
    }
}

/* ---- checkpoints ---- */

static bool waves(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_sin(ag_exp(ag_sin(in[0])))) != NULL;
}
/* How functions of one number are put together: 'f' the function, 'c' a checkpoint of what follows,
 * 'g' its derivative. */
typedef struct {
    const char *words;
    bool no_early_stop;
} sentence;
static bool speak(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const sentence *s = user;
    if (*s->words == 'f')
        return waves(in, n, out, m, NULL);
    static sentence rest[2][64]; /* they stay for as long as graphs may need them */
    sentence *next = &rest[s->no_early_stop][strlen(s->words)];
    *next = (sentence){ s->words + 1, s->no_early_stop };
    if (*s->words == 'c')
        return ag_checkpoint(speak, in, n, out, m, next, .no_early_stop = s->no_early_stop);
    AG_ENABLE_GRAD (ag_context_of(in[0]))
        return speak(in, n, out, m, next) && (out[0] = derivative(out[0], in[0], true));
    return false;
}
static void t_checkpoints_of_derivatives(ag_context *c)
{
    static const char *const words[] = { "f",    "cf",     "ccf",    "gf",    "gcf",
                                         "gccf", "ggf",    "gcgf",   "cggcf", "gcgcf",
                                         "gggf", "gcggcf", "gcgcgcf" };
    double expected = 0;
    for (int stop = 0; stop < 2; stop++)
        for (int i = 0; i < 13; i++) {
            ag_memory_statistics before, after;
            ag_tensor *x = leaf(c, .7), *y;
            static sentence s[26];
            s[i] = (sentence){ words[i], stop };
            const bool plain = !strchr(words[i], 'c');
            CHECK(x);
            ag_memory_stats(c, &before);
            AG_SCOPE (c) {
                CHECK(speak(&x, 1, &y, 1, &s[i]));
                if (plain)
                    expected = ag_item(y);
                CHECK_CLOSE(ag_item(y), expected, 1e-14);
            }
            ag_memory_stats(c, &after);
            CHECK_INT(after.nodes, before.nodes); /* the graph dies */
            ag_drop(x);
        }
}

static bool times_outside(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return (out[0] = ag_mul(user, in[0])) != NULL;
}
/* A leaf that a checkpoint uses, and others too, gets one gradient. */
static void t_leaves_in_and_out_of_a_checkpoint(ag_context *c)
{
    ag_tensor *w = vector(c, 2, 3), *x = vector(c, 2, 2), *h = ag_mul(w, x), *y;
    counter n = { 0 };
    CHECK(h && ag_register_hook(w, count, &n));
    CHECK(ag_checkpoint(times_outside, &h, 1, &y, 1, w) && ag_backward(ag_sum(y)));
    CHECK_INT(n.calls, 1);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(12, 12), 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(9, 9), 0);
}

static void t_hooks_inside_a_checkpoint(ag_context *c)
{
    for (int stop = 0; stop < 2; stop++) {
        ag_tensor *x = leaf(c, .5), *y;
        counter n = { 0 };
        CHECK(x && ag_checkpoint(waves, &x, 1, &y, 1, NULL, .no_early_stop = stop));
        CHECK(ag_node_register_hook(behind(y, 0), count_node, &n) && ag_backward(y));
        CHECK_INT(n.calls, 1); /* it belongs to the graph of the first run */
    }
}

static bool unrecorded(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    AG_NO_GRAD (ag_context_of(in[0]))
        out[0] = ag_mul(ag_sin(in[0]), 2);
    return out[0] != NULL;
}
static void t_checkpoints_of_what_is_not_recorded(ag_context *c)
{
    ag_tensor *a = vector(c, 2, 1), *y;
    CHECK(a && ag_checkpoint(unrecorded, &a, 1, &y, 1, NULL) && !ag_requires_grad(y));
    CHECK(ag_add_(y, a) && ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

static bool counted_waves(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ++*(int *)user;
    return waves(in, n, out, m, NULL);
}
static void t_looking_at_values_of_a_checkpoint(ag_context *c)
{
    static int runs;
    runs = 0;
    ag_tensor *x = leaf(c, .5), *y;
    CHECK(x && ag_checkpoint(counted_waves, &x, 1, &y, 1, &runs));
    for (int i = 2; i < 4; i++) { /* outside a pass each look runs it again */
        CHECK(ag_node_saved(ag_grad_fn(y), 0));
        CHECK_INT(runs, i);
    }
    CHECK(ag_backward(y));
    CHECK_INT(runs, 4);
    CHECK_ERROR(ag_node_saved(ag_grad_fn(y), 0), AG_ERR_GRAD,
                "or directly access saved tensors after they have already been freed");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_copy_slices_run_what_is_wanted), TEST(t_copy_slices_do_not_look_behind),
               TEST(t_unreachable_inputs_run_nothing),
               TEST(t_leaves_that_want_no_gradient_any_more), TEST(t_leaves_that_became_results),
               TEST(t_places_before_and_after_a_write), TEST(t_passes_in_two_steps),
               TEST(t_gradients_in_shards), TEST(t_long_branches_do_not_share_buffers),
               TEST(t_nothing_to_sum_is_zero), TEST(t_three_derivatives_of_a_product),
               TEST(t_indices_are_outside_the_graph), TEST(t_hooks_before_and_after_writes),
               TEST(t_retained_gradients_follow_writes),
               TEST(t_retained_gradients_of_written_bases_and_views),
               TEST(t_one_of_two_results_is_written), TEST(t_hooks_of_parts),
               TEST(t_two_parts_as_inputs), TEST(t_hooks_of_returned_leaves),
               TEST(t_groups_of_hooks_see_the_pass), TEST(t_a_hook_of_a_leaf_starts_a_pass),
               TEST(t_a_hook_of_a_result_starts_a_pass),
               TEST(t_inner_passes_come_before_older_nodes), TEST(t_inner_passes_200_deep),
               TEST(t_inner_passes_restore_the_mode), TEST(t_saved_results_in_repeated_derivatives),
               TEST(t_fixed_results_and_undefined_gradients), TEST(t_one_result_twice),
               TEST(t_saved_results_share_the_version), TEST(t_packed_values_in_second_derivatives),
               TEST(t_numbers_are_not_packed), TEST(t_saved_values_are_given_up),
               TEST(t_checkpoints_of_derivatives), TEST(t_leaves_in_and_out_of_a_checkpoint),
               TEST(t_hooks_inside_a_checkpoint), TEST(t_checkpoints_of_what_is_not_recorded),
               TEST(t_looking_at_values_of_a_checkpoint));
}
