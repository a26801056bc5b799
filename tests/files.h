/* Whole files for tests, closed again before any check can end the test. */
#ifndef AG_TESTS_FILES_H
#define AG_TESTS_FILES_H

#include "harness.h"

#include <stdio.h>

enum { FILES_MAX = 1 << 17 };

/* The file's bytes, *n of them (n may be NULL), and a NUL, in a buffer that is good until the next
 * call. NULL when there is no such file. */
static inline char *file_read(const char *path, size_t *n)
{
    static char bytes[FILES_MAX + 1];
    FILE *f = fopen(path, "rb");
    if (!f)
        return NULL;
    const size_t got = fread(bytes, 1, FILES_MAX, f);
    fclose(f);
    bytes[got] = '\0';
    if (n)
        *n = got;
    return bytes;
}

static inline void file_write(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    const size_t put = f ? fwrite(data, 1, n, f) : 0;
    if (!f || fclose(f) != 0 || put != n)
        FAIL("%s cannot be written", path);
}

#endif
