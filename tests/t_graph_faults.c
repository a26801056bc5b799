/*
 * Lack of memory at every place of control flow, graphs, sessions and compiled functions. A case makes
 * its subject anew and runs one call with its n-th allocation failing, for n = 1, 2, 3 and so on, once and
 * from there on. The failure must say AG_ERR_MEMORY and leave everything as it was: the text of the graph,
 * variables, results that are not given; and then the same call must succeed, with the same text and bits
 * as one that lacked nothing.
 *
 * The harness makes all other allocations fail, those of these tests' own preparations too.
 */
#include "graphs.h"

enum { MAX_OUT = 4, STATE_BYTES = 1 << 16, EVERY_ONE = 200, STRIDE = 40 };

/* What is called, and what the call works on; what a case does not use is NULL. */
typedef struct subject {
    ag_context *c;
    ag_backend backend;
    ag_graph *g;
    ag_session *s;
    ag_function *f;
    ag_tensor *x, *w, *v; /* inputs; v is a variable where there is a graph */
    ag_tensor *pred, *index;
    ag_tensor *fetches[MAX_OUT], *out[MAX_OUT];
    int n_out;
} subject;

typedef struct {
    const char *name;
    bool (*make)(subject *t);
    bool (*call)(subject *t); /* fills out[0..n_out) */
} fault_case;

/* ---- what must stay ---- */

typedef struct {
    size_t n;
    char bytes[STATE_BYTES];
} state;

static void state_add(state *s, const void *bytes, size_t n)
{
    CHECK(s->n + n <= sizeof s->bytes);
    memcpy(s->bytes + s->n, bytes, n);
    s->n += n;
}

static void state_add_tensor(state *s, ag_tensor *t)
{
    char bytes[1024];
    const size_t n = t ? (size_t)ag_numel(t) * ag_dtype_size(ag_dtype_of(t)) : 0;
    CHECK(t && n <= sizeof bytes && ag_copy_out(t, bytes, n));
    state_add(s, bytes, n);
}

static void state_look(state *s, const subject *t)
{
    s->n = 0;
    if (t->s)
        state_add_tensor(s, ag_variable_value(t->s, t->v));
    if (!t->g)
        return;
    char *text = ag_graph_to_string(t->g);
    CHECK(text);
    state_add(s, text, strlen(text));
    ag_free(text);
}

static void state_results(state *s, const subject *t)
{
    const int traces = ag_function_traces(t->f); /* a signature, too, is traced once */
    state_look(s, t);
    state_add(s, &traces, sizeof traces);
    for (int j = 0; j < t->n_out; j++)
        if (!ag_is_symbolic(t->out[j]))
            state_add_tensor(s, t->out[j]);
}

static bool state_same(const state *a, const state *b)
{
    return a->n == b->n && !memcmp(a->bytes, b->bytes, a->n);
}

/* ---- one call under every fault ---- */

static void subject_free(void *subject_)
{
    subject *t = subject_;
    ag_session_free(t->s);
    ag_function_free(t->f);
    ag_graph_free(t->g);
    *t = (subject){ 0 };
}

static void call_whole(const fault_case *k, subject *t, state *s)
{
    CHECK(k->call(t));
    CHECK(!ag_error(t->c));
    state_results(s, t);
}

/* Whether the call got as far as the n-th allocation; then it must have failed there. */
static bool call_with_fault(const fault_case *k, subject *t, int64_t n, bool persistent,
                            const state *expected)
{
    static state before, after;
    ag_memory_statistics was, now;
    state_look(&before, t);
    ag_memory_stats(t->c, &was);
    ag_memory_fail_at(t->c, n, persistent);
    const bool ok = k->call(t);
    ag_memory_fail_at(t->c, 0, false);
    ag_memory_stats(t->c, &now);
    if (now.allocations - was.allocations < n)
        return false;
    if (ok)
        FAIL("%s succeeded without allocation %lld", k->name, (long long)n);
    CHECK_ERROR(ok, AG_ERR_MEMORY, "out of memory");
    for (int j = 0; j < MAX_OUT; j++)
        if (t->out[j])
            FAIL("%s gave result %d without allocation %lld", k->name, j, (long long)n);
    state_look(&after, t);
    if (!state_same(&before, &after))
        FAIL("%s changed something without allocation %lld:\n%.*s\nbefore:\n%.*s", k->name,
             (long long)n, (int)after.n, after.bytes, (int)before.n, before.bytes);
    call_whole(k, t, &after);
    if (!state_same(expected, &after))
        FAIL("%s: another result after the lack of allocation %lld:\n%.*s\nexpected:\n%.*s",
             k->name, (long long)n, (int)after.n, after.bytes, (int)expected->n, expected->bytes);
    return true;
}

