/* Bad inputs of pointwise operations, products, indexing, norms and losses. */
#include "harness.h"

static ag_tensor *ints(ag_context *c, ag_values values)
{
    return ag_array(c, values, AG_SHAPE(values.n), .dtype = AG_I64);
}

/* ---- pointwise ---- */

static void t_shapes_that_do_not_broadcast(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *v = ag_ones(c, AG_SHAPE(4));
    ag_tensor *m = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_BOOL);
    CHECK(x && v && m);
    WATCH(x);
    WATCH(v);
    static const char sentence[] =
        "The size of tensor a (3) must match the size of tensor b (4) at "
        "non-singleton dimension 1; the shapes are [2, 3] and [4]";
    static ag_binary_fn const all[] = {
        ag_add,        ag_sub,   ag_mul,     ag_div,     ag_pow,       ag_fmod,  ag_remainder,
        ag_atan2,      ag_hypot, ag_maximum, ag_minimum, ag_logaddexp, ag_xlogy, ag_copysign,
        ag_eq,         ag_ne,    ag_lt,      ag_le,      ag_gt,        ag_ge,    ag_logical_and,
        ag_logical_or, ag_add_,  ag_sub_,    ag_mul_,    ag_div_,      ag_copy_
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CHECK_ERROR(all[i](x, v), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_add(x, ag_ones(c, AG_SHAPE(2, 3, 2))), AG_ERR_SHAPE,
                "The size of tensor a (3) must match the size of tensor b (2) at non-singleton "
                "dimension 2; the shapes are [2, 3] and [2, 3, 2]");
    CHECK_ERROR(ag_add(x, ag_ones(c, AG_SHAPE(0))), AG_ERR_SHAPE, "the shapes are [2, 3] and [0]");
    CHECK_ERROR(ag_where(m, x, v), AG_ERR_SHAPE, "[4]");
    CHECK_ERROR(ag_lerp(x, v, 0.5), AG_ERR_SHAPE, "the shapes are [2, 3] and [4]");
    CHECK_ERROR(ag_lerp(x, x, v), AG_ERR_SHAPE, "the shapes are [2, 3] and [4]");
    CHECK_ERROR(ag_mse_loss(x, v), AG_ERR_SHAPE, sentence);
    CHECK_INT(ag_numel(ag_add(ag_ones(c, AG_SHAPE(1)), ag_ones(c, AG_SHAPE(0)))), 0);
}

