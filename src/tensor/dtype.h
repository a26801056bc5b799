/* Element types: names, sizes, and reading or writing one element as a number. */
#ifndef AG_TENSOR_DTYPE_H
#define AG_TENSOR_DTYPE_H

#include "../../include/autograd.h"

enum { AG_DTYPE_COUNT = AG_BOOL + 1 };

typedef struct {
    const char *name;
    uint8_t size;
    bool is_float;
} ag__dtype_info;
extern const ag__dtype_info ag__dtypes[AG_DTYPE_COUNT];
static inline size_t ag__itemsize(ag_dtype d) { return ag__dtypes[d].size; }
/* f16 bf16 f32 f64 */
static inline bool ag__is_float(ag_dtype d) { return ag__dtypes[d].is_float; }
/* PyTorch's categories: bool < integer < floating point. */
static inline int ag__dtype_category(ag_dtype d)
{
    return d == AG_BOOL ? 0 : ag__is_float(d) ? 2 : 1;
}
bool ag__dtype_ok(ag_dtype d);

double ag__load(ag_dtype d, const void *base, int64_t index);
int64_t ag__load_int(ag_dtype d, const void *base, int64_t index);   /* exact for integers */
void ag__store(ag_dtype d, void *base, int64_t index, double value); /* see Note [casts] */

/* dst[i * ds] = (dst type) src[i * ss], strides in elements: the one place where types meet. */
void ag__convert(ag_dtype dt, void *dst, int64_t ds, ag_dtype st, const void *src, int64_t ss,
                 int64_t n);

#endif
