/*
 * rng.c - xoshiro256** with SplitMix64 seeding; see rng.h.
 */
#include "sim/rng.h"

#include <math.h>
#include <string.h>

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

void rng_seed(struct rng *r, uint64_t seed, uint64_t stream)
{
    uint64_t x = seed;
    (void)splitmix(&x);
    x ^= stream * UINT64_C(0xd1342543de82ef95);
    for (int i = 0; i < 4; i++) {
        r->s[i] = splitmix(&x);
    }
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t rng_next(struct rng *r)
{
    uint64_t result = rotl(r->s[1] * 5, 7) * 9;
    uint64_t t = r->s[1] << 17;
    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = rotl(r->s[3], 45);
    return result;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n; /* the bias is below 2^-40 for the n used here */
}

uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high)
{
    return low + rng_below(r, high - low + 1);
}

static double unit(struct rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1.0p-53;
}

bool rng_chance(struct rng *r, double p)
{
    return unit(r) < p;
}

uint64_t rng_exponential(struct rng *r, uint64_t mean)
{
    return (uint64_t)(-log(1.0 - unit(r)) * (double)mean);
}

void rng_fill(struct rng *r, void *buffer, size_t len)
{
    uint8_t *out = buffer;
    while (len > 0) {
        uint64_t x = rng_next(r);
        size_t n = len < sizeof(x) ? len : sizeof(x);
        memcpy(out, &x, n);
        out += n;
        len -= n;
    }
}
