/* Stale views, CopySlices, and which writes are forbidden. See view.h. */
#include "view.h"

#include <stdio.h>
#include <string.h>

#include "../ops/strided.h"
#include "hooks.h"
#include "meta.h"
#include "saved.h"

/* ---- what is forbidden ---- */

static const char *const view_custom =
    "This view was created inside a custom Function (or because an input was returned as-is) and "
    "the "
    "autograd logic to handle view+inplace would override the custom backward associated with the "
    "custom Function, leading to incorrect gradients. This behavior is forbidden. You can fix this "
    "by "
    "cloning the output of the custom Function.";
static const char *const view_many =
    "This view is the output of a function that returns multiple views. Such functions do not "
    "allow "
    "the output views to be modified inplace. You should replace the inplace operation by an "
    "out-of-place one.";

/* `changed`: how the view was or would be written. */
static bool view_fail(ag_tensor *t, const char *changed)
{
    const ag__view_kind kind = (ag__view_kind)ag__view_of(t)->kind;
    const ag_node *n = t->grad_fn;
    const char *mode = kind == AG_VIEW_INFERENCE ? "inference" : "no_grad";
    char place[160] = "A view was created in";
    if (n)
        snprintf(place, sizeof place, "Output %d of %s is a view%s", t->output_nr, ag_node_name(n),
                 kind >= AG_VIEW_NO_GRAD ? " of a view which was created in" : "");
    if (kind < AG_VIEW_NO_GRAD && n)
        return ag_fail(t->c, AG_ERR_GRAD, "%s and %s modified inplace. %s", place, changed,
                       kind == AG_VIEW_CUSTOM ? view_custom : view_many);
    if (kind < AG_VIEW_NO_GRAD)
        return ag_fail(t->c, AG_ERR_GRAD,
                       "A view was created in no_grad mode and %s modified inplace with grad mode "
                       "enabled. %s",
                       changed, kind == AG_VIEW_CUSTOM ? view_custom : view_many);
    return ag_fail(
        t->c, AG_ERR_GRAD,
        "%s %s mode and %s modified inplace %s. Given that this use case is ambiguous and "
        "error-prone, it is forbidden. You can clarify your code by moving both the view and the "
        "inplace either both inside the %s block (if you don't want the inplace to be tracked) or "
        "both outside (if you want the inplace to be tracked).",
        place, mode, changed,
        kind == AG_VIEW_INFERENCE ? "in normal mode" : "with grad mode enabled",
        kind == AG_VIEW_INFERENCE ? "inference_mode" : "no_grad");
}

bool ag__view_check_write(ag_tensor *t, const char *name)
{
    const ag__view *v = ag__view_of(t);
    if (v && v->kind != AG_VIEW_PLAIN)
        return view_fail(t, "is being");
    if (v && ag__wants_grad_now(t) && !v->base->grad_fn)
        return ag_fail(t->c, AG_ERR_GRAD,
                       "%s: a view of a leaf Variable that requires grad is being used in an "
                       "in-place operation.",
                       name);
    return !ag__wants_grad(t) || t->grad_fn ||
           ag_fail(t->c, AG_ERR_GRAD,
                   "%s: a leaf Variable that requires grad is being used in an in-place operation.",
                   name);
}

/* ---- a new place in the graph ---- */

/* Whether the graph that t is about to be a result of may own t: a node saved it, or it is a leaf
 * with an accumulator. Such rings are broken when the context closes. */
static bool view_may_be_owned(const ag_tensor *t)
{
    return t->flags & AG_T_HELD || (t->meta && t->meta->accumulator);
}
/* All that may fail in view_place. */
static bool view_can_place(ag_tensor *t, ag_node *n)
{
    return ag__hooks_can_move(t, n) && (!view_may_be_owned(t) || ag__meta_of(t));
}
/* t becomes output nr of n. */
static void view_place(ag_tensor *t, ag_node *n, int nr)
{
    ag__hooks_move(t, n, nr);
    ag__node_adopt(n, nr, t);
    if (view_may_be_owned(t))
        ag__meta_enlist(t);
}

/* ---- stale views ---- */

/* A node that makes a tensor of t's geometry from base, which shares t's storage; NULL when out of
 * memory. With one reference. From a base outside the graph it leads nowhere. */
