/* Backward passes: which nodes run, what becomes of roots and inputs that are given twice, of values
 * that a pass has given up, of gradients that are there already; passes inside passes, callbacks, large
 * graphs. Expectations are PyTorch's. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

static ag_tensor *leaf(ag_context *c, double v)
{
    return ag_scalar(c, v, .dtype = AG_F64, .requires_grad = true);
}

static ag_tensor *pair(ag_context *c, double v, double w)
{
    return ag_array(c, AG_VALUES(v, w), AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
}

static int64_t n_nodes(ag_context *c)
{
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    return s.nodes;
}

static const char second_time[] = "Trying to backward through the graph a second time (or directly "
                                  "access saved tensors after they have already been freed).";

/* ---- inputs ---- */

static void t_inputs_that_are_leaves(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 5), *y = ag_mul(ag_mul(x, w), x);
    CHECK(ag_backward(y, .inputs = &x, .n_inputs = 1, .retain_graph = true));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 20, 0);
    CHECK(!ag_grad_of(w));
    CHECK(ag_backward(y, .inputs = &w, .n_inputs = 1));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 20, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(w)), 4, 0);
}

/* An input that is a result gets a .grad, as if it had been asked to retain it. */
static void t_inputs_that_are_results(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_mul(y, 3);
    CHECK(z && !ag_retains_grad(y));
    CHECK(ag_backward(z, .inputs = &y, .n_inputs = 1));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 3, 0);
    CHECK(ag_retains_grad(y) && !ag_grad_of(x));
}

static void t_inputs_above_and_below_each_other(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_exp(y), *both[] = { y, x }, *g[2];
    CHECK(ag_backward(ag_mul(z, 2), .inputs = both, .n_inputs = 2, .retain_graph = true));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 2 * exp(4), 1e-14);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 8 * exp(4), 1e-14);
    CHECK(ag_grad(&z, 1, both, 2, g));
    CHECK_CLOSE(ag_item(g[0]), exp(4), 1e-14);
    CHECK_CLOSE(ag_item(g[1]), 4 * exp(4), 1e-14);
}

static void t_a_root_as_input(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *in[] = { y, x, x }, *g[3];
    CHECK(ag_grad(&y, 1, in, 3, g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g[0]), 1, 0);
    CHECK_CLOSE(ag_item(g[1]), 4, 0);
    CHECK_CLOSE(ag_item(g[2]), 4, 0);
    CHECK(ag_backward(y, .inputs = &y, .n_inputs = 1));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 1, 0);
    CHECK(!ag_grad_of(x));
}

static void t_an_input_named_twice_accumulates_once(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *twice[] = { x, x };
    CHECK(ag_backward(y, .inputs = twice, .n_inputs = 2));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 4, 0);
}

/* Nodes that lead to no input do not run, so that they keep what they saved. */
static void t_what_is_pruned_is_not_freed(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *e = ag_exp(x), *y = ag_mul(e, e), *g;
    ag_tensor *other = ag_sin(w), *z = ag_add(y, other);
    CHECK(z && ag_grad(&z, 1, &e, 1, &g));
    CHECK_CLOSE(ag_item(g), 2 * exp(2), 1e-14);
    CHECK_ERROR(ag_grad(&z, 1, &e, 1, &g), AG_ERR_GRAD, second_time);
    CHECK(ag_backward(e) && ag_backward(other)); /* neither exp nor sin have run */
    CHECK_CLOSE(ag_item(ag_grad_of(x)), exp(2), 1e-14);
    CHECK_CLOSE(ag_item(ag_grad_of(w)), cos(3), 1e-14);
}

/* The first one has no accumulator, the second one has one in another graph. */
static void t_unreachable_inputs(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *fresh = leaf(c, 3), *elsewhere = leaf(c, 4), *g[3];
    ag_tensor *y = ag_mul(x, 2), *other = ag_mul(elsewhere, 2);
    ag_tensor *in[] = { fresh, elsewhere, x };
    CHECK(y && other);
    static const char unused[] =
        "One of the differentiated Tensors appears to not have been used in "
        "the graph. Set allow_unused=True if this is the desired behavior.";
    CHECK_ERROR(ag_grad(&y, 1, in, 1, g), AG_ERR_GRAD, unused);
    CHECK_ERROR(ag_grad(&y, 1, in, 3, g), AG_ERR_GRAD, unused);
    CHECK(ag_grad(&y, 1, in, 3, g, .allow_unused = true));
    CHECK(!g[0] && !g[1]);
    CHECK_CLOSE(ag_item(g[2]), 2, 0);
    CHECK(ag_backward(y, .inputs = in, .n_inputs = 2)); /* nothing to do is no error */
    CHECK(!ag_grad_of(fresh) && !ag_grad_of(elsewhere) && !ag_grad_of(x));
}

