/*
 * What plans are made of, for those who build them (plan.c, plan_region.c, plan_flow.c, fuse.c,
 * plan_over.c with the tools of plan_tensor.c; then plan_memory.c and plan_link.c) and those who
 * run them (exec.c, exec_loop.c, exec_back.c).
 *
 * A value of the graph is one tensor, made once. Its storage is its own, or that of what it is a
 * view of, or of what it is written over; so whoever moves a storage's data moves all that lies in
 * it. Storages get their data from a place in the arena, or are *floating*: bound while the plan
 * runs, to an argument, a result, a step of a stack.
 *
 * All records lie in the memory of the graph, which the plan owns.
 */
#ifndef AG_GRAPH_PLAN_PARTS_H
#define AG_GRAPH_PLAN_PARTS_H

#include "../kernels/pointwise.h"
#include "../ops/program.h"
#include "plan.h"
#include "replay.h"

/* ---- memory ---- */

/* A piece of the arena, and the time in which it is in use: numbers of steps, both inclusive. */
typedef struct {
    size_t bytes, offset;
    int32_t from, to;
    bool moves; /* the storage that lies here is exchanged with another */
} plan_place;
enum { PLAN_FLOATS = -1, PLAN_CONSTANT = -2, PLAN_NO_PLACE = -3 };

/* A tensor with a storage of its own. */
typedef struct plan_owner {
    struct plan_owner *next;
    ag_tensor *tensor;
    int32_t place; /* or PLAN_FLOATS */
} plan_owner;

/* Memory outside the arena, for what is not known before. It grows and is kept. */
typedef struct plan_buffer {
    struct plan_buffer *next;
    char *data;
    size_t bytes;
} plan_buffer;

/* ---- steps ---- */

typedef struct plan_block plan_block;

typedef enum {
    PLAN_ONE,     /* the loop of a pointwise row for one element */
    PLAN_MIXED,   /* the same, with conversions */
    PLAN_MOVE,    /* bytes from here to there */
    PLAN_COPY,    /* of a tensor into another */
    PLAN_KERNEL,  /* of a row */
    PLAN_PROGRAM, /* several pointwise rows, perhaps at the end of a product */
    PLAN_DYNAMIC, /* a row whose sizes are known when it runs */
    PLAN_SWAP,    /* of what two storages have for data */
    PLAN_BRANCH,
    PLAN_LOOP,
    PLAN_BACK
} plan_kind;

typedef struct {
    ag__loop *loop;
    char *data[4];
    double p, q;
} plan_one;

typedef struct {
    plan_one one;
    ag_dtype compute, result, dtype[4]; /* what the loop reads and writes; what lies there */
    int n;
} plan_mixed;

typedef struct {
    ag__call call;
    ag_tensor **out;
    int32_t *place; /* of the result and the operands, when one element is computed; or NULL */
} plan_kernel;

typedef struct {
    const ag__inst *inst;
    ag_tensor **in, **out; /* out[j] NULL: nobody needs it */
    ag_tensor **room;      /* for the results */
    bool *binds;           /* out[j] gets the storage of the result; otherwise a copy */
} plan_dynamic;

typedef struct {
    ag_tensor *index;
    bool two; /* cond: 0 or not 0 */
    int n;
    plan_block **blocks;
} plan_branch;

/* Operand x of a loop, and the parameter that a step of it becomes. */
typedef struct {
    ag_tensor *stack, *step;
    size_t bytes;
    bool copies; /* one element: to where the parameter is, which does not move */
} plan_x;

/* A result that is stacked, and the tensor whose data are its place for one step. */
typedef struct {
    ag_tensor *stack, *step;
    size_t bytes;
    plan_buffer *buffer; /* NULL: the length is known, and the stack has a place */
} plan_y;

/* A carry and the body's result for it, whose buffers are exchanged after every step. */
typedef struct {
    ag__storage *carry, *next;
    size_t bytes;
    void *began[2]; /* their data when the loop began */
} plan_swap;

