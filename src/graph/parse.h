/* Reading the textual form of graphs: what parse.c, parse_inst.c and parse_words.c share. */
#ifndef AG_GRAPH_PARSE_H
#define AG_GRAPH_PARSE_H

#include "graph.h"

typedef struct {
    ag_context *c;
    ag_graph *g;
    const char *who;
    const char *at, *end;
    const char *line_at; /* where the line begins */
    int line;
} ag__reader;

/* Functions that return bool are false with an error, if nothing else is said. */

/* ---- parse_words.c ---- */

bool ag__parse_bad(const ag__reader *r, const char *format, ...) AG_FORMAT(2, 3); /* an error */

/* The next character. */
bool ag__parse_is(const ag__reader *r, char c);
void ag__parse_blank(ag__reader *r); /* skips blanks */
/* After blanks it is c, and is taken; false: it is not, which is no error. */
bool ag__parse_take(ag__reader *r, char c);
bool ag__parse_expect(ag__reader *r, char c);
/* `word` stands here; it is taken. False: it does not. */
bool ag__parse_word(ag__reader *r, const char *word);
/* The length of a word of lower-case letters, digits and underscores, which is taken; 0: there
 * is none. */
int ag__parse_identifier(ag__reader *r, char out[64]);
/* The rest of the line holds nothing but a comment. */
bool ag__parse_line_end(ag__reader *r);
/* Skips lines without text; false: the text ends here. */
bool ag__parse_more(ag__reader *r);

bool ag__parse_integer(ag__reader *r, int64_t *v);
bool ag__parse_count(ag__reader *r, int64_t limit, int64_t *v); /* 0 <= v < limit */
int ag__parse_digit(char c);                                    /* a hexadecimal one; -1: none */
bool ag__parse_real(ag__reader *r, double *v);
/* "[1, 2]" into list[0..*n), which has room for `room`. */
bool ag__parse_list(ag__reader *r, int64_t *list, int room, int *n);

bool ag__parse_type(ag__reader *r, ag__geometry *g, bool *number);
/* A name in quotes, in the graph's memory; NULL with an error. */
const char *ag__parse_name(ag__reader *r);
/* "%4", the number of the next value but `behind`. */
bool ag__parse_define(ag__reader *r, const ag__region *region, int behind);
/* Values of the region, and "-" where `gaps`, as long as there are some. */
bool ag__parse_values(ag__reader *r, const ag__region *region, bool gaps, int32_t **list, int *room,
                      int32_t *n);

/* ---- parse_inst.c, parse.c ---- */

bool ag__parse_inst(ag__reader *r, ag__region *region, int depth);
bool ag__parse_region(ag__reader *r, ag__region *parent, int depth, ag__region **out);

#endif
