/*
 * Sorting by keys: short lines by insertion, long ones by radix, a byte at a time from the lowest.
 * A byte that is the same in all keys takes no pass: float keys have four of them, keys of small
 * natural numbers seven.
 */
#include "order.h"

#include <stdint.h>
#include <string.h>

enum { ORDER_SHORT = 64, ORDER_BYTES = 8, ORDER_VALUES = 256 };

/* ---- keys ---- */

/* Negative numbers in reverse, below all others. Adding 0 makes -0 a 0. */
static uint64_t order_key_f32(float v)
{
    uint32_t bits;
    v += 0.0f;
    memcpy(&bits, &v, sizeof bits);
    return v != v ? AG__ORDER_NAN : bits >> 31 ? ~bits : bits | UINT32_C(1) << 31;
}

static uint64_t order_key_f64(double v)
{
    uint64_t bits;
    v += 0.0;
    memcpy(&bits, &v, sizeof bits);
    return v != v ? AG__ORDER_NAN : bits >> 63 ? ~bits : bits | UINT64_C(1) << 63;
}

static uint64_t order_key_i64(int64_t v) { return (uint64_t)v ^ UINT64_C(1) << 63; }

static void order_keys(ag_dtype dtype, const void *x, int64_t n, int64_t stride, bool descending,
                       ag__ordered *to)
{
    const float *f = x;
    const double *d = x;
    const int64_t *w = x;
    const uint64_t turn = descending ? UINT64_MAX : 0;
    for (int64_t i = 0; i < n; i++) {
        const uint64_t key = dtype == AG_F32   ? order_key_f32(f[i * stride])
                             : dtype == AG_F64 ? order_key_f64(d[i * stride])
                                               : order_key_i64(w[i * stride]);
        to[i] = (ag__ordered){ key ^ turn, i };
    }
}

/* ---- sorting ---- */

static const ag__ordered *order_by_insertion(ag__ordered *a, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        const ag__ordered one = a[i];
        int64_t at = i;
        for (; at > 0 && a[at - 1].key > one.key; at--)
            a[at] = a[at - 1];
        a[at] = one;
    }
    return a;
}

static int order_byte(const ag__ordered *a, int nr) { return (int)(a->key >> 8 * nr & 255); }

static const ag__ordered *order_by_radix(ag__ordered *a, ag__ordered *b, int64_t n)
{
    int64_t counts[ORDER_BYTES][ORDER_VALUES] = { { 0 } };
    for (int64_t i = 0; i < n; i++)
        for (int nr = 0; nr < ORDER_BYTES; nr++)
            counts[nr][order_byte(a + i, nr)]++;
    for (int nr = 0; nr < ORDER_BYTES; nr++) {
        int64_t *at = counts[nr], sum = 0;
        if (at[order_byte(a, nr)] == n)
            continue;
        for (int v = 0; v < ORDER_VALUES; v++) {
            const int64_t count = at[v];
            at[v] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++)
            b[at[order_byte(a + i, nr)]++] = a[i];
        ag__ordered *sorted = b;
        b = a;
        a = sorted;
    }
    return a;
}

const ag__ordered *ag__order(ag_dtype dtype, const void *x, int64_t n, int64_t stride,
                             bool descending, ag__ordered *a, ag__ordered *b)
{
    order_keys(dtype, x, n, stride, descending, a);
    return n < ORDER_SHORT ? order_by_insertion(a, n) : order_by_radix(a, b, n);
}
