/*
 * Algebra: an instruction whose value is known from its operands more cheaply. There are two kinds
 * of rules: patterns of operations on numbers, a line each in algebra.def, which are matched as
 * they stand there; and functions for what shapes, orders of dimensions and conversions do to each
 * other.
 *
 * A rule is tried on a draft of an instruction, whose operands are rewritten already, and gives a
 * value or another draft, until no rule applies. What it gives must have the dtype and the shape
 * that the instruction has; so promotion needs no thought in the rules.
 */
#include <stdlib.h>
#include <string.h>

#include "passes.h"
#include "rewrite.h"

extern const ag__op ag__op_view, ag__op_unsafe_view, ag__op_squeeze, ag__op_unsqueeze,
    ag__op_expand, ag__op_permute, ag__op_transpose, ag__op_t, ag__op_to, ag__op_clone,
    ag__op_slice, ag__op_slice_backward, ag__op_sum, ag__op_mean, ag__op_prod, ag__op_amax,
    ag__op_amin, ag__op_cat, ag__op_full_like;

enum { ALGEBRA_IN = 3, ALGEBRA_STEPS = 8, ALGEBRA_ELEMENTS = 64 };

/* An instruction that may be made. */
typedef struct {
    const ag__op *op;
    int n_in;
    int32_t in[ALGEBRA_IN]; /* values of rw->to */
    const ag__attrs *attrs;
    ag__attrs own; /* room for them */
    ag__value type;
} algebra_draft;

typedef enum { ALGEBRA_NONE, ALGEBRA_VALUE, ALGEBRA_DRAFT, ALGEBRA_FAILED } algebra_outcome;
/* *value is set where the outcome is a value, *d where it is a draft. */
typedef algebra_outcome algebra_rule(ag__rewrite *rw, algebra_draft *d, int32_t *value);

static const ag__attrs algebra_no_attrs = { 0 };

/* ---- shared ---- */

static bool algebra_is(const ag__rewrite *rw, const algebra_draft *d, int32_t v)
{
    return ag__value_alike(&rw->to->values[v], &d->type);
}

/* v, when it is alike. */
static algebra_outcome algebra_give(const ag__rewrite *rw, const algebra_draft *d, int32_t v,
                                    int32_t *value)
{
    if (!algebra_is(rw, d, v))
        return ALGEBRA_NONE;
    *value = v;
    return ALGEBRA_VALUE;
}

static void algebra_set(algebra_draft *d, const ag__op *op, int32_t x)
{
    d->op = op;
    d->n_in = 1;
    d->in[0] = x;
    d->own = algebra_no_attrs;
    d->attrs = &d->own;
}

/* A row whose list is a shape, to that of the result. */
static algebra_outcome algebra_to_shape(algebra_draft *d, const ag__op *op, int32_t x)
{
    algebra_set(d, op, x);
    d->own.n = d->type.ndim;
    for (int k = 0; k < d->type.ndim; k++)
        d->own.list[k] = d->type.shape[k];
    return ALGEBRA_DRAFT;
}

/* Whether the draft, run, has the type that it must have. False when out of memory. */
static bool algebra_fits(const ag__rewrite *rw, const algebra_draft *d, bool *fits)
{
    ag_context *c = rw->to->graph->c;
    ag_tensor *in[ALGEBRA_IN] = { NULL };
    ag__quiet q;
    ag__geometry g;
    bool ok = true;
    for (int k = 0; k < d->n_in && ok; k++)
        ok = (in[k] = ag__symbol_new(rw->to, d->in[k])) != NULL;
    if (ok) {
        ag__quiet_begin(&q, c);
        *fits = ag__infer_unknown(&(ag__call){ d->op, c, in, d->n_in, d->attrs, 1 }, &g) &&
                g.dtype == (ag_dtype)d->type.dtype &&
                ag__same_shape((ag_ints){ g.shape, g.ndim }, ag__value_shape(&d->type));
        ok = c->status.code != AG_ERR_MEMORY;
        if (ok)
            ag__quiet_forget(&q, c);
        else
            ag__quiet_tell(&q, c);
    }
    for (int k = 0; k < d->n_in; k++)
        ag__tensor_unref(in[k]);
    return ok;
}

