/*
 * Branches and their gradients: predicates of every kind, captured tensors, branches whose
 * gradients would be NaN if they were taken, several outputs, sizes that differ, ag_switch.
 */
#include "flow.h"

/* A branch: its inputs are in and n, its outputs go to out. */
#define BRANCH(name) FLOW_BUILD(name)

typedef struct {
    ag_tensor *x;
} captured;

/* ---- predicates ---- */

BRANCH(square_times_and_second)
{
    BUILD_UNUSED;
    out[1] = in[1];
    return (out[0] = ag_mul(ag_square(in[0]), in[1])) != NULL;
}

BRANCH(sine_and_product)
{
    BUILD_UNUSED;
    out[0] = ag_sin(in[0]);
    out[1] = ag_mul(in[0], in[1]);
    return out[0] && out[1];
}

FLOW_BUILD(branches)
{
    BUILD_UNUSED;
    return ag_cond(in[0], square_times_and_second, sine_and_product, &in[1], 2, out, 2);
}

BRANCH(cube)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(ag_square(in[0]), in[0])) != NULL;
}

BRANCH(exponential)
{
    BUILD_UNUSED;
    return (out[0] = ag_exp(in[0])) != NULL;
}

/* The predicate is computed from what the branches use. */
FLOW_BUILD(positive)
{
    BUILD_UNUSED;
    return ag_cond(ag_gt(in[0], 0), cube, exponential, in, 1, out, 1);
}

/* The predicate holds data, also where the operands are symbolic. */
FLOW_BUILD(always_positive)
{
    BUILD_UNUSED;
    ag_tensor *yes = ag_scalar(ag_context_of(in[0]), 1, .dtype = AG_BOOL);
    return ag_cond(yes, cube, exponential, in, 1, out, 1);
}

static void t_predicates(ag_context *c)
{
    FLOW_CHECK(c, .build = branches, .in = { TRUTH(1), SCALAR(1.5), SCALAR(0.75) },
               .out = { SCALAR(1.6875), SCALAR(0.75) },
               .d1 = { { NULL, 0 }, AG_VALUES(2.25), AG_VALUES(4.25) },
               .d2 = { { NULL, 0 }, AG_VALUES(12), AG_VALUES(6) },
               .d3 = { { NULL, 0 }, AG_VALUES(24), AG_VALUES(8) });
    FLOW_CHECK(c, .build = branches, .in = { TRUTH(0), SCALAR(1.5), SCALAR(0.75) },
               .out = { SCALAR(0.9974949866040544), SCALAR(1.125) },
               .d1 = { { NULL, 0 }, AG_VALUES(1.5707372016677028), AG_VALUES(3) },
               .d2 = { { NULL, 0 }, AG_VALUES(4.005010026791891), AG_VALUES(4) },
               .d3 = { { NULL, 0 }, AG_VALUES(-0.2829488066708116), AG_VALUES(0) });
    FLOW_CHECK(c, .build = branches,
               .in = { TENSOR(AG_BOOL, AG_SHAPE(1, 1), 1), SCALAR(1.5), SCALAR(0.75) },
               .out = { SCALAR(1.6875), SCALAR(0.75) },
               .d1 = { { NULL, 0 }, AG_VALUES(2.25), AG_VALUES(4.25) },
               .d2 = { { NULL, 0 }, AG_VALUES(12), AG_VALUES(6) },
               .d3 = { { NULL, 0 }, AG_VALUES(24), AG_VALUES(8) });
    FLOW_CHECK(c, .build = positive, .in = { SCALAR(1.5) }, .out = { SCALAR(3.375) },
               .d1 = { AG_VALUES(6.75) }, .d2 = { AG_VALUES(9) }, .d3 = { AG_VALUES(6) });
    FLOW_CHECK(c, .build = positive, .in = { SCALAR(-0.5) }, .out = { SCALAR(0.6065306597126334) },
               .d1 = { AG_VALUES(0.6065306597126334) }, .d2 = { AG_VALUES(0.6065306597126334) },
               .d3 = { AG_VALUES(0.6065306597126334) });
    FLOW_CHECK(c, .build = always_positive, .in = { SCALAR(1.5) }, .out = { SCALAR(3.375) },
               .d1 = { AG_VALUES(6.75) }, .d2 = { AG_VALUES(9) }, .d3 = { AG_VALUES(6) });
}

