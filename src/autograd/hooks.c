/* Registering, calling and removing hooks. See hooks.h. */
#include "hooks.h"

#include "meta.h"
#include "view.h"

/* ---- lists ---- */

static ag_hook *hook_new(ag_context *c, ag__hook_kind kind, void *user)
{
    ag_hook *h = ag__alloc(c, sizeof *h);
    if (h)
        *h = (ag_hook){ .c = c, .kind = (uint8_t)kind, .user = user };
    return h;
}

/* At the end of n's list; n has its extra. */
static void hook_link(ag_hook *h, ag_node *n)
{
    ag_hook **at = &n->extra->hooks;
    while (*at)
        at = &(*at)->next;
    h->next = NULL;
    h->node = n;
    *at = h;
}

static void hook_free(ag_hook *h)
{
    if (h->retains)
        h->retains->meta->retains = NULL;
    if (h->free_user)
        h->free_user(h->user);
    ag__free(h->c, h, sizeof *h);
}

/* Unlinks all that were removed before it frees any: `free_user` may remove others, or be the end of n. */
static void hook_sweep(ag_node *n)
{
    ag_hook *gone = NULL, **last = &gone;
    for (ag_hook **at = &n->extra->hooks, *h; (h = *at);) {
        if (!h->removed) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        h->next = NULL;
        *last = h;
        last = &h->next;
    }
    n->extra->removed = false;
    while (gone) {
        ag_hook *h = gone;
        gone = h->next;
        hook_free(h);
    }
}

static void hook_remove(ag_hook *h)
{
    ag_node *n = h->node;
    h->removed = true;
    n->extra->removed = true;
    if (n->extra->calling == 0)
        hook_sweep(n);
}

void ag__hooks_free(ag_node *n)
{
    while (n->extra->hooks) {
        ag_hook *h = n->extra->hooks;
        n->extra->hooks = h->next;
        hook_free(h);
    }
}

/* ---- calling ---- */

static bool hook_check(const ag_hook *h, const ag_tensor *was, const ag_tensor *is)
{
    ag__shape_text a, b;
    const char *at = ag_node_name(h->node);
    if (!is || is == was)
        return true;
    if (is->c != h->c)
        return ag_fail(h->c, AG_ERR_VALUE, "hook at '%s' gave a tensor of another context", at);
    if (!was)
        return ag_fail(h->c, AG_ERR_GRAD,
                       "hook at '%s': can't replace a None gradient with a non-None value", at);
    if (is->dtype != was->dtype)
        return ag_fail(h->c, AG_ERR_DTYPE,
                       "hook at '%s' has changed the type of value (was %s got %s)", at,
                       ag_dtype_name((ag_dtype)was->dtype), ag_dtype_name((ag_dtype)is->dtype));
    return ag__same_shape(ag__sizes(is), ag__sizes(was)) ||
           ag_fail(h->c, AG_ERR_SHAPE, "hook at '%s' has changed the size of value (was %s got %s)",
                   at, ag__shape_string(&a, ag__sizes(was)), ag__shape_string(&b, ag__sizes(is)));
}

static bool hook_call_tensor(ag_hook *h, ag_tensor **g)
{
    const unsigned failures = h->c->failures;
    ag_tensor *next = h->call.tensor(g[h->nr], h->user);
    if (ag__failed_since(h->c, failures) || !hook_check(h, g[h->nr], next))
        return false;
    if (next && next != g[h->nr]) {
        ag__tensor_ref(next);
        ag__tensor_unref(g[h->nr]);
        g[h->nr] = next;
    }
    return true;
}

/* Entries that a hook has replaced fit what was there. */
static bool hook_check_all(const ag_hook *h, ag_tensor *const *was, ag_tensor *const *is, int n)
{
    for (int i = 0; i < n; i++)
        if (!hook_check(h, was[i], is[i]))
            return false;
    return true;
}

enum { HOOK_FEW = 8 };

