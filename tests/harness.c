/* See harness.h. */
#define _POSIX_C_SOURCE 200809L

#include "harness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { FAULT_ALL = 1500, FAULT_STRIDE = 24, WATCH_MAX = 16, DEFER_MAX = 32, PATH_MAX_LENGTH = 512 };

/* The test that is running. */
static struct {
    ag_context *c;
    bool faulty; /* an allocation of this run fails */
    jmp_buf end; /* where a run that lacked memory goes */
} now;

bool harness_faults(void) { return getenv("AG_TEST_FAULTS") != NULL; }

/* ---- watched tensors ---- */

typedef struct {
    ag_tensor *t, *grad;
    ag_node *grad_fn;
    int64_t version;
    bool requires_grad;
    uint64_t sum, grad_sum;
} watched;

static watched watches[WATCH_MAX];
static int n_watches;

static size_t watch_itemsize(ag_tensor *t) { return ag_dtype_size(ag_dtype_of(t)); }

/* FNV-1a over the elements in order, read without any allocation. */
static uint64_t watch_sum(ag_tensor *t)
{
    uint64_t h = 14695981039346656037u;
    if (!t)
        return h;
    const int n = ag_ndim(t);
    for (int64_t k = 0; k < ag_numel(t); k++) {
        int64_t at = 0, rest = k;
        for (int d = n - 1; d >= 0; d--) {
            at += rest % ag_shape(t)[d] * ag_strides(t)[d];
            rest /= ag_shape(t)[d];
        }
        const unsigned char *p =
            (const unsigned char *)ag_data(t) + at * (int64_t)watch_itemsize(t);
        for (size_t i = 0; i < watch_itemsize(t); i++)
            h = (h ^ p[i]) * 1099511628211u;
    }
    return h;
}

static watched watch_look(ag_tensor *t)
{
    watched w = { .t = t,
                  .grad = ag_grad_of(t),
                  .grad_fn = ag_grad_fn(t),
                  .version = ag_version(t),
                  .requires_grad = ag_requires_grad(t),
                  .sum = watch_sum(t) };
    w.grad_sum = watch_sum(w.grad);
    return w;
}

void harness_watch(ag_tensor *t)
{
    if (!t)
        return;
    if (n_watches == WATCH_MAX)
        FAIL("more than %d tensors are watched", WATCH_MAX);
    watches[n_watches++] = watch_look(t);
}

void harness_unwatch(void) { n_watches = 0; }

/* What changed of a watched tensor; NULL when nothing did. */
static const char *watch_changed(void)
{
    for (int i = 0; i < n_watches; i++) {
        const watched *was = &watches[i], is = watch_look(was->t);
        if (was->sum != is.sum)
            return "values";
        if (was->version != is.version)
            return "version";
        if (was->grad != is.grad || was->grad_sum != is.grad_sum)
            return "gradient";
        if (was->grad_fn != is.grad_fn || was->requires_grad != is.requires_grad)
            return "place in the graph";
    }
    return NULL;
}

/* ---- checks ---- */

