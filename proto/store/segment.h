/*
 * segment.h - one file of the changelog: its bytes, its sparse index, and reading a record back.
 *
 * Internal to proto/store: changelog.c strings segments together, recovery.c reads them at open,
 * and spare.c makes the next one ahead of time. The byte format is specified at the top of
 * segment.c.
 *
 * A segment is shared: the log holds one reference and every reader inside a pread holds another,
 * so that trimming may unlink the file under a reader. Fields marked (lock) change as the log
 * grows; the log's lock guards them and the index. The others are constant from the first reference
 * on.
 */
#ifndef HF_STORE_SEGMENT_H
#define HF_STORE_SEGMENT_H

#include "hf/changelog.h"

#include <stdatomic.h>

#define HF_SEGMENT_HEAD 128u
#define HF_SEGMENT_VERSION 2u /* 1, without trailers, is read but not written to */
#define HF_SEGMENT_PAGE 4096u
#define HF_SEGMENT_MAX (1u << 30) /* a larger one is damage: recovery reads a whole segment */
#define HF_LOG_RECORD_HEAD 40u
#define HF_LOG_TRAILER 80u

struct hf_segment_head {
    uint32_t version;     /* 1 or HF_SEGMENT_VERSION */
    uint64_t number;      /* from 1, without gaps */
    uint64_t salt;        /* random for each use of a file */
    hf_seq first;         /* seq of its first frame, whether or not it is there yet */
    uint64_t before_salt; /* of the segment before it; 0 for none */
    uint64_t before_end;  /* what that one holds from here on is void; 0 for none */
    uint64_t bytes;       /* size of this file */
    uint64_t synced_at;   /* everything up to here was synced before the file got its name */
};

struct hf_log_record {
    enum hf_record_type type;
    bool trailer; /* the signature stands behind the payload, once it is there */
    uint32_t len;
    hf_seq seq;
    uint64_t salt;
    uint64_t synced_at;
    uint64_t sum;
};

/* A place in a segment where frame `seq` begins, and the frame bytes of the log before it. */
struct hf_spot {
    hf_seq seq;
    uint64_t at;
    uint64_t before;
};

struct hf_segment {
    struct hf_segment_head head;
    int fd;
    atomic_uint refs;
    uint64_t end;          /* (lock) synced up to here */
    hf_seq last;           /* (lock) last frame up to here; head.first - 1 when there is none */
    bool fact_last;        /* (lock) a fact follows the last frame */
    struct hf_spot *index; /* (lock) owned */
    size_t index_count;
    size_t index_cap;
    uint32_t unindexed; /* (lock) records since the last index entry */
};

/* What a failed system call means to the caller: HF_FULL, HF_NOMEM or HF_IO. */
enum hf_err hf_segment_errno(int error);
void hf_segment_name(uint64_t number, char name[32]);
/* Whole reads and writes; hf_segment_read is HF_CORRUPT at the end of the file. */
enum hf_err hf_segment_read(int fd, void *data, size_t len, uint64_t at);
enum hf_err hf_segment_write(int fd, const void *data, size_t len, uint64_t at);
/* Writes zeros over [from, to) and syncs the file. */
enum hf_err hf_segment_zero(int fd, uint64_t from, uint64_t to);
/* Makes a file of `bytes` written zeros, synced; nothing is left behind on failure. */
enum hf_err hf_segment_prepare(int dirfd, const char *name, uint64_t bytes, int *fd);

void hf_segment_head_encode(const struct hf_segment_head *h, uint8_t out[HF_SEGMENT_HEAD]);
/* HF_MISMATCH for another version, HF_CORRUPT. */
enum hf_err hf_segment_head_decode(const uint8_t in[HF_SEGMENT_HEAD], struct hf_segment_head *h);

/* Bytes that a record takes, by its len and trailer. */
uint64_t hf_log_record_size(const struct hf_log_record *r);
/* Writes the head of a record but for what the stamp adds, the padding and an empty trailer. */
void hf_log_record_begin(uint8_t *record, const struct hf_log_record *r);
/* Adds salt, synced_at and checksum, once it is known which segment the record goes to. */
void hf_log_record_stamp(uint8_t *record, uint64_t salt, uint64_t synced_at);
/* False when it is no head of a record of this version. */
bool hf_log_record_decode(const uint8_t head[HF_LOG_RECORD_HEAD], struct hf_log_record *r);
bool hf_log_record_verify(const uint8_t head[HF_LOG_RECORD_HEAD], const uint8_t *payload,
                          const struct hf_log_record *r);
/* Offset of the trailer in its record. */
uint64_t hf_log_trailer_at(const struct hf_log_record *r);
/* Takes the signature out of the payload, where it begins at `at`. */
void hf_log_trailer_encode(const struct hf_log_record *r, const uint8_t *payload, uint32_t at,
                           uint8_t trailer[HF_LOG_TRAILER]);
/* False when there is no signature yet. */
bool hf_log_trailer_verify(const struct hf_log_record *r, const uint8_t trailer[HF_LOG_TRAILER]);
/* Puts the signature of a trailer that verifies into the payload. */
void hf_log_trailer_apply(const uint8_t trailer[HF_LOG_TRAILER], uint8_t *payload);

/* Takes over fd, also when it fails. NULL when there is no memory. */
struct hf_segment *hf_segment_new(const struct hf_segment_head *h, int fd);
void hf_segment_ref(struct hf_segment *s);
void hf_segment_unref(struct hf_segment *s); /* closes and frees with the last; NULL is fine */

/* Makes room in the index for `records` more, so that hf_segment_note cannot fail. */
enum hf_err hf_segment_reserve(struct hf_segment *s, size_t records);
/* Takes the record at s->end into the index; *frame_bytes counts the frames of the log. */
void hf_segment_note(struct hf_segment *s, const struct hf_log_record *r, uint64_t *frame_bytes);
/* The nearest indexed place at or before frame seq, which must be in s. */
struct hf_spot hf_segment_seek(const struct hf_segment *s, hf_seq seq);
/* Moves the spot to frame seq by reading heads and gives that head, in bytes and decoded. It needs
 * no lock: end is what s->end was under it. HF_CORRUPT, HF_IO. */
enum hf_err hf_segment_walk(const struct hf_segment *s, struct hf_spot *spot, hf_seq seq,
                            uint64_t end, uint8_t head[HF_LOG_RECORD_HEAD]);

#endif
