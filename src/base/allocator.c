/*
 * The default allocator: malloc and free. Large blocks are aligned to huge pages and ask for them
 * where the system has such: a graph of a million nodes, or a tensor of many megabytes, otherwise
 * spends much of its time in page faults and address translation.
 */
#ifdef __linux__
#define _DEFAULT_SOURCE
#include <sys/mman.h>
#endif

#include "allocator.h"

#include <stdlib.h>

enum { HUGE_PAGE = 2 * 1024 * 1024 };

#ifdef MADV_HUGEPAGE
static void *allocator_large(size_t bytes)
{
    void *p = NULL;
    if (posix_memalign(&p, HUGE_PAGE, bytes) != 0)
        return NULL;
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* a wish: refused, it costs speed only */
    return p;
}
#else
static void *allocator_large(size_t bytes) { return malloc(bytes); }
#endif

static void *allocator_allocate(size_t bytes, void *user)
{
    (void)user;
    return bytes < HUGE_PAGE ? malloc(bytes) : allocator_large(bytes);
}

static void allocator_release(void *block, size_t bytes, void *user)
{
    (void)bytes;
    (void)user;
    free(block);
}

const ag_allocator ag__default_allocator = { allocator_allocate, allocator_release, NULL };