/* ---- patterns ---- */

/* All elements of v have one value. */
static bool algebra_uniform(const ag__region *r, int32_t v, double *value)
{
    const ag__inst *i = ag__value_inst(r, v);
    while (i && (i->op == &ag__op_expand || i->op == &ag__op_view || i->op == &ag__op_unsafe_view))
        i = ag__value_inst(r, i->in[0]);
    if (i && i->op == &ag__op_full_like) {
        const ag_dtype d = (ag_dtype)r->values[i->out].dtype;
        uint64_t stored = 0;
        ag__convert(d, &stored, 1, AG_F64, &i->attrs->p, 0, 1);
        *value = ag__load(d, &stored, 0);
        return true;
    }
    const ag_tensor *t = i && i->op == &ag__op_constant ? i->tensor : NULL;
    if (!t || t->numel == 0 || t->numel > ALGEBRA_ELEMENTS || !ag__is_contiguous(t))
        return false;
    *value = ag__load((ag_dtype)t->dtype, ag__at(t), 0);
    bool same = true;
    for (int64_t k = 1; k < t->numel && same; k++)
        same = ag__load((ag_dtype)t->dtype, ag__at(t), k) == *value;
    return same;
}

typedef struct {
    const ag__region *r;
    const char *at;               /* in the pattern */
    int32_t bound['z' - 'x' + 1]; /* the values that letters stand for; -1: none yet */
} algebra_match;

/* op's name stands at m->at with its operands behind it. */
static bool algebra_is_name(algebra_match *m, const ag__op *op)
{
    const size_t n = strlen(op->name);
    if (strncmp(m->at, op->name, n) != 0 || m->at[n] != '(')
        return false;
    m->at += n + 1;
    return true;
}

static bool algebra_operands(algebra_match *m, const int32_t *in, int n);

static bool algebra_operand(algebra_match *m, int32_t v)
{
    double value;
    if (*m->at >= 'x' && *m->at <= 'z') {
        int32_t *bound = &m->bound[*m->at++ - 'x'];
        if (*bound < 0)
            *bound = v;
        return *bound == v;
    }
    if (*m->at < 'a') {
        char *end;
        const double wanted = strtod(m->at, &end);
        m->at = end;
        return algebra_uniform(m->r, v, &value) && value == wanted;
    }
    const ag__inst *i = ag__value_inst(m->r, v);
    return i && i->n_out == 1 && algebra_is_name(m, i->op) && algebra_operands(m, i->in, i->n_in);
}

static bool algebra_operands(algebra_match *m, const int32_t *in, int n)
{
    bool ok = true;
    for (int k = 0; k < n && ok; k++) {
        ok = algebra_operand(m, in[k]) && *m->at == (k + 1 < n ? ',' : ')');
        m->at += k + 1 < n ? 2 : 1;
    }
    return ok;
}

static const struct {
    const char *pattern, *result;
} algebra_rules[] = {
#define RULE(pattern, result) { pattern, result },
#include "algebra.def"
#undef RULE
};

/* What stands in the place of a pattern that was found. */
static algebra_outcome algebra_result(ag__rewrite *rw, algebra_draft *d, const algebra_match *m,
                                      const char *result, int32_t *value)
{
    const char *args = strchr(result, '(');
    if (!args)
        return algebra_give(rw, d, m->bound[*result - 'x'], value);
    char name[32] = "";
    algebra_draft new = *d;
    memcpy(name, result, (size_t)(args - result));
    new.op = ag__graph_row(name);
    new.n_in = 0;
    new.attrs = &algebra_no_attrs;
    for (args++; *args; args++)
        if (*args >= 'x' && *args <= 'z')
            new.in[new.n_in++] = m->bound[*args - 'x'];
    bool fits = false;
    if (!algebra_fits(rw, &new, &fits))
        return ALGEBRA_FAILED;
    if (!fits)
        return ALGEBRA_NONE;
    *d = new;
    return ALGEBRA_DRAFT;
}

