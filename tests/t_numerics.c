/*
 * Corner cases of the numerics: values and gradients at poles, kinks, ties, overflow and infinities.
 * The expected numbers are PyTorch's, or those of the mathematics where PyTorch is worse (said beside
 * the row). Each row runs in float64 and float32, with the gradient from the fused pass and from the
 * one that builds a graph; H is the derivative of the sum of the gradient.
 */
#include "harness.h"

#include <stdio.h>

typedef ag_tensor *unary_fn(ag_tensor *x);
typedef ag_tensor *binary_fn(ag_tensor *a, ag_tensor *b);

/* |v - e| <= tolerance |e|: unlike CHECK_CLOSE it compares the digits of small numbers too. */
static bool near(double v, double e, double tolerance)
{
    if (isnan(e) || isinf(e))
        return harness_is_close(v, e, 0);
    return fabs(v - e) <= tolerance * fabs(e);
}

static double digits(ag_dtype d) { return d == AG_F64 ? 1e-12 : 2e-6; }

static void check_near(const char *what, ag_dtype d, ag_tensor *t, int i, double e)
{
    CHECK(t);
    const double v = ag_at_index(ag_reshape(t, AG_SHAPE(-1)), AG_DIMS(i));
    if (!near(v, e, digits(d)))
        FAIL("%s in %s, element %d: is %.17g, expected %.17g", what, ag_dtype_name(d), i, v, e);
}

/* The gradients of sum y, by the plain pass and by the one that builds a graph, against e[input][i]. */
static void check_gradients(const char *what, ag_dtype d, ag_tensor *y, ag_tensor *const *in, int n,
                            const double *const *e)
{
    for (int graph = 0; graph < 2; graph++) {
        ag_tensor *g[2] = { NULL }, *sum = ag_sum(y);
        CHECK(ag_grad(&sum, 1, in, n, g, .retain_graph = true, .create_graph = graph));
        for (int k = 0; k < n; k++)
            for (int i = 0; i < ag_numel(in[k]); i++)
                check_near(what, d, g[k], i, e[k][i]);
    }
}

/* H: the derivative of the sum of the gradient of sum y. */
static void check_second(const char *what, ag_dtype d, ag_tensor *y, ag_tensor *x, const double *e)
{
    ag_tensor *g = NULL, *h = NULL, *sum = ag_sum(y);
    CHECK(ag_grad(&sum, 1, &x, 1, &g, .create_graph = true));
    sum = ag_sum(g);
    CHECK(ag_grad(&sum, 1, &x, 1, &h));
    for (int i = 0; i < ag_numel(x); i++)
        check_near(what, d, h, i, e[i]);
}

/* ---- functions of one number ---- */

static ag_tensor *gelu(ag_tensor *x) { return ag_gelu(x, false); }
static ag_tensor *gelu_tanh(ag_tensor *x) { return ag_gelu(x, true); }
static ag_tensor *clamp(ag_tensor *x) { return ag_clamp(x, -1, 1); }
static ag_tensor *hardtanh(ag_tensor *x) { return ag_hardtanh(x, -1, 1); }
static ag_tensor *log_sigmoid(ag_tensor *x) { return ag_log(ag_sigmoid(x)); }
static ag_tensor *x_log_x(ag_tensor *x) { return ag_mul(x, ag_log(x)); }
static ag_tensor *to_0(ag_tensor *x) { return ag_pow(x, 0); }
static ag_tensor *to_3(ag_tensor *x) { return ag_pow(x, 3); }
static ag_tensor *safe_root(ag_tensor *x) { return ag_where(ag_gt(x, 0), ag_sqrt(x), 0); }

typedef struct {
    const char *name;
    unary_fn *f;
    double x, y, g;
} unary_row;

