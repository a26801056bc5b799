/*
 * Long short-term memory (Hochreiter and Schmidhuber 1997) learns to add. Each sequence holds numbers
 * from 0 to 1, two of which are marked, one in each half; the answer, at its end, is their sum. The
 * cell is written once and ag_scan runs it along the sequence, whose length is left open (-1): trained
 * on 5 to 15 numbers, the network is tried on more. Adam's means are variables of the graph like the
 * parameters, so a step of training is one run.
 *
 *     graph_lstm [memory]
 *
 * With `memory` it also tells what a step takes, beside the same step in the dynamic graph. Any error
 * ends the program with its message.
 */
#include <autograd.h>

#include <stdio.h>
#include <string.h>

enum { SHORTEST = 5, LONGEST = 15, BATCH = 64, HIDDEN = 16, N_PARAMS = 5 };
enum { STEPS = 600, REPORT = 200 };
static const double RATE = 0.01, BETA1 = 0.9, BETA2 = 0.999;

/* ---- the network ---- */

/* From h, c and the next x to the next h and c; user is the list of parameters. */
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

/* (length, BATCH, 2) to (BATCH): a linear function of the last h. */
static ag_tensor *network(ag_tensor **p, ag_tensor *x)
{
    ag_context *c = ag_context_of(x);
    ag_tensor *zero = ag_zeros(c, AG_SHAPE(BATCH, HIDDEN)), *init[] = { zero, zero }, *last[2];
    if (!ag_scan(cell, init, 2, &x, 1, last, NULL, 0, .user = p))
        return NULL;
    return ag_squeeze(ag_linear(last[0], p[3], p[4]), 1);
}

static void make_params(ag_context *c, ag_tensor *p[N_PARAMS])
{
    p[0] = ag_xavier_uniform_(ag_empty(c, AG_SHAPE(4 * HIDDEN, 2)), 1);
    p[1] = ag_xavier_uniform_(ag_empty(c, AG_SHAPE(4 * HIDDEN, HIDDEN)), 1);
    p[2] = ag_zeros(c, AG_SHAPE(4 * HIDDEN));
    p[3] = ag_xavier_uniform_(ag_empty(c, AG_SHAPE(1, HIDDEN)), 1);
    p[4] = ag_zeros(c, AG_SHAPE(1));
}

/* ---- the task ---- */

/* (BATCH) places among `length` as rows of zeros with a one: (length, BATCH). */
static ag_tensor *marks(ag_tensor *places, int64_t length)
{
    return ag_to(ag_t(ag_one_hot(places, length)), AG_F32);
}

static void draw(ag_context *c, int64_t length, ag_tensor **x, ag_tensor **answer)
{
    ag_tensor *numbers = ag_rand(c, AG_SHAPE(length, BATCH));
    ag_tensor *early = ag_randint(c, 0, length / 2, AG_SHAPE(BATCH));
    ag_tensor *late = ag_randint(c, length / 2, length, AG_SHAPE(BATCH));
    ag_tensor *marked = ag_add(marks(early, length), marks(late, length));
    *x = ag_stack((ag_tensor *[]){ numbers, marked }, 2, 2);
    *answer = ag_sum(ag_mul(numbers, marked), .dims = AG_DIMS(0));
}

/* ---- the graph ---- */

typedef struct {
    ag_tensor *x, *answer; /* to be fed: (length, BATCH, 2) and (BATCH) */
    ag_tensor *loss;
    ag_tensor *step; /* fetching it updates all parameters */
} model;

/* The new value of p after step number t of Adam (Kingma and Ba 2015). */
static ag_tensor *adam(ag_tensor *p, ag_tensor *zeros, ag_tensor *gradient, ag_tensor *t)
{
    ag_graph *g = ag_graph_of(p);
    ag_tensor *mean = ag_variable(g, zeros), *square = ag_variable(g, zeros);
    mean = ag_assign(mean, ag_lerp(mean, gradient, 1 - BETA1));
    square = ag_assign(square, ag_lerp(square, ag_square(gradient), 1 - BETA2));
    ag_tensor *direction = ag_div(mean, ag_sub(1, ag_pow(BETA1, t)));
    ag_tensor *scale = ag_sqrt(ag_div(square, ag_sub(1, ag_pow(BETA2, t))));
    return ag_assign_sub(p, ag_mul(RATE, ag_div(direction, ag_add(scale, 1e-8))));
}

