/*
 * Elements by index: gather reads them, scatter and scatter_add write them. The index has the rank of
 * the tensor it points into; an element of it replaces one coordinate of its own place.
 *
 * Reading is the adjoint of adding and adding that of reading. Writing is neither: where several
 * elements are written to one place, the last of them in the order of the index stays, and it alone
 * has a gradient.
 */
#include "index.h"

#include <string.h>

#include "../kernels/accumulate.h"
#include "compose.h"
#include "inplace.h"

/* ---- the walk ---- */

typedef struct {
    int ndim, dim;
    const int64_t *shape;         /* of the index */
    int64_t strides[AG_MAX_DIMS]; /* of a contiguous tensor of the indexed shape */
    int64_t position[AG_MAX_DIMS];
    int64_t base; /* offset of the position, `dim` left out */
} index_walk;

static index_walk index_walk_begin(const ag_tensor *index, ag_ints indexed, int dim)
{
    index_walk w = { .ndim = index->ndim, .dim = dim, .shape = index->dims };
    int64_t stride = 1;
    for (int i = indexed.n - 1; i >= 0; i--) {
        w.strides[i] = stride;
        stride *= indexed.data[i];
    }
    if (indexed.n == 0)
        w.strides[0] = 1;
    return w;
}

static void index_walk_next(index_walk *w)
{
    for (int i = w->ndim - 1; i >= 0; i--) {
        const int64_t stride = i == w->dim ? 0 : w->strides[i];
        w->base += stride;
        if (++w->position[i] < w->shape[i])
            return;
        w->base -= stride * w->shape[i];
        w->position[i] = 0;
    }
}

extern const ag__op ag__op_scatter_add;

/* ---- gather ---- */

/* The index fits `shape`, the indexed one: as many dimensions, and no larger in those not indexed.
 * A 0-dim tensor counts as one of one element. */
static bool gather_check(const ag__call *call, const ag_tensor *index, ag_ints shape, int dim)
{
    ag__shape_text a, b;
    if (!ag__index_check_dtype(call, index))
        return false;
    const int n = index->ndim ? index->ndim : 1;
    if (n != (shape.n ? shape.n : 1))
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_%s: Index tensor must have the same number of dimensions as input tensor; the "
            "shapes are %s and %s",
            call->op->name, ag__shape_string(&a, ag__sizes(index)), ag__shape_string(&b, shape));
    for (int i = 0; i < index->ndim && i < shape.n; i++)
        if (i != dim && index->dims[i] > shape.data[i])
            return ag_fail(
                call->c, AG_ERR_SHAPE,
                "ag_%s: Size does not match at dimension %d expected index %s to be no larger "
                "than self %s apart from dimension %d",
                call->op->name, i, ag__shape_string(&a, ag__sizes(index)),
                ag__shape_string(&b, shape), dim);
    return true;
}

static bool gather_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *index = call->in[1];
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(index));
    return ag__attrs_dim(call, x->ndim) &&
           gather_check(call, index, ag__sizes(x), (int)call->attrs->i[0]) &&
           ag__check_shape(call->c, "ag_gather", ag__sizes(index), out->dtype);
}

static unsigned gather_needs(unsigned wanted) { return wanted & 1 ? 2u : 0; }

static bool gather_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = (int)call->attrs->i[0];
    ag_tensor *x = call->in[0];
    ag_tensor *at = ag__index_ready(call, call->in[1], dim, ag__index_size(ag__sizes(x), dim));
    ag_tensor *from = at ? ag__ready(x, (ag_dtype)x->dtype) : NULL;
    const bool ok = from != NULL;
    if (ok) {
        const size_t size = ag__itemsize((ag_dtype)x->dtype);
        const int64_t *i = (const int64_t *)(const void *)ag__at(at);
        const char *data = ag__at(from);
        char *to = ag__at(out[0]);
        index_walk w = index_walk_begin(at, ag__sizes(x), dim);
        for (int64_t k = 0; k < at->numel; k++, index_walk_next(&w))
            memcpy(to + (size_t)k * size, data + (size_t)(w.base + i[k] * w.strides[dim]) * size,
                   size);
    }
    ag__tensor_unref(at);
    ag__tensor_unref(from);
    return ok;
}

