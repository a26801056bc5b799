/*
 * Where the values of a graph come from: placeholders, constants, variables. And what makes things
 * happen in order: assignments, groups, dependencies, which are values or lists of values that come
 * before.
 */
#include <string.h>

#include "rules.h"

/* ---- values ---- */

/* The region around all that are being traced: main, or a compiled function, which does not see
 * main. */
static ag__region *build_outermost(ag_graph *g)
{
    ag__region *r = g->c->tracing;
    if (!r || r->graph != g)
        return &g->main;
    while (r->parent)
        r = r->parent;
    return r;
}

/* An instruction without operands in that region. Only values of main have names. */
static ag_tensor *build_source(ag_graph *g, const ag__op *op, ag_dtype dtype, ag_ints shape,
                               ag_tensor *tensor, const ag_node_options *o)
{
    ag_tensor *out;
    ag__geometry geometry;
    ag__region *r = build_outermost(g);
    const ag__region_mark mark = ag__region_here(r);
    ag__geometry_set(&geometry, dtype, shape);
    if (!ag__record_in(r, &(ag__inst){ .op = op, .n_out = 1, .tensor = tensor }, &geometry, &out)) {
        ag__tensor_unref(tensor);
        return NULL;
    }
    if (!o || !o->name || r != &g->main || ag__graph_name(g, ag__symbol_of(out)->value, o->name))
        return ag__give(out);
    ag__tensor_unref(out);
    ag__region_rewind(r, mark);
    return NULL;
}

static bool build_outside_functions(ag_graph *g, const char *op)
{
    return build_outermost(g) == &g->main ||
           ag_fail(
               g->c, AG_ERR_GRAPH,
               "ag_%s: a compiled function has no placeholders and variables; what changes from "
               "call to call is an input of it",
               op);
}

static bool build_check_shape(ag_graph *g, const char *op, ag_dtype dtype, ag_ints shape)
{
    return g && ag__graph_open(op, g) && build_outside_functions(g, op) &&
           ag__rule_type(g->c, op, dtype, shape);
}

ag_tensor *(ag_placeholder)(ag_graph *g, ag_dtype dtype, ag_ints shape, const ag_node_options *o)
{
    return build_check_shape(g, "placeholder", dtype, shape)
               ? build_source(g, &ag__op_placeholder, dtype, shape, NULL, o)
               : NULL;
}

ag_tensor *(ag_variable_empty)(ag_graph *g, ag_dtype dtype, ag_ints shape, const ag_node_options *o)
{
    ag__shape_text text;
    if (!build_check_shape(g, "variable_empty", dtype, shape))
        return NULL;
    if (ag__shape_numel(shape) < 0)
        return ag__fail(g->c, AG_ERR_SHAPE,
                        "ag_variable_empty: a variable has a known shape, not %s",
                        ag__shape_string(&text, shape));
    return build_source(g, &ag__op_variable, dtype, shape, NULL, o);
}

/* A copy of a tensor with data. */
static ag_tensor *build_copy(ag_graph *g, const char *op, ag_tensor *value)
{
    if (!g || !ag__graph_open(op, g))
        return NULL;
    if (!value)
        return ag__fail(g->c, AG_ERR_VALUE, "ag_%s: the tensor is NULL", op);
    if (ag__is_symbolic(value))
        return ag__fail(g->c, AG_ERR_GRAPH,
                        "ag_%s: the tensor is symbolic, so it is a value of a graph already; give "
                        "one that holds data",
                        op);
    if (value->c != g->c)
        return ag__fail(g->c, AG_ERR_VALUE,
                        "ag_%s: the tensor is of another context than the graph; use ag_share", op);
    return ag__contiguous_copy(value, (ag_dtype)value->dtype);
}

ag_tensor *(ag_constant)(ag_graph *g, ag_tensor *value, const ag_node_options *o)
{
    ag_tensor *copy = build_copy(g, "constant", value);
    return copy ? build_source(g, &ag__op_constant, (ag_dtype)copy->dtype, ag__sizes(copy), copy, o)
                : NULL;
}

