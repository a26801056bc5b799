/* The dimension that a caller of ag_NAME means; see ag__dim. */
#ifndef AG_OPS_DIMS_H
#define AG_OPS_DIMS_H

#include <stdio.h>

#include "../tensor/tensor.h"

static inline int ag__op_dim(ag_context *c, const char *name, int64_t dim, int ndim)
{
    char op[64];
    snprintf(op, sizeof op, "ag_%s", name);
    return ag__dim(c, op, dim, ndim);
}

#endif
