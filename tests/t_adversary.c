/* Callbacks that do what no sane program does: they free what they hang on, start passes where none is
 * expected, end scopes and close contexts. Nothing may crash, and every byte comes back. */
#include <stdlib.h>

#include "harness.h"

/* A leaf of two elements. */
static ag_tensor *leaf(ag_context *c)
{
    return ag_array(c, AG_VALUES(1.5, -2), AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
}

/* ---- hooks that go ---- */

typedef struct {
    ag_hook *hooks[4];
    ag_tensor *t;
    int calls, frees;
} trouble;

static ag_tensor *keep_gradient(ag_tensor *grad, void *user)
{
    (void)grad;
    ((trouble *)user)->calls++;
    return NULL;
}
static ag_tensor *remove_all(ag_tensor *grad, void *user)
{
    trouble *k = user;
    (void)grad;
    k->calls++;
    for (int i = 0; i < 4; i++) {
        ag_hook *h = k->hooks[i];
        k->hooks[i] = NULL;
        ag_hook_remove(h);
    }
    return NULL;
}
static void free_removes_all(void *user)
{
    ((trouble *)user)->frees++;
    remove_all(NULL, user);
}
static void free_drops_tensor(void *user)
{
    trouble *k = user;
    ag_tensor *t = k->t;
    k->frees++;
    k->t = NULL;
    ag_drop(t);
}

/* The last of three hooks goes, and takes the others with it. */
static void t_freeing_a_hook_removes_others(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_mul(x, 2);
    trouble k = { 0 };
    CHECK(y);
    for (int i = 0; i < 3; i++)
        CHECK(k.hooks[i] = ag_register_hook(y, keep_gradient, &k));
    ag_hook *last = k.hooks[2];
    k.hooks[2] = NULL;
    ag_hook_set_free(last, free_removes_all);
    ag_hook_remove(last);
    CHECK_INT(k.frees, 1);
    CHECK(ag_backward(ag_sum(y)));
    CHECK_INT(k.calls, 1);
}

static void t_freeing_hooks_that_were_called(ag_context *c)
{
    static trouble k; /* its hooks may go after a check has ended the test */
    ag_tensor *x = leaf(c), *y = ag_mul(x, 2);
    k = (trouble){ 0 };
    CHECK(y);
    for (int i = 0; i < 4; i++) {
        CHECK(k.hooks[i] = ag_register_hook(y, remove_all, &k));
        ag_hook_set_free(k.hooks[i], free_removes_all);
    }
    CHECK(ag_backward(ag_sum(y)));
    CHECK_INT(k.frees, 4);
}

static void t_freeing_a_hook_frees_its_node(ag_context *c)
{
    ag_tensor *x = leaf(c);
    trouble k = { .t = ag_mul(x, 2) };
    CHECK(k.t);
    ag_hook *h = ag_register_hook(k.t, keep_gradient, &k);
    CHECK(h);
    ag_hook_set_free(h, free_drops_tensor);
    ag_hook_remove(h);
    CHECK_INT(k.frees, 1);
}

static void forget_gradients(ag_tensor *const *grads, int n, void *user)
{
    (void)grads, (void)n;
    ((trouble *)user)->calls++;
}
static void free_removes_itself(void *user)
{
    trouble *k = user;
    k->frees++;
    ag_hook_remove(k->hooks[0]);
}

static void t_freeing_a_multi_hook_removes_it(ag_context *c)
{
    trouble k = { 0 };
    AG_SCOPE (c) {
        ag_tensor *x = leaf(c), *y = leaf(c);
        CHECK(x && y);
        CHECK(k.hooks[0] =
                  ag_register_multi_grad_hook(((ag_tensor *[]){ x, y }), 2, forget_gradients, &k));
        ag_hook_set_free(k.hooks[0], free_removes_itself);
    }
    CHECK_INT(k.frees, 1);
}

/* A retained gradient moves to another node while hooks of this one are called. */
static ag_tensor *writes_into_t(ag_tensor *grad, void *user)
{
    trouble *k = user;
    (void)grad;
    k->calls++;
    AG_ENABLE_GRAD (ag_context_of(k->t))
        ag_add_(k->t, 1);
    return NULL;
}

static void t_hook_moves_a_retained_gradient(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_mul(x, 2), *loss = ag_sum(y);
    trouble k = { .t = y };
    CHECK(loss && ag_register_hook(y, writes_into_t, &k) && ag_retain_grad(y));
    CHECK(ag_backward(loss));
    CHECK_INT(k.calls, 1);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(2, 2), 0);
}

