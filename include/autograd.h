/*
 * libautograd: automatic differentiation for C programs.
 *
 *     ag_context *c = ag_open();
 *     ag_tensor *x = ag_scalar(c, 3, .requires_grad = true);
 *     ag_tensor *y = ag_mul(x, ag_sin(x));          // a graph grows behind the call
 *     ag_backward(y);                               // and is walked back from y
 *     ag_print(ag_grad_of(x));                      // sin 3 + 3 cos 3
 *     ag_close(c);
 *
 * Context.  All state lives in an ag_context: memory, errors, modes, random numbers. Constructors
 *     take it; every other function finds it in its tensors. A context is used by one thread at a
 *     time; different contexts never wait for each other.
 * Lifetime. A tensor that a function returns belongs to the innermost open scope of its context and
 *     dies with it (the context itself is the outermost scope). See AG_SCOPE, ag_keep, ag_retain.
 * Errors.   A tensor function that fails returns NULL, a bool function false, and nothing has
 *     changed. NULL operands give NULL, so an expression is checked once, at its end: ag_error(c).
 * Options.  `ag_sum(x, .keepdim = true)` is `(ag_sum)(x, &(ag_reduce_options){ ... })`. Zero is every
 *     field's default; a NULL options pointer means all defaults. The macros need C; C++ calls the
 *     functions behind them.
 * Numbers.  Binary operations take a number on either side: ag_mul(x, 3), ag_sub(1, x).
 * Names, rules and messages are those of PyTorch wherever it has them.
 */
#ifndef AUTOGRAD_H
#define AUTOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AG_VERSION_MAJOR 0
#define AG_VERSION_MINOR 1
#define AG_VERSION_PATCH 0
#define AG_MAX_DIMS 16 /* the highest rank of a tensor */

#if defined(_WIN32)
#define AG_API
#elif defined(__GNUC__)
#define AG_API __attribute__((visibility("default")))
#else
#define AG_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ag_context ag_context;
typedef struct ag_scope ag_scope;
typedef struct ag_tensor ag_tensor;
typedef struct ag_node ag_node;
typedef struct ag_optimizer ag_optimizer;

/* ---- lists -------------------------------------------------------------------------------- */

typedef struct { const int64_t *data; int n; } ag_ints;
typedef struct { const double *data; int n; } ag_values;

#ifndef __cplusplus
/* AG_SHAPE(2, 3), AG_DIMS(0, -1), AG_VALUES(1, 2.5): lists that live until their block ends. */
#define AG_SHAPE(...)                                                                              \
    ((ag_ints){ (const int64_t[]){ 0, __VA_ARGS__ } + 1,                                           \
                (int)(sizeof((const int64_t[]){ 0, __VA_ARGS__ }) / sizeof(int64_t)) - 1 })
#define AG_DIMS(...) AG_SHAPE(__VA_ARGS__)
#define AG_VALUES(...)                                                                             \
    ((ag_values){ (const double[]){ 0, __VA_ARGS__ } + 1,                                          \
                  (int)(sizeof((const double[]){ 0, __VA_ARGS__ }) / sizeof(double)) - 1 })
#define AG__OPTIONS(type, ...) (&(type){ .size = sizeof(type), __VA_ARGS__ })
#endif

/* ---- errors ------------------------------------------------------------------------------- */

typedef enum {
    AG_OK = 0,
    AG_ERR_SHAPE,       /* shapes that do not fit each other */
    AG_ERR_DTYPE,       /* an element type the operation does not take */
    AG_ERR_VALUE,       /* an argument out of its range, NULL, or of another context */
    AG_ERR_INDEX,       /* a dimension or an index out of range */
    AG_ERR_GRAD,        /* a rule of differentiation: no graph, freed graph, changed value */
    AG_ERR_MEMORY,      /* an allocation failed */
    AG_ERR_IO,          /* the system could not read or write a file */
    AG_ERR_FORMAT,      /* a file is not what its format says */
    AG_ERR_UNSUPPORTED, /* not available in this build or on this machine */
    AG_ERR_GRAPH,       /* a rule of static graphs */
    AG_ERR_INTERNAL,    /* a mistake of the library: please report it */
    AG_ERR_CANCELLED    /* ag_set_cancelled */
} ag_code;

typedef struct { ag_code code; const char *message; } ag_status;

/* The first error since the last clear; NULL when there is none. The pointer lives in the context. */
AG_API const ag_status *ag_error(ag_context *c);
AG_API void ag_error_clear(ag_context *c);
/* For callbacks: sets the error (unless one is pending) and returns false. */
AG_API bool ag_fail(ag_context *c, ag_code code, const char *format, ...)
#ifdef __GNUC__
    __attribute__((format(printf, 3, 4)))
#endif
    ;
/* An `.on_error` for small programs: prints the message to stderr and exits with status 1. */
AG_API void ag_print_and_exit(ag_context *c, const ag_status *status);

/* ---- contexts ----------------------------------------------------------------------------- */

/* Where memory comes from. allocate returns NULL when there is none; blocks are aligned to 64 bytes
 * by the library. Both may be called from the context's thread only. */
typedef struct {
    void *(*allocate)(size_t bytes, void *user);
    void (*release)(void *block, size_t bytes, void *user);
    void *user;
} ag_allocator;

typedef struct {
    size_t size;
    const ag_allocator *allocator;                             /* NULL: malloc and free */
    int threads;                                               /* see ag_set_num_threads; 0: 1 */
    void (*log)(ag_context *c, const char *message, void *user); /* warnings; NULL: none */
    void *log_user;
    void (*on_error)(ag_context *c, const ag_status *status);  /* called at the first error */
} ag_open_options;

AG_API ag_context *ag_open(const ag_open_options *options); /* NULL when there is no memory */
/* Ends every scope. Retained tensors live on until they are released; they can be read, not used. */
AG_API void ag_close(ag_context *c);
AG_API ag_context *ag_context_of(const ag_tensor *t);
/* How many threads work on one large operation, the caller's among them. They start when first
 * needed and sleep in between. Results are the same to the last bit for any number. */
AG_API void ag_set_num_threads(ag_context *c, int n);
AG_API void ag_manual_seed(ag_context *c, uint64_t seed);

typedef struct ag_memory_stats {
    size_t current_bytes; /* in use by tensors, nodes and the library itself */
    size_t peak_bytes;    /* the most that was ever in use at once */
    size_t cached_bytes;  /* kept by the context for the next use */
    int64_t allocations;  /* requests so far, from the caches or not */
    int64_t system_calls; /* those that reached the allocator */
    int64_t tensors;      /* alive */
    int64_t nodes;        /* alive */
    size_t saved_bytes;   /* of storages held by nodes for backward, each use counted */
} ag_memory_statistics;
AG_API void ag_memory_stats(ag_context *c, ag_memory_statistics *stats);
/* For tests: the n-th allocation from now on fails (1 is the next; 0 turns it off), and with
 * `persistent` every later one too. */
AG_API void ag_memory_fail_at(ag_context *c, int64_t n, bool persistent);
AG_API void ag_free(void *p); /* strings that the library returned */

AG_API const char *ag_version_string(void);
AG_API const char *ag_build_info(void); /* compiler, kernels and libraries in use */

/* ---- scopes and lifetimes ----------------------------------------------------------------- */

AG_API ag_scope *ag_scope_begin(ag_context *c);
AG_API void ag_scope_end(ag_scope *s);        /* and those opened inside it; NULL is allowed */
AG_API ag_tensor *ag_keep(ag_tensor *t);      /* hands t to the enclosing scope; returns t */
AG_API void ag_drop(ag_tensor *t);            /* gives t up before its scope ends */
AG_API ag_tensor *ag_retain(ag_tensor *t);    /* owns t beyond scopes; returns t */
AG_API void ag_release(ag_tensor *t);
/* The storage of t as a leaf of context c that asks for no gradient. Both see each other's writes,
 * with versions of their own. Call it while nobody else uses t's context; ag_data pointers taken
 * before are void. */
AG_API ag_tensor *ag_share(ag_context *c, ag_tensor *t);

AG_API bool ag_grad_enabled(ag_context *c);
AG_API bool ag_set_grad_enabled(ag_context *c, bool enabled);         /* returns the previous */
AG_API bool ag_set_inference_mode(ag_context *c, bool enabled);       /* returns the previous */
AG_API bool ag_inference_mode_enabled(ag_context *c);
AG_API bool ag_is_inference(const ag_tensor *t); /* made in inference mode */

/* AG_SCOPE(c) { ... } ends its scope on every way out of the block: its end, break and return.
 * AG_NO_GRAD(c) { ... }, AG_ENABLE_GRAD(c), AG_INFERENCE_MODE(c) set a mode likewise. */
#if defined(__GNUC__) && !defined(__cplusplus)
typedef struct { ag_context *c; int previous; int once; } ag__mode_guard;
AG_API ag__mode_guard ag__mode_enter(ag_context *c, int mode);
AG_API void ag__mode_leave(ag__mode_guard *guard);
AG_API void ag__scope_leave(ag_scope **s);
#define AG__CAT2(a, b) a##b
#define AG__CAT(a, b) AG__CAT2(a, b)
#define AG__SCOPE(c, s, once)                                                                      \
    for (ag_scope *s __attribute__((cleanup(ag__scope_leave))) = ag_scope_begin(c), *once = s;     \
         once; once = NULL)
#define AG_SCOPE(c) AG__SCOPE(c, AG__CAT(ag__scope_, __LINE__), AG__CAT(ag__once_, __LINE__))
#define AG__MODE(c, mode, g)                                                                       \
    for (ag__mode_guard g __attribute__((cleanup(ag__mode_leave))) = ag__mode_enter(c, mode);      \
         g.once; g.once = 0)
#define AG_NO_GRAD(c) AG__MODE(c, 0, AG__CAT(ag__mode_, __LINE__))
#define AG_ENABLE_GRAD(c) AG__MODE(c, 1, AG__CAT(ag__mode_, __LINE__))
#define AG_INFERENCE_MODE(c) AG__MODE(c, 2, AG__CAT(ag__mode_, __LINE__))
#endif

/* ---- tensors ------------------------------------------------------------------------------ */

typedef enum { AG_F32, AG_F64, AG_F16, AG_BF16, AG_I8, AG_I16, AG_I32, AG_I64, AG_U8, AG_BOOL } ag_dtype;
typedef enum { AG_CPU, AG_CUDA } ag_device;

typedef struct {
    size_t size;
    ag_dtype dtype;
    ag_device device;
    bool requires_grad, pin_memory;
} ag_tensor_options;

/* Creators. Shapes may hold zeros. A dtype that cannot hold a gradient refuses .requires_grad. */
AG_API ag_tensor *ag_array(ag_context *c, ag_values values, ag_ints shape, const ag_tensor_options *);
AG_API ag_tensor *ag_scalar(ag_context *c, double value, const ag_tensor_options *); /* 0-dim */
/* Copies / borrows ag_numel elements of `dtype` in row-major order. free_fn(data, user) is called
 * when the last tensor that uses borrowed memory goes (NULL: nothing is called). */
