/*
 * Tensors, places and steps of a plan in the making: what those who build plans build with.
 */
#include <string.h>

#include "../tensor/foreign.h"
#include "plan_parts.h"

/* ---- tensors ---- */

bool ag__plan_unsupported(const ag__plan *p, const char *what)
{
    return ag_fail(p->c, AG_ERR_UNSUPPORTED, "a plan cannot have %s", what);
}

bool ag__plan_keep(ag__plan *p, ag_tensor *t)
{
    ag_tensor **tensors =
        t ? ag__make_room(p->c, p->tensors, p->n_tensors, &p->room_tensors, 32, sizeof *tensors)
          : NULL;
    if (!tensors) {
        ag__tensor_unref(t);
        return false;
    }
    p->tensors = tensors;
    tensors[p->n_tensors++] = t;
    return true;
}

int32_t ag__plan_place(ag__plan *p, size_t bytes)
{
    plan_place *places =
        ag__make_room(p->c, p->places, p->n_places, &p->room_places, 32, sizeof *places);
    if (!places)
        return PLAN_NO_PLACE;
    p->places = places;
    places[p->n_places] = (plan_place){ .bytes = bytes, .from = p->now, .to = p->now };
    return p->n_places++;
}

void ag__plan_touch(ag__plan *p, const plan_value *v)
{
    if (v && v->place >= 0)
        p->places[v->place].to = p->now;
}

/* Unknown sizes count as 0 until the plan runs. */
static ag_ints plan_known(ag_ints shape, int64_t *known)
{
    for (int d = 0; d < shape.n; d++)
        known[d] = shape.data[d] < 0 ? 0 : shape.data[d];
    return (ag_ints){ known, shape.n };
}

bool ag__plan_tensor(ag__plan *p, ag_dtype dtype, ag_ints shape, int32_t place, plan_value *v)
{
    int64_t known[AG_MAX_DIMS];
    const bool dynamic = ag__shape_numel(shape) < 0;
    shape = plan_known(shape, known);
    ag_tensor *t = ag__tensor_foreign(p->c, dtype, shape.n, shape.data, p->foreign);
    if (!t)
        return false;
    ag__foreign_ref(p->foreign);
    plan_owner *owner = ag__plan_keep(p, t) ? ag__graph_alloc(p->g, sizeof *owner) : NULL;
    if (owner && place == PLAN_NO_PLACE)
        place = ag__plan_place(p, t->storage->bytes);
    if (!owner || place == PLAN_NO_PLACE)
        return false;
    *owner = (plan_owner){ p->owners, t, place };
    p->owners = owner;
    *v = (plan_value){ .t = t, .place = place, .dynamic = dynamic };
    return true;
}

bool ag__plan_bound(ag__plan *p, ag_dtype dtype, ag_ints shape, plan_value *v)
{
    ag__geometry g;
    int64_t known[AG_MAX_DIMS];
    ag__geometry_set(&g, dtype, plan_known(shape, known));
    memset(g.strides, 0, sizeof g.strides);
    g.offset = 0;
    ag_tensor *t = ag__tensor_window(p->nothing, &g);
    if (t)
        t->dtype = (uint8_t)dtype;
    if (!ag__plan_keep(p, t))
        return false;
    ag_tensor **bound = ag__make_room(p->c, p->bound, p->n_bound, &p->room_bound, 8, sizeof *bound);
    if (!bound)
        return false;
    p->bound = bound;
    bound[p->n_bound++] = t;
    *v = (plan_value){ .t = t, .place = PLAN_FLOATS, .dynamic = true };
    return true;
}

plan_buffer *ag__plan_buffer(ag__plan *p)
{
    plan_buffer *b = ag__graph_alloc(p->g, sizeof *b);
    if (!b)
        return NULL;
    b->next = p->buffers;
    return p->buffers = b;
}

/* ---- steps ---- */

plan_block *ag__plan_block(ag__plan *p)
{
    plan_block *block = ag__graph_alloc(p->g, sizeof *block);
    if (!block)
        return NULL;
    block->next = p->blocks;
    return p->blocks = block;
}

plan_step *ag__plan_step(ag__plan *p, plan_block *block, plan_kind kind)
{
    plan_step *steps = ag__make_room(p->c, block->steps, block->n, &block->room, 16, sizeof *steps);
    if (!steps)
        return NULL;
    p->now++;
    block->steps = steps;
    steps[block->n] = (plan_step){ .kind = kind };
    return &steps[block->n++];
}

bool ag__plan_copy(ag__plan *p, plan_block *block, const plan_value *to, const plan_value *from)
{
    plan_step *s = ag__plan_step(p, block, PLAN_COPY);
    if (!s)
        return false;
    s->u.copy.to = to->t;
    s->u.copy.from = from->t;
    s->u.copy.to_place = to->place;
    s->u.copy.from_place = from->place;
    ag__plan_touch(p, to);
    ag__plan_touch(p, from);
    return true;
}

bool ag__plan_dense(ag__plan *p, plan_block *block, plan_value *v)
{
    plan_value copy;
    const ag_tensor *t = v->t;
    if (!ag__plan_tensor(p, (ag_dtype)t->dtype, ag__sizes(t), PLAN_NO_PLACE, &copy) ||
        !ag__plan_copy(p, block, &copy, v))
        return false;
    p->places[copy.place].from = p->now;
    copy.t->flags |= t->flags & AG_T_NUMBER;
    *v = copy;
    return true;
}
