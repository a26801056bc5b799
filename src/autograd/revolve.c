/* See revolve.h. */
#include "revolve.h"

#include "../../include/autograd.h"

/* b p / q, which is whole. */
static int64_t revolve_scale(int64_t b, int64_t p, int64_t q) { return b / q * p + b % q * p / q; }

/* The r with beta(s, r - 1) < steps <= beta(s, r), for steps >= 2, and *below = beta(s, r - 1). */
static int64_t revolve_repeats(int64_t steps, int64_t s, int64_t *below)
{
    if (s == 1) {
        *below = steps - 1; /* beta(1, r) = r + 1 */
        return steps - 1;
    }
    int64_t r = 1, beta = s + 1;
    *below = 1;
    while (beta < steps) {
        r++;
        *below = beta;
        beta = revolve_scale(beta, s + r, r);
    }
    return r;
}

/* How far to advance from a snapshot, the first of s, before the next one is taken or, when there is
 * no other, the last of `steps` steps is reversed. */
static int64_t revolve_split(int64_t steps, int s)
{
    int64_t before; /* the most steps to leave before the next snapshot: beta(s, r - 1) */
    const int64_t r = revolve_repeats(steps, s, &before);
    const int64_t behind = revolve_scale(before, s, s + r - 1); /* the fewest behind it */
    return before < steps - behind ? before : steps - behind;
}

int64_t ag__revolve_cost(int64_t steps, int snapshots)
{
    if (steps < 2)
        return 0;
    if (snapshots == 1)
        return steps > (int64_t)1 << 32 ? INT64_MAX
               : steps % 2              ? (steps - 1) / 2 * steps
                                        : steps / 2 * (steps - 1);
    int64_t below;
    const int64_t s = snapshots, r = revolve_repeats(steps, s, &below);
    /* r steps - beta(s + 1, r - 1), as beta(s + 1, r - 1) = beta(s, r - 1) (s + r) / (s + 1) */
    return r * steps - revolve_scale(below, s + r, s + 1);
}

void ag__revolve_begin(ag__revolve *r, int64_t steps, int snapshots, int64_t *kept)
{
    *r = (ag__revolve){ .end = steps, .room = snapshots, .kept = kept };
}

ag__revolve_action ag__revolve_next(ag__revolve *r)
{
    const int top = r->n - 1;
    if (r->n > 0 && r->kept[top] >= r->end) {
        r->n--;
        return (ag__revolve_action){ .kind = AG_REVOLVE_DROP, .slot = top };
    }
    if (r->end == 0)
        return (ag__revolve_action){ .kind = AG_REVOLVE_DONE };
    if (r->at < 0) {
        r->at = r->kept[top];
        return (ag__revolve_action){ .kind = AG_REVOLVE_RESTORE, .slot = top, .step = r->at };
    }
    const ag__revolve_action here = { .kind = AG_REVOLVE_REVERSE, .step = r->at };
    if (r->at == r->end - 1) {
        r->end--;
        r->at = -1;
        return here;
    }
    if (r->n == 0 || r->kept[top] != r->at) {
        r->kept[r->n++] = r->at;
        return (ag__revolve_action){ .kind = AG_REVOLVE_STORE, .slot = top + 1, .step = r->at };
    }
    r->at += revolve_split(r->end - r->at, r->room - top);
    return (ag__revolve_action){ .kind = AG_REVOLVE_ADVANCE, .step = here.step, .to = r->at };
}

/* A pass comes after the whole sequence was run: it is as if a step followed that costs nothing. */
int64_t ag_checkpoint_sequence_cost(int64_t steps, int snapshots)
{
    if (steps < 0 || steps >= AG__REVOLVE_MAX || snapshots < 1)
        return -1;
    return ag__revolve_cost(steps + 1, snapshots);
}