static void doubles_and_drops(ag_tensor **in, int n, ag_tensor *const *out, int m, void *user)
{
    (void)out, (void)m, (void)user;
    for (int i = 0; i < n; i++) {
        ag_tensor *old = in[i];
        in[i] = old ? ag_mul(old, 2) : NULL;
        ag_drop(old);
    }
}
static void drops(ag_tensor **in, int n, ag_tensor *const *out, int m, void *user)
{
    (void)out, (void)m, (void)user;
    for (int i = 0; i < n; i++)
        ag_drop(in[i]);
}

static void t_hook_drops_what_it_replaces(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_mul(x, 3), *z = ag_sin(y), *loss = ag_sum(ag_exp(z));
    CHECK(loss && ag_node_register_hook(ag_grad_fn(z), doubles_and_drops, NULL));
    CHECK(ag_node_register_hook(ag_grad_fn(y), drops, NULL));
    CHECK(ag_backward(loss));
    const double g = 6 * cos(4.5) * exp(sin(4.5));
    CHECK_CLOSE(ag_at(ag_grad_of(x), 0), g, 1e-12);
}

static ag_tensor *drops_t(ag_tensor *grad, void *user)
{
    (void)grad;
    free_drops_tensor(user);
    return NULL;
}

static void t_hook_drops_an_input_of_the_pass(ag_context *c)
{
    ag_tensor *x = leaf(c), *g = NULL;
    trouble k = { .t = ag_mul(x, 2) };
    ag_tensor *loss = ag_sum(ag_sin(k.t)), *input = k.t;
    CHECK(loss && ag_register_hook(k.t, drops_t, &k));
    CHECK(ag_grad(&loss, 1, &input, 1, &g));
    CHECK_CLOSE(ag_at(g, 0), cos(3), 1e-12);
}

static void t_hook_writes_into_an_input_of_the_pass(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_mul(x, 2), *loss = ag_sum(ag_mul(y, 3)), *g = NULL;
    trouble k = { .t = y };
    CHECK(loss && ag_register_hook(y, writes_into_t, &k));
    CHECK(ag_grad(&loss, 1, &y, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(3, 3), 0);
}

/* ---- callbacks at the end of something ---- */

static bool pass_on(ag_ctx *x, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)x, (void)n, (void)m;
    out[0] = ag_clone(in[0]);
    return out[0] != NULL;
}
static bool give_twice(ag_ctx *x, ag_tensor *const *g, ag_tensor **in)
{
    (void)x;
    in[0] = g[0];
    return true;
}

static ag_scope *ended_by_free;
static void free_ends_scope(void *user)
{
    (void)user;
    ag_scope_end(ended_by_free);
}

static void t_free_ends_the_scope_that_ends(ag_context *c)
{
    static const ag_custom f = { .forward = pass_on,
                                 .backward = give_twice,
                                 .free_user = free_ends_scope };
    ag_tensor *x = leaf(c), *y = NULL;
    ended_by_free = ag_scope_begin(c);
    CHECK(ended_by_free);
    ag_apply(&f, &x, 1, &y, 1, NULL);
    ag_scope_end(ended_by_free);
    ended_by_free = NULL;
    CHECK(y);
    ag_tensor *z = ag_mul(x, 2); /* the outermost scope is the innermost again */
    CHECK(z);
    CHECK(ag_keep(z) == z);
}

