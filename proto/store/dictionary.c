/*
 * dictionary.c - dictionaries, prepared once for packing and opening, and the table of them.
 *
 * The raw body of a frame of kind dictionary is [[], [], bin dictionary]: no changes, no requests,
 * and what to a reader of data is one unknown element. The dictionary is one of zstd's own format,
 * and the id in it is made of the seq: a body names what it needs, and nobody can be led to open it
 * with another.
 *
 * Must not: take zstd's "raw content" for a dictionary, which any bytes are.
 *
 * Read next: include/hf/dictionary.h, PROTOCOL.md section 4.1; core/trainer.c makes them.
 */
#include "hf/dictionary.h"

#include "hf/bytes.h"
#include "hf/compress.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <zstd.h>

#define LEVEL 1
#define MAGIC_AND_ID 8u
#define RAW_FIELDS 3u
#define RAW_FIELDS_MAX 32u

struct hf_dictionary {
    hf_seq seq;
    _Atomic uint32_t users;
    ZSTD_CDict *pack; /* owned, as are the next two */
    ZSTD_DDict *open;
    uint8_t *frame;
    size_t frame_len;
};

struct hf_dictionaries {
    pthread_mutex_t lock;
    uint32_t count;
    struct hf_dictionary *at[HF_DICTIONARIES_MAX]; /* owned references; seqs rise */
};

/* ---- one ---- */

uint32_t hf_dictionary_id(hf_seq seq)
{
    return (uint32_t)(seq % INT32_MAX) + 1; /* zstd takes 0 for none */
}

void hf_dictionary_encode(hf_seq seq, struct hf_slice bytes, struct hf_writer *raw)
{
    uint32_t id = hf_dictionary_id(seq);
    HF_ASSERT(bytes.len > MAGIC_AND_ID && bytes.len <= HF_DICTIONARY_BYTES_MAX);
    hf_write_array(raw, RAW_FIELDS);
    hf_write_array(raw, 0);
    hf_write_array(raw, 0);
    hf_write_bin(raw, bytes);
    if (!raw->failed) {
        hf_store32(raw->data + raw->len - bytes.len + 4, id);
    }
}

static bool raw_open(hf_seq seq, struct hf_slice raw, struct hf_slice *bytes)
{
    struct hf_reader r;
    hf_reader_init(&r, raw);
    uint32_t fields = hf_read_array(&r, RAW_FIELDS, RAW_FIELDS_MAX);
    (void)hf_read_array(&r, 0, 0);
    (void)hf_read_array(&r, 0, 0);
    *bytes = hf_read_bin(&r, HF_DICTIONARY_BYTES_MAX);
    hf_read_skip(&r, r.failed ? 0 : fields - RAW_FIELDS);
    /* 0 for bytes that have not the form of a dictionary. */
    return hf_reader_done(&r) &&
           ZSTD_getDictID_fromDict(bytes->data, bytes->len) == hf_dictionary_id(seq);
}

static void destroy(struct hf_dictionary *d)
{
    ZSTD_freeCDict(d->pack);
    ZSTD_freeDDict(d->open);
    free(d->frame);
    free(d);
}

enum hf_err hf_dictionary_new(hf_seq seq, struct hf_slice raw, struct hf_slice frame,
                              struct hf_dictionary **out)
{
    struct hf_slice bytes;
    *out = NULL;
    if (!raw_open(seq, raw, &bytes) || frame.len > HF_DICTIONARY_FRAME_MAX) {
        return HF_MALFORMED;
    }
    struct hf_dictionary *d = calloc(1, sizeof(*d));
    if (d == NULL || (d->frame = malloc(frame.len)) == NULL) {
        free(d);
        return HF_NOMEM;
    }
    memcpy(d->frame, frame.data, frame.len);
    d->frame_len = frame.len;
    d->seq = seq;
    d->users = 1;
    d->pack = ZSTD_createCDict(bytes.data, bytes.len, LEVEL);
    d->open = ZSTD_createDDict(bytes.data, bytes.len);
    if (d->pack == NULL || d->open == NULL) {
        destroy(d); /* no memory, or tables that zstd does not take */
        return HF_MALFORMED;
    }
    *out = d;
    return HF_OK;
}

void hf_dictionary_unuse(struct hf_dictionary *d)
{
    if (d != NULL && atomic_fetch_sub(&d->users, 1) == 1) {
        destroy(d);
    }
}

hf_seq hf_dictionary_seq(const struct hf_dictionary *d)
{
    return d->seq;
}

struct hf_slice hf_dictionary_frame(const struct hf_dictionary *d)
{
    return hf_slice_of(d->frame, d->frame_len);
}

struct hf_slice hf_dictionary_name(hf_seq seq, uint8_t out[HF_DICTIONARY_NAME_BYTES])
{
    size_t at = sizeof(HF_DICTIONARY_PREFIX) - 1;
    memcpy(out, HF_DICTIONARY_PREFIX, at);
    hf_store64_be(out + at, seq);
    return hf_slice_of(out, HF_DICTIONARY_NAME_BYTES);
}

/* ---- the table ---- */

