/* The reader: a file becomes lines, a line words, and the first word says what the line is. */
#include "golden.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../harness.h"

enum { READ_FILES = 16, READ_PATH = 1024 };

/* Where the reader stands, for its messages. */
static struct {
    const char *file;
    int line;
} at;

#define BAD(...) read_bad(__VA_ARGS__)
static void read_bad(const char *what, const char *word)
{
    FAIL("golden/%s.txt:%d: %s: '%s'", at.file, at.line, what, word ? word : "nothing");
}

static void *read_grow(void *block, size_t n, size_t size)
{
    void *grown = realloc(block, (n + 1) * size);
    if (!grown)
        BAD("no memory for", at.file);
    memset((char *)grown + n * size, 0, size);
    return grown;
}

char *golden_text(const char *name)
{
    char path[READ_PATH];
    snprintf(path, sizeof path, "%s/golden/%s.txt", AG_TEST_DATA, name);
    FILE *f = fopen(path, "rb");
    if (!f)
        FAIL("cannot open %s", path);
    long size = fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    char *text = size < 0 ? NULL : malloc((size_t)size + 1);
    rewind(f);
    if (text)
        text[fread(text, 1, (size_t)size, f)] = '\0';
    fclose(f);
    if (!text)
        FAIL("cannot read %s", path);
    return text;
}

int golden_dtype(const char *name)
{
    static const char *const names[] = {
        [AG_F32] = "f32", [AG_F64] = "f64", [AG_F16] = "f16", [AG_BF16] = "bf16", [AG_I8] = "i8",
        [AG_I16] = "i16", [AG_I32] = "i32", [AG_I64] = "i64", [AG_U8] = "u8",     [AG_BOOL] = "bool"
    };
    for (int d = 0; d < (int)(sizeof names / sizeof *names); d++)
        if (strcmp(name, names[d]) == 0)
            return d;
    return -1;
}

/* The next word of the line at *text, ended by a zero; NULL at the end. */
static char *read_word(char **text)
{
    char *word = *text + strspn(*text, " ");
    if (!*word)
        return NULL;
    char *end = word + strcspn(word, " ");
    *text = *end ? end + 1 : end;
    *end = '\0';
    return word;
}

static double read_number(const char *word)
{
    char *end;
    const double v = strtod(word, &end);
    if (end == word || *end)
        BAD("not a number", word);
    return v;
}

static void read_name(char *name, const char *word)
{
    if (!word || strlen(word) >= GOLDEN_NAME)
        BAD("not a name", word);
    snprintf(name, GOLDEN_NAME, "%s", word);
}

/* ---- numbers and tensors ---- */

static golden_numbers read_numbers(char *text)
{
    int capacity = 0;
    for (const char *p = text; *p; p++)
        capacity += *p == ' ';
    golden_numbers r = { .data = malloc(sizeof(double) * (size_t)(capacity + 1)) };
    if (!r.data)
        BAD("no memory for", at.file);
    for (char *word; (word = read_word(&text));)
        r.data[r.n++] = strcmp(word, "?") == 0 ? GOLDEN_UNKNOWN : read_number(word);
    return r;
}

/* "f64 [2,3] grad", and the numbers behind the colon. */
static void read_tensor(golden_tensor *t, char *heading, char *numbers)
{
    char *dtype = read_word(&heading), *shape = read_word(&heading), *grad = read_word(&heading);
    int64_t count = 1;
    if (!dtype || golden_dtype(dtype) < 0 || !shape || *shape != '[')
        BAD("not a dtype and a shape", dtype);
    t->dtype = (ag_dtype)golden_dtype(dtype);
    t->grad = grad != NULL;
    for (char *p = shape + 1; isdigit((unsigned char)*p) && t->ndim < GOLDEN_RANK;) {
        count *= t->shape[t->ndim++] = strtoll(p, &p, 10);
        p += *p == ',';
    }
    t->values = read_numbers(numbers);
    if (t->values.n != count)
        BAD("another count of numbers than the shape says", shape);
}

/* ---- steps ---- */

