/*
 * What is saved for backward: hooks around saved values, their order and their failures; names and
 * values of what a node saved, and how much a graph keeps. Expectations and sentences are those of
 * torch.autograd.graph, names those of PyTorch's _saved_* attributes.
 */
#include "harness.h"

#include <dirent.h>
#include <stdio.h>

/* The calls of hooks, in order: P and U with the number of the pair, F when a value is given up. */
typedef struct {
    int pair;
    char *log;
    int packs, unpacks, frees;
    bool fail_pack, fail_unpack, in_place, halve;
    bool saw_grad_mode, saw_graph;
    ag_tensor *instead, *seen;
} hooks;

static void note(hooks *h, char what)
{
    if (h->log) {
        char *end = h->log + strlen(h->log);
        end[0] = what;
        end[1] = (char)('0' + h->pair);
        end[2] = '\0';
    }
}

static void *pack(ag_tensor *t, void *user)
{
    hooks *h = user;
    ag_context *c = ag_context_of(t);
    note(h, 'P');
    h->packs++;
    h->seen = t;
    h->saw_grad_mode = ag_grad_enabled(c);
    h->saw_graph = ag_grad_fn(t) != NULL;
    if (h->fail_pack)
        return ag_fail(c, AG_ERR_IO, "pack broke"), NULL;
    if (h->in_place && !ag_add_(t, 1))
        return NULL;
    return ag_retain(h->halve ? ag_mul(t, 0.5) : t);
}

static ag_tensor *unpack(void *packed, void *user)
{
    hooks *h = user;
    ag_tensor *t = packed;
    note(h, 'U');
    h->unpacks++;
    h->saw_grad_mode = ag_grad_enabled(ag_context_of(t));
    if (h->fail_unpack)
        return ag_fail(ag_context_of(t), AG_ERR_IO, "unpack broke"), NULL;
    if (h->instead)
        return h->instead;
    return h->halve ? ag_mul(t, 2) : t;
}

static ag_tensor *unpack_nothing(void *packed, void *user)
{
    (void)packed, (void)user;
    return NULL;
}

static void free_packed(void *packed, void *user)
{
    hooks *h = user;
    h->frees++;
    ag_release(packed);
}

#define PUSH(c, h) CHECK(ag_saved_hooks_push(c, pack, unpack, h, .free_packed = free_packed))

/* Values may be given up after the test's function is over. */
static hooks *new_hooks(int pair, char *log)
{
    static hooks all[4];
    all[pair] = (hooks){ .pair = pair, .log = log };
    return &all[pair];
}

static ag_tensor *leaf(ag_context *c)
{
    return ag_array(c, AG_VALUES(1, 2, 3), AG_SHAPE(3), .dtype = AG_F64, .requires_grad = true);
}

/* ---- hooks ---- */

static void t_innermost_pair(ag_context *c)
{
    char log[64] = "";
    hooks *one = new_hooks(1, log), *two = new_hooks(2, log);
    ag_tensor *x = leaf(c), *y, *z;
    PUSH(c, one);
    PUSH(c, two);
    y = ag_mul(x, x);
    ag_saved_hooks_pop(c);
    z = ag_sin(y);
    ag_saved_hooks_pop(c);
    CHECK(z);
    CHECK_TEXT(log, "P2P2P1");
    z = ag_sum(z);
    CHECK(ag_backward(z, .retain_graph = true));
    CHECK_TEXT(log, "P2P2P1U1U2U2");
    CHECK_INT(one->frees + two->frees, 0);
    CHECK(ag_backward(z));
    CHECK_TEXT(log, "P2P2P1U1U2U2U1U2U2");
    CHECK_INT(one->frees, 1);
    CHECK_INT(two->frees, 2);
    CHECK_ERROR(ag_backward(z), AG_ERR_GRAD, "Trying to backward through the graph a second time");
    CHECK_INT(one->unpacks, 2);
}

/* A graph that dies without a pass gives its values up, each once. */
static void t_freed_with_the_graph(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    AG_SCOPE (c) {
        ag_tensor *x = leaf(c);
        PUSH(c, h);
        CHECK(ag_exp(ag_mul(x, x)));
        ag_saved_hooks_pop(c);
        CHECK_INT(h->packs, 3);
        CHECK_INT(h->frees, 0);
    }
    CHECK_INT(h->frees, 3);
    CHECK_INT(h->unpacks, 0);
}

