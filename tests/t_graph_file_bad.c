/* Files that are no graphs, or damaged ones, or made up: each is an error that says where. */
#include <sys/stat.h>
#include <sys/time.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "graph_files.h"
#include "graph/text.h"
#include "samples.h"

/* As from a file with a right checksum. In a block of its own, so that a sanitizer sees what is read
 * behind it. */
static ag_graph *load_text(ag_context *c, const char *text, size_t n)
{
    char *exact = malloc(n + 1);
    if (!exact)
        FAIL("no memory for a text");
    memcpy(exact + 1, text, n);
    ag_graph *g = ag__graph_parse(c, "text", exact + 1, n, false);
    free(exact);
    return g;
}

/* ---- texts ---- */

#define HEAD "autograd graph 1\n"
#define WHILE(list, body, cond)                                                                    \
    HEAD "%0 = placeholder f32[2]\n%1 = while f32[2] %0 list=[" list "]\n" body cond
#define BODY "(%0 f32[2]) {\nreturn %0\n}\n"
#define COND "(%0 f32[2]) {\n%1 = any bool[] %0\nreturn %1\n}\n"
#define XYZ HEAD "%0 = placeholder f32[2, 3]\n%1 = placeholder i64[2]\n%2 = placeholder f32[]\n"

static const struct {
    const char *text, *sentence;
} texts[] = {
    { "", "line 1, column 1: this is no graph" },
    { "autograd graf 1\n", "this is no graph" },
    { "autograd graph 2\n", "version 2 of the format; this library reads version 1" },
    { "autograd graph 2147483648\n", "version 2147483648" },
    { "autograd graph 99999999999999999999\n", "the number is out of range" },
    { "autograd graph -1\n", "version -1" },
    { "autograd graph\n", "line 1, column 15: expected a whole number" },
    { "autograd graph 1 traced\n", "this is a traced graph" },
    { "autograd graph 1 final\n", "expected the end of the line" },
    { "autograd graph 1 finalized finalized\n", "expected the end of the line" },
    { HEAD "%1 = placeholder f32[2]\n", "the next value is %0, not %1" },
    { HEAD "%0 = placeholder f32[2] %0\n", "there is no value %0 before this line" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f32[2] %1\n",
      "line 3, column 19: there is no value" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f32[2] %2147483647\n", "out of range" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f32[2] %-1\n", "out of range" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f32[2] -\n",
      "line 3: neg: another number of operands" },
    { HEAD "%0 = placeholder f32[2]\n%1 = add f32[2] %0 -\n",
      "line 3: add: an operand is missing" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f32[2] %0 %0\n", "another number of operands" },
    { HEAD "%0 = placeholder f32[2]\n%1 %2 = neg f32[2] f32[2] %0\n", "another number of results" },
    { HEAD "%0 = placeholder f32[2]\n= neg %0\n", "another number of results" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f32[3] %0\n",
      "line 3: neg gives f32[2], not f32[3]" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f64[2] %0\n", "neg gives f32[2], not f64[2]" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f32[2]! %0\n", "a number has no dimensions" },
    { HEAD "%0 = placeholder f32[]\n%1 = neg f32[]! %0\n", "only a constant is a number" },
    { HEAD "%0 = placeholder f32[]!\n", "only a constant is a number" },
    { HEAD "%0 = nonsense f32[2]\n", "line 2, column 6: there is no operation 'nonsense'" },
    { HEAD "%0 = stand_in f32[2]\n", "line 2: " },
    { HEAD "%0 = placeholder f33[2]\n", "line 2, column 18: expected a type" },
    { HEAD "%0 = placeholder f32\n", "expected '['" },
    { HEAD "%0 = placeholder f32[2\n", "expected ']'" },
    { HEAD "%0 = placeholder f32[-2]\n", "the size -2 is none" },
    { HEAD "%0 = placeholder f32[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n",
      "the list has more than 16 entries" },
    { HEAD "%0 = placeholder f32[3037000500, 3037000500, 3037000500]\n", "line 2: " },
    { HEAD "%0 = placeholder f32[9223372036854775808]\n", "the number is out of range" },
    { HEAD "%0 = placeholder f32[2] data=[1, 2]\n", "only constants and variables have data" },
    { HEAD "%0 = placeholder f32[2] i=[1, 2, 3, 4, 5]\n", "the list has more than 4 entries" },
    { HEAD "%0 = placeholder f32[2] q=1 p=1\n", "expected the end of the line" },
    { HEAD "%0 = placeholder f32[2] p=1e999\n", "expected a number" },
    { HEAD "%0 = placeholder f32[2] p=0x12\n", "expected 16 hexadecimal digits" },
    { HEAD "%0 = placeholder f32[2] after %0\n", "there is no value %0" },
    { HEAD "%0 = placeholder f32[2] twin=1\n", "expected the end of the line" },
    { HEAD "%0 = placeholder f32[2] \"a\"\n%1 = placeholder f32[2] \"a\"\n",
      "line 3: there is a value of this name before" },
    { HEAD "%0 = placeholder f32[2] \"a\n", "does not end" },
    { HEAD "%0 = placeholder f32[2] \"a", "a name does not end" },
    { HEAD "%0 = placeholder f32[2] \"\\n\"\n", "a backslash stands before" },
    { HEAD "%0 = placeholder f32[2] \"\\x00\"\n", "a backslash stands before" },
    { HEAD "%0 = placeholder f32[2] \"\\\n", "a backslash stands before" },
    { HEAD "%0 = constant f32[2]\n", "a constant has data" },
    { HEAD "%0 = constant f32[2] data=[1]\n", "expected ','" },
    { HEAD "%0 = constant f32[2] data=[1, 2, 3]\n", "expected ']'" },
    { HEAD "%0 = constant f32[2] data=[1, 1e39]\n", "the number is out of range for f32" },
    { HEAD "%0 = constant f16[1] data=[65520]\n", "out of range for f16" },
    { HEAD "%0 = constant i8[2] data=[1, 128]\n", "out of range for i8" },
    { HEAD "%0 = constant u8[2] data=[1, -1]\n", "out of range for u8" },
    { HEAD "%0 = constant bool[2] data=[1, 2]\n", "out of range for bool" },
    { HEAD "%0 = constant bool[2] data=0x0102\n", "a bool is 00 or 01" },
    { HEAD "%0 = constant i64[1] data=[1.5]\n", "expected ']'" },
    { HEAD "%0 = constant f32[1] data=0x000000\n", "fewer data" },
    { HEAD "%0 = constant f32[1] data=0x0000000\n", "in hexadecimal, got 3" },
    { HEAD "%0 = constant f32[1] data=0x0000000g\n", "expected 4 bytes in hexadecimal, got 3" },
    { HEAD "%0 = constant f32[1] data=0x0000000000\n", "expected the end of the line" },
    { HEAD "%0 = constant f32[-1] data=[1]\n", "fewer data" },
    { HEAD "%0 = constant f64[1000000000000] data=0x00\n", "fewer data" },
    { HEAD "%0 = constant i8[1000000000000] data=[1]\n", "fewer data" },
    { HEAD "%0 = variable f32[-1]\n", "a variable has a known shape, not [-1]" },
    { HEAD "%0 = placeholder f32[2]\n}\n", "line 3, column 1: expected an instruction" },
    { HEAD "return\n", "expected an instruction" },
    { HEAD "%0 = placeholder f32[2]\n(%0 f32[2]) {\nreturn\n}\n",
      "ag_placeholder: it has no regions" },
    { HEAD "%0 = placeholder f32[2]\n%1 = neg f32[2] %0\n() {\nreturn\n}\n",
      "neg: regions, or a list" },
    /* rows and their attributes */
    { XYZ "%3 = sum f32[3] %0 list=[2]\n", "line 5: ag_sum: Dimension out of range" },
    { XYZ "%3 = sum f32[3] %0 list=[0, 0]\n", "appears multiple times" },
    { XYZ "%3 = gather f32[2] %0 %1 i=[7]\n", "its attributes do not belong to these operands" },
    { XYZ "%3 = index_select f32[2, 2] %0 %1 i=[-1]\n", "its attributes do not belong" },
    { XYZ "%3 = softmax f32[2, 3] %0 i=[2]\n", "its attributes do not belong" },
    { XYZ "%3 = index f32[2, 3] %0 %1 i=[4]\n", "its attributes do not belong" },
    { XYZ "%3 = cat f32[2, 3] %0 i=[0, 2]\n", "its attributes do not belong" },
    { XYZ "%3 = stack f32[1, 2, 3] %0 i=[0, 9]\n", "its attributes do not belong" },
    { XYZ "%3 = as_strided f32[2] %0 i=[0, 0, 17] list=[2, 1, 1]\n", "its attributes do not" },
    { XYZ "%3 = as_strided f32[9] %0 i=[0, 0, 1] list=[9, 1, 3, 1]\n",
      "out of bounds for storage" },
    { XYZ "%3 = as_strided_add f32[2] %0 i=[2, 0] list=[3, 1]\n", "its attributes do not belong" },
    { XYZ "%3 = select_backward f32[5, 3] %0 i=[0, 1] list=[5, 3]\n", "its attributes do not" },
    { XYZ "%3 %4 = sort f32[2, 3] i64[2, 3] %0 i=[1]\n", "its attributes do not belong" },
    { XYZ "%3 %4 = split f32[1, 3] f32[1, 3] %0 i=[0, 2]\n", "does not give 2 parts" },
    { XYZ "%3 = unbind f32[3] %0\n", "does not give 1 parts" },
    { XYZ "%3 = view f32[9] %0 list=[9]\n", "is invalid for input of size 6" },
    { XYZ "%3 = permute f32[3, 2] %0 list=[1, 1]\n", "duplicate dims" },
    { XYZ "%3 = to f32[2, 3] %0 i=[77]\n", "line 5: " },
    { XYZ "%3 = scatter_last bool[2] %1 list=[1, 2]\n", "same number of dimensions" },
    { XYZ "%3 = index_positions i64[2] %0\n", "its attributes do not belong" },
    { XYZ "%3 = view f32[6] %0 list=[dim16]\n", "the number is out of range" },
    /* rows of graphs */
    { XYZ "%3 = assign f32[2, 3] %0 %0\n", "ag_assign: the tensor is no variable of a graph" },
    { XYZ "%3 = variable f32[2]\n%4 = assign f32[2] %3 %1\n", "the variable has dtype float32" },
    { XYZ "%3 = variable f32[2]\n%4 = assign f32[2] %3 %2\n", "the variable has shape [2]" },
    { XYZ "%3 = variable f32[2]\n%4 = assign f32[2] %3 %3 i=[3]\n", "it takes a variable and" },
    { XYZ "%3 = group bool[]\n", "ag_group: it takes values" },
    { XYZ "%3 = detach f32[2, 3] %0 %0\n", "ag_detach: it takes one operand" },
    { XYZ "%3 = gradient f32[2, 3] %2 - %0 i=[1, 2]\n", "ag_grad: it takes outputs" },
    { XYZ "%3 = gradient f32[2, 3] %2 - %0 i=[9223372036854775807, 1]\n", "it takes outputs" },
    { XYZ "%3 = gradient f32[2, 3] %0 - %0 i=[1, 1]\n", "only for scalar outputs" },
    { XYZ "%3 = gradient i64[2] %2 - %1 i=[1, 1]\n", "does not require grad [input 0]" },
    { XYZ "%3 = gradient f32[2, 3] %0 %2 %0 i=[1, 1]\n", "Mismatch in shape: grad_output[0]" },
    { XYZ "%3 = gradient f32[2, 3] - - %0 i=[1, 1]\n", "an output or input is missing" },
    { XYZ "%3 %4 = jvp f32[] f32[] %2 - i=[1]\n", "ag_jvp: it takes inputs" },
    { XYZ "%3 %4 = jvp f32[] f32[] %2 - i=[1]\n(%0 f64[]) {\nreturn %0\n}\n", "another type" },
    { XYZ "%3 = cond f32[] %2\n(%0 f32[]) {\nreturn %0\n}\n() {\nreturn\n}\n",
      "a region has another number of parameters or results" },
    { XYZ "%3 = cond f32[] %1 %2 i=[1]\n(%0 f32[]) {\nreturn %0\n}\n(%0 f32[]) {\nreturn %0\n}\n",
      "ag_cond: pred must be a scalar, got shape [2]" },
    { XYZ "%3 = switch f32[] %2 %2 i=[1]\n(%0 f32[]) {\nreturn %0\n}\n",
      "the index has dtype float32, not an integer one" },
    { XYZ "= cond %2\n() {\nreturn\n}\n", "another number of regions" },
    { XYZ "= cond\n", "it takes a selector" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", BODY, ""), "another number of regions" },
    { WHILE("2, 0, 0, 0, 0, -1, 0, 0", BODY, COND), "it takes variables" },
    { WHILE("1, 0, 0, 0, 0, -1, 0", BODY, COND), "it takes variables" },
    { WHILE("1, 0, 0, -1, 0, -1, 0, 0", BODY, COND), "an attribute is out of range" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 1", BODY, COND), "an attribute is out of range" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%0 f32[3]) {\nreturn %0\n}\n", COND), "another type" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%0 f32[2]) {\nreturn\n}\n", COND), "number of results" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", BODY, BODY), "the condition must be a scalar" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0",
            "(%0 f32[2]) {\n%1 = constant f32[3] data=[1, 2, 3]\nreturn %1\n}\n", COND),
      "is not an invariant for the loop" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%0 f32[2]) {\n%1 = variable f32[2]\nreturn %1\n}\n", COND),
      "line 5: ag_variable: not inside a loop or branch" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%0 f32[2]) {\n%1 = neg f32[2] \"a\" %0\nreturn %1\n}\n",
            COND),
      "values inside a loop or branch have no names" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%0 f32[2]) {\n", ""),
      "expected an instruction or return" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%0 f32[2]) {\nreturn %0\n", ""), "expected '}'" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%0 f32[2] {\n", ""), "expected ')'" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%0 f32[2])\n", ""), "expected '{'" },
    { WHILE("1, 0, 0, 0, 0, -1, 0, 0", "(%1 f32[2]) {\n", ""), "the next value is %0" },
    { XYZ "%3 = scan f32[9223372036854775807, 0] list=[0, 0, 1, 0, 0, 9223372036854775807, 0, 0]\n"
          "() {\n%0 = constant f32[0] data=[]\nreturn %0\n}\n",
      "ag_scan: 9223372036854775807 steps of 1 ys are too many" },
    { XYZ "= scan %2 list=[0, 1, 0, 0, 0, -1, 0, 0]\n(%0 f32[]) {\nreturn\n}\n",
      "x 0 has no dimension to scan along" },
    { XYZ "%3 = scan f32[2, 3] %0 list=[1, 0, 0, 0, 2, 1, 0, 0]\n(%0 f32[2, 3]) {\nreturn %0\n}\n",
      "an attribute is out of range" },
};

