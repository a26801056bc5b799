/*
 * Derivative rules of traced loops and branches.
 *
 * The gradient of a branch is a branch on the same index, in which the branch is computed again.
 *
 * The gradient of a loop is a scan that goes back. The body and its derivative are traced as one
 * region, `joint`, and cut in two: the forward part gives, beside its results, what the backward
 * part needs of it (residuals.c), which the loop stacks as ys. So there are two new instructions:
 * the loop once more, with more ys, of which the first is the twin (graph.h) and which takes its
 * place; and the scan, over these stacks from the last to the first, whose carry is the gradient of
 * the carry and sums of the gradients of what is captured. All are loops with nodes again, so a
 * derivative of a derivative is nothing new.
 *
 * Of a loop with snapshots, unless the gradient is differentiated again, flow_back.c makes another
 * one.
 */
#include <string.h>

#include "traced.h"

const ag__inst *ag__flow_inst(const ag__rule *r)
{
    const ag__flow_place *place = ag__node_payload(r->node);
    return &place->region->insts[place->inst];
}

ag_tensor *ag__flow_cotangent(const ag__rule *r, int j, ag_tensor *like)
{
    return r->g[j] ? r->g[j] : ag_zeros_like(like);
}

ag_tensor *ag__flow_output(const ag__rule *r, int j)
{
    const ag__flow_place *place = ag__node_payload(r->node);
    return ag__give(ag__symbol_new(place->region, place->region->insts[place->inst].out + j));
}

int ag__flow_cotangents(const ag__rule *r, int n_out, ag_tensor **list)
{
    int n = 0;
    for (int j = 0; j < n_out; j++) {
        ag_tensor *y = ag__flow_output(r, j);
        if (y && !ag__is_float((ag_dtype)y->dtype))
            continue;
        if (!y || !(list[n] = ag__flow_cotangent(r, j, y)))
            return -1;
        n++;
    }
    return n;
}

/* ---- branches ---- */

typedef struct {
    ag__rule *r;
    const ag__region *branch;
    ag__region *joint;
    int32_t *wanted; /* results of the joint region */
    int n_wanted;
} turn_branch;

static bool turn_branch_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const turn_branch *b = arg;
    const ag__part part = { b->r->c, b->joint, b->joint->params, b->joint->outs + b->branch->n_outs,
                            n,       m };
    return ag__part_replay(&part, in, out);
}

/* Operands: index, inputs, gradients of the floating point results. */
static bool turn_branches(ag__rule *r, ag_tensor **in, ag__type *types, ag__geometry *geometry,
                          ag_tensor **out, ag__region **regions, bool *wanted)
{
    const ag__inst i = *ag__flow_inst(r);
    ag_context *c = r->c;
    int n = 1, m = 0;
    in[0] = ag__in(r, 0);
    for (int k = 1; k < i.n_in; k++) {
        wanted[k - 1] = ag__wants(r, k);
        in[n++] = ag__in(r, k);
        if (wanted[k - 1])
            ag__geometry_set(&geometry[m++], (ag_dtype)in[k]->dtype, ag__sizes(in[k]));
    }
    const int n_cotangents = ag__flow_cotangents(r, i.n_out, in + n);
    if (n_cotangents < 0)
        return false;
    n += n_cotangents;
    for (int k = 1; k < n; k++)
        types[k - 1] = ag__type_of(in[k]);
    for (int k = 0; k < i.n_regions; k++) {
        turn_branch b = { .r = r, .branch = i.regions[k] };
        b.joint = ag__joint(c, "cond", i.regions[k], wanted);
        if (!b.joint)
            return false;
        regions[k] =
            ag__trace("cond", c->tracing->graph, c->tracing, types, n - 1, turn_branch_fn, &b, m);
        if (!regions[k])
            return false;
    }
    ag__attrs attrs = ag__attrs_of(&i);
    attrs.i[0] = n - 1;
    const ag__flow f = { i.op, &attrs, regions, i.n_regions, n, m, in, geometry };
    if (!ag__traced_flow(c, &f, out))
        return false;
    for (int k = 1, j = 0; k < i.n_in; k++)
        if (wanted[k - 1])
            r->out[k] = ag__give(out[j++]);
    return true;
}

