/* Bad inputs of what reads and writes by index and by mask; nothing may change. */
#include "harness.h"

#define VECTOR(...)                                                                                \
    ag_array(c, AG_VALUES(__VA_ARGS__),                                                            \
             AG_SHAPE(sizeof((double[]){ __VA_ARGS__ }) / sizeof(double)), .dtype = AG_I64)
#define MATRIX(n, m, ...) ag_array(c, AG_VALUES(__VA_ARGS__), AG_SHAPE(n, m), .dtype = AG_I64)
#define LIST(...)                                                                                  \
    (ag_tensor *[]) { __VA_ARGS__ }

typedef struct {
    ag_tensor *x, *s, *i, *wrong, *mask, *narrow, *bytes, *reals, *shorts;
} inputs;

static inputs make(ag_context *c)
{
    inputs in = { .x = ag_ones(c, AG_SHAPE(2, 3)),
                  .s = ag_scalar(c, 1),
                  .i = VECTOR(0, 1),
                  .wrong = VECTOR(0, 5),
                  .mask = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_BOOL),
                  .narrow = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_BOOL),
                  .bytes = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_U8),
                  .reals = ag_zeros(c, AG_SHAPE(2)),
                  .shorts = ag_zeros(c, AG_SHAPE(2), .dtype = AG_I16) };
    CHECK(in.x && in.s && in.i && in.wrong && in.mask && in.narrow && in.bytes && in.reals &&
          in.shorts);
    WATCH(in.x);
    WATCH(in.i);
    return in;
}

static void t_index(ag_context *c)
{
    const inputs in = make(c);
    ag_tensor *x = in.x, *many = VECTOR(0, 1, 2), *low = VECTOR(0, -4), *row = VECTOR(1);
    ag_tensor *one = ag_ones(c, AG_SHAPE(1), .dtype = AG_U8), *list[17] = { in.i };
    CHECK(many && low && row && one);
    CHECK_ERROR(ag_index(x, LIST(in.i, many), 2), AG_ERR_INDEX,
                "ag_index: shape mismatch: indexing tensors could not be broadcast together with "
                "shapes [2], [3]");
    CHECK_ERROR(ag_index(x, LIST(in.mask, NULL), 2), AG_ERR_INDEX,
                "too many indices for tensor of dimension 2 (got 3)");
    CHECK_ERROR(ag_index(x, LIST(in.i, in.wrong), 2), AG_ERR_INDEX,
                "index 5 is out of bounds for dimension 1 with size 3");
    CHECK_ERROR(ag_index(x, LIST(in.i, low), 2), AG_ERR_INDEX,
                "index -4 is out of bounds for dimension 1 with size 3");
    CHECK_ERROR(ag_index(x, LIST(in.i, in.i, in.i), 3), AG_ERR_INDEX,
                "too many indices for tensor of dimension 2 (got 3)");
    CHECK_ERROR(ag_index(x, LIST(NULL, NULL, NULL), 3), AG_ERR_INDEX,
                "too many indices for tensor of dimension 2 (got 3)");
    CHECK_ERROR(ag_index(in.s, LIST(row), 1), AG_ERR_INDEX,
                "too many indices for tensor of dimension 0 (got 1)");
    CHECK_ERROR(ag_index(x, list, 17), AG_ERR_INDEX,
                "too many indices for tensor of dimension 2 (got 17)");
    CHECK_ERROR(ag_index(x, list, 0), AG_ERR_INDEX, "at least one index must be provided");
    CHECK_ERROR(ag_index(x, list, -1), AG_ERR_INDEX, "at least one index must be provided");
    CHECK_ERROR(ag_index(x, NULL, 2), AG_ERR_INDEX, "at least one index must be provided");
    CHECK_ERROR(ag_index(x, &in.reals, 1), AG_ERR_DTYPE,
                "tensors used as indices must be long, int, byte or bool tensors");
    CHECK_ERROR(ag_index(x, &in.shorts, 1), AG_ERR_DTYPE,
                "tensors used as indices must be long, int, byte or bool tensors");
    CHECK_ERROR(ag_index(x, &in.narrow, 1), AG_ERR_INDEX,
                "The shape of the mask [2, 2] at index 1 does not match the shape of the indexed "
                "tensor [2, 3] at index 1");
    CHECK_ERROR(ag_index(x, LIST(NULL, one), 2), AG_ERR_INDEX,
                "The shape of the mask [1] at index 0 does not match the shape of the indexed "
                "tensor [2, 3] at index 1");
    CHECK_ERROR(ag_index(x, LIST(in.mask, in.i), 2), AG_ERR_INDEX,
                "too many indices for tensor of dimension 2 (got 3)");
    CHECK(!ag_index(NULL, NULL, 0));
}

