/*
 * Loops that are interpreted: `while`, which looks at its condition, and `scan`, which knows its
 * length. Both may have xs and ys, as traced loops do. A `while` with snapshots that will be
 * differentiated runs once to count its steps, and then as a sequence (autograd/sequence.c).
 */
#include <string.h>

#include "../autograd/sequence.h"
#include "flow.h"
#include "replay.h"
#include "rules.h"

typedef struct {
    ag__replay *rp;
    const ag__inst *i;
    int n_carry, n_xs, n_ys;
    int64_t length;   /* -1: as long as the condition holds */
    ag_tensor **args; /* carry (one reference each), x of this step, captured */
    ag_tensor **next; /* room for the results of a step */
    ag_tensor **ys;   /* of all steps so far, in order of time */
    int n, room;
    ag__schedule body, cond;
    int64_t steps; /* so far */
    bool steady;   /* no variable has changed its shape, or is a number */
} loop_state;

static bool loop_fits(const ag__region *body, int i, const ag_tensor *t)
{
    const ag__value *v = &body->values[body->params[i]];
    ag__shape_text a, b;
    return ag__shape_takes(ag__value_shape(v), ag__sizes(t)) ||
           ag_fail(t->c, AG_ERR_SHAPE,
                   "The shape for variable %d is not an invariant for the loop. It enters the loop "
                   "with shape %s, but has shape %s after one iteration. Provide shape invariants "
                   "using the `shape_invariants` argument of ag_while_loop.",
                   i, ag__shape_string(&a, ag__value_shape(v)), ag__shape_string(&b, ag__sizes(t)));
}

/* The number of steps, where it is known beforehand. */
static bool loop_length(loop_state *l, ag_tensor *const *in)
{
    ag_tensor *const *xs = in + l->n_carry;
    const int64_t length = l->i->attrs->list[AG_FLOW_LENGTH];
    l->length = length == -1 && l->n_xs ? xs[0]->dims[0] : length;
    if (length == -2)
        l->length = ag__load_int((ag_dtype)xs[l->n_xs]->dtype, ag__at(xs[l->n_xs]), 0);
    for (int j = 0; j < l->n_xs; j++)
        if (!ag__rule_length(l->rp->c, j, ag__sizes(xs[j]), &l->length))
            return false;
    return true;
}

static bool loop_goes_on(loop_state *l, int64_t step, bool *goes_on)
{
    const int64_t limit = l->i->attrs->list[AG_FLOW_LIMIT];
    ag_tensor *pred;
    if (!ag__goes_on(l->rp->c))
        return false;
    *goes_on = (l->length < 0 || step < l->length) && (limit == 0 || step < limit);
    if (!*goes_on || l->i->op != &ag__op_while)
        return true;
    if (!ag__region_run(l->rp->c, l->i->regions[1], &l->cond, l->args, &pred, false))
        return false;
    const bool ok = ag__flow_pred("ag_while_loop", "the condition", pred);
    *goes_on = ok && ag__load((ag_dtype)pred->dtype, ag__at(pred), 0) != 0;
    ag__tensor_unref(pred);
    return ok;
}

/* The carry in args is replaced, ys are listed. */
static bool loop_take(loop_state *l)
{
    ag_context *c = l->rp->c;
    ag_tensor **ys =
        l->n_ys ? ag__make_room(c, l->ys, l->n, &l->room, 8 * l->n_ys, sizeof *ys) : NULL;
    l->ys = ys ? ys : l->ys;
    if ((l->n_ys && !ys) ||
        !ag__region_run(c, l->i->regions[0], &l->body, l->args, l->next, c->grad_enabled))
        return false;
    bool ok = true;
    for (int j = 0; j < l->n_carry; j++) {
        ok = ok && loop_fits(l->i->regions[0], j, l->next[j]);
        l->steady = l->steady && !(l->next[j]->flags & AG_T_NUMBER) &&
                    ag__same_shape(ag__sizes(l->next[j]), ag__sizes(l->args[j]));
        ag__tensor_unref(l->args[j]);
        l->args[j] = l->next[j];
    }
    for (int j = 0; j < l->n_ys; j++)
        l->ys[l->n++] = l->next[l->n_carry + j];
    return ok;
}

static bool loop_step(loop_state *l, int64_t step, ag_tensor *const *in)
{
    const int64_t at = l->i->attrs->list[AG_FLOW_REVERSE] ? l->length - 1 - step : step;
    ag_scope scope;
    bool ok = true;
    ag__bracket_begin(&scope, l->rp->c);
    for (int j = l->n_carry; j < l->n_carry + l->n_xs && ok; j++)
        ok = (l->args[j] = ag_select(in[j], 0, at)) != NULL;
    ok = ok && loop_take(l);
    ag__bracket_end(&scope);
    return ok;
}

