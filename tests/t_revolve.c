/*
 * The binomial schedule against a dynamic program, and each plan against the rules: it only uses
 * states that it has, keeps no more than it may, and reverses each step once, the last one first.
 */
#include "harness.h"

#include "autograd/revolve.h"

enum { STEPS = 130, SNAPSHOTS = 24 };

static int64_t best[STEPS + 1][SNAPSHOTS + 1];

/* The fewest steps that reverse n: the next snapshot is taken after m of them, for the best m. */
static void best_fill(void)
{
    for (int s = 1; s <= SNAPSHOTS; s++)
        for (int n = 0; n <= STEPS; n++) {
            best[n][s] = n < 2 ? 0 : (int64_t)n * (n - 1) / 2;
            for (int m = 1; m < n && s > 1; m++) {
                const int64_t v = m + best[n - m][s - 1] + best[m][s];
                best[n][s] = v < best[n][s] ? v : best[n][s];
            }
        }
}

static void t_closed_form(ag_context *c)
{
    (void)c;
    best_fill();
    for (int n = 0; n <= STEPS; n++)
        for (int s = 1; s <= SNAPSHOTS; s++)
            CHECK_INT(ag__revolve_cost(n, s), best[n][s]);
    for (int n = 0; n < STEPS; n++)
        for (int s = 1; s <= SNAPSHOTS; s++)
            CHECK_INT(ag_checkpoint_sequence_cost(n, s), best[n + 1][s]);
}

/* Carries a plan out in numbers; gives the steps that it advanced. */
static int64_t follow(int64_t steps, int snapshots)
{
    int64_t kept[STEPS + 1], slot[STEPS + 1], at = 0, reversed = steps, advanced = 0;
    int n = 0;
    ag__revolve r;
    ag__revolve_begin(&r, steps, snapshots, kept);
    for (;;) {
        const ag__revolve_action a = ag__revolve_next(&r);
        switch (a.kind) {
        case AG_REVOLVE_STORE:
            CHECK(at >= 0 && a.step == at && a.slot == n && n < snapshots);
            slot[n++] = at;
            break;
        case AG_REVOLVE_ADVANCE:
            CHECK(at >= 0 && a.step == at && a.to > at && a.to < reversed);
            advanced += a.to - at;
            at = a.to;
            break;
        case AG_REVOLVE_REVERSE:
            CHECK(a.step == at && a.step == reversed - 1);
            reversed = at;
            at = -1;
            break;
        case AG_REVOLVE_DROP: CHECK(a.slot == n - 1 && slot[--n] >= reversed); break;
        case AG_REVOLVE_RESTORE:
            CHECK(n > 0 && a.slot == n - 1 && a.step == slot[n - 1]);
            at = a.step;
            break;
        case AG_REVOLVE_DONE:
            CHECK(reversed == 0 && n == 0);
            CHECK(ag__revolve_next(&r).kind == AG_REVOLVE_DONE);
            return advanced;
        }
    }
}

static void t_plans(ag_context *c)
{
    (void)c;
    for (int n = 0; n <= STEPS; n++)
        for (int s = 1; s <= STEPS + 1; s += s < 12 ? 1 : 17)
            CHECK_INT(follow(n, s), ag__revolve_cost(n, s));
}

/* C(s + t, s) steps are run t times at the most; one step more is not. Known values of the paper's
 * table: 10 snapshots and 3 repetitions reach 286 steps. */
static void t_reach(ag_context *c)
{
    (void)c;
    CHECK_INT(ag__revolve_cost(286, 10), 3 * 286 - 78); /* 78 = C(13, 2) */
    CHECK_INT(ag__revolve_cost(287, 10), ag__revolve_cost(286, 10) + 4);
    CHECK_INT(ag__revolve_cost(286, 10), ag__revolve_cost(285, 10) + 3);
    CHECK_INT(ag__revolve_cost(1000, 1), 499500);
    CHECK_INT(ag__revolve_cost(1000, 999), 999);
    CHECK_INT(ag__revolve_cost(1000, INT32_MAX), 999);
}

static void t_limits(ag_context *c)
{
    (void)c;
    CHECK_INT(ag_checkpoint_sequence_cost(0, 1), 0);
    CHECK_INT(ag_checkpoint_sequence_cost(1, 1), 1);
    CHECK_INT(ag_checkpoint_sequence_cost(-1, 1), -1);
    CHECK_INT(ag_checkpoint_sequence_cost(1, 0), -1);
    CHECK_INT(ag_checkpoint_sequence_cost(INT64_MAX, 3), -1);
    CHECK_INT(ag__revolve_cost((int64_t)1 << 32, 1), ((int64_t)1 << 31) * (((int64_t)1 << 32) - 1));
    CHECK_INT(ag__revolve_cost(((int64_t)1 << 32) + 1, 1), INT64_MAX);
    /* beta(2, r) = (r + 1)(r + 2) / 2: for 2^40 steps r is 1482909 */
    CHECK_INT(ag__revolve_cost((int64_t)1 << 40, 2),
              1482909 * ((int64_t)1 << 40) - (int64_t)1482911 * 1482910 / 2 * 494303);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_closed_form), TEST(t_plans), TEST(t_reach), TEST(t_limits));
}