static void t_unused_inputs_as_zeros(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = pair(c, 1, 2), *y = ag_mul(x, x), *in[] = { w, x }, *g[2];
    CHECK(ag_grad(&y, 1, in, 2, g, .materialize_grads = true, .create_graph = true));
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK(ag_requires_grad(g[0]) && ag_is_leaf(g[0]));
    CHECK_CLOSE(ag_item(g[1]), 4, 0);
    CHECK(ag_grad(&y, 1, in, 2, g, .materialize_grads = true));
    CHECK(!ag_requires_grad(g[0]));
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
    CHECK_ERROR(ag_grad(&y, 1, &unused, 1, &g, .materialize_grads = true), AG_ERR_GRAD,
                "materialize_grads cannot be used when the given input is a GradientEdge");
    CHECK(ag_grad(&y, 1, &unused, 1, &g, .allow_unused = true));
    CHECK(!g);
    CHECK_ERROR(ag_gradient_edge(ag_detach(x)), AG_ERR_GRAD,
                "It is not possible to get the gradient edge for a Tensor that does not require "
                "gradients");
}

/* ---- roots ---- */

static void t_roots_given_twice(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *roots[] = { y, y, x, x }, *g;
    CHECK(ag_backward_all(roots, 2, .retain_graph = true));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 8, 0);
    CHECK(ag_grad(roots + 2, 2, &x, 1, &g));
    CHECK_CLOSE(ag_item(g), 2, 0);
    CHECK(ag_grad(roots, 4, &x, 1, &g));
    CHECK_CLOSE(ag_item(g), 10, 0);
}

static void t_roots_below_roots(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *roots[] = { y, x, ag_mul(y, y) };
    CHECK(ag_backward_all(roots, 3));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 37, 0); /* 4 + 1 + 32 */
}

static void t_roots_with_gradients(ag_context *c)
{
    ag_tensor *x = pair(c, 2, 3), *y = ag_mul(x, x), *z = ag_mul(ag_mul(y, y), y);
    ag_tensor *roots[] = { y, z, ag_sum(x) };
    ag_tensor *gy = ag_array(c, AG_VALUES(1, -1), AG_SHAPE(2), .dtype = AG_F64),
              *gz = ag_array(c, AG_VALUES(.5, 2), AG_SHAPE(2), .dtype = AG_F64);
    CHECK(gy && gz);
    CHECK(ag_backward_all(roots, 3, .gradients = (ag_tensor *[]){ gy, gz, NULL }));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(4 + 96 + 1, -6 + 2916 + 1), 0);
}

static void t_a_leaf_as_root(ag_context *c)
{
    ag_tensor *x = pair(c, 2, 3), *g = ag_array(c, AG_VALUES(5, 7), AG_SHAPE(2), .dtype = AG_F64);
    CHECK(x && g);
    CHECK(ag_backward(x, .gradient = g) && ag_backward(x, .gradient = g));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(10, 14), 0);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(5, 7), 0);
}

/* Not the rank counts, the number of elements does. */
static void t_one_element_is_a_scalar(ag_context *c)
{
    ag_tensor *x = ag_full(c, AG_SHAPE(1, 1, 1), 3, .requires_grad = true);
    CHECK(ag_backward(ag_mul(x, x)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(1, 1, 1), AG_VALUES(6), 0);
}

/* ---- values that a pass gives up ---- */

static void t_retain_graph(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_exp(x), *z = ag_mul(y, y);
    CHECK(z);
    for (int i = 1; i <= 3; i++) {
        CHECK(ag_backward(z, .retain_graph = i < 3));
        CHECK_CLOSE(ag_item(ag_grad_of(x)), i * 2 * exp(4), 1e-13);
    }
    CHECK_ERROR(ag_backward(z), AG_ERR_GRAD, second_time);
    CHECK_ERROR(ag_backward(ag_add(y, 1)), AG_ERR_GRAD, second_time);
}

static void t_nodes_without_saved_values_run_again(ag_context *c)
{
    ag_tensor *x = pair(c, 2, 3);
    ag_tensor *y = ag_sum(ag_sub(ag_neg(ag_t(ag_unsqueeze(ag_add(x, 1), 0))), ag_mul(x, 3)));
    CHECK(y);
    for (int i = 0; i < 3; i++)
        CHECK(ag_backward(y));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(-12, -12), 0);
}

