/*
 * Checkpoints: a function whose saved values are computed again instead of kept.
 *
 * The function runs once, recorded as ever, so that its graph knows all that it depends on, captured
 * tensors too. But it runs under saved-value hooks that keep only a place for each value: its number,
 * shape and dtype. The first place that a pass asks for makes the function run again, from its inputs
 * and with its random numbers, under hooks that put the values into their places. Each is taken out
 * as it is used; those that were not wait until the pass ends.
 *
 * The second run is over as soon as the last value is there. The hook that gets it fails, and with it
 * the operation that wanted to save it; the function sees NULL and an error and returns. Then the
 * error, which nobody was told of, is forgotten.
 *
 * The inputs are values saved by a node of their own, outside these hooks but under those around
 * them. So the inputs of a checkpoint within another one are values of the outer one, and asking for
 * them makes that run again first.
 */
#include <stdio.h>
#include <string.h>

#include "engine.h"
#include "saved.h"
#include "view.h"

/* The place of a saved value: what the hooks pack. */
typedef struct {
    ag_tensor *value; /* without a graph; NULL: it is to be computed */
    uint32_t version; /* of value when it was put here */
    bool kept;        /* the policy says so: value stays until the place goes */
    int index;
    uint8_t dtype, ndim;
    int64_t shape[];
} checkpoint_place;

/* One call of ag_checkpoint; it lives as long as the places do. */
typedef struct {
    ag__pass_watch watch; /* must be first; while there are values */
    ag_context *c;
    ag_fn fn;
    void *user;
    ag_checkpoint_options options;
    ag_node *inputs; /* saves them */
    int n, m;
    ag__random random;         /* before the first run */
    checkpoint_place **places; /* NULL: the value is not needed any more */
    int n_places, room;
    bool complete; /* the first run is over */

    uint64_t pass; /* that the values were computed for */
    int seen;      /* values of the second run so far */
    bool stopped;  /* they were enough */
    bool unequal;  /* there may be others than in the first run: a pass ran inside it */
} checkpoint;

static const ag__op checkpoint_inputs = { .name = "checkpoint",
                                          .node_name = "CheckpointInputs",
                                          .kind = AG_KIND_NODIFF };

static size_t checkpoint_place_bytes(int ndim)
{
    return sizeof(checkpoint_place) + (size_t)ndim * sizeof(int64_t);
}

/* ---- values in places ---- */

static void checkpoint_drop_values(checkpoint *p)
{
    for (int i = 0; i < p->n_places; i++) {
        checkpoint_place *place = p->places[i];
        if (!place || place->kept)
            continue;
        ag__tensor_unref(place->value);
        place->value = NULL;
    }
    ag__pass_unwatch(&p->watch);
}

static bool checkpoint_pass_ended(ag__pass_watch *watch, uint64_t pass)
{
    checkpoint *p = (checkpoint *)watch;
    if (p->pass != pass)
        return false;
    checkpoint_drop_values(p);
    return true;
}

static bool checkpoint_put(checkpoint_place *place, ag_tensor *t)
{
    ag__tensor_unref(place->value);
    place->value = ag__tensor_alias(t);
    place->version = t->storage->version;
    return place->value != NULL;
}

/* ---- the first run ---- */

static bool checkpoint_keeps(const checkpoint *p)
{
    return p->options.policy && p->options.policy(ag_node_name(p->c->saving), p->user) == AG_SAVE;
}

static void *checkpoint_pack(ag_tensor *t, void *user)
{
    checkpoint *p = user;
    checkpoint_place **places =
        ag__make_room(p->c, p->places, p->n_places, &p->room, 8, sizeof *places);
    if (!places)
        return NULL;
    p->places = places;
    checkpoint_place *place = ag__alloc(p->c, checkpoint_place_bytes(t->ndim));
    if (!place)
        return NULL;
    *place = (checkpoint_place){
        .kept = checkpoint_keeps(p), .index = p->n_places, .dtype = t->dtype, .ndim = t->ndim
    };
    memcpy(place->shape, t->dims, t->ndim * sizeof(int64_t));
    if (place->kept && !checkpoint_put(place, t)) {
        ag__free(p->c, place, checkpoint_place_bytes(t->ndim));
        return NULL;
    }
    p->c->saved_bytes += place->kept ? t->storage->bytes : 0;
    return p->places[p->n_places++] = place;
}