/* Without steps: the body is run once on zeros, so that the shapes of the ys are known. */
static bool loop_probe(loop_state *l, ag_tensor *const *in)
{
    ag_scope scope;
    bool ok = true;
    ag__bracket_begin(&scope, l->rp->c);
    for (int j = l->n_carry; j < l->n_carry + l->n_xs && ok; j++) {
        const ag_tensor_options o = { .dtype = (ag_dtype)in[j]->dtype };
        l->args[j] = (ag_zeros)(l->rp->c, (ag_ints){ in[j]->dims + 1, in[j]->ndim - 1 }, &o);
        ok = l->args[j] != NULL;
    }
    ok = ok && ag__region_run(l->rp->c, l->i->regions[0], &l->body, l->args, l->next, false);
    ag__bracket_end(&scope);
    return ok;
}

static bool loop_stack_nothing(loop_state *l, ag_tensor *const *in, ag_tensor **ys)
{
    if (!loop_probe(l, in))
        return false;
    bool ok = true;
    for (int j = 0; j < l->n_ys && ok; j++) {
        const ag_tensor *y = l->next[l->n_carry + j];
        const ag_tensor_options o = { .dtype = (ag_dtype)y->dtype };
        int64_t shape[AG_MAX_DIMS] = { 0 };
        for (int d = 0; d < y->ndim; d++)
            shape[d + 1] = y->dims[d];
        ys[j] = (ag_zeros)(l->rp->c, (ag_ints){ shape, y->ndim + 1 }, &o);
        ok = ys[j] != NULL;
    }
    for (int j = 0; j < l->n_carry + l->n_ys; j++)
        ag__tensor_unref(l->next[j]);
    return ok;
}

/* y j of all steps, stacked. */
static ag_tensor *loop_stack(loop_state *l, int j)
{
    ag_context *c = l->rp->c;
    const int steps = l->n / l->n_ys;
    const size_t bytes = (size_t)steps * sizeof(ag_tensor *);
    ag_tensor **list = ag__alloc(c, bytes), *y = NULL;
    for (int k = 0; k < steps && list; k++)
        list[l->i->attrs->list[AG_FLOW_REVERSE] ? steps - 1 - k : k] = l->ys[k * l->n_ys + j];
    if (list)
        y = ag_stack(list, steps, 0);
    ag__free(c, list, bytes);
    return y;
}

static ag_tensor *loop_count(ag_context *c, int64_t steps)
{
    ag_tensor *t = ag_scalar(c, 0, .dtype = AG_I64);
    if (t)
        memcpy(ag__at(t), &steps, sizeof steps);
    return t;
}

static bool loop_run(loop_state *l, ag_tensor *const *in, ag_tensor **out)
{
    bool ok = true, goes_on = true;
    for (; ok; l->steps += ok) {
        ok = loop_goes_on(l, l->steps, &goes_on);
        if (!goes_on)
            break;
        ok = ok && loop_step(l, l->steps, in);
    }
    if (ok && l->n_ys && l->n == 0)
        ok = loop_stack_nothing(l, in, out + l->n_carry);
    for (int j = 0; j < l->n_ys && l->n && ok; j++)
        ok = (out[l->n_carry + j] = loop_stack(l, j)) != NULL;
    if (ok && l->i->attrs->list[AG_FLOW_COUNT])
        ok = (out[l->i->n_out - 1] = loop_count(l->rp->c, l->steps)) != NULL;
    for (int j = l->n_carry; j < l->i->n_out && ok; j++)
        ag__tensor_ref(out[j]);
    return ok;
}

static bool loop_scheduled(loop_state *l, ag_tensor *const *in, ag_tensor **out)
{
    const bool ok = loop_run(l, in, out);
    ag__schedule_free(&l->body, l->rp->c);
    if (l->i->op == &ag__op_while)
        ag__schedule_free(&l->cond, l->rp->c);
    return ok;
}

/* What of the regions is needed, found once for all steps. */
static bool loop_schedule(loop_state *l)
{
    ag_context *c = l->rp->c;
    const ag__region *body = l->i->regions[0];
    const ag__region *cond = l->i->op == &ag__op_while ? l->i->regions[1] : NULL;
    if (!ag__schedule_make(&l->body, c, body, body->outs, body->n_outs, NULL))
        return false;
    if (!cond || ag__schedule_make(&l->cond, c, cond, cond->outs, 1, NULL))
        return true;
    ag__schedule_free(&l->body, c);
    return false;
}

