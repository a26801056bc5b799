/* Plans of branches and loops, as traced graphs have them: with stacks, lengths and counts. */
#include "plans.h"

#include "graph/rows.h"

#include <stdio.h>

/* ---- graphs ---- */

typedef bool body_fn(ag_tensor *const *in, int n, ag_tensor **out, int m);
typedef struct {
    body_fn *fn;
} body_call;
static bool body_traced(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const body_call *b = arg;
    return b->fn(in, n, out, m);
}

/* A loop: operands are carry, xs, a length and what is captured; the first `n_captured` last of them. */
typedef struct {
    body_fn *body, *cond;
    int n_carry, n_xs, n_ys, n_captured;
    int64_t limit, length;
    bool reverse, counts;
} loop;

static void geometry_of(const ag__value *v, int64_t length, bool stacked, ag__geometry *g)
{
    ag__geometry_set(g, (ag_dtype)v->dtype, ag__value_shape(v));
    if (!stacked)
        return;
    memmove(g->shape + 1, g->shape, (size_t)g->ndim++ * sizeof *g->shape);
    g->shape[0] = length;
}

static bool all_there(ag_tensor *const *in, int n)
{
    for (int i = 0; i < n; i++)
        if (!in[i])
            return false;
    return true;
}

static bool loop_call(const loop *l, ag_tensor *const *in, ag_tensor **out)
{
    if (!all_there(in, l->n_carry + l->n_xs + (l->length == -2) + l->n_captured))
        return false;
    ag_context *c = ag_context_of(in[0]);
    ag__region *r = c->tracing, *regions[2] = { NULL, NULL };
    ag__type types[PLANS_MAX];
    ag__geometry g[PLANS_MAX];
    int32_t numbers[PLANS_MAX];
    const int own = l->n_carry + l->n_xs, given = own + (l->length == -2),
              n = given + l->n_captured;
    const int n_out = l->n_carry + l->n_ys;
    for (int i = 0; i < own + l->n_captured; i++) {
        const ag_tensor *t = in[i < own ? i : i + given - own];
        types[i] = ag__type_of(t);
        if (i >= l->n_carry && i < own)
            types[i].shape = (ag_ints){ t->dims + 1, t->ndim - 1 };
    }
    regions[0] = ag__trace("loop", r->graph, r, types, own + l->n_captured, body_traced,
                           &(body_call){ l->body }, n_out);
    if (l->cond)
        regions[1] = ag__trace("loop", r->graph, r, types, own + l->n_captured, body_traced,
                               &(body_call){ l->cond }, 1);
    if (!regions[0] || (l->cond && !regions[1]))
        return false;
    int64_t length = l->length < 0 ? -1 : l->length;
    if (l->length == -1 && l->n_xs)
        length = in[l->n_carry]->dims[0];
    for (int j = 0; j < n_out; j++)
        geometry_of(ag__region_out(regions[0], j), length, j >= l->n_carry, &g[j]);
    ag__geometry_set(&g[n_out], AG_I64, AG_SHAPE());
    for (int i = 0; i < n; i++)
        if ((numbers[i] = ag__region_operand(r, "loop", in[i])) < 0)
            return false;
    const ag__attrs attrs = { .n = AG_FLOW_ATTRS,
                              .list = { [AG_FLOW_CARRY] = l->n_carry,
                                        [AG_FLOW_XS] = l->n_xs,
                                        [AG_FLOW_YS] = l->n_ys,
                                        [AG_FLOW_LIMIT] = l->limit,
                                        [AG_FLOW_REVERSE] = l->reverse,
                                        [AG_FLOW_LENGTH] = l->length,
                                        [AG_FLOW_COUNT] = l->counts } };
    if (!ag__record_in(r,
                       &(ag__inst){ .op = l->cond ? &ag__op_while : &ag__op_scan,
                                    .n_in = n,
                                    .n_out = n_out + l->counts,
                                    .n_regions = l->cond ? 2 : 1,
                                    .in = numbers,
                                    .attrs = &attrs,
                                    .regions = regions },
                       g, out))
        return false;
    for (int j = 0; j < n_out + l->counts; j++)
        ag__give(out[j]);
    return true;
}

static bool branch_call(body_fn *const *fns, int n_fns, bool two, ag_tensor *const *in, int n,
                        ag_tensor **out, int m)
{
    if (!all_there(in, n))
        return false;
    ag_context *c = ag_context_of(in[0]);
    ag__region *r = c->tracing, *regions[4] = { NULL };
    ag__type types[PLANS_MAX];
    ag__geometry g[PLANS_MAX];
    int32_t numbers[PLANS_MAX];
    for (int i = 0; i < n; i++) {
        types[i] = ag__type_of(in[i]);
        if ((numbers[i] = ag__region_operand(r, "branch", in[i])) < 0)
            return false;
    }
    for (int k = 0; k < n_fns; k++)
        if (!(regions[k] = ag__trace("branch", r->graph, r, types + 1, n - 1, body_traced,
                                     &(body_call){ fns[k] }, m)))
            return false;
    for (int j = 0; j < m; j++)
        geometry_of(ag__region_out(regions[0], j), 0, false, &g[j]);
    if (!ag__record_in(r,
                       &(ag__inst){ .op = two ? &ag__op_cond : &ag__op_switch,
                                    .n_in = n,
                                    .n_out = m,
                                    .n_regions = n_fns,
                                    .in = numbers,
                                    .attrs = &(ag__attrs){ .i = { n - 1 } },
                                    .regions = regions },
                       g, out))
        return false;
    for (int j = 0; j < m; j++)
        ag__give(out[j]);
    return true;
}

