/* Edges that stand for tensors as inputs and roots of a pass, and gradients that nobody has
 * defined. Expectations are PyTorch's. */
#include "harness.h"

static ag_tensor *leaf(ag_context *c, double v)
{
    return ag_scalar(c, v, .dtype = AG_F64, .requires_grad = true);
}

static ag_tensor *pair(ag_context *c, double v, double w)
{
    return ag_array(c, AG_VALUES(v, w), AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
}

/* ---- edges ---- */

static void t_edges_as_inputs_and_roots(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_mul(y, 3), *g[2];
    ag_tensor *edge = ag_gradient_edge(y), *in[] = { edge, x };
    CHECK(z && edge && ag_grad(&z, 1, in, 2, g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g[0]), 3, 0);
    CHECK_CLOSE(ag_item(g[1]), 12, 0);
    ag_tensor *same = ag_node_edge(ag_grad_fn(y), 0);
    CHECK(same && ag_grad(&z, 1, &same, 1, g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g[0]), 3, 0);
    CHECK(ag_backward(edge));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 4, 0);
}

/* The edge keeps its place in the graph alive, not the tensor. */
static void t_edges_outlive_their_tensors(ag_context *c)
{
    ag_tensor *x = pair(c, 2, 3), *y = ag_mul(x, x), *edge = ag_gradient_edge(y), *g;
    CHECK(edge);
    ag_drop(y);
    CHECK_ERROR(ag_backward(edge), AG_ERR_GRAD,
                "grad can be implicitly created only for scalar outputs");
    ag_tensor *ones = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64);
    CHECK(ag_grad(&edge, 1, &x, 1, &g, .grad_outputs = &ones));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(4, 6), 0);
}

static void t_edges_of_leaves(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *edge = ag_gradient_edge(x), *g;
    ag_tensor *unused = ag_gradient_edge(w), *y = ag_mul(x, x);
    CHECK(y && unused && ag_grad(&y, 1, &edge, 1, &g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g), 4, 0);
    CHECK(ag_grad(&y, 1, &unused, 1, &g, .materialize_grads = true, .retain_graph = true));
    CHECK_CLOSE(ag_item(g), 0, 0); /* an edge knows its shape, unlike PyTorch's */
    CHECK(ag_grad(&y, 1, &unused, 1, &g, .allow_unused = true));
    CHECK(!g);
    CHECK_ERROR(ag_gradient_edge(ag_detach(x)), AG_ERR_GRAD,
                "It is not possible to get the gradient edge for a Tensor that does not require "
                "gradients");
}

/* ---- undefined gradients ---- */

static bool two_halves(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx;
    (void)n;
    (void)m;
    out[0] = ag_mul(in[0], 2);
    out[1] = ag_mul(in[0], 3);
    return out[0] && out[1];
}
static bool no_gradient(ag_ctx *ctx, ag_tensor *const *grad_out, ag_tensor **grad_in)
{
    (void)grad_in;
    ++*(int *)ag_ctx_user(ctx);
    return grad_out[0] || grad_out[1];
}

/* A rule that says nothing leaves .grad empty: undefined is not zero, however far it goes. */
static void t_undefined_gradients_stay_undefined(ag_context *c)
{
    static const ag_custom silent = { .name = "Silent",
                                      .forward = two_halves,
                                      .backward = no_gradient };
    int ran = 0;
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *y = ag_mul(x, x), *out[2], *g;
    CHECK(y && ag_apply(&silent, &y, 1, out, 2, &ran));
    CHECK(ag_backward(ag_add(ag_add(out[0], w), out[1]), .retain_graph = true));
    CHECK(!ag_grad_of(x) && ag_grad_of(w));
    CHECK_INT(ran, 1);
    CHECK(ag_grad(&out[1], 1, &x, 1, &g, .allow_unused = true, .retain_graph = true));
    CHECK(!g);
    CHECK_ERROR(ag_grad(&out[1], 1, &x, 1, &g, .retain_graph = true), AG_ERR_GRAD,
                "appears to not have been used in the graph");
    CHECK(ag_grad(&out[1], 1, &x, 1, &g, .materialize_grads = true));
    CHECK_CLOSE(ag_item(g), 0, 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_edges_as_inputs_and_roots), TEST(t_edges_outlive_their_tensors),
               TEST(t_edges_of_leaves), TEST(t_undefined_gradients_stay_undefined));
}
