/*
 * Slices by index: index_select and embedding read them, index_add adds to them.
 *
 * The adjoint of reading is adding into zeros, and that of adding is reading: all of it is
 * differentiable to any order. Additions happen in the order of the index: results do not vary.
 *
 * Every index is checked before the first element is written.
 */
#include "index.h"

#include <string.h>

#include "../kernels/accumulate.h"
#include "inplace.h"

/* ---- what operations by index share ---- */

bool ag__index_check_dtype(const ag__call *call, const ag_tensor *index)
{
    return index->dtype == AG_I64 || index->dtype == AG_I32 ||
           ag_fail(call->c, AG_ERR_DTYPE, "ag_%s: Expected dtype int32 or int64 for index, got %s",
                   call->op->name, ag_dtype_name((ag_dtype)index->dtype));
}

ag_tensor *ag__index_ready(const ag__call *call, ag_tensor *index, int dim, int64_t size)
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

bool ag__index_same_dtype(const ag__call *call, const ag_tensor *x, const ag_tensor *src)
{
    return x->dtype == src->dtype ||
           ag_fail(call->c, AG_ERR_DTYPE,
                   "ag_%s: self (%s) and source (%s) must have the same scalar type",
                   call->op->name, ag_dtype_name((ag_dtype)x->dtype),
                   ag_dtype_name((ag_dtype)src->dtype));
}

/* ag__zeros_beside, or another tensor of one element repeated, whose bytes are 0. */
static bool index_is_zeros(const ag_tensor *x)
{
    static const char zero[16];
    for (int i = 0; i < x->ndim; i++)
        if (x->dims[x->ndim + i] != 0)
            return false;
    return x->numel > 0 && memcmp(ag__at(x), zero, ag__itemsize((ag_dtype)x->dtype)) == 0;
}

ag_tensor *ag__sum_begin(ag_tensor *out, const ag_tensor *x)
{
    ag_tensor *sum = ag__computed_in(out, ag__accumulate_dtype((ag_dtype)out->dtype));
    if (sum && index_is_zeros(x))
        memset(ag__at(sum), 0, (size_t)sum->numel * ag__itemsize((ag_dtype)sum->dtype));
    else if (sum)
        ag__copy_data(sum, x);
    return sum;
}

void ag__sum_end(ag_tensor *out, ag_tensor *sum)
{
    if (sum && sum != out)
        ag__copy_data(out, sum);
    ag__tensor_unref(sum);
}

ag_tensor *ag__zeros_beside(const ag_tensor *t, ag_ints shape)
{
    ag__geometry g = { .dtype = (ag_dtype)t->dtype };
    ag__geometry_set(&g, g.dtype, shape); /* all strides are 0 */
    ag_tensor *zero = ag__tensor_new(t->c, g.dtype, 0, NULL);
    if (zero)
        ag__store(g.dtype, ag__at(zero), 0, 0);
    if (zero && ag__is_symbolic(t)) {
        ag_tensor *symbol = ag__symbol_beside(t, zero);
        ag__tensor_unref(zero);
        return symbol ? ag_expand(symbol, shape) : NULL;
    }
    ag_tensor *zeros = zero ? ag__give(ag__tensor_window(zero, &g)) : NULL;
    ag__tensor_unref(zero);
    return zeros;
}

/* The number of elements in one step of `dim`, and of steps around it. */
static int64_t index_inner(ag_ints shape, int dim)
{
    return shape.n ? ag__shape_numel((ag_ints){ shape.data + dim + 1, shape.n - dim - 1 }) : 1;
}

static int64_t index_outer(ag_ints shape, int dim)
{
    return ag__shape_numel((ag_ints){ shape.data, shape.n ? dim : 0 });
}

/* ---- index_select ---- */

/* y[o, i, :] = x[o, index[i], :] for x of `shape`. */
static bool index_copy_slices(const ag__call *call, ag_tensor *x, ag_tensor *index, int dim,
                              ag_tensor *y)
{
    const ag_ints shape = ag__sizes(x);
    const int64_t size = ag__index_size(shape, dim), outer = index_outer(shape, dim);
    ag_tensor *at = ag__index_ready(call, index, dim, size);
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

/* An index may be a vector or, as in PyTorch, a 0-dim tensor: one element. */
static bool index_check_vector(const ag__call *call, const ag_tensor *index)
{
    ag__shape_text text;
    if (index->ndim > 1)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_%s: Index is supposed to be a vector, got one of shape %s",
                       call->op->name, ag__shape_string(&text, ag__sizes(index)));
    return ag__index_check_dtype(call, index);
}

static bool index_select_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *index = call->in[1];
    if (!index_check_vector(call, index) || !ag__attrs_dim(call, x->ndim))
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

/* The adjoint: g added to the slices of zeros. */
static ag_tensor *index_add_zeros(ag_tensor *g, int dim, ag_tensor *index, ag_ints shape)
{
    return g ? ag_index_add(ag__zeros_beside(g, shape), dim, index, g) : NULL;
}

