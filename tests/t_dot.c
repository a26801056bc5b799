/* Graphs drawn for Graphviz. */
#include "graphs.h"

#include <stdio.h>

static char text[65536];
static const char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    CHECK(f);
    const size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = '\0';
    return text;
}

static void t_writes_the_graph(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3), .requires_grad = true);
    CHECK(ag_set_name(x, "a \"name\""));
    ag_tensor *y = ag_mul(x, x);
    ag_tensor *sum = ag_sum(y);
    CHECK(ag_write_dot(sum, harness_path("graph.dot")));
    CHECK_TEXT(read_text(harness_path("graph.dot")),
               "digraph autograd {\n"
               "  node [shape=box, style=\"rounded,filled\", fillcolor=white];\n"
               "  n1 [label=\"SumBackward0\\n[]\"];\n"
               "  n1 -> n2;\n"
               "  n2 [label=\"MulBackward0\\n[2, 3]\\nself [2, 3]\\nother [2, 3]\"];\n"
               "  n2 -> n3;\n"
               "  n2 -> n3;\n"
               "  n3 [label=\"AccumulateGrad\\na \\\"name\\\"\\n[2, 3]\", fillcolor=lightblue];\n"
               "}\n");
    CHECK(ag_backward(sum));
    CHECK(ag_write_dot(y, harness_path("freed.dot")));
    CHECK(strstr(read_text(harness_path("freed.dot")),
                 "\\nself freed\\nother freed\", fillcolor=lightgrey]"));
    CHECK(ag_write_dot(x, harness_path("leaf.dot")));
    CHECK(strstr(read_text(harness_path("leaf.dot")), "tensor [2, 3]"));
}

/* More nodes than the writer's first table holds, each of them once. */
static void t_a_graph_of_many_nodes(ag_context *c)
{
    ag_tensor *y = ag_scalar(c, 1, .requires_grad = true);
    for (int i = 0; i < 200; i++)
        y = ag_mul(y, y);
    CHECK(y);
    CHECK(ag_write_dot(y, harness_path("long.dot")));
    int nodes = 0;
    for (const char *at = read_text(harness_path("long.dot")); (at = strstr(at, "label=")); at++)
        nodes++;
    CHECK_INT(nodes, 201);
}

static void t_graphs_that_cannot_be_written(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2));
    CHECK(x);
    CHECK_ERROR(ag_write_dot(x, harness_path("no/where.dot")), AG_ERR_IO, "where.dot");
    CHECK_ERROR(ag_write_dot(x, NULL), AG_ERR_VALUE, "path is NULL");
    CHECK(!ag_write_dot(NULL, "x"));
}

/* ---- static graphs ---- */

static bool twice(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_add(in[0], in[0])) != NULL;
}
static bool same(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = in[0]) != NULL;
}

static void t_writes_a_static_graph(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 2), .name = "an \"x\""), *values,
              *indices, *y;
    CHECK(x && ag_sort(x, 1, false, &values, &indices));
    CHECK(ag_control_dependencies_push(g, &indices, 1));
    ag_tensor *pred = ag_any(indices);
    ag_control_dependencies_pop(g);
    CHECK(pred && ag_cond(pred, twice, same, &values, 1, &y, 1));
    CHECK(ag_graph_write_dot(g, harness_path("static.dot")));
    CHECK_TEXT(read_text(harness_path("static.dot")),
               "digraph autograd {\n"
               "  node [shape=box, style=\"rounded,filled\", fillcolor=white];\n"
               "  r0i0 [label=\"placeholder\\nf32[-1, 2] an \\\"x\\\"\", fillcolor=lightblue];\n"
               "  r0i1 [label=\"sort\\nf32[-1, 2]\\ni64[-1, 2]\"];\n"
               "  r0i0 -> r0i1;\n"
               "  r0i2 [label=\"any\\nbool[]\"];\n"
               "  r0i1 -> r0i2 [label=\"1\"];\n"
               "  r0i1 -> r0i2 [label=\"1\", style=dashed];\n"
               "  r0i3 [label=\"cond\\nf32[-1, 2]\"];\n"
               "  r0i2 -> r0i3;\n"
               "  r0i1 -> r0i3 [label=\"0\"];\n"
               "  subgraph cluster_1 {\n"
               "  r1v0 [label=\"0\\nf32[-1, 2]\", fillcolor=lightgrey];\n"
               "  }\n"
               "  r1v0 -> r0i3 [style=dotted];\n"
               "  subgraph cluster_2 {\n"
               "  r2v0 [label=\"0\\nf32[-1, 2]\", fillcolor=lightgrey];\n"
               "  r2i0 [label=\"add\\nf32[-1, 2]\"];\n"
               "  r2v0 -> r2i0;\n"
               "  r2v0 -> r2i0;\n"
               "  }\n"
               "  r2i0 -> r0i3 [style=dotted];\n"
               "}\n");
    CHECK_ERROR(ag_graph_write_dot(g, harness_path("no/where.dot")), AG_ERR_IO, "where.dot");
    CHECK_ERROR(ag_graph_write_dot(g, NULL), AG_ERR_VALUE, "path is NULL");
    CHECK(!ag_graph_write_dot(NULL, "x"));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_writes_the_graph), TEST(t_a_graph_of_many_nodes),
               TEST(t_writes_a_static_graph), TEST(t_graphs_that_cannot_be_written));
}
