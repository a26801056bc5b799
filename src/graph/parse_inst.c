/*
 * An instruction from text, in two steps: its line, and the regions that follow it, become a draft;
 * the draft becomes an instruction when it has passed what recording would have asked of it
 * (rules.h, the rows' infer). Types are inferred again and compared with what the text says, and
 * sizes are compared with the length of the text before memory is asked for.
 */
#include <string.h>

#include "parse.h"
#include "rules.h"
#include "text.h"

/* What the text says of a result. */
typedef struct {
    ag__geometry type;
    bool number;
    const char *name; /* unescaped, of the graph's memory; NULL: none */
} draft_result;

/* An instruction in the making; its lists are owned. */
typedef struct {
    ag__region *r;
    int line;
    ag__inst like;
    ag__long_attrs attrs;
    int32_t *in, *after;
    ag__region **regions;
    draft_result *results;
    int room_in, room_after, room_regions, room_results;
} draft_inst;

/* An error that a rule has told, as one of the text; a lack of memory stays what it is. */
static bool draft_refused(const ag__reader *r, const draft_inst *d, ag__quiet *q)
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

/* ---- data ---- */

/* One element; false with an error when the dtype has no such number. */
static bool draft_element(ag__reader *r, ag_tensor *t, int64_t i)
{
    const ag_dtype d = (ag_dtype)t->dtype;
    const char *start = r->at;
    char *at = ag__at(t) + i * (int64_t)ag__itemsize(d);
    double real = 0;
    int64_t whole = 0;
    bool fits = true;
    ag__parse_blank(r);
    if (ag__is_float(d)) {
        if (!ag__parse_real(r, &real))
            return false;
        ag__store(d, at, 0, real);
        const double stored = ag__load(d, at, 0);
        fits = real - real != 0 || stored - stored == 0;
    } else {
        if (!ag__parse_integer(r, &whole))
            return false;
        ag__convert(d, at, 1, AG_I64, &whole, 1, 1);
        fits = ag__load_int(d, at, 0) == whole;
    }
    if (fits)
        return true;
    r->at = start;
    return ag__parse_bad(r, "the number is out of range for %s", ag__graph_dtype(d));
}

static bool draft_elements(ag__reader *r, ag_tensor *t)
{
    for (int64_t i = 0; i < t->numel; i++) {
        if (i > 0 && !ag__parse_expect(r, ','))
            return false;
        if (ag__parse_word(r, "..."))
            return ag__parse_bad(r, "the data are cut short: this text is to be read by people");
        if (!draft_element(r, t, i))
            return false;
    }
    return ag__parse_expect(r, ']');
}

static bool draft_bytes(ag__reader *r, ag_tensor *t)
{
    uint8_t *to = (uint8_t *)ag__at(t);
    const size_t n = (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype);
    for (size_t i = 0; i < n; i++, r->at += 2) {
        const int high = r->end - r->at >= 2 ? ag__parse_digit(r->at[0]) : -1;
        const int low = high >= 0 ? ag__parse_digit(r->at[1]) : -1;
        if (low < 0)
            return ag__parse_bad(r, "expected %zu bytes in hexadecimal, got %zu", n, i);
        to[i] = (uint8_t)(high << 4 | low);
        if (t->dtype == AG_BOOL && to[i] > 1)
            return ag__parse_bad(r, "a bool is 00 or 01");
    }
    return true;
}

