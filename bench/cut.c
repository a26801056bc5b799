/*
 * What a step of training takes: peak of memory beside parameters and data, and time.
 *
 *   mlp     layers of linear, gelu and layer_norm, and a softmax: in the dynamic graph, and as a compiled
 *           function with its backward pass.
 *   lstm    along sequences by ag_scan: in the dynamic graph, and as a run of a session that fetches the
 *           gradients.
 */
#define _POSIX_C_SOURCE 200809L

#include <autograd.h>

#include <stdio.h>

#include "timing.h"

enum { STEPS = 20, LAYERS = 4, CLASSES = 10, MLP_PARAMS = 4 * LAYERS + 2, LSTM_PARAMS = 3 };

/* A step, and what it is given. */
typedef struct task {
    void (*step)(struct task *t);
    ag_context *c;
    ag_tensor **p, *x, *answer;
    int n_params;
    int64_t batch, width;
    ag_function *compiled;
    ag_session *session;
    size_t before; /* bytes in use without any step */
    ag_tensor *fetched[LSTM_PARAMS], *fed;
} task;

static void measure(task *t, const char *name)
{
    double times[STEPS];
    ag_memory_statistics stats;
    for (int k = 0; k < STEPS + 2; k++)
        AG_SCOPE (t->c) {
            const double from = now_ms();
            t->step(t);
            if (k >= 2)
                times[k - 2] = now_ms() - from;
        }
    ag_memory_stats(t->c, &stats);
    printf("%-34s %8.0f KiB %9.3f ms\n", name, (double)(stats.peak_bytes - t->before) / 1024,
           median(times, STEPS));
}

/* Gradients are there from the beginning. */
static void begin(task *t)
{
    ag_memory_statistics stats;
    for (int i = 0; i < t->n_params; i++) {
        ag_requires_grad_(t->p[i], true);
        ag_set_grad(t->p[i], ag_zeros_like(t->p[i]));
    }
    ag_memory_stats(t->c, &stats);
    t->before = stats.current_bytes;
}

/* ---- mlp ---- */

/* in: x, answer, parameters; out: the loss */
static bool mlp(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *h = in[0], *const *p = in + 2;
    (void)n, (void)m, (void)user;
    for (int k = 0; k < LAYERS; k++, p += 4) {
        h = ag_gelu(ag_linear(h, p[0], p[1]), false);
        h = ag_layer_norm(h, 1, p[2], p[3], 1e-5);
    }
    out[0] = ag_mse_loss(ag_softmax(ag_linear(h, p[0], p[1]), 1), in[1]);
    return out[0] != NULL;
}

static void mlp_step(task *t)
{
    ag_tensor *in[MLP_PARAMS + 2] = { t->x, t->answer }, *loss;
    for (int i = 0; i < t->n_params; i++)
        in[i + 2] = t->p[i];
    if (t->compiled)
        ag_call(t->compiled, in, t->n_params + 2, &loss, 1);
    else
        mlp(in, t->n_params + 2, &loss, 1, t);
    ag_backward(loss);
}

static void mlp_measure(int64_t batch, int64_t width, bool compiled)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_tensor *p[MLP_PARAMS];
    for (int k = 0; k <= LAYERS; k++) {
        const int64_t out = k < LAYERS ? width : CLASSES;
        p[4 * k] = ag_kaiming_uniform_(ag_empty(c, AG_SHAPE(out, width)), 0);
        p[4 * k + 1] = ag_zeros(c, AG_SHAPE(out));
        if (k == LAYERS)
            continue;
        p[4 * k + 2] = ag_ones(c, AG_SHAPE(width));
        p[4 * k + 3] = ag_zeros(c, AG_SHAPE(width));
    }
    task t = { mlp_step,
               c,
               p,
               ag_randn(c, AG_SHAPE(batch, width)),
               ag_rand(c, AG_SHAPE(batch, CLASSES)),
               MLP_PARAMS,
               batch,
               width,
               .compiled = NULL };
    begin(&t);
    if (compiled)
        t.compiled = ag_compile(c, mlp, 1, &t);
    char name[64];
    snprintf(name, sizeof name, "mlp %dx%d, %s", (int)batch, (int)width,
             compiled ? "compiled" : "dynamic graph");
    measure(&t, name);
    ag_function_free(t.compiled);
    ag_close(c);
}

