/*
 * Recording: a call, of which an operand is symbolic, becomes an instruction.
 *
 * It goes into the region that is being traced (a body or a branch whose function runs at this
 * moment) or else into the main region of its operands' graph. Operands from regions around it are
 * captured, those with data become constants.
 */
#include <string.h>

#include "rows.h"

/* ---- symbolic tensors ---- */

void ag__symbol_ref(const ag__symbol *s) { ag__graph_ref(s->graph); }
void ag__symbol_unref(const ag__symbol *s) { ag__graph_unref(s->graph); }

ag_tensor *ag__symbol_new(ag__region *r, int32_t v)
{
    const ag__value *value = &r->values[v];
    ag_tensor *t = ag__tensor_symbol(r->graph->c, (ag_dtype)value->dtype, value->ndim, value->shape,
                                     (ag__symbol){ r->graph, r, v, value->born });
    if (t && value->number)
        t->flags |= AG_T_NUMBER;
    return t;
}

bool ag__symbol_valid(const ag__symbol *s)
{
    return s->value < s->region->n_values && s->region->values[s->value].born == s->born;
}

bool ag__symbol_alive(const char *op, const ag_tensor *t)
{
    const ag__symbol *s = ag__symbol_of(t);
    return ag__graph_alive(op, s->graph) &&
           (ag__symbol_valid(s) ||
            ag_fail(t->c, AG_ERR_GRAPH, "ag_%s: a tensor " AG_TAKEN_BACK, op));
}

bool ag__any_symbolic(ag_tensor *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (list && list[i] && ag__is_symbolic(list[i]))
            return true;
    return false;
}

bool ag__any_recorded(ag_tensor *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (list && list[i] && ag__is_symbolic(list[i]) && !ag__symbol_of(list[i])->graph->traced)
            return true;
    return false;
}

/* A write is seen by x alone: others that share x's elements, where it holds data, keep their
 * values. So a tensor that is part of another cannot be written. */
static bool record_may_write(const char *name, const ag_tensor *x)
{
    const ag__symbol *s = ag__symbol_of(x);
    if (s->graph->traced)
        return ag_fail(x->c, AG_ERR_INTERNAL, "%s: a traced graph writes nothing in place", name);
    const int32_t k = s->region->values[s->value].inst;
    const ag__op *op = k < 0 ? NULL : s->region->insts[k].op;
    return !op || (!op->is_view && op != &ag__op_detach) ||
           ag_fail(x->c, AG_ERR_UNSUPPORTED,
                   "%s: the tensor is a view (%s) of another symbolic tensor, which would not be "
                   "written with it; write into an ag_clone, or use ag_index_put and the like",
                   name, op->name);
}

bool ag__symbol_rebind(const char *name, ag_tensor *x, ag_tensor *y)
{
    if (!ag__is_symbolic(x))
        return ag_fail(x->c, AG_ERR_GRAPH,
                       "%s: a symbolic value cannot be written into a tensor that holds data",
                       name);
    if (!ag__symbol_alive(name + 3, x) || !record_may_write(name, x))
        return false;
    if (y->dtype != x->dtype)
        y = ag_to(y, (ag_dtype)x->dtype);
    ag__region *r = y ? ag__region_for(name + 3, (ag_tensor *[]){ x, y }, 2) : NULL;
    const int32_t v = r ? ag__region_operand(r, name + 3, y) : -1;
    ag__symbol *s = ag__symbol_of(x);
    if (v < 0)
        return false;
    if (s->region != r || s->value < r->n_fixed)
        return ag_fail(x->c, AG_ERR_UNSUPPORTED,
                       "%s: a body, a branch or a function that is differentiated cannot write "
                       "into a tensor from outside; return the new value as one of its results",
                       name);
    s->value = v;
    s->born = r->values[v].born;
    return true;
}

/* ---- operands ---- */

