/* A backward pass, as those who start one ask for it. See engine.c. */
#ifndef AG_AUTOGRAD_ENGINE_H
#define AG_AUTOGRAD_ENGINE_H

#include "node.h"

typedef struct {
    ag_tensor *const *roots;
    ag_tensor *const *gradients; /* of the roots; NULL: ones */
    int n_roots;
    ag_tensor *const *inputs; /* NULL: every leaf */
    int n_inputs;
    ag_tensor **results; /* of the inputs; NULL: accumulate into .grad */
    bool retain_graph, create_graph, allow_unused, materialize_grads;
    bool ends_at_inputs; /* what is behind them, and their hooks, are none of the pass's business */
} ag__pass_request;

/* Roots and inputs exist, fit their gradients and want some. False with an error, and nothing has
 * changed. */
bool ag__pass_perform(ag_context *c, const ag__pass_request *request);

/* Somebody who has something for the time of a pass: in a list of the context while that is so. */
typedef struct ag__pass_watch {
    struct ag__pass_watch *next, **link; /* NULL link: not listed */
    /* A pass ended. True when something was given up for it, and perhaps other watches with that. */
    bool (*ended)(struct ag__pass_watch *watch, uint64_t pass);
} ag__pass_watch;
void ag__pass_watch_add(ag_context *c, ag__pass_watch *watch); /* once is enough */
void ag__pass_unwatch(ag__pass_watch *watch);                  /* also when it is not listed */

uint64_t ag__pass_running(const ag_context *c); /* the number of the innermost pass; 0: none */

#endif
