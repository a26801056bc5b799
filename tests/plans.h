/*
 * Plans against the interpreter: a function is traced for the types of its arguments, and the graph is
 * planned, with passes left out in turn. Each plan runs several times, also with other arguments. Results
 * have the bits that ag__region_call gives, and after the second run the allocator is asked for nothing.
 */
#ifndef AG_TESTS_PLANS_H
#define AG_TESTS_PLANS_H

#include "harness.h"

#include "graph/planned.h"

enum { PLANS_MAX = 8, PLANS_RUNS = 4 };

typedef struct {
    ag__traced_fn *fn;
    void *arg;
    int n, m;
    ag_tensor *args[PLANS_MAX];
    ag_tensor *others[PLANS_MAX]; /* taken in every second run, where there are some */
    int32_t into[PLANS_MAX];      /* 0: given out; else a parameter, counted from 1 */
    const char *name;             /* for messages */
} plans_case;

static ag__plan *plans_held;
static bool plans_waiting; /* for the end of the test */

static inline void plans_give_up(void *unused)
{
    (void)unused;
    ag__plan_free(plans_held);
    plans_held = NULL;
    plans_waiting = false;
}

/* A plan that is held until the next one, or the end of the test. */
static inline ag__plan *plans_hold(ag_graph *g, const int32_t *into, int off)
{
    static const int32_t none[PLANS_MAX] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    ag__plan_free(plans_held);
    plans_held = NULL;
    if (!plans_waiting)
        harness_defer(plans_give_up, NULL);
    plans_waiting = true;
    return plans_held = ag__plan_new(g, into ? into : none, off);
}

static inline ag_graph *plans_traced(ag_context *c, ag__traced_fn *fn, void *arg,
                                     ag_tensor *const *args, int n, int m)
{
    ag__type types[PLANS_MAX];
    for (int i = 0; i < n; i++)
        types[i] = ag__type_of(args[i]);
    return ag__traced_new(c, "test", types, n, fn, arg, m);
}

static inline void plans_same(const char *name, int run, int j, ag_tensor *a, ag_tensor *b)
{
    static char va[1 << 20], vb[1 << 20];
    bool same = a && b && ag_dtype_of(a) == ag_dtype_of(b) && ag_ndim(a) == ag_ndim(b);
    for (int d = 0; same && d < ag_ndim(a); d++)
        same = ag_shape(a)[d] == ag_shape(b)[d];
    if (!same)
        FAIL("%s: result %d of run %d has another type than the interpreter's", name, j, run);
    const size_t bytes = (size_t)ag_numel(a) * ag_dtype_size(ag_dtype_of(a));
    CHECK(bytes <= sizeof va);
    CHECK(ag_copy_out(a, va, bytes) && ag_copy_out(b, vb, bytes));
    if (memcmp(va, vb, bytes) != 0)
        FAIL("%s: result %d of run %d differs from the interpreter's", name, j, run);
}

/* A reference of ours to a tensor that a scope may own already. */
static inline void plans_give(ag_tensor *t)
{
    if (t->own.scope)
        ag__tensor_unref(t);
    else
        ag__give(t);
}

/* One run. Arguments that are written over are copies. */
static inline void plans_run(ag_context *c, const plans_case *k, const ag__region *r, ag__plan *p,
                             int run)
{
    ag_tensor *const *given = run % 2 && k->others[0] ? k->others : k->args;
    ag_tensor *args[PLANS_MAX], *dense[PLANS_MAX], *expected[PLANS_MAX], *results[PLANS_MAX];
    for (int i = 0; i < k->n; i++) {
        bool written = false;
        for (int j = 0; j < k->m; j++)
            written = written || k->into[j] == i + 1;
        CHECK(dense[i] = ag_contiguous(given[i]));
        CHECK(args[i] = written ? ag_clone(given[i]) : given[i]);
    }
    ag_manual_seed(c, 7);
    CHECK(ag__region_call(c, r, dense, expected, false));
    for (int j = 0; j < k->m; j++)
        plans_give(expected[j]);
    ag_manual_seed(c, 7);
    CHECK(ag__plan_run(p, args, results));
    for (int j = 0; j < k->m; j++)
        ag__give(results[j]);
    for (int j = 0; j < k->m; j++) {
        if (k->into[j] && results[j])
            FAIL("%s: result %d is given out", k->name, j);
        plans_same(k->name, run, j, k->into[j] ? args[k->into[j] - 1] : results[j], expected[j]);
    }
}

static inline void plans_check_off(ag_context *c, const plans_case *k, int off)
{
    int32_t into[PLANS_MAX];
    ag_memory_statistics before, after;
    for (int j = 0; j < k->m; j++)
        into[j] = k->into[j] - 1;
    ag_graph *g = plans_traced(c, k->fn, k->arg, k->args, k->n, k->m);
    CHECK(g);
    ag__plan *p = plans_hold(g, into, off);
    CHECK(p);
    for (int run = 0; run < PLANS_RUNS; run++) {
        AG_SCOPE (c)
            plans_run(c, k, &g->main, p, run);
        ag_memory_stats(c, run == 1 ? &before : &after);
    }
    if (after.system_calls != before.system_calls)
        FAIL("%s: later runs ask the allocator %lld times", k->name,
             (long long)(after.system_calls - before.system_calls));
}

static inline void plans_check(ag_context *c, const plans_case *k)
{
    const int off[] = { 0, AG_PASS_FUSE, AG_PASS_REUSE, AG_PASS_FUSE | AG_PASS_REUSE };
    for (int i = 0; i < (harness_faults() ? 1 : 4); i++)
        plans_check_off(c, k, off[i]);
}

#endif
