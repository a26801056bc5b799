/*
 * Optimisers against numbers from PyTorch, initialisers against their formulas.
 *
 * The tables hold the parameter after each of five steps of torch.optim, in float64, from
 * [1, -2, 0.5] with the gradient p^2 - 1 + (step + 1) / 4; float32 agrees to its accuracy.
 */
#include "harness.h"

enum { STEPS = 5 };
typedef double trace[STEPS][3];

static const trace sgd_plain = {
    { 0.97499999999999998, -2.3250000000000002, 0.55000000000000004 },
    { 0.92993749999999997, -2.8155625000000004, 0.56975000000000009 },
    { 0.86845912460937502, -3.5833017191406258, 0.56228849375000012 },
    { 0.79303699949764683, -4.867306840180242, 0.53067165872963573 },
    { 0.70514623124042375, -7.2613744278267793, 0.47751041779174941 },
};
/* momentum 0.9, dampening 0.5 */
static const trace sgd_dampening = {
    { 0.97499999999999998, -2.3250000000000002, 0.55000000000000004 },
    { 0.92996875000000001, -2.8627812500000003, 0.60487500000000005 },
    { 0.8586985312011719, -3.7440601992675786, 0.64846881171875004 },
    { 0.75768717590787404, -5.2381105923953779, 0.66667765227702869 },
    { 0.62557246331714356, -7.9671460751186309, 0.64834265417719894 },
};
/* momentum 0.9, weight decay 0.01 */
static const trace sgd_momentum = {
    { 0.97399999999999998, -2.323, 0.54949999999999999 },
    { 0.90475839999999996, -3.1010098999999998, 0.61330547499999999 },
    { 0.78467742536294394, -4.7347440400898009, 0.65750273645850243 },
    { 0.61424800457680873, -8.4421501346471217, 0.65339178418965427 },
    { 0.39751721675205109, -18.922363359206305, 0.58134645299884724 },
};
/* the same with Nesterov's momentum */
static const trace sgd_nesterov = {
    { 0.9506, -2.6137000000000001, 0.59404999999999997 },
    { 0.85104219159999994, -4.0733352311000006, 0.66096617852499995 },
    { 0.70689452201812708, -7.9167828219858052, 0.67172363974405347 },
    { 0.52432603644529185, -21.802059924279412, 0.61181241235392536 },
    { 0.30489299232970013, -118.98388520343865, 0.47932381242933453 },
};
static const trace adam_plain = {
    { 0.9500000019999999, -2.049999999846154, 0.54999999899999996 },
    { 0.90071863351460058, -2.1000637254467511, 0.59483290247551424 },
    { 0.85174117235036884, -2.150238535485804, 0.62279665238779969 },
    { 0.80278168053247811, -2.2005711260644678, 0.62466719009161809 },
    { 0.75364873952044564, -2.2511058606759993, 0.60696823550279111 },
};
/* betas 0.8 and 0.95, eps 1e-3, weight decay 0.1 */
static const trace adam_decay = {
    { 0.95014245014245013, -2.0499836119305144, 0.54988913525498895 },
    { 0.9002630160717594, -2.1001433445223947, 0.59203447605674342 },
    { 0.85013278863580366, -2.1505804640594355, 0.6095575769945375 },
    { 0.79956443120734966, -2.2013814772012457, 0.59733731438219251 },
    { 0.74842276904454019, -2.2526176161790041, 0.56758457141163576 },
};

static void free_optimizer(void *o) { ag_optimizer_free(o); }

/* o, which goes with the test. */
static ag_optimizer *held(ag_optimizer *o)
{
    CHECK(o);
    harness_defer(free_optimizer, o);
    return o;
}

/* Sets the gradient of a parameter with three elements by the rule above. */
static void set_test_grad(ag_tensor *p, int step)
{
    ag_context *c = ag_context_of(p);
    double g[3];
    for (int i = 0; i < 3; i++) {
        const double v = ag_at(p, i);
        g[i] = v * v - 1 + (step + 1) * 0.25;
    }
    ag_tensor *grad = ag_array(c, ((ag_values){ g, 3 }), AG_SHAPE(3), .dtype = ag_dtype_of(p));
    CHECK(ag_set_grad(p, grad));
}

