/*
 * trainer.h - learns a dictionary from the bodies of small batches, and says whether it pays.
 *
 * The writer lane shows it each small body. When there are enough, a job on the pool makes a
 * dictionary of most of them and packs the others with it: if these become much smaller than they
 * are now, the lane finds the dictionary at its next group and puts it into the stream.
 *
 * Invariant: memory is bounded; between `ready` and the end of the job the lane does not touch the
 * samples. The dictionary depends on the samples and nothing else.
 *
 * Read next: trainer.c, hf/dictionary.h; group.c uses it.
 */
#ifndef CORE_TRAINER_H
#define CORE_TRAINER_H

#include "hf/dictionary.h"

/* A dictionary pays for bodies up to here: twice at 512 bytes, a tenth at 8 KiB, then nothing. */
#define HF_SMALL_BODY_MAX 8192u
#define HF_TRAINER_BYTES (256u << 10)

struct hf_trainer;

/* sample_bytes: how much it looks at before it tries; 0 = HF_TRAINER_BYTES, which is the most. */
struct hf_trainer *hf_trainer_new(size_t sample_bytes);
void hf_trainer_free(struct hf_trainer *t);

/* Writer lane. `packed` is what the body has become without a new dictionary. */
void hf_trainer_show(struct hf_trainer *t, struct hf_slice raw, size_t packed);
/* Any thread: enough was shown, hf_trainer_train is due. */
bool hf_trainer_ready(const struct hf_trainer *t);
/* Pool, one at a time, while ready. */
void hf_trainer_train(struct hf_trainer *t);
/* Writer lane: the dictionary, once; false when there is none. Borrowed until the next show. */
bool hf_trainer_take(struct hf_trainer *t, struct hf_slice *bytes, uint32_t *gain_percent);

#endif
