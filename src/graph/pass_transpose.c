/*
 * Transposes of products. A product reads its operands as they lie, also transposed, so a transpose
 * in front of one costs nothing. Behind one it leaves a result that lies in the other order, which
 * is copied where somebody wants it in order, or walked with strides. So when all that is done with
 * a product is to transpose it, as with the gradient of a transposed weight, the transposed product
 * is computed: (a b)' = b' a'. Eager gradients do that too (see "layout of gradients" in
 * ops/matmul.c).
 *
 * A product with a bias behind it stays two instructions: addmm writes the bias first, which takes
 * as long as adding it at the end of the product (fuse.c), together with what follows.
 */
#include <string.h>

#include "passes.h"
#include "rewrite.h"

extern const ag__op ag__op_t, ag__op_transpose, ag__op_permute, ag__op_mm, ag__op_bmm, ag__op_addmm,
    ag__op_view;

/* Of the values of a region that is read. */
typedef struct {
    ag_context *c;
    const ag__region *r;
    int32_t *uses; /* how often it is used, and */
    int32_t
        *swapped; /* how often of that as an operand of a transpose of the last two dimensions */
    int32_t
        *other; /* where the product was computed transposed: that value of the new region; or -1 */
    size_t bytes;
} transpose_region;

/* ---- transposes ---- */

static bool transpose_is(const ag__region *r, const ag__inst *i)
{
    const ag__attrs *a = i->attrs;
    const int n = r->values[i->out].ndim;
    if (n < 2)
        return false;
    if (i->op == &ag__op_t)
        return true;
    if (i->op == &ag__op_transpose) {
        const int64_t x = a->i[0] < 0 ? a->i[0] + n : a->i[0];
        const int64_t y = a->i[1] < 0 ? a->i[1] + n : a->i[1];
        return (x == n - 2 && y == n - 1) || (x == n - 1 && y == n - 2);
    }
    if (i->op != &ag__op_permute)
        return false;
    bool swaps = true;
    for (int k = 0; k < n && swaps; k++) {
        const int64_t d = a->list[k] < 0 ? a->list[k] + n : a->list[k];
        swaps = d == (k < n - 2 ? k : 2 * n - 3 - k);
    }
    return swaps;
}

/* v of rw->to transposed; -1 when out of memory. */
static int32_t transpose_make(ag__rewrite *rw, int32_t v)
{
    const ag__inst *i = ag__value_inst(rw->to, v);
    if (i && i->n_in == 1 && transpose_is(rw->to, i))
        return i->in[0];
    const ag__value x = rw->to->values[v];
    const int n = x.ndim;
    int64_t shape[AG_MAX_DIMS];
    for (int k = 0; k < n; k++)
        shape[k] = x.shape[k < n - 2 ? k : 2 * n - 3 - k];
    const ag__value type = { .dtype = x.dtype, .ndim = x.ndim, .shape = shape };
    const ag__attrs attrs = { .i = { n - 2, n - 1 } };
    return ag__rewrite_add(rw,
                           &(ag__inst){ .op = n == 2 ? &ag__op_t : &ag__op_transpose,
                                        .n_in = 1,
                                        .n_out = 1,
                                        .in = &v,
                                        .attrs = n == 2 ? NULL : &attrs },
                           &type);
}

/* What is added to a product, for the transposed product: a row becomes a column. */
static int32_t transpose_bias(ag__rewrite *rw, int32_t v)
{
    const ag__value x = rw->to->values[v];
    if (x.ndim != 1)
        return x.ndim == 2 ? transpose_make(rw, v) : v;
    const int64_t shape[] = { x.shape[0], 1 };
    const ag__value type = { .dtype = x.dtype, .ndim = 2, .shape = shape };
    const ag__attrs attrs = { .n = 2, .list = { shape[0], 1 } };
    return ag__rewrite_add(
        rw, &(ag__inst){ .op = &ag__op_view, .n_in = 1, .n_out = 1, .in = &v, .attrs = &attrs },
        &type);
}

/* ---- products ---- */

