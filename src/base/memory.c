/* See memory.h for how it works. */
#include "memory.h"

#include <stdint.h>
#include <string.h>

#include "error.h"

enum { SLAB_FIRST = 64 * 1024, SLAB_LAST = 4 * 1024 * 1024, ALIGNMENT = 64 };

/* The address sanitizer sees blocks of the allocator only. These tell it which parts of them are in
 * use; what is not also holds bytes that make NaN, so that values nobody wrote show. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
static void memory_hide(void *p, size_t bytes)
{
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
    memset(p, 0xff, bytes);
    ASAN_POISON_MEMORY_REGION(p, bytes);
}
static void memory_show(void *p, size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(p, bytes); }
#else
static void memory_hide(void *p, size_t bytes) { (void)p, (void)bytes; }
static void memory_show(void *p, size_t bytes) { (void)p, (void)bytes; }
#endif

/* A block from the user's allocator remembers where it really starts, right before its data. */
typedef struct {
    void *start;
    size_t bytes;
} memory_origin;

static void *memory_system_alloc(ag__memory *m, size_t bytes)
{
    const size_t extra = sizeof(memory_origin) + ALIGNMENT;
    if (bytes > SIZE_MAX / 2 - extra)
        return NULL;
    char *start = m->allocator.allocate(bytes + extra, m->allocator.user);
    if (!start)
        return NULL;
    m->system_calls++;
    uintptr_t at = (uintptr_t)start + sizeof(memory_origin);
    char *p = start + sizeof(memory_origin) + (ALIGNMENT - at % ALIGNMENT) % ALIGNMENT;
    memory_origin origin = { start, bytes + extra };
    memcpy(p - sizeof origin, &origin, sizeof origin);
    return p;
}

static void memory_system_free(const ag_allocator *allocator, void *p)
{
    memory_origin origin;
    memcpy(&origin, (char *)p - sizeof origin, sizeof origin);
    memory_show(origin.start, origin.bytes);
    allocator->release(origin.start, origin.bytes, allocator->user);
}

/* The class of a large size, and in *rounded what a block of that class holds. -1: too large. */
static int memory_large_class(size_t bytes, size_t *rounded)
{
    size_t base = AG_SMALL_MAX;
    int class = 0;
    while (base < bytes / 2 + bytes % 2) {
        if (base > SIZE_MAX / 8)
            return -1;
        base *= 2;
        class += 4;
    }
    for (int quarter = 1; quarter <= 4; quarter++)
        if (base + base / 4 * (size_t)quarter >= bytes) {
            *rounded = base + base / 4 * (size_t)quarter;
            return class + quarter - 1 < AG_LARGE_CLASSES ? class + quarter - 1 : -1;
        }
    return -1;
}

static void *memory_small_alloc(ag__memory *m, int class)
{
    ag__block *b = m->small[class];
    const size_t bytes = (size_t) class * 16;
    if (AG_LIKELY(b != NULL)) {
        m->small[class] = b->next;
        m->cached -= bytes;
        AG_PREFETCH(
            b->next); /* long lists are scattered over memory, and the next request is near */
        return b;
    }
    if ((size_t)(m->slab_end - m->slab_at) < bytes) {
        ag__block *slab = memory_system_alloc(m, m->slab_bytes);
        if (!slab)
            return NULL;
        slab->next = m->slabs;
        m->slabs = slab;
        m->slab_at = (char *)slab + ALIGNMENT;
        m->slab_end = (char *)slab + m->slab_bytes;
        memory_hide(m->slab_at, m->slab_bytes - ALIGNMENT);
        if (m->slab_bytes < SLAB_LAST)
            m->slab_bytes *= 2;
    }
    void *p = m->slab_at;
    m->slab_at += bytes;
    return p;
}

static void *memory_large_alloc(ag__memory *m, size_t bytes)
{
    size_t rounded = 0;
    int class = memory_large_class(bytes, &rounded);
    if (class < 0)
        return NULL;
    ag__block *b = m->large[class];
    if (b) {
        m->large[class] = b->next;
        m->cached -= rounded;
        return b;
    }
    return memory_system_alloc(m, rounded);
}

static bool memory_fault(ag__memory *m)
{
    if (AG_LIKELY(m->fault_in == 0))
        return false;
    if (m->fault_in > 1) {
        m->fault_in--;
        return false;
    }
    if (!m->fault_persists)
        m->fault_in = 0;
    return true;
}

static void memory_count(ag__memory *m, size_t bytes)
{
    m->current += bytes;
    if (m->current > m->peak)
        m->peak = m->current;
}

