/* The creators: each checks its arguments, makes an empty tensor and fills it. */
#include "tensor.h"

#include <math.h>
#include <string.h>

#include "foreign.h"

static const ag_tensor_options create_defaults = { .size = sizeof(ag_tensor_options) };

/* An uninitialised tensor of the innermost scope; the checks that all creators share. */
static ag_tensor *create(ag_context *c, const char *op, ag_ints shape, ag_dtype dtype,
                         const ag_tensor_options *o)
{
    if (!c)
        return NULL;
    if (!ag__check_shape(c, op, shape, dtype))
        return NULL;
    if (o->device != AG_CPU)
        return ag__fail(c, AG_ERR_UNSUPPORTED, "%s: device %d is not available; there is: cpu (0)",
                        op, (int)o->device);
    if (o->pin_memory)
        return ag__fail(c, AG_ERR_UNSUPPORTED,
                        "%s: Cannot access accelerator device when none is available; pin_memory "
                        "needs one",
                        op);
    if (o->requires_grad && !ag__is_float(dtype))
        return ag__fail(c, AG_ERR_DTYPE,
                        "%s: Only Tensors of floating point and complex dtype can require "
                        "gradients, not %s",
                        op, ag_dtype_name(dtype));
    ag_tensor *t = ag__tensor_new(c, dtype, shape.n, shape.data);
    if (t && o->requires_grad)
        t->flags |= AG_T_REQUIRES_GRAD;
    return ag__give(t);
}

static ag_tensor *create_filled(ag_context *c, const char *op, ag_ints shape, double value,
                                const ag_tensor_options *o)
{
    o = o ? o : &create_defaults;
    ag_tensor *t = create(c, op, shape, o->dtype, o);
    if (!t)
        return NULL;
    if (value == 0) {
        memset(t->storage->data, 0, t->storage->bytes);
        return t;
    }
    for (int64_t i = 0; i < t->numel; i++)
        ag__store(o->dtype, t->storage->data, i, value);
    return t;
}

ag_tensor *(ag_empty)(ag_context *c, ag_ints shape, const ag_tensor_options *o)
{
    o = o ? o : &create_defaults;
    return create(c, "ag_empty", shape, o->dtype, o);
}

ag_tensor *(ag_zeros)(ag_context *c, ag_ints shape, const ag_tensor_options *o)
{
    return create_filled(c, "ag_zeros", shape, 0, o);
}

ag_tensor *(ag_ones)(ag_context *c, ag_ints shape, const ag_tensor_options *o)
{
    return create_filled(c, "ag_ones", shape, 1, o);
}

ag_tensor *(ag_full)(ag_context *c, ag_ints shape, double value, const ag_tensor_options *o)
{
    return create_filled(c, "ag_full", shape, value, o);
}

ag_tensor *(ag_scalar)(ag_context *c, double value, const ag_tensor_options *o)
{
    return create_filled(c, "ag_scalar", (ag_ints){ NULL, 0 }, value, o);
}

ag_tensor *(ag_array)(ag_context *c, ag_values values, ag_ints shape, const ag_tensor_options *o)
{
    o = o ? o : &create_defaults;
    if (!c || !ag__check_shape(c, "ag_array", shape, o->dtype))
        return NULL;
    ag__shape_text text;
    if (values.n != ag__shape_numel(shape))
        return ag__fail(c, AG_ERR_SHAPE, "ag_array: %d values for shape %s", values.n,
                        ag__shape_string(&text, shape));
    if (values.n > 0 && !values.data)
        return ag__fail(c, AG_ERR_VALUE, "ag_array: values is NULL");
    ag_tensor *t = create(c, "ag_array", shape, o->dtype, o);
    for (int64_t i = 0; t && i < t->numel; i++)
        ag__store(o->dtype, t->storage->data, i, values.data[i]);
    return t;
}

