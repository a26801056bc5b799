/*
 * Scans and their gradients: sums, products, recurrences, networks; backwards; without inputs,
 * without carries, without outputs, without steps.
 */
#include "flow.h"

/* ---- one carry along one list ---- */

FLOW_SCAN_STEP(add)
{
    SCAN_UNUSED;
    return (next[0] = y[0] = ag_add(carry[0], x[0])) != NULL;
}

FLOW_SCAN_STEP(multiply)
{
    SCAN_UNUSED;
    return (next[0] = y[0] = ag_mul(carry[0], x[0])) != NULL;
}

FLOW_SCAN_STEP(sine_and_product)
{
    SCAN_UNUSED;
    next[0] = ag_add(ag_sin(carry[0]), ag_mul(carry[0], x[0]));
    if (m > 0)
        y[0] = next[0];
    return next[0] != NULL;
}

FLOW_BUILD(cumsum)
{
    BUILD_UNUSED;
    return ag_scan(add, in, 1, &in[1], 1, &out[0], &out[1], 1);
}

FLOW_BUILD(cumprod)
{
    BUILD_UNUSED;
    return ag_scan(multiply, in, 1, &in[1], 1, &out[0], &out[1], 1);
}

/* m = 0 */
FLOW_BUILD(fold)
{
    BUILD_UNUSED;
    return ag_scan(sine_and_product, in, 1, &in[1], 1, out, NULL, 0);
}

static void t_sums_and_products(ag_context *c)
{
    FLOW_CHECK(c, .build = cumsum, .in = { SCALAR(1), VECTOR(1, -2, 3, 0.5) },
               .out = { SCALAR(3.5), VECTOR(2, 0, 3, 3.5) },
               .d1 = { AG_VALUES(9.75), AG_VALUES(9.75, 7.75, 5.625, 3.375) },
               .d2 = { AG_VALUES(0), AG_VALUES(0, 0, 0, 0) },
               .d3 = { AG_VALUES(0), AG_VALUES(0, 0, 0, 0) });
    FLOW_CHECK(c, .build = cumprod, .in = { SCALAR(1), VECTOR(1, -2, 3, 0.5) },
               .out = { SCALAR(-3), VECTOR(1, -2, -6, -3) },
               .d1 = { AG_VALUES(-25.875), AG_VALUES(-25.875, 13.9375, -7.875, -20.25) },
               .d2 = { AG_VALUES(-87.9453125),
                       AG_VALUES(-62.0703125, 74.71875, -31.2890625, -54.421875) },
               .d3 = { AG_VALUES(-77.0703125),
                       AG_VALUES(-4.6796875, 289.2578125, -43.41796875, -10.7578125) });
    FLOW_CHECK(c, .build = fold, .in = { SCALAR(2), VECTOR(0.5, 1.5, -1) },
               .out = { SCALAR(-4.424736253810799) },
               .d1 = { AG_VALUES(-0.17496378936026924),
                       AG_VALUES(-4.173099312076263, -3.411040257365386, 3.807199610328056) },
               .d2 = { AG_VALUES(-1.2628861770435398),
                       AG_VALUES(22.072798903845463, 7.407394492202509, 8.826896860955129) },
               .d3 = { AG_VALUES(29.17712511609701),
                       AG_VALUES(112.28416966702557, 180.55620008338735, 5.2346428342047915) });
}

FLOW_SCAN_STEP(horner_step)
{
    SCAN_UNUSED;
    return (next[0] = ag_add(ag_mul(carry[0], FLOW_IN(0)), x[0])) != NULL;
}

/* A polynomial with the coefficients in[1] at in[0], which the step captures. */
FLOW_BUILD(horner)
{
    BUILD_UNUSED;
    ag_tensor *zero = flow_like(in[0], 0);
    return ag_scan(horner_step, &zero, 1, &in[1], 1, out, NULL, 0, .user = (void *)in);
}

static void t_horner(ag_context *c)
{
    FLOW_CHECK(c, .build = horner, .in = { SCALAR(1.5), VECTOR(2, -1, 0, 3) },
               .out = { SCALAR(7.5) }, .d1 = { AG_VALUES(10.5), AG_VALUES(3.375, 2.25, 1.5, 1) },
               .d2 = { AG_VALUES(38.125), AG_VALUES(6.75, 3, 1, 0) },
               .d3 = { AG_VALUES(56.5), AG_VALUES(9, 2, 0, 0) });
}

