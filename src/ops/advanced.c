/*
 * Indexing by tensors, as x[a, b] in PyTorch: index reads, index_put writes; and take, which reads
 * a tensor as if it were a vector.
 *
 * A list of index tensors (integers, masks, NULL for a whole dimension) is turned into one tensor
 * first: index_positions checks them, broadcasts them together and says for each combination where
 * it lies, counted in elements of a contiguous x, from the start of x. The rows take this tensor,
 * and as attribute which dimensions of x were indexed. So they need not know how many index tensors
 * there were, and save one.
 *
 * Note [advanced indexing]
 * The indexed dimensions are replaced by those of the positions: where they stood, when they are
 * neighbours, at the front otherwise. The dimensions behind the last indexed one are a run, which is
 * copied as a whole; the others that are not indexed are walked by a list of offsets. An element of
 * the result is at position + offset + place in the run.
 */
#include "index.h"

#include <stdio.h>
#include <string.h>

#include "../kernels/accumulate.h"
#include "compose.h"
#include "inplace.h"

/* ---- index_positions: operands x and the index tensors ---- */

static bool advanced_is_mask(const ag_tensor *t)
{
    return t->dtype == AG_BOOL || t->dtype == AG_U8;
}

/* How many dimensions of x index tensor t takes. */
static int advanced_takes(const ag_tensor *t) { return t && advanced_is_mask(t) ? t->ndim : 1; }

static const char *advanced_name(const ag__call *call)
{
    return call->attrs->i[0] ? "index_put" : "index";
}

/* Dtypes, masks' shapes and the number of dimensions. */
static bool advanced_check(const ag__call *call)
{
    const ag_tensor *x = call->in[0];
    ag__shape_text a, b;
    int d = 0;
    if (!ag__attrs_fit(call, call->n_in > 1 && call->n_in <= AG_MAX_DIMS + 1))
        return false;
    for (int i = 1; i < call->n_in; i++)
        d += advanced_takes(call->in[i]);
    if (d > x->ndim)
        return ag_fail(call->c, AG_ERR_INDEX,
                       "ag_%s: too many indices for tensor of dimension %d (got %d)",
                       advanced_name(call), x->ndim, d);
    d = 0;
    for (int i = 1; i < call->n_in; d += advanced_takes(call->in[i++])) {
        const ag_tensor *t = call->in[i];
        const bool mask = t && advanced_is_mask(t);
        if (t && !mask && t->dtype != AG_I64 && t->dtype != AG_I32)
            return ag_fail(call->c, AG_ERR_DTYPE,
                           "ag_%s: tensors used as indices must be long, int, byte or bool "
                           "tensors; index %d is %s",
                           advanced_name(call), i - 1, ag_dtype_name((ag_dtype)t->dtype));
        for (int k = 0; mask && k < t->ndim; k++)
            if (t->dims[k] != x->dims[d + k])
                return ag_fail(call->c, AG_ERR_INDEX,
                               "ag_%s: The shape of the mask %s at index %d does not match the "
                               "shape of the indexed tensor %s at index %d",
                               advanced_name(call), ag__shape_string(&a, ag__sizes(t)), k,
                               ag__shape_string(&b, ag__sizes(x)), d + k);
    }
    return true;
}

static bool advanced_fail_shapes(const ag__call *call, const int64_t *counts)
{
    char text[512];
    size_t at = 0;
    ag__shape_text shape;
    for (int i = 1; i < call->n_in && at < sizeof text; i++)
        if (call->in[i]) {
            const ag_ints sizes =
                counts[i] >= 0 ? (ag_ints){ &counts[i], 1 } : ag__sizes(call->in[i]);
            at += (size_t)snprintf(text + at, sizeof text - at, at ? ", %s" : "%s",
                                   ag__shape_string(&shape, sizes));
        }
    return ag_fail(call->c, AG_ERR_INDEX,
                   "ag_%s: shape mismatch: indexing tensors could not be broadcast together with "
                   "shapes %s",
                   advanced_name(call), text);
}

