/*
 * Replaying a region: its instructions are run again as calls of operations. On tensors with data
 * this computes (the interpreter); on symbolic tensors of a traced graph it makes that graph, for
 * known shapes, with `gradient` and `jvp` replaced by what the engine does. It is one function
 * either way. Only loops and branches ask which it is: they take their turns, or become
 * instructions (traced_flow.c).
 *
 * Traced regions are replayed as well: into a new graph, where a part of one becomes a function
 * (joint.c), or its derivative is taken (flow_rule.c).
 */
#ifndef AG_GRAPH_REPLAY_H
#define AG_GRAPH_REPLAY_H

#include "rows.h"

/* What of a region is run for some of its values. */
typedef struct {
    bool *needed;  /* instructions */
    int32_t *last; /* values: the last instruction that uses it; INT32_MAX: it is a result */
    bool *source;  /* values: a gradient with respect to it is taken */
    bool *bridge;  /* values that are given, while gradients flow through what would compute them */
    bool differentiates; /* gradients are taken */
    int n_insts, n_values;
} ag__schedule;

/* For the values outs[0..n); fed[v]: the value is given. NULL: none is. In blocks of c. */
bool ag__schedule_make(ag__schedule *s, ag_context *c, const ag__region *r, const int32_t *outs,
                       int n, const bool *fed);
void ag__schedule_free(ag__schedule *s, ag_context *c);

typedef struct {
    ag_context *c;
    const ag__region *r;
    const ag__schedule *s;
    ag_tensor **values; /* of the region, one reference each; NULL: not there */
    ag_tensor **vars;   /* values that are variables: what assignments so far have left; or NULL */
    int32_t *made;      /* of a traced region: what its instructions became; or NULL */
    bool tape;          /* what comes out will be differentiated */
} ag__replay;

/* Runs what s says on rp->values, which holds what is given. */
bool ag__replay_run(ag__replay *rp);
/* A `while` or `scan` on tensors with data, recorded or traced: replay_loop.c. */
bool ag__replay_loop(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out);
/* A `while_back` on tensors with data: replay_back.c. */
bool ag__replay_back(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out);
/* Instruction i, a row of the table or one of sizes.c, for these operands: one reference each. */
bool ag__replay_row(const ag__inst *i, ag_tensor *const *in, ag_tensor **out);
/* A region as a function: outs get one reference each. For many calls, with a schedule of its
 * results. */
bool ag__region_run(ag_context *c, const ag__region *r, const ag__schedule *s,
                    ag_tensor *const *args, ag_tensor **outs, bool tape);
bool ag__region_call(ag_context *c, const ag__region *r, ag_tensor *const *args, ag_tensor **outs,
                     bool tape);

#endif
