/* All passes, in order. */
#include "passes.h"

ag_graph *ag__optimize(ag_graph *g, int off,
                       void (*dump)(const char *pass, const char *graph, void *user), void *user)
{
    (void)off, (void)dump, (void)user;
    return g;
}
