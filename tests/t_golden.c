/*
 * Golden values: cases made by PyTorch and kept in golden/NAME.txt (golden/cases.py describes them).
 * Each runs through the public functions: the result, its gradients by the engine's plain pass and by
 * the one that builds a graph, and the gradients of these; in float64, and in float32 where a case
 * says that it holds there.
 *
 * A disagreement is printed and counted, so that one run shows all of them.
 */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

#include "golden/golden.h"

/* max(1, |expected|) times this. Cases are conditioned well enough for 1e-10 (cases.py measures it);
 * in float32 they amplify 1e-7 by up to 1e4. A case of float32 itself is held to
 * its last two bits, which the functions of libraries differ in; results of other dtypes are exact. */
static const double tolerance_f64 = 1e-10, tolerance_f32 = 3e-3;

typedef struct {
    ag_context *c;
    const char *file;
    const golden_case *k;
    ag_dtype floats; /* f32 or f64: of the leaves that are f64 in the file */
    double tolerance;
    int bad; /* disagreements so far, in this file */
    ag_tensor *values[GOLDEN_LEAVES + GOLDEN_STEPS];
    ag_tensor *wanted[GOLDEN_LEAVES + 1]; /* leaves with gradients, then v */
    int leaf[GOLDEN_LEAVES], n_wanted;
} run;

/* ---- comparing ---- */

static void disagree(run *r, const char *what, int i, double is, double expected)
{
    const ag_status *status = ag_error(r->c);
    if (harness_faults())
        FAIL("golden/%s.txt:%d: %s", r->file, r->k->line, what);
    fprintf(stderr, "golden/%s.txt:%d: %s in %s: %s[%d] is %.17g, expected %.17g%s%s\n", r->file,
            r->k->line, r->k->name, ag_dtype_name(r->floats), what, i, is, expected,
            status ? ": " : "", status ? status->message : "");
    r->bad++;
}

/* PyTorch rounds a gradient after each operation in it, our fused loops once: two units. */
static double rounding(ag_dtype d)
{
    return d == AG_F16 ? 0x1p-9 : d == AG_BF16 ? 0x1p-6 : d == AG_F32 ? 0x1p-22 : 0;
}

/* Of a gradient t, which was computed in the dtype of y and may have become another one's. */
static double gradient_tolerance(const run *r, ag_tensor *t)
{
    return fmax(r->tolerance, fmax(rounding(ag_dtype_of(t)), rounding(r->k->y.dtype)));
}

static void compare(run *r, const char *what, ag_tensor *t, const golden_numbers *expected)
{
    if (!t || ag_numel(t) != expected->n) {
        disagree(r, what, -1, t ? (double)ag_numel(t) : NAN, expected->n);
        return;
    }
    const double tolerance = strcmp(what, "y") == 0 ? r->tolerance : gradient_tolerance(r, t);
    int64_t index[AG_MAX_DIMS] = { 0 };
    for (int k = 0; k < expected->n; k++) {
        const double v = ag_at_index(t, (ag_ints){ index, ag_ndim(t) }), e = expected->data[k];
        if (e != GOLDEN_UNKNOWN && !harness_is_close(v, e, tolerance))
            disagree(r, what, k, v, e);
        for (int d = ag_ndim(t) - 1; d >= 0 && ++index[d] == ag_shape(t)[d]; d--)
            index[d] = 0;
    }
}

static void compare_y(run *r, ag_tensor *y)
{
    const golden_tensor *e = &r->k->y;
    const ag_dtype dtype = e->dtype == AG_F64 ? r->floats : e->dtype;
    if (!y) {
        disagree(r, "y", -1, NAN, 0);
        return;
    }
    if (ag_dtype_of(y) != dtype)
        disagree(r, "dtype of y", -1, ag_dtype_of(y), dtype);
    bool same = ag_ndim(y) == e->ndim;
    for (int d = 0; d < e->ndim && same; d++)
        same = ag_shape(y)[d] == e->shape[d];
    if (!same)
        disagree(r, "shape of y", -1, ag_ndim(y), e->ndim);
    else
        compare(r, "y", y, &e->values);
}

