/*
 * Common subexpressions: of equal instructions one stays. Equal are those of the same row with
 * equal operands and attributes, constants of the same bits, and loops and branches whose regions
 * are equal instruction by instruction. What takes random numbers equals nothing.
 *
 * Each value has a class, and values of one class are equal. A captured value has the class of what
 * it stands for, so an instruction of a body is found equal to one outside, and its value is
 * captured. The table holds the instructions of a region while that and those inside it are copied.
 */
#include <string.h>

#include "passes.h"
#include "rewrite.h"

extern const ag__op ag__op_view, ag__op_unsafe_view, ag__op_expand;

/* An instruction in the table. */
typedef struct {
    uint64_t hash;
    ag__rewrite *rw; /* of its region; NULL: a free place */
    int32_t inst;    /* of rw->to */
} cse_entry;

typedef struct {
    int32_t *classes; /* of the values of a region */
    int n, room;
    size_t n_entries; /* of the table when the region was entered */
} cse_region;

typedef struct {
    ag_context *c;
    cse_entry *table; /* open addressing */
    size_t *order;    /* places in it in the order in which they were filled */
    size_t n, room;
    int32_t n_classes;
} cse_state;

/* ---- hashes ---- */

static uint64_t cse_mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static uint64_t cse_hash_bytes(uint64_t h, const void *bytes, size_t n)
{
    const char *at = bytes;
    for (; n > 0; n -= n < 8 ? n : 8, at += 8) {
        uint64_t v = 0;
        memcpy(&v, at, n < 8 ? n : 8);
        h = cse_mix(h, v);
    }
    return h;
}

/* Large constants by their beginning. */
static uint64_t cse_hash_tensor(uint64_t h, const ag_tensor *t)
{
    const size_t bytes = (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype);
    h = cse_mix(h, (uint64_t)t->numel * 16 + t->dtype);
    return ag__is_contiguous(t) ? cse_hash_bytes(h, ag__at(t), bytes < 1024 ? bytes : 1024) : h;
}

/* The list says which shape it is, in one of several ways, and so does the result's shape. */
static bool cse_list_is_shape(const ag__region *r, const ag__inst *i)
{
    return (i->op == &ag__op_view || i->op == &ag__op_unsafe_view || i->op == &ag__op_expand) &&
           ag__shape_numel(ag__value_shape(&r->values[i->out])) >= 0;
}

static uint64_t cse_hash_region(uint64_t h, const ag__region *r);

/* All of i but its operands. */
static uint64_t cse_hash_inst(const ag__region *r, const ag__inst *i)
{
    uint64_t h =
        cse_mix((uint64_t)(uintptr_t)i->op, (uint64_t)i->n_in * 65536 + (uint64_t)i->n_out);
    if (!cse_list_is_shape(r, i)) {
        const ag__attrs *a = i->attrs;
        h = cse_hash_bytes(h, &a->p, sizeof a->p);
        h = cse_hash_bytes(h, &a->q, sizeof a->q);
        h = cse_hash_bytes(h, a->i, sizeof a->i);
        h = cse_hash_bytes(h, ag__long_list(a), (size_t)a->n * sizeof *a->list);
    }
    for (int j = 0; j < i->n_out; j++) {
        const ag__value *v = &r->values[i->out + j];
        h = cse_mix(h, v->dtype + 16u * v->ndim + 1024u * v->number);
        h = cse_hash_bytes(h, v->shape, v->ndim * sizeof *v->shape);
    }
    h = i->tensor ? cse_hash_tensor(h, i->tensor) : h;
    for (int k = 0; k < i->n_regions; k++)
        h = cse_hash_region(h, i->regions[k]);
    return h;
}

static uint64_t cse_hash_region(uint64_t h, const ag__region *r)
{
    for (int k = 0; k < r->n_insts; k++) {
        h = cse_mix(h, cse_hash_inst(r, &r->insts[k]));
        h = cse_hash_bytes(h, r->insts[k].in, (size_t)r->insts[k].n_in * sizeof(int32_t));
    }
    return cse_hash_bytes(h, r->outs, (size_t)r->n_outs * sizeof *r->outs);
}

/* ---- comparisons ---- */

static bool cse_same_bytes(const void *a, const void *b, size_t n)
{
    return !n || !memcmp(a, b, n);
}

static bool cse_same_tensor(const ag_tensor *a, const ag_tensor *b)
{
    const unsigned flags = AG_T_NUMBER;
    if (a == b)
        return true;
    return a->dtype == b->dtype && (a->flags & flags) == (b->flags & flags) &&
           ag__same_shape(ag__sizes(a), ag__sizes(b)) && ag__is_contiguous(a) &&
           ag__is_contiguous(b) &&
           cse_same_bytes(ag__at(a), ag__at(b),
                          (size_t)a->numel * ag__itemsize((ag_dtype)a->dtype));
}

static bool cse_same_region(const ag__region *a, const ag__region *b);

