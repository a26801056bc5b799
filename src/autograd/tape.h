/*
 * The nodes recorded since a moment, in the order of their making, taken apart.
 *
 * A step of a tape is a node; its place is the node's sequence number, so operands stand before
 * results. While the tape is open its nodes have no edges: the tape holds them. Whoever works on one
 * node and starts passes over what it saved then meets that node only, not the graph behind it, and
 * going through n nodes stays linear in n.
 */
#ifndef AG_AUTOGRAD_TAPE_H
#define AG_AUTOGRAD_TAPE_H

#include "node.h"

typedef struct ag__step {
    ag_node *node;       /* NULL: no node of this number leads to a root */
    struct ag__step *to; /* discovery: the next to be looked at */
    ag__edge *edges;     /* the node's, owned by the tape */
    int64_t outputs;     /* of all steps before it */
    bool alive;          /* it leads to something that wants a gradient: see ag__tape_mark */
} ag__step;

typedef struct {
    ag_context *c;
    uint64_t from; /* the first sequence number */
    int64_t n;     /* steps */
    ag__step *steps;
    ag__edge *edges;
    int64_t n_edges, n_outputs; /* of all nodes */
    int max_in, max_out;        /* of one */
    ag_tensor *const *hidden;   /* leaves that do not count as alive; NULL entries are fine */
    int n_hidden;
} ag__tape;

/* Opens a tape of the nodes from sequence number `from` on that lead to the roots (NULL entries are
 * fine). False, and nothing is changed, when out of memory. */
bool ag__tape_open(ag__tape *tape, ag_context *c, uint64_t from, ag_tensor *const *roots, int n);
/* Marks as alive the steps that lead to older nodes or to leaves other than the hidden ones, a list
 * that must stay; whether there are some. */
bool ag__tape_mark(ag__tape *tape, ag_tensor *const *hidden, int n);
/* Puts the edges back; with living_only those to what is not alive are dropped instead. */
void ag__tape_close(ag__tape *tape, bool living_only);
/* The step of a node; NULL when it is older, an accumulator, or no part of the tape. */
ag__step *ag__tape_step(const ag__tape *tape, const ag_node *node);

#endif
