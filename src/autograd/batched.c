/*
 * A pass for each entry of the batch over the same graph, which is retained between them.
 *
 * Where no graph of the gradients is wanted, they are written into tensors that were made before the
 * first pass: after the last one, which may give up saved values, nothing can fail. Otherwise they
 * are stacked in the end.
 */
#include "batched.h"

#include "../ops/op.h"

typedef struct {
    ag_context *c;
    ag_tensor *const *outputs, *const *inputs;
    int n_outputs, n_inputs;
    const ag_grad_options *options;
    int64_t size;       /* of the batch */
    bool stacks;        /* a graph of the gradients is wanted, or they are symbolic */
    ag_tensor **slices; /* n_outputs: of grad_outputs */
    ag_tensor **found;  /* n_inputs each: gradients of one pass, */
    ag_tensor **rows;   /* where they are written, */
    ag_tensor **whole;  /* and results */
    ag_tensor **parts;  /* with a graph, n_inputs x size: gradients of all passes */
} batched_state;

static bool batched_check_shape(ag_context *c, int j, const ag_tensor *g, const ag_tensor *y)
{
    ag__shape_text a, b;
    const int batch = g->ndim > 0;
    const ag_ints rest = { g->dims + batch, g->ndim - batch };
    if (batch && g->dims[0] < 0)
        return ag_fail(c, AG_ERR_SHAPE,
                       "ag_grad: the first size of grad_output[%d] must be known in a graph, since "
                       "it decides how many passes there are",
                       j);
    if (!batch || !ag__shape_may_be(rest, ag__sizes(y)))
        return ag_fail(
            c, AG_ERR_SHAPE,
            "If `is_grads_batched=True`, we interpret the first dimension of each grad_output as "
            "the batch dimension. The sizes of the remaining dimensions are expected to match the "
            "shape of corresponding output, but a mismatch was detected: grad_output[%d] has a "
            "shape of %s and output[%d] has a shape of %s. If you only want some tensors in "
            "`grad_output` to be considered batched, consider using vmap.",
            j, ag__shape_string(&a, rest), j, ag__shape_string(&b, ag__sizes(y)));
    if (g->dims[0] < 0)
        return ag_fail(c, AG_ERR_SHAPE,
                       "ag_grad: the first size of grad_output[%d] must be known in a graph, since "
                       "it decides how many passes there are",
                       j);
    return g->dims[0] > 0 || ag_fail(c, AG_ERR_SHAPE,
                                     "ag_grad: grad_output[%d] is an empty batch: index 0 is out "
                                     "of bounds for dimension 0 with size 0",
                                     j);
}

/* Passes will say what is wrong with outputs that are NULL. */
static bool batched_check(batched_state *b)
{
    for (int j = 0; b->options->grad_outputs && j < b->n_outputs; j++) {
        const ag_tensor *g = b->options->grad_outputs[j], *y = b->outputs[j];
        if (!g || !y)
            continue;
        if (!batched_check_shape(b->c, j, g, y))
            return false;
        if (b->size > 0 && g->dims[0] != b->size)
            return ag_fail(
                b->c, AG_ERR_SHAPE,
                "ag_grad: vmap: Expected all tensors to have the same size in the mapped "
                "dimension, got sizes [%lld, %lld] for the mapped dimension",
                (long long)b->size, (long long)g->dims[0]);
        b->size = g->dims[0];
    }
    return b->size > 0 ||
           ag_fail(b->c, AG_ERR_VALUE,
                   "ag_grad: .batched needs a grad_output, whose first dimension is the batch");
}

/* Pass k of the batch; its gradients are then in found[]. */
static bool batched_pass(const batched_state *b, int64_t k)
{
    const ag_grad_options *o = b->options;
    for (int j = 0; j < b->n_outputs; j++) {
        b->slices[j] = o->grad_outputs[j] ? ag_select(o->grad_outputs[j], 0, k) : NULL;
        if (o->grad_outputs[j] && !b->slices[j])
            return false;
    }
    return ag_grad(b->outputs, b->n_outputs, b->inputs, b->n_inputs, b->found,
                   .grad_outputs = b->slices, .retain_graph = o->retain_graph || k + 1 < b->size,
                   .create_graph = o->create_graph,
                   .allow_unused = o->allow_unused || o->materialize_grads);
}

/* ---- without a graph of the gradients ---- */

/* Zeros for the gradients of input i. */
static ag_tensor *batched_zeros(const batched_state *b, int i)
{
    const ag_tensor *x = b->inputs[i];
    int64_t shape[AG_MAX_DIMS + 1] = { b->size };
    for (int d = 0; d < x->ndim; d++)
        shape[d + 1] = x->dims[d];
    const ag_tensor_options like = { .size = sizeof like, .dtype = (ag_dtype)x->dtype };
    return (ag_zeros)(b->c, (ag_ints){ shape, x->ndim + 1 }, &like);
}

