/* The life of tensors and storages, and what can be read off them. See tensor.h. */
#include "tensor.h"

#include <math.h>
#include <string.h>

#include "../autograd/meta.h"
#include "../autograd/node.h"
#include "foreign.h"

static size_t tensor_bytes(int ndim)
{
    return sizeof(ag_tensor) + 2 * (size_t)ndim * sizeof(int64_t);
}

/* Where the storage lies when it is in t's own block. */
static ag__storage *tensor_own_storage(const ag_tensor *t)
{
    return (ag__storage *)((char *)t + tensor_bytes(t->ndim));
}

static void storage_unref(ag_context *c, ag__storage *s)
{
    if (--s->refs > 0)
        return;
    if (s->foreign)
        ag__foreign_unref(s->foreign);
    else if (s->bytes > AG_INLINE_BYTES)
        ag__free(c, s->data, s->bytes);
    ag__free(c, (char *)s - s->start, s->block);
}

/* Fills in a new tensor; all but its sizes and strides. (Field by field: compilers clear a struct of
 * this size by a loop in microcode.) */
static ag_tensor *tensor_init(ag_tensor *t, ag_context *c, ag__storage *s, ag_dtype dtype, int ndim)
{
    t->own.prev = t->own.next = NULL;
    t->own.scope = NULL;
    t->c = c;
    t->storage = s;
    t->grad_fn = NULL;
    t->meta = NULL;
    t->numel = t->offset = 0;
    t->refs = 1;
    t->output_nr = 0;
    t->dtype = (uint8_t)dtype;
    t->ndim = (uint8_t)ndim;
    t->flags = c->inference ? AG_T_INFERENCE : 0;
    c->tensors++;
    ag__context_ref(c);
    return t;
}

/* Sizes, and the strides of elements side by side. */
static void tensor_set_dense(ag_tensor *t, const int64_t *shape)
{
    int64_t stride = 1;
    for (int i = t->ndim - 1; i >= 0; i--) {
        t->dims[i] = shape[i];
        t->dims[t->ndim + i] = stride;
        stride *= shape[i] > 0 ? shape[i] : 1;
    }
}

/* A tensor and its storage for `bytes` of data, which are there unless they are foreign. */
static ag_tensor *tensor_with_storage(ag_context *c, ag_dtype dtype, int ndim, size_t bytes,
                                      struct ag__foreign *foreign)
{
    const size_t start = tensor_bytes(ndim), few = foreign || bytes > AG_INLINE_BYTES ? 0 : bytes;
    const size_t block = start + sizeof(ag__storage) + few;
    ag_tensor *t = ag__alloc(c, block);
    if (!t)
        return NULL;
    ag__storage *s = (ag__storage *)((char *)t + start);
    *s = (ag__storage){ .refs = 1,
                        .data = s + 1,
                        .bytes = bytes,
                        .foreign = foreign,
                        .start = (uint32_t)start,
                        .block = (uint32_t)block };
    if (!foreign && bytes > AG_INLINE_BYTES && !(s->data = ag__alloc(c, bytes))) {
        ag__free(c, t, block);
        return NULL;
    }
    return tensor_init(t, c, s, dtype, ndim);
}

ag_tensor *ag__tensor_new(ag_context *c, ag_dtype dtype, int ndim, const int64_t *shape)
{
    const int64_t numel = ag__shape_numel((ag_ints){ shape, ndim });
    ag__shape_text text;
    /* A result may be wider than its operand, and that one expanded: more than memory can hold. */
    if (AG_UNLIKELY(numel > INT64_MAX / 8) && numel > INT64_MAX / (int64_t)ag__itemsize(dtype))
        return ag__fail(c, AG_ERR_SHAPE, "Storage size calculation overflowed with sizes=%s",
                        ag__shape_string(&text, (ag_ints){ shape, ndim }));
    ag_tensor *t = tensor_with_storage(c, dtype, ndim, (size_t)numel * ag__itemsize(dtype), NULL);
    if (!t)
        return NULL;
    t->numel = numel;
    tensor_set_dense(t, shape);
    return t;
}

ag_tensor *ag__tensor_foreign(ag_context *c, ag_dtype dtype, int ndim, const int64_t *shape,
                              struct ag__foreign *foreign)
{
    const int64_t numel = ag__shape_numel((ag_ints){ shape, ndim });
    const size_t bytes = (size_t)numel * ag__itemsize(dtype);
    ag_tensor *t = tensor_with_storage(c, dtype, ndim, bytes, foreign);
    if (!t)
        return NULL;
    t->storage->data = foreign->data;
    t->numel = numel;
    tensor_set_dense(t, shape);
    return t;
}

