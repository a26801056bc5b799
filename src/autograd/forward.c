/*
 * Forward mode: tangents of results for tangents of inputs.
 *
 * The function is run once on stand-ins (trial.h) and recorded. Then tangents go through the recorded
 * nodes in the order of their making (tape.h), each node once, on to the results. What a node does
 * with the tangents t of its operands:
 *
 * - a pointwise row sums its gradients' expressions with g := t, which read what the node saved;
 * - an operation may bring a rule of its own, `jvp` in ops/op.h, and a custom function its `.jvp`;
 * - a linear operation of one operand is applied to t;
 * - every other: its vjp is linear in the cotangent v, v -> J^T v, so one pass back through the vjp, from
 *   the gradients of the operands with t for their gradients, gives J t at v.
 *
 * An undefined tangent (NULL) is zero that is never computed. When results are to be differentiated
 * further, all this is recorded in turn.
 */
#include "../ops/index.h"
#include "../ops/pointwise.h"

#include <string.h>

#include "custom.h"
#include "saved.h"
#include "backward.h"
#include "trial.h"
#include "view.h"

typedef struct {
    ag_context *c;
    const ag__trial *trial;
    ag_tensor *const *given; /* tangents of the inputs */
    bool differentiable;
    ag__tape tape;
    ag_tensor **tangents; /* of all outputs of all steps; owned */
    ag_tensor **scratch;  /* two for each operand and four for each output of the largest node */
    ag__edge *wanted;     /* as many as it has operands */
} forward_state;

/* ---- a node ---- */

/* t as a tangent of an output: in its dtype and shape. */
static ag_tensor *forward_fit(ag_tensor *t, const ag__output *o)
{
    const ag_ints shape = { o->shape, o->ndim };
    if (t && t->dtype != o->dtype)
        t = ag_to(t, (ag_dtype)o->dtype);
    return t && !ag__same_shape(ag__sizes(t), shape) ? ag_expand(t, shape) : t;
}

/* Expressions take the dtype of g: that of the result, lest digits of other operands get lost. */
static bool forward_pointwise(ag__rule *r)
{
    const ag_dtype d = (ag_dtype)ag__node_outputs(r->node)[0].dtype;
    ag_tensor *in[3] = { NULL }, *t[3] = { NULL };
    for (int i = 0; i < r->op->n_in; i++) {
        in[i] = ag__in(r, i);
        if (r->g[i] && !(t[i] = ag_to(r->g[i], d)))
            return false;
    }
    const unsigned failures = r->c->failures;
    ag_tensor *y = ag__out(r, 0);
    r->out[0] = ag__pointwise_jvp(r->op, r->attrs, in, y, t);
    return !ag__failed_since(r->c, failures);
}

/* The node knows all that the operation needs beside the elements of its operand. Views may need the
 * operand's strides. */
static bool forward_applies(const ag_node *n)
{
    const ag__op *op = n->op;
    return op->kind == AG_KIND_LINEAR && op->kernel && op->n_in == 1 && op->n_out == 1 &&
           op->takes_attrs && ag__node_attrs(n)->n <= AG_MAX_DIMS;
}

static bool forward_apply(ag__rule *r)
{
    ag__attrs attrs = { .p = r->attrs->p, .q = r->attrs->q, .n = r->attrs->n };
    memcpy(attrs.i, r->attrs->i, sizeof attrs.i);
    memcpy(attrs.list, r->attrs->list, sizeof *attrs.list * (size_t)attrs.n);
    return (r->out[0] = ag__unary(r->op, r->g[0], &attrs)) != NULL;
}

/* The gradients that the node's vjp makes of the fresh leaves v, where operands have tangents: packed
 * to the front of gradients[], with their tangents. Returns how many there are, -1 on failure. */
