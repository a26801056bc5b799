// The same from C++, which has no option macros and calls the functions behind them.
#include <autograd.h>

#include <cstdint>
#include <cstdio>

int main()
{
    ag_context *c = (ag_open)(nullptr);
    if (!c)
        return 1;

    const double values[] = { 1, 2, 3 };
    const std::int64_t shape[] = { 3 };
    ag_tensor_options options{};
    options.size = sizeof options;
    options.dtype = AG_F64;
    options.requires_grad = true;

    // y = sum x^2, so dy/dx = 2 x.
    ag_tensor *x = (ag_array)(c, ag_values{ values, 3 }, ag_ints{ shape, 1 }, &options);
    ag_tensor *y = (ag_sum)((ag_mul)(x, x), nullptr);
    bool ok = (ag_backward)(y, nullptr) && ag_item(y) == 14;
    double gradient[3] = {};
    ok = ag_copy_out(ag_grad_of(x), gradient, sizeof gradient) && ok;
    for (int i = 0; i < 3; i++) {
        std::printf("dy/dx[%d] = %g (expected %g)\n", i, gradient[i], 2 * values[i]);
        ok = gradient[i] == 2 * values[i] && ok;
    }
    if (ag_error(c))
        std::printf("error: %s\n", ag_error(c)->message);
    ag_close(c);
    return ok ? 0 : 1;
}
