/* Checks of shapes and dimensions that come from users, and copies between geometries. */
#include "tensor.h"

#include <stdio.h>
#include <string.h>

#include "../base/parallel.h"
#include "../kernels/convert.h"

const char *ag__shape_string(ag__shape_text *buffer, ag_ints shape)
{
    size_t at = 0;
    const size_t room = sizeof buffer->text;
    buffer->text[at++] = '[';
    for (int i = 0; i < shape.n && i < AG_MAX_DIMS; i++)
        at += (size_t)snprintf(buffer->text + at, room - at, i ? ", %lld" : "%lld",
                               (long long)shape.data[i]);
    snprintf(buffer->text + at, room - at, "]");
    return buffer->text;
}

bool ag__check_shape(ag_context *c, const char *op, ag_ints shape, ag_dtype dtype)
{
    if (!ag__dtype_ok(dtype))
        return ag_fail(c, AG_ERR_DTYPE, "%s: %d is not a dtype", op, (int)dtype);
    if (shape.n < 0 || shape.n > AG_MAX_DIMS)
        return ag_fail(c, AG_ERR_SHAPE, "%s: shape has %d dimensions; tensors have 0 to %d", op,
                       shape.n, AG_MAX_DIMS);
    if (shape.n > 0 && !shape.data)
        return ag_fail(c, AG_ERR_VALUE, "%s: the list of sizes is NULL", op);
    ag__shape_text text;
    int64_t bytes = (int64_t)ag__itemsize(dtype); /* of the sizes that are not 0 */
    for (int i = 0; i < shape.n; i++) {
        if (shape.data[i] < 0)
            return ag_fail(c, AG_ERR_SHAPE,
                           "%s: Trying to create tensor with negative dimension %lld: %s", op,
                           (long long)shape.data[i], ag__shape_string(&text, shape));
        if (shape.data[i] > 0 && !ag__mul_fits(bytes, shape.data[i], &bytes))
            return ag_fail(c, AG_ERR_SHAPE, "%s: Storage size calculation overflowed with sizes=%s",
                           op, ag__shape_string(&text, shape));
    }
    return true;
}

int ag__dim(ag_context *c, const char *op, int64_t dim, int ndim)
{
    const int range = ndim ? ndim : 1;
    if (dim >= -range && dim < range)
        return (int)(dim < 0 ? dim + range : dim);
    ag__fail(c, AG_ERR_INDEX,
             "%s: Dimension out of range (expected to be in range of [%d, %d], but got %lld)", op,
             -range, range - 1, (long long)dim);
    return -1;
}

/* ---- copies ---- */

/* Elements of a block that is worth waking a thread for; a multiple of the sides of tiles. */
enum { COPY_PART = 1 << 17, COPY_TILE = 16 };

/* Dimensions of a copy, with the strides of both sides, in elements. */
typedef struct {
    int n;
    int64_t shape[AG_MAX_DIMS], to[AG_MAX_DIMS], from[AG_MAX_DIMS];
} copy_dims;

/* Leaves dimensions of one element out and joins neighbours that both sides step through evenly. */
static void copy_add(copy_dims *d, int64_t size, int64_t to, int64_t from)
{
    const int last = d->n - 1;
    if (size == 1)
        return;
    if (last >= 0 && d->to[last] == to * size && d->from[last] == from * size) {
        d->shape[last] *= size;
        d->to[last] = to;
        d->from[last] = from;
        return;
    }
    d->shape[d->n] = size;
    d->to[d->n] = to;
    d->from[d->n++] = from;
}

/* Makes the dimension along which the source is dense the last but one, unless it is the last:
 * these two are a plane that is copied by tiles. */
static bool copy_transposed(copy_dims *d)
{
    const int last = d->n - 1;
    int dense = -1;
    for (int i = 0; i < last && d->from[last] != 1 && d->from[last] != 0; i++)
        dense = d->from[i] == 1 ? i : dense;
    for (int i = dense; dense >= 0 && i < last - 1; i++) {
        const int64_t size = d->shape[i], to = d->to[i], from = d->from[i];
        d->shape[i] = d->shape[i + 1], d->to[i] = d->to[i + 1], d->from[i] = d->from[i + 1];
        d->shape[i + 1] = size, d->to[i + 1] = to, d->from[i + 1] = from;
    }
    return dense >= 0;
}

/* A copy; a block of it takes `step` of dimension `cut`. */
typedef struct {
    copy_dims dims;
    ag_dtype to, from;
    char *dst;
    const char *src;
    bool planes; /* the last two dimensions are copied by tiles */
    int cut;
    int64_t step;
} copy_job;

