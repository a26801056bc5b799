/*
 * A ball is thrown, falls through air and bounces off the floor until it touches it for the third time.
 * The simulation is a loop of unknown length with a branch in it, flight or bounce; it is a part of
 * a graph, and so is the derivative of the landing place with respect to the velocity of the throw. It
 * is compared with a central difference, and then used to throw better, until the ball lands at 12 m.
 * Any error ends the program with its message.
 */
#include <autograd.h>

#include <stdio.h>
#include <string.h>

enum { X, Y, VX, VY, TOUCHES, STEPS, STATE }; /* m, m, m/s, m/s and two counters */
static const double STEP = 0.02, GRAVITY = 9.81, DRAG = 0.02, BOUNCE = 0.7, HEIGHT = 1.5;
static const double TARGET = 12, RATE = 0.1;

/* ---- the simulation ---- */

/* Gravity, and the drag of air against the motion, which grows with the square of the speed. */
static void acceleration(ag_tensor *const *s, ag_tensor **x, ag_tensor **y)
{
    ag_tensor *drag = ag_mul(-DRAG, ag_hypot(s[VX], s[VY]));
    *x = ag_mul(drag, s[VX]);
    *y = ag_sub(ag_mul(drag, s[VY]), GRAVITY);
}

/* position + v t + a t^2 / 2 and v + a t */
static void move(ag_tensor *const *s, ag_tensor *t, ag_tensor **next)
{
    ag_tensor *ax, *ay;
    acceleration(s, &ax, &ay);
    next[X] = ag_add(s[X], ag_mul(t, ag_add(s[VX], ag_mul(ax, ag_div(t, 2)))));
    next[Y] = ag_add(s[Y], ag_mul(t, ag_add(s[VY], ag_mul(ay, ag_div(t, 2)))));
    next[VX] = ag_add(s[VX], ag_mul(ax, t));
    next[VY] = ag_add(s[VY], ag_mul(ay, t));
    next[TOUCHES] = s[TOUCHES];
    next[STEPS] = ag_add(s[STEPS], 1);
}

/* What `step` has computed to see whether the floor is in the way. */
static bool fly(ag_tensor *const *s, int n, ag_tensor **next, int m, void *ahead)
{
    (void)s, (void)n;
    memcpy(next, ahead, (size_t)m * sizeof *next);
    return true;
}

/* To the floor, y + vy t + ay t^2 / 2 = 0, where the velocity turns upwards. */
static bool bounce(ag_tensor *const *s, int n, ag_tensor **next, int m, void *user)
{
    ag_tensor *ax, *ay;
    (void)n, (void)m, (void)user;
    acceleration(s, &ax, &ay);
    ag_tensor *root = ag_sqrt(ag_sub(ag_square(s[VY]), ag_mul(2, ag_mul(ay, s[Y]))));
    move(s, ag_neg(ag_div(ag_add(s[VY], root), ay)), next);
    next[Y] = ag_zeros_like(s[Y]);
    next[VY] = ag_mul(-BOUNCE, next[VY]);
    next[TOUCHES] = ag_add(s[TOUCHES], 1);
    return next[TOUCHES] != NULL;
}

static bool step(ag_tensor *const *s, int n, ag_tensor **next, void *user)
{
    ag_tensor *ahead[STATE];
    move(s, user, ahead);
    return ag_cond(ag_lt(ahead[Y], 0), bounce, fly, s, n, next, STATE, .user = ahead);
}

static ag_tensor *in_play(ag_tensor *const *s, int n, void *user)
{
    (void)n, (void)user;
    return ag_lt(s[TOUCHES], 3);
}

/* ---- the throw ---- */

typedef struct {
    ag_session *session;
    ag_tensor *velocity; /* a variable (2) of the session */
    ag_tensor *place, *steps, *gradient;
    ag_tensor *better; /* a step down the slope of (place - TARGET)^2 */
} simulation;

static simulation define(ag_graph *g)
{
    ag_context *c = ag_graph_context(g);
    ag_tensor *zero = ag_scalar(c, 0, .dtype = AG_F64), *none = ag_scalar(c, 0, .dtype = AG_I64);
    ag_tensor *first = ag_array(c, AG_VALUES(3, 2), AG_SHAPE(2), .dtype = AG_F64);
    ag_tensor *v = ag_variable(g, first, .name = "velocity"), *end[STATE];
    ag_tensor *start[] = {
        zero, ag_scalar(c, HEIGHT, .dtype = AG_F64), ag_select(v, 0, 0), ag_select(v, 0, 1), none,
        none
    };
    ag_while_loop(in_play, step, start, STATE, end, .user = ag_scalar(c, STEP, .dtype = AG_F64));

    simulation t = { ag_session_new(g), v, end[X], end[STEPS], NULL, NULL };
    ag_tensor *loss = ag_square(ag_sub(t.place, TARGET)), *slope;
    ag_grad(&t.place, 1, &v, 1, &t.gradient);
    ag_grad(&loss, 1, &v, 1, &slope);
    t.better = ag_assign_sub(v, ag_mul(RATE, slope));
    return t;
}

/* Where a throw at this velocity lands, whatever the variable holds: any tensor may be fed. */
static double landing_place(ag_context *c, const simulation *t, double vx, double vy)
{
    double place = 0;
    AG_SCOPE (c) {
        ag_tensor *v = ag_array(c, AG_VALUES(vx, vy), AG_SHAPE(2), .dtype = AG_F64), *result;
        ag_session_run(t->session, &(ag_feed){ t->velocity, v }, 1, &t->place, 1, &result);
        place = ag_item(result);
    }
    return place;
}

static void compare(ag_context *c, const simulation *t)
{
    const double h = 1e-6;
    ag_tensor *fetches[] = { t->place, t->steps, t->gradient }, *results[3];
    ag_session_run(t->session, NULL, 0, fetches, 3, results);
    printf("thrown at (3, 2) m/s, the ball lands at %.4f m after %g steps\n", ag_item(results[0]),
           ag_item(results[1]));
    printf("d place / d velocity    (%.4f, %.4f) s\n", ag_at(results[2], 0), ag_at(results[2], 1));
    printf("central difference      (%.4f, %.4f) s\n\n",
           (landing_place(c, t, 3 + h, 2) - landing_place(c, t, 3 - h, 2)) / (2 * h),
           (landing_place(c, t, 3, 2 + h) - landing_place(c, t, 3, 2 - h)) / (2 * h));
}

static void aim(ag_context *c, const simulation *t)
{
    ag_tensor *fetches[] = { t->velocity, t->place, t->steps, t->better }, *results[4];
    for (int i = 0; i <= 5; i++)
        AG_SCOPE (c) {
            ag_session_run(t->session, NULL, 0, fetches, 4, results);
            printf("throw %d at (%.3f, %.3f) m/s lands at %7.3f m after %3g steps\n", i,
                   ag_at(results[0], 0), ag_at(results[0], 1), ag_item(results[1]),
                   ag_item(results[2]));
        }
}

int main(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_graph *g = ag_graph_new(c);
    const simulation t = define(g);
    compare(c, &t);
    aim(c, &t);
    ag_session_free(t.session);
    ag_graph_free(g);
    ag_close(c);
    return 0;
}
