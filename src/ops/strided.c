/*
 * Views whose strides differ from those of their operand by more than an order: as_strided, which
 * takes any geometry over the storage, diagonal, and unfold.
 *
 * All have one adjoint, as_strided_add: a vector of zeros into which the gradient is added through
 * the view's geometry. Its own adjoint is as_strided, so that both are differentiable to any order.
 *
 * Note [as_strided]
 * The view lies over the storage, not over its operand. So the vector that as_strided's gradient is
 * added into stands for the part of the storage that operand and view reach, and the operand's
 * gradient is read from it through the operand's own geometry. An operand that repeats elements, as
 * an expanded one does, has one derivative for several elements that are one: each gets its share,
 * the sum divided by how often the place is repeated. What lies outside the operand has no gradient.
 */
#include "strided.h"

#include <string.h>

#include "../kernels/accumulate.h"
#include "compose.h"
#include "dims.h"

/* ---- geometries ---- */

/* One more than the farthest place of g from its offset, 0 when g has no elements; false when that
 * is no number. */
static bool strided_reach(const ag__geometry *g, int64_t *reach)
{
    int64_t n = 1;
    for (int i = 0; i < g->ndim; i++)
        if (g->shape[i] == 0)
            return *reach = 0, true;
    for (int i = 0; i < g->ndim; i++) {
        int64_t step;
        if (!ag__mul_fits(g->shape[i] - 1, g->strides[i], &step) || step > INT64_MAX - n)
            return false;
        n += step;
    }
    return *reach = n, true;
}

/* Several elements may lie at one place; false when none do. Dimensions are taken by their strides:
 * each must step over all that the smaller ones reach. */
static bool strided_may_repeat(const ag__geometry *g)
{
    unsigned left = (1u << g->ndim) - 1;
    for (int64_t reach = 0; left;) {
        int d = ag__lowest_bit(left);
        for (int i = d + 1; i < g->ndim; i++)
            if (left >> i & 1 && g->strides[i] < g->strides[d])
                d = i;
        left &= ~(1u << d);
        if (g->shape[d] <= 1)
            continue;
        if (g->strides[d] <= reach)
            return true;
        reach += (g->shape[d] - 1) * g->strides[d];
    }
    return false;
}

/* The geometry of a contiguous tensor of this shape at the start of its storage. */
static void strided_dense(ag_ints shape, ag_dtype dtype, ag__geometry *g)
{
    int64_t stride = 1;
    ag__geometry_set(g, dtype, shape);
    g->offset = 0;
    for (int i = shape.n - 1; i >= 0; i--) {
        g->strides[i] = stride;
        stride *= shape.data[i] > 0 ? shape.data[i] : 1;
    }
}

/* ---- as_strided_add: i[0] is the length of the result, i[1] the offset, the list the strides ---- */

static bool as_strided_add_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const ag__attrs *a = call->attrs;
    ag__geometry g;
    int64_t reach;
    ag__geometry_set(out, (ag_dtype)x->dtype, (ag_ints){ a->i, 1 });
    ag__geometry_set(&g, (ag_dtype)x->dtype, ag__sizes(x));
    bool fit = a->n == x->ndim && a->i[0] >= 0 && a->i[1] >= 0;
    for (int i = 0; i < x->ndim && fit; i++)
        fit = (g.strides[i] = a->list[i]) >= 0;
    fit = fit && strided_reach(&g, &reach) && (reach == 0 || reach <= a->i[0] - a->i[1]);
    return ag__attrs_fit(call, fit) &&
           ag__check_shape(call->c, "ag_as_strided_add", (ag_ints){ a->i, 1 }, out->dtype);
}

/* y += x through the strides, y being where the first element of x belongs. */
static void strided_add(ag_dtype d, char *y, const int64_t *strides, const ag_tensor *x)
{
    const int64_t size = (int64_t)ag__itemsize(d), last = x->ndim - 1;
    const int64_t run = x->ndim ? x->dims[last] : 1, step = x->ndim ? strides[last] : 1;
    int64_t index[AG_MAX_DIMS] = { 0 };
    const char *from = ag__at(x);
    for (int64_t done = 0; done < x->numel; done += run, from += run * size) {
        ag__accumulate(d, y, step, from, run);
        for (int64_t i = last - 1; i >= 0; i--) {
            y += strides[i] * size;
            if (++index[i] < x->dims[i])
                break;
            y -= x->dims[i] * strides[i] * size;
            index[i] = 0;
        }
    }
}

