/*
 * Copying a region into another: values get new numbers, which `map` keeps, and each instruction is
 * handed to the pass, which copies it or does something else. So a pass sees its operands rewritten
 * already, and what it looks up about them it finds in the new region.
 *
 * An instruction with regions is made after its regions were copied, since a pass may use values
 * from outside in them that were not captured before: these become operands behind the others, and
 * parameters of all its regions. A captured value that is an operand twice is one parameter.
 *
 * Nothing recurses but over regions inside each other.
 */
#include "rewrite.h"

#include <string.h>

/* An instruction with regions in the making. */
typedef struct ag__rewrite_nest {
    const ag__inst *i;
    const bool *keep_in, *keep_out;
    int32_t *in; /* operands, then values that were captured on the way */
    int n_in, room_in, n_given;
    int32_t *places; /* of i's operands in `in`; -1: left out */
    int32_t *params; /* room: of the operands at these places, values of a region */
} ag__rewrite_nest;

/* ---- facts ---- */

bool ag__value_alike(const ag__value *a, const ag__value *b)
{
    return a->dtype == b->dtype && a->number == b->number &&
           ag__same_shape(ag__value_shape(a), ag__value_shape(b));
}

int64_t ag__value_bytes(const ag__value *v)
{
    const int64_t n = ag__shape_numel(ag__value_shape(v));
    return n < 0 ? INT64_MAX : n * (int64_t)ag__itemsize((ag_dtype)v->dtype);
}

bool ag__inst_is_twin(const ag__inst *i, const ag__inst *t)
{
    return t > i && i->op == t->op && i->n_in == t->n_in && i->n_out <= t->n_out &&
           (i->n_in == 0 || !memcmp(i->in, t->in, (size_t)i->n_in * sizeof *i->in));
}

/* ---- adding ---- */

static bool rewrite_param(ag__rewrite *rw, const ag__value *type, int32_t outside, int32_t *param)
{
    const ag__value v = *type; /* values move when others are added */
    *param = ag__region_param(rw->to, (ag_dtype)v.dtype, ag__value_shape(&v), v.number);
    for (; *param >= 0 && outside >= 0 && rw->n_outside <= *param; rw->n_outside++) {
        int32_t *list = ag__make_room(rw->to->graph->c, rw->outside, rw->n_outside,
                                      &rw->room_outside, 16, sizeof *list);
        if (!list)
            return false;
        rw->outside = list;
        list[rw->n_outside] = -1;
    }
    if (*param >= 0 && outside >= 0)
        rw->outside[*param] = outside;
    return *param >= 0;
}

int32_t ag__rewrite_add(ag__rewrite *rw, const ag__inst *like, const ag__value *types)
{
    ag__region *r = rw->to;
    ag__inst wanted = *like;
    const int32_t first = r->n_values;
    for (int j = 0; j < like->n_out; j++) {
        const ag__value type = types[j];
        const int32_t v =
            ag__region_value(r, (ag_dtype)type.dtype, ag__value_shape(&type), type.number);
        if (v < 0)
            return -1;
        r->values[v].inst = r->n_insts;
    }
    wanted.n_out = 0; /* the values are there */
    wanted.n_after = wanted.twin = 0;
    ag__inst *i = ag__region_add(r, &wanted, NULL);
    if (!i)
        return -1;
    i->out = first;
    i->n_out = like->n_out;
    if (i->tensor)
        ag__tensor_ref(i->tensor);
    return first;
}

int32_t ag__rewrite_constant(ag__rewrite *rw, ag_tensor *tensor)
{
    const ag__value type = { .dtype = tensor->dtype,
                             .ndim = tensor->ndim,
                             .number = tensor->flags & AG_T_NUMBER,
                             .shape = tensor->dims };
    return ag__rewrite_add(rw, &(ag__inst){ .op = &ag__op_constant, .n_out = 1, .tensor = tensor },
                           &type);
}

