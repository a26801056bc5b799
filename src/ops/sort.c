/*
 * Operations that choose elements along a dimension: the greatest, the least, the middle one, all in
 * order, the first k of these, the greatest so far. They differ in which indices they write. The
 * rest is one for all: values are read at the indices, and a gradient is added to the element at its
 * index, which is the transpose of ag_gather.
 *
 * Attributes: list[0] is the dimension, i[0] is 1 when the results have it, i[1] is 1 for descending
 * order, i[2] is k.
 */
#include "dims.h"
#include "index.h"
#include "reduce.h"

#include <string.h>

#include "../base/parallel.h"
#include "../kernels/order.h"

/* Elements of a block that is worth waking a thread for: of reading, and of sorting. */
enum { SORT_PART_READ = 1 << 16, SORT_PART = 1 << 13 };

/* ---- what the rows share ---- */

/* One call's work on x, which is dense in [outer][n][inner], and its results in [outer][m][inner]. */
typedef struct {
    ag_context *c;
    ag_dtype compute;
    ag__lanes l;
    int64_t m;
    const char *x;
    char *values;
    int64_t *indices;
    int64_t size; /* of an element of x and values */
    /* of sorting: */
    bool descending, middle;
    int64_t lines; /* in a block */
    ag__ordered *order;
} sort_work;

/* values[o][i][k] = x[o][indices[o][i][k]][k] for a part of the results. */
static void sort_read_block(void *arg, int64_t block, int worker)
{
    const sort_work *w = arg;
    const int64_t inner = w->l.inner, plane = w->m * inner, all = w->l.outer * plane;
    const int64_t from = block * SORT_PART_READ;
    const int64_t to = all - from < SORT_PART_READ ? all : from + SORT_PART_READ;
    int64_t base = from / plane * w->l.n * inner, left = plane - from % plane, k = from % inner;
    (void)worker;
    for (int64_t at = from; at < to; at++) {
        const char *x = w->x + (base + w->indices[at] * inner + k) * w->size;
        char *y = w->values + at * w->size;
        if (w->size == sizeof(float))
            memcpy(y, x, sizeof(float));
        else
            memcpy(y, x, sizeof(double));
        k = k + 1 < inner ? k + 1 : 0;
        if (--left == 0) {
            base += w->l.n * inner;
            left = plane;
        }
    }
}

/* Writes w->indices; false, with an error, for lack of memory. */
typedef bool sort_choice(sort_work *w);

static bool sort_run(const ag__call *call, ag_tensor *const *out, sort_choice *choose)
{
    const ag_tensor *x = call->in[0];
    const ag_dtype compute = ag__reduce_dtype((ag_dtype)x->dtype);
    const int dim = ag__op_dim(call->c, call->op->name, call->attrs->list[0], x->ndim);
    ag_tensor *from = ag__ready(call->in[0], compute), *to = ag__computed_in(out[0], compute);
    bool ok = from && to;
    if (ok && to->numel > 0) {
        sort_work w = { .c = call->c,
                        .compute = compute,
                        .l = ag__lanes_along(ag__sizes(x), dim),
                        .x = ag__at(from),
                        .values = ag__at(to),
                        .indices = (int64_t *)(void *)ag__at(out[1]),
                        .size = (int64_t)ag__itemsize(compute),
                        .descending = call->attrs->i[1] };
        w.m = to->numel / (w.l.outer * w.l.inner);
        ok = choose(&w);
        if (ok)
            ag__parallel(call->c, (to->numel + SORT_PART_READ - 1) / SORT_PART_READ,
                         sort_read_block, &w);
        if (ok && to != out[0])
            ag__copy_data(out[0], to);
    }
    ag__tensor_unref(from);
    ag__tensor_unref(to);
    return ok;
}

static unsigned sort_needs(unsigned wanted) { return (void)wanted, AG_SAVE_OUTPUT << 1; }

static bool sort_vjp(ag__rule *r)
{
    const ag_ints shape = ag__in_shape(r, 0);
    const int dim = ag__op_dim(r->c, r->op->name, r->attrs->list[0], shape.n);
    ag_tensor *g = ag__reduce_beside(r, r->g[0]), *index = ag__reduce_beside(r, ag__out(r, 1));
    r->out[0] = g && index ? ag__scatter_add_zeros(g, dim, index, shape) : NULL;
    return r->out[0] != NULL;
}

/* The second result is like the first, of indices. */
static bool sort_infer_indices(ag__geometry *out)
{
    out[1] = out[0];
    out[1].dtype = AG_I64;
    return true;
}

