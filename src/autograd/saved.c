/* Keeping, packing and giving up saved values; the stack of hooks. See saved.h. */
#include "saved.h"

#include <stdio.h>
#include <string.h>

/* A value that went through a pack hook. */
typedef struct ag__packed {
    ag__saved_hooks *hooks;
    void *packed;
    uint8_t dtype, ndim;
    int64_t shape[];
} ag__packed;

/* ---- packing ---- */

static size_t saved_packed_bytes(int ndim)
{
    return sizeof(ag__packed) + (size_t)ndim * sizeof(int64_t);
}

void ag__saved_hooks_unref(ag_context *c, ag__saved_hooks *h)
{
    if (--h->refs > 0)
        return;
    if (h->free_user)
        h->free_user(h->user);
    ag__free(c, h, sizeof *h);
}

static void saved_free_packed(ag_context *c, ag__packed *p)
{
    if (p->hooks->free_packed)
        p->hooks->free_packed(p->packed, p->hooks->user);
    ag__saved_hooks_unref(c, p->hooks);
    ag__free(c, p, saved_packed_bytes(p->ndim));
}

/* Calls pack, for n, outside the graph and looks whether it did what it may. */
static bool saved_call_pack(const ag_node *n, ag__saved_hooks *h, ag_tensor *t, void **packed)
{
    ag_context *c = t->c;
    const unsigned failures = c->failures;
    const uint32_t version = t->storage->version;
    const bool recording = c->grad_enabled;
    const ag_tensor *writing = c->writing;
    const ag_node *saving = c->saving;
    c->grad_enabled = false;
    c->writing = NULL;
    c->saving = n;
    *packed = h->pack(t, h->user);
    c->saving = saving;
    c->writing = writing;
    c->grad_enabled = recording;
    const bool failed = ag__failed_since(c, failures);
    if (!failed && t->storage->version == version)
        return true;
    if (h->free_packed && (*packed || !failed))
        h->free_packed(*packed, h->user);
    return !failed &&
           ag_fail(c, AG_ERR_GRAD,
                   "A saved tensor pack hook is modifying its input in place. Tensors provided as "
                   "input to pack hook can not be modified by in-place operations as this can lead "
                   "to unexpected side-effects. Please open an issue if you need to perform "
                   "in-place operations on the input to a pack hook.");
}

static bool saved_pack(ag_node *n, ag__saved *s, ag__saved_hooks *h, ag_tensor *t)
{
    ag_context *c = t->c;
    ag__packed *p = ag__alloc(c, saved_packed_bytes(t->ndim));
    if (!p)
        return false;
    *p = (ag__packed){ .hooks = h, .dtype = t->dtype, .ndim = t->ndim };
    memcpy(p->shape, t->dims, t->ndim * sizeof(int64_t));
    h->refs++;
    if (!saved_call_pack(n, h, t, &p->packed)) {
        ag__free(c, p, saved_packed_bytes(t->ndim));
        ag__saved_hooks_unref(c, h);
        return false;
    }
    s->packed = p;
    s->is_packed = n->packed = true;
    return true;
}

static bool saved_fail_freed(const ag_node *n);

/* Calls unpack for value i of n outside the graph. The result belongs to a scope; it has the shape and
 * dtype of what was packed, since the rule's kernels rely on them. unpack may run a pass that gives up
 * what n saved. */
static ag_tensor *saved_call_unpack(const ag_node *n, int i)
{
    ag_context *c = n->c;
    const ag__packed *p = ag__node_saved(n)[i].packed;
    const unsigned failures = c->failures;
    const bool recording = c->grad_enabled;
    ag__saved_hooks *hooks = p->hooks;
    hooks->refs++;
    c->grad_enabled = false;
    ag_tensor *t = hooks->unpack(p->packed, hooks->user);
    c->grad_enabled = recording;
    ag__saved_hooks_unref(c, hooks);
    if (ag__failed_since(c, failures) || (n->freed && !saved_fail_freed(n)))
        return NULL;
    const ag_ints shape = { p->shape, p->ndim };
    ag__shape_text a, b;
    if (!t || t->c != c)
        return ag__fail(c, AG_ERR_VALUE,
                        "Output of saved tensor unpack_hook expected to be a Tensor but got %s",
                        t ? "one of another context" : "NULL");
    if (t->dtype != p->dtype || !ag__same_shape(ag__sizes(t), shape))
        return ag__fail(c, AG_ERR_SHAPE,
                        "Output of saved tensor unpack_hook has dtype %s and shape %s; what was "
                        "packed had dtype %s and shape %s",
                        ag_dtype_name((ag_dtype)t->dtype), ag__shape_string(&a, ag__sizes(t)),
                        ag_dtype_name((ag_dtype)p->dtype), ag__shape_string(&b, shape));
    return t;
}

