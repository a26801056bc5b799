/*
 * Matrix products. Five rows (mm, bmm, mv, dot, addmm) share one kernel, which sees every operand
 * as a batch of matrices: a vector is a matrix of one row or column, a matrix a batch of one.
 *
 * Gemm takes an operand as it lies in memory when one of its strides is 1, as a transposed one if
 * need be; others are copied first. f16 and bf16 are multiplied in f32, integers in i64.
 */
#include "../base/parallel.h"
#include "../kernels/gemm.h"
#include "compose.h"
#include "matmul.h"

#include <math.h>
#include <string.h>

/* ---- operands ---- */

typedef struct {
    char *data;
    int64_t n, rows, cols; /* n matrices */
    int64_t batch, ld;     /* in elements */
    bool trans;            /* the memory holds the transpose */
    ag_tensor *copy;       /* what data belongs to when it is not the operand's own */
} matmul_operand;

/* Sets trans and ld when a matrix with these strides can go to gemm as it lies. Strides that let
 * rows share memory (expanded operands) cannot. */
static bool matmul_lies_well(matmul_operand *o, int64_t rs, int64_t cs)
{
    const bool one_row = o->rows == 1, one_col = o->cols == 1;
    o->trans = false;
    o->ld = one_row ? o->cols : rs;
    if ((cs == 1 || one_col) && (one_row || rs >= o->cols))
        return true;
    o->trans = true;
    o->ld = one_col ? o->rows : cs;
    return (rs == 1 || one_row) && (one_col || cs >= o->rows);
}

/* The operand as matrices of `compute` elements; a vector is a row on the left, else a column. */
static bool matmul_prepare(matmul_operand *o, ag_tensor *t, ag_dtype compute, bool left)
{
    const int64_t *size = ag__shape(t), *stride = ag__strides(t);
    const int d = t->ndim;
    int64_t rs, cs;
    *o = (matmul_operand){ .data = ag__at(t),
                           .n = d == 3 ? size[0] : 1,
                           .batch = d == 3 ? stride[0] : 0 };
    if (d == 1) {
        o->rows = left ? 1 : size[0];
        o->cols = left ? size[0] : 1;
        rs = cs = stride[0];
    } else {
        o->rows = size[d - 2];
        o->cols = size[d - 1];
        rs = stride[d - 2];
        cs = stride[d - 1];
    }
    if (t->dtype == compute && matmul_lies_well(o, rs, cs))
        return true;
    o->copy = ag__contiguous_copy(t, compute);
    if (!o->copy)
        return false;
    o->data = ag__at(o->copy);
    o->batch = o->rows * o->cols;
    o->ld = o->cols;
    o->trans = false;
    return true;
}

/* ---- the kernel ---- */

static int64_t matmul_i64_at(const matmul_operand *o, const int64_t *data, int64_t i, int64_t j)
{
    return data[o->trans ? j * o->ld + i : i * o->ld + j];
}

/* y = beta y + alpha a b for some rows of a pair of matrices; unsigned, since integers wrap around. */
static void matmul_i64(const matmul_operand *a, const int64_t *pa, int64_t rows,
                       const matmul_operand *b, const int64_t *pb, int64_t alpha, int64_t beta,
                       int64_t *y)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < b->cols; j++) {
            uint64_t sum = 0;
            for (int64_t k = 0; k < a->cols; k++)
                sum += (uint64_t)matmul_i64_at(a, pa, i, k) * (uint64_t)matmul_i64_at(b, pb, k, j);
            uint64_t *at = (uint64_t *)&y[i * b->cols + j];
            *at = (beta ? (uint64_t)beta * *at : 0) + (uint64_t)alpha * sum;
        }
}

/* A product, cut into blocks (see base/parallel.h): some rows of one matrix when it is large, several
 * whole matrices when they are small. */
typedef struct {
    ag_dtype compute;
    const matmul_operand *a, *b;
    double alpha, beta;
    const ag_tensor *m; /* what y is before; NULL: nothing, and beta is 0 */
    char *y;
    const ag__product_end *end;
    char *pack;           /* scratch for each worker */
    size_t scratch;       /* bytes of each */
    int64_t rows, slices; /* rows of a block, and how many such make a matrix */
    int64_t group;        /* matrices of a block */
} matmul_job;