static void t_index_put(ag_context *c)
{
    const inputs in = make(c);
    ag_tensor *x = in.x, *pair = ag_ones(c, AG_SHAPE(2)), *deep = ag_ones(c, AG_SHAPE(1, 1, 2));
    ag_tensor *wide = ag_scalar(c, 1, .dtype = AG_F64), *count = ag_scalar(c, 1, .dtype = AG_I64);
    CHECK(pair && deep && wide && count);
    CHECK_ERROR(ag_index_put(x, &in.i, 1, wide, false), AG_ERR_DTYPE,
                "Index put requires the source and destination dtypes match, got float32 for the "
                "destination and float64 for the source.");
    CHECK_ERROR(ag_index_put(x, &in.i, 1, count, true), AG_ERR_DTYPE,
                "got float32 for the destination and int64 for the source.");
    CHECK_ERROR(ag_index_put(x, &in.i, 1, pair, false), AG_ERR_SHAPE,
                "ag_index_put: shape mismatch: value tensor of shape [2] cannot be broadcast to "
                "indexing result of shape [2, 3]");
    CHECK_ERROR(ag_index_put(x, LIST(in.i, in.i), 2, deep, false), AG_ERR_SHAPE,
                "value tensor of shape [1, 1, 2] cannot be broadcast to indexing result of shape "
                "[2]");
    CHECK_ERROR(ag_index_put(x, &in.mask, 1, pair, false), AG_ERR_SHAPE,
                "value tensor of shape [2] cannot be broadcast to indexing result of shape [6]");
    CHECK_ERROR(ag_index_put(x, &in.wrong, 1, in.s, false), AG_ERR_INDEX,
                "ag_index_put: index 5 is out of bounds for dimension 0 with size 2");
    CHECK_ERROR(ag_index_put(x, LIST(NULL), 0, in.s, false), AG_ERR_INDEX,
                "ag_index_put: at least one index must be provided");
    CHECK_ERROR(ag_index_put(x, &in.i, 1, NULL, false), AG_ERR_VALUE,
                "ag_index_put: the value is NULL");
    CHECK(!ag_index_put(NULL, &in.i, 1, in.s, false));
}

static void t_index_add(ag_context *c)
{
    const inputs in = make(c);
    ag_tensor *x = in.x, *s = in.s, *src = ag_ones(c, AG_SHAPE(2, 3)), *one = VECTOR(0);
    ag_tensor *wide = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_F64), *at = MATRIX(1, 1, 0);
    ag_tensor *low = VECTOR(0, -1), *zero = VECTOR(0, 0), *v = ag_ones(c, AG_SHAPE(2));
    ag_tensor *narrow = ag_ones(c, AG_SHAPE(1, 2)), *long_v = ag_ones(c, AG_SHAPE(3));
    CHECK(src && one && wide && at && low && zero && v && narrow && long_v);
    CHECK_ERROR(ag_index_add(x, 0, in.wrong, src), AG_ERR_INDEX,
                "ag_index_add: index 5 is out of bounds for dimension 0 with size 2");
    CHECK_ERROR(ag_index_add(x, 0, low, src), AG_ERR_INDEX,
                "index -1 is out of bounds for dimension 0 with size 2");
    CHECK_ERROR(ag_index_add(x, 0, at, src), AG_ERR_SHAPE, "Index is supposed to be a vector");
    CHECK_ERROR(ag_index_add(x, 0, in.reals, src), AG_ERR_DTYPE,
                "Expected dtype int32 or int64 for index");
    CHECK_ERROR(ag_index_add(x, 0, in.i, wide), AG_ERR_DTYPE,
                "self (float32) and source (float64) must have the same scalar type");
    CHECK_ERROR(ag_index_add(x, 0, one, src), AG_ERR_SHAPE,
                "Number of indices (1) should be equal to source.size(dim): (2), for dim: 0");
    CHECK_ERROR(ag_index_add(x, 0, one, narrow), AG_ERR_SHAPE,
                "source tensor shape must match self tensor shape, excluding the specified "
                "dimension. Got self.shape = [2, 3] source.shape = [1, 2]");
    CHECK_ERROR(ag_index_add(x, 1, one, long_v), AG_ERR_SHAPE, "source tensor shape must match");
    CHECK_ERROR(ag_index_add(s, 0, zero, v), AG_ERR_SHAPE,
                "Got self.shape = [] source.shape = [2]");
    CHECK_ERROR(ag_index_add(x, 2, in.i, src), AG_ERR_INDEX,
                "ag_index_add: Dimension out of range (expected to be in range of [-2, 1], but got "
                "2)");
    CHECK_ERROR(ag_index_add(x, 0, NULL, src), AG_ERR_VALUE, "ag_index_add: operand 1 is NULL");
    CHECK_ERROR(ag_index_add(x, 0, in.i, NULL), AG_ERR_VALUE, "ag_index_add: operand 2 is NULL");
    CHECK(!ag_index_add(NULL, 9, in.i, src));
}

