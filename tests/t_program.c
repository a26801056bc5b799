/*
 * Programs against the rows they are made of, run one after the other: the same bits, for all dtypes,
 * shapes, ways in which operands lie and outputs are kept, and for any number of threads. Their
 * reductions have the bits of the public ones, and are as near to the exact value as pairs of leaves
 * must be.
 */
#include "harness.h"

#include <float.h>
#include <stdlib.h>

#include "ops/pointwise.h"
#include "ops/program.h"

enum { VALUES = 32, STEPS = 70, OUTPUTS = 8 };

/* A program while it is written: each step is at once run by itself. */
typedef struct {
    ag_context *c;
    ag_ints shape;
    int reduced;
    bool leading;
    ag_tensor *values[VALUES + STEPS]; /* the inputs, then the results of steps */
    int n_inputs, n_steps, n_outputs;
    ag__program_step steps[STEPS];
    ag__program_output outputs[OUTPUTS];
    ag_tensor *expected[OUTPUTS];
} script;

static int add_input(script *s, ag_tensor *t)
{
    CHECK(t);
    s->values[s->n_inputs] = t;
    return s->n_inputs++;
}

/* The value's number; -1 for what the row refuses. */
static int add_step(script *s, int row, int a, int b, int c, double p, double q)
{
    const ag__op *op = ag__ops[row];
    const ag__attrs attrs = { .p = p, .q = q };
    ag_tensor *in[3] = { s->values[a], s->values[b], s->values[c] };
    ag_tensor *y = ag__run1(op, in, op->n_in, &attrs);
    if (!y && ag_error(s->c)->code != AG_ERR_MEMORY) {
        ag_error_clear(s->c);
        return -1;
    }
    CHECK(y);
    const ag__call call = {
        .op = op, .c = s->c, .in = in, .n_in = op->n_in, .attrs = &attrs, .n_out = 1
    };
    s->steps[s->n_steps] = (ag__program_step){
        row, ag__pointwise_compute(&call, ag_dtype_of(y)), ag_dtype_of(y), { a, b, c }, p, q
    };
    s->values[s->n_inputs + s->n_steps] = y;
    return s->n_inputs + s->n_steps++;
}
static int unary(script *s, int row, int a) { return add_step(s, row, a, a, a, 0, 0); }
static int binary(script *s, int row, int a, int b) { return add_step(s, row, a, b, b, 0, 0); }

static int add_cast(script *s, int a, ag_dtype dtype)
{
    ag_tensor *y = ag_to(s->values[a], dtype);
    CHECK(y);
    s->steps[s->n_steps] = (ag__program_step){ AG_PROGRAM_CAST, dtype, dtype, { a }, 0, 0 };
    s->values[s->n_inputs + s->n_steps] = y;
    return s->n_inputs + s->n_steps++;
}

static void keep_in(script *s, int value, ag_tensor *to)
{
    CHECK(to);
    s->expected[s->n_outputs] = ag_clone(ag_contiguous(ag_expand(s->values[value], s->shape)));
    CHECK(s->expected[s->n_outputs]);
    s->outputs[s->n_outputs++] = (ag__program_output){ value, AG_PROGRAM_ALL, to };
}
static void keep(script *s, int value)
{
    keep_in(s, value, ag_zeros(s->c, s->shape, .dtype = ag_dtype_of(s->values[value])));
}

/* The reduction of a tensor with its elements in order; of no dimension, it is of one of one element. */
static void keep_reduced(script *s, int value, int which)
{
    int64_t dims[3] = { -1 };
    for (int i = 0; i < s->reduced; i++)
        dims[i] = s->leading ? i : -1 - i;
    if (!s->reduced)
        dims[0] = s->leading ? 0 : -1;
    const ag_ints list = { dims, s->reduced ? s->reduced : 1 };
    ag_tensor *x = ag_contiguous(ag_expand(s->values[value], s->shape));
    x = s->reduced ? x : ag_unsqueeze(x, (int)dims[0]);
    ag_tensor *y = which == AG_REDUCE_SUM    ? ag_sum(x, .dims = list)
                   : which == AG_REDUCE_MEAN ? ag_mean(x, .dims = list)
                   : which == AG_REDUCE_PROD ? ag_prod(x, .dims = list)
                   : which == AG_REDUCE_MAX  ? ag_amax(x, .dims = list)
                                             : ag_amin(x, .dims = list);
    CHECK(y);
    s->expected[s->n_outputs] = y;
    ag_tensor *to = ag_zeros_like(y);
    CHECK(to);
    s->outputs[s->n_outputs++] = (ag__program_output){ value, which, to };
}

