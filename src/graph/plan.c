/* See plan.h. */
#include "plan.h"

#include <string.h>

#include "replay.h"

struct ag__plan {
    ag_graph *g;
    int32_t *into;
};

ag__plan *ag__plan_new(ag_graph *g, const int32_t *into, int off)
{
    ag__plan *p = ag__alloc(g->c, sizeof *p);
    (void)off;
    if (p)
        *p = (ag__plan){ g, ag__graph_alloc(g, (size_t)g->main.n_outs * sizeof *into) };
    if (p && p->into) {
        memcpy(p->into, into, (size_t)g->main.n_outs * sizeof *into);
        return p;
    }
    ag__free(g->c, p, sizeof *p);
    ag_graph_free(g);
    return NULL;
}

bool ag__plan_run(ag__plan *p, ag_tensor *const *args, ag_tensor **results)
{
    ag_context *c = p->g->c;
    if (!ag__region_call(c, &p->g->main, args, results, false))
        return false;
    for (int j = 0; j < p->g->main.n_outs; j++) {
        ag_tensor *own = ag__contiguous_copy(results[j], (ag_dtype)results[j]->dtype);
        ag__tensor_unref(results[j]);
        results[j] = own;
    }
    for (int j = 0; j < p->g->main.n_outs; j++) {
        if (p->into[j] < 0)
            continue;
        ag__copy_data(args[p->into[j]], results[j]);
        ag__tensor_unref(results[j]);
        results[j] = NULL;
    }
    return true;
}

void ag__plan_free(ag__plan *p)
{
    if (!p)
        return;
    ag_context *c = p->g->c;
    ag_graph_free(p->g);
    ag__free(c, p, sizeof *p);
}

int ag__plan_steps(const ag__plan *p) { return p->g->main.n_insts; }
int ag__plan_nodes(const ag__plan *p) { return p->g->main.n_insts; }
size_t ag__plan_bytes(const ag__plan *p) { return (void)p, 0; }