static void checkpoint_free_place(void *packed, void *user)
{
    checkpoint *p = user;
    checkpoint_place *place = packed;
    p->places[place->index] = NULL;
    p->c->saved_bytes -= place->kept ? place->value->storage->bytes : 0;
    ag__tensor_unref(place->value);
    ag__free(p->c, place, checkpoint_place_bytes(place->ndim));
}

/* ---- the second run ---- */

/* The values are complete: makes the function fail, of which nobody is told. */
static void *checkpoint_stop(checkpoint *p)
{
    p->stopped = true;
    return ag__fail(p->c, AG_ERR_CANCELLED, "all values of the checkpoint are there");
}

/* The graph of the second run gets its values too, for passes that the function itself starts. */
static void *checkpoint_pack_again(ag_tensor *t, void *user)
{
    checkpoint *p = user;
    if (p->stopped)
        return checkpoint_stop(p);
    const int i = p->seen++;
    if (i >= p->n_places && p->complete)
        return ag__fail(p->c, AG_ERR_GRAD,
                        "ag_checkpoint: trying to save more tensors during recomputation than "
                        "during the original forward pass.");
    p->unequal = p->unequal || i >= p->n_places;
    checkpoint_place *place = i < p->n_places ? p->places[i] : NULL;
    if (place && !place->kept && !checkpoint_put(place, t))
        return NULL;
    if (!p->options.no_early_stop && p->seen == p->n_places)
        return checkpoint_stop(p);
    return ag__tensor_alias(t);
}

static ag_tensor *checkpoint_unpack_again(void *packed, void *user)
{
    (void)user;
    return ag__lend(packed);
}

static void checkpoint_free_again(void *packed, void *user)
{
    (void)user;
    ag__tensor_unref(packed);
}

static const char *checkpoint_metadata(char *text, size_t bytes, ag_dtype dtype, ag_ints shape)
{
    ag__shape_text buffer;
    snprintf(text, bytes, "shape %s, dtype %s", ag__shape_string(&buffer, shape),
             ag_dtype_name(dtype));
    return text;
}

/* Both runs saved the same, as far as can be told. */
static bool checkpoint_compare(const checkpoint *p)
{
    if (p->unequal)
        return true;
    if (p->seen != p->n_places)
        return ag_fail(p->c, AG_ERR_GRAD,
                       "ag_checkpoint: A different number of tensors was saved during the original "
                       "forward and recomputation.\nNumber of tensors saved during forward: %d\n"
                       "Number of tensors saved during recomputation: %d.",
                       p->n_places, p->seen);
    for (int i = 0; i < p->n_places && !p->options.no_determinism_check; i++) {
        const checkpoint_place *place = p->places[i];
        if (!place || place->kept)
            continue;
        const ag_tensor *t = place->value;
        const ag_ints shape = { place->shape, place->ndim };
        char was[512], is[512];
        if (t->dtype != place->dtype || !ag__same_shape(ag__sizes(t), shape))
            return ag_fail(
                p->c, AG_ERR_GRAD,
                "ag_checkpoint: Recomputed values for the following tensors have different "
                "metadata than during the forward pass.\ntensor at position %d:\n"
                "saved metadata: %s\nrecomputed metadata: %s",
                i, checkpoint_metadata(was, sizeof was, (ag_dtype)place->dtype, shape),
                checkpoint_metadata(is, sizeof is, (ag_dtype)t->dtype, ag__sizes(t)));
    }
    return true;
}

/* Calls fn under the hooks above. */
static bool checkpoint_call_again(checkpoint *p, ag_tensor **in, ag_tensor **out)
{
    ag_context *c = p->c;
    ag__saved_hooks *const outer = c->saved_hooks;
    const ag__saved_hooks hooks = { .pack = checkpoint_pack_again,
                                    .unpack = checkpoint_unpack_again,
                                    .free_packed = checkpoint_free_again,
                                    .user = p };
    c->saved_hooks = NULL; /* even where they are disabled */
    bool ok = ag__saved_hooks_push(c, &hooks) != NULL;
    if (ok) {
        ag__quiet quiet;
        ag__quiet_begin(&quiet, c);
        ok = p->fn(in, p->n, out, p->m, p->user);
        if (p->stopped)
            ag__quiet_forget(&quiet, c);
        else
            ag__quiet_tell(&quiet, c);
        ok = ok || p->stopped || ag_fail(c, AG_ERR_VALUE, "ag_checkpoint: fn failed");
    }
    while (c->saved_hooks)
        ag_saved_hooks_pop(c);
    c->saved_hooks = outer;
    return ok;
}

