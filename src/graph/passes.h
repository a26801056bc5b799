/*
 * Passes: what is done to a traced graph before it is planned. Each is a file with one idea; it
 * takes a graph and gives another, which computes the same results from the same parameters.
 * Textual tests show each before and after (tests/t_passes_*.c).
 */
#ifndef AG_GRAPH_PASSES_H
#define AG_GRAPH_PASSES_H

#include "graph.h"

/* A new graph; g stays as it is. NULL when out of memory, with the error. */
typedef ag_graph *ag__pass_fn(const ag_graph *g);

ag__pass_fn ag__pass_prune;     /* what no result needs; of an instruction and its twin, one */
ag__pass_fn ag__pass_fold;      /* AG_PASS_FOLD */
ag__pass_fn ag__pass_cse;       /* AG_PASS_CSE */
ag__pass_fn ag__pass_algebra;   /* AG_PASS_ALGEBRA */
ag__pass_fn ag__pass_transpose; /* AG_PASS_TRANSPOSE */
ag__pass_fn ag__pass_hoist;     /* AG_PASS_HOIST */
ag__pass_fn ag__pass_order;     /* AG_PASS_REUSE or AG__PASS_ORDER */

/* Not for plans whose results are written over arguments: what may fail would come between them,
 * so that they had to wait for the end (plan_over.c). */
enum { AG__PASS_ORDER = 1 << 30 };

/* How users want graphs optimised. */
typedef struct {
    int off; /* passes that are left out: a sum of AG_PASS_... */
    void (*dump)(const char *pass, const char *graph, void *user); /* NULL: nobody looks */
    void *user;
    bool dot; /* what dump gets is for Graphviz */
} ag__planning;
/* All of them but those that are left out. Takes g over, also when it fails. */
ag_graph *ag__optimize(ag_graph *g, const ag__planning *how);

#endif
