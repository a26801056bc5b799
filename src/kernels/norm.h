/* Softmax and layer normalisation of raw data in float and double. */
#ifndef AG_KERNELS_NORM_H
#define AG_KERNELS_NORM_H

#include <stdbool.h>
#include <stdint.h>

/* x and y are [outer, size, inner] without gaps; softmax, or its logarithm, along size. */
typedef void ag__softmax_fn(const void *x, void *y, int64_t outer, int64_t size, int64_t inner,
                            bool is_log);
ag__softmax_fn ag__softmax_f32, ag__softmax_f64;

/* Each of the rows of n elements with mean 0 and variance 1, times w plus b (NULL: none). Leaves
 * the rows' means and 1 / standard deviation. */
typedef void ag__layer_norm_fn(const void *x, const void *w, const void *b, void *y, void *means,
                               void *rstds, int64_t rows, int64_t n, double eps);
ag__layer_norm_fn ag__layer_norm_f32, ag__layer_norm_f64;

#endif