static algebra_outcome algebra_patterns(ag__rewrite *rw, algebra_draft *d, int32_t *value)
{
    algebra_outcome outcome = ALGEBRA_NONE;
    for (int k = 0; k < AG_COUNT(algebra_rules) && outcome == ALGEBRA_NONE; k++) {
        algebra_match m = { rw->to, algebra_rules[k].pattern, { -1, -1, -1 } };
        if (algebra_is_name(&m, d->op) && algebra_operands(&m, d->in, d->n_in))
            outcome = algebra_result(rw, d, &m, algebra_rules[k].result, value);
    }
    return outcome;
}

/* Operands broadcast by themselves. */
static algebra_outcome algebra_broadcast(ag__rewrite *rw, algebra_draft *d, int32_t *value)
{
    (void)value;
    for (int k = 0; k < d->n_in; k++) {
        const ag__inst *i = ag__value_inst(rw->to, d->in[k]);
        if (!i || i->op != &ag__op_expand)
            continue;
        const int32_t whole = d->in[k];
        bool fits = false;
        d->in[k] = i->in[0];
        if (!algebra_fits(rw, d, &fits))
            return ALGEBRA_FAILED;
        if (fits)
            return ALGEBRA_DRAFT;
        d->in[k] = whole;
    }
    return ALGEBRA_NONE;
}

/* ---- orders of dimensions ---- */

/* Dimension k of the result is dims[k] of the operand. False: the row does not order dimensions. */
static bool algebra_order(const ag__op *op, const ag__attrs *a, int ndim, int *dims)
{
    if (op != &ag__op_t && op != &ag__op_transpose && op != &ag__op_permute)
        return false;
    for (int k = 0; k < ndim; k++) {
        const int64_t d = op == &ag__op_permute ? a->list[k] : k;
        dims[k] = (int)(d < 0 ? d + ndim : d);
    }
    if (op == &ag__op_permute || ndim < 2)
        return true;
    const int64_t from = op == &ag__op_t ? 0 : a->i[0], to = op == &ag__op_t ? 1 : a->i[1];
    const int64_t f = from < 0 ? from + ndim : from, t = to < 0 ? to + ndim : to;
    dims[f] = (int)t;
    dims[t] = (int)f;
    return true;
}

static algebra_outcome algebra_orders(ag__rewrite *rw, algebra_draft *d, int32_t *value)
{
    int dims[AG_MAX_DIMS], inner[AG_MAX_DIMS];
    const int ndim = d->type.ndim;
    int32_t x = d->in[0];
    if (!algebra_order(d->op, d->attrs, ndim, dims))
        return ALGEBRA_NONE;
    for (;;) {
        const ag__inst *i = ag__value_inst(rw->to, x);
        if (!i || !algebra_order(i->op, i->attrs, ndim, inner))
            break;
        for (int k = 0; k < ndim; k++)
            dims[k] = inner[dims[k]];
        x = i->in[0];
    }
    bool same = true;
    for (int k = 0; k < ndim; k++)
        same = same && dims[k] == k;
    if (same)
        return algebra_give(rw, d, x, value);
    if (x == d->in[0])
        return ALGEBRA_NONE;
    algebra_set(d, ndim == 2 ? &ag__op_t : &ag__op_permute, x);
    d->own.n = ndim == 2 ? 0 : ndim;
    for (int k = 0; k < d->own.n; k++)
        d->own.list[k] = dims[k];
    return ALGEBRA_DRAFT;
}

/* ---- shapes ---- */

/* Only dimensions of one element change their places. */
static bool algebra_keeps_order(const ag__value *x, const int *dims, int ndim)
{
    int last = -1;
    for (int k = 0; k < ndim; k++) {
        if (x->shape[dims[k]] == 1)
            continue;
        if (dims[k] < last)
            return false;
        last = dims[k];
    }
    return true;
}

