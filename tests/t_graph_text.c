/* The text of graphs: what is written for small ones, and what is read of texts by hand. */
#include "graph_files.h"

#include "graph/text.h"

static void check_text(ag_graph *g, const char *expected)
{
    static char text[8192]; /* a check jumps */
    char *s = ag_graph_to_string(g);
    CHECK(s);
    snprintf(text, sizeof text, "%s", s);
    ag_free(s);
    CHECK_TEXT(text, expected);
}

/* A text by hand as a graph. */
static ag_graph *read_text(ag_context *c, const char *text, bool traced)
{
    ag_graph *g = ag__graph_parse(c, "text", text, strlen(text), traced);
    if (g)
        harness_defer(graphs_free_graph, g);
    return g;
}

/* ---- writing ---- */

static void t_instructions(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    check_text(g, "autograd graph 1\n");
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 3), .name = "x"),
              *w = ag_variable(g, ag_full(c, AG_SHAPE(3, 2), .5), .name = "the \"w\"\n"),
              *u = ag_variable_empty(g, AG_BOOL, AG_SHAPE()), *y, *dw;
    CHECK(x && w && u);
    y = ag_mean(ag_clamp(ag_mul(ag_matmul(x, w), 2), -1, 1), .dims = AG_DIMS(0, -1));
    CHECK(y && ag_set_name(y, "y") && ag_grad(&y, 1, &w, 1, &dw));
    CHECK(ag_assign_sub(w, dw));
    check_text(
        g, "autograd graph 1\n"
           "%0 = placeholder f32[-1, 3] \"x\"\n"
           "%1 = variable f32[3, 2] \"the \\\"w\\\"\\x0a\" data=[0.5, 0.5, 0.5, 0.5, 0.5, 0.5]\n"
           "%2 = variable bool[]\n"
           "%3 = mm f32[-1, 2] %0 %1\n"
           "%4 = constant f32[]! data=[2]\n"
           "%5 = mul f32[-1, 2] %3 %4\n"
           "%6 = clamp f32[-1, 2] %5 p=-1 q=1\n"
           "%7 = mean f32[] \"y\" %6 list=[0, -1]\n"
           "%8 = gradient f32[3, 2] %7 - %1 i=[1, 1]\n"
           "%9 = assign f32[3, 2] %1 %8 i=[2]\n");
    CHECK(ag_graph_finalize(g));
    char *s = ag_graph_to_string(g);
    const bool said = s && !strncmp(s, "autograd graph 1 finalized\n", 27);
    ag_free(s);
    CHECK(said);
}

static void t_regions(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE()), *y;
    ag_tensor *w = ag_placeholder(g, AG_F32, AG_SHAPE(2));
    CHECK(x && w && files_loop(&w, 1, &y, 1, x));
    check_text(g, "autograd graph 1\n"
                  "%0 = placeholder f32[]\n"
                  "%1 = placeholder f32[2]\n"
                  "%2 = full_like f32[2] %1\n"
                  "%3 %4 = while f32[2] f32[2] %1 %2 %0 list=[2, 0, 0, 9, 0, -1, 0, 0]\n"
                  "    (%0 f32[2], %1 f32[2], %2 f32[]) {\n"
                  "        %3 = mul f32[2] %0 %2\n"
                  "        %4 = constant f32[]! data=[1]\n"
                  "        %5 = add f32[2] %1 %4\n"
                  "        return %3 %5\n"
                  "    }\n"
                  "    (%0 f32[2], %1 f32[2], %2 f32[]) {\n"
                  "        %3 = sum f32[] %0\n"
                  "        %4 = constant f32[]! data=[50]\n"
                  "        %5 = lt bool[] %3 %4\n"
                  "        return %5\n"
                  "    }\n"
                  "%5 = add f32[2] %3 %4\n");
}

static void t_order_and_sizes(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_I64, AG_SHAPE(-1, 2, 2));
    CHECK(x && ag_control_dependencies_push(g, &x, 1));
    ag_tensor *y = ag_flatten(x, 1, 2), *both = ag_group((ag_tensor *[]){ x, y }, 2);
    ag_control_dependencies_pop(g);
    CHECK(y && both);
    check_text(g, "autograd graph 1\n"
                  "%0 = placeholder i64[-1, 2, 2]\n"
                  "%1 = view i64[-1, 4] %0 list=[dim0, 4] after %0\n"
                  "%2 = group bool[] %0 %1 after %0\n");
}