static ag_node *view_node(ag_tensor *base, const ag_tensor *t)
{
    ag_context *c = base->c;
    ag_scope s;
    ag__geometry g;
    ag__geometry_of(t, &g);
    ag__bracket_begin(&s, c);
    const bool recording = c->grad_enabled, inference = c->inference;
    const bool inside = ag__wants_grad(base);
    c->grad_enabled = true;
    c->inference = false;
    base->flags |= AG_T_REQUIRES_GRAD;
    ag_tensor *like = ag__as_strided_like(base, &g);
    if (!inside)
        base->flags &= (uint8_t)~AG_T_REQUIRES_GRAD;
    c->grad_enabled = recording;
    c->inference = inference;
    ag_node *n = like && like->grad_fn ? ag__node_ref(like->grad_fn) : NULL;
    if (n && !inside) {
        ag__node_unref(n->edges[0].node);
        n->edges[0].node = NULL;
    }
    ag__bracket_end(&s);
    return n;
}

bool ag__view_refresh(ag_tensor *t)
{
    ag__view *v = ag__view_of(t);
    if (!t->grad_fn && !ag__wants_grad(v->base))
        return true;
    if (v->kind != AG_VIEW_PLAIN)
        return view_fail(t, "its base or another view of its base has been");
    ag_node *n = view_node(v->base, t);
    if (!n || !view_can_place(t, n)) {
        ag__node_unref(n);
        return false;
    }
    view_place(t, n, 0);
    ag__node_unref(n);
    v->version = t->storage->version;
    return true;
}

/* ---- CopySlices ---- */

/* Where the slice lies in the base, both in elements of their storage. */
typedef struct {
    ag_node *inner; /* the node of the write, with the slice for operand 0 */
    int64_t base_offset, offset;
    int base_ndim, ndim;
    int64_t dims[]; /* strides of the base, then shape and strides of the slice */
} slices_payload;

static void slices_geometry(const ag_node *n, ag__geometry *base, ag__geometry *slice)
{
    const slices_payload *p = ag__node_payload(n);
    const ag__output *o = ag__node_outputs(n);
    ag__geometry_set(base, (ag_dtype)o->dtype, (ag_ints){ o->shape, o->ndim });
    ag__geometry_set(slice, (ag_dtype)o->dtype, (ag_ints){ p->dims + p->base_ndim, p->ndim });
    base->offset = p->base_offset;
    slice->offset = p->offset;
    memcpy(base->strides, p->dims, (size_t)p->base_ndim * sizeof(int64_t));
    memcpy(slice->strides, p->dims + p->base_ndim + p->ndim, (size_t)p->ndim * sizeof(int64_t));
}

static bool slices_dense(const ag__geometry *g)
{
    int64_t stride = 1;
    for (int i = g->ndim - 1; i >= 0; stride *= g->shape[i--])
        if (g->shape[i] != 1 && g->strides[i] != stride)
            return false;
    return true;
}

/* The gradient g laid out in memory as the base is, in a tensor that may be written; *slice becomes
 * the window on the written part. */
static ag_tensor *slices_lay_out(const ag__rule *r, ag_tensor **slice)
{
    ag__geometry base, part;
    slices_geometry(r->node, &base, &part);
    ag_tensor *whole = NULL;
    if (slices_dense(&base)) {
        const bool mine = r->owns_g && ag__is_contiguous(r->g[0]);
        part.offset -= base.offset;
        whole = mine ? r->g[0] : ag_clone(r->g[0]);
        part.offset += whole ? whole->offset : 0;
        *slice = whole ? ag__as_strided_like(whole, &part) : NULL;
        return whole;
    }
    int64_t last = base.offset;
    for (int i = 0; i < base.ndim; i++)
        last += (base.shape[i] - 1) * base.strides[i];
    ag_tensor *memory = ag_zeros(r->c, AG_SHAPE(last + 1), .dtype = (ag_dtype)r->g[0]->dtype);
    whole = memory ? ag__as_strided_like(memory, &base) : NULL;
    whole = whole ? ag_copy_(whole, r->g[0]) : NULL;
    *slice = whole ? ag__as_strided_like(memory, &part) : NULL;
    return whole;
}

