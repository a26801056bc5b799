/*
 * Operations that arrange elements anew in a result of its own: cat, stack, flip, tril, triu, clone
 * and to. Kernels describe a part of the result, or an odd walk over the operand, by a geometry and
 * let ag__copy_data do the rest.
 */
#include <string.h>

#include "compose.h"
#include "dims.h"
#include "op.h"

/* Copies src into the geometry g over dst, or, with `read`, src seen through g into dst. */
static bool copies_through(ag_tensor *dst, ag_tensor *src, const ag__geometry *g, bool read)
{
    ag_tensor *view = ag__tensor_window(read ? src : dst, g);
    if (!view)
        return false;
    if (read)
        ag__copy_data(dst, view);
    else
        ag__copy_data(view, src);
    ag__tensor_unref(view);
    return true;
}

/* ---- cat and stack: i[0] is the dimension ---- */

/* The dtype of all operands together. */
static ag_dtype cat_dtype(const ag__call *call)
{
    ag_tensor so_far = *call->in[0]; /* the header alone, for its dtype and rank */
    for (int i = 1; i < call->n_in; i++)
        so_far.dtype = (uint8_t)ag__promote(&so_far, call->in[i]);
    return (ag_dtype)so_far.dtype;
}

/* PyTorch lets tensors of shape [0] stand beside any others. */
static bool cat_skips(const ag_tensor *t) { return t->ndim == 1 && t->numel == 0; }

static bool cat_fits(const ag__call *call, int first, int i, int dim)
{
    const ag_tensor *a = call->in[first], *b = call->in[i];
    if (a->ndim != b->ndim)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_cat: Tensors must have same number of dimensions: got %d and %d",
                       a->ndim, b->ndim);
    for (int d = 0; d < a->ndim; d++)
        if (d != dim && a->dims[d] != b->dims[d])
            return ag_fail(
                call->c, AG_ERR_SHAPE,
                "ag_cat: Sizes of tensors must match except in dimension %d. Expected size "
                "%lld but got size %lld for tensor number %d in the list.",
                dim, (long long)a->dims[d], (long long)b->dims[d], i);
    return true;
}

static int cat_first(const ag__call *call)
{
    int first = 0;
    while (first < call->n_in - 1 && cat_skips(call->in[first]))
        first++;
    return first;
}

static bool cat_infer(const ag__call *call, ag__geometry *out)
{
    const int first = cat_first(call);
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i]->ndim == 0)
            return ag_fail(
                call->c, AG_ERR_SHAPE,
                "ag_cat: zero-dimensional tensor (at position %d) cannot be concatenated", i);
    const int dim = ag__op_dim(call->c, "cat", call->attrs->i[0], call->in[first]->ndim);
    if (dim < 0)
        return false;
    const ag__attrs *a = call->attrs;
    if (!ag__attrs_fit(call, a->i[1] == call->n_in && (a->n == 0 || a->n == call->n_in)))
        return false;
    ag__geometry_set(out, cat_dtype(call), ag__sizes(call->in[first]));
    for (int i = first + 1; i < call->n_in; i++) {
        if (cat_skips(call->in[i]))
            continue;
        if (!cat_fits(call, first, i, dim))
            return false;
        if (out->shape[dim] > INT64_MAX - call->in[i]->dims[dim])
            return ag_fail(call->c, AG_ERR_SHAPE, "ag_cat: dimension %d of the result overflows",
                           dim);
        out->shape[dim] += call->in[i]->dims[dim];
    }
    return ag__check_shape(call->c, "ag_cat", (ag_ints){ out->shape, out->ndim }, out->dtype);
}

static bool cat_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = ag__op_dim(call->c, "cat", call->attrs->i[0], out[0]->ndim);
    ag__geometry g;
    ag__geometry_of(out[0], &g);
    for (int i = 0; i < call->n_in; i++) {
        if (cat_skips(call->in[i]))
            continue;
        g.shape[dim] = call->in[i]->dims[dim];
        if (!copies_through(out[0], call->in[i], &g, false))
            return false;
        g.offset += g.shape[dim] * g.strides[dim];
    }
    return true;
}

