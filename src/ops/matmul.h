/*
 * Products for those who go on with the result: it is handed on some rows at a time, by the thread
 * that has just computed them, while they are still in its cache.
 */
#ifndef AG_OPS_MATMUL_H
#define AG_OPS_MATMUL_H

#include "op.h"

/* Called for elements [from, from + n) of the product, in order of memory; for each element once,
 * from several threads. It must not fail. */
typedef struct {
    void (*go_on)(void *arg, int64_t from, int64_t n);
    void *arg;
} ag__product_end;

/* The row is mm, bmm or addmm. */
bool ag__is_product(const ag__op *op);
/* The kernel of such a row, with an end (NULL: none), which writes over no operand of it. */
bool ag__product(const ag__call *call, ag_tensor *out, const ag__product_end *end);

#endif
