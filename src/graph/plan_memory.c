/*
 * The arena of a plan. Each place is in use from one step to another; those of which the times overlap
 * lie apart. The largest are laid first, each as low as it fits; of very many, those that begin first,
 * since then only what is in use at that moment is looked at.
 *
 * Time runs through the steps as they were built: those of a body or a branch lie within the time of
 * the step that runs them. What must stay from one iteration to the next is in use for all of that.
 */
#include <stdlib.h>
#include <string.h>

#include "../tensor/foreign.h"
#include "plan_parts.h"

enum { ARENA_ALIGN = 64, ARENA_MANY = 4096 };

static size_t arena_round(size_t bytes)
{
    return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

static int arena_order(const void *a, const void *b)
{
    const plan_place *p = *(plan_place *const *)a, *q = *(plan_place *const *)b;
    if (p->bytes != q->bytes)
        return p->bytes > q->bytes ? -1 : 1;
    return p->from != q->from ? (p->from < q->from ? -1 : 1) : p < q ? -1 : p > q;
}

static int arena_in_time(const void *a, const void *b)
{
    const plan_place *p = *(plan_place *const *)a, *q = *(plan_place *const *)b;
    return p->from != q->from ? (p->from < q->from ? -1 : 1) : p < q ? -1 : p > q;
}

/* Lays a place beside the n that are laid, which are in the order of their offsets. */
static void arena_lay(plan_place **laid, int32_t n, plan_place *place)
{
    size_t at = 0;
    int32_t to = n;
    for (int32_t i = 0; i < n; i++) {
        const plan_place *other = laid[i];
        if (other->from > place->to || other->to < place->from)
            continue;
        if (at + place->bytes <= other->offset)
            break;
        if (at < other->offset + arena_round(other->bytes))
            at = other->offset + arena_round(other->bytes);
    }
    place->offset = at;
    while (to > 0 && laid[to - 1]->offset > at) {
        laid[to] = laid[to - 1];
        to--;
    }
    laid[to] = place;
}

/* Leaves out what ended before. Returns how many are left. */
static int32_t arena_expire(plan_place **laid, int32_t n, int32_t now)
{
    int32_t left = 0;
    for (int32_t i = 0; i < n; i++)
        if (laid[i]->to >= now)
            laid[left++] = laid[i];
    return left;
}

static bool arena_share(ag__plan *p)
{
    const size_t bytes = 2 * (size_t)p->n_places * sizeof(plan_place *);
    plan_place **order = ag__alloc(p->c, bytes), **laid = order ? order + p->n_places : NULL;
    if (!order)
        return false;
    for (int32_t i = 0; i < p->n_places; i++)
        order[i] = &p->places[i];
    const bool many = p->n_places > ARENA_MANY;
    if (p->n_places)
        qsort(order, (size_t)p->n_places, sizeof *order, many ? arena_in_time : arena_order);
    for (int32_t i = 0, n = 0; i < p->n_places; i++) {
        n = many ? arena_expire(laid, n, order[i]->from) : n;
        arena_lay(laid, n++, order[i]);
    }
    ag__free(p->c, order, bytes);
    return true;
}

bool ag__plan_arrange(ag__plan *p)
{
    size_t at = 0;
    for (int32_t i = 0; i < p->n_places; i++) {
        p->places[i].offset = at;
        at += arena_round(p->places[i].bytes);
    }
    if (!(p->off & AG_PASS_REUSE) && !arena_share(p))
        return false;
    size_t bytes = 0;
    for (int32_t i = 0; i < p->n_places; i++) {
        const size_t end = p->places[i].offset + arena_round(p->places[i].bytes);
        bytes = end > bytes ? end : bytes;
    }
    p->arena = ag__alloc(p->c, bytes);
    if (!p->arena)
        return false;
    p->bytes = bytes;
    for (plan_owner *o = p->owners; o; o = o->next)
        o->tensor->storage->data = p->arena + (o->place >= 0 ? p->places[o->place].offset : 0);
    return true;
}

bool ag__plan_room(ag__plan *p, plan_buffer *b, size_t bytes, size_t kept)
{
    if (bytes <= b->bytes && b->data)
        return true;
    const size_t more = bytes < 2 * b->bytes ? 2 * b->bytes : bytes < 256 ? 256 : bytes;
    char *data = ag__alloc(p->c, more);
    if (!data)
        return false;
    if (kept)
        memcpy(data, b->data, kept);
    ag__free(p->c, b->data, b->bytes);
    b->data = data;
    b->bytes = more;
    return true;
}
