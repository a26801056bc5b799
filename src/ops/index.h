/* What operations by index share. */
#ifndef AG_OPS_INDEX_H
#define AG_OPS_INDEX_H

#include "op.h"

bool ag__index_check_dtype(const ag__call *call, const ag_tensor *index);
/* The index as contiguous i64 with a reference for the caller, all of it in [0, size). */
ag_tensor *ag__index_ready(const ag__call *call, ag_tensor *index, int dim, int64_t size);
/* The size of a dimension; a 0-dim tensor counts as one of one element. */
static inline int64_t ag__index_size(ag_ints shape, int dim)
{
    return shape.n ? shape.data[dim] : 1;
}
/* src has x's dtype, as PyTorch wants it of what is written into x. */
bool ag__index_same_dtype(const ag__call *call, const ag_tensor *x, const ag_tensor *src);

/* How many elements of a result of `shape` the mask takes; -1 with an error. */
int64_t ag__mask_count(ag_tensor *mask, ag_ints shape);

/* For kernels: x in the order of `out`, in what sums into out are computed in; one reference. */
ag_tensor *ag__sum_begin(ag_tensor *out, const ag_tensor *x);
/* Puts the sums into out and gives them up; NULL is fine. */
void ag__sum_end(ag_tensor *out, ag_tensor *sum);

/* Zeros beside t that take no memory: what adjoints of reading write into. */
ag_tensor *ag__zeros_beside(const ag_tensor *t, ag_ints shape);
/* The adjoint of gather: g added into zeros of `shape`. */
ag_tensor *ag__scatter_add_zeros(ag_tensor *g, int dim, ag_tensor *index, ag_ints shape);
/* A bool for each element of index: scattered into `shape` it is the last one at its place, whose
 * value stays. */
ag_tensor *ag__scatter_last(ag_tensor *index, int dim, ag_ints shape);

#endif