static bool as_strided_add_kernel(const ag__call *call, ag_tensor *const *out)
{
    const ag_dtype d = ag__accumulate_dtype((ag_dtype)out[0]->dtype);
    ag_tensor *x = ag__ready(call->in[0], d), *y = x ? ag__computed_in(out[0], d) : NULL;
    if (y && y->numel) {
        const int64_t size = (int64_t)ag__itemsize(d);
        memset(ag__at(y), 0, (size_t)(y->numel * size));
        if (x->numel)
            strided_add(d, ag__at(y) + call->attrs->i[1] * size, call->attrs->list, x);
        if (y != out[0])
            ag__copy_data(out[0], y);
    }
    const bool ok = y != NULL;
    ag__tensor_unref(x);
    ag__tensor_unref(y);
    return ok;
}

/* The gradient is contiguous then, but may lie anywhere in its storage. */
static bool as_strided_add_vjp(ag__rule *r)
{
    ag_tensor *g = ag_contiguous(r->g[0]);
    ag__geometry view;
    if (!g)
        return false;
    ag__geometry_set(&view, (ag_dtype)g->dtype, ag__in_shape(r, 0));
    view.offset = g->offset + r->attrs->i[1];
    for (int i = 0; i < view.ndim; i++)
        view.strides[i] = r->attrs->list[i];
    return (r->out[0] = ag__as_strided_like(g, &view)) != NULL;
}

const ag__op ag__op_as_strided_add = { .name = "as_strided_add",
                                       .node_name = "AsStridedAddBackward0",
                                       .kind = AG_KIND_LINEAR,
                                       .n_in = 1,
                                       .n_out = 1,
                                       .takes_attrs = true,
                                       .infer = as_strided_add_infer,
                                       .kernel = as_strided_add_kernel,
                                       .vjp = as_strided_add_vjp };

ag_tensor *ag__as_strided_add(ag_tensor *x, const ag__geometry *g, int64_t n)
{
    ag__attrs a = { .i = { n, g->offset }, .n = g->ndim };
    memcpy(a.list, g->strides, (size_t)g->ndim * sizeof *a.list);
    return ag__unary(&ag__op_as_strided_add, x, &a);
}

/* ---- as_strided: i[0] and i[1] are the offsets of the view and of the operand; the list holds the
 * view's shape (i[2] numbers), the view's strides, the operand's strides ---- */

static void as_strided_view(const ag__attrs *a, ag_dtype dtype, ag__geometry *view)
{
    const int64_t *list = ag__long_list(a);
    const int ndim = (int)a->i[2];
    ag__geometry_set(view, dtype, (ag_ints){ list, ndim });
    memcpy(view->strides, list + ndim, (size_t)ndim * sizeof *list);
    view->offset = a->i[0];
}

/* The lengths of the lists, and that the operand's strides are some. */
static bool as_strided_check(const ag__call *call)
{
    const ag__attrs *a = call->attrs;
    const ag_tensor *x = call->in[0];
    ag__geometry in;
    int64_t reach;
    bool fit =
        a->i[1] >= 0 && a->i[2] >= 0 && a->i[2] <= AG_MAX_DIMS && a->n == 2 * a->i[2] + x->ndim;
    ag__geometry_set(&in, (ag_dtype)x->dtype, ag__sizes(x));
    for (int i = 0; i < x->ndim && fit; i++)
        fit = (in.strides[i] = ag__long_list(a)[2 * a->i[2] + i]) >= 0;
    fit = fit && strided_reach(&in, &reach) && a->i[1] <= INT64_MAX / 16 - reach;
    return ag__attrs_fit(call, fit);
}

/* How many bytes the view may lie over: what a graph has not computed yet will be contiguous. */
static int64_t as_strided_room(const ag_tensor *x)
{
    return ag__is_symbolic(x) ? x->numel * (int64_t)ag__itemsize((ag_dtype)x->dtype)
                              : (int64_t)x->storage->bytes;
}

