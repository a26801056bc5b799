/*
 * What a backward pass keeps: the least cut itself, what is chosen on small functions, and that the two
 * halves compute what the whole does.
 */
#include <stdio.h>
#include <stdlib.h>

#include "passes.h"

#include "graph/cut.h"
#include "graph/traced.h"

/* ---- the cut ---- */

enum { NODES = 9, EDGES = 18, NETS = 60 };

static uint32_t draw(uint32_t *state, uint32_t n)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 16) % n;
}

typedef struct {
    int n_edges, from[EDGES], to[EDGES];
    int64_t capacity[EDGES];
} net;

static net drawn_net(uint32_t *state)
{
    net n = { .n_edges = EDGES };
    for (int e = 0; e < EDGES; e++) {
        n.from[e] = (int)draw(state, NODES);
        n.to[e] = (int)draw(state, NODES);
        n.capacity[e] = draw(state, 9) ? draw(state, 12) : AG_CUT_NEVER;
    }
    n.from[0] = 0;
    n.to[1] = 1;
    return n;
}

/* Of the cut whose sink's side is the nodes in the set; NEVER: it is none. */
static int64_t capacity_of(const net *n, unsigned behind)
{
    const int64_t never = 1000000;
    int64_t sum = 0;
    for (int e = 0; e < n->n_edges; e++)
        if (!(behind >> n->from[e] & 1) && (behind >> n->to[e] & 1))
            sum += n->capacity[e] < AG_CUT_NEVER ? n->capacity[e] : never;
    return sum >= never ? AG_CUT_NEVER : sum;
}

static void t_a_cut_is_the_least_and_nearest_to_the_sink(ag_context *c)
{
    uint32_t state = 1;
    int solved = 0;
    for (int k = 0; k < NETS; k++) {
        const net n = drawn_net(&state);
        int64_t least = AG_CUT_NEVER;
        unsigned nearest = ~0u, behind = 0;
        for (unsigned set = 2; set < 1u << NODES; set++) { /* node 1 is in, node 0 is not */
            const int64_t capacity = (set & 3) == 2 ? capacity_of(&n, set) : AG_CUT_NEVER;
            if (capacity > least || capacity == AG_CUT_NEVER)
                continue;
            nearest = capacity < least ? set : nearest & set;
            least = capacity;
        }
        ag__cut_net cut;
        CHECK(ag__cut_begin(&cut, c, NODES, EDGES));
        for (int e = 0; e < EDGES; e++)
            ag__cut_join(&cut, n.from[e], n.to[e], n.capacity[e]);
        const bool ok = ag__cut_solve(&cut);
        for (int v = 0; v < NODES; v++)
            behind |= (unsigned)ag__cut_behind(&cut, v) << v;
        ag__cut_end(&cut);
        CHECK(ok == (least < AG_CUT_NEVER));
        if (!ok)
            continue;
        solved++;
        CHECK_INT(behind, nearest);
        CHECK_INT(capacity_of(&n, behind), least);
    }
    CHECK(solved > NETS / 2);
}

/* A chain, each link of which can be had for 9 where the end is kept for 64: the last seven are. */
static void t_a_long_chain_takes_little_work(ag_context *c)
{
    enum { CHAIN = 20000 };
    ag__cut_net cut;
    CHECK(ag__cut_begin(&cut, c, CHAIN + 2, 2 * CHAIN + 1));
    for (int v = 2; v < CHAIN + 2; v++) {
        ag__cut_join(&cut, 0, v, v == 2 ? AG_CUT_NEVER : 9);
        ag__cut_join(&cut, v, v == CHAIN + 1 ? 1 : v + 1, v % 100 == 1 ? 64 : 1000);
    }
    const bool ok = ag__cut_solve(&cut), last = ag__cut_behind(&cut, CHAIN + 1);
    const int64_t left = cut.work;
    ag__cut_end(&cut);
    CHECK(ok && !last);
    CHECK(left > 0);
}

/* ---- choices ---- */

typedef ag_tensor *function_of(ag_tensor *const *in);

static bool traced(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    function_of *const *f = arg;
    (void)n, (void)m;
    out[0] = (*f)(in);
    return out[0] != NULL;
}

enum { INPUTS = 3, AT_MOST = 64 };

/* f, of the types given, with its derivative; the first `wanted` inputs'. */
static ag__region *joint_of(ag_graph *g, function_of *f, const ag__type *types, int n)
{
    static const bool wanted[INPUTS] = { true, true, true };
    ag__region *r = ag__trace("test", g, &g->main, types, n, traced, &f, 1);
    CHECK(r);
    ag__region *joint = ag__joint(g->c, "test", r, wanted);
    CHECK(joint);
    return joint;
}

/* What is kept, in a list of at most AT_MOST. */
static int kept_of(const ag__region *joint, int n, const ag__at_hand *at_hand, int32_t *list)
{
    int32_t *kept;
    int n_kept;
    CHECK(ag__residuals(joint->graph->c, joint, n, 1, at_hand, &kept, &n_kept));
    const bool fits = n_kept <= AT_MOST;
    for (int i = 0; i < n_kept && fits; i++)
        list[i] = kept[i];
    ag__free(joint->graph->c, kept, (size_t)joint->n_values * sizeof *kept);
    CHECK(fits);
    return n_kept;
}