static void free_closes(void *user) { ag_close(user); }

static void t_free_closes_the_context(ag_context *c)
{
    (void)c;
    static const ag_custom f = { .forward = pass_on,
                                 .backward = give_twice,
                                 .free_user = free_closes };
    ag_context *d = ag_open();
    CHECK(d);
    ag_tensor *y = NULL, *x = leaf(d);
    ag_scope *s = ag_scope_begin(d);
    CHECK(x && s && ag_apply(&f, &x, 1, &y, 1, d));
    ag_scope_end(s); /* the call is still at work in the context */
    CHECK(ag_mul(x, 2));
    ag_close(d);
    CHECK((d = ag_open()) != NULL);
    x = leaf(d);
    CHECK(x && ag_apply(&f, &x, 1, &y, 1, d));
    ag_drop(y); /* the context goes with it */
}

static ag_tensor *zeroed[2];
static void free_zeroes_gradients(void *user)
{
    (void)user;
    ag_zero_grad(zeroed[0]);
    ag_zero_grad(zeroed[1]);
}

/* The old gradient of one leaf dies while gradients are written, and takes that of another. */
static void t_gradient_dies_while_gradients_are_written(ag_context *c)
{
    static const ag_custom f = { .forward = pass_on,
                                 .backward = give_twice,
                                 .free_user = free_zeroes_gradients };
    zeroed[0] = zeroed[1] = NULL;
    ag_tensor *x = leaf(c), *y = leaf(c), *g[2] = { NULL, NULL };
    CHECK(x && y);
    AG_SCOPE (c) {
        CHECK(ag_apply(&f, (ag_tensor *[]){ ag_mul(x, 1) }, 1, &g[0], 1, NULL));
        CHECK(ag_apply(&f, (ag_tensor *[]){ ag_mul(y, 1) }, 1, &g[1], 1, NULL));
        CHECK(ag_set_grad(x, g[0]) && ag_set_grad(y, g[1]));
        ag_tensor *loss = ag_sum(ag_mul(x, y));
        CHECK(loss);
        zeroed[0] = x;
        zeroed[1] = y;
        ag_drop(g[0]);
        ag_drop(g[1]);
        const bool ok = ag_backward(loss, .create_graph = true);
        zeroed[0] = zeroed[1] = NULL;
        CHECK(ok);
    }
}

static void t_close_pops_what_was_pushed(ag_context *c)
{
    CHECK(ag_saved_offload_push(c, harness_path("")));
    ag_tensor *x = leaf(c);
    CHECK(ag_exp(x));
}

/* ---- rings ---- */

static void *pack_keep(ag_tensor *t, void *user) { return (void)user, ag_retain(t); }
static ag_tensor *unpack_keep(void *packed, void *user) { return (void)user, packed; }
static void free_keep(void *packed, void *user) { (void)user, ag_release(packed); }
static bool push_identity(ag_context *c)
{
    return ag_saved_hooks_push(c, pack_keep, unpack_keep, NULL, .free_packed = free_keep);
}
static void pop_hooks(void *c) { ag_saved_hooks_pop(c); }

static void t_ring_through_packed_values(ag_context *c)
{
    CHECK(push_identity(c));
    harness_defer(pop_hooks, c);
    ag_tensor *x = ag_clone(leaf(c));
    CHECK(ag_add_(x, ag_mul(x, x)));
    ag_tensor *base = ag_clone(leaf(c)), *row = ag_select(base, 0, 0);
    CHECK(ag_add_(row, ag_sum(ag_exp(ag_mul(base, base)))));
}

static void t_ring_through_values_packed_later(ag_context *c)
{
    ag_tensor *x = ag_clone(leaf(c)), *y = ag_mul(x, x);
    CHECK(y && ag_node_saved_set_hooks(ag_grad_fn(y), 0, pack_keep, unpack_keep, NULL,
                                       .free_packed = free_keep));
    CHECK(ag_add_(x, y));
}

