/* The value of a row and its gradients, as functions compiled from their text; NULL: there is none. */
#ifndef AG_TESTS_TEXT_ROWS_H
#define AG_TESTS_TEXT_ROWS_H

typedef double text_fn(double g, double a, double b, double c, double y, double p, double q);
typedef struct {
    text_fn *of[5];
} text_row;
extern const text_row text_rows[]; /* by the operation's number */

#endif
