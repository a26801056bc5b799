/*
 * A sequence of steps as one node, whose backward computes states again by the schedule of revolve.h.
 *
 * The call runs the steps one after the other and keeps the states that the plan says. It follows the
 * plan for one step more than there are, the last of which is what comes behind the sequence; so the
 * pass finds the plan where the call left it. Then, for each step from the last to the first, the
 * step's state is brought back, the step is recorded alone, and a pass over that small graph takes the
 * gradient of the state behind it to that of the state before it. A snapshot is a state and the random
 * numbers' state with it, so a step draws the same ones each time. Snapshots go when the plan drops
 * them; a further pass over the same graph begins a new plan from the inputs, which the node saves.
 *
 * Captured tensors. A step may use tensors that it was not given. While the call runs a step it looks
 * through what was recorded: edges to nodes older than the step are what it captured. They become
 * operands of the node, behind the inputs, as stand-ins without data, so gradients flow to them in
 * any kind of pass. Passes over a step end at them.
 *
 * A pass that builds a graph keeps it all: its rule records the steps from the inputs in one piece.
 */
#include <string.h>

#include "capture.h"
#include "engine.h"
#include "revolve.h"
#include "saved.h"
#include "sequence.h"
#include "view.h"

typedef struct {
    ag__random random;
    uint32_t version; /* of each tensor, added up: it only grows */
    ag_tensor *state[];
} sequence_snapshot;

typedef struct {
    ag_context *c;
    ag_step_fn fn;
    void *user;
    void (*free_user)(void *user); /* or NULL */
    int64_t steps;
    int n; /* tensors of a state */

    ag__random random; /* before the first step */
    ag__revolve plan;
    sequence_snapshot **snapshots; /* plan.room of them; that of state 0 is the inputs, and NULL */
    bool planned;                  /* the plan is where the call left it */

    ag__captures captured;
    ag_tensor **state; /* the current one, n tensors that are owned or NULL */
} sequence;

/* ---- lists of tensors ---- */

static ag_tensor **sequence_list(ag_context *c, int n)
{
    ag_tensor **list = ag__alloc(c, (size_t)n * sizeof *list);
    if (list)
        memset(list, 0, (size_t)n * sizeof *list);
    return list;
}

static void sequence_clear(ag_tensor **list, int n)
{
    for (int i = 0; list && i < n; i++) {
        ag__tensor_unref(list[i]);
        list[i] = NULL;
    }
}

static void sequence_free_list(ag_context *c, ag_tensor **list, int n)
{
    sequence_clear(list, n);
    ag__free(c, list, (size_t)n * sizeof *list);
}

/* list[i] becomes from[i] without its graph. */
static bool sequence_set(ag_tensor **list, ag_tensor *const *from, int n)
{
    for (int i = 0; i < n; i++) {
        ag_tensor *t = ag__tensor_alias(from[i]);
        if (!t)
            return false;
        ag__tensor_unref(list[i]);
        list[i] = t;
    }
    return true;
}

/* ---- snapshots ---- */

static size_t sequence_snapshot_bytes(const sequence *q)
{
    return sizeof(sequence_snapshot) + (size_t)q->n * sizeof(ag_tensor *);
}

static uint32_t sequence_versions(ag_tensor *const *state, int n)
{
    uint32_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += state[i]->storage->version;
    return sum;
}

static void sequence_drop(sequence *q, int slot)
{
    sequence_snapshot *s = q->snapshots[slot];
    if (!s)
        return;
    q->snapshots[slot] = NULL;
    for (int i = 0; i < q->n; i++)
        q->c->saved_bytes -= s->state[i]->storage->bytes;
    sequence_clear(s->state, q->n);
    ag__free(q->c, s, sequence_snapshot_bytes(q));
}

static void sequence_drop_all(sequence *q)
{
    for (int i = 0; q->snapshots && i < q->plan.room; i++)
        sequence_drop(q, i);
    q->planned = false;
}

