/*
 * Readings `value kernel` and `gradient kernel` of the operation table: the rows' expressions become
 * loops for float, double and int64_t. The other dtypes are converted to one of these by the block
 * (ops/pointwise.c).
 */
#include "pointwise.h"

#include <float.h>
#include <math.h>
#include <stdint.h>

#include "special.h"

#define AG__CLASS_N(...) __VA_ARGS__
#define AG__CLASS_F(...) __VA_ARGS__

#define T float
#define M(name) name##f
#define AG__FN(name) f32_##name
#define AG__HUGEST FLT_MAX
#include "scalar_tpl.h"
#include "loop_tpl.h"
#include "../ops/readings/scalar.h"
#include "rows_value_tpl.h"
#include "rows_gradient_tpl.h"
#include "../ops/readings/end.h"
#undef T
#undef M
#undef AG__FN
#undef AG__HUGEST

#define T double
#define M(name) name
#define AG__FN(name) f64_##name
#define AG__HUGEST DBL_MAX
#include "scalar_tpl.h"
#include "loop_tpl.h"
#include "../ops/readings/scalar.h"
#include "rows_value_tpl.h"
#include "rows_gradient_tpl.h"
#include "../ops/readings/end.h"
#undef T
#undef M
#undef AG__FN
#undef AG__HUGEST

#undef AG__CLASS_F
#define AG__CLASS_F(...)
#define T int64_t
#define AG__FN(name) i64_##name
#include "integer_tpl.h"
#include "loop_tpl.h"
#include "../ops/readings/integer.h"
#include "rows_value_tpl.h"
#include "../ops/readings/end.h"
#undef T
#undef AG__FN
#undef AG__CLASS_N
#undef AG__CLASS_F

/* ---- the table of all loops ---- */

#define AG__I64_N(name) i64_l_##name
#define AG__I64_F(name) NULL
#define AG__VALUES(name, class) .value = { f32_l_##name, f64_l_##name, AG__I64_##class(name) }
#define AG__GRADS(name, k) { f32_lg##k##_##name, f64_lg##k##_##name }
#define UNARY(name, node, class, value_, ga, lo, hi)                                               \
    [AG_OP_##name] = { AG__VALUES(name, class), .gradient = { AG__GRADS(name, 0) } },
#define BINARY(name, node, class, value_, ga, gb, lo, hi)                                          \
    [AG_OP_##name] = { AG__VALUES(name, class),                                                    \
                       .gradient = { AG__GRADS(name, 0), AG__GRADS(name, 1) } },
#define TERNARY(name, node, class, value_, ga, gb, gc, lo, hi)                                     \
    [AG_OP_##name] = { AG__VALUES(name, class),                                                    \
                       .gradient = { AG__GRADS(name, 0), AG__GRADS(name, 1), AG__GRADS(name, 2) } },
#define PREDICATE1(name, value_) [AG_OP_##name] = { AG__VALUES(name, N) },
#define PREDICATE2(name, value_) [AG_OP_##name] = { AG__VALUES(name, N) },
#define STRUCTURED(name)

const ag__loops ag__loop_table[AG_OP_COUNT] = {
#include "../ops/ops.def"
};

#undef AG__I64_N
#undef AG__I64_F
#undef AG__VALUES
#undef AG__GRADS
