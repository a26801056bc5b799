/* Views by strides alone, and their adjoint. See strided.c. */
#ifndef AG_OPS_STRIDED_H
#define AG_OPS_STRIDED_H

#include "op.h"

/* as_strided: the view of geometry g (its strides and offset are over the storage) of base. NULL and
 * an error when g reaches out of the storage. */
ag_tensor *ag__as_strided_like(ag_tensor *base, const ag__geometry *g);
/* n zeros (a vector) into which x is added through g, whose shape is x's: the adjoint of that. */
ag_tensor *ag__as_strided_add(ag_tensor *x, const ag__geometry *g, int64_t n);

#endif