static void t_create_graph_keeps_values(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_exp(x), *g;
    CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
    CHECK(ag_requires_grad(g));
    CHECK(ag_backward(y));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, second_time);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), exp(2), 1e-14);
}

/* Two losses over one trunk. */
static void t_second_loss_over_a_freed_trunk(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *trunk = ag_exp(x), *a = ag_mul(trunk, 2), *b = ag_mul(trunk, 3);
    CHECK(a && b && ag_backward(a));
    WATCH(x);
    CHECK_ERROR(ag_backward(b), AG_ERR_GRAD, second_time);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 2 * exp(2), 1e-14);
}

/* The mode of the caller does not matter, that of rules is what create_graph says. */
static void t_passes_have_a_mode_of_their_own(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(ag_mul(x, x), x), *g, *h;
    CHECK(y);
    AG_NO_GRAD (c) {
        CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
        CHECK(ag_requires_grad(g) && !ag_grad_enabled(c));
        CHECK(ag_grad(&g, 1, &x, 1, &h, .retain_graph = true));
        CHECK(!ag_requires_grad(h));
    }
    CHECK_CLOSE(ag_item(h), 12, 0);
    CHECK(ag_grad(&g, 1, &x, 1, &h));
    CHECK(!ag_requires_grad(h) && ag_grad_enabled(c));
}

/* ---- gradients that are there already ---- */

static void t_accumulates_in_place(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_sum(ag_mul(x, 2));
    CHECK(ag_backward(y));
    ag_tensor *g = ag_grad_of(x);
    void *data = ag_data(g);
    CHECK(g && data);
    CHECK_INT(ag_version(g), 0);
    CHECK(ag_backward(y));
    CHECK(ag_grad_of(x) == g && ag_data(g) == data);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(4, 4), 0);
    CHECK_INT(ag_version(g), 1);
}

static void t_accumulates_beside_with_create_graph(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_sum(ag_mul(x, x));
    CHECK(ag_backward(y, .retain_graph = true));
    ag_tensor *g = ag_grad_of(x);
    CHECK(g && ag_backward(y, .create_graph = true));
    CHECK(ag_grad_of(x) != g && ag_requires_grad(ag_grad_of(x)));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(2, 4), 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(4, 8), 0);
    CHECK_TEXT(ag_node_name(ag_grad_fn(ag_grad_of(x))), "AddBackward0");
}

/* A .grad that the program has put there is written, whatever it is. */
static void t_accumulates_into_a_given_gradient(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_sum(ag_mul(x, x)), *g = pair(c, 1, 1);
    CHECK(y && ag_set_grad(x, g));
    CHECK(ag_backward(y));
    CHECK(ag_grad_of(x) == g);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(3, 5), 0);
}

static void t_retained_gradients_are_replaced(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_mul(x, x), *s = ag_sum(y);
    CHECK(ag_retain_grad(y) && ag_retain_grad(y)); /* once is enough */
    CHECK(ag_backward(s, .retain_graph = true));
    ag_tensor *g = ag_grad_of(y);
    CHECK(g && ag_backward(s, .retain_graph = true));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(2, 2), 0);
    CHECK(ag_retain_grad(x) && !ag_retains_grad(x)); /* nothing to do for a leaf */
    CHECK(ag_backward(s));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(6, 12), 0);
}