static bool sequence_store(sequence *q, int slot)
{
    sequence_snapshot *s = ag__alloc(q->c, sequence_snapshot_bytes(q));
    if (!s)
        return false;
    s->random = q->c->random;
    s->version = sequence_versions(q->state, q->n);
    for (int i = 0; i < q->n; i++) {
        s->state[i] = ag__tensor_ref(q->state[i]);
        q->c->saved_bytes += s->state[i]->storage->bytes;
    }
    q->snapshots[slot] = s;
    return true;
}

static bool sequence_restore(sequence *q, int slot)
{
    const sequence_snapshot *s = q->snapshots[slot];
    if (sequence_versions(s->state, q->n) != s->version)
        return ag_fail(q->c, AG_ERR_GRAD,
                       "one of the variables needed for gradient computation has been modified by "
                       "an inplace operation: a state that ag_checkpoint_sequence keeps");
    q->c->random = s->random;
    return sequence_set(q->state, s->state, q->n);
}

/* ---- steps ---- */

/* out[0..n) is a state like in[0..n). */
static bool sequence_check(const sequence *q, int64_t step, ag_tensor *const *in,
                           ag_tensor *const *out)
{
    for (int i = 0; i < q->n; i++) {
        ag__shape_text a, b;
        if (!out[i] || out[i]->c != q->c)
            return ag_fail(q->c, AG_ERR_VALUE,
                           "ag_checkpoint_sequence: step %lld left output %d %s", (long long)step,
                           i, out[i] ? "to another context" : "NULL");
        if (out[i]->dtype != in[i]->dtype || !ag__same_shape(ag__sizes(out[i]), ag__sizes(in[i])))
            return ag_fail(q->c, AG_ERR_SHAPE,
                           "ag_checkpoint_sequence: output %d of step %lld has shape %s and dtype "
                           "%s; the state has shape %s and dtype %s",
                           i, (long long)step, ag__shape_string(&a, ag__sizes(out[i])),
                           ag_dtype_name((ag_dtype)out[i]->dtype),
                           ag__shape_string(&b, ag__sizes(in[i])),
                           ag_dtype_name((ag_dtype)in[i]->dtype));
        if (!ag__fresh(out[i]))
            return false;
    }
    return true;
}

/* out[0..n), in the innermost scope, from in[0..n). The values that a recorded step saves are nobody
 * else's: hooks around the sequence do not see them. */
static bool sequence_call(sequence *q, int64_t step, ag_tensor *const *in, ag_tensor **out,
                          bool record)
{
    ag_context *c = q->c;
    struct ag__saved_hooks *const hooks = c->saved_hooks;
    const bool grad = c->grad_enabled;
    c->saved_hooks = NULL;
    c->grad_enabled = record;
    for (int i = 0; i < q->n; i++)
        out[i] = NULL;
    bool ok = q->fn(step, in, q->n, out, q->user);
    if (!ok)
        ag_fail(c, AG_ERR_VALUE, "ag_checkpoint_sequence: step %lld failed", (long long)step);
    while (c->saved_hooks)
        ag_saved_hooks_pop(c);
    c->saved_hooks = hooks;
    c->grad_enabled = grad;
    return ok && sequence_check(q, step, in, out);
}

/* Runs one step of the current state; `capture` is for the first time that it runs. */
static bool sequence_step(sequence *q, int64_t step, bool capture)
{
    ag_context *c = q->c;
    ag_scope bracket;
    ag_tensor **out = sequence_list(c, q->n);
    if (!out)
        return false;
    ag__bracket_begin(&bracket, c);
    const uint64_t first = c->next_seq;
    bool ok = sequence_call(q, step, q->state, out, capture);
    ok = ok && (!capture || ag__capture(&q->captured, c, out, q->n, first)) &&
         sequence_set(q->state, out, q->n);
    ag__bracket_end(&bracket);
    ag__free(c, out, (size_t)q->n * sizeof *out);
    return ok;
}

/* Carries the plan out until a step is to be reversed, which it gives, or until it is done: -1; on
 * error -2. `inputs` is state 0. */