int32_t *ag__rewrite_in(ag__rewrite *rw, const ag__inst *i)
{
    ag_context *c = rw->to->graph->c;
    if (i->n_in > rw->room_in || !rw->in) {
        const int room = i->n_in < 16 ? 16 : 2 * i->n_in;
        int32_t *in = ag__alloc(c, (size_t)room * sizeof *in);
        if (!in)
            return NULL;
        ag__free(c, rw->in, (size_t)rw->room_in * sizeof *in);
        rw->in = in;
        rw->room_in = room;
    }
    for (int k = 0; k < i->n_in; k++)
        rw->in[k] = i->in[k] < 0 ? -1 : rw->map[i->in[k]];
    return rw->in;
}

int32_t ag__rewrite_capture(ag__rewrite *rw, int32_t outside)
{
    ag__rewrite_nest *nest = rw->nest;
    int32_t param;
    int32_t *in =
        ag__make_room(rw->to->graph->c, nest->in, nest->n_in, &nest->room_in, 8, sizeof *in);
    if (!in)
        return -1;
    nest->in = in;
    if (!rewrite_param(rw, &rw->outer->to->values[outside], outside, &param))
        return -1;
    nest->in[nest->n_in++] = outside;
    return param;
}

/* ---- walks ---- */

/* Where the results of an instruction and of its twin all went to one each, these are twins. */
static void rewrite_twins(ag__rewrite *rw)
{
    const ag__region *r = rw->from;
    for (int k = 0; k < r->n_insts; k++) {
        const ag__inst *i = &r->insts[k], *t = &r->insts[i->twin];
        if (!i->twin || !i->n_out)
            continue;
        const int32_t a = rw->map[i->out], b = rw->map[t->out];
        bool whole = a >= 0 && b >= 0 && a != b;
        for (int j = 0; j < i->n_out && whole; j++)
            whole = rw->map[i->out + j] == a + j && rw->map[t->out + j] == b + j;
        const int32_t ia = whole ? rw->to->values[a].inst : -1;
        const int32_t ib = whole ? rw->to->values[b].inst : -1;
        if (ia >= 0 && ib > ia && ag__inst_is_twin(&rw->to->insts[ia], &rw->to->insts[ib]))
            rw->to->insts[ia].twin = ib;
    }
}

static bool rewrite_walk(ag__rewrite *rw)
{
    bool ok = true;
    for (int k = 0; k < rw->from->n_insts && ok; k++)
        ok = rw->pass->inst(rw, &rw->from->insts[k]);
    if (ok)
        rewrite_twins(rw);
    return ok;
}

static int32_t *rewrite_map(ag_context *c, const ag__region *from)
{
    int32_t *map = ag__alloc(c, (size_t)from->n_values * sizeof *map);
    for (int v = 0; map && v < from->n_values; v++)
        map[v] = -1;
    return map;
}

bool ag__rewrite_inline(ag__rewrite *rw, const ag__region *region, const int32_t *args,
                        int32_t *outs)
{
    ag_context *c = rw->to->graph->c;
    const ag__region *const from = rw->from;
    int32_t *const map = rw->map, *own = rewrite_map(c, region);
    if (!own)
        return false;
    for (int p = 0; p < region->n_params; p++)
        own[region->params[p]] = args[p];
    rw->from = region;
    rw->map = own;
    const bool ok = rewrite_walk(rw);
    for (int j = 0; j < region->n_outs && ok; j++)
        outs[j] = own[region->outs[j]];
    rw->from = from;
    rw->map = map;
    ag__free(c, own, (size_t)region->n_values * sizeof *own);
    return ok;
}