/* `have` broadcast with sizes; false when they do not fit. -1: not known yet. */
static bool advanced_join(ag__geometry *have, ag_ints sizes)
{
    for (int i = 1; i <= sizes.n; i++) {
        const int64_t size = sizes.data[sizes.n - i];
        if (i > have->ndim) { /* one more dimension at the front */
            memmove(have->shape + 1, have->shape, (size_t)have->ndim++ * sizeof *have->shape);
            have->shape[0] = size;
            continue;
        }
        int64_t *mine = &have->shape[have->ndim - i];
        if (*mine != size && *mine != 1 && size != 1 && *mine >= 0 && size >= 0)
            return false;
        *mine = *mine == 1 || (*mine < 0 && size > 1) ? size : *mine;
    }
    return true;
}

static bool index_positions_infer(const ag__call *call, ag__geometry *out)
{
    int64_t counts[AG_MAX_DIMS + 1]; /* of masks; -1: not a mask, or one whose count is not known */
    const int64_t unknown = -1;
    if (!advanced_check(call))
        return false;
    ag__geometry_set(out, AG_I64, (ag_ints){ NULL, 0 });
    bool fits = true;
    for (int i = 1; i < call->n_in; i++) {
        ag_tensor *t = call->in[i];
        counts[i] = -1;
        if (t && advanced_is_mask(t) && ag__is_symbolic(t)) {
            fits = fits && advanced_join(out, (ag_ints){ &unknown, 1 });
            continue;
        }
        if (t && advanced_is_mask(t) && (counts[i] = ag__mask_count(t, ag__sizes(t))) < 0)
            return false;
        if (t)
            fits = fits &&
                   advanced_join(out, counts[i] < 0 ? ag__sizes(t) : (ag_ints){ &counts[i], 1 });
    }
    const ag_ints shape = { out->shape, out->ndim };
    return (fits || advanced_fail_shapes(call, counts)) &&
           (ag__shape_numel(shape) < 0 || ag__check_shape(call->c, "ag_index", shape, AG_I64));
}

/* What index tensor t adds to the positions, as a new i64 tensor: it indexes dimension d, one step of
 * which is `stride` elements. */
static ag_tensor *advanced_part(const ag__call *call, ag_tensor *t, int d, int64_t stride)
{
    const int64_t size = advanced_is_mask(t) ? 0 : call->in[0]->dims[d];
    if (advanced_is_mask(t)) {
        const int64_t n = ag__mask_count(t, ag__sizes(t));
        ag_tensor *part = n < 0 ? NULL : ag__tensor_new(call->c, AG_I64, 1, &n);
        ag_tensor *mask = part ? ag__ready(t, AG_BOOL) : NULL;
        int64_t *to = mask ? (int64_t *)(void *)ag__at(part) : NULL;
        for (int64_t k = 0; mask && k < mask->numel; k++)
            if (ag__at(mask)[k])
                *to++ = k * stride;
        if (!mask)
            ag__tensor_unref(part);
        ag__tensor_unref(mask);
        return mask ? part : NULL;
    }
    ag_tensor *part = ag__contiguous_copy(t, AG_I64);
    int64_t *at = part ? (int64_t *)(void *)ag__at(part) : NULL;
    for (int64_t k = 0; part && k < part->numel; k++) {
        if (at[k] < -size || at[k] >= size) {
            ag__fail(call->c, AG_ERR_INDEX,
                     "ag_%s: index %lld is out of bounds for dimension %d with size %lld",
                     advanced_name(call), (long long)at[k], d, (long long)size);
            ag__tensor_unref(part);
            return NULL;
        }
        at[k] = (at[k] < 0 ? at[k] + size : at[k]) * stride;
    }
    return part;
}

/* positions += part, broadcast. */
static bool advanced_add(ag_tensor *positions, ag_tensor *part)
{
    ag_tensor *all = ag__spread(part, AG_I64, ag__sizes(positions));
    if (!all)
        return false;
    ag__accumulate(AG_I64, ag__at(positions), 1, ag__at(all), all->numel);
    ag__tensor_unref(all);
    return true;
}

