/*
 * The order of a line of elements: ascending or descending, equal ones as they stood. NaNs are equal
 * and greater than all else; -0 and 0 are equal.
 *
 * Each element becomes a key, an unsigned number whose order is that of the elements, and keys are
 * sorted with their indices, so that one loop serves all dtypes and both directions.
 */
#ifndef AG_KERNELS_ORDER_H
#define AG_KERNELS_ORDER_H

#include "../tensor/dtype.h"

typedef struct {
    uint64_t key;
    int64_t index;
} ag__ordered;

/* Of a NaN in ascending order. */
#define AG__ORDER_NAN UINT64_MAX

/* The order of the n elements x[0], x[stride], ... of dtype f32, f64 or i64, in a or b, which have
 * room for n each. */
const ag__ordered *ag__order(ag_dtype dtype, const void *x, int64_t n, int64_t stride,
                             bool descending, ag__ordered *a, ag__ordered *b);

#endif