FLOW_SCAN_STEP(tanh_step)
{
    SCAN_UNUSED;
    next[0] = ag_tanh(ag_add(ag_div(carry[0], 2), x[0]));
    return (y[0] = ag_mul(next[0], x[0])) != NULL;
}

/* user: whether it goes backwards. y[i] belongs to x[i] in either direction. */
FLOW_BUILD(tanh_steps)
{
    (void)n, (void)m;
    return ag_scan(tanh_step, in, 1, &in[1], 1, &out[0], &out[1], 1, .reverse = user != NULL);
}

static void t_reverse(ag_context *c)
{
    FLOW_CHECK(c, .build = tanh_steps, .in = { SCALAR(0.5), VECTOR(0.25, -0.5, 1) },
               .out = { SCALAR(0.7007029659061909),
                        VECTOR(0.11552928931500243, 0.13131977570200795, 0.7007029659061909) },
               .d1 = { AG_VALUES(0.15353116917706472),
                       AG_VALUES(1.231296652874149, -0.777224760384061, 3.230881572392299) },
               .d2 = { AG_VALUES(1.4258310462592179),
                       AG_VALUES(6.783900757348073, 7.205349489982419, -1.7597216080833054) },
               .d3 = { AG_VALUES(-8.062008007176695),
                       AG_VALUES(-25.20979078164823, 9.898696279094374, -28.780341580340846) });
    FLOW_CHECK(c, .build = tanh_steps, .user = c, .in = { SCALAR(0.5), VECTOR(0.25, -0.5, 1) },
               .out = { SCALAR(0.209017266604871),
                        VECTOR(0.05225431665121775, 0.03785650323085077, 0.8482836399575129) },
               .d1 = { AG_VALUES(0.2914010341835546),
                       AG_VALUES(1.8525022066012844, -0.5041770777901462, 2.4914402582715134) },
               .d2 = { AG_VALUES(-0.2787175442602026),
                       AG_VALUES(8.089879764096906, 10.596985586580185, 1.1776318959710217) },
               .d3 = { AG_VALUES(-5.654303885494034),
                       AG_VALUES(-45.67489888633758, -11.428226139013558, -19.40366692544778) });
}

/* ---- lists that are missing or empty ---- */

FLOW_SCAN_STEP(power_step)
{
    SCAN_UNUSED;
    y[0] = carry[0];
    return (next[0] = ag_mul(carry[0], FLOW_IN(0))) != NULL;
}

/* k = 0 */
FLOW_BUILD(powers)
{
    (void)n, (void)m;
    ag_tensor *one = ag_ones_like(in[0]);
    return ag_scan(power_step, &one, 1, NULL, 0, &out[0], &out[1], 1, .user = (void *)in,
                   .length = 4, .reverse = user != NULL);
}

FLOW_SCAN_STEP(map_step)
{
    SCAN_UNUSED;
    return (y[0] = ag_mul(ag_mul(ag_sin(x[0]), FLOW_IN(1)), x[0])) != NULL;
}

/* n = 0 */
FLOW_BUILD(map)
{
    BUILD_UNUSED;
    return ag_scan(map_step, NULL, 0, in, 1, NULL, out, 1, .user = (void *)in);
}

/* No steps: the carry comes back, ys have no rows, and xs a gradient without elements. */
FLOW_SCAN_STEP(multiply_both)
{
    SCAN_UNUSED;
    next[0] = ag_mul(carry[0], 2);
    return next[0] && (y[0] = ag_mul(carry[0], x[0])) != NULL;
}

FLOW_BUILD(no_steps)
{
    BUILD_UNUSED;
    if (!ag_scan(multiply_both, in, 1, &in[1], 1, &out[0], &out[1], 1))
        return false;
    return (out[0] = ag_mul(out[0], 3)) != NULL;
}

