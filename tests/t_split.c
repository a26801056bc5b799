/* Views of several results: counts, shapes, one node for all, parts without a gradient; bad inputs. */
#include "harness.h"

#include <stdlib.h>

static void t_results(ag_context *c)
{
    ag_tensor *x = ag_arange(c, 0, 10, 1, .dtype = AG_F64), *out[10];
    CHECK(x && (x = ag_reshape(x, AG_SHAPE(2, 5))));
    CHECK_INT(ag_split(x, 2, 1, out, 3), 3);
    CHECK_VALUES(out[0], AG_SHAPE(2, 2), AG_VALUES(0, 1, 5, 6), 0);
    CHECK_VALUES(out[2], AG_SHAPE(2, 1), AG_VALUES(4, 9), 0);
    CHECK_INT(ag_chunk(x, 2, -1, out, 10), 2);
    CHECK_VALUES(out[1], AG_SHAPE(2, 2), AG_VALUES(3, 4, 8, 9), 0);
    CHECK_INT(ag_chunk(x, 4, 1, out, 10), 3); /* as PyTorch: of 2, 2 and 1 */
    CHECK_VALUES(out[2], AG_SHAPE(2, 1), AG_VALUES(4, 9), 0);
    CHECK_INT(ag_unbind(x, 0, out, 2), 2);
    CHECK_VALUES(out[1], AG_SHAPE(5), AG_VALUES(5, 6, 7, 8, 9), 0);
    CHECK(ag_fill_(out[1], 1));
    CHECK_CLOSE(ag_at(x, 1, 4), 1, 0);
    CHECK(x = ag_zeros(c, AG_SHAPE(0, 2)));
    CHECK_INT(ag_unbind(x, 0, NULL, 0), 0);
    CHECK_INT(ag_split(x, 3, 0, out, 1), 1);
    CHECK_INT(ag_chunk(x, 3, 0, out, 3), 3);
    CHECK_VALUES(out[2], AG_SHAPE(0, 2), AG_VALUES(), 0);
}

static void t_one_node(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(3, 2), .dtype = AG_F64, .requires_grad = true), *out[3], *g;
    CHECK_INT(ag_unbind(x, 0, out, 3), 3);
    CHECK_TEXT(ag_node_name(ag_grad_fn(out[0])), "UnbindBackward0");
    CHECK(ag_grad_fn(out[0]) == ag_grad_fn(out[2]));
    ag_tensor *y = ag_sum(ag_mul(out[2], 3));
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3, 2), AG_VALUES(0, 0, 0, 0, 3, 3), 0);
    CHECK_INT(ag_chunk(x, 2, 0, out, 3), 2);
    CHECK_TEXT(ag_node_name(ag_grad_fn(out[1])), "SplitBackward0");
    CHECK(y = ag_sum(ag_mul(out[0], out[0])));
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3, 2), AG_VALUES(2, 2, 2, 2, 0, 0), 0);
    CHECK(ag_grad(out, 2, &x, 1, &g, .grad_outputs = out, .retain_graph = true));
    CHECK_VALUES(g, AG_SHAPE(3, 2), AG_VALUES(1, 1, 1, 1, 1, 1), 0);
}

/* More results than any other operation has, of which the last few are used. */
static void t_many(ag_context *c)
{
    enum { N = 1000 };
    static ag_tensor *out[N];
    ag_tensor *x = ag_ones(c, AG_SHAPE(N), .requires_grad = true), *g;
    CHECK_INT(ag_unbind(x, 0, out, N), N);
    ag_tensor *y = ag_mul(out[N - 1], out[N - 2]);
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    CHECK_CLOSE(ag_at(g, N - 1), 1, 0);
    CHECK_CLOSE(ag_at(g, N - 2), 1, 0);
    CHECK_CLOSE(ag_item(ag_sum(g)), 2, 0);
}

static void t_bad(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3)), *s = ag_scalar(c, 1), *out[3] = { NULL };
    ag_tensor *wide = ag_expand(s, AG_SHAPE(1 << 16));
    CHECK(x && s && wide);
    WATCH(x);
    CHECK_ERROR(ag_split(x, 1, 1, out, 2) + 1, AG_ERR_VALUE,
                "ag_split: there are 3 results, and room for 2");
    CHECK_ERROR(ag_split(x, 1, 1, NULL, 3) + 1, AG_ERR_VALUE,
                "there are 3 results, and room for 0");
    CHECK_ERROR(ag_chunk(x, 3, 1, out, -1) + 1, AG_ERR_VALUE,
                "ag_chunk: there are 3 results, and room for 0");
    CHECK_ERROR(ag_unbind(x, 1, out, 2) + 1, AG_ERR_VALUE,
                "ag_unbind: there are 3 results, and room for 2");
    CHECK_ERROR(ag_unbind(wide, 0, out, 3) + 1, AG_ERR_VALUE, "there are 65536 results");
    CHECK(!out[0] && !out[1] && !out[2]);
    CHECK_ERROR(ag_split(x, 0, 0, out, 3) + 1, AG_ERR_VALUE,
                "split_size can only be 0 if dimension size is 0, but got dimension size of 2");
    CHECK_ERROR(ag_split(x, -1, 0, out, 3) + 1, AG_ERR_VALUE,
                "split expects split_size be non-negative, but got split_size=-1");
    CHECK_ERROR(ag_split(s, 1, 0, out, 3) + 1, AG_ERR_SHAPE,
                "ag_split: split expects at least a 1-dimensional tensor");
    CHECK_ERROR(ag_split(x, 1, 2, out, 3) + 1, AG_ERR_INDEX,
                "Dimension out of range (expected to be in range of [-2, 1], but got 2)");
    CHECK_ERROR(ag_chunk(x, 0, 0, out, 3) + 1, AG_ERR_VALUE,
                "chunk expects `chunks` to be greater than 0, got: 0");
    CHECK_ERROR(ag_chunk(s, 1, 0, out, 3) + 1, AG_ERR_SHAPE,
                "chunk expects at least a 1-dimensional tensor");
    CHECK_ERROR(ag_chunk(x, 1, -3, out, 3) + 1, AG_ERR_INDEX, "Dimension out of range");
    CHECK_ERROR(ag_unbind(s, 0, out, 3) + 1, AG_ERR_INDEX,
                "Dimension specified as 0 but tensor has no dimensions");
    CHECK_ERROR(ag_unbind(x, 2, out, 3) + 1, AG_ERR_INDEX, "Dimension out of range");
    CHECK_INT(ag_split(NULL, 0, 0, out, 3), -1);
    CHECK_INT(ag_chunk(NULL, 0, 0, out, 3), -1);
    CHECK_INT(ag_unbind(NULL, 9, NULL, 0), -1);
}

static void t_too_many(ag_context *c)
{
    ag_tensor **out = malloc(sizeof *out << 16), *s = ag_scalar(c, 1);
    CHECK(out);
    harness_defer(free, out);
    ag_tensor *wide = ag_expand(s, AG_SHAPE(1 << 16));
    CHECK(wide);
    CHECK_ERROR(ag_unbind(wide, 0, out, 1 << 16) + 1, AG_ERR_UNSUPPORTED,
                "ag_unbind: 65536 results; an operation has 65535 at most");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_results), TEST(t_one_node), TEST(t_many), TEST(t_bad), TEST(t_too_many));
}
