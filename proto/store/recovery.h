/*
 * recovery.h - reads the segments of a changelog at open and decides what is kept.
 *
 * Internal to proto/store. The rules are at the top of recovery.c.
 */
#ifndef HF_STORE_RECOVERY_H
#define HF_STORE_RECOVERY_H

#include "hf/changelog.h"
#include "segment.h"

struct hf_recovery {
    int dirfd;       /* borrowed; locked by the caller */
    const char *dir; /* for messages */
    hf_seq covered;
    hf_seq from;
    hf_changelog_visit *visit; /* may be NULL */
    void *ctx;
    bool signs; /* else an unsigned frame is damage */

    hf_seq last;                  /* in: where an empty log begins; out: the last frame */
    struct hf_segment **segments; /* out: owned array of owned segments, oldest first */
    size_t count;
    uint64_t frame_bytes; /* out: of all frames */
    hf_seq unsigned_from; /* out: the first frame without its signature; 0 = none */
};

/* Fills the out fields, which the caller frees whatever the result. What it accepts is synced on
 * HF_OK, and the rest of the newest segment is zeros. Nothing is changed on disk before every
 * segment was read, and nothing at all when the result is not HF_OK. HF_CORRUPT, HF_MISMATCH,
 * HF_IO, HF_NOMEM, or what visit gave, with the place in e. */
enum hf_err hf_recovery_run(struct hf_recovery *r, struct hf_error *e);

#endif