static size_t bytes_of(const ag_tensor *t)
{
    return (size_t)t->numel * ag_dtype_size((ag_dtype)t->dtype);
}

/* Whether output i is what it must be, and where it is not. Sums of NaN may be any NaN. */
static bool is_expected(const script *s, int i, int64_t *at, double *got, double *expected)
{
    const ag_tensor *to = s->outputs[i].to, *want = s->expected[i];
    const ag_dtype d = (ag_dtype)want->dtype;
    const size_t size = ag_dtype_size(d);
    if (memcmp(ag__at(to), ag__at(want), bytes_of(want)) == 0)
        return true;
    for (*at = 0; *at < want->numel; ++*at) {
        const size_t offset = (size_t)*at * size;
        *got = ag__load(d, ag__at(to), *at);
        *expected = ag__load(d, ag__at(want), *at);
        if (memcmp(ag__at(to) + offset, ag__at(want) + offset, size) != 0 &&
            !(s->outputs[i].which != AG_PROGRAM_ALL && isnan(*got) && isnan(*expected)))
            return false;
    }
    return true;
}

/* Runs the script for one to three threads, `times` times each. */
static void check_times(script *s, int times)
{
    const ag__program_text text = { s->shape, s->reduced, s->leading, s->values,   s->n_inputs,
                                    s->steps, s->n_steps, s->outputs, s->n_outputs };
    ag__program *p = ag__program_new(s->c, &text);
    CHECK(p);
    int wrong = -1, threads = 0;
    int64_t at = 0;
    double got = 0, expected = 0;
    for (int run = 0; run < 3 * times && wrong < 0; run++) {
        threads = 1 + run / times;
        ag_set_num_threads(s->c, threads);
        for (int i = 0; i < s->n_outputs && times > 1; i++)
            memset(ag__at(s->outputs[i].to), 0x55, bytes_of(s->outputs[i].to));
        ag__program_run(p);
        for (int i = 0; i < s->n_outputs && wrong < 0; i++)
            wrong = is_expected(s, i, &at, &got, &expected) ? -1 : i;
        if (times == 1)
            break;
    }
    ag_set_num_threads(s->c, 1);
    ag__program_free(p);
    if (wrong >= 0)
        FAIL(
            "output %d (value %d of %d inputs and %d steps, %s, reduction %d) of %lld elements, %d "
            "threads: element %lld is %.17g, not %.17g",
            wrong, s->outputs[wrong].value, s->n_inputs, s->n_steps,
            ag_dtype_name(ag_dtype_of(s->expected[wrong])), s->outputs[wrong].which,
            (long long)ag__shape_numel(s->shape), threads, (long long)at, got, expected);
}
static void check(script *s) { check_times(s, 2); }

/* ---- shapes and operands ---- */

static const int64_t sizes[][3] = { { 1 },       { 7 },         { 8 },         { 9 },
                                    { 1000 },    { 0 },         { 3, 0, 2 },   { 1, 1, 1 },
                                    { 3, 7, 5 }, { 2, 64, 33 }, { 4, 1, 700 }, { 100003 } };
static const int ranks[] = { 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 1 };
enum { SHAPES = (int)(sizeof ranks / sizeof *ranks) };

/* Shape number i; 0-dim is number SHAPES. */
static ag_ints shape_of(int i)
{
    return i < SHAPES ? (ag_ints){ sizes[i], ranks[i] } : (ag_ints){ sizes[0], 0 };
}

static uint64_t state;
static int choose(int n)
{
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (int)(state >> 33) % n;
}

enum { DENSE, TURNED, EVERY_OTHER, A_ROW, ONE, LAYOUTS };

