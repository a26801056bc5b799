/*
 * Reductions of elements of type T; see reduce.h. The includer defines T, AG__FN(name),
 * AG__ADD and AG__MUL, AG__ISNAN, the type AG__WIDE that running sums are kept in, and for floating
 * point M(name), the C library's function for T, and AG__LOOP, the type of its loops.
 *
 * A `join` combines two partial results, a `leaf` adds some rows of terms to lanes. They are
 * inlined where they are known, so that the compiler sees plain arithmetic.
 */
#define AG__INLINE static inline __attribute__((always_inline))
#define AG__NOINLINE __attribute__((noinline))

typedef T AG__FN(join)(T a, T b);
typedef void AG__FN(leaf)(const T *x, int64_t rows, int64_t stride, int cols, const T *center,
                          T *lanes);
typedef T AG__FN(add)(const T *x, int64_t n, T center);
typedef T AG__FN(line)(const T *x, int64_t n, double divisor);
typedef void AG__FN(columns)(const T *x, int64_t n, int64_t stride, int cols, T *out,
                             double divisor);

AG__INLINE T AG__FN(join_add)(T a, T b) { return AG__ADD(a, b); }
AG__INLINE T AG__FN(join_mul)(T a, T b) { return AG__MUL(a, b); }
AG__INLINE T AG__FN(join_max)(T a, T b) { return b > a || AG__ISNAN(b) ? b : a; }
AG__INLINE T AG__FN(join_min)(T a, T b) { return b < a || AG__ISNAN(b) ? b : a; }

/* ---- rows of lanes ---- */

/* lanes[j] = lanes[j] o x[r][j] for every row r in turn. */
AG__INLINE void AG__FN(fold_rows)(const T *x, int64_t rows, int64_t stride, int cols, T *lanes,
                                  AG__FN(join) *o)
{
    for (; rows > 0; rows--, x += stride)
        for (int j = 0; j < cols; j++)
            lanes[j] = o(lanes[j], x[j]);
}

/* Leaves: lanes[j] += f(x[r][j], center[j]) for every row r in turn. */
AG__INLINE void AG__FN(leaf_plain)(const T *x, int64_t rows, int64_t stride, int cols,
                                   const T *center, T *lanes)
{
    (void)center;
    AG__FN(fold_rows)(x, rows, stride, cols, lanes, AG__FN(join_add));
}

AG__INLINE void AG__FN(add_rows)(const T *x, int64_t rows, int64_t stride, int cols,
                                 const T *center, T *out, AG__FN(leaf) *f)
{
    T level[REDUCE_LEVELS][REDUCE_COLS];
    int depth = 0;
    for (uint64_t leaves = 1; rows > 0; leaves++) {
        const int64_t m = rows < REDUCE_ROWS ? rows : REDUCE_ROWS;
        T *leaf = level[depth++];
        for (int j = 0; j < cols; j++)
            leaf[j] = 0;
        f(x, m, stride, cols, center, leaf);
        x += m * stride;
        rows -= m;
        for (uint64_t carry = leaves; !(carry & 1); carry >>= 1, depth--)
            for (int j = 0; j < cols; j++)
                level[depth - 2][j] = AG__ADD(level[depth - 2][j], level[depth - 1][j]);
    }
    for (; depth > 1; depth--)
        for (int j = 0; j < cols; j++)
            level[depth - 2][j] = AG__ADD(level[depth - 2][j], level[depth - 1][j]);
    for (int j = 0; j < cols; j++)
        out[j] = depth ? level[0][j] : 0;
}

/* The same with the number of columns known where it is the full one. */
AG__INLINE void AG__FN(add_columns)(const T *x, int64_t n, int64_t stride, int cols,
                                    const T *center, T *out, AG__FN(leaf) *f)
{
    if (cols == REDUCE_COLS)
        AG__FN(add_rows)(x, n, stride, REDUCE_COLS, center, out, f);
    else
        AG__FN(add_rows)(x, n, stride, cols, center, out, f);
}