AG_API ag_tensor *ag_from_data(ag_context *c, const void *data, ag_dtype dtype, ag_ints shape,
                               const ag_tensor_options *);
AG_API ag_tensor *ag_from_memory(ag_context *c, void *data, ag_dtype dtype, ag_ints shape,
                                 void (*free_fn)(void *data, void *user), void *user);
AG_API ag_tensor *ag_empty(ag_context *c, ag_ints shape, const ag_tensor_options *);
AG_API ag_tensor *ag_zeros(ag_context *c, ag_ints shape, const ag_tensor_options *);
AG_API ag_tensor *ag_ones(ag_context *c, ag_ints shape, const ag_tensor_options *);
AG_API ag_tensor *ag_full(ag_context *c, ag_ints shape, double value, const ag_tensor_options *);
AG_API ag_tensor *ag_arange(ag_context *c, double start, double stop, double step,
                            const ag_tensor_options *); /* [start, stop) */
AG_API ag_tensor *ag_linspace(ag_context *c, double a, double b, int64_t n,
                              const ag_tensor_options *); /* both ends included */
AG_API ag_tensor *ag_eye(ag_context *c, int64_t n, const ag_tensor_options *);
AG_API ag_tensor *ag_rand(ag_context *c, ag_ints shape, const ag_tensor_options *);  /* U[0, 1) */
AG_API ag_tensor *ag_randn(ag_context *c, ag_ints shape, const ag_tensor_options *); /* N(0, 1) */
AG_API ag_tensor *ag_randint(ag_context *c, int64_t low, int64_t high, ag_ints shape,
                             const ag_tensor_options *); /* [low, high); i64 unless f64 etc. */
AG_API ag_tensor *ag_randperm(ag_context *c, int64_t n, const ag_tensor_options *); /* i64 */
AG_API ag_tensor *ag_zeros_like(ag_tensor *t);
AG_API ag_tensor *ag_ones_like(ag_tensor *t);
AG_API ag_tensor *ag_rand_like(ag_tensor *t);
AG_API ag_tensor *ag_randn_like(ag_tensor *t);

/* Reading. Dimensions count from the end when negative. */
AG_API int ag_ndim(const ag_tensor *t);
AG_API int64_t ag_size(ag_tensor *t, int dim); /* -1 with an error when dim is out of range */
AG_API int64_t ag_numel(const ag_tensor *t);
AG_API const int64_t *ag_shape(const ag_tensor *t);
AG_API const int64_t *ag_strides(const ag_tensor *t); /* in elements */
AG_API ag_dtype ag_dtype_of(const ag_tensor *t);
AG_API ag_device ag_device_of(const ag_tensor *t);
AG_API void *ag_data(ag_tensor *t); /* the first element; mind the strides; NULL on error */
AG_API double ag_item(ag_tensor *t); /* the one element of a one-element tensor; NaN on error */
AG_API double ag_at_index(ag_tensor *t, ag_ints index); /* NaN on error */
AG_API bool ag_copy_out(ag_tensor *t, void *dst, size_t bytes); /* row-major, t's dtype */
AG_API bool ag_is_contiguous(const ag_tensor *t);
AG_API const char *ag_dtype_name(ag_dtype dtype); /* "float32" */
AG_API size_t ag_dtype_size(ag_dtype dtype);
AG_API char *ag_to_string(ag_tensor *t); /* as PyTorch prints it; free with ag_free */
AG_API void ag_print(ag_tensor *t);      /* the same to stdout, and a newline */
AG_API bool ag_set_name(ag_tensor *t, const char *name); /* ignored in bodies of static graphs */
AG_API const char *ag_name(const ag_tensor *t); /* NULL when it has none */

/* ---- automatic differentiation ------------------------------------------------------------- */

AG_API bool ag_requires_grad(const ag_tensor *t);
AG_API ag_tensor *ag_requires_grad_(ag_tensor *t, bool requires_grad); /* returns t; leaves only */
AG_API bool ag_is_leaf(const ag_tensor *t);
AG_API ag_tensor *ag_grad_of(ag_tensor *t); /* NULL when there is none: no error */
AG_API bool ag_set_grad(ag_tensor *t, ag_tensor *grad_or_null);
AG_API void ag_zero_grad(ag_tensor *t); /* drops the gradient, as set_to_none does */
AG_API bool ag_retain_grad(ag_tensor *t);
AG_API bool ag_retains_grad(const ag_tensor *t); /* ag_retain_grad was called for this result */
/* The same storage, and version, outside the graph. */
AG_API ag_tensor *ag_detach(ag_tensor *t);
AG_API ag_tensor *ag_detach_(ag_tensor *t); /* t itself becomes a leaf; not for views */
/* In-place writes to t's storage so far; -1 with an error for inference tensors. */
AG_API int64_t ag_version(const ag_tensor *t);
AG_API void ag_increment_version(ag_tensor *t); /* after writing through ag_data by hand */
AG_API bool ag_is_view(const ag_tensor *t);     /* it has a base that the graph knows of */
AG_API ag_tensor *ag_base_of(ag_tensor *t);     /* what t is a view of; NULL when of nothing */

/* ---- looking at graphs ---- */

AG_API ag_node *ag_grad_fn(ag_tensor *t); /* NULL for leaves; alive as long as t or its graph */
AG_API int ag_output_nr(ag_tensor *t);    /* which result of its grad_fn t is */
AG_API const char *ag_node_name(const ag_node *node); /* PyTorch's: "MulBackward0" */
AG_API int ag_node_n_inputs(const ag_node *node);
AG_API int ag_node_n_outputs(const ag_node *node);
/* Where the gradient of operand i goes: a node and which of its outputs; NULL: none is wanted. */
AG_API ag_node *ag_node_next(const ag_node *node, int i, int *output_nr);
/* What a node saved: "self", "other", "result", ... (for custom functions "saved"), as PyTorch names
 * them. The value is NULL, with an error, once a backward pass gave it up. */
AG_API int ag_node_n_saved(const ag_node *node);
AG_API const char *ag_node_saved_name(const ag_node *node, int i);
AG_API ag_tensor *ag_node_saved(ag_node *node, int i);
/* A stand-in for t that holds its place in the graph and none of its data, to be a root or an input
 * of a pass. ag_node_edge names the place by a node and one of its results. */
AG_API ag_tensor *ag_gradient_edge(ag_tensor *t);
AG_API ag_tensor *ag_node_edge(ag_node *node, int output_nr);
/* What the graph behind t keeps for backward, by operation, largest first: fills uses[0..capacity)
 * and returns how many there are; -1 on error. A storage counts for the first node that saved it. */
typedef struct {
    const char *operation; /* a node's name */
    int64_t nodes, values;
    size_t bytes;
} ag_saved_use;
AG_API int ag_saved_bytes(ag_tensor *t, ag_saved_use *uses, int capacity);

/* ---- backward passes ---- */

typedef struct {
    size_t size;
    ag_tensor *gradient; /* the cotangent of t; may be left out for one-element tensors */
    bool retain_graph, create_graph;
    ag_tensor *const *inputs; /* accumulate into these only; NULL: into all leaves */
    int n_inputs;
} ag_backward_options;
typedef struct {
    size_t size;
    ag_tensor *const *gradients;
    bool retain_graph, create_graph;
    ag_tensor *const *inputs;
    int n_inputs;
} ag_backward_all_options;
typedef struct {
    size_t size;
    ag_tensor *const *grad_outputs;
    bool retain_graph, create_graph, allow_unused, materialize_grads, batched;
} ag_grad_options;

/* Adds d(sum t . gradient)/d(leaf) to the .grad of every leaf behind t. */
AG_API bool ag_backward(ag_tensor *t, const ag_backward_options *);
AG_API bool ag_backward_all(ag_tensor *const *tensors, int n, const ag_backward_all_options *);
/* results[i] = d(sum over outputs . grad_outputs)/d(inputs[i]); touches no .grad. With .batched the
 * first dimension of every grad_output, and of every result, counts cotangents. */
AG_API bool ag_grad(ag_tensor *const *outputs, int n_outputs, ag_tensor *const *inputs, int n_inputs,
                    ag_tensor **results, const ag_grad_options *);

/* From within a pass (a hook, a rule of a custom function): fn(user) is called at its end. */
AG_API bool ag_queue_callback(ag_context *c, void (*fn)(void *user), void *user);
/* While it is set, passes fail with AG_ERR_CANCELLED at their next node. A signal handler or another
 * thread may call it. */
AG_API void ag_set_cancelled(ag_context *c, bool cancelled);
/* Anomaly mode: a pass stops at the first NaN, and its errors name the operation and, in checked mode
 * (AG_CHECKED, below), file and line of its forward call. Returns the previous. */
AG_API bool ag_set_anomaly_enabled(ag_context *c, bool enabled);
AG_API bool ag_anomaly_enabled(ag_context *c);

/* ---- hooks: functions that passes call. Order at one node: hooks of its results in order of
 *      registration, retained gradients, prehooks, the rule, post-accumulate hooks, hooks.
 *      A hook fails by ag_fail, which stops the pass. It may remove itself and start passes. A handle
 *      is good until it is removed or the tensor and the graph it was registered on are gone. ---- */

typedef struct ag_hook ag_hook;
/* The gradient of t is known (NULL when it is undefined, as of results that were not used): returns
 * another in its place, or NULL to keep it. It belongs to the grad_fn that t has now. */
AG_API ag_hook *ag_register_hook(ag_tensor *t, ag_tensor *(*hook)(ag_tensor *grad, void *user),
                                 void *user);
/* leaf.grad was written. */
AG_API ag_hook *ag_register_post_accumulate_grad_hook(ag_tensor *leaf,
                                                      void (*hook)(ag_tensor *leaf, void *user),
                                                      void *user);
/* Before and after a node's rule ran. grads are those of the node's results, grads_in those of its
 * operands: entries may be replaced; NULL is undefined (zero). */
AG_API ag_hook *ag_node_register_prehook(ag_node *node,
                                         void (*hook)(ag_tensor **grads, int n, void *user),
                                         void *user);
AG_API ag_hook *ag_node_register_hook(ag_node *node,
                                      void (*hook)(ag_tensor **grads_in, int n_in,
                                                   ag_tensor *const *grads_out, int n_out,
                                                   void *user),
                                      void *user);
typedef struct {
    size_t size;
    bool any; /* at the first gradient (the others are NULL), not when all are known */
} ag_multi_grad_options;
/* Once a pass: the gradients of those tensors that take part in it are known. */
AG_API ag_hook *ag_register_multi_grad_hook(ag_tensor *const *tensors, int n,
                                            void (*hook)(ag_tensor *const *grads, int n,
                                                         void *user),
                                            void *user, const ag_multi_grad_options *);
AG_API void ag_hook_remove(ag_hook *hook);
AG_API void ag_hook_set_free(ag_hook *hook, void (*free_user)(void *user)); /* when the hook goes */

/* ---- functions with rules of their own ---- */