static void t_ring_through_offloaded_values(ag_context *c)
{
    CHECK(ag_saved_offload_push(c, harness_path(""), .min_bytes = 1000));
    harness_defer(pop_hooks, c);
    ag_tensor *x = ag_clone(leaf(c));
    CHECK(ag_add_(x, ag_mul(x, x)));
}

/* A view may be a leaf of its own; who holds it holds its base. */
static void t_ring_through_a_leaf_that_is_a_view(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(3), .dtype = AG_F64), *v = ag_slice(x, 0, 1, 3, 1);
    CHECK(v && ag_requires_grad_(v, true));
    CHECK(ag_add_(x, ag_sum(v)));
}

/* What a write saves of its operand goes through pack as it was before. */
static void t_write_packs_the_old_value(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_mul(x, 2);
    CHECK(y && push_identity(c));
    const bool ok = ag_sin_(y) && ag_mul_(y, y);
    ag_saved_hooks_pop(c);
    CHECK(ok && ag_backward(ag_sum(y)));
    CHECK_CLOSE(ag_at(ag_grad_of(x), 0), 4 * sin(3) * cos(3), 1e-12);
}

static void t_ring_through_a_multi_hook(ag_context *c)
{
    trouble k = { 0 };
    ag_tensor *x = leaf(c), *y = leaf(c), *loss = ag_sum(ag_mul(ag_mul(x, x), y));
    CHECK(loss);
    for (int any = 0; any < 2; any++)
        CHECK(ag_register_multi_grad_hook(((ag_tensor *[]){ x, y }), 2, forget_gradients, &k,
                                          .any = any));
    ag_tensor *g[2];
    CHECK(ag_grad(&loss, 1, ((ag_tensor *[]){ x, y }), 2, g, .create_graph = true));
    CHECK_INT(k.calls, 2);
}

static ag_tensor *fails(ag_tensor *grad, void *user)
{
    (void)user;
    ag_fail(ag_context_of(grad), AG_ERR_VALUE, "it does not want");
    return NULL;
}

/* The record of a pass that fails before all gradients are there goes with the pass. */
static void t_ring_through_a_multi_hook_of_a_failed_pass(ag_context *c)
{
    trouble k = { 0 };
    ag_tensor *x = leaf(c), *y = ag_exp(x), *z = ag_mul(y, y), *loss = ag_sum(z);
    CHECK(loss);
    CHECK(ag_register_multi_grad_hook(((ag_tensor *[]){ x, z, y }), 3, forget_gradients, &k));
    CHECK(ag_register_hook(y, fails, NULL));
    CHECK_ERROR(ag_backward(loss, .create_graph = true), AG_ERR_VALUE, "it does not want");
}

static bool save_a_view(ag_ctx *x, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    out[0] = ag_clone(in[0]);
    return ag_ctx_save(x, (ag_tensor *[]){ ag_select(out[0], 0, 0) }, 1);
}

static void t_ring_through_a_view_of_an_output(ag_context *c)
{
    static const ag_custom f = { .forward = save_a_view, .backward = give_twice };
    ag_tensor *x = leaf(c), *y = NULL;
    CHECK(ag_apply(&f, &x, 1, &y, 1, NULL));
    CHECK(ag_backward(ag_sum(y), .retain_graph = true));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

/* ---- passes in odd places ---- */

typedef struct {
    ag_tensor *root, *t;
    int runs;
} again;

static ag_tensor *unpack_backward(void *packed, void *user)
{
    again *k = user;
    if (k->runs++ == 0)
        ag_backward(k->root);
    return packed;
}

static void t_unpack_runs_the_pass(ag_context *c)
{
    again k = { 0 };
    CHECK(ag_saved_hooks_push(c, pack_keep, unpack_backward, &k, .free_packed = free_keep));
    ag_tensor *x = leaf(c), *y = ag_mul(x, x);
    ag_saved_hooks_pop(c);
    k.root = ag_sum(y);
    CHECK(k.root);
    CHECK_ERROR(ag_backward(k.root), AG_ERR_GRAD,
                "Trying to backward through the graph a second time");
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(3, -4), 0);
}