static void t_integers_divided_by_zero(ag_context *c)
{
    ag_tensor *i = ints(c, AG_VALUES(5, -5)), *z = ints(c, AG_VALUES(1, 0));
    ag_tensor *least = ints(c, AG_VALUES(-0x1p63, -0x1p63));
    CHECK(i && z && least);
    WATCH(i);
    WATCH(z);
    CHECK_ERROR(ag_fmod(i, 0), AG_ERR_VALUE, "ag_fmod: ZeroDivisionError");
    CHECK_ERROR(ag_remainder(i, z), AG_ERR_VALUE, "ag_remainder: ZeroDivisionError");
    CHECK_ERROR(ag_remainder(3, z), AG_ERR_VALUE, "ZeroDivisionError");
    CHECK_ERROR(ag_fmod(ag_to(i, AG_U8), ag_to(z, AG_I8)), AG_ERR_VALUE, "ZeroDivisionError");
    CHECK_ERROR(ag_fmod(ag_to(i, AG_BOOL), ag_to(z, AG_BOOL)), AG_ERR_VALUE, "ZeroDivisionError");
    CHECK_VALUES(ag_fmod(least, -1), AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK_VALUES(ag_remainder(least, -1), AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK_VALUES(ag_fmod(ag_to(i, AG_F64), 0), AG_SHAPE(2), AG_VALUES(NAN, NAN), 0);
    CHECK_VALUES(ag_neg(least), AG_SHAPE(2), AG_VALUES(-0x1p63, -0x1p63), 0); /* it wraps */
    CHECK_VALUES(ag_abs(least), AG_SHAPE(2), AG_VALUES(-0x1p63, -0x1p63), 0);
    CHECK_VALUES(ag_mul(least, 2), AG_SHAPE(2), AG_VALUES(0, 0), 0);
}

static void t_powers_of_integers(ag_context *c)
{
    ag_tensor *i = ints(c, AG_VALUES(0, 1, -1, 2));
    CHECK(i);
    CHECK_ERROR(ag_pow(i, -1), AG_ERR_VALUE,
                "Integers to negative integer powers are not allowed.");
    CHECK_VALUES(ag_pow(i, ints(c, AG_VALUES(-1, -2, -3, -4))), AG_SHAPE(4), AG_VALUES(0, 1, -1, 0),
                 0);
    CHECK_VALUES(ag_pow(i, 0), AG_SHAPE(4), AG_VALUES(1, 1, 1, 1), 0);
    CHECK_VALUES(ag_pow(i, 64), AG_SHAPE(4), AG_VALUES(0, 1, 1, 0), 0);
}

static void t_dtypes_of_pointwise_operations(ag_context *c)
{
    ag_tensor *b = ag_ones(c, AG_SHAPE(2), .dtype = AG_BOOL), *x = ag_ones(c, AG_SHAPE(2));
    CHECK(b && x);
    WATCH(b);
    CHECK_ERROR(ag_sub(b, b), AG_ERR_DTYPE,
                "Subtraction, the `-` operator, with two bool tensors is not supported.");
    CHECK_ERROR(ag_neg(b), AG_ERR_DTYPE,
                "Negation, the `-` operator, on a bool tensor is not supported.");
    CHECK_ERROR(
        ag_where(x, x, x), AG_ERR_DTYPE,
        "where expected condition to be a boolean tensor, but got a tensor with dtype float32");
    CHECK_ERROR(
        ag_where(ints(c, AG_VALUES(1, 0)), x, x), AG_ERR_DTYPE,
        "where expected condition to be a boolean tensor, but got a tensor with dtype int64");
    CHECK_ERROR(ag_masked_fill(x, x, 0), AG_ERR_DTYPE,
                "only supports boolean masks, but got mask with dtype float32");
}

static void t_numbers_of_pointwise_operations(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(-1, 1), AG_SHAPE(2)),
              *m = ag_ones(c, AG_SHAPE(2), .dtype = AG_BOOL);
    CHECK(x && m);
    CHECK_ERROR(ag_celu(x, 0), AG_ERR_VALUE, "alpha cannot be 0 for CELU");
    CHECK_ERROR(ag_polygamma(-1, x), AG_ERR_VALUE, "polygamma(n, x) does not support negative n");
    CHECK_ERROR(ag_polygamma(INT32_MIN, x), AG_ERR_VALUE, "does not support negative n");
    CHECK_ERROR(ag_masked_fill(x, m, x), AG_ERR_SHAPE,
                "only supports a 0-dimensional value tensor, but got tensor with 1 dimension(s).");
    CHECK_ERROR(ag_masked_fill(x, ag_ones(c, AG_SHAPE(4), .dtype = AG_BOOL), 0), AG_ERR_SHAPE,
                "must match the size of tensor");
    CHECK_VALUES(ag_clamp(x, 2, 1), AG_SHAPE(2), AG_VALUES(1, 1), 0); /* the upper bound wins */
}

/* ---- products ---- */

static void t_sizes_of_products(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *v = ag_ones(c, AG_SHAPE(3)), *s = ag_scalar(c, 1);
    ag_tensor *b = ag_ones(c, AG_SHAPE(2, 3, 4));
    CHECK(x && v && s && b);
    WATCH(x);
    CHECK_ERROR(ag_mm(x, x), AG_ERR_SHAPE,
                "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)");
    CHECK_ERROR(ag_matmul(x, x), AG_ERR_SHAPE,
                "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)");
    CHECK_ERROR(ag_mm(x, v), AG_ERR_SHAPE, "mat2 must be a matrix, got a 1-D tensor");
    CHECK_ERROR(ag_mm(v, x), AG_ERR_SHAPE, "must be a matrix, got a 1-D tensor");
    CHECK_ERROR(
        ag_bmm(b, b), AG_ERR_SHAPE,
        "Expected size for first two dimensions of batch2 tensor to be: [2, 4] but got: [2, 3].");
    CHECK_ERROR(ag_bmm(b, ag_ones(c, AG_SHAPE(3, 4, 5))), AG_ERR_SHAPE, "[2, 4] but got: [3, 4].");
    CHECK_ERROR(ag_bmm(x, b), AG_ERR_SHAPE, "must be a 3D tensor");
    CHECK_ERROR(ag_mv(x, ag_ones(c, AG_SHAPE(2))), AG_ERR_SHAPE,
                "size mismatch, got input (2x3), vec (2)");
    CHECK_ERROR(ag_mv(x, x), AG_ERR_SHAPE, "must be a vector");
    CHECK_ERROR(
        ag_dot(v, ag_ones(c, AG_SHAPE(5))), AG_ERR_SHAPE,
        "inconsistent tensor size, expected tensor [3] and src [5] to have the same number of "
        "elements, but got 3 and 5 elements respectively");
    CHECK_ERROR(ag_dot(x, x), AG_ERR_SHAPE, "1D tensors expected, but got 2D and 2D tensors");
    CHECK_ERROR(ag_matmul(s, x), AG_ERR_SHAPE,
                "both arguments to matmul need to be at least 1D, but they are 0D and 2D");
    CHECK_ERROR(ag_matmul(v, ag_ones(c, AG_SHAPE(5))), AG_ERR_SHAPE,
                "inconsistent tensor size, expected tensor [3] and src [5]");
    CHECK_ERROR(ag_matmul(b, ag_ones(c, AG_SHAPE(5, 4, 2))), AG_ERR_SHAPE,
                "The size of tensor a (2) must match the size of tensor b (5) at non-singleton "
                "dimension 0");
    CHECK_ERROR(ag_linear(x, ag_ones(c, AG_SHAPE(4, 2)), NULL), AG_ERR_SHAPE,
                "mat1 and mat2 shapes cannot be multiplied (2x3 and 2x4)");
    CHECK_ERROR(ag_linear(x, ag_ones(c, AG_SHAPE(4, 3)), v), AG_ERR_SHAPE, "[2, 4]");
    CHECK_ERROR(ag_linear(x, b, NULL), AG_ERR_SHAPE, "weight must be a matrix (out, in), got 3-D");
    CHECK_ERROR(ag_linear(x, s, NULL), AG_ERR_SHAPE, "weight must be a matrix (out, in), got 0-D");
    CHECK_ERROR(ag_addmm(ag_ones(c, AG_SHAPE(4)), x, ag_t(x)), AG_ERR_SHAPE, "[2, 2]");
    CHECK_ERROR(ag_addmm(b, x, ag_t(x)), AG_ERR_SHAPE, "[2, 2]");
    CHECK_ERROR(ag_addmm(x, x, x), AG_ERR_SHAPE, "cannot be multiplied (2x3 and 2x3)");
}

static void t_dtypes_of_products(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 2)), *d = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_F64);
    ag_tensor *b = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_BOOL),
              *i = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_I64);
    CHECK(x && d && b && i);
    static const char sentence[] =
        "expected m1 and m2 to have the same dtype, but got: float != double";
    CHECK_ERROR(ag_mm(x, d), AG_ERR_DTYPE, sentence);
    CHECK_ERROR(ag_matmul(x, d), AG_ERR_DTYPE, sentence);
    CHECK_ERROR(ag_linear(x, d, NULL), AG_ERR_DTYPE, sentence);
    CHECK_ERROR(ag_mv(x, ag_select(d, 0, 0)), AG_ERR_DTYPE, "to have the same dtype");
    CHECK_ERROR(ag_dot(ag_select(x, 0, 0), ag_select(d, 0, 0)), AG_ERR_DTYPE,
                "to have the same dtype");
    CHECK_ERROR(ag_mm(b, b), AG_ERR_DTYPE, "not implemented for 'Bool'");
    CHECK_ERROR(ag_addmm(d, x, x), AG_ERR_DTYPE, "self and mat2 must have the same dtype");
    CHECK_ERROR(
        ag_addmm(i, i, i, .alpha = 0.5), AG_ERR_VALUE,
        "For integral input tensors, arguments beta and alpha must not be floating point numbers.");
}

