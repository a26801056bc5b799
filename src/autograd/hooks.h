/*
 * Hooks: functions of the program that a pass calls at a node. They hang on the node in order of
 * registration; those of a leaf on its accumulator. Removing one while they are called unlinks it when
 * the calls are over, so that a hook may remove any.
 *
 * A tensor whose gradient is retained has an entry in the same list, which the engine reads; it moves
 * with the tensor to another node, which the program's hooks do not.
 */
#ifndef AG_AUTOGRAD_HOOKS_H
#define AG_AUTOGRAD_HOOKS_H

#include "node.h"

typedef enum {
    AG_HOOK_TENSOR,      /* the gradient of an output is known */
    AG_HOOK_RETAIN,      /* `retains` keeps it for its .grad */
    AG_HOOK_BEFORE,      /* the rule is about to run */
    AG_HOOK_ACCUMULATED, /* the .grad of a leaf was written */
    AG_HOOK_AFTER,       /* the rule has run */
    AG_HOOK_MULTI        /* a handle: its parts are AG_HOOK_TENSOR at several nodes */
} ag__hook_kind;

struct ag_hook {
    struct ag_hook *next;
    ag_context *c;
    ag_node *node; /* not owned: it owns the hook */
    uint8_t kind;
    bool removed;
    int nr; /* which output */
    union {
        ag_tensor *(*tensor)(ag_tensor *grad, void *user);
        void (*before)(ag_tensor **grads, int n, void *user);
        void (*after)(ag_tensor **grads_in, int n_in, ag_tensor *const *grads_out, int n_out,
                      void *user);
        void (*accumulated)(ag_tensor *leaf, void *user);
    } call;
    ag_tensor *retains; /* not owned */
    void *user;
    void (*free_user)(void *user);
};

static inline ag_hook *ag__hooks_of(const ag_node *n) { return n->extra ? n->extra->hooks : NULL; }
/* The first of a kind at or after h. */
static inline ag_hook *ag__hook_find(ag_hook *h, ag__hook_kind kind)
{
    while (h && (h->kind != kind || h->removed))
        h = h->next;
    return h;
}

/* What a pass calls; all false with an error. g[j], owned by the caller, is replaced by what hooks give
 * instead. The others replace entries by tensors of the innermost scope. */
bool ag__hooks_tensor(ag_node *n, ag_tensor **g);
bool ag__hooks_before(ag_node *n, ag_tensor **g);
bool ag__hooks_after(ag_node *n, ag_tensor **in, ag_tensor *const *g);
bool ag__hooks_accumulated(ag_node *n, ag_tensor *g);

void ag__multi_hook_remove(ag_hook *handle);

/* t's gradient is retained: it moves along when t becomes an output of n. The first may fail for lack
 * of memory, and changes nothing that can be seen. */
bool ag__hooks_can_move(ag_tensor *t, ag_node *n);
void ag__hooks_move(ag_tensor *t, ag_node *n, int nr);
void ag__hooks_forget(ag_tensor *t); /* t dies, or retains no more */
void ag__hooks_free(ag_node *n);     /* the node dies */

#endif
