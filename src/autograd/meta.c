/* See meta.h, and the questions about a tensor that need no engine. */
#include "meta.h"

#include "hooks.h"
#include "node.h"
#include "view.h"

ag__meta *ag__meta_of(ag_tensor *t)
{
    if (t->meta)
        return t->meta;
    ag__meta *m = ag__alloc(t->c, sizeof *m);
    if (m)
        *m = (ag__meta){ .link = { &m->link, &m->link, NULL }, .of = t };
    return t->meta = m;
}

/* Out of the context's list, and into it again when t is to be there. */
static void meta_list(ag_tensor *t)
{
    ag__owned *link = &t->meta->link, *ring = &t->c->rings;
    link->prev->next = link->next;
    link->next->prev = link->prev;
    *link = (ag__owned){ link, link, NULL };
    if (!t->meta->grad && !(t->flags & AG_T_REBASED))
        return;
    *link = (ag__owned){ ring->prev, ring, NULL };
    ring->prev->next = link;
    ring->prev = link;
}

void ag__meta_set_grad(ag_tensor *t, ag_tensor *grad)
{
    ag_tensor *old = t->meta->grad;
    t->meta->grad = grad;
    meta_list(t);
    ag__tensor_unref(old);
}

void ag__meta_enlist(ag_tensor *t)
{
    t->flags |= AG_T_REBASED;
    meta_list(t);
}

ag_tensor *ag__meta_free(ag_tensor *t)
{
    ag__meta *m = t->meta;
    ag_tensor *grad = m->grad;
    ag__hooks_forget(t);
    t->flags &= (uint8_t)~AG_T_REBASED;
    m->grad = NULL;
    meta_list(t);
    if (m->accumulator)
        ag__node_free_accumulator(m->accumulator);
    ag__free(t->c, m->name, m->name_bytes);
    ag__free(t->c, m, sizeof *m);
    t->meta = NULL;
    return grad;
}

void ag__context_break_rings(ag_context *c)
{
    ag__context_ref(c);
    while (c->saved_hooks) /* they may hold a file */
        ag_saved_hooks_pop(c);
    while (c->rings.next != &c->rings) {
        ag_tensor *t = ((ag__meta *)c->rings.next)->of;
        ag_node *n = t->flags & AG_T_REBASED ? t->grad_fn : NULL;
        ag__tensor_ref(t);
        if (n)
            t->grad_fn = NULL;
        t->flags &= (uint8_t)~AG_T_REBASED;
        ag__meta_set_grad(t, NULL);
        ag__node_unref(n);
        ag__tensor_unref(t);
    }
    ag__context_unref(c);
}

/* ---- public ---- */

bool ag__has_place(const char *op, ag_tensor *t)
{
    return !ag__any_recorded(&t, 1) ||
           ag_fail(t->c, AG_ERR_GRAPH,
                   "%s: the tensor is symbolic and has no node of its own: ag_grad differentiates "
                   "with respect to any tensor of a graph",
                   op);
}

bool ag_requires_grad(const ag_tensor *t) { return t && ag__wants_grad_now(t); }
bool ag_is_leaf(const ag_tensor *t)
{
    return t && !t->grad_fn && !(ag__is_stale(t) && ag__wants_grad(ag__view_of(t)->base));
}
ag_node *ag_grad_fn(ag_tensor *t) { return t && ag__fresh(t) ? t->grad_fn : NULL; }
int ag_output_nr(ag_tensor *t) { return t && ag__fresh(t) ? t->output_nr : -1; }
bool ag_is_view(const ag_tensor *t) { return t && t->flags & AG_T_VIEW; }
ag_tensor *ag_base_of(ag_tensor *t)
{
    return t && t->flags & AG_T_VIEW ? ag__lend(ag__view_of(t)->base) : NULL;
}
bool ag_is_inference(const ag_tensor *t) { return t && t->flags & AG_T_INFERENCE; }

int64_t ag_version(const ag_tensor *t)
{
    if (!ag__has_data("ag_version", t))
        return -1;
    if (t->flags & AG_T_INFERENCE)
        ag_fail(t->c, AG_ERR_GRAD, "ag_version: Inference tensors do not track version counter.");
    return t->flags & AG_T_INFERENCE ? -1 : (int64_t)t->storage->version;
}

void ag_increment_version(ag_tensor *t)
{
    if (ag__has_data("ag_increment_version", t))
        ag__bump_version(t, "ag_increment_version");
}

