/*
 * Runs programs. A block of elements, which is what a thread takes at a time, goes through the
 * codes tile by tile; at the end of each tile the reductions take what they reduce.
 */
#include "../base/parallel.h"
#include "program_parts.h"

#include <string.h>

/* ---- tiles ---- */

/* A conversion, or a copy to what may be the same place. */
static void program_turn(const program_code *s, char *const *data, int64_t n)
{
    if (data[0] != data[1])
        ag__convert((ag_dtype)s->dtype, data[0], 1, (ag_dtype)s->from, data[1], 1, n);
}

static void program_steps(const ag__program *p, char *const *place, int64_t n)
{
    for (int i = 0; i < p->n_codes; i++) {
        const program_code *s = &p->codes[i];
        char *data[AG_LOOP_MAX_DATA] = { place[s->to], place[s->in[0]], place[s->in[1]],
                                         place[s->in[2]] };
        if (s->loop)
            s->loop(n, data, s->p, s->q);
        else
            program_turn(s, data, n);
    }
}

void ag__program_begin(program_tiles *t, int64_t from, int64_t n)
{
    const ag__program *p = t->p;
    t->at.row = t->row;
    for (int k = p->operands.n + p->n_writes; k < p->n_places; k++)
        t->place[k] = t->data + k * p->room;
    ag__operands_seek(&p->operands, &t->at, from);
    ag__operands_fix(&p->operands, (ag__buffers){ t->data, p->room },
                     program_least(n + p->lanes - 1, p->tile));
}

void ag__program_tile(program_tiles *t, int64_t done, int64_t m)
{
    const ag__program *p = t->p;
    const int64_t padded = (m + p->lanes - 1) / p->lanes * p->lanes;
    const int first = p->operands.n;
    ag__operands_bring(&p->operands, &t->at, done, m, padded, (ag__buffers){ t->data, p->room },
                       t->place);
    for (int k = 0; k < p->n_writes; k++)
        t->place[first + k] = m == padded ? p->writes[k].data + done * p->writes[k].size
                                          : t->data + (first + k) * p->room;
    program_steps(p, t->place, padded);
    for (int k = 0; k < p->n_writes && m < padded; k++) {
        const program_write *w = &p->writes[k];
        memcpy(w->data + done * w->size, t->place[first + k], (size_t)(m * w->size));
    }
}

/* ---- a run ---- */

void ag__program_part(const ag__program *p, int64_t from, int64_t n)
{
    const int64_t end = from + n;
    program_tiles t;
    t.p = p;
    ag__program_begin(&t, from, n);
    for (; from < end; from += p->tile)
        ag__program_tile(&t, from, program_least(p->tile, end - from));
}

static void program_block(void *arg, int64_t block, int worker)
{
    const ag__program *p = arg;
    (void)worker;
    if (!p->n_reductions) {
        const int64_t from = block * p->part;
        ag__program_part(p, from, program_least(p->part, p->total - from));
        return;
    }
    program_tiles t;
    t.p = p;
    if (p->by_columns)
        ag__program_columns(&t, block);
    else
        ag__program_lines(&t, block);
}

static void program_convert(const ag__program *p, const program_reduction *r)
{
    if (r->own)
        ag__convert((ag_dtype)r->to->dtype, ag__at(r->to), 1, r->compute, r->own, 1, p->results);
}

/* From what blocks left to results. */
static void program_finish(const ag__program *p, const program_reduction *r)
{
    if (p->by_columns)
        ag__program_columns_end(p, r);
    else
        ag__program_lines_end(p, r);
    program_convert(p, r);
}

/* No element: what reductions of nothing are, if there are any. The greatest and the least of
 * nothing were refused before. */
static void program_none(const ag__program *p)
{
    const double none = 0;
    for (int k = 0; k < p->n_reductions; k++) {
        const program_reduction *r = &p->reductions[k];
        if (p->results == 0 || r->which == AG_REDUCE_MAX || r->which == AG_REDUCE_MIN)
            continue;
        r->reducers->reduce[r->which](&none, r->results, (ag__lanes){ p->results, 0, 1, 1, 0 });
        program_convert(p, r);
    }
}

/* ---- one element ---- */

void ag__program_bind_one(ag__program *p)
{
    for (int i = 0; i < p->n_codes; i++) {
        const program_code *s = &p->codes[i];
        p->bound[i] = (program_bound){ { p->one[s->to], p->one[s->in[0]], p->one[s->in[1]],
                                         p->one[s->in[2]] } };
    }
}

/* Where operands and outputs lie now; true when that is not where they were. */
static bool program_follow(ag__program *p)
{
    bool moved = false;
    for (int k = 0; k < p->operands.n; k++) {
        const ag__operand *o = &p->operands.at[k];
        char *at = ag__at(p->inputs[k]);
        if (o->dtype != o->wanted) {
            ag__convert(o->wanted, p->one[k], 1, o->dtype, at, 1, 1);
            continue;
        }
        moved = moved || p->one[k] != at;
        p->one[k] = at;
    }
    for (int k = 0; k < p->n_writes; k++) {
        char *at = ag__at(p->writes[k].to), **place = &p->one[p->operands.n + k];
        moved = moved || *place != at;
        *place = at;
    }
    return moved;
}

/* There are no tiles, and mostly data lie where they lay before. */
static void program_one(ag__program *p)
{
    if (program_follow(p))
        ag__program_bind_one(p);
    for (int i = 0; i < p->n_codes; i++) {
        const program_code *s = &p->codes[i];
        if (s->loop)
            s->loop(1, p->bound[i].data, s->p, s->q);
        else
            program_turn(s, p->bound[i].data, 1);
    }
    for (int k = 0; k < p->n_reductions; k++) {
        const program_reduction *r = &p->reductions[k];
        r->reducers->reduce[r->which](p->one[r->place], r->results, (ag__lanes){ 1, 1, 1, 1, 1 });
        program_convert(p, r);
    }
}

void ag__program_bind(ag__program *p)
{
    for (int k = 0; k < p->operands.n; k++)
        p->operands.at[k].data = ag__at(p->inputs[k]);
    for (int k = 0; k < p->n_writes; k++)
        p->writes[k].data = ag__at(p->writes[k].to);
}

void ag__program_run(ag__program *p)
{
    for (int k = 0; k < p->n_reductions; k++) {
        program_reduction *r = &p->reductions[k];
        r->results = r->own ? r->own : ag__at(r->to);
    }
    if (p->total == 1) {
        program_one(p);
        return;
    }
    if (p->total == 0) {
        program_none(p);
        return;
    }
    ag__program_bind(p);
    if (p->blocks == 1)
        program_block(p, 0, 0);
    else
        ag__parallel(p->c, p->blocks, program_block, p);
    for (int k = 0; k < p->n_reductions; k++)
        program_finish(p, &p->reductions[k]);
}
