/*
 * Graphs from text, by recursive descent over lines: each becomes a draft of an instruction, with
 * the regions that follow it, and the draft an instruction when it has passed what recording would
 * have asked of it (rules.h, the rows' infer). Nothing that the text says is believed: operands are
 * values before it, types are inferred again and compared, and sizes are compared with the length
 * of the text before memory is asked for. Regions nest AG_GRAPH_DEPTH deep at most.
 */
#include <stdarg.h>
#include <string.h>

#include "rules.h"
#include "text.h"

typedef struct {
    ag_context *c;
    ag_graph *g;
    const char *who;
    const char *at, *end;
    const char *line_at; /* where the line begins */
    int line;
} parse_reader;

/* What the text says of a result. */
typedef struct {
    ag__geometry type;
    bool number;
    const char *name; /* unescaped, of the graph's memory; NULL: none */
} parse_result;

/* An instruction in the making; its lists are owned. */
typedef struct {
    ag__region *r;
    int line;
    ag__inst like;
    ag__long_attrs attrs;
    int32_t *in, *after;
    ag__region **regions;
    parse_result *results;
    int room_in, room_after, room_regions, room_results;
} parse_draft;

/* ---- errors ---- */

static bool parse_bad(const parse_reader *r, const char *format, ...) AG_FORMAT(2, 3);
static bool parse_bad(const parse_reader *r, const char *format, ...)
{
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return ag_fail(r->c, AG_ERR_FORMAT, "%s: line %d, column %d: %s", r->who, r->line,
                   (int)(r->at - r->line_at) + 1, what);
}

/* An error that a rule has told, as one of the text; a lack of memory stays what it is. */
static bool parse_refused(const parse_reader *r, const parse_draft *d, ag__quiet *q)
{
    char what[512];
    const ag_status *s = ag_error(r->c);
    if (!s || s->code == AG_ERR_MEMORY) {
        ag__quiet_tell(q, r->c);
        return false;
    }
    snprintf(what, sizeof what, "%s", s->message);
    ag__quiet_forget(q, r->c);
    return ag_fail(r->c, AG_ERR_FORMAT, "%s: line %d: %s", r->who, d->line, what);
}

/* ---- characters ---- */

static bool parse_is(const parse_reader *r, char c) { return r->at < r->end && *r->at == c; }

static void parse_blank(parse_reader *r)
{
    while (parse_is(r, ' ') || parse_is(r, '\t'))
        r->at++;
}

static bool parse_take(parse_reader *r, char c)
{
    parse_blank(r);
    if (!parse_is(r, c))
        return false;
    r->at++;
    return true;
}

static bool parse_expect(parse_reader *r, char c)
{
    return parse_take(r, c) || parse_bad(r, "expected '%c'", c);
}

/* `word` stands here; it is taken. */
static bool parse_word(parse_reader *r, const char *word)
{
    const size_t n = strlen(word);
    parse_blank(r);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return false;
    r->at += n;
    return true;
}

static bool parse_is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* The length of a word of lower-case letters, digits and underscores, which is taken; 0: there
 * is none. */
static int parse_identifier(parse_reader *r, char out[64])
{
    int n = 0;
    parse_blank(r);
    while (r->at + n < r->end && n < 63 && parse_is_name(r->at[n])) {
        out[n] = r->at[n];
        n++;
    }
    out[n] = '\0';
    r->at += n;
    return n;
}

static void parse_next_line(parse_reader *r)
{
    r->line_at = ++r->at;
    r->line++;
}

/* The rest of the line holds nothing but a comment. */
static bool parse_line_end(parse_reader *r)
{
    parse_blank(r);
    if (parse_is(r, '#'))
        while (r->at < r->end && *r->at != '\n')
            r->at++;
    if (r->at == r->end)
        return true;
    if (*r->at != '\n')
        return parse_bad(r, "expected the end of the line");
    parse_next_line(r);
    return true;
}

/* Skips lines without text; false: the text ends here. */
static bool parse_more(parse_reader *r)
{
    for (parse_blank(r); parse_is(r, '\n') || parse_is(r, '#'); parse_blank(r))
        if (!parse_line_end(r))
            return false;
    return r->at < r->end;
}

