/* Special functions that libm lacks, in double. */
#ifndef AG_KERNELS_SPECIAL_H
#define AG_KERNELS_SPECIAL_H

double ag__erfinv(double x);           /* +-inf at +-1, NaN outside */
double ag__lgamma(double x);           /* ln |Gamma(x)|; inf at 0, -1, ... */
double ag__digamma(double x);          /* -inf at +0, inf at -0, NaN at -1, -2, ... */
double ag__polygamma(int n, double x); /* the n-th derivative of digamma, n >= 0 */

#endif