static void check_kept(const char *file, int line, ag_context *c, function_of *f, ag_ints *shapes,
                       int n, const ag__at_hand *at_hand, const char *expected)
{
    static char text[1024]; /* static: a check jumps */
    ag__type types[INPUTS];
    int32_t kept[AT_MOST];
    for (int i = 0; i < n; i++)
        types[i] = (ag__type){ AG_F32, shapes[i], false };
    ag_graph *g = passes_graph(c);
    const ag__region *joint = joint_of(g, f, types, n);
    const int n_kept = kept_of(joint, n, at_hand, kept);
    size_t at = 0;
    text[0] = '\0';
    for (int i = 0; i < n_kept; i++) {
        const ag__value *v = &joint->values[kept[i]];
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? ", " : "",
                               v->inst < 0 ? "parameter"
                                           : ag__graph_row_name(joint->insts[v->inst].op));
        for (int d = 0; d < v->ndim; d++)
            at += (size_t)snprintf(text + at, sizeof text - at, " %d", (int)v->shape[d]);
    }
    harness_text(file, line, "kept", text, expected);
}
/* f of inputs of these shapes keeps so much when each is at hand as said. */
#define CHECK_KEPT(f, n, shapes, at_hand, expected)                                                \
    check_kept(__FILE__, __LINE__, c, f, shapes, n, at_hand, expected)

static const ag__at_hand none[INPUTS],
    all[INPUTS] = { AG_AT_HAND, AG_AT_HAND, AG_AT_HAND },
    captured[INPUTS] = { AG_AT_HAND_NOT, AG_ALWAYS_SAME, AG_ALWAYS_SAME };

static ag_tensor *chain(ag_tensor *const *in) { return ag_exp(ag_sin(ag_tanh(in[0]))); }
static ag_tensor *layer(ag_tensor *const *in)
{
    return ag_matmul(ag_gelu(ag_matmul(in[0], in[1]), false), in[2]);
}
static ag_tensor *ratio(ag_tensor *const *in)
{
    return ag_mul(in[0], ag_sigmoid(ag_mul(in[0], ag_exp(in[1]))));
}
static ag_tensor *noisy(ag_tensor *const *in)
{
    ag_tensor *r = ag_rand_like(in[0]);
    return ag_mul(ag_mul(in[0], ag_cos(r)), ag_sin(r));
}
static ag_tensor *gates(ag_tensor *const *in)
{
    ag_tensor *g[4], *sum = ag_add(ag_matmul(in[0], in[2]), 1);
    if (ag_chunk(sum, 4, 1, g, 4) != 4)
        return NULL;
    ag_tensor *next =
        ag_add(ag_mul(ag_sigmoid(g[0]), ag_tanh(g[1])), ag_mul(ag_sigmoid(g[2]), in[1]));
    return ag_mul(ag_sigmoid(g[3]), ag_tanh(next));
}
static ag_tensor *summed(ag_tensor *const *in)
{
    return ag_exp(ag_sum(ag_sin(in[0]), .dims = AG_DIMS(1)));
}

static void t_cheap_rows_are_run_again(ag_context *c)
{
    ag_ints one[] = { AG_SHAPE(8, 8) };
    CHECK_KEPT(chain, 1, one, all, "");
    CHECK_KEPT(chain, 1, one, none, "tanh 8 8");
}

/* The product's operand is computed from its argument; a product of 64 terms is too much. */
static void t_long_products_are_kept(ag_context *c)
{
    ag_ints shapes[] = { AG_SHAPE(32, 64), AG_SHAPE(64, 64), AG_SHAPE(64, 8) };
    ag_ints thin[] = { AG_SHAPE(32, 4), AG_SHAPE(4, 64), AG_SHAPE(64, 8) };
    CHECK_KEPT(layer, 3, shapes, all, "mm 32 64");
    CHECK_KEPT(layer, 3, shapes, none,
               "parameter 32 64, parameter 64 64, parameter 64 8, mm 32 64");
    CHECK_KEPT(layer, 3, thin, all, "");
}

static void t_what_is_always_the_same_is_not_kept(ag_context *c)
{
    ag_ints shapes[] = { AG_SHAPE(8, 8), AG_SHAPE(8, 8) };
    CHECK_KEPT(ratio, 2, shapes, captured, "parameter 8 8");
}

static void t_draws_are_kept(ag_context *c)
{
    ag_ints one[] = { AG_SHAPE(8, 8) };
    CHECK_KEPT(noisy, 1, one, all, "rand_like 8 8");
}

/* The four gates are kept behind their functions, which is as much as before they are split; what they
 * make together is not. */
static void t_gates_of_a_cell(ag_context *c)
{
    ag_ints shapes[] = { AG_SHAPE(8, 64), AG_SHAPE(8, 64), AG_SHAPE(64, 256) };
    CHECK_KEPT(gates, 3, shapes, captured,
               "parameter 8 64, sigmoid 8 64, tanh 8 64, sigmoid 8 64, sigmoid 8 64");
}

