/*
 * Compiled functions. The function is traced once for each signature of its inputs and planned; in
 * the dynamic graph a call is one node.
 *
 * The node's rule runs a plan of its own. The function and its derivative are traced as one region
 * (the joint one) and cut: the forward plan gives, beside the results, what the backward plan
 * needs. A derivative that will be differentiated again is a call of the compiled joint function,
 * which is a function like any other; so there is every order.
 *
 * What cannot be planned (a loop that changes shapes) is replayed step by step, and the dynamic
 * graph records the steps. Of symbolic inputs the function is simply called, and recorded in their
 * graph.
 */
#include <string.h>

#include "../autograd/view.h"
#include "flow.h"
#include "planned.h"

/* A traced function, shared by the signature that it was made for and the nodes of its calls. */
typedef struct compiled {
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
    struct compiled *derivative; /* the joint function */
} compiled;

typedef struct compile_signature {
    struct compile_signature *next;
    ag_graph *recorded; /* its one region besides main is the function */
    ag__region *function;
    compiled *traced; /* NULL: it is run step by step */
    int n;
    ag__type *types;
    int64_t *dims;
    bool *wanted;
    size_t bytes; /* of the block of types, dims and wanted */
} compile_signature;

struct ag_function {
    ag_context *c;
    ag_fn fn;
    void *user;
    int m, traces;
    bool tracing;
    ag_compile_options options;
    compile_signature *signatures;
};

/* ---- traced functions ---- */