/* ---- running ---- */

/* The numbers of pattern() in golden/cases.py. */
static ag_tensor *pattern(ag_tensor *like, int stream, bool grad)
{
    ag_context *c = ag_context_of(like);
    const ag_ints shape = { ag_shape(like), ag_ndim(like) };
    double data[4096];
    for (int k = 0; k < ag_numel(like); k++)
        data[k] = (2 * ((7 * k + 5 * stream + 3) % 17) - 15) / 16.0;
    const ag_values values = { data, (int)ag_numel(like) };
    return ag_array(c, values, shape, .dtype = ag_dtype_of(like), .requires_grad = grad);
}

static bool make_leaves(run *r)
{
    r->n_wanted = 0;
    for (int i = 0; i < r->k->n_leaves; i++) {
        const golden_tensor *x = &r->k->leaves[i];
        const ag_dtype dtype = x->dtype == AG_F64 ? r->floats : x->dtype;
        const ag_values values = { x->values.data, x->values.n };
        const ag_ints shape = { x->shape, x->ndim };
        r->values[i] = ag_array(r->c, values, shape, .dtype = dtype, .requires_grad = x->grad);
        if (!r->values[i])
            return false;
        if (x->grad) {
            r->leaf[r->n_wanted] = i;
            r->wanted[r->n_wanted++] = r->values[i];
        }
    }
    return true;
}

/* The last step's result; NULL with an error. */
static ag_tensor *run_steps(run *r)
{
    const golden_case *k = r->k;
    if (!make_leaves(r))
        return NULL;
    for (int i = 0; i < k->n_steps; i++)
        if (!(r->values[k->n_leaves + i] = golden_run(&k->steps[i], r->values)))
            return NULL;
    return r->values[k->n_leaves + k->n_steps - 1];
}

static void compare_gradients(run *r, ag_tensor *const *g, const char *name,
                              const golden_numbers *e)
{
    for (int i = 0; i < r->n_wanted; i++) {
        char what[32];
        snprintf(what, sizeof what, "%s%d", name, r->leaf[i]);
        if (g[i] && ag_dtype_of(g[i]) != ag_dtype_of(r->wanted[i]))
            disagree(r, what, -1, ag_dtype_of(g[i]), ag_dtype_of(r->wanted[i]));
        compare(r, what, g[i], &e[r->leaf[i]]);
    }
}

/* Gradients of sum over i of sum(g_i u_i); what depends on nothing has the gradient 0. */
static void check_second(run *r, ag_tensor *const *g, ag_tensor *v)
{
    ag_tensor *total = NULL, *h[GOLDEN_LEAVES + 1] = { NULL };
    for (int i = 0; i < r->n_wanted; i++) {
        ag_tensor *term = ag_sum(ag_mul(g[i], pattern(g[i], r->leaf[i] + 1, false)));
        total = total ? ag_add(total, term) : term;
    }
    r->wanted[r->n_wanted] = v;
    bool ok = total != NULL;
    if (ok && ag_requires_grad(total))
        ok = ag_grad(&total, 1, r->wanted, r->n_wanted + 1, h, .allow_unused = true,
                     .materialize_grads = true);
    else
        for (int i = 0; i <= r->n_wanted && ok; i++)
            ok = (h[i] = ag_zeros_like(r->wanted[i])) != NULL;
    if (!ok) {
        disagree(r, "h", -1, NAN, 0);
        return;
    }
    compare_gradients(r, h, "h", r->k->h);
    compare(r, "hv", h[r->n_wanted], &r->k->hv);
}

static void check_gradients(run *r, ag_tensor *y)
{
    ag_tensor *g[GOLDEN_LEAVES] = { NULL }, *v = pattern(y, 0, true);
    ag_tensor *total = ag_sum(ag_mul(y, v));
    if (!total || !ag_grad(&total, 1, r->wanted, r->n_wanted, g, .retain_graph = true,
                           .allow_unused = true, .materialize_grads = true)) {
        disagree(r, "g", -1, NAN, 0);
        return;
    }
    compare_gradients(r, g, "g", r->k->g);
    if (!ag_grad(&total, 1, r->wanted, r->n_wanted, g, .create_graph = true, .allow_unused = true,
                 .materialize_grads = true)) {
        disagree(r, "composed g", -1, NAN, 0);
        return;
    }
    compare_gradients(r, g, "composed g", r->k->g);
    if (r->k->hv.data)
        check_second(r, g, v);
}

