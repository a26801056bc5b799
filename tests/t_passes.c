/* Backward passes from within: their order, passes inside passes, callbacks, passes that
 * stop, large graphs. Expectations are PyTorch's. */
#include "harness.h"

#include <stdlib.h>

static ag_tensor *leaf(ag_context *c, double v)
{
    return ag_scalar(c, v, .dtype = AG_F64, .requires_grad = true);
}

static int64_t n_nodes(ag_context *c)
{
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    return s.nodes;
}

static const char second_time[] = "Trying to backward through the graph a second time (or directly "
                                  "access saved tensors after they have already been freed).";

/* ---- order ---- */

typedef struct {
    ag_context *c;
    char log[32];
    int n;
} journal;
typedef struct {
    journal *j;
    char letter;
} entry;

static ag_tensor *note(ag_tensor *grad, void *user)
{
    entry *e = user;
    (void)grad;
    e->j->log[e->j->n++] = e->letter;
    e->j->log[e->j->n] = '\0';
    return NULL;
}

/* Of what is ready the newest operation runs first, but leaves before all. */
static void t_order_of_nodes(ag_context *c)
{
    journal j = { .c = c };
    entry e[] = { { &j, 'a' }, { &j, 'b' }, { &j, 'c' }, { &j, 'x' }, { &j, 'w' } };
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3);
    ag_tensor *p = ag_sin(x), *q = ag_sin(w), *r = ag_sin(p);
    ag_tensor *on[] = { p, q, r, x, w };
    for (int i = 0; i < 5; i++)
        CHECK(ag_register_hook(on[i], note, &e[i]));
    CHECK(ag_backward(ag_add(r, q)));
    CHECK_TEXT(j.log, "cbwax");
}

/* ---- passes inside passes ---- */

typedef struct {
    ag_context *c;
    int left, reached;
} depth;

static ag_tensor *deeper(ag_tensor *grad, void *user)
{
    depth *d = user;
    (void)grad;
    d->reached++;
    if (d->left-- == 0)
        return NULL;
    AG_SCOPE (d->c)
        AG_ENABLE_GRAD (d->c) {
            ag_tensor *x = leaf(d->c, 3), *y = ag_mul(x, x);
            if (!ag_register_hook(y, deeper, d) || !ag_backward(y))
                return NULL;
            if (ag_item(ag_grad_of(x)) != 6)
                ag_fail(d->c, AG_ERR_INTERNAL, "the gradient of x is wrong");
        }
    return NULL;
}

static void t_passes_2000_deep(ag_context *c)
{
    for (int i = 0; i < 2; i++) {
        const int n = harness_faults() ? 3 : i ? 200 : 2000;
        depth d = { .c = c, .left = n };
        ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
        CHECK(ag_register_hook(y, deeper, &d) && ag_backward(y));
        CHECK_INT(d.reached, n + 1);
        CHECK_CLOSE(ag_item(ag_grad_of(x)), 4, 0);
    }
}

/* A pass over the graph that is being walked, its values retained. */
typedef struct {
    ag_tensor *y, *x;
    bool started;
    double seen;
} inner;

static ag_tensor *over_the_same_graph(ag_tensor *grad, void *user)
{
    inner *in = user;
    ag_tensor *g;
    (void)grad;
    if (in->started)
        return NULL;
    in->started = true;
    if (ag_grad(&in->y, 1, &in->x, 1, &g, .retain_graph = true))
        in->seen = ag_item(g);
    return NULL;
}

static void t_a_pass_over_the_graph_of_its_pass(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(ag_mul(x, x), x), *z = ag_mul(y, y);
    inner in = { y, x, false, NAN };
    CHECK(ag_register_hook(y, over_the_same_graph, &in));
    CHECK(ag_backward(z));
    CHECK_CLOSE(in.seen, 12, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 192, 0);
}

/* The inner pass gives up what the outer one has yet to use. */
static ag_tensor *frees_below(ag_tensor *grad, void *user)
{
    (void)grad;
    ag_backward(user);
    return NULL;
}

static void t_an_inner_pass_frees_for_the_outer(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_exp(x), *alias = ag_mul(y, 1), *z = ag_mul(ag_sin(y), y);
    CHECK(z && alias && ag_register_hook(z, frees_below, alias));
    CHECK_ERROR(ag_backward(z), AG_ERR_GRAD, second_time);
}

