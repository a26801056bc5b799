/*
 * Views and writes in place.
 *
 * A view knows its base, which is no view, and the version its storage had when its grad_fn was right.
 * A recorded write into a view is a change of the base: the base gets a CopySlices node, whose rule
 * runs that of the write on the slice and passes the rest on. Every other view of the base, seen by
 * the version, is stale then, and gets a new grad_fn, AsStridedBackward0 of the base, when somebody
 * asks for it.
 */
#ifndef AG_AUTOGRAD_VIEW_H
#define AG_AUTOGRAD_VIEW_H

#include "node.h"

/* The storage was written since t's place in the graph was noted. */
static inline bool ag__is_stale(const ag_tensor *t)
{
    return t->flags & AG_T_VIEW && ag__view_of(t)->version != t->storage->version;
}
/* Brings the grad_fn of a stale view up to date. False with an error: out of memory, or t is a view
 * whose base must not have been written. */
bool ag__view_refresh(ag_tensor *t);
/* ag__view_refresh where there is need; NULL is fine. */
static inline bool ag__fresh(ag_tensor *t) { return !t || !ag__is_stale(t) || ag__view_refresh(t); }
/* Whether t's gradient is wanted, stale or not. */
static inline bool ag__wants_grad_now(const ag_tensor *t)
{
    return ag__wants_grad(t) || (t->flags & AG_T_VIEW && ag__wants_grad(ag__view_of(t)->base));
}
/* PyTorch's rules for what a recorded write into t may be. */
bool ag__view_check_write(ag_tensor *t, const char *name);

/* What a recorded write does to the graph, made before the write so that nothing can fail after it. */
typedef struct {
    ag_tensor *x;
    ag_node *node;        /* of the operation that wrote into x, with x for operand 0 */
    int nr;               /* which output of it x becomes */
    ag_node *slices;      /* x is a view: CopySlices of its base, */
    ag_node *regenerated; /* and the new grad_fn of x */
} ag__rebase;
bool ag__rebase_prepare(ag__rebase *r, ag_tensor *x, ag_node *node, int nr);
void ag__rebase_commit(ag__rebase *r); /* after the version has changed */
void ag__rebase_cancel(ag__rebase *r);

#endif