/* A block takes some tenths of a millisecond, and whole tiles of the packed kernels. */
static void matmul_cut(matmul_job *job)
{
    const int64_t tile = 192, m = job->a->rows;
    const double work = 1 << 23, row = (double)job->b->cols * (double)job->a->cols;
    const double rows = ceil(work / (row * (double)tile)) * (double)tile;
    const double group = work / (row * (double)m);
    job->rows = rows < (double)m ? (int64_t)rows : m;
    job->slices = (m + job->rows - 1) / job->rows;
    job->group = group < 1 ? 1 : group < (double)job->a->n ? (int64_t)group : job->a->n;
}

/* y = m, broadcast, for rows [row, row + rows) of a matrix n wide. */
static void matmul_begin(const matmul_job *job, int64_t row, int64_t rows, int64_t n, char *y)
{
    const ag_tensor *m = job->m;
    const int64_t *size = ag__shape(m), *stride = ag__strides(m);
    const int d = m->ndim;
    const int64_t rs = d > 1 && size[d - 2] > 1 ? stride[d - 2] : 0;
    const int64_t cs = d > 0 && size[d - 1] > 1 ? stride[d - 1] : 0;
    const int64_t bytes = (int64_t)ag__itemsize(job->compute);
    const int64_t from = (int64_t)ag__itemsize((ag_dtype)m->dtype);
    for (int64_t i = 0; i < rows; i++)
        ag__convert(job->compute, y + i * n * bytes, 1, (ag_dtype)m->dtype,
                    ag__at(m) + (row + i) * rs * from, cs, n);
}

/* Rows [row, row + m) of matrix number nr. */
static void matmul_rows(const matmul_job *job, int64_t nr, int64_t row, int64_t m, void *pack)
{
    const matmul_operand *a = job->a, *b = job->b;
    const int64_t size = (int64_t)ag__itemsize(job->compute), n = b->cols, k = a->cols;
    const void *pa = a->data + (nr * a->batch + row * (a->trans ? 1 : a->ld)) * size;
    const void *pb = b->data + nr * b->batch * size;
    const int64_t at = (nr * a->rows + row) * n;
    char *y = job->y + at * size;
    if (job->m)
        matmul_begin(job, row, m, n, y);
    if (job->compute == AG_F32)
        ag__gemm_f32(a->trans, b->trans, m, n, k, (float)job->alpha, pa, a->ld, pb, b->ld,
                     (float)job->beta, (float *)(void *)y, n, pack);
    else if (job->compute == AG_F64)
        ag__gemm_f64(a->trans, b->trans, m, n, k, job->alpha, pa, a->ld, pb, b->ld, job->beta,
                     (double *)(void *)y, n, pack);
    else
        matmul_i64(a, pa, m, b, pb, (int64_t)job->alpha, (int64_t)job->beta, (int64_t *)(void *)y);
    if (job->end)
        job->end->go_on(job->end->arg, at, m * n);
}

static void matmul_block(void *arg, int64_t block, int worker)
{
    const matmul_job *job = arg;
    void *pack = job->pack ? job->pack + (size_t)worker * job->scratch : NULL;
    const int64_t first = block / job->slices * job->group, row = block % job->slices * job->rows;
    const int64_t m = job->a->rows - row < job->rows ? job->a->rows - row : job->rows;
    for (int64_t nr = first; nr < first + job->group && nr < job->a->n; nr++)
        matmul_rows(job, nr, row, m, pack);
}

/* y = beta m + alpha a b; y is contiguous. */
static bool matmul_multiply(ag_tensor *y, const matmul_operand *a, const matmul_operand *b,
                            matmul_job job)
{
    if (y->numel == 0)
        return true;
    job.compute = (ag_dtype)y->dtype;
    job.a = a;
    job.b = b;
    job.y = ag__at(y);
    matmul_cut(&job);
    if (job.compute != AG_I64)
        job.scratch = ag__gemm_scratch(ag__itemsize(job.compute), job.rows, b->cols, a->cols);
    job.scratch = (job.scratch + 63) / 64 * 64;
    const int64_t blocks = (a->n + job.group - 1) / job.group * job.slices;
    size_t bytes = job.scratch * (size_t)ag__parallel_workers(y->c, blocks);
    if (bytes && bytes <= AG_SMALL_MAX) /* small blocks are not aligned enough for vectors */
        bytes = AG_SMALL_MAX + 1;
    if (bytes && !(job.pack = ag__alloc(y->c, bytes)))
        return false;
    ag__parallel(y->c, blocks, matmul_block, &job);
    ag__free(y->c, job.pack, bytes);
    return true;
}

