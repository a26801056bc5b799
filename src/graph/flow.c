/*
 * Loops and branches. On tensors with data they are those of C, and the dynamic graph records what
 * happens in them. A symbolic operand makes them instructions of its graph (flow_record.c). A loop
 * that meets a symbolic value on its way records the rest of itself.
 */
#include "flow.h"

#include <string.h>

#include "../autograd/sequence.h"
#include "rules.h"

/* ---- shared ---- */

bool ag__flow_check_list(const char *op, ag_context *c, const char *what, ag_tensor *const *list,
                         int n)
{
    if (n < 0 || (n > 0 && !list))
        return ag_fail(c, AG_ERR_VALUE, "%s: %d %ss in a list that is %s", op, n, what,
                       list ? "there" : "NULL");
    for (int i = 0; i < n; i++)
        if (!ag__list_check(c, op, what, i, list[i]))
            return false;
    return true;
}

bool ag__flow_pred(const char *op, const char *what, const ag_tensor *t)
{
    return ag__rule_one(t->c, op, what, ag__sizes(t));
}

/* The results of a function that says that it succeeded. */
bool ag__flow_given(const char *op, ag_context *c, const char *what, bool ok, ag_tensor *const *out,
                    int n)
{
    if (!ok)
        return ag_fail(c, AG_ERR_VALUE, "%s: %s failed without an error", op, what);
    for (int i = 0; i < n; i++) {
        if (!out[i])
            return ag_fail(c, AG_ERR_VALUE, "%s: %s did not give its result %d of %d", op, what, i,
                           n);
        if (out[i]->c != c)
            return ag_fail(c, AG_ERR_VALUE, "%s: %s gave a result of another context", op, what);
    }
    return true;
}

/* vars = next, which are in the innermost scope. */
static void flow_move(ag_tensor **vars, ag_tensor *const *next, int n)
{
    for (int i = 0; i < n; i++)
        ag__tensor_ref(next[i]);
    for (int i = 0; i < n; i++) {
        ag__tensor_unref(vars[i]);
        vars[i] = next[i];
    }
}

/* The results are lent to the caller's scope. */
static void flow_give(ag_tensor **out, ag_tensor *const *vars, int n)
{
    for (int i = 0; i < n; i++)
        out[i] = ag__lend(vars[i]);
}

/* ---- while ---- */

typedef enum { FLOW_FAILED, FLOW_ENDED, FLOW_GOES_ON, FLOW_SYMBOLIC } flow_state;

static bool flow_while_types(ag_tensor *const *vars, ag_tensor *const *next, int n)
{
    for (int i = 0; i < n; i++)
        if (!ag__rule_variable(vars[i]->c, i, (ag_dtype)vars[i]->dtype, (ag_dtype)next[i]->dtype))
            return false;
    return true;
}

/* One look at the condition and, where it holds, one run of the body. */
static flow_state flow_while_step(ag__while_call *w, ag_tensor **vars, ag_tensor **next)
{
    ag_context *c = vars[0]->c;
    if (ag__any_symbolic(vars, w->n))
        return FLOW_SYMBOLIC;
    if (!ag__goes_on(c))
        return FLOW_FAILED;
    ag_tensor *pred = w->cond(vars, w->n, w->options->user);
    if (!ag__flow_given("ag_while_loop", c, "the condition", pred != NULL, &pred, 1) ||
        !ag__flow_pred("ag_while_loop", "the condition", pred))
        return FLOW_FAILED;
    if (ag__is_symbolic(pred)) {
        w->symbolic = ag__region_for("while_loop", &pred, 1);
        return w->symbolic ? FLOW_SYMBOLIC : FLOW_FAILED;
    }
    if (ag_item(pred) == 0)
        return FLOW_ENDED;
    for (int i = 0; i < w->n; i++)
        next[i] = NULL;
    const bool ok = w->body(vars, w->n, next, w->options->user);
    if (!ag__flow_given("ag_while_loop", c, "the body", ok, next, w->n) ||
        !flow_while_types(vars, next, w->n))
        return FLOW_FAILED;
    flow_move(vars, next, w->n);
    return FLOW_GOES_ON;
}

