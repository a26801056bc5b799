/*
 * An operation, and the front door that every call of one passes.
 *
 * ag__run validates the operands, asks the row's `infer` for the geometry of the results (the one
 * place where an operation checks its arguments), allocates, runs the kernel and, when gradients are
 * wanted, attaches a node. Pointwise rows share one infer, kernel and rule (ops/pointwise.c);
 * structured rows name their own, which stand beside each other in a file per family.
 */
#ifndef AG_OPS_OP_H
#define AG_OPS_OP_H

#include "../tensor/tensor.h"

/* Masks of what a node saves: bit i is input i, for so many, and those from there on outputs. */
enum { AG_MAX_OUTPUTS = 3, AG_SAVE_INPUTS = 12, AG_SAVE_OUTPUT = 1 << AG_SAVE_INPUTS };

/* Arguments that are not tensors. Rows use what they need; `n` numbers of `list` are valid. */
typedef struct {
    double p, q;
    int64_t i[4];
    int n;
    int64_t list[AG_MAX_DIMS];
} ag__attrs;

/* For the few rows whose list is longer: it runs on behind the struct, in a call and in a node. */
typedef struct {
    ag__attrs head;
    int64_t tail[2 * AG_MAX_DIMS];
} ag__long_attrs;
static inline const int64_t *ag__long_list(const ag__attrs *a)
{
    return (const int64_t *)(const void *)((const char *)a + offsetof(ag__attrs, list));
}

typedef enum {
    AG_KIND_UNARY,
    AG_KIND_BINARY,
    AG_KIND_TERNARY,
    AG_KIND_LINEAR,
    AG_KIND_BILIN,
    AG_KIND_GENERAL,
    AG_KIND_NODIFF
} ag__kind;

struct ag__op;
struct ag__edge;
typedef struct {
    const struct ag__op *op;
    ag_context *c;
    ag_tensor *const *in; /* entries are NULL only for optional operands */
    int n_in;
    const ag__attrs *attrs; /* never NULL */
    int n_out;
} ag__call;

/* What a derivative rule sees. Tensors it makes belong to a scope that ends after it. */
typedef struct {
    const struct ag__op *op;
    ag_context *c;
    struct ag_node *node;
    const ag__attrs *attrs;
    const struct ag__edge *edges; /* which gradients are wanted: see ag__node_apply */
    ag_tensor *const *g;          /* gradients of the outputs; NULL is undefined (zero) */
    ag_tensor **out;              /* gradients of the inputs, to be filled; stays NULL: undefined */
    ag_tensor *const *values;     /* the saved values, when some were packed; else NULL */
    bool owns_g; /* nobody else holds g[0], nor its storage: it may be written, and passed on */
    bool all;
} ag__rule;