/* ---- captured tensors ---- */

BRANCH(captured_sine)
{
    BUILD_UNUSED, (void)in;
    ag_tensor *x = ((captured *)user)->x;
    return (out[0] = ag_mul(ag_sin(x), x)) != NULL;
}

/* A captured tensor is the result as it is. */
BRANCH(captured_itself)
{
    BUILD_UNUSED, (void)in;
    return (out[0] = ((captured *)user)->x) != NULL;
}

FLOW_BUILD(no_inputs)
{
    BUILD_UNUSED;
    captured k = { in[0] };
    return ag_cond(ag_gt(in[0], 1), captured_sine, captured_itself, NULL, 0, out, 1, .user = &k);
}

static void t_captured(ag_context *c)
{
    FLOW_CHECK(c, .build = no_inputs, .in = { SCALAR(2) }, .out = { SCALAR(1.8185948536513634) },
               .d1 = { AG_VALUES(0.0770037537313969) }, .d2 = { AG_VALUES(-2.6508885267456486) },
               .d3 = { AG_VALUES(-1.8955986073827602) });
    FLOW_CHECK(c, .build = no_inputs, .in = { SCALAR(0.5) }, .out = { SCALAR(0.5) },
               .d1 = { AG_VALUES(1) }, .d2 = { AG_VALUES(0) }, .d3 = { AG_VALUES(0) });
}

/* ---- what is not taken adds nothing: neither NaN nor infinity ---- */

BRANCH(root)
{
    BUILD_UNUSED;
    return (out[0] = ag_sqrt(in[0])) != NULL;
}

BRANCH(twice_cube)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(ag_mul(ag_square(in[0]), in[0]), 2)) != NULL;
}

FLOW_BUILD(guarded)
{
    BUILD_UNUSED;
    return ag_cond(ag_gt(in[0], 0), root, twice_cube, in, 1, out, 1);
}

BRANCH(log_by_itself)
{
    BUILD_UNUSED;
    return (out[0] = ag_div(ag_log(in[0]), in[0])) != NULL;
}

BRANCH(square)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(in[0], in[0])) != NULL;
}

FLOW_BUILD(guarded_vector)
{
    BUILD_UNUSED;
    return ag_cond(ag_all(ag_gt(in[0], 0)), log_by_itself, square, in, 1, out, 1);
}

static void t_untaken(ag_context *c)
{
    FLOW_CHECK(c, .build = guarded, .in = { SCALAR(0) }, .out = { SCALAR(0) },
               .d1 = { AG_VALUES(0) }, .d2 = { AG_VALUES(0) }, .d3 = { AG_VALUES(12) });
    FLOW_CHECK(c, .build = guarded, .in = { SCALAR(-1) }, .out = { SCALAR(-2) },
               .d1 = { AG_VALUES(6) }, .d2 = { AG_VALUES(-12) }, .d3 = { AG_VALUES(12) });
    FLOW_CHECK(c, .build = guarded, .in = { SCALAR(4) }, .out = { SCALAR(2) },
               .d1 = { AG_VALUES(0.25) }, .d2 = { AG_VALUES(-0.03125) },
               .d3 = { AG_VALUES(0.01171875) });
    FLOW_CHECK(c, .build = guarded_vector, .in = { VECTOR(0, -1) }, .out = { VECTOR(0, 1) },
               .d1 = { AG_VALUES(0, -2.25) }, .d2 = { AG_VALUES(2, 2.53125) });
}

/* ---- outputs that do not depend, or are inputs ---- */

BRANCH(seven)
{
    BUILD_UNUSED;
    return (out[0] = ag_scalar(ag_context_of(in[0]), 7, .dtype = AG_F64)) != NULL;
}

