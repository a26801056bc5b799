/*
 * Rules of one's own, and functions that a backward pass calls: a custom function with its gradient, a
 * hook that clips gradients on their way, one that looks at each node, and one that applies a step as
 * soon as a leaf has its gradient. Any error ends the program with its message.
 */
#include <autograd.h>

#include <stdio.h>

static void show(const char *what, ag_tensor *t)
{
    printf("%s = ", what);
    ag_print(t);
}

/* ---- round, with the gradient of the identity: the straight-through estimator ---- */

static bool round_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)ctx, (void)n, (void)m;
    out[0] = ag_round(in[0]);
    return out[0] != NULL;
}

static bool round_backward(ag_ctx *ctx, ag_tensor *const *grad_out, ag_tensor **grad_in)
{
    (void)ctx;
    grad_in[0] = grad_out[0];
    return true;
}

static void straight_through(ag_context *c)
{
    static const ag_custom custom = { .name = "Round",
                                      .forward = round_forward,
                                      .backward = round_backward };
    printf("y = round(x), dy/dx taken as 1\n");
    ag_tensor *x = ag_array(c, AG_VALUES(.2, .7, 1.6), AG_SHAPE(3), .requires_grad = true), *y;
    if (!ag_apply(&custom, &x, 1, &y, 1, NULL))
        return;
    show("y", y);
    ag_backward(ag_sum(ag_mul(y, y)));
    show("d sum y^2 / dx", ag_grad_of(x));
}

/* ---- x^3, which saves x, and can be differentiated as often as one likes ---- */

static bool cube_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)m;
    out[0] = ag_mul(in[0], ag_mul(in[0], in[0]));
    return out[0] && ag_ctx_save(ctx, in, n);
}

static bool cube_backward(ag_ctx *ctx, ag_tensor *const *grad_out, ag_tensor **grad_in)
{
    ag_tensor *x = ag_ctx_saved(ctx, 0);
    grad_in[0] = ag_mul(grad_out[0], ag_mul(3, ag_mul(x, x)));
    return grad_in[0] != NULL;
}

static void cube(ag_context *c)
{
    static const ag_custom custom = { .name = "Cube",
                                      .forward = cube_forward,
                                      .backward = cube_backward };
    printf("\ny = x^3 at x = 2:  y' = 12, y'' = 12\n");
    ag_tensor *x = ag_scalar(c, 2, .requires_grad = true), *y, *first, *second;
    if (!ag_apply(&custom, &x, 1, &y, 1, NULL))
        return;
    show("y", y);
    ag_grad(&y, 1, &x, 1, &first, .create_graph = true);
    ag_grad(&first, 1, &x, 1, &second);
    show("y'", first);
    show("y''", second);
}

/* ---- hooks ---- */

static ag_tensor *clip(ag_tensor *grad, void *user)
{
    const double *limit = user;
    return ag_clamp(grad, -*limit, *limit);
}

static void tell(ag_tensor **grads_in, int n_in, ag_tensor *const *grads_out, int n_out, void *user)
{
    (void)grads_in, (void)grads_out, (void)n_out;
    printf("  %s gave %d gradients\n", (const char *)user, n_in);
}

static void step(ag_tensor *leaf, void *user)
{
    const double *rate = user;
    AG_NO_GRAD (ag_context_of(leaf))
        ag_sub_(leaf, ag_mul(ag_grad_of(leaf), *rate));
    ag_zero_grad(leaf);
}

static void hooks(ag_context *c)
{
    double limit = 1, rate = .1;
    printf("\ngradients clipped to [-1, 1] on their way, and a step of .1 as they arrive\n");
    ag_tensor *w = ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3), .requires_grad = true);
    ag_tensor *y = ag_mul(w, 2), *loss = ag_sum(ag_exp(y));
    ag_register_hook(y, clip, &limit);
    ag_node_register_hook(ag_grad_fn(loss), tell, (void *)ag_node_name(ag_grad_fn(loss)));
    ag_register_post_accumulate_grad_hook(w, step, &rate);
    ag_backward(loss);
    show("w", w);
}

int main(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    straight_through(c);
    cube(c);
    hooks(c);
    ag_close(c);
    return 0;
}
