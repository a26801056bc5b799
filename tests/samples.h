/*
 * Samples of operations: the table samples.def as data, and operands for it in several layouts.
 *
 * The derivative of a sample is taken at leaves. A leaf is dense; the operand is a view of it, in
 * which the layout lies, so that central differences can move each element of the leaf.
 */
#ifndef AG_TESTS_SAMPLES_H
#define AG_TESTS_SAMPLES_H

#include "harness.h"

#include "ops/op.h"

enum { SAMPLE_MAX_OPERANDS = 3 };

enum { PLAIN = 1, ROUNDS = 2, INTEGRAL = 4, ZEROS = 8 }; /* traits: see samples.def */

typedef struct {
    const char *name;
    int row; /* -1: composed */
    const char *shapes;
    unsigned traits;
    ag_tensor *(*call)(ag_context *c, ag_tensor *const *x);
} sample;

/* One number for each sample, and the table in that order. */
enum {
#define SAMPLE(name, row, shapes, traits, call) SAMPLE_##name,
#include "samples.def"
    SAMPLE_COUNT
};
extern const sample samples[SAMPLE_COUNT];

typedef enum {
    LAYOUT_DENSE,
    LAYOUT_TURNED, /* dimensions stored in the reverse order */
    LAYOUT_GAPPED, /* every second element of the last dimension, from the second one on */
    LAYOUT_SPREAD, /* one element repeated along the first dimension of several: stride 0 */
    LAYOUT_COUNT
} layout;
extern const char *const layout_names[LAYOUT_COUNT];

int sample_operands(const sample *s);
/* Whether some operand has no element. */
bool sample_is_empty(const sample *s);
/* Draws the leaves; the test ends when there is no memory. */
void sample_leaves(ag_context *c, const sample *s, layout l, ag_tensor **leaves);
/* The operands that lie in the leaves; false when memory fails. */
bool sample_views(const sample *s, layout l, ag_tensor *const *leaves, ag_tensor **x);

/* An ag_fn of the leaves, whose user pointer is one of these. */
typedef struct {
    ag_context *c;
    const sample *s;
    layout l;
    bool half; /* the operands are converted to f16 */
} sample_use;
bool sample_run(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user);

#endif
