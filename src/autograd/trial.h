/*
 * Calling a function of the user on stand-ins for its inputs, to differentiate it.
 *
 * A stand-in shares the data of its input. Where the caller records and the input wants a gradient it
 * is a view of the input, so that results can be differentiated further, with respect to the inputs
 * themselves. Otherwise it is a leaf that nobody else sees; when the trial ends, such leaves, and what
 * depends on nothing else, are taken out of the graph of the results. So results require a gradient
 * exactly when they would if the function had been called outside. That the function may also use a
 * tensor beside its inputs that is one of them does no harm: it is no stand-in.
 *
 *     if (!ag__trial_begin(&t, "ag_jvp", fn, in, n, m, m))
 *         return false;
 *     bool ok = ag__trial_call(&t, fn, in, tangents, user) && ...; // fills t.more
 *     return ag__trial_end(&t, ok, out, tangents_out);
 */
#ifndef AG_AUTOGRAD_TRIAL_H
#define AG_AUTOGRAD_TRIAL_H

#include "tape.h"

typedef struct {
    ag_context *c;
    const char *name; /* of the public function */
    int n, m, n_more;
    bool records;                     /* the caller does: results may be part of its graph */
    bool grad_was_enabled, inference; /* the caller's modes */
    uint64_t from;      /* the first node made here: those of stand-ins that are views, in order */
    ag_scope bracket;   /* of all that is made on the way */
    ag_tensor **in;     /* stand-ins, and inputs that need none */
    ag_tensor **hidden; /* in[i] where that is a leaf of ours; else NULL */
    ag_tensor **out;    /* m results of the function */
    ag_tensor **more;   /* n_more further results, NULL at first */
    size_t bytes;
} ag__trial;

/* The arguments are right; NULL with an error (if there is a context), else the context. */
ag_context *ag__trial_check(const char *name, ag_fn fn, ag_tensor *const *in, int n, int m);
/* Fills out[0..m) by a call of fn. */
bool ag__trial_run(ag_context *c, const char *name, ag_fn fn, ag_tensor *const *in, int n,
                   ag_tensor **out, int m, void *user);
/* Checks the arguments. False with an error (if there is a context), and then nothing is to be ended. */
bool ag__trial_begin(ag__trial *t, const char *name, ag_fn fn, ag_tensor *const *in, int n, int m,
                     int n_more);
/* v, entry i of n, may stand beside `like`: it has its shape, and both are floating point. NULL is
 * fine. Otherwise PyTorch's sentence. */
bool ag__trial_check_v(const ag__trial *t, const ag_tensor *v, const ag_tensor *like, int i, int n);
/* Calls fn, with grad mode on, on stand-ins for the floating point inputs i with of[i]; for all of
 * them when `of` is NULL. Afterwards no entry of t->out is NULL. */
bool ag__trial_call(ag__trial *t, ag_fn fn, ag_tensor *const *in, ag_tensor *const *of, void *user);
/* Ends the trial; when ok, writes the results, which belong to the caller's innermost scope. */
bool ag__trial_end(ag__trial *t, bool ok, ag_tensor **out, ag_tensor **more);

#endif
