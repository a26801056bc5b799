/*
 * Loops over arrays of T by vectors V of LANES_N elements, given the function of one vector. They
 * are inlined into the function of each row, where that function is known, so that the compiler
 * sees plain arithmetic. A gradient that does not use an operand does not load it either.
 *
 * A single element is taken by all lanes, and one of them is stored. That costs a loop two branches
 * and saves the hottest calls of all, those on one-element tensors, everything else.
 */
typedef V AG__FN(fn1)(V a, double P, double Q);
typedef V AG__FN(fn2)(V a, V b, double P, double Q);
typedef V AG__FN(fn3)(V a, V b, V c, double P, double Q);
typedef VM AG__FN(test)(V a, V b);
typedef V AG__FN(fng)(V g, V a, V b, V c, V y, double P, double Q);

AG__INLINE V AG__FN(first)(const T *x, int64_t n)
{
    return n == 1 ? AG__FN(splat)(*x) : AG__FN(load)(x);
}

/* Stores what belongs to element *i and steps on; false at the end. */
AG__INLINE bool AG__FN(next)(T *y, int64_t *i, int64_t n, V v)
{
    if (n - *i < LANES_N)
        return y[*i] = v[0], false;
    AG__FN(store)(y + *i, v);
    return (*i += LANES_N) < n;
}
AG__INLINE bool AG__FN(next_test)(uint8_t *y, int64_t *i, int64_t n, VM m)
{
    if (n - *i < LANES_N)
        return y[*i] = m[0] & 1, false;
    AG__FN(store_test)(y + *i, m);
    return (*i += LANES_N) < n;
}

AG__INLINE void AG__FN(loop1)(int64_t n, char *const *d, double P, double Q, AG__FN(fn1) *f)
{
    T *out = (T *)d[0];
    const T *pa = (const T *)d[1];
    int64_t i = 0;
    V a = AG__FN(first)(pa, n);
    AG__ROLLED
    while (AG__FN(next)(out, &i, n, f(a, P, Q)))
        a = AG__FN(load)(pa + i);
}

AG__INLINE void AG__FN(loop2)(int64_t n, char *const *d, double P, double Q, AG__FN(fn2) *f)
{
    T *out = (T *)d[0];
    const T *pa = (const T *)d[1], *pb = (const T *)d[2];
    int64_t i = 0;
    V a = AG__FN(first)(pa, n), b = AG__FN(first)(pb, n);
    AG__ROLLED
    while (AG__FN(next)(out, &i, n, f(a, b, P, Q))) {
        a = AG__FN(load)(pa + i);
        b = AG__FN(load)(pb + i);
    }
}

AG__INLINE void AG__FN(loop3)(int64_t n, char *const *d, double P, double Q, AG__FN(fn3) *f)
{
    T *out = (T *)d[0];
    const T *pa = (const T *)d[1], *pb = (const T *)d[2], *pc = (const T *)d[3];
    int64_t i = 0;
    V a = AG__FN(first)(pa, n), b = AG__FN(first)(pb, n), c = AG__FN(first)(pc, n);
    AG__ROLLED
    while (AG__FN(next)(out, &i, n, f(a, b, c, P, Q))) {
        a = AG__FN(load)(pa + i);
        b = AG__FN(load)(pb + i);
        c = AG__FN(load)(pc + i);
    }
}

AG__INLINE void AG__FN(loop_test)(int64_t n, char *const *d, AG__FN(test) *f)
{
    uint8_t *out = (uint8_t *)d[0];
    const T *pa = (const T *)d[1], *pb = (const T *)d[2];
    int64_t i = 0;
    V a = AG__FN(first)(pa, n), b = AG__FN(first)(pb, n);
    AG__ROLLED
    while (AG__FN(next_test)(out, &i, n, f(a, b))) {
        a = AG__FN(load)(pa + i);
        b = AG__FN(load)(pb + i);
    }
}

AG__INLINE void AG__FN(loop_gradient)(int64_t n, char *const *d, double P, double Q, AG__FN(fng) *f)
{
    T *out = (T *)d[0];
    const T *pg = (const T *)d[1], *pa = (const T *)d[2], *pb = (const T *)d[3],
            *pc = (const T *)d[4], *py = (const T *)d[5];
    int64_t i = 0;
    V g = AG__FN(first)(pg, n), a = AG__FN(first)(pa, n), b = AG__FN(first)(pb, n),
      c = AG__FN(first)(pc, n), y = AG__FN(first)(py, n);
    AG__ROLLED
    while (AG__FN(next)(out, &i, n, f(g, a, b, c, y, P, Q))) {
        g = AG__FN(load)(pg + i);
        a = AG__FN(load)(pa + i);
        b = AG__FN(load)(pb + i);
        c = AG__FN(load)(pc + i);
        y = AG__FN(load)(py + i);
    }
}
