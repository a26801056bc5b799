/*
 * Reductions of lines: of the last dimensions, or of all.
 *
 * Short lines are reduced by the loops for whole tensors: as they lie in the tile, or out of a
 * buffer where a line that crosses tiles is put together. Of long ones an ag__line keeps what it
 * knows.
 */
#include "program_parts.h"

#include <string.h>

/* Short lines, `count` of n elements; the result of the first is number `index`. */
static void lines_short(program_tiles *t, int64_t from, int64_t count, int64_t n, int64_t index)
{
    const ag__program *p = t->p;
    double carried[AG_PROGRAM_REDUCTIONS][AG_LINE_LEAF];
    int64_t held = 0; /* elements of an unfinished line */
    for (int64_t left = count * n, m; left > 0; left -= m, from += m) {
        m = program_least(left, p->tile);
        ag__program_tile(t, from, m);
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
static void lines_take(program_tiles *t, int64_t from, int64_t n, ag__line *lines)
{
    const ag__program *p = t->p;
    for (int k = 0; k < p->n_reductions; k++)
        ag__line_begin(&lines[k]);
    for (int64_t m; n > 0; n -= m, from += m) {
        m = program_least(n, p->tile);
        ag__program_tile(t, from, m);
        for (int k = 0; k < p->n_reductions; k++) {
            const program_reduction *r = &p->reductions[k];
            r->reducers->line_take(&lines[k], r->partial, t->place[r->place], m);
        }
    }
    for (int k = 0; k < p->n_reductions; k++)
        p->reductions[k].reducers->line_close(&lines[k], p->reductions[k].partial);
}

/* The result number `index` of chunks, from what was taken of one. */
static void lines_end(const ag__program *p, const program_reduction *r, ag__line *line,
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
static void lines_whole(program_tiles *t, int64_t from, int64_t count, int64_t n, int64_t index)
{
    const ag__program *p = t->p;
    ag__line lines[AG_PROGRAM_REDUCTIONS];
    ag__program_begin(t, from, count * n);
    if (n <= AG_LINE_LEAF) {
        lines_short(t, from, count, n, index);
        return;
    }
    for (; count > 0; count--, from += n, index++) {
        lines_take(t, from, n, lines);
        for (int k = 0; k < p->n_reductions; k++)
            lines_end(p, &p->reductions[k], &lines[k], index);
    }
}

/* Elements of a chunk; all but the last of a line are alike. */
static int64_t lines_chunk(const program_lines *l, int64_t chunk)
{
    return program_least(l->chunk, l->n - chunk * l->chunk);
}

void ag__program_lines(program_tiles *t, int64_t block)
{
    const ag__program *p = t->p;
    const program_lines *l = &p->lines;
    if (l->chunks * l->pieces == 1) {
        const int64_t first = block * l->group;
        lines_whole(t, first * l->n, program_least(l->group, l->outer - first), l->n, first);
        return;
    }
    const int64_t part = block / l->pieces, chunk = part % l->chunks, line = part / l->chunks;
    const int64_t begin = line * l->n + chunk * l->chunk, n = lines_chunk(l, chunk);
    const int64_t from = block % l->pieces * l->piece;
    ag__line lines[AG_PROGRAM_REDUCTIONS];
    if (from >= n)
        return;
    if (n <= l->piece) {
        lines_whole(t, begin, 1, n, part);
        return;
    }
    const int64_t m = program_least(l->piece, n - from);
    ag__program_begin(t, begin + from, m);
    lines_take(t, begin + from, m, lines);
    for (int k = 0; k < p->n_reductions; k++)
        p->reductions[k].taken[block] = lines[k].part;
}

/* From pieces to chunks, from chunks to lines. */
void ag__program_lines_end(const ag__program *p, const program_reduction *r)
{
    const program_lines *l = &p->lines;
    ag__line line;
    for (int64_t part = 0; r->taken && part < l->outer * l->chunks; part++) {
        const int64_t n = lines_chunk(l, part % l->chunks);
        if (n <= l->piece)
            continue;
        ag__line_begin(&line);
        for (int64_t i = 0; i * l->piece < n; i++)
            r->reducers->line_join(&line, r->partial, &r->taken[part * l->pieces + i]);
        r->reducers->line_close(&line, r->partial);
        lines_end(p, r, &line, part);
    }
    if (r->parts)
        r->reducers->reduce[r->which](r->parts, r->results,
                                      (ag__lanes){ l->outer, l->chunks, 1, 1, (double)l->n });
}