static bool turn_branches_vjp(ag__rule *r)
{
    const ag__inst *i = ag__flow_inst(r);
    if (ag__inst_draws(i))
        return ag_fail(r->c, AG_ERR_UNSUPPORTED,
                       "a branch draws random numbers, and its gradient is taken");
    const size_t n = (size_t)i->n_in + (size_t)i->n_out;
    const size_t sizes[] = { n * sizeof(ag_tensor *),
                             n * sizeof(ag__type),
                             n * sizeof(ag__geometry),
                             n * sizeof(ag_tensor *),
                             (size_t)i->n_regions * sizeof(ag__region *),
                             n };
    void *blocks[AG_COUNT(sizes)];
    bool ok = true;
    for (int k = 0; k < AG_COUNT(sizes); k++)
        ok = (blocks[k] = ag__alloc(r->c, sizes[k])) != NULL && ok;
    ok = ok && turn_branches(r, blocks[0], blocks[1], blocks[2], blocks[3], blocks[4], blocks[5]);
    for (int k = 0; k < AG_COUNT(sizes); k++)
        ag__free(r->c, blocks[k], sizes[k]);
    return ok;
}

/* ---- loops ---- */

/* A loop, its joint region, and the two loops that it becomes. Counts are of tensors. */
typedef struct {
    ag__rule *r;
    ag_context *c;
    ag__inst i; /* the loop; copied, as instructions move when others are added */
    const ag__region *body;
    int n_carry, n_xs, n_ys, n_own, n_captured; /* n_own: operands before the captured ones */
    ag__region *joint;
    int32_t *kept; /* values of joint that are stacked */
    int n_kept, n_params, n_float_carry, n_float_ys, n_wanted_xs, n_wanted_captured;
    bool *wanted; /* parameters of the body */
    ag__at_hand *at_hand;
    ag_tensor **stacks;  /* of what is kept */
    ag_tensor *count;    /* of iterations; NULL: as xs say */
    int32_t *numbers;    /* room for lists of values */
    ag_tensor **tensors; /* room for lists of tensors */
    ag__type *types;
    ag__geometry *geometry;
} turn_loop;

static bool turn_is_float(const ag__region *r, int32_t v)
{
    return ag__is_float((ag_dtype)r->values[v].dtype);
}

static void turn_loop_read(turn_loop *l, ag__rule *r)
{
    *l = (turn_loop){ .r = r, .c = r->c, .i = *ag__flow_inst(r) };
    const int64_t *list = l->i.attrs->list;
    l->body = l->i.regions[0];
    l->n_carry = (int)list[AG_FLOW_CARRY];
    l->n_xs = (int)list[AG_FLOW_XS];
    l->n_ys = (int)list[AG_FLOW_YS];
    l->n_own = l->n_carry + l->n_xs + (list[AG_FLOW_LENGTH] == -2);
    l->n_captured = l->i.n_in - l->n_own;
    l->n_params = l->body->n_params;
}

/* Which parameter of the body operand k is; -1: the number of iterations. */
static int turn_param(const turn_loop *l, int k)
{
    return k < l->n_carry + l->n_xs ? k : k < l->n_own ? -1 : k - l->n_own + l->n_carry + l->n_xs;
}

/* The gradient of the carry goes through every iteration, wanted in the end or not. */
static void turn_loop_sort(turn_loop *l)
{
    const ag__region *b = l->body;
    for (int k = 0; k < l->i.n_in; k++) {
        const int p = turn_param(l, k);
        if (p < 0)
            continue;
        const bool is_float = turn_is_float(b, b->params[p]);
        l->wanted[p] = is_float && (k < l->n_carry || ag__wants(l->r, k));
        l->at_hand[p] = k < l->n_carry ? AG_AT_HAND_NOT
                        : k < l->n_own ? AG_AT_HAND
                                       : AG_ALWAYS_SAME;
        if (!l->wanted[p])
            continue;
        *(k < l->n_carry ? &l->n_float_carry
          : k < l->n_own ? &l->n_wanted_xs
                         : &l->n_wanted_captured) += 1;
    }
    for (int j = 0; j < l->n_ys; j++)
        l->n_float_ys += turn_is_float(b, b->outs[l->n_carry + j]);
}

/* ---- the loop forward, which stacks what is kept ---- */

static bool turn_forward_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const turn_loop *l = arg;
    const int n_outs = l->body->n_outs;
    for (int j = 0; j < m; j++)
        l->numbers[j] = j < n_outs ? l->joint->outs[j] : l->kept[j - n_outs];
    const ag__part part = { l->c, l->joint, l->joint->params, l->numbers, n, m };
    return ag__part_replay(&part, in, out);
}

