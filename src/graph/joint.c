/*
 * A region and its derivative in one region, and parts of regions as functions. See traced.h.
 */
#include <string.h>

#include "traced.h"

typedef struct {
    ag_context *c;
    const ag__region *region;
    const bool *wanted;
} joint_fn;

static int joint_floats(const ag__region *r)
{
    int n = 0;
    for (int j = 0; j < r->n_outs; j++)
        n += ag__is_float((ag_dtype)ag__region_out(r, j)->dtype);
    return n;
}

/* Gradients of the wanted parameters; lists has room for roots, their gradients, and inputs. */
static bool joint_gradients(const joint_fn *f, ag_tensor *const *in, ag_tensor *const *out,
                            ag_tensor **grads, ag_tensor **lists)
{
    const ag__region *r = f->region;
    ag_tensor **roots = lists, **g = roots + r->n_outs, **inputs = g + r->n_outs;
    ag_tensor *const *cotangent = in + r->n_params;
    int n_roots = 0, n_inputs = 0;
    for (int j = 0; j < r->n_outs; j++) {
        if (!ag__is_float((ag_dtype)out[j]->dtype))
            continue;
        if (ag__wants_grad(out[j])) {
            roots[n_roots] = out[j];
            g[n_roots++] = *cotangent;
        }
        cotangent++;
    }
    for (int i = 0; i < r->n_params; i++)
        if (f->wanted[i])
            inputs[n_inputs++] = in[i];
    for (int i = 0; i < n_inputs; i++)
        grads[i] = NULL;
    if (n_roots && n_inputs &&
        !ag_grad(roots, n_roots, inputs, n_inputs, grads, .grad_outputs = g, .allow_unused = true))
        return false;
    for (int i = 0; i < n_inputs; i++)
        if (!grads[i] && !(grads[i] = ag_zeros_like(inputs[i])))
            return false;
    return true;
}

static bool joint_trace(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const joint_fn *f = arg;
    const ag__region *r = f->region;
    (void)n, (void)m;
    const size_t bytes = (size_t)(2 * r->n_outs + r->n_params) * sizeof(ag_tensor *);
    ag_tensor **lists = ag__alloc(f->c, bytes);
    for (int i = 0; i < r->n_params; i++)
        if (f->wanted[i])
            in[i]->flags |= AG_T_REQUIRES_GRAD;
    bool ok = lists && ag__region_call(f->c, r, in, out, true);
    for (int j = 0; j < r->n_outs && ok; j++)
        ag__settle(out[j]);
    ok = ok && joint_gradients(f, in, out, out + r->n_outs, lists);
    ag__free(f->c, lists, bytes);
    return ok;
}

ag__region *ag__joint(ag_context *c, const char *op, const ag__region *r, const bool *wanted)
{
    const int n = r->n_params + joint_floats(r);
    int m = r->n_outs;
    const size_t bytes = (size_t)n * sizeof(ag__type);
    ag__type *types = ag__alloc(c, bytes);
    if (!types)
        return NULL;
    for (int i = 0; i < r->n_params; i++) {
        types[i] = ag__value_type(&r->values[r->params[i]]);
        m += wanted[i];
    }
    for (int j = 0, k = r->n_params; j < r->n_outs; j++)
        if (ag__is_float((ag_dtype)ag__region_out(r, j)->dtype)) {
            types[k] = ag__value_type(ag__region_out(r, j));
            types[k++].number = false;
        }
    joint_fn f = { c, r, wanted };
    const bool grad = c->grad_enabled;
    ag__region *joint = ag__trace(op, c->tracing->graph, c->tracing, types, n, joint_trace, &f, m);
    c->grad_enabled = grad;
    ag__free(c, types, bytes);
    return joint;
}

/* ---- parts ---- */

static bool joint_part_run(const ag__part *p, const ag__schedule *s, ag_tensor *const *in,
                           ag_tensor **out, ag_tensor **values)
{
    for (int i = 0; i < p->n_given; i++) {
        ag__tensor_unref(values[p->given[i]]);
        values[p->given[i]] = ag__tensor_ref(in[i]);
    }
    ag__replay rp = { p->c, p->region, s, values, NULL, NULL, p->c->grad_enabled };
    if (!ag__replay_run(&rp))
        return false;
    for (int j = 0; j < p->n_wanted; j++)
        out[j] = ag__lend(values[p->wanted[j]]);
    return true;
}

bool ag__part_replay(const ag__part *p, ag_tensor *const *in, ag_tensor **out)
{
    const size_t n = (size_t)p->region->n_values, bytes = n * (sizeof(ag_tensor *) + 1);
    ag_tensor **values = ag__alloc(p->c, bytes);
    if (!values)
        return false;
    memset(values, 0, bytes);
    bool *fed = (bool *)(values + n);
    for (int i = 0; i < p->n_given; i++)
        fed[p->given[i]] = true;
    ag__schedule s;
    bool ok = ag__schedule_make(&s, p->c, p->region, p->wanted, p->n_wanted, fed);
    if (ok) {
        ok = joint_part_run(p, &s, in, out, values);
        ag__schedule_free(&s, p->c);
    }
    for (size_t v = 0; v < n; v++)
        ag__tensor_unref(values[v]);
    ag__free(p->c, values, bytes);
    return ok;
}
