/*
 * Reading by index, and its transposes.
 *
 * index_select and embedding copy whole slices, gather single elements. Their adjoints are the
 * internal rows index_add_zeros and scatter_add_zeros, which add into zeros of a given shape; and
 * the adjoints of those are index_select and gather again, so all of it is differentiable to any
 * order. Additions happen in the order of the index: results do not vary.
 *
 * Every index is checked before the first element is written.
 */
#include "op.h"

#include <string.h>

extern const ag__op ag__op_index_add_zeros, ag__op_scatter_add_zeros;

/* ---- what the rows share ---- */

static bool index_check_dtype(const ag__call *call, const ag_tensor *index)
{
    return index->dtype == AG_I64 || index->dtype == AG_I32 ||
           ag_fail(call->c, AG_ERR_DTYPE, "ag_%s: Expected dtype int32 or int64 for index, got %s",
                   call->op->name, ag_dtype_name((ag_dtype)index->dtype));
}

/* The index as contiguous i64 with a reference for the caller, all of it in [0, size). */
static ag_tensor *index_ready(const ag__call *call, ag_tensor *index, int dim, int64_t size)
{
    ag_tensor *t = ag__ready(index, AG_I64);
    if (!t)
        return NULL;
    const int64_t *at = (const int64_t *)(const void *)ag__at(t);
    for (int64_t i = 0; i < t->numel; i++) {
        if (at[i] >= 0 && at[i] < size)
            continue;
        ag__fail(call->c, AG_ERR_INDEX,
                 "ag_%s: index %lld is out of bounds for dimension %d with size %lld",
                 call->op->name, (long long)at[i], dim, (long long)size);
        ag__tensor_unref(t);
        return NULL;
    }
    return t;
}

/* The shape that an adjoint makes zeros of. */
static ag_ints index_target(const ag__attrs *attrs) { return (ag_ints){ attrs->list, attrs->n }; }

static ag__attrs index_attrs(int dim, ag_ints shape)
{
    ag__attrs attrs = { .i = { dim }, .n = shape.n };
    for (int i = 0; i < shape.n; i++)
        attrs.list[i] = shape.data[i];
    return attrs;
}

/* What an adjoint adds in: half types in f32, so that sums are rounded once. */
static ag_tensor *index_sum_buffer(ag_tensor *out)
{
    const bool half = out->dtype == AG_F16 || out->dtype == AG_BF16;
    ag_tensor *t = ag__computed_in(out, half ? AG_F32 : (ag_dtype)out->dtype);
    if (t && t->numel)
        memset(ag__at(t), 0, (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype));
    return t;
}

static int64_t index_size(ag_ints shape, int dim) { return shape.n ? shape.data[dim] : 1; }

/* The number of elements in one step of `dim`, and of steps around it. */
static int64_t index_inner(ag_ints shape, int dim)
{
    return shape.n ? ag__shape_numel((ag_ints){ shape.data + dim + 1, shape.n - dim - 1 }) : 1;
}

static int64_t index_outer(ag_ints shape, int dim)
{
    return ag__shape_numel((ag_ints){ shape.data, shape.n ? dim : 0 });
}

/* ---- slices: index_select, embedding, index_add_zeros ---- */

/* y[o, i, :] = x[o, index[i], :] for x of `shape`. */
static bool index_copy_slices(const ag__call *call, ag_tensor *x, ag_tensor *index, int dim,
                              ag_tensor *y)
{
    const ag_ints shape = ag__sizes(x);
    const int64_t size = index_size(shape, dim), outer = index_outer(shape, dim);
    ag_tensor *at = index_ready(call, index, dim, size);
    ag_tensor *from = at ? ag__ready(x, (ag_dtype)x->dtype) : NULL;
    const bool ok = from != NULL;
    const int64_t bytes = index_inner(shape, dim) * (int64_t)ag__itemsize((ag_dtype)x->dtype);
    if (ok && bytes > 0) {
        const int64_t *i = (const int64_t *)(const void *)ag__at(at);
        char *to = ag__at(y);
        for (int64_t o = 0; o < outer; o++)
            for (int64_t k = 0; k < at->numel; k++, to += bytes)
                memcpy(to, ag__at(from) + (o * size + i[k]) * bytes, (size_t)bytes);
    }
    ag__tensor_unref(at);
    ag__tensor_unref(from);
    return ok;
}