/* "%3", "-" for NULL, "2" or "2.5". */
static golden_operand read_operand(const char *word)
{
    if (strcmp(word, "-") == 0)
        return (golden_operand){ .kind = GOLDEN_NULL };
    if (*word == '%')
        return (golden_operand){ .value = (int)read_number(word + 1) };
    const bool integer = strspn(word, "-0123456789") == strlen(word);
    return (golden_operand){ .kind = integer ? GOLDEN_INTEGER : GOLDEN_REAL,
                             .number = read_number(word) };
}

/* "dims=0,-1" */
static void read_argument(golden_argument *a, char *word)
{
    char *value = strchr(word, '=');
    *value++ = '\0';
    read_name(a->name, word);
    const int dtype = golden_dtype(value);
    if (dtype >= 0) {
        a->dtype = (ag_dtype)dtype;
        return;
    }
    for (char *part = strtok(value, ","); part; part = strtok(NULL, ",")) {
        const double v = read_number(part);
        if (a->n == GOLDEN_RANK)
            BAD("too long a list for", a->name);
        if (a->n == 0)
            a->number = v;
        a->list[a->n++] = isfinite(v) ? (int64_t)v : 0;
    }
}

static void read_step(golden_step *s, char *text)
{
    read_name(s->name, read_word(&text));
    for (char *word; (word = read_word(&text));) {
        const bool argument = strchr(word, '=') != NULL;
        if (argument ? s->n_arguments == GOLDEN_ARGUMENTS : s->n == GOLDEN_OPERANDS)
            BAD("too many operands or arguments", word);
        if (argument)
            read_argument(&s->arguments[s->n_arguments++], word);
        else
            s->operands[s->n++] = read_operand(word);
    }
}

/* ---- cases ---- */

static void read_heading(golden_case *k, char *text)
{
    char *word = read_word(&text);
    if (!word)
        BAD("a case without a name", word);
    k->name = strdup(word);
    k->line = at.line;
    k->f32 = read_word(&text) != NULL;
}

/* "g0", "h2", "hv" */
static golden_numbers *read_which(golden_case *k, const char *word)
{
    if (strcmp(word, "hv") == 0)
        return &k->hv;
    const int i =
        (*word == 'g' || *word == 'h') && isdigit((unsigned char)word[1]) ? atoi(word + 1) : -1;
    if (i < 0 || i >= GOLDEN_LEAVES)
        BAD("not a quantity", word);
    return *word == 'g' ? &k->g[i] : &k->h[i];
}

static void read_line(golden_case *k, char *line)
{
    char *colon = strchr(line, ':');
    if (colon)
        *colon = '\0';
    char *word = read_word(&line);
    if (strcmp(word, "=") == 0) {
        k->steps = read_grow(k->steps, (size_t)k->n_steps, sizeof *k->steps);
        read_step(&k->steps[k->n_steps++], line);
        return;
    }
    if (!colon)
        BAD("a line without a colon", word);
    if (strcmp(word, "x") == 0 && k->n_leaves < GOLDEN_LEAVES)
        read_tensor(&k->leaves[k->n_leaves++], line, colon + 1);
    else if (strcmp(word, "y") == 0)
        read_tensor(&k->y, line, colon + 1);
    else
        *read_which(k, word) = read_numbers(colon + 1);
}

static void read_cases(golden_file *f, char *text)
{
    at.line = 0;
    for (char *line = text, *end; line && *line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        at.line++;
        if (strncmp(line, "case ", 5) == 0) {
            f->cases = read_grow(f->cases, (size_t)f->n, sizeof *f->cases);
            read_heading(&f->cases[f->n++], line + 5);
        } else if (*line && *line != '#') {
            if (!f->n)
                BAD("a line before the first case", line);
            read_line(&f->cases[f->n - 1], line);
        }
    }
}

const golden_file *golden_read(const char *name)
{
    static struct {
        const char *name;
        golden_file file;
    } files[READ_FILES];
    int i = 0;
    while (i < READ_FILES && files[i].name && strcmp(files[i].name, name) != 0)
        i++;
    if (i == READ_FILES)
        FAIL("more than %d files", READ_FILES);
    if (!files[i].name) {
        files[i].name = name;
        at.file = name;
        char *text = golden_text(name);
        read_cases(&files[i].file, text);
        free(text);
    }
    return &files[i].file;
}
