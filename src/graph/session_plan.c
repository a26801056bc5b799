/*
 * Plans of sessions: one for each choice of fetches and feeds and each set of shapes that is given.
 * What cannot be planned is remembered as such, and run step by step.
 */
#include <string.h>

#include "session.h"

/* ---- the record ---- */

static int serve_results(const ag__choice *k) { return k->n_fetches + k->n_assigned; }

static void serve_record_free(ag_context *c, const ag__choice *k, ag__session_plan *p)
{
    ag__plan_free(p->plan);
    ag__free(c, p->out, (size_t)serve_results(k) * sizeof *p->out);
    ag__free(c, p->into, (size_t)serve_results(k) * sizeof *p->into);
    ag__free(c, p->shapes, (size_t)p->n_shapes * sizeof *p->shapes);
    ag__free(c, p, sizeof *p);
}

void ag__session_plans_free(ag_session *s, ag__choice *k)
{
    while (k->plans) {
        ag__session_plan *p = k->plans;
        k->plans = p->next;
        serve_record_free(s->c, k, p);
    }
}

/* Where results go: a variable that is read is written over. */
static void serve_targets(const ag__choice *k, int32_t *into)
{
    for (int j = 0; j < serve_results(k); j++) {
        into[j] = -1;
        for (int i = 0; i < k->n_given && j >= k->n_fetches; i++)
            if (k->given[i].feed < 0 && k->given[i].value == k->assigned[j - k->n_fetches])
                into[j] = i;
    }
}

static bool serve_record_fill(ag_session *s, const ag__choice *k, ag__session_plan *p)
{
    for (int i = 0; i < k->n_given; i++)
        p->n_shapes += k->args[i]->ndim;
    p->out = ag__alloc(s->c, (size_t)serve_results(k) * sizeof *p->out);
    p->into = ag__alloc(s->c, (size_t)serve_results(k) * sizeof *p->into);
    p->shapes = ag__alloc(s->c, (size_t)p->n_shapes * sizeof *p->shapes);
    if (!p->out || !p->into || !p->shapes)
        return false;
    for (int i = 0, at = 0; i < k->n_given; i++)
        for (int d = 0; d < k->args[i]->ndim; d++)
            p->shapes[at++] = k->args[i]->dims[d];
    serve_targets(k, p->into);
    return true;
}

/* ---- making one ---- */

typedef struct {
    ag_session *s;
    const ag__choice *choice;
} serve_request;

/* Replays what the fetches need, on symbolic tensors. */
static bool serve_trace(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const serve_request *q = arg;
    const ag__region *r = &q->s->g->main;
    const size_t values = (size_t)q->choice->schedule.n_values;
    const size_t bytes = 2 * values * sizeof(ag_tensor *);
    ag_tensor **lists = ag__alloc(q->s->c, bytes), **assigned = lists ? lists + values : NULL;
    (void)n;
    if (!lists)
        return false;
    memset(lists, 0, bytes);
    for (int i = 0; i < q->choice->n_given; i++)
        lists[q->choice->given[i].value] = ag__tensor_ref(in[i]);
    ag__replay rp = { q->s->c, r, &q->choice->schedule, lists, assigned, NULL, false };
    const bool ok = ag__replay_run(&rp);
    for (int j = 0; j < m && ok; j++)
        out[j] = ag__lend(j < q->choice->n_fetches
                              ? lists[q->choice->key[j]]
                              : assigned[q->choice->assigned[j - q->choice->n_fetches]]);
    for (size_t v = 0; v < 2 * values; v++)
        ag__tensor_unref(lists[v]);
    ag__free(q->s->c, lists, bytes);
    return ok;
}

static bool serve_make(ag_session *s, const ag__choice *k, ag__session_plan *p)
{
    const size_t bytes = (size_t)k->n_given * sizeof(ag__type);
    ag__type *types = ag__alloc(s->c, bytes);
    if (!types)
        return false;
    for (int i = 0; i < k->n_given; i++)
        types[i] = (ag__type){ (ag_dtype)k->args[i]->dtype, ag__sizes(k->args[i]), false };
    serve_request q = { s, k };
    const ag__planning how = { s->options.passes_off, s->options.dump, s->options.dump_user,
                               s->options.dump_dot };
    ag__quiet quiet;
    ag__quiet_begin(&quiet, s->c);
    ag_graph *g =
        ag__traced_new(s->c, "session_run", types, k->n_given, serve_trace, &q, serve_results(k));
    p->plan = ag__planned(g, p->into, &how);
    ag__free(s->c, types, bytes);
    return ag__planning_refused(s->c, &quiet, p->plan != NULL) || p->plan;
}

static ag__session_plan *serve_new(ag_session *s, ag__choice *k)
{
    ag__session_plan *p = ag__alloc(s->c, sizeof *p);
    if (!p)
        return NULL;
    *p = (ag__session_plan){ 0 };
    if (!serve_record_fill(s, k, p) || !serve_make(s, k, p)) {
        serve_record_free(s->c, k, p);
        return NULL;
    }
    if (k->n_plans == AG_PLANS) { /* the oldest goes */
        ag__session_plan **last = &k->plans;
        while ((*last)->next)
            last = &(*last)->next;
        serve_record_free(s->c, k, *last);
        *last = NULL;
        k->n_plans--;
    }
    p->next = k->plans;
    k->plans = p;
    k->n_plans++;
    s->stats.plans += p->plan != NULL;
    return p;
}

static bool serve_fits(const ag__session_plan *p, ag_tensor *const *args, int n)
{
    for (int i = 0, at = 0; i < n; at += args[i++]->ndim)
        if (memcmp(p->shapes + at, args[i]->dims, (size_t)args[i]->ndim * sizeof *p->shapes) != 0)
            return false;
    return true;
}

ag__session_plan *ag__session_planned(ag_session *s, ag__choice *k)
{
    for (ag__session_plan **at = &k->plans, *p; (p = *at) != NULL; at = &p->next)
        if (serve_fits(p, k->args, k->n_given)) { /* it comes first from now on */
            *at = p->next;
            p->next = k->plans;
            return k->plans = p;
        }
    return serve_new(s, k);
}

/* ---- running it ---- */

bool ag__session_plan_run(ag_session *s, const ag__choice *k, const ag__session_plan *p,
                          ag_tensor **results)
{
    ag_tensor **out = p->out;
    s->stats.nodes = ag__plan_nodes(p->plan);
    s->stats.steps = ag__plan_steps(p->plan);
    s->stats.arena_bytes = ag__plan_bytes(p->plan);
    const bool ok = ag__plan_run(p->plan, k->args, out);
    for (int j = 0; j < k->n_fetches && ok; j++)
        results[j] = ag__give(out[j]);
    for (int j = 0; j < k->n_assigned && ok; j++) {
        ag_tensor **var = &s->vars[k->assigned[j]], *new = out[k->n_fetches + j];
        if (!new)
            continue;
        ag__tensor_unref(*var);
        *var = new;
    }
    return ok;
}
