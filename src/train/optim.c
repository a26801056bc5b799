/*
 * Optimisers: plain loops over parameters, gradients and state, with the arithmetic of torch.optim.
 *
 * An optimiser retains its parameters and keeps one or two dense arrays of state for each of them.
 * All memory is taken at construction and parameters are written where they lie, strided or not;
 * a step allocates nothing, so after its checks it cannot fail half way.
 *
 * A parameter without a gradient is left out of a step altogether: its state stays, and its own
 * count of steps (which Adam's bias correction and SGD's first momentum look at) does not move.
 */
#include <math.h>
#include <string.h>

#include "../autograd/meta.h"
#include "../base/context.h"
#include "../base/error.h"
#include "../base/memory.h"
#include "../base/parallel.h"
#include "../kernels/optim.h"
#include "../tensor/tensor.h"

enum { OPTIM_PART = 1 << 15 }; /* elements of a block that is worth waking a thread for */

typedef struct {
    ag_tensor *tensor;
    int64_t steps;
    void *state;  /* n_states dense arrays in one block; NULL when there is nothing to keep */
    size_t bytes; /* of the block */
} optim_slot;

struct ag_optimizer {
    ag_context *c;
    ag__optim_rates rates;
    int n_states; /* per parameter: SGD 0 or 1, Adam 2 */
    int n;
    optim_slot *slots;
};

/* ---- construction ------------------------------------------------------------------------- */

static bool optim_check_param(ag_context *c, ag_tensor *const *params, int i)
{
    ag_tensor *t = params[i];
    if (!t)
        return ag_fail(c, AG_ERR_VALUE, "optimizer: parameter %d is NULL", i);
    if (ag_context_of(t) != c)
        return ag_fail(c, AG_ERR_VALUE, "optimizer: parameter %d belongs to another context", i);
    if (ag__is_symbolic(t))
        return ag_fail(c, AG_ERR_GRAPH,
                       "optimizer: parameter %d is symbolic; in a static graph a step is made of "
                       "ag_grad and ag_assign_sub, of an ag_variable",
                       i);
    if (!ag_is_leaf(t))
        return ag_fail(c, AG_ERR_VALUE, "can't optimize a non-leaf Tensor (parameter %d)", i);
    if (ag_dtype_of(t) != AG_F32 && ag_dtype_of(t) != AG_F64)
        return ag_fail(c, AG_ERR_DTYPE,
                       "optimizer: parameter %d is %s, expected float32 or "
                       "float64",
                       i, ag_dtype_name(ag_dtype_of(t)));
    if (ag__repeats_memory(t))
        return ag_fail(c, AG_ERR_VALUE,
                       "optimizer: more than one element of parameter %d refers to a single memory "
                       "location; please clone() it first",
                       i);
    for (int k = 0; k < i; k++)
        if (params[k] == t)
            return ag_fail(c, AG_ERR_VALUE, "optimizer: parameters %d and %d are the same", k, i);
    return true;
}

/* The block of one parameter's state, all zeros. */
static bool optim_alloc_state(ag_optimizer *o, optim_slot *s)
{
    const size_t one = (size_t)ag_numel(s->tensor) * ag_dtype_size(ag_dtype_of(s->tensor));
    const size_t bytes = one * (size_t)o->n_states;
    if (one > SIZE_MAX / 2)
        return ag_fail(o->c, AG_ERR_MEMORY, "optimizer: the state is too large");
    if (bytes == 0)
        return true;
    s->state = ag__alloc(o->c, bytes);
    if (!s->state)
        return false;
    s->bytes = bytes;
    memset(s->state, 0, bytes);
    return true;
}

/* The context of the first parameter that is not NULL. */
static ag_context *optim_context(ag_tensor *const *params, int n)
{
    for (int i = 0; params && i < n; i++)
        if (params[i])
            return ag_context_of(params[i]);
    return NULL;
}

/* An optimiser with its state, or NULL with the error set and nothing kept. */
static ag_optimizer *optim_new(ag_context *c, ag_tensor *const *params, int n,
                               ag__optim_rates rates, int n_states)
{
    for (int i = 0; i < n; i++)
        if (!optim_check_param(c, params, i))
            return NULL;

    ag_optimizer *o = ag__alloc(c, sizeof *o);
    if (!o)
        return NULL;
    *o = (ag_optimizer){ .c = c, .rates = rates, .n_states = n_states };
    ag__context_ref(c);
    o->slots = ag__alloc(c, (size_t)n * sizeof *o->slots);
    if (!o->slots)
        goto fail;
    o->n = n;
    for (int i = 0; i < n; i++)
        o->slots[i] = (optim_slot){ .tensor = ag_retain(params[i]) };
    for (int i = 0; i < n; i++)
        if (!optim_alloc_state(o, &o->slots[i]))
            goto fail;
    return o;

fail:
    ag_optimizer_free(o);
    return NULL;
}

