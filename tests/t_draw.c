/* Random draws in graphs: how often, with which gradients, repeated from a seed; bad inputs. */
#include "harness.h"

enum { N = 20000 };

/* Of N draws, within four standard deviations of the mean. */
static void check_share(double share, double p)
{
    CHECK(fabs(share - p) <= 4 * sqrt(p * (1 - p) / N));
}

static void t_bernoulli(ag_context *c)
{
    ag_tensor *p = ag_full(c, AG_SHAPE(N), 0.3, .dtype = AG_F64, .requires_grad = true), *g;
    ag_manual_seed(c, 1);
    ag_tensor *y = ag_bernoulli(p);
    CHECK(y);
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "BernoulliBackward0");
    check_share(ag_item(ag_mean(y)), 0.3);
    CHECK_CLOSE(ag_item(ag_sum(ag_mul(y, ag_sub(1, y)))), 0, 0);
    ag_tensor *loss = ag_sum(y);
    CHECK(ag_grad(&loss, 1, &p, 1, &g));
    CHECK_CLOSE(ag_item(ag_sum(ag_abs(g))), 0, 0);
    ag_tensor *ends = ag_array(c, AG_VALUES(0, 1, 0, 1), AG_SHAPE(4), .dtype = AG_BF16);
    CHECK_VALUES(ag_bernoulli(ends), AG_SHAPE(4), AG_VALUES(0, 1, 0, 1), 0);
}

static void t_bernoulli_in_place(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(N), .dtype = AG_I8), *g;
    ag_manual_seed(c, 2);
    CHECK(ag_bernoulli_(x, 0.75) == x);
    check_share(ag_item(ag_mean(ag_to(x, AG_F64))), 0.75);
    CHECK(x = ag_ones(c, AG_SHAPE(3, 2)));
    CHECK_VALUES(ag_bernoulli_(x, ag_array(c, AG_VALUES(0, 1), AG_SHAPE(2))), AG_SHAPE(3, 2),
                 AG_VALUES(0, 1, 0, 1, 0, 1), 0);
    CHECK_VALUES(ag_bernoulli_(x, 1), AG_SHAPE(3, 2), AG_VALUES(1, 1, 1, 1, 1, 1), 0);
    ag_tensor *leaf = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y = ag_clone(leaf);
    CHECK(ag_bernoulli_(y, 0.5));
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "BernoulliBackward1");
    ag_tensor *loss = ag_sum(y);
    CHECK(ag_grad(&loss, 1, &leaf, 1, &g));
    CHECK_VALUES(g, AG_SHAPE(2), AG_VALUES(0, 0), 0);
}

static void t_dropout(ag_context *c)
{
    ag_tensor *x = ag_full(c, AG_SHAPE(N), 3, .requires_grad = true), *g, *z = ag_clone(x);
    CHECK(z);
    ag_manual_seed(c, 3);
    ag_tensor *y = ag_dropout(x, 0.25, true);
    CHECK(y);
    CHECK_TEXT(ag_node_name(ag_grad_fn(y)), "MulBackward0");
    check_share(ag_item(ag_mean(ag_to(ag_gt(y, 0), AG_F64))), 0.75);
    CHECK_CLOSE(ag_item(ag_amax(y)), 4, 1e-6);
    CHECK(ag_grad(&y, 1, &x, 1, &g, .grad_outputs = &x));
    CHECK_CLOSE(ag_item(ag_sum(ag_abs(ag_sub(g, y)))), 0, 0); /* 3 times the factors, as y is */
    ag_manual_seed(c, 3);
    CHECK(ag_dropout_(z, 0.25, true) == z);
    CHECK_CLOSE(ag_item(ag_sum(ag_abs(ag_sub(z, y)))), 0, 0);
    CHECK_INT(ag_version(z), 1);
    CHECK_TEXT(ag_node_name(ag_grad_fn(z)), "MulBackward0");
}

static void t_dropout_at_its_ends(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(1, -2), AG_SHAPE(2)), *none = ag_zeros(c, AG_SHAPE(0));
    CHECK(x && none);
    CHECK(ag_dropout(x, 0.5, false) == x);
    CHECK(ag_dropout(x, 0, true) == x);
    CHECK(ag_dropout(none, 0.5, true) == none);
    CHECK(ag_dropout_(x, 0.5, false) == x && ag_dropout_(x, 0, true) == x);
    CHECK_INT(ag_version(x), 0);
    CHECK_VALUES(ag_dropout(x, 1, true), AG_SHAPE(2), AG_VALUES(0, 0), 0);
    CHECK_VALUES(ag_dropout_(x, 1, true), AG_SHAPE(2), AG_VALUES(0, 0), 0);
}

