/*
 * Every pointwise row of the operation table: gradients and gradients of gradients against central
 * differences, on all kinds of operands; the tangent against the gradient; masks and text of a row.
 * When memory fails a few rows stand for all: t_faults.c has the others.
 */
#include "harness.h"

#include "ops/pointwise.h"

typedef struct {
    const ag__op *op;
    ag__attrs attrs;
    bool transposed;
} row_call;

static row_call row_for(const ag__op *op)
{
    row_call r = { op, { .p = 1, .q = 2 }, false };
    if (op == ag__ops[AG_OP_clamp] || op == ag__ops[AG_OP_hardtanh])
        r.attrs = (ag__attrs){ .p = -.9, .q = .9 };
    return r;
}

static bool run_row(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const row_call *r = user;
    ag_tensor *view[3] = { NULL };
    (void)m;
    for (int i = 0; i < n; i++)
        view[i] = r->transposed ? ag_transpose(in[i], 0, 1) : in[i];
    out[0] = ag__run1(r->op, view, n, &r->attrs);
    return out[0] != NULL;
}

static ag_tensor *draw(ag_context *c, const ag__pointwise *row, ag_ints shape)
{
    ag_tensor *u = ag_rand(c, shape, .dtype = AG_F64);
    ag_tensor *x = ag_add(ag_mul(u, row->hi - row->lo), row->lo);
    return ag_requires_grad_(ag_detach(x), true);
}

/* The pointwise rows that have gradients; few of them when every allocation fails in turn. */
static bool row_is_tested(int i)
{
    const bool few = i == AG_OP_tanh || i == AG_OP_div || i == AG_OP_where;
    return ag__ops[i]->pointwise && ag__ops[i]->vjp && (few || !harness_faults());
}

static void check_row(ag_context *c, const ag__op *op, const ag_ints *shapes, bool transposed)
{
    row_call r = row_for(op);
    r.transposed = transposed;
    AG_SCOPE (c) {
        ag_tensor *in[3] = { NULL };
        for (int i = 0; i < op->n_in; i++)
            WATCH(in[i] = draw(c, op->pointwise, shapes[i]));
        /* The gradient of sinc2 is the last that is written. */
        const bool twice = op != ag__ops[AG_OP_sinc2];
        const bool ok = ag_gradcheck(run_row, in, op->n_in, &r) &&
                        (!twice || ag_gradgradcheck(run_row, in, op->n_in, &r));
        if (!ok)
            FAIL("%s (%s)", op->name, transposed ? "transposed" : "plain");
        UNWATCH();
    }
}

static void t_gradients_of_all_rows(ag_context *c)
{
    const ag_ints plain[] = { AG_SHAPE(2, 3), AG_SHAPE(2, 3), AG_SHAPE(2, 3) };
    const ag_ints broadcast[] = { AG_SHAPE(2, 1), AG_SHAPE(3), AG_SHAPE(1, 3) };
    const ag_ints scalars[] = { AG_SHAPE(), AG_SHAPE(), AG_SHAPE() };
    const ag_ints mixed[] = { AG_SHAPE(), AG_SHAPE(2), AG_SHAPE() };
    const ag_ints empty[] = { AG_SHAPE(0, 3), AG_SHAPE(1, 3), AG_SHAPE(0, 1) };
    for (int i = 0; i < AG_OP_COUNT; i++) {
        const ag__op *op = ag__ops[i];
        if (!row_is_tested(i))
            continue;
        check_row(c, op, mixed, false);
        if (harness_faults())
            continue;
        check_row(c, op, plain, false);
        check_row(c, op, plain, true);
        check_row(c, op, broadcast, false);
        check_row(c, op, scalars, false);
        check_row(c, op, empty, false);
    }
}