/* No two .grad fields share memory, nor does one with the gradient that a program passed in. */
static void t_gradients_do_not_alias(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *w = pair(c, 3, 4),
              *ones = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *y = ag_add(x, w);
    CHECK(ag_retain_grad(y) && ag_backward(y, .gradient = ones));
    CHECK(ag_add_(ag_grad_of(x), 5) && ag_mul_(ag_grad_of(w), 3));
    CHECK_VALUES(ones, AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(6, 6), 0);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(2), AG_VALUES(3, 3), 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

/* A buffer that three consumers share must not be added to by one of them. */
static void t_buffers_are_added_to_by_one_owner(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 1), *y = pair(c, 1, 1);
    ag_tensor *p = ag_add(x, 2), *q = ag_add(y, 2), *r = ag_add(x, 2);
    ag_tensor *sum = ag_add(ag_add(p, q), r);
    for (int i = 0; i < 4; i++) {
        p = ag_mul(p, 2);
        q = ag_mul(q, 2);
        r = ag_mul(r, 2);
    }
    ag_tensor *out = ag_add(sum, ag_add(ag_add(p, q), r));
    CHECK(ag_backward(out, .gradient = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(34, 34), 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(17, 17), 0);
}

/* ---- shapes and dtypes of gradients ---- */

static void t_broadcast_operands_get_sums(ag_context *c)
{
    ag_tensor *m = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true);
    ag_tensor *row = ag_ones(c, AG_SHAPE(3), .requires_grad = true);
    ag_tensor *column = ag_full(c, AG_SHAPE(2, 1), 2, .requires_grad = true);
    ag_tensor *one = ag_scalar(c, 3, .requires_grad = true);
    CHECK(ag_backward(ag_sum(ag_mul(ag_mul(m, row), ag_mul(column, one)))));
    CHECK_VALUES(ag_grad_of(m), AG_SHAPE(2, 3), AG_VALUES(6, 6, 6, 6, 6, 6), 0);
    CHECK_VALUES(ag_grad_of(row), AG_SHAPE(3), AG_VALUES(12, 12, 12), 0);
    CHECK_VALUES(ag_grad_of(column), AG_SHAPE(2, 1), AG_VALUES(9, 9), 0);
    CHECK_VALUES(ag_grad_of(one), AG_SHAPE(), AG_VALUES(12), 0);
}

static void t_broadcast_over_nothing(ag_context *c)
{
    ag_tensor *a = ag_ones(c, AG_SHAPE(4, 0), .requires_grad = true);
    ag_tensor *b = ag_ones(c, AG_SHAPE(4, 1), .requires_grad = true);
    CHECK(ag_backward(ag_sum(ag_add(a, b))));
    CHECK_VALUES(ag_grad_of(b), AG_SHAPE(4, 1), AG_VALUES(0, 0, 0, 0), 0);
    CHECK_INT(ag_numel(ag_grad_of(a)), 0);
    CHECK_INT(ag_size(ag_grad_of(a), 0), 4);
}

static void t_gradients_have_the_dtype_of_the_operand(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *w = pair(c, 2, 3);
    ag_tensor *h = ag_ones(c, AG_SHAPE(2), .dtype = AG_F16, .requires_grad = true), *y, *g;
    CHECK(y = ag_mul(ag_mul(x, w), h));
    CHECK_INT(ag_dtype_of(y), AG_F64);
    CHECK(ag_backward(ag_sum(y)));
    CHECK_INT(ag_dtype_of(ag_grad_of(x)), AG_F32);
    CHECK_INT(ag_dtype_of(ag_grad_of(w)), AG_F64);
    CHECK_INT(ag_dtype_of(ag_grad_of(h)), AG_F16);
    CHECK_VALUES(ag_grad_of(h), AG_SHAPE(2), AG_VALUES(2, 3), 0);
    ag_tensor *z = ag_sum(ag_to(x, AG_F64));
    CHECK(ag_grad(&z, 1, &x, 1, &g));
    CHECK_INT(ag_dtype_of(g), AG_F32);
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

/* ---- order ---- */

typedef struct {
    ag_context *c;
    char log[32];
    int n;
} journal;
typedef struct {
    journal *j;
    char letter;
} entry;

static ag_tensor *note(ag_tensor *grad, void *user)
{
    entry *e = user;
    (void)grad;
    e->j->log[e->j->n++] = e->letter;
    e->j->log[e->j->n] = '\0';
    return NULL;
}

/* Of what is ready the newest operation runs first, but leaves before all. */
static void t_order_of_nodes(ag_context *c)
{
    journal j = { .c = c };
    entry e[] = { { &j, 'a' }, { &j, 'b' }, { &j, 'c' }, { &j, 'x' }, { &j, 'w' } };
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3);
    ag_tensor *p = ag_sin(x), *q = ag_sin(w), *r = ag_sin(p);
    ag_tensor *on[] = { p, q, r, x, w };
    for (int i = 0; i < 5; i++)
        CHECK(ag_register_hook(on[i], note, &e[i]));
    CHECK(ag_backward(ag_add(r, q)));
    CHECK_TEXT(j.log, "cbwax");
}

/* ---- passes inside passes ---- */

