/* Functions on symbolic tensors that the table of t_graph_rows does not reach: sizes that are not known,
 * checks of data that only a run can make, results whose shapes depend on data, derivatives of functions,
 * and what is refused. */
#include "graphs.h"

/* What each way of running gives for one fetch with feeds is `expected`, to the last bit. */
#define CHECK_RUNS(g, fetch, expected, ...)                                                        \
    do {                                                                                           \
        CHECK(fetch);                                                                              \
        for (int backend = 0; backend < GRAPHS_BACKENDS; backend++)                                \
            CHECK_SAME(FETCH(graphs_session(g, graphs_backend[backend]), fetch, __VA_ARGS__),      \
                       expected);                                                                  \
    } while (0)
/* Each way of running refuses. */
#define CHECK_RUN_ERROR(g, fetch, code, sentence, ...)                                             \
    do {                                                                                           \
        CHECK(fetch);                                                                              \
        for (int backend = 0; backend < GRAPHS_BACKENDS; backend++)                                \
            CHECK_ERROR(FETCH(graphs_session(g, graphs_backend[backend]), fetch, __VA_ARGS__),     \
                        code, sentence);                                                           \
    } while (0)

static ag_tensor *numbers(ag_context *c, ag_ints shape)
{
    ag_tensor *t = graphs_numbers(c, AG_F64, shape);
    CHECK(t);
    return t;
}
#define NUMBERS(...) numbers(c, AG_SHAPE(__VA_ARGS__))
#define INDICES(shape, ...) ag_array(c, AG_VALUES(__VA_ARGS__), shape, .dtype = AG_I64)
#define MASK(shape, ...) ag_array(c, AG_VALUES(__VA_ARGS__), shape, .dtype = AG_BOOL)
#define UNKNOWN(g, ...) ag_placeholder(g, AG_F64, AG_SHAPE(__VA_ARGS__))

/* ---- sizes ---- */

/* Products of batches, of which no size or only some are known. */
static void t_products_of_unknown_batches(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *q = UNKNOWN(g, -1, 2, -1, 4), *k = UNKNOWN(g, -1, -1, 4, 3), *w = UNKNOWN(g, -1, -1);
    CHECK(q && k && w);
    ag_tensor *y = ag_matmul(q, k), *z = ag_matmul(q, w), *u = ag_matmul(ag_t(w), q);
    CHECK(y && z && u);
    CHECK_SHAPE(y, AG_SHAPE(-1, 2, -1, 3));
    CHECK_SHAPE(z, AG_SHAPE(-1, 2, -1, -1));
    CHECK_SHAPE(u, AG_SHAPE(-1, 2, -1, 4));
    ag_tensor *a = NUMBERS(5, 2, 3, 4), *b = NUMBERS(5, 2, 4, 3), *one = NUMBERS(1, 1, 4, 3);
    ag_tensor *m = NUMBERS(4, 6), *n = NUMBERS(3, 2);
    CHECK_RUNS(g, y, ag_matmul(a, b), { q, a }, { k, b });
    CHECK_RUNS(g, y, ag_matmul(a, one), { q, a }, { k, one });
    CHECK_RUNS(g, y, ag_matmul(NUMBERS(1, 2, 3, 4), b), { q, NUMBERS(1, 2, 3, 4) }, { k, b });
    CHECK_RUNS(g, z, ag_matmul(a, m), { q, a }, { w, m });
    CHECK_RUNS(g, u, ag_matmul(ag_t(n), a), { q, a }, { w, n });
    CHECK_RUN_ERROR(g, y, AG_ERR_SHAPE, "must match the existing size", { q, a },
                    { k, NUMBERS(4, 2, 4, 3) });
}

