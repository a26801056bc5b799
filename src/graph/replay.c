/*
 * The replay of a region, see replay.h: instruction by instruction, in brackets, so that a value
 * goes with the last that uses it. Rows of the table are called, those that only graphs have say
 * here what they do.
 */
#include "replay.h"

#include <string.h>

#include "../autograd/view.h"
#include "../ops/strided.h"
#include "flow.h"
#include "rules.h"
#include "traced.h"

/* ---- values ---- */

/* The operands of an instruction in a list; NULL for those that are left out. */
static void replay_gather(const ag__replay *rp, const ag__inst *i, ag_tensor **list)
{
    for (int k = 0; k < i->n_in; k++)
        list[k] = i->in[k] < 0 ? NULL : rp->values[i->in[k]];
}

/* A value that gradients are taken with respect to must be part of the graph. */
static ag_tensor *replay_source(const ag__replay *rp, ag_tensor *t)
{
    if (!rp->c->grad_enabled || !ag__is_float((ag_dtype)t->dtype) || ag__wants_grad(t))
        return t;
    ag_tensor *leaf = ag__tensor_alias(t);
    if (leaf)
        leaf->flags |= AG_T_REQUIRES_GRAD | (t->flags & AG_T_NUMBER);
    ag__tensor_unref(t);
    return leaf;
}

static bool replay_set(ag__replay *rp, int32_t v, ag_tensor *t)
{
    if (t && rp->s->source[v])
        t = replay_source(rp, t);
    rp->values[v] = t;
    return t != NULL;
}

/* Results that are in the innermost scope. */
static void replay_keep(ag_tensor *const *from, ag_tensor **out, int n)
{
    for (int j = 0; j < n; j++)
        out[j] = ag__tensor_ref(from[j]);
}

/* ---- rows of the table ---- */

extern const ag__op ag__op_view, ag__op_unsafe_view, ag__op_as_strided, ag__op_cat, ag__op_mm,
    ag__op_addmm;

/* As the caller of the function did: attributes depend on sizes or strides, which are not what
 * they were when the call was recorded. */
static ag_tensor *replay_anew(const ag__inst *i, ag_tensor *const *in)
{
    const ag__attrs *a = i->attrs;
    if (i->op == &ag__op_cat)
        return ag_cat(in, i->n_in, (int)a->i[0]);
    if (i->op == &ag__op_mm)
        return ag_mm(in[0], in[1]);
    if (i->op == &ag__op_addmm)
        return ag_addmm(in[0], in[1], in[2], .beta = a->p, .alpha = a->q);
    return ag_reshape(in[0], (ag_ints){ a->list, a->n });
}

/* A view of an operand that was dense, and began with its storage. */
static ag_tensor *replay_strided(const ag__inst *i, ag_tensor *x)
{
    const int ndim = (int)i->attrs->i[2];
    const int64_t *list = ag__long_list(i->attrs);
    ag__geometry g = { .ndim = ndim };
    x = ag_contiguous(x);
    if (!x)
        return NULL;
    memcpy(g.shape, list, (size_t)ndim * sizeof *list);
    memcpy(g.strides, list + ndim, (size_t)ndim * sizeof *list);
    g.offset = x->offset + i->attrs->i[0];
    return ag__as_strided_like(x, &g);
}

static bool replay_given_back(ag_tensor *y, ag_tensor **out)
{
    if (y)
        out[0] = ag__tensor_ref(y);
    return y != NULL;
}

static bool replay_row(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    (void)rp;
    if (i->op == &ag__op_view || i->op == &ag__op_unsafe_view || i->op == &ag__op_cat ||
        i->op == &ag__op_mm || i->op == &ag__op_addmm)
        return replay_given_back(replay_anew(i, in), out);
    if (i->op == &ag__op_as_strided)
        return replay_given_back(replay_strided(i, in[0]), out);
    return ag__run_many(i->op, in, i->n_in, i->attrs, i->n_out, out);
}

static bool replay_sizes(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    (void)rp;
    return replay_given_back(ag__sizes_replay(i, in[0], in[1]), out);
}

