/*
 * Static is eager: random programs (programs.h), run in every way there is.
 *
 * A program runs eagerly, as the function of a graph in sessions with different backends and
 * passes, and compiled. Outputs, first and second derivatives are compared.
 *
 * What takes the same steps must give the same bits: the interpreter, and plans without fusion and
 * algebra. Two things are excepted, which add the same numbers in another order: derivatives of
 * loops and branches (they sum what goes to a captured tensor before it leaves the loop) and of
 * compiled functions (likewise for what goes to an input). These, and everything under fusion and
 * algebra, must be within CLOSE times the greatest magnitude of the outputs, or of the derivatives
 * of that order. Programs are drawn such that a disturbance of every intermediate result grows at
 * most 64 times.
 *
 * A failure prints the program after instructions were left out of it as long as it failed.
 * AG_TEST_SEEDS=N runs N programs, AG_TEST_FIRST=K begins with number K.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "programs.h"

enum { SEEDS = 200, TEXT = 1024 };
static const double CLOSE_F64 = 1e-12, CLOSE_F32 = 2e-5;

/* Under way: the first difference ends it. */
typedef struct {
    ag_context *c;
    const program *p;
    const char *how;
    char what[TEXT];
} check;

/* The tolerances of outputs and of derivatives; 0 is the same bits. */
typedef struct {
    double outputs, derivatives;
} tolerances;

__attribute__((format(printf, 2, 3))) static bool differs(check *k, const char *format, ...)
{
    const ag_status *status = ag_error(k->c);
    char message[TEXT / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    snprintf(k->what, sizeof k->what, "%s: %s%s%s", k->how, message, status ? ": " : "",
             status ? status->message : "");
    return false;
}

/* ---- comparing ---- */

static bool same_bits(double a, double b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b));
}

static bool compare(check *k, const char *name, int set, const program_value *is,
                    const program_value *expected, int n, double tolerance)
{
    const double bound = tolerance * program_greatest(expected, n);
    for (int i = 0; i < n; i++) {
        if (!program_same_type(&is[i].type, &expected[i].type))
            return differs(k, "%s %d of inputs %d has another shape or dtype", name, i, set);
        for (int64_t e = 0; e < program_numel(&is[i].type); e++) {
            const double a = is[i].v[e], b = expected[i].v[e];
            if (!same_bits(a, b) && !(tolerance > 0 && fabs(a - b) <= bound))
                return differs(k,
                               "element %lld of %s %d of inputs %d is %.17g, not %.17g (bound %g)",
                               (long long)e, name, i, set, a, b, bound);
        }
    }
    return true;
}

static bool compare_results(check *k, int set, const program_results *is,
                            const program_results *expected, tolerances t)
{
    const program *p = k->p;
    return compare(k, "output", set, is->out, expected->out, p->n_outputs, t.outputs) &&
           compare(k, "derivative", set, is->first, expected->first, p->n_inputs, t.derivatives) &&
           compare(k, "second derivative", set, is->second, expected->second, p->n_inputs,
                   t.derivatives);
}

static double close_of(const program *p) { return p->real == AG_F64 ? CLOSE_F64 : CLOSE_F32; }

/* Reads the tensors that a way to run the program has made. */
static bool read_all(check *k, int set, ag_tensor *const *out, ag_tensor *const *first,
                     ag_tensor *const *second, program_results *r)
{
    memset(r, 0, sizeof *r);
    for (int i = 0; i < k->p->n_outputs; i++)
        if (!out[i] || !program_read(out[i], NULL, &r->out[i]))
            return differs(k, "no output %d of inputs %d", i, set);
    for (int i = 0; i < k->p->n_inputs; i++) {
        const program_type t = program_input_type(k->p, set, i);
        if (!program_read(first[i], &t, &r->first[i]) ||
            !program_read(second[i], &t, &r->second[i]))
            return differs(k, "no derivative %d of inputs %d", i, set);
    }
    r->known = true;
    return true;
}

/* ---- graphs ---- */

enum { FETCHES = OUTPUTS + 2 * INPUTS };
typedef struct {
    ag_graph *g;
    program_run run;
    ag_tensor *in[INPUTS], *v[INPUTS], *out[OUTPUTS], *w[OUTPUTS], *first[INPUTS], *second[INPUTS];
} graph;

