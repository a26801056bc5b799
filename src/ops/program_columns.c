/*
 * Reductions of columns: of the first dimensions.
 *
 * A leaf, some rows of a chunk, is added up where its partial results lie, row after row as the
 * plain reduction does; when all is done leaves are joined in pairs, with the rests of a binary
 * counter, which is its order too.
 */
#include "program_parts.h"

#include <string.h>

static char *columns_leaf(const program_columns *l, const program_reduction *r, int64_t chunk,
                          int64_t leaf)
{
    return r->leaves + (chunk * l->leaves + leaf) * l->inner * r->size;
}

/* m elements of a tile, the first of which stands in this row of a chunk. */
static void columns_take(const program_tiles *t, int64_t chunk, int64_t row, int64_t column,
                         int64_t m)
{
    const program_columns *l = &t->p->columns;
    for (int64_t done = 0, len; done < m; done += len, row++, column = 0) {
        len = program_least(m - done, l->inner - column);
        for (int k = 0; k < t->p->n_reductions; k++) {
            const program_reduction *r = &t->p->reductions[k];
            char *to = columns_leaf(l, r, chunk, row / AG_LINE_COLS) + column * r->size;
            r->reducers->row_take(r->partial, to, t->place[r->place] + done * r->size, len,
                                  row % AG_LINE_COLS == 0);
        }
    }
}

/* Whole rows [row, row + rows) of a chunk, as they follow each other. */
static void columns_rows(program_tiles *t, int64_t chunk, int64_t row, int64_t rows)
{
    const program_columns *l = &t->p->columns;
    const int64_t from = (chunk * l->chunk + row) * l->inner, n = rows * l->inner;
    ag__program_begin(t, from, n);
    for (int64_t done = 0, m; done < n; done += m) {
        m = program_least(n - done, t->p->tile);
        ag__program_tile(t, from + done, m);
        columns_take(t, chunk, row + done / l->inner, done % l->inner, m);
    }
}

/* Columns [column, end) of the rows of a leaf, or of less: row by row, a tile's width at a time. */
static void columns_strip(program_tiles *t, int64_t chunk, int64_t row, int64_t rows,
                          int64_t column, int64_t end)
{
    const ag__program *p = t->p;
    const program_columns *l = &p->columns;
    for (int64_t m; column < end; column += m) {
        m = program_least(end - column, p->tile);
        for (int64_t i = row; i < row + rows; i++) {
            const int64_t from = (chunk * l->chunk + i) * l->inner + column;
            ag__operands_seek(&p->operands, &t->at, from);
            ag__program_tile(t, from, m);
            columns_take(t, chunk, i, column, m);
        }
    }
}

static int64_t columns_chunk(const program_columns *l, int64_t chunk)
{
    return program_least(l->chunk, l->n - chunk * l->chunk);
}

void ag__program_columns(program_tiles *t, int64_t block)
{
    const program_columns *l = &t->p->columns;
    const int64_t chunk = block / l->strips / l->groups, column = block % l->strips * l->strip;
    const int64_t first = block / l->strips % l->groups * l->group * AG_LINE_COLS;
    const int64_t rows = program_least(l->group * AG_LINE_COLS, columns_chunk(l, chunk) - first);
    if (rows <= 0)
        return;
    if (l->strips == 1 && l->inner <= t->p->tile) {
        columns_rows(t, chunk, first, rows);
        return;
    }
    ag__program_begin(t, 0, t->p->tile);
    for (int64_t row = 0; row < rows; row += AG_LINE_COLS)
        columns_strip(t, chunk, first + row, program_least(rows - row, AG_LINE_COLS), column,
                      program_least(column + l->strip, l->inner));
}

void ag__program_columns_end(const ag__program *p, const program_reduction *r)
{
    const program_columns *l = &p->columns;
    for (int64_t chunk = 0; chunk < l->chunks; chunk++) {
        const int64_t leaves = (columns_chunk(l, chunk) + AG_LINE_COLS - 1) / AG_LINE_COLS;
        for (int64_t step = 1; step < leaves; step *= 2)
            for (int64_t i = 0; i + step < leaves; i += 2 * step)
                r->reducers->row_take(r->partial, columns_leaf(l, r, chunk, i),
                                      columns_leaf(l, r, chunk, i + step), l->inner, false);
        if (chunk > 0) /* the results of chunks beside each other */
            memmove(r->leaves + chunk * l->inner * r->size, columns_leaf(l, r, chunk, 0),
                    (size_t)(l->inner * r->size));
    }
    r->reducers->reduce[r->which](r->leaves, r->results,
                                  (ag__lanes){ 1, l->chunks, l->inner, l->inner, (double)l->n });
}
