/*
 * Every loop of the pointwise rows, of every instruction set that this machine has, against the
 * same row computed number by number with libm: on the row's domain, on numbers of any size, on the
 * special ones. A loop's value for an element never depends on where it stands nor on its
 * neighbours; rows of exactly rounded operations are the same bits everywhere. And every way in
 * which operands lie in memory gives the bits of operands without gaps.
 */
#include "harness.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels/pointwise.h"
#include "kernels/special.h"
#include "ops/pointwise.h"

#define T float
#define M(name) name##f
#define AG__FN(name) f32_##name
#define AG__HUGEST FLT_MAX
#include "rows_scalar_tpl.h"
#undef T
#undef M
#undef AG__FN
#undef AG__HUGEST

#define T double
#define M(name) name
#define AG__FN(name) f64_##name
#define AG__HUGEST DBL_MAX
#include "rows_scalar_tpl.h"
#undef T
#undef M
#undef AG__FN
#undef AG__HUGEST

#define T long double /* what the others round */
#define M(name) name##l
#define AG__FN(name) wide_##name
#define AG__HUGEST LDBL_MAX
#include "rows_scalar_tpl.h"
#undef T
#undef M
#undef AG__FN
#undef AG__HUGEST

/* ---- one array of operands ---- */

enum { DOMAIN = 256, ANYWHERE = 512, COUNT = 1360 }; /* where each kind of operand ends */

typedef struct {
    const ag__op *op;
    int type; /* AG_LOOP_F32 or AG_LOOP_F64 */
    int k;    /* the gradient of operand k, -1: the value */
    double p, q;
    size_t size;
    _Alignas(64) unsigned char data[AG_LOOP_MAX_DATA][COUNT * sizeof(double)]; /* out g a b c y */
} arrays;

static uint64_t random_bits(uint64_t *state)
{
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state;
}

static void put(arrays *x, int k, int i, double v)
{
    const float f = (float)v;
    const void *from = x->type == AG_LOOP_F32 ? (const void *)&f : &v;
    memcpy(x->data[k] + (size_t)i * x->size, from, x->size);
}

static double get(const arrays *x, int k, int i)
{
    float f;
    double v;
    memcpy(x->type == AG_LOOP_F32 ? (void *)&f : &v, x->data[k] + (size_t)i * x->size, x->size);
    return x->type == AG_LOOP_F32 ? (double)f : v;
}

/* A number of any sign and magnitude. */
static double any_number(int type, uint64_t bits)
{
    const uint32_t low = (uint32_t)bits;
    float f;
    double v;
    memcpy(&f, &low, sizeof f);
    memcpy(&v, &bits, sizeof v);
    return type == AG_LOOP_F32 ? (double)f : v;
}

/* Zeros, ones, halves, ends of ranges: of both types, then of each. */
enum { SPECIALS = 29 };

static double special(int type, int i)
{
    static const double both[] = { 0.,   -0., 1,  -1,  INFINITY, -INFINITY, NAN, .5,   -.5,  2,
                                   -2.5, 3,   20, -20, 126,      -40,       1e5, -1e9, 1e30, 15.5 };
    static const double own[2][SPECIALS - AG_COUNT(both)] = {
        { 1e-45, -1e-40, FLT_MIN, FLT_MAX, -FLT_MAX, 88.8, -104, 1e20, 8388607.5 },
        { 5e-324, -1e-310, DBL_MIN, DBL_MAX, -DBL_MAX, 709.9, -745.5, 1e200, 4503599627370495.5 }
    };
    const int n = i % SPECIALS;
    return n < AG_COUNT(both) ? both[n] : own[type == AG_LOOP_F64][n - AG_COUNT(both)];
}

static void fill(arrays *x)
{
    const ag__pointwise *row = x->op->pointwise;
    uint64_t state = 88172645463325252u;
    for (int i = 0; i < COUNT; i++)
        for (int k = 1; k < AG_LOOP_MAX_DATA; k++) {
            const uint64_t bits = random_bits(&state);
            const double u = (double)(bits >> 11) * 0x1p-53;
            const int turn = i - ANYWHERE;
            if (i < DOMAIN)
                put(x, k, i, row->lo + (row->hi - row->lo) * u);
            else if (i < ANYWHERE)
                put(x, k, i, any_number(x->type, bits));
            else
                put(x, k, i,
                    special(x->type, k == 2   ? turn
                                     : k == 3 ? turn / SPECIALS
                                              : (int)(bits % SPECIALS)));
        }
}

