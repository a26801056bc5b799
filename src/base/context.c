/* Opening and closing contexts, and the switches that are nothing but a field. */
#include "context.h"

#include <string.h>

#include "allocator.h"
#include "error.h"
#include "parallel.h"
#include "site.h"

ag_context *(ag_open)(const ag_open_options *options)
{
    static const ag_open_options none = { .size = sizeof(ag_open_options) };
    const ag_open_options *o = options ? options : &none;
    ag_allocator allocator = o->allocator ? *o->allocator : ag__default_allocator;
    ag_context *c = allocator.allocate(sizeof *c, allocator.user);
    if (!c)
        return NULL;
    memset(c, 0, sizeof *c);
    ag__memory_init(&c->memory, allocator);
    c->root = (ag_scope){ .c = c, .ring = { &c->root.ring, &c->root.ring, &c->root } };
    c->scope = &c->root;
    c->rings = (ag__owned){ &c->rings, &c->rings, NULL };
    c->grad_enabled = true;
    c->refs = 1;
    c->threads = o->threads > 0 ? o->threads : 1;
    c->log = o->log;
    c->log_user = o->log_user;
    c->on_error = o->on_error;
    ag__random_seed(&c->random, 0);
    return c;
}

void ag_close(ag_context *c)
{
    if (!c || c->closed)
        return;
    while (c->scope->parent && !c->scope->bracket)
        ag_scope_end(c->scope);
    if (c->scope != &c->root) /* called by a callback of a function that is still at work */
        return;
    c->closed = true;
    ag__context_break_rings(c);
    ag__context_release_numbers(c);
    ag__scope_drain(&c->root);
    ag__context_unref(c);
}

void ag__context_unref(ag_context *c)
{
    if (--c->refs > 0)
        return;
    ag__parallel_end(c);
    ag__site_release(c);
    ag_allocator allocator = c->memory.allocator;
    ag__memory_release(&c->memory);
    allocator.release(c, sizeof *c, allocator.user);
}

void ag_set_num_threads(ag_context *c, int n)
{
    if (!c)
        return;
    c->threads = n > 0 ? n : 1;
    ag__parallel_end(c);
}

void ag_manual_seed(ag_context *c, uint64_t seed)
{
    if (c)
        ag__random_seed(&c->random, seed);
}

bool ag_grad_enabled(ag_context *c) { return c && c->grad_enabled; }

bool ag_set_grad_enabled(ag_context *c, bool enabled)
{
    if (!c)
        return false;
    bool previous = c->grad_enabled;
    c->grad_enabled = enabled;
    return previous;
}

bool ag_set_inference_mode(ag_context *c, bool enabled)
{
    if (!c)
        return false;
    bool previous = c->inference;
    c->inference = enabled;
    return previous;
}

bool ag_inference_mode_enabled(ag_context *c) { return c && c->inference; }

bool ag_set_anomaly_enabled(ag_context *c, bool enabled)
{
    if (!c)
        return false;
    bool previous = c->anomaly;
    c->anomaly = enabled;
    return previous;
}

bool ag_anomaly_enabled(ag_context *c) { return c && c->anomaly; }

void ag_set_cancelled(ag_context *c, bool cancelled)
{
    if (c)
        atomic_store_explicit(&c->cancelled, cancelled, memory_order_relaxed);
}

enum { MODE_NO_GRAD, MODE_ENABLE_GRAD, MODE_INFERENCE };

ag__mode_guard ag__mode_enter(ag_context *c, int mode)
{
    ag__mode_guard guard = { c, 0, 1 };
    if (!c)
        return guard;
    guard.previous = c->grad_enabled | c->inference << 1;
    c->grad_enabled = mode == MODE_ENABLE_GRAD;
    c->inference = c->inference || mode == MODE_INFERENCE;
    return guard;
}

void ag__mode_leave(ag__mode_guard *guard)
{
    if (!guard->c)
        return;
    guard->c->grad_enabled = guard->previous & 1;
    guard->c->inference = guard->previous >> 1;
}

#define CONTEXT_TEXT2(x) #x
#define CONTEXT_TEXT(x) CONTEXT_TEXT2(x)

const char *ag_version_string(void)
{
    return CONTEXT_TEXT(AG_VERSION_MAJOR) "." CONTEXT_TEXT(AG_VERSION_MINOR) "." CONTEXT_TEXT(
        AG_VERSION_PATCH);
}

#undef CONTEXT_TEXT
#undef CONTEXT_TEXT2
