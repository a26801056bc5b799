/*
 * The context: all state of the library, in one struct. There are no other globals but constant
 * tables. It is a plain record; the files beside it hold the functions that act on each part.
 *
 * A closed context stays in memory while tensors that were retained beyond scopes still live; the
 * last one of them frees it (ag__context_unref).
 */
#ifndef AG_BASE_CONTEXT_H
#define AG_BASE_CONTEXT_H

#include <stdatomic.h>

#include "../../include/autograd.h"

#include "compiler.h"
#include "memory.h"
#include "random.h"

enum { AG_MESSAGE_MAX = 2048 };

/* What a scope owns: the first member of ag_tensor. `scope` is NULL when no scope owns it. */
typedef struct ag__owned {
    struct ag__owned *prev, *next;
    ag_scope *scope;
} ag__owned;

/* A scope is a ring of owned things, and knows the scope around it. A bracket lies on the C stack of
 * a function of ours: no program can end it, nor a scope around it. */
struct ag_scope {
    ag_scope *parent;
    ag_context *c;
    ag__owned ring;
    bool bracket;
};

/* See ops/number.c. */
enum { AG_NUMBERS = 16 };
typedef struct {
    double value;
    ag_tensor *tensor; /* owned; NULL: none */
} ag__number_kept;

struct ag_context {
    ag__memory memory;
    ag_scope root;     /* the outermost scope */
    ag_scope *scope;   /* the innermost one */
    ag_scope *spare;   /* ended ones, linked by `parent`: see scope.c */
    bool grad_enabled; /* record nodes */
    bool inference;    /* inference mode */
    bool closed;
    int64_t refs;             /* 1 for the open context and 1 for each living tensor and node */
    uint64_t next_seq;        /* sequence number of the next node */
    uint64_t pass;            /* number of the newest backward pass */
    int passes;               /* how many are under way, one inside the other */
    struct ag__pass *running; /* the innermost of them */
    struct ag__saved_hooks *saved_hooks; /* what saved values go through: see autograd/saved.h */
    struct ag__region *tracing; /* the body or branch that calls are recorded into: graph/graph.h */
    const ag_tensor *writing; /* what a call in place is about to write: nodes save copies of it */
    const struct ag_node *saving;   /* the node whose values are being saved, or NULL */
    struct ag__pass_watch *watches; /* who wants to know when a pass ends: engine.h */
    bool anomaly;
    atomic_bool cancelled; /* set by a signal handler or another thread */
    const char *site_file; /* the call under way, in checked mode: see site.h */
    int site_line;
    struct ag__sites *sites;
    const char *rule_of,
        *rule_site;        /* in anomaly mode: the node whose rule runs, its forward call */
    ag__owned rings;       /* of the autograd records that may close a ring: see autograd/meta.h */
    struct ag_node *dying; /* stack of nodes to be freed: see autograd/node.c */
    bool reaping;
    bool warned_create_graph; /* the warnings that come once */
    bool warned_non_leaf_grad;
    ag__number_kept numbers[AG_NUMBERS];
    int64_t tensors, nodes;
    size_t saved_bytes;
    ag__random random;
    int threads;
    struct ag__pool *pool; /* NULL until needed: see parallel.c */
    int pool_room;         /* workers it has room for */
    void (*log)(ag_context *c, const char *message, void *user);
    void *log_user;
    void (*on_error)(ag_context *c, const ag_status *status);
    ag_status status;
    unsigned failures; /* calls that failed so far, whether an error was pending or not */
    char message[AG_MESSAGE_MAX];
};

/* Set by the tensor layer when it is linked in: gives up one thing that a scope owns. */
void ag__owned_release(ag__owned *o);
/* Set by the autograd layer: breaks the rings of references that tensors may be in. */
void ag__context_break_rings(ag_context *c);
/* Set by the layer of operations: gives up the numbers that were kept. */
void ag__context_release_numbers(ag_context *c);

void ag__context_unref(ag_context *c);
static inline void ag__context_ref(ag_context *c) { c->refs++; }

/* Puts o into scope s, out of any other. */
void ag__scope_add(ag_scope *s, ag__owned *o);
void ag__scope_remove(ag__owned *o);
/* Opens and ends a bracket; both cannot fail. Scopes that a callback left open inside end with it. */
void ag__bracket_begin(ag_scope *s, ag_context *c);
void ag__bracket_end(ag_scope *s);
/* Releases all that s owns. */
void ag__scope_drain(ag_scope *s);

#endif
