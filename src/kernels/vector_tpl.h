/*
 * Vectors of a floating point type T and the vocabulary of the table on them. The includer defines
 * T, I (the integer of its size), M(name) (libm's function for T), S(name) (scalar_tpl.h's for T),
 * AG__HUGEST, AG__FN(name), which names the functions, and the instruction set: VBYTES, and on x86
 * ANY(mask) and MM(name), the prefix and suffix of its intrinsics.
 *
 * All of it is vector code that gcc and clang know, so that every set computes the same bits; no
 * value of a lane depends on another lane. V is a vector, VM a mask, LANES_N the number of lanes.
 */
typedef T AG__FN(v) __attribute__((vector_size(VBYTES)));
typedef I AG__FN(m) __attribute__((vector_size(VBYTES)));
typedef T AG__FN(vu) __attribute__((vector_size(VBYTES), aligned(__alignof__(T)), may_alias));
enum { AG__FN(lanes) = VBYTES / sizeof(T) };
typedef uint8_t AG__FN(b) __attribute__((vector_size(VBYTES / sizeof(T)), aligned(1), may_alias));
#define V AG__FN(v)
#define VM AG__FN(m)
#define LANES_N AG__FN(lanes)

typedef T AG__FN(scalar1)(T u);
typedef T AG__FN(scalar2)(T u, T v);
typedef V AG__FN(vector1)(V u);
typedef V AG__FN(vector2)(V u, V v);

/* ---- arithmetic ---- */

AG__INLINE V AG__FN(load)(const T *x) { return *(const AG__FN(vu) *)x; }
AG__INLINE void AG__FN(store)(T *x, V v) { *(AG__FN(vu) *)x = v; }
/* A byte of 0 or 1 for each lane. */
AG__INLINE void AG__FN(store_test)(uint8_t *x, VM m)
{
#if defined(MM) && VBYTES < 64 /* compilers are slow at this: bit k of the mask becomes byte k */
    const uint64_t bits = (uint64_t)MM(movemask)((V)m) * 0x0101010101010101u &
                                           0x8040201008040201u,
                   bytes = (bits + 0x7f7f7f7f7f7f7f7fu) >> 7 & 0x0101010101010101u;
    memcpy(x, &bytes, LANES_N);
#else
    *(AG__FN(b) *)x = __builtin_convertvector(m & 1, AG__FN(b));
#endif
}

/* x - 0 = x for every x, -0 and NaN too. */
AG__INLINE V AG__FN(splat)(T x) { return x - (V){ 0 }; }
AG__INLINE V AG__FN(select)(VM m, V u, V v) { return (V)((m & (VM)u) | (~m & (VM)v)); }
AG__INLINE VM AG__FN(sign_bit)(void) { return (VM)AG__FN(splat)(-(T)0); }
AG__INLINE V AG__FN(abs)(V u) { return (V)((VM)u & ~AG__FN(sign_bit)()); }
AG__INLINE V AG__FN(copysign)(V u, V v)
{
    const VM sign = AG__FN(sign_bit)();
    return (V)((~sign & (VM)u) | (sign & (VM)v));
}
AG__INLINE V AG__FN(sq)(V u) { return u * u; }
AG__INLINE VM AG__FN(isnan)(V u) { return (VM)(u != u); }
AG__INLINE VM AG__FN(isinf)(V u) { return (VM)(AG__FN(abs)(u) == AG__FN(splat)((T)INFINITY)); }
AG__INLINE VM AG__FN(isfinite)(V u) { return (VM)(u - u == AG__FN(splat)(0)); }
AG__INLINE V AG__FN(maximum)(V u, V v) { return AG__FN(select)((VM)(u != u) | (VM)(u > v), u, v); }
AG__INLINE V AG__FN(minimum)(V u, V v) { return AG__FN(select)((VM)(u != u) | (VM)(u < v), u, v); }
AG__INLINE V AG__FN(sign)(V u)
{
    const V one = AG__FN(splat)(1), zero = AG__FN(splat)(0);
    return (V)((VM)one & (VM)(u > zero)) - (V)((VM)one & (VM)(u < zero));
}
AG__INLINE V AG__FN(lerp)(V u, V v, V w)
{
    const V d = v - u;
    return AG__FN(select)((VM)(w < AG__FN(splat)((T).5)), u + w * d, v - d * (1 - w));
}
AG__INLINE V AG__FN(nan_to_num)(V u)
{
    const V finite = AG__FN(copysign)(AG__FN(splat)(AG__HUGEST), u);
    return AG__FN(select)(AG__FN(isnan)(u), AG__FN(splat)(0),
                          AG__FN(select)(AG__FN(isinf)(u), finite, u));
}