typedef struct {
    ag_context *c;
    int left, reached;
} depth;

static ag_tensor *deeper(ag_tensor *grad, void *user)
{
    depth *d = user;
    (void)grad;
    d->reached++;
    if (d->left-- == 0)
        return NULL;
    AG_SCOPE (d->c)
        AG_ENABLE_GRAD (d->c) {
            ag_tensor *x = leaf(d->c, 3), *y = ag_mul(x, x);
            if (!ag_register_hook(y, deeper, d) || !ag_backward(y))
                return NULL;
            if (ag_item(ag_grad_of(x)) != 6)
                ag_fail(d->c, AG_ERR_INTERNAL, "the gradient of x is wrong");
        }
    return NULL;
}

static void t_passes_2000_deep(ag_context *c)
{
    for (int i = 0; i < 2; i++) {
        const int n = harness_faults() ? 3 : i ? 200 : 2000;
        depth d = { .c = c, .left = n };
        ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
        CHECK(ag_register_hook(y, deeper, &d) && ag_backward(y));
        CHECK_INT(d.reached, n + 1);
        CHECK_CLOSE(ag_item(ag_grad_of(x)), 4, 0);
    }
}

/* A pass over the graph that is being walked, its values retained. */
typedef struct {
    ag_tensor *y, *x;
    double seen;
} inner;

static ag_tensor *over_the_same_graph(ag_tensor *grad, void *user)
{
    inner *in = user;
    ag_tensor *g;
    (void)grad;
    if (isnan(in->seen) && ag_grad(&in->y, 1, &in->x, 1, &g, .retain_graph = true))
        in->seen = ag_item(g);
    return NULL;
}

static void t_a_pass_over_the_graph_of_its_pass(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(ag_mul(x, x), x), *z = ag_mul(y, y);
    inner in = { y, x, NAN };
    CHECK(ag_register_hook(y, over_the_same_graph, &in));
    CHECK(ag_backward(z));
    CHECK_CLOSE(in.seen, 12, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 192, 0);
}

/* The inner pass gives up what the outer one has yet to use. */
static ag_tensor *frees_below(ag_tensor *grad, void *user)
{
    (void)grad;
    ag_backward(user);
    return NULL;
}

static void t_an_inner_pass_frees_for_the_outer(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_exp(x), *alias = ag_mul(y, 1), *z = ag_mul(ag_sin(y), y);
    CHECK(z && alias && ag_register_hook(z, frees_below, alias));
    CHECK_ERROR(ag_backward(z), AG_ERR_GRAD, second_time);
}

static ag_tensor *fails_inside(ag_tensor *grad, void *user)
{
    ag_tensor *g;
    (void)grad;
    ag_grad(user, 1, user, 1, &g); /* of a tensor without a graph */
    return NULL;
}

static void t_errors_of_inner_passes_come_out(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *plain = ag_scalar(c, 1);
    ag_hook *hook = ag_register_hook(y, fails_inside, &plain);
    CHECK(plain && hook);
    WATCH(x);
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "does not require grad");
    CHECK(!ag_grad_of(x));
    UNWATCH();
    ag_hook_remove(hook);
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 4, 0);
}

/* ---- callbacks ---- */

typedef struct {
    ag_context *c;
    ag_tensor *x; /* whose .grad it looks at */
    int called, chain, inner_called;
    double seen;
    int nested; /* passes that hooks are to start */
} callbacks;

static void at_the_end(void *user)
{
    callbacks *k = user;
    k->called++;
    k->seen = k->x && ag_grad_of(k->x) ? ag_item(ag_grad_of(k->x)) : NAN;
    if (k->chain-- > 0)
        ag_queue_callback(k->c, at_the_end, k);
}

static ag_tensor *queues(ag_tensor *grad, void *user)
{
    callbacks *k = user;
    (void)grad;
    ag_queue_callback(k->c, at_the_end, k);
    return NULL;
}

static void t_callbacks_come_at_the_end(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    callbacks k = { .c = c, .x = x };
    CHECK(ag_register_hook(y, queues, &k) && ag_register_hook(x, queues, &k));
    CHECK(ag_backward(y));
    CHECK_INT(k.called, 2);
    CHECK_CLOSE(k.seen, 4, 0); /* .grad was written */
}

static void t_callbacks_add_callbacks(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    callbacks k = { .c = c, .x = x, .chain = 5 };
    CHECK(ag_register_hook(y, queues, &k) && ag_backward(y));
    CHECK_INT(k.called, 6);
}