bool ag__replay_row(const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    ag_scope s;
    ag__bracket_begin(&s, in[0]->c);
    const bool ok = i->op->infer ? replay_row(NULL, i, in, out) : replay_sizes(NULL, i, in, out);
    ag__bracket_end(&s);
    return ok;
}

/* ---- where values come from ---- */

static bool replay_constant(ag__replay *rp, const ag__inst *i, ag_tensor *const *in,
                            ag_tensor **out)
{
    (void)in;
    out[0] = NULL;
    if (!ag__is_tracing(rp->c)) {
        out[0] = ag__tensor_ref(i->tensor);
        return true;
    }
    const int32_t v = ag__region_operand(rp->c->tracing, "constant", i->tensor);
    if (v >= 0)
        out[0] = ag__symbol_new(rp->c->tracing, v);
    return out[0] != NULL;
}

static bool replay_assign(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    const int how = (int)i->attrs->i[0];
    ag_tensor **var = &rp->vars[i->in[0]], *new = in[1];
    const ag__value *type = &rp->r->values[i->out];
    ag__shape_text a, b;
    if (how != AG_ASSIGN && !*var)
        *var = ag__tensor_ref(in[0]);
    if (how == AG_ASSIGN_ADD)
        new = (ag_add)(*var, in[1]);
    else if (how == AG_ASSIGN_SUB)
        new = (ag_sub)(*var, in[1]);
    if (new &&new->dtype != type->dtype)
        new = ag_to(new, (ag_dtype)type->dtype);
    if (new && !ag__same_shape(ag__sizes(new), ag__value_shape(type)))
        return ag_fail(rp->c, AG_ERR_SHAPE, "ag_assign: the variable has shape %s, the value %s",
                       ag__shape_string(&a, ag__value_shape(type)),
                       ag__shape_string(&b, ag__sizes(new)));
    if (!new)
        return false;
    ag__tensor_unref(*var);
    *var = ag__tensor_ref(new);
    out[0] = ag__tensor_ref(new);
    return true;
}

/* In a traced graph it is an instruction too: that may be differentiated again. */
static bool replay_detach(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    (void)rp, (void)i;
    ag_tensor *t = ag_detach(in[0]);
    if (!t)
        return false;
    t->flags |= in[0]->flags & AG_T_NUMBER;
    out[0] = ag__tensor_ref(t);
    return true;
}

static bool replay_group(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    (void)i, (void)in;
    ag_tensor *t = ag_scalar(rp->c, 0, .dtype = AG_BOOL);
    if (t)
        out[0] = ag__tensor_ref(t);
    return t != NULL;
}

/* ---- derivatives ---- */

/* Whether the results of this gradient are differentiated again. */
static bool replay_again(const ag__replay *rp, const ag__inst *i)
{
    const ag__region *r = rp->r;
    for (int32_t k = (int32_t)(i - r->insts) + 1; k < rp->s->n_insts && !rp->tape; k++)
        if (rp->s->needed[k] && r->insts[k].op == &ag__op_gradient)
            return true;
    return rp->tape;
}

static bool replay_gradient(ag__replay *rp, const ag__inst *i, ag_tensor *const *in,
                            ag_tensor **out)
{
    const int n_outputs = (int)i->attrs->i[0], n = i->n_out;
    ag_tensor *const *inputs = in + 2 * n_outputs;
    const size_t bytes = 2 * (size_t)n_outputs * sizeof(ag_tensor *);
    ag_tensor **roots = ag__alloc(rp->c, bytes), **g = roots ? roots + n_outputs : NULL;
    int n_roots = 0;
    if (!roots)
        return false;
    for (int k = 0; k < n_outputs; k++)
        if (ag__wants_grad(in[k])) {
            roots[n_roots] = in[k];
            g[n_roots++] = in[n_outputs + k];
        }
    for (int j = 0; j < n; j++)
        out[j] = NULL;
    bool ok = n_roots == 0 ||
              ag_grad(roots, n_roots, inputs, n, out, .grad_outputs = g, .allow_unused = true,
                      .retain_graph = true, .create_graph = replay_again(rp, i));
    ag__free(rp->c, roots, bytes);
    for (int j = 0; j < n && ok; j++) {
        out[j] = out[j] ? out[j] : ag_zeros_like(inputs[j]);
        ok = out[j] != NULL;
    }
    if (ok)
        replay_keep(out, out, n);
    return ok;
}

