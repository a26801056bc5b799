/*
 * Random programs: operations, views, writes, hooks of every kind that do all sorts of things, custom
 * functions, saved-value hooks, modes and passes, errors cleared and gone on from.
 *
 * A program is a list of steps drawn from a seed. The wild ones run twice: once undisturbed, and once
 * with each step tried first while an allocation fails. Such a step must leave every tensor as it was,
 * and then come to the end that it came to undisturbed. The tame ones, which only compute, run plainly,
 * under saved-value hooks, offloaded, as a checkpoint, in checked and in anomaly mode, and must give
 * the same gradients to the bit.
 *
 * AG_STRESS_SEEDS=N runs N seeds of each, and AG_STRESS_FIRST=K begins with seed K.
 */
#include <stdlib.h>

#include "harness.h"

enum { POOL = 8, SLOTS = 64, STEPS = 48, SEEDS = 300, LEAVES = 3 };
typedef struct program program;

/* ---- steps ---- */

typedef struct {
    int kind, a, b, d, k, mode;
} step;

static uint64_t draw_state;
static int draw(int n)
{
    draw_state ^= draw_state << 13;
    draw_state ^= draw_state >> 7;
    draw_state ^= draw_state << 17;
    return (int)((draw_state >> 20) % (uint64_t)n);
}

/* ---- programs ---- */

/* A hook of the program; h is NULL from when it went. */
typedef struct {
    program *p;
    ag_hook *h;
    int action, a, b;
} slot;

typedef struct {
    uint64_t values, grad_values;
    ag_tensor *t, *grad;
    int64_t version;
    bool wants, is_leaf;
} look;

struct program {
    ag_context *c;
    ag_tensor *t[POOL]; /* retained */
    slot slots[SLOTS];
    int n_slots, pushed, depth;
    bool tainted; /* a callback changed something, which a repetition does not undo */
    bool tame;
};

static void put(program *p, int d, ag_tensor *t)
{
    if (!t)
        return;
    ag_tensor *old = p->t[d];
    p->t[d] = ag_retain(t);
    ag_release(old);
}

static uint64_t sum_of(ag_tensor *t)
{
    uint64_t h = 14695981039346656037u;
    const int n = t ? ag_ndim(t) : 0, size = (int)ag_dtype_size(ag_dtype_of(t));
    for (int64_t k = 0; t && k < ag_numel(t); k++) {
        int64_t at = 0, rest = k;
        for (int d = n - 1; d >= 0; d--) {
            at += rest % ag_shape(t)[d] * ag_strides(t)[d];
            rest /= ag_shape(t)[d];
        }
        const unsigned char *bytes = (const unsigned char *)ag_data(t) + at * size;
        for (int i = 0; i < size; i++)
            h = (h ^ bytes[i]) * 1099511628211u;
    }
    return h;
}

static look look_at(ag_tensor *t)
{
    look l = { .t = t, .grad = ag_grad_of(t) };
    l.values = sum_of(t);
    l.grad_values = sum_of(l.grad);
    l.version = ag_is_inference(t) ? -1 : ag_version(t);
    l.wants = ag_requires_grad(t);
    l.is_leaf = ag_is_leaf(t);
    return l;
}

static const char *changed(const look *was, const look *is)
{
    return was->values != is->values             ? "values"
           : was->version != is->version         ? "version"
           : was->grad != is->grad               ? "gradient"
           : was->grad_values != is->grad_values ? "values of the gradient"
           : was->wants != is->wants             ? "wish for a gradient"
           : was->is_leaf != is->is_leaf         ? "being a leaf"
                                                 : NULL;
}