/* The data of a constant or variable; before memory is asked for, the text must be long enough. */
static bool draft_data(ag__reader *r, draft_inst *d)
{
    const ag__geometry *g = &d->results[0].type;
    const ag_ints shape = { g->shape, g->ndim };
    if (d->like.op != &ag__op_constant && d->like.op != &ag__op_variable)
        return ag__parse_bad(r, "only constants and variables have data");
    ag__quiet q;
    ag__quiet_begin(&q, r->c);
    if (!ag__rule_type(r->c, d->like.op->name, g->dtype, shape))
        return draft_refused(r, d, &q);
    ag__quiet_forget(&q, r->c);
    const bool bytes = ag__parse_word(r, "0x");
    const int64_t numel = ag__shape_numel(shape), left = r->end - r->at;
    const int64_t least = bytes ? 2 * (int64_t)ag__itemsize(g->dtype) : 1;
    if (numel < 0 || numel > left / least)
        return ag__parse_bad(
            r, "there are fewer data than the type says; texts for people leave some out");
    ag_tensor *t = d->like.tensor = ag__tensor_new(r->c, g->dtype, g->ndim, g->shape);
    if (!t)
        return false;
    if (d->results[0].number)
        t->flags |= AG_T_NUMBER;
    return bytes ? draft_bytes(r, t) : ag__parse_expect(r, '[') && draft_elements(r, t);
}

/* ---- instructions ---- */

static bool draft_results(ag__reader *r, draft_inst *d)
{
    int n = 0;
    for (ag__parse_blank(r); ag__parse_is(r, '%'); ag__parse_blank(r))
        if (!ag__parse_define(r, d->r, n++))
            return false;
    d->like.n_out = n;
    return ag__parse_expect(r, '=');
}

static bool draft_row(ag__reader *r, draft_inst *d)
{
    char word[64];
    ag__parse_blank(r);
    const char *start = r->at;
    ag__parse_identifier(r, word);
    d->like.op = ag__graph_row(word);
    if (d->like.op)
        return true;
    r->at = start;
    return ag__parse_bad(r, "there is no operation '%s'", word);
}

static bool draft_result_types(ag__reader *r, draft_inst *d)
{
    for (int j = 0; j < d->like.n_out; j++) {
        draft_result *list = ag__make_room(r->c, d->results, j, &d->room_results, 1, sizeof *list);
        if (!list)
            return false;
        d->results = list;
        list[j].name = NULL;
        if (!ag__parse_type(r, &list[j].type, &list[j].number))
            return false;
        ag__parse_blank(r);
        if (ag__parse_is(r, '"') && !(list[j].name = ag__parse_name(r)))
            return false;
    }
    return true;
}

static bool draft_attrs(ag__reader *r, draft_inst *d)
{
    int64_t list[3 * AG_MAX_DIMS];
    ag__attrs *a = &d->attrs.head;
    int n = 0;
    if (ag__parse_word(r, "p=") && !ag__parse_real(r, &a->p))
        return false;
    if (ag__parse_word(r, "q=") && !ag__parse_real(r, &a->q))
        return false;
    if (ag__parse_word(r, "i=") && !ag__parse_list(r, a->i, AG_COUNT(a->i), &n))
        return false;
    if (!ag__parse_word(r, "list="))
        return true;
    if (!ag__parse_list(r, list, AG_COUNT(list), &a->n))
        return false;
    if (a->n)
        memcpy((char *)a + offsetof(ag__attrs, list), list, (size_t)a->n * sizeof *list);
    return true;
}

static bool draft_line(ag__reader *r, draft_inst *d)
{
    int64_t twin = 0;
    if (!draft_results(r, d) || !draft_row(r, d) || !draft_result_types(r, d) ||
        !ag__parse_values(r, d->r, true, &d->in, &d->room_in, &d->like.n_in) || !draft_attrs(r, d))
        return false;
    if (ag__parse_word(r, "data=") && !draft_data(r, d))
        return false;
    if (ag__parse_word(r, "after") &&
        !ag__parse_values(r, d->r, false, &d->after, &d->room_after, &d->like.n_after))
        return false;
    if (r->g->traced && ag__parse_word(r, "twin=") && !ag__parse_count(r, INT32_MAX, &twin))
        return false;
    d->like.twin = (int32_t)twin;
    return ag__parse_line_end(r);
}

static bool draft_regions(ag__reader *r, draft_inst *d, int depth)
{
    while (ag__parse_more(r) && ag__parse_is(r, '(')) {
        ag__region **list =
            ag__make_room(r->c, d->regions, d->like.n_regions, &d->room_regions, 2, sizeof *list);
        if (!list)
            return false;
        d->regions = list;
        if (!ag__parse_region(r, d->r, depth + 1, &list[d->like.n_regions]))
            return false;
        d->like.n_regions++;
    }
    return true;
}

