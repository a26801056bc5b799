/*
 * What a training step of a small and of a middling network costs: forward, cross-entropy, backward
 * and SGD with momentum, in float32 on one thread.
 *
 *   small   64-64-10, tanh, 32 images a step: the cost of the calls
 *   large   784-512-512-10, relu, 128 images a step: the cost of the products
 *
 * The median of several samples, in microseconds per step.
 */
#define _POSIX_C_SOURCE 200809L

#include <autograd.h>

#include <stdio.h>

#include "timing.h"

enum { SAMPLES = 11, MAX_LAYERS = 3 };

typedef struct {
    const char *name;
    int batch, steps, n_sizes;
    int64_t sizes[MAX_LAYERS + 1];
    ag_tensor *(*activation)(ag_tensor *x);
} network;

static ag_tensor *forward(const network *net, ag_tensor *const *params, ag_tensor *x)
{
    const int layers = net->n_sizes - 1;
    for (int i = 0; i < layers; i++) {
        x = ag_linear(x, params[2 * i], params[2 * i + 1]);
        if (i + 1 < layers)
            x = net->activation(x);
    }
    return x;
}

/* The median of the samples, in microseconds per step. */
static double measure(ag_context *c, const network *net)
{
    ag_tensor *params[2 * MAX_LAYERS];
    double samples[SAMPLES];
    int n = 0;
    for (int i = 0; i + 1 < net->n_sizes; i++) {
        params[n] = ag_empty(c, AG_SHAPE(net->sizes[i + 1], net->sizes[i]), .requires_grad = true);
        ag_xavier_normal_(params[n++], 1);
        params[n++] = ag_zeros(c, AG_SHAPE(net->sizes[i + 1]), .requires_grad = true);
    }
    ag_tensor *x = ag_rand(c, AG_SHAPE(net->batch, net->sizes[0]));
    ag_tensor *target = ag_randint(c, 0, net->sizes[net->n_sizes - 1], AG_SHAPE(net->batch));
    ag_optimizer *sgd = ag_sgd(params, n, .lr = 0.01, .momentum = 0.9);
    for (int s = -1; s < SAMPLES; s++) { /* the first one fills the caches */
        const double start = now_us();
        for (int i = 0; i < net->steps; i++)
            AG_SCOPE (c) {
                ag_optimizer_zero_grad(sgd);
                ag_backward(ag_cross_entropy(forward(net, params, x), target));
                ag_step(sgd);
            }
        if (s >= 0)
            samples[s] = (now_us() - start) / net->steps;
    }
    ag_optimizer_free(sgd);
    return median(samples, SAMPLES);
}

int main(void)
{
    static const network networks[] = {
        { "64-64-10 tanh, batch 32", 32, 500, 3, { 64, 64, 10 }, ag_tanh },
        { "784-512-512-10 relu, batch 128", 128, 10, 4, { 784, 512, 512, 10 }, ag_relu },
    };
    printf("%s\n\n", ag_build_info());
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        ag_context *c = ag_open(.on_error = ag_print_and_exit);
        printf("%-40s %10.1f us a step\n", networks[i].name, measure(c, &networks[i]));
        ag_close(c);
    }
    return 0;
}
