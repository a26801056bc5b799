/* The life of tensors and storages, and what can be read off them. See tensor.h. */
#include "tensor.h"

#include <math.h>
#include <string.h>

#include "../autograd/meta.h"
#include "../autograd/node.h"

enum { TENSOR_INLINE_BYTES = 64 }; /* data up to this size live in the storage's block */

static size_t tensor_bytes(int ndim)
{
    return sizeof(ag_tensor) + 2 * (size_t)ndim * sizeof(int64_t);
}

static size_t storage_header(void) { return (sizeof(ag__storage) + 15) / 16 * 16; }

static ag__storage *storage_new(ag_context *c, size_t bytes)
{
    const size_t header = storage_header();
    const bool is_inline = bytes <= TENSOR_INLINE_BYTES;
    const size_t block = header + (is_inline ? bytes : 0);
    ag__storage *s = ag__alloc(c, block);
    if (!s)
        return NULL;
    *s = (ag__storage){ .refs = 1, .bytes = bytes, .block = block };
    s->data = is_inline ? (char *)s + header : ag__alloc(c, bytes);
    if (s->data)
        return s;
    ag__free(c, s, block);
    return NULL;
}

static void storage_unref(ag_context *c, ag__storage *s)
{
    if (--s->refs > 0)
        return;
    if (s->borrowed) {
        if (s->free_fn)
            s->free_fn(s->data, s->user);
    } else if (s->data != (char *)s + storage_header()) {
        ag__free(c, s->data, s->bytes);
    }
    ag__free(c, s, s->block);
}

/* A tensor over `s` (whose reference it takes, also when it fails). */
static ag_tensor *tensor_over(ag_context *c, ag__storage *s, ag_dtype dtype, int ndim)
{
    ag_tensor *t = ag__alloc(c, tensor_bytes(ndim));
    if (!t) {
        storage_unref(c, s);
        return NULL;
    }
    *t = (ag_tensor){ .c = c, .storage = s, .refs = 1, .dtype = (uint8_t)dtype,
                      .ndim = (uint8_t)ndim };
    c->tensors++;
    ag__context_ref(c);
    return t;
}

ag_tensor *ag__tensor_new(ag_context *c, ag_dtype dtype, int ndim, const int64_t *shape)
{
    const int64_t numel = ag__shape_numel((ag_ints){ shape, ndim });
    ag__storage *s = storage_new(c, (size_t)numel * ag__itemsize(dtype));
    ag_tensor *t = s ? tensor_over(c, s, dtype, ndim) : NULL;
    if (!t)
        return NULL;
    t->numel = numel;
    int64_t stride = 1;
    for (int i = ndim - 1; i >= 0; i--) {
        t->dims[i] = shape[i];
        t->dims[ndim + i] = stride;
        stride *= shape[i] > 0 ? shape[i] : 1;
    }
    return t;
}

ag_tensor *ag__tensor_view(ag_tensor *t, const ag__geometry *g)
{
    t->storage->refs++;
    ag_tensor *v = tensor_over(t->c, t->storage, (ag_dtype)t->dtype, g->ndim);
    if (!v)
        return NULL;
    v->numel = ag__shape_numel((ag_ints){ g->shape, g->ndim });
    v->offset = g->offset;
    v->flags = AG_T_VIEW;
    for (int i = 0; i < g->ndim; i++) {
        v->dims[i] = g->shape[i];
        v->dims[g->ndim + i] = g->strides[i];
    }
    return v;
}

ag_tensor *ag__tensor_alias(ag_tensor *t)
{
    t->storage->refs++;
    ag_tensor *v = tensor_over(t->c, t->storage, (ag_dtype)t->dtype, t->ndim);
    if (!v)
        return NULL;
    v->numel = t->numel;
    v->offset = t->offset;
    memcpy(v->dims, t->dims, 2 * (size_t)t->ndim * sizeof(int64_t));
    return v;
}

ag_tensor *ag__tensor_number(ag_context *c, double v, ag_dtype dtype)
{
    ag_tensor *t = ag__tensor_new(c, dtype, 0, NULL);
    if (!t)
        return NULL;
    ag__store(dtype, t->storage->data, 0, v);
    t->flags |= AG_T_NUMBER;
    return t;
}

void ag__tensor_unref(ag_tensor *t)
{
    if (!t || --t->refs > 0)
        return;
    ag_context *c = t->c;
    ag_node *grad_fn = t->grad_fn;
    storage_unref(c, t->storage);
    if (t->meta) {
        ag__node_forget_output(t);
        ag__meta_free(t);
    }
    ag__free(c, t, tensor_bytes(t->ndim));
    c->tensors--;
    ag__node_unref(grad_fn);
    ag__context_unref(c);
}

void ag__owned_release(ag__owned *o)
{
    ag__scope_remove(o);
    ag__tensor_unref((ag_tensor *)o);
}

ag_tensor *ag__give(ag_tensor *t)
{
    if (t)
        ag__scope_add(t->c, &t->own);
    return t;
}

ag_tensor *ag__lend(ag_tensor *t)
{
    if (t && !t->own.scope)
        ag__scope_add(t->c, &ag__tensor_ref(t)->own);
    return t;
}

ag_tensor *ag_keep(ag_tensor *t)
{
    if (!t || !t->own.scope || !t->own.scope->parent)
        return t;
    ag_scope *outer = t->own.scope->parent, *innermost = t->c->scope;
    t->c->scope = outer;
    ag__scope_add(t->c, &t->own);
    t->c->scope = innermost;
    return t;
}

