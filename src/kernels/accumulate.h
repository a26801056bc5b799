/* Sums into places: what the adjoints of views and of reading by index are made of. */
#ifndef AG_KERNELS_ACCUMULATE_H
#define AG_KERNELS_ACCUMULATE_H

#include "../../include/autograd.h"

/* The dtype in which elements of d are summed, so that a sum is rounded once: f32 for half types,
 * i64 for integers and truth values (then a sum that is not 0 is true). */
ag_dtype ag__accumulate_dtype(ag_dtype d);
/* y[i * stride] += x[i], in order, for a dtype that ag__accumulate_dtype gives. */
void ag__accumulate(ag_dtype d, char *y, int64_t stride, const char *x, int64_t n);

#endif
