/*
 * Sequences of steps as one node: the gradients of the plain loop for any number of steps and
 * snapshots, with the number of steps run and of states kept that the schedule promises.
 */
#include "harness.h"

static ag_tensor *vector(ag_context *c, bool requires_grad)
{
    return ag_array(c, AG_VALUES(0.3, -0.7, 1.1), AG_SHAPE(3), .dtype = AG_F64,
                    .requires_grad = requires_grad);
}

static void check_same(ag_tensor *a, ag_tensor *b)
{
    CHECK((a = ag_contiguous(a)) && (b = ag_contiguous(b)) && ag_numel(a) == ag_numel(b));
    const double *x = ag_data(a), *y = ag_data(b);
    for (int64_t i = 0; i < ag_numel(a); i++)
        CHECK_CLOSE(x[i], y[i], 0);
}

static size_t saved_bytes(ag_context *c)
{
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    return s.saved_bytes;
}

/* exp(sin(x)) w */
static bool smooth(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    out[0] = ag_mul(ag_exp(ag_sin(in[0])), user);
    return out[0] != NULL;
}

typedef struct {
    ag_tensor *w, *w2; /* captured: w2 = w + w */
    int runs;
    int64_t fail_at; /* a step that fails, -1: none */
    int fail_run;    /* at this call of it */
    bool noise;
    size_t base, most; /* saved bytes before the call, and at the most at the beginning of a step */
} physics;

/* (x, v, t) -> (x + v / 8, v - w sin(x) / 8 + w2 v / 16, t): t is passed on as it is. */
static bool swing(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    physics *p = user;
    (void)n;
    ag_context *c = ag_context_of(in[0]);
    const size_t saved = saved_bytes(c) - p->base;
    p->most = saved > p->most ? saved : p->most;
    p->runs++;
    if (step == p->fail_at && --p->fail_run == 0)
        return ag_fail(c, AG_ERR_IO, "step %d lost power", (int)step);
    ag_tensor *push = ag_sub(ag_mul(ag_mul(in[1], p->w2), 1.0 / 16),
                             ag_mul(ag_mul(ag_sin(in[0]), p->w), 1.0 / 8));
    if (p->noise)
        push = ag_mul(push, ag_rand_like(push));
    out[0] = ag_add(in[0], ag_mul(in[1], 1.0 / 8));
    out[1] = ag_add(in[1], push);
    out[2] = in[2];
    return out[0] && out[1];
}

static bool plain_steps(ag_step_fn fn, int64_t steps, ag_tensor *const *in, int n, ag_tensor **out,
                        void *user)
{
    ag_tensor *state[4];
    for (int i = 0; i < n; i++)
        out[i] = in[i];
    for (int64_t step = 0; step < steps; step++) {
        memcpy(state, out, (size_t)n * sizeof *state);
        if (!fn(step, state, n, out, user))
            return false;
    }
    return true;
}

static physics physics_new(ag_context *c)
{
    physics p = { .w = ag_scalar(c, 0.8, .dtype = AG_F64, .requires_grad = true), .fail_at = -1 };
    p.w2 = ag_add(p.w, p.w);
    return p;
}

static void state_new(ag_context *c, ag_tensor **in)
{
    in[0] = vector(c, true);
    in[1] =
        ag_array(c, AG_VALUES(0.1, 0.2, -0.4), AG_SHAPE(3), .dtype = AG_F64, .requires_grad = true);
    in[2] = ag_arange(c, 0, 5, 1, .dtype = AG_I64);
}

/* A number that depends on all of the state. */
static ag_tensor *measure(ag_tensor *const *out)
{
    return ag_add(ag_sum(ag_mul(out[0], out[1])), ag_sum(ag_sin(out[1])));
}