/* Integers from 1 / epsilon on have no fraction; below, adding it leaves none. */
AG__INLINE V AG__FN(rint)(V u)
{
    const V whole = AG__FN(splat)(1 / AG__EPSILON), size = AG__FN(abs)(u);
    return AG__FN(select)((VM)(size < whole), AG__FN(copysign)(size + whole - whole, u), u);
}
AG__INLINE V AG__FN(floor)(V u)
{
    const V r = AG__FN(rint)(u), one = AG__FN(splat)(1);
    return AG__FN(copysign)(r - (V)((VM)one & (VM)(r > u)), u);
}
AG__INLINE V AG__FN(ceil)(V u) { return -AG__FN(floor)(-u); }
AG__INLINE V AG__FN(trunc)(V u) { return AG__FN(copysign)(AG__FN(floor)(AG__FN(abs)(u)), u); }

/* ---- functions ---- */

/* Both functions of a lane by themselves; one with its predecessor's bits has its result. */
static AG__NOINLINE V AG__FN(each)(AG__FN(scalar1) *f, V u)
{
    const VM bits = (VM)u;
    T r = f(u[0]);
    V y = AG__FN(splat)(r);
    AG__ROLLED
    for (int l = 1; l < LANES_N; l++) {
        r = bits[l] == bits[l - 1] ? r : f(u[l]);
        y[l] = r;
    }
    return y;
}
static AG__NOINLINE V AG__FN(each2)(AG__FN(scalar2) *f, V u, V v)
{
    const VM bits = (VM)u, more = (VM)v;
    T r = f(u[0], v[0]);
    V y = AG__FN(splat)(r);
    AG__ROLLED
    for (int l = 1; l < LANES_N; l++) {
        r = bits[l] == bits[l - 1] && more[l] == more[l - 1] ? r : f(u[l], v[l]);
        y[l] = r;
    }
    return y;
}
#define LANES(f, u) AG__FN(each)(f, u)
#define LANES2(f, u, v) AG__FN(each2)(f, u, v)

#include "vector_math.h"

AG__INLINE V AG__FN(sqrt)(V u)
{
#ifdef MM
    return (V)MM(sqrt)(u);
#else
    return LANES(M(sqrt), u);
#endif
}
AG__INLINE V AG__FN(sigmoid)(V u) { return 1 / (1 + MATH(exp, -u)); }
/* Equal infinities need no difference. */
AG__INLINE V AG__FN(logaddexp)(V u, V v)
{
    const V y = AG__FN(maximum)(u, v) + MATH(log1p, MATH(exp, -AG__FN(abs)(u - v)));
    return AG__FN(select)((VM)(u == v) & AG__FN(isinf)(u), u, y);
}
/* The remainder with the divisor's sign. */
AG__INLINE V AG__FN(remainder)(V u, V v)
{
    const V r = LANES2(M(fmod), u, v), zero = AG__FN(splat)(0);
    const VM other = (VM)((VM)(r < zero) != (VM)(v < zero));
    return AG__FN(select)((VM)(r != zero) & other, r + v, r);
}
