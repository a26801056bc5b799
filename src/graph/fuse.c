/*
 * Fusion: pointwise rows of one shape become one step, a program (ops/program.h), with reductions
 * of what they compute at the end. What only they read needs no memory.
 *
 * A group is found in the order of the instructions. It runs where its last member stands, so what
 * stands between its members runs before it, and must need none of their results: the first
 * instruction that needs one and cannot be a member ends the group. Operands live until then.
 *
 * A group without reductions may be the end of a product: each thread takes the rows that it has
 * just multiplied through the program, while they are in its cache.
 */
#include <string.h>

#include "../ops/matmul.h"
#include "../ops/pointwise.h"
#include "../ops/reduce.h"
#include "plan_parts.h"

enum { FUSE_STEPS = 16, FUSE_WINDOW = 64, FUSE_INPUTS = 3 * FUSE_STEPS };

/* A group in the making. */
typedef struct {
    const plan_build *b;
    ag_ints shape;
    int32_t first, last;
    int steps, reductions, reduced; /* reduced: of the last dimensions; 0: nothing is */
    bool member[FUSE_WINDOW];       /* of instructions from `first` on */
} fuse_group;

static ag_ints fuse_shape(const plan_build *b, int32_t v)
{
    return ag__value_shape(&b->r->values[v]);
}

static bool fuse_knows(const plan_build *b, const ag__inst *i)
{
    for (int j = 0; j < i->n_in; j++)
        if (i->in[j] >= 0 && !ag__plan_knows(&b->r->values[i->in[j]]))
            return false;
    return ag__plan_knows(&b->r->values[i->out]);
}

/* Integer division may fail, which programs cannot. */
static bool fuse_divides(const plan_build *b, const ag__inst *i)
{
    return (i->op == ag__ops[AG_OP_fmod] || i->op == ag__ops[AG_OP_remainder]) &&
           !ag__is_float((ag_dtype)b->r->values[i->out].dtype);
}

static bool fuse_pointwise(const plan_build *b, const ag__inst *i)
{
    return (i->op->pointwise || i->op == ag__ops[AG_OP_to]) && fuse_knows(b, i) &&
           !fuse_divides(b, i);
}

static int fuse_reducer(const ag__op *op)
{
    return op == ag__ops[AG_OP_sum]    ? AG_REDUCE_SUM
           : op == ag__ops[AG_OP_mean] ? AG_REDUCE_MEAN
           : op == ag__ops[AG_OP_prod] ? AG_REDUCE_PROD
           : op == ag__ops[AG_OP_amax] ? AG_REDUCE_MAX
           : op == ag__ops[AG_OP_amin] ? AG_REDUCE_MIN
                                       : -1;
}

/* How many of the last dimensions instruction i reduces; 0: none, or others. */
static int fuse_reduced(const plan_build *b, const ag__inst *i)
{
    const ag__value *x = fuse_reducer(i->op) < 0 ? NULL : &b->r->values[i->in[0]];
    if (!x || !ag__is_float((ag_dtype)x->dtype) || x->dtype != b->r->values[i->out].dtype)
        return 0;
    const int mask = ag__reduce_mask(b->p->c, i->op->name, i->attrs, x->ndim);
    for (int n = 1; n <= x->ndim; n++)
        if (mask == ((1 << n) - 1) << (x->ndim - n))
            return n;
    return 0;
}

/* The member that gives value v, or -1. */
static int32_t fuse_member(const fuse_group *g, int32_t v)
{
    const int32_t by = v < 0 ? -1 : g->b->r->values[v].inst;
    return by >= g->first && by - g->first < FUSE_WINDOW && g->member[by - g->first] ? by : -1;
}

static bool fuse_reads(const fuse_group *g, const ag__inst *i)
{
    for (int j = 0; j < i->n_in + i->n_after; j++)
        if (fuse_member(g, ag__inst_use(i, j)) >= 0)
            return true;
    return false;
}

/* A pointwise row of this shape, which reads no reduction. */
static bool fuse_takes(const fuse_group *g, const ag__inst *i)
{
    if (!fuse_pointwise(g->b, i) || g->steps == FUSE_STEPS ||
        !ag__same_shape(fuse_shape(g->b, i->out), g->shape))
        return false;
    for (int j = 0; j < i->n_in; j++) {
        const int32_t by = fuse_member(g, i->in[j]);
        if (by >= 0 && fuse_reducer(g->b->r->insts[by].op) >= 0)
            return false;
    }
    return true;
}