static void check_case(ag_context *c, ag_backend backend, const fault_case *k)
{
    static state expected;
    static subject t; /* static: a check jumps */
    t = (subject){ .c = c, .backend = backend };
    harness_defer(subject_free, &t);
    CHECK(k->make(&t));
    call_whole(k, &t, &expected);
    subject_free(&t);
    for (int persistent = 0; persistent < 2 && !harness_faults(); persistent++)
        for (int64_t n = 1, reached = 1; reached; n += n <= EVERY_ONE ? 1 : n / STRIDE)
            AG_SCOPE (c) {
                t = (subject){ .c = c, .backend = backend };
                CHECK(k->make(&t));
                reached = call_with_fault(k, &t, n, persistent, &expected);
                subject_free(&t);
            }
}

static void check_cases(ag_context *c, ag_backend backend, const fault_case *cases, int n)
{
    for (int k = 0; k < n; k++)
        check_case(c, backend, &cases[k]);
}
#define CHECK_CASES(backend, ...)                                                                  \
    check_cases(c, backend, (const fault_case[]){ __VA_ARGS__ },                                   \
                (int)(sizeof((const fault_case[]){ __VA_ARGS__ }) / sizeof(fault_case)))

/* ---- functions of loops and branches; user is a tensor from outside ---- */

static ag_tensor *is_small(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(ag_sum(v[0]), 20);
}

static bool grow(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    next[0] = ag_add(ag_mul(v[0], user), 1);
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

static bool halve(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_mul(in[0], .5)) != NULL;
}

static bool cube(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return (out[0] = ag_mul(ag_square(in[0]), ag_mul(in[0], user))) != NULL;
}

/* A branch in the body. */
static bool step(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **carry_out,
                 ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m;
    if (!ag_cond(ag_gt(x[0], 1), cube, halve, carry, 1, y, 1, .user = user))
        return false;
    return (carry_out[0] = ag_add(carry[0], ag_mul(y[0], x[0]))) != NULL;
}

static bool whole(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *vars[] = { in[0], ag_scalar(ag_context_of(in[0]), 0) }, *ends[2], *ys;
    (void)n, (void)m, (void)user;
    return vars[1] && ag_while_loop(is_small, grow, vars, 2, ends, .user = in[1]) &&
           ag_scan(step, ends, 1, in, 1, out, &ys, 1, .user = in[1]) &&
           (out[0] = ag_sum(ag_add(out[0], ys))) != NULL;
}

/* ---- calls on tensors with data, or recorded: the same ---- */

static bool call_while(subject *t)
{
    ag_tensor *vars[] = { t->x, ag_scalar(t->c, 0) };
    t->n_out = 2;
    return vars[1] && ag_while_loop(is_small, grow, vars, 2, t->out, .user = t->w);
}

static bool call_cond(subject *t)
{
    t->n_out = 1;
    return ag_cond(t->pred, cube, halve, &t->x, 1, t->out, 1, .user = t->w);
}

static bool call_switch(subject *t)
{
    const ag_fn fns[] = { halve, cube, halve };
    t->n_out = 1;
    return ag_switch(t->index, fns, 3, &t->x, 1, t->out, 1, .user = t->w);
}

