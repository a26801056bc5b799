/*
 * What a graph keeps for backward: asking for it by operation, and keeping it in files instead of in
 * memory, once by hooks of one's own that write .npy files and once by ag_saved_offload_push. Any error
 * ends the program with its message.
 */
#include <autograd.h>

#include <stdio.h>
#include <stdlib.h>

/* Ten layers of 256 neurons on a batch of 512, summed. */
static ag_tensor *network(ag_context *c, ag_tensor *weight)
{
    ag_manual_seed(c, 1);
    ag_tensor *h = ag_randn(c, AG_SHAPE(512, 256));
    for (int i = 0; i < 10; i++)
        h = ag_tanh(ag_matmul(h, weight));
    return ag_sum(ag_mul(h, h));
}

static void tell(ag_context *c, const char *how, ag_tensor *loss, ag_tensor *weight)
{
    ag_memory_statistics stats;
    ag_memory_stats(c, &stats);
    ag_backward(loss);
    printf("%-12s %8zu bytes saved in memory, d loss / d w[0][0] = %.6f\n", how, stats.saved_bytes,
           ag_at(ag_grad_of(weight), 0, 0));
    ag_zero_grad(weight);
}

/* ---- hooks that write each value to a file of its own ---- */

typedef struct {
    ag_context *c;
    int written;
} folder;

static void *to_file(ag_tensor *t, void *user)
{
    folder *f = user;
    char *path = malloc(64);
    if (!path) {
        ag_fail(f->c, AG_ERR_MEMORY, "no memory for a path");
        return NULL;
    }
    snprintf(path, 64, "saved-%d.npy", f->written++);
    ag_save_npy(t, path);
    return path;
}

static ag_tensor *from_file(void *path, void *user)
{
    const folder *f = user;
    return ag_load_npy(f->c, path);
}

static void remove_file(void *path, void *user)
{
    (void)user;
    remove(path);
    free(path);
}

int main(void)
{
    ag_context *c = ag_open(.on_error = ag_print_and_exit);
    ag_tensor *weight = ag_mul(ag_randn(c, AG_SHAPE(256, 256)), .06);
    weight = ag_requires_grad_(ag_detach(weight), true);

    ag_tensor *loss = network(c, weight);
    ag_saved_use uses[4];
    const int n = ag_saved_bytes(loss, uses, 4);
    for (int i = 0; i < n && i < 4; i++)
        printf("%-14s %3d nodes, %3d values, %8zu bytes\n", uses[i].operation, (int)uses[i].nodes,
               (int)uses[i].values, uses[i].bytes);
    tell(c, "in memory:", loss, weight);

    folder files = { c, 0 };
    ag_saved_hooks_push(c, to_file, from_file, &files, .free_packed = remove_file);
    loss = network(c, weight);
    ag_saved_hooks_pop(c);
    tell(c, "npy files:", loss, weight);

    ag_saved_offload_push(c, ".", .min_bytes = 1024);
    loss = network(c, weight);
    ag_saved_hooks_pop(c);
    tell(c, "offloaded:", loss, weight);
    ag_close(c);
    return 0;
}