/* What takes sizes from other tensors is found again in a file. */
static void t_unknown_sizes_in_files(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *a = ag_placeholder(g, AG_F64, AG_SHAPE(-1, -1, -1), .name = "a");
    ag_tensor *b = ag_placeholder(g, AG_F64, AG_SHAPE(-1, -1, -1, -1), .name = "b");
    ag_tensor *i = ag_placeholder(g, AG_I64, AG_SHAPE(-1, -1, -1), .name = "i");
    CHECK(a && b && i);
    ag_tensor *y = ag_matmul(b, ag_scatter_add(a, 0, i, a));
    CHECK(y && ag_set_name(y, "y") && ag_graph_save(g, harness_path("sizes.graph")));
    ag_graph *h = ag_graph_load(c, harness_path("sizes.graph"));
    CHECK(h);
    harness_defer(graphs_free_graph, h);
    ag_tensor *v = NUMBERS(2, 3, 4), *w = NUMBERS(5, 1, 2, 3);
    ag_tensor *at = INDICES(AG_SHAPE(1, 2, 3), 1, 0, 1, 0, 1, 0);
    ag_tensor *loaded = ag_graph_find(h, "y");
    CHECK(at && loaded);
    CHECK_SHAPE(loaded, AG_SHAPE(-1, -1, -1, -1));
    CHECK_RUNS(h, loaded, ag_matmul(w, ag_scatter_add(v, 0, at, v)), { ag_graph_find(h, "a"), v },
               { ag_graph_find(h, "b"), w }, { ag_graph_find(h, "i"), at });
}

static void t_flattening(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, -1, -1, 3, -1);
    CHECK(x);
    ag_tensor *y = ag_flatten(x, 1, 2);
    CHECK(y);
    CHECK_SHAPE(y, AG_SHAPE(-1, -1, -1));
    CHECK_RUNS(g, y, ag_flatten(NUMBERS(2, 5, 3, 4), 1, 2), { x, NUMBERS(2, 5, 3, 4) });
    CHECK_RUNS(g, y, ag_flatten(NUMBERS(2, 0, 3, 4), 1, 2), { x, NUMBERS(2, 0, 3, 4) });
}

/* The part is there in full, or the run is refused, as the call would be. */
static void t_narrow(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, -1), *y = ag_narrow(x, 0, 1, 3), *last = ag_narrow(x, 0, -2, 2);
    CHECK(y && last);
    CHECK_SHAPE(y, AG_SHAPE(3));
    CHECK_SHAPE(last, AG_SHAPE(2));
    ag_tensor *v = NUMBERS(5);
    CHECK_RUNS(g, y, ag_narrow(v, 0, 1, 3), { x, v });
    CHECK_RUNS(g, last, ag_narrow(v, 0, -2, 2), { x, v });
    CHECK_RUN_ERROR(g, y, AG_ERR_VALUE,
                    "ag_narrow: start (1) + length (3) exceeds dimension size (3).",
                    { x, NUMBERS(3) });
    CHECK_RUN_ERROR(g, last, AG_ERR_INDEX, "ag_narrow: start out of range", { x, NUMBERS(1) });
    CHECK_ERROR(ag_narrow(x, 0, 1, -3), AG_ERR_VALUE, "length must be non-negative");
}

/* Only as much of src is read as there is index. */
static void t_scatter_of_more_than_is_indexed(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, -1, 3), *src = UNKNOWN(g, -1, -1),
              *i = ag_placeholder(g, AG_I64, AG_SHAPE(-1, 2)), *dsrc = NULL;
    ag_tensor *y = ag_scatter_add(x, 0, i, src), *sum = ag_sum(ag_square(y));
    CHECK(sum && ag_grad(&sum, 1, &src, 1, &dsrc));
    ag_tensor *v = NUMBERS(3, 3), *w = NUMBERS(4, 3), *at = INDICES(AG_SHAPE(2, 2), 2, 0, 1, 0);
    CHECK(at && ag_requires_grad_(w, true));
    ag_tensor *expected = ag_scatter_add(v, 0, at, w), *total = ag_sum(ag_square(expected)), *dw;
    CHECK(total && ag_grad(&total, 1, &w, 1, &dw));
    CHECK_RUNS(g, y, expected, { x, v }, { src, w }, { i, at });
    CHECK_RUNS(g, dsrc, dw, { x, v }, { src, w }, { i, at });
}

/* Sizes that need not be the same in each operand, and some that must be two numbers at once. */
static void t_sizes_that_are_found(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, -1, -1), *m = UNKNOWN(g, 2, 5), *w = UNKNOWN(g, 3, 5), *list[20];
    CHECK(x && m && w);
    CHECK_SHAPE(ag_addmm(m, x, w), AG_SHAPE(2, 5));
    CHECK_SHAPE(ag_expand(UNKNOWN(g, -1), AG_SHAPE(7, 4)), AG_SHAPE(7, 4));
    for (int i = 0; i < 20; i++)
        list[i] = x;
    ag_tensor *y = ag_cat(list, 20, 1), *v = NUMBERS(2, 3), *values[20];
    for (int i = 0; i < 20; i++)
        values[i] = v;
    CHECK_SHAPE(y, AG_SHAPE(-1, -1));
    CHECK_RUNS(g, y, ag_cat(values, 20, 1), { x, v });
    list[0] =
        ag_placeholder(g, AG_F64, AG_SHAPE(-1)); /* of no elements it stands beside any others */
    CHECK(list[0]);
    CHECK_RUNS(g, ag_cat(list, 2, 0), v, { list[0], NUMBERS(0) }, { x, v });
}