/* Results of the region, but for those that keep (NULL: all stay) leaves out. */
static bool rewrite_outs(ag__rewrite *rw, const bool *keep)
{
    const ag__region *r = rw->from;
    ag_context *c = rw->to->graph->c;
    const size_t bytes = (size_t)r->n_outs * sizeof(int32_t);
    int32_t *outs = ag__alloc(c, bytes);
    int n = 0;
    for (int j = 0; j < r->n_outs && outs; j++)
        if (!keep || keep[j])
            outs[n++] = rw->map[r->outs[j]];
    const bool ok = outs && ag__region_set_outs(rw->to, outs, n);
    ag__free(c, outs, bytes);
    return ok;
}

/* The region whose parameters are there; all but rw->to is given up. */
static bool rewrite_region(ag__rewrite *rw, bool ok, const bool *keep_out)
{
    ag_context *c = rw->to->graph->c;
    if (ok) {
        ok = !rw->pass->enter || rw->pass->enter(rw);
        ok = ok && rewrite_walk(rw) && rewrite_outs(rw, keep_out);
        if (rw->pass->leave)
            rw->pass->leave(rw);
    }
    ag__free(c, rw->map, (size_t)rw->from->n_values * sizeof *rw->map);
    ag__free(c, rw->outside, (size_t)rw->room_outside * sizeof *rw->outside);
    ag__free(c, rw->slots, (size_t)rw->room_slots * sizeof *rw->slots);
    ag__free(c, rw->in, (size_t)rw->room_in * sizeof *rw->in);
    return ok;
}

/* ---- instructions with regions ---- */

/* Where value v of rw->to stands among the captured operands so far, else n, where it is put. */
static int rewrite_slot(ag__rewrite *rw, const int32_t *in, int first, int n, int32_t v)
{
    while (rw->n_slots <= v) {
        int32_t *slots = ag__make_room(rw->to->graph->c, rw->slots, rw->n_slots, &rw->room_slots,
                                       64, sizeof *slots);
        if (!slots)
            return -1;
        rw->slots = slots;
        slots[rw->n_slots++] = 0;
    }
    const int at = rw->slots[v]; /* true of this instruction only when v is there */
    if (at >= first && at < n && in[at] == v)
        return at;
    return rw->slots[v] = n;
}

static bool rewrite_nest_in(ag__rewrite *rw, ag__rewrite_nest *nest)
{
    const ag__inst *i = nest->i;
    const int first = ag__inst_captured(i);
    int first_place = 0;
    for (int k = 0; k < i->n_in; k++) {
        nest->places[k] = -1;
        if (k == first)
            first_place = nest->n_in;
        if (nest->keep_in && !nest->keep_in[k])
            continue;
        const int32_t v = rw->map[i->in[k]];
        const int at =
            k < first ? nest->n_in : rewrite_slot(rw, nest->in, first_place, nest->n_in, v);
        if (at < 0)
            return false;
        nest->places[k] = at;
        nest->in[at] = v;
        nest->n_in += at == nest->n_in;
    }
    nest->n_given = nest->n_in;
    return true;
}

static bool rewrite_nest_params(ag__rewrite *rw)
{
    ag__rewrite_nest *nest = rw->nest;
    const ag__inst *i = nest->i;
    bool ok = true;
    int32_t param;
    for (int k = 0; k < nest->n_given; k++)
        nest->params[k] = -1;
    for (int p = 0; p < rw->from->n_params && ok; p++) {
        const int k = ag__inst_operand(i, p), at = nest->places[k];
        const int32_t v = rw->from->params[p];
        if (at >= 0 && nest->params[at] < 0)
            ok = rewrite_param(rw, &rw->from->values[v],
                               k < ag__inst_captured(i) ? -1 : nest->in[at], &nest->params[at]);
        rw->map[v] = at < 0 ? -1 : nest->params[at];
    }
    for (int k = nest->n_given; k < nest->n_in && ok; k++)
        ok = rewrite_param(rw, &rw->outer->to->values[nest->in[k]], nest->in[k], &param);
    return ok;
}

