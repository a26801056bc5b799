/*
 * Loops of the pointwise rows: one per row and number type for the value, and one for the gradient
 * of each operand, in a set for each instruction set that the build has.
 *
 * A loop handles n elements, 1 or a multiple of its set's lanes, of arrays without gaps. data[0] is
 * written; a value loop reads operands a, b, c from data[1..3] (a predicate a and b, even if it has
 * one operand, and it writes bytes), a gradient loop reads g, a, b, c, y from data[1..5]; what it
 * does not need may be any array. data[0] may be one of the arrays read, but overlaps none in part.
 * The result for an element follows from the element alone, never from n or its neighbours.
 */
#ifndef AG_KERNELS_POINTWISE_H
#define AG_KERNELS_POINTWISE_H

#include "../ops/op.h"

typedef void ag__loop(int64_t n, char *const *data, double p, double q);
enum { AG_LOOP_F32, AG_LOOP_F64, AG_LOOP_I64, AG_LOOP_TYPES };
enum { AG_LOOP_MAX_DATA = 6, AG_LOOP_MAX_LANES = 16 };

typedef struct {
    ag__loop *value[AG_LOOP_TYPES];
    ag__loop *gradient[3][2];
} ag__loops;

typedef struct {
    const char *name;
    int lanes[AG_LOOP_TYPES];
    const ag__loops *rows; /* AG_OP_COUNT; all NULL for structured rows */
} ag__loop_set;

/* The sets that this machine can run, from the plainest to the best. */
const ag__loop_set *ag__loop_sets(int *n);
const ag__loop_set *ag__loop_best(void);

/* The value of a row of one operand for n elements without gaps, however many; y may be x. */
void ag__loop_unary(int row, int type, int64_t n, const void *x, void *y);

#endif
