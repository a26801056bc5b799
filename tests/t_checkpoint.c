/*
 * Checkpoints: the gradients of the plain program, how often the function runs, what is kept, and
 * what happens when the second run is not like the first. Counts and sentences are PyTorch's
 * (torch.utils.checkpoint with use_reentrant=False).
 */
#include "harness.h"

/* What the functions below share with their test. */
typedef struct {
    int runs, ends; /* calls, and those that came to their end */
    ag_tensor *w;   /* captured */
    int inner_runs; /* of a function inside */
    bool checkpoint_inside;
    bool fail_again;  /* the second run does something else */
    const char *only; /* operation that the policy keeps */
} program;

static ag_tensor *vector(ag_context *c, bool requires_grad)
{
    return ag_array(c, AG_VALUES(0.3, -0.7, 1.1), AG_SHAPE(3), .dtype = AG_F64,
                    .requires_grad = requires_grad);
}

/* exp(sin(x)) w */
static bool smooth(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    p->runs++;
    out[0] = ag_mul(ag_exp(ag_sin(in[0])), p->w);
    p->ends += out[0] != NULL;
    return out[0] != NULL;
}

static void check_same(ag_tensor *a, ag_tensor *b)
{
    CHECK((a = ag_contiguous(a)) && (b = ag_contiguous(b)) && ag_numel(a) == ag_numel(b));
    const double *x = ag_data(a), *y = ag_data(b);
    for (int64_t i = 0; i < ag_numel(a); i++)
        CHECK_CLOSE(x[i], y[i], 0);
}

/* The gradients of x and w by the plain call and through a checkpoint are the same. */
static void t_gradients(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64, .requires_grad = true) };
    ag_tensor *x = vector(c, true), *inputs[] = { x, p.w }, *plain[2], *again[2], *y, *z;
    CHECK(smooth(&x, 1, &y, 1, &p));
    y = ag_sum(y);
    CHECK(ag_grad(&y, 1, inputs, 2, plain));
    p.runs = 0;
    CHECK(ag_checkpoint(smooth, &x, 1, &z, 1, &p));
    CHECK_INT(p.runs, 1);
    z = ag_sum(z);
    CHECK_CLOSE(ag_item(z), ag_item(y), 0);
    CHECK(ag_grad(&z, 1, inputs, 2, again, .retain_graph = true));
    CHECK_INT(p.runs, 2);
    check_same(again[0], plain[0]);
    check_same(again[1], plain[1]);
    CHECK(ag_backward(z));
    CHECK_INT(p.runs, 3);
    check_same(ag_grad_of(x), plain[0]);
    check_same(ag_grad_of(p.w), plain[1]);
    CHECK_ERROR(ag_backward(z), AG_ERR_GRAD, "Trying to backward through the graph a second time");
    CHECK_INT(p.runs, 3);
}

static void t_only_some_inputs(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64, .requires_grad = true) };
    ag_tensor *x = vector(c, true), *y, *g;
    CHECK(ag_checkpoint(smooth, &x, 1, &y, 1, &p));
    y = ag_sum(y);
    CHECK(ag_backward(y, .inputs = &p.w, .n_inputs = 1, .retain_graph = true));
    CHECK(!ag_grad_of(x));
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(3),
                 AG_VALUES(2 * cos(0.3) * exp(sin(0.3)), 2 * cos(-0.7) * exp(sin(-0.7)),
                           2 * cos(1.1) * exp(sin(1.1))),
                 1e-15);
    CHECK_INT(p.runs, 3);
}

/* Values that the pass did not need go with it. */
static void t_leftovers_go(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64, .requires_grad = true) };
    ag_tensor *x = vector(c, true), *y, *g;
    ag_memory_statistics before, after;
    CHECK(ag_checkpoint(smooth, &x, 1, &y, 1, &p));
    y = ag_sum(y);
    AG_SCOPE (c)
        CHECK(ag_grad(&y, 1, &p.w, 1, &g, .retain_graph = true));
    ag_memory_stats(c, &before);
    for (int i = 0; i < 3; i++)
        AG_SCOPE (c)
            CHECK(ag_grad(&y, 1, &p.w, 1, &g, .retain_graph = true));
    ag_memory_stats(c, &after);
    CHECK_INT((int64_t)after.tensors, (int64_t)before.tensors);
    CHECK_INT(p.runs, 5);
}