/* The result has x's elements in x's order, in another shape. */
static bool algebra_reshapes(const ag__op *op, const ag__attrs *a, const ag__value *x,
                             const ag__value *y)
{
    int dims[AG_MAX_DIMS];
    const int64_t n = ag__shape_numel(ag__value_shape(x));
    if (n < 0 || ag__shape_numel(ag__value_shape(y)) != n || x->dtype != y->dtype)
        return false;
    if (op == &ag__op_view || op == &ag__op_unsafe_view || op == &ag__op_squeeze ||
        op == &ag__op_unsqueeze || (op == &ag__op_expand && n > 0))
        return true;
    if (n > 0 && (op == &ag__op_sum || op == &ag__op_mean || op == &ag__op_prod ||
                  op == &ag__op_amax || op == &ag__op_amin)) /* of one element each */
        return true;
    return algebra_order(op, a, y->ndim, dims) && algebra_keeps_order(x, dims, y->ndim);
}

static algebra_outcome algebra_shapes(ag__rewrite *rw, algebra_draft *d, int32_t *value)
{
    const ag__region *r = rw->to;
    int32_t x = d->in[0];
    if (!algebra_reshapes(d->op, d->attrs, &r->values[x], &d->type))
        return ALGEBRA_NONE;
    const bool reduces = !d->op->is_view && !d->op->is_hidden_view;
    for (;;) {
        const ag__inst *i = ag__value_inst(r, x);
        if (!i || i->n_in != 1 || i->n_out != 1 ||
            !algebra_reshapes(i->op, i->attrs, &r->values[i->in[0]], &r->values[x]))
            break;
        x = i->in[0];
    }
    if (algebra_is(rw, d, x))
        return algebra_give(rw, d, x, value);
    return x == d->in[0] && !reduces ? ALGEBRA_NONE : algebra_to_shape(d, &ag__op_view, x);
}

static algebra_outcome algebra_expand(ag__rewrite *rw, algebra_draft *d, int32_t *value)
{
    const ag__inst *i = ag__value_inst(rw->to, d->in[0]);
    (void)value;
    if (d->op != &ag__op_expand || !i || i->op != &ag__op_expand ||
        ag__shape_numel(ag__value_shape(&d->type)) < 0)
        return ALGEBRA_NONE;
    return algebra_to_shape(d, &ag__op_expand, i->in[0]);
}

/* ---- conversions ---- */

/* Every value of `a` is one of `b`. */
static bool algebra_holds(ag_dtype a, ag_dtype b)
{
    static const uint8_t bits[AG_DTYPE_COUNT] = {
        /* of integers, exactly */
        [AG_F32] = 24, [AG_F64] = 53, [AG_F16] = 11, [AG_BF16] = 8, [AG_I8] = 7,
        [AG_I16] = 15, [AG_I32] = 31, [AG_I64] = 63, [AG_U8] = 8,   [AG_BOOL] = 1
    };
    if (a == b || a == AG_BOOL)
        return true;
    if (ag__is_float(a))
        return b == AG_F64 || (b == AG_F32 && a != AG_F64);
    if (b == AG_BOOL || (b == AG_U8 && a != AG_U8) || bits[a] > bits[b])
        return false;
    return b != AG_F16 || bits[a] <= 8;
}

/* x as b and then as c is x as c. An integer out of range wraps in an integer, a float does not. */
static bool algebra_skips(ag_dtype a, ag_dtype b, ag_dtype c)
{
    return algebra_holds(a, b) &&
           (a == c || a == AG_BOOL || ag__is_float(a) == ag__is_float(b) || ag__is_float(c));
}