typedef struct {
    plan_block *body, *cond;
    const ag_tensor *pred;
    int32_t pred_place;
    const bool *pred_data; /* where it is bool and does not move, else NULL */
    plan_x *xs;
    plan_y *ys;
    plan_swap *swaps;
    int n_xs, n_ys, n_swaps;
    int64_t limit, length; /* length: -1: as xs or length_of say */
    const ag_tensor *length_of;
    ag_tensor *count;
    bool reverse;
} plan_loop;

/* A loop that goes back. Each of its parts is a loop's body, with the carries of its own. */
typedef struct {
    plan_loop *forward, *backward;
    ag_tensor **states;
    int n_states;
    size_t bytes; /* of a state */
    int64_t snapshots;
    const ag_tensor *length_of;
    plan_buffer *kept, *numbers; /* snapshots; the schedule's */
} plan_back;

typedef struct {
    plan_kind kind;
    union {
        plan_one one;
        plan_mixed *mixed;
        struct {
            char *to;
            const char *from;
            size_t bytes;
        } move;
        struct {
            ag_tensor *to, *from;
            int32_t to_place, from_place;
        } copy;
        plan_kernel *kernel;
        struct {
            ag__program *made; /* when the arena is there */
            const ag__program_text *text;
            plan_kernel *product; /* one of whose inputs this computes; NULL: none */
        } program;
        plan_dynamic *dynamic;
        plan_swap *swap; /* moves both storages' data */
        plan_branch *branch;
        plan_loop *loop;
        plan_back *back;
    } u;
} plan_step;

struct plan_block {
    plan_block *next; /* in the plan's list */
    plan_step *steps;
    int n, room;
};

/* ---- the plan ---- */

typedef struct {
    ag_tensor *tensor;
    plan_buffer *buffer; /* for arguments that are not contiguous; NULL: they are copied anyway */
} plan_input;

typedef struct {
    ag_tensor *tensor;
    bool direct;         /* its storage floats: it is bound to what is given out or written over */
    bool dynamic;        /* its size is known in the end */
    plan_buffer *buffer; /* for what cannot be written over at once */
} plan_result;

struct ag__plan {
    ag_graph *g;
    ag_context *c;
    int off;
    const int32_t *into;
    plan_block *blocks, *main;
    plan_owner *owners;
    plan_buffer *buffers;
    ag_tensor **tensors; /* all of them */
    int n_tensors, room_tensors;
    ag_tensor **bound; /* those of them whose storage is that of a result while the plan runs */
    int n_bound, room_bound;
    ag_tensor *nothing; /* what these are bound to otherwise */
    struct ag__foreign *foreign;
    plan_place *places;
    int32_t n_places, room_places;
    int32_t now; /* the step that is built */
    int n_nodes;
    plan_input *inputs;
    plan_result *results;
    char *arena;
    size_t bytes;
};

/* ---- building ---- */

typedef struct {
    ag_tensor *t;
    int32_t place; /* of its storage; PLAN_FLOATS, PLAN_CONSTANT */
    bool lent;     /* of somebody else, who still needs it: never written over */
    bool dynamic;  /* a size is known when it runs */
} plan_value;

/* A region in the making. */
typedef struct {
    ag__plan *p;
    const ag__region *r;
    ag__schedule s;
    plan_block *block;
    plan_value *values;
    const plan_value **target; /* of values: what they are to be written to, or NULL */
    int32_t *group;            /* of instructions: the last one of the program it is in; 0: none */
} plan_build;

/* Makes what a region computes steps of `block`. params: as many as the region has; targets[j],
 * where it has a tensor: result j is written there if that is possible. Fills outs. */
bool ag__plan_region(ag__plan *p, const ag__region *r, plan_block *block, const plan_value *params,
                     const plan_value *targets, plan_value *outs);
/* Gives results of the main region, whose targets are `targets`, the arguments they are written
 * over for a place, where that can do no harm; plan_over.c. */
void ag__plan_over(plan_build *b, const plan_value *targets);
/* The same for some of its values, wanted[0..n). */
bool ag__plan_part(ag__plan *p, const ag__region *r, const int32_t *wanted, int n,
                   plan_block *block, const plan_value *params, const plan_value *targets,
                   plan_value *outs);
