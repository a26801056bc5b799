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

/* The data of a code of one element. */
typedef struct {
    char *data[AG_LOOP_MAX_DATA];
} program_bound;

/* An output that is written tile by tile. */
typedef struct {
    const ag_tensor *to;
    int64_t size;
    char *data;
} program_write;

/* How lines are cut: as a plain reduction cuts them into chunks (ops/lanes.c), and those into
 * pieces that are worth waking a thread for. A block is one piece, or several lines that are one
 * each. */
typedef struct {
    int64_t outer, n, chunk, chunks, piece, pieces, group;
} program_lines;

/* How rows of columns are cut: into chunks likewise, and those into leaves of AG_LINE_COLS rows. A
 * block is some of the leaves of a chunk, and all columns or a strip of them. */
typedef struct {
    int64_t n, inner, chunk, chunks;
    int64_t leaves, group, groups; /* of a chunk; of a block; blocks */
    int64_t strip, strips;
} program_columns;

typedef struct {
    const ag__reducers *reducers;
    const ag_tensor *to;
    ag_dtype compute;
    int64_t size;         /* of an element in compute */
    int place;            /* what it reduces */
    int which, partial;   /* the reduction, and that of a part of what it reduces */
    char *results;        /* of type `compute`: to's data, or own */
    char *own;            /* NULL: `to` is of that dtype */
    char *parts;          /* of lines: [outer][chunks], or NULL */
    ag__line_part *taken; /* [outer][chunks][pieces], or NULL */
    char *leaves;         /* of columns: [chunks][leaves][inner] */
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
    bool by_columns; /* how reductions go */
    program_lines lines;
    program_columns columns;
    int64_t blocks, results; /* of the whole; of each reduction */
    program_reduction reductions[AG_PROGRAM_REDUCTIONS];
    char **one;           /* for programs of one element: their places, */
    double *one_data;     /* buffers, */
    program_bound *bound; /* and the data of their codes, found once */
};

/* Elements on their way through a program, in one thread. */
typedef struct {
    const ag__program *p;
    ag__place at;
    char *row[PROGRAM_PLACES], *place[PROGRAM_PLACES];
    _Alignas(64) char data[PROGRAM_BYTES];
} program_tiles;

static inline int64_t program_least(int64_t a, int64_t b) { return a < b ? a : b; }

/* Gets ready for elements from `from` on, in tiles of up to n. */
void ag__program_begin(program_tiles *t, int64_t from, int64_t n);
/* Elements [done, done + m), the next ones, through all codes. */
void ag__program_tile(program_tiles *t, int64_t done, int64_t m);

/* Finds the data of all codes from the places, for programs of one element. */
void ag__program_bind_one(ag__program *p);

/* What a block of elements gives to reductions, and the results of one from all blocks. */
void ag__program_lines(program_tiles *t, int64_t block);
void ag__program_lines_end(const ag__program *p, const program_reduction *r);
void ag__program_columns(program_tiles *t, int64_t block);
void ag__program_columns_end(const ag__program *p, const program_reduction *r);

#endif