static void t_higher_order(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64, .requires_grad = true) };
    ag_tensor *x = vector(c, true), *inputs[] = { x, p.w }, *y[2], *g[2][2], *h[2][2];
    CHECK(smooth(&x, 1, &y[0], 1, &p));
    CHECK(ag_checkpoint(smooth, &x, 1, &y[1], 1, &p));
    for (int i = 0; i < 2; i++) {
        y[i] = ag_sum(y[i]);
        CHECK(ag_grad(&y[i], 1, inputs, 2, g[i], .create_graph = true));
        ag_tensor *s = ag_sum(ag_mul(g[i][0], g[i][0]));
        CHECK(ag_grad(&s, 1, inputs, 2, h[i]));
    }
    check_same(g[1][0], g[0][0]);
    check_same(h[1][0], h[0][0]);
    check_same(h[1][1], h[0][1]);
}

static void t_second_derivative(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64) };
    ag_tensor *x = vector(c, true), *y, *g, *s, *h;
    CHECK(ag_checkpoint(smooth, &x, 1, &y, 1, &p));
    CHECK(ag_grad(&y, 1, &x, 1, &g, .grad_outputs = (ag_tensor *[]){ ag_ones_like(y) },
                  .create_graph = true));
    s = ag_sum(g);
    CHECK(ag_grad(&s, 1, &x, 1, &h));
    for (int i = 0; i < 3; i++) {
        const double v = ag_at(x, i), e = exp(sin(v));
        CHECK_CLOSE(ag_at(h, i), 2 * e * (cos(v) * cos(v) - sin(v)), 1e-14);
    }
}

static bool product(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program p = { .w = in[1] };
    (void)user;
    return smooth(in, n, out, m, &p);
}

static bool checkpointed(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    return ag_checkpoint(product, in, n, out, m, user);
}

static void t_all_modes(ag_context *c)
{
    ag_tensor *in[] = { vector(c, true), vector(c, true) };
    CHECK(ag_gradcheck(checkpointed, in, 2, NULL, .forward_mode = true, .batched = true));
    CHECK(ag_gradgradcheck(checkpointed, in, 2, NULL));
}

/* Without a graph it is a plain call. */
static void t_no_grad(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64, .requires_grad = true) };
    ag_tensor *x = vector(c, true), *y;
    ag_set_grad_enabled(c, false);
    CHECK(ag_checkpoint(smooth, &x, 1, &y, 1, &p));
    ag_set_grad_enabled(c, true);
    CHECK(!ag_requires_grad(y));
    CHECK_INT(p.runs, 1);
}

/* No input asks for a gradient, a captured tensor does. */
static void t_captured_only(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64, .requires_grad = true) };
    ag_tensor *x = vector(c, false), *y;
    CHECK(ag_checkpoint(smooth, &x, 1, &y, 1, &p));
    CHECK(ag_backward(ag_sum(y)));
    CHECK_CLOSE(ag_item(ag_grad_of(p.w)), exp(sin(0.3)) + exp(sin(-0.7)) + exp(sin(1.1)), 1e-15);
    CHECK_INT(p.runs, 2);
}

static bool add_one(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ((program *)user)->runs++;
    out[0] = ag_add(in[0], 1);
    return out[0] != NULL;
}

/* Nothing is saved, nothing is computed again. */
static void t_nothing_saved(ag_context *c)
{
    program p = { 0 };
    ag_tensor *x = vector(c, true), *y;
    CHECK(ag_checkpoint(add_one, &x, 1, &y, 1, &p));
    CHECK(ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1, 1, 1), 0);
    CHECK_INT(p.runs, 1);
}