#define BODY(name) static bool name(ag_tensor *const *in, int n, ag_tensor **out, int m)
#define GRAPH(name) static bool name(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
#define UNUSED (void)n, (void)m
#define GRAPH_UNUSED (void)arg, (void)n, (void)m

/* ---- operands ---- */

static ag_tensor *numbers(ag_context *c, ag_dtype dtype, ag_ints shape)
{
    ag_tensor *t = ag_rand(c, shape, .dtype = AG_F64);
    CHECK(t = t ? ag_to(ag_add(ag_mul(t, 3), .5), dtype) : NULL);
    return t;
}
static ag_tensor *number(ag_context *c, ag_dtype dtype, double value)
{
    ag_tensor *t = ag_full(c, AG_SHAPE(), value, .dtype = dtype);
    CHECK(t);
    return t;
}
#define LONG AG_SHAPE(5, 7) /* more than what is copied rather than bound or exchanged */

/* ---- values without loops ---- */

GRAPH(chain)
{
    GRAPH_UNUSED;
    ag_tensor *a = ag_mul(in[0], in[1]), *b = ag_exp(ag_neg(a)),
              *d = ag_add(ag_transpose(b, 0, 1), 1);
    out[0] = ag_sum(ag_mul(d, ag_t(in[1])));
    out[1] = d;
    out[2] = ag_view(ag_add(a, b), AG_SHAPE(35));
    return out[0] && out[1] && out[2];
}

static void t_a_chain(ag_context *c)
{
    plans_case k = { .fn = chain, .n = 2, .m = 3, .name = "chain" };
    for (int i = 0; i < 2; i++) {
        k.args[i] = numbers(c, AG_F32, LONG);
        k.others[i] = numbers(c, AG_F32, LONG);
    }
    plans_check(c, &k);
    k.others[0] = NULL;
    CHECK(k.args[0] = ag_t(numbers(c, AG_F32, AG_SHAPE(7, 5))));
    plans_check(c, &k);
}

/* A view ends before what it is a view of, and the other way round. */
GRAPH(views)
{
    GRAPH_UNUSED;
    ag_tensor *a = ag_sin(in[0]), *v = ag_view(a, AG_SHAPE(35)), *w = ag_view(v, AG_SHAPE(7, 5));
    out[0] = ag_exp(v);
    out[1] = ag_mul(a, 2);
    ag_tensor *b = ag_cos(in[1]), *u = ag_view(b, AG_SHAPE(35));
    out[2] = ag_sum(ag_neg(b));
    out[3] = ag_mul(u, 3);
    out[4] = ag_sum(ag_square(w));
    return out[0] && out[1] && out[2] && out[3] && out[4];
}

static void t_views(ag_context *c)
{
    plans_case k = { .fn = views, .n = 2, .m = 5, .name = "views" };
    for (int i = 0; i < 2; i++)
        k.args[i] = numbers(c, AG_F32, LONG);
    plans_check(c, &k);
    CHECK(k.args[0] = numbers(c, AG_F64, AG_SHAPE(5, 7)));
    plans_check(c, &k);
}

/* Parameters, constants, views of them, and one value twice. */
GRAPH(given_back)
{
    GRAPH_UNUSED;
    ag_tensor *a = ag_mul(in[0], 2);
    out[0] = in[0];
    out[1] = ag_t(in[0]);
    out[2] = out[3] = a;
    out[4] = ag_select(a, 0, 1);
    out[5] = in[1];
    out[6] = ag_full(ag_context_of(in[0]), AG_SHAPE(2, 3), 5);
    out[7] = ag_select(in[0], 0, 2);
    return out[1] && a && out[4] && out[6] && out[7];
}

static void t_results_that_are_there(ag_context *c)
{
    plans_case k = { .fn = given_back, .n = 2, .m = 8, .name = "given back" };
    k.args[0] = numbers(c, AG_F64, LONG);
    k.args[1] = number(c, AG_I64, 3);
    k.others[0] = numbers(c, AG_F64, LONG);
    k.others[1] = number(c, AG_I64, -4);
    plans_check(c, &k);
    /* What is given out is nobody else's. */
    ag_tensor *results[PLANS_MAX];
    ag_graph *g = plans_traced(c, given_back, NULL, k.args, 2, 8);
    ag__plan *p = g ? plans_hold(g, NULL, 0) : NULL;
    CHECK(p && ag__plan_run(p, k.args, results));
    for (int j = 0; j < 8; j++) {
        ag__give(results[j]);
        for (int i = 0; i < j; i++)
            CHECK(ag_data(results[i]) != ag_data(results[j]));
    }
    CHECK(ag_data(results[0]) != ag_data(k.args[0]));
}