static void assert_trace(ag_optimizer *o, ag_tensor *p, const trace want)
{
    const double tolerance = ag_dtype_of(p) == AG_F32 ? 3e-6 : 1e-13;
    held(o);
    for (int s = 0; s < STEPS; s++) {
        ag_optimizer_zero_grad(o);
        CHECK(!ag_grad_of(p));
        set_test_grad(p, s);
        const int64_t version = ag_version(p);
        CHECK(ag_step(o));
        CHECK(ag_version(p) > version);
        for (int i = 0; i < 3; i++)
            CHECK(fabs(ag_at(p, i) - want[s][i]) <= tolerance * fmax(1, fabs(want[s][i])));
    }
}

static ag_tensor *test_param(ag_context *c, ag_dtype dtype)
{
    return ag_array(c, AG_VALUES(1, -2, 0.5), AG_SHAPE(3), .dtype = dtype, .requires_grad = true);
}

/* The same values in every second element of a longer tensor. */
static ag_tensor *test_param_strided(ag_context *c, ag_dtype dtype)
{
    ag_tensor *base = ag_array(c, AG_VALUES(1, 7, -2, 8, 0.5, 9), AG_SHAPE(3, 2), .dtype = dtype);
    return ag_requires_grad_(ag_select(base, 1, 0), true);
}

typedef ag_tensor *(*param_maker)(ag_context *c, ag_dtype dtype);
static const param_maker makers[] = { test_param, test_param_strided };

static void t_optimizers_follow_torch(ag_context *c)
{
    for (int k = 0; k < 4; k++) {
        const ag_dtype dtype = k % 2 ? AG_F32 : AG_F64;
        const param_maker make = makers[k / 2];
        ag_tensor *p = make(c, dtype);
        assert_trace(ag_sgd(&p, 1, .lr = 0.1), p, sgd_plain);
        p = make(c, dtype);
        assert_trace(ag_sgd(&p, 1, .lr = 0.1, .momentum = 0.9, .dampening = 0.5), p, sgd_dampening);
        p = make(c, dtype);
        assert_trace(ag_sgd(&p, 1, .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01), p,
                     sgd_momentum);
        p = make(c, dtype);
        assert_trace(ag_sgd(&p, 1, .lr = 0.1, .momentum = 0.9, .weight_decay = 0.01,
                            .nesterov = true),
                     p, sgd_nesterov);
        p = make(c, dtype);
        assert_trace(ag_adam(&p, 1, .lr = 0.05), p, adam_plain);
        p = make(c, dtype);
        assert_trace(ag_adam(&p, 1, .lr = 0.05, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-3,
                             .weight_decay = 0.1),
                     p, adam_decay);
    }
}

static void t_neighbours_of_a_strided_parameter_stay(ag_context *c)
{
    ag_tensor *base = ag_array(c, AG_VALUES(1, 7, -2, 8, 0.5, 9), AG_SHAPE(3, 2));
    ag_tensor *p = ag_requires_grad_(ag_select(base, 1, 0), true);
    ag_optimizer *o = held(ag_sgd(&p, 1, .lr = 1));
    set_test_grad(p, 0);
    CHECK(ag_step(o));
    for (int i = 0; i < 3; i++)
        CHECK(ag_at(base, i, 1) == 7 + i);
}

static void t_transposed_gradients(ag_context *c)
{
    ag_tensor *p = ag_zeros(c, AG_SHAPE(2, 3), .requires_grad = true);
    ag_tensor *g = ag_t(ag_array(c, AG_VALUES(1, 2, 3, 4, 5, 6), AG_SHAPE(3, 2)));
    ag_optimizer *o = held(ag_sgd(&p, 1, .lr = 1));
    CHECK(ag_set_grad(p, g));
    CHECK(ag_step(o));
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            CHECK(ag_at(p, i, j) == -(1 + i + 2 * j));
}

