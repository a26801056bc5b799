/* Bad inputs of views, copies, reductions and scans: dimensions, sizes, sizes that overflow. */
#include "harness.h"

static const int64_t huge = (int64_t)1 << 40;

/* ---- new shapes ---- */

static void t_reshape(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *empty = ag_ones(c, AG_SHAPE(0, 3));
    const ag_ints missing = { NULL, 2 }, negative = { NULL, -1 },
                  long_list = { (int64_t[17]){ 1 }, 17 };
    CHECK(x && empty);
    WATCH(x);
    CHECK_ERROR(ag_reshape(x, AG_SHAPE(4)), AG_ERR_SHAPE,
                "shape '[4]' is invalid for input of size 6");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE()), AG_ERR_SHAPE,
                "shape '[]' is invalid for input of size 6");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE(4, -1)), AG_ERR_SHAPE,
                "shape '[4, -1]' is invalid for input of size 6");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE(-1, -1)), AG_ERR_SHAPE,
                "only one dimension can be inferred");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE(-2, 3)), AG_ERR_SHAPE,
                "invalid shape dimension -2 at index 0 of shape [-2, 3]");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE(3, INT64_MIN)), AG_ERR_SHAPE, "invalid shape dimension");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE(huge, huge)), AG_ERR_SHAPE,
                "is invalid for input of size 6");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE(huge, huge, -1)), AG_ERR_SHAPE,
                "is invalid for input of size 6");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE((int64_t)1 << 62, 4, 6)), AG_ERR_SHAPE,
                "is invalid for input");
    CHECK_ERROR(ag_reshape(empty, AG_SHAPE(-1, 0)), AG_ERR_SHAPE,
                "cannot reshape tensor of 0 elements into shape [-1, 0] because the unspecified "
                "dimension size -1 can be any value and is ambiguous");
    CHECK_ERROR(ag_reshape(empty, AG_SHAPE(3)), AG_ERR_SHAPE,
                "shape '[3]' is invalid for input of size 0");
    CHECK_ERROR(ag_reshape(x, missing), AG_ERR_VALUE,
                "ag_reshape: the list of sizes or dims is NULL");
    CHECK_ERROR(ag_view(x, missing), AG_ERR_VALUE, "ag_view: the list of sizes or dims is NULL");
    CHECK_ERROR(ag_reshape(x, negative), AG_ERR_SHAPE,
                "-1 numbers; tensors have 0 to 16 dimensions");
    CHECK_ERROR(ag_view(x, long_list), AG_ERR_SHAPE, "17 numbers; tensors have 0 to 16 dimensions");
    CHECK_ERROR(ag_view(ag_t(x), AG_SHAPE(6)), AG_ERR_SHAPE,
                "view size is not compatible with input tensor's size and stride (at least one "
                "dimension spans across two contiguous subspaces)");
    CHECK_ERROR(ag_view(x, AG_SHAPE(5)), AG_ERR_SHAPE,
                "shape '[5]' is invalid for input of size 6");
    CHECK(ag_reshape(empty, AG_SHAPE(0, 7)) && ag_reshape(empty, AG_SHAPE(-1, 3)));
}