/* ---- numbers ---- */

static bool parse_integer(parse_reader *r, int64_t *v)
{
    parse_blank(r);
    const bool negative = parse_is(r, '-');
    const char *start = r->at;
    int64_t n = 0; /* negated: the least number has no opposite */
    r->at += negative;
    const char *digits = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        const int digit = *r->at - '0';
        if (n < (INT64_MIN + digit) / 10 || (10 * n - digit == INT64_MIN && !negative)) {
            r->at = start;
            return parse_bad(r, "the number is out of range");
        }
        n = 10 * n - digit;
    }
    if (r->at == digits) {
        r->at = start;
        return parse_bad(r, "expected a whole number");
    }
    *v = negative ? n : -n;
    return true;
}

/* A number below `limit`. */
static bool parse_count(parse_reader *r, int64_t limit, int64_t *v)
{
    const char *start = r->at;
    if (!parse_integer(r, v))
        return false;
    if (*v >= 0 && *v < limit)
        return true;
    r->at = start;
    return parse_bad(r, "the number is out of range");
}

static int parse_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool parse_bits(parse_reader *r, double *v)
{
    uint64_t bits = 0;
    for (int i = 0; i < 16; i++, r->at++) {
        const int digit = r->at < r->end ? parse_digit(*r->at) : -1;
        if (digit < 0)
            return parse_bad(r, "expected 16 hexadecimal digits");
        bits = bits << 4 | (unsigned)digit;
    }
    memcpy(v, &bits, sizeof *v);
    return true;
}

static bool parse_real(parse_reader *r, double *v)
{
    size_t n = 0;
    if (parse_word(r, "0x"))
        return parse_bits(r, v);
    while (r->at + n < r->end && n < AG_NUMBER_TEXT &&
           (parse_is_name(r->at[n]) || strchr("+-.", r->at[n])) && r->at[n])
        n++;
    if (!ag__number_read(r->at, n, v))
        return parse_bad(r, "expected a number");
    r->at += n;
    return true;
}

/* An entry of an attribute's list. "dim2" is the size of the operand's dimension 2, "dim1-3" the
 * product of several, "other2" a size of the other operand: see AG_SIZE_OF. */
static bool parse_entry(parse_reader *r, int64_t *v)
{
    const bool other = parse_word(r, "other");
    int64_t to;
    if (!other && !parse_word(r, "dim"))
        return parse_integer(r, v);
    if (!parse_count(r, AG_MAX_DIMS, v))
        return false;
    if (other || !parse_is(r, '-')) {
        *v = other ? AG_SIZE_OF_OTHER(*v) : AG_SIZE_OF(*v);
        return true;
    }
    r->at++;
    if (!parse_count(r, AG_MAX_DIMS, &to))
        return false;
    *v = AG_SIZES_OF(*v, to);
    return true;
}

/* "[1, 2]" into list[0..*n), which has room for `room`. */
static bool parse_list(parse_reader *r, int64_t *list, int room, int *n)
{
    *n = 0;
    if (!parse_expect(r, '['))
        return false;
    for (bool more = !parse_take(r, ']'); more; more = parse_take(r, ',')) {
        if (*n == room)
            return parse_bad(r, "the list has more than %d entries", room);
        if (!parse_entry(r, &list[*n]))
            return false;
        ++*n;
    }
    return *n == 0 || parse_expect(r, ']');
}

/* ---- types and names ---- */

static bool parse_type(parse_reader *r, ag__geometry *g, bool *number)
{
    char word[64];
    int dtype = 0, n;
    const char *start = r->at;
    parse_identifier(r, word);
    while (dtype < AG_DTYPE_COUNT && strcmp(word, ag__graph_dtype((ag_dtype)dtype)) != 0)
        dtype++;
    if (dtype == AG_DTYPE_COUNT) {
        r->at = start;
        parse_blank(r);
        return parse_bad(r, "expected a type");
    }
    if (!parse_list(r, g->shape, AG_MAX_DIMS, &n))
        return false;
    g->dtype = (ag_dtype)dtype;
    g->ndim = n;
    *number = parse_is(r, '!');
    r->at += *number;
    for (int i = 0; i < n; i++)
        if (g->shape[i] < -1)
            return parse_bad(r, "the size %lld is none", (long long)g->shape[i]);
    return !*number || n == 0 || parse_bad(r, "a number has no dimensions");
}