AG__INLINE T AG__FN(add_long)(const T *x, int64_t n, T center, AG__FN(leaf) *f)
{
    T lanes[REDUCE_COLS], centers[REDUCE_COLS];
    for (int j = 0; j < REDUCE_COLS; j++)
        centers[j] = center;
    const int64_t rows = n / REDUCE_COLS, rest = n % REDUCE_COLS;
    AG__FN(add_rows)(x, rows, REDUCE_COLS, REDUCE_COLS, centers, lanes, f);
    if (rest)
        f(x + rows * REDUCE_COLS, 1, 0, (int)rest, centers, lanes);
    for (int w = REDUCE_COLS / 2; w > 0; w /= 2)
        for (int j = 0; j < w; j++)
            lanes[j] = AG__ADD(lanes[j], lanes[j + w]);
    return lanes[0];
}

static AG__NOINLINE T AG__FN(add_plain)(const T *x, int64_t n, T center)
{
    return AG__FN(add_long)(x, n, center, AG__FN(leaf_plain));
}

/* A short line is added one by one, and pays nothing for the lanes of a long one. */
AG__INLINE T AG__FN(add_line)(const T *x, int64_t n, T center, AG__FN(leaf) *f,
                              AG__FN(add) *longer)
{
    T sum = 0;
    if (n >= REDUCE_SHORT)
        return longer(x, n, center);
    f(x, n, 1, 1, &center, &sum);
    return sum;
}

/* A fold without rounding concerns. It starts from `one` or, where there is none, from an element:
 * taking that twice does not matter to max and min. */
AG__INLINE void AG__FN(fold_columns)(const T *x, int64_t n, int64_t stride, int cols, T *out,
                                     bool one, AG__FN(join) *o)
{
    T lanes[REDUCE_COLS];
    for (int j = 0; j < cols; j++)
        lanes[j] = one ? 1 : x[j];
    if (cols == REDUCE_COLS)
        AG__FN(fold_rows)(x, n, stride, REDUCE_COLS, lanes, o);
    else
        AG__FN(fold_rows)(x, n, stride, cols, lanes, o);
    for (int j = 0; j < cols; j++)
        out[j] = lanes[j];
}

AG__INLINE T AG__FN(fold_line)(const T *x, int64_t n, bool one, AG__FN(join) *o)
{
    T lanes[REDUCE_COLS];
    const int64_t rows = n / REDUCE_COLS;
    T result = one ? 1 : x[0];
    for (int64_t i = rows * REDUCE_COLS; i < n; i++)
        result = o(result, x[i]);
    if (rows == 0)
        return result;
    AG__FN(fold_columns)(x, rows, REDUCE_COLS, REDUCE_COLS, lanes, one, o);
    for (int j = 0; j < REDUCE_COLS; j++)
        result = o(result, lanes[j]);
    return result;
}

/* All results: lines where the reduced elements are neighbours, else strips of columns. */
AG__INLINE void AG__FN(reduce_all)(const T *x, T *y, ag__lanes l, AG__FN(line) *line,
                                   AG__FN(columns) *columns)
{
    for (int64_t o = 0; o < l.outer; o++, x += l.n * l.stride, y += l.stride) {
        if (l.stride == 1) {
            y[0] = line(x, l.n, l.divisor);
            continue;
        }
        for (int64_t k = 0; k < l.inner; k += REDUCE_COLS) {
            const int64_t left = l.inner - k;
            columns(x + k, l.n, l.stride, left < REDUCE_COLS ? (int)left : REDUCE_COLS, y + k,
                    l.divisor);
        }
    }
}