/* A run counts the classes among which labels are smoothed: the bits are those of the eager call. */
static void check_smoothing(ag_context *c, ag_dtype dtype, ag_ints known, ag_ints labels)
{
    static const int64_t any[4] = { -1, -1, -1, -1 };
    ag_graph *g = graphs_graph(c);
    const ag_ints sizes = { any, known.n }, places = { any, labels.n };
    ag_tensor *x = ag_placeholder(g, dtype, sizes), *i = ag_placeholder(g, AG_I64, places);
    ag_tensor *w = ag_placeholder(g, dtype, AG_SHAPE(-1)), *dx, *dv,
              *weight = graphs_numbers(c, dtype, AG_SHAPE(3));
    ag_tensor *v = graphs_numbers(c, dtype, known), *at = graphs_numbers(c, AG_I64, labels);
    CHECK(x && i && w && weight && v && at && ag_requires_grad_(v, true));
    for (int k = 0; k < 3 * GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k / 3]);
        const ag_reduction reduction = (const ag_reduction[]){ AG_MEAN, AG_SUM, AG_NONE }[k % 3];
        ag_tensor *y = ag_cross_entropy(x, i, .label_smoothing = .1, .reduction = reduction);
        ag_tensor *e = ag_cross_entropy(v, at, .label_smoothing = .1, .reduction = reduction);
        CHECK_SAME(FETCH(s, y, { x, v }, { i, at }), e);
        CHECK((y = ag_sum(y)) && (e = ag_sum(e)));
        CHECK(ag_grad(&y, 1, &x, 1, &dx) && ag_grad(&e, 1, &v, 1, &dv));
        CHECK_SAME(FETCH(s, dx, { x, v }, { i, at }), dv);
        y = ag_cross_entropy(x, i, .label_smoothing = .3, .reduction = reduction, .weight = w);
        e = ag_cross_entropy(v, at, .label_smoothing = .3, .reduction = reduction,
                             .weight = weight);
        CHECK_SAME(FETCH(s, y, { x, v }, { i, at }, { w, weight }), e);
    }
}

static void t_smoothing_among_unknown_classes(ag_context *c)
{
    check_smoothing(c, AG_F32, AG_SHAPE(4, 3), AG_SHAPE(4));
    check_smoothing(c, AG_F64, AG_SHAPE(2, 3, 2, 1), AG_SHAPE(2, 2, 1));
    check_smoothing(c, AG_F64, AG_SHAPE(3), AG_SHAPE());
}

/* A dim of unknown size is squeezed as one of size 1. */
static void t_squeezing(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, -1, 2), *y = ag_squeeze(x, 0), *dx = NULL;
    CHECK(y);
    CHECK_SHAPE(y, AG_SHAPE(2));
    ag_tensor *sum = ag_sum(ag_square(y)), *v = NUMBERS(1, 2);
    CHECK(sum && ag_grad(&sum, 1, &x, 1, &dx));
    CHECK_RUNS(g, y, ag_squeeze(v, 0), { x, v });
    CHECK_RUNS(g, dx, ag_mul(v, 2), { x, v });
    CHECK_RUN_ERROR(g, y, AG_ERR_SHAPE, "ag_squeeze: the size of dimension 0",
                    { x, NUMBERS(3, 2) });
}

static void t_sizes_that_must_be_known(ag_context *c)
{
    static const char sentence[] = "must be known in a graph";
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, 2, -1), *out[4];
    CHECK(x);
    CHECK_ERROR(ag_split(x, 1, 1, out, 4) >= 0, AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_chunk(x, 2, -1, out, 4) >= 0, AG_ERR_SHAPE, sentence);
    CHECK_ERROR(ag_unbind(x, 1, out, 4) >= 0, AG_ERR_SHAPE, sentence);
    CHECK(ag_squeeze(x, 0) && ag_unbind(x, 0, out, 4) == 2);
}

/* ---- data ---- */