static flow_state flow_while_run(ag__while_call *w, ag_tensor **vars, ag_tensor **next)
{
    flow_state state = FLOW_GOES_ON;
    for (int64_t done = 0; state == FLOW_GOES_ON; done++) {
        if (w->limit > 0 && done == w->limit)
            return FLOW_ENDED;
        ag_scope s;
        ag__bracket_begin(&s, vars[0]->c);
        state = flow_while_step(w, vars, next);
        if (state == FLOW_SYMBOLIC) { /* the rest becomes part of the graph */
            w->limit -= w->limit > 0 ? done : 0;
            state = ag__while_record(w, vars, next) ? FLOW_ENDED : FLOW_FAILED;
            if (state == FLOW_ENDED)
                flow_move(vars, next, w->n);
        }
        ag__bracket_end(&s);
    }
    return state;
}

/* ---- while with snapshots: a sequence of steps, when their number is known ---- */

/* Belongs to the node. */
typedef struct {
    ag_context *c;
    ag_body_fn body;
    void *user;
} flow_steps;

static bool flow_steps_fn(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    const flow_steps *s = user;
    (void)step;
    return ag__goes_on(s->c) &&
           ag__flow_given("ag_while_loop", s->c, "the body", s->body(in, n, out, s->user), out, n);
}

static void flow_steps_free(void *user)
{
    flow_steps *s = user;
    ag__free(s->c, s, sizeof *s);
}

/* A number is none in the next step. */
static bool flow_steady(ag_tensor *const *vars, ag_tensor *const *like, int n)
{
    for (int i = 0; i < n; i++)
        if (!ag__same_shape(ag__sizes(vars[i]), ag__sizes(like[i])) || vars[i]->flags & AG_T_NUMBER)
            return false;
    return true;
}

static uint64_t flow_versions(ag_tensor *const *vars, int n)
{
    uint64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += vars[i]->storage->version;
    return sum;
}

/* How many steps there are, by running them; -1: they cannot be a sequence; -2: on error. */
static int64_t flow_count(ag__while_call *w, ag_tensor *const *init, ag_tensor **vars,
                          ag_tensor **next)
{
    ag_context *c = init[0]->c;
    if (!ag__any_symbolic(init, w->n) && !flow_steady(init, init, w->n))
        return -1;
    const uint64_t versions = flow_versions(init, w->n);
    flow_state state = FLOW_GOES_ON;
    int64_t steps = 0;
    bool steady = true;
    while (state == FLOW_GOES_ON && steady && !(w->limit && steps == w->limit)) {
        ag_scope s;
        ag__bracket_begin(&s, c);
        state = flow_while_step(w, vars, next);
        ag__bracket_end(&s);
        steps += state == FLOW_GOES_ON;
        steady = state != FLOW_SYMBOLIC && flow_steady(vars, init, w->n);
    }
    w->symbolic = NULL;
    if (state != FLOW_FAILED && flow_versions(init, w->n) != versions)
        ag_fail(c, AG_ERR_VALUE,
                "ag_while_loop: the body writes over its variables, so that it cannot be run again "
                "as .snapshots asks for");
    else if (state != FLOW_FAILED)
        return steady ? steps : -1;
    return -2;
}

