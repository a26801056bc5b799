/*
 * Random numbers: Philox4x32-10, a counter-based generator (Salmon, Moraes, Dror and Shaw, "Parallel
 * random numbers: as easy as 1, 2, 3", SC 2011). The state is the key and a counter.
 */
#ifndef AG_BASE_RANDOM_H
#define AG_BASE_RANDOM_H

#include "../../include/autograd.h"

typedef struct {
    uint32_t key[2];
    uint64_t counter;
    uint32_t block[4];
    int used;     /* words of `block` that were handed out */
    double spare; /* the second normal of the last pair */
    bool has_spare;
} ag__random;

void ag__random_seed(ag__random *r, uint64_t seed);
uint32_t ag__random_u32(ag__random *r);
double ag__uniform(ag_context *c);            /* [0, 1), 53 bits */
double ag__normal(ag_context *c);             /* mean 0, variance 1 */
int64_t ag__below(ag_context *c, uint64_t n); /* uniform in [0, n), n > 0 */

#endif
