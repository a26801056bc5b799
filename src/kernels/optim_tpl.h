/*
 * The arithmetic of one optimiser step on one row of a parameter: a template, included by optim.c
 * once per dtype with
 *     T        the element type
 *     ROOT(x)  its square root
 *     STEP(n)  the name that n gets for this type
 *
 * p and g are `n` elements that lie p_step and g_step apart, the state is dense. Everything is
 * rounded to T after each operation, in the order of torch.optim, so that results agree to the last
 * few bits. A caller that passes a literal 1 for both distances gets a vectorised loop.
 */

/* d = g + weight_decay p; b = momentum b + (1 - dampening) d, or d on the first step;
 * p = p - lr b, and with Nesterov p = p - lr (d + momentum b). */
OPTIM_INLINE void STEP(sgd_row)(const ag__optim_rates *r, T *p, int64_t p_step, const T *g,
                                int64_t g_step, T *restrict b, int64_t n)
{
    const T lr = (T)-r->lr, decay = (T)r->weight_decay;
    const T momentum = (T)r->momentum, fresh = (T)(1 - r->dampening);
    const bool decays = r->weight_decay != 0, first = r->first, nesterov = r->nesterov;

    for (int64_t i = 0; i < n; i++) {
        T *at = p + i * p_step;
        T d = g[i * g_step];
        if (decays)
            d += decay * *at;
        if (b) {
            b[i] = first ? d : momentum * b[i] + fresh * d;
            d = nesterov ? d + momentum * b[i] : b[i];
        }
        *at += lr * d;
    }
}

/* Kingma and Ba 2015: m and v are the running means of d and d^2, for d = g + weight_decay p;
 * p = p - lr / (1 - beta1^t) m / (sqrt(v) / sqrt(1 - beta2^t) + eps). */
OPTIM_INLINE void STEP(adam_row)(const ag__optim_rates *r, T *p, int64_t p_step, const T *g,
                                 int64_t g_step, T *restrict m, T *restrict v, int64_t n)
{
    const T decay = (T)r->weight_decay, eps = (T)r->eps;
    const T beta1 = (T)r->beta1, fresh1 = (T)(1 - r->beta1);
    const T beta2 = (T)r->beta2, fresh2 = (T)(1 - r->beta2);
    const T rate = (T)-r->adam_rate, root = (T)r->adam_root;
    const bool decays = r->weight_decay != 0, slow = 1 - r->beta1 < 0.5;

    for (int64_t i = 0; i < n; i++) {
        T *at = p + i * p_step;
        T d = g[i * g_step];
        if (decays)
            d += decay * *at;
        /* The two forms of torch.lerp: each is exact at its own end. */
        m[i] = slow ? m[i] + fresh1 * (d - m[i]) : d - (d - m[i]) * beta1;
        v[i] = v[i] * beta2 + fresh2 * d * d;
        *at += rate * m[i] / (ROOT(v[i]) / root + eps);
    }
}

/* The kernel of `r` on one row; a and b are where the state of the row begins. */
static void STEP(row)(const ag__optim_rates *r, void *p, int64_t p_step, const void *g,
                      int64_t g_step, void *a, void *b, int64_t n)
{
    if (r->adam) {
        if (p_step == 1 && g_step == 1)
            STEP(adam_row)(r, p, 1, g, 1, a, b, n);
        else
            STEP(adam_row)(r, p, p_step, g, g_step, a, b, n);
    } else {
        if (p_step == 1 && g_step == 1)
            STEP(sgd_row)(r, p, 1, g, 1, a, n);
        else
            STEP(sgd_row)(r, p, p_step, g, g_step, a, n);
    }
}
