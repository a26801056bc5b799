/* What a call that fails takes back: all that its functions recorded, down to the text of the
 * graph. Tensors of it may be left. They are refused wherever they are used, also when their
 * numbers have gone to others. */
#include "graphs.h"
#include "refused.h"

/* ---- functions that make values and fail ---- */

enum { PLACEHOLDER, VARIABLE, CONSTANT, DERIVATIVE, MADE };
typedef struct {
    ag_graph *g;
    ag_tensor *x, *y;      /* of the main region: a vector, a number */
    ag_tensor *made[MADE]; /* kept by the function, beyond its end */
    ag_context *c;
    ag_session *s;
} undo;

static void undo_forget(void *user)
{
    undo *u = user;
    for (int i = 0; i < MADE; i++)
        ag_release(u->made[i]);
    memset(u->made, 0, sizeof u->made);
}

static undo *undo_open(ag_context *c)
{
    static undo u; /* a check jumps */
    u = (undo){ .g = graphs_graph(c), .c = c };
    harness_defer(undo_forget, &u);
    u.s = graphs_session(u.g, AG_BACKEND_FUSED);
    CHECK((u.x = ag_placeholder(u.g, AG_F32, AG_SHAPE(-1))) && (u.y = ag_sum(u.x)));
    return &u;
}

static bool undo_make(undo *u)
{
    ag_tensor *one = ag_ones(u->c, AG_SHAPE());
    ag_tensor *made[MADE] = { one ? ag_placeholder(u->g, AG_F32, AG_SHAPE(), .name = "p") : NULL };
    made[VARIABLE] = made[0] ? ag_variable(u->g, one, .name = "v") : NULL;
    made[CONSTANT] = made[VARIABLE] ? ag_constant(u->g, one, .name = "k") : NULL;
    if (!made[CONSTANT] || !ag_grad(&u->y, 1, &u->y, 1, &made[DERIVATIVE]))
        return false;
    for (int i = 0; i < MADE; i++)
        u->made[i] = ag_retain(made[i]);
    return ag_fail(u->c, AG_ERR_INDEX, "there is no more room");
}

static ag_tensor *undo_test(ag_tensor *const *v, int n, void *user)
{
    (void)v, (void)n;
    undo_make(user);
    return NULL;
}
static ag_tensor *never(ag_tensor *const *v, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(ag_sum(v[0]), 0);
}
static bool undo_step(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    return (next[0] = ag_mul(v[0], 2)) && undo_make(user);
}
static bool undo_build(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)m;
    return undo_step(in, n, out, user);
}
static bool same(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_mul(in[0], 1)) != NULL;
}
static bool undo_scan(ag_tensor *const *carry, int n, ag_tensor *const *x, int k, ag_tensor **next,
                      ag_tensor **y, int m, void *user)
{
    (void)x, (void)k, (void)m;
    return (y[0] = ag_mul(carry[0], 3)) && undo_step(carry, n, next, user);
}