static void t_expand(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1);
    const ag_ints missing = { NULL, 2 };
    CHECK(x && s);
    WATCH(x);
    CHECK_ERROR(ag_expand(x, AG_SHAPE(4, 3)), AG_ERR_SHAPE,
                "The expanded size of the tensor (4) must match the existing size (2) at "
                "non-singleton dimension 0.  Target sizes: [4, 3].  Tensor sizes: [2, 3]");
    CHECK_ERROR(ag_expand(x, AG_SHAPE(3)), AG_ERR_SHAPE,
                "the number of sizes provided (1) must be greater or equal to the number of "
                "dimensions in the tensor (2)");
    CHECK_ERROR(ag_expand(x, AG_SHAPE(-1, 2, 3)), AG_ERR_SHAPE,
                "The expanded size of the tensor (-1) isn't allowed in a leading, non-existing "
                "dimension 0");
    CHECK_ERROR(ag_expand(x, AG_SHAPE(2, -3)), AG_ERR_SHAPE,
                "negative size -3 at dimension 1 of [2, -3]");
    CHECK_ERROR(ag_expand(s, AG_SHAPE(INT64_MIN)), AG_ERR_SHAPE, "negative size");
    CHECK_ERROR(ag_expand(s, AG_SHAPE(huge, huge)), AG_ERR_SHAPE, "overflow");
    CHECK_ERROR(ag_expand(s, AG_SHAPE(huge, huge, 0)), AG_ERR_SHAPE, "overflow");
    CHECK_ERROR(ag_expand(x, missing), AG_ERR_VALUE,
                "ag_expand: the list of sizes or dims is NULL");
    CHECK(ag_expand(s, AG_SHAPE(huge, 1024)));
}

/* ---- dimensions ---- */

#define CHECK_DIM(call, range)                                                                     \
    CHECK_ERROR(call, AG_ERR_INDEX, "Dimension out of range (expected to be in range of " range)

static void t_dimensions(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1);
    ag_tensor *list[] = { x, x };
    CHECK(x && s);
    WATCH(x);
    CHECK_DIM(ag_transpose(x, 0, 2), "[-2, 1], but got 2)");
    CHECK_DIM(ag_transpose(x, -100000, 0), "[-2, 1], but got -100000)");
    CHECK_DIM(ag_transpose(s, 0, 1), "[-1, 0], but got 1)");
    CHECK_DIM(ag_permute(x, AG_DIMS(0, 5)), "[-2, 1], but got 5)");
    CHECK_DIM(ag_permute(x, AG_DIMS(INT64_MIN, 0)), "[-2, 1], but got -9223372036854775808)");
    CHECK_DIM(ag_squeeze(x, 5), "[-2, 1], but got 5)");
    CHECK_DIM(ag_unsqueeze(x, 4), "[-3, 2], but got 4)");
    CHECK_DIM(ag_unsqueeze(x, INT32_MIN), "[-3, 2], but got -2147483648)");
    CHECK_DIM(ag_flatten(x, 0, 2), "[-2, 1], but got 2)");
    CHECK_DIM(ag_flatten(x, INT32_MAX, 1), "[-2, 1], but got 2147483647)");
    CHECK_DIM(ag_select(x, 2, 0), "[-2, 1], but got 2)");
    CHECK_DIM(ag_slice(x, -3, 0, 1, 1), "[-2, 1], but got -3)");
    CHECK_DIM(ag_narrow(x, 2, 0, 1), "[-2, 1], but got 2)");
    CHECK_DIM(ag_cat(list, 2, 2), "[-2, 1], but got 2)");
    CHECK_DIM(ag_cat(list, 2, INT32_MIN), "[-2, 1], but got");
    CHECK_DIM(ag_stack(list, 2, 3), "[-3, 2], but got 3)");
    CHECK_DIM(ag_flip(x, AG_DIMS(0, 2)), "[-2, 1], but got 2)");
    CHECK_DIM(ag_sum(x, .dims = AG_DIMS(2)), "[-2, 1], but got 2)");
    CHECK_DIM(ag_sum(s, .dims = AG_DIMS(1)), "[-1, 0], but got 1)");
    CHECK_DIM(ag_mean(x, .dims = AG_DIMS(0, -3)), "[-2, 1], but got -3)");
    CHECK_DIM(ag_prod(x, .dims = AG_DIMS(INT64_MAX)), "[-2, 1], but got 9223372036854775807)");
    CHECK_DIM(ag_amax(x, .dims = AG_DIMS(2)), "[-2, 1], but got 2)");
    CHECK_DIM(ag_amin(x, .dims = AG_DIMS(2)), "[-2, 1], but got 2)");
    CHECK_DIM(ag_var(x, .dims = AG_DIMS(2)), "[-2, 1], but got 2)");
    CHECK_DIM(ag_std(x, .dims = AG_DIMS(2)), "[-2, 1], but got 2)");
    CHECK_DIM(ag_logsumexp(x, .dims = AG_DIMS(2)), "[-2, 1], but got 2)");
    CHECK_DIM(ag_argmax(x, 2, false), "[-2, 1], but got 2)");
    CHECK_DIM(ag_argmax(s, -2, true), "[-1, 0], but got -2)");
    CHECK_DIM(ag_cumsum(x, 2), "[-2, 1], but got 2)");
    CHECK_DIM(ag_logcumsumexp(x, -3), "[-2, 1], but got -3)");
    CHECK_DIM(ag_softmax(x, 2), "[-2, 1], but got 2)");
    CHECK_DIM(ag_log_softmax(x, INT32_MIN), "[-2, 1], but got -2147483648)");
    CHECK(ag_sum(s, .dims = AG_DIMS(0)) && ag_sum(s, .dims = AG_DIMS(-1)) && ag_cumsum(s, 0));
}

