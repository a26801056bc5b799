/* Order and size, where golden values do not reach: long lines, the limits of types, zeros. */
#include "harness.h"

/* ---- sorting, against insertion ---- */

enum { LONGEST = 3000 };

/* Whether a stands before b: NaN is the greatest, -0 equals 0. */
static bool before(double a, double b, bool descending)
{
    if (descending)
        return isnan(a) ? !isnan(b) : a > b;
    return isnan(b) ? !isnan(a) : a < b;
}

static void check_order(ag_context *c, ag_dtype dtype, int n, bool descending)
{
    static double values[LONGEST];
    static int64_t order[LONGEST];
    static const double rare[] = { -INFINITY, INFINITY, -0.0, 0.0, 1e-40, -1e-40 };
    for (int i = 0; i < n; i++) {
        const unsigned r = (unsigned)i * 2654435761u >> 8;
        values[i] = (double)(r % 1000) - 500;
        if (dtype == AG_F32 || dtype == AG_F64)
            values[i] = r % 11 == 0 ? NAN : r % 7 == 0 ? rare[r % 6] : values[i] * 0.25;
        if (dtype == AG_U8)
            values[i] = r % 256;
    }
    ag_tensor *x = ag_array(c, ((ag_values){ values, n }), AG_SHAPE(n), .dtype = dtype), *v, *at;
    CHECK(x && ag_sort(x, 0, descending, &v, &at));
    for (int i = 0; i < n; i++) {
        values[i] = ag_at(x, i); /* as the dtype has it */
        int k = i;
        for (; k > 0 && before(values[i], values[order[k - 1]], descending); k--)
            order[k] = order[k - 1];
        order[k] = i;
    }
    const int64_t *is = ag_data(at);
    for (int i = 0; i < n; i++)
        if (is[i] != order[i] || !harness_is_close(ag_at(v, i), values[order[i]], 0))
            FAIL("%s, %d elements: %d in order is %lld, expected %lld", ag_dtype_name(dtype), n, i,
                 (long long)is[i], (long long)order[i]);
}

static void t_sorted_as_by_insertion(ag_context *c)
{
    static const ag_dtype dtypes[] = { AG_F32, AG_F64, AG_F16, AG_I64, AG_I8, AG_U8 };
    static const int sizes[] = { 1, 2, 63, 64, 65, 300, LONGEST };
    for (int d = 0; d < 6; d++)
        for (int s = 0; s < (harness_faults() ? 4 : 7); s++)
            AG_SCOPE (c) {
                check_order(c, dtypes[d], sizes[s], false);
                check_order(c, dtypes[d], sizes[s], true);
            }
}

/* -0 and 0 are equal, and stay what they are. */
static void t_zeros_keep_their_signs(ag_context *c)
{
    ag_tensor *v, *x = ag_array(c, AG_VALUES(0.0, -0.0, 1), AG_SHAPE(3));
    CHECK(x && ag_sort(x, 0, false, &v, NULL));
    CHECK(!signbit(ag_at(v, 0)) && signbit(ag_at(v, 1)));
    CHECK(ag_min_dim(x, 0, false, &v, NULL) && !signbit(ag_item(v)));
    CHECK(ag_cummin(x, 0, &v, NULL) && signbit(ag_at(v, 1))); /* the last of equals */
}

/* Many lines at once give what each gives alone. */
static void t_lines_do_not_meet(ag_context *c)
{
    ag_tensor *x = ag_randn(c, AG_SHAPE(3, 70, 5), .dtype = AG_F64), *v, *m, *one, *mid;
    CHECK(x && ag_sort(x, 1, true, &v, NULL) && ag_median_dim(x, 1, false, &m, NULL));
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 5; k++) {
            ag_tensor *line = ag_select(ag_select(x, 0, i), 1, k);
            CHECK(ag_sort(line, 0, true, &one, NULL));
            CHECK(ag_median_dim(line, 0, false, &mid, NULL));
            CHECK_CLOSE(ag_at(m, i, k), ag_item(mid), 0);
            CHECK_CLOSE(ag_item(mid), ag_at(one, 35), 0); /* 34 of the 70 are smaller */
            for (int j = 0; j < 70; j++)
                CHECK_CLOSE(ag_at(v, i, j, k), ag_at(one, j), 0);
        }
}

