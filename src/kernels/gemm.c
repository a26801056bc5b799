/*
 * Matrix products, by a library where the build has one and by our own kernels otherwise.
 *
 * Our own way is that of BLIS (Van Zee, van de Geijn, ACM TOMS 41:14, 2015): B is copied by
 * blocks of KC x NC into panels NR wide and A by blocks of MC x KC into panels MR high, so that the
 * innermost loop reads both in order, whatever the transposes, and keeps an MR x NR tile of C in
 * registers. Block sizes are fixed: the order of every sum follows from the shape alone.
 * Vectors and tiny products take rows of A one by one instead, without packing.
 *
 * gemm_tpl.h has the kernels, compiled for each number type and, on x86-64, for three instruction
 * sets; which one runs is asked of the processor at each call (the compiler keeps the answer).
 *
 * Libraries are held to one thread: threads are ours to split work over, and a sum split over
 * another number of threads would be another result.
 */
#include "gemm.h"

#include <stdatomic.h>
#include <string.h>

#ifdef AG_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif
#ifdef AG_HAVE_CBLAS
#include <cblas.h>
#endif

enum { GEMM_MC = 96, GEMM_KC = 256, GEMM_NC = 2048, GEMM_MAX_MR = 12, GEMM_MAX_NR = 32 };

/* Items of the packed block of B; that of A follows. Room for the widest panels of all kernels. */
static int64_t gemm_b_items(int64_t n, int64_t k)
{
    int64_t kc = k < GEMM_KC ? k : GEMM_KC, nc = n < GEMM_NC ? n : GEMM_NC;
    return kc * ((nc + GEMM_MAX_NR - 1) / GEMM_MAX_NR * GEMM_MAX_NR);
}

static int64_t gemm_a_items(int64_t m, int64_t k)
{
    int64_t kc = k < GEMM_KC ? k : GEMM_KC, mc = m < GEMM_MC ? m : GEMM_MC;
    return kc * ((mc + GEMM_MAX_MR - 1) / GEMM_MAX_MR * GEMM_MAX_MR);
}

/* ---- the kernels ---- */

#ifdef __clang__
#define GEMM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define GEMM_UNROLL _Pragma("GCC unroll 16")
#endif

#define MR 6
#define VBYTES 16
#define T float
#define AG__FN(name) gemm_f32_##name
#define FMA(x, y, z) ((x) * (y) + (z))
#include "gemm_tpl.h"
#define T double
#define AG__FN(name) gemm_f64_##name
#define FMA(x, y, z) ((x) * (y) + (z))
#include "gemm_tpl.h"
#undef MR
#undef VBYTES

#ifdef __x86_64__
#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#define MR 6
#define VBYTES 32
#define T float
#define AG__FN(name) gemm_f32_avx2_##name
#define FMA(x, y, z) _mm256_fmadd_ps(x, y, z)
#include "gemm_tpl.h"
#define T double
#define AG__FN(name) gemm_f64_avx2_##name
#define FMA(x, y, z) _mm256_fmadd_pd(x, y, z)
#include "gemm_tpl.h"
#undef MR
#undef VBYTES
#ifdef __clang__
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f")
#endif
#define MR 12
#define VBYTES 64
#define T float
#define AG__FN(name) gemm_f32_avx512_##name
#define FMA(x, y, z) _mm512_fmadd_ps(x, y, z)
#include "gemm_tpl.h"
#define T double
#define AG__FN(name) gemm_f64_avx512_##name
#define FMA(x, y, z) _mm512_fmadd_pd(x, y, z)
#include "gemm_tpl.h"
#undef MR
#undef VBYTES
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
#undef GEMM_UNROLL

typedef void gemm_row32(bool, int64_t, int64_t, float, const float *, int64_t, const float *,
                        int64_t, float, float *, int64_t);
typedef void gemm_row64(bool, int64_t, int64_t, double, const double *, int64_t, const double *,
                        int64_t, double, double *, int64_t);
typedef void gemm_packed32(bool, bool, int64_t, int64_t, int64_t, float, const float *, int64_t,
                           const float *, int64_t, float, float *, int64_t, float *);
typedef void gemm_packed64(bool, bool, int64_t, int64_t, int64_t, double, const double *, int64_t,
                           const double *, int64_t, double, double *, int64_t, double *);

