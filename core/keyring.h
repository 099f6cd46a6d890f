/*
 * keyring.h - the content keys of a stream, by id, in guarded memory.
 *
 * Key i is used by frames from its `from` up to the one before the next key's `from`. A key is kept
 * as long as a frame of the log needs it or a dictionary that is kept is sealed under it, which may
 * be much older than the log; and the newest always. One thread owns a ring; the writer lane and
 * the owner's thread have one each.
 */
#ifndef CORE_KEYRING_H
#define CORE_KEYRING_H

#include "hf/dictionary.h"
#include "hf/err.h"
#include "hf/messages.h"

/* As many are kept; there is room for as many again, until the next commit drops what is too much.
 */
#define HF_KEYRING_MAX 1024u
#define HF_KEYRING_ROOM (2 * HF_KEYRING_MAX)

struct hf_keyring {
    struct hf_content_key *key; /* owned, guarded; ascending id and from */
    uint32_t count;
};

/* What still needs a key. */
struct hf_keyring_needs {
    hf_seq first;                           /* of the log's frames */
    hf_seq dictionary[HF_DICTIONARIES_MAX]; /* the frames of those that are kept */
    uint32_t dictionary_count;
};

enum hf_err hf_keyring_init(struct hf_keyring *k); /* HF_NOMEM */
void hf_keyring_deinit(struct hf_keyring *k);
/* Adding a key that is there replaces it. Without room the oldest goes. */
void hf_keyring_add(struct hf_keyring *k, const struct hf_content_key *c);
const struct hf_content_key *hf_keyring_find(const struct hf_keyring *k, uint32_t id);
/* NULL when the ring is empty. */
const struct hf_content_key *hf_keyring_newest(const struct hf_keyring *k);
/* The one of frame `seq`, or of a frame that would come next; NULL when it is not kept. */
const struct hf_content_key *hf_keyring_at(const struct hf_keyring *k, hf_seq seq);
/* From this seq on every frame can be opened by a key of the ring: what is below is as good as
 * trimmed. */
hf_seq hf_keyring_floor(const struct hf_keyring *k);
/* The keys that frames from `first` on use, oldest first, at most cap; when there are more, the
 * oldest of them and the newest: whoever got them asks again when it comes to the next. */
uint32_t hf_keyring_select(const struct hf_keyring *k, hf_seq first, struct hf_content_key *out,
                           uint32_t cap);
/* Drops what is not needed; and of more than HF_KEYRING_MAX the oldest that are no dictionary's:
 * revoking an edge must not fail for want of room, and edges that far behind take a delta or
 * snapshot (hf_keyring_floor). */
void hf_keyring_drop(struct hf_keyring *k, const struct hf_keyring_needs *needs);

#endif
