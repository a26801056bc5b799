/* What PyTorch's own tests say of writing into tensors and views, told again for this library: writes
 * through indices, masks and casts, into views of all kinds, into results of functions with rules of
 * their own; what hooks and retained gradients then belong to. t_views.c goes through the rules. */
#include "harness.h"

static ag_tensor *leaf(ag_context *c, int n, double first)
{
    ag_tensor *t = ag_arange(c, first, first + n, 1, .dtype = AG_F64);
    return t ? ag_requires_grad_(t, true) : NULL;
}
static ag_tensor *square(ag_context *c, int n, double first)
{
    ag_tensor *t = ag_arange(c, first, first + n * n, 1, .dtype = AG_F64);
    t = t ? ag_reshape(t, AG_SHAPE(n, n)) : NULL;
    return t ? ag_requires_grad_(ag_detach(t), true) : NULL;
}
static ag_tensor *places(ag_context *c, ag_values v, ag_ints shape)
{
    return ag_array(c, v, shape, .dtype = AG_I64);
}
static ag_tensor *vector(ag_context *c, int n, double v)
{
    return ag_full(c, AG_SHAPE(n), v, .dtype = AG_F64);
}
static const char *name(ag_tensor *t)
{
    ag_node *n = t ? ag_grad_fn(t) : NULL;
    return n ? ag_node_name(n) : "-";
}
/* sum of t[i] (i + 1): tells elements from each other in a gradient. */
static ag_tensor *weighed(ag_tensor *t)
{
    ag_tensor *flat = t ? ag_reshape(t, AG_SHAPE(-1)) : NULL;
    return flat ? ag_sum(ag_mul(flat, ag_arange(ag_context_of(t), 1, (double)ag_numel(flat) + 1, 1,
                                                .dtype = AG_F64)))
                : NULL;
}
/* Gradients of weighed(y) where they are asked for. */
static bool gradients(ag_tensor *y, ag_tensor *a, ag_tensor *b, ag_tensor **g)
{
    ag_tensor *w = weighed(y), *inputs[] = { a, b };
    return w && ag_grad(&w, 1, inputs, b ? 2 : 1, g, .allow_unused = true);
}

static const char modified[] = "one of the variables needed for gradient computation has been "
                               "modified by an inplace operation";
static const char several_views[] =
    "This view is the output of a function that returns multiple views. Such functions do not "
    "allow "
    "the output views to be modified inplace. You should replace the inplace operation by an "
    "out-of-place one.";
static const char custom_view[] =
    "This view was created inside a custom Function (or because an input was returned as-is) and "
    "the autograd logic to handle view+inplace would override the custom backward associated with "
    "the custom Function, leading to incorrect gradients. This behavior is forbidden. You can fix "
    "this by cloning the output of the custom Function.";

/* ---- assignments ---- */

static void t_numbers_are_assigned(ag_context *c)
{
    ag_tensor *x = square(c, 3, 1), *y = ag_add(x, 2), *g;
    int64_t before = y ? ag_version(y) : 0;
    CHECK(y && ag_fill_(ag_select(y, 0, 1), 2));
    CHECK(ag_version(y) > before);
    CHECK(gradients(y, x, NULL, &g));
    CHECK_VALUES(g, AG_SHAPE(3, 3), AG_VALUES(1, 2, 3, 0, 0, 0, 7, 8, 9), 0);

    ag_tensor *one = leaf(c, 1, 4), *z = ag_add(one, 2);
    CHECK(z && ag_fill_(ag_select(z, 0, 0), 2)); /* all there is */
    CHECK(ag_backward(z));
    CHECK_VALUES(ag_grad_of(one), AG_SHAPE(1), AG_VALUES(0), 0);
}

static void t_numbers_are_assigned_at_indices(ag_context *c)
{
    ag_tensor *two = ag_scalar(c, 2, .dtype = AG_F64), *g;
    ag_tensor *x = leaf(c, 6, 1), *y = ag_add(x, 2),
              *i = places(c, AG_VALUES(0, 4, 2), AG_SHAPE(3));
    CHECK(y && ag_index_put_(y, &i, 1, two, false));
    CHECK(gradients(y, x, NULL, &g));
    CHECK_VALUES(g, AG_SHAPE(6), AG_VALUES(0, 2, 0, 4, 0, 6), 0);

    ag_tensor *m = square(c, 3, 1), *n = ag_add(m, 2);
    ag_tensor *rows = places(c, AG_VALUES(0, 2), AG_SHAPE(2)),
              *columns = places(c, AG_VALUES(2, 2), AG_SHAPE(2));
    CHECK(n && rows && columns &&
          ag_index_put_(n, (ag_tensor *[]){ rows, columns }, 2, two, false));
    CHECK(gradients(n, m, NULL, &g));
    CHECK_VALUES(g, AG_SHAPE(3, 3), AG_VALUES(1, 2, 0, 4, 5, 6, 7, 8, 0), 0);
    n = ag_add(m, 2);
    CHECK(n && ag_index_put_(n, (ag_tensor *[]){ NULL, rows }, 2, two, false));
    CHECK(gradients(n, m, NULL, &g));
    CHECK_VALUES(g, AG_SHAPE(3, 3), AG_VALUES(0, 2, 0, 0, 5, 0, 0, 8, 0), 0);
}

