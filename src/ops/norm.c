/*
 * Softmax, log-softmax and layer normalisation: one pass per row in f32 or f64 (half types pass
 * through f32), derivatives as compositions of operations.
 */
#include "op.h"

#include "../base/parallel.h"
#include "../kernels/norm.h"
#include "dims.h"
#include "lanes.h"

enum { NORM_PART = 1 << 14 }; /* elements of a block that is worth waking a thread for */

static bool norm_check_float(const ag__call *call)
{
    const ag_dtype d = (ag_dtype)call->in[0]->dtype;
    return ag__is_float(d) ||
           ag_fail(call->c, AG_ERR_DTYPE, "ag_%s: not implemented for %s; use ag_to to convert it",
                   call->op->name, ag_dtype_name(d));
}

static ag_dtype norm_compute(const ag_tensor *t) { return t->dtype == AG_F64 ? AG_F64 : AG_F32; }

/* ---- softmax, log_softmax: i[0] is the dimension ---- */

extern const ag__op ag__op_log_softmax;

static bool softmax_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    return norm_check_float(call) && ag__attrs_dim(call, x->ndim);
}

typedef struct {
    ag__lanes l;
    ag__cut cut;
    bool wide, is_log; /* wide: double */
    int64_t size;
    const char *x, *top;
    char *y;
    double *sums; /* of parts of a line */
} softmax_job;

static void softmax_block(void *arg, int64_t block, int worker)
{
    const softmax_job *j = arg;
    const ag__cut_block b = ag__cut_at(&j->cut, j->l, block);
    const int64_t at = b.from * j->size;
    (void)worker;
    (j->wide ? ag__softmax_f64 : ag__softmax_f32)(j->x + at, j->y + at, b.lanes, j->is_log);
}

static void softmax_exps_block(void *arg, int64_t block, int worker)
{
    const softmax_job *j = arg;
    const ag__cut_block b = ag__cut_at(&j->cut, j->l, block);
    const int64_t at = b.from * j->size;
    (void)worker;
    j->sums[b.part] = (j->wide ? ag__softmax_exps_f64
                               : ag__softmax_exps_f32)(j->x + at, j->y + at, b.lanes.n,
                                                       j->top + b.result * j->size, j->is_log);
}

static void softmax_end_block(void *arg, int64_t block, int worker)
{
    const softmax_job *j = arg;
    const ag__cut_block b = ag__cut_at(&j->cut, j->l, block);
    (void)worker;
    (j->wide ? ag__softmax_end_f64 : ag__softmax_end_f32)(j->y + b.from * j->size, b.lanes.n,
                                                          j->sums[b.result * j->cut.chunks],
                                                          j->is_log);
}

/* Lines that are cut, in three passes: maxima, exponentials with their sums, the end. */
static bool softmax_cut_lines(ag_context *c, softmax_job *j)
{
    const int64_t lines = j->l.outer, chunks = j->cut.chunks;
    const ag_dtype d = j->wide ? AG_F64 : AG_F32;
    const size_t bytes = (size_t)(lines * (chunks + 1)) * sizeof(double);
    j->sums = ag__alloc(c, bytes);
    void *top = j->sums ? j->sums + lines * chunks : NULL;
    const bool ok = top && ag__reduce(c, d, AG_REDUCE_MAX, j->x, top, j->l);
    j->top = top;
    if (ok) {
        ag__parallel(c, j->cut.blocks, softmax_exps_block, j);
        for (int64_t o = 0; o < lines; o++)
            for (int64_t i = 1; i < chunks; i++)
                j->sums[o * chunks] += j->sums[o * chunks + i];
        ag__parallel(c, j->cut.blocks, softmax_end_block, j);
    }
    ag__free(c, j->sums, bytes);
    return ok;
}

