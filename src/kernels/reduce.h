/*
 * Raw loops of reductions and scans over contiguous elements in the order [outer][n][inner]: the
 * middle index runs over what is reduced. There are loops for float, double and int64_t.
 *
 * Sums are blocked: terms go to independent lanes, leaves of a few rows are added plainly, and
 * leaves are joined pairwise like the carries of a binary counter. The error grows with log n, the
 * lanes fill vector registers, and the result depends on the shape alone.
 */
#ifndef AG_KERNELS_REDUCE_H
#define AG_KERNELS_REDUCE_H

#include "../tensor/dtype.h"

typedef struct {
    int64_t outer, n, inner;
    double divisor; /* mean, var, std: what a sum is divided by */
} ag__lanes;

/* Writes outer * inner results: y[o][k] = reduction of x[o][..][k]. */
typedef void ag__reducer(const void *x, void *y, ag__lanes l);
enum {
    AG_REDUCE_SUM,
    AG_REDUCE_PROD,
    AG_REDUCE_MAX,    /* n > 0; NaN wins */
    AG_REDUCE_MIN,    /* likewise */
    AG_REDUCE_ARGMAX, /* n > 0; y is int64_t */
    AG_REDUCE_MEAN,   /* from here on float and double only */
    AG_REDUCE_VAR,
    AG_REDUCE_STD,
    AG_REDUCE_LOGSUMEXP,
    AG_REDUCE_COUNT
};

/* Writes outer * n * inner results. What g, x and y are is said where the loops stand. */
typedef void ag__scanner(const void *g, const void *x, const void *y, void *out, ag__lanes l);
enum {
    AG_SCAN_CUMSUM,
    AG_SCAN_LOGCUMSUMEXP, /* from here on float and double only */
    AG_SCAN_LOGCUMSUMEXP_VJP,
    AG_SCAN_LOGCUMSUMEXP_JVP,
    AG_SCAN_COUNT
};

typedef struct {
    ag__reducer *reduce[AG_REDUCE_COUNT];
    ag__scanner *scan[AG_SCAN_COUNT];
} ag__reducers;

/* The loops that work in `compute`: AG_F32, AG_F64 or AG_I64. */
const ag__reducers *ag__reducers_of(ag_dtype compute);
/* The dtype among these that results of dtype d are computed in. */
ag_dtype ag__reduce_dtype(ag_dtype d);

#endif
