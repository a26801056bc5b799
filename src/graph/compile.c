/*
 * Compiled functions. The function is traced once for each signature of its inputs and planned
 * (compiled.h); in the dynamic graph a call is one node.
 *
 * What cannot be planned (a loop that changes shapes) is replayed step by step, and the dynamic
 * graph records the steps. Of symbolic inputs the function is simply called, and recorded in their
 * graph.
 */
#include "../autograd/view.h"
#include "compiled.h"
#include "flow.h"

typedef struct compile_signature {
    struct compile_signature *next;
    ag_graph *recorded; /* its one region besides main is the function */
    ag__region *function;
    ag__compiled *traced; /* NULL: it is run step by step */
    int n;
    ag__type *types;
    int64_t *dims;
    bool *wanted;
    size_t bytes; /* of the block of types, dims and wanted */
} compile_signature;

struct ag_function {
    ag_context *c;
    ag_fn fn;
    void *user;
    int m, traces;
    bool tracing;
    ag_compile_options options;
    compile_signature *signatures;
};

/* ---- signatures ---- */

static bool compile_wants(const ag_tensor *t)
{
    return ag__wants_grad(t) && t->c->grad_enabled && !t->c->inference;
}

static compile_signature *compile_find(const ag_function *f, ag_tensor *const *in, int n)
{
    for (compile_signature *s = f->signatures; s; s = s->next) {
        bool same = s->n == n;
        for (int i = 0; i < n && same; i++)
            same = (ag_dtype)in[i]->dtype == s->types[i].dtype &&
                   ag__same_shape(ag__sizes(in[i]), s->types[i].shape) &&
                   compile_wants(in[i]) == s->wanted[i];
        if (same)
            return s;
    }
    return NULL;
}

static bool compile_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    ag_function *f = arg;
    return f->fn(in, n, out, m, f->user);
}

static bool compile_replay_fn(void *arg, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    const compile_signature *s = arg;
    (void)n;
    if (!ag__region_call(s->recorded->c, s->function, in, out, false))
        return false;
    for (int j = 0; j < m; j++)
        ag__settle(out[j]);
    return true;
}

static void compile_free_signature(ag_context *c, compile_signature *s)
{
    ag__compiled_unref(s->traced);
    ag_graph_free(s->recorded);
    ag__free(c, s->types, s->bytes);
    ag__free(c, s, sizeof *s);
}

/* Types of the inputs, in one block. */
static bool compile_types(ag_context *c, compile_signature *s, ag_tensor *const *in, int n)
{
    size_t dims = 0;
    for (int i = 0; i < n; i++)
        dims += in[i]->ndim;
    s->n = n;
    s->bytes = (size_t)n * (sizeof *s->types + 1) + dims * sizeof *s->dims;
    s->types = ag__alloc(c, s->bytes);
    if (!s->types)
        return false;
    s->dims = (int64_t *)(void *)(s->types + n);
    s->wanted = (bool *)(s->dims + dims);
    for (int i = 0, at = 0; i < n; i++) {
        s->types[i] = (ag__type){ (ag_dtype)in[i]->dtype, { s->dims + at, in[i]->ndim }, false };
        for (int d = 0; d < in[i]->ndim; d++)
            s->dims[at++] = in[i]->dims[d];
        s->wanted[i] = compile_wants(in[i]);
    }
    return true;
}

static bool compile_enter(ag_function *f)
{
    if (f->tracing)
        return ag_fail(f->c, AG_ERR_GRAPH, "ag_call: a compiled function calls itself");
    return f->tracing = true;
}

/* The function, recorded. */
static bool compile_record(ag_function *f, compile_signature *s)
{
    if (!compile_enter(f))
        return false;
    s->recorded = ag__graph_new(f->c, false);
    if (s->recorded)
        s->function = ag__trace("call", s->recorded, NULL, s->types, s->n, compile_fn, f, f->m);
    f->tracing = false;
    return s->function != NULL;
}

/* Traced for the shapes at hand and planned, unless it cannot be. False with an error. */
static bool compile_trace(ag_function *f, compile_signature *s)
{
    const ag__planning how = { f->options.passes_off, f->options.dump, f->options.dump_user,
                               f->options.dump_dot };
    if (f->options.backend == AG_BACKEND_INTERPRET)
        return true;
    bool wanted = false;
    for (int i = 0; i < s->n; i++)
        wanted = wanted || s->wanted[i];
    ag__quiet q;
    ag__quiet_begin(&q, f->c);
    ag__compiled *k = ag__compiled_new(ag__traced_new(f->c, "compile", s->types, s->n,
                                                      compile_replay_fn, s, f->m),
                                       s->wanted, &how);
    if (k && ag__compiled_plan(k, wanted))
        s->traced = k;
    else
        ag__compiled_unref(k);
    return ag__planning_refused(f->c, &q, s->traced != NULL) || s->traced;
}

