/*
 * Loops exist for float, double and int64_t, for arrays without gaps that fill whole vectors, and
 * for one element. All else passes through block buffers on the stack: operands of another dtype,
 * operands with strides, the end of an array. So promotion costs no tensor.
 *
 * A large result is cut into parts that begin anywhere. An element's value never depends on where
 * it stands, so it does not matter how they are cut.
 */
#include "walk.h"

#include <string.h>

#include "../base/parallel.h"

enum { WALK_BLOCK_BYTES = 2048 };

/* Where a walk with strides stands: a place in a row, and the row's begin for each operand. */
typedef struct {
    int64_t column, index[AG_MAX_DIMS];
    char *row[AG_LOOP_MAX_DATA];
} walk_place;

typedef struct {
    _Alignas(64) char data[AG_LOOP_MAX_DATA][WALK_BLOCK_BYTES];
} walk_buffers;

/* ---- operands ---- */

void ag__walk_init(ag__walk *w, ag__loop *loop, int lanes, ag_dtype compute, ag_dtype result,
                   const ag_tensor *out, const ag__attrs *attrs, int64_t part)
{
    w->loop = loop;
    w->lanes = lanes;
    w->compute = compute;
    w->result = result;
    w->p = attrs->p;
    w->q = attrs->q;
    w->n = 0;
    w->ndim = out->ndim;
    w->total = out->numel;
    w->part = part;
    for (int i = 0; i < out->ndim; i++)
        w->shape[i] = out->dims[i];
    ag__walk_add(w, out, result);
}

void ag__walk_add(ag__walk *w, const ag_tensor *t, ag_dtype wanted)
{
    ag__walk_operand *o = &w->at[w->n++];
    o->way = t ? AG_WALK_STRIDED : AG_WALK_UNUSED;
    for (int i = 0; i < w->ndim && !t; i++)
        o->strides[i] = 0;
    if (!t)
        return;
    const int lead = w->ndim - t->ndim;
    o->data = ag__at(t);
    o->dtype = (ag_dtype)t->dtype;
    o->direct = o->dtype == wanted;
    const int64_t size = (int64_t)ag__itemsize(o->dtype);
    for (int i = 0; i < w->ndim; i++)
        o->strides[i] = i < lead || t->dims[i - lead] == 1 ? 0 : t->dims[t->ndim + i - lead] * size;
}

/* Joins neighbouring dimensions that every operand steps through evenly. */
static void walk_join(ag__walk *w)
{
    int to = w->ndim - 1;
    for (int i = w->ndim - 2; i >= 0; i--) {
        bool even = true;
        for (int k = 0; k < w->n && even; k++)
            even = w->at[k].strides[i] == w->at[k].strides[to] * w->shape[to];
        if (even || w->shape[i] == 1) {
            w->shape[to] *= w->shape[i];
            continue;
        }
        if (w->shape[to] == 1) { /* a dimension of one element takes any stride */
            w->shape[to] = w->shape[i];
            for (int k = 0; k < w->n; k++)
                w->at[k].strides[to] = w->at[k].strides[i];
            continue;
        }
        to--;
        w->shape[to] = w->shape[i];
        for (int k = 0; k < w->n; k++)
            w->at[k].strides[to] = w->at[k].strides[i];
    }
    for (int k = 0; k < w->n; k++)
        for (int i = to; i < w->ndim; i++)
            w->at[k].strides[i - to] = w->at[k].strides[i];
    for (int i = to; i < w->ndim; i++)
        w->shape[i - to] = w->shape[i];
    w->ndim -= to;
}

static ag__walk_way walk_way_of(const ag__walk *w, const ag__walk_operand *o)
{
    if (o->way == AG_WALK_UNUSED)
        return AG_WALK_UNUSED;
    int64_t dense = (int64_t)ag__itemsize(o->dtype);
    bool fixed = true, array = true;
    for (int i = w->ndim - 1; i >= 0; i--) {
        fixed = fixed && (o->strides[i] == 0 || w->shape[i] == 1);
        array = array && (o->strides[i] == dense || w->shape[i] == 1);
        dense *= w->shape[i];
    }
    return array ? AG_WALK_ARRAY : fixed ? AG_WALK_FIXED : AG_WALK_STRIDED;
}

/* ---- blocks ---- */

/* Repeats element m - 1 up to the end of the vector it lies in. */
static void walk_pad(char *buffer, size_t size, int64_t m, int64_t padded)
{
    for (; m < padded; m++)
        memcpy(buffer + (size_t)m * size, buffer + (size_t)(m - 1) * size, size);
}

/* The place of an element of the result. */
static void walk_seek(const ag__walk *w, walk_place *at, int64_t position)
{
    at->column = 0;
    for (int k = 1; k < w->n; k++)
        at->row[k] = w->at[k].way == AG_WALK_STRIDED ? w->at[k].data : NULL;
    for (int i = w->ndim - 1; i >= 0; i--) {
        const int64_t index = position % w->shape[i];
        position /= w->shape[i];
        at->index[i] = index;
        if (i == w->ndim - 1) {
            at->column = index;
            continue;
        }
        for (int k = 1; k < w->n; k++)
            if (w->at[k].way == AG_WALK_STRIDED)
                at->row[k] += index * w->at[k].strides[i];
    }
}

static void walk_next_row(const ag__walk *w, walk_place *at)
{
    at->column = 0;
    for (int i = w->ndim - 2; i >= 0; i--) {
        const bool more = ++at->index[i] < w->shape[i];
        for (int k = 1; k < w->n; k++)
            if (w->at[k].way == AG_WALK_STRIDED)
                at->row[k] += w->at[k].strides[i] * (more ? 1 : 1 - w->shape[i]);
        if (more)
            return;
        at->index[i] = 0;
    }
}