ag_tensor *ag__tensor_symbol(ag_context *c, ag_dtype dtype, int ndim, const int64_t *shape,
                             ag__symbol symbol)
{
    ag_tensor *t = tensor_with_storage(c, dtype, ndim, sizeof symbol, NULL);
    if (!t)
        return NULL;
    *ag__symbol_of(t) = symbol;
    ag__symbol_ref(&symbol);
    t->flags |= AG_T_SYMBOLIC;
    t->numel = ag__shape_numel((ag_ints){ shape, ndim });
    tensor_set_dense(t, shape);
    return t;
}

bool ag__has_data(const char *op, const ag_tensor *t)
{
    return t && (!ag__is_symbolic(t) ||
                 ag_fail(t->c, AG_ERR_GRAPH,
                         "%s: the tensor is symbolic and has no value until a session runs its "
                         "graph: fetch it with ag_session_run",
                         op));
}

/* A tensor over t's storage, with room for an ag__view if need be; its sizes are not filled in. */
static ag_tensor *tensor_sharing(ag_tensor *t, int ndim, size_t view_bytes)
{
    ag_tensor *v = ag__alloc(t->c, tensor_bytes(ndim) + view_bytes);
    if (!v)
        return NULL;
    t->storage->refs++;
    tensor_init(v, t->c, t->storage, (ag_dtype)t->dtype, ndim);
    v->flags = t->flags & (AG_T_INFERENCE | AG_T_SYMBOLIC);
    return v;
}

static void tensor_set_geometry(ag_tensor *v, const ag__geometry *g)
{
    v->numel = ag__shape_numel((ag_ints){ g->shape, g->ndim });
    v->offset = g->offset;
    for (int i = 0; i < g->ndim; i++) {
        v->dims[i] = g->shape[i];
        v->dims[g->ndim + i] = g->strides[i];
    }
}

ag_tensor *ag__tensor_window(ag_tensor *t, const ag__geometry *g)
{
    ag_tensor *v = tensor_sharing(t, g->ndim, 0);
    if (v)
        tensor_set_geometry(v, g);
    return v;
}

void ag__tensor_bind(ag_tensor *t, const ag_tensor *from)
{
    from->storage->refs++;
    storage_unref(t->c, t->storage);
    t->storage = from->storage;
    t->numel = from->numel;
    t->offset = from->offset;
    for (int i = 0; i < 2 * t->ndim && t->ndim == from->ndim; i++)
        t->dims[i] = from->dims[i];
}

static uint8_t tensor_view_kind(const ag__view *of, ag__view_kind kind)
{
    const bool stays = of && of->kind == AG_VIEW_INFERENCE && kind != AG_VIEW_CUSTOM;
    return of && (stays || kind == AG_VIEW_PLAIN) ? of->kind : (uint8_t)kind;
}

ag_tensor *ag__tensor_view(ag_tensor *t, const ag__geometry *g, ag__view_kind kind)
{
    const ag__view *of = ag__view_of(t);
    ag_tensor *v = tensor_sharing(t, g->ndim, sizeof(ag__view));
    if (!v)
        return NULL;
    tensor_set_geometry(v, g);
    v->flags |= AG_T_VIEW;
    *ag__view_of(v) = (ag__view){ .base = ag__tensor_ref(of ? of->base : t),
                                  .version = t->storage->version,
                                  .kind = tensor_view_kind(of, kind) };
    return v;
}

