/*
 * What the families of reductions share: ops/reduce.c, ops/count.c, ops/pnorm.c,
 * ops/sort.c.
 *
 * Attributes of every row: `list` is .dims as given (none: all), i[0] is .keepdim, i[1] is 1 when
 * var and std divide by n.
 */
#ifndef AG_OPS_REDUCE_H
#define AG_OPS_REDUCE_H

#include "lanes.h"
#include "op.h"

/* The attributes for one dimension. */
static inline ag__attrs ag__reduce_along(int dim, bool keepdim)
{
    return (ag__attrs){ .i = { keepdim }, .n = 1, .list = { dim } };
}
/* Runs a row with the options of its public function; p becomes attrs.p. */
ag_tensor *ag__reduce_call(const ag__op *op, ag_tensor *x, double p, const ag_reduce_options *o);

/* For infer. Bit d is set when dimension d is reduced; -1 and an error for bad dims. */
int ag__reduce_mask(ag_context *c, const char *name, const ag__attrs *a, int ndim);
/* The first result: of this dtype, without the reduced dimensions of input 0. */
bool ag__reduce_shape(const ag__call *call, ag__geometry *out, ag_dtype dtype);
/* For reductions that have no value for no elements: each result is made of some. */
bool ag__reduce_check_some(const ag__call *call);

/* For kernels. A tensor of one reference with x's elements as [outer][n][inner] in `compute`. */
ag_tensor *ag__reduce_bring(ag_tensor *x, int mask, ag_dtype compute, ag__lanes *l);
/* Reduces input 0 in dtype `compute`; results of another dtype take a detour. */
bool ag__reduce_run(const ag__call *call, ag_tensor *out, int which, ag_dtype compute);

/* For rules. t, of the reduced shape of input 0, with its reduced dimensions as ones. */
ag_tensor *ag__reduce_beside(const ag__rule *r, ag_tensor *t);
/* A reduction of x over the same dimensions as in r, which it keeps. */
ag_tensor *ag__reduce_likewise(const ag__rule *r, ag_tensor *x,
                               ag_tensor *(*reduction)(ag_tensor *, const ag_reduce_options *));
static inline unsigned ag__reduce_needs_x(unsigned wanted) { return wanted; }
static inline unsigned ag__reduce_needs_both(unsigned wanted) { return wanted | AG_SAVE_OUTPUT; }

#endif
