/*
 * All pointwise loops of one instruction set. The includer defines SET(name), which names what is
 * made here, VBYTES, SLEEF32 and SLEEF64 (SLEEF's names), and on x86 ANY, MM32 and MM64; the
 * compiler is set to the instruction set around the inclusion. What is made is the table SET(rows).
 */
#define AG__CLASS_F(...) __VA_ARGS__

#define T float
#define I int32_t
#define M(name) name##f
#define S(name) f32_##name
#define AG__FN(name) SET(f32_##name)
#define AG__HUGEST FLT_MAX
#define AG__EPSILON FLT_EPSILON
#define SLEEF(name, ulp) SLEEF32(name, ulp)
#ifdef MM32
#define MM(name) MM32(name)
#endif
#include "vector_tpl.h"
#include "loop_tpl.h"
#include "../ops/readings/vector.h"
#include "rows_value_tpl.h"
#include "rows_gradient_tpl.h"
#include "../ops/readings/end.h"
#include "vector_end.h"

#define T double
#define I int64_t
#define M(name) name
#define S(name) f64_##name
#define AG__FN(name) SET(f64_##name)
#define AG__HUGEST DBL_MAX
#define AG__EPSILON DBL_EPSILON
#define SLEEF(name, ulp) SLEEF64(name, ulp)
#ifdef MM64
#define MM(name) MM64(name)
#endif
#include "vector_tpl.h"
#include "loop_tpl.h"
#include "../ops/readings/vector.h"
#include "rows_value_tpl.h"
#include "rows_gradient_tpl.h"
#include "../ops/readings/end.h"
#include "vector_end.h"

#undef AG__CLASS_F

/* ---- the table of all loops ---- */

#define AG__I64_N(name) i64_l_##name
#define AG__I64_F(name) NULL
#define AG__VALUES(name, class)                                                                    \
    .value = { SET(f32_l_##name), SET(f64_l_##name), AG__I64_##class(name) }
#define AG__GRADS(name, k) { SET(f32_lg##k##_##name), SET(f64_lg##k##_##name) }
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
static const ag__loops SET(rows)[AG_OP_COUNT] = {
#include "../ops/ops.def"
};

#undef AG__I64_N
#undef AG__I64_F
#undef AG__VALUES
#undef AG__GRADS
#undef SET
#undef VBYTES
#undef SLEEF32
#undef SLEEF64
#undef ANY
#undef MM32
#undef MM64
