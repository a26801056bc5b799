/* What PyTorch's own tests say of derivatives at their edges, told again for this library: zeros in
 * products, equal elements, powers of zero, norms of nothing, cotangents that repeat memory, indices
 * that repeat. t_numerics.c has the values, golden/ the usual points. */
#include "harness.h"

static ag_tensor *leaf(ag_context *c, ag_values v)
{
    return ag_array(c, v, AG_SHAPE(v.n), .dtype = AG_F64, .requires_grad = true);
}
static ag_tensor *matrix(ag_context *c, int n, int m, ag_values v)
{
    return ag_array(c, v, AG_SHAPE(n, m), .dtype = AG_F64, .requires_grad = true);
}
/* sum of y[i] (i + 1), differentiated by x. */
static ag_tensor *derivative(ag_tensor *y, ag_tensor *x)
{
    ag_tensor *flat = y ? ag_reshape(y, AG_SHAPE(-1)) : NULL, *g;
    ag_tensor *w =
        flat ? ag_arange(ag_context_of(y), 1, (double)ag_numel(flat) + 1, 1, .dtype = AG_F64)
             : NULL;
    ag_tensor *s = w ? ag_sum(ag_mul(flat, w)) : NULL;
    return s && ag_grad(&s, 1, &x, 1, &g) ? g : NULL;
}
static ag_tensor *indices(ag_context *c, ag_values v, ag_ints shape)
{
    return ag_array(c, v, shape, .dtype = AG_I64);
}

/* ---- zeros ---- */

static void t_products_with_zeros(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_VALUES(2, 0, 3)), *y = leaf(c, AG_VALUES(2, 0, 0));
    CHECK_VALUES(derivative(ag_prod(x), x), AG_SHAPE(3), AG_VALUES(0, 6, 0), 0);
    CHECK_VALUES(derivative(ag_prod(y), y), AG_SHAPE(3), AG_VALUES(0, 0, 0), 0);
    ag_tensor *m = matrix(c, 2, 3, AG_VALUES(0, 2, 3, 4, 0, 0));
    CHECK_VALUES(derivative(ag_prod(m, .dims = AG_DIMS(1)), m), AG_SHAPE(2, 3),
                 AG_VALUES(6, 0, 0, 0, 0, 0), 0);
    CHECK_VALUES(derivative(ag_prod(m, .dims = AG_DIMS(0), .keepdim = true), m), AG_SHAPE(2, 3),
                 AG_VALUES(4, 0, 0, 0, 4, 9), 0);
}

static void t_second_derivatives_of_products_with_zeros(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_VALUES(2, 0, 0)), *y = ag_prod(x), *g, *gg;
    CHECK(y && ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
    ag_tensor *first = ag_select(g, 0, 1);
    CHECK(first && ag_grad(&first, 1, &x, 1, &gg));
    CHECK_VALUES(gg, AG_SHAPE(3), AG_VALUES(0, 0, 2), 0); /* of x0 x2 */
}

static void t_running_products_with_zeros(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_VALUES(2, 0, 3, 4)), *y = leaf(c, AG_VALUES(0, 2, 0, 4));
    CHECK_VALUES(derivative(ag_cumprod(x, 0), x), AG_SHAPE(4), AG_VALUES(1, 118, 0, 0), 0);
    CHECK_VALUES(derivative(ag_cumprod(y, 0), y), AG_SHAPE(4), AG_VALUES(5, 0, 0, 0), 0);
}