static void t_what_is_packed(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *y;
    PUSH(c, h);
    CHECK(ag_sin(a));
    CHECK(h->seen == a && h->saw_graph && !h->saw_grad_mode);
    CHECK_INT(h->packs, 1);
    CHECK(y = ag_exp(a)); /* a result comes without its graph */
    CHECK(h->seen != y && ag_data(h->seen) == ag_data(y));
    CHECK_INT(h->packs, 2);
    CHECK(ag_mul(a, 3)); /* numbers are not asked about */
    CHECK(ag_sum(ag_add(a, 1)));
    CHECK_INT(h->packs, 2);
    AG_NO_GRAD (c)
        CHECK(ag_mul(a, a)); /* nothing is saved */
    CHECK_INT(h->packs, 2);
    ag_saved_hooks_pop(c);
    CHECK(ag_mul(a, a));
    CHECK_INT(h->packs, 2);
}

static void t_values_pass_through(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    h->halve = true;
    ag_tensor *x = leaf(c), *y, *g, *k;
    PUSH(c, h);
    y = ag_sum(ag_mul(ag_exp(x), x)); /* exp saves its result */
    ag_saved_hooks_pop(c);
    CHECK(ag_grad(&y, 1, &x, 1, &g, .create_graph = true));
    for (int i = 0; i < 3; i++)
        CHECK_CLOSE(ag_at(g, i), exp(i + 1) * (i + 2), 1e-14);
    g = ag_sum(g);
    CHECK(ag_grad(&g, 1, &x, 1, &k));
    for (int i = 0; i < 3; i++)
        CHECK_CLOSE(ag_at(k, i), exp(i + 1) * (i + 3), 1e-14);
}

/* Versions are not looked at under hooks. */
static void t_versions(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    h->halve = true; /* a copy */
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *y;
    PUSH(c, h);
    y = ag_sum(ag_sin(a));
    ag_saved_hooks_pop(c);
    CHECK(ag_add_(a, 1));
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_at(ag_grad_of(x), 0), cos(1), 1e-15);
}

static void t_unpack_is_wrong(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    ag_tensor *x = leaf(c), *y, *z;
    PUSH(c, h);
    y = ag_sum(ag_sin(x));
    ag_saved_hooks_pop(c);
    CHECK(ag_saved_hooks_push(c, pack, unpack_nothing, h, .free_packed = free_packed));
    z = ag_sum(ag_sin(x));
    ag_saved_hooks_pop(c);
    WATCH(x);
    CHECK_ERROR(ag_backward(z), AG_ERR_VALUE,
                "Output of saved tensor unpack_hook expected to be a Tensor but got NULL");
    CHECK(h->instead = ag_narrow(x, 0, 0, 2));
    CHECK_ERROR(ag_backward(y), AG_ERR_SHAPE, "has dtype float64 and shape [2]");
    CHECK(h->instead = ag_ones(c, AG_SHAPE(3), .dtype = AG_F32));
    CHECK_ERROR(ag_backward(y), AG_ERR_SHAPE, "has dtype float32 and shape [3]");
    UNWATCH();
    h->instead = NULL;
    CHECK(ag_backward(y)); /* a pass that failed can be repeated */
    CHECK_CLOSE(ag_at(ag_grad_of(x), 1), cos(2), 1e-15);
}

static void t_hooks_fail(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    ag_tensor *x = leaf(c), *y;
    ag_memory_statistics before, after;
    h->fail_pack = true;
    PUSH(c, h);
    ag_memory_stats(c, &before);
    CHECK_ERROR(ag_mul(x, x), AG_ERR_IO, "pack broke");
    ag_memory_stats(c, &after);
    CHECK_INT(after.nodes, before.nodes);
    CHECK_INT(after.tensors, before.tensors);
    CHECK_INT(h->frees, 0); /* nothing was packed */
    h->fail_pack = false;
    y = ag_sum(ag_mul(x, x));
    ag_saved_hooks_pop(c);
    h->fail_unpack = true;
    WATCH(x);
    CHECK_ERROR(ag_backward(y), AG_ERR_IO, "unpack broke");
    UNWATCH();
    CHECK_INT(h->unpacks, 1);
    CHECK(ag_grad_enabled(c));
    h->fail_unpack = false;
    CHECK(ag_backward(y));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
    CHECK_INT(h->frees, 2);
}

