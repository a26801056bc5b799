/* Bad inputs of what writes into a tensor: in-place operations and initialisers. What was to be
 * written stays as it was, and so does its version. */
#include "harness.h"

static ag_binary_fn const writers[] = { ag_add_, ag_sub_, ag_mul_, ag_div_, ag_copy_ };
enum { WRITERS = sizeof writers / sizeof *writers };

/* ---- memory ---- */

static void t_operands_that_overlap_in_part(ag_context *c)
{
    ag_tensor *m = ag_reshape(ag_arange(c, 0, 9, 1), AG_SHAPE(3, 3)),
              *v = ag_reshape(m, AG_SHAPE(9));
    ag_tensor *head = ag_slice(v, 0, 0, 8, 1), *tail = ag_slice(v, 0, 1, 9, 1), *mt = ag_t(m);
    ag_tensor *row = ag_select(m, 0, 1), *one = ag_select(v, 0, 4);
    CHECK(m && v && head && tail && mt && row && one);
    WATCH(m);
    static const char sentence[] =
        "unsupported operation: some elements of the input tensor and the written-to tensor refer "
        "to "
        "a single memory location. Please clone() the tensor before performing the operation.";
    for (int i = 0; i < WRITERS; i++) {
        CHECK_ERROR(writers[i](m, mt), AG_ERR_VALUE, sentence);
        CHECK_ERROR(writers[i](mt, m), AG_ERR_VALUE, sentence);
        CHECK_ERROR(writers[i](head, tail), AG_ERR_VALUE, sentence);
        CHECK_ERROR(writers[i](tail, head), AG_ERR_VALUE, sentence);
        CHECK_ERROR(writers[i](m, row), AG_ERR_VALUE, sentence);
        CHECK_ERROR(writers[i](v, one), AG_ERR_VALUE, sentence);
    }
}

/* The same elements in the same order, or other elements of the storage, are no trouble. */
static void t_operands_that_may_share(ag_context *c)
{
    ag_tensor *v = ag_arange(c, 1, 9, 1);
    CHECK(v && ag_add_(v, v));
    CHECK_VALUES(v, AG_SHAPE(8), AG_VALUES(2, 4, 6, 8, 10, 12, 14, 16), 0);
    CHECK(ag_sub_(v, ag_detach(v)));
    CHECK_VALUES(v, AG_SHAPE(8), AG_VALUES(0, 0, 0, 0, 0, 0, 0, 0), 0);
    CHECK(ag_copy_(v, ag_arange(c, 0, 8, 1)) && ag_copy_(v, v));
    CHECK(ag_add_(ag_slice(v, 0, 0, 4, 1), ag_slice(v, 0, 4, 8, 1)));
    CHECK_VALUES(v, AG_SHAPE(8), AG_VALUES(4, 6, 8, 10, 4, 5, 6, 7), 0);
    CHECK(ag_copy_(ag_slice(v, 0, 0, 8, 2), ag_slice(v, 0, 1, 8, 2)));
    CHECK_VALUES(v, AG_SHAPE(8), AG_VALUES(6, 6, 10, 10, 5, 5, 7, 7), 0);
    CHECK(ag_add_(ag_slice(v, 0, 3, 3, 1), ag_slice(v, 0, 2, 2, 1)));
    CHECK(ag_mul_(v, ag_expand(ag_scalar(c, 2), AG_SHAPE(8))));
    CHECK_VALUES(v, AG_SHAPE(8), AG_VALUES(12, 12, 20, 20, 10, 10, 14, 14), 0);
}

static void t_many_elements_in_one_place(ag_context *c)
{
    ag_tensor *s = ag_ones(c, AG_SHAPE(1, 2)), *x = ag_expand(s, AG_SHAPE(3, 2));
    CHECK(s && x);
    WATCH(s);
    static const char sentence[] =
        "unsupported operation: more than one element of the written-to tensor refers to a single "
        "memory location. Please clone() the tensor before performing the operation.";
    for (int i = 0; i < WRITERS; i++)
        CHECK_ERROR(writers[i](x, ag_ones(c, AG_SHAPE(3, 2))), AG_ERR_VALUE, sentence);
    CHECK_ERROR(ag_add_(x, 1), AG_ERR_VALUE, sentence);
    CHECK_ERROR(ag_fill_(x, 1), AG_ERR_VALUE, sentence);
    CHECK_ERROR(ag_zero_(x), AG_ERR_VALUE, sentence);
    static const char shorter[] =
        "more than one element of the written-to tensor refers to a single memory location";
    CHECK_ERROR(ag_uniform_(x, 0, 1), AG_ERR_VALUE, shorter);
    CHECK_ERROR(ag_normal_(x, 0, 1), AG_ERR_VALUE, shorter);
    CHECK_ERROR(ag_xavier_uniform_(x, 1), AG_ERR_VALUE, shorter);
    CHECK_ERROR(ag_kaiming_normal_(x, 0), AG_ERR_VALUE, shorter);
}

