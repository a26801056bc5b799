/*
 * Saved values: what a node keeps of its operands and results for its rule.
 *
 * An operand is kept as it is, with its version; a result as an alias without its node, which would
 * otherwise own itself, and gets it back when a rule asks for it. Under hooks a value is packed once,
 * when it is saved, and unpacked for each run of the rule; versions do not matter then.
 */
#ifndef AG_AUTOGRAD_SAVED_H
#define AG_AUTOGRAD_SAVED_H

#include "node.h"

/* An entry of the context's stack, counted: packed values hold on to theirs. */
typedef struct ag__saved_hooks {
    struct ag__saved_hooks *outer;
    int64_t refs;
    void *(*pack)(ag_tensor *t, void *user); /* NULL: saving through hooks is disabled */
    ag_tensor *(*unpack)(void *packed, void *user);
    void (*free_packed)(void *packed, void *user);
    void (*free_user)(void *user);
    void *user;
    char message[256]; /* of an entry that disables */
} ag__saved_hooks;

/* Saves t (NULL is fine) in entry i of n, which is empty. False with an error. */
bool ag__saved_set(ag_node *n, int i, ag_tensor *t, ag__saved_kind kind, int nr);
/* The entries of n, or those of the call it records, in the order of `mask` (see ag__op.needs). */
bool ag__saved_set_call(ag_node *n, const ag__call *call, ag_tensor *const *out, unsigned mask);
/* All saved values are there and unchanged; otherwise AG_ERR_GRAD and PyTorch's sentence. */
bool ag__saved_check(const ag_node *n);
/* Gives all saved values up; `freed` says for a later pass that there were some. */
void ag__saved_release(ag_node *n);
/* values[0..n_saved) of a node some of whose values are packed. */
bool ag__saved_unpack(const ag_node *n, ag_tensor **values);
/* Value i as a part of the graph, given to the innermost scope if it was made for it; NULL when there
 * is none or, with an error, when memory is out. `value` is what entry i holds. */
ag_tensor *ag__saved_in_graph(ag_node *n, int i, ag_tensor *value);

/* Value i, in the graph or not, as ag_node_saved gives it. */
ag_tensor *ag__saved_of(ag_node *n, int i, bool in_graph);

/* For those who make hooks of their own: like ag_saved_hooks_push, and free_user(user) when the last
 * packed value and the stack are done with them. */
ag__saved_hooks *ag__saved_hooks_push(ag_context *c, const ag__saved_hooks *hooks);
void ag__saved_hooks_unref(ag_context *c, ag__saved_hooks *h);

#endif
