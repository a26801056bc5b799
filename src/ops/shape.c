/*
 * Views: operations whose infer gives strides and an offset over the operand's storage and that
 * have no kernel. A dimension may be walked with any stride; 0 repeats one element.
 *
 * The gradient of a view is a view again, except of those that leave elements out (select, slice):
 * rows of their own write it into zeros.
 */
#include <string.h>

#include "compose.h"
#include "dims.h"
#include "op.h"

/* ---- shared ---- */

static void view_insert(ag__geometry *g, int d, int64_t size, int64_t stride)
{
    for (int i = g->ndim++; i > d; i--) {
        g->shape[i] = g->shape[i - 1];
        g->strides[i] = g->strides[i - 1];
    }
    g->shape[d] = size;
    g->strides[d] = stride;
}

/* A list given by a user as attributes; false and an error when it cannot be one. */
static bool view_list(ag_tensor *x, const char *name, ag_ints list, ag__attrs *a)
{
    *a = (ag__attrs){ .n = list.n };
    if (!x)
        return false;
    if (list.n < 0 || list.n > AG_MAX_DIMS)
        return ag_fail(x->c, AG_ERR_SHAPE,
                       "ag_%s: got a list of %d numbers; tensors have 0 to %d "
                       "dimensions",
                       name, list.n, AG_MAX_DIMS);
    if (list.n > 0 && !list.data)
        return ag_fail(x->c, AG_ERR_VALUE, "ag_%s: the list of sizes or dims is NULL", name);
    for (int i = 0; i < list.n; i++)
        a->list[i] = list.data[i];
    return true;
}

static ag_tensor *view_call(const ag__op *op, ag_tensor *x, ag_ints list)
{
    ag__attrs a;
    return view_list(x, op->name, list, &a) ? ag__unary(op, x, &a) : NULL;
}

int64_t ag__size_or_same(const ag_tensor *x, int d)
{
    return x->dims[d] < 0 ? AG_SIZE_OF(d) : x->dims[d];
}

int64_t ag__sizes_or_same(const ag_tensor *x, int a, int b)
{
    const int64_t n = ag__shape_numel((ag_ints){ x->dims + a, b - a + 1 });
    return n < 0 ? AG_SIZES_OF(a, b) : n;
}

int64_t ag__size_meant(ag_ints x, int64_t size)
{
    if (size >= 0)
        return size;
    const int64_t d = size - AG_SIZE_OF(0), a = d / AG_MAX_DIMS - 1, b = d % AG_MAX_DIMS;
    if (d < 0 || (a < 0 ? d : b) >= x.n || a > b)
        return size;
    return a < 0 ? x.data[d] : ag__shape_numel((ag_ints){ x.data + a, (int)(b - a) + 1 });
}

/* ---- view and reshape ---- */

/* In a graph, for x with unknown sizes: what `wanted` says is taken, -1 is unknown. */
static bool view_unknown(const ag_tensor *x, ag_ints wanted, ag__geometry *out)
{
    int64_t all = 1, holes = 0, hole = 0;
    ag__shape_text text;
    bool counts = true;
    ag__geometry_set(out, (ag_dtype)x->dtype, wanted);
    for (int i = 0; i < wanted.n; i++) {
        const int64_t size = out->shape[i] = ag__size_meant(ag__sizes(x), wanted.data[i]);
        if (size < -1)
            return ag_fail(x->c, AG_ERR_SHAPE,
                           "ag_reshape: invalid shape dimension %lld at index %d of shape %s",
                           (long long)size, i, ag__shape_string(&text, wanted));
        counts = counts && ag__mul_fits(all, size < 0 ? 1 : size, &all);
        if (wanted.data[i] == -1)
            hole = i, holes++;
    }
    /* The hole is known when all that is unknown keeps its place. */
    int64_t left = 1, kept = 0, unknown = 0;
    for (int d = 0; d < x->ndim; d++) {
        counts = counts && ag__mul_fits(left, x->dims[d] < 0 ? 1 : x->dims[d], &left);
        unknown += x->dims[d] < 0;
    }
    for (int i = 0; i < wanted.n; i++)
        kept += wanted.data[i] < -1 && out->shape[i] < 0;
    if (holes > 1)
        return ag_fail(x->c, AG_ERR_SHAPE, "ag_reshape: only one dimension can be inferred");
    if (!counts)
        return ag_fail(x->c, AG_ERR_SHAPE, "ag_reshape: the shape %s is too large",
                       ag__shape_string(&text, wanted));
    if (holes && kept == unknown && all > 0 && left % all == 0)
        out->shape[hole] = left / all;
    return true;
}

