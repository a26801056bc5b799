/*
 * Loops with snapshots against the same loops without: equal results and gradients in every way, of every
 * order; how often bodies run; and memory, which must follow the number of snapshots and not that of
 * steps.
 */
#include "graphs.h"
#include "plans.h"

#include "graph/traced.h"

/* x, count: x = x + x^2 w / 8 + sin(x) / 16, so many times; then a weighted sum. */
typedef struct {
    int64_t steps;
    int snapshots, runs;
    ag_tensor *w;
} growth;

static ag_tensor *growth_cond(ag_tensor *const *v, int n, void *user)
{
    (void)n;
    return ag_lt(v[1], ((const growth *)user)->steps);
}

static bool growth_body(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    growth *g = user;
    (void)n;
    g->runs++;
    next[0] =
        ag_add(ag_add(v[0], ag_mul(ag_square(v[0]), ag_div(g->w, 8))), ag_div(ag_sin(v[0]), 16));
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

static ag_tensor *growth_loop(growth *g, ag_tensor *x, ag_tensor *w)
{
    ag_tensor *v[] = { x, ag_scalar(ag_context_of(x), 0, .dtype = AG_I64) }, *out[2];
    g->w = w;
    return v[1] && ag_while_loop(growth_cond, growth_body, v, 2, out, .user = g,
                                 .snapshots = g->snapshots)
               ? out[0]
               : NULL;
}

static ag_tensor *vector(ag_context *c, double a, double b, bool wants)
{
    return ag_array(c, AG_VALUES(a, b, .25), AG_SHAPE(3), .dtype = AG_F64, .requires_grad = wants);
}

enum { ORDERS = 3 };

/* y, and derivatives of sums with respect to x and w, each of the sum of the ones before. */
static bool derive(ag_tensor *y, ag_tensor *x, ag_tensor *w, int orders, ag_tensor **out)
{
    ag_tensor *in[] = { x, w }, *s = ag_sum(ag_mul(y, y));
    *out++ = y;
    for (int k = 0; k < orders && s; k++, out += 2) {
        if (!ag_grad(&s, 1, in, 2, out, .create_graph = k + 1 < orders, .allow_unused = true,
                     .materialize_grads = true))
            return false;
        s = k + 1 < orders ? ag_add(ag_sum(ag_square(out[0])), ag_sum(out[1])) : s;
    }
    return s != NULL;
}

static void eager(ag_context *c, int64_t steps, int snapshots, int orders, ag_tensor **out)
{
    static growth room[2 * ORDERS + 16]; /* static: graphs refer to them */
    static int n;
    growth *g = &room[n = (n + 1) % (int)(sizeof room / sizeof *room)];
    *g = (growth){ .steps = steps, .snapshots = snapshots };
    ag_tensor *x = vector(c, .5, -1, true), *w = vector(c, .75, -.5, true), *y;
    CHECK(x && w && (y = growth_loop(g, x, w)));
    CHECK(derive(y, x, w, orders, out));
}

static const int64_t lengths[] = { 0, 1, 2, 5, 11 };
static const int numbers[] = { 1, 2, 3, 20 };
#define COUNT(list) ((int)(sizeof(list) / sizeof *(list)))

static void t_eager_bits(ag_context *c)
{
    for (int i = 0; i < COUNT(lengths); i++)
        for (int j = 0; j < COUNT(numbers); j++)
            AG_SCOPE (c) {
                ag_tensor *a[3], *b[3];
                if (harness_faults() && (lengths[i] != 2 || numbers[j] != 1))
                    continue;
                eager(c, lengths[i], 0, 1, a);
                eager(c, lengths[i], numbers[j], 1, b);
                for (int k = 0; k < 3; k++)
                    CHECK_SAME(b[k], a[k]);
            }
}

static void close_to(ag_tensor *a, ag_tensor *b)
{
    CHECK(a && b);
    CHECK_INT(ag_numel(a), ag_numel(b));
    for (int64_t k = 0; k < ag_numel(b); k++) {
        double va[8], vb[8];
        CHECK(ag_numel(b) <= 8 && ag_copy_out(a, va, 8 * (size_t)ag_numel(a)));
        CHECK(ag_copy_out(b, vb, 8 * (size_t)ag_numel(b)));
        CHECK_CLOSE(va[k], vb[k], 1e-13);
    }
}

static void t_eager_orders(ag_context *c)
{
    for (int j = 0; j < COUNT(numbers); j++)
        AG_SCOPE (c) {
            ag_tensor *a[7], *b[7];
            if (harness_faults())
                continue;
            eager(c, 5, 0, 3, a);
            eager(c, 5, numbers[j], 3, b);
            for (int k = 0; k < 7; k++)
                close_to(b[k], a[k]);
        }
}

/* Once to count the steps; then as the schedule says, and each step once while it is recorded. */
static void t_eager_runs(ag_context *c)
{
    const int64_t steps[] = { 1, 2, 7, 30 };
    for (int i = 0; i < COUNT(steps); i++)
        for (int j = 0; j < COUNT(numbers); j++)
            AG_SCOPE (c) {
                static growth g;
                ag_tensor *x = vector(c, .01, -.02, true), *w = vector(c, .75, -.5, true), *y, *r;
                g = (growth){ .steps = steps[i], .snapshots = numbers[j] };
                if (harness_faults() && i + j)
                    continue;
                CHECK(x && w && (y = growth_loop(&g, x, w)));
                CHECK((y = ag_sum(y)) && ag_grad(&y, 1, &x, 1, &r));
                CHECK_INT(g.runs, 2 * steps[i] + ag_checkpoint_sequence_cost(steps[i], numbers[j]));
            }
}

static void t_eager_without_gradient(ag_context *c)
{
    static growth g;
    ag_tensor *x = vector(c, .5, -1, true), *y = NULL;
    g = (growth){ .steps = 5, .snapshots = 2 };
    CHECK(x);
    AG_NO_GRAD (c) {
        y = growth_loop(&g, x, x);
    }
    CHECK(y);
    CHECK_INT(g.runs, 5);
    CHECK(!ag_requires_grad(y));
}

/* ---- what cannot be a sequence of states ---- */

static ag_tensor *is_short(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_scalar(ag_context_of(v[0]), ag_numel(v[0]) < 8, .dtype = AG_BOOL);
}

static bool twice_as_long(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    ag_tensor *list[] = { v[0], ag_square(v[0]) };
    return list[1] && (next[0] = ag_cat(list, 2, 0)) != NULL;
}

static void t_eager_shapes_change(ag_context *c)
{
    ag_tensor *x = ag_scalar(c, 3, .dtype = AG_F64, .requires_grad = true), *y, *v, *r;
    CHECK(x && (v = ag_reshape(x, AG_SHAPE(1))));
    CHECK(ag_while_loop(is_short, twice_as_long, &v, 1, &y, .snapshots = 2));
    CHECK_INT(ag_numel(y), 8);
    CHECK((y = ag_sum(y)) && ag_grad(&y, 1, &x, 1, &r));
    /* x, x^2, x^2, x^4, x^2, x^4, x^4, x^8 */
    CHECK_CLOSE(ag_item(r), 1 + 3 * 2 * 3. + 3 * 4 * 27. + 8 * 2187., 1e-9);
}

static bool over_itself(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    next[0] = v[0];
    return ag_mul_(v[0], 2) != NULL;
}

static ag_tensor *is_below_20(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(v[0], 20);
}

static void t_eager_writes(ag_context *c)
{
    ag_tensor *x = ag_scalar(c, 3, .dtype = AG_F64), *y;
    CHECK(x);
    CHECK_ERROR(ag_while_loop(is_below_20, over_itself, &x, 1, &y, .snapshots = 2), AG_ERR_VALUE,
                "ag_while_loop: the body writes over its variables, so that it cannot be run again "
                "as .snapshots asks for");
}

/* ---- nested loops ---- */

typedef struct {
    int outer, inner; /* snapshots; 0: plain */
    ag_tensor *w;
} nest;

static ag_tensor *below_3(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(v[1], 3);
}

static bool inner_body(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = ag_sin(ag_mul(v[0], ((const nest *)user)->w));
    return next[0] && (next[1] = ag_add(v[1], 1)) != NULL;
}

static bool outer_body(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    const nest *k = user;
    (void)n;
    ag_tensor *in[] = { v[0], ag_mul(v[1], 0) }, *out[2];
    if (!in[1] ||
        !ag_while_loop(below_3, inner_body, in, 2, out, .user = user, .snapshots = k->inner))
        return false;
    next[0] = ag_add(out[0], ag_mul(v[0], k->w));
    return next[0] && (next[1] = ag_add(v[1], 1)) != NULL;
}

static ag_tensor *nest_loop(nest *k, ag_tensor *x, ag_tensor *w)
{
    ag_tensor *in[] = { x, ag_scalar(ag_context_of(x), 0, .dtype = AG_I64) }, *out[2];
    k->w = w;
    return in[1] && ag_while_loop(below_3, outer_body, in, 2, out, .user = k, .snapshots = k->outer)
               ? out[0]
               : NULL;
}

/* ---- static graphs ---- */

/* A loop and its derivatives as a graph. */
typedef struct {
    ag_graph *g;
    ag_tensor *x, *w, *fetches[1 + 2 * ORDERS];
    int n;
} graphed;

static ag_graph *graphed_held; /* until the next one is made, or the test ends */
static bool graphed_waits;

static void graphed_drop(void *unused)
{
    (void)unused;
    ag_graph_free(graphed_held);
    graphed_held = NULL;
    graphed_waits = false;
}

static ag_graph *graphed_hold(ag_context *c)
{
    if (!graphed_waits)
        harness_defer(graphed_drop, NULL);
    graphed_waits = true;
    ag_graph_free(graphed_held);
    CHECK((graphed_held = ag_graph_new(c)) != NULL);
    return graphed_held;
}

static void graphed_begin(ag_context *c, graphed *d, int64_t width)
{
    *d = (graphed){ .g = graphed_hold(c) };
    CHECK(d->x = ag_placeholder(d->g, AG_F64, AG_SHAPE(width)));
    CHECK(d->w = ag_placeholder(d->g, AG_F64, AG_SHAPE(width)));
}

static void graphed_make(ag_context *c, graphed *d, growth *g, nest *k, int orders)
{
    ag_tensor *y;
    graphed_begin(c, d, 3);
    d->n = 1 + 2 * orders;
    CHECK(y = g ? growth_loop(g, d->x, d->w) : nest_loop(k, d->x, d->w));
    CHECK(derive(y, d->x, d->w, orders, d->fetches));
}

static void graphed_run(ag_context *c, const graphed *d, ag_backend backend, int off,
                        ag_tensor **out)
{
    ag_session_statistics stats;
    ag_session *s = ag_session_new(d->g, .backend = backend, .passes_off = off);
    CHECK(s);
    const ag_feed feeds[] = { { d->x, vector(c, .5, -1, false) },
                              { d->w, vector(c, .75, -.5, false) } };
    bool ok = feeds[0].value && feeds[1].value;
    for (int run = 0; run < 2; run++)
        ok = ok && ag_session_run(s, feeds, 2, d->fetches, d->n, out);
    ag_session_stats(s, &stats);
    ag_session_free(s);
    CHECK(ok);
    CHECK_INT(stats.interpreted, 0);
}

static void graphed_check(ag_context *c, const graphed *d, ag_tensor *const *expected)
{
    const int off[] = { 0, AG_PASS_ALL, AG_PASS_FUSE, AG_PASS_REUSE, AG_PASS_HOIST };
    ag_tensor *out[1 + 2 * ORDERS];
    for (int way = 0; way < (harness_faults() ? 1 : 6); way++) {
        const bool interpreted = way == 5;
        graphed_run(c, d, interpreted ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED,
                    interpreted ? 0 : off[way], out);
        for (int k = 0; k < d->n; k++)
            close_to(out[k], expected[k]);
    }
}

static void t_graph_orders(ag_context *c)
{
    for (int orders = 1; orders <= ORDERS; orders++)
        for (int i = 0; i < COUNT(lengths); i++)
            for (int j = 0; j < COUNT(numbers); j++)
                AG_SCOPE (c) {
                    growth g = { .steps = lengths[i], .snapshots = numbers[j] };
                    graphed d;
                    ag_tensor *expected[1 + 2 * ORDERS];
                    if ((harness_faults() && (orders > 1 || lengths[i] != 2 || numbers[j] != 1)) ||
                        (orders > 1 && (i % 2 || lengths[i] > 5)))
                        continue;
                    eager(c, lengths[i], 0, orders, expected);
                    graphed_make(c, &d, &g, NULL, orders);
                    graphed_check(c, &d, expected);
                }
}

/* Outer and inner loops with snapshots, and without. */
static void t_nested(ag_context *c)
{
    static nest kinds[] = { { 0, 0, NULL }, { 2, 0, NULL }, { 0, 2, NULL }, { 1, 2, NULL } };
    for (int orders = 1; orders <= ORDERS; orders++) {
        ag_tensor *x = vector(c, .5, -1, true), *w = vector(c, .75, -.5, true), *y;
        ag_tensor *expected[1 + 2 * ORDERS], *out[1 + 2 * ORDERS];
        if (harness_faults())
            return;
        CHECK(x && w && (y = nest_loop(&kinds[0], x, w)) && derive(y, x, w, orders, expected));
        for (int i = 0; i < COUNT(kinds); i++)
            AG_SCOPE (c) {
                graphed d;
                CHECK((y = nest_loop(&kinds[i], x, w)) && derive(y, x, w, orders, out));
                for (int k = 0; k < 1 + 2 * orders; k++)
                    close_to(out[k], expected[k]);
                graphed_make(c, &d, NULL, &kinds[i], orders);
                kinds[i].w = w;
                graphed_check(c, &d, expected);
            }
    }
}

/* The same function compiled. */
static bool compiled_fn(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return (out[0] = growth_loop(user, in[0], in[1])) != NULL;
}

static void free_function(void *f) { ag_function_free(f); }

static void t_compiled(ag_context *c)
{
    ag_tensor *expected[1 + 2 * ORDERS], *out[1 + 2 * ORDERS], *y;
    const int orders = harness_faults() ? 1 : ORDERS;
    static growth g;
    g = (growth){ .steps = 5, .snapshots = 2 };
    eager(c, 5, 0, orders, expected);
    ag_tensor *in[] = { vector(c, .5, -1, true), vector(c, .75, -.5, true) };
    ag_function *f = ag_compile(c, compiled_fn, 1, &g);
    CHECK(f);
    harness_defer(free_function, f);
    CHECK(in[0] && in[1] && ag_call(f, in, 2, &y, 1));
    CHECK(derive(y, in[0], in[1], orders, out));
    for (int k = 0; k < 1 + 2 * orders; k++)
        close_to(out[k], expected[k]);
}

/* ---- plans and the interpreter of the same traced graph ---- */

typedef struct {
    ag_context *c;
    graphed d;
} replayed;

static bool replayed_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const replayed *r = arg;
    const ag__region *main = &r->d.g->main;
    const int32_t given[] = { ag__symbol_of(r->d.x)->value, ag__symbol_of(r->d.w)->value };
    int32_t wanted[1 + 2 * ORDERS];
    for (int j = 0; j < m; j++)
        wanted[j] = ag__symbol_of(r->d.fetches[j])->value;
    const ag__part part = { r->c, main, given, wanted, n, m };
    return ag__part_replay(&part, in, out);
}

