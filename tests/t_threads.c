/* Contexts in threads of their own: nothing is shared between them but what ag_share shares. Run it
 * under ThreadSanitizer too: `cmake --preset threads`. */
#include "harness.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 16, STEPS = 20 };

typedef struct {
    int number;
    double loss;
    bool ok;
} worker;

/* A net of one hidden layer learns a line: everything that a program does in a context. */
static bool learns(ag_context *c, int number, double *loss)
{
    ag_manual_seed(c, 7 + (uint64_t)(number % 4));
    ag_tensor *x = ag_randn(c, AG_SHAPE(16, 4)), *target = ag_sum(x, .dims = AG_DIMS(1));
    ag_tensor *p[] = { ag_randn(c, AG_SHAPE(8, 4), .requires_grad = true),
                       ag_randn(c, AG_SHAPE(1, 8), .requires_grad = true) };
    if (!target || !p[0] || !p[1])
        return false;
    ag_optimizer *o = ag_sgd(p, 2, .lr = .01);
    for (int i = 0; o && i < STEPS; i++)
        AG_SCOPE (c) {
            ag_tensor *h = ag_linear(ag_tanh(ag_linear(x, p[0], NULL)), p[1], NULL);
            ag_tensor *l = ag_mse_loss(ag_squeeze(h, 1), target);
            ag_optimizer_zero_grad(o);
            *loss = l ? ag_item(l) : NAN;
            if (!ag_backward(l) || !ag_step(o))
                *loss = NAN;
        }
    ag_optimizer_free(o);
    return o && !isnan(*loss);
}

static void *work(void *argument)
{
    worker *w = argument;
    ag_context *c = ag_open();
    w->ok = c && learns(c, w->number, &w->loss);
    ag_close(c);
    return NULL;
}

static void t_contexts_in_parallel(ag_context *c)
{
    (void)c;
    pthread_t threads[THREADS];
    worker workers[THREADS] = { { 0 } };
    for (int i = 0; i < THREADS; i++) {
        workers[i].number = i;
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++) {
        CHECK(workers[i].ok);
        CHECK_CLOSE(workers[i].loss, workers[i % 4].loss, 0);
    }
}

typedef struct {
    ag_context *c;
    ag_tensor *shared; /* a leaf of c over storage that all threads read */
    double gradient;
    bool ok;
} reader;

static void *reads(void *argument)
{
    reader *r = argument;
    for (int i = 0; i < STEPS; i++)
        AG_SCOPE (r->c) {
            ag_tensor *x = ag_requires_grad_(ag_detach(r->shared), true);
            ag_tensor *y = x ? ag_sum(ag_mul(x, ag_mul(x, x))) : NULL;
            r->ok = y && ag_backward(y);
            r->gradient = r->ok ? ag_at(ag_grad_of(x), 3) : NAN;
        }
    return NULL;
}

static void t_shared_storage(ag_context *c)
{
    ag_tensor *x = ag_arange(c, 0, 8, 1, .dtype = AG_F64);
    CHECK(x);
    pthread_t threads[THREADS];
    reader readers[THREADS] = { { 0 } };
    int started = 0;
    bool all = true;
    for (int i = 0; i < THREADS && all; i++) {
        readers[i].c = ag_open();
        readers[i].shared = readers[i].c ? ag_share(readers[i].c, x) : NULL;
        all = readers[i].shared != NULL;
    }
    for (int i = 0; i < THREADS && all; i++)
        started += pthread_create(&threads[i], NULL, reads, &readers[i]) == 0;
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    bool right = started == THREADS;
    for (int i = 0; i < THREADS; i++) {
        right = right && readers[i].ok && readers[i].gradient == 27;
        ag_close(readers[i].c);
    }
    CHECK(!ag_error(c));
    CHECK(!all || right);
}

/* ---- cancelling ---- */

static ag_tensor *cancels(ag_tensor *grad, void *user)
{
    (void)grad;
    ag_set_cancelled(user, true);
    return NULL;
}

static void t_a_pass_is_cancelled(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y = ag_exp(x), *z = ag_sin(y);
    ag_tensor *s = ag_sum(z);
    CHECK(s);
    ag_hook *h = ag_register_hook(z, cancels, c);
    CHECK(h);
    WATCH(x);
    CHECK_ERROR(ag_backward(s), AG_ERR_CANCELLED, "backward was cancelled before ExpBackward0");
    CHECK_ERROR(ag_backward(s), AG_ERR_CANCELLED, "backward was cancelled before SumBackward0");
    UNWATCH();
    CHECK(!ag_grad_of(x));
    ag_hook_remove(h);
    ag_set_cancelled(c, false);
    CHECK(ag_backward(s)); /* nothing was given up */
    CHECK_CLOSE(ag_at(ag_grad_of(x), 0), exp(1) * cos(exp(1)), 1e-6);
}

static void *cancels_soon(void *c)
{
    usleep(2000);
    ag_set_cancelled(c, true);
    return NULL;
}

static void t_another_thread_cancels(ag_context *c)
{
    ag_tensor *x = ag_scalar(c, 1, .requires_grad = true), *y = x;
    for (int i = 0; i < 200; i++)
        y = ag_sin(y);
    CHECK(y);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, cancels_soon, c) == 0);
    bool ok = true;
    while (ok) {
        ag_zero_grad(x);
        ok = ag_backward(y, .retain_graph = true);
    }
    pthread_join(thread, NULL);
    CHECK_INT(ag_error(c)->code, harness_faults() ? ag_error(c)->code : AG_ERR_CANCELLED);
    ag_set_cancelled(c, false);
}

#ifdef __SANITIZE_THREAD__
enum { CAN_FORK = 0 }; /* the sanitizer lets no child of a threaded program start threads */
#else
enum { CAN_FORK = 1 };
#endif

/* A child process goes on with the graph of its parent. */
static void t_a_forked_child_goes_on(ag_context *c)
{
    if (harness_faults() || !CAN_FORK)
        return;
    ag_set_num_threads(c, 2);
    ag_tensor *x = ag_full(c, AG_SHAPE(300, 300), .5, .requires_grad = true);
    ag_tensor *s = ag_sum(ag_tanh(ag_matmul(x, x)));
    CHECK(ag_backward(s, .retain_graph = true));
    const double expected = ag_at(ag_grad_of(x), 1, 2);
    const pid_t child = fork();
    if (child == 0) {
        ag_zero_grad(x);
        const bool ok = ag_backward(s) && ag_at(ag_grad_of(x), 1, 2) == expected;
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(ag_backward(s));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_contexts_in_parallel), TEST(t_shared_storage), TEST(t_a_pass_is_cancelled),
               TEST(t_another_thread_cancels), TEST(t_a_forked_child_goes_on));
}
