/*
 * slots.c - the frames that the engine names by slot numbers, and their verification.
 *
 * A slot owns the bytes of one frame message from its arrival until the engine drops or releases it
 * and no job reads it any more. Verification runs on the pool, or in the store's job when the store
 * is free: signature, body hash, opening, and a walk over the whole body, in the order from cheap
 * to dear of PROTOCOL.md section 9. Nothing of a frame is believed before it came back good; the
 * driver reads its header only to name it.
 */
#include "edge/driver_impl.h"

#include <stdlib.h>

enum hf_err slots_init(struct hf_edge *edge)
{
    edge->slot_count = edge->cfg.replica.hold_frames_max + EDGE_SLOTS_SPARE;
    edge->slots = calloc(edge->slot_count, sizeof(*edge->slots));
    edge->free_slots = calloc(edge->slot_count, sizeof(*edge->free_slots));
    edge->store_slots = calloc(edge->slot_count, sizeof(struct slot *));
    if (edge->slots == NULL || edge->free_slots == NULL || edge->store_slots == NULL) {
        return HF_NOMEM;
    }
    for (uint32_t i = 0; i < edge->slot_count; i++) {
        edge->free_slots[edge->free_count++] = edge->slot_count - 1 - i;
    }
    return HF_OK;
}

void slot_clear(struct slot *s)
{
    free(s->message);
    free(s->body);
    free(s->raw);
    memset(s, 0, sizeof(*s));
}

void slots_deinit(struct hf_edge *edge)
{
    for (uint32_t i = 0; edge->slots != NULL && i < edge->slot_count; i++) {
        if (edge->slots[i].used) { /* of the others most were never touched */
            slot_clear(&edge->slots[i]);
        }
    }
    ZSTD_freeDCtx(edge->decompressor);
    free(edge->slots);
    free(edge->free_slots);
    free(edge->store_slots);
}

static void slot_free(struct hf_edge *edge, struct slot *s)
{
    slot_clear(s);
    edge->free_slots[edge->free_count++] = (uint32_t)(s - edge->slots);
}

void slot_use(struct slot *s)
{
    s->users++;
}

void slot_unuse(struct hf_edge *edge, struct slot *s)
{
    HF_ASSERT(s->users > 0);
    s->users--;
    if (s->users == 0 && s->orphan) {
        slot_free(edge, s);
    }
}

void slots_drop(struct hf_edge *edge, uint32_t index)
{
    struct slot *s = &edge->slots[index];
    HF_ASSERT(index < edge->slot_count && s->used && !s->orphan);
    s->orphan = true;
    if (s->users == 0) {
        slot_free(edge, s);
    }
}

void slots_release(struct hf_edge *edge, hf_seq last)
{
    /* Few are in use, and the lowest ones: the table is not walked to its end. */
    uint32_t left = edge->slot_count - edge->free_count;
    for (uint32_t i = 0; left > 0; i++) {
        struct slot *s = &edge->slots[i];
        left -= s->used;
        if (s->used && !s->orphan && s->frame.h.seq <= last) {
            slots_drop(edge, i);
        }
    }
}

struct slot *slots_by_seq(struct hf_edge *edge, hf_seq seq)
{
    for (uint32_t i = 0; i < edge->slot_count; i++) {
        struct slot *s = &edge->slots[i];
        if (s->used && !s->orphan && s->frame.h.seq == seq) {
            return s;
        }
    }
    return NULL;
}

bool slots_take(struct hf_edge *edge, struct hf_slice message, uint64_t request, hf_seq *seq)
{
    if (edge->free_count == 0 || message.len > HF_FRAME_MESSAGE_MAX) {
        return false;
    }
    uint8_t *copy = malloc(message.len);
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, message.data, message.len);
    struct hf_frame frame;
    struct hf_id stream;
    enum hf_err err = hf_frame_decode(hf_slice_of(copy, message.len), &stream, &frame);
    /* That an upgrade is needed is believed once the signature was verified. */
    bool upgrade = err == HF_UPGRADE && frame.h.seq <= HF_SEQ_MAX;
    if ((err != HF_OK && !upgrade) || !hf_id_eq(&stream, &edge->stream)) {
        free(copy);
        return false;
    }
    uint32_t index = edge->free_slots[--edge->free_count];
    struct slot *s = &edge->slots[index];
    *s = (struct slot){.used = true, .upgrade = upgrade, .message = copy, .frame = frame};
    *seq = frame.h.seq;
    bool whole = frame.body.data != NULL;
    /* What it will hold when it is whole and opened: that is what bounds memory. */
    uint32_t opened = frame.h.raw_bytes + (whole ? 0 : frame.h.body_bytes);
    struct hf_replica_event ev = {
        .type = request == FROM_INBOX ? HF_REPEV_RESTORED : HF_REPEV_FRAME,
        .request = request == FROM_INBOX ? 0 : request,
        .slot = index,
        .bytes = (uint32_t)message.len + (upgrade ? 0 : opened),
        .header = &s->frame.h,
        .chain = hf_chain_hash(frame.header),
        .ok = whole,
    };
    edge_event(edge, &ev);
    return true;
}