static void t_missing_lists(ag_context *c)
{
    FLOW_CHECK(c, .build = powers, .in = { SCALAR(1.5) },
               .out = { SCALAR(5.0625), VECTOR(1, 1.5, 2.25, 3.375) },
               .d1 = { AG_VALUES(38.40625) }, .d2 = { AG_VALUES(52.875) },
               .d3 = { AG_VALUES(50.25) });
    FLOW_CHECK(c, .build = powers, .user = c, .in = { SCALAR(1.5) },
               .out = { SCALAR(5.0625), VECTOR(3.375, 2.25, 1.5, 1) }, .d1 = { AG_VALUES(35.625) },
               .d2 = { AG_VALUES(49.25) }, .d3 = { AG_VALUES(48) });
    FLOW_CHECK(c, .build = map, .in = { VECTOR(0.5, 1.5, -1), SCALAR(2) },
               .out = { VECTOR(0.479425538604203, 2.9924849598121632, 1.682941969615793) },
               .d1 = { AG_VALUES(1.8364336390987788, 2.48310177548762, -3.4544332266900906),
                       AG_VALUES(2.974824290206314) },
               .d2 = { AG_VALUES(4.867338348056067, -0.9461549183319038, -2.7071406425388935),
                       AG_VALUES(0.1559408015798689) },
               .d3 = { AG_VALUES(2.3076736243989853, -15.68223473813397, 13.466129153817352),
                       AG_VALUES(0.05355332929966039) });
    FLOW_CHECK(c, .build = no_steps, .in = { VECTOR(1, 2), TENSOR(AG_F64, AG_SHAPE(0, 2)) },
               .out = { VECTOR(3, 6), TENSOR(AG_F64, AG_SHAPE(0, 2)) },
               .d1 = { AG_VALUES(3, 3.375), AG_VALUES() }, .d2 = { AG_VALUES(0, 0), AG_VALUES() });
}

/* ---- several of each ---- */

FLOW_SCAN_STEP(several_step)
{
    SCAN_UNUSED;
    next[0] = ag_add(carry[0], 1);
    next[1] = ag_add(ag_mul(carry[1], x[1]), ag_mul(x[0], carry[0]));
    y[0] = ag_mul(next[1], x[0]);
    y[1] = ag_mul(next[0], 2);
    return next[0] && next[1] && y[0] && y[1];
}

FLOW_BUILD(several)
{
    BUILD_UNUSED;
    return ag_scan(several_step, in, 2, &in[2], 2, &out[0], &out[2], 2);
}

FLOW_SCAN_STEP(chosen_step)
{
    SCAN_UNUSED;
    ag_tensor *product = ag_mul(carry[0], x[1]), *sum = ag_add(carry[0], ag_square(x[1]));
    return (next[0] = y[0] = ag_where(x[0], product, sum)) != NULL;
}

/* A list of truth values. */
FLOW_BUILD(scan_chosen)
{
    BUILD_UNUSED;
    return ag_scan(chosen_step, &in[2], 1, in, 2, &out[0], &out[1], 1);
}

static void t_several(ag_context *c)
{
    FLOW_CHECK(c, .build = several,
               .in = { INTEGER(0), SCALAR(1), VECTOR(1, -2, 3), VECTOR(0.5, 0.25, -1) },
               .out = { INTEGER(3), SCALAR(7.875), VECTOR(0.5, 3.75, 23.625),
                        TENSOR(AG_I64, AG_SHAPE(3), 2, 4, 6) },
               .d1 = { { NULL, 0 },
                       AG_VALUES(-0.75),
                       AG_VALUES(1.5, -23.859375, 49.09375),
                       AG_VALUES(-1.5, -9, -22.03125) },
               .d2 = { { NULL, 0 },
                       AG_VALUES(-32.482421875),
                       AG_VALUES(15, 69.2578125, -4.5703125),
                       AG_VALUES(-55.96484375, -65.4296875, 55.8359375) },
               .d3 = { { NULL, 0 },
                       AG_VALUES(-209.791015625),
                       AG_VALUES(48, 231.1875, 30.7734375),
                       AG_VALUES(215.99609375, 248.296875, 667.6796875) });
    FLOW_CHECK(c, .build = scan_chosen,
               .in = { TENSOR(AG_BOOL, AG_SHAPE(3), 1, 0, 1), VECTOR(1.5, -1, 2), SCALAR(1) },
               .out = { SCALAR(5), VECTOR(1.5, 2.5, 5) },
               .d1 = { { NULL, 0 }, AG_VALUES(10.625, -17.25, 8.125), AG_VALUES(15.9375) },
               .d2 = { { NULL, 0 }, AG_VALUES(39.1875, 22.03125, 7.3125), AG_VALUES(32.21875) },
               .d3 = { { NULL, 0 }, AG_VALUES(43.875, 62.15625, 68.3515625), AG_VALUES(29.25) });
}

