/* One finalised graph, run by threads that each have a context and sessions of their own. Every result
 * is that of the dynamic graph, to the last bit. Run it under ThreadSanitizer too:
 * `cmake --preset threads`. */
#include "graphs.h"

#include <pthread.h>
#include <stdio.h>

enum { THREADS = 4, RUNS = 50, REOPEN = 10, RESULTS = 5, ROWS_MAX = 4 };

/* ---- what is computed: h = tanh(x w), then tanh(h w) again and again, then a branch ---- */

static ag_tensor *turns_left(ag_tensor *const *vars, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(vars[0], vars[1]);
}
static bool turn(ag_tensor *const *vars, int n, ag_tensor **next, void *w)
{
    (void)n;
    next[0] = ag_add(vars[0], 1);
    next[1] = vars[1];
    next[2] = ag_tanh(ag_matmul(vars[2], (ag_tensor *)w));
    return next[0] && next[2];
}
static bool doubled(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_mul(in[0], 2);
    return out[0] != NULL;
}
static bool squared(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    out[0] = ag_square(in[0]);
    return out[0] != NULL;
}

typedef struct {
    ag_tensor *x, *w, *turns;    /* [-1, 3], [3, 3], [] of i64 */
    ag_tensor *results[RESULTS]; /* turns made, h, loss, dloss/dx, dloss/dw */
} model;

/* Fills m->results from what it takes: one function for symbolic tensors and for data. */
static bool model_compute(ag_context *c, model *m)
{
    ag_tensor *zero = ag_scalar(c, 0, .dtype = AG_I64), *end[3] = { NULL }, *h = NULL;
    ag_tensor *const init[] = { zero, m->turns, ag_tanh(ag_matmul(m->x, m->w)) };
    if (!ag_while_loop(turns_left, turn, init, 3, end, .user = m->w) ||
        !ag_cond(ag_gt(ag_sum(end[2]), 0), doubled, squared, &end[2], 1, &h, 1))
        return false;
    ag_tensor *loss = ag_mean(ag_square(ag_sub(h, 1))), *const in[] = { m->x, m->w };
    m->results[0] = end[0];
    m->results[1] = h;
    m->results[2] = loss;
    return loss && ag_grad(&loss, 1, in, 2, &m->results[3]);
}

/* The inputs of a run: every thread and every run has others. Sums of h have either sign. */
static bool model_inputs(ag_context *c, model *m, int number, int run)
{
    float x[ROWS_MAX * 3], w[9];
    const int64_t turns = (number + run) % 4, rows = 1 + run % ROWS_MAX;
    for (int i = 0; i < ROWS_MAX * 3; i++)
        x[i] = (float)((i * 5 + run * 3 + number) % 11) / 8 - .7f;
    for (int i = 0; i < 9; i++)
        w[i] = (float)((i * 7 + run + number * 2) % 13) / 6 - .9f;
    m->x = ag_from_data(c, x, AG_F32, AG_SHAPE(rows, 3), .requires_grad = true);
    m->w = ag_from_data(c, w, AG_F32, AG_SHAPE(3, 3), .requires_grad = true);
    m->turns = ag_from_data(c, &turns, AG_I64, AG_SHAPE());
    return m->x && m->w && m->turns;
}

/* ---- threads ---- */

typedef struct {
    const model *recorded;
    ag_graph *g;
    ag_tensor *counted; /* an assignment that adds one to a variable */
    ag_backend backend;
    int number, runs;
    char error[256];
} worker;

static bool same_bits(ag_tensor *a, ag_tensor *b)
{
    unsigned char bytes[2][256];
    const size_t n = (size_t)ag_numel(b) * ag_dtype_size(ag_dtype_of(b));
    if (!a || ag_dtype_of(a) != ag_dtype_of(b) || ag_ndim(a) != ag_ndim(b) || n > sizeof bytes[0])
        return false;
    for (int d = 0; d < ag_ndim(b); d++)
        if (ag_size(a, d) != ag_size(b, d))
            return false;
    return ag_copy_out(a, bytes[0], n) && ag_copy_out(b, bytes[1], n) &&
           memcmp(bytes[0], bytes[1], n) == 0;
}

static bool work_fails(worker *k, ag_context *c, int run, const char *what)
{
    const ag_status *status = ag_error(c);
    snprintf(k->error, sizeof k->error, "thread %d, run %d: %s: %s", k->number, run, what,
             status ? status->message : "no error");
    return false;
}

