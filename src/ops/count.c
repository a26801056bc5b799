/* Reductions to counts and truth values: how many elements are not 0, whether any or all are not. */
#include "reduce.h"

static bool count_nonzero_infer(const ag__call *call, ag__geometry *out)
{
    return ag__reduce_shape(call, out, AG_I64);
}
static bool count_nonzero_kernel(const ag__call *call, ag_tensor *const *out)
{
    return ag__reduce_run(call, out[0], AG_REDUCE_NONZERO,
                          ag__reduce_dtype((ag_dtype)call->in[0]->dtype));
}

/* u8 gives u8, as in PyTorch. */
static bool count_truth_infer(const ag__call *call, ag__geometry *out)
{
    return ag__reduce_shape(call, out, call->in[0]->dtype == AG_U8 ? AG_U8 : AG_BOOL);
}
/* Each of the bytes is whether its count is at least `least`. */
static bool count_truth(const ag__call *call, ag_tensor *out, int64_t least)
{
    ag_tensor *counts = ag__tensor_new(call->c, AG_I64, out->ndim, out->dims);
    const bool ok = counts && count_nonzero_kernel(call, &counts);
    if (ok) {
        const int64_t *count = (const int64_t *)(const void *)ag__at(counts);
        uint8_t *y = (uint8_t *)ag__at(out);
        for (int64_t i = 0; i < out->numel; i++)
            y[i] = count[i] >= least;
    }
    ag__tensor_unref(counts);
    return ok;
}
static bool any_kernel(const ag__call *call, ag_tensor *const *out)
{
    return count_truth(call, out[0], 1);
}
static bool all_kernel(const ag__call *call, ag_tensor *const *out)
{
    const int64_t results = out[0]->numel;
    return count_truth(call, out[0], results ? call->in[0]->numel / results : 0);
}

const ag__op ag__op_count_nonzero = { .name = "count_nonzero",
                                      .kind = AG_KIND_NODIFF,
                                      .n_in = 1,
                                      .n_out = 1,
                                      .takes_attrs = true,
                                      .infer = count_nonzero_infer,
                                      .kernel = count_nonzero_kernel };
const ag__op ag__op_any = { .name = "any",
                            .kind = AG_KIND_NODIFF,
                            .n_in = 1,
                            .n_out = 1,
                            .takes_attrs = true,
                            .infer = count_truth_infer,
                            .kernel = any_kernel };
const ag__op ag__op_all = { .name = "all",
                            .kind = AG_KIND_NODIFF,
                            .n_in = 1,
                            .n_out = 1,
                            .takes_attrs = true,
                            .infer = count_truth_infer,
                            .kernel = all_kernel };

ag_tensor *(ag_count_nonzero)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_count_nonzero, x, 0, o);
}
ag_tensor *(ag_any)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_any, x, 0, o);
}
ag_tensor *(ag_all)(ag_tensor *x, const ag_reduce_options *o)
{
    return ag__reduce_call(&ag__op_all, x, 0, o);
}
