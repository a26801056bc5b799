/*
 * Which values a derivative of results flows back to. A walk from the last instruction to the
 * first; loops are walked until nothing is added.
 */
#include <string.h>

#include "gradient.h"

static bool depend_wants(const ag__region *r, int32_t v)
{
    return v >= 0 && ag__is_float((ag_dtype)r->values[v].dtype);
}

static void depend_mark(const ag__region *r, bool *marks, const int32_t *list, int n)
{
    for (int k = 0; k < n; k++)
        if (depend_wants(r, list[k]))
            marks[list[k]] = true;
}

/* From results of `body`, outs[0..n_outs), to its parameters, params[0..n_params): adds to them. */
static bool depend_region(const ag__region *body, const bool *outs, bool *params)
{
    ag_context *c = body->graph->c;
    const size_t bytes = (size_t)body->n_values * sizeof(bool);
    bool *marks = ag__alloc(c, bytes);
    if (!marks)
        return false;
    memset(marks, 0, bytes);
    for (int j = 0; j < body->n_outs; j++)
        if (outs[j] && depend_wants(body, body->outs[j]))
            marks[body->outs[j]] = true;
    const bool ok = ag__depend(body, marks);
    for (int i = 0; i < body->n_params && ok; i++)
        params[i] = params[i] || marks[body->params[i]];
    ag__free(c, marks, bytes);
    return ok;
}

/* A loop: what flows into the carry flows through it again. Results are carry and ys, parameters
 * carry, xs and captured values. */
static bool depend_loop(const ag__region *body, int n_carry, bool *outs, bool *params)
{
    for (bool more = true; more;) {
        if (!depend_region(body, outs, params))
            return false;
        more = false;
        for (int i = 0; i < n_carry; i++) {
            more = more || (params[i] && !outs[i]);
            outs[i] = outs[i] || params[i];
        }
    }
    for (int i = 0; i < n_carry; i++) /* without iterations the carry comes out as it went in */
        params[i] = params[i] || outs[i];
    return true;
}

/* Control flow: the operands behind the first `skip` are the regions' parameters. */
static bool depend_flow(const ag__region *r, const ag__inst *i, int skip, bool *marks)
{
    ag_context *c = r->graph->c;
    const bool loop = i->op == &ag__op_while || i->op == &ag__op_scan;
    const int n_params = i->regions[0]->n_params;
    const size_t bytes = (size_t)(i->n_out + n_params) * sizeof(bool);
    bool *outs = ag__alloc(c, bytes), *params = outs ? outs + i->n_out : NULL, ok = outs != NULL;
    if (!ok)
        return false;
    memset(outs, 0, bytes);
    memcpy(outs, marks + i->out, (size_t)i->n_out * sizeof(bool));
    if (loop)
        ok = depend_loop(i->regions[0], (int)i->attrs->list[AG_FLOW_CARRY], outs, params);
    for (int k = 0; !loop && k < i->n_regions && ok; k++)
        ok = depend_region(i->regions[k], outs, params);
    for (int k = skip; k < i->n_in && ok; k++)
        if (params[k - skip])
            depend_mark(r, marks, i->in + k, 1);
    ag__free(c, outs, bytes);
    return ok;
}

bool ag__depend(const ag__region *r, bool *marks)
{
    for (int k = r->n_insts - 1; k >= 0; k--) {
        const ag__inst *i = &r->insts[k];
        bool marked = false, ok = true;
        for (int j = 0; j < i->n_out; j++)
            marked = marked || marks[i->out + j];
        if (!marked)
            continue;
        if (i->op == &ag__op_cond || i->op == &ag__op_switch)
            ok = depend_flow(r, i, 1, marks);
        else if (i->op == &ag__op_while || i->op == &ag__op_scan)
            ok = depend_flow(r, i, 0, marks);
        else if (i->op == &ag__op_assign)
            depend_mark(r, marks, i->in + (i->attrs->i[0] == AG_ASSIGN),
                        i->attrs->i[0] == AG_ASSIGN ? 1 : 2);
        else if (i->op == &ag__op_reshape_like || i->op == &ag__op_expand_like ||
                 i->op == &ag__op_cut_like)
            depend_mark(r, marks, i->in, 1);
        else if (i->op->vjp || i->op == &ag__op_gradient || i->op == &ag__op_jvp)
            depend_mark(r, marks, i->in, i->n_in);
        if (!ok)
            return false;
    }
    return true;
}