typedef struct {
    const ag__region *r;
    ag_tensor *const *captured;
    int n_captured;
    bool tape;
} replay_function;

static bool replay_call(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const replay_function *f = user;
    ag_context *c = f->r->graph->c;
    const size_t bytes = (size_t)(n + f->n_captured) * sizeof(ag_tensor *);
    ag_tensor **args = ag__alloc(c, bytes);
    if (!args)
        return false;
    memcpy(args, in, (size_t)n * sizeof *args);
    if (f->n_captured)
        memcpy(args + n, f->captured, (size_t)f->n_captured * sizeof *args);
    const bool ok = ag__region_call(c, f->r, args, out, true);
    for (int j = 0; j < m && ok; j++) /* it may be an argument, which a scope owns */
        ag__settle(out[j]);
    ag__free(c, args, bytes);
    return ok;
}

static bool replay_jvp(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    const int n = (int)i->attrs->i[0], m = i->n_out / 2;
    replay_function f = { i->regions[0], in + 2 * n, i->n_in - 2 * n, rp->tape };
    bool ok = ag_jvp(replay_call, in, n, in + n, out, m, out + m, &f);
    for (int j = 0; j < m && ok; j++) {
        out[m + j] = out[m + j] ? out[m + j] : ag_zeros_like(out[j]);
        ok = out[m + j] != NULL;
    }
    if (ok)
        replay_keep(out, out, 2 * m);
    return ok;
}

/* ---- control flow of a graph that is traced ---- */

/* An instruction of a traced region as it is: its regions use nothing but their parameters. */
static bool replay_flow_again(ag__replay *rp, const ag__inst *i, ag_tensor *const *in,
                              ag_tensor **out)
{
    ag_graph *g = rp->c->tracing->graph;
    const size_t bytes = (size_t)i->n_out * sizeof(ag__geometry);
    ag__geometry *types = ag__alloc(rp->c, bytes);
    ag__region **regions = ag__graph_alloc(g, (size_t)i->n_regions * sizeof *regions);
    bool ok = types && regions;
    for (int k = 0; k < i->n_regions && ok; k++) {
        regions[k] = i->regions[k]->graph == g ? i->regions[k] : ag__region_copy(g, i->regions[k]);
        ok = regions[k] != NULL;
    }
    for (int j = 0; j < i->n_out && ok; j++) {
        const ag__value *v = &rp->r->values[i->out + j];
        ag__geometry_set(&types[j], (ag_dtype)v->dtype, ag__value_shape(v));
    }
    const ag__flow f = { i->op, i->attrs, regions, i->n_regions, i->n_in, i->n_out, in, types };
    ok = ok && ag__traced_flow(rp->c, &f, out);
    ag__free(rp->c, types, bytes);
    return ok;
}

static bool replay_flow_trace(ag__replay *rp, const ag__inst *i, ag_tensor *const *in,
                              ag_tensor **out)
{
    if (rp->r->graph->traced)
        return replay_flow_again(rp, i, in, out);
    return i->op == &ag__op_while  ? ag__traced_while(rp->c, i, in, out)
           : i->op == &ag__op_scan ? ag__traced_scan(rp->c, i, in, out)
                                   : ag__traced_branch(rp->c, i, in, out);
}

/* Twins stay twins. */
static void replay_twins(const ag__replay *rp)
{
    for (int32_t k = 0; k < rp->s->n_insts; k++) {
        const int32_t twin = rp->r->insts[k].twin;
        if (twin && rp->s->needed[k] && rp->s->needed[twin])
            rp->c->tracing->insts[rp->made[k]].twin = rp->made[twin];
    }
}

