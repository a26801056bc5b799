/*
 * Lack of memory at every place of every operation. A job is one step of a call's life (forward,
 * gradient with a graph, gradient of that, accumulation into gradients that are there); it runs in
 * one context with its n-th allocation failing, for n = 1, 2, 3 and so on, once and from there on.
 * Each failure must say AG_ERR_MEMORY, leave operands as they were and no byte behind; and then the
 * same step must succeed with the same bits as a step that lacked nothing.
 *
 * The harness makes all other allocations fail, those of these tests' own preparations too.
 */
#include "samples.h"

#include "ops/pointwise.h"

enum { MAX_OUT = SAMPLE_MAX_OPERANDS, MAX_BYTES = 4096 };

/* A step, and what it works on. */
typedef struct job {
    const char *name, *step;
    ag_context *c;
    void (*prepare)(struct job *j); /* before each run, if there is something to do */
    bool (*run)(struct job *j);     /* fills out[0..n_out); false when it fails */
    ag_fn fn;                       /* of the leaves */
    void *user;
    ag_tensor *leaf[MAX_OUT]; /* what must stay when a run fails */
    int n;
    ag_tensor *y, *v;      /* the result and a cotangent of it */
    ag_tensor *g[MAX_OUT]; /* gradients with a graph */
    ag_tensor *w[MAX_OUT]; /* and cotangents of these */
    ag_tensor *out[MAX_OUT];
    int n_out;
} job;

/* ---- the bits of results ---- */

typedef struct {
    size_t n;
    char bytes[MAX_BYTES];
} bits;

static void bits_of(const job *j, bits *b)
{
    b->n = 0;
    for (int i = 0; i < j->n_out; i++) {
        ag_tensor *t = j->out[i];
        const size_t bytes = t ? (size_t)ag_numel(t) * ag_dtype_size(ag_dtype_of(t)) : 0;
        CHECK(b->n + bytes <= sizeof b->bytes);
        CHECK(!t || ag_copy_out(t, b->bytes + b->n, bytes));
        b->n += bytes;
    }
}

/* ---- one step under every fault ---- */

static void get_ready(job *j)
{
    if (j->prepare)
        j->prepare(j);
    for (int i = 0; i < j->n; i++)
        WATCH(j->leaf[i]);
}

/* Without a fault; b receives the bits. */
static void run_whole(job *j, bits *b)
{
    AG_SCOPE (j->c) {
        get_ready(j);
        CHECK(j->run(j));
        UNWATCH();
        bits_of(j, b);
    }
    CHECK(!ag_error(j->c));
}

/* Whether `now` differs from what was counted before: a failure that left something behind. */
static bool left_behind(const ag_memory_statistics *was, const ag_memory_statistics *now)
{
    return now->current_bytes != was->current_bytes || now->tensors != was->tensors ||
           now->nodes != was->nodes || now->saved_bytes != was->saved_bytes;
}

/* Whether the step got as far as the n-th allocation; then it must have failed there. */
static bool run_with_fault(job *j, int64_t n, bool persistent)
{
    bool reached = false;
    AG_SCOPE (j->c) {
        ag_memory_statistics before, after;
        get_ready(j);
        ag_memory_stats(j->c, &before);
        ag_memory_fail_at(j->c, n, persistent);
        bool ok = false;
        ag_scope *s = ag_scope_begin(j->c);
        if (s)
            ok = j->run(j);
        ag_memory_fail_at(j->c, 0, false);
        ag_memory_stats(j->c, &after);
        reached = after.allocations - before.allocations >= n;
        if (reached && ok)
            FAIL("%s, %s: succeeded without allocation %lld", j->name, j->step, (long long)n);
        if (reached)
            CHECK_ERROR(ok, AG_ERR_MEMORY, "out of memory");
        CHECK(ok || reached);
        UNWATCH();
        ag_scope_end(s);
        ag_memory_stats(j->c, &after);
        if (reached && left_behind(&before, &after))
            FAIL("%s, %s, without allocation %lld: %+lld bytes, %+lld tensors, %+lld nodes, %+lld "
                 "saved bytes",
                 j->name, j->step, (long long)n,
                 (long long)after.current_bytes - (long long)before.current_bytes,
                 (long long)(after.tensors - before.tensors),
                 (long long)(after.nodes - before.nodes),
                 (long long)after.saved_bytes - (long long)before.saved_bytes);
    }
    return reached;
}

static void check_step(job *j, const char *step, bool (*run)(job *j))
{
    static bits expected, again;
    j->step = step;
    j->run = run;
    run_whole(j, &expected);
    for (int persistent = 0; persistent < 2 && !harness_faults(); persistent++)
        for (int64_t n = 1; run_with_fault(j, n, persistent); n++) {
            run_whole(j, &again);
            if (again.n != expected.n || memcmp(again.bytes, expected.bytes, again.n) != 0)
                FAIL("%s, %s: another result after the lack of allocation %lld", j->name, j->step,
                     (long long)n);
        }
}