static ag__region *rewrite_nest_region(ag__rewrite *rw, ag__rewrite_nest *nest, int nr)
{
    const bool cond = nr > 0 && ag__inst_is_loop(nest->i);
    ag__rewrite inner = { .pass = rw->pass,
                          .from = nest->i->regions[nr],
                          .outer = rw,
                          .owner = nest->i,
                          .nr = nr,
                          .nest = nest };
    inner.to = ag__region_new(rw->to->graph, rw->to);
    inner.map = inner.to ? rewrite_map(rw->to->graph->c, inner.from) : NULL;
    if (!inner.map)
        return NULL;
    const bool ok = rewrite_nest_params(&inner);
    return rewrite_region(&inner, ok, cond ? NULL : nest->keep_out) ? inner.to : NULL;
}

/* What was captured in later regions is a parameter of earlier ones too. */
static bool rewrite_nest_join(ag__rewrite *rw, const ag__rewrite_nest *nest,
                              ag__region *const *regions)
{
    const bool length = ag__inst_is_loop(nest->i) && nest->i->attrs->list[AG_FLOW_LENGTH] == -2;
    const int wanted = nest->n_in - (ag__inst_is_loop(nest->i) ? length : 1);
    for (int nr = 0; nr < nest->i->n_regions; nr++)
        while (regions[nr]->n_params < wanted) {
            const int k = nest->n_in - (wanted - regions[nr]->n_params);
            const ag__value v = rw->to->values[nest->in[k]];
            if (ag__region_param(regions[nr], (ag_dtype)v.dtype, ag__value_shape(&v), v.number) < 0)
                return false;
        }
    return true;
}

static int rewrite_count(const bool *keep, int at, int n)
{
    int count = 0;
    for (int k = 0; k < n; k++)
        count += !keep || keep[at + k];
    return count;
}

/* The attributes that count operands and results. */
static void rewrite_nest_attrs(const ag__rewrite *rw, const ag__rewrite_nest *nest, ag__attrs *a)
{
    const ag__inst *i = nest->i;
    const int carry = ag__inst_carry(i), xs = ag__inst_xs(i);
    *a = ag__attrs_of(i);
    if (!ag__inst_is_loop(i)) {
        a->i[0] = nest->n_in - 1;
        return;
    }
    a->list[AG_FLOW_CARRY] = rewrite_count(nest->keep_in, 0, carry);
    if (i->op == &ag__op_while_back)
        a->i[0] = rewrite_count(nest->keep_in, 0, (int)i->attrs->i[0]);
    a->list[AG_FLOW_XS] = rewrite_count(nest->keep_in, carry, xs);
    a->list[AG_FLOW_YS] = rewrite_count(nest->keep_out, carry, (int)i->attrs->list[AG_FLOW_YS]);
    if (i->attrs->list[AG_FLOW_COUNT] && nest->keep_out)
        a->list[AG_FLOW_COUNT] = nest->keep_out[i->n_out - 1];
    for (int k = carry; k < carry + xs && a->list[AG_FLOW_XS] == 0; k++) /* they said how long */
        if (rw->from->values[i->in[k]].shape[0] >= 0 && a->list[AG_FLOW_LENGTH] == -1)
            a->list[AG_FLOW_LENGTH] = rw->from->values[i->in[k]].shape[0];
}

static bool rewrite_nest_add(ag__rewrite *rw, const ag__rewrite_nest *nest,
                             ag__region *const *regions)
{
    const ag__inst *i = nest->i;
    ag_context *c = rw->to->graph->c;
    const size_t bytes = (size_t)i->n_out * sizeof(ag__value);
    ag__value *types = ag__alloc(c, bytes);
    ag__attrs attrs;
    int n = 0;
    for (int j = 0; j < i->n_out && types; j++)
        if (!nest->keep_out || nest->keep_out[j])
            types[n++] = rw->from->values[i->out + j];
    rewrite_nest_attrs(rw, nest, &attrs);
    const ag__inst like = { .op = i->op,
                            .n_in = nest->n_in,
                            .n_out = n,
                            .n_regions = i->n_regions,
                            .in = nest->in,
                            .attrs = &attrs,
                            .regions = regions };
    int32_t out = types ? ag__rewrite_add(rw, &like, types) : -1;
    const bool ok = out >= 0;
    for (int j = 0; j < i->n_out && ok; j++)
        if (!nest->keep_out || nest->keep_out[j])
            rw->map[i->out + j] = out++;
    ag__free(c, types, bytes);
    return ok;
}