static bool call_scan(subject *t)
{
    ag_tensor *out[2];
    if (!ag_scan(step, &t->w, 1, &t->x, 1, out, out + 1, 1, .user = t->w))
        return false;
    t->out[0] = out[0];
    t->out[1] = out[1];
    t->n_out = 2;
    return true;
}

#define FLOW_CASES(make)                                                                           \
    { "while", make, call_while }, { "cond", make, call_cond }, { "switch", make, call_switch },   \
    {                                                                                              \
        "scan", make, call_scan                                                                    \
    }

static bool make_choices(subject *t)
{
    t->pred = ag_gt(ag_sum(t->x), 1);
    t->index = ag_to(ag_sum(t->x), AG_I64);
    return t->pred && t->index;
}

static bool make_data(subject *t)
{
    t->x = ag_array(t->c, AG_VALUES(.5, 1.5), AG_SHAPE(2), .requires_grad = true);
    t->w = ag_full(t->c, AG_SHAPE(2), 1.25, .requires_grad = true);
    return t->x && t->w && make_choices(t);
}

static void t_flow_on_data(ag_context *c) { CHECK_CASES(AG_BACKEND_FUSED, FLOW_CASES(make_data)); }

/* ---- recording ---- */

static bool make_graph(subject *t)
{
    t->g = ag_graph_new(t->c);
    t->x = ag_placeholder(t->g, AG_F32, AG_SHAPE(2), .name = "x");
    t->v = ag_variable(t->g, ag_full(t->c, AG_SHAPE(2), 1.25), .name = "v");
    t->w = ag_mul(t->v, 1);
    return t->x && t->w && make_choices(t);
}

static bool call_placeholder(subject *t)
{
    t->n_out = 1;
    return (t->out[0] = ag_placeholder(t->g, AG_F32, AG_SHAPE(-1, 3), .name = "x")) != NULL;
}

static bool call_constant(subject *t)
{
    t->n_out = 1;
    ag_tensor *data = ag_ones(t->c, AG_SHAPE(3));
    return data && (t->out[0] = ag_constant(t->g, data, .name = "a")) != NULL;
}

static bool call_variable(subject *t)
{
    t->n_out = 1;
    ag_tensor *data = ag_ones(t->c, AG_SHAPE(3));
    return data && (t->out[0] = ag_variable(t->g, data, .name = "v")) != NULL;
}

static bool call_assign(subject *t)
{
    t->n_out = 1;
    return (t->out[0] = ag_assign_add(t->v, ag_ones(t->c, AG_SHAPE(2)))) != NULL;
}

static bool call_operation(subject *t)
{
    ag_tensor *data = ag_ones(t->c, AG_SHAPE(2));
    t->n_out = 1;
    return data && (t->out[0] = (ag_add)(t->x, data)) != NULL;
}

static bool call_detach(subject *t)
{
    t->n_out = 1;
    return (t->out[0] = ag_detach(t->x)) != NULL;
}

static bool call_group(subject *t)
{
    t->n_out = 1;
    return (t->out[0] = ag_group((ag_tensor *[]){ t->x, t->w }, 2)) != NULL;
}

static bool call_set_name(subject *t) { return ag_set_name(t->w, "another"); }

static bool call_grad(subject *t)
{
    ag_tensor *of[] = { t->w, t->v, t->x };
    t->n_out = 3;
    return ag_grad(&t->w, 1, of, 3, t->out, .grad_outputs = &t->x, .materialize_grads = true);
}

static bool call_jvp(subject *t)
{
    t->n_out = 2;
    return ag_jvp(cube, &t->x, 1, &t->w, t->out, 1, t->out + 1, t->w);
}

static void t_recording(ag_context *c) { CHECK_CASES(AG_BACKEND_FUSED, FLOW_CASES(make_graph)); }

static void t_recording_of_instructions(ag_context *c)
{
    CHECK_CASES(AG_BACKEND_FUSED, { "placeholder", make_graph, call_placeholder },
                { "constant", make_graph, call_constant },
                { "variable", make_graph, call_variable }, { "assign", make_graph, call_assign },
                { "operation", make_graph, call_operation }, { "detach", make_graph, call_detach },
                { "group", make_graph, call_group }, { "set_name", make_graph, call_set_name });
}