static void t_tensors_are_assigned(ag_context *c)
{
    ag_tensor *x = square(c, 3, 1), *v = leaf(c, 3, 7), *y = ag_add(x, 2), *g[2];
    CHECK(y && v && ag_copy_(ag_select(y, 0, 1), v));
    CHECK(gradients(y, x, v, g));
    CHECK_VALUES(g[0], AG_SHAPE(3, 3), AG_VALUES(1, 2, 3, 0, 0, 0, 7, 8, 9), 0);
    CHECK_VALUES(g[1], AG_SHAPE(3), AG_VALUES(4, 5, 6), 0);

    ag_tensor *i = places(c, AG_VALUES(0, 1), AG_SHAPE(2)),
              *j = places(c, AG_VALUES(1, 0), AG_SHAPE(2));
    ag_tensor *w = leaf(c, 2, 7);
    y = ag_add(x, 2);
    CHECK(y && i && j && ag_index_put_(y, (ag_tensor *[]){ i, j }, 2, w, false));
    CHECK(gradients(y, x, w, g));
    CHECK_VALUES(g[0], AG_SHAPE(3, 3), AG_VALUES(1, 0, 3, 0, 5, 6, 7, 8, 9), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(2, 4), 0);
}

static void t_what_is_assigned_broadcasts(ag_context *c)
{
    ag_tensor *x = leaf(c, 4, 1), *y = ag_zeros(c, AG_SHAPE(2, 3, 4), .dtype = AG_F64), *g;
    CHECK(x && y && ag_copy_(ag_select(y, 0, 1), x));
    CHECK(gradients(y, x, NULL, &g)); /* 13 + 17 + 21 and so on */
    CHECK_VALUES(g, AG_SHAPE(4), AG_VALUES(51, 54, 57, 60), 0);
    ag_tensor *one = ag_scalar(c, 5, .dtype = AG_F64, .requires_grad = true);
    ag_tensor *mask = ag_gt(y, 2), *z = ag_zeros(c, AG_SHAPE(2, 3, 4), .dtype = AG_F64);
    CHECK(one && z && ag_index_put_(z, &mask, 1, one, false));
    CHECK(ag_backward(ag_sum(z)));
    CHECK_VALUES(ag_grad_of(one), AG_SHAPE(), AG_VALUES(6), 0);
}

static void t_masks_are_assigned(ag_context *c)
{
    ag_tensor *x = leaf(c, 5, 1), *y = ag_add(x, 2), *v = leaf(c, 2, 9), *g[2];
    ag_tensor *mask = ag_array(c, AG_VALUES(0, 1, 0, 0, 1), AG_SHAPE(5), .dtype = AG_BOOL);
    CHECK(y && v && mask && ag_index_put_(y, &mask, 1, v, false));
    CHECK(gradients(y, x, v, g));
    CHECK_VALUES(g[0], AG_SHAPE(5), AG_VALUES(1, 0, 3, 4, 0), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(2, 5), 0);
    y = ag_add(x, 2);
    CHECK(y && ag_masked_scatter_(y, mask, v));
    CHECK(gradients(y, x, v, g));
    CHECK_VALUES(g[0], AG_SHAPE(5), AG_VALUES(1, 0, 3, 4, 0), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(2, 5), 0);
    ag_tensor *s = ag_scalar(c, 7, .dtype = AG_F64, .requires_grad = true);
    y = ag_add(x, 2);
    CHECK(y && s && ag_masked_fill_(y, mask, s));
    CHECK(gradients(y, x, s, g));
    CHECK_VALUES(g[0], AG_SHAPE(5), AG_VALUES(1, 0, 3, 4, 0), 0);
    CHECK_VALUES(g[1], AG_SHAPE(), AG_VALUES(7), 0);
}

/* Reading and writing the same places: index keeps no values, so nothing was changed for it. */
static void t_an_indexed_tensor_is_not_saved(ag_context *c)
{
    ag_tensor *b = ag_zeros(c, AG_SHAPE(3), .dtype = AG_F64, .requires_grad = true),
              *t = ag_add(b, 0);
    ag_tensor *mask = ag_array(c, AG_VALUES(1, 0, 0), AG_SHAPE(3), .dtype = AG_BOOL);
    CHECK(t && mask && ag_index_put_(t, &mask, 1, ag_index(t, &mask, 1), false));
    CHECK(ag_backward(t, .gradient = ag_arange(c, 1, 4, 1, .dtype = AG_F64)));
    CHECK_VALUES(ag_grad_of(b), AG_SHAPE(3), AG_VALUES(1, 2, 3), 0);
}

static void t_plain_rows_become_part_of_a_graph(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(3, 2), .dtype = AG_F64), *y = leaf(c, 2, 1),
              *z = leaf(c, 2, 5);
    CHECK(x && y && z && ag_copy_(ag_select(x, 0, 0), y));
    CHECK(ag_copy_(ag_select(x, 0, 1), ag_mul(z, 2)));
    CHECK(ag_requires_grad(x) && !ag_is_leaf(x));
    CHECK(ag_backward(ag_sum(x)));
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_VALUES(ag_grad_of(z), AG_SHAPE(2), AG_VALUES(2, 2), 0);
}