static void check_sequence(ag_context *c, int64_t steps, int snapshots)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[3], *y, *want[3], *plain[3], *found[3];
    state_new(c, in);
    memcpy(want, (ag_tensor *[]){ in[0], in[1], p.w }, sizeof want);
    CHECK(plain_steps(swing, steps, in, 3, out, &p) && (y = measure(out)));
    const double value = ag_item(y);
    CHECK(ag_grad(&y, 1, want, 3, plain, .allow_unused = true, .retain_graph = true));
    p.runs = 0;
    p.base = saved_bytes(c);
    p.most = 0;
    CHECK(ag_checkpoint_sequence(swing, steps, in, 3, out, &p, .snapshots = snapshots));
    CHECK(y = measure(out));
    CHECK_CLOSE(ag_item(y), value, 0);
    CHECK_INT((int64_t)ag_dtype_of(out[2]), AG_I64);
    p.base += 72; /* what measure saved */
    CHECK(ag_grad(&y, 1, want, 3, found, .allow_unused = true));
    CHECK_INT(p.runs, ag_checkpoint_sequence_cost(steps, snapshots) + steps);
    for (int i = 0; i < 3; i++) {
        CHECK((found[i] != NULL) == (plain[i] != NULL));
        if (found[i])
            check_same(found[i], plain[i]);
    }
    /* t is the same storage in all states; x and v make 48 bytes, the first ones included */
    const int64_t kept = snapshots < steps ? snapshots : steps;
    CHECK((int64_t)p.most <= kept * 88);
    CHECK_INT((int64_t)saved_bytes(c), (int64_t)p.base - 72);
}

static void t_sequence(ag_context *c)
{
    const int most = harness_faults() ? 4 : 14;
    for (int steps = 0; steps <= most; steps++)
        for (int snapshots = 1; snapshots <= most / 2; snapshots++)
            AG_SCOPE (c)
                check_sequence(c, steps, snapshots);
}

static void t_sequence_long(ag_context *c)
{
    if (harness_faults())
        return;
    AG_SCOPE (c)
        check_sequence(c, 300, 3);
    AG_SCOPE (c)
        check_sequence(c, 100, 17);
    AG_SCOPE (c)
        check_sequence(c, 40, 1);
}

static void t_sequence_budget(ag_context *c)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[3], *y, *g;
    state_new(c, in);
    p.base = saved_bytes(c);
    /* a state has 24 + 24 + 40 bytes */
    CHECK(ag_checkpoint_sequence(swing, 20, in, 3, out, &p, .budget_bytes = 4 * 88 + 87));
    CHECK_INT((int64_t)(saved_bytes(c) - p.base), 4 * 88);
    CHECK_INT((int64_t)p.most, 3 * 88); /* the inputs are saved at the end */
    y = measure(out);
    p.base += 72;
    CHECK(ag_grad(&y, 1, in, 1, &g));
    CHECK_INT(p.runs, ag_checkpoint_sequence_cost(20, 4) + 20);
    CHECK_INT((int64_t)p.most, 4 * 88);
    p.runs = 0;
    p.base = saved_bytes(c);
    CHECK(ag_checkpoint_sequence(swing, 20, in, 3, out, &p, .budget_bytes = 1)); /* one at least */
    y = measure(out);
    CHECK(ag_grad(&y, 1, in, 1, &g));
    CHECK_INT(p.runs, ag_checkpoint_sequence_cost(20, 1) + 20);
    p.runs = 0;
    CHECK(ag_checkpoint_sequence(swing, 20, in, 3, out, &p)); /* no limit: each step runs twice */
    y = measure(out);
    CHECK(ag_grad(&y, 1, in, 1, &g));
    CHECK_INT(p.runs, 40);
}

/* A second pass begins a new plan from the inputs. */
static void t_sequence_again(ag_context *c)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[3], *y, *g[2];
    state_new(c, in);
    CHECK(ag_checkpoint_sequence(swing, 9, in, 3, out, &p, .snapshots = 2));
    y = measure(out);
    for (int i = 0; i < 2; i++)
        CHECK(ag_grad(&y, 1, in, 1, &g[i], .retain_graph = i == 0));
    check_same(g[0], g[1]);
    CHECK_ERROR(ag_grad(&y, 1, in, 1, &g[0]), AG_ERR_GRAD,
                "Trying to backward through the graph a second time");
}

/* Leaves that a step captured get their gradients, or not, as they do without the sequence. */
static void t_sequence_captured(ag_context *c)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[3], *y, *g;
    state_new(c, in);
    CHECK(plain_steps(swing, 5, in, 3, out, &p) && (y = measure(out)));
    CHECK(ag_grad(&y, 1, &p.w, 1, &g, .retain_graph = true));
    for (int i = 0; i < 2; i++)
        CHECK(ag_requires_grad_(in[i], false));
    CHECK(ag_checkpoint_sequence(swing, 5, in, 3, out, &p, .snapshots = 2));
    CHECK(ag_requires_grad(out[0]) && ag_requires_grad(out[1]) && !ag_requires_grad(out[2]));
    CHECK(ag_backward(measure(out)));
    check_same(ag_grad_of(p.w), g);
    CHECK(!ag_grad_of(in[0]));
}

