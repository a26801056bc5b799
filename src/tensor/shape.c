/* Checks of shapes and dimensions that come from users, and copies between geometries. */
#include "tensor.h"

#include <stdio.h>
#include <string.h>

const char *ag__shape_string(ag__shape_text *buffer, ag_ints shape)
{
    size_t at = 0;
    const size_t room = sizeof buffer->text;
    buffer->text[at++] = '[';
    for (int i = 0; i < shape.n && i < AG_MAX_DIMS; i++)
        at += (size_t)snprintf(buffer->text + at, room - at, i ? ", %lld" : "%lld",
                               (long long)shape.data[i]);
    snprintf(buffer->text + at, room - at, "]");
    return buffer->text;
}

bool ag__check_shape(ag_context *c, const char *op, ag_ints shape, ag_dtype dtype)
{
    if (!ag__dtype_ok(dtype))
        return ag_fail(c, AG_ERR_DTYPE, "%s: %d is not a dtype", op, (int)dtype);
    if (shape.n < 0 || shape.n > AG_MAX_DIMS)
        return ag_fail(c, AG_ERR_SHAPE, "%s: shape has %d dimensions; tensors have 0 to %d", op,
                       shape.n, AG_MAX_DIMS);
    if (shape.n > 0 && !shape.data)
        return ag_fail(c, AG_ERR_VALUE, "%s: the list of sizes is NULL", op);
    ag__shape_text text;
    int64_t bytes = (int64_t)ag__itemsize(dtype); /* of the sizes that are not 0 */
    for (int i = 0; i < shape.n; i++) {
        if (shape.data[i] < 0)
            return ag_fail(c, AG_ERR_SHAPE,
                           "%s: Trying to create tensor with negative dimension %lld: %s", op,
                           (long long)shape.data[i], ag__shape_string(&text, shape));
        if (shape.data[i] > 0 && !ag__mul_fits(bytes, shape.data[i], &bytes))
            return ag_fail(c, AG_ERR_SHAPE, "%s: Storage size calculation overflowed with sizes=%s",
                           op, ag__shape_string(&text, shape));
    }
    return true;
}

int ag__dim(ag_context *c, const char *op, int64_t dim, int ndim)
{
    const int range = ndim ? ndim : 1;
    if (dim >= -range && dim < range)
        return (int)(dim < 0 ? dim + range : dim);
    ag__fail(c, AG_ERR_INDEX,
             "%s: Dimension out of range (expected to be in range of [%d, %d], but got %lld)", op,
             -range, range - 1, (long long)dim);
    return -1;
}

/* Walks all dimensions but the last two with a counter, and converts row by row. */
void ag__copy_data(ag_tensor *dst, const ag_tensor *src)
{
    const ag_dtype dd = (ag_dtype)dst->dtype, sd = (ag_dtype)src->dtype;
    if (dst->numel == 0)
        return;
    int64_t ss[AG_MAX_DIMS], index[AG_MAX_DIMS] = { 0 };
    const int n = dst->ndim, lead = n - src->ndim;
    for (int i = 0; i < n; i++) {
        const int k = i - lead;
        ss[i] = k < 0 || src->dims[k] == 1 ? 0 : src->dims[src->ndim + k];
    }
    if (dd == sd && dst->numel == src->numel && ag__is_contiguous(dst) && ag__is_contiguous(src)) {
        memmove(ag__at(dst), ag__at(src), (size_t)dst->numel * ag__itemsize(dd));
        return;
    }
    const int64_t row = n ? dst->dims[n - 1] : 1;
    const int64_t drow = n ? dst->dims[2 * n - 1] : 1, srow = n ? ss[n - 1] : 1;
    const int64_t dsize = (int64_t)ag__itemsize(dd), ssize = (int64_t)ag__itemsize(sd);
    char *d = ag__at(dst);
    const char *s = ag__at(src);
    for (;;) {
        ag__convert(dd, d, drow, sd, s, srow, row);
        int i = n - 2;
        for (; i >= 0; i--) {
            d += dst->dims[n + i] * dsize;
            s += ss[i] * ssize;
            if (++index[i] < dst->dims[i])
                break;
            d -= dst->dims[i] * dst->dims[n + i] * dsize;
            s -= dst->dims[i] * ss[i] * ssize;
            index[i] = 0;
        }
        if (i < 0)
            return;
    }
}

ag_tensor *ag__contiguous_copy(const ag_tensor *t, ag_dtype dtype)
{
    ag_tensor *copy = ag__tensor_new(t->c, dtype, t->ndim, t->dims);
    if (copy)
        ag__copy_data(copy, t);
    return copy;
}