/* ---- the steps of a differentiable call ---- */

static bool step_forward(job *j)
{
    j->n_out = 1;
    return j->fn(j->leaf, j->n, j->out, 1, j->user);
}

static bool step_gradient(job *j)
{
    j->n_out = j->n;
    return ag_grad(&j->y, 1, j->leaf, j->n, j->out, .grad_outputs = &j->v, .create_graph = true,
                   .allow_unused = true);
}

static bool step_second(job *j)
{
    ag_tensor *g[MAX_OUT], *w[MAX_OUT];
    int m = 0;
    for (int i = 0; i < j->n; i++)
        if (j->g[i] && ag_requires_grad(j->g[i])) {
            g[m] = j->g[i];
            w[m++] = j->w[i];
        }
    j->n_out = m ? j->n : 0;
    return m == 0 || ag_grad(g, m, j->leaf, j->n, j->out, .grad_outputs = w, .retain_graph = true,
                             .allow_unused = true);
}

/* Every leaf begins with gradients of one, which the step adds to. */
static void prepare_accumulate(job *j)
{
    for (int i = 0; i < j->n; i++)
        CHECK(ag_set_grad(j->leaf[i], ag_ones_like(j->leaf[i])));
}

static bool step_accumulate(job *j)
{
    j->n_out = j->n;
    const bool ok = ag_backward(j->y, .gradient = j->v, .retain_graph = true);
    for (int i = 0; i < j->n; i++)
        j->out[i] = ag_grad_of(j->leaf[i]);
    return ok;
}

static void check_call(job *j)
{
    check_step(j, "forward", step_forward);
    CHECK(j->fn(j->leaf, j->n, &j->y, 1, j->user));
    if (!ag_requires_grad(j->y))
        return;
    CHECK(j->v = ag_randn_like(j->y));
    check_step(j, "gradient", step_gradient);
    CHECK(step_gradient(j));
    for (int i = 0; i < j->n; i++) {
        j->g[i] = j->out[i];
        CHECK(!j->g[i] || (j->w[i] = ag_randn_like(j->g[i])));
    }
    check_step(j, "second gradient", step_second);
    j->prepare = prepare_accumulate;
    check_step(j, "accumulation", step_accumulate);
}

/* ---- rows and samples ---- */

typedef struct {
    const ag__op *op;
    ag__attrs attrs;
} row_use;

static bool call_row(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const row_use *use = user;
    (void)m;
    return (out[0] = ag__run1(use->op, in, n, &use->attrs)) != NULL;
}

/* A pointwise row on operands that broadcast. */
static void check_row(ag_context *c, int row)
{
    const ag__op *op = ag__ops[row];
    const ag_ints shapes[] = { AG_SHAPE(2, 1), AG_SHAPE(3), AG_SHAPE(1, 3) };
    row_use use = { op, { .p = 1, .q = 2 } };
    job j = { .name = op->name, .c = c, .fn = call_row, .user = &use, .n = op->n_in };
    for (int i = 0; i < op->n_in; i++) {
        const double lo = op->pointwise->lo, hi = op->pointwise->hi;
        j.leaf[i] = ag_rand(c, shapes[i], .dtype = AG_F64);
        CHECK(j.leaf[i]);
        double *v = ag_data(j.leaf[i]);
        for (int64_t k = 0; k < ag_numel(j.leaf[i]); k++)
            v[k] = lo + (hi - lo) * v[k];
        ag_requires_grad_(j.leaf[i], op->vjp != NULL);
    }
    check_call(&j);
}

/* Dense, turned, and in half precision, which passes through buffers of float32. */
static void check_sample(ag_context *c, const sample *s)
{
    sample_use use[] = { { c, s, LAYOUT_DENSE, false },
                         { c, s, LAYOUT_TURNED, false },
                         { c, s, LAYOUT_DENSE, true } };
    for (int i = 0; i < 3; i++) {
        job j = { .name = s->name, .c = c, .fn = sample_run, .user = &use[i] };
        if (i == 1 && s->traits & PLAIN)
            continue;
        j.n = sample_operands(s);
        sample_leaves(c, s, use[i].l, j.leaf);
        check_call(&j);
    }
}

#define ROW_TEST(name)                                                                             \
    static void t_row_##name(ag_context *c) { check_row(c, AG_OP_##name); }
#define UNARY(name, ...) ROW_TEST(name)
#define BINARY(name, ...) ROW_TEST(name)
#define TERNARY(name, ...) ROW_TEST(name)
#define PREDICATE1(name, ...) ROW_TEST(name)
#define PREDICATE2(name, ...) ROW_TEST(name)
#define STRUCTURED(name)
#include "ops/ops.def"
#undef ROW_TEST