/* Written over arguments: exchanged, rotated, and one that is read by the other's result. */
GRAPH(update)
{
    GRAPH_UNUSED;
    out[0] = in[1];
    out[1] = in[0];
    out[2] = ag_add(in[2], ag_sum(in[0]));
    out[3] = ag_flip(in[3], AG_DIMS(0));
    out[4] = ag_mul(in[0], 2);
    return out[2] && out[3] && out[4];
}

static void t_results_over_arguments(ag_context *c)
{
    plans_case k = { .fn = update, .n = 4, .m = 5, .into = { 1, 2, 3, 4, 0 }, .name = "update" };
    for (int i = 0; i < 4; i++) {
        k.args[i] = numbers(c, AG_F32, i == 3 ? AG_SHAPE(3) : LONG);
        k.others[i] = numbers(c, AG_F32, i == 3 ? AG_SHAPE(3) : LONG);
    }
    plans_check(c, &k);
}

/* A step of descent: what it computes last lies where the arguments are. */
GRAPH(descent)
{
    GRAPH_UNUSED;
    ag_tensor *g = ag_mm(ag_t(in[2]), ag_mm(in[2], in[0]));
    out[0] = ag_add(ag_mul(in[1], .9), g);
    out[1] = ag_sub(in[0], ag_mul(out[0], .01));
    out[2] = ag_sum(ag_square(g));
    return out[0] && out[1] && out[2];
}
/* The same, but the first is still read when the second is computed. */
GRAPH(descent_crossed)
{
    GRAPH_UNUSED;
    ag_tensor *g = ag_mm(ag_t(in[2]), ag_mm(in[2], in[0]));
    out[0] = ag_add(ag_mul(in[1], .9), g);
    out[1] = ag_sub(in[0], ag_mm(g, ag_add(in[1], 1)));
    out[2] = ag_sum(ag_square(g));
    return out[0] && out[1] && out[2];
}

static void t_descent(ag_context *c)
{
    plans_case k = { .fn = descent, .n = 3, .m = 3, .into = { 2, 1, 0 }, .name = "descent" };
    for (int i = 0; i < 3; i++) {
        k.args[i] = numbers(c, AG_F32, AG_SHAPE(6, 6));
        k.others[i] = numbers(c, AG_F32, AG_SHAPE(6, 6));
    }
    plans_check(c, &k);
    k.fn = descent_crossed;
    plans_check(c, &k);
    /* One tensor for two arguments: each has what it should, the later one wins. */
    const int32_t into[] = { 1, 0, -1 };
    ag_tensor *x = k.args[0], *a = ag_clone(x), *args[] = { a, a, k.args[2] }, *r[3];
    CHECK(a);
    ag_graph *g = plans_traced(c, descent, NULL, args, 3, 3);
    ag__plan *p = g ? plans_hold(g, into, 0) : NULL;
    CHECK(p && ag__plan_run(p, args, r));
    ag__give(r[2]);
    ag_tensor *in[] = { x, x, k.args[2] }, *expected[3];
    AG_NO_GRAD (c)
        CHECK(descent(NULL, in, 3, expected, 3));
    plans_same("descent", 0, 1, a, expected[1]);
}

/* So many values that they are laid out in another way: all of a chain is needed on the way back. */
GRAPH(forth_and_back_again)
{
    GRAPH_UNUSED;
    static ag_tensor *kept[2500];
    ag_tensor *x = in[0];
    for (int i = 0; i < 2500; i++) {
        kept[i] = x;
        x = i % 3 ? ag_sin(x) : ag_sum(ag_mul(ag_add(in[1], x), .25));
    }
    for (int i = 2499; i >= 0; i--)
        x = ag_add(x, ag_mul(kept[i], x));
    return (out[0] = x) != NULL;
}

static void t_very_many_values(ag_context *c)
{
    if (harness_faults())
        return;
    plans_case k = { .fn = forth_and_back_again, .n = 2, .m = 1, .name = "very many" };
    k.args[0] = number(c, AG_F32, -.5);
    k.args[1] = numbers(c, AG_F32, AG_SHAPE(3, 3));
    plans_check_off(c, &k, 0);
    plans_check_off(c, &k, AG_PASS_FUSE);
    CHECK_INT(ag__plan_bytes(plans_held), 2501 * 64 + 64);
    plans_check_off(c, &k, AG_PASS_FUSE | AG_PASS_REUSE);
}

/* ---- sizes of arenas ---- */

static size_t arena_of(ag_context *c, ag__traced_fn *fn, ag_tensor *const *args, int n, int m,
                       int off)
{
    ag_graph *g = plans_traced(c, fn, NULL, args, n, m);
    CHECK(g);
    ag__plan *p = plans_hold(g, NULL, off);
    CHECK(p);
    return ag__plan_bytes(p);
}

GRAPH(six_in_a_row)
{
    GRAPH_UNUSED;
    ag_tensor *x = in[0];
    for (int i = 0; i < 5; i++)
        x = ag_sin(x);
    return (out[0] = ag_sum(x)) != NULL;
}

GRAPH(products)
{
    GRAPH_UNUSED;
    return (out[0] = ag_sum(ag_mm(ag_mm(ag_mm(in[0], in[0]), in[0]), in[0]))) != NULL;
}