static int64_t sequence_follow(sequence *q, ag_tensor *const *inputs, bool capture)
{
    for (;;) {
        const ag__revolve_action a = ag__revolve_next(&q->plan);
        bool ok = true;
        switch (a.kind) {
        case AG_REVOLVE_STORE: ok = a.step == 0 || sequence_store(q, a.slot); break;
        case AG_REVOLVE_ADVANCE:
            for (int64_t step = a.step; step < a.to && ok; step++)
                ok = sequence_step(q, step, capture);
            break;
        case AG_REVOLVE_RESTORE:
            if (a.step == 0) {
                q->c->random = q->random;
                ok = sequence_set(q->state, inputs, q->n);
            } else {
                ok = sequence_restore(q, a.slot);
            }
            break;
        case AG_REVOLVE_DROP: sequence_drop(q, a.slot); break;
        case AG_REVOLVE_REVERSE: return a.step;
        case AG_REVOLVE_DONE: return -1;
        }
        if (!ok)
            return -2;
    }
}

/* ---- backward ---- */

/* What the rule works on. */
typedef struct {
    sequence *q;
    ag_ctx *ctx;
    ag_tensor **g;      /* gradients of the current state, owned; NULL: undefined */
    ag_tensor **sums;   /* those of captured tensors so far, owned */
    ag_tensor **in;     /* n leaves of one step */
    ag_tensor **out;    /* its n results, in order */
    ag_tensor **roots;  /* those of them that have a gradient, and */
    ag_tensor **root_g; /* the gradients */
    ag_tensor **want;   /* n leaves and n_captured stand-ins, those that are wanted, and */
    ag_tensor **found;  /* their gradients */
} sequence_pass;

/* Leaves over the current state; floating-point ones ask for a gradient, those of the first step when
 * the pass does. */
static bool sequence_leaves(sequence_pass *p, int64_t step)
{
    sequence *q = p->q;
    if (!sequence_set(p->in, q->state, q->n))
        return false;
    for (int i = 0; i < q->n; i++)
        if (ag__is_float((ag_dtype)p->in[i]->dtype) &&
            (step > 0 || ag_ctx_needs_input_grad(p->ctx, i)))
            p->in[i]->flags |= AG_T_REQUIRES_GRAD;
    return true;
}

/* Of out[0..n), those that have a graph and a gradient. */
static int sequence_roots(sequence_pass *p, ag_tensor *const *g)
{
    int n = 0;
    for (int i = 0; i < p->q->n; i++) {
        if (!g[i] || !ag__wants_grad(p->out[i]))
            continue;
        p->roots[n] = p->out[i];
        p->root_g[n++] = g[i];
    }
    return n;
}

/* found[0..n) becomes the gradients of want[0..n), by a pass over what was recorded since. */
static bool sequence_grad(sequence_pass *p, int n_roots, int n)
{
    for (int i = 0; i < n; i++)
        p->found[i] = NULL;
    const ag__pass_request r = { .roots = p->roots,
                                 .gradients = p->root_g,
                                 .n_roots = n_roots,
                                 .inputs = p->want,
                                 .n_inputs = n,
                                 .results = p->found,
                                 .create_graph = p->q->c->grad_enabled,
                                 .allow_unused = true,
                                 .ends_at_inputs = true };
    return n == 0 || n_roots == 0 || ag__pass_perform(p->q->c, &r);
}

/* Adds g to *sum, which nobody else sees once it is a sum. */
static bool sequence_add(ag_tensor **sum, ag_tensor *g)
{
    if (!g)
        return true;
    ag_tensor *total = *sum ? (ag_add)(*sum, g) : g;
    if (!total)
        return false;
    ag__tensor_ref(total);
    ag__tensor_unref(*sum);
    *sum = total;
    return true;
}

/* Takes the gradients p->g of the state behind the step to those of the current state. */
static bool sequence_reverse_recorded(sequence_pass *p, int64_t step)
{
    sequence *q = p->q;
    if (!sequence_leaves(p, step) || !sequence_call(q, step, p->in, p->out, true))
        return false;
    const int n_roots = sequence_roots(p, p->g);
    int n = 0;
    for (int i = 0; i < q->n + q->captured.n; i++) {
        ag_tensor *t = i < q->n ? p->in[i] : q->captured.places[i - q->n];
        if (i < q->n ? ag__wants_grad(t) : ag_ctx_needs_input_grad(p->ctx, i))
            p->want[n++] = t;
    }
    if (!sequence_grad(p, n_roots, n))
        return false;
    int k = 0;
    for (int i = 0; i < q->n; i++) {
        ag_tensor *g = k < n && p->want[k] == p->in[i] ? p->found[k++] : NULL;
        ag__tensor_unref(p->g[i]);
        p->g[i] = g ? ag__tensor_ref(g) : NULL;
    }
    bool ok = true;
    for (int i = 0; i < q->captured.n && ok; i++)
        if (k < n && p->want[k] == q->captured.places[i])
            ok = sequence_add(&p->sums[i], p->found[k++]);
    return ok;
}

