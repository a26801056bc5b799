/*
 * Handwritten digits: a network 64-128-10 learns 1,437 images of 8 x 8 pixels and is tested on 360
 * others.
 *
 * In the order of the files the last 360 images are harder than the rest (see data/README.md). So
 * the order is shuffled once, with the SEED below; then the first 1,437 images train and the last
 * 360 test. Pixels are divided by 16, training images get a little noise, labels are smoothed, and
 * Adam's rate falls from RATE to 0 along half a cosine. The same seed fixes every random number.
 *
 *     digits [directory of digits_images.npy and digits_labels.npy, default data]
 *
 * Prints the accuracy and the loss curve, writes the graph of one step to out/digits_step.dot, and
 * exits with 0 when at least 97 % of the test images are read correctly, else with 1.
 */
#define _POSIX_C_SOURCE 200809L

#include <autograd.h>

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SEED = 0, TRAIN = 1437, TEST = 360, PIXELS = 64, HIDDEN = 128, CLASSES = 10 };
enum { EPOCHS = 40, BATCH = 32, N_PARAMS = 4 };
static const double RATE = 3e-3, NOISE = 0.2, SMOOTHING = 0.1, WANTED = 0.97;

typedef struct {
    ag_tensor *images, *labels;
} set; /* (n, 64) f32 in [0, 1] and (n) i64 */

/* ---- data and network ----------------------------------------------------------------------- */

static ag_tensor *load(ag_context *c, const char *directory, const char *name)
{
    char path[4096];
    const int n = snprintf(path, sizeof path, "%s/%s", directory, name);
    if (n < 0 || (size_t)n >= sizeof path) {
        ag_fail(c, AG_ERR_VALUE, "the name of the data directory is too long");
        return NULL;
    }
    return ag_load_npy(c, path);
}

static set part(set all, int64_t start, int64_t length)
{
    return (set){ ag_narrow(all.images, 0, start, length),
                  ag_narrow(all.labels, 0, start, length) };
}

/* Images and labels in their shuffled order; members are NULL on error. */
static set load_shuffled(ag_context *c, const char *directory)
{
    ag_tensor *images = ag_to(load(c, directory, "digits_images.npy"), AG_F32);
    ag_tensor *labels = ag_to(load(c, directory, "digits_labels.npy"), AG_I64);
    images = ag_div(ag_reshape(images, AG_SHAPE(-1, PIXELS)), 16);
    if (!images || !labels)
        return (set){ NULL, NULL };
    if (ag_size(images, 0) != TRAIN + TEST || ag_numel(labels) != TRAIN + TEST) {
        ag_fail(c, AG_ERR_VALUE, "%s does not hold %d images and labels", directory, TRAIN + TEST);
        return (set){ NULL, NULL };
    }
    ag_tensor *order = ag_randperm(c, TRAIN + TEST);
    return (set){ ag_index_select(images, 0, order), ag_index_select(labels, 0, order) };
}

/* relu(x W1' + b1) W2' + b2 */
static ag_tensor *network(ag_tensor *const p[N_PARAMS], ag_tensor *x)
{
    return ag_linear(ag_relu(ag_linear(x, p[0], p[1])), p[2], p[3]);
}

static bool make_params(ag_context *c, ag_tensor *p[N_PARAMS])
{
    p[0] = ag_kaiming_uniform_(ag_empty(c, AG_SHAPE(HIDDEN, PIXELS)), 0);
    p[1] = ag_zeros(c, AG_SHAPE(HIDDEN));
    p[2] = ag_kaiming_uniform_(ag_empty(c, AG_SHAPE(CLASSES, HIDDEN)), 0);
    p[3] = ag_zeros(c, AG_SHAPE(CLASSES));
    static const char *const names[N_PARAMS] = { "weight1", "bias1", "weight2", "bias2" };
    for (int i = 0; i < N_PARAMS; i++)
        if (!ag_requires_grad_(p[i], true) || !ag_set_name(p[i], names[i]))
            return false;
    return true;
}

/* The share of images that the network reads correctly; NaN on error. */
static double accuracy(ag_context *c, ag_tensor *const p[N_PARAMS], set s)
{
    double share = NAN;
    AG_SCOPE (c) {
        AG_NO_GRAD (c) {
            ag_tensor *read = ag_argmax(network(p, s.images), 1, false);
            share = ag_item(ag_mean(ag_to(ag_eq(read, s.labels), AG_F32)));
        }
    }
    return share;
}

/* ---- what the terminal shows ---------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* On a terminal, one line of stderr that is written over; silent otherwise. */
static void progress(int epoch, double loss, double start)
{
    enum { WIDTH = 30 };
    if (!isatty(STDERR_FILENO))
        return;
    const int done = epoch * WIDTH / EPOCHS;
    const double left = (now() - start) / epoch * (EPOCHS - epoch);
    fprintf(stderr, "\r[");
    for (int i = 0; i < WIDTH; i++)
        fputc(i < done ? '#' : '.', stderr);
    fprintf(stderr, "] epoch %d/%d  loss %.4f  ETA %.1f s \033[K%s", epoch, EPOCHS, loss, left,
            epoch == EPOCHS ? "\n" : "");
    fflush(stderr);
}