/* ---- where nothing flows ---- */

FLOW_SCAN_STEP(vain_step)
{
    SCAN_UNUSED;
    next[0] = ag_add(ag_mul(carry[0], x[0]), 1);
    return next[0] && (next[1] = ag_sin(carry[1])) != NULL;
}

FLOW_BUILD(scan_in_vain)
{
    BUILD_UNUSED;
    ag_tensor *last[2];
    if (!ag_scan(vain_step, in, 2, &in[2], 1, last, NULL, 0))
        return false;
    out[0] = last[0];
    return true;
}

FLOW_SCAN_STEP(detach_step)
{
    SCAN_UNUSED;
    ag_tensor *first = ag_mul(ag_detach(carry[0]), x[0]);
    return (next[0] = y[0] = ag_add(first, ag_mul(carry[0], ag_detach(x[0])))) != NULL;
}

FLOW_BUILD(scan_detached)
{
    BUILD_UNUSED;
    return ag_scan(detach_step, in, 1, &in[1], 1, &out[0], &out[1], 1);
}

FLOW_SCAN_STEP(constant_y_step)
{
    SCAN_UNUSED;
    next[0] = ag_mul(carry[0], x[0]);
    return next[0] && (y[0] = ag_mul(x[0], 2)) != NULL;
}

FLOW_BUILD(scan_constant_y)
{
    BUILD_UNUSED;
    ag_tensor *ones = ag_ones(ag_context_of(in[0]), AG_SHAPE(2), .dtype = AG_F64);
    return ag_scan(constant_y_step, &ones, 1, in, 1, &out[0], &out[1], 1);
}

static void t_nothing_flows(ag_context *c)
{
    FLOW_CHECK(c, .build = scan_in_vain, .in = { SCALAR(1.5), SCALAR(2.5), VECTOR(0.5, -1, 2) },
               .out = { SCALAR(-0.5) },
               .d1 = { AG_VALUES(-1), AG_VALUES(0), AG_VALUES(-3, 3.5, -0.75) },
               .d2 = { AG_VALUES(-4.5), AG_VALUES(0), AG_VALUES(2.5, 15.6875, 0.46875) },
               .d3 = { AG_VALUES(28.15625), AG_VALUES(0), AG_VALUES(36.46875, 44.5, 25.25) });
    FLOW_CHECK(c, .build = scan_detached, .in = { SCALAR(1.5), VECTOR(0.5, -1, 2) },
               .out = { SCALAR(-12), VECTOR(1.5, -3, -12) },
               .d1 = { AG_VALUES(-3.3125), AG_VALUES(-9.9375, 12.9375, -9.75) },
               .d2 = { AG_VALUES(0), AG_VALUES(0, 0, 0) },
               .d3 = { AG_VALUES(0), AG_VALUES(0, 0, 0) });
    FLOW_CHECK(c, .build = scan_constant_y, .in = { TENSOR(AG_F64, AG_SHAPE(2, 2), 1, 2, 0.5, -1) },
               .out = { VECTOR(0.5, -2), TENSOR(AG_F64, AG_SHAPE(2, 2), 2, 4, 1, -2) },
               .d1 = { AG_VALUES(4.5, 3.125, 5.5, 7) },
               .d2 = { AG_VALUES(1.25, 1.546875, 1, 1.265625) }, .d3 = { AG_VALUES(0, 0, 0, 0) },
               .skip = FLOW_UNKNOWN);
}

/* ---- recurrent networks ---- */

FLOW_SCAN_STEP(rnn_step)
{
    SCAN_UNUSED;
    return (next[0] = y[0] = ag_tanh(ag_add(ag_mv(FLOW_IN(0), carry[0]), x[0]))) != NULL;
}

FLOW_BUILD(rnn)
{
    BUILD_UNUSED;
    return ag_scan(rnn_step, &in[1], 1, &in[2], 1, &out[0], &out[1], 1, .user = (void *)in);
}

