/*
 * Conversions: one plain loop per pair of types, which compilers turn into vector code where they
 * can. Transposed copies: one function per size of an element.
 */
#include "convert.h"

#include "half.h"

#define CONVERT_PAIR(d, s) ((d)*AG_DTYPE_COUNT + (s))
/* A loop over all elements, with `value` written in s[i]. */
#define CONVERT(D, S, value)                                                                       \
    {                                                                                              \
        D *restrict d = dst;                                                                       \
        const S *restrict s = src;                                                                 \
        for (int64_t i = 0; i < n; i++)                                                            \
            d[i] = value;                                                                          \
    }

bool ag__convert_array(ag_dtype dt, void *dst, ag_dtype st, const void *src, int64_t n)
{
    switch (CONVERT_PAIR((int)dt, (int)st)) {
    case CONVERT_PAIR(AG_F32, AG_F64): CONVERT(float, double, (float)s[i]) break;
    case CONVERT_PAIR(AG_F32, AG_F16): CONVERT(float, uint16_t, ag__half_to_float(s[i])) break;
    case CONVERT_PAIR(AG_F32, AG_BF16): CONVERT(float, uint16_t, ag__bfloat16_to_float(s[i])) break;
    case CONVERT_PAIR(AG_F32, AG_I64): CONVERT(float, int64_t, (float)(double)s[i]) break;
    case CONVERT_PAIR(AG_F32, AG_I32): CONVERT(float, int32_t, (float)s[i]) break;
    case CONVERT_PAIR(AG_F32, AG_U8): CONVERT(float, uint8_t, (float)s[i]) break;
    case CONVERT_PAIR(AG_F32, AG_BOOL): CONVERT(float, uint8_t, (float)(s[i] != 0)) break;
    case CONVERT_PAIR(AG_F64, AG_F32): CONVERT(double, float, (double)s[i]) break;
    case CONVERT_PAIR(AG_F64, AG_I64): CONVERT(double, int64_t, (double)s[i]) break;
    case CONVERT_PAIR(AG_F64, AG_I32): CONVERT(double, int32_t, (double)s[i]) break;
    case CONVERT_PAIR(AG_F64, AG_BOOL): CONVERT(double, uint8_t, (double)(s[i] != 0)) break;
    case CONVERT_PAIR(AG_F16, AG_F32): CONVERT(uint16_t, float, ag__float_to_half(s[i])) break;
    case CONVERT_PAIR(AG_BF16, AG_F32): CONVERT(uint16_t, float, ag__float_to_bfloat16(s[i])) break;
    case CONVERT_PAIR(AG_I64, AG_I32): CONVERT(int64_t, int32_t, s[i]) break;
    case CONVERT_PAIR(AG_I64, AG_U8): CONVERT(int64_t, uint8_t, s[i]) break;
    case CONVERT_PAIR(AG_I64, AG_BOOL): CONVERT(int64_t, uint8_t, s[i] != 0) break;
    case CONVERT_PAIR(AG_I32, AG_I64): CONVERT(uint32_t, int64_t, (uint32_t)(uint64_t)s[i]) break;
    default: return false;
    }
    return true;
}

#undef CONVERT_PAIR
#undef CONVERT

#define T uint8_t
#define PLANE convert_plane_1
#include "plane_tpl.h"
#define T uint16_t
#define PLANE convert_plane_2
#include "plane_tpl.h"
#define T uint32_t
#define PLANE convert_plane_4
#include "plane_tpl.h"
#define T uint64_t
#define PLANE convert_plane_8
#include "plane_tpl.h"

void ag__copy_plane(size_t size, void *dst, int64_t ti, int64_t tj, const void *src, int64_t fj,
                    int64_t rows, int64_t columns)
{
    switch (size) {
    case 1: convert_plane_1(src, fj, dst, ti, tj, rows, columns); break;
    case 2: convert_plane_2(src, fj, dst, ti, tj, rows, columns); break;
    case 4: convert_plane_4(src, fj, dst, ti, tj, rows, columns); break;
    default: convert_plane_8(src, fj, dst, ti, tj, rows, columns); break;
    }
}