ag_tensor *(ag_from_data)(ag_context *c, const void *data, ag_dtype dtype, ag_ints shape,
                          const ag_tensor_options *o)
{
    o = o ? o : &create_defaults;
    ag_tensor *t = NULL;
    if (!c || !ag__check_shape(c, "ag_from_data", shape, dtype))
        return NULL;
    if (!data && ag__shape_numel(shape) > 0)
        return ag__fail(c, AG_ERR_VALUE, "ag_from_data: data is NULL");
    t = create(c, "ag_from_data", shape, dtype, o);
    if (t && t->numel)
        memcpy(t->storage->data, data, t->storage->bytes);
    return t;
}

ag_tensor *ag_from_memory(ag_context *c, void *data, ag_dtype dtype, ag_ints shape,
                          void (*free_fn)(void *data, void *user), void *user)
{
    if (!c || !ag__check_shape(c, "ag_from_memory", shape, dtype))
        return NULL;
    const int64_t numel = ag__shape_numel(shape);
    if (!data && numel > 0)
        return ag__fail(c, AG_ERR_VALUE, "ag_from_memory: data is NULL");
    if ((uintptr_t)data % ag__itemsize(dtype))
        return ag__fail(c, AG_ERR_VALUE,
                        "ag_from_memory: data is not aligned to the %zu bytes of %s",
                        ag__itemsize(dtype), ag_dtype_name(dtype));
    ag__foreign *f = ag__foreign_new(c, data);
    ag_tensor *t = f ? ag__tensor_foreign(c, dtype, shape.n, shape.data, f) : NULL;
    if (t) { /* only now, for a call that fails takes nothing over */
        f->free_fn = free_fn;
        f->user = user;
    } else if (f) {
        ag__foreign_unref(f);
    }
    return ag__give(t);
}

ag_tensor *(ag_arange)(ag_context *c, double start, double stop, double step,
                       const ag_tensor_options *o)
{
    o = o ? o : &create_defaults;
    if (!c)
        return NULL;
    if (!isfinite(start) || !isfinite(stop))
        return ag__fail(c, AG_ERR_VALUE, "ag_arange: unsupported range: %g -> %g", start, stop);
    if (!isfinite(step) || step == 0)
        return ag__fail(c, AG_ERR_VALUE,
                        "ag_arange: step must be nonzero and finite; it is step %g", step);
    if (step > 0 ? start > stop : start < stop)
        return ag__fail(
            c, AG_ERR_VALUE,
            "ag_arange: upper bound and lower bound inconsistent with step sign: %g to %g "
            "by %g",
            start, stop, step);
    const double count = ceil((stop - start) / step);
    if (!(count <= 0x1p62))
        return ag__fail(c, AG_ERR_VALUE, "ag_arange: %g to %g by %g gives too many elements", start,
                        stop, step);
    ag_tensor *t =
        create(c, "ag_arange", (ag_ints){ &(int64_t){ (int64_t)count }, 1 }, o->dtype, o);
    for (int64_t i = 0; t && i < t->numel; i++)
        ag__store(o->dtype, t->storage->data, i, start + (double)i * step);
    return t;
}

/* Both halves count from their own end, so that the last element is exactly b. */
ag_tensor *(ag_linspace)(ag_context *c, double a, double b, int64_t n, const ag_tensor_options *o)
{
    o = o ? o : &create_defaults;
    if (n < 0)
        return ag__fail(c, AG_ERR_SHAPE,
                        "ag_linspace: number of steps must be non-negative, got %lld",
                        (long long)n);
    ag_tensor *t = create(c, "ag_linspace", (ag_ints){ &n, 1 }, o->dtype, o);
    const double step = n > 1 ? (b - a) / (double)(n - 1) : 0;
    for (int64_t i = 0; t && i < n; i++)
        ag__store(o->dtype, t->storage->data, i,
                  i < (n + 1) / 2 ? a + step * (double)i : b - step * (double)(n - 1 - i));
    return t;
}