/* The last value is that of the product; the addition behind it is not run again. */
static bool long_end(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    p->runs++;
    ag_tensor *y = ag_add(ag_mul(in[0], in[0]), 1);
    p->ends += y != NULL;
    out[0] = y;
    return y != NULL;
}

static void t_early_stop(ag_context *c)
{
    for (int late = 0; late < 2; late++) {
        program p = { 0 };
        ag_tensor *x = vector(c, true), *y;
        CHECK(ag_checkpoint(long_end, &x, 1, &y, 1, &p, .no_early_stop = late));
        CHECK(ag_backward(ag_sum(y)));
        CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(0.6, -1.4, 2.2), 1e-15);
        CHECK_INT(p.runs, 2);
        CHECK_INT(p.ends, 1 + late);
        CHECK(!ag_error(c));
    }
}

static int errors_told;
static void count_error(ag_context *c, const ag_status *status)
{
    (void)c, (void)status;
    errors_told++;
}

/* Stopping early is nobody's business. */
static void t_early_stop_is_silent(ag_context *outer)
{
    if (harness_faults())
        return;
    (void)outer;
    program p = { 0 };
    ag_context *c = ag_open(.on_error = count_error);
    errors_told = 0;
    ag_tensor *x = vector(c, true), *y;
    CHECK(ag_checkpoint(long_end, &x, 1, &y, 1, &p));
    CHECK(ag_backward(ag_sum(y)));
    CHECK_INT(errors_told, 0);
    CHECK(!ag_error(c));
    ag_fail(c, AG_ERR_VALUE, "pending");
    CHECK(ag_checkpoint(long_end, &x, 1, &y, 1, &p));
    CHECK(ag_backward(ag_sum(y)));
    CHECK_TEXT(ag_error(c)->message, "pending");
    CHECK_INT(errors_told, 1);
    ag_close(c);
}

/* ---- nesting ---- */

static bool inner(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ((program *)user)->inner_runs++;
    out[0] = ag_exp(ag_sin(in[0]));
    return out[0] != NULL;
}

static bool inner_first(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    p->runs++;
    ag_tensor *y;
    if (!(p->checkpoint_inside ? ag_checkpoint(inner, in, 1, &y, 1, p) : inner(in, 1, &y, 1, p)))
        return false;
    out[0] = ag_sin(ag_cos(y));
    return out[0] != NULL;
}

static bool inner_last(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    p->runs++;
    ag_tensor *y = ag_cos(in[0]);
    return p->checkpoint_inside ? ag_checkpoint(inner, &y, 1, out, 1, p) : inner(&y, 1, out, 1, p);
}

static void check_nested(ag_context *c, ag_fn fn, int runs, int inner_runs)
{
    program p = { 0 };
    ag_tensor *x = vector(c, true), *y, *z, *plain, *g;
    CHECK(fn(&x, 1, &y, 1, &p));
    y = ag_sum(y);
    CHECK(ag_grad(&y, 1, &x, 1, &plain));
    p = (program){ .checkpoint_inside = true };
    CHECK(ag_checkpoint(fn, &x, 1, &z, 1, &p));
    z = ag_sum(z);
    CHECK(ag_grad(&z, 1, &x, 1, &g, .create_graph = true));
    check_same(g, plain);
    CHECK_INT(p.runs, runs);
    CHECK_INT(p.inner_runs, inner_runs);
}

static void t_nested(ag_context *c)
{
    check_nested(c, inner_first, 2, 3);
    check_nested(c, inner_last, 2, 2);
}

/* Checkpoints inside checkpoints: a chain of sines, in two halves. */
static bool halves(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    const char *depth = user; /* the end of the text is the bottom */
    if (*depth == '\0') {
        out[0] = ag_sin(in[0]);
        return out[0] != NULL;
    }
    ag_tensor *y;
    return ag_checkpoint(halves, in, 1, &y, 1, (void *)(uintptr_t)(depth + 1)) &&
           ag_checkpoint(halves, &y, 1, out, 1, (void *)(uintptr_t)(depth + 1));
}

