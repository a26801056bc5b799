/*
 * Loops of the pointwise rows: one per row and number type for the value, and one for the gradient
 * of each operand.
 *
 * A loop handles n elements. data[0] is written; a value loop reads operands a, b, c from data[1..3],
 * a gradient loop reads g, a, b, c, y from data[1..5] (what it does not need may point anywhere).
 * Strides are in bytes; 0 repeats one element.
 */
#ifndef AG_KERNELS_POINTWISE_H
#define AG_KERNELS_POINTWISE_H

#include "../ops/op.h"

typedef void ag__loop(int64_t n, char *const *data, const int64_t *strides, double p, double q);
enum { AG_LOOP_F32, AG_LOOP_F64, AG_LOOP_I64, AG_LOOP_TYPES };
enum { AG_LOOP_MAX_DATA = 6 };

typedef struct { ag__loop *value[AG_LOOP_TYPES]; ag__loop *gradient[3][2]; } ag__loops;
extern const ag__loops ag__loop_table[AG_OP_COUNT]; /* all NULL for structured rows */

#endif
