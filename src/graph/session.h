/* Sessions: a graph with values for its variables, and what was found out about running it. */
#ifndef AG_GRAPH_SESSION_H
#define AG_GRAPH_SESSION_H

#include "planned.h"

/* A plan for given values of some shapes. */
typedef struct ag__session_plan {
    struct ag__session_plan *next;
    ag__plan *plan; /* NULL: it is run step by step */
    int n_inputs, n_assigned, n_shapes;
    int32_t *inputs;   /* values that are given */
    int32_t *assigned; /* variables that are assigned */
    int32_t *into;     /* see plan.h: of fetches, then of what is assigned */
    int64_t *shapes;   /* of the inputs, one behind the other */
} ag__session_plan;

/* What one choice of fetches and fed tensors needs. */
typedef struct {
    ag__schedule schedule;
    ag__session_plan *plans; /* the latest first */
    int n_plans;
    int32_t *key; /* fetches, then what is fed */
    int n_fetches, n_feeds;
    uint64_t used; /* when it was run last */
} ag__choice;

enum { AG_CHOICES = 16, AG_PLANS = 16 };

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

/* The plan of a choice for values[v], what is given, made if need be; NULL with an error. */
ag__session_plan *ag__session_planned(ag_session *s, ag__choice *choice, ag_tensor *const *values);
/* Runs it: results of fetches given to the innermost scope, variables written. */
bool ag__session_plan_run(ag_session *s, ag__choice *choice, const ag__session_plan *p,
                          ag_tensor *const *values, ag_tensor **results);
void ag__session_plans_free(ag_session *s, ag__choice *choice);

#endif
