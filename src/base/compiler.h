/* The compiler extensions that the library uses outside src/kernels, each with a plain fallback. */
#ifndef AG_BASE_COMPILER_H
#define AG_BASE_COMPILER_H

#ifdef __GNUC__
#define AG_LIKELY(x) __builtin_expect(!!(x), 1)
#define AG_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define AG_FORMAT(a, b) __attribute__((format(printf, a, b)))
#else
#define AG_LIKELY(x) (x)
#define AG_UNLIKELY(x) (x)
#define AG_FORMAT(a, b)
#endif

#define AG_COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#endif