#define FN(f) #f, (f)
static const unary_row unary_rows[] = {
    { FN(log_sigmoid), -1000, -INFINITY, NAN },
    { FN(ag_softplus), 1000, 1000, 1 },
    { FN(ag_softplus), -1000, 0, 0 },
    { FN(ag_sigmoid), -1000, 0, 0 },
    { FN(ag_sigmoid), 1000, 1, 0 },
    { FN(ag_tanh), 400, 1, 0 },
    { FN(ag_tanh), -400, -1, 0 },
    { FN(gelu), -40, 0, 0 },
    { FN(gelu_tanh), -1000, 0, 0 },
    { FN(ag_silu), -1000, 0, 0 },
    { FN(ag_mish), -1000, 0, 0 },
    { FN(gelu), 0, 0, .5 },
    { FN(gelu_tanh), 0, 0, .5 },
    { FN(gelu), -INFINITY, 0, 0 }, /* PyTorch: NaN */
    { FN(gelu), INFINITY, INFINITY, 1 },
    { FN(gelu_tanh), -INFINITY, 0, 0 },
    { FN(gelu_tanh), INFINITY, INFINITY, 1 },
    { FN(ag_erf), 6, 1, 2.6173012392492649e-16 },
    { FN(ag_erfinv), 1, INFINITY, INFINITY },
    { FN(ag_erfinv), -1, -INFINITY, INFINITY },
    { FN(ag_logit), 0, -INFINITY, INFINITY },
    { FN(ag_logit), 1, INFINITY, INFINITY },
    { FN(ag_atanh), 1, INFINITY, INFINITY },
    { FN(ag_atanh), -1, -INFINITY, INFINITY },
    { FN(ag_expm1), 1e-10, 1.00000000005e-10, 1.0000000001 },
    { FN(ag_log1p), 1e-10, 9.9999999995e-11, .9999999999 },
    { FN(ag_sqrt), 0, 0, INFINITY },
    { FN(ag_rsqrt), 0, INFINITY, -INFINITY },
    { FN(ag_abs), 0, 0, 0 },
    { FN(ag_sign), 0, 0, 0 },
    { FN(ag_relu), 0, 0, 0 },
    { FN(hardtanh), 1, 1, 0 },
    { FN(ag_hardsigmoid), 3, 1, 0 },
    { FN(clamp), -1, -1, 0 },
    { FN(clamp), 1, 1, 0 },
    { FN(clamp), NAN, NAN, 0 },
    { FN(to_0), 0, 1, 0 },
    { FN(to_3), -2, -8, 12 },
    { FN(ag_sinc), 0, 1, 0 },
    { FN(ag_sinc), 1e-5, .9999999998355066, -3.289868133371756e-5 },
    { FN(ag_sinc), 2.999969482421875, 1.0172629507421297e-5, -.33334011358885779 },
    { FN(ag_logit), .5 + 0x1p-20, 3.8146972656296259e-6, 4.0000000000145519 },
    { FN(x_log_x), 0, NAN, NAN },
    { FN(ag_log), 0, -INFINITY, INFINITY },
    { FN(ag_log), -1, NAN, -1 },
    { FN(ag_log1p), -1, -INFINITY, INFINITY },
    { FN(ag_asin), 1, 1.5707963267948966, INFINITY },
    { FN(ag_acos), 1, 0, -INFINITY },
    { FN(ag_acosh), 1, 0, INFINITY },
    { FN(safe_root), -1, 0, NAN }, /* the derivative of the branch not taken: 0 times NaN */
    { FN(safe_root), 0, 0, NAN },
    { FN(safe_root), 4, 2, .25 },
    { FN(ag_floor), 1.5, 1, 0 },
    { FN(ag_round), 2.5, 2, 0 },
    { FN(ag_round), 3.5, 4, 0 },
    { FN(ag_lgamma), 0, INFINITY, -INFINITY },
    { FN(ag_digamma), 0, -INFINITY, INFINITY },
    { FN(ag_reciprocal), 0, INFINITY, -INFINITY },
};

static void t_functions(ag_context *c)
{
    for (size_t k = 0; k < sizeof unary_rows / sizeof *unary_rows; k++)
        for (ag_dtype d = AG_F32; d <= AG_F64; d++)
            AG_SCOPE (c) {
                const unary_row *r = &unary_rows[k];
                const double *const g[] = { &r->g };
                ag_tensor *x = ag_scalar(c, r->x, .dtype = d, .requires_grad = true);
                ag_tensor *y = r->f(x);
                check_near(r->name, d, y, 0, r->y);
                check_gradients(r->name, d, y, &x, 1, g);
            }
}

/* Rows that float32 cannot hold, and second derivatives. */
static void t_functions_in_f64(ag_context *c)
{
    ag_tensor *ten = ag_scalar(c, 10, .dtype = AG_F64, .requires_grad = true), *y = ag_erfc(ten);
    const double g_erfc = -4.1976562313544167e-44, *const g[] = { &g_erfc };
    check_near("erfc", AG_F64, y, 0, 2.088487583762545e-45);
    check_gradients("erfc", AG_F64, y, &ten, 1, g);

    ag_tensor *zero = ag_scalar(c, 0, .dtype = AG_F64, .requires_grad = true);
    check_second("gelu", AG_F64, gelu(zero), zero, (double[]){ .79788456080286541 });
    /* PyTorch: NaN; the series says -pi^2 / 3 */
    check_second("sinc", AG_F64, ag_sinc(zero), zero, (double[]){ -3.2898681336964524 });
    check_second("square root", AG_F64, ag_sqrt(ag_add(zero, 4)), zero, (double[]){ -.03125 });
}

