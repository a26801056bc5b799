/* See rules.h. A function for each row. */
#include "rules.h"

/* An instruction that is looked at. */
typedef struct {
    const char *op; /* "ag_scan" */
    ag_context *c;
    const ag__region *r;
    const ag__inst *i;
    ag__geometry *out;
} rule_call;

/* What recording never does. */
static bool rule_malformed(const rule_call *k, const char *what)
{
    return ag_fail(k->c, AG_ERR_GRAPH, "%s: %s", k->op, what);
}

static void rule_set(ag__geometry *g, ag__type t) { ag__geometry_set(g, t.dtype, t.shape); }

/* ---- where values come from ---- */

bool ag__rule_type(ag_context *c, const char *op, ag_dtype dtype, ag_ints shape)
{
    int64_t known[AG_MAX_DIMS];
    ag__shape_text text;
    if (!ag__dtype_ok(dtype))
        return ag_fail(c, AG_ERR_DTYPE, "ag_%s: %d is no dtype", op, (int)dtype);
    if (shape.n < 0 || shape.n > AG_MAX_DIMS)
        return ag_fail(c, AG_ERR_SHAPE,
                       "ag_%s: got a list of %d numbers; tensors have 0 to %d dimensions", op,
                       shape.n, AG_MAX_DIMS);
    if (shape.n > 0 && !shape.data)
        return ag_fail(c, AG_ERR_VALUE, "ag_%s: the list of sizes or dims is NULL", op);
    for (int i = 0; i < shape.n; i++) {
        if (shape.data[i] < -1)
            return ag_fail(c, AG_ERR_SHAPE,
                           "ag_%s: the size %lld in the shape %s is no size nor -1", op,
                           (long long)shape.data[i], ag__shape_string(&text, shape));
        known[i] = shape.data[i] < 0 ? 1 : shape.data[i];
    }
    return ag__check_shape(c, op, (ag_ints){ known, shape.n }, dtype);
}

static bool rule_source(const rule_call *k)
{
    const ag__inst *i = k->i;
    const ag_ints shape = { k->out->shape, k->out->ndim };
    ag__shape_text text;
    if (i->n_in || i->n_out != 1 || i->n_regions)
        return rule_malformed(k, "a source has one result and no operands");
    if (i->op != &ag__op_constant && k->r != &k->r->graph->main)
        return rule_malformed(k, "not inside a loop or branch");
    if (i->op == &ag__op_placeholder ? i->tensor != NULL : i->op == &ag__op_constant && !i->tensor)
        return rule_malformed(k, "a constant has data, a placeholder has none");
    if (!ag__rule_type(k->c, i->op->name, k->out->dtype, shape))
        return false;
    return i->op == &ag__op_placeholder || ag__shape_numel(shape) >= 0 ||
           ag_fail(k->c, AG_ERR_SHAPE, "%s: a variable has a known shape, not %s", k->op,
                   ag__shape_string(&text, shape));
}

/* ---- variables and order ---- */

bool ag__rule_assigns(const char *op, const ag__region *r)
{
    return r == &r->graph->main ||
           ag_fail(r->graph->c, AG_ERR_UNSUPPORTED,
                   "ag_%s: a variable cannot be assigned inside a loop or branch; return the "
                   "value and assign it behind",
                   op);
}

static bool rule_assign(const rule_call *k)
{
    static const char *const names[] = {
        [AG_ASSIGN] = "assign", [AG_ASSIGN_ADD] = "assign_add", [AG_ASSIGN_SUB] = "assign_sub"
    };
    const ag__inst *i = k->i;
    const int64_t how = i->attrs->i[0];
    ag__shape_text a, b;
    if (i->n_in != 2 || i->n_out != 1 || i->in[0] < 0 || i->in[1] < 0 || how < 0 ||
        how >= AG_COUNT(names))
        return rule_malformed(k, "it takes a variable and a value");
    const char *op = names[how];
    const ag__value *var = &k->r->values[i->in[0]], *value = &k->r->values[i->in[1]];
    if (!ag__rule_assigns(op, k->r))
        return false;
    if (var->inst < 0 || k->r->insts[var->inst].op != &ag__op_variable)
        return ag_fail(k->c, AG_ERR_VALUE, "ag_%s: the tensor is no variable of a graph", op);
    if (value->dtype != var->dtype && !value->number)
        return ag_fail(k->c, AG_ERR_DTYPE, "ag_%s: the variable has dtype %s, the value %s", op,
                       ag_dtype_name((ag_dtype)var->dtype), ag_dtype_name((ag_dtype)value->dtype));
    rule_set(k->out, ag__value_type(&k->r->values[i->in[0]]));
    return ag__shape_takes(ag__value_shape(value), ag__value_shape(var)) ||
           ag_fail(k->c, AG_ERR_SHAPE, "ag_%s: the variable has shape %s, the value %s", op,
                   ag__shape_string(&a, ag__value_shape(var)),
                   ag__shape_string(&b, ag__value_shape(value)));
}

