/*
 * Custom functions. ag_apply runs the program's forward outside the graph and records one node, whose
 * payload is the ag_ctx and whose rule calls the program's backward. What forward saves becomes the
 * node's saved values, so that versions, hooks and freeing are those of any node.
 *
 * An output is a result of the node as it is, except for an operand returned unchanged, in whose place
 * stands a view of it when there is a node, and for a tensor that belongs to somebody else, in whose
 * place stands an alias. One tensor returned twice stands for the last of its outputs.
 */
#include "custom.h"

#include <string.h>

#include "meta.h"
#include "saved.h"
#include "view.h"

typedef struct {
    ag_tensor **items; /* owned, may be NULL */
    int n;
} custom_list;

struct ag_ctx {
    ag_context *c;
    ag_custom custom;
    void *user;
    int n, m;
    ag_node *node; /* whose payload this is; NULL before there is one, or when nothing records */
    const ag__rule *rule; /* backward is running */
    bool materialize;
    custom_list saved, dirty, fixed; /* what forward said; `fixed` outputs have no gradient */
    size_t bytes;
    const char *name; /* of the node */
    bool needs[];     /* of each input, then the name */
};

/* ---- lists ---- */

static bool custom_append(ag_context *c, custom_list *list, ag_tensor *const *tensors, int n)
{
    const size_t old = (size_t)list->n * sizeof *list->items;
    ag_tensor **items = ag__alloc(c, old + (size_t)n * sizeof *items);
    if (!items)
        return false;
    if (old)
        memcpy(items, list->items, old);
    ag__free(c, list->items, old);
    for (int i = 0; i < n; i++)
        items[list->n + i] = tensors[i] ? ag__tensor_ref(tensors[i]) : NULL;
    list->items = items;
    list->n += n;
    return true;
}

static void custom_clear(ag_context *c, custom_list *list)
{
    for (int i = 0; i < list->n; i++)
        ag__tensor_unref(list->items[i]);
    ag__free(c, list->items, (size_t)list->n * sizeof *list->items);
    *list = (custom_list){ NULL, 0 };
}

static int custom_find(ag_tensor *const *items, int n, const ag_tensor *t)
{
    for (int i = 0; i < n; i++)
        if (items[i] == t)
            return i;
    return -1;
}

static bool custom_has(const custom_list *list, const ag_tensor *t)
{
    return custom_find(list->items, list->n, t) >= 0;
}

/* ---- the node ---- */

static ag_ctx *custom_ctx(const ag_node *n) { return *(ag_ctx **)ag__node_payload(n); }

static void custom_free_ctx(ag_ctx *x)
{
    ag_context *c = x->c;
    custom_clear(c, &x->saved);
    custom_clear(c, &x->dirty);
    custom_clear(c, &x->fixed);
    if (x->custom.free_user)
        x->custom.free_user(x->user);
    ag__free(c, x, x->bytes);
}

static void custom_release(ag_node *n) { custom_free_ctx(custom_ctx(n)); }
static const char *custom_name_of(const ag_node *n) { return custom_ctx(n)->name; }

/* The results of a function that may be differentiated once. */
static bool custom_once_vjp(ag__rule *r)
{
    return ag_fail(r->c, AG_ERR_GRAD,
                   "trying to differentiate twice a function that was marked with "
                   "@once_differentiable");
}
static const ag__op custom_once_op = { .name = "once_differentiable",
                                       .node_name = "Error",
                                       .kind = AG_KIND_GENERAL,
                                       .n_in = -1,
                                       .n_out = -1,
                                       .vjp = custom_once_vjp };

/* Puts a node behind r->out that tells of a second differentiation, when there could be one. */
static bool custom_guard(ag__rule *r, ag_tensor *const *g)
{
    const int m = r->node->n_out;
    bool wanted = false;
    for (int j = 0; j < m; j++)
        wanted = wanted || (g[j] && ag__wants_grad(g[j]));
    for (int i = 0; i < r->node->n_in && wanted && r->c->grad_enabled; i++) {
        if (!r->out[i])
            continue;
        r->out[i] = ag__give(ag__tensor_alias(r->out[i]));
        ag_node *guard =
            r->out[i] ? ag__node_new(r->c, &custom_once_op, m, &r->out[i], 1, 0, 0) : NULL;
        const bool ok = guard && ag__node_connect(guard, g);
        if (ok)
            ag__node_adopt(guard, 0, r->out[i]);
        ag__node_unref(guard);
        if (!ok)
            return false;
    }
    return true;
}