static bool index_positions_kernel(const ag__call *call, ag_tensor *const *out)
{
    const ag_tensor *x = call->in[0];
    if (out[0]->numel)
        memset(ag__at(out[0]), 0, (size_t)out[0]->numel * sizeof(int64_t));
    for (int i = 1, d = 0; i < call->n_in; d += advanced_takes(call->in[i++])) {
        ag_tensor *t = call->in[i];
        if (!t)
            continue;
        const int after = d + advanced_takes(t);
        const ag_ints rest = { x->dims + after, x->ndim - after };
        ag_tensor *part = advanced_part(call, t, d, ag__shape_numel(rest));
        const bool ok = part && advanced_add(out[0], part);
        ag__tensor_unref(part);
        if (!ok)
            return false;
    }
    return true;
}

const ag__op ag__op_index_positions = { .name = "index",
                                        .kind = AG_KIND_NODIFF,
                                        .n_in = -1,
                                        .n_out = 1,
                                        .takes_attrs = true,
                                        .optional = ~1u,
                                        .infer = index_positions_infer,
                                        .kernel = index_positions_kernel };

/* The positions of x[tensors], and which dimensions are indexed. */
static ag_tensor *advanced_positions(const char *name, bool put, ag_tensor *x,
                                     ag_tensor *const *tensors, int n, unsigned *dims)
{
    ag_tensor *in[AG_MAX_DIMS + 1] = { x };
    if (n <= 0 || !tensors)
        return ag__fail(x->c, AG_ERR_INDEX, "ag_%s: at least one index must be provided", name);
    if (n > AG_MAX_DIMS)
        return ag__fail(x->c, AG_ERR_INDEX,
                        "ag_%s: too many indices for tensor of dimension %d (got %d)", name,
                        x->ndim, n);
    memcpy(in + 1, tensors, (size_t)n * sizeof *in);
    ag_tensor *positions =
        ag__run1(&ag__op_index_positions, in, n + 1, &(ag__attrs){ .i = { put } });
    *dims = 0;
    for (int i = 0, d = 0; i < n && positions; d += advanced_takes(tensors[i++]))
        if (tensors[i])
            *dims |= ((1u << advanced_takes(tensors[i])) - 1) << d;
    return positions;
}

/* ---- index and index_put: operands x, positions[, v]; i[0] is the set of indexed dimensions ---- */

/* See Note [advanced indexing]. */
typedef struct {
    ag_ints shape; /* of x */
    unsigned dims;
    int first, last; /* indexed dimensions */
    bool front;      /* the positions' dimensions come first */
    int64_t run, n_offsets;
} advanced_plan;

static advanced_plan advanced_plan_of(ag_ints shape, unsigned dims)
{
    advanced_plan p = { .shape = shape, .dims = dims, .last = -1, .run = 1, .n_offsets = 1 };
    p.first = dims ? ag__lowest_bit(dims) : 0;
    for (int i = 0; i < shape.n; i++)
        p.last = dims >> i & 1 ? i : p.last;
    p.front = p.first == 0 || dims >> p.first != (1u << (p.last - p.first + 1)) - 1;
    for (int i = 0; i < shape.n; i++) {
        if (i > p.last)
            p.run *= shape.data[i];
        else if (!(dims >> i & 1))
            p.n_offsets *= shape.data[i];
    }
    return p;
}

/* The set is one of dimensions of x. */
static bool advanced_check_dims(const ag__call *call)
{
    const int64_t dims = call->attrs->i[0];
    return ag__attrs_fit(call, dims >= 0 && dims < (int64_t)1 << call->in[0]->ndim);
}

