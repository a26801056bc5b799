/* See pointers.h. */
#include "pointers.h"

#include <string.h>

void ag__pointers_release(ag__pointers *s)
{
    ag__free(s->c, s->list, s->room * sizeof *s->list);
    ag__free(s->c, s->table, s->slots * sizeof *s->table);
}

static size_t *pointers_slot(const ag__pointers *s, const void *p)
{
    size_t at = (size_t)((uintptr_t)p / 16 * 0x9E3779B97F4A7C15u) & (s->slots - 1);
    while (s->table[at] && s->list[s->table[at] - 1] != p)
        at = (at + 1) & (s->slots - 1);
    return &s->table[at];
}

size_t ag__pointers_number(const ag__pointers *s, const void *p) { return *pointers_slot(s, p); }

static bool pointers_grow(ag__pointers *s)
{
    ag__pointers bigger = { s->c, NULL, s->n, s->room ? 2 * s->room : 64, NULL, 0 };
    bigger.slots = 2 * bigger.room;
    bigger.list = ag__alloc(s->c, bigger.room * sizeof *bigger.list);
    bigger.table = bigger.list ? ag__alloc(s->c, bigger.slots * sizeof *bigger.table) : NULL;
    if (!bigger.table) {
        ag__free(s->c, bigger.list, bigger.room * sizeof *bigger.list);
        return false;
    }
    memset(bigger.table, 0, bigger.slots * sizeof *bigger.table);
    for (size_t i = 0; i < s->n; i++) {
        bigger.list[i] = s->list[i];
        *pointers_slot(&bigger, s->list[i]) = i + 1;
    }
    ag__pointers_release(s);
    *s = bigger;
    return true;
}

bool ag__pointers_add(ag__pointers *s, void *p)
{
    if (s->n == s->room && !pointers_grow(s))
        return false;
    size_t *slot = pointers_slot(s, p);
    if (!*slot) {
        s->list[s->n++] = p;
        *slot = s->n;
    }
    return true;
}
