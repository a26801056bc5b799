/*
 * Derivatives in three ways: differences of values, passes back, tangents forward. The first moves
 * elements of an input in the input's own memory and puts them back after the call.
 */
#include "gradcheck.h"

#include <string.h>

/* Element number i, in row-major order, of t: its index in t's memory. */
static int64_t derive_offset(const ag_tensor *t, int64_t i)
{
    int64_t at = 0;
    for (int d = t->ndim - 1; d >= 0; d--) {
        at += i % t->dims[d] * t->dims[t->ndim + d];
        i /= t->dims[d];
    }
    return at;
}

double ag__check_read(const ag_tensor *t, int64_t i)
{
    return ag__load((ag_dtype)t->dtype, ag__at(t), derive_offset(t, i));
}

ag_tensor *ag__check_tensor(const ag_tensor *t, const double *values)
{
    const ag_dtype d = (ag_dtype)t->dtype;
    const ag_tensor_options like = { .size = sizeof like, .dtype = d };
    ag_tensor *made = (ag_zeros)(t->c, ag__sizes(t), &like);
    for (int64_t i = 0; made && values && i < t->numel; i++)
        ag__store(d, ag__at(made), i, values[i]);
    return made;
}

bool ag__check_call(const ag__check *k, ag_tensor **out)
{
    for (int j = 0; j < k->m; j++)
        out[j] = NULL;
    if (!k->fn(k->in, k->n, out, k->m, k->user))
        return ag_fail(k->c, AG_ERR_VALUE, "%s: the function failed", k->name);
    for (int j = 0; j < k->m; j++)
        if (!ag__list_check(k->c, k->name, "output", j, out[j]))
            return false;
    return true;
}

/* Adds `factor` times the elements of all outputs to a row. */
static bool derive_add(const ag__check *k, ag_tensor *const *out, double factor, double *row)
{
    for (int j = 0; j < k->m; row += k->out_numel[j++]) {
        if (out[j] && out[j]->numel != k->out_numel[j])
            return ag_fail(k->c, AG_ERR_VALUE, "%s: output %d changes its size", k->name, j);
        for (int64_t e = 0; out[j] && e < k->out_numel[j]; e++)
            row[e] += factor * ag__check_read(out[j], e);
    }
    return true;
}

/* ---- by rows: directions of inputs ---- */

/* A direction moves `count` elements of an input from `first` on, by u. */
typedef struct {
    int input;
    int64_t first, count;
    const double *u;
} derive_direction;

typedef bool derive_row(const ag__check *k, const derive_direction *d, double *row);

static bool derive_rows(const ag__check *k, double *matrix, derive_row *fill)
{
    static const double one = 1;
    const double *u = k->u;
    memset(matrix, 0, (size_t)(ag__check_in_directions(k) * k->cols) * sizeof *matrix);
    for (int i = 0; i < k->n_wanted; i++) {
        const int64_t numel = k->in[k->wanted[i]]->numel, n = k->fast ? 1 : numel;
        for (int64_t e = 0; e < n; e++, matrix += k->cols) {
            const derive_direction d = { k->wanted[i], e, k->fast ? numel : 1, k->fast ? u : &one };
            if (!fill(k, &d, matrix))
                return false;
        }
        u += numel;
    }
    return true;
}

/* Adds `factor` times fn's outputs, at the inputs moved by `step` in the direction, to a row. */
static bool derive_moved(const ag__check *k, const derive_direction *d, double step, double factor,
                         double *row)
{
    ag_tensor *t = k->in[d->input];
    const ag_dtype dtype = (ag_dtype)t->dtype;
    ag_scope *s = ag_scope_begin(k->c);
    if (!s)
        return false;
    for (int64_t i = 0; i < d->count; i++) {
        const int64_t at = derive_offset(t, d->first + i);
        k->old[i] = ag__load(dtype, ag__at(t), at);
        ag__store(dtype, ag__at(t), at, k->old[i] + step * d->u[i]);
    }
    const bool ok = ag__check_call(k, k->again) && derive_add(k, k->again, factor, row);
    for (int64_t i = 0; i < d->count; i++) /* not before: an output may be t or a view of it */
        ag__store(dtype, ag__at(t), derive_offset(t, d->first + i), k->old[i]);
    ag_scope_end(s);
    return ok;
}

