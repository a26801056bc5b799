/*
 * The same vocabulary for int64_t, for the rows that keep integers, and the loops, which are left
 * for the compiler to vectorise. Sums and products wrap.
 */

static inline T AG__FN(wrap)(uint64_t v) { return (T)v; }
static inline T AG__FN(abs)(T v) { return v < 0 ? AG__FN(wrap)(0 - (uint64_t)v) : v; }
static inline T AG__FN(sign)(T v) { return (v > 0) - (v < 0); }
static inline T AG__FN(maximum)(T u, T v) { return u > v ? u : v; }
static inline T AG__FN(minimum)(T u, T v) { return u < v ? u : v; }
static inline T AG__FN(bound)(double v)
{
    return v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (T)v;
}
/* Division by zero was refused before; -1 must not trap on the smallest integer. */
static inline T AG__FN(fmod)(T u, T v) { return v == 0 || v == -1 ? 0 : u % v; }
static inline T AG__FN(remainder)(T u, T v)
{
    const T r = AG__FN(fmod)(u, v);
    return r != 0 && (r < 0) != (v < 0) ? r + v : r;
}
/* By squaring; a negative exponent gives what truncation of the quotient gives. */
static inline T AG__FN(pow)(T u, T v)
{
    if (v < 0)
        return u == 1 ? 1 : u == -1 ? (v % 2 ? -1 : 1) : 0;
    uint64_t r = 1;
    for (uint64_t s = (uint64_t)u; v; v >>= 1, s *= s)
        r *= v & 1 ? s : 1;
    return AG__FN(wrap)(r);
}

typedef T AG__FN(fn1)(T a, double P, double Q);
typedef T AG__FN(fn2)(T a, T b, double P, double Q);
typedef T AG__FN(fn3)(T a, T b, T c, double P, double Q);
typedef VM AG__FN(test)(T a, T b);

AG__INLINE void AG__FN(loop1)(int64_t n, char *const *d, double P, double Q, AG__FN(fn1) *f)
{
    T *y = (T *)d[0];
    const T *a = (const T *)d[1];
    for (int64_t i = 0; i < n; i++)
        y[i] = f(a[i], P, Q);
}

AG__INLINE void AG__FN(loop2)(int64_t n, char *const *d, double P, double Q, AG__FN(fn2) *f)
{
    T *y = (T *)d[0];
    const T *a = (const T *)d[1], *b = (const T *)d[2];
    for (int64_t i = 0; i < n; i++)
        y[i] = f(a[i], b[i], P, Q);
}

AG__INLINE void AG__FN(loop3)(int64_t n, char *const *d, double P, double Q, AG__FN(fn3) *f)
{
    T *y = (T *)d[0];
    const T *a = (const T *)d[1], *b = (const T *)d[2], *c = (const T *)d[3];
    for (int64_t i = 0; i < n; i++)
        y[i] = f(a[i], b[i], c[i], P, Q);
}

AG__INLINE void AG__FN(loop_test)(int64_t n, char *const *d, AG__FN(test) *f)
{
    uint8_t *y = (uint8_t *)d[0];
    const T *a = (const T *)d[1], *b = (const T *)d[2];
    for (int64_t i = 0; i < n; i++)
        y[i] = (uint8_t)f(a[i], b[i]);
}
