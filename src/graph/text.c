/*
 * Graphs as text. Values are numbered anew, region by region, in the order in which they are
 * defined: parameters, then results. So a text does not depend on what was recorded and undone
 * again, and what was read and is written again is the same text.
 */
#include "text.h"

#include <string.h>

typedef struct {
    ag__text *t;
    bool whole;
} text_writer;

/* A region that is being written. */
typedef struct {
    const text_writer *w;
    const ag__region *r;
    int32_t *numbers; /* of its values in the text; -1: it has none (yet) */
    int32_t n;        /* how many have one */
    int depth;
} text_region;

/* ---- small things ---- */

const char *ag__graph_dtype(ag_dtype d)
{
    static const char *const names[AG_DTYPE_COUNT] = {
        [AG_F32] = "f32", [AG_F64] = "f64",   [AG_F16] = "f16", [AG_BF16] = "bf16",
        [AG_I8] = "i8",   [AG_I16] = "i16",   [AG_I32] = "i32", [AG_I64] = "i64",
        [AG_U8] = "u8",   [AG_BOOL] = "bool",
    };
    return names[d];
}

static void text_indent(ag__text *t, int depth)
{
    for (; depth > 0; depth--)
        ag__text_string(t, "    ");
}

static void text_name(ag__text *t, const char *name)
{
    ag__text_string(t, " \"");
    for (; *name; name++) {
        const unsigned char byte = (unsigned char)*name;
        if (byte == '"' || byte == '\\')
            ag__text_format(t, "\\%c", byte);
        else if (byte < ' ' || byte == 0x7f)
            ag__text_format(t, "\\x%02x", byte);
        else
            ag__text_put(t, name, 1);
    }
    ag__text_string(t, "\"");
}

static void text_type(ag__text *t, const ag__value *v)
{
    ag__shape_text text;
    ag__text_string(t, ag__graph_dtype((ag_dtype)v->dtype));
    ag__text_string(t, ag__shape_string(&text, ag__value_shape(v)));
    ag__text_string(t, v->number ? "!" : "");
}

static void text_double(ag__text *t, const char *key, double v)
{
    char text[AG_NUMBER_TEXT];
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (bits == 0)
        return;
    ag__text_format(t, " %s=", key);
    if (ag__graph_element(text, AG_F64, &v, 0))
        ag__text_string(t, text);
    else
        ag__text_format(t, "0x%016llx", (unsigned long long)bits);
}

/* A size that is that of a dimension of an operand says so: see AG_SIZE_OF. */
static void text_integer(ag__text *t, int64_t v)
{
    const int64_t d = v < 0 ? v - AG_SIZE_OF(0) : -1, a = d / AG_MAX_DIMS - 1, b = d % AG_MAX_DIMS;
    if (d >= 0 && a < 0)
        ag__text_format(t, "dim%d", (int)b);
    else if (d >= 0 && a < AG_MAX_DIMS)
        ag__text_format(t, "dim%d-%d", (int)a, (int)b);
    else if (d >= 0 && a == AG_MAX_DIMS)
        ag__text_format(t, "other%d", (int)b);
    else
        ag__text_format(t, "%lld", (long long)v);
}

static void text_integers(ag__text *t, const char *key, const int64_t *list, int n)
{
    if (n == 0)
        return;
    ag__text_format(t, " %s=[", key);
    for (int k = 0; k < n; k++) {
        ag__text_string(t, k ? ", " : "");
        text_integer(t, list[k]);
    }
    ag__text_string(t, "]");
}

static void text_attrs(ag__text *t, const ag__attrs *a)
{
    int n = AG_COUNT(a->i);
    while (n > 0 && a->i[n - 1] == 0)
        n--;
    text_double(t, "p", a->p);
    text_double(t, "q", a->q);
    text_integers(t, "i", a->i, n);
    text_integers(t, "list", ag__long_list(a), a->n);
}

/* ---- data ---- */