/* The fused loop and the composition are two readings of one expression. */
static void t_fused_gradient_is_the_composition(ag_context *c)
{
    for (int i = 0; i < AG_OP_COUNT; i++) {
        const ag__op *op = ag__ops[i];
        if (!row_is_tested(i))
            continue;
        row_call r = row_for(op);
        AG_SCOPE (c) {
            ag_tensor *in[3] = { NULL }, *fused[3], *composed[3], *y;
            for (int k = 0; k < op->n_in; k++)
                in[k] = draw(c, op->pointwise, AG_SHAPE(7));
            CHECK(run_row(in, op->n_in, &y, 1, &r));
            ag_tensor *v = ag_randn(c, AG_SHAPE(7), .dtype = AG_F64);
            CHECK(ag_grad(&y, 1, in, op->n_in, fused, .grad_outputs = &v, .retain_graph = true));
            CHECK(ag_grad(&y, 1, in, op->n_in, composed, .grad_outputs = &v, .create_graph = true));
            for (int k = 0; k < op->n_in; k++)
                for (int j = 0; j < 7; j++)
                    if (fabs(ag_at(fused[k], j) - ag_at(composed[k], j)) >
                        1e-12 * (1 + fabs(ag_at(fused[k], j))))
                        FAIL("%s, operand %d: %.17g and %.17g", op->name, k, ag_at(fused[k], j),
                             ag_at(composed[k], j));
        }
    }
}

/* <v, tangent> = sum of <gradient, operand's tangent>. */
static void t_tangent_is_the_adjoint_of_the_gradient(ag_context *c)
{
    for (int i = 0; i < AG_OP_COUNT; i++) {
        const ag__op *op = ag__ops[i];
        if (!row_is_tested(i))
            continue;
        row_call r = row_for(op);
        AG_SCOPE (c) {
            ag_tensor *in[3] = { NULL }, *t[3] = { NULL }, *g[3], *y;
            for (int k = 0; k < op->n_in; k++) {
                in[k] = draw(c, op->pointwise, AG_SHAPE(5));
                t[k] = ag_randn(c, AG_SHAPE(5), .dtype = AG_F64);
            }
            CHECK(run_row(in, op->n_in, &y, 1, &r));
            ag_tensor *v = ag_randn(c, AG_SHAPE(5), .dtype = AG_F64);
            CHECK(ag_grad(&y, 1, in, op->n_in, g, .grad_outputs = &v, .retain_graph = true));
            ag_tensor *tangent = ag__pointwise_jvp(op, &r.attrs, in, y, t);
            double left = ag_item(ag_sum(ag_mul(v, tangent))), right = 0;
            for (int k = 0; k < op->n_in; k++)
                right += ag_item(ag_sum(ag_mul(g[k], t[k])));
            if (!(fabs(left - right) <= 1e-10 * (1 + fabs(left))))
                FAIL("%s: %.17g and %.17g", op->name, left, right);
        }
    }
}

static void t_readings_of_known_rows(ag_context *c)
{
    (void)c;
    const ag__pointwise *tanh_row = ag__ops[AG_OP_tanh]->pointwise;
    CHECK_TEXT(tanh_row->text[0], "ag_tanh(a)");
    CHECK_TEXT(tanh_row->text[1], "(g * ((T)(1) - ag_square(y)))");
    CHECK_INT(ag__pointwise_needs(ag__ops[AG_OP_tanh], 1), AG_SAVE_OUTPUT);
    CHECK_INT(ag__pointwise_needs(ag__ops[AG_OP_mul], 1), 2); /* only a wanted: b is saved */
    CHECK_INT(ag__pointwise_needs(ag__ops[AG_OP_mul], 3), 3);
    CHECK_INT(ag__pointwise_needs(ag__ops[AG_OP_add], 3), 0);
    CHECK_INT(ag__ops[AG_OP_mul]->pointwise->cost, 1);
    CHECK_INT(ag__ops[AG_OP_silu]->pointwise->cost, 4);
}

static void t_rows_are_complete(ag_context *c)
{
    (void)c;
    for (int i = 0; i < AG_OP_COUNT; i++) {
        const ag__op *op = ag__ops[i];
        CHECK(op->name);
        CHECK(op->infer);
        CHECK(op->is_view || op->is_hidden_view || op->kernel);
        CHECK((op->kind == AG_KIND_NODIFF) == (op->vjp == NULL));
        CHECK(!op->vjp || op->node_name);
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_gradients_of_all_rows), TEST(t_fused_gradient_is_the_composition),
               TEST(t_tangent_is_the_adjoint_of_the_gradient), TEST(t_readings_of_known_rows),
               TEST(t_rows_are_complete));
}
