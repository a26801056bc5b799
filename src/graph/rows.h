/*
 * The rows that only graphs have: where values come from, control flow, derivatives. They stand
 * beside the table of operations and are entered in rows.def.
 *
 * Operands, regions and results of each:
 *     placeholder, constant, variable   -                                -> value
 *     assign     variable, value        i[0]: how (AG_ASSIGN...)         -> the new value
 *     detach     x                                                       -> x
 *     group      values                                                  -> false
 *     gradient   outputs, their gradients (or none), inputs              -> gradients of the inputs
 *                i[0], i[1]: how many outputs and inputs
 *     jvp        inputs, their tangents (or none), captured; region      -> outputs, tangents
 *                i[0]: how many inputs
 *     cond       pred, inputs, captured; region for false, for true      -> results
 *     switch     index, inputs, captured; a region for each branch       -> results
 *     while      variables, captured; regions: body, condition           -> variables, ys, count
 *     scan       carry, xs, length, captured; region: body               -> carry, ys, count
 *     while_back carry, length, captured; region: body and a step back   -> carry
 *                i[0]: how many of the carry, the first, are states
 *     reshape_like, expand_like, cut_like   x, other                     -> x
 *                list: sizes; see ops/op.h and sizes.c
 * while_back is of traced graphs only: the gradient of a loop of `length` steps whose states are
 * computed again from snapshots. Of its carry states come first, then gradients and sums of them.
 * The region's first results are the next state, from a state; the others are what gradients are
 * before a step, from those behind it and the state before it. States come out as they went in.
 *
 * What a loop keeps in its list says which of them are there: AG_FLOW_...
 */
#ifndef AG_GRAPH_ROWS_H
#define AG_GRAPH_ROWS_H

#include <string.h>

#include "graph.h"

#define AG__ROW(name) extern const ag__op ag__op_##name;
#include "rows.def"
#undef AG__ROW

extern const ag__op ag__op_stand_in; /* computed, given -> given: for intermediates that are fed */

/* A row of the table of operations, or of graphs; NULL: there is none. */
const ag__op *ag__graph_row(const char *name);
const char *ag__graph_row_name(const ag__op *op); /* by which it is found */
/* The shape that reshape_like and its kin give, -1 where it is not known; how many dimensions it
 * has. */
int ag__sizes_result(const ag__op *op, ag_ints x, ag_ints other, ag_ints list, int64_t *shape);
/* What they do: to the innermost scope. */
ag_tensor *ag__sizes_replay(const ag__inst *i, ag_tensor *x, const ag_tensor *other);
static inline bool ag__inst_is(const ag__inst *i, const ag__op *op) { return i->op == op; }

enum { AG_ASSIGN, AG_ASSIGN_ADD, AG_ASSIGN_SUB };

/* The list of a loop's attributes. */
enum {
    AG_FLOW_CARRY, /* how many variables */
    AG_FLOW_XS,    /* how many xs and */
    AG_FLOW_YS,    /* ys, which are stacked along a first dimension */
    AG_FLOW_LIMIT, /* the most iterations; 0: no limit */
    AG_FLOW_REVERSE,
    AG_FLOW_LENGTH, /* iterations of a scan; -1: as xs say; -2: an operand behind them says */
    AG_FLOW_SNAPSHOTS,
    AG_FLOW_COUNT, /* the last result is how many iterations there were */
    AG_FLOW_ATTRS
};

/* A graph keeps as much of its attributes as they say; these have room for the whole list. */
static inline ag__attrs ag__attrs_of(const ag__inst *i)
{
    ag__attrs all = { 0 };
    memcpy(&all, i->attrs, offsetof(ag__attrs, list) + (size_t)i->attrs->n * sizeof *all.list);
    return all;
}

#endif