/* One unit: in = w [4, 2], u [4], b [4]; the state is h and c; gates in PyTorch's order i f g o. */
FLOW_SCAN_STEP(lstm_step)
{
    SCAN_UNUSED;
    ag_tensor *z =
        ag_add(ag_add(ag_mv(FLOW_IN(0), x[0]), ag_mul(FLOW_IN(1), carry[0])), FLOW_IN(2));
    ag_tensor *i = ag_sigmoid(ag_select(z, 0, 0)), *f = ag_sigmoid(ag_select(z, 0, 1));
    ag_tensor *g = ag_tanh(ag_select(z, 0, 2)), *o = ag_sigmoid(ag_select(z, 0, 3));
    next[1] = ag_add(ag_mul(f, carry[1]), ag_mul(i, g));
    next[0] = y[0] = ag_mul(o, ag_tanh(next[1]));
    return next[0] && next[1];
}

FLOW_BUILD(lstm)
{
    BUILD_UNUSED;
    ag_tensor *init[] = { ag_select(in[3], 0, 0), ag_select(in[3], 0, 1) };
    return init[0] && init[1] &&
           ag_scan(lstm_step, init, 2, &in[4], 1, &out[1], &out[0], 1, .user = (void *)in);
}

static void t_networks(ag_context *c)
{
    FLOW_CHECK(c, .build = rnn,
               .in = { TENSOR(AG_F64, AG_SHAPE(2, 2), 0.5, -0.25, 0.75, 1), VECTOR(0.1, -0.2),
                       TENSOR(AG_F64, AG_SHAPE(3, 2), 1, 0.5, -0.5, 0.25, 0.75, -1) },
               .out = { VECTOR(0.41973534347976216, -0.29499928345028376),
                        TENSOR(AG_F64, AG_SHAPE(3, 2), 0.8004990217606297, 0.35835739835078595,
                               -0.18710923550662917, 0.8362986258205156, 0.41973534347976216,
                               -0.29499928345028376) },
               .d1 = { AG_VALUES(4.5171859655520015, 4.133055640958041, 0.7679300314576298,
                                 3.036932055217153),
                       AG_VALUES(2.506992892501181, 1.3127353115191616),
                       AG_VALUES(2.214460231071723, 1.8663503692870922, 6.040290412933077,
                                 1.5264141011100423, 2.8833778450187415, 3.4236578353643217) },
               .d2 = { AG_VALUES(42.79086062474266, 49.845249577820844, -4.581209902835765,
                                 40.220331290080196),
                       AG_VALUES(-18.05793302385137, -16.035778502646487),
                       AG_VALUES(-9.869633020004386, -23.560686275373023, 24.61960873529517,
                                 -19.642174905851054, -12.423534135648426, 21.455104419927125) },
               .d3 = { AG_VALUES(-462.01327348503827, -470.1033015767997, 127.61551538433586,
                                 -1014.3791265755274),
                       AG_VALUES(-96.50937495058946, 13.47168557114506),
                       AG_VALUES(-135.5942960941399, 66.57167309989576, -572.7260121981101,
                                 -96.76742411769678, -174.93021580480226, -635.9437423391889) });
    if (!harness_faults())
        FLOW_CHECK(c, .build = lstm,
                   .in = { TENSOR(AG_F64, AG_SHAPE(4, 2), 0.5, -0.25, 0.75, 1, -0.5, 0.25, 0.125,
                                  -1),
                           VECTOR(0.5, -0.75, 1, 0.25), VECTOR(0.1, 0.2, -0.3, 0.4),
                           VECTOR(0.1, -0.2),
                           TENSOR(AG_F64, AG_SHAPE(3, 2), 1, 0.5, -0.5, 0.25, 0.75, -1) },
                   .out = { VECTOR(-0.23105151114895425, -0.1764919668132662, -0.48735717801499995),
                            SCALAR(-0.48735717801499995), SCALAR(-0.6958379928286296) },
                   .d1 = { AG_VALUES(-0.8860643266397638, 0.6413035779666796, -0.2188089633528414,
                                     0.2858437019839871, 1.454881245928035, -0.1561499918742293,
                                     -0.40775945956635135, 0.1213781359999665),
                           AG_VALUES(0.15433625602578357, 0.1522990995961928, -0.3563686774542204,
                                     0.06703899883407775),
                           AG_VALUES(-1.3436795990101542, -0.8855067379218372, 3.601930292613657,
                                     -0.7490204221560666),
                           AG_VALUES(1.0892690600600248, 2.185074809280578),
                           AG_VALUES(-0.8942332861951896, 0.5795817726653134, -1.0087446354572536,
                                     0.15651653733280424, -1.3275846303703487,
                                     0.36381784714206444) },
                   .d2 = { AG_VALUES(-4.940709357706774, -8.470957936001627, -2.2205712022744004,
                                     -6.726082112270971, 45.422052428023335, 29.77889456711293,
                                     -3.123928683493494, -2.667871834821932),
                           AG_VALUES(-3.551995114865357, -2.975171107120269, 8.4082217768114,
                                     -1.9591865191778832),
                           AG_VALUES(4.852509064976616, 8.093149453984019, 45.03414607671783,
                                     2.3576950349380916),
                           AG_VALUES(28.842479500180218, 26.957872045917437),
                           AG_VALUES(-10.819475218660436, 7.534261569566393, -1.5272402684811563,
                                     5.5467758454272005, 0.26201762986118105, 4.419338377413254) });
}