static void t_lists_of_dimensions(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1);
    const ag_ints missing = { NULL, 2 }, negative = { NULL, -1 },
                  long_list = { (int64_t[40]){ 0 }, 40 };
    CHECK(x && s);
    WATCH(x);
    CHECK_ERROR(ag_permute(x, AG_DIMS(0)), AG_ERR_SHAPE,
                "number of dimensions in the tensor input does not match the length of the desired "
                "ordering of dimensions i.e. input.dim() = 2 is not equal to len(dims) = 1");
    CHECK_ERROR(ag_permute(x, AG_DIMS(0, -2)), AG_ERR_VALUE, "duplicate dims are not allowed.");
    CHECK_ERROR(ag_permute(x, missing), AG_ERR_VALUE, "is NULL");
    CHECK_ERROR(ag_permute(x, negative), AG_ERR_SHAPE, "-1 numbers");
    CHECK_ERROR(ag_flip(x, AG_DIMS(0, 0)), AG_ERR_VALUE,
                "dim 0 appears multiple times in the list of dims");
    CHECK_ERROR(ag_flip(x, AG_DIMS(1, -1)), AG_ERR_VALUE, "dim 1 appears multiple times");
    CHECK_ERROR(ag_flip(s, AG_DIMS(0, -1)), AG_ERR_VALUE, "dim 0 appears multiple times");
    CHECK_ERROR(ag_flip(x, missing), AG_ERR_VALUE, "ag_flip: ");
    CHECK_ERROR(ag_flip(x, long_list), AG_ERR_VALUE, "ag_flip: ");
    CHECK_ERROR(ag_sum(x, .dims = AG_DIMS(0, 0)), AG_ERR_VALUE,
                "dim 0 appears multiple times in the list of dims");
    CHECK_ERROR(ag_amax(x, .dims = AG_DIMS(1, 0, -1)), AG_ERR_VALUE,
                "dim 1 appears multiple times");
    CHECK_ERROR(ag_mean(x, .dims = missing), AG_ERR_VALUE, "ag_mean: ");
    CHECK_ERROR(ag_sum(x, .dims = negative), AG_ERR_VALUE, "ag_sum: ");
    CHECK_ERROR(ag_logsumexp(x, .dims = long_list), AG_ERR_VALUE, "ag_logsumexp: ");
    CHECK_ERROR(ag_flatten(x, 1, 0), AG_ERR_INDEX,
                "flatten() has invalid args: start_dim cannot come after end_dim");
    CHECK_ERROR(ag_t(ag_ones(c, AG_SHAPE(2, 2, 2))), AG_ERR_SHAPE,
                "t() expects a tensor with <= 2 dimensions, but self is 3D");
    CHECK_ERROR(ag_tril(ag_ones(c, AG_SHAPE(3)), 0), AG_ERR_SHAPE,
                "input tensor must have at least 2 dimensions");
    CHECK_ERROR(ag_triu(s, 0), AG_ERR_SHAPE, "input tensor must have at least 2 dimensions");
}