static void t_plan_bits(ag_context *c)
{
    for (int i = 0; i < COUNT(lengths); i++)
        for (int j = 0; j < COUNT(numbers); j++) {
            growth g = { .steps = lengths[i], .snapshots = numbers[j] };
            replayed r = { .c = c };
            if (harness_faults() && (lengths[i] != 2 || numbers[j] != 1))
                continue;
            graphed_make(c, &r.d, &g, NULL, 1);
            plans_case k = { .fn = replayed_fn, .arg = &r, .n = 2, .m = 3 };
            k.name = "a loop with snapshots";
            CHECK(k.args[0] = vector(c, .5, -1, false));
            CHECK(k.args[1] = vector(c, .75, -.5, false));
            CHECK(k.others[0] = vector(c, -.25, .1, false));
            CHECK(k.others[1] = vector(c, .2, .3, false));
            plans_check(c, &k);
        }
}

/* Two variables that change places, large enough that their buffers are exchanged, and one that is handed
 * on. */
static bool turning_body(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = v[2];
    next[1] = ag_add(v[1], 1);
    next[2] = ag_sin(ag_add(ag_mul(v[0], ((const growth *)user)->w), v[2]));
    next[3] = v[3];
    return next[1] && next[2];
}

static void t_plan_exchanges(ag_context *c)
{
    for (int j = 0; j < (harness_faults() ? 1 : COUNT(numbers)); j++) {
        growth g = { .steps = 5, .snapshots = numbers[j] };
        replayed r = { .c = c };
        ag_tensor *v[4], *out[4], *y;
        graphed_begin(c, &r.d, 20);
        g.w = r.d.w;
        v[0] = r.d.x;
        v[3] = r.d.w;
        CHECK(v[1] = ag_scalar(c, 0, .dtype = AG_I64));
        CHECK(v[2] = ag_cos(r.d.x));
        CHECK(ag_while_loop(growth_cond, turning_body, v, 4, out, .user = &g,
                            .snapshots = g.snapshots));
        CHECK(y = ag_mul(ag_add(out[0], out[2]), out[3]));
        CHECK(derive(y, r.d.x, r.d.w, 1, r.d.fetches));
        plans_case k = { .fn = replayed_fn, .arg = &r, .n = 2, .m = 3 };
        k.name = "variables that change places";
        CHECK(k.args[0] = graphs_numbers(c, AG_F64, AG_SHAPE(20)));
        CHECK(k.args[1] = ag_sin(k.args[0]));
        CHECK(k.others[0] = ag_cos(k.args[0]));
        CHECK(k.others[1] = ag_exp(k.args[1]));
        plans_check(c, &k);
    }
}

