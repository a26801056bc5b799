/*
 * Readings `value kernel` and `gradient kernel` of the operation table: the rows' expressions
 * become loops for float and double by vectors, and for int64_t. The other dtypes are converted to
 * one of these by the block (ops/operands.c).
 *
 * The loops of float and double are compiled for each instruction set, on x86-64 three; the
 * processor is asked at each call (the compiler keeps the answer). Operations that are rounded
 * exactly give the same bits in all sets: none fuses a multiplication with an addition.
 */
#include "pointwise.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "special.h"

#define AG__INLINE static inline __attribute__((always_inline))
#define AG__NOINLINE __attribute__((noinline))
#ifdef __clang__ /* loops of vectors gain nothing from being unrolled, and there are thousands */
#define AG__ROLLED _Pragma("clang loop unroll(disable) vectorize(disable)")
#else
#define AG__ROLLED _Pragma("GCC unroll 1")
#endif

/* For builds without -ffp-contract=off, such as that of one.c. */
#ifdef __clang__
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC push_options
#pragma GCC optimize("fp-contract=off")
#endif

/* ---- scalars ---- */

#define T float
#define M(name) name##f
#define AG__FN(name) f32_##name
#define AG__HUGEST FLT_MAX
#include "scalar_tpl.h"
#undef T
#undef M
#undef AG__FN
#undef AG__HUGEST

#define T double
#define M(name) name
#define AG__FN(name) f64_##name
#define AG__HUGEST DBL_MAX
#include "scalar_tpl.h"
#undef T
#undef M
#undef AG__FN
#undef AG__HUGEST

#define AG__CLASS_N(...) __VA_ARGS__
#define AG__CLASS_F(...)
#define T int64_t
#define V int64_t
#define VM int
#define AG__FN(name) i64_##name
#include "integer_tpl.h"
#include "../ops/readings/integer.h"
#include "rows_value_tpl.h"
#include "../ops/readings/end.h"
#undef T
#undef V
#undef VM
#undef AG__FN
#undef AG__CLASS_F

/* ---- sets ---- */

#define SET(name) base_##name
#define VBYTES 16
#define SLEEF32(name, ulp) Sleef_##name##f4_##ulp
#define SLEEF64(name, ulp) Sleef_##name##d2_##ulp
#ifdef __x86_64__
#include <immintrin.h>
#define ANY(m) _mm_movemask_epi8((__m128i)(m))
#define MM32(name) _mm_##name##_ps
#define MM64(name) _mm_##name##_pd
#endif
#include "pointwise_set_tpl.h"

#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#define SET(name) avx2_##name
#define VBYTES 32
#define SLEEF32(name, ulp) Sleef_##name##f8_##ulp##avx2
#define SLEEF64(name, ulp) Sleef_##name##d4_##ulp##avx2
#define ANY(m) !_mm256_testz_si256((__m256i)(m), (__m256i)(m))
#define MM32(name) _mm256_##name##_ps
#define MM64(name) _mm256_##name##_pd
#include "pointwise_set_tpl.h"
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif
#define SET(name) avx512_##name
#define VBYTES 64
#define SLEEF32(name, ulp) Sleef_##name##f16_##ulp##avx512f
#define SLEEF64(name, ulp) Sleef_##name##d8_##ulp##avx512f
#define ANY(m) _mm512_test_epi32_mask((__m512i)(m), (__m512i)(m))
#define MM32(name) _mm512_##name##_ps
#define MM64(name) _mm512_##name##_pd
#include "pointwise_set_tpl.h"
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

#ifndef __clang__
#pragma GCC pop_options
#endif

#undef AG__CLASS_N
#undef AG__INLINE
#undef AG__NOINLINE
#undef AG__ROLLED

/* ---- the choice ---- */

#define SET(name, letters)                                                                         \
    {                                                                                              \
        letters, { name##_f32_lanes, name##_f64_lanes, 1 }, name##_rows                            \
    }
static const ag__loop_set loop_sets[] = {
#ifdef __x86_64__
    SET(base, "sse2"),
    SET(avx2, "avx2"),
    SET(avx512, "avx512f"),
#else
    SET(base, "128 bits"),
#endif
};
#undef SET

const ag__loop_set *ag__loop_best(void)
{
#ifdef __x86_64__ /* SLEEF's functions for avx2 use fma */
    if (__builtin_cpu_supports("avx512f"))
        return &loop_sets[2];
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &loop_sets[1];
#endif
    return &loop_sets[0];
}

const ag__loop_set *ag__loop_sets(int *n)
{
    *n = (int)(ag__loop_best() - loop_sets) + 1;
    return loop_sets;
}

void ag__loop_unary(int row, int type, int64_t n, const void *x, void *y)
{
    const ag__loop_set *set = ag__loop_best();
    ag__loop *loop = set->rows[row].value[type];
    const size_t size = type == AG_LOOP_F32 ? sizeof(float) : sizeof(double);
    const size_t lanes = (size_t)set->lanes[type];
    const size_t rest = (size_t)n % lanes, whole = (size_t)n - rest;
    double buffer[AG_LOOP_MAX_LANES];
    char *data[AG_LOOP_MAX_DATA] = { y, (char *)(uintptr_t)x }, *end = (char *)buffer;
    if (whole)
        loop((int64_t)whole, data, 0, 0);
    if (!rest)
        return;
    memcpy(end, data[1] + whole * size, rest * size);
    for (size_t i = rest; i < lanes; i++)
        memcpy(end + i * size, end + (rest - 1) * size, size);
    loop((int64_t)lanes, (char *[AG_LOOP_MAX_DATA]){ end, end }, 0, 0);
    memcpy(data[0] + whole * size, end, rest * size);
}