static bool rule_detach(const rule_call *k)
{
    if (k->i->n_in != 1 || k->i->n_out != 1 || k->i->in[0] < 0)
        return rule_malformed(k, "it takes one operand");
    rule_set(k->out, ag__value_type(&k->r->values[k->i->in[0]]));
    return true;
}

/* See sizes.c. */
static bool rule_sizes(const rule_call *k)
{
    const ag__inst *i = k->i;
    if (i->n_in != 2 || i->n_out != 1 || i->in[0] < 0 || i->in[1] < 0)
        return rule_malformed(k, "it takes two operands");
    const ag__value *x = &k->r->values[i->in[0]], *other = &k->r->values[i->in[1]];
    const bool cuts = i->op == &ag__op_cut_like;
    if (i->attrs->n < 0 || i->attrs->n > AG_MAX_DIMS ||
        (cuts ? i->attrs->n != 0 || x->ndim != other->ndim
              : i->op == &ag__op_expand_like && i->attrs->n < x->ndim))
        return rule_malformed(k, "the number of sizes does not fit");
    ag__geometry_set(k->out, (ag_dtype)x->dtype, (ag_ints){ NULL, 0 });
    k->out->ndim = ag__sizes_result(i->op, ag__value_shape(x), ag__value_shape(other),
                                    (ag_ints){ i->attrs->list, i->attrs->n }, k->out->shape);
    return ag__rule_type(k->c, i->op->name, k->out->dtype,
                         (ag_ints){ k->out->shape, k->out->ndim });
}

static bool rule_group(const rule_call *k)
{
    bool good = k->i->n_in > 0 && k->i->n_out == 1;
    for (int j = 0; j < k->i->n_in && good; j++)
        good = k->i->in[j] >= 0;
    ag__geometry_set(k->out, AG_BOOL, (ag_ints){ NULL, 0 });
    if (k->r != &k->r->graph->main)
        return rule_malformed(k, "not inside a loop or branch");
    return good || rule_malformed(k, "it takes values, and gives one");
}

/* ---- derivatives ---- */

bool ag__rule_output(ag_context *c, int i, ag__type t, const ag__type *g)
{
    ag__shape_text a, b;
    if (!ag__is_float(t.dtype))
        return ag_fail(c, AG_ERR_GRAD,
                       "element %d of tensors does not require grad and does not have a grad_fn",
                       i);
    if (!g)
        return ag__shape_numel(t.shape) == 1 ||
               ag_fail(c, AG_ERR_GRAD, "grad can be implicitly created only for scalar outputs");
    if (!ag__shape_may_be(g->shape, t.shape))
        return ag_fail(c, AG_ERR_SHAPE,
                       "Mismatch in shape: grad_output[%d] has a shape of %s and output[%d] has a "
                       "shape of %s.",
                       i, ag__shape_string(&a, g->shape), i, ag__shape_string(&b, t.shape));
    return ag__is_float(g->dtype) ||
           ag_fail(c, AG_ERR_DTYPE, "gradient %d has dtype %s; gradients are floating point", i,
                   ag_dtype_name(g->dtype));
}

bool ag__rule_input(ag_context *c, int i, ag__type input)
{
    return ag__is_float(input.dtype) ||
           ag_fail(c, AG_ERR_GRAD,
                   "One of the differentiated Tensors does not require grad [input %d]", i);
}