static int forward_gradients(const forward_state *f, ag_node *n, ag_tensor *const *v,
                             ag_tensor **gradients, ag_tensor **t)
{
    int count = 0;
    for (int i = 0; i < n->n_in; i++) {
        f->wanted[i] = n->edges[i];
        f->wanted[i].node = t[i] ? n->edges[i].node : NULL;
    }
    if (!ag__node_apply(n, f->wanted, v, false, true, gradients))
        return -1;
    for (int i = 0; i < n->n_in; i++) {
        const ag__edge *e = &n->edges[i];
        if (!t[i] || !gradients[i])
            continue;
        ag_tensor *g = ag__node_fit(e, gradients[i]);
        if (!g || !ag__fresh(g))
            return -1;
        if (!ag__wants_grad(g) && ag__node_is_custom(n)) {
            ag_fail(f->c, AG_ERR_GRAD,
                    "function %s: You must implement the jvp function for custom autograd.Function "
                    "to use it with forward mode AD, or write backward in operations.",
                    ag_node_name(n));
            return -1;
        }
        if (!ag__wants_grad(g))
            continue;
        gradients[count] = g;
        t[count++] = t[i];
    }
    return count;
}

/* A leaf of zeros in the graph of `beside`. */
static ag_tensor *forward_symbolic_leaf(const ag_tensor *beside, const ag__output *o)
{
    ag_tensor *zeros = ag__zeros_beside(beside, (ag_ints){ o->shape, o->ndim });
    zeros = zeros ? ag_to(zeros, (ag_dtype)o->dtype) : NULL;
    ag_tensor *leaf = zeros ? ag__give(ag__tensor_alias(zeros)) : NULL;
    if (leaf)
        leaf->flags |= AG_T_REQUIRES_GRAD;
    return leaf;
}

static bool forward_generic(const forward_state *f, ag_node *n, ag_tensor **t, ag_tensor **out,
                            ag_tensor **scratch)
{
    ag_tensor **v = scratch, **leaves = v + n->n_out, **found = leaves + n->n_out;
    ag_tensor **gradients = found + n->n_out;
    const bool records = f->c->grad_enabled;
    const ag_tensor *symbol = NULL;
    int n_leaves = 0;
    for (int i = 0; i < n->n_in; i++)
        symbol = t[i] && ag__is_symbolic(t[i]) ? t[i] : symbol;
    for (int j = 0; j < n->n_out; j++) {
        const ag__output *o = &ag__node_outputs(n)[j];
        const ag_tensor_options like = { .size = sizeof like,
                                         .dtype = (ag_dtype)o->dtype,
                                         .requires_grad = true };
        v[j] = NULL;
        if (!ag__is_float((ag_dtype)o->dtype))
            continue;
        v[j] = symbol ? forward_symbolic_leaf(symbol, o)
                      : (ag_zeros)(f->c, (ag_ints){ o->shape, o->ndim }, &like);
        if (!v[j])
            return false;
        leaves[n_leaves++] = v[j];
    }
    f->c->grad_enabled = true;
    const int count = forward_gradients(f, n, v, gradients, t);
    f->c->grad_enabled = records;
    if (count <= 0)
        return count == 0;
    if (!ag_grad(gradients, count, leaves, n_leaves, found, .grad_outputs = t,
                 .create_graph = f->differentiable, .allow_unused = true))
        return false;
    for (int j = 0, k = 0; j < n->n_out; j++)
        if (v[j])
            out[j] = found[k++];
    return true;
}

/* The other ways, which are rules that read what the node saved; NULL: it has none. */
static bool (*forward_rule(const ag_node *n))(ag__rule *r)
{
    return n->op->jvp           ? n->op->jvp
           : n->op->pointwise   ? forward_pointwise
           : forward_applies(n) ? forward_apply
                                : NULL;
}

static bool forward_custom(const forward_state *f, ag_node *n, ag_tensor **t, ag_tensor **out,
                           ag_tensor **scratch)
{
    const unsigned failures = f->c->failures;
    if (!ag__saved_check(n))
        return false;
    return ag__custom_jvp(n, t, out) ||
           (!ag__failed_since(f->c, failures) && forward_generic(f, n, t, out, scratch));
}

