/*
 * A static graph in Graphviz' language: a box per instruction with its row, its name and the types of
 * its results, an arrow from what it uses, dashed where it only comes after. Regions are clusters: their
 * parameters are grey, and arrows of the instruction that owns them lead to it, not into them. Sources are
 * blue. The same graph gives the same file.
 */
#include <string.h>

#include "../graph/text.h"
#include "file.h"

typedef struct {
    ag__text t;
    int regions; /* that were written so far */
} dot_graph_writer;

static void dot_graph_text(ag__text *t, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            ag__text_put(t, "\\", 1);
        ag__text_put(t, (unsigned char)*text < ' ' ? " " : text, 1);
    }
}

static void dot_graph_type(ag__text *t, const ag__value *v)
{
    ag__shape_text text;
    ag__text_format(t, "\\n%s", ag__graph_dtype((ag_dtype)v->dtype));
    ag__text_string(t, ag__shape_string(&text, ag__value_shape(v)));
    if (!v->name)
        return;
    ag__text_string(t, " ");
    dot_graph_text(t, v->name);
}

/* The box of a value: its instruction's, or that of a parameter. */
static void dot_graph_place(ag__text *t, const ag__region *r, int number, int32_t v)
{
    if (r->values[v].inst >= 0)
        ag__text_format(t, "r%di%d", number, (int)r->values[v].inst);
    else
        ag__text_format(t, "r%dv%d", number, (int)v);
}

static void dot_graph_arrow(ag__text *t, const ag__region *r, int number, int32_t from,
                            const char *to, const char *style)
{
    ag__text_string(t, "  ");
    dot_graph_place(t, r, number, from);
    ag__text_format(t, " -> %s", to);
    const int32_t inst = r->values[from].inst;
    const bool several = inst >= 0 && r->insts[inst].n_out > 1;
    if (several)
        ag__text_format(t, " [label=\"%d\"%s%s]", (int)(from - r->insts[inst].out),
                        *style ? ", " : "", style);
    else if (*style)
        ag__text_format(t, " [%s]", style);
    ag__text_string(t, ";\n");
}

static void dot_graph_region(dot_graph_writer *w, const ag__region *r, const char *owner);

static void dot_graph_inst(dot_graph_writer *w, const ag__region *r, int number, int k)
{
    const ag__inst *i = &r->insts[k];
    ag__text *t = &w->t;
    char box[32];
    const bool source =
        i->op == &ag__op_placeholder || i->op == &ag__op_variable || i->op == &ag__op_constant;
    snprintf(box, sizeof box, "r%di%d", number, k);
    ag__text_format(t, "  %s [label=\"%s", box, ag__graph_row_name(i->op));
    for (int j = 0; j < i->n_out; j++)
        dot_graph_type(t, &r->values[i->out + j]);
    ag__text_format(t, "\"%s];\n", source ? ", fillcolor=lightblue" : "");
    for (int j = 0; j < i->n_in; j++)
        if (i->in[j] >= 0)
            dot_graph_arrow(t, r, number, i->in[j], box, "");
    for (int j = 0; j < i->n_after; j++)
        dot_graph_arrow(t, r, number, i->after[j], box, "style=dashed");
    for (int j = 0; j < i->n_regions; j++)
        dot_graph_region(w, i->regions[j], box);
}

static void dot_graph_insts(dot_graph_writer *w, const ag__region *r, int number)
{
    for (int k = 0; k < r->n_params; k++) {
        ag__text_format(&w->t, "  r%dv%d [label=\"%d", number, (int)r->params[k], k);
        dot_graph_type(&w->t, &r->values[r->params[k]]);
        ag__text_string(&w->t, "\", fillcolor=lightgrey];\n");
    }
    for (int k = 0; k < r->n_insts; k++)
        dot_graph_inst(w, r, number, k);
}

/* A region inside a box around it. Its results go to the instruction that owns it. */
static void dot_graph_region(dot_graph_writer *w, const ag__region *r, const char *owner)
{
    const int number = ++w->regions;
    ag__text_format(&w->t, "  subgraph cluster_%d {\n", number);
    dot_graph_insts(w, r, number);
    ag__text_string(&w->t, "  }\n");
    for (int k = 0; k < r->n_outs; k++)
        dot_graph_arrow(&w->t, r, number, r->outs[k], owner, "style=dotted");
}

static void dot_graph_all(dot_graph_writer *w, const ag_graph *g)
{
    ag__text_string(
        &w->t,
        "digraph autograd {\n  node [shape=box, style=\"rounded,filled\", fillcolor=white];\n");
    dot_graph_insts(w, &g->main, 0);
    ag__text_string(&w->t, "}\n");
}

static bool dot_graph_write(FILE *f, void *graph)
{
    const ag_graph *g = graph;
    dot_graph_writer w = { .t = { .c = g->c, .f = f } };
    dot_graph_all(&w, g);
    return !w.t.failed;
}

char *ag__graph_dot(const ag_graph *g)
{
    dot_graph_writer w = { .t = { .c = g->c } };
    dot_graph_all(&w, g);
    char *s = w.t.failed ? NULL : ag__string(g->c, w.t.text, w.t.length);
    ag__text_release(&w.t);
    return s;
}

bool ag_graph_write_dot(ag_graph *g, const char *path)
{
    return g && ag__graph_alive("graph_write_dot", g) &&
           ag__file_replace(g->c, "ag_graph_write_dot", path, dot_graph_write, g);
}
