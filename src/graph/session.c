/*
 * Sessions. A run checks what it is given, finds out which instructions its fetches need (kept for the
 * next run with the same ones), runs these, and writes variables when nothing can fail any more.
 */
#include "session.h"

#include <string.h>

/* ---- the life of a session ---- */

static bool session_check_options(ag_graph *g, const ag_session_options *o)
{
    if (o->backend == AG_BACKEND_CC)
        return ag_fail(g->c, AG_ERR_UNSUPPORTED,
                       "ag_session_new: AG_BACKEND_CC is not available in this build; use "
                       "AG_BACKEND_FUSED");
    if (o->backend != AG_BACKEND_FUSED && o->backend != AG_BACKEND_INTERPRET)
        return ag_fail(g->c, AG_ERR_VALUE, "ag_session_new: there is no backend %d",
                       (int)o->backend);
    if (o->threads < 0 || o->passes_off < 0 || o->passes_off > AG_PASS_ALL)
        return ag_fail(g->c, AG_ERR_VALUE, "ag_session_new: .threads is %d, .passes_off %d",
                       o->threads, o->passes_off);
    return true;
}

ag_session *(ag_session_new)(ag_graph *g, const ag_session_options *options)
{
    static const ag_session_options none = { .size = sizeof none };
    const ag_session_options *o = options ? options : &none;
    if (!g || !ag__graph_alive("session_new", g) || !session_check_options(g, o))
        return NULL;
    ag_context *c = o->context ? o->context : g->c;
    if (c != g->c && !g->finalized)
        return ag__fail(c, AG_ERR_GRAPH,
                        "ag_session_new: only a finalized graph is run in another context "
                        "(ag_graph_finalize)");
    ag_session *s = ag__alloc(c, sizeof *s);
    if (!s)
        return NULL;
    *s = (ag_session){ .c = c, .of = g, .g = g, .options = *o };
    if (c != g->c && !(s->g = ag__graph_copy(c, g))) {
        ag__free(c, s, sizeof *s);
        return NULL;
    }
    ag__graph_ref(g);
    ag__context_ref(c);
    return s;
}

static void session_free_choice(ag_session *s, ag__choice *k)
{
    ag__schedule_free(&k->schedule, s->c);
    ag__session_plans_free(s, k);
    ag__free(s->c, k->key, (size_t)(k->n_fetches + k->n_feeds) * sizeof *k->key);
}

void ag_session_close(ag_session *s)
{
    if (!s || s->closed)
        return;
    s->closed = true;
    for (int v = 0; v < s->n_vars; v++)
        ag__tensor_unref(s->vars[v]);
    ag__free(s->c, s->vars, (size_t)s->n_vars * sizeof *s->vars);
    for (int k = 0; k < s->n_choices; k++)
        session_free_choice(s, &s->choices[k]);
    if (s->g != s->of)
        ag_graph_free(s->g);
    ag__graph_unref(s->of);
}

void ag_session_free(ag_session *s)
{
    if (!s)
        return;
    ag_context *c = s->c;
    ag_session_close(s);
    ag__free(c, s, sizeof *s);
    ag__context_unref(c);
}

void(ag_session_stats)(ag_session *s, ag_session_statistics *stats)
{
    if (s && stats)
        *stats = s->stats;
}

static bool session_usable(ag_session *s)
{
    if (s->closed)
        return ag_fail(s->c, AG_ERR_GRAPH, "Attempted to use a closed Session.");
    if (s->of->freed)
        return ag_fail(s->c, AG_ERR_GRAPH, "ag_session_run: the graph was freed");
    return true;
}

/* ---- variables ---- */

/* Room for the variables of a graph that may have grown, with what new ones begin with. */
static bool session_vars(ag_session *s)
{
    const ag__region *r = &s->g->main;
    if (s->n_vars >= r->n_values)
        return true;
    ag_tensor **vars = ag__alloc(s->c, (size_t)r->n_values * sizeof *vars);
    if (!vars)
        return false;
    bool ok = true;
    for (int v = 0; v < r->n_values; v++)
        vars[v] = v < s->n_vars ? s->vars[v] : NULL;
    for (int k = 0; k < r->n_insts && ok; k++) {
        const ag__inst *i = &r->insts[k];
        if (i->op == &ag__op_variable && i->tensor && i->out >= s->n_vars)
            ok =
                (vars[i->out] = ag__contiguous_copy(i->tensor, (ag_dtype)i->tensor->dtype)) != NULL;
    }
    for (int v = s->n_vars; v < r->n_values && !ok; v++)
        ag__tensor_unref(vars[v]);
    if (!ok) {
        ag__free(s->c, vars, (size_t)r->n_values * sizeof *vars);
        return false;
    }
    ag__free(s->c, s->vars, (size_t)s->n_vars * sizeof *vars);
    s->vars = vars;
    s->n_vars = r->n_values;
    return true;
}

