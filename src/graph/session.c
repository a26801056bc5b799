/*
 * Sessions. A run checks what it is given, finds out which instructions its fetches need (the
 * choice, kept for the next run with the same fetches and feeds), runs these, by a plan
 * (session_plan.c) or step by step, and writes variables when nothing can fail any more.
 */
#include "session.h"

#include <stdio.h>
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

void ag_session_close(ag_session *s)
{
    if (!s || s->closed)
        return;
    s->closed = true;
    for (int v = 0; v < s->n_vars; v++)
        ag__tensor_unref(s->vars[v]);
    ag__free(s->c, s->vars, (size_t)s->n_vars * sizeof *s->vars);
    for (int k = 0; k < s->n_choices; k++)
        ag__session_choice_free(s, &s->choices[k]);
    ag__free(s->c, s->key, (size_t)s->key_room * sizeof *s->key);
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

static bool session_usable(ag_session *s, const char *op)
{
    if (s->closed)
        return ag_fail(s->c, AG_ERR_GRAPH, "Attempted to use a closed Session.");
    if (s->of->freed)
        return ag_fail(s->c, AG_ERR_GRAPH, "%s: the graph was freed", op);
    if (s->of->recording) /* what it would see may be taken back */
        return ag_fail(s->c, AG_ERR_GRAPH,
                       "%s: a function is recorded into the graph at this moment; use the session "
                       "when the loop, branch or derivative is there",
                       op);
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

/* What messages call who complains, and a value. */
typedef struct {
    char who[64], name[256];
} session_label;

/* The operation; where `what` is given, of what kind, and number i of it (-1: the only one). */
static const char *session_who(session_label *label, const char *op, const char *what, int i)
{
    if (!what)
        return op;
    if (i < 0)
        snprintf(label->who, sizeof label->who, "%s: %s", op, what);
    else
        snprintf(label->who, sizeof label->who, "%s: %s %d", op, what, i);
    return label->who;
}

/* By its name in quotes, or else by its number in the text of the graph. */
static const char *session_name(session_label *label, const ag__region *r, int32_t v)
{
    const ag__value *value = &r->values[v];
    const char *row = value->inst < 0 ? "value" : ag__graph_row_name(r->insts[value->inst].op);
    if (value->name)
        snprintf(label->name, sizeof label->name, "'%s'", value->name);
    else
        snprintf(label->name, sizeof label->name, "%%%d of ag_graph_to_string (%s without a name)",
                 (int)v, row);
    return label->name;
}

/* Why t, number i of its kind (-1: the only one), has no number. */
static int32_t session_no_value(ag_session *s, const char *op, const char *what, int i,
                                const ag_tensor *t)
{
    const ag__symbol *of = t && ag__is_symbolic(t) ? ag__symbol_of(t) : NULL;
    session_label label;
    const char *who = session_who(&label, op, what, i);
    if (!t)
        ag__fail(s->c, AG_ERR_VALUE, "%s is NULL", who);
    else if (!of)
        ag__fail(s->c, AG_ERR_VALUE,
                 "%s is not symbolic: it holds data, and is no value of the session's graph", who);
    else if (of->graph != s->of)
        ag__fail(s->c, AG_ERR_GRAPH, "%s: Tensor is not an element of this graph.", who);
    else if (of->region != &s->of->main)
        ag__fail(s->c, AG_ERR_GRAPH,
                 "%s is inside a loop or branch, and has no single value; return it as one of the "
                 "results",
                 who);
    else
        ag__fail(s->c, AG_ERR_GRAPH, "%s " AG_TAKEN_BACK, who);
    return -1;
}

/* The number of a symbolic tensor of the session's graph; -1 with an error. */
static int32_t session_value(ag_session *s, const char *op, const char *what, int i,
                             const ag_tensor *t)
{
    const ag__symbol *of = t && ag__is_symbolic(t) ? ag__symbol_of(t) : NULL;
    const bool there = of && of->graph == s->of && of->region == &s->of->main;
    return there && ag__symbol_valid(of) ? of->value : session_no_value(s, op, what, i, t);
}

static int32_t session_variable(ag_session *s, const char *op, const ag_tensor *var)
{
    if (!session_usable(s, op) || !session_vars(s))
        return -1;
    const int32_t v = session_value(s, op, "the variable", -1, var);
    const ag__region *r = &s->g->main;
    if (v < 0)
        return -1;
    if (r->values[v].inst >= 0 && r->insts[r->values[v].inst].op == &ag__op_variable)
        return v;
    ag__fail(s->c, AG_ERR_VALUE, "%s: the tensor is no variable of a graph; ag_variable makes one",
             op);
    return -1;
}

static bool session_uninitialized(ag_session *s, int32_t v)
{
    session_label label;
    const ag__region *r = &s->g->main;
    return ag_fail(s->c, AG_ERR_VALUE, "Attempting to use uninitialized value %s",
                   r->values[v].name ? r->values[v].name : session_name(&label, r, v));
}

ag_tensor *ag_variable_value(ag_session *s, ag_tensor *var)
{
    const int32_t v = s && var ? session_variable(s, "ag_variable_value", var) : -1;
    if (v < 0)
        return NULL;
    if (!s->vars[v] && !session_uninitialized(s, v))
        return NULL;
    return ag__give(ag__contiguous_copy(s->vars[v], (ag_dtype)s->vars[v]->dtype));
}

/* A value of the session's context with the dtype and a shape of value v, for feed number `feed`
 * (-1: it is none). */
static bool session_fits(ag_session *s, const char *op, int feed, int32_t v, const ag_tensor *value)
{
    const ag__region *r = &s->g->main;
    const ag__value *type = &r->values[v];
    const char *what = feed < 0 ? NULL : "feed";
    session_label label;
    ag__shape_text a, b;
    if (value->c != s->c)
        return ag_fail(s->c, AG_ERR_VALUE,
                       "%s: the value for tensor %s is of another context than the session; use "
                       "ag_share",
                       session_who(&label, op, what, feed), session_name(&label, r, v));
    if (ag__is_symbolic(value))
        return ag_fail(s->c, AG_ERR_VALUE,
                       "%s: the value for tensor %s is symbolic; feed a tensor that holds data",
                       session_who(&label, op, what, feed), session_name(&label, r, v));
    if (value->dtype != type->dtype)
        return ag_fail(s->c, AG_ERR_DTYPE,
                       "%s: the value has dtype %s, which is not compatible with tensor %s of "
                       "dtype %s",
                       session_who(&label, op, what, feed), ag_dtype_name((ag_dtype)value->dtype),
                       session_name(&label, r, v), ag_dtype_name((ag_dtype)type->dtype));
    return ag__shape_takes(ag__value_shape(type), ag__sizes(value)) ||
           ag_fail(s->c, AG_ERR_SHAPE,
                   "%s: Cannot feed value of shape %s for tensor %s, which has shape %s",
                   session_who(&label, op, what, feed), ag__shape_string(&a, ag__sizes(value)),
                   session_name(&label, r, v), ag__shape_string(&b, ag__value_shape(type)));
}

bool ag_variable_set(ag_session *s, ag_tensor *var, ag_tensor *value)
{
    if (s && (!var || !value))
        return ag_fail(s->c, AG_ERR_VALUE, "ag_variable_set: the variable or the value is NULL");
    const int32_t v = s ? session_variable(s, "ag_variable_set", var) : -1;
    if (v < 0 || !session_fits(s, "ag_variable_set", -1, v, value))
        return false;
    ag_tensor *copy = ag__contiguous_copy(value, (ag_dtype)value->dtype);
    if (!copy)
        return false;
    ag__tensor_unref(s->vars[v]);
    s->vars[v] = copy;
    return true;
}

/* ---- a run ---- */

/* What a run is given, by numbers. */
typedef struct {
    int32_t *key; /* fetches, feeds */
    const ag_feed *feeds;
    int n, m;
} session_request;

static bool session_check_feed(ag_session *s, const session_request *q, int i)
{
    session_label label;
    const int32_t v =
        session_value(s, "ag_session_run", "the tensor of feed", i, q->feeds[i].tensor);
    if (v < 0)
        return false;
    if (!q->feeds[i].value)
        return ag_fail(s->c, AG_ERR_VALUE, "ag_session_run: the value of feed %d is NULL", i);
    if (!session_fits(s, "ag_session_run", i, v, q->feeds[i].value))
        return false;
    for (int k = 0; k < i; k++)
        if (q->key[q->m + k] == v)
            return ag_fail(s->c, AG_ERR_VALUE,
                           "ag_session_run: tensor %s is fed twice, by feeds %d and %d",
                           session_name(&label, &s->g->main, v), k, i);
    q->key[q->m + i] = v;
    return true;
}

static bool session_check(ag_session *s, const session_request *q, ag_tensor *const *fetches)
{
    for (int i = 0; i < q->m; i++)
        if ((q->key[i] = session_value(s, "ag_session_run", "fetch", i, fetches[i])) < 0)
            return false;
    for (int i = 0; i < q->n; i++)
        if (!session_check_feed(s, q, i))
            return false;
    return true;
}

/* The tensors that a run is given. */
static bool session_args(ag_session *s, const session_request *q, const ag__choice *k)
{
    const ag__region *r = &s->g->main;
    session_label label;
    ag__shape_text text;
    if (k->missing >= 0)
        return ag_fail(s->c, AG_ERR_VALUE,
                       "You must feed a value for placeholder tensor %s with dtype %s and shape %s",
                       session_name(&label, r, k->missing),
                       ag_dtype_name((ag_dtype)r->values[k->missing].dtype),
                       ag__shape_string(&text, ag__value_shape(&r->values[k->missing])));
    for (int i = 0; i < k->n_given; i++) {
        const ag__given *g = &k->given[i];
        k->args[i] = g->feed < 0 ? s->vars[g->value] : q->feeds[g->feed].value;
        if (!k->args[i])
            return session_uninitialized(s, g->value);
    }
    return true;
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

/* Step by step. */
static bool session_interpret(ag_session *s, const session_request *q, const ag__choice *k,
                              ag_tensor **results)
{
    const size_t n = (size_t)s->g->main.n_values, all = 2 * n + (size_t)q->m;
    const size_t bytes = all * sizeof(ag_tensor *);
    ag_tensor **values = ag__alloc(s->c, bytes);
    if (!values)
        return false;
    ag_tensor **assigned = values + n, **made = assigned + n;
    bool ok = true;
    memset(values, 0, bytes);
    for (int i = 0; i < k->n_given && ok; i++)
        ok = (values[k->given[i].value] = ag__tensor_alias(k->args[i])) != NULL;
    ag__replay rp = { s->c, &s->g->main, &k->schedule, values, assigned, NULL, false };
    ok = ok && ag__replay_run(&rp) && session_commit(s, q, values, assigned, made, results);
    for (size_t v = 0; v < all; v++)
        ag__tensor_unref(values[v]);
    ag__free(s->c, values, bytes);
    return ok;
}

static bool session_go(ag_session *s, const session_request *q, ag__choice *k, ag_tensor **results)
{
    if (!session_args(s, q, k))
        return false;
    if (s->options.backend == AG_BACKEND_INTERPRET)
        return session_interpret(s, q, k, results);
    const ag__session_plan *p = ag__session_planned(s, k);
    if (!p)
        return false;
    if (p->plan)
        return ag__session_plan_run(s, k, p, results);
    s->stats.interpreted++;
    return session_interpret(s, q, k, results);
}

static bool session_run(ag_session *s, const session_request *q, ag_tensor *const *fetches,
                        ag_tensor **results)
{
    if (!session_vars(s) || !session_check(s, q, fetches))
        return false;
    ag__choice *k = ag__session_choice(s, q->key, q->m, q->n);
    return k && session_go(s, q, k, results);
}

/* Room for a key of n numbers. */
static bool session_key(ag_session *s, int n)
{
    if (n <= s->key_room)
        return true;
    int32_t *key = ag__alloc(s->c, (size_t)n * sizeof *key);
    if (!key)
        return false;
    ag__free(s->c, s->key, (size_t)s->key_room * sizeof *key);
    s->key = key;
    s->key_room = n;
    return true;
}

bool ag_session_run(ag_session *s, const ag_feed *feeds, int n, ag_tensor *const *fetches, int m,
                    ag_tensor **results)
{
    if (!s || !session_usable(s, "ag_session_run"))
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
    if (!session_key(s, n + m))
        return false;
    const session_request q = { s->key, feeds, n, m };
    const int threads = c->threads;
    c->threads = s->options.threads ? s->options.threads : threads;
    const bool ok = session_run(s, &q, fetches, results);
    c->threads = threads;
    return ok;
}
