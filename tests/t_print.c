/*
 * Printing: ag_to_string says what PyTorch says, character for character.
 *
 * golden/print.txt holds the cases in sections (golden/print.py wrote it and tells how); the test
 * of a section makes its tensors and compares. The other tests are of what PyTorch lacks:
 * locales, and memory that fails.
 */
#define _POSIX_C_SOURCE 200809L

#include "harness.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>

enum { PRINT_FILE = 1 << 20, PRINT_ELEMENTS = 8192, PRINT_STEPS = 24 };

/* ---- the file of cases ---- */

static char file_text[PRINT_FILE];

/* The rest of the file, read once. */
static const char *file_open(void)
{
    if (!file_text[0]) {
        FILE *f = fopen(AG_TEST_DATA "/golden/print.txt", "rb");
        const size_t n = f ? fread(file_text, 1, sizeof file_text - 1, f) : 0;
        if (f)
            fclose(f);
        if (n == 0 || n == sizeof file_text - 1)
            FAIL("golden/print.txt cannot be read");
    }
    return file_text;
}

static const char *line_next(const char *at)
{
    at = strchr(at, '\n');
    return at ? at + 1 : "";
}

static bool line_is(const char *at, const char *word)
{
    const size_t n = strlen(word);
    return strncmp(at, word, n) == 0 && (at[n] == ' ' || at[n] == '\n');
}

/* ---- how a case makes its tensor ---- */

static ag_dtype dtype_named(const char *at)
{
    static const char *const names[] = { "f32", "f64", "f16", "bf16", "i8",
                                         "i16", "i32", "i64", "u8",   "bool" };
    for (int i = 0; i < 10; i++)
        if (line_is(at, names[i]))
            return (ag_dtype)i;
    FAIL("an unknown dtype: %.8s", at);
}

/* Reads "[2,3]" into shape and moves on. */
static ag_ints read_shape(const char **at, int64_t shape[AG_MAX_DIMS])
{
    int n = 0;
    *at = strchr(*at, '[') + 1;
    while (**at != ']') {
        char *end;
        shape[n++] = strtoll(*at, &end, 10);
        *at = *end == ',' ? end + 1 : end;
    }
    ++*at;
    return (ag_ints){ shape, n };
}

/* The numbers up to the end of the line. */
static int read_numbers(const char *at, double *out)
{
    int n = 0;
    while (*at != '\n') {
        char *end;
        out[n++] = strtod(at, &end);
        at = end;
    }
    return n;
}

static ag_tensor *make_bits(ag_context *c, ag_dtype dtype, ag_ints shape, const char *at)
{
    static _Alignas(64) unsigned char data[PRINT_ELEMENTS * 8];
    const size_t size = ag_dtype_size(dtype);
    for (size_t k = 0; *at != '\n'; k++) {
        char *end;
        const uint64_t word = strtoull(at, &end, 16);
        memcpy(data + k * size, &word, size); /* the low bytes come first */
        at = end;
    }
    return ag_from_data(c, data, dtype, shape);
}

static ag_tensor *make_steps(ag_context *c, ag_dtype dtype, ag_ints shape, const char *at)
{
    static double data[PRINT_ELEMENTS];
    double steps[PRINT_STEPS];
    int64_t n = 1;
    CHECK_INT(read_numbers(at, steps), 2);
    for (int i = 0; i < shape.n; i++)
        n *= shape.data[i];
    for (int64_t k = 0; k < n; k++)
        data[k] = steps[0] + steps[1] * (double)k;
    return ag_to(ag_from_data(c, data, AG_F64, shape), dtype);
}

static ag_tensor *make_base(ag_context *c, const char *line)
{
    const bool bits = line_is(line, "bits");
    const char *at = strchr(line, ' ') + 1;
    const ag_dtype dtype = dtype_named(at);
    int64_t sizes[AG_MAX_DIMS];
    const ag_ints shape = read_shape(&at, sizes);
    return bits ? make_bits(c, dtype, shape, at) : make_steps(c, dtype, shape, at);
}

static ag_tensor *apply(ag_tensor *t, const char *name)
{
    double v[PRINT_STEPS];
    int64_t list[PRINT_STEPS];
    const ag_ints ints = { list, read_numbers(name + strcspn(name, " \n"), v) };
    for (int i = 0; i < ints.n; i++)
        list[i] = (int64_t)v[i];
    return line_is(name, "grad")           ? ag_requires_grad_(t, true)
           : line_is(name, "transpose")    ? ag_transpose(t, (int)list[0], (int)list[1])
           : line_is(name, "permute")      ? ag_permute(t, ints)
           : line_is(name, "slice")        ? ag_slice(t, (int)list[0], list[1], list[2], list[3])
           : line_is(name, "select")       ? ag_select(t, (int)list[0], list[1])
           : line_is(name, "expand")       ? ag_expand(t, ints)
           : line_is(name, "reshape")      ? ag_reshape(t, ints)
           : line_is(name, "detach")       ? ag_detach(t)
           : line_is(name, "mul")          ? ag_mul(t, list[0])
           : line_is(name, "sum")          ? ag_sum(t)
           : line_is(name, "exp")          ? ag_exp(t)
           : line_is(name, "relu")         ? ag_relu(t)
           : line_is(name, "softplus")     ? ag_softplus(t)
           : line_is(name, "log_softmax")  ? ag_log_softmax(t, (int)list[0])
           : line_is(name, "logcumsumexp") ? ag_logcumsumexp(t, (int)list[0])
                                           : NULL;
}

/* ---- running cases ---- */

