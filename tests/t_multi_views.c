/* Views of which a function returns several: ag_split, ag_chunk, ag_unbind. They may be read
 * and differentiated, together or alone, and may not be written once they belong to a graph.
 * Expectations are PyTorch's. */
#include "harness.h"

static ag_tensor *row(ag_context *c, int n)
{
    ag_tensor *t = ag_arange(c, 1, n + 1, 1, .dtype = AG_F64);
    return t ? ag_requires_grad_(t, true) : NULL;
}
static const char *name(ag_tensor *t)
{
    ag_node *n = t ? ag_grad_fn(t) : NULL;
    return n ? ag_node_name(n) : "-";
}

static const char written[] =
    "is a view and is being modified inplace. This view is the output of a function that returns "
    "multiple views. Such functions do not allow the output views to be modified inplace. You "
    "should "
    "replace the inplace operation by an out-of-place one.";
static const char base_written[] = "is a view and its base or another view of its base has been "
                                   "modified inplace. This view is the "
                                   "output of a function that returns multiple views.";

/* ---- what they are ---- */

static void t_parts(ag_context *c)
{
    ag_tensor *x = ag_reshape(ag_arange(c, 1, 7, 1), AG_SHAPE(3, 2)), *o[4];
    CHECK(x);
    CHECK_INT(ag_split(x, 2, 0, o, 4), 2);
    CHECK_VALUES(o[0], AG_SHAPE(2, 2), AG_VALUES(1, 2, 3, 4), 0);
    CHECK_VALUES(o[1], AG_SHAPE(1, 2), AG_VALUES(5, 6), 0);
    CHECK_INT(ag_split(x, 2, 1, o, 4), 1);
    CHECK_VALUES(o[0], AG_SHAPE(3, 2), AG_VALUES(1, 2, 3, 4, 5, 6), 0);
    CHECK_INT(ag_chunk(x, 2, 0, o, 4), 2);
    CHECK_VALUES(o[1], AG_SHAPE(1, 2), AG_VALUES(5, 6), 0);
    CHECK_INT(ag_chunk(x, 5, 0, o, 4), 3);
    CHECK_INT(ag_unbind(x, 1, o, 4), 2);
    CHECK_VALUES(o[0], AG_SHAPE(3), AG_VALUES(1, 3, 5), 0);
    CHECK_VALUES(o[1], AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
    CHECK(ag_is_view(o[1]) && ag_data(o[1]) == (float *)ag_data(x) + 1);
}

static void t_places_in_the_graph(ag_context *c)
{
    ag_tensor *x = row(c, 4), *b = ag_clone(x), *o[4];
    CHECK_INT(ag_split(b, 2, 0, o, 4), 2);
    CHECK_TEXT(name(o[0]), "SplitBackward0");
    CHECK(ag_grad_fn(o[0]) == ag_grad_fn(o[1]) && ag_base_of(o[1]) == b);
    CHECK_INT(ag_output_nr(o[0]), 0);
    CHECK_INT(ag_output_nr(o[1]), 1);
    CHECK_INT(ag_node_n_outputs(ag_grad_fn(o[0])), 2);
    CHECK_INT(ag_chunk(b, 2, 0, o, 4), 2);
    CHECK_TEXT(name(o[0]), "SplitBackward0");
    CHECK_INT(ag_unbind(b, 0, o, 4), 4);
    CHECK_TEXT(name(o[3]), "UnbindBackward0");
    CHECK_INT(ag_output_nr(o[3]), 3);
}

/* ---- gradients ---- */

static void t_all_results_at_once(ag_context *c)
{
    ag_tensor *x = row(c, 3), *o[3], *g[3];
    CHECK_INT(ag_unbind(x, 0, o, 3), 3);
    for (int i = 0; i < 3; i++)
        CHECK(g[i] = ag_scalar(c, i + 5, .dtype = AG_F64));
    CHECK(ag_backward_all(o, 3, .gradients = g));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(5, 6, 7), 0);
}