static void t_highest_rank(ag_context *c)
{
    const int64_t ones[AG_MAX_DIMS] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    const ag_ints most = { ones, AG_MAX_DIMS };
    ag_tensor *x = ag_ones(c, most), *i = ag_zeros(c, most, .dtype = AG_I64), *list[] = { x, x };
    CHECK(x && i);
    CHECK_ERROR(ag_unsqueeze(x, 0), AG_ERR_SHAPE, "the tensor has 16 dimensions already");
    CHECK_ERROR(ag_stack(list, 2, 0), AG_ERR_SHAPE, "the tensors have 16 dimensions already");
    CHECK_ERROR(ag_one_hot(i, 2), AG_ERR_SHAPE, "the result would have 17 dimensions");
    CHECK_ERROR(ag_embedding(ag_ones(c, AG_SHAPE(2, 2)), i), AG_ERR_SHAPE,
                "the result would have 17 dimensions");
    CHECK(ag_sum(x, .dims = AG_DIMS(15)) && ag_add(x, x) && ag_cat(list, 2, 15) &&
          ag_flip(x, AG_DIMS(15)));
}

/* ---- parts ---- */

static void t_parts(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1);
    CHECK(x && s);
    WATCH(x);
    CHECK_ERROR(ag_select(x, 0, 2), AG_ERR_INDEX,
                "index 2 out of range for tensor of size [2, 3] at dimension 0");
    CHECK_ERROR(ag_select(x, 0, -3), AG_ERR_INDEX,
                "index -3 out of range for tensor of size [2, 3] at dimension 0");
    CHECK_ERROR(ag_select(x, 1, INT64_MIN), AG_ERR_INDEX, "out of range for tensor of size [2, 3]");
    CHECK_ERROR(ag_select(x, 1, INT64_MAX), AG_ERR_INDEX, "out of range for tensor of size [2, 3]");
    CHECK_ERROR(ag_select(s, 0, 0), AG_ERR_INDEX, "select() cannot be applied to a 0-dim tensor.");
    CHECK_ERROR(ag_slice(s, 0, 0, 1, 1), AG_ERR_INDEX,
                "slice() cannot be applied to a 0-dim tensor.");
    CHECK_ERROR(ag_slice(x, 0, 0, 2, 0), AG_ERR_VALUE, "slice step must be positive");
    CHECK_ERROR(ag_slice(x, 0, 0, 2, -1), AG_ERR_VALUE, "slice step must be positive");
    CHECK_ERROR(ag_narrow(s, 0, 0, 0), AG_ERR_INDEX,
                "narrow() cannot be applied to a 0-dim tensor.");
    CHECK_ERROR(ag_narrow(x, 0, 1, 2), AG_ERR_VALUE,
                "start (1) + length (2) exceeds dimension size (2).");
    CHECK_ERROR(ag_narrow(x, 0, 1, INT64_MAX), AG_ERR_VALUE, "exceeds dimension size (2).");
    CHECK_ERROR(ag_narrow(x, 0, 3, 0), AG_ERR_INDEX,
                "start out of range (expected to be in range of [-2, 2], but got 3)");
    CHECK_ERROR(ag_narrow(x, 0, INT64_MIN, 0), AG_ERR_INDEX, "start out of range");
    CHECK_ERROR(ag_narrow(x, 0, 0, -1), AG_ERR_VALUE, "length must be non-negative.");
    CHECK_INT(ag_numel(ag_slice(x, 1, INT64_MIN, INT64_MAX, INT64_MAX)), 2);
    CHECK_INT(ag_numel(ag_slice(x, 1, INT64_MAX, INT64_MIN, 1)), 0);
    CHECK_VALUES(ag_tril(x, INT64_MAX), AG_SHAPE(2, 3), AG_VALUES(1, 1, 1, 1, 1, 1), 0);
    CHECK_VALUES(ag_tril(x, INT64_MIN), AG_SHAPE(2, 3), AG_VALUES(0, 0, 0, 0, 0, 0), 0);
    CHECK_VALUES(ag_triu(x, INT64_MAX), AG_SHAPE(2, 3), AG_VALUES(0, 0, 0, 0, 0, 0), 0);
    CHECK_VALUES(ag_triu(x, INT64_MIN), AG_SHAPE(2, 3), AG_VALUES(1, 1, 1, 1, 1, 1), 0);
}