/* The sizes that `wanted` means for x, with a -1 filled in. */
static bool view_resolve(const ag_tensor *x, const char *name, ag_ints wanted, ag__geometry *out)
{
    ag__shape_text text;
    int64_t known = 1, hole = -1;
    bool fits = true, zero = false;
    ag__geometry_set(out, (ag_dtype)x->dtype, wanted);
    for (int i = 0; i < wanted.n; i++) {
        const int64_t size = out->shape[i] = ag__size_meant(ag__sizes(x), wanted.data[i]);
        if (size < -1)
            return ag_fail(x->c, AG_ERR_SHAPE,
                           "ag_%s: invalid shape dimension %lld at index %d of "
                           "shape %s",
                           name, (long long)size, i, ag__shape_string(&text, wanted));
        if (size == -1 && hole >= 0)
            return ag_fail(x->c, AG_ERR_SHAPE, "ag_%s: only one dimension can be inferred", name);
        zero = zero || size == 0;
        if (size == -1)
            hole = i;
        else if (size > 0)
            fits = fits && ag__mul_fits(known, size, &known);
    }
    known = zero ? 0 : known;
    if (hole >= 0 && known == 0 && x->numel == 0)
        return ag_fail(
            x->c, AG_ERR_SHAPE,
            "ag_%s: cannot reshape tensor of 0 elements into shape %s "
            "because the unspecified dimension size -1 can be any value and is ambiguous",
            name, ag__shape_string(&text, wanted));
    if (hole >= 0 && fits && known > 0 && x->numel % known == 0) {
        out->shape[hole] = x->numel / known;
        return true;
    }
    return (hole < 0 && fits && known == x->numel) ||
           ag_fail(x->c, AG_ERR_SHAPE, "ag_%s: shape '%s' is invalid for input of size %lld", name,
                   ag__shape_string(&text, wanted), (long long)x->numel);
}

/* Strides under which x's elements in order have the shape of g; false when there are none. A run
 * of dimensions of x that one stride walks through is split among dimensions of g, from the end. */
static bool view_strides(const ag_tensor *x, ag__geometry *g)
{
    const int64_t *shape = ag__shape(x), *strides = ag__strides(x);
    int to = g->ndim - 1;
    int64_t run = 1, filled = 1, base = x->ndim ? strides[x->ndim - 1] : 1, stride = 1;
    if (x->numel == 0 || x->ndim == 0) {
        for (; to >= 0; stride *= g->shape[to] > 0 ? g->shape[to] : 1, to--)
            g->strides[to] = stride;
        return true;
    }
    for (int i = x->ndim - 1; i >= 0; i--) {
        run *= shape[i];
        if (i > 0 && (shape[i - 1] == 1 || strides[i - 1] == run * base))
            continue;
        for (; to >= 0 && (filled < run || g->shape[to] == 1); to--) {
            g->strides[to] = filled * base;
            filled *= g->shape[to];
        }
        if (filled != run)
            return false;
        if (i > 0) {
            base = strides[i - 1];
            run = filled = 1;
        }
    }
    return to < 0;
}

static bool view_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const ag_ints wanted = { call->attrs->list, call->attrs->n };
    if (x->numel < 0)
        return view_unknown(x, wanted, out);
    if (!view_resolve(x, call->op->name, wanted, out))
        return false;
    out->offset = x->offset;
    return view_strides(x, out) ||
           ag_fail(
               call->c, AG_ERR_SHAPE,
               "ag_%s: view size is not compatible with input tensor's size and stride (at least "
               "one dimension spans across two contiguous subspaces). Use ag_reshape instead.",
               call->op->name);
}
static bool view_vjp(ag__rule *r)
{
    return (r->out[0] = ag_reshape(r->g[0], ag__in_shape(r, 0))) != NULL;
}

const ag__op ag__op_view = { .name = "view",
                             .node_name = "ViewBackward0",
                             .kind = AG_KIND_LINEAR,
                             .n_in = 1,
                             .n_out = 1,
                             .is_view = true,
                             .infer = view_infer,
                             .vjp = view_vjp };
