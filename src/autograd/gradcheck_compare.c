/*
 * Comparing two Jacobians block by block (an input and an output each), and showing where they
 * differ: both blocks are printed as tensors, or of large ones what lies around the entry that is
 * farthest off, so that a message fits its buffer. Inputs and outputs are numbered as the caller does.
 */
#include "gradcheck.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The derivatives of one output with respect to one input. */
typedef struct {
    int input, output;
    int64_t rows, cols; /* 1 where a direction is all of the tensor */
    const double *numerical, *analytical;
    int64_t n_stride, a_stride; /* from row to row */
    double atol;
} compare_block;

/* ---- how far apart ---- */

/* By how much an entry exceeds the tolerance, as allclose has it: infinities are close when equal,
 * NaN never is. At most 0 when it does not. */
static double compare_excess(const ag__check *k, const compare_block *b, int64_t r, int64_t j)
{
    const double a = b->analytical[r * b->a_stride + j], n = b->numerical[r * b->n_stride + j];
    if (a == n)
        return 0;
    const double excess = fabs(a - n) - (b->atol + k->rtol * fabs(n));
    return isfinite(n) && isfinite(excess) ? excess : INFINITY;
}

/* Whether all entries are close; otherwise *row and *col say which is farthest off. */
static bool compare_is_close(const ag__check *k, const compare_block *b, int64_t *row, int64_t *col)
{
    double most = 0;
    for (int64_t r = 0; r < b->rows; r++)
        for (int64_t j = 0; j < b->cols; j++) {
            const double excess = compare_excess(k, b, r, j);
            if (excess > most) {
                most = excess;
                *row = r;
                *col = j;
            }
        }
    return most <= 0;
}

/* ---- showing ---- */

/* Rows [r0, r1) and columns [c0, c1) of a block. */
typedef struct {
    int64_t r0, r1, c0, c1;
} compare_window;

/* Those entries as text, for ag_free; NULL when out of memory. */
static char *compare_text(ag_context *c, const double *from, int64_t stride,
                          const compare_window *w)
{
    ag_tensor *t = ag__tensor_new(c, AG_F64, 2, (const int64_t[]){ w->r1 - w->r0, w->c1 - w->c0 });
    if (!t)
        return NULL;
    double *to = (double *)(void *)ag__at(t);
    for (int64_t r = w->r0; r < w->r1; r++)
        for (int64_t j = w->c0; j < w->c1; j++)
            *to++ = from[r * stride + j];
    char *text = ag_to_string(t);
    ag__tensor_unref(t);
    return text;
}

/* `size` places around `at`, of n. */
static void compare_around(int64_t at, int64_t size, int64_t n, int64_t *from, int64_t *to)
{
    *from = at - size / 2 < 0 ? 0 : at - size / 2;
    *to = *from + size < n ? *from + size : n;
    *from = *to - size < 0 ? 0 : *to - size;
}

/* "[1, 2]": where element i of t, in row-major order, stands. */
static const char *compare_place(ag__shape_text *text, const ag_tensor *t, int64_t i)
{
    int64_t at[AG_MAX_DIMS];
    for (int d = t->ndim - 1; d >= 0; d--) {
        at[d] = i % t->dims[d];
        i /= t->dims[d];
    }
    return ag__shape_string(text, (ag_ints){ at, t->ndim });
}

typedef struct {
    char text[AG_MESSAGE_MAX];
    size_t length;
} compare_message;

AG_FORMAT(2, 3) static void compare_say(compare_message *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const size_t room = sizeof m->text - m->length;
    const int n = vsnprintf(m->text + m->length, room, format, args);
    va_end(args);
    m->length += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* Adds both blocks, each after its title, when that takes no more than `room` bytes (always, if it is
 * one entry); whether it does so. False with an error when out of memory. */
static bool compare_say_window(compare_message *m, ag_context *c, const compare_block *b,
                               const compare_window *w, const char *const titles[2], size_t room)
{
    char *numerical = compare_text(c, b->numerical, b->n_stride, w);
    char *analytical = numerical ? compare_text(c, b->analytical, b->a_stride, w) : NULL;
    const bool one = w->r1 - w->r0 <= 1 && w->c1 - w->c0 <= 1;
    const bool fits = analytical && (one || strlen(numerical) + strlen(analytical) <= room);
    if (fits)
        compare_say(m, "%s%s\n%s%s\n", titles[0], numerical, titles[1], analytical);
    ag_free(numerical);
    ag_free(analytical);
    return fits;
}

/* Both blocks, or as much as there is room for around an entry. */
static bool compare_say_blocks(compare_message *m, ag_context *c, const compare_block *b,
                               int64_t row, int64_t col, const char *const titles[2], size_t room)
{
    static const int8_t sizes[][2] = {
        { 12, 6 }, { 8, 6 }, { 6, 5 }, { 5, 4 }, { 3, 3 }, { 1, 1 }
    };
    const compare_window all = { 0, b->rows, 0, b->cols };
    if (b->rows <= 500 && b->cols <= 500 && b->rows * b->cols <= 500 &&
        compare_say_window(m, c, b, &all, titles, room))
        return true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && !ag__failed(c); i++) {
        compare_window w;
        compare_around(row, sizes[i][0], b->rows, &w.r0, &w.r1);
        compare_around(col, sizes[i][1], b->cols, &w.c0, &w.c1);
        if (!compare_say_window(m, c, b, &w, titles, room))
            continue;
        compare_say(m, "(rows %lld to %lld and columns %lld to %lld of [%lld, %lld])\n",
                    (long long)w.r0, (long long)w.r1 - 1, (long long)w.c0, (long long)w.c1 - 1,
                    (long long)b->rows, (long long)b->cols);
        return true;
    }
    return false;
}