/* out = beta m + alpha a b, with what `job` says of m, alpha and beta; then its end. */
static bool matmul_run(ag_tensor *out, ag_tensor *a, ag_tensor *b, matmul_job job)
{
    const ag_dtype d = (ag_dtype)out->dtype;
    const ag_dtype compute = d == AG_F64 ? AG_F64 : ag__is_float(d) ? AG_F32 : AG_I64;
    const ag__product_end *end = job.end;
    ag_tensor *y = ag__computed_in(out, compute);
    matmul_operand oa = { 0 }, ob = { 0 };
    job.end = y == out ? end : NULL;
    bool ok = y && matmul_prepare(&oa, a, compute, true) &&
              matmul_prepare(&ob, b, compute, false) && matmul_multiply(y, &oa, &ob, job);
    if (ok && y != out) {
        ag__copy_data(out, y);
        if (end)
            end->go_on(end->arg, 0, out->numel);
    }
    ag__tensor_unref(oa.copy);
    ag__tensor_unref(ob.copy);
    ag__tensor_unref(y);
    return ok;
}

static bool matmul_kernel(const ag__call *call, ag_tensor *const *out)
{
    return matmul_run(out[0], call->in[0], call->in[1], (matmul_job){ .alpha = 1 });
}

bool ag__is_product(const ag__op *op)
{
    return op == ag__ops[AG_OP_mm] || op == ag__ops[AG_OP_bmm] || op == ag__ops[AG_OP_addmm];
}

bool ag__product(const ag__call *call, ag_tensor *out, const ag__product_end *end)
{
    const int first = call->n_in - 2;
    matmul_job job = { .alpha = 1, .end = end };
    if (first) { /* addmm */
        job.alpha = call->attrs->q;
        job.beta = call->attrs->p;
        job.m = job.beta == 0 ? NULL : call->in[0];
    }
    return matmul_run(out, call->in[first], call->in[first + 1], job);
}

/* ---- checks ---- */

/* What PyTorch's messages call element types. */
static const char *matmul_dtype_text(ag_dtype d)
{
    static const char *const text[] = { "float",         "double",    "c10::Half", "c10::BFloat16",
                                        "signed char",   "short int", "int",       "long int",
                                        "unsigned char", "bool" };
    return text[d];
}

static bool matmul_check_dtypes(ag_context *c, const char *op, const ag_tensor *a,
                                const ag_tensor *b)
{
    if (a->dtype != b->dtype)
        return ag_fail(c, AG_ERR_DTYPE,
                       "ag_%s: expected m1 and m2 to have the same dtype, but got: %s != %s", op,
                       matmul_dtype_text((ag_dtype)a->dtype),
                       matmul_dtype_text((ag_dtype)b->dtype));
    if (a->dtype == AG_BOOL)
        return ag_fail(c, AG_ERR_DTYPE, "ag_%s: matrix products are not implemented for 'Bool'",
                       op);
    return true;
}

static bool matmul_check_rank(const ag__call *call, int operand, const char *what, int ndim)
{
    const ag_tensor *t = call->in[operand];
    ag__shape_text text;
    return t->ndim == ndim ||
           ag_fail(call->c, AG_ERR_SHAPE, "ag_%s: %s must be a %s, got a %d-D tensor of shape %s",
                   call->op->name, what,
                   ndim == 1   ? "vector"
                   : ndim == 2 ? "matrix"
                               : "3D tensor",
                   t->ndim, ag__shape_string(&text, ag__sizes(t)));
}

static bool matmul_set(const ag__call *call, ag__geometry *out, ag_ints shape)
{
    const ag_dtype dtype = (ag_dtype)call->in[call->n_in - 1]->dtype;
    ag__geometry_set(out, dtype, shape);
    return ag__check_shape(call->c, call->op->name, shape, dtype);
}

