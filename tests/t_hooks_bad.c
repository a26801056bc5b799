/* Hooks that break the rules, that fail, that go, that compute. A pass that fails has changed
 * nothing. Expectations are PyTorch's. */
#include "harness.h"

static ag_tensor *leaf(ag_context *c, double v)
{
    return ag_scalar(c, v, .dtype = AG_F64, .requires_grad = true);
}
static ag_tensor *pair(ag_context *c, double v, double w)
{
    return ag_array(c, AG_VALUES(v, w), AG_SHAPE(2), .dtype = AG_F64, .requires_grad = true);
}
/* Of a result of a node whose first operand is a leaf. */
static ag_node *accumulator(ag_tensor *t)
{
    return t ? ag_node_next(ag_grad_fn(t), 0, NULL) : NULL;
}

/* ---- what hooks may not do ---- */

static ag_tensor *other_shape(ag_tensor *grad, void *user)
{
    (void)user;
    return ag_ones(ag_context_of(grad), AG_SHAPE(3), .dtype = AG_F64);
}
static ag_tensor *unsqueezed(ag_tensor *grad, void *user)
{
    (void)user;
    return ag_unsqueeze(grad, 0);
}
static ag_tensor *other_dtype(ag_tensor *grad, void *user)
{
    (void)user;
    return ag_to(grad, AG_F32);
}

static void t_shapes_and_dtypes_stay(ag_context *c)
{
    static const struct {
        ag_tensor *(*hook)(ag_tensor *, void *);
        ag_code code;
        const char *sentence;
    } bad[] = { { other_shape, AG_ERR_SHAPE, "has changed the size of value" },
                { unsqueezed, AG_ERR_SHAPE, "has changed the size of value" },
                { other_dtype, AG_ERR_DTYPE, "has changed the type of value" } };
    for (int i = 0; i < 3; i++) {
        ag_tensor *x = pair(c, 1, 2), *y = ag_mul(x, x), *s = ag_sum(y);
        ag_hook *on_y = ag_register_hook(y, bad[i].hook, NULL);
        CHECK(s && on_y);
        WATCH(x);
        CHECK_ERROR(ag_backward(s), bad[i].code, bad[i].sentence);
        ag_hook_remove(on_y);
        ag_hook *on_x = ag_register_hook(x, bad[i].hook, NULL);
        CHECK(on_x);
        CHECK_ERROR(ag_backward(s), bad[i].code, bad[i].sentence);
        UNWATCH();
        ag_hook_remove(on_x);
        CHECK(ag_backward(s));
        CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(2, 4), 0);
    }
}

static void pre_other_shape(ag_tensor **grads, int n, void *user)
{
    (void)n;
    grads[0] = other_shape(grads[0], user);
}
static void post_other_shape(ag_tensor **in, int n_in, ag_tensor *const *out, int n_out, void *user)
{
    (void)n_in;
    (void)n_out;
    in[0] = other_shape(out[0], user);
}

static void t_shapes_stay_at_nodes(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_mul(x, x), *s = ag_sum(y);
    ag_hook *pre = s ? ag_node_register_prehook(ag_grad_fn(y), pre_other_shape, NULL) : NULL;
    CHECK(pre);
    WATCH(x);
    CHECK_ERROR(ag_backward(s), AG_ERR_SHAPE, "has changed the size of value");
    ag_hook_remove(pre);
    ag_hook *post = ag_node_register_hook(ag_grad_fn(y), post_other_shape, NULL);
    CHECK(post);
    CHECK_ERROR(ag_backward(s), AG_ERR_SHAPE, "has changed the size of value");
    UNWATCH();
    ag_hook_remove(post);
    CHECK(ag_backward(s));
}

/* ---- hooks that fail ---- */

static ag_tensor *fails(ag_tensor *grad, void *user)
{
    ag_fail(user, AG_ERR_VALUE, "the hook has had enough");
    return grad;
}
static void pre_fails(ag_tensor **grads, int n, void *user)
{
    (void)n;
    fails(grads[0], user);
}
static void post_fails(ag_tensor **in, int n_in, ag_tensor *const *out, int n_out, void *user)
{
    (void)in;
    (void)n_in;
    (void)n_out;
    fails(out[0], user);
}
static void multi_fails(ag_tensor *const *grads, int n, void *user)
{
    (void)n;
    fails(grads[0], user);
}

static ag_hook *register_failing(ag_context *c, int which, ag_tensor *x, ag_tensor *y)
{
    ag_tensor *both[] = { x, y };
    switch (which) {
    case 0: return ag_register_hook(y, fails, c);
    case 1: return ag_register_hook(x, fails, c);
    case 2: return ag_node_register_prehook(ag_grad_fn(y), pre_fails, c);
    case 3: return ag_node_register_hook(ag_grad_fn(y), post_fails, c);
    case 4: return ag_node_register_prehook(accumulator(y), pre_fails, c);
    default: return ag_register_multi_grad_hook(both, 2, multi_fails, c);
    }
}