/* For people long constants are cut short; what is cut short cannot be read. */
static void t_data(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *few = ag_array(c, AG_VALUES(1, -0., INFINITY, .1, 1e-20), AG_SHAPE(5)),
              *many = ag_arange(c, 0, 20, 1, .dtype = AG_I64),
              *bits = ag_array(c, AG_VALUES(1, 0), AG_SHAPE(2)), *none = ag_zeros(c, AG_SHAPE(0));
    CHECK(few && many && bits && none);
    memcpy(ag_data(bits), &(uint32_t){ 0x7fc00001 }, 4);
    CHECK(ag_constant(g, few) && ag_constant(g, many) && ag_constant(g, bits) &&
          ag_constant(g, none));
    check_text(g, "autograd graph 1\n"
                  "%0 = constant f32[5] data=[1, -0, inf, 0.1, 1e-20]\n"
                  "%1 = constant i64[20] data=[0, 1, 2, 3, ...]\n"
                  "%2 = constant f32[2] data=0x0100c07f00000000\n"
                  "%3 = constant f32[0] data=[]\n");
    CHECK_ERROR(
        read_text(c, "autograd graph 1\n%0 = constant i64[9] data=[0, 1, 2, 3, ...]\n", false),
        AG_ERR_FORMAT,
        "text: line 2, column 43: the data are cut short: this text is to be read by people");
}

/* ---- reading ---- */

static void t_texts_by_hand(ag_context *c)
{
    ag_graph *g = read_text(c,
                            "autograd graph 1\n"
                            "\n"
                            "# a comment\n"
                            "  %0=placeholder f64[2]\"x\" # another\n"
                            "%1 = constant   f64[2] data=[ 1, 2.50 ]\t\n"
                            "%2 = constant f64[2] \"k\" data=0x0000000000000840000000000000f03f\n"
                            "%3 = mul f64[2] %0 %1\n"
                            "%4 = add f64[2] \"y\" %3 %2",
                            false);
    CHECK(g);
    check_text(g, "autograd graph 1\n"
                  "%0 = placeholder f64[2] \"x\"\n"
                  "%1 = constant f64[2] data=[1, 2.5]\n"
                  "%2 = constant f64[2] \"k\" data=[3, 1]\n"
                  "%3 = mul f64[2] %0 %1\n"
                  "%4 = add f64[2] \"y\" %3 %2\n");
    ag_session *s = graphs_session(g, AG_BACKEND_INTERPRET);
    ag_tensor *x = ag_array(c, AG_VALUES(10, 100), AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *y = ag_graph_find(g, "y");
    CHECK_VALUES(FETCH(s, y, { ag_graph_find(g, "x"), x }), AG_SHAPE(2), AG_VALUES(13, 251), 0);
}

/* Traced graphs have parameters and results; rows of theirs are taken as they say. */
static void t_traced_graphs(ag_context *c)
{
    static const char text[] = "autograd graph 1 traced\n"
                               "(%0 f32[2], %1 f32[]!)\n"
                               "%2 = mul f32[2] %0 %1\n"
                               "%3 = while f32[2] %2 list=[1, 0, 0, 0, 0, -1, 0, 0] twin=1\n"
                               "    (%0 f32[2]) {\n"
                               "        return %0\n"
                               "    }\n"
                               "    (%0 f32[2]) {\n"
                               "        %1 = isnan bool[2] %0\n"
                               "        %2 = any bool[] %1\n"
                               "        return %2\n"
                               "    }\n"
                               "%4 %5 = while f32[2] i64[] %2 list=[1, 0, 0, 0, 0, -1, 0, 1]\n"
                               "    (%0 f32[2]) {\n"
                               "        return %0\n"
                               "    }\n"
                               "return %3 %5\n";
    char whole[1024];
    snprintf(whole, sizeof whole, "%s", text);
    *strstr(whole, "twin=1") = '\0';
    snprintf(whole + strlen(whole), sizeof whole - strlen(whole), "twin=2%s",
             strstr(text, "twin=1") + 6);
    CHECK_ERROR(read_text(c, text, true), AG_ERR_FORMAT, "a twin is a later instruction");
    ag_graph *g = read_text(c, whole, true);
    CHECK(g);
    check_text(g, whole);
    CHECK_ERROR(read_text(c, whole, false), AG_ERR_FORMAT,
                "text: line 1, column 24: this is a traced graph");
    CHECK_ERROR(ag_graph_save(g, harness_path("traced")), AG_ERR_UNSUPPORTED, "compiled function");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_instructions), TEST(t_regions), TEST(t_order_and_sizes), TEST(t_data),
               TEST(t_texts_by_hand), TEST(t_traced_graphs));
}