/* All of a and b but their operands. */
static bool cse_same_inst(const ag__region *ra, const ag__inst *a, const ag__region *rb,
                          const ag__inst *b)
{
    bool same = a->op == b->op && a->n_in == b->n_in && a->n_out == b->n_out &&
                a->n_regions == b->n_regions && !a->tensor == !b->tensor;
    for (int j = 0; j < a->n_out && same; j++)
        same = ag__value_alike(&ra->values[a->out + j], &rb->values[b->out + j]);
    if (same && !cse_list_is_shape(ra, a))
        same = a->attrs->n == b->attrs->n &&
               cse_same_bytes(a->attrs, b->attrs, offsetof(ag__attrs, n)) &&
               cse_same_bytes(ag__long_list(a->attrs), ag__long_list(b->attrs),
                              (size_t)a->attrs->n * sizeof *a->attrs->list);
    same = same && (!a->tensor || cse_same_tensor(a->tensor, b->tensor));
    for (int k = 0; k < a->n_regions && same; k++)
        same = cse_same_region(a->regions[k], b->regions[k]);
    return same;
}

static bool cse_same_region(const ag__region *a, const ag__region *b)
{
    bool same = a->n_insts == b->n_insts && a->n_values == b->n_values &&
                a->n_params == b->n_params && a->n_outs == b->n_outs &&
                cse_same_bytes(a->params, b->params, (size_t)a->n_params * sizeof *a->params) &&
                cse_same_bytes(a->outs, b->outs, (size_t)a->n_outs * sizeof *a->outs);
    for (int p = 0; p < a->n_params && same; p++)
        same = ag__value_alike(&a->values[a->params[p]], &b->values[b->params[p]]);
    for (int k = 0; k < a->n_insts && same; k++) {
        const ag__inst *i = &a->insts[k], *j = &b->insts[k];
        same = cse_same_inst(a, i, b, j) &&
               cse_same_bytes(i->in, j->in, (size_t)i->n_in * sizeof *i->in);
    }
    return same;
}

/* ---- classes ---- */

static cse_region *cse_of(const ag__rewrite *rw) { return rw->info; }

static int32_t cse_class(const ag__rewrite *rw, int32_t v)
{
    return v < 0 ? -1 : cse_of(rw)->classes[v];
}

/* Values up to n get classes of their own. */
static bool cse_fill(cse_state *s, ag__rewrite *rw, int n)
{
    cse_region *r = cse_of(rw);
    for (; r->n < n; r->n++) {
        int32_t *classes = ag__make_room(s->c, r->classes, r->n, &r->room, 64, sizeof *r->classes);
        if (!classes)
            return false;
        r->classes = classes;
        classes[r->n] = s->n_classes++;
    }
    return true;
}

/* ---- the table ---- */

static bool cse_commutes(const ag__inst *i)
{
    const ag__op *op = i->op;
    return op == ag__ops[AG_OP_add] || op == ag__ops[AG_OP_mul] || op == ag__ops[AG_OP_eq] ||
           op == ag__ops[AG_OP_ne] || op == ag__ops[AG_OP_logical_and] ||
           op == ag__ops[AG_OP_logical_or];
}

static uint64_t cse_hash(const ag__rewrite *rw, const ag__inst *i)
{
    uint64_t h = cse_hash_inst(rw->to, i);
    if (cse_commutes(i)) {
        const int32_t a = cse_class(rw, i->in[0]), b = cse_class(rw, i->in[1]);
        return cse_mix(h, (uint64_t)(uint32_t)(a < b ? a : b) << 32 | (uint32_t)(a < b ? b : a));
    }
    for (int k = 0; k < i->n_in; k++)
        h = cse_mix(h, (uint64_t)(uint32_t)cse_class(rw, i->in[k]));
    return h;
}

static bool cse_same_operands(const ag__rewrite *ra, const ag__inst *a, const ag__rewrite *rb,
                              const ag__inst *b)
{
    bool same = true;
    for (int k = 0; k < a->n_in && same; k++)
        same = cse_class(ra, a->in[k]) == cse_class(rb, b->in[k]);
    if (!same && cse_commutes(a))
        same = cse_class(ra, a->in[0]) == cse_class(rb, b->in[1]) &&
               cse_class(ra, a->in[1]) == cse_class(rb, b->in[0]);
    return same;
}

/* The place of an instruction like i, or a free one. Of constants each region has its own. */
static size_t cse_place(const cse_state *s, const ag__rewrite *rw, const ag__inst *i, uint64_t h)
{
    const size_t none = SIZE_MAX;
    size_t at = (size_t)h & (s->room - 1), outside = none;
    for (; s->table[at].rw; at = (at + 1) & (s->room - 1)) {
        const cse_entry *e = &s->table[at];
        const ag__inst *other = &e->rw->to->insts[e->inst];
        if (e->hash != h || !cse_same_inst(e->rw->to, other, rw->to, i) ||
            !cse_same_operands(e->rw, other, rw, i))
            continue;
        if (i->op != &ag__op_constant || e->rw == rw)
            return at;
        outside = outside == none ? at : outside;
    }
    return outside == none ? at : outside;
}

