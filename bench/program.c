/*
 * A chain of eight pointwise operations on float32, one by one and as a program in one walk
 * (src/ops/program.h): ns per run, for one element to a million.
 *
 *   arithmetic   x w + b, times x, minus w, relu, times b, plus x, squared
 *   functions    exp, sigmoid and tanh among them
 *   ... summed   the same and the sum of the result, which the program does not write
 *
 * Each figure is the least of several samples: the machine's other work only ever adds.
 */
#define _POSIX_C_SOURCE 200809L

#include <autograd.h>

#include <stdio.h>

#include "../src/ops/program.h"
#include "timing.h"

enum { SAMPLES = 15, ELEMENTS = 2000000, STEPS = 8, INPUTS = 3 };

static const struct {
    const char *name;
    ag__program_step steps[STEPS];
} chains[] = {
    { "arithmetic",
      { { AG_OP_mul, AG_F32, AG_F32, { 0, 1 }, 0, 0 },
        { AG_OP_add, AG_F32, AG_F32, { 3, 2 }, 0, 0 },
        { AG_OP_mul, AG_F32, AG_F32, { 4, 0 }, 0, 0 },
        { AG_OP_sub, AG_F32, AG_F32, { 5, 1 }, 0, 0 },
        { AG_OP_relu, AG_F32, AG_F32, { 6 }, 0, 0 },
        { AG_OP_mul, AG_F32, AG_F32, { 7, 2 }, 0, 0 },
        { AG_OP_add, AG_F32, AG_F32, { 8, 0 }, 0, 0 },
        { AG_OP_square, AG_F32, AG_F32, { 9 }, 0, 0 } } },
    { "functions",
      { { AG_OP_mul, AG_F32, AG_F32, { 0, 1 }, 0, 0 },
        { AG_OP_exp, AG_F32, AG_F32, { 3 }, 0, 0 },
        { AG_OP_add, AG_F32, AG_F32, { 4, 2 }, 0, 0 },
        { AG_OP_sigmoid, AG_F32, AG_F32, { 5 }, 0, 0 },
        { AG_OP_sub, AG_F32, AG_F32, { 6, 1 }, 0, 0 },
        { AG_OP_tanh, AG_F32, AG_F32, { 7 }, 0, 0 },
        { AG_OP_mul, AG_F32, AG_F32, { 8, 0 }, 0, 0 },
        { AG_OP_add, AG_F32, AG_F32, { 9, 2 }, 0, 0 } } },
};

/* The chain by public operations; dropped results go back to the cache at once. */
static void run_one_by_one(ag_tensor *const *in, const ag__program_step *steps, bool summed)
{
    ag_tensor *values[INPUTS + STEPS] = { in[0], in[1], in[2] };
    for (int i = 0; i < STEPS; i++) {
        ag_tensor *a = values[steps[i].in[0]], *b = values[steps[i].in[1]];
        const int row = steps[i].row;
        values[INPUTS + i] = row == AG_OP_mul       ? ag_mul(a, b)
                             : row == AG_OP_add     ? ag_add(a, b)
                             : row == AG_OP_sub     ? ag_sub(a, b)
                             : row == AG_OP_relu    ? ag_relu(a)
                             : row == AG_OP_exp     ? ag_exp(a)
                             : row == AG_OP_sigmoid ? ag_sigmoid(a)
                             : row == AG_OP_tanh    ? ag_tanh(a)
                                                    : ag_square(a);
        if (i > 0)
            ag_drop(a);
    }
    ag_tensor *last = values[INPUTS + STEPS - 1];
    if (summed)
        ag_drop(ag_sum(last));
    ag_drop(last);
}

static double least(double a, double b) { return a < b ? a : b; }

static void measure(ag_context *c, int chain, int64_t n, bool summed)
{
    const ag__program_step *steps = chains[chain].steps;
    const int64_t times = ELEMENTS / n < 20000 ? ELEMENTS / n + 1 : 20000;
    double by_one = 1e18, together = 1e18;
    AG_SCOPE (c) {
        ag_tensor *in[INPUTS] = { ag_rand(c, AG_SHAPE(n)), ag_rand(c, AG_SHAPE(n)),
                                  ag_rand(c, AG_SHAPE(n)) };
        const ag_ints shape = { &n, 1 };
        ag_tensor *to = summed ? ag_scalar(c, 0) : ag_zeros(c, shape);
        const ag__program_output out = { INPUTS + STEPS - 1,
                                         summed ? (int)AG_REDUCE_SUM : (int)AG_PROGRAM_ALL, to };
        const ag__program_text text = { shape, 1, false, in, INPUTS, steps, STEPS, &out, 1 };
        ag__program *p = ag__program_new(c, &text);
        for (int k = 0; k < SAMPLES; k++) {
            double start = now_ns();
            for (int64_t i = 0; i < times; i++)
                run_one_by_one(in, steps, summed);
            by_one = least(by_one, (now_ns() - start) / (double)times);
            start = now_ns();
            for (int64_t i = 0; i < times; i++)
                ag__program_run(p);
            together = least(together, (now_ns() - start) / (double)times);
        }
        ag__program_free(p);
    }
    printf("%-10s %-7s %9lld %13.0f %13.0f %8.1f\n", chains[chain].name, summed ? "summed" : "",
           (long long)n, by_one, together, by_one / together);
}

int main(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    if (!c)
        return 1;
    printf("%s\n\n%-18s %9s %13s %13s %8s\n", ag_build_info(), "ns per run of 8 steps", "elements",
           "one by one", "program", "ratio");
    for (int chain = 0; chain < 2; chain++)
        for (int summed = 0; summed < 2; summed++)
            for (int64_t n = 1; n <= 1000000; n = n == 1 ? 16 : n == 16 ? 1000 : 1000 * n)
                measure(c, chain, n, summed);
    ag_close(c);
    return 0;
}