/* The losses as a curve of eighth blocks: one column per epoch, ROWS lines high, axes labelled. */
static void draw_curve(const double losses[EPOCHS])
{
    enum { ROWS = 10 };
    static const char *const blocks[] = { " ",      "\u2581", "\u2582", "\u2583", "\u2584",
                                          "\u2585", "\u2586", "\u2587", "\u2588" };
    double top = 0;
    for (int e = 0; e < EPOCHS; e++)
        top = fmax(top, losses[e]);
    if (!(top > 0) || !isfinite(top))
        return;

    printf("\n  training loss\n");
    for (int row = ROWS - 1; row >= 0; row--) {
        if (row == ROWS - 1 || row == ROWS / 2)
            printf("%7.3f \u2524", top * (double)(row + 1) / (double)ROWS);
        else
            printf("        \u2502");
        for (int e = 0; e < EPOCHS; e++) {
            const double eighths = losses[e] / top * (double)ROWS * 8 - row * 8;
            printf("%s", blocks[(int)fmin(8, fmax(0, round(eighths)))]);
        }
        printf("\n");
    }
    printf("%7.3f \u2514", 0.0);
    for (int e = 0; e < EPOCHS; e++)
        printf("\u2500");
    printf("\n         1%*d  epoch\n", EPOCHS - 1, EPOCHS);
}

/* ---- training ------------------------------------------------------------------------------- */

/* Step number `step` of the epoch whose shuffled order is given. Adds loss * images to *sum; writes
 * the graph of the loss to `dot` unless it is NULL. */
static bool train_step(ag_context *c, ag_tensor *const p[N_PARAMS], ag_optimizer *o, set train,
                       ag_tensor *order, int64_t start, double *sum, const char *dot)
{
    const int64_t n = start + BATCH <= TRAIN ? BATCH : TRAIN - start;
    bool ok = false;
    AG_SCOPE (c) {
        ag_tensor *batch = ag_narrow(order, 0, start, n);
        ag_tensor *x = ag_index_select(train.images, 0, batch);
        ag_tensor *target = ag_index_select(train.labels, 0, batch);
        x = ag_add(x, ag_mul(NOISE, ag_randn(c, AG_SHAPE(n, PIXELS))));
        ag_tensor *loss = ag_cross_entropy(network(p, x), target, .label_smoothing = SMOOTHING);
        ag_optimizer_zero_grad(o);
        ok = (!dot || ag_write_dot(loss, dot)) && ag_backward(loss) && ag_step(o);
        if (ok)
            *sum += ag_item(loss) * (double)n;
    }
    return ok;
}

static bool train_epoch(ag_context *c, ag_tensor *const p[N_PARAMS], ag_optimizer *o, set train,
                        int epoch, double *loss)
{
    const double pi = 3.14159265358979323846;
    double sum = 0;
    bool ok = true;
    ag_optimizer_set_lr(o, RATE * 0.5 * (1 + cos(pi * epoch / (double)EPOCHS)));
    AG_SCOPE (c) {
        ag_tensor *order = ag_randperm(c, TRAIN);
        for (int64_t start = 0; ok && start < TRAIN; start += BATCH) {
            const char *dot = epoch == 0 && start == 0 ? "out/digits_step.dot" : NULL;
            ok = train_step(c, p, o, train, order, start, &sum, dot);
        }
    }
    *loss = sum / (double)TRAIN;
    return ok;
}

static bool train_all(ag_context *c, ag_tensor *const p[N_PARAMS], set train, double *losses)
{
    ag_optimizer *o = ag_adam(p, N_PARAMS, .lr = RATE);
    const double start = now();
    bool ok = o != NULL;
    for (int epoch = 0; ok && epoch < EPOCHS; epoch++) {
        ok = train_epoch(c, p, o, train, epoch, &losses[epoch]);
        if (ok)
            progress(epoch + 1, losses[epoch], start);
    }
    ag_optimizer_free(o);
    return ok;
}

/* The share of test images read correctly; negative or NaN on error. */
static double run(ag_context *c, const char *directory)
{
    ag_tensor *p[N_PARAMS];
    double losses[EPOCHS] = { 0 };

    ag_manual_seed(c, SEED);
    const set all = load_shuffled(c, directory);
    const set train = part(all, 0, TRAIN), test = part(all, TRAIN, TEST);
    if (!test.images || !test.labels || !make_params(c, p) || !train_all(c, p, train, losses))
        return -1;

    const double share = accuracy(c, p, test);
    printf("network 64-%d-10, %d epochs, shuffled with seed %d\n", HIDDEN, EPOCHS, SEED);
    printf("test accuracy %.2f %% (%d of %d images)\n", 100 * share,
           (int)lround(share * (double)TEST), TEST);
    draw_curve(losses);
    printf("\ngraph of the first step: out/digits_step.dot\n");
    return share;
}

int main(int argc, char **argv)
{
    if (mkdir("out", 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "digits: cannot make the directory out: %s\n", strerror(errno));
        return 1;
    }
    ag_context *c = ag_open();
    if (!c) {
        fprintf(stderr, "digits: out of memory\n");
        return 1;
    }
    const double share = run(c, argc > 1 ? argv[1] : "data");
    const ag_status *status = ag_error(c);
    if (status)
        fprintf(stderr, "digits: %s\n", status->message);
    else if (!(share >= WANTED))
        fprintf(stderr, "digits: the accuracy is under %.0f %%\n", 100 * WANTED);
    const int failed = status || !(share >= WANTED);
    ag_close(c);
    return failed;
}