/* The same under the name that PyTorch gives it where nobody has the operand: see ag__unsafe_view. */
const ag__op ag__op_unsafe_view = { .name = "reshape",
                                    .node_name = "UnsafeViewBackward0",
                                    .kind = AG_KIND_LINEAR,
                                    .n_in = 1,
                                    .n_out = 1,
                                    .is_hidden_view = true,
                                    .infer = view_infer,
                                    .vjp = view_vjp };

ag_tensor *ag_view(ag_tensor *x, ag_ints shape) { return view_call(&ag__op_view, x, shape); }

ag_tensor *ag__unsafe_view(ag_tensor *x, ag_ints shape)
{
    return view_call(&ag__op_unsafe_view, x, shape);
}

/* A view of x, or of a copy of x in order; the copy itself stays in the bracket. */
ag_tensor *ag_reshape(ag_tensor *x, ag_ints shape)
{
    ag__attrs a;
    ag__geometry g;
    if (!view_list(x, "reshape", shape, &a))
        return NULL;
    if (x->numel >= 0 && !view_resolve(x, "reshape", shape, &g))
        return NULL;
    if (ag__is_symbolic(x) || view_strides(x, &g))
        return ag__unary(&ag__op_view, x, &a);
    ag_scope s;
    ag__bracket_begin(&s, x->c);
    ag_tensor *copy = ag_clone(x);
    return ag__compose_end(&s, copy ? ag__unsafe_view(copy, shape) : NULL);
}

ag_tensor *ag_flatten(ag_tensor *x, int start, int end)
{
    if (!x)
        return NULL;
    const int a = ag__op_dim(x->c, "flatten", start, x->ndim);
    const int b = a < 0 ? -1 : ag__op_dim(x->c, "flatten", end, x->ndim);
    if (b < 0)
        return NULL;
    if (a > b)
        return ag__fail(
            x->c, AG_ERR_INDEX,
            "ag_flatten: flatten() has invalid args: start_dim cannot come after end_dim");
    if (x->ndim == 0)
        return ag_reshape(x, AG_SHAPE(1));
    if (a == b)
        return ag__lend(x);
    int64_t shape[AG_MAX_DIMS];
    for (int i = 0; i < a; i++)
        shape[i] = ag__size_or_same(x, i);
    shape[a] = ag__sizes_or_same(x, a, b);
    for (int i = b + 1; i < x->ndim; i++)
        shape[a + i - b] = ag__size_or_same(x, i);
    return ag_reshape(x, (ag_ints){ shape, x->ndim - (b - a) });
}

/* ---- expand ---- */

static bool expand_size(const ag__call *call, ag_ints wanted, int i, int64_t have, int64_t *size)
{
    ag__shape_text a, b;
    const bool leading = i < wanted.n - call->in[0]->ndim;
    const int64_t want = wanted.data[i];
    if (want == -1 && leading)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_expand: The expanded size of the tensor (-1) isn't "
                       "allowed in a leading, non-existing dimension %d",
                       i);
    if (want < -1)
        return ag_fail(call->c, AG_ERR_SHAPE, "ag_expand: negative size %lld at dimension %d of %s",
                       (long long)want, i, ag__shape_string(&a, wanted));
    *size = want == -1 ? have : want;
    if (*size == have || have == 1)
        return true;
    return ag_fail(call->c, AG_ERR_SHAPE,
                   "ag_expand: The expanded size of the tensor (%lld) must match the existing size "
                   "(%lld) at non-singleton dimension %d.  Target sizes: %s.  Tensor sizes: %s",
                   (long long)want, (long long)have, i, ag__shape_string(&a, wanted),
                   ag__shape_string(&b, ag__sizes(call->in[0])));
}

static bool expand_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const ag_ints wanted = { call->attrs->list, call->attrs->n };
    const int lead = wanted.n - x->ndim;
    ag__shape_text a, b;
    if (lead < 0)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_expand: expand(%s, size=%s): the number of sizes provided (%d) must be "
                       "greater or equal to the number of dimensions in the tensor (%d)",
                       ag__shape_string(&a, ag__sizes(x)), ag__shape_string(&b, wanted), wanted.n,
                       x->ndim);
    ag__geometry_of(x, out);
    for (int i = 0; i < lead; i++)
        view_insert(out, 0, 1, 0);
    for (int i = 0; i < wanted.n; i++) {
        const int64_t have = out->shape[i];
        if (!expand_size(call, wanted, i, have, &out->shape[i]))
            return false;
        if (out->shape[i] != have)
            out->strides[i] = 0;
    }
    return ag__check_shape(call->c, "ag_expand", (ag_ints){ out->shape, out->ndim }, out->dtype);
}
static bool expand_vjp(ag__rule *r)
{
    return (r->out[0] = ag__sum_to(r->g[0], ag__in_shape(r, 0))) != NULL;
}