static void set_attributes(arrays *x)
{
    const bool bounds = x->op == ag__ops[AG_OP_clamp] || x->op == ag__ops[AG_OP_hardtanh];
    x->p = bounds ? -.875 : 1;
    x->q = bounds ? .875 : 2;
}

/* data[0] of an array: the loop over elements [from, from + n). */
static void run(const ag__loop_set *set, arrays *x, int from, int n)
{
    const ag__loops *loops = &set->rows[x->op->pointwise->index];
    char *at[AG_LOOP_MAX_DATA];
    const bool test = x->op->pointwise->predicate;
    at[0] = (char *)x->data[0] + (size_t)from * (test ? 1 : x->size);
    for (int k = 1; k < AG_LOOP_MAX_DATA; k++) /* values begin with a, gradients with g */
        at[k] = (char *)x->data[x->k >= 0 || k == 5 ? k : k + 1] + (size_t)from * x->size;
    (x->k < 0 ? loops->value[x->type] : loops->gradient[x->k][x->type])(n, at, x->p, x->q);
}

static long double wide(const arrays *x, int i)
{
    const wide_row *row = &wide_rows[x->op->pointwise->index];
    return (x->k < 0 ? row->value : row->gradient[x->k])(get(x, 1, i), get(x, 2, i), get(x, 3, i),
                                                         get(x, 4, i), get(x, 5, i), x->p, x->q);
}

static double narrow(const arrays *x, int i)
{
    const int row = x->op->pointwise->index;
    const double v[] = { 0, get(x, 1, i), get(x, 2, i), get(x, 3, i), get(x, 4, i), get(x, 5, i) };
    if (x->type == AG_LOOP_F64)
        return (x->k < 0 ? f64_rows[row].value
                         : f64_rows[row].gradient[x->k])(v[1], v[2], v[3], v[4], v[5], x->p, x->q);
    return (double)(x->k < 0 ? f32_rows[row].value
                             : f32_rows[row].gradient[x->k])((float)v[1], (float)v[2], (float)v[3],
                                                             (float)v[4], (float)v[5], x->p, x->q);
}

/* ---- comparisons ---- */

/* Whether the expression has no operation but those that are rounded exactly. */
static bool is_exact(const char *text)
{
    static const char *const exact[] = { "square(",   "abs(",       "sign(",    "sqrt(",
                                         "rsqrt(",    "floor(",     "ceil(",    "round(",
                                         "trunc(",    "maximum(",   "minimum(", "lerp(",
                                         "clamp(",    "copysign(",  "isnan(",   "isinf(",
                                         "isfinite(", "nan_to_num(" };
    for (const char *s = strstr(text, "ag_"); s; s = strstr(s + 1, "ag_")) {
        bool found = false;
        for (int i = 0; i < AG_COUNT(exact); i++)
            found = found || !strncmp(s + 3, exact[i], strlen(exact[i]));
        if (!found)
            return false;
    }
    return true;
}

/* Whether the expression is one function of operands: the bound is in units of the last place. */
static bool is_single(const char *text)
{
    return !strncmp(text, "ag_", 3) && !strstr(text + 3, "ag_") && !strpbrk(text, "+*/?") &&
           strncmp(text, "ag_logaddexp", 12);
}

static bool same(double a, double b)
{
    return (a != a && b != b) || (a == b && signbit(a) == signbit(b));
}

static double unit(int type, long double v)
{
    const double a = (double)fabsl(v);
    if (type == AG_LOOP_F32)
        return a < (double)FLT_MIN ? 0x1p-149 : ldexp(1, ilogb(a) - 23);
    return a < DBL_MIN ? 0x1p-1074 : ldexp(1, ilogb(a) - 52);
}

/* Within two units of the value, where it has one. */
static bool within_two(int type, double got, long double value)
{
    const double v = type == AG_LOOP_F32 ? (double)(float)value : (double)value;
    const double huge = type == AG_LOOP_F32 ? (double)FLT_MAX : DBL_MAX;
    if (v != v || got != got)
        return v != v && got != got;
    if (fabs(v) > huge || fabs(got) > huge)
        return v == got;
    return fabsl(got - value) <= 2 * (long double)unit(type, value);
}

