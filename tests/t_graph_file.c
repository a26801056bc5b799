/* Graphs that are saved and loaded: they are the same to the last byte, and run the same. */
#include "graph_files.h"

enum { MOST = 8 };

/* Both graphs are run with these feeds, by name; all results are the same bits. */
typedef struct {
    const char *name;
    ag_tensor *value;
} named;

static void run_named(ag_session *s, ag_graph *g, const named *feeds, const char *const *fetches,
                      ag_tensor **results)
{
    ag_feed given[MOST];
    ag_tensor *wanted[MOST];
    int n = 0, m = 0;
    for (; feeds[n].name; n++) {
        given[n] = (ag_feed){ ag_graph_find(g, feeds[n].name), feeds[n].value };
        CHECK(given[n].tensor && given[n].value);
    }
    for (; fetches[m]; m++)
        CHECK(wanted[m] = ag_graph_find(g, fetches[m]));
    CHECK(ag_session_run(s, given, n, wanted, m, results));
}

static void check_runs(ag_graph *g, ag_graph *h, const named *feeds, const char *const *fetches)
{
    ag_session *s = graphs_session(g, AG_BACKEND_INTERPRET);
    ag_session *t = graphs_session(h, AG_BACKEND_INTERPRET);
    for (int runs = 0; runs < 2; runs++) {
        ag_tensor *a[MOST], *b[MOST];
        run_named(s, g, feeds, fetches, a);
        run_named(t, h, feeds, fetches, b);
        for (int k = 0; fetches[k]; k++)
            CHECK_SAME(b[k], a[k]);
    }
}
#define FEEDS(...) ((const named[]){ __VA_ARGS__, { NULL, NULL } })
#define FETCHES(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* ---- all kinds of instructions ---- */

static void t_loops_and_branches(ag_context *c)
{
    ag_graph *g = files_flow(c), *h = files_again(c, g);
    ag_tensor *x = ag_array(c, AG_VALUES(.5, 1, 2, 1, -1, 3), AG_SHAPE(3, 2));
    for (int i = 0; i < 3; i++) {
        ag_tensor *index = ag_scalar(c, i, .dtype = AG_I64);
        check_runs(g, h, FEEDS({ "x", x }, { "i", index }), FETCHES("carry", "ys", "z"));
    }
}

static void t_derivatives(ag_context *c)
{
    ag_graph *g = files_derivatives(c), *h = files_again(c, g);
    ag_tensor *x = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2));
    check_runs(g, h, FEEDS({ "x", x }), FETCHES("dx", "ddw", "out", "tangent"));
}

static void t_variables_and_order(ag_context *c)
{
    ag_graph *g = files_effects(c), *h = files_again(c, g);
    ag_tensor *x = ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3));
    check_runs(g, h, FEEDS({ "x", x }), FETCHES("after", "all"));
    ag_session *s = graphs_session(h, AG_BACKEND_INTERPRET);
    ag_tensor *u = ag_graph_find(h, "u"), *v = ag_graph_find(h, "v");
    CHECK_VALUES(ag_variable_value(s, v), AG_SHAPE(3), AG_VALUES(1, 1, 1), 0);
    CHECK_ERROR(ag_variable_value(s, u), AG_ERR_VALUE, "uninitialized value u");
    ag_tensor *after = ag_graph_find(h, "after");
    CHECK_VALUES(FETCH(s, after, { ag_graph_find(h, "x"), x }), AG_SHAPE(3), AG_VALUES(1, 1.5, 2),
                 0);
    CHECK_VALUES(ag_variable_value(s, u), AG_SHAPE(), AG_VALUES(6), 0);
}

static void t_random_draws_stay_in_the_graph(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(4), .name = "x");
    ag_tensor *y = ag_dropout(ag_rand_like(x), .5, true);
    CHECK(y && ag_set_name(y, "y"));
    ag_graph *h = files_again(c, g);
    ag_session *s = graphs_session(h, AG_BACKEND_INTERPRET);
    ag_tensor *ones = ag_ones(c, AG_SHAPE(4)), *again = ag_graph_find(h, "y");
    CHECK_SHAPE(FETCH(s, again, { ag_graph_find(h, "x"), ones }), AG_SHAPE(4));
}

