/*
 * Special functions of one double.
 *
 * erfinv: a start good to 3e-3 (S. Winitzki, "A handy approximation for the error function and its
 *   inverse", 2008), then Halley steps on erf, or on erfc where erf nears 1.
 * lgamma: on [1.5, 2.5] the series of lgamma(2 + z) in (zeta(k) - 1), which is accurate at both
 *   zeros (Abramowitz and Stegun 6.1.33); recurrence around it; Stirling's series from 9 (6.1.40);
 *   reflection below 0 (6.1.17).
 * digamma: recurrence up to 10, then its asymptotic series (6.3.18); reflection below 0 (6.3.7).
 * polygamma(n, x) = (-1)^(n+1) n! zeta(n+1, x) (6.4.10), Hurwitz' zeta by Euler-Maclaurin summation
 *   (NIST DLMF 25.11.5); reflection below 0, see Note [two-sided sum].
 *
 * Reflections use d = x - rint(x), which is exact, in place of x: sin(pi x) for large x is then as
 * good as for small.
 */
#include "special.h"

#include <float.h>
#include <math.h>

#include "../base/compiler.h"

static const double special_pi = 3.14159265358979323846;

/* 0 < x < 1 */
static double special_erfinv_start(double x)
{
    if (x < 0.1)
        return 0.88622692545275801365 * x; /* sqrt(pi) / 2 */
    const double l = log((1 - x) * (1 + x)), t = 2 / (special_pi * 0.147) + l / 2;
    return sqrt(sqrt(t * t - l / 0.147) - t);
}

double ag__erfinv(double x)
{
    if (!(fabs(x) < 1))
        return fabs(x) == 1 ? copysign(INFINITY, x) : NAN;
    if (x == 0)
        return x;
    double a = fabs(x), y = special_erfinv_start(a);
    for (int i = 0; i < 3; i++) { /* each triples the digits */
        double error = a < 0.5 ? erf(y) - a : (1 - a) - erfc(y);
        double step = error * exp(y * y) / 1.1283791670955125739; /* 2 / sqrt(pi) */
        y -= step / (1 + y * step);
    }
    return copysign(y, x);
}

/* lgamma(2 + z) for |z| <= 1/2. */
static double special_lgamma_two(double z)
{
    static const double zeta_less_1[] = {
        /* at 2, 3, ... */
        0.64493406684822643647,     0.2020569031595942854,      0.082323233711138191516,
        0.036927755143369926331,    0.017343061984449139715,    0.0083492773819228268398,
        0.0040773561979443393787,   0.0020083928260822144179,   0.00099457512781808533715,
        0.0004941886041194645587,   0.00024608655330804829864,  0.00012271334757848914675,
        0.000061248135058704829259, 0.000030588236307020493552, 0.000015282259408651871733,
        7.6371976378997622736e-6,   3.8172932649998398565e-6,   1.9082127165539389257e-6,
        9.5396203387279611315e-7,   4.7693298678780646312e-7,   2.3845050272773299e-7,
        1.1921992596531107307e-7,   5.9608189051259479612e-8,   2.9803503514652280186e-8,
        1.4901554828365041235e-8
    };
    double sum = 0;
    for (int i = AG_COUNT(zeta_less_1) - 1; i >= 0; i--)
        sum = zeta_less_1[i] / (i + 2) - z * sum;
    return z * (0.42278433509846713939 + z * sum); /* 1 - Euler's constant */
}

/* x > 0 */
static double special_lgamma_positive(double x)
{
    static const double stirling[] = { 1.0 / 12,   -1.0 / 360,      1.0 / 1260, -1.0 / 1680,
                                       1.0 / 1188, -691.0 / 360360, 1.0 / 156,  -3617.0 / 122400 };
    if (x >= 9) {
        double w = 1 / (x * x), sum = 0;
        for (int i = AG_COUNT(stirling) - 1; i >= 0; i--)
            sum = sum * w + stirling[i];
        return (x - 0.5) * (log(x) - 1) + (sum / x + 0.41893853320467274178);
    }
    if (x < 0.5)
        return special_lgamma_two(x) - log1p(x) - log(x);
    if (x < 1.5)
        return special_lgamma_two(x - 1) - log1p(x - 1);
    double product = 1;
    for (; x > 2.5; product *= x)
        x -= 1;
    return special_lgamma_two(x - 2) + log(product);
}

