/*
 * Threads inside one context: a loop over blocks, cut by the caller.
 *
 * How a piece of work is cut must follow from its shape alone, never from the number of threads; then
 * a result does not depend on who computed which block, nor on how many there were. A block function
 * runs in any thread: it reads and writes raw data, and touches no context.
 */
#ifndef AG_BASE_PARALLEL_H
#define AG_BASE_PARALLEL_H

#include "context.h"

/* `worker` tells apart what runs at the same time; it is below ag__parallel_workers. */
typedef void ag__block_fn(void *arg, int64_t block, int worker);

/* Calls fn for the blocks 0 to n - 1, on the context's threads when it has several, and returns when
 * all are done. Cannot fail: what no thread takes, the caller does itself. */
void ag__parallel(ag_context *c, int64_t n, ag__block_fn *fn, void *arg);
/* How many of n blocks may run at once, at most. */
int ag__parallel_workers(const ag_context *c, int64_t n);

/* Ends the context's threads; the next ag__parallel starts new ones. */
void ag__parallel_end(ag_context *c);

#endif
