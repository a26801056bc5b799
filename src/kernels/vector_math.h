/*
 * Functions of vectors: SLEEF's of 1 ULP where the build has it, libm's lane by lane otherwise; a
 * part of vector_tpl.h. SLEEF(name, ulp) names SLEEF's function for T and the instruction set; its
 * header hides those the compiler was not asked for, so they are declared here.
 *
 *   MATH    SLEEF's everywhere
 *   FINITE  SLEEF's where it is finite: it overflows before the function does (log1p, asinh, acosh
 *           from the root of the largest number on, sinh, cosh, pow next to it)
 *   WITHIN  SLEEF's for small arguments: with a large one in any lane it reduces all of them in
 *           another way, and a value must not depend on its neighbours
 *
 * The lanes left out are libm's. So are erfc (1.5 ULP), erf in double (slower than libm's) and what
 * SLEEF lacks. erf in float is our own, which takes half the time of SLEEF's.
 */
#ifdef AG_HAVE_SLEEF

AG__FN(vector1)
SLEEF(exp, u10), SLEEF(exp2, u10), SLEEF(expm1, u10), SLEEF(log, u10), SLEEF(log2, u10),
    SLEEF(log10, u10), SLEEF(log1p, u10), SLEEF(sin, u10), SLEEF(cos, u10), SLEEF(tan, u10),
    SLEEF(asin, u10), SLEEF(acos, u10), SLEEF(atan, u10), SLEEF(sinh, u10), SLEEF(cosh, u10),
    SLEEF(tanh, u10), SLEEF(asinh, u10), SLEEF(acosh, u10), SLEEF(atanh, u10);
AG__FN(vector2) SLEEF(pow, u10), SLEEF(atan2, u10), SLEEF(hypot, u05);

AG__INLINE bool AG__FN(any)(VM m)
{
#ifdef ANY
    return ANY(m);
#else
    I bits = 0;
    for (int l = 0; l < LANES_N; l++)
        bits |= m[l];
    return bits;
#endif
}

static AG__NOINLINE V AG__FN(finite)(AG__FN(vector1) * f, AG__FN(scalar1) * exact, V u)
{
    V y = f(u);
    const VM left = AG__FN(isinf)(y);
    if (!AG__FN(any)(left))
        return y;
    AG__ROLLED
    for (int l = 0; l < LANES_N; l++)
        y[l] = left[l] ? exact(u[l]) : y[l];
    return y;
}
static AG__NOINLINE V AG__FN(finite2)(AG__FN(vector2) * f, AG__FN(scalar2) * exact, V u, V v)
{
    V y = f(u, v);
    const VM left = AG__FN(isinf)(y);
    if (!AG__FN(any)(left))
        return y;
    AG__ROLLED
    for (int l = 0; l < LANES_N; l++)
        y[l] = left[l] ? exact(u[l], v[l]) : y[l];
    return y;
}
static AG__NOINLINE V AG__FN(within)(AG__FN(vector1) * f, AG__FN(scalar1) * exact, V u)
{
    const VM near = (VM)(AG__FN(abs)(u) < AG__FN(splat)(sizeof(T) == sizeof(float) ? 125 : 15));
    V y = f((V)(near & (VM)u));
    if (!AG__FN(any)(~near))
        return y;
    AG__ROLLED
    for (int l = 0; l < LANES_N; l++)
        y[l] = near[l] ? y[l] : exact(u[l]);
    return y;
}

/* erf in float, 1.2 ULP: x + x p(x^2) up to 475/512, then 1 - e^q(x), by the minimax polynomials of
 * N. Juffa (in answers on stackoverflow.com). */
static AG__NOINLINE V AG__FN(erf_float)(V u)
{
    const V t = AG__FN(abs)(u), s = u * u;
    V near = (T)-5.96761703e-4 * s + (T)4.99119423e-3;
    near = near * s - (T)2.67681349e-2;
    near = near * s + (T)1.12819925e-1;
    near = near * s - (T)3.76125336e-1;
    near = near * s + (T)1.28379166e-1;
    near = near * u + u;
    V far =
        ((T)-1.72853470e-5 * t + (T)3.83197126e-4) * s + ((T)-3.88396438e-3 * t + (T)2.42546219e-2);
    far = far * t - (T)1.06777877e-1;
    far = far * t - (T)6.34846687e-1;
    far = far * t - (T)1.28717512e-1;
    far = AG__FN(copysign)(1 - SLEEF(exp, u10)(far * t - t), u);
    return AG__FN(select)((VM)(t > AG__FN(splat)((T)0.927734375)), far, near);
}
AG__INLINE V AG__FN(erf)(V u)
{
    return sizeof(T) == sizeof(float) ? AG__FN(erf_float)(u) : LANES(M(erf), u);
}

#define MATH(name, u) SLEEF(name, u10)(u)
#define MATH2(name, ulp, u, v) SLEEF(name, ulp)(u, v)
#define FINITE(name, u) AG__FN(finite)(SLEEF(name, u10), M(name), u)
#define FINITE2(name, u, v) AG__FN(finite2)(SLEEF(name, u10), M(name), u, v)
#define WITHIN(name, u) AG__FN(within)(SLEEF(name, u10), M(name), u)

#else

#define MATH(name, u) LANES(M(name), u)
#define MATH2(name, ulp, u, v) LANES2(M(name), u, v)
#define FINITE(name, u) LANES(M(name), u)
#define FINITE2(name, u, v) LANES2(M(name), u, v)
#define WITHIN(name, u) LANES(M(name), u)

AG__INLINE V AG__FN(erf)(V u) { return LANES(M(erf), u); }

#endif
