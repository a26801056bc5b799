/* What the benchmarks measure with. Define _POSIX_C_SOURCE 200809L before the first header. */
#ifndef BENCH_TIMING_H
#define BENCH_TIMING_H

#include <stdlib.h>
#include <time.h>

/* Since some moment. */
static inline double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}
static inline double now_us(void) { return now_ns() / 1e3; }
static inline double now_ms(void) { return now_ns() / 1e6; }

static inline int timing_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static inline double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, timing_compare);
    return values[n / 2];
}

#endif