static void t_second_pass_over_assignments(ag_context *c)
{
    ag_tensor *b = leaf(c, 3, 1), *x = ag_zeros(c, AG_SHAPE(3), .dtype = AG_F64),
              *v = vector(c, 3, 1);
    ag_tensor *from = places(c, AG_VALUES(1, 1), AG_SHAPE(2)),
              *to = places(c, AG_VALUES(1, 2), AG_SHAPE(2));
    CHECK(b && x && from && to && ag_index_put_(x, &to, 1, ag_index(b, &from, 1), false));
    CHECK(ag_backward(x, .gradient = v, .retain_graph = true));
    CHECK(ag_backward(x, .gradient = v));
    CHECK_VALUES(ag_grad_of(b), AG_SHAPE(3), AG_VALUES(0, 4, 0), 0);
    CHECK_ERROR(ag_backward(x, .gradient = v), AG_ERR_GRAD, "Specify retain_graph=True");
}

/* ---- what a write makes invalid ---- */

static void t_sums_do_not_mind_and_products_do(ag_context *c)
{
    ag_tensor *x = vector(c, 2, 1), *y = vector(c, 2, 4), *ones = vector(c, 2, 1);
    CHECK(x && y && ones && ag_requires_grad_(x, true) && ag_requires_grad_(y, true));
    ag_tensor *z = ag_mul(x, y), *sum = ag_add(z, y), *product = ag_mul(z, y);
    CHECK(sum && product && ag_add_(z, 2));
    CHECK(ag_backward(sum, .gradient = ones, .retain_graph = true));
    CHECK_ERROR(ag_backward(product, .gradient = ones), AG_ERR_GRAD, modified);

    ag_zero_grad(x);
    ag_tensor *w, *old;
    CHECK((z = ag_add(ag_div(x, 2), ag_div(y, 8))) && (old = ag_mul(z, y)) && (sum = ag_add(z, y)));
    CHECK((w = ag_exp_(z)));
    CHECK(ag_backward(sum, .gradient = ones, .retain_graph = true));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(.5, .5), 0);
    CHECK(ag_backward(w, .gradient = ones, .retain_graph = true));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES((1 + exp(1)) / 2, (1 + exp(1)) / 2), 1e-15);
    CHECK_ERROR(ag_backward(old, .gradient = ones), AG_ERR_GRAD, modified);
}

static void t_unneeded_values_are_free(ag_context *c)
{
    ag_tensor *mu = ag_scalar(c, 1, .dtype = AG_F64, .requires_grad = true), *loss = NULL;
    ag_tensor *x = ag_zeros(c, AG_SHAPE(), .dtype = AG_F64);
    CHECK(mu && x);
    for (int i = 0; i < 3; i++) { /* x i needs i only */
        CHECK(ag_detach_(x) && ag_copy_(x, ag_add(mu, i)));
        ag_tensor *part = ag_mul(x, ag_scalar(c, i, .dtype = AG_F64));
        CHECK((loss = loss ? ag_add(loss, part) : part));
    }
    CHECK(ag_backward(loss));
    CHECK_CLOSE(ag_item(ag_grad_of(mu)), 3, 0);
}

static void t_detached_aliases_are_written(ag_context *c)
{
    ag_tensor *x = leaf(c, 1, 3), *y = ag_mul(x, x), *alias = ag_detach(x);
    CHECK(y && alias && ag_zero_(alias));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, modified);
    CHECK(!ag_grad_of(x));
}

static void t_leaves_and_their_views(ag_context *c)
{
    ag_tensor *a = vector(c, 3, 1), *b = ag_slice(a, 0, 0, 3, 1);
    CHECK(a && b && ag_add_(b, 5)); /* before it asks for a gradient */
    CHECK(ag_requires_grad_(a, true));
    CHECK(ag_backward(ag_sum(a)));
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(3), AG_VALUES(1, 1, 1), 0);
    CHECK_ERROR(ag_add_(a, 5), AG_ERR_GRAD,
                "a leaf Variable that requires grad is being used in an "
                "in-place operation.");
    CHECK_ERROR(ag_add_(b, 5), AG_ERR_GRAD,
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation.");
}

/* ---- casts and broadcasts ---- */

static void t_copies_into_other_dtypes(ag_context *c)
{
    static const ag_dtype floats[] = { AG_F32, AG_F64, AG_F16, AG_BF16 };
    for (int i = 0; i < 4; i++) {
        ag_tensor *x = leaf(c, 3, 1), *y = ag_empty(c, AG_SHAPE(3), .dtype = floats[i]);
        CHECK(x && y && ag_copy_(y, x) && ag_requires_grad(y));
        CHECK_INT(ag_dtype_of(y), floats[i]);
        CHECK(ag_backward(ag_sum(ag_mul(y, y))));
        CHECK_INT(ag_dtype_of(ag_grad_of(x)), AG_F64);
        CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
    }
    ag_tensor *x = leaf(c, 3, 1), *n = ag_empty(c, AG_SHAPE(3), .dtype = AG_I64);
    CHECK(x && n && ag_copy_(n, x));
    CHECK(!ag_requires_grad(n) && ag_is_leaf(n));
}

