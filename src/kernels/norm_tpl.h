/*
 * Template: softmax and layer normalisation of element type T, functions named by NORM_NAME.
 * Included once per type; the includer defines T, NORM_NAME, NORM_EXP and NORM_LOG.
 *
 * Rows of softmax lie `inner` elements apart: x is read as [outer, size, inner].
 */

static void NORM_NAME(softmax_row)(const T *x, T *y, int64_t size, int64_t inner, bool is_log)
{
    T top = x[0];
    for (int64_t i = 1; i < size; i++)
        top = x[i * inner] > top ? x[i * inner] : top;
    double sum = 0;
    for (int64_t i = 0; i < size; i++) {
        const T e = NORM_EXP(x[i * inner] - top);
        y[i * inner] = e;
        sum += (double)e;
    }
    if (is_log) {
        const T log_sum = (T)NORM_LOG((T)sum);
        for (int64_t i = 0; i < size; i++)
            y[i * inner] = x[i * inner] - top - log_sum;
        return;
    }
    const T scale = (T)(1 / sum);
    for (int64_t i = 0; i < size; i++)
        y[i * inner] *= scale;
}

static void NORM_NAME(softmax)(const void *px, void *py, int64_t outer, int64_t size, int64_t inner,
                               bool is_log)
{
    const T *x = px;
    T *y = py;
    for (int64_t o = 0; o < outer && size > 0; o++)
        for (int64_t i = 0; i < inner; i++)
            NORM_NAME(softmax_row)(x + o * size * inner + i, y + o * size * inner + i, size, inner,
                                   is_log);
}

/* Sum of f(x[i] - shift): in eight lanes, so that compilers may use vectors. */
static double NORM_NAME(sum)(const T *x, int64_t n, double shift, bool squared)
{
    double lane[8] = { 0 }, sum = 0;
    int64_t i = 0;
    if (squared)
        for (; i + 8 <= n; i += 8)
            for (int k = 0; k < 8; k++)
                lane[k] += ((double)x[i + k] - shift) * ((double)x[i + k] - shift);
    else
        for (; i + 8 <= n; i += 8)
            for (int k = 0; k < 8; k++)
                lane[k] += (double)x[i + k];
    for (int k = 0; k < 8; k++)
        sum += lane[k];
    for (; i < n; i++)
        sum += squared ? ((double)x[i] - shift) * ((double)x[i] - shift) : (double)x[i];
    return sum;
}

static void NORM_NAME(layer_norm)(const void *px, const void *pw, const void *pb, void *py,
                                  void *pmean, void *prstd, int64_t rows, int64_t n, double eps)
{
    const T *x = px, *w = pw, *b = pb;
    T *y = py, *means = pmean, *rstds = prstd;
    for (int64_t r = 0; r < rows; r++, x += n, y += n) {
        const double mean = NORM_NAME(sum)(x, n, 0, false) / (double)n;
        const double var = NORM_NAME(sum)(x, n, mean, true) / (double)n;
        const double rstd = 1 / sqrt(var + eps);
        means[r] = (T)mean;
        rstds[r] = (T)rstd;
        for (int64_t i = 0; i < n; i++) {
            const T z = (T)(((double)x[i] - mean) * rstd);
            y[i] = (w ? z * w[i] : z) + (b ? b[i] : 0);
        }
    }
}