static bool derive_difference(const ag__check *k, const derive_direction *d, double *row)
{
    if (!derive_moved(k, d, k->eps, 1, row) || !derive_moved(k, d, -k->eps, -1, row))
        return false;
    for (int64_t j = 0; j < k->cols; j++)
        row[j] /= 2 * k->eps;
    return true;
}

bool ag__check_numerical(const ag__check *k, double *matrix)
{
    return derive_rows(k, matrix, derive_difference);
}

/* Results are wanted as numbers only, so the caller's grad mode is off meanwhile. */
static bool derive_tangent(const ag__check *k, const derive_direction *d, double *row)
{
    const ag_tensor *t = k->in[d->input];
    ag_tensor **tangents = k->lists, **tangents_out = tangents + k->n;
    ag_scope *s = ag_scope_begin(k->c);
    ag_tensor *u = s ? ag__check_tensor(t, NULL) : NULL;
    bool ok = u != NULL;
    for (int64_t i = 0; i < d->count && ok; i++)
        ag__store((ag_dtype)u->dtype, ag__at(u), d->first + i, d->u[i]);
    for (int i = 0; i < k->n; i++)
        tangents[i] = i == d->input ? u : NULL;
    const bool enabled = ag_set_grad_enabled(k->c, false);
    ok = ok && ag_jvp(k->fn, k->in, k->n, tangents, k->again, k->m, tangents_out, k->user) &&
         derive_add(k, tangents_out, 1, row);
    ag_set_grad_enabled(k->c, enabled);
    ag_scope_end(s);
    return ok;
}

bool ag__check_forward(const ag__check *k, double *matrix)
{
    return derive_rows(k, matrix, derive_tangent);
}

/* ---- by columns: directions of outputs ---- */

/* One backward pass from output j: element e of it, or v, into a column. */
static bool derive_column(const ag__check *k, int j, int64_t e, const double *v, double *column)
{
    ag_tensor *y = k->out[j], **wanted = k->lists, **grads = wanted + k->n;
    const int64_t stride = ag__check_out_directions(k);
    ag_scope *s = ag_scope_begin(k->c);
    ag_tensor *direction = s ? ag__check_tensor(y, v) : NULL;
    bool ok = direction != NULL;
    for (int i = 0; i < k->n_wanted; i++)
        wanted[i] = k->in[k->wanted[i]];
    if (ok && !v)
        ag__store((ag_dtype)y->dtype, ag__at(direction), e, 1);
    ok = ok && ag_grad(&y, 1, wanted, k->n_wanted, grads, .grad_outputs = &direction,
                       .retain_graph = true, .allow_unused = true);
    for (int i = 0; i < k->n_wanted && ok; i++)
        for (int64_t r = 0; r < wanted[i]->numel; r++, column += stride)
            *column = grads[i] ? ag__check_read(grads[i], r) : 0;
    ag_scope_end(s);
    return ok;
}

/* Outputs that require no gradient get zeros. */
bool ag__check_reverse(const ag__check *k, double *matrix)
{
    const double *v = k->v;
    memset(matrix, 0, (size_t)(k->rows * ag__check_out_directions(k)) * sizeof *matrix);
    for (int j = 0; j < k->m; v += k->out_numel[j++]) {
        const int64_t n = k->fast ? 1 : k->out_numel[j];
        for (int64_t e = 0; e < n; e++, matrix++)
            if (ag__wants_grad(k->out[j]) && !derive_column(k, j, e, k->fast ? v : NULL, matrix))
                return false;
    }
    return true;
}