/* A call whose function fails, by its number; the function keeps what it made. */
enum {
    BY_CONDITION,
    BY_BODY,
    BY_BRANCH,
    BY_SWITCH,
    BY_SCAN,
    BY_TANGENT,
    BY_COTANGENT,
    BY_MATRIX,
    BY_HESSIAN,
    BY_HVP,
    BY_VHP,
    BY_ALL
};
static bool undo_fails(undo *u, int by)
{
    static const char sentence[] = "there is no more room";
    ag_tensor *y[2] = { NULL };
    ag_tensor *pred = ag_gt(ag_sum(u->x), 0), *index = ag_to(pred, AG_I64);
    const ag_fn fns[] = { same, undo_build };
    CHECK(index);
    undo_forget(u);
    if (by == BY_CONDITION)
        CHECK_REFUSED(u->g, ag_while_loop(undo_test, undo_step, &u->x, 1, y, .user = u),
                      AG_ERR_INDEX, sentence);
    else if (by == BY_BODY)
        CHECK_REFUSED(u->g, ag_while_loop(never, undo_step, &u->x, 1, y, .user = u), AG_ERR_INDEX,
                      sentence);
    else if (by == BY_BRANCH)
        CHECK_REFUSED(u->g, ag_cond(pred, undo_build, same, &u->x, 1, y, 1, .user = u),
                      AG_ERR_INDEX, sentence);
    else if (by == BY_SWITCH)
        CHECK_REFUSED(u->g, ag_switch(index, fns, 2, &u->x, 1, y, 1, .user = u), AG_ERR_INDEX,
                      sentence);
    else if (by == BY_SCAN)
        CHECK_REFUSED(u->g, ag_scan(undo_scan, &u->x, 1, &u->x, 1, y, y + 1, 1, .user = u),
                      AG_ERR_INDEX, sentence);
    else if (by == BY_TANGENT)
        CHECK_REFUSED(u->g, ag_jvp(undo_build, &u->x, 1, &u->x, y, 1, y + 1, u), AG_ERR_INDEX,
                      sentence);
    else if (by == BY_COTANGENT)
        CHECK_REFUSED(u->g, ag_vjp(undo_build, &u->x, 1, y, 1, &u->x, y + 1, u), AG_ERR_INDEX,
                      sentence);
    else if (by == BY_MATRIX)
        CHECK_REFUSED(u->g, ag_jacobian(undo_build, u->x, u), AG_ERR_INDEX, sentence);
    else if (by == BY_HESSIAN)
        CHECK_REFUSED(u->g, ag_hessian(undo_build, u->x, u), AG_ERR_INDEX, sentence);
    else if (by == BY_HVP)
        CHECK_REFUSED(u->g, ag_hvp(undo_build, u->x, u->x, y, u), AG_ERR_INDEX, sentence);
    else
        CHECK_REFUSED(u->g, ag_vhp(undo_build, u->x, u->x, y, u), AG_ERR_INDEX, sentence);
    return u->made[0] && u->made[MADE - 1] && !y[0] && !y[1];
}

/* ---- tensors that are left ---- */

#define CHECK_TAKEN_BACK(call) CHECK_REFUSED(u->g, call, AG_ERR_GRAPH, "inside a call that failed")

static void check_uses(undo *u, ag_tensor *t)
{
    ag_tensor *one = ag_ones(u->c, AG_SHAPE()), *y = ag_sum(u->x), *d = NULL, *w = t;
    ag_tensor *both[] = { y, t };
    ag_session *const s = u->s;
    CHECK(one && y);
    CHECK_TAKEN_BACK(ag_neg(t));
    CHECK_TAKEN_BACK(ag_add(y, t));
    CHECK_TAKEN_BACK(ag_add_(t, 1));
    CHECK_TAKEN_BACK(ag_add_(y, t));
    CHECK_TAKEN_BACK(ag_copy_(t, y));
    CHECK_TAKEN_BACK(ag_detach(t));
    CHECK_TAKEN_BACK(ag_detach_(t));
    CHECK_TAKEN_BACK(ag_grad(&t, 1, &u->x, 1, &d, .grad_outputs = &t));
    CHECK_TAKEN_BACK(ag_grad(&y, 1, &t, 1, &d, .allow_unused = true));
    CHECK_TAKEN_BACK(ag_grad(&y, 1, &u->x, 1, &d, .grad_outputs = &t));
    CHECK_TAKEN_BACK(ag_group(both, 2));
    CHECK_TAKEN_BACK(ag_control_dependencies_push(u->g, both, 2));
    CHECK_TAKEN_BACK(ag_assign(t, one));
    CHECK_TAKEN_BACK(ag_set_name(t, "again"));
    CHECK_TAKEN_BACK(ag_cond(ag_gt(t, 0), same, same, &u->x, 1, &d, 1));
    CHECK_TAKEN_BACK(ag_while_loop(never, undo_step, &w, 1, &d, .user = u));
    CHECK_TAKEN_BACK(ag_jvp(same, &u->y, 1, &t, &d, 1, &d, NULL));
    CHECK_TAKEN_BACK(ag_vjp(same, &t, 1, &d, 1, NULL, &d, NULL));
    CHECK_TAKEN_BACK(ag_vjp(same, &u->y, 1, &d, 1, &t, &d, NULL));
    CHECK_TAKEN_BACK(ag_jacobian(same, t, NULL));
    CHECK_TAKEN_BACK(FETCH(s, t));
    CHECK_TAKEN_BACK(FETCH(s, y, { t, one }));
    CHECK_TAKEN_BACK(ag_variable_value(s, t));
    CHECK_TAKEN_BACK(ag_variable_set(s, t, one));
    CHECK(!ag_name(t) && !ag_error(u->c));
}