/* ---- functions of two numbers ---- */

typedef struct {
    const char *name;
    binary_fn *f;
    double a, b, y, ga, gb;
} binary_row;

static const binary_row binary_rows[] = {
    { FN(ag_logaddexp), -INFINITY, -INFINITY, -INFINITY, NAN, NAN },
    { FN(ag_logaddexp), INFINITY, INFINITY, INFINITY, NAN, NAN },
    { FN(ag_logaddexp), 1000, 0, 1000, 1, 0 },
    { FN(ag_hypot), 0, 0, 0, NAN, NAN },
    { FN(ag_maximum), 2, 2, 2, .5, .5 },
    { FN(ag_minimum), 2, 2, 2, .5, .5 },
    { FN(ag_pow), 0, 0, 1, 0, 0 },
    { FN(ag_pow), 0, .5, 0, INFINITY, 0 },
    { FN(ag_pow), 0, -1, INFINITY, -INFINITY, -INFINITY },
    { FN(ag_pow), -2, 3, -8, 12, NAN },
    { FN(ag_div), 1, 0, INFINITY, INFINITY, -INFINITY },
    { FN(ag_div), 0, 0, NAN, INFINITY, NAN },
    { FN(ag_xlogy), 0, 0, 0, 0, NAN },
    { FN(ag_fmod), 5, 3, 2, 1, -1 },
    { FN(ag_remainder), -5, 3, 1, 1, 2 },
    { FN(ag_remainder), 6, 3, 0, 1, -2 },
    { FN(ag_atan2), 0, 0, 0, 0, 0 },
};

static void t_pairs(ag_context *c)
{
    for (size_t k = 0; k < sizeof binary_rows / sizeof *binary_rows; k++)
        for (ag_dtype d = AG_F32; d <= AG_F64; d++)
            AG_SCOPE (c) {
                const binary_row *r = &binary_rows[k];
                const double *const g[] = { &r->ga, &r->gb };
                ag_tensor *in[] = { ag_scalar(c, r->a, .dtype = d, .requires_grad = true),
                                    ag_scalar(c, r->b, .dtype = d, .requires_grad = true) };
                ag_tensor *y = r->f(in[0], in[1]);
                check_near(r->name, d, y, 0, r->y);
                check_gradients(r->name, d, y, in, 2, g);
            }
}

/* ---- functions of a vector ---- */

static ag_tensor *log_softmax(ag_tensor *x) { return ag_log_softmax(x, 0); }
static ag_tensor *log_softmax_0(ag_tensor *x) { return ag_select(ag_log_softmax(x, 0), 0, 0); }
static ag_tensor *logsumexp(ag_tensor *x) { return ag_logsumexp(x); }
static ag_tensor *softmax(ag_tensor *x) { return ag_softmax(x, 0); }
static ag_tensor *amax(ag_tensor *x) { return ag_amax(x); }
static ag_tensor *prod(ag_tensor *x) { return ag_prod(x); }
static ag_tensor *var(ag_tensor *x) { return ag_var(x); }
static ag_tensor *std(ag_tensor *x) { return ag_std(x); }
static ag_tensor *layer_norm_0(ag_tensor *x) { return ag_layer_norm(x, 1, NULL, NULL, 0); }
static ag_tensor *layer_norm(ag_tensor *x) { return ag_layer_norm(x, 1, NULL, NULL, 1e-5); }
static ag_tensor *expanded(ag_tensor *x) { return ag_sum(ag_expand(x, AG_SHAPE(3, 2))); }
static ag_tensor *twice_the_first(ag_tensor *x)
{
    return ag_sum(ag_index_select(x, 0,
                                  ag_array(ag_context_of(x), AG_VALUES(0, 0, 1), AG_SHAPE(3),
                                           .dtype = AG_I64)));
}
static ag_tensor *class_loss(ag_tensor *x, int64_t class, double smoothing)
{
    ag_tensor *target = ag_scalar(ag_context_of(x), (double)class, .dtype = AG_I64);
    return ag_cross_entropy(x, target, .label_smoothing = smoothing);
}
static ag_tensor *loss_of_0(ag_tensor *x) { return class_loss(x, 0, 0); }
static ag_tensor *loss_of_1(ag_tensor *x) { return class_loss(x, 1, 0); }
static ag_tensor *loss_smoothed(ag_tensor *x) { return class_loss(x, 0, .1); }
static ag_tensor *loss_ignored(ag_tensor *x) { return class_loss(x, -100, 0); }

