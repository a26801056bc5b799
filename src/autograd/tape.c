/* See tape.h. */
#include "tape.h"

#include <string.h>

ag__step *ag__tape_step(const ag__tape *tape, const ag_node *node)
{
    if (!node || node->seq < tape->from || node->seq - tape->from >= (uint64_t)tape->n)
        return NULL;
    ag__step *s = &tape->steps[node->seq - tape->from];
    return s->node == node ? s : NULL;
}

/* The place of a node that was not met before, or NULL. */
static ag__step *tape_new_step(const ag__tape *tape, const ag_node *node)
{
    if (!node || node->seq < tape->from || node->seq - tape->from >= (uint64_t)tape->n)
        return NULL;
    ag__step *s = &tape->steps[node->seq - tape->from];
    return s->node ? NULL : s;
}

/* Enters all nodes behind the roots; their edges stay where they are. */
static void tape_discover(ag__tape *tape, ag_tensor *const *roots, int n)
{
    ag__step *next = NULL;
    for (int i = 0; i < n; i++) {
        ag__step *s = roots[i] ? tape_new_step(tape, roots[i]->grad_fn) : NULL;
        if (s) {
            *s = (ag__step){ .node = roots[i]->grad_fn, .to = next };
            next = s;
        }
    }
    while (next) {
        const ag_node *node = next->node;
        next = next->to;
        for (int i = 0; i < node->n_in; i++) {
            ag__step *s = tape_new_step(tape, node->edges[i].node);
            if (s) {
                *s = (ag__step){ .node = node->edges[i].node, .to = next };
                next = s;
            }
        }
    }
}

static void tape_count(ag__tape *tape)
{
    for (int64_t k = 0; k < tape->n; k++) {
        const ag_node *node = tape->steps[k].node;
        if (!node)
            continue;
        tape->steps[k].outputs = tape->n_outputs;
        tape->n_outputs += node->n_out;
        tape->n_edges += node->n_in;
        tape->max_in = node->n_in > tape->max_in ? node->n_in : tape->max_in;
        tape->max_out = node->n_out > tape->max_out ? node->n_out : tape->max_out;
    }
}

static void tape_take_edges(ag__tape *tape)
{
    ag__edge *at = tape->edges;
    for (int64_t k = 0; k < tape->n; k++) {
        ag__step *s = &tape->steps[k];
        s->edges = at;
        for (int i = 0; s->node && i < s->node->n_in; i++) {
            *at++ = s->node->edges[i];
            s->node->edges[i].node = NULL;
        }
    }
}

bool ag__tape_open(ag__tape *tape, ag_context *c, uint64_t from, ag_tensor *const *roots, int n)
{
    *tape = (ag__tape){ .c = c, .from = from, .n = (int64_t)(c->next_seq - from) };
    const size_t bytes = (size_t)tape->n * sizeof(ag__step);
    tape->steps = ag__alloc(c, bytes);
    if (!tape->steps)
        return false;
    memset(tape->steps, 0, bytes);
    tape_discover(tape, roots, n);
    tape_count(tape);
    tape->edges = ag__alloc(c, (size_t)tape->n_edges * sizeof(ag__edge));
    if (!tape->edges) {
        ag__free(c, tape->steps, bytes);
        return false;
    }
    tape_take_edges(tape);
    return true;
}

static bool tape_is_alive(const ag__tape *tape, const ag_node *to)
{
    const ag__step *s = ag__tape_step(tape, to);
    if (!to || s)
        return s && s->alive;
    const ag_tensor *leaf = ag__node_leaf(to);
    for (int i = 0; leaf && i < tape->n_hidden; i++)
        if (tape->hidden[i] == leaf)
            return false;
    return true;
}

bool ag__tape_mark(ag__tape *tape, ag_tensor *const *hidden, int n)
{
    bool any = false;
    tape->hidden = hidden;
    tape->n_hidden = n;
    for (int64_t k = 0; k < tape->n; k++) {
        ag__step *s = &tape->steps[k];
        for (int i = 0; s->node && i < s->node->n_in && !s->alive; i++)
            s->alive = tape_is_alive(tape, s->edges[i].node);
        any = any || s->alive;
    }
    return any;
}

/* Dropping an edge may free the node it leads to, which stands before and is done with. */
void ag__tape_close(ag__tape *tape, bool living_only)
{
    for (int64_t k = 0; k < tape->n; k++) {
        ag__step *s = &tape->steps[k];
        for (int i = 0; s->node && i < s->node->n_in; i++) {
            if (living_only && !tape_is_alive(tape, s->edges[i].node))
                ag__node_unref(s->edges[i].node);
            else
                s->node->edges[i] = s->edges[i];
        }
    }
    ag__free(tape->c, tape->edges, (size_t)tape->n_edges * sizeof(ag__edge));
    ag__free(tape->c, tape->steps, (size_t)tape->n * sizeof(ag__step));
}