static void t_sizes_of_arenas(ag_context *c)
{
    ag_tensor *x = numbers(c, AG_F64, AG_SHAPE(16, 16)); /* 2048 bytes */
    const int all = AG_PASS_FUSE, none = AG_PASS_FUSE | AG_PASS_REUSE;
    CHECK_INT(arena_of(c, six_in_a_row, &x, 1, 1, all), 2048 + 64);
    CHECK_INT(arena_of(c, six_in_a_row, &x, 1, 1, none), 5 * 2048 + 64);
    CHECK_INT(arena_of(c, products, &x, 1, 1, all), 2 * 2048);
    CHECK_INT(arena_of(c, products, &x, 1, 1, none), 3 * 2048 + 64);
    /* With programs there is nothing between; what is written over arguments is nowhere else. */
    CHECK_INT(arena_of(c, six_in_a_row, &x, 1, 1, 0), 64);
    ag_tensor *args[] = { x, x, x };
    const int32_t into[] = { 1, 0, -1 };
    ag_graph *g = plans_traced(c, descent, NULL, args, 3, 3);
    CHECK(g && plans_hold(g, into, 0));
    CHECK_INT(ag__plan_bytes(plans_held), 2 * 2048);
    CHECK_INT(ag__plan_steps(plans_held), 3);
}

/* ---- branches ---- */

BODY(branch_product)
{
    UNUSED;
    out[0] = ag_mul(in[0], in[1]);
    out[1] = in[0];
    return out[0] != NULL;
}
BODY(branch_swap)
{
    UNUSED;
    out[0] = in[1];
    out[1] = ag_t(ag_view(ag_sin(in[0]), AG_SHAPE(7, 5)));
    return out[1] != NULL;
}
BODY(branch_same)
{
    UNUSED;
    out[0] = out[1] = ag_exp(in[1]);
    return out[0] != NULL;
}

GRAPH(branches)
{
    GRAPH_UNUSED;
    ag_tensor *given[] = { in[0], in[1], ag_mul(in[1], 2) }, *r[2];
    body_fn *const fns[] = { branch_product, branch_swap, branch_same };
    if (!branch_call(fns, arg ? 2 : 3, arg, given, 3, r, 2))
        return false;
    out[0] = ag_add(r[0], in[1]);
    out[1] = r[1];
    return out[0] != NULL;
}

static void t_branches(ag_context *c)
{
    static int two;
    const double indices[] = { 0, 1, 2, 7, -1 };
    for (int i = 0; i < 5; i++) {
        plans_case k = { .fn = branches, .n = 2, .m = 2, .name = "branches" };
        k.args[0] = number(c, AG_I64, indices[i]);
        k.others[0] = number(c, AG_I64, indices[(i + 1) % 5]);
        k.args[1] = numbers(c, AG_F32, LONG);
        k.others[1] = numbers(c, AG_F32, LONG);
        plans_check(c, &k);
        k.arg = &two;
        k.args[0] = number(c, AG_BOOL, indices[i] > 0);
        k.others[0] = number(c, AG_BOOL, indices[i] <= 0);
        plans_check(c, &k);
    }
}

/* ---- loops ---- */

BODY(counter_cond)
{
    UNUSED;
    return (out[0] = ag_lt(in[0], in[1])) != NULL;
}
BODY(counter_body)
{
    UNUSED;
    out[0] = ag_add(in[0], 2);
    out[1] = ag_add(in[1], 1);
    return out[0] && out[1];
}
GRAPH(counter)
{
    GRAPH_UNUSED;
    return loop_call(&(loop){ .body = counter_body,
                              .cond = counter_cond,
                              .n_carry = 2,
                              .length = -1,
                              .counts = true },
                     in, out);
}

static void t_counter(ag_context *c)
{
    const ag_dtype types[] = { AG_F32, AG_F64, AG_I64, AG_I32, AG_F16 };
    for (int i = 0; i < AG_COUNT(types); i++) {
        plans_case k = { .fn = counter, .n = 2, .m = 3, .name = "counter" };
        k.args[0] = number(c, types[i], 0);
        k.args[1] = number(c, types[i], 10);
        k.others[0] = number(c, types[i], 5);
        k.others[1] = number(c, types[i], 5);
        plans_check(c, &k);
    }
}

/* (a, b, d, i) becomes (b, a, a - d, i + 1), beside views of carries and what does not change. */
BODY(fewer)
{
    UNUSED;
    return (out[0] = ag_lt(in[3], in[4])) != NULL;
}
BODY(rotate)
{
    UNUSED;
    out[0] = in[1];
    out[1] = in[0];
    out[2] = ag_sub(in[0], in[2]);
    out[3] = ag_add(in[3], 1);
    return out[2] && out[3];
}
BODY(turn)
{
    UNUSED;
    out[0] = ag_t(in[0]);
    out[1] = ag_sin(in[1]);
    out[2] = out[1];
    out[3] = ag_add(in[3], 1);
    return out[0] && out[1] && out[3];
}
BODY(mix)
{
    UNUSED;
    ag_tensor *s = ag_mul(in[0], in[1]);
    out[0] = ag_add(s, in[2]);
    out[1] = ag_mm(in[0], in[2]);
    out[2] = ag_softmax(out[1], 0);
    out[3] = ag_add(in[3], 1);
    return out[0] && out[1] && out[2] && out[3];
}
GRAPH(carries)
{
    body_fn *const *body = arg;
    (void)n, (void)m;
    return loop_call(&(loop){ .body = *body,
                              .cond = fewer,
                              .n_carry = 4,
                              .n_captured = 1,
                              .length = -1,
                              .limit = 6 },
                     in, out);
}

