/*
 * Matrix product of row-major matrices, C = alpha op(A) op(B) + beta C, with op(X) = X or its
 * transpose (ta, tb), op(A) m x k, op(B) k x n, C m x n.
 *
 * lda, ldb, ldc are the distances between stored rows, in elements. C must not overlap A or B. With
 * beta = 0, C is not read; with k = 0 or alpha = 0, A and B are not read. Nothing can fail. A row
 * distance smaller than a row (a broadcast operand) gives right results, perhaps slowly; ldc must
 * be at least n unless m = 1. The same inputs give the same bits on the same machine, always.
 */
#ifndef AG_KERNELS_GEMM_H
#define AG_KERNELS_GEMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the buffer to pass as `pack`, which must be 64-byte aligned; 0 means pass NULL. At most
 * a few MiB however large the matrices are. itemsize is 4 or 8. */
size_t ag__gemm_scratch(size_t itemsize, int64_t m, int64_t n, int64_t k);

void ag__gemm_f32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                  int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc,
                  void *pack);
void ag__gemm_f64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                  int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc,
                  void *pack);

const char *ag__gemm_name(void); /* the libraries and kernels in use */

#endif