static ag_tensor *new_leaf(ag_context *c, int k, bool wants)
{
    static const int64_t shapes[][2] = { { 3, 3 }, { 2, 3 }, { 3, 0 }, { 0, 0 } };
    static const int dims[] = { 2, 2, 1, 0 };
    double values[9];
    int64_t n = 1;
    for (int i = 0; i < dims[k % 4]; i++)
        n *= shapes[k % 4][i];
    for (int i = 0; i < 9; i++)
        values[i] = ((k * 7 + i * 5) % 19 - 9) / 8.0;
    return ag_array(c, ((ag_values){ values, (int)n }), ((ag_ints){ shapes[k % 4], dims[k % 4] }),
                    .dtype = AG_F64, .requires_grad = wants);
}

/* ---- what hooks do ---- */

static void act(slot *s);
static ag_tensor *scaled(const slot *s, ag_tensor *g)
{
    return g && s->action == 1 ? ag_mul(g, 0.5) : g;
}

static ag_tensor *on_gradient(ag_tensor *g, void *user)
{
    slot *s = user;
    act(s);
    return s->b % 2 || s->action == 1 ? scaled(s, g) : NULL;
}
static void on_before(ag_tensor **g, int n, void *user)
{
    slot *s = user;
    act(s);
    for (int i = 0; i < n; i++)
        g[i] = scaled(s, g[i]);
}
static void on_after(ag_tensor **in, int n, ag_tensor *const *out, int m, void *user)
{
    (void)out, (void)m;
    on_before(in, n, user);
}
static void on_written(ag_tensor *leaf, void *user)
{
    slot *s = user;
    (void)leaf;
    s->p->tainted = s->p->tainted || s->action;
    act(s);
}
static void on_several(ag_tensor *const *g, int n, void *user) { (void)g, (void)n, act(user); }
static void on_free(void *user)
{
    slot *s = user;
    if (!s->h)
        FAIL("a hook went twice");
    s->h = NULL;
}

static void add_hook(program *p, int kind, int a, int b, int action)
{
    ag_tensor *t = p->t[a];
    if (p->n_slots == SLOTS)
        return;
    slot *s = &p->slots[p->n_slots];
    *s = (slot){ p, NULL, action, a, b };
    switch (kind % 6) {
    case 0: s->h = ag_register_hook(t, on_gradient, s); break;
    case 1: s->h = ag_node_register_prehook(ag_grad_fn(t), on_before, s); break;
    case 2: s->h = ag_node_register_hook(ag_grad_fn(t), on_after, s); break;
    case 3: s->h = ag_register_post_accumulate_grad_hook(t, on_written, s); break;
    default:
        s->h = ag_register_multi_grad_hook(((ag_tensor *[]){ t, p->t[b] }), 2, on_several, s,
                                           .any = kind % 6 == 4);
    }
    if (!s->h)
        return;
    p->n_slots++;
    ag_hook_set_free(s->h, on_free);
}

static void act(slot *s)
{
    program *p = s->p;
    ag_tensor *t = p->t[s->a], *u = p->t[s->b];
    if (s->action < 2 || p->depth > 2)
        return;
    p->tainted = true;
    p->depth++;
    switch (s->action) {
    case 2: ag_fail(p->c, AG_ERR_VALUE, "a hook fails"); break;
    case 3: ag_hook_remove(s->h); break;
    case 4: ag_hook_remove(p->slots[(s->a * 7 + s->b) % (p->n_slots ? p->n_slots : 1)].h); break;
    case 5: add_hook(p, s->a + s->b, s->b, s->a, 1); break;
    case 6: ag_backward(t, .gradient = t, .retain_graph = true); break;
    case 7:
        AG_ENABLE_GRAD (p->c)
            ag_add_(t, u);
        break;
    case 8: put(p, s->a, new_leaf(p->c, s->b, true)); break;
    case 9: ag_zero_grad(t); break;
    case 10: ag_retain_grad(t); break;
    case 11: ag_backward(t, .gradient = t); break;
    case 12:
        AG_ENABLE_GRAD (p->c)
            put(p, s->b, ag_sin(t));
        break;
    default: break;
    }
    p->depth--;
}

/* ---- functions with rules of their own ---- */

