/*
 * A plan: a traced graph as a list of steps over one arena of memory, to be run many times. All
 * tensors are made once; a run copies or binds what it is given, takes the steps, and copies
 * results out.
 */
#ifndef AG_GRAPH_PLAN_H
#define AG_GRAPH_PLAN_H

#include "graph.h"

typedef struct ag__plan ag__plan;

/* Of g's main region; g is taken over, also when it fails. into[j] >= 0: result j is written
 * over parameter into[j] at the end of a run; -1: it is given out. `off`: AG_PASS_FUSE and
 * AG_PASS_REUSE are left out when they are in it. NULL with an error; AG_ERR_UNSUPPORTED when it
 * cannot be planned. */
ag__plan *ag__plan_new(ag_graph *g, const int32_t *into, int off);
/* args: tensors with data of the parameters' types, in any layout (those that are written over
 * are contiguous). results[j]: a new tensor with one reference where into[j] < 0, else NULL. A
 * run that fails has written over nothing. */
bool ag__plan_run(ag__plan *p, ag_tensor *const *args, ag_tensor **results);
void ag__plan_free(ag__plan *p);

int ag__plan_steps(const ag__plan *p);
int ag__plan_nodes(const ag__plan *p);
size_t ag__plan_bytes(const ag__plan *p); /* of the arena */

#endif