/* The same up to what a few roundings on the way can do. */
static bool nearly(int type, double got, double expected)
{
    const double epsilon = type == AG_LOOP_F32 ? (double)FLT_EPSILON : DBL_EPSILON;
    const double tiny = type == AG_LOOP_F32 ? 0x1p-146 : 0x1p-1071;
    if (same(got, expected))
        return true;
    if (fabs(expected) == INFINITY || fabs(got) == INFINITY) /* next to the largest number */
        return fabs(got) * (1 + 64 * epsilon) >= fabs(expected) * .999 && got * expected > 0 &&
               fabs(got) > (type == AG_LOOP_F32 ? 3.4e38 : 1.79e308) &&
               fabs(expected) > (type == AG_LOOP_F32 ? 3.4e38 : 1.79e308);
    return fabs(got - expected) <= 16 * epsilon * fmax(fabs(expected), 1) + tiny;
}

static double result(const arrays *x, int i)
{
    return x->op->pointwise->predicate ? (double)x->data[0][i] : get(x, 0, i);
}

static void check_element(const ag__loop_set *set, const arrays *x, int i)
{
    const char *text = x->op->pointwise->text[x->k + 1];
    const double got = result(x, i), scalar = narrow(x, i);
    const bool ok = is_exact(text)    ? same(got, scalar)
                    : is_single(text) ? within_two(x->type, got, wide(x, i)) || same(got, scalar)
                                      : nearly(x->type, got, scalar);
    if (!ok)
        FAIL("%s, %s, f%d, %s: %.17g, not %.17g (%.20Lg) for g, a, b, c, y = %.17g, %.17g, %.17g, "
             "%.17g, %.17g",
             set->name, x->op->name, x->type == AG_LOOP_F32 ? 32 : 64, text, got, scalar,
             wide(x, i), get(x, 1, i), get(x, 2, i), get(x, 3, i), get(x, 4, i), get(x, 5, i));
}

/* Alone, an element gives the bits that it gave among others. */
static void check_alone(const ag__loop_set *set, arrays *x, int i)
{
    const double before = result(x, i);
    run(set, x, i, 1);
    if (!same(result(x, i), before))
        FAIL("%s, %s, f%d: %.17g is %.17g alone", set->name, x->op->name,
             x->type == AG_LOOP_F32 ? 32 : 64, before, result(x, i));
}

typedef void each_fn(const ag__loop_set *set, arrays *x, void *user);

/* f for every loop of a set; x->data[5] holds the row's value. */
static void each_loop(const ag__loop_set *set, each_fn *f, void *user)
{
    static arrays x;
    for (int i = 0; i < AG_OP_COUNT; i++)
        for (x.type = AG_LOOP_F32; x.type <= AG_LOOP_F64 && ag__ops[i]->pointwise; x.type++) {
            x.op = ag__ops[i];
            x.size = x.type == AG_LOOP_F32 ? sizeof(float) : sizeof(double);
            set_attributes(&x);
            fill(&x);
            for (x.k = -1; x.k < (x.op->vjp ? x.op->n_in : 0); x.k++) {
                run(set, &x, 0, COUNT);
                f(set, &x, user);
                if (x.k < 0 && !x.op->pointwise->predicate)
                    memcpy(x.data[5], x.data[0], sizeof x.data[5]);
            }
        }
}

static void check_loop(const ag__loop_set *set, arrays *x, void *user)
{
    (void)user;
    for (int i = 0; i < COUNT; i++)
        check_element(set, x, i);
    for (int i = 0; i < COUNT; i++)
        check_alone(set, x, i);
}

static void t_loops_compute_what_libm_computes(ag_context *c)
{
    int n;
    const ag__loop_set *sets = ag__loop_sets(&n);
    (void)c;
    for (int i = 0; i < n; i++)
        each_loop(&sets[i], check_loop, NULL);
    CHECK(&sets[n - 1] == ag__loop_best());
    CHECK(strstr(ag_build_info(), sets[n - 1].name) != NULL);
}

/* ---- operands in memory ---- */

typedef enum {
    CONTIGUOUS,
    TRANSPOSED,
    EVERY_OTHER,
    A_ROW,
    A_COLUMN,
    ONE,
    OTHER_TYPE,
    LAYOUTS
} layout;

/* An operand of shape [rows, columns] that lies in memory in this way; a leaf. */
static ag_tensor *operand(ag_context *c, const ag__op *op, ag_dtype dtype, layout l, int64_t rows,
                          int64_t columns)
{
    const ag__pointwise *row = op->pointwise;
    const int64_t wide_columns = l == EVERY_OTHER ? 2 * columns : columns;
    const int64_t n[] = { l == TRANSPOSED          ? columns
                          : l == A_ROW || l == ONE ? 1
                                                   : rows,
                          l == TRANSPOSED             ? rows
                          : l == A_COLUMN || l == ONE ? 1
                                                      : wide_columns };
    ag_tensor *x = ag_rand(c, AG_SHAPE(n[0], n[1]), .dtype = dtype);
    x = ag_add(ag_mul(x, row->hi - row->lo), row->lo);
    if (l == TRANSPOSED)
        x = ag_transpose(x, 0, 1);
    else if (l == EVERY_OTHER)
        x = ag_slice(x, 1, 1, 2 * columns, 2);
    else if (l == OTHER_TYPE)
        x = ag_to(x, dtype == AG_F32 ? AG_BF16 : AG_F32);
    x = ag_detach(ag_expand(x, AG_SHAPE(rows, columns)));
    return op->vjp ? ag_requires_grad_(x, true) : x;
}