/* Calls h, of a kind that replaces entries of a[0..n). */
static bool hook_call_list(ag_hook *h, ag_tensor **a, int n, ag_tensor *const *g)
{
    const unsigned failures = h->c->failures;
    const size_t bytes = (size_t)n * sizeof *a;
    ag_tensor *few[HOOK_FEW], **was = n <= HOOK_FEW ? few : ag__alloc(h->c, bytes);
    if (!was)
        return false;
    for (int i = 0; i < n; i++)
        was[i] = a[i] ? ag__tensor_ref(a[i]) : NULL;
    if (h->kind == AG_HOOK_BEFORE)
        h->call.before(a, n, h->user);
    else
        h->call.after(a, n, g, h->node->n_out, h->user);
    const bool ok = !ag__failed_since(h->c, failures) && hook_check_all(h, was, a, n);
    for (int i = 0; i < n; i++) {
        if (was[i] && was[i] == a[i] && was[i]->refs == 1)
            ag__lend(was[i]); /* the hook dropped what it left in its place */
        ag__tensor_unref(was[i]);
    }
    if (was != few)
        ag__free(h->c, was, bytes);
    return ok;
}

static bool hook_call(ag_hook *h, ag_tensor **a, int n, ag_tensor *const *g)
{
    if (h->kind == AG_HOOK_TENSOR)
        return hook_call_tensor(h, a);
    if (h->kind != AG_HOOK_ACCUMULATED)
        return hook_call_list(h, a, n, g);
    const unsigned failures = h->c->failures;
    h->call.accumulated(ag__node_leaf(h->node), h->user);
    return !ag__failed_since(h->c, failures);
}

/* Calls the hooks of a kind that are there now; those registered meanwhile wait for the next pass. */
static bool hooks_call(ag_node *n, ag__hook_kind kind, ag_tensor **a, int count,
                       ag_tensor *const *g)
{
    ag_hook *h = ag__hook_find(ag__hooks_of(n), kind), *last = NULL;
    for (ag_hook *at = h; at; at = ag__hook_find(at->next, kind))
        last = at; /* which stays where it is: only retained gradients move */
    if (!h)
        return true;
    bool ok = true;
    n->extra->calling++;
    for (;; h = h->next) {
        if (h->kind == kind && !h->removed)
            ok = hook_call(h, a, count, g);
        if (h == last || !ok)
            break;
    }
    if (--n->extra->calling == 0 && n->extra->removed)
        hook_sweep(n);
    return ok;
}

bool ag__hooks_tensor(ag_node *n, ag_tensor **g)
{
    return hooks_call(n, AG_HOOK_TENSOR, g, n->n_out, NULL);
}
bool ag__hooks_before(ag_node *n, ag_tensor **g)
{
    return hooks_call(n, AG_HOOK_BEFORE, g, n->n_out, NULL);
}
bool ag__hooks_after(ag_node *n, ag_tensor **in, ag_tensor *const *g)
{
    return hooks_call(n, AG_HOOK_AFTER, in, n->n_in, g);
}
bool ag__hooks_accumulated(ag_node *n, ag_tensor *g)
{
    return hooks_call(n, AG_HOOK_ACCUMULATED, NULL, 0, NULL) && ag__hooks_after(n, NULL, &g);
}

/* ---- retained gradients ---- */

bool ag__hooks_can_move(ag_tensor *t, ag_node *n)
{
    return !t->meta || !t->meta->retains || ag__node_extra(n);
}

void ag__hooks_move(ag_tensor *t, ag_node *n, int nr)
{
    ag_hook *h = t->meta ? t->meta->retains : NULL;
    if (!h || h->node == n)
        return;
    ag_hook **at = &h->node->extra->hooks;
    while (*at != h)
        at = &(*at)->next;
    *at = h->next;
    h->nr = nr;
    hook_link(h, n);
}

void ag__hooks_forget(ag_tensor *t)
{
    ag_hook *h = t->meta ? t->meta->retains : NULL;
    if (!h)
        return;
    h->retains = NULL;
    t->meta->retains = NULL;
    hook_remove(h);
}

bool ag_retains_grad(const ag_tensor *t) { return t && t->meta && t->meta->retains; }

