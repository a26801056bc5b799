/*
 * The backward pass.
 *
 * 1. Discover: from the roots, depth first and without recursion, every reachable node gets a visit
 *    (its record in this pass) that counts the edges leading to it. On the way back each visit
 *    learns whether it is needed, that is, leads to a wanted input.
 * 2. Run: a node is ready when all its edges have delivered. The ready queue is a heap by sequence
 *    number, so that the newest operation runs first and accumulators before all. A rule's results
 *    are brought to the shape and dtype of the operand, and added up in the visit they belong to.
 * 3. Commit: only now, when nothing can fail any more, .grad fields are written and saved values are
 *    given up. A pass that fails leaves everything as it was and can be repeated. What the program
 *    asked to be called when .grad is written, and at the end, follows.
 *
 * An undefined gradient (NULL) is zero that was never computed; it stays undefined.
 *
 * The records of a pass come one after the other from chunks that are given back together; the first
 * one, and a small ready queue, lie on the C stack. A small graph needs no memory for its pass.
 *
 * Note [passes inside passes]
 * A rule or callback may start another pass over the same nodes. Each pass has its own visits; a
 * node points at that of the newest pass, which remembers the one it covers and puts it back.
 */
#include "engine.h"

#include <math.h>
#include <string.h>

#include "hooks.h"
#include "meta.h"
#include "saved.h"
#include "view.h"

typedef struct ag__visit {
    ag_node *node;
    struct ag__visit *next;  /* all visits of the pass */
    struct ag__visit *link;  /* discovery: where to go back to; later: those that keep gradients */
    struct ag__visit *outer; /* what node->visit and node->pass were before */
    uint64_t outer_pass;
    int32_t missing;    /* edges that have not delivered */
    uint16_t next_edge; /* discovery */
    uint16_t n_out;     /* the node's */
    bool reached : 1;   /* from a root */
    bool wanted : 1;    /* an input of the pass: its gradient is kept */
    bool needed : 1;    /* it runs, or leads to something wanted */
    bool queued : 1;    /* it was ready */
    bool ran : 1;
    ag_tensor *grads[]; /* of the node's outputs, owned */
} ag__visit;

enum { PASS_CHUNK = 1024, PASS_CHUNK_MAX = 1 << 22, PASS_HEAP = 16, PASS_OUT = 8 };

typedef struct pass_chunk {
    struct pass_chunk *next;
    size_t bytes;
} pass_chunk;

/* A .grad to be written: g takes the place of what is there, is added to it, or is its new value. What
 * was there stays until the pass ends, since what it owns may call back when it goes. */
typedef struct pass_write {
    struct pass_write *next;
    ag_node *accumulator;   /* of a leaf; NULL: t retains its gradient */
    ag_tensor *t, *g, *old; /* owned */
    enum { WRITE_TAKES, WRITE_ADDS, WRITE_COPIES } how;
} pass_write;

/* See ag_queue_callback. */
typedef struct pass_callback {
    struct pass_callback *next;
    void (*fn)(void *user);
    void *user;
} pass_callback;

/* A root or an input: the pass owns a reference to its node. */
typedef struct pass_anchor {
    ag_node *node;
    struct pass_anchor *next;
} pass_anchor;

/* Where an input was in the graph when the pass began. */
typedef struct {
    const ag_node *node;
    int nr;
    ag_tensor *retains; /* owned; its gradient is retained because of this pass */
} pass_input;

typedef struct ag__pass {
    struct ag__pass *outer; /* the pass that this one runs inside of */
    ag_context *c;
    uint64_t id;
    bool retain_graph, create_graph, grad_was_enabled;
    bool all;         /* no inputs were named: every leaf is wanted */
    bool accumulates; /* into .grad, rather than giving results */
    bool ends_at_inputs;
    ag_scope bracket;            /* of what rules make */
    ag__visit *visits, *keeping; /* all, and those that keep gradients when they have run */
    pass_anchor *held;
    pass_input *inputs; /* as many as were asked for */
    pass_write *writes;
    pass_callback *callbacks, **last_callback;
    char *at, *end;     /* the unused rest of the newest chunk */
    pass_chunk *chunks; /* beyond the first */
    size_t chunk_bytes; /* of the next one */
    ag__visit **heap;   /* the ready queue */
    int heap_n;
    size_t heap_room;
    int max_in;
    ag_tensor **out; /* results of a rule, max_in of them */
    ag__visit *first_heap[PASS_HEAP];
    ag_tensor *first_out[PASS_OUT];
    _Alignas(16) char first_chunk[PASS_CHUNK];
} pass;