static model define(ag_graph *g)
{
    ag_context *c = ag_graph_context(g);
    ag_tensor *initial[N_PARAMS], *p[N_PARAMS], *gradients[N_PARAMS], *updates[N_PARAMS];
    model m = { .x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, BATCH, 2), .name = "x"),
                .answer = ag_placeholder(g, AG_F32, AG_SHAPE(BATCH), .name = "answer") };
    make_params(c, initial);
    for (int i = 0; i < N_PARAMS; i++)
        p[i] = ag_variable(g, initial[i]);
    m.loss = ag_mse_loss(network(p, m.x), m.answer);
    ag_grad(&m.loss, 1, p, N_PARAMS, gradients);

    ag_tensor *t = ag_variable(g, ag_scalar(c, 0, .dtype = AG_F64), .name = "t");
    t = ag_assign_add(t, 1);
    for (int i = 0; i < N_PARAMS; i++)
        updates[i] = adam(p[i], ag_zeros_like(initial[i]), gradients[i], t);
    m.step = ag_group(updates, N_PARAMS);
    return m;
}

/* Fetches `what` for fresh sequences of this length. */
static double run(ag_context *c, ag_session *s, const model *m, ag_tensor *what, int64_t length)
{
    double value = 0;
    AG_SCOPE (c) {
        ag_tensor *x, *answer, *result;
        draw(c, length, &x, &answer);
        const ag_feed feeds[] = { { m->x, x }, { m->answer, answer } };
        if (ag_session_run(s, feeds, 2, &what, 1, &result) && what == m->loss)
            value = ag_item(result);
    }
    return value;
}

/* ---- memory ---- */

/* What a step in the dynamic graph needs beside the data, the parameters and Adam's means. The first
 * step makes those; the peak is that of the second. */
static size_t dynamic_step(int64_t length)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_memory_statistics before, after;
    ag_tensor *p[N_PARAMS], *x, *answer;
    draw(c, length, &x, &answer);
    make_params(c, p);
    for (int i = 0; i < N_PARAMS; i++)
        ag_requires_grad_(p[i], true);
    ag_optimizer *o = ag_adam(p, N_PARAMS, .lr = RATE);
    for (int i = 0; i < 2; i++)
        AG_SCOPE (c) {
            ag_optimizer_zero_grad(o);
            ag_memory_stats(c, &before);
            ag_backward(ag_mse_loss(network(p, x), answer));
            ag_step(o);
            ag_memory_stats(c, &after);
        }
    ag_optimizer_free(o);
    ag_close(c);
    return after.peak_bytes - before.current_bytes;
}

static void tell_memory(ag_context *c, ag_session *s, const model *m)
{
    ag_session_statistics stats;
    run(c, s, m, m->step, LONGEST);
    ag_session_stats(s, &stats);
    const size_t dynamic = dynamic_step(LONGEST);
    printf("\nmemory of a step of %d numbers beside parameters and means:\n", LONGEST);
    printf("dynamic graph           %7zu bytes\n", dynamic);
    printf("compiled, in one arena  %7zu bytes, %.2f of that\n", stats.arena_bytes,
           (double)stats.arena_bytes / (double)dynamic);
}

int main(int argc, char **argv)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_manual_seed(c, 0);
    ag_graph *g = ag_graph_new(c);
    const model m = define(g);
    ag_session *s = ag_session_new(g);
    printf("mean squared error of the sum of two numbers (who always says 1 has 0.17)\n");
    for (int i = 1; i <= STEPS; i++) {
        run(c, s, &m, m.step, SHORTEST + i % (LONGEST - SHORTEST + 1));
        if (i % REPORT == 0)
            printf("after %d steps, among 10: %.2f\n", i, run(c, s, &m, m.loss, 10));
    }
    printf("then, among 20: %11.2f\n", run(c, s, &m, m.loss, 20));
    printf("and among 30: %13.2f\n", run(c, s, &m, m.loss, 30));
    if (argc > 1 && strcmp(argv[1], "memory") == 0)
        tell_memory(c, s, &m);
    ag_session_free(s);
    ag_graph_free(g);
    ag_close(c);
    return 0;
}
