/*
 * The graph behind a tensor in Graphviz' language: a box per node with its name, the shapes of its
 * results and what it saved; an arrow for each way a gradient takes, with the number of the result
 * where there are several. Leaves are blue, with their name; nodes whose saved values were given up
 * are grey. Nodes are numbered in the order of discovery: the same graph gives the same file.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../autograd/saved.h"
#include "../autograd/view.h"

static void dot_name(FILE *f, const char *name)
{
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            fputc('\\', f);
        fputc((unsigned char)*name < ' ' ? ' ' : *name, f);
    }
}

static void dot_write_saved(FILE *f, const ag_node *n)
{
    ag__shape_text text;
    const ag__saved *s = ag__node_saved(n);
    for (int i = 0; i < n->n_saved; i++) {
        fprintf(f, "\\n%s ", ag_node_saved_name(n, i));
        if (n->freed)
            fputs("freed", f);
        else if (s[i].is_packed)
            fputs("packed", f);
        else if (s[i].tensor)
            fputs(ag__shape_string(&text, ag__sizes(s[i].tensor)), f);
        else
            fputs("none", f);
    }
}

static void dot_write_node(FILE *f, const ag__pointers *nodes, const ag_node *n)
{
    const size_t number = ag__pointers_number(nodes, n);
    ag__shape_text text;
    const ag_tensor *leaf = ag__node_leaf(n);
    const ag__output *o = ag__node_outputs(n);
    fprintf(f, "  n%zu [label=\"%s", number, ag_node_name(n));
    if (leaf && ag_name(leaf)) {
        fputs("\\n", f);
        dot_name(f, ag_name(leaf));
    }
    for (int j = 0; j < n->n_out; j++)
        fprintf(f, "%s%s", j ? " " : "\\n",
                ag__shape_string(&text, (ag_ints){ o[j].shape, o[j].ndim }));
    dot_write_saved(f, n);
    fprintf(f, "\"%s];\n",
            leaf       ? ", fillcolor=lightblue"
            : n->freed ? ", fillcolor=lightgrey"
                       : "");
    for (int i = 0; i < n->n_in; i++) {
        const ag__edge *e = &n->edges[i];
        if (!e->node)
            continue;
        fprintf(f, "  n%zu -> n%zu", number, ag__pointers_number(nodes, e->node));
        if (e->node->n_out > 1)
            fprintf(f, " [label=\"%d\"]", (int)e->nr);
        fputs(";\n", f);
    }
}

bool ag_write_dot(ag_tensor *t, const char *path)
{
    if (!t)
        return false;
    if (!path)
        return ag_fail(t->c, AG_ERR_VALUE, "ag_write_dot: path is NULL");
    if (ag__is_symbolic(t))
        return ag_fail(t->c, AG_ERR_GRAPH,
                       "ag_write_dot: the tensor is symbolic; ag_graph_write_dot draws its graph");
    ag__pointers nodes = { .c = t->c };
    if (!ag__fresh(t))
        return false;
    if (!ag__node_reach(t->grad_fn, &nodes)) {
        ag__pointers_release(&nodes);
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
        for (size_t i = 0; i < nodes.n; i++)
            dot_write_node(f, &nodes, nodes.list[i]);
        fputs("}\n", f);
        ok = !ferror(f);
        ok = fclose(f) == 0 && ok;
    }
    ag__pointers_release(&nodes);
    return ok || ag_fail(t->c, AG_ERR_IO, "ag_write_dot: %s: %s", path, strerror(errno));
}