/* Sizes of operands whose gradient is not wanted stand in `list`, when there are such. */
static bool cat_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0];
    const int dim = ag__op_dim(r->c, "cat", r->attrs->i[0], g->ndim), n = (int)r->attrs->i[1];
    int64_t start = 0;
    for (int i = 0; i < n; i++) {
        const bool wanted = ag__wants(r, i);
        const bool known = ag__was_wanted(r, i);
        const ag_ints shape = known ? ag__in_shape(r, i) : (ag_ints){ NULL, 0 };
        const bool skipped = known && shape.n == 1 && shape.data[0] == 0;
        const int64_t size = skipped           ? 0
                             : known           ? shape.data[dim]
                             : i < r->attrs->n ? r->attrs->list[i]
                                               : -1;
        if (wanted && skipped)
            r->out[i] = ag_zeros(r->c, AG_SHAPE(0), .dtype = (ag_dtype)g->dtype);
        else if (wanted)
            r->out[i] = ag_narrow(g, dim, start, size);
        if (wanted && !r->out[i])
            return false;
        start += size;
    }
    return true;
}

static bool stack_infer(const ag__call *call, ag__geometry *out)
{
    const ag_ints shape = ag__sizes(call->in[0]);
    ag__shape_text a, b;
    if (shape.n == AG_MAX_DIMS)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_stack: the tensors have %d dimensions already, the "
                       "most there are",
                       AG_MAX_DIMS);
    const int dim = ag__op_dim(call->c, "stack", call->attrs->i[0], shape.n + 1);
    if (dim < 0 || !ag__attrs_fit(call, call->attrs->i[1] == call->n_in))
        return false;
    for (int i = 1; i < call->n_in; i++)
        if (!ag__same_shape(shape, ag__sizes(call->in[i])))
            return ag_fail(
                call->c, AG_ERR_SHAPE,
                "ag_stack: stack expects each tensor to be equal size, but got %s at entry 0 "
                "and %s at entry %d",
                ag__shape_string(&a, shape), ag__shape_string(&b, ag__sizes(call->in[i])), i);
    ag__geometry_set(out, cat_dtype(call), shape);
    for (int i = out->ndim++; i > dim; i--)
        out->shape[i] = out->shape[i - 1];
    out->shape[dim] = call->n_in;
    return ag__check_shape(call->c, "ag_stack", (ag_ints){ out->shape, out->ndim }, out->dtype);
}

static bool stack_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int dim = ag__op_dim(call->c, "stack", call->attrs->i[0], out[0]->ndim);
    ag__geometry g;
    ag__geometry_of(out[0], &g);
    const int64_t step = g.strides[dim];
    ag__geometry_remove(&g, dim);
    for (int i = 0; i < call->n_in; i++, g.offset += step)
        if (!copies_through(out[0], call->in[i], &g, false))
            return false;
    return true;
}

static bool stack_vjp(ag__rule *r)
{
    for (int i = 0; i < (int)r->attrs->i[1]; i++)
        if (ag__wants(r, i) && !(r->out[i] = ag_select(r->g[0], (int)r->attrs->i[0], i)))
            return false;
    return true;
}

const ag__op ag__op_cat = { .name = "cat",
                            .node_name = "CatBackward0",
                            .kind = AG_KIND_LINEAR,
                            .n_in = -1,
                            .n_out = 1,
                            .takes_attrs = true,
                            .infer = cat_infer,
                            .kernel = cat_kernel,
                            .vjp = cat_vjp };
const ag__op ag__op_stack = { .name = "stack",
                              .node_name = "StackBackward0",
                              .kind = AG_KIND_LINEAR,
                              .n_in = -1,
                              .n_out = 1,
                              .takes_attrs = true,
                              .infer = stack_infer,
                              .kernel = stack_kernel,
                              .vjp = stack_vjp };

/* A list of tensors has its context from the first tensor in it; without any there is no place for
 * an error. */
static bool cat_check_list(const char *name, ag_tensor *const *tensors, int n)
{
    int some = 0;
    while (tensors && some < n && !tensors[some])
        some++;
    if (!tensors || some >= n)
        return false;
    ag_context *c = tensors[some]->c;
    for (int i = 0; i < n; i++) {
        if (!tensors[i])
            return ag_fail(c, AG_ERR_VALUE, "ag_%s: operand %d is NULL", name, i);
        if (tensors[i]->c != c)
            return ag_fail(c, AG_ERR_VALUE,
                           "ag_%s: operands %d and %d belong to different contexts; use ag_share",
                           name, some, i);
    }
    return n <= UINT16_MAX ||
           ag_fail(c, AG_ERR_VALUE, "ag_%s: %d tensors are more than %d", name, n, UINT16_MAX);
}

