/*
 * The least cut, as the greatest flow (Dinic 1970): in each phase nodes get their distance to the
 * sink, and flow is sent along shortest paths until none is left. When the sink cannot be reached
 * any more, the nodes that still reach it are its side of the cut nearest to it, and edges into
 * that side are full.
 *
 * Paths are walked without recursion. Phases are few where paths are short, as between what is
 * computed and what is needed; the work is bounded all the same, by a number of looks at each edge.
 */
#include "cut.h"

#include <string.h>

enum { CUT_SOURCE, CUT_SINK, CUT_LOOKS = 400 };

bool ag__cut_begin(ag__cut_net *cut, ag_context *c, int n_nodes, int n_edges)
{
    *cut = (ag__cut_net){ .c = c, .n_nodes = n_nodes, .room_edges = 2 * n_edges };
    cut->edges = ag__alloc(c, (size_t)cut->room_edges * sizeof *cut->edges);
    cut->first = ag__alloc(c, 4 * (size_t)n_nodes * sizeof *cut->first);
    if (!cut->edges || !cut->first) {
        ag__cut_end(cut);
        return false;
    }
    memset(cut->first, -1, 4 * (size_t)n_nodes * sizeof *cut->first);
    cut->arc = cut->first + n_nodes;
    cut->level = cut->arc + n_nodes;
    cut->path = cut->level + n_nodes;
    return true;
}

void ag__cut_end(ag__cut_net *cut)
{
    ag__free(cut->c, cut->edges, (size_t)cut->room_edges * sizeof *cut->edges);
    ag__free(cut->c, cut->first, 4 * (size_t)cut->n_nodes * sizeof *cut->first);
}

static void cut_half(ag__cut_net *cut, int from, int to, int64_t room)
{
    cut->edges[cut->n_edges] = (ag__cut_edge){ to, cut->first[from], room };
    cut->first[from] = cut->n_edges++;
}

void ag__cut_join(ag__cut_net *cut, int from, int to, int64_t capacity)
{
    cut_half(cut, from, to,
             capacity < AG_CUT_NEVER && capacity > AG_CUT_MOST ? AG_CUT_MOST : capacity);
    cut_half(cut, to, from, 0);
}

/* Distances to the sink; path is the queue. Whether the source reaches it. */
static bool cut_levels(ag__cut_net *cut)
{
    int32_t *queue = cut->path, head = 0, tail = 0;
    for (int v = 0; v < cut->n_nodes; v++) {
        cut->level[v] = -1;
        cut->arc[v] = cut->first[v];
    }
    cut->level[CUT_SINK] = 0;
    queue[tail++] = CUT_SINK;
    while (head < tail) {
        const int32_t v = queue[head++];
        for (int32_t e = cut->first[v]; e >= 0; e = cut->edges[e].next, cut->work--) {
            const int32_t from = cut->edges[e].to;
            if (cut->level[from] >= 0 || cut->edges[e ^ 1].room == 0)
                continue;
            cut->level[from] = cut->level[v] + 1;
            queue[tail++] = from;
        }
    }
    return cut->level[CUT_SOURCE] >= 0;
}

/* Sends what fits along path[0..n), from the source to the sink. How much of the path is left:
 * up to the first edge that is full now. */
static int cut_send(ag__cut_net *cut, int n)
{
    int64_t room = AG_CUT_NEVER;
    int left = n;
    for (int k = 0; k < n; k++)
        if (cut->edges[cut->path[k]].room < room)
            room = cut->edges[cut->path[k]].room;
    for (int k = n - 1; k >= 0; k--) {
        const int32_t e = cut->path[k];
        if (cut->edges[e].room < AG_CUT_NEVER)
            cut->edges[e].room -= room;
        if (cut->edges[e ^ 1].room < AG_CUT_NEVER)
            cut->edges[e ^ 1].room += room;
        if (cut->edges[e].room == 0)
            left = k;
    }
    cut->work -= n;
    return left;
}

/* All that fits along shortest paths. */
static void cut_phase(ag__cut_net *cut)
{
    int32_t v = CUT_SOURCE;
    int n = 0;
    while (cut->work > 0) {
        if (v == CUT_SINK) {
            const int left = cut_send(cut, n);
            if (left == n) /* nothing on it can be full: there is no cut */
                return;
            n = left;
            v = cut->edges[cut->path[n] ^ 1].to;
        }
        int32_t *e = &cut->arc[v];
        while (*e >= 0 &&
               (cut->edges[*e].room == 0 || cut->level[cut->edges[*e].to] != cut->level[v] - 1)) {
            *e = cut->edges[*e].next;
            cut->work--;
        }
        if (*e >= 0) {
            cut->path[n++] = *e;
            v = cut->edges[*e].to;
        } else if (n == 0) {
            return;
        } else { /* a dead end: back, and past the edge that led here */
            v = cut->edges[cut->path[--n] ^ 1].to;
            cut->arc[v] = cut->edges[cut->arc[v]].next;
        }
    }
}

bool ag__cut_solve(ag__cut_net *cut)
{
    cut->work = (int64_t)CUT_LOOKS * (cut->n_edges + cut->n_nodes);
    while (cut_levels(cut)) {
        cut_phase(cut);
        if (cut->work <= 0)
            return false;
    }
    return true;
}

bool ag__cut_behind(const ag__cut_net *cut, int node) { return cut->level[node] >= 0; }