/* ---- the tape ---- */

/* The tangent of the value that an edge leads to, or NULL. */
static ag_tensor *forward_at(const forward_state *f, const ag__edge *e)
{
    const ag__step *s = ag__tape_step(&f->tape, e->node);
    if (s)
        return f->tangents[s->outputs + e->nr];
    const ag_tensor *leaf = e->node ? ag__node_leaf(e->node) : NULL;
    for (int i = 0; leaf && i < f->trial->n; i++)
        if (f->trial->hidden[i] == leaf)
            return f->given[i];
    return NULL;
}

/* Computes the tangents of a node's outputs. Meanwhile the node has its edges, all of them: rules ask
 * for the shapes of operands that were wanted when it was recorded. */
static bool forward_step(const forward_state *f, const ag__step *s)
{
    ag_node *n = s->node;
    ag_tensor **t = f->scratch, **out = t + n->n_in, **rest = out + n->n_out;
    bool any = false;
    for (int i = 0; i < n->n_in; i++) {
        t[i] = forward_at(f, &s->edges[i]);
        any = any || t[i];
    }
    if (!any)
        return true;
    for (int i = 0; i < n->n_in; i++)
        n->edges[i] = s->edges[i];
    for (int j = 0; j < n->n_out; j++)
        out[j] = NULL;
    ag_scope bracket;
    ag__bracket_begin(&bracket, f->c);
    bool (*rule)(ag__rule * r) = forward_rule(n);
    bool ok = ag__node_is_custom(n) ? forward_custom(f, n, t, out, rest)
              : rule                ? ag__node_run(n, rule, n->edges, t, false, true, out)
                                    : forward_generic(f, n, t, out, rest);
    for (int j = 0; j < n->n_out && ok; j++) {
        if (!out[j])
            continue;
        ag_tensor *fitted = forward_fit(out[j], &ag__node_outputs(n)[j]);
        ok = fitted != NULL;
        f->tangents[s->outputs + j] = ok ? ag__tensor_ref(fitted) : NULL;
    }
    ag__bracket_end(&bracket);
    for (int i = 0; i < n->n_in; i++)
        n->edges[i].node = NULL;
    return ok;
}

/* The tangents of stand-ins that are views go where the nodes of these would deliver them. */
static void forward_seed(const forward_state *f)
{
    const ag__step *s = f->tape.steps;
    for (int i = 0; i < f->trial->n; i++) {
        if (!f->given[i] || f->trial->hidden[i])
            continue;
        if (s->node)
            f->tangents[s->outputs] = ag__tensor_ref(f->given[i]);
        s++;
    }
}

/* The tangents of the results, lent to the innermost scope. */
static bool forward_collect(const forward_state *f)
{
    const ag__trial *trial = f->trial;
    for (int j = 0; j < trial->m; j++) {
        const ag_tensor *y = trial->out[j];
        const ag__edge e = { y->grad_fn, y->output_nr };
        ag_tensor *t = forward_at(f, &e);
        for (int i = 0; i < trial->n && !y->grad_fn; i++)
            if (trial->hidden[i] == y)
                t = f->given[i];
        if (t && ag__repeats_memory(t) && !(t = ag_clone(t)))
            return false;
        trial->more[j] = ag__lend(t);
    }
    return true;
}