/* The number of a symbolic tensor of the session's graph; -1 with an error. */
static int32_t session_value(ag_session *s, const char *what, int i, const ag_tensor *t)
{
    const ag__symbol *of = t && ag__is_symbolic(t) ? ag__symbol_of(t) : NULL;
    if (!t)
        ag__fail(s->c, AG_ERR_VALUE, "ag_session_run: %s %d is NULL", what, i);
    else if (!of)
        ag__fail(s->c, AG_ERR_VALUE, "ag_session_run: %s %d is not symbolic: it holds data", what,
                 i);
    else if (of->graph != s->of)
        ag__fail(s->c, AG_ERR_GRAPH,
                 "ag_session_run: %s %d: Tensor is not an element of this graph.", what, i);
    else if (of->region != &s->of->main)
        ag__fail(s->c, AG_ERR_GRAPH,
                 "ag_session_run: %s %d is inside a loop or branch, and has no single value", what,
                 i);
    else
        return of->value;
    return -1;
}

static int32_t session_variable(ag_session *s, const char *op, const ag_tensor *var)
{
    if (!session_usable(s) || !session_vars(s))
        return -1;
    const int32_t v = session_value(s, "variable", 0, var);
    const ag__region *r = &s->g->main;
    if (v < 0)
        return -1;
    if (r->values[v].inst >= 0 && r->insts[r->values[v].inst].op == &ag__op_variable)
        return v;
    ag__fail(s->c, AG_ERR_VALUE, "%s: the tensor is no variable of a graph", op);
    return -1;
}

static const char *session_name(const ag__region *r, int32_t v)
{
    return r->values[v].name ? r->values[v].name : "";
}

ag_tensor *ag_variable_value(ag_session *s, ag_tensor *var)
{
    const int32_t v = s && var ? session_variable(s, "ag_variable_value", var) : -1;
    if (v < 0)
        return NULL;
    if (!s->vars[v])
        return ag__fail(s->c, AG_ERR_VALUE, "Attempting to use uninitialized value %s",
                        session_name(&s->g->main, v));
    return ag__give(ag__contiguous_copy(s->vars[v], (ag_dtype)s->vars[v]->dtype));
}

/* A value of the session's context with the dtype and a shape of value v. */
static bool session_fits(ag_session *s, const char *what, int32_t v, const ag_tensor *value)
{
    const ag__value *type = &s->g->main.values[v];
    ag__shape_text a, b;
    if (value->c != s->c)
        return ag_fail(s->c, AG_ERR_VALUE,
                       "%s: the value for tensor '%s' is of another context than the session", what,
                       session_name(&s->g->main, v));
    if (ag__is_symbolic(value))
        return ag_fail(s->c, AG_ERR_VALUE,
                       "%s: the value for tensor '%s' is symbolic; feed a tensor that holds data",
                       what, session_name(&s->g->main, v));
    if (value->dtype != type->dtype)
        return ag_fail(s->c, AG_ERR_DTYPE,
                       "%s: the value has dtype %s, which is not compatible with tensor '%s' of "
                       "dtype %s",
                       what, ag_dtype_name((ag_dtype)value->dtype), session_name(&s->g->main, v),
                       ag_dtype_name((ag_dtype)type->dtype));
    bool fits = value->ndim == type->ndim;
    for (int d = 0; d < value->ndim && fits; d++)
        fits = type->shape[d] < 0 || type->shape[d] == value->dims[d];
    return fits ||
           ag_fail(s->c, AG_ERR_SHAPE,
                   "%s: Cannot feed value of shape %s for tensor '%s', which has shape %s", what,
                   ag__shape_string(&a, ag__sizes(value)), session_name(&s->g->main, v),
                   ag__shape_string(&b, ag__value_shape(type)));
}

bool ag_variable_set(ag_session *s, ag_tensor *var, ag_tensor *value)
{
    if (s && (!var || !value))
        return ag_fail(s->c, AG_ERR_VALUE, "ag_variable_set: the variable or the value is NULL");
    const int32_t v = s ? session_variable(s, "ag_variable_set", var) : -1;
    if (v < 0 || !session_fits(s, "ag_variable_set", v, value))
        return false;
    ag_tensor *copy = ag__contiguous_copy(value, (ag_dtype)value->dtype);
    if (!copy)
        return false;
    ag__tensor_unref(s->vars[v]);
    s->vars[v] = copy;
    return true;
}

/* ---- choices of fetches and feeds ---- */