/* ---- the graph ---- */

static void t_leaves(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *w = ag_ones(c, AG_SHAPE(2));
    ag_tensor *part = ag_slice(x, 0, 0, 1, 1), *view = NULL;
    AG_NO_GRAD (c)
        view = ag_slice(x, 0, 0, 1, 1);
    CHECK(x && w && part && view);
    WATCH(x);
    static const char sentence[] =
        "a leaf Variable that requires grad is being used in an in-place operation.";
    for (int i = 0; i < WRITERS; i++)
        CHECK_ERROR(writers[i](x, w), AG_ERR_GRAD, sentence);
    CHECK_ERROR(ag_mul_(x, 2), AG_ERR_GRAD, "ag_mul_: a leaf Variable");
    CHECK_ERROR(ag_fill_(x, 2), AG_ERR_GRAD, "ag_fill_: a leaf Variable");
    CHECK_ERROR(ag_zero_(x), AG_ERR_GRAD, sentence);
    CHECK_ERROR(ag_add_(part, 1), AG_ERR_GRAD,
                "a view of a leaf Variable that requires grad is being used in an in-place "
                "operation.");
    UNWATCH();
    AG_NO_GRAD (c)
        CHECK(ag_add_(x, 1) && ag_fill_(part, 7));
    CHECK_VALUES(x, AG_SHAPE(2), AG_VALUES(7, 2), 0);
    CHECK_INT(ag_version(x), 2);
}

/* A value that backward needs: the error names the operations, the value and both versions. */
static void t_values_that_backward_needs(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *w = ag_full(c, AG_SHAPE(2), 3);
    ag_tensor *y = ag_mul(x, w), *e = ag_exp(x), *s = ag_sum(ag_add(y, e));
    CHECK(s && ag_add_(w, 1) && ag_zero_(w));
    WATCH(x);
    CHECK_ERROR(
        ag_backward(s), AG_ERR_GRAD,
        "one of the variables needed for gradient computation has been modified by an inplace "
        "operation: [float32 [2]], which is output 0 of a leaf, is at version 2; expected version "
        "0 instead. It was saved by MulBackward0 and changed by ag_zero_.");
    CHECK(ag_add_(e, 1));
    CHECK_ERROR(ag_backward(ag_sum(e)), AG_ERR_GRAD,
                "which is output 0 of ExpBackward0, is at version 1; expected version 0");
    UNWATCH();
    CHECK(ag_backward(ag_sum(ag_sin(x)))); /* other graphs are not concerned */
}

/* ---- shapes and dtypes ---- */

static void t_shapes(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(3)), *wide = ag_ones(c, AG_SHAPE(2, 3)),
              *s = ag_scalar(c, 1);
    CHECK(x && wide && s);
    WATCH(x);
    for (int i = 0; i < WRITERS; i++) {
        CHECK_ERROR(writers[i](x, wide), AG_ERR_SHAPE,
                    "output with shape [3] doesn't match the broadcast shape [2, 3]");
        CHECK_ERROR(writers[i](s, x), AG_ERR_SHAPE,
                    "output with shape [] doesn't match the broadcast shape [3]");
        CHECK_ERROR(writers[i](x, ag_ones(c, AG_SHAPE(4))), AG_ERR_SHAPE,
                    "the shapes are [3] and [4]");
        CHECK_ERROR(writers[i](x, ag_ones(c, AG_SHAPE(0))), AG_ERR_SHAPE,
                    "the shapes are [3] and [0]");
    }
    CHECK_ERROR(ag_add_(ag_ones(c, AG_SHAPE(1)), ag_ones(c, AG_SHAPE(0))), AG_ERR_SHAPE,
                "output with shape [1] doesn't match the broadcast shape [0]");
}

