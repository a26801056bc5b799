/*
 * Derivatives of loops with snapshots, which keep a few states and compute the others again.
 *
 * The gradient of a `while` is a `while_back` (rows.h): its region is the body and its derivative,
 * the joint one (joint.c), with a sum for each captured value whose gradient is wanted. Nothing of
 * the loop itself is kept but what it began with and how many steps it took.
 *
 * A `while_back` that is differentiated itself, as in the body of an outer loop of which a second
 * derivative is taken, is first written as what it computes: a scan that stacks all states and one
 * that goes back over them. The gradient is that of these.
 */
#include <string.h>

#include "traced.h"

typedef struct {
    ag__rule *r;
    ag_context *c;
    ag__inst i; /* copied, as instructions move when others are added */
    int n_states, n_grads, n_sums, n_captured;
    const ag__region *joint; /* of the body; of a while_back: its own region */
    bool *wanted;
    ag_tensor **tensors; /* room for lists */
    int32_t *numbers;
    ag__type *types;
    ag__geometry *geometry;
} back_loop;

/* ---- room ---- */

static size_t back_bytes(size_t n)
{
    return n *
           (sizeof(ag__type) + sizeof(ag__geometry) + sizeof(ag_tensor *) + sizeof(int32_t) + 1);
}

static bool back_begin(back_loop *b, ag__rule *r, size_t n)
{
    *b = (back_loop){ .r = r, .c = r->c, .i = *ag__flow_inst(r) };
    b->types = ag__alloc(r->c, back_bytes(n));
    if (!b->types)
        return false;
    memset(b->types, 0, back_bytes(n));
    b->geometry = (ag__geometry *)(void *)(b->types + n);
    b->tensors = (ag_tensor **)(void *)(b->geometry + n);
    b->numbers = (int32_t *)(void *)(b->tensors + n);
    b->wanted = (bool *)(b->numbers + n);
    return true;
}

/* Types of a region's parameters, of which the first n are variables. */
static void back_types(const back_loop *b, ag_tensor *const *in, int n_in, int n)
{
    for (int k = 0; k < n_in; k++) {
        b->types[k] = ag__type_of(in[k]);
        b->types[k].number = b->types[k].number && k >= n;
    }
}

/* ---- the gradient of a while ---- */

/* States, gradients, sums, captured to states, gradients, sums. */
static bool back_step_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const back_loop *b = arg;
    const int before = b->n_states + b->n_grads, n_captured = b->n_captured;
    const int32_t *params = b->joint->params;
    const int n_given = n - b->n_sums;
    ag_tensor **given = b->tensors;
    int32_t *values = b->numbers;
    for (int k = 0, p = 0; k < n; k++) {
        if (k >= before && k < before + b->n_sums)
            continue;
        values[p] = k < b->n_states ? params[k]
                    : k < before    ? params[k + n_captured]
                                    : params[k - before - b->n_sums + b->n_states];
        given[p++] = in[k];
    }
    const ag__part part = { b->c, b->joint, values, b->joint->outs, n_given, m };
    if (!ag__part_replay(&part, given, out))
        return false;
    for (int j = before; j < m; j++)
        if (!(out[j] = (ag_add)(in[j], out[j])))
            return false;
    return true;
}

static int back_operands(const back_loop *b, ag_tensor **in)
{
    ag__rule *r = b->r;
    int n = 0;
    for (int j = 0; j < b->n_states; j++)
        in[n++] = ag__in(r, j);
    for (int j = 0; j < b->n_states; j++)
        if (b->wanted[j])
            in[n++] = ag__flow_cotangent(r, j, ag__in(r, j));
    for (int k = b->n_states; k < b->i.n_in; k++)
        if (b->wanted[k])
            in[n++] = ag_zeros_like(ag__in(r, k));
    in[n++] = ag__flow_output(r, b->n_states - 1); /* the last variable counts */
    for (int k = b->n_states; k < b->i.n_in; k++)
        in[n++] = ag__in(r, k);
    return n;
}

