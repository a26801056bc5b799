/*
 * Half precision (IEEE binary16) and bfloat16 as bits: conversions from and to float.
 *
 * Widening is exact. Narrowing rounds to nearest, ties to even, into subnormals and up to infinity;
 * a NaN stays a NaN (quiet, with its sign and as much of its payload as fits). Only integer
 * operations decide, so the rounding mode and flush-to-zero settings of the machine do not matter.
 */
#ifndef AG_KERNELS_HALF_H
#define AG_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t ag__float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline float ag__bits_float(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline float ag__bfloat16_to_float(uint16_t h) { return ag__bits_float((uint32_t)h << 16); }

static inline uint16_t ag__float_to_bfloat16(float x)
{
    uint32_t u = ag__float_bits(x);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

static inline float ag__half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = h >> 10 & 0x1fu, m = h & 0x3ffu;
    if (exponent == 0x1f)
        return ag__bits_float(sign | 0x7f800000u | m << 13);
    if (exponent)
        return ag__bits_float(sign | (exponent + 112) << 23 | m << 13);
    if (!m)
        return ag__bits_float(sign);
    uint32_t e = 113; /* subnormal: m * 2^-24, normalised */
    for (; !(m & 0x400u); m <<= 1)
        e--;
    return ag__bits_float(sign | e << 23 | (m & 0x3ffu) << 13);
}

static inline uint16_t ag__float_to_half(float x)
{
    uint32_t u = ag__float_bits(x), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (a >> 13 & 0x3ffu));
    if (a >= 0x477ff000u) /* 65520 and more: nothing finite is nearest */
        return (uint16_t)(sign | 0x7c00u);
    if (a >= 0x38800000u) { /* 2^-14: normal; a carry goes into the exponent as it should */
        uint32_t r = a - (112u << 23);
        return (uint16_t)(sign | (r + 0xfffu + (r >> 13 & 1u)) >> 13);
    }
    if (a <= 0x33000000u) /* 2^-25 is a tie with zero, which is even */
        return (uint16_t)sign;
    uint32_t shift = 126 - (a >> 23), m = (a & 0x7fffffu) | 0x800000u; /* in units of 2^-24 */
    uint32_t below = m & ((1u << shift) - 1), tie = 1u << (shift - 1), q = m >> shift;
    return (uint16_t)(sign | (q + (below > tie || (below == tie && (q & 1u)))));
}

#endif