/* The state is also captured. */
static bool captures_input(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    (void)n, (void)step;
    out[0] = ag_mul(ag_sin(in[0]), user);
    return out[0] != NULL;
}

static void t_sequence_captures_input(ag_context *c)
{
    ag_tensor *x = vector(c, true), *a = ag_mul(x, 1.5), *y, *z, *g[2][2], *h[2][2];
    CHECK(plain_steps(captures_input, 4, &a, 1, &y, a));
    CHECK(ag_checkpoint_sequence(captures_input, 4, &a, 1, &z, a, .snapshots = 2));
    ag_tensor *s[] = { ag_sum(y), ag_sum(z) }, *want[] = { x, a };
    for (int i = 0; i < 2; i++) {
        CHECK(ag_grad(&s[i], 1, want, 2, g[i], .create_graph = true));
        ag_tensor *q = ag_sum(ag_mul(g[i][0], g[i][1]));
        CHECK(ag_grad(&q, 1, want, 2, h[i], .retain_graph = true));
    }
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 3; k++) {
            CHECK_CLOSE(ag_at(g[1][i], k), ag_at(g[0][i], k), 1e-14);
            CHECK_CLOSE(ag_at(h[1][i], k), ag_at(h[0][i], k), 1e-13);
        }
}

/* A step whose result is a leaf that it captured, or a view of one. */
static bool returns_captured(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    (void)n;
    ag_tensor *w = user;
    out[0] = step == 1 ? w : step == 2 ? ag_view(w, AG_SHAPE(3)) : ag_sin(in[0]);
    out[1] = ag_mul(in[1], in[0]);
    return out[0] && out[1];
}

static void t_sequence_returns_captured(ag_context *c)
{
    for (int64_t steps = 2; steps < 5; steps++) {
        ag_tensor *x = vector(c, true), *w = vector(c, true), *in[] = { x, x }, *want[] = { x, w };
        ag_tensor *y[2], *z[2], *plain[2], *found[2];
        CHECK(plain_steps(returns_captured, steps, in, 2, y, w));
        CHECK(ag_checkpoint_sequence(returns_captured, steps, in, 2, z, w, .snapshots = 1));
        ag_tensor *a = ag_sum(ag_add(y[0], y[1])), *b = ag_sum(ag_add(z[0], z[1]));
        CHECK(ag_grad(&a, 1, want, 2, plain));
        CHECK(ag_grad(&b, 1, want, 2, found));
        for (int i = 0; i < 2; i++)
            for (int k = 0; k < 3; k++)
                CHECK_CLOSE(ag_at(found[i], k), ag_at(plain[i], k), 1e-15);
    }
}

/* One tensor is two of the inputs. */
static bool exchange(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    (void)n, (void)step, (void)user;
    out[0] = ag_mul(in[0], in[1]);
    out[1] = ag_sin(in[0]);
    return out[0] && out[1];
}

static void t_sequence_same_input_twice(ag_context *c)
{
    ag_tensor *x = vector(c, true), *in[] = { x, x }, *y[2], *z[2], *gy, *gz;
    CHECK(plain_steps(exchange, 3, in, 2, y, NULL));
    CHECK(ag_checkpoint_sequence(exchange, 3, in, 2, z, NULL, .snapshots = 1));
    ag_tensor *a = ag_sum(y[0]), *b = ag_sum(z[0]);
    for (int graph = 1; graph >= 0; graph--) {
        CHECK(ag_grad(&a, 1, &x, 1, &gy, .create_graph = graph));
        CHECK(ag_grad(&b, 1, &x, 1, &gz, .create_graph = graph));
        for (int k = 0; k < 3; k++)
            CHECK_CLOSE(ag_at(gz, k), ag_at(gy, k), 1e-14);
    }
}

