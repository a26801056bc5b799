/* Operations that write their result over their first operand. See inplace.c. */
#ifndef AG_OPS_INPLACE_H
#define AG_OPS_INPLACE_H

#include "op.h"

/* Writes output 0 of op(in...) over in[0] and returns it; `name` is the public one ("ag_add_"). NULL
 * with an error, and nothing has changed. NULL attrs: all zero. */
ag_tensor *ag__inplace(const ag__op *op, const char *name, ag_tensor *const *in, int n_in,
                       const ag__attrs *attrs);
/* The same for functions that are more than a row: whether in[0] may be written with what is computed
 * from in[0..n_in) between the two calls, in the bracket s that the first one opens if it is true.
 * y is the result, over x = in[0]; NULL y gives NULL. */
bool ag__inplace_open(ag_scope *s, const char *name, ag_tensor *const *in, int n_in);
ag_tensor *ag__inplace_close(ag_scope *s, const char *name, ag_tensor *x, ag_tensor *y);

#endif