bool ag__graph_element(char text[AG_NUMBER_TEXT], ag_dtype d, const void *base, int64_t i)
{
    if (!ag__is_float(d)) {
        const long long v = (long long)ag__load_int(d, base, i);
        snprintf(text, AG_NUMBER_TEXT, "%lld", v);
        return true;
    }
    const size_t size = ag__itemsize(d);
    const double v = ag__load(d, base, i);
    uint64_t again = 0;
    double read = 0;
    for (int digits = 6; digits <= 9 && d != AG_F64 && v - v == 0; digits++) {
        snprintf(text, AG_NUMBER_TEXT, "%.*g", digits, v);
        ag__plain_point(text);
        if (!ag__number_read(text, strlen(text), &read))
            continue;
        ag__store(d, &again, 0, read);
        if (!memcmp(&again, (const char *)base + i * (int64_t)size, size))
            return true;
    }
    ag__number_write(text, v);
    if (!ag__number_read(text, strlen(text), &read))
        return false;
    ag__store(d, &again, 0, read);
    return !memcmp(&again, (const char *)base + i * (int64_t)size, size);
}

/* The first n elements as numbers; false: there is one that has no text. */
static bool text_elements(ag__text *t, const ag_tensor *data, int64_t n)
{
    char element[AG_GRAPH_VALUES][AG_NUMBER_TEXT];
    for (int64_t i = 0; i < n; i++)
        if (!ag__graph_element(element[i], (ag_dtype)data->dtype, ag__at(data), i))
            return false;
    ag__text_string(t, " data=[");
    for (int64_t i = 0; i < n; i++) {
        ag__text_string(t, i ? ", " : "");
        ag__text_string(t, element[i]);
    }
    ag__text_string(t, n < data->numel ? ", ...]" : "]");
    return true;
}

/* Bytes as they lie in memory. */
static void text_bytes(ag__text *t, const ag_tensor *data, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const size_t all = (size_t)data->numel * ag__itemsize((ag_dtype)data->dtype);
    char line[256];
    size_t put = 0;
    ag__text_string(t, " data=0x");
    for (size_t i = 0; i < n; i++) {
        const uint8_t byte = (uint8_t)ag__at(data)[i];
        const uint8_t value = data->dtype == AG_BOOL ? byte != 0 : byte;
        line[put++] = digits[value >> 4];
        line[put++] = digits[value & 15];
        if (put < sizeof line && i + 1 < n)
            continue;
        ag__text_put(t, line, put);
        put = 0;
    }
    ag__text_string(t, n < all ? "..." : "");
}

static void text_data(const text_writer *w, ag_tensor *tensor)
{
    enum { SHOWN = 4 };
    ag_tensor *data = ag__ready(tensor, (ag_dtype)tensor->dtype);
    if (!data) {
        w->t->failed = true;
        return;
    }
    const bool few = data->numel <= AG_GRAPH_VALUES, all = few || w->whole;
    const size_t size = ag__itemsize((ag_dtype)data->dtype);
    const int64_t shown = all ? data->numel : SHOWN;
    if ((w->whole && !few) || !text_elements(w->t, data, shown))
        text_bytes(w->t, data, (size_t)shown * size);
    ag__tensor_unref(data);
}

/* ---- instructions ---- */

static bool text_write_region(const text_writer *w, const ag__region *r, int depth);

static int32_t text_define(text_region *at, int32_t v) { return at->numbers[v] = at->n++; }

static void text_use(const text_region *at, int32_t v)
{
    if (v < 0)
        ag__text_string(at->w->t, " -");
    else
        ag__text_format(at->w->t, " %%%d", (int)at->numbers[v]);
}

