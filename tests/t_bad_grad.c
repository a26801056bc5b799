/* Bad inputs of differentiation, of gradients as fields, and of optimisers. A pass that fails
 * leaves gradients, graph and versions as they were, and can be repeated. */
#include "harness.h"

static const char second[] =
    "Trying to backward through the graph a second time (or directly access saved tensors after "
    "they "
    "have already been freed). Saved intermediate values of the graph are freed when you call "
    ".backward() or autograd.grad(). Specify retain_graph=True if you need to backward through the "
    "graph a second time or if you need to access saved tensors after calling backward.";

/* ---- roots ---- */

static void t_roots(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true), *y = ag_mul(x, x),
              *s = ag_sum(y);
    ag_tensor *plain = ag_ones(c, AG_SHAPE(2, 3)), *g = NULL;
    CHECK(x && y && s && plain);
    ag_tensor *both[] = { s, y }, *mixed[] = { s, ag_sum(plain) }, *hole[] = { s, NULL };
    WATCH(x);
    WATCH(y);
    static const char scalar[] = "grad can be implicitly created only for scalar outputs";
    static const char none[] = "does not require grad and does not have a grad_fn";
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, scalar);
    CHECK_ERROR(ag_backward(x), AG_ERR_GRAD, scalar);
    CHECK_ERROR(ag_backward(ag_mul(ag_slice(x, 0, 0, 0, 1), 1)), AG_ERR_GRAD, scalar);
    CHECK_ERROR(ag_backward_all(both, 2), AG_ERR_GRAD, scalar);
    CHECK_ERROR(ag_grad(&y, 1, &x, 1, &g), AG_ERR_GRAD, scalar);
    CHECK_ERROR(ag_backward(ag_sum(plain)), AG_ERR_GRAD,
                "element 0 of tensors does not require grad");
    CHECK_ERROR(ag_backward(plain), AG_ERR_GRAD, none);
    CHECK_ERROR(ag_backward_all(mixed, 2), AG_ERR_GRAD,
                "element 1 of tensors does not require grad");
    CHECK_ERROR(ag_backward_all(hole, 2), AG_ERR_VALUE, "tensor 1 is NULL");
    CHECK_ERROR(ag_grad(hole, 2, &x, 1, &g), AG_ERR_VALUE, "tensor 1 is NULL");
    CHECK_ERROR(ag_grad(mixed, 2, &x, 1, &g), AG_ERR_GRAD,
                "element 1 of tensors does not require grad");
    CHECK_ERROR(ag_backward(ag_detach(s)), AG_ERR_GRAD, none);
    CHECK_ERROR(ag_backward(ag_sum(ag_gt(x, 0))), AG_ERR_GRAD, none);
    CHECK_ERROR(ag_backward(ag_argmax(ag_reshape(x, AG_SHAPE(6)), 0, false)), AG_ERR_GRAD, none);
    CHECK_ERROR(ag_backward(ag_sum(ag_to(x, AG_I64))), AG_ERR_GRAD, none);
    AG_NO_GRAD (c)
        CHECK_ERROR(ag_backward(ag_sum(x)), AG_ERR_GRAD, none);
    CHECK(!g && !ag_grad_of(x));
    CHECK(ag_backward(s));
}

static void t_gradients_of_roots(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true), *y = ag_mul(x, x),
              *s = ag_sum(y);
    ag_tensor *one = ag_ones(c, AG_SHAPE(1)), *g = NULL;
    CHECK(x && y && s && one);
    ag_tensor *both[] = { s, y }, *gradients[] = { NULL, ag_ones(c, AG_SHAPE(3, 2)) };
    WATCH(x);
    CHECK_ERROR(ag_backward(y, .gradient = ag_ones(c, AG_SHAPE(3))), AG_ERR_SHAPE,
                "Mismatch in shape: grad_output[0] has a shape of [3] and output[0] has a shape of "
                "[2, 3].");
    CHECK_ERROR(
        ag_backward(s, .gradient = one), AG_ERR_SHAPE,
        "Mismatch in shape: grad_output[0] has a shape of [1] and output[0] has a shape of [].");
    CHECK_ERROR(ag_backward_all(both, 2, .gradients = gradients), AG_ERR_SHAPE,
                "Mismatch in shape: grad_output[1] has a shape of [3, 2] and output[1] has a shape "
                "of [2, 3].");
    CHECK_ERROR(ag_grad(&s, 1, &x, 1, &g, .grad_outputs = &one), AG_ERR_SHAPE, "Mismatch in shape");
    CHECK_ERROR(ag_backward(y, .gradient = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_I64)),
                AG_ERR_DTYPE, "gradient 0 has dtype int64; gradients are floating point");
    CHECK_ERROR(ag_backward(y, .gradient = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_BOOL)),
                AG_ERR_DTYPE, "gradient 0 has dtype bool");
    CHECK(!g);
    UNWATCH();
    CHECK(ag_backward(y, .gradient = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_F64))); /* is cast */
    CHECK_INT(ag_dtype_of(ag_grad_of(x)), AG_F32);
}