static void t_deep_nesting(ag_context *c)
{
    static char depth[] = "1234";
    ag_tensor *x = vector(c, true), *y, *z = x, *gy, *gz;
    CHECK(ag_checkpoint(halves, &x, 1, &y, 1, depth));
    for (int i = 0; i < 16; i++)
        z = ag_sin(z);
    y = ag_sum(y);
    z = ag_sum(z);
    CHECK(ag_grad(&y, 1, &x, 1, &gy));
    CHECK(ag_grad(&z, 1, &x, 1, &gz));
    check_same(gy, gz);
}

/* ---- policy ---- */

static ag_checkpoint_policy keep_named(const char *operation, void *user)
{
    const program *p = user;
    return !p->only || strcmp(operation, p->only) == 0 ? AG_SAVE : AG_RECOMPUTE;
}

static size_t saved_bytes(ag_context *c)
{
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    return s.saved_bytes;
}

static void t_policy(ag_context *c)
{
    const char *only[] = { "ExpBackward0", "SinBackward0", "NoSuchBackward0", NULL };
    const int runs[] = { 2, 2, 2, 1 };
    for (int i = 0; i < 4; i++) {
        program p = { .w = ag_scalar(c, 2, .dtype = AG_F64), .only = only[i] };
        ag_tensor *x = vector(c, true), *y;
        const size_t before = saved_bytes(c);
        CHECK(ag_checkpoint(smooth, &x, 1, &y, 1, &p, .policy = keep_named));
        /* the input, and what is kept */
        CHECK_INT((int64_t)(saved_bytes(c) - before), i == 2 ? 24 : i < 2 ? 48 : 24 + 24 + 24 + 8);
        CHECK(ag_backward(ag_sum(y)));
        CHECK_INT(p.runs, runs[i]);
        CHECK_INT((int64_t)saved_bytes(c), (int64_t)before);
        CHECK_CLOSE(ag_at(ag_grad_of(x), 0), 2 * cos(0.3) * exp(sin(0.3)), 1e-15);
    }
}

/* The names that a policy is asked about, custom functions and inner checkpoints among them. */
typedef struct {
    int inputs, custom, other;
} asked;

static ag_checkpoint_policy count_names(const char *operation, void *user)
{
    asked *a = user;
    a->inputs += strcmp(operation, "CheckpointInputs") == 0;
    a->custom += strcmp(operation, "CubeBackward") == 0;
    a->other += strncmp(operation, "Sin", 3) == 0;
    return AG_RECOMPUTE;
}

static bool cube_forward(ag_ctx *ctx, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)m;
    out[0] = ag_mul(ag_mul(in[0], in[0]), in[0]);
    return out[0] && ag_ctx_save(ctx, in, n);
}

static bool cube_backward(ag_ctx *ctx, ag_tensor *const *g, ag_tensor **grad_in)
{
    ag_tensor *x = ag_ctx_saved(ctx, 0);
    grad_in[0] = ag_mul(g[0], ag_mul(ag_mul(x, x), 3));
    return grad_in[0] != NULL;
}

static bool cube(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    static const ag_custom f = { .name = "Cube",
                                 .forward = cube_forward,
                                 .backward = cube_backward };
    (void)user;
    return ag_apply(&f, in, n, out, m, NULL);
}

static bool sine_of_cube(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ag_tensor *y;
    if (!ag_checkpoint(cube, in, 1, &y, 1, user) || !cube(&y, 1, &y, 1, NULL))
        return false;
    out[0] = ag_sin(y);
    return out[0] != NULL;
}