/* Only one of the results is used, and one is never differentiable. */
static void t_sequence_undefined(ag_context *c)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[3], *y, *plain[2], *found[2];
    state_new(c, in);
    CHECK(plain_steps(swing, 1, in, 3, out, &p) && (y = ag_sum(out[0])));
    CHECK(ag_grad(&y, 1, in, 2, plain, .retain_graph = true));
    CHECK(ag_checkpoint_sequence(swing, 1, in, 3, out, &p) && (y = ag_sum(out[0])));
    CHECK(ag_grad(&y, 1, in, 2, found, .retain_graph = true));
    check_same(found[0], plain[0]);
    check_same(found[1], plain[1]);
    CHECK(ag_grad(&y, 1, &p.w, 1, found, .allow_unused = true));
    CHECK(!found[0]); /* one step does not bring the push into x */
}

static void t_sequence_random(ag_context *c)
{
    physics p = physics_new(c);
    p.noise = true;
    ag_tensor *in[3], *out[3], *y, *plain[2], *found[2], *next;
    state_new(c, in);
    ag_manual_seed(c, 5);
    CHECK(plain_steps(swing, 7, in, 3, out, &p) && (y = measure(out)));
    CHECK(next = ag_rand(c, AG_SHAPE(1)));
    CHECK(ag_grad(&y, 1, in, 2, plain, .retain_graph = true));
    ag_manual_seed(c, 5);
    CHECK(ag_checkpoint_sequence(swing, 7, in, 3, out, &p, .snapshots = 2) && (y = measure(out)));
    for (int again = 1; again >= 0; again--) {
        CHECK(ag_grad(&y, 1, in, 2, found, .retain_graph = again, .create_graph = again));
        check_same(found[0], plain[0]);
        check_same(found[1], plain[1]);
    }
    CHECK_CLOSE(ag_item(ag_rand(c, AG_SHAPE(1))), ag_item(next), 0);
}

static void t_sequence_higher_order(ag_context *c)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[2][3], *g[2][3], *h[2][3], *want[3];
    state_new(c, in);
    memcpy(want, (ag_tensor *[]){ in[0], in[1], p.w }, sizeof want);
    CHECK(plain_steps(swing, 4, in, 3, out[0], &p));
    CHECK(ag_checkpoint_sequence(swing, 4, in, 3, out[1], &p, .snapshots = 2));
    for (int i = 0; i < 2; i++) {
        ag_tensor *y = measure(out[i]);
        CHECK(ag_grad(&y, 1, want, 3, g[i], .create_graph = true));
        ag_tensor *s = ag_add(ag_sum(ag_mul(g[i][0], g[i][1])), g[i][2]);
        CHECK(ag_grad(&s, 1, want, 3, h[i], .retain_graph = true));
    }
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < ag_numel(want[i]); k++) {
            CHECK_CLOSE(((double *)ag_data(g[1][i]))[k], ((double *)ag_data(g[0][i]))[k], 1e-14);
            CHECK_CLOSE(((double *)ag_data(h[1][i]))[k], ((double *)ag_data(h[0][i]))[k], 1e-13);
        }
}

/* The weight is a part of the state, since the tensors of a check do not live as long as graphs. */
static bool weighted_swing(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    physics p = { .w = in[3], .w2 = ag_mul(in[3], 2), .fail_at = -1 };
    (void)user;
    out[3] = in[3];
    return swing(step, in, n, out, &p);
}

static bool swing_of_inputs(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *state[4];
    (void)m;
    if (!ag_checkpoint_sequence(weighted_swing, 4, in, n, state, user, .snapshots = 2))
        return false;
    memcpy(out, state, 2 * sizeof *out);
    return true;
}

static void t_sequence_all_modes(ag_context *c)
{
    if (harness_faults())
        return; /* long, and its parts are in the other tests */
    ag_tensor *in[4];
    state_new(c, in);
    in[3] = ag_scalar(c, 0.8, .dtype = AG_F64, .requires_grad = true);
    CHECK(ag_gradcheck(swing_of_inputs, in, 4, NULL, .forward_mode = true, .batched = true,
                       .n_outputs = 2));
    CHECK(ag_gradgradcheck(swing_of_inputs, in, 4, NULL, .n_outputs = 2));
}

