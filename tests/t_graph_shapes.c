/* What a graph says of its operations before it runs: shapes, dtypes, and the errors of eager calls.
 * The table is graph_shapes.def. A run must then give what was said, and the bits of the eager call. */
#include "graphs.h"

/* ---- the table ---- */

enum { POINTWISE, PRODUCT, REDUCTION, VIEW, COPY, LOSS };

typedef ag_tensor *shapes_call(ag_tensor *a, ag_tensor *b);

#define CHOSEN(ok) ((ok) ? values : NULL)
#define PART(count, n) ((count) == (n) ? parts[(n)-1] : NULL)
#define SHAPE(group, name, call, ...)                                                              \
    static ag_tensor *shape_##name(ag_tensor *a, ag_tensor *b)                                     \
    {                                                                                              \
        ag_tensor *values = NULL, *parts[3] = { NULL }, *const both[] = { a, b };                  \
        (void)values, (void)parts, (void)both;                                                     \
        return call;                                                                               \
    }
#include "graph_shapes.def"
#undef SHAPE

typedef struct {
    int group;
    const char *name;
    shapes_call *call;
    ag_dtype dtype_b;
    ag_ints a, b, shape;
    int64_t n, m;
} shapes_row;

/* t[0..shape.n): the shape with n in the place of each -1. */
static ag_ints shapes_fill(ag_ints shape, int64_t n, int64_t *t)
{
    for (int d = 0; d < shape.n; d++)
        t[d] = shape.data[d] < 0 ? n : shape.data[d];
    return (ag_ints){ t, shape.n };
}

/* The run's value has the dtype that was said, and each size that was. */
static void shapes_keep_their_word(const shapes_row *row, ag_tensor *said, ag_tensor *t)
{
    if (!t)
        FAIL("%s: the run failed", row->name);
    if (ag_dtype_of(t) != ag_dtype_of(said))
        FAIL("%s: the run gives %s, the graph said %s", row->name, ag_dtype_name(ag_dtype_of(t)),
             ag_dtype_name(ag_dtype_of(said)));
    if (ag_ndim(t) != ag_ndim(said))
        FAIL("%s: the run gives %d dimensions, the graph said %d", row->name, ag_ndim(t),
             ag_ndim(said));
    for (int d = 0; d < ag_ndim(t); d++)
        if (ag_size(said, d) != -1 && ag_size(t, d) != ag_size(said, d))
            FAIL("%s: the run gives size %lld at %d, the graph said %lld", row->name,
                 (long long)ag_size(t, d), d, (long long)ag_size(said, d));
}

static void shapes_check(ag_context *c, ag_graph *g, ag_session *const *sessions,
                         const shapes_row *row)
{
    int64_t sizes_a[AG_MAX_DIMS], sizes_b[AG_MAX_DIMS];
    ag_tensor *va = graphs_numbers(c, AG_F32, shapes_fill(row->a, row->n, sizes_a));
    ag_tensor *vb = graphs_numbers(c, row->dtype_b, shapes_fill(row->b, row->m, sizes_b));
    ag_tensor *expected = va && vb ? row->call(va, vb) : NULL;
    if (!expected)
        FAIL("%s: the eager call failed", row->name);
    ag_tensor *a = ag_placeholder(g, AG_F32, row->a), *b = ag_placeholder(g, row->dtype_b, row->b);
    CHECK(a && b);
    ag_tensor *y = row->call(a, b);
    if (!y)
        FAIL("%s: it cannot be recorded", row->name);
    CHECK(ag_is_symbolic(y));
    graphs_shape(__FILE__, __LINE__, row->name, y, row->shape);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_tensor *t = FETCH(sessions[k], y, { a, va }, { b, vb });
        shapes_keep_their_word(row, y, t);
        graphs_same(__FILE__, __LINE__, row->name, t, expected);
    }
}