BRANCH(product)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(in[0], in[1])) != NULL;
}

FLOW_BUILD(constant)
{
    BUILD_UNUSED;
    return ag_cond(in[0], seven, product, &in[1], 2, out, 1);
}

BRANCH(as_they_are)
{
    BUILD_UNUSED;
    out[0] = in[0];
    out[1] = in[1];
    return true;
}

BRANCH(exchanged)
{
    BUILD_UNUSED;
    out[0] = in[1];
    out[1] = in[0];
    return true;
}

FLOW_BUILD(passed)
{
    BUILD_UNUSED;
    return ag_cond(in[0], as_they_are, exchanged, &in[1], 2, out, 2);
}

static void t_passed_through(ag_context *c)
{
    FLOW_CHECK(c, .build = constant, .in = { TRUTH(1), SCALAR(2), SCALAR(3) }, .out = { SCALAR(7) },
               .d1 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) },
               .d2 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) },
               .d3 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) });
    FLOW_CHECK(c, .build = constant, .in = { TRUTH(0), SCALAR(2), SCALAR(3) }, .out = { SCALAR(6) },
               .d1 = { { NULL, 0 }, AG_VALUES(3), AG_VALUES(2) },
               .d2 = { { NULL, 0 }, AG_VALUES(3), AG_VALUES(2) },
               .d3 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) });
    FLOW_CHECK(c, .build = passed, .in = { TRUTH(1), SCALAR(2), SCALAR(3) },
               .out = { SCALAR(2), SCALAR(3) }, .d1 = { { NULL, 0 }, AG_VALUES(1), AG_VALUES(2) },
               .d2 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) },
               .d3 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) });
    FLOW_CHECK(c, .build = passed, .in = { TRUTH(0), SCALAR(2), SCALAR(3) },
               .out = { SCALAR(3), SCALAR(2) }, .d1 = { { NULL, 0 }, AG_VALUES(2), AG_VALUES(1) },
               .d2 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) },
               .d3 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) });
}

BRANCH(square_and_more)
{
    BUILD_UNUSED;
    out[0] = ag_square(in[0]);
    out[1] = ag_add(in[1], 1);
    return out[0] && out[1];
}

BRANCH(same_and_less)
{
    BUILD_UNUSED;
    out[0] = in[0];
    return (out[1] = ag_sub(in[1], 1)) != NULL;
}

FLOW_BUILD(beside_integers)
{
    BUILD_UNUSED;
    return ag_cond(in[0], square_and_more, same_and_less, &in[1], 2, out, 2);
}

static void t_integers(ag_context *c)
{
    FLOW_CHECK(c, .build = beside_integers, .in = { TRUTH(1), SCALAR(3), INTEGER(5) },
               .out = { SCALAR(9), INTEGER(6) }, .d1 = { { NULL, 0 }, AG_VALUES(6), { NULL, 0 } },
               .d2 = { { NULL, 0 }, AG_VALUES(4), { NULL, 0 } },
               .d3 = { { NULL, 0 }, AG_VALUES(0), { NULL, 0 } });
}

/* ---- sizes that differ ---- */

BRANCH(short_one)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(ag_slice(in[0], 0, 0, 2, 1), ag_slice(in[0], 0, 1, 3, 1))) != NULL;
}

FLOW_BUILD(lengths)
{
    BUILD_UNUSED;
    return ag_cond(in[0], short_one, square, &in[1], 1, out, 1);
}