/* Numbers between -4 and 4 that broadcast to the shape and lie in this way. */
static ag_tensor *operand(ag_context *c, ag_ints shape, ag_dtype dtype, int layout)
{
    int64_t n[4] = { 0 }, order[4] = { 0 };
    const int last = shape.n - 1;
    for (int i = 0; i < shape.n; i++) {
        n[i] = layout == ONE || (layout == A_ROW && i < last) ? 1 : shape.data[i];
        order[i] = layout == TURNED ? last - i : i;
    }
    if (layout == TURNED)
        for (int i = 0; i < shape.n; i++)
            n[i] = shape.data[last - i];
    if (layout == EVERY_OTHER && last >= 0)
        n[last] *= 2;
    const ag_ints made = { n, shape.n };
    ag_tensor *x = ag_to(ag_mul(ag_sub(ag_rand(c, made), .5), 8), dtype);
    if (layout == TURNED)
        x = ag_permute(x, (ag_ints){ order, shape.n });
    if (layout == EVERY_OTHER && last >= 0)
        x = ag_slice(x, last, 1, n[last], 2);
    return layout == ONE && shape.n ? ag_reshape(x, (ag_ints){ n, 0 }) : x;
}

static script script_for(ag_context *c, ag_ints shape)
{
    return (script){ .c = c, .shape = shape, .reduced = shape.n };
}

/* ---- tests ---- */

/* relu(a x + b), kept with what is on the way, for all dtypes, shapes and layouts. */
static void t_chains(ag_context *c)
{
    for (int i = 0; i <= SHAPES; i++)
        for (int d = 0; d < AG_DTYPE_COUNT; d++)
            for (int layout = 0; layout < LAYOUTS; layout++) {
                if (harness_faults() && (i != 8 || d % 4 || layout % 2))
                    continue;
                if (i == SHAPES - 1 && layout != d % LAYOUTS)
                    continue;
                AG_SCOPE (c) {
                    script s = script_for(c, shape_of(i));
                    const ag_dtype dtype = (ag_dtype)d;
                    const int x = add_input(&s, operand(c, s.shape, dtype, layout));
                    const int a = add_input(&s, operand(c, s.shape, dtype, (layout + 1) % LAYOUTS));
                    const int b =
                        add_input(&s, operand(c, s.shape, AG_I32, (layout + 2) % LAYOUTS));
                    const int product = binary(&s, AG_OP_mul, x, a);
                    const int sum = binary(&s, AG_OP_add, product, b);
                    const int relu = unary(&s, AG_OP_relu, sum);
                    CHECK(relu >= 0);
                    keep(&s, product);
                    keep(&s, relu);
                    check(&s);
                }
            }
}

/* Predicates are bytes, conditions of where, and numbers in sums. */
static void t_predicates_and_casts(ag_context *c)
{
    for (int i = 0; i <= SHAPES; i++) {
        if (harness_faults() && i != 3)
            continue;
        AG_SCOPE (c) {
            script s = script_for(c, shape_of(i));
            const int x = add_input(&s, operand(c, s.shape, AG_F32, DENSE));
            const int y = add_input(&s, operand(c, s.shape, AG_F64, A_ROW));
            const int less = binary(&s, AG_OP_lt, x, y), big = unary(&s, AG_OP_isfinite, x);
            const int both = binary(&s, AG_OP_logical_and, less, big);
            const int chosen = add_step(&s, AG_OP_where, both, x, y, 0, 0);
            const int count = binary(&s, AG_OP_add, both, less);
            const int half = add_cast(&s, chosen, AG_F16), whole = add_cast(&s, half, AG_I8);
            const int back = add_cast(&s, whole, AG_F64), same = add_cast(&s, x, AG_F32);
            keep(&s, less);
            keep(&s, chosen);
            keep(&s, count);
            keep(&s, half);
            keep(&s, back);
            keep(&s, same); /* an input itself */
            keep(&s, add_cast(&s, y, AG_BF16));
            check(&s);
        }
    }
}

/* Narrow integers wrap and narrow floats round after every step. */
static void t_narrow_results(ag_context *c)
{
    static const ag_dtype dtypes[] = { AG_I8, AG_U8, AG_I16, AG_I32, AG_F16, AG_BF16 };
    for (int d = 0; d < AG_COUNT(dtypes); d++)
        AG_SCOPE (c) {
            script s = script_for(c, AG_SHAPE(301));
            ag_tensor *x = ag_to(ag_arange(c, -150, 151, 1), dtypes[d]);
            const int in = add_input(&s, x);
            int v = in;
            for (int i = 0; i < 6; i++)
                v = binary(&s, i % 2 ? AG_OP_add : AG_OP_mul, v, in);
            const int third = add_cast(&s, v, AG_F64);
            keep(&s, v);
            keep(&s, third);
            CHECK(ag_dtype_of(s.values[v]) == dtypes[d]);
            check(&s);
        }
}