static ag_tensor *fails_inside(ag_tensor *grad, void *user)
{
    ag_tensor *g;
    (void)grad;
    ag_grad(user, 1, user, 1, &g); /* of a tensor without a graph */
    return NULL;
}

static void t_errors_of_inner_passes_come_out(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x), *plain = ag_scalar(c, 1);
    ag_hook *hook = ag_register_hook(y, fails_inside, &plain);
    CHECK(plain && hook);
    WATCH(x);
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "does not require grad");
    CHECK(!ag_grad_of(x));
    UNWATCH();
    ag_hook_remove(hook);
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 4, 0);
}

/* ---- callbacks ---- */

typedef struct {
    ag_context *c;
    ag_tensor *x; /* whose .grad it looks at */
    int called, chain, inner_called;
    double seen;
    int nested; /* passes that hooks are to start */
} callbacks;

static void at_the_end(void *user)
{
    callbacks *k = user;
    k->called++;
    k->seen = k->x && ag_grad_of(k->x) ? ag_item(ag_grad_of(k->x)) : NAN;
    if (k->chain-- > 0)
        ag_queue_callback(k->c, at_the_end, k);
}

static ag_tensor *queues(ag_tensor *grad, void *user)
{
    callbacks *k = user;
    (void)grad;
    ag_queue_callback(k->c, at_the_end, k);
    return NULL;
}

static void t_callbacks_come_at_the_end(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    callbacks k = { .c = c, .x = x };
    CHECK(ag_register_hook(y, queues, &k) && ag_register_hook(x, queues, &k));
    CHECK(ag_backward(y));
    CHECK_INT(k.called, 2);
    CHECK_CLOSE(k.seen, 4, 0); /* .grad was written */
}

static void t_callbacks_add_callbacks(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    callbacks k = { .c = c, .x = x, .chain = 5 };
    CHECK(ag_register_hook(y, queues, &k) && ag_backward(y));
    CHECK_INT(k.called, 6);
}

static void in_the_inner_pass(void *user) { ++((callbacks *)user)->inner_called; }
static ag_tensor *queues_inner(ag_tensor *grad, void *user)
{
    callbacks *k = user;
    (void)grad;
    ag_queue_callback(k->c, in_the_inner_pass, k);
    return NULL;
}

static ag_tensor *nests(ag_tensor *grad, void *user)
{
    callbacks *k = user;
    (void)grad;
    ag_queue_callback(k->c, at_the_end, k);
    AG_ENABLE_GRAD (k->c) {
        ag_tensor *w = leaf(k->c, 1), *v = ag_mul(w, 2);
        if (!ag_register_hook(v, queues_inner, k) || !ag_backward(v))
            return NULL;
    }
    /* that of the inner pass has been called, ours has not */
    if (k->inner_called != 1 || k->called != 0)
        ag_fail(k->c, AG_ERR_INTERNAL, "%d inner, %d outer calls", k->inner_called, k->called);
    return NULL;
}

static void t_callbacks_belong_to_their_pass(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    callbacks k = { .c = c, .x = x };
    CHECK(ag_register_hook(y, nests, &k) && ag_backward(y));
    CHECK_INT(k.called, 1);
    CHECK_INT(k.inner_called, 1);
}

static void t_callbacks_need_a_pass(ag_context *c)
{
    callbacks k = { .c = c };
    CHECK_ERROR(ag_queue_callback(c, at_the_end, &k), AG_ERR_GRAD,
                "Final callbacks can only be installed during backward pass.");
    ag_tensor *x = leaf(c, 2);
    CHECK(ag_backward(ag_mul(x, x)));
    CHECK_ERROR(ag_queue_callback(c, at_the_end, &k), AG_ERR_GRAD, "Final callbacks");
    CHECK_INT(k.called, 0);
}

/* ---- passes from everywhere ---- */

typedef struct {
    ag_context *c;
    ag_tensor *x, *w;
    double seen[4];
    int n;
} starter;

static void starts_a_pass(void *user)
{
    starter *s = user;
    AG_ENABLE_GRAD (s->c)
        if (ag_backward(ag_mul(s->w, s->w)))
            s->seen[s->n++] = ag_item(ag_grad_of(s->x)) + ag_item(ag_grad_of(s->w));
}
static ag_tensor *queues_a_pass(ag_tensor *grad, void *user)
{
    (void)grad;
    ag_queue_callback(((starter *)user)->c, starts_a_pass, user);
    return NULL;
}

