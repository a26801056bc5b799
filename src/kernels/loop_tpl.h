/*
 * Loops over elements of type T, given the function of one element. They are inlined into the
 * function of each row, where that function is known, so that the compiler sees plain arithmetic.
 */
#define AG__INLINE static inline __attribute__((always_inline))

typedef T AG__FN(fn1)(T a, double P, double Q);
typedef T AG__FN(fn2)(T a, T b, double P, double Q);
typedef T AG__FN(fn3)(T a, T b, T c, double P, double Q);
typedef int AG__FN(test)(T a, T b);
typedef T AG__FN(fng)(T g, T a, T b, T c, T y, double P, double Q);

#define AG__ELEMENT(k) (*(const T *)(d[k] + i * s[k]))

AG__INLINE void AG__FN(loop1)(int64_t n, char *const *d, const int64_t *s, double P, double Q,
                              AG__FN(fn1) *f)
{
    if (s[0] == sizeof(T) && s[1] == sizeof(T)) {
        T *restrict y = (T *)d[0];
        const T *a = (const T *)d[1];
        for (int64_t i = 0; i < n; i++)
            y[i] = f(a[i], P, Q);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        *(T *)(d[0] + i * s[0]) = f(AG__ELEMENT(1), P, Q);
}

AG__INLINE void AG__FN(loop2)(int64_t n, char *const *d, const int64_t *s, double P, double Q,
                              AG__FN(fn2) *f)
{
    T *y = (T *)d[0];
    const T *a = (const T *)d[1], *b = (const T *)d[2];
    if (s[0] == sizeof(T) && s[1] == sizeof(T) && s[2] == sizeof(T))
        for (int64_t i = 0; i < n; i++)
            y[i] = f(a[i], b[i], P, Q);
    else
        for (int64_t i = 0; i < n; i++)
            *(T *)(d[0] + i * s[0]) = f(AG__ELEMENT(1), AG__ELEMENT(2), P, Q);
}

AG__INLINE void AG__FN(loop3)(int64_t n, char *const *d, const int64_t *s, double P, double Q,
                              AG__FN(fn3) *f)
{
    for (int64_t i = 0; i < n; i++)
        *(T *)(d[0] + i * s[0]) = f(AG__ELEMENT(1), AG__ELEMENT(2), AG__ELEMENT(3), P, Q);
}

AG__INLINE void AG__FN(loop_test)(int64_t n, char *const *d, const int64_t *s, AG__FN(test) *f)
{
    for (int64_t i = 0; i < n; i++)
        *(uint8_t *)(d[0] + i * s[0]) = (uint8_t)f(AG__ELEMENT(1), AG__ELEMENT(2));
}

AG__INLINE void AG__FN(loop_gradient)(int64_t n, char *const *d, const int64_t *s, double P, double Q,
                                      AG__FN(fng) *f)
{
    const int64_t w = sizeof(T);
    if (s[0] == w && s[1] == w && s[2] == w && s[3] == w && s[4] == w && s[5] == w) {
        T *restrict out = (T *)d[0];
        const T *g = (const T *)d[1], *a = (const T *)d[2], *b = (const T *)d[3],
                *c = (const T *)d[4], *y = (const T *)d[5];
        for (int64_t i = 0; i < n; i++)
            out[i] = f(g[i], a[i], b[i], c[i], y[i], P, Q);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        *(T *)(d[0] + i * s[0]) = f(AG__ELEMENT(1), AG__ELEMENT(2), AG__ELEMENT(3), AG__ELEMENT(4),
                                    AG__ELEMENT(5), P, Q);
}

#undef AG__ELEMENT
#undef AG__INLINE
