/* The front door of every operation: see op.h. */
#include "op.h"

#include <string.h>

#include "../autograd/saved.h"
#include "../autograd/view.h"

static const ag__attrs op_no_attrs = { 0 };

/* Why these operands cannot be taken together. */
static ag_context *op_fail_operands(const ag__op *op, ag_tensor *const *in, int n_in)
{
    int first = 0;
    while (first < n_in && !in[first])
        first++;
    for (int i = 0; i < n_in && first < n_in; i++) {
        if (!in[i] && !(op->optional & 1u << i))
            return ag__fail(in[first]->c, AG_ERR_VALUE, "ag_%s: operand %d is NULL", op->name, i);
        if (in[i] && in[i]->c != in[first]->c)
            return ag__fail(in[first]->c, AG_ERR_VALUE,
                            "ag_%s: operands %d and %d belong to different contexts; use ag_share",
                            op->name, first, i);
    }
    return NULL; /* all are NULL: there is no place for an error, and one was told before */
}

/* The context of all operands, which are there; NULL, with an error, otherwise. *flags: those that
 * any of them has. */
static ag_context *op_check_operands(const ag__op *op, ag_tensor *const *in, int n_in,
                                     unsigned *flags)
{
    ag_context *c = n_in > 0 && in[0] ? in[0]->c : NULL;
    bool good = c != NULL;
    *flags = good ? in[0]->flags : 0;
    for (int i = 1; i < n_in && good; i++) {
        good = in[i] ? in[i]->c == c : op->optional >> i & 1u;
        *flags |= in[i] ? in[i]->flags : 0;
    }
    return good ? c : op_fail_operands(op, in, n_in);
}

/* *graph: whether the call is recorded. False when out of memory, or when a view may not be read. */
static bool op_wants_graph(const ag__call *call, bool *graph)
{
    *graph = false;
    if (!call->c->grad_enabled || call->c->inference || !call->op->vjp)
        return true;
    for (int i = 0; i < call->n_in; i++) {
        ag_tensor *t = call->in[i];
        if (t && ag__is_stale(t) && !ag__view_refresh(t))
            return false;
        *graph = *graph || (t && ag__wants_grad(t));
    }
    return true;
}

static ag__view_kind op_view_kind(const ag__op *op, const ag_context *c)
{
    return c->inference       ? AG_VIEW_INFERENCE
           : !c->grad_enabled ? AG_VIEW_NO_GRAD
           : op->n_out != 1   ? AG_VIEW_ONE_OF_MANY
                              : AG_VIEW_PLAIN;
}

/* Views of inference tensors are not tracked: no graph will ever ask for their base. */
static ag_tensor *op_result(const ag__call *call, const ag__geometry *g)
{
    const bool tracked = call->op->is_view && !(call->in[0]->flags & AG_T_INFERENCE);
    if (tracked)
        return ag__tensor_view(call->in[0], g, op_view_kind(call->op, call->c));
    if (call->op->is_view || call->op->is_hidden_view)
        return ag__tensor_window(call->in[0], g);
    return ag__tensor_new(call->c, g->dtype, g->ndim, g->shape);
}

/* `geometry` is room for that of the outputs. */
static bool op_run(const ag__call *call, ag__geometry *geometry, ag_tensor **out)
{
    const ag__op *op = call->op;
    bool graph;
    if (!op->infer(call, geometry) || !op_wants_graph(call, &graph))
        return false;
    int made = 0;
    bool ok = true;
    for (; made < call->n_out && ok; made++) {
        out[made] = op_result(call, &geometry[made]);
        ok = out[made] != NULL;
    }
    ok = ok && (!op->kernel || op->kernel(call, out)) && (!graph || ag__node_attach(call, out));
    if (ok)
        return true;
    for (int j = 0; j < made; j++)
        ag__tensor_unref(out[j]);
    return false;
}

/* One of the operands is symbolic. Where a graph is traced to be differentiated, its values have nodes. */
static bool op_record(const ag__call *call, ag_tensor **out)
{
    bool graph = false;
    const bool traced = !ag__any_recorded(call->in, call->n_in);
    if ((traced && !op_wants_graph(call, &graph)) || !ag__record(call, out))
        return false;
    if (!graph || ag__node_attach(call, out))
        return true;
    for (int j = 0; j < call->n_out; j++)
        ag__tensor_unref(out[j]);
    return false;
}