static bool sort_call(const ag__op *op, ag_tensor *x, const ag__attrs *a, ag_tensor **values,
                      ag_tensor **indices)
{
    ag_tensor *out[AG_MAX_OUTPUTS], **to[] = { values, indices };
    if (!ag__run(op, &x, 1, a, out))
        return false;
    for (int j = 0; j < 2; j++)
        if (to[j])
            *to[j] = ag__give(out[j]);
        else
            ag__tensor_unref(out[j]);
    return true;
}

static const char *const sort_results[] = { "values", "indices" };

#define SORT_ROW(name_, node, infer_, kernel_)                                                     \
    const ag__op ag__op_##name_ = { .name = #name_,                                                \
                                    .node_name = #node,                                            \
                                    .results = sort_results,                                       \
                                    .kind = AG_KIND_GENERAL,                                       \
                                    .n_in = 1,                                                     \
                                    .n_out = 2,                                                    \
                                    .takes_attrs = true,                                           \
                                    .infer = infer_,                                               \
                                    .kernel = kernel_,                                             \
                                    .needs = sort_needs,                                           \
                                    .vjp = sort_vjp }

/* ---- max_dim, min_dim ---- */

static bool sort_greatest(sort_work *w)
{
    return ag__reduce(w->c, w->compute, AG_REDUCE_ARGMAX, w->x, w->indices, w->l);
}
static bool sort_least(sort_work *w)
{
    return ag__reduce(w->c, w->compute, AG_REDUCE_ARGMIN, w->x, w->indices, w->l);
}

static bool extreme_dim_infer(const ag__call *call, ag__geometry *out)
{
    return ag__attrs_fit(call, call->attrs->n == 1) && ag__reduce_check_some(call) &&
           ag__reduce_shape(call, out, (ag_dtype)call->in[0]->dtype) && sort_infer_indices(out);
}
static bool max_dim_kernel(const ag__call *call, ag_tensor *const *out)
{
    return sort_run(call, out, sort_greatest);
}
static bool min_dim_kernel(const ag__call *call, ag_tensor *const *out)
{
    return sort_run(call, out, sort_least);
}

SORT_ROW(max_dim, MaxBackward0, extreme_dim_infer, max_dim_kernel);
SORT_ROW(min_dim, MinBackward0, extreme_dim_infer, min_dim_kernel);

bool ag_max_dim(ag_tensor *x, int dim, bool keepdim, ag_tensor **values, ag_tensor **indices)
{
    const ag__attrs a = ag__reduce_along(dim, keepdim);
    return sort_call(&ag__op_max_dim, x, &a, values, indices);
}
bool ag_min_dim(ag_tensor *x, int dim, bool keepdim, ag_tensor **values, ag_tensor **indices)
{
    const ag__attrs a = ag__reduce_along(dim, keepdim);
    return sort_call(&ag__op_min_dim, x, &a, values, indices);
}

/* ---- median_dim, sort, topk: the order of whole lines ---- */

/* Where the middle of an ascending order stands, the lower one of two; the first NaN if there is any.
 */
static int64_t sort_middle(const sort_work *w, const ag__ordered *line)
{
    int64_t at = w->l.n;
    while (w->compute != AG_I64 && at > 0 && line[at - 1].key == AG__ORDER_NAN)
        at--;
    return at < w->l.n ? at : (w->l.n - 1) / 2;
}

static void sort_block(void *arg, int64_t block, int worker)
{
    const sort_work *w = arg;
    const int64_t n = w->l.n, inner = w->l.inner, all = w->l.outer * inner;
    ag__ordered *a = w->order + 2 * n * worker;
    for (int64_t line = block * w->lines; line < (block + 1) * w->lines && line < all; line++) {
        const int64_t o = line / inner, k = line % inner;
        const char *x = w->x + (o * n * inner + k) * w->size;
        const ag__ordered *s = ag__order(w->compute, x, n, inner, w->descending, a, a + n);
        int64_t *to = w->indices + o * w->m * inner + k;
        s += w->middle ? sort_middle(w, s) : 0;
        for (int64_t i = 0; i < w->m; i++)
            to[i * inner] = s[i].index;
    }
}

static bool sort_lines(sort_work *w)
{
    const int64_t lines = w->l.outer * w->l.inner;
    w->lines = w->l.n < SORT_PART ? SORT_PART / w->l.n : 1;
    const int64_t blocks = (lines + w->lines - 1) / w->lines;
    const size_t bytes =
        2 * sizeof *w->order * (size_t)w->l.n * (size_t)ag__parallel_workers(w->c, blocks);
    w->order = ag__alloc(w->c, bytes);
    if (w->order)
        ag__parallel(w->c, blocks, sort_block, w);
    ag__free(w->c, w->order, bytes);
    return w->order != NULL;
}
static bool sort_median(sort_work *w)
{
    w->middle = true;
    return sort_lines(w);
}