/* The loop as one node. *found: it is one; otherwise it is run as without snapshots. */
static bool flow_while_sequence(ag__while_call *w, ag_tensor *const *init, ag_tensor **vars,
                                bool *found)
{
    ag_context *c = init[0]->c;
    const ag__random random = c->random;
    c->grad_enabled = false;
    const int64_t steps = flow_count(w, init, vars, vars + w->n);
    c->grad_enabled = true;
    for (int i = 0; i < w->n; i++) {
        ag__tensor_unref(vars[i]);
        vars[i] = ag__tensor_ref(init[i]);
    }
    c->random = random;
    *found = steps > 0;
    if (steps <= 0)
        return steps != -2;
    flow_steps *s = ag__alloc(c, sizeof *s);
    if (!s)
        return false;
    *s = (flow_steps){ c, w->body, w->options->user };
    const ag_checkpoint_sequence_options o = { .size = sizeof o,
                                               .snapshots = w->options->snapshots };
    ag_scope scope;
    ag__bracket_begin(&scope, c);
    const bool ok =
        ag__sequence(flow_steps_fn, steps, init, w->n, vars + w->n, s, flow_steps_free, &o);
    if (ok)
        flow_move(vars, vars + w->n, w->n);
    ag__bracket_end(&scope);
    return ok;
}

bool(ag_while_loop)(ag_cond_fn cond, ag_body_fn body, ag_tensor *const *init, int n,
                    ag_tensor **out, const ag_while_options *options)
{
    static const ag_while_options none = { .size = sizeof none };
    const ag_while_options *o = options ? options : &none;
    ag_context *c = ag__list_context(init, n);
    if (!c)
        return false;
    if (!cond || !body || !out)
        return ag_fail(c, AG_ERR_VALUE, "ag_while_loop: the condition, the body or out is NULL");
    if (o->maximum_iterations < 0)
        return ag_fail(c, AG_ERR_VALUE, "ag_while_loop: maximum_iterations is %lld",
                       (long long)o->maximum_iterations);
    if (o->snapshots < 0)
        return ag_fail(c, AG_ERR_VALUE, "ag_while_loop: snapshots is %d", o->snapshots);
    if (!ag__flow_check_list("ag_while_loop", c, "variable", init, n))
        return false;
    const size_t bytes = 2 * (size_t)n * sizeof(ag_tensor *);
    ag_tensor **vars = ag__alloc(c, bytes);
    if (!vars)
        return false;
    ag__while_call w = { cond, body, n, o, o->maximum_iterations, NULL };
    for (int i = 0; i < n; i++)
        vars[i] = ag__tensor_ref(init[i]);
    bool found = false, ok = true;
    if (o->snapshots > 0 && c->grad_enabled && !c->inference)
        ok = flow_while_sequence(&w, init, vars, &found);
    ok = ok && (found || flow_while_run(&w, vars, vars + n) == FLOW_ENDED);
    if (ok)
        flow_give(out, vars, n);
    for (int i = 0; i < n; i++)
        ag__tensor_unref(vars[i]);
    ag__free(c, vars, bytes);
    return ok;
}

/* ---- branches ---- */

/* Results of a branch that is taken at once: they stay in its scope's parent. */
static bool flow_take(const char *op, ag_context *c, ag_fn fn, ag_tensor *const *in, int n,
                      ag_tensor **out, int m, void *user)
{
    const size_t bytes = (size_t)m * sizeof(ag_tensor *);
    ag_tensor **given = ag__alloc(c, bytes);
    if (!given)
        return false;
    memset(given, 0, bytes);
    ag_scope s;
    ag__bracket_begin(&s, c);
    const bool ok = ag__flow_given(op, c, "the branch", fn(in, n, given, m, user), given, m);
    for (int j = 0; j < m && ok; j++)
        ag__tensor_ref(given[j]);
    ag__bracket_end(&s);
    if (ok)
        flow_give(out, given, m);
    for (int j = 0; j < m && ok; j++)
        ag__tensor_unref(given[j]);
    ag__free(c, given, bytes);
    return ok;
}