static bool as_strided_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const int64_t size = (int64_t)ag__itemsize((ag_dtype)x->dtype);
    int64_t reach;
    ag__shape_text sizes, steps;
    if (!as_strided_check(call))
        return false;
    as_strided_view(call->attrs, (ag_dtype)x->dtype, out);
    const ag_ints shape = { out->shape, out->ndim }, strides = { out->strides, out->ndim };
    for (int i = 0; i < out->ndim; i++)
        if (out->strides[i] < 0)
            return ag_fail(call->c, AG_ERR_VALUE,
                           "ag_as_strided: Negative strides are not supported at the moment, got "
                           "strides: %s",
                           ag__shape_string(&steps, strides));
    if (out->offset < 0)
        return ag_fail(call->c, AG_ERR_VALUE, "ag_as_strided: Tensor: invalid storage offset %lld",
                       (long long)out->offset);
    if (!ag__check_shape(call->c, "ag_as_strided", shape, out->dtype))
        return false;
    int64_t need = 0; /* bytes */
    const bool counts = strided_reach(out, &reach) &&
                        (reach == 0 || (out->offset <= INT64_MAX - reach &&
                                        ag__mul_fits(out->offset + reach, size, &need)));
    if (!counts)
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_as_strided: Storage size calculation overflowed with sizes=%s and strides=%s",
            ag__shape_string(&sizes, shape), ag__shape_string(&steps, strides));
    if (reach == 0)
        out->offset = x->offset; /* as good as any: there is nothing to address */
    else if (need > as_strided_room(x))
        return ag_fail(call->c, AG_ERR_VALUE,
                       "ag_as_strided: setStorage: sizes %s, strides %s, storage offset %lld, and "
                       "itemsize %lld requiring a storage size of %lld are out of bounds for "
                       "storage of size %lld",
                       ag__shape_string(&sizes, shape), ag__shape_string(&steps, strides),
                       (long long)out->offset, (long long)size, (long long)need,
                       (long long)as_strided_room(x));
    return true;
}

/* See Note [as_strided]. A place that only the view reaches is read by nobody; its count is 0. */
static bool as_strided_vjp(ag__rule *r)
{
    if (!ag__wants(r, 0)) /* a view of a base that has left the graph */
        return true;
    const ag_tensor *g = r->g[0];
    const ag_ints shape = ag__in_shape(r, 0);
    const ag_dtype dtype = (ag_dtype)g->dtype;
    ag__geometry in, view;
    int64_t in_reach, view_reach;
    as_strided_view(r->attrs, dtype, &view);
    ag__geometry_set(&in, dtype, shape);
    memcpy(in.strides, ag__long_list(r->attrs) + 2 * view.ndim, (size_t)shape.n * sizeof(int64_t));
    in.offset = r->attrs->i[1];
    if (g->numel == 0)
        view.offset = in.offset;
    const int64_t start = in.offset < view.offset ? in.offset : view.offset;
    in.offset -= start;
    view.offset -= start;
    if (!strided_reach(&in, &in_reach) || !strided_reach(&view, &view_reach))
        return ag_fail(r->c, AG_ERR_INTERNAL, "ag_as_strided: a view that is none");
    in_reach = in_reach ? in_reach + in.offset : 0;
    view_reach = view_reach ? view_reach + view.offset : 0;
    const int64_t n = in_reach > view_reach ? in_reach : view_reach;
    ag_tensor *sum = ag__as_strided_add(r->g[0], &view, n);
    if (sum && strided_may_repeat(&in)) {
        ag_tensor *one = ag_full(r->c, AG_SHAPE(), 1, .dtype = dtype);
        ag_tensor *ones = ag_expand(one, shape);
        ag_tensor *count = ones ? ag__as_strided_add(ones, &in, n) : NULL;
        sum = ag_div(sum, ag_maximum(count, one));
    }
    return (r->out[0] = sum ? ag__as_strided_like(sum, &in) : NULL) != NULL;
}

const ag__op ag__op_as_strided = { .name = "as_strided",
                                   .node_name = "AsStridedBackward0",
                                   .kind = AG_KIND_LINEAR,
                                   .n_in = 1,
                                   .n_out = 1,
                                   .is_view = true,
                                   .takes_attrs = true,
                                   .infer = as_strided_infer,
                                   .vjp = as_strided_vjp };

