/*
 * Makes programs. A value may be wanted in several dtypes: as a loop gives it, as a tensor would
 * hold it, as other loops read it. Each of these is a product: an input brought to a dtype, or what
 * a code writes. So rounding and wrapping between steps is a conversion like any other, and none is
 * made twice.
 *
 * Products that codes write get places when all codes are known. An output's place is its tensor,
 * unless an input, which may lie there too, is still read later: then it waits in a buffer until
 * all is read. What is between gets a buffer from its code to its last reader.
 */
#include "program_parts.h"

#include <limits.h>

#include "lanes.h"
#include "pointwise.h"
#include "walk.h"

enum {
    MAKER_LEAST_PART = 1 << 12, /* elements: AG_LINE_LEAF times a power of two */
    MAKER_FUNCTION = 8,         /* what a function costs, of additions */
    MAKER_NO_PLACE = -1
};

typedef struct {
    ag_dtype dtype;
    int input; /* one that is brought; -1: a code writes it */
    int code;
    int last; /* code that reads it; INT_MAX: a reduction does */
    int place;
} maker_product;

/* A code, with products for places. Without a loop it converts. */
typedef struct {
    ag__loop *loop;
    double p, q;
    int to, in[3];
} maker_code;

typedef struct {
    ag_context *c;
    const ag__program_text *text;
    void *memory; /* of the lists */
    size_t bytes;
    maker_code *codes;
    maker_product *products;
    int *found; /* [value][dtype]: a product, or -1 */
    int *kept;  /* the product of each output */
    int *free;  /* places of buffers */
    int n_codes, n_products, n_operands, n_writes, n_places, n_free;
    int64_t cost;
} program_maker;

/* ---- codes ---- */

static int maker_add(program_maker *m, ag_dtype dtype, const maker_code *code)
{
    const int product = m->n_products++;
    m->products[product] = (maker_product){ dtype, -1, m->n_codes, -1, MAKER_NO_PLACE };
    m->codes[m->n_codes] = *code;
    m->codes[m->n_codes++].to = product;
    return product;
}

static int maker_convert(program_maker *m, int product, ag_dtype dtype)
{
    return maker_add(m, dtype, &(maker_code){ .in = { product, product, product } });
}

static int *maker_found(program_maker *m, int value, ag_dtype dtype)
{
    return &m->found[value * AG_DTYPE_COUNT + (int)dtype];
}

/* The product that is this value in this dtype. */
static int maker_find(program_maker *m, int value, ag_dtype dtype)
{
    int *found = maker_found(m, value, dtype);
    const int step = value - m->text->n_inputs;
    if (*found >= 0)
        return *found;
    if (step >= 0)
        return *found = maker_convert(m, *maker_found(m, value, m->text->steps[step].dtype), dtype);
    *found = m->n_products++;
    m->products[*found] = (maker_product){ dtype, value, -1, -1, m->n_operands++ };
    return *found;
}

/* The product of the step in its own dtype. */
static int maker_step(program_maker *m, const ag__program_step *s)
{
    if (s->row == AG_PROGRAM_CAST)
        return maker_find(m, s->in[0], s->dtype);
    const ag__op *op = ag__ops[s->row];
    const int type = s->compute == AG_F32   ? AG_LOOP_F32
                     : s->compute == AG_F64 ? AG_LOOP_F64
                                            : AG_LOOP_I64;
    const ag_dtype result = op->pointwise->predicate ? AG_BOOL : s->compute;
    maker_code code = { ag__loop_best()->rows[s->row].value[type], s->p, s->q, 0, { 0 } };
    for (int i = 0; i < 3; i++) /* what a loop does not use may be any array */
        code.in[i] = i < op->n_in ? maker_find(m, s->in[i], s->compute) : code.in[0];
    m->cost += op->pointwise->keeps_integers || op->pointwise->predicate ? 1 : MAKER_FUNCTION;
    const int product = maker_add(m, result, &code);
    return result == s->dtype ? product : maker_convert(m, product, s->dtype);
}

/* An input that is itself kept is copied to a buffer: an output may lie where it does. */
static int maker_keep(program_maker *m, const ag__program_output *o)
{
    const ag_dtype to = (ag_dtype)o->to->dtype;
    const ag_dtype dtype = o->which == AG_PROGRAM_ALL ? to : ag__reduce_dtype(to);
    const int product = maker_find(m, o->value, dtype);
    return m->products[product].input >= 0 && m->n_writes ? maker_convert(m, product, dtype)
                                                          : product;
}