static bool flow_check_branches(const char *op, ag_tensor *index, const char *what,
                                const ag_fn *fns, int n_fns, ag_tensor *const *in, int n,
                                ag_tensor *const *out, int m)
{
    ag_context *c = index->c;
    if (n_fns < 1 || !fns)
        return ag_fail(c, AG_ERR_VALUE, "%s: there are no branches", op);
    for (int k = 0; k < n_fns; k++)
        if (!fns[k])
            return ag_fail(c, AG_ERR_VALUE, "%s: branch %d is NULL", op, k);
    if (m < 0 || (m > 0 && !out))
        return ag_fail(c, AG_ERR_VALUE, "%s: %d results into a list that is NULL", op, m);
    return ag__flow_pred(op, what, index) && ag__flow_check_list(op, c, "input", in, n);
}

bool(ag_cond)(ag_tensor *pred, ag_fn true_fn, ag_fn false_fn, ag_tensor *const *in, int n,
              ag_tensor **out, int m, const ag_cond_options *o)
{
    const ag_fn fns[] = { false_fn, true_fn };
    void *user = o ? o->user : NULL;
    if (!pred || !flow_check_branches("ag_cond", pred, "pred", fns, 2, in, n, out, m))
        return false;
    if (ag__is_symbolic(pred))
        return ag__branches_record("cond", pred, fns, 2, in, n, out, m, user);
    return flow_take("ag_cond", pred->c, fns[ag_item(pred) != 0], in, n, out, m, user);
}

bool(ag_switch)(ag_tensor *index, const ag_fn *fns, int n_fns, ag_tensor *const *in, int n,
                ag_tensor **out, int m, const ag_cond_options *o)
{
    void *user = o ? o->user : NULL;
    if (!index || !flow_check_branches("ag_switch", index, "index", fns, n_fns, in, n, out, m))
        return false;
    if (ag__is_symbolic(index) && !ag__graph_open("switch", ag__symbol_of(index)->graph))
        return false;
    if (!ag__rule_index(index->c, (ag_dtype)index->dtype))
        return false;
    if (ag__is_symbolic(index))
        return ag__branches_record("switch", index, fns, n_fns, in, n, out, m, user);
    const int k = ag__flow_branch(ag__load_int((ag_dtype)index->dtype, ag__at(index), 0), n_fns);
    return flow_take("ag_switch", index->c, fns[k], in, n, out, m, user);
}

/* ---- scan ---- */

/* How many steps the xs make; -1 with an error. */
static int64_t flow_scan_length(const ag__scan_call *s)
{
    int64_t length = s->k ? -1 : s->options->length;
    ag_context *c = s->c;
    for (int i = 0; i < s->k; i++)
        if (!ag__rule_length(c, i, ag__sizes(s->xs[i]), &length))
            return -1;
    if (s->k && s->options->length && length >= 0 && s->options->length != length) {
        ag__fail(
            c, AG_ERR_SHAPE,
            "ag_scan: scan got `length` argument of %lld which disagrees with leading axis sizes "
            "of %lld",
            (long long)s->options->length, (long long)length);
        return -1;
    }
    if (length < 0 && !(s->k && s->xs[0]->dims[0] < 0))
        ag__fail(c, AG_ERR_VALUE, "ag_scan: .length is %lld", (long long)length);
    return length;
}

/* carry, y[i] = fn(carry, x[i]). `room` has n + k + n + m entries. */
static bool flow_scan_step(const ag__scan_call *s, int64_t i, ag_tensor **carry, ag_tensor **room,
                           ag_tensor **ys)
{
    ag_tensor **x = room, **next = x + s->k, **y = next + s->n;
    if (!ag__goes_on(s->c))
        return false;
    for (int j = 0; j < s->k; j++)
        if (!(x[j] = ag_select(s->xs[j], 0, i)))
            return false;
    for (int j = 0; j < s->n + s->m; j++)
        next[j] = NULL;
    const bool ok = s->fn(carry, s->n, x, s->k, next, y, s->m, s->options->user);
    if (!ag__flow_given("ag_scan", s->c, "the function", ok, next, s->n + s->m))
        return false;
    for (int j = 0; j < s->n; j++)
        if (!ag__rule_carry(s->c, j, (ag_dtype)carry[j]->dtype, (ag_dtype)next[j]->dtype))
            return false;
    for (int j = 0; j < s->m; j++) /* before the carry goes on: a y may be the old one */
        ys[(int64_t)j * s->length + i] = ag__tensor_ref(y[j]);
    flow_move(carry, next, s->n);
    return true;
}

