/*
 * Printing as PyTorch does it: four digits, columns of one width, the edges of large tensors, and a
 * suffix that says what the numbers do not.
 *
 * One pass over the elements to be shown finds the format (how many columns, plain or scientific),
 * a second one writes them. Digits come from snprintf; a locale's decimal point is replaced.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../autograd/view.h"
#include "../base/text.h"
#include "tensor.h"

enum { PRINT_LINE = 80, PRINT_EDGE = 3, PRINT_THRESHOLD = 1000, PRINT_NUMBER = 400 };

typedef struct {
    const ag_tensor *t;
    ag__text out;
    bool is_float, integral, scientific, summarize;
    int width;
    int line;           /* length of the last line */
    double least, most; /* absolute values of the finite, nonzero elements */
} printer;

static void print_text(printer *p, const char *text) { ag__text_string(&p->out, text); }

static void print_spaces(printer *p, int n)
{
    for (; n > 0; n--)
        print_text(p, " ");
}

/* One number in the format found so far, without padding. */
static void print_number(const printer *p, int64_t at, char text[PRINT_NUMBER])
{
    const ag_dtype d = (ag_dtype)p->t->dtype;
    if (d == AG_BOOL) {
        snprintf(text, PRINT_NUMBER, "%s", ag__load_int(d, ag__at(p->t), at) ? "True" : "False");
        return;
    }
    if (!p->is_float) {
        snprintf(text, PRINT_NUMBER, "%lld", (long long)ag__load_int(d, ag__at(p->t), at));
        return;
    }
    const double v = ag__load(d, ag__at(p->t), at);
    if (isnan(v) || isinf(v))
        snprintf(text, PRINT_NUMBER, "%s", isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
    else if (p->scientific)
        snprintf(text, PRINT_NUMBER, "%.4e", v);
    else if (p->integral)
        snprintf(text, PRINT_NUMBER, "%.0f.", v);
    else
        snprintf(text, PRINT_NUMBER, "%.4f", v);
    ag__plain_point(text);
}

/* ---- the elements that are shown ---- */

typedef void print_visit(printer *p, int64_t at);

static void print_each(printer *p, int dim, int64_t at, print_visit *visit)
{
    const ag_tensor *t = p->t;
    if (dim == t->ndim) {
        visit(p, at);
        return;
    }
    const int64_t n = t->dims[dim], stride = t->dims[t->ndim + dim];
    const bool cut = p->summarize && n > 2 * PRINT_EDGE;
    for (int64_t i = 0; i < n; i++) {
        if (cut && i == PRINT_EDGE)
            i = n - PRINT_EDGE;
        print_each(p, dim + 1, at + i * stride, visit);
    }
}

static void print_look(printer *p, int64_t at)
{
    const double v = ag__load((ag_dtype)p->t->dtype, ag__at(p->t), at), a = fabs(v);
    if (!p->is_float || isnan(v) || isinf(v) || v == 0)
        return;
    p->integral = p->integral && ceil(v) == v;
    p->least = p->most == 0 || a < p->least ? a : p->least;
    p->most = a > p->most ? a : p->most;
}

/* Numbers that are not finite, and zeros, take the width that the others have. */
static void print_measure(printer *p, int64_t at)
{
    const double v = p->is_float ? ag__load((ag_dtype)p->t->dtype, ag__at(p->t), at) : 1;
    char text[PRINT_NUMBER];
    if (isnan(v) || isinf(v) || v == 0)
        return;
    print_number(p, at, text);
    const int n = (int)strlen(text);
    p->width = n > p->width ? n : p->width;
}

/* ---- layout ---- */

static void print_padded(printer *p, int64_t at)
{
    char text[PRINT_NUMBER];
    print_number(p, at, text);
    print_spaces(p, p->width - (int)strlen(text));
    print_text(p, text);
}

static void print_row(printer *p, int64_t at, int indent)
{
    const ag_tensor *t = p->t;
    const int64_t n = t->dims[t->ndim - 1], stride = t->dims[2 * t->ndim - 1];
    const bool cut = p->summarize && n > 2 * PRINT_EDGE;
    const int fit = (PRINT_LINE - indent) / (p->width + 2), per_line = fit > 1 ? fit : 1;
    const int64_t shown = cut ? 2 * PRINT_EDGE + 1 : n;
    print_text(p, "[");
    for (int64_t k = 0; k < shown; k++) {
        if (k > 0)
            print_text(p, k % per_line ? ", " : ",\n");
        if (k > 0 && k % per_line == 0)
            print_spaces(p, indent + 1);
        if (cut && k == PRINT_EDGE)
            print_text(p, " ...");
        else
            print_padded(p, at + (cut && k > PRINT_EDGE ? n - shown + k : k) * stride);
    }
    print_text(p, "]");
}

static void print_block(printer *p, int dim, int64_t at, int indent)
{
    const ag_tensor *t = p->t;
    if (dim == t->ndim) {
        print_padded(p, at);
        return;
    }
    if (dim == t->ndim - 1) {
        print_row(p, at, indent);
        return;
    }
    const int64_t n = t->dims[dim], stride = t->dims[t->ndim + dim];
    const bool cut = p->summarize && n > 2 * PRINT_EDGE;
    print_text(p, "[");
    for (int64_t i = 0; i < n; i++) {
        if (i > 0) {
            print_text(p, ",");
            for (int k = dim; k < t->ndim - 1; k++)
                print_text(p, "\n");
            print_spaces(p, indent + 1);
        }
        if (cut && i == PRINT_EDGE) {
            print_text(p, "...");
            i = n - PRINT_EDGE - 1;
            continue;
        }
        print_block(p, dim + 1, at + i * stride, indent + 1);
    }
    print_text(p, "]");
}

/* ---- suffixes ---- */

/* The length of the last line is counted as PyTorch does: two more than there are, until a suffix
 * has begun a line. */
static void print_suffix(printer *p, const char *before, const char *text, const char *after)
{
    const int n = (int)(strlen(before) + strlen(text) + strlen(after));
    const int indent = (int)strlen("tensor(");
    if (p->line + n + 2 > PRINT_LINE) {
        print_text(p, ",\n");
        print_spaces(p, indent);
        p->line = indent + n;
    } else {
        print_text(p, ", ");
        p->line += n + 2;
    }
    print_text(p, before);
    print_text(p, text);
    print_text(p, after);
}

static void print_suffixes(printer *p)
{
    const ag_tensor *t = p->t;
    size_t line = 0;
    while (line < p->out.length && p->out.text[p->out.length - 1 - line] != '\n')
        line++;
    p->line = (int)line + 2;
    if (t->numel == 0 && t->ndim != 1) {
        ag__shape_text buffer;
        ag__shape_string(&buffer, ag__sizes(t));
        buffer.text[strlen(buffer.text) - 1] = '\0'; /* without its brackets */
        print_suffix(p, "size=(", buffer.text + 1, ")");
    }
    const bool usual =
        t->dtype == AG_F32 || (t->numel && (t->dtype == AG_I64 || t->dtype == AG_BOOL));
    if (!usual)
        print_suffix(p, "dtype=torch.", ag_dtype_name((ag_dtype)t->dtype), "");
    if (t->grad_fn)
        print_suffix(p, "grad_fn=<", ag_node_name(t->grad_fn), ">");
    else if (ag__wants_grad(t))
        print_suffix(p, "requires_grad=True", "", "");
}

/* ---- public ---- */

char *ag_to_string(ag_tensor *t)
{
    if (!ag__has_data("ag_to_string", t) || !ag__fresh(t))
        return NULL;
    printer p = { .t = t,
                  .out = { .c = t->c },
                  .is_float = ag__is_float((ag_dtype)t->dtype),
                  .integral = true,
                  .width = 1,
                  .summarize = t->numel > PRINT_THRESHOLD };
    print_text(&p, "tensor(");
    if (t->numel == 0) {
        print_text(&p, "[]");
    } else {
        print_each(&p, 0, 0, print_look);
        p.scientific = p.most > 0 && (p.most / p.least > 1000 || p.most > 1e8 || p.least < 1e-4);
        print_each(&p, 0, 0, print_measure);
        print_block(&p, 0, 0, (int)strlen("tensor("));
    }
    print_suffixes(&p);
    print_text(&p, ")");
    char *text = p.out.failed ? NULL : ag__string(t->c, p.out.text, p.out.length);
    ag__text_release(&p.out);
    return text;
}

void ag_print(ag_tensor *t)
{
    char *text = ag_to_string(t);
    if (text)
        puts(text);
    ag_free(text);
}
