/*
 * rng.h - the simulator's randomness: xoshiro256** from one seed, split per purpose.
 *
 * Splitting keeps streams apart, so that a change in how one part draws does not shift all others.
 * Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018. Pure.
 */
#ifndef HF_SIM_RNG_H
#define HF_SIM_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t s[4];
};

void rng_seed(struct rng *r, uint64_t seed, uint64_t stream);
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);                    /* [0, n), n > 0 */
uint64_t rng_between(struct rng *r, uint64_t low, uint64_t high); /* [low, high] */
bool rng_chance(struct rng *r, double p);
uint64_t rng_exponential(struct rng *r, uint64_t mean);
void rng_fill(struct rng *r, void *buffer, size_t len);

#endif
