/*
 * Every structured row of the operation table, and the public functions made of several, by the
 * samples of samples.def, a test for each: derivatives of the first and the second order against
 * central differences for operands in every layout; values that do not depend on the layout; runs
 * that repeat to the last bit. A row without samples is a failure.
 */
#include "autograd/node.h"
#include "samples.h"

#include <stdlib.h>

/* ---- derivatives ---- */

static void check_derivatives(ag_context *c, const sample *s, layout l)
{
    ag_tensor *leaves[SAMPLE_MAX_OPERANDS];
    sample_use use = { c, s, l, false };
    const int n = sample_operands(s);
    sample_leaves(c, s, l, leaves);
    for (int k = 0; k < n; k++)
        WATCH(leaves[k]);
    if (!ag_gradcheck(sample_run, leaves, n, &use))
        FAIL("%s, %s operands: first derivative", s->name, layout_names[l]);
    if (!ag_gradgradcheck(sample_run, leaves, n, &use))
        FAIL("%s, %s operands: second derivative", s->name, layout_names[l]);
    UNWATCH();
}

/* ---- values ---- */

/* Both have the same shape and dtype, and the same bits or, with `rounds`, nearly the same values. */
static void check_same(const sample *s, layout l, const char *what, ag_tensor *a, ag_tensor *b,
                       bool rounds)
{
    CHECK(a && b);
    bool same = ag_ndim(a) == ag_ndim(b) && ag_dtype_of(a) == ag_dtype_of(b);
    for (int i = 0; i < ag_ndim(a) && same; i++)
        same = ag_shape(a)[i] == ag_shape(b)[i];
    if (!same)
        FAIL("%s, %s operands: %s has another shape or dtype", s->name, layout_names[l], what);
    static double va[512], vb[512];
    const size_t bytes = (size_t)ag_numel(a) * ag_dtype_size(ag_dtype_of(a));
    CHECK(bytes <= sizeof va);
    CHECK(ag_copy_out(a, va, bytes) && ag_copy_out(b, vb, bytes));
    same = memcmp(va, vb, bytes) == 0;
    for (int64_t i = 0; i < ag_numel(a) && !same && rounds; i++)
        if (!harness_is_close(va[i], vb[i], 1e-14))
            FAIL("%s, %s operands: element %lld of %s is %.17g and %.17g", s->name, layout_names[l],
                 (long long)i, what, va[i], vb[i]);
    if (!same && !rounds)
        FAIL("%s, %s operands: %s differs in its last bits", s->name, layout_names[l], what);
}

/* Calls s on the views of the leaves, or on dense copies of these. */
static ag_tensor *call_on(ag_context *c, const sample *s, layout l, ag_tensor *const *leaves,
                          bool dense)
{
    ag_tensor *x[SAMPLE_MAX_OPERANDS] = { NULL };
    CHECK(sample_views(s, l, leaves, x));
    for (int k = 0; k < sample_operands(s) && dense; k++)
        CHECK(x[k] = ag_clone(x[k]));
    ag_tensor *y = s->call(c, x);
    CHECK(y);
    return y;
}

static void check_values(ag_context *c, const sample *s, layout l)
{
    ag_tensor *leaves[SAMPLE_MAX_OPERANDS];
    const int n = sample_operands(s);
    sample_leaves(c, s, l, leaves);
    for (int k = 0; k < n; k++)
        WATCH(leaves[k]);
    ag_tensor *y = call_on(c, s, l, leaves, false), *again = call_on(c, s, l, leaves, false);
    check_same(s, l, "the second result", y, again, false);
    check_same(s, l, "the result for dense copies", y, call_on(c, s, l, leaves, true),
               s->traits & ROUNDS);
    if (ag_requires_grad(y)) {
        ag_tensor *v = ag_randn_like(y), *g[SAMPLE_MAX_OPERANDS], *g_again[SAMPLE_MAX_OPERANDS];
        CHECK(v);
        CHECK(ag_grad(&y, 1, leaves, n, g, .grad_outputs = &v));
        CHECK(ag_grad(&again, 1, leaves, n, g_again, .grad_outputs = &v));
        for (int k = 0; k < n; k++)
            check_same(s, l, "the second gradient", g[k], g_again[k], false);
    }
    UNWATCH();
}

/* ---- the tests ---- */

/* When memory fails, the values of one odd layout are enough: t_faults.c differentiates. */
static void check_sample(ag_context *c, const sample *s)
{
    for (int l = 0; l < LAYOUT_COUNT; l++) {
        if ((s->traits & PLAIN && l != LAYOUT_DENSE) || (harness_faults() && l != LAYOUT_GAPPED))
            continue;
        check_values(c, s, (layout)l);
        if (!harness_faults() && !(s->traits & INTEGRAL))
            check_derivatives(c, s, (layout)l);
    }
}

#define SAMPLE(name, row, shapes, traits, call)                                                    \
    static void t_##name(ag_context *c) { check_sample(c, &samples[SAMPLE_##name]); }
#include "samples.def"

/* Operands of no elements are what kernels forget. */
static void t_every_row_has_samples(ag_context *c)
{
    (void)c;
    for (int i = 0; i < AG_OP_COUNT; i++) {
        int some = 0, empty = 0;
        for (int k = 0; k < SAMPLE_COUNT; k++) {
            some += samples[k].row == i;
            empty += samples[k].row == i && sample_is_empty(&samples[k]);
        }
        if (!ag__ops[i]->pointwise && (some == 0 || empty == 0))
            FAIL("row %d, %s, has %d samples in samples.def, %d of them without elements", i,
                 ag__ops[i]->name, some, empty);
    }
}

/* A sample is one of the row it names. */
static void t_samples_reach_their_rows(ag_context *c)
{
    for (int k = 0; k < SAMPLE_COUNT; k++) {
        const sample *s = &samples[k];
        ag_tensor *leaves[SAMPLE_MAX_OPERANDS] = { NULL };
        if (s->row < 0 || s->traits & INTEGRAL || (harness_faults() && k % 16))
            continue;
        sample_leaves(c, s, LAYOUT_DENSE, leaves);
        ag_tensor *y = s->call(c, leaves);
        CHECK(y);
        if (ag_grad_fn(y)->op != ag__ops[s->row])
            FAIL("%s made %s", s->name, ag_node_name(ag_grad_fn(y)));
    }
}

static const harness_test tests[] = {
#define SAMPLE(name, row, shapes, traits, call) TEST(t_##name),
#include "samples.def"
    TEST(t_every_row_has_samples),
    TEST(t_samples_reach_their_rows),
};

int main(int argc, char **argv)
{
    return harness_run(argc, argv, tests, (int)(sizeof tests / sizeof *tests));
}
