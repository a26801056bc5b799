/* Bad inputs of creators and of the functions that read a tensor; every error changes nothing. */
#include "harness.h"

#include <stdlib.h>

static const int64_t big = (int64_t)1 << 62;

/* ---- shapes ---- */

static void t_sizes_that_overflow(ag_context *c)
{
    CHECK_ERROR(
        ag_zeros(c, AG_SHAPE(big, 4)), AG_ERR_SHAPE,
        "ag_zeros: Storage size calculation overflowed with sizes=[4611686018427387904, 4]");
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(big), .dtype = AG_F64), AG_ERR_SHAPE,
                "Storage size calculation overflowed with sizes=[4611686018427387904]");
    CHECK_ERROR(ag_ones(c, AG_SHAPE(big, big, 0)), AG_ERR_SHAPE,
                "Storage size calculation overflowed");
    CHECK_ERROR(ag_full(c, AG_SHAPE(0, big, 2), 1), AG_ERR_SHAPE,
                "Storage size calculation overflowed");
    CHECK_ERROR(ag_empty(c, AG_SHAPE(INT64_MAX)), AG_ERR_SHAPE,
                "Storage size calculation overflowed");
    CHECK_ERROR(ag_rand(c, AG_SHAPE(big, 4)), AG_ERR_SHAPE, "ag_rand: Storage size");
    CHECK_ERROR(ag_randn(c, AG_SHAPE(big, 4)), AG_ERR_SHAPE, "ag_randn: Storage size");
    CHECK_ERROR(ag_randint(c, 0, 2, AG_SHAPE(big, 4)), AG_ERR_SHAPE, "ag_randint: Storage size");
    CHECK_ERROR(ag_array(c, AG_VALUES(1), AG_SHAPE(big, 4)), AG_ERR_SHAPE,
                "ag_array: Storage size");
    CHECK_ERROR(ag_from_data(c, &big, AG_F32, AG_SHAPE(big, 4)), AG_ERR_SHAPE, "Storage size");
    CHECK_ERROR(ag_from_memory(c, NULL, AG_F32, AG_SHAPE(big, 4), NULL, NULL), AG_ERR_SHAPE,
                "ag_from_memory: Storage size");
    CHECK_ERROR(ag_eye(c, big), AG_ERR_SHAPE, "ag_eye: Storage size");
    CHECK_ERROR(ag_randperm(c, big), AG_ERR_SHAPE, "ag_randperm: Storage size");
    CHECK_ERROR(ag_linspace(c, 0, 1, big), AG_ERR_SHAPE, "ag_linspace: Storage size");
    CHECK_ERROR(ag_arange(c, 0, 4e18, 1), AG_ERR_SHAPE, "ag_arange: Storage size");
}

/* What fits into 63 bits and into no machine: the allocator says no, and headers and rounding up do
 * not wrap. */
static void t_sizes_without_memory(ag_context *c)
{
    ag_tensor *kept = ag_ones(c, AG_SHAPE(2));
    CHECK(kept);
    WATCH(kept);
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(INT64_MAX), .dtype = AG_U8), AG_ERR_MEMORY, "out of memory");
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(INT64_MAX - 63), .dtype = AG_I8), AG_ERR_MEMORY,
                "out of memory");
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(INT64_MAX / 8), .dtype = AG_F64), AG_ERR_MEMORY,
                "out of memory");
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(1024, 1024, 1024, 1024, 1024, 1024), .dtype = AG_BOOL),
                AG_ERR_MEMORY, "out of memory: could not allocate 1152921504606846976 bytes");
    CHECK_ERROR(ag_arange(c, 0, 1e18, 1), AG_ERR_MEMORY, "out of memory");
    CHECK_VALUES(ag_add(kept, 1), AG_SHAPE(2), AG_VALUES(2, 2), 0);
}

