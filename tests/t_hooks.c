/* Hooks of tensors, of leaves, of nodes and of several tensors: when they are called and with
 * what, and what they may give back. Expectations are PyTorch's. */
#include "harness.h"

#include <stdio.h>

/* What hooks write down: a letter for each call, and the last gradient. */
typedef struct {
    char log[64];
    int n;
} journal;
typedef struct {
    journal *j;
    char letter;
    double factor; /* what the hook multiplies by; 0: it changes nothing */
    double seen;
    ag_hook *removes[2]; /* what the hook removes when it is called */
} entry;

static void note(entry *e, ag_tensor *grad)
{
    if (e->j && e->j->n < 63) {
        e->j->log[e->j->n++] = e->letter;
        e->j->log[e->j->n] = '\0';
    }
    e->seen = grad ? ag_item(ag_sum(grad)) : NAN;
    for (int i = 0; i < 2; i++)
        if (e->removes[i]) {
            ag_hook_remove(e->removes[i]);
            e->removes[i] = NULL;
        }
}

static ag_tensor *hook(ag_tensor *grad, void *user)
{
    entry *e = user;
    note(e, grad);
    return e->factor != 0 ? ag_mul(grad, e->factor) : NULL;
}
static void prehook(ag_tensor **grads, int n, void *user)
{
    entry *e = user;
    note(e, grads[0]);
    for (int i = 0; i < n && e->factor != 0; i++)
        grads[i] = grads[i] ? ag_mul(grads[i], e->factor) : NULL;
}
static void posthook(ag_tensor **grads_in, int n_in, ag_tensor *const *grads_out, int n_out,
                     void *user)
{
    entry *e = user;
    (void)n_out;
    note(e, grads_out[0]);
    for (int i = 0; i < n_in && e->factor != 0; i++)
        grads_in[i] = grads_in[i] ? ag_mul(grads_in[i], e->factor) : NULL;
}
static void leaf_hook(ag_tensor *leaf, void *user) { note(user, ag_grad_of(leaf)); }

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

/* ---- order ---- */

/* At each node: hooks of its results, prehooks, the rule, hooks after accumulation, hooks. */
static void t_order_at_a_node(ag_context *c)
{
    journal j = { .n = 0 };
    entry e[12];
    for (int i = 0; i < 12; i++)
        e[i] = (entry){ .j = &j, .letter = (char)('a' + i) };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    ag_node *mul = ag_grad_fn(y), *accumulate = accumulator(y);
    CHECK(mul && accumulate);
    CHECK(ag_node_register_hook(accumulate, posthook, &e[10]));
    CHECK(ag_register_post_accumulate_grad_hook(x, leaf_hook, &e[8]));
    CHECK(ag_node_register_prehook(accumulate, prehook, &e[7]));
    CHECK(ag_register_hook(x, hook, &e[5]));
    CHECK(ag_register_post_accumulate_grad_hook(x, leaf_hook, &e[9]));
    CHECK(ag_register_hook(x, hook, &e[6]));
    CHECK(ag_node_register_hook(mul, posthook, &e[4]));
    CHECK(ag_node_register_prehook(mul, prehook, &e[2]));
    CHECK(ag_register_hook(y, hook, &e[0]));
    CHECK(ag_node_register_prehook(mul, prehook, &e[3]));
    CHECK(ag_register_hook(y, hook, &e[1]));
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK_TEXT(j.log, "abcdefghijk");
    ag_tensor *g;
    j.n = 0;
    CHECK(ag_grad(&y, 1, &x, 1, &g)); /* the accumulator does not run */
    CHECK_TEXT(j.log, "abcdefg");
}