static void t_carries(ag_context *c)
{
    static body_fn *bodies[] = { rotate, turn, mix };
    for (int i = 0; i < 12; i++) {
        static const char *const names[] = { "rotate", "turn", "mix" };
        plans_case k = {
            .fn = carries, .arg = &bodies[i % 3], .n = 5, .m = 4, .name = names[i % 3]
        };
        for (int a = 0; a < 3; a++) {
            k.args[a] = numbers(c, AG_F32, i / 3 % 2 ? AG_SHAPE(6, 6) : AG_SHAPE(2, 2));
            k.others[a] = numbers(c, AG_F32, i / 3 % 2 ? AG_SHAPE(6, 6) : AG_SHAPE(2, 2));
        }
        k.args[3] = k.others[3] = number(c, AG_I64, 0);
        k.args[4] = number(c, AG_I64, i / 6 ? 5 : 8); /* more than the limit */
        k.others[4] = number(c, AG_I64, i / 6 ? 0 : 2);
        plans_check(c, &k);
    }
}

/* carry + x, x taken step by step; ys are stacked. */
BODY(sums)
{
    UNUSED;
    out[0] = ag_add(in[0], ag_mul(in[1], in[3]));
    out[1] = ag_sub(out[0], in[2]);
    out[2] = in[0];
    out[3] = ag_mul(ag_sum(in[1]), 2);
    return out[0] && out[1] && out[3];
}
GRAPH(scans)
{
    const bool reverse = arg != NULL;
    (void)n, (void)m;
    ag_tensor *operands[] = { in[0], ag_mul(in[1], 2), ag_transpose(in[2], 0, 1), in[3] };
    return loop_call(&(loop){ .body = sums,
                              .n_carry = 1,
                              .n_xs = 2,
                              .n_ys = 3,
                              .n_captured = 1,
                              .length = -1,
                              .reverse = reverse,
                              .counts = true },
                     operands, out);
}

static void t_scans(ag_context *c)
{
    static int reverse;
    const int64_t sizes[] = { 1, 2, 20 }, lengths[] = { 4, 1, 0 };
    for (int i = 0; i < 18; i++) {
        const int64_t size = sizes[i % 3], length = lengths[i / 3 % 3];
        plans_case k = {
            .fn = scans, .arg = i < 9 ? NULL : &reverse, .n = 4, .m = 5, .name = "scans"
        };
        for (int a = 0; a < 2; a++) {
            ag_tensor **args = a ? k.others : k.args;
            args[0] = numbers(c, AG_F64, AG_SHAPE(size));
            args[1] = numbers(c, AG_F64, AG_SHAPE(length, size));
            args[2] = numbers(c, AG_F64, AG_SHAPE(size, length));
            args[3] = numbers(c, AG_F64, AG_SHAPE());
        }
        plans_check(c, &k);
    }
}

/* A while with stacks, which rows of unknown size and scans read again, as derivatives do. */
BODY(grow)
{
    UNUSED;
    out[0] = ag_mul(in[0], in[2]);
    out[1] = ag_add(in[1], 1);
    out[2] = ag_sin(in[0]);
    out[3] = in[1];
    return out[0] && out[1] && out[2];
}
BODY(grows)
{
    UNUSED;
    return (out[0] = ag_lt(ag_sum(in[0]), 1000)) != NULL;
}
BODY(back)
{
    UNUSED;
    out[0] = ag_add(ag_mul(in[0], in[1]), ag_sum(in[2]));
    out[1] = ag_mul(out[0], in[3]);
    return out[0] && out[1];
}
BODY(repeat)
{
    UNUSED;
    out[0] = ag_add(in[0], in[1]);
    out[1] = out[0];
    return out[0] != NULL;
}
GRAPH(forth_and_back)
{
    GRAPH_UNUSED;
    ag_tensor *f[5], *b[2], *r[2];
    if (!loop_call(&(loop){ .body = grow,
                            .cond = grows,
                            .n_carry = 2,
                            .n_ys = 2,
                            .n_captured = 1,
                            .length = -1,
                            .counts = true },
                   in, f))
        return false;
    ag_tensor *more = ag_add(ag_mul(f[2], 2), f[2]);
    ag_tensor *given[] = { f[0], more, f[3], in[2] };
    if (!more || !loop_call(&(loop){ .body = back,
                                     .n_carry = 1,
                                     .n_xs = 2,
                                     .n_ys = 1,
                                     .n_captured = 1,
                                     .length = -1,
                                     .reverse = true },
                            given, b))
        return false;
    ag_tensor *again[] = { in[0], f[4], in[2] };
    if (!loop_call(
            &(loop){ .body = repeat, .n_carry = 1, .n_ys = 1, .n_captured = 1, .length = -2 },
            again, r))
        return false;
    out[0] = f[0];
    out[1] = f[4];
    out[2] = b[0];
    out[3] = b[1];
    out[4] = ag_sum(f[2], .dims = AG_DIMS(0));
    out[5] = r[0];
    out[6] = ag_sum(r[1]);
    out[7] = f[3];
    return out[4] && out[6];
}

