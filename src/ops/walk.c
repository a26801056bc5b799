/*
 * Loops exist for float, double and int64_t. Operands reach them by blocks (operands.h), and what a
 * loop writes that is not the result itself passes through a buffer too. So promotion costs no
 * tensor.
 *
 * A large result is cut into parts that begin anywhere. An element's value never depends on where
 * it stands, so it does not matter how they are cut.
 */
#include "walk.h"

#include "../base/parallel.h"

enum { WALK_BLOCK_BYTES = 2048 };

/* Of the result, and of each operand. */
typedef struct {
    _Alignas(64) char data[AG_LOOP_MAX_DATA][WALK_BLOCK_BYTES];
} walk_buffers;

void ag__walk_init(ag__walk *w, ag__loop *loop, int lanes, ag_dtype compute, ag_dtype result,
                   const ag_tensor *out, const ag__attrs *attrs, int64_t part)
{
    w->loop = loop;
    w->lanes = lanes;
    w->compute = compute;
    w->result = result;
    w->p = attrs->p;
    w->q = attrs->q;
    w->out = ag__at(out);
    w->out_dtype = (ag_dtype)out->dtype;
    w->total = out->numel;
    w->part = part;
    ag__operands_init(&w->operands, ag__sizes(out), w->at);
}

/* What the loop does not use may be any array. */
static void walk_complete(const ag__walk *w, char **data)
{
    for (int k = 2; k < AG_LOOP_MAX_DATA; k++)
        if (k > w->operands.n || w->at[k - 1].way == AG_WAY_UNUSED)
            data[k] = data[1];
}

/* Elements [done, done + m) of the result. */
static void walk_block(const ag__walk *w, ag__place *at, int64_t done, int64_t m, walk_buffers *b)
{
    const int64_t padded = (m + w->lanes - 1) / w->lanes * w->lanes;
    char *data[AG_LOOP_MAX_DATA], *to = w->out + done * (int64_t)ag__itemsize(w->out_dtype);
    data[0] = w->out_dtype == w->result && m == padded ? to : b->data[0];
    ag__operands_bring(&w->operands, at, done, m, padded,
                       (ag__buffers){ b->data[1], WALK_BLOCK_BYTES }, data + 1);
    walk_complete(w, data);
    w->loop(padded, data, w->p, w->q);
    if (data[0] != to)
        ag__convert(w->out_dtype, to, 1, w->result, data[0], 1, m);
}

/* All operands are arrays of the loop's type: one run of it over [done, end), but for the last
 * vector when it is not whole. Returns where it got to. */
static int64_t walk_whole(const ag__walk *w, int64_t done, int64_t end)
{
    char *data[AG_LOOP_MAX_DATA];
    const int64_t whole = (end - done) - (end - done) % w->lanes;
    const int64_t size = (int64_t)ag__itemsize(w->compute);
    if (w->out_dtype != w->result)
        return done;
    data[0] = w->out + done * (int64_t)ag__itemsize(w->result);
    for (int k = 0; k < w->operands.n; k++) {
        const ag__operand *o = &w->at[k];
        if (o->way == AG_WAY_UNUSED)
            continue;
        if (o->way != AG_WAY_ARRAY || o->dtype != w->compute)
            return done;
        data[k + 1] = o->data + done * size;
    }
    walk_complete(w, data);
    if (whole)
        w->loop(whole, data, w->p, w->q);
    return done + whole;
}

/* Elements [done, end) of the result. */
static void walk_part(const ag__walk *w, int64_t done, int64_t end)
{
    walk_buffers buffers;
    char *row[AG_LOOP_MAX_DATA];
    ag__place at;
    const int64_t block = WALK_BLOCK_BYTES / (int64_t)ag__itemsize(w->compute);
    done = walk_whole(w, done, end);
    if (done == end)
        return;
    const int64_t left = end - done;
    at.row = row;
    ag__operands_seek(&w->operands, &at, done);
    ag__operands_fix(&w->operands, (ag__buffers){ buffers.data[1], WALK_BLOCK_BYTES },
                     left < block - AG_LOOP_MAX_LANES ? left + w->lanes : block);
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
    ag__operands_settle(&w->operands);
    if (w->total <= w->part)
        walk_part(w, 0, w->total);
    else
        ag__parallel(c, (w->total + w->part - 1) / w->part, walk_work, w);
}
