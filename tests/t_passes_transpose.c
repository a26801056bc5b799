/* Transposes of products: they are computed transposed when that is all that is wanted of them. */
#include "passes.h"

static ag_graph *transposed(const ag_graph *g)
{
    return passes_run(passes_run(g, ag__pass_transpose), ag__pass_prune);
}

/* The gradient of a weight that is transposed on its way into a product. */
static void t_a_gradient_of_a_transposed_weight(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(4, 3)),
              *d = passes_param(g, AG_F32, AG_SHAPE(4, 2));
    OUTS(g, ag_t(ag_mm(ag_t(x), d)));
    CHECK_GRAPH(g, "(%0 f32[4, 3], %1 f32[4, 2])\n"
                   "%2 = t f32[3, 4] %0\n"
                   "%3 = mm f32[3, 2] %2 %1\n"
                   "%4 = t f32[2, 3] %3\n"
                   "return %4\n");
    ag_graph *after = transposed(g);
    CHECK_GRAPH(after, "(%0 f32[4, 3], %1 f32[4, 2])\n"
                       "%2 = t f32[2, 4] %1\n"
                       "%3 = mm f32[2, 3] %2 %0\n"
                       "return %3\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F32, AG_SHAPE(4, 3)),
                  ag_exp(graphs_numbers(c, AG_F32, AG_SHAPE(4, 2))));
}

static void t_biases_and_batches(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F64, AG_SHAPE(4, 3)),
              *w = passes_param(g, AG_F64, AG_SHAPE(3, 2)),
              *row = passes_param(g, AG_F64, AG_SHAPE(2)),
              *all = passes_param(g, AG_F64, AG_SHAPE(4, 1)),
              *one = passes_param(g, AG_F64, AG_SHAPE()),
              *a = passes_param(g, AG_F64, AG_SHAPE(2, 4, 3)),
              *b = passes_param(g, AG_F64, AG_SHAPE(2, 3, 5));
    OUTS(g, ag_t(ag_addmm(row, x, w, .beta = 2, .alpha = .5)), ag_t(ag_addmm(all, x, w)),
         ag_transpose(ag_addmm(one, x, w), 0, 1), ag_permute(ag_bmm(a, b), AG_SHAPE(0, 2, 1)),
         ag_transpose(ag_bmm(a, b), -1, -2));
    ag_graph *after = transposed(g);
    CHECK_GRAPH(after, "(%0 f64[4, 3], %1 f64[3, 2], %2 f64[2], %3 f64[4, 1], %4 f64[], %5 f64[2, "
                       "4, 3], %6 f64[2, 3, 5])\n"
                       "%7 = view f64[2, 1] %2 list=[2, 1]\n"
                       "%8 = t f64[2, 3] %1\n"
                       "%9 = t f64[3, 4] %0\n"
                       "%10 = addmm f64[2, 4] %7 %8 %9 p=2 q=0.5\n"
                       "%11 = t f64[1, 4] %3\n"
                       "%12 = t f64[2, 3] %1\n"
                       "%13 = t f64[3, 4] %0\n"
                       "%14 = addmm f64[2, 4] %11 %12 %13 p=1 q=1\n"
                       "%15 = t f64[2, 3] %1\n"
                       "%16 = t f64[3, 4] %0\n"
                       "%17 = addmm f64[2, 4] %4 %15 %16 p=1 q=1\n"
                       "%18 = transpose f64[2, 5, 3] %6 i=[1, 2]\n"
                       "%19 = transpose f64[2, 3, 4] %5 i=[1, 2]\n"
                       "%20 = bmm f64[2, 5, 4] %18 %19\n"
                       "%21 = transpose f64[2, 5, 3] %6 i=[1, 2]\n"
                       "%22 = transpose f64[2, 3, 4] %5 i=[1, 2]\n"
                       "%23 = bmm f64[2, 5, 4] %21 %22\n"
                       "return %10 %14 %17 %20 %23\n");
    CHECK_COMPUTE(g, after, graphs_numbers(c, AG_F64, AG_SHAPE(4, 3)),
                  graphs_numbers(c, AG_F64, AG_SHAPE(3, 2)), graphs_numbers(c, AG_F64, AG_SHAPE(2)),
                  graphs_numbers(c, AG_F64, AG_SHAPE(4, 1)), ag_scalar(c, 3, .dtype = AG_F64),
                  graphs_numbers(c, AG_F64, AG_SHAPE(2, 4, 3)),
                  graphs_numbers(c, AG_F64, AG_SHAPE(2, 3, 5)));
}

/* The product itself is wanted too, as a result, an operand, or in a region. */
static bool takes_product(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_exp(in[0]);
    return out[0] != NULL;
}

static void t_products_that_are_wanted(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(3, 3)),
              *pred = passes_param(g, AG_BOOL, AG_SHAPE());
    ag_tensor *a = ag_mm(x, x), *b = ag_mm(x, a), *d = ag_mm(b, x), *out;
    CHECK(d && ag_cond(pred, takes_product, takes_product, &d, 1, &out, 1));
    OUTS(g, a, ag_add(ag_t(b), b), ag_t(d), ag_t(a), out);
    ag_graph *after = transposed(g);
    CHECK_INT(after->main.n_insts, g->main.n_insts);
}

static void t_transposes_of_transposes(ag_context *c)
{
    ag_graph *g = passes_graph(c);
    ag_tensor *x = passes_param(g, AG_F32, AG_SHAPE(2, 3)),
              *v = passes_param(g, AG_F32, AG_SHAPE(3));
    OUTS(g, ag_t(ag_transpose(x, 0, 1)), ag_t(ag_t(v)));
    CHECK_GRAPH(transposed(g), "(%0 f32[2, 3], %1 f32[3])\n"
                               "%2 = t f32[3] %1\n"
                               "%3 = t f32[3] %2\n"
                               "return %0 %3\n");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_a_gradient_of_a_transposed_weight), TEST(t_biases_and_batches),
               TEST(t_products_that_are_wanted), TEST(t_transposes_of_transposes));
}