static void t_one_result_alone(ag_context *c)
{
    ag_tensor *x = row(c, 6), *o[6];
    CHECK_INT(ag_chunk(x, 3, 0, o, 6), 3);
    CHECK(ag_backward(ag_sum(ag_mul(o[1], 4))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(6), AG_VALUES(0, 0, 4, 4, 0, 0), 0);
    CHECK_INT(ag_unbind(x, 0, o, 6), 6);
    CHECK(ag_backward(o[5]) && ag_backward(o[0])); /* nothing was saved */
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(6), AG_VALUES(1, 0, 4, 4, 0, 1), 0);
}

static ag_tensor *counts(ag_tensor *grad, void *user)
{
    (void)grad;
    ++*(int *)user;
    return NULL;
}

/* Two gradients are taken at one node, which does not run. */
static void t_results_as_inputs(ag_context *c)
{
    int called = 0;
    ag_tensor *x = row(c, 4), *o[2], *g[2], *ones = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64);
    CHECK(ones && ag_register_hook(x, counts, &called));
    CHECK_INT(ag_chunk(x, 2, 0, o, 2), 2);
    ag_tensor *y = ag_add(o[0], ag_mul(o[1], 2));
    CHECK(ag_grad(&y, 1, o, 2, g, .grad_outputs = &ones));
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_VALUES(g[1], AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK_INT(called, 0);
    CHECK(!ag_grad_of(x));
}

static void t_retaining_results(ag_context *c)
{
    ag_tensor *x = row(c, 4), *o[2];
    CHECK_INT(ag_split(x, 2, 0, o, 2), 2);
    CHECK(ag_retain_grad(o[0]) && ag_retain_grad(o[1]));
    CHECK(ag_backward(ag_mul(ag_sum(o[0]), 3)));
    CHECK_VALUES(ag_grad_of(o[0]), AG_SHAPE(2), AG_VALUES(3, 3), 0);
    CHECK(!ag_grad_of(o[1])); /* undefined */
}

static bool products_of_parts(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *o[3], *u[2];
    (void)n;
    (void)m;
    (void)user;
    if (ag_unbind(in[0], 0, o, 3) != 3 || ag_split(ag_mul(o[0], o[1]), 1, 0, u, 2) != 2)
        return false;
    *out = ag_sum(ag_mul(ag_sin(u[0]), ag_mul(u[1], o[2])));
    return *out;
}

static void t_derivatives_of_both_orders(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(.3, -.7, .5, .2, .9, -.4), AG_SHAPE(3, 2), .dtype = AG_F64,
                            .requires_grad = true);
    CHECK(x && ag_gradcheck(products_of_parts, &x, 1, NULL));
    CHECK(ag_gradgradcheck(products_of_parts, &x, 1, NULL));
}

/* ---- writing ---- */

static void t_results_are_not_written(ag_context *c)
{
    ag_tensor *x = row(c, 4), *b = ag_clone(x), *o[4];
    CHECK_INT(ag_split(b, 2, 0, o, 4), 2);
    WATCH(b);
    CHECK_ERROR(ag_mul_(o[1], 2), AG_ERR_GRAD, written);
    CHECK_ERROR(ag_mul_(o[1], 2), AG_ERR_GRAD, "Output 1 of Split");
    CHECK_ERROR(ag_zero_(ag_slice(o[0], 0, 0, 1, 1)), AG_ERR_GRAD, written);
    CHECK_INT(ag_unbind(b, 0, o, 4), 4);
    CHECK_ERROR(ag_fill_(o[3], 2), AG_ERR_GRAD, "Output 3 of Unbind");
    CHECK_INT(ag_chunk(x, 1, 0, o, 4), 1); /* also when it is one, and of a leaf */
    CHECK_ERROR(ag_copy_(o[0], x), AG_ERR_GRAD, written);
}

