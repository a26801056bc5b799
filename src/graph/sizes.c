/*
 * Shapes that are taken from tensors when a graph runs. Where sizes are not known yet, functions of
 * several operations record these rows in place of reshape, expand and slice; see AG_SIZE_OF_OTHER. A
 * replay, which knows all sizes, calls the operations themselves, so that traced graphs have none of them.
 */
#include "rules.h"

/* What `size` means beside `other`; -1 when it is not known. Others stay. */
static int64_t sizes_meant(const ag_tensor *x, const ag_tensor *other, int64_t size)
{
    const int64_t d = size < 0 ? size - AG_SIZE_OF_OTHER(0) : -1;
    return d >= 0 && d < other->ndim ? other->dims[d] : ag__size_meant(x, size);
}

/* Of an expansion: x's own size, where it has one and the other is 1. */
static int64_t sizes_spread(const ag_tensor *x, const ag_tensor *other, ag_ints shape, int i)
{
    const int k = i - (shape.n - x->ndim);
    const int64_t own = k < 0 ? 1 : x->dims[k], meant = sizes_meant(x, other, shape.data[i]);
    return shape.data[i] < 0 && (meant == 1 || (meant < 0 && own >= 0 && own != 1)) ? own : meant;
}

static int64_t sizes_less(int64_t a, int64_t b) { return a < b ? a : b; }

bool ag__sizes_infer(const ag__op *op, const ag_tensor *x, const ag_tensor *other, ag_ints list,
                     ag__geometry *g)
{
    const bool cuts = op == &ag__op_cut_like, expands = op == &ag__op_expand_like;
    if (list.n > AG_MAX_DIMS ||
        (cuts ? list.n || x->ndim != other->ndim : expands && list.n < x->ndim))
        return ag_fail(x->c, AG_ERR_SHAPE,
                       "ag_%s: a list of %d sizes for tensors of %d and %d dims", op->name, list.n,
                       x->ndim, other->ndim);
    g->dtype = (ag_dtype)x->dtype;
    g->ndim = cuts ? x->ndim : list.n;
    for (int i = 0; i < g->ndim; i++)
        g->shape[i] = cuts      ? sizes_less(x->dims[i], other->dims[i])
                      : expands ? sizes_spread(x, other, list, i)
                                : sizes_meant(x, other, list.data[i]);
    return ag__rule_type(x->c, op->name, g->dtype, (ag_ints){ g->shape, g->ndim });
}

static ag_tensor *sizes_record(const ag__op *op, ag_tensor *x, ag_tensor *other, ag_ints list)
{
    ag__geometry geometry;
    if (!ag__sizes_infer(op, x, other, list, &geometry))
        return NULL;
    ag_tensor *const both[] = { x, other };
    ag__region *r = ag__region_for(op->name, both, 2);
    if (!r)
        return NULL;
    const ag__region_mark mark = ag__region_here(r);
    int32_t in[2];
    in[0] = ag__region_operand(r, op->name, x);
    in[1] = in[0] < 0 ? -1 : ag__region_operand(r, op->name, other);
    ag__attrs a = { .n = list.n };
    for (int i = 0; i < list.n; i++)
        a.list[i] = list.data[i];
    ag_tensor *y;
    const ag__inst like = { .op = op, .n_in = 2, .n_out = 1, .in = in, .attrs = &a };
    if (in[1] >= 0 && ag__record_in(r, &like, &geometry, &y))
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
    const ag_ints list = { i->attrs->list, i->attrs->n };
    const bool expands = i->op == &ag__op_expand_like;
    int64_t shape[AG_MAX_DIMS];
    for (int k = 0; k < list.n; k++)
        shape[k] = expands ? sizes_spread(x, other, list, k) : sizes_meant(x, other, list.data[k]);
    if (i->op == &ag__op_cut_like) {
        for (int d = 0; d < other->ndim && x; d++)
            if (x->dims[d] > other->dims[d])
                x = ag_slice(x, d, 0, other->dims[d], 1);
        return x;
    }
    return expands ? ag_expand(x, (ag_ints){ shape, list.n })
                   : ag_reshape(x, (ag_ints){ shape, list.n });
}
