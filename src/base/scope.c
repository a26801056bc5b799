/*
 * Scopes: each tensor that the user can see sits in the ring of one scope, which owns one reference
 * to it. Moving it to another scope or out of all scopes is unlinking and linking: O(1).
 */
#include "context.h"
#include "error.h"

static void scope_link(ag_scope *s, ag__owned *o)
{
    o->scope = s;
    o->prev = s->ring.prev;
    o->next = &s->ring;
    s->ring.prev->next = o;
    s->ring.prev = o;
}

void ag__scope_remove(ag__owned *o)
{
    o->prev->next = o->next;
    o->next->prev = o->prev;
    o->scope = NULL;
}

void ag__scope_add(ag_context *c, ag__owned *o)
{
    if (o->scope)
        ag__scope_remove(o);
    scope_link(c->scope, o);
}

ag_scope *ag_scope_begin(ag_context *c)
{
    if (!c)
        return NULL;
    ag_scope *s = ag__alloc(c, sizeof *s);
    if (!s)
        return NULL;
    *s = (ag_scope){ .c = c, .parent = c->scope, .ring = { &s->ring, &s->ring, s } };
    c->scope = s;
    return s;
}

/* True when s is open: it is found on the way from the innermost scope outwards. */
static bool scope_is_open(const ag_scope *s)
{
    for (const ag_scope *at = s->c->scope; at; at = at->parent)
        if (at == s)
            return true;
    return false;
}

void ag_scope_end(ag_scope *s)
{
    if (!s || !s->parent || !scope_is_open(s))
        return;
    ag_context *c = s->c;
    for (bool last = false; !last;) {
        ag_scope *inner = c->scope;
        last = inner == s;
        while (inner->ring.next != &inner->ring)
            ag__owned_release(inner->ring.next);
        c->scope = inner->parent;
        ag__free(c, inner, sizeof *inner);
    }
}

void ag__scope_leave(ag_scope **s) { ag_scope_end(*s); }