static void t_casts_have_gradients_of_the_operand(ag_context *c)
{
    ag_tensor *f = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *d = leaf(c, 2, 1);
    CHECK(f && d && ag_backward(ag_sum(ag_to(f, AG_F64))) && ag_backward(ag_sum(ag_to(d, AG_F32))));
    CHECK_INT(ag_dtype_of(ag_grad_of(f)), AG_F32);
    CHECK_INT(ag_dtype_of(ag_grad_of(d)), AG_F64);
    CHECK_VALUES(ag_grad_of(d), AG_SHAPE(2), AG_VALUES(1, 1), 0);
    ag_tensor *mixed = ag_mul(f, d); /* f64 */
    CHECK_INT(ag_dtype_of(mixed), AG_F64);
    CHECK(ag_backward(ag_sum(mixed)));
    CHECK_INT(ag_dtype_of(ag_grad_of(f)), AG_F32);
    CHECK_VALUES(ag_grad_of(f), AG_SHAPE(2), AG_VALUES(2, 3), 0);
}

static void t_writes_broadcast_the_operand_only(ag_context *c)
{
    ag_tensor *x = square(c, 2, 1), *y = ag_clone(x), *v = leaf(c, 2, 1), *g[2];
    CHECK(y && v && ag_mul_(y, v));
    CHECK(gradients(y, x, v, g));
    CHECK_VALUES(g[0], AG_SHAPE(2, 2), AG_VALUES(1, 4, 3, 8), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(10, 20), 0);
    ag_tensor *small = ag_clone(v);
    CHECK(small);
    WATCH(small);
    CHECK_ERROR(ag_add_(small, x), AG_ERR_SHAPE,
                "output with shape [2] doesn't match the broadcast shape [2, 2]");
    UNWATCH();
    ag_tensor *n = ag_ones(c, AG_SHAPE(2), .dtype = AG_I64);
    CHECK_ERROR(ag_mul_(n, v), AG_ERR_DTYPE,
                "result type float64 can't be cast to the desired output type int64");
}

/* ---- views ---- */

static void t_one_view_is_written_the_other_read(ag_context *c)
{
    ag_tensor *root = square(c, 2, 1), *x = ag_clone(root), *g;
    ag_tensor *v = ag_narrow(x, 0, 0, 1), *w = ag_narrow(x, 0, 0, 1);
    CHECK(v && w && ag_mul_(v, 2));
    CHECK(ag_backward(ag_sum(w)));
    CHECK_VALUES(ag_grad_of(root), AG_SHAPE(2, 2), AG_VALUES(2, 2, 0, 0), 0);
    ag_zero_grad(root);
    CHECK((x = ag_clone(root)) && (v = ag_narrow(x, 0, 0, 1)) && (w = ag_narrow(v, 1, 1, 1)));
    CHECK(ag_mul_(w, 2));
    CHECK(gradients(x, root, NULL, &g));
    CHECK_VALUES(g, AG_SHAPE(2, 2), AG_VALUES(1, 4, 3, 4), 0);
}

static void t_views_of_transposed_roots(ag_context *c)
{
    ag_tensor *cube = ag_ones(c, AG_SHAPE(2, 3, 2), .dtype = AG_F64);
    ag_tensor *root = ag_detach(ag_t(ag_select(cube, 2, 1))); /* 3 by 2, with gaps */
    CHECK(root && ag_requires_grad_(root, true));
    ag_tensor *x = ag_clone(root);
    CHECK(ag_mul_(ag_narrow(ag_narrow(x, 0, 0, 1), 1, 1, 1), 2));
    CHECK(ag_backward(ag_sum(x)));
    CHECK_VALUES(ag_grad_of(root), AG_SHAPE(3, 2), AG_VALUES(1, 2, 1, 1, 1, 1), 0);
}

static void t_a_view_makes_its_base_require_grad(ag_context *c)
{
    ag_tensor *a = ag_array(c, AG_VALUES(2, 5), AG_SHAPE(2), .dtype = AG_F64), *b = leaf(c, 1, 3);
    ag_tensor *part = ag_mul_(ag_narrow(a, 0, 1, 1), b);
    CHECK(part && ag_requires_grad(a) && !ag_is_leaf(a));
    CHECK_TEXT(name(a), "CopySlices");
    CHECK(ag_backward(ag_sum(part)));
    CHECK_CLOSE(ag_item(ag_grad_of(b)), 5, 0);
    CHECK(!ag_grad_of(a));
}

static void t_a_base_makes_its_views_require_grad(ag_context *c)
{
    ag_tensor *x = vector(c, 5, 1), *v = ag_select(x, 0, 1), *r = leaf(c, 1, 1);
    CHECK(v && r && !ag_requires_grad(v) && !ag_grad_fn(v));
    CHECK(ag_mul_(x, r));
    CHECK(ag_requires_grad(v) && !ag_is_leaf(v));
    CHECK(ag_backward(ag_mul(v, v)));
    CHECK_CLOSE(ag_item(ag_grad_of(r)), 2, 0);
}