/* Whether the rule of one call could not tell the sizes of all operands. */
static bool cat_must_split(ag_tensor *const *tensors, int n)
{
    int wanting = 0;
    for (int i = 0; i < n; i++)
        wanting += ag__wants_grad(tensors[i]);
    return n > AG_MAX_DIMS && wanting > 0 && wanting < n;
}

ag_tensor *ag_cat(ag_tensor *const *tensors, int n, int dim)
{
    if (!cat_check_list("cat", tensors, n))
        return NULL;
    if (tensors[0]->c->grad_enabled && cat_must_split(tensors, n)) {
        ag_scope s;
        ag__bracket_begin(&s, tensors[0]->c);
        ag_tensor *a = ag_cat(tensors, n / 2, dim);
        ag_tensor *b = a ? ag_cat(tensors + n / 2, n - n / 2, dim) : NULL;
        return ag__compose_end(&s, b ? ag_cat((ag_tensor *[]){ a, b }, 2, dim) : NULL);
    }
    ag__attrs a = { .i = { dim, n }, .n = n <= AG_MAX_DIMS ? n : 0 };
    for (int i = 0; i < a.n; i++) {
        const int rank = tensors[i]->ndim, d = dim < 0 ? dim + rank : dim;
        a.list[i] = d >= 0 && d < rank ? tensors[i]->dims[d] : 0;
    }
    return ag__run1(&ag__op_cat, tensors, n, &a);
}

ag_tensor *ag_stack(ag_tensor *const *tensors, int n, int dim)
{
    return cat_check_list("stack", tensors, n)
               ? ag__run1(&ag__op_stack, tensors, n, &(ag__attrs){ .i = { dim, n } })
               : NULL;
}

/* ---- flip ---- */

static bool flip_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    int seen = 0;
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    for (int i = 0; i < call->attrs->n; i++) {
        const int d = ag__op_dim(call->c, "flip", call->attrs->list[i], x->ndim);
        if (d < 0)
            return false;
        if (seen & 1 << d)
            return ag_fail(call->c, AG_ERR_VALUE,
                           "ag_flip: dim %d appears multiple times in the list of dims", d);
        seen |= 1 << d;
    }
    return true;
}
/* Walks backwards from the last element of the flipped dimensions. */
static bool flip_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag_tensor *x = call->in[0];
    ag__geometry g;
    ag__geometry_of(x, &g);
    for (int i = 0; i < call->attrs->n && x->ndim > 0 && x->numel > 0; i++) {
        const int d = ag__op_dim(call->c, "flip", call->attrs->list[i], x->ndim);
        g.offset += (g.shape[d] - 1) * g.strides[d];
        g.strides[d] = -g.strides[d];
    }
    return copies_through(out[0], x, &g, true);
}
static bool flip_vjp(ag__rule *r)
{
    return (r->out[0] = ag_flip(r->g[0], (ag_ints){ r->attrs->list, r->attrs->n })) != NULL;
}

const ag__op ag__op_flip = { .name = "flip",
                             .node_name = "FlipBackward0",
                             .kind = AG_KIND_LINEAR,
                             .n_in = 1,
                             .n_out = 1,
                             .takes_attrs = true,
                             .infer = flip_infer,
                             .kernel = flip_kernel,
                             .vjp = flip_vjp };

ag_tensor *ag_flip(ag_tensor *x, ag_ints dims)
{
    ag__attrs a = { .n = dims.n };
    if (!x)
        return NULL;
    if (dims.n < 0 || dims.n > AG_MAX_DIMS || (dims.n > 0 && !dims.data))
        return ag__fail(x->c, AG_ERR_VALUE, "ag_flip: got %d dims; the tensor has %d dimensions",
                        dims.n, x->ndim);
    for (int i = 0; i < dims.n; i++)
        a.list[i] = dims.data[i];
    return ag__unary(&ag__op_flip, x, &a);
}

/* ---- triangles: i[0] is the diagonal ---- */

static bool triangle_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    return x->ndim >= 2 || ag_fail(call->c, AG_ERR_SHAPE,
                                   "ag_%s: input tensor must have at least 2 dimensions; it has %d",
                                   call->op->name, x->ndim);
}