/* The same for sums of f(x), and for folds. */
AG__INLINE void AG__FN(add_all)(const T *x, T *y, ag__lanes l, AG__FN(leaf) *f,
                                AG__FN(add) *longer)
{
    const T unused[REDUCE_COLS] = { 0 };
    for (int64_t o = 0; o < l.outer; o++, x += l.n * l.stride, y += l.stride) {
        if (l.stride == 1) {
            y[0] = AG__FN(add_line)(x, l.n, 0, f, longer);
            continue;
        }
        for (int64_t k = 0; k < l.inner; k += REDUCE_COLS) {
            const int64_t left = l.inner - k;
            const int cols = left < REDUCE_COLS ? (int)left : REDUCE_COLS;
            AG__FN(add_columns)(x + k, l.n, l.stride, cols, unused, y + k, f);
        }
    }
}
AG__INLINE void AG__FN(fold_all)(const T *x, T *y, ag__lanes l, bool one, AG__FN(join) *o)
{
    for (int64_t i = 0; i < l.outer; i++, x += l.n * l.stride, y += l.stride) {
        if (l.stride == 1) {
            y[0] = AG__FN(fold_line)(x, l.n, one, o);
            continue;
        }
        for (int64_t k = 0; k < l.inner; k += REDUCE_COLS) {
            const int64_t left = l.inner - k;
            const int cols = left < REDUCE_COLS ? (int)left : REDUCE_COLS;
            AG__FN(fold_columns)(x + k, l.n, l.stride, cols, y + k, one, o);
        }
    }
}

/* ---- the reductions ---- */

static void AG__FN(sum)(const void *x, void *y, ag__lanes l)
{
    AG__FN(add_all)(x, y, l, AG__FN(leaf_plain), AG__FN(add_plain));
}
static void AG__FN(prod)(const void *x, void *y, ag__lanes l)
{
    AG__FN(fold_all)(x, y, l, true, AG__FN(join_mul));
}
static void AG__FN(max)(const void *x, void *y, ag__lanes l)
{
    AG__FN(fold_all)(x, y, l, false, AG__FN(join_max));
}
static void AG__FN(min)(const void *x, void *y, ag__lanes l)
{
    AG__FN(fold_all)(x, y, l, false, AG__FN(join_min));
}

/* v is no better than `top`: not greater or, with `least`, not smaller. False for NaN, which wins. */
AG__INLINE bool AG__FN(no_better)(T v, T top, bool least) { return least ? v >= top : v <= top; }

AG__INLINE int64_t AG__FN(arg_line)(const T *x, int64_t n, int64_t stride, bool least)
{
    int64_t best = 0;
    T top = x[0];
    for (int64_t i = 1; i < n && !AG__ISNAN(top); i++) {
        const T v = x[i * stride];
        if (AG__FN(no_better)(v, top, least))
            continue;
        top = v;
        best = i;
    }
    return best;
}
AG__INLINE void AG__FN(arg_all)(const T *x, int64_t *y, ag__lanes l, bool least)
{
    for (int64_t o = 0; o < l.outer; o++, x += l.n * l.stride, y += l.stride)
        for (int64_t k = 0; k < l.inner; k++)
            y[k] = l.stride == 1 ? AG__FN(arg_line)(x, l.n, 1, least)
                                 : AG__FN(arg_line)(x + k, l.n, l.stride, least);
}
static void AG__FN(argmax)(const void *x, void *y, ag__lanes l) { AG__FN(arg_all)(x, y, l, false); }
static void AG__FN(argmin)(const void *x, void *y, ag__lanes l) { AG__FN(arg_all)(x, y, l, true); }

/* The first of the best among those of the chunks. */
static void AG__FN(arg_join)(const void *data, const int64_t *parts, int64_t *y, ag__lanes l,
                             int64_t rows, bool least)
{
    const int64_t chunks = (l.n + rows - 1) / rows;
    for (int64_t at = 0; at < l.outer * l.inner; at++) {
        const int64_t o = at / l.inner, k = at % l.inner;
        const T *x = (const T *)data + o * l.n * l.inner + k;
        y[at] = parts[o * chunks * l.inner + k];
        for (int64_t i = 1; i < chunks; i++) {
            const int64_t rival = i * rows + parts[(o * chunks + i) * l.inner + k];
            const T top = x[y[at] * l.inner];
            if (!AG__ISNAN(top) && !AG__FN(no_better)(x[rival * l.inner], top, least))
                y[at] = rival;
        }
    }
}

static void AG__FN(nonzero)(const void *data, void *result, ag__lanes l)
{
    const T *x = data;
    int64_t *y = result;
    for (int64_t o = 0; o < l.outer; o++, y += l.stride) {
        for (int64_t k = 0; k < l.inner; k++)
            y[k] = 0;
        for (int64_t i = 0; l.stride == 1 && i < l.n; i++)
            y[0] += x[i] != 0;
        for (int64_t i = 0; l.stride > 1 && i < l.n; i++)
            for (int64_t k = 0; k < l.inner; k++)
                y[k] += x[i * l.stride + k] != 0;
        x += l.n * l.stride;
    }
}