static void t_made_up_texts(ag_context *c)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        CHECK_ERROR(load_text(c, texts[i].text, strlen(texts[i].text)), AG_ERR_FORMAT,
                    texts[i].sentence);
}

/* The same pieces, right: so the table's errors are those that it means. */
static void t_the_texts_are_otherwise_right(ag_context *c)
{
    static const char *const right[] = {
        HEAD,
        XYZ,
        WHILE("1, 0, 0, 0, 0, -1, 0, 0", BODY, COND),
        XYZ "%3 = variable f32[2]\n%4 = assign f32[2] %3 %3 i=[1] after %2 %0\n",
        XYZ "%3 = gradient f32[2, 3] %2 - %0 i=[1, 1]\n",
        XYZ "%3 %4 = jvp f32[] f32[] %2 - i=[1]\n(%0 f32[]) {\nreturn %0\n}\n",
        XYZ "= cond %2\n() {\nreturn\n}\n() {\nreturn\n}\n",
        XYZ "%3 = scan f32[9, 0] list=[0, 0, 1, 0, 0, 9, 0, 0]\n"
            "() {\n%0 = constant f32[0] data=[]\nreturn %0\n}\n",
        XYZ "%3 = as_strided f32[6] %0 i=[0, 0, 1] list=[6, 1, 3, 1]\n",
        XYZ "%3 %4 = split f32[1, 3] f32[1, 3] %0 i=[0, 1]\n",
    };
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        ag_graph *g = load_text(c, right[i], strlen(right[i]));
        CHECK(g);
        ag_graph_free(g);
    }
}