ag__region *ag__region_for(const char *op, ag_tensor *const *in, int n)
{
    const ag__symbol *first = NULL;
    for (int i = 0; i < n; i++) {
        if (!in[i] || !ag__is_symbolic(in[i]))
            continue;
        const ag__symbol *s = ag__symbol_of(in[i]);
        if (!ag__graph_alive(op, s->graph))
            return NULL;
        if (first && s->graph != first->graph)
            return ag__fail(in[i]->c, AG_ERR_GRAPH,
                            "ag_%s: operand %d and one before it belong to different graphs", op,
                            i);
        first = first ? first : s;
    }
    if (!first)
        return NULL;
    ag__region *tracing = first->graph->c->tracing;
    return tracing && tracing->graph == first->graph ? tracing : &first->graph->main;
}

/* A parameter of r that stands for value v of the region around it. */
static int32_t record_capture(ag__region *r, int32_t v)
{
    const int own = r->n_params - r->n_captured;
    for (int i = 0; i < r->n_captured; i++)
        if (r->captured[i] == v)
            return r->params[own + i];
    int32_t *captured = ag__make_room(r->graph->c, r->captured, r->n_captured, &r->room_captured, 8,
                                      sizeof *captured);
    if (!captured)
        return -1;
    r->captured = captured;
    const ag__value value = r->parent->values[v];
    const int32_t param =
        ag__region_param(r, (ag_dtype)value.dtype, ag__value_shape(&value), value.number);
    if (param >= 0)
        captured[r->n_captured++] = v;
    return param;
}

/* The number in r of a value of region `of`, r itself or one around it. */
static int32_t record_reach(ag__region *r, const ag__region *of, int32_t v)
{
    if (r == of)
        return r == &r->graph->main ? ag__graph_read(r->graph, v) : v;
    const int32_t outside = r->parent ? record_reach(r->parent, of, v) : -1;
    return outside < 0 ? -1 : record_capture(r, outside);
}

static int record_place(const ag_tensor *number)
{
    uint64_t bits = 0;
    memcpy(&bits, ag__at(number), ag__itemsize((ag_dtype)number->dtype));
    return (int)((bits + number->dtype) * 0x9E3779B97F4A7C15u >> 60);
}

static bool record_same_number(const ag__region *r, int32_t v, const ag_tensor *t)
{
    const ag_tensor *kept = r->insts[r->values[v].inst].tensor;
    return kept->dtype == t->dtype &&
           memcmp(ag__at(kept), ag__at(t), ag__itemsize((ag_dtype)t->dtype)) == 0;
}

/* A constant with a copy of t. (What is met while tracing is nobody's to write.) */
static int32_t record_constant(ag__region *r, const char *op, ag_tensor *t)
{
    const bool number = t->flags & AG_T_NUMBER;
    const int place = number ? record_place(t) : 0;
    if (number && r->numbers[place] && record_same_number(r, r->numbers[place] - 1, t))
        return r->numbers[place] - 1;
    if (!ag__graph_open(op, r->graph))
        return -1;
    const bool kept = r->graph->traced && ag__is_contiguous(t) && !ag__wants_grad(t);
    ag_tensor *copy = kept ? ag__tensor_ref(t) : ag__contiguous_copy(t, (ag_dtype)t->dtype);
    if (!copy)
        return -1;
    copy->flags |= t->flags & AG_T_NUMBER;
    ag__geometry g;
    ag__geometry_of(t, &g);
    const ag__inst *i =
        ag__region_add(r, &(ag__inst){ .op = &ag__op_constant, .n_out = 1, .tensor = copy }, &g);
    if (!i) {
        ag__tensor_unref(copy);
        return -1;
    }
    if (number)
        r->numbers[place] = i->out + 1;
    return i->out;
}

