/* Loops of the optimisers' steps, for float and double. */
#ifndef AG_KERNELS_OPTIM_H
#define AG_KERNELS_OPTIM_H

#include <stdbool.h>
#include <stdint.h>

/* What a step is made of. The last three are of one parameter in one step. */
typedef struct {
    bool adam, nesterov;
    double lr, weight_decay;
    double momentum, dampening; /* SGD */
    double beta1, beta2, eps;   /* Adam */
    bool first;                 /* this is the parameter's first step */
    double adam_rate;           /* lr / (1 - beta1^t) */
    double adam_root;           /* sqrt(1 - beta2^t) */
} ag__optim_rates;

/* One step of n elements of a parameter p and a gradient g, whose elements lie p_step and g_step
 * apart; a and b are the state, dense: of SGD the momentum (or NULL), of Adam both running means. */
typedef void ag__optim_row(const ag__optim_rates *r, void *p, int64_t p_step, const void *g,
                           int64_t g_step, void *a, void *b, int64_t n);
extern ag__optim_row *const ag__optim_rows[2]; /* float, double */

#endif