void *ag__alloc(ag_context *c, size_t bytes)
{
    ag__memory *m = &c->memory;
    void *p = NULL;
    m->allocations++;
    if (!memory_fault(m))
        p = bytes <= AG_SMALL_MAX ? memory_small_alloc(m, (int)((bytes + 15) / 16) + !bytes)
                                  : memory_large_alloc(m, bytes);
    if (AG_UNLIKELY(!p))
        return ag__fail(c, AG_ERR_MEMORY, "out of memory: could not allocate %zu bytes", bytes);
    memory_show(p, bytes);
    memory_count(m, bytes);
    return p;
}

void ag__free(ag_context *c, void *p, size_t bytes)
{
    if (!p)
        return;
    ag__memory *m = &c->memory;
    ag__block *b = p;
    memory_show(b, sizeof *b); /* what was in use may be shorter */
    m->current -= bytes;
    if (bytes <= AG_SMALL_MAX) {
        int class = (int)((bytes + 15) / 16) + !bytes;
        b->next = m->small[class];
        m->small[class] = b;
        m->cached += (size_t) class * 16;
        memory_hide(b + 1, (size_t) class * 16 - sizeof *b);
        return;
    }
    size_t rounded = 0;
    int class = memory_large_class(bytes, &rounded);
    b->next = m->large[class];
    m->large[class] = b;
    m->cached += rounded;
    memory_hide(b + 1, rounded - sizeof *b);
}

void ag__set_aside(ag_context *c, size_t bytes)
{
    c->memory.current -= bytes;
    c->memory.cached += bytes;
}

bool ag__take_back(ag_context *c, size_t bytes)
{
    ag__memory *m = &c->memory;
    m->allocations++;
    if (AG_UNLIKELY(memory_fault(m)))
        return ag_fail(c, AG_ERR_MEMORY, "out of memory: could not allocate %zu bytes", bytes);
    m->cached -= bytes;
    memory_count(m, bytes);
    return true;
}

void *ag__make_room(ag_context *c, void *old, int n, int *room, int least, size_t item)
{
    if (n < *room)
        return old;
    const int more = *room ? 2 * *room : least;
    void *bigger = ag__alloc(c, (size_t)more * item);
    if (!bigger)
        return NULL;
    if (n)
        memcpy(bigger, old, (size_t)n * item);
    ag__free(c, old, (size_t)*room * item);
    *room = more;
    return bigger;
}

void *ag__alloc_apart(ag_context *c, size_t bytes)
{
    ag__memory *m = &c->memory;
    m->allocations++;
    void *p = memory_fault(m) ? NULL : memory_system_alloc(m, bytes);
    return p ? p : ag__fail(c, AG_ERR_MEMORY, "out of memory: could not allocate %zu bytes", bytes);
}

void ag__free_apart(const ag_allocator *allocator, void *p) { memory_system_free(allocator, p); }

static void memory_free_list(ag__memory *m, ag__block *b)
{
    while (b) {
        ag__block *next = b->next;
        memory_system_free(&m->allocator, b);
        b = next;
    }
}

void ag__memory_init(ag__memory *m, ag_allocator allocator)
{
    memset(m, 0, sizeof *m);
    m->allocator = allocator;
    m->slab_bytes = SLAB_FIRST;
}

void ag__memory_release(ag__memory *m)
{
    for (int i = 0; i < AG_LARGE_CLASSES; i++)
        memory_free_list(m, m->large[i]);
    memory_free_list(m, m->slabs);
}

/* Strings leave the context, so they carry the allocator that must free them. */
char *ag__string(ag_context *c, const char *text, size_t length)
{
    const size_t head = sizeof(ag_allocator);
    char *s = ag__alloc_apart(c, head + length + 1);
    if (!s)
        return NULL;
    memcpy(s, &c->memory.allocator, head);
    memcpy(s + head, text, length);
    s[head + length] = '\0';
    return s + head;
}

void ag_free(void *p)
{
    if (!p)
        return;
    ag_allocator allocator;
    memcpy(&allocator, (char *)p - sizeof allocator, sizeof allocator);
    ag__free_apart(&allocator, (char *)p - sizeof allocator);
}

bool ag__mul_fits(int64_t a, int64_t b, int64_t *product)
{
    if (a < 0 || b < 0 || (b > 0 && a > INT64_MAX / b))
        return false;
    *product = a * b;
    return true;
}

void(ag_memory_stats)(ag_context *c, ag_memory_statistics *stats)
{
    if (!c || !stats)
        return;
    const ag__memory *m = &c->memory;
    *stats = (ag_memory_statistics){
        .current_bytes = m->current,
        .peak_bytes = m->peak,
        .cached_bytes = m->cached,
        .allocations = m->allocations,
        .system_calls = m->system_calls,
        .tensors = c->tensors,
        .nodes = c->nodes,
        .saved_bytes = c->saved_bytes,
    };
}

void ag_memory_fail_at(ag_context *c, int64_t n, bool persistent)
{
    if (!c)
        return;
    c->memory.fault_in = n > 0 ? n : 0;
    c->memory.fault_persists = persistent;
}