/* ---- floating point only ---- */
#ifdef M

AG__INLINE void AG__FN(leaf_square)(const T *x, int64_t rows, int64_t stride, int cols,
                                    const T *center, T *lanes)
{
    for (; rows > 0; rows--, x += stride)
        for (int j = 0; j < cols; j++)
            lanes[j] += (x[j] - center[j]) * (x[j] - center[j]);
}

AG__INLINE void AG__FN(leaf_abs)(const T *x, int64_t rows, int64_t stride, int cols,
                                 const T *center, T *lanes)
{
    (void)center;
    for (; rows > 0; rows--, x += stride)
        for (int j = 0; j < cols; j++)
            lanes[j] += M(fabs)(x[j]);
}

AG__INLINE void AG__FN(leaf_number)(const T *x, int64_t rows, int64_t stride, int cols,
                                    const T *center, T *lanes)
{
    (void)center;
    for (; rows > 0; rows--, x += stride)
        for (int j = 0; j < cols; j++)
            lanes[j] += AG__ISNAN(x[j]) ? 0 : x[j];
}

static AG__NOINLINE void AG__FN(exp)(T *x, int64_t n)
{
    ag__loop_unary(AG_OP_exp, AG__LOOP, n, x, x);
}

static void AG__FN(leaf_exp)(const T *x, int64_t rows, int64_t stride, int cols, const T *center,
                             T *lanes)
{
    T e[REDUCE_LEAF];
    for (int64_t r = 0; r < rows; r++)
        for (int j = 0; j < cols; j++)
            e[r * cols + j] = x[r * stride + j] - center[j];
    AG__FN(exp)(e, rows * cols);
    AG__FN(fold_rows)(e, rows, cols, cols, lanes, AG__FN(join_add));
}

static AG__NOINLINE T AG__FN(add_square)(const T *x, int64_t n, T center)
{
    return AG__FN(add_long)(x, n, center, AG__FN(leaf_square));
}
static AG__NOINLINE T AG__FN(add_abs)(const T *x, int64_t n, T center)
{
    return AG__FN(add_long)(x, n, center, AG__FN(leaf_abs));
}
static AG__NOINLINE T AG__FN(add_number)(const T *x, int64_t n, T center)
{
    return AG__FN(add_long)(x, n, center, AG__FN(leaf_number));
}
static AG__NOINLINE T AG__FN(add_exp)(const T *x, int64_t n, T center)
{
    return AG__FN(add_long)(x, n, center, AG__FN(leaf_exp));
}

static T AG__FN(mean_line)(const T *x, int64_t n, double divisor)
{
    return (T)((double)AG__FN(add_line)(x, n, 0, AG__FN(leaf_plain), AG__FN(add_plain)) / divisor);
}
static void AG__FN(mean_columns)(const T *x, int64_t n, int64_t stride, int cols, T *out,
                                 double divisor)
{
    const T unused[REDUCE_COLS] = { 0 };
    AG__FN(add_columns)(x, n, stride, cols, unused, out, AG__FN(leaf_plain));
    for (int j = 0; j < cols; j++)
        out[j] = (T)((double)out[j] / divisor);
}
/* Two passes: the mean, then the squares of what is left. */
static T AG__FN(var_line)(const T *x, int64_t n, double divisor)
{
    const T mean = AG__FN(mean_line)(x, n, (double)n);
    return (T)((double)AG__FN(add_line)(x, n, mean, AG__FN(leaf_square), AG__FN(add_square)) /
               divisor);
}
static void AG__FN(var_columns)(const T *x, int64_t n, int64_t stride, int cols, T *out,
                                double divisor)
{
    T mean[REDUCE_COLS];
    AG__FN(mean_columns)(x, n, stride, cols, mean, (double)n);
    AG__FN(add_columns)(x, n, stride, cols, mean, out, AG__FN(leaf_square));
    for (int j = 0; j < cols; j++)
        out[j] = (T)((double)out[j] / divisor);
}
static T AG__FN(std_line)(const T *x, int64_t n, double divisor)
{
    return M(sqrt)(AG__FN(var_line)(x, n, divisor));
}
static void AG__FN(std_columns)(const T *x, int64_t n, int64_t stride, int cols, T *out,
                                double divisor)
{
    AG__FN(var_columns)(x, n, stride, cols, out, divisor);
    for (int j = 0; j < cols; j++)
        out[j] = M(sqrt)(out[j]);
}
/* Relative to the maximum, or to 0 where that is infinite: inf - inf would be NaN. */
AG__INLINE T AG__FN(exp_center)(T top) { return isinf(top) ? 0 : top; }