/* Checks of data are made by the run, with the words of the eager call. */
static void t_data_that_runs_refuse(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, -1), *i = ag_placeholder(g, AG_I64, AG_SHAPE(-1)),
              *m = ag_placeholder(g, AG_BOOL, AG_SHAPE(-1));
    ag_tensor *v = NUMBERS(3), *one = INDICES(AG_SHAPE(1), 7), *zero = INDICES(AG_SHAPE(1), 0);
    ag_tensor *on = MASK(AG_SHAPE(3), 1, 1, 1);
    CHECK(x && i && m && one && zero && on);
    CHECK_RUN_ERROR(g, ag_fmod(5, i), AG_ERR_VALUE, "ag_fmod: ZeroDivisionError", { i, zero });
    CHECK_RUN_ERROR(g, ag_remainder(i, i), AG_ERR_VALUE, "ag_remainder: ZeroDivisionError",
                    { i, zero });
    CHECK_RUN_ERROR(g, ag_one_hot(i, 5), AG_ERR_INDEX, "7 is not smaller than 5", { i, one });
    CHECK_RUN_ERROR(g, ag_index(x, &i, 1), AG_ERR_INDEX,
                    "ag_index: index 7 is out of bounds for dimension 0 with size 3", { i, one },
                    { x, v });
    CHECK_RUN_ERROR(g, ag_take(x, i), AG_ERR_INDEX, "ag_take: out of range", { i, one }, { x, v });
    CHECK_RUN_ERROR(g, ag_bernoulli(ag_mul(x, 9)), AG_ERR_VALUE, "ag_bernoulli: Expected p_in >= 0",
                    { x, v });
    CHECK_RUN_ERROR(g, ag_masked_scatter(x, m, ag_slice(x, 0, 0, 1, 1)), AG_ERR_SHAPE,
                    "Number of elements of source < number of ones in mask: 1 and 3", { m, on },
                    { x, v });
    CHECK_RUN_ERROR(g, ag_nll_loss(ag_unsqueeze(x, 0), i), AG_ERR_INDEX,
                    "ag_nll_loss: Target 7 is out of bounds. [3 classes]", { i, one }, { x, v });
}

/* Shapes that only a run knows. */
static void t_shapes_that_depend_on_data(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, 3, 2), *i = ag_placeholder(g, AG_I64, AG_SHAPE(3)),
              *m = ag_placeholder(g, AG_BOOL, AG_SHAPE(3)), *dx = NULL;
    CHECK(x && i && m);
    ag_tensor *rows = ag_index(x, &m, 1), *some = ag_masked_select(x, ag_unsqueeze(m, 1)),
              *hot = ag_one_hot(i, -1), *sum = ag_sum(ag_square(some));
    CHECK(rows && some && hot && sum && ag_grad(&sum, 1, &x, 1, &dx));
    CHECK_SHAPE(rows, AG_SHAPE(-1, 2));
    CHECK_SHAPE(some, AG_SHAPE(-1));
    CHECK_SHAPE(hot, AG_SHAPE(3, -1));
    ag_tensor *v = NUMBERS(3, 2), *on = MASK(AG_SHAPE(3), 1, 0, 1);
    ag_tensor *at = INDICES(AG_SHAPE(3), 4, 0, 1);
    CHECK(on && at);
    CHECK_RUNS(g, rows, ag_index(v, &on, 1), { x, v }, { m, on });
    CHECK_RUNS(g, some, ag_masked_select(v, ag_unsqueeze(on, 1)), { x, v }, { m, on });
    CHECK_RUNS(g, hot, ag_one_hot(at, -1), { i, at });
    CHECK_RUNS(g, dx, ag_mul(ag_mul(v, 2), ag_to(ag_unsqueeze(on, 1), AG_F64)), { x, v },
               { m, on });
}

/* ---- derivatives of functions ---- */

static bool cubes(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_mul(in[0], ag_square(in[0]))) != NULL;
}
static bool sum_of_cubes(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    return cubes(in, n, out, m, user) && (out[0] = ag_sum(out[0])) != NULL;
}
static bool constant(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_ones(ag_context_of(in[0]), AG_SHAPE(2), .dtype = AG_F64)) != NULL;
}

