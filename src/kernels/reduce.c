/* Reductions and scans for float, double and int64_t: the templates read three times. */
#include "reduce.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "pointwise.h"

enum {
    REDUCE_COLS = AG_LINE_COLS, /* lanes side by side */
    REDUCE_LEAF = AG_LINE_LEAF,
    REDUCE_ROWS = REDUCE_LEAF / REDUCE_COLS, /* rows added plainly, before pairs are joined */
    REDUCE_SHORT = 2 * REDUCE_COLS,          /* shorter lines are added one by one */
    REDUCE_LEVELS = 60                       /* of pairs: enough for 2^63 rows */
};

/* ln(e^a + e^b); equal infinities stay what they are. NaN stays NaN. */
static double reduce_log_add(double a, double b)
{
    if (isnan(a) || isnan(b))
        return NAN;
    const double hi = a > b ? a : b, lo = a > b ? b : a;
    return hi == lo && isinf(hi) ? hi : hi + log1p(exp(lo - hi));
}

/* e^(a - b), 1 for equal infinities. */
static double reduce_ratio(double a, double b) { return a == b ? 1 : exp(a - b); }

/* Sums of squares above this lost no digit to underflow, however many they are of. */
#define REDUCE_TINY(type) (sizeof(type) == sizeof(float) ? (type)0x1p-100 : (type)0x1p-960)
#define AG__ADD(a, b) ((a) + (b))
#define AG__MUL(a, b) ((a) * (b))
#define AG__ISNAN(v) ((v) != (v))
#define AG__WIDE double

#define T float
#define M(name) name##f
#define AG__FN(name) reduce_f32_##name
#define AG__LOOP AG_LOOP_F32
#include "reduce_tpl.h"
#include "line_tpl.h"
#include "scan_tpl.h"
#undef AG__LOOP
#undef T
#undef M
#undef AG__FN

#define T double
#define M(name) name
#define AG__FN(name) reduce_f64_##name
#define AG__LOOP AG_LOOP_F64
#include "reduce_tpl.h"
#include "line_tpl.h"
#include "scan_tpl.h"
#undef AG__LOOP
#undef T
#undef M
#undef AG__FN

#undef REDUCE_TINY
#undef AG__ADD
#undef AG__MUL
#undef AG__ISNAN
#undef AG__WIDE

/* Integers wrap around. */
#define AG__ADD(a, b) ((int64_t)((uint64_t)(a) + (uint64_t)(b)))
#define AG__MUL(a, b) ((int64_t)((uint64_t)(a) * (uint64_t)(b)))
#define AG__ISNAN(v) ((void)(v), 0)
#define AG__WIDE uint64_t
#define T int64_t
#define AG__FN(name) reduce_i64_##name
#include "reduce_tpl.h"
#include "line_tpl.h"
#include "scan_tpl.h"
#undef T
#undef AG__FN
#undef AG__ADD
#undef AG__MUL
#undef AG__ISNAN
#undef AG__WIDE

#define REDUCE_COMMON(type)                                                                        \
    [AG_REDUCE_SUM] = reduce_##type##_sum, [AG_REDUCE_PROD] = reduce_##type##_prod,                \
    [AG_REDUCE_MAX] = reduce_##type##_max, [AG_REDUCE_MIN] = reduce_##type##_min,                  \
    [AG_REDUCE_ARGMAX] = reduce_##type##_argmax, [AG_REDUCE_ARGMIN] = reduce_##type##_argmin,      \
    [AG_REDUCE_NONZERO] = reduce_##type##_nonzero
#define SCAN_COMMON(type)                                                                          \
    reduce_##type##_cumsum, reduce_##type##_cumprod, reduce_##type##_cumargmax,                    \
        reduce_##type##_cumargmin
#define REDUCE_LINE(type)                                                                          \
    .line_take = reduce_##type##_line_take, .line_close = reduce_##type##_line_close,              \
    .line_join = reduce_##type##_line_join, .line_end = reduce_##type##_line_end,                  \
    .row_take = reduce_##type##_row_take
#define REDUCE_FLOAT(type)                                                                         \
    {                                                                                              \
        .reduce = { REDUCE_COMMON(type),                                                           \
                    [AG_REDUCE_MEAN] = reduce_##type##_mean,                                       \
                    [AG_REDUCE_VAR] = reduce_##type##_var,                                         \
                    [AG_REDUCE_STD] = reduce_##type##_std,                                         \
                    [AG_REDUCE_LOGSUMEXP] = reduce_##type##_logsumexp,                             \
                    [AG_REDUCE_NUMBERS] = reduce_##type##_sum_numbers,                             \
                    [AG_REDUCE_ABS] = reduce_##type##_sum_abs,                                     \
                    [AG_REDUCE_SQUARES] = reduce_##type##_sum_squares,                             \
                    [AG_REDUCE_MAX_ABS] = reduce_##type##_max_abs,                                 \
                    [AG_REDUCE_MIN_ABS] = reduce_##type##_min_abs },                               \
        .scan = { SCAN_COMMON(type),                                                               \
                  reduce_##type##_recurrence,                                                      \
                  reduce_##type##_recurrence_back,                                                 \
                  reduce_##type##_logcumsumexp,                                                    \
                  reduce_##type##_logcumsumexp_vjp,                                                \
                  reduce_##type##_logcumsumexp_jvp },                                              \
        REDUCE_LINE(type), .arg_join = reduce_##type##_arg_join,                                   \
        .squares = reduce_##type##_squares, .exps = reduce_##type##_exps,                          \
        .exps_center = reduce_##type##_exps_center, .exps_end = reduce_##type##_exps_end,          \
        .squares_are_safe = reduce_##type##_squares_are_safe,                                      \
        .squares_end = reduce_##type##_squares_end, .powers = reduce_##type##_powers,              \
        .powers_end = reduce_##type##_powers_end                                                   \
    }

static const ag__reducers reduce_table[] = {
    REDUCE_FLOAT(f32),
    REDUCE_FLOAT(f64),
    { .reduce = { REDUCE_COMMON(i64) },
      .scan = { SCAN_COMMON(i64) },
      REDUCE_LINE(i64),
      .arg_join = reduce_i64_arg_join },
};

#undef SCAN_COMMON
#undef REDUCE_COMMON
#undef REDUCE_LINE
#undef REDUCE_FLOAT

const ag__reducers *ag__reducers_of(ag_dtype compute)
{
    return &reduce_table[compute == AG_F32 ? 0 : compute == AG_F64 ? 1 : 2];
}

ag_dtype ag__reduce_dtype(ag_dtype d)
{
    return d == AG_F64 ? AG_F64 : ag__is_float(d) ? AG_F32 : AG_I64;
}