static void t_joining(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *v = ag_ones(c, AG_SHAPE(3)), *s = ag_scalar(c, 1);
    ag_tensor *wide = ag_ones(c, AG_SHAPE(3, 4)), *many[3] = { NULL };
    CHECK(x && v && s && wide);
    ag_tensor *ranks[] = { x, v }, *sizes[] = { x, wide }, *scalars[] = { x, s };
    WATCH(x);
    CHECK_ERROR(ag_cat(ranks, 2, 0), AG_ERR_SHAPE,
                "Tensors must have same number of dimensions: got 2 and 1");
    CHECK_ERROR(ag_cat(sizes, 2, 0), AG_ERR_SHAPE,
                "Sizes of tensors must match except in dimension 0. Expected size 3 but got size 4 "
                "for tensor number 1 in the list.");
    CHECK_ERROR(ag_cat(scalars, 2, 0), AG_ERR_SHAPE,
                "zero-dimensional tensor (at position 1) cannot be concatenated");
    CHECK_ERROR(
        ag_stack(ranks, 2, 0), AG_ERR_SHAPE,
        "stack expects each tensor to be equal size, but got [2, 3] at entry 0 and [3] at entry 1");
    for (int i = 0; i < 3; i++)
        CHECK(many[i] = ag_expand(s, AG_SHAPE((int64_t)1 << 60)));
    static ag_tensor *crowd[70000];
    for (int i = 0; i < 70000; i++)
        crowd[i] = x;
    CHECK_ERROR(ag_cat(crowd, 70000, 0), AG_ERR_VALUE, "70000 tensors are more than 65535");
    CHECK_ERROR(ag_stack(crowd, 70000, 0), AG_ERR_VALUE, "70000 tensors are more than 65535");
    CHECK_ERROR(ag_cat(many, 3, 0), AG_ERR_SHAPE, "Storage size calculation overflowed");
    CHECK_ERROR(ag_stack(many, 3, 0), AG_ERR_SHAPE, "Storage size calculation overflowed");
}

/* ---- reductions ---- */

static void t_reducing_nothing(ag_context *c)
{
    ag_tensor *e = ag_ones(c, AG_SHAPE(0, 3));
    CHECK(e);
    CHECK_ERROR(ag_amax(e), AG_ERR_VALUE,
                "amax: Expected reduction dim to be specified for input.numel() == 0. Specify the "
                "reduction dim with the 'dim' argument.");
    CHECK_ERROR(ag_amin(e, .dims = AG_DIMS(0)), AG_ERR_INDEX,
                "amin: Expected reduction dim 0 to have non-zero size.");
    CHECK_ERROR(ag_argmax(e, 0, false), AG_ERR_INDEX,
                "argmax: Expected reduction dim 0 to have non-zero size.");
    CHECK_INT(ag_numel(ag_amax(e, .dims = AG_DIMS(1))), 0);
    CHECK_INT(ag_numel(ag_argmax(e, 1, false)), 0);
    CHECK_CLOSE(ag_item(ag_sum(e)), 0, 0);
    CHECK_CLOSE(ag_item(ag_prod(e)), 1, 0);
    CHECK_CLOSE(ag_item(ag_mean(e)), NAN, 0);
    CHECK_CLOSE(ag_item(ag_var(e)), NAN, 0);
    CHECK_CLOSE(ag_item(ag_logsumexp(e)), -INFINITY, 0);
}

