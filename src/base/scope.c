/*
 * Scopes: each tensor that the user can see sits in the ring of one scope, which owns one reference
 * to it. Moving it to another scope or out of all scopes is unlinking and linking: O(1).
 *
 * An ended scope waits in the context for the next one and never becomes anything else, so that
 * ending it again (as AG_SCOPE does when an outer scope ended inside its block) finds its context.
 */
#include "context.h"
#include "error.h"

void ag__scope_remove(ag__owned *o)
{
    o->prev->next = o->next;
    o->next->prev = o->prev;
    o->scope = NULL;
}

void ag__scope_add(ag_scope *s, ag__owned *o)
{
    if (o->scope)
        ag__scope_remove(o);
    o->scope = s;
    o->prev = s->ring.prev;
    o->next = &s->ring;
    s->ring.prev->next = o;
    s->ring.prev = o;
}

void ag__scope_drain(ag_scope *s)
{
    while (s->ring.next != &s->ring)
        ag__owned_release(s->ring.next);
}

static void scope_open(ag_scope *s, ag_context *c, bool bracket)
{
    *s = (ag_scope){
        .c = c, .parent = c->scope, .ring = { &s->ring, &s->ring, s }, .bracket = bracket
    };
    c->scope = s;
}

static ag_scope *scope_take(ag_context *c)
{
    ag_scope *s = c->spare;
    if (!s)
        return ag__alloc(c, sizeof *s);
    if (!ag__take_back(c, sizeof *s))
        return NULL;
    c->spare = s->parent;
    return s;
}

ag_scope *ag_scope_begin(ag_context *c)
{
    ag_scope *s = c ? scope_take(c) : NULL;
    if (s)
        scope_open(s, c, false);
    return s;
}

/* Ends the innermost scope. What dies in it may call back, and find a bracket there. */
static void scope_close(ag_context *c)
{
    ag_scope *s = c->scope;
    const bool bracket = s->bracket;
    s->bracket = true;
    ag__scope_drain(s);
    c->scope = s->parent;
    if (bracket)
        return;
    s->parent = c->spare;
    c->spare = s;
    ag__set_aside(c, sizeof *s);
}

/* True when s is open and no bracket stands inside it. */
static bool scope_may_end(const ag_scope *s)
{
    const ag_scope *at = s->c->scope;
    while (at && at != s && !at->bracket)
        at = at->parent;
    return at == s && !at->bracket && at->parent;
}

void ag_scope_end(ag_scope *s)
{
    if (!s || !scope_may_end(s))
        return;
    ag_context *c = s->c;
    while (c->scope != s)
        scope_close(c);
    scope_close(c);
}

void ag__bracket_begin(ag_scope *s, ag_context *c) { scope_open(s, c, true); }

void ag__bracket_end(ag_scope *s)
{
    while (s->c->scope != s)
        scope_close(s->c);
    scope_close(s->c);
}

void ag__scope_leave(ag_scope **s) { ag_scope_end(*s); }
