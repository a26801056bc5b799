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
 *    given up. A pass that fails leaves everything as it was and can be repeated.
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
#include <string.h>

#include "meta.h"
#include "node.h"

typedef struct ag__visit {
    ag_node *node;
    struct ag__visit *next;  /* all visits of the pass */
    struct ag__visit *link;  /* discovery: where to go back to; later: those that keep gradients */
    struct ag__visit *outer; /* what node->visit and node->pass were before */
    uint64_t outer_pass;
    int32_t missing;    /* edges that have not delivered */
    uint16_t next_edge; /* discovery */
    uint16_t n_out;     /* the node's */
    bool reached;       /* from a root */
    bool wanted;        /* an input of the pass: its gradient is kept */
    bool needed;        /* it runs, or leads to something wanted */
    bool queued;        /* it was ready */
    bool ran;
    ag_tensor *grads[]; /* of the node's outputs; at commit, what .grad becomes or is added */
} ag__visit;

enum { PASS_CHUNK = 1024, PASS_CHUNK_MAX = 1 << 22, PASS_HEAP = 16, PASS_OUT = 8 };

typedef struct pass_chunk {
    struct pass_chunk *next;
    size_t bytes;
} pass_chunk;

/* A root or an input: the pass owns a reference to its node. */
typedef struct pass_anchor {
    ag_node *node;
    struct pass_anchor *next;
} pass_anchor;

typedef struct {
    ag_context *c;
    uint64_t id;
    bool retain_graph, create_graph, grad_was_enabled;
    bool all;                    /* no inputs were named: every leaf is wanted */
    ag_scope bracket;            /* of what rules make */
    ag__visit *visits, *keeping; /* all, and those that keep gradients when they have run */
    pass_anchor *held;
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
    return t->refs == 1 && t->storage->refs == 1 && !t->storage->foreign && ag__is_contiguous(t);
}

/* dst += g, of the same shape and dtype. Pointwise kernels do not allocate. */
static void pass_add_in_place(ag_tensor *dst, ag_tensor *g)
{
    static const ag__attrs none = { 0 };
    const ag__call call = { ag__ops[AG_OP_add], dst->c, (ag_tensor *[]){ dst, g }, 2, &none };
    call.op->kernel(&call, &dst);
}