bool ag__saved_unpack(const ag_node *n, ag_tensor **values)
{
    const ag__saved *s = ag__node_saved(n);
    for (int i = 0; i < n->n_saved; i++) {
        values[i] = s[i].is_packed ? saved_call_unpack(n, i) : s[i].tensor;
        if (!values[i] && (s[i].is_packed || n->freed))
            return false;
    }
    return true;
}

/* ---- saving ---- */

/* What stands for t in a saved value, with a reference for it: a result without its node, an operand
 * that is about to be written as it was. */
static ag_tensor *saved_keep(ag_tensor *t, ag__saved_kind kind)
{
    if (kind == AG_SAVED_OUTPUT)
        return ag__tensor_alias(t);
    if (AG_LIKELY(t != t->c->writing))
        return ag__tensor_ref(t);
    ag_tensor *old = ag__contiguous_copy(t, (ag_dtype)t->dtype);
    if (old && t->grad_fn)
        ag__node_adopt(t->grad_fn, t->output_nr, old);
    return old;
}

bool ag__saved_set(ag_node *n, int i, ag_tensor *t, ag__saved_kind kind, int nr)
{
    ag__saved *s = &ag__node_saved(n)[i];
    *s = (ag__saved){ .kind = (uint8_t)kind, .nr = (uint16_t)nr };
    if (!t)
        return true;
    if (AG_UNLIKELY(t->flags & AG_T_INFERENCE) && !t->c->inference)
        return ag_fail(t->c, AG_ERR_GRAD,
                       "Inference tensors cannot be saved for backward. To work around you can "
                       "make a clone to get a normal tensor and use it in autograd.");
    ag_tensor *kept = saved_keep(t, kind);
    if (!kept)
        return false;
    if (kept == t) { /* hooks may keep it too */
        t->flags |= AG_T_HELD;
        if (t->flags & AG_T_VIEW)
            ag__view_of(t)->base->flags |= AG_T_HELD;
    }
    ag__saved_hooks *hooks = t->c->saved_hooks;
    if (AG_UNLIKELY(hooks != NULL) && hooks->pack && !(t->flags & (AG_T_NUMBER | AG_T_SYMBOLIC))) {
        const bool ok = saved_pack(n, s, hooks, kept);
        ag__tensor_unref(kept);
        return ok;
    }
    s->tensor = kept;
    s->version = kept->storage->version;
    t->c->saved_bytes += kept->storage->bytes;
    return true;
}

bool ag__saved_set_call(ag_node *n, const ag__call *call, ag_tensor *const *out, unsigned mask)
{
    for (int i = 0; mask; mask &= mask - 1, i++) {
        const int bit = ag__lowest_bit(mask), nr = bit - AG_SAVE_INPUTS;
        ag_tensor *in = bit < call->n_in ? call->in[bit] : NULL;
        if (!(nr >= 0 ? ag__saved_set(n, i, out[nr], AG_SAVED_OUTPUT, nr)
                      : ag__saved_set(n, i, in, AG_SAVED_INPUT, bit)))
            return false;
    }
    return true;
}

void ag__saved_release(ag_node *n)
{
    if (n->op->release_saved)
        n->op->release_saved(n);
    if (n->n_saved == 0 || n->freed)
        return;
    n->freed = true;
    ag__saved *saved = ag__node_saved(n);
    for (int i = 0; i < n->n_saved; i++) {
        ag__saved *s = &saved[i];
        if (s->is_packed) {
            saved_free_packed(n->c, s->packed);
        } else if (s->tensor) {
            n->c->saved_bytes -= s->tensor->storage->bytes;
            ag__tensor_unref(s->tensor);
        }
        *s = (ag__saved){ .kind = s->kind, .nr = s->nr };
    }
}

/* ---- looking ---- */

static bool saved_fail_freed(const ag_node *n)
{
    return ag_fail(
        n->c, AG_ERR_GRAD,
        "Trying to backward through the graph a second time (or directly access saved tensors "
        "after they have already been freed). Saved intermediate values of the graph are freed "
        "when you call .backward() or autograd.grad(). Specify retain_graph=True if you need to "
        "backward through the graph a second time or if you need to access saved tensors after "
        "calling backward. [%s]",
        ag_node_name(n));
}