/* A stale view is looked at for the first time where nothing is recorded. */
static void t_a_stale_view_looked_at_without_grad(ag_context *c)
{
    ag_tensor *a = ag_ones(c, AG_SHAPE(3, 1), .dtype = AG_F64, .requires_grad = true),
              *b = ag_mul(a, 2);
    ag_tensor *v = ag_view(b, AG_SHAPE(3, 1));
    CHECK(v && ag_fill_(ag_select(ag_select(v, 0, 0), 0, 0), 3));
    AG_NO_GRAD (c)
        CHECK(ag_grad_fn(v));
    CHECK(ag_backward(ag_sum(v)));
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(3, 1), AG_VALUES(0, 2, 2), 0);
}

/* The base leaves the graph and is written: its views depend on nothing any more. */
static void t_views_of_written_bases_outside_the_graph(ag_context *c)
{
    ag_tensor *x = leaf(c, 3, 1), *v = ag_view(x, AG_SHAPE(3)), *ones = vector(c, 3, 1), *g;
    CHECK(v && ones && ag_detach_(x) && ag_exp_(x));
    CHECK(ag_requires_grad(v) && !ag_is_leaf(v));
    CHECK_TEXT(name(v), "AsStridedBackward0");
    CHECK(!ag_node_next(ag_grad_fn(v), 0, NULL));
    CHECK(ag_backward(v, .gradient = ones));
    ag_tensor *y = ag_sum(ag_mul(v, v));
    CHECK(y && ag_grad(&y, 1, &v, 1, &g, .create_graph = true));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(2 * exp(1), 2 * exp(2), 2 * exp(3)), 1e-15);
    CHECK(ag_backward(y) && !ag_grad_of(x) && !ag_grad_of(v));
    CHECK(ag_requires_grad_(x, true)); /* a leaf again, which v does not lead to */
    CHECK(ag_backward(ag_sum(ag_mul(v, 2))) && !ag_grad_of(x));
}

static void t_many_views_of_one_call_are_not_written(ag_context *c)
{
    ag_tensor *b = ag_mul(square(c, 3, 1), 2), *p[3], *q[3];
    CHECK(b);
    CHECK_INT(ag_split(b, 1, 0, p, 3), 3);
    CHECK_ERROR(ag_mul_(p[0], p[1]), AG_ERR_GRAD, several_views);
    CHECK_INT(ag_chunk(b, 3, 1, p, 3), 3);
    CHECK_ERROR(ag_mul_(p[2], 2), AG_ERR_GRAD, several_views);
    CHECK_INT(ag_unbind(b, 0, p, 3), 3);
    CHECK_ERROR(ag_mul_(p[0], 2), AG_ERR_GRAD, several_views);
    CHECK_ERROR(ag_mul_(ag_view(p[1], AG_SHAPE(3)), 2), AG_ERR_GRAD, several_views);
    CHECK_INT(ag_unbind(ag_view(b, AG_SHAPE(3, 3)), 0, q, 3), 3);
    CHECK_ERROR(ag_mul_(q[0], 2), AG_ERR_GRAD, several_views);
    CHECK(ag_mul_(ag_select(b, 0, 0), 2)); /* and this is one view */
    AG_NO_GRAD (c)
        CHECK(ag_mul_(p[2], 2));
}

/* Where nothing asks for a gradient they may be written, but not with something that does. */
static void t_many_views_of_plain_tensors(ag_context *c)
{
    ag_tensor *a = ag_ones(c, AG_SHAPE(1, 2), .dtype = AG_F64), *b = leaf(c, 1, 3), *p;
    CHECK(a && b);
    CHECK_INT(ag_unbind(a, 0, &p, 1), 1);
    CHECK(ag_mul_(p, 2));
    WATCH(p);
    CHECK_ERROR(ag_copy_(p, b), AG_ERR_GRAD, several_views);
    UNWATCH();
    CHECK(ag_copy_(ag_select(a, 1, 0), b));
    CHECK_VALUES(a, AG_SHAPE(1, 2), AG_VALUES(3, 2), 0);
}