double ag__lgamma(double x)
{
    if (isnan(x) || x > 0)
        return isinf(x) ? x : special_lgamma_positive(x);
    double d = isinf(x) ? 0 : x - rint(x);
    if (d == 0)
        return INFINITY;
    return -log(fabs(sin(special_pi * d)) / special_pi) - special_lgamma_positive(1 - x);
}

double ag__digamma(double x)
{
    static const double series[] = { 1.0 / 12,  -1.0 / 120,     1.0 / 252, -1.0 / 240,
                                     1.0 / 132, -691.0 / 32760, 1.0 / 12,  -3617.0 / 8160 };
    if (x == 0)
        return copysign(INFINITY, -x);
    if (isnan(x) || isinf(x))
        return x > 0 ? x : NAN;
    double sum = 0;
    if (x < 0) {
        double d = x - rint(x);
        if (d == 0)
            return NAN;
        sum = fabs(d) == 0.5 ? 0 : -special_pi / tan(special_pi * d);
        x = 1 - x;
    }
    for (; x < 10; x += 1)
        sum -= 1 / x;
    double w = 1 / (x * x), tail = 0;
    for (int i = AG_COUNT(series) - 1; i >= 0; i--)
        tail = (tail + series[i]) * w;
    return sum + (log(x) - 0.5 / x - tail);
}

/* n! q^-n, by logarithms where a factor of it leaves the range of double. */
static double special_scale(int n, double q)
{
    double power = pow(q, -(double)n);
    if (n <= 170 && power >= DBL_MIN && power <= DBL_MAX)
        return tgamma(n + 1.0) * power;
    return exp(special_lgamma_positive(n + 1.0) - n * log(q));
}

/* n! zeta(n + 1, q) for n >= 1, q > 0. The sum runs in units of q^-n, so that it stays near 1. */
static double special_zeta(int n, double q)
{
    static const double bernoulli[] = { /* B_2k / (2k)! */
                                        0.083333333333333333333,    -0.0013888888888888888889,
                                        0.000033068783068783068783, -8.2671957671957671958e-7,
                                        2.0876756987868098979e-8,   -5.2841901386874931848e-10,
                                        1.3382536530684678833e-11,  -3.3896802963225828668e-13,
                                        8.5860620562778445641e-15,  -2.174868698558061873e-16
    };
    if (isinf(q))
        return 0;
    const double s = n + 1.0;
    double a = q, term = 1 / q, sum = 0;
    while (a < 12 + s / 2 && term > sum * 1e-18) {
        sum += term;
        a += 1;
        term = pow(q / a, s) / q;
    }
    if (term <= sum * 1e-18) /* and a may be too small for the series of corrections */
        return special_scale(n, q) * sum;
    double tail = term * a / (s - 1) + term / 2; /* now from a on: the integral and corrections */
    double factor = term * s / a;
    for (int k = 0; k < AG_COUNT(bernoulli) && factor != 0; k++) {
        tail += bernoulli[k] * factor;
        factor *= (s + 2 * k + 1) * (s + 2 * k + 2) / (a * a);
    }
    return special_scale(n, q) * (sum + tail);
}

/*
 * Note [two-sided sum]
 * With d = x - rint(x), the sum of (d + i)^-s over all integers i is
 *     d^-s + zeta(s, 1 + d) + (-1)^s zeta(s, 1 - d),
 * and zeta(s, x) for x < 0 lacks of it the terms below x, which are (-1)^s zeta(s, 1 - x).
 */
static double special_zeta_negative(int n, double x)
{
    double d = x - rint(x), even = n % 2 ? 1 : -1; /* (-1)^s with s = n + 1 */
    double pole = special_scale(n, fabs(d)) / fabs(d) * (d < 0 ? even : 1);
    if (isinf(pole))
        return pole;
    return pole + special_zeta(n, 1 + d) + even * (special_zeta(n, 1 - d) - special_zeta(n, 1 - x));
}

double ag__polygamma(int n, double x)
{
    if (n <= 0)
        return n == 0 ? ag__digamma(x) : NAN;
    if (isnan(x) || x == -INFINITY)
        return NAN;
    double sign = n % 2 ? 1 : -1;
    if (x > 0)
        return sign * special_zeta(n, x);
    return sign * (x == rint(x) ? INFINITY : special_zeta_negative(n, x));
}

double ag__trigamma(double x) { return ag__polygamma(1, x); }