/* Walks all dimensions but those of a row, or of a plane, with a counter. */
static void copy_walk(const copy_job *j, const copy_dims *w, char *d, const char *s)
{
    const int last = w->n - 1;
    const int64_t dsize = (int64_t)ag__itemsize(j->to), ssize = (int64_t)ag__itemsize(j->from);
    int64_t index[AG_MAX_DIMS] = { 0 };
    for (;;) {
        if (j->planes)
            ag__copy_plane((size_t)dsize, d, w->to[last - 1], w->to[last], s, w->from[last],
                           w->shape[last - 1], w->shape[last]);
        else
            ag__convert(j->to, d, w->n ? w->to[last] : 1, j->from, s, w->n ? w->from[last] : 1,
                        w->n ? w->shape[last] : 1);
        int i = last - (j->planes ? 2 : 1);
        for (; i >= 0; i--) {
            d += w->to[i] * dsize;
            s += w->from[i] * ssize;
            if (++index[i] < w->shape[i])
                break;
            d -= w->shape[i] * w->to[i] * dsize;
            s -= w->shape[i] * w->from[i] * ssize;
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

static void copy_block(void *arg, int64_t block, int worker)
{
    const copy_job *j = arg;
    const int64_t first = block * j->step, left = j->dims.shape[j->cut] - first;
    copy_dims w = j->dims;
    (void)worker;
    w.shape[j->cut] = left < j->step ? left : j->step;
    copy_walk(j, &w, j->dst + first * w.to[j->cut] * (int64_t)ag__itemsize(j->to),
              j->src + first * w.from[j->cut] * (int64_t)ag__itemsize(j->from));
}

/* Cuts the longest dimension into blocks of about COPY_PART elements and of whole tiles. */
static void copy_in_blocks(ag_context *c, copy_job *j, int64_t total)
{
    for (int i = 1; i < j->dims.n; i++)
        if (j->dims.shape[i] > j->dims.shape[j->cut])
            j->cut = i;
    const int64_t size = j->dims.shape[j->cut], others = total / size;
    j->step =
        others < COPY_PART / COPY_TILE ? COPY_PART / others / COPY_TILE * COPY_TILE : COPY_TILE;
    ag__parallel(c, (size + j->step - 1) / j->step, copy_block, j);
}

/* No byte can belong to both: then it does not matter what is copied first. */
static bool copy_apart(const ag_tensor *a, const ag_tensor *b)
{
    const uintptr_t pa = (uintptr_t)a->storage->data, pb = (uintptr_t)b->storage->data;
    return pa + a->storage->bytes <= pb || pb + b->storage->bytes <= pa;
}

void ag__copy_data(ag_tensor *dst, const ag_tensor *src)
{
    const ag_dtype dd = (ag_dtype)dst->dtype, sd = (ag_dtype)src->dtype;
    if (dst->numel == 0)
        return;
    const bool cuts = dst->numel > COPY_PART && copy_apart(dst, src);
    if (!cuts && dd == sd && dst->numel == src->numel && ag__is_contiguous(dst) &&
        ag__is_contiguous(src)) {
        memmove(ag__at(dst), ag__at(src), (size_t)dst->numel * ag__itemsize(dd));
        return;
    }
    copy_job j = { .to = dd, .from = sd, .dst = ag__at(dst), .src = ag__at(src) };
    const int lead = dst->ndim - src->ndim;
    for (int i = 0; i < dst->ndim; i++) {
        const int k = i - lead;
        copy_add(&j.dims, dst->dims[i], dst->dims[dst->ndim + i],
                 k < 0 || src->dims[k] == 1 ? 0 : src->dims[src->ndim + k]);
    }
    j.planes = dd == sd && copy_transposed(&j.dims);
    if (cuts)
        copy_in_blocks(dst->c, &j, dst->numel);
    else
        copy_walk(&j, &j.dims, j.dst, j.src);
}

ag_tensor *ag__contiguous_copy(const ag_tensor *t, ag_dtype dtype)
{
    if (AG_UNLIKELY(ag__is_symbolic(t)) && !ag__has_data("a function that reads values", t))
        return NULL;
    ag_tensor *copy = ag__tensor_new(t->c, dtype, t->ndim, t->dims);
    if (copy)
        ag__copy_data(copy, t);
    return copy;
}

ag_tensor *ag__ready(ag_tensor *t, ag_dtype dtype)
{
    return (ag_dtype)t->dtype == dtype && !ag__is_symbolic(t) && ag__is_contiguous(t)
               ? ag__tensor_ref(t)
               : ag__contiguous_copy(t, dtype);
}

ag_tensor *ag__spread(ag_tensor *t, ag_dtype dtype, ag_ints shape)
{
    if (ag__same_shape(ag__sizes(t), shape))
        return ag__ready(t, dtype);
    ag_tensor *all = ag__tensor_new(t->c, dtype, shape.n, shape.data);
    if (all)
        ag__copy_data(all, t);
    return all;
}

ag_tensor *ag__computed_in(ag_tensor *t, ag_dtype dtype)
{
    return (ag_dtype)t->dtype == dtype ? ag__tensor_ref(t)
                                       : ag__tensor_new(t->c, dtype, t->ndim, t->dims);
}