static T AG__FN(logsumexp_line)(const T *x, int64_t n, double divisor)
{
    const T center = AG__FN(exp_center)(n ? AG__FN(fold_line)(x, n, false, AG__FN(join_max)) : 0);
    (void)divisor;
    return center + M(log)(AG__FN(add_line)(x, n, center, AG__FN(leaf_exp), AG__FN(add_exp)));
}
/* Short lines, of which the exponentials are taken together. */
static void AG__FN(logsumexp_lines)(const T *x, T *y, int64_t lines, int64_t n)
{
    T e[REDUCE_LEAF];
    for (int64_t m; lines > 0; lines -= m, x += m * n, y += m) {
        m = lines < REDUCE_LEAF / n ? lines : REDUCE_LEAF / n;
        for (int64_t r = 0; r < m; r++) {
            y[r] = AG__FN(exp_center)(AG__FN(fold_line)(x + r * n, n, false, AG__FN(join_max)));
            for (int64_t i = 0; i < n; i++)
                e[r * n + i] = x[r * n + i] - y[r];
        }
        AG__FN(exp)(e, m * n);
        for (int64_t r = 0; r < m; r++)
            y[r] +=
                M(log)(AG__FN(add_line)(e + r * n, n, 0, AG__FN(leaf_plain), AG__FN(add_plain)));
    }
}
static void AG__FN(logsumexp_columns)(const T *x, int64_t n, int64_t stride, int cols, T *out,
                                      double divisor)
{
    T center[REDUCE_COLS] = { 0 };
    if (n)
        AG__FN(fold_columns)(x, n, stride, cols, center, false, AG__FN(join_max));
    (void)divisor;
    for (int j = 0; j < cols; j++)
        center[j] = AG__FN(exp_center)(center[j]);
    AG__FN(add_columns)(x, n, stride, cols, center, out, AG__FN(leaf_exp));
    for (int j = 0; j < cols; j++)
        out[j] = center[j] + M(log)(out[j]);
}

static void AG__FN(mean)(const void *x, void *y, ag__lanes l)
{
    AG__FN(reduce_all)(x, y, l, AG__FN(mean_line), AG__FN(mean_columns));
}
static void AG__FN(var)(const void *x, void *y, ag__lanes l)
{
    AG__FN(reduce_all)(x, y, l, AG__FN(var_line), AG__FN(var_columns));
}
static void AG__FN(std)(const void *x, void *y, ag__lanes l)
{
    AG__FN(reduce_all)(x, y, l, AG__FN(std_line), AG__FN(std_columns));
}
static void AG__FN(logsumexp)(const void *x, void *y, ag__lanes l)
{
    if (l.stride == 1 && l.n > 0 && l.n < REDUCE_SHORT)
        AG__FN(logsumexp_lines)(x, y, l.outer, l.n);
    else
        AG__FN(reduce_all)(x, y, l, AG__FN(logsumexp_line), AG__FN(logsumexp_columns));
}