static bool fuse_ends(const fuse_group *g, const ag__inst *i)
{
    const int reduced = fuse_reduced(g->b, i);
    const int32_t by = reduced ? fuse_member(g, i->in[0]) : -1;
    return by >= 0 && fuse_reducer(g->b->r->insts[by].op) < 0 &&
           g->reductions < AG_PROGRAM_REDUCTIONS && (!g->reduced || g->reduced == reduced);
}

/* ---- the end of a product ---- */

/* A product that is computed where it is wanted. */
static bool fuse_multiplies(const plan_build *b, const ag__inst *i)
{
    const int dtype = b->r->values[i->out].dtype;
    return ag__is_product(i->op) && (dtype == AG_F32 || dtype == AG_F64) && fuse_knows(b, i);
}

/* Nobody but members reads the result of instruction p before the group runs. */
static bool fuse_alone(const fuse_group *g, int32_t p)
{
    const ag__region *r = g->b->r;
    for (int32_t m = p + 1; m < g->last; m++) {
        const ag__inst *i = &r->insts[m];
        if (!g->b->s.needed[m] || (m >= g->first && g->member[m - g->first]))
            continue;
        for (int j = 0; j < i->n_in + i->n_after; j++)
            if (ag__inst_use(i, j) == r->insts[p].out)
                return false;
    }
    return true;
}

/* A value of the group is written over an argument, which is done at once where nothing can fail
 * (plan_over.c). */
static bool fuse_updates(const fuse_group *g)
{
    const ag__region *r = g->b->r;
    for (int j = 0; j < r->n_outs && r == &g->b->p->g->main; j++)
        if (g->b->p->into[j] >= 0 && fuse_member(g, r->outs[j]) >= 0)
            return true;
    return false;
}

/* The product that the group may be the end of: the last one whose result it reads; -1: none. */
static int32_t fuse_product(const fuse_group *g)
{
    const plan_build *b = g->b;
    int32_t found = -1;
    if (g->reductions)
        return -1;
    for (int32_t m = g->first; m <= g->last; m++)
        for (int j = 0; j < b->r->insts[m].n_in && g->member[m - g->first]; j++) {
            const int32_t v = b->r->insts[m].in[j], p = v < 0 ? -1 : b->r->values[v].inst;
            if (p > found && g->last - p < FUSE_WINDOW && !b->group[p] &&
                fuse_multiplies(b, &b->r->insts[p]) && ag__same_shape(fuse_shape(b, v), g->shape) &&
                fuse_alone(g, p))
                found = p;
        }
    return found >= 0 && !fuse_updates(g) ? found : -1;
}

/* ---- groups ---- */

/* The group that begins with instruction k, and where each member's group runs. */
static void fuse_find(plan_build *b, int32_t k)
{
    const ag__region *r = b->r;
    fuse_group g = {
        .b = b, .shape = fuse_shape(b, r->insts[k].out), .first = k, .last = k, .steps = 1
    };
    g.member[0] = true;
    for (int32_t m = k + 1; m < r->n_insts && m - k < FUSE_WINDOW; m++) {
        const ag__inst *i = &r->insts[m];
        if (!b->s.needed[m])
            continue;
        const bool takes = !b->group[m] && fuse_takes(&g, i);
        const bool ends = !takes && !b->group[m] && fuse_ends(&g, i);
        if (!takes && !ends && (i->n_regions || fuse_reads(&g, i)))
            break;
        if (!takes && !ends)
            continue;
        g.member[m - k] = true;
        g.last = m;
        g.steps += takes;
        g.reductions += ends;
        g.reduced = ends ? fuse_reduced(b, i) : g.reduced;
    }
    const int32_t product = fuse_product(&g);
    for (int32_t m = k; m <= g.last && (product >= 0 || g.steps + g.reductions > 1); m++)
        if (g.member[m - k])
            b->group[m] = g.last;
    if (product >= 0)
        b->group[product] = g.last;
}

/* What a group reads is there until it runs, and so is what that is a view of. */
static void fuse_stretch(plan_build *b, int32_t v, int32_t until)
{
    while (v >= 0 && b->s.last[v] < until) {
        b->s.last[v] = until;
        const int32_t by = b->r->values[v].inst;
        v = by >= 0 && ag__plan_shares(b->r->insts[by].op) ? b->r->insts[by].in[0] : -1;
    }
}