static bool forward(ag_ctx *x, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const step *s = ag_ctx_user(x);
    ag_tensor *both[2] = { in[0], in[n - 1] };
    (void)m;
    switch (s->k % 7) {
    case 0: out[0] = ag_mul(in[0], in[1]); return ag_ctx_save(x, both, 2);
    case 1:
        ag_ctx_mark_dirty(x, in[0]);
        out[0] = ag_mul_(in[0], 0.5);
        return ag_ctx_save(x, in, 1) && out[0];
    case 2: out[0] = in[0]; return true;
    case 3: out[0] = ag_view(in[0], (ag_ints){ ag_shape(in[0]), ag_ndim(in[0]) }); return true;
    case 4: return ag_fail(ag_ctx_context(x), AG_ERR_VALUE, "forward fails");
    case 5:
        out[0] = ag_sin(in[0]);
        ag_ctx_set_materialize_grads(x, false);
        return ag_ctx_save(x, (ag_tensor *[]){ out[0], ag_clone(in[0]), NULL }, 3);
    default:
        out[0] = ag_tanh(in[0]);
        return ag_ctx_save(x, (ag_tensor *[]){ ag_view(out[0], AG_SHAPE(-1)) }, 1);
    }
}
static bool backward(ag_ctx *x, ag_tensor *const *g, ag_tensor **in)
{
    const step *s = ag_ctx_user(x);
    for (int i = 0; i < ag_ctx_n_saved(x); i++)
        ag_ctx_saved(x, i);
    if (s->k % 5 == 4)
        return ag_fail(ag_ctx_context(x), AG_ERR_VALUE, "backward fails");
    in[0] = g[0] ? ag_mul(g[0], 0.5) : NULL;
    in[1] = g[0] && s->b % 2 ? g[0] : NULL;
    return true;
}
static bool function(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const step *s = user;
    ag_tensor *y = ag_mul(ag_sin(in[0]), ag_sigmoid(in[n - 1]));
    if (s->k % 3 == 1)
        y = ag_mul_(ag_tanh(y), in[0]);
    if (s->k % 3 == 2)
        y = ag_add_(ag_select(ag_stack((ag_tensor *[]){ y, y }, 2, 0), 0, 1), in[0]);
    for (int j = 0; j < m; j++)
        out[j] = y;
    return y != NULL;
}
static bool turn(int64_t number, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    (void)number;
    return function(in, n, out, 1, user);
}
static bool apply(program *p, step *s)
{
    static const ag_custom f = { .forward = forward, .backward = backward };
    ag_tensor *y = NULL;
    p->tainted = p->tainted || s->k % 7 == 1; /* forward writes */
    if (!ag_apply(&f, (ag_tensor *[]){ p->t[s->a], p->t[s->b] }, 2, &y, 1, s))
        return false;
    put(p, s->d, y);
    return true;
}

static void *pack(ag_tensor *t, void *user) { return (void)user, ag_retain(t); }
static ag_tensor *unpack(void *packed, void *user) { return (void)user, packed; }
static void free_packed(void *packed, void *user) { (void)user, ag_release(packed); }

/* ---- one step ---- */