static bool saved_fail_changed(const ag_node *n, const ag__saved *s)
{
    const ag_tensor *t = s->tensor;
    const bool is_output = s->kind == AG_SAVED_OUTPUT;
    const ag_node *maker = is_output ? n : t->grad_fn;
    ag__shape_text text;
    return ag_fail(
        n->c, AG_ERR_GRAD,
        "one of the variables needed for gradient computation has been modified by an inplace "
        "operation: [%s %s], which is output %d of %s, is at version %u; expected version %u "
        "instead. It was saved by %s%s%s and changed by %s. Hint: change a clone of it (ag_clone), "
        "or compute out of place.",
        ag_dtype_name((ag_dtype)t->dtype), ag__shape_string(&text, ag__sizes(t)),
        is_output ? s->nr : t->output_nr, maker ? ag_node_name(maker) : "a leaf",
        t->storage->version, s->version, ag_node_name(n), n->extra && n->extra->site ? " at " : "",
        n->extra && n->extra->site ? n->extra->site : "",
        t->storage->writer ? t->storage->writer : "the program");
}

static bool saved_is_current(const ag__saved *s)
{
    return s->is_packed || !s->tensor || s->tensor->storage->version == s->version;
}

bool ag__saved_check(const ag_node *n)
{
    if (n->freed)
        return saved_fail_freed(n);
    const ag__saved *s = ag__node_saved(n);
    for (int i = 0; i < n->n_saved; i++, s++)
        if (!saved_is_current(s))
            return saved_fail_changed(n, s);
    return true;
}

ag_tensor *ag__saved_in_graph(ag_node *n, int i, ag_tensor *value)
{
    const ag__saved *s = &ag__node_saved(n)[i];
    ag__edge e = { NULL, 0 };
    if (s->kind == AG_SAVED_OUTPUT)
        e = (ag__edge){ n, s->nr };
    else if (s->kind == AG_SAVED_INPUT && s->is_packed)
        e = n->edges[s->nr];
    if (value && s->kind == AG_SAVED_INPUT && !s->is_packed && !value->grad_fn &&
        n->edges[s->nr].node && !ag__node_leaf(n->edges[s->nr].node))
        return ag__fail(n->c, AG_ERR_GRAD,
                        "Trying to use a saved tensor that has been detached in-place, i.e. with "
                        ".detach_().This is not supported, please use out-of-place `.detach()` "
                        "instead [saved by %s]",
                        ag_node_name(n));
    if (!value || !e.node ||
        !ag__is_float((ag_dtype)value->dtype)) /* integers have no place in it */
        return value;
    ag_tensor *y = ag__give(ag__tensor_alias(value));
    if (y)
        ag__node_adopt(e.node, e.nr, y);
    return y;
}

/* ---- public: the stack ---- */

ag__saved_hooks *ag__saved_hooks_push(ag_context *c, const ag__saved_hooks *hooks)
{
    ag__saved_hooks *top = c->saved_hooks, *h;
    if (top && !top->pack)
        return ag__fail(c, AG_ERR_GRAD, "%s", top->message);
    h = ag__alloc(c, sizeof *h);
    if (!h)
        return NULL;
    *h = *hooks;
    h->outer = top;
    h->refs = 1;
    return c->saved_hooks = h;
}

bool(ag_saved_hooks_push)(ag_context *c, void *(*pack)(ag_tensor *t, void *user),
                          ag_tensor *(*unpack)(void *packed, void *user), void *user,
                          const ag_saved_hooks_options *options)
{
    if (!c)
        return false;
    if (!pack || !unpack)
        return ag_fail(c, AG_ERR_VALUE, "ag_saved_hooks_push: pack or unpack is NULL");
    const ag__saved_hooks h = { .pack = pack,
                                .unpack = unpack,
                                .free_packed = options ? options->free_packed : NULL,
                                .user = user };
    return ag__saved_hooks_push(c, &h) != NULL;
}

bool ag_saved_hooks_disable(ag_context *c, const char *message)
{
    if (!c)
        return false;
    ag__saved_hooks h = { .refs = 1, .outer = c->saved_hooks }, *entry;
    snprintf(h.message, sizeof h.message, "%s",
             message ? message : "saved tensor hooks are disabled");
    if (h.outer && h.outer->pack)
        return ag_fail(c, AG_ERR_GRAD, "%s", h.message);
    entry = ag__alloc(c, sizeof *entry);
    if (!entry)
        return false;
    *entry = h;
    c->saved_hooks = entry;
    return true;
}