bool ag_retain_grad(ag_tensor *t)
{
    if (!t || !ag__fresh(t) || !ag__has_place("ag_retain_grad", t))
        return false;
    if (!ag__wants_grad(t))
        return ag_fail(t->c, AG_ERR_GRAD,
                       "ag_retain_grad: can't retain_grad on Tensor that has requires_grad=False");
    if (!t->grad_fn || ag_retains_grad(t))
        return true;
    ag_hook *h =
        ag__node_extra(t->grad_fn) && ag__meta_of(t) ? hook_new(t->c, AG_HOOK_RETAIN, NULL) : NULL;
    if (!h)
        return false;
    h->retains = t;
    h->nr = t->output_nr;
    t->meta->retains = h;
    hook_link(h, t->grad_fn);
    return true;
}

/* ---- public ---- */

/* A hook for t at the node that its gradient reaches, with nothing to call yet. */
static ag_hook *hook_at_tensor(ag_tensor *t, ag__hook_kind kind, void *user)
{
    ag__edge e;
    if (!ag__gradient_edge(t, &e))
        return NULL;
    ag_hook *h = ag__node_extra(e.node) ? hook_new(t->c, kind, user) : NULL;
    if (h) {
        h->nr = e.nr;
        hook_link(h, e.node);
    }
    ag__node_unref(e.node);
    return h;
}

static bool hook_check_tensor(const char *name, ag_tensor *t)
{
    if (!t || !ag__fresh(t) || !ag__has_place(name, t))
        return false;
    return ag__wants_grad(t) ||
           ag_fail(t->c, AG_ERR_GRAD,
                   "%s: cannot register a hook on a tensor that doesn't require gradient", name);
}

ag_hook *ag_register_hook(ag_tensor *t, ag_tensor *(*hook)(ag_tensor *grad, void *user), void *user)
{
    if (t && !hook)
        return ag__fail(t->c, AG_ERR_VALUE, "ag_register_hook: hook is NULL");
    ag_hook *h =
        hook_check_tensor("ag_register_hook", t) ? hook_at_tensor(t, AG_HOOK_TENSOR, user) : NULL;
    if (h)
        h->call.tensor = hook;
    return h;
}

ag_hook *ag_register_post_accumulate_grad_hook(ag_tensor *leaf,
                                               void (*hook)(ag_tensor *leaf, void *user),
                                               void *user)
{
    static const char *const name = "ag_register_post_accumulate_grad_hook";
    if (leaf && !hook)
        return ag__fail(leaf->c, AG_ERR_VALUE, "%s: hook is NULL", name);
    if (!hook_check_tensor(name, leaf))
        return NULL;
    if (leaf->grad_fn)
        return ag__fail(leaf->c, AG_ERR_GRAD,
                        "%s: post accumulate grad hooks cannot be registered on non-leaf tensors",
                        name);
    ag_hook *h = hook_at_tensor(leaf, AG_HOOK_ACCUMULATED, user);
    if (h)
        h->call.accumulated = hook;
    return h;
}

static ag_hook *hook_at_node(const char *name, ag_node *n, bool given, ag__hook_kind kind,
                             void *user)
{
    if (n && !given)
        return ag__fail(n->c, AG_ERR_VALUE, "%s: hook is NULL", name);
    ag_hook *h = n && ag__node_extra(n) ? hook_new(n->c, kind, user) : NULL;
    if (h)
        hook_link(h, n);
    return h;
}

ag_hook *ag_node_register_prehook(ag_node *n, void (*hook)(ag_tensor **grads, int n, void *user),
                                  void *user)
{
    ag_hook *h = hook_at_node("ag_node_register_prehook", n, hook, AG_HOOK_BEFORE, user);
    if (h)
        h->call.before = hook;
    return h;
}

ag_hook *ag_node_register_hook(ag_node *n,
                               void (*hook)(ag_tensor **grads_in, int n_in,
                                            ag_tensor *const *grads_out, int n_out, void *user),
                               void *user)
{
    ag_hook *h = hook_at_node("ag_node_register_hook", n, hook, AG_HOOK_AFTER, user);
    if (h)
        h->call.after = hook;
    return h;
}

void ag_hook_set_free(ag_hook *h, void (*free_user)(void *user))
{
    if (h)
        h->free_user = free_user;
}

void ag_hook_remove(ag_hook *h)
{
    if (!h || h->removed)
        return;
    if (h->kind == AG_HOOK_MULTI)
        ag__multi_hook_remove(h);
    else
        hook_remove(h);
}
