/*
 * The text of the table is C: it was written to a file and compiled (tests/text), and computes here
 * what the library computes, values and gradients of every pointwise row.
 */
#include "harness.h"
#include "ops/pointwise.h"
#include "text/rows.h"

enum { POINTS = 7 };

/* Compares function k of a row with t, element by element of the operands in x. */
static void check_text(const ag__op *op, int k, const ag__attrs *attrs, ag_tensor *g,
                       ag_tensor *const *x, ag_tensor *y, ag_tensor *t)
{
    text_fn *f = text_rows[op->pointwise->index].of[k];
    CHECK(f);
    for (int i = 0; i < POINTS; i++) {
        double v[3] = { 0 };
        for (int j = 0; j < op->n_in; j++)
            v[j] = ag_at(x[j], i);
        const double value = f(ag_at(g, i), v[0], v[1], v[2], ag_at(y, i), attrs->p, attrs->q);
        if (!harness_is_close(value, ag_at(t, i), 1e-12))
            FAIL("%s, function %d, at %g %g %g: its text gives %.17g, the library %.17g", op->name,
                 k, v[0], v[1], v[2], value, ag_at(t, i));
    }
}

static void check_row(ag_context *c, const ag__op *op)
{
    const ag__pointwise *row = op->pointwise;
    const ag__attrs attrs = { .p = 1, .q = 2 };
    const double lo = op->vjp ? row->lo : -1, hi = op->vjp ? row->hi : 1;
    ag_tensor *x[3] = { NULL }, *y = NULL, *grads[3] = { NULL };
    for (int j = 0; j < op->n_in; j++) {
        x[j] = ag_add(ag_mul(ag_rand(c, AG_SHAPE(POINTS), .dtype = AG_F64), hi - lo), lo);
        CHECK(ag_requires_grad_(x[j], true));
    }
    ag_tensor *g = ag_randn(c, AG_SHAPE(POINTS), .dtype = AG_F64);
    CHECK(g && (y = ag__run1(op, x, op->n_in, &attrs)));
    check_text(op, 0, &attrs, g, x, y, y);
    if (!op->vjp)
        return;
    CHECK(ag_grad(&y, 1, x, op->n_in, grads, .grad_outputs = &g));
    for (int j = 0; j < op->n_in; j++)
        check_text(op, 1 + j, &attrs, g, x, y, grads[j]);
}

static void t_text_computes_what_the_rows_compute(ag_context *c)
{
    for (int i = 0; i < AG_OP_COUNT; i++)
        if (ag__ops[i]->pointwise && (!harness_faults() || i % 16 == 0))
            AG_SCOPE (c)
                check_row(c, ag__ops[i]);
}

int main(int argc, char **argv) { return RUN(TEST(t_text_computes_what_the_rows_compute)); }