static void maker_codes(program_maker *m)
{
    const ag__program_text *text = m->text;
    for (int k = 0; k < text->n_outputs; k++)
        m->n_writes += text->outputs[k].which == AG_PROGRAM_ALL;
    for (int k = 0; k < text->n_steps; k++) {
        const int product = maker_step(m, &text->steps[k]);
        *maker_found(m, text->n_inputs + k, text->steps[k].dtype) = product;
    }
    for (int k = 0; k < text->n_outputs; k++)
        m->kept[k] = maker_keep(m, &text->outputs[k]);
}

/* ---- places ---- */

/* Says of every product who reads it last. Returns the last code that reads an input. */
static int maker_readers(program_maker *m)
{
    int last = -1;
    for (int i = 0; i < m->n_codes; i++)
        for (int k = 0; k < 3; k++) {
            maker_product *in = &m->products[m->codes[i].in[k]];
            in->last = i;
            last = in->input >= 0 ? i : last;
        }
    return last;
}

/* The places of outputs; copies to those of which the tensor cannot be the place. */
static void maker_outputs(program_maker *m)
{
    const int input_read = maker_readers(m);
    m->n_places = m->n_operands;
    for (int k = 0; k < m->text->n_outputs; k++) {
        maker_product *product = &m->products[m->kept[k]];
        if (m->text->outputs[k].which != AG_PROGRAM_ALL) {
            product->last = INT_MAX;
        } else if (product->place == MAKER_NO_PLACE && product->code >= input_read) {
            product->place = m->n_places++;
        } else {
            if (product->last != INT_MAX)
                product->last = m->n_codes;
            const int copy = maker_convert(m, m->kept[k], product->dtype);
            m->products[copy].place = m->n_places++;
        }
    }
}

/* Gives up the buffer of a product that code i, or nobody, reads last. */
static void maker_release(program_maker *m, maker_product *product, int i)
{
    if (product->last > i || product->place < m->n_operands + m->n_writes)
        return;
    m->free[m->n_free++] = product->place;
    product->last = INT_MAX;
}

static void maker_release_read(program_maker *m, int i)
{
    for (int k = 0; k < 3; k++)
        maker_release(m, &m->products[m->codes[i].in[k]], i);
}

/* A loop may write over what it reads, when elements are of one size; a conversion may not. */
static void maker_buffers(program_maker *m)
{
    for (int i = 0; i < m->n_codes; i++) {
        const maker_code *code = &m->codes[i];
        maker_product *to = &m->products[code->to];
        const bool over = code->loop && to->dtype == m->products[code->in[0]].dtype;
        if (over)
            maker_release_read(m, i);
        if (to->place == MAKER_NO_PLACE)
            to->place = m->n_free ? m->free[--m->n_free] : m->n_places++;
        if (!over)
            maker_release_read(m, i);
        maker_release(m, to, i);
    }
}

/* ---- the program ---- */

static size_t program_take_bytes(size_t *at, size_t bytes)
{
    const size_t begin = *at;
    *at += (bytes + 15) / 16 * 16;
    return begin;
}

/* Where in its block the parts of a program lie; without a block, only how many bytes that
 * takes. */
static size_t program_layout(ag__program *p, char *block)
{
    size_t at = 0;
#define PROGRAM_LIST(list, n)                                                                      \
    do {                                                                                           \
        const size_t begin = program_take_bytes(&at, (size_t)(n) * sizeof *(list));                \
        (list) = block ? (void *)(block + begin) : NULL;                                           \
    } while (0)
    const program_lines *l = &p->lines;
    const program_columns *columns = &p->columns;
    const int places = p->total == 1 ? p->n_places : 0;
    program_take_bytes(&at, sizeof *p);
    PROGRAM_LIST(p->operands.at, p->operands.n);
    PROGRAM_LIST(p->inputs, p->operands.n);
    PROGRAM_LIST(p->codes, p->n_codes);
    PROGRAM_LIST(p->writes, p->n_writes);
    PROGRAM_LIST(p->one, places);
    PROGRAM_LIST(p->one_data, places);
    PROGRAM_LIST(p->bound, p->total == 1 ? p->n_codes : 0);
    for (int k = 0; k < p->n_reductions; k++) {
        program_reduction *r = &p->reductions[k];
        if ((ag_dtype)r->to->dtype != r->compute)
            PROGRAM_LIST(r->own, p->results * r->size);
        if (p->by_columns)
            PROGRAM_LIST(r->leaves, columns->chunks * columns->leaves * columns->inner * r->size);
        if (!p->by_columns && l->chunks > 1)
            PROGRAM_LIST(r->parts, l->outer * l->chunks * r->size);
        if (!p->by_columns && l->pieces > 1)
            PROGRAM_LIST(r->taken, l->outer * l->chunks * l->pieces);
    }
#undef PROGRAM_LIST
    return at;
}