#ifdef AG_HAVE_ONEDNN
#define GEMM_LIBRARIES_32 "oneDNN for float32, "
#elif defined(AG_HAVE_CBLAS)
#define GEMM_LIBRARIES_32 "CBLAS for float32, "
#else
#define GEMM_LIBRARIES_32 ""
#endif
#ifdef AG_HAVE_CBLAS
#define GEMM_LIBRARIES GEMM_LIBRARIES_32 "CBLAS for float64, "
#else
#define GEMM_LIBRARIES GEMM_LIBRARIES_32
#endif

typedef struct {
    const char *name;
    gemm_row32 *row32;
    gemm_row64 *row64;
    gemm_packed32 *packed32;
    gemm_packed64 *packed64;
} gemm_set;

static const gemm_set gemm_sets[] = {
    { GEMM_LIBRARIES "own kernels", gemm_f32_row, gemm_f64_row, gemm_f32_packed, gemm_f64_packed },
#ifdef __x86_64__
    { GEMM_LIBRARIES "own kernels (avx2)", gemm_f32_avx2_row, gemm_f64_avx2_row,
      gemm_f32_avx2_packed, gemm_f64_avx2_packed },
    { GEMM_LIBRARIES "own kernels (avx512f)", gemm_f32_avx512_row, gemm_f64_avx512_row,
      gemm_f32_avx512_packed, gemm_f64_avx512_packed },
#endif
};
#undef GEMM_LIBRARIES
#undef GEMM_LIBRARIES_32

static const gemm_set *gemm_best(void)
{
#ifdef GEMM_FORCE /* 0, 1 or 2: how the tests reach the other sets */
    return &gemm_sets[GEMM_FORCE];
#elif defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        return &gemm_sets[2];
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &gemm_sets[1];
#endif
    return &gemm_sets[0];
}

const char *ag__gemm_name(void) { return gemm_best()->name; }

/* ---- the libraries ---- */

/* Both libraries refuse rows that overlap, and BLAS even prints; sizes above INT32_MAX are kept
 * from them as well. */
static bool gemm_library_takes(bool ta, bool tb, int64_t m, int64_t n, int64_t k, int64_t lda,
                               int64_t ldb, int64_t ldc)
{
    return lda >= (ta ? m : k) && ldb >= (tb ? k : n) && ldc >= n && m <= INT32_MAX &&
           n <= INT32_MAX && k <= INT32_MAX && lda <= INT32_MAX && ldb <= INT32_MAX &&
           ldc <= INT32_MAX;
}

#if defined(AG_HAVE_CBLAS)
#ifdef __ELF__
extern void openblas_set_num_threads(int) __attribute__((weak)); /* absent in other BLASes */
#endif

static void gemm_hold_blas(void)
{
#ifdef __ELF__
    static atomic_bool held;
    if (openblas_set_num_threads && !atomic_exchange(&held, true))
        openblas_set_num_threads(1);
#endif
}

static bool gemm_library64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha,
                           const double *a, int64_t lda, const double *b, int64_t ldb, double beta,
                           double *c, int64_t ldc)
{
    if (!gemm_library_takes(ta, tb, m, n, k, lda, ldb, ldc))
        return false;
    gemm_hold_blas();
    cblas_dgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    return true;
}
#else
static bool gemm_library64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha,
                           const double *a, int64_t lda, const double *b, int64_t ldb, double beta,
                           double *c, int64_t ldc)
{
    (void)alpha, (void)a, (void)b, (void)beta, (void)c;
    (void)gemm_library_takes(ta, tb, m, n, k, lda, ldb, ldc);
    return false;
}
#endif

#if defined(AG_HAVE_ONEDNN)
#ifdef __ELF__
extern int omp_get_max_threads(void) __attribute__((weak)); /* absent where oneDNN has no OpenMP */
extern void omp_set_num_threads(int) __attribute__((weak));
#endif