static void t_bad(ag_context *c)
{
    ag_tensor *x = ag_array(c, AG_VALUES(0, 1.5), AG_SHAPE(2)),
              *i = ag_ones(c, AG_SHAPE(2), .dtype = AG_I64);
    ag_tensor *leaf = ag_ones(c, AG_SHAPE(2), .requires_grad = true),
              *odd = ag_full(c, AG_SHAPE(1), NAN);
    ag_tensor *wide = ag_ones(c, AG_SHAPE(3, 2));
    CHECK(x && i && leaf && odd && wide);
    WATCH(x);
    WATCH(i);
    WATCH(leaf);
    CHECK_ERROR(ag_bernoulli(x), AG_ERR_VALUE,
                "Expected p_in >= 0 && p_in <= 1 to be true, but got false: element 1 is 1.5");
    CHECK_ERROR(ag_bernoulli(odd), AG_ERR_VALUE, "Expected p_in >= 0 && p_in <= 1 to be true");
    CHECK_ERROR(ag_bernoulli(i), AG_ERR_DTYPE,
                "expected probabilities tensor to have floating type, got int64");
    CHECK_ERROR(ag_bernoulli_(x, -0.5), AG_ERR_VALUE, "Expected p_in >= 0 && p_in <= 1");
    CHECK_ERROR(ag_bernoulli_(x, wide), AG_ERR_SHAPE,
                "output with shape [2] doesn't match the broadcast shape [3, 2]");
    CHECK_ERROR(ag_bernoulli_(leaf, 0.5), AG_ERR_GRAD, "a leaf Variable that requires grad");
    CHECK_ERROR((ag_bernoulli_)(x, NULL), AG_ERR_VALUE, "ag_bernoulli_: operand 1 is NULL");
    CHECK_ERROR(ag_dropout(x, 1.5, true), AG_ERR_VALUE,
                "ag_dropout: dropout probability has to be between 0 and 1, but got 1.5");
    CHECK_ERROR(ag_dropout(x, -0.5, false), AG_ERR_VALUE, "between 0 and 1, but got -0.5");
    CHECK_ERROR(ag_dropout(x, NAN, false), AG_ERR_VALUE, "between 0 and 1, but got nan");
    CHECK_ERROR(ag_dropout(i, 0.5, true), AG_ERR_DTYPE,
                "result type float32 can't be cast to the desired output type int64");
    CHECK_ERROR(ag_dropout_(x, 2, true), AG_ERR_VALUE,
                "ag_dropout_: dropout probability has to be between 0 and 1, but got 2");
    CHECK_ERROR(ag_dropout_(leaf, 0.5, true), AG_ERR_GRAD,
                "ag_dropout_: a leaf Variable that requires grad");
    CHECK(!ag_bernoulli(NULL) && !ag_bernoulli_(NULL, 0.5));
    CHECK(!ag_dropout(NULL, 9, true) && !ag_dropout_(NULL, 9, true));
}

/* A call that fails draws nothing. */
static void t_failures_draw_nothing(ag_context *c)
{
    ag_tensor *p = ag_full(c, AG_SHAPE(40), 0.5, .requires_grad = true), *x = ag_clone(p);
    CHECK(p && x);
    if (harness_faults())
        return;
    ag_manual_seed(c, 4);
    const double first = ag_item(ag_rand(c, AG_SHAPE()));
    int failed = 0;
    for (int i = 0; i < 40; i++) {
        ag_manual_seed(c, 4);
        ag_memory_fail_at(c, 1 + i / 4, false);
        ag_tensor *y = i % 4 == 0   ? ag_bernoulli(p)
                       : i % 4 == 1 ? ag_dropout(p, 0.5, true)
                       : i % 4 == 2 ? (ag_bernoulli_)(x, p)
                                    : ag_dropout_(x, 0.5, true);
        ag_memory_fail_at(c, 0, false);
        ag_error_clear(c);
        failed += !y;
        if (!y)
            CHECK_CLOSE(ag_item(ag_rand(c, AG_SHAPE())), first, 0);
    }
    CHECK(failed >= 8);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_bernoulli), TEST(t_bernoulli_in_place), TEST(t_dropout),
               TEST(t_dropout_at_its_ends), TEST(t_bad), TEST(t_failures_draw_nothing));
}
