/* See trial.h. */
#include "trial.h"

#include <stdio.h>

#include "view.h"

ag_context *ag__trial_check(const char *name, ag_fn fn, ag_tensor *const *in, int n, int m)
{
    ag_context *c = ag__list_context(in, n);
    if (!c)
        return NULL;
    if (!fn)
        return ag__fail(c, AG_ERR_VALUE, "%s: the function is NULL", name);
    if (m < 0)
        return ag__fail(c, AG_ERR_VALUE, "%s: the number of outputs is negative", name);
    for (int i = 0; i < n; i++) {
        /* Views are brought up to date, or stand-ins would not be the first nodes. */
        if (!ag__list_check(c, name, "input", i, in[i]) || !ag__fresh(in[i]))
            return NULL;
    }
    return c;
}

static bool trial_stand_in(ag__trial *t, int i, ag_tensor *x)
{
    if (t->records && ag__wants_grad(x))
        return (t->in[i] = ag_view(x, ag__sizes(x))) != NULL;
    t->in[i] = t->hidden[i] = ag__give(ag__tensor_alias(x));
    if (t->in[i])
        t->in[i]->flags |= AG_T_REQUIRES_GRAD;
    return t->in[i] != NULL;
}

bool ag__trial_begin(ag__trial *t, const char *name, ag_fn fn, ag_tensor *const *in, int n, int m,
                     int n_more)
{
    ag_context *c = ag__trial_check(name, fn, in, n, m);
    if (!c)
        return false;
    const size_t count = 2 * (size_t)n + (size_t)m + (size_t)n_more,
                 bytes = count * sizeof(ag_tensor *);
    ag_tensor **block = ag__alloc(c, bytes);
    if (!block)
        return false;
    for (size_t k = 0; k < count; k++)
        block[k] = NULL;
    *t = (ag__trial){ .c = c,
                      .name = name,
                      .n = n,
                      .m = m,
                      .n_more = n_more,
                      .records = c->grad_enabled && !c->inference,
                      .grad_was_enabled = c->grad_enabled,
                      .inference = c->inference,
                      .from = c->next_seq,
                      .in = block,
                      .hidden = block + n,
                      .out = block + 2 * n,
                      .more = block + 2 * n + m,
                      .bytes = bytes };
    ag__bracket_begin(&t->bracket, c);
    c->inference = false;
    return true;
}

/* The node of a stand-in that is a view is still the one it was made with: a write would have gone
 * past it, into the graph of the input. */
static bool trial_check_stand_ins(const ag__trial *t, ag_tensor *const *in)
{
    uint64_t seq = t->from;
    for (int i = 0; i < t->n; i++) {
        if (t->in[i] == in[i] || t->hidden[i])
            continue;
        if (!ag__fresh(t->in[i]))
            return false;
        if (!t->in[i]->grad_fn || t->in[i]->grad_fn->seq != seq++)
            return ag_fail(t->c, AG_ERR_UNSUPPORTED,
                           "%s: the function writes into input %d, which requires a gradient; let "
                           "it write into a clone (ag_clone)",
                           t->name, i);
    }
    return true;
}

bool ag__trial_run(ag_context *c, const char *name, ag_fn fn, ag_tensor *const *in, int n,
                   ag_tensor **out, int m, void *user)
{
    const unsigned failures = c->failures;
    for (int j = 0; j < m; j++)
        out[j] = NULL;
    const bool ok = fn(in, n, out, m, user);
    if (ag__failed_since(c, failures))
        return false;
    if (!ok)
        return ag_fail(c, AG_ERR_VALUE, "%s: the function failed", name);
    for (int j = 0; j < m; j++)
        if (!ag__list_check(c, name, "output", j, out[j]) || !ag__fresh(out[j]))
            return false;
    return true;
}

/* What a graph takes from inputs that hold data has no derivative with respect to them. */
static bool trial_check_graphs(const ag__trial *t)
{
    return !ag__any_recorded(t->out, t->m) ||
           ag_fail(t->c, AG_ERR_GRAPH,
                   "%s: the function gives symbolic tensors although its inputs hold data, and so "
                   "are constants to the graph; make the inputs values of it with ag_constant",
                   t->name);
}