static bool cse_grow(cse_state *s)
{
    const size_t room = s->room ? 2 * s->room : 256;
    cse_entry *table = ag__alloc(s->c, room * sizeof *table);
    size_t *order = table ? ag__alloc(s->c, room * sizeof *order) : NULL;
    if (!order) {
        ag__free(s->c, table, room * sizeof *table);
        return false;
    }
    memset(table, 0, room * sizeof *table);
    for (size_t k = 0; k < s->n; k++) { /* in order: what is undone last stays first in its chain */
        const cse_entry *e = &s->table[s->order[k]];
        size_t at = (size_t)e->hash & (room - 1);
        while (table[at].rw)
            at = (at + 1) & (room - 1);
        table[at] = *e;
        order[k] = at;
    }
    ag__free(s->c, s->table, s->room * sizeof *s->table);
    ag__free(s->c, s->order, s->room * sizeof *s->order);
    s->table = table;
    s->order = order;
    s->room = room;
    return true;
}

static bool cse_put(cse_state *s, ag__rewrite *rw, int32_t inst, uint64_t h)
{
    if (2 * (s->n + 1) > s->room && !cse_grow(s))
        return false;
    size_t at = (size_t)h & (s->room - 1);
    while (s->table[at].rw)
        at = (at + 1) & (s->room - 1);
    s->table[at] = (cse_entry){ .hash = h, .rw = rw, .inst = inst };
    s->order[s->n++] = at;
    return true;
}

/* ---- the pass ---- */

/* The value of rw->to for v of `of`, a region around it, with its class. -1 when out of memory. */
static int32_t cse_reach(cse_state *s, ag__rewrite *rw, ag__rewrite *of, int32_t v)
{
    if (rw == of)
        return v;
    const int32_t outside = cse_reach(s, rw->outer, of, v);
    const int32_t inside = outside < 0 ? -1 : ag__rewrite_capture(rw, outside);
    if (inside < 0 || !cse_fill(s, rw, inside + 1))
        return -1;
    cse_of(rw)->classes[inside] = cse_class(rw->outer, outside);
    return inside;
}

/* The results of i are those of e. */
static bool cse_take(cse_state *s, ag__rewrite *rw, const ag__inst *i, const cse_entry *e)
{
    const int32_t out = e->rw->to->insts[e->inst].out;
    for (int j = 0; j < i->n_out; j++)
        if ((rw->map[i->out + j] = cse_reach(s, rw, e->rw, out + j)) < 0)
            return false;
    return true;
}

/* Copies i to look for its like. Where there is one the copy goes again; one with regions stays,
 * as they may have captured values, and nobody needs it. */
static bool cse_inst(ag__rewrite *rw, const ag__inst *i)
{
    cse_state *s = rw->pass->state;
    const ag__region_mark mark = ag__region_here(rw->to);
    if (!ag__rewrite_copy(rw, i) || !cse_fill(s, rw, rw->to->n_values))
        return false;
    if (i->n_out == 0 || ag__inst_draws(i))
        return true;
    const int32_t k = rw->to->n_insts - 1;
    const uint64_t h = cse_hash(rw, &rw->to->insts[k]);
    const cse_entry e =
        s->room ? s->table[cse_place(s, rw, &rw->to->insts[k], h)] : (cse_entry){ .rw = NULL };
    if (e.rw && (i->op != &ag__op_constant || e.rw == rw)) {
        if (!i->n_regions) {
            ag__region_rewind(rw->to, mark);
            cse_of(rw)->n = mark.n_values;
        }
        return cse_take(s, rw, i, &e);
    }
    if (e.rw)
        cse_of(rw)->classes[rw->map[i->out]] = cse_class(e.rw, e.rw->to->insts[e.inst].out);
    return cse_put(s, rw, k, h);
}

static bool cse_enter(ag__rewrite *rw)
{
    cse_state *s = rw->pass->state;
    cse_region *r = ag__alloc(s->c, sizeof *r);
    rw->info = r;
    if (!r)
        return false;
    *r = (cse_region){ .n_entries = s->n };
    if (!cse_fill(s, rw, rw->to->n_values))
        return false;
    for (int p = 0; p < rw->to->n_params; p++) {
        const int32_t v = rw->to->params[p], outside = ag__rewrite_outside(rw, v);
        if (outside >= 0)
            r->classes[v] = cse_class(rw->outer, outside);
    }
    return true;
}

static void cse_leave(ag__rewrite *rw)
{
    cse_state *s = rw->pass->state;
    cse_region *r = rw->info;
    if (!r)
        return;
    while (s->n > r->n_entries)
        s->table[s->order[--s->n]].rw = NULL;
    ag__free(s->c, r->classes, (size_t)r->room * sizeof *r->classes);
    ag__free(s->c, r, sizeof *r);
}

ag_graph *ag__pass_cse(const ag_graph *g)
{
    cse_state s = { .c = g->c };
    ag_graph *new = ag__rewrite_graph(g, &(ag__rewrite_pass){ .inst = cse_inst,
                                                              .enter = cse_enter,
                                                              .leave = cse_leave,
                                                              .state = &s });
    ag__free(s.c, s.table, s.room * sizeof *s.table);
    ag__free(s.c, s.order, s.room * sizeof *s.order);
    return new;
}