typedef ag_tensor *scatter_fn(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src);

static void check_scatter(ag_context *c, scatter_fn *f)
{
    const inputs in = make(c);
    ag_tensor *x = in.x, *at = MATRIX(1, 3, 0, 1, 0), *wrong = MATRIX(1, 3, 0, 1, 5);
    ag_tensor *low = MATRIX(1, 3, 0, 1, -1), *wide_at = MATRIX(1, 4, 0, 1, 0, 0);
    ag_tensor *src = ag_ones(c, AG_SHAPE(1, 3)), *narrow = ag_ones(c, AG_SHAPE(1, 2));
    ag_tensor *wide = ag_ones(c, AG_SHAPE(1, 4)), *v = ag_ones(c, AG_SHAPE(3));
    ag_tensor *other = ag_ones(c, AG_SHAPE(1, 3), .dtype = AG_F64), *line = VECTOR(0, 1, 0);
    ag_tensor *shorts = ag_zeros(c, AG_SHAPE(1, 3), .dtype = AG_I16);
    CHECK(at && wrong && low && wide_at && src && narrow && wide && v && other && line && shorts);
    CHECK_ERROR(f(x, 0, wrong, src), AG_ERR_INDEX,
                "index 5 is out of bounds for dimension 0 with size 2");
    CHECK_ERROR(f(x, 0, low, src), AG_ERR_INDEX,
                "index -1 is out of bounds for dimension 0 with size 2");
    CHECK_ERROR(f(x, 0, wide_at, wide), AG_ERR_SHAPE,
                "Expected index [1, 4] to be no larger than self [2, 3] apart from dimension 0 and "
                "to be no larger size than src [1, 4]");
    CHECK_ERROR(f(x, 0, at, narrow), AG_ERR_SHAPE, "and to be no larger size than src [1, 2]");
    CHECK_ERROR(f(x, 0, line, v), AG_ERR_SHAPE,
                "Index tensor must have the same number of dimensions as self tensor");
    CHECK_ERROR(f(x, 0, at, v), AG_ERR_SHAPE,
                "Index tensor must have the same number of dimensions as src tensor");
    CHECK_ERROR(f(x, 0, at, other), AG_ERR_DTYPE, "Expected self.dtype to be equal to src.dtype");
    CHECK_ERROR(f(x, 0, shorts, src), AG_ERR_DTYPE, "Expected dtype int32 or int64 for index");
    CHECK_ERROR(f(x, 2, at, src), AG_ERR_INDEX,
                "Dimension out of range (expected to be in range of [-2, 1], but got 2)");
    CHECK_ERROR(f(x, 0, NULL, src), AG_ERR_VALUE, "operand 1 is NULL");
    CHECK_ERROR(f(x, 0, at, NULL), AG_ERR_VALUE, "operand 2 is NULL");
    CHECK(!f(NULL, 0, at, src));
}

static void t_scatter(ag_context *c) { check_scatter(c, ag_scatter); }
static void t_scatter_add(ag_context *c) { check_scatter(c, ag_scatter_add); }