typedef struct ag_ctx ag_ctx; /* one application of a custom function */
typedef struct ag_custom {
    const char *name; /* the node is called NAMEBackward */
    /* Computes out[0..m) from in[0..n), outside the graph. An output may be an input. */
    bool (*forward)(ag_ctx *, ag_tensor *const *in, int n, ag_tensor **out, int m);
    /* Gradients of the outputs (zeros, or NULL when not materialised) to those of the inputs, which
     * arrive NULL (none). Written in operations it can be differentiated again. */
    bool (*backward)(ag_ctx *, ag_tensor *const *grad_out, ag_tensor **grad_in);
    /* Forward mode: tangents of the inputs (NULL: zero) to those of the outputs. */
    bool (*jvp)(ag_ctx *, ag_tensor *const *tangents, ag_tensor **tangents_out);
    /* Batching: in_dims[i] is the batch dimension of in[i], -1 when it has none; fills out_dims. */
    bool (*batch)(ag_ctx *, ag_tensor *const *in, const int *in_dims, int n, ag_tensor **out,
                  int *out_dims, int m);
    bool once_differentiable; /* backward runs outside the graph; a second derivative is an error */
    void (*free_user)(void *user); /* once for each ag_apply, when nobody needs `user` any more */
} ag_custom;
AG_API bool ag_apply(const ag_custom *, ag_tensor *const *inputs, int n, ag_tensor **outputs, int m,
                     void *user);
AG_API bool ag_ctx_save(ag_ctx *, ag_tensor *const *tensors, int n); /* forward; entries may be NULL */
AG_API ag_tensor *ag_ctx_saved(ag_ctx *, int i);                     /* backward, jvp */
AG_API int ag_ctx_n_saved(const ag_ctx *);
AG_API void ag_ctx_mark_dirty(ag_ctx *, ag_tensor *input); /* forward wrote into it */
AG_API void ag_ctx_mark_non_differentiable(ag_ctx *, ag_tensor *output);
AG_API void ag_ctx_set_materialize_grads(ag_ctx *, bool materialize); /* true to begin with */
AG_API bool ag_ctx_needs_input_grad(const ag_ctx *, int i);
AG_API void *ag_ctx_user(const ag_ctx *);
AG_API ag_context *ag_ctx_context(const ag_ctx *);

/* ---- what is saved for backward, and how ---- */

typedef struct {
    size_t size;
    void (*free_packed)(void *packed, void *user); /* when the value is given up */
} ag_saved_hooks_options;
/* From here to the pop, each value that an operation saves goes through pack, once, and comes back
 * through unpack whenever a pass needs it. The innermost pair is used. unpack gives a tensor of the
 * same shape and dtype. Versions are not looked at under hooks. */
AG_API bool ag_saved_hooks_push(ag_context *c, void *(*pack)(ag_tensor *t, void *user),
                                ag_tensor *(*unpack)(void *packed, void *user), void *user,
                                const ag_saved_hooks_options *);
/* From here to the pop, a push is an error with this text, as is this call after a push. */
AG_API bool ag_saved_hooks_disable(ag_context *c, const char *message);
AG_API void ag_saved_hooks_pop(ag_context *c);
/* The same for value i that a node has saved already. */
AG_API bool ag_node_saved_set_hooks(ag_node *node, int i, void *(*pack)(ag_tensor *t, void *user),
                                    ag_tensor *(*unpack)(void *packed, void *user), void *user,
                                    const ag_saved_hooks_options *);
/* Saved values of at least .min_bytes go to unnamed files in `folder` until they are needed; ends with
 * ag_saved_hooks_pop. */
typedef struct {
    size_t size;
    size_t min_bytes;
} ag_offload_options;
AG_API bool ag_saved_offload_push(ag_context *c, const char *folder, const ag_offload_options *);

/* A function of tensors: fills out[0..m), returns false on error. */
typedef bool (*ag_fn)(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user);

/* ---- computing again instead of keeping ---- */

/* What a checkpoint does with the saved values of an operation: called with a node's name. */
typedef enum { AG_RECOMPUTE, AG_SAVE } ag_checkpoint_policy;
typedef struct {
    size_t size;
    ag_checkpoint_policy (*policy)(const char *operation, void *user); /* NULL: recompute all */
    bool discard_random_state;  /* do not repeat the random numbers */
    bool no_determinism_check;  /* do not compare shapes and dtypes of the values beforehand */
    bool no_early_stop;         /* run fn to its end the second time */
} ag_checkpoint_options;
/* fn(inputs), of which nothing is kept for backward: a pass that needs saved values runs fn again,
 * once, and fails an operation in it, silently, when it has them all. `user` and what it leads to must be
 * there as long as the graph. Calls may nest. */
AG_API bool ag_checkpoint(ag_fn fn, ag_tensor *const *inputs, int n, ag_tensor **outputs, int m,
                          void *user, const ag_checkpoint_options *);
/* One step of a sequence: from the state in[0..n) to out[0..n), of the same shapes. */
typedef bool (*ag_step_fn)(int64_t step, ag_tensor *const *in, int n, ag_tensor **out, void *user);
typedef struct {
    size_t size;
    int snapshots;       /* states kept at a time, the first one included; 0: as budget_bytes says */
    size_t budget_bytes; /* for them; 0: no limit but the number of steps */
} ag_checkpoint_sequence_options;
/* `steps` steps from `inputs`, as one node. backward recomputes states between snapshots by the
 * binomial schedule, which takes the fewest steps that the snapshots allow: Griewank and Walther,
 * Algorithm 799: revolve, ACM TOMS 26 (2000). Steps repeat their random numbers, and tensors that they
 * use beside the state get their gradients; `user` and these must be there as long as the graph. Under saved-value hooks only the inputs are kept between
 * the call and the pass; a pass with create_graph keeps everything. */
AG_API bool ag_checkpoint_sequence(ag_step_fn fn, int64_t steps, ag_tensor *const *inputs, int n,
                                   ag_tensor **outputs, void *user,
                                   const ag_checkpoint_sequence_options *);
/* How many times a step is run in all (the call's runs, and those of backward but the one recorded run
 * of each step), at the least, to reverse `steps` steps with so many snapshots; -1 when there are none. */
AG_API int64_t ag_checkpoint_sequence_cost(int64_t steps, int snapshots);

/* ---- checking derivatives ---- */

typedef struct {
    size_t size;
    double eps, atol, rtol; /* 0: 1e-6, 1e-5, 1e-3 */
    bool forward_mode;      /* tangents (ag_jvp) too */
    bool batched;           /* gradients of batches (ag_grad) too */
    int n_outputs;          /* 0: 1 */
    double nondet_tol;      /* what two equal passes may differ by */
    bool no_undefined_check; /* undefined gradients and tangents need not act as zeros */
    bool no_reverse;         /* leave out all that needs backward passes */
    bool fast_mode;          /* compare v^T J u for one u and v only, not the Jacobians J */
    bool non_contiguous_grads; /* ag_gradgradcheck: cotangents with gaps */
    bool forward_over_reverse; /* ag_gradgradcheck: tangents of gradients too, as .forward_mode */
} ag_gradcheck_options;
/* Compares derivatives of fn at `in` (f64, some of them requiring grad) with central differences
 * (f(x + eps) - f(x - eps)) / 2 eps: |a - n| <= atol + rtol |n| for each. Also checks that passes
 * repeat, and that gradients are multiplied by those that come in. The error shows the Jacobians. */
AG_API bool ag_gradcheck(ag_fn fn, ag_tensor *const *in, int n, void *user,
                         const ag_gradcheck_options *);
/* The same for the gradients of fn, with respect to its inputs and to the cotangents. */
AG_API bool ag_gradgradcheck(ag_fn fn, ag_tensor *const *in, int n, void *user,
                             const ag_gradcheck_options *);

/* ---- functional: derivatives of a function at `in`. fn gets stand-ins, which share the data of its
 *      inputs; inputs need not require a gradient. Results are part of the graph where grad mode is on
 *      and they depend on tensors that require one; gradients that fn takes itself need
 *      .create_graph. A v of other shapes: "v has invalid size: should be [2] but got [3]." ---- */

/* Reverse mode: out = fn(in); grads[i] = sum over j of cotangents[j] . d out[j] / d in[i], zeros where
 * nothing depends on in[i], NULL for integers. A NULL cotangent is zero; without `cotangents` the
 * function must have one output of one element. */
AG_API bool ag_vjp(ag_fn fn, ag_tensor *const *in, int n, ag_tensor **out, int m,
                   ag_tensor *const *cotangents, ag_tensor **grads, void *user);
/* Forward mode: out = fn(in); tangents_out[j] = sum over i of d out[j] / d in[i] . tangents[i], NULL
 * where that is zero because out[j] depends on no input with a tangent. A NULL tangent is zero;
 * without `tangents` the function must have one input of one element. */
AG_API bool ag_jvp(ag_fn fn, ag_tensor *const *in, int n, ag_tensor *const *tangents,
                   ag_tensor **out, int m, ag_tensor **tangents_out, void *user);
/* Of fn with one output y at x: dy/dx, of y's dimensions and then x's, by one pass for each element of
 * y, or in forward mode by one call of fn for each element of x. */
typedef struct {
    size_t size;
    bool forward_mode;
} ag_jacobian_options;
AG_API ag_tensor *ag_jacobian(ag_fn fn, ag_tensor *x, void *user, const ag_jacobian_options *);
/* Of fn with one output of one element: d2y/dx dx, of x's dimensions twice; and its product with v, of
 * x's shape: H v in forward over reverse mode, v H in reverse mode (they are equal; Pearlmutter 1994).
 * value may be NULL; it is outside the graph. */
AG_API ag_tensor *ag_hessian(ag_fn fn, ag_tensor *x, void *user);
AG_API ag_tensor *ag_hvp(ag_fn fn, ag_tensor *x, ag_tensor *v, ag_tensor **value, void *user);
AG_API ag_tensor *ag_vhp(ag_fn fn, ag_tensor *x, ag_tensor *v, ag_tensor **value, void *user);

/* ---- control flow -------------------------------------------------------------------------- */

/* On tensors that hold data these are the loops and branches of C. Where an operand is symbolic (below)
 * they become part of the graph, and each function is called once, with symbolic tensors. A selector that
 * holds data is obeyed at once, and a loop that meets a symbolic value becomes part of the graph from there
 * on. Functions may use tensors from outside, and differentiating with respect to those works. */

typedef ag_tensor *(*ag_cond_fn)(ag_tensor *const *vars, int n, void *user);
typedef bool (*ag_body_fn)(ag_tensor *const *vars, int n, ag_tensor **next, void *user);
typedef struct {
    size_t size;
    void *user;
    int64_t maximum_iterations;      /* the loop ends after so many; 0: no limit */
    const ag_ints *shape_invariants; /* n shapes, -1 where a dim may change; .n = -1: as it enters */
    int snapshots; /* backward computes states again from so many (binomial schedule); 0: keeps all */
} ag_while_options;
/* vars = init; while cond(vars): vars = body(vars); out = vars. cond gives one element. The body keeps
 * number and dtypes of the variables, and in a graph their shapes, but for dims that enter as -1 or are -1
 * in the invariants.
 * With snapshots a loop over tensors that hold data runs once to count its steps, and again as
 * ag_checkpoint_sequence does: body, `user` and what it leads to must be there as long as the graph, and
 * the body writes over none of its variables. Where shapes change all is kept. */
