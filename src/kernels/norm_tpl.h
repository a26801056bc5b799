/*
 * Template: softmax and layer normalisation of element type T. The includer defines T, NORM_NAME
 * and NORM_API, which name functions here and outside, NORM_LOOP, the type of its loops, and
 * NORM_LOG.
 *
 * Exponentials are those of the table's row exp, a vector at a time.
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

/* y = e^(x - top), or x - top for the logarithm; returns the sum of e^(x - top). */
static double NORM_NAME(exps)(const T *x, T *y, int64_t n, T top, bool is_log)
{
    T e[NORM_BLOCK];
    double sum = 0;
    for (int64_t i = 0; i < n; i += NORM_BLOCK) {
        const int64_t m = n - i < NORM_BLOCK ? n - i : NORM_BLOCK;
        T *to = is_log ? e : y + i;
        for (int64_t j = i; j < i + m; j++)
            y[j] = x[j] - top;
        NORM_NAME(exp)(y + i, to, m);
        sum += NORM_NAME(sum)(to, m, 0, false);
    }
    return sum;
}

static void NORM_NAME(end)(T *y, int64_t n, double sum, bool is_log)
{
    const T scale = (T)(1 / sum), log_sum = (T)NORM_LOG((T)sum);
    for (int64_t i = 0; i < n; i++)
        y[i] = is_log ? y[i] - log_sum : y[i] * scale;
}

/* n elements side by side. */
static void NORM_NAME(softmax_line)(const T *x, T *y, int64_t n, bool is_log)
{
    NORM_NAME(end)(y, n, NORM_NAME(exps)(x, y, n, NORM_NAME(top)(x, n), is_log), is_log);
}

/* Short lines, of which the exponentials are taken together. */
static void NORM_NAME(softmax_lines)(const T *x, T *y, int64_t lines, int64_t n, bool is_log)
{
    T e[NORM_BLOCK];
    for (int64_t m; lines > 0; lines -= m, x += m * n, y += m * n) {
        m = lines < NORM_BLOCK / n ? lines : NORM_BLOCK / n;
        T *to = is_log ? e : y;
        for (int64_t r = 0; r < m * n; r += n) {
            const T top = NORM_NAME(top)(x + r, n);
            for (int64_t i = r; i < r + n; i++)
                y[i] = x[i] - top;
        }
        NORM_NAME(exp)(y, to, m * n);
        for (int64_t r = 0; r < m * n; r += n)
            NORM_NAME(end)(y + r, n, NORM_NAME(sum)(to + r, n, 0, false), is_log);
    }
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

void NORM_API(softmax)(const void *px, void *py, ag__lanes l, bool is_log)
{
    const T *x = px;
    T *y = py;
    if (l.stride == 1 && l.n > 0 && l.n <= NORM_BLOCK / 2) {
        NORM_NAME(softmax_lines)(x, y, l.outer, l.n, is_log);
        return;
    }
    for (int64_t o = 0; o < l.outer && l.n > 0; o++, x += l.n * l.stride, y += l.n * l.stride)
        if (l.stride == 1)
            NORM_NAME(softmax_line)(x, y, l.n, is_log);
        else
            for (int64_t k = 0; k < l.inner; k += NORM_COLS)
                NORM_NAME(softmax_columns)
                (x + k, y + k, l.n, l.stride, l.inner - k < NORM_COLS ? l.inner - k : NORM_COLS,
                 is_log);
}

double NORM_API(softmax_exps)(const void *x, void *y, int64_t n, const void *top, bool is_log)
{
    return NORM_NAME(exps)(x, y, n, *(const T *)top, is_log);
}

void NORM_API(softmax_end)(void *y, int64_t n, double sum, bool is_log)
{
    NORM_NAME(end)(y, n, sum, is_log);
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
