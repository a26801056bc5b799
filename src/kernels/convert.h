/* Conversions and transposed copies of raw data. */
#ifndef AG_KERNELS_CONVERT_H
#define AG_KERNELS_CONVERT_H

#include "../tensor/dtype.h"

/* dst[i] = (dst type) src[i] for n elements without gaps, by the rule of Note [casts]; false, and
 * nothing is done, for pairs that are not here. */
bool ag__convert_array(ag_dtype dt, void *dst, ag_dtype st, const void *src, int64_t n);

/* dst[i * ti + j * tj] = src[i + j * fj] for i < rows, j < columns, of elements of size 1, 2, 4, 8. */
void ag__copy_plane(size_t size, void *dst, int64_t ti, int64_t tj, const void *src, int64_t fj,
                    int64_t rows, int64_t columns);

#endif