/* A step that fails, in the call and at each point of the pass, changes nothing. */
static void t_sequence_fails(ag_context *c)
{
    for (int run = 1; run <= 5; run++) {
        physics p = physics_new(c);
        ag_tensor *in[3], *out[3], *y, *g[2];
        state_new(c, in);
        const size_t before = saved_bytes(c);
        p.fail_at = 2;
        p.fail_run = run;
        if (run == 1) {
            CHECK_ERROR(ag_checkpoint_sequence(swing, 6, in, 3, out, &p, .snapshots = 1), AG_ERR_IO,
                        "step 2 lost power");
            CHECK_INT((int64_t)saved_bytes(c), (int64_t)before);
            continue;
        }
        CHECK(ag_checkpoint_sequence(swing, 6, in, 3, out, &p, .snapshots = 1));
        y = measure(out);
        WATCH(in[0]);
        CHECK_ERROR(ag_backward(y), AG_ERR_IO, "step 2 lost power");
        UNWATCH();
        CHECK(ag_grad(&y, 1, in, 2, g, .retain_graph = true));
        CHECK(ag_backward(y));
        check_same(ag_grad_of(in[0]), g[0]);
        CHECK_INT((int64_t)saved_bytes(c), (int64_t)before);
    }
}

static int hook_calls;
static ag_tensor *count_hook(ag_tensor *grad, void *user)
{
    (void)grad, (void)user;
    hook_calls++;
    return NULL;
}

/* Hooks and retained gradients of captured tensors see the whole gradient, once. */
static void t_sequence_hooks(ag_context *c)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[3], *y, *plain[2], *want[] = { p.w, p.w2 };
    state_new(c, in);
    CHECK(plain_steps(swing, 5, in, 3, out, &p) && (y = measure(out)));
    CHECK(ag_grad(&y, 1, want, 2, plain));
    CHECK(ag_checkpoint_sequence(swing, 5, in, 3, out, &p, .snapshots = 2));
    CHECK(ag_register_hook(p.w, count_hook, NULL));
    CHECK(ag_register_hook(p.w2, count_hook, NULL));
    CHECK(ag_retain_grad(p.w2));
    hook_calls = 0;
    CHECK(ag_backward(measure(out)));
    CHECK_INT(hook_calls, 2);
    check_same(ag_grad_of(p.w), plain[0]);
    check_same(ag_grad_of(p.w2), plain[1]);
}

/* The inputs go through hooks; the states in between have none to go through. */
static void *pack_count(ag_tensor *t, void *user)
{
    ++*(int *)user;
    return ag_retain(t);
}
static ag_tensor *unpack_same(void *packed, void *user)
{
    (void)user;
    return packed;
}
static void free_same(void *packed, void *user)
{
    (void)user;
    ag_release(packed);
}

static void t_sequence_under_hooks(ag_context *c)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[3], *y, *plain[2], *found[2];
    int packs = 0;
    state_new(c, in);
    CHECK(plain_steps(swing, 5, in, 3, out, &p) && (y = measure(out)));
    CHECK(ag_grad(&y, 1, in, 2, plain));
    CHECK(ag_saved_hooks_push(c, pack_count, unpack_same, &packs, .free_packed = free_same));
    const bool ok = ag_checkpoint_sequence(swing, 5, in, 3, out, &p, .snapshots = 2);
    ag_saved_hooks_pop(c);
    CHECK(ok);
    CHECK_INT(packs, 3);
    p.runs = 0;
    CHECK(ag_grad((y = measure(out), &y), 1, in, 2, found));
    CHECK_INT(packs, 3);
    CHECK_INT(p.runs, ag_checkpoint_sequence_cost(4, 2) + 5); /* a plan of its own */
    check_same(found[0], plain[0]);
    check_same(found[1], plain[1]);
}

static bool grows(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    (void)n, (void)user;
    out[0] = step == 1 ? ag_cat((ag_tensor *[]){ in[0], in[0] }, 2, 0) : ag_sin(in[0]);
    return out[0] != NULL;
}

static bool forgets(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    (void)n, (void)user;
    out[0] = step == 1 ? NULL : ag_sin(in[0]);
    return true;
}

static void t_sequence_bad_calls(ag_context *c)
{
    ag_tensor *x = vector(c, true), *y;
    CHECK_ERROR(ag_checkpoint_sequence(grows, 3, &x, 1, &y, NULL), AG_ERR_SHAPE,
                "output 0 of step 1 has shape [6] and dtype float64; the state has shape [3]");
    CHECK_ERROR(ag_checkpoint_sequence(forgets, 3, &x, 1, &y, NULL), AG_ERR_VALUE,
                "step 1 left output 0 NULL");
    CHECK_ERROR(ag_checkpoint_sequence(grows, -1, &x, 1, &y, NULL), AG_ERR_VALUE, "out of range");
    CHECK_ERROR(ag_checkpoint_sequence(NULL, 1, &x, 1, &y, NULL), AG_ERR_VALUE, "no function");
    CHECK_ERROR(ag_checkpoint_sequence(grows, 1, ((ag_tensor *[]){ x, NULL }), 2, &y, NULL),
                AG_ERR_VALUE, "input 1 is NULL");
    CHECK(!ag_checkpoint_sequence(grows, 1, NULL, 1, &y, NULL));
    CHECK(!ag_error(c));
}