/* An output over an input, which steps read before and after the output's own. */
static void t_outputs_over_inputs(ag_context *c)
{
    for (int i = 0; i <= SHAPES; i++)
        for (int how = 0; how < 4; how++) {
            if (harness_faults() && i != 3)
                continue;
            AG_SCOPE (c) {
                script s = script_for(c, shape_of(i));
                const int x = add_input(&s, operand(c, s.shape, AG_F32, DENSE));
                const int y = add_input(&s, operand(c, s.shape, AG_F32, DENSE));
                const int a = binary(&s, AG_OP_mul, x, x), b = unary(&s, AG_OP_neg, a);
                const int d = binary(&s, AG_OP_sub, b, y), e = add_cast(&s, y, AG_F32);
                if (how == 0) {
                    keep_in(&s, a, s.values[x]);
                    keep_in(&s, d, s.values[y]);
                } else if (how == 1) { /* changed places */
                    keep_in(&s, d, s.values[x]);
                    keep_in(&s, a, s.values[y]);
                } else if (how == 2) {
                    keep_in(&s, e, s.values[x]);
                    keep_in(&s, b, s.values[y]);
                } else {
                    keep_in(&s, b, s.values[y]);
                    keep_in(&s, e, s.values[x]);
                }
                keep(&s, a);
                keep(&s, d);
                check_times(&s, 1);
            }
        }
}

/* Runs see new data, in place and elsewhere, and ask for no memory. */
static void t_runs_follow_the_data(ag_context *c)
{
    for (int64_t n = 1; n < 2000; n *= 11)
        AG_SCOPE (c) {
            ag_tensor *x = ag_full(c, AG_SHAPE(n), 2), *y = ag_zeros(c, AG_SHAPE(n));
            ag_tensor *w = ag_full(c, AG_SHAPE(n), 5), *sum = ag_scalar(c, 0);
            CHECK(x && y && w && sum);
            const ag__program_step step = { AG_OP_mul, AG_F32, AG_F32, { 0, 0 }, 0, 0 };
            const ag__program_output out[] = { { 1, AG_PROGRAM_ALL, y },
                                               { 1, AG_REDUCE_SUM, sum } };
            const ag__program_text text = { ag__sizes(x), 1, false, &x, 1, &step, 1, out, 2 };
            ag__program *p = ag__program_new(c, &text);
            CHECK(p);
            float seen[3], sums[3];
            ag_memory_statistics before, after;
            ag_memory_stats(c, &before);
            for (int run = 0; run < 3; run++) {
                void *data = x->storage->data;
                if (run == 1)
                    ((float *)(void *)ag__at(x))[n - 1] = 3;
                if (run == 2)
                    x->storage->data = w->storage->data;
                ag__program_run(p);
                x->storage->data = data;
                seen[run] = ((float *)(void *)ag__at(y))[n - 1];
                sums[run] = *(float *)(void *)ag__at(sum);
            }
            ag_memory_stats(c, &after);
            ag__program_free(p);
            CHECK_INT(after.allocations, before.allocations);
            CHECK_CLOSE((double)seen[0], 4, 0);
            CHECK_CLOSE((double)seen[1], 9, 0);
            CHECK_CLOSE((double)seen[2], 25, 0);
            CHECK_CLOSE((double)sums[0], 4. * (double)n, 0);
            CHECK_CLOSE((double)sums[1], 4. * (double)n + 5, 0);
            CHECK_CLOSE((double)sums[2], 25. * (double)n, 0);
        }
}