static size_t visit_bytes(const ag_node *n)
{
    return sizeof(ag__visit) + n->n_out * sizeof(ag_tensor *);
}

/* ---- discovery ---- */

static ag__visit *pass_visit_of(const pass *p, const ag_node *n)
{
    return n->pass == p->id ? n->visit : NULL;
}

static bool pass_grow(pass *p, size_t bytes)
{
    while (p->chunk_bytes < bytes + sizeof(pass_chunk))
        p->chunk_bytes *= 2;
    pass_chunk *chunk = ag__alloc(p->c, p->chunk_bytes);
    if (!chunk)
        return false;
    *chunk = (pass_chunk){ p->chunks, p->chunk_bytes };
    p->chunks = chunk;
    p->at = (char *)(chunk + 1);
    p->end = (char *)chunk + p->chunk_bytes;
    if (p->chunk_bytes < PASS_CHUNK_MAX)
        p->chunk_bytes *= 2;
    return true;
}

/* Memory that lives as long as the pass. */
static void *pass_take(pass *p, size_t bytes)
{
    if ((size_t)(p->end - p->at) < bytes && !pass_grow(p, bytes))
        return NULL;
    void *taken = p->at;
    p->at += bytes;
    return taken;
}

/* The visit of n in this pass, made if need be; NULL when out of memory. */
static ag__visit *pass_visit(pass *p, ag_node *n)
{
    if (n->pass == p->id)
        return n->visit;
    ag__visit *v = pass_take(p, visit_bytes(n));
    if (!v)
        return NULL;
    v->node = n;
    v->next = p->visits;
    v->link = NULL;
    v->outer = n->visit;
    v->outer_pass = n->pass;
    v->missing = 0;
    v->next_edge = 0;
    v->n_out = n->n_out;
    v->reached = v->wanted = v->needed = v->queued = v->ran = false;
    for (int j = 0; j < n->n_out; j++)
        v->grads[j] = NULL;
    p->visits = v;
    n->visit = v;
    n->pass = p->id;
    if (n->n_in > p->max_in)
        p->max_in = n->n_in;
    return v;
}

/* Takes over a reference to n, so that n, and what it leads to, live until the pass ends. */
static bool pass_hold(pass *p, ag_node *n)
{
    pass_anchor *h = pass_visit(p, n) ? pass_take(p, sizeof *h) : NULL;
    if (!h) {
        ag__node_unref(n);
        return false;
    }
    *h = (pass_anchor){ n, p->held };
    p->held = h;
    return true;
}

static bool visit_leads_on(const ag__visit *v) { return v->needed || v->wanted; }

/* Post-order walk from root, over edges; fails for lack of memory only. An edge to a visit that was
 * reached before leads to a finished one, since graphs have no cycles. */
static bool pass_discover(pass *p, ag_node *root)
{
    ag__visit *v = pass_visit(p, root);
    if (!v || v->reached)
        return v != NULL;
    v->reached = true;
    for (;;) {
        if (v->next_edge < v->node->n_in) {
            ag_node *to = v->node->edges[v->next_edge++].node;
            ag__visit *w = to ? pass_visit(p, to) : NULL;
            if (!to)
                continue;
            if (!w)
                return false;
            w->missing++;
            if (w->reached) {
                v->needed = v->needed || visit_leads_on(w);
            } else {
                w->reached = true;
                w->link = v;
                v = w;
            }
        } else if (v->link) {
            v->link->needed = v->link->needed || visit_leads_on(v);
            v = v->link;
        } else {
            return true;
        }
    }
}

/* ---- the ready queue ---- */

static bool heap_before(const ag__visit *a, const ag__visit *b)
{
    return a->node->seq > b->node->seq;
}