/* a and b, the last two operands, are matrices that can be multiplied. */
static bool matmul_check_pair(const ag__call *call)
{
    const int first = call->n_in - 2;
    const ag_tensor *a = call->in[first], *b = call->in[first + 1];
    if (!matmul_check_rank(call, first, "mat1", 2) ||
        !matmul_check_rank(call, first + 1, "mat2", 2))
        return false;
    if (a->dims[1] != b->dims[0])
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_%s: mat1 and mat2 shapes cannot be multiplied (%lldx%lld and %lldx%lld)",
                       call->op->name, (long long)a->dims[0], (long long)a->dims[1],
                       (long long)b->dims[0], (long long)b->dims[1]);
    return matmul_check_dtypes(call->c, call->op->name, a, b);
}

/* ---- mm ---- */

static bool mm_infer(const ag__call *call, ag__geometry *out)
{
    return matmul_check_pair(call) &&
           matmul_set(call, out, AG_SHAPE(call->in[0]->dims[0], call->in[1]->dims[1]));
}

/* Of all products: the gradient of one operand needs the other. */
static unsigned matmul_needs(unsigned wanted)
{
    return (wanted & 1 ? 2u : 0) | (wanted & 2 ? 1u : 0);
}

/* Note [layout of gradients]
 * A gradient should lie in memory as its operand does; most operands of which that is not row by row
 * are transposed weights, and their gradients can then be taken over by the weight as they are. So
 * a node remembers in i[0] and i[1] which operands lie column by column, and the product that is
 * such an operand's gradient is computed transposed. */
static bool matmul_by_columns(const ag_tensor *t)
{
    return t && t->ndim == 2 && ag__strides(t)[0] == 1 && ag__strides(t)[1] > 1 &&
           ag__strides(t)[1] >= ag__shape(t)[0];
}

static void matmul_note_layout(ag__attrs *attrs, const ag_tensor *a, const ag_tensor *b)
{
    attrs->i[0] = matmul_by_columns(a);
    attrs->i[1] = matmul_by_columns(b);
}

/* a b, by columns or by rows. */
static ag_tensor *matmul_laid_out(ag_tensor *a, ag_tensor *b, bool by_columns)
{
    return by_columns ? ag_t(ag_mm(ag_t(b), ag_t(a))) : ag_mm(a, b);
}

static bool mm_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0];
    const int64_t *by_columns = r->attrs->i;
    if (ag__wants(r, 0) && !(r->out[0] = matmul_laid_out(g, ag_t(ag__in(r, 1)), by_columns[0])))
        return false;
    return !ag__wants(r, 1) || (r->out[1] = matmul_laid_out(ag_t(ag__in(r, 0)), g, by_columns[1]));
}

const ag__op ag__op_mm = { .name = "mm",
                           .node_name = "MmBackward0",
                           .operands = (const char *const[]){ "self", "mat2" },
                           .kind = AG_KIND_BILIN,
                           .n_in = 2,
                           .n_out = 1,
                           .takes_attrs = true,
                           .infer = mm_infer,
                           .kernel = matmul_kernel,
                           .needs = matmul_needs,
                           .vjp = mm_vjp };

ag_tensor *ag_mm(ag_tensor *a, ag_tensor *b)
{
    ag__attrs attrs = { .n = 0 };
    matmul_note_layout(&attrs, a, b);
    return ag__binary(&ag__op_mm, a, b, &attrs);
}

/* ---- bmm ---- */

static bool bmm_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *a = call->in[0], *b = call->in[1];
    if (!matmul_check_rank(call, 0, "batch1", 3) || !matmul_check_rank(call, 1, "batch2", 3))
        return false;
    if (a->dims[0] != b->dims[0] || a->dims[2] != b->dims[1])
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_bmm: Expected size for first two dimensions of batch2 tensor to be: "
                       "[%lld, %lld] but got: [%lld, %lld].",
                       (long long)a->dims[0], (long long)a->dims[2], (long long)b->dims[0],
                       (long long)b->dims[1]);
    return matmul_check_dtypes(call->c, "bmm", a, b) &&
           matmul_set(call, out, AG_SHAPE(a->dims[0], a->dims[1], b->dims[2]));
}

static bool bmm_vjp(ag__rule *r)
{
    if (ag__wants(r, 0) && !(r->out[0] = ag_bmm(r->g[0], ag_transpose(ag__in(r, 1), 1, 2))))
        return false;
    return !ag__wants(r, 1) || (r->out[1] = ag_bmm(ag_transpose(ag__in(r, 0), 1, 2), r->g[0]));
}