/* Sums of no products are zero, and so are their gradients. */
static void t_products_over_nothing(ag_context *c)
{
    ag_tensor *a = ag_ones(c, AG_SHAPE(2, 0), .requires_grad = true);
    ag_tensor *b = ag_ones(c, AG_SHAPE(0, 2), .requires_grad = true);
    CHECK_VALUES(ag_mm(a, b), AG_SHAPE(2, 2), AG_VALUES(0, 0, 0, 0), 0);
    CHECK(ag_backward(ag_sum(ag_matmul(a, b))));
    CHECK_INT(ag_size(ag_grad_of(a), 0), 2);
    CHECK_INT(ag_numel(ag_grad_of(b)), 0);
    CHECK_CLOSE(ag_item(ag_dot(ag_ones(c, AG_SHAPE(0)), ag_ones(c, AG_SHAPE(0)))), 0, 0);
}

/* ---- indexing ---- */

static void t_indices_out_of_range(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3));
    static const double wrong[] = { 2, -1, -3, 0x1p62, -0x1p63 };
    CHECK(x);
    WATCH(x);
    for (int k = 0; k < 5; k++)
        AG_SCOPE (c) {
            ag_tensor *i = ints(c, AG_VALUES(0, wrong[k])), *square = ag_reshape(i, AG_SHAPE(2, 1));
            CHECK(i && square);
            CHECK_ERROR(ag_index_select(x, 0, i), AG_ERR_INDEX,
                        "is out of bounds for dimension 0 with size 2");
            CHECK_ERROR(ag_gather(x, 0, square), AG_ERR_INDEX,
                        "is out of bounds for dimension 0 with size 2");
            CHECK_ERROR(ag_embedding(x, i), AG_ERR_INDEX,
                        "is out of bounds for dimension 0 with size 2");
        }
    CHECK_ERROR(ag_gather(x, 0, ag_full(c, AG_SHAPE(1, 1), 2, .dtype = AG_I32)), AG_ERR_INDEX,
                "index 2 is out of bounds for dimension 0 with size 2");
    CHECK_ERROR(ag_embedding(ag_ones(c, AG_SHAPE(0, 3)), ints(c, AG_VALUES(0))), AG_ERR_INDEX,
                "index 0 is out of bounds for dimension 0 with size 0");
}