static void in_the_inner_pass(void *user) { ++((callbacks *)user)->inner_called; }
static ag_tensor *queues_inner(ag_tensor *grad, void *user)
{
    callbacks *k = user;
    (void)grad;
    ag_queue_callback(k->c, in_the_inner_pass, k);
    return NULL;
}

static ag_tensor *nests(ag_tensor *grad, void *user)
{
    callbacks *k = user;
    (void)grad;
    ag_queue_callback(k->c, at_the_end, k);
    AG_ENABLE_GRAD (k->c) {
        ag_tensor *w = leaf(k->c, 1), *v = ag_mul(w, 2);
        if (!ag_register_hook(v, queues_inner, k) || !ag_backward(v))
            return NULL;
    }
    /* that of the inner pass has been called, ours has not */
    if (k->inner_called != 1 || k->called != 0)
        ag_fail(k->c, AG_ERR_INTERNAL, "%d inner, %d outer calls", k->inner_called, k->called);
    return NULL;
}

static void t_callbacks_belong_to_their_pass(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    callbacks k = { .c = c, .x = x };
    CHECK(ag_register_hook(y, nests, &k) && ag_backward(y));
    CHECK_INT(k.called, 1);
    CHECK_INT(k.inner_called, 1);
}

static void t_callbacks_need_a_pass(ag_context *c)
{
    callbacks k = { .c = c };
    CHECK_ERROR(ag_queue_callback(c, at_the_end, &k), AG_ERR_GRAD,
                "Final callbacks can only be installed during backward pass.");
    ag_tensor *x = leaf(c, 2);
    CHECK(ag_backward(ag_mul(x, x)));
    CHECK_ERROR(ag_queue_callback(c, at_the_end, &k), AG_ERR_GRAD, "Final callbacks");
    CHECK_INT(k.called, 0);
}

/* ---- passes that stop ---- */

static ag_tensor *cancels(ag_tensor *grad, void *user)
{
    (void)grad;
    ag_set_cancelled(user, true);
    return NULL;
}

static void t_cancelling(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_exp(x), *z = ag_mul(y, y);
    ag_hook *hook = ag_register_hook(y, cancels, c);
    CHECK(z && hook);
    WATCH(x);
    CHECK_ERROR(ag_backward(z), AG_ERR_CANCELLED, "cancel");
    CHECK_ERROR(ag_backward(z), AG_ERR_CANCELLED, "cancel"); /* until it is taken back */
    CHECK(!ag_grad_of(x));
    UNWATCH();
    ag_set_cancelled(c, false);
    ag_hook_remove(hook);
    CHECK(ag_backward(z));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 2 * exp(4), 1e-13);
}

static ag_tensor *refuses(ag_tensor *grad, void *user)
{
    const bool *refusing = user;
    if (*refusing)
        ag_fail(ag_context_of(grad), AG_ERR_VALUE, "not today");
    return NULL;
}

/* The second leaf is reached after the first has its gradient. */
static void t_a_failing_pass_changes_nothing(ag_context *c)
{
    bool refusing = true;
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *old = ag_scalar(c, 10, .dtype = AG_F64);
    ag_tensor *p = ag_exp(x), *y = ag_mul(p, ag_sin(w));
    CHECK(y && old && ag_set_grad(w, old) && ag_retain_grad(y));
    CHECK(ag_register_hook(x, refuses, &refusing));
    ag_memory_statistics before, after;
    ag_memory_stats(c, &before);
    WATCH(x);
    WATCH(w);
    for (int i = 0; i < 3; i++)
        CHECK_ERROR(ag_backward(y), AG_ERR_VALUE, "not today");
    UNWATCH();
    ag_memory_stats(c, &after);
    CHECK(!ag_grad_of(x) && !ag_grad_of(y) && ag_grad_of(w) == old);
    CHECK_CLOSE(ag_item(old), 10, 0);
    CHECK_INT(ag_version(old), 0);
    CHECK_INT(after.nodes, before.nodes);
    CHECK_INT(after.saved_bytes, before.saved_bytes);
    refusing = false;
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), exp(2) * sin(3), 1e-14);
    CHECK_CLOSE(ag_item(ag_grad_of(w)), 10 + exp(2) * cos(3), 1e-14);
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 1, 0);
}

/* ---- memory ---- */