static bool rule_gradient(const rule_call *k)
{
    const ag__inst *i = k->i;
    const int64_t n_outputs = i->attrs->i[0], n = i->attrs->i[1];
    if (n_outputs < 1 || n_outputs > i->n_in || n < 1 || n > i->n_in ||
        i->n_in != 2 * n_outputs + n || i->n_out != n)
        return rule_malformed(k, "it takes outputs, a gradient for each, and inputs");
    for (int j = 0; j < i->n_in; j++)
        if (i->in[j] < 0 && (j < n_outputs || j >= 2 * n_outputs))
            return rule_malformed(k, "an output or input is missing");
    for (int j = 0; j < n_outputs; j++) {
        const int32_t at = i->in[n_outputs + j];
        const ag__type g = at < 0 ? (ag__type){ 0 } : ag__value_type(&k->r->values[at]);
        if (!ag__rule_output(k->c, j, ag__value_type(&k->r->values[i->in[j]]), at < 0 ? NULL : &g))
            return false;
    }
    for (int j = 0; j < n; j++) {
        const ag__type input = ag__value_type(&k->r->values[i->in[2 * n_outputs + j]]);
        if (!ag__rule_input(k->c, j, input))
            return false;
        rule_set(&k->out[j], input);
    }
    return true;
}

/* ---- regions ---- */

static bool rule_same_type(const ag__value *a, const ag__value *b)
{
    return a->dtype == b->dtype && ag__same_shape(ag__value_shape(a), ag__value_shape(b));
}

/* The regions, `n` of them, take what follows the first `skip` operands, and give `m` results
 * (-1: any). Behind the first `own` parameters types are those of the operands. */
static bool rule_regions(const rule_call *k, int n, int skip, int64_t own, int m)
{
    const ag__inst *i = k->i;
    if (i->n_regions != n)
        return rule_malformed(k, "it has another number of regions");
    for (int j = 0; j < i->n_in; j++)
        if (i->in[j] < 0 && (j < skip || i->op != &ag__op_jvp))
            return rule_malformed(k, "an operand is missing");
    for (int b = 0; b < n; b++) {
        const ag__region *body = i->regions[b];
        if (body->n_params != i->n_in - skip || (m >= 0 && body->n_outs != m))
            return rule_malformed(k, "a region has another number of parameters or results");
        for (int j = (int)own; j < body->n_params; j++) {
            const ag__value *param = &body->values[body->params[j]];
            const ag__value *operand = &k->r->values[i->in[skip + j]];
            if (!rule_same_type(param, operand) || (param->number && !operand->number))
                return rule_malformed(k, "a parameter of a region has another type than its "
                                         "operand");
        }
    }
    return true;
}

static bool rule_jvp(const rule_call *k)
{
    const ag__inst *i = k->i;
    const int64_t n = i->attrs->i[0];
    if (n < 1 || n > i->n_in / 2 || i->n_regions != 1 || i->n_out % 2 ||
        i->regions[0]->n_outs != i->n_out / 2 || i->regions[0]->n_params != i->n_in - n)
        return rule_malformed(k, "it takes inputs, their tangents, and a function of these inputs");
    const ag__region *body = i->regions[0];
    for (int j = 0; j < body->n_params; j++) {
        const int32_t at = i->in[j < n ? j : j + (int)n];
        if (at < 0 || !rule_same_type(&body->values[body->params[j]], &k->r->values[at]))
            return rule_malformed(k, "a parameter of the function has another type than its "
                                     "operand");
    }
    for (int j = 0; j < i->n_out; j++) {
        const int32_t v = body->outs[j % body->n_outs];
        rule_set(&k->out[j], ag__value_type(&body->values[v]));
    }
    return true;
}

/* ---- branches ---- */

bool ag__rule_one(ag_context *c, const char *op, const char *what, ag_ints shape)
{
    ag__shape_text text;
    const int64_t numel = ag__shape_numel(shape);
    return numel == 1 || numel < 0 ||
           ag_fail(c, AG_ERR_SHAPE, "%s: %s must be a scalar, got shape %s", op, what,
                   ag__shape_string(&text, shape));
}

bool ag__rule_index(ag_context *c, ag_dtype dtype)
{
    return !ag__is_float(dtype) ||
           ag_fail(c, AG_ERR_DTYPE, "ag_switch: the index has dtype %s, not an integer one",
                   ag_dtype_name(dtype));
}