AG_API bool ag_while_loop(ag_cond_fn cond, ag_body_fn body, ag_tensor *const *init, int n,
                          ag_tensor **out, const ag_while_options *);
typedef struct {
    size_t size;
    void *user;
} ag_cond_options;
/* out[0..m) = pred ? true_fn(in) : false_fn(in). pred has one element. Both give the same dtypes, and in
 * a graph the same shapes or -1 where they differ. in may be NULL with n = 0. */
AG_API bool ag_cond(ag_tensor *pred, ag_fn true_fn, ag_fn false_fn, ag_tensor *const *in, int n,
                    ag_tensor **out, int m, const ag_cond_options *);
/* out = fns[index](in); an index outside [0, n_fns) takes the last. */
AG_API bool ag_switch(ag_tensor *index, const ag_fn *fns, int n_fns, ag_tensor *const *in, int n,
                      ag_tensor **out, int m, const ag_cond_options *);
typedef bool (*ag_scan_fn)(ag_tensor *const *carry, int n, ag_tensor *const *x, int k,
                           ag_tensor **carry_out, ag_tensor **y, int m, void *user);
typedef struct {
    size_t size;
    void *user;
    bool reverse;   /* from the last x to the first; y[i] belongs to x[i] */
    int64_t length; /* the number of steps where k = 0; xs of another length are an error */
} ag_scan_options;
/* For each i along the first dims of xs: carry, y[i] = fn(carry, x[i]). ys are stacked along a new first
 * dim. n, k or m may be 0 with NULL lists. */
AG_API bool ag_scan(ag_scan_fn fn, ag_tensor *const *init, int n, ag_tensor *const *xs, int k,
                    ag_tensor **carry_out, ag_tensor **ys, int m, const ag_scan_options *);

/* ---- static graphs ------------------------------------------------------------------------- */

/* A graph is defined once and run many times. A symbolic tensor is a value of a graph: it has a dtype
 * and a shape, with -1 for what is known only when it runs, and no data. Every operation records when one
 * of its operands is symbolic; tensors with data become constants (copies). ag_grad of symbolic tensors
 * gives symbolic tensors: outputs have one element unless grad_outputs are given; create_graph and
 * retain_graph mean nothing. Likewise ag_vjp, ag_jvp, ag_jacobian, ag_hessian, ag_hvp and ag_vhp: fn is
 * called once, and writes into no tensor from outside. A Jacobian goes by rows, whose number must be
 * known. What functions recorded is taken back when the call fails; tensors of it are refused then. */

typedef struct ag_graph ag_graph;
AG_API ag_graph *ag_graph_new(ag_context *c);
/* "Graph is finalized and cannot be modified." from here on; sessions of other contexts, in threads of
 * their own, may be made of it and run at the same time. */
AG_API bool ag_graph_finalize(ag_graph *g);
AG_API void ag_graph_free(ag_graph *g); /* sessions that are left live on, for ag_session_free only */
AG_API ag_context *ag_graph_context(const ag_graph *g);
AG_API bool ag_is_symbolic(const ag_tensor *t);
AG_API ag_graph *ag_graph_of(ag_tensor *t); /* NULL when t is not symbolic */

typedef struct {
    size_t size;
    const char *name; /* unique in the graph: a second "x" becomes "x_1" */
} ag_node_options;
AG_API ag_tensor *ag_placeholder(ag_graph *g, ag_dtype dtype, ag_ints shape, const ag_node_options *);
AG_API ag_tensor *ag_constant(ag_graph *g, ag_tensor *value, const ag_node_options *);
/* A value that each session has for itself, and keeps between runs; it begins as `initial`. */
AG_API ag_tensor *ag_variable(ag_graph *g, ag_tensor *initial, const ag_node_options *);
/* One that sessions must assign, or set, before they read it. */
AG_API ag_tensor *ag_variable_empty(ag_graph *g, ag_dtype dtype, ag_ints shape,
                                    const ag_node_options *);
/* The new value of `var`, which is written at the end of a run that needs this tensor. A run reads in
 * `var` what was there at its start; ag_assign_add and _sub go on from assignments before them. The value
 * has the shape and dtype of var; a number beside a 0-dim one takes its dtype. */
AG_API ag_tensor *ag_assign(ag_tensor *var, ag_tensor *value);
AG_API ag_tensor *ag_assign_add(ag_tensor *var, ag_tensor *value);
AG_API ag_tensor *ag_assign_sub(ag_tensor *var, ag_tensor *value);

AG_API ag_tensor *ag_graph_find(ag_graph *g, const char *name); /* NULL when there is none */
/* Names given from here to the pop begin with "name/". */
AG_API bool ag_name_scope_push(ag_graph *g, const char *name);
AG_API void ag_name_scope_pop(ag_graph *g);
/* What is recorded from here to the pop runs only after these, and reads variables that they assign as
 * they left them. */
AG_API bool ag_control_dependencies_push(ag_graph *g, ag_tensor *const *tensors, int n);
AG_API void ag_control_dependencies_pop(ag_graph *g);
/* 0-dim, for fetching: makes all of these happen. */
AG_API ag_tensor *ag_group(ag_tensor *const *tensors, int n);

AG_API char *ag_graph_to_string(ag_graph *g); /* docs/graph-format.md; free with ag_free */
AG_API bool ag_graph_write_dot(ag_graph *g, const char *path);
/* A file takes the old one's place when it is complete. Names find the tensors again, variables begin as
 * they did; a graph that was finalised is so again, others can be extended. Nothing in a file is trusted:
 * AG_ERR_FORMAT says the line. The caller frees what was loaded. */
AG_API bool ag_graph_save(ag_graph *g, const char *path);
AG_API ag_graph *ag_graph_load(ag_context *c, const char *path);

/* How a graph runs: planned for the shapes at hand, optimised, in one arena of memory; or step by step
 * through the operations of the dynamic graph. AG_BACKEND_CC is not there yet: AG_ERR_UNSUPPORTED. */
typedef enum { AG_BACKEND_FUSED, AG_BACKEND_INTERPRET, AG_BACKEND_CC } ag_backend;
/* Optimisations; a set of them is their sum. */
enum {
    AG_PASS_FOLD = 1,       /* compute what depends on constants alone */
    AG_PASS_CSE = 2,        /* compute equal things once */
    AG_PASS_ALGEBRA = 4,    /* x * 1, x + 0, -(-x), ... */
    AG_PASS_TRANSPOSE = 8,  /* transposes into products; only with algebra */
    AG_PASS_HOIST = 16,     /* what does not change out of loops */
    AG_PASS_FUSE = 32,      /* pointwise operations, with a reduction at their end, in one loop */
    AG_PASS_REUSE = 64,     /* memory of values that are not needed any more */
    AG_PASS_ALL = 127
};

typedef struct ag_session ag_session;
typedef struct {
    size_t size;
    int threads; /* 0: as the context has */
    ag_backend backend;
    ag_context *context;    /* where results live; NULL: the graph's */
    int passes_off;         /* sum of AG_PASS_... that are left out */
    void (*dump)(const char *pass, const char *graph, void *user); /* the graph after each pass */
    void *dump_user;
    bool dump_dot; /* as Graphviz draws it, not as text */
} ag_session_options;
typedef struct { ag_tensor *tensor; ag_tensor *value; } ag_feed;
AG_API ag_session *ag_session_new(ag_graph *g, const ag_session_options *);
/* results[i] is the value of fetches[i], for which whatever it needs runs, at most once. Any tensor of the
 * graph that is not inside a loop or branch may be fed, and is not computed then. A run that fails leaves
 * variables as they were. */
AG_API bool ag_session_run(ag_session *s, const ag_feed *feeds, int n, ag_tensor *const *fetches,
                           int m, ag_tensor **results);
AG_API ag_tensor *ag_variable_value(ag_session *s, ag_tensor *var); /* a copy */
AG_API bool ag_variable_set(ag_session *s, ag_tensor *var, ag_tensor *value);
AG_API void ag_session_close(ag_session *s); /* runs fail from here on; memory is given up */
AG_API void ag_session_free(ag_session *s);
typedef struct ag_session_stats {
    int64_t plans, runs;    /* signatures that were planned; runs, also those that failed */
    int64_t interpreted;    /* runs that went step by step since they could not be planned */
    int64_t nodes, steps;   /* of the plan that ran last: after optimisation, and what it executes */
    size_t arena_bytes;     /* of the plan that ran last */
} ag_session_statistics;
AG_API void ag_session_stats(ag_session *s, ag_session_statistics *stats);

/* fn, traced once for each signature of its inputs (shapes, dtypes, which want a gradient), optimised, and
 * run in the dynamic graph as one node, which can be differentiated to any order. fn sees symbolic
 * tensors; tensors with data that it uses beside its inputs are constants. A call with symbolic inputs
 * calls fn itself, which becomes part of their graph. */
typedef struct ag_function ag_function;
typedef struct {
    size_t size;
    ag_backend backend;
    int passes_off;
    void (*dump)(const char *pass, const char *graph, void *user);
    void *dump_user;
    bool dump_dot;
} ag_compile_options;
AG_API ag_function *ag_compile(ag_context *c, ag_fn fn, int n_outputs, void *user,
                               const ag_compile_options *);
AG_API bool ag_call(ag_function *f, ag_tensor *const *in, int n, ag_tensor **out, int m);
AG_API void ag_function_free(ag_function *f);
AG_API int ag_function_traces(const ag_function *f); /* how many signatures were traced */

/* ---- operands ------------------------------------------------------------------------------ */

/* An operand of a binary operation: a tensor, or a number that takes its dtype from the other. */
typedef struct { ag_tensor *tensor; double number; int kind; } ag_operand;
enum { AG_OPERAND_TENSOR, AG_OPERAND_INTEGER, AG_OPERAND_REAL };
typedef ag_tensor *(*ag_binary_fn)(ag_tensor *a, ag_tensor *b);
typedef ag_tensor *(*ag_ternary_fn)(ag_tensor *a, ag_tensor *b, ag_tensor *w);
AG_API ag_tensor *ag_call_binary(ag_binary_fn f, ag_operand a, ag_operand b);
AG_API ag_tensor *ag_call_ternary(ag_ternary_fn f, ag_operand a, ag_operand b, ag_operand w);
/* For the macros of checked mode (AG_CHECKED): they note the place and return their first argument,
 * or make the call. */
AG_API ag_tensor *ag__here(ag_tensor *t, const char *file, int line);
AG_API ag_tensor *const *ag__here_list(ag_tensor *const *list, const char *file, int line);
AG_API ag_context *ag__here_context(ag_context *c, const char *file, int line);
AG_API ag_tensor *ag__call_binary_at(ag_binary_fn f, ag_operand a, ag_operand b, const char *file,
                                     int line);
