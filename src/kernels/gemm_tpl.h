/*
 * Product kernels for one number type T and one instruction set: V is a vector of T, MR the rows
 * of a tile, FMA(x, y, z) is x * y + z, AG__FN names the functions. A tile of C has MR rows and
 * NR = 2 vectors of columns, so that its sums stay in registers.
 */
typedef T AG__FN(vec) __attribute__((vector_size(VBYTES)));
typedef T AG__FN(vecu) __attribute__((vector_size(VBYTES), aligned(__alignof__(T)), may_alias));
enum { AG__FN(lanes) = VBYTES / sizeof(T), AG__FN(nr) = 2 * AG__FN(lanes) };
#define V AG__FN(vec)
#define VU AG__FN(vecu)
#define LANES AG__FN(lanes)
#define NR AG__FN(nr)

/* x . y for n elements side by side, in a fixed order. */
static T AG__FN(dot)(int64_t n, const T *x, const T *y)
{
    V s0 = { 0 }, s1 = { 0 };
    int64_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s0 = FMA((V) * (const VU *)(x + i), (V) * (const VU *)(y + i), s0);
        s1 = FMA((V) * (const VU *)(x + i + LANES), (V) * (const VU *)(y + i + LANES), s1);
    }
    s0 += s1;
    T sum = 0;
    for (int l = 0; l < LANES; l++)
        sum += s0[l];
    for (; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* c[j * ic] = alpha (a op(B))[j] + beta c[j * ic] for one row a of k elements, ia apart. */
static void AG__FN(row)(bool tb, int64_t n, int64_t k, T alpha, const T *a, int64_t ia, const T *b,
                        int64_t ldb, T beta, T *c, int64_t ic)
{
    T part[GEMM_KC]; /* of a where rows of b are walked along, of c where they are added up */
    if (tb) {
        for (int64_t p = 0; p < k; p += GEMM_KC, beta = 1) {
            int64_t kc = k - p < GEMM_KC ? k - p : GEMM_KC;
            for (int64_t i = 0; i < kc; i++)
                part[i] = a[(p + i) * ia];
            for (int64_t j = 0; j < n; j++) {
                T y = alpha * AG__FN(dot)(kc, part, b + j * ldb + p);
                c[j * ic] = beta == 0 ? y : y + beta * c[j * ic];
            }
        }
        return;
    }
    for (int64_t j0 = 0; j0 < n; j0 += GEMM_KC) {
        int64_t nc = n - j0 < GEMM_KC ? n - j0 : GEMM_KC;
        memset(part, 0, (size_t)nc * sizeof(T));
        for (int64_t p = 0; p < k; p++) {
            const T x = a[p * ia], *y = b + p * ldb + j0;
            for (int64_t j = 0; j < nc; j++)
                part[j] += x * y[j];
        }
        for (int64_t j = 0; j < nc; j++) {
            T *out = c + (j0 + j) * ic;
            *out = beta == 0 ? alpha * part[j] : alpha * part[j] + beta * *out;
        }
    }
}

/* Lays a rows x depth matrix out as panels of r rows, each panel column after column, the last one
 * filled up with zeros. rs and cs are the strides between rows and columns. */
static inline __attribute__((always_inline)) void AG__FN(pack)(int r, int64_t rows, int64_t depth,
                                                               const T *x, int64_t rs, int64_t cs,
                                                               T *restrict out)
{
    for (int64_t i = 0; i < rows; i += r, out += r * depth) {
        const T *from = x + i * rs;
        int full = rows - i < r ? (int)(rows - i) : r;
        if (full < r)
            memset(out, 0, (size_t)(r * depth) * sizeof(T));
        if (full == r && rs == 1)
            for (int64_t p = 0; p < depth; p++)
                memcpy(out + p * r, from + p * cs, (size_t)r * sizeof(T));
        else
            for (int l = 0; l < full; l++)
                for (int64_t p = 0; p < depth; p++)
                    out[p * r + l] = from[l * rs + p * cs];
    }
}

/* c = alpha (panel a)(panel b) + beta c for a tile of which rows x columns lie in the matrix. alpha
 * and beta come through memory: avx2 has no register to spare for them during the sum. */
static void AG__FN(tile)(int64_t depth, const T *alpha_beta, const T *a, const T *b, T *c,
                         int64_t ldc, int64_t rows, int64_t columns)
{
    V s[MR][2] = { { { 0 } } };
    for (int64_t p = 0; p < depth; p++, a += MR, b += NR) {
        const V b0 = *(const V *)b, b1 = *(const V *)(b + LANES);
        GEMM_UNROLL
        for (int i = 0; i < MR; i++) {
            const V x = a[i] - (V){ 0 }; /* x - 0 = x for every x, -0 and NaN too */
            s[i][0] = FMA(x, b0, s[i][0]);
            s[i][1] = FMA(x, b1, s[i][1]);
        }
    }
    const T alpha = alpha_beta[0], beta = alpha_beta[1];
    if (rows == MR && columns == NR) {
        GEMM_UNROLL
        for (int i = 0; i < MR; i++) {
            VU *out = (VU *)(c + i * ldc), *out1 = (VU *)(c + i * ldc + LANES);
            V y0 = s[i][0] * alpha, y1 = s[i][1] * alpha;
            *out = beta == 0 ? y0 : y0 + beta * *out;
            *out1 = beta == 0 ? y1 : y1 + beta * *out1;
        }
        return;
    }
    T whole[MR * NR];
    memcpy(whole, s, sizeof whole);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) {
            T y = whole[i * NR + j] * alpha;
            c[i * ldc + j] = beta == 0 ? y : y + beta * c[i * ldc + j];
        }
}

/* The whole product: A in blocks of MC x KC, B in blocks of KC x NC, both packed (file comment). */
static void AG__FN(packed)(bool ta, bool tb, int64_t m, int64_t n, int64_t k, T alpha, const T *a,
                           int64_t lda, const T *b, int64_t ldb, T beta, T *c, int64_t ldc, T *pb)
{
    const int64_t ra = ta ? 1 : lda, ca = ta ? lda : 1, rb = tb ? 1 : ldb, cb = tb ? ldb : 1;
    T *pa = pb + gemm_b_items(n, k);
    for (int64_t j0 = 0; j0 < n; j0 += GEMM_NC) {
        int64_t nc = n - j0 < GEMM_NC ? n - j0 : GEMM_NC;
        for (int64_t p0 = 0; p0 < k; p0 += GEMM_KC) {
            int64_t kc = k - p0 < GEMM_KC ? k - p0 : GEMM_KC;
            const T alpha_beta[] = { alpha, p0 ? 1 : beta };
            AG__FN(pack)(NR, nc, kc, b + p0 * rb + j0 * cb, cb, rb, pb);
            for (int64_t i0 = 0; i0 < m; i0 += GEMM_MC) {
                int64_t mc = m - i0 < GEMM_MC ? m - i0 : GEMM_MC;
                AG__FN(pack)(MR, mc, kc, a + i0 * ra + p0 * ca, ra, ca, pa);
                for (int64_t j = 0; j < nc; j += NR)
                    for (int64_t i = 0; i < mc; i += MR)
                        AG__FN(tile)(kc, alpha_beta, pa + i * kc, pb + j * kc,
                                     c + (i0 + i) * ldc + j0 + j, ldc, mc - i < MR ? mc - i : MR,
                                     nc - j < NR ? nc - j : NR);
            }
        }
    }
}

#undef V
#undef VU
#undef LANES
#undef NR
#undef FMA
#undef AG__FN
#undef T