static void index_add_f32(float *y, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void index_add_f64(double *y, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += x[i];
}

static void index_add(ag_dtype d, char *y, const char *x, int64_t n)
{
    if (d == AG_F32)
        index_add_f32((float *)(void *)y, (const float *)(const void *)x, n);
    else
        index_add_f64((double *)(void *)y, (const double *)(const void *)x, n);
}

/* An index may be a vector or, as in PyTorch, a 0-dim tensor: one element. */
static bool index_check_vector(const ag__call *call, const ag_tensor *index)
{
    ag__shape_text text;
    if (index->ndim > 1)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_%s: Index is supposed to be a vector, got one of shape %s",
                       call->op->name, ag__shape_string(&text, ag__sizes(index)));
    return index_check_dtype(call, index);
}

static bool index_select_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *index = call->in[1];
    if (!index_check_vector(call, index))
        return false;
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    if (x->ndim == 0)
        return index->numel == 1 ||
               ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_index_select: Index to scalar can have only 1 value, got %lld value(s)",
                       (long long)index->numel);
    out->shape[call->attrs->i[0]] = index->numel;
    return ag__check_shape(call->c, "ag_index_select", (ag_ints){ out->shape, out->ndim },
                           out->dtype);
}

static bool index_select_kernel(const ag__call *call, ag_tensor *const *out)
{
    return index_copy_slices(call, call->in[0], call->in[1], (int)call->attrs->i[0], out[0]);
}

static unsigned index_needs(unsigned wanted) { return wanted & 1 ? 2u : 0; }

static bool index_select_vjp(ag__rule *r)
{
    const ag__attrs attrs = index_attrs((int)r->attrs->i[0], ag__in_shape(r, 0));
    r->out[0] = ag__binary(&ag__op_index_add_zeros, r->g[0], ag__in(r, 1), &attrs);
    return r->out[0] != NULL;
}

const ag__op ag__op_index_select = { .name = "index_select",
                                     .node_name = "IndexSelectBackward0",
                                     .operands = (const char *const[]){ "self", "index" },
                                     .kind = AG_KIND_LINEAR,
                                     .n_in = 2,
                                     .n_out = 1,
                                     .takes_attrs = true,
                                     .infer = index_select_infer,
                                     .kernel = index_select_kernel,
                                     .needs = index_needs,
                                     .vjp = index_select_vjp };

ag_tensor *ag_index_select(ag_tensor *x, int dim, ag_tensor *index)
{
    const int d = x ? ag__dim(x->c, "ag_index_select", dim, x->ndim) : -1;
    return d < 0 ? NULL : ag__binary(&ag__op_index_select, x, index, &(ag__attrs){ .i = { d } });
}

static bool index_add_zeros_infer(const ag__call *call, ag__geometry *out)
{
    ag__geometry_set(out, (ag_dtype)call->in[0]->dtype, index_target(call->attrs));
    if (!ag__is_float(out->dtype))
        return ag_fail(call->c, AG_ERR_DTYPE, "ag_%s: values must be floating point",
                       call->op->name);
    return index_check_dtype(call, call->in[1]);
}

static bool index_add_zeros_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = (int)call->attrs->i[0];
    const ag_ints shape = ag__sizes(out[0]);
    const int64_t size = index_size(shape, dim), inner = index_inner(shape, dim);
    const int64_t outer = index_outer(shape, dim);
    ag_tensor *at = index_ready(call, call->in[1], dim, size);
    ag_tensor *y = at ? index_sum_buffer(out[0]) : NULL;
    ag_tensor *x = y ? ag__ready(call->in[0], (ag_dtype)y->dtype) : NULL;
    const bool ok = x != NULL;
    if (ok && inner > 0) {
        const int64_t *i = (const int64_t *)(const void *)ag__at(at);
        const int64_t bytes = inner * (int64_t)ag__itemsize((ag_dtype)y->dtype);
        const char *from = ag__at(x);
        for (int64_t o = 0; o < outer; o++)
            for (int64_t k = 0; k < at->numel; k++, from += bytes)
                index_add((ag_dtype)y->dtype, ag__at(y) + (o * size + i[k]) * bytes, from, inner);
    }
    if (ok && y != out[0])
        ag__copy_data(out[0], y);
    ag__tensor_unref(at);
    ag__tensor_unref(y);
    ag__tensor_unref(x);
    return ok;
}

