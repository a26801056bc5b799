/*
 * A traced function in the dynamic graph, where a call of it is one node.
 *
 * The node's rule runs a plan of its own. The function and its derivative are traced as one region
 * (the joint one) and cut: the forward plan gives, beside the results, what the backward plan
 * needs. A derivative that will be differentiated again is a call of the compiled joint function,
 * which is a function like any other; so there is every order.
 */
#include <string.h>

#include "compiled.h"

struct ag__compiled {
    int64_t refs;
    ag_context *c;
    ag_graph *g;    /* traced, as it was: the main region is the function */
    ag__plan *plan; /* of the function alone; NULL until needed, as all that follows */
    ag__planning how;
    bool *wanted; /* parameters whose gradients are: n of them */
    int n, m, n_wanted;
    ag_graph *joint; /* holds the joint region */
    const ag__region *both;
    ag__plan *forward, *backward;
    int32_t *kept; /* values of the joint region that the backward plan takes, after the inputs */
    int n_kept, room_kept;
    ag__compiled *derivative; /* the joint function */
};

/* ---- traced functions ---- */

void ag__compiled_unref(ag__compiled *k)
{
    while (k && --k->refs == 0) {
        ag__compiled *next = k->derivative;
        ag_context *c = k->c;
        ag__plan_free(k->plan);
        ag__plan_free(k->forward);
        ag__plan_free(k->backward);
        ag_graph_free(k->joint);
        ag_graph_free(k->g);
        ag__free(c, k->kept, (size_t)k->room_kept * sizeof *k->kept);
        ag__free(c, k->wanted, (size_t)k->n);
        ag__free(c, k, sizeof *k);
        ag__context_unref(c);
        k = next;
    }
}

ag__compiled *ag__compiled_new(ag_graph *g, const bool *wanted, const ag__planning *how)
{
    ag__compiled *k = g ? ag__alloc(g->c, sizeof *k) : NULL;
    bool *copy = k ? ag__alloc(g->c, (size_t)g->main.n_params) : NULL;
    if (!copy) {
        if (k)
            ag__free(g->c, k, sizeof *k);
        ag_graph_free(g);
        return NULL;
    }
    *k = (ag__compiled){ .refs = 1, .c = g->c, .g = g, .how = *how, .wanted = copy };
    k->n = g->main.n_params;
    k->m = g->main.n_outs;
    for (int i = 0; i < k->n; i++) {
        copy[i] = wanted[i] && ag__is_float((ag_dtype)g->main.values[g->main.params[i]].dtype);
        k->n_wanted += copy[i];
    }
    ag__context_ref(k->c);
    return k;
}

/* A function that replays part of a region. */
static bool compiled_part_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    (void)n, (void)m;
    return ag__part_replay(arg, in, out);
}

/* Values `given` of region r to `wanted` as a graph of its own. */
static ag_graph *compiled_part(ag_context *c, const ag__region *r, const int32_t *given, int n,
                               const int32_t *wanted, int m)
{
    const size_t bytes = (size_t)n * sizeof(ag__type);
    ag__type *types = ag__alloc(c, bytes);
    if (!types)
        return NULL;
    for (int i = 0; i < n; i++)
        types[i] = ag__value_type(&r->values[given[i]]);
    ag__part part = { c, r, given, wanted, n, m };
    ag_graph *g = ag__traced_new(c, "compile", types, n, compiled_part_fn, &part, m);
    ag__free(c, types, bytes);
    return g;
}

static bool compiled_plan_alone(ag__compiled *k)
{
    const ag__region *r = &k->g->main;
    if (!k->plan)
        k->plan = ag__planned(compiled_part(k->c, r, r->params, r->n_params, r->outs, r->n_outs),
                              NULL, &k->how);
    return k->plan != NULL;
}

/* ---- the joint region and its two halves ---- */

/* The region is traced while the graph that it becomes a part of is. */
typedef struct {
    ag__compiled *k;
    ag__region *joint;
} compiled_joint_call;

static bool compiled_joint_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    compiled_joint_call *q = arg;
    (void)in, (void)n, (void)out, (void)m;
    q->joint = ag__joint(q->k->c, "compile", &q->k->g->main, q->k->wanted);
    return q->joint != NULL;
}