/* ... of values that are not packed, beside one that is. */
static void t_unpack_runs_the_pass_beside_plain_values(ag_context *c)
{
    again k = { 0 };
    ag_tensor *x = leaf(c), *w = leaf(c), *y = ag_mul(ag_exp(x), ag_exp(w));
    CHECK(y && ag_node_saved_set_hooks(ag_grad_fn(y), 1, pack_keep, unpack_backward, &k,
                                       .free_packed = free_keep));
    k.root = ag_sum(y);
    CHECK(k.root);
    CHECK_ERROR(ag_backward(k.root), AG_ERR_GRAD,
                "Trying to backward through the graph a second time");
}

static void *pack_backward(ag_tensor *t, void *user)
{
    again *k = user;
    if (k->runs++ == 0)
        ag_backward(k->root);
    return ag_retain(t);
}
static void *pack_pack(ag_tensor *t, void *user)
{
    again *k = user;
    if (k->runs++ == 0)
        ag_node_saved_set_hooks(ag_grad_fn(k->t), 0, pack_pack, unpack_keep, user,
                                .free_packed = free_keep);
    return ag_retain(t);
}

static void t_pack_runs_the_pass(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_exp(ag_mul(x, x));
    again k = { .root = ag_sum(y) };
    CHECK(k.root);
    CHECK_ERROR(ag_node_saved_set_hooks(ag_grad_fn(y), 0, pack_backward, unpack_keep, &k,
                                        .free_packed = free_keep),
                AG_ERR_GRAD, "after it has been freed");
    CHECK(ag_grad_of(x));
}

static void t_pack_packs_the_same_value(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_exp(x);
    again k = { .t = y };
    CHECK(y);
    CHECK_ERROR(ag_node_saved_set_hooks(ag_grad_fn(y), 0, pack_pack, unpack_keep, &k,
                                        .free_packed = free_keep),
                AG_ERR_GRAD, "whose hooks have already been set");
    CHECK(ag_backward(ag_sum(y)));
    CHECK_CLOSE(ag_at(ag_grad_of(x), 0), exp(1.5), 1e-12);
}

static bool run_again_backward(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    again *k = user;
    (void)n, (void)m;
    if (k->runs++ == 1)
        ag_backward(k->root);
    out[0] = ag_mul(ag_exp(in[0]), ag_sin(in[0]));
    return out[0] != NULL;
}

static void t_recomputation_runs_the_pass(ag_context *c)
{
    again k = { 0 };
    ag_tensor *x = leaf(c), *y = NULL;
    if (harness_faults()) /* an error of the inner pass is forgotten when all values are there */
        return;
    CHECK(x && ag_checkpoint(run_again_backward, &x, 1, &y, 1, &k));
    k.root = ag_sum(y);
    CHECK(k.root);
    CHECK_ERROR(ag_backward(k.root), AG_ERR_GRAD, "");
    CHECK(ag_grad_of(x));
}

static bool pops(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_context *c = ag_context_of(in[0]);
    (void)n, (void)m;
    if (*(int *)user < 2)
        ag_saved_hooks_pop(c);
    if (*(int *)user > 0)
        push_identity(c);
    return (out[0] = ag_mul(in[0], in[0])) != NULL;
}

/* The function of a checkpoint pops more, as many, or fewer hooks than it pushes. */
static void t_checkpoint_whose_function_pops(ag_context *c)
{
    for (int way = 0; way < 3; way++) {
        ag_tensor *x = leaf(c), *y = NULL;
        CHECK(x && ag_checkpoint(pops, &x, 1, &y, 1, &way));
        CHECK(ag_backward(ag_sum(y)));
        CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(3, -4), 0);
    }
}

