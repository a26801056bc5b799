/*
 * What the text of a graph is made of: words, numbers, lists, types, names and values. A function
 * takes one from where the reader stands, or tells an error that says where that is.
 */
#include <stdarg.h>
#include <string.h>

#include "parse.h"
#include "text.h"

/* ---- errors ---- */

bool ag__parse_bad(const ag__reader *r, const char *format, ...)
{
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return ag_fail(r->c, AG_ERR_FORMAT, "%s: line %d, column %d: %s", r->who, r->line,
                   (int)(r->at - r->line_at) + 1, what);
}

/* ---- characters ---- */

bool ag__parse_is(const ag__reader *r, char c) { return r->at < r->end && *r->at == c; }

void ag__parse_blank(ag__reader *r)
{
    while (ag__parse_is(r, ' ') || ag__parse_is(r, '\t'))
        r->at++;
}

bool ag__parse_take(ag__reader *r, char c)
{
    ag__parse_blank(r);
    if (!ag__parse_is(r, c))
        return false;
    r->at++;
    return true;
}

bool ag__parse_expect(ag__reader *r, char c)
{
    return ag__parse_take(r, c) || ag__parse_bad(r, "expected '%c'", c);
}

bool ag__parse_word(ag__reader *r, const char *word)
{
    const size_t n = strlen(word);
    ag__parse_blank(r);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return false;
    r->at += n;
    return true;
}

static bool words_is_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

int ag__parse_identifier(ag__reader *r, char out[64])
{
    int n = 0;
    ag__parse_blank(r);
    while (r->at + n < r->end && n < 63 && words_is_name(r->at[n])) {
        out[n] = r->at[n];
        n++;
    }
    out[n] = '\0';
    r->at += n;
    return n;
}

static void words_next_line(ag__reader *r)
{
    r->line_at = ++r->at;
    r->line++;
}

bool ag__parse_line_end(ag__reader *r)
{
    ag__parse_blank(r);
    if (ag__parse_is(r, '#'))
        while (r->at < r->end && *r->at != '\n')
            r->at++;
    if (r->at == r->end)
        return true;
    if (*r->at != '\n')
        return ag__parse_bad(r, "expected the end of the line");
    words_next_line(r);
    return true;
}

bool ag__parse_more(ag__reader *r)
{
    for (ag__parse_blank(r); ag__parse_is(r, '\n') || ag__parse_is(r, '#'); ag__parse_blank(r))
        if (!ag__parse_line_end(r))
            return false;
    return r->at < r->end;
}

/* ---- numbers ---- */

bool ag__parse_integer(ag__reader *r, int64_t *v)
{
    ag__parse_blank(r);
    const bool negative = ag__parse_is(r, '-');
    const char *start = r->at;
    int64_t n = 0; /* negated: the least number has no opposite */
    r->at += negative;
    const char *digits = r->at;
    for (; r->at < r->end && *r->at >= '0' && *r->at <= '9'; r->at++) {
        const int digit = *r->at - '0';
        if (n < (INT64_MIN + digit) / 10 || (10 * n - digit == INT64_MIN && !negative)) {
            r->at = start;
            return ag__parse_bad(r, "the number is out of range");
        }
        n = 10 * n - digit;
    }
    if (r->at == digits) {
        r->at = start;
        return ag__parse_bad(r, "expected a whole number");
    }
    *v = negative ? n : -n;
    return true;
}

bool ag__parse_count(ag__reader *r, int64_t limit, int64_t *v)
{
    const char *start = r->at;
    if (!ag__parse_integer(r, v))
        return false;
    if (*v >= 0 && *v < limit)
        return true;
    r->at = start;
    return ag__parse_bad(r, "the number is out of range");
}

int ag__parse_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool words_bits(ag__reader *r, double *v)
{
    uint64_t bits = 0;
    for (int i = 0; i < 16; i++, r->at++) {
        const int digit = r->at < r->end ? ag__parse_digit(*r->at) : -1;
        if (digit < 0)
            return ag__parse_bad(r, "expected 16 hexadecimal digits");
        bits = bits << 4 | (unsigned)digit;
    }
    memcpy(v, &bits, sizeof *v);
    return true;
}

bool ag__parse_real(ag__reader *r, double *v)
{
    size_t n = 0;
    if (ag__parse_word(r, "0x"))
        return words_bits(r, v);
    while (r->at + n < r->end && n < AG_NUMBER_TEXT &&
           (words_is_name(r->at[n]) || strchr("+-.", r->at[n])) && r->at[n])
        n++;
    if (!ag__number_read(r->at, n, v))
        return ag__parse_bad(r, "expected a number");
    r->at += n;
    return true;
}

/* An entry of an attribute's list. "dim2" is the size of the operand's dimension 2, "dim1-3" the
 * product of several, "other2" a size of the other operand: see AG_SIZE_OF. */