static void t_take(ag_context *c)
{
    const inputs in = make(c);
    ag_tensor *high = VECTOR(0, 6), *low = VECTOR(0, -7), *empty = ag_zeros(c, AG_SHAPE(0, 3));
    CHECK(high && low && empty);
    CHECK_ERROR(ag_take(in.x, high), AG_ERR_INDEX,
                "out of range: tried to access index 6 on a tensor of 6 elements.");
    CHECK_ERROR(ag_take(in.x, low), AG_ERR_INDEX,
                "out of range: tried to access index -7 on a tensor of 6 elements.");
    CHECK_ERROR(ag_take(in.x, in.reals), AG_ERR_DTYPE, "Expected dtype int32 or int64 for index");
    CHECK_ERROR(ag_take(empty, in.i), AG_ERR_INDEX, "ag_take: tried to take from an empty tensor");
    CHECK_ERROR(ag_take(in.x, NULL), AG_ERR_VALUE, "ag_take: operand 1 is NULL");
    CHECK(!ag_take(NULL, NULL));
}

static void t_masked(ag_context *c)
{
    const inputs in = make(c);
    ag_tensor *x = in.x, *few = ag_ones(c, AG_SHAPE(5)),
              *wide = ag_ones(c, AG_SHAPE(6), .dtype = AG_F64);
    CHECK(few && wide);
    CHECK_ERROR(ag_masked_select(x, in.bytes), AG_ERR_DTYPE,
                "masked_select: expected BoolTensor for mask");
    CHECK_ERROR(ag_masked_select(x, in.narrow), AG_ERR_SHAPE,
                "The size of tensor a (3) must match the size of tensor b (2) at non-singleton "
                "dimension 1");
    CHECK_ERROR(ag_masked_select(x, NULL), AG_ERR_VALUE, "ag_masked_select: operand 1 is NULL");
    CHECK(!ag_masked_select(NULL, NULL));
    CHECK_ERROR(ag_masked_scatter(x, in.mask, few), AG_ERR_SHAPE,
                "Number of elements of source < number of ones in mask: 5 and 6");
    CHECK_ERROR(ag_masked_scatter(x, in.mask, wide), AG_ERR_DTYPE,
                "expected self and source to have same dtypes but got float32 and float64");
    CHECK_ERROR(ag_masked_scatter(x, in.bytes, x), AG_ERR_DTYPE,
                "masked_scatter_ only supports boolean masks, but got mask with dtype uint8");
    CHECK_ERROR(ag_masked_scatter(x, in.narrow, x), AG_ERR_SHAPE,
                "must match the size of tensor b (2) at non-singleton dimension 1");
    CHECK_ERROR(ag_masked_scatter(x, in.mask, NULL), AG_ERR_VALUE,
                "ag_masked_scatter: operand 2 is NULL");
    CHECK(!ag_masked_scatter(NULL, NULL, NULL));
}

static void t_too_deep(ag_context *c)
{
    int64_t ones[AG_MAX_DIMS];
    for (int i = 0; i < AG_MAX_DIMS; i++)
        ones[i] = 1;
    ag_tensor *deep = ag_ones(c, ((ag_ints){ ones, AG_MAX_DIMS })), *at = MATRIX(1, 1, 0);
    CHECK(deep && at);
    CHECK_ERROR(ag_index(deep, &at, 1), AG_ERR_SHAPE,
                "ag_index: the result would have 17 dimensions; tensors have 0 to 16");
}

static void t_two_contexts(ag_context *c)
{
    ag_context *other = ag_open();
    CHECK(other);
    harness_defer((void (*)(void *))ag_close, other);
    ag_tensor *x = ag_ones(c, AG_SHAPE(2)), *i = VECTOR(0);
    ag_tensor *there = ag_zeros(other, AG_SHAPE(1), .dtype = AG_I64), *v = ag_scalar(other, 1);
    CHECK(x && i && there && v);
    CHECK_ERROR(ag_index(x, &there, 1), AG_ERR_VALUE, "belong to different contexts; use ag_share");
    CHECK_ERROR(ag_index_put(x, &i, 1, v, false), AG_ERR_VALUE, "belong to different contexts");
    CHECK_ERROR(ag_take(x, there), AG_ERR_VALUE, "belong to different contexts");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_index), TEST(t_index_put), TEST(t_index_add), TEST(t_scatter),
               TEST(t_scatter_add), TEST(t_take), TEST(t_masked), TEST(t_too_deep),
               TEST(t_two_contexts));
}