ag_tensor *ag__scatter_add_zeros(ag_tensor *g, int dim, ag_tensor *index, ag_ints shape)
{
    ag_tensor *zeros = g ? ag__zeros_beside(g, shape) : NULL;
    return zeros ? ag__run1(&ag__op_scatter_add, (ag_tensor *[]){ zeros, index, g }, 3,
                            &(ag__attrs){ .i = { dim } })
                 : NULL;
}

static bool gather_vjp(ag__rule *r)
{
    r->out[0] =
        ag__scatter_add_zeros(r->g[0], (int)r->attrs->i[0], ag__in(r, 1), ag__in_shape(r, 0));
    return r->out[0] != NULL;
}

const ag__op ag__op_gather = { .name = "gather",
                               .node_name = "GatherBackward0",
                               .operands = (const char *const[]){ "self", "index" },
                               .kind = AG_KIND_LINEAR,
                               .n_in = 2,
                               .n_out = 1,
                               .takes_attrs = true,
                               .infer = gather_infer,
                               .kernel = gather_kernel,
                               .needs = gather_needs,
                               .vjp = gather_vjp };

ag_tensor *ag_gather(ag_tensor *x, int dim, ag_tensor *index)
{
    const int d = x ? ag__dim(x->c, "ag_gather", dim, x->ndim) : -1;
    return d < 0 ? NULL : ag__binary(&ag__op_gather, x, index, &(ag__attrs){ .i = { d } });
}

/* ---- scatter and scatter_add: operands x, index, src ---- */

static bool scatter_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *index = call->in[1], *src = call->in[2];
    const int dim = (int)call->attrs->i[0], n = x->ndim ? x->ndim : 1;
    ag__shape_text a, b, c;
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    if (!ag__index_check_dtype(call, index) || !ag__attrs_dim(call, x->ndim))
        return false;
    if (x->dtype != src->dtype)
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_%s: Expected self.dtype to be equal to src.dtype; they are %s and %s",
                       call->op->name, ag_dtype_name((ag_dtype)x->dtype),
                       ag_dtype_name((ag_dtype)src->dtype));
    if (index->numel == 0)
        return true;
    const char *other = (index->ndim ? index->ndim : 1) != n ? "self"
                        : (src->ndim ? src->ndim : 1) != n   ? "src"
                                                             : NULL;
    if (other)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_%s: Index tensor must have the same number of dimensions as %s tensor; "
                       "the shapes are %s and %s",
                       call->op->name, other, ag__shape_string(&a, ag__sizes(index)),
                       ag__shape_string(&b, ag__sizes(*other == 's' && other[1] == 'e' ? x : src)));
    bool fits = true;
    for (int i = 0; i < n && fits; i++) {
        const int64_t size = ag__index_size(ag__sizes(index), i);
        fits = (i == dim || size <= ag__index_size(ag__sizes(x), i)) &&
               size <= ag__index_size(ag__sizes(src), i);
    }
    return fits ||
           ag_fail(call->c, AG_ERR_SHAPE,
                   "ag_%s: Expected index %s to be no larger than self %s apart from dimension %d "
                   "and to be no larger size than src %s",
                   call->op->name, ag__shape_string(&a, ag__sizes(index)),
                   ag__shape_string(&b, ag__sizes(x)), dim, ag__shape_string(&c, ag__sizes(src)));
}

static bool scatter_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = (int)call->attrs->i[0];
    const ag_ints shape = ag__sizes(out[0]);
    ag_tensor *at = ag__index_ready(call, call->in[1], dim, ag__index_size(shape, dim));
    ag_tensor *src = at ? ag__ready(call->in[2], (ag_dtype)out[0]->dtype) : NULL;
    if (src) {
        const size_t size = ag__itemsize((ag_dtype)src->dtype);
        const int64_t *i = (const int64_t *)(const void *)ag__at(at);
        const char *from = ag__at(src);
        char *to = ag__at(out[0]);
        index_walk w = index_walk_begin(at, shape, dim);
        ag__copy_data(out[0], call->in[0]);
        for (int64_t k = 0; k < at->numel; k++, index_walk_next(&w))
            memcpy(to + (size_t)(w.base + i[k] * w.strides[dim]) * size, from + (size_t)k * size,
                   size);
    }
    const bool ok = src != NULL;
    ag__tensor_unref(at);
    ag__tensor_unref(src);
    return ok;
}

