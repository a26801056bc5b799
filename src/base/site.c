/* Texts of places are made once each and kept in a hash table of chains. See site.h. */
#include "site.h"

#include <stdio.h>
#include <string.h>

enum { SITE_CHAINS = 256 };

/* The text follows. */
typedef struct ag__site {
    struct ag__site *next;
    const char *file, *name;
    int line;
    size_t bytes;
    char text[];
} ag__site;

typedef struct ag__sites {
    ag__site *chains[SITE_CHAINS];
} ag__sites;

static ag__site *site_new(ag_context *c, const char *name)
{
    const char *file = c->site_file;
    const size_t text = strlen(file) + (name ? strlen(name) : 0) + 20,
                 bytes = sizeof(ag__site) + text;
    ag__site *s = ag__alloc(c, bytes);
    if (!s)
        return NULL;
    *s = (ag__site){ .file = file, .name = name, .line = c->site_line, .bytes = bytes };
    snprintf(s->text, text, "%s%s%s:%d", name ? name : "", name ? " at " : "", file, s->line);
    return s;
}

bool ag__site_text(ag_context *c, const char *name, const char **text)
{
    *text = name;
    if (!c->site_file)
        return true;
    if (!c->sites) {
        c->sites = ag__alloc(c, sizeof *c->sites);
        if (!c->sites)
            return false;
        memset(c->sites, 0, sizeof *c->sites);
    }
    const uintptr_t key =
        (uintptr_t)c->site_file / 8 + (uintptr_t)name / 8 + (unsigned)c->site_line;
    ag__site **chain = &c->sites->chains[key % SITE_CHAINS], *s = *chain;
    while (s && (s->file != c->site_file || s->line != c->site_line || s->name != name))
        s = s->next;
    if (!s) {
        s = site_new(c, name);
        if (!s)
            return false;
        s->next = *chain;
        *chain = s;
    }
    *text = s->text;
    return true;
}

void ag__site_release(ag_context *c)
{
    for (int i = 0; c->sites && i < SITE_CHAINS; i++)
        for (ag__site *s = c->sites->chains[i], *next; s; s = next) {
            next = s->next;
            ag__free(c, s, s->bytes);
        }
    ag__free(c, c->sites, sizeof *c->sites);
    c->sites = NULL;
}