static bool heap_push(pass *p, ag__visit *v)
{
    if ((size_t)p->heap_n == p->heap_room) {
        const size_t room = 2 * p->heap_room;
        ag__visit **bigger = ag__alloc(p->c, room * sizeof *bigger);
        if (!bigger)
            return false;
        memcpy(bigger, p->heap, (size_t)p->heap_n * sizeof *bigger);
        if (p->heap != p->first_heap)
            ag__free(p->c, p->heap, p->heap_room * sizeof *bigger);
        p->heap = bigger;
        p->heap_room = room;
    }
    int i = p->heap_n++;
    for (; i > 0 && heap_before(v, p->heap[(i - 1) / 2]); i = (i - 1) / 2)
        p->heap[i] = p->heap[(i - 1) / 2];
    p->heap[i] = v;
    v->queued = true;
    return true;
}

static ag__visit *heap_pop(pass *p)
{
    ag__visit *top = p->heap[0], *last = p->heap[--p->heap_n];
    int i = 0;
    for (;;) {
        int k = 2 * i + 1;
        if (k >= p->heap_n)
            break;
        if (k + 1 < p->heap_n && heap_before(p->heap[k + 1], p->heap[k]))
            k++;
        if (!heap_before(p->heap[k], last))
            break;
        p->heap[i] = p->heap[k];
        i = k;
    }
    p->heap[i] = last;
    return top;
}

/* ---- running ---- */

/* Nobody else can see the buffer, and a plain loop may write it. */
static bool pass_owns(const ag_tensor *t)
{
    return t->refs == 1 && t->storage->refs == 1 && !t->storage->foreign && !ag__is_symbolic(t) &&
           ag__is_contiguous(t);
}

/* dst += g, of the same shape and dtype. Pointwise kernels do not allocate. */
static void pass_add_in_place(ag_tensor *dst, ag_tensor *g)
{
    static const ag__attrs none = { 0 };
    const ag__call call = { ag__ops[AG_OP_add], dst->c, (ag_tensor *[]){ dst, g }, 2, &none, 1 };
    call.op->kernel(&call, &dst);
}

/* Adds g to *slot, which owns its tensor. */
static bool pass_deliver(pass *p, ag_tensor **slot, ag_tensor *g)
{
    if (!*slot) {
        *slot = ag__tensor_ref(g);
        return true;
    }
    if (!p->create_graph && pass_owns(*slot) && !ag__is_symbolic(g)) {
        pass_add_in_place(*slot, g);
        return true;
    }
    ag_tensor *sum = (ag_add)(*slot, g);
    if (!sum)
        return false;
    ag__tensor_unref(*slot);
    *slot = ag__tensor_ref(sum);
    return true;
}

/* Whether g can be summed to the shape of what the edge leads to. */
static bool pass_check_gradient(const pass *p, const ag_node *n, int i, const ag_tensor *g)
{
    const ag__edge *e = &n->edges[i];
    const ag__output *o = &ag__node_outputs(e->node)[e->nr];
    bool fits = g->c == p->c && g->ndim >= o->ndim;
    for (int k = 1; k <= o->ndim && fits; k++) {
        const int64_t size = o->shape[o->ndim - k];
        fits = size == 1 || size == g->dims[g->ndim - k];
    }
    ag__shape_text a, b;
    return fits || ag_fail(p->c, AG_ERR_SHAPE,
                           "Function %s returned an invalid gradient at index %d - got %s but "
                           "expected shape compatible with %s",
                           ag_node_name(n), i, ag__shape_string(&a, ag__sizes(g)),
                           ag__shape_string(&b, (ag_ints){ o->shape, o->ndim }));
}

/* The result g of n's rule as operand i wants it: of its shape and its dtype. */
static ag_tensor *pass_repair(const pass *p, const ag_node *n, int i, ag_tensor *g)
{
    const ag__edge *e = &n->edges[i];
    const ag__output *o = &ag__node_outputs(e->node)[e->nr];
    bool same = g->dtype == o->dtype && g->ndim == o->ndim && g->c == p->c;
    for (int d = 0; d < o->ndim && same; d++)
        same = g->dims[d] == o->shape[d];
    if (AG_LIKELY(same))
        return g;
    return pass_check_gradient(p, n, i, g) ? ag__node_fit(e, g) : NULL;
}

static bool visit_takes_part(const pass *p, const ag__visit *v)
{
    return p->all || visit_leads_on(v);
}

