/*
 * Runs programs. A block of elements, which is what a thread takes at a time, goes through the codes
 * tile by tile; at the end of each tile the reductions take what they reduce.
 *
 * Short lines are reduced by the loops for whole tensors: as they lie in the tile, or out of a buffer
 * where a line that crosses tiles is put together. Of long ones an ag__line keeps what it knows.
 */
#include "../base/parallel.h"
#include "program_parts.h"

#include <string.h>

typedef struct {
    const ag__program *p;
    ag__place at;
    char *row[PROGRAM_PLACES], *place[PROGRAM_PLACES];
    _Alignas(64) char data[PROGRAM_BYTES];
} program_tiles;

static int64_t program_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* ---- tiles ---- */

static void program_steps(const ag__program *p, char *const *place, int64_t n)
{
    for (int i = 0; i < p->n_codes; i++) {
        const program_code *s = &p->codes[i];
        char *data[AG_LOOP_MAX_DATA] = { place[s->to], place[s->in[0]], place[s->in[1]],
                                         place[s->in[2]] };
        if (s->loop)
            s->loop(n, data, s->p, s->q);
        else if (data[0] != data[1])
            ag__convert((ag_dtype)s->dtype, data[0], 1, (ag_dtype)s->from, data[1], 1, n);
    }
}

/* Gets ready for n elements from `from` on, in tiles. */
static void program_begin(program_tiles *t, int64_t from, int64_t n)
{
    const ag__program *p = t->p;
    t->at.row = t->row;
    for (int k = p->operands.n + p->n_writes; k < p->n_places; k++)
        t->place[k] = t->data + k * p->room;
    ag__operands_seek(&p->operands, &t->at, from);
    ag__operands_fix(&p->operands, (ag__buffers){ t->data, p->room },
                     program_least(n + p->lanes - 1, p->tile));
}

/* Elements [done, done + m), the next ones. */
static void program_tile(program_tiles *t, int64_t done, int64_t m)
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

/* ---- lines ---- */

/* Short lines, `count` of n elements; the result of the first is number `index`. */
static void program_short(program_tiles *t, int64_t from, int64_t count, int64_t n, int64_t index)
{
    const ag__program *p = t->p;
    double carried[AG_PROGRAM_REDUCTIONS][AG_LINE_LEAF];
    int64_t held = 0; /* elements of an unfinished line */
    for (int64_t left = count * n, m; left > 0; left -= m, from += m) {
        m = program_least(left, p->tile);
        program_tile(t, from, m);
        const int64_t head = held ? program_least(n - held, m) : 0, whole = (m - head) / n;
        const int64_t tail = m - head - whole * n;
        const bool ends = held + head == n;
        for (int k = 0; k < p->n_reductions; k++) {
            const program_reduction *r = &p->reductions[k];
            const int which = p->lines.chunks > 1 ? r->partial : r->which;
            const char *x = t->place[r->place];
            char *y = (r->parts ? r->parts : r->results) + index * r->size,
                 *carry = (char *)carried[k];
            memcpy(carry + held * r->size, x, (size_t)(head * r->size));
            x += head * r->size;
            if (ends)
                r->reducers->reduce[which](carry, y, (ag__lanes){ 1, n, 1, 1, (double)n });
            if (whole)
                r->reducers->reduce[which](x, y + (ends ? r->size : 0),
                                           (ag__lanes){ whole, n, 1, 1, (double)n });
            if (tail)
                memcpy(carry, x + whole * n * r->size, (size_t)(tail * r->size));
        }
        index += whole + ends;
        held = ends || !held ? tail : held + head;
    }
}

/* n elements of a line, which is long. */
static void program_take(program_tiles *t, int64_t from, int64_t n, ag__line *lines)
{
    const ag__program *p = t->p;
    for (int k = 0; k < p->n_reductions; k++)
        ag__line_begin(&lines[k]);
    for (int64_t m; n > 0; n -= m, from += m) {
        m = program_least(n, p->tile);
        program_tile(t, from, m);
        for (int k = 0; k < p->n_reductions; k++) {
            const program_reduction *r = &p->reductions[k];
            r->reducers->line_take(&lines[k], r->partial, t->place[r->place], m);
        }
    }
    for (int k = 0; k < p->n_reductions; k++)
        p->reductions[k].reducers->line_close(&lines[k], p->reductions[k].partial);
}

/* The result number `index` of chunks, from what was taken of one. */
static void program_end(const ag__program *p, const program_reduction *r, ag__line *line,
                        int64_t index)
{
    ag__line_row value;
    char *y = (r->parts ? r->parts : r->results) + index * r->size;
    r->reducers->line_end(line, r->partial, &value);
    if (r->parts)
        memcpy(y, &value, (size_t)r->size);
    else
        r->reducers->reduce[r->which](&value, y, (ag__lanes){ 1, 1, 1, 1, (double)p->lines.n });
}