static void t_stacks_of_unknown_length(ag_context *c)
{
    for (int i = 0; i < 3; i++) {
        plans_case k = { .fn = forth_and_back, .n = 3, .m = 8, .name = "forth and back" };
        const int64_t size = i == 0 ? 1 : i == 1 ? 3 : 20;
        for (int a = 0; a < 2; a++) {
            ag_tensor **args = a ? k.others : k.args;
            args[0] = numbers(c, AG_F64, AG_SHAPE(size));
            args[1] = number(c, AG_I64, 0);
            CHECK(args[2] = ag_add(numbers(c, AG_F64, AG_SHAPE(size)), 1));
        }
        k.others[0] =
            ag_full(c, AG_SHAPE(size), i == 1 ? 1e6 : .125, .dtype = AG_F64); /* no step */
        CHECK(k.others[0]);
        plans_check(c, &k);
    }
}

/* Loops in loops, with a branch inside, and a stack that the body itself reads. */
BODY(inner_body)
{
    UNUSED;
    out[0] = ag_add(in[0], ag_mul(in[2], .5));
    out[1] = ag_add(in[1], 1);
    out[2] = ag_cos(in[0]);
    return out[0] && out[1] && out[2];
}
BODY(inner_cond)
{
    UNUSED;
    return (out[0] = ag_lt(in[1], in[3])) != NULL;
}
BODY(outer_body)
{
    UNUSED;
    ag_tensor *r[4], *b[2];
    ag_context *c = ag_context_of(in[0]);
    ag_tensor *zero = ag_full(c, AG_SHAPE(), 0, .dtype = AG_I64);
    ag_tensor *given[] = { in[0], zero, in[2], in[1] };
    if (!zero || !loop_call(&(loop){ .body = inner_body,
                                     .cond = inner_cond,
                                     .n_carry = 2,
                                     .n_ys = 1,
                                     .n_captured = 2,
                                     .length = -1,
                                     .counts = true },
                            given, r))
        return false;
    ag_tensor *odd = ag_remainder(in[1], 2);
    ag_tensor *given_branch[] = { ag_ne(odd, 0), r[0], in[2] };
    body_fn *const fns[] = { branch_product, branch_same };
    if (!given_branch[0] || !branch_call(fns, 2, true, given_branch, 3, b, 2))
        return false;
    out[0] = ag_add(ag_sin(b[0]), ag_sum(r[2], .dims = AG_DIMS(0)));
    out[1] = ag_add(in[1], 1);
    out[2] = b[1];
    out[3] = r[3];
    return out[0] && out[1];
}
BODY(outer_cond)
{
    UNUSED;
    return (out[0] = ag_logical_and(ag_lt(in[1], 5), ag_lt(ag_amax(in[0]), 1e9))) != NULL;
}
GRAPH(nested)
{
    GRAPH_UNUSED;
    return loop_call(&(loop){ .body = outer_body,
                              .cond = outer_cond,
                              .n_carry = 2,
                              .n_ys = 2,
                              .n_captured = 1,
                              .length = -1,
                              .counts = true },
                     in, out);
}

static void t_loops_in_loops(ag_context *c)
{
    const int64_t sizes[] = { 1, 3, 20 };
    for (int i = 0; i < 3; i++) {
        plans_case k = { .fn = nested, .n = 3, .m = 5, .name = "nested" };
        for (int a = 0; a < 2; a++) {
            ag_tensor **args = a ? k.others : k.args;
            args[0] = numbers(c, AG_F64, AG_SHAPE(sizes[i]));
            args[1] = number(c, AG_I64, a);
            args[2] = numbers(c, AG_F64, AG_SHAPE(sizes[i]));
        }
        plans_check(c, &k);
    }
}

/* ---- random loops ---- */

static uint64_t body_state; /* bodies are traced one after the other */
static int random_of(int n)
{
    body_state = body_state * 6364136223846793005u + 1442695040888963407u;
    return (int)((body_state >> 33) % (uint64_t)n);
}