static void t_shapes_and_dtypes_of_indices(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *f = ag_zeros(c, AG_SHAPE(1));
    ag_tensor *i = ints(c, AG_VALUES(0)), *m = ag_zeros(c, AG_SHAPE(1, 4), .dtype = AG_I64);
    CHECK(x && f && i && m);
    WATCH(x);
    CHECK_ERROR(ag_index_select(x, 0, m), AG_ERR_SHAPE, "Index is supposed to be a vector");
    CHECK_ERROR(ag_index_select(x, 0, f), AG_ERR_DTYPE, "Expected dtype int32 or int64 for index");
    CHECK_ERROR(ag_index_select(x, 2, i), AG_ERR_INDEX, "Dimension out of range");
    CHECK_ERROR(ag_gather(x, 0, i), AG_ERR_SHAPE,
                "Index tensor must have the same number of dimensions as input tensor");
    CHECK_ERROR(
        ag_gather(x, 0, m), AG_ERR_SHAPE,
        "Size does not match at dimension 1 expected index [1, 4] to be no larger than self "
        "[2, 3] apart from dimension 0");
    CHECK_ERROR(ag_gather(x, 0, ag_zeros(c, AG_SHAPE(1, 1))), AG_ERR_DTYPE,
                "Expected dtype int32 or int64");
    CHECK_ERROR(ag_gather(x, 2, m), AG_ERR_INDEX, "Dimension out of range");
    CHECK_ERROR(ag_embedding(ag_ones(c, AG_SHAPE(3)), i), AG_ERR_SHAPE, "'weight' must be 2-D");
    CHECK_ERROR(ag_embedding(x, f), AG_ERR_DTYPE, "Expected dtype int32 or int64");
}