/* Nothing has changed then, and without the hook the pass runs through. */
static void t_failing_hooks(ag_context *c)
{
    for (int which = 0; which < 6; which++) {
        ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *old = ag_scalar(c, 1, .dtype = AG_F64);
        ag_tensor *y = ag_mul(x, w), *z = ag_exp(y);
        CHECK(z && old && ag_set_grad(w, old) && ag_retain_grad(z));
        ag_hook *failing = register_failing(c, which, x, y);
        CHECK(failing);
        WATCH(x);
        WATCH(w);
        for (int i = 0; i < 2; i++)
            CHECK_ERROR(ag_backward(z), AG_ERR_VALUE, "the hook has had enough");
        UNWATCH();
        CHECK(!ag_grad_of(x) && !ag_grad_of(z) && ag_grad_of(w) == old);
        CHECK_CLOSE(ag_item(old), 1, 0);
        ag_hook_remove(failing);
        CHECK(ag_backward(z));
        CHECK_CLOSE(ag_item(ag_grad_of(x)), 3 * exp(6), 1e-12);
        CHECK_CLOSE(ag_item(ag_grad_of(w)), 1 + 2 * exp(6), 1e-12);
        CHECK_CLOSE(ag_item(ag_grad_of(z)), 1, 0);
    }
}

static void leaf_fails(ag_tensor *x, void *user) { fails(x, user); }

static void t_failing_post_accumulate_hooks(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    ag_hook *failing = ag_register_post_accumulate_grad_hook(x, leaf_fails, c);
    CHECK(y && failing);
    CHECK_ERROR(ag_backward(y, .retain_graph = true), AG_ERR_VALUE, "the hook has had enough");
    ag_hook_remove(failing);
    ag_zero_grad(x);
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 4, 0);
}

/* ---- what a hook holds ---- */

static void count_free(void *user) { ++*(int *)user; }
static ag_tensor *counts(ag_tensor *grad, void *user)
{
    (void)grad;
    *(int *)user += 100;
    return NULL;
}
static void pre_counts(ag_tensor **grads, int n, void *user)
{
    (void)n;
    counts(grads[0], user);
}
static void post_counts(ag_tensor **in, int n_in, ag_tensor *const *out, int n_out, void *user)
{
    (void)in;
    (void)n_in;
    (void)n_out;
    counts(out[0], user);
}
static void leaf_counts(ag_tensor *x, void *user) { counts(x, user); }
static void multi_counts(ag_tensor *const *grads, int n, void *user)
{
    (void)n;
    counts(grads[0], user);
}

enum { KINDS = 6 };
static ag_hook *register_counting(int kind, ag_tensor *x, ag_tensor *y, int *count)
{
    ag_tensor *both[] = { x, y };
    switch (kind) {
    case 0: return ag_register_hook(y, counts, count);
    case 1: return ag_register_hook(x, counts, count);
    case 2: return ag_node_register_prehook(ag_grad_fn(y), pre_counts, count);
    case 3: return ag_node_register_hook(ag_grad_fn(y), post_counts, count);
    case 4: return ag_register_post_accumulate_grad_hook(x, leaf_counts, count);
    default: return ag_register_multi_grad_hook(both, 2, multi_counts, count);
    }
}

static void t_removed_hooks_free_once(ag_context *c)
{
    for (int kind = 0; kind < KINDS; kind++) {
        static int count; /* counted until the context closes, also when a check fails */
        count = 0;
        AG_SCOPE (c) {
            ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
            ag_hook *handle = y ? register_counting(kind, x, y, &count) : NULL;
            CHECK(handle);
            ag_hook_set_free(handle, count_free);
            CHECK(ag_backward(y, .retain_graph = true));
            CHECK_INT(count, 100);
            ag_hook_remove(handle);
            CHECK_INT(count, 101);
            CHECK(ag_backward(y, .retain_graph = true));
        }
        CHECK_INT(count, 101);
    }
}

static void t_hooks_free_when_their_graph_goes(ag_context *c)
{
    for (int kind = 0; kind < KINDS; kind++) {
        static int count;
        count = 0;
        AG_SCOPE (c) {
            ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
            ag_hook *handle = y ? register_counting(kind, x, y, &count) : NULL;
            CHECK(handle);
            ag_hook_set_free(handle, count_free);
            CHECK(ag_backward(ag_mul(y, 2)));
            CHECK_INT(count, 100);
        }
        CHECK_INT(count, 101);
    }
}

/* The hook of a result lives as long as the graph, that of a leaf as long as the leaf. */
static void t_hooks_live_with_the_graph(ag_context *c)
{
    static int on_y, on_x;
    on_y = on_x = 0;
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2), *z = ag_mul(y, 3);
    ag_hook *hy = z ? ag_register_hook(y, counts, &on_y) : NULL;
    ag_hook *hx = hy ? ag_register_hook(x, counts, &on_x) : NULL;
    CHECK(hx);
    ag_hook_set_free(hy, count_free);
    ag_hook_set_free(hx, count_free);
    ag_drop(y);
    CHECK_INT(on_y, 0);
    CHECK(ag_backward(z));
    CHECK_INT(on_y, 100);
    ag_drop(z);
    CHECK_INT(on_y, 101);
    CHECK_INT(on_x, 100);
    CHECK(ag_backward(ag_mul(x, 5))); /* in another graph */
    CHECK_INT(on_x, 200);
}