ag_tensor *ag__tensor_alias(ag_tensor *t)
{
    ag_tensor *v = tensor_sharing(t, t->ndim, 0);
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

/* Nobody refers to t any more. Gives its gradient, which loses a reference: chains of gradients take no
 * C stack. Only a base can be held by its views, and it has none itself. */
static ag_tensor *tensor_free(ag_tensor *t)
{
    ag_context *c = t->c;
    ag_node *grad_fn = t->grad_fn;
    ag__storage *s = t->storage;
    const ag__view *view = ag__view_of(t);
    ag_tensor *base = view ? view->base : NULL;
    ag_tensor *grad = t->meta ? ag__meta_free(t) : NULL;
    if (AG_UNLIKELY(ag__is_symbolic(t)) && s->refs == 1)
        ag__symbol_unref(ag__symbol_of(t));
    if (s != tensor_own_storage(t)) /* otherwise t goes with it */
        ag__free(c, t, tensor_bytes(t->ndim) + (view ? sizeof *view : 0));
    storage_unref(c, s);
    c->tensors--;
    ag__node_unref(grad_fn);
    ag__tensor_unref(base);
    ag__context_unref(c);
    return grad;
}

void ag__tensor_free(ag_tensor *t)
{
    do
        t = tensor_free(t);
    while (t && --t->refs <= 0);
}

void ag__owned_release(ag__owned *o)
{
    ag__scope_remove(o);
    ag__tensor_unref((ag_tensor *)o);
}

ag_tensor *ag__give(ag_tensor *t)
{
    if (!t)
        return NULL;
    if (AG_UNLIKELY(t->c->closed)) { /* no scope would ever give it up */
        ag__fail(t->c, AG_ERR_VALUE,
                 "the context is closed: its retained tensors can be read and released, no more");
        ag__tensor_unref(t);
        return NULL;
    }
    ag__scope_add(t->c->scope, &t->own);
    return t;
}

ag_tensor *ag__lend(ag_tensor *t)
{
    if (t && !t->own.scope && !t->c->closed)
        ag__scope_add(t->c->scope, &ag__tensor_ref(t)->own);
    return t;
}

ag_tensor *ag_keep(ag_tensor *t)
{
    if (t && t->own.scope && t->own.scope->parent)
        ag__scope_add(t->own.scope->parent, &t->own);
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
    if (t->flags & AG_T_INFERENCE)
        return;
    t->storage->version++;
    t->storage->writer = by;
}

ag_context *ag__list_context(ag_tensor *const *list, int n)
{
    for (int i = 0; list && i < n; i++)
        if (list[i])
            return list[i]->c;
    return NULL;
}

bool ag__list_check(ag_context *c, const char *name, const char *what, int i, const ag_tensor *t)
{
    return (t && t->c == c) || ag_fail(c, AG_ERR_VALUE, "%s: %s %d is %s", name, what, i,
                                       t ? "of another context" : "NULL");
}

int64_t ag__shape_numel(ag_ints shape)
{
    int64_t n = 1;
    bool known = true;
    for (int i = 0; i < shape.n; i++) {
        n *= shape.data[i];
        known = known && shape.data[i] >= 0;
    }
    return known ? n : -1;
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

bool ag__shape_takes(ag_ints a, ag_ints b)
{
    bool takes = a.n == b.n;
    for (int i = 0; i < a.n && takes; i++)
        takes = a.data[i] < 0 || a.data[i] == b.data[i];
    return takes;
}

bool ag__shape_may_be(ag_ints a, ag_ints b)
{
    bool may = a.n == b.n;
    for (int i = 0; i < a.n && may; i++)
        may = a.data[i] < 0 || b.data[i] < 0 || a.data[i] == b.data[i];
    return may;
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

bool ag__is_dense(const ag_tensor *t)
{
    for (int64_t filled = 1; filled < t->numel;) {
        int d = 0;
        while (d < t->ndim && (t->dims[d] == 1 || t->dims[t->ndim + d] != filled))
            d++;
        if (d == t->ndim)
            return false;
        filled *= t->dims[d];
    }
    return true;
}

bool ag__repeats_memory(const ag_tensor *t)
{
    for (int i = 0; i < t->ndim; i++)
        if (t->dims[i] > 1 && t->dims[t->ndim + i] == 0)
            return true;
    return false;
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
void *ag_data(ag_tensor *t) { return ag__has_data("ag_data", t) ? ag__at(t) : NULL; }

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
    if (!ag__has_data("ag_item", t))
        return NAN;
    if (t->numel == 1)
        return ag__load((ag_dtype)t->dtype, ag__at(t), 0);
    ag__fail(t->c, AG_ERR_VALUE,
             "ag_item: a Tensor with %lld elements cannot be converted to Scalar",
             (long long)t->numel);
    return NAN;
}

double ag_at_index(ag_tensor *t, ag_ints index)
{
    if (!ag__has_data("ag_at", t))
        return NAN;
    if (index.n > 0 && !index.data) {
        ag__fail(t->c, AG_ERR_VALUE, "ag_at: the list of indices is NULL");
        return NAN;
    }
    if (index.n != t->ndim) {
        ag__fail(t->c, AG_ERR_INDEX, "ag_at: %d indices for a tensor of %d dimensions", index.n,
                 t->ndim);
        return NAN;
    }
    int64_t at = 0;
    for (int i = 0; i < index.n; i++) {
        const int64_t size = t->dims[i],
                      k = index.data[i] < 0 ? index.data[i] + size : index.data[i];
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
    if (!ag__has_data("ag_copy_out", t))
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
    if (t && ag__is_symbolic(t))
        return ag__symbol_set_name(t, name);
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

const char *ag_name(const ag_tensor *t)
{
    if (t && ag__is_symbolic(t))
        return ag__symbol_name(t);
    return t && t->meta ? t->meta->name : NULL;
}
