/* A cut of least capacity between two nodes of a directed graph. See cut.c. */
#ifndef AG_GRAPH_CUT_H
#define AG_GRAPH_CUT_H

#include "../base/context.h"

/* Node 0 is the source, node 1 the sink. An edge has its opposite beside it: e ^ 1. */
typedef struct {
    int32_t to, next; /* next: of the same node; -1: none */
    int64_t room;     /* what may still flow */
} ag__cut_edge;

typedef struct {
    ag_context *c;
    ag__cut_edge *edges;
    int32_t *first, *arc, *level, *path; /* of nodes; -1: none */
    int n_nodes, n_edges, room_edges;
    int64_t work; /* edges that may still be looked at */
} ag__cut_net;

#define AG_CUT_NEVER (INT64_MAX / 4)   /* the capacity of an edge that must not be cut */
#define AG_CUT_MOST (INT64_C(1) << 44) /* other capacities are lowered to this */

/* Room for so many nodes and edges. False when out of memory. */
bool ag__cut_begin(ag__cut_net *cut, ag_context *c, int n_nodes, int n_edges);
void ag__cut_join(ag__cut_net *cut, int from, int to, int64_t capacity);
/* False when it would take too long. */
bool ag__cut_solve(ag__cut_net *cut);
/* Of the least cuts, in the one that is nearest to the sink: the node is on the sink's side. */
bool ag__cut_behind(const ag__cut_net *cut, int node);
void ag__cut_end(ag__cut_net *cut);

#endif