void ag__fuse(plan_build *b)
{
    const ag__region *r = b->r;
    for (int32_t k = 0; k < r->n_insts; k++)
        if (b->s.needed[k] && !b->group[k] && fuse_pointwise(b, &r->insts[k]) &&
            ag__shape_numel(fuse_shape(b, r->insts[k].out)) > 1)
            fuse_find(b, k);
    for (int32_t k = 0; k < r->n_insts; k++)
        for (int j = 0; j < r->insts[k].n_in && b->group[k]; j++)
            fuse_stretch(b, r->insts[k].in[j], b->group[k]);
}

/* ---- the step ---- */

/* A program in the making. */
typedef struct {
    plan_build *b;
    int32_t last;    /* member */
    int32_t product; /* -1: none */
    ag__program_text *text;
    ag_tensor **inputs;
    ag__program_step *steps;
    ag__program_output *outputs;
    int32_t given[FUSE_INPUTS]; /* the values that the inputs are */
    bool taken[FUSE_INPUTS];    /* it is written over */
    int32_t made[FUSE_STEPS];   /* the values that the steps give */
} fuse_text;

/* Instruction m is part of the program. */
static bool fuse_has(const fuse_text *t, int32_t m)
{
    return m != t->product && t->b->group[m] == t->last;
}

static bool fuse_inside(const fuse_text *t, int32_t v)
{
    const int32_t by = t->b->r->values[v].inst;
    return by >= 0 && fuse_has(t, by);
}

/* The number of value v in the text, after all inputs are known. */
static int fuse_number(const fuse_text *t, int32_t v)
{
    const ag__program_text *text = t->text;
    for (int k = 0; k < text->n_steps; k++)
        if (t->made[k] == v)
            return text->n_inputs + k;
    for (int k = 0; k < text->n_inputs; k++)
        if (t->given[k] == v)
            return k;
    return -1;
}

static void fuse_input(fuse_text *t, int32_t v)
{
    if (fuse_inside(t, v) || fuse_number(t, v) >= 0)
        return;
    t->given[t->text->n_inputs] = v;
    t->inputs[t->text->n_inputs++] = t->b->values[v].t;
    ag__plan_touch(t->b->p, &t->b->values[v]);
}

/* What the loop of a row sees of its operands: rows that tell truth compute in what they
 * compare. */
static ag_dtype fuse_compute(const fuse_text *t, const ag__inst *i, ag_dtype result)
{
    ag_tensor heads[3], *in[3];
    for (int j = 0; j < i->n_in; j++) {
        const ag__value *v = &t->b->r->values[i->in[j]];
        const bool inside = fuse_inside(t, i->in[j]);
        heads[j] = (ag_tensor){ .dtype = v->dtype, .ndim = v->ndim };
        in[j] = inside ? &heads[j] : t->b->values[i->in[j]].t;
    }
    return ag__pointwise_compute(&(ag__call){ i->op, t->b->p->c, in, i->n_in, i->attrs, 1 },
                                 result);
}

static void fuse_step(fuse_text *t, const ag__inst *i)
{
    const ag_dtype result = (ag_dtype)t->b->r->values[i->out].dtype;
    ag__program_step step = { .row = AG_PROGRAM_CAST, .compute = result, .dtype = result };
    if (i->op->pointwise) {
        step.row = i->op->pointwise->index;
        step.compute = fuse_compute(t, i, result);
        step.p = i->attrs->p;
        step.q = i->attrs->q;
    }
    for (int j = 0; j < i->n_in; j++)
        step.in[j] = fuse_number(t, i->in[j]);
    t->made[t->text->n_steps] = i->out;
    t->steps[t->text->n_steps++] = step;
}

/* An operand of the product lies at this place. */
static bool fuse_multiplied(const fuse_text *t, int32_t place)
{
    const ag__inst *i = t->product < 0 ? NULL : &t->b->r->insts[t->product];
    for (int j = 0; i && j < i->n_in; j++)
        if (t->b->values[i->in[j]].place == place)
            return true;
    return false;
}

/* Input k may be written over by a value of this dtype: all that lies there is read element by
 * element. */
