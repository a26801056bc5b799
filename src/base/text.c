/* Text in the making, numbers as text, checksums. See text.h. */
#include "text.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- text ---- */

static bool text_room(ag__text *t, size_t n)
{
    if (t->length + n <= t->room)
        return true;
    const size_t room = 2 * (t->length + n) + 64;
    char *bigger = ag__alloc(t->c, room);
    if (!bigger)
        return false;
    if (t->length)
        memcpy(bigger, t->text, t->length);
    ag__free(t->c, t->text, t->room);
    t->text = bigger;
    t->room = room;
    return true;
}

void ag__text_put(ag__text *t, const char *bytes, size_t n)
{
    if (t->failed || n == 0)
        return;
    if (t->f) {
        t->failed = fwrite(bytes, 1, n, t->f) != n;
        t->checksum = ag__crc32(t->checksum, bytes, n);
    } else if (text_room(t, n)) {
        memcpy(t->text + t->length, bytes, n);
        t->length += n;
    } else {
        t->failed = true;
    }
}

void ag__text_string(ag__text *t, const char *s) { ag__text_put(t, s, strlen(s)); }

void ag__text_format(ag__text *t, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    ag__text_put(t, line, n < 0 ? 0 : (size_t)n);
}

void ag__text_release(ag__text *t)
{
    ag__free(t->c, t->text, t->room);
    t->text = NULL;
    t->length = t->room = 0;
}

/* ---- numbers ---- */

void ag__plain_point(char *number)
{
    char *at = number + strspn(number, "-0123456789");
    const size_t point = strcspn(at, "0123456789");
    if (at[0] == '\0' || at[0] == 'e' || at[point] == '\0') /* no digits follow: "nan", "12." */
        return;
    *at = '.';
    memmove(at + 1, at + point, strlen(at + point) + 1);
}

void ag__number_write(char text[AG_NUMBER_TEXT], double v)
{
    if (isnan(v) || isinf(v)) {
        snprintf(text, AG_NUMBER_TEXT, "%s", isnan(v) ? "nan" : v < 0 ? "-inf" : "inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, AG_NUMBER_TEXT, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    ag__plain_point(text);
}

bool ag__number_read(const char *text, size_t n, double *v)
{
    char local[AG_NUMBER_TEXT + 16], half[8], point[8], *end;
    if (n == 0 || n >= AG_NUMBER_TEXT)
        return false;
    snprintf(half, sizeof half, "%.1f", .5); /* "0.5", with the locale's point */
    snprintf(point, sizeof point, "%.*s", (int)strcspn(half + 1, "5"), half + 1);
    int put = 0, points = 0;
    for (size_t i = 0; i < n && points < 2; i++) {
        points += text[i] == '.';
        if (text[i] == '.')
            put += snprintf(local + put, sizeof point, "%s", point);
        else
            local[put++] = text[i];
    }
    local[put] = '\0';
    const char *word = text[0] == '-' ? local + 1 : local;
    if (!strcmp(word, "inf") || !strcmp(local, "nan")) {
        *v = word[0] == 'n' ? NAN : text[0] == '-' ? -INFINITY : INFINITY;
        return true;
    }
    if (points > 1 || word[0] < '0' || word[0] > '9' || strpbrk(word, "xXpP"))
        return false;
    *v = strtod(local, &end);
    return *end == '\0' && end == local + put && !isinf(*v);
}

/* ---- checksums ---- */

uint32_t ag__crc32(uint32_t crc, const void *bytes, size_t n)
{
    static const uint32_t of_four_bits[16] = {
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
        0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
        0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *at = bytes;
    crc = ~crc;
    for (; n > 0; n--, at++) {
        crc ^= *at;
        crc = crc >> 4 ^ of_four_bits[crc & 15];
        crc = crc >> 4 ^ of_four_bits[crc & 15];
    }
    return ~crc;
}
