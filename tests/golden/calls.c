/*
 * Operations by name. Those of one form (one, two, three tensors; a reduction) are called alike; for
 * the others a small function takes the arguments out of the step.
 */
#include "golden.h"

#include <string.h>

#include "../harness.h"

typedef struct {
    const golden_step *step;
    ag_tensor *x[GOLDEN_OPERANDS]; /* NULL for numbers and for NULL */
} call;

typedef ag_tensor *call_fn(const call *c);
typedef ag_tensor *call_reduce_fn(ag_tensor *x, const ag_reduce_options *);
typedef ag_tensor *call_loss_fn(ag_tensor *x, ag_tensor *target, const ag_loss_options *);

/* ---- arguments ---- */

static const golden_argument *argument(const call *c, const char *name)
{
    static const golden_argument none;
    for (int i = 0; i < c->step->n_arguments; i++)
        if (strcmp(c->step->arguments[i].name, name) == 0)
            return &c->step->arguments[i];
    return &none;
}

static int64_t integer(const call *c, const char *name) { return argument(c, name)->list[0]; }
static int small(const call *c, const char *name) { return (int)integer(c, name); }
static double real(const call *c, const char *name) { return argument(c, name)->number; }
static ag_ints list(const call *c, const char *name)
{
    const golden_argument *a = argument(c, name);
    return (ag_ints){ a->list, a->n };
}

static ag_operand operand(const call *c, int i)
{
    const golden_operand *o = &c->step->operands[i];
    if (o->kind == GOLDEN_INTEGER)
        return (ag_operand){ .number = o->number, .kind = AG_OPERAND_INTEGER };
    if (o->kind == GOLDEN_REAL)
        return (ag_operand){ .number = o->number, .kind = AG_OPERAND_REAL };
    return (ag_operand){ .tensor = c->x[i], .kind = AG_OPERAND_TENSOR };
}

static ag_reduce_options reduce_options(const call *c)
{
    return (ag_reduce_options){ .size = sizeof(ag_reduce_options),
                                .dims = list(c, "dims"),
                                .keepdim = integer(c, "keepdim") != 0,
                                .correction_zero = integer(c, "correction_zero") != 0 };
}

static ag_tensor *reduce(const call *c, call_reduce_fn *f)
{
    const ag_reduce_options o = reduce_options(c);
    return f(c->x[0], &o);
}

static ag_tensor *call_norm(const call *c)
{
    const ag_reduce_options o = reduce_options(c);
    return (ag_norm)(c->x[0], real(c, "p"), &o);
}

static ag_tensor *loss(const call *c, call_loss_fn *f)
{
    static const ag_reduction reductions[] = { AG_MEAN, AG_SUM, AG_NONE };
    const ag_loss_options o = { .size = sizeof o,
                                .weight = c->step->n > 2 ? c->x[2] : NULL,
                                .ignore_index = integer(c, "ignore_index"),
                                .label_smoothing = real(c, "label_smoothing"),
                                .reduction = reductions[integer(c, "reduction")] };
    return f(c->x[0], c->x[1], &o);
}

/* ---- operations with arguments ---- */

#define DEFINE(name, ...)                                                                          \
    static ag_tensor *call_##name(const call *c) { return __VA_ARGS__; }