static bool work_run(worker *k, ag_context *c, ag_session *s, int run)
{
    model m = { 0 };
    ag_tensor *got[RESULTS + 1] = { NULL }, *fetches[RESULTS + 1];
    if (!model_inputs(c, &m, k->number, run) || !model_compute(c, &m))
        return work_fails(k, c, run, "the dynamic graph");
    const ag_feed feeds[] = { { k->recorded->x, m.x },
                              { k->recorded->w, m.w },
                              { k->recorded->turns, m.turns } };
    for (int i = 0; i < RESULTS; i++)
        fetches[i] = k->recorded->results[i];
    fetches[RESULTS] = k->counted;
    if (!ag_session_run(s, feeds, 3, fetches, RESULTS + 1, got))
        return work_fails(k, c, run, "the run");
    for (int i = 0; i < RESULTS; i++)
        if (!same_bits(got[i], ag_detach(m.results[i]))) {
            char what[32];
            snprintf(what, sizeof what, "result %d differs", i);
            return work_fails(k, c, run, what);
        }
    return ag_item(got[RESULTS]) == run % REOPEN + 1 || work_fails(k, c, run, "the counter");
}

static void *work(void *argument)
{
    worker *k = argument;
    ag_context *c = ag_open();
    ag_session *s = NULL;
    bool ok = c != NULL || (strcpy(k->error, "no context"), false);
    for (int run = 0; run < k->runs && ok; run++)
        AG_SCOPE (c) {
            if (run % REOPEN == 0) { /* the variables of a new session begin anew */
                ag_session_free(s);
                s = ag_session_new(k->g, .context = c, .backend = k->backend);
            }
            ok = s ? work_run(k, c, s, run) : work_fails(k, c, run, "no session");
        }
    ag_session_free(s);
    ag_close(c);
    return NULL;
}

static void run_in_threads(ag_context *c, bool mixed, ag_backend backend)
{
    static worker workers[THREADS]; /* static: a failed check jumps */
    pthread_t threads[THREADS];
    ag_graph *g = graphs_graph(c);
    model m = { .x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 3)),
                .w = ag_placeholder(g, AG_F32, AG_SHAPE(3, 3)),
                .turns = ag_placeholder(g, AG_I64, AG_SHAPE()) };
    ag_tensor *counted = ag_assign_add(ag_variable(g, ag_scalar(c, 0)), ag_scalar(c, 1));
    CHECK(m.x && m.w && m.turns && counted && model_compute(c, &m) && ag_graph_finalize(g));
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){ .recorded = &m,
                               .g = g,
                               .counted = counted,
                               .backend = mixed ? graphs_backend[i % GRAPHS_BACKENDS] : backend,
                               .number = i,
                               .runs = harness_faults() ? 1 : RUNS };
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < THREADS; i++)
        if (workers[i].error[0])
            FAIL("%s", workers[i].error);
    CHECK(!ag_error(c));
}

static void t_interpreters(ag_context *c) { run_in_threads(c, false, AG_BACKEND_INTERPRET); }
static void t_plans(ag_context *c) { run_in_threads(c, false, AG_BACKEND_FUSED); }
static void t_both_at_once(ag_context *c) { run_in_threads(c, true, AG_BACKEND_FUSED); }

/* The inputs reach both branches and every number of turns, or the threads would show little. */
static void t_inputs_reach_everything(ag_context *c)
{
    bool positive = false, negative = false;
    int turns = 0;
    const int all = harness_faults() ? 0 : THREADS * RUNS;
    for (int run = 0; run < all; run++)
        AG_SCOPE (c) {
            model m = { 0 };
            CHECK(model_inputs(c, &m, run / RUNS, run % RUNS));
            ag_tensor *h = ag_tanh(ag_matmul(m.x, m.w));
            for (int64_t i = (int64_t)ag_item(m.turns); i > 0; i--)
                h = ag_tanh(ag_matmul(h, m.w));
            turns |= 1 << (int)ag_item(m.turns);
            CHECK(h);
            positive = positive || ag_item(ag_detach(ag_sum(h))) > 0;
            negative = negative || ag_item(ag_detach(ag_sum(h))) < 0;
        }
    CHECK(harness_faults() || (positive && negative && turns == 15));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_inputs_reach_everything), TEST(t_interpreters), TEST(t_plans),
               TEST(t_both_at_once));
}
