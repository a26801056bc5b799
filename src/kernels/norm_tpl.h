/*
 * Template: softmax and layer normalisation of element type T. The includer defines T, NORM_NAME
 * and NORM_API, which name functions here and outside, NORM_LOOP, the type of its loops, and
 * NORM_LOG.
 *
 * Exponentials are those of the table's row exp, a vector at a time. Rows of softmax lie `inner`
 * elements apart: x is read as [outer, size, inner].
 */

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

static void NORM_NAME(exp)(const T *x, T *y, int64_t n)
{
    ag__loop_unary(AG_OP_exp, NORM_LOOP, n, x, y);
}

static T NORM_NAME(top)(const T *x, int64_t n)
{
    T lane[8], top = x[0];
    int64_t i = 0;
    for (int k = 0; k < 8; k++)
        lane[k] = top;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            lane[k] = x[i + k] > lane[k] ? x[i + k] : lane[k];
    for (int k = 0; k < 8; k++)
        top = lane[k] > top ? lane[k] : top;
    for (; i < n; i++)
        top = x[i] > top ? x[i] : top;
    return top;
}

/* n elements side by side. */
static void NORM_NAME(softmax_line)(const T *x, T *y, int64_t n, bool is_log)
{
    const T top = NORM_NAME(top)(x, n);
    T e[NORM_BLOCK];
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        y[i] = x[i] - top;
    for (int64_t i = 0; i < n; i += NORM_BLOCK) {
        const int64_t m = n - i < NORM_BLOCK ? n - i : NORM_BLOCK;
        T *to = is_log ? e : y + i;
        NORM_NAME(exp)(y + i, to, m);
        sum += NORM_NAME(sum)(to, m, 0, false);
    }
    const T scale = (T)(1 / sum), log_sum = (T)NORM_LOG((T)sum);
    for (int64_t i = 0; i < n; i++)
        y[i] = is_log ? y[i] - log_sum : y[i] * scale;
}

/* Columns side by side, each of size elements `inner` apart. */
static void NORM_NAME(softmax_columns)(const T *x, T *y, int64_t size, int64_t inner, int64_t cols,
                                       bool is_log)
{
    T top[NORM_COLS], e[NORM_COLS];
    double sum[NORM_COLS] = { 0 };
    for (int64_t j = 0; j < cols; j++)
        top[j] = x[j];
    for (int64_t i = 1; i < size; i++)
        for (int64_t j = 0; j < cols; j++)
            top[j] = x[i * inner + j] > top[j] ? x[i * inner + j] : top[j];
    for (int64_t i = 0; i < size; i++) {
        T *row = y + i * inner, *to = is_log ? e : row;
        for (int64_t j = 0; j < cols; j++)
            row[j] = x[i * inner + j] - top[j];
        NORM_NAME(exp)(row, to, cols);
        for (int64_t j = 0; j < cols; j++)
            sum[j] += (double)to[j];
    }
    for (int64_t j = 0; j < cols; j++)
        e[j] = is_log ? (T)NORM_LOG((T)sum[j]) : (T)(1 / sum[j]);
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j < cols; j++)
            y[i * inner + j] = is_log ? y[i * inner + j] - e[j] : y[i * inner + j] * e[j];
}

void NORM_API(softmax)(const void *px, void *py, int64_t outer, int64_t size, int64_t inner,
                       bool is_log)
{
    const T *x = px;
    T *y = py;
    for (int64_t o = 0; o < outer && size > 0; o++, x += size * inner, y += size * inner)
        if (inner == 1)
            NORM_NAME(softmax_line)(x, y, size, is_log);
        else
            for (int64_t k = 0; k < inner; k += NORM_COLS)
                NORM_NAME(softmax_columns)(x + k, y + k, size, inner,
                                           inner - k < NORM_COLS ? inner - k : NORM_COLS, is_log);
}

void NORM_API(layer_norm)(const void *px, const void *pw, const void *pb, void *py, void *pmean,
                          void *prstd, int64_t rows, int64_t n, double eps)
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
