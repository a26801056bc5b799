/* Reading `list`: AG__ROW(name) for every row, in order. */
#define UNARY(name, node, class, value, ga, lo, hi) AG__ROW(name)
#define BINARY(name, node, class, value, ga, gb, lo, hi) AG__ROW(name)
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi) AG__ROW(name)
#define PREDICATE1(name, value) AG__ROW(name)
#define PREDICATE2(name, value) AG__ROW(name)
#define STRUCTURED(name) AG__ROW(name)
#include "../ops.def"