static void t_small_results_are_kept(ag_context *c)
{
    ag_ints one[] = { AG_SHAPE(8, 64) };
    CHECK_KEPT(summed, 1, one, all, "exp 8");
}

/* ---- both halves ---- */

static uint32_t program_state;

/* A random function of three 6 x 6 matrices, which program_state says. */
static ag_tensor *program(ag_tensor *const *in)
{
    uint32_t state = program_state;
    ag_tensor *list[16] = { in[0], in[1], in[2] };
    for (int k = INPUTS; k < AG_COUNT(list); k++) {
        ag_tensor *a = list[draw(&state, (uint32_t)k)], *b = list[draw(&state, (uint32_t)k)];
        switch (draw(&state, 12)) {
        case 0: list[k] = ag_tanh(a); break;
        case 1: list[k] = ag_sigmoid(ag_mul(a, b)); break;
        case 2: list[k] = ag_softmax(a, 1); break;
        case 3: list[k] = ag_div(ag_matmul(a, b), 6); break;
        case 4: list[k] = ag_sin(ag_t(a)); break;
        case 5: list[k] = ag_mul(a, ag_rand_like(b)); break;
        case 6: list[k] = ag_layer_norm(a, 1, NULL, NULL, 0.1); break;
        case 7: list[k] = ag_sub(a, ag_mean(b, .dims = AG_DIMS(1), .keepdim = true)); break;
        case 8: list[k] = ag_gelu(a, false); break;
        case 9: list[k] = ag_cos(ag_cumsum(a, 0)); break;
        case 10: list[k] = ag_where(ag_gt(a, b), ag_sin(a), b); break;
        default: list[k] = ag_add(a, b);
        }
        if (!list[k])
            return NULL;
    }
    return ag_add(ag_add(list[15], list[14]), ag_mul(list[13], list[12]));
}

static void replay(const ag__region *joint, const int32_t *given, int n_given,
                   const int32_t *wanted, int n_wanted, ag_tensor *const *in, ag_tensor **out)
{
    const ag__part part = { joint->graph->c, joint, given, wanted, n_given, n_wanted };
    CHECK(ag__part_replay(&part, in, out));
}

static void t_both_halves_give_the_same_bits(ag_context *c)
{
    const ag__type type = { AG_F32, AG_SHAPE(6, 6), false }, types[] = { type, type, type };
    const int programs = harness_faults() ? 1 : 40;
    int fewer = 0;
    ag_graph *g = passes_graph(c);
    ag_set_grad_enabled(c, false);
    for (int k = 0; k < programs; k++)
        AG_SCOPE (c) {
            program_state = (uint32_t)k;
            c->tracing = &g->main;
            const ag__region *joint = joint_of(g, program, types, INPUTS);
            c->tracing = NULL;
            int32_t kept[AT_MOST], wanted[AT_MOST + 1], given[AT_MOST + INPUTS + 1];
            const int n = kept_of(joint, INPUTS, k % 2 ? all : none, kept);
            ag_tensor *in[AT_MOST + INPUTS + 1], *whole[INPUTS], *half[AT_MOST + 1], *back[INPUTS];
            for (int i = 0; i <= INPUTS; i++) {
                in[i] = ag_sub(graphs_numbers(c, AG_F32, AG_SHAPE(6, 6)), 0.1 * i);
                CHECK(in[i]);
            }
            ag_manual_seed(c, 7);
            replay(joint, joint->params, INPUTS + 1, joint->outs + 1, INPUTS, in, whole);
            wanted[0] = joint->outs[0];
            memcpy(wanted + 1, kept, (size_t)n * sizeof *kept);
            ag_manual_seed(c, 7);
            replay(joint, joint->params, INPUTS, wanted, n + 1, in, half);
            /* The backward half has the inputs only where they are at hand. */
            const int at_hand = k % 2 ? INPUTS : 0;
            memcpy(given, joint->params, (size_t)at_hand * sizeof *given);
            memcpy(given + at_hand, kept, (size_t)n * sizeof *kept);
            given[at_hand + n] = joint->params[INPUTS];
            in[at_hand + n] = in[INPUTS];
            for (int i = 0; i < n; i++)
                in[at_hand + i] = half[i + 1];
            ag_manual_seed(c, 8);
            replay(joint, given, at_hand + n + 1, joint->outs + 1, INPUTS, in, back);
            for (int i = 0; i < INPUTS; i++)
                CHECK_SAME(back[i], whole[i]);
            fewer += n < 12;
        }
    CHECK(fewer > programs / 2);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_a_cut_is_the_least_and_nearest_to_the_sink),
               TEST(t_a_long_chain_takes_little_work), TEST(t_cheap_rows_are_run_again),
               TEST(t_long_products_are_kept), TEST(t_what_is_always_the_same_is_not_kept),
               TEST(t_draws_are_kept), TEST(t_gates_of_a_cell), TEST(t_small_results_are_kept),
               TEST(t_both_halves_give_the_same_bits));
}