static ag_tensor *placeholder(const graph *g, const program_type *t)
{
    return ag_placeholder(g->g, t->dtype, ((ag_ints){ t->shape, t->n }));
}

static bool graph_record(check *k, graph *g)
{
    const program *p = k->p;
    for (int i = 0; i < p->n_inputs; i++) {
        program_type t = p->type[i];
        for (int d = 0; d < t.n; d++)
            t.shape[d] = p->unknown[i][d] && !p->fixed ? -1 : t.shape[d];
        g->in[i] = placeholder(g, &t);
        g->v[i] = placeholder(g, &t);
        if (!g->in[i] || !g->v[i])
            return differs(k, "no placeholder");
    }
    if (!program_fn(g->in, p->n_inputs, g->out, p->n_outputs, &g->run))
        return differs(k, "the program was not recorded");
    for (int i = 0; i < p->n_outputs; i++) {
        if (!ag_is_symbolic(g->out[i]))
            return differs(k, "output %d is not symbolic", i);
        const program_type t = program_type_of(g->out[i]);
        if (!(g->w[i] = placeholder(g, &t)))
            return differs(k, "no placeholder");
    }
    if (!program_derive(g->in, p->n_inputs, g->out, p->n_outputs, g->w, g->v, g->first, g->second))
        return differs(k, "no derivatives were recorded");
    return p->seed % 2 == 0 || ag_graph_finalize(g->g) || differs(k, "not finalized");
}

/* t, or the result that belongs to it. */
static ag_tensor *result_of(ag_tensor *t, ag_tensor *const *fetches, ag_tensor *const *results,
                            int n)
{
    for (int i = 0; t && i < n; i++)
        if (fetches[i] == t)
            return results[i];
    return t;
}

static bool run_once(check *k, const graph *g, ag_session *s, int set, program_results *r)
{
    const program *p = k->p;
    ag_feed feeds[2 * INPUTS + OUTPUTS];
    ag_tensor *fetches[FETCHES], *results[FETCHES], *out[OUTPUTS], *first[INPUTS], *second[INPUTS];
    int n = 0, m = 0;
    for (int i = 0; i < p->n_inputs; i++) {
        const program_type t = program_input_type(p, set, i);
        feeds[n++] = (ag_feed){ g->in[i], program_input(k->c, p, set, i, false) };
        feeds[n++] = (ag_feed){ g->v[i], program_second_weight(k->c, p, i, &t) };
    }
    for (int i = 0; i < p->n_outputs; i++)
        feeds[n++] = (ag_feed){ g->w[i], program_weight(k->c, p, i, &p->expect[set].out[i].type) };
    for (int i = 0; i < n; i++)
        if (!feeds[i].value)
            return differs(k, "no memory for feeds");
    for (int i = 0; i < p->n_outputs; i++)
        fetches[m++] = g->out[i];
    for (int i = 0; i < p->n_inputs; i++) {
        if (g->first[i] && ag_is_symbolic(g->first[i]))
            fetches[m++] = g->first[i];
        if (g->second[i] && ag_is_symbolic(g->second[i]))
            fetches[m++] = g->second[i];
    }
    if (!ag_session_run(s, feeds, n, fetches, m, results))
        return differs(k, "the run with inputs %d failed", set);
    for (int i = 0; i < p->n_outputs; i++)
        out[i] = result_of(g->out[i], fetches, results, m);
    for (int i = 0; i < p->n_inputs; i++) {
        first[i] = result_of(g->first[i], fetches, results, m);
        second[i] = result_of(g->second[i], fetches, results, m);
    }
    return read_all(k, set, out, first, second, r);
}

/* Two sets of inputs, the first one again after each; then other sizes. *was are the results for
 * the first set, which must be those of `before` to the bit where it is not NULL. */
