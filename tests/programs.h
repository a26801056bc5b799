/*
 * Random programs of tensor operations, which compute eagerly or record a graph.
 *
 * A program is a list of instructions in blocks. Every instruction gives values, which are numbered
 * through the whole program and never change; operands are values that were made before, in the
 * same block or in one around it. Block 0 is the function itself, whose parameters are the
 * program's inputs; the others are bodies and branches of the instructions `while`, `cond` and
 * `scan`.
 *
 * A program knows what eager mode makes of it for several sets of inputs (`expect`): its outputs w
 * . y, first derivatives g = d(sum w . y) / d x, and second ones d(sum v . g) / d x, where the
 * weights w and v are drawn from numbers and shapes alone.
 */
#ifndef AG_TESTS_PROGRAMS_H
#define AG_TESTS_PROGRAMS_H

#include "harness.h"

#include <stdio.h>

enum {
    VALUES = 96,
    CODE = 72,
    BLOCKS = 12,
    OPERANDS = 4,
    RESULTS = 4,
    RANK = 4,
    INPUTS = 4,
    OUTPUTS = 3,
    ELEMENTS = 64, /* the most a value has */
    SETS = 3       /* of inputs; the last one has other sizes, for graphs with unknown dims */
};

typedef struct {
    ag_dtype dtype;
    int n;
    int64_t shape[RANK];
} program_type;

typedef struct {
    program_type type;
    double v[ELEMENTS]; /* holds all that the dtypes in use hold */
} program_value;

typedef struct {
    int row, block;
    int n_in, in[OPERANDS];
    int n_out, out; /* how many values, and the first */
    int64_t k, l, m, n;
    double p;
    int n_list;
    int64_t list[RANK];
    int inner[2]; /* blocks that it runs */
} program_code;

typedef struct {
    int parent;
    int n_params, param; /* how many, and the first value */
    int n_results, result[RESULTS];
} program_block;

/* What a program computes for one set of inputs. A gradient that there is not is zero. */
typedef struct {
    bool known;
    program_value out[OUTPUTS], first[INPUTS], second[INPUTS];
} program_results;

typedef struct {
    uint64_t seed;
    ag_dtype real; /* f64: all is f64; f32: the two are mixed */
    int n_inputs, n_outputs, n_values, n_code, n_blocks;
    bool flows;          /* it has loops or branches */
    bool fixed;          /* it needs to know sizes while it is recorded */
    int64_t size, other; /* in the last set, dims that are -1 change from `size` to `other` */
    bool unknown[INPUTS][RANK]; /* dims that are -1 in a graph */
    int output[OUTPUTS];
    program_type type[VALUES];
    int home[VALUES];     /* the block a value belongs to */
    bool depends[VALUES]; /* on an input */
    program_code code[CODE];
    program_block block[BLOCKS];
    program_results expect[SETS];
} program;

/* A program to run: `user` of program_fn. It must stay as long as the graph. */
typedef struct program_run program_run;
typedef struct {
    program_run *run;
    const program_code *code;
} program_frame;
struct program_run {
    const program *p;
    double noise; /* results are multiplied by 1 + noise r, r of -1 to 1 */
    uint64_t state;
    ag_context *c;
    ag_tensor *value[VALUES];
    program_frame frame[CODE];
};
bool program_fn(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user);

/* Draws program number `seed`, with what is expected of it, in a context of its own. */
void program_draw(program *p, uint64_t seed);
/* Whether rounding stays rounding: see programs_draw.c. */
bool program_is_sound(const program *p);
/* Computes `expect` again. False when the program fails. */
bool program_expect(program *p);
/* A run with noise, against which conditioning is measured; in a context of its own. */
bool program_eager(const program *p, int set, double noise, uint64_t state, program_results *r);

/* Input i of a set, the weight w of output i, and v of input i, for a gradient of such a type. */
ag_tensor *program_input(ag_context *c, const program *p, int set, int i, bool wants);
ag_tensor *program_weight(ag_context *c, const program *p, int i, const program_type *type);
ag_tensor *program_second_weight(ag_context *c, const program *p, int i, const program_type *type);
program_type program_input_type(const program *p, int set, int i);
/* Derivatives of the outputs, of a graph or eager; NULL where there is none. */
bool program_derive(ag_tensor *const *in, int n, ag_tensor *const *out, int m, ag_tensor *const *w,
                    ag_tensor *const *v, ag_tensor **first, ag_tensor **second);
/* Reads the values of t; NULL is zeros of the type. */
bool program_read(ag_tensor *t, const program_type *type, program_value *v);

bool program_is_real(ag_dtype dtype);
bool program_same_type(const program_type *a, const program_type *b);
/* The greatest magnitude in v[0..n), at least 1; NaN when there is one. */
double program_greatest(const program_value *v, int n);
int64_t program_numel(const program_type *t);
void program_print(const program *p, FILE *f);
/* For shrinking: without instruction i, whose uses take an earlier value of the type where
 * `replace` is set, or go too; without output i. False when nothing is left. */
bool program_drop_code(program *p, int i, bool replace);
bool program_drop_output(program *p, int i);

/* ---- inside programs*.c ---- */

enum { NONE, SOME_DIMS, ORDER, SHAPE, RESHAPED, EXPANDED, RANGE };
typedef struct {
    const char *name, *operands, *text;
    int list;
    bool many;
} program_row;
enum {
#define OP(name, operands, list, ...) ROW_##name,
#define MANY OP
#include "programs.def"
#undef OP
#undef MANY
    ROW_while,
    ROW_cond,
    ROW_scan,
    ROW_COUNT
};
extern const program_row program_rows[ROW_while];
/* Runs one instruction, whose results go to run->value. */
bool program_execute(program_run *run, const program_code *i);
program_type program_type_of(ag_tensor *t);
/* Whether block b, or one around it, is `around`. */
bool program_inside(const program *p, int b, int around);

#endif
