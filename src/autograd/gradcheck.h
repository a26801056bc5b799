/*
 * What the parts of gradcheck share.
 *
 * The inputs that require a gradient and the outputs are read as two long vectors of `rows` and `cols`
 * elements, between which the Jacobian lies (input elements are its rows). Fast mode never computes it:
 * with a vector u for each input and v for each output it compares v^T J u.
 *
 * So there are matrices with a row for each direction of an input, which is an element of it or, in
 * fast mode, u; and with a column for each output element. Those that passes back make have a row for
 * each input element and a column for each direction of an output, an element or v.
 */
#ifndef AG_AUTOGRAD_GRADCHECK_H
#define AG_AUTOGRAD_GRADCHECK_H

#include "../ops/op.h"

typedef struct {
    ag_context *c;
    const char *name; /* of the public function */
    ag_fn fn;
    void *user;
    ag_tensor *const *in;
    int n, m; /* inputs, outputs */
    double eps, atol, rtol, nondet_tol;
    bool forward, reverse, undefined, batched, fast; /* what is checked, and how */

    ag_tensor **out;    /* of the call whose graph is differentiated */
    ag_tensor **again;  /* of the newest other call */
    ag_tensor **lists;  /* room for three of n + m tensors */
    int64_t *out_numel; /* of each output */
    int *wanted;        /* the inputs that require a gradient, by their number */
    int n_wanted;
    bool differentiable; /* some output requires a gradient; if so, the others are passed over */
    int64_t rows, cols;
    double *u, *v; /* rows and cols numbers in [0, 1], of norm 1 for each tensor */
    double *old;   /* rows numbers */
} ag__check;

/* Directions of inputs and of outputs: see above. */
static inline int64_t ag__check_in_directions(const ag__check *k)
{
    return k->fast ? k->n_wanted : k->rows;
}
static inline int64_t ag__check_out_directions(const ag__check *k)
{
    return k->fast ? k->m : k->cols;
}

/* Calls fn; its outputs, which belong to the innermost scope, are then in out[0..m). */
bool ag__check_call(const ag__check *k, ag_tensor **out);
double ag__check_read(const ag_tensor *t, int64_t i); /* element i in row-major order */
/* A new contiguous tensor of t's shape and dtype with the values, 0 when they are NULL. */
ag_tensor *ag__check_tensor(const ag_tensor *t, const double *values);

/* gradcheck_derive.c: fill a matrix. */
bool ag__check_numerical(const ag__check *k, double *matrix);
bool ag__check_reverse(const ag__check *k, double *matrix);
bool ag__check_forward(const ag__check *k, double *matrix);

/* gradcheck_compare.c: false, and an error that shows where, when derivatives differ. `again` is
 * `analytical` computed a second time. */
bool ag__check_compare_reverse(const ag__check *k, const double *numerical,
                               const double *analytical, const double *again);
bool ag__check_compare_forward(const ag__check *k, const double *numerical,
                               const double *analytical);
/* Without differentiable outputs all derivatives must be zero. */
bool ag__check_compare_zero(const ag__check *k, const double *numerical);

/* gradcheck_rules.c: what rules must do beside being right. */
bool ag__check_batched(const ag__check *k);
bool ag__check_multiplied(const ag__check *k);
bool ag__check_undefined_gradients(const ag__check *k);
bool ag__check_undefined_tangents(const ag__check *k);

#endif