static void t_only_nodes_that_run_call_theirs(ag_context *c)
{
    journal j = { .n = 0 };
    entry t = { .j = &j, .letter = 't' }, pre = { .j = &j, .letter = 'p' },
          post = { .j = &j, .letter = 'q' };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_mul(y, 3), *g;
    CHECK(z && ag_node_register_hook(ag_grad_fn(y), posthook, &post));
    CHECK(ag_node_register_prehook(ag_grad_fn(y), prehook, &pre));
    CHECK(ag_register_hook(y, hook, &t));
    CHECK(ag_grad(&z, 1, &y, 1, &g, .retain_graph = true));
    CHECK_TEXT(j.log, "t");
    CHECK(ag_backward(z));
    CHECK_TEXT(j.log, "ttpq");
}

/* ---- hooks of tensors ---- */

static void t_hooks_replace_gradients(ag_context *c)
{
    entry a = { .factor = 2 }, b = { .factor = 5 }, none = { .factor = 0 }, on_x = { .factor = 10 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_mul(y, 3);
    CHECK(z && ag_register_hook(y, hook, &a) && ag_register_hook(y, hook, &none) &&
          ag_register_hook(y, hook, &b) && ag_register_hook(x, hook, &on_x));
    CHECK(ag_backward(z));
    CHECK_CLOSE(a.seen, 3, 0);
    CHECK_CLOSE(none.seen, 6, 0);
    CHECK_CLOSE(b.seen, 6, 0);
    CHECK_CLOSE(on_x.seen, 120, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 1200, 0);
}

/* The sum of all gradients comes to the hook, once. */
static void t_hooks_see_sums(ag_context *c)
{
    journal j = { .n = 0 };
    entry e = { .j = &j, .letter = 'y' }, on_x = { .j = &j, .letter = 'x' };
    ag_tensor *x = pair(c, 2, 3), *y = ag_mul(x, 2), *first = ag_select(y, 0, 0);
    CHECK(first && ag_register_hook(y, hook, &e) && ag_register_hook(x, hook, &on_x));
    CHECK(ag_backward(ag_add(ag_add(ag_sum(y), ag_mul(first, 4)), ag_sum(ag_mul(x, y)))));
    CHECK_TEXT(j.log, "yx");
    CHECK_CLOSE(e.seen, 1 + 1 + 4 + 2 + 3, 0);
}

static void t_hooks_of_roots(ag_context *c)
{
    entry e = { .factor = 2 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    CHECK(ag_register_hook(y, hook, &e));
    CHECK(ag_backward(y, .gradient = ag_scalar(c, 7, .dtype = AG_F64)));
    CHECK_CLOSE(e.seen, 7, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 56, 0);
    entry on_x = { .factor = 3 };
    ag_zero_grad(x);
    CHECK(ag_register_hook(x, hook, &on_x) && ag_backward(x));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 3, 0);
}

/* ag_grad gives what the hooks of an input have made of its gradient. */
static void t_hooks_of_inputs(ag_context *c)
{
    entry on_x = { .factor = 10 }, on_y = { .factor = 3 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_mul(y, 1), *g;
    CHECK(z && ag_register_hook(x, hook, &on_x) && ag_register_hook(y, hook, &on_y));
    CHECK(ag_grad(&z, 1, &x, 1, &g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g), 120, 0);
    CHECK(ag_grad(&z, 1, &y, 1, &g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g), 3, 0);
    CHECK(!ag_grad_of(x));
    CHECK(ag_backward(z));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 120, 0);
}

static void t_hooks_of_views(ag_context *c)
{
    entry on_v = { .factor = 10 }, on_x = { .factor = 0 };
    ag_tensor *x = pair(c, 2, 3), *v = ag_select(x, 0, 0);
    CHECK(ag_register_hook(v, hook, &on_v) && ag_register_hook(x, hook, &on_x));
    CHECK(ag_backward(ag_add(ag_mul(v, 2), ag_sum(x))));
    CHECK_CLOSE(on_v.seen, 2, 0);
    CHECK_CLOSE(on_x.seen, 22, 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(21, 1), 0);
}

static void t_no_hooks_without_gradients(ag_context *c)
{
    entry e = { .factor = 0 };
    ag_tensor *x = pair(c, 2, 3), *plain = ag_detach(x), *y = ag_mul(x, 2);
    static const char sentence[] =
        "cannot register a hook on a tensor that doesn't require gradient";
    CHECK(plain && y);
    CHECK_ERROR(ag_register_hook(plain, hook, &e), AG_ERR_GRAD, sentence);
    CHECK_ERROR(ag_register_post_accumulate_grad_hook(plain, leaf_hook, &e), AG_ERR_GRAD, sentence);
    CHECK_ERROR(ag_register_post_accumulate_grad_hook(y, leaf_hook, &e), AG_ERR_GRAD,
                "post accumulate grad hooks cannot be registered on non-leaf tensors");
    CHECK_ERROR(ag_retain_grad(plain), AG_ERR_GRAD,
                "can't retain_grad on Tensor that has requires_grad=False");
}

/* ---- hooks of tensors that are written ---- */

static void t_hooks_stay_with_the_old_node(ag_context *c)
{
    entry before = { .factor = 0 }, after = { .factor = 0 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
    CHECK(ag_register_hook(y, hook, &before) && ag_retain_grad(y));
    CHECK(ag_mul_(y, 3) && ag_register_hook(y, hook, &after));
    CHECK(ag_backward(ag_mul(y, 5)));
    CHECK_CLOSE(before.seen, 15, 0);
    CHECK_CLOSE(after.seen, 5, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 5, 0); /* retaining moves with the tensor */
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 30, 0);
}

static void t_hooks_of_a_view_that_is_written(ag_context *c)
{
    entry old_v = { .seen = -1 }, old_y = { .seen = -1 }, new_v = { .seen = -1 },
          new_y = { .seen = -1 };
    ag_tensor *x = pair(c, 2, 3), *y = ag_mul(x, 2), *v = ag_select(y, 0, 0);
    CHECK(v && ag_register_hook(v, hook, &old_v) && ag_register_hook(y, hook, &old_y));
    CHECK(ag_retain_grad(v) && ag_retain_grad(y));
    CHECK(ag_mul_(v, 3));
    CHECK(ag_register_hook(v, hook, &new_v) && ag_register_hook(y, hook, &new_y));
    CHECK(ag_backward(ag_add(ag_mul(ag_sum(y), 5), ag_mul(v, 7))));
    CHECK_CLOSE(old_v.seen, -1, 0); /* nothing comes by there any more */
    CHECK_CLOSE(old_y.seen, 36 + 5, 0);
    CHECK_CLOSE(new_v.seen, 7, 0);
    CHECK_CLOSE(new_y.seen, 12 + 5, 0);
    CHECK_VALUES(ag_grad_of(y), AG_SHAPE(2), AG_VALUES(12, 5), 0);
    CHECK_CLOSE(ag_item(ag_grad_of(v)), 7, 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(72, 10), 0);
}

static void t_hooks_of_a_view_whose_base_is_written(ag_context *c)
{
    entry old_v = { .seen = -1 }, new_v = { .seen = -1 };
    ag_tensor *x = pair(c, 2, 3), *y = ag_mul(x, 2), *v = ag_select(y, 0, 0);
    CHECK(v && ag_register_hook(v, hook, &old_v) && ag_retain_grad(v));
    CHECK(ag_mul_(y, 3) && ag_register_hook(v, hook, &new_v));
    CHECK(ag_backward(ag_add(ag_mul(ag_sum(y), 5), ag_mul(v, 7))));
    CHECK_CLOSE(old_v.seen, -1, 0);
    CHECK_CLOSE(new_v.seen, 7, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(v)), 7, 0);
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(2), AG_VALUES(72, 30), 0);
}