AG_API ag_tensor *ag__call_ternary_at(ag_ternary_fn f, ag_operand a, ag_operand b, ag_operand w,
                                      const char *file, int line);

/* ---- pointwise operations: one operand. Results have the operand's shape; integers give f32
 *      except where noted. Everything is differentiable to any order unless marked `no gradient`. */

AG_API ag_tensor *ag_neg(ag_tensor *x);        /* -x; keeps integer dtypes */
AG_API ag_tensor *ag_abs(ag_tensor *x);        /* |x|; keeps integer dtypes; derivative 0 at 0 */
AG_API ag_tensor *ag_sign(ag_tensor *x);       /* -1, 0, 1; derivative 0 */
AG_API ag_tensor *ag_sqrt(ag_tensor *x);       /* x^(1/2) */
AG_API ag_tensor *ag_rsqrt(ag_tensor *x);      /* x^(-1/2) */
AG_API ag_tensor *ag_reciprocal(ag_tensor *x); /* 1/x */
AG_API ag_tensor *ag_square(ag_tensor *x);     /* x^2; keeps integer dtypes */
AG_API ag_tensor *ag_exp(ag_tensor *x);        /* e^x */
AG_API ag_tensor *ag_exp2(ag_tensor *x);       /* 2^x */
AG_API ag_tensor *ag_expm1(ag_tensor *x);      /* e^x - 1, exact near 0 */
AG_API ag_tensor *ag_log(ag_tensor *x);        /* ln x */
AG_API ag_tensor *ag_log2(ag_tensor *x);       /* ln x / ln 2 */
AG_API ag_tensor *ag_log10(ag_tensor *x);      /* ln x / ln 10 */
AG_API ag_tensor *ag_log1p(ag_tensor *x);      /* ln(1 + x), exact near 0 */
AG_API ag_tensor *ag_sin(ag_tensor *x);        /* sine of x radians */
AG_API ag_tensor *ag_cos(ag_tensor *x);        /* cosine */
AG_API ag_tensor *ag_tan(ag_tensor *x);        /* tangent */
AG_API ag_tensor *ag_asin(ag_tensor *x);       /* inverse sine, in [-pi/2, pi/2] */
AG_API ag_tensor *ag_acos(ag_tensor *x);       /* inverse cosine, in [0, pi] */
AG_API ag_tensor *ag_atan(ag_tensor *x);       /* inverse tangent, in (-pi/2, pi/2) */
AG_API ag_tensor *ag_sinh(ag_tensor *x);       /* (e^x - e^-x) / 2 */
AG_API ag_tensor *ag_cosh(ag_tensor *x);       /* (e^x + e^-x) / 2 */
AG_API ag_tensor *ag_tanh(ag_tensor *x);       /* sinh x / cosh x */
AG_API ag_tensor *ag_asinh(ag_tensor *x);      /* ln(x + sqrt(x^2 + 1)) */
AG_API ag_tensor *ag_acosh(ag_tensor *x);      /* ln(x + sqrt(x^2 - 1)) */
AG_API ag_tensor *ag_atanh(ag_tensor *x);      /* ln((1 + x) / (1 - x)) / 2 */
AG_API ag_tensor *ag_erf(ag_tensor *x);        /* 2/sqrt(pi) int_0^x e^(-t^2) dt */
AG_API ag_tensor *ag_erfc(ag_tensor *x);       /* 1 - erf x without its cancellation */
AG_API ag_tensor *ag_erfinv(ag_tensor *x);     /* y with erf y = x */
AG_API ag_tensor *ag_lgamma(ag_tensor *x);     /* ln |Gamma(x)| */
AG_API ag_tensor *ag_digamma(ag_tensor *x);    /* d ln Gamma(x) / dx */
AG_API ag_tensor *ag_polygamma(int n, ag_tensor *x); /* the n-th derivative of digamma, n >= 0 */
AG_API ag_tensor *ag_sigmoid(ag_tensor *x);    /* 1 / (1 + e^-x) */
AG_API ag_tensor *ag_logit(ag_tensor *x);      /* ln(x / (1 - x)) */
AG_API ag_tensor *ag_softplus(ag_tensor *x);   /* ln(1 + e^x); x itself above 20 */
AG_API ag_tensor *ag_relu(ag_tensor *x);       /* max(x, 0); derivative 0 at 0 */
AG_API ag_tensor *ag_leaky_relu(ag_tensor *x, double slope); /* x > 0 ? x : slope x */
AG_API ag_tensor *ag_elu(ag_tensor *x, double alpha);  /* x > 0 ? x : alpha (e^x - 1) */
AG_API ag_tensor *ag_selu(ag_tensor *x);       /* scaled elu; Klambauer et al. 2017 */
AG_API ag_tensor *ag_celu(ag_tensor *x, double alpha); /* x > 0 ? x : alpha (e^(x/alpha) - 1) */
AG_API ag_tensor *ag_silu(ag_tensor *x);       /* x sigmoid(x) */
AG_API ag_tensor *ag_mish(ag_tensor *x);       /* x tanh(softplus(x)); Misra 2019 */
AG_API ag_tensor *ag_gelu(ag_tensor *x, bool tanh_approximation); /* x Phi(x); Hendrycks 2016 */
AG_API ag_tensor *ag_hardtanh(ag_tensor *x, double lo, double hi); /* min(max(x, lo), hi) */
AG_API ag_tensor *ag_hardsigmoid(ag_tensor *x); /* min(max(x + 3, 0), 6) / 6 */
AG_API ag_tensor *ag_hardswish(ag_tensor *x);  /* x hardsigmoid(x) */
AG_API ag_tensor *ag_floor(ag_tensor *x);      /* derivative 0, as of the next three */
AG_API ag_tensor *ag_ceil(ag_tensor *x);
AG_API ag_tensor *ag_round(ag_tensor *x);      /* half to even */
AG_API ag_tensor *ag_trunc(ag_tensor *x);
AG_API ag_tensor *ag_sinc(ag_tensor *x);       /* sin(pi x) / (pi x), 1 at 0 */
AG_API ag_tensor *ag_nan_to_num(ag_tensor *x); /* NaN to 0, infinities to the largest finite */
AG_API ag_tensor *ag_clamp(ag_tensor *x, double lo, double hi); /* min(max(x, lo), hi) */
AG_API ag_tensor *ag_isnan(ag_tensor *x);      /* bool, no gradient; likewise the next three */
AG_API ag_tensor *ag_isinf(ag_tensor *x);
AG_API ag_tensor *ag_isfinite(ag_tensor *x);
AG_API ag_tensor *ag_logical_not(ag_tensor *x);

/* ---- pointwise operations: two and three operands. Shapes broadcast, dtypes promote. ---------- */

AG_API ag_tensor *ag_add(ag_tensor *a, ag_tensor *b);       /* a + b */
AG_API ag_tensor *ag_sub(ag_tensor *a, ag_tensor *b);       /* a - b */
AG_API ag_tensor *ag_mul(ag_tensor *a, ag_tensor *b);       /* a b */
AG_API ag_tensor *ag_div(ag_tensor *a, ag_tensor *b);       /* a / b; integers give f32 */
AG_API ag_tensor *ag_pow(ag_tensor *a, ag_tensor *b);       /* a^b; d/db at a = 0 is 0 for b >= 0 */
AG_API ag_tensor *ag_fmod(ag_tensor *a, ag_tensor *b);      /* remainder with the sign of a */
AG_API ag_tensor *ag_remainder(ag_tensor *a, ag_tensor *b); /* remainder with the sign of b */
AG_API ag_tensor *ag_atan2(ag_tensor *a, ag_tensor *b);     /* angle of (b, a), in [-pi, pi] */
AG_API ag_tensor *ag_hypot(ag_tensor *a, ag_tensor *b);     /* sqrt(a^2 + b^2) */
AG_API ag_tensor *ag_maximum(ag_tensor *a, ag_tensor *b);   /* NaN wins; ties share the gradient */
AG_API ag_tensor *ag_minimum(ag_tensor *a, ag_tensor *b);
AG_API ag_tensor *ag_logaddexp(ag_tensor *a, ag_tensor *b); /* ln(e^a + e^b) */
AG_API ag_tensor *ag_xlogy(ag_tensor *a, ag_tensor *b);     /* a ln b, 0 where a = 0 */
AG_API ag_tensor *ag_copysign(ag_tensor *a, ag_tensor *b);  /* |a| with the sign of b */
AG_API ag_tensor *ag_eq(ag_tensor *a, ag_tensor *b);        /* bool, no gradient; likewise: */
AG_API ag_tensor *ag_ne(ag_tensor *a, ag_tensor *b);
AG_API ag_tensor *ag_lt(ag_tensor *a, ag_tensor *b);
AG_API ag_tensor *ag_le(ag_tensor *a, ag_tensor *b);
AG_API ag_tensor *ag_gt(ag_tensor *a, ag_tensor *b);
AG_API ag_tensor *ag_ge(ag_tensor *a, ag_tensor *b);
AG_API ag_tensor *ag_logical_and(ag_tensor *a, ag_tensor *b);
AG_API ag_tensor *ag_logical_or(ag_tensor *a, ag_tensor *b);
AG_API ag_tensor *ag_where(ag_tensor *cond, ag_tensor *a, ag_tensor *b); /* cond ? a : b */
AG_API ag_tensor *ag_lerp(ag_tensor *a, ag_tensor *b, ag_tensor *w);     /* a + w (b - a) */

/* ---- reductions: over .dims (none: all), which vanish unless .keepdim --------------------------- */

typedef struct {
    size_t size;
    ag_ints dims;
    bool keepdim;
    bool correction_zero; /* var and std: divide by n, not n - 1 */
} ag_reduce_options;

AG_API ag_tensor *ag_sum(ag_tensor *x, const ag_reduce_options *);  /* integers give i64 */
AG_API ag_tensor *ag_mean(ag_tensor *x, const ag_reduce_options *); /* floating point only */
AG_API ag_tensor *ag_prod(ag_tensor *x, const ag_reduce_options *); /* exact gradient with zeros */
AG_API ag_tensor *ag_amax(ag_tensor *x, const ag_reduce_options *); /* ties share the gradient */
AG_API ag_tensor *ag_amin(ag_tensor *x, const ag_reduce_options *);
AG_API ag_tensor *ag_var(ag_tensor *x, const ag_reduce_options *);  /* sum (x - mean)^2 / (n - 1) */
AG_API ag_tensor *ag_std(ag_tensor *x, const ag_reduce_options *);  /* sqrt(var) */
AG_API ag_tensor *ag_logsumexp(ag_tensor *x, const ag_reduce_options *); /* ln sum e^x */
AG_API ag_tensor *ag_nansum(ag_tensor *x, const ag_reduce_options *); /* without the NaNs */
/* (sum |x|^p)^(1/p) for any p; 0: how many are not 0, INFINITY: the greatest |x|, -INFINITY: the least.
 * Nothing overflows on the way. The derivative is 0 where x or the norm is. Floating point only. */