/* ---- what an instruction must be ---- */

/* A row of the table, as ag__run would take it. */
static bool draft_infer_row(ag__reader *r, const draft_inst *d, ag__geometry *out)
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

static bool draft_check_counts(const ag__reader *r, const draft_inst *d)
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
static bool draft_is_trusted(const ag__reader *r, const ag__op *op)
{
    return r->g->traced && !op->infer;
}

static bool draft_compare(const ag__reader *r, const draft_inst *d, const ag__geometry *out)
{
    ag__shape_text a, b;
    for (int j = 0; j < d->like.n_out; j++) {
        const draft_result *said = &d->results[j];
        const ag_ints x = { out[j].shape, out[j].ndim }, y = { said->type.shape, said->type.ndim };
        if (out[j].dtype != said->type.dtype || !ag__same_shape(x, y))
            return ag_fail(r->c, AG_ERR_FORMAT, "%s: line %d: %s gives %s%s, not %s%s", r->who,
                           d->line, ag__graph_row_name(d->like.op), ag__graph_dtype(out[j].dtype),
                           ag__shape_string(&a, x), ag__graph_dtype(said->type.dtype),
                           ag__shape_string(&b, y));
        if (said->number && !ag__inst_gives_number(d->r, &d->like))
            return ag_fail(
                r->c, AG_ERR_FORMAT,
                "%s: line %d: only a constant is a number, or what is computed from numbers",
                r->who, d->line);
    }
    return true;
}

static bool draft_infer(ag__reader *r, const draft_inst *d, ag__geometry *out)
{
    const ag__op *op = d->like.op;
    for (int j = 0; j < d->like.n_out; j++)
        out[j] = d->results[j].type;
    if (draft_is_trusted(r, op))
        return true;
    if (op->infer && !draft_check_counts(r, d))
        return false;
    ag__quiet q;
    ag__quiet_begin(&q, r->c);
    if (!(op->infer ? draft_infer_row(r, d, out) : ag__graph_infer(d->r, &d->like, out)))
        return draft_refused(r, d, &q);
    ag__quiet_forget(&q, r->c);
    return draft_compare(r, d, out);
}

static bool draft_names(ag__reader *r, const draft_inst *d, int32_t first)
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
static bool draft_add(ag__reader *r, draft_inst *d)
{
    const size_t bytes = (size_t)d->like.n_out * sizeof(ag__geometry);
    ag__geometry *out = ag__alloc(r->c, bytes);
    d->like.in = d->in;
    d->like.after = d->after;
    d->like.regions = d->regions;
    d->like.attrs = &d->attrs.head;
    if (d->like.n_after && d->r != &r->g->main)
        ag__parse_bad(r, "dependencies inside a loop or branch");
    else if (out && draft_infer(r, d, out)) {
        const ag__inst *i = ag__region_add(d->r, &d->like, out);
        if (i) {
            d->like.tensor = NULL;
            ag__free(r->c, out, bytes);
            return draft_names(r, d, i->out);
        }
    }
    ag__free(r->c, out, bytes);
    return false;
}

bool ag__parse_inst(ag__reader *r, ag__region *region, int depth)
{
    draft_inst d = { .r = region, .line = r->line };
    const bool ok = draft_line(r, &d) && draft_regions(r, &d, depth) && draft_add(r, &d);
    ag__tensor_unref(d.like.tensor);
    ag__free(r->c, d.in, (size_t)d.room_in * sizeof *d.in);
    ag__free(r->c, d.after, (size_t)d.room_after * sizeof *d.after);
    ag__free(r->c, d.regions, (size_t)d.room_regions * sizeof *d.regions);
    ag__free(r->c, d.results, (size_t)d.room_results * sizeof *d.results);
    return ok;
}
