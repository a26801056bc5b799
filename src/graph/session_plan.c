/*
 * Plans of sessions: one for each choice of fetches and feeds and each set of shapes that is given. What
 * cannot be planned is remembered as such, and run step by step.
 */
#include <string.h>

#include "session.h"

/* ---- the record ---- */

static void plan_record_free(ag_context *c, ag__session_plan *p, int n_fetches)
{
    ag__plan_free(p->plan);
    ag__free(c, p->inputs, (size_t)p->n_inputs * sizeof *p->inputs);
    ag__free(c, p->assigned, (size_t)p->n_assigned * sizeof *p->assigned);
    ag__free(c, p->into, (size_t)(n_fetches + p->n_assigned) * sizeof *p->into);
    ag__free(c, p->shapes, (size_t)p->n_shapes * sizeof *p->shapes);
    ag__free(c, p, sizeof *p);
}

void ag__session_plans_free(ag_session *s, ag__choice *choice)
{
    while (choice->plans) {
        ag__session_plan *p = choice->plans;
        choice->plans = p->next;
        plan_record_free(s->c, p, choice->n_fetches);
    }
}

static bool plan_record_is_assigned(const ag__schedule *s, const ag__inst *i, int k)
{
    return s->needed[k] && i->op == &ag__op_assign;
}

/* What is given, and the variables that are assigned, each once. */
static bool plan_record_fill(ag_session *s, const ag__choice *choice, ag_tensor *const *values,
                             ag__session_plan *p)
{
    const ag__schedule *schedule = &choice->schedule;
    const ag__region *r = &s->g->main;
    int n_assigned = 0;
    for (int v = 0; v < schedule->n_values; v++) {
        p->n_inputs += values[v] != NULL;
        p->n_shapes += values[v] ? values[v]->ndim : 0;
    }
    for (int k = 0; k < schedule->n_insts; k++)
        n_assigned += plan_record_is_assigned(schedule, &r->insts[k], k);
    p->n_assigned = n_assigned;
    p->inputs = ag__alloc(s->c, (size_t)p->n_inputs * sizeof *p->inputs);
    p->assigned = ag__alloc(s->c, (size_t)n_assigned * sizeof *p->assigned);
    p->into = ag__alloc(s->c, (size_t)(choice->n_fetches + n_assigned) * sizeof *p->into);
    p->shapes = ag__alloc(s->c, (size_t)p->n_shapes * sizeof *p->shapes);
    if (!p->inputs || !p->assigned || !p->into || !p->shapes)
        return false;
    int n = 0, dims = 0;
    for (int v = 0; v < schedule->n_values; v++) {
        if (!values[v])
            continue;
        p->inputs[n++] = v;
        for (int d = 0; d < values[v]->ndim; d++)
            p->shapes[dims++] = values[v]->dims[d];
    }
    return true;
}

/* Where results go: the last assignment of a variable decides; the earlier ones are given out for
 * nothing. */
static void plan_record_targets(const ag_session *s, const ag__choice *choice, ag__session_plan *p)
{
    const ag__region *r = &s->g->main;
    int n = 0;
    for (int j = 0; j < choice->n_fetches; j++)
        p->into[j] = -1;
    for (int k = 0; k < choice->schedule.n_insts; k++) {
        if (!plan_record_is_assigned(&choice->schedule, &r->insts[k], k))
            continue;
        const int32_t var = r->insts[k].in[0];
        int at = 0;
        while (at < n && p->assigned[at] != var)
            at++;
        p->assigned[at] = var;
        n += at == n;
    }
    for (int j = 0; j < n; j++) {
        int32_t *into = &p->into[choice->n_fetches + j];
        *into = -1;
        for (int i = 0; i < p->n_inputs; i++)
            if (p->inputs[i] == p->assigned[j] && s->vars[p->assigned[j]])
                *into = i;
    }
    /* The block keeps its size; the rest of it is not used. */
    for (int j = n; j < p->n_assigned; j++)
        p->assigned[j] = -1;
}

static int plan_record_targets_n(const ag__session_plan *p)
{
    int n = 0;
    while (n < p->n_assigned && p->assigned[n] >= 0)
        n++;
    return n;
}

/* ---- making one ---- */

typedef struct {
    ag_session *s;
    const ag__choice *choice;
    const ag__session_plan *p;
} plan_request;

/* Replays what the fetches need, on symbolic tensors. */
static bool plan_trace(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const plan_request *q = arg;
    const ag__region *r = &q->s->g->main;
    const size_t values = (size_t)q->choice->schedule.n_values;
    const size_t bytes = 2 * values * sizeof(ag_tensor *);
    ag_tensor **lists = ag__alloc(q->s->c, bytes), **assigned = lists ? lists + values : NULL;
    (void)n;
    if (!lists)
        return false;
    memset(lists, 0, bytes);
    for (int i = 0; i < q->p->n_inputs; i++)
        lists[q->p->inputs[i]] = ag__tensor_ref(in[i]);
    ag__replay rp = { q->s->c, r, &q->choice->schedule, lists, assigned, NULL, false };
    const bool ok = ag__replay_run(&rp);
    for (int j = 0; j < m && ok; j++)
        out[j] =
            ag__lend(j < q->choice->n_fetches ? lists[q->choice->key[j]]
                                              : assigned[q->p->assigned[j - q->choice->n_fetches]]);
    for (size_t v = 0; v < 2 * values; v++)
        ag__tensor_unref(lists[v]);
    ag__free(q->s->c, lists, bytes);
    return ok;
}