/* ---- branches ---- */

static bool replay_branch(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    if (ag__is_tracing(rp->c))
        return replay_flow_trace(rp, i, in, out);
    const ag_tensor *index = in[0];
    int k = 0;
    if (!ag__flow_pred(i->op == &ag__op_cond ? "ag_cond" : "ag_switch", "pred", index))
        return false;
    if (i->op == &ag__op_cond)
        k = ag__load((ag_dtype)index->dtype, ag__at(index), 0) != 0;
    else
        k = ag__flow_branch(ag__load_int((ag_dtype)index->dtype, ag__at(index), 0), i->n_regions);
    return ag__region_call(rp->c, i->regions[k], in + 1, out, rp->c->grad_enabled);
}

static bool replay_loop(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    return ag__is_tracing(rp->c)         ? replay_flow_trace(rp, i, in, out)
           : i->op == &ag__op_while_back ? ag__replay_back(rp, i, in, out)
                                         : ag__replay_loop(rp, i, in, out);
}

/* ---- regions ---- */

typedef bool replay_rule(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out);

static replay_rule *replay_rule_of(const ag__op *op)
{
    static const struct {
        const ag__op *op;
        replay_rule *rule;
    } rules[] = {
        { &ag__op_constant, replay_constant }, { &ag__op_assign, replay_assign },
        { &ag__op_detach, replay_detach },     { &ag__op_group, replay_group },
        { &ag__op_gradient, replay_gradient }, { &ag__op_jvp, replay_jvp },
        { &ag__op_cond, replay_branch },       { &ag__op_switch, replay_branch },
        { &ag__op_while, replay_loop },        { &ag__op_scan, replay_loop },
        { &ag__op_while_back, replay_loop },   { &ag__op_reshape_like, replay_sizes },
        { &ag__op_expand_like, replay_sizes }, { &ag__op_cut_like, replay_sizes },
    };
    if (op->infer) /* a row of the table */
        return replay_row;
    for (int k = 0; k < AG_COUNT(rules); k++)
        if (rules[k].op == op)
            return rules[k].rule;
    return replay_row;
}

/* What instruction k was the last to use is given up. */
static void replay_release(ag__replay *rp, int32_t k)
{
    const ag__inst *i = &rp->r->insts[k];
    for (int j = 0; j < i->n_in + i->n_after; j++) {
        const int32_t v = ag__inst_use(i, j);
        if (v < 0 || rp->s->last[v] != k)
            continue;
        ag__tensor_unref(rp->values[v]);
        rp->values[v] = NULL;
    }
}

/* A value that was given takes the place in the graph of the one that was computed, also where
 * that was saved: rules see it. A view cannot be written over without its base, so another
 * stands in for it. */
static bool replay_bridge(ag__replay *rp, int32_t v, const ag__op *op, ag_tensor *computed)
{
    ag_tensor *given = rp->values[v], *y = computed;
    if (op->is_view || op->is_hidden_view) {
        const bool ok = ag__run(&ag__op_stand_in, (ag_tensor *[]){ computed, given }, 2, NULL, &y);
        ag__tensor_unref(computed);
        if (!ok)
            return false;
    } else if (ag__is_symbolic(computed)) {
        *ag__symbol_of(computed) = *ag__symbol_of(given);
    } else {
        ag__copy_data(computed, given);
    }
    ag__tensor_unref(given);
    rp->values[v] = y;
    return true;
}

