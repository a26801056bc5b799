/*
 * Loops of a plan that go back, by the schedule of revolve.h. Snapshots are copies of states in a
 * buffer that the plan keeps from run to run.
 */
#include <string.h>

#include "../autograd/revolve.h"
#include "plan_parts.h"

/* Between the carries and a snapshot. */
static void exec_back_move(const plan_back *b, int slot, bool store)
{
    char *at = b->kept->data + (size_t)slot * b->bytes;
    for (int j = 0; j < b->n_states; j++) {
        const size_t bytes = ag__plan_size(b->states[j]);
        char *state = ag__at(b->states[j]);
        if (bytes)
            memcpy(store ? at : state, store ? state : at, bytes);
        at += bytes;
    }
}

static bool exec_back_step(ag__plan *p, const plan_loop *l)
{
    return ag__goes_on(p->c) && ag__exec_block(p, l->body);
}

static bool exec_back_follow(ag__plan *p, const plan_back *b, ag__revolve *plan)
{
    for (;;) {
        const ag__revolve_action a = ag__revolve_next(plan);
        const int64_t forward = b->n_states && a.kind == AG_REVOLVE_ADVANCE ? a.to - a.step : 0;
        if (a.kind == AG_REVOLVE_DONE)
            return true;
        if (a.kind == AG_REVOLVE_STORE || a.kind == AG_REVOLVE_RESTORE)
            exec_back_move(b, a.slot, a.kind == AG_REVOLVE_STORE);
        for (int64_t step = 0; step < forward; step++)
            if (!exec_back_step(p, b->forward))
                return false;
        if (a.kind == AG_REVOLVE_REVERSE && !exec_back_step(p, b->backward))
            return false;
    }
}

bool ag__exec_back(ag__plan *p, const plan_back *b)
{
    const int64_t steps = ag__load_int((ag_dtype)b->length_of->dtype, ag__at(b->length_of), 0);
    const int room = ag__revolve_room(b->snapshots, steps);
    if (!ag__plan_room(p, b->kept, (size_t)room * b->bytes, 0) ||
        !ag__plan_room(p, b->numbers, (size_t)room * sizeof(int64_t), 0))
        return false;
    ag__revolve plan;
    ag__revolve_begin(&plan, steps, room, (int64_t *)(void *)b->numbers->data);
    ag__exec_began(b->forward);
    ag__exec_began(b->backward);
    const bool ok = exec_back_follow(p, b, &plan);
    ag__exec_return(b->forward);
    ag__exec_return(b->backward);
    return ok;
}