/* The choice with this key; NULL when there is none. */
static ag__choice *session_known(ag_session *s, const int32_t *key, int n_fetches, int n_feeds)
{
    for (int k = 0; k < s->n_choices; k++) {
        ag__choice *at = &s->choices[k];
        if (at->n_fetches == n_fetches && at->n_feeds == n_feeds &&
            !memcmp(at->key, key, (size_t)(n_fetches + n_feeds) * sizeof *key))
            return at;
    }
    return NULL;
}

static ag__choice *session_place(ag_session *s)
{
    if (s->n_choices < AG_CHOICES)
        return &s->choices[s->n_choices++];
    ag__choice *oldest = &s->choices[0];
    for (int k = 1; k < s->n_choices; k++)
        if (s->choices[k].used < oldest->used)
            oldest = &s->choices[k];
    session_free_choice(s, oldest);
    return oldest;
}

static bool session_schedule(ag_session *s, ag__choice *k)
{
    const ag__region *r = &s->g->main;
    const size_t bytes = (size_t)r->n_values;
    bool *fed = ag__alloc(s->c, bytes);
    if (!fed)
        return false;
    memset(fed, 0, bytes);
    for (int i = 0; i < k->n_feeds; i++)
        fed[k->key[k->n_fetches + i]] = true;
    const bool ok = ag__schedule_make(&k->schedule, s->c, r, k->key, k->n_fetches, fed);
    ag__free(s->c, fed, bytes);
    return ok;
}

static ag__choice *session_choice(ag_session *s, const int32_t *key, int n_fetches, int n_feeds)
{
    ag__choice *known = session_known(s, key, n_fetches, n_feeds);
    if (known) {
        known->used = (uint64_t)s->stats.runs;
        return known;
    }
    const size_t bytes = (size_t)(n_fetches + n_feeds) * sizeof *key;
    ag__choice made = { .key = ag__alloc(s->c, bytes),
                        .n_fetches = n_fetches,
                        .n_feeds = n_feeds,
                        .used = (uint64_t)s->stats.runs };
    if (!made.key)
        return NULL;
    memcpy(made.key, key, bytes);
    if (!session_schedule(s, &made)) {
        ag__free(s->c, made.key, bytes);
        return NULL;
    }
    ag__choice *at = session_place(s);
    *at = made;
    return at;
}

/* ---- a run ---- */

/* What a run is given, by numbers. */
typedef struct {
    int32_t *key; /* fetches, feeds */
    const ag_feed *feeds;
    int n, m;
} session_request;

static bool session_check(ag_session *s, const session_request *q, ag_tensor *const *fetches)
{
    for (int i = 0; i < q->m; i++)
        if ((q->key[i] = session_value(s, "fetch", i, fetches[i])) < 0)
            return false;
    for (int i = 0; i < q->n; i++) {
        const int32_t v = session_value(s, "the tensor of feed", i, q->feeds[i].tensor);
        if (v < 0)
            return false;
        if (!q->feeds[i].value)
            return ag_fail(s->c, AG_ERR_VALUE, "ag_session_run: the value of feed %d is NULL", i);
        if (!session_fits(s, "ag_session_run", v, q->feeds[i].value))
            return false;
        for (int k = 0; k < i; k++)
            if (q->key[q->m + k] == v)
                return ag_fail(s->c, AG_ERR_VALUE,
                               "ag_session_run: tensor '%s' is fed twice, by feeds %d and %d",
                               session_name(&s->g->main, v), k, i);
        q->key[q->m + i] = v;
    }
    return true;
}

/* Placeholders and variables that are needed have values. */
static bool session_complete(ag_session *s, const ag__schedule *schedule, ag_tensor *const *values)
{
    const ag__region *r = &s->g->main;
    for (int k = 0; k < schedule->n_insts; k++) {
        const ag__inst *i = &r->insts[k];
        ag__shape_text text;
        if (!schedule->needed[k] || values[i->out])
            continue;
        if (i->op == &ag__op_placeholder)
            return ag_fail(s->c, AG_ERR_VALUE,
                           "You must feed a value for placeholder tensor '%s' with dtype %s and "
                           "shape %s",
                           session_name(r, i->out),
                           ag_dtype_name((ag_dtype)r->values[i->out].dtype),
                           ag__shape_string(&text, ag__value_shape(&r->values[i->out])));
        if (i->op == &ag__op_variable)
            return ag_fail(s->c, AG_ERR_VALUE, "Attempting to use uninitialized value %s",
                           session_name(r, i->out));
    }
    return true;
}

static bool session_give(const session_request *q, const ag__schedule *schedule, ag_session *s,
                         ag_tensor **values)
{
    for (int v = 0; v < schedule->n_values; v++)
        if (schedule->last[v] >= 0 && s->vars[v] && !(values[v] = ag__tensor_alias(s->vars[v])))
            return false;
    for (int i = 0; i < q->n; i++) {
        const int32_t v = q->key[q->m + i];
        ag__tensor_unref(values[v]);
        if (!(values[v] = ag__tensor_alias(q->feeds[i].value)))
            return false;
    }
    return session_complete(s, schedule, values);
}