/* The gradients as backward gets them: zeros for undefined ones, where it wants that. */
static bool custom_materialize(const ag__rule *r, const ag_ctx *x, ag_tensor **g)
{
    for (int j = 0; j < x->m; j++) {
        const ag__output *o = &ag__node_outputs(r->node)[j];
        g[j] = r->g[j];
        if (!g[j] && x->materialize &&
            !(g[j] = ag_zeros(r->c, ((ag_ints){ o->shape, o->ndim }), .dtype = (ag_dtype)o->dtype)))
            return false;
    }
    return true;
}

static bool custom_call_backward(ag__rule *r, ag_ctx *x, ag_tensor *const *g)
{
    const ag__rule *outer = x->rule;
    const unsigned failures = r->c->failures;
    const bool recording = r->c->grad_enabled;
    x->rule = r;
    r->c->grad_enabled = recording && !x->custom.once_differentiable;
    const bool ok = x->custom.backward(x, g, r->out);
    r->c->grad_enabled = recording;
    x->rule = outer;
    if (!ok)
        return ag_fail(r->c, AG_ERR_GRAD, "function %s: backward returned false and told no reason",
                       x->name);
    return !ag__failed_since(r->c, failures) &&
           (!x->custom.once_differentiable || custom_guard(r, g));
}

static bool custom_vjp(ag__rule *r)
{
    ag_ctx *x = custom_ctx(r->node);
    ag_tensor *few[8], **g = few;
    if (!x->custom.backward)
        return ag_fail(r->c, AG_ERR_GRAD,
                       "%s: You must implement either the backward or vjp method for your custom "
                       "autograd.Function to use it with backward mode AD.",
                       x->name);
    const size_t bytes = (size_t)x->m * sizeof *g;
    if (x->m > AG_COUNT(few) && !(g = ag__alloc(r->c, bytes)))
        return false;
    const bool ok = custom_materialize(r, x, g) && custom_call_backward(r, x, g);
    if (g != few)
        ag__free(r->c, g, bytes);
    return ok;
}

static const ag__op custom_op = { .name = "apply",
                                  .node_name = "CustomBackward",
                                  .kind = AG_KIND_GENERAL,
                                  .n_in = -1,
                                  .n_out = -1,
                                  .takes_undefined = true,
                                  .vjp = custom_vjp,
                                  .release = custom_release,
                                  .name_of = custom_name_of };

bool ag__node_is_custom(const ag_node *n) { return n->op == &custom_op; }

bool ag__custom_jvp(ag_node *n, ag_tensor *const *tangents, ag_tensor **tangents_out)
{
    ag_ctx *x = custom_ctx(n);
    const unsigned failures = n->c->failures;
    if (!x->custom.jvp)
        return x->custom.once_differentiable &&
               ag_fail(n->c, AG_ERR_GRAD,
                       "function %s: You must implement the jvp function for custom "
                       "autograd.Function to use it with forward mode AD.",
                       x->name);
    for (int j = 0; j < x->m; j++)
        tangents_out[j] = NULL;
    if (!x->custom.jvp(x, tangents, tangents_out))
        return ag_fail(n->c, AG_ERR_GRAD, "function %s: jvp returned false and told no reason",
                       x->name);
    return !ag__failed_since(n->c, failures);
}

/* ---- applying ---- */

/* One application under way. */
typedef struct {
    ag_ctx *x;
    ag_tensor *const *in;
    ag_tensor **out; /* what forward gave, then what the program gets */
    bool graph;
    int differentiable; /* outputs */
    ag_scope bracket;
} custom_call;

static ag_ctx *custom_new_ctx(ag_context *c, const ag_custom *custom, ag_tensor *const *in, int n,
                              int m, void *user)
{
    const char *name = custom->name ? custom->name : "Custom";
    const size_t length = strlen(name);
    const size_t bytes = sizeof(ag_ctx) + (size_t)n + length + sizeof "Backward";
    ag_ctx *x = ag__alloc(c, bytes);
    if (!x)
        return NULL;
    *x = (ag_ctx){ .c = c, .custom = *custom, .user = user, .n = n, .m = m, .materialize = true };
    x->bytes = bytes;
    for (int i = 0; i < n; i++)
        x->needs[i] = ag__wants_grad(in[i]);
    char *text = (char *)(x->needs + n);
    memcpy(text, name, length);
    memcpy(text + length, "Backward", sizeof "Backward");
    x->name = text;
    x->custom.name = NULL;
    return x;
}

