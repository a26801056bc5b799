/* The front door of every operation: see op.h. */
#include "op.h"

#include <string.h>

#include "../autograd/node.h"

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

/* The context of all operands, which are there; NULL, with an error, otherwise. */
static ag_context *op_check_operands(const ag__op *op, ag_tensor *const *in, int n_in)
{
    ag_context *c = n_in > 0 && in[0] ? in[0]->c : NULL;
    bool good = c != NULL;
    for (int i = 1; i < n_in && good; i++)
        good = in[i] ? in[i]->c == c : op->optional >> i & 1u;
    return good ? c : op_fail_operands(op, in, n_in);
}

static bool op_wants_graph(const ag__call *call)
{
    if (!call->c->grad_enabled || !call->op->vjp)
        return false;
    for (int i = 0; i < call->n_in; i++)
        if (call->in[i] && ag__wants_grad(call->in[i]))
            return true;
    return false;
}

bool ag__run(const ag__op *op, ag_tensor *const *in, int n_in, const ag__attrs *attrs,
             ag_tensor **out)
{
    ag_context *c = op_check_operands(op, in, n_in);
    if (!c)
        return false;
    const ag__call call = { op, c, in, n_in, attrs ? attrs : &op_no_attrs };
    ag__geometry geometry[AG_MAX_OUTPUTS];
    if (!op->infer(&call, geometry))
        return false;
    int made = 0;
    bool ok = true;
    for (; made < op->n_out && ok; made++) {
        const ag__geometry *g = &geometry[made];
        out[made] = op->is_view ? ag__tensor_view(in[0], g)
                                : ag__tensor_new(c, g->dtype, g->ndim, g->shape);
        ok = out[made] != NULL;
    }
    ok = ok && (op->is_view || op->kernel(&call, out));
    ok = ok && (!op_wants_graph(&call) || ag__node_attach(&call, out));
    if (ok)
        return true;
    for (int j = 0; j < made; j++)
        ag__tensor_unref(out[j]);
    return false;
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

bool ag__wants(const ag__rule *r, int input) { return r->node->edges[input].node != NULL; }

ag_ints ag__in_shape(const ag__rule *r, int input)
{
    const ag__edge e = r->node->edges[input];
    const ag__output *o = &ag__node_outputs(e.node)[e.nr];
    return (ag_ints){ o->shape, o->ndim };
}

static ag_tensor *op_saved(const ag__rule *r, bool is_output, int nr)
{
    ag_node *n = r->node;
    for (int i = 0; i < n->n_saved; i++) {
        const ag__saved *s = &ag__node_saved(n)[i];
        if (s->is_output != is_output || s->nr != nr)
            continue;
        if (!is_output || !r->c->grad_enabled)
            return s->tensor;
        /* An output is saved without its node, which would own itself; a graph needs it back. */
        ag_tensor *y = ag__give(ag__tensor_alias(s->tensor));
        if (y) {
            y->grad_fn = ag__node_ref(n);
            y->output_nr = (uint16_t)nr;
            y->flags |= AG_T_REQUIRES_GRAD;
        }
        return y;
    }
    return NULL;
}

ag_tensor *ag__in(const ag__rule *r, int input) { return op_saved(r, false, input); }
ag_tensor *ag__out(const ag__rule *r, int output) { return op_saved(r, true, output); }