/* Result j of all branches: -1 where sizes differ. */
static bool rule_same_result(const rule_call *k, int j)
{
    ag__shape_text ta, tb;
    ag__region *const *regions = k->i->regions;
    const ag__value *a = ag__region_out(regions[0], j);
    rule_set(&k->out[j], ag__value_type(a));
    for (int n = 1; n < k->i->n_regions; n++) {
        const ag__value *b = ag__region_out(regions[n], j);
        if (a->dtype != b->dtype)
            return ag_fail(k->c, AG_ERR_DTYPE,
                           "%s: the branches must have the same type of result %d, got %s and %s",
                           k->op, j, ag_dtype_name((ag_dtype)b->dtype),
                           ag_dtype_name((ag_dtype)a->dtype));
        if (a->ndim != b->ndim)
            return ag_fail(k->c, AG_ERR_SHAPE,
                           "%s: the branches must have the same shape of result %d, got %s and %s",
                           k->op, j, ag__shape_string(&ta, ag__value_shape(b)),
                           ag__shape_string(&tb, ag__value_shape(a)));
        for (int d = 0; d < a->ndim; d++)
            if (b->shape[d] != k->out[j].shape[d])
                k->out[j].shape[d] = -1;
    }
    return true;
}

static bool rule_branches(const rule_call *k)
{
    const ag__inst *i = k->i;
    const bool cond = i->op == &ag__op_cond;
    if (i->n_in < 1 || i->in[0] < 0 || i->attrs->i[0] < 0 || i->attrs->i[0] > i->n_in - 1 ||
        i->n_regions < 1)
        return rule_malformed(k, "it takes a selector, inputs, and branches");
    const ag__type pred = ag__value_type(&k->r->values[i->in[0]]);
    if (!ag__rule_one(k->c, k->op, cond ? "pred" : "index", pred.shape) ||
        (!cond && !ag__rule_index(k->c, pred.dtype)) ||
        !rule_regions(k, cond ? 2 : i->n_regions, 1, 0, i->n_out))
        return false;
    for (int j = 0; j < i->n_out; j++)
        if (!rule_same_result(k, j))
            return false;
    return true;
}

/* ---- loops ---- */

bool ag__rule_variable(ag_context *c, int i, ag_dtype has, ag_dtype becomes)
{
    return has == becomes ||
           ag_fail(c, AG_ERR_DTYPE,
                   "ag_while_loop: variable %d has dtype %s, but the body gives it dtype %s; they "
                   "must have the same type",
                   i, ag_dtype_name(has), ag_dtype_name(becomes));
}

/* Variable j of a while: what the regions take is what enters, or knows less of its shape. */
static bool rule_variable(const rule_call *k, int j)
{
    const ag__region *body = k->i->regions[0], *cond = k->i->regions[1];
    const ag__value *var = &body->values[body->params[j]];
    const ag__value *init = &k->r->values[k->i->in[j]], *next = ag__region_out(body, j);
    ag__shape_text a, b;
    if (var->dtype != init->dtype || !rule_same_type(var, &cond->values[cond->params[j]]) ||
        !ag__shape_takes(ag__value_shape(var), ag__value_shape(init)))
        return rule_malformed(k, "a variable of the regions has another type than its operand");
    rule_set(&k->out[j], ag__value_type(var));
    if (!ag__rule_variable(k->c, j, (ag_dtype)var->dtype, (ag_dtype)next->dtype))
        return false;
    return ag__shape_may_be(ag__value_shape(var), ag__value_shape(next)) ||
           ag_fail(
               k->c, AG_ERR_SHAPE,
               "%s: The shape for variable %d is not an invariant for the loop. It enters the loop "
               "with shape %s, but has shape %s after one iteration. Provide shape invariants "
               "using the `shape_invariants` argument of ag_while_loop.",
               k->op, j, ag__shape_string(&a, ag__value_shape(var)),
               ag__shape_string(&b, ag__value_shape(next)));
}

