/*
 * Note [casts]
 * One documented rule for every conversion: floating point to integer truncates towards zero,
 * saturates at the ends of the target's range, and turns NaN into 0 (where PyTorch leaves it to the
 * machine). Integer to integer keeps the low bits (two's complement). Anything to bool is `!= 0`.
 * Narrower floats round to nearest, ties to even.
 */
#include "dtype.h"

#include <string.h>

#include "../kernels/convert.h"
#include "../kernels/half.h"

const ag__dtype_info ag__dtypes[AG_DTYPE_COUNT] = {
    [AG_F32] = { "float32", 4, true }, [AG_F64] = { "float64", 8, true },
    [AG_F16] = { "float16", 2, true }, [AG_BF16] = { "bfloat16", 2, true },
    [AG_I8] = { "int8", 1, false },    [AG_I16] = { "int16", 2, false },
    [AG_I32] = { "int32", 4, false },  [AG_I64] = { "int64", 8, false },
    [AG_U8] = { "uint8", 1, false },   [AG_BOOL] = { "bool", 1, false },
};

bool ag__dtype_ok(ag_dtype d) { return (unsigned)d < AG_DTYPE_COUNT; }
const char *ag_dtype_name(ag_dtype d) { return ag__dtype_ok(d) ? ag__dtypes[d].name : "invalid"; }
size_t ag_dtype_size(ag_dtype d) { return ag__dtype_ok(d) ? ag__dtypes[d].size : 0; }

int64_t ag__load_int(ag_dtype d, const void *base, int64_t i)
{
    switch (d) {
    case AG_I8: return ((const int8_t *)base)[i];
    case AG_I16: return ((const int16_t *)base)[i];
    case AG_I32: return ((const int32_t *)base)[i];
    case AG_I64: return ((const int64_t *)base)[i];
    case AG_U8: return ((const uint8_t *)base)[i];
    case AG_BOOL: return ((const uint8_t *)base)[i] != 0;
    default: break;
    }
    const double v = ag__load(d, base, i);
    if (v != v)
        return 0;
    return v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (int64_t)v;
}

double ag__load(ag_dtype d, const void *base, int64_t i)
{
    switch (d) {
    case AG_F32: return (double)((const float *)base)[i];
    case AG_F64: return ((const double *)base)[i];
    case AG_F16: return (double)ag__half_to_float(((const uint16_t *)base)[i]);
    case AG_BF16: return (double)ag__bfloat16_to_float(((const uint16_t *)base)[i]);
    default: return (double)ag__load_int(d, base, i);
    }
}

static int64_t dtype_saturate(double v, int64_t lo, int64_t hi)
{
    if (v != v)
        return 0;
    return v <= (double)lo ? lo : v >= (double)hi ? hi : (int64_t)v;
}

/* Keeps the low bits of a 64-bit integer. */
static void dtype_store_bits(ag_dtype d, void *base, int64_t i, int64_t v)
{
    const uint64_t bits = (uint64_t)v;
    switch (d) {
    case AG_I8:
    case AG_U8: ((uint8_t *)base)[i] = (uint8_t)bits; break;
    case AG_I16: ((uint16_t *)base)[i] = (uint16_t)bits; break;
    case AG_I32: ((uint32_t *)base)[i] = (uint32_t)bits; break;
    case AG_I64: ((uint64_t *)base)[i] = bits; break;
    case AG_BOOL: ((uint8_t *)base)[i] = v != 0; break;
    default: ag__store(d, base, i, (double)v); break;
    }
}

void ag__store(ag_dtype d, void *base, int64_t i, double v)
{
    switch (d) {
    case AG_F32: ((float *)base)[i] = (float)v; break;
    case AG_F64: ((double *)base)[i] = v; break;
    case AG_F16: ((uint16_t *)base)[i] = ag__float_to_half((float)v); break;
    case AG_BF16: ((uint16_t *)base)[i] = ag__float_to_bfloat16((float)v); break;
    case AG_I8: dtype_store_bits(d, base, i, dtype_saturate(v, INT8_MIN, INT8_MAX)); break;
    case AG_I16: dtype_store_bits(d, base, i, dtype_saturate(v, INT16_MIN, INT16_MAX)); break;
    case AG_I32: dtype_store_bits(d, base, i, dtype_saturate(v, INT32_MIN, INT32_MAX)); break;
    case AG_I64: dtype_store_bits(d, base, i, dtype_saturate(v, INT64_MIN, INT64_MAX)); break;
    case AG_U8: dtype_store_bits(d, base, i, dtype_saturate(v, 0, UINT8_MAX)); break;
    case AG_BOOL: ((uint8_t *)base)[i] = v != 0; break;
    }
}

/* The first element over all n, by doubling what is there. */
static void dtype_repeat(char *dst, size_t size, size_t n)
{
    for (size_t done = 1; done < n; done *= 2)
        memcpy(dst + done * size, dst, (done < n - done ? done : n - done) * size);
}

void ag__convert(ag_dtype dt, void *dst, int64_t ds, ag_dtype st, const void *src, int64_t ss,
                 int64_t n)
{
    if (dt == st && ds == 1 && ss == 1) {
        memcpy(dst, src, (size_t)n * ag__itemsize(dt));
    } else if (ds == 1 && ss == 0 && n > 1) {
        ag__convert(dt, dst, 1, st, src, 1, 1);
        dtype_repeat(dst, ag__itemsize(dt), (size_t)n);
    } else if (ds == 1 && ss == 1 && ag__convert_array(dt, dst, st, src, n)) {
        return;
    } else if (dt == AG_F32 && st == AG_F32) {
        for (int64_t i = 0; i < n; i++)
            ((float *)dst)[i * ds] = ((const float *)src)[i * ss];
    } else if (dt == AG_F64 && st == AG_F64) {
        for (int64_t i = 0; i < n; i++)
            ((double *)dst)[i * ds] = ((const double *)src)[i * ss];
    } else if (ag__is_float(st)) {
        for (int64_t i = 0; i < n; i++)
            ag__store(dt, dst, i * ds, ag__load(st, src, i * ss));
    } else {
        for (int64_t i = 0; i < n; i++)
            dtype_store_bits(dt, dst, i * ds, ag__load_int(st, src, i * ss));
    }
}
