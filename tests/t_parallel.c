/*
 * Threads: the same bits for any number of them, for networks and for each operation whose work is
 * cut; contexts side by side, data shared between contexts, and a forked child that goes on computing.
 */
#define _POSIX_C_SOURCE 200809L

#include "harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ops/op.h"
#include "ops/pointwise.h"

enum { RESULTS = 65536, THREADS = 5 };

static int more(int threads) { return threads < 2 ? 2 : threads + 3; } /* 1, 2, 5 */

/* What a network of all families computes, loss and gradients, in order. Returns how many numbers. */
static int64_t compute(ag_context *c, float *out)
{
    const int64_t n_in = harness_faults() ? 3 : 300, hidden = harness_faults() ? 5 : 500;
    ag_manual_seed(c, 7);
    ag_tensor *x = ag_randn(c, AG_SHAPE(64, n_in));
    ag_tensor *w = ag_randn(c, AG_SHAPE(n_in, hidden), .requires_grad = true);
    ag_tensor *v = ag_randn(c, AG_SHAPE(hidden, 40), .requires_grad = true);
    ag_tensor *target = ag_randint(c, 0, 40, AG_SHAPE(64));
    ag_tensor *h = ag_layer_norm(ag_tanh(ag_mm(x, ag_mul(w, 0.1))), 1, NULL, NULL, 1e-5);
    ag_tensor *loss = ag_cross_entropy(ag_mm(ag_gelu(h, false), v), target);
    ag_tensor *all[] = { loss, ag_sum(w), ag_mean(ag_exp(ag_mul(w, .5)), .dims = AG_DIMS(0)), NULL,
                         NULL };
    CHECK(ag_backward(loss));
    all[3] = ag_sum(ag_grad_of(w), .dims = AG_DIMS(1));
    all[4] = ag_grad_of(v);
    int64_t n = 0;
    for (int i = 0; i < 5; i++) {
        CHECK(all[i] && n + ag_numel(all[i]) <= RESULTS);
        CHECK(ag_copy_out(all[i], out + n, (size_t)ag_numel(all[i]) * sizeof *out));
        n += ag_numel(all[i]);
    }
    return n;
}

static void t_same_bits_for_any_number_of_threads(ag_context *c)
{
    static float one[RESULTS], many[RESULTS];
    const int64_t n = compute(c, one);
    for (int threads = 2; threads <= (harness_faults() ? 2 : THREADS); threads = more(threads)) {
        ag_set_num_threads(c, threads);
        AG_SCOPE (c)
            CHECK_INT(compute(c, many), n);
        if (memcmp(one, many, (size_t)n * sizeof *one) != 0)
            FAIL("%d threads give other bits than one", threads);
    }
}

/* ---- every operation that is cut ---- */

static const ag_dtype dtypes[] = { AG_F32, AG_F64, AG_F16, AG_I64 };

/* rows x columns numbers between lo and hi; integers are spread wider. */
static ag_tensor *draw(ag_context *c, ag_dtype d, int64_t rows, int64_t columns, double lo,
                       double hi)
{
    const double wide = d == AG_I64 ? 10 : 1;
    ag_tensor *t = ag_rand(c, AG_SHAPE(rows, columns));
    return ag_to(ag_add(ag_mul(t, (hi - lo) * wide), lo * wide), d);
}

/* What is compared: up to four tensors, copied out of the first run. */
static struct {
    void *data[4];
    size_t bytes[4];
} first;

static void forget(void *unused)
{
    (void)unused;
    for (int i = 0; i < 4; i++) {
        free(first.data[i]);
        first.data[i] = NULL;
    }
}

/* Remembers the tensors of one thread, and compares those of several with them. */
static void compare(const char *what, ag_dtype d, int threads, ag_tensor *const *t)
{
    if (threads == 1)
        forget(NULL);
    for (int i = 0; i < 4; i++) {
        if (!t[i])
            continue;
        const size_t bytes = (size_t)ag_numel(t[i]) * ag_dtype_size(ag_dtype_of(t[i]));
        char *now = malloc(bytes);
        const bool copied = now && ag_copy_out(t[i], now, bytes);
        if (threads == 1 && copied) {
            first.data[i] = now;
            first.bytes[i] = bytes;
            continue;
        }
        const bool same =
            copied && bytes == first.bytes[i] && memcmp(now, first.data[i], bytes) == 0;
        free(now);
        if (!same)
            FAIL("%s, %s, result %d: %d threads give other bits than one", what, ag_dtype_name(d),
                 i, threads);
    }
}

