/*
 * Static graphs: what a graph is made of.
 *
 * A region is a list of instructions over numbered values: its parameters and the results of its
 * instructions, each with a dtype and a shape (-1 is known when it runs). An instruction is a row
 * of the operation table, or one of the few that only graphs have (rows.h), with its operands'
 * numbers. A graph has one main region; the functions of loops and branches are regions that an
 * instruction owns. Regions are closed: what a body uses from outside is captured, as an operand of
 * the instruction and a parameter of the region, so each region is a function of its own.
 *
 * An instruction uses values before it only, so the list is an order of execution.
 *
 * Graphs come in two kinds. Those of users are *recorded* (record.c): the calls of their program,
 * with unknown sizes, and `gradient` standing for a derivative. A *traced* graph is made by
 * replaying a recorded one for known shapes (replay.h): derivatives are taken by the engine itself,
 * since its symbolic tensors have nodes as others have. The only sizes that it does not know are
 * those which data decide. Traced graphs are what is optimised and planned.
 *
 * A graph that is finalised is never written again. All it is made of, but for the tensors of
 * constants, lies in chunks that go with it.
 */
#ifndef AG_GRAPH_GRAPH_H
#define AG_GRAPH_GRAPH_H

#include <stdatomic.h>

#include "../ops/op.h"

typedef struct ag__region ag__region;

typedef struct {
    uint8_t dtype, ndim;
    bool number;          /* takes its dtype from what stands beside it: AG_T_NUMBER */
    int32_t inst;         /* which instruction gives it; -1: a parameter */
    uint32_t born;        /* no other value of the graph has, or had, the same */
    const int64_t *shape; /* -1: known when it runs */
    const char *name;     /* NULL: none */
} ag__value;

typedef struct {
    const ag__op *op;
    int32_t n_in, n_out, n_regions, n_after;
    int32_t out;            /* the number of the first result; the others follow */
    const int32_t *in;      /* numbers of values; -1: no operand */
    const int32_t *after;   /* values that must be there before, beside the operands */
    const ag__attrs *attrs; /* never NULL; as many entries of its list as it says */
    ag__region *const *regions;
    ag_tensor *tensor; /* owned: a constant, or what a variable begins with (NULL: nothing) */
    /* Traced loops: a later instruction with the same operands whose first results are this
     * one's, so that it can take its place; 0: none. */
    int32_t twin;
} ag__inst;

struct ag__region {
    struct ag_graph *graph;
    ag__region *parent; /* the one around it, while it is traced */
    ag__region *next;   /* in the graph's list */
    ag__value *values;
    ag__inst *insts;
    int32_t *params;   /* numbers of values; those of captured values come last */
    int32_t *captured; /* what these stand for: values of the parent, while it is traced */
    const int32_t *outs;
    int n_values, n_insts, n_params, n_captured, n_outs;
    int32_t n_fixed; /* values that were there before the function that is recorded: not written */
    int room_values, room_insts, room_params, room_captured;
    /* The latest constants that are numbers; 0: none, else value + 1. */
    int32_t numbers[AG_NUMBERS];
};

typedef struct ag__chunk {
    struct ag__chunk *next;
    size_t bytes, used;
} ag__chunk;

/* Where a name stands in the table of a graph. */
typedef struct {
    const char *name; /* NULL: a free place */
    int32_t value;    /* of the main region */
} ag__name;

/* What is recorded between a push and a pop of dependencies comes after `values`. */
typedef struct ag__after {
    struct ag__after *outer;
    int n;
    int32_t values[];
} ag__after;

struct ag_graph {
    ag_context *c;
    atomic_int refs; /* the user's, those of sessions and of symbolic tensors */
    bool finalized;
    bool traced;     /* from a recorded one, with known shapes: its tensors may have nodes */
    bool freed;      /* nothing is left of it but this record */
    int recording;   /* functions that run to be recorded in it, and may fail */
    uint32_t n_born; /* values that were made, also those that were taken back */
    ag__region main;
    ag__region *regions; /* all others */
    ag__chunk *chunks;
    ag__name *names; /* open addressing */
    int n_names, room_names;
    char *prefix; /* name scopes that are open, "a/b/"; owned */
    size_t prefix_bytes;
    ag__after *after; /* the innermost of the dependencies that are open */
};

/* ---- graphs ---- */

ag_graph *ag__graph_new(ag_context *c, bool traced);
void ag__graph_ref(ag_graph *g);
void ag__graph_unref(ag_graph *g);
/* g was not freed; otherwise an error. */
bool ag__graph_alive(const char *op, const ag_graph *g);
/* Something may be added to g. */
bool ag__graph_open(const char *op, const ag_graph *g);
void *ag__graph_alloc(ag_graph *g, size_t bytes); /* zeroed; lives as long as what g is made of */

/* ---- regions ---- */