/* used[i] becomes whole[i] when there is a gradient. */
static bool batched_write_row(const batched_state *b, int64_t k, ag_tensor **used)
{
    bool ok = true;
    ag_scope bracket;
    ag__bracket_begin(&bracket, b->c);
    for (int i = 0; i < b->n_inputs && ok; i++)
        ok = (b->rows[i] = ag_select(b->whole[i], 0, k)) != NULL;
    ok = ok && batched_pass(b, k);
    for (int i = 0; i < b->n_inputs && ok; i++)
        if (b->found[i]) {
            ag__copy_data(b->rows[i], b->found[i]);
            used[i] = b->whole[i];
        }
    ag__bracket_end(&bracket);
    return ok;
}

static bool batched_write(const batched_state *b)
{
    ag_tensor **used = b->parts;
    for (int i = 0; i < b->n_inputs; i++) {
        used[i] = NULL;
        if (!(b->whole[i] = batched_zeros(b, i)))
            return false;
    }
    for (int64_t k = 0; k < b->size; k++)
        if (!batched_write_row(b, k, used))
            return false;
    for (int i = 0; i < b->n_inputs && !b->options->materialize_grads; i++)
        b->whole[i] = used[i];
    return true;
}

/* ---- with one ---- */

/* The gradients of input i, which are undefined, that is zero, in some entries of the batch. */
static bool batched_stack(const batched_state *b, int i)
{
    ag_tensor **part = b->parts + i * b->size, *zeros = NULL;
    bool any = b->options->materialize_grads;
    for (int64_t k = 0; k < b->size; k++)
        any = any || part[k];
    for (int64_t k = 0; k < b->size && any; k++) {
        if (!part[k] && !zeros && !(zeros = ag_zeros_like(b->inputs[i])))
            return false;
        part[k] = part[k] ? part[k] : zeros;
    }
    b->whole[i] = any ? ag_stack(part, (int)b->size, 0) : NULL;
    return !any || b->whole[i];
}

static bool batched_record(const batched_state *b)
{
    for (int64_t k = 0; k < b->size; k++) {
        if (!batched_pass(b, k))
            return false;
        for (int i = 0; i < b->n_inputs; i++)
            b->parts[i * b->size + k] = b->found[i];
    }
    for (int i = 0; i < b->n_inputs; i++)
        if (!batched_stack(b, i))
            return false;
    return true;
}

/* ---- both ---- */

static bool batched_run(batched_state *b, ag_tensor **results)
{
    ag_scope bracket;
    ag__bracket_begin(&bracket, b->c);
    const bool was_enabled = b->c->grad_enabled, graph = b->options->create_graph;
    b->c->grad_enabled = graph;
    const bool ok = b->stacks ? batched_record(b) : batched_write(b);
    b->c->grad_enabled = was_enabled;
    for (int i = 0; i < b->n_inputs && ok; i++)
        if (b->whole[i])
            ag__tensor_ref(b->whole[i]);
    ag__bracket_end(&bracket);
    for (int i = 0; i < b->n_inputs && ok; i++) {
        results[i] = ag__lend(b->whole[i]);
        ag__tensor_unref(b->whole[i]);
    }
    return ok;
}

bool ag__grad_batched(ag_tensor *const *outputs, int n_outputs, ag_tensor *const *inputs,
                      int n_inputs, ag_tensor **results, const ag_grad_options *o)
{
    ag_context *c = ag__list_context(outputs, n_outputs);
    batched_state b = { .c = c,
                        .outputs = outputs,
                        .inputs = inputs,
                        .n_outputs = n_outputs,
                        .n_inputs = n_inputs,
                        .options = o };
    for (int i = 0; i < n_inputs; i++)
        if (!inputs[i])
            return ag_fail(c, AG_ERR_VALUE, "ag_grad: input %d is NULL", i);
    if (!batched_check(&b))
        return false;
    b.stacks = o->create_graph;
    for (int i = 0; i < n_inputs; i++)
        b.stacks = b.stacks || ag__is_symbolic(inputs[i]);
    const int64_t n_parts = n_inputs * (b.stacks ? b.size : 1);
    const size_t bytes = (size_t)(n_outputs + 3 * n_inputs + n_parts) * sizeof(ag_tensor *);
    b.slices = ag__alloc(c, bytes);
    if (!b.slices)
        return false;
    b.found = b.slices + n_outputs;
    b.rows = b.found + n_inputs;
    b.whole = b.rows + n_inputs;
    b.parts = b.whole + n_inputs;
    const bool ok = batched_run(&b, results);
    ag__free(c, b.slices, bytes);
    return ok;
}