static bool fuse_over(const fuse_text *t, int k, const ag__value *v)
{
    const plan_value *x = &t->b->values[t->given[k]];
    if (t->taken[k] || !ag__plan_ends(t->b, t->given[k], t->last) || fuse_multiplied(t, x->place) ||
        x->t->dtype != v->dtype || !ag__same_shape(ag__sizes(x->t), ag__value_shape(v)))
        return false;
    for (int m = 0; m < t->text->n_inputs; m++) {
        const plan_value *y = &t->b->values[t->given[m]];
        if (m != k && y->place == x->place &&
            (t->taken[m] || y->t->dtype != v->dtype || !ag__is_contiguous(y->t) ||
             !ag__same_shape(ag__sizes(y->t), ag__value_shape(v))))
            return false;
    }
    return true;
}

static bool fuse_output(fuse_text *t, int32_t v, int which)
{
    plan_build *b = t->b;
    const int32_t by = b->r->values[v].inst;
    const int number =
        which == AG_PROGRAM_ALL ? fuse_number(t, v) : fuse_number(t, b->r->insts[by].in[0]);
    int over = t->text->n_inputs - 1;
    while (over >= 0 &&
           !(which == AG_PROGRAM_ALL && !b->target[v] && fuse_over(t, over, &b->r->values[v])))
        over--;
    if (over >= 0)
        t->taken[over] = true;
    if (!ag__plan_home(b, v, over >= 0 ? &b->values[t->given[over]] : NULL))
        return false;
    t->outputs[t->text->n_outputs++] = (ag__program_output){ number, which, b->values[v].t };
    return true;
}

/* What the program reads is there before it. */
static void fuse_inputs(fuse_text *t, int32_t first)
{
    const ag__region *r = t->b->r;
    for (int32_t m = first; m <= t->last; m++)
        for (int j = 0; j < r->insts[m].n_in && fuse_has(t, m); j++)
            fuse_input(t, r->insts[m].in[j]);
}

static void fuse_steps(fuse_text *t, int32_t first)
{
    for (int32_t m = first; m <= t->last; m++) {
        const ag__inst *i = &t->b->r->insts[m];
        if (!fuse_has(t, m))
            continue;
        t->b->p->n_nodes++;
        if (fuse_reducer(i->op) < 0)
            fuse_step(t, i);
        else
            t->text->reduced = fuse_reduced(t->b, i);
    }
}

static bool fuse_outputs(fuse_text *t, int32_t first)
{
    const ag__region *r = t->b->r;
    for (int32_t m = first; m <= t->last; m++) {
        const int32_t v = r->insts[m].out;
        if (!fuse_has(t, m))
            continue;
        const int which = fuse_reducer(r->insts[m].op);
        if (which >= 0 ? !fuse_output(t, v, which)
                       : t->b->s.last[v] > t->last && !fuse_output(t, v, AG_PROGRAM_ALL))
            return false;
    }
    return true;
}

static bool fuse_fill(fuse_text *t, plan_step *s)
{
    const int32_t first = t->last < FUSE_WINDOW ? 0 : t->last - FUSE_WINDOW;
    for (int32_t m = first; m <= t->last; m++)
        if (t->b->group[m] == t->last && ag__is_product(t->b->r->insts[m].op))
            t->product = m;
    if (t->product >= 0) {
        t->b->p->n_nodes++;
        s->u.program.product = ag__plan_kernel(t->b, t->product);
        if (!s->u.program.product)
            return false;
    }
    fuse_inputs(t, first);
    fuse_steps(t, first);
    return fuse_outputs(t, first);
}

bool ag__fuse_step(plan_build *b, int32_t k)
{
    ag__plan *p = b->p;
    plan_step *s = ag__plan_step(p, b->block, PLAN_PROGRAM);
    fuse_text t = { .b = b, .last = k, .product = -1 };
    t.text = s ? ag__graph_alloc(p->g, sizeof *t.text) : NULL;
    t.inputs = t.text ? ag__graph_alloc(p->g, FUSE_INPUTS * sizeof *t.inputs) : NULL;
    t.steps = t.inputs ? ag__graph_alloc(p->g, FUSE_STEPS * sizeof *t.steps) : NULL;
    const size_t outputs = FUSE_STEPS + AG_PROGRAM_REDUCTIONS;
    t.outputs = t.steps ? ag__graph_alloc(p->g, outputs * sizeof *t.outputs) : NULL;
    if (!t.outputs)
        return false;
    s->u.program.text = t.text;
    t.text->inputs = t.inputs;
    t.text->steps = t.steps;
    t.text->outputs = t.outputs;
    if (!fuse_fill(&t, s))
        return false;
    t.text->shape = fuse_shape(b, t.made[0]);
    return true;
}