/* The shape of x[...]; false with an error when it has too many dimensions. */
static bool advanced_shape(const ag__call *call, const advanced_plan *p, ag_ints positions,
                           ag__geometry *out)
{
    int64_t shape[2 * AG_MAX_DIMS];
    int ndim = 0;
    for (int i = 0; i <= p->shape.n; i++) {
        if (i == (p->front ? 0 : p->first))
            for (int k = 0; k < positions.n; k++)
                shape[ndim++] = positions.data[k];
        if (i < p->shape.n && !(p->dims >> i & 1))
            shape[ndim++] = p->shape.data[i];
    }
    if (ndim > AG_MAX_DIMS)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_%s: the result would have %d dimensions; tensors have 0 to %d",
                       call->op->name, ndim, AG_MAX_DIMS);
    ag__geometry_set(out, (ag_dtype)call->in[0]->dtype, (ag_ints){ shape, ndim });
    return true;
}

/* The offsets of all combinations of the dimensions before the last indexed one that are not. */
static void advanced_offsets(const advanced_plan *p, int64_t *offsets)
{
    int64_t index[AG_MAX_DIMS] = { 0 }, strides[AG_MAX_DIMS], stride = 1, at = 0;
    for (int i = p->shape.n - 1; i >= 0; stride *= p->shape.data[i--])
        strides[i] = stride;
    for (int64_t k = 0; k < p->n_offsets; k++) {
        offsets[k] = at;
        for (int i = p->last; i >= 0; i--) {
            if (p->dims >> i & 1)
                continue;
            at += strides[i];
            if (++index[i] < p->shape.data[i])
                break;
            at -= strides[i] * p->shape.data[i];
            index[i] = 0;
        }
    }
}

typedef enum { ADVANCED_GET, ADVANCED_PUT, ADVANCED_ADD } advanced_what;

/* Positions come from index_positions, and in a graph from wherever it says. `far` is the last offset. */
static bool advanced_inside(const advanced_plan *p, const ag_tensor *positions, const ag_tensor *x,
                            int64_t far)
{
    const int64_t *at = (const int64_t *)(const void *)ag__at(positions);
    const int64_t end = x->numel - far - p->run;
    for (int64_t k = 0; k < positions->numel && x->numel > 0; k++)
        if (at[k] < 0 || at[k] > end)
            return ag_fail(x->c, AG_ERR_INDEX, "ag_index: position %lld is outside of the tensor",
                           (long long)at[k]);
    return true;
}

/* Moves runs between x, a contiguous tensor of the plan's shape, and v, the result of indexing. */
static bool advanced_move(const advanced_plan *p, advanced_what what, const ag_tensor *positions,
                          const ag_tensor *x, const ag_tensor *v)
{
    const ag_dtype d = (ag_dtype)x->dtype;
    const int64_t size = (int64_t)ag__itemsize(d), bytes = p->run * size;
    const size_t room = (size_t)p->n_offsets * sizeof(int64_t);
    int64_t *offsets = ag__alloc(x->c, room);
    if (!offsets)
        return false;
    advanced_offsets(p, offsets);
    const int64_t *at = (const int64_t *)(const void *)ag__at(positions);
    if (!advanced_inside(p, positions, x, p->n_offsets ? offsets[p->n_offsets - 1] : 0)) {
        ag__free(x->c, offsets, room);
        return false;
    }
    const int64_t *outer = p->front ? at : offsets, *inner = p->front ? offsets : at;
    const int64_t n_outer = p->front ? positions->numel : p->n_offsets;
    const int64_t n_inner = p->front ? p->n_offsets : positions->numel;
    char *part = ag__at(v);
    for (int64_t i = 0; i < n_outer && bytes > 0; i++)
        for (int64_t k = 0; k < n_inner; k++, part += bytes) {
            char *whole = ag__at(x) + (outer[i] + inner[k]) * size;
            if (what == ADVANCED_GET)
                memcpy(part, whole, (size_t)bytes);
            else if (what == ADVANCED_PUT)
                memcpy(whole, part, (size_t)bytes);
            else
                ag__accumulate(d, whole, 1, part, p->run);
        }
    ag__free(x->c, offsets, room);
    return true;
}