static bool median_dim_infer(const ag__call *call, ag__geometry *out)
{
    if (call->in[0]->dtype == AG_BOOL)
        return ag_fail(call->c, AG_ERR_DTYPE, "ag_median_dim: not implemented for bool");
    return extreme_dim_infer(call, out);
}
static bool median_dim_kernel(const ag__call *call, ag_tensor *const *out)
{
    return sort_run(call, out, sort_median);
}

static bool sort_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    return ag__attrs_fit(call, call->attrs->n == 1) &&
           ag__op_dim(call->c, call->op->name, call->attrs->list[0], x->ndim) >= 0 &&
           sort_infer_indices(out);
}
static bool sort_kernel(const ag__call *call, ag_tensor *const *out)
{
    return sort_run(call, out, sort_lines);
}

static bool topk_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const int64_t k = call->attrs->i[2];
    if (!ag__attrs_fit(call, call->attrs->n == 1))
        return false;
    const int dim = ag__op_dim(call->c, call->op->name, call->attrs->list[0], x->ndim);
    if (dim < 0)
        return false;
    if (x->dtype == AG_BOOL)
        return ag_fail(call->c, AG_ERR_DTYPE, "ag_topk: topk does not support bool dtypes");
    const int64_t size = x->ndim ? x->dims[dim] : 1;
    if (k < 0 || k > size)
        return ag_fail(call->c, AG_ERR_INDEX,
                       "ag_topk: selected index k out of range: k is %lld, dimension %d has size "
                       "%lld",
                       (long long)k, dim, (long long)size);
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    if (x->ndim)
        out->shape[dim] = k;
    return sort_infer_indices(out);
}

SORT_ROW(median_dim, MedianBackward1, median_dim_infer, median_dim_kernel);
SORT_ROW(sort, SortBackward0, sort_infer, sort_kernel);
SORT_ROW(topk, TopkBackward0, topk_infer, sort_kernel);

bool ag_median_dim(ag_tensor *x, int dim, bool keepdim, ag_tensor **values, ag_tensor **indices)
{
    const ag__attrs a = ag__reduce_along(dim, keepdim);
    return sort_call(&ag__op_median_dim, x, &a, values, indices);
}
bool ag_sort(ag_tensor *x, int dim, bool descending, ag_tensor **values, ag_tensor **indices)
{
    const ag__attrs a = { .i = { 1, descending }, .n = 1, .list = { dim } };
    return sort_call(&ag__op_sort, x, &a, values, indices);
}
bool ag_topk(ag_tensor *x, int64_t k, int dim, bool largest, ag_tensor **values,
             ag_tensor **indices)
{
    const ag__attrs a = { .i = { 1, largest, k }, .n = 1, .list = { dim } };
    return sort_call(&ag__op_topk, x, &a, values, indices);
}

/* ---- cummax, cummin ---- */

static bool sort_so_far(sort_work *w, int which)
{
    ag__scan(w->c, w->compute, which, (const void *[]){ w->x, NULL, NULL }, w->indices, w->l);
    return true;
}
static bool sort_greatest_so_far(sort_work *w) { return sort_so_far(w, AG_SCAN_CUMARGMAX); }
static bool sort_least_so_far(sort_work *w) { return sort_so_far(w, AG_SCAN_CUMARGMIN); }
static bool cummax_kernel(const ag__call *call, ag_tensor *const *out)
{
    return sort_run(call, out, sort_greatest_so_far);
}
static bool cummin_kernel(const ag__call *call, ag_tensor *const *out)
{
    return sort_run(call, out, sort_least_so_far);
}

SORT_ROW(cummax, CummaxBackward0, sort_infer, cummax_kernel);
SORT_ROW(cummin, CumminBackward0, sort_infer, cummin_kernel);

bool ag_cummax(ag_tensor *x, int dim, ag_tensor **values, ag_tensor **indices)
{
    const ag__attrs a = { .i = { 1 }, .n = 1, .list = { dim } };
    return sort_call(&ag__op_cummax, x, &a, values, indices);
}
bool ag_cummin(ag_tensor *x, int dim, ag_tensor **values, ag_tensor **indices)
{
    const ag__attrs a = { .i = { 1 }, .n = 1, .list = { dim } };
    return sort_call(&ag__op_cummin, x, &a, values, indices);
}

#undef SORT_ROW
