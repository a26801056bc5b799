/*
 * Raw loops of reductions and scans over contiguous elements in the order [outer][n][inner]: the
 * middle index runs over what is reduced. There are loops for float, double and int64_t.
 *
 * Sums are blocked: terms go to independent lanes, leaves of a few rows are added plainly, and
 * leaves are joined pairwise like the carries of a binary counter. The error grows with log n, the
 * lanes fill vector registers, and the result depends on the shape alone.
 *
 * A loop may be given a part of an array: some of outer, or within one of outer a chunk of rows of
 * n or a strip of columns of inner. How partial results are joined is said in ops/lanes.c.
 */
#ifndef AG_KERNELS_REDUCE_H
#define AG_KERNELS_REDUCE_H

#include "../tensor/dtype.h"

typedef struct {
    int64_t outer, n, inner;
    int64_t stride; /* elements from one row of n to the next: inner, or more in a strip */
    double divisor; /* mean, var, std: what a sum is divided by */
} ag__lanes;

/* Writes outer * inner results: y[o][k] = reduction of x[o][..][k]. */
typedef void ag__reducer(const void *x, void *y, ag__lanes l);
enum {
    AG_REDUCE_SUM,
    AG_REDUCE_PROD,
    AG_REDUCE_MAX,     /* n > 0; NaN wins */
    AG_REDUCE_MIN,     /* likewise */
    AG_REDUCE_ARGMAX,  /* n > 0; y is int64_t, as of the next two */
    AG_REDUCE_ARGMIN,  /* n > 0 */
    AG_REDUCE_NONZERO, /* how many are not 0 */
    AG_REDUCE_MEAN,    /* from here on float and double only */
    AG_REDUCE_VAR,
    AG_REDUCE_STD,
    AG_REDUCE_LOGSUMEXP,
    AG_REDUCE_NUMBERS, /* the sum of those that are not NaN */
    AG_REDUCE_ABS,     /* the sum of |x|, of x^2; the greatest and the least |x| */
    AG_REDUCE_SQUARES,
    AG_REDUCE_MAX_ABS,
    AG_REDUCE_MIN_ABS,
    AG_REDUCE_COUNT
};

/* Writes outer * n * inner results. What the operands are is said where the loops stand; those that
 * a loop does not have are NULL. */
typedef void ag__scanner(const void *a, const void *b, const void *c, void *out, ag__lanes l);
enum {
    AG_SCAN_CUMSUM,
    AG_SCAN_CUMPROD,
    AG_SCAN_CUMARGMAX, /* out is int64_t, as of the next */
    AG_SCAN_CUMARGMIN,
    AG_SCAN_RECURRENCE, /* from here on float and double only */
    AG_SCAN_RECURRENCE_BACK,
    AG_SCAN_LOGCUMSUMEXP,
    AG_SCAN_LOGCUMSUMEXP_VJP,
    AG_SCAN_LOGCUMSUMEXP_JVP,
    AG_SCAN_COUNT
};

/* For one of outer: y[k] = the sum of f(x[..][k], center[k]). */
typedef void ag__about(const void *x, const void *center, void *y, ag__lanes l);

/*
 * A long line of elements that comes piece by piece, for AG_REDUCE_SUM, PROD, MAX and MIN: its result
 * has the bits of the reducer's for the whole line. Pieces are multiples of
 * AG_LINE_COLS elements but for the last of the line; the line has AG_LINE_LEAF at least, and 2^20
 * at most.
 *
 * It may be taken in parts, by several threads: each takes its part and closes it; then the parts are
 * joined in their order, to a line that takes nothing else, and that is closed in turn. Parts are as
 * long as each other, but for the last: AG_LINE_LEAF times a power of two. There are none of products.
 */
enum { AG_LINE_COLS = 32, AG_LINE_LEAF = 32 * AG_LINE_COLS, AG_LINE_LEVELS = 12 };
typedef union {
    float f32[AG_LINE_COLS];
    double f64[AG_LINE_COLS];
    int64_t i64[AG_LINE_COLS];
} ag__line_row;
typedef struct {
    int64_t rows; /* taken so far, or parts that were joined */
    int rest;     /* elements that fill no row, in `end` */
    ag__line_row first, lanes, end;
} ag__line_part;
typedef struct {
    ag__line_part part;
    int depth;
    ag__line_row level[AG_LINE_LEVELS];
} ag__line;
static inline void ag__line_begin(ag__line *l)
{
    l->part.rows = 0;
    l->part.rest = l->depth = 0;
}

typedef struct {
    ag__reducer *reduce[AG_REDUCE_COUNT];
    ag__scanner *scan[AG_SCAN_COUNT];
    /* y from the parts [outer][chunks][inner] that argmax gave for chunks of `rows` rows; or, with
     * `least`, argmin. */
    void (*arg_join)(const void *x, const int64_t *parts, int64_t *y, ag__lanes l, int64_t rows,
                     bool least);
    void (*line_take)(ag__line *l, int which, const void *x, int64_t n);
    void (*line_close)(ag__line *l, int which);
    void (*line_join)(ag__line *l, int which, const ag__line_part *next);
    void (*line_end)(ag__line *l, int which, void *y); /* of one that was closed */
    /* AG_REDUCE_SUM, MAX or MIN: to[j] o= x[j] for j < n; from nothing, when x is the first. */
    void (*row_take)(int which, void *to, const void *x, int64_t n, bool first);
    ag__about *squares, *exps;                                /* (x - center)^2, e^(x - center) */
    void (*exps_center)(void *center, int64_t n);             /* from maxima, in their place */
    void (*exps_end)(void *y, const void *center, int64_t n); /* y = center + ln y */
    /* Of norms. Whether no sum of squares lost anything to the limits of its type; their roots, in
     * their place, but other[i] for those that did. */
    bool (*squares_are_safe)(const void *y, int64_t n);
    void (*squares_end)(void *y, const void *other, int64_t n);
    /* y[..][k] = (|x[..][k]| / center[k])^p; y = center y^(1/p) for their sums y, center itself where
     * it is 0 or not finite. */
    void (*powers)(const void *x, const void *center, void *y, ag__lanes l, double p);
    void (*powers_end)(void *y, const void *center, int64_t n, double p);
} ag__reducers;

/* The loops that work in `compute`: AG_F32, AG_F64 or AG_I64. */
const ag__reducers *ag__reducers_of(ag_dtype compute);
/* The dtype among these that results of dtype d are computed in. */
ag_dtype ag__reduce_dtype(ag_dtype d);
/* The dtype of what a reduction or a scan in `compute` writes. */
static inline ag_dtype ag__reduced_dtype(int which, ag_dtype compute)
{
    return which >= AG_REDUCE_ARGMAX && which <= AG_REDUCE_NONZERO ? AG_I64 : compute;
}
static inline ag_dtype ag__scanned_dtype(int which, ag_dtype compute)
{
    return which == AG_SCAN_CUMARGMAX || which == AG_SCAN_CUMARGMIN ? AG_I64 : compute;
}

#endif
