/* Bad inputs of views by strides, and what their gradients say about places outside the operand. */
#include "harness.h"

static const int64_t huge = (int64_t)1 << 40;

static void t_as_strided(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *y;
    const ag_ints missing = { NULL, 1 }, negative = { NULL, -1 },
                  long_list = { (int64_t[17]){ 1 }, 17 };
    CHECK(x);
    WATCH(x);
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(2), AG_DIMS(-1), 0), AG_ERR_VALUE,
                "ag_as_strided: Negative strides are not supported at the moment, got strides: "
                "[-1]");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(2), AG_DIMS(1, 2), 0), AG_ERR_SHAPE,
                "mismatch in length of strides and shape");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(2), AG_DIMS(4), 2), AG_ERR_VALUE,
                "setStorage: sizes [2], strides [4], storage offset 2, and itemsize 4 requiring a "
                "storage size of 28 are out of bounds for storage of size 24");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(), AG_DIMS(), 6), AG_ERR_VALUE,
                "setStorage: sizes [], strides [], storage offset 6, and itemsize 4 requiring a "
                "storage size of 28 are out of bounds for storage of size 24");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(2), AG_DIMS(1), -1), AG_ERR_VALUE,
                "Tensor: invalid storage offset -1");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(2), AG_DIMS(1), INT64_MAX), AG_ERR_SHAPE,
                "Storage size calculation overflowed with sizes=[2] and strides=[1]");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(3), AG_DIMS(INT64_MAX), 0), AG_ERR_SHAPE,
                "Storage size calculation overflowed");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(huge, huge), AG_DIMS(0, 0), 0), AG_ERR_SHAPE,
                "Storage size calculation overflowed with sizes=[1099511627776, 1099511627776]");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(-2), AG_DIMS(1), 0), AG_ERR_SHAPE,
                "negative dimension -2: [-2]");
    CHECK_ERROR(ag_as_strided(x, missing, AG_DIMS(1), 0), AG_ERR_VALUE,
                "the list of sizes is NULL");
    CHECK_ERROR(ag_as_strided(x, AG_SHAPE(1), missing, 0), AG_ERR_VALUE,
                "the list of strides is NULL");
    CHECK_ERROR(ag_as_strided(x, negative, negative, 0), AG_ERR_SHAPE, "shape has -1 dimensions");
    CHECK_ERROR(ag_as_strided(x, long_list, long_list, 0), AG_ERR_SHAPE, "shape has 17 dimensions");
    CHECK(!ag_as_strided(NULL, missing, negative, -1));
    CHECK(y = ag_as_strided(x, AG_SHAPE(0), AG_DIMS(4), 100));
    CHECK_INT(ag_numel(y), 0);
    CHECK(y = ag_as_strided(x, AG_SHAPE(), AG_DIMS(), 5));
    CHECK_CLOSE(ag_item(y), 1, 0);
}

static void t_diagonal(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1), *y;
    CHECK(x && s);
    WATCH(x);
    CHECK_ERROR(ag_diagonal(x, 0, 0, -2), AG_ERR_VALUE,
                "ag_diagonal: diagonal dimensions cannot be identical 0, -2");
    CHECK_ERROR(ag_diagonal(x, 0, 0, 2), AG_ERR_INDEX,
                "Dimension out of range (expected to be in range of [-2, 1], but got 2)");
    CHECK_ERROR(ag_diagonal(s, 0, 0, 1), AG_ERR_INDEX,
                "Dimension out of range (expected to be in range of [-1, 0], but got 1)");
    CHECK(!ag_diagonal(NULL, 0, 9, 9));
    CHECK(y = ag_diagonal(x, INT64_MIN, 0, 1));
    CHECK_INT(ag_numel(y), 0);
    CHECK(y = ag_diagonal(x, INT64_MAX, 0, 1));
    CHECK_INT(ag_numel(y), 0);
}

static void t_unfold(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1), *y;
    int64_t ones[AG_MAX_DIMS];
    for (int i = 0; i < AG_MAX_DIMS; i++)
        ones[i] = 1;
    ag_tensor *deep = ag_ones(c, ((ag_ints){ ones, AG_MAX_DIMS }));
    CHECK(x && s && deep);
    WATCH(x);
    CHECK_ERROR(ag_unfold(x, 1, 4, 1), AG_ERR_VALUE,
                "ag_unfold: maximum size for tensor at dimension 1 is 3 but size is 4");
    CHECK_ERROR(ag_unfold(x, 1, -1, 1), AG_ERR_VALUE, "size is -1 but must be >= 0");
    CHECK_ERROR(ag_unfold(x, 1, 2, 0), AG_ERR_VALUE, "step is 0 but must be > 0");
    CHECK_ERROR(ag_unfold(x, 1, 2, INT64_MIN), AG_ERR_VALUE, "but must be > 0");
    CHECK_ERROR(ag_unfold(x, 2, 2, 1), AG_ERR_INDEX, "Dimension out of range");
    CHECK_ERROR(ag_unfold(s, 0, 2, 1), AG_ERR_VALUE,
                "maximum size for tensor at dimension 0 is 1 but size is 2");
    CHECK_ERROR(ag_unfold(deep, 0, 1, 1), AG_ERR_SHAPE,
                "the result would have 17 dimensions; tensors have 0 to 16");
    CHECK(!ag_unfold(NULL, 9, -1, 0));
    CHECK(y = ag_unfold(x, 1, 1, INT64_MAX));
    CHECK_VALUES(y, AG_SHAPE(2, 1, 1), AG_VALUES(1, 1), 0);
}

static void t_movedim(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1), *y;
    CHECK(x && s);
    WATCH(x);
    CHECK_ERROR(ag_movedim(x, 0, 2), AG_ERR_INDEX,
                "ag_movedim: Dimension out of range (expected to be in range of [-2, 1], but got "
                "2)");
    CHECK_ERROR(ag_movedim(x, -3, 0), AG_ERR_INDEX, "but got -3)");
    CHECK_ERROR(ag_movedim(s, 0, 1), AG_ERR_INDEX, "[-1, 0], but got 1)");
    CHECK(!ag_movedim(NULL, 9, 9));
    CHECK(y = ag_movedim(s, -1, 0));
    CHECK_INT(ag_ndim(y), 0);
}

/* A view of the whole storage of a part: only the part is the view's operand. */
static void t_as_strided_outside(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(1, 2, 3, 4), AG_SHAPE(4), .requires_grad = true), *g;
    ag_tensor *part = ag_slice(x, 0, 1, 3, 1);
    ag_tensor *y = ag_as_strided(part, AG_SHAPE(4), AG_DIMS(1), 0);
    CHECK_VALUES(y, AG_SHAPE(4), AG_VALUES(1, 2, 3, 4), 0);
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "AsStridedBackward0");
    ag_tensor *loss = ag_sum(ag_mul(y, y));
    CHECK(ag_grad(&loss, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(4), AG_VALUES(0, 4, 6, 0), 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_as_strided), TEST(t_diagonal), TEST(t_unfold), TEST(t_movedim),
               TEST(t_as_strided_outside));
}
