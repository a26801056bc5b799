/* Loops and branches as their callers gave them. See flow.c, flow_record.c. */
#ifndef AG_GRAPH_FLOW_H
#define AG_GRAPH_FLOW_H

#include "rows.h"

typedef struct {
    ag_cond_fn cond;
    ag_body_fn body;
    int n;
    const ag_while_options *options;
    int64_t limit;        /* of iterations that are left; 0: none */
    ag__region *symbolic; /* where the condition's result belongs, when only that is symbolic */
} ag__while_call;

typedef struct {
    ag_context *c;
    ag_scan_fn fn;
    ag_tensor *const *init, *const *xs;
    int n, k, m;
    const ag_scan_options *options;
    int64_t length; /* -1: the xs' first dims are not known yet */
} ag__scan_call;

/* The index of a branch as one there is. */
static inline int ag__flow_branch(int64_t index, int n)
{
    return index < 0 || index >= n ? n - 1 : (int)index;
}
bool ag__flow_check_list(const char *op, ag_context *c, const char *what, ag_tensor *const *list,
                         int n);
/* t has one element, as far as is known. */
bool ag__flow_pred(const char *op, const char *what, const ag_tensor *t);
bool ag__flow_given(const char *op, ag_context *c, const char *what, bool ok, ag_tensor *const *out,
                    int n);

/* As instructions of a graph; results belong to the innermost scope. */
bool ag__while_record(const ag__while_call *w, ag_tensor *const *vars, ag_tensor **out);
bool ag__branches_record(const char *op, ag_tensor *index, const ag_fn *fns, int n_fns,
                         ag_tensor *const *in, int n, ag_tensor **out, int m, void *user);
bool ag__scan_record(const ag__scan_call *s, ag_tensor **carry_out, ag_tensor **ys);
/* ys of a scan without steps: the function is traced for their shapes. */
bool ag__scan_empty(const ag__scan_call *s, ag_tensor **ys);

#endif
