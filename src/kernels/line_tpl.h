/*
 * Reductions of a line of elements of type T that comes piece by piece; see reduce.h, and
 * reduce_tpl.h, which is read before this and whose results for whole lines these are, to the bit.
 *
 * A line is taken as rows of REDUCE_COLS elements and a rest. Sums keep the levels of the binary
 * counter that joins leaves; the others keep one row, for they take row after row.
 */
#define AG__INLINE static inline __attribute__((always_inline))
#define LINE_ROW(row) ((T *)(void *)&(row))

AG__INLINE void AG__FN(line_fold)(ag__line *l, const T *x, int64_t rows, AG__FN(join) * o)
{
    T lanes[REDUCE_COLS];
    memcpy(lanes, &l->part.lanes, sizeof lanes);
    AG__FN(fold_rows)(x, rows, REDUCE_COLS, REDUCE_COLS, lanes, o);
    memcpy(&l->part.lanes, lanes, sizeof lanes);
}
static void AG__FN(line_fold_mul)(ag__line *l, const T *x, int64_t rows)
{
    AG__FN(line_fold)(l, x, rows, AG__FN(join_mul));
}
static void AG__FN(line_fold_max)(ag__line *l, const T *x, int64_t rows)
{
    AG__FN(line_fold)(l, x, rows, AG__FN(join_max));
}
static void AG__FN(line_fold_min)(ag__line *l, const T *x, int64_t rows)
{
    AG__FN(line_fold)(l, x, rows, AG__FN(join_min));
}

/* Adds the highest level to the one below. */
AG__INLINE void AG__FN(line_pair)(ag__line *l)
{
    T *to = LINE_ROW(l->level[l->depth - 2]), *from = LINE_ROW(l->level[l->depth - 1]);
    for (int j = 0; j < REDUCE_COLS; j++)
        to[j] = AG__ADD(to[j], from[j]);
    l->depth--;
}

static void AG__FN(line_sum)(ag__line *l, const T *x, int64_t rows)
{
    while (rows > 0) {
        const int64_t begun = l->part.rows % REDUCE_ROWS, room = REDUCE_ROWS - begun;
        const int64_t m = rows < room ? rows : room;
        T leaf[REDUCE_COLS] = { 0 };
        if (begun)
            memcpy(leaf, &l->level[--l->depth], sizeof leaf);
        AG__FN(leaf_plain)(x, m, REDUCE_COLS, REDUCE_COLS, NULL, leaf);
        memcpy(&l->level[l->depth++], leaf, sizeof leaf);
        l->part.rows += m;
        x += m * REDUCE_COLS;
        rows -= m;
        for (int64_t leaves = l->part.rows / REDUCE_ROWS; m == room && !(leaves & 1); leaves >>= 1)
            AG__FN(line_pair)(l);
    }
}

static void AG__FN(line_take)(ag__line *l, int which, const void *data, int64_t n)
{
    const T *x = data;
    const int64_t rows = n / REDUCE_COLS;
    l->part.rest = (int)(n % REDUCE_COLS);
    memcpy(&l->part.end, x + rows * REDUCE_COLS, (size_t)l->part.rest * sizeof *x);
    if (which == AG_REDUCE_SUM) {
        AG__FN(line_sum)(l, x, rows);
        return;
    }
    if (l->part.rows == 0 && rows > 0) {
        T *lanes = LINE_ROW(l->part.lanes);
        *LINE_ROW(l->part.first) = x[0];
        for (int j = 0; j < REDUCE_COLS; j++)
            lanes[j] = which == AG_REDUCE_PROD ? 1 : x[j];
    }
    l->part.rows += rows;
    if (which == AG_REDUCE_PROD)
        AG__FN(line_fold_mul)(l, x, rows);
    else if (which == AG_REDUCE_MAX)
        AG__FN(line_fold_max)(l, x, rows);
    else
        AG__FN(line_fold_min)(l, x, rows);
}

static void AG__FN(line_join)(ag__line *l, int which, const ag__line_part *next)
{
    const bool first = l->part.rows == 0;
    const T *lanes = (const T *)(const void *)&next->lanes;
    l->part.rest = next->rest;
    l->part.end = next->end;
    if (next->rows == 0)
        return;
    if (which == AG_REDUCE_SUM) {
        l->level[l->depth++] = next->lanes;
        for (int64_t parts = ++l->part.rows; !(parts & 1); parts >>= 1)
            AG__FN(line_pair)(l);
        return;
    }
    l->part.rows++;
    if (first) {
        l->part.lanes = next->lanes;
        l->part.first = next->first;
    } else if (which == AG_REDUCE_MAX) {
        AG__FN(line_fold_max)(l, lanes, 1);
    } else {
        AG__FN(line_fold_min)(l, lanes, 1);
    }
}

static void AG__FN(line_close)(ag__line *l, int which)
{
    while (which == AG_REDUCE_SUM && l->depth > 1)
        AG__FN(line_pair)(l);
    if (l->depth > 0)
        l->part.lanes = l->level[0];
}

static void AG__FN(line_end)(ag__line *l, int which, void *y)
{
    T *lanes = LINE_ROW(l->part.lanes), *end = LINE_ROW(l->part.end);
    const int rest = l->part.rest;
    if (which == AG_REDUCE_SUM) {
        for (int j = 0; j < rest; j++)
            lanes[j] = AG__ADD(lanes[j], end[j]);
        for (int w = REDUCE_COLS / 2; w > 0; w /= 2)
            for (int j = 0; j < w; j++)
                lanes[j] = AG__ADD(lanes[j], lanes[j + w]);
        *(T *)y = lanes[0];
        return;
    }
    AG__FN(join) *o = which == AG_REDUCE_PROD  ? AG__FN(join_mul)
                      : which == AG_REDUCE_MAX ? AG__FN(join_max)
                                               : AG__FN(join_min);
    T result = which == AG_REDUCE_PROD ? 1 : *LINE_ROW(l->part.first);
    for (int j = 0; j < rest; j++)
        result = o(result, end[j]);
    for (int j = 0; j < REDUCE_COLS; j++)
        result = o(result, lanes[j]);
    *(T *)y = result;
}

/* A row of partial results and one of elements, or of others. */
AG__INLINE void AG__FN(row_fold)(T *to, const T *x, int64_t n, AG__FN(join) * o)
{
    for (int64_t j = 0; j < n; j++)
        to[j] = o(to[j], x[j]);
}
static void AG__FN(row_take)(int which, void *result, const void *data, int64_t n, bool first)
{
    T *to = result;
    const T *x = data;
    if (first && which == AG_REDUCE_SUM)
        for (int64_t j = 0; j < n; j++)
            to[j] = AG__ADD((T)0, x[j]);
    else if (first)
        memcpy(to, x, (size_t)n * sizeof *x);
    else if (which == AG_REDUCE_SUM)
        AG__FN(row_fold)(to, x, n, AG__FN(join_add));
    else if (which == AG_REDUCE_MAX)
        AG__FN(row_fold)(to, x, n, AG__FN(join_max));
    else
        AG__FN(row_fold)(to, x, n, AG__FN(join_min));
}

#undef LINE_ROW
#undef AG__INLINE