static void program_fill_operands(ag__program *p, const program_maker *m)
{
    ag__operands_init(&p->operands, m->text->shape, p->operands.at);
    for (int i = 0; i < m->n_products; i++) {
        const maker_product *product = &m->products[i];
        if (product->input < 0)
            continue;
        p->inputs[p->operands.n] = m->text->inputs[product->input];
        ag__operands_add(&p->operands, m->text->inputs[product->input], product->dtype);
    }
    ag__operands_settle(&p->operands);
}

static void program_fill_codes(ag__program *p, const program_maker *m)
{
    for (int i = 0; i < m->n_codes; i++) {
        const maker_code *code = &m->codes[i];
        const maker_product *to = &m->products[code->to];
        program_code *c = &p->codes[i];
        *c = (program_code){ .loop = code->loop, .p = code->p, .q = code->q };
        c->to = (uint8_t)to->place;
        for (int k = 0; k < 3; k++)
            c->in[k] = (uint8_t)m->products[code->in[k]].place;
        c->dtype = (uint8_t)to->dtype;
        c->from = (uint8_t)m->products[code->in[0]].dtype;
    }
}

static void program_fill(ag__program *p, const program_maker *m)
{
    program_fill_operands(p, m);
    program_fill_codes(p, m);
    for (int k = 0, w = 0; k < m->text->n_outputs; k++) {
        const ag_tensor *to = m->text->outputs[k].to;
        if (m->text->outputs[k].which == AG_PROGRAM_ALL)
            p->writes[w++] =
                (program_write){ to, (int64_t)ag__itemsize((ag_dtype)to->dtype), NULL };
    }
    for (int k = 0; k < p->n_places && p->total == 1; k++)
        p->one[k] = (char *)&p->one_data[k];
    if (p->total == 1)
        ag__program_bind_one(p);
}

/* ---- sizes ---- */

/* Reductions are cut into chunks as plain ones are, then by what a thread takes at a time. */
static void program_cut_lines(ag__program *p, int64_t outer, int64_t n)
{
    program_lines *l = &p->lines;
    bool products = false;
    for (int k = 0; k < p->n_reductions; k++)
        products = products || p->reductions[k].which == AG_REDUCE_PROD;
    const ag__cut cut = ag__cut_lanes((ag__lanes){ outer, n, 1, 1, 1 }, AG_LANES_PART, true);
    l->outer = outer;
    l->n = n;
    l->chunk = cut.rows;
    l->chunks = cut.chunks;
    l->piece = products || l->chunk <= p->part ? l->chunk : p->part;
    l->pieces = (l->chunk + l->piece - 1) / l->piece;
    l->group = p->part > n ? p->part / n : 1;
    p->blocks = l->chunks * l->pieces > 1 ? outer * l->chunks * l->pieces
                                          : (outer + l->group - 1) / l->group;
}

static void program_cut_columns(ag__program *p, int64_t n, int64_t inner)
{
    program_columns *l = &p->columns;
    const ag__cut cut = ag__cut_lanes((ag__lanes){ 1, n, inner, inner, 1 }, AG_LANES_PART, true);
    const int64_t wide = p->part / AG_LINE_COLS / p->tile * p->tile;
    l->n = n;
    l->inner = inner;
    l->chunk = cut.rows;
    l->chunks = cut.chunks;
    l->leaves = (l->chunk + AG_LINE_COLS - 1) / AG_LINE_COLS;
    l->strip = wide > p->tile ? wide : p->tile;
    l->strip = l->strip < inner ? l->strip : inner;
    l->strips = (inner + l->strip - 1) / l->strip;
    l->group = p->part / (l->strip * AG_LINE_COLS);
    l->group = l->group > 1 ? l->group : 1;
    l->groups = (l->leaves + l->group - 1) / l->group;
    p->blocks = l->chunks * l->groups * l->strips;
}

/* By the shape, and by what a step costs. */
static void program_cut(ag__program *p, const program_maker *m)
{
    const ag__program_text *text = m->text;
    const int lines = text->leading ? text->reduced : text->shape.n - text->reduced;
    int64_t before = 1, after = 1;
    for (int i = 0; i < text->shape.n; i++)
        *(i < lines ? &before : &after) *= text->shape.data[i];
    p->by_columns = p->n_reductions && text->leading && after > 1;
    p->results = text->leading ? after : before;
    p->total = before * after;
    p->part = AG_WALK_ARITHMETIC;
    while (p->part > MAKER_LEAST_PART && p->part * m->cost > AG_WALK_ARITHMETIC)
        p->part /= 2;
    if (p->total == 0)
        return;
    if (!p->n_reductions)
        p->blocks = (p->total + p->part - 1) / p->part;
    else if (p->by_columns)
        program_cut_columns(p, before, after);
    else
        program_cut_lines(p, text->leading ? 1 : before, text->leading ? before : after);
}