static bool rule_while(const rule_call *k)
{
    const ag__inst *i = k->i;
    const ag__attrs *a = i->attrs;
    const int64_t n = a->n == AG_FLOW_ATTRS ? a->list[AG_FLOW_CARRY] : 0;
    if (n < 1 || n > i->n_in || i->n_out != n)
        return rule_malformed(k, "it takes variables, and gives as many");
    if (a->list[AG_FLOW_XS] || a->list[AG_FLOW_YS] || a->list[AG_FLOW_REVERSE] ||
        a->list[AG_FLOW_LENGTH] != -1 || a->list[AG_FLOW_LIMIT] < 0 ||
        a->list[AG_FLOW_SNAPSHOTS] < 0 || a->list[AG_FLOW_SNAPSHOTS] > INT32_MAX ||
        a->list[AG_FLOW_COUNT])
        return rule_malformed(k, "an attribute is out of range");
    if (!rule_regions(k, 2, 0, n, -1))
        return false;
    if (i->regions[0]->n_outs != n || i->regions[1]->n_outs != 1)
        return rule_malformed(k, "a region has another number of results");
    if (!ag__rule_one(k->c, k->op, "the condition",
                      ag__value_shape(ag__region_out(i->regions[1], 0))))
        return false;
    for (int j = 0; j < n; j++)
        if (!rule_variable(k, j))
            return false;
    return true;
}

bool ag__rule_length(ag_context *c, int i, ag_ints x, int64_t *length)
{
    if (x.n == 0)
        return ag_fail(c, AG_ERR_SHAPE, "ag_scan: x %d has no dimension to scan along", i);
    if (*length < 0)
        *length = x.data[0];
    return x.data[0] < 0 || x.data[0] == *length ||
           ag_fail(c, AG_ERR_SHAPE,
                   "ag_scan: scan got values with different leading axis sizes: %lld and %lld",
                   (long long)*length, (long long)x.data[0]);
}

bool ag__rule_steps(ag_context *c, int64_t length, int64_t ys)
{
    return ys == 0 || length <= INT32_MAX / ys ||
           ag_fail(c, AG_ERR_SHAPE, "ag_scan: %lld steps of %lld ys are too many",
                   (long long)length, (long long)ys);
}

bool ag__rule_carry(ag_context *c, int i, ag_dtype has, ag_dtype becomes)
{
    return has == becomes ||
           ag_fail(c, AG_ERR_DTYPE,
                   "ag_scan: scan function carry input and carry output must have equal types, but "
                   "they differ: carry %d has dtype %s and becomes %s",
                   i, ag_dtype_name(has), ag_dtype_name(becomes));
}

static bool rule_carry(const rule_call *k, int j)
{
    const ag__value *in = &k->r->values[k->i->in[j]], *out = ag__region_out(k->i->regions[0], j);
    ag__shape_text a, b;
    if (!rule_same_type(in, &k->i->regions[0]->values[k->i->regions[0]->params[j]]))
        return rule_malformed(k, "a carry of the body has another type than its operand");
    rule_set(&k->out[j], ag__value_type(&k->r->values[k->i->in[j]]));
    if (!ag__rule_carry(k->c, j, (ag_dtype)in->dtype, (ag_dtype)out->dtype))
        return false;
    return ag__shape_may_be(ag__value_shape(in), ag__value_shape(out)) ||
           ag_fail(k->c, AG_ERR_SHAPE,
                   "ag_scan: scan function carry input and carry output must have equal types, but "
                   "they differ: carry %d has shape %s and becomes %s",
                   j, ag__shape_string(&a, ag__value_shape(in)),
                   ag__shape_string(&b, ag__value_shape(out)));
}

static bool rule_stacked(const rule_call *k, int j, const ag__value *y, int64_t length,
                         ag__geometry *g)
{
    if (y->ndim == AG_MAX_DIMS)
        return ag_fail(k->c, AG_ERR_SHAPE,
                       "ag_scan: y %d has %d dims, and none is left to stack along", j, y->ndim);
    g->dtype = (ag_dtype)y->dtype;
    g->ndim = y->ndim + 1;
    g->shape[0] = length;
    for (int d = 0; d < y->ndim; d++)
        g->shape[d + 1] = y->shape[d];
    return ag__rule_type(k->c, "scan", g->dtype, (ag_ints){ g->shape, g->ndim });
}

