/* Sizes that were not known when a graph was recorded: what waits for them, and what is refused. */
#include "graphs.h"

/* The gradient of a part goes by the sizes of this run. */
static void t_cat_of_unknown_sizes(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *u = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 2)),
              *v = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 2)), *dv;
    ag_tensor *parts[] = { u, v }, *y = ag_cat(parts, 2, 0), *s = ag_sum(ag_square(y));
    CHECK(s && ag_grad(&s, 1, &v, 1, &dv));
    ag_session *session = graphs_session(g, AG_BACKEND_INTERPRET);
    for (int n = 1; n < 4; n++) {
        ag_tensor *a = ag_ones(c, AG_SHAPE(4 - n, 2)), *b = ag_full(c, AG_SHAPE(n, 2), 5);
        ag_tensor *tens = ag_full(c, AG_SHAPE(n, 2), 10);
        CHECK_SAME(FETCH(session, dv, { u, a }, { v, b }), tens);
    }
}

/* More than the attributes hold sizes of. */
static void t_cat_of_many(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2)),
              *k = ag_placeholder(g, AG_F32, AG_SHAPE(3));
    ag_tensor *parts[18], *dx;
    for (int i = 0; i < 18; i++)
        parts[i] = i == 11 ? x : k;
    ag_tensor *s = ag_sum(ag_square(ag_cat(parts, 18, 0)));
    CHECK(s && ag_grad(&s, 1, &x, 1, &dx));
    ag_session *session = graphs_session(g, AG_BACKEND_INTERPRET);
    ag_tensor *v = ag_array(c, AG_VALUES(3, 4), AG_SHAPE(2)), *zeros = ag_zeros(c, AG_SHAPE(3));
    CHECK_VALUES(FETCH(session, dx, { x, v }, { k, zeros }), AG_SHAPE(2), AG_VALUES(6, 8), 0);
}

/* How many results there are must be known. */
static void t_parts_of_unknown_sizes(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 4)), *out[8];
    CHECK(x);
    CHECK_ERROR(ag_split(x, 2, 0, out, 8) > 0, AG_ERR_SHAPE,
                "ag_split: the size of dimension 0 must be known in a graph");
    CHECK_ERROR(ag_chunk(x, 2, 0, out, 8) > 0, AG_ERR_SHAPE,
                "ag_chunk: the size of dimension 0 must be known in a graph");
    CHECK_ERROR(ag_unbind(x, 0, out, 8) > 0, AG_ERR_SHAPE,
                "ag_unbind: the size of dimension 0 must be known in a graph");
    CHECK_INT(ag_split(x, 3, 1, out, 8), 2);
    CHECK_SHAPE(out[1], AG_SHAPE(-1, 1));
    CHECK_ERROR(ag_reshape(x, AG_SHAPE(-5, 4)), AG_ERR_SHAPE, "invalid shape dimension -5");
    CHECK_ERROR(ag_reshape(x, AG_SHAPE((int64_t)1 << 62, 4)), AG_ERR_SHAPE, "too large");
}

/* ---- shapes ---- */

enum { MANY = 20000 };

/* Operands x, y, x, y, ... */
static void shapes_alternate(ag_tensor **parts, int n, ag_tensor *x, ag_tensor *y)
{
    for (int i = 0; i < n; i++)
        parts[i] = i % 2 ? y : x;
}

/* An element above the diagonal, but of nothing. */
static void t_shapes_of_nothing(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 2)), *y = ag_diagonal(x, 1, 0, 1);
    CHECK_SHAPE(y, AG_SHAPE(-1));
    ag_session *s = graphs_session(g, AG_BACKEND_FUSED);
    for (int n = 0; n < 4; n++) {
        ag_tensor *v = ag_ones(c, AG_SHAPE(n, 2));
        CHECK_SHAPE(FETCH(s, y, { x, v }), AG_SHAPE(n > 0));
    }
}

static void t_shapes_of_very_many(ag_context *c)
{
    static ag_tensor *parts[MANY];
    const int n = harness_faults() ? 40 : MANY;
    ag_graph *g = graphs_graph(c);
    ag_tensor *rows = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 3)),
              *columns = ag_placeholder(g, AG_F32, AG_SHAPE(5, -1)),
              *any = ag_placeholder(g, AG_F32, AG_SHAPE(-1, -1)),
              *none = ag_placeholder(g, AG_F32, AG_SHAPE(-1)),
              *other = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 4));
    CHECK(rows && columns && any && none && other);
    shapes_alternate(parts, n, rows, columns);
    CHECK_SHAPE(ag_cat(parts, n, 0), AG_SHAPE(-1, 3));
    CHECK_SHAPE(ag_cat(parts, n, 1), AG_SHAPE(5, -1));
    CHECK_SHAPE(ag_stack(parts, n, 2), AG_SHAPE(5, 3, n));
    parts[n - 1] = other;
    CHECK_ERROR(ag_cat(parts, n, 0), AG_ERR_SHAPE, "Sizes of tensors must match");
    shapes_alternate(parts, n, columns, columns);
    CHECK_SHAPE(ag_cat(parts, n, 0), AG_SHAPE(5 * n, -1));
    shapes_alternate(parts, n, any, none); /* which is empty, then */
    CHECK_SHAPE(ag_cat(parts, n, 0), AG_SHAPE(-1, -1));
    shapes_alternate(parts, n, any, any);
    CHECK_SHAPE(ag_cat(parts, n, 1), AG_SHAPE(-1, -1));
    CHECK_SHAPE(ag_stack(parts, n, 0), AG_SHAPE(n, -1, -1));
}

/* So many that numbers to try for them must be small. */
static void t_shapes_of_many_dimensions(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    const ag_ints all = AG_SHAPE(-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    ag_tensor *x = ag_placeholder(g, AG_F32, all),
              *y = ag_placeholder(g, AG_F64, AG_SHAPE(-1, 1000000, -1, -1, -1, -1, -1));
    CHECK(x && y);
    CHECK_SHAPE(ag_neg(x), all);
    CHECK_SHAPE(ag_mul(x, x), all);
    CHECK_SHAPE(ag_sum(x, AG_DIMS(0, 1, 2, 3, 4, 5, 6)),
                AG_SHAPE(-1, -1, -1, -1, -1, -1, -1, -1, -1));
    CHECK_SHAPE(ag_neg(y), AG_SHAPE(-1, 1000000, -1, -1, -1, -1, -1));
}

/* Sizes that are given by what stands beside them, in all dimensions but one. */
static void t_shapes_that_fit_in_one_way(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2, 3, 4, 5, 6)),
              *y = ag_placeholder(g, AG_F32, AG_SHAPE(-1, -1, -1, -1, -1)),
              *i = ag_placeholder(g, AG_I64, AG_SHAPE(7));
    CHECK(x && y && i);
    ag_tensor *parts[] = { y, x, y };
    CHECK_SHAPE(ag_cat(parts, 3, 2), AG_SHAPE(2, 3, -1, 5, 6));
    CHECK_SHAPE(ag_stack(parts, 3, 0), AG_SHAPE(3, 2, 3, 4, 5, 6));
    CHECK_SHAPE(ag_index_add(x, 4, i, y), AG_SHAPE(2, 3, 4, 5, 6));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_cat_of_unknown_sizes), TEST(t_cat_of_many), TEST(t_parts_of_unknown_sizes),
               TEST(t_shapes_of_nothing), TEST(t_shapes_of_very_many),
               TEST(t_shapes_of_many_dimensions), TEST(t_shapes_that_fit_in_one_way));
}
