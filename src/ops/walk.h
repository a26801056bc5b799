/*
 * The walk: one loop of a pointwise row (kernels/pointwise.h) over operands of any dtype and
 * strides that broadcast to the shape of a dense result. Fill it with ag__walk_init, add the
 * operands in the order of the loop's data, run it.
 */
#ifndef AG_OPS_WALK_H
#define AG_OPS_WALK_H

#include "../kernels/pointwise.h"
#include "op.h"
#include "operands.h"

typedef struct {
    ag__loop *loop;
    int lanes;
    ag_dtype compute, result; /* result: of data[0] inside the loop */
    double p, q;
    char *out; /* a dense array */
    ag_dtype out_dtype;
    ag__operands operands;
    ag__operand at[AG_LOOP_MAX_DATA - 1];
    int64_t total, part; /* elements; how many of them a thread takes at a time */
} ag__walk;

/* Elements of a part that is worth waking a thread for: of arithmetic, and of functions, which take
 * several times as long. Multiples of every loop's vectors. */
enum { AG_WALK_ARITHMETIC = 1 << 17, AG_WALK_FUNCTIONS = 1 << 14 };

/* A walk of `loop` from `compute` to elements of `result`, in out. */
void ag__walk_init(ag__walk *w, ag__loop *loop, int lanes, ag_dtype compute, ag_dtype result,
                   const ag_tensor *out, const ag__attrs *attrs, int64_t part);
/* The next operand; NULL: one that the loop does not use. */
static inline void ag__walk_add(ag__walk *w, const ag_tensor *t)
{
    ag__operands_add(&w->operands, t, w->compute);
}
/* Cannot fail; on the threads of c. */
void ag__walk_run(ag__walk *w, ag_context *c);

#endif