static bool custom_forward(custom_call *k)
{
    ag_ctx *x = k->x;
    ag_context *c = x->c;
    const unsigned failures = c->failures;
    const bool recording = c->grad_enabled;
    c->grad_enabled = false;
    const bool ok = x->custom.forward(x, k->in, x->n, k->out, x->m);
    c->grad_enabled = recording;
    if (ag__failed_since(c, failures))
        return false;
    if (!ok)
        return ag_fail(c, AG_ERR_GRAD, "function %s: forward returned false and told no reason",
                       x->name);
    for (int j = 0; j < x->m; j++)
        if (!k->out[j] || k->out[j]->c != c)
            return ag_fail(c, AG_ERR_VALUE, "function %s: output %d is %s", x->name, j,
                           k->out[j] ? "of another context" : "NULL");
    return true;
}

static bool custom_is_differentiable(const ag_ctx *x, const ag_tensor *out)
{
    return ag__is_float((ag_dtype)out->dtype) && !custom_has(&x->fixed, out);
}

/* What forward wrote into was its to write, and comes out again. */
static bool custom_check_dirty(custom_call *k)
{
    ag_ctx *x = k->x;
    for (int i = 0; i < x->dirty.n; i++) {
        ag_tensor *t = x->dirty.items[i];
        if (custom_find(k->in, x->n, t) < 0)
            ag__log(x->c, "Only input Tensors should be given to ctx.mark_dirty(). If a Tensor is "
                          "not an input, there is no need to pass it to mark_dirty().");
        if (custom_find(k->out, x->m, t) < 0)
            return ag_fail(x->c, AG_ERR_GRAD,
                           "%s: Some elements marked as dirty during the forward method were not "
                           "returned as output. The inputs that are modified inplace must all be "
                           "outputs of the Function.",
                           x->name);
        if (!k->graph)
            continue;
        if (ag__wants_grad(t) && !t->grad_fn)
            return ag_fail(x->c, AG_ERR_GRAD,
                           "%s: a leaf Variable that requires grad has been used in an in-place "
                           "operation.",
                           x->name);
        if (t->flags & AG_T_VIEW && x->m > 1)
            return ag_fail(
                x->c, AG_ERR_GRAD,
                "%s: If your Function modifies inplace an input that is a view of "
                "another Tensor, your Function cannot return more than one Tensor. This "
                "is not supported by the current autograd engine. You should either make "
                "sure the input is not a view (using .clone() for example) or make your "
                "Function only return one Tensor (potentially splitting it into two "
                "Functions: one doing the inplace that returns a single Tensor and a "
                "second one that does the other operations).",
                x->name);
        if (!ag__view_check_write(t, x->name))
            return false;
    }
    return true;
}

/* The tensor that stands for what forward gave as output j. */
static ag_tensor *custom_result(custom_call *k, int j)
{
    ag_tensor *t = k->out[j];
    ag__geometry g;
    if (custom_has(&k->x->dirty, t))
        return t;
    if ((k->graph || !ag__wants_grad(t)) && custom_find(k->in, k->x->n, t) >= 0) {
        ag__geometry_of(t, &g);
        return ag__give(ag__tensor_view(t, &g, AG_VIEW_CUSTOM));
    }
    const bool mine = t->own.scope == &k->bracket && !ag__wants_grad(t) && !t->grad_fn;
    if (!mine)
        return ag__give(ag__tensor_alias(t));
    if (t->flags & AG_T_VIEW)
        ag__view_of(t)->kind =
            k->graph && k->differentiable > 1 ? AG_VIEW_ONE_OF_MANY : AG_VIEW_CUSTOM;
    return t;
}

/* Saves what forward asked for in the node's entries; `given` are the outputs as forward gave them. */
static bool custom_save(custom_call *k, ag_node *n, ag_tensor *const *given)
{
    ag_ctx *x = k->x;
    for (int i = 0; i < x->saved.n; i++) {
        ag_tensor *t = x->saved.items[i];
        const int in = t && !custom_has(&x->dirty, t) ? custom_find(k->in, x->n, t) : -1;
        const int out = t && in < 0 ? custom_find(given, x->m, t) : -1;
        if (!(in >= 0    ? ag__saved_set(n, i, t, AG_SAVED_INPUT, in)
              : out >= 0 ? ag__saved_set(n, i, k->out[out], AG_SAVED_OUTPUT, out)
                         : ag__saved_set(n, i, t, AG_SAVED_OTHER, 0)))
            return false;
    }
    return true;
}

