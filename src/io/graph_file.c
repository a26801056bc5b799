/*
 * Graphs in files: their text (graph/text.h) and a last line with its checksum, so that no flipped bit
 * goes unnoticed. A file is read as a whole before anything of it is looked at.
 */
#include <string.h>

#include "../graph/text.h"
#include "file.h"

#define GRAPH_FILE_LAST "checksum %08lx\n"
enum { GRAPH_FILE_LAST_BYTES = 18 };

/* ---- writing ---- */

static int graph_file_depth(const ag__region *r)
{
    int depth = 0;
    for (int k = 0; k < r->n_insts; k++)
        for (int j = 0; j < r->insts[k].n_regions; j++) {
            const int nested = 1 + graph_file_depth(r->insts[k].regions[j]);
            depth = nested > depth ? nested : depth;
        }
    return depth;
}

static bool graph_file_write(FILE *f, void *graph)
{
    const ag_graph *g = graph;
    ag__text t = { .c = g->c, .f = f };
    ag__graph_write(&t, g, true);
    ag__text_format(&t, GRAPH_FILE_LAST, (unsigned long)t.checksum);
    return !t.failed;
}

bool ag_graph_save(ag_graph *g, const char *path)
{
    if (!g || !ag__graph_alive("graph_save", g))
        return false;
    if (g->traced)
        return ag_fail(g->c, AG_ERR_UNSUPPORTED,
                       "ag_graph_save: the graph of a compiled function cannot be saved");
    if (graph_file_depth(&g->main) > AG_GRAPH_DEPTH)
        return ag_fail(g->c, AG_ERR_UNSUPPORTED,
                       "ag_graph_save: loops and branches are inside each other more than %d deep",
                       AG_GRAPH_DEPTH);
    return ag__file_replace(g->c, "ag_graph_save", path, graph_file_write, g);
}

/* ---- reading ---- */

/* The text ends with the line that its own checksum gives. */
static bool graph_file_check(ag_context *c, const char *path, const char *text, size_t *n)
{
    char last[GRAPH_FILE_LAST_BYTES + 1];
    if (*n < GRAPH_FILE_LAST_BYTES ||
        memcmp(text + *n - GRAPH_FILE_LAST_BYTES, GRAPH_FILE_LAST, sizeof "checksum") != 0 ||
        text[*n - 1] != '\n')
        return ag_fail(c, AG_ERR_FORMAT,
                       "ag_graph_load: " AG_PATH ": byte %zu: the file does not end with its "
                       "checksum; it is no graph, or not complete",
                       path, *n);
    *n -= GRAPH_FILE_LAST_BYTES;
    snprintf(last, sizeof last, GRAPH_FILE_LAST, (unsigned long)ag__crc32(0, text, *n));
    return memcmp(text + *n, last, GRAPH_FILE_LAST_BYTES) == 0 ||
           ag_fail(c, AG_ERR_FORMAT,
                   "ag_graph_load: " AG_PATH ": byte %zu: the checksum is not that of the content; "
                   "the file is damaged",
                   path, *n);
}

static ag_graph *graph_file_read(ag_context *c, const char *path, FILE *f, size_t size)
{
    char who[320];
    size_t n = size;
    ag_graph *g = NULL;
    char *text = ag__alloc(c, size);
    if (!text)
        return NULL;
    snprintf(who, sizeof who, "ag_graph_load: " AG_PATH, path);
    if (fread(text, 1, size, f) != size)
        ag__fail(c, AG_ERR_IO, "%s: the file cannot be read", who);
    else if (graph_file_check(c, path, text, &n))
        g = ag__graph_parse(c, who, text, n, false);
    ag__free(c, text, size);
    return g;
}

ag_graph *ag_graph_load(ag_context *c, const char *path)
{
    int64_t size = 0;
    FILE *f = c ? ag__file_open(c, "ag_graph_load", path, &size) : NULL;
    if (!f)
        return NULL;
    ag_graph *g = graph_file_read(c, path, f, (size_t)size);
    fclose(f);
    return g;
}