static bool back_make(back_loop *b)
{
    const int m = b->n_states + b->n_grads + b->n_sums;
    ag_tensor **in = b->tensors + b->joint->n_params, **params = in + m + 1 + b->n_captured;
    const int n = back_operands(b, in);
    for (int k = 0; k < n; k++)
        if (!in[k])
            return false;
    for (int k = 0; k < n - 1; k++)
        params[k] = in[k < m ? k : k + 1];
    back_types(b, params, n - 1, m);
    for (int j = 0; j < m; j++)
        ag__geometry_set(&b->geometry[j], b->types[j].dtype, b->types[j].shape);
    ag__region *region = ag__trace("while_back", b->c->tracing->graph, b->c->tracing, b->types,
                                   n - 1, back_step_fn, b, m);
    if (!region)
        return false;
    const int64_t *list = b->i.attrs->list;
    const ag__attrs attrs = { .i = { b->n_states },
                              .n = AG_FLOW_ATTRS,
                              .list = { [AG_FLOW_CARRY] = m,
                                        [AG_FLOW_LENGTH] = -2,
                                        [AG_FLOW_SNAPSHOTS] = list[AG_FLOW_SNAPSHOTS] } };
    const ag__flow f = { &ag__op_while_back, &attrs, &region, 1, n, m, in, b->geometry };
    ag_tensor **out = params;
    if (!ag__traced_flow(b->c, &f, out))
        return false;
    for (int j = 0; j < m; j++)
        ag__give(out[j]);
    for (int k = 0, j = b->n_states; k < b->i.n_in; k++) {
        if (!b->wanted[k])
            continue;
        if (ag__wants(b->r, k))
            b->r->out[k] = out[j];
        j++;
    }
    return true;
}

/* The gradient of the state goes through every step, wanted in the end or not. */
static bool back_read(back_loop *b)
{
    b->n_states = (int)b->i.attrs->list[AG_FLOW_CARRY];
    b->n_captured = b->i.n_in - b->n_states;
    const ag__region *body = b->i.regions[0];
    for (int k = 0; k < b->i.n_in; k++) {
        b->wanted[k] = ag__is_float((ag_dtype)body->values[body->params[k]].dtype) &&
                       (k < b->n_states || ag__wants(b->r, k));
        *(k < b->n_states ? &b->n_grads : &b->n_sums) += b->wanted[k];
    }
    return (b->joint = ag__joint(b->c, "while_back", body, b->wanted)) != NULL;
}

bool ag__flow_back(ag__rule *r)
{
    const ag__inst *i = ag__flow_inst(r);
    if (ag__inst_draws(i))
        return ag_fail(r->c, AG_ERR_UNSUPPORTED,
                       "a loop with snapshots draws random numbers, and its gradient is taken");
    const size_t n = 8 * ((size_t)i->n_in + (size_t)i->n_out);
    back_loop b;
    const bool ok = back_begin(&b, r, n) && back_read(&b) && back_make(&b);
    ag__free(r->c, b.types, back_bytes(n));
    return ok;
}

/* ---- the gradient of a while_back ---- */

/* States, captured to states; and the state, which is stacked. */
static bool back_forward_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const back_loop *b = arg;
    const ag__region *step = b->joint;
    for (int k = 0; k < n; k++)
        b->numbers[k] = step->params[k < b->n_states ? k : k + b->n_grads];
    const ag__part part = { b->c, step, b->numbers, step->outs, n, b->n_states };
    for (int j = b->n_states; j < m; j++)
        out[j] = in[j - b->n_states];
    return ag__part_replay(&part, in, out);
}

/* Gradients and sums, a state, captured to gradients and sums. */
static bool back_backward_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const back_loop *b = arg;
    const ag__region *step = b->joint;
    for (int k = 0; k < n; k++)
        b->numbers[k] = step->params[k < b->n_grads                 ? k + b->n_states
                                     : k < b->n_grads + b->n_states ? k - b->n_grads
                                                                    : k];
    const ag__part part = { b->c, step, b->numbers, step->outs + b->n_states, n, m };
    return ag__part_replay(&part, in, out);
}

/* All states, stacked: operands are states, length, captured. */
static bool back_stack(back_loop *b, ag_tensor *const *in, ag_tensor **stacks)
{
    const int n = b->n_states, n_captured = b->n_captured, m = b->n_grads;
    ag_tensor **list = b->tensors, **out = list + n + 1 + n_captured;
    for (int k = 0; k < n; k++)
        list[k] = in[k];
    for (int k = 0; k < n_captured; k++)
        list[n + k] = in[n + m + 1 + k];
    back_types(b, list, n + n_captured, n);
    for (int j = 0; j < n; j++) {
        ag__geometry *g = &b->geometry[j], *stack = &b->geometry[n + j];
        ag__geometry_set(g, b->types[j].dtype, b->types[j].shape);
        *stack = *g;
        memmove(stack->shape + 1, stack->shape, (size_t)stack->ndim++ * sizeof *stack->shape);
        stack->shape[0] = -1;
    }
    ag__region *body = ag__trace("scan", b->c->tracing->graph, b->c->tracing, b->types,
                                 n + n_captured, back_forward_fn, b, 2 * n);
    if (!body)
        return false;
    memmove(list + n + 1, list + n, (size_t)n_captured * sizeof *list);
    list[n] = in[n + m];
    const ag__attrs attrs = {
        .n = AG_FLOW_ATTRS, .list = { [AG_FLOW_CARRY] = n, [AG_FLOW_YS] = n, [AG_FLOW_LENGTH] = -2 }
    };
    const ag__flow f = { &ag__op_scan,       &attrs, &body, 1,
                         n + 1 + n_captured, 2 * n,  list,  b->geometry };
    if (!ag__traced_flow(b->c, &f, out))
        return false;
    for (int j = 0; j < 2 * n; j++)
        ag__give(out[j]);
    for (int j = 0; j < n; j++)
        stacks[j] = out[n + j];
    return true;
}

