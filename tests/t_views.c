/* Writing in place into tensors that take part in a graph, and into views: what is refused,
 * what becomes of the history of base and views, versions, and values that are changed before
 * backward needs them. Expectations are PyTorch's. t_view_programs.c has random programs. */
#include "harness.h"

static ag_tensor *row(ag_context *c, int n, double first)
{
    ag_tensor *t = ag_arange(c, first, first + n, 1, .dtype = AG_F64);
    return t ? ag_requires_grad_(t, true) : NULL;
}
static ag_tensor *matrix(ag_context *c, int n, int m)
{
    ag_tensor *t = ag_reshape(ag_arange(c, 1, n * m + 1, 1, .dtype = AG_F64), AG_SHAPE(n, m));
    return t ? ag_requires_grad_(ag_detach(t), true) : NULL;
}
static const char *name(ag_tensor *t)
{
    ag_node *n = t ? ag_grad_fn(t) : NULL;
    return n ? ag_node_name(n) : "-";
}
static ag_tensor *head(ag_tensor *t, int64_t n) { return ag_slice(t, 0, 0, n, 1); }
/* Whose values can be told from each other in a gradient: sum of t[i] (i + 1). */
static ag_tensor *weighed(ag_tensor *t)
{
    ag_tensor *flat = t ? ag_reshape(t, AG_SHAPE(-1)) : NULL;
    return flat ? ag_sum(ag_mul(flat, ag_arange(ag_context_of(t), 1, (double)ag_numel(flat) + 1, 1,
                                                .dtype = AG_F64)))
                : NULL;
}

static const char on_leaf[] =
    "a leaf Variable that requires grad is being used in an in-place operation.";
static const char on_view_of_leaf[] =
    "a view of a leaf Variable that requires grad is being used in an in-place operation.";
static const char modified[] = "one of the variables needed for gradient computation has been "
                               "modified by an inplace operation";
static const char made_without_grad[] =
    "A view was created in no_grad mode and is being modified inplace with grad mode enabled.";
static const char base_written_with_grad[] =
    "A view was created in no_grad mode and its base or another view of its base has been modified "
    "inplace with grad mode enabled.";

/* ---- leaves ---- */

static void t_leaves_are_not_written(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *v = head(x, 2), *vv = head(v, 1), *m = ag_view(x, AG_SHAPE(3, 1));
    CHECK(v && vv && m);
    WATCH(x);
    CHECK_ERROR(ag_mul_(x, 2), AG_ERR_GRAD, on_leaf);
    CHECK_ERROR(ag_mul_(v, 2), AG_ERR_GRAD, on_view_of_leaf);
    CHECK_ERROR(ag_zero_(vv), AG_ERR_GRAD, on_view_of_leaf);
    CHECK_ERROR(ag_fill_(ag_t(m), 2), AG_ERR_GRAD, on_view_of_leaf);
    CHECK_ERROR(ag_copy_(ag_select(x, 0, 0), ag_scalar(c, 1)), AG_ERR_GRAD, on_view_of_leaf);
    CHECK_ERROR(ag_add_(ag_expand(x, AG_SHAPE(2, 3)), 1), AG_ERR_GRAD, on_view_of_leaf);
}

static void t_leaves_are_written_without_grad(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *v = head(x, 1);
    CHECK(v);
    AG_NO_GRAD (c)
        CHECK(ag_mul_(x, 10) && ag_add_(v, 1));
    CHECK_VALUES(x, AG_SHAPE(2), AG_VALUES(11, 20), 0);
    CHECK(ag_is_leaf(x) && ag_requires_grad(x) && !ag_grad_fn(x));
    CHECK_INT(ag_version(x), 2);
    CHECK_INT(ag_version(v), 2);
    CHECK(ag_backward(ag_sum(ag_mul(x, v)))); /* v still leads to x */
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(42, 11), 0);
}

static void t_values_of_leaves_that_are_written(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *y = ag_sum(ag_mul(x, x));
    CHECK(y);
    AG_NO_GRAD (c)
        CHECK(ag_mul_(x, 2));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, modified);
    CHECK(!ag_grad_of(x));
}

/* What did not require grad when it was written may do so afterwards. */
static void t_plain_tensors_become_leaves(ag_context *c)
{
    ag_tensor *a = ag_zeros(c, AG_SHAPE(2), .dtype = AG_F64), *v = head(a, 1);
    CHECK(v && ag_add_(v, 5) && ag_add_(a, 1) && ag_requires_grad_(a, true));
    CHECK_ERROR(ag_add_(a, 5), AG_ERR_GRAD, on_leaf);
    CHECK_ERROR(ag_add_(v, 5), AG_ERR_GRAD, on_view_of_leaf);
    CHECK(ag_backward(ag_sum(a)));
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK(ag_requires_grad_(a, false) && ag_add_(v, 5));
    CHECK_VALUES(a, AG_SHAPE(2), AG_VALUES(11, 1), 0);
}

/* ---- what is not a view ---- */