/* The byte behind a backslash. */
static bool parse_escape(parse_reader *r, char *out)
{
    r->at++;
    if (parse_is(r, '"') || parse_is(r, '\\')) {
        *out = *r->at++;
        return true;
    }
    const bool hex = r->end - r->at >= 3 && *r->at == 'x';
    const int high = hex ? parse_digit(r->at[1]) : -1, low = hex ? parse_digit(r->at[2]) : -1;
    if (high < 0 || low < 0 || (high == 0 && low == 0))
        return parse_bad(r, "a backslash stands before \", \\ or x and two digits that are not 00");
    *out = (char)(high << 4 | low);
    r->at += 3;
    return true;
}

/* A name in quotes, in the graph's memory. */
static const char *parse_name(parse_reader *r)
{
    const char *close = ++r->at;
    while (close < r->end && *close != '"' && *close != '\n')
        close += close + 1 < r->end && *close == '\\' ? 2 : 1;
    char *name = ag__graph_alloc(r->g, (size_t)(close - r->at) + 1), *to = name;
    if (!name)
        return NULL;
    while (r->at < r->end && *r->at != '"') {
        if ((unsigned char)*r->at < ' ' || *r->at == 0x7f) {
            parse_bad(r, "a name holds a control character, or does not end");
            return NULL;
        }
        if (*r->at != '\\')
            *to++ = *r->at++;
        else if (parse_escape(r, to))
            to++;
        else
            return NULL;
    }
    if (r->at == r->end) {
        parse_bad(r, "a name does not end");
        return NULL;
    }
    r->at++;
    return name;
}

/* ---- values ---- */

/* "%4", a value of the region; -1: an error. */
static int32_t parse_value(parse_reader *r, const ag__region *region)
{
    int64_t v;
    if (!parse_expect(r, '%') || !parse_count(r, (int64_t)INT32_MAX, &v))
        return -1;
    if (v < region->n_values)
        return (int32_t)v;
    parse_bad(r, "there is no value %%%lld before this line", (long long)v);
    return -1;
}

/* "%4", the number of the next value but `behind`. */
static bool parse_define(parse_reader *r, const ag__region *region, int behind)
{
    int64_t v;
    const int expected = region->n_values + behind;
    if (!parse_expect(r, '%') || !parse_count(r, (int64_t)INT32_MAX, &v))
        return false;
    return v == expected ||
           parse_bad(r, "the next value is %%%d, not %%%lld", expected, (long long)v);
}

/* Values, and "-" where `gaps`, as long as there are some. */
static bool parse_values(parse_reader *r, const ag__region *region, bool gaps, int32_t **list,
                         int *room, int32_t *n)
{
    for (;;) {
        parse_blank(r);
        const bool gap = gaps && parse_is(r, '-');
        if (!gap && !parse_is(r, '%'))
            return true;
        int32_t *bigger = ag__make_room(r->c, *list, *n, room, 8, sizeof **list);
        if (!bigger)
            return false;
        *list = bigger;
        r->at += gap;
        bigger[*n] = gap ? -1 : parse_value(r, region);
        if (!gap && bigger[*n] < 0)
            return false;
        ++*n;
    }
}

/* ---- data ---- */

