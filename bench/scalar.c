/*
 * What one-element operations cost, where all is overhead and nothing arithmetic.
 *
 *   expression  y = (x + w)(w + 1) on one-element tensors: forward, backward, gradients zeroed.
 *               The median of several samples, in ns per iteration.
 *   chain       1,000,000 operations in a row: built, differentiated, freed. ns per operation, and
 *               bytes per node from ag_memory_stats.
 */
#define _POSIX_C_SOURCE 200809L

#include <autograd.h>

#include <stdio.h>

#include "timing.h"

enum { SAMPLES = 11, ITERATIONS = 20000, CHAIN = 1000000 };

/* ns per iteration of ITERATIONS. */
static double sample_expression(ag_context *c, ag_tensor *x, ag_tensor *w)
{
    const double start = now_ns();
    for (int i = 0; i < ITERATIONS; i++) {
        AG_SCOPE (c) {
            ag_backward(ag_mul(ag_add(x, w), ag_add(w, 1)));
            ag_zero_grad(x);
            ag_zero_grad(w);
        }
    }
    return (now_ns() - start) / (double)ITERATIONS;
}

typedef struct {
    double build, backward, release, bytes;
} chain_cost; /* each per operation */

/* x -> x 1 -> x 1 1 -> ...: every operation is one node; only the last result is held. */
static chain_cost sample_chain(ag_context *c)
{
    chain_cost cost = { 0 };
    ag_memory_statistics before, after;
    ag_scope *s = ag_scope_begin(c);
    ag_tensor *x = ag_scalar(c, 2, .requires_grad = true), *y = x;

    ag_memory_stats(c, &before);
    const double start = now_ns();
    for (int i = 0; i < CHAIN; i++) {
        ag_tensor *next = ag_mul(y, 1);
        if (y != x)
            ag_drop(y);
        y = next;
    }
    const double built = now_ns();
    ag_memory_stats(c, &after);
    ag_backward(y);
    const double differentiated = now_ns();
    ag_scope_end(s);
    const double released = now_ns();

    cost.build = (built - start) / (double)CHAIN;
    cost.backward = (differentiated - built) / (double)CHAIN;
    cost.release = (released - differentiated) / (double)CHAIN;
    cost.bytes = ((double)after.current_bytes - (double)before.current_bytes) / (double)CHAIN;
    return cost;
}

int main(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    if (!c)
        return 1;
    ag_tensor *x = ag_array(c, AG_VALUES(2), AG_SHAPE(1), .requires_grad = true);
    ag_tensor *w = ag_array(c, AG_VALUES(1), AG_SHAPE(1), .requires_grad = true);
    double samples[SAMPLES];

    sample_expression(c, x, w); /* fills the caches */
    for (int i = 0; i < SAMPLES; i++)
        samples[i] = sample_expression(c, x, w);
    const double expression = median(samples, SAMPLES);
    sample_chain(c);
    const chain_cost chain = sample_chain(c);

    printf("%s\n\n", ag_build_info());
    printf("%-52s %10s\n", "one-element tensors, float32", "cost");
    printf("%-52s %7.0f ns\n", "y = (x + w)(w + 1), backward, zero grads", expression);
    printf("%-52s %7.1f ns\n", "chain of 1,000,000: build, per operation", chain.build);
    printf("%-52s %7.1f ns\n", "chain of 1,000,000: backward, per operation", chain.backward);
    printf("%-52s %7.1f ns\n", "chain of 1,000,000: free what is left, per operation",
           chain.release);
    printf("%-52s %7.0f B\n", "chain of 1,000,000: memory, per node", chain.bytes);
    ag_close(c);
    return 0;
}