static void t_dtypes(ag_context *c)
{
    ag_tensor *i = ag_ones(c, AG_SHAPE(2), .dtype = AG_I64),
              *b = ag_ones(c, AG_SHAPE(2), .dtype = AG_BOOL);
    ag_tensor *x = ag_ones(c, AG_SHAPE(2)), *h = ag_ones(c, AG_SHAPE(2), .dtype = AG_F16);
    CHECK(i && b && x && h);
    WATCH(i);
    WATCH(b);
    CHECK_ERROR(ag_add_(i, 1.5), AG_ERR_DTYPE,
                "result type float32 can't be cast to the desired output type int64");
    CHECK_ERROR(ag_div_(i, 2), AG_ERR_DTYPE,
                "result type float32 can't be cast to the desired output type int64");
    CHECK_ERROR(ag_mul_(i, h), AG_ERR_DTYPE,
                "result type float16 can't be cast to the desired output type int64");
    CHECK_ERROR(ag_add_(b, 1), AG_ERR_DTYPE,
                "result type int64 can't be cast to the desired output type bool");
    CHECK_ERROR(ag_mul_(b, x), AG_ERR_DTYPE,
                "result type float32 can't be cast to the desired output type bool");
    CHECK_ERROR(ag_sub_(b, b), AG_ERR_DTYPE, "with two bool tensors is not supported");
    UNWATCH();
    CHECK(ag_add_(h, x) && ag_add_(x, i) && ag_copy_(i, x) && ag_fill_(b, 0.5));
    CHECK_INT(ag_dtype_of(h), AG_F16);
    CHECK_CLOSE(ag_at(b, 1), 1, 0);
}

/* ---- initialisers ---- */

static void t_initialisers(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 2)), *v = ag_ones(c, AG_SHAPE(2));
    ag_tensor *i = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_I64),
              *h = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_F16);
    CHECK(x && v && i && h);
    WATCH(x);
    WATCH(v);
    CHECK_ERROR(ag_uniform_(x, 2, 1), AG_ERR_VALUE,
                "uniform_ expects to return a [from, to) range, but found from=2 > to=1");
    CHECK_ERROR(ag_uniform_(x, NAN, 1), AG_ERR_VALUE, "uniform_ expects finite bounds");
    CHECK_ERROR(ag_uniform_(x, -INFINITY, INFINITY), AG_ERR_VALUE,
                "uniform_ expects finite bounds");
    CHECK_ERROR(ag_normal_(x, 0, -1), AG_ERR_VALUE, "normal expects std >= 0.0, but found std -1");
    CHECK_ERROR(ag_normal_(x, 0, NAN), AG_ERR_VALUE, "normal expects std >= 0.0, but found std ");
    CHECK_ERROR(ag_kaiming_uniform_(x, NAN), AG_ERR_VALUE, "expected a finite slope");
    CHECK_ERROR(ag_kaiming_normal_(x, INFINITY), AG_ERR_VALUE, "expected a finite slope");
    CHECK_ERROR(ag_xavier_uniform_(x, -1), AG_ERR_VALUE, "expected gain >= 0");
    CHECK_ERROR(ag_xavier_normal_(x, NAN), AG_ERR_VALUE, "expected gain >= 0");
    static const char fan[] =
        "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions";
    CHECK_ERROR(ag_kaiming_uniform_(v, 0), AG_ERR_SHAPE, fan);
    CHECK_ERROR(ag_kaiming_normal_(v, 0), AG_ERR_SHAPE, fan);
    CHECK_ERROR(ag_xavier_uniform_(v, 1), AG_ERR_SHAPE, fan);
    CHECK_ERROR(ag_xavier_normal_(ag_scalar(c, 1), 1), AG_ERR_SHAPE, fan);
    CHECK_ERROR(ag_uniform_(i, 0, 1), AG_ERR_DTYPE, "expected float32 or float64, got int64");
    CHECK_ERROR(ag_normal_(h, 0, 1), AG_ERR_DTYPE, "expected float32 or float64, got float16");
    CHECK_ERROR(ag_xavier_normal_(i, 1), AG_ERR_DTYPE, "expected float32 or float64, got int64");
    CHECK(ag_uniform_(ag_ones(c, AG_SHAPE(0)), 0, 1) &&
          ag_kaiming_normal_(ag_ones(c, AG_SHAPE(0, 3)), 0));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_operands_that_overlap_in_part), TEST(t_operands_that_may_share),
               TEST(t_many_elements_in_one_place), TEST(t_leaves),
               TEST(t_values_that_backward_needs), TEST(t_shapes), TEST(t_dtypes),
               TEST(t_initialisers));
}