static void t_callbacks_start_passes(ag_context *c)
{
    starter s = { .c = c, .x = leaf(c, 2), .w = leaf(c, 3) };
    ag_tensor *y = ag_mul(s.x, s.x);
    CHECK(s.w && ag_register_hook(y, queues_a_pass, &s) && ag_backward(y));
    CHECK_INT(s.n, 1);
    CHECK_CLOSE(s.seen[0], 4 + 6, 0);
}

static void passes_over_itself(ag_tensor *x, void *user)
{
    starter *s = user;
    s->seen[s->n++] = ag_item(ag_grad_of(x));
    AG_ENABLE_GRAD (s->c)
        if (s->n < 3)
            ag_backward(ag_mul(x, 5));
}

static void t_post_accumulate_hooks_start_passes(ag_context *c)
{
    starter s = { .c = c };
    ag_tensor *x = leaf(c, 2);
    CHECK(ag_register_post_accumulate_grad_hook(x, passes_over_itself, &s));
    CHECK(ag_backward(ag_mul(x, 3)));
    CHECK_INT(s.n, 3);
    CHECK_CLOSE(s.seen[0], 3, 0);
    CHECK_CLOSE(s.seen[1], 8, 0);
    CHECK_CLOSE(s.seen[2], 13, 0);
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 13, 0);
}

static ag_tensor *passes_to_the_leaf(ag_tensor *grad, void *user)
{
    AG_ENABLE_GRAD (ag_context_of(grad))
        ag_backward(ag_mul((ag_tensor *)user, 10));
    return NULL;
}
static ag_tensor *sets_the_gradient(ag_tensor *grad, void *user)
{
    ag_set_grad(user, ag_scalar(ag_context_of(grad), 100, .dtype = AG_F64));
    return NULL;
}

/* What a pass adds comes to what is there when it adds. */
static void t_hooks_write_the_gradient_of_a_leaf(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, x);
    CHECK(ag_register_hook(y, passes_to_the_leaf, x) && ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 14, 0);
    ag_tensor *w = leaf(c, 2);
    CHECK(ag_register_hook(w, sets_the_gradient, w) && ag_backward(ag_mul(w, w)));
    CHECK_CLOSE(ag_item(ag_grad_of(w)), 104, 0);
}

/* ---- passes that stop ---- */

static ag_tensor *cancels(ag_tensor *grad, void *user)
{
    (void)grad;
    ag_set_cancelled(user, true);
    return NULL;
}

static void t_cancelling(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *y = ag_exp(x), *z = ag_mul(y, y);
    ag_hook *hook = ag_register_hook(y, cancels, c);
    CHECK(z && hook);
    WATCH(x);
    CHECK_ERROR(ag_backward(z), AG_ERR_CANCELLED, "cancel");
    CHECK_ERROR(ag_backward(z), AG_ERR_CANCELLED, "cancel"); /* until it is taken back */
    CHECK(!ag_grad_of(x));
    UNWATCH();
    ag_set_cancelled(c, false);
    ag_hook_remove(hook);
    CHECK(ag_backward(z));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 2 * exp(4), 1e-13);
}

static ag_tensor *refuses(ag_tensor *grad, void *user)
{
    const bool *refusing = user;
    if (*refusing)
        ag_fail(ag_context_of(grad), AG_ERR_VALUE, "not today");
    return NULL;
}

/* The second leaf is reached after the first has its gradient. */
static void t_a_failing_pass_changes_nothing(ag_context *c)
{
    bool refusing = true;
    ag_tensor *x = leaf(c, 2), *w = leaf(c, 3), *old = ag_scalar(c, 10, .dtype = AG_F64);
    ag_tensor *p = ag_exp(x), *y = ag_mul(p, ag_sin(w));
    CHECK(y && old && ag_set_grad(w, old) && ag_retain_grad(y));
    CHECK(ag_register_hook(x, refuses, &refusing));
    ag_memory_statistics before, after;
    ag_memory_stats(c, &before);
    WATCH(x);
    WATCH(w);
    for (int i = 0; i < 3; i++)
        CHECK_ERROR(ag_backward(y), AG_ERR_VALUE, "not today");
    UNWATCH();
    ag_memory_stats(c, &after);
    CHECK(!ag_grad_of(x) && !ag_grad_of(y) && ag_grad_of(w) == old);
    CHECK_CLOSE(ag_item(old), 10, 0);
    CHECK_INT(ag_version(old), 0);
    CHECK_INT(after.nodes, before.nodes);
    CHECK_INT(after.saved_bytes, before.saved_bytes);
    refusing = false;
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), exp(2) * sin(3), 1e-14);
    CHECK_CLOSE(ag_item(ag_grad_of(w)), 10 + exp(2) * cos(3), 1e-14);
    CHECK_CLOSE(ag_item(ag_grad_of(y)), 1, 0);
}