static void free_runs_the_pass(void *packed, void *user)
{
    again *k = user;
    ag_release(packed);
    if (k->runs++ == 0) {
        ag_backward(k->t);
        ag_backward(k->root);
    }
}

/* Saved values are being given up: what is there still can be used. */
static void t_free_packed_runs_passes(ag_context *c)
{
    static again k; /* static: values are given up after a check that jumped, too */
    k = (again){ 0 };
    CHECK(ag_saved_hooks_push(c, pack_keep, unpack_keep, &k, .free_packed = free_runs_the_pass));
    harness_defer(pop_hooks, c);
    ag_tensor *x = leaf(c), *w = leaf(c), *y = ag_exp(ag_mul(x, x));
    k.root = ag_sum(y);
    k.t = ag_sum(ag_mul(ag_exp(w), w));
    if (!k.root || !k.t)
        k.runs = 1;
    CHECK(k.root && k.t);
    const bool ok = ag_backward(k.root);
    k.runs = 1;
    CHECK(ok);
    CHECK_ERROR(false, AG_ERR_GRAD, "Trying to backward through the graph a second time");
    CHECK(ag_grad_of(x) && ag_grad_of(w));
}

static bool fill_rows(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    ag_tensor *rows = ag_zeros(ag_context_of(in[0]), AG_SHAPE(2, 2), .dtype = AG_F64);
    ag_copy_(ag_select(rows, 0, 0), ag_mul(in[0], in[0]));
    ag_mul_(ag_select(rows, 1, 0), ag_sum(in[0]));
    ag_sin_(ag_select(ag_transpose(rows, 0, 1), 0, 1));
    return (out[0] = ag_mul(rows, rows)) != NULL;
}

static void t_third_derivative_through_writes(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = NULL, *g = NULL;
    if (harness_faults())
        return;
    CHECK(ag_gradgradcheck(fill_rows, &x, 1, NULL));
    CHECK(fill_rows(&x, 1, &y, 1, NULL));
    y = ag_sum(y);
    for (int k = 0; k < 4; k++) {
        CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
        CHECK(y = ag_sum(ag_mul(g, g)));
    }
}

static ag_tensor *cancels(ag_tensor *grad, void *user)
{
    (void)user;
    ag_set_cancelled(ag_context_of(grad), true);
    return NULL;
}

static void t_cancelled_by_a_hook(ag_context *c)
{
    trouble k = { 0 };
    ag_tensor *x = leaf(c), *y = ag_exp(x), *loss = ag_sum(ag_mul(y, y));
    CHECK(loss && ag_register_multi_grad_hook(((ag_tensor *[]){ x, y }), 2, forget_gradients, &k));
    ag_hook *h = ag_register_hook(y, cancels, NULL);
    CHECK(h);
    WATCH(x);
    CHECK_ERROR(ag_backward(loss), AG_ERR_CANCELLED,
                "backward was cancelled before AccumulateGrad");
    UNWATCH();
    ag_set_cancelled(c, false);
    ag_hook_remove(h);
    CHECK(ag_backward(loss));
    CHECK_INT(k.calls, 1);
    CHECK_CLOSE(ag_at(ag_grad_of(x), 0), 2 * exp(3), 1e-12);
}

static bool dirty_twice(ag_ctx *x, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    for (int i = 0; i < n; i++)
        ag_ctx_mark_dirty(x, in[i]);
    ag_ctx_mark_non_differentiable(x, in[0]);
    for (int j = 0; j < m; j++)
        out[j] = ag_mul_(in[0], 2);
    return out[0] != NULL;
}

