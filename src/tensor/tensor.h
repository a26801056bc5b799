/*
 * Tensors: a shape, strides and an offset over a storage that views share.
 *
 * A tensor that does not share another's storage comes in one block: the tensor, its sizes and
 * strides, its storage, and the data when they are few. The block lives as long as the storage does,
 * which may be longer than the tensor. Larger data lie in a block of their own. All come from the
 * context's size-class cache. The version of a value lives in the storage, since exactly the tensors
 * that share a storage share a version.
 */
#ifndef AG_TENSOR_TENSOR_H
#define AG_TENSOR_TENSOR_H

#include "../base/context.h"
#include "../base/error.h"
#include "dtype.h"

struct ag__foreign;

typedef struct ag__storage {
    int32_t refs;
    uint32_t version;   /* in-place writes so far */
    const char *writer; /* the operation that wrote last, for messages */
    void *data;
    size_t bytes;                /* of data */
    struct ag__foreign *foreign; /* data that are not the context's: see tensor/foreign.h */
    uint32_t start;              /* how far into its block this header lies */
    uint32_t block;              /* bytes of that block */
} ag__storage;

enum { AG_INLINE_BYTES = 64 }; /* data up to this size lie in the tensor's block */

enum {
    AG_T_REQUIRES_GRAD = 1, /* a leaf whose gradient is wanted, or the result of a recorded node */
    AG_T_NUMBER = 2,        /* stands for a number: takes its dtype from the other operand */
    AG_T_VIEW = 4,          /* has a base, and an ag__view that says which */
    AG_T_INFERENCE = 8,     /* made in inference mode: no version, never saved */
    AG_T_HELD = 16,         /* a node saved it, or a view of it, as an operand */
    AG_T_REBASED = 32,      /* its grad_fn came with a write in place: see autograd/meta.h */
    AG_T_SYMBOLIC = 64      /* a value of a graph; its data are an ag__symbol: see graph/graph.h */
};

struct ag_tensor {
    ag__owned own; /* must be first: see base/context.h */
    ag_context *c;
    ag__storage *storage;
    struct ag_node *grad_fn; /* owned; NULL for leaves */
    struct ag__meta *meta;   /* gradient, name, ...: see autograd/meta.h; NULL until needed */
    int64_t numel, offset;   /* in elements */
    int32_t refs;
    uint16_t output_nr; /* which output of grad_fn */
    uint8_t dtype, ndim, flags;
    int64_t dims[]; /* shape, then strides */
};

/* How a view came about, which decides what a write into it means. A view of a view is of its own
 * kind, or where that is plain of the other's; inference mode stays, except behind a custom function. */
typedef enum {
    AG_VIEW_PLAIN,
    AG_VIEW_CUSTOM,      /* made in a custom function, or an operand returned by one as it was */
    AG_VIEW_ONE_OF_MANY, /* its node has several views for results */
    AG_VIEW_NO_GRAD,
    AG_VIEW_INFERENCE
} ag__view_kind;
/* What a view knows beside its geometry; it lies behind its sizes. */
typedef struct {
    ag_tensor *base;  /* owned; is no view itself */
    uint32_t version; /* of the storage when grad_fn was right: see autograd/view.h */
    uint8_t kind;
} ag__view;

/* What a tensor will be, before it exists. */
typedef struct {
    ag_dtype dtype;
    int ndim;
    int64_t shape[AG_MAX_DIMS];
    int64_t strides[AG_MAX_DIMS]; /* views only */
    int64_t offset;               /* views only */
} ag__geometry;

/* What symbolic tensors have for data. */
typedef struct {
    struct ag_graph *graph;    /* owned */
    struct ag__region *region; /* as long as the graph was not freed */
    int32_t value;
    uint32_t born; /* of the value, whose number others get when it is taken back */
} ag__symbol;

static inline const int64_t *ag__shape(const ag_tensor *t) { return t->dims; }
static inline const int64_t *ag__strides(const ag_tensor *t) { return t->dims + t->ndim; }
static inline ag_ints ag__sizes(const ag_tensor *t) { return (ag_ints){ t->dims, t->ndim }; }
static inline char *ag__at(const ag_tensor *t)
{
    return (char *)t->storage->data + t->offset * (int64_t)ag__itemsize((ag_dtype)t->dtype);
}
/* Of a view whose storage was written since: as it was before. See ag__fresh in autograd/view.h. */
static inline bool ag__wants_grad(const ag_tensor *t) { return t->flags & AG_T_REQUIRES_GRAD; }
static inline bool ag__is_symbolic(const ag_tensor *t) { return t->flags & AG_T_SYMBOLIC; }
static inline ag__symbol *ag__symbol_of(const ag_tensor *t) { return t->storage->data; }
static inline ag__view *ag__view_of(const ag_tensor *t)
{
    return t->flags & AG_T_VIEW ? (ag__view *)(uintptr_t)(t->dims + 2 * t->ndim) : NULL;
}

/* New tensors have one reference and belong to no scope; NULL and an error when out of memory. */
ag_tensor *ag__tensor_new(ag_context *c, ag_dtype dtype, int ndim, const int64_t *shape);
/* Over data that are not the context's; takes the caller's reference to them when it succeeds. */
ag_tensor *ag__tensor_foreign(ag_context *c, ag_dtype dtype, int ndim, const int64_t *shape,
                              struct ag__foreign *foreign);
/* A value of a graph, which gets one reference more. Sizes of -1 are known when it runs. */
ag_tensor *ag__tensor_symbol(ag_context *c, ag_dtype dtype, int ndim, const int64_t *shape,
                             ag__symbol symbol);
