/*
 * The handwritten digits of digits.c, learned by a static graph. The network, its loss, the gradients
 * and the updates of the parameters are defined once; a step of training is one run that fetches
 * `step`. The size of a batch is left open (-1), so the same graph trains on 32 images at a time, on
 * the 29 left over at the end of an epoch, and reads all test images at once.
 *
 *     graph_digits [memory] [directory of digits_images.npy and digits_labels.npy, default data]
 *
 * With `memory` it also tells what a step takes, beside the same step in the dynamic graph. Any error
 * ends the program with its message.
 */
#include <autograd.h>

#include <stdio.h>
#include <string.h>

enum { TRAIN = 1437, TEST = 360, PIXELS = 64, HIDDEN = 128, CLASSES = 10 };
enum { EPOCHS = 20, REPORT = 5, BATCH = 32, N_PARAMS = 4 };
static const double RATE = 0.06, MOMENTUM = 0.9;

typedef struct {
    ag_tensor *images, *labels;
} set; /* (n, 64) f32 in [0, 1] and (n) i64 */

/* ---- data and network ---- */

static ag_tensor *load(ag_context *c, const char *directory, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return ag_load_npy(c, path);
}

/* In an order of chance: the last images of the files are harder than the rest (data/README.md). */
static set load_shuffled(ag_context *c, const char *directory)
{
    ag_tensor *images = ag_to(load(c, directory, "digits_images.npy"), AG_F32);
    ag_tensor *labels = ag_to(load(c, directory, "digits_labels.npy"), AG_I64);
    ag_tensor *order = ag_randperm(c, TRAIN + TEST);
    images = ag_div(ag_reshape(images, AG_SHAPE(-1, PIXELS)), 16);
    return (set){ ag_index_select(images, 0, order), ag_index_select(labels, 0, order) };
}

static set part(set all, int64_t start, int64_t length)
{
    return (set){ ag_narrow(all.images, 0, start, length),
                  ag_narrow(all.labels, 0, start, length) };
}

static void make_params(ag_context *c, ag_tensor *p[N_PARAMS])
{
    p[0] = ag_kaiming_uniform_(ag_empty(c, AG_SHAPE(HIDDEN, PIXELS)), 0);
    p[1] = ag_zeros(c, AG_SHAPE(HIDDEN));
    p[2] = ag_kaiming_uniform_(ag_empty(c, AG_SHAPE(CLASSES, HIDDEN)), 0);
    p[3] = ag_zeros(c, AG_SHAPE(CLASSES));
}

/* relu(x W1' + b1) W2' + b2 */
static ag_tensor *network(ag_tensor *const p[N_PARAMS], ag_tensor *x)
{
    return ag_linear(ag_relu(ag_linear(x, p[0], p[1])), p[2], p[3]);
}

/* ---- the graph ---- */

typedef struct {
    ag_tensor *images, *labels; /* to be fed */
    ag_tensor *loss, *accuracy;
    ag_tensor *step; /* fetching it updates all parameters */
} model;

static model define(ag_graph *g)
{
    static const char *const names[N_PARAMS] = { "weight1", "bias1", "weight2", "bias2" };
    ag_tensor *initial[N_PARAMS], *p[N_PARAMS], *gradients[N_PARAMS], *updates[N_PARAMS];
    model m = { .images = ag_placeholder(g, AG_F32, AG_SHAPE(-1, PIXELS), .name = "images"),
                .labels = ag_placeholder(g, AG_I64, AG_SHAPE(-1), .name = "labels") };
    make_params(ag_graph_context(g), initial);
    for (int i = 0; i < N_PARAMS; i++)
        p[i] = ag_variable(g, initial[i], .name = names[i]);

    ag_tensor *scores = network(p, m.images);
    ag_tensor *correct = ag_eq(ag_argmax(scores, 1, false), m.labels);
    m.accuracy = ag_mean(ag_to(correct, AG_F32));
    m.loss = ag_cross_entropy(scores, m.labels);

    ag_grad(&m.loss, 1, p, N_PARAMS, gradients);
    for (int i = 0; i < N_PARAMS; i++) {
        ag_tensor *velocity = ag_variable(g, ag_zeros_like(initial[i]));
        velocity = ag_assign(velocity, ag_add(ag_mul(MOMENTUM, velocity), gradients[i]));
        updates[i] = ag_assign_sub(p[i], ag_mul(RATE, velocity));
    }
    m.step = ag_group(updates, N_PARAMS);
    return m;
}