static ag_tensor *pointwise(ag_tensor *a, ag_tensor *b, int k)
{
    switch (k % 10) {
    case 0: return ag_sin(a);
    case 1: return ag_tanh(a);
    case 2: return ag_exp(ag_tanh(a));
    case 3: return ag_mul(a, b);
    case 4: return ag_add(a, b);
    case 5: return ag_sub(0.5, a);
    case 6: return ag_div(a, ag_add(ag_square(b), 1));
    case 7: return ag_maximum(a, b);
    case 8: return ag_where(ag_gt(a, 0), a, b);
    default: return ag_sigmoid(a);
    }
}
static ag_tensor *structured(ag_tensor *a, ag_tensor *b, int k)
{
    switch (k % 8) {
    case 0: return ag_matmul(a, b);
    case 1: return ag_softmax(a, -1);
    case 2: return ag_cumsum(a, -1);
    case 3: return ag_sum(a, .dims = AG_DIMS(-1), .keepdim = true);
    case 4: return ag_mean(a);
    case 5: return ag_clone(a);
    case 6: return ag_logsumexp(a, .dims = AG_DIMS(-1));
    default: return ag_select(ag_stack((ag_tensor *[]){ a, b }, 2, 0), 0, k / 8 % 2);
    }
}
static ag_tensor *view(ag_tensor *a, int k)
{
    ag_tensor *parts[4] = { NULL };
    switch (k % 9) {
    case 0: return ag_select(a, 0, 0);
    case 1: return ag_slice(a, 0, 1, 3, 1);
    case 2: return ag_transpose(a, 0, 1);
    case 3: return ag_diagonal(a, 0, 0, 1);
    case 4: return ag_split(a, 1, 0, parts, 4) > 0 ? parts[0] : NULL;
    case 5: return ag_unbind(a, 0, parts, 4) > 0 ? parts[k / 9 % 2] : NULL;
    case 6: return ag_expand(a, AG_SHAPE(3, 3));
    case 7: return ag_view(a, AG_SHAPE(-1));
    default: return ag_select(a, -1, 1);
    }
}
static ag_tensor *write(ag_tensor *a, ag_tensor *b, int k)
{
    switch (k % 9) {
    case 0: return ag_add_(a, b);
    case 1: return ag_mul_(a, b);
    case 2: return ag_sin_(a);
    case 3: return ag_copy_(a, b);
    case 4: return ag_zero_(a);
    case 5: return ag_add_(a, ag_mul(a, a));
    case 6: return ag_mul_(a, a);
    case 7: return ag_tanh_(ag_select(a, 0, 0));
    default: return ag_exp_(ag_tanh_(a));
    }
}

static bool tame_step(program *p, step *s, ag_tensor **y)
{
    ag_tensor *a = p->t[s->a], *b = p->t[s->b];
    switch (s->kind) {
    case 0:
    case 1: *y = pointwise(a, b, s->k); break;
    case 2: *y = structured(a, b, s->k); break;
    case 3:
    case 4: *y = view(a, s->k); break;
    case 5:
    case 6: write(a, b, s->k); break;
    case 7: *y = ag_detach(a); break;
    default: return false;
    }
    return true;
}

enum { TAME = 8, KINDS = 30 };

static void pass(program *p, const step *s)
{
    ag_tensor *a = p->t[s->a], *b = p->t[s->b], *g[2];
    const bool graph = s->k % 4 == 1, keeps = s->k % 4 == 2;
    if (s->kind == 20 || s->kind == 21)
        ag_backward(a, .gradient = a, .create_graph = graph, .retain_graph = keeps);
    else if (s->kind == 22)
        ag_backward(a, .gradient = a, .retain_graph = true, .inputs = &b, .n_inputs = 1);
    else if (ag_grad(&a, 1, ((ag_tensor *[]){ b, p->t[s->d] }), 2, g, .grad_outputs = &a,
                     .create_graph = graph, .retain_graph = keeps, .allow_unused = s->k % 3,
                     .materialize_grads = s->k % 3 == 2))
        put(p, s->d, g[0]);
}

static void saved_hooks(program *p, const step *s)
{
    ag_node *n = s->k % 4 == 0 ? ag_grad_fn(p->t[s->a]) : NULL;
    if (s->k % 4 == 0) {
        if (ag_node_n_saved(n) <= 0)
            return;
        ag_node_saved_set_hooks(n, s->d % ag_node_n_saved(n), pack, unpack, NULL,
                                .free_packed = free_packed);
    } else if (s->k % 4 == 1 && p->pushed > 0) {
        ag_saved_hooks_pop(p->c);
        p->pushed--;
    } else if (s->k % 4 == 2) {
        p->pushed += ag_saved_offload_push(p->c, harness_path(""), .min_bytes = s->k % 3 ? 0 : 40);
    } else {
        p->pushed += ag_saved_hooks_push(p->c, pack, unpack, NULL, .free_packed = free_packed);
    }
}