static void t_matrices_of_derivatives(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, 2), *w = UNKNOWN(g, 2), *value = NULL, *other = NULL;
    CHECK(x && w);
    ag_tensor *j = ag_jacobian(cubes, x, NULL), *h = ag_hessian(sum_of_cubes, x, NULL);
    ag_tensor *forward = ag_jacobian(cubes, x, NULL, .forward_mode = true);
    ag_tensor *zeros = ag_jacobian(constant, x, NULL);
    ag_tensor *hv = ag_hvp(sum_of_cubes, x, w, &value, NULL);
    ag_tensor *vh = ag_vhp(sum_of_cubes, x, w, &other, NULL);
    CHECK(j && h && forward && zeros && hv && vh && value && other);
    for (int k = 0; k < 2; k++) { /* values are outside of what is differentiated */
        ag_tensor *none = x;
        CHECK(ag_grad(k ? &other : &value, 1, &x, 1, &none, .allow_unused = true) && !none);
    }
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *u = ag_array(c, AG_VALUES(3, 5), AG_SHAPE(2), .dtype = AG_F64);
    CHECK(v && u);
    for (int k = 0; k < GRAPHS_BACKENDS; k++) {
        ag_session *s = graphs_session(g, graphs_backend[k]);
        CHECK_VALUES(FETCH(s, j, { x, v }), AG_SHAPE(2, 2), AG_VALUES(3, 0, 0, 12), 0);
        CHECK_VALUES(FETCH(s, forward, { x, v }), AG_SHAPE(2, 2), AG_VALUES(3, 0, 0, 12), 0);
        CHECK_VALUES(FETCH(s, zeros, { x, v }), AG_SHAPE(2, 2), AG_VALUES(0, 0, 0, 0), 0);
        CHECK_VALUES(FETCH(s, h, { x, v }), AG_SHAPE(2, 2), AG_VALUES(6, 0, 0, 12), 0);
        CHECK_VALUES(FETCH(s, hv, { x, v }, { w, u }), AG_SHAPE(2), AG_VALUES(18, 60), 0);
        CHECK_VALUES(FETCH(s, vh, { x, v }, { w, u }), AG_SHAPE(2), AG_VALUES(18, 60), 0);
        CHECK_VALUES(FETCH(s, value, { x, v }), AG_SHAPE(), AG_VALUES(9), 0);
    }
    CHECK_ERROR(ag_jacobian(cubes, UNKNOWN(g, -1), NULL), AG_ERR_SHAPE, "must be known in a graph");
}

/* Several cotangents at once, and a symbolic one for what holds data. */
static void t_cotangents(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, -1), *vs = UNKNOWN(g, 2, -1), *few = UNKNOWN(g, -1, 3), *rows = NULL;
    ag_tensor *y = ag_square(x), *v = NUMBERS(3), *u = NUMBERS(2, 3), *dleaf = NULL;
    CHECK(y && vs && ag_grad(&y, 1, &x, 1, &rows, .grad_outputs = &vs, .batched = true));
    CHECK_RUNS(g, rows, ag_mul(u, ag_mul(v, 2)), { x, v }, { vs, u });
    CHECK_ERROR(ag_grad(&y, 1, &x, 1, &rows, .grad_outputs = &few, .batched = true), AG_ERR_SHAPE,
                "known");
    ag_tensor *leaf = ag_requires_grad_(NUMBERS(3), true), *z = ag_exp(leaf);
    ag_tensor *g3 = UNKNOWN(g, 3);
    CHECK(z && g3 && ag_grad(&z, 1, &leaf, 1, &dleaf, .grad_outputs = &g3));
    CHECK(ag_is_symbolic(dleaf));
    CHECK_RUNS(g, dleaf, ag_mul(v, z), { g3, v });
}

/* A checkpoint is what it computes; there is nothing to keep from call to call. */
static void t_checkpoints(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, -1), *y = NULL, *sum = NULL, *dx = NULL, *v = NUMBERS(3);
    CHECK(x && ag_checkpoint(cubes, &x, 1, &y, 1, NULL));
    CHECK((sum = ag_sum(y)) && ag_grad(&sum, 1, &x, 1, &dx));
    CHECK_RUNS(g, y, ag_mul(v, ag_square(v)), { x, v });
    CHECK(dx);
}

static void t_detaching_in_place(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, 2), *y = ag_square(x), *dx = NULL, *v = NUMBERS(2);
    CHECK(y && ag_detach_(y) == y);
    ag_tensor *sum = ag_sum(ag_mul(x, y));
    CHECK(sum && ag_grad(&sum, 1, &x, 1, &dx));
    CHECK_RUNS(g, dx, ag_square(v), { x, v });
}