static void t_results_are_written(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *y = ag_mul(x, 3), *w = row(c, 2, 5);
    CHECK(ag_add_(y, 1) == y);
    CHECK_TEXT(name(y), "AddBackward0");
    CHECK(ag_mul_(y, w));
    CHECK_TEXT(name(y), "MulBackward0");
    CHECK(ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(15, 18), 0);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(4, 7), 0); /* what y was */
}

static void t_plain_tensors_join_the_graph(ag_context *c)
{
    ag_tensor *a = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64), *w = row(c, 2, 5);
    CHECK(ag_mul_(a, w) == a);
    CHECK(ag_requires_grad(a) && !ag_is_leaf(a));
    CHECK(ag_copy_(a, ag_mul(w, 2)) == a);
    CHECK_TEXT(name(a), "CopyBackwards");
    CHECK(ag_backward(ag_sum(a)));
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(2, 2), 0);
}

static void t_writing_a_number_cuts_history(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *y = ag_mul(x, 3), *z = ag_mul(x, 4), *s = ag_sum(ag_add(y, z));
    CHECK(s && ag_fill_(y, 2) && ag_zero_(z));
    CHECK_TEXT(name(z), "ZeroBackward0");
    CHECK(ag_requires_grad(y) && ag_requires_grad(z));
    CHECK(ag_backward(ag_sum(ag_add(y, z)), .retain_graph = true));
    CHECK(ag_backward(s)); /* what used them before, still does */
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(7, 7), 0);
}

/* ---- views ---- */

static void t_a_written_view_rebases_its_base(ag_context *c)
{
    ag_tensor *x = row(c, 4, 1), *b = ag_clone(x), *v = ag_slice(b, 0, 1, 3, 1), *t = head(b, 2);
    CHECK_TEXT(name(v), "SliceBackward0");
    CHECK(ag_mul_(v, 10) == v);
    CHECK_VALUES(b, AG_SHAPE(4), AG_VALUES(1, 20, 30, 4), 0);
    CHECK_TEXT(name(b), "CopySlices");
    CHECK_TEXT(name(v), "AsStridedBackward0");
    CHECK_TEXT(name(t), "AsStridedBackward0");
    CHECK(ag_node_next(ag_grad_fn(v), 0, NULL) == ag_grad_fn(b));
    CHECK(ag_backward(ag_add(weighed(b), ag_mul(weighed(t), 100))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(4), AG_VALUES(101, 2020, 30, 4), 0);
}

/* CopySlices has the base's old history first, then the operands of what was written. */
static void t_edges_of_copy_slices(ag_context *c)
{
    ag_tensor *x = row(c, 4, 1), *w = row(c, 2, 1), *b = ag_clone(x), *old = NULL;
    CHECK(b);
    ag_node *clone = ag_grad_fn(b);
    CHECK(ag_mul_(head(b, 2), w));
    ag_node *n = ag_grad_fn(b);
    CHECK_TEXT(ag_node_name(n), "CopySlices");
    CHECK_INT(ag_node_n_inputs(n), 2);
    CHECK(ag_node_next(n, 0, NULL) == clone);
    CHECK_TEXT(ag_node_name(ag_node_next(n, 1, NULL)), "AccumulateGrad");
    CHECK(old = ag_zeros(c, AG_SHAPE(3), .dtype = AG_F64));
    CHECK(ag_copy_(head(old, 2), w));
    n = ag_grad_fn(old);
    CHECK_TEXT(ag_node_name(n), "CopySlices");
    CHECK(!ag_node_next(n, 0, NULL));
    CHECK_TEXT(ag_node_name(ag_node_next(n, 1, NULL)), "AccumulateGrad");
}

static void t_a_written_base_is_seen_by_its_views(ag_context *c)
{
    ag_tensor *x = matrix(c, 2, 3), *b = ag_mul(x, 2), *v = ag_select(b, 0, 1), *t = ag_t(b);
    CHECK(v && t && ag_mul_(b, b));
    CHECK_TEXT(name(b), "MulBackward0");
    CHECK_TEXT(name(v), "AsStridedBackward0");
    CHECK_VALUES(v, AG_SHAPE(3), AG_VALUES(64, 100, 144), 0);
    CHECK(ag_backward(ag_add(ag_sum(v), ag_sum(ag_select(t, 0, 0)))));
    /* d (2x)^2 = 8x, of the second row, and of the first column */
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2, 3), AG_VALUES(8, 0, 0, 64, 40, 48), 0);
}

static void t_the_base_comes_to_require_grad(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *b = ag_zeros(c, AG_SHAPE(2, 3), .dtype = AG_F64);
    ag_tensor *first = ag_select(b, 0, 0), *second = ag_select(b, 0, 1);
    CHECK(first && second && !ag_requires_grad(second));
    CHECK(ag_copy_(first, x));
    CHECK(ag_requires_grad(b) && !ag_is_leaf(b) && ag_requires_grad(second));
    CHECK_TEXT(name(second), "AsStridedBackward0");
    CHECK(ag_copy_(second, ag_mul(x, x)));
    CHECK_VALUES(b, AG_SHAPE(2, 3), AG_VALUES(1, 2, 3, 1, 4, 9), 0);
    CHECK(ag_backward(weighed(b)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1 + 8, 2 + 20, 3 + 36), 0);
}