ag_tensor *ag__as_strided_like(ag_tensor *base, const ag__geometry *g)
{
    const size_t n = (size_t)g->ndim, own = base->ndim;
    int64_t list[3 * AG_MAX_DIMS];
    ag__long_attrs a;
    a.head = (ag__attrs){ .i = { g->offset, base->offset, g->ndim }, .n = (int)(2 * n + own) };
    memcpy(list, g->shape, n * sizeof *list);
    memcpy(list + n, g->strides, n * sizeof *list);
    memcpy(list + 2 * n, ag__strides(base), own * sizeof *list);
    memcpy((char *)&a + offsetof(ag__attrs, list), list, (2 * n + own) * sizeof *list);
    return ag__unary(&ag__op_as_strided, base, &a.head);
}

ag_tensor *ag_as_strided(ag_tensor *x, ag_ints shape, ag_ints strides, int64_t offset)
{
    ag__geometry g = { .ndim = shape.n, .offset = offset };
    if (!ag__has_data("ag_as_strided", x))
        return NULL;
    if (shape.n < 0 || shape.n > AG_MAX_DIMS)
        return ag__fail(x->c, AG_ERR_SHAPE,
                        "ag_as_strided: shape has %d dimensions; tensors have 0 to %d", shape.n,
                        AG_MAX_DIMS);
    if (shape.n != strides.n)
        return ag__fail(x->c, AG_ERR_SHAPE,
                        "ag_as_strided: mismatch in length of strides and shape: %d and %d",
                        strides.n, shape.n);
    if (shape.n > 0 && (!shape.data || !strides.data))
        return ag__fail(x->c, AG_ERR_VALUE, "ag_as_strided: the list of %s is NULL",
                        shape.data ? "strides" : "sizes");
    for (int i = 0; i < shape.n; i++) {
        g.shape[i] = shape.data[i];
        g.strides[i] = strides.data[i];
    }
    return ag__as_strided_like(x, &g);
}

/* ---- diagonal: i[0] is the offset, i[1] and i[2] the dimensions ---- */

/* Turns g into the geometry of its diagonal. */
static bool diagonal_of(ag_context *c, const ag__attrs *a, ag__geometry *g)
{
    const int d1 = ag__op_dim(c, "diagonal", a->i[1], g->ndim);
    const int d2 = d1 < 0 ? -1 : ag__op_dim(c, "diagonal", a->i[2], g->ndim);
    if (d2 < 0)
        return false;
    if (d1 == d2)
        return ag_fail(c, AG_ERR_VALUE,
                       "ag_diagonal: diagonal dimensions cannot be identical %lld, %lld",
                       (long long)a->i[1], (long long)a->i[2]);
    /* From the first element on, `d` is the dimension in which the diagonal starts later. */
    const int64_t offset = a->i[0];
    const int d = offset < 0 ? d1 : d2, other = offset < 0 ? d2 : d1;
    const int64_t far = g->shape[d]; /* and past it, there are no elements */
    const int64_t start = offset >= far || offset <= -far ? far : offset < 0 ? -offset : offset;
    const int64_t left = g->shape[d] - start;
    const int64_t size = left < g->shape[other] ? left : g->shape[other];
    const int64_t stride = g->strides[d1] + g->strides[d2];
    g->offset += size > 0 ? start * g->strides[d] : 0;
    int n = 0;
    for (int i = 0; i < g->ndim; i++) {
        if (i == d1 || i == d2)
            continue;
        g->shape[n] = g->shape[i];
        g->strides[n++] = g->strides[i];
    }
    g->shape[n] = size;
    g->strides[n++] = stride;
    g->ndim = n;
    return true;
}

static bool diagonal_infer(const ag__call *call, ag__geometry *out)
{
    ag__geometry_of(call->in[0], out);
    return diagonal_of(call->c, call->attrs, out);
}

/* The adjoint of the view that `turn` makes of a geometry. */
static bool strided_vjp(ag__rule *r, bool (*turn)(ag_context *, const ag__attrs *, ag__geometry *))
{
    const ag_ints shape = ag__in_shape(r, 0);
    ag__geometry g;
    strided_dense(shape, (ag_dtype)r->g[0]->dtype, &g);
    if (!turn(r->c, r->attrs, &g))
        return false;
    ag_tensor *sum = ag__as_strided_add(r->g[0], &g, ag__shape_numel(shape));
    return (r->out[0] = ag_view(sum, shape)) != NULL;
}

