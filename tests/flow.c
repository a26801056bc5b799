/* See flow.h. */
#include "flow.h"

#include <stdio.h>

static const double FLOW_TOLERANCE = 1e-11;
static const char FLOW_UNUSED_ERROR[] =
    "One of the differentiated Tensors appears to not have been used in the graph.";

static const struct {
    unsigned way;
    const char *name;
} ways[] = {
    { FLOW_LEAVES, "leaves" },         { FLOW_RESULTS, "results" },
    { FLOW_COMPILED, "compiled" },     { FLOW_PLACEHOLDERS, "placeholders" },
    { FLOW_UNKNOWN, "unknown sizes" }, { FLOW_CONSTANTS, "constants" },
    { FLOW_VARIABLES, "variables" },   { FLOW_INTERMEDIATES, "intermediates" },
    { FLOW_MIXED, "mixed inputs" },
};
enum { FLOW_WAYS = sizeof ways / sizeof ways[0], FLOW_REPEATED = 4096 };

/* One case, run one way. */
typedef struct {
    const char *file;
    int line;
    ag_context *c;
    const flow_case *k;
    unsigned way;
    const char *name, *backend;
    int n, m, orders;
    ag_tensor *in[FLOW_MAX], *out[FLOW_MAX], *d[FLOW_ORDERS][FLOW_MAX];
    bool has_tangents;
    ag_tensor *tangents; /* the weighted sum of the outputs' tangents; NULL: zero */
    ag_feed feeds[FLOW_MAX];
    int n_feeds;
} flow_run;