ag_tensor *(ag_variable)(ag_graph *g, ag_tensor *initial, const ag_node_options *o)
{
    if (!g || !build_outside_functions(g, "variable"))
        return NULL;
    ag_tensor *copy = build_copy(g, "variable", initial);
    return copy ? build_source(g, &ag__op_variable, (ag_dtype)copy->dtype, ag__sizes(copy), copy, o)
                : NULL;
}

/* ---- assignments ---- */

static bool build_is_variable(const char *op, const ag_tensor *var)
{
    const ag__symbol *s = ag__is_symbolic(var) ? ag__symbol_of(var) : NULL;
    if (s && !ag__symbol_alive(op, var))
        return false;
    const ag__region *r = s ? s->region : NULL;
    return (r && r->values[s->value].inst >= 0 &&
            r->insts[r->values[s->value].inst].op == &ag__op_variable) ||
           ag_fail(var->c, AG_ERR_VALUE,
                   "ag_%s: the tensor is no variable of a graph; ag_variable makes one", op);
}

static ag_tensor *build_assign(const char *op, ag_tensor *var, ag_tensor *value, int how)
{
    if (!var)
        return NULL;
    if (!value)
        return ag__fail(var->c, AG_ERR_VALUE, "ag_%s: the value is NULL", op);
    if (!build_is_variable(op, var))
        return NULL;
    ag__region *r = ag__region_for(op, (ag_tensor *[]){ var, value }, 2);
    if (!r)
        return NULL;
    if (!ag__rule_assigns(op, r))
        return NULL;
    const ag__region_mark mark = ag__region_here(r);
    const int32_t in[] = { ag__symbol_of(var)->value, ag__region_operand(r, op, value) };
    ag__geometry g;
    ag_tensor *out;
    const ag__attrs attrs = { .i = { how } };
    const ag__inst like = {
        .op = &ag__op_assign, .n_in = 2, .n_out = 1, .in = in, .attrs = &attrs
    };
    if (in[1] >= 0 && ag__graph_infer(r, &like, &g) && ag__record_in(r, &like, &g, &out))
        return ag__give(out);
    ag__region_rewind(r, mark);
    return NULL;
}

ag_tensor *(ag_assign)(ag_tensor *var, ag_tensor *value)
{
    return build_assign("assign", var, value, AG_ASSIGN);
}
ag_tensor *(ag_assign_add)(ag_tensor *var, ag_tensor *value)
{
    return build_assign("assign_add", var, value, AG_ASSIGN_ADD);
}
ag_tensor *(ag_assign_sub)(ag_tensor *var, ag_tensor *value)
{
    return build_assign("assign_sub", var, value, AG_ASSIGN_SUB);
}

/* ---- order ---- */

/* The numbers of symbolic tensors of g's main region. */
static bool build_numbers(ag_graph *g, const char *op, ag_tensor *const *list, int n, int32_t *out)
{
    for (int i = 0; i < n; i++) {
        if (!ag__list_check(g->c, op, "tensor", i, list[i]))
            return false;
        if (!ag__is_symbolic(list[i]))
            return ag_fail(g->c, AG_ERR_VALUE,
                           "ag_%s: tensor %d is not symbolic: it holds data and is no value of the "
                           "graph",
                           op, i);
        if (!ag__symbol_alive(op, list[i]))
            return false;
        const ag__symbol *s = ag__symbol_of(list[i]);
        if (s->graph == g && s->region != &g->main)
            return ag_fail(g->c, AG_ERR_GRAPH, "ag_%s: tensor %d is inside a loop or branch", op,
                           i);
        if (s->region != &g->main)
            return ag_fail(g->c, AG_ERR_GRAPH, "ag_%s: tensor %d is not an element of this graph.",
                           op, i);
        out[i] = s->value;
    }
    return true;
}

static size_t build_after_bytes(int n) { return sizeof(ag__after) + (size_t)n * sizeof(int32_t); }