const ag__op ag__op_expand = { .name = "expand",
                               .node_name = "ExpandBackward0",
                               .kind = AG_KIND_LINEAR,
                               .n_in = 1,
                               .n_out = 1,
                               .is_view = true,
                               .infer = expand_infer,
                               .vjp = expand_vjp };

ag_tensor *ag_expand(ag_tensor *x, ag_ints shape) { return view_call(&ag__op_expand, x, shape); }

/* ---- orders of dimensions ---- */

static bool permute_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const ag__attrs *a = call->attrs;
    int seen = 0;
    if (a->n != x->ndim)
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_permute: number of dimensions in the tensor input does not match the length "
            "of the desired ordering of dimensions i.e. input.dim() = %d is not equal to "
            "len(dims) = %d",
            x->ndim, a->n);
    ag__geometry_of(x, out);
    for (int i = 0; i < x->ndim; i++) {
        const int d = ag__op_dim(call->c, "permute", a->list[i], x->ndim);
        if (d < 0)
            return false;
        if (seen & 1 << d)
            return ag_fail(call->c, AG_ERR_VALUE, "ag_permute: duplicate dims are not allowed.");
        seen |= 1 << d;
        out->shape[i] = x->dims[d];
        out->strides[i] = x->dims[x->ndim + d];
    }
    return true;
}
static bool permute_vjp(ag__rule *r)
{
    int64_t back[AG_MAX_DIMS];
    const int n = r->attrs->n;
    for (int i = 0; i < n; i++)
        back[r->attrs->list[i] < 0 ? r->attrs->list[i] + n : r->attrs->list[i]] = i;
    return (r->out[0] = ag_permute(r->g[0], (ag_ints){ back, n })) != NULL;
}

static bool transpose_swap(const ag__call *call, ag__geometry *out, int64_t d0, int64_t d1)
{
    const ag_tensor *x = call->in[0];
    const int a = ag__op_dim(call->c, call->op->name, d0, x->ndim);
    const int b = a < 0 ? -1 : ag__op_dim(call->c, call->op->name, d1, x->ndim);
    if (b < 0)
        return false;
    ag__geometry_of(x, out);
    if (x->ndim == 0)
        return true;
    out->shape[a] = x->dims[b];
    out->shape[b] = x->dims[a];
    out->strides[a] = x->dims[x->ndim + b];
    out->strides[b] = x->dims[x->ndim + a];
    return true;
}
static bool transpose_infer(const ag__call *call, ag__geometry *out)
{
    return transpose_swap(call, out, call->attrs->i[0], call->attrs->i[1]);
}
static bool transpose_vjp(ag__rule *r)
{
    r->out[0] = ag_transpose(r->g[0], (int)r->attrs->i[0], (int)r->attrs->i[1]);
    return r->out[0] != NULL;
}

static bool t_infer(const ag__call *call, ag__geometry *out)
{
    if (call->in[0]->ndim > 2)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_t: t() expects a tensor with <= 2 dimensions, but self is %dD",
                       call->in[0]->ndim);
    return transpose_swap(call, out, 0, -1);
}
static bool t_vjp(ag__rule *r) { return (r->out[0] = ag_t(r->g[0])) != NULL; }

const ag__op ag__op_permute = { .name = "permute",
                                .node_name = "PermuteBackward0",
                                .kind = AG_KIND_LINEAR,
                                .n_in = 1,
                                .n_out = 1,
                                .is_view = true,
                                .takes_attrs = true,
                                .infer = permute_infer,
                                .vjp = permute_vjp };
const ag__op ag__op_transpose = { .name = "transpose",
                                  .node_name = "TransposeBackward0",
                                  .kind = AG_KIND_LINEAR,
                                  .n_in = 1,
                                  .n_out = 1,
                                  .is_view = true,
                                  .takes_attrs = true,
                                  .infer = transpose_infer,
                                  .vjp = transpose_vjp };
const ag__op ag__op_t = { .name = "t",
                          .node_name = "TBackward0",
                          .kind = AG_KIND_LINEAR,
                          .n_in = 1,
                          .n_out = 1,
                          .is_view = true,
                          .infer = t_infer,
                          .vjp = t_vjp };

