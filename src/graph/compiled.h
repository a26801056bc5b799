/*
 * A function that was traced for the types of its inputs, with what is planned of it and of its
 * derivative.
 */
#ifndef AG_GRAPH_COMPILED_H
#define AG_GRAPH_COMPILED_H

#include "planned.h"

/* Shared by the signature that it was made for and the nodes of its calls. */
typedef struct ag__compiled ag__compiled;

/* Of g, which is traced and taken over. wanted[i]: the gradient of parameter i is. NULL when out
 * of memory. */
ag__compiled *ag__compiled_new(ag_graph *g, const bool *wanted, const ag__planning *how);
void ag__compiled_unref(ag__compiled *k); /* NULL: nothing */
/* Plans it, with its gradient or alone, before a call needs that; false with an error. */
bool ag__compiled_plan(ag__compiled *k, bool gradient);
/* out: one reference each. Where a gradient is wanted they get a node. */
bool ag__compiled_call(ag__compiled *k, ag_tensor *const *in, ag_tensor **out);

#endif