/* In anomaly mode: none of the rule's results holds a NaN. */
static bool pass_check_nan(const pass *p, const ag_node *n)
{
    for (int i = 0; i < n->n_in; i++) {
        ag_tensor *g = n->edges[i].node ? p->out[i] : NULL;
        if (g && ag__is_symbolic(g)) /* the run will see */
            continue;
        ag_tensor *flat = g ? ag__ready(g, (ag_dtype)g->dtype) : NULL;
        if (g && !flat)
            return false;
        bool nan = false;
        for (int64_t k = 0; flat && k < flat->numel && !nan; k++)
            nan = isnan(ag__load((ag_dtype)flat->dtype, ag__at(flat), k));
        ag__tensor_unref(flat);
        if (nan)
            return ag_fail(p->c, AG_ERR_GRAD,
                           "Function '%s' returned nan values in its %dth output.", ag_node_name(n),
                           i);
    }
    return true;
}

/* The gradients that the rule of v gets: v's own, or what prehooks put in their place. */
static ag_tensor *const *pass_before(pass *p, ag__visit *v)
{
    ag_node *n = v->node;
    if (AG_LIKELY(!n->extra) || !ag__hook_find(ag__hooks_of(n), AG_HOOK_BEFORE))
        return v->grads;
    ag_tensor **g = pass_take(p, n->n_out * sizeof *g);
    if (!g)
        return NULL;
    memcpy(g, v->grads, n->n_out * sizeof *g);
    return ag__hooks_before(n, g) ? g : NULL;
}

/* Runs the rule of v, with the hooks around it, and hands its results on. */
static bool pass_run_rule(pass *p, ag__visit *v, bool keeps)
{
    ag_node *n = v->node;
    ag_tensor *const *g = pass_before(p, v);
    bool any = n->op->takes_undefined;
    for (int j = 0; j < n->n_out && g; j++)
        any = any || g[j];
    if (!g)
        return false;
    const bool owns = n->op->takes_owned && !keeps && !p->create_graph && g == v->grads && g[0] &&
                      pass_owns(g[0]);
    if (!any)
        memset(p->out, 0, n->n_in * sizeof *p->out);
    if (any && !ag__node_apply(n, n->edges, g, owns, p->all, p->out))
        return false;
    if (n->extra && !ag__hooks_after(n, p->out, g))
        return false;
    if (p->c->anomaly && !pass_check_nan(p, n))
        return false;
    for (int i = 0; i < n->n_in; i++) {
        const ag__edge *e = &n->edges[i];
        if (!p->out[i] || !e->node)
            continue;
        ag__visit *w = e->node->visit;
        if (!visit_takes_part(p, w))
            continue;
        ag_tensor *to = pass_repair(p, n, i, p->out[i]);
        if (!to || !pass_deliver(p, &w->grads[e->nr], to))
            return false;
    }
    return true;
}

/* The same, where anomaly mode wants errors to know whose rule it was. */
static bool pass_run_rule_named(pass *p, ag__visit *v, bool keeps)
{
    ag_context *c = p->c;
    const char *of = c->rule_of, *site = c->rule_site;
    c->rule_of = ag_node_name(v->node);
    c->rule_site = v->node->extra ? v->node->extra->site : NULL;
    const bool ok = pass_run_rule(p, v, keeps);
    c->rule_of = of;
    c->rule_site = site;
    return ok;
}

/* A leaf's gradient is complete. Prehooks of the accumulator may replace it. */
static bool pass_run_accumulator(pass *p, ag__visit *v)
{
    ag_tensor *g = v->grads[0];
    if (!ag__hooks_of(v->node) || !p->accumulates)
        return true;
    if (!ag__hooks_before(v->node, &g))
        return false;
    if (g && g != v->grads[0]) {
        ag__tensor_ref(g);
        ag__tensor_unref(v->grads[0]);
        v->grads[0] = g;
    }
    return true;
}

/* Calls the hooks of v's gradients, and looks whether one of these is retained. */
static bool pass_run_hooks(ag__visit *v, bool *keeps)
{
    if (!ag__hooks_tensor(v->node, v->grads))
        return false;
    *keeps = *keeps || ag__hook_find(ag__hooks_of(v->node), AG_HOOK_RETAIN);
    return true;
}

/* A node of which all gradients have arrived. Those that are looked at again, as results of the pass
 * or for .grad, stay in the visit. */
