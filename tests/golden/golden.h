/*
 * Cases made by PyTorch, as C sees them: golden/cases.py describes their text, read.c reads it,
 * calls.c knows how each operation is called. What is read stays until the program ends.
 */
#ifndef AG_TESTS_GOLDEN_H
#define AG_TESTS_GOLDEN_H

#include <autograd.h>

#include <stdbool.h>
#include <stdint.h>

enum { GOLDEN_RANK = 6, GOLDEN_LEAVES = 6, GOLDEN_STEPS = 32, GOLDEN_OPERANDS = 6 };
enum { GOLDEN_ARGUMENTS = 6, GOLDEN_NAME = 24 };

/* In place of an element about which nothing is claimed. */
#define GOLDEN_UNKNOWN (-0x1.23456789abcdep-1000)

typedef struct {
    int n;
    double *data; /* NULL: not given */
} golden_numbers;

typedef struct {
    ag_dtype dtype;
    int ndim;
    int64_t shape[GOLDEN_RANK];
    bool grad;
    golden_numbers values;
} golden_tensor;

typedef enum { GOLDEN_VALUE, GOLDEN_NULL, GOLDEN_INTEGER, GOLDEN_REAL } golden_kind;
typedef struct {
    golden_kind kind;
    int value; /* the number of a leaf or step's result */
    double number;
} golden_operand;

typedef struct {
    char name[GOLDEN_NAME];
    int n; /* of the list; a single number is a list of one */
    int64_t list[GOLDEN_RANK];
    double number;  /* the first of the list as a real number */
    ag_dtype dtype; /* where it names one */
} golden_argument;

typedef struct {
    char name[GOLDEN_NAME];
    int n, n_arguments;
    golden_operand operands[GOLDEN_OPERANDS];
    golden_argument arguments[GOLDEN_ARGUMENTS];
} golden_step;

typedef struct {
    char *name;
    int line; /* of its heading, in the file */
    bool f32;
    int n_leaves, n_steps;
    golden_tensor leaves[GOLDEN_LEAVES];
    golden_step *steps;
    golden_tensor y;
    golden_numbers g[GOLDEN_LEAVES], h[GOLDEN_LEAVES], hv;
} golden_case;

typedef struct {
    int n;
    golden_case *cases;
} golden_file;

/* The cases of golden/NAME.txt; ends the test when there is no such file or a line is not understood.
 */
const golden_file *golden_read(const char *name);
/* The text of golden/NAME.txt, for the caller to free. */
char *golden_text(const char *name);
/* The dtype of this name ("f32"), or -1. */
int golden_dtype(const char *name);

/* The step's result, given all values so far; NULL with an error of the context. */
ag_tensor *golden_run(const golden_step *s, ag_tensor *const *values);

#endif