static bool index_add_zeros_vjp(ag__rule *r)
{
    r->out[0] = ag_index_select(r->g[0], (int)r->attrs->i[0], ag__in(r, 1));
    return r->out[0] != NULL;
}

const ag__op ag__op_index_add_zeros = { .name = "index_add_zeros",
                                        .node_name = "IndexAddBackward0",
                                        .kind = AG_KIND_LINEAR,
                                        .n_in = 2,
                                        .n_out = 1,
                                        .takes_attrs = true,
                                        .infer = index_add_zeros_infer,
                                        .kernel = index_add_zeros_kernel,
                                        .needs = index_needs,
                                        .vjp = index_add_zeros_vjp };

/* ---- embedding ---- */

static bool embedding_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *w = call->in[0], *index = call->in[1];
    ag__shape_text text;
    if (w->ndim != 2)
        return ag_fail(call->c, AG_ERR_SHAPE, "ag_embedding: 'weight' must be 2-D, got shape %s",
                       ag__shape_string(&text, ag__sizes(w)));
    if (!index_check_dtype(call, index))
        return false;
    if (index->ndim == AG_MAX_DIMS)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_embedding: the result would have %d dimensions; "
                       "tensors have 0 to %d",
                       index->ndim + 1, AG_MAX_DIMS);
    ag__geometry_set(out, (ag_dtype)w->dtype, ag__sizes(index));
    out->shape[out->ndim++] = w->dims[1];
    return ag__check_shape(call->c, "ag_embedding", (ag_ints){ out->shape, out->ndim }, out->dtype);
}

static bool embedding_kernel(const ag__call *call, ag_tensor *const *out)
{
    return index_copy_slices(call, call->in[0], call->in[1], 0, out[0]);
}

static bool embedding_vjp(ag__rule *r)
{
    ag_tensor *index = ag__in(r, 1);
    const ag_ints shape = ag__in_shape(r, 0);
    ag_tensor *rows = ag_reshape(r->g[0], AG_SHAPE(index->numel, shape.data[1]));
    const ag__attrs attrs = index_attrs(0, shape);
    r->out[0] = ag__binary(&ag__op_index_add_zeros, rows, ag_reshape(index, AG_SHAPE(index->numel)),
                           &attrs);
    return r->out[0] != NULL;
}

const ag__op ag__op_embedding = { .name = "embedding",
                                  .node_name = "EmbeddingBackward0",
                                  .operands = (const char *const[]){ "weight", "indices" },
                                  .kind = AG_KIND_LINEAR,
                                  .n_in = 2,
                                  .n_out = 1,
                                  .infer = embedding_infer,
                                  .kernel = embedding_kernel,
                                  .needs = index_needs,
                                  .vjp = embedding_vjp };

ag_tensor *ag_embedding(ag_tensor *weight, ag_tensor *index)
{
    return ag__binary(&ag__op_embedding, weight, index, NULL);
}

/* ---- elements: gather, scatter_add_zeros ---- */

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

/* The index fits `shape`, the indexed one: as many dimensions, and no larger in those not indexed.
 * A 0-dim tensor counts as one of one element. */
static bool gather_check(const ag__call *call, const ag_tensor *index, ag_ints shape, int dim)
{
    ag__shape_text a, b;
    if (!index_check_dtype(call, index))
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
    return gather_check(call, index, ag__sizes(x), (int)call->attrs->i[0]) &&
           ag__check_shape(call->c, "ag_gather", ag__sizes(index), out->dtype);
}

static bool gather_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = (int)call->attrs->i[0];
    ag_tensor *x = call->in[0];
    ag_tensor *at = index_ready(call, call->in[1], dim, index_size(ag__sizes(x), dim));
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

static bool gather_vjp(ag__rule *r)
{
    const ag__attrs attrs = index_attrs((int)r->attrs->i[0], ag__in_shape(r, 0));
    r->out[0] = ag__binary(&ag__op_scatter_add_zeros, r->g[0], ag__in(r, 1), &attrs);
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
                               .needs = index_needs,
                               .vjp = gather_vjp };

ag_tensor *ag_gather(ag_tensor *x, int dim, ag_tensor *index)
{
    const int d = x ? ag__dim(x->c, "ag_gather", dim, x->ndim) : -1;
    return d < 0 ? NULL : ag__binary(&ag__op_gather, x, index, &(ag__attrs){ .i = { d } });
}

