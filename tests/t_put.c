/* Writing by index in all dtypes, and what is left open elsewhere: places that are written twice. */
#include "harness.h"

static const ag_dtype dtypes[] = { AG_F32, AG_F64, AG_F16, AG_BF16, AG_I8,
                                   AG_I16, AG_I32, AG_I64, AG_U8,   AG_BOOL };
enum { N_DTYPES = sizeof dtypes / sizeof *dtypes };

#define VECTOR(n, ...) ag_array(c, AG_VALUES(__VA_ARGS__), AG_SHAPE(n), .dtype = AG_I64)

/* x + 1 at place 2, + 1 + 1 at place 0: sums of truth values are true or not. */
static void t_sums(ag_context *c)
{
    for (int k = 0; k < N_DTYPES; k++) {
        const ag_dtype d = dtypes[k];
        ag_tensor *x = ag_array(c, AG_VALUES(0, 0, 1), AG_SHAPE(3), .dtype = d);
        ag_tensor *i = VECTOR(3, 0, 2, 0), *v = ag_ones(c, AG_SHAPE(3), .dtype = d);
        const ag_values sums = d == AG_BOOL ? AG_VALUES(1, 0, 1) : AG_VALUES(2, 0, 2);
        ag_tensor *y = ag_index_add(x, 0, i, v);
        CHECK_VALUES(y, AG_SHAPE(3), sums, 0);
        CHECK_INT(ag_dtype_of(y), d);
        CHECK_VALUES(ag_scatter_add(x, 0, i, v), AG_SHAPE(3), sums, 0);
        CHECK_VALUES(ag_index_put(x, &i, 1, v, true), AG_SHAPE(3), sums, 0);
        CHECK_VALUES(x, AG_SHAPE(3), AG_VALUES(0, 0, 1), 0);
    }
}

static void t_values(ag_context *c)
{
    for (int k = 0; k < N_DTYPES; k++) {
        const ag_dtype d = dtypes[k];
        ag_tensor *x = ag_array(c, AG_VALUES(0, 1, 0, 1), AG_SHAPE(2, 2), .dtype = d);
        ag_tensor *i = VECTOR(1, 1), *at = VECTOR(2, 3, 0),
                  *one = ag_ones(c, AG_SHAPE(), .dtype = d);
        ag_tensor *mask = ag_array(c, AG_VALUES(1, 0, 0, 1), AG_SHAPE(2, 2), .dtype = AG_BOOL);
        CHECK_VALUES(ag_index(x, &i, 1), AG_SHAPE(1, 2), AG_VALUES(0, 1), 0);
        CHECK_VALUES(ag_take(x, at), AG_SHAPE(2), AG_VALUES(1, 0), 0);
        CHECK_VALUES(ag_masked_select(x, mask), AG_SHAPE(2), AG_VALUES(0, 1), 0);
        CHECK_VALUES(ag_index_put(x, &i, 1, one, false), AG_SHAPE(2, 2), AG_VALUES(0, 1, 1, 1), 0);
        CHECK_VALUES(ag_masked_scatter(x, mask, ag_expand(one, AG_SHAPE(3))), AG_SHAPE(2, 2),
                     AG_VALUES(1, 1, 0, 1), 0);
        CHECK_VALUES(ag_scatter(x, 0, ag_reshape(i, AG_SHAPE(1, 1)),
                                ag_reshape(one, AG_SHAPE(1, 1))),
                     AG_SHAPE(2, 2), AG_VALUES(0, 1, 1, 1), 0);
    }
}

/* 256 and 255 times 1 in bfloat16: each sum by itself would stay at 256. */
static void t_half_sums_are_rounded_once(ag_context *c)
{
    ag_tensor *x = ag_full(c, AG_SHAPE(1), 256, .dtype = AG_BF16);
    ag_tensor *i = ag_zeros(c, AG_SHAPE(255), .dtype = AG_I64);
    ag_tensor *v = ag_ones(c, AG_SHAPE(255), .dtype = AG_BF16);
    CHECK_VALUES(ag_index_add(x, 0, i, v), AG_SHAPE(1), AG_VALUES(512), 0);
    CHECK_VALUES(ag_index_put(x, &i, 1, v, true), AG_SHAPE(1), AG_VALUES(512), 0);
}