/* One element; false with an error when the dtype has no such number. */
static bool parse_element(parse_reader *r, ag_tensor *t, int64_t i)
{
    const ag_dtype d = (ag_dtype)t->dtype;
    const char *start = r->at;
    char *at = ag__at(t) + i * (int64_t)ag__itemsize(d);
    double real = 0;
    int64_t whole = 0;
    bool fits = true;
    parse_blank(r);
    if (ag__is_float(d)) {
        if (!parse_real(r, &real))
            return false;
        ag__store(d, at, 0, real);
        const double stored = ag__load(d, at, 0);
        fits = real - real != 0 || stored - stored == 0;
    } else {
        if (!parse_integer(r, &whole))
            return false;
        ag__convert(d, at, 1, AG_I64, &whole, 1, 1);
        fits = ag__load_int(d, at, 0) == whole;
    }
    if (fits)
        return true;
    r->at = start;
    return parse_bad(r, "the number is out of range for %s", ag__graph_dtype(d));
}

static bool parse_elements(parse_reader *r, ag_tensor *t)
{
    for (int64_t i = 0; i < t->numel; i++) {
        if (i > 0 && !parse_expect(r, ','))
            return false;
        if (parse_word(r, "..."))
            return parse_bad(r, "the data are cut short: this text is to be read by people");
        if (!parse_element(r, t, i))
            return false;
    }
    return parse_expect(r, ']');
}

static bool parse_bytes(parse_reader *r, ag_tensor *t)
{
    uint8_t *to = (uint8_t *)ag__at(t);
    const size_t n = (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype);
    for (size_t i = 0; i < n; i++, r->at += 2) {
        const int high = r->end - r->at >= 2 ? parse_digit(r->at[0]) : -1;
        const int low = high >= 0 ? parse_digit(r->at[1]) : -1;
        if (low < 0)
            return parse_bad(r, "expected %zu bytes in hexadecimal, got %zu", n, i);
        to[i] = (uint8_t)(high << 4 | low);
        if (t->dtype == AG_BOOL && to[i] > 1)
            return parse_bad(r, "a bool is 00 or 01");
    }
    return true;
}

/* The data of a constant or variable; before memory is asked for, the text must be long enough. */
static bool parse_data(parse_reader *r, parse_draft *d)
{
    const ag__geometry *g = &d->results[0].type;
    const ag_ints shape = { g->shape, g->ndim };
    if (d->like.op != &ag__op_constant && d->like.op != &ag__op_variable)
        return parse_bad(r, "only constants and variables have data");
    ag__quiet q;
    ag__quiet_begin(&q, r->c);
    if (!ag__rule_type(r->c, d->like.op->name, g->dtype, shape))
        return parse_refused(r, d, &q);
    ag__quiet_forget(&q, r->c);
    const bool bytes = parse_word(r, "0x");
    const int64_t numel = ag__shape_numel(shape), left = r->end - r->at;
    const int64_t least = bytes ? 2 * (int64_t)ag__itemsize(g->dtype) : 1;
    if (numel < 0 || numel > left / least)
        return parse_bad(
            r, "there are fewer data than the type says; texts for people leave some out");
    ag_tensor *t = d->like.tensor = ag__tensor_new(r->c, g->dtype, g->ndim, g->shape);
    if (!t)
        return false;
    if (d->results[0].number)
        t->flags |= AG_T_NUMBER;
    return bytes ? parse_bytes(r, t) : parse_expect(r, '[') && parse_elements(r, t);
}

/* ---- instructions ---- */

static bool parse_region(parse_reader *r, ag__region *parent, int depth, ag__region **out);

static bool parse_results(parse_reader *r, parse_draft *d)
{
    int n = 0;
    for (parse_blank(r); parse_is(r, '%'); parse_blank(r))
        if (!parse_define(r, d->r, n++))
            return false;
    d->like.n_out = n;
    return parse_expect(r, '=');
}

static bool parse_row(parse_reader *r, parse_draft *d)
{
    char word[64];
    parse_blank(r);
    const char *start = r->at;
    parse_identifier(r, word);
    d->like.op = ag__graph_row(word);
    if (d->like.op)
        return true;
    r->at = start;
    return parse_bad(r, "there is no operation '%s'", word);
}

static bool parse_result_types(parse_reader *r, parse_draft *d)
{
    for (int j = 0; j < d->like.n_out; j++) {
        parse_result *list = ag__make_room(r->c, d->results, j, &d->room_results, 1, sizeof *list);
        if (!list)
            return false;
        d->results = list;
        list[j].name = NULL;
        if (!parse_type(r, &list[j].type, &list[j].number))
            return false;
        parse_blank(r);
        if (parse_is(r, '"') && !(list[j].name = parse_name(r)))
            return false;
    }
    return true;
}