static bool scatter_add_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = (int)call->attrs->i[0];
    const ag_ints shape = ag__sizes(out[0]);
    ag_tensor *at = ag__index_ready(call, call->in[1], dim, ag__index_size(shape, dim));
    ag_tensor *y = at ? ag__sum_begin(out[0], call->in[0]) : NULL;
    ag_tensor *src = y ? ag__ready(call->in[2], (ag_dtype)y->dtype) : NULL;
    if (src) {
        const ag_dtype d = (ag_dtype)y->dtype;
        const int64_t *i = (const int64_t *)(const void *)ag__at(at);
        const int64_t size = (int64_t)ag__itemsize(d);
        index_walk w = index_walk_begin(at, shape, dim);
        for (int64_t k = 0; k < at->numel; k++, index_walk_next(&w))
            ag__accumulate(d, ag__at(y) + (w.base + i[k] * w.strides[dim]) * size, 1,
                           ag__at(src) + k * size, 1);
    }
    const bool ok = src != NULL;
    ag__tensor_unref(at);
    ag__tensor_unref(src);
    ag__sum_end(out[0], y);
    return ok;
}

static unsigned scatter_needs(unsigned wanted) { return wanted & 5 ? 2u : 0; }
static unsigned scatter_add_needs(unsigned wanted) { return wanted & 4 ? 2u : 0; }

/* The gradient of src; with `last` of those elements only that stayed. */
static bool scatter_vjp_src(ag__rule *r, bool last)
{
    ag_tensor *g = r->g[0], *index = ag__in(r, 1);
    const int dim = (int)r->attrs->i[0];
    if (index->numel == 0) { /* and may have any shape */
        r->out[2] = ag__zeros_beside(g, ag__in_shape(r, 2));
        return r->out[2] != NULL;
    }
    ag_tensor *read = ag_gather(g, dim, index);
    if (read && last) {
        ag_tensor *stays = ag__scatter_last(index, dim, ag__sizes(g));
        read = stays ? (ag_where)(stays, read, ag__number(g, 0)) : NULL;
    }
    r->out[2] = read ? ag_reshape(read, ag__in_shape(r, 2)) : NULL;
    return r->out[2] != NULL;
}

static bool scatter_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0], *index = ag__in(r, 1);
    if (ag__wants(r, 0)) {
        ag_tensor *zeros = ag__zeros_beside(g, ag__sizes(index));
        if (!zeros || !(r->out[0] = ag_scatter(g, (int)r->attrs->i[0], index, zeros)))
            return false;
    }
    return !ag__wants(r, 2) || scatter_vjp_src(r, true);
}

static bool scatter_add_vjp(ag__rule *r)
{
    if (ag__wants(r, 0))
        r->out[0] = r->g[0];
    return !ag__wants(r, 2) || scatter_vjp_src(r, false);
}

const ag__op ag__op_scatter = { .name = "scatter",
                                .node_name = "ScatterBackward0",
                                .operands = (const char *const[]){ "self", "index", "src" },
                                .kind = AG_KIND_LINEAR,
                                .n_in = 3,
                                .n_out = 1,
                                .takes_attrs = true,
                                .infer = scatter_infer,
                                .kernel = scatter_kernel,
                                .needs = scatter_needs,
                                .vjp = scatter_vjp };
const ag__op ag__op_scatter_add = { .name = "scatter_add",
                                    .node_name = "ScatterAddBackward0",
                                    .operands = (const char *const[]){ "self", "index", "src" },
                                    .kind = AG_KIND_LINEAR,
                                    .n_in = 3,
                                    .n_out = 1,
                                    .takes_attrs = true,
                                    .infer = scatter_infer,
                                    .kernel = scatter_add_kernel,
                                    .needs = scatter_add_needs,
                                    .vjp = scatter_add_vjp };

/* Only as much of src is read as there is index; a part of it becomes the operand then. */
static ag_tensor *scatter_part(ag_tensor *src, ag_tensor *index)
{
    if (!src || !index || index->numel == 0)
        return src;
    if (src->ndim == 1 && index->ndim == 0 && src->dims[0] != 1)
        return ag_slice(src, 0, 0, 1, 1);
    if (src->ndim != index->ndim)
        return src;
    if (src->numel < 0 || index->numel < 0)
        return ag__same_shape(ag__sizes(src), ag__sizes(index)) ? src : ag__cut_like(src, index);
    for (int i = 0; i < index->ndim && src; i++)
        if (src->dims[i] > index->dims[i])
            src = ag_slice(src, i, 0, index->dims[i], 1);
    return src;
}