ag_tensor *ag_requires_grad_(ag_tensor *t, bool requires_grad)
{
    if (!t || !ag__fresh(t) || !ag__has_place("ag_requires_grad_", t))
        return NULL;
    if (requires_grad && t->flags & AG_T_INFERENCE && !t->c->inference)
        return ag__fail(t->c, AG_ERR_GRAD,
                        "ag_requires_grad_: Setting requires_grad=True on inference tensor outside "
                        "InferenceMode is not allowed.");
    if (t->grad_fn && !requires_grad)
        return ag__fail(t->c, AG_ERR_GRAD,
                        "ag_requires_grad_: you can only change requires_grad flags of leaf "
                        "variables. If you want to use a computed variable in a subgraph that "
                        "doesn't require differentiation use var_no_grad = var.detach().");
    if (requires_grad && !ag__is_float((ag_dtype)t->dtype))
        return ag__fail(t->c, AG_ERR_DTYPE,
                        "ag_requires_grad_: only Tensors of floating point and complex dtype can "
                        "require gradients, not %s",
                        ag_dtype_name((ag_dtype)t->dtype));
    if (!t->grad_fn)
        t->flags =
            (uint8_t)((t->flags & ~AG_T_REQUIRES_GRAD) | (requires_grad ? AG_T_REQUIRES_GRAD : 0));
    return t;
}

ag_tensor *ag_grad_of(ag_tensor *t)
{
    if (!t || (t->meta && t->meta->grad))
        return t ? ag__lend(t->meta->grad) : NULL;
    if (t->grad_fn && !ag_retains_grad(t) && !t->c->warned_non_leaf_grad) {
        t->c->warned_non_leaf_grad = true;
        ag__log(t->c,
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. "
                "Its .grad attribute won't be populated during autograd.backward(). If you "
                "indeed want the .grad field to be populated for a non-leaf Tensor, use "
                ".retain_grad() (ag_retain_grad) on the non-leaf Tensor.");
    }
    return NULL;
}

bool ag_set_grad(ag_tensor *t, ag_tensor *grad)
{
    if (!t)
        return false;
    if (!grad) {
        ag_zero_grad(t);
        return true;
    }
    if (!ag__has_place("ag_set_grad", t) || !ag__has_data("ag_set_grad", grad))
        return false;
    ag__shape_text a, b;
    if (grad == t)
        return ag_fail(t->c, AG_ERR_GRAD, "ag_set_grad: can't assign Variable as its own grad");
    if (grad->c != t->c)
        return ag_fail(t->c, AG_ERR_VALUE, "ag_set_grad: grad belongs to another context");
    if (grad->dtype != t->dtype)
        return ag_fail(
            t->c, AG_ERR_DTYPE,
            "ag_set_grad: attempting to assign a gradient with dtype '%s' to a tensor with "
            "dtype '%s'. Please ensure that the gradient and the tensor have the same dtype",
            ag_dtype_name((ag_dtype)grad->dtype), ag_dtype_name((ag_dtype)t->dtype));
    if (!ag__same_shape(ag__sizes(grad), ag__sizes(t)))
        return ag_fail(
            t->c, AG_ERR_SHAPE,
            "ag_set_grad: attempting to assign a gradient of size '%s' to a tensor of size "
            "'%s'. Please ensure that the gradient and the tensor are the same size",
            ag__shape_string(&a, ag__sizes(grad)), ag__shape_string(&b, ag__sizes(t)));
    if (!ag__meta_of(t))
        return false;
    ag__meta_set_grad(t, ag__tensor_ref(grad));
    return true;
}

void ag_zero_grad(ag_tensor *t)
{
    if (t && t->meta)
        ag__meta_set_grad(t, NULL);
}

ag_tensor *ag_detach(ag_tensor *t)
{
    if (t && ag__is_symbolic(t))
        return ag__symbol_detach(t);
    return t ? ag__give(ag__tensor_alias(t)) : NULL;
}

ag_tensor *ag_detach_(ag_tensor *t)
{
    if (!t)
        return NULL;
    if (t->flags & AG_T_VIEW)
        return ag__fail(t->c, AG_ERR_GRAD,
                        "ag_detach_: Can't detach views in-place. Use detach() instead.");
    if (ag__any_recorded(&t, 1)) {
        ag_scope s;
        ag__bracket_begin(&s, t->c);
        ag_tensor *same = ag_detach(t);
        const bool ok = same && ag__symbol_rebind("ag_detach_", t, same);
        ag__bracket_end(&s);
        return ok ? t : NULL;
    }
    ag__hooks_forget(t);
    ag_node *n = t->grad_fn;
    t->grad_fn = NULL;
    t->output_nr = 0;
    t->flags &= (uint8_t)~AG_T_REQUIRES_GRAD;
    ag__node_unref(n);
    return t;
}