static bool loop_all(loop_state *l, ag_tensor *const *in, ag_tensor **out)
{
    ag_context *c = l->rp->c;
    const ag__inst *i = l->i;
    const int n_params = i->regions[0]->n_params, own = l->n_carry + l->n_xs;
    const size_t bytes = (size_t)(n_params + i->n_out) * sizeof(ag_tensor *);
    l->args = ag__alloc(c, bytes);
    if (!l->args)
        return false;
    l->next = l->args + n_params;
    for (int j = 0; j < n_params; j++) /* a length is no parameter */
        l->args[j] = in[j < own ? j : j + i->n_in - n_params];
    l->steady = true;
    for (int j = 0; j < l->n_carry; j++) {
        ag__tensor_ref(l->args[j]);
        l->steady = l->steady && !(l->args[j]->flags & AG_T_NUMBER);
    }
    const bool ok = loop_schedule(l) && loop_scheduled(l, in, out);
    for (int j = 0; j < l->n_carry; j++)
        if (ok)
            out[j] = l->args[j];
        else
            ag__tensor_unref(l->args[j]);
    for (int k = 0; k < l->n; k++)
        ag__tensor_unref(l->ys[k]);
    ag__free(c, l->ys, (size_t)l->room * sizeof *l->ys);
    ag__free(c, l->args, bytes);
    return ok;
}

/* ---- snapshots ---- */

/* Belongs to the node, which may outlive the graph: the body is a copy. */
typedef struct {
    ag_context *c;
    ag_graph *g;
    const ag__region *body;
    size_t bytes;
    int n;             /* variables */
    ag_tensor *args[]; /* of the body; those that are captured are owned */
} loop_steps;

static bool loop_steps_fn(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    loop_steps *s = user;
    (void)step;
    if (!ag__goes_on(s->c))
        return false;
    memcpy(s->args, in, (size_t)n * sizeof *in);
    const bool ok = ag__region_call(s->c, s->body, s->args, out, s->c->grad_enabled);
    for (int j = 0; j < n && ok; j++)
        ag__settle(out[j]);
    return ok;
}

static void loop_steps_free(void *user)
{
    loop_steps *s = user;
    for (int p = s->n; p < s->body->n_params; p++)
        ag__tensor_unref(s->args[p]);
    ag_graph_free(s->g);
    ag__free(s->c, s, s->bytes);
}

static bool loop_sequence(const loop_state *l, int64_t steps, ag_tensor *const *in, ag_tensor **out)
{
    const ag__region *body = l->i->regions[0];
    const size_t bytes = sizeof(loop_steps) + (size_t)body->n_params * sizeof(ag_tensor *);
    ag_graph *g = ag__graph_new(l->rp->c, body->graph->traced);
    const ag__region *copy = g ? ag__region_copy(g, body) : NULL;
    loop_steps *s = copy ? ag__alloc(l->rp->c, bytes) : NULL;
    if (!s) {
        ag_graph_free(g);
        return false;
    }
    *s = (loop_steps){ l->rp->c, g, copy, bytes, l->n_carry };
    for (int p = l->n_carry; p < body->n_params; p++)
        s->args[p] = ag__tensor_ref(in[p]);
    const ag_checkpoint_sequence_options o = { .size = sizeof o,
                                               .snapshots =
                                                   (int)l->i->attrs->list[AG_FLOW_SNAPSHOTS] };
    if (!ag__sequence(loop_steps_fn, steps, in, l->n_carry, out, s, loop_steps_free, &o))
        return false;
    for (int j = 0; j < l->n_carry; j++)
        ag__tensor_ref(out[j]);
    return true;
}

static bool loop_has_snapshots(const loop_state *l, ag_tensor *const *in)
{
    bool wanted = false;
    for (int k = 0; k < l->i->n_in; k++)
        wanted = wanted || ag__wants_grad(in[k]);
    return wanted && l->rp->c->grad_enabled && l->i->op == &ag__op_while &&
           l->i->attrs->list[AG_FLOW_SNAPSHOTS] && l->i->n_out == l->n_carry;
}

/* *found: it is a sequence. Otherwise it is run as without snapshots. */
static bool loop_try_sequence(const loop_state *l, ag_tensor *const *in, ag_tensor **out,
                              bool *found)
{
    ag_context *c = l->rp->c;
    const ag__random random = c->random;
    loop_state count = *l;
    c->grad_enabled = false;
    const bool ok = loop_all(&count, in, out);
    c->grad_enabled = true;
    for (int j = 0; j < l->n_carry && ok; j++)
        ag__tensor_unref(out[j]);
    c->random = random;
    *found = ok && count.steady && count.steps > 0;
    return ok && (!*found || loop_sequence(l, count.steps, in, out));
}

bool ag__replay_loop(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    loop_state l = { .rp = rp,
                     .i = i,
                     .n_carry = (int)i->attrs->list[AG_FLOW_CARRY],
                     .n_xs = (int)i->attrs->list[AG_FLOW_XS],
                     .n_ys = (int)i->attrs->list[AG_FLOW_YS] };
    bool found = false;
    if (!loop_length(&l, in) || (l.length > 0 && !ag__rule_steps(rp->c, l.length, l.n_ys)))
        return false;
    if (loop_has_snapshots(&l, in) && !loop_try_sequence(&l, in, out, &found))
        return false;
    return found || loop_all(&l, in, out);
}