static void t_dirty_in_many_ways(ag_context *c)
{
    static const ag_custom f = { .forward = dirty_twice, .backward = give_twice };
    for (int many = 0; many < 2; many++) {
        ag_tensor *x = leaf(c), *y = ag_mul(x, 1), *out[3] = { NULL, NULL, NULL };
        ag_tensor *in[3] = { y, y, y };
        CHECK(y);
        CHECK(ag_apply(&f, in, 1 + 2 * many, out, 1 + 2 * many, NULL));
        CHECK(out[0] == y);
        ag_backward(ag_sum(out[0]));
        ag_error_clear(c);
    }
}

static void t_edges_of_leaves(ag_context *c)
{
    ag_tensor *x = leaf(c), *e = ag_gradient_edge(x), *one = ag_ones_like(x);
    CHECK(e && one && ag_retain_grad(e));
    CHECK(ag_backward(e, .gradient = one));
    CHECK(ag_backward(ag_sum(ag_mul(x, 2)), .inputs = &e, .n_inputs = 1));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(3, 3), 0);
    ag_tensor *y = ag_mul(e, 2); /* zeros, at the place of x */
    CHECK(ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(5, 5), 0);
    CHECK(ag_detach_(e));
}

static bool save_both(ag_ctx *x, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)m;
    out[0] = ag_mul(in[0], in[n - 1]);
    return ag_ctx_save(x, in, n) && out[0];
}
static bool backward_inside(ag_ctx *x, ag_tensor *const *g, ag_tensor **in)
{
    again *k = ag_ctx_user(x);
    if (k->runs++ == 0)
        ag_backward(k->root);
    in[0] = ag_mul(g[0], ag_ctx_saved(x, 1));
    in[1] = ag_mul(g[0], ag_ctx_saved(x, 0));
    return in[0] && in[1];
}

static void t_rule_runs_the_pass(ag_context *c)
{
    static const ag_custom f = { .forward = save_both, .backward = backward_inside };
    for (int packed = 0; packed < 3; packed++) {
        again k = { 0 };
        ag_tensor *in[2] = { leaf(c), leaf(c) }, *y = NULL;
        CHECK(packed == 0 || push_identity(c));
        if (packed == 2)
            AG_SCOPE (c)
                CHECK(ag_apply(&f, (ag_tensor *[]){ ag_mul(in[0], 2), ag_mul(in[1], 2) }, 2, &y, 1,
                               &k) &&
                      ag_keep(y));
        else
            CHECK(ag_apply(&f, in, 2, &y, 1, &k));
        if (packed)
            ag_saved_hooks_pop(c);
        k.root = ag_sum(y);
        CHECK(k.root);
        CHECK_ERROR(ag_backward(k.root), AG_ERR_GRAD,
                    "Trying to backward through the graph a second time");
        CHECK(ag_grad_of(in[0]));
    }
}

static bool drop_inputs(ag_ctx *x, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)x, (void)m;
    out[0] = ag_mul(in[0], 2);
    for (int i = 0; i < n; i++)
        ag_drop(in[i]);
    return out[0] != NULL;
}

static void t_forward_drops_its_inputs(ag_context *c)
{
    static const ag_custom f = { .forward = drop_inputs, .backward = give_twice };
    ag_tensor *in = leaf(c), *y = NULL;
    CHECK(ag_apply(&f, &in, 1, &y, 1, NULL));
    CHECK(ag_backward(ag_sum(y)));
}

/* ---- a pass that fails ---- */

static void t_failed_pass_retains_no_gradient(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_mul(x, 2), *loss = ag_sum(y);
    CHECK(loss);
    ag_hook *h = ag_register_hook(y, fails, NULL);
    CHECK(h);
    CHECK_ERROR(ag_backward(loss, .inputs = &y, .n_inputs = 1), AG_ERR_VALUE, "it does not want");
    CHECK(!ag_retains_grad(y));
    ag_hook_remove(h);
    CHECK(ag_backward(loss, .inputs = &y, .n_inputs = 1));
    CHECK(ag_retains_grad(y));
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(1, 1), 0);
}