/* ---- retained gradients ---- */

/* They are what all hooks have made of it, those included that were registered later. */
static void t_retained_gradients_come_last(ag_context *c)
{
    entry a = { .factor = 2 }, b = { .factor = 3 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    CHECK(ag_register_hook(y, hook, &a) && ag_retain_grad(y) && ag_register_hook(y, hook, &b));
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 6, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 24, 0);
}

static void t_prehooks_come_after_retained_gradients(ag_context *c)
{
    entry e = { .factor = 2 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_mul(y, 3), *g[2], *in[] = { y, x };
    CHECK(z && ag_node_register_prehook(ag_grad_fn(y), prehook, &e));
    CHECK(ag_grad(&z, 1, in, 2, g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g[0]), 3, 0);
    CHECK_CLOSE(ag_item(g[1]), 24, 0);
    CHECK(ag_retain_grad(y) && ag_backward(z));
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 3, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 24, 0);
}

/* A tensor that goes before the pass takes its wish along. */
static void t_retaining_tensors_may_go(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
    CHECK(ag_retain_grad(y));
    ag_tensor *z = ag_mul(y, y);
    CHECK(z);
    ag_drop(y);
    CHECK(ag_backward(z));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 16, 0);
}

/* ---- removing ---- */

static void t_removed_in_any_order(ag_context *c)
{
    static const char orders[][4] = { "abc", "acb", "bac", "bca", "cab", "cba" };
    for (int o = 0; o < 6; o++) {
        journal j = { .n = 0 };
        entry e[3];
        ag_hook *handle[3];
        ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
        for (int i = 0; i < 3; i++) {
            e[i] = (entry){ .j = &j, .letter = (char)('a' + i) };
            CHECK(handle[i] = ag_register_hook(y, hook, &e[i]));
        }
        for (int i = 0; i < 3; i++) {
            ag_hook_remove(handle[orders[o][i] - 'a']);
            j.n = 0;
            j.log[0] = '\0';
            CHECK(ag_backward(y, .retain_graph = true));
            char left[4] = { 0 };
            for (int k = 0, n = 0; k < 3; k++)
                if (!memchr(orders[o], 'a' + k, (size_t)i + 1))
                    left[n++] = (char)('a' + k);
            CHECK_TEXT(j.log, left);
        }
    }
    ag_hook_remove(NULL);
}