bool ag__trial_call(ag__trial *t, ag_fn fn, ag_tensor *const *in, ag_tensor *const *of, void *user)
{
    t->c->grad_enabled = true;
    for (int i = 0; i < t->n; i++) {
        t->in[i] = in[i];
        if ((!of || of[i]) && ag__is_float((ag_dtype)in[i]->dtype) && !trial_stand_in(t, i, in[i]))
            return false;
    }
    const bool ok = ag__trial_run(t->c, t->name, fn, t->in, t->n, t->out, t->m, user);
    t->c->grad_enabled = true;
    return ok && trial_check_graphs(t) && trial_check_stand_ins(t, in);
}

bool ag__trial_check_v(const ag__trial *t, const ag_tensor *v, const ag_tensor *like, int i, int n)
{
    ag__shape_text a, b, entry;
    if (!v)
        return true;
    if (v->c != t->c)
        return ag_fail(t->c, AG_ERR_VALUE, "%s: entry %d of v is of another context", t->name, i);
    entry.text[0] = '\0';
    if (n > 1)
        snprintf(entry.text, sizeof entry.text, "Entry %d in ", i);
    if (!ag__shape_may_be(ag__sizes(v), ag__sizes(like)))
        return ag_fail(t->c, AG_ERR_SHAPE, "%s: %sv has invalid size: should be %s but got %s.",
                       t->name, entry.text, ag__shape_string(&a, ag__sizes(like)),
                       ag__shape_string(&b, ag__sizes(v)));
    if (!ag__is_float((ag_dtype)like->dtype) || !ag__is_float((ag_dtype)v->dtype))
        return ag_fail(t->c, AG_ERR_DTYPE,
                       "%s: %sv has dtype %s beside a tensor of dtype %s; both must be floating "
                       "point",
                       t->name, entry.text, ag_dtype_name((ag_dtype)v->dtype),
                       ag_dtype_name((ag_dtype)like->dtype));
    return true;
}

/* ---- results ---- */

/* Takes what depends on hidden leaves alone out of the graph of the results, and results out of the
 * graph that are no part of it then. */
static bool trial_prune(ag__trial *t)
{
    const int n = t->m + t->n_more; /* `more` follows `out` */
    bool ok = true;
    ag__tape tape;
    if (t->records && !ag__tape_open(&tape, t->c, t->from, t->out, n))
        return false;
    if (t->records)
        ag__tape_mark(&tape, t->hidden, t->n);
    for (int j = 0; j < n && ok; j++) {
        ag_tensor *y = t->out[j];
        const ag__step *s = t->records && y ? ag__tape_step(&tape, y->grad_fn) : NULL;
        bool dead = y && y->grad_fn && y->grad_fn->seq >= t->from && !(s && s->alive);
        for (int i = 0; i < t->n && !dead; i++)
            dead = y && y == t->hidden[i];
        if (dead)
            ok = (t->out[j] = ag__give(ag__tensor_alias(y))) != NULL;
    }
    if (t->records)
        ag__tape_close(&tape, ok);
    for (int i = 0; i < t->n; i++)
        if (t->hidden[i])
            t->hidden[i]->flags &= (uint8_t)~AG_T_REQUIRES_GRAD;
    return ok;
}

bool ag__trial_end(ag__trial *t, bool ok, ag_tensor **out, ag_tensor **more)
{
    const int n = t->m + t->n_more;
    ok = ok && trial_prune(t);
    for (int j = 0; j < n && ok; j++)
        if (t->out[j])
            ag__tensor_ref(t->out[j]);
    t->c->grad_enabled = t->grad_was_enabled;
    t->c->inference = t->inference;
    ag__bracket_end(&t->bracket);
    for (int j = 0; j < n && ok; j++) {
        ag_tensor *y = ag__lend(t->out[j]);
        *(j < t->m ? &out[j] : &more[j - t->m]) = y;
        ag__tensor_unref(y);
    }
    ag__free(t->c, t->in, t->bytes);
    return ok;
}