static bool softmax_run(ag_context *c, ag_tensor *y, const ag_tensor *x, ag__lanes l, bool is_log)
{
    softmax_job j = { .l = l,
                      .wide = y->dtype == AG_F64,
                      .is_log = is_log,
                      .x = ag__at(x),
                      .size = (int64_t)ag__itemsize((ag_dtype)y->dtype),
                      .y = ag__at(y) };
    j.cut = ag__cut_lanes(l, NORM_PART, l.inner == 1);
    if (j.cut.chunks > 1)
        return softmax_cut_lines(c, &j);
    ag__parallel(c, j.cut.blocks, softmax_block, &j);
    return true;
}

static bool softmax_kernel(const ag__call *call, ag_tensor *const *out)
{
    const ag_dtype d = norm_compute(out[0]);
    ag_tensor *x = ag__ready(call->in[0], d), *y = ag__computed_in(out[0], d);
    bool ok = x && y;
    if (ok && x->numel > 0) {
        const int dim = (int)call->attrs->i[0];
        ok = softmax_run(call->c, y, x, ag__lanes_along(ag__sizes(x), dim),
                         call->op == &ag__op_log_softmax);
        if (ok && y != out[0])
            ag__copy_data(out[0], y);
    }
    ag__tensor_unref(x);
    ag__tensor_unref(y);
    return ok;
}

static unsigned softmax_needs(unsigned wanted) { return wanted ? AG_SAVE_OUTPUT : 0; }

/* y (g - sum g y) */
static bool softmax_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0], *y = ag__out(r, 0), *gy = (ag_mul)(g, y);
    const ag_ints dim = AG_DIMS(r->attrs->i[0]);
    r->out[0] = (ag_sub)(gy, (ag_mul)(y, ag_sum(gy, .dims = dim, .keepdim = true)));
    return r->out[0] != NULL;
}

/* g - e^y sum g */
static bool log_softmax_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0];
    const ag_ints dim = AG_DIMS(r->attrs->i[0]);
    ag_tensor *sum = ag_sum(g, .dims = dim, .keepdim = true);
    r->out[0] = (ag_sub)(g, (ag_mul)(ag_exp(ag__out(r, 0)), sum));
    return r->out[0] != NULL;
}

const ag__op ag__op_softmax = { .name = "softmax",
                                .node_name = "SoftmaxBackward0",
                                .kind = AG_KIND_GENERAL,
                                .n_in = 1,
                                .n_out = 1,
                                .takes_attrs = true,
                                .infer = softmax_infer,
                                .kernel = softmax_kernel,
                                .needs = softmax_needs,
                                .vjp = softmax_vjp };
const ag__op ag__op_log_softmax = { .name = "log_softmax",
                                    .node_name = "LogSoftmaxBackward0",
                                    .kind = AG_KIND_GENERAL,
                                    .n_in = 1,
                                    .n_out = 1,
                                    .takes_attrs = true,
                                    .infer = softmax_infer,
                                    .kernel = softmax_kernel,
                                    .needs = softmax_needs,
                                    .vjp = log_softmax_vjp };

static ag_tensor *softmax_call(const ag__op *op, ag_tensor *x, int dim)
{
    const int d = x ? ag__op_dim(x->c, op->name, dim, x->ndim) : -1;
    return d < 0 ? NULL : ag__unary(op, x, &(ag__attrs){ .i = { d } });
}

ag_tensor *ag_softmax(ag_tensor *x, int dim) { return softmax_call(&ag__op_softmax, x, dim); }

ag_tensor *ag_log_softmax(ag_tensor *x, int dim)
{
    return softmax_call(&ag__op_log_softmax, x, dim);
}

/* ---- layer_norm: p is eps, i[0] the number of dimensions normalised; the results are y and, for
 *      the derivative only, mean and 1/std of each row ---- */