static void t_negative_sizes(ag_context *c)
{
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(-1)), AG_ERR_SHAPE,
                "Trying to create tensor with negative dimension -1: [-1]");
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(2, INT64_MIN)), AG_ERR_SHAPE,
                "negative dimension -9223372036854775808: [2, -9223372036854775808]");
    CHECK_ERROR(ag_empty(c, AG_SHAPE(0, -1)), AG_ERR_SHAPE, "negative dimension -1: [0, -1]");
    CHECK_ERROR(ag_from_memory(c, NULL, AG_F32, AG_SHAPE(-4), NULL, NULL), AG_ERR_SHAPE,
                "negative dimension -4");
    CHECK_ERROR(ag_eye(c, -1), AG_ERR_SHAPE, "n must be greater or equal to 0, got -1");
    CHECK_ERROR(ag_linspace(c, 0, 1, -1), AG_ERR_SHAPE, "number of steps must be non-negative");
    CHECK_ERROR(ag_randperm(c, -1), AG_ERR_SHAPE,
                "Trying to create tensor with negative dimension -1: [-1]");
}

static void t_ranks(ag_context *c)
{
    static const int64_t ones[65] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    const int ranks[] = { 17, 33, 65, 1000000, -1, INT32_MIN };
    for (int i = 0; i < 6; i++) {
        const ag_ints shape = { ones, ranks[i] };
        CHECK_ERROR(ag_zeros(c, shape), AG_ERR_SHAPE, "dimensions; tensors have 0 to 16");
    }
    const ag_ints most = { ones, 16 }, missing = { NULL, 2 };
    CHECK(ag_zeros(c, most));
    CHECK_ERROR(ag_zeros(c, missing), AG_ERR_VALUE, "ag_zeros: the list of sizes is NULL");
    CHECK_ERROR(ag_from_data(c, ones, AG_I64, missing), AG_ERR_VALUE, "the list of sizes is NULL");
}

/* ---- options ---- */

static void t_dtypes_that_are_none(ag_context *c)
{
    const ag_dtype dtypes[] = { (ag_dtype)99, (ag_dtype)10, (ag_dtype)-1, (ag_dtype)INT32_MIN };
    static const double data[4];
    for (int i = 0; i < 4; i++) {
        const ag_dtype d = dtypes[i];
        CHECK_ERROR(ag_zeros(c, AG_SHAPE(2), .dtype = d), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_scalar(c, 1, .dtype = d), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_array(c, AG_VALUES(1), AG_SHAPE(1), .dtype = d), AG_ERR_DTYPE,
                    "is not a dtype");
        CHECK_ERROR(ag_arange(c, 0, 3, 1, .dtype = d), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_linspace(c, 0, 3, 2, .dtype = d), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_eye(c, 2, .dtype = d), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_rand(c, AG_SHAPE(2), .dtype = d), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_randint(c, 0, 5, AG_SHAPE(2), .dtype = d), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_randperm(c, 2, .dtype = d), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_from_data(c, data, d, AG_SHAPE(1)), AG_ERR_DTYPE, "is not a dtype");
        CHECK_ERROR(ag_from_memory(c, NULL, d, AG_SHAPE(0), NULL, NULL), AG_ERR_DTYPE,
                    "is not a dtype");
        CHECK_TEXT(ag_dtype_name(d), "invalid");
        CHECK_INT(ag_dtype_size(d), 0);
    }
    CHECK_ERROR(ag_to(ag_ones(c, AG_SHAPE(2)), (ag_dtype)99), AG_ERR_DTYPE, "is not a dtype");
}