static ag_tensor *scatter_call(const ag__op *op, const char *name, ag_tensor *x, int dim,
                               ag_tensor *index, ag_tensor *src)
{
    const int d = x ? ag__dim(x->c, name, dim, x->ndim) : -1;
    if (d < 0)
        return NULL;
    ag_scope s;
    ag__bracket_begin(&s, x->c);
    ag_tensor *part = scatter_part(src, index);
    ag_tensor *y = part || !src ? ag__run1(op, (ag_tensor *[]){ x, index, part }, 3,
                                           &(ag__attrs){ .i = { d } })
                                : NULL;
    return ag__compose_end(&s, y);
}

static ag_tensor *scatter_inplace(const ag__op *op, const char *name, ag_tensor *x, int dim,
                                  ag_tensor *index, ag_tensor *src)
{
    const int d = x ? ag__dim(x->c, name, dim, x->ndim) : -1;
    ag_scope s;
    if (d < 0 || !ag__inplace_open(&s, name, (ag_tensor *[]){ x, index, src }, 3))
        return NULL;
    ag_tensor *part = scatter_part(src, index);
    return ag__inplace_close(&s, name, x,
                             part ? ag__run1(op, (ag_tensor *[]){ x, index, part }, 3,
                                             &(ag__attrs){ .i = { d } })
                                  : NULL);
}

ag_tensor *ag_scatter(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src)
{
    return scatter_call(&ag__op_scatter, "ag_scatter", x, dim, index, src);
}

ag_tensor *ag_scatter_add(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src)
{
    return scatter_call(&ag__op_scatter_add, "ag_scatter_add", x, dim, index, src);
}

ag_tensor *ag_scatter_(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src)
{
    return scatter_inplace(&ag__op_scatter, "ag_scatter_", x, dim, index, src);
}

ag_tensor *ag_scatter_add_(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src)
{
    return scatter_inplace(&ag__op_scatter_add, "ag_scatter_add_", x, dim, index, src);
}

/* ---- scatter_last: i[0] is the dimension, the list the shape that is written into ---- */

static bool scatter_last_infer(const ag__call *call, ag__geometry *out)
{
    const ag_ints shape = { call->attrs->list, call->attrs->n };
    ag__geometry_set(out, AG_BOOL, ag__sizes(call->in[0]));
    return ag__attrs_dim(call, shape.n) && ag__check_shape(call->c, "ag_scatter", shape, AG_I64) &&
           gather_check(call, call->in[0], shape, (int)call->attrs->i[0]);
}

/* Each element leaves its number at its place; the last one finds its own there. Other places are
 * never looked at, so that they need no value. */
static bool scatter_last_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = (int)call->attrs->i[0];
    const ag_ints shape = { call->attrs->list, call->attrs->n };
    const size_t bytes = (size_t)ag__shape_numel(shape) * sizeof(int64_t);
    ag_tensor *at = ag__index_ready(call, call->in[0], dim, ag__index_size(shape, dim));
    int64_t *last = at ? ag__alloc(call->c, bytes) : NULL;
    if (last) {
        const int64_t *i = (const int64_t *)(const void *)ag__at(at);
        char *stays = ag__at(out[0]);
        index_walk w = index_walk_begin(at, shape, dim);
        for (int64_t k = 0; k < at->numel; k++, index_walk_next(&w))
            last[w.base + i[k] * w.strides[dim]] = k;
        w = index_walk_begin(at, shape, dim);
        for (int64_t k = 0; k < at->numel; k++, index_walk_next(&w))
            stays[k] = last[w.base + i[k] * w.strides[dim]] == k;
    }
    ag__free(call->c, last, bytes);
    ag__tensor_unref(at);
    return last != NULL;
}

const ag__op ag__op_scatter_last = { .name = "scatter_last",
                                     .kind = AG_KIND_NODIFF,
                                     .n_in = 1,
                                     .n_out = 1,
                                     .takes_attrs = true,
                                     .infer = scatter_last_infer,
                                     .kernel = scatter_last_kernel };

ag_tensor *ag__scatter_last(ag_tensor *index, int dim, ag_ints shape)
{
    ag__attrs a = { .i = { dim }, .n = shape.n };
    for (int i = 0; i < shape.n; i++)
        a.list[i] = shape.data[i];
    return ag__unary(&ag__op_scatter_last, index, &a);
}
