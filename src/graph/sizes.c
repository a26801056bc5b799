/*
 * Shapes that are taken from tensors when a graph runs. Where sizes are not known yet, functions of
 * several operations record these rows in place of reshape, expand and slice; see AG_SIZE_OF_OTHER.
 * A replay, which knows the sizes, calls the operations themselves; so traced graphs have such rows
 * only where data decide a size.
 */
#include "rows.h"

/* What `size` means beside `other`; -1 when it is not known. Others stay. */
static int64_t sizes_meant(ag_ints x, ag_ints other, int64_t size)
{
    const int64_t d = size < 0 ? size - AG_SIZE_OF_OTHER(0) : -1;
    return d >= 0 && d < other.n ? other.data[d] : ag__size_meant(x, size);
}

/* Of an expansion: x's own size, where it has one and the other is 1. */
static int64_t sizes_spread(ag_ints x, ag_ints other, ag_ints list, int i)
{
    const int k = i - (list.n - x.n);
    const int64_t own = k < 0 ? 1 : x.data[k], meant = sizes_meant(x, other, list.data[i]);
    return list.data[i] < 0 && (meant == 1 || (meant < 0 && own >= 0 && own != 1)) ? own : meant;
}

static int64_t sizes_less(int64_t a, int64_t b) { return a < b ? a : b; }

int ag__sizes_result(const ag__op *op, ag_ints x, ag_ints other, ag_ints list, int64_t *shape)
{
    if (op == &ag__op_cut_like) {
        for (int d = 0; d < x.n; d++)
            shape[d] = sizes_less(x.data[d], other.data[d]);
        return x.n;
    }
    for (int i = 0; i < list.n; i++)
        shape[i] = op == &ag__op_expand_like ? sizes_spread(x, other, list, i)
                                             : sizes_meant(x, other, list.data[i]);
    return list.n;
}

static ag_tensor *sizes_record(const ag__op *op, ag_tensor *x, ag_tensor *other, ag_ints list)
{
    ag_tensor *const both[] = { x, other };
    ag__region *r = ag__region_for(op->name, both, 2);
    if (!r)
        return NULL;
    const ag__region_mark mark = ag__region_here(r);
    ag__geometry g = { .dtype = (ag_dtype)x->dtype };
    int32_t in[2];
    in[0] = ag__region_operand(r, op->name, x);
    in[1] = in[0] < 0 ? -1 : ag__region_operand(r, op->name, other);
    ag__attrs a = { .n = list.n };
    for (int i = 0; i < list.n; i++)
        a.list[i] = list.data[i];
    g.ndim = ag__sizes_result(op, ag__sizes(x), ag__sizes(other), list, g.shape);
    ag_tensor *y;
    const ag__inst like = { .op = op, .n_in = 2, .n_out = 1, .in = in, .attrs = &a };
    if (in[1] >= 0 && ag__record_in(r, &like, &g, &y))
        return ag__give(y);
    ag__region_rewind(r, mark);
    return NULL;
}

ag_tensor *ag__reshape_like(ag_tensor *x, ag_ints shape, ag_tensor *other)
{
    return sizes_record(&ag__op_reshape_like, x, other, shape);
}

ag_tensor *ag__expand_like(ag_tensor *x, ag_ints shape, ag_tensor *other)
{
    return sizes_record(&ag__op_expand_like, x, other, shape);
}

ag_tensor *ag__cut_like(ag_tensor *x, ag_tensor *other)
{
    return sizes_record(&ag__op_cut_like, x, other, (ag_ints){ NULL, 0 });
}

ag_tensor *ag__sizes_replay(const ag__inst *i, ag_tensor *x, const ag_tensor *other)
{
    int64_t shape[AG_MAX_DIMS];
    const ag_ints list = { i->attrs->list, i->attrs->n };
    const int n = ag__sizes_result(i->op, ag__sizes(x), ag__sizes(other), list, shape);
    if (i->op == &ag__op_reshape_like)
        return ag_reshape(x, (ag_ints){ shape, n });
    if (i->op == &ag__op_expand_like)
        return ag_expand(x, (ag_ints){ shape, n });
    for (int d = 0; d < n && x; d++)
        if (x->dims[d] > shape[d])
            x = ag_slice(x, d, 0, shape[d], 1);
    return x;
}
