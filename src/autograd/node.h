/*
 * Nodes: one per recorded call. A node is one block: this header, then its edges, outputs, saved
 * values, payload, and the sizes of its outputs. Where each begins follows from the counts. The payload
 * is the call's attributes, or what else the row keeps (a custom function its ag_ctx).
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

#include "../base/pointers.h"
#include "../ops/op.h"

typedef struct ag__edge {
    struct ag_node *node;
    int32_t nr;
} ag__edge;
/* What a node knows of an output. */
typedef struct {
    uint8_t dtype, ndim;
    const int64_t *shape;
} ag__output;

typedef enum { AG_SAVED_INPUT, AG_SAVED_OUTPUT, AG_SAVED_OTHER } ag__saved_kind;
/* A saved value. See saved.h. */
typedef struct {
    union {
        ag_tensor *tensor; /* owned; NULL: there is none */
        struct ag__packed *packed;
    };
    uint32_t version; /* of the tensor when it was saved */
    uint16_t nr;      /* which input or output */
    uint8_t kind;
    bool is_packed;
} ag__saved;

/* What few nodes have. */
typedef struct {
    struct ag_hook *hooks; /* in order of registration: see hooks.h */
    int calling;           /* walks over them that are under way */
    bool removed;          /* some of them were removed meanwhile */
    const char *site;      /* the forward call: see base/site.h */
} ag__extra;

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
    ag__extra *extra; /* NULL until needed */
    int32_t refs;
    uint32_t bytes; /* of this block */
    uint16_t n_in, n_out;
    unsigned n_saved : 22; /* of a large compiled function there are many */
    bool freed : 1;        /* saved values were given up by a backward pass */
    bool packed : 1;       /* some of them went through hooks */
    unsigned numbers : 8;  /* bit i: operand i was a number */
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
static inline void *ag__node_payload(const ag_node *n) { return ag__node_saved(n) + n->n_saved; }
/* May hold fewer than AG_MAX_DIMS list entries. There are some only when the operation takes any. */
static inline const ag__attrs *ag__node_attrs(const ag_node *n) { return ag__node_payload(n); }

extern const ag__op ag__accumulate_op; /* "AccumulateGrad" */

/* A node whose edges and saved values are empty and whose payload is not filled in. Its outputs are
 * as those of like[0..n_out). NULL when out of memory. */
ag_node *ag__node_new(ag_context *c, const ag__op *op, int n_in, ag_tensor *const *like, int n_out,
                      int n_saved, size_t payload_bytes);
/* Records a call: a node for out[0..n_out), which become its results. False when out of memory. */
bool ag__node_attach(const ag__call *call, ag_tensor *const *out);
/* For those who fill in a node themselves: its edges to the operands in[0..n_in), its place in the
 * order of nodes and, where asked for, in the program. False when out of memory. */
bool ag__node_connect(ag_node *n, ag_tensor *const *in);
/* The edge that t's gradient takes, its accumulator made if need be: *edge = {NULL} when t wants
 * none. The node of the edge gets one more reference. */
bool ag__gradient_edge(ag_tensor *t, ag__edge *edge);
/* t becomes output nr of n, to which it takes a reference, and what it was before does not count. */
void ag__node_adopt(ag_node *n, int nr, ag_tensor *t);
static inline ag_node *ag__node_ref(ag_node *n)
{
    n->refs++;
    return n;
}
void ag__node_unref(ag_node *n); /* NULL is fine */
/* The accumulator of a leaf that dies. */
void ag__node_free_accumulator(ag_node *n);
ag__extra *ag__node_extra(ag_node *n);      /* makes it; NULL when out of memory */
ag_tensor *ag__node_leaf(const ag_node *n); /* NULL when n is no accumulator */
/* Adds root (NULL: none) and all nodes behind it to an empty set, breadth first and without recursion.
 * False when out of memory. */
bool ag__node_reach(ag_node *root, ag__pointers *found);
/* Runs the rule of n: from g[0..n_out) to out[0..n_in), in tensors of the innermost scope. `edges` are
 * n's, or stand for them, and say which gradients are wanted: those that lead somewhere and, unless
 * `all` count, take part in the pass under way. False with an error. */
bool ag__node_apply(ag_node *n, const ag__edge *edges, ag_tensor *const *g, bool owns_g, bool all,
                    ag_tensor **out);
/* The same with `run` for the rule, say of forward mode: g and out are what that says they are. */
bool ag__node_run(ag_node *n, bool (*run)(ag__rule *r), const ag__edge *edges, ag_tensor *const *g,
                  bool owns_g, bool all, ag_tensor **out);
/* A gradient g, which can be summed to it, as the operand behind the edge wants it: in its shape and
 * its dtype. */
ag_tensor *ag__node_fit(const ag__edge *e, ag_tensor *g);
/* Whether the innermost pass runs n, or gives its gradient to somebody. */
bool ag__node_in_pass(const ag_node *n);

#endif