typedef struct {
    const char *name;
    unary_fn *f;
    int n;
    double x[3], y, g[3]; /* y: the first element */
} vector_row;

static const vector_row vector_rows[] = {
    { FN(log_softmax_0), 2, { 1000, 0 }, 0, { 0, 0 } },
    { FN(logsumexp), 2, { 1000, 1000 }, 1000.6931471805599, { .5, .5 } }, /* PyTorch loses 5e-14 */
    { FN(logsumexp), 2, { -INFINITY, -INFINITY }, -INFINITY, { 0, 0 } },  /* PyTorch: NaN */
    { FN(logsumexp), 2, { INFINITY, 0 }, INFINITY, { NAN, 0 } },
    { FN(softmax), 2, { -INFINITY, -INFINITY }, NAN, { NAN, NAN } },
    { FN(loss_of_0), 2, { -1e4, 1e4 }, 20000, { -1, 1 } },
    { FN(loss_of_0), 2, { 0, -INFINITY }, 0, { 0, 0 } },
    { FN(loss_of_1), 2, { 0, -INFINITY }, INFINITY, { 1, -1 } },
    { FN(loss_smoothed), 2, { 0, -INFINITY }, INFINITY, { .05, -.05 } },
    { FN(loss_ignored), 2, { 1, 2 }, NAN, { 0, 0 } },
    { FN(amax), 3, { 2, 2, 1 }, 2, { .5, .5, 0 } },
    { FN(amax), 2, { 1, NAN }, NAN, { 0, 1 } },
    { FN(prod), 3, { 2, 0, 3 }, 0, { 0, 6, 0 } },
    { FN(prod), 3, { 2, 0, 0 }, 0, { 0, 0, 0 } },
    { FN(var), 1, { 2 }, NAN, { NAN } },
    { FN(std), 1, { 2 }, NAN, { NAN } },
    { FN(layer_norm_0), 2, { 3, 3 }, NAN, { NAN, NAN } },
    { FN(layer_norm), 2, { 3, 3 }, 0, { 0, 0 } },
    { FN(twice_the_first), 2, { 3, 5 }, 11, { 2, 1 } },
    { FN(expanded), 2, { 1, 2 }, 9, { 3, 3 } },
};

static ag_tensor *vector(ag_context *c, const double *x, int n, ag_dtype d)
{
    const ag_values values = { x, n };
    return ag_array(c, values, AG_SHAPE(n), .dtype = d, .requires_grad = true);
}

static void t_vectors(ag_context *c)
{
    for (size_t k = 0; k < sizeof vector_rows / sizeof *vector_rows; k++)
        for (ag_dtype d = AG_F32; d <= AG_F64; d++)
            AG_SCOPE (c) {
                const vector_row *r = &vector_rows[k];
                const double *const g[] = { r->g };
                ag_tensor *x = vector(c, r->x, r->n, d), *y = r->f(x);
                check_near(r->name, d, y, 0, r->y);
                check_gradients(r->name, d, y, &x, 1, g);
            }
}

static void t_products_with_zeros(ag_context *c)
{
    ag_tensor *x = vector(c, (double[]){ 2, 0, 3 }, 3, AG_F64);
    check_second("prod", AG_F64, prod(x), x, (double[]){ 3, 5, 2 });
    ag_tensor *z = vector(c, (double[]){ 2, 0, 0 }, 3, AG_F64);
    check_second("prod", AG_F64, prod(z), z, (double[]){ 0, 2, 2 });
}

/* All elements of a long row of equal logits have exactly their share. */
static void t_shares_are_exact(ag_context *c)
{
    ag_tensor *x = ag_full(c, AG_SHAPE(4), 1000, .dtype = AG_F64, .requires_grad = true);
    ag_tensor *y = ag_logsumexp(x), *g = NULL;
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(4), AG_VALUES(.25, .25, .25, .25), 0);
    x = ag_full(c, AG_SHAPE(4), -1e5, .dtype = AG_F64, .requires_grad = true);
    CHECK_VALUES(log_softmax(x), AG_SHAPE(4),
                 AG_VALUES(-1.3862943611198906, -1.3862943611198906, -1.3862943611198906,
                           -1.3862943611198906),
                 1e-15);
}

