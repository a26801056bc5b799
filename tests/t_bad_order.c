/* Bad inputs of what chooses elements along a dimension, of norms, counts and running products. */
#include "harness.h"

typedef bool choose_fn(ag_tensor *x, int dim, ag_tensor **values, ag_tensor **indices);

static bool choose_max(ag_tensor *x, int dim, ag_tensor **v, ag_tensor **i)
{
    return ag_max_dim(x, dim, false, v, i);
}
static bool choose_min(ag_tensor *x, int dim, ag_tensor **v, ag_tensor **i)
{
    return ag_min_dim(x, dim, true, v, i);
}
static bool choose_median(ag_tensor *x, int dim, ag_tensor **v, ag_tensor **i)
{
    return ag_median_dim(x, dim, false, v, i);
}
static bool choose_sorted(ag_tensor *x, int dim, ag_tensor **v, ag_tensor **i)
{
    return ag_sort(x, dim, true, v, i);
}
static bool choose_top(ag_tensor *x, int dim, ag_tensor **v, ag_tensor **i)
{
    return ag_topk(x, 1, dim, true, v, i);
}

static choose_fn *const choices[] = { choose_max, choose_min, choose_median, choose_sorted,
                                      choose_top, ag_cummax,  ag_cummin };
enum { CHOICES = sizeof choices / sizeof *choices };

/* A choice that fails leaves what its pointers lead to. */
static void t_dimensions_out_of_range(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1), *v = x, *i = s;
    CHECK(x && s);
    WATCH(x);
    static const char sentence[] =
        "Dimension out of range (expected to be in range of [-2, 1], but got 2)";
    for (int k = 0; k < CHOICES; k++) {
        CHECK_ERROR(choices[k](x, 2, &v, &i), AG_ERR_INDEX, sentence);
        CHECK_ERROR(choices[k](x, -3, NULL, NULL), AG_ERR_INDEX, "[-2, 1], but got -3)");
        CHECK_ERROR(choices[k](s, 1, &v, &i), AG_ERR_INDEX, "[-1, 0], but got 1)");
    }
    CHECK(v == x && i == s);
    CHECK_ERROR(ag_argmin(x, 2, false), AG_ERR_INDEX, sentence);
    CHECK_ERROR(ag_cumprod(x, 2), AG_ERR_INDEX, sentence);
    CHECK_ERROR(ag_nansum(x, .dims = AG_DIMS(2)), AG_ERR_INDEX, sentence);
    CHECK_ERROR(ag_norm(x, 2, .dims = AG_DIMS(0, 2)), AG_ERR_INDEX, sentence);
    CHECK_ERROR(ag_count_nonzero(x, .dims = AG_DIMS(2)), AG_ERR_INDEX, sentence);
    CHECK_ERROR(ag_any(x, .dims = AG_DIMS(2)), AG_ERR_INDEX, sentence);
    CHECK_ERROR(ag_all(x, .dims = AG_DIMS(2)), AG_ERR_INDEX, sentence);
    CHECK_ERROR(ag_norm(x, 1, .dims = AG_DIMS(1, -1)), AG_ERR_VALUE,
                "ag_norm: dim 1 appears multiple times in the list of dims");
    CHECK_ERROR(ag_any(x, .dims = AG_DIMS(0, 0)), AG_ERR_VALUE, "dim 0 appears multiple times");
}

static void t_null_and_results_not_wanted(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(1, 3, 2), AG_SHAPE(3)), *v = x, *i = x;
    CHECK(x);
    for (int k = 0; k < CHOICES; k++) {
        CHECK(!choices[k](NULL, 7, &v, &i) && v == x && i == x);
        CHECK(choices[k](x, 0, NULL, NULL));
    }
    CHECK(!ag_argmin(NULL, 7, true) && !ag_cumprod(NULL, 7) && !ag_nansum(NULL));
    CHECK(!ag_norm(NULL, 2) && !(ag_norm)(NULL, 0, NULL) && !ag_count_nonzero(NULL));
    CHECK(!ag_any(NULL, .keepdim = true) && !ag_all(NULL));
    CHECK(!ag_error(c));
    CHECK(ag_max_dim(x, 0, false, &v, NULL));
    CHECK_CLOSE(ag_item(v), 3, 0);
    CHECK(ag_min_dim(x, 0, false, NULL, &i));
    CHECK_CLOSE(ag_item(i), 0, 0);
    CHECK(ag_sort(x, 0, false, &x, NULL)); /* a result may take the place of the operand */
    CHECK_VALUES(x, AG_SHAPE(3), AG_VALUES(1, 2, 3), 0);
}

static void t_choosing_from_nothing(ag_context *c)
{
    ag_tensor *e = ag_ones(c, AG_SHAPE(0, 3)), *v = NULL;
    CHECK(e);
    CHECK_ERROR(ag_max_dim(e, 0, false, &v, NULL), AG_ERR_INDEX,
                "max_dim: Expected reduction dim 0 to have non-zero size.");
    CHECK_ERROR(ag_min_dim(e, -2, false, &v, NULL), AG_ERR_INDEX,
                "min_dim: Expected reduction dim 0 to have non-zero size.");
    CHECK_ERROR(ag_median_dim(e, 0, true, &v, NULL), AG_ERR_INDEX,
                "median_dim: Expected reduction dim 0 to have non-zero size.");
    CHECK_ERROR(ag_argmin(e, 0, false), AG_ERR_INDEX,
                "argmin: Expected reduction dim 0 to have non-zero size.");
    CHECK(!v);
    for (int k = 0; k < CHOICES; k++)
        CHECK(choices[k](e, 1, &v, NULL) && ag_numel(v) == 0);
    CHECK(ag_sort(e, 0, false, &v, NULL) && ag_numel(v) == 0);
    CHECK(ag_cummax(e, 0, &v, NULL) && ag_numel(v) == 0);
    CHECK(ag_topk(e, 0, 0, true, &v, NULL) && ag_numel(v) == 0);
}