/* A program of up to 12 steps of any rows, of which some results are kept and some reduced. */
static void check_random(ag_context *c, ag_ints shape)
{
    static const int reductions[] = { AG_REDUCE_SUM, AG_REDUCE_PROD, AG_REDUCE_MAX, AG_REDUCE_MIN,
                                      AG_REDUCE_MEAN };
    script s = script_for(c, shape);
    const int inputs = 1 + choose(4), steps = 1 + choose(12), outputs = 1 + choose(3);
    for (int i = 0; i < inputs; i++) {
        const ag_dtype d = choose(2) ? AG_F32 : (ag_dtype)choose(AG_DTYPE_COUNT);
        add_input(&s, operand(c, shape, d, choose(LAYOUTS)));
    }
    while (s.n_steps < steps) {
        const int n = s.n_inputs + s.n_steps, row = choose(AG_OP_COUNT);
        const int a = choose(n), b = choose(n), d = choose(n);
        if (choose(6) == 0)
            add_cast(&s, a, (ag_dtype)choose(AG_DTYPE_COUNT));
        else if (ag__ops[row]->pointwise)
            add_step(&s, row, a, b, d, 1, 2);
    }
    s.reduced = choose(shape.n + 1);
    s.leading = choose(2);
    int reduced = 0;
    for (int i = 0; i < outputs; i++) {
        const int n = s.n_inputs + s.n_steps, value = i ? choose(n) : n - 1;
        const int which = reductions[choose(5)];
        const bool floats = ag__is_float(ag_dtype_of(s.values[value]));
        const bool none = ag__shape_numel(shape) == 0;
        if (choose(2) && !(which == AG_REDUCE_MEAN && !floats) && reduced < 4 &&
            !(which == AG_REDUCE_PROD && s.leading) &&
            !(none && (which == AG_REDUCE_MAX || which == AG_REDUCE_MIN)) &&
            !(which != AG_REDUCE_SUM && ag_dtype_of(s.values[value]) == AG_BOOL)) {
            keep_reduced(&s, value, which);
            reduced++;
        } else {
            keep(&s, value);
        }
    }
    check(&s);
}

static void t_random_programs(ag_context *c)
{
    const int programs = harness_faults() ? 4 : 1000;
    state = 88172645463325252u;
    ag_manual_seed(c, 5);
    for (int i = 0; i < programs; i++)
        AG_SCOPE (c)
            check_random(c, shape_of(i % SHAPES ? i % SHAPES - 1 : SHAPES));
}

static void t_large_random_programs(ag_context *c)
{
    static const int64_t large[][2] = { { 1, 100003 }, { 97, 1031 }, { 40001, 3 }, { 2, 140001 } };
    if (harness_faults()) /* nothing fails that does not in small ones */
        return;
    state = 2463534242u;
    ag_manual_seed(c, 6);
    for (int i = 0; i < 8; i++)
        AG_SCOPE (c)
            check_random(c, (ag_ints){ large[i % 4], 2 });
}

static void t_reductions(ag_context *c)
{
    static const int64_t shapes[][2] = {
        { 1, 1 },          { 1, 31 },     { 1, 63 },     { 1, 64 },    { 1, 1000 },
        { 1, 1024 },       { 1, 1025 },   { 1, 5000 },   { 300, 5 },   { 70, 33 },
        { 9, 700 },        { 5, 1055 },   { 1, 49157 },  { 3, 20007 }, { 1, 140003 },
        { 1, 262144 + 7 }, { 1, 262143 }, { 2, 270001 }, { 70000, 2 }, { 1, 600031 }
    };
    static const ag_dtype dtypes[] = { AG_F32, AG_F64, AG_F16, AG_I64, AG_I32 };
    for (int i = 0; i < AG_COUNT(shapes); i++)
        for (int d = 0; d < AG_COUNT(dtypes); d++) {
            const int64_t rows = shapes[i][0], n = shapes[i][1];
            if (harness_faults() && (i != 5 || d > 1))
                continue;
            if (rows * n > 40000 && d > 0 && (i + d) % 5)
                continue;
            AG_SCOPE (c) {
                script s = script_for(c, (ag_ints){ shapes[i], 2 });
                s.reduced = 1;
                const int x = add_input(&s, operand(c, s.shape, dtypes[d], i % 2 ? DENSE : TURNED));
                /* Functions are cut finer. */
                const int y = i % 3 ? unary(&s, AG_OP_abs, x) : unary(&s, AG_OP_sin, x);
                keep_reduced(&s, y, AG_REDUCE_SUM);
                keep_reduced(&s, y, AG_REDUCE_MAX);
                keep_reduced(&s, x, AG_REDUCE_MIN);
                if (ag__is_float(ag_dtype_of(s.values[y])))
                    keep_reduced(&s, y, AG_REDUCE_MEAN);
                else
                    keep_reduced(&s, y, AG_REDUCE_PROD);
                check(&s);
                s.n_outputs = 0; /* products are not cut in pieces, and so nothing else is */
                keep_reduced(&s, y, AG_REDUCE_PROD);
                keep_reduced(&s, y, AG_REDUCE_SUM);
                check(&s);
            }
        }
}