static bool parse_attrs(parse_reader *r, parse_draft *d)
{
    int64_t list[3 * AG_MAX_DIMS];
    ag__attrs *a = &d->attrs.head;
    int n = 0;
    if (parse_word(r, "p=") && !parse_real(r, &a->p))
        return false;
    if (parse_word(r, "q=") && !parse_real(r, &a->q))
        return false;
    if (parse_word(r, "i=") && !parse_list(r, a->i, AG_COUNT(a->i), &n))
        return false;
    if (!parse_word(r, "list="))
        return true;
    if (!parse_list(r, list, AG_COUNT(list), &a->n))
        return false;
    if (a->n)
        memcpy((char *)a + offsetof(ag__attrs, list), list, (size_t)a->n * sizeof *list);
    return true;
}

static bool parse_inst_line(parse_reader *r, parse_draft *d)
{
    int64_t twin = 0;
    if (!parse_results(r, d) || !parse_row(r, d) || !parse_result_types(r, d) ||
        !parse_values(r, d->r, true, &d->in, &d->room_in, &d->like.n_in) || !parse_attrs(r, d))
        return false;
    if (parse_word(r, "data=") && !parse_data(r, d))
        return false;
    if (parse_word(r, "after") &&
        !parse_values(r, d->r, false, &d->after, &d->room_after, &d->like.n_after))
        return false;
    if (r->g->traced && parse_word(r, "twin=") && !parse_count(r, INT32_MAX, &twin))
        return false;
    d->like.twin = (int32_t)twin;
    return parse_line_end(r);
}

static bool parse_regions(parse_reader *r, parse_draft *d, int depth)
{
    while (parse_more(r) && parse_is(r, '(')) {
        ag__region **list =
            ag__make_room(r->c, d->regions, d->like.n_regions, &d->room_regions, 2, sizeof *list);
        if (!list)
            return false;
        d->regions = list;
        if (!parse_region(r, d->r, depth + 1, &list[d->like.n_regions]))
            return false;
        d->like.n_regions++;
    }
    return true;
}

/* ---- what an instruction must be ---- */

/* A row of the table, as ag__run would take it. */
static bool parse_infer_row(parse_reader *r, const parse_draft *d, ag__geometry *out)
{
    const ag__inst *i = &d->like;
    const ag__op *op = i->op;
    const size_t bytes = (size_t)i->n_in * sizeof(ag_tensor *);
    ag_tensor **in = ag__alloc(r->c, bytes);
    bool ok = in != NULL;
    for (int j = 0; j < i->n_in && in; j++) {
        in[j] = ok && i->in[j] >= 0 ? ag__symbol_new(d->r, i->in[j]) : NULL;
        ok = ok && (i->in[j] < 0 || in[j]);
    }
    const ag__call call = { op, r->c, in, i->n_in, i->attrs, i->n_out };
    ok = ok && ag__infer_unknown(&call, out);
    for (int j = 0; j < i->n_in && in; j++)
        ag__tensor_unref(in[j]);
    ag__free(r->c, in, bytes);
    return ok;
}

static bool parse_check_counts(const parse_reader *r, const parse_draft *d)
{
    const ag__inst *i = &d->like;
    const ag__op *op = i->op;
    const char *what = NULL;
    bool some = false;
    for (int j = 0; j < i->n_in; j++) {
        some = some || i->in[j] >= 0;
        if (i->in[j] < 0 && (j >= 32 || !(op->optional >> j & 1u)))
            what = "an operand is missing";
    }
    if (!some || (op->n_in >= 0 && i->n_in != op->n_in))
        what = "another number of operands";
    if (op->n_out >= 0 ? i->n_out != op->n_out : i->n_out < 1 || i->n_out > UINT16_MAX)
        what = "another number of results";
    if (i->n_regions || i->attrs->n > (op == ag__ops[AG_OP_as_strided] ? 3 : 1) * AG_MAX_DIMS)
        what = "regions, or a list that is too long";
    return !what || ag_fail(r->c, AG_ERR_FORMAT, "%s: line %d: %s: %s", r->who, d->line,
                            ag__graph_row_name(op), what);
}

