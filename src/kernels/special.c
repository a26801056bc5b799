/*
 * Special functions. Digamma and polygamma climb by their recurrence to arguments where the
 * asymptotic series (Abramowitz and Stegun 6.3.18, 6.4.11) is exact to a double, and reflect negative
 * arguments (6.3.7, 6.4.7). The inverse error function refines a rational start by Halley's method.
 */
#include "kernels/special.h"

#include <math.h>

static const double special_pi = 3.141592653589793238;

/* Bernoulli numbers B_2, B_4, ... */
static const double special_bernoulli[] = { 1. / 6,        -1. / 30, 1. / 42,         -1. / 30, 5. / 66,
                                            -691. / 2730., 7. / 6,   -3617. / 510, 43867. / 798 };
enum { SPECIAL_TERMS = sizeof special_bernoulli / sizeof *special_bernoulli };

double ag__lgamma(double x) { return lgamma(x); }

double ag__digamma(double x)
{
    if (x == 0)
        return copysign(INFINITY, -x);
    double y = 0;
    if (x < 0) {
        if (x == floor(x))
            return NAN;
        const double r = x - floor(x); /* tan has period pi: keep its argument small */
        y = -special_pi / tan(special_pi * r);
        x = 1 - x;
    }
    for (; x < 15; x++)
        y -= 1 / x;
    const double z = 1 / (x * x);
    double power = z;
    y += log(x) - .5 / x;
    for (int k = 0; k < SPECIAL_TERMS; k++, power *= z)
        y -= special_bernoulli[k] / (2 * (k + 1)) * power;
    return y;
}

/* The Hurwitz zeta function sum_{k >= 0} (x + k)^-s for x > 0 by Euler and Maclaurin. */
static double special_zeta(double s, double x)
{
    double sum = 0;
    for (; x < 15 + s / 2; x++)
        sum += pow(x, -s);
    sum += pow(x, 1 - s) / (s - 1) + .5 * pow(x, -s);
    double term = s * pow(x, -s - 1) / 2; /* s (s+1) ... / (2k)! x^(-s-2k+1), k = 1 */
    for (int k = 0; k < SPECIAL_TERMS; k++) {
        sum += special_bernoulli[k] * term;
        const double at = s + 2 * k + 1;
        term *= at * (at + 1) / ((2. * k + 3) * (2. * k + 4) * x * x);
    }
    return sum;
}

/* d^n/dx^n of cot(pi x), by the polynomial in cot that repeated differentiation gives:
 * P_0 = t, P_{k+1} = -pi (1 + t^2) P_k'(t). */
static double special_cot_derivative(int n, double x)
{
    enum { MOST = 40 };
    double p[MOST + 3] = { 0, 1 };
    if (n > MOST)
        return NAN;
    for (int k = 0; k < n; k++) {
        double q[MOST + 3] = { 0 };
        for (int i = 1; i <= k + 1; i++) {
            q[i - 1] -= special_pi * i * p[i];
            q[i + 1] -= special_pi * i * p[i];
        }
        for (int i = 0; i < MOST + 3; i++)
            p[i] = q[i];
    }
    const double t = 1 / tan(special_pi * (x - floor(x)));
    double y = 0;
    for (int i = n + 1; i >= 0; i--)
        y = y * t + p[i];
    return y;
}

double ag__polygamma(int n, double x)
{
    if (n == 0)
        return ag__digamma(x);
    if (x <= 0 && x == floor(x))
        return n % 2 ? INFINITY : NAN;
    const double sign = n % 2 ? 1 : -1;
    if (x < 0) /* psi_n(x) = (-1)^n psi_n(1 - x) - pi d^n/dx^n cot(pi x) */
        return -sign * ag__polygamma(n, 1 - x) - special_pi * special_cot_derivative(n, x);
    return sign * tgamma(n + 1.) * special_zeta(n + 1., x);
}

/* The start is Giles, "Approximating the erfinv function", 2010, in single precision. */
double ag__erfinv(double x)
{
    static const double near[] = { 2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06,
                                   0.00021858087,  -0.00125372503, -0.00417768164, 0.246640727,
                                   1.50140941 };
    static const double far[] = { -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844,
                                  0.00573950773,   -0.0076224613,  0.00943887047, 1.00167406,
                                  2.83297682 };
    if (!(x > -1 && x < 1))
        return x == 1 ? INFINITY : x == -1 ? -INFINITY : NAN;
    double w = -log1p(-x * x);
    const double *p = w < 5 ? near : far;
    w = w < 5 ? w - 2.5 : sqrt(w) - 3;
    double y = p[0];
    for (int i = 1; i < 9; i++)
        y = p[i] + y * w;
    y *= x;
    for (int i = 0; i < 3; i++) {
        const double tail = 1 - fabs(x) - erfc(fabs(y)); /* erf |y| - |x| */
        const double error = fabs(x) > .5 ? (x < 0 ? -tail : tail) : erf(y) - x;
        const double step = error / (1.128379167095512574 * exp(-y * y));
        y -= step / (1 + y * step);
    }
    return y;
}
