/* For every differentiable row and a floating point type: the gradient loop of each operand. */
#define AG__GRADIENT(name, k, gk)                                                                  \
    AG__INLINE V AG__FN(g##k##_##name)(V g, V a, V b, V c, V y, double P, double Q)                \
    { (void)g, (void)a, (void)b, (void)c, (void)y, (void)P, (void)Q; return gk; }                  \
    static void AG__FN(lg##k##_##name)(int64_t n, char *const *d, double P, double Q)              \
    { AG__FN(loop_gradient)(n, d, P, Q, AG__FN(g##k##_##name)); }

#define UNARY(name, node, class, value, ga, lo, hi) AG__GRADIENT(name, 0, ga)
#define BINARY(name, node, class, value, ga, gb, lo, hi)                                           \
    AG__GRADIENT(name, 0, ga) AG__GRADIENT(name, 1, gb)
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi)                                      \
    AG__GRADIENT(name, 0, ga) AG__GRADIENT(name, 1, gb) AG__GRADIENT(name, 2, gc)
#define PREDICATE1(name, value)
#define PREDICATE2(name, value)
#define STRUCTURED(name)
#include "../ops/ops.def"
#undef AG__GRADIENT
