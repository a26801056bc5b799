/* The public functions of the pointwise rows: a line each, longer where there are attributes. */
#include "pointwise.h"

ag_tensor *(ag_neg)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_neg], x, NULL);
}

ag_tensor *(ag_abs)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_abs], x, NULL);
}

ag_tensor *(ag_sign)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_sign], x, NULL);
}

ag_tensor *(ag_sqrt)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_sqrt], x, NULL);
}

ag_tensor *(ag_rsqrt)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_rsqrt], x, NULL);
}

ag_tensor *(ag_reciprocal)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_reciprocal], x, NULL);
}

ag_tensor *(ag_square)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_square], x, NULL);
}

ag_tensor *(ag_exp)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_exp], x, NULL);
}

ag_tensor *(ag_exp2)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_exp2], x, NULL);
}

ag_tensor *(ag_expm1)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_expm1], x, NULL);
}

ag_tensor *(ag_log)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_log], x, NULL);
}

ag_tensor *(ag_log2)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_log2], x, NULL);
}

ag_tensor *(ag_log10)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_log10], x, NULL);
}

ag_tensor *(ag_log1p)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_log1p], x, NULL);
}

ag_tensor *(ag_sin)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_sin], x, NULL);
}

ag_tensor *(ag_cos)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_cos], x, NULL);
}

ag_tensor *(ag_tan)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_tan], x, NULL);
}

ag_tensor *(ag_asin)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_asin], x, NULL);
}

ag_tensor *(ag_acos)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_acos], x, NULL);
}

ag_tensor *(ag_atan)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_atan], x, NULL);
}

ag_tensor *(ag_sinh)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_sinh], x, NULL);
}

ag_tensor *(ag_cosh)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_cosh], x, NULL);
}

ag_tensor *(ag_tanh)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_tanh], x, NULL);
}

ag_tensor *(ag_asinh)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_asinh], x, NULL);
}

ag_tensor *(ag_acosh)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_acosh], x, NULL);
}

ag_tensor *(ag_atanh)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_atanh], x, NULL);
}

ag_tensor *(ag_erf)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_erf], x, NULL);
}

ag_tensor *(ag_erfc)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_erfc], x, NULL);
}

ag_tensor *(ag_erfinv)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_erfinv], x, NULL);
}

ag_tensor *(ag_lgamma)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_lgamma], x, NULL);
}

ag_tensor *(ag_digamma)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_digamma], x, NULL);
}

ag_tensor *(ag_sigmoid)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_sigmoid], x, NULL);
}

ag_tensor *(ag_logit)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_logit], x, NULL);
}

ag_tensor *(ag_softplus)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_softplus], x, NULL);
}

ag_tensor *(ag_relu)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_relu], x, NULL);
}

ag_tensor *(ag_selu)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_selu], x, NULL);
}

ag_tensor *(ag_silu)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_silu], x, NULL);
}

ag_tensor *(ag_mish)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_mish], x, NULL);
}

ag_tensor *(ag_hardsigmoid)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_hardsigmoid], x, NULL);
}

ag_tensor *(ag_hardswish)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_hardswish], x, NULL);
}

ag_tensor *(ag_floor)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_floor], x, NULL);
}

ag_tensor *(ag_ceil)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_ceil], x, NULL);
}

ag_tensor *(ag_round)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_round], x, NULL);
}

ag_tensor *(ag_trunc)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_trunc], x, NULL);
}

ag_tensor *(ag_sinc)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_sinc], x, NULL);
}

ag_tensor *(ag_nan_to_num)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_nan_to_num], x, NULL);
}

ag_tensor *(ag_isnan)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_isnan], x, NULL);
}

ag_tensor *(ag_isinf)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_isinf], x, NULL);
}

ag_tensor *(ag_isfinite)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_isfinite], x, NULL);
}

ag_tensor *(ag_logical_not)(ag_tensor *x)
{
    return ag__unary(ag__ops[AG_OP_logical_not], x, NULL);
}