/* Rows that only passes make are taken as they are, and so are those whose regions passes have
 * changed. */
static bool parse_is_trusted(const parse_reader *r, const ag__op *op)
{
    return r->g->traced && !op->infer;
}

static bool parse_compare(const parse_reader *r, const parse_draft *d, const ag__geometry *out)
{
    ag__shape_text a, b;
    for (int j = 0; j < d->like.n_out; j++) {
        const parse_result *said = &d->results[j];
        const ag_ints x = { out[j].shape, out[j].ndim }, y = { said->type.shape, said->type.ndim };
        if (out[j].dtype != said->type.dtype || !ag__same_shape(x, y))
            return ag_fail(r->c, AG_ERR_FORMAT, "%s: line %d: %s gives %s%s, not %s%s", r->who,
                           d->line, ag__graph_row_name(d->like.op), ag__graph_dtype(out[j].dtype),
                           ag__shape_string(&a, x), ag__graph_dtype(said->type.dtype),
                           ag__shape_string(&b, y));
        if (said->number && !d->like.tensor)
            return ag_fail(r->c, AG_ERR_FORMAT, "%s: line %d: only a constant is a number", r->who,
                           d->line);
    }
    return true;
}

static bool parse_infer(parse_reader *r, const parse_draft *d, ag__geometry *out)
{
    const ag__op *op = d->like.op;
    for (int j = 0; j < d->like.n_out; j++)
        out[j] = d->results[j].type;
    if (parse_is_trusted(r, op))
        return true;
    if (op->infer && !parse_check_counts(r, d))
        return false;
    ag__quiet q;
    ag__quiet_begin(&q, r->c);
    if (!(op->infer ? parse_infer_row(r, d, out) : ag__graph_infer(d->r, &d->like, out)))
        return parse_refused(r, d, &q);
    ag__quiet_forget(&q, r->c);
    return parse_compare(r, d, out);
}

static bool parse_names(parse_reader *r, const parse_draft *d, int32_t first)
{
    for (int j = 0; j < d->like.n_out; j++) {
        const char *name = d->results[j].name;
        if (!name)
            continue;
        if (d->r != &r->g->main || ag__graph_named(r->g, name) >= 0)
            return ag_fail(r->c, AG_ERR_FORMAT, "%s: line %d: %s", r->who, d->line,
                           d->r != &r->g->main ? "values inside a loop or branch have no names"
                                               : "there is a value of this name before");
        if (!ag__graph_name_as(r->g, first + j, name))
            return false;
    }
    return true;
}

/* The draft becomes an instruction. */
static bool parse_add(parse_reader *r, parse_draft *d)
{
    const size_t bytes = (size_t)d->like.n_out * sizeof(ag__geometry);
    ag__geometry *out = ag__alloc(r->c, bytes);
    d->like.in = d->in;
    d->like.after = d->after;
    d->like.regions = d->regions;
    d->like.attrs = &d->attrs.head;
    if (d->like.n_after && d->r != &r->g->main)
        parse_bad(r, "dependencies inside a loop or branch");
    else if (out && parse_infer(r, d, out)) {
        const ag__inst *i = ag__region_add(d->r, &d->like, out);
        if (i) {
            d->like.tensor = NULL;
            ag__free(r->c, out, bytes);
            return parse_names(r, d, i->out);
        }
    }
    ag__free(r->c, out, bytes);
    return false;
}

static bool parse_inst(parse_reader *r, ag__region *region, int depth)
{
    parse_draft d = { .r = region, .line = r->line };
    const bool ok = parse_inst_line(r, &d) && parse_regions(r, &d, depth) && parse_add(r, &d);
    ag__tensor_unref(d.like.tensor);
    ag__free(r->c, d.in, (size_t)d.room_in * sizeof *d.in);
    ag__free(r->c, d.after, (size_t)d.room_after * sizeof *d.after);
    ag__free(r->c, d.regions, (size_t)d.room_regions * sizeof *d.regions);
    ag__free(r->c, d.results, (size_t)d.room_results * sizeof *d.results);
    return ok;
}