static void t_hooks_remove_themselves_and_others(ag_context *c)
{
    journal j = { .n = 0 };
    entry a = { .j = &j, .letter = 'a' }, b = { .j = &j, .letter = 'b' },
          d = { .j = &j, .letter = 'd' };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
    CHECK(a.removes[0] = ag_register_hook(y, hook, &a));
    CHECK(b.removes[0] = ag_register_hook(y, hook, &b));
    ag_hook *last = ag_register_hook(y, hook, &d);
    CHECK(last && ag_backward(y, .retain_graph = true));
    CHECK_TEXT(j.log, "abd");
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK_TEXT(j.log, "abdd");
    entry e = { .j = &j, .letter = 'e', .removes = { last } };
    CHECK(e.removes[1] = ag_register_hook(y, hook, &e));
    CHECK(ag_backward(y, .retain_graph = true) && ag_backward(y, .retain_graph = true));
    CHECK_TEXT(j.log, "abddde");
}

static void t_node_hooks_remove_themselves(ag_context *c)
{
    journal j = { .n = 0 };
    entry a = { .j = &j, .letter = 'a' }, b = { .j = &j, .letter = 'b' },
          d = { .j = &j, .letter = 'd' }, l = { .j = &j, .letter = 'l' };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
    CHECK(y);
    CHECK(a.removes[0] = ag_node_register_prehook(ag_grad_fn(y), prehook, &a));
    CHECK(b.removes[0] = ag_node_register_hook(ag_grad_fn(y), posthook, &b));
    CHECK(ag_node_register_hook(ag_grad_fn(y), posthook, &d));
    CHECK(l.removes[0] = ag_register_post_accumulate_grad_hook(x, leaf_hook, &l));
    CHECK(ag_backward(y, .retain_graph = true) && ag_backward(y, .retain_graph = true));
    CHECK_TEXT(j.log, "abdld");
}