/* The second value of a product does not come through: the first is given up again. */
static void *pack_once(ag_tensor *t, void *user)
{
    hooks *h = user;
    h->fail_pack = h->packs > 0;
    return pack(t, user);
}

static void t_second_pack_fails(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    ag_tensor *x = leaf(c);
    CHECK(ag_saved_hooks_push(c, pack_once, unpack, h, .free_packed = free_packed));
    CHECK_ERROR(ag_mul(x, x), AG_ERR_IO, "pack broke");
    ag_saved_hooks_pop(c);
    CHECK_INT(h->packs, 2);
    CHECK_INT(h->frees, 1);
}

static void t_pack_writes(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    h->in_place = true;
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1);
    PUSH(c, h);
    CHECK_ERROR(ag_exp(ag_exp(a)), AG_ERR_GRAD,
                "A saved tensor pack hook is modifying its input in place. Tensors provided as "
                "input to pack hook can not be modified by in-place operations as this can lead to "
                "unexpected side-effects. Please open an issue if you need to perform in-place "
                "operations on the input to a pack hook.");
    ag_saved_hooks_pop(c);
    CHECK_INT(h->packs, h->frees);
}

static void t_bad_calls(ag_context *c)
{
    CHECK_ERROR((ag_saved_hooks_push)(c, NULL, unpack, NULL, NULL), AG_ERR_VALUE, "NULL");
    CHECK_ERROR((ag_saved_hooks_push)(c, pack, NULL, NULL, NULL), AG_ERR_VALUE, "NULL");
    CHECK(!(ag_saved_hooks_push)(NULL, pack, unpack, NULL, NULL));
    ag_saved_hooks_pop(c); /* nothing was pushed */
    ag_saved_hooks_pop(NULL);
    CHECK(!ag_error(c));
}

static void t_disabled(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    ag_tensor *x = leaf(c), *y;
    CHECK(ag_saved_hooks_disable(c, "no hooks!"));
    CHECK(ag_backward(ag_sum(ag_mul(x, x)))); /* values are saved as ever */
    CHECK_ERROR((ag_saved_hooks_push)(c, pack, unpack, h, NULL), AG_ERR_GRAD, "no hooks!");
    CHECK(ag_saved_hooks_disable(c, "none at all"));
    CHECK_ERROR((ag_saved_hooks_push)(c, pack, unpack, h, NULL), AG_ERR_GRAD, "none at all");
    ag_saved_hooks_pop(c);
    CHECK_ERROR((ag_saved_hooks_push)(c, pack, unpack, h, NULL), AG_ERR_GRAD, "no hooks!");
    y = ag_mul(x, x); /* those of one node are another matter */
    CHECK(ag_node_saved_set_hooks(ag_grad_fn(y), 0, pack, unpack, h, .free_packed = free_packed));
    ag_saved_hooks_pop(c);
    PUSH(c, h);
    CHECK_ERROR(ag_saved_hooks_disable(c, "too late"), AG_ERR_GRAD, "too late");
    ag_saved_hooks_pop(c);
}

/* Hooks compute; what they compute is not recorded and goes through no hooks. */
static void *pack_computes(ag_tensor *t, void *user)
{
    hooks *h = user;
    h->packs++;
    ag_tensor *y = ag_exp(ag_mul(t, t));
    h->saw_graph = ag_requires_grad(y);
    return ag_retain(ag_log(y));
}

static ag_tensor *unpack_root(void *packed, void *user)
{
    ((hooks *)user)->unpacks++;
    return ag_sqrt(packed);
}

static void t_hooks_compute(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    ag_tensor *x = leaf(c), *y;
    CHECK(ag_saved_hooks_push(c, pack_computes, unpack_root, h, .free_packed = free_packed));
    y = ag_sum(ag_square(x));
    ag_saved_hooks_pop(c);
    CHECK_INT(h->packs, 1);
    CHECK(!h->saw_graph);
    CHECK(ag_backward(y));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(2, 4, 6), 1e-14);
}

/* ---- hooks of one value ---- */