struct hf_dictionaries *hf_dictionaries_new(void)
{
    struct hf_dictionaries *t = calloc(1, sizeof(*t));
    if (t != NULL && pthread_mutex_init(&t->lock, NULL) != 0) {
        free(t);
        return NULL;
    }
    return t;
}

/* The lock is held, or nobody else has the table any more. */
static void drop(struct hf_dictionaries *t, uint32_t i)
{
    hf_dictionary_unuse(t->at[i]);
    t->count--;
    for (; i < t->count; i++) {
        t->at[i] = t->at[i + 1];
    }
}

void hf_dictionaries_free(struct hf_dictionaries *t)
{
    if (t == NULL) {
        return;
    }
    while (t->count > 0) {
        drop(t, 0);
    }
    pthread_mutex_destroy(&t->lock);
    free(t);
}

void hf_dictionaries_add(struct hf_dictionaries *t, struct hf_dictionary *d)
{
    pthread_mutex_lock(&t->lock);
    uint32_t i = 0;
    while (i < t->count && t->at[i]->seq < d->seq) {
        i++;
    }
    bool known = i < t->count && t->at[i]->seq == d->seq;
    if (!known && t->count == HF_DICTIONARIES_MAX && i > 0) {
        drop(t, 0);
        i--;
    }
    if (known || t->count == HF_DICTIONARIES_MAX) {
        hf_dictionary_unuse(d); /* or older than all of a full table */
    } else {
        for (uint32_t j = t->count++; j > i; j--) {
            t->at[j] = t->at[j - 1];
        }
        t->at[i] = d;
    }
    pthread_mutex_unlock(&t->lock);
}

void hf_dictionaries_cut(struct hf_dictionaries *t, hf_seq last)
{
    pthread_mutex_lock(&t->lock);
    while (t->count > 0 && t->at[t->count - 1]->seq > last) {
        drop(t, t->count - 1);
    }
    pthread_mutex_unlock(&t->lock);
}

void hf_dictionaries_trim(struct hf_dictionaries *t, hf_seq first)
{
    pthread_mutex_lock(&t->lock);
    while (t->count > 1 && t->at[1]->seq + HF_DICTIONARY_LEAD <= first) {
        drop(t, 0);
    }
    pthread_mutex_unlock(&t->lock);
}

uint32_t hf_dictionaries_list(struct hf_dictionaries *t, hf_seq out[HF_DICTIONARIES_MAX])
{
    pthread_mutex_lock(&t->lock);
    uint32_t count = t->count;
    for (uint32_t i = 0; i < count; i++) {
        out[i] = t->at[i]->seq;
    }
    pthread_mutex_unlock(&t->lock);
    return count;
}

static struct hf_dictionary *used(struct hf_dictionary *d)
{
    atomic_fetch_add(&d->users, 1);
    return d;
}

struct hf_dictionary *hf_dictionaries_at(struct hf_dictionaries *t, hf_seq seq)
{
    struct hf_dictionary *found = NULL;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = 0; i < t->count; i++) {
        found = t->at[i]->seq == seq ? used(t->at[i]) : found;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

struct hf_dictionary *hf_dictionaries_for(struct hf_dictionaries *t, hf_seq seq)
{
    struct hf_dictionary *found = NULL;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = t->count; i-- > 0 && found == NULL;) {
        found = t->at[i]->seq + HF_DICTIONARY_LEAD <= seq ? used(t->at[i]) : NULL;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static struct hf_dictionary *by_id(struct hf_dictionaries *t, uint32_t id)
{
    struct hf_dictionary *found = NULL;
    pthread_mutex_lock(&t->lock);
    for (uint32_t i = t->count; i-- > 0 && found == NULL;) {
        found = hf_dictionary_id(t->at[i]->seq) == id ? used(t->at[i]) : NULL;
    }
    pthread_mutex_unlock(&t->lock);
    return found;
}

/* ---- packing and opening ---- */

struct hf_slice hf_dictionary_pack(const struct hf_dictionary *d, struct hf_slice raw, void *zctx,
                                   struct hf_writer *scratch, enum hf_compression *compression)
{
    return hf_compress_with(raw, d->pack, zctx, scratch, compression);
}

enum hf_err hf_dictionaries_unseal(struct hf_dictionaries *t, const struct hf_header *h,
                                   struct hf_slice sealed, const struct hf_key *key, void *zctx,
                                   struct hf_writer *scratch, struct hf_writer *raw)
{
    if (h->compression != HF_COMPRESSION_DICTIONARY) {
        return hf_body_unseal(h, sealed, key, zctx, scratch, raw);
    }
    enum hf_err err = hf_body_decrypt(h, sealed, key, scratch);
    if (err != HF_OK) {
        return err;
    }
    struct hf_slice plain = hf_writer_bytes(scratch);
    struct hf_dictionary *d = by_id(t, hf_compress_dictionary_id(plain));
    if (d == NULL) {
        return HF_SEALED;
    }
    err = hf_decompress_with(plain, h->raw_bytes, d->open, zctx, raw);
    hf_dictionary_unuse(d);
    return err;
}