/* ---- inputs ---- */

static void t_inputs(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true),
              *w = ag_ones(c, AG_SHAPE(2), .requires_grad = true);
    ag_tensor *plain = ag_ones(c, AG_SHAPE(2)), *s = ag_sum(ag_mul(x, x)), *g[2] = { plain, plain };
    CHECK(x && w && plain && s);
    ag_tensor *unused[] = { x, w }, *bad[] = { x, plain }, *hole[] = { x, NULL };
    WATCH(x);
    WATCH(w);
    CHECK_ERROR(ag_backward(s, .inputs = unused, .n_inputs = 0), AG_ERR_GRAD,
                "`inputs` argument to `backward()` cannot be empty.");
    CHECK_ERROR(ag_backward(s, .inputs = unused, .n_inputs = -3), AG_ERR_GRAD, "cannot be empty.");
    CHECK_ERROR(ag_backward(s, .inputs = bad, .n_inputs = 2), AG_ERR_GRAD, "does not require grad");
    CHECK_ERROR(ag_backward(s, .inputs = hole, .n_inputs = 2), AG_ERR_VALUE, "input 1 is NULL");
    CHECK_ERROR(ag_grad(&s, 1, bad, 2, g), AG_ERR_GRAD,
                "One of the differentiated Tensors does not require grad");
    CHECK_ERROR(ag_grad(&s, 1, hole, 2, g), AG_ERR_VALUE, "input 1 is NULL");
    CHECK_ERROR(ag_grad(&s, 1, NULL, 0, g), AG_ERR_VALUE, "grad requires non-empty inputs.");
    CHECK_ERROR(ag_grad(&s, 1, NULL, 2, g), AG_ERR_VALUE, "grad requires non-empty inputs.");
    CHECK_ERROR(ag_grad(&s, 1, unused, 0, g), AG_ERR_VALUE, "grad requires non-empty inputs.");
    CHECK_ERROR(ag_grad(&s, 1, unused, -1, g), AG_ERR_VALUE, "grad requires non-empty inputs.");
    CHECK_ERROR(ag_grad(&s, 1, unused, 2, NULL), AG_ERR_VALUE, "ag_grad: ");
    CHECK_ERROR(ag_grad(&s, 1, unused, 2, g, .batched = true), AG_ERR_VALUE,
                "ag_grad: .batched needs a grad_output, whose first dimension is the batch");
    CHECK_ERROR(ag_grad(&s, 1, unused, 2, g), AG_ERR_GRAD,
                "One of the differentiated Tensors appears to not have been used in the graph. Set "
                "allow_unused=True if this is the desired behavior.");
    CHECK(g[0] == plain && g[1] == plain);
    CHECK(ag_grad(&s, 1, unused, 2, g, .allow_unused = true)); /* nothing was freed */
    CHECK(g[0] && !g[1]);
    UNWATCH();
    CHECK_ERROR(ag_grad(&s, 1, &x, 1, g), AG_ERR_GRAD, second);
}

/* ---- passes that fail midway ---- */