static void t_parts_that_are_not_used(ag_context *c)
{
    ag_tensor *x = leaf(c, 6, 1), *p[3];
    CHECK(x);
    CHECK_INT(ag_chunk(x, 3, 0, p, 3), 3);
    CHECK(ag_backward(ag_sum(ag_add(ag_mul(p[1], 4), 2))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(6), AG_VALUES(0, 0, 4, 4, 0, 0), 0);
    CHECK(ag_backward(p[0], .gradient = ag_arange(c, 1, 3, 1, .dtype = AG_F64)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(6), AG_VALUES(1, 2, 4, 4, 0, 0), 0);
}

static void t_views_of_views_made_in_other_modes(ag_context *c)
{
    ag_tensor *x = vector(c, 2, 0), *y = NULL, *z;
    CHECK(x);
    AG_NO_GRAD (c)
        y = ag_view(x, AG_SHAPE(2));
    CHECK(y && ag_requires_grad_(y, true) && (z = ag_view(y, AG_SHAPE(2))));
    CHECK_ERROR(ag_div_(z, 2), AG_ERR_GRAD,
                "is a view of a view which was created in no_grad mode");
    AG_INFERENCE_MODE (c)
        y = ag_view(x, AG_SHAPE(2));
    CHECK(y && ag_requires_grad_(y, true) && (z = ag_view(y, AG_SHAPE(2))));
    CHECK_ERROR(ag_div_(z, 2), AG_ERR_GRAD,
                "is a view of a view which was created in inference mode");
}

/* Tensors made in inference mode have no graph that could ask for a base. */
static void t_views_of_inference_tensors_have_no_base(ag_context *c)
{
    ag_tensor *x = NULL, *inside = NULL, *outside, *p[2];
    AG_INFERENCE_MODE (c)
        CHECK((x = vector(c, 2, 1)) && (inside = ag_view(x, AG_SHAPE(2, 1))));
    CHECK((outside = ag_select(x, 0, 1)));
    CHECK_INT(ag_unbind(x, 0, p, 2), 2);
    ag_tensor *views[] = { inside, outside, p[0], p[1] };
    for (int i = 0; i < 4; i++) {
        CHECK(ag_is_inference(views[i]) && !ag_is_view(views[i]) && !ag_base_of(views[i]));
        CHECK_ERROR(ag_add_(views[i], 1), AG_ERR_GRAD,
                    "Inplace update to inference tensor outside InferenceMode is not allowed.");
    }
    AG_INFERENCE_MODE (c)
        CHECK(ag_add_(outside, 1));
    CHECK_VALUES(x, AG_SHAPE(2), AG_VALUES(1, 2), 0); /* they share its values all the same */
}

/* What a view was made in stays with the views of it. */
static void t_modes_of_views_are_handed_on(ag_context *c)
{
    static const char inference[] =
        "A view was created in inference mode and is being modified inplace in normal mode.";
    ag_tensor *s = leaf(c, 3, 1), *b = NULL, *v = NULL;
    CHECK(s);
    AG_INFERENCE_MODE (c)
        b = ag_view(s, AG_SHAPE(3));
    CHECK(b);
    CHECK_ERROR(ag_add_(b, 1), AG_ERR_GRAD, inference);
    AG_NO_GRAD (c)
        v = ag_view(b, AG_SHAPE(3));
    CHECK(v);
    CHECK_ERROR(ag_add_(v, 1), AG_ERR_GRAD, inference);
    AG_NO_GRAD (c)
        b = ag_view(s, AG_SHAPE(3));
    AG_INFERENCE_MODE (c)
        v = b ? ag_view(b, AG_SHAPE(3)) : NULL;
    CHECK(v);
    CHECK_ERROR(ag_add_(v, 1), AG_ERR_GRAD, inference);
}

/* ---- functions with rules of their own ---- */

static bool pass_on(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    int *runs = ag_ctx_user(ctx);
    (*runs)++;
    grad_in[0] = g[0];
    return true;
}
static bool head_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)n, (void)m;
    return (out[0] = ag_narrow(in[0], 0, 0, 2)) != NULL;
}
static const ag_custom head = { .name = "Head", .forward = head_forward, .backward = pass_on };

static void t_views_made_by_functions_are_not_written(ag_context *c)
{
    static int runs;
    runs = 0;
    ag_tensor *a = leaf(c, 2, 1), *copy = ag_clone(a), *y;
    CHECK(copy && ag_apply(&head, &copy, 1, &y, 1, &runs));
    CHECK(ag_is_view(y) && ag_base_of(y) == copy);
    CHECK_ERROR(ag_add_(y, 3), AG_ERR_GRAD, custom_view);
    CHECK(ag_backward(weighed(ag_add(y, 3))));
    CHECK_INT(runs, 1);
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(2), AG_VALUES(1, 2), 0);
}

static void t_views_made_by_functions_of_plain_tensors(ag_context *c)
{
    static int runs;
    ag_tensor *a = vector(c, 2, 1), *b = leaf(c, 1, 3), *y;
    CHECK(a && b && ag_apply(&head, &a, 1, &y, 1, &runs));
    CHECK(!ag_requires_grad(y) && ag_is_view(y));
    CHECK(ag_add_(y, 1));
    CHECK_VALUES(a, AG_SHAPE(2), AG_VALUES(2, 2), 0);
    WATCH(a);
    CHECK_ERROR(ag_add_(y, b), AG_ERR_GRAD, custom_view);
    CHECK_ERROR(ag_copy_(y, b), AG_ERR_GRAD, custom_view);
    UNWATCH();
}

static bool same_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)n, (void)m;
    out[0] = in[0];
    return true;
}
static const ag_custom same = { .name = "Same", .forward = same_forward, .backward = pass_on };

static void t_plain_operands_that_are_returned(ag_context *c)
{
    static int runs;
    ag_tensor *a = vector(c, 2, 1), *b = leaf(c, 1, 3), *y = NULL;
    CHECK(a && b && ag_apply(&same, &a, 1, &y, 1, &runs));
    CHECK(y != a && ag_is_view(y) && ag_base_of(y) == a);
    CHECK(ag_add_(y, 1));
    CHECK_ERROR(ag_add_(y, b), AG_ERR_GRAD, custom_view);
    AG_NO_GRAD (c)
        CHECK(ag_apply(&same, &b, 1, &y, 1, &runs)); /* outside the graph, as ag_detach */
    CHECK(y != b && !ag_is_view(y) && !ag_requires_grad(y) && ag_add_(y, 1));
    CHECK_VALUES(b, AG_SHAPE(1), AG_VALUES(4), 0);
}

