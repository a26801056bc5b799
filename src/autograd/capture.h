/*
 * What a function captured: the places in older graphs that its results lead to.
 *
 * A place is a node and one of its outputs; leaves are places whatever their age. Each is held by a
 * stand-in (ag_node_edge), so it can be an operand, or an input of a pass, and none is held twice.
 */
#ifndef AG_AUTOGRAD_CAPTURE_H
#define AG_AUTOGRAD_CAPTURE_H

#include "node.h"

typedef struct {
    ag_tensor **places; /* owned */
    int n, room;
} ag__captures;

/* Adds what is behind out[0..n) and was there before `first`, which was the context's next sequence
 * number then. False when out of memory. */
bool ag__capture(ag__captures *k, ag_context *c, ag_tensor *const *out, int n, uint64_t first);
void ag__captures_release(ag__captures *k, ag_context *c);
/* Gradients of a and b take the same edge. */
bool ag__same_place(ag_tensor *a, ag_tensor *b);

#endif