/* What a while_back computes, for its operands. */
static bool back_plain_fn(void *arg, ag_tensor *const *in, int n_in, ag_tensor **out, int n_out)
{
    back_loop *b = arg;
    const int n = b->n_states, m = b->n_grads, n_captured = b->n_captured;
    ag_tensor **list = b->tensors + 4 * n_in;
    (void)n_out;
    if (!back_stack(b, in, list + m))
        return false;
    for (int k = 0; k < m; k++)
        list[k] = in[n + k];
    for (int k = 0; k < n_captured; k++)
        list[m + n + k] = in[n + m + 1 + k];
    back_types(b, list, m + n + n_captured, m);
    for (int j = 0; j < m; j++)
        ag__geometry_set(&b->geometry[j], b->types[j].dtype, b->types[j].shape);
    for (int j = m; j < m + n; j++)
        b->types[j].shape = (ag_ints){ list[j]->dims + 1, list[j]->ndim - 1 };
    ag__region *body = ag__trace("scan", b->c->tracing->graph, b->c->tracing, b->types,
                                 m + n + n_captured, back_backward_fn, b, m);
    if (!body)
        return false;
    const ag__attrs attrs = { .n = AG_FLOW_ATTRS,
                              .list = { [AG_FLOW_CARRY] = m,
                                        [AG_FLOW_XS] = n,
                                        [AG_FLOW_REVERSE] = 1,
                                        [AG_FLOW_LENGTH] = -1 } };
    const ag__flow f = { &ag__op_scan, &attrs, &body, 1, m + n + n_captured, m, list, b->geometry };
    if (!ag__traced_flow(b->c, &f, out + n))
        return false;
    for (int j = 0; j < m; j++)
        ag__give(out[n + j]);
    for (int j = 0; j < n; j++)
        out[j] = in[j];
    return true;
}

static bool back_differentiate(back_loop *b)
{
    ag__rule *r = b->r;
    const int n_in = b->i.n_in, n_out = b->i.n_out;
    ag_tensor **in = b->tensors + 8 * n_in, **out = in + n_in + n_out;
    for (int k = 0; k < n_in; k++)
        in[k] = ag__in(r, k);
    back_types(b, in, n_in, n_out);
    ag__region *plain = ag__trace("while_back", b->c->tracing->graph, b->c->tracing, b->types, n_in,
                                  back_plain_fn, b, n_out);
    for (int k = 0; k < n_in; k++)
        b->wanted[k] = ag__is_float((ag_dtype)in[k]->dtype) && ag__wants(r, k);
    const ag__region *joint = plain ? ag__joint(b->c, "while_back", plain, b->wanted) : NULL;
    if (!joint)
        return false;
    const int n_cotangents = ag__flow_cotangents(r, n_out, in + n_in);
    if (n_cotangents < 0)
        return false;
    const ag__part part = {
        b->c, joint, joint->params, joint->outs + n_out, n_in + n_cotangents, joint->n_outs - n_out
    };
    if (!ag__part_replay(&part, in, out))
        return false;
    for (int k = 0, j = 0; k < n_in; k++)
        if (b->wanted[k])
            r->out[k] = out[j++];
    return true;
}

bool ag__flow_again(ag__rule *r)
{
    const ag__inst *i = ag__flow_inst(r);
    const size_t n = 16 * ((size_t)i->n_in + (size_t)i->n_out);
    back_loop b;
    bool ok = back_begin(&b, r, n);
    if (ok) {
        b.n_states = (int)b.i.attrs->i[0];
        b.n_grads = (int)b.i.attrs->list[AG_FLOW_CARRY] - b.n_states; /* sums are no other here */
        b.n_captured = b.i.n_in - b.n_states - b.n_grads - 1;
        b.joint = b.i.regions[0];
        ok = back_differentiate(&b);
    }
    ag__free(r->c, b.types, back_bytes(n));
    return ok;
}