static bool index_infer(const ag__call *call, ag__geometry *out)
{
    if (!advanced_check_dims(call))
        return false;
    const advanced_plan p = advanced_plan_of(ag__sizes(call->in[0]), (unsigned)call->attrs->i[0]);
    return advanced_shape(call, &p, ag__sizes(call->in[1]), out) &&
           ag__check_shape(call->c, "ag_index", (ag_ints){ out->shape, out->ndim }, out->dtype);
}

static bool index_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag_tensor *x = call->in[0];
    const advanced_plan p = advanced_plan_of(ag__sizes(x), (unsigned)call->attrs->i[0]);
    ag_tensor *positions = ag__ready(call->in[1], AG_I64);
    ag_tensor *from = positions ? ag__ready(x, (ag_dtype)x->dtype) : NULL;
    const bool ok = from && advanced_move(&p, ADVANCED_GET, positions, from, out[0]);
    ag__tensor_unref(positions);
    ag__tensor_unref(from);
    return ok;
}

/* i[1]: add instead of writing. */
static bool index_put_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *v = call->in[2];
    if (!advanced_check_dims(call))
        return false;
    const advanced_plan p = advanced_plan_of(ag__sizes(x), (unsigned)call->attrs->i[0]);
    ag__shape_text a, b;
    if (x->dtype != v->dtype)
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_index_put: Index put requires the source and destination dtypes match, "
                       "got %s for the destination and %s for the source.",
                       ag_dtype_name((ag_dtype)x->dtype), ag_dtype_name((ag_dtype)v->dtype));
    if (!advanced_shape(call, &p, ag__sizes(call->in[1]), out))
        return false;
    const int lead = out->ndim - v->ndim;
    bool fits = lead >= 0;
    for (int i = 0; i < v->ndim && fits; i++)
        fits = v->dims[i] == 1 || v->dims[i] == out->shape[lead + i];
    if (!fits)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_index_put: shape mismatch: value tensor of shape %s cannot be broadcast "
                       "to indexing result of shape %s",
                       ag__shape_string(&a, ag__sizes(v)),
                       ag__shape_string(&b, (ag_ints){ out->shape, out->ndim }));
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    return true;
}

/* v spread over the shape of x[...], in order and in dtype d; one reference. */
static ag_tensor *advanced_value(const ag__call *call, const advanced_plan *p, ag_dtype d)
{
    ag_tensor *v = call->in[2];
    ag__geometry g;
    if (!advanced_shape(call, p, ag__sizes(call->in[1]), &g))
        return NULL;
    if (ag__same_shape(ag__sizes(v), (ag_ints){ g.shape, g.ndim }))
        return ag__ready(v, d);
    ag_tensor *spread = ag__tensor_new(call->c, d, g.ndim, g.shape);
    if (spread)
        ag__copy_data(spread, v);
    return spread;
}

static bool index_put_kernel(const ag__call *call, ag_tensor *const *out)
{
    const advanced_plan p = advanced_plan_of(ag__sizes(out[0]), (unsigned)call->attrs->i[0]);
    const bool adds = call->attrs->i[1] != 0;
    ag_tensor *positions = ag__ready(call->in[1], AG_I64), *y = NULL, *v = NULL;
    if (positions && adds)
        y = ag__sum_begin(out[0], call->in[0]);
    if (positions && !adds) {
        y = ag__tensor_ref(out[0]);
        ag__copy_data(y, call->in[0]);
    }
    v = y ? advanced_value(call, &p, (ag_dtype)y->dtype) : NULL;
    const bool ok = v && advanced_move(&p, adds ? ADVANCED_ADD : ADVANCED_PUT, positions, y, v);
    ag__tensor_unref(positions);
    ag__tensor_unref(v);
    ag__sum_end(out[0], y);
    return ok;
}

extern const ag__op ag__op_index, ag__op_index_put;

static ag_tensor *advanced_get(ag_tensor *x, ag_tensor *positions, int64_t dims)
{
    return ag__binary(&ag__op_index, x, positions, &(ag__attrs){ .i = { dims } });
}

