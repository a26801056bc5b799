/* The textual form of graphs: docs/graph-format.md. text.c writes it, parse.c reads it. */
#ifndef AG_GRAPH_TEXT_H
#define AG_GRAPH_TEXT_H

#include "../base/text.h"
#include "rows.h"

enum {
    AG_GRAPH_VERSION = 1,
    AG_GRAPH_DEPTH = 64, /* of regions inside each other, in what is read */
    AG_GRAPH_VALUES = 16 /* tensors up to so many elements are written as numbers */
};

/* Without `whole` the data of long constants are left out, and what comes out cannot be read. */
void ag__graph_write(ag__text *t, const ag_graph *g, bool whole);
/* What passes show; free with ag_free. Any graph, also a traced one. */
char *ag__graph_string(const ag_graph *g);
/* A graph of c; NULL with an error that begins with `who` and says the line. Nothing of
 * text[0..n) is trusted. `traced`: it must be, or must not be, a traced graph. */
ag_graph *ag__graph_parse(ag_context *c, const char *who, const char *text, size_t n, bool traced);

/* Of a dtype: "f32". */
const char *ag__graph_dtype(ag_dtype d);
/* Element i of base as text that reads back as it is; false: there is none, as of NaNs of other
 * bits than the usual ones. */
bool ag__graph_element(char text[AG_NUMBER_TEXT], ag_dtype d, const void *base, int64_t i);

/* The same for Graphviz: io/dot_graph.c. To be freed with ag_free; NULL when out of memory. */
char *ag__graph_dot(const ag_graph *g);

#endif