/* The checks that every optimiser shares; written so that NaN fails them. */
static bool optim_check_rates(ag_context *c, const ag__optim_rates *r)
{
    if (!(r->lr >= 0))
        return ag_fail(c, AG_ERR_VALUE, "Invalid learning rate: %g", r->lr);
    if (!(r->weight_decay >= 0))
        return ag_fail(c, AG_ERR_VALUE, "Invalid weight_decay value: %g", r->weight_decay);
    return true;
}

ag_optimizer *(ag_sgd)(ag_tensor *const *params, int n, const ag_sgd_options *options)
{
    const ag_sgd_options none = { .size = sizeof none }, *q = options ? options : &none;
    const ag__optim_rates rates = { .lr = q->lr == 0 ? 0.001 : q->lr,
                                    .weight_decay = q->weight_decay,
                                    .momentum = q->momentum,
                                    .dampening = q->dampening,
                                    .nesterov = q->nesterov };
    ag_context *c = optim_context(params, n);
    if (!c || !optim_check_rates(c, &rates))
        return NULL;
    if (!(q->momentum >= 0))
        return ag__fail(c, AG_ERR_VALUE, "Invalid momentum value: %g", q->momentum);
    if (q->nesterov && (q->momentum <= 0 || q->dampening != 0))
        return ag__fail(c, AG_ERR_VALUE,
                        "Nesterov momentum requires a momentum and zero dampening");
    return optim_new(c, params, n, rates, q->momentum != 0 ? 1 : 0);
}

ag_optimizer *(ag_adam)(ag_tensor *const *params, int n, const ag_adam_options *options)
{
    const ag_adam_options none = { .size = sizeof none }, *q = options ? options : &none;
    const ag__optim_rates rates = { .adam = true,
                                    .lr = q->lr == 0 ? 0.001 : q->lr,
                                    .weight_decay = q->weight_decay,
                                    .beta1 = q->beta1 == 0 ? 0.9 : q->beta1,
                                    .beta2 = q->beta2 == 0 ? 0.999 : q->beta2,
                                    .eps = q->eps == 0 ? 1e-8 : q->eps };
    ag_context *c = optim_context(params, n);
    if (!c || !optim_check_rates(c, &rates))
        return NULL;
    if (!(rates.eps >= 0))
        return ag__fail(c, AG_ERR_VALUE, "Invalid epsilon value: %g", rates.eps);
    if (!(rates.beta1 >= 0 && rates.beta1 < 1))
        return ag__fail(c, AG_ERR_VALUE, "Invalid beta parameter at index 0: %g", rates.beta1);
    if (!(rates.beta2 >= 0 && rates.beta2 < 1))
        return ag__fail(c, AG_ERR_VALUE, "Invalid beta parameter at index 1: %g", rates.beta2);
    return optim_new(c, params, n, rates, 2);
}

void ag_optimizer_free(ag_optimizer *o)
{
    if (!o)
        return;
    ag_context *c = o->c;
    for (int i = 0; i < o->n; i++) {
        ag__free(c, o->slots[i].state, o->slots[i].bytes);
        ag_release(o->slots[i].tensor);
    }
    ag__free(c, o->slots, (size_t)o->n * sizeof *o->slots);
    ag__free(c, o, sizeof *o);
    ag__context_unref(c);
}

/* ---- stepping ------------------------------------------------------------------------------ */

/* Unlike ag_grad_of this hands the gradient to no scope. */
static ag_tensor *optim_grad(const optim_slot *s)
{
    return s->tensor->meta ? s->tensor->meta->grad : NULL;
}