static void wild_step(program *p, step *s)
{
    ag_tensor *a = p->t[s->a], *b = p->t[s->b], *y = NULL, *dy = NULL;
    ag_tensor *in[2] = { a, b };
    switch (s->kind) {
    case 8: put(p, s->d, new_leaf(p->c, s->k, s->k % 3 > 0)); break;
    case 9: ag_requires_grad_(a, s->k % 4 > 0); break;
    case 10: ag_retain_grad(a); break;
    case 11:
    case 12:
    case 13: add_hook(p, s->k, s->a, s->b, s->d == 0 ? 1 : (s->k + s->d) % 13); break;
    case 14: ag_hook_remove(p->n_slots ? p->slots[s->k % p->n_slots].h : NULL); break;
    case 15:
    case 16: apply(p, s); break;
    case 17: saved_hooks(p, s); break;
    case 18:
        if (s->k % 2
                ? ag_checkpoint(function, in, 2, &y, 1, s)
                : ag_checkpoint_sequence(turn, 1 + s->k % 5, in, 1, &y, s, .snapshots = s->k % 3))
            put(p, s->d, y);
        break;
    case 19:
        if (ag_jvp(function, in, 2, in, &y, 1, &dy, s) && dy)
            put(p, s->d, s->k % 2 ? y : dy);
        break;
    case 20:
    case 21:
    case 22:
    case 23: pass(p, s); break;
    case 24: ag_zero_grad(a); break;
    case 25: ag_set_grad(a, b); break;
    case 26: ag_detach_(a); break;
    case 27:
        if (ag_node_n_saved(ag_grad_fn(a)) > 0)
            put(p, s->d, ag_node_saved(ag_grad_fn(a), 0));
        break;
    case 28: put(p, s->d, s->k % 2 ? ag_grad_of(a) : ag_base_of(a)); break;
    default:
        if (ag_vjp(function, in, 2, &y, 1, in, (ag_tensor *[]){ NULL, NULL }, s))
            put(p, s->d, y);
    }
}

static void run_step(program *p, step *s)
{
    ag_context *c = p->c;
    const bool anomaly = s->mode == 2 && !p->tame && ag_set_anomaly_enabled(c, true);
    const bool grad = ag_set_grad_enabled(c, s->mode != 0),
               inference = ag_set_inference_mode(c, s->mode == 1 && !p->tame);
    AG_SCOPE (c) {
        ag_tensor *y = NULL;
        if (!tame_step(p, s, &y))
            wild_step(p, s);
        put(p, s->d, y);
    }
    ag_set_anomaly_enabled(c, anomaly);
    ag_set_inference_mode(c, inference);
    ag_set_grad_enabled(c, grad);
}

static int outcome(ag_context *c)
{
    const int code = ag_error(c) ? (int)ag_error(c)->code : 0;
    ag_error_clear(c);
    return code;
}

/* ---- wild programs ---- */

typedef struct {
    int outcome[STEPS];
    uint64_t values[STEPS];
} trace;

static void begin(program *p, ag_context *c)
{
    *p = (program){ .c = c };
    AG_SCOPE (c)
        for (int i = 0; i < POOL; i++)
            put(p, i, new_leaf(c, i, i < LEAVES || i % 2));
}

static void end(program *p)
{
    while (p->pushed-- > 0)
        ag_saved_hooks_pop(p->c);
    for (int i = 0; i < POOL; i++) {
        ag_tensor *t = p->t[i];
        p->t[i] = NULL;
        ag_release(t);
    }
}

/* Runs the step while memory fails. When it comes through all the same, *code is how; else all is as it
 * was before, and false. */