static void turn_stack_type(const turn_loop *l, ag__geometry *g, const ag__value *v)
{
    const ag__region *r = ((const ag__flow_place *)ag__node_payload(l->r->node))->region;
    ag__geometry_set(g, (ag_dtype)v->dtype, ag__value_shape(v));
    memmove(g->shape + 1, g->shape, (size_t)g->ndim++ * sizeof *g->shape);
    g->shape[0] = -1;
    if (l->n_xs)
        g->shape[0] = r->values[l->i.in[l->n_carry]].shape[0];
    else if (l->i.op == &ag__op_scan && l->i.attrs->list[AG_FLOW_LENGTH] >= 0)
        g->shape[0] = l->i.attrs->list[AG_FLOW_LENGTH];
}

/* Results: carry, ys, stacks. */
static bool turn_forward(turn_loop *l)
{
    const int m = l->body->n_outs + l->n_kept;
    ag__flow_place *place = ag__node_payload(l->r->node);
    for (int p = 0; p < l->n_params; p++)
        l->types[p] = ag__value_type(&l->body->values[l->body->params[p]]);
    ag__region *regions[2] = { NULL, l->i.n_regions > 1 ? l->i.regions[1] : NULL };
    regions[0] = ag__trace("scan", l->c->tracing->graph, l->c->tracing, l->types, l->n_params,
                           turn_forward_fn, l, m);
    if (!regions[0])
        return false;
    for (int j = 0; j < m; j++) {
        const ag__value *v = ag__region_out(regions[0], j);
        if (j < l->n_carry)
            ag__geometry_set(&l->geometry[j], (ag_dtype)v->dtype, ag__value_shape(v));
        else
            turn_stack_type(l, &l->geometry[j], v);
    }
    for (int k = 0; k < l->i.n_in; k++)
        l->tensors[k] = ag__in(l->r, k);
    ag__attrs attrs = ag__attrs_of(&l->i);
    attrs.list[AG_FLOW_YS] += l->n_kept;
    attrs.list[AG_FLOW_SNAPSHOTS] = 0; /* what is differentiated again keeps all */
    ag_tensor **results = l->tensors + l->i.n_in;
    const ag__flow f = { l->i.op,   &attrs, regions,    l->i.n_regions,
                         l->i.n_in, m,      l->tensors, l->geometry };
    if (!ag__traced_flow(l->c, &f, results))
        return false;
    for (int j = 0; j < m; j++)
        ag__give(results[j]);
    if (place->region == l->c->tracing)
        place->region->insts[place->inst].twin = place->region->n_insts - 1;
    for (int k = 0; k < l->n_kept; k++)
        l->stacks[k] = results[l->body->n_outs + k];
    l->count = l->i.op == &ag__op_while          ? results[l->n_carry - 1]
               : l->n_own > l->n_carry + l->n_xs ? ag__in(l->r, l->n_own - 1)
                                                 : NULL;
    return true;
}

/* ---- the scan back ---- */

/* Carry: gradients of the carry, sums for captured values; xs: stacks, gradients of ys, xs of the
 * loop; captured: those of the loop. */

static int turn_back_carry(const turn_loop *l) { return l->n_float_carry + l->n_wanted_captured; }
static int turn_back_xs(const turn_loop *l) { return l->n_kept + l->n_float_ys + l->n_xs; }

/* The values of joint that the scan's parameters are, but for the sums. */
static int turn_back_given(const turn_loop *l, int32_t *given)
{
    const int32_t *params = l->joint->params;
    int n = 0;
    for (int j = 0; j < l->n_float_carry; j++)
        given[n++] = params[l->n_params + j];
    for (int k = 0; k < l->n_kept; k++)
        given[n++] = l->kept[k];
    for (int j = 0; j < l->n_float_ys; j++)
        given[n++] = params[l->n_params + l->n_float_carry + j];
    for (int p = l->n_carry; p < l->n_params; p++)
        given[n++] = params[p];
    return n;
}

/* The results of joint in the order of the scan's: of carry, captured, xs. */
static int turn_back_wanted(const turn_loop *l, int32_t *wanted)
{
    const int32_t *grads = l->joint->outs + l->body->n_outs;
    const int n_xs = l->n_wanted_xs;
    int n = 0;
    for (int j = 0; j < l->n_float_carry; j++)
        wanted[n++] = grads[j];
    for (int j = 0; j < l->n_wanted_captured; j++)
        wanted[n++] = grads[l->n_float_carry + n_xs + j];
    for (int j = 0; j < n_xs; j++)
        wanted[n++] = grads[l->n_float_carry + j];
    return n;
}