/* Regions inside each other, one more than may be, and very many. */
static void t_deep_texts(ag_context *c)
{
    static char text[FILES_MAX];
    const struct {
        int depth;
        bool good;
    } cases[] = { { 64, true }, { 65, false }, { 1200, false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n = (size_t)snprintf(text, sizeof text, HEAD "%%0 = placeholder bool[]\n");
        for (int d = 0; d < cases[i].depth; d++)
            n += (size_t)snprintf(text + n, sizeof text - n, "= switch %%0%s\n(%s) {\n",
                                  d < cases[i].depth - 1 ? " %0" : "",
                                  d < cases[i].depth - 1 ? "%0 bool[]" : "");
        for (int d = 0; d < cases[i].depth; d++)
            n += (size_t)snprintf(text + n, sizeof text - n, "return\n}\n");
        if (cases[i].good) {
            ag_graph *g = load_text(c, text, n);
            CHECK(g);
            ag_graph_free(g);
        } else {
            CHECK_ERROR(load_text(c, text, n), AG_ERR_FORMAT, "more than 64 deep");
        }
    }
}

static bool deeper(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    int *left = user;
    (void)m, (void)n;
    if (--*left <= 0)
        return (out[0] = ag_neg(in[0])) != NULL;
    return ag_cond(in[0], deeper, files_negate, in, 1, out, 1, .user = user);
}

static void t_graphs_that_are_too_deep_to_save(ag_context *c)
{
    int left = 66;
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE()), *y;
    CHECK(x && deeper(&x, 1, &y, 1, &left));
    CHECK_ERROR(ag_graph_save(g, harness_path("deep")), AG_ERR_UNSUPPORTED, "more than 64 deep");
}