static void t_policy_names(ag_context *c)
{
    asked a = { 0 };
    ag_tensor *x = vector(c, true), *y;
    CHECK(ag_checkpoint(sine_of_cube, &x, 1, &y, 1, &a, .policy = count_names));
    CHECK_INT(a.inputs, 1);
    CHECK_INT(a.custom, 1); /* the inner checkpoint has no policy */
    CHECK_INT(a.other, 1);
    CHECK(ag_backward(ag_sum(y)));
    for (int i = 0; i < 3; i++) {
        const double v = ag_at(x, i);
        CHECK_CLOSE(ag_at(ag_grad_of(x), i), 9 * pow(v, 8) * cos(pow(v, 9)), 1e-14);
    }
}

static bool square_kept(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    p->runs++;
    ag_tensor *y = ag_mul(in[0], 2);
    if (!p->w)
        p->w = ag_retain(y);
    out[0] = ag_mul(y, y);
    return out[0] != NULL;
}

static void release(void *t) { ag_release(t); }

static void t_kept_value_is_changed(ag_context *c)
{
    program p = { .only = NULL };
    ag_tensor *x = vector(c, true), *y;
    const bool ok = ag_checkpoint(square_kept, &x, 1, &y, 1, &p, .policy = keep_named);
    if (p.w)
        harness_defer(release, p.w);
    CHECK(ok);
    AG_NO_GRAD (c)
        CHECK(ag_add_(p.w, 1));
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD,
                "Tensor cached during selective activation checkpoint has been mutated");
}

/* ---- random numbers ---- */

/* Keeps half of the elements, as dropout does. */
static bool drop(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    p->runs++;
    ag_tensor *mask = ag_to(ag_lt(ag_rand_like(in[0]), 0.5), AG_F64);
    out[0] = ag_mul(ag_mul(in[0], mask), in[0]);
    return out[0] != NULL;
}

static void t_random_state(ag_context *c)
{
    program p = { 0 };
    ag_tensor *x = ag_ones(c, AG_SHAPE(64), .dtype = AG_F64, .requires_grad = true), *y, *g, *next;
    ag_manual_seed(c, 7);
    CHECK(ag_checkpoint(drop, &x, 1, &y, 1, &p));
    ag_tensor *s = ag_sum(y);
    CHECK(ag_grad(&s, 1, &x, 1, &g));
    CHECK(next = ag_rand(c, AG_SHAPE(1)));
    for (int i = 0; i < 64; i++)
        CHECK_CLOSE(ag_at(g, i), 2 * ag_at(y, i), 0); /* x = 1: both show the mask */
    /* the stream goes on as if there had been one run */
    ag_manual_seed(c, 7);
    CHECK(ag_rand(c, AG_SHAPE(64), .dtype = AG_F64));
    CHECK_CLOSE(ag_item(ag_rand(c, AG_SHAPE(1))), ag_item(next), 0);
    CHECK_INT(p.runs, 2);
}

static void t_random_state_discarded(ag_context *c)
{
    program p = { 0 };
    ag_tensor *x = ag_ones(c, AG_SHAPE(64), .dtype = AG_F64, .requires_grad = true), *y, *g;
    CHECK(ag_checkpoint(drop, &x, 1, &y, 1, &p, .discard_random_state = true));
    ag_tensor *s = ag_sum(y);
    CHECK(ag_grad(&s, 1, &x, 1, &g));
    int differ = 0;
    for (int i = 0; i < 64; i++)
        differ += ag_at(g, i) != 2 * ag_at(y, i);
    CHECK(differ > 0);
}

/* ---- a second run that is not like the first ---- */

static bool fails_again(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    if (++p->runs == 2)
        return p->fail_again && ag_fail(ag_context_of(in[0]), AG_ERR_IO, "the disk is gone");
    out[0] = ag_exp(ag_sin(in[0]));
    return out[0] != NULL;
}

static void t_second_run_fails(ag_context *c)
{
    program p = { .fail_again = true };
    ag_tensor *x = vector(c, true), *y, *g;
    CHECK(ag_checkpoint(fails_again, &x, 1, &y, 1, &p));
    y = ag_sum(y);
    WATCH(x);
    CHECK_ERROR(ag_backward(y), AG_ERR_IO, "the disk is gone");
    UNWATCH();
    CHECK(ag_grad(&y, 1, &x, 1, &g)); /* the third run does not */
    CHECK_CLOSE(ag_at(g, 0), cos(0.3) * exp(sin(0.3)), 1e-15);
    CHECK_INT(p.runs, 3);
}