int32_t ag__region_operand(ag__region *r, const char *op, ag_tensor *t)
{
    if (t->c != r->graph->c) {
        ag__fail(r->graph->c, AG_ERR_VALUE, "ag_%s: a tensor is of another context than the graph",
                 op);
        return -1;
    }
    if (!ag__is_symbolic(t))
        return record_constant(r, op, t);
    if (!ag__symbol_alive(op, t))
        return -1;
    const ag__symbol *s = ag__symbol_of(t);
    bool around = false;
    for (const ag__region *at = r; at && !around; at = at->parent)
        around = at == s->region;
    if (around)
        return record_reach(r, s->region, s->value);
    ag__fail(
        t->c, AG_ERR_GRAPH,
        s->graph == r->graph
            ? "ag_%s: a tensor is from inside a loop or branch that is finished; return it as one "
              "of the results"
            : "ag_%s: Tensor is not an element of this graph: operands belong to different graphs",
        op);
    return -1;
}

ag_tensor *ag__symbol_beside(const ag_tensor *like, ag_tensor *t)
{
    if (ag__is_symbolic(t))
        return t;
    ag__region *r = ag__region_for("constant", (ag_tensor *[]){ (ag_tensor *)(uintptr_t)like }, 1);
    const int32_t v = r ? ag__region_operand(r, "constant", t) : -1;
    return v < 0 ? NULL : ag__give(ag__symbol_new(r, v));
}

/* ---- calls ---- */

/* The results of an instruction as tensors of one reference each; NULL and false when out of
 * memory. */
static bool record_results(ag__region *r, const ag__inst *i, ag_tensor **out)
{
    const int n = i->n_out;
    const int32_t first = i->out;
    for (int j = 0; j < n; j++) {
        out[j] = ag__symbol_new(r, first + j);
        if (out[j])
            continue;
        while (j-- > 0)
            ag__tensor_unref(out[j]);
        return false;
    }
    return true;
}

bool ag__record_in(ag__region *r, const ag__inst *like, const ag__geometry *geometry,
                   ag_tensor **out)
{
    const ag__region_mark mark = ag__region_here(r);
    ag__inst wanted = *like;
    if (!ag__graph_open(like->op->name, r->graph))
        return false;
    if (r == &r->graph->main && r->graph->after && !wanted.n_after) {
        wanted.after = r->graph->after->values;
        wanted.n_after = r->graph->after->n;
    }
    const ag__inst *i = ag__region_add(r, &wanted, geometry);
    if (!i)
        return false;
    if (record_results(r, i, out))
        return true;
    r->insts[r->n_insts - 1].tensor = NULL; /* it stays the caller's */
    ag__region_rewind(r, mark);
    return false;
}

static bool record_call(ag__region *r, const ag__call *call, const ag__geometry *geometry,
                        int32_t *in, ag_tensor **out)
{
    for (int i = 0; i < call->n_in; i++) {
        in[i] = call->in[i] ? ag__region_operand(r, call->op->name, call->in[i]) : -1;
        if (call->in[i] && in[i] < 0)
            return false;
    }
    return ag__record_in(r,
                         &(ag__inst){ .op = call->op,
                                      .n_in = call->n_in,
                                      .n_out = call->n_out,
                                      .in = in,
                                      .attrs = call->attrs },
                         geometry, out);
}

bool ag__record(const ag__call *call, ag_tensor **out)
{
    ag_context *c = call->c;
    ag__region *r = ag__region_for(call->op->name, call->in, call->n_in);
    if (!r || !ag__graph_open(call->op->name, r->graph))
        return false;
    const ag__region_mark mark = ag__region_here(r);
    const size_t bytes = (size_t)call->n_out * sizeof(ag__geometry);
    const size_t in_bytes = (size_t)call->n_in * sizeof(int32_t);
    ag__geometry *geometry = ag__alloc(c, bytes);
    int32_t *in = geometry ? ag__alloc(c, in_bytes) : NULL;
    const bool ok =
        in && ag__infer_unknown(call, geometry) && record_call(r, call, geometry, in, out);
    if (!ok)
        ag__region_rewind(r, mark);
    ag__free(c, geometry, bytes);
    ag__free(c, in, in_bytes);
    return ok;
}