/* Whole lines or chunks, `count` of n elements; the result of the first is number `index`. */
static void program_whole(program_tiles *t, int64_t from, int64_t count, int64_t n, int64_t index)
{
    const ag__program *p = t->p;
    ag__line lines[AG_PROGRAM_REDUCTIONS];
    program_begin(t, from, count * n);
    if (n <= AG_LINE_LEAF) {
        program_short(t, from, count, n, index);
        return;
    }
    for (; count > 0; count--, from += n, index++) {
        program_take(t, from, n, lines);
        for (int k = 0; k < p->n_reductions; k++)
            program_end(p, &p->reductions[k], &lines[k], index);
    }
}

/* Elements of a chunk; all but the last of a line are alike. */
static int64_t program_chunk(const program_lines *l, int64_t chunk)
{
    return program_least(l->chunk, l->n - chunk * l->chunk);
}

/* One piece of a line, or several lines. */
static void program_block_of_lines(program_tiles *t, int64_t block)
{
    const ag__program *p = t->p;
    const program_lines *l = &p->lines;
    if (l->chunks * l->pieces == 1) {
        const int64_t first = block * l->group;
        program_whole(t, first * l->n, program_least(l->group, l->outer - first), l->n, first);
        return;
    }
    const int64_t part = block / l->pieces, chunk = part % l->chunks, line = part / l->chunks;
    const int64_t begin = line * l->n + chunk * l->chunk, n = program_chunk(l, chunk);
    const int64_t from = block % l->pieces * l->piece;
    ag__line lines[AG_PROGRAM_REDUCTIONS];
    if (from >= n)
        return;
    if (n <= l->piece) {
        program_whole(t, begin, 1, n, part);
        return;
    }
    const int64_t m = program_least(l->piece, n - from);
    program_begin(t, begin + from, m);
    program_take(t, begin + from, m, lines);
    for (int k = 0; k < p->n_reductions; k++)
        p->reductions[k].taken[block] = lines[k].part;
}

/* From pieces to chunks, from chunks to lines, and to the result's dtype. */
static void program_finish(const ag__program *p, const program_reduction *r)
{
    const program_lines *l = &p->lines;
    ag__line line;
    for (int64_t part = 0; r->taken && part < l->outer * l->chunks; part++) {
        const int64_t n = program_chunk(l, part % l->chunks);
        if (n <= l->piece)
            continue;
        ag__line_begin(&line);
        for (int64_t i = 0; i * l->piece < n; i++)
            r->reducers->line_join(&line, r->partial, &r->taken[part * l->pieces + i]);
        r->reducers->line_close(&line, r->partial);
        program_end(p, r, &line, part);
    }
    if (r->parts)
        r->reducers->reduce[r->which](r->parts, r->results,
                                      (ag__lanes){ l->outer, l->chunks, 1, 1, (double)l->n });
    if (r->own)
        ag__convert((ag_dtype)r->to->dtype, ag__at(r->to), 1, r->compute, r->own, 1, l->outer);
}

/* ---- a run ---- */

static void program_block(void *arg, int64_t block, int worker)
{
    const ag__program *p = arg;
    program_tiles t;
    (void)worker;
    t.p = p;
    if (p->n_reductions) {
        program_block_of_lines(&t, block);
        return;
    }
    int64_t from = block * p->part;
    const int64_t end = program_least(from + p->part, p->total);
    program_begin(&t, from, end - from);
    for (; from < end; from += p->tile)
        program_tile(&t, from, program_least(p->tile, end - from));
}

/* One element needs no tiles. */
static void program_one(ag__program *p)
{
    for (int k = 0; k < p->operands.n; k++) {
        const ag__operand *o = &p->operands.at[k];
        if (o->dtype == o->wanted)
            p->one[k] = ag__at(p->inputs[k]);
        else
            ag__convert(o->wanted, p->one[k], 1, o->dtype, ag__at(p->inputs[k]), 1, 1);
    }
    for (int k = 0; k < p->n_writes; k++)
        p->one[p->operands.n + k] = ag__at(p->writes[k].to);
    program_steps(p, p->one, 1);
    for (int k = 0; k < p->n_reductions; k++) {
        const program_reduction *r = &p->reductions[k];
        r->reducers->reduce[r->which](p->one[r->place], r->results, (ag__lanes){ 1, 1, 1, 1, 1 });
        program_finish(p, r);
    }
}

/* No element: what reductions of nothing are, if there are any. The greatest and the least of
 * nothing were refused before. */
static void program_none(const ag__program *p)
{
    const double none = 0;
    for (int k = 0; k < p->n_reductions; k++) {
        const program_reduction *r = &p->reductions[k];
        if (p->lines.outer == 0 || r->which == AG_REDUCE_MAX || r->which == AG_REDUCE_MIN)
            continue;
        r->reducers->reduce[r->which](&none, r->results, (ag__lanes){ p->lines.outer, 0, 1, 1, 0 });
        program_finish(p, r);
    }
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
    for (int k = 0; k < p->operands.n; k++)
        p->operands.at[k].data = ag__at(p->inputs[k]);
    for (int k = 0; k < p->n_writes; k++)
        p->writes[k].data = ag__at(p->writes[k].to);
    if (p->lines.blocks == 1)
        program_block(p, 0, 0);
    else
        ag__parallel(p->c, p->lines.blocks, program_block, p);
    for (int k = 0; k < p->n_reductions; k++)
        program_finish(p, &p->reductions[k]);
}
