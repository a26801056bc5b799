/*
 * Memory for time: the gradient of a simulation of 1,000 steps, with everything kept for the backward
 * pass, in checkpoints of 32 steps each, and as a sequence that keeps 10 states.
 *
 * A drum: u'' = c^2 (u_xx + u_yy) - d u' on a grid, in small steps of time. The gradient of the energy
 * at the end with respect to the first shape of the drum, and to its damping d, is the same in all
 * three; what differs is the memory, and how often a step is computed.
 */
#include <autograd.h>

#include <stdio.h>

enum { SIZE = 32, STEPS = 1000, SEGMENT = 32, SNAPSHOTS = 10 };

typedef struct {
    ag_tensor *damping;
    int runs; /* of a step */
} drum;

/* The sum of the four neighbours less four times the element; the edge of the drum is at rest. */
static ag_tensor *laplacian(ag_tensor *u)
{
    ag_context *c = ag_context_of(u);
    ag_tensor *row = ag_zeros(c, AG_SHAPE(1, SIZE)), *column = ag_zeros(c, AG_SHAPE(SIZE, 1));
    ag_tensor *down = ag_cat((ag_tensor *[]){ row, ag_narrow(u, 0, 0, SIZE - 1) }, 2, 0);
    ag_tensor *up = ag_cat((ag_tensor *[]){ ag_narrow(u, 0, 1, SIZE - 1), row }, 2, 0);
    ag_tensor *right = ag_cat((ag_tensor *[]){ column, ag_narrow(u, 1, 0, SIZE - 1) }, 2, 1);
    ag_tensor *left = ag_cat((ag_tensor *[]){ ag_narrow(u, 1, 1, SIZE - 1), column }, 2, 1);
    return ag_sub(ag_add(ag_add(down, up), ag_add(right, left)), ag_mul(u, 4));
}

/* From (u, u') to the state a little later. The damping is captured. */
static bool step(int64_t i, ag_tensor *const *in, int n, ag_tensor **out, void *user)
{
    drum *d = user;
    (void)i, (void)n;
    d->runs++;
    ag_tensor *force = ag_sub(laplacian(in[0]), ag_mul(in[1], d->damping));
    out[1] = ag_add(in[1], ag_mul(force, 0.1));
    out[0] = ag_add(in[0], ag_mul(out[1], 0.1));
    return out[0] != NULL;
}

static bool steps(int64_t n, ag_tensor **state, drum *d)
{
    for (int64_t i = 0; i < n; i++)
        AG_SCOPE (ag_context_of(state[0])) {
            ag_tensor *in[] = { state[0], state[1] };
            if (!step(i, in, 2, state, d))
                return false;
            ag_keep(state[0]);
            ag_keep(state[1]);
        }
    return true;
}

static bool segment(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    out[0] = in[0];
    out[1] = in[1];
    return steps(SEGMENT, out, user);
}

typedef enum { PLAIN, CHECKPOINTS, SEQUENCE } way;

static bool simulate(way how, ag_tensor **state, drum *d)
{
    bool ok = true;
    switch (how) {
    case PLAIN: return steps(STEPS, state, d);
    case CHECKPOINTS:
        for (int i = 0; i < STEPS / SEGMENT && ok; i++)
            ok = ag_checkpoint(segment, state, 2, state, 2, d);
        return ok && steps(STEPS % SEGMENT, state, d);
    case SEQUENCE:
        return ag_checkpoint_sequence(step, STEPS, state, 2, state, d, .snapshots = SNAPSHOTS);
    }
    return false;
}

/* A bump in the middle. */
static ag_tensor *first_shape(ag_context *c)
{
    ag_tensor *x = ag_linspace(c, -3, 3, SIZE), *bump = ag_exp(ag_neg(ag_square(x)));
    ag_tensor *u = ag_mul(ag_unsqueeze(bump, 0), ag_unsqueeze(bump, 1));
    return ag_requires_grad_(u, true);
}

static void run(const char *name, way how)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    drum d = { .damping = ag_scalar(c, 0.02, .requires_grad = true) };
    ag_tensor *u = first_shape(c), *state[] = { u, ag_zeros_like(u) };
    ag_memory_statistics kept, end;
    simulate(how, state, &d);
    ag_memory_stats(c, &kept);
    ag_backward(ag_sum(ag_add(ag_square(state[0]), ag_square(state[1]))));
    ag_memory_stats(c, &end);
    printf("%-12s %12.2f %12.2f %12d %14.6f %14.6f\n", name, (double)kept.saved_bytes / 1e6,
           (double)end.peak_bytes / 1e6, d.runs, ag_item(ag_grad_of(d.damping)),
           ag_at(ag_grad_of(u), SIZE / 2, SIZE / 2));
    ag_close(c);
}

int main(void)
{
    printf("%-12s %12s %12s %12s %14s %14s\n", "", "kept, MB", "peak, MB", "steps run",
           "d/d damping", "d/d centre");
    run("plain", PLAIN);
    run("checkpoints", CHECKPOINTS);
    run("sequence", SEQUENCE);
    printf("With %d snapshots, %d steps are run %lld times at the least, and once more each.\n",
           SNAPSHOTS, STEPS, (long long)ag_checkpoint_sequence_cost(STEPS, SNAPSHOTS));
    return 0;
}
