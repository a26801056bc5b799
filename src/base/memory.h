/*
 * Memory of a context: size classes with free lists in front of the user's allocator.
 *
 * Blocks carry no header; whoever frees one says its size again. Sizes up to 512 bytes fall into
 * classes 16 apart and are carved from slabs; larger ones into four classes per power of two, so
 * that a quarter at most is lost. Freed blocks wait in the list of their class: a training loop
 * reaches the allocator in its first step only. Large blocks are aligned to 64 bytes, small ones to 16.
 *
 * Every request counts down to the fault that a test has asked for (ag_memory_fail_at), whether a
 * cache could have served it or not.
 */
#ifndef AG_BASE_MEMORY_H
#define AG_BASE_MEMORY_H

#include "../../include/autograd.h"

enum { AG_SMALL_MAX = 512, AG_SMALL_CLASSES = AG_SMALL_MAX / 16 + 1, AG_LARGE_CLASSES = 4 * 48 };

typedef struct ag__block {
    struct ag__block *next;
} ag__block;

typedef struct {
    ag_allocator allocator;
    ag__block *small[AG_SMALL_CLASSES];
    ag__block *large[AG_LARGE_CLASSES];
    ag__block *slabs;         /* all slabs, for the end */
    char *slab_at, *slab_end; /* the unused rest of the newest */
    size_t slab_bytes;        /* of the next one: they double up to a limit */
    int64_t fault_in;         /* requests until the fault; 0: none is planned */
    bool fault_persists;
    size_t current, peak, cached;
    int64_t allocations, system_calls;
} ag__memory;

void ag__memory_init(ag__memory *m, ag_allocator allocator);
void ag__memory_release(ag__memory *m);

/* NULL and AG_ERR_MEMORY on failure. Contents are undefined. bytes may be 0. */
void *ag__alloc(ag_context *c, size_t bytes);
/* `bytes` is what was asked for. NULL is fine. */
void ag__free(ag_context *c, void *p, size_t bytes);
/* A block with room for more: old, which holds n items and has room for *room, or one of twice the room
 * (`least` at first) with the same items, and then *room is new and old is freed. NULL when out of
 * memory, and old stays. */
void *ag__make_room(ag_context *c, void *old, int n, int *room, int least, size_t item);
/* A block straight from the allocator, aligned to 64 bytes, which anybody may free in any thread. */
void *ag__alloc_apart(ag_context *c, size_t bytes);
void ag__free_apart(const ag_allocator *allocator, void *p);
/* For those who keep a free block of theirs for its next use: it counts as cached in between, and
 * taking it back is a request like any other, which may fail. */
void ag__set_aside(ag_context *c, size_t bytes);
bool ag__take_back(ag_context *c, size_t bytes);
/* A copy of text[0..length) that the user frees with ag_free; it outlives the context. */
char *ag__string(ag_context *c, const char *text, size_t length);
/* False when a * b or a + b would overflow. */
bool ag__mul_fits(int64_t a, int64_t b, int64_t *product);

#endif