AG_API ag_tensor *ag_norm(ag_tensor *x, double p, const ag_reduce_options *);
AG_API ag_tensor *ag_count_nonzero(ag_tensor *x, const ag_reduce_options *); /* i64, no gradient */
AG_API ag_tensor *ag_any(ag_tensor *x, const ag_reduce_options *); /* is not 0; bool, but u8 for u8 */
AG_API ag_tensor *ag_all(ag_tensor *x, const ag_reduce_options *); /* likewise; true of nothing */
AG_API ag_tensor *ag_argmax(ag_tensor *x, int dim, bool keepdim);   /* i64, the first of equals */
AG_API ag_tensor *ag_argmin(ag_tensor *x, int dim, bool keepdim);
AG_API ag_tensor *ag_cumsum(ag_tensor *x, int dim);                 /* y_i = x_0 + ... + x_i */
AG_API ag_tensor *ag_cumprod(ag_tensor *x, int dim); /* y_i = x_0 ... x_i; exact gradient with zeros */
AG_API ag_tensor *ag_logcumsumexp(ag_tensor *x, int dim);           /* ln(e^x_0 + ... + e^x_i) */

/* Elements chosen along dim, and their indices there (i64), which say where the gradient goes. Either
 * pointer may be NULL. NaN is greater than all else; one in a line is its max, min and median too. */
AG_API bool ag_max_dim(ag_tensor *x, int dim, bool keepdim, ag_tensor **values,
                       ag_tensor **indices); /* the first of equals */
AG_API bool ag_min_dim(ag_tensor *x, int dim, bool keepdim, ag_tensor **values,
                       ag_tensor **indices); /* the first of equals */
AG_API bool ag_median_dim(ag_tensor *x, int dim, bool keepdim, ag_tensor **values,
                          ag_tensor **indices); /* the lower one of two */
AG_API bool ag_sort(ag_tensor *x, int dim, bool descending, ag_tensor **values,
                    ag_tensor **indices); /* equals stay in their order */
AG_API bool ag_topk(ag_tensor *x, int64_t k, int dim, bool largest, ag_tensor **values,
                    ag_tensor **indices); /* the first k in that order */
AG_API bool ag_cummax(ag_tensor *x, int dim, ag_tensor **values,
                      ag_tensor **indices); /* y_i = max(x_0, ..., x_i), the last of equals */
AG_API bool ag_cummin(ag_tensor *x, int dim, ag_tensor **values, ag_tensor **indices);

/* ---- shape. Views share the storage of x; cat, stack, flip, tril, triu and copies do not. --------- */

AG_API ag_tensor *ag_reshape(ag_tensor *x, ag_ints shape); /* one size may be -1; a view if possible */
AG_API ag_tensor *ag_view(ag_tensor *x, ag_ints shape);    /* likewise, or an error */
AG_API ag_tensor *ag_expand(ag_tensor *x, ag_ints shape);  /* repeats sizes of 1; -1 keeps a size */
AG_API ag_tensor *ag_permute(ag_tensor *x, ag_ints dims);
AG_API ag_tensor *ag_transpose(ag_tensor *x, int d0, int d1);
AG_API ag_tensor *ag_t(ag_tensor *x);                      /* the transpose of a matrix */
AG_API ag_tensor *ag_squeeze(ag_tensor *x, int dim);       /* unchanged when the size is not 1 */
AG_API ag_tensor *ag_unsqueeze(ag_tensor *x, int dim);
AG_API ag_tensor *ag_flatten(ag_tensor *x, int start, int end);
AG_API ag_tensor *ag_select(ag_tensor *x, int dim, int64_t i);
AG_API ag_tensor *ag_slice(ag_tensor *x, int dim, int64_t start, int64_t stop, int64_t step);
AG_API ag_tensor *ag_narrow(ag_tensor *x, int dim, int64_t start, int64_t length);
AG_API ag_tensor *ag_movedim(ag_tensor *x, int from, int to); /* the other dims keep their order */
/* Elements with column - row = offset in dims d1 (rows) and d2, which become the last dim. */
AG_API ag_tensor *ag_diagonal(ag_tensor *x, int64_t offset, int d1, int d2);
/* Windows of `size` along dim, `step` apart; their elements become a new last dim. */
AG_API ag_tensor *ag_unfold(ag_tensor *x, int dim, int64_t size, int64_t step);
/* Any view of x's storage; strides (not negative) and offset are in elements of it. */
AG_API ag_tensor *ag_as_strided(ag_tensor *x, ag_ints shape, ag_ints strides, int64_t offset);
/* The parts of x along dim fill out[0..capacity); how many there are, or -1 with an error, also when
 * there is not enough room. split: parts of `size`, the last may be smaller; chunk: `chunks` parts of
 * one size, rounded up, or fewer; unbind: every index by itself, without the dim. */
AG_API int ag_split(ag_tensor *x, int64_t size, int dim, ag_tensor **out, int capacity);
AG_API int ag_chunk(ag_tensor *x, int64_t chunks, int dim, ag_tensor **out, int capacity);
AG_API int ag_unbind(ag_tensor *x, int dim, ag_tensor **out, int capacity);
AG_API ag_tensor *ag_cat(ag_tensor *const *tensors, int n, int dim);
AG_API ag_tensor *ag_stack(ag_tensor *const *tensors, int n, int dim);
AG_API ag_tensor *ag_flip(ag_tensor *x, ag_ints dims);
AG_API ag_tensor *ag_tril(ag_tensor *x, int64_t k); /* elements with column - row <= k */
AG_API ag_tensor *ag_triu(ag_tensor *x, int64_t k); /* elements with column - row >= k */
AG_API ag_tensor *ag_contiguous(ag_tensor *t); /* t itself when it already is */
AG_API ag_tensor *ag_to(ag_tensor *t, ag_dtype dtype); /* t itself when it already is */
AG_API ag_tensor *ag_clone(ag_tensor *t);

/* ---- products -------------------------------------------------------------------------------- */

AG_API ag_tensor *ag_matmul(ag_tensor *a, ag_tensor *b); /* all ranks, batches broadcast */
AG_API ag_tensor *ag_mm(ag_tensor *a, ag_tensor *b);     /* (n, k) (k, m) -> (n, m) */
AG_API ag_tensor *ag_bmm(ag_tensor *a, ag_tensor *b);    /* (b, n, k) (b, k, m) -> (b, n, m) */
AG_API ag_tensor *ag_mv(ag_tensor *a, ag_tensor *b);     /* (n, k) (k) -> (n) */
AG_API ag_tensor *ag_dot(ag_tensor *a, ag_tensor *b);    /* (k) (k) -> () */
typedef struct {
    size_t size;
    double beta, alpha; /* 0: 1 */
} ag_addmm_options;
AG_API ag_tensor *ag_addmm(ag_tensor *m, ag_tensor *a, ag_tensor *b,
                           const ag_addmm_options *); /* beta m + alpha a b */
AG_API ag_tensor *ag_linear(ag_tensor *x, ag_tensor *weight,
                            ag_tensor *bias_or_null); /* x weight^T + bias; weight is (out, in) */

/* ---- indexing. Indices are i64 (or i32) tensors; out of range is an error. Sums into a place that is
 *      indexed several times have a fixed order; of values written to one place the last stays. ------ */

AG_API ag_tensor *ag_index_select(ag_tensor *x, int dim, ag_tensor *index); /* index is 1-dim */
/* x with src, slice by slice, added at the indices of dim; src has x's dtype. */
AG_API ag_tensor *ag_index_add(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src);
AG_API ag_tensor *ag_gather(ag_tensor *x, int dim, ag_tensor *index); /* y[i][j] = x[index[i][j]][j] */
/* x with x[index[i][j]][j] = src[i][j], or += in the second; index is nowhere larger than src. */
AG_API ag_tensor *ag_scatter(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src);
AG_API ag_tensor *ag_scatter_add(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src);
AG_API ag_tensor *ag_take(ag_tensor *x, ag_tensor *index); /* of x as a vector; -1 is the last */
/* x[a, b] of PyTorch. Each of the n <= ndim tensors holds indices (-1 is the last) or is NULL, which
 * is the whole dim, or a bool or u8 mask of one or more dims. They broadcast together; the result has
 * their shape in place of the indexed dims when these are neighbours, and else in front. */
AG_API ag_tensor *ag_index(ag_tensor *x, ag_tensor *const *tensors, int n);
/* x with v, which broadcasts, written there (or added, with accumulate). */
AG_API ag_tensor *ag_index_put(ag_tensor *x, ag_tensor *const *tensors, int n, ag_tensor *v,
                               bool accumulate);
AG_API ag_tensor *ag_embedding(ag_tensor *weight, ag_tensor *index);  /* rows of weight */
AG_API ag_tensor *ag_one_hot(ag_tensor *index, int64_t classes);      /* i64, no gradient */
/* Masks are bool and broadcast with x. select: the elements in order, as a vector; scatter: x with
 * the first elements of src in place of those. */
AG_API ag_tensor *ag_masked_fill(ag_tensor *x, ag_tensor *mask, ag_tensor *value);
AG_API ag_tensor *ag_masked_select(ag_tensor *x, ag_tensor *mask);
AG_API ag_tensor *ag_masked_scatter(ag_tensor *x, ag_tensor *mask, ag_tensor *src);

/* ---- random draws ------------------------------------------------------------------------------ */

AG_API ag_tensor *ag_bernoulli(ag_tensor *p); /* 1 with probability p in [0, 1], else 0; derivative 0 */
/* In training, each element is 0 with probability p and divided by 1 - p otherwise; else x itself. */
AG_API ag_tensor *ag_dropout(ag_tensor *x, double p, bool training);

/* ---- normalisation and losses ------------------------------------------------------------------ */

AG_API ag_tensor *ag_softmax(ag_tensor *x, int dim);     /* e^x / sum e^x */
AG_API ag_tensor *ag_log_softmax(ag_tensor *x, int dim); /* x - logsumexp x */
/* (x - mean) / sqrt(var + eps) over the last n dims, times weight plus bias (each may be NULL). */
AG_API ag_tensor *ag_layer_norm(ag_tensor *x, int n_trailing_dims, ag_tensor *weight_or_null,
                                ag_tensor *bias_or_null, double eps);

typedef enum { AG_MEAN, AG_SUM, AG_NONE } ag_reduction;
typedef struct {
    size_t size;
    ag_tensor *weight;      /* one per class; NULL: ones */
    int64_t ignore_index;   /* targets equal to it count nothing; 0: -100 */
    double label_smoothing; /* in [0, 1] */
    ag_reduction reduction;
} ag_loss_options;
AG_API ag_tensor *ag_mse_loss(ag_tensor *x, ag_tensor *target, const ag_loss_options *);
/* x: (N, C) or (C) or (N, C, d...) log-probabilities; target: class indices, i64. */
AG_API ag_tensor *ag_nll_loss(ag_tensor *x, ag_tensor *target, const ag_loss_options *);
AG_API ag_tensor *ag_cross_entropy(ag_tensor *logits, ag_tensor *target, const ag_loss_options *);

