/*
 * The graph behind a tensor in Graphviz' language: a box per node, leaves in another colour, an arrow
 * for each way a gradient takes. Nodes are visited with a list of their own, never by recursion, and
 * are numbered in the order of discovery: the same graph gives the same file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../autograd/node.h"

/* The nodes in order of discovery, and a table with open addressing from a node to its place. */
typedef struct {
    ag_context *c;
    const ag_node **list;
    size_t n, room;
    size_t *table; /* a place in the list, plus 1; 0 is empty */
    size_t slots;  /* a power of two, at least twice n */
} dot_nodes;

static void dot_release(dot_nodes *d)
{
    ag__free(d->c, d->list, d->room * sizeof *d->list);
    ag__free(d->c, d->table, d->slots * sizeof *d->table);
}

static size_t *dot_slot(const dot_nodes *d, const ag_node *n)
{
    size_t at = (size_t)((uintptr_t)n / 16 * 0x9E3779B97F4A7C15u) & (d->slots - 1);
    while (d->table[at] && d->list[d->table[at] - 1] != n)
        at = (at + 1) & (d->slots - 1);
    return &d->table[at];
}

static bool dot_grow(dot_nodes *d)
{
    dot_nodes bigger = { d->c, NULL, d->n, d->room ? 2 * d->room : 64, NULL, 0 };
    bigger.slots = 2 * bigger.room;
    bigger.list = ag__alloc(d->c, bigger.room * sizeof *bigger.list);
    bigger.table = bigger.list ? ag__alloc(d->c, bigger.slots * sizeof *bigger.table) : NULL;
    if (!bigger.table) {
        ag__free(d->c, bigger.list, bigger.room * sizeof *bigger.list);
        return false;
    }
    memset(bigger.table, 0, bigger.slots * sizeof *bigger.table);
    for (size_t i = 0; i < d->n; i++) {
        bigger.list[i] = d->list[i];
        *dot_slot(&bigger, d->list[i]) = i + 1;
    }
    dot_release(d);
    *d = bigger;
    return true;
}

static bool dot_add(dot_nodes *d, const ag_node *n)
{
    if (d->n == d->room && !dot_grow(d))
        return false;
    size_t *slot = dot_slot(d, n);
    if (!*slot) {
        d->list[d->n++] = n;
        *slot = d->n;
    }
    return true;
}

static void dot_name(FILE *f, const char *name)
{
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            fputc('\\', f);
        fputc((unsigned char)*name < ' ' ? ' ' : *name, f);
    }
}

static void dot_write_node(FILE *f, const dot_nodes *d, const ag_node *n)
{
    const size_t number = *dot_slot(d, n);
    ag__shape_text text;
    const ag_tensor *leaf = ag__node_leaf(n);
    const ag__output *o = ag__node_outputs(n);
    fprintf(f, "  n%zu [label=\"%s", number, ag_node_name(n));
    if (leaf && ag_name(leaf)) {
        fputs("\\n", f);
        dot_name(f, ag_name(leaf));
    }
    fprintf(f, "\\n%s\"%s];\n", ag__shape_string(&text, (ag_ints){ o->shape, o->ndim }),
            leaf ? ", fillcolor=lightblue" : "");
    for (int i = 0; i < ag_node_n_inputs(n); i++) {
        int nr = 0;
        const ag_node *next = ag_node_next(n, i, &nr);
        if (next)
            fprintf(f, "  n%zu -> n%zu;\n", number, *dot_slot(d, next));
    }
}

static bool dot_discover(dot_nodes *d, const ag_node *root)
{
    bool ok = !root || dot_add(d, root);
    for (size_t i = 0; i < d->n && ok; i++)
        for (int k = 0; k < ag_node_n_inputs(d->list[i]) && ok; k++) {
            const ag_node *next = ag_node_next(d->list[i], k, NULL);
            ok = !next || dot_add(d, next);
        }
    return ok;
}

bool ag_write_dot(ag_tensor *t, const char *path)
{
    if (!t)
        return false;
    if (!path)
        return ag_fail(t->c, AG_ERR_VALUE, "ag_write_dot: path is NULL");
    dot_nodes d = { .c = t->c };
    if (!dot_discover(&d, ag_grad_fn(t))) {
        dot_release(&d);
        return false;
    }
    FILE *f = fopen(path, "w");
    bool ok = f != NULL;
    if (f) {
        ag__shape_text text;
        fputs(
            "digraph autograd {\n  node [shape=box, style=\"rounded,filled\", fillcolor=white];\n",
            f);
        if (!t->grad_fn)
            fprintf(f, "  leaf [label=\"tensor %s\", fillcolor=lightblue];\n",
                    ag__shape_string(&text, ag__sizes(t)));
        for (size_t i = 0; i < d.n; i++)
            dot_write_node(f, &d, d.list[i]);
        fputs("}\n", f);
        ok = !ferror(f);
        ok = fclose(f) == 0 && ok;
    }
    dot_release(&d);
    return ok || ag_fail(t->c, AG_ERR_IO, "ag_write_dot: %s: %s", path, strerror(errno));
}