static bool pass_run_visit(pass *p, ag__visit *v)
{
    ag_node *n = v->node;
    const bool is_leaf = !n->op->vjp, takes_part = visit_takes_part(p, v);
    bool keeps = v->wanted || is_leaf, ok = true;
    if (AG_UNLIKELY(n->extra != NULL) && takes_part && !pass_run_hooks(v, &keeps))
        return false;
    v->ran = !is_leaf && (p->all || v->needed);
    if (v->ran)
        ok = AG_UNLIKELY(p->c->anomaly) ? pass_run_rule_named(p, v, keeps)
                                        : pass_run_rule(p, v, keeps);
    else if (AG_UNLIKELY(n->extra != NULL) && is_leaf && takes_part)
        ok = pass_run_accumulator(p, v);
    if (keeps) {
        v->link = p->keeping;
        p->keeping = v;
        return ok;
    }
    for (int j = 0; j < n->n_out; j++) {
        ag__tensor_unref(v->grads[j]);
        v->grads[j] = NULL;
    }
    return ok;
}

/* Runs v, and tells the nodes its edges lead to. */
static bool pass_run_node(pass *p, ag__visit *v)
{
    const ag_node *n = v->node;
    if (AG_UNLIKELY(atomic_load_explicit(&p->c->cancelled, memory_order_relaxed)))
        return ag_fail(p->c, AG_ERR_CANCELLED, "backward was cancelled before %s", ag_node_name(n));
    if (AG_UNLIKELY(p->ends_at_inputs) && v->wanted) {
        v->link = p->keeping;
        p->keeping = v;
        return true;
    }
    const bool ok = pass_run_visit(p, v);
    ag__scope_drain(&p->bracket);
    for (int i = 0; i < n->n_in && ok; i++) {
        ag__visit *w = n->edges[i].node ? n->edges[i].node->visit : NULL;
        if (w && --w->missing == 0 && !heap_push(p, w))
            return false;
    }
    return ok;
}

static bool pass_run(pass *p)
{
    if (p->max_in > PASS_OUT) {
        p->out = ag__alloc(p->c, (size_t)p->max_in * sizeof *p->out);
        if (!p->out)
            return false;
    }
    for (const pass_anchor *h = p->held; h; h = h->next) {
        ag__visit *v = h->node->visit;
        if (v->reached && v->missing == 0 && !v->queued && !heap_push(p, v))
            return false;
    }
    while (p->heap_n)
        if (!pass_run_node(p, heap_pop(p)))
            return false;
    return true;
}

/* ---- commit ---- */

static bool pass_same_strides(const ag_tensor *a, const ag_tensor *b)
{
    for (int i = 0; i < a->ndim; i++)
        if (a->dims[i] > 1 && a->dims[a->ndim + i] != b->dims[b->ndim + i])
            return false;
    return true;
}

/* A copy of g for t.grad: in t's order of dimensions where t is dense, else in rows. */
static ag_tensor *pass_copy_grad(const pass *p, const ag_tensor *t, ag_tensor *g)
{
    if (p->create_graph)
        return ag__lend(ag_clone(g));
    if (ag__is_contiguous(t) || !ag__is_dense(t))
        return ag__give(ag__contiguous_copy(g, (ag_dtype)g->dtype));
    ag__geometry at;
    ag__geometry_of(t, &at);
    at.offset = 0;
    ag_tensor *memory = ag__tensor_new(p->c, (ag_dtype)g->dtype, 1, &t->numel);
    ag_tensor *copy = memory ? ag__give(ag__tensor_window(memory, &at)) : NULL;
    ag__tensor_unref(memory);
    if (copy)
        ag__copy_data(copy, g);
    return copy;
}

/* Nobody else holds g, and it is laid out as t.grad should be. */
static bool pass_can_steal(const ag_tensor *t, const ag_tensor *g)
{
    return g->refs == 1 && g->storage->refs == 1 && !g->storage->foreign &&
           (ag__is_contiguous(t) || !ag__is_dense(t) ? ag__is_contiguous(g)
                                                     : pass_same_strides(t, g));
}

/* Plans that t.grad gets g. The present gradient of a leaf stays the same tensor unless a graph is
 * wanted; a retained one is replaced. */
