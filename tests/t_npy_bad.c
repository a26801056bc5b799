/*
 * .npy files that are wrong, paths that are no files, and disks that are full: each gives its
 * error, none is waited for, and what was there before stays.
 */
#define _POSIX_C_SOURCE 200809L

#include "files.h"
#include "harness.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- wrong headers ---- */

/* A file of format `major`.0 with this header and `n` bytes of data, all zero. */
static const char *put(int major, const char *header, size_t n)
{
    static char file[4096];
    const size_t length = strlen(header), start = major == 1 ? 10 : 12;
    memset(file, 0, sizeof file);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (char)major;
    file[8] = (char)(length & 255);
    file[9] = (char)(length >> 8);
    memcpy(file + start, header, length);
    file_write(harness_path("bad.npy"), file, start + length + n);
    return harness_path("bad.npy");
}

typedef struct {
    const char *header;
    ag_code code;
    const char *sentence;
} bad_header;

static void check_headers(ag_context *c, const bad_header *bad, size_t n)
{
    const size_t step = harness_faults() ? 4 : 1; /* headers differ in text, not in allocations */
    for (size_t i = 0; i < n; i += step) {
        CHECK_ERROR(ag_load_npy(c, put(1, bad[i].header, 24)), bad[i].code, bad[i].sentence);
        CHECK_ERROR(ag_load_npy(c, put(3, bad[i].header, 24)), bad[i].code, bad[i].sentence);
    }
}
#define CHECK_HEADERS(c, list) check_headers(c, list, sizeof list / sizeof list[0])

#define HEADER(shape) "{'descr': '<f4', 'fortran_order': False, 'shape': " shape ", }\n"
#define DESCR(descr) "{'descr': " descr ", 'fortran_order': False, 'shape': (6,), }\n"