static compile_signature *compile_new(ag_function *f, ag_tensor *const *in, int n)
{
    compile_signature *s = ag__alloc(f->c, sizeof *s);
    if (!s)
        return NULL;
    *s = (compile_signature){ 0 };
    if (compile_types(f->c, s, in, n) && compile_record(f, s) && compile_trace(f, s)) {
        s->next = f->signatures;
        f->traces++;
        return f->signatures = s;
    }
    compile_free_signature(f->c, s);
    return NULL;
}

/* ---- public ---- */

ag_function *(ag_compile)(ag_context *c, ag_fn fn, int n_outputs, void *user,
                          const ag_compile_options *options)
{
    static const ag_compile_options none = { .size = sizeof none };
    const ag_compile_options *o = options ? options : &none;
    if (!c)
        return NULL;
    if (!fn || n_outputs < 1 || n_outputs > UINT16_MAX)
        return ag__fail(c, AG_ERR_VALUE, "ag_compile: the function is %s, with %d results",
                        fn ? "there" : "NULL", n_outputs);
    if (o->backend == AG_BACKEND_CC)
        return ag__fail(c, AG_ERR_UNSUPPORTED,
                        "ag_compile: AG_BACKEND_CC is not available in this build; use "
                        "AG_BACKEND_FUSED");
    if ((o->backend != AG_BACKEND_FUSED && o->backend != AG_BACKEND_INTERPRET) ||
        o->passes_off < 0 || o->passes_off > AG_PASS_ALL)
        return ag__fail(c, AG_ERR_VALUE, "ag_compile: .backend is %d, .passes_off %d",
                        (int)o->backend, o->passes_off);
    ag_function *f = ag__alloc(c, sizeof *f);
    if (!f)
        return NULL;
    *f = (ag_function){ .c = c, .fn = fn, .user = user, .m = n_outputs, .options = *o };
    ag__context_ref(c);
    return f;
}

void ag_function_free(ag_function *f)
{
    if (!f)
        return;
    ag_context *c = f->c;
    while (f->signatures) {
        compile_signature *s = f->signatures;
        f->signatures = s->next;
        compile_free_signature(c, s);
    }
    ag__free(c, f, sizeof *f);
    ag__context_unref(c);
}

int ag_function_traces(const ag_function *f) { return f ? f->traces : -1; }

static bool compile_check(ag_function *f, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    if (n < 0 || (n > 0 && !in) || !out)
        return ag_fail(f->c, AG_ERR_VALUE, "ag_call: %d inputs, and a list is NULL", n);
    if (m != f->m)
        return ag_fail(f->c, AG_ERR_VALUE,
                       "ag_call: the function was compiled with %d results, not %d", f->m, m);
    for (int i = 0; i < n; i++)
        if (!ag__list_check(f->c, "ag_call", "input", i, in[i]) ||
            (compile_wants(in[i]) && !ag__fresh(in[i])))
            return false;
    return true;
}

/* Of symbolic inputs, the function becomes part of their graph. */
static bool compile_inline(ag_function *f, ag_tensor *const *in, int n, ag_tensor **out)
{
    if (!compile_enter(f))
        return false;
    const bool ok = ag__flow_given("ag_call", f->c, "the function",
                                   f->fn(in, n, out, f->m, f->user), out, f->m);
    f->tracing = false;
    return ok;
}

bool ag_call(ag_function *f, ag_tensor *const *in, int n, ag_tensor **out, int m)
{
    if (!f || !compile_check(f, in, n, out, m))
        return false;
    if (ag__any_symbolic(in, n))
        return compile_inline(f, in, n, out);
    compile_signature *s = compile_find(f, in, n);
    if (!s && !(s = compile_new(f, in, n)))
        return false;
    const size_t bytes = (size_t)m * sizeof(ag_tensor *);
    ag_tensor **results = ag__alloc(f->c, bytes);
    if (!results)
        return false;
    const bool tape = f->c->grad_enabled && !f->c->inference;
    const bool ok = s->traced ? ag__compiled_call(s->traced, in, results)
                              : ag__region_call(f->c, s->function, in, results, tape);
    for (int j = 0; j < m && ok; j++)
        out[j] = ag__settle(results[j]);
    ag__free(f->c, results, bytes);
    return ok;
}
