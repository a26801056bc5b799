/* A call that fails leaves the graph as it was, to the letter. */
#ifndef AG_TESTS_REFUSED_H
#define AG_TESTS_REFUSED_H

#include "harness.h"

#include <stdio.h>

static inline const char *refused_text(ag_graph *g, char *copy, size_t size)
{
    char *text = g ? ag_graph_to_string(g) : NULL;
    CHECK(text || !g);
    snprintf(copy, size, "%s", text ? text : "");
    ag_free(text);
    return copy;
}

static char refused_before[65536], refused_after[65536];

/* The call fails with this code and sentence, and the graph (NULL: there is none) is as it was. */
#define CHECK_REFUSED(g, call, code, sentence)                                                     \
    do {                                                                                           \
        refused_text(g, refused_before, sizeof refused_before);                                    \
        CHECK_ERROR(call, code, sentence);                                                         \
        CHECK_TEXT(refused_text(g, refused_after, sizeof refused_after), refused_before);          \
    } while (0)

#endif