/* The node of a call holds its inputs anyway. */
static bool compiled_cut(ag__compiled *k, const ag__region *joint)
{
    const size_t bytes = (size_t)k->n * sizeof(ag__at_hand);
    ag__at_hand *at_hand = ag__alloc(k->c, bytes);
    if (!at_hand)
        return false;
    for (int i = 0; i < k->n; i++)
        at_hand[i] = AG_AT_HAND;
    const bool ok = ag__residuals(k->c, joint, k->n, k->m, at_hand, &k->kept, &k->n_kept);
    k->room_kept = ok ? joint->n_values : 0;
    ag__free(k->c, at_hand, bytes);
    return ok;
}

/* Both begin with the function's inputs. */
static bool compiled_halves(ag__compiled *k, const ag__region *joint)
{
    const int n_back = joint->n_params + k->n_kept;
    const size_t n = (size_t)k->n, m = (size_t)k->m, kept = (size_t)k->n_kept;
    const size_t bytes = (m + kept + (size_t)n_back) * sizeof(int32_t);
    int32_t *wanted = ag__alloc(k->c, bytes), *given = wanted ? wanted + m + kept : NULL;
    if (!wanted)
        return false;
    memcpy(wanted, joint->outs, m * sizeof *wanted);
    memcpy(wanted + m, k->kept, kept * sizeof *wanted);
    memcpy(given, joint->params, n * sizeof *given);
    memcpy(given + n, k->kept, kept * sizeof *given);
    memcpy(given + n + kept, joint->params + n, ((size_t)joint->n_params - n) * sizeof *given);
    k->forward = ag__planned(compiled_part(k->c, joint, given, k->n, wanted, k->m + k->n_kept),
                             NULL, &k->how);
    k->backward = k->forward ? ag__planned(compiled_part(k->c, joint, given, n_back,
                                                         joint->outs + k->m, k->n_wanted),
                                           NULL, &k->how)
                             : NULL;
    ag__free(k->c, wanted, bytes);
    return k->backward != NULL;
}

static void compiled_forget(ag__compiled *k)
{
    ag__plan_free(k->forward);
    ag_graph_free(k->joint);
    ag__free(k->c, k->kept, (size_t)k->room_kept * sizeof *k->kept);
    k->forward = NULL;
    k->joint = NULL;
    k->kept = NULL;
    k->n_kept = k->room_kept = 0;
}

static bool compiled_differentiate(ag__compiled *k)
{
    if (k->backward)
        return true;
    compiled_joint_call q = { .k = k };
    k->joint = ag__traced_new(k->c, "compile", NULL, 0, compiled_joint_fn, &q, 0);
    k->both = q.joint;
    if (k->joint && compiled_cut(k, q.joint) && compiled_halves(k, q.joint))
        return true;
    compiled_forget(k);
    return false;
}

bool ag__compiled_plan(ag__compiled *k, bool gradient)
{
    return gradient ? compiled_differentiate(k) : compiled_plan_alone(k);
}

/* ---- calls ---- */

/* What the node of a call has for a payload. */
typedef struct {
    ag__compiled *k;
} compiled_payload;

static ag__compiled *compiled_of(const ag_node *n)
{
    return ((const compiled_payload *)ag__node_payload(n))->k;
}

static void compiled_release(ag_node *n) { ag__compiled_unref(compiled_of(n)); }

static const ag__output *compiled_output(const ag__rule *r, int j)
{
    return &ag__node_outputs(r->node)[j];
}

/* Gradients of the floating point results, zeros where there are none; how many. -1: out of
 * memory. */
static int compiled_cotangents(const ag__rule *r, int m, ag_tensor **list)
{
    int n = 0;
    for (int j = 0; j < m; j++) {
        const ag__output *o = compiled_output(r, j);
        if (!ag__is_float((ag_dtype)o->dtype))
            continue;
        list[n] =
            r->g[j] ? r->g[j] : ag_zeros(r->c, ag__out_shape(r, j), .dtype = (ag_dtype)o->dtype);
        if (!list[n++])
            return -1;
    }
    return n;
}

/* The joint function: parameters are the inputs and the cotangents, results the gradients. */
static ag__compiled *compiled_derivative(ag__compiled *k)
{
    if (k->derivative)
        return k->derivative;
    const ag__region *joint = k->both;
    const size_t bytes = (size_t)joint->n_params;
    bool *wanted = ag__alloc(k->c, bytes);
    if (!wanted)
        return NULL;
    for (int i = 0; i < joint->n_params; i++)
        wanted[i] = i >= k->n || k->wanted[i];
    ag_graph *g =
        compiled_part(k->c, joint, joint->params, joint->n_params, joint->outs + k->m, k->n_wanted);
    k->derivative = ag__compiled_new(g, wanted, &k->how);
    ag__free(k->c, wanted, bytes);
    return k->derivative;
}

