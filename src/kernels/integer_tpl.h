/* The same vocabulary for int64_t, for the rows that keep integers. Sums and products wrap. */

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
