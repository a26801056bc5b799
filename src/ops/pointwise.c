/*
 * What all pointwise rows share: shapes broadcast, dtypes promote, one loop walks the operands (see
 * walk.h), and a gradient is either one fused loop (nobody wants a graph of it) or a composition of
 * operations.
 */
#include "pointwise.h"

#include "walk.h"

/* ---- dtypes and shapes ---- */

/* The loop type for a dtype, and the dtype its elements have. */
static ag_dtype pointwise_compute(ag_dtype d)
{
    return d == AG_F64 ? AG_F64 : ag__is_float(d) ? AG_F32 : AG_I64;
}

static int pointwise_loop_type(ag_dtype compute)
{
    return compute == AG_F32 ? AG_LOOP_F32 : compute == AG_F64 ? AG_LOOP_F64 : AG_LOOP_I64;
}

/* Within the highest category present, dimensioned tensors decide before 0-dim ones, and those
 * before numbers. */
static int promote_rank(const ag_tensor *t)
{
    return t->flags & AG_T_NUMBER ? 0 : t->ndim == 0 ? 1 : 2;
}

static ag_dtype promote_same(ag_dtype a, ag_dtype b)
{
    static const uint8_t width[] = {
        [AG_F32] = 4, [AG_F64] = 5, [AG_F16] = 3, [AG_BF16] = 3, [AG_I8] = 1,
        [AG_U8] = 1,  [AG_I16] = 2, [AG_I32] = 3, [AG_I64] = 4,  [AG_BOOL] = 0
    };
    if (a == b)
        return a;
    if (width[a] != width[b])
        return width[a] > width[b] ? a : b;
    return ag__is_float(a) ? AG_F32 : AG_I16; /* f16 with bf16, i8 with u8 */
}

ag_dtype ag__promote_dtypes(ag_dtype a, ag_dtype b)
{
    const int ca = ag__dtype_category(a), cb = ag__dtype_category(b);
    return ca != cb ? (ca > cb ? a : b) : promote_same(a, b);
}

/* What a number's own dtype becomes when it decides: the defaults. */
static ag_dtype promote_default(const ag_tensor *t)
{
    return t->flags & AG_T_NUMBER && t->dtype == AG_F64 ? AG_F32 : (ag_dtype)t->dtype;
}

ag_dtype ag__promote(const ag_tensor *a, const ag_tensor *b)
{
    if (a->dtype == b->dtype && !((a->flags | b->flags) & AG_T_NUMBER)) /* nearly always */
        return (ag_dtype)a->dtype;
    const ag_dtype da = promote_default(a), db = promote_default(b);
    const int ca = ag__dtype_category(da), cb = ag__dtype_category(db);
    if (ca != cb)
        return ca > cb ? da : db;
    const int ra = promote_rank(a), rb = promote_rank(b);
    if (ra != rb)
        return ra > rb ? da : db;
    return promote_same(da, db);
}

/* Only compositions combine nothing but numbers, as in log b or b - 1 for a number b. */
static bool pointwise_all_numbers(const ag__call *call)
{
    for (int i = 0; i < call->n_in; i++)
        if (!(call->in[i]->flags & AG_T_NUMBER))
            return false;
    return true;
}

/* The result is a number again, with all the digits that its operands have. */
static ag_dtype pointwise_number_dtype(const ag__call *call)
{
    bool integers = call->op->pointwise->keeps_integers, singles = true;
    for (int i = 0; i < call->n_in; i++) {
        integers = integers && call->in[i]->dtype == AG_I64;
        singles = singles && call->in[i]->dtype == AG_F32;
    }
    return integers ? AG_I64 : singles ? AG_F32 : AG_F64;
}

/* The dtype that a row's value is computed and delivered in, before predicates make it bool. */
static ag_dtype pointwise_dtype(const ag__call *call)
{
    const ag__pointwise *row = call->op->pointwise;
    if (pointwise_all_numbers(call))
        return pointwise_number_dtype(call);
    const int first = row->index == AG_OP_where; /* the condition has no say */
    ag_dtype d = promote_default(call->in[first]);
    if (call->n_in - first >= 2)
        d = ag__promote(call->in[first], call->in[first + 1]);
    if (call->n_in - first == 3 && promote_rank(call->in[0]) + promote_rank(call->in[1]) == 0)
        d = promote_default(call->in[2]); /* lerp between numbers */
    return row->keeps_integers || ag__is_float(d) ? d : AG_F32;
}