typedef struct ag__op {
    const char *name;            /* "mul" */
    const char *node_name;       /* "MulBackward0": PyTorch's */
    const char *node_name_dims;  /* what it is called when dims were given; NULL: the same */
    const char *const *operands; /* PyTorch's names of the inputs; NULL: self, other, ... */
    const char *const *results;  /* and of the outputs; NULL: result, or result0, ... */
    ag__kind kind;
    int n_in;             /* -1: any number */
    int n_out;            /* 1 to AG_MAX_OUTPUTS; -1: as the caller of ag__run_many says */
    bool is_view;         /* infer gives strides and offset over in[0], there is no kernel */
    bool is_hidden_view;  /* likewise, of an operand nobody else has: in[0] is no base for it */
    bool takes_attrs;     /* the node keeps them */
    bool takes_undefined; /* the rule runs although no gradient arrived */
    bool takes_owned;     /* the rule looks at owns_g */
    bool draws;           /* takes random numbers: two calls give different results */
    unsigned optional;    /* bit i: input i may be NULL */
    /* Fills out[j] for every output; false with an error. What is in the operands is for the kernel to
     * look at, since symbolic ones hold nothing; a size that depends on it is -1 with these. */
    bool (*infer)(const ag__call *call, ag__geometry *out);
    /* Writes the (contiguous, uninitialised) outputs; false with an error, mostly for memory. */
    bool (*kernel)(const ag__call *call, ag_tensor *const *out);
    /* What a node saves when the gradients of `wanted` inputs (bits) are wanted: bits of inputs and
     * AG_SAVE_OUTPUT << j of outputs. NULL: nothing. Sizes of wanted inputs are known anyway. */
    unsigned (*needs)(unsigned wanted);
    /* Fills r->out[i] for each i with ag__wants(r, i), by calling operations. NULL: no derivative. */
    bool (*vjp)(ag__rule *r);
    /* Forward mode: r->g are the tangents of the inputs (NULL: zero), r->out those of the outputs, to be
     * filled. NULL: derived from the rest of the row (autograd/forward.c). */
    bool (*jvp)(ag__rule *r);
    const struct ag__pointwise *pointwise; /* NULL for structured rows */
    /* For nodes with a payload of their own; NULL otherwise. */
    void (*release)(struct ag_node *n);       /* gives up what the payload owns */
    void (*release_saved)(struct ag_node *n); /* the part of it that is saved for backward */
    const char *(*name_of)(const struct ag_node *n);
} ag__op;

/* The table: one enum value and one row per operation of ops.def, in its order. */
enum {
#define AG__ROW(name) AG_OP_##name,
#include "readings/list.h"
#undef AG__ROW
    AG_OP_COUNT
};
extern const ag__op *const ag__ops[AG_OP_COUNT];
/* The name of a node whose operands in the mask were numbers. */
const char *ag__op_node_name(const ag__op *op, unsigned numbers, const ag__attrs *attrs);
const char *ag__op_operand_name(const ag__op *op, int input);

/* Set by the layer of graphs: makes a call, of which an operand is symbolic, part of its graph. */
bool ag__record(const ag__call *call, ag_tensor **out);
/* In the sizes of a reshape: that of dimension d of the operand, which a graph may not know yet; the
 * product of those of dimensions a to b. */
#define AG_SIZE_OF(d) (INT64_MIN / 2 + 1000 + (d))
#define AG_SIZES_OF(a, b) AG_SIZE_OF(AG_MAX_DIMS *((a) + 1) + (b))
int64_t ag__size_or_same(const ag_tensor *x, int d); /* x's size where it is known, or AG_SIZE_OF */
int64_t ag__sizes_or_same(const ag_tensor *x, int a, int b);
/* What a size means for x; -1 when it is not known. Others stay. */
int64_t ag__size_meant(const ag_tensor *x, int64_t size);

/* Set by the layer of graphs, for symbolic operands of unknown sizes (graph/sizes.c): x reshaped, where
 * AG_SIZE_OF_OTHER(d) is the size of dimension d of `other`; expanded, where that means a size which x's own
 * broadcasts with; cut off where `other`, of as many dimensions, is smaller. */
#define AG_SIZE_OF_OTHER(d) AG_SIZE_OF(AG_MAX_DIMS *(AG_MAX_DIMS + 1) + (d))
ag_tensor *ag__reshape_like(ag_tensor *x, ag_ints shape, ag_tensor *other);
ag_tensor *ag__expand_like(ag_tensor *x, ag_ints shape, ag_tensor *other);
ag_tensor *ag__cut_like(ag_tensor *x, ag_tensor *other);
/* Runs a call; out[j] are new tensors with one reference that belong to no scope. */
bool ag__run(const ag__op *op, ag_tensor *const *in, int n_in, const ag__attrs *attrs,
             ag_tensor **out);
/* The same for any number of outputs. */
bool ag__run_many(const ag__op *op, ag_tensor *const *in, int n_in, const ag__attrs *attrs,
                  int n_out, ag_tensor **out);
