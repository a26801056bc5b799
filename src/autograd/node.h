/*
 * Nodes: one per recorded call. A node is one block: this header, then its edges, outputs, saved
 * values, attributes, and the sizes of its outputs. Where each begins follows from the counts.
 *
 * An edge says where the gradient of an operand goes: the node that made it and which output it was;
 * for a leaf that wants a gradient, its accumulator. A node owns the nodes its edges lead to, so a
 * graph dies from its end; dying nodes queue in the context, never on the C stack.
 *
 * Note [accumulators]
 * A leaf has at most one accumulator, which owns the leaf while edges lead to it. When the last edge
 * goes, the accumulator falls asleep: it gives the leaf up and waits beside it for the next graph, so
 * that a training loop makes none after its first step. It dies with the leaf.
 */
#ifndef AG_AUTOGRAD_NODE_H
#define AG_AUTOGRAD_NODE_H

#include "../ops/op.h"

typedef struct {
    struct ag_node *node;
    int32_t nr;
} ag__edge;
typedef struct {
    ag_tensor *tensor;
    uint32_t version;
    bool is_output;
    uint8_t nr;
} ag__saved;
/* What a node knows of an output: its geometry, and the tensor whose .grad is kept (not owned; the
 * tensor takes itself out when it dies). */
typedef struct {
    uint8_t dtype, ndim;
    const int64_t *shape;
    ag_tensor *retains;
} ag__output;

struct ag_node {
    ag_context *c;
    const ag__op *op;
    uint64_t seq;            /* order of creation; accumulators: UINT64_MAX */
    uint64_t pass;           /* the newest backward pass that came by, whose record is */
    struct ag__visit *visit; /* this one: see engine.c */
    union {
        struct ag_node *next_dying; /* once nobody refers to it */
        ag_tensor *leaf; /* accumulators: the tensor whose .grad they write; owned while awake */
    };
    int32_t refs;
    uint32_t bytes; /* of this block */
    uint16_t n_in, n_out, n_saved;
    bool freed;      /* saved values were given up by a backward pass */
    uint8_t numbers; /* bit i: operand i was a number */
    ag__edge edges[];
};

static inline ag__output *ag__node_outputs(const ag_node *n)
{
    return (ag__output *)(uintptr_t)(n->edges + n->n_in);
}
static inline ag__saved *ag__node_saved(const ag_node *n)
{
    return (ag__saved *)(ag__node_outputs(n) + n->n_out);
}
/* May hold fewer than AG_MAX_DIMS list entries. There are some only when the operation takes any. */
static inline const ag__attrs *ag__node_attrs(const ag_node *n)
{
    return (const ag__attrs *)(ag__node_saved(n) + n->n_saved);
}

extern const ag__op ag__accumulate_op; /* "AccumulateGrad" */

/* Records a call: a node for out[0..n_out), which become its results. False when out of memory. */
bool ag__node_attach(const ag__call *call, ag_tensor *const *out);
/* The edge that t's gradient takes, its accumulator made if need be: *edge = {NULL} when t wants
 * none. The node of the edge gets one more reference. */
bool ag__gradient_edge(ag_tensor *t, ag__edge *edge);
static inline ag_node *ag__node_ref(ag_node *n)
{
    n->refs++;
    return n;
}
void ag__node_unref(ag_node *n); /* NULL is fine */
void ag__node_release_saved(ag_node *n);
/* The accumulator of a leaf that dies. */
void ag__node_free_accumulator(ag_node *n);
/* From now on t, a result of a node, gets a .grad when its gradient is known. */
bool ag__node_retain_output(ag_tensor *t);
void ag__node_forget_output(ag_tensor *t); /* t is about to die */
/* All saved values are there and unchanged; otherwise AG_ERR_GRAD and PyTorch's sentence. */
bool ag__node_check_saved(const ag_node *n);
ag_tensor *ag__node_leaf(const ag_node *n); /* NULL when n is no accumulator */

#endif
