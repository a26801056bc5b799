/*
 * Initialisers: fill a tensor in place with random numbers, outside the graph, as in torch.nn.init.
 *
 * Both distributions run through one loop over the tensor's strides in row-major order; the named
 * rules only compute a bound or a standard deviation from the fans and call it. For a weight of
 * shape (out, in, k...) the fans are fan_in = in * k... and fan_out = out * k...
 */
#include <math.h>

#include "../base/error.h"
#include "../base/random.h"
#include "../tensor/tensor.h"

/* What to draw: lo + (hi - lo) u with u in [0, 1), or lo + hi z with z standard normal. */
typedef struct {
    bool normal;
    double lo, hi;
} init_law;

static double init_draw(ag_context *c, const init_law *law)
{
    return law->normal ? law->lo + law->hi * ag__normal(c)
                       : law->lo + (law->hi - law->lo) * ag__uniform(c);
}

/* Rounding to the element type may reach hi, which the half-open interval leaves out. */
static void init_store(void *at, ag_dtype dtype, const init_law *law, double v)
{
    const bool bounded = !law->normal && law->lo < law->hi;
    if (dtype == AG_F64) {
        *(double *)at = bounded && v >= law->hi ? nextafter(law->hi, law->lo) : v;
        return;
    }
    const float hi = (float)law->hi, lo = (float)law->lo, w = (float)v;
    *(float *)at = bounded && w >= hi && lo < hi ? nextafterf(hi, lo) : w;
}

/* False with an error for what cannot be filled at random. */
static bool init_check(ag_tensor *x, const char *name)
{
    ag_context *c = ag_context_of(x);
    if (!ag__has_data(name, x))
        return false;
    if (ag_dtype_of(x) != AG_F32 && ag_dtype_of(x) != AG_F64)
        return ag_fail(c, AG_ERR_DTYPE, "%s: expected float32 or float64, got %s", name,
                       ag_dtype_name(ag_dtype_of(x)));
    for (int d = 0; d < ag_ndim(x); d++)
        if (ag_shape(x)[d] > 1 && ag_strides(x)[d] == 0)
            return ag_fail(c, AG_ERR_VALUE,
                           "%s: unsupported operation: more than one element of the written-to "
                           "tensor refers to a single memory location",
                           name);
    return true;
}

/* Writes every element in row-major order, whatever the strides; returns x. */
static ag_tensor *init_fill(ag_tensor *x, const init_law *law, const char *name)
{
    const ag_dtype dtype = ag_dtype_of(x);
    const int64_t size = (int64_t)ag_dtype_size(dtype);
    const int64_t *shape = ag_shape(x), *strides = ag_strides(x);
    int64_t index[AG_MAX_DIMS] = { 0 };

    if (!init_check(x, name))
        return NULL;
    if (ag_numel(x) == 0)
        return x;
    char *at = ag_data(x);
    for (int64_t left = ag_numel(x); left > 0; left--) {
        init_store(at, dtype, law, init_draw(ag_context_of(x), law));
        for (int d = ag_ndim(x) - 1; d >= 0; d--) {
            at += strides[d] * size;
            if (++index[d] < shape[d])
                break;
            at -= shape[d] * strides[d] * size;
            index[d] = 0;
        }
    }
    ag__bump_version(x, name);
    return x;
}

static ag_tensor *init_uniform(ag_tensor *x, double lo, double hi, const char *name)
{
    return init_fill(x, &(init_law){ .lo = lo, .hi = hi }, name);
}

static ag_tensor *init_normal(ag_tensor *x, double mean, double std, const char *name)
{
    return init_fill(x, &(init_law){ .normal = true, .lo = mean, .hi = std }, name);
}

ag_tensor *ag_uniform_(ag_tensor *x, double lo, double hi)
{
    if (!x)
        return NULL;
    if (!isfinite(hi - lo))
        return ag__fail(ag_context_of(x), AG_ERR_VALUE,
                        "uniform_ expects finite bounds, but found from=%g and to=%g", lo, hi);
    if (lo > hi)
        return ag__fail(ag_context_of(x), AG_ERR_VALUE,
                        "uniform_ expects to return a [from, to) range, but found from=%g > to=%g",
                        lo, hi);
    return init_uniform(x, lo, hi, "uniform_");
}

ag_tensor *ag_normal_(ag_tensor *x, double mean, double std)
{
    if (!x)
        return NULL;
    if (!(std >= 0))
        return ag__fail(ag_context_of(x), AG_ERR_VALUE,
                        "normal expects std >= 0.0, but found std %g", std);
    return init_normal(x, mean, std, "normal_");
}

/* ---- rules from the fans --------------------------------------------------------------------- */

static bool init_fans(ag_tensor *x, double *fan_in, double *fan_out)
{
    if (!ag__has_data("an initialiser", x))
        return false;
    if (ag_ndim(x) < 2)
        return ag_fail(ag_context_of(x), AG_ERR_SHAPE,
                       "Fan in and fan out can not be computed for tensor with fewer than 2 "
                       "dimensions (it has %d)",
                       ag_ndim(x));
    double field = 1;
    for (int d = 2; d < ag_ndim(x); d++)
        field *= (double)ag_shape(x)[d];
    *fan_in = (double)ag_shape(x)[1] * field;
    *fan_out = (double)ag_shape(x)[0] * field;
    return true;
}

/* std = gain / sqrt(fan_in), gain = sqrt(2 / (1 + slope^2)). 0 for tensors without elements,
 * -1 on error. */
static double init_kaiming_std(ag_tensor *x, double slope)
{
    double in, out;
    if (!init_fans(x, &in, &out))
        return -1;
    if (!isfinite(slope)) {
        ag_fail(ag_context_of(x), AG_ERR_VALUE, "kaiming: expected a finite slope, but found %g",
                slope);
        return -1;
    }
    return in > 0 ? sqrt(2 / (1 + slope * slope)) / sqrt(in) : 0;
}

/* std = gain sqrt(2 / (fan_in + fan_out)); 0 and -1 likewise. */
static double init_xavier_std(ag_tensor *x, double gain)
{
    double in, out;
    if (!init_fans(x, &in, &out))
        return -1;
    if (!(gain >= 0)) {
        ag_fail(ag_context_of(x), AG_ERR_VALUE, "xavier: expected gain >= 0, but found gain %g",
                gain);
        return -1;
    }
    return in + out > 0 ? gain * sqrt(2 / (in + out)) : 0;
}

/* A uniform law on [-b, b) has the standard deviation b / sqrt(3). */
static ag_tensor *init_uniform_of_std(ag_tensor *x, double std, const char *name)
{
    const double bound = sqrt(3.0) * std;
    return std < 0 ? NULL : init_uniform(x, -bound, bound, name);
}

ag_tensor *ag_kaiming_uniform_(ag_tensor *x, double slope)
{
    return x ? init_uniform_of_std(x, init_kaiming_std(x, slope), "kaiming_uniform_") : NULL;
}

ag_tensor *ag_kaiming_normal_(ag_tensor *x, double slope)
{
    const double std = x ? init_kaiming_std(x, slope) : -1;
    return std < 0 ? NULL : init_normal(x, 0, std, "kaiming_normal_");
}

ag_tensor *ag_xavier_uniform_(ag_tensor *x, double gain)
{
    return x ? init_uniform_of_std(x, init_xavier_std(x, gain), "xavier_uniform_") : NULL;
}

ag_tensor *ag_xavier_normal_(ag_tensor *x, double gain)
{
    const double std = x ? init_xavier_std(x, gain) : -1;
    return std < 0 ? NULL : init_normal(x, 0, std, "xavier_normal_");
}
