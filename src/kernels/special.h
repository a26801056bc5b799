/*
 * Special functions of one double that the C library lacks or does not offer without shared state.
 * Relative error about 1e-15 (polygamma 1e-14; 1e-13 for n >= 100) away from zeros; float callers
 * round the double. All are pure: no errno to rely on, no signgam, safe in any thread.
 */
#ifndef AG_KERNELS_SPECIAL_H
#define AG_KERNELS_SPECIAL_H

/* y with erf y = x; +-inf at +-1, NaN outside [-1, 1]. */
double ag__erfinv(double x);

/* ln |Gamma(x)|; +inf at 0, at the negative integers and at both infinities. */
double ag__lgamma(double x);

/* d ln Gamma(x) / dx; -inf at +0, +inf at -0, NaN at the negative integers and at -inf. */
double ag__digamma(double x);

/* The n-th derivative of digamma. n = 0 is digamma; n < 0 gives NaN. For n >= 1 the poles 0, -1,
 * -2, ... give (-1)^(n+1) inf, and -inf gives NaN. */
double ag__polygamma(int n, double x);
double ag__trigamma(double x); /* polygamma(1, x) */

#endif