static algebra_outcome algebra_to(ag__rewrite *rw, algebra_draft *d, int32_t *value)
{
    const ag__inst *i = ag__value_inst(rw->to, d->in[0]);
    if (d->op != &ag__op_to)
        return ALGEBRA_NONE;
    if (algebra_is(rw, d, d->in[0]))
        return algebra_give(rw, d, d->in[0], value);
    if (!i || i->op != &ag__op_to)
        return ALGEBRA_NONE;
    const ag__value *x = &rw->to->values[i->in[0]];
    if (x->number || !algebra_skips((ag_dtype)x->dtype, (ag_dtype)rw->to->values[i->out].dtype,
                                    (ag_dtype)d->type.dtype))
        return ALGEBRA_NONE;
    if (algebra_is(rw, d, i->in[0]))
        return algebra_give(rw, d, i->in[0], value);
    d->in[0] = i->in[0];
    return ALGEBRA_DRAFT;
}

/* ---- copies ---- */

static algebra_outcome algebra_copies(ag__rewrite *rw, algebra_draft *d, int32_t *value)
{
    const ag__op *op = d->op;
    if (op == &ag__op_clone || op == &ag__op_slice || op == &ag__op_slice_backward ||
        (op == &ag__op_cat && d->n_in == 1))
        return algebra_give(rw, d, d->in[0], value); /* of the same shape: all of it */
    if (op == &ag__op_stand_in || op == ag__ops[AG_OP_copy] || op == ag__ops[AG_OP_zero])
        return algebra_give(rw, d, d->in[1], value);
    return ALGEBRA_NONE;
}

/* ---- the pass ---- */

static algebra_outcome algebra_step(ag__rewrite *rw, algebra_draft *d, int32_t *value)
{
    static algebra_rule *const rules[] = { algebra_copies, algebra_shapes, algebra_orders,
                                           algebra_expand, algebra_to };
    static algebra_rule *const pointwise[] = { algebra_copies, algebra_patterns,
                                               algebra_broadcast };
    algebra_outcome outcome = ALGEBRA_NONE;
    for (int k = 0; k < AG_COUNT(rules) && !d->op->pointwise && outcome == ALGEBRA_NONE; k++)
        outcome = rules[k](rw, d, value);
    for (int k = 0; k < AG_COUNT(pointwise) && d->op->pointwise && outcome == ALGEBRA_NONE; k++)
        outcome = pointwise[k](rw, d, value);
    return outcome;
}

static bool algebra_wants(const ag__rewrite *rw, const ag__inst *i)
{
    bool given = ag__inst_is_row(i) && !i->op->draws && i->n_out == 1 && i->n_in >= 1 &&
                 i->n_in <= ALGEBRA_IN && !rw->from->values[i->out].number &&
                 ag__shape_numel(ag__value_shape(&rw->from->values[i->out])) >= 0;
    for (int k = 0; k < i->n_in && given; k++)
        given = i->in[k] >= 0;
    return given;
}

static bool algebra_inst(ag__rewrite *rw, const ag__inst *i)
{
    if (!algebra_wants(rw, i))
        return ag__rewrite_copy(rw, i);
    algebra_draft d = {
        .op = i->op, .n_in = i->n_in, .attrs = i->attrs, .type = rw->from->values[i->out]
    };
    for (int k = 0; k < i->n_in; k++)
        d.in[k] = rw->map[i->in[k]];
    algebra_outcome outcome = ALGEBRA_DRAFT;
    int32_t value = -1;
    for (int step = 0; step < ALGEBRA_STEPS && outcome == ALGEBRA_DRAFT; step++)
        outcome = algebra_step(rw, &d, &value);
    if (outcome == ALGEBRA_FAILED)
        return false;
    if (outcome != ALGEBRA_VALUE)
        value = ag__rewrite_add(
            rw, &(ag__inst){ .op = d.op, .n_in = d.n_in, .n_out = 1, .in = d.in, .attrs = d.attrs },
            &d.type);
    return (rw->map[i->out] = value) >= 0;
}

ag_graph *ag__pass_algebra(const ag_graph *g)
{
    return ag__rewrite_graph(g, &(ag__rewrite_pass){ .inst = algebra_inst });
}
