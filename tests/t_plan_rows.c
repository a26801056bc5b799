/*
 * Plans of single rows: all samples of samples.def, whose operands are views inside the graph or
 * arguments in odd layouts, and all pointwise rows for several dtypes, of one element and of more.
 */
#include "plans.h"
#include "samples.h"

#include "ops/pointwise.h"

/* ---- samples ---- */

static bool sample_traced(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    return sample_run(in, n, out, m, arg);
}

static bool sample_plain(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const sample_use *use = arg;
    (void)n, (void)m;
    return (out[0] = use->s->call(use->c, in)) != NULL;
}

/* Some samples ask for what only tensors with data have. */
static bool can_be_traced(ag_context *c, const plans_case *k)
{
    ag_graph *g = plans_traced(c, k->fn, k->arg, k->args, k->n, 1);
    const bool can = g || ag_error(c)->code == AG_ERR_MEMORY;
    ag_graph_free(g);
    if (!can)
        ag_error_clear(c);
    return can;
}

static void check_sample(ag_context *c, const sample *s)
{
    for (int l = 0; l < LAYOUT_COUNT; l++) {
        if ((s->traits & PLAIN && l != LAYOUT_DENSE) || (harness_faults() && l != LAYOUT_GAPPED))
            continue;
        sample_use use = { c, s, (layout)l, false };
        plans_case k = {
            .fn = sample_traced, .arg = &use, .n = sample_operands(s), .m = 1, .name = s->name
        };
        ag_tensor *leaves[SAMPLE_MAX_OPERANDS];
        sample_leaves(c, s, (layout)l, k.args);
        sample_leaves(c, s, (layout)l, k.others);
        memcpy(leaves, k.args, sizeof leaves);
        if (!can_be_traced(c, &k))
            continue;
        plans_check(c, &k);
        if (l == LAYOUT_DENSE || harness_faults())
            continue;
        k.fn = sample_plain;
        k.others[0] = NULL;
        CHECK(sample_views(s, (layout)l, leaves, k.args));
        plans_check(c, &k);
    }
}

#define SAMPLE(name, row, shapes, traits, call)                                                    \
    static void t_##name(ag_context *c) { check_sample(c, &samples[SAMPLE_##name]); }
#include "samples.def"

/* Those that cannot be traced: strides are nothing that symbolic tensors have. */
static void t_samples_without_a_plan(ag_context *c)
{
    char names[512] = "";
    for (int i = 0; i < SAMPLE_COUNT && !harness_faults(); i++) {
        sample_use use = { c, &samples[i], LAYOUT_DENSE, false };
        plans_case k = {
            .fn = sample_traced, .arg = &use, .n = sample_operands(&samples[i]), .m = 1
        };
        sample_leaves(c, &samples[i], LAYOUT_DENSE, k.args);
        if (can_be_traced(c, &k))
            continue;
        CHECK(strlen(names) + strlen(samples[i].name) + 2 < sizeof names);
        strcat(names, names[0] ? " " : "");
        strcat(names, samples[i].name);
    }
    if (!harness_faults())
        CHECK_TEXT(names, "as_strided as_strided_windows as_strided_repeats as_strided_of_turned "
                          "as_strided_of_spread as_strided_of_windows as_strided_of_part "
                          "as_strided_0dim as_strided_no_elements as_strided_empty");
}

/* ---- pointwise rows ---- */

static bool row_traced(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const ag__op *op = arg;
    (void)m;
    const ag__attrs attrs = { .p = .25, .q = 2 };
    return (out[0] = ag__run1(op, in, n, &attrs)) != NULL;
}

/* Numbers of the row's domain. */
static ag_tensor *row_operand(ag_context *c, const ag__op *op, ag_ints shape, ag_dtype dtype)
{
    const double lo = op->pointwise->lo, hi = op->pointwise->hi;
    ag_tensor *t = ag_rand(c, shape, .dtype = AG_F64);
    CHECK(t);
    double *v = ag_data(t);
    for (int64_t i = 0; i < ag_numel(t) && lo < hi; i++)
        v[i] = lo + (hi - lo) * v[i];
    CHECK(t = ag_to(t, dtype));
    if (!ag__is_float(dtype)) /* nothing divides by 0 */
        CHECK(t = ag_to(ag_add(t, ag_eq(t, 0)), dtype));
    return t;
}

static void check_row(ag_context *c, const ag__op *op, ag_ints shape, ag_dtype first,
                      ag_dtype second)
{
    plans_case k = {
        .fn = row_traced, .arg = (void *)(uintptr_t)op, .n = op->n_in, .m = 1, .name = op->name
    };
    for (int i = 0; i < op->n_in; i++) {
        k.args[i] = row_operand(c, op, shape, i == 1 ? second : first);
        k.others[i] = row_operand(c, op, shape, i == 1 ? second : first);
    }
    if (can_be_traced(c, &k))
        plans_check(c, &k);
}

static void t_pointwise_rows(ag_context *c)
{
    const ag_dtype pairs[][2] = { { AG_F32, AG_F32 }, { AG_F64, AG_F64 },   { AG_I64, AG_I64 },
                                  { AG_F32, AG_I32 }, { AG_BOOL, AG_BOOL }, { AG_F16, AG_F64 },
                                  { AG_I32, AG_U8 } };
    for (int row = 0; row < AG_OP_COUNT; row++)
        for (int p = 0; p < AG_COUNT(pairs) && ag__ops[row]->pointwise; p++) {
            if (harness_faults() && (row + p) % 29)
                continue;
            AG_SCOPE (c) {
                check_row(c, ag__ops[row], AG_SHAPE(), pairs[p][0], pairs[p][1]);
                check_row(c, ag__ops[row], AG_SHAPE(3, 7), pairs[p][0], pairs[p][1]);
            }
        }
}

static const harness_test tests[] = {
#define SAMPLE(name, row, shapes, traits, call) TEST(t_##name),
#include "samples.def"
    TEST(t_samples_without_a_plan),
    TEST(t_pointwise_rows),
};

int main(int argc, char **argv)
{
    return harness_run(argc, argv, tests, (int)(sizeof tests / sizeof *tests));
}
