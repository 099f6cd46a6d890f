/*
 * types.h - the scalars, slices and limits that every unit shares.
 *
 * A slice is always borrowed: it is valid until the next call into the unit that handed it out.
 * Owned bytes are never a slice; they are a pointer and a length with the comment "owned".
 * The limits are those of PROTOCOL.md section 2; a length from outside is compared with them before
 * anything is allocated for it.
 */
#ifndef HF_TYPES_H
#define HF_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t hf_seq; /* batch number in an epoch, from 1; 0 is the state before batch 1 */
typedef int64_t hf_ms;   /* milliseconds on a clock that never steps back (CLOCK_BOOTTIME) */

struct hf_range {
    hf_seq first, last; /* inclusive */
};

#define HF_HASH_BYTES 32u
#define HF_KEY_BYTES 32u    /* public keys, content keys */
#define HF_SECRET_BYTES 64u /* Ed25519 secret key as libsodium keeps it */
#define HF_SIGNATURE_BYTES 64u
#define HF_ID_BYTES 16u    /* stream id, epoch id, token id, cookie */
#define HF_NONCE_BYTES 24u /* XChaCha20-Poly1305 */
#define HF_TAG_BYTES 16u

#define HF_STORE_KEY_MAX 480u         /* bytes of a key, at least 1 */
#define HF_STORE_VALUE_MAX (1u << 20) /* bytes of a value */
#define HF_BATCH_RAW_MAX (4u << 20)   /* bytes of a batch's encoded changes and meta */
#define HF_BATCH_CHANGES_MAX 10000u
#define HF_BATCH_CUT (48u << 10)   /* the core cuts batches at this raw size */
#define HF_MESSAGE_MAX (64u << 10) /* bytes of any one message on the wire */
#define HF_NAME_MAX 63u            /* edge and stream names: [a-z0-9._-], first alphanumeric */
#define HF_REQUEST_ID_MAX 64u
#define HF_AUTHOR_MAX 128u
#define HF_REASON_MAX 512u

struct hf_slice {
    const uint8_t *data;
    size_t len;
};

struct hf_hash {
    uint8_t b[HF_HASH_BYTES];
};

struct hf_key {
    uint8_t b[HF_KEY_BYTES];
};

struct hf_id {
    uint8_t b[HF_ID_BYTES];
};

struct hf_signature {
    uint8_t b[HF_SIGNATURE_BYTES];
};

static inline struct hf_slice hf_slice_of(const void *data, size_t len)
{
    return (struct hf_slice){(const uint8_t *)data, len};
}

static inline struct hf_slice hf_slice_str(const char *text)
{
    return (struct hf_slice){(const uint8_t *)text, strlen(text)};
}

static inline bool hf_slice_eq(struct hf_slice a, struct hf_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* memcmp order, a prefix sorts first: the order of LMDB and of the KEYS transfer. */
static inline int hf_slice_cmp(struct hf_slice a, struct hf_slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n == 0 ? 0 : memcmp(a.data, b.data, n);
    return c != 0 ? c : (a.len > b.len) - (a.len < b.len);
}

static inline bool hf_hash_eq(const struct hf_hash *a, const struct hf_hash *b)
{
    return memcmp(a->b, b->b, HF_HASH_BYTES) == 0;
}

static inline bool hf_id_eq(const struct hf_id *a, const struct hf_id *b)
{
    return memcmp(a->b, b->b, HF_ID_BYTES) == 0;
}

static inline bool hf_key_eq(const struct hf_key *a, const struct hf_key *b)
{
    return memcmp(a->b, b->b, HF_KEY_BYTES) == 0;
}

#endif
