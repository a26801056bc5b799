/*
 * Text in the making: it grows in memory, or goes into a file with its checksum taken on the way. After a
 * failure nothing more is written; who made the text asks once, at the end.
 */
#ifndef AG_BASE_TEXT_H
#define AG_BASE_TEXT_H

#include <stdio.h>

#include "error.h"

typedef struct {
    ag_context *c;
    FILE *f;             /* NULL: into memory */
    char *text;          /* not terminated; owned: ag__text_release */
    size_t length, room; /* of text */
    uint32_t checksum;   /* of what went into the file */
    bool failed;         /* for lack of memory, and there is an error; or in the file, see errno */
} ag__text;              /* to begin with all is zero but c and f */

void ag__text_put(ag__text *t, const char *bytes, size_t n);
void ag__text_string(ag__text *t, const char *s);
/* For numbers and names of ours: what comes out is shorter than 256 bytes. */
void ag__text_format(ag__text *t, const char *format, ...) AG_FORMAT(2, 3);
void ag__text_release(ag__text *t);

enum { AG_NUMBER_TEXT = 32 };
/* The fewest digits that ag__number_read turns into v again, in any locale. NaN is "nan". */
void ag__number_write(char text[AG_NUMBER_TEXT], double v);
/* text[0..n) as a number, in any locale: a finite one in decimals, "inf", "-inf" or "nan". False when it is
 * no such text, or too large for a double. */
bool ag__number_read(const char *text, size_t n, double *v);
/* A decimal point instead of the locale's, which may be several bytes. */
void ag__plain_point(char *number);

/* CRC-32 (ISO 3309, as in zip and PNG) of bytes behind those that gave `crc`; 0 to begin with. */
uint32_t ag__crc32(uint32_t crc, const void *bytes, size_t n);

#endif
