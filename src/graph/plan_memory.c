/*
 * The arena of a plan. Each place is in use from one step to another; those of which the times
 * overlap lie apart. The largest are laid first, each as low as it fits; of very many, each takes
 * the place of one of its size that has ended: that wastes some, but takes no time.
 *
 * Time runs through the steps as they were built: those of a body or a branch lie within the time
 * of the step that runs them. What must stay from one iteration to the next is in use for all of
 * that.
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

static bool arena_share(ag__plan *p)
{
    const size_t bytes = 2 * (size_t)p->n_places * sizeof(plan_place *);
    plan_place **order = ag__alloc(p->c, bytes), **laid = order ? order + p->n_places : NULL;
    if (!order)
        return false;
    for (int32_t i = 0; i < p->n_places; i++)
        order[i] = &p->places[i];
    if (p->n_places)
        qsort(order, (size_t)p->n_places, sizeof *order, arena_order);
    for (int32_t i = 0; i < p->n_places; i++)
        arena_lay(laid, i, order[i]);
    ag__free(p->c, order, bytes);
    return true;
}

/* ---- very many places ---- */

static int arena_by_begin(const void *a, const void *b)
{
    const plan_place *p = *(plan_place *const *)a, *q = *(plan_place *const *)b;
    return p->from != q->from ? (p->from < q->from ? -1 : 1) : p < q ? -1 : p > q;
}

static int arena_by_end(const void *a, const void *b)
{
    const plan_place *p = *(plan_place *const *)a, *q = *(plan_place *const *)b;
    return p->to != q->to ? (p->to < q->to ? -1 : 1) : p < q ? -1 : p > q;
}

/* Time goes by: a place that begins takes over one of its size that has ended, or new memory.
 * `order` has room for all places twice, `lists` for three numbers each: the size's number, the
 * first free place of a size, the next one. */
static void arena_sweep(ag__plan *p, plan_place **order, int32_t *lists)
{
    const int32_t n = p->n_places;
    plan_place **ends = order + n;
    int32_t *size_of = lists, *first = lists + n, *next = lists + 2 * n, sizes = 0, ended = 0;
    size_t top = 0;
    for (int32_t i = 0; i < n; i++)
        order[i] = ends[i] = &p->places[i];
    qsort(order, (size_t)n, sizeof *order, arena_order);
    for (int32_t i = 0; i < n; i++) {
        sizes += i > 0 && arena_round(order[i]->bytes) != arena_round(order[i - 1]->bytes);
        size_of[order[i] - p->places] = sizes;
        first[i] = -1;
    }
    qsort(order, (size_t)n, sizeof *order, arena_by_begin);
    qsort(ends, (size_t)n, sizeof *ends, arena_by_end);
    for (int32_t i = 0; i < n; i++) {
        for (; ends[ended]->to < order[i]->from; ended++) {
            const int32_t free = (int32_t)(ends[ended] - p->places);
            next[free] = first[size_of[free]];
            first[size_of[free]] = free;
        }
        int32_t *free = &first[size_of[order[i] - p->places]];
        order[i]->offset = *free >= 0 ? p->places[*free].offset : top;
        top += *free >= 0 ? 0 : arena_round(order[i]->bytes);
        *free = *free >= 0 ? next[*free] : -1;
    }
}

static bool arena_share_many(ag__plan *p)
{
    const size_t n = (size_t)p->n_places;
    const size_t bytes = n * (2 * sizeof(plan_place *) + 3 * sizeof(int32_t));
    plan_place **order = ag__alloc(p->c, bytes);
    if (order)
        arena_sweep(p, order, (int32_t *)(void *)(order + 2 * n));
    ag__free(p->c, order, bytes);
    return order != NULL;
}

bool ag__plan_arrange(ag__plan *p)
{
    size_t at = 0;
    for (int32_t i = 0; i < p->n_places; i++) {
        p->places[i].offset = at;
        at += arena_round(p->places[i].bytes);
    }
    if (!(p->off & AG_PASS_REUSE) &&
        !(p->n_places > ARENA_MANY ? arena_share_many(p) : arena_share(p)))
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