/* ---- data ---- */

/* Least, greatest and unusual values of every dtype, as few elements and as many. */
static void t_every_dtype(ag_context *c)
{
    static const ag_dtype dtypes[] = { AG_F32, AG_F64, AG_F16, AG_BF16, AG_I8,
                                       AG_I16, AG_I32, AG_I64, AG_U8,   AG_BOOL };
    ag_graph *g = graphs_graph(c);
    char name[32];
    for (int d = 0; d < 10; d++)
        for (int64_t n = 0; n <= 18; n += 6) {
            ag_tensor *t = ag_zeros(c, AG_SHAPE(n), .dtype = dtypes[d]);
            CHECK(t);
            unsigned char *bytes = ag_data(t);
            const size_t size = (size_t)n * ag_dtype_size(dtypes[d]);
            for (size_t k = 0; k < size; k++)
                bytes[k] = dtypes[d] == AG_BOOL ? k % 2 : (unsigned char)(k * 37 + 128 + (k > 2));
            snprintf(name, sizeof name, "k%d_%d", d, (int)n);
            CHECK(ag_constant(g, t, .name = name));
        }
    ag_graph *h = files_again(c, g);
    ag_session *s = graphs_session(g, AG_BACKEND_INTERPRET);
    ag_session *t = graphs_session(h, AG_BACKEND_INTERPRET);
    for (int d = 0; d < 10; d++)
        for (int n = 0; n <= 18; n += 6) {
            snprintf(name, sizeof name, "k%d_%d", d, n);
            ag_tensor *a = ag_graph_find(g, name), *b = ag_graph_find(h, name);
            CHECK(a && b && ag_dtype_of(b) == dtypes[d]);
            CHECK_SAME(FETCH(t, b), FETCH(s, a));
        }
}

static void t_every_bit_of_a_float(ag_context *c)
{
    static const uint32_t singles[] = { 0x7fc00000, 0xffc00000, 0x7f800001, 0x7fc12345,
                                        0x7f800000, 0xff800000, 0x80000000, 0x00000001,
                                        0x7f7fffff, 0x3dcccccd, 0x00800000, 0x3f800001 };
    static const uint64_t doubles[] = { 0x7ff8000000000000, 0xfff8000000000000, 0x7ff0000000000001,
                                        0x7ff0000000000000, 0x8000000000000000, 1,
                                        0x7fefffffffffffff, 0x3fb999999999999a, 0x3ff0000000000001,
                                        0x0010000000000000 };
    ag_graph *g = graphs_graph(c);
    ag_tensor *a = ag_empty(c, AG_SHAPE(12)), *b = ag_empty(c, AG_SHAPE(10), .dtype = AG_F64);
    CHECK(a && b);
    memcpy(ag_data(a), singles, sizeof singles);
    memcpy(ag_data(b), doubles, sizeof doubles);
    CHECK(ag_constant(g, a, .name = "all f32") && ag_variable(g, b, .name = "all f64"));
    for (int k = 0; k < 12; k++) { /* each alone, too */
        ag_tensor *one = ag_select(a, 0, k), *other = k < 10 ? ag_select(b, 0, k) : NULL;
        CHECK(one && ag_constant(g, one) && (k >= 10 || (other && ag_constant(g, other))));
    }
    ag_graph *h = files_again(c, g);
    ag_session *s = graphs_session(h, AG_BACKEND_INTERPRET);
    ag_tensor *singles_again = ag_graph_find(h, "all f32"),
              *doubles_again = ag_graph_find(h, "all f64");
    CHECK(singles_again && doubles_again);
    CHECK_SAME(FETCH(s, singles_again), a);
    CHECK_SAME(FETCH(s, doubles_again), b);
}