static void t_sizes(ag_context *c)
{
    FLOW_CHECK(c, .build = lengths, .in = { TRUTH(1), VECTOR(1, 2, 3) }, .out = { VECTOR(2, 6) },
               .d1 = { { NULL, 0 }, AG_VALUES(2, 4.375, 2.25) },
               .d2 = { { NULL, 0 }, AG_VALUES(2.125, 4.53125, 2.390625) },
               .d3 = { { NULL, 0 }, AG_VALUES(0, 0, 0) });
    FLOW_CHECK(c, .build = lengths, .in = { TRUTH(0), VECTOR(1, 2, 3) }, .out = { VECTOR(1, 4, 9) },
               .d1 = { { NULL, 0 }, AG_VALUES(2, 4.5, 7.5) },
               .d2 = { { NULL, 0 }, AG_VALUES(4, 4.78125, 5.625) },
               .d3 = { { NULL, 0 }, AG_VALUES(0, 0, 0) });
    ag_graph *g = flow_graph(c);
    ag_tensor *in[] = { ag_placeholder(g, AG_BOOL, AG_SHAPE()),
                        ag_placeholder(g, AG_F64, AG_SHAPE(3)) },
              *y;
    CHECK(in[0] && in[1] && lengths(in, 2, &y, 1, NULL));
    CHECK_INT(ag_size(y, 0), -1);
    CHECK(ag_cond(in[0], square, exponential, &in[1], 1, &y, 1));
    CHECK_INT(ag_size(y, 0), 3);
}

/* ---- several of them ---- */

BRANCH(negative_exponential)
{
    BUILD_UNUSED;
    return (out[0] = ag_exp(ag_neg(in[0]))) != NULL;
}

BRANCH(cube_or_exponential)
{
    BUILD_UNUSED;
    return ag_cond(ag_gt(in[0], -1), cube, negative_exponential, in, 1, out, 1);
}

FLOW_BUILD(three)
{
    BUILD_UNUSED;
    return ag_cond(ag_gt(in[0], 1), square, cube_or_exponential, in, 1, out, 1);
}

BRANCH(same)
{
    BUILD_UNUSED;
    out[0] = in[0];
    return true;
}

BRANCH(times_sine)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(in[0], ag_sin(in[0]))) != NULL;
}

FLOW_BUILD(twice)
{
    BUILD_UNUSED;
    ag_tensor *y = NULL;
    return ag_cond(in[0], square, same, &in[1], 1, &y, 1) &&
           ag_cond(in[0], times_sine, same, &y, 1, out, 1);
}

static void t_several(ag_context *c)
{
    FLOW_CHECK(c, .build = three, .in = { SCALAR(2) }, .out = { SCALAR(4) }, .d1 = { AG_VALUES(4) },
               .d2 = { AG_VALUES(2) }, .d3 = { AG_VALUES(0) });
    FLOW_CHECK(c, .build = three, .in = { SCALAR(0.5) }, .out = { SCALAR(0.125) },
               .d1 = { AG_VALUES(0.75) }, .d2 = { AG_VALUES(3) }, .d3 = { AG_VALUES(6) });
    FLOW_CHECK(c, .build = three, .in = { SCALAR(-2) }, .out = { SCALAR(7.38905609893065) },
               .d1 = { AG_VALUES(-7.38905609893065) }, .d2 = { AG_VALUES(7.38905609893065) },
               .d3 = { AG_VALUES(-7.38905609893065) });
    FLOW_CHECK(c, .build = twice, .in = { TRUTH(1), SCALAR(1.5) },
               .out = { SCALAR(1.7506646929978227) },
               .d1 = { { NULL, 0 }, AG_VALUES(-1.905952362714726) },
               .d2 = { { NULL, 0 }, AG_VALUES(-56.667484708932385) },
               .d3 = { { NULL, 0 }, AG_VALUES(-315.95438503797857) });
}

/* ---- ag_switch ---- */

BRANCH(sine)
{
    BUILD_UNUSED;
    return (out[0] = ag_sin(in[0])) != NULL;
}

BRANCH(second_squared_times_first)
{
    BUILD_UNUSED;
    return (out[0] = ag_mul(ag_square(in[1]), in[0])) != NULL;
}

FLOW_BUILD(selected)
{
    BUILD_UNUSED;
    const ag_fn fns[] = { product, sine, second_squared_times_first };
    return ag_switch(in[0], fns, 3, &in[1], 2, out, 1);
}

FLOW_BUILD(selected_alone)
{
    BUILD_UNUSED;
    const ag_fn fns[] = { square };
    return ag_switch(in[0], fns, 1, &in[1], 1, out, 1);
}

