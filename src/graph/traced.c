/* See traced.h. */
#include "traced.h"

bool ag__traced_replay(ag_graph *g, ag__replay *rp)
{
    ag_context *c = rp->c;
    ag__region *const around = c->tracing;
    struct ag__saved_hooks *const hooks = c->saved_hooks;
    const bool anomaly = c->anomaly;
    ag_scope s;
    ag__bracket_begin(&s, c);
    c->tracing = &g->main;
    c->saved_hooks = NULL;
    c->anomaly = false;
    const bool ok = ag__replay_run(rp);
    c->anomaly = anomaly;
    c->saved_hooks = hooks;
    c->tracing = around;
    ag__bracket_end(&s);
    return ok;
}
