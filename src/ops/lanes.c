/*
 * Where there are many results, blocks of them are independent. Where a result is made of very many
 * elements, their rows are cut into chunks that are reduced by themselves; the partial results are
 * lanes of the same shape with one row per chunk, and are reduced in turn:
 *
 *     sum, prod, amax, amin   by the same reduction
 *     mean                    sums, which are added and divided
 *     var, std                the mean first; then sums of squares about it, as for a mean
 *     logsumexp               the maximum first; then sums of e^(x - it)
 *     argmax, argmin          candidates, which are compared
 *     counts                  sums of counts
 *     sums of f(x)            sums of these
 */
#include "lanes.h"

#include "../base/parallel.h"
#include "../kernels/pointwise.h"

/* The same where there are functions. */
enum { LANES_PART_FUNCTIONS = 1 << 14 };

ag__lanes ag__lanes_along(ag_ints shape, int dim)
{
    ag__lanes l = { 1, 1, 1, 1, 1 };
    for (int i = 0; i < shape.n; i++)
        *(i < dim ? &l.outer : i == dim ? &l.n : &l.inner) *= shape.data[i];
    l.stride = l.inner;
    return l;
}

/* ---- the cut ---- */

static int64_t lanes_least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t lanes_most(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t lanes_count(int64_t n, int64_t size) { return (n + size - 1) / size; }

ag__cut ag__cut_lanes(ag__lanes l, int64_t part, bool rows)
{
    ag__cut cut = { 1, l.n, l.inner, 1, 1, 1 };
    const int64_t plane = lanes_most(l.n * l.inner, 1);
    if (plane <= part) {
        cut.group = lanes_least(part / plane, lanes_most(l.outer, 1));
        cut.blocks = lanes_count(l.outer, cut.group);
        return cut;
    }
    const int64_t least = part / lanes_least(l.inner, AG_STRIP);
    if (rows && l.n >= 2 * least)
        cut.rows = least;
    const int64_t columns = part / cut.rows / AG_STRIP * AG_STRIP;
    cut.columns = lanes_least(l.inner, lanes_most(columns, AG_STRIP));
    cut.chunks = lanes_count(l.n, cut.rows);
    cut.strips = lanes_count(l.inner, cut.columns);
    cut.blocks = l.outer * cut.chunks * cut.strips;
    return cut;
}

ag__cut_block ag__cut_at(const ag__cut *cut, ag__lanes l, int64_t block)
{
    const int64_t column = block % cut->strips * cut->columns, rest = block / cut->strips;
    const int64_t chunk = rest % cut->chunks, row = chunk * cut->rows;
    const int64_t o = rest / cut->chunks * cut->group;
    return (ag__cut_block){ { lanes_least(l.outer - o, cut->group),
                              lanes_least(l.n - row, cut->rows),
                              lanes_least(l.inner - column, cut->columns), l.inner, l.divisor },
                            (o * l.n + row) * l.inner + column,
                            (o * cut->chunks + chunk) * l.inner + column,
                            o * l.inner + column };
}

/* ---- reductions ---- */

/* One pass over all elements, by a reducer or about centers; y has a row per chunk. */
typedef struct {
    ag__lanes l;
    const ag__cut *cut;
    ag__reducer *reduce;
    ag__about *about;
    const char *x, *center;
    char *y;
    ag_dtype compute;
    int64_t from_size, to_size;
} lanes_pass;

static void lanes_block(void *arg, int64_t block, int worker)
{
    const lanes_pass *p = arg;
    const ag__cut_block b = ag__cut_at(p->cut, p->l, block);
    const char *x = p->x + b.from * p->from_size;
    char *y = p->y + b.part * p->to_size;
    (void)worker;
    if (p->about)
        p->about(x, p->center + b.result * p->from_size, y, b.lanes);
    else
        p->reduce(x, y, b.lanes);
}

static void lanes_run(ag_context *c, lanes_pass *p, int which, ag__reducer *reduce,
                      ag__about *about, void *y)
{
    p->to_size = (int64_t)ag__itemsize(ag__reduced_dtype(which, p->compute));
    p->reduce = reduce;
    p->about = about;
    p->y = y;
    ag__parallel(c, p->cut->blocks, lanes_block, p);
}

/* Of a reduction whose rows are cut. `parts` has a row for each chunk, then a row for centers. */
static bool lanes_join(ag_context *c, int which, lanes_pass *p, void *parts, void *y)
{
    const ag_dtype compute = p->compute;
    const ag__reducers *r = ag__reducers_of(compute);
    const int64_t results = p->l.outer * p->l.inner;
    char *center = (char *)parts + p->cut->chunks * results * (int64_t)sizeof(int64_t);
    ag__lanes rows = { p->l.outer, p->cut->chunks, p->l.inner, p->l.inner, p->l.divisor };
    const bool spread = which == AG_REDUCE_VAR || which == AG_REDUCE_STD;
    p->center = center;
    switch (which) {
    case AG_REDUCE_ARGMAX:
    case AG_REDUCE_ARGMIN:
        lanes_run(c, p, which, r->reduce[which], NULL, parts);
        r->arg_join(p->x, parts, y, p->l, p->cut->rows, which == AG_REDUCE_ARGMIN);
        return true;
    case AG_REDUCE_NONZERO:
        lanes_run(c, p, which, r->reduce[which], NULL, parts);
        return ag__reduce(c, AG_I64, AG_REDUCE_SUM, parts, y, rows);
    case AG_REDUCE_MEAN: lanes_run(c, p, which, r->reduce[AG_REDUCE_SUM], NULL, parts); break;
    case AG_REDUCE_VAR:
    case AG_REDUCE_STD:
        lanes_run(c, p, which, r->reduce[AG_REDUCE_SUM], NULL, parts);
        rows.divisor = (double)p->l.n;
        if (!ag__reduce(c, compute, AG_REDUCE_MEAN, parts, center, rows))
            return false;
        rows.divisor = p->l.divisor;
        lanes_run(c, p, which, NULL, r->squares, parts);
        break;
    case AG_REDUCE_LOGSUMEXP:
        lanes_run(c, p, which, r->reduce[AG_REDUCE_MAX], NULL, parts);
        if (!ag__reduce(c, compute, AG_REDUCE_MAX, parts, center, rows))
            return false;
        r->exps_center(center, results);
        lanes_run(c, p, which, NULL, r->exps, parts);
        break;
    default: lanes_run(c, p, which, r->reduce[which], NULL, parts);
    }
    const bool sums = which == AG_REDUCE_LOGSUMEXP || which == AG_REDUCE_NUMBERS ||
                      which == AG_REDUCE_ABS || which == AG_REDUCE_SQUARES;
    const int how = spread ? AG_REDUCE_MEAN : sums ? AG_REDUCE_SUM : which;
    if (!ag__reduce(c, compute, how, parts, y, rows))
        return false;
    if (which == AG_REDUCE_STD)
        ag__loop_unary(AG_OP_sqrt, compute == AG_F32 ? AG_LOOP_F32 : AG_LOOP_F64, results, y, y);
    if (which == AG_REDUCE_LOGSUMEXP)
        r->exps_end(y, center, results);
    return true;
}

bool ag__reduce(ag_context *c, ag_dtype compute, int which, const void *x, void *y, ag__lanes l)
{
    const int64_t part = which == AG_REDUCE_LOGSUMEXP ? LANES_PART_FUNCTIONS : AG_LANES_PART;
    ag__reducer *loop = ag__reducers_of(compute)->reduce[which];
    if (l.outer * l.n * l.inner <= part) {
        loop(x, y, l);
        return true;
    }
    const ag__cut cut = ag__cut_lanes(l, part, true);
    lanes_pass p = {
        .l = l, .cut = &cut, .x = x, .compute = compute, .from_size = (int64_t)ag__itemsize(compute)
    };
    if (cut.chunks == 1) {
        lanes_run(c, &p, which, loop, NULL, y);
        return true;
    }
    const size_t bytes = (size_t)((cut.chunks + 1) * l.outer * l.inner) * sizeof(int64_t);
    void *parts = ag__alloc(c, bytes);
    const bool ok = parts && lanes_join(c, which, &p, parts, y);
    ag__free(c, parts, bytes);
    return ok;
}

/* ---- powers ---- */

typedef struct {
    ag__lanes l;
    const ag__cut *cut;
    const ag__reducers *reducers;
    const char *x, *center;
    char *y;
    int64_t size;
    double p;
} lanes_powers;

static void lanes_powers_block(void *arg, int64_t block, int worker)
{
    const lanes_powers *w = arg;
    const ag__cut_block b = ag__cut_at(w->cut, w->l, block);
    (void)worker;
    w->reducers->powers(w->x + b.from * w->size, w->center + b.result * w->size,
                        w->y + b.from * w->size, b.lanes, w->p);
}

void ag__powers(ag_context *c, ag_dtype compute, double p, const void *x, const void *center,
                void *y, ag__lanes l)
{
    const ag__cut cut = ag__cut_lanes(l, LANES_PART_FUNCTIONS, true);
    lanes_powers w = { l,      &cut, ag__reducers_of(compute),       x,
                       center, y,    (int64_t)ag__itemsize(compute), p };
    ag__parallel(c, cut.blocks, lanes_powers_block, &w);
}

/* ---- scans ---- */

typedef struct {
    ag__lanes l;
    const ag__cut *cut;
    ag__scanner *loop;
    const char *in[3];
    char *y;
    int64_t from_size, to_size;
} lanes_scan;

static void lanes_scan_block(void *arg, int64_t block, int worker)
{
    const lanes_scan *s = arg;
    const ag__cut_block b = ag__cut_at(s->cut, s->l, block);
    const void *in[3];
    (void)worker;
    for (int i = 0; i < 3; i++)
        in[i] = s->in[i] ? s->in[i] + b.from * s->from_size : NULL;
    s->loop(in[0], in[1], in[2], s->y + b.from * s->to_size, b.lanes);
}

void ag__scan(ag_context *c, ag_dtype compute, int which, const void *const *in, void *y,
              ag__lanes l)
{
    const int64_t part = which < AG_SCAN_LOGCUMSUMEXP ? AG_LANES_PART : LANES_PART_FUNCTIONS / 16;
    const ag__cut cut = ag__cut_lanes(l, part, false);
    lanes_scan s = { l,
                     &cut,
                     ag__reducers_of(compute)->scan[which],
                     { in[0], in[1], in[2] },
                     y,
                     (int64_t)ag__itemsize(compute),
                     (int64_t)ag__itemsize(ag__scanned_dtype(which, compute)) };
    ag__parallel(c, cut.blocks, lanes_scan_block, &s);
}