static void check_case(run *r, ag_dtype floats)
{
    const golden_case *k = r->k;
    r->floats = floats;
    r->tolerance = floats == AG_F32       ? tolerance_f32
                   : k->y.dtype == AG_F64 ? tolerance_f64
                   : k->y.dtype == AG_F32 ? rounding(AG_F32)
                                          : 0;
    AG_SCOPE (r->c) {
        ag_tensor *y = run_steps(r);
        compare_y(r, y);
        if (y && r->n_wanted && k->g[r->leaf[0]].data)
            check_gradients(r, y);
    }
    if (ag_error(r->c) && !harness_faults())
        ag_error_clear(r->c);
}

/* Whether an earlier case of the file ends with the same operation. */
static bool seen(const golden_file *f, int k)
{
    const char *name = f->cases[k].steps[f->cases[k].n_steps - 1].name;
    for (int i = 0; i < k; i++)
        if (strcmp(f->cases[i].steps[f->cases[i].n_steps - 1].name, name) == 0)
            return true;
    return false;
}

static void check_file(ag_context *c, const char *name)
{
    const golden_file *f = golden_read(name);
    run r = { .c = c, .file = name };
    CHECK(f->n > 0);
    for (int i = 0; i < f->n; i++) {
        r.k = &f->cases[i];
        if (harness_faults() && seen(f, i))
            continue;
        check_case(&r, AG_F64);
        if (r.k->f32 && !harness_faults())
            check_case(&r, AG_F32);
    }
    if (r.bad)
        FAIL("golden/%s.txt: %d disagreements in %d cases", name, r.bad, f->n);
}

static void t_unary(ag_context *c) { check_file(c, "unary"); }
static void t_binary(ag_context *c) { check_file(c, "binary"); }
static void t_reductions(ag_context *c) { check_file(c, "reductions"); }
static void t_choices(ag_context *c) { check_file(c, "choices"); }
static void t_shapes(ag_context *c) { check_file(c, "shapes"); }
static void t_products(ag_context *c) { check_file(c, "products"); }
static void t_norms(ag_context *c) { check_file(c, "norms"); }
static void t_losses(ag_context *c) { check_file(c, "losses"); }
static void t_indexing(ag_context *c) { check_file(c, "indexing"); }
static void t_dtypes(ag_context *c) { check_file(c, "dtypes"); }
static void t_expressions(ag_context *c) { check_file(c, "expressions"); }

/* ---- tables of dtypes ---- */

enum { TABLE_CELLS = 32, TABLE_CELL = 8, TABLE_SHOWN = 10 };
typedef struct {
    char name[GOLDEN_NAME];
    int n;
    char column[TABLE_CELLS][TABLE_CELL], cell[TABLE_CELLS][TABLE_CELL];
} table;

/* Words of the line after its label: n of them. */
static int table_words(char *line, char (*words)[TABLE_CELL])
{
    int n = 0;
    for (char *w = strtok(line, " "); w && n < TABLE_CELLS; w = strtok(NULL, " "))
        snprintf(words[n++], TABLE_CELL, "%s", w);
    return n;
}

/* "f32" is a tensor of two ones, "f32." a 0-dim one, "int" and "real" are numbers. */
static golden_operand table_operand(ag_context *c, const char *kind, int at, ag_tensor **values)
{
    char name[TABLE_CELL];
    snprintf(name, sizeof name, "%s", kind);
    if (strcmp(kind, "int") == 0 || strcmp(kind, "real") == 0)
        return (golden_operand){ .kind = *kind == 'i' ? GOLDEN_INTEGER : GOLDEN_REAL, .number = 1 };
    char *dot = strchr(name, '.');
    if (dot)
        *dot = '\0';
    const ag_dtype dtype = (ag_dtype)golden_dtype(name);
    values[at] = dot ? ag_scalar(c, 1, .dtype = dtype) : ag_ones(c, AG_SHAPE(2), .dtype = dtype);
    CHECK(values[at]);
    return (golden_operand){ .value = at };
}