static void t_shapes(ag_context *c)
{
    static const bad_header list[] = {
        { HEADER("(-1,)"), AG_ERR_FORMAT, "shape is not a tuple of non-negative integers" },
        { HEADER("(True,)"), AG_ERR_FORMAT, "shape is not a tuple of non-negative integers" },
        { HEADER("(1.0,)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(1e3,)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(0x6,)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(+6,)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(2 3)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(,)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(2,,3)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(6)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("[6]"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("[1]"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("6"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("None"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("((((((6,))))))"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(6,"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("('6',)"), AG_ERR_FORMAT, "shape is not a tuple" },
        { HEADER("(9223372036854775808,)"), AG_ERR_FORMAT, "a size of shape overflows" },
        { HEADER("(99999999999999999999999,)"), AG_ERR_FORMAT, "a size of shape overflows" },
        { HEADER("(4611686018427387904,)"), AG_ERR_SHAPE, "Storage size calculation overflowed" },
        { HEADER("(4294967296, 4294967296)"), AG_ERR_SHAPE, "Storage size calculation overflowed" },
        { HEADER("(4611686018427387904, 4611686018427387904, 0)"), AG_ERR_SHAPE,
          "Storage size calculation overflowed" },
        { HEADER("(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,6)"), AG_ERR_SHAPE, "more than 16 dimensions" },
    };
    CHECK_HEADERS(c, list);
}

static void t_parentheses(ag_context *c)
{
    static char header[3000];
    memset(header, '(', sizeof header - 1);
    memcpy(header, "{'shape': ", 10);
    CHECK_ERROR(ag_load_npy(c, put(1, header, 0)), AG_ERR_FORMAT, "shape is not a tuple");
    memset(header, '{', sizeof header - 1);
    CHECK_ERROR(ag_load_npy(c, put(1, header, 0)), AG_ERR_FORMAT, "expected a string");
}

static void t_dtypes(ag_context *c)
{
    static const bad_header list[] = {
        { DESCR("'|O'"), AG_ERR_DTYPE, "dtype '|O' is not supported" },
        { DESCR("'<U6'"), AG_ERR_DTYPE, "dtype '<U6' is not supported" },
        { DESCR("'<U999999999'"), AG_ERR_DTYPE, "dtype '<U999999999' is not supported" },
        { DESCR("'|S4'"), AG_ERR_DTYPE, "is not supported" },
        { DESCR("'|V4'"), AG_ERR_DTYPE, "is not supported" },
        { DESCR("'<c8'"), AG_ERR_DTYPE, "dtype '<c8' is not supported" },
        { DESCR("'<u4'"), AG_ERR_DTYPE, "dtype '<u4' is not supported" },
        { DESCR("'<f16'"), AG_ERR_DTYPE, "is not supported" },
        { DESCR("'<M8[ns]'"), AG_ERR_DTYPE, "is not supported" },
        { DESCR("'<f'"), AG_ERR_DTYPE, "is not supported" },
        { DESCR("'<f4 '"), AG_ERR_DTYPE, "is not supported" },
        { DESCR("'<'"), AG_ERR_DTYPE, "is not supported" },
        { DESCR("''"), AG_ERR_FORMAT, "descr has no byte order" },
        { DESCR("'f4'"), AG_ERR_FORMAT, "descr has no byte order" },
        { DESCR("'|f4'"), AG_ERR_FORMAT, "descr has no byte order" },
        { DESCR("[('a', '<f4'), ('b', '<i4')]"), AG_ERR_FORMAT, "structured dtypes" },
        { DESCR("('<f4', (6,))"), AG_ERR_FORMAT, "expected a string" },
        { DESCR("4"), AG_ERR_FORMAT, "expected a string" },
        { "{'descr': '<f4}\n", AG_ERR_FORMAT, "a string is too long, does not end" },
        { DESCR("'<f4\x01'"), AG_ERR_FORMAT, "a string is too long, does not end" },
        { DESCR("'<f444444444444444444444444444444'"), AG_ERR_FORMAT, "a string is too long" },
    };
    CHECK_HEADERS(c, list);
}

static void t_dictionaries(ag_context *c)
{
    static const bad_header list[] = {
        { "\n", AG_ERR_FORMAT, "the header is not a dictionary" },
        { "[]\n", AG_ERR_FORMAT, "the header is not a dictionary" },
        { "{}\n", AG_ERR_FORMAT, "descr, fortran_order or shape is missing" },
        { "{,}\n", AG_ERR_FORMAT, "expected a string" },
        { "{'fortran_order': False, 'shape': (6,)}\n", AG_ERR_FORMAT, "is missing" },
        { "{'descr': '<f4', 'shape': (6,)}\n", AG_ERR_FORMAT, "is missing" },
        { "{'descr': '<f4', 'fortran_order': False}\n", AG_ERR_FORMAT, "is missing" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': 1}\n", AG_ERR_FORMAT,
          "unknown key" },
        { "{'Descr': '<f4', 'fortran_order': False, 'shape': (6,)}\n", AG_ERR_FORMAT,
          "unknown key" },
        { "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}\n",
          AG_ERR_FORMAT, "a key appears twice" },
        { "{'descr': '<f4', 'shape': (6,), 'fortran_order': False, 'shape': (6,)}\n", AG_ERR_FORMAT,
          "a key appears twice" },
        { "{'descr': '<f4', 'fortran_order': 0, 'shape': (6,)}\n", AG_ERR_FORMAT,
          "fortran_order is not True or False" },
        { "{'descr': '<f4', 'fortran_order': Falsehood, 'shape': (6,)}\n", AG_ERR_FORMAT,
          "expected a comma" },
        { "{'descr' '<f4', 'fortran_order': False, 'shape': (6,)}\n", AG_ERR_FORMAT,
          "expected a colon" },
        { "{'descr': '<f4' 'fortran_order': False, 'shape': (6,)}\n", AG_ERR_FORMAT,
          "expected a comma" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)\n", AG_ERR_FORMAT,
          "expected a comma" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)} x\n", AG_ERR_FORMAT,
          "does not end with its dictionary and a newline" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)} ", AG_ERR_FORMAT,
          "does not end with its dictionary and a newline" },
        { "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}{}\n", AG_ERR_FORMAT,
          "does not end with its dictionary and a newline" },
        { "{descr: '<f4', 'fortran_order': False, 'shape': (6,)}\n", AG_ERR_FORMAT,
          "expected a string" },
        { "__import__('os').system('true')\n", AG_ERR_FORMAT, "the header is not a dictionary" },
    };
    CHECK_HEADERS(c, list);
}

/* ---- wrong sizes ---- */

static void t_data_of_another_length(ag_context *c)
{
    CHECK(ag_load_npy(c, put(1, HEADER("(6,)"), 24)));
    CHECK_ERROR(ag_load_npy(c, put(1, HEADER("(6,)"), 23)), AG_ERR_FORMAT,
                "the data are shorter than the shape says: 23 bytes for [6] of float32");
    CHECK_ERROR(ag_load_npy(c, put(2, HEADER("(6,)"), 0)), AG_ERR_FORMAT, "shorter");
    CHECK_ERROR(ag_load_npy(c, put(1, HEADER("(6,)"), 25)), AG_ERR_FORMAT, "longer");
    CHECK_ERROR(ag_load_npy(c, put(3, HEADER("(0,)"), 1)), AG_ERR_FORMAT, "longer");
    CHECK_ERROR(ag_load_npy(c, put(1, HEADER("()"), 8)), AG_ERR_FORMAT, "longer");
}