/* ---- in place: the first operand is written, and returned. Every pointwise operation has such a twin,
 *      named with an underscore at its end, and with the same further operands. ------------------- */

#define AG__INPLACE(name) AG_API ag_tensor *ag_##name##_(ag_tensor *x);
AG__INPLACE(neg) AG__INPLACE(abs) AG__INPLACE(sign) AG__INPLACE(sqrt) AG__INPLACE(rsqrt)
AG__INPLACE(reciprocal) AG__INPLACE(square) AG__INPLACE(exp) AG__INPLACE(exp2) AG__INPLACE(expm1)
AG__INPLACE(log) AG__INPLACE(log2) AG__INPLACE(log10) AG__INPLACE(log1p) AG__INPLACE(sin)
AG__INPLACE(cos) AG__INPLACE(tan) AG__INPLACE(asin) AG__INPLACE(acos) AG__INPLACE(atan)
AG__INPLACE(sinh) AG__INPLACE(cosh) AG__INPLACE(tanh) AG__INPLACE(asinh) AG__INPLACE(acosh)
AG__INPLACE(atanh) AG__INPLACE(erf) AG__INPLACE(erfc) AG__INPLACE(erfinv) AG__INPLACE(lgamma)
AG__INPLACE(digamma) AG__INPLACE(sigmoid) AG__INPLACE(logit) AG__INPLACE(softplus)
AG__INPLACE(relu) AG__INPLACE(selu) AG__INPLACE(silu) AG__INPLACE(mish) AG__INPLACE(hardsigmoid)
AG__INPLACE(hardswish) AG__INPLACE(floor) AG__INPLACE(ceil) AG__INPLACE(round) AG__INPLACE(trunc)
AG__INPLACE(sinc) AG__INPLACE(nan_to_num)
AG_API ag_tensor *ag_leaky_relu_(ag_tensor *x, double slope);
AG_API ag_tensor *ag_elu_(ag_tensor *x, double alpha);
AG_API ag_tensor *ag_celu_(ag_tensor *x, double alpha);
AG_API ag_tensor *ag_hardtanh_(ag_tensor *x, double lo, double hi);
AG_API ag_tensor *ag_clamp_(ag_tensor *x, double lo, double hi);
#define AG__INPLACE2(name) AG_API ag_tensor *ag_##name##_(ag_tensor *x, ag_tensor *b);
AG__INPLACE2(add) AG__INPLACE2(sub) AG__INPLACE2(mul) AG__INPLACE2(div) AG__INPLACE2(pow)
AG__INPLACE2(fmod) AG__INPLACE2(remainder) AG__INPLACE2(atan2) AG__INPLACE2(hypot)
AG__INPLACE2(maximum) AG__INPLACE2(minimum) AG__INPLACE2(logaddexp) AG__INPLACE2(xlogy)
AG__INPLACE2(copysign)
#undef AG__INPLACE
#undef AG__INPLACE2
AG_API ag_tensor *ag_lerp_(ag_tensor *x, ag_tensor *b, ag_tensor *w);
AG_API ag_tensor *ag_fill_(ag_tensor *x, double value);
AG_API ag_tensor *ag_zero_(ag_tensor *x);
AG_API ag_tensor *ag_copy_(ag_tensor *dst, ag_tensor *src); /* broadcasts and casts src */
AG_API ag_tensor *ag_index_add_(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src);
AG_API ag_tensor *ag_scatter_(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src);
AG_API ag_tensor *ag_scatter_add_(ag_tensor *x, int dim, ag_tensor *index, ag_tensor *src);
AG_API ag_tensor *ag_index_put_(ag_tensor *x, ag_tensor *const *tensors, int n, ag_tensor *v,
                                bool accumulate);
AG_API ag_tensor *ag_masked_fill_(ag_tensor *x, ag_tensor *mask, ag_tensor *value);
AG_API ag_tensor *ag_masked_scatter_(ag_tensor *x, ag_tensor *mask, ag_tensor *src);
AG_API ag_tensor *ag_bernoulli_(ag_tensor *x, ag_tensor *p); /* any dtype; p broadcasts to x */
AG_API ag_tensor *ag_dropout_(ag_tensor *x, double p, bool training);

/* ---- training ---------------------------------------------------------------------------------- */

typedef struct {
    size_t size;
    double lr; /* 0: 0.001 */
    double momentum, dampening, weight_decay;
    bool nesterov;
} ag_sgd_options;
typedef struct {
    size_t size;
    double lr, beta1, beta2, eps; /* 0: 0.001, 0.9, 0.999, 1e-8 */
    double weight_decay;
} ag_adam_options;
/* Optimisers hold on to their parameters. Steps follow torch.optim. */
AG_API ag_optimizer *ag_sgd(ag_tensor *const *params, int n, const ag_sgd_options *);
AG_API ag_optimizer *ag_adam(ag_tensor *const *params, int n, const ag_adam_options *);
AG_API bool ag_step(ag_optimizer *o); /* parameters without a gradient stay */
AG_API void ag_optimizer_zero_grad(ag_optimizer *o);
AG_API void ag_optimizer_set_lr(ag_optimizer *o, double lr);
AG_API void ag_optimizer_free(ag_optimizer *o);

/* Initialisers, in place, outside the graph; they return x. fan_in = size(1) * the rest after it. */
AG_API ag_tensor *ag_uniform_(ag_tensor *x, double lo, double hi);
AG_API ag_tensor *ag_normal_(ag_tensor *x, double mean, double std);
AG_API ag_tensor *ag_kaiming_uniform_(ag_tensor *x, double slope); /* He et al. 2015 */
AG_API ag_tensor *ag_kaiming_normal_(ag_tensor *x, double slope);
AG_API ag_tensor *ag_xavier_uniform_(ag_tensor *x, double gain);   /* Glorot and Bengio 2010 */
AG_API ag_tensor *ag_xavier_normal_(ag_tensor *x, double gain);

/* ---- files ------------------------------------------------------------------------------------- */

/* NumPy's formats 1.0 to 3.0, regular files only. Saving writes PATH.tmp, which then takes the place
 * of path: after an error an old file is as it was. There is no bfloat16. */
AG_API ag_tensor *ag_load_npy(ag_context *c, const char *path);
AG_API bool ag_save_npy(ag_tensor *t, const char *path);
AG_API bool ag_write_dot(ag_tensor *t, const char *path); /* the graph behind t, for Graphviz */

#ifdef __cplusplus
}
#endif

/* ---- the macros: options by name, numbers as operands ------------------------------------------- */

#ifndef __cplusplus

/* Checked mode: with AG_CHECKED defined before this header, each call leaves its file and line in the
 * context. Error messages end with them, a changed value is told of with the places that saved and
 * changed it, and anomaly mode knows the forward call behind a node. */
#ifdef AG_CHECKED
#define AG__HERE(t) ag__here(t, __FILE__, __LINE__)
#define AG__HERE_LIST(list) ag__here_list(list, __FILE__, __LINE__)
#define AG__HERE_CONTEXT(c) ag__here_context(c, __FILE__, __LINE__)
#else
#define AG__HERE(t) t
#define AG__HERE_LIST(list) list
#define AG__HERE_CONTEXT(c) c
#endif

#define ag_open(...) (ag_open)(AG__OPTIONS(ag_open_options, __VA_ARGS__))
#define AG__T(...) AG__OPTIONS(ag_tensor_options, __VA_ARGS__)
#define ag_array(c, values, shape, ...) (ag_array)(AG__HERE_CONTEXT(c), values, shape, AG__T(__VA_ARGS__))
#define ag_scalar(c, value, ...) (ag_scalar)(AG__HERE_CONTEXT(c), value, AG__T(__VA_ARGS__))
#define ag_from_data(c, p, dtype_, shape, ...) (ag_from_data)(AG__HERE_CONTEXT(c), p, dtype_, shape, AG__T(__VA_ARGS__))
#define ag_empty(c, shape, ...) (ag_empty)(AG__HERE_CONTEXT(c), shape, AG__T(__VA_ARGS__))
#define ag_zeros(c, shape, ...) (ag_zeros)(AG__HERE_CONTEXT(c), shape, AG__T(__VA_ARGS__))
#define ag_ones(c, shape, ...) (ag_ones)(AG__HERE_CONTEXT(c), shape, AG__T(__VA_ARGS__))
#define ag_full(c, shape, value, ...) (ag_full)(AG__HERE_CONTEXT(c), shape, value, AG__T(__VA_ARGS__))
#define ag_arange(c, a, b, step, ...) (ag_arange)(AG__HERE_CONTEXT(c), a, b, step, AG__T(__VA_ARGS__))
#define ag_linspace(c, a, b, n, ...) (ag_linspace)(AG__HERE_CONTEXT(c), a, b, n, AG__T(__VA_ARGS__))
#define ag_eye(c, n, ...) (ag_eye)(AG__HERE_CONTEXT(c), n, AG__T(__VA_ARGS__))
#define ag_rand(c, shape, ...) (ag_rand)(AG__HERE_CONTEXT(c), shape, AG__T(__VA_ARGS__))
#define ag_randn(c, shape, ...) (ag_randn)(AG__HERE_CONTEXT(c), shape, AG__T(__VA_ARGS__))
#define ag_randint(c, lo, hi, shape, ...) (ag_randint)(AG__HERE_CONTEXT(c), lo, hi, shape, AG__T(__VA_ARGS__))
#define ag_randperm(c, n, ...) (ag_randperm)(AG__HERE_CONTEXT(c), n, AG__T(__VA_ARGS__))
#define ag_at(t, ...) ag_at_index(t, AG_DIMS(__VA_ARGS__))

#define ag_backward(t, ...) (ag_backward)(AG__HERE(t), AG__OPTIONS(ag_backward_options, __VA_ARGS__))
#define ag_backward_all(t, n, ...)                                                                 \
    (ag_backward_all)(AG__HERE_LIST(t), n, AG__OPTIONS(ag_backward_all_options, __VA_ARGS__))
#define ag_grad(outputs, n, inputs, m, results, ...)                                               \
    (ag_grad)(AG__HERE_LIST(outputs), n, inputs, m, results, AG__OPTIONS(ag_grad_options, __VA_ARGS__))
#define ag_register_multi_grad_hook(tensors, n, hook, user, ...)                                   \
    (ag_register_multi_grad_hook)(AG__HERE_LIST(tensors), n, hook, user,                                          \
                                  AG__OPTIONS(ag_multi_grad_options, __VA_ARGS__))
#define ag_saved_hooks_push(c, pack, unpack, user, ...)                                            \
    (ag_saved_hooks_push)(AG__HERE_CONTEXT(c), pack, unpack, user, AG__OPTIONS(ag_saved_hooks_options, __VA_ARGS__))
#define ag_node_saved_set_hooks(node, i, pack, unpack, user, ...)                                  \
    (ag_node_saved_set_hooks)(node, i, pack, unpack, user,                                         \
                              AG__OPTIONS(ag_saved_hooks_options, __VA_ARGS__))