static bool layer_norm_check_parameter(const ag__call *call, int operand, const char *what)
{
    const ag_tensor *x = call->in[0], *t = call->in[operand];
    if (!t)
        return true;
    const int n = (int)call->attrs->i[0];
    const ag_ints normal = { x->dims + x->ndim - n, n };
    ag__shape_text a, b;
    if (!ag__same_shape(ag__sizes(t), normal))
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_layer_norm: Expected %s to be of same shape as normalized_shape, but got %s "
            "of shape %s and normalized_shape = %s",
            what, what, ag__shape_string(&a, ag__sizes(t)), ag__shape_string(&b, normal));
    return t->dtype == x->dtype ||
           ag_fail(call->c, AG_ERR_DTYPE,
                   "ag_layer_norm: mixed dtype: expect %s to have scalar type of %s, got %s", what,
                   ag_dtype_name((ag_dtype)x->dtype), ag_dtype_name((ag_dtype)t->dtype));
}

static bool layer_norm_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    const int64_t n = call->attrs->i[0];
    if (!norm_check_float(call))
        return false;
    if (n < 1 || n > x->ndim)
        return ag_fail(
            call->c, AG_ERR_SHAPE,
            "ag_layer_norm: n_trailing_dims must be 1 to %d, the rank of the input, got %lld",
            x->ndim, (long long)n);
    if (!layer_norm_check_parameter(call, 1, "weight") ||
        !layer_norm_check_parameter(call, 2, "bias"))
        return false;
    ag__geometry_set(&out[0], (ag_dtype)x->dtype, ag__sizes(x));
    for (int j = 1; j < 3; j++) {
        ag__geometry_set(&out[j], norm_compute(x), ag__sizes(x));
        for (int i = x->ndim - (int)n; i < x->ndim; i++)
            out[j].shape[i] = 1;
    }
    return true;
}

typedef struct {
    ag__lanes l;
    ag__cut cut;
    bool wide;
    int64_t size;
    const char *x, *w, *b;
    char *y, *means, *rstds;
    double eps;
} layer_norm_job;

static void layer_norm_block(void *arg, int64_t block, int worker)
{
    const layer_norm_job *j = arg;
    const ag__cut_block b = ag__cut_at(&j->cut, j->l, block);
    const int64_t at = b.from * j->size, row = b.result * j->size;
    (void)worker;
    (j->wide ? ag__layer_norm_f64 : ag__layer_norm_f32)(j->x + at, j->w, j->b, j->y + at,
                                                        j->means + row, j->rstds + row,
                                                        b.lanes.outer, b.lanes.n, j->eps);
}

static bool layer_norm_kernel(const ag__call *call, ag_tensor *const *out)
{
    const ag_dtype d = norm_compute(out[0]);
    ag_tensor *in[3] = { 0 }, *y = ag__computed_in(out[0], d);
    bool ok = y != NULL;
    for (int i = 0; i < 3 && ok; i++)
        if (call->in[i])
            ok = (in[i] = ag__ready(call->in[i], d)) != NULL;
    if (ok) {
        const int64_t rows = out[1]->numel, n = rows ? y->numel / rows : 0;
        layer_norm_job j = { .l = { rows, n, 1, 1, 1 },
                             .wide = d == AG_F64,
                             .size = (int64_t)ag__itemsize(d),
                             .x = ag__at(in[0]),
                             .w = in[1] ? ag__at(in[1]) : NULL,
                             .b = in[2] ? ag__at(in[2]) : NULL,
                             .y = ag__at(y),
                             .means = ag__at(out[1]),
                             .rstds = ag__at(out[2]),
                             .eps = call->attrs->p };
        j.cut = ag__cut_lanes(j.l, NORM_PART, false);
        ag__parallel(call->c, j.cut.blocks, layer_norm_block, &j);
        if (y != out[0])
            ag__copy_data(out[0], y);
    }
    for (int i = 0; i < 3; i++)
        ag__tensor_unref(in[i]);
    ag__tensor_unref(y);
    return ok;
}

static unsigned layer_norm_needs(unsigned wanted)
{
    return (wanted & 3 ? 1u | AG_SAVE_OUTPUT << 1 | AG_SAVE_OUTPUT << 2 : 0) |
           (wanted & 1 ? 2u : 0);
}