/* Set by the layer of graphs. */
void ag__symbol_ref(const ag__symbol *s);
void ag__symbol_unref(const ag__symbol *s);
/* A write in place: x stands for the value of y, in x's dtype, from now on. */
bool ag__symbol_rebind(const char *name, ag_tensor *x, ag_tensor *y);
/* One of them is a value of a graph that is not traced: see graph/graph.h. */
bool ag__any_recorded(ag_tensor *const *list, int n);
/* What stands in `like`'s graph for t, which may hold data: it is a constant there. */
ag_tensor *ag__symbol_beside(const ag_tensor *like, ag_tensor *t);
ag_tensor *ag__symbol_detach(ag_tensor *t); /* the same value, through which no gradient flows */
bool ag__symbol_set_name(ag_tensor *t, const char *name);
const char *ag__symbol_name(const ag_tensor *t);
/* t holds data; otherwise an error: what `op` would do with them. */
bool ag__has_data(const char *op, const ag_tensor *t);
/* Shares t's storage: same geometry, no graph, no base. */
ag_tensor *ag__tensor_alias(ag_tensor *t);
ag_tensor *ag__tensor_window(ag_tensor *t, const ag__geometry *g); /* likewise, of geometry g */
/* t, which shares the storage of another tensor, shares that of `from` and has its geometry. Where that
 * has another number of dims, t keeps its own, and has no elements. */
void ag__tensor_bind(ag_tensor *t, const ag_tensor *from);
ag_tensor *ag__tensor_view(ag_tensor *t, const ag__geometry *g,
                           ag__view_kind kind);                        /* has a base */
ag_tensor *ag__tensor_number(ag_context *c, double v, ag_dtype dtype); /* 0-dim AG_T_NUMBER */
void ag__tensor_free(ag_tensor *t);               /* nobody refers to t any more */
static inline void ag__tensor_unref(ag_tensor *t) /* NULL is fine */
{
    if (t && --t->refs <= 0)
        ag__tensor_free(t);
}
static inline ag_tensor *ag__tensor_ref(ag_tensor *t)
{
    t->refs++;
    return t;
}
/* Hands a new tensor (its one reference) to the innermost scope and returns it; NULL gives NULL. */
ag_tensor *ag__give(ag_tensor *t);
/* For functions that return an existing tensor: a scope must own it. */
ag_tensor *ag__lend(ag_tensor *t);
/* Hands over one reference to a tensor that may be in a scope already. */
static inline ag_tensor *ag__settle(ag_tensor *t)
{
    ag__lend(t);
    ag__tensor_unref(t);
    return t;
}

void ag__bump_version(ag_tensor *t, const char *by);
bool ag__is_contiguous(const ag_tensor *t);
/* The elements fill the memory between the first and the last, in whatever order, each place once. */
bool ag__is_dense(const ag_tensor *t);
/* Several elements lie at one address, as in an expanded tensor: there is no writing into it. */
bool ag__repeats_memory(const ag_tensor *t);
/* For lists that users give. The context of the first tensor that is there, or NULL. */
ag_context *ag__list_context(ag_tensor *const *list, int n);
/* Entry i is there and of context c; otherwise an error: "NAME: WHAT i is NULL". */
bool ag__list_check(ag_context *c, const char *name, const char *what, int i, const ag_tensor *t);
int64_t ag__shape_numel(ag_ints shape); /* -1 when a size is unknown */
bool ag__same_shape(ag_ints a, ag_ints b);
/* Where sizes may be unknown (-1): every b is of shape a; some tensor may be of both. */
bool ag__shape_takes(ag_ints a, ag_ints b);
bool ag__shape_may_be(ag_ints a, ag_ints b);

/* Checks a shape given by a user: rank, signs and the number of bytes. */
bool ag__check_shape(ag_context *c, const char *op, ag_ints shape, ag_dtype dtype);
/* The dimension 0 <= d < ndim that `dim` means; -1 and AG_ERR_INDEX when there is none. A 0-dim
 * tensor takes 0 and -1, as in PyTorch. */
int ag__dim(ag_context *c, const char *op, int64_t dim, int ndim);
/* "[2, 3]" into a buffer that is good until the fourth next call on this context's thread. */
typedef struct {
    char text[AG_MAX_DIMS * 21 + 3];
} ag__shape_text;
const char *ag__shape_string(ag__shape_text *buffer, ag_ints shape);

/* Fills t, which is floating point and contiguous, from U[0, 1) or N(0, 1). */
void ag__draw(ag_tensor *t, bool normal);
/* Writes src into dst, broadcasting and casting; both must exist and fit. No graph, no version. */
void ag__copy_data(ag_tensor *dst, const ag_tensor *src);
/* For kernels, with one more reference for the caller, or NULL when out of memory. An operand: t
 * itself, or a copy of it, with its elements in order and in `dtype`. */
ag_tensor *ag__ready(ag_tensor *t, ag_dtype dtype);
/* The same broadcast to `shape`, which it must fit. */
ag_tensor *ag__spread(ag_tensor *t, ag_dtype dtype, ag_ints shape);
/* A result that is computed in `dtype`: t itself, or a tensor of its shape to be copied into it. */
ag_tensor *ag__computed_in(ag_tensor *t, ag_dtype dtype);
/* A new contiguous tensor with t's values (one reference, no scope, no graph). */
ag_tensor *ag__contiguous_copy(const ag_tensor *t, ag_dtype dtype);

#endif
