/*
 * For every row and the type T: the function of one element (the row's expression, read as scalar
 * arithmetic) and the loop around it. Rows of class F exist for floating point only: AG__CLASS_F
 * expands to its argument or to nothing.
 */
#define AG__USE (void)P, (void)Q

#define UNARY(name, node, class, value, ga, lo, hi) AG__CLASS_##class(                             \
    static inline T AG__FN(v_##name)(T a, double P, double Q) { AG__USE; return value; }           \
    static void AG__FN(l_##name)(int64_t n, char *const *d, const int64_t *s, double P, double Q)  \
    { AG__FN(loop1)(n, d, s, P, Q, AG__FN(v_##name)); })
#define BINARY(name, node, class, value, ga, gb, lo, hi) AG__CLASS_##class(                        \
    static inline T AG__FN(v_##name)(T a, T b, double P, double Q)                                 \
    { AG__USE, (void)a; return value; }                                                            \
    static void AG__FN(l_##name)(int64_t n, char *const *d, const int64_t *s, double P, double Q)  \
    { AG__FN(loop2)(n, d, s, P, Q, AG__FN(v_##name)); })
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi) AG__CLASS_##class(                   \
    static inline T AG__FN(v_##name)(T a, T b, T c, double P, double Q) { AG__USE; return value; } \
    static void AG__FN(l_##name)(int64_t n, char *const *d, const int64_t *s, double P, double Q)  \
    { AG__FN(loop3)(n, d, s, P, Q, AG__FN(v_##name)); })
#define PREDICATE1(name, value) PREDICATE2(name, value)
#define PREDICATE2(name, value)                                                                    \
    static inline int AG__FN(v_##name)(T a, T b) { (void)a, (void)b; return value; }               \
    static void AG__FN(l_##name)(int64_t n, char *const *d, const int64_t *s, double P, double Q)  \
    { AG__USE; AG__FN(loop_test)(n, d, s, AG__FN(v_##name)); }
#define STRUCTURED(name)
#include "../ops/ops.def"
#undef AG__USE