static void shapes_check_group(ag_context *c, int group)
{
#define S(...) AG_SHAPE(__VA_ARGS__)
#define SHAPE(group, name, call, dtype_b, a, b, shape, n, m)                                       \
    { group, #name, shape_##name, dtype_b, a, b, shape, n, m },
    const shapes_row rows[] = {
#include "graph_shapes.def"
    };
#undef SHAPE
#undef S
    ag_graph *g = graphs_graph(c);
    ag_session *sessions[GRAPHS_BACKENDS];
    for (int k = 0; k < GRAPHS_BACKENDS; k++)
        sessions[k] = graphs_session(g, graphs_backend[k]);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (rows[i].group == group)
            shapes_check(c, g, sessions, &rows[i]);
}

static void t_pointwise(ag_context *c) { shapes_check_group(c, POINTWISE); }
static void t_products(ag_context *c) { shapes_check_group(c, PRODUCT); }
static void t_reductions(ag_context *c) { shapes_check_group(c, REDUCTION); }
static void t_views(ag_context *c) { shapes_check_group(c, VIEW); }
static void t_copies(ag_context *c) { shapes_check_group(c, COPY); }
static void t_losses(ag_context *c) { shapes_check_group(c, LOSS); }

/* ---- errors ---- */

#define WRONG(name, call)                                                                          \
    static ag_tensor *wrong_##name(ag_tensor *a, ag_tensor *b)                                     \
    {                                                                                              \
        ag_tensor *const both[] = { a, b };                                                        \
        (void)both;                                                                                \
        return call;                                                                               \
    }
WRONG(add, ag_add(a, b))
WRONG(lerp, ag_lerp(a, b, 0.5))
WRONG(where, ag_where(b, a, a))
WRONG(masked_fill, ag_masked_fill(a, b, 0))
WRONG(sub_bools, ag_sub(b, b))
WRONG(matmul, ag_matmul(a, b))
WRONG(mm, ag_mm(a, b))
WRONG(bmm, ag_bmm(a, b))
WRONG(dot, ag_dot(a, b))
WRONG(linear, ag_linear(a, b, NULL))
WRONG(addmm, ag_addmm(b, a, a))
WRONG(sum_dim, ag_sum(a, .dims = AG_DIMS(2)))
WRONG(sum_twice, ag_sum(a, .dims = AG_DIMS(0, -2)))
WRONG(mean, ag_mean(b))
WRONG(argmax, ag_argmax(a, 5, false))
WRONG(cumsum, ag_cumsum(a, -3))
WRONG(reshape, ag_reshape(a, AG_SHAPE(4)))
WRONG(reshape_two, ag_reshape(a, AG_SHAPE(-1, -1)))
WRONG(expand, ag_expand(a, AG_SHAPE(4, 3)))
WRONG(permute, ag_permute(a, AG_DIMS(0, 0)))
WRONG(transpose, ag_transpose(a, 0, 2))
WRONG(unsqueeze, ag_unsqueeze(a, 4))
WRONG(flatten, ag_flatten(a, 1, 0))
WRONG(select, ag_select(a, 1, 3))
WRONG(narrow, ag_narrow(a, 1, 1, 3))
WRONG(slice, ag_slice(a, 0, 0, 1, 0))
WRONG(diagonal, ag_diagonal(a, 0, 1, 1))
WRONG(unfold, ag_unfold(a, 1, 4, 1))
WRONG(cat, ag_cat(both, 2, 0))
WRONG(stack, ag_stack(both, 2, 0))
WRONG(flip, ag_flip(a, AG_DIMS(7)))
WRONG(index_select, ag_index_select(a, 0, b))
WRONG(gather, ag_gather(a, 0, b))
WRONG(scatter, ag_scatter(a, 0, b, a))
WRONG(embedding, ag_embedding(a, b))
WRONG(softmax, ag_softmax(a, 2))
WRONG(layer_norm, ag_layer_norm(a, 1, b, NULL, 1e-5))
WRONG(mse_loss, ag_mse_loss(a, b))
WRONG(nll_loss, ag_nll_loss(a, b))
WRONG(cross_entropy, ag_cross_entropy(a, b))
WRONG(dropout, ag_dropout(a, 1.5, true))

typedef struct {
    const char *name;
    shapes_call *call;
    ag_dtype dtype_b;
    ag_ints b; /* a is float32 and of shape [2, 3] */
} wrong_row;
#define ROW(name, dtype, ...)                                                                      \
    {                                                                                              \
#name, wrong_##name, dtype, AG_SHAPE(__VA_ARGS__)                                          \
    }

static void wrong_check(ag_context *c, const wrong_row *rows, size_t n)
{
    static char text[1024]; /* static: a check jumps */
    ag_graph *g = graphs_graph(c);
    ag_tensor *sa = ag_placeholder(g, AG_F32, AG_SHAPE(2, 3));
    ag_tensor *a = graphs_numbers(c, AG_F32, AG_SHAPE(2, 3));
    CHECK(sa && a);
    for (size_t i = 0; i < n; i++) {
        ag_tensor *sb = ag_placeholder(g, rows[i].dtype_b, rows[i].b);
        ag_tensor *b = graphs_numbers(c, rows[i].dtype_b, rows[i].b);
        CHECK(sb && b);
        ag_tensor *eager = rows[i].call(a, b);
        const ag_status *status = ag_error(c);
        if (eager || !status || status->code == AG_ERR_MEMORY)
            FAIL("%s: the eager call must be refused", rows[i].name);
        const ag_code code = status->code;
        CHECK(strlen(status->message) < sizeof text);
        strcpy(text, status->message);
        ag_error_clear(c);
        ag_tensor *recorded = rows[i].call(sa, sb);
        if (recorded || !ag_error(c) || ag_error(c)->code == AG_ERR_MEMORY)
            FAIL("%s: recording must be refused", rows[i].name);
        harness_int(__FILE__, __LINE__, rows[i].name, ag_error(c)->code, code);
        harness_text(__FILE__, __LINE__, rows[i].name, ag_error(c)->message, text);
        ag_error_clear(c);
    }
}
#define WRONG_CHECK(c, ...)                                                                        \
    wrong_check(c, (const wrong_row[]){ __VA_ARGS__ },                                             \
                sizeof((const wrong_row[]){ __VA_ARGS__ }) / sizeof(wrong_row))

static void t_errors_of_pointwise_operations_and_products(ag_context *c)
{
    WRONG_CHECK(c, ROW(add, AG_F32, 4), ROW(lerp, AG_F32, 2, 2), ROW(where, AG_F32, 3),
                ROW(masked_fill, AG_I64, 3), ROW(sub_bools, AG_BOOL, 3), ROW(matmul, AG_F32, 4, 2),
                ROW(mm, AG_F32, 3), ROW(bmm, AG_F32, 2, 3, 4), ROW(dot, AG_F32, 3),
                ROW(linear, AG_F32, 4, 2), ROW(addmm, AG_F32, 2));
}

static void t_errors_of_reductions_and_shapes(ag_context *c)
{
    WRONG_CHECK(c, ROW(sum_dim, AG_F32), ROW(sum_twice, AG_F32), ROW(mean, AG_I64, 2),
                ROW(argmax, AG_F32), ROW(cumsum, AG_F32), ROW(reshape, AG_F32),
                ROW(reshape_two, AG_F32), ROW(expand, AG_F32), ROW(permute, AG_F32),
                ROW(transpose, AG_F32), ROW(unsqueeze, AG_F32), ROW(flatten, AG_F32),
                ROW(select, AG_F32), ROW(narrow, AG_F32), ROW(slice, AG_F32), ROW(diagonal, AG_F32),
                ROW(unfold, AG_F32), ROW(flip, AG_F32));
}

static void t_errors_of_copies_and_losses(ag_context *c)
{
    WRONG_CHECK(c, ROW(cat, AG_F32, 2, 4), ROW(stack, AG_F32, 3), ROW(index_select, AG_F32, 2),
                ROW(gather, AG_I64, 2), ROW(scatter, AG_I64, 5, 5), ROW(embedding, AG_F32, 2),
                ROW(softmax, AG_F32), ROW(layer_norm, AG_F32, 2), ROW(mse_loss, AG_F32, 4),
                ROW(nll_loss, AG_I64, 3), ROW(cross_entropy, AG_F32, 4), ROW(dropout, AG_F32));
}

/* A size that is known is compared with one that is known, whatever the others are. */
static void t_errors_with_unknown_sizes(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 3)),
              *w = ag_placeholder(g, AG_F32, AG_SHAPE(4, 2)), *v = ag_ones(c, AG_SHAPE(4));
    CHECK(x && w && v);
    ag_tensor *const parts[] = { x, w };
    CHECK_ERROR(ag_matmul(x, w), AG_ERR_SHAPE, "mat1 and mat2 shapes cannot be multiplied");
    CHECK_ERROR(ag_add(x, v), AG_ERR_SHAPE,
                "The size of tensor a (3) must match the size of tensor b (4) at non-singleton "
                "dimension 1; the shapes are [-1, 3] and [4]");
    CHECK_ERROR(ag_cat(parts, 2, 0), AG_ERR_SHAPE, "Sizes of tensors must match");
    CHECK_ERROR(ag_select(x, 1, 3), AG_ERR_INDEX, "index 3 out of range");
    CHECK_ERROR(ag_sum(x, .dims = AG_DIMS(2)), AG_ERR_INDEX, "Dimension out of range");
    CHECK_ERROR(ag_softmax(x, -3), AG_ERR_INDEX, "Dimension out of range");
}