static void t_one_row_after_the_other(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *b = ag_zeros(c, AG_SHAPE(3, 3), .dtype = AG_F64);
    ag_tensor *w = row(c, 1, 2);
    for (int i = 0; i < 3; i++)
        CHECK(ag_copy_(ag_select(b, 0, i), i ? ag_mul(ag_select(b, 0, i - 1), w) : x));
    CHECK_VALUES(b, AG_SHAPE(3, 3), AG_VALUES(1, 2, 3, 2, 4, 6, 4, 8, 12), 0);
    /* each product has saved a row of a base that is written again: to be differentiated they need
     * copies */
    CHECK_ERROR(ag_backward(ag_sum(b)), AG_ERR_GRAD, modified);
    b = ag_zeros(c, AG_SHAPE(3, 3), .dtype = AG_F64);
    for (int i = 0; i < 3; i++)
        CHECK(ag_copy_(ag_select(b, 0, i), i ? ag_mul(ag_clone(ag_select(b, 0, i - 1)), w) : x));
    CHECK(ag_backward(ag_sum(b)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(7, 7, 7), 0);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(1), AG_VALUES(6 + 24), 0);
}

static void t_views_of_views(ag_context *c)
{
    ag_tensor *x = matrix(c, 3, 4), *b = ag_clone(x), *t = ag_t(b);
    ag_tensor *part = ag_narrow(t, 0, 1, 2), *line = ag_select(part, 0, 1), *deep = head(line, 2);
    CHECK(deep && ag_base_of(deep) == b && ag_is_view(deep));
    CHECK(ag_mul_(deep, 10)); /* x[0][2] and x[1][2] */
    CHECK_TEXT(name(b), "CopySlices");
    CHECK_VALUES(part, AG_SHAPE(2, 3), AG_VALUES(2, 6, 10, 30, 70, 11), 0);
    CHECK(ag_mul_(part, 2)); /* over it */
    CHECK(ag_backward(ag_add(weighed(line), ag_sum(b))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3, 4), AG_VALUES(1, 2, 40, 1, 1, 2, 60, 1, 1, 2, 8, 1), 0);
}

/* The same place through three views, the last write wins. */
static void t_writes_over_each_other(ag_context *c)
{
    ag_tensor *x = row(c, 4, 1), *y = row(c, 2, 10), *b = ag_clone(x);
    ag_tensor *left = head(b, 3), *right = ag_slice(b, 0, 1, 4, 1), *one = ag_select(b, 0, 2);
    CHECK(left && right && one);
    CHECK(ag_mul_(left, 2));                       /* 2 4 6 4 */
    CHECK(ag_copy_(head(right, 2), ag_mul(y, 3))); /* 2 30 33 4 */
    CHECK(ag_fill_(one, 5));                       /* 2 30 5 4 */
    CHECK(ag_add_(right, ag_clone(left)));         /* 2 32 35 9 */
    CHECK_VALUES(b, AG_SHAPE(4), AG_VALUES(2, 32, 35, 9), 0);
    CHECK(ag_backward(weighed(b)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(4), AG_VALUES(2 + 4, 0, 0, 4), 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(3 * (2 + 3), 0), 0);
}

static void t_diagonals(ag_context *c)
{
    ag_tensor *x = matrix(c, 3, 3), *w = row(c, 3, 1), *b = ag_clone(x);
    ag_tensor *d = ag_diagonal(b, 0, 0, 1), *above = ag_diagonal(b, 1, 0, 1);
    CHECK(d && ag_mul_(d, w) && ag_copy_(above, head(w, 2)));
    CHECK_VALUES(b, AG_SHAPE(3, 3), AG_VALUES(1, 1, 3, 4, 10, 2, 7, 8, 27), 0);
    CHECK(ag_backward(ag_sum(b)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3, 3), AG_VALUES(1, 0, 1, 1, 2, 0, 1, 1, 3), 0);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(3), AG_VALUES(1 + 1, 5 + 1, 9), 0);
}