static void compiled_unref(compiled *k)
{
    while (k && --k->refs == 0) {
        compiled *next = k->derivative;
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

/* Of g, which is taken over. wanted[i]: the gradient of parameter i is. NULL when out of memory. */
static compiled *compiled_new(ag_graph *g, const bool *wanted, const ag__planning *how)
{
    compiled *k = g ? ag__alloc(g->c, sizeof *k) : NULL;
    bool *copy = k ? ag__alloc(g->c, (size_t)g->main.n_params) : NULL;
    if (!copy) {
        if (k)
            ag__free(g->c, k, sizeof *k);
        ag_graph_free(g);
        return NULL;
    }
    *k = (compiled){ .refs = 1, .c = g->c, .g = g, .how = *how, .wanted = copy };
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

static bool compiled_plan(compiled *k)
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
    compiled *k;
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
static bool compiled_cut(compiled *k, const ag__region *joint)
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
static bool compiled_halves(compiled *k, const ag__region *joint)
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

static void compiled_forget(compiled *k)
{
    ag__plan_free(k->forward);
    ag_graph_free(k->joint);
    ag__free(k->c, k->kept, (size_t)k->room_kept * sizeof *k->kept);
    k->forward = NULL;
    k->joint = NULL;
    k->kept = NULL;
    k->n_kept = k->room_kept = 0;
}

static bool compiled_differentiate(compiled *k)
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

/* ---- calls ---- */

static bool compiled_call(compiled *k, ag_tensor *const *in, ag_tensor **out);

/* What the node of a call has for a payload. */
typedef struct {
    compiled *k;
} compiled_payload;

static compiled *compiled_of(const ag_node *n)
{
    return ((const compiled_payload *)ag__node_payload(n))->k;
}

static void compiled_release(ag_node *n) { compiled_unref(compiled_of(n)); }

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
static compiled *compiled_derivative(compiled *k)
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
    k->derivative = compiled_new(g, wanted, &k->how);
    ag__free(k->c, wanted, bytes);
    return k->derivative;
}

static bool compiled_vjp_again(ag__rule *r, compiled *k, ag_tensor **list, ag_tensor **out)
{
    for (int i = 0; i < k->n; i++)
        list[i] = ag__in(r, i);
    compiled *d = compiled_derivative(k);
    if (!d || compiled_cotangents(r, k->m, list + k->n) < 0 || !compiled_call(d, list, out))
        return false;
    for (int j = 0; j < k->n_wanted; j++)
        ag__give(out[j]);
    return true;
}

static bool compiled_vjp_plan(ag__rule *r, compiled *k, ag_tensor **list, ag_tensor **out)
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
    compiled *k = compiled_of(r->node);
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
static bool compiled_attach(compiled *k, ag_tensor *const *in, ag_tensor *const *results)
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

/* out: one reference each. */
static bool compiled_call(compiled *k, ag_tensor *const *in, ag_tensor **out)
{
    bool graph = false;
    for (int i = 0; i < k->n; i++)
        graph = graph || (k->wanted[i] && ag__wants_grad(in[i]));
    graph = graph && k->c->grad_enabled && !k->c->inference;
    if (!graph)
        return compiled_plan(k) && ag__plan_run(k->plan, in, out);
    if (!compiled_differentiate(k))
        return false;
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

/* ---- signatures ---- */

static bool compile_wants(const ag_tensor *t)
{
    return ag__wants_grad(t) && t->c->grad_enabled && !t->c->inference;
}

static compile_signature *compile_find(const ag_function *f, ag_tensor *const *in, int n)
{
    for (compile_signature *s = f->signatures; s; s = s->next) {
        bool same = s->n == n;
        for (int i = 0; i < n && same; i++)
            same = (ag_dtype)in[i]->dtype == s->types[i].dtype &&
                   ag__same_shape(ag__sizes(in[i]), s->types[i].shape) &&
                   compile_wants(in[i]) == s->wanted[i];
        if (same)
            return s;
    }
    return NULL;
}

static bool compile_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    ag_function *f = arg;
    return f->fn(in, n, out, m, f->user);
}

static bool compile_replay_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const compile_signature *s = arg;
    (void)n;
    if (!ag__region_call(s->recorded->c, s->function, in, out, false))
        return false;
    for (int j = 0; j < m; j++)
        ag__settle(out[j]);
    return true;
}

static void compile_free_signature(ag_context *c, compile_signature *s)
{
    compiled_unref(s->traced);
    ag_graph_free(s->recorded);
    ag__free(c, s->types, s->bytes);
    ag__free(c, s, sizeof *s);
}

/* Types of the inputs, in one block. */
static bool compile_types(ag_context *c, compile_signature *s, ag_tensor *const *in, int n)
{
    size_t dims = 0;
    for (int i = 0; i < n; i++)
        dims += in[i]->ndim;
    s->n = n;
    s->bytes = (size_t)n * (sizeof *s->types + 1) + dims * sizeof *s->dims;
    s->types = ag__alloc(c, s->bytes);
    if (!s->types)
        return false;
    s->dims = (int64_t *)(void *)(s->types + n);
    s->wanted = (bool *)(s->dims + dims);
    for (int i = 0, at = 0; i < n; i++) {
        s->types[i] = (ag__type){ (ag_dtype)in[i]->dtype, { s->dims + at, in[i]->ndim }, false };
        for (int d = 0; d < in[i]->ndim; d++)
            s->dims[at++] = in[i]->dims[d];
        s->wanted[i] = compile_wants(in[i]);
    }
    return true;
}

static bool compile_enter(ag_function *f)
{
    if (f->tracing)
        return ag_fail(f->c, AG_ERR_GRAPH, "ag_call: a compiled function calls itself");
    return f->tracing = true;
}

/* The function, recorded. */
static bool compile_record(ag_function *f, compile_signature *s)
{
    if (!compile_enter(f))
        return false;
    s->recorded = ag__graph_new(f->c, false);
    if (s->recorded)
        s->function = ag__trace("call", s->recorded, NULL, s->types, s->n, compile_fn, f, f->m);
    f->tracing = false;
    return s->function != NULL;
}

/* Traced for the shapes at hand and planned, unless it cannot be. False with an error. */
static bool compile_trace(ag_function *f, compile_signature *s)
{
    const ag__planning how = { f->options.passes_off, f->options.dump, f->options.dump_user,
                               f->options.dump_dot };
    if (f->options.backend == AG_BACKEND_INTERPRET)
        return true;
    bool wanted = false;
    for (int i = 0; i < s->n; i++)
        wanted = wanted || s->wanted[i];
    ag__quiet q;
    ag__quiet_begin(&q, f->c);
    compiled *k =
        compiled_new(ag__traced_new(f->c, "compile", s->types, s->n, compile_replay_fn, s, f->m),
                     s->wanted, &how);
    if (k && (wanted ? compiled_differentiate(k) : compiled_plan(k)))
        s->traced = k;
    else
        compiled_unref(k);
    return ag__planning_refused(f->c, &q, s->traced != NULL) || s->traced;
}

static compile_signature *compile_new(ag_function *f, ag_tensor *const *in, int n)
{
    compile_signature *s = ag__alloc(f->c, sizeof *s);
    if (!s)
        return NULL;
    *s = (compile_signature){ 0 };
    if (compile_types(f->c, s, in, n) && compile_record(f, s) && compile_trace(f, s)) {
        s->next = f->signatures;
        f->traces++;
        return f->signatures = s;
    }
    compile_free_signature(f->c, s);
    return NULL;
}

/* ---- public ---- */

ag_function *(ag_compile)(ag_context *c, ag_fn fn, int n_outputs, void *user,
                          const ag_compile_options *options)
{
    static const ag_compile_options none = { .size = sizeof none };
    const ag_compile_options *o = options ? options : &none;
    if (!c)
        return NULL;
    if (!fn || n_outputs < 1 || n_outputs > UINT16_MAX)
        return ag__fail(c, AG_ERR_VALUE, "ag_compile: the function is %s, with %d results",
                        fn ? "there" : "NULL", n_outputs);
    if (o->backend == AG_BACKEND_CC)
        return ag__fail(c, AG_ERR_UNSUPPORTED,
                        "ag_compile: AG_BACKEND_CC is not available in this build; use "
                        "AG_BACKEND_FUSED");
    if ((o->backend != AG_BACKEND_FUSED && o->backend != AG_BACKEND_INTERPRET) ||
        o->passes_off < 0 || o->passes_off > AG_PASS_ALL)
        return ag__fail(c, AG_ERR_VALUE, "ag_compile: .backend is %d, .passes_off %d",
                        (int)o->backend, o->passes_off);
    ag_function *f = ag__alloc(c, sizeof *f);
    if (!f)
        return NULL;
    *f = (ag_function){ .c = c, .fn = fn, .user = user, .m = n_outputs, .options = *o };
    ag__context_ref(c);
    return f;
}

void ag_function_free(ag_function *f)
{
    if (!f)
        return;
    ag_context *c = f->c;
    while (f->signatures) {
        compile_signature *s = f->signatures;
        f->signatures = s->next;
        compile_free_signature(c, s);
    }
    ag__free(c, f, sizeof *f);
    ag__context_unref(c);
}

int ag_function_traces(const ag_function *f) { return f ? f->traces : -1; }

static bool compile_check(ag_function *f, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    if (n < 0 || (n > 0 && !in) || !out)
        return ag_fail(f->c, AG_ERR_VALUE, "ag_call: %d inputs, and a list is NULL", n);
    if (m != f->m)
        return ag_fail(f->c, AG_ERR_VALUE,
                       "ag_call: the function was compiled with %d results, not %d", f->m, m);
    for (int i = 0; i < n; i++)
        if (!ag__list_check(f->c, "ag_call", "input", i, in[i]) ||
            (compile_wants(in[i]) && !ag__fresh(in[i])))
            return false;
    return true;
}

/* Of symbolic inputs, the function becomes part of their graph. */
static bool compile_inline(ag_function *f, ag_tensor *const *in, int n, ag_tensor **out)
{
    if (!compile_enter(f))
        return false;
    const bool ok = ag__flow_given("ag_call", f->c, "the function",
                                   f->fn(in, n, out, f->m, f->user), out, f->m);
    f->tracing = false;
    return ok;
}

bool ag_call(ag_function *f, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    if (!f || !compile_check(f, in, n, out, m))
        return false;
    if (ag__any_symbolic(in, n))
        return compile_inline(f, in, n, out);
    compile_signature *s = compile_find(f, in, n);
    if (!s && !(s = compile_new(f, in, n)))
        return false;
    const size_t bytes = (size_t)m * sizeof(ag_tensor *);
    ag_tensor **results = ag__alloc(f->c, bytes);
    if (!results)
        return false;
    const bool tape = f->c->grad_enabled && !f->c->inference;
    const bool ok = s->traced ? compiled_call(s->traced, in, results)
                              : ag__region_call(f->c, s->function, in, results, tape);
    for (int j = 0; j < m && ok; j++)
        out[j] = ag__settle(results[j]);
    ag__free(f->c, results, bytes);
    return ok;
}