static void t_second_run_fails_in_silence(ag_context *c)
{
    program p = { 0 };
    ag_tensor *x = vector(c, true), *y;
    CHECK(ag_checkpoint(fails_again, &x, 1, &y, 1, &p));
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_VALUE, "ag_checkpoint: fn failed");
}

static bool fails_at_once(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    out[0] = ag_exp(ag_sin(in[0]));
    p->runs++;
    return p->fail_again ? ag_fail(ag_context_of(in[0]), AG_ERR_IO, "no disk") : false;
}

static void t_first_run_fails(ag_context *c)
{
    program p = { .fail_again = true };
    ag_tensor *x = vector(c, true), *y;
    ag_memory_statistics before, after;
    ag_memory_stats(c, &before);
    CHECK_ERROR(ag_checkpoint(fails_at_once, &x, 1, &y, 1, &p), AG_ERR_IO, "no disk");
    p.fail_again = false;
    CHECK_ERROR(ag_checkpoint(fails_at_once, &x, 1, &y, 1, &p), AG_ERR_VALUE,
                "ag_checkpoint: fn failed");
    ag_memory_stats(c, &after);
    CHECK_INT(after.tensors, before.tensors);
    CHECK_INT(after.nodes, before.nodes);
    CHECK_INT((int64_t)after.saved_bytes, (int64_t)before.saved_bytes);
}

static bool saves_less(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ag_tensor *y = ag_sin(in[0]);
    out[0] = ++((program *)user)->runs == 1 ? ag_exp(y) : y;
    return out[0] != NULL;
}

static bool saves_more(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ag_tensor *y = ag_sin(in[0]);
    if (++((program *)user)->runs > 1)
        y = ag_exp(ag_exp(y));
    out[0] = ag_exp(y);
    return out[0] != NULL;
}

static bool saves_other_shape(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ag_tensor *y = ag_sin(in[0]);
    if (++((program *)user)->runs > 1)
        y = ag_narrow(y, 1, 0, 1);
    out[0] = ag_exp(y);
    return out[0] != NULL;
}

static bool saves_other_dtype(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ag_tensor *y = ag_sin(in[0]);
    if (++((program *)user)->runs > 1)
        y = ag_to(y, AG_F32);
    out[0] = ag_exp(y);
    return out[0] != NULL;
}

static void check_unequal(ag_context *c, ag_fn fn, bool no_early_stop, ag_code code,
                          const char *sentence)
{
    program p = { 0 };
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_F64, .requires_grad = true), *y;
    CHECK(ag_checkpoint(fn, &x, 1, &y, 1, &p, .no_early_stop = no_early_stop));
    y = ag_sum(y);
    WATCH(x);
    CHECK_ERROR(ag_backward(y), code, sentence);
    UNWATCH();
}

static void t_determinism(ag_context *c)
{
    check_unequal(c, saves_less, false, AG_ERR_GRAD,
                  "A different number of tensors was saved during the original forward and "
                  "recomputation.\nNumber of tensors saved during forward: 2\nNumber of tensors "
                  "saved during recomputation: 1.");
    check_unequal(c, saves_more, true, AG_ERR_GRAD,
                  "trying to save more tensors during recomputation than during the original "
                  "forward pass.");
    check_unequal(c, saves_other_shape, false, AG_ERR_GRAD,
                  "Recomputed values for the following tensors have different metadata than during "
                  "the forward pass.\ntensor at position 1:\nsaved metadata: shape [2, 3], dtype "
                  "float64\nrecomputed metadata: shape [2, 1], dtype float64");
    check_unequal(c, saves_other_dtype, false, AG_ERR_GRAD,
                  "saved metadata: shape [2, 3], dtype float64\nrecomputed metadata: shape [2, 3], "
                  "dtype float32");
}

