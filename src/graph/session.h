/* Sessions: a graph with values for its variables, and what was found out about running it. */
#ifndef AG_GRAPH_SESSION_H
#define AG_GRAPH_SESSION_H

#include "replay.h"

/* What one choice of fetches and fed tensors needs. */
typedef struct {
    ag__schedule schedule;
    int32_t *key; /* fetches, then what is fed */
    int n_fetches, n_feeds;
    uint64_t used; /* when it was run last */
} ag__choice;

enum { AG_CHOICES = 16 };

struct ag_session {
    ag_context *c;
    ag_graph *of; /* the user's graph, whose tensors are fed and fetched */
    ag_graph *g;  /* the same, or its copy in this session's context */
    ag_session_options options;
    bool closed;
    ag_tensor **vars; /* by value, NULL where there is no variable, or none that has a value */
    int n_vars;
    ag__choice choices[AG_CHOICES];
    int n_choices;
    ag_session_statistics stats;
};

#endif