static void t_one_hot(ag_context *c)
{
    ag_tensor *three = ints(c, AG_VALUES(0, 3)), *minus = ints(c, AG_VALUES(0, -1)),
              *zero = ints(c, AG_VALUES(0));
    CHECK(three && minus && zero);
    CHECK_ERROR(ag_one_hot(minus, 3), AG_ERR_INDEX, "Class values must be non-negative");
    CHECK_ERROR(ag_one_hot(three, 3), AG_ERR_INDEX,
                "Class values must be smaller than num_classes");
    CHECK_ERROR(ag_one_hot(zero, 0), AG_ERR_INDEX, "Class values must be smaller than num_classes");
    CHECK_ERROR(ag_one_hot(zero, INT64_MIN), AG_ERR_INDEX,
                "Class values must be smaller than num_classes");
    CHECK_ERROR(ag_one_hot(ag_zeros(c, AG_SHAPE(1)), 2), AG_ERR_DTYPE, "int64");
    CHECK_ERROR(ag_one_hot(ag_zeros(c, AG_SHAPE(0), .dtype = AG_I64), -1), AG_ERR_VALUE,
                "Can not infer total number of classes from empty tensor.");
}

/* ---- norms and losses ---- */

static void t_layer_norm(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *two = ag_ones(c, AG_SHAPE(2));
    ag_tensor *d = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64),
              *i = ag_ones(c, AG_SHAPE(3), .dtype = AG_I64);
    CHECK(x && two && d && i);
    WATCH(x);
    for (int n = -1; n <= 3; n += n == 0 ? 3 : 1)
        CHECK_ERROR(ag_layer_norm(x, n, NULL, NULL, 1e-5), AG_ERR_SHAPE,
                    "n_trailing_dims must be 1 to 2, the rank of the input");
    CHECK_ERROR(ag_layer_norm(ag_scalar(c, 1), 1, NULL, NULL, 0), AG_ERR_SHAPE, "n_trailing_dims");
    CHECK_ERROR(
        ag_layer_norm(x, 1, two, NULL, 0), AG_ERR_SHAPE,
        "Expected weight to be of same shape as normalized_shape, but got weight of shape [2] "
        "and normalized_shape = [3]");
    CHECK_ERROR(ag_layer_norm(x, 1, NULL, two, 0), AG_ERR_SHAPE,
                "Expected bias to be of same shape as normalized_shape, but got bias of shape [2]");
    CHECK_ERROR(ag_layer_norm(x, 1, d, NULL, 0), AG_ERR_DTYPE,
                "expect weight to have scalar type of float32");
    CHECK_ERROR(ag_layer_norm(i, 1, NULL, NULL, 0), AG_ERR_DTYPE, "not implemented for int64");
    CHECK_INT(ag_numel(ag_layer_norm(ag_ones(c, AG_SHAPE(0, 3)), 1, NULL, NULL, 1e-5)), 0);
    CHECK_VALUES(ag_layer_norm(ag_select(x, 0, 0), 1, NULL, NULL, 0), AG_SHAPE(3),
                 AG_VALUES(NAN, NAN, NAN), 0);
}