/* ---- lstm ---- */

static bool cell(ag_tensor *const *state, int n, ag_tensor *const *x, int k, ag_tensor **next,
                 ag_tensor **y, int m, void *user)
{
    ag_tensor *const *p = user, *gate[4];
    (void)n, (void)k, (void)y, (void)m;
    ag_tensor *sum = ag_add(ag_linear(x[0], p[0], p[2]), ag_linear(state[0], p[1], NULL));
    if (ag_chunk(sum, 4, 1, gate, 4) != 4)
        return false;
    ag_tensor *in = ag_mul(ag_sigmoid(gate[0]), ag_tanh(gate[1]));
    ag_tensor *kept = ag_mul(ag_sigmoid(gate[2]), state[1]);
    next[1] = ag_add(in, kept);
    next[0] = ag_mul(ag_sigmoid(gate[3]), ag_tanh(next[1]));
    return next[0] != NULL;
}

static ag_tensor *lstm(const task *t, ag_tensor **p, ag_tensor *x)
{
    ag_tensor *zero = ag_zeros(t->c, AG_SHAPE(t->batch, t->width));
    ag_tensor *init[] = { zero, zero }, *last[2];
    ag_scan(cell, init, 2, &x, 1, last, NULL, 0, .user = p);
    return ag_mean(ag_square(last[0]));
}

static void lstm_step(task *t)
{
    ag_tensor *results[LSTM_PARAMS];
    const ag_feed feed = { t->fed, t->x };
    if (t->session)
        ag_session_run(t->session, &feed, 1, t->fetched, LSTM_PARAMS, results);
    else
        ag_backward(lstm(t, t->p, t->x));
}

static void lstm_measure(int64_t length, int64_t batch, int64_t width, bool session)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_tensor *p[] = { ag_xavier_uniform_(ag_empty(c, AG_SHAPE(4 * width, 2)), 1),
                       ag_xavier_uniform_(ag_empty(c, AG_SHAPE(4 * width, width)), 1),
                       ag_zeros(c, AG_SHAPE(4 * width)) };
    task t = { lstm_step,      c,           p,     ag_randn(c, AG_SHAPE(length, batch, 2)),
               NULL,           LSTM_PARAMS, batch, width,
               .session = NULL };
    begin(&t);
    ag_graph *g = NULL;
    if (session) {
        ag_tensor *v[LSTM_PARAMS], *loss;
        g = ag_graph_new(c);
        t.fed = ag_placeholder(g, AG_F32, AG_SHAPE(-1, batch, 2));
        for (int i = 0; i < LSTM_PARAMS; i++)
            v[i] = ag_variable(g, ag_detach(p[i]));
        loss = lstm(&t, v, t.fed);
        ag_grad(&loss, 1, v, LSTM_PARAMS, t.fetched);
        t.session = ag_session_new(g);
    }
    char name[64];
    snprintf(name, sizeof name, "lstm %dx%dx%d, %s", (int)length, (int)batch, (int)width,
             session ? "session" : "dynamic graph");
    measure(&t, name);
    if (session) {
        ag_session_statistics stats;
        ag_session_stats(t.session, &stats);
        printf("%-34s %8.0f KiB\n", "  its arena", (double)stats.arena_bytes / 1024);
    }
    ag_session_free(t.session);
    ag_graph_free(g);
    ag_close(c);
}

int main(void)
{
    for (int k = 0; k < 2; k++)
        mlp_measure(256, 256, k);
    for (int k = 0; k < 2; k++)
        mlp_measure(4096, 64, k);
    for (int k = 0; k < 2; k++)
        lstm_measure(15, 64, 16, k);
    for (int k = 0; k < 2; k++)
        lstm_measure(100, 32, 64, k);
    return 0;
}