const ag__op ag__op_bmm = { .name = "bmm",
                            .node_name = "BmmBackward0",
                            .operands = (const char *const[]){ "self", "mat2" },
                            .kind = AG_KIND_BILIN,
                            .n_in = 2,
                            .n_out = 1,
                            .infer = bmm_infer,
                            .kernel = matmul_kernel,
                            .needs = matmul_needs,
                            .vjp = bmm_vjp };

ag_tensor *ag_bmm(ag_tensor *a, ag_tensor *b) { return ag__binary(&ag__op_bmm, a, b, NULL); }

/* ---- mv ---- */

static bool mv_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *a = call->in[0], *b = call->in[1];
    if (!matmul_check_rank(call, 0, "mat", 2) || !matmul_check_rank(call, 1, "vec", 1))
        return false;
    if (a->dims[1] != b->dims[0])
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_mv: size mismatch, got input (%lldx%lld), vec (%lld)",
                       (long long)a->dims[0], (long long)a->dims[1], (long long)b->dims[0]);
    return matmul_check_dtypes(call->c, "mv", a, b) && matmul_set(call, out, AG_SHAPE(a->dims[0]));
}

static bool mv_vjp(ag__rule *r)
{
    if (ag__wants(r, 0)) { /* the outer product */
        r->out[0] = (ag_mul)(ag_unsqueeze(r->g[0], 1), ag_unsqueeze(ag__in(r, 1), 0));
        if (!r->out[0])
            return false;
    }
    return !ag__wants(r, 1) || (r->out[1] = ag_mv(ag_t(ag__in(r, 0)), r->g[0]));
}

const ag__op ag__op_mv = { .name = "mv",
                           .node_name = "MvBackward0",
                           .operands = (const char *const[]){ "self", "vec" },
                           .kind = AG_KIND_BILIN,
                           .n_in = 2,
                           .n_out = 1,
                           .infer = mv_infer,
                           .kernel = matmul_kernel,
                           .needs = matmul_needs,
                           .vjp = mv_vjp };

ag_tensor *ag_mv(ag_tensor *a, ag_tensor *b) { return ag__binary(&ag__op_mv, a, b, NULL); }

/* ---- dot ---- */

static bool dot_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *a = call->in[0], *b = call->in[1];
    if (a->ndim != 1 || b->ndim != 1)
        return ag_fail(call->c, AG_ERR_SHAPE,
                       "ag_dot: 1D tensors expected, but got %dD and %dD tensors", a->ndim,
                       b->ndim);
    if (a->dims[0] != b->dims[0])
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_dot: inconsistent tensor size, expected tensor [%lld] and src [%lld] to have "
            "the same number of elements, but got %lld and %lld elements respectively",
            (long long)a->dims[0], (long long)b->dims[0], (long long)a->dims[0],
            (long long)b->dims[0]);
    return matmul_check_dtypes(call->c, "dot", a, b) && matmul_set(call, out, (ag_ints){ NULL, 0 });
}

static bool dot_vjp(ag__rule *r)
{
    if (ag__wants(r, 0) && !(r->out[0] = (ag_mul)(r->g[0], ag__in(r, 1))))
        return false;
    return !ag__wants(r, 1) || (r->out[1] = (ag_mul)(r->g[0], ag__in(r, 0)));
}

const ag__op ag__op_dot = { .name = "dot",
                            .node_name = "DotBackward0",
                            .operands = (const char *const[]){ "self", "tensor" },
                            .kind = AG_KIND_BILIN,
                            .n_in = 2,
                            .n_out = 1,
                            .infer = dot_infer,
                            .kernel = matmul_kernel,
                            .needs = matmul_needs,
                            .vjp = dot_vjp };

ag_tensor *ag_dot(ag_tensor *a, ag_tensor *b) { return ag__binary(&ag__op_dot, a, b, NULL); }

/* ---- addmm: p is beta, q is alpha ---- */