/* ---- training ---- */

static void run(ag_session *s, const model *m, set data, ag_tensor *const *fetches, int n,
                ag_tensor **results)
{
    const ag_feed feeds[] = { { m->images, data.images }, { m->labels, data.labels } };
    ag_session_run(s, feeds, 2, fetches, n, results);
}

static void train_epoch(ag_context *c, ag_session *s, const model *m, set train)
{
    ag_tensor *order = ag_randperm(c, TRAIN), *done;
    for (int64_t start = 0; start < TRAIN; start += BATCH)
        AG_SCOPE (c) {
            const int64_t n = start + BATCH <= TRAIN ? BATCH : TRAIN - start;
            ag_tensor *which = ag_narrow(order, 0, start, n);
            const set batch = { ag_index_select(train.images, 0, which),
                                ag_index_select(train.labels, 0, which) };
            run(s, m, batch, &m->step, 1, &done);
        }
}

static void report(ag_context *c, ag_session *s, const model *m, int epoch, set train, set test)
{
    ag_tensor *loss, *accuracy;
    AG_SCOPE (c) {
        run(s, m, train, &m->loss, 1, &loss);
        run(s, m, test, &m->accuracy, 1, &accuracy);
        printf("after %2d epochs: training loss %.2f, %.0f %% of the test images read correctly\n",
               epoch, ag_item(loss), 100 * ag_item(accuracy));
    }
}

/* ---- memory ---- */

/* What a step in the dynamic graph needs beside parameters and velocities. The first step makes
 * those; the peak is that of the second. */
static size_t dynamic_step(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_memory_statistics before, after;
    ag_tensor *x = ag_zeros(c, AG_SHAPE(BATCH, PIXELS)), *p[N_PARAMS];
    ag_tensor *labels = ag_zeros(c, AG_SHAPE(BATCH), .dtype = AG_I64);
    make_params(c, p);
    for (int i = 0; i < N_PARAMS; i++)
        ag_requires_grad_(p[i], true);
    ag_optimizer *o = ag_sgd(p, N_PARAMS, .lr = RATE, .momentum = MOMENTUM);
    for (int i = 0; i < 2; i++)
        AG_SCOPE (c) {
            ag_optimizer_zero_grad(o);
            ag_memory_stats(c, &before);
            ag_backward(ag_cross_entropy(network(p, x), labels));
            ag_step(o);
            ag_memory_stats(c, &after);
        }
    ag_optimizer_free(o);
    ag_close(c);
    return after.peak_bytes - before.current_bytes;
}

static void tell_memory(ag_context *c, ag_session *s, const model *m, set train)
{
    ag_session_statistics stats;
    ag_tensor *done;
    AG_SCOPE (c)
        run(s, m, part(train, 0, BATCH), &m->step, 1, &done);
    ag_session_stats(s, &stats);
    const size_t dynamic = dynamic_step();
    printf("\nmemory of a step beside parameters and velocities:\n");
    printf("dynamic graph           %7zu bytes\n", dynamic);
    printf("compiled, in one arena  %7zu bytes, %.2f of that\n", stats.arena_bytes,
           (double)stats.arena_bytes / (double)dynamic);
}

int main(int argc, char **argv)
{
    const bool memory = argc > 1 && strcmp(argv[1], "memory") == 0;
    const char *directory = argc > 1 + memory ? argv[1 + memory] : "data";
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_manual_seed(c, 0);
    const set all = load_shuffled(c, directory);
    const set train = part(all, 0, TRAIN), test = part(all, TRAIN, TEST);
    ag_graph *g = ag_graph_new(c);
    const model m = define(g);
    ag_graph_finalize(g);

    ag_session *s = ag_session_new(g);
    for (int epoch = 1; epoch <= EPOCHS; epoch++) {
        AG_SCOPE (c)
            train_epoch(c, s, &m, train);
        if (epoch % REPORT == 0)
            report(c, s, &m, epoch, train, test);
    }
    if (memory)
        tell_memory(c, s, &m, train);
    ag_session_free(s);
    ag_graph_free(g);
    ag_close(c);
    return 0;
}