/* Everything has the shape of the variables: any may be any result. */
BODY(random_branch)
{
    UNUSED;
    for (int j = 0; j < m; j++)
        out[j] = random_of(2) ? in[random_of(n)] : ag_mul(in[random_of(n)], .5);
    return all_there(out, m);
}
static ag_tensor *random_step(ag_tensor *const *v, int n)
{
    ag_tensor *a = v[random_of(n)], *b = v[random_of(n)], *given[3], *r[2];
    body_fn *const fns[] = { random_branch, random_branch };
    switch (random_of(10)) {
    case 0: return ag_sin(a);
    case 1: return ag_flip(a, AG_DIMS(0));
    case 2: return ag_mul(a, ag_tanh(ag_sum(b)));
    case 3: return ag_view(ag_neg(a), AG_SHAPE(-1));
    case 4: return ag_softmax(a, 0);
    case 5: return ag_maximum(a, b);
    case 6:
        given[0] = ag_lt(ag_sum(a), ag_sum(b));
        given[1] = a;
        given[2] = b;
        return branch_call(fns, 2, true, given, 3, r, 2) ? r[random_of(2)] : NULL;
    default: return ag_mul(ag_sub(a, b), .75);
    }
}
/* Three variables and a counter, its limit, which is captured, and a value that is. */
BODY(random_body)
{
    ag_tensor *v[16] = { in[0], in[1], in[2], in[5] };
    const int steps = 2 + random_of(8);
    int have = 4;
    (void)n;
    for (int i = 0; i < steps; i++, have++)
        if (!(v[have] = random_step(v, have)))
            return false;
    for (int j = 0; j < m; j++)
        out[j] = j == 3 ? ag_add(in[3], 1) : v[random_of(have)];
    return out[3] != NULL;
}
BODY(random_outer)
{
    ag_tensor *r[7], *zero = ag_full(ag_context_of(in[0]), AG_SHAPE(), 0, .dtype = AG_I64);
    ag_tensor *given[] = {
        in[random_of(3)], in[random_of(3)], in[5], zero, ag_add(in[3], 1), in[2]
    };
    if (!random_body(in, n, out, m) || !loop_call(&(loop){ .body = random_body,
                                                           .cond = fewer,
                                                           .n_carry = 4,
                                                           .n_ys = 2,
                                                           .n_captured = 2,
                                                           .length = -1 },
                                                  given, r))
        return false;
    out[random_of(3)] = r[random_of(3)];
    out[m - 1] = r[0];
    return (out[random_of(3)] = ag_sum(r[4 + random_of(2)], .dims = AG_DIMS(0))) != NULL;
}
GRAPH(random_loop)
{
    (void)n, (void)m;
    body_state = *(const uint64_t *)arg;
    ag_tensor *a = ag_mul(in[0], .5);
    ag_tensor *given[] = { in[random_of(2)], a, in[1], in[2], in[3], random_of(2) ? a : in[1] };
    ag_tensor *r[7];
    body_fn *const body = random_of(2) ? random_body : random_outer;
    if (!loop_call(&(loop){ .body = body,
                            .cond = fewer,
                            .n_carry = 4,
                            .n_ys = 2,
                            .n_captured = 2,
                            .length = -1,
                            .counts = true },
                   given, r))
        return false;
    for (int j = 0; j < 6; j++)
        out[j] = r[j];
    out[6] = ag_add(ag_sum(r[4], .dims = AG_DIMS(0)), random_of(2) ? a : r[0]);
    return out[6] != NULL;
}

static void t_random_loops(ag_context *c)
{
    const int64_t sizes[] = { 1, 3, 20 };
    for (int seed = 0; seed < (harness_faults() ? 3 : 150); seed++)
        AG_SCOPE (c) {
            uint64_t state = (uint64_t)seed * 31 + 7;
            char name[32];
            snprintf(name, sizeof name, "loop %d", seed);
            plans_case k = { .fn = random_loop, .arg = &state, .n = 4, .m = 7, .name = name };
            for (int a = 0; a < 2; a++) {
                ag_tensor **args = a ? k.others : k.args;
                args[0] = numbers(c, AG_F32, AG_SHAPE(sizes[seed % 3]));
                args[1] = numbers(c, AG_F32, AG_SHAPE(sizes[seed % 3]));
                args[2] = number(c, AG_I64, 0);
                args[3] = number(c, AG_I64, a ? 1 + seed % 5 : 4);
            }
            plans_check(c, &k);
        }
}

/* ---- what cannot be planned, and what fails ---- */

BODY(ragged_body)
{
    UNUSED;
    ag_tensor *r[4];
    ag_tensor *zero = ag_full(ag_context_of(in[0]), AG_SHAPE(), 0, .dtype = AG_I64);
    ag_tensor *given[] = { in[0], zero, in[0], in[1] };
    if (!zero || !loop_call(&(loop){ .body = inner_body,
                                     .cond = inner_cond,
                                     .n_carry = 2,
                                     .n_ys = 1,
                                     .n_captured = 2,
                                     .length = -1 },
                            given, r))
        return false;
    out[0] = r[0];
    out[1] = ag_add(in[1], 1);
    out[2] = r[2];
    return out[1] != NULL;
}
GRAPH(ragged)
{
    GRAPH_UNUSED;
    return loop_call(
        &(loop){ .body = ragged_body, .cond = outer_cond, .n_carry = 2, .n_ys = 1, .length = -1 },
        in, out);
}

/* A stack goes through a branch, and into a loop as its variable. */
BODY(same)
{
    UNUSED;
    return (out[0] = in[0]) != NULL;
}
static bool stacked(ag_tensor *const *in, ag_tensor **y)
{
    ag_tensor *f[5];
    *y = loop_call(&(loop){ .body = grow,
                            .cond = grows,
                            .n_carry = 2,
                            .n_ys = 2,
                            .n_captured = 1,
                            .length = -1 },
                   in, f)
             ? f[2]
             : NULL;
    return *y != NULL;
}
GRAPH(stack_in_a_branch)
{
    GRAPH_UNUSED;
    ag_tensor *given[] = { ag_lt(in[1], 3), NULL };
    body_fn *const fns[] = { same, same };
    return stacked(in, &given[1]) && branch_call(fns, 2, true, given, 2, out, 1);
}
GRAPH(stack_in_a_loop)
{
    GRAPH_UNUSED;
    ag_tensor *y;
    return stacked(in, &y) &&
           loop_call(&(loop){ .body = same, .n_carry = 1, .length = 2 }, &y, out);
}