/* Value and gradients of a row: of dense operands, or one turned, one spread and one dense. */
static void check_row(ag_context *c, const ag__op *op, ag_dtype d, bool mixed)
{
    const ag__pointwise *row = op->pointwise;
    const int64_t rows = row->keeps_integers ? 421 : 127, columns = 331;
    const bool differs = op->kind != AG_KIND_NODIFF && d != AG_I64;
    const ag__attrs attrs = { .p = 1, .q = 2 };
    ag_tensor *x[3] = { 0 };
    for (int k = 0; k < op->n_in; k++) {
        x[k] = mixed && k == 0   ? draw(c, d, columns, rows, row->lo, row->hi)
               : mixed && k == 1 ? draw(c, d, 1, columns, row->lo, row->hi)
                                 : draw(c, d, rows, columns, row->lo, row->hi);
        x[k] = mixed && k == 0 ? ag_transpose(x[k], 0, 1) : x[k];
        CHECK(x[k] && (!differs || ag_requires_grad_(x[k] = ag_detach(x[k]), true)));
    }
    for (int threads = 1; threads <= THREADS; threads = more(threads))
        AG_SCOPE (c) {
            ag_tensor *t[4] = { 0 };
            ag_set_num_threads(c, threads);
            CHECK(t[0] = ag__run1(op, x, op->n_in, &attrs));
            if (differs)
                CHECK(ag_grad(&t[0], 1, x, op->n_in, t + 1, .grad_outputs = &t[0],
                              .allow_unused = true));
            compare(op->name, d, threads, t);
        }
}

static void t_pointwise_rows_do_not_depend_on_threads(ag_context *c)
{
    if (harness_faults()) /* there are tests of failures enough without this size */
        return;
    harness_defer(forget, NULL);
    for (int i = 0; i < AG_OP_COUNT; i++)
        for (int k = 0; ag__ops[i]->pointwise && k < 8; k++)
            AG_SCOPE (c)
                check_row(c, ag__ops[i], dtypes[k / 2], k % 2);
}

