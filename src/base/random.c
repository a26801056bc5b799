/* See random.h. */
#include "random.h"

#include <math.h>

#include "context.h"

void ag__random_seed(ag__random *r, uint64_t seed)
{
    *r = (ag__random){ .key = { (uint32_t)seed, (uint32_t)(seed >> 32) }, .used = 4 };
}

static void random_round(uint32_t x[4], const uint32_t key[2])
{
    const uint64_t p0 = (uint64_t)0xD2511F53u * x[0], p1 = (uint64_t)0xCD9E8D57u * x[2];
    const uint32_t y0 = (uint32_t)(p1 >> 32) ^ x[1] ^ key[0];
    const uint32_t y2 = (uint32_t)(p0 >> 32) ^ x[3] ^ key[1];
    x[1] = (uint32_t)p1;
    x[3] = (uint32_t)p0;
    x[0] = y0;
    x[2] = y2;
}

uint32_t ag__random_u32(ag__random *r)
{
    if (r->used == 4) {
        uint32_t key[2] = { r->key[0], r->key[1] };
        r->block[0] = (uint32_t)r->counter;
        r->block[1] = (uint32_t)(r->counter >> 32);
        r->block[2] = r->block[3] = 0;
        for (int i = 0; i < 10; i++) {
            random_round(r->block, key);
            key[0] += 0x9E3779B9u;
            key[1] += 0xBB67AE85u;
        }
        r->counter++;
        r->used = 0;
    }
    return r->block[r->used++];
}

double ag__uniform(ag_context *c)
{
    const uint64_t high = ag__random_u32(&c->random) >> 5, low = ag__random_u32(&c->random) >> 6;
    return (double)(high << 26 | low) * 0x1p-53;
}

/* Box and Muller 1958: two normals from two uniforms. */
double ag__normal(ag_context *c)
{
    ag__random *r = &c->random;
    if (r->has_spare) {
        r->has_spare = false;
        return r->spare;
    }
    const double radius = sqrt(-2 * log(1 - ag__uniform(c)));
    const double angle = 6.283185307179586477 * ag__uniform(c);
    r->spare = radius * sin(angle);
    r->has_spare = true;
    return radius * cos(angle);
}

/* Rejects the values past the last multiple of n, so that all are equally likely. */
int64_t ag__below(ag_context *c, uint64_t n)
{
    const uint64_t rest = (UINT64_MAX % n + 1) % n;
    for (;;) {
        const uint64_t high = ag__random_u32(&c->random), low = ag__random_u32(&c->random);
        const uint64_t v = high << 32 | low;
        if (v <= UINT64_MAX - rest)
            return (int64_t)(v % n);
    }
}
