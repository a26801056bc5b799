/* A program outside the library: y = (x + w)(w + 1) at x = 2, w = 1, and its gradient. */
#include <autograd.h>

#include <stdio.h>

/* Prints what came out; true when it is what the formula says. */
static bool matches(const char *what, ag_tensor *t, double wanted)
{
    const double value = t ? ag_item(t) : 0;
    printf("%s = %g (expected %g)\n", what, value, wanted);
    return t && value == wanted;
}

int main(void)
{
    ag_context *c = ag_open();
    bool ok = c != NULL;
    AG_SCOPE (c) {
        ag_tensor *x = ag_scalar(c, 2, .requires_grad = true);
        ag_tensor *w = ag_scalar(c, 1, .requires_grad = true);
        ag_tensor *y = ag_mul(ag_add(x, w), ag_add(w, 1));
        ok = ag_backward(y) && ok;
        ok = matches("y", y, 6) && ok;
        ok = matches("dy/dx", ag_grad_of(x), 2) && ok;
        ok = matches("dy/dw", ag_grad_of(w), 5) && ok;
        AG_NO_GRAD (c) {
            ok = !ag_requires_grad(ag_mul(x, w)) && ok;
        }
    }
    if (c && ag_error(c))
        printf("error: %s\n", ag_error(c)->message);
    ag_close(c);
    return ok ? 0 : 1;
}