static void compare_say_worst(compare_message *m, const ag__check *k, const compare_block *b,
                              int64_t row, int64_t col)
{
    ag__shape_text in, out;
    compare_say(
        m,
        "Farthest off is the derivative of element %s of the output with respect to element "
        "%s of the input: numerical %.10g, analytical %.10g.\n",
        compare_place(&out, k->out[b->output], col), compare_place(&in, k->in[b->input], row),
        b->numerical[row * b->n_stride + col], b->analytical[row * b->a_stride + col]);
}

/* ---- blocks ---- */

static int64_t compare_row_of(const ag__check *k, int i)
{
    int64_t at = 0;
    for (int x = 0; x < i; x++)
        at += k->in[k->wanted[x]]->numel;
    return at;
}

static int64_t compare_col_of(const ag__check *k, int j)
{
    int64_t at = 0;
    for (int y = 0; y < j; y++)
        at += k->out_numel[y];
    return at;
}

/* Of Jacobians: wanted input i, output j. */
static compare_block compare_block_of(const ag__check *k, const double *numerical,
                                      const double *analytical, int i, int j)
{
    const int64_t at = compare_row_of(k, i) * k->cols + compare_col_of(k, j);
    return (compare_block){ .input = k->wanted[i],
                            .output = j,
                            .rows = k->in[k->wanted[i]]->numel,
                            .cols = k->out_numel[j],
                            .numerical = numerical + at,
                            .analytical = analytical + at,
                            .n_stride = k->cols,
                            .a_stride = k->cols,
                            .atol = k->atol };
}

static void compare_begin(compare_message *m, const compare_block *b, bool forward)
{
    m->length = 0;
    compare_say(m, "Jacobian %smismatch for output %d with respect to input %d,\n",
                forward ? "computed with forward mode " : "", b->output, b->input);
}

static const char *const compare_titles[] = { "numerical:", "analytical:" };

static bool compare_slow(const ag__check *k, const compare_block *b, bool forward)
{
    int64_t row, col;
    compare_message m;
    if (compare_is_close(k, b, &row, &col))
        return true;
    compare_begin(&m, b, forward);
    if (compare_say_blocks(&m, k->c, b, row, col, compare_titles, 1400))
        compare_say_worst(&m, k, b, row, col);
    return ag_fail(k->c, AG_ERR_GRAD, "%s", m.text);
}

/* ---- fast mode ---- */

/* What slow mode has to say of the block, unless its Jacobian is large. */
static void compare_say_slowly(compare_message *m, const ag__check *k, int i, int j, bool forward)
{
    static const char *const titles[] = { "Numerical:\n ", "Analytical:\n" };
    enum { LARGE = 1 << 20 };
    int64_t size, row = 0, col = 0;
    if (!ag__mul_fits(k->rows, k->cols, &size) || size > LARGE)
        return;
    const size_t bytes = 2 * (size_t)size * sizeof(double);
    double *numerical = ag__alloc(k->c, bytes);
    double *analytical = numerical ? numerical + size : NULL;
    ag__check slow = *k;
    slow.fast = false;
    if (numerical && ag__check_numerical(&slow, numerical) &&
        (forward ? ag__check_forward(&slow, analytical) : ag__check_reverse(&slow, analytical))) {
        const compare_block b = compare_block_of(&slow, numerical, analytical, i, j);
        const bool close = compare_is_close(&slow, &b, &row, &col);
        compare_say(m, "\nThe above quantities relating the numerical and analytical jacobians are "
                       "computed \nin fast mode. Below, we recompute numerical and analytical "
                       "jacobians in slow mode:\n\n");
        if (compare_say_blocks(m, k->c, &b, row, col, titles, 800) && !close)
            compare_say_worst(m, k, &b, row, col);
        if (close)
            compare_say(m, "Fast gradcheck failed but element-wise differences are small. This "
                           "means that the\ntest might've passed in slow_mode!");
    }
    ag__free(k->c, numerical, bytes);
}

static double compare_sum(const double *v, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += v[i];
    return sum;
}

