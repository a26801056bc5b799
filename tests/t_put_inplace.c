/*
 * Writing by index and by mask in place: each function against its twin that writes into a result of
 * its own, values and gradients, on a tensor and on a view of one; what may not be written.
 */
#include "harness.h"

typedef struct {
    ag_tensor *index, *row, *matrix, *mask, *src, *one;
} operands;

typedef ag_tensor *call_fn(ag_tensor *x, const operands *o);

#define PAIR(name, plain, in_place)                                                                \
    static ag_tensor *plain_##name(ag_tensor *x, const operands *o) { return plain; }              \
    static ag_tensor *in_place_##name(ag_tensor *x, const operands *o) { return in_place; }

PAIR(index_add, ag_index_add(x, 0, o->index, o->src), ag_index_add_(x, 0, o->index, o->src))
PAIR(scatter, ag_scatter(x, 1, o->matrix, o->src), ag_scatter_(x, 1, o->matrix, o->src))
PAIR(scatter_add, ag_scatter_add(x, 0, o->row, o->src), ag_scatter_add_(x, 0, o->row, o->src))
PAIR(index_put, ag_index_put(x, &o->mask, 1, o->one, false),
     ag_index_put_(x, &o->mask, 1, o->one, false))
PAIR(index_put_adding, ag_index_put(x, &o->index, 1, o->src, true),
     ag_index_put_(x, &o->index, 1, o->src, true))
PAIR(masked_fill, (ag_masked_fill)(x, o->mask, o->one), (ag_masked_fill_)(x, o->mask, o->one))
PAIR(masked_scatter, ag_masked_scatter(x, o->mask, o->src), ag_masked_scatter_(x, o->mask, o->src))

static const struct {
    const char *name, *node;
    call_fn *plain, *in_place;
} pairs[] = {
    { "index_add_", "IndexAddBackward0", plain_index_add, in_place_index_add },
    { "scatter_", "ScatterBackward0", plain_scatter, in_place_scatter },
    { "scatter_add_", "ScatterAddBackward0", plain_scatter_add, in_place_scatter_add },
    { "index_put_", "IndexPutBackward0", plain_index_put, in_place_index_put },
    { "index_put_ (add)", "IndexPutBackward0", plain_index_put_adding, in_place_index_put_adding },
    { "masked_fill_", "MaskedFillBackward1", plain_masked_fill, in_place_masked_fill },
    { "masked_scatter_", "MaskedScatterBackward0", plain_masked_scatter, in_place_masked_scatter },
};
enum { N_PAIRS = sizeof pairs / sizeof *pairs };

/* x is 3 by 2, src 2 by 2. */
static operands make(ag_context *c)
{
    operands o = {
        .index = ag_array(c, AG_VALUES(2, 2), AG_SHAPE(2), .dtype = AG_I64),
        .row = ag_array(c, AG_VALUES(1, 1), AG_SHAPE(1, 2), .dtype = AG_I64),
        .matrix = ag_array(c, AG_VALUES(1, 0, 0, 0), AG_SHAPE(2, 2), .dtype = AG_I64),
        .mask = ag_array(c, AG_VALUES(1, 0, 0, 1, 1, 0), AG_SHAPE(3, 2), .dtype = AG_BOOL),
        .src = ag_array(c, AG_VALUES(.5, -1, 2, 3), AG_SHAPE(2, 2), .dtype = AG_F64,
                        .requires_grad = true),
        .one = ag_scalar(c, 7, .dtype = AG_F64, .requires_grad = true),
    };
    CHECK(o.index && o.row && o.matrix && o.mask && o.src && o.one);
    return o;
}

static ag_tensor *leaf(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(1, 2, 3, 4, 5, 6), AG_SHAPE(3, 2), .dtype = AG_F64,
                            .requires_grad = true);
    CHECK(x);
    return x;
}