/* ---- damaged files ---- */

static const char small[] = HEAD "%0 = constant f32[2] \"x\" data=[1, 0.5]\n"
                                 "%1 = mul f32[2] %0 %0\n";

static void t_every_bit_and_every_end(ag_context *c)
{
    char bytes[256];
    size_t n;
    const char *path = harness_path("damaged");
    files_write(path, small, sizeof small - 1);
    const char *whole = file_read(path, &n);
    CHECK(whole && n < sizeof bytes);
    memcpy(bytes, whole, n);
    const size_t step = harness_faults() ? 97 : 1;
    for (size_t bit = 0; bit < 8 * n; bit += step) {
        bytes[bit / 8] ^= (char)(1 << bit % 8);
        file_write(path, bytes, n);
        CHECK_ERROR(ag_graph_load(c, path), AG_ERR_FORMAT, "ag_graph_load: ");
        bytes[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t end = 0; end < n; end += step) {
        file_write(path, bytes, end);
        CHECK_ERROR(ag_graph_load(c, path), AG_ERR_FORMAT, "does not end with its checksum");
    }
    bytes[n] = '\n';
    file_write(path, bytes, n + 1);
    CHECK_ERROR(ag_graph_load(c, path), AG_ERR_FORMAT, "does not end with its checksum");
    file_write(path, bytes, n);
    ag_graph *g = ag_graph_load(c, path);
    CHECK(g);
    ag_graph_free(g);
}

static void t_no_regular_files(ag_context *c)
{
    char fifo[FILES_PATH], link[FILES_PATH];
    files_path(fifo, "fifo");
    files_path(link, "link");
    CHECK_ERROR(ag_graph_load(c, "/tmp"), AG_ERR_IO, "not a regular file");
    CHECK_ERROR(ag_graph_load(c, harness_path("nowhere")), AG_ERR_IO, "No such file");
    unlink(fifo);
    unlink(link);
    if (mkfifo(fifo, 0600) != 0 || symlink("nowhere", link) != 0)
        FAIL("no FIFO or link can be made");
    CHECK_ERROR(ag_graph_load(c, fifo), AG_ERR_IO, "not a regular file");
    CHECK_ERROR(ag_graph_load(c, link), AG_ERR_IO, "No such file");
    CHECK_ERROR(ag_graph_load(c, "/dev/zero"), AG_ERR_IO, "not a regular file");
    file_write(harness_path("empty"), "", 0);
    CHECK_ERROR(ag_graph_load(c, harness_path("empty")), AG_ERR_FORMAT,
                "byte 0: the file does not");
}

/* ---- random changes ---- */

/* Memory is short, so that a size that came out of a change cannot take all of it. */
enum { SHORT = 48 << 20 };
static size_t in_use;
static void *short_alloc(size_t bytes, void *user)
{
    (void)user;
    void *p = in_use + bytes > SHORT ? NULL : malloc(bytes);
    in_use += p ? bytes : 0;
    return p;
}
static void short_free(void *block, size_t bytes, void *user)
{
    (void)user;
    in_use -= bytes;
    free(block);
}

static ag_context *running;
static void cancel(int signal)
{
    (void)signal;
    ag_set_cancelled(running, true);
}

static uint32_t random_state;
static uint32_t dice(uint32_t n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)random_state * n >> 32);
}

