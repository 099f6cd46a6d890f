/*
 * workload.c - arrivals, keys and values, each drawn in an order that must not change: golden
 * timelines and the seeds of old failures depend on it. Two worlds carry the writes out: load.c in
 * the virtual one, real/writer.c over real links. Next: workload.h.
 */
#include "sim/workload.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define US_S UINT64_C(1000000)
/* Popular keys come up again and again: then the write gets fewer. */
#define MISSES_MAX 100u
/* Below the 4 MiB of an atomic request, with room for keys and framing. */
#define REQUEST_BYTES (4032u << 10)

/* ---- init ---- */

/* Popularity falls with the rank to the power of the exponent; keys are in the order of their rank.
 */
static bool make_shares(struct workload *w)
{
    double sum = 0;
    w->share = malloc(w->load->keys * sizeof(*w->share));
    if (w->share == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < w->load->keys; i++) {
        sum += pow((double)i + 1, -w->load->zipf);
        w->share[i] = sum;
    }
    for (uint32_t i = 0; i < w->load->keys; i++) {
        w->share[i] /= sum;
    }
    return true;
}

enum hf_err workload_init(struct workload *w, const struct script_load *load, uint64_t seed)
{
    uint32_t most = REQUEST_BYTES / (load->value_max + 16);
    *w = (struct workload){.load = load, .changes_max = load->changes_max};
    w->changes_max = w->changes_max < most ? w->changes_max : most;
    w->changes_max = w->changes_max < load->keys ? w->changes_max : load->keys;
    rng_seed(&w->rng, seed, WORKLOAD_STREAM);
    return load->zipf <= 0 || make_shares(w) ? HF_OK : HF_NOMEM;
}

void workload_deinit(struct workload *w)
{
    free(w->share);
    w->share = NULL;
}

/* ---- when ---- */

uint32_t workload_turn(struct workload *w)
{
    return !w->load->steady && rng_chance(&w->rng, 0.05) ? 10 : 1;
}

uint64_t workload_wait(struct workload *w)
{
    uint64_t wait = rng_exponential(&w->rng, w->load->write_every_us);
    if (!w->load->steady && rng_chance(&w->rng, 0.01)) {
        wait += rng_between(&w->rng, 2 * US_S, 10 * US_S); /* the publisher is idle */
    }
    return wait;
}

uint64_t workload_idle_until(const struct script_load *load, uint64_t now_us)
{
    uint64_t period = load->idle_every_us;
    bool idle = load->idle_us > 0 && now_us % period >= period - load->idle_us;
    return idle ? (now_us / period + 1) * period : 0;
}

/* ---- what ---- */

static uint32_t draw_key(struct workload *w)
{
    if (w->share == NULL) {
        return (uint32_t)rng_below(&w->rng, w->load->keys);
    }
    double u = (double)rng_below(&w->rng, UINT64_C(1) << 53) * 0x1p-53;
    uint32_t low = 0;
    uint32_t high = w->load->keys - 1; /* the first whose share is above u is in [low, high] */
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (w->share[middle] > u) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

static bool chosen(const struct workload_change *change, uint32_t count, uint32_t key)
{
    for (uint32_t i = 0; i < count; i++) {
        if (change[i].key == key) {
            return true;
        }
    }
    return false;
}

uint64_t workload_value(struct workload *w)
{
    return ++w->next_value;
}

uint32_t workload_write(struct workload *w, struct workload_change *out)
{
    uint32_t want = (uint32_t)rng_between(&w->rng, 1, w->changes_max);
    uint32_t count = 0;
    for (uint32_t misses = 0; count < want && misses < MISSES_MAX;) {
        uint32_t key = draw_key(w);
        if (chosen(out, count, key)) {
            misses++;
            continue;
        }
        bool deletes = rng_chance(&w->rng, w->load->deletes);
        out[count++] = (struct workload_change){key, deletes ? 0 : workload_value(w)};
    }
    return count;
}

uint32_t workload_release_keys(const struct script_load *load)
{
    uint32_t most = REQUEST_BYTES / (load->value_max + 64);
    return most < 1 ? 1 : most < SCRIPT_CHANGES_MAX ? most : SCRIPT_CHANGES_MAX;
}

void workload_key(uint32_t key, char out[WORKLOAD_KEY_BYTES])
{
    snprintf(out, WORKLOAD_KEY_BYTES, "key-%06u", key);
}

size_t workload_value_len(const struct script_load *load, uint64_t value)
{
    uint64_t h = value * UINT64_C(0x9e3779b97f4a7c15);
    if (load->value_min > 0) {
        return load->value_min + (size_t)((h >> 16) % (load->value_max - load->value_min + 1));
    }
    /* Mostly small; one in 64 is up to the maximum, so that large frames and fragments happen. */
    uint64_t max = load->value_max;
    uint64_t top = (h >> 8) % 64 == 0 ? max : max < 200 ? max : 200;
    return 8 + (size_t)((h >> 32) % (top + 1));
}

/* The next `len` bytes of a value, 8 at most. Three in four are text, which packs; bytes do not. */
static void value_next(struct rng *r, uint64_t value, uint8_t *out, size_t len)
{
    rng_fill(r, out, len);
    for (size_t i = 0; i < len && value % 4 != 0; i++) {
        out[i] = (uint8_t)('a' + out[i] % 16);
    }
}

void workload_value_fill(uint64_t value, uint8_t *out, size_t len)
{
    struct rng r;
    rng_seed(&r, value, 7);
    memcpy(out, &value, 8);
    for (size_t at = 8; at < len; at += 8) {
        value_next(&r, value, out + at, len - at < 8 ? len - at : 8);
    }
}

bool workload_value_ok(struct hf_slice bytes, uint64_t value)
{
    uint64_t got = 0;
    struct rng r;
    if (bytes.len < 8) {
        return false;
    }
    memcpy(&got, bytes.data, 8);
    rng_seed(&r, value, 7);
    for (size_t at = 8; at < bytes.len && got == value; at += 8) {
        uint8_t want[8];
        size_t n = bytes.len - at < 8 ? bytes.len - at : 8;
        value_next(&r, value, want, n);
        if (memcmp(bytes.data + at, want, n) != 0) {
            return false;
        }
    }
    return got == value;
}