static bool pass_plan_write(pass *p, ag_node *accumulator, ag_tensor *t, ag_tensor *g)
{
    ag_tensor *old = ag__meta_of(t) ? t->meta->grad : NULL;
    pass_write *w = t->meta ? pass_take(p, sizeof *w) : NULL;
    if (!w)
        return false;
    *w = (pass_write){ .accumulator = accumulator };
    const bool stays = accumulator && old && !p->create_graph && !ag__repeats_memory(old);
    if (stays && ag__is_contiguous(old)) {
        w->how = WRITE_ADDS;
    } else if (old) {
        w->how = stays ? WRITE_COPIES : WRITE_TAKES;
        g = (ag_add)(old, g);
    } else if (!accumulator || !pass_can_steal(t, g)) {
        g = pass_copy_grad(p, t, g);
    }
    if (!g)
        return false;
    w->t = ag__tensor_ref(t);
    w->g = ag__tensor_ref(g);
    w->old = old ? ag__tensor_ref(old) : NULL;
    w->next = p->writes;
    p->writes = w;
    return true;
}

/* What of v's gradients goes to .grad fields: a leaf's, and that of retained results. */
static bool pass_plan_visit(pass *p, ag__visit *v)
{
    ag_tensor *leaf = ag__node_leaf(v->node);
    ag_hook *h = leaf ? NULL : ag__hook_find(ag__hooks_of(v->node), AG_HOOK_RETAIN);
    for (; h; h = ag__hook_find(h->next, AG_HOOK_RETAIN))
        if (v->grads[h->nr] && !pass_plan_write(p, NULL, h->retains, v->grads[h->nr]))
            return false;
    const bool accumulates = leaf && p->accumulates && v->grads[0] && (p->all || v->wanted);
    if (!accumulates || !ag__wants_grad(leaf)) /* it may have changed its mind since */
        return true;
    return leaf->grad_fn
               ? ag_fail(p->c, AG_ERR_GRAD, "leaf variable has been moved into the graph interior")
               : pass_plan_write(p, v->node, leaf, v->grads[0]);
}

static bool pass_plan(pass *p)
{
    for (ag__visit *v = p->keeping; v; v = v->link)
        if (visit_takes_part(p, v) && !(p->ends_at_inputs && v->wanted) && !pass_plan_visit(p, v))
            return false;
    return true;
}

static void pass_commit(pass *p)
{
    for (pass_write *w = p->writes; w; w = w->next) {
        ag_tensor *grad = w->old;
        if (w->how == WRITE_ADDS)
            pass_add_in_place(grad, w->g);
        else if (w->how == WRITE_COPIES)
            ag__copy_data(grad, w->g);
        else
            ag__meta_set_grad(w->t, ag__tensor_ref(w->g));
        if (w->how != WRITE_TAKES)
            ag__bump_version(grad, "AccumulateGrad");
    }
    for (ag__visit *v = p->visits; v && !p->retain_graph; v = v->next) {
        if (v->next)
            AG_PREFETCH(v->next->node);
        if (v->ran && (v->node->n_saved || v->node->op->release_saved))
            ag__saved_release(v->node);
    }
}

/* Hooks of leaves whose .grad was written. */
static bool pass_call_hooks(pass *p)
{
    ag_context *c = p->c;
    ag_scope s;
    bool ok = true;
    ag__bracket_begin(&s, c);
    c->grad_enabled = p->create_graph;
    for (pass_write *w = p->writes; w && ok; w = w->next)
        if (w->accumulator && ag__hooks_of(w->accumulator))
            ok = ag__hooks_accumulated(w->accumulator, w->g);
    c->grad_enabled = p->grad_was_enabled;
    ag__bracket_end(&s);
    return ok;
}

/* The callbacks, which may add callbacks. */
static bool pass_call_back(pass *p)
{
    for (pass_callback *k = p->callbacks; k; k = k->next) {
        const unsigned failures = p->c->failures;
        k->fn(k->user);
        if (ag__failed_since(p->c, failures))
            return false;
    }
    return true;
}

static void pass_begin(pass *p, ag_context *c, const ag__pass_request *r)
{
    p->outer = c->running;
    p->c = c;
    p->id = ++c->pass;
    p->retain_graph = r->retain_graph || r->create_graph;
    p->create_graph = r->create_graph;
    p->grad_was_enabled = c->grad_enabled;
    p->all = !r->inputs;
    p->accumulates = !r->results;
    p->ends_at_inputs = r->ends_at_inputs;
    p->visits = p->keeping = NULL;
    p->held = NULL;
    p->inputs = NULL;
    p->writes = NULL;
    p->callbacks = NULL;
    p->last_callback = &p->callbacks;
    p->at = p->first_chunk;
    p->end = p->first_chunk + PASS_CHUNK;
    p->chunks = NULL;
    p->chunk_bytes = 4 * PASS_CHUNK;
    p->heap = p->first_heap;
    p->heap_n = 0;
    p->heap_room = PASS_HEAP;
    p->max_in = 0;
    p->out = p->first_out;
    c->passes++;
    c->running = p;
    c->grad_enabled = r->create_graph;
    ag__bracket_begin(&p->bracket, c);
}

