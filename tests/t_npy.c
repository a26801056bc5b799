/*
 * .npy files that are right: what NumPy wrote is read, what is written has NumPy's bytes, and a
 * round trip keeps every bit. t_npy_bad.c has those that are wrong.
 *
 * golden/npy.txt lists files in golden/npy, which golden/npy.py wrote; it tells their values.
 */
#define _POSIX_C_SOURCE 200809L

#include "files.h"
#include "harness.h"

#include <stdlib.h>
#include <unistd.h>

enum { NPY_TEXT = 1 << 14 };

static const char *const dtype_names[] = { "f32", "f64", "f16", "bf16", "i8",
                                           "i16", "i32", "i64", "u8",   "bool" };

/* ---- the list of files ---- */

typedef struct {
    char path[1024];
    ag_dtype dtype;
    int64_t sizes[AG_MAX_DIMS];
    int ndim;
    bool saved; /* numpy.save wrote it, row-major: ours must have its bytes */
} listed;

/* Reads one line of the list; returns the next. */
static const char *list_read(const char *at, listed *l)
{
    char name[64], dtype[8], how[8];
    int shape = 0, end = 0;
    *l = (listed){ .dtype = AG_F32 };
    if (sscanf(at, "%63s %7s %n%*[^]]] %7s%n", name, dtype, &shape, how, &end) != 3)
        FAIL("golden/npy.txt: %.40s", at);
    snprintf(l->path, sizeof l->path, AG_TEST_DATA "/golden/npy/%s.npy", name);
    while (strcmp(dtype, dtype_names[l->dtype]) != 0)
        l->dtype++;
    for (const char *s = at + shape + 1; *s != ']'; s += *s == ',') {
        char *after;
        l->sizes[l->ndim++] = strtoll(s, &after, 10);
        s = after;
    }
    l->saved = strcmp(how, "save") == 0;
    return at + end + 1;
}

static const char *list_open(void)
{
    static char text[NPY_TEXT];
    const char *bytes = file_read(AG_TEST_DATA "/golden/npy.txt", NULL);
    if (!bytes || strlen(bytes) >= sizeof text)
        FAIL("golden/npy.txt cannot be read");
    return strcpy(text, bytes);
}

/* Element k of every listed file. */
static double list_value(ag_dtype dtype, int64_t k)
{
    switch (dtype) {
    case AG_BOOL: return k % 3 == 0;
    case AG_U8: return (double)(k + 1);
    case AG_I8: return (double)(k - 2);
    case AG_I16:
    case AG_I32:
    case AG_I64: return (double)(300 * k - 2);
    default: return 0.5 * (double)k - 1;
    }
}

/* A new tensor as a listed file holds it. */
static ag_tensor *list_tensor(ag_context *c, const listed *l)
{
    double values[64];
    int n = 1;
    for (int i = 0; i < l->ndim; i++)
        n *= (int)l->sizes[i];
    for (int k = 0; k < n; k++)
        values[k] = list_value(l->dtype, k);
    const ag_values list = { values, n };
    const ag_ints shape = { l->sizes, l->ndim };
    return ag_array(c, list, shape, .dtype = l->dtype);
}

/* ---- NumPy's files ---- */

/* Same dtype, shape and bits. */
static void check_same(ag_tensor *t, ag_tensor *expected)
{
    static char a[FILES_MAX], b[FILES_MAX];
    const size_t bytes = (size_t)ag_numel(expected) * ag_dtype_size(ag_dtype_of(expected));
    CHECK(t && expected);
    CHECK_INT(ag_dtype_of(t), ag_dtype_of(expected));
    CHECK_INT(ag_ndim(t), ag_ndim(expected));
    for (int i = 0; i < ag_ndim(t); i++)
        CHECK_INT(ag_shape(t)[i], ag_shape(expected)[i]);
    CHECK(ag_copy_out(t, a, bytes) && ag_copy_out(expected, b, bytes));
    CHECK(memcmp(a, b, bytes) == 0);
}