static void t_their_base_is_written(ag_context *c)
{
    ag_tensor *x = row(c, 4), *b = ag_clone(x), *o[2], *without = ag_clone(x), *p[2];
    CHECK_INT(ag_split(b, 2, 0, o, 2), 2);
    CHECK(ag_mul_(b, 2));
    CHECK_VALUES(ag_detach(o[0]), AG_SHAPE(2), AG_VALUES(2, 4), 0);
    CHECK_ERROR(ag_grad_fn(o[0]) != NULL, AG_ERR_GRAD, base_written);
    CHECK_ERROR(ag_add(o[1], 1), AG_ERR_GRAD, base_written);
    CHECK(ag_backward(ag_sum(b)));
    CHECK_INT(ag_split(without, 2, 0, p, 2), 2);
    AG_NO_GRAD (c)
        CHECK(ag_mul_(p[0], 2));
    CHECK_VALUES(without, AG_SHAPE(4), AG_VALUES(2, 4, 3, 4), 0);
    CHECK_ERROR(ag_add(p[0], 1), AG_ERR_GRAD, base_written);
}

/* Outside a graph they are views like others, as long as it stays so. */
static void t_parts_of_plain_tensors(ag_context *c)
{
    ag_tensor *b = ag_ones(c, AG_SHAPE(4), .dtype = AG_F64), *w = row(c, 2), *o[2];
    CHECK(w);
    CHECK_INT(ag_split(b, 2, 0, o, 2), 2);
    CHECK(ag_mul_(o[0], 3));
    CHECK_VALUES(b, AG_SHAPE(4), AG_VALUES(3, 3, 1, 1), 0);
    CHECK_ERROR(ag_mul_(o[1], w), AG_ERR_GRAD,
                "This view is the output of a function that returns multiple views.");
    CHECK(!ag_requires_grad(b));
}

static void t_parts_without_grad(ag_context *c)
{
    ag_tensor *x = row(c, 2), *b = ag_clone(x), *o[2];
    CHECK(b);
    AG_NO_GRAD (c) {
        CHECK_INT(ag_unbind(b, 0, o, 2), 2);
        CHECK(ag_mul_(o[0], 2));
    }
    CHECK_VALUES(b, AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK_ERROR(ag_mul_(o[0], 2), AG_ERR_GRAD, "no_grad mode");
}

/* ---- bad calls ---- */

static void t_bad_calls(ag_context *c)
{
    ag_tensor *x = row(c, 4), *o[4] = { NULL };
    CHECK(x);
    WATCH(x);
    CHECK_ERROR(ag_split(x, 1, 0, o, 3) >= 0, AG_ERR_VALUE, "ag_split");
    CHECK_ERROR(ag_split(x, -1, 0, o, 4) >= 0, AG_ERR_VALUE, "ag_split");
    CHECK_ERROR(ag_split(x, 1, 1, o, 4) >= 0, AG_ERR_INDEX, "ag_split");
    CHECK_ERROR(ag_chunk(x, 0, 0, o, 4) >= 0, AG_ERR_VALUE, "ag_chunk");
    CHECK_ERROR(ag_unbind(x, 0, o, 3) >= 0, AG_ERR_VALUE, "ag_unbind");
    CHECK_ERROR(ag_unbind(ag_scalar(c, 1), 0, o, 4) >= 0, AG_ERR_INDEX, "ag_unbind");
    CHECK(!o[0]);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_parts), TEST(t_places_in_the_graph), TEST(t_all_results_at_once),
               TEST(t_one_result_alone), TEST(t_results_as_inputs), TEST(t_retaining_results),
               TEST(t_derivatives_of_both_orders), TEST(t_results_are_not_written),
               TEST(t_their_base_is_written), TEST(t_parts_of_plain_tensors),
               TEST(t_parts_without_grad), TEST(t_bad_calls));
}