static void t_second_pass(ag_context *c)
{
    ag_tensor *x = ag_full(c, AG_SHAPE(2), 3, .requires_grad = true), *y = ag_mul(x, x), *g = NULL;
    ag_tensor *s = ag_sum(y), *t = ag_sum(ag_add(ag_mul(y, 2), ag_exp(x)));
    CHECK(s && t && ag_backward(s));
    WATCH(x);
    CHECK_ERROR(ag_backward(s), AG_ERR_GRAD, second);
    CHECK_ERROR(ag_backward(t), AG_ERR_GRAD, second); /* y's node has given its values up */
    CHECK_ERROR(ag_backward(t, .retain_graph = true), AG_ERR_GRAD, "[MulBackward0]");
    CHECK_ERROR(ag_grad(&t, 1, &x, 1, &g), AG_ERR_GRAD, second);
    CHECK_ERROR(ag_grad(&t, 1, &x, 1, &g, .create_graph = true), AG_ERR_GRAD, second);
    CHECK(!g);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(6, 6), 0);
}

/* Both branches accumulate into x, one of them fails: neither does. */
static void t_all_or_nothing(ag_context *c)
{
    ag_tensor *x = ag_full(c, AG_SHAPE(2), 3, .requires_grad = true), *w = ag_ones(c, AG_SHAPE(2));
    ag_tensor *s = ag_sum(ag_add(ag_exp(x), ag_mul(x, w))), *y = ag_sum(ag_mul(x, 5));
    CHECK(s && y && ag_backward(y) && ag_add_(w, 1));
    WATCH(x);
    for (int i = 0; i < 3; i++)
        CHECK_ERROR(ag_backward(s), AG_ERR_GRAD, "has been modified by an inplace operation");
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(5, 5), 0);
}

/* ---- fields ---- */

static void t_requires_grad(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y = ag_mul(x, 2);
    ag_tensor *i = ag_ones(c, AG_SHAPE(2), .dtype = AG_I64), *plain = ag_ones(c, AG_SHAPE(2));
    CHECK(x && y && i && plain);
    WATCH(y);
    WATCH(i);
    CHECK_ERROR(
        ag_requires_grad_(y, false), AG_ERR_GRAD,
        "you can only change requires_grad flags of leaf variables. If you want to use a computed "
        "variable in a subgraph that doesn't require differentiation use var_no_grad = "
        "var.detach().");
    CHECK_ERROR(ag_requires_grad_(i, true), AG_ERR_DTYPE,
                "only Tensors of floating point and complex dtype can require gradients");
    CHECK_ERROR(ag_retain_grad(plain), AG_ERR_GRAD,
                "can't retain_grad on Tensor that has requires_grad=False");
    CHECK_ERROR(ag_detach_(ag_select(x, 0, 0)), AG_ERR_GRAD,
                "Can't detach views in-place. Use detach() instead.");
    CHECK(ag_requires_grad_(y, true) == y && ag_requires_grad_(i, false) == i && ag_retain_grad(x));
}

/* The gradients are made before: NULL, for want of memory, would clear the field. */
static void t_setting_gradients(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true),
              *g = ag_ones(c, AG_SHAPE(2, 3));
    ag_tensor *two = ag_ones(c, AG_SHAPE(2)), *turned = ag_ones(c, AG_SHAPE(3, 2));
    ag_tensor *d = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_F64);
    CHECK(x && g && two && turned && d && ag_set_grad(x, g));
    WATCH(x);
    CHECK_ERROR(ag_set_grad(x, x), AG_ERR_GRAD, "can't assign Variable as its own grad");
    CHECK_ERROR(
        ag_set_grad(x, two), AG_ERR_SHAPE,
        "attempting to assign a gradient of size '[2]' to a tensor of size '[2, 3]'. Please ensure "
        "that the gradient and the tensor are the same size");
    CHECK_ERROR(ag_set_grad(x, turned), AG_ERR_SHAPE, "attempting to assign");
    CHECK_ERROR(
        ag_set_grad(x, d), AG_ERR_DTYPE,
        "attempting to assign a gradient with dtype 'float64' to a tensor with dtype 'float32'.");
    CHECK(ag_grad_of(x) == g);
    UNWATCH();
    CHECK(ag_set_grad(x, NULL) && !ag_grad_of(x) && !ag_error(c));
}

/* ---- drawing ---- */