static void t_hooks_of_one_value(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    ag_tensor *x = leaf(c), *y = ag_mul(x, x);
    ag_node *n = ag_grad_fn(y);
    CHECK(n && ag_node_saved_set_hooks(n, 0, pack, unpack, h, .free_packed = free_packed));
    CHECK_INT(h->packs, 1);
    CHECK(h->instead = ag_mul(ag_detach(x), 10));
    CHECK(ag_node_saved(n, 1) == x);
    CHECK_VALUES(ag_node_saved(n, 0), AG_SHAPE(3), AG_VALUES(10, 20, 30), 0);
    CHECK(ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(11, 22, 33), 0);
    CHECK_INT(h->packs, 1);
    CHECK_INT(h->frees, 1);
    CHECK_ERROR((ag_node_saved_set_hooks)(n, 1, pack, unpack, h, NULL), AG_ERR_GRAD,
                "Calling register_hooks on a saved tensor after it has been freed. Saved "
                "intermediate values of the graph are freed when you call .backward() or "
                "autograd.grad().");
}

static void t_hooks_of_one_value_errors(ag_context *c)
{
    hooks *h = new_hooks(1, NULL);
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *y = ag_mul(a, a), *z;
    ag_node *n = ag_grad_fn(y);
    CHECK(n && ag_node_saved_set_hooks(n, 0, pack, unpack, h, .free_packed = free_packed));
    CHECK_ERROR((ag_node_saved_set_hooks)(n, 0, pack, unpack, h, NULL), AG_ERR_GRAD,
                "Calling register_hooks on a saved tensor whose hooks have already been set. Hint: "
                "only one pair of hooks is allowed at a time.");
    CHECK_ERROR((ag_node_saved_set_hooks)(n, 2, pack, unpack, h, NULL), AG_ERR_INDEX,
                "has 2 saved values, there is none of number 2");
    CHECK_ERROR((ag_node_saved_set_hooks)(n, 1, NULL, unpack, h, NULL), AG_ERR_VALUE, "NULL");
    CHECK(!(ag_node_saved_set_hooks)(NULL, 0, pack, unpack, h, NULL));
    h->in_place = true;
    CHECK_ERROR(ag_node_saved_set_hooks(n, 1, pack, unpack, h, .free_packed = free_packed),
                AG_ERR_GRAD, "A saved tensor pack hook is modifying its input in place.");
    h->in_place = false;
    h->fail_pack = true;
    z = ag_mul(x, x);
    CHECK_ERROR((ag_node_saved_set_hooks)(ag_grad_fn(z), 1, pack, unpack, h, NULL), AG_ERR_IO,
                "pack broke");
    CHECK(ag_node_saved(ag_grad_fn(z), 1) == x);
    h->fail_pack = false;
    PUSH(c, h);
    z = ag_mul(x, x);
    ag_saved_hooks_pop(c);
    CHECK_ERROR((ag_node_saved_set_hooks)(ag_grad_fn(z), 1, pack, unpack, h, NULL), AG_ERR_GRAD,
                "Calling register_hooks on a saved tensor whose hooks have already been set.");
}

/* A value that was changed before it was packed is still noticed. */
static void t_hooks_of_a_changed_value(ag_context *c)
{
    ag_tensor *x = leaf(c), *a = ag_mul(x, 1), *y = ag_sum(ag_sin(a));
    CHECK(ag_add_(a, 1));
    CHECK_ERROR(ag_backward(y), AG_ERR_GRAD, "modified by an inplace operation");
}

/* ---- names and values ---- */