static bool sequence_reverse(sequence_pass *p, int64_t step)
{
    ag_scope bracket;
    ag__bracket_begin(&bracket, p->q->c);
    const bool ok = sequence_reverse_recorded(p, step);
    ag__bracket_end(&bracket);
    return ok;
}

static bool sequence_run_back(sequence_pass *p, ag_tensor *const *inputs)
{
    sequence *q = p->q;
    if (!q->planned)
        ag__revolve_begin(&q->plan, q->steps, q->plan.room, q->plan.kept);
    bool ok = q->planned || (q->c->random = q->random, sequence_set(q->state, inputs, q->n));
    q->planned = false;
    while (ok) {
        const int64_t step = sequence_follow(q, inputs, false);
        if (step < 0)
            return step == -1;
        ok = sequence_reverse(p, step);
    }
    return false;
}

/* For a pass that builds a graph: all steps from the inputs, whose graphs they have, as one graph. An
 * edge that stands for several operands gets its whole gradient once. */
static bool sequence_differentiable(sequence_pass *p, ag_tensor *const *inputs,
                                    ag_tensor *const *grad_out, ag_tensor **grad_in)
{
    sequence *q = p->q;
    for (int i = 0; i < q->n; i++)
        p->out[i] = inputs[i];
    q->c->random = q->random;
    for (int64_t step = 0; step < q->steps; step++) {
        memcpy(p->in, p->out, (size_t)q->n * sizeof *p->in);
        if (!sequence_call(q, step, p->in, p->out, true)) {
            memset(p->in, 0, (size_t)q->n * sizeof *p->in); /* they are not owned here */
            return false;
        }
    }
    memset(p->in, 0, (size_t)q->n * sizeof *p->in);
    const int n_roots = sequence_roots(p, grad_out);
    int n = 0;
    for (int i = 0; i < q->n + q->captured.n; i++)
        if (ag_ctx_needs_input_grad(p->ctx, i))
            p->want[n++] = i < q->n ? inputs[i] : q->captured.places[i - q->n];
    if (!sequence_grad(p, n_roots, n))
        return false;
    for (int i = 0, k = 0; i < q->n + q->captured.n; i++) {
        if (!ag_ctx_needs_input_grad(p->ctx, i))
            continue;
        bool again = false;
        for (int j = 0; j < k && !again; j++)
            again = ag__same_place(p->want[j], p->want[k]);
        grad_in[i] = again ? NULL : p->found[k];
        k++;
    }
    return true;
}

static bool sequence_pass_begin(sequence_pass *p, int n, int k)
{
    ag_context *c = p->q->c;
    p->g = sequence_list(c, n);
    p->sums = sequence_list(c, k);
    p->in = sequence_list(c, n);
    p->out = sequence_list(c, n);
    p->roots = sequence_list(c, n);
    p->root_g = sequence_list(c, n);
    p->want = sequence_list(c, n + k);
    p->found = sequence_list(c, n + k);
    return p->g && p->sums && p->in && p->out && p->roots && p->root_g && p->want && p->found;
}

static void sequence_pass_end(sequence_pass *p, int n, int k)
{
    ag_context *c = p->q->c;
    sequence_free_list(c, p->g, n);
    sequence_free_list(c, p->sums, k);
    sequence_free_list(c, p->in, n);
    ag__free(c, p->out, (size_t)n * sizeof *p->out);
    ag__free(c, p->roots, (size_t)n * sizeof *p->out);
    ag__free(c, p->root_g, (size_t)n * sizeof *p->out);
    ag__free(c, p->want, (size_t)(n + k) * sizeof *p->out);
    ag__free(c, p->found, (size_t)(n + k) * sizeof *p->out);
}

