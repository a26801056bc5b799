/* The compiler extensions that the library uses outside src/kernels, each with a plain fallback. */
#ifndef AG_BASE_COMPILER_H
#define AG_BASE_COMPILER_H

#ifdef __GNUC__
#define AG_LIKELY(x) __builtin_expect(!!(x), 1)
#define AG_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define AG_FORMAT(a, b) __attribute__((format(printf, a, b)))
#define AG_PREFETCH(p) __builtin_prefetch(p)
#else
#define AG_LIKELY(x) (x)
#define AG_UNLIKELY(x) (x)
#define AG_FORMAT(a, b)
#define AG_PREFETCH(p) ((void)(p))
#endif

/* The number of the lowest bit that is set in v, an unsigned that is not 0. */
static inline int ag__lowest_bit(unsigned v)
{
#ifdef __GNUC__
    return __builtin_ctz(v);
#else
    int n = 0;
    for (; !(v & 1u); v >>= 1)
        n++;
    return n;
#endif
}

#define AG_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#endif
