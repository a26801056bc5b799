/*
 * Derivatives of symbolic tensors. In a recorded graph `gradient` stands for what the engine will
 * do when the graph is replayed: all that is found out now is which inputs the outputs depend on.
 * ag_vjp is a gradient with respect to copies of its inputs (autograd/functional.c); ag_jvp keeps
 * its function, as a region.
 */
#include "gradient.h"

#include <string.h>

#include "../autograd/backward.h"
#include "rules.h"

/* ---- ag_grad ---- */

static bool gradient_check_output(ag_context *c, ag_tensor *t, int i, ag_tensor *g)
{
    if (!ag__list_check(c, "ag_grad", "output", i, t) ||
        (g && !ag__list_check(c, "ag_grad", "grad_output", i, g)))
        return false;
    if (!ag__is_symbolic(t))
        return ag_fail(
            c, AG_ERR_GRAD,
            "element %d of tensors does not require grad and does not have a grad_fn: it "
            "holds data, which depend on no value of a graph",
            i);
    const ag__type type = g ? ag__type_of(g) : (ag__type){ 0 };
    return ag__rule_output(c, i, ag__type_of(t), g ? &type : NULL);
}

static bool gradient_check_input(ag_context *c, ag_tensor *t, int i)
{
    if (!ag__list_check(c, "ag_grad", "input", i, t))
        return false;
    if (!ag__is_symbolic(t))
        return ag_fail(c, AG_ERR_GRAD,
                       "ag_grad: input %d holds data, and is a constant to the graph; make it a "
                       "value of the graph with ag_constant and use that",
                       i);
    return ag__rule_input(c, i, ag__type_of(t));
}

/* The innermost region that one of the tensors belongs to. */
static ag__region *gradient_region(ag__region *r, ag_tensor *const *list, int n, ag__region *best)
{
    for (int i = 0; i < n; i++)
        for (ag__region *at = r; list && list[i] && ag__is_symbolic(list[i]) && at != best;
             at = at->parent)
            if (at == ag__symbol_of(list[i])->region || !at->parent) {
                best = at;
                break;
            }
    return best;
}

/* The request, and room for what it becomes. */
typedef struct {
    ag__region *r;
    ag_tensor *const *outputs, *const *inputs;
    int n_outputs, n_inputs;
    const ag_grad_options *o;
    int32_t *in;         /* outputs, gradients, inputs */
    ag__geometry *types; /* of the inputs that are used */
    ag_tensor **made;    /* the instruction's results, then those of all inputs */
    bool *marks;
} gradient_draft;

static bool gradient_operands(gradient_draft *d)
{
    for (int i = 0; i < d->n_outputs; i++) {
        ag_tensor *g = d->o->grad_outputs ? d->o->grad_outputs[i] : NULL;
        d->in[i] = ag__region_operand(d->r, "grad", d->outputs[i]);
        d->in[d->n_outputs + i] = g ? ag__region_operand(d->r, "grad", g) : -1;
        if (d->in[i] < 0 || (g && d->in[d->n_outputs + i] < 0))
            return false;
    }
    for (int i = 0; i < d->n_inputs; i++)
        if ((d->in[2 * d->n_outputs + i] = ag__region_operand(d->r, "grad", d->inputs[i])) < 0)
            return false;
    return true;
}

/* Leaves of the operands only the inputs that are used: they count. -1: an error. */
static int gradient_used(gradient_draft *d)
{
    int32_t *inputs = d->in + 2 * d->n_outputs;
    int n = 0;
    for (int i = 0; i < d->n_outputs; i++)
        d->marks[d->in[i]] = true;
    if (!ag__depend(d->r, d->marks))
        return -1;
    for (int i = 0; i < d->n_inputs; i++) {
        const bool used = d->marks[inputs[i]];
        if (!used && !d->o->allow_unused && !d->o->materialize_grads) {
            ag__fail(
                d->r->graph->c, AG_ERR_GRAD,
                "One of the differentiated Tensors appears to not have been used in the graph. "
                "Set allow_unused=True if this is the desired behavior. [input %d]",
                i);
            return -1;
        }
        d->made[i] = NULL;
        if (!used)
            continue;
        ag__geometry_set(&d->types[n], (ag_dtype)d->inputs[i]->dtype, ag__sizes(d->inputs[i]));
        inputs[n++] = inputs[i];
    }
    return n;
}