void ag_drop(ag_tensor *t)
{
    if (t && t->own.scope)
        ag__owned_release(&t->own);
}

ag_tensor *ag_retain(ag_tensor *t) { return t ? ag__tensor_ref(t) : NULL; }
void ag_release(ag_tensor *t) { ag__tensor_unref(t); }

void ag__bump_version(ag_tensor *t, const char *by)
{
    t->storage->version++;
    t->storage->writer = by;
}

int64_t ag__shape_numel(ag_ints shape)
{
    int64_t n = 1;
    for (int i = 0; i < shape.n; i++)
        n *= shape.data[i];
    return n;
}

bool ag__same_shape(ag_ints a, ag_ints b)
{
    if (a.n != b.n)
        return false;
    for (int i = 0; i < a.n; i++)
        if (a.data[i] != b.data[i])
            return false;
    return true;
}

bool ag__is_contiguous(const ag_tensor *t)
{
    int64_t stride = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        if (t->dims[i] != 1 && t->dims[t->ndim + i] != stride && t->numel > 1)
            return false;
        stride *= t->dims[i];
    }
    return true;
}

/* ---- what users read ---- */

ag_context *ag_context_of(const ag_tensor *t) { return t ? t->c : NULL; }
int ag_ndim(const ag_tensor *t) { return t ? t->ndim : -1; }
int64_t ag_numel(const ag_tensor *t) { return t ? t->numel : -1; }
const int64_t *ag_shape(const ag_tensor *t) { return t ? ag__shape(t) : NULL; }
const int64_t *ag_strides(const ag_tensor *t) { return t ? ag__strides(t) : NULL; }
ag_dtype ag_dtype_of(const ag_tensor *t) { return t ? (ag_dtype)t->dtype : AG_F32; }
ag_device ag_device_of(const ag_tensor *t) { return (void)t, AG_CPU; }
bool ag_is_contiguous(const ag_tensor *t) { return t && ag__is_contiguous(t); }
int64_t ag_version(const ag_tensor *t) { return t ? (int64_t)t->storage->version : -1; }
void *ag_data(ag_tensor *t) { return t ? ag__at(t) : NULL; }

int64_t ag_size(ag_tensor *t, int dim)
{
    int d = t ? ag__dim(t->c, "ag_size", dim, t->ndim) : -1;
    if (d >= 0 && t->ndim == 0) {
        ag__fail(t->c, AG_ERR_INDEX, "ag_size: a 0-dim tensor has no dimension %d", dim);
        return -1;
    }
    return d < 0 ? -1 : t->dims[d];
}

double ag_item(ag_tensor *t)
{
    if (t && t->numel == 1)
        return ag__load((ag_dtype)t->dtype, ag__at(t), 0);
    if (t)
        ag__fail(t->c, AG_ERR_VALUE,
                 "ag_item: a Tensor with %lld elements cannot be converted to Scalar",
                 (long long)t->numel);
    return NAN;
}

double ag_at_index(ag_tensor *t, ag_ints index)
{
    if (!t)
        return NAN;
    if (index.n != t->ndim) {
        ag__fail(t->c, AG_ERR_INDEX, "ag_at: %d indices for a tensor of %d dimensions", index.n,
                 t->ndim);
        return NAN;
    }
    int64_t at = 0;
    for (int i = 0; i < index.n; i++) {
        const int64_t size = t->dims[i], k = index.data[i] < 0 ? index.data[i] + size : index.data[i];
        if (k < 0 || k >= size) {
            ag__fail(t->c, AG_ERR_INDEX,
                     "ag_at: index %lld is out of bounds for dimension %d with size %lld",
                     (long long)index.data[i], i, (long long)size);
            return NAN;
        }
        at += k * t->dims[t->ndim + i];
    }
    return ag__load((ag_dtype)t->dtype, ag__at(t), at);
}

bool ag_copy_out(ag_tensor *t, void *dst, size_t bytes)
{
    if (!t)
        return false;
    const size_t need = (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype);
    if (bytes != need || (!dst && need))
        return ag_fail(t->c, AG_ERR_VALUE, "ag_copy_out: the tensor has %zu bytes, the buffer %zu",
                       need, dst ? bytes : 0);
    if (ag__is_contiguous(t)) {
        if (need)
            memcpy(dst, ag__at(t), need);
        return true;
    }
    ag_tensor *copy = ag__contiguous_copy(t, (ag_dtype)t->dtype);
    if (!copy)
        return false;
    memcpy(dst, ag__at(copy), need);
    ag__tensor_unref(copy);
    return true;
}

bool ag_set_name(ag_tensor *t, const char *name)
{
    ag__meta *m = t ? ag__meta_of(t) : NULL;
    if (!m)
        return false;
    const size_t bytes = name ? strlen(name) + 1 : 0;
    char *copy = bytes ? ag__alloc(t->c, bytes) : NULL;
    if (bytes && !copy)
        return false;
    if (bytes)
        memcpy(copy, name, bytes);
    ag__free(t->c, m->name, m->name_bytes);
    m->name = copy;
    m->name_bytes = bytes;
    return true;
}

const char *ag_name(const ag_tensor *t) { return t && t->meta ? t->meta->name : NULL; }
