/*
 * Programs: several pointwise rows in one walk. Where each would read and write whole tensors, a
 * program takes a tile of elements through all of its steps before the next one, so that what is
 * between them stays in the first cache. It may end in reductions of what it computes, which then
 * need not be written at all.
 *
 * Its values are, to the bit, those of the rows run one after the other and of the reductions
 * (ops/reduce.c) of what they give, for any number of threads: an element's value never depends on
 * its place, what is between two steps is rounded to the dtype it would have, and reductions take
 * elements in the order, and in the pieces, in which they take those of a tensor that has them in
 * order. (Only which NaN a sum of several is may differ.)
 *
 * A program is made once and run many times. Running cannot fail and allocates nothing.
 */
#ifndef AG_OPS_PROGRAM_H
#define AG_OPS_PROGRAM_H

#include "../kernels/reduce.h"
#include "op.h"

/* Values are known by numbers: the inputs first, then the results of the steps. */
enum { AG_PROGRAM_CAST = -1 };
typedef struct {
    int row;          /* AG_OP_... of a pointwise row; AG_PROGRAM_CAST: ag_to, of in[0] */
    ag_dtype compute; /* what the row's loop works in: see ag__pointwise_compute */
    ag_dtype dtype;   /* of the result: what ag__run would give it */
    int in[3];        /* values, as many as the row has operands */
    double p, q;      /* the row's attributes */
} ag__program_step;

/* What is kept: all elements of a value, or AG_REDUCE_SUM, PROD, MAX, MIN or MEAN of some
 * dimensions. `to` is dense and has the elements in order; its dtype is the value's, or what the
 * reduction gives. */
enum { AG_PROGRAM_ALL = -1, AG_PROGRAM_REDUCTIONS = 4 };
typedef struct {
    int value, which;
    ag_tensor *to;
} ag__program_output;

typedef struct {
    ag_ints shape;            /* of all results of steps */
    int reduced;              /* how many dimensions the reductions are of: the last ones, */
    bool leading;             /* or the first (of which there are no products) */
    ag_tensor *const *inputs; /* broadcast to the shape; of any dtype and strides */
    int n_inputs;
    const ag__program_step *steps;
    int n_steps;
    const ag__program_output *outputs; /* AG_PROGRAM_REDUCTIONS of them at most are reductions */
    int n_outputs;
} ag__program_text;

/*
 * NULL and an error when there is no memory, or (AG_ERR_VALUE) when there are more values at a time
 * than tiles have room for (up to 16 steps and as many outputs always fit), or reductions that
 * there are not.
 *
 * The text is not needed afterwards. The tensors are: they must live as long as the program, which
 * owns none of them. Shapes, strides and dtypes are taken from them now, where their data lie
 * (ag__at) in each run. An output may lie where an input of the same dtype and geometry does,
 * element on element; a reduction's overlaps nothing.
 */
typedef struct ag__program ag__program;
ag__program *ag__program_new(ag_context *c, const ag__program_text *text);
void ag__program_run(ag__program *p);
/* Elements [from, from + n) alone, of a program without reductions, for more than one element;
 * several threads may take one part each, after one call that looks where the data lie. */
void ag__program_bind(ag__program *p);
void ag__program_part(const ag__program *p, int64_t from, int64_t n);
void ag__program_free(ag__program *p); /* NULL is fine */

#endif
