/*
 * ages.h - how old each batch is: a clock that cannot jump, and marks of (seq, time) on it.
 *
 * PURE: time comes in as an argument. What is kept for some days is thrown away by this clock, so
 * it must not be moved by whoever sets the wall clock: it follows the wall clock, but never goes
 * back, and gains at most HF_AGES_GAIN on the monotonic clock. A wall clock that is wrong by ten
 * years ages the log by a day each hour, and stops doing so when it is set right again.
 *
 * A mark says that everything up to seq is at least as old as the mark: batches look younger than
 * they are by up to the distance of two marks, never older. The marks are an object of the state,
 * so they outlive the log that they are about.
 */
#ifndef CORE_AGES_H
#define CORE_AGES_H

#include "hf/err.h"
#include "hf/types.h"

#define HF_AGES_MAX 256u
/* A core that was down for the 7 days of the log's age has caught up after 7 hours. */
#define HF_AGES_GAIN 24
#define HF_AGES_BYTES_MAX (16u + HF_AGES_MAX * 18u)

struct hf_age_mark {
    hf_seq seq;
    uint64_t ms; /* on the age clock */
};

struct hf_ages {
    uint64_t clock_ms; /* 0 = not set yet */
    hf_ms told_at;     /* monotonic; -1 = not since the start */
    uint32_t count;
    struct hf_age_mark mark[HF_AGES_MAX]; /* seq and ms rise */
};

void hf_ages_init(struct hf_ages *a);
/* Moves the clock. `now` is monotonic. Returns how far the wall clock is ahead still, in ms. */
uint64_t hf_ages_tell(struct hf_ages *a, hf_ms now, uint64_t wall_ms);
/* Marks seq if it is new and the last mark is `every` ms old; true when it did. When all places are
 * taken one goes that is hardly missed: old times are coarser than new ones. */
bool hf_ages_mark(struct hf_ages *a, hf_seq seq, uint64_t every);
/* The highest seq known to be at least `age` ms old; 0 = none. */
hf_seq hf_ages_before(const struct hf_ages *a, uint64_t age);
/* What is known of the age of batch seq, never too much; 0 when it has no mark yet. */
uint64_t hf_ages_of(const struct hf_ages *a, hf_seq seq);

/* msgpack [clock, seq, ms, seq, ms, ...] into `out`; returns its slice. */
struct hf_slice hf_ages_encode(const struct hf_ages *a, uint8_t out[HF_AGES_BYTES_MAX]);
/* HF_MALFORMED, and a is as after init. */
enum hf_err hf_ages_decode(struct hf_slice bytes, struct hf_ages *a);

#endif