static void t_views_made_by_functions_without_grad(ag_context *c)
{
    static int runs;
    ag_tensor *a = leaf(c, 2, 1), *y = NULL;
    CHECK(a);
    AG_NO_GRAD (c)
        CHECK(ag_apply(&head, &a, 1, &y, 1, &runs));
    CHECK(ag_requires_grad(y) && ag_is_view(y)); /* as ag_narrow there */
    CHECK_ERROR(ag_zero_(y), AG_ERR_GRAD,
                "A view was created in no_grad mode and is being modified inplace with grad mode");
}

static bool tail_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    return ag_ctx_save(ctx, in, 1) && (out[0] = ag_select(ag_clone(in[0]), 0, 0));
}
static bool tail_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    ag_tensor *zeros = ag_zeros_like(ag_ctx_saved(ctx, 0));
    return zeros && ag_copy_(ag_select(zeros, 0, 0), g[0]) && (grad_in[0] = zeros);
}
static const ag_custom tail = { .name = "Tail",
                                .forward = tail_forward,
                                .backward = tail_backward };

static void t_views_of_what_forward_made(ag_context *c)
{
    ag_tensor *a = leaf(c, 2, 1), *y;
    CHECK(a && ag_apply(&tail, &a, 1, &y, 1, NULL));
    CHECK_TEXT(name(y), "TailBackward");
    CHECK_ERROR(ag_add_(y, 3), AG_ERR_GRAD, custom_view);
    CHECK(ag_backward(ag_mul(y, 3)));
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(2), AG_VALUES(3, 0), 0);
}

/* a, or a view of it, and a + b */
static bool both_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    bool *view = ag_ctx_user(ctx);
    (void)n, (void)m;
    out[0] = *view ? ag_narrow(in[0], 0, 0, 2) : ag_clone(in[0]);
    return (out[1] = ag_add(out[0], in[1])) != NULL;
}
static bool both_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx;
    return (grad_in[0] = ag_add(g[0], g[1])) && (grad_in[1] = g[1]);
}
static const ag_custom both = { .name = "Both",
                                .forward = both_forward,
                                .backward = both_backward };

static void t_one_of_two_results_is_a_view(ag_context *c)
{
    static bool view, *user = &view;
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true), *in[2], *y[2];
    view = true;
    CHECK((in[0] = ag_clone(x)) && (in[1] = ag_clone(x)) && ag_apply(&both, in, 2, y, 2, user));
    CHECK_ERROR(ag_add_(y[0], 3), AG_ERR_GRAD, several_views);
    CHECK(ag_add_(y[1], 3));
    CHECK(ag_backward(ag_sum(ag_mul(y[0], y[1]))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(7, 7), 0);
    ag_zero_grad(x);
    view = false;
    CHECK((in[0] = ag_clone(x)) && (in[1] = ag_clone(x)) && ag_apply(&both, in, 2, y, 2, user));
    CHECK(ag_add_(y[0], 3));
    CHECK(ag_backward(ag_sum(ag_mul(y[0], y[1]))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(10, 10), 0);
}

/* a += b, a marked dirty */
static bool plus_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    ag_ctx_mark_dirty(ctx, in[0]);
    return (out[0] = ag_add_(in[0], in[1])) != NULL;
}
static bool plus_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx;
    grad_in[0] = grad_in[1] = g[0];
    return true;
}
static const ag_custom plus = { .name = "Plus",
                                .forward = plus_forward,
                                .backward = plus_backward };

static bool two_windows(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *x = ag_clone(in[0]), *y;
    (void)n, (void)m, (void)user;
    for (int i = 0; x && i < 2; i++) {
        ag_tensor *v[] = { ag_narrow(ag_narrow(x, 1, i ? 0 : 2, 2), 0, 1, 2), in[1] };
        if (!v[0] || !ag_apply(&plus, v, 2, &y, 1, NULL))
            return false;
    }
    out[0] = x ? ag_mul(x, x) : NULL;
    return out[0] != NULL;
}
static void t_functions_write_into_views(ag_context *c)
{
    ag_manual_seed(c, 1);
    ag_tensor *in[] = { ag_randn(c, AG_SHAPE(4, 4), .dtype = AG_F64, .requires_grad = true),
                        ag_randn(c, AG_SHAPE(2, 2), .dtype = AG_F64, .requires_grad = true) };
    CHECK(in[0] && in[1]);
    CHECK(ag_gradcheck(two_windows, in, 2, NULL));
    CHECK(ag_gradgradcheck(two_windows, in, 2, NULL));
}

