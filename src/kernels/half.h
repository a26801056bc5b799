/* 16-bit floats as bits: conversions round to nearest, ties to even, and keep NaN. */
#ifndef AG_KERNELS_HALF_H
#define AG_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

static inline uint32_t ag__float_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static inline float ag__bits_float(uint32_t bits)
{
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static inline float ag__bfloat16_to_float(uint16_t h) { return ag__bits_float((uint32_t)h << 16); }

static inline uint16_t ag__float_to_bfloat16(float v)
{
    const uint32_t bits = ag__float_bits(v);
    if (v != v)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* Subnormal halves are multiples of 2^-24, which a float holds exactly. */
static inline float ag__half_to_float(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023;
    if (exponent == 31)
        return ag__bits_float(sign | 0x7F800000u | mantissa << 13);
    if (exponent)
        return ag__bits_float(sign | (exponent + 112) << 23 | mantissa << 13);
    const float v = (float)mantissa * 0x1p-24f;
    return sign ? -v : v;
}

static inline uint16_t ag__float_to_half(float v)
{
    const uint32_t bits = ag__float_bits(v), sign = bits >> 16 & 0x8000, rest = bits & 0x7FFFFFFFu;
    if (rest > 0x7F800000u)
        return (uint16_t)(sign | 0x7E00 | (rest >> 13 & 1023));
    if (rest >= 0x477FF000u) /* 65520 and more */
        return (uint16_t)(sign | 0x7C00);
    if (rest < 0x38800000u) { /* below 2^-14: adding 0.5 leaves multiples of 2^-24 in the mantissa */
        const float shifted = ag__bits_float(rest) + .5f;
        return (uint16_t)(sign | (ag__float_bits(shifted) - 0x3F000000u));
    }
    return (uint16_t)(sign | (rest - 0x38000000u + 0xFFF + (rest >> 13 & 1)) >> 13);
}

#endif