void harness_fail(const char *file, int line, const char *format, ...)
{
    const ag_status *status = ag_error(now.c);
    char message[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (now.faulty && status && status->code == AG_ERR_MEMORY)
        longjmp(now.end, 1);
    print_error("%s:%d: %s\n", file, line, message);
    if (status)
        print_error("    the context's error: %s\n", status->message);
    _fail(file, line);
    abort(); /* _fail does not return */
}

bool harness_is_close(double value, double expected, double tolerance)
{
    if (isnan(expected) || isnan(value))
        return isnan(expected) && isnan(value);
    if (isinf(expected) || isinf(value))
        return value == expected;
    return fabs(value - expected) <= tolerance * fmax(1, fabs(expected));
}

void harness_close(const char *file, int line, const char *text, double value, double expected,
                   double tolerance)
{
    if (!harness_is_close(value, expected, tolerance))
        harness_fail(file, line, "%s is %.17g, expected %.17g (tolerance %g)", text, value,
                     expected, tolerance);
}

void harness_int(const char *file, int line, const char *text, int64_t value, int64_t expected)
{
    if (value != expected)
        harness_fail(file, line, "%s is %lld, expected %lld", text, (long long)value,
                     (long long)expected);
}

void harness_text(const char *file, int line, const char *text, const char *value,
                  const char *expected)
{
    if (!value || strcmp(value, expected) != 0)
        harness_fail(file, line, "%s is\n%s\nexpected\n%s", text, value ? value : "NULL", expected);
}

void harness_values(const char *file, int line, const char *text, ag_tensor *t, ag_ints shape,
                    ag_values values, double tolerance)
{
    if (!t)
        harness_fail(file, line, "%s is NULL", text);
    bool same = ag_ndim(t) == shape.n && ag_numel(t) == values.n;
    for (int d = 0; d < shape.n && same; d++)
        same = ag_shape(t)[d] == shape.data[d];
    if (!same)
        harness_fail(file, line, "%s has another shape: %d dimensions, %lld elements", text,
                     ag_ndim(t), (long long)ag_numel(t));
    int64_t index[AG_MAX_DIMS] = { 0 };
    for (int k = 0; k < values.n; k++) {
        const double v = ag_at_index(t, (ag_ints){ index, shape.n });
        if (!harness_is_close(v, values.data[k], tolerance))
            harness_fail(file, line, "element %d of %s is %.17g, expected %.17g (tolerance %g)", k,
                         text, v, values.data[k], tolerance);
        for (int d = shape.n - 1; d >= 0 && ++index[d] == shape.data[d]; d--)
            index[d] = 0;
    }
}

void harness_prints(const char *file, int line, const char *text, ag_tensor *t,
                    const char *expected)
{
    static char copy[65536]; /* static: a failing check jumps */
    char *printed = ag_to_string(t);
    snprintf(copy, sizeof copy, "%s", printed ? printed : "NULL");
    ag_free(printed);
    harness_text(file, line, text, copy, expected);
}

void harness_error(const char *file, int line, const char *text, bool succeeded, ag_code code,
                   const char *sentence)
{
    const ag_status *status = ag_error(now.c);
    if (succeeded)
        harness_fail(file, line, "%s succeeded, expected the error \"%s\"", text, sentence);
    if (!status)
        harness_fail(file, line, "%s failed without an error, expected \"%s\"", text, sentence);
    if (status->code != code || !strstr(status->message, sentence))
        harness_fail(file, line, "%s failed with code %d, expected code %d and \"%s\"", text,
                     (int)status->code, (int)code, sentence);
    const char *changed = watch_changed();
    if (changed)
        harness_fail(file, line, "%s failed and changed the %s of an operand", text, changed);
    ag_error_clear(now.c);
}

/* ---- what a test holds ---- */

static struct {
    void (*release)(void *what);
    void *what;
} defers[DEFER_MAX];
static int n_defers;

void harness_defer(void (*release)(void *what), void *what)
{
    if (n_defers == DEFER_MAX) {
        release(what);
        FAIL("more than %d releases wait for the end", DEFER_MAX);
    }
    defers[n_defers].release = release;
    defers[n_defers++].what = what;
}

static void defer_run(void)
{
    while (n_defers > 0) {
        n_defers--;
        defers[n_defers].release(defers[n_defers].what);
    }
}

/* ---- memory that is counted ---- */

static size_t memory_held;

static void *memory_allocate(size_t bytes, void *user)
{
    (void)user;
    void *p = malloc(bytes ? bytes : 1);
    memory_held += p ? bytes : 0;
    return p;
}

static void memory_release(void *block, size_t bytes, void *user)
{
    (void)user;
    memory_held -= bytes;
    free(block);
}

static void harness_open(void)
{
    static const ag_allocator counted = { memory_allocate, memory_release, NULL };
    memory_held = 0;
    n_watches = 0;
    now.c = ag_open(.allocator = &counted);
    if (!now.c) {
        print_error("ag_open failed\n");
        _fail(__FILE__, __LINE__);
    }
}

static void harness_close_context(const char *what)
{
    n_watches = 0;
    defer_run();
    ag_close(now.c);
    now.c = NULL;
    if (memory_held) {
        print_error("%s: %zu bytes were not given back\n", what, memory_held);
        _fail(__FILE__, __LINE__);
    }
}

/* ---- runs ---- */

/* One run with a fault at the n-th allocation. False when there were fewer. */
static bool fault_run(const harness_test *test, int64_t n, bool persistent)
{
    char what[256];
    snprintf(what, sizeof what, "%s with allocation %lld failing%s", test->name, (long long)n,
             persistent ? " and all later ones" : "");
    harness_open();
    ag_memory_statistics before, after;
    ag_memory_stats(now.c, &before);
    ag_memory_fail_at(now.c, n, persistent);
    now.faulty = true;
    if (!setjmp(now.end)) {
        test->fn(now.c);
    } else {
        ag_memory_fail_at(now.c, 0, false);
        const char *changed = watch_changed();
        if (changed) {
            print_error("%s: the %s of an operand changed\n", what, changed);
            _fail(__FILE__, __LINE__);
        }
    }
    now.faulty = false;
    ag_memory_fail_at(now.c, 0, false);
    ag_memory_stats(now.c, &after);
    const bool reached = after.allocations - before.allocations >= n;
    harness_close_context(what);
    return reached;
}

static void harness_body(void **state)
{
    const harness_test *test = *state;
    if (!harness_faults()) {
        harness_open();
        test->fn(now.c);
        harness_close_context(test->name);
        return;
    }
    for (int persistent = 0; persistent < 2; persistent++)
        for (int64_t n = 1; fault_run(test, n, persistent);)
            n += n <= FAULT_ALL ? 1 : n / FAULT_STRIDE;
}

/* After a failed check the context is still open. */
static int harness_teardown(void **state)
{
    (void)state;
    now.faulty = false;
    defer_run();
    ag_close(now.c);
    now.c = NULL;
    return 0;
}

/* ---- files ---- */

static char path_folder[PATH_MAX_LENGTH / 2];

static void path_remove(void)
{
    char command[PATH_MAX_LENGTH];
    snprintf(command, sizeof command, "rm -rf '%s'", path_folder);
    if (system(command) != 0)
        print_error("could not remove %s\n", path_folder);
}

const char *harness_path(const char *name)
{
    static char path[PATH_MAX_LENGTH];
    if (!path_folder[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(path_folder, sizeof path_folder, "%s/autograd-test-XXXXXX", base ? base : "/tmp");
        if (!mkdtemp(path_folder)) {
            path_folder[0] = '\0';
            FAIL("no folder for temporary files");
        }
        atexit(path_remove);
    }
    snprintf(path, sizeof path, "%s/%s", path_folder, name);
    return path;
}

/* ---- main ---- */

int harness_run(int argc, char **argv, const harness_test *tests, int n)
{
    struct CMUnitTest *units = calloc((size_t)n, sizeof *units);
    int m = 0;
    for (int i = 0; units && i < n; i++) {
        bool named = argc < 2;
        for (int k = 1; k < argc; k++)
            named = named || strcmp(argv[k], tests[i].name) == 0;
        if (named)
            units[m++] = (struct CMUnitTest){ tests[i].name, harness_body, NULL, harness_teardown,
                                              (void *)(uintptr_t)&tests[i] };
    }
    const int failed = units ? _cmocka_run_group_tests(argv[0], units, (size_t)m, NULL, NULL) : 1;
    free(units);
    return failed || m == 0;
}
