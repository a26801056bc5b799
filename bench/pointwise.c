/*
 * What an element of a pointwise operation costs, in ns: the value, and the gradient of the first
 * operand, where the operands lie in L1, in L2 and L3, and in memory.
 *
 *     pointwise [NAME...]     only these operations
 *
 * Each figure is the least of several samples: the machine's other work only ever adds. The line
 * `copy` is what memcpy takes, of an array as long as the operand.
 */
#define _POSIX_C_SOURCE 200809L

#include <autograd.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "timing.h"

enum { SAMPLES = 9, ELEMENTS = 1000000, SIZES = 3 };

typedef struct {
    const char *name;
    ag_tensor *(*value)(ag_tensor *x, ag_tensor *w);
} operation;

static ag_tensor *run_add(ag_tensor *x, ag_tensor *w) { return ag_add(x, w); }
static ag_tensor *run_mul(ag_tensor *x, ag_tensor *w) { return ag_mul(x, w); }
static ag_tensor *run_scale(ag_tensor *x, ag_tensor *w) { return (void)w, ag_mul(x, 2); }
static ag_tensor *run_exp(ag_tensor *x, ag_tensor *w) { return (void)w, ag_exp(x); }
static ag_tensor *run_log(ag_tensor *x, ag_tensor *w) { return (void)w, ag_log(x); }
static ag_tensor *run_sin(ag_tensor *x, ag_tensor *w) { return (void)w, ag_sin(x); }
static ag_tensor *run_tanh(ag_tensor *x, ag_tensor *w) { return (void)w, ag_tanh(x); }
static ag_tensor *run_sigmoid(ag_tensor *x, ag_tensor *w) { return (void)w, ag_sigmoid(x); }
static ag_tensor *run_gelu(ag_tensor *x, ag_tensor *w) { return (void)w, ag_gelu(x, false); }
static ag_tensor *run_pow(ag_tensor *x, ag_tensor *w) { return ag_pow(x, w); }
static ag_tensor *run_lt(ag_tensor *x, ag_tensor *w) { return ag_lt(x, w); }
static ag_tensor *run_softmax(ag_tensor *x, ag_tensor *w) { return (void)w, ag_softmax(x, 0); }

static const operation operations[] = {
    { "add", run_add },   { "mul", run_mul },   { "mul by 2", run_scale },
    { "lt", run_lt },     { "exp", run_exp },   { "log", run_log },
    { "sin", run_sin },   { "tanh", run_tanh }, { "sigmoid", run_sigmoid },
    { "gelu", run_gelu }, { "pow", run_pow },   { "softmax", run_softmax },
};

/* ns per element of the value, or of the gradient that v asks for. */
static double sample(ag_context *c, const operation *o, ag_tensor *x, ag_tensor *w, ag_tensor *v)
{
    const int64_t n = ag_numel(x), times = ELEMENTS / n > 0 ? ELEMENTS / n : 1;
    ag_scope *s = ag_scope_begin(c);
    ag_tensor *y = v ? o->value(x, w) : NULL;
    const double start = now_ns();
    for (int64_t i = 0; i < times; i++) {
        AG_SCOPE (c) {
            ag_tensor *g;
            if (v)
                ag_grad(&y, 1, &x, 1, &g, .grad_outputs = &v, .retain_graph = true);
            else
                o->value(x, w);
        }
    }
    const double spent = now_ns() - start;
    ag_scope_end(s);
    return spent / (double)(times * n);
}

static double sample_copy(int64_t n, size_t size)
{
    const int64_t times = ELEMENTS / n > 0 ? ELEMENTS / n : 1;
    char *volatile from = malloc((size_t)n * size), *volatile to = malloc((size_t)n * size);
    if (!from || !to)
        exit(1);
    memset(from, 1, (size_t)n * size); /* the pages exist from here on */
    memset(to, 1, (size_t)n * size);
    const double start = now_ns();
    for (int64_t i = 0; i < times; i++)
        memcpy(to, from, (size_t)n * size);
    const double spent = now_ns() - start;
    free(from);
    free(to);
    return spent / (double)(times * n);
}

static double least(double a, double b) { return a < b ? a : b; }

static void measure(ag_context *c, const operation *o, ag_dtype dtype)
{
    static const int64_t sizes[SIZES] = { 1000, 100000, 10000000 };
    printf("%-10s", o->name);
    for (int i = 0; i < SIZES; i++) {
        double value = 1e9, gradient = 1e9;
        AG_SCOPE (c) {
            ag_tensor *x = ag_add(ag_mul(ag_rand(c, AG_SHAPE(sizes[i]), .dtype = dtype), .9), .05);
            ag_tensor *w = ag_rand(c, AG_SHAPE(sizes[i]), .dtype = dtype);
            ag_tensor *v = ag_ones(c, AG_SHAPE(sizes[i]), .dtype = dtype);
            for (int k = 0; k < SAMPLES; k++)
                value = least(value, sample(c, o, x, w, NULL));
            ag_requires_grad_(x, true);
            for (int k = 0; k < SAMPLES && o->value != run_lt; k++)
                gradient = least(gradient, sample(c, o, x, w, v));
        }
        if (o->value == run_lt)
            printf("  %8.3f %8s", value, "");
        else
            printf("  %8.3f %8.3f", value, gradient);
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    if (!c)
        return 1;
    printf("%s\n", ag_build_info());
    for (int d = 0; d < 2; d++) {
        printf("\n%-10s  %17s  %17s  %17s\n", d ? "float64" : "float32", "n = 1,000", "100,000",
               "10,000,000");
        printf("%-10s", "");
        for (int i = 0; i < SIZES; i++)
            printf("  %8s %8s", "value", "gradient");
        printf("\n%-10s", "copy");
        for (int64_t n = 1000; n <= 10000000; n *= 100) {
            double cost = 1e9;
            for (int k = 0; k < SAMPLES; k++)
                cost = least(cost, sample_copy(n, d ? sizeof(double) : sizeof(float)));
            printf("  %8.3f %8s", cost, "");
        }
        printf("\n");
        for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
            bool wanted = argc < 2;
            for (int k = 1; k < argc; k++)
                wanted = wanted || !strcmp(argv[k], operations[i].name);
            if (wanted)
                measure(c, &operations[i], d ? AG_F64 : AG_F32);
        }
    }
    ag_close(c);
    return 0;
}