static bool run_session(check *k, const graph *g, ag_session *s, tolerances t,
                        const program_results *before, program_results *was)
{
    static program_results now;
    const tolerances bits = { 0, 0 };
    static const int order[] = { 0, 0, 1, 0 };
    for (int i = 0; i < 4; i++) {
        bool fine;
        AG_SCOPE (k->c)
            fine = run_once(k, g, s, order[i], i ? &now : was);
        if (!fine || !compare_results(k, order[i], i ? &now : was, &k->p->expect[order[i]], t))
            return false;
        if (i && order[i] == 0 && !compare_results(k, 0, &now, was, bits))
            return false;
    }
    if (before && !compare_results(k, 0, was, before, bits))
        return false;
    if (k->p->fixed || t.outputs > 0)
        return true;
    const program_results *expected = &k->p->expect[SETS - 1];
    if (!expected->known)
        return true;
    AG_SCOPE (k->c)
        if (!run_once(k, g, s, SETS - 1, &now))
            return false;
    return compare(k, "output", SETS - 1, now.out, expected->out, k->p->n_outputs, 0) &&
           (t.derivatives > 0 || compare_results(k, SETS - 1, &now, expected, t));
}

static bool check_sessions(check *k)
{
    static const struct {
        const char *how;
        ag_backend backend;
        int passes_off, threads;
        bool close;
    } ways[] = {
        { "interpreted", AG_BACKEND_INTERPRET, 0, 1, false },
        { "planned without passes", AG_BACKEND_FUSED, AG_PASS_ALL, 1, false },
        { "planned without fusion and algebra", AG_BACKEND_FUSED, AG_PASS_FUSE | AG_PASS_ALGEBRA, 1,
          false },
        { "planned", AG_BACKEND_FUSED, 0, 1, true },
        { "planned with 2 threads", AG_BACKEND_FUSED, 0, 2, true },
    };
    static graph g;
    static program_results was[2];
    g = (graph){ .g = ag_graph_new(k->c), .run = { .p = k->p } };
    k->how = "recorded";
    bool fine = g.g ? graph_record(k, &g) : differs(k, "no graph");
    for (size_t i = 0; fine && i < sizeof ways / sizeof *ways; i++) {
        if (harness_faults() && i != 0 && i != 3)
            continue;
        k->how = ways[i].how;
        ag_session *s = ag_session_new(g.g, .threads = ways[i].threads, .backend = ways[i].backend,
                                       .passes_off = ways[i].passes_off);
        const double close = close_of(k->p);
        const tolerances t = { ways[i].close ? close : 0,
                               ways[i].close || k->p->flows ? close : 0 };
        fine = s ? run_session(k, &g, s, t, ways[i].threads == 2 ? &was[(i - 1) % 2] : NULL,
                               &was[i % 2])
                 : differs(k, "no session");
        ag_session_free(s);
    }
    ag_graph_free(g.g);
    return fine;
}

/* ---- eager, and compiled functions in eager programs ---- */

static bool run_eager(check *k, ag_function *f, program_run *run, int set, program_results *r)
{
    const program *p = k->p;
    ag_tensor *in[INPUTS], *v[INPUTS], *out[OUTPUTS], *w[OUTPUTS], *first[INPUTS], *second[INPUTS];
    for (int i = 0; i < p->n_inputs; i++) {
        const program_type t = program_input_type(p, set, i);
        in[i] = program_input(k->c, p, set, i, true);
        v[i] = program_second_weight(k->c, p, i, &t);
        if (!in[i] || !v[i])
            return differs(k, "no memory for inputs");
    }
    if (f ? !ag_call(f, in, p->n_inputs, out, p->n_outputs)
          : !program_fn(in, p->n_inputs, out, p->n_outputs, run))
        return differs(k, "the call with inputs %d failed", set);
    for (int i = 0; i < p->n_outputs; i++)
        if (!(w[i] = program_weight(k->c, p, i, &p->expect[set].out[i].type)))
            return differs(k, "no memory for weights");
    if (!program_derive(in, p->n_inputs, out, p->n_outputs, w, v, first, second))
        return differs(k, "no derivatives for inputs %d", set);
    return read_all(k, set, out, first, second, r);
}

static bool run_calls(check *k, ag_function *f, program_run *run, tolerances t)
{
    static program_results now, was;
    const tolerances bits = { 0, 0 };
    static const int order[] = { 0, 0, 1 };
    for (int i = 0; i < 3; i++) {
        bool fine;
        AG_SCOPE (k->c)
            fine = run_eager(k, f, run, order[i], i == 0 ? &was : &now);
        if (!fine ||
            !compare_results(k, order[i], i == 0 ? &was : &now, &k->p->expect[order[i]], t))
            return false;
        if (i == 1 && !compare_results(k, 0, &now, &was, bits))
            return false;
    }
    return true;
}