static bool flow_scan_steps(const ag__scan_call *s, ag_tensor **carry, ag_tensor **room,
                            ag_tensor **ys)
{
    bool ok = true;
    for (int64_t i = 0; i < s->length && ok; i++) {
        ag_scope scope;
        ag__bracket_begin(&scope, s->c);
        ok = flow_scan_step(s, s->options->reverse ? s->length - 1 - i : i, carry, room, ys);
        ag__bracket_end(&scope);
    }
    return ok;
}

/* The stacked ys, given to the innermost scope; of no steps the function tells the shapes. */
static bool flow_scan_stack(const ag__scan_call *s, ag_tensor *const *ys, ag_tensor **out)
{
    if (s->length == 0)
        return s->m == 0 || ag__scan_empty(s, out);
    for (int j = 0; j < s->m; j++)
        if (!(out[j] = ag_stack(ys + (int64_t)j * s->length, (int)s->length, 0)))
            return false;
    return true;
}

static bool flow_scan_run(const ag__scan_call *s, ag_tensor **carry_out, ag_tensor **ys_out)
{
    const int64_t n_ys = s->m * s->length;
    const size_t bytes = (size_t)(2 * s->n + s->k + 2 * s->m + n_ys) * sizeof(ag_tensor *);
    ag_tensor **carry = ag__alloc(s->c, bytes);
    if (!carry)
        return false;
    memset(carry, 0, bytes);
    ag_tensor **stacked = carry + s->n, **room = stacked + s->m, **ys = room + s->k + s->n + s->m;
    for (int j = 0; j < s->n; j++)
        carry[j] = ag__tensor_ref(s->init[j]);
    const bool ok = flow_scan_steps(s, carry, room, ys) && flow_scan_stack(s, ys, stacked);
    if (ok) {
        flow_give(carry_out, carry, s->n);
        for (int j = 0; j < s->m; j++)
            ys_out[j] = stacked[j];
    }
    for (int j = 0; j < s->n; j++)
        ag__tensor_unref(carry[j]);
    for (int64_t j = 0; j < n_ys; j++)
        ag__tensor_unref(ys[j]);
    ag__free(s->c, carry, bytes);
    return ok;
}

bool(ag_scan)(ag_scan_fn fn, ag_tensor *const *init, int n, ag_tensor *const *xs, int k,
              ag_tensor **carry_out, ag_tensor **ys, int m, const ag_scan_options *options)
{
    static const ag_scan_options none = { .size = sizeof none };
    ag__scan_call s = { .fn = fn,
                        .init = init,
                        .xs = xs,
                        .n = n,
                        .k = k,
                        .m = m,
                        .options = options ? options : &none };
    s.c = ag__list_context(init, n);
    s.c = s.c ? s.c : ag__list_context(xs, k);
    if (!s.c)
        return false;
    if (!fn || (n > 0 && !carry_out) || m < 0 || (m > 0 && !ys))
        return ag_fail(s.c, AG_ERR_VALUE, "ag_scan: the function or a list of results is NULL");
    if (!ag__flow_check_list("ag_scan", s.c, "carry", init, n) ||
        !ag__flow_check_list("ag_scan", s.c, "x", xs, k))
        return false;
    const unsigned failures = s.c->failures;
    s.length = flow_scan_length(&s);
    if (ag__failed_since(s.c, failures) || !ag__rule_steps(s.c, s.length, m))
        return false;
    if (ag__any_symbolic(init, n) || ag__any_symbolic(xs, k))
        return ag__scan_record(&s, carry_out, ys);
    return flow_scan_run(&s, carry_out, ys);
}