static bool forward_push(forward_state *f)
{
    const size_t n_tangents = (size_t)f->tape.n_outputs;
    const size_t n_scratch = 2 * (size_t)f->tape.max_in + 4 * (size_t)f->tape.max_out;
    const size_t bytes =
        (n_tangents + n_scratch) * sizeof(ag_tensor *) + (size_t)f->tape.max_in * sizeof(ag__edge);
    ag_tensor **block = ag__alloc(f->c, bytes);
    if (!block)
        return false;
    f->tangents = block;
    f->scratch = block + n_tangents;
    f->wanted = (ag__edge *)(void *)(f->scratch + n_scratch);
    for (size_t k = 0; k < n_tangents; k++)
        block[k] = NULL;
    forward_seed(f);
    f->c->grad_enabled = f->differentiable;
    bool ok = true;
    for (int64_t k = 0; k < f->tape.n && ok; k++)
        if (f->tape.steps[k].node)
            ok = forward_step(f, &f->tape.steps[k]);
    ok = ok && forward_collect(f);
    for (size_t k = 0; k < n_tangents; k++)
        ag__tensor_unref(block[k]);
    ag__free(f->c, block, bytes);
    return ok;
}

static bool forward_run(forward_state *f)
{
    const ag__trial *trial = f->trial;
    if (!ag__tape_open(&f->tape, f->c, trial->from, trial->out, trial->m))
        return false;
    f->differentiable = ag__tape_mark(&f->tape, trial->hidden, trial->n);
    for (int i = 0; i < trial->n; i++)
        f->differentiable = f->differentiable || (f->given[i] && ag__wants_grad_now(f->given[i]));
    f->differentiable = f->differentiable && trial->records;
    const bool ok = forward_push(f);
    ag__tape_close(&f->tape, false);
    return ok;
}

/* ---- public ---- */

static bool forward_check(const ag__trial *t, ag_tensor *const *in, ag_tensor *const *tangents)
{
    if (!tangents)
        return (t->n == 1 && in[0]->numel == 1 && ag__is_float((ag_dtype)in[0]->dtype)) ||
               ag_fail(t->c, AG_ERR_VALUE,
                       "ag_jvp: The vector v can only be None if the input to the user-provided "
                       "function is a single Tensor with a single element.");
    for (int i = 0; i < t->n; i++)
        if (!ag__trial_check_v(t, tangents[i], in[i], i, t->n))
            return false;
    return true;
}

/* The tangents that the caller means, each in the dtype of its input. */
static bool forward_given(const ag__trial *t, ag_tensor *const *in, ag_tensor *const *tangents,
                          ag_tensor **given)
{
    t->c->grad_enabled = t->records;
    for (int i = 0; i < t->n; i++) {
        ag_tensor *v = tangents ? tangents[i] : ag_ones_like(in[i]);
        if (v && v->dtype != in[i]->dtype)
            v = ag_to(v, (ag_dtype)in[i]->dtype);
        if (v && ag__is_symbolic(in[i])) /* tangents of symbolic tensors are symbolic */
            v = ag__symbol_beside(in[i], v);
        if (!v && (!tangents || tangents[i]))
            return false;
        given[i] = v;
    }
    return true;
}

bool ag_jvp(ag_fn fn, ag_tensor *const *in, int n, ag_tensor *const *tangents, ag_tensor **out,
            int m, ag_tensor **tangents_out, void *user)
{
    ag__trial trial;
    if (ag__any_recorded(in, n)) {
        const ag__trial about = { .c = ag__trial_check("ag_jvp", fn, in, n, m),
                                  .name = "ag_jvp",
                                  .n = n };
        return about.c && forward_check(&about, in, tangents) &&
               ag__jvp_record(fn, in, n, tangents, out, m, tangents_out, user);
    }
    if (!ag__trial_begin(&trial, "ag_jvp", fn, in, n, m, m))
        return false;
    const size_t bytes = (size_t)n * sizeof(ag_tensor *);
    ag_tensor **given = ag__alloc(trial.c, bytes);
    forward_state f = { .c = trial.c, .trial = &trial, .given = given };
    const bool ok = given && forward_check(&trial, in, tangents) &&
                    ag__trial_call(&trial, fn, in, tangents, user) &&
                    forward_given(&trial, in, tangents, given) && forward_run(&f);
    ag__free(trial.c, given, bytes);
    return ag__trial_end(&trial, ok, out, tangents_out);
}
