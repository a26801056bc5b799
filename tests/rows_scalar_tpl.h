/*
 * The rows of the table for one number of a type T, by the reading `value` of scalars: a second
 * computation to hold the vector loops against. The includer defines T, M(name), AG__FN(name) and
 * AG__HUGEST; what is made is the table AG__FN(rows).
 */
typedef T AG__FN(fn)(T g, T a, T b, T c, T y, double P, double Q);
typedef struct {
    AG__FN(fn) * value, *gradient[3];
} AG__FN(row);

#define SCALAR(row, expression)                                                                    \
    static T AG__FN(row)(T g, T a, T b, T c, T y, double P, double Q)                              \
    {                                                                                              \
        (void)g, (void)a, (void)b, (void)c, (void)y, (void)P, (void)Q;                             \
        return (T)(expression);                                                                    \
    }

#include "kernels/scalar_tpl.h"
#include "ops/readings/scalar.h"
#define UNARY(name, node, class, value, ga, lo, hi) SCALAR(v_##name, value) SCALAR(g0_##name, ga)
#define BINARY(name, node, class, value, ga, gb, lo, hi)                                           \
    SCALAR(v_##name, value) SCALAR(g0_##name, ga) SCALAR(g1_##name, gb)
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi)                                      \
    SCALAR(v_##name, value) SCALAR(g0_##name, ga) SCALAR(g1_##name, gb) SCALAR(g2_##name, gc)
#define PREDICATE1(name, value) SCALAR(v_##name, value)
#define PREDICATE2(name, value) SCALAR(v_##name, value)
#define STRUCTURED(name)
#include "ops/ops.def"
#include "ops/readings/end.h"

#define GRADIENT(k, name) AG__FN(g##k##_##name)
#define UNARY(name, node, class, value_, ga, lo, hi)                                               \
    [AG_OP_##name] = { AG__FN(v_##name), { GRADIENT(0, name) } },
#define BINARY(name, node, class, value_, ga, gb, lo, hi)                                          \
    [AG_OP_##name] = { AG__FN(v_##name), { GRADIENT(0, name), GRADIENT(1, name) } },
#define TERNARY(name, node, class, value_, ga, gb, gc, lo, hi)                                     \
    [AG_OP_##                                                                                      \
        name] = { AG__FN(v_##name), { GRADIENT(0, name), GRADIENT(1, name), GRADIENT(2, name) } },
#define PREDICATE1(name, value_) [AG_OP_##name] = { AG__FN(v_##name), { NULL } },
#define PREDICATE2(name, value_) [AG_OP_##name] = { AG__FN(v_##name), { NULL } },
#define STRUCTURED(name)
static const AG__FN(row) AG__FN(rows)[AG_OP_COUNT] = {
#include "ops/ops.def"
};
#undef SCALAR
#undef GRADIENT