bool ag__broadcast(ag_context *c, const char *op, ag_ints a, ag_ints b, ag__geometry *out)
{
    out->ndim = a.n > b.n ? a.n : b.n;
    for (int i = 1; i <= out->ndim; i++) {
        const int64_t sa = i <= a.n ? a.data[a.n - i] : 1, sb = i <= b.n ? b.data[b.n - i] : 1;
        ag__shape_text ta, tb;
        if (sa != sb && sa != 1 && sb != 1)
            return ag_fail(
                c, AG_ERR_SHAPE,
                "ag_%s: The size of tensor a (%lld) must match the size of tensor b (%lld) "
                "at non-singleton dimension %d; the shapes are %s and %s",
                op, (long long)sa, (long long)sb, out->ndim - i, ag__shape_string(&ta, a),
                ag__shape_string(&tb, b));
        out->shape[out->ndim - i] = sa == 1 ? sb : sa;
    }
    return true;
}

/* Arithmetic that PyTorch refuses on truth values. */
static bool pointwise_takes_bool(const ag__call *call)
{
    const bool first = call->in[0]->dtype == AG_BOOL;
    const bool second = call->n_in > 1 && call->in[1]->dtype == AG_BOOL;
    const char *message = NULL;
    if (!first && !second)
        return true;
    switch (call->op->pointwise->index) {
    case AG_OP_sub:
        message =
            first && second
                ? "Subtraction, the `-` operator, with two bool tensors is not supported. Use "
                  "ag_ne or ag_logical_not instead."
                : "Subtraction, the `-` operator, with a bool tensor is not supported. If you "
                  "are trying to invert a mask, use ag_logical_not instead.";
        break;
    case AG_OP_neg:
        message = "Negation, the `-` operator, on a bool tensor is not supported. Use "
                  "ag_logical_not instead.";
        break;
    case AG_OP_relu: message = "Boolean inputs not supported for relu"; break;
    case AG_OP_hardtanh: message = "Bool inputs not supported for hardtanh"; break;
    }
    return !message || ag_fail(call->c, AG_ERR_DTYPE, "ag_%s: %s", call->op->name, message);
}

/* lerp does not promote: operands are of one dtype, but for numbers and a 0-dim weight. */
static bool pointwise_lerp_fits(const ag__call *call)
{
    static const char *const names[] = { "start", "end", "weight" };
    const ag_tensor *a = call->in[0];
    for (int i = 1; i < 3; i++) {
        const ag_tensor *t = call->in[i];
        if (t->dtype != a->dtype && !((a->flags | t->flags) & AG_T_NUMBER) && (i == 1 || t->ndim))
            return ag_fail(call->c, AG_ERR_DTYPE,
                           "ag_lerp: expected dtype %s for `%s` but got dtype %s",
                           ag_dtype_name((ag_dtype)a->dtype), names[i],
                           ag_dtype_name((ag_dtype)t->dtype));
    }
    return true;
}

bool ag__pointwise_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *first = call->in[0];
    bool grows = false; /* the result may be too large although the operands are not */
    bool alike = ag__is_float((ag_dtype)first->dtype) && !(first->flags & AG_T_NUMBER);
    ag__geometry_set(out, AG_F32, ag__sizes(first));
    for (int i = 1; i < call->n_in; i++) {
        const ag_tensor *t = call->in[i];
        alike = alike && t->dtype == first->dtype;
        if (t->ndim == 0 || ag__same_shape((ag_ints){ out->shape, out->ndim }, ag__sizes(t)))
            continue;
        const ag__geometry so_far = *out;
        if (!ag__broadcast(call->c, call->op->name, (ag_ints){ so_far.shape, so_far.ndim },
                           ag__sizes(t), out))
            return false;
        grows = true;
    }
    /* Nearly always all operands are floating point tensors of one dtype: that needs no rules. */
    out->dtype = call->op->pointwise->predicate ? AG_BOOL
                 : alike                        ? (ag_dtype)first->dtype
                                                : pointwise_dtype(call);
    if (!alike && (!pointwise_takes_bool(call) ||
                   (call->op->pointwise->index == AG_OP_lerp && !pointwise_lerp_fits(call))))
        return false;
    grows = grows || ag__itemsize(out->dtype) > ag__itemsize((ag_dtype)first->dtype);
    return !grows ||
           ag__check_shape(call->c, call->op->name, (ag_ints){ out->shape, out->ndim }, out->dtype);
}