typedef struct {
    entry *later;
    ag_tensor *t;
    bool done;
} registrar;
static ag_tensor *registers(ag_tensor *grad, void *user)
{
    registrar *r = user;
    (void)grad;
    r->done = r->done || ag_register_hook(r->t, hook, r->later);
    return NULL;
}

static void t_hooks_register_hooks(ag_context *c)
{
    journal j = { .n = 0 };
    entry later = { .j = &j, .letter = 'l' };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 2);
    registrar r = { &later, y, false };
    CHECK(ag_register_hook(y, registers, &r) && ag_backward(y, .retain_graph = true));
    const int at_once = j.n;
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK_INT(j.n, at_once + 1);
}

/* ---- after accumulation ---- */

static void t_post_accumulate_hooks_see_the_gradient(ag_context *c)
{
    journal j = { .n = 0 };
    entry e = { .j = &j, .letter = 'p' };
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *y = ag_mul(x, x), *g;
    CHECK(ag_register_post_accumulate_grad_hook(x, leaf_hook, &e));
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK_CLOSE(e.seen, 4, 0);
    CHECK(ag_backward(y, .retain_graph = true));
    CHECK_CLOSE(e.seen, 8, 0);
    CHECK(ag_grad(&y, 1, &x, 1, &g)); /* nothing is accumulated */
    CHECK(ag_backward(ag_mul(w, 2)));
    CHECK_TEXT(j.log, "pp");
}

/* The gradient is used as soon as it is there, and given up. */
static void steps(ag_tensor *x, void *user)
{
    (void)user;
    AG_NO_GRAD (ag_context_of(x))
        if (ag_sub_(x, ag_mul(ag_grad_of(x), .1)))
            ag_zero_grad(x);
}

static void t_post_accumulate_hooks_step(ag_context *c)
{
    ag_tensor *x = leaf(c, 1), *w = leaf(c, 2);
    CHECK(ag_register_post_accumulate_grad_hook(x, steps, NULL));
    CHECK(ag_backward(ag_mul(x, w)));
    CHECK_CLOSE(ag_item(x), .8, 1e-15);
    CHECK(!ag_grad_of(x));
    CHECK_CLOSE(ag_item(ag_grad_of(w)), 1, 0);
    CHECK(ag_backward(ag_mul(x, w)));
    CHECK_CLOSE(ag_item(x), .6, 1e-15);
}

/* ---- hooks of nodes ---- */

static void t_prehooks_replace(ag_context *c)
{
    entry twice = { .factor = 2 }, after = { .factor = 0 }, post = { .factor = 0 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *z = ag_mul(y, 3);
    CHECK(z && ag_node_register_prehook(ag_grad_fn(y), prehook, &twice));
    CHECK(ag_node_register_prehook(ag_grad_fn(y), prehook, &after));
    CHECK(ag_node_register_hook(ag_grad_fn(y), posthook, &post));
    CHECK(ag_backward(z));
    CHECK_CLOSE(twice.seen, 3, 0);
    CHECK_CLOSE(after.seen, 6, 0);
    CHECK_CLOSE(post.seen, 6, 0); /* the gradients that the rule got */
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 24, 0);
}

static void t_prehooks_of_accumulators(ag_context *c)
{
    entry e = { .factor = 2 };
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *g;
    CHECK(y && ag_node_register_prehook(accumulator(y), prehook, &e));
    CHECK(ag_grad(&y, 1, &x, 1, &g, .retain_graph = true));
    CHECK_CLOSE(ag_item(g), 4, 0); /* the node does not run */
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 8, 0);
}

static void undefines(ag_tensor **grads, int n, void *user)
{
    (void)user;
    for (int i = 0; i < n; i++)
        grads[i] = NULL;
}