static void t_tensors_of_functions_that_fail(ag_context *c)
{
    undo *u = undo_open(c);
    for (int by = 0; by < BY_ALL; by++) {
        CHECK(undo_fails(u, by));
        CHECK(!ag_graph_find(u->g, "p") && !ag_graph_find(u->g, "v") && !ag_error(c));
        for (int i = 0; i < MADE; i++)
            check_uses(u, u->made[i]);
    }
}

/* As above, when the numbers have gone to others, which have their names too. */
static void t_numbers_that_are_used_again(ag_context *c)
{
    undo *u = undo_open(c);
    ag_tensor *v = graphs_numbers(c, AG_F32, AG_SHAPE(3)), *p, *w, *y;
    CHECK(v);
    CHECK(undo_fails(u, BY_BODY));
    CHECK(p = ag_placeholder(u->g, AG_F32, AG_SHAPE(-1), .name = "p"));
    CHECK(w = ag_variable(u->g, v, .name = "v"));
    CHECK(y = ag_add(ag_mul(p, w), ag_add(p, 1)));
    CHECK_TEXT(ag_name(p), "p");
    CHECK_TEXT(ag_name(w), "v");
    for (int i = 0; i < MADE; i++)
        check_uses(u, u->made[i]);
    for (int b = 0; b < GRAPHS_BACKENDS; b++)
        CHECK_SAME(FETCH(graphs_session(u->g, graphs_backend[b]), y, { p, v }),
                   ag_add(ag_mul(v, v), ag_add(v, 1)));
}

/* ---- functions that are differentiated ---- */

static bool two_results(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor **second = user; /* NULL: it is left out */
    (void)n, (void)m;
    out[1] = second ? *second : NULL;
    return (out[0] = ag_square(in[0])) != NULL;
}
static bool says_nothing(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)m, (void)user;
    return same(in, n, out, 1, NULL) && false;
}
static bool writes(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ag_tensor *copy = ag_clone(in[0]), *target = user ? user : copy;
    return copy && ag_add_(target, 1) && (out[0] = ag_square(ag_mul_(copy, 3))) != NULL;
}
static bool beside(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    return (out[0] = ag_mul(in[0], (ag_tensor *)user)) != NULL;
}

/* The function succeeds, and what follows does not. */
static void t_derivatives_that_fail_later(ag_context *c)
{
    undo *u = undo_open(c);
    ag_tensor *two = ag_ones(c, AG_SHAPE(2)), *y[2] = { NULL }, *d = NULL;
    ag_tensor *x = ag_placeholder(u->g, AG_F32, AG_SHAPE(3));
    CHECK(two && x);
    CHECK_REFUSED(u->g, ag_vjp(same, &x, 1, y, 1, &two, &d, NULL), AG_ERR_SHAPE,
                  "ag_vjp: v has invalid size: should be [3] but got [2].");
    CHECK_REFUSED(u->g, ag_vjp(same, &x, 1, y, 1, NULL, &d, NULL), AG_ERR_VALUE,
                  "ag_vjp: The vector v can only be None");
    CHECK_REFUSED(u->g, ag_vjp(two_results, &x, 1, y, 2, NULL, &d, NULL), AG_ERR_VALUE,
                  "ag_vjp: output 1 is NULL");
    CHECK_REFUSED(u->g, ag_vjp(says_nothing, &x, 1, y, 1, &x, &d, NULL), AG_ERR_VALUE,
                  "ag_vjp: the function failed");
    CHECK_REFUSED(u->g, ag_vjp(NULL, &x, 1, y, 1, &x, &d, NULL), AG_ERR_VALUE, "is NULL");
    CHECK_REFUSED(u->g, ag_jvp(same, &x, 1, &two, y, 1, &d, NULL), AG_ERR_SHAPE,
                  "ag_jvp: v has invalid size: should be [3] but got [2].");
    CHECK_REFUSED(u->g, ag_jvp(NULL, &x, 1, &x, y, 1, &d, NULL), AG_ERR_VALUE, "is NULL");
    CHECK_REFUSED(u->g, ag_jacobian(same, u->x, NULL), AG_ERR_SHAPE, "must be known in a graph");
    CHECK_REFUSED(u->g, ag_jacobian(says_nothing, x, NULL), AG_ERR_VALUE, "ag_jacobian: ");
    CHECK_REFUSED(u->g, ag_jacobian(NULL, x, NULL), AG_ERR_VALUE, "is NULL");
    CHECK_REFUSED(u->g, ag_hessian(same, x, NULL), AG_ERR_SHAPE, "a single element");
    CHECK_REFUSED(u->g, ag_hessian(NULL, x, NULL), AG_ERR_VALUE, "is NULL");
    CHECK_REFUSED(u->g, ag_hvp(NULL, x, x, NULL, NULL), AG_ERR_VALUE, "is NULL");
    CHECK(!y[0] && !y[1] && !d);
}

