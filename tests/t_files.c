/* Files: .npy there and back and as NumPy writes them, files that are none, graphs for Graphviz. */
#include "harness.h"

#include <stdio.h>

/* ---- files made by hand ---- */

static const char *write_bytes(const char *name, const void *head, size_t n, const void *data,
                               size_t m)
{
    const char *path = harness_path(name);
    FILE *f = fopen(path, "wb");
    CHECK(f);
    const bool ok = fwrite(head, 1, n, f) == n && fwrite(data, 1, m, f) == m;
    CHECK(fclose(f) == 0 && ok);
    return path;
}

/* A file of format 1.0, or 2.0 with `wide`, whose header is `dict` and a newline. */
static const char *write_npy(const char *dict, bool wide, const void *data, size_t bytes)
{
    char head[512] = "\x93NUMPY\x01";
    const size_t length = strlen(dict) + 1, at = wide ? 12 : 10;
    head[6] = wide ? 2 : 1;
    head[7] = 0;
    head[8] = (char)(length & 255);
    head[9] = (char)(length >> 8);
    CHECK(at + length < sizeof head);
    memcpy(head + at, dict, length - 1);
    head[at + length - 1] = '\n';
    return write_bytes("hand.npy", head, at + length, data, bytes);
}

static char text[65536];
static const char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    CHECK(f);
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    return text;
}

/* ---- .npy ---- */

static void check_round_trip(ag_context *c, ag_tensor *t)
{
    CHECK(t);
    WATCH(t);
    CHECK(ag_save_npy(t, harness_path("trip.npy")));
    ag_tensor *back = ag_load_npy(c, harness_path("trip.npy"));
    CHECK(back);
    CHECK_INT(ag_dtype_of(back), ag_dtype_of(t));
    CHECK_INT(ag_ndim(back), ag_ndim(t));
    CHECK(ag_is_contiguous(back) && !ag_requires_grad(back) && ag_is_leaf(back));
    for (int i = 0; i < ag_ndim(t); i++)
        CHECK_INT(ag_shape(back)[i], ag_shape(t)[i]);
    char a[256], b[256];
    const size_t bytes = (size_t)ag_numel(t) * ag_dtype_size(ag_dtype_of(t));
    CHECK(ag_copy_out(t, a, bytes) && ag_copy_out(back, b, bytes));
    CHECK(memcmp(a, b, bytes) == 0);
    UNWATCH();
}

static void t_npy_there_and_back(ag_context *c)
{
    const ag_dtype dtypes[] = { AG_F32, AG_F64, AG_F16, AG_I8,  AG_I16,
                                AG_I32, AG_I64, AG_U8,  AG_BOOL };
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        check_round_trip(c, ag_array(c, AG_VALUES(0, 1, 2, 3, 4, 5), AG_SHAPE(2, 3),
                                     .dtype = dtypes[i]));
    check_round_trip(c, ag_scalar(c, 2.5));
    check_round_trip(c, ag_arange(c, 0, 7, 1));
    check_round_trip(c, ag_zeros(c, AG_SHAPE(0, 3)));
    check_round_trip(c, ag_t(ag_array(c, AG_VALUES(1, 2, 3, 4, 5, 6), AG_SHAPE(2, 3))));
    check_round_trip(c,
                     ag_expand(ag_ones(c, AG_SHAPE(1, 3), .requires_grad = true), AG_SHAPE(2, 3)));
    CHECK_ERROR(ag_save_npy(ag_ones(c, AG_SHAPE(1), .dtype = AG_BF16), harness_path("trip.npy")),
                AG_ERR_DTYPE, "bfloat16");
}

static void t_npy_as_others_write_it(ag_context *c)
{
    const unsigned char big[] = { 0, 1, 0, 2, 0, 3, 1, 0 };
    const float turned[] = { 1, 4, 2, 5, 3, 6 };
    ag_tensor *t =
        ag_load_npy(c, write_npy("{'descr': '>i2', 'fortran_order': False, 'shape': (4,), }", false,
                                 big, 8));
    CHECK_VALUES(t, AG_SHAPE(4), AG_VALUES(1, 2, 3, 256), 0);
    t = ag_load_npy(c, write_npy("{'shape': (2, 3), 'fortran_order': True, 'descr': '<f4'}   ",
                                 true, turned, sizeof turned));
    CHECK_VALUES(t, AG_SHAPE(2, 3), AG_VALUES(1, 2, 3, 4, 5, 6), 0);
    t = ag_load_npy(c, write_npy("{\"descr\":\"|b1\",\"fortran_order\":False,\"shape\":()}", false,
                                 "\x07", 1));
    CHECK_VALUES(t, AG_SHAPE(), AG_VALUES(1), 0);
}