static bool transpose_is_product(const ag__inst *i)
{
    return i->op == &ag__op_mm || i->op == &ag__op_bmm || i->op == &ag__op_addmm;
}

static bool transpose_product(ag__rewrite *rw, const ag__inst *i)
{
    transpose_region *t = rw->info;
    const ag__value *y = &rw->from->values[i->out];
    const int n = y->ndim, first = i->n_in - 2;
    int64_t shape[AG_MAX_DIMS];
    int32_t in[3];
    for (int k = 0; k < n; k++)
        shape[k] = y->shape[k < n - 2 ? k : 2 * n - 3 - k];
    if (first && (in[0] = transpose_bias(rw, rw->map[i->in[0]])) < 0)
        return false;
    if ((in[first] = transpose_make(rw, rw->map[i->in[first + 1]])) < 0 ||
        (in[first + 1] = transpose_make(rw, rw->map[i->in[first]])) < 0)
        return false;
    const ag__value type = { .dtype = y->dtype, .ndim = y->ndim, .shape = shape };
    const ag__attrs attrs = { .p = i->attrs->p, .q = i->attrs->q };
    t->other[i->out] =
        ag__rewrite_add(rw,
                        &(ag__inst){
                            .op = i->op, .n_in = i->n_in, .n_out = 1, .in = in, .attrs = &attrs },
                        &type);
    return t->other[i->out] >= 0;
}

/* ---- the pass ---- */

static void transpose_use(transpose_region *t, int32_t v)
{
    if (v >= 0)
        t->uses[v]++;
}

static bool transpose_inst(ag__rewrite *rw, const ag__inst *i)
{
    transpose_region *t = rw->info;
    if (t->r != rw->from) /* a region that took an instruction's place */
        return ag__rewrite_copy(rw, i);
    if (transpose_is_product(i) && t->uses[i->out] && t->uses[i->out] == t->swapped[i->out])
        return transpose_product(rw, i);
    if (i->n_in != 1 || !transpose_is(rw->from, i))
        return ag__rewrite_copy(rw, i);
    if (t->other[i->in[0]] >= 0) {
        rw->map[i->out] = t->other[i->in[0]];
        return true;
    }
    const ag__inst *inner = ag__value_inst(rw->to, rw->map[i->in[0]]);
    if (!inner || inner->n_in != 1 || !transpose_is(rw->to, inner))
        return ag__rewrite_copy(rw, i);
    rw->map[i->out] = inner->in[0];
    return true;
}

static bool transpose_enter(ag__rewrite *rw)
{
    const ag__region *r = rw->from;
    const size_t n = (size_t)r->n_values,
                 bytes = sizeof(transpose_region) + 3 * n * sizeof(int32_t);
    transpose_region *t = ag__alloc(r->graph->c, bytes);
    rw->info = t;
    if (!t)
        return false;
    *t = (transpose_region){ .c = r->graph->c, .r = r, .bytes = bytes };
    t->uses = (int32_t *)(void *)(t + 1);
    t->swapped = t->uses + n;
    t->other = t->swapped + n;
    memset(t->uses, 0, 2 * n * sizeof(int32_t));
    for (size_t v = 0; v < n; v++)
        t->other[v] = -1;
    for (int k = 0; k < r->n_insts; k++) {
        const ag__inst *i = &r->insts[k];
        for (int j = 0; j < i->n_in; j++)
            transpose_use(t, i->in[j]);
        if (i->n_in == 1 && i->n_out == 1 && transpose_is(r, i))
            t->swapped[i->in[0]]++;
    }
    for (int j = 0; j < r->n_outs; j++)
        transpose_use(t, r->outs[j]);
    return true;
}

static void transpose_leave(ag__rewrite *rw)
{
    transpose_region *t = rw->info;
    if (t)
        ag__free(t->c, t, t->bytes);
}

ag_graph *ag__pass_transpose(const ag_graph *g)
{
    return ag__rewrite_graph(g, &(ag__rewrite_pass){ .inst = transpose_inst,
                                                     .enter = transpose_enter,
                                                     .leave = transpose_leave });
}
