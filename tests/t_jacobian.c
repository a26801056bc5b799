/* Jacobians and Hessians against closed forms, in both modes, and as parts of graphs. */
#include "harness.h"

/* y = (x0 x1, sin x0, x1^3) */
static bool three(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    ag_tensor *a = ag_select(in[0], 0, 0), *b = ag_select(in[0], 0, 1);
    ag_tensor *parts[] = { ag_mul(a, b), ag_sin(a), ag_pow(b, 3) };
    out[0] = parts[0] && parts[1] && parts[2] ? ag_stack(parts, 3, 0) : NULL;
    return out[0] != NULL;
}

/* y = x0^2 x1 + e^x1 */
static bool one(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    ag_tensor *a = ag_select(in[0], 0, 0), *b = ag_select(in[0], 0, 1);
    out[0] = ag_add(ag_mul(ag_mul(a, a), b), ag_exp(b));
    return out[0] != NULL;
}

static bool constant(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_ones(ag_context_of(in[0]), AG_SHAPE(3, 1), .dtype = AG_F64);
    return out[0] != NULL;
}

static bool matrix(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_matmul(in[0], ag_transpose(in[0], 0, 1));
    return out[0] != NULL;
}

static ag_tensor *point(ag_context *c)
{
    return ag_array(c, AG_VALUES(.5, 2), AG_SHAPE(2), .dtype = AG_F64);
}

static void t_jacobian(ag_context *c)
{
    ag_tensor *x = point(c);
    CHECK(x);
    for (int forward = 0; forward < 2; forward++) {
        ag_tensor *j = ag_jacobian(three, x, NULL, .forward_mode = forward);
        CHECK_VALUES(j, AG_SHAPE(3, 2), AG_VALUES(2, .5, cos(.5), 0, 0, 12), 1e-12);
        CHECK(!ag_requires_grad(j));
        CHECK_VALUES(ag_jacobian(constant, x, NULL, .forward_mode = forward), AG_SHAPE(3, 1, 2),
                     AG_VALUES(0, 0, 0, 0, 0, 0), 0);
    }
    CHECK(!ag_requires_grad(x));
}

static void t_both_modes_agree_on_matrices(ag_context *c)
{
    ag_tensor *x = ag_randn(c, AG_SHAPE(2, 3), .dtype = AG_F64);
    ag_tensor *r = ag_jacobian(matrix, x, NULL);
    ag_tensor *f = ag_jacobian(matrix, x, NULL, .forward_mode = true);
    CHECK(r && f);
    CHECK_INT(ag_ndim(r), 4);
    CHECK_INT(ag_numel(r), 24);
    CHECK_CLOSE(ag_item(ag_amax(ag_abs(ag_sub(r, f)))), 0, 1e-12);
    CHECK_CLOSE(ag_at(r, 0, 1, 1, 2), ag_at(x, 0, 2), 1e-12);
}

static void t_no_elements(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(0, 3), .dtype = AG_F64);
    CHECK(x);
    for (int forward = 0; forward < 2; forward++) {
        ag_tensor *j = ag_jacobian(matrix, x, NULL, .forward_mode = forward);
        CHECK(j);
        CHECK_INT(ag_ndim(j), 4);
        CHECK_INT(ag_numel(j), 0);
    }
}

/* The Jacobian of a gradient's function can be differentiated where x wants a gradient. */
static void t_a_jacobian_is_differentiable(ag_context *c)
{
    for (int forward = 0; forward < 2; forward++) {
        ag_tensor *x = ag_requires_grad_(point(c), true), *g = NULL;
        ag_tensor *s = ag_sum(ag_jacobian(three, x, NULL, .forward_mode = forward));
        CHECK(s && ag_grad(&s, 1, &x, 1, &g));
        CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(1 - sin(.5), 1 + 12), 1e-12);
    }
}

static void t_hessian(ag_context *c)
{
    ag_tensor *x = point(c), *v = ag_array(c, AG_VALUES(1, -1), AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *value = NULL;
    CHECK(x && v);
    CHECK_VALUES(ag_hessian(one, x, NULL), AG_SHAPE(2, 2), AG_VALUES(4, 1, 1, exp(2)), 1e-12);
    CHECK_VALUES(ag_hvp(one, x, v, &value, NULL), AG_SHAPE(2), AG_VALUES(3, 1 - exp(2)), 1e-12);
    CHECK_CLOSE(ag_item(value), .5 + exp(2), 1e-12);
    CHECK(!ag_requires_grad(value));
    CHECK_VALUES(ag_vhp(one, x, v, &value, NULL), AG_SHAPE(2), AG_VALUES(3, 1 - exp(2)), 1e-12);
    CHECK_CLOSE(ag_item(value), .5 + exp(2), 1e-12);
    CHECK(ag_vhp(one, x, v, NULL, NULL) && ag_hvp(one, x, v, NULL, NULL));
}

static void t_third_derivative(ag_context *c)
{
    ag_tensor *x = ag_requires_grad_(point(c), true), *g = NULL;
    ag_tensor *h = ag_hessian(one, x, NULL), *s = h ? ag_sum(h) : NULL;
    CHECK(s && ag_grad(&s, 1, &x, 1, &g)); /* 2 x1 + 4 x0 + e^x1 */
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(4, 2 + exp(2)), 1e-12);
}

static void t_what_is_refused(ag_context *c)
{
    ag_tensor *x = point(c), *i = ag_ones(c, AG_SHAPE(2), .dtype = AG_I64), *value = x;
    ag_tensor *v = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64);
    CHECK(x && i && v);
    CHECK_ERROR(ag_hessian(three, x, NULL), AG_ERR_SHAPE,
                "ag_hessian: The Tensor returned by the function given to hessian should contain a "
                "single element");
    CHECK_ERROR(ag_jacobian(three, i, NULL), AG_ERR_DTYPE, "ag_jacobian: x has dtype int64");
    CHECK_ERROR(ag_hvp(one, x, v, &value, NULL), AG_ERR_SHAPE,
                "v has invalid size: should be [2] but got [3].");
    CHECK_ERROR(ag_vhp(one, x, v, &value, NULL), AG_ERR_SHAPE,
                "v has invalid size: should be [2] but got [3].");
    CHECK(value == x);
    CHECK(!ag_jacobian(three, NULL, NULL) && !ag_hvp(one, x, NULL, NULL, NULL));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_jacobian), TEST(t_both_modes_agree_on_matrices), TEST(t_no_elements),
               TEST(t_a_jacobian_is_differentiable), TEST(t_hessian), TEST(t_third_derivative),
               TEST(t_what_is_refused));
}