static void t_looking_at_values(ag_context *c)
{
    ag_tensor *x = leaf(c), *y = ag_mul(x, x), *e = ag_exp(ag_mul(x, 1));
    CHECK_INT(ag_node_n_saved(ag_grad_fn(y)), 2);
    CHECK(ag_node_saved(ag_grad_fn(y), 0) == x && ag_node_saved(ag_grad_fn(y), 1) == x);
    ag_tensor *r = ag_node_saved(ag_grad_fn(e), 0);
    CHECK(r && ag_data(r) == ag_data(e)); /* not the same tensor, but the same place */
    CHECK(ag_grad_fn(r) == ag_grad_fn(e) && ag_requires_grad(r));
    CHECK_ERROR(ag_node_saved(ag_grad_fn(e), 1), AG_ERR_INDEX,
                "has 1 saved values, there is none of number 1");
    CHECK_ERROR(ag_node_saved(ag_grad_fn(e), -1), AG_ERR_INDEX, "there is none of number -1");
    CHECK(!ag_node_saved_name(ag_grad_fn(e), 1));
    CHECK(!ag_node_saved(NULL, 0) && ag_node_n_saved(NULL) == -1 && !ag_node_saved_name(NULL, 0));
    CHECK(ag_backward(ag_sum(y)));
    CHECK_ERROR(ag_node_saved(ag_grad_fn(y), 0), AG_ERR_GRAD,
                "Trying to backward through the graph a second time (or directly access saved "
                "tensors after they have already been freed). Saved intermediate values of the "
                "graph are freed when you call .backward() or autograd.grad(). Specify "
                "retain_graph=True if you need to backward through the graph a second time or if "
                "you need to access saved tensors after calling backward.");
    CHECK(ag_add_(e, 1));
    CHECK_ERROR(ag_node_saved(ag_grad_fn(ag_node_edge(ag_node_next(ag_grad_fn(e), 0, NULL), 0)), 0),
                AG_ERR_GRAD, "modified by an inplace operation");
}

/* The names of what t's node saved, in any order of PyTorch's: here sorted. */
static void check_names(ag_tensor *t, const char *node, const char *names)
{
    char text[256] = "";
    const char *all[8];
    CHECK(t);
    const int n = ag_node_n_saved(ag_grad_fn(t));
    CHECK(n >= 0 && n <= 8);
    for (int i = 0; i < n; i++) {
        int k = i;
        const char *name = ag_node_saved_name(ag_grad_fn(t), i);
        for (; k > 0 && strcmp(all[k - 1], name) > 0; k--)
            all[k] = all[k - 1];
        all[k] = name;
    }
    for (int i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i ? " " : "", all[i]);
    CHECK_TEXT(ag_node_name(ag_grad_fn(t)), node);
    CHECK_TEXT(text, names);
}