static size_t replace(char *text, size_t n, size_t at, size_t cut, const char *by, size_t length)
{
    if (at + cut > n || n - cut + length >= FILES_MAX - 64)
        return n;
    memmove(text + at + length, text + at + cut, n - at - cut);
    memcpy(text + at, by, length);
    return n - cut + length;
}

/* A number, a character, a piece or a line is another. */
static size_t change(char *text, size_t n)
{
    static const char *const numbers[] = { "-1",
                                           "0",
                                           "1",
                                           "2",
                                           "3",
                                           "7",
                                           "16",
                                           "17",
                                           "-9",
                                           "100000",
                                           "2147483647",
                                           "4294967296",
                                           "9223372036854775807",
                                           "-9223372036854775808",
                                           "dim0",
                                           "dim15",
                                           "1e308",
                                           "nan" };
    static const char characters[] = "%-0123456789 \n()[]{}=\"\\,!#aefptq";
    char piece[64];
    const size_t at = dice((uint32_t)n);
    size_t from = at, end = at;
    const uint32_t which = dice(8);
    switch (which) {
    case 0: text[at] = characters[dice(sizeof characters - 1)]; return n;
    case 1: return replace(text, n, at, 1 + dice(4), "", 0);
    case 2:
        end = dice((uint32_t)n);
        const size_t length = end + 40 < n ? 1 + dice(40) : 1;
        memcpy(piece, text + end, length);
        return replace(text, n, at, dice(2) ? length : 0, piece, length);
    default:
        for (size_t k = at; k + 2 < n && which >= 5; k++) /* one of an attribute */
            if (!memcmp(text + k, "=[", 2)) {
                from = k;
                break;
            }
        while (from < n && !(text[from] >= '0' && text[from] <= '9'))
            from++;
        for (end = from; end < n && text[end] >= '0' && text[end] <= '9';)
            end++;
        from -= from > 0 && from < n && text[from - 1] == '-';
        const char *number = numbers[dice(sizeof numbers / sizeof *numbers)];
        return from < n ? replace(text, n, from, end - from, number, strlen(number)) : n;
    }
}