/* Fills the places. */
static bool checkpoint_run_again(checkpoint *p)
{
    ag_context *c = p->c;
    const ag__random random = c->random;
    const bool grad = c->grad_enabled, inference = c->inference;
    const size_t bytes = (size_t)(p->n + p->m) * sizeof(ag_tensor *);
    ag_scope bracket;
    ag_tensor **in = ag__alloc(c, bytes);
    if (!in)
        return false;
    memset(in, 0, bytes);
    ag__bracket_begin(&bracket, c);
    const unsigned failures = c->failures;
    for (int i = 0; i < p->n; i++)
        in[i] = ag_node_saved(p->inputs, i);
    bool ok = !ag__failed_since(c, failures);
    if (ok) {
        p->seen = 0;
        p->stopped = p->unequal = false;
        c->grad_enabled = true;
        c->inference = false;
        if (!p->options.discard_random_state)
            c->random = p->random;
        ok = checkpoint_call_again(p, in, in + p->n) && checkpoint_compare(p);
        c->grad_enabled = grad;
        c->inference = inference;
        if (!p->options.discard_random_state)
            c->random = random;
    }
    ag__bracket_end(&bracket);
    ag__free(c, in, bytes);
    return ok;
}

static ag_tensor *checkpoint_fail_changed(const checkpoint *p, const checkpoint_place *place)
{
    if (place->kept)
        return ag__fail(p->c, AG_ERR_GRAD,
                        "ag_checkpoint: Tensor cached during selective activation checkpoint has "
                        "been mutated");
    return ag__fail(p->c, AG_ERR_GRAD,
                    "one of the variables needed for gradient computation has been modified by an "
                    "inplace operation: ag_checkpoint ran its function again, which saved a value "
                    "and wrote into it afterwards");
}

/* Runs the function again unless the value is there, for pass number `pass`. */
static bool checkpoint_bring(checkpoint *p, const checkpoint_place *place, uint64_t pass)
{
    if (place->value && (place->kept || p->pass == pass))
        return true;
    checkpoint_drop_values(p);
    const int i = place->index;
    const bool ok = checkpoint_run_again(p) && p->places[i] && place->value;
    p->pass = pass;
    ag__pass_watch_add(p->c, &p->watch);
    if (!ok)
        checkpoint_drop_values(p);
    return ok;
}

static ag_tensor *checkpoint_unpack(void *packed, void *user)
{
    checkpoint *p = user;
    checkpoint_place *place = packed;
    const uint64_t pass = ag__pass_running(p->c);
    if (!checkpoint_bring(p, place, pass))
        return NULL;
    ag_tensor *t = place->value;
    if (t->storage->version != place->version)
        return checkpoint_fail_changed(p, place);
    if (place->kept)
        return ag__lend(t);
    place->value = NULL;
    if (!pass)
        checkpoint_drop_values(p);
    return ag__give(t);
}

/* ---- public ---- */

static void checkpoint_free(void *user)
{
    checkpoint *p = user;
    checkpoint_drop_values(p);
    ag__node_unref(p->inputs);
    ag__free(p->c, p->places, (size_t)p->room * sizeof(checkpoint_place *));
    ag__free(p->c, p, sizeof *p);
}

/* A node outside every graph that saves the inputs. */
static ag_node *checkpoint_save(ag_context *c, ag_tensor *const *inputs, int n)
{
    ag_node *node = ag__node_new(c, &checkpoint_inputs, n, NULL, 0, n, 0);
    bool ok = node != NULL;
    for (int i = 0; i < n && ok; i++)
        ok = ag__fresh(inputs[i]) && ag__gradient_edge(inputs[i], &node->edges[i]) &&
             ag__saved_set(node, i, inputs[i], AG_SAVED_INPUT, i);
    if (ok)
        return node;
    ag__node_unref(node);
    return NULL;
}