static ag_tensor *advanced_put(ag_tensor *x, ag_tensor *positions, ag_tensor *v, int64_t dims,
                               bool adds)
{
    return ag__run1(&ag__op_index_put, (ag_tensor *[]){ x, positions, v }, 3,
                    &(ag__attrs){ .i = { dims, adds } });
}

static unsigned index_get_needs(unsigned wanted) { return wanted & 1 ? 2u : 0; }
static unsigned index_put_needs(unsigned wanted) { return wanted & 5 ? 2u : 0; }

static bool index_vjp(ag__rule *r)
{
    ag_tensor *zeros = ag__zeros_beside(r->g[0], ag__in_shape(r, 0));
    r->out[0] = advanced_put(zeros, ag__in(r, 1), r->g[0], r->attrs->i[0], true);
    return r->out[0] != NULL;
}

/* Where v was not overwritten by a later element of it, in a shape that broadcasts over x[...]. */
static ag_tensor *advanced_last(ag_tensor *positions, ag_ints shape, unsigned dims)
{
    const advanced_plan p = advanced_plan_of(shape, dims);
    const int64_t places = ag__shape_numel(shape);
    ag_tensor *flat = ag_reshape(positions, AG_SHAPE(positions->numel));
    ag_tensor *last = ag__scatter_last(flat, 0, (ag_ints){ &places, 1 });
    int64_t sizes[2 * AG_MAX_DIMS];
    int ndim = 0;
    for (; ndim < positions->ndim; ndim++)
        sizes[ndim] = positions->dims[ndim];
    for (int i = p.front ? 0 : p.first; i < shape.n; i++)
        if (!(dims >> i & 1))
            sizes[ndim++] = 1;
    return last ? ag_reshape(last, (ag_ints){ sizes, ndim }) : NULL;
}

static bool index_put_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0], *positions = ag__in(r, 1), *zero = ag__number(g, 0);
    const int64_t dims = r->attrs->i[0];
    const bool adds = r->attrs->i[1] != 0;
    if (!zero)
        return false;
    if (ag__wants(r, 0)) {
        r->out[0] =
            adds ? g : advanced_put(g, positions, ag__zeros_beside(g, AG_SHAPE()), dims, false);
        if (!r->out[0])
            return false;
    }
    if (!ag__wants(r, 2))
        return true;
    ag_tensor *read = advanced_get(g, positions, dims);
    if (read && !adds && positions->numel > 1) {
        ag_tensor *last = advanced_last(positions, ag__sizes(g), (unsigned)dims);
        read = last ? (ag_where)(last, read, zero) : NULL;
    }
    return (r->out[2] = read ? ag__sum_to(read, ag__in_shape(r, 2)) : NULL) != NULL;
}

const ag__op ag__op_index = { .name = "index",
                              .node_name = "IndexBackward0",
                              .operands = (const char *const[]){ "self", "indices" },
                              .kind = AG_KIND_LINEAR,
                              .n_in = 2,
                              .n_out = 1,
                              .takes_attrs = true,
                              .infer = index_infer,
                              .kernel = index_kernel,
                              .needs = index_get_needs,
                              .vjp = index_vjp };
const ag__op ag__op_index_put = { .name = "index_put",
                                  .node_name = "IndexPutBackward0",
                                  .operands = (const char *const[]){ "self", "indices", "values" },
                                  .kind = AG_KIND_LINEAR,
                                  .n_in = 3,
                                  .n_out = 1,
                                  .takes_attrs = true,
                                  .infer = index_put_infer,
                                  .kernel = index_put_kernel,
                                  .needs = index_put_needs,
                                  .vjp = index_put_vjp };

ag_tensor *ag_index(ag_tensor *x, ag_tensor *const *tensors, int n)
{
    unsigned dims;
    if (!x)
        return NULL;
    ag_scope s;
    ag__bracket_begin(&s, x->c);
    ag_tensor *positions = advanced_positions("index", false, x, tensors, n, &dims);
    return ag__compose_end(&s, positions ? advanced_get(x, positions, dims) : NULL);
}