/* ---- memory ---- */

static void t_rings_through_gradients(ag_context *c)
{
    ag_tensor *x = leaf(c, 2);
    CHECK(x);
    AG_SCOPE (c)
        CHECK(ag_backward(ag_exp(x), .create_graph = true));
    CHECK(n_nodes(c) > 0); /* x.grad is of a graph that holds x */
    ag_zero_grad(x);
    CHECK_INT(n_nodes(c), 0);
    AG_SCOPE (c) {
        ag_tensor *w = leaf(c, 2); /* a ring that nobody holds goes with the context */
        CHECK(ag_backward(ag_mul(ag_exp(w), w), .create_graph = true));
        CHECK(ag_backward(ag_grad_of(w), .create_graph = true));
    }
}

static void t_results_of_grad_hold_no_graph(ag_context *c)
{
    ag_tensor *x = leaf(c, 2), *g = NULL;
    CHECK(x);
    AG_SCOPE (c) {
        ag_tensor *y = ag_exp(ag_mul(x, x));
        CHECK(ag_grad(&y, 1, &x, 1, &g, .retain_graph = true));
        ag_keep(g);
    }
    CHECK_INT(n_nodes(c), 0);
    CHECK_CLOSE(ag_item(g), 4 * exp(4), 1e-13);
}

/* ---- large graphs ---- */

static void t_a_chain_of_a_million(ag_context *c)
{
    const int n = harness_faults() ? 50 : 1000000;
    ag_tensor *x = leaf(c, 1), *y = ag_mul(x, 1);
    for (int i = 0; i < n; i++) {
        ag_tensor *next = i % 2 ? ag_neg(y) : ag_add(y, x);
        ag_drop(y);
        CHECK(y = next);
    }
    CHECK(ag_backward(y));
    /* y_{k+2} = -(y_k + x): of every four operations two cancel out */
    double expected = 1;
    for (int i = 0; i < n; i++)
        expected = i % 2 ? -expected : expected + 1;
    CHECK_CLOSE(ag_item(ag_grad_of(x)), expected, 0);
    ag_drop(y);
    CHECK_INT(n_nodes(c), 0);
}

static void t_a_chain_that_is_dropped(ag_context *c)
{
    const int n = harness_faults() ? 50 : 300000;
    ag_tensor *x = leaf(c, 1), *y = ag_mul(x, 1);
    for (int i = 0; i < n; i++) {
        ag_tensor *next = ag_mul(y, y);
        ag_drop(y);
        CHECK(y = next);
    }
    ag_drop(y);
    CHECK_INT(n_nodes(c), 0);
}

enum { FAN = 20000 };

static void t_wide_fans(ag_context *c)
{
    const int n = harness_faults() ? 20 : FAN;
    static ag_tensor *same[FAN], *many[FAN];
    ag_tensor *x = leaf(c, 2), *y = ag_mul(x, 3);
    for (int i = 0; i < n; i++) {
        same[i] = y;
        CHECK(many[i] = ag_mul(y, i));
    }
    ag_tensor *stack = ag_stack(same, n, 0);
    CHECK(ag_backward(ag_sum(stack), .retain_graph = true));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 3. * n, 0);
    ag_zero_grad(x);
    CHECK(ag_backward_all(many, n));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), 3. * n * (n - 1) / 2, 1e-14);
}

/* ---- a random graph, and the same in arrays ---- */

enum { DAG = 100000, DAG_LEAVES = 16, DAG_NEAR = 200 };
typedef struct {
    int kind, a, b;
    double value, gradient;
    ag_tensor *t;
} dag_node;