/* Finds groups; fuse.c. */
void ag__fuse(plan_build *b);
/* The group of which instruction k is the last. */
bool ag__fuse_step(plan_build *b, int32_t k);
/* Instruction k of b->r, a branch or a loop. */
bool ag__plan_branch(plan_build *b, int32_t k);
bool ag__plan_loop(plan_build *b, int32_t k);
bool ag__plan_back(plan_build *b, int32_t k); /* a `while_back` */

plan_block *ag__plan_block(ag__plan *p);
plan_step *ag__plan_step(ag__plan *p, plan_block *block, plan_kind kind); /* a step of time */
/* A dense copy of *v, which takes its place. */
bool ag__plan_dense(ag__plan *p, plan_block *block, plan_value *v);
bool ag__plan_copy(ag__plan *p, plan_block *block, const plan_value *to, const plan_value *from);
/* A value with a storage of its own: in a new place when `place` is PLAN_NO_PLACE. */
bool ag__plan_tensor(ag__plan *p, ag_dtype dtype, ag_ints shape, int32_t place, plan_value *v);
bool ag__plan_keep(ag__plan *p, ag_tensor *t); /* t, which may be NULL, belongs to the plan */
/* A value without a storage of its own, to be bound. */
bool ag__plan_bound(ag__plan *p, ag_dtype dtype, ag_ints shape, plan_value *v);
/* i, which knows its sizes when it runs; out[j].t is there, or NULL: nobody needs it. */
bool ag__plan_dynamic(ag__plan *p, plan_block *block, const ag__inst *i,
                      const plan_value *const *in, const plan_value *out);
plan_buffer *ag__plan_buffer(ag__plan *p);
int32_t ag__plan_place(ag__plan *p, size_t bytes);              /* begins and ends now */
void ag__plan_touch(ag__plan *p, const plan_value *v);          /* is in use now */
bool ag__plan_unsupported(const ag__plan *p, const char *what); /* false, with the error */
/* What v is a view of, or v. */
int32_t ag__plan_base(const plan_build *b, int32_t v);
/* v is a whole storage in the arena that nobody needs after instruction k. */
bool ag__plan_ends(const plan_build *b, int32_t v, int32_t k);
/* What computes instruction k: operands, and results that have found their places. NULL when out of
 * memory. */
plan_kernel *ag__plan_kernel(plan_build *b, int32_t k);
/* Makes the tensor of a result: its target, or written over `over`, or in a place of its own. */
bool ag__plan_home(plan_build *b, int32_t v, const plan_value *over);
static inline const plan_value *ag__plan_in(const plan_build *b, const ag__inst *i, int j)
{
    return i->in[j] < 0 ? NULL : &b->values[i->in[j]];
}
/* v is all of its storage, elements in order. */
bool ag__plan_whole(const ag__plan *p, const plan_value *v);
/* The result of the row lies where its first operand does. */
static inline bool ag__plan_shares(const ag__op *op)
{
    return op->is_view || op->is_hidden_view || op == &ag__op_detach;
}
static inline bool ag__plan_knows(const ag__value *v)
{
    return ag__shape_numel(ag__value_shape(v)) >= 0;
}
static inline size_t ag__plan_size(const ag_tensor *t)
{
    return (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype);
}

/* Gives places their offsets, and makes the arena. */
bool ag__plan_arrange(ag__plan *p);
/* The arena is there: steps get what depends on addresses. */
bool ag__plan_link(ag__plan *p);

/* ---- running ---- */

bool ag__exec_block(ag__plan *p, const plan_block *block);
bool ag__exec_loop(ag__plan *p, const plan_loop *l);
bool ag__exec_back(ag__plan *p, const plan_back *b);
/* Carries that are exchanged: remembers where they lie; lays them there again. */
void ag__exec_began(const plan_loop *l);
void ag__exec_return(const plan_loop *l);
/* At least so many bytes, of which the first `kept` stay. */
bool ag__plan_room(ag__plan *p, plan_buffer *b, size_t bytes, size_t kept);

#endif
