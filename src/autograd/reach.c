/* See reach.h. */
#include "reach.h"

#include <string.h>

void ag__reach_release(ag__reach *r)
{
    ag__free(r->c, r->list, r->room * sizeof *r->list);
    ag__free(r->c, r->table, r->slots * sizeof *r->table);
}

static size_t *reach_slot(const ag__reach *r, const ag_node *n)
{
    size_t at = (size_t)((uintptr_t)n / 16 * 0x9E3779B97F4A7C15u) & (r->slots - 1);
    while (r->table[at] && r->list[r->table[at] - 1] != n)
        at = (at + 1) & (r->slots - 1);
    return &r->table[at];
}

size_t ag__reach_number(const ag__reach *r, const ag_node *n) { return *reach_slot(r, n); }

static bool reach_grow(ag__reach *r)
{
    ag__reach bigger = { r->c, NULL, r->n, r->room ? 2 * r->room : 64, NULL, 0 };
    bigger.slots = 2 * bigger.room;
    bigger.list = ag__alloc(r->c, bigger.room * sizeof *bigger.list);
    bigger.table = bigger.list ? ag__alloc(r->c, bigger.slots * sizeof *bigger.table) : NULL;
    if (!bigger.table) {
        ag__free(r->c, bigger.list, bigger.room * sizeof *bigger.list);
        return false;
    }
    memset(bigger.table, 0, bigger.slots * sizeof *bigger.table);
    for (size_t i = 0; i < r->n; i++) {
        bigger.list[i] = r->list[i];
        *reach_slot(&bigger, r->list[i]) = i + 1;
    }
    ag__reach_release(r);
    *r = bigger;
    return true;
}

static bool reach_add(ag__reach *r, ag_node *n)
{
    if (r->n == r->room && !reach_grow(r))
        return false;
    size_t *slot = reach_slot(r, n);
    if (!*slot) {
        r->list[r->n++] = n;
        *slot = r->n;
    }
    return true;
}

bool ag__reach_find(ag__reach *r, ag_context *c, ag_node *root)
{
    *r = (ag__reach){ .c = c };
    bool ok = !root || reach_add(r, root);
    for (size_t i = 0; i < r->n && ok; i++)
        for (int k = 0; k < r->list[i]->n_in && ok; k++) {
            ag_node *next = r->list[i]->edges[k].node;
            ok = !next || reach_add(r, next);
        }
    return ok;
}