static void check_same(const char *name, ag_tensor *a, ag_tensor *b)
{
    double va[6], vb[6];
    const size_t bytes = (size_t)ag_numel(a) * sizeof *va;
    CHECK(ag_numel(a) == ag_numel(b) && ag_numel(a) <= 6);
    CHECK(ag_copy_out(a, va, bytes) && ag_copy_out(b, vb, bytes));
    if (memcmp(va, vb, bytes) != 0)
        FAIL("%s: differs from the function that is not in place", name);
}

/* Gradients of the sum of squares of y for x, src and one; those that there are. */
static void gradients(ag_tensor *y, ag_tensor *x, const operands *o, ag_tensor **g)
{
    ag_tensor *loss = ag_sum(ag_mul(y, y)), *in[] = { x, o->src, o->one };
    CHECK(ag_grad(&loss, 1, in, 3, g, .allow_unused = true, .materialize_grads = true));
}

static void t_as_their_twins(ag_context *c)
{
    const operands o = make(c);
    for (int k = 0; k < N_PAIRS; k++) {
        ag_tensor *x = leaf(c), *a = ag_clone(x), *b = ag_clone(x), *ga[3], *gb[3];
        CHECK(a && b);
        const int64_t version = ag_version(b);
        ag_tensor *y = pairs[k].plain(a, &o);
        CHECK(y);
        CHECK(pairs[k].in_place(b, &o) == b);
        CHECK_INT(ag_version(b), version + 1);
        CHECK_TEXT(ag_node_name(ag_grad_fn(b)), pairs[k].node);
        check_same(pairs[k].name, y, b);
        gradients(y, x, &o, ga);
        gradients(b, x, &o, gb);
        for (int i = 0; i < 3; i++)
            check_same(pairs[k].name, ga[i], gb[i]);
    }
}

/* The view is a transpose of two columns of a tensor of three. */
static void t_through_views(ag_context *c)
{
    const operands o = make(c);
    for (int k = 0; k < N_PAIRS; k++) {
        ag_tensor *x = ag_randn(c, AG_SHAPE(2, 4), .dtype = AG_F64, .requires_grad = true);
        ag_tensor *base = ag_clone(x), *ga[3], *gb[3];
        ag_tensor *view = ag_t(ag_narrow(base, 1, 1, 3)),
                  *y = pairs[k].plain(ag_t(ag_narrow(x, 1, 1, 3)), &o);
        CHECK(view && y);
        CHECK(pairs[k].in_place(view, &o) == view);
        check_same(pairs[k].name, y, ag_t(ag_narrow(base, 1, 1, 3)));
        CHECK_TEXT(ag_node_name(ag_grad_fn(base)), "CopySlices");
        gradients(y, x, &o, ga);
        gradients(ag_t(ag_narrow(base, 1, 1, 3)), x, &o, gb);
        for (int i = 0; i < 3; i++) {
            double va[8], vb[8];
            const size_t bytes = (size_t)ag_numel(ga[i]) * sizeof *va;
            CHECK(ag_copy_out(ga[i], va, bytes) && ag_copy_out(gb[i], vb, bytes));
            for (int j = 0; j < ag_numel(ga[i]); j++)
                CHECK_CLOSE(vb[j], va[j], 1e-14);
        }
    }
}

static void t_leaves_are_refused(ag_context *c)
{
    const operands o = make(c);
    ag_tensor *x = leaf(c),
              *spread = ag_expand(ag_ones(c, AG_SHAPE(3, 1), .dtype = AG_F64), AG_SHAPE(3, 2));
    CHECK(spread);
    WATCH(x);
    WATCH(spread);
    for (int k = 0; k < N_PAIRS; k++) {
        CHECK_ERROR(pairs[k].in_place(x, &o), AG_ERR_GRAD,
                    "a leaf Variable that requires grad is being used in an in-place operation.");
        CHECK_ERROR(pairs[k].in_place(spread, &o), AG_ERR_VALUE,
                    "more than one element of the written-to tensor refers to a single memory "
                    "location.");
        CHECK(!pairs[k].in_place(NULL, &o));
    }
}