/* Makes the outputs results of n. Writes into inputs change their history. */
static bool custom_connect(custom_call *k, ag_node *n)
{
    ag_ctx *x = k->x;
    const int dirty = x->dirty.n;
    const size_t bytes = (size_t)dirty * sizeof(ag__rebase);
    ag__rebase *rebases = dirty ? ag__alloc(x->c, bytes) : NULL;
    int made = 0;
    bool ok = !dirty || rebases;
    for (int j = 0; j < x->m && ok; j++)
        ok = !(k->out[j]->flags & AG_T_HELD) || ag__meta_of(k->out[j]);
    for (int j = 0; j < x->m && ok && made < dirty; j++)
        if (custom_has(&x->dirty, k->out[j]) && custom_find(k->out, j, k->out[j]) < 0) {
            ok = ag__rebase_prepare(&rebases[made], k->out[j], n, j);
            made += ok;
        }
    for (int i = 0; i < made; i++)
        ok ? ag__rebase_commit(&rebases[i]) : ag__rebase_cancel(&rebases[i]);
    for (int j = 0; j < x->m && ok; j++)
        if (!custom_has(&x->dirty, k->out[j]) && custom_is_differentiable(x, k->out[j])) {
            ag__node_adopt(n, j, k->out[j]);
            if (k->out[j]->flags & AG_T_HELD) /* n saved a view of it */
                ag__meta_enlist(k->out[j]);
        }
    ag__free(x->c, rebases, bytes);
    return ok;
}

/* Records the call. From here on the node owns the ctx. */
static bool custom_record(custom_call *k, ag_tensor *const *given)
{
    ag_ctx *x = k->x;
    ag_node *n = ag__node_new(x->c, &custom_op, x->n, k->out, x->m, x->saved.n, sizeof x);
    if (!n)
        return false;
    memcpy(ag__node_payload(n), &x, sizeof x);
    x->node = n;
    k->x = NULL;
    custom_call held = *k;
    held.x = x;
    const bool ok =
        custom_save(&held, n, given) && ag__node_connect(n, k->in) && custom_connect(&held, n);
    if (ok) {
        custom_clear(x->c, &x->saved);
        custom_clear(x->c, &x->dirty);
        custom_clear(x->c, &x->fixed);
    }
    ag__node_unref(n);
    return ok;
}

/* From what forward gave to what the program gets. */
static bool custom_finish(custom_call *k, ag_tensor **given)
{
    ag_ctx *x = k->x;
    memcpy(given, k->out, (size_t)x->m * sizeof *given);
    for (int j = 0; j < x->m; j++)
        k->differentiable += custom_is_differentiable(x, given[j]);
    for (int j = 0; j < x->m; j++) {
        const int same = custom_find(given, j, given[j]);
        ag_tensor *t = same >= 0 ? k->out[same] : custom_result(k, j);
        if (!t || (t != given[j] && custom_has(&x->fixed, given[j]) &&
                   !custom_append(x->c, &x->fixed, &t, 1)))
            return false;
        k->out[j] = t;
    }
    return !k->graph || k->differentiable == 0 || custom_record(k, given);
}

static ag_context *custom_check(const ag_custom *custom, ag_tensor *const *in, int n,
                                ag_tensor **out, int m)
{
    ag_context *c = ag__list_context(in, n);
    if (!c)
        return NULL;
    if (!custom || !custom->forward)
        return ag__fail(c, AG_ERR_VALUE,
                        "ag_apply: You must implement the forward function for custom "
                        "autograd.Function.");
    if (!out || m <= 0)
        return ag__fail(c, AG_ERR_VALUE, "ag_apply: a function has at least one output");
    if (n > UINT16_MAX || m > UINT16_MAX)
        return ag__fail(c, AG_ERR_VALUE,
                        "ag_apply: %d inputs and %d outputs: a node has %d at most", n, m,
                        UINT16_MAX);
    for (int i = 0; i < n; i++)
        if (!ag__list_check(c, "ag_apply", "input", i, in[i]))
            return NULL;
    if (ag__any_recorded(in, n))
        return ag__fail(c, AG_ERR_GRAPH,
                        "ag_apply: an input is symbolic; a function with rules of its own cannot "
                        "be part of a static graph, write it in operations");
    for (int i = 0; i < n && c->grad_enabled && !c->inference; i++)
        if (!ag__fresh(in[i]))
            return NULL;
    return c;
}

