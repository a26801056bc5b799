/* Checked mode: what messages and anomaly mode know of the places of calls. */
#define AG_CHECKED
#include "harness.h"

#include <stdio.h>

/* "t_checked.c:LINE" of an earlier call, as messages spell it. */
static const char *place(const char *before, int line)
{
    static char text[2][256];
    static int turn;
    char *t = text[turn++ % 2];
    snprintf(t, sizeof text[0], "%s%s:%d", before, __FILE__, line);
    return t;
}

static void t_errors_tell_the_call(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2)), *y = ag_ones(c, AG_SHAPE(3));
    CHECK(x && y);
    CHECK_ERROR(ag_add(x, y), AG_ERR_SHAPE, place("[", __LINE__));
    CHECK_ERROR(ag_softmax(x, 4), AG_ERR_INDEX, place("[", __LINE__));
    CHECK_ERROR(ag_sum(x, .dims = AG_DIMS(3)), AG_ERR_INDEX, place("[", __LINE__));
    CHECK_ERROR(ag_exp_(ag_expand(ag_ones(c, AG_SHAPE(1)), AG_SHAPE(3))), AG_ERR_VALUE,
                place("[", __LINE__ - 1));
    CHECK_ERROR(ag_zeros(c, AG_SHAPE(-1)), AG_ERR_SHAPE, place("[", __LINE__));
}

static void t_a_changed_value_names_both_places(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y = ag_mul(x, 1);
    CHECK(y);
    const int saved = __LINE__ + 1;
    ag_tensor *z = ag_sin(y);
    const int changed = __LINE__ + 1;
    CHECK(z && ag_mul_(y, 2));
    CHECK_ERROR(ag_backward(ag_sum(z)), AG_ERR_GRAD, place("saved by SinBackward0 at ", saved));
    CHECK_ERROR(ag_backward(ag_sum(z)), AG_ERR_GRAD, place("changed by ag_mul_ at ", changed));
}

static void t_anomaly_names_the_forward_call(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(2), .requires_grad = true);
    CHECK(x);
    const int root = __LINE__ + 1;
    ag_tensor *y = ag_sqrt(x);
    ag_tensor *s = ag_sum(ag_mul(y, 0));
    CHECK(s);
    ag_set_anomaly_enabled(c, true);
    CHECK_ERROR(ag_backward(s, .retain_graph = true), AG_ERR_GRAD,
                "Function 'SqrtBackward0' returned nan values in its 0th output.");
    CHECK_ERROR(ag_backward(s, .retain_graph = true), AG_ERR_GRAD,
                place("Error detected in SqrtBackward0. Its forward call: ", root));
    CHECK(!ag_grad_of(x));
    ag_set_anomaly_enabled(c, false);
    CHECK(ag_backward(s));
    CHECK(isnan(ag_at(ag_grad_of(x), 0)));
}

/* A node that a rule made is told of by the call whose rule it was. */
static void t_nodes_of_rules_know_the_call(ag_context *c)
{
    ag_tensor *x = ag_zeros(c, AG_SHAPE(2), .requires_grad = true), *g = NULL, *h = NULL;
    CHECK(x);
    ag_set_anomaly_enabled(c, true);
    const int forward = __LINE__ + 1;
    ag_tensor *y = ag_pow(x, 1.5);
    ag_tensor *s = ag_sum(y);
    CHECK(s && ag_grad(&s, 1, &x, 1, &g, .create_graph = true));
    ag_tensor *t = ag_sum(ag_mul(g, 0)); /* 0 times the infinite second derivative */
    CHECK(t);
    CHECK_ERROR(ag_grad(&t, 1, &x, 1, &h), AG_ERR_GRAD, place("Its forward call: ", forward));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_errors_tell_the_call), TEST(t_a_changed_value_names_both_places),
               TEST(t_anomaly_names_the_forward_call), TEST(t_nodes_of_rules_know_the_call));
}