static bool rewrite_nested(ag__rewrite *rw, const ag__inst *i, const bool *keep_in,
                           const bool *keep_out)
{
    ag_context *c = rw->to->graph->c;
    const size_t places = (size_t)i->n_in * sizeof(int32_t);
    const size_t bytes = (size_t)i->n_regions * sizeof(ag__region *) + 2 * places;
    ag__region **regions = ag__alloc(c, bytes);
    ag__rewrite_nest nest = { .i = i, .keep_in = keep_in, .keep_out = keep_out };
    bool ok = regions != NULL;
    if (ok) {
        nest.places = (int32_t *)(void *)(regions + i->n_regions);
        nest.params = nest.places + i->n_in;
        nest.in = ag__alloc(c, places);
        nest.room_in = i->n_in;
        ok = nest.in && rewrite_nest_in(rw, &nest);
    }
    for (int nr = 0; nr < i->n_regions && ok; nr++)
        ok = (regions[nr] = rewrite_nest_region(rw, &nest, nr)) != NULL;
    ok = ok && rewrite_nest_join(rw, &nest, regions) && rewrite_nest_add(rw, &nest, regions);
    ag__free(c, nest.in, (size_t)nest.room_in * sizeof *nest.in);
    ag__free(c, regions, bytes);
    return ok;
}

bool ag__rewrite_some(ag__rewrite *rw, const ag__inst *i, const bool *in, const bool *out)
{
    if (i->n_regions)
        return rewrite_nested(rw, i, in, out);
    ag__inst like = *i;
    like.in = ag__rewrite_in(rw, i);
    const int32_t first = like.in ? ag__rewrite_add(rw, &like, &rw->from->values[i->out]) : -1;
    for (int j = 0; j < i->n_out && first >= 0; j++)
        rw->map[i->out + j] = first + j;
    return first >= 0;
}

bool ag__rewrite_copy(ag__rewrite *rw, const ag__inst *i)
{
    return ag__rewrite_some(rw, i, NULL, NULL);
}

/* ---- graphs ---- */

static bool rewrite_main(ag__rewrite *rw)
{
    bool ok = true;
    for (int p = 0; p < rw->from->n_params && ok; p++) {
        const int32_t v = rw->from->params[p];
        ok = rewrite_param(rw, &rw->from->values[v], -1, &rw->map[v]);
    }
    return ok;
}

/* Names of parameters; other values may be gone. */
static bool rewrite_names(ag_graph *g, const ag_graph *from)
{
    bool ok = true;
    for (int p = 0; p < from->main.n_params && ok; p++) {
        const char *name = from->main.values[from->main.params[p]].name;
        ok = !name || ag__graph_name(g, g->main.params[p], name);
    }
    return ok;
}

ag_graph *ag__rewrite_graph(const ag_graph *g, const ag__rewrite_pass *how)
{
    ag_graph *new = ag__graph_new(g->c, true);
    if (!new)
        return NULL;
    ag__rewrite rw = { .pass = how, .from = &g->main, .to = &new->main };
    rw.map = rewrite_map(g->c, &g->main);
    if (rw.map && rewrite_region(&rw, rewrite_main(&rw), NULL) && rewrite_names(new, g)) {
        new->finalized = g->finalized;
        return new;
    }
    ag_graph_free(new);
    return NULL;
}