static bool plan_make(ag_session *s, const ag__choice *choice, ag_tensor *const *values,
                      ag__session_plan *p)
{
    const size_t bytes = (size_t)p->n_inputs * sizeof(ag__type);
    ag__type *types = ag__alloc(s->c, bytes);
    if (!types)
        return false;
    for (int i = 0; i < p->n_inputs; i++) {
        const ag_tensor *t = values[p->inputs[i]];
        types[i] = (ag__type){ (ag_dtype)t->dtype, ag__sizes(t), false };
    }
    plan_request q = { s, choice, p };
    const ag__planning how = { s->options.passes_off, s->options.dump, s->options.dump_user };
    ag__quiet quiet;
    ag__quiet_begin(&quiet, s->c);
    ag_graph *g = ag__traced_new(s->c, "session_run", types, p->n_inputs, plan_trace, &q,
                                 choice->n_fetches + plan_record_targets_n(p));
    p->plan = ag__planned(g, p->into, &how);
    ag__free(s->c, types, bytes);
    return ag__planning_refused(s->c, &quiet, p->plan != NULL) || p->plan;
}

static ag__session_plan *plan_new(ag_session *s, ag__choice *choice, ag_tensor *const *values)
{
    ag__session_plan *p = ag__alloc(s->c, sizeof *p);
    if (!p)
        return NULL;
    *p = (ag__session_plan){ 0 };
    bool ok = plan_record_fill(s, choice, values, p);
    if (ok) {
        plan_record_targets(s, choice, p);
        ok = plan_make(s, choice, values, p);
    }
    if (!ok) {
        plan_record_free(s->c, p, choice->n_fetches);
        return NULL;
    }
    if (choice->n_plans == AG_PLANS) { /* the oldest goes */
        ag__session_plan **last = &choice->plans;
        while ((*last)->next)
            last = &(*last)->next;
        plan_record_free(s->c, *last, choice->n_fetches);
        *last = NULL;
        choice->n_plans--;
    }
    p->next = choice->plans;
    choice->plans = p;
    choice->n_plans++;
    s->stats.plans += p->plan != NULL;
    return p;
}

/* Of the plan that is used now. */
static ag__session_plan *plan_tell(ag_session *s, ag__session_plan *p)
{
    if (p && p->plan) {
        s->stats.nodes = ag__plan_nodes(p->plan);
        s->stats.steps = ag__plan_steps(p->plan);
        s->stats.arena_bytes = ag__plan_bytes(p->plan);
    }
    return p;
}

static bool plan_fits(const ag__session_plan *p, ag_tensor *const *values)
{
    for (int i = 0, at = 0; i < p->n_inputs; at += values[p->inputs[i++]]->ndim)
        if (memcmp(p->shapes + at, values[p->inputs[i]]->dims,
                   (size_t)values[p->inputs[i]]->ndim * sizeof *p->shapes))
            return false;
    return true;
}

ag__session_plan *ag__session_planned(ag_session *s, ag__choice *choice, ag_tensor *const *values)
{
    for (ag__session_plan **at = &choice->plans, *p; (p = *at) != NULL; at = &p->next)
        if (plan_fits(p, values)) { /* it comes first from now on */
            *at = p->next;
            p->next = choice->plans;
            return plan_tell(s, choice->plans = p);
        }
    return plan_tell(s, plan_new(s, choice, values));
}

/* ---- running it ---- */

bool ag__session_plan_run(ag_session *s, ag__choice *choice, const ag__session_plan *p,
                          ag_tensor *const *values, ag_tensor **results)
{
    const int targets = plan_record_targets_n(p), m = choice->n_fetches + targets;
    const size_t bytes = (size_t)(p->n_inputs + m) * sizeof(ag_tensor *);
    ag_tensor **args = ag__alloc(s->c, bytes), **out = args ? args + p->n_inputs : NULL;
    if (!args)
        return false;
    for (int i = 0; i < p->n_inputs; i++)
        args[i] = values[p->inputs[i]];
    const bool ok = ag__plan_run(p->plan, args, out);
    for (int j = 0; j < m && ok; j++) {
        if (j < choice->n_fetches) {
            results[j] = ag__give(out[j]);
        } else if (out[j]) {
            ag_tensor **var = &s->vars[p->assigned[j - choice->n_fetches]];
            ag__tensor_unref(*var);
            *var = out[j];
        }
    }
    ag__free(s->c, args, bytes);
    return ok;
}