static void t_how_many_of_topk(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1), *v = NULL;
    CHECK(x && s);
    WATCH(x);
    CHECK_ERROR(ag_topk(x, 4, 1, true, &v, NULL), AG_ERR_INDEX,
                "selected index k out of range: k is 4, dimension 1 has size 3");
    CHECK_ERROR(ag_topk(x, -1, 0, false, &v, NULL), AG_ERR_INDEX, "selected index k out of range");
    CHECK_ERROR(ag_topk(x, INT64_MIN, 0, false, &v, NULL), AG_ERR_INDEX, "k out of range");
    CHECK_ERROR(ag_topk(s, 2, 0, true, &v, NULL), AG_ERR_INDEX, "dimension 0 has size 1");
    CHECK(!v);
    CHECK(ag_topk(s, 0, 0, true, &v, NULL) && ag_ndim(v) == 0); /* as PyTorch */
}

static void t_dtypes(ag_context *c)
{
    ag_tensor *b = ag_ones(c, AG_SHAPE(2), .dtype = AG_BOOL), *v = NULL;
    ag_tensor *i = ag_ones(c, AG_SHAPE(2), .dtype = AG_I64);
    CHECK(b && i);
    WATCH(b);
    CHECK_ERROR(ag_median_dim(b, 0, false, &v, NULL), AG_ERR_DTYPE, "not implemented for bool");
    CHECK_ERROR(ag_topk(b, 1, 0, false, &v, NULL), AG_ERR_DTYPE,
                "topk does not support bool dtypes");
    CHECK_ERROR(ag_argmin(b, 0, false), AG_ERR_DTYPE, "argmin: does not support bool input");
    CHECK_ERROR(
        ag_norm(i, 2), AG_ERR_DTYPE,
        "linalg.vector_norm: Expected a floating point or complex tensor as input. Got int64");
    CHECK_ERROR(ag_norm(b, 0), AG_ERR_DTYPE, "Got bool");
    CHECK(!v);
    CHECK(ag_max_dim(b, 0, false, &v, NULL) && ag_dtype_of(v) == AG_BOOL);
}

static void t_norms_of_nothing(ag_context *c)
{
    ag_tensor *e = ag_ones(c, AG_SHAPE(0, 3));
    CHECK(e);
    CHECK_ERROR(ag_norm(e, INFINITY), AG_ERR_VALUE,
                "linalg.vector_norm cannot compute the inf norm on an empty tensor because the "
                "operation does not have an identity");
    CHECK_ERROR(ag_norm(e, -1), AG_ERR_VALUE, "cannot compute the -1 norm on an empty tensor");
    CHECK_ERROR(ag_norm(e, -INFINITY, .dims = AG_DIMS(1, 0)), AG_ERR_INDEX,
                "linalg.vector_norm cannot compute the -inf norm on the dimension 0");
    CHECK_INT(ag_numel(ag_norm(e, INFINITY, .dims = AG_DIMS(1))), 0);
    for (int p = 0; p < 4; p++)
        CHECK_CLOSE(ag_item(ag_norm(e, p)), 0, 0);
    CHECK_CLOSE(ag_item(ag_nansum(e)), 0, 0);
    CHECK_CLOSE(ag_item(ag_count_nonzero(e)), 0, 0);
    CHECK_CLOSE(ag_item(ag_any(e)), 0, 0);
    CHECK_CLOSE(ag_item(ag_all(e)), 1, 0);
}

/* Indices have no gradient, and a pass notices when they are written. */
static void t_indices_in_the_graph(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(1, 3, 2), AG_SHAPE(3), .requires_grad = true);
    for (int k = 0; k < CHOICES; k++) {
        ag_tensor *v = NULL, *i = NULL, *g = NULL;
        CHECK(x && choices[k](x, 0, &v, &i));
        CHECK(ag_requires_grad(v) && !ag_requires_grad(i) && !ag_grad_fn(i));
        CHECK_INT(ag_output_nr(v), 0);
        CHECK_INT(ag_node_n_saved(ag_grad_fn(v)), 1);
        CHECK_TEXT(ag_node_saved_name(ag_grad_fn(v), 0), "indices");
        ag_tensor *sum = ag_sum(v);
        CHECK(ag_fill_(i, 0));
        CHECK_ERROR(ag_grad(&sum, 1, &x, 1, &g), AG_ERR_GRAD,
                    "one of the variables needed for gradient computation has been modified by an "
                    "inplace operation");
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_dimensions_out_of_range), TEST(t_null_and_results_not_wanted),
               TEST(t_choosing_from_nothing), TEST(t_how_many_of_topk), TEST(t_dtypes),
               TEST(t_norms_of_nothing), TEST(t_indices_in_the_graph));
}