/* The next m elements of every strided operand, into its buffer or, where they are an array, as
 * they lie. */
static void walk_pick(const ag__walk *w, walk_place *at, int64_t m, int64_t padded, walk_buffers *b,
                      char **data)
{
    const int last = w->ndim - 1;
    const int64_t size = (int64_t)ag__itemsize(w->compute), row = w->shape[last];
    const bool inside = m <= row - at->column && m == padded;
    for (int64_t done = 0; done < m;) {
        const int64_t left = row - at->column, len = m - done < left ? m - done : left;
        for (int k = 1; k < w->n; k++) {
            const ag__walk_operand *o = &w->at[k];
            if (o->way != AG_WALK_STRIDED)
                continue;
            char *from = at->row[k] + at->column * o->strides[last];
            data[k] = inside && o->direct && o->strides[last] == size ? from : b->data[k];
            if (data[k] != from)
                ag__convert(w->compute, b->data[k] + done * size, 1, o->dtype, from,
                            o->strides[last] / (int64_t)ag__itemsize(o->dtype), len);
        }
        done += len;
        at->column += len;
        if (at->column == row)
            walk_next_row(w, at);
    }
}

/* Elements [done, done + m) of the result. */
static void walk_block(const ag__walk *w, walk_place *at, int64_t done, int64_t m, walk_buffers *b)
{
    const int64_t padded = (m + w->lanes - 1) / w->lanes * w->lanes;
    const size_t size = ag__itemsize(w->compute);
    const ag__walk_operand *out = &w->at[0];
    char *data[AG_LOOP_MAX_DATA], *to = out->data + done * (int64_t)ag__itemsize(out->dtype);
    bool strided = false;
    data[0] = out->direct && m == padded ? to : b->data[0];
    for (int k = 1; k < w->n; k++) {
        const ag__walk_operand *o = &w->at[k];
        data[k] = b->data[k];
        strided = strided || o->way == AG_WALK_STRIDED;
        if (o->way != AG_WALK_ARRAY)
            continue;
        char *from = o->data + done * (int64_t)ag__itemsize(o->dtype);
        if (o->direct && m == padded)
            data[k] = from;
        else
            ag__convert(w->compute, data[k], 1, o->dtype, from, 1, m);
    }
    if (strided)
        walk_pick(w, at, m, padded, b, data);
    for (int k = 1; k < w->n && m < padded; k++)
        if (w->at[k].way == AG_WALK_ARRAY || w->at[k].way == AG_WALK_STRIDED)
            walk_pad(data[k], size, m, padded);
    for (int k = 2; k < AG_LOOP_MAX_DATA; k++)
        if (k >= w->n || w->at[k].way == AG_WALK_UNUSED)
            data[k] = data[1];
    w->loop(padded, data, w->p, w->q);
    if (data[0] != to)
        ag__convert(out->dtype, to, 1, w->result, data[0], 1, m);
}

/* All operands are arrays of the loop's type: one run of it over [done, end), but for the last
 * vector when it is not whole. Returns where it got to. */
static int64_t walk_whole(const ag__walk *w, int64_t done, int64_t end)
{
    char *data[AG_LOOP_MAX_DATA];
    const int64_t whole = (end - done) - (end - done) % w->lanes;
    for (int k = 0; k < AG_LOOP_MAX_DATA; k++) {
        const ag__walk_operand *o = &w->at[k < w->n && w->at[k].way != AG_WALK_UNUSED ? k : 1];
        if (o->way != AG_WALK_ARRAY || !o->direct)
            return done;
        data[k] = o->data + done * (int64_t)ag__itemsize(o->dtype);
    }
    if (whole)
        w->loop(whole, data, w->p, w->q);
    return done + whole;
}

/* Elements [done, end) of the result. */
static void walk_part(const ag__walk *w, int64_t done, int64_t end)
{
    walk_buffers buffers;
    walk_place at;
    const int64_t block = WALK_BLOCK_BYTES / (int64_t)ag__itemsize(w->compute);
    done = walk_whole(w, done, end);
    if (done == end)
        return;
    const int64_t left = end - done;
    const int64_t most = left < block - AG_LOOP_MAX_LANES ? left + w->lanes : block;
    walk_seek(w, &at, done);
    for (int k = 1; k < w->n; k++) {
        const ag__walk_operand *o = &w->at[k];
        if (o->way == AG_WALK_FIXED)
            ag__convert(w->compute, buffers.data[k], 1, o->dtype, o->data, 0, most);
    }
    for (; done < end; done += block)
        walk_block(w, &at, done, end - done < block ? end - done : block, &buffers);
}

static void walk_work(void *arg, int64_t block, int worker)
{
    const ag__walk *w = arg;
    const int64_t from = block * w->part, left = w->total - from;
    (void)worker;
    walk_part(w, from, from + (left < w->part ? left : w->part));
}

void ag__walk_run(ag__walk *w, ag_context *c)
{
    if (w->ndim > 1)
        walk_join(w);
    for (int k = 0; k < w->n; k++)
        w->at[k].way = k ? walk_way_of(w, &w->at[k]) : AG_WALK_ARRAY;
    if (w->total <= w->part)
        walk_part(w, 0, w->total);
    else
        ag__parallel(c, (w->total + w->part - 1) / w->part, walk_work, w);
}
