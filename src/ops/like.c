/*
 * Tensors that take dtype and shape from another and nothing else. They are rows, so that a graph draws
 * new numbers in each run, for the shape that it has then.
 */
#include "op.h"

static bool like_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *x = call->in[0];
    ag__geometry_set(out, (ag_dtype)x->dtype, ag__sizes(x));
    return true;
}

static bool full_like_kernel(const ag__call *call, ag_tensor *const *out)
{
    const double value = call->attrs->p;
    ag__convert((ag_dtype)out[0]->dtype, ag__at(out[0]), 1, AG_F64, &value, 0, out[0]->numel);
    return true;
}

static bool draw_like_infer(const ag__call *call, ag__geometry *out)
{
    const ag_dtype dtype = (ag_dtype)call->in[0]->dtype;
    if (!ag__is_float(dtype))
        return ag_fail(call->c, AG_ERR_DTYPE,
                       "ag_%s: not implemented for %s; use a floating point dtype", call->op->name,
                       ag_dtype_name(dtype));
    return like_infer(call, out);
}

static bool rand_like_kernel(const ag__call *call, ag_tensor *const *out)
{
    (void)call;
    ag__draw(out[0], false);
    return true;
}

static bool randn_like_kernel(const ag__call *call, ag_tensor *const *out)
{
    (void)call;
    ag__draw(out[0], true);
    return true;
}

#define LIKE_ROW(row, infer_, draws_)                                                              \
    const ag__op ag__op_##row = { .name = #row,                                                    \
                                  .kind = AG_KIND_NODIFF,                                          \
                                  .n_in = 1,                                                       \
                                  .n_out = 1,                                                      \
                                  .takes_attrs = true,                                             \
                                  .draws = draws_,                                                 \
                                  .infer = infer_,                                                 \
                                  .kernel = row##_kernel };
LIKE_ROW(full_like, like_infer, false)
LIKE_ROW(rand_like, draw_like_infer, true)
LIKE_ROW(randn_like, draw_like_infer, true)
#undef LIKE_ROW

ag_tensor *ag_zeros_like(ag_tensor *t) { return ag__unary(&ag__op_full_like, t, NULL); }
ag_tensor *ag_ones_like(ag_tensor *t)
{
    return ag__unary(&ag__op_full_like, t, &(ag__attrs){ .p = 1 });
}
ag_tensor *ag_rand_like(ag_tensor *t) { return ag__unary(&ag__op_rand_like, t, NULL); }
ag_tensor *ag_randn_like(ag_tensor *t) { return ag__unary(&ag__op_randn_like, t, NULL); }