/* ---- regions ---- */

static bool parse_params(parse_reader *r, ag__region *region)
{
    if (!parse_expect(r, '('))
        return false;
    for (bool more = !parse_take(r, ')'); more; more = parse_take(r, ',')) {
        ag__geometry g;
        bool number;
        if (!parse_define(r, region, 0) || !parse_type(r, &g, &number) ||
            ag__region_param(region, g.dtype, (ag_ints){ g.shape, g.ndim }, number) < 0)
            return false;
    }
    return region->n_params == 0 || parse_expect(r, ')');
}

static bool parse_return(parse_reader *r, ag__region *region)
{
    int32_t *outs = NULL, n = 0;
    int room = 0;
    const bool ok = parse_values(r, region, false, &outs, &room, &n) &&
                    ag__region_set_outs(region, outs, n) && parse_line_end(r);
    ag__free(r->c, outs, (size_t)room * sizeof *outs);
    return ok;
}

/* Instructions up to something else. */
static bool parse_insts(parse_reader *r, ag__region *region, int depth)
{
    while (parse_more(r) && (parse_is(r, '%') || parse_is(r, '=')))
        if (!parse_inst(r, region, depth))
            return false;
    return true;
}

static bool parse_region(parse_reader *r, ag__region *parent, int depth, ag__region **out)
{
    if (depth > AG_GRAPH_DEPTH)
        return parse_bad(r, "regions are inside each other more than %d deep", AG_GRAPH_DEPTH);
    ag__region *region = *out = ag__region_new(r->g, parent);
    if (!region || !parse_params(r, region) || !parse_expect(r, '{') || !parse_line_end(r) ||
        !parse_insts(r, region, depth))
        return false;
    if (!parse_word(r, "return"))
        return parse_bad(r, "expected an instruction or return");
    if (!parse_return(r, region))
        return false;
    parse_more(r);
    return parse_expect(r, '}') && parse_line_end(r);
}

/* The main region of a traced graph has parameters and results. */
static bool parse_main(parse_reader *r)
{
    ag__region *region = &r->g->main;
    const bool traced = r->g->traced;
    if (traced && parse_more(r) && parse_is(r, '(') &&
        !(parse_params(r, region) && parse_line_end(r)))
        return false;
    if (!parse_insts(r, region, 0))
        return false;
    if (traced && parse_word(r, "return") && !parse_return(r, region))
        return false;
    for (int k = 0; k < region->n_insts; k++)
        if (region->insts[k].twin &&
            (region->insts[k].twin <= k || region->insts[k].twin >= region->n_insts))
            return parse_bad(r, "a twin is a later instruction");
    return !parse_more(r) || parse_bad(r, "expected an instruction");
}

static bool parse_header(parse_reader *r, bool traced, bool *finalized)
{
    int64_t version;
    if (!parse_word(r, "autograd graph"))
        return parse_bad(r, "this is no graph: the text does not begin with 'autograd graph'");
    if (!parse_integer(r, &version))
        return false;
    if (version != AG_GRAPH_VERSION)
        return parse_bad(r, "version %lld of the format; this library reads version %d",
                         (long long)version, AG_GRAPH_VERSION);
    if (parse_word(r, "traced") != traced)
        return parse_bad(r, traced ? "this is no traced graph" : "this is a traced graph");
    *finalized = parse_word(r, "finalized");
    return parse_line_end(r);
}

ag_graph *ag__graph_parse(ag_context *c, const char *who, const char *text, size_t n, bool traced)
{
    parse_reader r = { c, ag__graph_new(c, traced), who, text, text + n, text, 1 };
    bool finalized = false;
    if (!r.g)
        return NULL;
    if (parse_header(&r, traced, &finalized) && parse_main(&r)) {
        r.g->finalized = finalized;
        return r.g;
    }
    ag_graph_free(r.g);
    return NULL;
}