/* ---- norms ---- */

static const double powers[] = { 0.5, 1, 1.5, 2, 2.5, 3, 4, -1, -2.5, INFINITY, -INFINITY };

/* A factor goes through a norm, also where powers of it overflow or vanish. */
static void t_norms_at_the_limits(ag_context *c)
{
    static const double factors[2][4] = { { 0x1p100, 0x1p-100, 0x1p-130, 1 },
                                          { 0x1p800, 0x1p-800, 0x1p-1030, 1 } };
    for (int i = 0; i < 11; i++)
        for (int f = 0; f < 8; f++)
            AG_SCOPE (c) {
                const double factor = factors[f / 4][f % 4];
                ag_tensor *x = ag_array(c, AG_VALUES(3, -4, 12), AG_SHAPE(3),
                                        .dtype = f / 4 ? AG_F64 : AG_F32);
                ag_tensor *plain = ag_norm(x, powers[i]);
                ag_tensor *y = ag_norm(ag_mul(x, factor), powers[i]);
                CHECK(plain && y);
                CHECK_CLOSE(ag_item(y) / factor, ag_item(plain), f / 4 ? 1e-14 : 1e-6);
            }
    ag_tensor *x = ag_array(c, AG_VALUES(3e30, 4e30), AG_SHAPE(2), .requires_grad = true), *g;
    ag_tensor *y = ag_norm(x, 2);
    CHECK(y && ag_grad(&y, 1, &x, 1, &g));
    CHECK_CLOSE(ag_item(y) / 1e30, 5, 1e-6);
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(.6, .8), 1e-6);
}

/* A line's result does not depend on whether another one leaves the range of squares. */
static void t_norms_of_lines_do_not_meet(ag_context *c)
{
    ag_tensor *x = ag_randn(c, AG_SHAPE(4, 77)), *y = ag_norm(x, 2, .dims = AG_DIMS(1));
    ag_tensor *first = ag_select(x, 0, 0);
    CHECK(y && first && ag_mul_(first, 1e30));
    ag_tensor *z = ag_norm(x, 2, .dims = AG_DIMS(1));
    CHECK(z);
    for (int i = 1; i < 4; i++)
        CHECK_CLOSE(ag_at(z, i), ag_at(y, i), 0);
    CHECK_CLOSE(ag_at(z, 0) / 1e30, ag_at(y, 0), 1e-6);
}

/* At zero the derivatives of every order are 0, where PyTorch's second one is NaN. */
static void t_derivatives_of_norms_at_zero(ag_context *c)
{
    for (int i = 0; i < 11; i++)
        AG_SCOPE (c) {
            ag_tensor *x = ag_array(c, AG_VALUES(0, 0, 0, 3), AG_SHAPE(2, 2), .dtype = AG_F64,
                                    .requires_grad = true);
            ag_tensor *y = ag_sum(ag_norm(x, powers[i], .dims = AG_DIMS(1))), *g, *h;
            const double one = powers[i] > 0;
            CHECK(y && ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
            CHECK_VALUES(g, AG_SHAPE(2, 2), AG_VALUES(0, 0, 0, one), 0);
            y = ag_sum(
                ag_mul(g, ag_array(c, AG_VALUES(1, 2, 3, 4), AG_SHAPE(2, 2), .dtype = AG_F64)));
            CHECK(y && ag_grad(&y, 1, &x, 1, &h, .allow_unused = true, .materialize_grads = true));
            CHECK_VALUES(h, AG_SHAPE(2, 2), AG_VALUES(0, 0, powers[i] == 2, 0), 1e-15);
        }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_sorted_as_by_insertion), TEST(t_zeros_keep_their_signs),
               TEST(t_lines_do_not_meet), TEST(t_norms_at_the_limits),
               TEST(t_norms_of_lines_do_not_meet), TEST(t_derivatives_of_norms_at_zero));
}