/* Attributes that are numbers, NaN and infinite ones too. */
static void t_attributes(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(2), .name = "x");
    ag_tensor *y = ag_clamp(x, -INFINITY, 1. / 3);
    y = ag_leaky_relu(ag_clamp(y, -1e-300, 5e-324), .1);
    ag_tensor *z = ag_clamp(x, (double)NAN, 2);
    CHECK(y && z && ag_set_name(y, "y") && ag_set_name(z, "z"));
    ag_graph *h = files_again(c, g);
    ag_tensor *v = ag_array(c, AG_VALUES(-1, 1e300), AG_SHAPE(2), .dtype = AG_F64);
    check_runs(g, h, FEEDS({ "x", v }), FETCHES("y", "z"));
}

/* A number stays one: beside it an operand keeps its dtype. */
static void t_numbers_stay_numbers(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F16, AG_SHAPE(2), .name = "x");
    ag_tensor *y = ag_add(ag_mul(x, 1.5), ag_pow(2, x));
    CHECK(y && ag_set_name(y, "y") && ag_dtype_of(y) == AG_F16);
    ag_graph *h = files_again(c, g);
    ag_tensor *again = ag_graph_find(h, "y");
    CHECK(again && ag_dtype_of(again) == AG_F16);
    ag_tensor *v = ag_array(c, AG_VALUES(1, 2), AG_SHAPE(2), .dtype = AG_F16);
    check_runs(g, h, FEEDS({ "x", v }), FETCHES("y"));
}

/* So what is computed from them alone is one, and loads as what it was saved as. */
static void t_numbers_of_numbers(ag_context *c)
{
    static const char text[] = "autograd graph 1\n"
                               "%0 = constant f64[]! data=[0.5]\n"
                               "%1 = mul f64[]! \"y\" %0 %0\n"
                               "%2 = placeholder f32[2]\n"
                               "%3 = mul f32[2] %1 %2\n";
    const char *path = harness_path("numbers");
    files_write(path, text, sizeof text - 1);
    ag_graph *g = files_load(c, path);
    CHECK(g);
    ag_tensor *y = ag_graph_find(g, "y");
    CHECK(y && ag_neg(y));
    files_again(c, g);
}

/* ---- names ---- */

static void t_names_are_data(ag_context *c)
{
    static const char *const names[] = { "a \"quoted\" name", "two\nlines",   "\t\\ \x01\x7f",
                                         "größe/数",          "%n %s",        "",
                                         "checksum 00000000", "# no comment", "\xff\xfe" };
    enum { N = sizeof names / sizeof *names };
    ag_graph *g = graphs_graph(c);
    for (int i = 0; i < N; i++)
        CHECK(ag_placeholder(g, AG_F32, AG_SHAPE(i), .name = names[i]));
    ag_graph *h = files_again(c, g);
    for (int i = 0; i < N; i++) {
        ag_tensor *t = ag_graph_find(h, names[i]);
        CHECK(t);
        CHECK_TEXT(ag_name(t), names[i]);
        CHECK_SHAPE(t, AG_SHAPE(i));
    }
    CHECK(!ag_graph_find(h, "größe"));
}

/* As long as names may be; their numbers count on. */
static void t_long_names(ag_context *c)
{
    static char name[4081];
    ag_graph *g = graphs_graph(c);
    memset(name, 'x', 4080);
    for (int i = 0; i < 2; i++)
        CHECK(ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = name));
    ag_graph *h = files_again(c, g);
    ag_tensor *third = ag_placeholder(h, AG_F32, AG_SHAPE(2), .name = name);
    CHECK(third && ag_graph_find(h, name));
    CHECK_TEXT(ag_name(third) + 4080, "_2");
}

/* ---- what a loaded graph is ---- */

