/*
 * log_view.h - what the readers of a changelog see: its segments and how far they are synced.
 *
 * Internal to proto/store. The writer adds a group only after its sync, so nothing unsynced can be
 * read but the signatures of the newest. The lock guards the fields and each segment's (lock)
 * fields; it is held for look-ups and for publishing, never across I/O. Only the writer changes
 * anything, so the writer alone may look at the fields without the lock.
 */
#ifndef HF_STORE_LOG_VIEW_H
#define HF_STORE_LOG_VIEW_H

#include "segment.h"

#include <pthread.h>

struct hf_log_view {
    pthread_mutex_t lock;
    struct hf_segment **segments; /* owned array of references, oldest first */
    size_t count;
    size_t cap;
    hf_seq last;          /* last synced frame */
    uint64_t frame_bytes; /* of all frames since the first that open found */
    uint64_t disk_bytes;  /* of the segments */
};

struct hf_log_view *hf_log_view_new(void);
void hf_log_view_free(struct hf_log_view *v); /* NULL is fine */

/* ---- any thread; these are the hf_changelog functions of the same names ---- */

void hf_log_view_range(struct hf_log_view *v, hf_seq *first, hf_seq *last);
uint64_t hf_log_view_disk_bytes(struct hf_log_view *v);
bool hf_log_view_oldest(struct hf_log_view *v, hf_seq *last);
uint64_t hf_log_view_bytes(struct hf_log_view *v, hf_seq first, hf_seq last);
/* is_signed == NULL: an unsigned frame is HF_CORRUPT. */
enum hf_err hf_log_view_read(struct hf_log_view *v, hf_seq seq, uint8_t *buffer, size_t cap,
                             size_t *len, bool *is_signed);

/* ---- the writer ---- */

struct hf_segment *hf_log_view_newest(const struct hf_log_view *v); /* NULL for none */
/* Writes the signature at `at` of its payload behind frame seq. */
enum hf_err hf_log_view_sign(struct hf_log_view *v, hf_seq seq, const uint8_t *payload,
                             uint32_t at);
/* Writes it once more as it is; *is_signed is false when it is not there any more. */
enum hf_err hf_log_view_resign(struct hf_log_view *v, hf_seq seq, bool *is_signed);
/* Makes room for one more segment and for `records` more in s (which may be NULL). HF_NOMEM. */
enum hf_err hf_log_view_reserve(struct hf_log_view *v, struct hf_segment *s, size_t records);
/* Shows a synced group of whole records at the end of s; s is added when it is new. */
void hf_log_view_publish(struct hf_log_view *v, struct hf_segment *s, const uint8_t *group,
                         size_t len);
/* Takes out the oldest segment and gives it back with the log's reference. */
struct hf_segment *hf_log_view_drop_oldest(struct hf_log_view *v);

#endif