/* No state is needed for the gradient. */
static bool linear_body(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = ag_mul(v[0], ((const growth *)user)->w);
    return next[0] && (next[1] = ag_add(v[1], 1)) != NULL;
}

static void t_no_states(ag_context *c)
{
    growth g = { .steps = 4, .snapshots = 2 };
    graphed d;
    ag_tensor *out[2], *y, *dx, *r;
    graphed_begin(c, &d, 3);
    g.w = d.w;
    ag_tensor *v[] = { d.x, ag_scalar(c, 0, .dtype = AG_I64) };
    CHECK(v[1] && ag_while_loop(growth_cond, linear_body, v, 2, out, .user = &g, .snapshots = 2));
    CHECK((y = ag_sum(out[0])) && ag_grad(&y, 1, &d.x, 1, &dx));
    const ag_feed feeds[] = { { d.x, vector(c, .5, -1, false) }, { d.w, vector(c, 2, -3, false) } };
    for (int backend = 0; backend < GRAPHS_BACKENDS; backend++) {
        ag_session *s = graphs_session(d.g, graphs_backend[backend]);
        CHECK(ag_session_run(s, feeds, 2, &dx, 1, &r));
        CHECK_VALUES(r, AG_SHAPE(3), AG_VALUES(16, 81, 1 / 256.), 1e-13);
    }
}