DEFINE(leaky_relu, ag_leaky_relu(c->x[0], real(c, "slope")))
DEFINE(elu, ag_elu(c->x[0], real(c, "alpha")))
DEFINE(celu, ag_celu(c->x[0], real(c, "alpha")))
DEFINE(gelu, ag_gelu(c->x[0], integer(c, "tanh") != 0))
DEFINE(hardtanh, ag_hardtanh(c->x[0], real(c, "lo"), real(c, "hi")))
DEFINE(clamp, ag_clamp(c->x[0], real(c, "lo"), real(c, "hi")))
DEFINE(polygamma, ag_polygamma(small(c, "n"), c->x[0]))
DEFINE(to, ag_to(c->x[0], argument(c, "dtype")->dtype))
DEFINE(argmax, ag_argmax(c->x[0], small(c, "dim"), integer(c, "keepdim") != 0))
DEFINE(argmin, ag_argmin(c->x[0], small(c, "dim"), integer(c, "keepdim") != 0))
DEFINE(cumsum, ag_cumsum(c->x[0], small(c, "dim")))
DEFINE(cumprod, ag_cumprod(c->x[0], small(c, "dim")))
DEFINE(logcumsumexp, ag_logcumsumexp(c->x[0], small(c, "dim")))
DEFINE(reshape, ag_reshape(c->x[0], list(c, "shape")))
DEFINE(view, ag_view(c->x[0], list(c, "shape")))
DEFINE(expand, ag_expand(c->x[0], list(c, "shape")))
DEFINE(permute, ag_permute(c->x[0], list(c, "dims")))
DEFINE(transpose, ag_transpose(c->x[0], small(c, "d0"), small(c, "d1")))
DEFINE(squeeze, ag_squeeze(c->x[0], small(c, "dim")))
DEFINE(unsqueeze, ag_unsqueeze(c->x[0], small(c, "dim")))
DEFINE(flatten, ag_flatten(c->x[0], small(c, "start"), small(c, "end")))
DEFINE(select, ag_select(c->x[0], small(c, "dim"), integer(c, "i")))
DEFINE(slice, ag_slice(c->x[0], small(c, "dim"), integer(c, "start"), integer(c, "stop"),
                       integer(c, "step")))
DEFINE(narrow, ag_narrow(c->x[0], small(c, "dim"), integer(c, "start"), integer(c, "length")))
DEFINE(cat, ag_cat(c->x, c->step->n, small(c, "dim")))
DEFINE(stack, ag_stack(c->x, c->step->n, small(c, "dim")))
DEFINE(flip, ag_flip(c->x[0], list(c, "dims")))
DEFINE(tril, ag_tril(c->x[0], integer(c, "k")))
DEFINE(triu, ag_triu(c->x[0], integer(c, "k")))
DEFINE(addmm,
       ag_addmm(c->x[0], c->x[1], c->x[2], .beta = real(c, "beta"), .alpha = real(c, "alpha")))
DEFINE(linear, ag_linear(c->x[0], c->x[1], c->step->n > 2 ? c->x[2] : NULL))
DEFINE(softmax, ag_softmax(c->x[0], small(c, "dim")))
DEFINE(log_softmax, ag_log_softmax(c->x[0], small(c, "dim")))
DEFINE(layer_norm, ag_layer_norm(c->x[0], small(c, "n"), c->x[1], c->x[2], real(c, "eps")))
DEFINE(index_select, ag_index_select(c->x[0], small(c, "dim"), c->x[1]))
DEFINE(gather, ag_gather(c->x[0], small(c, "dim"), c->x[1]))
DEFINE(one_hot, ag_one_hot(c->x[0], integer(c, "classes")))

/* Of two results the one that `which` says. */
#define CHOICE(name, ...)                                                                          \
    static ag_tensor *call_##name(const call *c)                                                   \
    {                                                                                              \
        ag_tensor *result[2];                                                                      \
        return ag_##name(c->x[0], __VA_ARGS__, &result[0], &result[1])                             \
                   ? result[integer(c, "which")]                                                   \
                   : NULL;                                                                         \
    }
CHOICE(max_dim, small(c, "dim"), integer(c, "keepdim") != 0)
CHOICE(min_dim, small(c, "dim"), integer(c, "keepdim") != 0)
CHOICE(median_dim, small(c, "dim"), integer(c, "keepdim") != 0)
CHOICE(sort, small(c, "dim"), integer(c, "descending") != 0)
CHOICE(topk, integer(c, "k"), small(c, "dim"), integer(c, "largest") != 0)
CHOICE(cummax, small(c, "dim"))
CHOICE(cummin, small(c, "dim"))

