/* What only some tensors have: a gradient, a name. Made when first needed. */
#ifndef AG_AUTOGRAD_META_H
#define AG_AUTOGRAD_META_H

#include "../tensor/tensor.h"

typedef struct ag__meta {
    ag__owned link; /* in the context's ring of records with a gradient; `scope` is unused */
    ag_tensor *grad;
    struct ag_node *accumulator; /* see Note [accumulators] in node.h */
    char *name;
    size_t name_bytes;
    bool retains_grad;
} ag__meta;

ag__meta *ag__meta_of(ag_tensor *t); /* makes it; NULL when out of memory */
void ag__meta_free(ag_tensor *t);
/* Replaces the gradient; takes one reference to grad (which may be NULL). */
void ag__meta_set_grad(ag_tensor *t, ag_tensor *grad);

#endif