/* What the header promises is compared with the file before memory is asked for. */
static void t_promises_cost_no_memory(ag_context *c)
{
    const char *path = put(1, HEADER("(1099511627776, 1024)"), 24);
    ag_memory_statistics before, after;
    ag_memory_stats(c, &before);
    CHECK_ERROR(ag_load_npy(c, path), AG_ERR_FORMAT, "shorter");
    ag_memory_stats(c, &after);
    CHECK(after.peak_bytes - before.current_bytes < 4096);
}

/* The length of a header is capped before it is read. */
static void t_header_lengths(ag_context *c)
{
    char file[64] = "\x93NUMPY\x02";
    for (int i = 8; i < 12; i++)
        file[i] = (char)0xff;
    file_write(harness_path("long.npy"), file, sizeof file);
    CHECK_ERROR(ag_load_npy(c, harness_path("long.npy")), AG_ERR_FORMAT, "longer than 64 KiB");
    file[10] = file[11] = 0;
    file_write(harness_path("long.npy"), file, sizeof file);
    CHECK_ERROR(ag_load_npy(c, harness_path("long.npy")), AG_ERR_FORMAT,
                "the file ends in its header");
    file[8] = file[9] = 0;
    file_write(harness_path("long.npy"), file, sizeof file);
    CHECK_ERROR(ag_load_npy(c, harness_path("long.npy")), AG_ERR_FORMAT, "the header is empty");
}

static void t_versions(ag_context *c)
{
    static const int versions[] = { 0, 4, 9, 255 };
    for (int i = 0; i < 4; i++)
        CHECK_ERROR(ag_load_npy(c, put(versions[i], HEADER("(6,)"), 24)), AG_ERR_FORMAT,
                    "unknown format version");
    size_t n;
    char *file = file_read(put(1, HEADER("(6,)"), 24), &n);
    CHECK(file);
    file[7] = 1;
    file_write(harness_path("bad.npy"), file, n);
    CHECK_ERROR(ag_load_npy(c, harness_path("bad.npy")), AG_ERR_FORMAT, "unknown format version");
}

/* ---- every truncation, and every byte replaced ---- */

static void t_every_prefix_is_refused(ag_context *c)
{
    static char whole[FILES_MAX];
    size_t n;
    CHECK(ag_save_npy(ag_ones(c, AG_SHAPE(2)), harness_path("whole.npy")));
    const char *file = file_read(harness_path("whole.npy"), &n);
    CHECK(file);
    memcpy(whole, file, n);
    const size_t step = harness_faults() ? 45 : 1;
    for (size_t k = 0; k < n; k += step) {
        file_write(harness_path("part.npy"), whole, k);
        CHECK_ERROR(ag_load_npy(c, harness_path("part.npy")), AG_ERR_FORMAT, "part.npy: ");
    }
}

/* A changed byte gives a tensor or an error: never a crash, and no error but those of files. */
static void t_every_byte_replaced(ag_context *c)
{
    static const char bytes[] = { 0, '\n', ' ', '\'', '(', ')', ',', '0', '9', '{', '}', 'x', -1 };
    static char whole[FILES_MAX];
    size_t n;
    CHECK(ag_save_npy(ag_ones(c, AG_SHAPE(2, 1)), harness_path("whole.npy")));
    const char *file = file_read(harness_path("whole.npy"), &n);
    CHECK(file);
    memcpy(whole, file, n);
    const size_t step = harness_faults() ? 40 : 1, other = harness_faults() ? 5 : 1;
    for (size_t k = 0; k < 128; k += step)
        for (size_t b = 0; b < sizeof bytes; b += other) {
            const char was = whole[k];
            whole[k] = bytes[b];
            file_write(harness_path("flip.npy"), whole, n);
            whole[k] = was;
            AG_SCOPE (c) {
                const ag_tensor *t = ag_load_npy(c, harness_path("flip.npy"));
                const ag_code code = t ? AG_OK : ag_error(c)->code;
                CHECK(t || code == AG_ERR_FORMAT || code == AG_ERR_DTYPE || code == AG_ERR_SHAPE);
                ag_error_clear(c);
            }
        }
}

/* ---- paths that are no files ---- */

static void t_paths(ag_context *c)
{
    static char path[1024], name[1 << 20];
    CHECK_ERROR(ag_load_npy(c, NULL), AG_ERR_VALUE, "path is NULL");
    CHECK_ERROR(ag_load_npy(c, ""), AG_ERR_IO, "No such file or directory");
    CHECK_ERROR(ag_load_npy(c, harness_path("missing.npy")), AG_ERR_IO,
                "No such file or directory");
    CHECK_ERROR(ag_load_npy(c, harness_path(".")), AG_ERR_IO, "not a regular file");
    CHECK_ERROR(ag_load_npy(c, "/dev/zero"), AG_ERR_IO, "not a regular file");
    file_write(harness_path("zero.npy"), "", 0);
    CHECK_ERROR(ag_load_npy(c, harness_path("zero.npy")), AG_ERR_FORMAT, "this is not a .npy file");
    file_write(harness_path("text.npy"), "1 2 3 4 5 6 7 8\n", 16);
    CHECK_ERROR(ag_load_npy(c, harness_path("text.npy")), AG_ERR_FORMAT, "this is not a .npy file");
    snprintf(path, sizeof path, "%s/x.npy", harness_path("text.npy"));
    CHECK_ERROR(ag_load_npy(c, path), AG_ERR_IO, "Not a directory");
    memset(name, '%', sizeof name - 1); /* names are data, and leave room for the reason */
    CHECK_ERROR(ag_load_npy(c, name), AG_ERR_IO, "File name too long");
    CHECK_ERROR(ag_load_npy(c, "%n%s%n.npy"), AG_ERR_IO, "%n%s%n.npy: No such file or directory");
}