ag_tensor *ag_permute(ag_tensor *x, ag_ints dims) { return view_call(&ag__op_permute, x, dims); }
ag_tensor *ag_t(ag_tensor *x) { return ag__unary(&ag__op_t, x, NULL); }

ag_tensor *ag_transpose(ag_tensor *x, int d0, int d1)
{
    return ag__unary(&ag__op_transpose, x, &(ag__attrs){ .i = { d0, d1 } });
}

/* ---- dimensions of one element: i[0] is the dimension; squeeze, i[1]: it must be one ---- */

static bool squeeze_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const int d = ag__op_dim(call->c, "squeeze", call->attrs->i[0], x->ndim);
    if (d < 0)
        return false;
    ag__geometry_of(x, out);
    if (call->attrs->i[1] && x->dims[d] != 1)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_squeeze: the size of dimension %d, which was not known when the graph "
                       "was built, must be 1, since the result is without it; it is %lld",
                       d, (long long)x->dims[d]);
    if (x->ndim > 0 && x->dims[d] == 1)
        ag__geometry_remove(out, d);
    return true;
}
/* The shape tells whether there was anything to remove. */
static bool squeeze_vjp(ag__rule *r)
{
    const ag_ints shape = ag__in_shape(r, 0);
    const int64_t d = r->attrs->i[0] < 0 ? r->attrs->i[0] + shape.n : r->attrs->i[0];
    r->out[0] = r->g[0]->ndim == shape.n ? r->g[0] : ag_unsqueeze(r->g[0], (int)d);
    return r->out[0] != NULL;
}

static bool unsqueeze_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    if (x->ndim == AG_MAX_DIMS)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_unsqueeze: the tensor has %d dimensions already, "
                       "the most there are",
                       AG_MAX_DIMS);
    const int d = ag__op_dim(call->c, "unsqueeze", call->attrs->i[0], x->ndim + 1);
    if (d < 0)
        return false;
    ag__geometry_of(x, out);
    view_insert(out, d, 1, d < x->ndim ? x->dims[d] * x->dims[x->ndim + d] : 1);
    return true;
}
static bool unsqueeze_vjp(ag__rule *r)
{
    return (r->out[0] = ag_squeeze(r->g[0], (int)r->attrs->i[0])) != NULL;
}

const ag__op ag__op_squeeze = { .name = "squeeze",
                                .node_name = "SqueezeBackward1",
                                .kind = AG_KIND_LINEAR,
                                .n_in = 1,
                                .n_out = 1,
                                .is_view = true,
                                .takes_attrs = true,
                                .infer = squeeze_infer,
                                .vjp = squeeze_vjp };
const ag__op ag__op_unsqueeze = { .name = "unsqueeze",
                                  .node_name = "UnsqueezeBackward0",
                                  .kind = AG_KIND_LINEAR,
                                  .n_in = 1,
                                  .n_out = 1,
                                  .is_view = true,
                                  .takes_attrs = true,
                                  .infer = unsqueeze_infer,
                                  .vjp = unsqueeze_vjp };

ag_tensor *ag_squeeze(ag_tensor *x, int dim)
{
    const int d = x && x->numel < 0 ? ag__op_dim(x->c, "squeeze", dim, x->ndim) : -1;
    return ag__unary(&ag__op_squeeze, x, &(ag__attrs){ .i = { dim, d >= 0 && x->dims[d] < 0 } });
}
ag_tensor *ag_unsqueeze(ag_tensor *x, int dim)
{
    return ag__unary(&ag__op_unsqueeze, x, &(ag__attrs){ .i = { dim } });
}

/* ---- parts: i[0] is the dimension, i[1] the start or index, i[2] the stop, i[3] the step; where p is
 *      not 0, the part has p - 1 elements, or it is an error ---- */

/* Checks the part that attrs name of t and turns g, the geometry of t, into that of the part. */
static bool part_select(ag_context *c, const ag__attrs *a, ag__geometry *g)
{
    const ag_ints sizes = { g->shape, g->ndim };
    ag__shape_text text;
    if (g->ndim == 0)
        return ag_fail(c, AG_ERR_INDEX, "ag_select: select() cannot be applied to a 0-dim tensor.");
    const int d = ag__op_dim(c, "select", a->i[0], g->ndim);
    if (d < 0)
        return false;
    const int64_t size = g->shape[d], i = a->i[1];
    if (i < -size || i >= size)
        return ag_fail(c, AG_ERR_INDEX,
                       "ag_select: index %lld out of range for tensor of size %s at dimension %d",
                       (long long)i, ag__shape_string(&text, sizes), d);
    g->offset += (i < 0 ? i + size : i) * g->strides[d];
    ag__geometry_remove(g, d);
    return true;
}

