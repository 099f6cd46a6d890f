/*
 * workload.h - what the clients of a scenario write, and when: draws from the load of a script.
 *
 * The same seed and the same load give the same writes in the same order, whoever carries them out,
 * so that a run over real links writes what a virtual one does. A value is made from a number, so
 * that a reader can tell what it got; the same number always makes the same bytes.
 *
 * Times are microseconds since the start of the run. PURE: no clock, no I/O; memory is allocated by
 * _init only. One owner.
 */
#ifndef HF_SIM_WORKLOAD_H
#define HF_SIM_WORKLOAD_H

#include "hf/types.h"
#include "sim/rng.h"
#include "sim/script.h"

#define WORKLOAD_STREAM 2u     /* of rng.h: what a seed gives to a workload */
#define WORKLOAD_KEY_BYTES 16u /* of a key and its NUL */

struct workload {
    const struct script_load *load; /* borrowed */
    struct rng rng;
    uint64_t next_value;
    uint32_t changes_max; /* of one write: fewer than the script says where values are large */
    double *share; /* owned: the part of all writes that goes to keys 0 to i; NULL = uniform */
};

struct workload_change {
    uint32_t key;
    uint64_t value; /* its number; 0 = the key is deleted */
};

/* `load` lives longer than w. HF_NOMEM for many keys with a skewed popularity. */
enum hf_err workload_init(struct workload *w, const struct script_load *load, uint64_t seed);
void workload_deinit(struct workload *w);

/* How many writes happen together when the load's own turn has come. */
uint32_t workload_turn(struct workload *w);
/* How long after that the next turn comes. */
uint64_t workload_wait(struct workload *w);
/* When the idle time ends that it is at now_us; 0 = it is none. */
uint64_t workload_idle_until(const struct script_load *load, uint64_t now_us);

/* The changes of one write, each of another key; returns how many, 1 to SCRIPT_CHANGES_MAX. */
uint32_t workload_write(struct workload *w, struct workload_change *out);
/* How many keys of a release one write takes. */
uint32_t workload_release_keys(const struct script_load *load);
/* The number of a new value, for a write that is not drawn. */
uint64_t workload_value(struct workload *w);

void workload_key(uint32_t key, char out[WORKLOAD_KEY_BYTES]);
size_t workload_value_len(const struct script_load *load, uint64_t value);
void workload_value_fill(uint64_t value, uint8_t *out, size_t len);
/* Whether these are the bytes of that value, however many of them there are. */
bool workload_value_ok(struct hf_slice bytes, uint64_t value);

#endif