static void t_pipes_are_not_waited_for(ag_context *c)
{
    unlink(harness_path("pipe.npy"));
    CHECK(mkfifo(harness_path("pipe.npy"), 0600) == 0);
    CHECK_ERROR(ag_load_npy(c, harness_path("pipe.npy")), AG_ERR_IO, "not a regular file");
    CHECK_ERROR(ag_save_npy(ag_ones(c, AG_SHAPE(1)), harness_path("pipe.npy")), AG_ERR_IO,
                "not a regular file");
}

static void t_permissions(ag_context *c)
{
    if (geteuid() == 0) /* nothing is forbidden */
        return;
    file_write(harness_path("secret.npy"), "x", 1);
    CHECK(chmod(harness_path("secret.npy"), 0) == 0);
    CHECK_ERROR(ag_load_npy(c, harness_path("secret.npy")), AG_ERR_IO, "Permission denied");
    CHECK_ERROR(ag_save_npy(ag_ones(c, AG_SHAPE(1)), "/x.npy"), AG_ERR_IO, "Permission denied");
}

/* ---- saving that fails ---- */

static void t_saving_to_no_file(ag_context *c)
{
    static char path[1024];
    ag_tensor *t = ag_ones(c, AG_SHAPE(2));
    CHECK(t);
    WATCH(t);
    CHECK_ERROR(ag_save_npy(t, NULL), AG_ERR_VALUE, "path is NULL");
    CHECK_ERROR(ag_save_npy(t, ""), AG_ERR_IO, "ag_save_npy: ");
    CHECK_ERROR(ag_save_npy(t, harness_path(".")), AG_ERR_IO, "not a regular file");
    CHECK_ERROR(ag_save_npy(t, "/dev/full"), AG_ERR_IO, "not a regular file");
    snprintf(path, sizeof path, "%s", harness_path("no/such/folder.npy"));
    CHECK_ERROR(ag_save_npy(t, path), AG_ERR_IO, "No such file or directory");
    CHECK_ERROR(ag_save_npy(ag_to(t, AG_BF16), harness_path("bf16.npy")), AG_ERR_DTYPE,
                ".npy files have no bfloat16");
    CHECK(!file_read(harness_path("bf16.npy"), NULL));
    CHECK(!ag_save_npy(NULL, harness_path("null.npy")) && !ag_error(c));
}

/* A disk that is full in the middle of the file: the old file stays, and nothing else is left. */
static void t_full_disk(ag_context *c)
{
    static char path[1024];
    struct rlimit was, small;
    snprintf(path, sizeof path, "%s", harness_path("full.npy"));
    CHECK(ag_save_npy(ag_ones(c, AG_SHAPE(2)), path));
    ag_tensor *large = ag_zeros(c, AG_SHAPE(100000));
    CHECK(large && getrlimit(RLIMIT_FSIZE, &was) == 0);
    small = was;
    small.rlim_cur = 1000;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    const bool saved = ag_save_npy(large, path);
    setrlimit(RLIMIT_FSIZE, &was);
    CHECK_ERROR(saved, AG_ERR_IO, "full.npy: File too large");
    CHECK_VALUES(ag_load_npy(c, path), AG_SHAPE(2), AG_VALUES(1, 1), 0);
    CHECK(!file_read(harness_path("full.npy.tmp"), NULL));
}

static void t_null_context(ag_context *c)
{
    CHECK(!ag_load_npy(NULL, "x.npy"));
    CHECK(!ag_error(c));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_shapes), TEST(t_parentheses), TEST(t_dtypes), TEST(t_dictionaries),
               TEST(t_data_of_another_length), TEST(t_promises_cost_no_memory),
               TEST(t_header_lengths), TEST(t_versions), TEST(t_every_prefix_is_refused),
               TEST(t_every_byte_replaced), TEST(t_paths), TEST(t_pipes_are_not_waited_for),
               TEST(t_permissions), TEST(t_saving_to_no_file), TEST(t_full_disk),
               TEST(t_null_context));
}
