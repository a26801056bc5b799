/*
 * A function of tensors that is planned: a region that was traced for the types of its parameters,
 * optimised, and laid out as a plan.
 */
#ifndef AG_GRAPH_PLANNED_H
#define AG_GRAPH_PLANNED_H

#include "passes.h"
#include "plan.h"
#include "traced.h"

/* A traced graph, not yet optimised, whose results are those that `fn` gives for its parameters;
 * fn is called while it is traced. NULL with an error. */
ag_graph *ag__traced_new(ag_context *c, const char *op, const ag__type *params, int n,
                         ag__traced_fn *fn, void *arg, int m);
/* Optimises g, which is taken over, and plans it; `into` as in plan.h, NULL: every result is
 * given. */
ag__plan *ag__planned(ag_graph *g, const int32_t *into, const ag__planning *how);
/* Whether what cannot be planned, for the pending error, is run step by step instead, where the
 * error comes again if it is the program's: always, unless memory is out or the call was
 * cancelled. Takes the error back then. */
bool ag__planning_refused(ag_context *c, ag__quiet *quiet, bool ok);

#endif