static void t_a_loaded_graph_goes_on(ag_context *c)
{
    ag_graph *g = files_effects(c), *h = files_again(c, g);
    ag_tensor *v = ag_graph_find(h, "v"), *y, *dv;
    CHECK(v && (y = ag_sum(ag_square(v))) && ag_grad(&y, 1, &v, 1, &dv));
    ag_session *s = graphs_session(h, AG_BACKEND_INTERPRET);
    CHECK_VALUES(FETCH(s, dv), AG_SHAPE(3), AG_VALUES(2, 2, 2), 0);
    ag_tensor *second = ag_placeholder(h, AG_F32, AG_SHAPE(2), .name = "x");
    CHECK(second);
    CHECK_TEXT(ag_name(second), "x_1");
}

static void t_finalised_graphs_stay_so(ag_context *c)
{
    ag_graph *g = files_effects(c);
    CHECK(ag_graph_finalize(g));
    ag_graph *h = files_again(c, g);
    ag_tensor *v = ag_graph_find(h, "v");
    CHECK(v);
    CHECK_ERROR(ag_neg(v), AG_ERR_GRAPH, "Graph is finalized and cannot be modified.");
    CHECK_ERROR(ag_placeholder(h, AG_F32, AG_SHAPE(2)), AG_ERR_GRAPH, "finalized");
}

/* What was recorded and undone again leaves no trace in the file; a graph of nothing is one. */
static void t_only_what_is_there(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    files_again(c, g);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "x"), *y;
    CHECK(x);
    CHECK_ERROR(ag_matmul(ag_unsqueeze(x, 0), ag_neg(ag_unsqueeze(x, 0))), AG_ERR_SHAPE,
                "cannot be multiplied");
    CHECK((y = ag_neg(x)) && ag_set_name(y, "y"));
    ag_graph *h = files_again(c, g);
    ag_tensor *ones = ag_ones(c, AG_SHAPE(2));
    check_runs(g, h, FEEDS({ "x", ones }), FETCHES("y"));
}

static void t_another_context_loads_it(ag_context *c)
{
    ag_graph *g = files_effects(c);
    CHECK(ag_graph_save(g, harness_path("c.graph")));
    ag_context *other = ag_open();
    CHECK(other);
    ag_graph *h = ag_graph_load(other, harness_path("c.graph"));
    const bool there = h && ag_graph_find(h, "v") && ag_graph_context(h) == other;
    ag_graph_free(h);
    ag_close(other);
    CHECK(there);
}

/* ---- writing ---- */

static void t_a_file_is_replaced_as_a_whole(ag_context *c)
{
    ag_graph *g = files_effects(c);
    const char *path = harness_path("d.graph");
    file_write(path, "old", 3);
    CHECK(ag_graph_save(g, path));
    ag_graph *h = files_load(c, path);
    CHECK(h && ag_graph_find(h, "v"));
    char beside[512];
    snprintf(beside, sizeof beside, "%s.tmp", path);
    CHECK(!file_read(beside, NULL));
}

static void t_files_that_cannot_be_written(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    CHECK_ERROR(ag_graph_save(g, NULL), AG_ERR_VALUE, "ag_graph_save: path is NULL");
    CHECK_ERROR(ag_graph_save(g, harness_path("no/where")), AG_ERR_IO, "No such file");
    CHECK_ERROR(ag_graph_save(g, "/tmp"), AG_ERR_IO, "not a regular file");
    CHECK(!ag_graph_save(NULL, "x") && !ag_graph_load(NULL, "x") && !ag_graph_to_string(NULL));
    CHECK_ERROR(ag_graph_load(c, NULL), AG_ERR_VALUE, "ag_graph_load: path is NULL");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_loops_and_branches), TEST(t_derivatives), TEST(t_variables_and_order),
               TEST(t_random_draws_stay_in_the_graph), TEST(t_every_dtype),
               TEST(t_every_bit_of_a_float), TEST(t_attributes), TEST(t_numbers_stay_numbers),
               TEST(t_numbers_of_numbers), TEST(t_names_are_data), TEST(t_long_names),
               TEST(t_a_loaded_graph_goes_on), TEST(t_finalised_graphs_stay_so),
               TEST(t_only_what_is_there), TEST(t_another_context_loads_it),
               TEST(t_a_file_is_replaced_as_a_whole), TEST(t_files_that_cannot_be_written));
}
