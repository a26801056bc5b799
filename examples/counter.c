/*
 * One loop, three times: first = 0 and second = 10, and while first < second, first grows by 2 and
 * second by 1. A loop of C asks for the values in each turn. ag_while_loop is told what a turn is; on
 * tensors that hold data it does the same. On symbolic tensors it becomes part of a graph, which is
 * defined once and runs as often as one likes. Any error ends the program with its message.
 */
#include <autograd.h>

#include <stdio.h>

static ag_tensor *integer(ag_context *c, int value) { return ag_scalar(c, value, .dtype = AG_I64); }

static void show(const char *how, ag_tensor *const v[2])
{
    printf("%-22s %g and %g\n", how, ag_item(v[0]), ag_item(v[1]));
}

static void loop_of_c(ag_context *c)
{
    ag_tensor *v[] = { integer(c, 0), integer(c, 10) };
    while (ag_item(ag_lt(v[0], v[1])) == 1) {
        v[0] = ag_add(v[0], 2);
        v[1] = ag_add(v[1], 1);
    }
    show("a loop of C:", v);
}

/* ---- the same as two functions ---- */

static ag_tensor *behind(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(v[0], v[1]);
}

static bool turn(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n, (void)user;
    next[0] = ag_add(v[0], 2);
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

static void loop_on_tensors(ag_context *c)
{
    ag_tensor *v[] = { integer(c, 0), integer(c, 10) }, *end[2];
    ag_while_loop(behind, turn, v, 2, end);
    show("ag_while_loop:", end);
}

/* first is fed in each run, second is a part of the graph. */
static void loop_in_a_graph(ag_context *c)
{
    ag_graph *g = ag_graph_new(c);
    ag_tensor *first = ag_placeholder(g, AG_I64, AG_SHAPE(), .name = "first");
    ag_tensor *second = ag_constant(g, integer(c, 10), .name = "second");
    ag_tensor *v[] = { first, second }, *end[2], *results[2];
    ag_while_loop(behind, turn, v, 2, end);

    ag_session *s = ag_session_new(g);
    ag_session_run(s, &(ag_feed){ first, integer(c, 0) }, 1, end, 2, results);
    show("a graph:", results);
    ag_session_run(s, &(ag_feed){ first, integer(c, 5) }, 1, end, 2, results);
    show("the graph, from 5:", results);
    ag_session_free(s);
    ag_graph_free(g);
}

int main(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    loop_of_c(c);
    loop_on_tensors(c);
    loop_in_a_graph(c);
    ag_close(c);
    return 0;
}