static bool gradient_add(gradient_draft *d, ag_tensor **results)
{
    const bool operands = gradient_operands(d);
    const int n = operands ? gradient_used(d) : -1;
    const ag__attrs attrs = { .i = { d->n_outputs, n } };
    bool ok = n == 0 || (n > 0 && ag__record_in(d->r,
                                                &(ag__inst){ .op = &ag__op_gradient,
                                                             .n_in = 2 * d->n_outputs + n,
                                                             .n_out = n,
                                                             .in = d->in,
                                                             .attrs = &attrs },
                                                d->types, d->made));
    if (!ok)
        return false;
    /* Several inputs may be one value: each has its own result. */
    ag_tensor **given = d->made + d->n_inputs;
    for (int i = d->n_inputs - 1, k = n - 1; i >= 0; i--) {
        const bool used = d->marks[ag__region_operand(d->r, "grad", d->inputs[i])];
        given[i] = used ? ag__give(d->made[k--]) : NULL;
    }
    for (int i = 0; i < d->n_inputs && ok; i++)
        if (!given[i] && d->o->materialize_grads)
            ok = (given[i] = ag_zeros_like(d->inputs[i])) != NULL;
    for (int i = 0; i < d->n_inputs && ok; i++)
        results[i] = given[i];
    return ok;
}

/* A gradient uses its operands before it: it is a plain instruction. */
bool ag__grad_record(ag_tensor *const *outputs, int n_outputs, ag_tensor *const *inputs,
                     int n_inputs, ag_tensor **results, const ag_grad_options *o)
{
    ag_context *c = ag__list_context(outputs, n_outputs);
    for (int i = 0; i < n_outputs; i++)
        if (!gradient_check_output(c, outputs[i], i, o->grad_outputs ? o->grad_outputs[i] : NULL))
            return false;
    for (int i = 0; i < n_inputs; i++)
        if (!gradient_check_input(c, inputs[i], i))
            return false;
    ag__region *r = ag__region_for("grad", outputs, n_outputs);
    const ag__region *of = r ? ag__region_for("grad", inputs, n_inputs) : NULL;
    if (!of || !ag__graph_open("grad", r->graph))
        return false;
    if (of->graph != r->graph)
        return ag_fail(c, AG_ERR_GRAPH, "ag_grad: outputs and inputs belong to different graphs");
    ag__region *best = gradient_region(r, outputs, n_outputs, NULL);
    best = gradient_region(r, inputs, n_inputs, best);
    best = gradient_region(r, o->grad_outputs, o->grad_outputs ? n_outputs : 0, best);
    gradient_draft d = {
        best ? best : r, outputs, inputs, n_outputs, n_inputs, o, NULL, NULL, NULL, NULL
    };
    const ag__region_mark mark = ag__region_here(d.r);
    /* Capturing and constants add values, one for each operand at most. */
    const size_t marks = (size_t)(d.r->n_values + 2 * n_outputs + n_inputs) * sizeof(bool);
    const size_t types = (size_t)n_inputs * sizeof *d.types;
    const size_t in = (size_t)(2 * n_outputs + n_inputs) * sizeof *d.in;
    const size_t made = 2 * (size_t)n_inputs * sizeof *d.made;
    d.marks = ag__alloc(c, marks);
    d.types = ag__alloc(c, types);
    d.in = ag__alloc(c, in);
    d.made = ag__alloc(c, made);
    if (d.marks)
        memset(d.marks, 0, marks);
    const bool ok = d.marks && d.types && d.in && d.made && gradient_add(&d, results);
    if (!ok)
        ag__region_rewind(d.r, mark);
    ag__free(c, d.marks, marks);
    ag__free(c, d.types, types);
    ag__free(c, d.in, in);
    ag__free(c, d.made, made);
    return ok;
}