/* The case that starts at `at`; returns where it ends. */
static const char *run_case(ag_context *c, const char *at)
{
    static char name[256], printed[65536], expected[65536]; /* static: a failing check jumps */
    snprintf(name, sizeof name, "case %.*s", (int)strcspn(at + 5, "\n"), at + 5);
    ag_scope *s = ag_scope_begin(c);
    at = line_next(at);
    ag_tensor *t = make_base(c, at);
    for (at = line_next(at); line_is(at, "do"); at = line_next(at))
        t = apply(t, at + 3);
    char *text = ag_to_string(t);
    snprintf(printed, sizeof printed, "%s", text ? text : "NULL");
    ag_free(text);

    int lines = atoi(at + strlen("text "));
    at = line_next(at);
    const char *start = at;
    for (; lines > 0; lines--)
        at = line_next(at);
    snprintf(expected, sizeof expected, "%.*s", (int)(at - start - 1), start);
    harness_text(__FILE__, __LINE__, name, printed, expected);
    ag_scope_end(s);
    return at;
}

static void run_section(ag_context *c, const char *name)
{
    const char *at = file_open();
    int n = 0;
    while (*at && !(line_is(at, "section") && line_is(at + 8, name)))
        at = line_next(at);
    for (at = line_next(at); line_is(at, "case"); n++)
        at = run_case(c, at);
    CHECK(n >= 10);
}

static void t_scalars(ag_context *c) { run_section(c, "scalars"); }
static void t_vectors(ag_context *c) { run_section(c, "vectors"); }
static void t_blocks(ag_context *c) { run_section(c, "blocks"); }
static void t_empty(ag_context *c) { run_section(c, "empty"); }
static void t_summaries(ag_context *c) { run_section(c, "summaries"); }
static void t_suffixes(ag_context *c) { run_section(c, "suffixes"); }
static void t_views(ag_context *c) { run_section(c, "views"); }
static void t_random(ag_context *c) { run_section(c, "random"); }

/* ---- beyond PyTorch ---- */

/* The longest `size=` of the highest rank, as PyTorch would break its lines. */
static void t_longest_size(ag_context *c)
{
    const int64_t sizes[AG_MAX_DIMS] = { INT64_MAX };
    const ag_ints shape = { sizes, AG_MAX_DIMS };
    CHECK_PRINTS(
        ag_zeros(c, shape, .dtype = AG_U8),
        "tensor([],\n       size=(9223372036854775807, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, "
        "0, 0, 0),\n       dtype=torch.uint8)");
}

/* Names are for other places; no name, however long or strange, changes what is printed. */
static void t_names_are_not_printed(ag_context *c)
{
    static char name[1 << 20];
    memset(name, '%', sizeof name - 1);
    ag_tensor *t = ag_ones(c, AG_SHAPE(2));
    CHECK(t);
    CHECK(ag_set_name(t, name));
    CHECK_PRINTS(t, "tensor([1., 1.])");
    CHECK(ag_set_name(t, "%n%s\xff\n"));
    CHECK_PRINTS(t, "tensor([1., 1.])");
}

/* Makes and enters a locale with this decimal point; false where that cannot be done. The C library
 * remembers locales by their names, so each needs its own. */
static bool use_locale(const char *name, const char *point)
{
    static char folder[1024], command[4096];
    snprintf(folder, sizeof folder, "%s", harness_path("."));
    FILE *f = fopen(harness_path(name), "w");
    if (!f)
        return false;
    fprintf(f, "LC_NUMERIC\ndecimal_point \"%s\"\nthousands_sep \".\"\ngrouping 3;3\n", point);
    fputs("END LC_NUMERIC\n", f);
    fclose(f);
    snprintf(command, sizeof command,
             "cd '%s' && localedef -c -f UTF-8 -i %s ./%slocale >/dev/null 2>&1", folder, name,
             name);
    if (system(command) == -1 || setenv("LOCPATH", folder, 1) != 0)
        return false;
    snprintf(command, sizeof command, "%slocale", name);
    return setlocale(LC_NUMERIC, command) != NULL;
}

static void check_locale(ag_context *c)
{
    CHECK_PRINTS(ag_array(c, AG_VALUES(1.5, -2), AG_SHAPE(2)), "tensor([ 1.5000, -2.0000])");
    CHECK_PRINTS(ag_array(c, AG_VALUES(1.5, -2e9), AG_SHAPE(2)),
                 "tensor([ 1.5000e+00, -2.0000e+09])");
    CHECK_PRINTS(ag_array(c, AG_VALUES(1234567, NAN), AG_SHAPE(2)), "tensor([1234567.,      nan])");
}

static void t_decimal_comma(ag_context *c)
{
    static const char *const points[][2] = { { "comma", "," }, { "arabic", "<U066B>" } };
    if (harness_faults()) /* a failed check would leave the locale in place */
        return;
    for (int i = 0; i < 2; i++) {
        if (!use_locale(points[i][0], points[i][1])) {
            printf("t_decimal_comma: skipped, for want of localedef\n");
            return;
        }
        CHECK(strcmp(localeconv()->decimal_point, ".") != 0);
        check_locale(c);
        setlocale(LC_NUMERIC, "C");
    }
}

static void t_null(ag_context *c)
{
    CHECK(!ag_to_string(NULL));
    ag_print(NULL);
    CHECK(!ag_error(c));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_scalars), TEST(t_vectors), TEST(t_blocks), TEST(t_empty), TEST(t_summaries),
               TEST(t_suffixes), TEST(t_views), TEST(t_random), TEST(t_longest_size),
               TEST(t_names_are_not_printed), TEST(t_decimal_comma), TEST(t_null));
}
