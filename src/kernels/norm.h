/* Softmax and layer normalisation of raw data in float and double. */
#ifndef AG_KERNELS_NORM_H
#define AG_KERNELS_NORM_H

#include <stdbool.h>
#include <stdint.h>

#include "reduce.h"

/* Softmax, or its logarithm, along n. */
typedef void ag__softmax_fn(const void *x, void *y, ag__lanes l, bool is_log);
ag__softmax_fn ag__softmax_f32, ag__softmax_f64;

/* The same for a line that is cut, given its maximum: each part's sum of e^(x - top), then the end
 * for each part with the sum of all. */
typedef double ag__softmax_exps_fn(const void *x, void *y, int64_t n, const void *top, bool is_log);
typedef void ag__softmax_end_fn(void *y, int64_t n, double sum, bool is_log);
ag__softmax_exps_fn ag__softmax_exps_f32, ag__softmax_exps_f64;
ag__softmax_end_fn ag__softmax_end_f32, ag__softmax_end_f64;

/* Each of the rows of n elements with mean 0 and variance 1, times w plus b (NULL: none). Leaves
 * the rows' means and 1 / standard deviation. */
typedef void ag__layer_norm_fn(const void *x, const void *w, const void *b, void *y, void *means,
                               void *rstds, int64_t rows, int64_t n, double eps);
ag__layer_norm_fn ag__layer_norm_f32, ag__layer_norm_f64;

#endif