static void t_reductions_of_columns(ag_context *c)
{
    static const int64_t shapes[][2] = { { 1, 5 },      { 31, 5 },    { 32, 3 },     { 33, 40 },
                                         { 1000, 2 },   { 700, 33 },  { 64, 512 },   { 65, 513 },
                                         { 40, 3000 },  { 3, 40001 }, { 20000, 7 },  { 270001, 2 },
                                         { 4200, 70 },  { 9000, 64 }, { 300, 1500 }, { 5, 1 },
                                         { 140001, 3 }, { 33, 20000 } };
    static const ag_dtype dtypes[] = { AG_F32, AG_F64, AG_F16, AG_I32 };
    for (int i = 0; i < AG_COUNT(shapes); i++)
        for (int d = 0; d < AG_COUNT(dtypes); d++) {
            const int64_t size = shapes[i][0] * shapes[i][1];
            if (harness_faults() && (i != 3 || d > 1))
                continue;
            if (size > 40000 && d > 0 && (i + d) % 5)
                continue;
            AG_SCOPE (c) {
                script s = script_for(c, (ag_ints){ shapes[i], 2 });
                s.reduced = 1;
                s.leading = true;
                const int x = add_input(&s, operand(c, s.shape, dtypes[d], i % 2 ? DENSE : TURNED));
                const int y = i % 3 ? unary(&s, AG_OP_abs, x) : unary(&s, AG_OP_sin, x);
                keep_reduced(&s, y, AG_REDUCE_SUM);
                keep_reduced(&s, y, AG_REDUCE_MAX);
                keep_reduced(&s, x, AG_REDUCE_MIN);
                if (ag__is_float(ag_dtype_of(s.values[y])))
                    keep_reduced(&s, y, AG_REDUCE_MEAN);
                keep(&s, y);
                check(&s);
            }
        }
    ag_tensor *x = ag_zeros(c, AG_SHAPE(2, 2)), *to = ag_zeros(c, AG_SHAPE(2));
    CHECK(x && to);
    const ag__program_output out = { 0, AG_REDUCE_PROD, to };
    const ag__program_text text = { ag__sizes(x), 1, true, &x, 1, NULL, 0, &out, 1 };
    CHECK_ERROR(ag__program_new(c, &text), AG_ERR_VALUE,
                "a program has no products of its first dimensions");
    ag_error_clear(c);
    const ag__program_output sum = { 0, AG_REDUCE_SUM, to }, five[] = { sum, sum, sum, sum, sum };
    const ag__program_text many = { ag__sizes(x), 1, true, &x, 1, NULL, 0, five, 5 };
    CHECK_ERROR(ag__program_new(c, &many), AG_ERR_VALUE,
                "a program has 4 reductions at most, not 5");
}

/* NaN wins, wherever it stands; of zeros the first. */
static void t_special_numbers(ag_context *c)
{
    static const int64_t places[] = { 0, 33, 511, 512, 4999, 5000, 40001 };
    for (int i = 0; i < AG_COUNT(places); i++)
        for (int nan = 0; nan < 2; nan++) {
            if (harness_faults() && i > 0)
                continue;
            AG_SCOPE (c) {
                const int64_t n = harness_faults() ? 40 : 40002;
                ag_tensor *x = ag_full(c, AG_SHAPE(n), nan ? 1 : -0.);
                CHECK(x && ag_fill_(ag_select(x, 0, places[i]), nan ? (double)NAN : 0.));
                script s = script_for(c, ag__sizes(x));
                const int in = add_input(&s, x), y = unary(&s, AG_OP_exp, in);
                keep_reduced(&s, in, AG_REDUCE_MAX);
                keep_reduced(&s, in, AG_REDUCE_MIN);
                keep_reduced(&s, y, AG_REDUCE_MAX);
                keep_reduced(&s, in, AG_REDUCE_SUM);
                check(&s);
                CHECK(!nan || isnan(ag_item(s.outputs[0].to)));
                CHECK(!nan || isnan(ag_item(s.outputs[1].to)));
            }
        }
}