/* After a pass that failed gradients may be left in any visit, otherwise in those that keep some. */
static void pass_end(pass *p, bool ok)
{
    p->c->running = p->outer;
    p->c->passes--;
    for (ag__pass_watch *w = p->c->watches; w;)
        w = w->ended(w, p->id) ? p->c->watches : w->next;
    for (pass_write *w = p->writes; w; w = w->next) {
        ag__tensor_unref(w->old);
        ag__tensor_unref(w->g);
        ag__tensor_unref(w->t);
    }
    for (ag__visit *v = ok ? p->keeping : p->visits; v; v = ok ? v->link : v->next)
        for (int j = 0; j < v->n_out; j++)
            ag__tensor_unref(v->grads[j]);
    for (ag__visit *v = p->visits; v && p->c->passes > 0; v = v->next) {
        v->node->visit = v->outer;
        v->node->pass = v->outer_pass;
    }
    for (pass_anchor *h = p->held; h; h = h->next)
        ag__node_unref(h->node);
    for (pass_chunk *chunk = p->chunks, *next; chunk; chunk = next) {
        next = chunk->next;
        ag__free(p->c, chunk, chunk->bytes);
    }
    if (p->heap != p->first_heap)
        ag__free(p->c, p->heap, p->heap_room * sizeof *p->heap);
    if (p->out != p->first_out)
        ag__free(p->c, p->out, (size_t)p->max_in * sizeof *p->out);
}

/* ---- roots and inputs ---- */

static ag_tensor *root_ones(ag_tensor *t)
{
    if (AG_UNLIKELY(ag__is_symbolic(t)))
        return ag_ones_like(t);
    ag_tensor *one = ag__give(ag__tensor_new(t->c, (ag_dtype)t->dtype, t->ndim, t->dims));
    if (one)
        ag__store((ag_dtype)t->dtype, one->storage->data, 0, 1);
    return one;
}

/* Puts t's gradient (ones when g is NULL) into the visit of the node that made t. */
static bool root_deliver(pass *p, ag_tensor *t, ag_tensor *g)
{
    ag__edge e;
    if (!ag__gradient_edge(t, &e) || !pass_hold(p, e.node))
        return false;
    bool ok = pass_discover(p, e.node);
    g = g && g->dtype != t->dtype ? ag_to(g, (ag_dtype)t->dtype) : g ? g : root_ones(t);
    if (AG_UNLIKELY(ag__is_symbolic(t)) && g) /* gradients of symbolic tensors are symbolic */
        g = ag__symbol_beside(t, g);
    return ok && g && pass_deliver(p, &e.node->visit->grads[e.nr], g);
}

/* Retains the gradient of an input that is no leaf. */
static bool pass_retain(pass_input *input, ag_tensor *t)
{
    if (!t->grad_fn || ag__node_leaf(t->grad_fn) || ag_retains_grad(t))
        return true;
    if (!ag_retain_grad(t))
        return false;
    input->retains = ag__tensor_ref(t);
    return true;
}

/* After a pass that failed gradients are retained as before. */
static void pass_release_inputs(pass *p, const ag__pass_request *r, bool ok)
{
    for (int i = 0; i < r->n_inputs && p->inputs; i++) {
        if (p->inputs[i].retains && !ok)
            ag__hooks_forget(p->inputs[i].retains);
        ag__tensor_unref(p->inputs[i].retains);
    }
}