static bool words_entry(ag__reader *r, int64_t *v)
{
    const bool other = ag__parse_word(r, "other");
    int64_t to;
    if (!other && !ag__parse_word(r, "dim"))
        return ag__parse_integer(r, v);
    if (!ag__parse_count(r, AG_MAX_DIMS, v))
        return false;
    if (other || !ag__parse_is(r, '-')) {
        *v = other ? AG_SIZE_OF_OTHER(*v) : AG_SIZE_OF(*v);
        return true;
    }
    r->at++;
    if (!ag__parse_count(r, AG_MAX_DIMS, &to))
        return false;
    *v = AG_SIZES_OF(*v, to);
    return true;
}

bool ag__parse_list(ag__reader *r, int64_t *list, int room, int *n)
{
    *n = 0;
    if (!ag__parse_expect(r, '['))
        return false;
    for (bool more = !ag__parse_take(r, ']'); more; more = ag__parse_take(r, ',')) {
        if (*n == room)
            return ag__parse_bad(r, "the list has more than %d entries", room);
        if (!words_entry(r, &list[*n]))
            return false;
        ++*n;
    }
    return *n == 0 || ag__parse_expect(r, ']');
}

/* ---- types and names ---- */

bool ag__parse_type(ag__reader *r, ag__geometry *g, bool *number)
{
    char word[64];
    int dtype = 0, n;
    const char *start = r->at;
    ag__parse_identifier(r, word);
    while (dtype < AG_DTYPE_COUNT && strcmp(word, ag__graph_dtype((ag_dtype)dtype)) != 0)
        dtype++;
    if (dtype == AG_DTYPE_COUNT) {
        r->at = start;
        ag__parse_blank(r);
        return ag__parse_bad(r, "expected a type");
    }
    if (!ag__parse_list(r, g->shape, AG_MAX_DIMS, &n))
        return false;
    g->dtype = (ag_dtype)dtype;
    g->ndim = n;
    *number = ag__parse_is(r, '!');
    r->at += *number;
    for (int i = 0; i < n; i++)
        if (g->shape[i] < -1)
            return ag__parse_bad(r, "the size %lld is none", (long long)g->shape[i]);
    return !*number || n == 0 || ag__parse_bad(r, "a number has no dimensions");
}

/* The byte behind a backslash. */
static bool words_escape(ag__reader *r, char *out)
{
    r->at++;
    if (ag__parse_is(r, '"') || ag__parse_is(r, '\\')) {
        *out = *r->at++;
        return true;
    }
    const bool hex = r->end - r->at >= 3 && *r->at == 'x';
    const int high = hex ? ag__parse_digit(r->at[1]) : -1,
              low = hex ? ag__parse_digit(r->at[2]) : -1;
    if (high < 0 || low < 0 || (high == 0 && low == 0))
        return ag__parse_bad(
            r, "a backslash stands before \", \\ or x and two digits that are not 00");
    *out = (char)(high << 4 | low);
    r->at += 3;
    return true;
}

const char *ag__parse_name(ag__reader *r)
{
    const char *close = ++r->at;
    while (close < r->end && *close != '"' && *close != '\n')
        close += close + 1 < r->end && *close == '\\' ? 2 : 1;
    char *name = ag__graph_alloc(r->g, (size_t)(close - r->at) + 1), *to = name;
    if (!name)
        return NULL;
    while (r->at < r->end && *r->at != '"') {
        if ((unsigned char)*r->at < ' ' || *r->at == 0x7f) {
            ag__parse_bad(r, "a name holds a control character, or does not end");
            return NULL;
        }
        if (*r->at != '\\')
            *to++ = *r->at++;
        else if (words_escape(r, to))
            to++;
        else
            return NULL;
    }
    if (r->at == r->end) {
        ag__parse_bad(r, "a name does not end");
        return NULL;
    }
    r->at++;
    return name;
}

/* ---- values ---- */

/* "%4", a value of the region; -1: an error. */
static int32_t words_value(ag__reader *r, const ag__region *region)
{
    int64_t v;
    if (!ag__parse_expect(r, '%') || !ag__parse_count(r, (int64_t)INT32_MAX, &v))
        return -1;
    if (v < region->n_values)
        return (int32_t)v;
    ag__parse_bad(r, "there is no value %%%lld before this line", (long long)v);
    return -1;
}

bool ag__parse_define(ag__reader *r, const ag__region *region, int behind)
{
    int64_t v;
    const int expected = region->n_values + behind;
    if (!ag__parse_expect(r, '%') || !ag__parse_count(r, (int64_t)INT32_MAX, &v))
        return false;
    return v == expected ||
           ag__parse_bad(r, "the next value is %%%d, not %%%lld", expected, (long long)v);
}

bool ag__parse_values(ag__reader *r, const ag__region *region, bool gaps, int32_t **list, int *room,
                      int32_t *n)
{
    for (;;) {
        ag__parse_blank(r);
        const bool gap = gaps && ag__parse_is(r, '-');
        if (!gap && !ag__parse_is(r, '%'))
            return true;
        int32_t *bigger = ag__make_room(r->c, *list, *n, room, 8, sizeof **list);
        if (!bigger)
            return false;
        *list = bigger;
        r->at += gap;
        bigger[*n] = gap ? -1 : words_value(r, region);
        if (!gap && bigger[*n] < 0)
            return false;
        ++*n;
    }
}
