/*
 * A tour of automatic differentiation: each example states its mathematics, computes it and prints
 * what comes out. Any error ends the program with its message (ag_print_and_exit), except where an
 * example is about the error itself.
 */
#include <autograd.h>

#include <stdio.h>

static void show(const char *what, ag_tensor *t)
{
    printf("%s = ", what);
    ag_print(t);
}

/* Prints the pending error and clears it: for the examples that are about an error. */
static void show_error(ag_context *c)
{
    const ag_status *status = ag_error(c);
    printf("error: %s\n", status ? status->message : "none");
    ag_error_clear(c);
}

static void product(ag_context *c)
{
    printf("y = (x + w)(w + 1) at x = 2, w = 1:  "
           "dy/dw = (w + 1) + (x + w) = 5,  dy/dx = w + 1 = 2\n");
    ag_tensor *x = ag_array(c, AG_VALUES(2), AG_SHAPE(1), .requires_grad = true);
    ag_tensor *w = ag_array(c, AG_VALUES(1), AG_SHAPE(1), .requires_grad = true);
    ag_tensor *y = ag_mul(ag_add(x, w), ag_add(w, 1));
    ag_backward(y);
    show("w.grad", ag_grad_of(w));
    show("x.grad", ag_grad_of(x));
}

static void scalar(ag_context *c)
{
    printf("\nb = a^2 + 1 at a = 2:  db/da = 2a = 4\n");
    ag_tensor *a = ag_scalar(c, 2);
    show("b", ag_add(ag_pow(a, 2), 1));
    ag_requires_grad_(a, true);
    ag_tensor *b = ag_add(ag_pow(a, 2), 1);
    show("b", b);
    ag_backward(b);
    show("a.grad", ag_grad_of(a));
}

/* c has no .on_error: the first backward is meant to fail. */
static void vector(ag_context *c)
{
    printf("\nb = a^2 + 1 at a = [1, 2]:  b is no scalar; (1, 1) db/da = 2a = [2, 4]\n");
    ag_tensor *a = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .requires_grad = true);
    ag_tensor *b = ag_add(ag_pow(a, 2), 1);
    show("b", b);
    if (!ag_backward(b))
        show_error(c);
    ag_backward(b, .gradient = ag_ones_like(b));
    show("a.grad", ag_grad_of(a));
}

static void twice(ag_context *c)
{
    printf("\nz = 3 (x + 2)^2 at x = [[1, 2, 3], [4, 5, 6]]:  dz/dx = 6 (x + 2)\n");
    ag_tensor *x = ag_array(c, AG_VALUES(1, 2, 3, 4, 5, 6), AG_SHAPE(2, 3), .requires_grad = true);
    ag_tensor *z = ag_mul(3, ag_pow(ag_add(x, 2), 2));
    ag_tensor *ones = ag_ones_like(z), *first = NULL, *second = NULL;
    ag_grad(&z, 1, &x, 1, &first, .grad_outputs = &ones);
    show("dz/dx", first);
    if (!ag_grad(&z, 1, &x, 1, &second, .grad_outputs = &ones))
        show_error(c);

    printf("\nthe same with create_graph:  d2z/dx2 = 6\n");
    z = ag_mul(3, ag_pow(ag_add(x, 2), 2));
    ag_grad(&z, 1, &x, 1, &first, .grad_outputs = &ones, .create_graph = true);
    ag_grad(&first, 1, &x, 1, &second, .grad_outputs = &ones);
    show("d2z/dx2", second);
}

static void counter(ag_context *c)
{
    printf("\nfirst = 0, second = 10; while first < second: first += 2, second += 1\n");
    ag_tensor *first = ag_scalar(c, 0, .dtype = AG_I64);
    ag_tensor *second = ag_scalar(c, 10, .dtype = AG_I64);
    while (ag_item(ag_lt(first, second)) == 1) {
        first = ag_add(first, 2);
        second = ag_add(second, 1);
    }
    show("first", first);
    show("second", second);
}

int main(void)
{
    ag_context *strict = ag_open(.on_error = ag_print_and_exit), *lenient = ag_open();
    if (!strict || !lenient)
        return 1;
    product(strict);
    scalar(strict);
    vector(lenient);
    twice(lenient);
    counter(strict);

    const ag_status *status = ag_error(lenient);
    if (status)
        fprintf(stderr, "tour: %s\n", status->message);
    const int failed = status != NULL;
    ag_close(lenient);
    ag_close(strict);
    return failed;
}