/* ---- random numbers ---- */

static bool noisy_body(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    next[0] = ag_mul(v[0], ag_add(ag_rand_like(v[0]), .5));
    return next[0] && (next[1] = ag_add(v[1], 1)) != NULL;
}

static ag_tensor *noisy(ag_tensor *x, int snapshots)
{
    ag_tensor *in[] = { x, ag_scalar(ag_context_of(x), 0, .dtype = AG_I64) }, *out[2];
    return in[1] && ag_while_loop(below_3, noisy_body, in, 2, out, .snapshots = snapshots) ? out[0]
                                                                                           : NULL;
}

static void t_random_numbers(ag_context *c)
{
    ag_tensor *y[3], *r[3], *s, *x = vector(c, .5, -1, true);
    CHECK(x);
    for (int k = 0; k < 3; k++) { /* plain, and with snapshots: the same numbers */
        ag_manual_seed(c, 5);
        CHECK((y[k] = noisy(x, k)) && (s = ag_sum(y[k])) && ag_grad(&s, 1, &x, 1, &r[k]));
        CHECK_SAME(y[k], y[0]);
        CHECK_SAME(r[k], r[0]);
    }
    graphed d = { .g = graphs_graph(c) };
    CHECK(d.x = ag_placeholder(d.g, AG_F64, AG_SHAPE(3)));
    CHECK((d.fetches[0] = noisy(d.x, 2)) && (s = ag_sum(d.fetches[0])));
    CHECK(ag_grad(&s, 1, &d.x, 1, &d.fetches[1]));
    ag_session *session = graphs_session(d.g, AG_BACKEND_FUSED);
    const ag_feed feed = { d.x, vector(c, .5, -1, false) };
    ag_session_statistics stats;
    ag_manual_seed(c, 5);
    CHECK(ag_session_run(session, &feed, 1, d.fetches, 2, y));
    close_to(y[0], y[1] ? ag_mul(y[1], feed.value) : NULL);
    close_to(y[1], r[0]);
    ag_session_stats(session, &stats);
    CHECK_INT(stats.interpreted, 1); /* a plan has none that could be drawn again */
}