static void t_gradients_of_integers(ag_context *c)
{
    const ag_dtype dtypes[] = { AG_I8, AG_I16, AG_I32, AG_I64, AG_U8, AG_BOOL };
    static const char sentence[] =
        "Only Tensors of floating point and complex dtype can require gradients";
    static const double data[4];
    for (int i = 0; i < 6; i++) {
        const ag_dtype d = dtypes[i];
        CHECK_ERROR(ag_ones(c, AG_SHAPE(2), .dtype = d, .requires_grad = true), AG_ERR_DTYPE,
                    sentence);
        CHECK_ERROR(ag_scalar(c, 1, .dtype = d, .requires_grad = true), AG_ERR_DTYPE, sentence);
        CHECK_ERROR(ag_arange(c, 0, 3, 1, .dtype = d, .requires_grad = true), AG_ERR_DTYPE,
                    sentence);
        CHECK_ERROR(ag_from_data(c, data, d, AG_SHAPE(2), .requires_grad = true), AG_ERR_DTYPE,
                    sentence);
    }
    CHECK_ERROR(ag_randint(c, 0, 3, AG_SHAPE(2), .requires_grad = true), AG_ERR_DTYPE, sentence);
    CHECK_ERROR(ag_randperm(c, 3, .requires_grad = true), AG_ERR_DTYPE, sentence);
}

static void t_devices(ag_context *c)
{
    CHECK_ERROR(ag_ones(c, AG_SHAPE(2), .device = AG_CUDA), AG_ERR_UNSUPPORTED,
                "ag_ones: device 1 is not available");
    CHECK_ERROR(ag_scalar(c, 1, .device = (ag_device)99), AG_ERR_UNSUPPORTED,
                "device 99 is not available");
    CHECK_ERROR(ag_randn(c, AG_SHAPE(2), .device = (ag_device)-1), AG_ERR_UNSUPPORTED,
                "device -1 is not available");
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(2), .pin_memory = true), AG_ERR_UNSUPPORTED,
                "Cannot access accelerator device when none is available");
    CHECK_ERROR(ag_array(c, AG_VALUES(1), AG_SHAPE(1), .pin_memory = true), AG_ERR_UNSUPPORTED,
                "pin_memory");
}

/* ---- values ---- */

static void t_lists_of_values(ag_context *c)
{
    const ag_values missing = { NULL, 3 }, negative = { NULL, -1 };
    CHECK_ERROR(ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(2, 2)), AG_ERR_SHAPE,
                "ag_array: 3 values for shape [2, 2]");
    CHECK_ERROR(ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE()), AG_ERR_SHAPE, "3 values for shape []");
    CHECK_ERROR(ag_array(c, AG_VALUES(), AG_SHAPE(1)), AG_ERR_SHAPE, "0 values for shape [1]");
    CHECK_ERROR(ag_array(c, negative, AG_SHAPE(0)), AG_ERR_SHAPE, "-1 values for shape [0]");
    CHECK_ERROR(ag_array(c, missing, AG_SHAPE(3)), AG_ERR_VALUE, "ag_array: values is NULL");
    CHECK(ag_array(c, AG_VALUES(), AG_SHAPE(0)));
}

static int freed;
static void count_free(void *data, void *user)
{
    (void)data;
    (void)user;
    freed++;
}

/* Borrowing that fails takes nothing over: the caller still has to free its memory. */
static void t_memory_of_the_user(ag_context *c)
{
    static _Alignas(16) char data[64];
    freed = 0;
    CHECK_ERROR(ag_from_data(c, NULL, AG_F32, AG_SHAPE(2)), AG_ERR_VALUE, "data is NULL");
    CHECK_ERROR(ag_from_memory(c, NULL, AG_F32, AG_SHAPE(2), count_free, NULL), AG_ERR_VALUE,
                "data is NULL");
    CHECK_ERROR(ag_from_memory(c, data + 1, AG_F32, AG_SHAPE(2), count_free, NULL), AG_ERR_VALUE,
                "data is not aligned to the 4 bytes of float32");
    CHECK_ERROR(ag_from_memory(c, data + 4, AG_I64, AG_SHAPE(2), count_free, NULL), AG_ERR_VALUE,
                "data is not aligned to the 8 bytes of int64");
    CHECK_ERROR(ag_from_memory(c, data, AG_I64, AG_SHAPE(-2), count_free, NULL), AG_ERR_SHAPE,
                "negative dimension");
    CHECK_INT(freed, 0);
    CHECK(ag_from_data(c, data + 1, AG_F64, AG_SHAPE(2))); /* copying needs no alignment */
    CHECK(ag_from_data(c, NULL, AG_F64, AG_SHAPE(0)) &&
          ag_from_memory(c, NULL, AG_F64, AG_SHAPE(0, 3), NULL, NULL));
    AG_SCOPE (c)
        CHECK(ag_from_memory(c, data + 1, AG_U8, AG_SHAPE(2), count_free, NULL));
    CHECK_INT(freed, 1);
}