static int64_t part_clamp(int64_t i, int64_t lo, int64_t hi)
{
    return i < lo ? lo : i > hi ? hi : i;
}

static bool part_check_narrow(ag_context *c, int64_t size, int64_t start, int64_t length)
{
    if (length < 0)
        return ag_fail(c, AG_ERR_VALUE, "ag_narrow: length must be non-negative.");
    if (start < -size || start > size)
        return ag_fail(
            c, AG_ERR_INDEX,
            "ag_narrow: start out of range (expected to be in range of [%lld, %lld], but "
            "got %lld)",
            (long long)-size, (long long)size, (long long)start);
    start = start < 0 ? start + size : start;
    return length <= size - start ||
           ag_fail(c, AG_ERR_VALUE,
                   "ag_narrow: start (%lld) + length (%lld) exceeds dimension size (%lld).",
                   (long long)start, (long long)length, (long long)size);
}

static bool part_slice(ag_context *c, const ag__attrs *a, ag__geometry *g)
{
    const int64_t step = a->i[3];
    if (g->ndim == 0)
        return ag_fail(c, AG_ERR_INDEX, "ag_slice: slice() cannot be applied to a 0-dim tensor.");
    const int d = ag__op_dim(c, "slice", a->i[0], g->ndim);
    if (d < 0)
        return false;
    if (step <= 0)
        return ag_fail(c, AG_ERR_VALUE, "ag_slice: slice step must be positive; it is %lld",
                       (long long)step);
    const int64_t size = g->shape[d];
    const int64_t start = part_clamp(a->i[1] < 0 ? a->i[1] + size : a->i[1], 0, size);
    const int64_t stop = part_clamp(a->i[2] < 0 ? a->i[2] + size : a->i[2], start, size);
    g->offset += start * g->strides[d];
    g->shape[d] = (stop - start) / step + ((stop - start) % step != 0);
    g->strides[d] = g->shape[d] > 1 ? g->strides[d] * step : g->strides[d];
    return a->p == 0 || part_check_narrow(c, size, a->i[1], (int64_t)a->p - 1);
}

static bool select_infer(const ag__call *call, ag__geometry *out)
{
    ag__geometry_of(call->in[0], out);
    return part_select(call->c, call->attrs, out);
}
static bool slice_infer(const ag__call *call, ag__geometry *out)
{
    ag__geometry_of(call->in[0], out);
    return part_slice(call->c, call->attrs, out);
}

/* ---- gradients of parts: `list` holds the sizes of the whole ---- */

static ag_tensor *part_backward(const ag__rule *r, const ag__op *op)
{
    const ag_ints shape = ag__in_shape(r, 0);
    ag__attrs a = { .n = shape.n };
    for (int i = 0; i < 4; i++)
        a.i[i] = r->attrs->i[i];
    for (int i = 0; i < shape.n; i++)
        a.list[i] = shape.data[i];
    return ag__unary(op, r->g[0], &a);
}

extern const ag__op ag__op_select_backward;

static bool part_backward_infer(const ag__call *call, ag__geometry *out)
{
    const ag_ints whole = { call->attrs->list, call->attrs->n };
    ag__geometry part;
    ag__geometry_set(out, (ag_dtype)call->in[0]->dtype, whole);
    if (!ag__check_shape(call->c, call->op->name, whole, out->dtype))
        return false;
    part = *out;
    for (int i = 0; i < part.ndim; i++)
        part.strides[i] = 1;
    part.offset = 0;
    const bool select = call->op == &ag__op_select_backward;
    if (!(select ? part_select : part_slice)(call->c, call->attrs, &part))
        return false;
    return ag__attrs_fit(call, ag__same_shape((ag_ints){ part.shape, part.ndim },
                                              ag__sizes(call->in[0])));
}