static void t_no_gradient_no_step(ag_context *c)
{
    ag_tensor *p[] = { test_param(c, AG_F32), test_param(c, AG_F32),
                       ag_zeros(c, AG_SHAPE(0, 2), .requires_grad = true) };
    ag_optimizer *o = held(ag_sgd(p, 3, .lr = 0.1, .momentum = 0.9, .dampening = 0.5));
    set_test_grad(p[1], 0);
    const int64_t version = ag_version(p[0]);
    CHECK(ag_step(o));
    CHECK(ag_at(p[0], 0) == 1 && ag_version(p[0]) == version);
    CHECK(ag_at(p[1], 0) != 1);

    /* Dampening spares the first step of each parameter, whenever that is. */
    ag_optimizer_zero_grad(o);
    set_test_grad(p[0], 0);
    CHECK(ag_step(o));
    CHECK(fabs(ag_at(p[0], 0) - sgd_dampening[0][0]) < 1e-6);

    ag_optimizer_set_lr(o, 0);
    const double before = ag_at(p[0], 1);
    CHECK(ag_step(o));
    CHECK(ag_at(p[0], 1) == before);
}

static void t_parameters_outlive_their_scope(ag_context *c)
{
    ag_scope *s = ag_scope_begin(c);
    ag_tensor *p = test_param(c, AG_F32);
    ag_optimizer *o = held(ag_adam(&p, 1));
    ag_scope_end(s);
    set_test_grad(p, 0);
    CHECK(ag_step(o));
    CHECK(fabs(ag_at(p, 0) - 0.999) < 1e-6);
}

static void t_bad_options(ag_context *c)
{
    ag_tensor *p = test_param(c, AG_F32);
    const char *const nesterov = "Nesterov momentum requires a momentum and zero dampening";

    CHECK_ERROR(ag_sgd(&p, 1, .lr = -0.5), AG_ERR_VALUE, "Invalid learning rate: -0.5");
    CHECK_ERROR(ag_sgd(&p, 1, .momentum = -0.5), AG_ERR_VALUE, "Invalid momentum value: -0.5");
    CHECK_ERROR(ag_sgd(&p, 1, .weight_decay = -0.5), AG_ERR_VALUE,
                "Invalid weight_decay value: -0.5");
    CHECK_ERROR(ag_sgd(&p, 1, .nesterov = true), AG_ERR_VALUE, nesterov);
    CHECK_ERROR(ag_sgd(&p, 1, .momentum = 0.9, .dampening = 0.5, .nesterov = true), AG_ERR_VALUE,
                nesterov);
    CHECK_ERROR(ag_adam(&p, 1, .lr = -0.5), AG_ERR_VALUE, "Invalid learning rate: -0.5");
    CHECK_ERROR(ag_adam(&p, 1, .eps = -0.5), AG_ERR_VALUE, "Invalid epsilon value: -0.5");
    CHECK_ERROR(ag_adam(&p, 1, .beta1 = 1.5), AG_ERR_VALUE,
                "Invalid beta parameter at index 0: 1.5");
    CHECK_ERROR(ag_adam(&p, 1, .beta2 = -0.5), AG_ERR_VALUE,
                "Invalid beta parameter at index 1: -0.5");

    ag_optimizer *o = held(ag_sgd(&p, 1, .lr = 0.1));
    ag_optimizer_set_lr(o, -0.5);
    CHECK_ERROR(NULL, AG_ERR_VALUE, "Invalid learning rate: -0.5");
}

static void t_bad_parameters(ag_context *c)
{
    ag_tensor *p[] = { test_param(c, AG_F32), NULL };

    CHECK_ERROR(ag_sgd(p, 2), AG_ERR_VALUE, "optimizer: parameter 1 is NULL");
    p[1] = ag_mul(p[0], 2);
    CHECK_ERROR(ag_sgd(p, 2), AG_ERR_VALUE, "can't optimize a non-leaf Tensor (parameter 1)");
    p[1] = p[0];
    CHECK_ERROR(ag_adam(p, 2), AG_ERR_VALUE, "optimizer: parameters 0 and 1 are the same");
    CHECK(!ag_sgd(NULL, 0));
    CHECK(!ag_error(c));
    CHECK(!ag_step(NULL));
    ag_optimizer_zero_grad(NULL);
    ag_optimizer_set_lr(NULL, 1);
    ag_optimizer_free(NULL);
}

