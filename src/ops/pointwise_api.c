/*
 * The public functions of the pointwise rows. Those that are nothing but their row are read from the
 * table, the others follow; at the end, numbers become operands.
 */
#include "pointwise.h"

#include <math.h>

#include "inplace.h"

static ag_tensor *api_inplace2(int op, const char *name, ag_tensor *a, ag_tensor *b)
{
    return ag__inplace(ag__ops[op], name, (ag_tensor *[]){ a, b }, 2, NULL);
}

#define UNARY(name, ...)                                                                           \
    PREDICATE1(name, )                                                                             \
    ag_tensor *ag_##name##_(ag_tensor *x)                                                          \
    {                                                                                              \
        return ag__inplace(ag__ops[AG_OP_##name], "ag_" #name "_", &x, 1, NULL);                   \
    }
#define BINARY(name, ...)                                                                          \
    PREDICATE2(name, )                                                                             \
    ag_tensor *(ag_##name##_)(ag_tensor * a, ag_tensor * b)                                        \
    {                                                                                              \
        return api_inplace2(AG_OP_##name, "ag_" #name "_", a, b);                                  \
    }
#define TERNARY(name, ...)                                                                         \
    ag_tensor *(ag_##name)(ag_tensor * a, ag_tensor * b, ag_tensor * w)                            \
    {                                                                                              \
        return ag__run1(ag__ops[AG_OP_##name], (ag_tensor *[]){ a, b, w }, 3, NULL);               \
    }                                                                                              \
    ag_tensor *(ag_##name##_)(ag_tensor * a, ag_tensor * b, ag_tensor * w)                         \
    {                                                                                              \
        ag_tensor *in[] = { a, b, w };                                                             \
        return ag__inplace(ag__ops[AG_OP_##name], "ag_" #name "_", in, 3, NULL);                   \
    }
#define UNARY_OWN(...)
#define BINARY_OWN(...)
#define TERNARY_OWN(...)
#define PREDICATE1(name, value)                                                                    \
    ag_tensor *(ag_##name)(ag_tensor * x) { return ag__unary(ag__ops[AG_OP_##name], x, NULL); }
#define PREDICATE2(name, value)                                                                    \
    ag_tensor *(ag_##name)(ag_tensor * a, ag_tensor * b)                                           \
    {                                                                                              \
        return ag__binary(ag__ops[AG_OP_##name], a, b, NULL);                                      \
    }
#define STRUCTURED(name)
#include "ops.def"

/* PyTorch's square is a power with the number 2, beside which bool is an integer. */
ag_tensor *(ag_square)(ag_tensor *x)
{
    return x && x->dtype == AG_BOOL ? ag_pow(x, 2) : ag__unary(ag__ops[AG_OP_square], x, NULL);
}

static ag_tensor *api_with(int op, ag_tensor *x, double p, double q)
{
    const ag__attrs attrs = { .p = p, .q = q };
    return ag__unary(ag__ops[op], x, &attrs);
}

ag_tensor *ag_leaky_relu(ag_tensor *x, double slope)
{
    return api_with(AG_OP_leaky_relu, x, slope, 0);
}
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
/* Integers keep their dtype where the bounds are whole numbers or none, as beside any number. */
ag_tensor *ag_clamp(ag_tensor *x, double lo, double hi)
{
    const bool whole = (lo == trunc(lo) || isnan(lo)) && (hi == trunc(hi) || isnan(hi));
    if (x && !ag__is_float((ag_dtype)x->dtype) && !whole)
        x = ag_to(x, AG_F32);
    else if (x && x->dtype == AG_BOOL)
        x = ag_to(x, AG_I64);
    return api_with(AG_OP_clamp, x, lo, hi);
}
ag_tensor *ag__sinc1(ag_tensor *x) { return api_with(AG_OP_sinc1, x, 0, 0); }
ag_tensor *ag__sinc2(ag_tensor *x) { return api_with(AG_OP_sinc2, x, 0, 0); }

ag_tensor *ag_polygamma(int n, ag_tensor *x)
{
    if (x && n < 0)
        return ag__fail(x->c, AG_ERR_VALUE,
                        "ag_polygamma: polygamma(n, x) does not support negative n");
    return api_with(AG_OP_polygamma, x, n, 0);
}

ag_tensor *ag__polygamma_of(ag_tensor *n, ag_tensor *x)
{
    return n && x ? ag_polygamma((int)ag__load((ag_dtype)n->dtype, ag__at(n), 0), x) : NULL;
}

ag_tensor *(ag_fmod)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_fmod], a, b, NULL);
}

ag_tensor *(ag_remainder)(ag_tensor *a, ag_tensor *b)
{
    return ag__binary(ag__ops[AG_OP_remainder], a, b, NULL);
}

ag_tensor *(ag_pow)(ag_tensor *a, ag_tensor *b)
{
    if (a && b && !ag__is_float(ag__promote(a, b)) && b->flags & AG_T_NUMBER &&
        !ag__is_symbolic(b) && ag__load((ag_dtype)b->dtype, ag__at(b), 0) < 0)
        return ag__fail(a->c, AG_ERR_VALUE,
                        "ag_pow: Integers to negative integer powers are not allowed.");
    return ag__binary(ag__ops[AG_OP_pow], a, b, NULL);
}

ag_tensor *(ag_where)(ag_tensor *cond, ag_tensor *a, ag_tensor *b)
{
    if (cond && cond->dtype != AG_BOOL && cond->dtype != AG_U8 && !(cond->flags & AG_T_NUMBER))
        return ag__fail(
            cond->c, AG_ERR_DTYPE,
            "ag_where: where expected condition to be a boolean tensor, but got a tensor "
            "with dtype %s",
            ag_dtype_name((ag_dtype)cond->dtype));
    return ag__run1(ag__ops[AG_OP_where], (ag_tensor *[]){ cond, a, b }, 3, NULL);
}

/* ---- in place, of those that are more than a row ---- */

static ag_tensor *api_over(const char *name, ag_tensor *a, ag_tensor *b, ag_binary_fn f)
{
    ag_scope s;
    return ag__inplace_open(&s, name, (ag_tensor *[]){ a, b }, 2)
               ? ag__inplace_close(&s, name, a, f(a, b))
               : NULL;
}

ag_tensor *(ag_pow_)(ag_tensor *a, ag_tensor *b) { return api_over("ag_pow_", a, b, ag_pow); }
ag_tensor *(ag_fmod_)(ag_tensor *a, ag_tensor *b) { return api_over("ag_fmod_", a, b, ag_fmod); }
ag_tensor *(ag_remainder_)(ag_tensor *a, ag_tensor *b)
{
    return api_over("ag_remainder_", a, b, ag_remainder);
}

static ag_tensor *api_over_with(int op, const char *name, ag_tensor *x, double p, double q)
{
    return ag__inplace(ag__ops[op], name, &x, 1, &(ag__attrs){ .p = p, .q = q });
}

ag_tensor *ag_leaky_relu_(ag_tensor *x, double slope)
{
    return api_over_with(AG_OP_leaky_relu, "ag_leaky_relu_", x, slope, 0);
}
ag_tensor *ag_elu_(ag_tensor *x, double alpha)
{
    return api_over_with(AG_OP_elu, "ag_elu_", x, alpha, 0);
}
ag_tensor *ag_hardtanh_(ag_tensor *x, double lo, double hi)
{
    return api_over_with(AG_OP_hardtanh, "ag_hardtanh_", x, lo, hi);
}

ag_tensor *ag_square_(ag_tensor *x)
{
    ag_scope s;
    return ag__inplace_open(&s, "ag_square_", &x, 1)
               ? ag__inplace_close(&s, "ag_square_", x, (ag_square)(x))
               : NULL;
}
ag_tensor *ag_celu_(ag_tensor *x, double alpha)
{
    ag_scope s;
    return ag__inplace_open(&s, "ag_celu_", &x, 1)
               ? ag__inplace_close(&s, "ag_celu_", x, ag_celu(x, alpha))
               : NULL;
}
ag_tensor *ag_clamp_(ag_tensor *x, double lo, double hi)
{
    ag_scope s;
    return ag__inplace_open(&s, "ag_clamp_", &x, 1)
               ? ag__inplace_close(&s, "ag_clamp_", x, ag_clamp(x, lo, hi))
               : NULL;
}

/* ---- numbers as operands ---- */

/* The operand as a tensor with one reference of ours; a number becomes a 0-dim tensor beside t. */
static ag_tensor *api_operand(ag_operand o, const ag_tensor *t)
{
    if (o.kind == AG_OPERAND_TENSOR)
        return o.tensor ? ag__tensor_ref(o.tensor) : NULL;
    if (!t)
        return NULL;
    return ag__number_beside(t, o.number, o.kind == AG_OPERAND_INTEGER ? AG_I64 : AG_F64);
}

/* False for a number that has no tensor yet: there was no memory, or no tensor beside it. A NULL tensor
 * goes on, and the operation says which it was. */
static bool api_have(ag_operand o, const ag_tensor *t) { return t || o.kind == AG_OPERAND_TENSOR; }

ag_tensor *ag_call_binary(ag_binary_fn f, ag_operand a, ag_operand b)
{
    if (a.kind == AG_OPERAND_TENSOR && b.kind == AG_OPERAND_TENSOR)
        return f(a.tensor, b.tensor);
    const ag_tensor *t = a.tensor ? a.tensor : b.tensor;
    ag_tensor *ta = api_operand(a, t), *tb = api_operand(b, t);
    ag_tensor *y = api_have(a, ta) && api_have(b, tb) ? f(ta, tb) : NULL;
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
    const bool have = api_have(a, ta) && api_have(b, tb) && api_have(w, tw);
    ag_tensor *y = have ? f(ta, tb, tw) : NULL;
    ag__tensor_unref(ta);
    ag__tensor_unref(tb);
    ag__tensor_unref(tw);
    return y;
}

/* ---- checked mode ---- */

ag_context *ag__here_context(ag_context *c, const char *file, int line)
{
    if (c) {
        c->site_file = file;
        c->site_line = line;
    }
    return c;
}

ag_tensor *ag__here(ag_tensor *t, const char *file, int line)
{
    ag__here_context(t ? t->c : NULL, file, line);
    return t;
}

ag_tensor *const *ag__here_list(ag_tensor *const *list, const char *file, int line)
{
    ag__here(list ? list[0] : NULL, file, line);
    return list;
}

ag_tensor *ag__call_binary_at(ag_binary_fn f, ag_operand a, ag_operand b, const char *file,
                              int line)
{
    ag__here(a.tensor ? a.tensor : b.tensor, file, line);
    return ag_call_binary(f, a, b);
}

ag_tensor *ag__call_ternary_at(ag_ternary_fn f, ag_operand a, ag_operand b, ag_operand w,
                               const char *file, int line)
{
    ag__here(a.tensor ? a.tensor : b.tensor ? b.tensor : w.tensor, file, line);
    return ag_call_ternary(f, a, b, w);
}