static bool check_eager(check *k)
{
    static program_run run;
    const tolerances bits = { 0, 0 };
    run = (program_run){ .p = k->p };
    k->how = "eager with 2 threads";
    ag_set_num_threads(k->c, 2);
    const bool fine = run_calls(k, NULL, &run, bits);
    ag_set_num_threads(k->c, 1);
    return fine;
}

static bool check_compiled(check *k)
{
    static program_run run;
    for (int interpret = 0; interpret < 2; interpret++) {
        run = (program_run){ .p = k->p };
        k->how = interpret ? "compiled and interpreted" : "compiled";
        ag_function *f = ag_compile(k->c, program_fn, k->p->n_outputs, &run,
                                    .backend = interpret ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        const tolerances t = { interpret ? 0 : close_of(k->p), close_of(k->p) };
        bool fine = f ? run_calls(k, f, &run, t) : differs(k, "not compiled");
        if (fine && ag_function_traces(f) != 1)
            fine = differs(k, "traced %d times", ag_function_traces(f));
        ag_function_free(f);
        if (!fine)
            return false;
    }
    return true;
}

/* ---- programs ---- */

static bool check_program(check *k, ag_context *c, const program *p)
{
    *k = (check){ .c = c, .p = p };
    bool fine = false;
    AG_SCOPE (c)
        fine = check_eager(k) && check_sessions(k) && check_compiled(k);
    return fine;
}

/* Still a program, of which rounding explains nothing, and still failing. */
static bool still_fails(ag_context *c, program *p)
{
    static check k;
    ag_error_clear(c);
    return program_expect(p) && program_is_sound(p) && !check_program(&k, c, p);
}

/* Leaves out what the failure does not need. */
static void shrink(ag_context *c, program *p)
{
    static program less;
    for (bool shorter = true; shorter;) {
        shorter = false;
        for (int i = p->n_outputs - 1; i >= 0 && p->n_outputs > 1; i--) {
            less = *p;
            if (program_drop_output(&less, i) && still_fails(c, &less)) {
                *p = less;
                shorter = true;
            }
        }
        for (int i = p->n_code - 1; i >= 0; i--)
            for (int replace = 0; replace < 2 && i < p->n_code; replace++) {
                less = *p;
                if (program_drop_code(&less, i, replace) && still_fails(c, &less)) {
                    *p = less;
                    shorter = true;
                }
            }
    }
}

static void run_program(ag_context *c, program *p)
{
    static check k;
    if (check_program(&k, c, p))
        return;
    const ag_status *status = ag_error(c);
    if (!(status && status->code == AG_ERR_MEMORY && harness_faults())) {
        fprintf(stderr, "seed %llu: %s\n", (unsigned long long)p->seed, k.what);
        shrink(c, p);
        ag_error_clear(c);
        check_program(&k, c, p);
        program_print(p, stderr);
    }
    FAIL("seed %llu: %s", (unsigned long long)p->seed, k.what);
}

static int setting(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static void t_static_is_eager(ag_context *c)
{
    static program p;
    const int first = setting("AG_TEST_FIRST", 0), n = setting("AG_TEST_SEEDS", SEEDS);
    for (int seed = first; seed < first + n && !harness_faults(); seed++) {
        program_draw(&p, (uint64_t)seed);
        run_program(c, &p);
    }
}

/* Small programs, for runs in which memory fails; drawn once for all of these. */
static void run_small(ag_context *c, uint64_t seed)
{
    static program p;
    if (!p.n_code || p.seed != seed)
        program_draw(&p, seed);
    run_program(c, &p);
}

static void t_small_line(ag_context *c) { run_small(c, 15); }
static void t_small_while(ag_context *c) { run_small(c, 113); }
static void t_small_cond(ag_context *c) { run_small(c, 83); }
static void t_small_scan(ag_context *c) { run_small(c, 109); }

int main(int argc, char **argv)
{
    return RUN(TEST(t_static_is_eager), TEST(t_small_line), TEST(t_small_while), TEST(t_small_cond),
               TEST(t_small_scan));
}