static bool turn_back_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const turn_loop *l = arg;
    const int sums = l->n_wanted_captured;
    int32_t *wanted = l->numbers + n;
    const ag__part part = { l->c,
                            l->joint,
                            l->numbers,
                            wanted,
                            turn_back_given(l, l->numbers),
                            turn_back_wanted(l, wanted) };
    ag_tensor **given = l->tensors;
    for (int k = 0, p = 0; k < n; k++)
        if (k < l->n_float_carry || k >= l->n_float_carry + sums)
            given[p++] = in[k];
    (void)m;
    if (!ag__part_replay(&part, given, out))
        return false;
    for (int j = l->n_float_carry; j < l->n_float_carry + sums; j++)
        if (!(out[j] = (ag_add)(in[j], out[j])))
            return false;
    return true;
}

/* The scan's operands. */
static int turn_back_operands(const turn_loop *l, ag_tensor **in)
{
    int n = 0;
    for (int j = 0; j < l->n_carry; j++)
        if (turn_is_float(l->body, l->body->params[j]))
            in[n++] = ag__flow_cotangent(l->r, j, ag__in(l->r, j));
    for (int k = l->n_own; k < l->i.n_in; k++)
        if (l->wanted[turn_param(l, k)])
            in[n++] = ag_zeros_like(ag__in(l->r, k));
    for (int k = 0; k < l->n_kept; k++)
        in[n++] = l->stacks[k];
    for (int j = l->n_carry; j < l->n_carry + l->n_ys; j++)
        if (turn_is_float(l->body, l->body->outs[j]))
            in[n++] = ag__flow_cotangent(l->r, j, ag__flow_output(l->r, j));
    for (int k = l->n_carry; k < l->n_carry + l->n_xs; k++)
        in[n++] = ag__in(l->r, k);
    if (turn_back_xs(l) == 0 && l->count)
        in[n++] = l->count;
    for (int k = l->n_own; k < l->i.n_in; k++)
        in[n++] = ag__in(l->r, k);
    return n;
}

/* Types of the scan's parameters, and of its results. */
static void turn_back_types(const turn_loop *l, ag_tensor *const *in, int n, int n_params)
{
    const int carry = turn_back_carry(l), xs = turn_back_xs(l), skip = n - n_params;
    for (int k = 0, p = 0; k < n; k++) {
        if (k >= carry + xs && k < carry + xs + skip)
            continue;
        l->types[p] = ag__type_of(in[k]);
        if (k >= carry && k < carry + xs)
            l->types[p].shape = (ag_ints){ in[k]->dims + 1, in[k]->ndim - 1 };
        if (k < carry)
            ag__geometry_set(&l->geometry[k], (ag_dtype)in[k]->dtype, ag__sizes(in[k]));
        p++;
    }
    for (int k = l->n_carry, j = carry; k < l->n_carry + l->n_xs; k++)
        if (l->wanted[k]) {
            const ag_tensor *x = ag__in(l->r, k);
            ag__geometry_set(&l->geometry[j++], (ag_dtype)x->dtype, ag__sizes(x));
        }
}

static bool turn_back(turn_loop *l)
{
    const int carry = turn_back_carry(l), xs = turn_back_xs(l);
    const int m = carry + l->n_wanted_xs, counted = xs == 0 && l->count;
    ag_tensor **in = l->tensors + l->i.n_in + l->i.n_out + l->n_kept + l->joint->n_params;
    const int n = turn_back_operands(l, in);
    for (int k = 0; k < n; k++)
        if (!in[k])
            return false;
    turn_back_types(l, in, n, n - counted);
    ag__region *body = ag__trace("scan", l->c->tracing->graph, l->c->tracing, l->types, n - counted,
                                 turn_back_fn, l, m);
    if (!body)
        return false;
    const int64_t *list = l->i.attrs->list;
    const int64_t length = xs ? -1 : counted ? -2 : list[AG_FLOW_LENGTH];
    const ag__attrs attrs = { .n = AG_FLOW_ATTRS,
                              .list = { [AG_FLOW_CARRY] = carry,
                                        [AG_FLOW_XS] = xs,
                                        [AG_FLOW_YS] = l->n_wanted_xs,
                                        [AG_FLOW_REVERSE] = !list[AG_FLOW_REVERSE],
                                        [AG_FLOW_LENGTH] = length } };
    ag_tensor **out = in + n;
    const ag__flow f = { &ag__op_scan, &attrs, &body, 1, n, m, in, l->geometry };
    if (!ag__traced_flow(l->c, &f, out))
        return false;
    int of_carry = 0, of_captured = l->n_float_carry, of_xs = carry;
    for (int j = 0; j < m; j++)
        ag__give(out[j]);
    for (int k = 0; k < l->i.n_in; k++) {
        const int p = turn_param(l, k);
        if (p < 0 || !l->wanted[p])
            continue;
        ag_tensor *g = out[k < l->n_carry ? of_carry++ : k < l->n_own ? of_xs++ : of_captured++];
        if (ag__wants(l->r, k))
            l->r->out[k] = g;
    }
    return true;
}