static bool disturb(program *p, step *s, uint64_t seed, int i, int *code)
{
    look was[POOL];
    ag_tensor *before[POOL];
    for (int k = 0; k < POOL; k++) {
        was[k] = look_at(p->t[k]);
        before[k] = ag_retain(p->t[k]);
    }
    const int slots = p->n_slots, pushed = p->pushed;
    ag_memory_fail_at(p->c, 1 + draw(12), draw(2));
    run_step(p, s);
    ag_memory_fail_at(p->c, 0, false);
    *code = outcome(p->c);
    for (int k = 0; k < POOL && *code == AG_ERR_MEMORY && !p->tainted; k++) {
        const look is = look_at(before[k]);
        const char *what = changed(&was[k], &is);
        if (what)
            FAIL("seed %llu, step %d (kind %d, k %d) failed and changed the %s of tensor %d",
                 (unsigned long long)seed, i, s->kind, s->k, what, k);
        if (p->t[k] != before[k] || p->n_slots != slots || p->pushed != pushed)
            FAIL("seed %llu, step %d: it failed and did its work", (unsigned long long)seed, i);
    }
    for (int k = 0; k < POOL; k++)
        ag_release(before[k]);
    return *code != AG_ERR_MEMORY;
}

/* Steps of one call that may change tensors. */
static bool is_one_call(const step *s)
{
    return s->kind < TAME ? s->kind < 5 || s->kind == 7 || s->k % 9 < 7 : true;
}

static uint64_t state_of(const program *p)
{
    uint64_t h = 0;
    for (int i = 0; i < POOL; i++)
        h = h * 31 + sum_of(p->t[i]) + 7 * sum_of(ag_grad_of(p->t[i])) + ag_requires_grad(p->t[i]);
    return h;
}

static void run_wild(ag_context *c, const step *steps, uint64_t seed, trace *t, bool disturbed)
{
    static program held;
    program *p = &held;
    begin(p, c);
    for (int i = 0; i < STEPS; i++) {
        step s = steps[i];
        static step kept[STEPS]; /* applications refer to theirs */
        kept[i] = s;
        int code;
        if (!disturbed || !is_one_call(&s) || draw(2) || !disturb(p, &kept[i], seed, i, &code)) {
            run_step(p, &kept[i]);
            code = outcome(c);
        }
        if (code == AG_ERR_MEMORY || code == AG_ERR_INTERNAL)
            FAIL("seed %llu, step %d: code %d", (unsigned long long)seed, i, code);
        if (!disturbed) {
            t->outcome[i] = code;
            t->values[i] = state_of(p);
        } else if (!p->tainted && (code != t->outcome[i] || state_of(p) != t->values[i])) {
            FAIL("seed %llu, step %d (kind %d, k %d): code %d, undisturbed %d%s",
                 (unsigned long long)seed, i, s.kind, s.k, code, t->outcome[i],
                 state_of(p) != t->values[i] ? "; other values" : "");
        }
    }
    end(p);
}

/* ---- tame programs ---- */

typedef enum { PLAIN, PACKED, OFFLOADED, RECOMPUTED, CHECKED, ANOMALY, WAYS } way;

typedef struct {
    const step *steps;
    bool sited;
} tame;

static bool compute(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const tame *f = user;
    ag_context *c = ag_context_of(in[0]);
    program p = { .c = c, .tame = true };
    ag_tensor *loss = NULL;
    (void)n, (void)m;
    for (int i = 0; i < POOL; i++)
        put(&p, i, i < LEAVES ? ag_clone(in[i]) : new_leaf(c, i, false));
    for (int i = 0; i < STEPS / 2; i++) {
        step s = f->steps[i];
        if (f->sited)
            ag__here_context(c, __FILE__, i);
        s.kind %= TAME;
        run_step(&p, &s);
        ag_error_clear(c);
    }
    for (int i = 0; i < POOL; i++) {
        ag_tensor *part = ag_mean(ag_sin(p.t[i]));
        loss = loss ? ag_add(loss, part) : part;
    }
    end(&p);
    return (out[0] = loss) != NULL;
}