static uint32_t dag_dice;
static int dag_roll(int n)
{
    dag_dice = dag_dice * 1664525u + 1013904223u;
    return (int)((dag_dice >> 8) % (uint32_t)n);
}

static void dag_grow(dag_node *d, int i)
{
    const int near = i < DAG_NEAR ? i : DAG_NEAR;
    d->kind = dag_roll(20);
    d->a = i - 1 - dag_roll(near);
    d->b = dag_roll(50) ? i - 1 - dag_roll(near) : dag_roll(i);
    const dag_node *a = d - i + d->a, *b = d - i + d->b;
    switch (d->kind) {
    case 0:
        d->value = tanh(a->value);
        d->t = ag_tanh(a->t);
        break;
    case 1:
        d->value = a->value * b->value;
        d->t = ag_mul(a->t, b->t);
        break;
    case 2:
        d->value = sin(a->value);
        d->t = ag_sin(a->t);
        break;
    case 3:
        d->value = -a->value;
        d->t = ag_neg(a->t);
        break;
    case 4:
        d->value = a->value + .3;
        d->t = ag_add(a->t, .3);
        break;
    default: d->value = a->value + .25 * (b->value - a->value); d->t = ag_lerp(a->t, b->t, .25);
    }
    CHECK(d->t);
}

static void dag_back(const dag_node *d, dag_node *a, dag_node *b)
{
    const double g = d->gradient;
    switch (d->kind) {
    case 0: a->gradient += g * (1 - d->value * d->value); break;
    case 1: {
        const double u = a->value, v = b->value;
        a->gradient += g * v;
        b->gradient += g * u;
        break;
    }
    case 2: a->gradient += g * cos(a->value); break;
    case 3: a->gradient -= g; break;
    case 4: a->gradient += g; break;
    default: a->gradient += .75 * g; b->gradient += .25 * g;
    }
}

static void t_random_graphs(ag_context *c)
{
    static dag_node dag[DAG];
    memset(dag, 0, sizeof dag);
    const int n = harness_faults() ? 60 : DAG;
    dag_dice = 7;
    for (int i = 0; i < n; i++) {
        if (i < DAG_LEAVES) {
            dag[i].value = dag_roll(2001) / 1000. - 1;
            CHECK(dag[i].t = leaf(c, dag[i].value));
        } else {
            dag_grow(&dag[i], i);
        }
    }
    ag_tensor *roots[3], *gradients[3];
    for (int k = 0; k < 3; k++) {
        dag[n - 1 - 7 * k].gradient = k + 1;
        roots[k] = dag[n - 1 - 7 * k].t;
        CHECK(gradients[k] = ag_scalar(c, k + 1, .dtype = AG_F64));
    }
    for (int i = n - 1; i >= DAG_LEAVES; i--)
        dag_back(&dag[i], &dag[dag[i].a], &dag[dag[i].b]);
    CHECK(ag_backward_all(roots, 3, .gradients = gradients));
    double most = 0;
    for (int i = 0; i < DAG_LEAVES; i++)
        most = fmax(most, fabs(dag[i].gradient));
    CHECK(most > 1e-100);
    for (int i = 0; i < DAG_LEAVES; i++) {
        ag_tensor *g = ag_grad_of(dag[i].t);
        CHECK_CLOSE((g ? ag_item(g) : 0) / most, dag[i].gradient / most, 1e-9);
    }
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_order_of_nodes), TEST(t_passes_2000_deep),
               TEST(t_a_pass_over_the_graph_of_its_pass), TEST(t_an_inner_pass_frees_for_the_outer),
               TEST(t_errors_of_inner_passes_come_out), TEST(t_callbacks_come_at_the_end),
               TEST(t_callbacks_add_callbacks), TEST(t_callbacks_belong_to_their_pass),
               TEST(t_callbacks_need_a_pass), TEST(t_callbacks_start_passes),
               TEST(t_post_accumulate_hooks_start_passes),
               TEST(t_hooks_write_the_gradient_of_a_leaf), TEST(t_cancelling),
               TEST(t_a_failing_pass_changes_nothing), TEST(t_rings_through_gradients),
               TEST(t_results_of_grad_hold_no_graph), TEST(t_a_chain_of_a_million),
               TEST(t_a_chain_that_is_dropped), TEST(t_wide_fans), TEST(t_random_graphs));
}