static void t_targets(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(2, 3), .requires_grad = true), *one = ints(c, AG_VALUES(0));
    ag_tensor *past = ints(c, AG_VALUES(0, 3)), *minus = ints(c, AG_VALUES(0, -1)),
              *good = ints(c, AG_VALUES(0, 2));
    CHECK(x && one && past && minus && good);
    WATCH(x);
    CHECK_ERROR(ag_nll_loss(x, past), AG_ERR_INDEX, "Target 3 is out of bounds.");
    CHECK_ERROR(ag_nll_loss(x, minus), AG_ERR_INDEX, "Target -1 is out of bounds.");
    CHECK_ERROR(ag_cross_entropy(x, past), AG_ERR_INDEX, "Target 3 is out of bounds.");
    CHECK_ERROR(ag_cross_entropy(x, minus, .label_smoothing = 0.1), AG_ERR_INDEX,
                "Target -1 is out of bounds.");
    CHECK_ERROR(ag_cross_entropy(x, good, .ignore_index = 1, .weight = one), AG_ERR_SHAPE,
                "weight tensor should be defined either for all 3 classes or no classes but got "
                "weight tensor of shape: [1]");
    CHECK_ERROR(ag_nll_loss(x, one), AG_ERR_SHAPE, "got input [2, 3], target [1]");
    CHECK_ERROR(ag_nll_loss(x, ag_unsqueeze(good, 0)), AG_ERR_SHAPE,
                "got input [2, 3], target [1, 2]");
    CHECK_ERROR(ag_cross_entropy(x, one), AG_ERR_SHAPE, "got input [2, 3], target [1]");
    CHECK_ERROR(ag_nll_loss(x, ag_zeros(c, AG_SHAPE(2))), AG_ERR_DTYPE,
                "expected target dtype to be");
    CHECK_ERROR(ag_cross_entropy(x, ag_zeros(c, AG_SHAPE(2), .dtype = AG_BOOL)), AG_ERR_DTYPE,
                "expected target dtype to be");
    CHECK_ERROR(ag_nll_loss(ag_scalar(c, 1), ag_select(one, 0, 0)), AG_ERR_SHAPE,
                "Expected 1 or more dimensions (got 0)");
    CHECK_ERROR(ag_cross_entropy(ag_scalar(c, 1), ag_select(one, 0, 0)), AG_ERR_SHAPE,
                "Expected 1 or more dimensions (got 0)");
    CHECK_CLOSE(ag_item(ag_cross_entropy(x, minus, .ignore_index = -1)), log(3), 1e-6);
    CHECK_CLOSE(ag_item(ag_nll_loss(ag_ones(c, AG_SHAPE(0, 3)), ints(c, AG_VALUES()))), NAN, 0);
}

static void t_options_of_losses(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(2, 3)), *good = ints(c, AG_VALUES(0, 2));
    ag_tensor *w = ag_ones(c, AG_SHAPE(3), .dtype = AG_F64),
              *i = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_I64);
    const ag_reduction reductions[] = { (ag_reduction)7, (ag_reduction)3, (ag_reduction)-1 };
    CHECK(x && good && w && i);
    for (int k = 0; k < 3; k++) {
        const ag_reduction r = reductions[k];
        CHECK_ERROR(ag_mse_loss(x, x, .reduction = r), AG_ERR_VALUE, "is not a reduction");
        CHECK_ERROR(ag_nll_loss(x, good, .reduction = r), AG_ERR_VALUE, "is not a reduction");
        CHECK_ERROR(ag_cross_entropy(x, good, .reduction = r), AG_ERR_VALUE, "is not a reduction");
    }
    static const double smoothings[] = { 2, -0.1, NAN, INFINITY };
    for (int k = 0; k < 4; k++)
        CHECK_ERROR(ag_cross_entropy(x, good, .label_smoothing = smoothings[k]), AG_ERR_VALUE,
                    "label_smoothing must be between 0.0 and 1.0. Got: ");
    CHECK_ERROR(ag_nll_loss(x, good, .weight = w), AG_ERR_DTYPE,
                "expected scalar type float32 for weight");
    CHECK_ERROR(ag_cross_entropy(x, good, .weight = w), AG_ERR_DTYPE,
                "expected scalar type float32 for weight");
    CHECK_ERROR(ag_mse_loss(i, i), AG_ERR_DTYPE, "not implemented for int64");
    CHECK_ERROR(ag_nll_loss(i, good), AG_ERR_DTYPE, "not implemented for int64");
    CHECK_ERROR(ag_cross_entropy(i, good), AG_ERR_DTYPE, "not implemented for int64");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_shapes_that_do_not_broadcast), TEST(t_integers_divided_by_zero),
               TEST(t_powers_of_integers), TEST(t_dtypes_of_pointwise_operations),
               TEST(t_numbers_of_pointwise_operations), TEST(t_sizes_of_products),
               TEST(t_dtypes_of_products), TEST(t_products_over_nothing),
               TEST(t_indices_out_of_range), TEST(t_shapes_and_dtypes_of_indices), TEST(t_one_hot),
               TEST(t_layer_norm), TEST(t_targets), TEST(t_options_of_losses));
}