static void t_integers_wrap(ag_context *c)
{
    ag_tensor *x = ag_full(c, AG_SHAPE(1), 120, .dtype = AG_I8), *i = VECTOR(2, 0, 0);
    ag_tensor *v = ag_full(c, AG_SHAPE(2), 100, .dtype = AG_I8);
    CHECK_VALUES(ag_index_add(x, 0, i, v), AG_SHAPE(1), AG_VALUES(64), 0);
}

/* Index tensors of i32, and masks of u8. */
static void t_kinds_of_index(ag_context *c)
{
    ag_tensor *x = ag_arange(c, 0, 6, 1);
    ag_tensor *i = ag_array(c, AG_VALUES(5, -6), AG_SHAPE(2), .dtype = AG_I32);
    ag_tensor *m = ag_array(c, AG_VALUES(0, 2, 0, 0, 0, 1), AG_SHAPE(6), .dtype = AG_U8);
    CHECK_VALUES(ag_index(x, &i, 1), AG_SHAPE(2), AG_VALUES(5, 0), 0);
    CHECK_VALUES(ag_take(x, i), AG_SHAPE(2), AG_VALUES(5, 0), 0);
    CHECK_VALUES(ag_index(x, &m, 1), AG_SHAPE(2), AG_VALUES(1, 5), 0);
}

/* Of the values 1, 2, 3 for place 1 the last stays, and it alone has a gradient. PyTorch gives it to
 * all three. */
static void t_last_value_stays(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(2), .requires_grad = true), *g[2];
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3), .requires_grad = true);
    ag_tensor *i = VECTOR(3, 1, 1, 1), *in[] = { x, v };
    ag_tensor *y = ag_scatter(x, 0, i, v);
    CHECK_VALUES(y, AG_SHAPE(2), AG_VALUES(0, 3), 0);
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "ScatterBackward0");
    ag_tensor *loss = ag_sum(y);
    CHECK(ag_grad(&loss, 1, in, 2, g));
    CHECK_VALUES(g[0], AG_SHAPE(2), AG_VALUES(1, 0), 0);
    CHECK_VALUES(g[1], AG_SHAPE(3), AG_VALUES(0, 0, 1), 0);
    CHECK(y = ag_index_put(x, &i, 1, v, false));
    CHECK_VALUES(y, AG_SHAPE(2), AG_VALUES(0, 3), 0);
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "IndexPutBackward0");
    CHECK(loss = ag_sum(y));
    CHECK(ag_grad(&loss, 1, in, 2, g));
    CHECK_VALUES(g[1], AG_SHAPE(3), AG_VALUES(0, 0, 1), 0);
}

/* PyTorch's names, and its places for the dimensions of an index. */
static void t_nodes_and_shapes(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3, 4, 5), .requires_grad = true), *y;
    ag_tensor *i = ag_zeros(c, AG_SHAPE(7, 6), .dtype = AG_I64);
    CHECK(x && i);
    CHECK(y = ag_index(x, (ag_tensor *[]){ NULL, i, i }, 3));
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "IndexBackward0");
    CHECK(ag_ndim(y) == 4 && ag_size(y, 0) == 2 && ag_size(y, 1) == 7 && ag_size(y, 3) == 5);
    CHECK(y = ag_index(x, (ag_tensor *[]){ NULL, i, NULL, i }, 4));
    CHECK(ag_ndim(y) == 4 && ag_size(y, 0) == 7 && ag_size(y, 2) == 2 && ag_size(y, 3) == 4);
    CHECK(y = ag_take(x, i));
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "TakeBackward0");
    CHECK(y = ag_masked_select(x, ag_gt(x, 0)));
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "MaskedSelectBackward0");
    CHECK(y = ag_masked_scatter(x, ag_gt(x, 0), x));
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "MaskedScatterBackward0");
    CHECK(y = ag_index_add(x, 0, ag_zeros(c, AG_SHAPE(2), .dtype = AG_I64), x));
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "IndexAddBackward0");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_sums), TEST(t_values), TEST(t_half_sums_are_rounded_once),
               TEST(t_integers_wrap), TEST(t_kinds_of_index), TEST(t_last_value_stays),
               TEST(t_nodes_and_shapes));
}
