/*
 * A compiled function is called like any other: the dynamic graph sees one node, which can be
 * differentiated as often as one likes. Behind it is a static graph, traced at the first call and
 * optimised, one for each signature of the inputs: their shapes, their dtypes, and which of them want
 * a gradient. Any error ends the program with its message.
 */
#include <autograd.h>

#include <stdio.h>

/* Results are part of a graph; what is printed is their value. */
static void show(const char *what, ag_tensor *t)
{
    printf("%s = ", what);
    ag_print(ag_detach(t));
}

/* y = sum x sin x */
static bool fn(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    int *calls = user;
    (void)n, (void)m;
    ++*calls;
    out[0] = ag_sum(ag_mul(in[0], ag_sin(in[0])));
    return out[0] != NULL;
}

static void derivatives(ag_context *c, ag_function *f)
{
    ag_tensor *x = ag_array(c, AG_VALUES(.5, 1, 2), AG_SHAPE(3), .requires_grad = true);
    ag_tensor *y, *first, *second;
    ag_call(f, &x, 1, &y, 1);
    ag_grad(&y, 1, &x, 1, &first, .create_graph = true);
    ag_tensor *sum = ag_sum(first);
    ag_grad(&sum, 1, &x, 1, &second);
    printf("y = sum x sin x at x = [0.5, 1, 2]\n");
    show("y", y);
    show("y'", first);
    show("sin x + x cos x", ag_add(ag_sin(x), ag_mul(x, ag_cos(x))));
    show("y''", second);
    show("2 cos x - x sin x", ag_sub(ag_mul(2, ag_cos(x)), ag_mul(x, ag_sin(x))));
}

/* Gradients flow through the call like through any other operation. */
static void inside_a_graph(ag_context *c, ag_function *f)
{
    printf("\nz = exp(-y) at x = 2w, w = [0.25, 0.5, 1]:  dz/dw = -2 exp(-y) y'\n");
    ag_tensor *w = ag_array(c, AG_VALUES(.25, .5, 1), AG_SHAPE(3), .requires_grad = true);
    ag_tensor *x = ag_mul(2, w), *y;
    ag_call(f, &x, 1, &y, 1);
    ag_backward(ag_exp(ag_neg(y)));
    show("w.grad", ag_grad_of(w));
}

static void call(ag_function *f, const char *what, ag_tensor *x)
{
    ag_tensor *y;
    ag_call(f, &x, 1, &y, 1);
    printf("%-28s y = %.4f, traces so far: %d\n", what, ag_item(y), ag_function_traces(f));
}

static void signatures(ag_context *c, ag_function *f)
{
    printf("\none trace for each signature\n");
    call(f, "3 numbers that want one:", ag_ones(c, AG_SHAPE(3), .requires_grad = true));
    call(f, "3 that want no gradient:", ag_ones(c, AG_SHAPE(3)));
    call(f, "3 others:", ag_zeros(c, AG_SHAPE(3)));
    call(f, "2 by 2:", ag_ones(c, AG_SHAPE(2, 2)));
    call(f, "2 by 2 in double:", ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_F64));
    call(f, "3 numbers again:", ag_ones(c, AG_SHAPE(3)));
}

int main(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    int calls = 0;
    ag_function *f = ag_compile(c, fn, 1, &calls);
    derivatives(c, f);
    inside_a_graph(c, f);
    signatures(c, f);
    printf("calls of the C function: %d\n", calls);
    ag_function_free(f);
    ag_close(c);
    return 0;
}