/* ---- values ---- */

ag_dtype ag__pointwise_compute(const ag__call *call, ag_dtype result)
{
    return pointwise_compute(call->op->pointwise->predicate ? pointwise_dtype(call) : result);
}

/* Rows that keep integers are arithmetic. */
static int64_t pointwise_part(const ag__pointwise *row)
{
    return row->keeps_integers ? AG_WALK_ARITHMETIC : AG_WALK_FUNCTIONS;
}

/* One element needs no walk; false when a conversion is needed all the same. */
static bool pointwise_one(ag__loop *loop, const ag_tensor *out, const ag_tensor *const *in, int n,
                          const ag__attrs *attrs)
{
    char *data[AG_LOOP_MAX_DATA];
    data[0] = ag__at(out);
    for (int i = 0; i < n; i++) {
        if (in[i]->dtype != out->dtype)
            return false;
        data[i + 1] = ag__at(in[i]);
    }
    loop(1, data, attrs->p, attrs->q);
    return true;
}

/* Integer division has no infinity to give. */
static bool pointwise_check_divisor(const ag__call *call)
{
    const int row = call->op->pointwise->index;
    if (row != AG_OP_fmod && row != AG_OP_remainder)
        return true;
    ag_tensor *flat = ag__ready(call->in[1], (ag_dtype)call->in[1]->dtype);
    if (!flat)
        return false;
    bool zero = false;
    for (int64_t i = 0; i < flat->numel && !zero; i++)
        zero = ag__load_int((ag_dtype)flat->dtype, ag__at(flat), i) == 0;
    ag__tensor_unref(flat);
    return !zero || ag_fail(call->c, AG_ERR_VALUE, "ag_%s: ZeroDivisionError: b holds an integer 0",
                            call->op->name);
}

bool ag__pointwise_kernel(const ag__call *call, ag_tensor *const *out)
{
    const ag__pointwise *row = call->op->pointwise;
    const ag__loop_set *set = ag__loop_best();
    const ag__loops *loops = &set->rows[row->index];
    if (pointwise_all_numbers(call))
        out[0]->flags |= AG_T_NUMBER;
    if (out[0]->numel == 0)
        return true;
    if (out[0]->numel == 1 && (out[0]->dtype == AG_F32 || out[0]->dtype == AG_F64) &&
        pointwise_one(loops->value[out[0]->dtype == AG_F64], out[0],
                      (const ag_tensor *const *)call->in, call->n_in, call->attrs))
        return true;
    const ag_dtype compute = ag__pointwise_compute(call, (ag_dtype)out[0]->dtype);
    const int type = pointwise_loop_type(compute);
    if (type == AG_LOOP_I64 && !pointwise_check_divisor(call))
        return false;
    ag__walk w;
    ag__walk_init(&w, loops->value[type], set->lanes[type], compute,
                  row->predicate ? AG_BOOL : compute, out[0], call->attrs, pointwise_part(row));
    for (int i = 0; i < call->n_in; i++)
        ag__walk_add(&w, call->in[i]);
    ag__walk_run(&w, call->c);
    return true;
}

/* ---- gradients ---- */

unsigned ag__pointwise_needs(const ag__op *op, unsigned wanted)
{
    unsigned mask = 0;
    for (int k = 0; k < op->n_in; k++)
        if (wanted & 1u << k)
            mask |= op->pointwise->needs[k];
    return (mask & 7u) | (mask & 8u ? (unsigned)AG_SAVE_OUTPUT : 0);
}