static void t_reads_what_numpy_wrote(ag_context *c)
{
    int n = 0;
    for (const char *at = list_open(); *at; n++) {
        listed l;
        at = list_read(at, &l);
        AG_SCOPE (c) {
            ag_tensor *t = ag_load_npy(c, l.path);
            CHECK(t);
            check_same(t, list_tensor(c, &l));
            CHECK(ag_is_contiguous(t) && ag_is_leaf(t) && !ag_requires_grad(t));
        }
    }
    CHECK(n > 50);
}

static void t_writes_what_numpy_would(ag_context *c)
{
    static char expected[FILES_MAX];
    int n = 0;
    for (const char *at = list_open(); *at;) {
        listed l;
        at = list_read(at, &l);
        if (!l.saved)
            continue;
        n++;
        AG_SCOPE (c) {
            size_t bytes, got;
            memcpy(expected, file_read(l.path, &bytes), FILES_MAX);
            CHECK(ag_save_npy(list_tensor(c, &l), harness_path("ours.npy")));
            const char *ours = file_read(harness_path("ours.npy"), &got);
            CHECK(ours);
            CHECK_INT(got, bytes);
            CHECK(memcmp(ours, expected, bytes) == 0);
        }
    }
    CHECK(n > 20);
}

/* ---- round trips ---- */

static void check_round_trip(ag_context *c, ag_tensor *t)
{
    CHECK(ag_save_npy(t, harness_path("round.npy")));
    check_same(ag_load_npy(c, harness_path("round.npy")), t);
}

/* Bits of all kinds: NaNs with payloads, infinities, denormals, extremes. */
static void t_round_trip_keeps_bits(ag_context *c)
{
    static const uint64_t words[] = { 0x7ff0000000000000, 0xfff8000000000001, 0x8000000000000000,
                                      0x7fc000017fa00001, 0x0000000180000001, 0xffffffffffffffff,
                                      0x7c01fc007e5503ff, 0x0123456789abcdef };
    for (int d = AG_F32; d < AG_BOOL; d++) {
        const ag_dtype dtype = (ag_dtype)d;
        const int64_t n = (int64_t)(sizeof words / ag_dtype_size(dtype));
        if (dtype != AG_BF16)
            AG_SCOPE (c)
                check_round_trip(c, ag_from_data(c, words, dtype, AG_SHAPE(n / 2, 2)));
    }
    check_round_trip(c, ag_array(c, AG_VALUES(1, 0, 1), AG_SHAPE(3), .dtype = AG_BOOL));
}

static void t_round_trip_of_views(ag_context *c)
{
    ag_tensor *x = ag_reshape(ag_arange(c, 0, 24, 1, .dtype = AG_F64), AG_SHAPE(2, 3, 4));
    CHECK(x);
    check_round_trip(c, ag_transpose(x, 0, 2));
    check_round_trip(c, ag_permute(x, AG_DIMS(1, 2, 0)));
    check_round_trip(c, ag_slice(x, 2, 1, 4, 2));
    check_round_trip(c, ag_select(x, 1, 2));
    check_round_trip(c, ag_expand(ag_slice(x, 0, 0, 1, 1), AG_SHAPE(3, 3, 4)));
    check_round_trip(c, ag_slice(x, 1, 2, 2, 1));
}

static void t_saving_leaves_the_graph_alone(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y = ag_mul(x, 3);
    CHECK(y);
    WATCH(y);
    CHECK(ag_save_npy(y, harness_path("y.npy")));
    UNWATCH();
    ag_tensor *read = ag_load_npy(c, harness_path("y.npy"));
    CHECK_VALUES(read, AG_SHAPE(2), AG_VALUES(3, 3), 0);
    CHECK(!ag_requires_grad(read));
}

/* ---- headers that NumPy reads and does not write ---- */

static void check_header(ag_context *c, const char *header, const char *printed)
{
    static const float data[] = { 1, 2, 3, 4, 5, 6 };
    char file[512] = "\x93NUMPY\x01";
    const size_t n = strlen(header);
    file[8] = (char)n;
    memcpy(file + 10, header, n);
    memcpy(file + 10 + n, data, sizeof data);
    file_write(harness_path("header.npy"), file, 10 + n + sizeof data);
    ag_tensor *t = ag_load_npy(c, harness_path("header.npy"));
    CHECK(t);
    CHECK_PRINTS(t, printed);
}

