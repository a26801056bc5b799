/* Work on elements in the order [outer][n][inner], along n, in blocks on a context's threads. */
#ifndef AG_OPS_LANES_H
#define AG_OPS_LANES_H

#include "../base/context.h"
#include "../kernels/reduce.h"

/* The elements of a dense tensor of this shape, along one of its dimensions. */
ag__lanes ag__lanes_along(ag_ints shape, int dim);

/* How lanes are cut: some of outer each, or within one of outer chunks of rows and strips of
 * columns. It follows from the shape alone. */
typedef struct {
    int64_t group, rows, columns;
    int64_t chunks, strips; /* of one of outer */
    int64_t blocks;
} ag__cut;

/* Elements of a block of sums that is worth waking a thread for. */
enum { AG_LANES_PART = 1 << 17 };
/* Blocks of about `part` elements. Rows are cut only where `rows` says so and there are many;
 * strips are multiples of AG_STRIP. */
enum { AG_STRIP = 64 };
ag__cut ag__cut_lanes(ag__lanes l, int64_t part, bool rows);

/* One block: its lanes, and where in [outer][n][inner], in [outer][chunks][inner] and in
 * [outer][inner] its first element stands. */
typedef struct {
    ag__lanes lanes;
    int64_t from, part, result;
} ag__cut_block;
ag__cut_block ag__cut_at(const ag__cut *cut, ag__lanes l, int64_t block);

/* kernels/reduce.h's loops over whole arrays. ag__reduce is false when there is no memory for
 * partial results, the others cannot fail. */
bool ag__reduce(ag_context *c, ag_dtype compute, int which, const void *x, void *y, ag__lanes l);
void ag__scan(ag_context *c, ag_dtype compute, int which, const void *const *in, void *y,
              ag__lanes l);
void ag__powers(ag_context *c, ag_dtype compute, double p, const void *x, const void *center,
                void *y, ag__lanes l);

#endif
