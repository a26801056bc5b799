/*
 * Cases of control flow: one C function, run in every way the library has, with expected values.
 *
 *     static bool cube(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user);
 *     FLOW_CHECK(c, .build = cube, .in = { SCALAR(2) }, .out = { SCALAR(8) },
 *                .d1 = { AG_VALUES(12) }, .d2 = { AG_VALUES(12) }, .d3 = { AG_VALUES(6) });
 *
 * The function runs on tensors with data, in the dynamic graph, and as a static graph, whose
 * inputs are placeholders (of known and of unknown sizes), constants, variables, intermediates, or
 * tensors with data beside a placeholder; each static graph runs interpreted and in the default
 * way; and it runs compiled. Outputs and derivatives are compared each time.
 *
 * d1 are the derivatives of S0, a sum over all elements of the floating outputs, with respect to
 * the floating inputs; d2 are those of S1, the same sum over d1; d3 those of S2. Element k of
 * tensor j of the list weighs 1 + j + k / 8, so that no two places can be confused. With one
 * scalar these are the derivatives themselves. Orders without an entry are not looked at. Tangents
 * need no entries: with the weights as tangents, the weighted sum of the outputs' tangents must be
 * that of d1.
 *
 * golden/flow.py makes the numbers that have no closed form.
 */
#ifndef AG_TESTS_FLOW_H
#define AG_TESTS_FLOW_H

#include "harness.h"

enum { FLOW_MAX = 6, FLOW_ORDERS = 3 };

typedef struct {
    ag_dtype dtype;
    ag_ints shape;
    ag_values values; /* .data is NULL where the list of a case ends */
} flow_value;

#define SCALAR(value)                                                                              \
    {                                                                                              \
        AG_F64, { NULL, 0 }, AG_VALUES(value)                                                      \
    }
#define INTEGER(value)                                                                             \
    {                                                                                              \
        AG_I64, { NULL, 0 }, AG_VALUES(value)                                                      \
    }
#define TRUTH(value)                                                                               \
    {                                                                                              \
        AG_BOOL, { NULL, 0 }, AG_VALUES(value)                                                     \
    }
#define VECTOR(...)                                                                                \
    {                                                                                              \
        AG_F64,                                                                                    \
            AG_SHAPE((int64_t)(sizeof((const double[]){ 0, __VA_ARGS__ }) / sizeof(double)) - 1),  \
            AG_VALUES(__VA_ARGS__)                                                                 \
    }
/* Any dtype and shape: TENSOR(AG_F32, AG_SHAPE(2, 1), 3, 4). */
#define TENSOR(dtype, shape, ...)                                                                  \
    {                                                                                              \
        dtype, shape, AG_VALUES(__VA_ARGS__)                                                       \
    }
/* In d1: no output uses the input. Zeros where they are asked for, and otherwise NULL or an error.
 * Where a loop or branch carries the input along in vain the gradient may also be zeros:
 * AG_VALUES(0). */
#define UNUSED                                                                                     \
    (ag_values) { NULL, -1 }

/* Ways to run a case, for .skip. */
enum {
    FLOW_LEAVES = 1,   /* dynamic: inputs are leaves */
    FLOW_RESULTS = 2,  /* dynamic: inputs are results of operations */
    FLOW_COMPILED = 4, /* ag_compile and ag_call */
    FLOW_PLACEHOLDERS = 8,
    FLOW_UNKNOWN = 16, /* placeholders whose sizes are all -1 */
    FLOW_CONSTANTS = 32,
    FLOW_VARIABLES = 64,
    FLOW_INTERMEDIATES = 128,
    FLOW_MIXED = 256,   /* the first input is a placeholder, the others hold data; no d2, d3 */
    FLOW_TANGENTS = 512 /* ag_jvp of leaves and of placeholders */
};

typedef struct {
    ag_fn build;
    void *user;
    flow_value in[FLOW_MAX], out[FLOW_MAX];
    ag_values d1[FLOW_MAX], d2[FLOW_MAX], d3[FLOW_MAX];
    unsigned skip;
} flow_case;

#define FLOW_CHECK(c, ...) flow_check(__FILE__, __LINE__, c, &(const flow_case){ __VA_ARGS__ })
void flow_check(const char *file, int line, ag_context *c, const flow_case *k);

/* For tests of their own: freed when the test ends. Failure ends the test. */
ag_graph *flow_graph(ag_context *c);
ag_session *flow_session(ag_graph *g, ag_backend backend);
/* One run that must succeed: the value of one fetch. */
ag_tensor *flow_fetch(ag_session *s, const ag_feed *feeds, int n, ag_tensor *fetch);

/* vars = init; `times` (one integer) times: vars = step(vars); out = vars. A while loop that
 * counts in a variable of its own; n <= FLOW_MAX. */
bool flow_repeat(ag_tensor *times, ag_body_fn step, ag_tensor *const *init, int n, ag_tensor **out,
                 void *user);
/* The same with a number known beforehand and one variable; NULL when it fails. */
ag_tensor *flow_repeat_one(int64_t times, ag_body_fn step, ag_tensor *init, void *user);
/* The same with options of the loop, of which .user is the step's. */
bool flow_repeat_with(ag_tensor *times, ag_body_fn step, ag_tensor *const *init, int n,
                      ag_tensor **out, const ag_while_options *options);

/* The build function of a loop that runs so many times over the first inputs, and gives the first
 * of its variables. The step's user is `in`: FLOW_IN(1) is the second input, at its value before
 * the loop. */
typedef struct {
    ag_body_fn step;
    int64_t times;
    int vars; /* 0: 1 */
    int snapshots;
    const ag_ints *shape_invariants;
} flow_loop;
bool flow_looped(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user);
#define FLOW_LOOP(n, fn, ...)                                                                      \
    .build = flow_looped, .user = &(flow_loop) { .step = fn, .times = n, __VA_ARGS__ }
#define FLOW_IN(i) (((ag_tensor *const *)user)[i])

/* The heads of steps and build functions, and what leaves arguments aside. */
#define FLOW_STEP(name) static bool name(ag_tensor *const *v, int n, ag_tensor **next, void *user)
#define FLOW_BUILD(name)                                                                           \
    static bool name(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
#define FLOW_SCAN_STEP(name)                                                                       \
    static bool name(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next, \
                     ag_tensor **y, int m, void *user)
#define FLOW_TEST(name) static ag_tensor *name(ag_tensor *const *v, int n, void *user)
#define SCAN_UNUSED (void)carry, (void)n, (void)x, (void)k, (void)next, (void)y, (void)m, (void)user
#define STEP_UNUSED (void)v, (void)n, (void)user
#define BUILD_UNUSED (void)n, (void)m, (void)user

/* An i64 number with data, for counters. */
ag_tensor *flow_integer(ag_context *c, int64_t value);
/* A number with data of x's dtype, for other loop variables that begin with one. */
ag_tensor *flow_like(ag_tensor *x, double value);

#endif
