/*
 * What only some tensors have: a gradient, a name. Made when first needed.
 *
 * Note [rings]
 * x.grad -> grad_fn -> x is a ring of references, and so is a write into x of what was computed from x
 * by a node that saved it. Tensors in whose power it lies are listed in the context, which breaks all
 * rings when it closes.
 */
#ifndef AG_AUTOGRAD_META_H
#define AG_AUTOGRAD_META_H

#include "../tensor/tensor.h"

typedef struct ag__meta {
    ag__owned link; /* in the context's list, see Note [rings]; `scope` is unused */
    ag_tensor *of;
    ag_tensor *grad;
    struct ag_node *accumulator; /* see Note [accumulators] in node.h */
    char *name;
    size_t name_bytes;
    struct ag_hook *retains; /* keeps its gradient: see hooks.h */
} ag__meta;

ag__meta *ag__meta_of(ag_tensor *t); /* makes it; NULL when out of memory */
/* t dies; gives its gradient, with the reference, or NULL. */
ag_tensor *ag__meta_free(ag_tensor *t);
/* Replaces the gradient; takes one reference to grad (which may be NULL). */
void ag__meta_set_grad(ag_tensor *t, ag_tensor *grad);
/* t, which has its record, may be in a ring through its grad_fn. */
void ag__meta_enlist(ag_tensor *t);

/* t can have a place in the dynamic graph; otherwise an error of `op`: it is a value of a static one. */
bool ag__has_place(const char *op, ag_tensor *t);

#endif