static bool addmm_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *m = call->in[0];
    const double beta = call->attrs->p, alpha = call->attrs->q;
    if (!matmul_check_pair(call) ||
        !matmul_set(call, out, AG_SHAPE(call->in[1]->dims[0], call->in[2]->dims[1])))
        return false;
    if (m->dtype != out->dtype)
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_addmm: self and mat2 must have the same dtype, but got %s and %s",
                       ag_dtype_name((ag_dtype)m->dtype), ag_dtype_name(out->dtype));
    if (!ag__is_float(out->dtype) && (alpha != trunc(alpha) || beta != trunc(beta)))
        return ag_fail(call->c, AG_ERR_VALUE,
                       "ag_addmm: For integral input tensors, arguments beta and alpha must not be "
                       "floating point numbers.");
    bool fits = m->ndim <= 2;
    for (int i = 1; i <= m->ndim && fits; i++)
        fits = m->dims[m->ndim - i] == 1 || m->dims[m->ndim - i] == out->shape[2 - i];
    ag__shape_text a, b;
    return fits ||
           ag_fail(call->c, AG_ERR_SHAPE,
                   "ag_addmm: input of shape %s must be broadcastable to the product's shape %s",
                   ag__shape_string(&a, ag__sizes(m)),
                   ag__shape_string(&b, (ag_ints){ out->shape, 2 }));
}

static bool addmm_kernel(const ag__call *call, ag_tensor *const *out)
{
    return ag__product(call, out[0], NULL);
}

static unsigned addmm_needs(unsigned wanted)
{
    return (wanted & 2 ? 4u : 0) | (wanted & 4 ? 2u : 0);
}

static ag_tensor *addmm_scaled(ag_tensor *t, double factor)
{
    return factor == 1 ? t : (ag_mul)(t, ag__number(t, factor));
}

static bool addmm_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0];
    const double beta = r->attrs->p, alpha = r->attrs->q;
    if (ag__wants(r, 0) && !(r->out[0] = addmm_scaled(ag__sum_to(g, ag__in_shape(r, 0)), beta)))
        return false;
    if (ag__wants(r, 1)) {
        ag_tensor *product = matmul_laid_out(g, ag_t(ag__in(r, 2)), r->attrs->i[0]);
        if (!(r->out[1] = addmm_scaled(product, alpha)))
            return false;
    }
    if (!ag__wants(r, 2))
        return true;
    ag_tensor *product = matmul_laid_out(ag_t(ag__in(r, 1)), g, r->attrs->i[1]);
    return (r->out[2] = addmm_scaled(product, alpha)) != NULL;
}

const ag__op ag__op_addmm = { .name = "addmm",
                              .node_name = "AddmmBackward0",
                              .operands = (const char *const[]){ "self", "mat1", "mat2" },
                              .kind = AG_KIND_GENERAL,
                              .n_in = 3,
                              .n_out = 1,
                              .takes_attrs = true,
                              .infer = addmm_infer,
                              .kernel = addmm_kernel,
                              .needs = addmm_needs,
                              .vjp = addmm_vjp };

ag_tensor *(ag_addmm)(ag_tensor *m, ag_tensor *a, ag_tensor *b, const ag_addmm_options *options)
{
    ag__attrs attrs = { .p = options && options->beta != 0 ? options->beta : 1,
                        .q = options && options->alpha != 0 ? options->alpha : 1 };
    matmul_note_layout(&attrs, a, b);
    return ag__run1(&ag__op_addmm, (ag_tensor *[]){ m, a, b }, 3, &attrs);
}

/* ---- matmul ---- */