ag__region *ag__region_new(ag_graph *g, ag__region *parent);
/* The number of a new value; -1 when out of memory. shape is copied. */
int32_t ag__region_value(ag__region *r, ag_dtype dtype, ag_ints shape, bool number);
int32_t ag__region_param(ag__region *r, ag_dtype dtype, ag_ints shape, bool number);
/* Adds an instruction: what `like` says, whose lists are copied, with results of the geometries
 * given. A tensor in it is taken over. NULL when out of memory. */
ag__inst *ag__region_add(ag__region *r, const ag__inst *like, const ag__geometry *out);
/* Some instruction in it, however deep, draws random numbers. */
bool ag__region_draws(const ag__region *r);
bool ag__inst_draws(const ag__inst *i);
/* Its results take their dtype from what stands beside them: numbers do, and what is computed from
 * numbers alone. */
bool ag__inst_gives_number(const ag__region *r, const ag__inst *like);
bool ag__region_set_outs(ag__region *r, const int32_t *outs, int n);
/* To undo what was added since the mark, and dependencies on it that are open. */
typedef struct {
    int n_values, n_insts, n_params, n_captured;
} ag__region_mark;
ag__region_mark ag__region_here(const ag__region *r);
void ag__region_rewind(ag__region *r, ag__region_mark mark);
/* Of n_in + n_after values that an instruction uses: operands (-1: left out), then what it comes
 * after. */
static inline int32_t ag__inst_use(const ag__inst *i, int j)
{
    return j < i->n_in ? i->in[j] : i->after[j - i->n_in];
}
static inline ag_ints ag__value_shape(const ag__value *v) { return (ag_ints){ v->shape, v->ndim }; }

/* ---- recording ---- */

/* A symbolic tensor, one reference, for value v of r. */
ag_tensor *ag__symbol_new(ag__region *r, int32_t v);
/* Its value is there: a call that fails takes back what its functions made. */
bool ag__symbol_valid(const ag__symbol *s);
/* That and its graph are there; otherwise an error. */
bool ag__symbol_alive(const char *op, const ag_tensor *t);
#define AG_TAKEN_BACK                                                                              \
    "was made inside a call that failed and was taken out of the graph with it; make it again"
/* The number, in region r, of t: a value of r, one of a region around it, which is captured, or a
 * constant. -1 with an error when it is none of these. */
int32_t ag__region_operand(ag__region *r, const char *op, ag_tensor *t);
/* Where a call with these operands is recorded: the body that is traced, or the main region of
 * their graph. NULL with an error when they do not belong together. */
ag__region *ag__region_for(const char *op, ag_tensor *const *in, int n);
bool ag__any_symbolic(ag_tensor *const *list, int n);
/* infer, for operands of which sizes are unknown. */
bool ag__infer_unknown(const ag__call *call, ag__geometry *out);
/* Records a call of a row that only graphs have; out[j] get one reference each. */
bool ag__record_in(ag__region *r, const ag__inst *like, const ag__geometry *geometry,
                   ag_tensor **out);

/* A copy of a graph in context c, finished; values have the same numbers. */
ag_graph *ag__graph_copy(ag_context *c, const ag_graph *from);
/* A copy in g of a region that captures nothing. */
ag__region *ag__region_copy(ag_graph *g, const ag__region *from);

/* A type of values. */
typedef struct {
    ag_dtype dtype;
    ag_ints shape;
    bool number;
} ag__type;
/* A function of a program, called with `arg`; fills out[0..m). */
typedef bool ag__traced_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m);
/* Calls fn once, with symbolic tensors for parameters. The region that this makes, with m results,
 * inside `parent` (NULL: a function of its own); NULL with an error. */
ag__region *ag__trace(const char *op, ag_graph *g, ag__region *parent, const ag__type *params,
                      int n, ag__traced_fn *fn, void *arg, int m);
/* Lets the n regions of one instruction share what they capture. The values of the parent:
 * *captured, of the graph's memory. -1 when out of memory, else how many. */
int ag__trace_join(ag__region *const *regions, int n, const int32_t **captured);
static inline ag__type ag__type_of(const ag_tensor *t)
{
    return (ag__type){ (ag_dtype)t->dtype, ag__sizes(t), t->flags & AG_T_NUMBER };
}
static inline ag__type ag__value_type(const ag__value *v)
{
    return (ag__type){ (ag_dtype)v->dtype, ag__value_shape(v), v->number };
}
static inline const ag__value *ag__region_out(const ag__region *r, int j)
{
    return &r->values[r->outs[j]];
}

/* What is read for value v of the main region: itself, or where it is a variable that one of the
 * open dependencies assigns, the value that this leaves. */
int32_t ag__graph_read(const ag_graph *g, int32_t v);

/* ---- names ---- */

/* Gives value v of the main region a name (NULL: none) within the open scopes, with a number
 * behind it when it is taken. */
bool ag__graph_name(ag_graph *g, int32_t v, const char *name);
/* Just this one, which is of g's memory and free. */
bool ag__graph_name_as(ag_graph *g, int32_t v, const char *full);
int32_t ag__graph_named(const ag_graph *g, const char *name); /* -1: there is none */

#endif