/* ---- a pass inside the function ---- */

static bool gradient_inside(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program *p = user;
    (void)n, (void)m;
    p->runs++;
    ag_tensor *y = ag_sum(ag_exp(ag_sin(in[0]))), *g;
    if (!ag_grad(&y, 1, in, 1, &g, .create_graph = p->fail_again))
        return false;
    out[0] = ag_mul(p->fail_again ? in[0] : ag_cos(in[0]), g);
    return out[0] != NULL;
}

static void t_pass_inside(ag_context *c)
{
    for (int kind = 0; kind < 4; kind++) {
        program p = { .fail_again = kind & 1 };
        ag_tensor *x = vector(c, true), *y, *z, *plain, *g;
        CHECK(gradient_inside(&x, 1, &y, 1, &p));
        y = ag_sum(y);
        CHECK(ag_grad(&y, 1, &x, 1, &plain));
        p.runs = 0;
        CHECK(ag_checkpoint(gradient_inside, &x, 1, &z, 1, &p, .no_early_stop = kind / 2));
        z = ag_sum(z);
        CHECK(ag_grad(&z, 1, &x, 1, &g));
        check_same(g, plain);
        CHECK_INT(p.runs, 3);
    }
}

/* ---- operands and results ---- */

/* Two results, one of them an input as it was, and an optional operand that is absent. */
static bool two_results(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ((program *)user)->runs++;
    if (n != 3 || m != 3 || in[1])
        return false;
    out[0] = in[0];
    out[1] = ag_mul(in[0], in[2]);
    out[2] = ag_argmax(in[0], 0, false);
    return out[1] && out[2];
}

static void t_operands_and_results(ag_context *c)
{
    program p = { 0 };
    ag_tensor *x = vector(c, true), *w = vector(c, true), *out[3];
    CHECK(ag_checkpoint(two_results, ((ag_tensor *[]){ x, NULL, w }), 3, out, 3, &p));
    CHECK(out[0] == x);
    CHECK_INT((int64_t)ag_item(out[2]), 2);
    CHECK(!ag_requires_grad(out[2]));
    CHECK(ag_backward(ag_sum(ag_add(out[0], out[1]))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1.3, 0.3, 2.1), 1e-15);
    CHECK_VALUES(ag_grad_of(w), AG_SHAPE(3), AG_VALUES(0.3, -0.7, 1.1), 0);
    CHECK_INT(p.runs, 2);
}

static void t_bad_calls(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64) };
    ag_tensor *x = vector(c, true), *y;
    CHECK(!ag_checkpoint(smooth, NULL, 1, &y, 1, &p));
    CHECK(!ag_checkpoint(smooth, (ag_tensor *[]){ NULL }, 1, &y, 1, &p));
    CHECK_ERROR(ag_checkpoint(NULL, &x, 1, &y, 1, &p), AG_ERR_VALUE, "no function");
    CHECK_ERROR(ag_checkpoint(smooth, &x, 1, NULL, 1, &p), AG_ERR_VALUE, "no output");
    CHECK_ERROR(ag_checkpoint(smooth, &x, 1, &y, 0, &p), AG_ERR_VALUE, "no output");
    CHECK_INT(p.runs, 0);
}

/* The input is a saved value like any other. */
static void t_input_is_changed(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64) };
    ag_tensor *x = vector(c, true), *a = ag_mul(x, 1), *y;
    CHECK(ag_checkpoint(smooth, &a, 1, &y, 1, &p));
    CHECK(ag_add_(a, 1));
    CHECK_ERROR(ag_backward(ag_sum(y)), AG_ERR_GRAD, "modified by an inplace operation");
}