static void t_ranges(ag_context *c)
{
    CHECK_ERROR(ag_arange(c, 0, 5, 0), AG_ERR_VALUE, "step must be nonzero");
    CHECK_ERROR(ag_arange(c, 0, 5, -1), AG_ERR_VALUE,
                "upper bound and lower bound inconsistent with step sign");
    CHECK_ERROR(ag_arange(c, 5, 0, 1), AG_ERR_VALUE,
                "upper bound and lower bound inconsistent with step sign");
    CHECK_ERROR(ag_arange(c, NAN, 5, 1), AG_ERR_VALUE, "unsupported range: nan -> 5");
    CHECK_ERROR(ag_arange(c, 0, INFINITY, 1), AG_ERR_VALUE, "unsupported range: 0 -> inf");
    CHECK_ERROR(ag_arange(c, 0, 5, NAN), AG_ERR_VALUE, "step nan");
    CHECK_ERROR(ag_arange(c, 0, 5, INFINITY), AG_ERR_VALUE, "step inf");
    CHECK_ERROR(ag_arange(c, -1e308, 1e308, 1e-3), AG_ERR_VALUE, "too many elements");
    CHECK_ERROR(ag_arange(c, 0, 1e300, 1), AG_ERR_VALUE, "too many elements");
    CHECK_INT(ag_numel(ag_arange(c, 5, 5, 1)), 0);
    CHECK_INT(ag_numel(ag_linspace(c, 0, 1, 0)), 0);
}

static void t_random_arguments(ag_context *c)
{
    CHECK_ERROR(ag_randint(c, 5, 5, AG_SHAPE(2)), AG_ERR_VALUE,
                "random_ expects 'from' to be less than 'to', but got from=5 >= to=5");
    CHECK_ERROR(ag_randint(c, 5, -5, AG_SHAPE(2)), AG_ERR_VALUE, "but got from=5 >= to=-5");
    CHECK_ERROR(ag_rand(c, AG_SHAPE(2), .dtype = AG_I64), AG_ERR_DTYPE,
                "not implemented for int64");
    CHECK_ERROR(ag_randn(c, AG_SHAPE(2), .dtype = AG_BOOL), AG_ERR_DTYPE,
                "not implemented for bool");
    ag_tensor *i = ag_zeros(c, AG_SHAPE(2), .dtype = AG_I32);
    CHECK_ERROR(ag_rand_like(i), AG_ERR_DTYPE, "not implemented for int32");
    CHECK_ERROR(ag_randn_like(i), AG_ERR_DTYPE, "not implemented for int32");
    CHECK(ag_randint(c, INT64_MIN, INT64_MAX, AG_SHAPE(3)));
}

/* The documented rule of casts: saturate, and NaN is 0. */
static void t_casts_out_of_range(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(300, -300, NAN, INFINITY, -INFINITY, -1), AG_SHAPE(6),
                            .dtype = AG_F64);
    CHECK(x);
    CHECK_VALUES(ag_to(x, AG_I8), AG_SHAPE(6), AG_VALUES(127, -128, 0, 127, -128, -1), 0);
    CHECK_VALUES(ag_to(x, AG_U8), AG_SHAPE(6), AG_VALUES(255, 0, 0, 255, 0, 0), 0);
    CHECK_VALUES(ag_to(x, AG_I64), AG_SHAPE(6), AG_VALUES(300, -300, 0, 0x1p63, -0x1p63, -1), 0);
    CHECK_VALUES(ag_full(c, AG_SHAPE(1), 1e10, .dtype = AG_I32), AG_SHAPE(1), AG_VALUES(INT32_MAX),
                 0);
}