static void t_recording_of_derivatives(ag_context *c)
{
    CHECK_CASES(AG_BACKEND_FUSED, { "grad", make_graph, call_grad },
                { "jvp", make_graph, call_jvp });
}

/* ---- sessions ---- */

/* One step of training: the loss, and the variable that it writes. */
static bool make_session(subject *t)
{
    ag_tensor *in[2], *d;
    if (!make_graph(t))
        return false;
    in[0] = t->x;
    in[1] = t->w;
    if (!whole(in, 2, t->fetches, 1, NULL) || !ag_grad(t->fetches, 1, &t->v, 1, &d))
        return false;
    t->fetches[1] = ag_assign_sub(t->v, ag_mul(d, .125));
    t->s = t->fetches[1] ? ag_session_new(t->g, .backend = t->backend) : NULL;
    return t->s != NULL;
}

static bool call_session(subject *t)
{
    ag_tensor *x = ag_array(t->c, AG_VALUES(.5, 1.5), AG_SHAPE(2));
    const ag_feed feed = { t->x, x };
    t->n_out = 2;
    return x && ag_session_run(t->s, &feed, 1, t->fetches, 2, t->out);
}

/* The plan is there, and what is cached. */
static bool make_session_that_ran(subject *t)
{
    if (!make_session(t) || !call_session(t))
        return false;
    memset(t->out, 0, sizeof t->out);
    return true;
}

static bool call_variable_set(subject *t)
{
    ag_tensor *data = ag_ones(t->c, AG_SHAPE(2));
    t->n_out = 0;
    return data && ag_variable_set(t->s, t->v, data);
}

static void t_first_runs(ag_context *c)
{
    for (int b = 0; b < GRAPHS_BACKENDS; b++)
        CHECK_CASES(graphs_backend[b], { "first run", make_session, call_session });
}

static void t_later_runs(ag_context *c)
{
    for (int b = 0; b < GRAPHS_BACKENDS; b++)
        CHECK_CASES(graphs_backend[b], { "second run", make_session_that_ran, call_session },
                    { "variable_set", make_session_that_ran, call_variable_set });
}

/* ---- compiled functions ---- */

static bool make_compiled(subject *t)
{
    t->f = make_data(t) ? ag_compile(t->c, whole, 1, NULL, .backend = t->backend) : NULL;
    return t->f != NULL;
}

static bool call_compiled(subject *t)
{
    ag_tensor *in[] = { t->x, t->w };
    t->n_out = 1;
    return ag_call(t->f, in, 2, t->out, 1);
}

static bool make_called(subject *t)
{
    if (!make_compiled(t) || !call_compiled(t))
        return false;
    t->fetches[0] = t->out[0];
    t->out[0] = NULL;
    return true;
}

static bool call_gradients(subject *t)
{
    ag_tensor *in[] = { t->x, t->w };
    t->n_out = 2;
    return ag_grad(t->fetches, 1, in, 2, t->out, .retain_graph = true, .create_graph = true);
}

static void t_compiling(ag_context *c)
{
    for (int b = 0; b < GRAPHS_BACKENDS; b++)
        CHECK_CASES(graphs_backend[b], { "first call", make_compiled, call_compiled });
}

static void t_calls(ag_context *c)
{
    for (int b = 0; b < GRAPHS_BACKENDS; b++)
        CHECK_CASES(graphs_backend[b], { "second call", make_called, call_compiled });
}

static void t_gradients_of_calls(ag_context *c)
{
    for (int b = 0; b < GRAPHS_BACKENDS; b++)
        CHECK_CASES(graphs_backend[b], { "gradients", make_called, call_gradients });
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_flow_on_data), TEST(t_recording), TEST(t_recording_of_instructions),
               TEST(t_recording_of_derivatives), TEST(t_first_runs), TEST(t_later_runs),
               TEST(t_compiling), TEST(t_calls), TEST(t_gradients_of_calls));
}