static bool scatter_add_zeros_infer(const ag__call *call, ag__geometry *out)
{
    return index_add_zeros_infer(call, out) &&
           gather_check(call, call->in[1], index_target(call->attrs), (int)call->attrs->i[0]);
}

static bool scatter_add_zeros_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = (int)call->attrs->i[0];
    const ag_ints shape = ag__sizes(out[0]);
    ag_tensor *at = index_ready(call, call->in[1], dim, index_size(shape, dim));
    ag_tensor *y = at ? index_sum_buffer(out[0]) : NULL;
    ag_tensor *x = y ? ag__ready(call->in[0], (ag_dtype)y->dtype) : NULL;
    const bool ok = x != NULL;
    if (ok) {
        const ag_dtype d = (ag_dtype)y->dtype;
        const int64_t *i = (const int64_t *)(const void *)ag__at(at);
        const int64_t size = (int64_t)ag__itemsize(d);
        index_walk w = index_walk_begin(at, shape, dim);
        for (int64_t k = 0; k < at->numel; k++, index_walk_next(&w))
            index_add(d, ag__at(y) + (w.base + i[k] * w.strides[dim]) * size, ag__at(x) + k * size,
                      1);
        if (y != out[0])
            ag__copy_data(out[0], y);
    }
    ag__tensor_unref(at);
    ag__tensor_unref(y);
    ag__tensor_unref(x);
    return ok;
}

static bool scatter_add_zeros_vjp(ag__rule *r)
{
    r->out[0] = ag_gather(r->g[0], (int)r->attrs->i[0], ag__in(r, 1));
    return r->out[0] != NULL;
}

const ag__op ag__op_scatter_add_zeros = {
    .name = "scatter_add_zeros",
    .node_name = "ScatterAddBackward0",
    .kind = AG_KIND_LINEAR,
    .n_in = 2,
    .n_out = 1,
    .takes_attrs = true,
    .infer = scatter_add_zeros_infer,
    .kernel = scatter_add_zeros_kernel,
    .needs = index_needs,
    .vjp = scatter_add_zeros_vjp,
};

/* ---- one_hot: i[0] is the number of classes, -1: one more than the largest index ---- */

/* The number of classes; -1 with an error when an index is none. */
static int64_t one_hot_classes(const ag__call *call, ag_tensor *index)
{
    int64_t classes = call->attrs->i[0], top = -1;
    ag_tensor *flat = ag__ready(index, AG_I64);
    if (!flat)
        return -1;
    const int64_t *at = (const int64_t *)(const void *)ag__at(flat);
    int64_t low = 0;
    for (int64_t k = 0; k < flat->numel; k++) {
        low = at[k] < low ? at[k] : low;
        top = at[k] > top ? at[k] : top;
    }
    ag__tensor_unref(flat);
    if (low < 0) {
        ag__fail(call->c, AG_ERR_INDEX,
                 "ag_one_hot: Class values must be non-negative; there is %lld", (long long)low);
        return -1;
    }
    if (classes != -1 && top >= classes) {
        ag__fail(
            call->c, AG_ERR_INDEX,
            "ag_one_hot: Class values must be smaller than num_classes; %lld is not smaller than "
            "%lld",
            (long long)top, (long long)classes);
        return -1;
    }
    return classes == -1 ? top + 1 : classes;
}

static bool one_hot_infer(const ag__call *call, ag__geometry *out)
{
    ag_tensor *index = call->in[0];
    if (!index_check_dtype(call, index))
        return false;
    if (index->numel == 0 && call->attrs->i[0] <= 0)
        return ag_fail(call->c, AG_ERR_VALUE,
                       "ag_one_hot: Can not infer total number of classes from empty tensor.");
    const int64_t classes = one_hot_classes(call, index);
    if (classes < 0)
        return false;
    if (index->ndim == AG_MAX_DIMS)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_one_hot: the result would have %d dimensions; tensors "
                       "have 0 to %d",
                       index->ndim + 1, AG_MAX_DIMS);
    ag__geometry_set(out, AG_I64, ag__sizes(index));
    out->shape[out->ndim++] = classes;
    return ag__check_shape(call->c, "ag_one_hot", (ag_ints){ out->shape, out->ndim }, AG_I64);
}

