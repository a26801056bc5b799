/*
 * A hook for several tensors: a hook at each of them, its parts, and a handle that they own together.
 * The parts write the gradients of one pass into a record of that pass; the first part to be called
 * makes it, and counts how many of the tensors take part. It goes when the pass ends: gradients that
 * have a graph may lead back to the nodes whose hooks the parts are.
 */
#include <stddef.h>
#include <string.h>

#include "engine.h"
#include "hooks.h"
#include "meta.h"
#include "view.h"

typedef struct multi_record {
    struct multi_record *next;
    uint64_t pass;
    int expected, seen;
    bool called;
    ag_tensor *grads[]; /* owned */
} multi_record;

typedef struct {
    struct multi_hook *multi;
    ag_hook *hook; /* NULL once it is gone */
} multi_part;

typedef struct multi_hook {
    ag_hook handle; /* must be first */
    void (*call)(ag_tensor *const *grads, int n, void *user);
    bool any;
    int n, parts_left;
    int calling;           /* the hook is being called */
    multi_record *records; /* of passes that are under way; while there are some, */
    ag__pass_watch watch;  /* this is listed */
    multi_part parts[];
} multi_hook;

static size_t multi_record_bytes(const multi_hook *m)
{
    return sizeof(multi_record) + (size_t)m->n * sizeof(ag_tensor *);
}

/* Takes *at out of the list and frees it; m must outlive that. */
static void multi_free_record(multi_hook *m, multi_record **at)
{
    multi_record *r = *at;
    *at = r->next;
    if (!m->records)
        ag__pass_unwatch(&m->watch);
    for (int i = 0; i < m->n; i++)
        ag__tensor_unref(r->grads[i]);
    ag__free(m->handle.c, r, multi_record_bytes(m));
}

/* The record of the innermost pass. NULL when out of memory. */
static multi_record *multi_record_of(multi_hook *m)
{
    ag_context *c = m->handle.c;
    multi_record *r = m->records;
    while (r && r->pass != ag__pass_running(c))
        r = r->next;
    if (r)
        return r;
    r = ag__alloc(c, multi_record_bytes(m));
    if (!r)
        return NULL;
    memset(r, 0, multi_record_bytes(m));
    ag__pass_watch_add(c, &m->watch);
    r->next = m->records;
    r->pass = ag__pass_running(c);
    for (int i = 0; i < m->n; i++)
        r->expected += m->parts[i].hook && ag__node_in_pass(m->parts[i].hook->node);
    return m->records = r;
}

static void multi_unref(multi_hook *m)
{
    if (m->parts_left > 0 || m->calling > 0)
        return;
    m->handle.removed = true; /* for those who remove it when they are told */
    while (m->records)
        multi_free_record(m, &m->records);
    if (m->handle.free_user)
        m->handle.free_user(m->handle.user);
    ag__free(m->handle.c, m, sizeof *m + (size_t)m->n * sizeof *m->parts);
}

static bool multi_pass_ended(ag__pass_watch *watch, uint64_t ended)
{
    multi_hook *m = (multi_hook *)((char *)watch - offsetof(multi_hook, watch));
    multi_record **at = &m->records;
    while (*at && (*at)->pass != ended)
        at = &(*at)->next;
    if (!*at)
        return false;
    m->calling++; /* a gradient may be the last to hold nodes, and these m */
    multi_free_record(m, at);
    m->calling--;
    multi_unref(m);
    return true;
}

static ag_tensor *multi_part_call(ag_tensor *grad, void *user)
{
    const multi_part *part = user;
    multi_hook *m = part->multi;
    multi_record *r = multi_record_of(m);
    if (!r)
        return NULL;
    ag_tensor **slot = &r->grads[part - m->parts];
    ag__tensor_unref(*slot);
    *slot = grad ? ag__tensor_ref(grad) : NULL;
    r->seen++;
    if (r->called || (!m->any && r->seen < r->expected))
        return NULL;
    r->called = true;
    m->calling++;
    m->call(r->grads, m->n, m->handle.user);
    m->calling--;
    multi_unref(m);
    return NULL;
}

static void multi_part_gone(void *user)
{
    multi_part *part = user;
    part->hook = NULL;
    part->multi->parts_left--;
    multi_unref(part->multi);
}

void ag__multi_hook_remove(ag_hook *handle)
{
    multi_hook *m = (multi_hook *)handle;
    handle->removed = true;
    m->calling++; /* m outlives its parts until here */
    for (int i = 0; i < m->n; i++)
        if (m->parts[i].hook)
            ag_hook_remove(m->parts[i].hook);
    m->calling--;
    multi_unref(m);
}

ag_hook *(ag_register_multi_grad_hook)(ag_tensor *const *tensors, int n,
                                       void (*hook)(ag_tensor *const *grads, int n, void *user),
                                       void *user, const ag_multi_grad_options *options)
{
    static const char *const name = "ag_register_multi_grad_hook";
    ag_context *c = ag__list_context(tensors, n);
    if (!c)
        return NULL;
    for (int i = 0; i < n; i++) {
        if (!ag__list_check(c, name, "tensor", i, tensors[i]) || !ag__has_place(name, tensors[i]))
            return NULL;
        if (!ag__wants_grad_now(tensors[i]))
            return ag__fail(c, AG_ERR_GRAD,
                            "%s: cannot register a hook on a tensor that doesn't require gradient "
                            "[tensor %d]",
                            name, i);
    }
    if (!hook)
        return ag__fail(c, AG_ERR_VALUE, "%s: hook is NULL", name);
    const size_t bytes = sizeof(multi_hook) + (size_t)n * sizeof(multi_part);
    multi_hook *m = ag__alloc(c, bytes);
    if (!m)
        return NULL;
    memset(m, 0, bytes);
    m->handle = (ag_hook){ .c = c, .kind = AG_HOOK_MULTI };
    m->watch.ended = multi_pass_ended;
    m->call = hook;
    m->any = options && options->any;
    m->n = n;
    for (int i = 0; i < n; i++) {
        m->parts[i] =
            (multi_part){ m, ag_register_hook(tensors[i], multi_part_call, &m->parts[i]) };
        if (!m->parts[i].hook) {
            ag__multi_hook_remove(&m->handle);
            return NULL;
        }
        ag_hook_set_free(m->parts[i].hook, multi_part_gone);
        m->parts_left++;
    }
    m->handle.user = user;
    return &m->handle;
}