/* ---- one graph, many lengths ---- */

typedef struct {
    int calls;
} counted;

FLOW_SCAN_STEP(counted_multiply)
{
    ((counted *)user)->calls++;
    return multiply(carry, n, x, k, next, y, m, NULL);
}

static void t_many_lengths(ag_context *c)
{
    static const double numbers[] = { 2, -1, .5, 3, 1.5 };
    counted count = { 0 };
    ag_graph *g = flow_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(-1)), *y, *last, *dx;
    ag_tensor *one = ag_constant(g, ag_scalar(c, 1, .dtype = AG_F64));
    CHECK(ag_scan(counted_multiply, &one, 1, &x, 1, &last, &y, 1, .user = &count));
    CHECK_INT(ag_size(y, 0), -1);
    CHECK(ag_grad(&last, 1, &x, 1, &dx));
    for (int backend = 0; backend < 2; backend++) {
        ag_session *s = flow_session(g, backend ? AG_BACKEND_INTERPRET : AG_BACKEND_FUSED);
        const int lengths[] = { 3, 0, 5, 1 };
        for (int i = 0; i < 4; i++)
            AG_SCOPE (c) {
                const int length = lengths[i];
                const ag_feed feed = { x, ag_from_data(c, numbers, AG_F64, AG_SHAPE(length)) };
                double product = 1;
                for (int k = 0; k < length; k++)
                    product *= numbers[k];
                ag_tensor *d = flow_fetch(s, &feed, 1, dx), *rows = flow_fetch(s, &feed, 1, y);
                CHECK_CLOSE(ag_item(flow_fetch(s, &feed, 1, last)), product, 1e-13);
                CHECK(ag_size(d, 0) == length && ag_size(rows, 0) == length);
                for (int k = 0; k < length; k++)
                    CHECK_CLOSE(ag_at(d, k), product / numbers[k], 1e-13);
            }
    }
    CHECK_INT(count.calls, 1);
}

/* Sizes are known before the run as far as they can be. */
static void t_static_sizes(ag_context *c)
{
    ag_graph *g = flow_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F64, AG_SHAPE(5, 2, -1)), *y, *last;
    ag_tensor *init = ag_placeholder(g, AG_F64, AG_SHAPE(2, -1));
    CHECK(ag_scan(multiply, &init, 1, &x, 1, &last, &y, 1));
    CHECK(ag_ndim(y) == 3 && ag_ndim(last) == 2);
    CHECK(ag_size(y, 0) == 5 && ag_size(y, 1) == 2 && ag_size(y, 2) == -1);
    CHECK(ag_size(last, 0) == 2 && ag_size(last, 1) == -1);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_sums_and_products), TEST(t_horner), TEST(t_reverse), TEST(t_missing_lists),
               TEST(t_several), TEST(t_nothing_flows), TEST(t_networks), TEST(t_many_lengths),
               TEST(t_static_sizes));
}
