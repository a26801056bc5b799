/*
 * In-place operations: the value is computed beside the operand by the row of the table, then written
 * over it, and the operand takes the node of the result for its own. The copy costs a pass over the
 * data and buys that nothing has changed when a call fails.
 */
#include "../autograd/meta.h"
#include "../autograd/node.h"
#include "pointwise.h"

/* PyTorch's rules for what may be written; `graph` when the write is recorded. */
static bool inplace_check(const char *name, ag_tensor *x, bool graph)
{
    if (graph && ag__wants_grad(x) && !x->grad_fn && x->flags & AG_T_VIEW)
        return ag_fail(
            x->c, AG_ERR_GRAD,
            "%s: a view of a leaf Variable that requires grad is being used in an in-place "
            "operation.",
            name);
    if (graph && ag__wants_grad(x) && !x->grad_fn)
        return ag_fail(
            x->c, AG_ERR_GRAD,
            "%s: a leaf Variable that requires grad is being used in an in-place operation.", name);
    if (graph && x->flags & AG_T_VIEW)
        return ag_fail(x->c, AG_ERR_UNSUPPORTED,
                       "%s: writing into a view that takes part in a graph is not supported; write "
                       "into a clone of it (ag_clone)",
                       name);
    return !ag__repeats_memory(x) ||
           ag_fail(
               x->c, AG_ERR_VALUE,
               "%s: unsupported operation: more than one element of the written-to tensor refers "
               "to a single memory location. Please clone() the tensor before performing the "
               "operation.",
               name);
}

/* The elements fill the memory between the first and the last, each place once. */
static bool inplace_is_dense(const ag_tensor *t)
{
    for (int64_t filled = 1; filled < t->numel;) {
        int d = 0;
        while (d < t->ndim && (t->dims[d] == 1 || t->dims[t->ndim + d] != filled))
            d++;
        if (d == t->ndim)
            return false;
        filled *= t->dims[d];
    }
    return true;
}

/* PyTorch's rule: src may be x, element for element, or lie elsewhere. Operands with gaps pass,
 * here as there; since results are computed beside x, they are right all the same. */
static bool inplace_check_overlap(const char *name, const ag_tensor *x, const ag_tensor *src)
{
    if (x == src || x->storage != src->storage || x->numel == 0 || src->numel == 0 ||
        !inplace_is_dense(x) || !inplace_is_dense(src))
        return true;
    const bool apart = x->offset + x->numel <= src->offset || src->offset + src->numel <= x->offset;
    bool same = x->offset == src->offset && x->numel == src->numel && x->ndim == src->ndim;
    for (int i = x->ndim; i < 2 * x->ndim && same; i++)
        same = x->dims[i] == src->dims[i];
    return apart || same ||
           ag_fail(x->c, AG_ERR_VALUE,
                   "%s: unsupported operation: some elements of the input tensor and the "
                   "written-to tensor refer to a single memory location. Please clone() the tensor "
                   "before performing the operation.",
                   name);
}

static bool inplace_fits(const char *name, const ag_tensor *x, const ag_tensor *y)
{
    ag__shape_text a, b;
    if (!ag__same_shape(ag__sizes(x), ag__sizes(y)))
        return ag_fail(x->c, AG_ERR_SHAPE,
                       "%s: output with shape %s doesn't match the broadcast shape %s", name,
                       ag__shape_string(&a, ag__sizes(x)), ag__shape_string(&b, ag__sizes(y)));
    if (ag__dtype_category((ag_dtype)y->dtype) > ag__dtype_category((ag_dtype)x->dtype))
        return ag_fail(x->c, AG_ERR_DTYPE,
                       "%s: result type %s can't be cast to the desired output type %s", name,
                       ag_dtype_name((ag_dtype)y->dtype), ag_dtype_name((ag_dtype)x->dtype));
    return true;
}

