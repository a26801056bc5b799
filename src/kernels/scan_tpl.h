/*
 * Scans of elements of type T; see reduce.h. The includer defines what reduce_tpl.h asks for.
 */
#define AG__INLINE static inline __attribute__((always_inline))

/* y_i = x_0 + ... + x_i, or their product, in AG__WIDE: a line, and strips of columns. */
AG__INLINE void AG__FN(cumulate_line)(const T *x, T *y, int64_t n, bool product)
{
    AG__WIDE run = product;
    for (int64_t i = 0; i < n; i++) {
        run = product ? run * (AG__WIDE)x[i] : run + (AG__WIDE)x[i];
        y[i] = (T)run;
    }
}
AG__INLINE void AG__FN(cumulate_columns)(const T *x, T *y, int64_t n, int64_t stride, int64_t cols,
                                         bool product)
{
    AG__WIDE runs[REDUCE_COLS];
    for (int64_t j = 0; j < cols; j++)
        runs[j] = product;
    for (; n > 0; n--, x += stride, y += stride)
        for (int64_t j = 0; j < cols; j++) {
            runs[j] = product ? runs[j] * (AG__WIDE)x[j] : runs[j] + (AG__WIDE)x[j];
            y[j] = (T)runs[j];
        }
}
AG__INLINE void AG__FN(cumulate)(const T *x, T *y, ag__lanes l, bool product)
{
    for (int64_t o = 0; o < l.outer; o++, x += l.n * l.stride, y += l.n * l.stride) {
        if (l.stride == 1) {
            AG__FN(cumulate_line)(x, y, l.n, product);
            continue;
        }
        for (int64_t k = 0; k < l.inner; k += REDUCE_COLS) {
            const int64_t left = l.inner - k, cols = left < REDUCE_COLS ? left : REDUCE_COLS;
            AG__FN(cumulate_columns)(x + k, y + k, l.n, l.stride, cols, product);
        }
    }
}
static void AG__FN(cumsum)(const void *x, const void *b, const void *c, void *y, ag__lanes l)
{
    (void)b, (void)c;
    AG__FN(cumulate)(x, y, l, false);
}
static void AG__FN(cumprod)(const void *x, const void *b, const void *c, void *y, ag__lanes l)
{
    (void)b, (void)c;
    AG__FN(cumulate)(x, y, l, true);
}

/* y_i: where the greatest of x_0 ... x_i stands (the least), the last of equals, or of NaNs. */
AG__INLINE void AG__FN(cumulate_arg)(const T *x, int64_t *y, ag__lanes l, bool least)
{
    for (int64_t o = 0; o < l.outer; o++, x += l.n * l.stride, y += l.n * l.stride)
        for (int64_t k = 0; k < l.inner; k++) {
            int64_t best = 0;
            T top = l.n ? x[k] : 0;
            for (int64_t i = 0; i < l.n; i++) {
                const T v = x[i * l.stride + k];
                if (AG__ISNAN(v) || (least ? v <= top : v >= top)) {
                    best = i;
                    top = v;
                }
                y[i * l.stride + k] = best;
            }
        }
}
static void AG__FN(cumargmax)(const void *x, const void *b, const void *c, void *y, ag__lanes l)
{
    (void)b, (void)c;
    AG__FN(cumulate_arg)(x, y, l, false);
}
static void AG__FN(cumargmin)(const void *x, const void *b, const void *c, void *y, ag__lanes l)
{
    (void)b, (void)c;
    AG__FN(cumulate_arg)(x, y, l, true);
}

/* ---- floating point only ---- */
#ifdef M

/* h_i = b_i + a_i h_(i-1) or, from the end, h_i = b_i + a_(i+1) h_(i+1), kept in double. */
static void AG__FN(recurrence)(const void *factors, const void *terms, const void *c, void *result,
                               ag__lanes l)
{
    const T *a = factors, *b = terms;
    T *h = result;
    (void)c;
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t k = 0; k < l.inner; k++) {
            double run = 0;
            for (int64_t i = 0; i < l.n; i++) {
                const int64_t at = (o * l.n + i) * l.stride + k;
                run = (double)b[at] + (i ? (double)a[at] * run : 0);
                h[at] = (T)run;
            }
        }
}
static void AG__FN(recurrence_back)(const void *factors, const void *terms, const void *c,
                                    void *result, ag__lanes l)
{
    const T *a = factors, *b = terms;
    T *h = result;
    (void)c;
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t k = 0; k < l.inner; k++) {
            double run = 0;
            for (int64_t i = l.n - 1; i >= 0; i--) {
                const int64_t at = (o * l.n + i) * l.stride + k;
                run = (double)b[at] + (i < l.n - 1 ? (double)a[at + l.stride] * run : 0);
                h[at] = (T)run;
            }
        }
}

/* y_i = ln(e^x_0 + ... + e^x_i), the running value kept in double. */
static void AG__FN(logcumsumexp)(const void *data, const void *b, const void *c, void *result,
                                 ag__lanes l)
{
    (void)b, (void)c;
    const T *x = data;
    T *y = result;
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t k = 0; k < l.inner; k++) {
            double run = -INFINITY;
            for (int64_t i = 0; i < l.n; i++) {
                const int64_t at = (o * l.n + i) * l.stride + k;
                run = reduce_log_add(run, (double)x[at]);
                y[at] = (T)run;
            }
        }
}

/* out_j = sum over i >= j of g_i e^(x_j - y_i), from the end. Since y never falls, no factor
 * e^(y_j - y_(j+1)) exceeds 1: nothing overflows. Equal infinities have the factor 1. */
static void AG__FN(logcumsumexp_vjp)(const void *grad, const void *data, const void *value,
                                     void *result, ag__lanes l)
{
    const T *g = grad, *x = data, *y = value;
    T *out = result;
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t k = 0; k < l.inner; k++) {
            double run = 0, next = 0;
            for (int64_t i = l.n - 1; i >= 0; i--) {
                const int64_t at = (o * l.n + i) * l.stride + k;
                const double now = (double)y[at];
                run = (double)g[at] + (i < l.n - 1 ? reduce_ratio(now, next) * run : 0);
                out[at] = (T)(run * exp((double)x[at] - now));
                next = now;
            }
        }
}

/* out_i = sum over j <= i of g_j e^(x_j - y_i), from the start. */
static void AG__FN(logcumsumexp_jvp)(const void *grad, const void *data, const void *value,
                                     void *result, ag__lanes l)
{
    const T *g = grad, *x = data, *y = value;
    T *out = result;
    for (int64_t o = 0; o < l.outer; o++)
        for (int64_t k = 0; k < l.inner; k++) {
            double run = 0, last = 0;
            for (int64_t i = 0; i < l.n; i++) {
                const int64_t at = (o * l.n + i) * l.stride + k;
                const double now = (double)y[at];
                run = (i ? reduce_ratio(last, now) * run : 0) +
                      (double)g[at] * exp((double)x[at] - now);
                out[at] = (T)run;
                last = now;
            }
        }
}
#endif /* M */

#undef AG__INLINE