/* Walks parameter and gradient row by row, in the order in which the dense state lies. */
static void optim_step_strided(const ag__optim_rates *r, ag_tensor *t, ag_tensor *grad, char *a,
                               char *b)
{
    const int last = ag_ndim(t) - 1;
    const int64_t *shape = ag_shape(t), *ps = ag_strides(t), *gs = ag_strides(grad);
    const int64_t size = (int64_t)ag_dtype_size(ag_dtype_of(t)), row = shape[last];
    ag__optim_row *step = ag__optim_rows[ag_dtype_of(t) == AG_F64];
    int64_t index[AG_MAX_DIMS] = { 0 };
    char *p = ag_data(t);
    const char *g = ag_data(grad);

    for (int64_t left = ag_numel(t) / row; left > 0; left--) {
        step(r, p, ps[last], g, gs[last], a, b, row);
        a = a ? a + row * size : NULL;
        b = b ? b + row * size : NULL;
        for (int d = last - 1; d >= 0; d--) {
            p += ps[d] * size;
            g += gs[d] * size;
            if (++index[d] < shape[d])
                break;
            p -= shape[d] * ps[d] * size;
            g -= shape[d] * gs[d] * size;
            index[d] = 0;
        }
    }
}

/* A step of n elements without gaps, in blocks. */
typedef struct {
    const ag__optim_rates *r;
    ag__optim_row *step;
    char *p, *g, *a, *b;
    int64_t n, size;
} optim_dense;

static void optim_block(void *arg, int64_t block, int worker)
{
    const optim_dense *d = arg;
    const int64_t first = block * OPTIM_PART, left = d->n - first, at = first * d->size;
    (void)worker;
    d->step(d->r, d->p + at, 1, d->g + at, 1, d->a ? d->a + at : NULL, d->b ? d->b + at : NULL,
            left < OPTIM_PART ? left : OPTIM_PART);
}

static void optim_step_dense(ag_context *c, optim_dense d)
{
    ag__parallel(c, (d.n + OPTIM_PART - 1) / OPTIM_PART, optim_block, &d);
}

static void optim_step_slot(ag_optimizer *o, optim_slot *s, ag_tensor *grad)
{
    ag__optim_rates r = o->rates;
    ag_tensor *t = s->tensor;
    const int64_t n = ag_numel(t);
    char *a = s->state, *b = o->n_states == 2 && a ? a + s->bytes / 2 : NULL;

    r.first = s->steps++ == 0;
    if (n == 0)
        return;
    if (r.adam) {
        r.adam_rate = r.lr / (1 - pow(r.beta1, (double)s->steps));
        r.adam_root = sqrt(1 - pow(r.beta2, (double)s->steps));
    }
    if (ag_is_contiguous(t) && ag_is_contiguous(grad))
        optim_step_dense(o->c, (optim_dense){ &r, ag__optim_rows[ag_dtype_of(t) == AG_F64],
                                              ag_data(t), ag_data(grad), a, b, n,
                                              (int64_t)ag_dtype_size(ag_dtype_of(t)) });
    else
        optim_step_strided(&r, t, grad, a, b);
    ag__bump_version(t, r.adam ? "adam" : "sgd");
}

static bool optim_check_grad(ag_optimizer *o, int i)
{
    ag_tensor *t = o->slots[i].tensor, *grad = optim_grad(&o->slots[i]);
    if (!grad)
        return true;
    if (ag_dtype_of(grad) != ag_dtype_of(t))
        return ag_fail(o->c, AG_ERR_DTYPE, "ag_step: the gradient of parameter %d is %s, not %s", i,
                       ag_dtype_name(ag_dtype_of(grad)), ag_dtype_name(ag_dtype_of(t)));
    if (ag_ndim(grad) != ag_ndim(t) ||
        (ag_ndim(t) > 0 &&
         memcmp(ag_shape(grad), ag_shape(t), (size_t)ag_ndim(t) * sizeof(int64_t)) != 0))
        return ag_fail(o->c, AG_ERR_SHAPE,
                       "ag_step: the gradient of parameter %d has not the parameter's shape", i);
    return true;
}

bool ag_step(ag_optimizer *o)
{
    if (!o)
        return false;
    for (int i = 0; i < o->n; i++)
        if (!optim_check_grad(o, i))
            return false;
    for (int i = 0; i < o->n; i++) {
        ag_tensor *grad = optim_grad(&o->slots[i]);
        if (grad)
            optim_step_slot(o, &o->slots[i], grad);
    }
    return true;
}

void ag_optimizer_zero_grad(ag_optimizer *o)
{
    for (int i = 0; o && i < o->n; i++)
        ag_zero_grad(o->slots[i].tensor);
}

/* A negative rate sets the error and leaves the old one; 0 is a rate here, not the default. */
void ag_optimizer_set_lr(ag_optimizer *o, double lr)
{
    if (!o)
        return;
    if (lr >= 0)
        o->rates.lr = lr;
    else
        ag_fail(o->c, AG_ERR_VALUE, "Invalid learning rate: %g", lr);
}