static void t_nothing_to_reduce(ag_context *c)
{
    ag_tensor *x = ag_empty(c, AG_SHAPE(0), .requires_grad = true), *y = ag_logsumexp(x), *g = NULL;
    CHECK_CLOSE(ag_item(y), -INFINITY, 0);
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    CHECK_INT(ag_numel(g), 0);
    CHECK_CLOSE(ag_item(ag_sum(x)), 0, 0);
    CHECK_CLOSE(ag_item(ag_prod(x)), 1, 0);
    CHECK_CLOSE(ag_item(ag_mean(x)), NAN, 0);
}

static void t_ignored_targets(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true), *g = NULL;
    ag_tensor *target = ag_full(c, AG_SHAPE(2), -100, .dtype = AG_I64);
    ag_tensor *loss = ag_cross_entropy(x, target);
    CHECK_CLOSE(ag_item(loss), NAN, 0);
    CHECK(ag_grad(&loss, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(2, 3), AG_VALUES(0, 0, 0, 0, 0, 0), 0);
}

/* ---- long sums, narrow types ---- */

static void t_long_sums(ag_context *c)
{
    if (harness_faults())
        return; /* 10^7 elements, and few allocations */
    ag_tensor *x = ag_full(c, AG_SHAPE(10000000), .1);
    CHECK_CLOSE(ag_item(ag_sum(x)), 1e6, 1e-6); /* a plain loop gives 1087937 */
    CHECK_CLOSE(ag_item(ag_mean(x)), .1, 1e-6);
    CHECK_CLOSE(ag_item(ag_select(ag_cumsum(x, 0), 0, -1)), 1e6, 1e-6);
    CHECK_CLOSE(ag_item(ag_sum(x, .dims = AG_DIMS(0))), 1e6, 1e-6);
    ag_tensor *columns = ag_sum(ag_reshape(x, AG_SHAPE(-1, 2)), .dims = AG_DIMS(0));
    CHECK_VALUES(columns, AG_SHAPE(2), AG_VALUES(5e5, 5e5), 1e-6);
}

static void t_half_sums(ag_context *c)
{
    ag_tensor *ones = ag_ones(c, AG_SHAPE(4096), .dtype = AG_F16);
    CHECK_CLOSE(ag_item(ag_sum(ones)), 4096, 0); /* a half accumulator stops at 2048 */
    CHECK_CLOSE(ag_item(ag_select(ag_cumsum(ones, 0), 0, -1)), 4096, 0);
    CHECK_CLOSE(ag_item(ag_sum(ag_ones(c, AG_SHAPE(4096), .dtype = AG_BF16))), 4096, 0);
    ag_tensor *many = ag_ones(c, AG_SHAPE(100000), .dtype = AG_F16);
    CHECK_CLOSE(ag_item(ag_mean(many)), 1, 0); /* the sum would overflow */
    CHECK_CLOSE(ag_item(ag_sum(many)), INFINITY, 0);
}

static void t_half_rounding(ag_context *c)
{
    CHECK_CLOSE(ag_item(ag_add(ag_scalar(c, 256, .dtype = AG_BF16), 1)), 256, 0); /* half to even */
    CHECK_CLOSE(ag_item(ag_add(ag_scalar(c, 258, .dtype = AG_BF16), 1)), 260, 0);
    CHECK_CLOSE(ag_item(ag_add(ag_scalar(c, 65504, .dtype = AG_F16), 16)), INFINITY, 0);
    CHECK_CLOSE(ag_item(ag_add(ag_scalar(c, 65504, .dtype = AG_F16), 15)), 65504, 0);
    CHECK_CLOSE(ag_item(ag_add(ag_scalar(c, 2048, .dtype = AG_F16), 1)), 2048, 0);
    CHECK_CLOSE(ag_item(ag_add(ag_scalar(c, 2050, .dtype = AG_F16), 1)), 2052, 0);
}

static void t_integer_sums(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(2147483647, 1), AG_SHAPE(2), .dtype = AG_I32);
    ag_tensor *sum = ag_sum(x);
    CHECK_INT(ag_dtype_of(sum), AG_I64);
    CHECK_CLOSE(ag_item(sum), 2147483648.0, 0);
    CHECK_CLOSE(ag_item(ag_select(ag_cumsum(x, 0), 0, 1)), 2147483648.0, 0);
    CHECK_CLOSE(ag_item(ag_add(ag_select(x, 0, 0), ag_select(x, 0, 1))), -2147483648.0, 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_functions), TEST(t_functions_in_f64), TEST(t_pairs), TEST(t_vectors),
               TEST(t_products_with_zeros), TEST(t_shares_are_exact), TEST(t_nothing_to_reduce),
               TEST(t_ignored_targets), TEST(t_long_sums), TEST(t_half_sums), TEST(t_half_rounding),
               TEST(t_integer_sums));
}