static void t_drawing(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y = ag_mul(x, x);
    CHECK(x && y);
    WATCH(y);
    CHECK_ERROR(ag_write_dot(y, NULL), AG_ERR_VALUE, "ag_write_dot: path is NULL");
    CHECK_ERROR(ag_write_dot(y, harness_path(".")), AG_ERR_IO, "Is a directory");
    CHECK_ERROR(ag_write_dot(y, harness_path("no/folder.dot")), AG_ERR_IO,
                "No such file or directory");
    CHECK_ERROR(ag_write_dot(y, "/dev/full"), AG_ERR_IO, "/dev/full: No space left on device");
    CHECK(ag_set_name(x, "a \"quoted\\ name\n%s%n"));
    CHECK(ag_write_dot(y, harness_path("graph.dot")) && ag_write_dot(x, harness_path("graph.dot")));
}

/* ---- gradcheck ---- */

static bool square(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n;
    (void)m;
    (void)user;
    return (out[0] = ag_mul(in[0], in[0])) != NULL;
}

static bool fails(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n;
    (void)out;
    (void)m;
    return user ? ag_fail(ag_context_of(in[0]), AG_ERR_IO, "%s", (const char *)user) : false;
}

static bool gives_null(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)in;
    (void)n;
    (void)user;
    for (int i = 0; i < m; i++)
        out[i] = NULL;
    return true;
}

static void t_gradcheck(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *plain = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64), *hole[] = { x, NULL };
    ag_tensor *wide = ag_requires_grad_(ag_expand(ag_ones(c, AG_SHAPE(1)), AG_SHAPE(3)), true);
    CHECK(x && plain && wide);
    WATCH(x);
    CHECK_ERROR(ag_gradcheck(NULL, &x, 1, NULL), AG_ERR_VALUE, "the function is NULL");
    CHECK_ERROR(ag_gradgradcheck(NULL, &x, 1, NULL), AG_ERR_VALUE, "the function is NULL");
    CHECK_ERROR(ag_gradcheck(square, &x, 1, NULL, .n_outputs = -1), AG_ERR_VALUE,
                ".n_outputs is negative");
    CHECK_ERROR(ag_gradcheck(square, hole, 2, NULL), AG_ERR_VALUE, "input 1 is NULL");
    CHECK_ERROR(ag_gradcheck(square, &plain, 1, NULL), AG_ERR_VALUE,
                "gradcheck expects at least one input tensor to require gradient");
    CHECK_ERROR(ag_gradcheck(square, &wide, 1, NULL), AG_ERR_VALUE,
                "The 0th input has a dimension with stride 0.");
    CHECK_ERROR(ag_gradcheck(fails, &x, 1, NULL), AG_ERR_VALUE, "the function failed");
    CHECK_ERROR(ag_gradcheck(fails, &x, 1, "its own reason"), AG_ERR_IO, "its own reason");
    CHECK_ERROR(ag_gradcheck(gives_null, &x, 1, NULL), AG_ERR_VALUE, "output 0 is NULL");
    CHECK_ERROR(ag_gradgradcheck(fails, &x, 1, "its own reason"), AG_ERR_IO, "its own reason");
    CHECK_ERROR(
        ag_gradcheck(square, &x, 1, NULL, .no_reverse = true), AG_ERR_VALUE,
        "Expected at least one of check_forward_ad (.forward_mode) or check_backward_ad (not "
        ".no_reverse) to be True");
}

/* ---- optimisers ---- */