/* A tensor from outside would stay written when the rest is taken back. */
static void t_writes_of_functions(ag_context *c)
{
    static const char sentence[] = "cannot write into a tensor from outside";
    undo *u = undo_open(c);
    ag_tensor *y = NULL, *d = NULL, *one = ag_scalar(c, 1);
    CHECK(one);
    CHECK_REFUSED(u->g, ag_vjp(writes, &u->y, 1, &y, 1, NULL, &d, u->y), AG_ERR_UNSUPPORTED,
                  sentence);
    CHECK_REFUSED(u->g, ag_jacobian(writes, u->y, u->y), AG_ERR_UNSUPPORTED, sentence);
    CHECK_REFUSED(u->g, ag_jvp(writes, &u->y, 1, NULL, &y, 1, &d, u->y), AG_ERR_UNSUPPORTED,
                  sentence);
    CHECK(ag_vjp(writes, &u->y, 1, &y, 1, NULL, &d, NULL)); /* its own: (3 (y + 1))^2 */
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        ag_session *s = graphs_session(u->g, graphs_backend[b]);
        CHECK_CLOSE(ag_item(FETCH(s, y, { u->y, one })), 36, 0);
        CHECK_CLOSE(ag_item(FETCH(s, d, { u->y, one })), 36, 0);
    }
    CHECK(ag_add_(u->y, 1) == u->y); /* afterwards it is written as ever */
}

/* As of tensors with data: a cotangent that is NULL is zero, and so is the derivative of what
 * depends on nothing. */
static void t_cotangents_that_are_left_out(ag_context *c)
{
    undo *u = undo_open(c);
    ag_tensor *k = ag_ones(c, AG_SHAPE(3)), *v = graphs_numbers(c, AG_F32, AG_SHAPE(3));
    ag_tensor *all[] = { k, k }, *none[] = { NULL, NULL }, *second[] = { NULL, k };
    ag_tensor *const *cotangents[] = { all, none, second };
    CHECK(k && v);
    for (int i = 0; i < 3; i++) {
        ag_tensor *y[2], *d, *eager[2], *expected;
        CHECK(ag_vjp(two_results, &u->x, 1, y, 2, cotangents[i], &d, &k));
        CHECK(ag_vjp(two_results, &v, 1, eager, 2, cotangents[i], &expected, &k));
        for (int b = 0; b < GRAPHS_BACKENDS; b++)
            CHECK_SAME(FETCH(graphs_session(u->g, graphs_backend[b]), d, { u->x, v }), expected);
    }
}

