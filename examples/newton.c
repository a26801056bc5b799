/*
 * Newton's iteration for the square root of a: x = (x + a/x) / 2 until x^2 is a. How many turns it
 * takes is known only when it runs, and depends on a; in a graph the loop can be differentiated all
 * the same, and its derivative again. The graph is defined once and runs for each a. Any error ends
 * the program with its message.
 */
#include <autograd.h>

#include <math.h>
#include <stdio.h>

enum { X, TURNS, N }; /* the variables of the loop */

/* |x^2 - a| > 1e-14 a. The number whose root is wanted comes from outside the loop. */
static ag_tensor *far_away(ag_tensor *const *v, int n, void *user)
{
    ag_tensor *a = user;
    (void)n;
    return ag_gt(ag_abs(ag_sub(ag_square(v[X]), a)), ag_mul(1e-14, a));
}

static bool turn(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    ag_tensor *a = user;
    (void)n;
    next[X] = ag_div(ag_add(v[X], ag_div(a, v[X])), 2);
    next[TURNS] = ag_add(v[TURNS], 1);
    return next[X] && next[TURNS];
}

int main(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_graph *g = ag_graph_new(c);
    ag_tensor *a = ag_placeholder(g, AG_F64, AG_SHAPE(), .name = "a");
    ag_tensor *init[N] = {
        [X] = ag_scalar(c, 1, .dtype = AG_F64), [TURNS] = ag_scalar(c, 0, .dtype = AG_I64)
    };
    ag_tensor *end[N], *first, *second;
    ag_while_loop(far_away, turn, init, N, end, .user = a);
    ag_grad(&end[X], 1, &a, 1, &first);
    ag_grad(&first, 1, &a, 1, &second);

    ag_session *s = ag_session_new(g);
    ag_tensor *fetches[] = { end[TURNS], end[X], first, second }, *results[4];
    printf("%6s %6s %10s %10s %12s %10s %12s\n", "a", "turns", "sqrt a", "d/da", "1/(2 sqrt a)",
           "d2/da2", "-a^-1.5 / 4");
    for (double value = 0.25; value < 1000; value *= 8)
        AG_SCOPE (c) {
            ag_feed feed = { a, ag_scalar(c, value, .dtype = AG_F64) };
            ag_session_run(s, &feed, 1, fetches, 4, results);
            printf("%6g %6g %10.6f %10.6f %12.6f %10.6f %12.6f\n", value, ag_item(results[0]),
                   ag_item(results[1]), ag_item(results[2]), 0.5 / sqrt(value), ag_item(results[3]),
                   -0.25 * pow(value, -1.5));
        }
    ag_session_free(s);
    ag_graph_free(g);
    ag_close(c);
    return 0;
}
