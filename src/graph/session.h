/* Sessions: a graph with values for its variables, and what was found out about running it. */
#ifndef AG_GRAPH_SESSION_H
#define AG_GRAPH_SESSION_H

#include "planned.h"

/* A plan for given values of some shapes. */
typedef struct ag__session_plan {
    struct ag__session_plan *next;
    ag__plan *plan; /* NULL: it is run step by step */
    int n_shapes;
    int32_t *into;   /* see plan.h: of fetches, then of what is assigned */
    int64_t *shapes; /* of what is given, one behind the other */
    ag_tensor **out; /* room for what a run computes: of fetches, then of what is assigned */
} ag__session_plan;

/* A value that a run must be given: by a feed, or (-1) by the session, whose variable it is. */
typedef struct {
    int32_t value, feed;
} ag__given;

/* What one choice of fetches and fed tensors needs. */
typedef struct {
    ag__schedule schedule;
    int32_t *key; /* fetches, then what is fed */
    int n_fetches, n_feeds, n_given, n_assigned;
    ag__given *given;        /* by value */
    ag_tensor **args;        /* room for what a run is given, likewise */
    int32_t *assigned;       /* variables that are assigned, each once */
    int32_t missing;         /* a placeholder that is needed and not fed; -1: there is none */
    ag__session_plan *plans; /* the latest first */
    int n_plans;
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
    int32_t *key; /* room for the key of a run */
    int key_room;
    ag_session_statistics stats;
};

/* The choice of a key, made if need be; NULL with an error. See choice.c. */
ag__choice *ag__session_choice(ag_session *s, const int32_t *key, int n_fetches, int n_feeds);
void ag__session_choice_free(ag_session *s, ag__choice *k);

/* The plan of a choice for its args, made if need be; NULL with an error. See session_plan.c. */
ag__session_plan *ag__session_planned(ag_session *s, ag__choice *choice);
/* Runs it: results of fetches given to the innermost scope, variables written. */
bool ag__session_plan_run(ag_session *s, const ag__choice *choice, const ag__session_plan *p,
                          ag_tensor **results);
void ag__session_plans_free(ag_session *s, ag__choice *choice);

#endif