/* The gradients by one way, and a number for all of them; 0: there are none. */
static uint64_t gradients(const step *steps, way how)
{
    uint64_t h = 0;
    tame f = { steps, how == CHECKED };
    ag_context *c = ag_open();
    ag_tensor *in[LEAVES], *loss = NULL, *g[LEAVES];
    for (int i = 0; i < LEAVES; i++)
        in[i] = new_leaf(c, i, true);
    ag_set_anomaly_enabled(c, how == ANOMALY);
    if (how == PACKED)
        ag_saved_hooks_push(c, pack, unpack, NULL, .free_packed = free_packed);
    if (how == OFFLOADED)
        ag_saved_offload_push(c, harness_path(""));
    bool ok = how == RECOMPUTED ? ag_checkpoint(compute, in, LEAVES, &loss, 1, &f)
                                : compute(in, LEAVES, &loss, 1, &f);
    if (how == PACKED || how == OFFLOADED)
        ag_saved_hooks_pop(c);
    ok = ok && ag_requires_grad(loss) &&
         ag_grad(&loss, 1, in, LEAVES, g, .allow_unused = true, .retain_graph = true);
    for (int i = 0; i < LEAVES && ok; i++)
        h = h * 31 + 1 + sum_of(g[i]);
    if (ok && ag_backward(loss))
        for (int i = 0; i < LEAVES; i++)
            h = h * 31 + 1 + sum_of(ag_grad_of(in[i]));
    ag_close(c);
    return h;
}

/* ---- seeds ---- */

static int setting(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

static void draw_steps(step *steps, uint64_t seed)
{
    draw_state = seed * 0x9E3779B97F4A7C15u + 1;
    for (int i = 0; i < 4; i++)
        draw(2);
    for (int i = 0; i < STEPS; i++)
        steps[i] =
            (step){ draw(KINDS), draw(POOL), draw(POOL), draw(POOL), draw(1 << 16), draw(20) };
}

static size_t held;
static void *count_allocate(size_t bytes, void *user)
{
    (void)user;
    held += bytes;
    return malloc(bytes);
}
static void count_release(void *block, size_t bytes, void *user)
{
    (void)user;
    held -= bytes;
    free(block);
}

static void t_wild_programs(ag_context *unused)
{
    static const ag_allocator counted = { count_allocate, count_release, NULL };
    static trace t;
    step steps[STEPS];
    (void)unused;
    if (harness_faults())
        return;
    const int first = setting("AG_STRESS_FIRST", 1), n = setting("AG_STRESS_SEEDS", SEEDS);
    for (int seed = first; seed < first + n; seed++)
        for (int disturbed = 0; disturbed < 2; disturbed++) {
            draw_steps(steps, (uint64_t)seed);
            held = 0;
            ag_context *c = ag_open(.allocator = &counted);
            CHECK(c);
            run_wild(c, steps, (uint64_t)seed, &t, disturbed);
            ag_close(c);
            if (held)
                FAIL("seed %d%s: %zu bytes were not given back", seed,
                     disturbed ? ", disturbed" : "", held);
        }
}

static void t_tame_programs(ag_context *unused)
{
    step steps[STEPS];
    int told = 0;
    (void)unused;
    if (harness_faults())
        return;
    const int first = setting("AG_STRESS_FIRST", 1), n = setting("AG_STRESS_SEEDS", SEEDS);
    for (int seed = first; seed < first + n; seed++) {
        draw_steps(steps, (uint64_t)seed);
        const uint64_t plain = gradients(steps, PLAIN);
        told += plain != 0;
        for (way how = PACKED; how < WAYS && plain; how++)
            if (gradients(steps, how) != plain)
                FAIL("seed %d: other gradients by way %d", seed, (int)how);
    }
    CHECK(told > n / 4);
}

int main(int argc, char **argv) { return RUN(TEST(t_wild_programs), TEST(t_tame_programs)); }