ag_tensor *ag_index_put(ag_tensor *x, ag_tensor *const *tensors, int n, ag_tensor *v,
                        bool accumulate)
{
    unsigned dims;
    if (!x || !v)
        return x ? ag__fail(x->c, AG_ERR_VALUE, "ag_index_put: the value is NULL") : NULL;
    ag_scope s;
    ag__bracket_begin(&s, x->c);
    ag_tensor *positions = advanced_positions("index_put", true, x, tensors, n, &dims);
    ag_tensor *y = positions ? advanced_put(x, positions, v, dims, accumulate) : NULL;
    return ag__compose_end(&s, y);
}

ag_tensor *ag_index_put_(ag_tensor *x, ag_tensor *const *tensors, int n, ag_tensor *v,
                         bool accumulate)
{
    unsigned dims;
    ag_scope s;
    if (!x || !ag__inplace_open(&s, "ag_index_put_", (ag_tensor *[]){ x, v }, 2))
        return NULL;
    ag_tensor *positions = advanced_positions("index_put", true, x, tensors, n, &dims);
    ag_tensor *y = positions ? advanced_put(x, positions, v, dims, accumulate) : NULL;
    return ag__inplace_close(&s, "ag_index_put_", x, y);
}

/* ---- take ---- */

static bool take_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0], *index = call->in[1];
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(index));
    if (!ag__index_check_dtype(call, index))
        return false;
    if (x->numel == 0 && index->numel > 0)
        return ag_fail(call->c, AG_ERR_INDEX, "ag_take: tried to take from an empty tensor");
    return ag__check_shape(call->c, "ag_take", ag__sizes(index), out->dtype);
}

static bool take_copy(const ag__call *call, const ag_tensor *x, const ag_tensor *index, char *to)
{
    const size_t size = ag__itemsize((ag_dtype)x->dtype);
    const int64_t *at = (const int64_t *)(const void *)ag__at(index), n = x->numel;
    for (int64_t k = 0; k < index->numel; k++, to += size) {
        if (at[k] < -n || at[k] >= n)
            return ag_fail(
                call->c, AG_ERR_INDEX,
                "ag_take: out of range: tried to access index %lld on a tensor of %lld elements.",
                (long long)at[k], (long long)n);
        memcpy(to, ag__at(x) + (size_t)(at[k] < 0 ? at[k] + n : at[k]) * size, size);
    }
    return true;
}

static bool take_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag_tensor *x = ag__ready(call->in[0], (ag_dtype)call->in[0]->dtype);
    ag_tensor *index = x ? ag__ready(call->in[1], AG_I64) : NULL;
    const bool ok = index && take_copy(call, x, index, ag__at(out[0]));
    ag__tensor_unref(x);
    ag__tensor_unref(index);
    return ok;
}

static bool take_vjp(ag__rule *r)
{
    const ag_ints shape = ag__in_shape(r, 0);
    ag_tensor *index = ag__in(r, 1);
    ag_tensor *zeros = ag__zeros_beside(r->g[0], AG_SHAPE(ag__shape_numel(shape)));
    ag_tensor *flat = zeros ? ag_index_put(zeros, &index, 1, r->g[0], true) : NULL;
    return (r->out[0] = flat ? ag_reshape(flat, shape) : NULL) != NULL;
}

const ag__op ag__op_take = { .name = "take",
                             .node_name = "TakeBackward0",
                             .operands = (const char *const[]){ "self", "index" },
                             .kind = AG_KIND_LINEAR,
                             .n_in = 2,
                             .n_out = 1,
                             .infer = take_infer,
                             .kernel = take_kernel,
                             .needs = index_get_needs,
                             .vjp = take_vjp };

ag_tensor *ag_take(ag_tensor *x, ag_tensor *index)
{
    return ag__binary(&ag__op_take, x, index, NULL);
}