/* What holds data is a constant to the graph that the function reaches: there is no derivative. */
static void t_data_into_functions_of_a_graph(ag_context *c)
{
    static const char sentence[] = "make the inputs values of it with ag_constant";
    undo *u = undo_open(c);
    ag_tensor *t = ag_ones(c, AG_SHAPE(), .requires_grad = true), *y = NULL, *d = NULL;
    CHECK(t);
    WATCH(t);
    CHECK_ERROR(ag_vjp(beside, &t, 1, &y, 1, NULL, &d, u->y), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_jvp(beside, &t, 1, NULL, &y, 1, &d, u->y), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_jacobian(beside, t, u->y), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_hessian(beside, t, u->y), AG_ERR_GRAPH, sentence);
    CHECK(y = ag_mul(t, u->y));
    CHECK_ERROR(ag_grad(&y, 1, &t, 1, &d), AG_ERR_GRAD, "make it a value of the graph");
    CHECK(t = ag_constant(u->g, t));
    CHECK(ag_vjp(beside, &t, 1, &y, 1, NULL, &d, u->y));
    CHECK_SAME(FETCH(graphs_session(u->g, AG_BACKEND_FUSED), d, { u->y, ag_scalar(c, 5) }),
               ag_scalar(c, 5));
}

/* ---- what else a function may have done ---- */

static bool depends(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    undo *u = user;
    ag_tensor *made[2];
    (void)n;
    return (made[0] = ag_placeholder(u->g, AG_F32, AG_SHAPE())) != NULL &&
           (made[1] = ag_placeholder(u->g, AG_F32, AG_SHAPE())) != NULL &&
           ag_control_dependencies_push(u->g, made, 1) &&
           ag_control_dependencies_push(u->g, made + 1, 1) && (next[0] = ag_mul(v[0], 2)) != NULL &&
           ag_fail(u->c, AG_ERR_INDEX, "no more");
}

/* Dependencies on what is taken back end with it; others stay. */
static void t_dependencies_that_are_open(ag_context *c)
{
    undo *u = undo_open(c);
    ag_tensor *w = ag_variable(u->g, ag_zeros(c, AG_SHAPE(2))), *two = ag_full(c, AG_SHAPE(2), 2);
    ag_tensor *step = ag_assign_add(w, two), *y = NULL, *after = NULL, *before = NULL;
    CHECK(step);
    CHECK(ag_control_dependencies_push(u->g, &step, 1));
    CHECK_REFUSED(u->g, ag_while_loop(never, depends, &u->x, 1, &y, .user = u), AG_ERR_INDEX,
                  "no more");
    CHECK(after = ag_mul(w, 1));
    ag_control_dependencies_pop(u->g);
    CHECK(before = ag_mul(w, 1));
    for (int b = 0; b < GRAPHS_BACKENDS; b++) {
        CHECK_SAME(FETCH(graphs_session(u->g, graphs_backend[b]), after), two);
        CHECK_SAME(FETCH(graphs_session(u->g, graphs_backend[b]), before), ag_zeros_like(two));
    }
}

typedef struct {
    ag_session *s;
    ag_tensor *w;
    bool ran;
} intruder;

/* Runs, ends or frees the graph that it is recorded in. */
static bool intrudes(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    static const char sentence[] = "a function is recorded into the graph at this moment";
    intruder *k = user;
    ag_graph *g = ag_graph_of(v[0]);
    (void)n;
    CHECK_ERROR(FETCH(k->s, k->w), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_variable_value(k->s, k->w), AG_ERR_GRAPH, sentence);
    CHECK_ERROR(ag_graph_finalize(g), AG_ERR_GRAPH, sentence);
    CHECK_ERROR((ag_graph_free(g), false), AG_ERR_GRAPH, sentence);
    k->ran = true;
    return (next[0] = ag_mul(v[0], 2)) != NULL;
}

static void t_graphs_that_are_recorded(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE()), *y = NULL, *one = ag_ones(c, AG_SHAPE());
    intruder k = { graphs_session(g, AG_BACKEND_FUSED), ag_variable(g, one), false };
    CHECK(x && one && k.w);
    CHECK(ag_while_loop(never, intrudes, &x, 1, &y, .user = &k) && k.ran);
    CHECK_SAME(FETCH(k.s, y, { x, one }), one);
    CHECK(ag_graph_finalize(g));
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_tensors_of_functions_that_fail), TEST(t_numbers_that_are_used_again),
               TEST(t_derivatives_that_fail_later), TEST(t_writes_of_functions),
               TEST(t_cotangents_that_are_left_out), TEST(t_data_into_functions_of_a_graph),
               TEST(t_dependencies_that_are_open), TEST(t_graphs_that_are_recorded));
}