#define SAMPLE(name, row, shapes, traits, call)                                                    \
    static void t_sample_##name(ag_context *c) { check_sample(c, &samples[SAMPLE_##name]); }
#include "samples.def"

/* ---- calls that are no operations: x is the first thing that must stay, b the second ---- */

#define CALL(name, expression)                                                                     \
    static bool call_##name(job *j)                                                                \
    {                                                                                              \
        ag_context *c = j->c;                                                                      \
        ag_tensor *x = j->leaf[0], *b = j->leaf[1];                                                \
        (void)c, (void)x, (void)b;                                                                 \
        j->n_out = 1;                                                                              \
        return (j->out[0] = expression) != NULL;                                                   \
    }

static const float call_data[] = { 1, 2, 3, 4, 5, 6 };

/* clang-format off */
#define IN_PLACE(CALL)                                                                             \
    CALL(add_, ag_add_(x, b))                                                                      \
    CALL(sub_, ag_sub_(x, b))                                                                      \
    CALL(mul_, ag_mul_(x, b))                                                                      \
    CALL(div_, ag_div_(x, b))                                                                      \
    CALL(add_a_number_, ag_add_(x, 2))                                                             \
    CALL(mul_itself_, ag_mul_(x, x))                                                               \
    CALL(copy_, ag_copy_(x, b))                                                                    \
    CALL(fill_, ag_fill_(x, 3))                                                                    \
    CALL(zero_, ag_zero_(x))
#define CREATE(CALL)                                                                               \
    CALL(array, ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3), .requires_grad = true))               \
    CALL(scalar, ag_scalar(c, 3))                                                                  \
    CALL(from_data, ag_from_data(c, call_data, AG_F32, AG_SHAPE(2, 3)))                            \
    CALL(from_memory, ag_from_memory(c, (void *)(uintptr_t)call_data, AG_F32, AG_SHAPE(6), NULL, NULL)) \
    CALL(zeros, ag_zeros(c, AG_SHAPE(2, 300)))                                                     \
    CALL(ones, ag_ones(c, AG_SHAPE(2, 3)))                                                         \
    CALL(full, ag_full(c, AG_SHAPE(2, 3), 7, .dtype = AG_F16))                                     \
    CALL(arange, ag_arange(c, 0, 5, 1))                                                            \
    CALL(linspace, ag_linspace(c, 0, 1, 5))                                                        \
    CALL(eye, ag_eye(c, 3))                                                                        \
    CALL(rand, ag_rand(c, AG_SHAPE(5)))                                                            \
    CALL(randn, ag_randn(c, AG_SHAPE(5)))                                                          \
    CALL(randint, ag_randint(c, 0, 9, AG_SHAPE(5)))                                                \
    CALL(randperm, ag_randperm(c, 7))                                                              \
    CALL(zeros_like, ag_zeros_like(x))                                                             \
    CALL(ones_like, ag_ones_like(x))                                                               \
    CALL(rand_like, ag_rand_like(x))                                                               \
    CALL(randn_like, ag_randn_like(x))                                                             \
    CALL(detach, ag_detach(x))                                                                     \
    CALL(to_f16, ag_to(x, AG_F16))                                                                 \
    CALL(contiguous, ag_contiguous(ag_t(x)))                                                       \
    CALL(number_on_the_left, ag_sub(1, ag_mul(x, 2.5)))                                            \
    CALL(load_npy, ag_load_npy(c, harness_path("call.npy")))
/* clang-format on */

#define STEP(name, expression) { #name, call_##name },
IN_PLACE(CALL)
CREATE(CALL)
static const struct {
    const char *name;
    bool (*run)(job *j);
} in_place[] = { IN_PLACE(STEP) }, create[] = { CREATE(STEP) };

/* A tensor keeps the record that holds its name and its place in the graph once it has one, also when
 * the call that asked for it fails; so the tensors below have theirs from the beginning. */

/* A matrix that lies turned, and a row. */
static void prepare_values(job *j)
{
    CHECK(j->leaf[0] = ag_t(ag_array(j->c, AG_VALUES(1, 2, 3, 4, 5, 6), AG_SHAPE(3, 2))));
    CHECK(j->leaf[1] = ag_array(j->c, AG_VALUES(2, 4, 8), AG_SHAPE(3)));
    CHECK(ag_set_name(j->leaf[0], "x"));
    j->n = 2;
    ag_manual_seed(j->c, 5);
}

/* A result that a write replaces in the graph, and a row that requires a gradient. */
static void prepare_graph(job *j)
{
    ag_tensor *leaf = ag_ones(j->c, AG_SHAPE(2, 3), .dtype = AG_F64, .requires_grad = true);
    CHECK(j->leaf[0] = ag_exp(leaf));
    CHECK(j->leaf[1] = ag_array(j->c, AG_VALUES(2, 4, 8), AG_SHAPE(3), .dtype = AG_F64,
                                .requires_grad = true));
    CHECK(ag_set_name(j->leaf[0], "x") && ag_exp(j->leaf[1]));
    j->n = 2;
}