/* Runs forward and records, with room for the outputs in both[0..2m). */
static bool custom_run(custom_call *k, ag_tensor **both, ag_tensor **outputs)
{
    ag_ctx *x = k->x;
    ag_context *c = x->c;
    const int m = x->m;
    ag__bracket_begin(&k->bracket, c);
    k->out = both;
    memset(both, 0, (size_t)m * sizeof *both);
    const int n = x->n;
    for (int i = 0; i < n; i++) { /* forward may drop them */
        ag__tensor_ref(k->in[i]);
        k->graph = k->graph || (x->needs[i] && c->grad_enabled && !c->inference);
    }
    const bool ok = custom_forward(k) && custom_check_dirty(k) && custom_finish(k, both + m);
    for (int i = 0; i < n; i++) /* before outputs, which may be the same list, are written */
        ag__tensor_unref(k->in[i]);
    for (int j = 0; j < m && ok; j++) {
        if (both[j]->own.scope == &k->bracket)
            ag_keep(both[j]);
        outputs[j] = both[j];
    }
    if (k->x) /* nothing was recorded, or nothing came of it */
        custom_free_ctx(k->x);
    ag__bracket_end(&k->bracket);
    return ok;
}

bool ag_apply(const ag_custom *custom, ag_tensor *const *inputs, int n, ag_tensor **outputs, int m,
              void *user)
{
    ag_context *c = custom_check(custom, inputs, n, outputs, m);
    custom_call k = { .in = inputs };
    ag_tensor *few[16], **both = NULL;
    const size_t bytes = 2 * (size_t)m * sizeof *both;
    if (c)
        both = 2 * m <= AG_COUNT(few) ? few : ag__alloc(c, bytes);
    if (both)
        k.x = custom_new_ctx(c, custom, inputs, n, m, user);
    if (!k.x && custom && custom->free_user)
        custom->free_user(user);
    const bool ok = k.x && custom_run(&k, both, outputs);
    if (both && both != few)
        ag__free(c, both, bytes);
    return ok;
}

/* ---- what the callbacks of a function may ask ---- */

bool ag_ctx_save(ag_ctx *x, ag_tensor *const *tensors, int n)
{
    if (!x || n <= 0)
        return x != NULL;
    if (n > UINT16_MAX - x->saved.n)
        return ag_fail(x->c, AG_ERR_VALUE, "ag_ctx_save: a node saves %d values at most",
                       UINT16_MAX);
    if (x->node)
        return ag_fail(x->c, AG_ERR_GRAD, "ag_ctx_save: only forward may save");
    for (int i = 0; i < n; i++)
        if (tensors[i] && tensors[i]->c != x->c)
            return ag_fail(x->c, AG_ERR_VALUE, "ag_ctx_save: tensor %d is of another context", i);
    return custom_append(x->c, &x->saved, tensors, n);
}

int ag_ctx_n_saved(const ag_ctx *x) { return !x ? -1 : x->node ? x->node->n_saved : x->saved.n; }

ag_tensor *ag_ctx_saved(ag_ctx *x, int i)
{
    if (!x)
        return NULL;
    if (i < 0 || i >= ag_ctx_n_saved(x))
        return ag__fail(x->c, AG_ERR_INDEX,
                        "ag_ctx_saved: %s has %d saved values, there is none of number %d", x->name,
                        ag_ctx_n_saved(x), i);
    if (!x->node)
        return x->saved.items[i];
    if (!x->rule || !x->rule->values || x->node->freed)
        return ag__saved_of(x->node, i, x->c->grad_enabled);
    ag_tensor *value = x->rule->values[i];
    return x->c->grad_enabled ? ag__saved_in_graph(x->node, i, value) : value;
}

void ag_ctx_mark_dirty(ag_ctx *x, ag_tensor *input)
{
    if (x && !x->node && input && custom_append(x->c, &x->dirty, &input, 1))
        ag__bump_version(input, "a custom function");
}

void ag_ctx_mark_non_differentiable(ag_ctx *x, ag_tensor *output)
{
    if (x && !x->node && output)
        custom_append(x->c, &x->fixed, &output, 1);
}

void ag_ctx_set_materialize_grads(ag_ctx *x, bool materialize)
{
    if (x)
        x->materialize = materialize;
}

bool ag_ctx_needs_input_grad(const ag_ctx *x, int i)
{
    return x && i >= 0 && i < x->n && (x->rule ? ag__wants(x->rule, i) : x->needs[i]);
}

void *ag_ctx_user(const ag_ctx *x) { return x ? x->user : NULL; }
ag_context *ag_ctx_context(const ag_ctx *x) { return x ? x->c : NULL; }