static void t_switch(ag_context *c)
{
    FLOW_CHECK(c, .build = selected, .in = { INTEGER(0), SCALAR(1.5), SCALAR(0.5) },
               .out = { SCALAR(0.75) }, .d1 = { { NULL, 0 }, AG_VALUES(0.5), AG_VALUES(1.5) },
               .d2 = { { NULL, 0 }, AG_VALUES(3), AG_VALUES(2) },
               .d3 = { { NULL, 0 }, AG_VALUES(0), AG_VALUES(0) });
    FLOW_CHECK(c, .build = selected, .in = { INTEGER(1), SCALAR(1.5), SCALAR(0.5) },
               .out = { SCALAR(0.9974949866040544) },
               .d1 = { { NULL, 0 }, AG_VALUES(0.0707372016677029), AG_VALUES(0) },
               .d2 = { { NULL, 0 }, AG_VALUES(-1.994989973208109), AG_VALUES(0) },
               .d3 = { { NULL, 0 }, AG_VALUES(-0.2829488066708116), AG_VALUES(0) });
    FLOW_CHECK(c, .build = selected, .in = { INTEGER(2), SCALAR(1.5), SCALAR(0.5) },
               .out = { SCALAR(0.375) }, .d1 = { { NULL, 0 }, AG_VALUES(0.25), AG_VALUES(1.5) },
               .d2 = { { NULL, 0 }, AG_VALUES(3), AG_VALUES(11) },
               .d3 = { { NULL, 0 }, AG_VALUES(18), AG_VALUES(24) });
    FLOW_CHECK(c, .build = selected,
               .in = { TENSOR(AG_I32, AG_SHAPE(1), 1), SCALAR(1.5), SCALAR(0.5) },
               .out = { SCALAR(0.9974949866040544) },
               .d1 = { { NULL, 0 }, AG_VALUES(0.0707372016677029), AG_VALUES(0) },
               .d2 = { { NULL, 0 }, AG_VALUES(-1.994989973208109), AG_VALUES(0) },
               .d3 = {
                   { NULL, 0 }, AG_VALUES(-0.2829488066708116), AG_VALUES(0) }); /* of shape [1] */
    FLOW_CHECK(c, .build = selected_alone, .in = { INTEGER(5), SCALAR(1.5) },
               .out = { SCALAR(2.25) }, .d1 = { { NULL, 0 }, AG_VALUES(3) },
               .d2 = { { NULL, 0 }, AG_VALUES(4) }, .d3 = { { NULL, 0 }, AG_VALUES(0) });
}

/* An index out of range takes the last. */
static void t_switch_out_of_range(ag_context *c)
{
    FLOW_CHECK(c, .build = selected, .in = { INTEGER(3), SCALAR(1.5), SCALAR(0.5) },
               .out = { SCALAR(0.375) }, .d1 = { { NULL, 0 }, AG_VALUES(0.25), AG_VALUES(1.5) },
               .d2 = { { NULL, 0 }, AG_VALUES(3), AG_VALUES(11) },
               .d3 = { { NULL, 0 }, AG_VALUES(18), AG_VALUES(24) });
    FLOW_CHECK(c, .build = selected, .in = { INTEGER(-1), SCALAR(1.5), SCALAR(0.5) },
               .out = { SCALAR(0.375) }, .d1 = { { NULL, 0 }, AG_VALUES(0.25), AG_VALUES(1.5) },
               .d2 = { { NULL, 0 }, AG_VALUES(3), AG_VALUES(11) },
               .d3 = { { NULL, 0 }, AG_VALUES(18), AG_VALUES(24) });
    FLOW_CHECK(c, .build = selected, .in = { INTEGER(1099511627776), SCALAR(1.5), SCALAR(0.5) },
               .out = { SCALAR(0.375) }, .d1 = { { NULL, 0 }, AG_VALUES(0.25), AG_VALUES(1.5) },
               .d2 = { { NULL, 0 }, AG_VALUES(3), AG_VALUES(11) },
               .d3 = { { NULL, 0 }, AG_VALUES(18), AG_VALUES(24) });
}