static void t_other_headers(ag_context *c)
{
    static const char *const matrix = "tensor([[1., 2., 3.],\n        [4., 5., 6.]])";
    check_header(c, "{'descr':'<f4','fortran_order':False,'shape':(2,3)}\n", matrix);
    check_header(c, "{'shape': (2, 3), 'fortran_order': False, 'descr': '<f4', }\n", matrix);
    check_header(c, "{\"descr\": \"<f4\", \"fortran_order\": False, \"shape\": (2, 3,)}   \n",
                 matrix);
    check_header(c, " { 'descr' : '=f4' ,\n'fortran_order' : False , 'shape' : ( 2 , 3 ) , } \n",
                 matrix);
    check_header(c, "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}\n", matrix);
    check_header(c, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}\n",
                 "tensor([[1., 3., 5.],\n        [2., 4., 6.]])");
    check_header(c, "{'descr': '<f4', 'fortran_order': True, 'shape': (6,)}\n",
                 "tensor([1., 2., 3., 4., 5., 6.])");
}

/* NumPy's bools are bytes, of which any that is not 0 is true. */
static void t_bool_of_any_byte(ag_context *c)
{
    ag_tensor *t = ag_array(c, AG_VALUES(1, 0, 1), AG_SHAPE(3), .dtype = AG_BOOL);
    CHECK(ag_save_npy(t, harness_path("bool.npy")));
    size_t n;
    char *file = file_read(harness_path("bool.npy"), &n);
    CHECK(file);
    file[n - 1] = 7;
    file_write(harness_path("bool.npy"), file, n);
    t = ag_load_npy(c, harness_path("bool.npy"));
    CHECK_PRINTS(t, "tensor([ True, False,  True])");
    CHECK_INT(*((unsigned char *)ag_data(t) + 2), 1);
}

/* ---- files ---- */

static void t_saving_replaces_a_file(ag_context *c)
{
    static char path[1024];
    snprintf(path, sizeof path, "%s", harness_path("twice.npy"));
    CHECK(ag_save_npy(ag_ones(c, AG_SHAPE(100)), path));
    CHECK(ag_save_npy(ag_ones(c, AG_SHAPE(2)), path));
    CHECK_VALUES(ag_load_npy(c, path), AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK(!file_read(harness_path("twice.npy.tmp"), NULL));
}

/* A file that happens to have the name of the temporary one is not touched. */
static void t_temporary_name_is_taken(ag_context *c)
{
    static char path[1024];
    file_write(harness_path("taken.npy.tmp"), "mine", 4);
    snprintf(path, sizeof path, "%s", harness_path("taken.npy"));
    CHECK(ag_save_npy(ag_ones(c, AG_SHAPE(2)), path));
    CHECK_VALUES(ag_load_npy(c, path), AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK_TEXT(file_read(harness_path("taken.npy.tmp"), NULL), "mine");
    CHECK(!file_read(harness_path("taken.npy.tmp1"), NULL));
}

static void t_links_are_followed_when_reading(ag_context *c)
{
    static char path[1024];
    CHECK(ag_save_npy(ag_ones(c, AG_SHAPE(2)), harness_path("target.npy")));
    snprintf(path, sizeof path, "%s", harness_path("link.npy"));
    unlink(path);
    CHECK(symlink("target.npy", path) == 0);
    CHECK_VALUES(ag_load_npy(c, path), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_reads_what_numpy_wrote), TEST(t_writes_what_numpy_would),
               TEST(t_round_trip_keeps_bits), TEST(t_round_trip_of_views),
               TEST(t_saving_leaves_the_graph_alone), TEST(t_other_headers),
               TEST(t_bool_of_any_byte), TEST(t_saving_replaces_a_file),
               TEST(t_temporary_name_is_taken), TEST(t_links_are_followed_when_reading));
}