/* ---- memory ---- */

enum { LONG = 10000, WIDE = 1000, MIB = 1 << 20 };

static bool long_body(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = ag_sin(ag_mul(v[0], ((const growth *)user)->w));
    return next[0] && (next[1] = ag_add(v[1], 1)) != NULL;
}

static ag_tensor *long_loop(growth *g, ag_tensor *x, ag_tensor *w)
{
    ag_tensor *v[] = { x, ag_scalar(ag_context_of(x), 0, .dtype = AG_I64) }, *out[2];
    g->w = w;
    return v[1] && ag_while_loop(growth_cond, long_body, v, 2, out, .user = g,
                                 .snapshots = g->snapshots)
               ? ag_sum(out[0])
               : NULL;
}

static size_t peak(ag_context *c)
{
    ag_memory_statistics stats;
    ag_memory_stats(c, &stats);
    return stats.peak_bytes;
}

/* The gradient of a long loop in a context of its own: the most memory that it takes. */
static size_t long_eager(int snapshots, double *sum)
{
    ag_context *c = ag_open(0);
    static growth g;
    g = (growth){ .steps = LONG, .snapshots = snapshots };
    CHECK(c);
    ag_tensor *x = ag_full(c, AG_SHAPE(WIDE), .5, .requires_grad = true);
    ag_tensor *w = ag_full(c, AG_SHAPE(WIDE), 1.001, .requires_grad = true), *in[] = { x, w };
    ag_tensor *y, *r[2];
    const size_t before = peak(c);
    CHECK(x && w && (y = long_loop(&g, x, w)) && ag_grad(&y, 1, in, 2, r));
    *sum = ag_item(ag_sum(r[1]));
    const size_t most = peak(c) - before;
    ag_close(c);
    return most;
}

