/*
 * changelog.h - the durable, append-only log in front of the state: preallocated segments.
 *
 * A record holds one frame message or one durable fact (enrolment, revocation, token use,
 * content key), under a checksum. One sync makes everything appended before it durable, so the core
 * acknowledges a whole group after one fdatasync of preallocated space. Facts are absolute ("edge X
 * is now ..."), so replaying all that are kept, in order, over an older state gives the newer one.
 *
 * A frame may be appended before it is signed: it is signed while the disk writes it, which hides
 * the time of that. Its signature is written behind the sync that makes the frame durable, and is
 * durable itself with the next one. A crash or a failed sync may take it until then; whoever has
 * the key makes the same signature of the same bytes again (RFC 8032, section 5.1.6).
 *
 * After a failed write or sync no record past the last synced offset is read or synced again: the
 * next append opens a new segment that voids the rest ("fsyncgate"). The byte
 * format is specified at the top of proto/store/segment.c.
 *
 * Threads: one writer calls open, append, sync, trim and close. The read functions may be called by
 * any thread at any time between open and close, and see synced records only.
 */
#ifndef HF_CHANGELOG_H
#define HF_CHANGELOG_H

#include "hf/err.h"
#include "hf/types.h"

struct hf_changelog;

#define HF_LOG_RECORD_MAX                                                                          \
    (8u << 20) /* bytes of a payload: twice the largest batch, envelope included */

enum hf_record_type {
    HF_RECORD_FRAME = 1, /* payload: a whole frame message */
    HF_RECORD_FACT = 2,  /* payload: one durable fact; seq = of the last frame before it */
};

#define HF_LOG_SIGNATURE_BYTES 64u

/* Signs an unsigned frame in place and says where in it the signature begins. Called within
 * hf_changelog_sync, for each in order. */
typedef uint32_t hf_changelog_sign(void *ctx, hf_seq seq, uint8_t *payload, size_t len);

struct hf_changelog_config {
    const char *dir;        /* made with mode 0700 when it is not there */
    uint64_t segment_bytes; /* preallocated size of a segment; 0 = 16 MiB; a larger record gets its
                               own */
    hf_seq base_seq;        /* seq that a new, empty log begins after; for tests */
    hf_seq covered;         /* `applied` of the committed state: damage up to here is corruption */
    bool single_thread; /* never start the thread that makes the next segment ahead (simulator) */
    hf_changelog_sign *sign; /* NULL: an unsigned frame is damage */
    void *sign_ctx;
};

/* Called at open for each record that recovery accepts, in order. The payload is borrowed, and as
 * it was appended. A result other than HF_OK ends the open with it. */
typedef enum hf_err hf_changelog_visit(void *ctx, enum hf_record_type type, hf_seq seq,
                                       struct hf_slice payload);

/* Recovers and opens. A torn tail is zeroed and synced; a damaged or missing record that the state
 * covers, or that was synced when a later one was written, is HF_CORRUPT with segment and offset in
 * e->text; then nothing on disk is changed. HF_LOCKED when another process has it, HF_MISMATCH for
 * another format. `visit` may be NULL; it is called for FACTs and for FRAMEs with seq > from. */
enum hf_err hf_changelog_open(const struct hf_changelog_config *c, hf_seq from,
                              hf_changelog_visit *visit, void *ctx, struct hf_changelog **log,
                              struct hf_error *e);
void hf_changelog_close(struct hf_changelog *log); /* does not sync; NULL is fine */

/* Buffers one record. A FRAME's seq must be that of the last appended + 1, a FACT's the same, else
 * HF_ARG. HF_TOO_BIG also when the group would pass 256 MiB. HF_NOMEM. On failure the records
 * before it stay buffered. */
enum hf_err hf_changelog_append(struct hf_changelog *log, enum hf_record_type type, hf_seq seq,
                                struct hf_slice payload);
/* The same for a frame with any bytes for a signature: sync has it signed. HF_ARG without `sign`.
 */
enum hf_err hf_changelog_append_unsigned(struct hf_changelog *log, hf_seq seq,
                                         struct hf_slice payload);
/* Writes what is buffered and syncs it, all in one segment. On HF_IO, HF_FULL or HF_NOMEM
 * everything appended since the last good sync is dropped from the log, as if it had never been
 * appended. A crash before the next good sync may bring it back: its outcome is then unknown, as
 * with any lost answer. */
enum hf_err hf_changelog_sync(struct hf_changelog *log);

/* First and last synced frame; first == last + 1 when there is none. */
hf_seq hf_changelog_first(const struct hf_changelog *log);
hf_seq hf_changelog_last(const struct hf_changelog *log);
/* Payload bytes of the frames first..last, exact: from the sparse index and a few heads read from
 * the file. 0 when the log does not hold all of them. */
uint64_t hf_changelog_bytes(const struct hf_changelog *log, hf_seq first, hf_seq last);
/* Size of all files, the one that is prepared next included. */
uint64_t hf_changelog_disk_bytes(const struct hf_changelog *log);

/* The last frame of the oldest segment (of one with facts only: the frame before it), which trim
 * looks at next; false when that is the newest segment too. */
bool hf_changelog_oldest(const struct hf_changelog *log, hf_seq *last);
/* Size of the segments alone: what trim compares with bytes_max. */
uint64_t hf_changelog_segment_bytes(const struct hf_changelog *log);

/* Copies the payload of frame seq into buffer (checksum verified). *len is its size, also with
 * HF_TOO_BIG. HF_NOTFOUND before first or after last, HF_CORRUPT. */
enum hf_err hf_changelog_read(const struct hf_changelog *log, hf_seq seq, uint8_t *buffer,
                              size_t cap, size_t *len);

/* Unlinks (or keeps as the next segment file) whole segments while the files of the log take more
 * than bytes_max, but never a frame above `keep`, the newest frame, nor the newest segment. A fact
 * at the end of a segment stays until a frame after it is covered by keep. At most one segment a
 * call, so that the writer is never held for long; *again says whether more is due. */
enum hf_err hf_changelog_trim(struct hf_changelog *log, uint64_t bytes_max, hf_seq keep,
                              bool *again);

/* ---- signatures that were lost ---- */

/* The first frame known to lack its signature, after open or a failed sync; 0 = none. Until it is
 * made again the frame reads as HF_CORRUPT. */
hf_seq hf_changelog_unsigned(const struct hf_changelog *log);
/* As read, but takes a frame without its signature too, as it was appended. */
enum hf_err hf_changelog_read_unsigned(const struct hf_changelog *log, hf_seq seq, uint8_t *buffer,
                                       size_t cap, size_t *len, bool *is_signed);
/* Keeps the signature that a frame lacked; it begins at `at` of the payload. HF_IO, HF_CORRUPT. */
enum hf_err hf_changelog_sign_again(struct hf_changelog *log, hf_seq seq, const uint8_t *payload,
                                    uint32_t at);
/* All of them were. */
void hf_changelog_signed(struct hf_changelog *log);

/* Where the last synced byte is: for the simulator, which tears what lies behind it. The path is
 * empty while nothing was synced. */
void hf_changelog_synced_at(const struct hf_changelog *log, char path[512], uint64_t *offset);

#endif
