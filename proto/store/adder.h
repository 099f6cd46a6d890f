/*
 * adder.h - a thread that hashes elements and adds them up, beside the one that writes.
 *
 * Internal to proto/store. Hashing what a batch takes out of the digest and puts into it takes as
 * long as writing its records, and the sum is asked for only behind the batch, so both go on at
 * once: windows of 100 writes are acknowledged 11 % sooner (two processors, beside an edge).
 *
 * Invariant: what was given and not yet taken or dropped belongs to one sum. Threads: one writer
 * calls all of these.
 */
#ifndef HF_STORE_ADDER_H
#define HF_STORE_ADDER_H

#include "hf/digest.h"

struct hf_adder;

/* NULL: no thread, no memory, or only one processor; the writer adds everything up by itself then.
 */
struct hf_adder *hf_adder_new(void);
void hf_adder_free(struct hf_adder *a); /* NULL is fine */

/* Copies the elements. False: there is no room, for the thread is behind. */
bool hf_adder_give(struct hf_adder *a, const struct hf_elements *e);
/* Adds all that was given to *sum; waits for it, and lends a hand. */
void hf_adder_take(struct hf_adder *a, struct hf_lthash *sum);
/* Forgets it. */
void hf_adder_drop(struct hf_adder *a);

#endif
