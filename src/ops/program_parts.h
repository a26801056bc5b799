/* What a program is made of: program.c makes it, program_run.c runs it. */
#ifndef AG_OPS_PROGRAM_PARTS_H
#define AG_OPS_PROGRAM_PARTS_H

#include "../kernels/pointwise.h"
#include "operands.h"
#include "program.h"

/* A tile has a buffer for each place: for operands, then outputs, then what is between. */
enum { PROGRAM_BYTES = 32768, PROGRAM_PLACES = 128, PROGRAM_ROOM = 2048 };

/* One loop from places to a place; without a loop, a conversion. */
typedef struct {
    ag__loop *loop;
    double p, q;
    uint8_t to, in[3];
    uint8_t dtype, from; /* of a conversion */
} program_code;

/* An output that is written tile by tile. */
typedef struct {
    const ag_tensor *to;
    int64_t size;
    char *data;
} program_write;

/* How lines are cut: as a plain reduction cuts them into chunks (ops/lanes.c), and those into pieces
 * that are worth waking a thread for. A block is one piece, or several lines that are one each. */
typedef struct {
    int64_t outer, n, chunk, chunks, piece, pieces, group, blocks;
} program_lines;

typedef struct {
    const ag__reducers *reducers;
    const ag_tensor *to;
    ag_dtype compute;
    int64_t size;         /* of an element in compute */
    int place;            /* what it reduces */
    int which, partial;   /* the reduction, and that of a part of a line */
    char *results;        /* [outer] of `compute`: to's data, or own */
    char *own;            /* NULL: `to` is of that dtype */
    char *parts;          /* [outer][chunks], or NULL */
    ag__line_part *taken; /* [outer][chunks][pieces], or NULL */
} program_reduction;

struct ag__program {
    ag_context *c;
    size_t bytes;
    int lanes;           /* every loop's vectors fill so many elements */
    int64_t total, part; /* elements; how many of them a thread takes at a time */
    int64_t tile, room;  /* elements of a tile, bytes of its buffers */
    int n_writes, n_reductions, n_codes, n_places;
    ag__operands operands;
    const ag_tensor **inputs; /* of each operand */
    program_code *codes;
    program_write *writes;
    program_lines lines;
    program_reduction reductions[AG_PROGRAM_REDUCTIONS];
    char **one; /* for programs of one element: their places */
    double *one_data;
};

#endif
