/* For public functions that are several operations: only the result outlives the call. */
#ifndef AG_OPS_COMPOSE_H
#define AG_OPS_COMPOSE_H

#include "op.h"

/* Ends s, the bracket of the intermediate results; y moves to the scope around it if s owns it. */
static inline ag_tensor *ag__compose_end(ag_scope *s, ag_tensor *y)
{
    if (y && y->own.scope == s)
        ag_keep(y);
    ag__bracket_end(s);
    return y;
}

#endif