/* The joint function computes the results once more, and would draw other numbers for that. */
static bool compiled_vjp_again(ag__rule *r, ag__compiled *k, ag_tensor **list, ag_tensor **out)
{
    if (ag__region_draws(&k->g->main))
        return ag_fail(r->c, AG_ERR_UNSUPPORTED,
                       "ag_call: a gradient with create_graph is taken of a compiled function that "
                       "draws random numbers; compile it with AG_BACKEND_INTERPRET");
    for (int i = 0; i < k->n; i++)
        list[i] = ag__in(r, i);
    ag__compiled *d = compiled_derivative(k);
    if (!d || compiled_cotangents(r, k->m, list + k->n) < 0 || !ag__compiled_call(d, list, out))
        return false;
    for (int j = 0; j < k->n_wanted; j++)
        ag__give(out[j]);
    return true;
}

static bool compiled_vjp_plan(ag__rule *r, ag__compiled *k, ag_tensor **list, ag_tensor **out)
{
    const int n = k->n + k->n_kept;
    for (int i = 0; i < n; i++)
        list[i] = r->values ? r->values[i] : ag__node_saved(r->node)[i].tensor;
    if (compiled_cotangents(r, k->m, list + n) < 0 || !ag__plan_run(k->backward, list, out))
        return false;
    for (int j = 0; j < k->n_wanted; j++)
        ag__give(out[j]);
    return true;
}

static bool compiled_vjp(ag__rule *r)
{
    ag__compiled *k = compiled_of(r->node);
    const size_t bytes = (size_t)(k->n + k->n_kept + k->m + k->n_wanted) * sizeof(ag_tensor *);
    ag_tensor **list = ag__alloc(r->c, bytes),
              **out = list ? list + bytes / sizeof *list - k->n_wanted : NULL;
    if (!list)
        return false;
    const bool ok = r->c->grad_enabled ? compiled_vjp_again(r, k, list, out)
                                       : compiled_vjp_plan(r, k, list, out);
    for (int i = 0, j = 0; i < k->n && ok; i++)
        if (k->wanted[i]) {
            r->out[i] = ag__wants(r, i) ? out[j] : NULL;
            j++;
        }
    ag__free(r->c, list, bytes);
    return ok;
}

static const ag__op compiled_op = { .name = "call",
                                    .node_name = "CompiledBackward",
                                    .kind = AG_KIND_GENERAL,
                                    .n_in = -1,
                                    .n_out = -1,
                                    .vjp = compiled_vjp,
                                    .release = compiled_release };

/* results: the function's, then what is saved. */
static bool compiled_attach(ag__compiled *k, ag_tensor *const *in, ag_tensor *const *results)
{
    ag_node *n = ag__node_new(k->c, &compiled_op, k->n, results, k->m, k->n + k->n_kept,
                              sizeof(compiled_payload));
    if (!n)
        return false;
    *(compiled_payload *)ag__node_payload(n) = (compiled_payload){ k };
    k->refs++;
    bool ok = true;
    for (int i = 0; i < k->n && ok; i++)
        ok = ag__saved_set(n, i, in[i], AG_SAVED_INPUT, i);
    for (int i = 0; i < k->n_kept && ok; i++)
        ok = ag__saved_set(n, k->n + i, results[k->m + i], AG_SAVED_OTHER, 0);
    ok = ok && ag__node_connect(n, in);
    for (int j = 0; j < k->m && ok; j++)
        if (ag__is_float((ag_dtype)results[j]->dtype))
            ag__node_adopt(n, j, results[j]);
    ag__node_unref(n);
    return ok;
}

bool ag__compiled_call(ag__compiled *k, ag_tensor *const *in, ag_tensor **out)
{
    bool graph = false;
    for (int i = 0; i < k->n; i++)
        graph = graph || (k->wanted[i] && ag__wants_grad(in[i]));
    graph = graph && k->c->grad_enabled && !k->c->inference;
    if (!ag__compiled_plan(k, graph))
        return false;
    if (!graph)
        return ag__plan_run(k->plan, in, out);
    const int all = k->m + k->n_kept;
    const size_t bytes = (size_t)all * sizeof(ag_tensor *);
    ag_tensor **results = ag__alloc(k->c, bytes);
    if (!results)
        return false;
    bool ok = ag__plan_run(k->forward, in, results);
    if (ok) {
        ok = compiled_attach(k, in, results);
        for (int j = 0; j < all; j++)
            if (ok && j < k->m)
                out[j] = results[j];
            else
                ag__tensor_unref(results[j]);
    }
    ag__free(k->c, results, bytes);
    return ok;
}
