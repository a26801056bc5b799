/* See samples.h, and samples.def for what stands in the table. */
#include "samples.h"

#include <stdlib.h>

/* ---- the calls ---- */

/* What calls in samples.def are written in. */
#define A x[0]
#define B x[1]
#define C x[2]
#define INDEX(shape, ...) ag_array(c, AG_VALUES(__VA_ARGS__), shape, .dtype = AG_I64)
#define MASK(shape, ...) ag_array(c, AG_VALUES(__VA_ARGS__), shape, .dtype = AG_BOOL)
#define ONES ag_ones(c, AG_SHAPE(1, 2), .dtype = ag_dtype_of(A))
/* A loss of A with a weight for each of three classes. */
#define WEIGHTED(loss, target, ...)                                                                \
    weighted(ag_##loss, A, target,                                                                 \
             (ag_loss_options){ .size = sizeof(ag_loss_options), __VA_ARGS__ })
/* A list of index tensors, of which ALL is a whole dimension, and its length. */
#define AT(...)                                                                                    \
    (ag_tensor *[]){ __VA_ARGS__ },                                                                \
        (int)(sizeof((ag_tensor *[]){ __VA_ARGS__ }) / sizeof(ag_tensor *))
#define ALL ((ag_tensor *)(void *)&all)
/* Of an operation that fills `out` with n results. */
#define PARTS(n, call, expression) ((call) == (n) ? (expression) : NULL)
/* A row that has no public function: called with its attributes, or with an index beside A. */
#define ROW(name, n, ...) ag__run1(ag__ops[AG_OP_##name], x, n, &(ag__attrs){ __VA_ARGS__ })
#define INDEXED(name, index, ...)                                                                  \
    ag__binary(ag__ops[AG_OP_##name], A, index, &(ag__attrs){ __VA_ARGS__ })

/* The first or the second result of a call that fills `first` and `second`. */
#define FIRST(call) ((call) ? first : NULL)
#define SECOND(call) ((call) ? second : NULL)
#define BOTH &first, &second

typedef ag_tensor *(*loss_fn)(ag_tensor *x, ag_tensor *target, const ag_loss_options *);

/* ALL becomes NULL; no list when a tensor could not be made. */
static char all;
static ag_tensor **lists(int n, ag_tensor **list)
{
    for (int i = 0; i < n; i++) {
        if (!list[i])
            return NULL;
        list[i] = list[i] == ALL ? NULL : list[i];
    }
    return list;
}

static ag_tensor *index_at(ag_tensor *x, ag_tensor **list, int n)
{
    return lists(n, list) ? ag_index(x, list, n) : NULL;
}

static ag_tensor *index_put_at(ag_tensor *x, ag_tensor **list, int n, ag_tensor *v, bool accumulate)
{
    return lists(n, list) ? ag_index_put(x, list, n, v, accumulate) : NULL;
}

static ag_tensor *positions(ag_tensor **list, int n)
{
    return lists(n, list) ? ag__run1(ag__ops[AG_OP_index_positions], list, n, NULL) : NULL;
}

static ag_tensor *weighted(loss_fn loss, ag_tensor *x, ag_tensor *target, ag_loss_options o)
{
    ag_context *c = ag_context_of(x);
    o.weight = ag_array(c, AG_VALUES(0.5, 2, 1.25), AG_SHAPE(3), .dtype = ag_dtype_of(x));
    return o.weight ? loss(x, target, &o) : NULL;
}

#define SAMPLE(name, row, shapes, traits, expression)                                              \
    static ag_tensor *call_##name(ag_context *c, ag_tensor *const *x)                              \
    {                                                                                              \
        ag_tensor *first = NULL, *second = NULL, *out[8] = { NULL };                               \
        (void)c, (void)x, (void)first, (void)second, (void)out;                                    \
        return expression;                                                                         \
    }
#include "samples.def"

enum { AG_OP_composed = -1 };
const sample samples[SAMPLE_COUNT] = {
#define SAMPLE(name_, row_, shapes_, traits_, expression)                                          \
    [SAMPLE_##name_] = { .name = #name_,                                                           \
                         .row = AG_OP_##row_,                                                      \
                         .shapes = shapes_,                                                        \
                         .traits = traits_,                                                        \
                         .call = call_##name_ },
#include "samples.def"
};

const char *const layout_names[LAYOUT_COUNT] = { "dense", "turned", "gapped", "spread" };

/* ---- operands ---- */

/* Reads the shape that `text` begins with; what follows it, or NULL at the end. */
static const char *next_shape(const char *text, int64_t *shape, int *n)
{
    *n = 0;
    if (!*text)
        return NULL;
    if (*text == '.')
        text++;
    while (*text && *text != ' ') {
        char *end;
        shape[(*n)++] = strtol(text, &end, 10);
        text = *end == 'x' ? end + 1 : end;
    }
    return *text ? text + 1 : text;
}

int sample_operands(const sample *s)
{
    int64_t shape[AG_MAX_DIMS];
    int n = 0, ndim;
    for (const char *at = s->shapes; (at = next_shape(at, shape, &ndim));)
        n++;
    return n;
}

bool sample_is_empty(const sample *s)
{
    return strchr(s->shapes, '0') != NULL ||
           strstr(s->name, "_empty") != NULL; /* an operand that the call makes */
}

/* The shape of the leaf in which an operand of `shape` lies. */
static void leaf_shape(layout l, int64_t *shape, int *n)
{
    if (l == LAYOUT_TURNED)
        for (int i = 0; i < *n / 2; i++) {
            const int64_t kept = shape[i];
            shape[i] = shape[*n - 1 - i];
            shape[*n - 1 - i] = kept;
        }
    if (l == LAYOUT_GAPPED) {
        if (*n == 0)
            shape[(*n)++] = 1;
        shape[*n - 1] = 2 * shape[*n - 1] + 1;
    }
    for (int i = 0; l == LAYOUT_SPREAD && i < *n; i++)
        if (shape[i] > 1) {
            shape[i] = 1;
            break;
        }
}

void sample_leaves(ag_context *c, const sample *s, layout l, ag_tensor **leaves)
{
    const char *at = s->shapes;
    for (int k = 0; *at; k++) {
        int64_t shape[AG_MAX_DIMS];
        int n;
        at = next_shape(at, shape, &n);
        leaf_shape(l, shape, &n);
        leaves[k] = ag_rand(c, ((ag_ints){ shape, n }), .dtype = AG_F64);
        CHECK(leaves[k]);
        double *v = ag_data(leaves[k]);
        for (int64_t i = 0; i < ag_numel(leaves[k]); i++)
            v[i] = 4 * v[i] - 2;
        for (int i = 0; k == 0 && s->traits & ZEROS && i < 2 && i < ag_numel(leaves[0]); i++)
            v[i] = 0;
        ag_requires_grad_(leaves[k], true);
    }
}

static ag_tensor *view_turned(ag_tensor *t)
{
    int64_t back[AG_MAX_DIMS];
    const int n = ag_ndim(t);
    for (int i = 0; i < n; i++)
        back[i] = n - 1 - i;
    return ag_permute(t, (ag_ints){ back, n });
}

static ag_tensor *view_gapped(ag_tensor *t, int ndim)
{
    return ndim == 0 ? ag_select(t, 0, 1) : ag_slice(t, -1, 1, INT64_MAX, 2);
}

bool sample_views(const sample *s, layout l, ag_tensor *const *leaves, ag_tensor **x)
{
    const char *at = s->shapes;
    for (int k = 0; *at; k++) {
        int64_t shape[AG_MAX_DIMS];
        int n;
        at = next_shape(at, shape, &n);
        x[k] = l == LAYOUT_TURNED   ? view_turned(leaves[k])
               : l == LAYOUT_GAPPED ? view_gapped(leaves[k], n)
               : l == LAYOUT_SPREAD ? ag_expand(leaves[k], (ag_ints){ shape, n })
                                    : leaves[k];
        if (!x[k])
            return false;
    }
    return true;
}

bool sample_run(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const sample_use *use = user;
    ag_tensor *x[SAMPLE_MAX_OPERANDS] = { NULL };
    (void)m;
    if (!sample_views(use->s, use->l, in, x))
        return false;
    for (int k = 0; k < n && use->half; k++)
        if (!(x[k] = ag_to(x[k], AG_F16)))
            return false;
    out[0] = use->s->call(use->c, x);
    return out[0] != NULL;
}
