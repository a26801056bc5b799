/*
 * What all tests share: a context for each test, checks, and runs in which memory fails.
 *
 * A test is a function of a context and makes its checks with the macros below. The first check that
 * does not hold ends it.
 *
 *     static void t_adds(ag_context *c) { CHECK_CLOSE(ag_item(ag_add(ag_scalar(c, 1), 2)), 3, 0); }
 *     int main(int argc, char **argv) { return RUN(TEST(t_adds)); }
 *
 * `PROGRAM NAME...` runs the named tests only.
 *
 * With AG_TEST_FAULTS set, each test runs again and again in a new context whose n-th allocation
 * fails, once and then from there on, for n = 1, 2, 3 and so on until it comes through (beyond
 * FAULT_ALL of them a growing stride is taken). A check that does not hold while the context reports
 * AG_ERR_MEMORY is what must happen, and ends the run; any other is a failure as ever. What was
 * watched then must be unchanged, and after ag_close every byte must have come back.
 */
#ifndef AG_TESTS_HARNESS_H
#define AG_TESTS_HARNESS_H

#include <autograd.h>

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef void harness_fn(ag_context *c);
typedef struct {
    const char *name;
    harness_fn *fn;
} harness_test;

#define TEST(fn)                                                                                   \
    {                                                                                              \
#fn, fn                                                                                    \
    }
#define RUN(...)                                                                                   \
    harness_run(argc, argv, (const harness_test[]){ __VA_ARGS__ },                                 \
                (int)(sizeof((const harness_test[]){ __VA_ARGS__ }) / sizeof(harness_test)))
int harness_run(int argc, char **argv, const harness_test *tests, int n);

/* Ends the test as failed, unless memory was made to fail. */
void harness_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4), noreturn));
#define FAIL(...) harness_fail(__FILE__, __LINE__, __VA_ARGS__)

/* The condition holds. Calls of the library that must succeed stand in here. */
#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            FAIL("%s", #condition);                                                                \
    } while (0)
/* |value - expected| <= tolerance * max(1, |expected|); NaN equals NaN, infinities themselves. */
#define CHECK_CLOSE(value, expected, tolerance)                                                    \
    harness_close(__FILE__, __LINE__, #value, value, expected, tolerance)
#define CHECK_INT(value, expected) harness_int(__FILE__, __LINE__, #value, value, expected)
#define CHECK_TEXT(value, expected) harness_text(__FILE__, __LINE__, #value, value, expected)
/* t has the shape and, in order, the values, within the tolerance of CHECK_CLOSE. */
#define CHECK_VALUES(t, shape, values, tolerance)                                                  \
    harness_values(__FILE__, __LINE__, #t, t, shape, values, tolerance)
/* t prints as the text. */
#define CHECK_PRINTS(t, text) harness_prints(__FILE__, __LINE__, #t, t, text)
/* The call failed (gave NULL or false) with this code and a message that contains the sentence. */
#define CHECK_ERROR(call, code, sentence)                                                          \
    harness_error(__FILE__, __LINE__, #call, !!(call), code, sentence)

bool harness_is_close(double value, double expected, double tolerance);
void harness_close(const char *file, int line, const char *text, double value, double expected,
                   double tolerance);
void harness_int(const char *file, int line, const char *text, int64_t value, int64_t expected);
void harness_text(const char *file, int line, const char *text, const char *value,
                  const char *expected);
void harness_values(const char *file, int line, const char *text, ag_tensor *t, ag_ints shape,
                    ag_values values, double tolerance);
void harness_prints(const char *file, int line, const char *text, ag_tensor *t,
                    const char *expected);
void harness_error(const char *file, int line, const char *text, bool succeeded, ag_code code,
                   const char *sentence);

/* From here to UNWATCH, t (its values, version, gradient and place in the graph) must stay as it is
 * when a call fails: checked by CHECK_ERROR, and at the end of a run that lacked memory. */
#define WATCH(t) harness_watch(t)
#define UNWATCH() harness_unwatch()
void harness_watch(ag_tensor *t);
void harness_unwatch(void);

/* release(what) when the test ends, in whatever way, before its context closes. */
void harness_defer(void (*release)(void *what), void *what);
/* Whether this is a run in which memory fails, for tests that must leave something out then. */
bool harness_faults(void);
/* A path in a folder of this program's own, which goes when the program ends. */
const char *harness_path(const char *name);

#endif