static void t_what_has_no_size(ag_context *c)
{
    ag_tensor *args[] = { numbers(c, AG_F64, AG_SHAPE(3)), number(c, AG_I64, 0),
                          numbers(c, AG_F64, AG_SHAPE(3)) };
    ag_graph *g = plans_traced(c, stack_in_a_branch, NULL, args, 3, 1);
    CHECK(g);
    CHECK_ERROR(plans_hold(g, NULL, 0), AG_ERR_UNSUPPORTED,
                "a plan cannot have a branch with a result of unknown size");
    ag_error_clear(c);
    CHECK(g = plans_traced(c, stack_in_a_loop, NULL, args, 3, 1));
    CHECK_ERROR(plans_hold(g, NULL, 0), AG_ERR_UNSUPPORTED,
                "a plan cannot have a loop variable of unknown size");
}

static void t_stacks_of_stacks(ag_context *c)
{
    ag_tensor *args[] = { numbers(c, AG_F64, AG_SHAPE(2)), number(c, AG_I64, 0) };
    ag_graph *g = plans_traced(c, ragged, NULL, args, 2, 3);
    CHECK(g);
    CHECK_ERROR(plans_hold(g, NULL, 0), AG_ERR_UNSUPPORTED,
                "a plan cannot have a stack of what has no known size");
}

/* Adds the rows of in[2] that indices in a table name; the third of them may be none. */
BODY(picks)
{
    UNUSED;
    ag_tensor *row = ag_index_select(in[2], 0, ag_view(in[1], AG_SHAPE(1)));
    out[0] = ag_add(in[0], ag_sum(row, .dims = AG_DIMS(0)));
    return row && out[0];
}
GRAPH(picking)
{
    GRAPH_UNUSED;
    ag_tensor *r[1];
    if (!loop_call(&(loop){ .body = picks, .n_carry = 1, .n_xs = 1, .n_captured = 1, .length = -1 },
                   in, r))
        return false;
    out[0] = r[0];
    out[1] = ag_mul(in[0], 2);
    out[2] = ag_exp(in[2]);
    return out[1] && out[2];
}

static void t_errors_in_the_middle(ag_context *c)
{
    const double good[] = { 0, 3, 2, 1 }, bad[] = { 0, 3, 4, 1 };
    ag_tensor *x = numbers(c, AG_F64, AG_SHAPE(20)), *table = numbers(c, AG_F64, AG_SHAPE(4, 20));
    ag_tensor *index = ag_array(c, ((ag_values){ good, 4 }), AG_SHAPE(4), .dtype = AG_I64);
    ag_tensor *wrong = ag_array(c, ((ag_values){ bad, 4 }), AG_SHAPE(4), .dtype = AG_I64);
    CHECK(index && wrong);
    plans_case k = { .fn = picking,
                     .n = 3,
                     .m = 3,
                     .args = { x, index, table },
                     .into = { 0, 1, 0 },
                     .name = "picking" };
    plans_check(c, &k);
    ag_tensor *args[] = { x, wrong, table }, *results[3];
    for (int i = 0; i < 3; i++)
        WATCH(args[i]);
    CHECK_ERROR(ag__plan_run(plans_held, args, results), AG_ERR_INDEX,
                "index 4 is out of bounds for dimension 0 with size 4");
    CHECK(!results[0] && !results[1] && !results[2]);
    UNWATCH();
    ag_error_clear(c);
    args[1] = index;
    CHECK(args[0] = ag_clone(x));
    CHECK(ag__plan_run(plans_held, args, results));
    CHECK(ag__give(results[0]) && ag__give(results[2]));
    ag_tensor *twice = ag_mul(x, 2);
    CHECK(twice);
    CHECK_VALUES(args[0], AG_SHAPE(20), ((ag_values){ ag_data(twice), 20 }), 0);
}

static void t_cancelled(ag_context *c)
{
    ag_tensor *args[] = { number(c, AG_F32, 0), number(c, AG_F32, 10) }, *results[3];
    ag_graph *g = plans_traced(c, counter, NULL, args, 2, 3);
    ag__plan *p = g ? plans_hold(g, NULL, 0) : NULL;
    CHECK(p);
    ag_set_cancelled(c, true);
    CHECK_ERROR(ag__plan_run(p, args, results), AG_ERR_CANCELLED, "cancelled (ag_set_cancelled)");
    ag_set_cancelled(c, false);
    ag_error_clear(c);
    CHECK(ag__plan_run(p, args, results));
    for (int j = 0; j < 3; j++)
        CHECK_CLOSE(ag_item(ag__give(results[j])), j < 2 ? 20 : 10, 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_a_chain), TEST(t_views), TEST(t_results_that_are_there),
               TEST(t_results_over_arguments), TEST(t_descent), TEST(t_sizes_of_arenas),
               TEST(t_very_many_values), TEST(t_branches), TEST(t_counter), TEST(t_carries),
               TEST(t_scans), TEST(t_stacks_of_unknown_length), TEST(t_loops_in_loops),
               TEST(t_random_loops), TEST(t_what_has_no_size), TEST(t_stacks_of_stacks),
               TEST(t_errors_in_the_middle), TEST(t_cancelled));
}