/* Runs all that has the name "y", with whatever fits for "x0", "x1", "x2"; errors are fine. */
static void run_anything(ag_context *c, ag_graph *g)
{
    static const char *const names[] = { "x0", "x1", "x2" };
    ag_feed feeds[3];
    int n = 0;
    ag_scope *scope = ag_scope_begin(c);
    ag_tensor *y = ag_graph_find(g, "y"), *result, *dx;
    for (int i = 0; i < 3; i++) {
        ag_tensor *x = ag_graph_find(g, names[i]);
        if (!x)
            continue;
        int64_t shape[AG_MAX_DIMS], numel = 1;
        for (int d = 0; d < ag_ndim(x); d++) {
            shape[d] = ag_shape(x)[d] < 0 ? 2 : ag_shape(x)[d];
            numel = shape[d] && numel > 10000 / shape[d] ? 10001 : numel * shape[d];
        }
        const ag_ints sizes = { shape, ag_ndim(x) };
        ag_tensor *v = numel > 10000 ? NULL : ag_full(c, sizes, .75, .dtype = ag_dtype_of(x));
        if (v)
            feeds[n++] = (ag_feed){ x, v };
    }
    ag_session *s = ag_session_new(g, .backend = AG_BACKEND_INTERPRET);
    if (s && y)
        ag_session_run(s, feeds, n, &y, 1, &result);
    ag_error_clear(c);
    ag_tensor *sum = n && y ? ag_sum(y) : NULL;
    if (s && sum && ag_grad(&sum, 1, &feeds[0].tensor, 1, &dx))
        ag_session_run(s, feeds, n, &dx, 1, &result);
    ag_session_free(s);
    ag_scope_end(scope);
    ag_error_clear(c);
}