DEFINE(movedim, ag_movedim(c->x[0], small(c, "from"), small(c, "to")))
DEFINE(diagonal, ag_diagonal(c->x[0], integer(c, "offset"), small(c, "d1"), small(c, "d2")))
DEFINE(unfold, ag_unfold(c->x[0], small(c, "dim"), integer(c, "size"), integer(c, "step")))
DEFINE(as_strided,
       ag_as_strided(c->x[0], list(c, "shape"), list(c, "strides"), integer(c, "offset")))
DEFINE(index_add, ag_index_add(c->x[0], small(c, "dim"), c->x[1], c->x[2]))
DEFINE(scatter, ag_scatter(c->x[0], small(c, "dim"), c->x[1], c->x[2]))
DEFINE(scatter_add, ag_scatter_add(c->x[0], small(c, "dim"), c->x[1], c->x[2]))
DEFINE(take, ag_take(c->x[0], c->x[1]))
DEFINE(index, ag_index(c->x[0], c->x + 1, c->step->n - 1))
DEFINE(index_put,
       ag_index_put(c->x[0], c->x + 2, c->step->n - 2, c->x[1], integer(c, "accumulate") != 0))
DEFINE(masked_select, ag_masked_select(c->x[0], c->x[1]))
DEFINE(masked_scatter, ag_masked_scatter(c->x[0], c->x[1], c->x[2]))

/* Of several results the one that the argument `i` names, or all of them joined. */
static ag_tensor *result(const call *c, int n, ag_tensor *const *out)
{
    if (n < 0)
        return NULL;
    return argument(c, "i")->n ? out[integer(c, "i")] : ag_cat(out, n, 0);
}

static ag_tensor *call_split(const call *c)
{
    ag_tensor *out[8];
    return result(c, ag_split(c->x[0], integer(c, "size"), small(c, "dim"), out, 8), out);
}

static ag_tensor *call_chunk(const call *c)
{
    ag_tensor *out[8];
    return result(c, ag_chunk(c->x[0], integer(c, "chunks"), small(c, "dim"), out, 8), out);
}

static ag_tensor *call_unbind(const call *c)
{
    ag_tensor *out[8];
    return result(c, ag_unbind(c->x[0], small(c, "dim"), out, 8), out);
}

/* ---- the table ---- */

typedef struct {
    const char *name;
    ag_tensor *(*unary)(ag_tensor *);
    ag_binary_fn binary;
    ag_ternary_fn ternary;
    call_reduce_fn *reduce;
    call_loss_fn *loss;
    call_fn *call;
} entry;

#define ENTRY(f, form, function) { .name = #f, .form = function },
#define U(f) ENTRY(f, unary, (ag_##f))
#define B(f) ENTRY(f, binary, (ag_##f))
#define T(f) ENTRY(f, ternary, (ag_##f))
#define R(f) ENTRY(f, reduce, (ag_##f))
#define L(f) ENTRY(f, loss, (ag_##f))
#define C(f) ENTRY(f, call, call_##f)

static const entry entries[] = {
#include "calls.def"
};

ag_tensor *golden_run(const golden_step *s, ag_tensor *const *values)
{
    call c = { .step = s };
    for (int i = 0; i < s->n; i++)
        c.x[i] = s->operands[i].kind == GOLDEN_VALUE ? values[s->operands[i].value] : NULL;
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        const entry *e = &entries[i];
        if (strcmp(e->name, s->name) != 0)
            continue;
        return e->unary    ? e->unary(c.x[0])
               : e->binary ? ag_call_binary(e->binary, operand(&c, 0), operand(&c, 1))
               : e->ternary
                   ? ag_call_ternary(e->ternary, operand(&c, 0), operand(&c, 1), operand(&c, 2))
               : e->reduce ? reduce(&c, e->reduce)
               : e->loss   ? loss(&c, e->loss)
                           : e->call(&c);
    }
    FAIL("no operation is called '%s'", s->name);
}