static void program_tiles_of(ag__program *p, const program_maker *m)
{
    const ag__loop_set *set = ag__loop_best();
    int64_t widest = 1;
    p->lanes = set->lanes[AG_LOOP_F32];
    for (int i = 0; i < m->n_products; i++) {
        const int64_t size = (int64_t)ag__itemsize(m->products[i].dtype);
        widest = size > widest ? size : widest;
    }
    /* A tile is of whole rows of an ag__line. */
    const int64_t unit = AG_LINE_COLS * 8,
                  room = PROGRAM_BYTES / (p->n_places ? p->n_places : 1) / unit * unit;
    p->room = room < PROGRAM_ROOM ? room : PROGRAM_ROOM;
    p->tile = p->room / widest;
}

static void program_sizes(ag__program *p, const program_maker *m)
{
    const ag__program_text *text = m->text;
    *p = (ag__program){
        .c = m->c, .n_writes = m->n_writes, .n_codes = m->n_codes, .n_places = m->n_places
    };
    p->operands.n = m->n_operands;
    for (int k = 0; k < text->n_outputs; k++) {
        const ag__program_output *o = &text->outputs[k];
        if (o->which == AG_PROGRAM_ALL)
            continue;
        const ag_dtype compute = ag__reduce_dtype((ag_dtype)o->to->dtype);
        p->reductions[p->n_reductions++] = (program_reduction){
            .reducers = ag__reducers_of(compute),
            .to = o->to,
            .compute = compute,
            .size = (int64_t)ag__itemsize(compute),
            .place = m->products[m->kept[k]].place,
            .which = o->which,
            .partial = o->which == AG_REDUCE_MEAN ? AG_REDUCE_SUM : o->which,
        };
    }
    program_tiles_of(p, m);
    program_cut(p, m);
}

/* ---- making one ---- */

static bool maker_init(program_maker *m, ag_context *c, const ag__program_text *text)
{
    const size_t codes = 5 * (size_t)text->n_steps + 3 * (size_t)text->n_outputs;
    const size_t products = codes + (size_t)(3 * text->n_steps + text->n_outputs);
    const size_t values = (size_t)(text->n_inputs + text->n_steps) * AG_DTYPE_COUNT;
    const size_t ints = values + (size_t)text->n_outputs + codes;
    *m = (program_maker){ .c = c, .text = text };
    m->bytes = codes * sizeof *m->codes + products * sizeof *m->products + ints * sizeof *m->found;
    m->memory = ag__alloc(c, m->bytes);
    if (!m->memory)
        return false;
    m->codes = m->memory;
    m->products = (void *)(m->codes + codes);
    m->found = (void *)(m->products + products);
    m->kept = m->found + values;
    m->free = m->kept + text->n_outputs;
    for (size_t i = 0; i < values; i++)
        m->found[i] = -1;
    return true;
}

/* Products of columns would come out otherwise than the plain ones, which go row by row. */
static bool maker_fits(const program_maker *m)
{
    const ag__program_text *text = m->text;
    bool products = false;
    for (int k = 0; k < text->n_outputs; k++)
        products = products || text->outputs[k].which == AG_REDUCE_PROD;
    if (products && text->leading)
        return ag_fail(m->c, AG_ERR_VALUE, "a program has no products of its first dimensions");
    if (text->n_outputs - m->n_writes > AG_PROGRAM_REDUCTIONS)
        return ag_fail(m->c, AG_ERR_VALUE, "a program has %d reductions at most, not %d",
                       AG_PROGRAM_REDUCTIONS, text->n_outputs - m->n_writes);
    return m->n_places <= PROGRAM_PLACES ||
           ag_fail(m->c, AG_ERR_VALUE, "a program of %d steps needs %d places; there are %d",
                   text->n_steps, m->n_places, PROGRAM_PLACES);
}

ag__program *ag__program_new(ag_context *c, const ag__program_text *text)
{
    program_maker m;
    ag__program sizes, *p = NULL;
    if (!maker_init(&m, c, text))
        return NULL;
    maker_codes(&m);
    maker_outputs(&m);
    maker_buffers(&m);
    if (maker_fits(&m)) {
        program_sizes(&sizes, &m);
        sizes.bytes = program_layout(&sizes, NULL);
        p = ag__alloc(c, sizes.bytes);
    }
    if (p) {
        *p = sizes;
        program_layout(p, (char *)p);
        program_fill(p, &m);
    }
    ag__free(c, m.memory, m.bytes);
    return p;
}

void ag__program_free(ag__program *p)
{
    if (p)
        ag__free(p->c, p, p->bytes);
}