void ag_saved_hooks_pop(ag_context *c)
{
    ag__saved_hooks *h = c ? c->saved_hooks : NULL;
    if (!h)
        return;
    c->saved_hooks = h->outer;
    ag__saved_hooks_unref(c, h);
}

/* ---- public: the values of one node ---- */

static ag__saved *saved_entry(const ag_node *n, const char *function, int i)
{
    if (n && (i < 0 || i >= n->n_saved))
        return ag__fail(n->c, AG_ERR_INDEX,
                        "%s: %s has %d saved values, there is none of number %d", function,
                        ag_node_name(n), n->n_saved, i);
    return n ? &ag__node_saved(n)[i] : NULL;
}

int ag_node_n_saved(const ag_node *n) { return n ? n->n_saved : -1; }

ag_tensor *ag__saved_of(ag_node *n, int i, bool in_graph)
{
    const ag__saved *s = &ag__node_saved(n)[i];
    if (n->freed || !saved_is_current(s)) {
        n->freed ? saved_fail_freed(n) : saved_fail_changed(n, s);
        return NULL;
    }
    ag_tensor *value = s->is_packed ? saved_call_unpack(n, i) : s->tensor;
    if (value && value->flags & AG_T_NUMBER) /* shared: see ops/number.c */
        return ag__give(ag__contiguous_copy(value, (ag_dtype)value->dtype));
    return ag__lend(in_graph ? ag__saved_in_graph(n, i, value) : value);
}

ag_tensor *ag_node_saved(ag_node *n, int i)
{
    return saved_entry(n, "ag_node_saved", i) ? ag__saved_of(n, i, true) : NULL;
}

static bool saved_may_set_hooks(const ag_node *n, const ag__saved *s)
{
    if (n->freed)
        return ag_fail(n->c, AG_ERR_GRAD,
                       "Calling register_hooks on a saved tensor after it has been freed. Saved "
                       "intermediate values of the graph are freed when you call .backward() or "
                       "autograd.grad(). Specify retain_graph=True if you need to backward through "
                       "the graph a second time or if you need to access saved variables after "
                       "calling backward.");
    return !s->is_packed ||
           ag_fail(n->c, AG_ERR_GRAD,
                   "Calling register_hooks on a saved tensor whose hooks have already been set. "
                   "Hint: only one pair of hooks is allowed at a time.");
}

/* The value of entry s goes through h, unless pack itself gave it up or packed it. */
static bool saved_repack(ag_node *n, ag__saved *s, ag__saved_hooks *h)
{
    ag__saved packed = { 0 };
    ag_tensor *t = ag__tensor_ref(s->tensor);
    bool ok = saved_pack(n, &packed, h, t);
    if (ok && !saved_may_set_hooks(n, s)) {
        saved_free_packed(n->c, packed.packed);
        ok = false;
    }
    if (ok) {
        s->packed = packed.packed;
        s->is_packed = true;
        n->c->saved_bytes -= t->storage->bytes;
        ag__tensor_unref(t);
    }
    ag__tensor_unref(t);
    return ok;
}

bool(ag_node_saved_set_hooks)(ag_node *n, int i, void *(*pack)(ag_tensor *t, void *user),
                              ag_tensor *(*unpack)(void *packed, void *user), void *user,
                              const ag_saved_hooks_options *options)
{
    ag__saved *s = saved_entry(n, "ag_node_saved_set_hooks", i);
    if (!s)
        return false;
    if (!pack || !unpack)
        return ag_fail(n->c, AG_ERR_VALUE, "ag_node_saved_set_hooks: pack or unpack is NULL");
    if (!saved_may_set_hooks(n, s))
        return false;
    if (!s->tensor)
        return ag_fail(n->c, AG_ERR_GRAD,
                       "Calling register_hooks on a saved tensor with value None is forbidden");
    ag__saved_hooks *h = ag__alloc(n->c, sizeof *h);
    if (!h)
        return false;
    *h = (ag__saved_hooks){ .refs = 1,
                            .pack = pack,
                            .unpack = unpack,
                            .free_packed = options ? options->free_packed : NULL,
                            .user = user };
    ag__node_ref(n);
    const bool ok = saved_repack(n, s, h);
    ag__saved_hooks_unref(n->c, h);
    ag__node_unref(n);
    return ok;
}