static void table_add(golden_step *s, const char *name, double number)
{
    golden_argument *a = &s->arguments[s->n_arguments++];
    *a = (golden_argument){ .n = 1, .list = { (int64_t)number }, .number = number };
    snprintf(a->name, sizeof a->name, "%s", name);
}

/* The dtype of NAME(a, b), or of NAME(a) without b; "-" for an error. */
static const char *table_answer(ag_context *c, const char *name, const char *a, const char *b)
{
    static const char *const names[] = { "f32", "f64", "f16", "bf16", "i8",
                                         "i16", "i32", "i64", "u8",   "bool" };
    ag_tensor *values[3] = { NULL }, *y = NULL;
    golden_step s = { 0 };
    snprintf(s.name, sizeof s.name, "%s", name);
    const bool where = strcmp(name, "where") == 0, lerp = strcmp(name, "lerp") == 0;
    if (where)
        s.operands[s.n++] = table_operand(c, "bool", 2, values);
    s.operands[s.n++] = table_operand(c, a, 0, values);
    if (b)
        s.operands[s.n++] = table_operand(c, b, 1, values);
    if (lerp)
        s.operands[s.n++] = (golden_operand){ .kind = GOLDEN_REAL, .number = .5 };
    table_add(&s, "lo", -1);
    table_add(&s, "hi", 1);
    table_add(&s, "alpha", 1);
    y = golden_run(&s, values);
    const ag_status *status = ag_error(c);
    if (y)
        return names[ag_dtype_of(y)];
    if (!status || status->code == AG_ERR_MEMORY)
        FAIL("%s(%s, %s) failed", name, a, b ? b : "");
    ag_error_clear(c);
    return "-";
}

static int table_row(ag_context *c, const table *t, const char *label)
{
    int bad = 0;
    const bool single = strcmp(t->name, "single") == 0;
    for (int k = 0; k < t->n; k++) {
        if (strcmp(t->cell[k], "?") == 0)
            continue;
        const char *is = NULL;
        AG_SCOPE (c)
            is = single ? table_answer(c, label, t->column[k], NULL)
                        : table_answer(c, t->name, label, t->column[k]);
        CHECK(is);
        if (strcmp(is, t->cell[k]) == 0)
            continue;
        if (++bad <= TABLE_SHOWN)
            fprintf(stderr, "golden/promotion.txt: %s of %s and %s is %s, expected %s\n", t->name,
                    label, t->column[k], is, t->cell[k]);
    }
    return bad;
}

static void t_promotion(ag_context *c)
{
    static char *kept, *text; /* the file, and a copy to take apart; static: checks may jump */
    if (!kept) {
        kept = golden_text("promotion");
        text = golden_text("promotion");
    }
    memcpy(text, kept, strlen(kept));
    table t = { 0 };
    int bad = 0, rows = 0;
    for (char *line = text, *end; line && *line; line = end) {
        char label[GOLDEN_NAME] = "";
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        if (sscanf(line, "table %23s", t.name) == 1) {
            t.n = 0;
        } else if (*line == ' ' && t.n == 0) {
            t.n = table_words(line, t.column);
        } else if (*line != '#' && sscanf(line, "%23s", label) == 1) {
            if (table_words(line + strlen(label), t.cell) != t.n)
                FAIL("golden/promotion.txt: a row of another length: %s %s", t.name, label);
            if (!harness_faults() || rows % 11 == 0)
                bad += table_row(c, &t, label);
            rows++;
        }
    }
    CHECK(rows > 0);
    if (bad)
        FAIL("golden/promotion.txt: %d disagreements", bad);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_unary), TEST(t_binary), TEST(t_reductions), TEST(t_choices), TEST(t_shapes),
               TEST(t_products), TEST(t_norms), TEST(t_losses), TEST(t_indexing), TEST(t_promotion),
               TEST(t_dtypes), TEST(t_expressions));
}
