/*
 * The copier that all passes are built on: it walks the instructions of a traced graph in order and
 * copies them, while a pass may give other values or instructions in their place. See rewrite.c.
 */
#ifndef AG_GRAPH_REWRITE_H
#define AG_GRAPH_REWRITE_H

#include "rows.h"

typedef struct ag__rewrite ag__rewrite;

/* What a pass says. Functions give false when out of memory. */
typedef struct {
    /* Sees to instruction i of rw->from: each of its results must be in rw->map where somebody
     * uses it. */
    bool (*inst)(ag__rewrite *rw, const ag__inst *i);
    bool (*enter)(ag__rewrite *rw); /* a region's parameters are there; NULL: nothing */
    void (*leave)(ag__rewrite *rw); /* always comes after an enter; NULL: nothing */
    void *state;
} ag__rewrite_pass;

/* A region on its way into another. */
struct ag__rewrite {
    const ag__rewrite_pass *pass;
    const ag__region *from;
    ag__region *to;
    ag__rewrite *outer;            /* the region around it; NULL: it is the main one */
    const ag__inst *owner;         /* the instruction of outer->from that owns it, and */
    int nr;                        /* which of its regions it is */
    int32_t *map;                  /* values of from: the value of to, -1: none */
    struct ag__rewrite_nest *nest; /* the owner's copy in the making */
    int32_t *outside;              /* values of to: see ag__rewrite_outside */
    int32_t *slots;                /* values of to: where an operand was seen */
    int32_t *in;                   /* room for operands */
    int n_outside, room_outside, n_slots, room_slots, room_in;
    void *info; /* the pass's own */
};

/* A copy of g. NULL when out of memory. */
ag_graph *ag__rewrite_graph(const ag_graph *g, const ag__rewrite_pass *how);

/* ---- what passes call; all give false or -1 when out of memory ---- */

/* Copies i, its regions too. */
bool ag__rewrite_copy(ag__rewrite *rw, const ag__inst *i);
/* The same without some of the operands and results of an instruction with regions; those of
 * parameters and results of its regions go with them. NULL: all stay. A variable of a loop goes
 * as both. */
bool ag__rewrite_some(ag__rewrite *rw, const ag__inst *i, const bool *in, const bool *out);
/* i's operands as values of rw->to, until the next call. NULL when out of memory. */
int32_t *ag__rewrite_in(ag__rewrite *rw, const ag__inst *i);
/* A new instruction: what `like` says, its operands values of rw->to, its results of these
 * types. Its first result. */
int32_t ag__rewrite_add(ag__rewrite *rw, const ag__inst *like, const ag__value *types);
/* A constant, with a reference more to the tensor, which is contiguous. */
int32_t ag__rewrite_constant(ag__rewrite *rw, ag_tensor *tensor);
/* The instructions of a region whose parameters are args, values of rw->to; outs: its results. */
bool ag__rewrite_inline(ag__rewrite *rw, const ag__region *region, const int32_t *args,
                        int32_t *outs);
/* A value of rw->to for one of rw->outer->to. */
int32_t ag__rewrite_capture(ag__rewrite *rw, int32_t outside);

/* ---- facts ---- */

/* The value of rw->outer->to that v of rw->to is in every run of the region; -1: there is none. */
static inline int32_t ag__rewrite_outside(const ag__rewrite *rw, int32_t v)
{
    return v < rw->n_outside ? rw->outside[v] : -1;
}
/* The instruction of r that gives v; NULL: v is a parameter. */
static inline const ag__inst *ag__value_inst(const ag__region *r, int32_t v)
{
    return r->values[v].inst < 0 ? NULL : &r->insts[r->values[v].inst];
}
/* The tensor of v when it is a constant; NULL otherwise. */
static inline ag_tensor *ag__value_constant(const ag__region *r, int32_t v)
{
    const ag__inst *i = ag__value_inst(r, v);
    return i && i->op == &ag__op_constant ? i->tensor : NULL;
}
static inline bool ag__inst_is_loop(const ag__inst *i)
{
    return i->op == &ag__op_while || i->op == &ag__op_scan || i->op == &ag__op_while_back;
}
static inline int ag__inst_carry(const ag__inst *i)
{
    return ag__inst_is_loop(i) ? (int)i->attrs->list[AG_FLOW_CARRY] : 0;
}
static inline int ag__inst_xs(const ag__inst *i)
{
    return ag__inst_is_loop(i) ? (int)i->attrs->list[AG_FLOW_XS] : 0;
}
/* The first operand that is the same in every run of i's regions. */
static inline int ag__inst_captured(const ag__inst *i)
{
    return ag__inst_is_loop(i)
               ? ag__inst_carry(i) + ag__inst_xs(i) + (i->attrs->list[AG_FLOW_LENGTH] == -2)
               : 1;
}
/* Which operand of i parameter p of its regions is (at first, for variables). */
static inline int ag__inst_operand(const ag__inst *i, int p)
{
    const int own = ag__inst_carry(i) + ag__inst_xs(i);
    return p < own ? p : p - own + ag__inst_captured(i);
}
/* The same dtype, shape and part in promotion. */
bool ag__value_alike(const ag__value *a, const ag__value *b);
int64_t ag__value_bytes(const ag__value *v); /* INT64_MAX where a size is unknown */
/* t, which is said to be i's twin, stands behind it with the same operands. */
bool ag__inst_is_twin(const ag__inst *i, const ag__inst *t);
/* i is a row of the table of operations, which computes results from operands. */
static inline bool ag__inst_is_row(const ag__inst *i) { return i->op->infer && !i->n_regions; }

#endif