/* ---- ag_jvp ---- */

typedef struct {
    ag_fn fn;
    void *user;
} gradient_fn;

static bool gradient_jvp_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const gradient_fn *f = arg;
    return f->fn(in, n, out, m, f->user);
}

/* Operands: inputs, tangents, captured. Results: outputs, and tangents where there are any. */
static bool gradient_jvp(ag_fn fn, ag_tensor *const *in, int n, ag_tensor *const *tangents,
                         ag_tensor **out, int m, void *user, ag__region *r, int32_t *operands,
                         ag__type *types, ag__geometry *geometry)
{
    for (int i = 0; i < n; i++) {
        ag_tensor *t = tangents ? tangents[i] : NULL;
        operands[i] = ag__region_operand(r, "jvp", in[i]);
        operands[n + i] = t ? ag__region_operand(r, "jvp", t) : -1;
        if (operands[i] < 0 || (t && operands[n + i] < 0))
            return false;
        types[i] = ag__type_of(in[i]);
    }
    gradient_fn f = { fn, user };
    ag__region *body = ag__trace("jvp", r->graph, r, types, n, gradient_jvp_fn, &f, m);
    const int32_t *captured;
    const int n_captured = body ? ag__trace_join(&body, 1, &captured) : -1;
    if (n_captured < 0)
        return false;
    int32_t *all = ag__graph_alloc(r->graph, (size_t)(2 * n + n_captured) * sizeof *all);
    if (!all)
        return false;
    memcpy(all, operands, 2 * (size_t)n * sizeof *all);
    memcpy(all + 2 * n, captured, (size_t)n_captured * sizeof *all);
    for (int j = 0; j < m; j++) {
        const ag__value *v = ag__region_out(body, j);
        ag__geometry_set(&geometry[j], (ag_dtype)v->dtype, ag__value_shape(v));
        geometry[m + j] = geometry[j];
    }
    const ag__attrs attrs = { .i = { n } };
    return ag__record_in(r,
                         &(ag__inst){ .op = &ag__op_jvp,
                                      .n_in = 2 * n + n_captured,
                                      .n_out = 2 * m,
                                      .n_regions = 1,
                                      .in = all,
                                      .attrs = &attrs,
                                      .regions = &body },
                         geometry, out);
}

bool ag__jvp_record(ag_fn fn, ag_tensor *const *in, int n, ag_tensor *const *tangents,
                    ag_tensor **out, int m, ag_tensor **tangents_out, void *user)
{
    ag_context *c = ag__list_context(in, n);
    ag__region *r = ag__region_for("jvp", in, n);
    if (!r || !ag__graph_open("jvp", r->graph))
        return false;
    const ag__region_mark mark = ag__region_here(r);
    const size_t types = (size_t)n * sizeof(ag__type), operands = 2 * (size_t)n * sizeof(int32_t);
    const size_t geometry = 2 * (size_t)m * sizeof(ag__geometry);
    const size_t results = 2 * (size_t)m * sizeof(ag_tensor *);
    ag__type *t = ag__alloc(c, types);
    int32_t *o = ag__alloc(c, operands);
    ag__geometry *g = ag__alloc(c, geometry);
    ag_tensor **both = ag__alloc(c, results);
    const bool ok =
        t && o && g && both && gradient_jvp(fn, in, n, tangents, both, m, user, r, o, t, g);
    for (int j = 0; j < m && ok; j++) {
        out[j] = ag__give(both[j]);
        tangents_out[j] = ag__give(both[m + j]);
    }
    if (!ok)
        ag__region_rewind(r, mark);
    ag__free(c, t, types);
    ag__free(c, o, operands);
    ag__free(c, g, geometry);
    ag__free(c, both, results);
    return ok;
}