/* Changes the text again and again; what can be loaded is run, and does not crash. */
static int fuzz(ag_context *c, const char *text, size_t n, int times)
{
    static char changed[FILES_MAX];
    int good = 0;
    for (int i = 0; i < times; i++) {
        memcpy(changed, text, n);
        size_t m = n;
        for (uint32_t k = 1 + dice(3); k > 0 && m > 0; k--)
            m = change(changed, m);
        ag_graph *g = load_text(c, changed, m);
        if (!g && !ag_error(c))
            FAIL("a file is refused without an error:\n%.*s", (int)m, changed);
        if (!g && ag_error(c)->code != AG_ERR_FORMAT && ag_error(c)->code != AG_ERR_MEMORY)
            FAIL("a file is refused with code %d: %s", (int)ag_error(c)->code,
                 ag_error(c)->message);
        ag_error_clear(c);
        if (g) {
            const struct itimerval soon = { .it_value = { .tv_usec = 50000 } }, never = { 0 };
            setitimer(ITIMER_REAL, &soon, NULL);
            run_anything(c, g);
            setitimer(ITIMER_REAL, &never, NULL);
            ag_set_cancelled(c, false);
            good++;
        }
        ag_graph_free(g);
    }
    return good;
}

static int fuzz_times(void)
{
    const char *times = getenv("AG_TEST_FUZZ");
    return times ? atoi(times) : 1;
}

static ag_context *fuzz_open(void)
{
    static const ag_allocator allocator = { short_alloc, short_free, NULL };
    ag_context *c = ag_open(.allocator = &allocator);
    CHECK(c);
    running = c;
    random_state = 1;
    signal(SIGALRM, cancel);
    return c;
}

/* The text of a graph without its checksum. */
static size_t text_of(ag_graph *g, char *text)
{
    size_t n = 0;
    const char *path = harness_path("whole");
    const char *bytes = ag_graph_save(g, path) ? file_read(path, &n) : NULL;
    if (!bytes || n < 18)
        return 0;
    memcpy(text, bytes, n - 18);
    return n - 18;
}

static void t_changed_graphs(ag_context *unused)
{
    (void)unused;
    if (harness_faults())
        return;
    static char text[FILES_MAX];
    ag_context *c = fuzz_open();
    int good = 0;
    for (int k = 0; k < 3; k++) {
        ag_graph *g = k == 0 ? files_flow(c) : k == 1 ? files_derivatives(c) : files_effects(c);
        ag_tensor *x = ag_graph_find(g, "x"), *y = ag_graph_find(g, k == 0   ? "z"
                                                                    : k == 1 ? "dx"
                                                                             : "after");
        CHECK(x && y && ag_set_name(x, "x0") && ag_set_name(y, "y"));
        const size_t n = text_of(g, text);
        CHECK(n > 0);
        good += fuzz(c, text, n, 1000 * fuzz_times());
    }
    ag_close(c);
    CHECK(good > 100);
}

/* Each operation with its attributes. */
static void t_changed_operations(ag_context *unused)
{
    (void)unused;
    if (harness_faults())
        return;
    static char text[FILES_MAX];
    ag_context *c = fuzz_open();
    int recorded = 0, good = 0;
    for (int k = 0; k < SAMPLE_COUNT; k++) {
        static const char *const names[] = { "x0", "x1", "x2" };
        ag_scope *scope = ag_scope_begin(c);
        ag_graph *g = ag_graph_new(c);
        ag_tensor *leaves[SAMPLE_MAX_OPERANDS], *x[SAMPLE_MAX_OPERANDS] = { NULL };
        sample_leaves(c, &samples[k], LAYOUT_DENSE, leaves);
        for (int i = 0; i < sample_operands(&samples[k]); i++) {
            const ag_ints sizes = { ag_shape(leaves[i]), ag_ndim(leaves[i]) };
            x[i] = ag_placeholder(g, AG_F64, sizes, .name = names[i]);
        }
        ag_tensor *y = samples[k].call(c, x);
        if (y && ag_graph_of(y) == g && ag_set_name(y, "y")) {
            const size_t n = text_of(g, text);
            CHECK(n > 0);
            recorded++;
            good += fuzz(c, text, n, 10 * fuzz_times());
        }
        ag_error_clear(c);
        ag_graph_free(g);
        ag_scope_end(scope);
    }
    ag_close(c);
    CHECK(recorded > 200);
    CHECK(good > 100);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_made_up_texts), TEST(t_the_texts_are_otherwise_right), TEST(t_deep_texts),
               TEST(t_graphs_that_are_too_deep_to_save), TEST(t_every_bit_and_every_end),
               TEST(t_no_regular_files), TEST(t_changed_graphs), TEST(t_changed_operations));
}