/* Zeros, with input 0 written into the part of them that `part` cuts out. */
static bool part_backward_kernel(const ag__call *call, ag_tensor *out,
                                 bool (*part)(ag_context *, const ag__attrs *, ag__geometry *))
{
    ag__geometry g;
    ag__geometry_of(out, &g);
    if (!part(call->c, call->attrs, &g))
        return false;
    ag_tensor *view = ag__tensor_window(out, &g);
    if (!view)
        return false;
    memset(ag__at(out), 0, (size_t)out->numel * ag__itemsize((ag_dtype)out->dtype));
    ag__copy_data(view, call->in[0]);
    ag__tensor_unref(view);
    return true;
}
static bool select_backward_kernel(const ag__call *call, ag_tensor *const *out)
{
    return part_backward_kernel(call, out[0], part_select);
}
static bool slice_backward_kernel(const ag__call *call, ag_tensor *const *out)
{
    return part_backward_kernel(call, out[0], part_slice);
}
static bool select_backward_vjp(ag__rule *r)
{
    r->out[0] = ag_select(r->g[0], (int)r->attrs->i[0], r->attrs->i[1]);
    return r->out[0] != NULL;
}
static bool slice_backward_vjp(ag__rule *r)
{
    const int64_t *i = r->attrs->i;
    r->out[0] = ag_slice(r->g[0], (int)i[0], i[1], i[2], i[3]);
    return r->out[0] != NULL;
}

const ag__op ag__op_select_backward = { .name = "select_backward",
                                        .node_name = "SelectBackwardBackward0",
                                        .kind = AG_KIND_LINEAR,
                                        .n_in = 1,
                                        .n_out = 1,
                                        .takes_attrs = true,
                                        .infer = part_backward_infer,
                                        .kernel = select_backward_kernel,
                                        .vjp = select_backward_vjp };
const ag__op ag__op_slice_backward = { .name = "slice_backward",
                                       .node_name = "SliceBackwardBackward0",
                                       .kind = AG_KIND_LINEAR,
                                       .n_in = 1,
                                       .n_out = 1,
                                       .takes_attrs = true,
                                       .infer = part_backward_infer,
                                       .kernel = slice_backward_kernel,
                                       .vjp = slice_backward_vjp };

static bool select_vjp(ag__rule *r)
{
    return (r->out[0] = part_backward(r, &ag__op_select_backward)) != NULL;
}
static bool slice_vjp(ag__rule *r)
{
    return (r->out[0] = part_backward(r, &ag__op_slice_backward)) != NULL;
}

const ag__op ag__op_select = { .name = "select",
                               .node_name = "SelectBackward0",
                               .kind = AG_KIND_LINEAR,
                               .n_in = 1,
                               .n_out = 1,
                               .is_view = true,
                               .takes_attrs = true,
                               .infer = select_infer,
                               .vjp = select_vjp };
const ag__op ag__op_slice = { .name = "slice",
                              .node_name = "SliceBackward0",
                              .kind = AG_KIND_LINEAR,
                              .n_in = 1,
                              .n_out = 1,
                              .is_view = true,
                              .takes_attrs = true,
                              .infer = slice_infer,
                              .vjp = slice_vjp };

ag_tensor *ag_select(ag_tensor *x, int dim, int64_t i)
{
    return ag__unary(&ag__op_select, x, &(ag__attrs){ .i = { dim, i } });
}

ag_tensor *ag_slice(ag_tensor *x, int dim, int64_t start, int64_t stop, int64_t step)
{
    return ag__unary(&ag__op_slice, x, &(ag__attrs){ .i = { dim, start, stop, step } });
}

ag_tensor *ag_narrow(ag_tensor *x, int dim, int64_t start, int64_t length)
{
    if (!x)
        return NULL;
    if (x->ndim == 0)
        return ag__fail(x->c, AG_ERR_INDEX,
                        "ag_narrow: narrow() cannot be applied to a 0-dim tensor.");
    const int d = ag__op_dim(x->c, "narrow", dim, x->ndim);
    if (d < 0)
        return NULL;
    const int64_t size = x->dims[d];
    if (size < 0 && length >= 0 && length < INT64_MAX / 2) { /* it can be told all the same */
        const int64_t stop = start < 0 && start + length == 0 ? INT64_MAX : start + length;
        return ag__unary(&ag__op_slice, x,
                         &(ag__attrs){ .p = (double)length + 1, .i = { d, start, stop, 1 } });
    }
    if (!part_check_narrow(x->c, size, start, length))
        return NULL;
    start = start < 0 ? start + size : start;
    return ag_slice(x, d, start, start + length, 1);
}
