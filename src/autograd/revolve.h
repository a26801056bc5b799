/*
 * The binomial schedule: how to run a sequence of steps backwards while few of its states are kept.
 *
 * Step i leads from state i to state i + 1, and reversing it needs state i. With s snapshots, of which
 * none forgets the beginning, beta(s, t) = C(s + t, s) steps can be reversed when no step is run more
 * than t times: the snapshot after the first divides them into beta(s, t - 1) steps before and
 * beta(s - 1, t) behind it. Placing each snapshot by that division runs the fewest steps: Griewank and
 * Walther, "Algorithm 799: revolve", ACM Transactions on Mathematical Software 26 (2000).
 *
 * The planner gives one action after the other and knows nothing of states. It has always got one
 * current state, beside those that are kept.
 */
#ifndef AG_AUTOGRAD_REVOLVE_H
#define AG_AUTOGRAD_REVOLVE_H

#include <stdint.h>

typedef enum {
    AG_REVOLVE_STORE,   /* keep the current state as snapshot `slot` */
    AG_REVOLVE_ADVANCE, /* run the steps from the current state to state `to` */
    AG_REVOLVE_REVERSE, /* reverse step `step`, of which the current state is the beginning */
    AG_REVOLVE_DROP,    /* snapshot `slot`, the newest, is not needed any more */
    AG_REVOLVE_RESTORE, /* snapshot `slot`, the newest, becomes the current state: state `step` */
    AG_REVOLVE_DONE
} ag__revolve_kind;

typedef struct {
    ag__revolve_kind kind;
    int slot;
    int64_t step, to;
} ag__revolve_action;

typedef struct {
    int64_t at;    /* the current state; -1 after a reversed step */
    int64_t end;   /* steps that are yet to be reversed */
    int n, room;   /* snapshots, and how many there may be */
    int64_t *kept; /* the states that they are, in order */
} ag__revolve;

/* The most steps of a plan, so that sums of them fit. */
#define AG__REVOLVE_MAX ((int64_t)1 << 40)

/* Begins a plan for steps >= 0 and snapshots >= 1; kept[0..snapshots) is the planner's to use. The
 * current state is state 0, which takes a snapshot unless it is reversed at once. */
void ag__revolve_begin(ag__revolve *r, int64_t steps, int snapshots, int64_t *kept);
/* So many snapshots are worth it, and as many as steps at most. */
static inline int ag__revolve_room(int64_t snapshots, int64_t steps)
{
    const int64_t most = snapshots < steps ? snapshots : steps;
    return most < 1 ? 1 : most > INT32_MAX ? INT32_MAX : (int)most;
}
ag__revolve_action ag__revolve_next(ag__revolve *r);
/* How many steps a plan advances in all; INT64_MAX when they are more. */
int64_t ag__revolve_cost(int64_t steps, int snapshots);

#endif