static void t_hooks_free_when_the_context_closes(ag_context *unused)
{
    (void)unused;
    for (int kind = 0; kind < KINDS; kind++) {
        static int count;
        count = 0;
        ag_context *c = ag_open();
        CHECK(c);
        ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
        ag_hook *handle = y ? register_counting(kind, x, y, &count) : NULL;
        if (handle)
            ag_hook_set_free(handle, count_free);
        ag_close(c);
        CHECK_INT(count, 1);
    }
}

/* From within, the hook goes when its call has returned at the earliest, and at the latest with the
 * pass. */
typedef struct {
    ag_hook *self;
    int freed, during;
} suicide;
static void suicide_free(void *user) { ((suicide *)user)->freed++; }
static ag_tensor *removes_itself(ag_tensor *grad, void *user)
{
    suicide *s = user;
    ag_hook_remove(s->self);
    s->during = s->freed;
    return ag_mul(grad, 2);
}

static void t_hooks_free_after_their_call(ag_context *c)
{
    static suicide s;
    s = (suicide){ .freed = 0 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 3);
    CHECK(s.self = ag_register_hook(y, removes_itself, &s));
    ag_hook_set_free(s.self, suicide_free);
    CHECK(ag_backward(y));
    CHECK_INT(s.during, 0);
    CHECK_INT(s.freed, 1);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 6, 0);
}

/* ---- hooks that compute ---- */

typedef struct {
    ag_context *c;
    char log[8];
    int n;
} modes;
static ag_tensor *notes_the_mode(ag_tensor *grad, void *user)
{
    modes *m = user;
    (void)grad;
    m->log[m->n++] = ag_grad_enabled(m->c) ? '1' : '0';
    return NULL;
}

/* They run in the mode of the pass. */
static void t_modes_of_hooks(ag_context *c)
{
    modes m = { .c = c };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    CHECK(ag_register_hook(y, notes_the_mode, &m) && ag_register_hook(x, notes_the_mode, &m));
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK(ag_backward(y, .create_graph = true));
    CHECK_TEXT(m.log, "0011");
    CHECK(ag_grad_enabled(c));
}

static ag_tensor *squares(ag_tensor *grad, void *user)
{
    (void)user;
    return ag_mul(grad, grad);
}

static void t_hooks_are_differentiated(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(ag_mul(x, x), x), *g, *h;
    CHECK(y && ag_register_hook(x, squares, NULL));
    CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
    CHECK_CLOSE(ag_item(g), 144, 0); /* (3 x^2)^2 */
    CHECK(ag_grad(&g, 1, &x, 1, &h));
    CHECK_CLOSE(ag_item(h), 288. * 288, 0); /* (36 x^3)^2 */
}

/* A penalty that needs a pass of its own. */
static ag_tensor *adds_inner_gradient(ag_tensor *grad, void *user)
{
    ag_context *c = user;
    ag_tensor *inner = ag_requires_grad_(ag_detach(grad), true);
    AG_ENABLE_GRAD (c)
        if (!ag_backward(ag_sum(ag_add(ag_mul(inner, 2), 5))))
            return NULL;
    return ag_add(ag_grad_of(inner), grad);
}

static void t_hooks_start_passes(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2), *y = ag_mul(x, x);
    CHECK(ag_register_hook(y, adds_inner_gradient, c) && ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(6, 12), 0);
    ag_zero_grad(x);
    CHECK(ag_register_hook(x, adds_inner_gradient, c) && ag_backward(ag_sum(ag_mul(x, 3))));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(5, 5), 0);
}

/* What a hook makes belongs to the pass, unless it is what the hook gives back. */
static void t_hooks_leave_nothing_behind(ag_context *c)
{
    ag_tensor *x = pair(c, 1, 2);
    CHECK(x && ag_register_hook(x, adds_inner_gradient, c));
    ag_memory_statistics before, after;
    ag_memory_stats(c, &before);
    for (int i = 0; i < 3; i++) {
        AG_SCOPE (c)
            CHECK(ag_backward(ag_sum(ag_mul(x, 3))));
        ag_zero_grad(x);
    }
    ag_memory_stats(c, &after);
    CHECK_INT(after.tensors, before.tensors);
    CHECK_INT(after.nodes, before.nodes);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_shapes_and_dtypes_stay), TEST(t_shapes_stay_at_nodes), TEST(t_failing_hooks),
               TEST(t_failing_post_accumulate_hooks), TEST(t_removed_hooks_free_once),
               TEST(t_hooks_free_when_their_graph_goes), TEST(t_hooks_live_with_the_graph),
               TEST(t_hooks_free_when_the_context_closes), TEST(t_hooks_free_after_their_call),
               TEST(t_modes_of_hooks), TEST(t_hooks_are_differentiated), TEST(t_hooks_start_passes),
               TEST(t_hooks_leave_nothing_behind));
}