/* ag__run for one output, which is given to the innermost scope. NULL attrs: all zero. */
ag_tensor *ag__run1(const ag__op *op, ag_tensor *const *in, int n_in, const ag__attrs *attrs);
/* ag__run1 for one and two operands. */
ag_tensor *ag__unary(const ag__op *op, ag_tensor *a, const ag__attrs *attrs);
ag_tensor *ag__binary(const ag__op *op, ag_tensor *a, ag_tensor *b, const ag__attrs *attrs);

/* For rules. Values are checked before a rule runs, so these fail for lack of memory only. */
bool ag__wants(const ag__rule *r, int input);
ag_tensor *ag__in(const ag__rule *r, int input);   /* a saved input */
ag_tensor *ag__out(const ag__rule *r, int output); /* a saved output */
/* An input whose gradient is wanted was one when the call was recorded, but a pass may want fewer. */
bool ag__was_wanted(const ag__rule *r, int input);
ag_ints ag__in_shape(const ag__rule *r, int input); /* of an input whose gradient was wanted */
ag_ints ag__out_shape(const ag__rule *r, int output);
int ag__n_out(const ag__rule *r);

/* For infer functions: attributes are what the functions of ours that make them say, also when they come
 * from a file; otherwise an error. */
static inline bool ag__attrs_fit(const ag__call *call, bool fit)
{
    return fit || ag_fail(call->c, AG_ERR_VALUE,
                          "ag_%s: its attributes do not belong to these operands", call->op->name);
}
/* i[0] is a dimension of a tensor with `ndim`; where there are none it is 0. */
static inline bool ag__attrs_dim(const ag__call *call, int ndim)
{
    const int64_t d = call->attrs->i[0];
    return ag__attrs_fit(call, d >= 0 && d < (ndim > 0 ? ndim : 1));
}
/* For infer functions: geometry of a contiguous result. */
static inline void ag__geometry_set(ag__geometry *g, ag_dtype dtype, ag_ints shape)
{
    g->dtype = dtype;
    g->ndim = shape.n;
    for (int i = 0; i < shape.n; i++)
        g->shape[i] = shape.data[i];
}
/* The geometry of t itself, for a view or another walk over it. */
static inline void ag__geometry_of(const ag_tensor *t, ag__geometry *g)
{
    ag__geometry_set(g, (ag_dtype)t->dtype, ag__sizes(t));
    g->offset = t->offset;
    for (int i = 0; i < t->ndim; i++)
        g->strides[i] = ag__strides(t)[i];
}
static inline void ag__geometry_remove(ag__geometry *g, int d)
{
    g->ndim--;
    for (int i = d; i < g->ndim; i++) {
        g->shape[i] = g->shape[i + 1];
        g->strides[i] = g->strides[i + 1];
    }
}
/* The shape that a and b broadcast to; false and AG_ERR_SHAPE (with both shapes) when none. */
bool ag__broadcast(ag_context *c, const char *op, ag_ints a, ag_ints b, ag__geometry *out);
/* The dtype that an operation of both computes in: PyTorch's rules. */
ag_dtype ag__promote(const ag_tensor *a, const ag_tensor *b);
ag_dtype ag__promote_dtypes(ag_dtype a, ag_dtype b); /* of tensors that both have dimensions */
/* g reduced to `shape`, the transpose of broadcasting; g itself when it has that shape. */
ag_tensor *ag__sum_to(ag_tensor *g, ag_ints shape);
/* A view of x, which was made for it and which nobody else sees. */
ag_tensor *ag__unsafe_view(ag_tensor *x, ag_ints shape);
/* A number as an operand beside t, in t's dtype where that saves a conversion; one reference. */
ag_tensor *ag__number_beside(const ag_tensor *t, double value, ag_dtype otherwise);
/* The same, given to the innermost scope. NULL beside NULL. */
ag_tensor *ag__number(const ag_tensor *t, double value);

#endif