enum hf_err slot_body_add(struct slot *s, const struct hf_fetch_reply *part)
{
    size_t size = s->frame.h.body_bytes;
    if (s->frame.body.data != NULL || part->total != size || part->offset != s->body_have ||
        part->body.len == 0 || part->body.len > size - s->body_have) {
        return HF_MALFORMED;
    }
    s->body = s->body != NULL ? s->body : malloc(size);
    if (s->body == NULL) {
        return HF_NOMEM;
    }
    memcpy(s->body + s->body_have, part->body.data, part->body.len);
    s->body_have += part->body.len;
    if (s->body_have == size) {
        s->frame.body = hf_slice_of(s->body, size);
    }
    return HF_OK;
}

bool slots_body(struct hf_edge *edge, const struct hf_fetch_reply *part, size_t *have,
                size_t *total)
{
    struct slot *s = slots_by_seq(edge, part->seq);
    if (s == NULL || s->users > 0) {
        return false;
    }
    size_t size = s->frame.h.body_bytes;
    *have = *total = size;
    if (s->body != NULL && s->body_have == size) {
        return part->total == size && part->offset + part->body.len == size;
    }
    enum hf_err err = slot_body_add(s, part);
    *have = s->body_have;
    return err == HF_OK;
}

const struct hf_key *content_key(const struct hf_edge *edge, uint32_t id)
{
    for (uint32_t i = edge->content_count; i > 0; i--) {
        if (edge->content[i - 1].id == id) {
            return &edge->content[i - 1].key;
        }
    }
    return NULL;
}

/* ---- verification ---- */

ZSTD_DCtx *decompressor_take(struct hf_edge *edge)
{
    ZSTD_DCtx *spare = atomic_exchange(&edge->decompressor, NULL);
    return spare != NULL ? spare : ZSTD_createDCtx();
}

void decompressor_keep(struct hf_edge *edge, ZSTD_DCtx *zctx)
{
    if (zctx != NULL) {
        ZSTD_freeDCtx(atomic_exchange(&edge->decompressor, zctx));
    }
}

static enum hf_err unseal(struct slot *s)
{
    const struct hf_header *h = &s->frame.h;
    uint8_t *scratch_bytes = malloc(h->body_bytes + 1u);
    uint8_t *raw = malloc(h->raw_bytes + 1u);
    bool zstd = h->compression != HF_COMPRESSION_NONE;
    ZSTD_DCtx *zctx = zstd ? decompressor_take(s->verify.edge) : NULL;
    enum hf_err err = HF_NOMEM;
    if (scratch_bytes == NULL || raw == NULL || (zctx == NULL && zstd)) {
        goto out;
    }
    struct hf_writer scratch;
    struct hf_writer w;
    hf_writer_init(&scratch, scratch_bytes, h->body_bytes);
    hf_writer_init(&w, raw, h->raw_bytes);
    err = hf_dictionaries_unseal(s->verify.edge->dictionaries, h, s->frame.body, &s->verify.content,
                                 zctx, &scratch, &w);
    if (err == HF_OK) {
        err = hf_body_open(hf_writer_bytes(&w), h->change_count, &s->opened);
    }
    if (err == HF_OK && h->kind == HF_BATCH_DICTIONARY) {
        err = dictionary_learn(s->verify.edge, &s->frame, hf_writer_bytes(&w));
    }
    if (err == HF_OK) {
        free(s->raw);
        s->raw = raw;
        raw = NULL;
    }
out:
    decompressor_keep(s->verify.edge, zctx);
    free(scratch_bytes);
    free(raw);
    return err;
}

enum hf_err slot_verify(struct slot *s)
{
    const struct verify_job *v = &s->verify;
    const struct hf_frame *f = &s->frame;
    if (!v->has_signer || !hf_header_verify(f->header, &f->signature, &v->signer)) {
        return HF_AUTH;
    }
    if (s->upgrade) {
        return HF_UPGRADE;
    }
    if (f->body.data == NULL) {
        return HF_OK;
    }
    if (!hf_frame_body_matches(f)) {
        return HF_AUTH;
    }
    return v->has_content ? unseal(s) : HF_SEALED;
}

static void verify_work(struct hf_job *job)
{
    struct slot *s = (struct slot *)job;
    s->verify.code = slot_verify(s);
}

static void verify_done(struct hf_job *job)
{
    struct slot *s = (struct slot *)job;
    struct hf_edge *edge = s->verify.edge;
    struct hf_replica_event ev = {
        .type = HF_REPEV_VERIFIED, .slot = (uint32_t)(s - edge->slots), .code = s->verify.code};
    bool orphan = s->orphan;
    slot_unuse(edge, s);
    edge_job_ended(edge);
    if (!orphan) {
        edge_event(edge, &ev);
    }
}

void slot_prepare(struct hf_edge *edge, struct slot *s)
{
    const struct hf_header *h = &s->frame.h;
    const struct hf_key *signer = hf_genesis_signer(&edge->genesis, h->signer_id, h->seq);
    const struct hf_key *content = content_key(edge, h->content_key_id);
    s->verify = (struct verify_job){.job = {.work = verify_work, .done = verify_done},
                                    .edge = edge,
                                    .has_signer = signer != NULL,
                                    .has_content = content != NULL};
    if (signer != NULL) {
        s->verify.signer = *signer;
    }
    if (content != NULL) {
        s->verify.content = *content;
    }
}

void slots_verify(struct hf_edge *edge, uint32_t index)
{
    struct slot *s = &edge->slots[index];
    slot_prepare(edge, s);
    slot_use(s);
    edge_run(edge, HF_LANE_POOL, &s->verify.job);
}
