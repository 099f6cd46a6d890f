/*
 * dictionaries.c - the dictionaries of an edge: from verified frames, from HELLO, and from its
 * store.
 *
 * One becomes known as soon as its frame is verified, on whichever lane that is, since the frames
 * behind it may be opened at the same time. The store keeps the whole signed frame as the object
 * "dictionary/<be64 seq>", in the transaction that applies it; who jumped over the frame gets it
 * with HELLO, as a missing content key.
 *
 * Must not: believe a frame whose signature the caller has not verified. Next: hf/dictionary.h.
 */
#include "edge/driver_impl.h"

#include <stdlib.h>

enum hf_err dictionary_learn(struct hf_edge *edge, const struct hf_frame *f, struct hf_slice raw)
{
    size_t cap = HF_FRAME_OVERHEAD + f->header.len + f->body.len;
    uint8_t *whole = malloc(cap);
    if (whole == NULL) {
        return HF_NOMEM;
    }
    struct hf_writer w;
    struct hf_dictionary *d;
    hf_writer_init(&w, whole, cap);
    hf_frame_encode(&edge->stream, f->header, &f->signature, f->body, &w);
    enum hf_err err = hf_dictionary_new(f->h.seq, raw, hf_writer_bytes(&w), &d);
    free(whole);
    if (err == HF_OK) {
        hf_dictionaries_add(edge->dictionaries, d);
    }
    return err;
}

/* Opens a frame that is known to be the core's. */
static enum hf_err frame_open(const struct hf_frame *f, const struct hf_key *content,
                              struct hf_slice message, struct hf_dictionary **out)
{
    static const size_t room = HF_DICTIONARY_FRAME_MAX;
    uint8_t *bytes = malloc(2 * room);
    ZSTD_DCtx *zctx = ZSTD_createDCtx();
    struct hf_writer scratch;
    struct hf_writer raw;
    enum hf_err err = bytes == NULL || zctx == NULL ? HF_NOMEM : HF_OK;
    if (err == HF_OK) {
        hf_writer_init(&scratch, bytes, room);
        hf_writer_init(&raw, bytes + room, room);
        err = hf_body_unseal(&f->h, f->body, content, zctx, &scratch, &raw);
    }
    if (err == HF_OK) {
        err = hf_dictionary_new(f->h.seq, hf_writer_bytes(&raw), message, out);
    }
    ZSTD_freeDCtx(zctx);
    free(bytes);
    return err;
}

static const struct hf_key *key_of(const struct hf_edge *edge, const struct hf_content_key *more,
                                   uint32_t more_count, uint32_t id)
{
    for (uint32_t i = 0; i < more_count; i++) {
        if (more[i].id == id) {
            return &more[i].key;
        }
    }
    return content_key(edge, id);
}

enum hf_err dictionary_open(const struct hf_edge *edge, const struct hf_genesis *genesis,
                            const struct hf_content_key *more, uint32_t more_count,
                            struct hf_slice message, struct hf_dictionary **out)
{
    struct hf_id stream;
    struct hf_frame f;
    *out = NULL;
    if (hf_frame_decode(message, &stream, &f) != HF_OK || f.h.kind != HF_BATCH_DICTIONARY ||
        f.body.data == NULL || !hf_id_eq(&stream, &genesis->stream) ||
        !hf_id_eq(&f.h.epoch_id, &genesis->epoch_id)) {
        return HF_MALFORMED;
    }
    const struct hf_key *signer = hf_genesis_signer(genesis, f.h.signer_id, f.h.seq);
    if (signer == NULL || !hf_header_verify(f.header, &f.signature, signer) ||
        !hf_frame_body_matches(&f)) {
        return HF_AUTH;
    }
    const struct hf_key *content = key_of(edge, more, more_count, f.h.content_key_id);
    return content == NULL ? HF_SEALED : frame_open(&f, content, message, out);
}

static bool is_one_of(struct hf_slice name, struct hf_dictionary *const *d, uint32_t count)
{
    uint8_t own[HF_DICTIONARY_NAME_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        if (hf_slice_eq(name, hf_dictionary_name(hf_dictionary_seq(d[i]), own))) {
            return true;
        }
    }
    return false;
}

/* Too many: the oldest go, as they do in memory. The view shows what was committed: one that came
 * in this transaction may be over, until the next comes. */
static enum hf_err make_room(struct hf_state *s, struct hf_dictionary *const *coming,
                             uint32_t coming_count)
{
    struct hf_slice prefix = hf_slice_str(HF_DICTIONARY_PREFIX);
    struct hf_slice at = {NULL, 0};
    struct hf_slice bytes;
    struct hf_view *v;
    uint32_t count = coming_count;
    enum hf_err err = hf_view_open(s, &v);
    if (err != HF_OK) {
        return err;
    }
    while (hf_view_next_object(v, prefix, at, &at, &bytes) == HF_OK) {
        count += !is_one_of(at, coming, coming_count);
    }
    at = (struct hf_slice){NULL, 0};
    while (err == HF_OK && count > HF_DICTIONARIES_MAX &&
           hf_view_next_object(v, prefix, at, &at, &bytes) == HF_OK) {
        if (!is_one_of(at, coming, coming_count)) {
            err = hf_state_object_del(s, at);
            err = err == HF_NOTFOUND ? HF_OK : err;
            count--;
        }
    }
    hf_view_close(v);
    return err;
}

enum hf_err dictionaries_put(struct hf_state *s, struct hf_dictionary *const *d, uint32_t count)
{
    uint8_t name[HF_DICTIONARY_NAME_BYTES];
    enum hf_err err = make_room(s, d, count);
    for (uint32_t i = 0; i < count && err == HF_OK; i++) {
        err = hf_state_object_put(s, hf_dictionary_name(hf_dictionary_seq(d[i]), name),
                                  hf_dictionary_frame(d[i]));
    }
    return err;
}

enum hf_err dictionary_store(struct hf_edge *edge, hf_seq seq)
{
    struct hf_dictionary *d = hf_dictionaries_at(edge->dictionaries, seq);
    if (d == NULL) {
        return HF_OK; /* four newer ones are known */
    }
    enum hf_err err = dictionaries_put(edge->state, &d, 1);
    hf_dictionary_unuse(d);
    return err;
}

enum hf_err dictionaries_load(struct hf_edge *edge, struct hf_view *v)
{
    struct hf_slice prefix = hf_slice_str(HF_DICTIONARY_PREFIX);
    struct hf_slice at = {NULL, 0};
    struct hf_slice bytes;
    while (hf_view_next_object(v, prefix, at, &at, &bytes) == HF_OK) {
        struct hf_dictionary *d;
        enum hf_err err = dictionary_open(edge, &edge->genesis, NULL, 0, bytes, &d);
        if (err == HF_NOMEM) {
            return err;
        }
        if (err == HF_OK) {
            hf_dictionaries_add(edge->dictionaries, d);
        } /* else the core gives it again */
    }
    return HF_OK;
}
