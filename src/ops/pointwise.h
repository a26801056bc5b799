/* What the table says of a pointwise row beside its loops. */
#ifndef AG_OPS_POINTWISE_H
#define AG_OPS_POINTWISE_H

#include "op.h"

typedef ag_tensor *ag__compose(const ag__attrs *attrs, ag_tensor *pg, ag_tensor *pa, ag_tensor *pb,
                               ag_tensor *pc, ag_tensor *py);

typedef struct ag__pointwise {
    int index;               /* AG_OP_...: the row's loops */
    bool keeps_integers;     /* class N */
    bool predicate;          /* the result is bool */
    unsigned needs[3];       /* per gradient: NEEDS_A | ... of ops/readings/needs.h */
    int cost;                /* arithmetic operations of the value */
    const char *const *text; /* C source of the value and of each gradient */
    ag__compose *compose[3]; /* the gradients as operations */
    double lo, hi;           /* domain for tests */
} ag__pointwise;

bool ag__pointwise_infer(const ag__call *call, ag__geometry *out);
bool ag__pointwise_kernel(const ag__call *call, ag_tensor *const *out);
/* What the loop of a call with a result of this dtype works in: AG_F32, AG_F64 or AG_I64. */
ag_dtype ag__pointwise_compute(const ag__call *call, ag_dtype result);
unsigned ag__pointwise_needs(const ag__op *op, unsigned wanted);
bool ag__pointwise_vjp(ag__rule *r);
/* The tangent of the result for tangents of the operands (NULL is zero): the gradients' expressions
 * with g the tangent, summed. */
ag_tensor *ag__pointwise_jvp(const ag__op *op, const ag__attrs *attrs, ag_tensor *const *in,
                             ag_tensor *out, ag_tensor *const *tangents);

ag_tensor *ag__polygamma_of(ag_tensor *n, ag_tensor *x); /* n a number */
ag_tensor *ag__sinc1(ag_tensor *x);                      /* the first two derivatives of sinc */
ag_tensor *ag__sinc2(ag_tensor *x);

#endif