static bool one_hot_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int64_t classes = out[0]->dims[out[0]->ndim - 1];
    ag_tensor *index = index_ready(call, call->in[0], 0, classes);
    if (!index)
        return false;
    const int64_t *at = (const int64_t *)(const void *)ag__at(index);
    int64_t *y = (int64_t *)(void *)ag__at(out[0]);
    memset(y, 0, (size_t)out[0]->numel * sizeof *y);
    for (int64_t k = 0; k < index->numel; k++)
        y[k * classes + at[k]] = 1;
    ag__tensor_unref(index);
    return true;
}

const ag__op ag__op_one_hot = { .name = "one_hot",
                                .kind = AG_KIND_NODIFF,
                                .n_in = 1,
                                .n_out = 1,
                                .takes_attrs = true,
                                .infer = one_hot_infer,
                                .kernel = one_hot_kernel };

ag_tensor *ag_one_hot(ag_tensor *index, int64_t classes)
{
    return ag__unary(&ag__op_one_hot, index, &(ag__attrs){ .i = { classes } });
}

/* ---- masked_fill ---- */

static bool masked_fill_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *mask = call->in[1], *value = call->in[2];
    if (mask->dtype != AG_BOOL)
        return ag_fail(
            call->c, AG_ERR_DTYPE,
            "ag_masked_fill: masked_fill only supports boolean masks, but got mask with dtype "
            "%s",
            ag_dtype_name((ag_dtype)mask->dtype));
    if (value->ndim != 0)
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_masked_fill: masked_fill only supports a 0-dimensional value tensor, but got "
            "tensor with %d dimension(s).",
            value->ndim);
    out->dtype = (ag_dtype)x->dtype;
    return ag__broadcast(call->c, "masked_fill", ag__sizes(x), ag__sizes(mask), out) &&
           ag__check_shape(call->c, "ag_masked_fill", (ag_ints){ out->shape, out->ndim },
                           out->dtype);
}

static bool masked_fill_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag_tensor *mask = call->in[1], *y = out[0];
    const ag_tensor *value = call->in[2];
    const ag_dtype d = (ag_dtype)y->dtype;
    const size_t size = ag__itemsize(d);
    char element[16];
    if (ag__same_shape(ag__sizes(mask), ag__sizes(y)) && ag__is_contiguous(mask)) {
        ag__tensor_ref(mask);
    } else {
        mask = ag__tensor_new(call->c, AG_BOOL, y->ndim, y->dims);
        if (!mask)
            return false;
        ag__copy_data(mask, call->in[1]);
    }
    ag__convert(d, element, 1, (ag_dtype)value->dtype, ag__at(value), 1, 1);
    ag__copy_data(y, call->in[0]);
    const char *on = ag__at(mask);
    char *to = ag__at(y);
    for (int64_t k = 0; k < y->numel; k++, to += size)
        if (on[k])
            memcpy(to, element, size);
    ag__tensor_unref(mask);
    return true;
}

static unsigned masked_fill_needs(unsigned wanted) { return wanted & 5 ? 2u : 0; }

static bool masked_fill_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0], *mask = ag__in(r, 1);
    if (ag__wants(r, 0)) {
        ag_tensor *kept = (ag_masked_fill)(g, mask, ag__number(g, 0));
        if (!kept || !(r->out[0] = ag__sum_to(kept, ag__in_shape(r, 0))))
            return false;
    }
    if (ag__wants(r, 2)) {
        ag_tensor *filled = (ag_where)(mask, g, ag__number(g, 0));
        r->out[2] = filled ? (ag_sum)(filled, NULL) : NULL;
        return r->out[2] != NULL;
    }
    return true;
}

const ag__op ag__op_masked_fill = { .name = "masked_fill",
                                    .node_name = "MaskedFillBackward1",
                                    .operands = (const char *const[]){ "self", "mask", "value" },
                                    .kind = AG_KIND_GENERAL,
                                    .n_in = 3,
                                    .n_out = 1,
                                    .infer = masked_fill_infer,
                                    .kernel = masked_fill_kernel,
                                    .needs = masked_fill_needs,
                                    .vjp = masked_fill_vjp };

ag_tensor *(ag_masked_fill)(ag_tensor *x, ag_tensor *mask, ag_tensor *value)
{
    return ag__run1(&ag__op_masked_fill, (ag_tensor *[]){ x, mask, value }, 3, NULL);
}
