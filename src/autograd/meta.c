/* See meta.h, and the questions about a tensor that need no engine. */
#include "meta.h"

#include "node.h"

ag__meta *ag__meta_of(ag_tensor *t)
{
    if (t->meta)
        return t->meta;
    ag__meta *m = ag__alloc(t->c, sizeof *m);
    if (m)
        *m = (ag__meta){ .link = { &m->link, &m->link, NULL } };
    return t->meta = m;
}

void ag__meta_set_grad(ag_tensor *t, ag_tensor *grad)
{
    ag__meta *m = t->meta;
    ag_tensor *old = m->grad;
    m->link.prev->next = m->link.next;
    m->link.next->prev = m->link.prev;
    m->link = (ag__owned){ &m->link, &m->link, NULL };
    m->grad = grad;
    if (grad) {
        ag__owned *ring = &t->c->grads;
        m->link = (ag__owned){ ring->prev, ring, NULL };
        ring->prev->next = &m->link;
        ring->prev = &m->link;
    }
    ag__tensor_unref(old);
}

void ag__meta_free(ag_tensor *t)
{
    ag__meta *m = t->meta;
    ag__meta_set_grad(t, NULL);
    if (m->accumulator)
        ag__node_free_accumulator(m->accumulator);
    ag__free(t->c, m->name, m->name_bytes);
    ag__free(t->c, m, sizeof *m);
    t->meta = NULL;
}

/* The ring's records lie in metas; taking a gradient out unlinks its record. */
void ag__context_clear_grads(ag_context *c)
{
    ag__context_ref(c);
    while (c->grads.next != &c->grads) {
        ag__meta *m = (ag__meta *)c->grads.next;
        ag_tensor *grad = m->grad;
        m->link.prev->next = m->link.next;
        m->link.next->prev = m->link.prev;
        m->link = (ag__owned){ &m->link, &m->link, NULL };
        m->grad = NULL;
        ag__tensor_unref(grad);
    }
    ag__context_unref(c);
}

/* ---- public ---- */

bool ag_requires_grad(const ag_tensor *t) { return t && ag__wants_grad(t); }
bool ag_is_leaf(const ag_tensor *t) { return t && !t->grad_fn; }
ag_node *ag_grad_fn(ag_tensor *t) { return t ? t->grad_fn : NULL; }

ag_tensor *ag_requires_grad_(ag_tensor *t, bool requires_grad)
{
    if (!t)
        return NULL;
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
    if (t->grad_fn && !(t->meta && t->meta->retains_grad) && !t->c->warned_non_leaf_grad) {
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

bool ag_retain_grad(ag_tensor *t)
{
    if (!t)
        return false;
    if (!ag__wants_grad(t))
        return ag_fail(t->c, AG_ERR_GRAD,
                       "ag_retain_grad: can't retain_grad on Tensor that has requires_grad=False");
    if (!t->grad_fn)
        return true;
    if (!ag__meta_of(t) || !ag__node_retain_output(t))
        return false;
    t->meta->retains_grad = true;
    return true;
}

ag_tensor *ag_detach(ag_tensor *t)
{
    ag_tensor *d = t ? ag__tensor_alias(t) : NULL;
    if (d)
        d->flags |= AG_T_VIEW;
    return ag__give(d);
}

ag_tensor *ag_detach_(ag_tensor *t)
{
    if (!t)
        return NULL;
    if (t->flags & AG_T_VIEW)
        return ag__fail(t->c, AG_ERR_GRAD,
                        "ag_detach_: Can't detach views in-place. Use detach() instead.");
    ag_node *n = t->grad_fn;
    t->grad_fn = NULL;
    t->output_nr = 0;
    t->flags &= (uint8_t)~AG_T_REQUIRES_GRAD;
    ag__node_unref(n);
    return t;
}