static void t_in_place(ag_context *c)
{
    for (size_t i = 0; i < sizeof in_place / sizeof *in_place; i++) {
        job j = { .name = in_place[i].name, .c = c, .prepare = prepare_values };
        check_step(&j, "values", in_place[i].run);
        j.prepare = prepare_graph;
        check_step(&j, "graph", in_place[i].run);
    }
}

static void t_creators_and_copies(ag_context *c)
{
    CHECK(ag_save_npy(ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3)), harness_path("call.npy")));
    for (size_t i = 0; i < sizeof create / sizeof *create; i++) {
        job j = { .name = create[i].name, .c = c, .prepare = prepare_values };
        check_step(&j, "call", create[i].run);
    }
}

/* ---- calls that give no tensor ---- */

static bool call_to_string(job *j)
{
    char *text = ag_to_string(j->leaf[0]);
    ag_free(text);
    return text != NULL;
}
static bool call_save_npy(job *j) { return ag_save_npy(j->leaf[0], harness_path("save.npy")); }
static bool call_write_dot(job *j) { return ag_write_dot(j->leaf[0], harness_path("graph.dot")); }
static bool call_retain_grad(job *j) { return ag_retain_grad(ag_exp(j->leaf[0])); }
static bool call_scope(job *j)
{
    ag_scope *s = ag_scope_begin(j->c);
    ag_tensor *kept = s ? ag_keep(ag_exp(j->leaf[0])) : NULL;
    ag_scope_end(s);
    return kept != NULL;
}
static bool call_copy_out(job *j)
{
    float to[6];
    return ag_copy_out(j->leaf[0], to, sizeof to);
}
static bool call_sgd(job *j)
{
    ag_optimizer *o = ag_sgd(&j->leaf[1], 1, .momentum = 0.9);
    ag_optimizer_free(o);
    return o != NULL;
}
static bool call_adam(job *j)
{
    ag_optimizer *o = ag_adam(&j->leaf[1], 1);
    ag_optimizer_free(o);
    return o != NULL;
}
static bool call_set_name(job *j)
{
    const bool ok = ag_set_name(j->leaf[0], "another");
    CHECK_TEXT(ag_name(j->leaf[0]), ok ? "another" : "x");
    return ok;
}
static bool call_set_grad(job *j)
{
    ag_tensor *x = ag_detach(j->leaf[1]), *g = ag_detach(j->leaf[1]);
    return g && ag_set_grad(x, g);
}

static bool square_sum(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_sum(ag_mul(in[0], in[0]))) != NULL;
}
static bool call_gradcheck(job *j) { return ag_gradcheck(square_sum, &j->leaf[1], 1, NULL); }
static bool call_gradgradcheck(job *j)
{
    return ag_gradgradcheck(square_sum, &j->leaf[1], 1, NULL);
}

static void t_calls_without_a_result(ag_context *c)
{
    const struct {
        const char *name;
        bool (*run)(job *j);
        bool graph;
    } calls[] = {
        { "to_string", call_to_string, false },
        { "save_npy", call_save_npy, false },
        { "copy_out", call_copy_out, false },
        { "write_dot", call_write_dot, true },
        { "retain_grad", call_retain_grad, true },
        { "scope", call_scope, true },
        { "sgd", call_sgd, true },
        { "adam", call_adam, true },
        { "set_name", call_set_name, false },
        { "set_grad", call_set_grad, false },
        { "gradcheck", call_gradcheck, true },
        { "gradgradcheck", call_gradgradcheck, true },
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        job j = { .name = calls[i].name,
                  .c = c,
                  .prepare = calls[i].graph ? prepare_graph : prepare_values };
        check_step(&j, "call", calls[i].run);
    }
}

/* ---- the tests ---- */

static const harness_test tests[] = {
#define ROW_TEST(name) TEST(t_row_##name),
#define UNARY(name, ...) ROW_TEST(name)
#define BINARY(name, ...) ROW_TEST(name)
#define TERNARY(name, ...) ROW_TEST(name)
#define PREDICATE1(name, ...) ROW_TEST(name)
#define PREDICATE2(name, ...) ROW_TEST(name)
#define STRUCTURED(name)
#include "ops/ops.def"
#define SAMPLE(name, row, shapes, traits, call) TEST(t_sample_##name),
#include "samples.def"
    TEST(t_in_place),
    TEST(t_creators_and_copies),
    TEST(t_calls_without_a_result),
};

int main(int argc, char **argv)
{
    return harness_run(argc, argv, tests, (int)(sizeof tests / sizeof *tests));
}