static bool replay_inst(ag__replay *rp, int32_t k, ag_tensor **room)
{
    const ag__inst *i = &rp->r->insts[k];
    ag_tensor **in = room, **out = room + i->n_in;
    ag_scope s;
    if (i->op == &ag__op_placeholder || i->op == &ag__op_variable) /* their values are given */
        return true;
    replay_gather(rp, i, in);
    ag__bracket_begin(&s, rp->c);
    bool ok = replay_rule_of(i->op)(rp, i, in, out);
    ag__bracket_end(&s);
    const bool made = ok;
    if (ok && rp->made && i->n_regions)
        rp->made[k] = rp->c->tracing->n_insts - 1;
    for (int j = 0; j < i->n_out && made; j++) {
        const int32_t v = i->out + j;
        if (ok && rp->values[v] && rp->s->bridge[v])
            ok = replay_bridge(rp, v, i->op, out[j]);
        else if (!ok || rp->values[v] || rp->s->last[v] < 0) /* given, or nobody needs it */
            ag__tensor_unref(out[j]);
        else
            ok = replay_set(rp, v, out[j]);
    }
    replay_release(rp, k);
    return ok;
}

static bool replay_insts(ag__replay *rp)
{
    int room = 0;
    for (int k = 0; k < rp->s->n_insts; k++) {
        const ag__inst *i = &rp->r->insts[k];
        if (rp->s->needed[k] && i->n_in + i->n_out > room)
            room = i->n_in + i->n_out;
    }
    const size_t bytes = (size_t)room * sizeof(ag_tensor *);
    const bool again = ag__is_tracing(rp->c) && rp->r->graph->traced;
    const size_t made = again ? (size_t)rp->s->n_insts * sizeof *rp->made : 0;
    ag_tensor **list = ag__alloc(rp->c, bytes);
    rp->made = again ? ag__alloc(rp->c, made) : NULL;
    bool ok = list && (rp->made || !again);
    for (int32_t k = 0; k < rp->s->n_insts && ok; k++)
        if (rp->s->needed[k])
            ok = replay_inst(rp, k, list);
    if (ok && again)
        replay_twins(rp);
    ag__free(rp->c, rp->made, made);
    ag__free(rp->c, list, bytes);
    return ok;
}

bool ag__replay_run(ag__replay *rp)
{
    ag_context *c = rp->c;
    const bool grad = c->grad_enabled, inference = c->inference;
    c->grad_enabled = rp->tape || rp->s->differentiates;
    c->inference = false;
    bool ok = true;
    for (int v = 0; v < rp->s->n_values && ok; v++)
        if (rp->values[v] && rp->s->source[v])
            ok = replay_set(rp, v, rp->values[v]);
    ok = ok && replay_insts(rp);
    c->grad_enabled = grad;
    c->inference = inference;
    return ok;
}

/* Without a tape what comes out belongs to no graph. */
static bool replay_results(const ag__replay *rp, ag_tensor **outs)
{
    for (int j = 0; j < rp->r->n_outs; j++) {
        ag_tensor *t = rp->values[rp->r->outs[j]];
        outs[j] = rp->tape || !ag__wants_grad(t) ? ag__tensor_ref(t) : ag__tensor_alias(t);
        if (outs[j])
            continue;
        while (j-- > 0)
            ag__tensor_unref(outs[j]);
        return false;
    }
    return true;
}

bool ag__region_run(ag_context *c, const ag__region *r, const ag__schedule *s,
                    ag_tensor *const *args, ag_tensor **outs, bool tape)
{
    const size_t bytes = (size_t)r->n_values * sizeof(ag_tensor *);
    ag_tensor **values = ag__alloc(c, bytes);
    if (!values)
        return false;
    memset(values, 0, bytes);
    for (int i = 0; i < r->n_params; i++)
        values[r->params[i]] = ag__tensor_ref(args[i]);
    ag__replay rp = { c, r, s, values, NULL, NULL, tape };
    const bool ok = ag__replay_run(&rp) && replay_results(&rp, outs);
    for (int v = 0; v < r->n_values; v++)
        ag__tensor_unref(values[v]);
    ag__free(c, values, bytes);
    return ok;
}

bool ag__region_call(ag_context *c, const ag__region *r, ag_tensor *const *args, ag_tensor **outs,
                     bool tape)
{
    ag__schedule s;
    if (!ag__schedule_make(&s, c, r, r->outs, r->n_outs, NULL))
        return false;
    const bool ok = ag__region_run(c, r, &s, args, outs, tape);
    ag__schedule_free(&s, c);
    return ok;
}