/* Adds g to *slot, which owns its tensor. */
static bool pass_deliver(pass *p, ag_tensor **slot, ag_tensor *g)
{
    if (!*slot) {
        *slot = ag__tensor_ref(g);
        return true;
    }
    if (!p->create_graph && pass_owns(*slot)) {
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

/* g as the operand behind the edge wants it: its shape and its dtype. */
static ag_tensor *pass_repair(const ag__edge *e, ag_tensor *g)
{
    const ag__output *o = &ag__node_outputs(e->node)[e->nr];
    g = ag__sum_to(g, (ag_ints){ o->shape, o->ndim });
    return g && g->dtype != o->dtype ? ag_to(g, (ag_dtype)o->dtype) : g;
}

static bool pass_run_rule(pass *p, ag__visit *v)
{
    ag_node *n = v->node;
    static const ag__attrs none = { 0 };
    if (!ag__node_check_saved(n))
        return false;
    for (int i = 0; i < n->n_in; i++)
        p->out[i] = NULL;
    ag__rule rule = { n->op,    p->c,  n, n->op->takes_attrs ? ag__node_attrs(n) : &none,
                      v->grads, p->out };
    if (!n->op->vjp(&rule))
        return ag__failed(p->c) ? false
                                : ag_fail(p->c, AG_ERR_INTERNAL, "%s failed", ag_node_name(n));
    for (int i = 0; i < n->n_in; i++) {
        const ag__edge *e = &n->edges[i];
        if (!p->out[i] || !e->node)
            continue;
        ag__visit *w = e->node->visit;
        if (!p->all && !w->needed && !w->wanted)
            continue;
        ag_tensor *g = pass_repair(e, p->out[i]);
        if (!g || !pass_deliver(p, &w->grads[e->nr], g))
            return false;
    }
    return true;
}

static bool pass_run_node(pass *p, ag__visit *v)
{
    ag_node *n = v->node;
    const ag__output *outputs = ag__node_outputs(n);
    /* Gradients are looked at again as results of the pass and where .grad is written. */
    bool any = false, kept = v->wanted || !n->op->vjp;
    for (int j = 0; j < n->n_out; j++) {
        any = any || v->grads[j];
        kept = kept || outputs[j].retains;
    }
    v->ran = n->op->vjp && (p->all || v->needed);
    if (v->ran && any) {
        const bool ok = pass_run_rule(p, v);
        ag__scope_drain(&p->bracket);
        if (!ok)
            return false;
    }
    if (kept) {
        v->link = p->keeping;
        p->keeping = v;
    }
    for (int j = 0; j < n->n_out && !kept; j++) {
        ag__tensor_unref(v->grads[j]);
        v->grads[j] = NULL;
    }
    for (int i = 0; i < n->n_in; i++) {
        ag__visit *w = n->edges[i].node ? n->edges[i].node->visit : NULL;
        if (w && --w->missing == 0 && !heap_push(p, w))
            return false;
    }
    return true;
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

/* g is added to the present gradient where it lies, rather than replacing it. */
static bool pass_adds_in_place(const pass *p, const ag_tensor *old)
{
    return old && !p->create_graph && !ag__wants_grad(old) && ag__is_contiguous(old);
}

/* Turns *g into what t's .grad becomes, g itself when nobody else holds it, a copy or a sum. It is
 * left alone when it will be added to the present gradient in place. */
static bool pass_prepare_grad(const pass *p, const ag_tensor *t, ag_tensor **g)
{
    ag_tensor *old = t->meta->grad;
    if (old ? pass_adds_in_place(p, old) : p->create_graph || pass_owns(*g))
        return true;
    ag_tensor *next = old ? (ag_add)(old, *g) : ag_clone(*g);
    if (!next)
        return false;
    ag__tensor_unref(*g);
    *g = ag__tensor_ref(next);
    return true;
}

static void pass_commit_grad(const pass *p, ag_tensor *t, ag_tensor *g)
{
    ag_tensor *old = t->meta->grad;
    if (!pass_adds_in_place(p, old)) {
        ag__meta_set_grad(t, ag__tensor_ref(g));
        return;
    }
    pass_add_in_place(old, g);
    ag__bump_version(old, "AccumulateGrad");
}

/* The tensor whose .grad output j of v feeds, or NULL. */
static ag_tensor *pass_target(const pass *p, const ag__visit *v, int j)
{
    if (!v->grads[j])
        return NULL;
    ag_tensor *leaf = ag__node_leaf(v->node);
    if (leaf)
        return p->all || v->wanted ? leaf : NULL;
    return ag__node_outputs(v->node)[j].retains;
}

static bool pass_prepare(pass *p)
{
    for (ag__visit *v = p->keeping; v; v = v->link)
        for (int j = 0; j < v->n_out; j++) {
            const ag_tensor *t = pass_target(p, v, j);
            if (t && !pass_prepare_grad(p, t, &v->grads[j]))
                return false;
        }
    return true;
}

static void pass_commit(pass *p, bool accumulate)
{
    for (ag__visit *v = p->keeping; v && accumulate; v = v->link)
        for (int j = 0; j < v->n_out; j++) {
            ag_tensor *t = pass_target(p, v, j);
            if (t)
                pass_commit_grad(p, t, v->grads[j]);
        }
    for (ag__visit *v = p->visits; v && !p->retain_graph; v = v->next) {
        if (v->next)
            AG_PREFETCH(v->next->node);
        if (v->ran)
            ag__node_release_saved(v->node);
    }
}

static void pass_begin(pass *p, ag_context *c, bool retain_graph, bool create_graph, bool all)
{
    p->c = c;
    p->id = ++c->pass;
    p->retain_graph = retain_graph || create_graph;
    p->create_graph = create_graph;
    p->grad_was_enabled = c->grad_enabled;
    p->all = all;
    p->visits = p->keeping = NULL;
    p->held = NULL;
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
    c->grad_enabled = create_graph;
    ag__bracket_begin(&p->bracket, c);
}

/* After a pass that failed gradients may be left in any visit, otherwise in those that keep some. */
static void pass_end(pass *p, bool ok)
{
    p->c->grad_enabled = p->grad_was_enabled;
    p->c->passes--;
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

/* ---- roots ---- */

static bool root_check(ag_context *c, ag_tensor *t, int i, ag_tensor *g)
{
    ag__shape_text a, b;
    if (!t)
        return ag_fail(c, AG_ERR_VALUE, "ag_backward: tensor %d is NULL", i);
    if (t->c != c || (g && g->c != c))
        return ag_fail(c, AG_ERR_VALUE,
                       "ag_backward: tensor %d or its gradient is of another context", i);
    if (!ag__wants_grad(t))
        return ag_fail(c, AG_ERR_GRAD,
                       "element %d of tensors does not require grad and does not have a grad_fn",
                       i);
    if (!g && t->numel != 1)
        return ag_fail(c, AG_ERR_GRAD, "grad can be implicitly created only for scalar outputs");
    if (g && !ag__same_shape(ag__sizes(g), ag__sizes(t)))
        return ag_fail(
            c, AG_ERR_SHAPE,
            "Mismatch in shape: grad_output[%d] has a shape of %s and output[%d] has a shape "
            "of %s.",
            i, ag__shape_string(&a, ag__sizes(g)), i, ag__shape_string(&b, ag__sizes(t)));
    if (g && !ag__is_float((ag_dtype)g->dtype))
        return ag_fail(c, AG_ERR_DTYPE, "gradient %d has dtype %s; gradients are floating point", i,
                       ag_dtype_name((ag_dtype)g->dtype));
    return true;
}

static ag_tensor *root_ones(const ag_tensor *t)
{
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
    return ok && g && pass_deliver(p, &e.node->visit->grads[e.nr], g);
}

/* ---- the passes that users start ---- */

typedef struct {
    ag_tensor *const *roots;
    ag_tensor *const *gradients; /* NULL: ones */
    int n_roots;
    ag_tensor *const *inputs;
    int n_inputs;
    ag_tensor **results; /* NULL: accumulate into .grad */
    bool retain_graph, create_graph;
    const ag_grad_options *grad;
} pass_request;

/* Marks the visits of the inputs, before discovery; with results NULL an input that is no leaf
 * retains its gradient. */
static bool pass_want_inputs(pass *p, const pass_request *r)
{
    for (int i = 0; i < r->n_inputs; i++) {
        ag_tensor *t = r->inputs[i];
        ag__edge e;
        if ((!r->results && !ag_retain_grad(t)) || !ag__gradient_edge(t, &e))
            return false;
        if (!pass_hold(p, e.node))
            return false;
        e.node->visit->wanted = true;
    }
    return true;
}

/* The gradient that reached input t, or NULL. */
static ag_tensor *pass_found(const pass *p, const ag_tensor *t)
{
    const ag_node *n = t->grad_fn ? t->grad_fn : t->meta ? t->meta->accumulator : NULL;
    const ag__visit *v = n ? pass_visit_of(p, n) : NULL;
    return v ? v->grads[t->output_nr] : NULL;
}

/* Writes results[] when all are there; a result of our own is given to the innermost scope. */
static bool pass_collect(pass *p, const pass_request *r)
{
    for (int i = 0; i < r->n_inputs; i++)
        if (!pass_found(p, r->inputs[i]) && !r->grad->allow_unused && !r->grad->materialize_grads)
            return ag_fail(
                p->c, AG_ERR_GRAD,
                "One of the differentiated Tensors appears to not have been used in the "
                "graph. Set allow_unused=True if this is the desired behavior. [input %d]",
                i);
    for (int i = 0; i < r->n_inputs; i++) {
        ag_tensor *g = pass_found(p, r->inputs[i]);
        if (!g && r->grad->materialize_grads) {
            g = ag_zeros_like(r->inputs[i]);
            if (!g)
                return false;
        }
        r->results[i] = ag__lend(g);
    }
    return true;
}

static bool pass_perform(ag_context *c, const pass_request *r)
{
    pass p;
    pass_begin(&p, c, r->retain_graph, r->create_graph, !r->inputs);
    bool ok = pass_want_inputs(&p, r);
    for (int i = 0; i < r->n_roots && ok; i++)
        ok = root_deliver(&p, r->roots[i], r->gradients ? r->gradients[i] : NULL);
    ok = ok && pass_run(&p);
    if (!r->results)
        ok = ok && pass_prepare(&p);
    ag__bracket_end(&p.bracket);
    if (r->results)
        ok = ok && pass_collect(&p, r);
    if (ok)
        pass_commit(&p, !r->results);
    pass_end(&p, ok);
    return ok;
}

/* The context of the first tensor that is there. */
static ag_context *pass_context(ag_tensor *const *tensors, int n)
{
    for (int i = 0; tensors && i < n; i++)
        if (tensors[i])
            return tensors[i]->c;
    return NULL;
}

static bool pass_check_inputs(ag_context *c, const char *op, ag_tensor *const *inputs, int n)
{
    for (int i = 0; i < n; i++) {
        if (!inputs[i] || inputs[i]->c != c)
            return ag_fail(c, AG_ERR_VALUE, "%s: input %d is %s", op, i,
                           inputs[i] ? "of another context" : "NULL");
        if (!ag__wants_grad(inputs[i]))
            return ag_fail(c, AG_ERR_GRAD,
                           "One of the differentiated Tensors does not require grad [input %d]", i);
    }
    return true;
}

bool(ag_backward_all)(ag_tensor *const *tensors, int n, const ag_backward_all_options *options)
{
    static const ag_backward_all_options none = { .size = sizeof none };
    const ag_backward_all_options *o = options ? options : &none;
    ag_context *c = pass_context(tensors, n);
    if (!c)
        return false;
    if (o->inputs && o->n_inputs <= 0)
        return ag_fail(c, AG_ERR_GRAD, "`inputs` argument to `backward()` cannot be empty.");
    for (int i = 0; i < n; i++)
        if (!root_check(c, tensors[i], i, o->gradients ? o->gradients[i] : NULL))
            return false;
    if (o->inputs && !pass_check_inputs(c, "ag_backward", o->inputs, o->n_inputs))
        return false;
    if (o->create_graph && !c->warned_create_graph) {
        c->warned_create_graph = true;
        ag__log(c,
                "Using backward() with create_graph=True will create a reference cycle between "
                "the parameter and its gradient which can cause a memory leak. We recommend using "
                "ag_grad when creating the graph to avoid this. If you have to use this function, "
                "make sure to reset the .grad fields of your parameters to None (ag_zero_grad) "
                "after use to break the cycle and avoid the leak.");
    }
    const pass_request r = { .roots = tensors,
                             .gradients = o->gradients,
                             .n_roots = n,
                             .inputs = o->inputs,
                             .n_inputs = o->inputs ? o->n_inputs : 0,
                             .retain_graph = o->retain_graph,
                             .create_graph = o->create_graph };
    return pass_perform(c, &r);
}

bool(ag_backward)(ag_tensor *t, const ag_backward_options *options)
{
    static const ag_backward_options none = { .size = sizeof none };
    const ag_backward_options *o = options ? options : &none;
    const ag_backward_all_options all = { .size = sizeof all,
                                          .gradients = &o->gradient,
                                          .retain_graph = o->retain_graph,
                                          .create_graph = o->create_graph,
                                          .inputs = o->inputs,
                                          .n_inputs = o->n_inputs };
    return (ag_backward_all)(&t, 1, &all);
}

bool(ag_grad)(ag_tensor *const *outputs, int n_outputs, ag_tensor *const *inputs, int n_inputs,
              ag_tensor **results, const ag_grad_options *options)
{
    static const ag_grad_options none = { .size = sizeof none };
    const ag_grad_options *o = options ? options : &none;
    ag_context *c = pass_context(outputs, n_outputs);
    if (!c)
        return false;
    if (!inputs || n_inputs <= 0 || !results)
        return ag_fail(c, AG_ERR_VALUE, "ag_grad: grad requires non-empty inputs.");
    if (o->batched)
        return ag_fail(c, AG_ERR_UNSUPPORTED, "ag_grad: .batched is not supported");
    for (int i = 0; i < n_outputs; i++)
        if (!root_check(c, outputs[i], i, o->grad_outputs ? o->grad_outputs[i] : NULL))
            return false;
    if (!pass_check_inputs(c, "ag_grad", inputs, n_inputs))
        return false;
    const pass_request r = { .roots = outputs,
                             .gradients = o->grad_outputs,
                             .n_roots = n_outputs,
                             .inputs = inputs,
                             .n_inputs = n_inputs,
                             .results = results,
                             .retain_graph = o->retain_graph,
                             .create_graph = o->create_graph,
                             .grad = o };
    return pass_perform(c, &r);
}