static void t_dtypes_of_reductions(ag_context *c)
{
    ag_tensor *i = ag_ones(c, AG_SHAPE(2), .dtype = AG_I64),
              *b = ag_ones(c, AG_SHAPE(2), .dtype = AG_BOOL);
    CHECK(i && b);
    WATCH(i);
    CHECK_ERROR(
        ag_mean(i), AG_ERR_DTYPE,
        "could not infer output dtype. Input dtype must be either a floating point or complex "
        "dtype. Got: int64");
    CHECK_ERROR(ag_mean(b), AG_ERR_DTYPE, "could not infer output dtype");
    CHECK_ERROR(ag_var(i), AG_ERR_DTYPE,
                "std and var only support floating point and complex dtypes");
    CHECK_ERROR(ag_std(b), AG_ERR_DTYPE,
                "std and var only support floating point and complex dtypes");
    CHECK_ERROR(ag_logcumsumexp(i, 0), AG_ERR_DTYPE, "not implemented for int64");
    CHECK_ERROR(ag_softmax(i, 0), AG_ERR_DTYPE, "not implemented for int64");
    CHECK_ERROR(ag_log_softmax(b, 0), AG_ERR_DTYPE, "not implemented for bool");
    CHECK_CLOSE(ag_item(ag_logsumexp(i)), 1 + log(2), 1e-6);
}

/* ---- results that overflow, though their operands do not ---- */

static void t_results_that_overflow(ag_context *c)
{
    const int64_t half = (int64_t)1 << 31;
    ag_tensor *s = ag_scalar(c, 1), *zero = ag_zeros(c, AG_SHAPE(1, 1), .dtype = AG_I32);
    CHECK(s && zero);
    ag_tensor *column = ag_expand(s, AG_SHAPE(huge, 1)), *row = ag_expand(s, AG_SHAPE(1, huge));
    ag_tensor *bytes =
        ag_expand(ag_zeros(c, AG_SHAPE(1), .dtype = AG_U8), AG_SHAPE((int64_t)1 << 61));
    ag_tensor *index = ag_expand(ag_reshape(zero, AG_SHAPE(1)), AG_SHAPE(huge));
    ag_tensor *tall = ag_expand(s, AG_SHAPE(1, half, 1)),
              *wide = ag_expand(s, AG_SHAPE(1, 1, half));
    CHECK(column && row && bytes && index && tall && wide);
    static const char sentence[] = "Storage size calculation overflowed with sizes=[";
    CHECK_ERROR(ag_add(column, row), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_to(bytes, AG_F64), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_exp(bytes), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_cumsum(bytes, 0), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_sum(ag_unsqueeze(bytes, 0), .dims = AG_DIMS(0)), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_argmax(ag_unsqueeze(bytes, 0), 0, false), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_mm(column, row), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_matmul(column, row), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_bmm(tall, wide), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_linear(column, ag_t(row), NULL), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_addmm(s, column, row), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_index_select(row, 0, index), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_embedding(row, index), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_one_hot(zero, INT64_MAX), AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_one_hot(ag_full(c, AG_SHAPE(1), 0x1p60, .dtype = AG_I64), -1), AG_ERR_SHAPE,
                sentence);
    CHECK_ERROR(ag_gather(ag_ones(c, AG_SHAPE(1), .dtype = AG_F64), 0,
                          ag_expand(ag_reshape(zero, AG_SHAPE(1)), AG_SHAPE((int64_t)1 << 60))),
                AG_ERR_SHAPE, sentence);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_reshape), TEST(t_expand), TEST(t_dimensions), TEST(t_lists_of_dimensions),
               TEST(t_highest_rank), TEST(t_parts), TEST(t_joining), TEST(t_reducing_nothing),
               TEST(t_dtypes_of_reductions), TEST(t_results_that_overflow));
}
