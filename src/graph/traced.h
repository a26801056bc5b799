/*
 * Tracing a recorded graph for known shapes: it is replayed on symbolic tensors of a new graph,
 * while the context records there (c->tracing). Loops and branches become instructions of it
 * (traced_flow.c); their derivatives are rules like others (flow_rule.c), so that `gradient` in any
 * depth and order is the engine's work.
 */
#ifndef AG_GRAPH_TRACED_H
#define AG_GRAPH_TRACED_H

#include "../autograd/saved.h"
#include "replay.h"

/* Whether calls are recorded into a traced graph at this moment. */
static inline bool ag__is_tracing(const ag_context *c)
{
    return c->tracing && c->tracing->graph->traced;
}

/* What a recorded `while`, `scan`, `cond` or `switch` is in a traced graph. out: one reference
 * each. */
bool ag__traced_while(ag_context *c, const ag__inst *i, ag_tensor *const *in, ag_tensor **out);
bool ag__traced_scan(ag_context *c, const ag__inst *i, ag_tensor *const *in, ag_tensor **out);
bool ag__traced_branch(ag_context *c, const ag__inst *i, ag_tensor *const *in, ag_tensor **out);

/* An instruction of the region that is traced, with a node for its results where they want one.
 * All that the regions use are parameters: in[0..n_in). out: one reference each. */
typedef struct {
    const ag__op *op;
    const ag__attrs *attrs;
    ag__region *const *regions;
    int n_regions, n_in, n_out;
    ag_tensor *const *in;
    const ag__geometry *types; /* of the results */
} ag__flow;
bool ag__traced_flow(ag_context *c, const ag__flow *f, ag_tensor **out);

/* What the node of such an instruction has for a payload. */
typedef struct {
    ag__region *region;
    int32_t inst;
} ag__flow_place;
extern const ag__op ag__flow_node_op; /* flow_rule.c */

/* For its rules: the instruction; the gradient of output j, zeros like `like` where there is
 * none; a symbolic tensor for output j, to take zeros from. */
const ag__inst *ag__flow_inst(const ag__rule *r);
ag_tensor *ag__flow_cotangent(const ag__rule *r, int j, ag_tensor *like);
ag_tensor *ag__flow_output(const ag__rule *r, int j);
/* Gradients of the floating point ones of n_out outputs; how many, -1 when out of memory. */
int ag__flow_cotangents(const ag__rule *r, int n_out, ag_tensor **list);
/* The gradient of a `while` with snapshots: a `while_back`; and that of a `while_back`.
 * flow_back.c */
bool ag__flow_back(ag__rule *r);
bool ag__flow_again(ag__rule *r);

/* What is known of a function's parameter when its derivative is computed. */
typedef enum {
    AG_AT_HAND_NOT,
    AG_AT_HAND,
    AG_ALWAYS_SAME /* at hand, and the same in every call: captured by a loop */
} ag__at_hand;
/* Of joint, whose first n parameters are those of a function and the others gradients of its
 * results: values that depend on the function's parameters only, from which and from the
 * parameters at hand joint's results from `first_result` on can be computed: kept[0..*n_kept),
 * in a block of joint->n_values numbers. False with an error. */
bool ag__residuals(ag_context *c, const ag__region *joint, int n, int first_result,
                   const ag__at_hand *at_hand, int32_t **kept, int *n_kept);

/* A function and the gradients of its parameters that are wanted, as one region: parameters are
 * those of `region`, then a gradient for each of its floating point results; results are those
 * of `region`, then the gradients of the parameters with wanted[i] (zeros where there is none). */
ag__region *ag__joint(ag_context *c, const char *op, const ag__region *region, const bool *wanted);
/* Part of a region as a function that is traced: values that are given, values that are wanted. */
typedef struct {
    ag_context *c;
    const ag__region *region;
    const int32_t *given, *wanted;
    int n_given, n_wanted;
} ag__part;
/* in[0..n_given) to out[0..n_wanted), given to the innermost scope. */
bool ag__part_replay(const ag__part *p, ag_tensor *const *in, ag_tensor **out);

#endif