#define ag_saved_offload_push(c, folder, ...)                                                      \
    (ag_saved_offload_push)(AG__HERE_CONTEXT(c), folder, AG__OPTIONS(ag_offload_options, __VA_ARGS__))
#define ag_checkpoint(fn, in, n, out, m, user, ...)                                                \
    (ag_checkpoint)(fn, in, n, out, m, user, AG__OPTIONS(ag_checkpoint_options, __VA_ARGS__))
#define ag_checkpoint_sequence(fn, steps, in, n, out, user, ...)                                   \
    (ag_checkpoint_sequence)(fn, steps, in, n, out, user,                                          \
                             AG__OPTIONS(ag_checkpoint_sequence_options, __VA_ARGS__))
#define ag_jacobian(fn, x, user, ...)                                                              \
    (ag_jacobian)(fn, x, user, AG__OPTIONS(ag_jacobian_options, __VA_ARGS__))
#define ag_gradcheck(fn, in, n, user, ...)                                                         \
    (ag_gradcheck)(fn, in, n, user, AG__OPTIONS(ag_gradcheck_options, __VA_ARGS__))
#define ag_gradgradcheck(fn, in, n, user, ...)                                                     \
    (ag_gradgradcheck)(fn, in, n, user, AG__OPTIONS(ag_gradcheck_options, __VA_ARGS__))

#define ag_while_loop(cond, body, init, n, out, ...)                                                \
    (ag_while_loop)(cond, body, init, n, out, AG__OPTIONS(ag_while_options, __VA_ARGS__))
#define ag_cond(pred, true_fn, false_fn, in, n, out, m, ...)                                       \
    (ag_cond)(AG__HERE(pred), true_fn, false_fn, in, n, out, m, AG__OPTIONS(ag_cond_options, __VA_ARGS__))
#define ag_switch(index, fns, n_fns, in, n, out, m, ...)                                           \
    (ag_switch)(AG__HERE(index), fns, n_fns, in, n, out, m, AG__OPTIONS(ag_cond_options, __VA_ARGS__))
#define ag_scan(fn, init, n, xs, k, carry_out, ys, m, ...)                                         \
    (ag_scan)(fn, init, n, xs, k, carry_out, ys, m, AG__OPTIONS(ag_scan_options, __VA_ARGS__))
#define ag_placeholder(g, dtype, shape, ...)                                                       \
    (ag_placeholder)(g, dtype, shape, AG__OPTIONS(ag_node_options, __VA_ARGS__))
#define ag_constant(g, value, ...) (ag_constant)(g, value, AG__OPTIONS(ag_node_options, __VA_ARGS__))
#define ag_variable(g, value, ...) (ag_variable)(g, value, AG__OPTIONS(ag_node_options, __VA_ARGS__))
#define ag_variable_empty(g, dtype, shape, ...)                                                    \
    (ag_variable_empty)(g, dtype, shape, AG__OPTIONS(ag_node_options, __VA_ARGS__))
#define ag_session_new(g, ...) (ag_session_new)(g, AG__OPTIONS(ag_session_options, __VA_ARGS__))
#define ag_compile(c, fn, n_outputs, user, ...)                                                    \
    (ag_compile)(c, fn, n_outputs, user, AG__OPTIONS(ag_compile_options, __VA_ARGS__))

#define AG__R(...) AG__OPTIONS(ag_reduce_options, __VA_ARGS__)
#define ag_sum(x, ...) (ag_sum)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_mean(x, ...) (ag_mean)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_prod(x, ...) (ag_prod)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_amax(x, ...) (ag_amax)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_amin(x, ...) (ag_amin)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_var(x, ...) (ag_var)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_std(x, ...) (ag_std)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_logsumexp(x, ...) (ag_logsumexp)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_nansum(x, ...) (ag_nansum)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_norm(x, p, ...) (ag_norm)(AG__HERE(x), p, AG__R(__VA_ARGS__))
#define ag_count_nonzero(x, ...) (ag_count_nonzero)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_any(x, ...) (ag_any)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_all(x, ...) (ag_all)(AG__HERE(x), AG__R(__VA_ARGS__))
#define ag_addmm(m, a, b, ...) (ag_addmm)(AG__HERE(m), a, b, AG__OPTIONS(ag_addmm_options, __VA_ARGS__))
#define AG__L(...) AG__OPTIONS(ag_loss_options, __VA_ARGS__)
#define ag_mse_loss(x, target, ...) (ag_mse_loss)(AG__HERE(x), target, AG__L(__VA_ARGS__))
#define ag_nll_loss(x, target, ...) (ag_nll_loss)(AG__HERE(x), target, AG__L(__VA_ARGS__))
#define ag_cross_entropy(x, target, ...) (ag_cross_entropy)(AG__HERE(x), target, AG__L(__VA_ARGS__))
#define ag_sgd(params, n, ...) (ag_sgd)(AG__HERE_LIST(params), n, AG__OPTIONS(ag_sgd_options, __VA_ARGS__))
#define ag_adam(params, n, ...) (ag_adam)(AG__HERE_LIST(params), n, AG__OPTIONS(ag_adam_options, __VA_ARGS__))

static inline ag_operand ag_operand_tensor(ag_tensor *t)
{
    return (ag_operand){ t, 0, AG_OPERAND_TENSOR };
}
static inline ag_operand ag_operand_null(void *null)
{
    return (ag_operand){ (ag_tensor *)null, 0, AG_OPERAND_TENSOR };
}
static inline ag_operand ag_operand_integer(int64_t v)
{
    return (ag_operand){ NULL, (double)v, AG_OPERAND_INTEGER };
}
static inline ag_operand ag_operand_real(double v)
{
    return (ag_operand){ NULL, v, AG_OPERAND_REAL };
}
#define AG__SELECT(v)                                                                              \
    _Generic((v), ag_tensor *: ag_operand_tensor, void *: ag_operand_null,                         \
             float: ag_operand_real, double: ag_operand_real, long double: ag_operand_real,        \
             default: ag_operand_integer)
/* The argument's text appears once where the compiler can hold it in a variable, so that deep
 * nesting stays linear; the portable form repeats it. */
#ifdef __GNUC__
#define AG__OPERAND_AS(v, name)                                                                    \
    __extension__({                                                                                \
        __auto_type name = (v);                                                                    \
        AG__SELECT(name)(name);                                                                    \
    })
#define AG__OPERAND(v) AG__OPERAND_AS(v, AG__CAT(ag__v, __COUNTER__))
#else
#define AG__OPERAND(v) AG__SELECT(v)(v)
#endif
#ifdef AG_CHECKED
#define AG__BINARY(f, a, b) ag__call_binary_at(f, AG__OPERAND(a), AG__OPERAND(b), __FILE__, __LINE__)
#define AG__TERNARY(f, a, b, w)                                                                    \
    ag__call_ternary_at(f, AG__OPERAND(a), AG__OPERAND(b), AG__OPERAND(w), __FILE__, __LINE__)
#else
#define AG__BINARY(f, a, b) ag_call_binary(f, AG__OPERAND(a), AG__OPERAND(b))
#define AG__TERNARY(f, a, b, w) ag_call_ternary(f, AG__OPERAND(a), AG__OPERAND(b), AG__OPERAND(w))
#endif

#define ag_add(a, b) AG__BINARY(ag_add, a, b)
#define ag_sub(a, b) AG__BINARY(ag_sub, a, b)
#define ag_mul(a, b) AG__BINARY(ag_mul, a, b)
#define ag_div(a, b) AG__BINARY(ag_div, a, b)
#define ag_pow(a, b) AG__BINARY(ag_pow, a, b)
#define ag_fmod(a, b) AG__BINARY(ag_fmod, a, b)
#define ag_remainder(a, b) AG__BINARY(ag_remainder, a, b)
#define ag_atan2(a, b) AG__BINARY(ag_atan2, a, b)
#define ag_hypot(a, b) AG__BINARY(ag_hypot, a, b)
#define ag_maximum(a, b) AG__BINARY(ag_maximum, a, b)
#define ag_minimum(a, b) AG__BINARY(ag_minimum, a, b)
#define ag_logaddexp(a, b) AG__BINARY(ag_logaddexp, a, b)
#define ag_xlogy(a, b) AG__BINARY(ag_xlogy, a, b)
#define ag_copysign(a, b) AG__BINARY(ag_copysign, a, b)
#define ag_eq(a, b) AG__BINARY(ag_eq, a, b)
#define ag_ne(a, b) AG__BINARY(ag_ne, a, b)
#define ag_lt(a, b) AG__BINARY(ag_lt, a, b)
#define ag_le(a, b) AG__BINARY(ag_le, a, b)
#define ag_gt(a, b) AG__BINARY(ag_gt, a, b)
#define ag_ge(a, b) AG__BINARY(ag_ge, a, b)
#define ag_logical_and(a, b) AG__BINARY(ag_logical_and, a, b)
#define ag_logical_or(a, b) AG__BINARY(ag_logical_or, a, b)
#define ag_where(cond, a, b) AG__TERNARY(ag_where, cond, a, b)
#define ag_lerp(a, b, w) AG__TERNARY(ag_lerp, a, b, w)
#define ag_masked_fill(x, mask, v) AG__TERNARY(ag_masked_fill, x, mask, v)
#define ag_masked_fill_(x, mask, v) AG__TERNARY(ag_masked_fill_, x, mask, v)
#define ag_bernoulli_(x, p) AG__BINARY(ag_bernoulli_, x, p)
#define ag_assign(var, value) AG__BINARY(ag_assign, var, value)
#define ag_assign_add(var, value) AG__BINARY(ag_assign_add, var, value)
#define ag_assign_sub(var, value) AG__BINARY(ag_assign_sub, var, value)
#define ag_add_(a, b) AG__BINARY(ag_add_, a, b)
#define ag_sub_(a, b) AG__BINARY(ag_sub_, a, b)
#define ag_mul_(a, b) AG__BINARY(ag_mul_, a, b)
#define ag_div_(a, b) AG__BINARY(ag_div_, a, b)
#define ag_pow_(a, b) AG__BINARY(ag_pow_, a, b)
#define ag_fmod_(a, b) AG__BINARY(ag_fmod_, a, b)
#define ag_remainder_(a, b) AG__BINARY(ag_remainder_, a, b)
#define ag_atan2_(a, b) AG__BINARY(ag_atan2_, a, b)
#define ag_hypot_(a, b) AG__BINARY(ag_hypot_, a, b)
#define ag_maximum_(a, b) AG__BINARY(ag_maximum_, a, b)
#define ag_minimum_(a, b) AG__BINARY(ag_minimum_, a, b)
#define ag_logaddexp_(a, b) AG__BINARY(ag_logaddexp_, a, b)
#define ag_xlogy_(a, b) AG__BINARY(ag_xlogy_, a, b)
#define ag_copysign_(a, b) AG__BINARY(ag_copysign_, a, b)
#define ag_lerp_(a, b, w) AG__TERNARY(ag_lerp_, a, b, w)

#ifdef AG_CHECKED
#include "autograd_checked.h"
#endif

#endif /* __cplusplus */

#endif /* AUTOGRAD_H */