static void t_bad(ag_context *c)
{
    const operands o = make(c);
    ag_tensor *x = ag_ones(c, AG_SHAPE(3, 2), .dtype = AG_F64),
              *row = ag_ones(c, AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *wrong = ag_array(c, AG_VALUES(0, 3), AG_SHAPE(2), .dtype = AG_I64);
    CHECK(x && row && wrong);
    WATCH(x);
    CHECK_ERROR(ag_index_add_(x, 0, wrong, o.src), AG_ERR_INDEX,
                "index 3 is out of bounds for dimension 0 with size 3");
    CHECK_ERROR(ag_index_add_(x, 2, o.index, o.src), AG_ERR_INDEX,
                "ag_index_add_: Dimension out of range");
    CHECK_ERROR(ag_scatter_(x, -3, o.matrix, o.src), AG_ERR_INDEX,
                "ag_scatter_: Dimension out of range");
    CHECK_ERROR(ag_scatter_add_(x, 0, o.index, o.src), AG_ERR_SHAPE,
                "Index tensor must have the same number of dimensions as self tensor");
    CHECK_ERROR(ag_scatter_(x, 0, o.matrix, NULL), AG_ERR_VALUE, "ag_scatter_: operand 2 is NULL");
    CHECK_ERROR(ag_index_put_(x, &wrong, 1, o.one, false), AG_ERR_INDEX,
                "index 3 is out of bounds for dimension 0 with size 3");
    CHECK_ERROR(ag_index_put_(x, &wrong, 1, NULL, false), AG_ERR_VALUE,
                "ag_index_put_: operand 1 is NULL");
    CHECK_ERROR(ag_index_put_(x, &wrong, 0, o.one, false), AG_ERR_INDEX,
                "at least one index must be provided");
    CHECK_ERROR(ag_masked_fill_(row, o.mask, 1), AG_ERR_SHAPE,
                "output with shape [2] doesn't match the broadcast shape [3, 2]");
    CHECK_ERROR(ag_masked_fill_(x, o.src, 1), AG_ERR_DTYPE,
                "masked_fill only supports boolean masks");
    CHECK_ERROR(ag_masked_scatter_(row, o.mask, o.src), AG_ERR_SHAPE,
                "output with shape [2] doesn't match the broadcast shape [3, 2]");
    CHECK_ERROR(ag_masked_scatter_(x, o.mask, row), AG_ERR_SHAPE,
                "Number of elements of source < number of ones in mask");
    CHECK_ERROR(ag_masked_scatter_(x, NULL, row), AG_ERR_VALUE,
                "ag_masked_scatter_: operand 1 is NULL");
}

/* A number as the value; a source that is a part of what is written. */
static void t_numbers_and_itself(ag_context *c)
{
    const operands o = make(c);
    ag_tensor *x = ag_array(c, AG_VALUES(1, 2, 3, 4), AG_SHAPE(2, 2));
    ag_tensor *mask = ag_gt(x, 2), *at = ag_array(c, AG_VALUES(1), AG_SHAPE(1), .dtype = AG_I64);
    CHECK(mask && at);
    CHECK_VALUES(ag_masked_fill_(x, mask, -1), AG_SHAPE(2, 2), AG_VALUES(1, 2, -1, -1), 0);
    CHECK_VALUES(ag_masked_fill_(x, mask, 0.5), AG_SHAPE(2, 2), AG_VALUES(1, 2, .5, .5), 0);
    CHECK_VALUES(ag_index_add_(x, 0, ag_array(c, AG_VALUES(1, 0), AG_SHAPE(2), .dtype = AG_I64), x),
                 AG_SHAPE(2, 2), AG_VALUES(1.5, 2.5, 1.5, 2.5), 0);
    CHECK(ag_index_put_(x, &at, 1, o.one ? ag_scalar(c, 9) : NULL, false));
    CHECK_VALUES(x, AG_SHAPE(2, 2), AG_VALUES(1.5, 2.5, 9, 9), 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_as_their_twins), TEST(t_through_views), TEST(t_leaves_are_refused),
               TEST(t_bad), TEST(t_numbers_and_itself));
}