/* What x gets from the hidden results, from which the gradients are computed: d mean / d x = 1 / n,
 * d rstd / d x = -rstd^2 z / n. */
static bool layer_norm_hidden(ag__rule *r, ag_tensor *z, ag_tensor *rstd)
{
    const ag_ints shape = ag__in_shape(r, 0);
    const int normal = (int)r->attrs->i[0];
    const double n = (double)ag__shape_numel((ag_ints){ shape.data + shape.n - normal, normal });
    ag_tensor *parts[] = { r->g[1] ? ag_expand(ag_div(r->g[1], n), shape) : NULL,
                           r->g[2] ? ag_mul(ag_mul(r->g[2], ag_mul(ag_square(rstd), z)), -1 / n)
                                   : NULL };
    for (int k = 0; k < 2; k++) {
        if (!r->g[1 + k])
            continue;
        ag_tensor *sum = r->out[0] && parts[k] ? ag_add(r->out[0], parts[k]) : parts[k];
        if (!(r->out[0] = sum))
            return false;
    }
    return true;
}

static bool layer_norm_vjp(ag__rule *r)
{
    ag_tensor *g = r->g[0], *z, *rstd;
    if (g && ag__wants(r, 2) && !(r->out[2] = ag__sum_to(g, ag__in_shape(r, 2))))
        return false;
    if (!ag__wants(r, 0) && !ag__wants(r, 1))
        return true;
    int64_t list[AG_MAX_DIMS];
    const int n = (int)r->attrs->i[0];
    for (int i = 0; i < n; i++)
        list[i] = i - n;
    const ag_ints dims = { list, n };
    rstd = ag__out(r, 2);
    z = (ag_mul)((ag_sub)(ag__in(r, 0), ag__out(r, 1)), rstd);
    if (!z)
        return false;
    if (!g)
        return !ag__wants(r, 0) || layer_norm_hidden(r, z, rstd);
    if (ag__wants(r, 1) && !(r->out[1] = ag__sum_to((ag_mul)(g, z), ag__in_shape(r, 1))))
        return false;
    if (!ag__wants(r, 0))
        return true;
    ag_tensor *w = ag__in(r, 1), *gz = w ? (ag_mul)(g, w) : g;
    ag_tensor *along = (ag_mul)(z, ag_mean((ag_mul)(gz, z), .dims = dims, .keepdim = true));
    ag_tensor *rest = (ag_sub)(gz, ag_mean(gz, .dims = dims, .keepdim = true));
    r->out[0] = (ag_mul)((ag_sub)(rest, along), rstd);
    return r->out[0] && layer_norm_hidden(r, z, rstd);
}

const ag__op ag__op_layer_norm = { .name = "layer_norm",
                                   .node_name = "NativeLayerNormBackward0",
                                   .operands = (const char *const[]){ "input", "weight", "bias" },
                                   .kind = AG_KIND_GENERAL,
                                   .n_in = 3,
                                   .n_out = 3,
                                   .takes_attrs = true,
                                   .optional = 6,
                                   .infer = layer_norm_infer,
                                   .kernel = layer_norm_kernel,
                                   .needs = layer_norm_needs,
                                   .vjp = layer_norm_vjp };

ag_tensor *ag_layer_norm(ag_tensor *x, int n_trailing_dims, ag_tensor *weight, ag_tensor *bias,
                         double eps)
{
    const ag__attrs attrs = { .p = eps, .i = { n_trailing_dims } };
    ag_tensor *out[AG_MAX_OUTPUTS];
    if (!x || !ag__run(&ag__op_layer_norm, (ag_tensor *[]){ x, weight, bias }, 3, &attrs, out))
        return NULL;
    ag__tensor_unref(out[1]);
    ag__tensor_unref(out[2]);
    return ag__give(out[0]);
}