/* Geometries of more outputs than there is room for on the stack. */
static bool op_run_many(const ag__call *call, ag_tensor **out)
{
    if (call->n_out > UINT16_MAX)
        return ag_fail(call->c, AG_ERR_UNSUPPORTED,
                       "ag_%s: %d results; an operation has %d at most", call->op->name,
                       call->n_out, UINT16_MAX);
    const size_t bytes = (size_t)call->n_out * sizeof(ag__geometry);
    ag__geometry *geometry = ag__alloc(call->c, bytes);
    const bool ok = geometry && op_run(call, geometry, out);
    ag__free(call->c, geometry, bytes);
    return ok;
}

bool ag__run_many(const ag__op *op, ag_tensor *const *in, int n_in, const ag__attrs *attrs,
                  int n_out, ag_tensor **out)
{
    unsigned flags;
    ag_context *c = op_check_operands(op, in, n_in, &flags);
    if (!c)
        return false;
    const ag__call call = { op, c, in, n_in, attrs ? attrs : &op_no_attrs, n_out };
    if (AG_UNLIKELY(flags & AG_T_SYMBOLIC))
        return op_record(&call, out);
    ag__geometry geometry[AG_MAX_OUTPUTS];
    return n_out <= AG_MAX_OUTPUTS ? op_run(&call, geometry, out) : op_run_many(&call, out);
}

bool ag__run(const ag__op *op, ag_tensor *const *in, int n_in, const ag__attrs *attrs,
             ag_tensor **out)
{
    return ag__run_many(op, in, n_in, attrs, op->n_out, out);
}

ag_tensor *ag__run1(const ag__op *op, ag_tensor *const *in, int n_in, const ag__attrs *attrs)
{
    ag_tensor *out[AG_MAX_OUTPUTS];
    return ag__run(op, in, n_in, attrs, out) ? ag__give(out[0]) : NULL;
}

ag_tensor *ag__unary(const ag__op *op, ag_tensor *a, const ag__attrs *attrs)
{
    return ag__run1(op, &a, 1, attrs);
}

ag_tensor *ag__binary(const ag__op *op, ag_tensor *a, ag_tensor *b, const ag__attrs *attrs)
{
    return ag__run1(op, (ag_tensor *[]){ a, b }, 2, attrs);
}

/* ---- for rules ---- */

bool ag__wants(const ag__rule *r, int input)
{
    const ag_node *to = r->edges[input].node;
    return to && (r->all || ag__node_in_pass(to));
}

bool ag__was_wanted(const ag__rule *r, int input) { return r->node->edges[input].node; }

ag_ints ag__in_shape(const ag__rule *r, int input)
{
    const ag__edge e = r->node->edges[input];
    const ag__output *o = &ag__node_outputs(e.node)[e.nr];
    return (ag_ints){ o->shape, o->ndim };
}

ag_ints ag__out_shape(const ag__rule *r, int output)
{
    const ag__output *o = &ag__node_outputs(r->node)[output];
    return (ag_ints){ o->shape, o->ndim };
}

int ag__n_out(const ag__rule *r) { return r->node->n_out; }

static ag_tensor *op_saved(const ag__rule *r, ag__saved_kind kind, int nr)
{
    const ag__saved *s = ag__node_saved(r->node);
    int i = 0;
    while (i < r->node->n_saved && (s[i].kind != kind || s[i].nr != nr))
        i++;
    if (i == r->node->n_saved)
        return NULL;
    ag_tensor *value = r->values ? r->values[i] : s[i].tensor;
    return r->c->grad_enabled ? ag__saved_in_graph(r->node, i, value) : value;
}

ag_tensor *ag__in(const ag__rule *r, int input) { return op_saved(r, AG_SAVED_INPUT, input); }
ag_tensor *ag__out(const ag__rule *r, int output) { return op_saved(r, AG_SAVED_OUTPUT, output); }