static void t_hooks_disabled(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64) };
    ag_tensor *x = vector(c, true), *y;
    CHECK(ag_saved_hooks_disable(c, "no hooks here"));
    CHECK_ERROR(ag_checkpoint(smooth, &x, 1, &y, 1, &p), AG_ERR_GRAD, "no hooks here");
    ag_saved_hooks_pop(c);
    CHECK(ag_checkpoint(smooth, &x, 1, &y, 1, &p));
    CHECK(ag_saved_hooks_disable(c, "no hooks here"));
    CHECK(ag_backward(ag_sum(y))); /* the second run is ours */
    ag_saved_hooks_pop(c);
}

/* A mode that the pass was started in does not reach the second run. */
static void t_modes(ag_context *c)
{
    program p = { .w = ag_scalar(c, 2, .dtype = AG_F64) };
    ag_tensor *x = vector(c, true), *y;
    CHECK(ag_checkpoint(smooth, &x, 1, &y, 1, &p));
    y = ag_sum(y);
    AG_NO_GRAD (c)
        CHECK(ag_backward(y));
    CHECK_CLOSE(ag_at(ag_grad_of(x), 0), 2 * cos(0.3) * exp(sin(0.3)), 1e-15);
    CHECK(ag_grad_enabled(c));
}

/* ---- memory ---- */

enum { LAYERS = 8, WIDTH = 1000 };

static bool layer(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    ag_tensor *y = in[0];
    for (int i = 0; i < 4; i++)
        y = ag_exp(ag_neg(ag_sin(y)));
    out[0] = y;
    return y != NULL;
}

static void t_memory(ag_context *c)
{
    size_t saved[2];
    ag_tensor *g[2];
    for (int k = 0; k < 2; k++) {
        ag_tensor *x = ag_full(c, AG_SHAPE(WIDTH), 0.5, .dtype = AG_F64, .requires_grad = true);
        ag_tensor *y = x;
        const size_t before = saved_bytes(c);
        for (int i = 0; i < LAYERS && y; i++)
            CHECK(k ? ag_checkpoint(layer, &y, 1, &y, 1, NULL) : layer(&y, 1, &y, 1, NULL));
        saved[k] = saved_bytes(c) - before;
        CHECK(ag_backward(ag_sum(y)));
        CHECK_INT((int64_t)saved_bytes(c), (int64_t)before);
        g[k] = ag_grad_of(x);
    }
    CHECK_INT((int64_t)saved[0], LAYERS * 8 * WIDTH * 8); /* of each sin and exp */
    CHECK_INT((int64_t)saved[1], LAYERS * WIDTH * 8);     /* an input each */
    check_same(g[0], g[1]);
}

/* What the function made on the way dies in it, and what it allocates is given back. */
static void t_peak(ag_context *c)
{
    ag_memory_statistics before, after;
    ag_tensor *x = ag_full(c, AG_SHAPE(WIDTH), 0.5, .dtype = AG_F64, .requires_grad = true), *y;
    ag_memory_stats(c, &before);
    CHECK(ag_checkpoint(layer, &x, 1, &y, 1, NULL));
    ag_memory_stats(c, &after);
    CHECK_INT(after.tensors - before.tensors, 1);
    CHECK(after.current_bytes - before.current_bytes < 2 * WIDTH * 8);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_gradients), TEST(t_only_some_inputs), TEST(t_leftovers_go),
               TEST(t_higher_order), TEST(t_second_derivative), TEST(t_all_modes), TEST(t_no_grad),
               TEST(t_captured_only), TEST(t_nothing_saved), TEST(t_early_stop),
               TEST(t_early_stop_is_silent), TEST(t_nested), TEST(t_deep_nesting), TEST(t_policy),
               TEST(t_policy_names), TEST(t_kept_value_is_changed), TEST(t_random_state),
               TEST(t_random_state_discarded), TEST(t_second_run_fails),
               TEST(t_second_run_fails_in_silence), TEST(t_first_run_fails), TEST(t_determinism),
               TEST(t_pass_inside), TEST(t_operands_and_results), TEST(t_bad_calls),
               TEST(t_input_is_changed), TEST(t_hooks_disabled), TEST(t_modes), TEST(t_memory),
               TEST(t_peak));
}