static void t_npy_that_is_none(ag_context *c)
{
    static const struct {
        const char *dict, *sentence;
        ag_code code;
    } bad[] = {
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "the data end before",
          AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1073741824, 1073741824), }",
          "the data end before", AG_ERR_FORMAT }, /* nothing is asked for */
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "there are more data",
          AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2), }", "lacks its comma",
          AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "non-negative integers",
          AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
          "overflows", AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)}",
          "too many dimensions", AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 8), }", "",
          AG_ERR_SHAPE },
        { "{'descr': '<c8', 'fortran_order': False, 'shape': (2,), }", "'<c8' is not supported",
          AG_ERR_DTYPE },
        { "{'descr': 'f4', 'fortran_order': False, 'shape': (2,), }", "no byte order",
          AG_ERR_FORMAT },
        { "{'descr': '|f4', 'fortran_order': False, 'shape': (2,), }", "no byte order",
          AG_ERR_FORMAT },
        { "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", "structured",
          AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }", "not True or False",
          AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, }", "missing", AG_ERR_FORMAT },
        { "{'descr': '<f4', 'descr': '<f4', 'shape': (2,), }", "appears twice", AG_ERR_FORMAT },
        { "{'descr': '<f4', 'colour': 'red', 'shape': (2,), }", "unknown key", AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", "expected a comma",
          AG_ERR_FORMAT },
        { "{'descr': '<f4", "does not end", AG_ERR_FORMAT },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x", "does not end with",
          AG_ERR_FORMAT },
        { "[1, 2]", "not a dictionary", AG_ERR_FORMAT },
        { "", "not a dictionary", AG_ERR_FORMAT },
    };
    const float two[] = { 1, 2 };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_ERROR(ag_load_npy(c, write_npy(bad[i].dict, i % 2, two, sizeof two)), bad[i].code,
                    bad[i].sentence);
    CHECK_ERROR(ag_load_npy(c, write_bytes("hand.npy", "NUMPY", 5, "", 0)), AG_ERR_FORMAT,
                "not a .npy file");
    CHECK_ERROR(ag_load_npy(c, write_bytes("hand.npy", "\x93NUMPY\x09\x00\x01", 9, "", 0)),
                AG_ERR_FORMAT, "unknown format version");
    CHECK_ERROR(ag_load_npy(c, write_bytes("hand.npy", "\x93NUMPY\x01\x00\x09", 9, "", 0)),
                AG_ERR_FORMAT, "ends in its header");
    CHECK_ERROR(ag_load_npy(c, write_bytes("hand.npy", "\x93NUMPY\x01\x00\x09\x00{", 11, "", 0)),
                AG_ERR_FORMAT, "ends in its header");
    CHECK_ERROR(ag_load_npy(c, write_bytes("hand.npy", "\x93NUMPY\x02\x00\xff\xff\xff\xff", 12, "",
                                           0)),
                AG_ERR_FORMAT, "longer than 64 KiB");
}

static void t_files_that_cannot_be_opened(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2));
    CHECK(x);
    CHECK_ERROR(ag_load_npy(c, harness_path("absent.npy")), AG_ERR_IO, "absent.npy");
    CHECK_ERROR(ag_load_npy(c, harness_path("")), AG_ERR_IO, "directory");
    CHECK_ERROR(ag_load_npy(c, NULL), AG_ERR_VALUE, "path is NULL");
    CHECK_ERROR(ag_save_npy(x, harness_path("no/where.npy")), AG_ERR_IO, "where.npy");
    CHECK_ERROR(ag_save_npy(x, NULL), AG_ERR_VALUE, "path is NULL");
    CHECK_ERROR(ag_write_dot(x, harness_path("no/where.dot")), AG_ERR_IO, "where.dot");
    CHECK_ERROR(ag_write_dot(x, NULL), AG_ERR_VALUE, "path is NULL");
    CHECK(!ag_load_npy(NULL, "x") && !ag_save_npy(NULL, "x") && !ag_write_dot(NULL, "x"));
}

/* ---- graphs ---- */

static void t_a_graph_as_text(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true);
    CHECK(ag_set_name(x, "the \"weight\""));
    ag_tensor *y = ag_sum(ag_mul(ag_exp(x), x));
    CHECK(y);
    CHECK(ag_write_dot(y, harness_path("graph.dot")));
    const char *dot = read_text(harness_path("graph.dot"));
    CHECK(strncmp(dot, "digraph", 7) == 0 && strstr(dot, "}\n"));
    CHECK(strstr(dot, "SumBackward0") && strstr(dot, "MulBackward0") &&
          strstr(dot, "ExpBackward0"));
    CHECK(strstr(dot, "the \\\"weight\\\"") && strstr(dot, "[2, 3]"));
    int edges = 0; /* sum to mul, mul to exp and to x, exp to x */
    for (const char *at = dot; (at = strstr(at, "->")); at++)
        edges++;
    CHECK_INT(edges, 4);
    CHECK(ag_write_dot(x, harness_path("leaf.dot")));
    CHECK(strstr(read_text(harness_path("leaf.dot")), "[2, 3]"));
}

/* More nodes than the writer's first table holds, each of them once. */
static void t_a_graph_of_many_nodes(ag_context *c)
{
    ag_tensor *y = ag_scalar(c, 1, .requires_grad = true);
    for (int i = 0; i < 200; i++)
        y = ag_mul(y, y);
    CHECK(y);
    CHECK(ag_write_dot(y, harness_path("long.dot")));
    int nodes = 0;
    for (const char *at = read_text(harness_path("long.dot")); (at = strstr(at, "label=")); at++)
        nodes++;
    CHECK_INT(nodes, 201);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_npy_there_and_back), TEST(t_npy_as_others_write_it), TEST(t_npy_that_is_none),
               TEST(t_files_that_cannot_be_opened), TEST(t_a_graph_as_text),
               TEST(t_a_graph_of_many_nodes));
}