/* ---- reading ---- */

static void t_reading(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1);
    CHECK(x && s);
    float out[6] = { 7 };
    WATCH(x);
    CHECK_ERROR(!isnan(ag_item(x)), AG_ERR_VALUE,
                "a Tensor with 6 elements cannot be converted to Scalar");
    CHECK_ERROR(!isnan(ag_item(ag_zeros(c, AG_SHAPE(0)))), AG_ERR_VALUE,
                "a Tensor with 0 elements");
    CHECK_ERROR(!isnan(ag_at(x, 2, 0)), AG_ERR_INDEX,
                "index 2 is out of bounds for dimension 0 with size 2");
    CHECK_ERROR(!isnan(ag_at(x, 0, -4)), AG_ERR_INDEX,
                "index -4 is out of bounds for dimension 1 with size 3");
    CHECK_ERROR(!isnan(ag_at(x, INT64_MIN, 0)), AG_ERR_INDEX, "is out of bounds for dimension 0");
    CHECK_ERROR(!isnan(ag_at(x, 0)), AG_ERR_INDEX, "1 indices for a tensor of 2 dimensions");
    CHECK_ERROR(!isnan(ag_at(s, 0)), AG_ERR_INDEX, "1 indices for a tensor of 0 dimensions");
    CHECK_ERROR(ag_size(x, 2) >= 0, AG_ERR_INDEX,
                "Dimension out of range (expected to be in range of [-2, 1], but got 2)");
    CHECK_ERROR(ag_size(x, INT32_MIN) >= 0, AG_ERR_INDEX, "Dimension out of range");
    CHECK_ERROR(ag_size(s, 0) >= 0, AG_ERR_INDEX, "0-dim tensor has no dimension 0");
    CHECK_ERROR(ag_copy_out(x, out, sizeof out - 1), AG_ERR_VALUE,
                "the tensor has 24 bytes, the buffer 23");
    CHECK_ERROR(ag_copy_out(x, NULL, sizeof out), AG_ERR_VALUE, "the buffer 0");
    CHECK_CLOSE(out[0], 7, 0);
}

/* ---- names ---- */

static void t_names_are_data(ag_context *c)
{
    static char name[1 << 20];
    ag_tensor *t = ag_ones(c, AG_SHAPE(1));
    CHECK(t);
    memset(name, 'x', sizeof name - 1);
    CHECK(ag_set_name(t, name));
    CHECK_TEXT(ag_name(t), name);
    CHECK(ag_set_name(t, "%n%s%s\xff\xfe\n"));
    CHECK_TEXT(ag_name(t), "%n%s%s\xff\xfe\n");
    CHECK(ag_set_name(t, ""));
    CHECK_TEXT(ag_name(t), "");
    CHECK(ag_set_name(t, NULL));
    CHECK(!ag_name(t));
}

static void t_messages_of_any_length(ag_context *c)
{
    static char text[1 << 20];
    memset(text, 'y', sizeof text - 1);
    CHECK_ERROR(ag_fail(c, AG_ERR_VALUE, "%s", text), AG_ERR_VALUE, "yyyy");
    CHECK(!ag_fail(c, AG_ERR_VALUE, "the first one stays"));
    CHECK_ERROR(ag_fail(c, AG_ERR_IO, "not the second"), AG_ERR_VALUE, "the first one stays");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_sizes_that_overflow), TEST(t_sizes_without_memory), TEST(t_negative_sizes),
               TEST(t_ranks), TEST(t_dtypes_that_are_none), TEST(t_gradients_of_integers),
               TEST(t_devices), TEST(t_lists_of_values), TEST(t_memory_of_the_user), TEST(t_ranges),
               TEST(t_random_arguments), TEST(t_casts_out_of_range), TEST(t_reading),
               TEST(t_names_are_data), TEST(t_messages_of_any_length));
}
