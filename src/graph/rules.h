/*
 * What the rows that only graphs have make of their operands: their one place of validation, as
 * `infer` is for the rows of the table. A call that is recorded passes it, and so does an
 * instruction of a file.
 */
#ifndef AG_GRAPH_RULES_H
#define AG_GRAPH_RULES_H

#include "rows.h"

/* Types of the results of i, which is not part of r yet, from its operands (values of r),
 * attributes and regions; false with an error. out[0] of a source (placeholder, constant,
 * variable) is given, and checked. */
bool ag__graph_infer(const ag__region *r, const ag__inst *i, ag__geometry *out);

/* Parts of it for callers who cannot wait. A type that values of graphs may have: */
bool ag__rule_type(ag_context *c, const char *op, ag_dtype dtype, ag_ints shape);
bool ag__rule_assigns(const char *op, const ag__region *r); /* assignments may stand in r */
/* Output i of a gradient, and the gradient that it is given (NULL: none). */
bool ag__rule_output(ag_context *c, int i, ag__type output, const ag__type *g);
bool ag__rule_input(ag_context *c, int i, ag__type input);
/* The selector of a branch or the condition of a loop: one element, as far as is known. */
bool ag__rule_one(ag_context *c, const char *op, const char *what, ag_ints shape);
bool ag__rule_index(ag_context *c, ag_dtype dtype); /* of a switch */
/* Variable i of a while loop and carry i of a scan keep their dtype. */
bool ag__rule_variable(ag_context *c, int i, ag_dtype has, ag_dtype becomes);
bool ag__rule_carry(ag_context *c, int i, ag_dtype has, ag_dtype becomes);
/* x number i of a scan; *length is how many steps those before have (-1: not known), and those
 * with it. */
bool ag__rule_length(ag_context *c, int i, ag_ints x, int64_t *length);
/* So many steps, each of which gives `ys` results, can be kept until they are stacked. */
bool ag__rule_steps(ag_context *c, int64_t length, int64_t ys);

#endif
