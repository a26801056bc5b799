/*
 * Threads: the same bits for any number of them, contexts side by side, data shared between contexts,
 * and a forked child that goes on computing.
 */
#define _POSIX_C_SOURCE 200809L

#include "harness.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RESULTS = 65536 };

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
    for (int threads = 2; threads <= (harness_faults() ? 2 : 5); threads++) {
        ag_set_num_threads(c, threads);
        AG_SCOPE(c)
            CHECK_INT(compute(c, many), n);
        if (memcmp(one, many, (size_t)n * sizeof *one) != 0)
            FAIL("%d threads give other bits than one", threads);
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
        const bool same = compute(c, child) == n &&
                          memcmp(parent, child, (size_t)n * sizeof *child) == 0;
        ag_close(c);
        _exit(same ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

typedef struct { float out[RESULTS]; int64_t n; bool ok; } worker;

static void *run_worker(void *arg)
{
    worker *w = arg;
    ag_context *c = ag_open();
    for (int i = 0; c && i < 3; i++)
        AG_SCOPE(c) {
            ag_tensor *x = ag_arange(c, 0, 1000, 1, .requires_grad = true);
            w->ok = ag_backward(ag_sum(ag_sin(ag_mul(x, x)))) &&
                    ag_copy_out(ag_grad_of(x), w->out, 1000 * sizeof(float));
        }
    ag_close(c);
    return NULL;
}

static void t_contexts_run_side_by_side(ag_context *c)
{
    enum { THREADS = 8 };
    static worker workers[THREADS];
    pthread_t threads[THREADS];
    (void)c;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, run_worker, &workers[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
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
    return RUN(TEST(t_same_bits_for_any_number_of_threads), TEST(t_batches_are_split_too),
               TEST(t_a_forked_child_goes_on), TEST(t_contexts_run_side_by_side),
               TEST(t_shared_storage), TEST(t_shared_storage_outlives_its_context));
}
