/*
 * The passes that users start: checks of what they ask for, with PyTorch's sentences, before the
 * engine takes over.
 */
#include "backward.h"
#include "batched.h"
#include "engine.h"
#include "view.h"

static bool backward_check_root(ag_context *c, ag_tensor *t, int i, ag_tensor *g)
{
    ag__shape_text a, b;
    if (!t)
        return ag_fail(c, AG_ERR_VALUE, "ag_backward: tensor %d is NULL", i);
    if (t->c != c || (g && g->c != c))
        return ag_fail(c, AG_ERR_VALUE,
                       "ag_backward: tensor %d or its gradient is of another context", i);
    if (!ag__fresh(t))
        return false;
    if (!ag__wants_grad(t))
        return ag_fail(c, AG_ERR_GRAD,
                       "element %d of tensors does not require grad and does not have a grad_fn",
                       i);
    if (!g && t->numel != 1)
        return ag_fail(c, AG_ERR_GRAD, "grad can be implicitly created only for scalar outputs");
    if (g && !ag__same_shape(ag__sizes(g), ag__sizes(t)))
        return ag_fail(
            c, AG_ERR_SHAPE,
            "Mismatch in shape: grad_output[%d] has a shape of %s and output[%d] has a shape "
            "of %s.",
            i, ag__shape_string(&a, ag__sizes(g)), i, ag__shape_string(&b, ag__sizes(t)));
    if (g && !ag__is_float((ag_dtype)g->dtype))
        return ag_fail(c, AG_ERR_DTYPE, "gradient %d has dtype %s; gradients are floating point", i,
                       ag_dtype_name((ag_dtype)g->dtype));
    return true;
}

static bool backward_check_inputs(ag_context *c, const char *op, ag_tensor *const *inputs, int n)
{
    for (int i = 0; i < n; i++) {
        if (!ag__list_check(c, op, "input", i, inputs[i]) || !ag__fresh(inputs[i]))
            return false;
        if (!ag__wants_grad(inputs[i]))
            return ag_fail(c, AG_ERR_GRAD,
                           "One of the differentiated Tensors does not require grad [input %d]", i);
    }
    return true;
}

bool(ag_backward_all)(ag_tensor *const *tensors, int n, const ag_backward_all_options *options)
{
    static const ag_backward_all_options none = { .size = sizeof none };
    const ag_backward_all_options *o = options ? options : &none;
    ag_context *c = ag__list_context(tensors, n);
    if (!c)
        return false;
    if (o->inputs && o->n_inputs <= 0)
        return ag_fail(c, AG_ERR_GRAD, "`inputs` argument to `backward()` cannot be empty.");
    if (ag__any_recorded(tensors, n))
        return ag_fail(c, AG_ERR_GRAPH,
                       "ag_backward: a symbolic tensor has no .grad to add to; use ag_grad, which "
                       "gives symbolic gradients");
    for (int i = 0; i < n; i++) {
        ag_tensor *g = o->gradients ? o->gradients[i] : NULL;
        if ((g && !ag__has_data("ag_backward", g)) || !backward_check_root(c, tensors[i], i, g))
            return false;
    }
    if (o->inputs && !backward_check_inputs(c, "ag_backward", o->inputs, o->n_inputs))
        return false;
    if (o->create_graph && !c->warned_create_graph) {
        c->warned_create_graph = true;
        ag__log(c,
                "Using backward() with create_graph=True will create a reference cycle between "
                "the parameter and its gradient which can cause a memory leak. We recommend using "
                "ag_grad when creating the graph to avoid this. If you have to use this function, "
                "make sure to reset the .grad fields of your parameters to None (ag_zero_grad) "
                "after use to break the cycle and avoid the leak.");
    }
    const ag__pass_request r = { .roots = tensors,
                                 .gradients = o->gradients,
                                 .n_roots = n,
                                 .inputs = o->inputs,
                                 .n_inputs = o->inputs ? o->n_inputs : 0,
                                 .retain_graph = o->retain_graph,
                                 .create_graph = o->create_graph };
    return ag__pass_perform(c, &r);
}

bool(ag_backward)(ag_tensor *t, const ag_backward_options *options)
{
    static const ag_backward_options none = { .size = sizeof none };
    const ag_backward_options *o = options ? options : &none;
    const ag_backward_all_options all = { .size = sizeof all,
                                          .gradients = &o->gradient,
                                          .retain_graph = o->retain_graph,
                                          .create_graph = o->create_graph,
                                          .inputs = o->inputs,
                                          .n_inputs = o->n_inputs };
    return (ag_backward_all)(&t, 1, &all);
}

bool(ag_grad)(ag_tensor *const *outputs, int n_outputs, ag_tensor *const *inputs, int n_inputs,
              ag_tensor **results, const ag_grad_options *options)
{
    static const ag_grad_options none = { .size = sizeof none };
    const ag_grad_options *o = options ? options : &none;
    ag_context *c = ag__list_context(outputs, n_outputs);
    if (!c)
        return false;
    if (!inputs || n_inputs <= 0 || !results)
        return ag_fail(c, AG_ERR_VALUE, "ag_grad: grad requires non-empty inputs.");
    const bool recorded =
        ag__any_recorded(outputs, n_outputs) || ag__any_recorded(inputs, n_inputs);
    if (recorded && !o->batched)
        return ag__grad_record(outputs, n_outputs, inputs, n_inputs, results, o);
    if (o->batched)
        return ag__grad_batched(outputs, n_outputs, inputs, n_inputs, results, o);
    for (int i = 0; i < n_outputs; i++)
        if (!backward_check_root(c, outputs[i], i, o->grad_outputs ? o->grad_outputs[i] : NULL))
            return false;
    if (!backward_check_inputs(c, "ag_grad", inputs, n_inputs))
        return false;
    const ag__pass_request r = { .roots = outputs,
                                 .gradients = o->grad_outputs,
                                 .n_roots = n_outputs,
                                 .inputs = inputs,
                                 .n_inputs = n_inputs,
                                 .results = results,
                                 .retain_graph = o->retain_graph,
                                 .create_graph = o->create_graph,
                                 .allow_unused = o->allow_unused,
                                 .materialize_grads = o->materialize_grads };
    return ag__pass_perform(c, &r);
}