static void t_prehooks_may_undefine(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *y = ag_exp(x), *z = ag_add(y, w);
    CHECK(z && ag_node_register_prehook(ag_grad_fn(y), undefines, NULL));
    CHECK(ag_backward(z));
    CHECK(!ag_grad_of(x) && ag_grad_of(w));
}

typedef struct {
    double in[3], out;
    int n_in, n_out;
} gradients;
static void looks(ag_tensor **grads_in, int n_in, ag_tensor *const *grads_out, int n_out,
                  void *user)
{
    gradients *g = user;
    g->n_in = n_in;
    g->n_out = n_out;
    for (int i = 0; i < n_in && i < 3; i++)
        g->in[i] = grads_in[i] ? ag_item(grads_in[i]) : NAN;
    g->out = grads_out[0] ? ag_item(grads_out[0]) : NAN;
}
static void doubles_the_first(ag_tensor **grads_in, int n_in, ag_tensor *const *grads_out,
                              int n_out, void *user)
{
    (void)n_in;
    (void)grads_out;
    (void)n_out;
    (void)user;
    grads_in[0] = ag_mul(grads_in[0], 2);
}

static void t_posthooks_replace(ag_context *c)
{
    gradients first = { .n_in = 0 }, second = { .n_in = 0 };
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 5), *y = ag_mul(x, w), *z = ag_mul(y, 3);
    ag_node *n = z ? ag_grad_fn(y) : NULL;
    CHECK(n && ag_node_register_hook(n, looks, &first) &&
          ag_node_register_hook(n, doubles_the_first, NULL) &&
          ag_node_register_hook(n, looks, &second));
    CHECK(ag_backward(z));
    CHECK_INT(first.n_in, 2);
    CHECK_INT(first.n_out, 1);
    CHECK_CLOSE(first.out, 3, 0);
    CHECK_CLOSE(first.in[0], 15, 0);
    CHECK_CLOSE(first.in[1], 6, 0);
    CHECK_CLOSE(second.in[0], 30, 0);
    CHECK_CLOSE(second.in[1], 6, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 30, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(w)), 6, 0);
}

static void makes_up(ag_tensor **grads_in, int n_in, ag_tensor *const *grads_out, int n_out,
                     void *user)
{
    (void)n_out;
    (void)user;
    grads_in[n_in - 1] = ag_mul(grads_out[0], 1);
}

static void t_posthooks_make_no_gradient_up(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *w = ag_scalar(c, 3, .dtype = AG_F64), *y = ag_mul(x, w);
    CHECK(y && ag_node_register_hook(ag_grad_fn(y), makes_up, NULL));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "can't replace a None gradient with a non-None value");
    CHECK(!ag_grad_of(x));
}

/* ---- several tensors ---- */

typedef struct {
    int called, n;
    double sum[3];
} many;
static void multi_hook(ag_tensor *const *grads, int n, void *user)
{
    many *m = user;
    m->called++;
    m->n = n;
    for (int i = 0; i < n && i < 3; i++)
        m->sum[i] = grads[i] ? ag_item(grads[i]) : NAN;
}

/* Of those tensors that take part in the pass. */
static void t_all_gradients_are_known(ag_context *c)
{
    many m = { .called = 0 };
    ag_tensor *x = leaf(c, 1), *w = leaf(c, 2), *u = leaf(c, 3), *all[] = { x, w, u };
    CHECK(x && w && u);
    ag_hook *handle = ag_register_multi_grad_hook(all, 3, multi_hook, &m);
    CHECK(handle && ag_backward(ag_mul(x, w)));
    CHECK_INT(m.called, 1);
    CHECK_INT(m.n, 3);
    CHECK_CLOSE(m.sum[0], 2, 0);
    CHECK_CLOSE(m.sum[1], 1, 0);
    CHECK_CLOSE(m.sum[2], NAN, 0);
    CHECK(ag_backward(ag_mul(ag_mul(x, w), u)));
    CHECK_INT(m.called, 2);
    CHECK_CLOSE(m.sum[0], 6, 0);
    CHECK_CLOSE(m.sum[1], 3, 0);
    CHECK_CLOSE(m.sum[2], 2, 0);
    ag_hook_remove(handle);
    CHECK(ag_backward(ag_mul(x, w)));
    CHECK_INT(m.called, 2);
}

