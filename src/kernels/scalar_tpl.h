/* Scalar functions that libm lacks, for a floating point type T; included once per type. */

static inline T AG__FN(sq)(T v) { return v * v; }
static inline T AG__FN(sign)(T v) { return (T)((v > 0) - (v < 0)); }
static inline int AG__FN(isnan)(T v) { return v != v; }
static inline int AG__FN(isinf)(T v) { return v == (T)INFINITY || v == -(T)INFINITY; }
static inline int AG__FN(isfinite)(T v) { return v - v == 0; }
static inline T AG__FN(maximum)(T u, T v) { return u != u || u > v ? u : v; }
static inline T AG__FN(minimum)(T u, T v) { return u != u || u < v ? u : v; }
static inline T AG__FN(clamp)(T v, T lo, T hi)
{
    return AG__FN(minimum)(AG__FN(maximum)(v, lo), hi);
}
static inline T AG__FN(lerp)(T u, T v, T w)
{
    return w < (T).5 ? u + w * (v - u) : v - (v - u) * (1 - w);
}
static inline T AG__FN(sigmoid)(T v) { return 1 / (1 + M(exp)(-v)); }
static inline T AG__FN(erfinv)(T v) { return (T)ag__erfinv((double)v); }
static inline T AG__FN(lgamma)(T v) { return (T)ag__lgamma((double)v); }
static inline T AG__FN(digamma)(T v) { return (T)ag__digamma((double)v); }
static inline T AG__FN(polygamma)(T n, T v) { return (T)ag__polygamma((int)n, (double)v); }

/* The remainder with the divisor's sign. */
static inline T AG__FN(remainder)(T u, T v)
{
    const T r = M(fmod)(u, v);
    return r != 0 && (r < 0) != (v < 0) ? r + v : r;
}

/* Equal infinities need no difference. */
static inline T AG__FN(logaddexp)(T u, T v)
{
    if (u == v && AG__FN(isinf)(u))
        return u;
    const T m = AG__FN(maximum)(u, v);
    return m + M(log1p)(M(exp)(-M(fabs)(u - v)));
}

static inline T AG__FN(nan_to_num)(T v)
{
    return v != v ? 0 : v == (T)INFINITY ? AG__HUGEST : v == -(T)INFINITY ? -AG__HUGEST : v;
}

/* sin(t)/t with t = pi v, and its first two derivatives by v; near 0 by their Taylor series in t,
 * since the closed forms lose t^2 or t^3 to cancellation. The series end at t^14 / 15!. */
static inline T AG__FN(sinc)(T v)
{
    const double pi = 3.141592653589793238, whole = rint((double)v), part = (double)v - whole;
    const double s = sin(pi * part); /* exact argument: no digits lost beside a zero */
    return v == 0 ? 1 : (T)((fmod(whole, 2) == 0 ? s : -s) / (pi * (double)v));
}
static inline T AG__FN(sinc1)(T v)
{
    const double pi = 3.141592653589793238, t = pi * (double)v, s = t * t;
    if (t > -1 && t < 1)
        return (T)(pi * t * (-1. / 3 + s * (1. / 30 + s * (-1. / 840 + s * (1. / 45360 + s *
                   (-1. / 3991680 + s * (1. / 518918400 + s * (-1. / 93405312000))))))));
    return (T)(pi * (cos(t) - sin(t) / t) / t);
}
static inline T AG__FN(sinc2)(T v)
{
    const double pi = 3.141592653589793238, t = pi * (double)v, s = t * t;
    if (t > -1 && t < 1)
        return (T)(pi * pi * (-1. / 3 + s * (1. / 10 + s * (-1. / 168 + s * (1. / 6480 + s *
                   (-1. / 443520 + s * (1. / 47174400 + s * (-1. / 7185024000))))))));
    return (T)(pi * pi * (2 * sin(t) / t - 2 * cos(t) - t * sin(t)) / (t * t));
}