/* Sizes that a and b must share, checked here so that the message shows the user's shapes. */
static bool matmul_check(ag_tensor *a, ag_tensor *b)
{
    ag__shape_text ta, tb;
    if (!a || !b)
        return (a || b) &&
               ag_fail((a ? a : b)->c, AG_ERR_VALUE, "ag_matmul: operand %d is NULL", !!a);
    if (a->ndim == 0 || b->ndim == 0)
        return ag_fail(
            a->c, AG_ERR_SHAPE,
            "ag_matmul: both arguments to matmul need to be at least 1D, but they are %dD "
            "and %dD",
            a->ndim, b->ndim);
    const int64_t inner_a = a->dims[a->ndim - 1], inner_b = b->dims[b->ndim > 1 ? b->ndim - 2 : 0];
    if (inner_a == inner_b || inner_a < 0 || inner_b < 0)
        return matmul_check_dtypes(a->c, "matmul", a, b);
    if (a->ndim == 1 && b->ndim == 1)
        return ag_fail(
            a->c, AG_ERR_SHAPE,
            "ag_matmul: inconsistent tensor size, expected tensor [%lld] and src [%lld] to "
            "have the same number of elements",
            (long long)inner_a, (long long)inner_b);
    const int64_t rows = a->numel < 0 ? -1 : inner_a ? a->numel / inner_a : 0;
    const int64_t cols = b->ndim > 1 ? b->dims[b->ndim - 1] : 1;
    return ag_fail(
        a->c, AG_ERR_SHAPE,
        "ag_matmul: mat1 and mat2 shapes cannot be multiplied (%lldx%lld and %lldx%lld); the "
        "operands' shapes are %s and %s",
        (long long)rows, (long long)inner_a, (long long)inner_b, (long long)cols,
        ag__shape_string(&ta, ag__sizes(a)), ag__shape_string(&tb, ag__sizes(b)));
}

/* y, which was made for it, with other sizes, of which some may be those of `like`. */
static ag_tensor *matmul_shaped(ag_tensor *y, ag_ints shape, ag_tensor *like)
{
    return like->numel < 0 ? ag__reshape_like(y, shape, like) : ag__unsafe_view(y, shape);
}

/* big, of 3 or more dimensions, times a matrix or vector: its batches become rows. */
static ag_tensor *matmul_fold(ag_tensor *big, ag_tensor *small)
{
    int n = big ? big->ndim : 0;
    if (n == 0 || !small)
        return NULL;
    int64_t shape[AG_MAX_DIMS];
    for (int i = 0; i < n - 1; i++)
        shape[i] = big->dims[i] < 0 ? AG_SIZE_OF_OTHER(i) : big->dims[i];
    ag_tensor *flat =
        ag_reshape(big, AG_SHAPE(ag__sizes_or_same(big, 0, n - 2), ag__size_or_same(big, n - 1)));
    ag_tensor *y = small->ndim == 1 ? ag_mv(flat, small) : ag_mm(flat, small);
    if (y && small->ndim == 2)
        shape[n - 1] = ag__size_or_same(y, 1);
    return y ? matmul_shaped(y, (ag_ints){ shape, n - 2 + small->ndim }, big) : NULL;
}

/* Batch dimension i of t when there are n of them. */
static int64_t matmul_batch_size(const ag_tensor *t, int n, int i)
{
    const int k = i - (n - (t->ndim - 2));
    return k < 0 ? 1 : t->dims[k];
}

/* t, of at least 2 dimensions, with its n batch dimensions expanded to those of `other` as well. */
static ag_tensor *matmul_expanded(ag_tensor *t, ag_tensor *other, int n)
{
    int64_t shape[AG_MAX_DIMS];
    for (int i = 0; i < n; i++) {
        const int64_t mine = matmul_batch_size(t, n, i), theirs = matmul_batch_size(other, n, i);
        shape[i] = mine == 1 || (theirs >= 0 && theirs != 1) ? theirs : mine;
        if (shape[i] < 0)
            shape[i] = theirs < 0 ? AG_SIZE_OF_OTHER(i - n + other->ndim - 2) : -1;
    }
    for (int i = n; i < n + 2; i++)
        shape[i] = t->dims[t->ndim - 2 + i - n];
    const ag_ints sizes = { shape, n + 2 };
    return t->numel < 0 || other->numel < 0 ? ag__expand_like(t, sizes, other)
                                            : ag_expand(t, sizes);
}

/* Batches are joined. */
static ag_tensor *matmul_joined(ag_tensor *t, int n)
{
    return t ? ag_reshape(t, AG_SHAPE(ag__sizes_or_same(t, 0, n - 1), ag__size_or_same(t, n),
                                      ag__size_or_same(t, n + 1)))
             : NULL;
}

/* Whether the batch dimensions fit each other, as far as they are known. */
static bool matmul_batches_fit(ag_tensor *a, ag_tensor *b, int n)
{
    ag__geometry batch;
    bool unknown = false, fits = true;
    for (int i = 0; i < n; i++) {
        const int64_t sa = matmul_batch_size(a, n, i), sb = matmul_batch_size(b, n, i);
        unknown = unknown || sa < 0 || sb < 0;
        fits = fits && (sa == sb || sa == 1 || sb == 1 || sa < 0 || sb < 0);
    }
    return (unknown && fits) || ag__broadcast(a->c, "matmul", (ag_ints){ a->dims, a->ndim - 2 },
                                              (ag_ints){ b->dims, b->ndim - 2 }, &batch);
}