/*
 * A sum adds 32 rows of a leaf, then pairs: at most 32 + log2(n / 1024) + 5 + 1 roundings lie on the
 * way of an element within a chunk of 2^17, less than 64 more over the chunks of these sizes. Each
 * rounding adds at most eps / 2 of the sum of magnitudes.
 */
static void t_sums_are_near_the_exact_ones(ag_context *c)
{
    static const int64_t ns[] = { 5, 63, 64, 1000, 5000, 100003, 600001 };
    for (int i = 0; i < AG_COUNT(ns); i++)
        for (int wide = 0; wide < 2; wide++) {
            if (harness_faults() && i > 2)
                continue;
            AG_SCOPE (c) {
                script s = script_for(c, (ag_ints){ &ns[i], 1 });
                const ag_dtype d = wide ? AG_F64 : AG_F32;
                const int x = add_input(&s, operand(c, s.shape, d, DENSE));
                const int y = binary(&s, AG_OP_mul, x, x);
                keep_reduced(&s, y, AG_REDUCE_SUM);
                keep_reduced(&s, y, AG_REDUCE_MEAN);
                check(&s);
                long double sum = 0;
                for (int64_t k = 0; k < ns[i]; k++)
                    sum += (long double)ag__load(d, ag__at(s.values[y]), k);
                const double eps = wide ? DBL_EPSILON : (double)FLT_EPSILON, bound = 110 * eps / 2;
                const double got = ag_item(s.outputs[0].to), mean = ag_item(s.outputs[1].to);
                CHECK(fabs(got - (double)sum) <= bound * (double)sum);
                CHECK(fabs(mean * (double)ns[i] - (double)sum) <= (bound + eps) * (double)sum);
            }
        }
}

/* Values that are all needed at the end; there are places for so many. */
static void t_as_many_values_as_fit(ag_context *c)
{
    for (int steps = 8; steps <= 64; steps += 7)
        AG_SCOPE (c) {
            script s = script_for(c, AG_SHAPE(1000));
            int v[STEPS];
            v[0] = add_input(&s, operand(c, s.shape, AG_F32, DENSE));
            for (int i = 1; i <= steps / 2; i++)
                v[i] = unary(&s, AG_OP_neg, v[i - 1]);
            int sum = v[0];
            for (int i = 1; i <= steps / 2; i++)
                sum = binary(&s, AG_OP_sub, v[i], sum);
            keep(&s, sum);
            check(&s);
        }
    script s = script_for(c, AG_SHAPE(3));
    ag__program_step steps[2 * STEPS];
    ag_tensor *x = operand(c, s.shape, AG_F32, DENSE), *to = ag_zeros_like(x);
    CHECK(x && to);
    for (int i = 0; i < STEPS; i++) {
        steps[2 * i] = (ag__program_step){ AG_OP_lt, AG_F32, AG_BOOL, { 0, 0 }, 0, 0 };
        steps[2 * i + 1] = (ag__program_step){ AG_OP_exp, AG_F32, AG_F32, { 2 * i + 1 }, 0, 0 };
    }
    ag__program_step all[4 * STEPS];
    memcpy(all, steps, sizeof steps);
    for (int i = 0; i < 2 * STEPS; i++)
        all[2 * STEPS + i] =
            (ag__program_step){ AG_OP_add, AG_F32, AG_F32, { i ? 2 * STEPS + i : 0, 1 + i }, 0, 0 };
    const ag__program_output out = { 4 * STEPS, AG_PROGRAM_ALL, to };
    const ag__program_text text = { s.shape, 1, false, &x, 1, all, 4 * STEPS, &out, 1 };
    CHECK_ERROR(ag__program_new(c, &text), AG_ERR_VALUE,
                "a program of 280 steps needs 142 places; there are 128");
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_chains), TEST(t_predicates_and_casts), TEST(t_narrow_results),
               TEST(t_outputs_over_inputs), TEST(t_runs_follow_the_data), TEST(t_random_programs),
               TEST(t_large_random_programs), TEST(t_reductions), TEST(t_reductions_of_columns),
               TEST(t_special_numbers), TEST(t_sums_are_near_the_exact_ones),
               TEST(t_as_many_values_as_fit));
}