static bool turn_loop_run(turn_loop *l)
{
    turn_loop_sort(l);
    l->joint = ag__joint(l->c, "scan", l->body, l->wanted);
    if (!l->joint || !ag__residuals(l->c, l->joint, l->n_params, l->body->n_outs, l->at_hand,
                                    &l->kept, &l->n_kept))
        return false;
    const int most = l->joint->n_params + l->joint->n_outs + l->i.n_in + l->i.n_out + l->n_kept;
    const size_t all = 4 * (size_t)most;
    const size_t kept_bytes = (size_t)l->joint->n_values * sizeof *l->kept;
    const size_t sizes[] = { all * sizeof *l->stacks, all * sizeof *l->numbers,
                             all * sizeof *l->tensors, all * sizeof *l->types,
                             all * sizeof *l->geometry };
    void *blocks[AG_COUNT(sizes)];
    bool ok = true;
    for (int k = 0; k < AG_COUNT(sizes); k++)
        ok = (blocks[k] = ag__alloc(l->c, sizes[k])) != NULL && ok;
    l->stacks = blocks[0];
    l->numbers = blocks[1];
    l->tensors = blocks[2];
    l->types = blocks[3];
    l->geometry = blocks[4];
    ok = ok && turn_forward(l) && turn_back(l);
    for (int k = 0; k < AG_COUNT(sizes); k++)
        ag__free(l->c, blocks[k], sizes[k]);
    ag__free(l->c, l->kept, kept_bytes);
    return ok;
}

static bool turn_loop_vjp(ag__rule *r)
{
    turn_loop l;
    turn_loop_read(&l, r);
    const size_t n = (size_t)l.n_params, bytes = n * (sizeof *l.at_hand + sizeof *l.wanted);
    l.at_hand = ag__alloc(l.c, bytes);
    if (!l.at_hand)
        return false;
    memset(l.at_hand, 0, bytes);
    l.wanted = (bool *)(l.at_hand + n);
    const bool ok = turn_loop_run(&l);
    ag__free(l.c, l.at_hand, bytes);
    return ok;
}

/* Two twins of a loop would draw other numbers. */
static bool turn_may_draw(const ag__rule *r)
{
    const ag__flow_place *place = ag__node_payload(r->node);
    const ag__inst *i = ag__flow_inst(r);
    return (!i->twin && place->region == r->c->tracing) || !ag__inst_draws(i) ||
           ag_fail(r->c, AG_ERR_UNSUPPORTED,
                   "a loop draws random numbers, and its gradient is taken twice");
}

static bool turn_flow_vjp(ag__rule *r)
{
    const ag__inst *i = ag__flow_inst(r);
    if (i->op == &ag__op_while_back)
        return ag__flow_again(r);
    if (i->op != &ag__op_while && i->op != &ag__op_scan)
        return turn_branches_vjp(r);
    if (i->attrs->list[AG_FLOW_SNAPSHOTS] && !r->c->grad_enabled)
        return ag__flow_back(r);
    return turn_may_draw(r) && turn_loop_vjp(r);
}

static const char *turn_flow_name(const ag_node *n)
{
    const ag__flow_place *place = ag__node_payload(n);
    return place->region->insts[place->inst].op->name;
}

const ag__op ag__flow_node_op = { .name = "flow",
                                  .node_name = "FlowBackward",
                                  .kind = AG_KIND_GENERAL,
                                  .n_in = -1,
                                  .n_out = -1,
                                  .vjp = turn_flow_vjp,
                                  .name_of = turn_flow_name };