static void t_rings_through_gradients(ag_context *c)
{
    ag_tensor *x = leaf(c, 2);
    CHECK(x);
    AG_SCOPE (c)
        CHECK(ag_backward(ag_exp(x), .create_graph = true));
    CHECK(n_nodes(c) > 0); /* x.grad is of a graph that holds x */
    ag_zero_grad(x);
    CHECK_INT(n_nodes(c), 0);
    AG_SCOPE (c) {
        ag_tensor *w = leaf(c, 2); /* a ring that nobody holds goes with the context */
        CHECK(ag_backward(ag_mul(ag_exp(w), w), .create_graph = true));
        CHECK(ag_backward(ag_grad_of(w), .create_graph = true));
    }
}

static void t_results_of_grad_hold_no_graph(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *g = NULL;
    CHECK(x);
    AG_SCOPE (c) {
        ag_tensor *y = ag_exp(ag_mul(x, x));
        CHECK(ag_grad(&y, 1, &x, 1, &g, .retain_graph = true));
        ag_keep(g);
    }
    CHECK_INT(n_nodes(c), 0);
    CHECK_CLOSE(ag_item(g), 4 * exp(4), 1e-13);
}

/* ---- large graphs ---- */

static void t_a_chain_of_a_million(ag_context *c)
{
    const int n = harness_faults() ? 50 : 1000000;
    ag_tensor *x = leaf(c, 1), *y = ag_mul(x, 1);
    for (int i = 0; i < n; i++) {
        ag_tensor *next = i % 2 ? ag_neg(y) : ag_add(y, x);
        ag_drop(y);
        CHECK(y = next);
    }
    CHECK(ag_backward(y));
    /* y_{k+2} = -(y_k + x): of every four operations two cancel out */
    double expected = 1;
    for (int i = 0; i < n; i++)
        expected = i % 2 ? -expected : expected + 1;
    CHECK_CLOSE(ag_item(ag_grad_of(x)), expected, 0);
    ag_drop(y);
    CHECK_INT(n_nodes(c), 0);
}

static void t_a_chain_that_is_dropped(ag_context *c)
{
    const int n = harness_faults() ? 50 : 300000;
    ag_tensor *x = leaf(c, 1), *y = ag_mul(x, 1);
    for (int i = 0; i < n; i++) {
        ag_tensor *next = ag_mul(y, y);
        ag_drop(y);
        CHECK(y = next);
    }
    ag_drop(y);
    CHECK_INT(n_nodes(c), 0);
}

enum { FAN = 20000 };

static void t_wide_fans(ag_context *c)
{
    const int n = harness_faults() ? 20 : FAN;
    static ag_tensor *same[FAN], *many[FAN];
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 3);
    for (int i = 0; i < n; i++) {
        same[i] = y;
        CHECK(many[i] = ag_mul(y, i));
    }
    ag_tensor *stack = ag_stack(same, n, 0);
    CHECK(ag_backward(ag_sum(stack)));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 3. * n, 0);
    ag_zero_grad(x);
    CHECK(ag_backward_all(many, n));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 3. * n * (n - 1) / 2, 1e-14);
}

/* ---- a random graph, and the same in arrays ---- */

enum { DAG = 100000, DAG_LEAVES = 16, DAG_NEAR = 200 };
typedef struct {
    int kind, a, b;
    double value, gradient;
    ag_tensor *t;
} dag_node;

static uint32_t dag_dice;
static int dag_roll(int n)
{
    dag_dice = dag_dice * 1664525u + 1013904223u;
    return (int)((dag_dice >> 8) % (uint32_t)n);
}

static void dag_grow(dag_node *d, int i)
{
    const int near = i < DAG_NEAR ? i : DAG_NEAR;
    d->kind = dag_roll(10);
    d->a = i - 1 - dag_roll(near);
    d->b = dag_roll(50) ? i - 1 - dag_roll(near) : dag_roll(i);
    const dag_node *a = d - i + d->a, *b = d - i + d->b;
    switch (d->kind) {
    case 0:
        d->value = tanh(a->value);
        d->t = ag_tanh(a->t);
        break;
    case 1:
        d->value = a->value * b->value;
        d->t = ag_mul(a->t, b->t);
        break;
    case 2:
        d->value = sin(a->value);
        d->t = ag_sin(a->t);
        break;
    case 3:
        d->value = -a->value;
        d->t = ag_neg(a->t);
        break;
    default: d->value = a->value + .25 * (b->value - a->value); d->t = ag_lerp(a->t, b->t, .25);
    }
    CHECK(d->t);
}