/* A rule that needs x's old value gets a copy of it, made before x is written. */
static bool inplace_keep_old(ag_tensor *x, ag_node *n)
{
    ag__saved *saved = ag__node_saved(n);
    for (int i = 0; i < n->n_saved; i++) {
        if (saved[i].tensor != x)
            continue;
        ag_tensor *old = ag__contiguous_copy(x, (ag_dtype)x->dtype);
        if (!old)
            return false;
        old->flags |= x->flags & AG_T_REQUIRES_GRAD;
        old->grad_fn = x->grad_fn ? ag__node_ref(x->grad_fn) : NULL;
        old->output_nr = x->output_nr;
        x->c->saved_bytes += old->storage->bytes - x->storage->bytes;
        saved[i].tensor = old;
        saved[i].version = old->storage->version;
        ag__tensor_unref(x);
    }
    return true;
}

/* Writes y (a fresh result for x's operation) over x. */
static ag_tensor *inplace_write(const char *name, ag_tensor *x, ag_tensor *y)
{
    if (!y || !inplace_fits(name, x, y) || (y->grad_fn && !inplace_keep_old(x, y->grad_fn)))
        return NULL;
    ag__copy_data(x, y);
    ag__bump_version(x, name);
    if (y->grad_fn) {
        ag_node *old = x->grad_fn;
        x->grad_fn = ag__node_ref(y->grad_fn);
        x->output_nr = y->output_nr;
        x->flags |= AG_T_REQUIRES_GRAD;
        ag__node_unref(old);
    }
    return x;
}

static ag_tensor *inplace_binary(int op, const char *name, ag_tensor *x, ag_tensor *b)
{
    if (!x || !b)
        return x ? ag__fail(x->c, AG_ERR_VALUE, "%s: operand 1 is NULL", name) : NULL;
    const bool graph = x->c->grad_enabled && (ag__wants_grad(x) || ag__wants_grad(b));
    if (!inplace_check(name, x, graph) || !inplace_check_overlap(name, x, b))
        return NULL;
    ag_scope s;
    ag__bracket_begin(&s, x->c);
    x = inplace_write(name, x, ag__binary(ag__ops[op], x, b, NULL));
    ag__bracket_end(&s);
    return x;
}

ag_tensor *(ag_add_)(ag_tensor *x, ag_tensor *b)
{
    return inplace_binary(AG_OP_add, "ag_add_", x, b);
}
ag_tensor *(ag_sub_)(ag_tensor *x, ag_tensor *b)
{
    return inplace_binary(AG_OP_sub, "ag_sub_", x, b);
}
ag_tensor *(ag_mul_)(ag_tensor *x, ag_tensor *b)
{
    return inplace_binary(AG_OP_mul, "ag_mul_", x, b);
}
ag_tensor *(ag_div_)(ag_tensor *x, ag_tensor *b)
{
    return inplace_binary(AG_OP_div, "ag_div_", x, b);
}

static ag_tensor *inplace_copy(const char *name, ag_tensor *dst, ag_tensor *src)
{
    const bool graph = dst->c->grad_enabled && (ag__wants_grad(dst) || ag__wants_grad(src));
    if (!inplace_check(name, dst, graph) || !inplace_check_overlap(name, dst, src))
        return NULL;
    ag_scope s;
    ag__bracket_begin(&s, dst->c);
    ag_tensor *cast = ag_to(src, (ag_dtype)dst->dtype);
    ag_tensor *y = cast ? ag__binary(ag__ops[AG_OP_copy], dst, cast, NULL) : NULL;
    dst = inplace_write(name, dst, y);
    ag__bracket_end(&s);
    return dst;
}

ag_tensor *ag_copy_(ag_tensor *dst, ag_tensor *src)
{
    if (!dst || !src)
        return dst ? ag__fail(dst->c, AG_ERR_VALUE, "ag_copy_: src is NULL") : NULL;
    return inplace_copy("ag_copy_", dst, src);
}

static ag_tensor *inplace_fill(const char *name, ag_tensor *x, double value)
{
    if (!x)
        return NULL;
    ag_tensor *v = ag__tensor_number(x->c, value, AG_F64);
    x = v ? inplace_copy(name, x, v) : NULL;
    ag__tensor_unref(v);
    return x;
}

ag_tensor *ag_fill_(ag_tensor *x, double value) { return inplace_fill("ag_fill_", x, value); }
ag_tensor *ag_zero_(ag_tensor *x) { return inplace_fill("ag_zero_", x, 0); }