static size_t long_graph(int snapshots, ag_backend backend, double *sum)
{
    ag_context *c = ag_open(0);
    growth g = { .steps = LONG, .snapshots = snapshots };
    CHECK(c);
    ag_graph *graph = ag_graph_new(c);
    CHECK(graph);
    ag_tensor *in[2], *r[3], *y;
    CHECK((in[0] = ag_placeholder(graph, AG_F32, AG_SHAPE(WIDE))));
    CHECK((in[1] = ag_placeholder(graph, AG_F32, AG_SHAPE(WIDE))));
    CHECK((y = long_loop(&g, in[0], in[1])) && ag_grad(&y, 1, in, 2, r));
    ag_session *s = ag_session_new(graph, .backend = backend);
    const ag_feed feeds[] = { { in[0], ag_full(c, AG_SHAPE(WIDE), .5) },
                              { in[1], ag_full(c, AG_SHAPE(WIDE), 1.001) } };
    const size_t before = peak(c);
    ag_tensor *values[2];
    CHECK(s && ag_session_run(s, feeds, 2, r, 2, values));
    *sum = ag_item(ag_sum(values[1]));
    const size_t most = peak(c) - before;
    ag_session_statistics stats;
    ag_session_stats(s, &stats);
    CHECK(stats.arena_bytes < MIB);
    ag_session_free(s);
    ag_graph_free(graph);
    ag_close(c);
    return most;
}

static void t_memory(ag_context *c)
{
    double plain, sum;
    (void)c;
    if (harness_faults())
        return;
    CHECK(long_eager(0, &plain) > (size_t)LONG * WIDE * 4);
    CHECK(long_eager(14, &sum) < MIB);
    CHECK_CLOSE(sum, plain, 0);
    CHECK(long_graph(14, AG_BACKEND_INTERPRET, &sum) < MIB);
    CHECK_CLOSE(sum, plain, 1e-6);
    CHECK(long_graph(0, AG_BACKEND_FUSED, &sum) > (size_t)LONG * WIDE * 4);
    CHECK_CLOSE(sum, plain, 1e-6);
    CHECK(long_graph(14, AG_BACKEND_FUSED, &sum) < MIB);
    CHECK_CLOSE(sum, plain, 1e-6);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_eager_bits), TEST(t_eager_orders), TEST(t_eager_runs),
               TEST(t_eager_without_gradient), TEST(t_eager_shapes_change), TEST(t_eager_writes),
               TEST(t_graph_orders), TEST(t_nested), TEST(t_compiled), TEST(t_plan_bits),
               TEST(t_plan_exchanges), TEST(t_no_states), TEST(t_random_numbers), TEST(t_memory));
}
