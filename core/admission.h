/*
 * admission.h - which edges are served at once when many come back together.
 *
 * A line that two hundred edges share, each with several connections, has less than a packet for
 * each: packets are lost, TCP waits for its time-outs, and the line is idle in between. So only
 * HF_PLACES edges begin at a time, first come, first served; the others are told when to ask again.
 * The line is as full as before, most edges are done sooner, and the last one is, too.
 *
 * A place is given up when the edge reports that it has what there was when it was given one, and
 * after HF_PLACE_MS in any case: it is served on, but another may begin. So edges on thin links of
 * their own hold up nobody else's start for longer than that, and the last of N begins after about
 * N / HF_PLACES * HF_PLACE_MS; later only by those before it that went away while they waited, for
 * whom a place is kept free until they are overdue.
 *
 * Pure: time comes with the call. Owner's thread. Read next: transfer.c.
 */
#ifndef CORE_ADMISSION_H
#define CORE_ADMISSION_H

#include "hf/types.h"

#define HF_PLACES 64u
#define HF_PLACE_MS 3000
/* Who waits asks again after about this long, and as much longer for each HF_PLACES before it, 5 s
 * at most. */
#define HF_PLACE_RETRY_MS 1000u

struct hf_admission;

struct hf_admission *hf_admission_new(uint32_t rows); /* edges are rows below this; NULL: memory */
void hf_admission_free(struct hf_admission *a);

/* Whether an edge may be sent data; `head` is all that there is now. False: it should ask again in
 * about *wait_ms, and loses its turn if it does not come back at all. */
bool hf_admission_ask(struct hf_admission *a, uint32_t row, hf_seq head, hf_ms now,
                      uint32_t *wait_ms);
/* It has everything up to `applied`. */
void hf_admission_has(struct hf_admission *a, uint32_t row, hf_seq applied, hf_ms now);
/* It has all that there is. */
void hf_admission_leave(struct hf_admission *a, uint32_t row);

void hf_admission_counts(struct hf_admission *a, hf_ms now, uint32_t *placed, uint32_t *waiting);

#endif