static bool sequence_backward(ag_ctx *ctx, ag_tensor *const *grad_out, ag_tensor **grad_in)
{
    sequence *q = ag_ctx_user(ctx);
    ag_context *c = q->c;
    const int n = q->n, k = q->captured.n;
    const ag__random random = c->random;
    sequence_pass p = { .q = q, .ctx = ctx };
    ag_tensor **inputs = sequence_list(c, n);
    bool ok = inputs && sequence_pass_begin(&p, n, k);
    for (int i = 0; i < n && ok; i++) {
        ag_tensor *t = ag_ctx_saved(ctx, i);
        ok = t != NULL;
        inputs[i] = ok ? ag__tensor_ref(t) : NULL;
    }
    if (ok && c->grad_enabled) {
        ok = sequence_differentiable(&p, inputs, grad_out, grad_in);
    } else if (ok) {
        for (int i = 0; i < n; i++)
            p.g[i] = grad_out[i] ? ag__tensor_ref(grad_out[i]) : NULL;
        ok = sequence_run_back(&p, inputs);
        sequence_drop_all(q);
        sequence_clear(q->state, n);
        for (int i = 0; i < n + k && ok; i++)
            if (ag_ctx_needs_input_grad(ctx, i))
                grad_in[i] = ag__lend(i < n ? p.g[i] : p.sums[i - n]);
    }
    c->random = random;
    sequence_pass_end(&p, n, k);
    sequence_free_list(c, inputs, n);
    return ok;
}

/* ---- the call ---- */

/* The results are there: what is left is to say so. */
static bool sequence_forward(ag_ctx *ctx, ag_tensor *const *in, int n_in, ag_tensor **out, int m)
{
    sequence *q = ag_ctx_user(ctx);
    (void)n_in;
    for (int i = 0; i < m; i++) {
        const bool same =
            q->state[i]->storage == in[i]->storage && q->state[i]->offset == in[i]->offset &&
            memcmp(ag__strides(q->state[i]), ag__strides(in[i]), in[i]->ndim * sizeof(int64_t)) ==
                0;
        out[i] = same ? in[i] : ag__lend(q->state[i]);
    }
    sequence_clear(q->state, m);
    ag_ctx_set_materialize_grads(ctx, false);
    return ag_ctx_save(ctx, in, m);
}

static void sequence_free(void *user)
{
    sequence *q = user;
    ag_context *c = q->c;
    sequence_drop_all(q);
    ag__free(c, q->snapshots, (size_t)q->plan.room * sizeof *q->snapshots);
    ag__free(c, q->plan.kept, (size_t)q->plan.room * sizeof *q->plan.kept);
    ag__captures_release(&q->captured, c);
    sequence_free_list(c, q->state, q->n);
    if (q->free_user)
        q->free_user(q->user);
    ag__free(c, q, sizeof *q);
}

/* How many states the options allow for. */
static int sequence_room(int64_t steps, ag_tensor *const *inputs, int n,
                         const ag_checkpoint_sequence_options *o)
{
    int64_t room = steps, bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += inputs[i]->numel * (int64_t)ag__itemsize((ag_dtype)inputs[i]->dtype);
    if (o->budget_bytes && bytes > 0 && o->budget_bytes / (size_t)bytes < (size_t)room)
        room = (int64_t)(o->budget_bytes / (size_t)bytes);
    if (o->snapshots > 0 && o->snapshots < room)
        room = o->snapshots;
    return ag__revolve_room(room, steps);
}

/* The user's data are given up with it, also when there is none. */
static sequence *sequence_new(ag_context *c, const sequence *like, int room)
{
    sequence *q = ag__alloc(c, sizeof *q);
    if (!q) {
        if (like->free_user)
            like->free_user(like->user);
        return NULL;
    }
    *q = *like;
    q->state = sequence_list(c, q->n);
    q->snapshots = ag__alloc(c, (size_t)room * sizeof *q->snapshots);
    int64_t *kept = ag__alloc(c, (size_t)room * sizeof *kept);
    ag__revolve_begin(&q->plan, q->steps + 1, room, kept);
    for (int i = 0; q->snapshots && i < room; i++)
        q->snapshots[i] = NULL;
    if (q->state && q->snapshots && kept)
        return q;
    sequence_free(q);
    return NULL;
}

