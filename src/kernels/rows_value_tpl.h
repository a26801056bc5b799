/*
 * For every row: the function of one vector (the row's expression in the reading at hand) and the
 * loop around it. Rows of class F exist for floating point only: AG__CLASS_F expands to its
 * argument or to nothing.
 */
#define AG__USE (void)P, (void)Q

#define UNARY(name, node, class, value, ga, lo, hi) AG__CLASS_##class(                             \
    AG__INLINE V AG__FN(v_##name)(V a, double P, double Q) { AG__USE; return value; }              \
    static void AG__FN(l_##name)(int64_t n, char *const *d, double P, double Q)                    \
    { AG__FN(loop1)(n, d, P, Q, AG__FN(v_##name)); })
#define BINARY(name, node, class, value, ga, gb, lo, hi) AG__CLASS_##class(                        \
    AG__INLINE V AG__FN(v_##name)(V a, V b, double P, double Q)                                    \
    { AG__USE, (void)a; return value; }                                                            \
    static void AG__FN(l_##name)(int64_t n, char *const *d, double P, double Q)                    \
    { AG__FN(loop2)(n, d, P, Q, AG__FN(v_##name)); })
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi) AG__CLASS_##class(                   \
    AG__INLINE V AG__FN(v_##name)(V a, V b, V c, double P, double Q) { AG__USE; return value; }    \
    static void AG__FN(l_##name)(int64_t n, char *const *d, double P, double Q)                    \
    { AG__FN(loop3)(n, d, P, Q, AG__FN(v_##name)); })
#define PREDICATE1(name, value) PREDICATE2(name, value)
#define PREDICATE2(name, value)                                                                    \
    AG__INLINE VM AG__FN(v_##name)(V a, V b) { (void)a, (void)b; return value; }                   \
    static void AG__FN(l_##name)(int64_t n, char *const *d, double P, double Q)                    \
    { AG__USE; AG__FN(loop_test)(n, d, AG__FN(v_##name)); }
#define STRUCTURED(name)
#include "../ops/ops.def"
#undef AG__USE