/* ---- one graph, many runs ---- */

BRANCH(counted_square)
{
    ++*(int *)user;
    return square(in, n, out, m, user);
}

BRANCH(counted_cube)
{
    *(int *)user += 100;
    return cube(in, n, out, m, user);
}

/* With data one branch is called; in a graph both are, once, whatever is run afterwards. */
static void t_called_once(ag_context *c)
{
    int calls = 0;
    ag_tensor *x = ag_scalar(c, 3, .dtype = AG_F64), *y, *d[2];
    ag_tensor *no = ag_scalar(c, 0, .dtype = AG_BOOL);
    CHECK(ag_cond(no, counted_square, counted_cube, &x, 1, &y, 1, .user = &calls));
    CHECK_INT(calls, 100);
    CHECK_CLOSE(ag_item(y), 27, 0);
    calls = 0;
    ag_graph *g = flow_graph(c);
    ag_tensor *p = ag_placeholder(g, AG_BOOL, AG_SHAPE());
    CHECK(x = ag_placeholder(g, AG_F64, AG_SHAPE()));
    CHECK(ag_cond(p, counted_square, counted_cube, &x, 1, &y, 1, .user = &calls));
    CHECK(ag_grad(&y, 1, &x, 1, &d[0]) && ag_grad(d, 1, &x, 1, &d[1]));
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        for (int i = 0; i < 4; i++) {
            const ag_feed feeds[] = { { p, ag_scalar(c, i % 2, .dtype = AG_BOOL) },
                                      { x, ag_scalar(c, 3, .dtype = AG_F64) } };
            CHECK_CLOSE(ag_item(flow_fetch(s, feeds, 2, y)), i % 2 ? 9 : 27, 0);
            CHECK_CLOSE(ag_item(flow_fetch(s, feeds, 2, d[0])), i % 2 ? 6 : 27, 0);
            CHECK_CLOSE(ag_item(flow_fetch(s, feeds, 2, d[1])), i % 2 ? 2 : 18, 0);
        }
    }
    CHECK_INT(calls, 101);
}

BRANCH(division)
{
    BUILD_UNUSED;
    return (out[0] = ag_div(1, in[0])) != NULL;
}

/* What only the other branch uses has no gradient eagerly, and zeros in a graph. */
static void t_gradient_of_the_other(ag_context *c)
{
    ag_tensor *x = ag_scalar(c, 0, .dtype = AG_F64, .requires_grad = true), *y, *d;
    ag_tensor *z = ag_scalar(c, 5, .dtype = AG_F64, .requires_grad = true);
    ag_tensor *no = ag_scalar(c, 0, .dtype = AG_BOOL), *in[] = { x, z };
    CHECK(ag_cond(no, division, sine, in, 1, &y, 1));
    CHECK(ag_grad(&y, 1, &x, 1, &d));
    CHECK_CLOSE(ag_item(d), 1, 0);
    ag_graph *g = flow_graph(c);
    ag_tensor *p = ag_placeholder(g, AG_BOOL, AG_SHAPE());
    CHECK(in[0] = ag_placeholder(g, AG_F64, AG_SHAPE()));
    CHECK(in[1] = ag_placeholder(g, AG_F64, AG_SHAPE()));
    CHECK(ag_cond(p, product, sine, in, 2, &y, 1));
    CHECK(ag_grad(&y, 1, &in[1], 1, &d));
    const ag_feed feeds[] = { { p, no }, { in[0], z }, { in[1], z } };
    CHECK_CLOSE(ag_item(flow_fetch(flow_session(g, AG_BACKEND_FUSED), feeds, 3, d)), 0, 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_predicates), TEST(t_captured), TEST(t_untaken), TEST(t_passed_through),
               TEST(t_integers), TEST(t_sizes), TEST(t_several), TEST(t_switch),
               TEST(t_switch_out_of_range), TEST(t_called_once), TEST(t_gradient_of_the_other));
}
