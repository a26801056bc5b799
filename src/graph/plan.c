/*
 * Making plans, and giving them up: see plan.h and plan_parts.h. Here the parameters and results of
 * the main region get their tensors; all between is plan_region.c's.
 */
#include <string.h>

#include "../tensor/foreign.h"
#include "plan_parts.h"

enum { PLAN_SMALL = 64 }; /* bytes of arguments that are copied rather than bound */

/* Few bytes are copied into the arena, where they may be written over; more are bound. */
static bool plan_inputs(ag__plan *p, plan_value *params)
{
    const ag__region *r = &p->g->main;
    for (int j = 0; j < r->n_params; j++) {
        const ag__value *v = &r->values[r->params[j]];
        const int64_t numel = ag__shape_numel(ag__value_shape(v));
        if (numel < 0)
            return ag__plan_unsupported(p, "a parameter of unknown size");
        const bool small = (size_t)numel * ag__itemsize((ag_dtype)v->dtype) <= PLAN_SMALL;
        if (!ag__plan_tensor(p, (ag_dtype)v->dtype, ag__value_shape(v),
                             small ? PLAN_NO_PLACE : PLAN_FLOATS, &params[j]))
            return false;
        params[j].lent = !small;
        params[j].t->flags |= v->number ? AG_T_NUMBER : 0;
        p->inputs[j] = (plan_input){ params[j].t, small ? NULL : ag__plan_buffer(p) };
        if (!small && !p->inputs[j].buffer)
            return false;
    }
    return true;
}

/* Results are computed where they are given out or written over, when they are more than a
 * number. */
static bool plan_targets(ag__plan *p, plan_value *targets)
{
    const ag__region *r = &p->g->main;
    for (int j = 0; j < r->n_outs; j++) {
        const ag__value *v = ag__region_out(r, j);
        if (ag__shape_numel(ag__value_shape(v)) > 1 &&
            !ag__plan_tensor(p, (ag_dtype)v->dtype, ag__value_shape(v), PLAN_FLOATS, &targets[j]))
            return false;
    }
    return true;
}

/* A result that lies in an argument is copied out of it before any is written over. */
static bool plan_results(ag__plan *p, const plan_value *targets, plan_value *outs)
{
    for (int j = 0; j < p->g->main.n_outs; j++) {
        const plan_value from = outs[j];
        if (p->into[j] >= 0 && from.dynamic)
            return ag__plan_unsupported(
                p, "a result of unknown size that is written over an argument");
        const bool direct = from.t == targets[j].t;
        if (p->into[j] >= 0 && from.place == PLAN_FLOATS && !direct &&
            !ag__plan_dense(p, p->main, &outs[j]))
            return false;
        p->results[j] = (plan_result){ outs[j].t, direct, from.dynamic, NULL };
        if (direct && p->into[j] >= 0 && !(p->results[j].buffer = ag__plan_buffer(p)))
            return false;
    }
    for (int j = 0; j < p->g->main.n_outs; j++)
        ag__plan_touch(p, &outs[j]);
    return true;
}

static bool plan_main(ag__plan *p, const int32_t *into)
{
    const ag__region *r = &p->g->main;
    const size_t n_in = (size_t)r->n_params, n = (size_t)r->n_outs;
    int32_t *copy = ag__graph_alloc(p->g, n * sizeof *copy);
    plan_value *values = copy ? ag__graph_alloc(p->g, (n_in + 2 * n) * sizeof *values) : NULL;
    p->inputs = values ? ag__graph_alloc(p->g, n_in * sizeof *p->inputs) : NULL;
    p->results = p->inputs ? ag__graph_alloc(p->g, n * sizeof *p->results) : NULL;
    if (!p->results)
        return false;
    if (n)
        memcpy(copy, into, n * sizeof *copy);
    p->into = copy;
    p->main = ag__plan_block(p);
    plan_value *targets = values + n_in, *outs = targets + n;
    return p->main && plan_inputs(p, values) && plan_targets(p, targets) &&
           ag__plan_region(p, r, p->main, values, targets, outs) && plan_results(p, targets, outs);
}

static bool plan_prepare(ag__plan *p)
{
    p->foreign = ag__foreign_new(p->c, NULL);
    if (!p->foreign)
        return false;
    ag_tensor *t = ag__tensor_new(p->c, AG_F32, 1, (const int64_t[]){ 0 });
    p->nothing = t;
    return ag__plan_keep(p, t);
}

ag__plan *ag__plan_new(ag_graph *g, const int32_t *into, int off)
{
    ag_context *c = g->c;
    const bool inference = c->inference;
    ag__plan *p = ag__alloc(c, sizeof *p);
    if (!p) {
        ag_graph_free(g);
        return NULL;
    }
    *p = (ag__plan){ .g = g, .c = c, .off = off };
    c->inference = false;
    const bool ok =
        plan_prepare(p) && plan_main(p, into) && ag__plan_arrange(p) && ag__plan_link(p);
    c->inference = inference;
    if (ok)
        return p;
    ag__plan_free(p);
    return NULL;
}

void ag__plan_free(ag__plan *p)
{
    if (!p)
        return;
    ag_context *c = p->c;
    for (plan_block *b = p->blocks; b; b = b->next) {
        for (int i = 0; i < b->n; i++)
            if (b->steps[i].kind == PLAN_PROGRAM)
                ag__program_free(b->steps[i].u.program.made);
        ag__free(c, b->steps, (size_t)b->room * sizeof *b->steps);
    }
    for (int i = p->n_tensors - 1; i >= 0; i--)
        ag__tensor_unref(p->tensors[i]);
    for (plan_buffer *b = p->buffers; b; b = b->next)
        ag__free(c, b->data, b->bytes);
    if (p->foreign)
        ag__foreign_unref(p->foreign);
    ag__free(c, p->tensors, (size_t)p->room_tensors * sizeof *p->tensors);
    ag__free(c, p->bound, (size_t)p->room_bound * sizeof *p->bound);
    ag__free(c, p->places, (size_t)p->room_places * sizeof *p->places);
    ag__free(c, p->arena, p->bytes);
    ag_graph_free(p->g);
    ag__free(c, p, sizeof *p);
}

int ag__plan_steps(const ag__plan *p)
{
    int n = 0;
    for (const plan_block *b = p->blocks; b; b = b->next)
        n += b->n;
    return n;
}

int ag__plan_nodes(const ag__plan *p) { return p->n_nodes; }
size_t ag__plan_bytes(const ag__plan *p) { return p->bytes; }
