/* Derivatives of symbolic tensors. See gradient.c, depend.c. */
#ifndef AG_GRAPH_GRADIENT_H
#define AG_GRAPH_GRADIENT_H

#include "rows.h"

/* marks[v] for each value of r: adds to the values that are marked those that they depend on in
 * a way that gradients flow along. False when out of memory. */
bool ag__depend(const ag__region *r, bool *marks);

#endif