static bool text_inst(text_region *at, const ag__inst *i)
{
    ag__text *t = at->w->t;
    text_indent(t, at->depth);
    for (int j = 0; j < i->n_out; j++)
        ag__text_format(t, "%%%d ", (int)text_define(at, i->out + j));
    ag__text_string(t, "= ");
    ag__text_string(t, ag__graph_row_name(i->op));
    for (int j = 0; j < i->n_out; j++) {
        const ag__value *v = &at->r->values[i->out + j];
        ag__text_string(t, " ");
        text_type(t, v);
        if (v->name)
            text_name(t, v->name);
    }
    for (int j = 0; j < i->n_in; j++)
        text_use(at, i->in[j]);
    text_attrs(t, i->attrs);
    if (i->tensor)
        text_data(at->w, i->tensor);
    if (i->n_after)
        ag__text_string(t, " after");
    for (int j = 0; j < i->n_after; j++)
        text_use(at, i->after[j]);
    if (i->twin)
        ag__text_format(t, " twin=%d", (int)i->twin);
    ag__text_string(t, "\n");
    bool ok = true;
    for (int k = 0; k < i->n_regions && ok; k++)
        ok = text_write_region(at->w, i->regions[k], at->depth + 1);
    return ok;
}

static void text_params(text_region *at)
{
    ag__text *t = at->w->t;
    text_indent(t, at->depth);
    ag__text_string(t, "(");
    for (int k = 0; k < at->r->n_params; k++) {
        const int32_t v = at->r->params[k];
        ag__text_format(t, "%s%%%d ", k ? ", " : "", (int)text_define(at, v));
        text_type(t, &at->r->values[v]);
    }
    ag__text_string(t, ")");
}

static bool text_insts(text_region *at)
{
    bool ok = true;
    for (int k = 0; k < at->r->n_insts && ok; k++)
        ok = text_inst(at, &at->r->insts[k]);
    return ok;
}

static void text_return(text_region *at)
{
    text_indent(at->w->t, at->depth);
    ag__text_string(at->w->t, "return");
    for (int k = 0; k < at->r->n_outs; k++)
        text_use(at, at->r->outs[k]);
    ag__text_string(at->w->t, "\n");
}

static bool text_nested(text_region *at)
{
    text_params(at);
    ag__text_string(at->w->t, " {\n");
    at->depth++;
    if (!text_insts(at))
        return false;
    text_return(at);
    text_indent(at->w->t, --at->depth);
    ag__text_string(at->w->t, "}\n");
    return true;
}

/* The main region stands without braces, and mostly has neither parameters nor results. */
static bool text_main(text_region *at)
{
    if (at->r->n_params) {
        text_params(at);
        ag__text_string(at->w->t, "\n");
    }
    if (!text_insts(at))
        return false;
    if (at->r->n_outs)
        text_return(at);
    return true;
}

static bool text_write_region(const text_writer *w, const ag__region *r, int depth)
{
    ag_context *c = w->t->c;
    const size_t bytes = (size_t)r->n_values * sizeof(int32_t);
    text_region at = { w, r, ag__alloc(c, bytes), 0, depth };
    if (!at.numbers) {
        w->t->failed = true;
        return false;
    }
    for (int v = 0; v < r->n_values; v++)
        at.numbers[v] = -1;
    const bool ok = r == &r->graph->main ? text_main(&at) : text_nested(&at);
    ag__free(c, at.numbers, bytes);
    return ok && !w->t->failed;
}

/* ---- graphs ---- */

void ag__graph_write(ag__text *t, const ag_graph *g, bool whole)
{
    const text_writer w = { t, whole };
    ag__text_format(t, "autograd graph %d%s%s\n", AG_GRAPH_VERSION, g->traced ? " traced" : "",
                    g->finalized ? " finalized" : "");
    text_write_region(&w, &g->main, 0);
}

char *ag__graph_string(const ag_graph *g)
{
    ag__text t = { .c = g->c };
    ag__graph_write(&t, g, false);
    char *s = t.failed ? NULL : ag__string(g->c, t.text, t.length);
    ag__text_release(&t);
    return s;
}

char *ag_graph_to_string(ag_graph *g)
{
    return g && ag__graph_alive("graph_to_string", g) ? ag__graph_string(g) : NULL;
}