static void t_strided_views(ag_context *c)
{
    ag_tensor *x = row(c, 6, 1), *b = ag_clone(x);
    ag_tensor *v = ag_as_strided(b, AG_SHAPE(2, 2), AG_SHAPE(2, 1), 1); /* 2 3; 4 5 */
    ag_tensor *column = ag_select(v, 1, 0);
    CHECK(column && ag_mul_(column, 10));
    CHECK_VALUES(b, AG_SHAPE(6), AG_VALUES(1, 20, 3, 40, 5, 6), 0);
    CHECK(ag_fill_(ag_as_strided(v, AG_SHAPE(2), AG_SHAPE(5), 0), 7)); /* of b's storage */
    CHECK_VALUES(b, AG_SHAPE(6), AG_VALUES(7, 20, 3, 40, 5, 7), 0);
    CHECK(ag_backward(ag_add(weighed(b), ag_sum(v))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(6), AG_VALUES(0, 30, 4, 50, 6, 0), 0);
}

static void t_reading_between_writes(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *b = ag_mul(x, 1), *v = ag_select(b, 0, 0);
    ag_tensor *sums[3];
    for (int i = 0; i < 3; i++) {
        CHECK(sums[i] = ag_add(ag_mul(v, 10), ag_sum(b))); /* 11 v + the other */
        CHECK(ag_mul_(v, 2));
    }
    CHECK(ag_backward_all(sums, 3));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(11 * 7, 3), 0);
}

/* ---- derivatives of derivatives ---- */

static bool written_in_parts(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n;
    (void)m;
    (void)user;
    ag_tensor *b = ag_mul(in[0], in[0]), *v = ag_select(b, 0, 1), *t = ag_t(b);
    ag_mul_(v, ag_tanh(v));
    ag_copy_(ag_select(t, 0, 0), ag_sin(in[1]));
    ag_mul_(head(v, 2), head(in[1], 2));
    ag_add_(b, ag_exp(ag_mul(b, .1)));
    *out = ag_sum(ag_mul(b, ag_tanh(b)));
    return *out;
}

static void t_gradients_of_copy_slices(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(.3, -.7, .5, .2, .9, -.4), AG_SHAPE(2, 3), .dtype = AG_F64,
                            .requires_grad = true);
    ag_tensor *w =
        ag_array(c, AG_VALUES(.6, -.8), AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *in[] = { x, w };
    CHECK(x && w && ag_gradcheck(written_in_parts, in, 2, NULL));
    CHECK(ag_gradgradcheck(written_in_parts, in, 2, NULL));
}

/* ---- versions ---- */

static void t_versions_count_writes(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(3)), *y = ag_clone(x), *v = ag_view(x, AG_SHAPE(3, 1));
    CHECK(v && y);
    CHECK_INT(ag_version(x), 0);
    CHECK(ag_add_(ag_mul_(x, 2), 1));
    CHECK_INT(ag_version(x), 2);
    CHECK(ag_fill_(x, 3) && ag_zero_(x) && ag_copy_(x, y));
    CHECK_INT(ag_version(x), 5);
    CHECK(ag_mul_(ag_t(v), 2) && ag_add_(ag_detach(x), 1));
    CHECK_INT(ag_version(x), 7);
    CHECK_INT(ag_version(v), 7);
    CHECK_INT(ag_version(y), 0);
    ag_increment_version(v);
    CHECK_INT(ag_version(x), 8);
    AG_NO_GRAD (c)
        CHECK(ag_mul_(x, 2));
    CHECK_INT(ag_version(ag_reshape(x, AG_SHAPE(1, 3))), 9);
    CHECK_INT(ag_version(ag_contiguous(x)), 9);
    CHECK_INT(ag_version(ag_add(x, 1)), 0);
    CHECK_ERROR(ag_add_(x, ag_ones(c, AG_SHAPE(2, 3))), AG_ERR_SHAPE, "doesn't match");
    CHECK_INT(ag_version(x), 9); /* a call that fails writes nothing */
}

static void t_writes_by_hand_are_noticed(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *w = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64), *y = ag_mul(x, w);
    CHECK(y && ag_data(w));
    ((double *)ag_data(w))[0] = 5;
    ag_increment_version(w);
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD, modified);
}

/* ---- saved values that are changed ---- */

static void t_the_error_names_who_saved_and_who_wrote(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *w = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64), *y = ag_mul(x, w);
    CHECK(y && ag_add_(w, 1) && ag_mul_(head(w, 1), 3));
    WATCH(x);
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD,
                "[float64 [3]], which is output 0 of a leaf, is at version 2; expected version 0 "
                "instead.");
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD,
                "It was saved by MulBackward0 and changed by ag_mul_.");
    UNWATCH();
    ag_tensor *e = ag_exp(x);
    CHECK(ag_add_(ag_detach(e), 1)); /* shares the storage */
    CHECK_ERROR(ag_backward(ag_sum(e)), AG_ERR_GRAD,
                "which is output 0 of ExpBackward0, is at version 1; expected version 0 instead.");
    CHECK_ERROR(ag_backward(ag_sum(e)), AG_ERR_GRAD,
                "It was saved by ExpBackward0 and changed by ag_add_.");
}

static void t_saved_values_written_through_views(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *b = ag_clone(x), *v = head(b, 2);
    ag_tensor *square = ag_sum(ag_mul(b, b)), *s = ag_sum(v), *part = ag_sum(ag_exp(v));
    CHECK(square && s && part && ag_zero_(ag_select(b, 0, 2)));
    CHECK_ERROR(ag_backward(square), AG_ERR_GRAD, modified); /* it needs b */
    CHECK(ag_backward(s));                                   /* it needs nothing */
    CHECK(ag_backward(part));                                /* it needs its own result */
    CHECK_CLOSE(ag_at(ag_grad_of(x), 1), 1 + exp(2), 1e-14);
}