static void dag_back(const dag_node *d, dag_node *a, dag_node *b)
{
    const double g = d->gradient;
    switch (d->kind) {
    case 0: a->gradient += g * (1 - d->value * d->value); break;
    case 1: {
        const double u = a->value, v = b->value;
        a->gradient += g * v;
        b->gradient += g * u;
        break;
    }
    case 2: a->gradient += g * cos(a->value); break;
    case 3: a->gradient -= g; break;
    default: a->gradient += .75 * g; b->gradient += .25 * g;
    }
}

static void t_random_graphs(ag_context *c)
{
    static dag_node dag[DAG];
    memset(dag, 0, sizeof dag);
    const int n = harness_faults() ? 60 : DAG;
    dag_dice = 7;
    for (int i = 0; i < n; i++) {
        if (i < DAG_LEAVES) {
            dag[i].value = dag_roll(2001) / 1000. - 1;
            CHECK(dag[i].t = leaf(c, dag[i].value));
        } else {
            dag_grow(&dag[i], i);
        }
    }
    ag_tensor *roots[3], *gradients[3];
    for (int k = 0; k < 3; k++) {
        dag[n - 1 - 7 * k].gradient = k + 1;
        roots[k] = dag[n - 1 - 7 * k].t;
        CHECK(gradients[k] = ag_scalar(c, k + 1, .dtype = AG_F64));
    }
    for (int i = n - 1; i >= DAG_LEAVES; i--)
        dag_back(&dag[i], &dag[dag[i].a], &dag[dag[i].b]);
    CHECK(ag_backward_all(roots, 3, .gradients = gradients));
    double sum = 0;
    for (int i = 0; i < DAG_LEAVES; i++) {
        ag_tensor *g = ag_grad_of(dag[i].t);
        CHECK_CLOSE(g ? ag_item(g) : 0, dag[i].gradient, 1e-10);
        sum += fabs(dag[i].gradient);
    }
    CHECK(sum > 1e-3 || harness_faults()); /* there was something to compare */
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_inputs_that_are_leaves), TEST(t_inputs_that_are_results),
               TEST(t_inputs_above_and_below_each_other), TEST(t_a_root_as_input),
               TEST(t_an_input_named_twice_accumulates_once), TEST(t_what_is_pruned_is_not_freed),
               TEST(t_unreachable_inputs), TEST(t_unused_inputs_as_zeros),
               TEST(t_edges_as_inputs_and_roots), TEST(t_edges_outlive_their_tensors),
               TEST(t_edges_of_leaves), TEST(t_roots_given_twice), TEST(t_roots_below_roots),
               TEST(t_roots_with_gradients), TEST(t_a_leaf_as_root),
               TEST(t_one_element_is_a_scalar), TEST(t_retain_graph),
               TEST(t_nodes_without_saved_values_run_again), TEST(t_create_graph_keeps_values),
               TEST(t_second_loss_over_a_freed_trunk), TEST(t_passes_have_a_mode_of_their_own),
               TEST(t_accumulates_in_place), TEST(t_accumulates_beside_with_create_graph),
               TEST(t_accumulates_into_a_given_gradient), TEST(t_retained_gradients_are_replaced),
               TEST(t_gradients_do_not_alias), TEST(t_buffers_are_added_to_by_one_owner),
               TEST(t_broadcast_operands_get_sums), TEST(t_broadcast_over_nothing),
               TEST(t_gradients_have_the_dtype_of_the_operand),
               TEST(t_undefined_gradients_stay_undefined), TEST(t_order_of_nodes),
               TEST(t_passes_2000_deep), TEST(t_a_pass_over_the_graph_of_its_pass),
               TEST(t_an_inner_pass_frees_for_the_outer), TEST(t_errors_of_inner_passes_come_out),
               TEST(t_callbacks_come_at_the_end), TEST(t_callbacks_add_callbacks),
               TEST(t_callbacks_belong_to_their_pass), TEST(t_callbacks_need_a_pass),
               TEST(t_cancelling), TEST(t_a_failing_pass_changes_nothing),
               TEST(t_rings_through_gradients), TEST(t_results_of_grad_hold_no_graph),
               TEST(t_a_chain_of_a_million), TEST(t_a_chain_that_is_dropped), TEST(t_wide_fans),
               TEST(t_random_graphs));
}