static bool rule_xs(const rule_call *k, int64_t n, int64_t xs, int64_t *length)
{
    const ag__region *body = k->i->regions[0];
    for (int j = 0; j < xs; j++) {
        const ag__type x = ag__value_type(&k->r->values[k->i->in[n + j]]);
        const ag__value *step = &body->values[body->params[n + j]];
        if (!ag__rule_length(k->c, j, x.shape, length))
            return false;
        if (step->dtype != x.dtype ||
            !ag__same_shape(ag__value_shape(step), (ag_ints){ x.shape.data + 1, x.shape.n - 1 }))
            return rule_malformed(k, "an x of the body has another type than its operand");
    }
    return true;
}

static bool rule_scan(const rule_call *k)
{
    const ag__inst *i = k->i;
    const ag__attrs *a = i->attrs;
    const bool listed = a->n == AG_FLOW_ATTRS;
    const int64_t n = listed ? a->list[AG_FLOW_CARRY] : -1, xs = listed ? a->list[AG_FLOW_XS] : -1;
    const int64_t ys = listed ? a->list[AG_FLOW_YS] : -1;
    int64_t length = listed ? a->list[AG_FLOW_LENGTH] : -1;
    if (n < 0 || xs < 0 || ys < 0 || n > i->n_in || xs > i->n_in - n || n > i->n_out ||
        i->n_out - n != ys)
        return rule_malformed(k, "it takes a carry and xs, and gives the carry and ys");
    if (length < (xs ? -1 : 0) || a->list[AG_FLOW_LIMIT] || a->list[AG_FLOW_SNAPSHOTS] ||
        a->list[AG_FLOW_REVERSE] < 0 || a->list[AG_FLOW_REVERSE] > 1 || a->list[AG_FLOW_COUNT])
        return rule_malformed(k, "an attribute is out of range");
    if (!rule_regions(k, 1, 0, n + xs, i->n_out) || !rule_xs(k, n, xs, &length) ||
        !ag__rule_steps(k->c, length, ys))
        return false;
    for (int j = 0; j < n; j++)
        if (!rule_carry(k, j))
            return false;
    for (int j = 0; j < ys; j++)
        if (!rule_stacked(k, j, ag__region_out(i->regions[0], (int)n + j), length, &k->out[n + j]))
            return false;
    return true;
}

/* ---- all ---- */

bool ag__graph_infer(const ag__region *r, const ag__inst *i, ag__geometry *out)
{
    static const struct {
        const ag__op *op;
        const char *name;
        bool (*rule)(const rule_call *k);
    } rules[] = {
        { &ag__op_placeholder, "ag_placeholder", rule_source },
        { &ag__op_constant, "ag_constant", rule_source },
        { &ag__op_variable, "ag_variable", rule_source },
        { &ag__op_assign, "ag_assign", rule_assign },
        { &ag__op_detach, "ag_detach", rule_detach },
        { &ag__op_group, "ag_group", rule_group },
        { &ag__op_gradient, "ag_grad", rule_gradient },
        { &ag__op_jvp, "ag_jvp", rule_jvp },
        { &ag__op_cond, "ag_cond", rule_branches },
        { &ag__op_switch, "ag_switch", rule_branches },
        { &ag__op_while, "ag_while_loop", rule_while },
        { &ag__op_scan, "ag_scan", rule_scan },
        { &ag__op_reshape_like, "ag_reshape", rule_sizes },
        { &ag__op_expand_like, "ag_expand", rule_sizes },
        { &ag__op_cut_like, "ag_slice", rule_sizes },
    };
    const bool nested = i->op == &ag__op_jvp || i->op == &ag__op_cond || i->op == &ag__op_switch ||
                        i->op == &ag__op_while || i->op == &ag__op_scan;
    for (int k = 0; k < AG_COUNT(rules); k++) {
        const rule_call call = { rules[k].name, r->graph->c, r, i, out };
        if (rules[k].op != i->op)
            continue;
        if (i->n_regions && !nested)
            return rule_malformed(&call, "it has no regions");
        return rules[k].rule(&call);
    }
    return ag_fail(r->graph->c, AG_ERR_GRAPH, "%s: this row is none of recorded graphs",
                   i->op->name);
}