static ag_tensor *matmul_broadcast(ag_tensor *a, ag_tensor *b)
{
    const bool row = a->ndim == 1, col = b->ndim == 1;
    a = row ? ag_unsqueeze(a, 0) : a;
    b = col ? ag_unsqueeze(b, 1) : b;
    if (!a || !b)
        return NULL;
    int n = (a->ndim > b->ndim ? a->ndim : b->ndim) - 2;
    if (!matmul_batches_fit(a, b, n))
        return NULL;
    ag_tensor *wide = matmul_expanded(a, b, n), *deep = wide ? matmul_expanded(b, a, n) : NULL;
    ag_tensor *left = deep ? matmul_joined(wide, n) : NULL;
    ag_tensor *y = left ? ag_bmm(left, matmul_joined(deep, n)) : NULL;
    if (!y)
        return NULL;
    int64_t shape[AG_MAX_DIMS];
    for (int i = 0; i < n; i++)
        shape[i] = wide->dims[i] < 0 ? AG_SIZE_OF_OTHER(i) : wide->dims[i];
    if (!row)
        shape[n++] = ag__size_or_same(y, 1);
    if (!col)
        shape[n++] = ag__size_or_same(y, 2);
    return matmul_shaped(y, (ag_ints){ shape, n }, wide);
}

static ag_tensor *matmul_compose(ag_tensor *a, ag_tensor *b)
{
    if (a->ndim == 1 && b->ndim == 2)
        return ag_squeeze(ag_mm(ag_unsqueeze(a, 0), b), 0);
    if (a->ndim >= 3 && b->ndim <= 2)
        return matmul_fold(a, b);
    if (b->ndim >= 3 && a->ndim == 1)
        return matmul_fold(ag_transpose(b, -1, -2), a);
    /* Folding keeps a's gradient from being summed out of a batch of copies. */
    if (b->ndim >= 3 && a->ndim == 2 &&
        (ag__is_symbolic(a) || (ag__wants_grad(a) && a->c->grad_enabled)))
        return ag_transpose(matmul_fold(ag_transpose(b, -1, -2), ag_t(a)), -1, -2);
    return matmul_broadcast(a, b);
}

ag_tensor *ag_matmul(ag_tensor *a, ag_tensor *b)
{
    if (!matmul_check(a, b))
        return NULL;
    if (a->ndim == 1 && b->ndim == 1)
        return ag_dot(a, b);
    if (a->ndim == 2 && b->ndim <= 2)
        return b->ndim == 1 ? ag_mv(a, b) : ag_mm(a, b);
    ag_scope s;
    ag__bracket_begin(&s, a->c);
    return ag__compose_end(&s, matmul_compose(a, b));
}

/* ---- linear ---- */

static ag_tensor *linear_compose(ag_tensor *x, ag_tensor *weight, ag_tensor *bias)
{
    ag_tensor *wt = weight->ndim == 1 ? weight : ag_t(weight);
    if (bias && x->ndim == 2 && weight->ndim == 2)
        return (ag_addmm)(bias, x, wt, NULL);
    ag_tensor *y = ag_matmul(x, wt);
    return bias ? (ag_add)(y, bias) : y;
}

ag_tensor *ag_linear(ag_tensor *x, ag_tensor *weight, ag_tensor *bias)
{
    if (!x || !weight)
        return x ? ag__fail(x->c, AG_ERR_VALUE, "ag_linear: weight is NULL") : NULL;
    if (bias && bias->c != x->c)
        return ag__fail(x->c, AG_ERR_VALUE,
                        "ag_linear: operands 0 and 2 belong to different contexts; use ag_share");
    if (weight->ndim < 1 || weight->ndim > 2)
        return ag__fail(x->c, AG_ERR_SHAPE,
                        "ag_linear: weight must be a matrix (out, in), got %d-D", weight->ndim);
    ag_scope s;
    ag__bracket_begin(&s, x->c);
    return ag__compose_end(&s, linear_compose(x, weight, bias));
}
