/* See accumulate.h. */
#include "accumulate.h"

ag_dtype ag__accumulate_dtype(ag_dtype d)
{
    if (d == AG_F64 || d == AG_F32)
        return d;
    return d == AG_F16 || d == AG_BF16 ? AG_F32 : AG_I64;
}

static void accumulate_f32(float *y, int64_t stride, const float *x, int64_t n)
{
    if (stride == 1) {
        for (int64_t i = 0; i < n; i++)
            y[i] += x[i];
        return;
    }
    for (int64_t i = 0; i < n; i++)
        y[i * stride] += x[i];
}

static void accumulate_f64(double *y, int64_t stride, const double *x, int64_t n)
{
    if (stride == 1) {
        for (int64_t i = 0; i < n; i++)
            y[i] += x[i];
        return;
    }
    for (int64_t i = 0; i < n; i++)
        y[i * stride] += x[i];
}

/* Unsigned, so that sums wrap. */
static void accumulate_i64(uint64_t *y, int64_t stride, const uint64_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i * stride] += x[i];
}

void ag__accumulate(ag_dtype d, char *y, int64_t stride, const char *x, int64_t n)
{
    if (d == AG_F32)
        accumulate_f32((float *)(void *)y, stride, (const float *)(const void *)x, n);
    else if (d == AG_F64)
        accumulate_f64((double *)(void *)y, stride, (const double *)(const void *)x, n);
    else
        accumulate_i64((uint64_t *)(void *)y, stride, (const uint64_t *)(const void *)x, n);
}