#define FLOW_FAIL(r, ...) flow_fail(r, __LINE__, __VA_ARGS__)
static void flow_fail(const flow_run *r, int line, const char *what)
{
    harness_fail(r->file, r->line, "%s%s: %s (flow.c:%d)", r->name, r->backend, what, line);
}
#define FLOW_TRUE(r, condition)                                                                    \
    do {                                                                                           \
        if (!(condition))                                                                          \
            FLOW_FAIL(r, #condition);                                                              \
    } while (0)

/* ---- what a case says ---- */

static const ag_values *expected(const flow_run *r, int order)
{
    return order == 0 ? r->k->d1 : order == 1 ? r->k->d2 : r->k->d3;
}

static bool is_floating(const flow_value *v) { return v->dtype <= AG_BF16; }
static bool is_unused(const ag_values *v) { return v->n < 0; }

/* Whether derivatives with respect to input i are taken in this run. */
static bool is_wanted(const flow_run *r, int i)
{
    return is_floating(&r->k->in[i]) && (r->way != FLOW_MIXED || i == 0);
}

static void count_entries(flow_run *r)
{
    while (r->n < FLOW_MAX && r->k->in[r->n].values.data)
        r->n++;
    while (r->m < FLOW_MAX && r->k->out[r->m].values.data)
        r->m++;
    for (int order = 0; order < FLOW_ORDERS; order++)
        for (int i = 0; i < r->n; i++)
            if (expected(r, order)[i].data || is_unused(&expected(r, order)[i]))
                r->orders = order + 1;
    for (int order = 0; order < r->orders; order++)
        for (int i = 0; i < r->n; i++) {
            const ag_values *e = &expected(r, order)[i];
            if (is_floating(&r->k->in[i]) && !is_unused(e) && e->n != r->k->in[i].values.n)
                FLOW_FAIL(r, "the case has derivatives of another number");
        }
    if (r->way == FLOW_MIXED && r->orders > 1)
        r->orders = 1; /* sums over the gradients of all inputs go on from there */
}

static ag_tensor *tensor_of(ag_context *c, const flow_value *v)
{
    return (ag_array)(c, v->values, v->shape,
                      &(ag_tensor_options){ .size = sizeof(ag_tensor_options), .dtype = v->dtype });
}

static double weight(int j, int64_t k) { return 1 + j + (double)k / 8; }

static ag_tensor *weights_like(ag_context *c, const flow_value *v, int j)
{
    double w[256];
    if (v->values.n > 256)
        return NULL;
    for (int k = 0; k < v->values.n; k++)
        w[k] = weight(j, k);
    return (ag_array)(c, (ag_values){ w, v->values.n }, v->shape,
                      &(ag_tensor_options){ .size = sizeof(ag_tensor_options), .dtype = v->dtype });
}

/* The weighted sum of tensors with the dtypes and shapes of `like`; NULL when it has no term. */
static ag_tensor *weigh(flow_run *r, ag_tensor *const *t, const flow_value *like, int n)
{
    ag_tensor *sum = NULL;
    for (int j = 0; j < n; j++) {
        if (!t[j] || !is_floating(&like[j]))
            continue;
        ag_tensor *w = weights_like(r->c, &like[j], j);
        FLOW_TRUE(r, w);
        ag_tensor *term = ag_to(ag_sum(ag_mul(t[j], w)), AG_F64);
        FLOW_TRUE(r, term);
        sum = sum ? ag_add(sum, term) : term;
        FLOW_TRUE(r, sum);
    }
    return sum;
}

/* ---- derivatives, of either kind of tensor ---- */

static bool depends(ag_tensor *t) { return t && (ag_is_symbolic(t) || ag_requires_grad(t)); }

static void check_unused(flow_run *r, ag_tensor *sum, ag_tensor *const *of, const int *index, int n)
{
    ag_tensor *g[FLOW_MAX];
    bool any = false;
    for (int i = 0; i < n; i++)
        any = any || is_unused(&r->k->d1[index[i]]);
    if (!any)
        return;
    FLOW_TRUE(r, ag_grad(&sum, 1, of, n, g, .retain_graph = true, .allow_unused = true));
    for (int i = 0; i < n; i++)
        if (is_unused(&r->k->d1[index[i]]) && g[i])
            FLOW_FAIL(r, "the gradient of an unused input is not NULL");
    const bool ok = ag_grad(&sum, 1, of, n, g, .retain_graph = true);
    harness_error(r->file, r->line, "ag_grad with an unused input", ok, AG_ERR_GRAD,
                  FLOW_UNUSED_ERROR);
}

static void derive(flow_run *r)
{
    ag_tensor *of[FLOW_MAX], *g[FLOW_MAX];
    int index[FLOW_MAX], n = 0;
    for (int i = 0; i < r->n; i++)
        if (is_wanted(r, i)) {
            of[n] = r->in[i];
            index[n++] = i;
        }
    for (int order = 0; order < r->orders && n; order++) {
        ag_tensor *sum =
            order ? weigh(r, r->d[order - 1], r->k->in, r->n) : weigh(r, r->out, r->k->out, r->m);
        if (depends(sum)) {
            FLOW_TRUE(r,
                      ag_grad(&sum, 1, of, n, g, .create_graph = true, .materialize_grads = true));
            if (order == 0)
                check_unused(r, sum, of, index, n);
        } else {
            for (int i = 0; i < n; i++)
                FLOW_TRUE(r, g[i] = ag_zeros_like(of[i]));
        }
        for (int i = 0; i < n; i++) {
            FLOW_TRUE(r, g[i] && ag_is_symbolic(g[i]) == ag_is_symbolic(of[i]));
            r->d[order][index[i]] = g[i];
        }
    }
}

static void find_tangents(flow_run *r)
{
    ag_tensor *t[FLOW_MAX] = { NULL }, *out[FLOW_MAX], *t_out[FLOW_MAX];
    if (r->k->skip & FLOW_TANGENTS || !r->orders)
        return;
    for (int i = 0; i < r->n; i++)
        if (is_wanted(r, i))
            FLOW_TRUE(r, t[i] = weights_like(r->c, &r->k->in[i], i));
    FLOW_TRUE(r, ag_jvp(r->k->build, r->in, r->n, t, out, r->m, t_out, r->k->user));
    r->tangents = weigh(r, t_out, r->k->out, r->m);
    r->has_tangents = true;
}

/* ---- comparing ---- */

static void compare(const flow_run *r, const char *what, int i, ag_tensor *t,
                    const flow_value *like, ag_values values)
{
    static char text[128]; /* static: a failing check jumps */
    static double zeros[256];
    snprintf(text, sizeof text, "%s%s: %s[%d]", r->name, r->backend, what, i);
    if (is_unused(&values))
        values = (ag_values){ zeros, like->values.n };
    if (t && ag_dtype_of(t) != like->dtype)
        harness_fail(r->file, r->line, "%s is %s, expected %s", text, ag_dtype_name(ag_dtype_of(t)),
                     ag_dtype_name(like->dtype));
    harness_values(r->file, r->line, text, t, like->shape, values,
                   like->dtype == AG_F32 ? 1e-5 : FLOW_TOLERANCE);
}

static void compare_all(flow_run *r)
{
    static const char *const names[] = { "d1", "d2", "d3" };
    for (int j = 0; j < r->m; j++)
        compare(r, "out", j, r->out[j], &r->k->out[j], r->k->out[j].values);
    for (int order = 0; order < r->orders; order++)
        for (int i = 0; i < r->n; i++)
            if (is_wanted(r, i))
                compare(r, names[order], i, r->d[order][i], &r->k->in[i], expected(r, order)[i]);
    if (!r->has_tangents)
        return;
    double sum = 0;
    for (int i = 0; i < r->n; i++)
        if (is_wanted(r, i) && !is_unused(&r->k->d1[i]))
            for (int k = 0; k < r->k->d1[i].n; k++)
                sum += weight(i, k) * r->k->d1[i].data[k];
    if (r->tangents || sum != 0)
        compare(r, "tangents", 0, r->tangents, &(flow_value)SCALAR(0), (ag_values){ &sum, 1 });
}

/* ---- the dynamic graph ---- */

static void run_dynamic(flow_run *r)
{
    for (int i = 0; i < r->n; i++) {
        const flow_value *v = &r->k->in[i];
        FLOW_TRUE(r, r->in[i] = tensor_of(r->c, v));
        if (!is_floating(v))
            continue;
        FLOW_TRUE(r, ag_requires_grad_(r->in[i], true));
        if (r->way == FLOW_RESULTS)
            FLOW_TRUE(r, r->in[i] = ag_mul(r->in[i], 1));
    }
    FLOW_TRUE(r, r->k->build(r->in, r->n, r->out, r->m, r->k->user));
    derive(r);
    if (r->way == FLOW_LEAVES)
        find_tangents(r);
    compare_all(r);
}

static ag_function *held_function;

static void run_compiled(flow_run *r, ag_backend backend)
{
    for (int i = 0; i < r->n; i++) {
        FLOW_TRUE(r, r->in[i] = tensor_of(r->c, &r->k->in[i]));
        if (is_floating(&r->k->in[i]))
            FLOW_TRUE(r, ag_requires_grad_(r->in[i], true));
    }
    held_function = ag_compile(r->c, r->k->build, r->m, r->k->user, .backend = backend);
    FLOW_TRUE(r, held_function);
    FLOW_TRUE(r, ag_call(held_function, r->in, r->n, r->out, r->m));
    derive(r);
    compare_all(r);
}

/* ---- static graphs ---- */

static ag_graph *held_graph;
static ag_session *held_session;

/* What a run holds outside of scopes, also when a check has failed. */
static void give_up(void *unused)
{
    (void)unused;
    ag_session_free(held_session);
    ag_graph_free(held_graph);
    ag_function_free(held_function);
    held_session = NULL;
    held_graph = NULL;
    held_function = NULL;
}

static ag_tensor *fed_input(flow_run *r, const flow_value *v, ag_tensor *value)
{
    static const int64_t unknown[AG_MAX_DIMS] = { -1, -1, -1, -1, -1, -1, -1, -1,
                                                  -1, -1, -1, -1, -1, -1, -1, -1 };
    const ag_ints shape = r->way == FLOW_UNKNOWN ? (ag_ints){ unknown, v->shape.n } : v->shape;
    ag_tensor *p = ag_placeholder(held_graph, v->dtype, shape);
    r->feeds[r->n_feeds++] = (ag_feed){ p, value };
    return p;
}

static ag_tensor *graph_input(flow_run *r, int i)
{
    const flow_value *v = &r->k->in[i];
    ag_tensor *value = tensor_of(r->c, v), *p;
    FLOW_TRUE(r, value);
    switch (r->way) {
    case FLOW_CONSTANTS: return ag_constant(held_graph, value);
    case FLOW_VARIABLES: return ag_variable(held_graph, value);
    case FLOW_MIXED: return i ? value : fed_input(r, v, value);
    case FLOW_INTERMEDIATES:
        if (!is_floating(v))
            return fed_input(r, v, value);
        FLOW_TRUE(r, value = ag_mul(value, .5));
        FLOW_TRUE(r, p = fed_input(r, v, value));
        return ag_add(p, p);
    default: return fed_input(r, v, value);
    }
}

static void run_session(flow_run *r, ag_backend backend)
{
    ag_tensor *fetches[(FLOW_ORDERS + 1) * FLOW_MAX + 1],
        *results[(FLOW_ORDERS + 1) * FLOW_MAX + 1];
    ag_tensor **at[(FLOW_ORDERS + 1) * FLOW_MAX + 1];
    flow_run got = *r;
    int n = 0;
    for (int j = 0; j < r->m; j++)
        at[n++] = &got.out[j];
    for (int order = 0; order < r->orders; order++)
        for (int i = 0; i < r->n; i++)
            if (is_wanted(r, i))
                at[n++] = &got.d[order][i];
    if (r->tangents)
        at[n++] = &got.tangents;
    for (int i = 0; i < n; i++)
        fetches[i] = *at[i];
    got.backend = backend == AG_BACKEND_INTERPRET ? ", interpreted" : ", fused";
    held_session = ag_session_new(held_graph, .backend = backend);
    FLOW_TRUE(&got, held_session);
    FLOW_TRUE(&got, ag_session_run(held_session, r->feeds, r->n_feeds, fetches, n, results));
    for (int i = 0; i < n; i++)
        *at[i] = results[i];
    compare_all(&got);
    /* The last fetch alone: whatever else is left out, its value is the same. */
    FLOW_TRUE(&got,
              ag_session_run(held_session, r->feeds, r->n_feeds, &fetches[n - 1], 1, results));
    *at[n - 1] = results[0];
    compare_all(&got);
    ag_session_free(held_session);
    held_session = NULL;
}

static void run_graph(flow_run *r)
{
    held_graph = ag_graph_new(r->c);
    FLOW_TRUE(r, held_graph);
    for (int i = 0; i < r->n; i++)
        FLOW_TRUE(r, r->in[i] = graph_input(r, i));
    FLOW_TRUE(r, r->k->build(r->in, r->n, r->out, r->m, r->k->user));
    for (int j = 0; j < r->m; j++)
        if (!r->out[j] || !ag_is_symbolic(r->out[j]))
            FLOW_FAIL(r, "an output is not symbolic");
    derive(r);
    if (r->way == FLOW_PLACEHOLDERS)
        find_tangents(r);
    run_session(r, AG_BACKEND_INTERPRET);
    run_session(r, AG_BACKEND_FUSED);
}

/* ---- cases ---- */

static bool has_sizes(const flow_run *r)
{
    for (int i = 0; i < r->n; i++)
        if (r->k->in[i].shape.n)
            return true;
    return false;
}

/* Runs that lack memory are many; these ways meet all the code. */
static bool is_needed(const flow_run *r)
{
    const unsigned few = FLOW_LEAVES | FLOW_PLACEHOLDERS;
    return !(r->k->skip & r->way) && (!harness_faults() || r->way & few) &&
           (r->way != FLOW_UNKNOWN || has_sizes(r)) && (r->way != FLOW_MIXED || r->n > 1);
}

void flow_check(const char *file, int line, ag_context *c, const flow_case *k)
{
    static flow_run r; /* static: a failing check jumps */
    harness_defer(give_up, NULL);
    for (int i = 0; i < FLOW_WAYS; i++) {
        r = (flow_run){ .file = file,
                        .line = line,
                        .c = c,
                        .k = k,
                        .way = ways[i].way,
                        .name = ways[i].name,
                        .backend = "" };
        count_entries(&r);
        if (!is_needed(&r))
            continue;
        AG_SCOPE (c) {
            if (r.way & (FLOW_LEAVES | FLOW_RESULTS)) {
                run_dynamic(&r);
            } else if (r.way == FLOW_COMPILED) {
                run_compiled(&r, AG_BACKEND_FUSED);
            } else {
                run_graph(&r);
            }
        }
        give_up(NULL);
    }
}

/* ---- for tests of their own ---- */

static void free_graph(void *g) { ag_graph_free(g); }
static void free_session(void *s) { ag_session_free(s); }

ag_graph *flow_graph(ag_context *c)
{
    ag_graph *g = ag_graph_new(c);
    CHECK(g);
    harness_defer(free_graph, g);
    return g;
}

ag_session *flow_session(ag_graph *g, ag_backend backend)
{
    ag_session *s = ag_session_new(g, .backend = backend);
    CHECK(s);
    harness_defer(free_session, s);
    return s;
}

ag_tensor *flow_fetch(ag_session *s, const ag_feed *feeds, int n, ag_tensor *fetch)
{
    ag_tensor *result = NULL;
    CHECK(ag_session_run(s, feeds, n, &fetch, 1, &result));
    CHECK(result && !ag_is_symbolic(result));
    return result;
}

ag_tensor *flow_integer(ag_context *c, int64_t value)
{
    return ag_scalar(c, (double)value, .dtype = AG_I64);
}

ag_tensor *flow_like(ag_tensor *x, double value)
{
    return x ? ag_scalar(ag_context_of(x), value, .dtype = ag_dtype_of(x)) : NULL;
}

typedef struct {
    ag_tensor *times;
    ag_body_fn step;
    void *user;
} repeated;

static ag_tensor *repeat_cond(ag_tensor *const *vars, int n, void *user)
{
    const repeated *r = user;
    (void)n;
    return ag_lt(vars[0], r->times);
}

static bool repeat_body(ag_tensor *const *vars, int n, ag_tensor **next, void *user)
{
    const repeated *r = user;
    next[0] = ag_add(vars[0], 1);
    return next[0] && r->step(vars + 1, n - 1, next + 1, r->user);
}

/* With snapshots the graph has need of it, until the test ends. */
static repeated *repeated_new(ag_tensor *times, ag_body_fn step, const ag_while_options *options)
{
    static repeated room[FLOW_REPEATED];
    static int n;
    n = (n + 1) % FLOW_REPEATED;
    room[n] = (repeated){ times, step, options->user };
    return &room[n];
}

bool flow_repeat_with(ag_tensor *times, ag_body_fn step, ag_tensor *const *init, int n,
                      ag_tensor **out, const ag_while_options *options)
{
    ag_tensor *vars[FLOW_MAX + 1], *last[FLOW_MAX + 1];
    ag_ints shapes[FLOW_MAX + 1] = { { NULL, 0 } };
    ag_while_options with = *options;
    if (!times || !init[0] || n > FLOW_MAX)
        return false;
    repeated *r = repeated_new(times, step, options);
    with.user = r;
    vars[0] = flow_integer(ag_context_of(init[0]), 0);
    for (int i = 0; i < n; i++)
        vars[i + 1] = init[i];
    for (int i = 0; i < n && options->shape_invariants; i++)
        shapes[i + 1] = options->shape_invariants[i];
    if (options->shape_invariants)
        with.shape_invariants = shapes;
    if (!(ag_while_loop)(repeat_cond, repeat_body, vars, n + 1, last, &with))
        return false;
    for (int i = 0; i < n; i++)
        out[i] = last[i + 1];
    return true;
}

bool flow_repeat(ag_tensor *times, ag_body_fn step, ag_tensor *const *init, int n, ag_tensor **out,
                 void *user)
{
    return flow_repeat_with(times, step, init, n, out,
                            &(ag_while_options){ .size = sizeof(ag_while_options), .user = user });
}

ag_tensor *flow_repeat_one(int64_t times, ag_body_fn step, ag_tensor *init, void *user)
{
    ag_tensor *out = NULL, *count = init ? flow_integer(ag_context_of(init), times) : NULL;
    return flow_repeat(count, step, &init, 1, &out, user) ? out : NULL;
}

bool flow_looped(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const flow_loop *loop = user;
    const int vars = loop->vars ? loop->vars : 1;
    const ag_while_options with = { .size = sizeof with,
                                    .user = (void *)in,
                                    .shape_invariants = loop->shape_invariants,
                                    .snapshots = loop->snapshots };
    ag_tensor *last[FLOW_MAX], *times = flow_integer(ag_context_of(in[0]), loop->times);
    if (vars > n || !flow_repeat_with(times, loop->step, in, vars, last, &with))
        return false;
    for (int j = 0; j < m; j++)
        out[j] = last[j];
    return true;
}