/* ---- what is refused ---- */

static bool identity(ag_ctx *x, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)x, (void)n, (void)m;
    return (out[0] = ag_clone(in[0])) != NULL;
}
static bool step(int64_t i, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    (void)i;
    return cubes(in, n, out, n, user);
}
static void ignore(ag_tensor *const *grads, int n, void *user) { (void)grads, (void)n, (void)user; }
static void ignore_leaf(ag_tensor *leaf, void *user) { (void)leaf, (void)user; }

#define CHECK_REFUSED(call) CHECK_ERROR(call, AG_ERR_GRAPH, "symbolic")

static void t_what_needs_data(ag_context *c)
{
    static const ag_custom custom = { .name = "Identity", .forward = identity };
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, 2), *y = NULL;
    CHECK(x);
    CHECK_REFUSED(ag_version(x) >= 0);
    CHECK_REFUSED((ag_increment_version(x), false));
    CHECK_REFUSED(ag_as_strided(x, AG_SHAPE(1), AG_SHAPE(1), 0));
    CHECK_REFUSED(ag_write_dot(x, harness_path("symbolic.dot")));
    CHECK_REFUSED(ag_gradient_edge(x));
    CHECK_REFUSED(ag_saved_bytes(x, NULL, 0) >= 0);
    CHECK_REFUSED(ag_register_multi_grad_hook(&x, 1, ignore, NULL));
    CHECK_REFUSED(ag_register_post_accumulate_grad_hook(x, ignore_leaf, NULL));
    CHECK_REFUSED(ag_adam(&x, 1));
    CHECK_REFUSED(ag_xavier_normal_(x, 1) || ag_normal_(x, 0, 1));
    CHECK_REFUSED(ag_gradcheck(cubes, &x, 1, NULL));
    CHECK_REFUSED(ag_apply(&custom, &x, 1, &y, 1, NULL));
    CHECK_REFUSED(ag_checkpoint_sequence(step, 3, &x, 1, &y, NULL));
    CHECK(!y && !ag_is_view(ag_select(x, 0, 0)) && ag_is_contiguous(ag_unsqueeze(x, 0)));
}

/* A write is seen by the tensor alone, so a part of another one is not written. */
static void t_writes_into_views(ag_context *c)
{
    static const char sentence[] = "is a view (";
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, 2, 3), *v = NUMBERS(2, 3);
    CHECK(x);
    CHECK_ERROR(ag_fill_(ag_select(x, 0, 1), 5), AG_ERR_UNSUPPORTED, sentence);
    CHECK_ERROR(ag_relu_(ag_t(x)), AG_ERR_UNSUPPORTED, sentence);
    CHECK_ERROR(ag_add_(ag_detach(x), 1), AG_ERR_UNSUPPORTED, sentence);
    ag_tensor *copy = ag_clone(ag_t(x));
    CHECK(copy && ag_neg_(copy) == copy);
    CHECK_RUNS(g, copy, ag_contiguous(ag_neg(ag_t(v))), { x, v });
    CHECK_RUNS(g, x, v, { x, v });
}

/* Tensors with data that want gradients are constants to a graph, and lend it no place in theirs. */
static void t_leaves_beside_symbolic_tensors(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = UNKNOWN(g, 2), *leaf = ag_requires_grad_(NUMBERS(2), true), *y = ag_mul(x, leaf);
    CHECK(y);
    CHECK(!ag_requires_grad(y) && !ag_grad_fn(y));
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAPH, "symbolic");
    CHECK_RUNS(g, y, ag_square(NUMBERS(2)), { x, NUMBERS(2) });
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_products_of_unknown_batches), TEST(t_unknown_sizes_in_files),
               TEST(t_flattening), TEST(t_narrow), TEST(t_scatter_of_more_than_is_indexed),
               TEST(t_sizes_that_are_found), TEST(t_smoothing_among_unknown_classes),
               TEST(t_squeezing), TEST(t_sizes_that_must_be_known), TEST(t_data_that_runs_refuse),
               TEST(t_shapes_that_depend_on_data), TEST(t_matrices_of_derivatives),
               TEST(t_cotangents), TEST(t_checkpoints), TEST(t_detaching_in_place),
               TEST(t_what_needs_data), TEST(t_writes_into_views),
               TEST(t_leaves_beside_symbolic_tensors));
}