static void t_construction_survives_lack_of_memory(ag_context *c)
{
    ag_tensor *p[] = { test_param(c, AG_F32), test_param(c, AG_F64) };
    ag_memory_statistics before, after;
    ag_optimizer *o = NULL;
    int failures = 0;

    CHECK(p[0] && p[1]);
    ag_memory_stats(c, &before);
    for (int n = 1; !o && n < 20; n++) {
        ag_memory_fail_at(c, n, false);
        o = ag_adam(p, 2);
        ag_memory_fail_at(c, 0, false);
        if (o)
            break;
        failures++;
        CHECK_INT(ag_error(c)->code, AG_ERR_MEMORY);
        ag_error_clear(c);
        ag_memory_stats(c, &after);
        CHECK(after.current_bytes == before.current_bytes);
    }
    held(o);
    CHECK(failures >= 3);

    /* A step asks for nothing. */
    set_test_grad(p[0], 0);
    ag_memory_fail_at(c, 1, true);
    CHECK(ag_step(o));
    ag_memory_fail_at(c, 0, false);
}

/* ---- initialisers ---------------------------------------------------------------------------- */

typedef struct {
    double mean, std, min, max;
} moments;

static moments moments_of(ag_tensor *x)
{
    const int64_t rows = ag_size(x, 0), columns = ag_size(x, 1);
    const double n = (double)(rows * columns);
    moments m = { .min = INFINITY, .max = -INFINITY };
    double squares = 0;
    for (int64_t i = 0; i < rows; i++) {
        for (int64_t j = 0; j < columns; j++) {
            const double v = ag_at(x, i, j);
            m.mean += v / n;
            squares += v * v / n;
            m.min = fmin(m.min, v);
            m.max = fmax(m.max, v);
        }
    }
    m.std = sqrt(squares - m.mean * m.mean);
    return m;
}

/* 40,000 samples: both moments lie within 5 standard errors or so of the law's. */
static void assert_law(ag_tensor *x, double mean, double std, double bound)
{
    CHECK(x);
    const moments m = moments_of(x);
    CHECK(fabs(m.mean - mean) < 0.03 * std);
    CHECK(fabs(m.std - std) < 0.03 * std);
    CHECK(m.min >= mean - bound && m.max <= mean + bound);
}

static void t_initialisers_follow_their_formulas(ag_context *c)
{
    const ag_dtype dtypes[] = { AG_F32, AG_F64 };
    for (int k = 0; k < 2; k++) {
        ag_manual_seed(c, 7);
        ag_tensor *x = ag_empty(c, AG_SHAPE(100, 400), .dtype = dtypes[k], .requires_grad = true);
        const int64_t version = ag_version(x);
        CHECK(ag_uniform_(x, 2, 4) == x);
        CHECK(ag_version(x) > version && ag_is_leaf(x));
        assert_law(x, 3, 1 / sqrt(3), 1);
        assert_law(ag_normal_(x, 5, 0.5), 5, 0.5, INFINITY);
        /* gain = sqrt(2 / (1 + slope^2)), fan_in = 400, fan_out = 100 */
        const double he = sqrt(2.0 / 400), leaky = sqrt(2 / 1.25 / 400), glorot = sqrt(2.0 / 500);
        assert_law(ag_kaiming_uniform_(x, 0), 0, he, he * sqrt(3) * (1 + 1e-6));
        assert_law(ag_kaiming_uniform_(x, 0.5), 0, leaky, leaky * sqrt(3) * (1 + 1e-6));
        assert_law(ag_kaiming_normal_(x, 0), 0, he, INFINITY);
        assert_law(ag_xavier_uniform_(x, 1), 0, glorot, glorot * sqrt(3) * (1 + 1e-6));
        assert_law(ag_xavier_normal_(x, 2), 0, 2 * glorot, INFINITY);
        /* Strided elements are filled like dense ones; fans are those of the view. */
        assert_law(ag_kaiming_normal_(ag_t(ag_detach(x)), 0), 0, sqrt(2.0 / 100), INFINITY);
    }
}