static void t_functions_write_into_the_wrong_views(ag_context *c)
{
    ag_tensor *a = leaf(c, 2, 1), *b = leaf(c, 1, 1), *p[2], *y, *copy = ag_clone(a);
    CHECK(b && copy);
    CHECK_INT(ag_split(copy, 1, 0, p, 2), 2);
    CHECK_ERROR(ag_apply(&plus, (ag_tensor *[]){ p[0], b }, 2, &y, 1, NULL), AG_ERR_GRAD,
                several_views);
    ag_tensor *v = ag_view(a, AG_SHAPE(2));
    CHECK(v);
    CHECK_ERROR(
        ag_apply(&plus, (ag_tensor *[]){ v, b }, 2, &y, 1, NULL), AG_ERR_GRAD,
        "a view of a leaf Variable that requires grad is being used in an in-place operation.");
    CHECK(ag_apply(&plus, (ag_tensor *[]){ copy, b }, 2, &y, 1, NULL));
    CHECK(y == copy && ag_add_(y, 2)); /* its result may be written again */
    CHECK(ag_backward(weighed(y)));
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(2), AG_VALUES(1, 2), 0);
    CHECK_VALUES(ag_grad_of(b), AG_SHAPE(1), AG_VALUES(3), 0);
}

/* The second operand has no gradient, though it asks for one. */
static bool twice_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    ag_ctx_mark_dirty(ctx, in[0]);
    return (out[0] = ag_mul_(in[0], 2)) != NULL;
}
static bool twice_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    (void)ctx;
    return (grad_in[0] = ag_mul(g[0], 2)) != NULL;
}
static const ag_custom twice = { .name = "Twice",
                                 .forward = twice_forward,
                                 .backward = twice_backward };

static void t_undefined_gradients_behind_written_views(ag_context *c)
{
    ag_tensor *a = leaf(c, 1, 1), *b = leaf(c, 1, 1), *copy = ag_clone(a), *y;
    ag_tensor *v = ag_slice(copy, 0, 0, 1, 1);
    CHECK(v && b && ag_apply(&twice, (ag_tensor *[]){ v, b }, 2, &y, 1, NULL));
    CHECK(y == v && ag_backward(y));
    CHECK(!ag_grad_of(b));
    CHECK_CLOSE(ag_item(ag_grad_of(a)), 2, 0);
}

static bool keep_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    ag_ctx_mark_dirty(ctx, in[0]);
    out[0] = in[0];
    return ag_ctx_save(ctx, in, 1);
}
static const ag_custom keep = { .name = "Keep",
                                .forward = keep_forward,
                                .backward = twice_backward };

static void t_saved_views_that_were_written_do_not_leak(ag_context *c)
{
    ag_memory_statistics before, after;
    ag_tensor *x = leaf(c, 2, 1);
    CHECK(x);
    ag_memory_stats(c, &before);
    AG_SCOPE (c) {
        ag_tensor *v = ag_view(ag_clone(x), AG_SHAPE(2)), *y;
        CHECK(v && ag_apply(&keep, &v, 1, &y, 1, NULL));
    }
    ag_memory_stats(c, &after);
    CHECK_INT(after.tensors, before.tensors);
    CHECK_INT(after.nodes, before.nodes);
}

static void t_results_saved_by_writes_into_views_do_not_leak(ag_context *c)
{
    ag_memory_statistics before, after;
    ag_tensor *x = square(c, 3, -4);
    CHECK(x);
    ag_memory_stats(c, &before);
    AG_SCOPE (c)
        CHECK(ag_relu_(ag_view(ag_clone(x), AG_SHAPE(9))));
    ag_memory_stats(c, &after);
    CHECK_INT(after.tensors, before.tensors);
    CHECK_INT(after.nodes, before.nodes);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_numbers_are_assigned), TEST(t_numbers_are_assigned_at_indices),
               TEST(t_tensors_are_assigned), TEST(t_what_is_assigned_broadcasts),
               TEST(t_masks_are_assigned), TEST(t_an_indexed_tensor_is_not_saved),
               TEST(t_plain_rows_become_part_of_a_graph), TEST(t_second_pass_over_assignments),
               TEST(t_sums_do_not_mind_and_products_do), TEST(t_unneeded_values_are_free),
               TEST(t_detached_aliases_are_written), TEST(t_leaves_and_their_views),
               TEST(t_copies_into_other_dtypes), TEST(t_casts_have_gradients_of_the_operand),
               TEST(t_writes_broadcast_the_operand_only),
               TEST(t_one_view_is_written_the_other_read), TEST(t_views_of_transposed_roots),
               TEST(t_a_view_makes_its_base_require_grad),
               TEST(t_a_base_makes_its_views_require_grad),
               TEST(t_a_stale_view_looked_at_without_grad),
               TEST(t_views_of_written_bases_outside_the_graph),
               TEST(t_many_views_of_one_call_are_not_written), TEST(t_many_views_of_plain_tensors),
               TEST(t_parts_that_are_not_used), TEST(t_views_of_views_made_in_other_modes),
               TEST(t_modes_of_views_are_handed_on),
               TEST(t_views_of_inference_tensors_have_no_base),
               TEST(t_views_made_by_functions_are_not_written),
               TEST(t_views_made_by_functions_of_plain_tensors),
               TEST(t_plain_operands_that_are_returned),
               TEST(t_views_made_by_functions_without_grad), TEST(t_views_of_what_forward_made),
               TEST(t_one_of_two_results_is_a_view), TEST(t_functions_write_into_views),
               TEST(t_functions_write_into_the_wrong_views),
               TEST(t_undefined_gradients_behind_written_views),
               TEST(t_saved_views_that_were_written_do_not_leak),
               TEST(t_results_saved_by_writes_into_views_do_not_leak));
}