static void t_names(ag_context *c)
{
    ag_tensor *x = leaf(c), *w = leaf(c), *i0 = ag_zeros(c, AG_SHAPE(1), .dtype = AG_I64);
    ag_tensor *a = ag_ones(c, AG_SHAPE(2, 3), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *b = ag_ones(c, AG_SHAPE(3, 2), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *a3 = ag_ones(c, AG_SHAPE(1, 2, 3), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *b3 = ag_ones(c, AG_SHAPE(1, 3, 2), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *mask = ag_gt(x, 1);
    check_names(ag_mul(x, w), "MulBackward0", "other self");
    check_names(ag_add(x, w), "AddBackward0", "");
    check_names(ag_div(x, w), "DivBackward0", "other result"); /* PyTorch's keeps self */
    check_names(ag_pow(x, w), "PowBackward1", "exponent result self");
    check_names(ag_atan2(x, w), "Atan2Backward0", "other self");
    check_names(ag_hypot(x, w), "HypotBackward0", "other result self");
    check_names(ag_xlogy(x, w), "XlogyBackward0", "other self");
    check_names(ag_maximum(x, w), "MaximumBackward0", "other self");
    check_names(ag_lerp(x, w, w), "LerpBackward1", "end self weight");
    check_names(ag_where(mask, x, w), "WhereBackward0", "condition");
    check_names(ag_masked_fill(x, mask, 0), "MaskedFillBackward0", "mask");
    check_names(ag_exp(x), "ExpBackward0", "result");
    check_names(ag_tanh(x), "TanhBackward0", "result");
    check_names(ag_sigmoid(x), "SigmoidBackward0", "result");
    check_names(ag_log(x), "LogBackward0", "self");
    check_names(ag_gelu(x, false), "GeluBackward0", "self");
    check_names(ag_sum(x), "SumBackward0", "");
    check_names(ag_prod(x), "ProdBackward0", "self"); /* PyTorch's keeps the result too */
    check_names(ag_var(x), "VarBackward0", "self");
    check_names(ag_std(x), "StdBackward0", "result self");
    check_names(ag_logsumexp(x, .dims = AG_DIMS(0)), "LogsumexpBackward0", "result self");
    check_names(ag_amax(x, .dims = AG_DIMS(0)), "AmaxBackward0", "result self");
    check_names(ag_cumsum(x, 0), "CumsumBackward0", "");
    check_names(ag_softmax(x, 0), "SoftmaxBackward0", "result");
    check_names(ag_log_softmax(x, 0), "LogSoftmaxBackward0", "result");
    check_names(ag_mm(a, b), "MmBackward0", "mat2 self");
    check_names(ag_bmm(a3, b3), "BmmBackward0", "mat2 self");
    check_names(ag_mv(a, x), "MvBackward0", "self vec");
    check_names(ag_dot(x, w), "DotBackward0", "self tensor");
    check_names(ag_addmm(ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_F64), a, b), "AddmmBackward0",
                "mat1 mat2");
    check_names(ag_index_select(x, 0, i0), "IndexSelectBackward0", "index");
    check_names(ag_mse_loss(x, ag_detach(w)), "MseLossBackward0", "self target");
}

/* What is not needed is not saved: the other factor alone. */
static void t_only_what_is_needed(ag_context *c)
{
    ag_tensor *x = leaf(c), *w = ag_detach(leaf(c)), *y = ag_mul(x, w);
    CHECK(y);
    for (int i = 0; i < ag_node_n_saved(ag_grad_fn(y)); i++)
        CHECK(ag_node_saved(ag_grad_fn(y), i) != x);
    AG_NO_GRAD (c)
        CHECK(ag_add_(x, 1)); /* so it may change */
    CHECK(ag_backward(ag_sum(y)));
    CHECK_VALUES(ag_grad_of(x), AG_SHAPE(3), AG_VALUES(1, 2, 3), 0);
}

/* ---- how much ---- */

static void t_bytes(ag_context *c)
{
    ag_saved_use uses[4];
    ag_tensor *x = leaf(c),
              *big = ag_ones(c, AG_SHAPE(100), .dtype = AG_F64, .requires_grad = true);
    CHECK_INT(ag_saved_bytes(x, uses, 4), 0);
    ag_tensor *y = ag_add(ag_sum(ag_exp(ag_exp(big))), ag_sum(ag_mul(ag_sin(x), x)));
    CHECK_INT(ag_saved_bytes(y, uses, 4), 3);
    CHECK_TEXT(uses[0].operation, "ExpBackward0");
    CHECK_INT(uses[0].nodes, 2);
    CHECK_INT(uses[0].values, 2);
    CHECK_INT((int64_t)uses[0].bytes, 1600);
    /* sin x and x, of which one of both counts x */
    CHECK_INT((int64_t)(uses[1].bytes + uses[2].bytes), 48);
    CHECK_INT(uses[1].values + uses[2].values, 3);
    CHECK_INT(ag_saved_bytes(y, uses, 1), 3);
    CHECK_INT(ag_saved_bytes(y, NULL, 0), 3);
    CHECK_INT(ag_saved_bytes(NULL, uses, 4), -1);
    CHECK(ag_backward(y));
    CHECK_INT(ag_saved_bytes(y, uses, 4), 3);
    CHECK_INT((int64_t)(uses[0].bytes + uses[1].bytes + uses[2].bytes), 0);
}

static void t_statistics(ag_context *c)
{
    ag_memory_statistics before, m;
    ag_memory_stats(c, &before);
    ag_tensor *x = leaf(c), *y = ag_sum(ag_mul(x, x));
    CHECK(y);
    ag_memory_stats(c, &m);
    CHECK_INT((int64_t)(m.saved_bytes - before.saved_bytes), 48); /* each use counts */
    CHECK(ag_backward(y));
    ag_memory_stats(c, &m);
    CHECK_INT((int64_t)m.saved_bytes, (int64_t)before.saved_bytes);
    CHECK_INT(m.nodes - before.nodes, 3); /* sum, mul, and the accumulator that they lead to */
}

/* ---- in files ---- */

static int files_in(const char *folder)
{
    int n = 0;
    DIR *d = opendir(folder);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return d ? n : -1;
}

static void t_offload(ag_context *c)
{
    const char *folder = harness_path(".");
    const int files = files_in(folder);
    CHECK(files >= 0);
    ag_memory_statistics before, m;
    ag_tensor *big = ag_linspace(c, 0, 1, 1000, .dtype = AG_F64), *small = leaf(c), *y, *z;
    CHECK(ag_requires_grad_(big, true));
    ag_memory_stats(c, &before);
    CHECK(ag_saved_offload_push(c, folder, .min_bytes = 100));
    y = ag_sum(ag_exp(ag_sin(big)));
    z = ag_sum(ag_mul(small, small));
    ag_saved_hooks_pop(c);
    CHECK(y && z);
    ag_memory_stats(c, &m);
    CHECK(m.saved_bytes - before.saved_bytes < 8000);
    CHECK_INT(files_in(folder), files); /* the files have no names */
    for (int i = 1; i >= 0; i--)
        CHECK(ag_backward(y, .retain_graph = i));
    CHECK(ag_backward(z));
    for (int i = 0; i < 1000; i += 111) {
        const double v = i / 999.0;
        CHECK_CLOSE(ag_at(ag_grad_of(big), i), 2 * cos(v) * exp(sin(v)), 1e-14);
    }
    CHECK_VALUES(ag_grad_of(small), AG_SHAPE(3), AG_VALUES(2, 4, 6), 0);
    CHECK_INT(files_in(folder), files);
}

static void t_offload_of_views_and_dtypes(ag_context *c)
{
    ag_tensor *x = ag_arange(c, 0, 12, 1, .dtype = AG_F32), *m, *y, *g, *v, *plain;
    CHECK(ag_requires_grad_(x, true));
    CHECK(m = ag_t(ag_view(x, AG_SHAPE(3, 4))));
    CHECK(plain = ag_sum(ag_mul(ag_square(m), ag_narrow(m, 0, 0, 1))));
    CHECK(ag_grad(&plain, 1, &x, 1, &v, .retain_graph = true));
    CHECK(ag_saved_offload_push(c, harness_path(".")));
    y = ag_sum(ag_mul(ag_square(m), ag_narrow(m, 0, 0, 1)));
    ag_saved_hooks_pop(c);
    CHECK(ag_grad(&y, 1, &x, 1, &g));
    for (int i = 0; i < 12; i++)
        CHECK_CLOSE(ag_at(g, i), ag_at(v, i), 0);
}

static void t_offload_has_no_folder(ag_context *c)
{
    CHECK_ERROR(ag_saved_offload_push(c, harness_path("no/such/folder")), AG_ERR_IO,
                "ag_saved_offload_push");
    CHECK_ERROR(ag_saved_offload_push(c, NULL), AG_ERR_VALUE, "folder is NULL");
    CHECK(ag_mul(leaf(c), leaf(c))); /* no hooks were left behind */
}

/* An operand that a write in place changes is packed as it was, though the hooks keep what they get. */
static void t_a_written_operand_is_packed_as_it_was(ag_context *c)
{
    hooks *h = new_hooks(0, NULL);
    ag_tensor *x = ag_full(c, AG_SHAPE(2), 3, .requires_grad = true), *y = ag_mul(x, 1), *g = NULL;
    CHECK(y);
    PUSH(c, h);
    CHECK(ag_sin_(y));
    ag_tensor *next = ag_add(y, 1), *z = ag_clamp_(ag_mul_(y, next), -9, 9);
    ag_saved_hooks_pop(c);
    CHECK(z == y);
    ag_tensor *s = ag_sum(y);
    CHECK(s && ag_grad(&s, 1, &x, 1, &g));
    CHECK_CLOSE(ag_at(y, 0), sin(3) * (sin(3) + 1), 1e-6);
    CHECK_CLOSE(ag_at(g, 0), cos(3) * (2 * sin(3) + 1), 1e-6);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_a_written_operand_is_packed_as_it_was), TEST(t_innermost_pair),
               TEST(t_freed_with_the_graph), TEST(t_what_is_packed), TEST(t_values_pass_through),
               TEST(t_versions), TEST(t_unpack_is_wrong), TEST(t_hooks_fail),
               TEST(t_second_pack_fails), TEST(t_pack_writes), TEST(t_bad_calls), TEST(t_disabled),
               TEST(t_hooks_compute), TEST(t_hooks_of_one_value), TEST(t_hooks_of_one_value_errors),
               TEST(t_hooks_of_a_changed_value), TEST(t_looking_at_values), TEST(t_names),
               TEST(t_only_what_is_needed), TEST(t_bytes), TEST(t_statistics), TEST(t_offload),
               TEST(t_offload_of_views_and_dtypes), TEST(t_offload_has_no_folder));
}
