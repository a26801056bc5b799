/* See foreign.h; and ag_share, which makes data foreign to the context that made them. */
#include "foreign.h"

#include <string.h>

#include "tensor.h"

ag__foreign *ag__foreign_new(ag_context *c, void *data)
{
    ag__foreign *f = ag__alloc_apart(c, sizeof *f);
    if (!f)
        return NULL;
    *f = (ag__foreign){ .data = data, .allocator = c->memory.allocator };
    atomic_init(&f->refs, 1);
    return f;
}

void ag__foreign_unref(ag__foreign *f)
{
    if (atomic_fetch_sub(&f->refs, 1) > 1)
        return;
    const ag_allocator allocator = f->allocator;
    if (f->owned)
        ag__free_apart(&allocator, f->data);
    else if (f->free_fn)
        f->free_fn(f->data, f->user);
    ag__free_apart(&allocator, f);
}

/* Moves the data out of the context's caches, so that they may die anywhere. */
static bool foreign_make(ag_context *c, ag__storage *s)
{
    if (s->foreign)
        return true;
    ag__foreign *f = ag__foreign_new(c, NULL);
    void *data = f ? ag__alloc_apart(c, s->bytes) : NULL;
    if (!data) {
        if (f)
            ag__foreign_unref(f);
        return false;
    }
    if (s->bytes)
        memcpy(data, s->data, s->bytes);
    f->owned = true;
    f->data = data;
    if (s->bytes > AG_INLINE_BYTES)
        ag__free(c, s->data, s->bytes);
    s->data = data;
    s->foreign = f;
    return true;
}

ag_tensor *ag_share(ag_context *c, ag_tensor *t)
{
    if (!c || !ag__has_data("ag_share", t))
        return NULL;
    if (!foreign_make(t->c, t->storage))
        return ag__fail(c, AG_ERR_MEMORY, "ag_share: out of memory in the tensor's context");
    ag__foreign *f = t->storage->foreign;
    ag_tensor *u = ag__tensor_foreign(c, (ag_dtype)t->dtype, t->ndim, t->dims, f);
    if (!u)
        return NULL;
    ag__foreign_ref(f);
    u->storage->bytes = t->storage->bytes;
    u->offset = t->offset;
    memcpy(u->dims, t->dims, 2 * (size_t)t->ndim * sizeof(int64_t));
    return ag__give(u);
}
