/* Names of the values of a graph: a table with open addressing, and the scopes that are open. */
#include <stdio.h>
#include <string.h>

#include "graph.h"

enum { NAMES_MAX = 4096 }; /* the longest name */

/* FNV-1a, from a start that depends on where the table lies: no file holds names that all meet. */
static uint32_t names_hash(const ag__name *names, const char *name)
{
    uint32_t hash = 2166136261u ^ (uint32_t)((uintptr_t)names >> 12);
    for (; *name; name++)
        hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

/* Where the name stands, or would stand. The table has free places. */
static int names_place(const ag__name *names, int room, const char *name)
{
    int at = (int)(names_hash(names, name) & (uint32_t)(room - 1));
    while (names[at].name && strcmp(names[at].name, name) != 0)
        at = (at + 1) & (room - 1);
    return at;
}

int32_t ag__graph_named(const ag_graph *g, const char *name)
{
    return g->room_names ? g->names[names_place(g->names, g->room_names, name)].value : -1;
}

static bool names_grow(ag_graph *g)
{
    const int room = g->room_names ? 2 * g->room_names : 32;
    ag__name *names = ag__alloc(g->c, (size_t)room * sizeof *names);
    if (!names)
        return false;
    for (int i = 0; i < room; i++)
        names[i] = (ag__name){ NULL, -1 };
    for (int i = 0; i < g->room_names; i++)
        if (g->names[i].name)
            names[names_place(names, room, g->names[i].name)] = g->names[i];
    ag__free(g->c, g->names, (size_t)g->room_names * sizeof *names);
    g->names = names;
    g->room_names = room;
    return true;
}

/* The scopes' prefix and the name, with a number behind it where that is taken. */
static char *names_unique(ag_graph *g, const char *name)
{
    const char *prefix = g->prefix ? g->prefix : "";
    const size_t length = strlen(prefix) + strlen(name) + 16;
    if (length > NAMES_MAX)
        return ag__fail(g->c, AG_ERR_VALUE, "a name in a graph has %d bytes at most", NAMES_MAX);
    char *full = ag__graph_alloc(g, length);
    if (!full)
        return NULL;
    snprintf(full, length, "%s%s", prefix, name);
    for (int i = 1; ag__graph_named(g, full) >= 0; i++)
        snprintf(full, length, "%s%s_%d", prefix, name, i);
    return full;
}

static void names_forget(ag_graph *g, ag__value *value)
{
    if (value->name)
        g->names[names_place(g->names, g->room_names, value->name)].value = -1;
    value->name = NULL;
}

bool ag__graph_name_as(ag_graph *g, int32_t v, const char *full)
{
    if (2 * (g->n_names + 1) > g->room_names && !names_grow(g))
        return false;
    names_forget(g, &g->main.values[v]);
    ag__name *at = &g->names[names_place(g->names, g->room_names, full)];
    g->n_names += !at->name;
    *at = (ag__name){ full, v };
    g->main.values[v].name = full;
    return true;
}

bool ag__graph_name(ag_graph *g, int32_t v, const char *name)
{
    if (!name) {
        names_forget(g, &g->main.values[v]);
        return true;
    }
    const char *full = names_unique(g, name);
    return full && ag__graph_name_as(g, v, full);
}

/* ---- public ---- */

ag_tensor *ag_graph_find(ag_graph *g, const char *name)
{
    if (!g || !name || !ag__graph_alive("graph_find", g))
        return NULL;
    const int32_t v = ag__graph_named(g, name);
    return v < 0 ? NULL : ag__give(ag__symbol_new(&g->main, v));
}

bool ag__symbol_set_name(ag_tensor *t, const char *name)
{
    const ag__symbol *s = ag__symbol_of(t);
    if (!ag__graph_open("set_name", s->graph) || !ag__symbol_alive("set_name", t))
        return false;
    return s->region != &s->graph->main || ag__graph_name(s->graph, s->value, name);
}

const char *ag__symbol_name(const ag_tensor *t)
{
    const ag__symbol *s = ag__symbol_of(t);
    const bool there = !s->graph->freed && ag__symbol_valid(s);
    return there ? s->region->values[s->value].name : NULL;
}

bool ag_name_scope_push(ag_graph *g, const char *name)
{
    if (!g || !ag__graph_open("name_scope_push", g))
        return false;
    if (!name || !*name)
        return ag_fail(g->c, AG_ERR_VALUE, "ag_name_scope_push: the name is %s",
                       name ? "empty" : "NULL");
    const size_t old = g->prefix ? strlen(g->prefix) : 0, bytes = old + strlen(name) + 2;
    if (bytes > NAMES_MAX)
        return ag_fail(g->c, AG_ERR_VALUE, "a name in a graph has %d bytes at most", NAMES_MAX);
    char *prefix = ag__alloc(g->c, bytes);
    if (!prefix)
        return false;
    snprintf(prefix, bytes, "%s%s/", g->prefix ? g->prefix : "", name);
    ag__free(g->c, g->prefix, g->prefix_bytes);
    g->prefix = prefix;
    g->prefix_bytes = bytes;
    return true;
}

/* Scopes end one at a time, also those that were opened together as "a/b". */
void ag_name_scope_pop(ag_graph *g)
{
    if (!g || !g->prefix || !*g->prefix)
        return;
    size_t at = strlen(g->prefix) - 1;
    while (at > 0 && g->prefix[at - 1] != '/')
        at--;
    g->prefix[at] = '\0';
}
