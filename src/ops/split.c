/*
 * Views of several results: split, chunk and unbind cut a tensor into its parts along a dimension.
 *
 * All parts are results of one node. Its rule puts their gradients together again, zeros standing
 * for parts that have none.
 */
#include "compose.h"
#include "dims.h"
#include "op.h"

/* ---- rows: i[0] is the dimension, i[1] the size of a part ---- */

/* At least one part, which may be empty. */
static int64_t split_count(int64_t total, int64_t size)
{
    return total == 0 ? 1 : total / size + (total % size != 0);
}

/* How many parts there are was found out when the call was made, in a graph for the sizes known then. */
static bool split_check(const ag__call *call, int64_t total, bool fit)
{
    return fit || ag_fail(call->c, AG_ERR_SHAPE,
                          "ag_%s: a dimension of %lld elements does not give %d parts",
                          call->op->name, (long long)total, call->n_out);
}

static bool split_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    if (!ag__attrs_fit(call, x->ndim > 0) || !ag__attrs_dim(call, x->ndim))
        return false;
    const int d = (int)call->attrs->i[0];
    const int64_t size = call->attrs->i[1], total = x->dims[d], stride = x->dims[x->ndim + d];
    if (!split_check(call, total,
                     total ? size > 0 && split_count(total, size) == call->n_out
                           : size == 0 || (size > 0 && call->n_out == 1)))
        return false;
    for (int j = 0; j < call->n_out; j++) {
        const int64_t start = j * size, left = total - start;
        ag__geometry_of(x, &out[j]);
        out[j].offset += start * stride;
        out[j].shape[d] = left < size ? left : size;
    }
    return true;
}

static bool unbind_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    if (!ag__attrs_fit(call, x->ndim > 0) || !ag__attrs_dim(call, x->ndim))
        return false;
    const int d = (int)call->attrs->i[0];
    if (!split_check(call, x->dims[d], call->n_out == x->dims[d]))
        return false;
    for (int j = 0; j < call->n_out; j++) {
        ag__geometry *g = &out[j];
        ag__geometry_of(x, g);
        g->offset += j * g->strides[d];
        ag__geometry_remove(g, d);
    }
    return true;
}

/* The gradients of all results, joined by `join`. */
static bool split_join(ag__rule *r, ag_tensor *(*join)(ag_tensor *const *, int, int))
{
    const int n = ag__n_out(r);
    const size_t bytes = (size_t)n * sizeof(ag_tensor *);
    int first = 0;
    while (first < n && !r->g[first])
        first++;
    if (first == n)
        return true;
    ag_tensor *zero = ag_zeros(r->c, AG_SHAPE(), .dtype = (ag_dtype)r->g[first]->dtype);
    ag_tensor **parts = zero ? ag__alloc(r->c, bytes) : NULL;
    bool ok = parts != NULL;
    for (int j = 0; j < n && ok; j++) {
        parts[j] = r->g[j] ? r->g[j] : ag_expand(zero, ag__out_shape(r, j));
        ok = parts[j] != NULL;
    }
    r->out[0] = ok ? join(parts, n, (int)r->attrs->i[0]) : NULL;
    ag__free(r->c, parts, bytes);
    return r->out[0] != NULL;
}
static bool split_vjp(ag__rule *r) { return split_join(r, ag_cat); }
static bool unbind_vjp(ag__rule *r) { return split_join(r, ag_stack); }

const ag__op ag__op_split = { .name = "split",
                              .node_name = "SplitBackward0",
                              .kind = AG_KIND_LINEAR,
                              .n_in = 1,
                              .n_out = -1,
                              .is_view = true,
                              .takes_attrs = true,
                              .infer = split_infer,
                              .vjp = split_vjp };
const ag__op ag__op_unbind = { .name = "unbind",
                               .node_name = "UnbindBackward0",
                               .kind = AG_KIND_LINEAR,
                               .n_in = 1,
                               .n_out = -1,
                               .is_view = true,
                               .takes_attrs = true,
                               .infer = unbind_infer,
                               .vjp = unbind_vjp };

/* ---- public ---- */

/* Fills out[0..n), which has room for `capacity`; n or -1. */
static int split_run(const ag__op *op, const char *name, ag_tensor *x, int dim, int64_t size,
                     int64_t n, ag_tensor **out, int capacity)
{
    if (n > capacity || (n > 0 && !out)) {
        ag__fail(x->c, AG_ERR_VALUE, "ag_%s: there are %lld results, and room for %d", name,
                 (long long)n, out && capacity > 0 ? capacity : 0);
        return -1;
    }
    if (!ag__run_many(op, &x, 1, &(ag__attrs){ .i = { dim, size } }, (int)n, out))
        return -1;
    bool ok = true;
    for (int64_t j = 0; j < n; j++)
        ok = ag__give(out[j]) && ok;
    return ok ? (int)n : -1;
}

/* The dimension; -1 with an error, also for a tensor that has none. */
static int split_dim(const char *name, ag_tensor *x, int dim)
{
    if (!x)
        return -1;
    if (x->ndim > 0) {
        const int d = ag__op_dim(x->c, name, dim, x->ndim);
        if (d < 0 || x->dims[d] >= 0)
            return d;
        ag__fail(x->c, AG_ERR_SHAPE,
                 "ag_%s: the size of dimension %d must be known in a graph, since it decides how "
                 "many results there are",
                 name, d);
        return -1;
    }
    ag__fail(x->c, AG_ERR_SHAPE, "ag_%s: %s expects at least a 1-dimensional tensor", name, name);
    return -1;
}

int ag_split(ag_tensor *x, int64_t size, int dim, ag_tensor **out, int capacity)
{
    const int d = split_dim("split", x, dim);
    if (d < 0)
        return -1;
    const int64_t total = x->dims[d];
    if (size < 0 || (size == 0 && total > 0)) {
        if (size < 0)
            ag__fail(x->c, AG_ERR_VALUE,
                     "ag_split: split expects split_size be non-negative, but got split_size=%lld",
                     (long long)size);
        else
            ag__fail(x->c, AG_ERR_VALUE,
                     "ag_split: split_size can only be 0 if dimension size is 0, but got dimension "
                     "size of %lld",
                     (long long)total);
        return -1;
    }
    return split_run(&ag__op_split, "split", x, d, size, split_count(total, size), out, capacity);
}

/* Of no elements there are as many chunks as were asked for. */
int ag_chunk(ag_tensor *x, int64_t chunks, int dim, ag_tensor **out, int capacity)
{
    const int d = split_dim("chunk", x, dim);
    if (d < 0)
        return -1;
    if (chunks <= 0) {
        ag__fail(x->c, AG_ERR_VALUE,
                 "ag_chunk: chunk expects `chunks` to be greater than 0, got: %lld",
                 (long long)chunks);
        return -1;
    }
    const int64_t total = x->dims[d], size = total ? split_count(total, chunks) : 0;
    const int64_t n = total ? split_count(total, size) : chunks;
    return split_run(&ag__op_split, "chunk", x, d, size, n, out, capacity);
}

int ag_unbind(ag_tensor *x, int dim, ag_tensor **out, int capacity)
{
    if (x && x->ndim == 0) {
        ag__fail(x->c, AG_ERR_INDEX,
                 "ag_unbind: Dimension specified as %d but tensor has no dimensions", dim);
        return -1;
    }
    const int d = split_dim("unbind", x, dim);
    return d < 0 ? -1 : split_run(&ag__op_unbind, "unbind", x, d, 1, x->dims[d], out, capacity);
}