static bool sequence_record(sequence *q, ag_tensor *const *inputs, ag_tensor **outputs)
{
    static const ag_custom custom = { .name = "CheckpointSequence",
                                      .forward = sequence_forward,
                                      .backward = sequence_backward,
                                      .free_user = sequence_free };
    const int n = q->n + q->captured.n;
    ag_context *c = q->c;
    if (n > UINT16_MAX) {
        const int captured = q->captured.n;
        sequence_free(q);
        return ag_fail(c, AG_ERR_VALUE,
                       "ag_checkpoint_sequence: the steps use %d other tensors that ask for a "
                       "gradient; together with the state there may be %d",
                       captured, UINT16_MAX);
    }
    ag_tensor **in = ag__alloc(c, (size_t)n * sizeof *in);
    if (!in) {
        sequence_free(q);
        return false;
    }
    memcpy(in, inputs, (size_t)q->n * sizeof *in);
    if (q->captured.n)
        memcpy(in + q->n, q->captured.places, (size_t)q->captured.n * sizeof *in);
    const int m = q->n;
    const bool ok = ag_apply(&custom, in, n, outputs, m, q);
    ag__free(c, in, (size_t)n * sizeof *in);
    return ok;
}

static ag_context *sequence_check_call(ag_step_fn fn, int64_t steps, ag_tensor *const *inputs,
                                       int n, ag_tensor **outputs)
{
    ag_context *c = ag__list_context(inputs, n);
    if (!c)
        return NULL;
    if (!fn || !outputs || steps < 0 || steps >= AG__REVOLVE_MAX)
        return ag__fail(c, AG_ERR_VALUE, "ag_checkpoint_sequence: %s",
                        !fn        ? "there is no function"
                        : !outputs ? "there is no place for outputs"
                                   : "steps is out of range");
    for (int i = 0; i < n; i++)
        if (!ag__list_check(c, "ag_checkpoint_sequence", "input", i, inputs[i]))
            return NULL;
    if (ag__any_recorded(inputs, n))
        return ag__fail(c, AG_ERR_GRAPH,
                        "ag_checkpoint_sequence: an input is symbolic; in a static graph "
                        "ag_while_loop does this, with .snapshots");
    return c;
}

bool ag__sequence(ag_step_fn fn, int64_t steps, ag_tensor *const *inputs, int n,
                  ag_tensor **outputs, void *user, void (*free_user)(void *user),
                  const ag_checkpoint_sequence_options *options)
{
    static const ag_checkpoint_sequence_options none = { .size = sizeof none };
    ag_context *c = sequence_check_call(fn, steps, inputs, n, outputs);
    if (!c) {
        if (free_user)
            free_user(user);
        return false;
    }
    const int room = sequence_room(steps, inputs, n, options ? options : &none);
    const sequence like = { .c = c,
                            .fn = fn,
                            .user = user,
                            .free_user = free_user,
                            .steps = steps,
                            .n = n,
                            .random = c->random };
    sequence *q = sequence_new(c, &like, room);
    if (!q)
        return false;
    bool ok = sequence_set(q->state, inputs, n);
    const bool record = c->grad_enabled && !c->inference;
    if (ok && record)
        ok = sequence_follow(q, inputs, true) == steps;
    for (int64_t step = 0; step < steps && ok && !record; step++)
        ok = sequence_step(q, step, false);
    q->planned = record;
    if (c->saved_hooks) /* states would not pass through them, as inputs do */
        sequence_drop_all(q);
    if (!ok) {
        sequence_free(q);
        return false;
    }
    return sequence_record(q, inputs, outputs);
}

bool(ag_checkpoint_sequence)(ag_step_fn fn, int64_t steps, ag_tensor *const *inputs, int n,
                             ag_tensor **outputs, void *user,
                             const ag_checkpoint_sequence_options *options)
{
    return ag__sequence(fn, steps, inputs, n, outputs, user, NULL, options);
}