/* Marks the visits of the inputs, before discovery. */
static bool pass_want_inputs(pass *p, const ag__pass_request *r)
{
    const size_t bytes = (size_t)r->n_inputs * sizeof *p->inputs;
    if (r->n_inputs == 0)
        return true;
    if (!(p->inputs = pass_take(p, bytes)))
        return false;
    memset(p->inputs, 0, bytes);
    for (int i = 0; i < r->n_inputs; i++) {
        ag__edge e;
        if ((!r->results && !pass_retain(&p->inputs[i], r->inputs[i])) ||
            !ag__gradient_edge(r->inputs[i], &e) || !pass_hold(p, e.node))
            return false;
        p->inputs[i].node = e.node;
        p->inputs[i].nr = e.nr;
        e.node->visit->wanted = true;
        if (p->ends_at_inputs)
            e.node->visit->next_edge = e.node->n_in;
    }
    return true;
}

/* The result for input i: what reached it, or zeros in its place. *g stays NULL where an unused input is
 * allowed. */
static bool pass_result(const pass *p, const ag__pass_request *r, int i, ag_tensor **g)
{
    const pass_input *input = &p->inputs[i];
    const ag__output *o = &ag__node_outputs(input->node)[input->nr];
    *g = input->node->visit->grads[input->nr];
    if (*g || (r->allow_unused && !r->materialize_grads))
        return true;
    if (!r->materialize_grads)
        return ag_fail(p->c, AG_ERR_GRAD,
                       "One of the differentiated Tensors appears to not have been used in the "
                       "graph. Set allow_unused=True if this is the desired behavior. [input %d]",
                       i);
    *g = ag__is_symbolic(r->inputs[i])
             ? ag_zeros_like(r->inputs[i])
             : ag_zeros(p->c, ((ag_ints){ o->shape, o->ndim }), .dtype = (ag_dtype)o->dtype);
    return *g && (!r->create_graph || ag_requires_grad_(*g, true));
}

/* Writes results[] when all are there; a result of our own is given to the innermost scope. */
static bool pass_collect(pass *p, const ag__pass_request *r)
{
    ag_tensor **all = pass_take(p, (size_t)r->n_inputs * sizeof *all);
    if (!all)
        return false;
    for (int i = 0; i < r->n_inputs; i++)
        if (!pass_result(p, r, i, &all[i]))
            return false;
    for (int i = 0; i < r->n_inputs; i++)
        r->results[i] = ag__lend(all[i]);
    return true;
}

bool ag__pass_perform(ag_context *c, const ag__pass_request *r)
{
    pass p;
    pass_begin(&p, c, r);
    bool ok = pass_want_inputs(&p, r);
    for (int i = 0; i < r->n_roots && ok; i++)
        ok = root_deliver(&p, r->roots[i], r->gradients ? r->gradients[i] : NULL);
    ok = ok && pass_run(&p) && pass_plan(&p);
    ag__bracket_end(&p.bracket);
    c->grad_enabled = p.grad_was_enabled;
    ok = ok && (!r->results || pass_collect(&p, r));
    if (ok) {
        pass_commit(&p);
        ok = pass_call_hooks(&p) && pass_call_back(&p);
    }
    pass_release_inputs(&p, r, ok);
    pass_end(&p, ok);
    return ok;
}

/* ---- what callbacks ask ---- */

void ag__pass_watch_add(ag_context *c, ag__pass_watch *w)
{
    if (w->link)
        return;
    w->next = c->watches;
    w->link = &c->watches;
    if (w->next)
        w->next->link = &w->next;
    c->watches = w;
}

void ag__pass_unwatch(ag__pass_watch *w)
{
    if (!w->link)
        return;
    *w->link = w->next;
    if (w->next)
        w->next->link = w->link;
    w->link = NULL;
}

uint64_t ag__pass_running(const ag_context *c) { return c->running ? c->running->id : 0; }

bool ag__node_in_pass(const ag_node *n)
{
    const pass *p = n->c->running;
    const ag__visit *v = p ? pass_visit_of(p, n) : NULL;
    return v && v->reached && visit_takes_part(p, v);
}

bool ag_queue_callback(ag_context *c, void (*fn)(void *user), void *user)
{
    if (!c)
        return false;
    if (!fn)
        return ag_fail(c, AG_ERR_VALUE, "ag_queue_callback: fn is NULL");
    if (!c->running)
        return ag_fail(c, AG_ERR_GRAD,
                       "Final callbacks can only be installed during backward pass.");
    pass_callback *k = pass_take(c->running, sizeof *k);
    if (!k)
        return false;
    *k = (pass_callback){ .fn = fn, .user = user };
    *c->running->last_callback = k;
    c->running->last_callback = &k->next;
    return true;
}