ag_tensor *(ag_add)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_add], a, b, NULL);
}

ag_tensor *(ag_sub)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_sub], a, b, NULL);
}

ag_tensor *(ag_mul)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_mul], a, b, NULL);
}

ag_tensor *(ag_div)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_div], a, b, NULL);
}

ag_tensor *(ag_atan2)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_atan2], a, b, NULL);
}

ag_tensor *(ag_hypot)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_hypot], a, b, NULL);
}

ag_tensor *(ag_maximum)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_maximum], a, b, NULL);
}

ag_tensor *(ag_minimum)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_minimum], a, b, NULL);
}

ag_tensor *(ag_logaddexp)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_logaddexp], a, b, NULL);
}

ag_tensor *(ag_xlogy)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_xlogy], a, b, NULL);
}

ag_tensor *(ag_copysign)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_copysign], a, b, NULL);
}

ag_tensor *(ag_eq)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_eq], a, b, NULL);
}

ag_tensor *(ag_ne)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_ne], a, b, NULL);
}

ag_tensor *(ag_lt)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_lt], a, b, NULL);
}

ag_tensor *(ag_le)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_le], a, b, NULL);
}

ag_tensor *(ag_gt)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_gt], a, b, NULL);
}

ag_tensor *(ag_ge)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_ge], a, b, NULL);
}

ag_tensor *(ag_logical_and)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_logical_and], a, b, NULL);
}

ag_tensor *(ag_logical_or)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_logical_or], a, b, NULL);
}

static ag_tensor *api_with(int op, ag_tensor *x, double p, double q)
{
    const ag__attrs attrs = { .p = p, .q = q };
    return ag__unary(ag__ops[op], x, &attrs);
}

ag_tensor *ag_leaky_relu(ag_tensor *x, double slope) { return api_with(AG_OP_leaky_relu, x, slope, 0); }
ag_tensor *ag_elu(ag_tensor *x, double alpha) { return api_with(AG_OP_elu, x, alpha, 0); }
ag_tensor *ag_celu(ag_tensor *x, double alpha)
{
    if (x && alpha == 0)
        return ag__fail(x->c, AG_ERR_VALUE, "ag_celu: alpha cannot be 0 for CELU");
    return api_with(AG_OP_celu, x, alpha, 0);
}
ag_tensor *ag_gelu(ag_tensor *x, bool tanh_approximation)
{
    return api_with(tanh_approximation ? AG_OP_gelu_tanh : AG_OP_gelu, x, 0, 0);
}
ag_tensor *ag_hardtanh(ag_tensor *x, double lo, double hi)
{
    return api_with(AG_OP_hardtanh, x, lo, hi);
}
ag_tensor *ag_clamp(ag_tensor *x, double lo, double hi) { return api_with(AG_OP_clamp, x, lo, hi); }
ag_tensor *ag__sinc1(ag_tensor *x) { return api_with(AG_OP_sinc1, x, 0, 0); }
ag_tensor *ag__sinc2(ag_tensor *x) { return api_with(AG_OP_sinc2, x, 0, 0); }

ag_tensor *ag_polygamma(int n, ag_tensor *x)
{
    if (x && n < 0)
        return ag__fail(x->c, AG_ERR_VALUE, "ag_polygamma: polygamma(n, x) does not support negative n");
    return api_with(AG_OP_polygamma, x, n, 0);
}

ag_tensor *ag__polygamma_of(ag_tensor *n, ag_tensor *x)
{
    return n && x ? ag_polygamma((int)ag__load((ag_dtype)n->dtype, ag__at(n), 0), x) : NULL;
}

/* Integer division has no infinity to give. */
static bool api_divisor_ok(const char *op, const ag_tensor *a, const ag_tensor *b)
{
    if (!a || !b || ag__is_float(ag__promote(a, b)))
        return true;
    ag_tensor *flat = ag__contiguous_copy(b, (ag_dtype)b->dtype);
    if (!flat)
        return false;
    bool zero = false;
    for (int64_t i = 0; i < flat->numel && !zero; i++)
        zero = ag__load_int((ag_dtype)flat->dtype, flat->storage->data, i) == 0;
    ag__tensor_unref(flat);
    return !zero || ag_fail(b->c, AG_ERR_VALUE, "%s: ZeroDivisionError: b holds an integer 0", op);
}