static void t_same_seed_same_numbers_whatever_the_strides(ag_context *c)
{
    ag_tensor *dense = ag_empty(c, AG_SHAPE(3, 4)), *turned = ag_t(ag_zeros(c, AG_SHAPE(4, 3)));
    ag_manual_seed(c, 3);
    ag_uniform_(dense, -1, 1);
    ag_manual_seed(c, 3);
    ag_uniform_(turned, -1, 1);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 4; j++)
            CHECK(ag_at(dense, i, j) == ag_at(turned, i, j));
}

static void t_fans_count_the_receptive_field(ag_context *c)
{
    ag_tensor *x = ag_empty(c, AG_SHAPE(16, 4, 5, 5));
    CHECK(ag_xavier_uniform_(x, 1));
    /* fan_in = 100, fan_out = 400 */
    const double bound = sqrt(6.0 / 500);
    double largest = 0;
    const float *v = ag_data(x);
    for (int64_t i = 0; i < ag_numel(x); i++)
        largest = fmax(largest, fabs((double)v[i]));
    CHECK(largest <= bound * (1 + 1e-6) && largest > 0.95 * bound);
}

static void t_filling_asks_for_no_memory(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(3, 4), .requires_grad = true);
    CHECK(x);
    ag_memory_fail_at(c, 1, true);
    const bool filled = ag_uniform_(x, 0, 1) && ag_normal_(x, 0, 1) && ag_kaiming_uniform_(x, 0) &&
                        ag_kaiming_normal_(x, 0) && ag_xavier_uniform_(x, 1) &&
                        ag_xavier_normal_(x, 1);
    ag_memory_fail_at(c, 0, false);
    CHECK(filled);
}

static void t_bad_initialisers(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(3)), *i = ag_ones(c, AG_SHAPE(3, 3), .dtype = AG_I64);
    const char *const fans = "Fan in and fan out can not be computed for tensor with fewer than 2 "
                             "dimensions (it has 1)";

    CHECK_ERROR(ag_uniform_(x, 3, 1), AG_ERR_VALUE,
                "uniform_ expects to return a [from, to) range, but found from=3 > to=1");
    CHECK_ERROR(ag_normal_(x, 0, -1), AG_ERR_VALUE, "normal expects std >= 0.0, but found std -1");
    CHECK_ERROR(ag_kaiming_uniform_(x, 0), AG_ERR_SHAPE, fans);
    CHECK_ERROR(ag_kaiming_normal_(x, 0), AG_ERR_SHAPE, fans);
    CHECK_ERROR(ag_xavier_uniform_(x, 1), AG_ERR_SHAPE, fans);
    CHECK_ERROR(ag_xavier_normal_(x, 1), AG_ERR_SHAPE, fans);
    CHECK_ERROR(ag_uniform_(i, 0, 1), AG_ERR_DTYPE,
                "uniform_: expected float32 or float64, got int64");
    CHECK_ERROR(ag_xavier_normal_(i, 1), AG_ERR_DTYPE,
                "xavier_normal_: expected float32 or float64, got int64");
    CHECK(ag_at(x, 0) == 1 && ag_at(i, 0, 0) == 1);
    CHECK(!ag_uniform_(NULL, 0, 1));
    CHECK(!ag_kaiming_normal_(NULL, 0));
    CHECK(!ag_error(c));
    CHECK(ag_kaiming_uniform_(ag_zeros(c, AG_SHAPE(0, 4)), 0));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_optimizers_follow_torch), TEST(t_neighbours_of_a_strided_parameter_stay),
               TEST(t_transposed_gradients), TEST(t_no_gradient_no_step),
               TEST(t_parameters_outlive_their_scope), TEST(t_bad_options), TEST(t_bad_parameters),
               TEST(t_construction_survives_lack_of_memory),
               TEST(t_initialisers_follow_their_formulas),
               TEST(t_same_seed_same_numbers_whatever_the_strides),
               TEST(t_fans_count_the_receptive_field), TEST(t_filling_asks_for_no_memory),
               TEST(t_bad_initialisers));
}