static bool slices_vjp(ag__rule *r)
{
    const slices_payload *p = ag__node_payload(r->node);
    ag_tensor *slice = NULL, *whole = slices_lay_out(r, &slice);
    ag_tensor *g = slice ? ag_clone(slice) : NULL;
    if (!g || !ag__node_apply(p->inner, r->edges, &g, false, r->all, r->out))
        return false;
    ag_tensor *back = r->out[0];
    r->out[0] = NULL;
    if (!ag__wants(r, 0))
        return true;
    if (back && !(back = ag__sum_to(back, ag__sizes(slice))))
        return false;
    r->out[0] = whole;
    return (back ? ag_copy_(slice, back) : ag_zero_(slice)) != NULL;
}

static void slices_release(ag_node *n)
{
    ag__node_unref(((slices_payload *)ag__node_payload(n))->inner);
}
static void slices_release_saved(ag_node *n)
{
    ag_node *inner = ((slices_payload *)ag__node_payload(n))->inner;
    if (inner)
        ag__saved_release(inner);
}

static const ag__op view_slices_op = { .name = "copy_slices",
                                       .node_name = "CopySlices",
                                       .kind = AG_KIND_GENERAL,
                                       .n_in = -1,
                                       .n_out = 1,
                                       .takes_owned = true,
                                       .vjp = slices_vjp,
                                       .release = slices_release,
                                       .release_saved = slices_release_saved };

/* The CopySlices node of a write into x, a view, by `inner`. */
static ag_node *view_slices(ag_tensor *x, ag_node *inner)
{
    ag_tensor *base = ag__view_of(x)->base;
    const size_t dims = (size_t)base->ndim + 2 * (size_t)x->ndim;
    ag_node *n = ag__node_new(base->c, &view_slices_op, inner->n_in, &base, 1, 0,
                              sizeof(slices_payload) + dims * sizeof(int64_t));
    if (!n)
        return NULL;
    slices_payload *p = ag__node_payload(n);
    *p = (slices_payload){ .inner = ag__node_ref(inner),
                           .base_offset = base->offset,
                           .offset = x->offset,
                           .base_ndim = base->ndim,
                           .ndim = x->ndim };
    memcpy(p->dims, ag__strides(base), base->ndim * sizeof(int64_t));
    memcpy(p->dims + base->ndim, x->dims, 2u * x->ndim * sizeof(int64_t));
    for (int i = 1; i < n->n_in; i++) {
        n->edges[i] = inner->edges[i];
        if (n->edges[i].node)
            ag__node_ref(n->edges[i].node);
    }
    if (!ag__gradient_edge(base, &n->edges[0])) {
        ag__node_unref(n);
        return NULL;
    }
    n->seq = n->c->next_seq++;
    return n;
}

/* ---- a write: see ag__rebase ---- */

bool ag__rebase_prepare(ag__rebase *r, ag_tensor *x, ag_node *node, int nr)
{
    *r = (ag__rebase){ .x = x, .node = ag__node_ref(node), .nr = nr };
    bool ok = view_can_place(x, node);
    if (ok && x->flags & AG_T_VIEW) {
        ag_tensor *base = ag__view_of(x)->base, *then = NULL;
        r->slices = view_slices(x, node);
        ok =
            r->slices && view_can_place(base, r->slices) && (then = ag__tensor_alias(base)) != NULL;
        if (ok) {
            ag__node_adopt(r->slices, 0, then);
            r->regenerated = view_node(then, x);
            ok = r->regenerated && view_can_place(x, r->regenerated);
        }
        ag__tensor_unref(then);
    }
    if (!ok)
        ag__rebase_cancel(r);
    return ok;
}

void ag__rebase_commit(ag__rebase *r)
{
    ag__view *v = ag__view_of(r->x);
    if (v) {
        view_place(v->base, r->slices, 0);
        view_place(r->x, r->regenerated, 0);
        v->version = r->x->storage->version;
    } else {
        view_place(r->x, r->node, r->nr);
    }
    ag__rebase_cancel(r);
}

void ag__rebase_cancel(ag__rebase *r)
{
    ag__node_unref(r->node);
    ag__node_unref(r->slices);
    ag__node_unref(r->regenerated);
}