/* A state or an input that is written afterwards is noticed. */
static void t_sequence_input_is_changed(ag_context *c)
{
    ag_tensor *x = vector(c, true), *a = ag_mul(x, 1), *y;
    CHECK(ag_checkpoint_sequence(captures_input, 3, &a, 1, &y, ag_scalar(c, 1, .dtype = AG_F64)));
    CHECK(ag_add_(a, 1));
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD, "modified by an inplace operation");
}

/* ---- one in the other ---- */

static bool sequence_inside(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return ag_checkpoint_sequence(swing, 6, in, 3, out, user, .snapshots = 2);
}

static void t_sequence_in_checkpoint(ag_context *c)
{
    physics p = physics_new(c);
    ag_tensor *in[3], *out[3], *y, *plain[2], *found[2];
    state_new(c, in);
    CHECK(plain_steps(swing, 6, in, 3, out, &p) && (y = measure(out)));
    CHECK(ag_grad(&y, 1, in, 2, plain, .retain_graph = true));
    const size_t before = saved_bytes(c);
    CHECK(ag_checkpoint(sequence_inside, in, 3, out, 3, &p));
    CHECK_INT((int64_t)(saved_bytes(c) - before), 88); /* the inputs, and no state */
    y = measure(out);
    CHECK(ag_grad(&y, 1, in, 2, found));
    check_same(found[0], plain[0]);
    check_same(found[1], plain[1]);
}

static bool checkpoint_inside(int64_t step, ag_tensor *const *in, int n, ag_tensor **out,
                              void *user)
{
    (void)n, (void)step;
    return ag_checkpoint(smooth, in, 1, out, 1, user);
}

static bool sequence_in_step(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    (void)n, (void)step;
    return ag_checkpoint_sequence(checkpoint_inside, 2, in, 1, out, user, .snapshots = 1);
}

static void t_checkpoint_in_sequence(ag_context *c)
{
    ag_tensor *w = ag_scalar(c, 0.5, .dtype = AG_F64, .requires_grad = true);
    ag_tensor *x = vector(c, true), *want[] = { x, w }, *y = x, *z, *plain[2], *found[2];
    for (int i = 0; i < 6; i++)
        CHECK(smooth(&y, 1, &y, 1, w));
    y = ag_sum(y);
    CHECK(ag_grad(&y, 1, want, 2, plain));
    CHECK(ag_checkpoint_sequence(checkpoint_inside, 6, &x, 1, &z, w, .snapshots = 2));
    z = ag_sum(z);
    CHECK(ag_grad(&z, 1, want, 2, found));
    for (int i = 0; i < 2; i++)
        check_same(found[i], plain[i]);
    CHECK(ag_checkpoint_sequence(sequence_in_step, 3, &x, 1, &z, w, .snapshots = 2));
    z = ag_sum(z);
    CHECK(ag_grad(&z, 1, want, 2, found));
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < ag_numel(plain[i]); k++)
            CHECK_CLOSE(((double *)ag_data(found[i]))[k], ((double *)ag_data(plain[i]))[k], 1e-15);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_sequence), TEST(t_sequence_long), TEST(t_sequence_budget),
               TEST(t_sequence_again), TEST(t_sequence_captured), TEST(t_sequence_captures_input),
               TEST(t_sequence_returns_captured), TEST(t_sequence_same_input_twice),
               TEST(t_sequence_undefined), TEST(t_sequence_random), TEST(t_sequence_higher_order),
               TEST(t_sequence_all_modes), TEST(t_sequence_fails), TEST(t_sequence_hooks),
               TEST(t_sequence_under_hooks), TEST(t_sequence_bad_calls),
               TEST(t_sequence_input_is_changed), TEST(t_sequence_in_checkpoint),
               TEST(t_checkpoint_in_sequence));
}