static void check_same(const ag__op *op, const char *what, ag_tensor *got, ag_tensor *expected)
{
    const size_t n = (size_t)ag_numel(expected);
    double *a = calloc(2 * n, sizeof *a), *b = a + n;
    const bool ok = a && ag_copy_out(ag_to(got, AG_F64), a, n * sizeof *a) &&
                    ag_copy_out(ag_to(expected, AG_F64), b, n * sizeof *b);
    size_t i = 0;
    while (ok && i < n && same(a[i], b[i]))
        i++;
    const double ai = ok && i < n ? a[i] : 0, bi = ok && i < n ? b[i] : 0;
    free(a);
    CHECK(ok);
    if (i < n)
        FAIL("%s, %s: element %zu is %.17g, not %.17g", op->name, what, i, ai, bi);
}

/* The value and the gradients on operands as they lie, and on copies without gaps. */
static void check_layouts(ag_context *c, const ag__op *op, ag_dtype dtype, const layout *layouts,
                          int64_t rows, int64_t columns)
{
    arrays x = { .op = op };
    set_attributes(&x);
    const ag__attrs attrs = { .p = x.p, .q = x.q };
    ag_tensor *in[3] = { NULL }, *plain[3] = { NULL }, *g[3], *h[3];
    for (int k = 0; k < op->n_in; k++) {
        if (op->pointwise->index == AG_OP_lerp && layouts[k] == OTHER_TYPE)
            return; /* lerp takes operands of one type */
        CHECK(in[k] = operand(c, op, dtype, layouts[k], rows, columns));
        CHECK(plain[k] = ag_clone(ag_contiguous(ag_to(ag_detach(in[k]), dtype))));
        CHECK(!op->vjp || ag_requires_grad_(plain[k], true));
    }
    ag_tensor *y = ag__run1(op, in, op->n_in, &attrs), *z = ag__run1(op, plain, op->n_in, &attrs);
    CHECK(y && z);
    bool converted = ag_dtype_of(y) != ag_dtype_of(z);
    if (!converted)
        check_same(op, "value", y, z);
    for (int k = 0; k < op->n_in; k++)
        converted = converted || layouts[k] == OTHER_TYPE;
    if (!op->vjp || converted)
        return;
    ag_tensor *v = ag_transpose(ag_randn(c, AG_SHAPE(columns, rows), .dtype = dtype), 0, 1);
    CHECK(ag_grad(&y, 1, in, op->n_in, g, .grad_outputs = &v));
    CHECK(ag_grad(&z, 1, plain, op->n_in, h, .grad_outputs = &v));
    for (int k = 0; k < op->n_in; k++)
        check_same(op, "gradient", g[k], h[k]);
}

static void t_layouts_do_not_matter(ag_context *c)
{
    static const int64_t shapes[][2] = { { 1, 1 }, { 3, 5 }, { 7, 3 }, { 70, 33 }, { 2, 1200 } };
    const bool few = harness_faults(); /* a walk allocates nothing: two rows tell all */
    for (int i = 0; i < AG_OP_COUNT; i++)
        for (int l = 0; ag__ops[i]->pointwise && l < LAYOUTS; l++)
            for (int s = 0; s < AG_COUNT(shapes) - few; s++) {
                if (few && i != AG_OP_mul && i != AG_OP_where)
                    continue;
                const layout other = (layout)((l + 1 + s) % LAYOUTS);
                const layout layouts[] = { (layout)l, other, (layout)((other + 2) % LAYOUTS) };
                AG_SCOPE (c) {
                    check_layouts(c, ag__ops[i], s & 1 ? AG_F64 : AG_F32, layouts, shapes[s][0],
                                  shapes[s][1]);
                }
            }
}