static void t_parameters(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y = ag_mul(x, 2);
    ag_tensor *plain = ag_ones(c, AG_SHAPE(2)),
              *h = ag_ones(c, AG_SHAPE(2), .dtype = AG_F16, .requires_grad = true);
    ag_tensor *wide = ag_requires_grad_(ag_expand(ag_ones(c, AG_SHAPE(1)), AG_SHAPE(3)), true);
    CHECK(x && y && plain && h && wide);
    ag_tensor *twice[] = { x, x }, *hole[] = { x, NULL };
    WATCH(x);
    CHECK_ERROR(ag_sgd(&y, 1), AG_ERR_VALUE, "can't optimize a non-leaf Tensor");
    CHECK_ERROR(ag_adam(&y, 1), AG_ERR_VALUE, "can't optimize a non-leaf Tensor");
    CHECK_ERROR(ag_sgd(&h, 1), AG_ERR_DTYPE, "parameter 0 is float16, expected float32 or float64");
    CHECK_ERROR(ag_adam(&wide, 1), AG_ERR_VALUE, "refers to a single memory location");
    CHECK_ERROR(ag_sgd(twice, 2), AG_ERR_VALUE, "parameters 0 and 1 are the same");
    CHECK_ERROR(ag_adam(hole, 2), AG_ERR_VALUE, "parameter 1 is NULL");
    CHECK(!ag_sgd(twice, 0) && !ag_sgd(twice, -1) && !ag_adam(twice, 0));
    ag_optimizer *o = ag_sgd(&plain, 1); /* as in PyTorch: it has no gradient and stays */
    const bool stepped = ag_step(o);
    ag_optimizer_free(o);
    CHECK(stepped && ag_version(plain) == 0);
}

static void t_rates(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true);
    CHECK(x);
    CHECK_ERROR(ag_sgd(&x, 1, .lr = -1), AG_ERR_VALUE, "Invalid learning rate: -1");
    CHECK_ERROR(ag_sgd(&x, 1, .lr = NAN), AG_ERR_VALUE, "Invalid learning rate: ");
    CHECK_ERROR(ag_sgd(&x, 1, .momentum = -1), AG_ERR_VALUE, "Invalid momentum value: -1");
    CHECK_ERROR(ag_sgd(&x, 1, .weight_decay = -1), AG_ERR_VALUE, "Invalid weight_decay value: -1");
    CHECK_ERROR(ag_sgd(&x, 1, .nesterov = true), AG_ERR_VALUE,
                "Nesterov momentum requires a momentum and zero dampening");
    CHECK_ERROR(ag_sgd(&x, 1, .nesterov = true, .momentum = 0.5, .dampening = 0.5), AG_ERR_VALUE,
                "Nesterov momentum requires a momentum and zero dampening");
    CHECK_ERROR(ag_adam(&x, 1, .lr = -1), AG_ERR_VALUE, "Invalid learning rate: -1");
    CHECK_ERROR(ag_adam(&x, 1, .beta1 = 1), AG_ERR_VALUE, "Invalid beta parameter at index 0: 1");
    CHECK_ERROR(ag_adam(&x, 1, .beta2 = 2), AG_ERR_VALUE, "Invalid beta parameter at index 1: 2");
    CHECK_ERROR(ag_adam(&x, 1, .beta2 = NAN), AG_ERR_VALUE, "Invalid beta parameter at index 1: ");
    CHECK_ERROR(ag_adam(&x, 1, .eps = -1), AG_ERR_VALUE, "Invalid epsilon value: -1");
}

/* The parameter's dtype or shape cannot change, but its gradient field can hold a view. */
static void t_steps(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true),
              *y = ag_ones(c, AG_SHAPE(2), .requires_grad = true);
    ag_tensor *params[] = { x, y };
    CHECK(x && y);
    ag_optimizer *o = ag_sgd(params, 2, .lr = 0.5);
    if (!o)
        FAIL("no optimiser");
    WATCH(y);
    const bool stepped = ag_set_grad(x, ag_expand(ag_scalar(c, 1), AG_SHAPE(2))) && ag_step(o);
    ag_optimizer_set_lr(o, -1);
    const bool refused = !ag_step(NULL) && ag_error(c) && ag_error(c)->code == AG_ERR_VALUE;
    ag_optimizer_free(o);
    CHECK(stepped && refused);
    CHECK_ERROR(false, AG_ERR_VALUE, "Invalid learning rate: -1");
    CHECK_VALUES(x, AG_SHAPE(2), AG_VALUES(0.5, 0.5), 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_roots), TEST(t_gradients_of_roots), TEST(t_inputs), TEST(t_second_pass),
               TEST(t_all_or_nothing), TEST(t_requires_grad), TEST(t_setting_gradients),
               TEST(t_drawing), TEST(t_gradcheck), TEST(t_parameters), TEST(t_rates),
               TEST(t_steps));
}