static double compare_dot(const double *a, int64_t stride, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += a[i * stride] * b[i];
    return sum;
}

/* A vector J u, or a number v^T J u, for wanted input i and output j. An absolute tolerance for each
 * entry of J becomes one for their weighted sum. */
static bool compare_fast(const ag__check *k, const compare_block *b, int i, int j, bool forward)
{
    int64_t row, col;
    compare_message m;
    if (compare_is_close(k, b, &row, &col))
        return true;
    compare_begin(&m, b, forward);
    if (compare_say_blocks(&m, k->c, b, row, col, compare_titles, 400))
        compare_say_slowly(&m, k, i, j, forward);
    return ag_fail(k->c, AG_ERR_GRAD, "%s", m.text);
}

static bool compare_fast_reverse(const ag__check *k, const double *numerical,
                                 const double *analytical, int i, int j)
{
    const int64_t row = compare_row_of(k, i), col = compare_col_of(k, j);
    const int64_t rows = k->in[k->wanted[i]]->numel, cols = k->out_numel[j];
    const double n = compare_dot(numerical + i * k->cols + col, 1, k->v + col, cols);
    const double a = compare_dot(analytical + row * k->m + j, k->m, k->u + row, rows);
    const double atol = k->atol * compare_sum(k->u + row, rows) * compare_sum(k->v + col, cols);
    const compare_block b = { .input = k->wanted[i],
                              .output = j,
                              .rows = 1,
                              .cols = 1,
                              .numerical = &n,
                              .analytical = &a,
                              .n_stride = 1,
                              .a_stride = 1,
                              .atol = atol };
    return compare_fast(k, &b, i, j, false);
}

static bool compare_fast_forward(const ag__check *k, const double *numerical,
                                 const double *analytical, int i, int j)
{
    const int64_t row = compare_row_of(k, i), at = i * k->cols + compare_col_of(k, j);
    const compare_block b = { .input = k->wanted[i],
                              .output = j,
                              .rows = 1,
                              .cols = k->out_numel[j],
                              .numerical = numerical + at,
                              .analytical = analytical + at,
                              .n_stride = k->cols,
                              .a_stride = k->cols,
                              .atol =
                                  k->atol * compare_sum(k->u + row, k->in[k->wanted[i]]->numel) };
    return compare_fast(k, &b, i, j, true);
}

/* ---- whole matrices ---- */

/* Two passes from output j gave the same, but for the tolerance. */
static bool compare_repeats(const ag__check *k, const double *first, const double *second, int j)
{
    const int64_t stride = ag__check_out_directions(k), n = k->fast ? 1 : k->out_numel[j];
    const int64_t col = k->fast ? j : compare_col_of(k, j);
    char tolerance[32];
    snprintf(tolerance, sizeof tolerance, "%.17g", k->nondet_tol);
    if (!strpbrk(tolerance, ".e"))
        strcat(tolerance, ".0");
    for (int64_t r = 0; r < k->rows; r++)
        for (int64_t e = col; e < col + n; e++)
            if (fabs(first[r * stride + e] - second[r * stride + e]) > k->nondet_tol)
                return ag_fail(
                    k->c, AG_ERR_GRAD,
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values, although analytical "
                    "gradient matches numerical gradient. The tolerance for nondeterminism was %s. "
                    "[output %d: %.10g, then %.10g]",
                    tolerance, j, first[r * stride + e], second[r * stride + e]);
    return true;
}

bool ag__check_compare_reverse(const ag__check *k, const double *numerical,
                               const double *analytical, const double *again)
{
    for (int j = 0; j < k->m; j++) {
        if (!ag__wants_grad(k->out[j]))
            continue;
        if (!compare_repeats(k, analytical, again, j))
            return false;
        for (int i = 0; i < k->n_wanted; i++) {
            const compare_block b = compare_block_of(k, numerical, analytical, i, j);
            if (k->fast ? !compare_fast_reverse(k, numerical, analytical, i, j)
                        : !compare_slow(k, &b, false))
                return false;
        }
    }
    return true;
}

bool ag__check_compare_forward(const ag__check *k, const double *numerical,
                               const double *analytical)
{
    for (int j = 0; j < k->m; j++)
        for (int i = 0; i < k->n_wanted && ag__wants_grad(k->out[j]); i++) {
            const compare_block b = compare_block_of(k, numerical, analytical, i, j);
            if (k->fast ? !compare_fast_forward(k, numerical, analytical, i, j)
                        : !compare_slow(k, &b, true))
                return false;
        }
    return true;
}

bool ag__check_compare_zero(const ag__check *k, const double *numerical)
{
    const int64_t n = ag__check_in_directions(k) * k->cols;
    for (int64_t i = 0; i < n; i++)
        if (k->fast ? fabs(numerical[i]) > k->nondet_tol : numerical[i] != 0)
            return ag_fail(k->c, AG_ERR_GRAD,
                           "Numerical gradient for function expected to be zero");
    return true;
}