/* Lengths around the numbers of lanes and the size of a block, for three types. */
static void t_lengths_do_not_matter(ag_context *c)
{
    static const ag_dtype dtypes[] = { AG_F32, AG_F64, AG_I64 };
    for (int d = 0; d < AG_COUNT(dtypes); d++)
        for (int64_t n = 1; n < 1100; n += n < 40 ? 1 : 97) {
            AG_SCOPE (c) {
                ag_tensor *x = ag_arange(c, 1, (double)n + 1, 1, .dtype = dtypes[d]);
                ag_tensor *y = ag_add(ag_mul(x, 3), x), *yes = ag_lt(x, y);
                CHECK(y && ag_numel(y) == n);
                CHECK_CLOSE(ag_item(ag_sum(y)), 2. * (double)n * ((double)n + 1), 0);
                CHECK_CLOSE(ag_item(ag_sum(yes)), (double)n, 0);
                CHECK_CLOSE(ag_at(y, n - 1), 4. * (double)n, 0);
            }
        }
}

/* Arrays without gaps take another way than single elements, in every pair of types. */
static void t_conversions_do_not_depend_on_gaps(ag_context *c)
{
    enum { N = 40 };
    (void)c;
    for (int st = 0; st < AG_DTYPE_COUNT; st++)
        for (int dt = 0; dt < AG_DTYPE_COUNT; dt++) {
            double gaps[2 * N] = { 0 }, array[N] = { 0 }, x[N], y[N]; /* room for any type */
            for (int i = 0; i < N; i++)
                ag__store((ag_dtype)st, gaps, 2 * i, special(AG_LOOP_F64, i));
            ag__convert((ag_dtype)st, array, 1, (ag_dtype)st, gaps, 2, N);
            ag__convert((ag_dtype)dt, x, 1, (ag_dtype)st, gaps, 2, N);
            ag__convert((ag_dtype)dt, y, 1, (ag_dtype)st, array, 1, N);
            for (int i = 0; i < N; i++)
                if (!same(ag__load((ag_dtype)dt, x, i), ag__load((ag_dtype)dt, y, i)))
                    FAIL("%s from %s: %.17g, not %.17g", ag_dtype_name((ag_dtype)dt),
                         ag_dtype_name((ag_dtype)st), ag__load((ag_dtype)dt, y, i),
                         ag__load((ag_dtype)dt, x, i));
            ag__convert((ag_dtype)dt, y, 1, (ag_dtype)st,
                        (char *)array + 2 * ag__itemsize((ag_dtype)st), 0, N);
            for (int i = 0; i < N; i++)
                CHECK(ag__load((ag_dtype)dt, y, i) == 1);
        }
}

/* Copies of permuted and broadcast tensors of every size of element, against plain indexing. */
static void t_copies_of_views(ag_context *c)
{
    static const ag_dtype dtypes[] = { AG_U8, AG_I16, AG_F32, AG_F64 };
    static const int64_t orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                         { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    for (int d = 0; d < AG_COUNT(dtypes); d++)
        for (int o = 0; o < AG_COUNT(orders); o++) {
            AG_SCOPE (c) {
                const int64_t *p = orders[o], size[] = { 3, 17, 20 };
                ag_tensor *x = ag_to(ag_arange(c, 0, 3 * 17 * 20, 1, .dtype = AG_F64), dtypes[d]);
                ag_tensor *y = ag_contiguous(
                    ag_permute(ag_reshape(x, AG_SHAPE(3, 17, 20)), AG_SHAPE(p[0], p[1], p[2])));
                ag_tensor *flat = ag_reshape(y, AG_SHAPE(-1));
                CHECK(flat);
                int64_t n = 0, at[3];
                for (at[p[0]] = 0; at[p[0]] < size[p[0]]; at[p[0]]++)
                    for (at[p[1]] = 0; at[p[1]] < size[p[1]]; at[p[1]]++)
                        for (at[p[2]] = 0; at[p[2]] < size[p[2]]; at[p[2]]++, n++) {
                            const int64_t from = (at[0] * 17 + at[1]) * 20 + at[2];
                            CHECK(ag_at(flat, n) == (double)(d || from < 255 ? from : 255));
                        }
                ag_tensor *column =
                    ag_expand(ag_narrow(ag_reshape(x, AG_SHAPE(-1, 1)), 0, 0, 50), AG_SHAPE(50, 9));
                ag_tensor *z = ag_reshape(column, AG_SHAPE(-1));
                for (int64_t i = 0; i < 450; i++)
                    CHECK(ag_at(z, i) == (double)(i / 9));
            }
        }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_loops_compute_what_libm_computes), TEST(t_layouts_do_not_matter),
               TEST(t_lengths_do_not_matter), TEST(t_conversions_do_not_depend_on_gaps),
               TEST(t_copies_of_views));
}
