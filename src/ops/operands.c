/*
 * Neighbouring dimensions that every operand steps through evenly are joined, so that most operands
 * turn out to be plain arrays or one element; only what is left is picked by strides, row by row.
 */
#include "operands.h"

#include <string.h>

/* ---- shapes and strides ---- */

void ag__operands_init(ag__operands *s, ag_ints shape, ag__operand *at)
{
    s->n = 0;
    s->at = at;
    s->ndim = shape.n;
    for (int i = 0; i < shape.n; i++)
        s->shape[i] = shape.data[i];
}

void ag__operands_add(ag__operands *s, const ag_tensor *t, ag_dtype wanted)
{
    ag__operand *o = &s->at[s->n++];
    o->way = t ? AG_WAY_STRIDED : AG_WAY_UNUSED;
    o->dtype = o->wanted = wanted;
    for (int i = 0; i < s->ndim && !t; i++)
        o->strides[i] = 0;
    if (!t)
        return;
    const int lead = s->ndim - t->ndim;
    o->data = ag__at(t);
    o->dtype = (ag_dtype)t->dtype;
    const int64_t size = (int64_t)ag__itemsize(o->dtype);
    for (int i = 0; i < s->ndim; i++)
        o->strides[i] = i < lead || t->dims[i - lead] == 1 ? 0 : t->dims[t->ndim + i - lead] * size;
}

static void operands_join(ag__operands *s)
{
    int to = s->ndim - 1;
    for (int i = s->ndim - 2; i >= 0; i--) {
        bool even = true;
        for (int k = 0; k < s->n && even; k++)
            even = s->at[k].strides[i] == s->at[k].strides[to] * s->shape[to];
        if (even || s->shape[i] == 1) {
            s->shape[to] *= s->shape[i];
            continue;
        }
        if (s->shape[to] == 1) { /* a dimension of one element takes any stride */
            s->shape[to] = s->shape[i];
            for (int k = 0; k < s->n; k++)
                s->at[k].strides[to] = s->at[k].strides[i];
            continue;
        }
        to--;
        s->shape[to] = s->shape[i];
        for (int k = 0; k < s->n; k++)
            s->at[k].strides[to] = s->at[k].strides[i];
    }
    for (int k = 0; k < s->n; k++)
        for (int i = to; i < s->ndim; i++)
            s->at[k].strides[i - to] = s->at[k].strides[i];
    for (int i = to; i < s->ndim; i++)
        s->shape[i - to] = s->shape[i];
    s->ndim -= to;
}

static ag__way operands_way(const ag__operands *s, const ag__operand *o)
{
    if (o->way == AG_WAY_UNUSED)
        return AG_WAY_UNUSED;
    int64_t dense = (int64_t)ag__itemsize(o->dtype);
    bool fixed = true, array = true;
    for (int i = s->ndim - 1; i >= 0; i--) {
        fixed = fixed && (o->strides[i] == 0 || s->shape[i] == 1);
        array = array && (o->strides[i] == dense || s->shape[i] == 1);
        dense *= s->shape[i];
    }
    return array ? AG_WAY_ARRAY : fixed ? AG_WAY_FIXED : AG_WAY_STRIDED;
}

void ag__operands_settle(ag__operands *s)
{
    if (s->ndim > 1)
        operands_join(s);
    s->strided = false;
    for (int k = 0; k < s->n; k++) {
        s->at[k].way = operands_way(s, &s->at[k]);
        s->strided = s->strided || s->at[k].way == AG_WAY_STRIDED;
    }
}

/* ---- blocks ---- */

void ag__operands_fix(const ag__operands *s, ag__buffers b, int64_t n)
{
    for (int k = 0; k < s->n; k++) {
        const ag__operand *o = &s->at[k];
        if (o->way == AG_WAY_FIXED)
            ag__convert(o->wanted, b.data + k * b.room, 1, o->dtype, o->data, 0, n);
    }
}

void ag__operands_seek(const ag__operands *s, ag__place *at, int64_t position)
{
    at->column = 0;
    if (!s->strided)
        return;
    for (int k = 0; k < s->n; k++)
        at->row[k] = s->at[k].way == AG_WAY_STRIDED ? s->at[k].data : NULL;
    for (int i = s->ndim - 1; i >= 0; i--) {
        const int64_t index = position % s->shape[i];
        position /= s->shape[i];
        at->index[i] = index;
        if (i == s->ndim - 1) {
            at->column = index;
            continue;
        }
        for (int k = 0; k < s->n; k++)
            if (s->at[k].way == AG_WAY_STRIDED)
                at->row[k] += index * s->at[k].strides[i];
    }
}

static void operands_next_row(const ag__operands *s, ag__place *at)
{
    at->column = 0;
    for (int i = s->ndim - 2; i >= 0; i--) {
        const bool more = ++at->index[i] < s->shape[i];
        for (int k = 0; k < s->n; k++)
            if (s->at[k].way == AG_WAY_STRIDED)
                at->row[k] += s->at[k].strides[i] * (more ? 1 : 1 - s->shape[i]);
        if (more)
            return;
        at->index[i] = 0;
    }
}

/* The next m elements of every strided operand, into its buffer or, where they are an array, as
 * they lie. */
static void operands_pick(const ag__operands *s, ag__place *at, int64_t m, int64_t padded,
                          ag__buffers b, char **data)
{
    const int last = s->ndim - 1;
    const int64_t row = s->shape[last];
    const bool inside = m <= row - at->column && m == padded;
    for (int64_t done = 0; done < m;) {
        const int64_t left = row - at->column, len = m - done < left ? m - done : left;
        for (int k = 0; k < s->n; k++) {
            const ag__operand *o = &s->at[k];
            if (o->way != AG_WAY_STRIDED)
                continue;
            const int64_t size = (int64_t)ag__itemsize(o->wanted);
            char *from = at->row[k] + at->column * o->strides[last], *buffer = b.data + k * b.room;
            data[k] = inside && o->dtype == o->wanted && o->strides[last] == size ? from : buffer;
            if (data[k] != from)
                ag__convert(o->wanted, buffer + done * size, 1, o->dtype, from,
                            o->strides[last] / (int64_t)ag__itemsize(o->dtype), len);
        }
        done += len;
        at->column += len;
        if (at->column == row)
            operands_next_row(s, at);
    }
}

/* Repeats element m - 1 up to the end of the vector it lies in. */
static void operands_pad(char *buffer, size_t size, int64_t m, int64_t padded)
{
    for (; m < padded; m++)
        memcpy(buffer + (size_t)m * size, buffer + (size_t)(m - 1) * size, size);
}

void ag__operands_bring(const ag__operands *s, ag__place *at, int64_t done, int64_t m,
                        int64_t padded, ag__buffers b, char **data)
{
    for (int k = 0; k < s->n; k++) {
        const ag__operand *o = &s->at[k];
        data[k] = b.data + k * b.room;
        if (o->way != AG_WAY_ARRAY)
            continue;
        char *from = o->data + done * (int64_t)ag__itemsize(o->dtype);
        if (o->dtype == o->wanted && m == padded)
            data[k] = from;
        else
            ag__convert(o->wanted, data[k], 1, o->dtype, from, 1, m);
    }
    if (s->strided)
        operands_pick(s, at, m, padded, b, data);
    for (int k = 0; k < s->n && m < padded; k++)
        if (s->at[k].way == AG_WAY_ARRAY || s->at[k].way == AG_WAY_STRIDED)
            operands_pad(data[k], ag__itemsize(s->at[k].wanted), m, padded);
}