static bool gemm_library32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha,
                           const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                           float *c, int64_t ldc)
{
    if (!gemm_library_takes(ta, tb, m, n, k, lda, ldb, ldc))
        return false;
#ifdef __ELF__ /* the setting belongs to the calling thread: put back what it was */
    bool openmp = omp_get_max_threads && omp_set_num_threads;
    int threads = openmp ? omp_get_max_threads() : 1;
    if (threads > 1)
        omp_set_num_threads(1);
#endif
    dnnl_status_t status =
        dnnl_sgemm(ta ? 'T' : 'N', tb ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
#ifdef __ELF__
    if (threads > 1)
        omp_set_num_threads(threads);
#endif
    return status == dnnl_success;
}
#elif defined(AG_HAVE_CBLAS)
static bool gemm_library32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha,
                           const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                           float *c, int64_t ldc)
{
    if (!gemm_library_takes(ta, tb, m, n, k, lda, ldb, ldc))
        return false;
    gemm_hold_blas();
    cblas_sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans,
                (int)m, (int)n, (int)k, alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
    return true;
}
#else
static bool gemm_library32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha,
                           const float *a, int64_t lda, const float *b, int64_t ldb, float beta,
                           float *c, int64_t ldc)
{
    (void)ta, (void)tb, (void)m, (void)n, (void)k, (void)alpha, (void)a, (void)lda;
    (void)b, (void)ldb, (void)beta, (void)c, (void)ldc;
    return false;
}
#endif

/* ---- the choice ---- */

/* How a product is computed follows from its shape alone, for the scratch is asked for first. What
 * a library refuses goes row by row, which needs none. */
typedef enum { GEMM_ROWS, GEMM_LIBRARY, GEMM_PACKED } gemm_way;

static gemm_way gemm_choose(size_t itemsize, int64_t m, int64_t n, int64_t k)
{
    if (m <= 1 || n <= 1 || k <= 0 || (double)m * (double)n * (double)k <= 512)
        return GEMM_ROWS;
#ifdef AG_HAVE_ONEDNN
    if (itemsize == sizeof(float))
        return GEMM_LIBRARY;
#endif
#ifdef AG_HAVE_CBLAS
    return GEMM_LIBRARY;
#endif
    (void)itemsize;
    return GEMM_PACKED;
}

size_t ag__gemm_scratch(size_t itemsize, int64_t m, int64_t n, int64_t k)
{
    if (gemm_choose(itemsize, m, n, k) != GEMM_PACKED)
        return 0;
    return itemsize * (size_t)(gemm_b_items(n, k) + gemm_a_items(m, k));
}

void ag__gemm_f32(bool ta, bool tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                  int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc,
                  void *pack)
{
    if (m <= 0 || n <= 0)
        return;
    gemm_way way = gemm_choose(sizeof *c, m, n, k);
    if (k <= 0 || alpha == 0) {
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
    } else if (way == GEMM_PACKED) {
        gemm_best()->packed32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, pack);
    } else if (way == GEMM_LIBRARY &&
               gemm_library32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)) {
        return;
    } else if (n == 1) { /* a column: the transposed product has one row */
        gemm_best()->row32(!ta, m, k, alpha, b, tb ? 1 : ldb, a, lda, beta, c, ldc);
    } else {
        gemm_row32 *row = gemm_best()->row32;
        for (int64_t i = 0; i < m; i++)
            row(tb, n, k, alpha, a + i * (ta ? 1 : lda), ta ? lda : 1, b, ldb, beta, c + i * ldc,
                1);
    }
}

void ag__gemm_f64(bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                  int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc,
                  void *pack)
{
    if (m <= 0 || n <= 0)
        return;
    gemm_way way = gemm_choose(sizeof *c, m, n, k);
    if (k <= 0 || alpha == 0) {
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
    } else if (way == GEMM_PACKED) {
        gemm_best()->packed64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc, pack);
    } else if (way == GEMM_LIBRARY &&
               gemm_library64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc)) {
        return;
    } else if (n == 1) { /* a column: the transposed product has one row */
        gemm_best()->row64(!ta, m, k, alpha, b, tb ? 1 : ldb, a, lda, beta, c, ldc);
    } else {
        gemm_row64 *row = gemm_best()->row64;
        for (int64_t i = 0; i < m; i++)
            row(tb, n, k, alpha, a + i * (ta ? 1 : lda), ta ? lda : 1, b, ldb, beta, c + i * ldc,
                1);
    }
}