static void t_any_gradient_is_known(ag_context *c)
{
    many m = { .called = 0 };
    ag_tensor *x = leaf(c, 1), *y = ag_mul(x, 2), *z = ag_mul(y, 3), *all[] = { x, y, z };
    CHECK(z && ag_register_multi_grad_hook(all, 3, multi_hook, &m, .any = true));
    for (int i = 1; i <= 2; i++) {
        CHECK(ag_backward(ag_mul(z, 5), .retain_graph = true));
        CHECK_INT(m.called, i);
        CHECK_INT(m.n, 3);
        CHECK_CLOSE(m.sum[0], NAN, 0);
        CHECK_CLOSE(m.sum[1], NAN, 0);
        CHECK_CLOSE(m.sum[2], 5, 0);
    }
}

static void t_several_tensors_on_one_path(ag_context *c)
{
    many m = { .called = 0 };
    ag_tensor *x = leaf(c, 1), *y = ag_mul(x, 2), *z = ag_mul(y, 3), *all[] = { y, z, x }, *g;
    CHECK(z && ag_register_multi_grad_hook(all, 3, multi_hook, &m));
    CHECK(ag_backward(ag_mul(z, 5), .retain_graph = true));
    CHECK_INT(m.called, 1);
    CHECK_CLOSE(m.sum[0], 15, 0);
    CHECK_CLOSE(m.sum[1], 5, 0);
    CHECK_CLOSE(m.sum[2], 30, 0);
    CHECK(ag_grad(&z, 1, &y, 1, &g)); /* x takes no part */
    CHECK_INT(m.called, 2);
    CHECK_CLOSE(m.sum[0], 3, 0);
    CHECK_CLOSE(m.sum[2], NAN, 0);
}

static void t_a_pass_of_other_tensors(ag_context *c)
{
    many all = { .called = 0 }, any = { .called = 0 };
    ag_tensor *x = leaf(c, 1), *w = leaf(c, 2), *both[] = { x, w };
    CHECK(x && w && ag_register_multi_grad_hook(both, 2, multi_hook, &all) &&
          ag_register_multi_grad_hook(both, 2, multi_hook, &any, .any = true));
    CHECK(ag_backward(ag_mul(leaf(c, 3), 2)));
    CHECK_INT(all.called + any.called, 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_order_at_a_node), TEST(t_only_nodes_that_run_call_theirs),
               TEST(t_hooks_replace_gradients), TEST(t_hooks_see_sums), TEST(t_hooks_of_roots),
               TEST(t_hooks_of_inputs), TEST(t_hooks_of_views), TEST(t_no_hooks_without_gradients),
               TEST(t_hooks_stay_with_the_old_node), TEST(t_hooks_of_a_view_that_is_written),
               TEST(t_hooks_of_a_view_whose_base_is_written), TEST(t_retained_gradients_come_last),
               TEST(t_prehooks_come_after_retained_gradients), TEST(t_retaining_tensors_may_go),
               TEST(t_removed_in_any_order), TEST(t_hooks_remove_themselves_and_others),
               TEST(t_node_hooks_remove_themselves), TEST(t_hooks_register_hooks),
               TEST(t_post_accumulate_hooks_see_the_gradient), TEST(t_post_accumulate_hooks_step),
               TEST(t_prehooks_replace), TEST(t_prehooks_of_accumulators),
               TEST(t_prehooks_may_undefine), TEST(t_posthooks_replace),
               TEST(t_posthooks_make_no_gradient_up), TEST(t_all_gradients_are_known),
               TEST(t_any_gradient_is_known), TEST(t_several_tensors_on_one_path),
               TEST(t_a_pass_of_other_tensors));
}
