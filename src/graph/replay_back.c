/*
 * A `while_back` that is interpreted: the schedule of revolve.h says which states are kept, and
 * when steps run again.
 */
#include <string.h>

#include "../autograd/revolve.h"
#include "traced.h"

typedef struct {
    ag__replay *rp;
    const ag__region *step;
    int n, n_carry; /* states; and all of the carry */
    ag__revolve plan;
    ag_tensor **args; /* of the region; the carry is owned */
    ag_tensor **room; /* for the results of a part */
    ag_tensor **kept; /* plan.room states, owned or NULL */
} retrace_run;

/* Results of the region from `from` to `to` take the place of the carry. */
static bool retrace_part(const retrace_run *b, int from, int to)
{
    ag_context *c = b->rp->c;
    const ag__part part = {
        c, b->step, b->step->params, b->step->outs + from, b->step->n_params, to - from
    };
    ag_scope scope;
    ag__bracket_begin(&scope, c);
    bool ok = ag__goes_on(c) && ag__part_replay(&part, b->args, b->room);
    for (int j = from; j < to && ok; j++)
        ag__tensor_ref(b->room[j - from]);
    for (int j = from; j < to && ok; j++) {
        ag__tensor_unref(b->args[j]);
        b->args[j] = b->room[j - from];
    }
    ag__bracket_end(&scope);
    return ok;
}

static void retrace_set(ag_tensor **to, ag_tensor *const *from, int n)
{
    for (int j = 0; j < n; j++) {
        if (from)
            ag__tensor_ref(from[j]);
        ag__tensor_unref(to[j]);
        to[j] = from ? from[j] : NULL;
    }
}

static bool retrace_follow(retrace_run *b)
{
    for (;;) {
        const ag__revolve_action a = ag__revolve_next(&b->plan);
        ag_tensor **slot = b->kept + (size_t)a.slot * (size_t)b->n;
        bool ok = true;
        switch (a.kind) {
        case AG_REVOLVE_STORE: retrace_set(slot, b->args, b->n); break;
        case AG_REVOLVE_RESTORE: retrace_set(b->args, slot, b->n); break;
        case AG_REVOLVE_DROP: retrace_set(slot, NULL, b->n); break;
        case AG_REVOLVE_ADVANCE:
            for (int64_t step = a.step; step < a.to && ok; step++)
                ok = retrace_part(b, 0, b->n);
            break;
        case AG_REVOLVE_REVERSE: ok = retrace_part(b, b->n, b->n_carry); break;
        case AG_REVOLVE_DONE: return true;
        }
        if (!ok)
            return false;
    }
}

/* With a tape all states are kept anyway. */
static int retrace_slots(const retrace_run *b, const ag__inst *i, int64_t steps)
{
    const int64_t snapshots = i->attrs->list[AG_FLOW_SNAPSHOTS];
    return ag__revolve_room(b->rp->c->grad_enabled ? steps : snapshots, steps);
}

static bool retrace_run_all(retrace_run *b, const ag__inst *i, ag_tensor *const *in,
                            ag_tensor **out)
{
    const int n_params = b->step->n_params, skip = i->n_in - n_params; /* the length */
    for (int p = 0; p < n_params; p++)
        b->args[p] = in[p < b->n_carry ? p : p + skip];
    for (int j = 0; j < b->n_carry; j++)
        ag__tensor_ref(b->args[j]);
    const bool ok = retrace_follow(b);
    for (int k = 0; k < b->plan.room; k++)
        retrace_set(b->kept + (size_t)k * (size_t)b->n, NULL, b->n);
    for (int j = 0; j < b->n_carry; j++) {
        if (ok)
            out[j] = ag__tensor_ref(j < b->n ? in[j] : b->args[j]);
        ag__tensor_unref(b->args[j]);
    }
    return ok;
}

bool ag__replay_back(ag__replay *rp, const ag__inst *i, ag_tensor *const *in, ag_tensor **out)
{
    ag_context *c = rp->c;
    retrace_run b = { .rp = rp,
                      .step = i->regions[0],
                      .n = (int)i->attrs->i[0],
                      .n_carry = (int)i->attrs->list[AG_FLOW_CARRY] };
    const ag_tensor *length = in[b.n_carry];
    const int64_t steps = ag__load_int((ag_dtype)length->dtype, ag__at(length), 0);
    const int slots = retrace_slots(&b, i, steps);
    const size_t n_args = (size_t)b.step->n_params + (size_t)b.n_carry;
    const size_t bytes = (n_args + (size_t)slots * (size_t)b.n) * sizeof *b.args;
    int64_t *numbers = ag__alloc(c, (size_t)slots * sizeof *numbers);
    b.args = ag__alloc(c, bytes);
    bool ok = numbers && b.args;
    if (ok) {
        memset(b.args, 0, bytes);
        b.room = b.args + b.step->n_params;
        b.kept = b.args + n_args;
        ag__revolve_begin(&b.plan, steps, slots, numbers);
        ok = retrace_run_all(&b, i, in, out);
    }
    ag__free(c, b.args, bytes);
    ag__free(c, numbers, (size_t)slots * sizeof *numbers);
    return ok;
}