/* The number of parts must be known when they are recorded. */
static void t_parts_of_an_unknown_size(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 3)), *out[8] = { NULL };
    CHECK(x);
    CHECK_ERROR(ag_unbind(x, 0, out, 8) >= 0, AG_ERR_SHAPE, "ag_unbind");
    CHECK_ERROR(ag_split(x, 2, 0, out, 8) >= 0, AG_ERR_SHAPE, "ag_split");
    for (int i = 0; i < 8; i++)
        CHECK(!out[i]);
}

/* What could not be known then is refused by the run, with the words of the eager call. */
static void t_errors_of_runs(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1)),
              *i = ag_placeholder(g, AG_I64, AG_SHAPE(2));
    ag_tensor *sum = ag_add(x, ag_ones(c, AG_SHAPE(3))), *rows = ag_index_select(x, 0, i),
              *second = ag_select(x, 0, 1), *pairs = ag_reshape(x, AG_SHAPE(-1, 2));
    ag_tensor *one = ag_ones(c, AG_SHAPE(1)), *two = ag_ones(c, AG_SHAPE(2)),
              *three = ag_ones(c, AG_SHAPE(3)),
              *at = ag_array(c, AG_VALUES(0, 7), AG_SHAPE(2), .dtype = AG_I64);
    CHECK(sum && rows && second && pairs && one && two && three && at);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        CHECK_ERROR(FETCH(s, sum, { x, two }), AG_ERR_SHAPE,
                    "The size of tensor a (2) must match the size of tensor b (3) at "
                    "non-singleton dimension 0");
        CHECK_ERROR(FETCH(s, rows, { x, two }, { i, at }), AG_ERR_INDEX,
                    "index 7 is out of bounds for dimension 0 with size 2");
        CHECK_ERROR(FETCH(s, second, { x, one }), AG_ERR_INDEX, "index 1 out of range");
        CHECK_ERROR(FETCH(s, pairs, { x, three }), AG_ERR_SHAPE,
                    "shape '[-1, 2]' is invalid for input of size 3");
        CHECK_SAME(FETCH(s, sum, { x, three }), ag_add(three, 1));
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_pointwise), TEST(t_products), TEST(t_reductions), TEST(t_views),
               TEST(t_copies), TEST(t_losses), TEST(t_errors_of_pointwise_operations_and_products),
               TEST(t_errors_of_reductions_and_shapes), TEST(t_errors_of_copies_and_losses),
               TEST(t_errors_with_unknown_sizes), TEST(t_parts_of_an_unknown_size),
               TEST(t_errors_of_runs));
}
