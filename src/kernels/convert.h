/* Conversions of arrays, for the pairs of types that are common. */
#ifndef AG_KERNELS_CONVERT_H
#define AG_KERNELS_CONVERT_H

#include "../tensor/dtype.h"

/* dst[i] = (dst type) src[i] for n elements without gaps, by the rule of Note [casts]; false, and
 * nothing is done, for pairs that are not here. */
bool ag__convert_array(ag_dtype dt, void *dst, ag_dtype st, const void *src, int64_t n);

#endif
