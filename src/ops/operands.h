/*
 * Operands of any dtype and strides that broadcast to one shape, brought to loops block by block.
 *
 * The loops of pointwise rows (kernels/pointwise.h) know only arrays without gaps, of their own
 * types, that fill whole vectors. Whatever is not one passes through a buffer, and so does the end
 * of an array that fills no vector: its last element is repeated.
 *
 * Set the shape, add the operands, settle them: that follows from shapes and strides alone, so it can
 * be done long before there are data. Then, for elements one after the other: fix, seek, bring.
 */
#ifndef AG_OPS_OPERANDS_H
#define AG_OPS_OPERANDS_H

#include "../tensor/tensor.h"

/* How an operand reaches the loops. */
typedef enum {
    AG_WAY_ARRAY,   /* without gaps, in the order of the shape */
    AG_WAY_FIXED,   /* one element all over: a buffer that is filled once */
    AG_WAY_STRIDED, /* picked by strides, block by block */
    AG_WAY_UNUSED
} ag__way;

typedef struct {
    char *data;
    ag_dtype dtype, wanted; /* as it lies; as loops read it */
    ag__way way;
    int64_t strides[AG_MAX_DIMS]; /* in bytes */
} ag__operand;

typedef struct {
    int n, ndim;
    bool strided;    /* some are picked by strides */
    ag__operand *at; /* the caller's memory */
    int64_t shape[AG_MAX_DIMS];
} ag__operands;

/* Where the operands with strides stand: a place in a row, and the row's begin for each of them. */
typedef struct {
    int64_t column, index[AG_MAX_DIMS];
    char **row; /* the caller's memory, for as many as there are operands */
} ag__place;

/* Buffers for blocks, operand k's at data + k * room. Room is a multiple of 64 bytes. */
typedef struct {
    char *data;
    int64_t room;
} ag__buffers;

void ag__operands_init(ag__operands *s, ag_ints shape, ag__operand *at);
/* The next operand; NULL: one that the loop does not use. */
void ag__operands_add(ag__operands *s, const ag_tensor *t, ag_dtype wanted);
void ag__operands_settle(ag__operands *s);

/* Fills the buffers of what is one element all over with n elements. */
void ag__operands_fix(const ag__operands *s, ag__buffers b, int64_t n);
/* To the place of an element, for operands with strides; others need none. */
void ag__operands_seek(const ag__operands *s, ag__place *at, int64_t position);
/* data[k] = the m elements from `done` on of operand k, with the last repeated up to `padded`; for
 * operands that are unused, any buffer. The place, which must be that of `done`, moves on. */
void ag__operands_bring(const ag__operands *s, ag__place *at, int64_t done, int64_t m,
                        int64_t padded, ag__buffers b, char **data);

#endif