/* t, outside of graphs and alone with its data; one reference. */
static ag_tensor *session_own(ag_tensor *t)
{
    if (t->refs == 1 && t->storage->refs == 1 && !t->grad_fn && !ag__wants_grad(t) &&
        ag__is_contiguous(t) && !(t->flags & AG_T_NUMBER))
        return ag__tensor_ref(t);
    return ag__contiguous_copy(t, (ag_dtype)t->dtype);
}

/* Copies of what was fetched, in made, and assigned; then variables and results are written. */
static bool session_commit(ag_session *s, const session_request *q, ag_tensor **values,
                           ag_tensor **assigned, ag_tensor **made, ag_tensor **results)
{
    const int n = s->g->main.n_values;
    for (int i = 0; i < q->m; i++)
        if (!(made[i] = session_own(values[q->key[i]])))
            return false;
    for (int v = 0; v < n; v++) {
        if (!assigned[v])
            continue;
        ag_tensor *own = ag__contiguous_copy(assigned[v], (ag_dtype)assigned[v]->dtype);
        if (!own)
            return false;
        ag__tensor_unref(assigned[v]);
        assigned[v] = own;
    }
    for (int i = 0; i < q->m; i++) {
        results[i] = ag__give(made[i]);
        made[i] = NULL;
    }
    for (int v = 0; v < n; v++)
        if (assigned[v]) {
            ag__tensor_unref(s->vars[v]);
            s->vars[v] = assigned[v];
            assigned[v] = NULL;
        }
    return true;
}

/* Step by step; assigned[] has room for a tensor for each value, and the results behind them. */
static bool session_interpret(ag_session *s, const session_request *q, const ag__schedule *schedule,
                              ag_tensor **values, ag_tensor **assigned, ag_tensor **results)
{
    ag__replay rp = { s->c, &s->g->main, schedule, values, assigned, NULL, false };
    ag_tensor **made = assigned + s->g->main.n_values;
    return ag__replay_run(&rp) && session_commit(s, q, values, assigned, made, results);
}

static bool session_go(ag_session *s, const session_request *q, ag__choice *choice,
                       ag_tensor **values, ag_tensor **assigned, ag_tensor **results)
{
    if (!session_give(q, &choice->schedule, s, values))
        return false;
    if (s->options.backend == AG_BACKEND_INTERPRET)
        return session_interpret(s, q, &choice->schedule, values, assigned, results);
    const ag__session_plan *p = ag__session_planned(s, choice, values);
    if (!p)
        return false;
    if (p->plan)
        return ag__session_plan_run(s, choice, p, values, results);
    s->stats.interpreted++;
    return session_interpret(s, q, &choice->schedule, values, assigned, results);
}

static bool session_run(ag_session *s, const session_request *q, ag_tensor *const *fetches,
                        ag_tensor **results)
{
    if (!session_vars(s) || !session_check(s, q, fetches))
        return false;
    ag__choice *choice = session_choice(s, q->key, q->m, q->n);
    const size_t n = (size_t)s->g->main.n_values, all = 2 * n + (size_t)q->m;
    const size_t bytes = all * sizeof(ag_tensor *);
    ag_tensor **lists = choice ? ag__alloc(s->c, bytes) : NULL;
    if (!lists)
        return false;
    memset(lists, 0, bytes);
    const bool ok = session_go(s, q, choice, lists, lists + n, results);
    for (size_t k = 0; k < all; k++)
        ag__tensor_unref(lists[k]);
    ag__free(s->c, lists, bytes);
    return ok;
}

bool ag_session_run(ag_session *s, const ag_feed *feeds, int n, ag_tensor *const *fetches, int m,
                    ag_tensor **results)
{
    if (!s || !session_usable(s))
        return false;
    ag_context *c = s->c;
    if (n < 0 || m < 0 || (n > 0 && !feeds) || (m > 0 && (!fetches || !results)))
        return ag_fail(c, AG_ERR_VALUE,
                       "ag_session_run: %d feeds and %d fetches, and a list is NULL", n, m);
    if (s->g->main.n_insts == 0)
        return ag_fail(c, AG_ERR_GRAPH,
                       "The Session graph is empty.  Add operations to the graph before calling "
                       "run().");
    s->stats.runs++;
    const size_t bytes = (size_t)(n + m) * sizeof(int32_t);
    const session_request q = { ag__alloc(c, bytes), feeds, n, m };
    if (!q.key)
        return false;
    const int threads = c->threads;
    c->threads = s->options.threads ? s->options.threads : threads;
    const bool ok = session_run(s, &q, fetches, results);
    c->threads = threads;
    ag__free(c, q.key, bytes);
    return ok;
}