static ag_tensor *run_sum(ag_tensor *x, int d) { return ag_sum(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_mean(ag_tensor *x, int d) { return ag_mean(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_prod(ag_tensor *x, int d) { return ag_prod(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_amax(ag_tensor *x, int d) { return ag_amax(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_amin(ag_tensor *x, int d) { return ag_amin(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_argmax(ag_tensor *x, int d) { return ag_argmax(x, d, false); }
static ag_tensor *run_var(ag_tensor *x, int d) { return ag_var(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_std(ag_tensor *x, int d) { return ag_std(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_lse(ag_tensor *x, int d) { return ag_logsumexp(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_argmin(ag_tensor *x, int d) { return ag_argmin(x, d, false); }
static ag_tensor *run_nansum(ag_tensor *x, int d) { return ag_nansum(x, .dims = AG_DIMS(d)); }
static ag_tensor *run_count(ag_tensor *x, int d)
{
    return ag_count_nonzero(ag_gt(x, .5), .dims = AG_DIMS(d));
}
static ag_tensor *run_norm1(ag_tensor *x, int d) { return ag_norm(x, 1, .dims = AG_DIMS(d)); }
static ag_tensor *run_norm2(ag_tensor *x, int d) { return ag_norm(x, 2, .dims = AG_DIMS(d)); }
static ag_tensor *run_norm3(ag_tensor *x, int d) { return ag_norm(x, 3, .dims = AG_DIMS(d)); }
static ag_tensor *run_least(ag_tensor *x, int d)
{
    return ag_norm(ag_add(x, 3), -INFINITY, .dims = AG_DIMS(d));
}
/* Values and indices together. */
static ag_tensor *run_both(bool ok, ag_tensor **t)
{
    return ok ? ag_cat((ag_tensor *[]){ ag_to(t[0], AG_F64), ag_to(t[1], AG_F64) }, 2, 0) : NULL;
}
static ag_tensor *run_max(ag_tensor *x, int d)
{
    ag_tensor *t[2];
    return run_both(ag_max_dim(x, d, false, t, t + 1), t);
}
static ag_tensor *run_median(ag_tensor *x, int d)
{
    ag_tensor *t[2];
    return run_both(ag_median_dim(x, d, true, t, t + 1), t);
}
static ag_tensor *run_sort(ag_tensor *x, int d)
{
    ag_tensor *t[2];
    return run_both(ag_sort(x, d, true, t, t + 1), t);
}
static ag_tensor *run_cummin(ag_tensor *x, int d)
{
    ag_tensor *t[2];
    return run_both(ag_cummin(x, d, t, t + 1), t);
}
static ag_tensor *run_norm(ag_tensor *x, int d)
{
    return ag_layer_norm(x, 2 - d, NULL, NULL, 1e-5);
}
static ag_tensor *run_copy(ag_tensor *x, int d) { return ag_clone(d ? x : ag_transpose(x, 0, 1)); }
static ag_tensor *run_cast(ag_tensor *x, int d) { return ag_to(x, d ? AG_F16 : AG_I32); }
static ag_tensor *run_gap(ag_tensor *x, int d)
{
    return ag_contiguous(ag_slice(x, d, 1, ag_size(x, d), 2));
}
static ag_tensor *run_adam(ag_tensor *x, int d)
{
    ag_tensor *p = ag_requires_grad_(ag_detach(ag_clone(x)), true);
    ag_optimizer *o = d ? ag_adam(&p, 1) : ag_sgd(&p, 1, .momentum = .9);
    const bool ok = ag_backward(ag_sum(ag_mul(p, p))) && ag_step(o) && ag_step(o);
    ag_optimizer_free(o);
    return ok ? p : NULL;
}

static const struct {
    const char *name;
    ag_tensor *(*run)(ag_tensor *x, int dim);
    enum { ANY, FLOATS, WIDE } dtypes; /* WIDE: f32 and f64 */
} runs[] = {
    { "sum", run_sum, ANY },
    { "prod", run_prod, ANY },
    { "amax", run_amax, ANY },
    { "amin", run_amin, ANY },
    { "argmax", run_argmax, ANY },
    { "mean", run_mean, FLOATS },
    { "var", run_var, FLOATS },
    { "std", run_std, FLOATS },
    { "logsumexp", run_lse, FLOATS },
    { "argmin", run_argmin, ANY },
    { "nansum", run_nansum, ANY },
    { "count_nonzero", run_count, ANY },
    { "norm of 1", run_norm1, FLOATS },
    { "norm of 2", run_norm2, FLOATS },
    { "norm of 3", run_norm3, FLOATS },
    { "norm of -infinity", run_least, FLOATS },
    { "max_dim", run_max, WIDE },
    { "median_dim", run_median, WIDE },
    { "sort", run_sort, WIDE },
    { "cummin", run_cummin, WIDE },
    { "cumsum", ag_cumsum, ANY },
    { "cumprod", ag_cumprod, ANY },
    { "logcumsumexp", ag_logcumsumexp, FLOATS },
    { "softmax", ag_softmax, FLOATS },
    { "log_softmax", ag_log_softmax, FLOATS },
    { "layer_norm", run_norm, FLOATS },
    { "copy", run_copy, ANY },
    { "cast", run_cast, ANY },
    { "gap", run_gap, ANY },
    { "optimizers", run_adam, WIDE },
};

/* One operation along both dimensions of a matrix that is dense, turned or spread. */
static void check_run(ag_context *c, int i, ag_dtype d, int64_t rows, int64_t columns, int layout)
{
    ag_tensor *x = layout == 2 ? draw(c, d, 1, columns, -1, 1)
                   : layout    ? draw(c, d, columns, rows, -1, 1)
                               : draw(c, d, rows, columns, -1, 1);
    x = layout == 2 ? ag_expand(x, AG_SHAPE(rows, columns)) : layout ? ag_transpose(x, 0, 1) : x;
    for (int dim = 0; dim < 2; dim++) {
        for (int threads = 1; threads <= THREADS; threads = more(threads))
            AG_SCOPE (c) {
                ag_tensor *t[4] = { 0 };
                ag_set_num_threads(c, threads);
                CHECK(t[0] = runs[i].run(x, dim));
                compare(runs[i].name, d, threads, t);
            }
    }
}

static void t_lanes_and_copies_do_not_depend_on_threads(ag_context *c)
{
    static const int64_t shapes[][2] = { { 1, 270001 }, { 140001, 2 }, { 300, 501 } };
    harness_defer(forget, NULL);
    for (int i = 0; i < (int)(sizeof runs / sizeof *runs) && !harness_faults(); i++)
        for (int k = 0; k < (runs[i].dtypes == ANY ? 4 : runs[i].dtypes == FLOATS ? 3 : 2); k++)
            for (int s = 0; s < (k == 0 ? 9 : k == 1 ? 6 : 3); s++)
                AG_SCOPE (c)
                    check_run(c, i, dtypes[k], shapes[s % 3][0], shapes[s % 3][1], s / 3);
}

/* Reductions whose rows are cut, against the plain ones. */
static void t_rows_that_are_cut(ag_context *c)
{
    enum { N = 270003 };
    static double data[N];
    double sum = 0, squares = 0, exps = 0, product = 1, cubes = 0, plain_squares = 0;
    for (int i = 0; i < N; i++) {
        data[i] = 1 + (i * 7919 % 1000 - 499.5) / 1e5;
        sum += data[i];
        exps += exp(data[i]);
        plain_squares += data[i] * data[i];
        cubes += data[i] * data[i] * data[i];
        product *= data[i];
    }
    for (int i = 0; i < N; i++)
        squares += (data[i] - sum / N) * (data[i] - sum / N);
    data[99991] = data[130000] = 1.5; /* and the least, as far to the other side */
    data[77] = .5;
    ag_tensor *all = ag_array(c, ((ag_values){ data, N }), AG_SHAPE(N), .dtype = AG_F64);
    ag_tensor *plain = ag_clone(all);
    CHECK(plain);
    CHECK_CLOSE(ag_item(ag_argmax(plain, 0, false)), 99991, 0);
    CHECK_CLOSE(ag_item(ag_amax(plain)), 1.5, 0);
    CHECK_CLOSE(ag_item(ag_argmin(plain, 0, false)), 77, 0);
    CHECK_CLOSE(ag_item(ag_amin(plain)), .5, 0);
    CHECK(ag_fill_(ag_select(plain, 0, 130000), (double)NAN));
    CHECK_CLOSE(ag_item(ag_argmax(plain, 0, false)), 130000, 0);
    CHECK_CLOSE(ag_item(ag_amax(plain)), (double)NAN, 0);
    for (int i = 0; i < N; i++)
        data[i] = 1 + (i * 7919 % 1000 - 499.5) / 1e5;
    for (int columns = 1; columns < 3; columns++) { /* all alike */
        ag_tensor *x = ag_array(c, ((ag_values){ data, N }), AG_SHAPE(N, 1), .dtype = AG_F64);
        x = ag_contiguous(ag_expand(x, AG_SHAPE(N, columns)));
        const int64_t k = columns - 1;
        CHECK(x);
        CHECK_CLOSE(ag_at(run_sum(x, 0), k), sum, 1e-13);
        CHECK_CLOSE(ag_at(run_nansum(x, 0), k), sum, 1e-13);
        CHECK_CLOSE(ag_at(run_norm1(ag_neg(x), 0), k), sum, 1e-13);
        CHECK_CLOSE(ag_at(run_norm2(ag_neg(x), 0), k), sqrt(plain_squares), 1e-13);
        CHECK_CLOSE(ag_at(run_norm3(ag_neg(x), 0), k), cbrt(cubes), 1e-13);
        CHECK_CLOSE(ag_at(ag_norm(ag_neg(x), INFINITY, .dims = AG_DIMS(0)), k), 1.004995, 1e-15);
        CHECK_CLOSE(ag_at(ag_norm(ag_neg(x), -INFINITY, .dims = AG_DIMS(0)), k), .995005, 1e-15);
        CHECK_CLOSE(ag_at(ag_count_nonzero(x, .dims = AG_DIMS(0)), k), N, 0);
        CHECK_CLOSE(ag_at(run_mean(x, 0), k), sum / N, 1e-13);
        CHECK_CLOSE(ag_at(run_var(x, 0), k), squares / (N - 1), 1e-13);
        CHECK_CLOSE(ag_at(run_std(x, 0), k), sqrt(squares / (N - 1)), 1e-13);
        CHECK_CLOSE(ag_at(run_lse(x, 0), k), log(exps), 1e-13);
        CHECK_CLOSE(ag_at(run_prod(x, 0), k), product, 1e-9);
        CHECK_CLOSE(ag_at(ag_softmax(x, 0), 5, k), exp(data[5]) / exps, 1e-17);
        CHECK_CLOSE(ag_at(ag_log_softmax(x, 0), 5, k), data[5] - log(exps), 1e-13);
    }
}

static void t_batches_are_split_too(ag_context *c)
{
    static float one[3 * 400 * 40], many[3 * 400 * 40];
    ag_tensor *a = ag_randn(c, AG_SHAPE(3, 400, 200)), *b = ag_randn(c, AG_SHAPE(3, 200, 40));
    CHECK(ag_copy_out(ag_bmm(a, b), one, sizeof one));
    ag_set_num_threads(c, 3);
    CHECK(ag_copy_out(ag_bmm(a, b), many, sizeof many));
    CHECK(memcmp(one, many, sizeof one) == 0);
    for (int k = 0; k < 3; k++) {
        ag_tensor *y = ag_mm(ag_select(a, 0, k), ag_select(b, 0, k));
        CHECK_CLOSE(ag_at(y, 399, 39), (double)one[(k + 1) * 400 * 40 - 1], 1e-4);
    }
}

/* Without threads in the child, a pool that is waited for would hang: alarm ends it then. */
static void t_a_forked_child_goes_on(ag_context *c)
{
    static float parent[RESULTS], child[RESULTS];
    if (harness_faults()) /* one process is enough there */
        return;
    ag_set_num_threads(c, 3);
    const int64_t n = compute(c, parent);
    const pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        alarm(60);
        const bool same =
            compute(c, child) == n && memcmp(parent, child, (size_t)n * sizeof *child) == 0;
        ag_close(c);
        _exit(same ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

typedef struct {
    float out[RESULTS];
    int64_t n;
    bool ok;
} worker;

static void *run_worker(void *arg)
{
    worker *w = arg;
    ag_context *c = ag_open();
    for (int i = 0; c && i < 3; i++)
        AG_SCOPE (c) {
            ag_tensor *x = ag_arange(c, 0, 1000, 1, .requires_grad = true);
            w->ok = ag_backward(ag_sum(ag_sin(ag_mul(x, x)))) &&
                    ag_copy_out(ag_grad_of(x), w->out, 1000 * sizeof(float));
        }
    ag_close(c);
    return NULL;
}

static void t_contexts_run_side_by_side(ag_context *c)
{
    static worker workers[8];
    pthread_t threads[8];
    (void)c;
    for (int i = 0; i < 8; i++)
        CHECK(pthread_create(&threads[i], NULL, run_worker, &workers[i]) == 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < 8; i++)
        CHECK(workers[i].ok && memcmp(workers[i].out, workers[0].out, 4000) == 0);
}

static void t_shared_storage(ag_context *c)
{
    ag_context *d = ag_open();
    CHECK(d);
    for (int size = 1; size <= 1000; size *= 10) { /* inside the tensor's block and beside it */
        ag_tensor *t = ag_arange(c, 0, size + 1, 1, .requires_grad = true);
        ag_tensor *part = ag_slice(ag_detach(t), 0, 1, size + 1, 1);
        ag_tensor *u = ag_share(d, part);
        if (!u) { /* memory was made to fail */
            ag_close(d);
            FAIL("ag_share failed");
        }
        CHECK(ag_context_of(u) == d && ag_is_leaf(u) && !ag_requires_grad(u));
        CHECK_INT(ag_numel(u), size);
        CHECK(ag_fill_(u, 7));
        CHECK_CLOSE(ag_at(t, size), 7, 0);
        CHECK_CLOSE(ag_at(t, 0), 0, 0);
        ag_drop(t);
        ag_drop(part);
        CHECK_CLOSE(ag_at(u, 0), 7, 0); /* outlives the other context's tensors */
    }
    ag_close(d);
}

/* The context that made the data closes first. */
static void t_shared_storage_outlives_its_context(ag_context *c)
{
    ag_context *d = ag_open();
    CHECK(d);
    ag_tensor *u = ag_share(c, ag_full(d, AG_SHAPE(100), 3));
    ag_close(d);
    CHECK(u);
    CHECK_CLOSE(ag_item(ag_sum(u)), 300, 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_same_bits_for_any_number_of_threads),
               TEST(t_pointwise_rows_do_not_depend_on_threads),
               TEST(t_lanes_and_copies_do_not_depend_on_threads), TEST(t_rows_that_are_cut),
               TEST(t_batches_are_split_too), TEST(t_a_forked_child_goes_on),
               TEST(t_contexts_run_side_by_side), TEST(t_shared_storage),
               TEST(t_shared_storage_outlives_its_context));
}
