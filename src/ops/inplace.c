/*
 * In-place operations: the value is computed beside the operand by the row of the table, then written
 * over it, and the operand takes the node of the result for its own (see autograd/view.h for what that
 * means to views). The copy costs a pass over the data and buys that nothing has changed when a call
 * fails. Every row has its twin from here.
 */
#include "inplace.h"

#include "../autograd/saved.h"
#include "../autograd/view.h"
#include "../base/site.h"
#include "compose.h"
#include "pointwise.h"

/* PyTorch's rules for what may be written; `graph` when the write is recorded. */
static bool inplace_check(const char *name, ag_tensor *x, bool graph)
{
    if (x->flags & AG_T_INFERENCE && !x->c->inference)
        return ag_fail(x->c, AG_ERR_GRAD,
                       "%s: Inplace update to inference tensor outside InferenceMode is not "
                       "allowed.You can make a clone to get a normal tensor before doing inplace "
                       "update. See https://github.com/pytorch/rfcs/pull/17 for more details.",
                       name);
    if (graph && !ag__view_check_write(x, name))
        return false;
    return !ag__repeats_memory(x) ||
           ag_fail(
               x->c, AG_ERR_VALUE,
               "%s: unsupported operation: more than one element of the written-to tensor refers "
               "to a single memory location. Please clone() the tensor before performing the "
               "operation.",
               name);
}

/* PyTorch's rule: src may be x, element for element, or lie elsewhere. Operands with gaps pass,
 * here as there; since results are computed beside x, they are right all the same. */
static bool inplace_check_overlap(const char *name, const ag_tensor *x, const ag_tensor *src)
{
    if (x == src || x->storage != src->storage || x->numel == 0 || src->numel == 0 ||
        !ag__is_dense(x) || !ag__is_dense(src))
        return true;
    const bool apart = x->offset + x->numel <= src->offset || src->offset + src->numel <= x->offset;
    bool same = x->offset == src->offset && x->numel == src->numel && x->ndim == src->ndim;
    for (int i = 0; i < x->ndim && same; i++)
        same = x->dims[i] == src->dims[i] &&
               (x->dims[i] == 1 || ag__strides(x)[i] == ag__strides(src)[i]);
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

/* Results that the node saved are x from now on, so that a later write is seen. `of_x` are aliases of
 * x for them, made before. */
static void inplace_save_result(ag_tensor *x, ag_node *n, ag_tensor *of_x)
{
    ag__saved *saved = ag__node_saved(n);
    for (int i = 0; i < n->n_saved; i++) {
        if (saved[i].kind != AG_SAVED_OUTPUT || saved[i].is_packed || !saved[i].tensor)
            continue;
        x->c->saved_bytes += x->storage->bytes - saved[i].tensor->storage->bytes;
        ag__tensor_unref(saved[i].tensor);
        saved[i].tensor = ag__tensor_ref(of_x);
        saved[i].version = x->storage->version;
    }
}

/* Writes y over x. */
static ag_tensor *inplace_write(const char *name, ag_tensor *x, ag_tensor *y)
{
    ag_node *n = y ? y->grad_fn : NULL;
    const char *by;
    ag__rebase rebase;
    if (!y || !inplace_fits(name, x, y) || !ag__site_text(x->c, name, &by))
        return NULL;
    if (ag__is_symbolic(x) || ag__is_symbolic(y))
        return ag__symbol_rebind(name, x, y) ? x : NULL;
    ag_tensor *of_x = n ? ag__tensor_alias(x) : NULL;
    if (n && (!of_x || !ag__rebase_prepare(&rebase, x, n, y->output_nr))) {
        ag__tensor_unref(of_x);
        return NULL;
    }
    ag__copy_data(x, y);
    ag__bump_version(x, by);
    if (n) {
        inplace_save_result(x, n, of_x);
        ag__rebase_commit(&rebase);
    }
    ag__tensor_unref(of_x);
    return x;
}

/* Whether the write of op(in...) would be recorded. False when a view may not be read. */
static bool inplace_wants_graph(ag_tensor *const *in, int n_in, bool *graph)
{
    const ag_context *c = in[0]->c;
    *graph = false;
    for (int i = 0; i < n_in && c->grad_enabled && !c->inference; i++) {
        if (i > 0 && !ag__fresh(in[i]))
            return false;
        *graph = *graph || (in[i] && ag__wants_grad_now(in[i]));
    }
    return true;
}

bool ag__inplace_open(ag_scope *s, const char *name, ag_tensor *const *in, int n_in)
{
    bool graph;
    for (int i = 0; i < n_in; i++)
        if (in[0] && !in[i])
            return ag_fail(in[0]->c, AG_ERR_VALUE, "%s: operand %d is NULL", name, i);
    if (in[0] && in[0]->flags & AG_T_NUMBER)
        return ag_fail(in[0]->c, AG_ERR_VALUE, "%s: a number cannot be written to", name);
    if (!in[0] || !inplace_wants_graph(in, n_in, &graph) || !inplace_check(name, in[0], graph))
        return false;
    for (int i = 1; i < n_in; i++)
        if (!inplace_check_overlap(name, in[0], in[i]))
            return false;
    ag__bracket_begin(s, in[0]->c);
    in[0]->c->writing = in[0];
    return true;
}

ag_tensor *ag__inplace_close(ag_scope *s, const char *name, ag_tensor *x, ag_tensor *y)
{
    x->c->writing = NULL;
    x = inplace_write(name, x, y);
    ag__bracket_end(s);
    return x;
}

ag_tensor *ag__inplace(const ag__op *op, const char *name, ag_tensor *const *in, int n_in,
                       const ag__attrs *attrs)
{
    ag_scope s;
    return ag__inplace_open(&s, name, in, n_in)
               ? ag__inplace_close(&s, name, in[0], ag__run1(op, in, n_in, attrs))
               : NULL;
}

/* ---- public: copies and constants ---- */

static ag_tensor *inplace_copy(int op, const char *name, ag_tensor *dst, ag_tensor *src)
{
    ag_scope s;
    if (!ag__inplace_open(&s, name, (ag_tensor *[]){ dst, src }, 2))
        return NULL;
    ag_tensor *cast = ag_to(src, (ag_dtype)dst->dtype);
    return ag__inplace_close(&s, name, dst, cast ? ag__binary(ag__ops[op], dst, cast, NULL) : NULL);
}

ag_tensor *ag_copy_(ag_tensor *dst, ag_tensor *src)
{
    return inplace_copy(AG_OP_copy, "ag_copy_", dst, src);
}

static ag_tensor *inplace_fill(int op, const char *name, ag_tensor *x, double value)
{
    if (!x)
        return NULL;
    ag_tensor *v = ag__tensor_number(x->c, value, AG_F64);
    x = v ? inplace_copy(op, name, x, v) : NULL;
    ag__tensor_unref(v);
    return x;
}

ag_tensor *ag_fill_(ag_tensor *x, double value)
{
    return inplace_fill(AG_OP_copy, "ag_fill_", x, value);
}
/* As a row of its own it bears PyTorch's name in the graph. */
ag_tensor *ag_zero_(ag_tensor *x) { return inplace_fill(AG_OP_zero, "ag_zero_", x, 0); }