static void t_powers_of_zero(ag_context *c)
{
    ag_tensor *zero = ag_zeros(c, AG_SHAPE(3), .dtype = AG_F64);
    ag_tensor *b = leaf(c, AG_VALUES(-1, 0, 1)), *x = leaf(c, AG_VALUES(0, 0));
    ag_tensor *y = ag_sum(ag_pow(zero, b)), *g;
    CHECK(y && ag_grad(&y, 1, &b, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(-INFINITY, 0, 0), 0);
    CHECK((y = ag_sum(ag_pow(0, b))) && ag_grad(&y, 1, &b, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(-INFINITY, 0, 0), 0);
    CHECK_VALUES(derivative(ag_pow(x, 0), x), AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK_VALUES(derivative(ag_pow(x, ag_zeros_like(x)), x), AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK_VALUES(derivative(ag_pow(x, 1), x), AG_SHAPE(2), AG_VALUES(1, 2), 0);
    CHECK_VALUES(derivative(ag_pow(x, .5), x), AG_SHAPE(2), AG_VALUES(INFINITY, INFINITY), 0);
}

static void t_functions_at_zero(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_VALUES(0)), *y = leaf(c, AG_VALUES(0));
    CHECK_VALUES(derivative(ag_atan2(x, y), x), AG_SHAPE(1), AG_VALUES(0), 0);
    CHECK_VALUES(derivative(ag_atan2(x, y), y), AG_SHAPE(1), AG_VALUES(0), 0);
    CHECK_VALUES(derivative(ag_abs(x), x), AG_SHAPE(1), AG_VALUES(0), 0);
    CHECK_VALUES(derivative(ag_relu(x), x), AG_SHAPE(1), AG_VALUES(0), 0);
    CHECK_VALUES(derivative(ag_sign(x), x), AG_SHAPE(1), AG_VALUES(0), 0);
    CHECK_VALUES(derivative(ag_sqrt(x), x), AG_SHAPE(1), AG_VALUES(INFINITY), 0);
    CHECK_VALUES(derivative(ag_hypot(x, y), x), AG_SHAPE(1), AG_VALUES(NAN), 0);
    CHECK_VALUES(derivative(ag_xlogy(x, 0), x), AG_SHAPE(1), AG_VALUES(0), 0);
}

static void t_norms_at_zero(ag_context *c)
{
    static const double p[] = { .5, 1, 1.5, 2, 3, INFINITY };
    ag_tensor *x = leaf(c, AG_VALUES(0, 0, 0)), *y = leaf(c, AG_VALUES(3, 0, -4)), *s, *g;
    for (int i = 0; i < 6; i++) {
        CHECK((s = ag_norm(x, p[i])) && ag_grad(&s, 1, &x, 1, &g));
        CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(0, 0, 0), 0);
    }
    CHECK((s = ag_norm(y, 2)) && ag_grad(&s, 1, &y, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(.6, 0, -.8), 1e-16);
    CHECK((s = ag_norm(y, INFINITY)) && ag_grad(&s, 1, &y, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(0, 0, -1), 0);
}

/* The greatest of several is shared, also by a norm. */
static void t_norms_of_equal_elements(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_VALUES(2, -2, 1, 2)), *s = ag_norm(x, INFINITY), *g;
    CHECK(s && ag_grad(&s, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(4), AG_VALUES(1. / 3, -1. / 3, 0, 1. / 3), 1e-16);
}

static void t_deviations_of_few_elements(ag_context *c)
{
    ag_tensor *one = leaf(c, AG_VALUES(5)), *equal = leaf(c, AG_VALUES(2, 2)), *s, *g;
    CHECK(isnan(ag_item(ag_var(one))));
    CHECK((s = ag_var(one)) && ag_grad(&s, 1, &one, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(1), AG_VALUES(NAN), 0);
    CHECK((s = ag_var(one, .correction_zero = true)) && ag_grad(&s, 1, &one, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(1), AG_VALUES(0), 0);
    CHECK((s = ag_var(equal)) && ag_grad(&s, 1, &equal, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK((s = ag_std(equal)) && ag_grad(&s, 1, &equal, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(0, 0), 0); /* not 0 / 0 */
}

/* ---- equal elements ---- */

static void t_extremes_share(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_VALUES(1, 0, 1, 0, 1, 0)), *n = leaf(c, AG_VALUES(NAN, 2, NAN)), *s,
              *g;
    CHECK((s = ag_amax(x)) && ag_grad(&s, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(6), AG_VALUES(1. / 3, 0, 1. / 3, 0, 1. / 3, 0), 1e-16);
    CHECK((s = ag_amin(x)) && ag_grad(&s, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(6), AG_VALUES(0, 1. / 3, 0, 1. / 3, 0, 1. / 3), 1e-16);
    CHECK((s = ag_amax(n)) && ag_grad(&s, 1, &n, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3), AG_VALUES(.5, 0, .5), 0);
    ag_tensor *a = leaf(c, AG_VALUES(1, 2)), *b = leaf(c, AG_VALUES(1, 3));
    CHECK_VALUES(derivative(ag_maximum(a, b), a), AG_SHAPE(2), AG_VALUES(.5, 0), 0);
    CHECK_VALUES(derivative(ag_minimum(a, b), b), AG_SHAPE(2), AG_VALUES(.5, 0), 0);
    CHECK_VALUES(derivative(ag_clamp(a, 1, 3), a), AG_SHAPE(2), AG_VALUES(0, 2),
                 0); /* at a limit */
}

static void t_chosen_elements_do_not_share(ag_context *c)
{
    ag_tensor *x = matrix(c, 2, 3, AG_VALUES(3, 1, 3, 2, 2, 2)), *v, *i;
    CHECK(x && ag_max_dim(x, 1, false, &v, &i));
    CHECK_VALUES(i, AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK_VALUES(derivative(v, x), AG_SHAPE(2, 3), AG_VALUES(1, 0, 0, 2, 0, 0), 0);
    CHECK(ag_min_dim(x, 0, true, &v, NULL));
    CHECK_VALUES(derivative(v, x), AG_SHAPE(2, 3), AG_VALUES(0, 2, 0, 1, 0, 3), 0);
    CHECK(ag_median_dim(x, 1, false, &v, &i));
    CHECK_CLOSE(ag_at(v, 0), 3, 0);
    CHECK(ag_cummax(x, 1, &v, &i));
    CHECK_VALUES(i, AG_SHAPE(2, 3), AG_VALUES(0, 0, 2, 0, 1, 2), 0); /* the last of equals */
    CHECK_VALUES(derivative(v, x), AG_SHAPE(2, 3), AG_VALUES(3, 0, 3, 4, 5, 6), 0);
}

static void t_sorted_elements_keep_their_gradients(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_VALUES(2, NAN, 1, 2)), *v, *i;
    CHECK(x && ag_sort(x, 0, false, &v, &i));
    CHECK_VALUES(i, AG_SHAPE(4), AG_VALUES(2, 0, 3, 1), 0);
    CHECK_VALUES(derivative(v, x), AG_SHAPE(4), AG_VALUES(2, 4, 1, 3), 0);
    CHECK(ag_sort(x, 0, true, &v, &i));
    CHECK_VALUES(i, AG_SHAPE(4), AG_VALUES(1, 0, 3, 2), 0);
    CHECK(ag_topk(x, 2, 0, false, &v, NULL));
    CHECK_VALUES(derivative(v, x), AG_SHAPE(4), AG_VALUES(2, 0, 1, 0), 0);
    CHECK(ag_topk(x, 0, 0, true, &v, NULL));
    CHECK_VALUES(derivative(v, x), AG_SHAPE(4), AG_VALUES(0, 0, 0, 0), 0);
}

/* ---- cotangents and operands that repeat memory ---- */

static void t_expanded_cotangents_of_views(ag_context *c)
{
    ag_tensor *a = matrix(c, 2, 2, AG_VALUES(1, 2, 3, 4)), *g;
    ag_tensor *number = ag_scalar(c, 5, .dtype = AG_F64), *pair = ag_expand(number, AG_SHAPE(2));
    ag_tensor *four = ag_expand(number, AG_SHAPE(2, 2));
    ag_tensor *d = ag_diagonal(a, 0, 0, 1), *r = ag_select(a, 0, 1), *s = ag_slice(a, 1, 0, 2, 1);
    CHECK(pair && four && ag_grad(&d, 1, &a, 1, &g, .grad_outputs = &pair));
    CHECK_VALUES(g, AG_SHAPE(2, 2), AG_VALUES(5, 0, 0, 5), 0);
    CHECK(ag_grad(&r, 1, &a, 1, &g, .grad_outputs = &pair));
    CHECK_VALUES(g, AG_SHAPE(2, 2), AG_VALUES(0, 0, 5, 5), 0);
    CHECK(ag_grad(&s, 1, &a, 1, &g, .grad_outputs = &four));
    CHECK_VALUES(g, AG_SHAPE(2, 2), AG_VALUES(5, 5, 5, 5), 0);
    CHECK(ag_backward(s, .gradient = four) && ag_backward(d, .gradient = pair));
    CHECK_VALUES(ag_grad_of(a), AG_SHAPE(2, 2), AG_VALUES(10, 5, 5, 10), 0);
    CHECK_CLOSE(ag_item(number), 5, 0);
}

static bool mv_expanded(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return (out[0] = ag_sum(ag_mv(user, ag_expand(in[0], AG_SHAPE(2))))) != NULL;
}
static void t_expanded_operands_of_products(ag_context *c)
{
    ag_tensor *a = ag_array(c, AG_VALUES(1, -2, .5, 3), AG_SHAPE(2, 2), .dtype = AG_F64);
    ag_tensor *v = leaf(c, AG_VALUES(.7));
    CHECK(a && v && ag_gradcheck(mv_expanded, &v, 1, a) && ag_gradgradcheck(mv_expanded, &v, 1, a));
}

/* The gradient of a dense leaf is laid out as the leaf is, any other in rows. */
static void t_layouts_of_gradients(ag_context *c)
{
    ag_tensor *rows = ag_ones(c, AG_SHAPE(3, 4), .dtype = AG_F64), *dense = ag_detach(ag_t(rows));
    ag_tensor *gaps = ag_detach(ag_slice(rows, 1, 0, 4, 2));
    CHECK(dense && gaps && ag_requires_grad_(dense, true) && ag_requires_grad_(gaps, true));
    for (int i = 0; i < 2; i++) {
        CHECK(ag_backward(ag_sum(i ? ag_mul(dense, dense) : dense)));
        const int64_t *s = ag_strides(ag_grad_of(dense));
        CHECK(s[0] == 1 && s[1] == 4);
        CHECK(ag_backward(ag_sum(i ? ag_mul(gaps, gaps) : gaps)));
        CHECK(ag_is_contiguous(ag_grad_of(gaps)));
        ag_zero_grad(dense);
        ag_zero_grad(gaps);
    }
}

/* ---- indices ---- */

static void t_indices_that_repeat(ag_context *c)
{
    ag_tensor *x = matrix(c, 3, 2, AG_VALUES(1, 2, 3, 4, 5, 6));
    ag_tensor *i = indices(c, AG_VALUES(1, 1, 2, 1), AG_SHAPE(4)), *y = ag_sum(ag_index(x, &i, 1));
    CHECK(y && ag_backward(y));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3, 2), AG_VALUES(0, 0, 3, 3, 1, 1), 0);
    ag_zero_grad(x);
    ag_tensor *pairs[] = { indices(c, AG_VALUES(1, 2, 0, 0), AG_SHAPE(2, 2)),
                           indices(c, AG_VALUES(0, 1, 1, 1), AG_SHAPE(2, 2)) };
    CHECK(pairs[0] && pairs[1] && ag_backward(ag_sum(ag_index(x, pairs, 2))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3, 2), AG_VALUES(0, 2, 1, 0, 0, 1), 0);
}

static void t_kinds_of_indexing(ag_context *c)
{
    ag_tensor *x = matrix(c, 2, 3, AG_VALUES(1, 2, 3, 4, 5, 6));
    ag_tensor *two = indices(c, AG_VALUES(-1, 0), AG_SHAPE(2));
    ag_tensor *mask = ag_gt(x, 2), *columns[] = { NULL, two },
              *scalar = indices(c, AG_VALUES(1), AG_SHAPE());
    CHECK_VALUES(derivative(ag_index(x, columns, 2), x), AG_SHAPE(2, 3),
                 AG_VALUES(2, 0, 1, 4, 0, 3), 0);
    CHECK_VALUES(derivative(ag_index(x, &mask, 1), x), AG_SHAPE(2, 3), AG_VALUES(0, 0, 1, 2, 3, 4),
                 0);
    CHECK_VALUES(derivative(ag_masked_select(x, mask), x), AG_SHAPE(2, 3),
                 AG_VALUES(0, 0, 1, 2, 3, 4), 0);
    CHECK_VALUES(derivative(ag_take(x, two), x), AG_SHAPE(2, 3), AG_VALUES(2, 0, 0, 0, 0, 1), 0);
    ag_tensor *line = leaf(c, AG_VALUES(7, 8)),
              *number = ag_scalar(c, 9, .dtype = AG_F64, .requires_grad = true);
    CHECK_VALUES(derivative(ag_gather(line, 0, scalar), line), AG_SHAPE(2), AG_VALUES(0, 1), 0);
    ag_tensor *zeros = indices(c, AG_VALUES(0, 0), AG_SHAPE(2));
    CHECK_VALUES(derivative(ag_gather(number, 0, zeros), number), AG_SHAPE(), AG_VALUES(3), 0);
}

/* ---- where ---- */

static bool where_both(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return (out[0] = ag_where(user, in[0], in[1])) != NULL;
}
static bool where_numbers(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return (out[0] = ag_mul(ag_where(user, 4, in[0]), ag_where(user, in[0], 4))) != NULL;
}
static void t_where_broadcasts(ag_context *c)
{
    ag_manual_seed(c, 3);
    ag_tensor *cond = ag_array(c, AG_VALUES(1, 0, 0, 1), AG_SHAPE(2, 2), .dtype = AG_BOOL);
    ag_tensor *in[] = { ag_randn(c, AG_SHAPE(2, 1, 2), .dtype = AG_F64, .requires_grad = true),
                        ag_randn(c, AG_SHAPE(2, 1), .dtype = AG_F64, .requires_grad = true) };
    CHECK(cond && in[0] && in[1]);
    CHECK(ag_gradcheck(where_both, in, 2, cond) && ag_gradgradcheck(where_both, in, 2, cond));
    CHECK(ag_gradcheck(where_numbers, in, 1, cond) && ag_gradgradcheck(where_numbers, in, 1, cond));
}

/* What is not chosen gets zero, and a NaN of its own derivative comes of it. */
static void t_where_and_infinite_derivatives(ag_context *c)
{
    ag_tensor *x = leaf(c, AG_VALUES(0, 4)), *big = ag_gt(x, 1);
    CHECK_VALUES(derivative(ag_where(big, ag_sqrt(x), 0), x), AG_SHAPE(2), AG_VALUES(NAN, .5), 0);
    ag_tensor *safe = ag_where(big, x, 1);
    CHECK_VALUES(derivative(ag_where(big, ag_sqrt(safe), 0), x), AG_SHAPE(2), AG_VALUES(0, .5), 0);
}

/* ---- a loop of derivatives ---- */

static void t_ascending_by_derivatives(ag_context *c)
{
    ag_tensor *first = matrix(c, 2, 2, AG_VALUES(.1, -.2, .3, .4)), *x = first;
    ag_tensor *y = matrix(c, 2, 2, AG_VALUES(1, 2, -1, .5)),
              *ones = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_F64), *g;
    CHECK(x && y && ones);
    for (int i = 0; i < 5; i++) {
        ag_tensor *z = ag_add(ag_add(ag_mul(x, x), ag_mul(y, x)), ag_mul(y, y));
        CHECK(z && ag_grad(&z, 1, &x, 1, &g, .grad_outputs = &ones, .create_graph = true));
        CHECK_CLOSE(ag_at(g, 1, 0), 2 * ag_at(x, 1, 0) - 1, 1e-15);
        CHECK(!ag_grad_of(first) && !ag_grad_of(y));
        CHECK((x = ag_add(x, ag_mul(g, .05))));
    }
    CHECK(ag_backward(x, .gradient = ones));
    /* x becomes 1.1 x + 0.05 y, five times over */
    const double power = pow(1.1, 5), rest = .05 * (power - 1) / .1;
    CHECK_VALUES(ag_grad_of(first), AG_SHAPE(2, 2), AG_VALUES(power, power, power, power), 1e-14);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2, 2), AG_VALUES(rest, rest, rest, rest), 1e-14);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_products_with_zeros), TEST(t_second_derivatives_of_products_with_zeros),
               TEST(t_running_products_with_zeros), TEST(t_powers_of_zero),
               TEST(t_functions_at_zero), TEST(t_norms_at_zero), TEST(t_norms_of_equal_elements),
               TEST(t_deviations_of_few_elements), TEST(t_extremes_share),
               TEST(t_chosen_elements_do_not_share), TEST(t_sorted_elements_keep_their_gradients),
               TEST(t_expanded_cotangents_of_views), TEST(t_expanded_operands_of_products),
               TEST(t_layouts_of_gradients), TEST(t_indices_that_repeat), TEST(t_kinds_of_indexing),
               TEST(t_where_broadcasts), TEST(t_where_and_infinite_derivatives),
               TEST(t_ascending_by_derivatives));
}