static void t_view_whose_base_left_the_graph(ag_context *c)
{
    ag_tensor *x = leaf(c), *v = ag_select(x, 0, 0);
    CHECK(v && ag_requires_grad_(x, false));
    CHECK(ag_add_(x, 1));
    CHECK(ag_backward(ag_mul(v, v)));
    CHECK(!ag_grad_of(x));
}

/* ---- more than fits ---- */

static bool first_input(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_mul(in[0], in[0])) != NULL;
}

static void t_seventy_thousand_operands(ag_context *c)
{
    enum { MANY = 70000 };
    static ag_tensor *in[MANY], *out[MANY];
    static const ag_custom f = { .forward = pass_on, .backward = give_twice };
    if (harness_faults())
        return;
    ag_tensor *x = leaf(c), *one = ag_select(x, 0, 0), *y = NULL;
    CHECK(one);
    for (int i = 0; i < MANY; i++)
        in[i] = one;
    CHECK_ERROR(ag_stack(in, MANY, 0), AG_ERR_VALUE, "70000 tensors are more than 65535");
    CHECK_ERROR(ag_apply(&f, in, MANY, &y, 1, NULL), AG_ERR_VALUE, "65535 at most");
    CHECK_ERROR(ag_checkpoint(first_input, in, MANY, &y, 1, NULL), AG_ERR_VALUE, "65535");
    CHECK_ERROR(ag_unbind(ag_expand(one, AG_SHAPE(MANY)), 0, out, MANY) >= 0, AG_ERR_UNSUPPORTED,
                "65535 at most");
    ag_tensor *loss = ag_mul(one, one);
    CHECK(loss && ag_grad(&loss, 1, in, MANY, out, .retain_graph = true));
    CHECK_CLOSE(ag_item(out[MANY - 1]), 3, 0);
    CHECK(ag_vjp(first_input, in, MANY, &y, 1, NULL, out, NULL));
    CHECK_CLOSE(ag_item(out[0]), 3, 0);
    CHECK(ag_jvp(first_input, in, MANY, in, &y, 1, out, NULL));
    CHECK_CLOSE(ag_item(out[0]), 4.5, 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_freeing_a_hook_removes_others), TEST(t_freeing_hooks_that_were_called),
               TEST(t_freeing_a_hook_frees_its_node), TEST(t_freeing_a_multi_hook_removes_it),
               TEST(t_hook_moves_a_retained_gradient), TEST(t_hook_drops_what_it_replaces),
               TEST(t_hook_drops_an_input_of_the_pass),
               TEST(t_hook_writes_into_an_input_of_the_pass), TEST(t_free_ends_the_scope_that_ends),
               TEST(t_free_closes_the_context), TEST(t_gradient_dies_while_gradients_are_written),
               TEST(t_close_pops_what_was_pushed), TEST(t_ring_through_packed_values),
               TEST(t_ring_through_values_packed_later), TEST(t_ring_through_offloaded_values),
               TEST(t_ring_through_a_multi_hook),
               TEST(t_ring_through_a_multi_hook_of_a_failed_pass),
               TEST(t_ring_through_a_view_of_an_output), TEST(t_unpack_runs_the_pass),
               TEST(t_unpack_runs_the_pass_beside_plain_values), TEST(t_pack_runs_the_pass),
               TEST(t_pack_packs_the_same_value), TEST(t_recomputation_runs_the_pass),
               TEST(t_rule_runs_the_pass), TEST(t_forward_drops_its_inputs),
               TEST(t_failed_pass_retains_no_gradient), TEST(t_view_whose_base_left_the_graph),
               TEST(t_ring_through_a_leaf_that_is_a_view), TEST(t_write_packs_the_old_value),
               TEST(t_checkpoint_whose_function_pops), TEST(t_free_packed_runs_passes),
               TEST(t_third_derivative_through_writes), TEST(t_cancelled_by_a_hook),
               TEST(t_dirty_in_many_ways), TEST(t_edges_of_leaves),
               TEST(t_seventy_thousand_operands));
}