/* The call, as the user of hooks on top of the stack, which own it. */
static checkpoint *checkpoint_begin(ag_context *c, ag_fn fn, ag_tensor *const *inputs, int n, int m,
                                    void *user, const ag_checkpoint_options *options)
{
    checkpoint *p = ag__alloc(c, sizeof *p);
    if (!p)
        return NULL;
    *p = (checkpoint){ .watch = { .ended = checkpoint_pass_ended },
                       .c = c,
                       .fn = fn,
                       .user = user,
                       .options = *options,
                       .n = n,
                       .m = m,
                       .random = c->random };
    p->inputs = checkpoint_save(c, inputs, n);
    const ag__saved_hooks hooks = { .pack = checkpoint_pack,
                                    .unpack = checkpoint_unpack,
                                    .free_packed = checkpoint_free_place,
                                    .free_user = checkpoint_free,
                                    .user = p };
    if (p->inputs && ag__saved_hooks_push(c, &hooks))
        return p;
    checkpoint_free(p);
    return NULL;
}

/* Calls fn; what it makes on the way dies, its results move to the scope around the call. */
static bool checkpoint_call(ag_context *c, ag_fn fn, ag_tensor *const *inputs, int n,
                            ag_tensor **outputs, int m, void *user)
{
    const size_t bytes = (size_t)m * sizeof(ag_tensor *);
    ag_scope bracket;
    ag_tensor **out = ag__alloc(c, bytes);
    if (!out)
        return false;
    memset(out, 0, bytes);
    ag__bracket_begin(&bracket, c);
    bool ok = fn(inputs, n, out, m, user);
    for (int j = 0; j < m && ok; j++)
        ok = out[j] != NULL;
    for (int j = 0; j < m && ok; j++) {
        if (out[j]->own.scope == &bracket)
            ag_keep(out[j]);
        outputs[j] = out[j];
    }
    ag__bracket_end(&bracket);
    ag__free(c, out, bytes);
    return ok || ag_fail(c, AG_ERR_VALUE, "ag_checkpoint: fn failed or left an output NULL");
}

/* Pops what fn left on the stack, and `hooks`, if fn did not pop them itself. */
static void checkpoint_pop(ag_context *c, const ag__saved_hooks *hooks)
{
    const ag__saved_hooks *h = c->saved_hooks;
    while (h && h != hooks)
        h = h->outer;
    while (h && c->saved_hooks != hooks)
        ag_saved_hooks_pop(c);
    if (h)
        ag_saved_hooks_pop(c);
}

bool(ag_checkpoint)(ag_fn fn, ag_tensor *const *inputs, int n, ag_tensor **outputs, int m,
                    void *user, const ag_checkpoint_options *options)
{
    static const ag_checkpoint_options none = { .size = sizeof none };
    ag_context *c = ag__list_context(inputs, n);
    if (!c)
        return false;
    if (!fn || !outputs || m < 1)
        return ag_fail(c, AG_ERR_VALUE, "ag_checkpoint: there is no %s",
                       fn ? "output" : "function");
    if (n > UINT16_MAX)
        return ag_fail(c, AG_ERR_VALUE, "ag_checkpoint: %d inputs are more than %d", n, UINT16_MAX);
    for (int i = 0; i < n; i++)
        if (inputs[i] && inputs[i]->c != c)
            return ag_fail(c, AG_ERR_VALUE, "ag_checkpoint: input %d is of another context", i);
    /* A static graph keeps nothing from call to call. */
    if (!c->grad_enabled || ag__any_recorded(inputs, n))
        return checkpoint_call(c, fn, inputs, n, outputs, m, user);
    checkpoint *p = checkpoint_begin(c, fn, inputs, n, m, user, options ? options : &none);
    if (!p)
        return false;
    ag__saved_hooks *const hooks = c->saved_hooks;
    hooks->refs++;
    const bool ok = checkpoint_call(c, fn, inputs, n, outputs, m, user);
    p->complete = true;
    checkpoint_pop(c, hooks);
    ag__saved_hooks_unref(c, hooks);
    return ok;
}