ag_tensor *(ag_fmod)(ag_tensor *a, ag_tensor *b)
{
    return api_divisor_ok("ag_fmod", a, b) ? ag__binary(ag__ops[AG_OP_fmod], a, b, NULL) : NULL;
}

ag_tensor *(ag_remainder)(ag_tensor *a, ag_tensor *b)
{
    return api_divisor_ok("ag_remainder", a, b) ? ag__binary(ag__ops[AG_OP_remainder], a, b, NULL)
                                                : NULL;
}

ag_tensor *(ag_pow)(ag_tensor *a, ag_tensor *b)
{
    if (a && b && !ag__is_float(ag__promote(a, b)) && b->flags & AG_T_NUMBER &&
        ag__load((ag_dtype)b->dtype, ag__at(b), 0) < 0)
        return ag__fail(a->c, AG_ERR_VALUE,
                        "ag_pow: Integers to negative integer powers are not allowed.");
    return ag__binary(ag__ops[AG_OP_pow], a, b, NULL);
}

ag_tensor *(ag_where)(ag_tensor *cond, ag_tensor *a, ag_tensor *b)
{
    return ag__run1(ag__ops[AG_OP_where], (ag_tensor *[]){ cond, a, b }, 3, NULL);
}

ag_tensor *(ag_lerp)(ag_tensor *a, ag_tensor *b, ag_tensor *w)
{
    return ag__run1(ag__ops[AG_OP_lerp], (ag_tensor *[]){ a, b, w }, 3, NULL);
}

/* ---- numbers as operands ---- */

/* The operand as a tensor with one reference of ours; a number becomes a 0-dim tensor beside t. */
static ag_tensor *api_operand(ag_operand o, const ag_tensor *t)
{
    if (o.kind == AG_OPERAND_TENSOR)
        return o.tensor ? ag__tensor_ref(o.tensor) : NULL;
    if (!t)
        return NULL;
    const bool same = t->dtype == AG_F32 || t->dtype == AG_F64; /* saves a conversion */
    return ag__tensor_number(t->c, o.number, same ? (ag_dtype)t->dtype
                                             : o.kind == AG_OPERAND_INTEGER ? AG_I64 : AG_F64);
}

ag_tensor *ag_call_binary(ag_binary_fn f, ag_operand a, ag_operand b)
{
    if (a.kind == AG_OPERAND_TENSOR && b.kind == AG_OPERAND_TENSOR)
        return f(a.tensor, b.tensor);
    const ag_tensor *t = a.tensor ? a.tensor : b.tensor;
    ag_tensor *ta = api_operand(a, t), *tb = api_operand(b, t);
    ag_tensor *y = ta && tb ? f(ta, tb) : NULL;
    ag__tensor_unref(ta);
    ag__tensor_unref(tb);
    return y;
}

ag_tensor *ag_call_ternary(ag_ternary_fn f, ag_operand a, ag_operand b, ag_operand w)
{
    if (a.kind == AG_OPERAND_TENSOR && b.kind == AG_OPERAND_TENSOR && w.kind == AG_OPERAND_TENSOR)
        return f(a.tensor, b.tensor, w.tensor);
    const ag_tensor *t = a.tensor ? a.tensor : b.tensor ? b.tensor : w.tensor;
    ag_tensor *ta = api_operand(a, t), *tb = api_operand(b, t), *tw = api_operand(w, t);
    ag_tensor *y = ta && tb && tw ? f(ta, tb, tw) : NULL;
    ag__tensor_unref(ta);
    ag__tensor_unref(tb);
    ag__tensor_unref(tw);
    return y;
}