ag_tensor *(ag_eye)(ag_context *c, int64_t n, const ag_tensor_options *o)
{
    if (n < 0)
        return ag__fail(c, AG_ERR_SHAPE, "ag_eye: n must be greater or equal to 0, got %lld",
                        (long long)n);
    ag_tensor *t = create_filled(c, "ag_eye", (ag_ints){ (const int64_t[]){ n, n }, 2 }, 0, o);
    for (int64_t i = 0; t && i < n; i++)
        ag__store((ag_dtype)t->dtype, t->storage->data, i * n + i, 1);
    return t;
}

/* 24 bits, so that rounding to f32 never gives 1. */
static double create_uniform(ag_context *c)
{
    return (double)(ag__random_u32(&c->random) >> 8) * 0x1p-24;
}

void ag__draw(ag_tensor *t, bool normal)
{
    double (*draw)(ag_context *) = normal               ? ag__normal
                                   : t->dtype == AG_F64 ? ag__uniform
                                                        : create_uniform;
    for (int64_t i = 0; i < t->numel; i++)
        ag__store((ag_dtype)t->dtype, t->storage->data, i, draw(t->c));
}

static ag_tensor *create_random(ag_context *c, const char *op, ag_ints shape,
                                const ag_tensor_options *o, bool normal)
{
    o = o ? o : &create_defaults;
    if (c && ag__dtype_ok(o->dtype) && !ag__is_float(o->dtype))
        return ag__fail(c, AG_ERR_DTYPE, "%s: not implemented for %s; use a floating point dtype",
                        op, ag_dtype_name(o->dtype));
    ag_tensor *t = create(c, op, shape, o->dtype, o);
    if (t)
        ag__draw(t, normal);
    return t;
}

ag_tensor *(ag_rand)(ag_context *c, ag_ints shape, const ag_tensor_options *o)
{
    return create_random(c, "ag_rand", shape, o, false);
}

ag_tensor *(ag_randn)(ag_context *c, ag_ints shape, const ag_tensor_options *o)
{
    return create_random(c, "ag_randn", shape, o, true);
}

ag_tensor *(ag_randint)(ag_context *c, int64_t low, int64_t high, ag_ints shape,
                        const ag_tensor_options *o)
{
    o = o ? o : &create_defaults;
    if (!c)
        return NULL;
    if (low >= high)
        return ag__fail(
            c, AG_ERR_VALUE,
            "ag_randint: random_ expects 'from' to be less than 'to', but got from=%lld >= "
            "to=%lld",
            (long long)low, (long long)high);
    const ag_dtype dtype = o->dtype == AG_F32 ? AG_I64 : o->dtype;
    ag_tensor *t = create(c, "ag_randint", shape, dtype, o);
    for (int64_t i = 0; t && i < t->numel; i++) {
        const int64_t v =
            (int64_t)((uint64_t)low + (uint64_t)ag__below(c, (uint64_t)high - (uint64_t)low));
        ag__convert(dtype, (char *)t->storage->data + (size_t)i * ag__itemsize(dtype), 1, AG_I64,
                    &v, 1, 1);
    }
    return t;
}

/* Fisher and Yates. */
ag_tensor *(ag_randperm)(ag_context *c, int64_t n, const ag_tensor_options *o)
{
    o = o ? o : &create_defaults;
    const ag_dtype dtype = o->dtype == AG_F32 ? AG_I64 : o->dtype;
    ag_tensor *t = create(c, "ag_randperm", (ag_ints){ &n, 1 }, dtype, o);
    if (!t)
        return NULL;
    for (int64_t i = 0; i < n; i++)
        ag__store(dtype, t->storage->data, i, (double)i);
    for (int64_t i = n - 1; i > 0; i--) {
        const int64_t k = ag__below(c, (uint64_t)i + 1);
        const double a = ag__load(dtype, t->storage->data, i),
                     b = ag__load(dtype, t->storage->data, k);
        ag__store(dtype, t->storage->data, i, b);
        ag__store(dtype, t->storage->data, k, a);
    }
    return t;
}