/* The gradient of operand k in one loop over those of g, a, b, c, y that the row needs. */
static ag_tensor *pointwise_fused(const ag__rule *r, int k)
{
    const ag__pointwise *row = r->op->pointwise;
    ag_tensor *g = r->g[0];
    const ag_dtype compute = pointwise_compute((ag_dtype)g->dtype);
    const ag__loop_set *set = ag__loop_best();
    const int type = pointwise_loop_type(compute);
    ag__loop *loop = set->rows[row->index].gradient[k][type];
    ag_tensor *out = ag__give(ag__tensor_new(r->c, compute, g->ndim, g->dims));
    if (!out || out->numel == 0)
        return out;
    const ag_tensor *in[5] = { g, g, g, g, g };
    for (int i = 0; i < 4; i++)
        if (row->needs[k] & 1u << i)
            in[i + 1] = i < 3 ? ag__in(r, i) : ag__out(r, 0);
    if (out->numel == 1 && pointwise_one(loop, out, in, 5, r->attrs))
        return out;
    ag__walk w;
    ag__walk_init(&w, loop, set->lanes[type], compute, compute, out, r->attrs, pointwise_part(row));
    for (int i = 0; i < 5; i++)
        ag__walk_add(&w, i == 0 || row->needs[k] & 1u << (i - 1) ? in[i] : NULL);
    ag__walk_run(&w, r->c);
    return out;
}

/* The gradient is g itself, so there is nothing to compute. */
static bool pointwise_passes(const ag__pointwise *row, int k)
{
    return row->text[1 + k][0] == 'g' && row->text[1 + k][1] == '\0';
}

/* t for a composition beside g, with the dtype that a fused loop would read it in: else an integer
 * or a narrower operand would lose digits on its way. The condition of where is no number. */
static ag_tensor *pointwise_operand(const ag__pointwise *row, ag_tensor *t, const ag_tensor *g)
{
    if (!t || t->dtype == g->dtype || t->flags & AG_T_NUMBER || row->index == AG_OP_where)
        return t;
    return ag_to(t, (ag_dtype)g->dtype);
}

/* A gradient with data may meet saved values without: zeros that another rule made while a graph is
 * traced. */
static bool pointwise_is_symbolic(const ag__rule *r, int k)
{
    bool symbolic = ag__is_symbolic(r->g[0]);
    for (int i = 0; i < 4 && r->c->tracing && !symbolic; i++)
        if (r->op->pointwise->needs[k] & 1u << i) {
            const ag_tensor *t = i < 3 ? ag__in(r, i) : ag__out(r, 0);
            symbolic = t && ag__is_symbolic(t);
        }
    return symbolic;
}

bool ag__pointwise_vjp(ag__rule *r)
{
    const ag__pointwise *row = r->op->pointwise;
    ag_tensor *g = r->g[0];
    const unsigned failures = r->c->failures;
    for (int k = 0; g && k < r->op->n_in; k++) {
        if (!ag__wants(r, k))
            continue;
        if (pointwise_passes(row, k)) {
            r->out[k] = g;
        } else if (r->c->grad_enabled || pointwise_is_symbolic(r, k)) {
            ag_tensor *v[4] = { NULL };
            for (int i = 0; i < 4; i++)
                if (row->needs[k] & 1u << i)
                    v[i] = pointwise_operand(row, i < 3 ? ag__in(r, i) : ag__out(r, 0), g);
            r->out[k] = row->compose[k](r->attrs, g, v[0], v[1], v[2], v[3]);
        } else {
            r->out[k] = pointwise_fused(r, k);
        }
        if (!r->out[k] && ag__failed_since(r->c, failures))
            return false;
    }
    return true;
}

ag_tensor *ag__pointwise_jvp(const ag__op *op, const ag__attrs *attrs, ag_tensor *const *in,
                             ag_tensor *out, ag_tensor *const *tangents)
{
    const ag__pointwise *row = op->pointwise;
    ag_tensor *sum = NULL;
    for (int k = 0; k < op->n_in; k++) {
        if (!tangents[k])
            continue;
        ag_tensor *v[3] = { NULL };
        for (int i = 0; i < op->n_in; i++)
            v[i] = pointwise_operand(row, in[i], tangents[k]);
        ag_tensor *part = row->compose[k](attrs, tangents[k], v[0], v[1], v[2], out);
        sum = sum && part ? (ag_add)(sum, part) : part ? part : sum;
    }
    return sum;
}