bool ag_control_dependencies_push(ag_graph *g, ag_tensor *const *tensors, int n)
{
    static const char op[] = "control_dependencies_push";
    if (!g || !ag__graph_open(op, g))
        return false;
    if (n < 0 || (n > 0 && !tensors))
        return ag_fail(g->c, AG_ERR_VALUE, "ag_%s: %d tensors in a list that is NULL", op, n);
    const int outer = g->after ? g->after->n : 0;
    ag__after *after = ag__alloc(g->c, build_after_bytes(outer + n));
    if (!after)
        return false;
    *after = (ag__after){ g->after, outer + n };
    if (outer)
        memcpy(after->values, g->after->values, (size_t)outer * sizeof(int32_t));
    if (!build_numbers(g, op, tensors, n, after->values + outer)) {
        ag__free(g->c, after, build_after_bytes(outer + n));
        return false;
    }
    g->after = after;
    return true;
}

void ag_control_dependencies_pop(ag_graph *g)
{
    ag__after *after = g ? g->after : NULL;
    if (!after)
        return;
    g->after = after->outer;
    ag__free(g->c, after, build_after_bytes(after->n));
}

/* The latest assignment of variable v among value `at` and, when that is a group, its parts. */
static int32_t build_assigned(const ag__region *r, int32_t at, int32_t v)
{
    const ag__inst *i = r->values[at].inst < 0 ? NULL : &r->insts[r->values[at].inst];
    int32_t latest = -1;
    if (i && i->op == &ag__op_assign && i->in[0] == v)
        return at;
    for (int k = 0; i && i->op == &ag__op_group && k < i->n_in; k++) {
        const int32_t found = build_assigned(r, i->in[k], v);
        latest = found > latest ? found : latest;
    }
    return latest;
}

int32_t ag__graph_read(const ag_graph *g, int32_t v)
{
    int32_t latest = -1;
    for (int k = 0; g->after && k < g->after->n; k++) {
        const int32_t found = build_assigned(&g->main, g->after->values[k], v);
        latest = found > latest ? found : latest;
    }
    return latest < 0 ? v : latest;
}

ag_tensor *ag_group(ag_tensor *const *tensors, int n)
{
    ag_context *c = ag__list_context(tensors, n);
    ag__region *r = c ? ag__region_for("group", tensors, n) : NULL;
    if (!r)
        return c ? ag__fail(c, AG_ERR_GRAPH, "ag_group: no tensor is symbolic") : NULL;
    if (r != &r->graph->main)
        return ag__fail(c, AG_ERR_GRAPH, "ag_group: not inside a loop or branch");
    const size_t bytes = (size_t)n * sizeof(int32_t);
    int32_t *in = ag__alloc(c, bytes);
    ag__geometry g;
    ag_tensor *out = NULL;
    ag__geometry_set(&g, AG_BOOL, (ag_ints){ NULL, 0 });
    const bool ok =
        in && build_numbers(r->graph, "group", tensors, n, in) &&
        ag__record_in(r, &(ag__inst){ .op = &ag__op_group, .n_in = n, .n_out = 1, .in = in }, &g,
                      &out);
    ag__free(c, in, bytes);
    return ok ? ag__give(out) : NULL;
}

ag_tensor *ag__symbol_detach(ag_tensor *t)
{
    const ag__symbol *s = ag__symbol_of(t);
    if (!ag__graph_alive("detach", s->graph))
        return NULL;
    ag__region *r = ag__region_for("detach", &t, 1);
    const ag__region_mark mark = ag__region_here(r);
    const int32_t in = ag__region_operand(r, "detach", t);
    ag__geometry g;
    ag_tensor *out;
    ag__geometry_of(t, &g);
    if (in >= 0 &&
        ag__record_in(r, &(ag__inst){ .op = &ag__op_detach, .n_in = 1, .n_out = 1, .in = &in }, &g,
                      &out))
        return ag__give(out);
    ag__region_rewind(r, mark);
    return NULL;
}
