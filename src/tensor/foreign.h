/*
 * Data that do not come from the context's memory: borrowed from the program (ag_from_memory), or
 * shared with other contexts (ag_share), which may run in other threads. So the count is atomic and
 * the last user, whoever it is, gives the data back: borrowed ones to their owner, shared ones to
 * the allocator they came from.
 */
#ifndef AG_TENSOR_FOREIGN_H
#define AG_TENSOR_FOREIGN_H

#include <stdatomic.h>

#include "../base/context.h"

typedef struct ag__foreign {
    atomic_int refs;
    void *data;
    void (*free_fn)(void *data, void *user); /* borrowed: who is told; NULL: nobody */
    void *user;
    bool owned;             /* data are a block of the allocator (ag__alloc_apart) */
    ag_allocator allocator; /* of this record, and of owned data */
} ag__foreign;

/* One reference; NULL and an error when out of memory. */
ag__foreign *ag__foreign_new(ag_context *c, void *data);
static inline void ag__foreign_ref(ag__foreign *f) { atomic_fetch_add(&f->refs, 1); }
void ag__foreign_unref(ag__foreign *f);

#endif