/* Zeroes, in each row of each matrix, what lies above (or below) the diagonal k. */
static bool triangle_kernel(const ag__call *call, ag_tensor *out, bool lower)
{
    ag__copy_data(out, call->in[0]);
    if (out->numel == 0)
        return true;
    const int64_t rows = out->dims[out->ndim - 2], cols = out->dims[out->ndim - 1];
    const int64_t all = out->numel / cols, size = (int64_t)ag__itemsize((ag_dtype)out->dtype);
    int64_t k = call->attrs->i[0]; /* beyond the corners it makes no difference */
    k = k < -rows ? -rows : k > cols ? cols : k;
    for (int64_t at = 0; at < all; at++) {
        int64_t edge = at % rows + k + lower; /* the first column on the far side */
        edge = edge < 0 ? 0 : edge > cols ? cols : edge;
        char *row = ag__at(out) + at * cols * size;
        if (lower)
            memset(row + edge * size, 0, (size_t)((cols - edge) * size));
        else
            memset(row, 0, (size_t)(edge * size));
    }
    return true;
}
static bool tril_kernel(const ag__call *call, ag_tensor *const *out)
{
    return triangle_kernel(call, out[0], true);
}
static bool triu_kernel(const ag__call *call, ag_tensor *const *out)
{
    return triangle_kernel(call, out[0], false);
}
static bool tril_vjp(ag__rule *r) { return (r->out[0] = ag_tril(r->g[0], r->attrs->i[0])) != NULL; }
static bool triu_vjp(ag__rule *r) { return (r->out[0] = ag_triu(r->g[0], r->attrs->i[0])) != NULL; }

const ag__op ag__op_tril = { .name = "tril",
                             .node_name = "TrilBackward0",
                             .kind = AG_KIND_LINEAR,
                             .n_in = 1,
                             .n_out = 1,
                             .takes_attrs = true,
                             .infer = triangle_infer,
                             .kernel = tril_kernel,
                             .vjp = tril_vjp };
const ag__op ag__op_triu = { .name = "triu",
                             .node_name = "TriuBackward0",
                             .kind = AG_KIND_LINEAR,
                             .n_in = 1,
                             .n_out = 1,
                             .takes_attrs = true,
                             .infer = triangle_infer,
                             .kernel = triu_kernel,
                             .vjp = triu_vjp };

ag_tensor *ag_tril(ag_tensor *x, int64_t k)
{
    return ag__unary(&ag__op_tril, x, &(ag__attrs){ .i = { k } });
}
ag_tensor *ag_triu(ag_tensor *x, int64_t k)
{
    return ag__unary(&ag__op_triu, x, &(ag__attrs){ .i = { k } });
}

/* ---- clone and to ---- */

static bool clone_infer(const ag__call *call, ag__geometry *out)
{
    ag__geometry_set(out, (ag_dtype)call->in[0]->dtype, ag__sizes(call->in[0]));
    return true;
}
static bool clone_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag__copy_data(out[0], call->in[0]);
    return true;
}
static bool clone_vjp(ag__rule *r) { return (r->out[0] = r->g[0]) != NULL; }

/* i[0] is the dtype; the engine casts the gradient back, as it does every gradient. */
static bool to_infer(const ag__call *call, ag__geometry *out)
{
    const ag_dtype d = (ag_dtype)call->attrs->i[0];
    ag__geometry_set(out, d, ag__sizes(call->in[0]));
    return ag__check_shape(call->c, "ag_to", ag__sizes(call->in[0]), d);
}

const ag__op ag__op_clone = { .name = "clone",
                              .node_name = "CloneBackward0",
                              .kind = AG_KIND_LINEAR,
                              .n_in = 1,
                              .n_out = 1,
                              .infer = clone_infer,
                              .kernel = clone_kernel,
                              .vjp = clone_vjp };
const ag__op ag__op_to = { .name = "to",
                           .node_name = "ToCopyBackward0",
                           .kind = AG_KIND_LINEAR,
                           .n_in = 1,
                           .n_out = 1,
                           .takes_attrs = true,
                           .infer = to_infer,
                           .kernel = clone_kernel,
                           .vjp = clone_vjp };

ag_tensor *ag_clone(ag_tensor *t) { return ag__unary(&ag__op_clone, t, NULL); }

ag_tensor *ag_contiguous(ag_tensor *t)
{
    return t && ag__is_contiguous(t) ? ag__lend(t) : ag_clone(t);
}

ag_tensor *ag_to(ag_tensor *t, ag_dtype dtype)
{
    return t && (ag_dtype)t->dtype == dtype
               ? ag__lend(t)
               : ag__unary(&ag__op_to, t, &(ag__attrs){ .i = { (int64_t)dtype } });
}