static bool diagonal_vjp(ag__rule *r) { return strided_vjp(r, diagonal_of); }

const ag__op ag__op_diagonal = { .name = "diagonal",
                                 .node_name = "DiagonalBackward0",
                                 .kind = AG_KIND_LINEAR,
                                 .n_in = 1,
                                 .n_out = 1,
                                 .is_view = true,
                                 .takes_attrs = true,
                                 .infer = diagonal_infer,
                                 .vjp = diagonal_vjp };

ag_tensor *ag_diagonal(ag_tensor *x, int64_t offset, int d1, int d2)
{
    return ag__unary(&ag__op_diagonal, x, &(ag__attrs){ .i = { offset, d1, d2 } });
}

/* ---- unfold: i[0] is the dimension, i[1] the size of a window, i[2] the step ---- */

/* Turns g into the geometry of its windows, which become the last dimension. */
static bool unfold_windows(ag_context *c, const ag__attrs *a, ag__geometry *g)
{
    const int64_t window = a->i[1], step = a->i[2];
    const int d = ag__op_dim(c, "unfold", a->i[0], g->ndim);
    if (d < 0)
        return false;
    if (g->ndim == AG_MAX_DIMS)
        return ag_fail(c, AG_ERR_SHAPE,
                       "ag_unfold: the result would have %d dimensions; tensors have 0 to %d",
                       AG_MAX_DIMS + 1, AG_MAX_DIMS);
    const int64_t size = g->ndim ? g->shape[d] : 1, stride = g->ndim ? g->strides[d] : 1;
    if (window < 0)
        return ag_fail(c, AG_ERR_VALUE, "ag_unfold: size is %lld but must be >= 0",
                       (long long)window);
    if (window > size)
        return ag_fail(
            c, AG_ERR_VALUE,
            "ag_unfold: maximum size for tensor at dimension %d is %lld but size is %lld", d,
            (long long)size, (long long)window);
    if (step <= 0)
        return ag_fail(c, AG_ERR_VALUE, "ag_unfold: step is %lld but must be > 0", (long long)step);
    if (g->ndim) {
        g->shape[d] = (size - window) / step + 1;
        g->strides[d] = g->shape[d] > 1 ? stride * step : stride;
    }
    g->shape[g->ndim] = window;
    g->strides[g->ndim++] = stride;
    return true;
}

static bool unfold_infer(const ag__call *call, ag__geometry *out)
{
    ag__geometry_of(call->in[0], out);
    return unfold_windows(call->c, call->attrs, out) &&
           ag__check_shape(call->c, "ag_unfold", (ag_ints){ out->shape, out->ndim }, out->dtype);
}

static bool unfold_vjp(ag__rule *r) { return strided_vjp(r, unfold_windows); }

const ag__op ag__op_unfold = { .name = "unfold",
                               .node_name = "UnfoldBackward0",
                               .kind = AG_KIND_LINEAR,
                               .n_in = 1,
                               .n_out = 1,
                               .is_view = true,
                               .takes_attrs = true,
                               .infer = unfold_infer,
                               .vjp = unfold_vjp };

ag_tensor *ag_unfold(ag_tensor *x, int dim, int64_t size, int64_t step)
{
    return ag__unary(&ag__op_unfold, x, &(ag__attrs){ .i = { dim, size, step } });
}

/* ---- movedim ---- */

ag_tensor *ag_movedim(ag_tensor *x, int from, int to)
{
    const int a = x ? ag__op_dim(x->c, "movedim", from, x->ndim) : -1;
    const int b = a < 0 ? -1 : ag__op_dim(x->c, "movedim", to, x->ndim);
    int64_t order[AG_MAX_DIMS];
    if (b < 0)
        return NULL;
    for (int i = 0; i < x->ndim; i++)
        order[i] = i;
    for (int i = a; i < b; i++)
        order[i] = i + 1;
    for (int i = a; i > b; i--)
        order[i] = i - 1;
    order[b] = a;
    return ag_permute(x, (ag_ints){ order, x->ndim });
}