static bool index_select_vjp(ag__rule *r)
{
    r->out[0] = index_add_zeros(r->g[0], (int)r->attrs->i[0], ag__in(r, 1), ag__in_shape(r, 0));
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

/* ---- index_add ---- */

static bool index_add_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *index = call->in[1], *src = call->in[2];
    if (!ag__attrs_dim(call, x->ndim))
        return false;
    const int dim = (int)call->attrs->i[0];
    const bool counted = src->ndim == 0 || dim < src->ndim;
    const int64_t count = src->ndim == 0 ? 1 : counted ? src->dims[dim] : 0;
    ag__shape_text a, b;
    if (!index_check_vector(call, index) || !ag__index_same_dtype(call, x, src))
        return false;
    if (counted && index->numel != count)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_index_add: Number of indices (%lld) should be equal to "
                       "source.size(dim): (%lld), for dim: %d",
                       (long long)index->numel, (long long)count, dim);
    bool fits = x->ndim == src->ndim;
    for (int i = 0; i < x->ndim && fits; i++)
        fits = i == dim || x->dims[i] == src->dims[i];
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    return fits ||
           ag_fail(call->c, AG_ERR_SHAPE,
                   "ag_index_add: source tensor shape must match self tensor shape, "
                   "excluding the specified dimension. Got self.shape = %s source.shape = "
                   "%s",
                   ag__shape_string(&a, ag__sizes(x)), ag__shape_string(&b, ag__sizes(src)));
}

static bool index_add_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = (int)call->attrs->i[0];
    const ag_ints shape = ag__sizes(out[0]);
    const int64_t size = ag__index_size(shape, dim), inner = index_inner(shape, dim);
    ag_tensor *at = ag__index_ready(call, call->in[1], dim, size);
    ag_tensor *y = at ? ag__sum_begin(out[0], call->in[0]) : NULL;
    ag_tensor *src = y ? ag__ready(call->in[2], (ag_dtype)y->dtype) : NULL;
    if (src && inner > 0) {
        const int64_t *i = (const int64_t *)(const void *)ag__at(at);
        const int64_t bytes = inner * (int64_t)ag__itemsize((ag_dtype)y->dtype);
        const int64_t outer = index_outer(shape, dim);
        const char *from = ag__at(src);
        for (int64_t o = 0; o < outer; o++)
            for (int64_t k = 0; k < at->numel; k++, from += bytes)
                ag__accumulate((ag_dtype)y->dtype, ag__at(y) + (o * size + i[k]) * bytes, 1, from,
                               inner);
    }
    const bool ok = src != NULL;
    ag__tensor_unref(at);
    ag__tensor_unref(src);
    ag__sum_end(out[0], y);
    return ok;
}

static unsigned index_add_needs(unsigned wanted) { return wanted & 4 ? 2u : 0; }

static bool index_add_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0];
    if (ag__wants(r, 0))
        r->out[0] = g;
    if (!ag__wants(r, 2))
        return true;
    r->out[2] = ag_index_select(g, (int)r->attrs->i[0], ag__in(r, 1));
    return r->out[2] != NULL;
}

const ag__op ag__op_index_add = { .name = "index_add",
                                  .node_name = "IndexAddBackward0",
                                  .operands = (const char *const[]){ "self", "index", "source" },
                                  .kind = AG_KIND_LINEAR,
                                  .n_in = 3,
                                  .n_out = 1,
                                  .takes_attrs = true,
                                  .infer = index_add_infer,
                                  .kernel = index_add_kernel,
                                  .needs = index_add_needs,
                                  .vjp = index_add_vjp };

ag_tensor *ag_index_add(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src)
{
    const int d = x ? ag__dim(x->c, "ag_index_add", dim, x->ndim) : -1;
    return d < 0 ? NULL
                 : ag__run1(&ag__op_index_add, (ag_tensor *[]){ x, index, src }, 3,
                            &(ag__attrs){ .i = { d } });
}

ag_tensor *ag_index_add_(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src)
{
    const int d = x ? ag__dim(x->c, "ag_index_add_", dim, x->ndim) : -1;
    return d < 0 ? NULL
                 : ag__inplace(&ag__op_index_add, "ag_index_add_", (ag_tensor *[]){ x, index, src },
                               3, &(ag__attrs){ .i = { d } });
}

/* ---- embedding ---- */

static bool embedding_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *w = call->in[0], *index = call->in[1];
    ag__shape_text text;
    if (w->ndim != 2)
        return ag_fail(call->c, AG_ERR_SHAPE, "ag_embedding: 'weight' must be 2-D, got shape %s",
                       ag__shape_string(&text, ag__sizes(w)));
    if (!ag__index_check_dtype(call, index))
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
    r->out[0] = index_add_zeros(rows, 0, ag_reshape(index, AG_SHAPE(index->numel)), shape);
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
    if (!ag__index_check_dtype(call, index))
        return false;
    if (index->numel == 0 && call->attrs->i[0] <= 0)
        return ag_fail(call->c, AG_ERR_VALUE,
                       "ag_one_hot: Can not infer total number of classes from empty tensor.");
    int64_t classes = call->attrs->i[0];
    const bool unknown = classes == -1 && ag__is_symbolic(index); /* only a run knows */
    if (classes < 0 && !unknown && (classes = one_hot_classes(call, index)) < 0)
        return false;
    if (index->ndim == AG_MAX_DIMS)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_one_hot: the result would have %d dimensions; tensors "
                       "have 0 to %d",
                       index->ndim + 1, AG_MAX_DIMS);
    ag__geometry_set(out, AG_I64, ag__sizes(index));
    out->shape[out->ndim++] = classes;
    return unknown ||
           ag__check_shape(call->c, "ag_one_hot", (ag_ints){ out->shape, out->ndim }, AG_I64);
}

static bool one_hot_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int64_t classes = out[0]->dims[out[0]->ndim - 1];
    ag_tensor *index =
        one_hot_classes(call, call->in[0]) < 0 ? NULL : ag__ready(call->in[0], AG_I64);
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