/* What no rule needs may be written. */
static void t_only_what_is_needed_is_saved(ag_context *c)
{
    ag_tensor *mu = row(c, 1, 1), *x = ag_empty(c, AG_SHAPE(1), .dtype = AG_F64);
    ag_tensor *loss = ag_scalar(c, 0, .dtype = AG_F64);
    for (int i = 0; i < 3; i++) {
        CHECK(ag_detach_(x) == x && ag_copy_(x, ag_add(mu, i)) == x);
        ag_tensor *factor = ag_full(c, AG_SHAPE(1), i, .dtype = AG_F64);
        CHECK(loss = ag_add(loss, ag_sum(ag_mul(x, factor))));
    }
    CHECK(ag_backward(loss));
    CHECK_VALUES(ag_grad_of(mu), AG_SHAPE(1), AG_VALUES(3), 0);
}

/* ---- detaching ---- */

static void t_detached_tensors_share(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *y = ag_mul(x, 2), *d = ag_detach(y);
    CHECK(d && !ag_requires_grad(d) && ag_is_leaf(d) && !ag_grad_fn(d));
    CHECK(ag_data(d) == ag_data(y));
    CHECK(ag_add_(d, 1)); /* unseen by the graph, but not by the version */
    CHECK_INT(ag_version(y), 1);
    CHECK_TEXT(name(y), "MulBackward0");
    CHECK_VALUES(y, AG_SHAPE(2), AG_VALUES(3, 5), 0);
    CHECK(ag_backward(ag_sum(ag_mul(y, d))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(6, 10), 0);
}

static void t_detached_in_place(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *w = row(c, 2, 1), *a = ag_mul(x, 2);
    CHECK(a && ag_backward(ag_sum(ag_add(w, a))));
    CHECK(ag_detach_(a) == a && !ag_requires_grad(a) && ag_is_leaf(a));
    CHECK(ag_backward(ag_sum(ag_add(w, a))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK(ag_detach_(w) == w && !ag_requires_grad(w)); /* a leaf */
    ag_tensor *v = head(row(c, 3, 1), 1);
    CHECK(v);
    CHECK_ERROR(ag_detach_(v), AG_ERR_GRAD, "Can't detach views in-place. Use detach() instead.");
    CHECK(ag_requires_grad(v));
}

static void t_detaching_what_was_saved(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *y = ag_mul(x, 2), *z = ag_sum(ag_mul(y, y)), *e = ag_exp(x), *g;
    ag_tensor *s = ag_sum(e);
    CHECK(z && s && ag_detach_(y) && ag_detach_(e));
    CHECK_ERROR(
        ag_grad(&z, 1, &x, 1, &g, .create_graph = true), AG_ERR_GRAD,
        "Trying to use a saved tensor that has been detached in-place, i.e. with .detach_()");
    CHECK(ag_grad(&z, 1, &x, 1, &g)); /* PyTorch refuses, but the value is there */
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(8, 16), 0);
    CHECK(ag_backward(s)); /* a result that its own node saved */
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(exp(1), exp(2)), 1e-15);
}

static void t_views_keep_the_history_of_a_detached_base(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *y = ag_mul(x, 2), *v = head(y, 1);
    CHECK(v && ag_detach_(y));
    CHECK(ag_requires_grad(v) && ag_base_of(v) == y && !ag_requires_grad(y));
    CHECK_TEXT(name(v), "SliceBackward0");
    CHECK(ag_backward(ag_sum(v)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 0, 0), 0);
}

static void t_requires_grad_is_for_leaves(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *y = ag_mul(x, 2), *i = ag_ones(c, AG_SHAPE(2), .dtype = AG_I64);
    CHECK(y && i && ag_requires_grad_(y, true) == y);
    CHECK_ERROR(ag_requires_grad_(y, false), AG_ERR_GRAD,
                "you can only change requires_grad flags of leaf variables.");
    CHECK_ERROR(ag_requires_grad_(i, true), AG_ERR_DTYPE,
                "only Tensors of floating point and complex dtype can require gradients");
    CHECK(ag_requires_grad_(i, false) == i);
    CHECK(ag_requires_grad_(x, false) == x && !ag_requires_grad(x));
}

/* ---- bases ---- */

static void t_bases_and_views(ag_context *c)
{
    ag_tensor *x = matrix(c, 2, 3), *b = ag_clone(x), *v = ag_select(b, 0, 0),
              *plain = ag_ones(c, AG_SHAPE(4));
    ag_tensor *part = head(plain, 2), *cast = ag_to(b, AG_F32), *copy = ag_clone(v);
    CHECK(v && part && cast && copy);
    CHECK(ag_is_view(v) && ag_base_of(v) == b && !ag_is_view(b) && !ag_base_of(b));
    CHECK(ag_base_of(ag_t(b)) == b && ag_base_of(head(v, 1)) == b);
    CHECK(ag_is_view(part) && ag_base_of(part) == plain);
    CHECK(!ag_is_view(cast) && !ag_is_view(copy) && !ag_is_view(ag_detach(b)));
    CHECK(ag_mul_(v, 2) && ag_base_of(v) == b);
}

/* ---- the operands of a write ---- */

static void t_views_of_one_base_as_operands(ag_context *c)
{
    ag_tensor *x = row(c, 4, 1), *b = ag_clone(x), *left = head(b, 2),
              *right = ag_slice(b, 0, 2, 4, 1);
    CHECK(left && right && ag_mul_(left, right)); /* 3 8 3 4 */
    CHECK_VALUES(b, AG_SHAPE(4), AG_VALUES(3, 8, 3, 4), 0);
    /* right was saved before the write, which as in PyTorch cannot be told from a change of it */
    CHECK_ERROR(ag_backward(ag_sum(b)), AG_ERR_GRAD, modified);
    b = ag_clone(x);
    left = head(b, 2);
    right = ag_slice(b, 0, 2, 4, 1);
    CHECK(ag_add_(left, right) && ag_copy_(right, left) && ag_sub_(b, b));
    CHECK(ag_add_(ag_unsqueeze(b, 0),
                  ag_unfold(b, 0, 4, 4))); /* strides of one element say nothing */
    CHECK(ag_backward(weighed(b)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(4), AG_VALUES(0, 0, 0, 0), 0);
}

static void t_operands_that_overlap(ag_context *c)
{
    ag_tensor *x = row(c, 4, 1), *b = ag_clone(x), *left = head(b, 3),
              *right = ag_slice(b, 0, 1, 4, 1);
    CHECK(left && right);
    WATCH(b);
    CHECK_ERROR(
        ag_add_(left, right), AG_ERR_VALUE,
        "unsupported operation: some elements of the input tensor and the written-to tensor "
        "refer to a single memory location. Please clone() the tensor before performing the "
        "operation.");
    CHECK_ERROR(
        ag_add_(ag_expand(b, AG_SHAPE(2, 4)), 1), AG_ERR_VALUE,
        "unsupported operation: more than one element of the written-to tensor refers to a "
        "single memory location. Please clone() the tensor before performing the operation.");
    CHECK_TEXT(name(b), "CloneBackward0");
    UNWATCH();
    CHECK(ag_add_(left, ag_clone(right)));
    CHECK_VALUES(b, AG_SHAPE(4), AG_VALUES(3, 5, 7, 4), 0);
    CHECK(ag_mul_(ag_expand(b, AG_SHAPE(1, 4)), 2)); /* nothing is repeated */
    CHECK_TEXT(name(b), "CopySlices");
    CHECK(ag_backward(ag_sum(b)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(4), AG_VALUES(2, 4, 4, 4), 0);
}

static void t_broadcast_and_cast_operands(ag_context *c)
{
    ag_tensor *w = row(c, 3, 1), *b = ag_zeros(c, AG_SHAPE(2, 2, 3)),
              *s = ag_scalar(c, 3, .requires_grad = true);
    CHECK(b && ag_copy_(ag_select(b, 0, 1), w) && ag_mul_(ag_select(b, 1, 0), s));
    CHECK_VALUES(b, AG_SHAPE(2, 2, 3), AG_VALUES(0, 0, 0, 0, 0, 0, 3, 6, 9, 1, 2, 3), 0);
    CHECK(ag_backward(ag_sum(b)));
    CHECK_INT(ag_dtype_of(ag_grad_of(w)), AG_F64);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(3), AG_VALUES(4, 4, 4), 0);
    CHECK_CLOSE(ag_item(ag_grad_of(s)), 6, 0);
}

/* ---- views made without a graph ---- */

static void t_views_made_without_grad(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *b = ag_clone(x), *of_leaf = NULL, *of_b = NULL;
    CHECK(b);
    AG_NO_GRAD (c) {
        CHECK(of_leaf = head(x, 1));
        CHECK(of_b = head(b, 1));
    }
    CHECK(ag_is_view(of_b) && ag_base_of(of_b) == b && !ag_grad_fn(of_b));
    WATCH(x);
    WATCH(b);
    CHECK_ERROR(ag_mul_(of_leaf, 2), AG_ERR_GRAD, made_without_grad);
    CHECK_ERROR(ag_mul_(of_b, 2), AG_ERR_GRAD, made_without_grad);
    CHECK_ERROR(ag_zero_(head(of_b, 1)), AG_ERR_GRAD, "no_grad mode");
    UNWATCH();
    AG_NO_GRAD (c)
        CHECK(ag_mul_(of_b, 5));
    CHECK_VALUES(b, AG_SHAPE(2), AG_VALUES(5, 2), 0);
    CHECK_INT(ag_version(b), 1);
}

static void t_bases_of_views_made_without_grad(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *b = ag_clone(x), *v = NULL;
    CHECK(b);
    AG_NO_GRAD (c)
        CHECK(v = head(b, 1));
    CHECK(ag_mul_(b, 2));
    CHECK_ERROR(ag_grad_fn(v) != NULL, AG_ERR_GRAD, base_written_with_grad);
    CHECK_ERROR(ag_add(v, 1), AG_ERR_GRAD, base_written_with_grad);
    CHECK_VALUES(v, AG_SHAPE(1), AG_VALUES(2), 0); /* its values are there */
    CHECK_VALUES(ag_detach(v), AG_SHAPE(1), AG_VALUES(2), 0);
    CHECK(ag_backward(ag_sum(b)));
}

/* ---- inference mode ---- */

static void t_inference_tensors(ag_context *c)
{
    ag_tensor *i = NULL, *v = NULL, *x = row(c, 2, 1);
    AG_INFERENCE_MODE (c) {
        CHECK(ag_inference_mode_enabled(c) && !ag_grad_enabled(c));
        CHECK(i = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64));
        CHECK(ag_mul_(i, 3) && (v = head(i, 1)) && ag_add_(v, 1));
        CHECK(!ag_requires_grad(ag_mul(x, 2)));
    }
    CHECK(!ag_inference_mode_enabled(c) && ag_is_inference(i) && ag_is_inference(v));
    CHECK(!ag_is_inference(x) && ag_is_inference(head(i, 1)) && !ag_is_inference(ag_mul(i, 2)));
    CHECK_VALUES(i, AG_SHAPE(2), AG_VALUES(4, 3), 0);
    CHECK_ERROR(ag_version(i) >= 0, AG_ERR_GRAD, "Inference tensors do not track version counter.");
    static const char outside[] =
        "Inplace update to inference tensor outside InferenceMode is not "
        "allowed.You can make a clone to get a normal tensor before doing "
        "inplace update.";
    CHECK_ERROR(ag_add_(i, 1), AG_ERR_GRAD, outside);
    CHECK_ERROR(ag_zero_(v), AG_ERR_GRAD, outside);
    CHECK_ERROR(ag_requires_grad_(i, true), AG_ERR_GRAD,
                "Setting requires_grad=True on inference tensor outside InferenceMode is not "
                "allowed.");
    CHECK_ERROR(ag_mul(x, i), AG_ERR_GRAD, "Inference tensors cannot be saved for backward.");
    CHECK(ag_backward(ag_sum(ag_add(x, i)))); /* nothing is saved of it */
    ag_tensor *copy = ag_clone(i);
    CHECK(!ag_is_inference(copy) && ag_add_(copy, 1) && ag_backward(ag_sum(ag_mul(x, copy))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(1 + 5, 1 + 4), 0);
}

static void t_views_made_in_inference_mode(ag_context *c)
{
    ag_tensor *x = row(c, 2, 1), *b = ag_clone(x), *plain = ag_ones(c, AG_SHAPE(2)), *v = NULL,
              *p = NULL;
    CHECK(b && plain);
    AG_INFERENCE_MODE (c) {
        CHECK((v = head(b, 1)) && (p = head(plain, 1)));
        CHECK(ag_add_(plain, 1)); /* a normal tensor counts */
    }
    CHECK(!ag_is_inference(v) && !ag_is_inference(p)); /* of a normal tensor */
    CHECK_INT(ag_version(plain), 1);
    CHECK(ag_add_(p, 1));
    CHECK_VALUES(plain, AG_SHAPE(2), AG_VALUES(3, 2), 0);
    CHECK_ERROR(
        ag_add_(v, 1), AG_ERR_GRAD,
        "A view was created in inference mode and is being modified inplace in normal mode.");
}

/* A stale view is brought up to date in any mode. */
static void t_views_are_looked_at_in_any_mode(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *b = ag_clone(x), *v = head(b, 2), *w = head(b, 1), *y;
    CHECK(v && w && ag_mul_(b, 2));
    AG_INFERENCE_MODE (c) {
        CHECK_TEXT(name(v), "AsStridedBackward0");
        CHECK(y = ag_mul(v, 3));
        CHECK_VALUES(y, AG_SHAPE(2), AG_VALUES(6, 12), 0);
    }
    AG_NO_GRAD (c)
        CHECK_TEXT(name(w), "AsStridedBackward0");
    CHECK(ag_backward(ag_add(ag_sum(v), ag_sum(w))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(4, 2, 0), 0);
}

/* The values of a base that has left the graph are constants, and so are those of its views. */
static void t_views_of_a_base_that_left_the_graph(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *b = ag_mul(x, 2), *v = head(b, 2), *w = head(b, 1);
    CHECK(v && ag_detach_(b) == b && ag_backward(ag_sum(w))); /* w is as old as b was */
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 0, 0), 0);
    CHECK(ag_fill_(b, 5));
    CHECK_TEXT(name(v), "AsStridedBackward0");
    CHECK(!ag_node_next(ag_grad_fn(v), 0, NULL));
    ag_tensor *s = ag_sum(ag_mul(v, v)), *g;
    CHECK(s && ag_grad(&s, 1, &x, 1, &g, .allow_unused = true));
    CHECK(!g);
}

/* ---- rings ---- */

/* The graph of each of these owns the tensor whose grad_fn it ends in; the context, which gives all
 * memory back, is the proof. */
static void t_rings_end_with_the_context(ag_context *c)
{
    AG_SCOPE (c) {
        ag_tensor *a = row(c, 4, 1), *b = ag_tanh(a), *saved = ag_sin(b);
        CHECK(ag_mul_(b, saved));                             /* saved has kept b */
        ag_tensor *leaf = row(c, 4, 1), *y = ag_mul(leaf, 2); /* y leads to leaf */
        CHECK(y && ag_requires_grad_(leaf, false) && ag_copy_(leaf, y));
        ag_tensor *base = ag_tanh(a), *v = head(base, 2), *w = ag_slice(base, 0, 2, 4, 1);
        CHECK(v && w && ag_mul_(w, v)); /* CopySlices has kept v, and v its base */
        CHECK_TEXT(name(v), "AsStridedBackward0");
        ag_tensor *of_leaf = row(c, 4, 1), *part = head(of_leaf, 2), *z = ag_mul(part, 3);
        CHECK(z && ag_requires_grad_(of_leaf, false) && ag_mul_(head(of_leaf, 2), z));
        CHECK_TEXT(name(of_leaf), "CopySlices");
    }
}

/* ---- failures ---- */

/* A write that fails leaves base, views and history as they were. */
static void t_failed_writes_change_nothing(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *w = row(c, 2, 1), *b = ag_clone(x), *v = head(b, 2);
    CHECK(w && v);
    WATCH(x);
    WATCH(b);
    CHECK_ERROR(ag_mul_(v, ag_ones(c, AG_SHAPE(3))), AG_ERR_SHAPE, "the shapes are [2] and [3]");
    CHECK_ERROR(ag_copy_(v, ag_ones(c, AG_SHAPE(2, 2))), AG_ERR_SHAPE, "doesn't match");
    CHECK_TEXT(name(b), "CloneBackward0");
    CHECK_TEXT(name(v), "SliceBackward0");
    ag_tensor *y = ag_clone(b); /* in a run that lacks memory these fail and change nothing */
    CHECK(y);
    UNWATCH();
    CHECK(ag_mul_(v, w) && ag_add_(b, 1));
    CHECK(ag_backward(weighed(b)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1, 4, 3), 0);
}

static void t_writes_that_lack_memory(ag_context *c)
{
    ag_tensor *x = row(c, 3, 1), *w = row(c, 2, 1), *b = ag_clone(x), *v = head(b, 2);
    CHECK(w && v && ag_tanh(w));
    WATCH(b);
    WATCH(v);
    ag_tensor *operand = ag_tanh(w);
    CHECK(operand && ag_mul_(v, operand));
    UNWATCH();
    CHECK_TEXT(name(b), "CopySlices");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_leaves_are_not_written), TEST(t_leaves_are_written_without_grad),
               TEST(t_values_of_leaves_that_are_written), TEST(t_plain_tensors_become_leaves),
               TEST(t_results_are_written), TEST(t_plain_tensors_join_the_graph),
               TEST(t_writing_a_number_cuts_history), TEST(t_a_written_view_rebases_its_base),
               TEST(t_edges_of_copy_slices), TEST(t_a_written_base_is_seen_by_its_views),
               TEST(t_the_base_comes_to_require_grad), TEST(t_one_row_after_the_other),
               TEST(t_views_of_views), TEST(t_writes_over_each_other), TEST(t_diagonals),
               TEST(t_strided_views), TEST(t_reading_between_writes),
               TEST(t_gradients_of_copy_slices), TEST(t_versions_count_writes),
               TEST(t_writes_by_hand_are_noticed), TEST(t_the_error_names_who_saved_and_who_wrote),
               TEST(t_saved_values_written_through_views), TEST(t_only_what_is_needed_is_saved),
               TEST(t_detached_tensors_share), TEST(t_detached_in_place),
               TEST(t_detaching_what_was_saved), TEST(t_views_keep_the_history_of_a_detached_base),
               TEST(t_requires_grad_is_for_leaves), TEST(t_bases_and_views),
               TEST(t_views_of_one_base_as_operands), TEST(t_operands_that_overlap),
               TEST(t_broadcast_and_cast_operands), TEST(t_views_made_without_grad),
               TEST(t_bases_of_views_made_without_grad), TEST(t_inference_tensors),
               TEST(t_views_made_in_inference_mode), TEST(t_views_are_looked_at_in_any_mode),
               TEST(t_views_of_a_base_that_left_the_graph), TEST(t_rings_end_with_the_context),
               TEST(t_failed_writes_change_nothing), TEST(t_writes_that_lack_memory));
}