/* Sums about given centers, for reductions of which a chunk knows only its part. */
AG__INLINE void AG__FN(add_about)(const T *x, const T *center, T *y, ag__lanes l, AG__FN(leaf) *f,
                                  AG__FN(add) *longer)
{
    for (int64_t k = 0; k < l.inner; k += REDUCE_COLS) {
        const int64_t left = l.inner - k;
        if (l.stride == 1)
            y[0] = AG__FN(add_line)(x, l.n, center[0], f, longer);
        else
            AG__FN(add_columns)
        (x + k, l.n, l.stride, left < REDUCE_COLS ? (int)left : REDUCE_COLS, center + k, y + k, f);
    }
}
static void AG__FN(squares)(const void *x, const void *center, void *y, ag__lanes l)
{
    AG__FN(add_about)(x, center, y, l, AG__FN(leaf_square), AG__FN(add_square));
}
static void AG__FN(exps)(const void *x, const void *center, void *y, ag__lanes l)
{
    AG__FN(add_about)(x, center, y, l, AG__FN(leaf_exp), AG__FN(add_exp));
}
static void AG__FN(exps_center)(void *center, int64_t n)
{
    T *c = center;
    for (int64_t i = 0; i < n; i++)
        c[i] = AG__FN(exp_center)(c[i]);
}
static void AG__FN(exps_end)(void *y, const void *center, int64_t n)
{
    T *to = y;
    const T *c = center;
    for (int64_t i = 0; i < n; i++)
        to[i] = c[i] + M(log)(to[i]);
}

/* ---- norms: see ops/pnorm.c ---- */

AG__INLINE T AG__FN(join_max_abs)(T a, T b)
{
    return AG__FN(join_max)(M(fabs)(a), M(fabs)(b));
}
AG__INLINE T AG__FN(join_min_abs)(T a, T b)
{
    return AG__FN(join_min)(M(fabs)(a), M(fabs)(b));
}
static void AG__FN(max_abs)(const void *x, void *y, ag__lanes l)
{
    AG__FN(fold_all)(x, y, l, false, AG__FN(join_max_abs));
}
static void AG__FN(min_abs)(const void *x, void *y, ag__lanes l)
{
    AG__FN(fold_all)(x, y, l, false, AG__FN(join_min_abs));
}
static void AG__FN(sum_abs)(const void *x, void *y, ag__lanes l)
{
    AG__FN(add_all)(x, y, l, AG__FN(leaf_abs), AG__FN(add_abs));
}
static void AG__FN(sum_squares)(const void *x, void *y, ag__lanes l)
{
    AG__FN(add_all)(x, y, l, AG__FN(leaf_square), AG__FN(add_square));
}
static void AG__FN(sum_numbers)(const void *x, void *y, ag__lanes l)
{
    AG__FN(add_all)(x, y, l, AG__FN(leaf_number), AG__FN(add_number));
}

/* Neither a square nor their sum can have left the range of T; NaN is itself either way. */
AG__INLINE bool AG__FN(square_is_safe)(T y) { return !(y < REDUCE_TINY(T)) && !isinf(y); }
static bool AG__FN(squares_are_safe)(const void *data, int64_t n)
{
    const T *y = data;
    bool safe = true;
    for (int64_t i = 0; i < n; i++)
        safe = safe && AG__FN(square_is_safe)(y[i]);
    return safe;
}
static void AG__FN(squares_end)(void *data, const void *other, int64_t n)
{
    T *y = data;
    const T *o = other;
    for (int64_t i = 0; i < n; i++)
        y[i] = AG__FN(square_is_safe)(y[i]) ? M(sqrt)(y[i]) : o[i];
}

static void AG__FN(powers)(const void *data, const void *centers, void *result, ag__lanes l,
                           double p)
{
    const T *x = data, *center = centers;
    T *y = result;
    for (int64_t o = 0; o < l.outer; o++, center += l.stride)
        for (int64_t i = 0; i < l.n; i++)
            for (int64_t k = 0; k < l.inner; k++) {
                const int64_t at = (o * l.n + i) * l.stride + k;
                const T v = M(fabs)(x[at]) / center[k];
                y[at] = p == 2 ? v * v : (T)pow((double)v, p);
            }
}
static void AG__FN(powers_end)(void *data, const void *centers, int64_t n, double p)
{
    T *y = data;
    const T *center = centers;
    for (int64_t i = 0; i < n; i++)
        y[i] = center[i] == 0 || !isfinite(center[i]) ? center[i]
               : p == 2 ? center[i] * M(sqrt)(y[i])
                        : center[i] * (T)pow((double)y[i], 1 / p);
}

#endif /* M */

#undef AG__INLINE
#undef AG__NOINLINE
