/*
 * group.c - one group of writes becomes batches: merge, apply, digest, seal, append, sign, sync.
 *
 * Rules (PROTOCOL.md section 3):
 * - A write is atomic: its changes are in one batch. Batches are cut at HF_BATCH_CUT raw bytes,
 *   unless one write alone is larger.
 * - A key occurs at most once in a batch. Among plain writes the last value wins. A write with an
 *   id, an author, a reason or a condition that touches a key already in the batch begins a new
 *   one, and so does any write that touches a key of an audited one: what the audit trail says a
 *   request changed is what it changed.
 * - A change that changes nothing is left out; a batch without changes and without ids is not made.
 *   A write with an id always makes a frame, so that replay finds the id again.
 * - Frames are appended only after all batches of the group are in the state: the log cannot take
 *   back what it has buffered, the state can.
 *
 * A batch is signed while the disk writes it (hf/changelog.h); a signature that a crash takes is
 * made again by recovery, writer.c. Nothing leaves the core before both are done.
 *
 * Nothing is allocated per change: the builder's tables have their final size from the start, and
 * the frames' memory grows to that of the largest group and stays.
 */
#include "core/writer.h"

#include "hf/bytes.h"

#include <stdlib.h>

#define SLOTS 32768u /* a power of two, more than three times HF_BATCH_CHANGES_MAX */
#define SEQ_PENDING UINT64_MAX
/* Trying to compress what does not compress is a tenth of the lane's time: after a batch without
 * gain the next 1, 3, 7, then 15 are not tried. */
#define UNTRIED_MAX 15u
#define TRY_BYTES 512u /* smaller bodies are never compressed, so they say nothing (hf/batch.h) */

struct entry {
    struct hf_change change;
    bool audited; /* by a write of the audit trail: nothing may replace it */
    bool live;    /* after this entry */
    bool changed; /* known when the batch is closed */
};

struct slot {
    uint32_t stamp; /* of the batch that used it: clearing costs nothing */
    uint32_t index;
};

struct trail { /* a write of the audit trail */
    struct hf_write *write;
    struct hf_hash content;
    uint32_t entry_first;
    uint32_t entry_count;
};

struct hf_batch_builder {
    struct entry entry[HF_BATCH_CHANGES_MAX];
    struct trail trail[HF_BODY_METAS_MAX];
    struct slot slot[SLOTS];
    uint32_t stamp;
    uint32_t count;
    uint32_t trail_count;
    uint32_t id_count;
    size_t raw_bytes;       /* at most; overhead included */
    struct hf_write *first; /* of the writes whose result waits for this batch */
    uint64_t hash_seed;
    uint32_t untried;      /* batches still to be sealed without trying to compress */
    uint32_t untried_next; /* ... after the next one without gain */
    /* Of the group. */
    struct hf_group *group;
    uint64_t nonce_count;
};

enum hf_err hf_batch_builder_new(struct hf_batch_builder **b)
{
    *b = calloc(1, sizeof(**b));
    return *b == NULL ? HF_NOMEM : HF_OK;
}

void hf_batch_builder_free(struct hf_batch_builder *b)
{
    free(b);
}

static void batch_reset(struct hf_batch_builder *b)
{
    b->count = b->trail_count = b->id_count = 0;
    b->raw_bytes = HF_BODY_OVERHEAD;
    b->first = NULL;
    if (++b->stamp == 0) {
        memset(b->slot, 0, sizeof(b->slot));
        b->stamp = 1;
    }
}

/* ---- finding a key of the batch ---- */

/* Eight bytes at a time, multiplied and folded; seeded, so that clients cannot aim at one slot. */
static uint32_t key_hash(const struct hf_batch_builder *b, struct hf_slice key)
{
    uint64_t h = b->hash_seed ^ (key.len * UINT64_C(0x9e3779b97f4a7c15));
    size_t i = 0;
    for (; i + 8 <= key.len; i += 8) {
        uint64_t v;
        memcpy(&v, key.data + i, 8);
        h = (h ^ v) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
    }
    uint64_t tail = 0;
    memcpy(&tail, key.data + i, key.len - i);
    h = (h ^ tail) * UINT64_C(0xc4ceb9fe1a85ec53);
    h ^= h >> 29;
    return (uint32_t)h & (SLOTS - 1);
}

/* The slot of a key, or the empty one where it would go. */
static struct slot *slot_of(struct hf_batch_builder *b, struct hf_slice key)
{
    uint32_t at = key_hash(b, key);
    while (b->slot[at].stamp == b->stamp &&
           !hf_slice_eq(b->entry[b->slot[at].index].change.key, key)) {
        at = (at + 1) & (SLOTS - 1);
    }
    return &b->slot[at];
}

static struct entry *entry_of(struct hf_batch_builder *b, struct hf_slice key)
{
    struct slot *s = slot_of(b, key);
    return s->stamp == b->stamp ? &b->entry[s->index] : NULL;
}

/* ---- closing a batch ---- */

static enum hf_err failed(struct hf_core_writer *w, hf_seq seq, enum hf_err code, const char *what)
{
    return hf_error_set(&w->error, code, "%s seq=%llu: %s", what, (unsigned long long)seq,
                        hf_err_text(code));
}

static enum hf_err entries_apply(struct hf_core_writer *w, hf_seq seq, uint32_t *changes)
{
    struct hf_batch_builder *b = w->builder;
    uint32_t ordinal = 0;
    for (uint32_t i = 0; i < b->count; i++) {
        struct entry *e = &b->entry[i];
        enum hf_err err = hf_state_upsert(w->state, seq, ordinal, &e->change, &e->changed);
        if (err != HF_OK) {
            return failed(w, seq, err, "apply");
        }
        ordinal += e->changed;
    }
    *changes = ordinal;
    return HF_OK;
}

static void meta_encode(const struct hf_batch_builder *b, const struct trail *t, uint32_t first,
                        struct hf_writer *raw)
{
    struct hf_meta m = {.request_id = t->write->request_id,
                        .content_hash = t->content,
                        .author = t->write->author,
                        .reason = t->write->reason,
                        .first_ordinal = first};
    for (uint32_t i = 0; i < t->entry_count; i++) {
        m.count += b->entry[t->entry_first + i].changed;
    }
    hf_body_meta(raw, &m);
}

static struct hf_slice raw_encode(struct hf_core_writer *w, uint32_t changes)
{
    struct hf_batch_builder *b = w->builder;
    struct hf_writer raw;
    hf_writer_init(&raw, w->raw, HF_BATCH_RAW_MAX);
    hf_body_begin(&raw, changes);
    for (uint32_t i = 0; i < b->count; i++) {
        if (b->entry[i].changed) {
            hf_body_change(&raw, &b->entry[i].change);
        }
    }
    hf_body_meta_begin(&raw, b->trail_count);
    uint32_t ordinal = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < b->trail_count; i++) {
        for (; at < b->trail[i].entry_first; at++) {
            ordinal += b->entry[at].changed;
        }
        meta_encode(b, &b->trail[i], ordinal, &raw);
    }
    /* write_check (driver.c) and batch_takes keep the sum of upper bounds below the size of the
     * buffer. */
    HF_ASSERT(!raw.failed);
    return hf_writer_bytes(&raw);
}

static void nonce_make(struct hf_batch_builder *b, uint8_t nonce[HF_NONCE_BYTES])
{
    uint64_t n = b->nonce_count++;
    struct hf_slice part = hf_slice_of(&n, sizeof(n));
    hf_keyed_hash("holdfast/v1/nonce", b->group->seed, HF_SEED_BYTES, &part, 1, nonce,
                  HF_NONCE_BYTES);
}

static enum hf_err place_add(struct hf_core_writer *w, size_t at, size_t len, hf_seq seq)
{
    if (w->place_count == w->place_cap) {
        uint32_t cap = w->place_cap == 0 ? 64 : 2 * w->place_cap;
        struct hf_frame_place *grown = realloc(w->place, cap * sizeof(*grown));
        if (grown == NULL) {
            return HF_NOMEM;
        }
        w->place = grown;
        w->place_cap = cap;
    }
    w->place[w->place_count++] = (struct hf_frame_place){.at = at, .len = len, .seq = seq};
    return HF_OK;
}

/* Puts the frame message at the end of w->frames. */
static enum hf_err frame_keep(struct hf_core_writer *w, struct hf_slice header,
                              const struct hf_signature *sig, struct hf_slice body)
{
    size_t most = header.len + body.len + HF_FRAME_OVERHEAD;
    enum hf_err err = hf_bytes_reserve(&w->frames, most);
    if (err != HF_OK) {
        return err;
    }
    struct hf_writer out;
    hf_writer_init(&out, w->frames.data + w->frames.len, most);
    hf_frame_encode(&w->genesis.stream, header, sig, body, &out);
    HF_ASSERT(!out.failed);
    size_t at = w->frames.len;
    w->frames.len += out.len;
    return place_add(w, at, out.len, hf_state_position(w->state).seq);
}

static enum hf_err body_seal(struct hf_core_writer *w, struct hf_header *h, struct hf_slice raw,
                             struct hf_writer *sealed)
{
    struct hf_batch_builder *b = w->builder;
    const struct hf_content_key *key = hf_keyring_newest(&w->keys);
    bool small = raw.len < TRY_BYTES;
    bool tried = !small && b->untried == 0;
    uint8_t nonce[HF_NONCE_BYTES];
    struct hf_writer scratch;
    HF_ASSERT(key != NULL);
    nonce_make(b, nonce);
    hf_writer_init(&scratch, w->scratch, w->scratch_cap);
    hf_writer_init(sealed, w->sealed, HF_BODY_SEALED_MAX);
    bool for_dictionary =
        w->trainer != NULL && h->kind == HF_BATCH_DATA && raw.len <= HF_SMALL_BODY_MAX;
    struct hf_dictionary *d = for_dictionary ? hf_dictionaries_for(w->dictionaries, h->seq) : NULL;
    if (d != NULL) {
        enum hf_compression compression;
        struct hf_slice plain = hf_dictionary_pack(d, raw, w->cctx, &scratch, &compression);
        hf_dictionary_unuse(d);
        h->raw_bytes = (uint32_t)raw.len;
        h->compression = compression;
        return hf_body_seal_plain(h, plain, key->id, &key->key, nonce, sealed);
    }
    enum hf_err err =
        hf_body_seal(h, raw, key->id, &key->key, nonce, tried ? w->cctx : NULL, &scratch, sealed);
    if (small) {
        return err;
    }
    if (!tried) {
        b->untried--;
    } else if (h->compression == HF_COMPRESSION_NONE) {
        b->untried_next = 2 * b->untried_next + 1;
        b->untried_next = b->untried_next < UNTRIED_MAX ? b->untried_next : UNTRIED_MAX;
        b->untried = b->untried_next;
    } else {
        b->untried_next = 0;
    }
    return err;
}

/* Seals and advances: the state is at the batch, the frame is kept. The state keeps the whole frame
 * of a dictionary, so that one is signed here already. */
static enum hf_err frame_make(struct hf_core_writer *w, enum hf_batch_kind kind,
                              struct hf_slice raw, uint32_t changes)
{
    struct hf_batch_builder *b = w->builder;
    struct hf_position at = hf_state_position(w->state);
    struct hf_header h = {.kind = kind,
                          .epoch_id = at.epoch_id,
                          .epoch = w->genesis.epoch,
                          .seq = at.seq + 1,
                          .prev = at.chain,
                          .signer_id = HF_SIGNER_ID,
                          .key_list_version = w->genesis.key_list_version,
                          .published_ms = b->group->wall_ms,
                          .change_count = changes};
    struct hf_writer sealed;
    enum hf_err err = body_seal(w, &h, raw, &sealed);
    w->packed_len = sealed.len - HF_NONCE_BYTES - HF_TAG_BYTES;
    if (err != HF_OK) {
        return failed(w, h.seq, err, "seal");
    }
    h.digest = hf_state_digest(w->state); /* as late as can be: a thread may still add it up */
    uint8_t bytes[HF_HEADER_MAX];
    struct hf_writer header;
    hf_writer_init(&header, bytes, sizeof(bytes));
    hf_header_encode(&h, &header);
    HF_ASSERT(!header.failed);
    struct hf_signature sig = {{0}};
    if (kind == HF_BATCH_DICTIONARY) {
        hf_header_sign(hf_writer_bytes(&header), w->id->secret, &sig);
    }
    err = hf_state_advance(w->state, &h, hf_writer_bytes(&header), &sig);
    if (err == HF_OK) {
        err = frame_keep(w, hf_writer_bytes(&header), &sig, hf_writer_bytes(&sealed));
    }
    return err == HF_OK ? HF_OK : failed(w, h.seq, err, "advance");
}

static enum hf_err data_make(struct hf_core_writer *w, uint32_t changes)
{
    struct hf_slice raw = raw_encode(w, changes);
    enum hf_err err = frame_make(w, HF_BATCH_DATA, raw, changes);
    if (err == HF_OK && w->trainer != NULL) {
        hf_trainer_show(w->trainer, raw, w->packed_len);
    }
    return err;
}

/* A dictionary that was trained meanwhile goes into the stream behind the batches of the group. */
static enum hf_err dictionary_make(struct hf_core_writer *w)
{
    struct hf_slice bytes;
    hf_seq seq = hf_state_position(w->state).seq + 1;
    hf_seq known[HF_DICTIONARIES_MAX];
    uint32_t gain;
    if (w->trainer == NULL || hf_dictionaries_list(w->dictionaries, known) == HF_DICTIONARIES_MAX ||
        !hf_trainer_take(w->trainer, &bytes, &gain)) {
        return HF_OK; /* while the log has frames that use each, it waits until that is trimmed */
    }
    struct hf_writer raw;
    hf_writer_init(&raw, w->raw, HF_BATCH_RAW_MAX);
    hf_dictionary_encode(seq, bytes, &raw);
    enum hf_err err = frame_make(w, HF_BATCH_DICTIONARY, hf_writer_bytes(&raw), 0);
    if (err != HF_OK) {
        return err;
    }
    const struct hf_frame_place *p = &w->place[w->place_count - 1];
    err = hf_core_writer_dictionary(w, seq, hf_writer_bytes(&raw),
                                    hf_slice_of(w->frames.data + p->at, p->len));
    w->head.dictionary = seq;
    w->head.gain_percent = gain;
    return err == HF_OK ? HF_OK : failed(w, seq, err, "keep the dictionary");
}

static enum hf_err batch_close(struct hf_core_writer *w, const struct hf_write *until)
{
    struct hf_batch_builder *b = w->builder;
    hf_seq seq = hf_state_position(w->state).seq;
    uint32_t changes = 0;
    enum hf_err err = entries_apply(w, seq + 1, &changes);
    if (err != HF_OK) {
        return err;
    }
    if (changes > 0 || b->id_count > 0) {
        err = data_make(w, changes);
        if (err != HF_OK) {
            return err;
        }
        b->group->change_count += changes;
        seq++;
    }
    for (struct hf_write *wr = b->first; wr != until; wr = wr->next) {
        wr->result.seq = wr->result.seq == SEQ_PENDING ? seq : wr->result.seq;
    }
    batch_reset(b);
    return HF_OK;
}

/* ---- taking a write into the batch ---- */

static bool audited(const struct hf_write *wr)
{
    return wr->request_id.len > 0 || wr->author.len > 0 || wr->reason.len > 0;
}

size_t hf_write_raw_bytes(const struct hf_write *wr)
{
    size_t n = 0;
    for (uint32_t i = 0; i < wr->change_count; i++) {
        n += hf_change_bytes_max(&wr->change[i]);
    }
    if (audited(wr)) {
        struct hf_meta m = {
            .request_id = wr->request_id, .author = wr->author, .reason = wr->reason};
        n += hf_meta_bytes_max(&m);
    }
    return n;
}

/* Whether the write may join the open batch. */
static bool batch_takes(struct hf_batch_builder *b, const struct hf_write *wr)
{
    if (b->count == 0 && b->trail_count == 0) {
        return true;
    }
    if (b->raw_bytes + wr->raw_bytes > HF_BATCH_CUT ||
        b->count + wr->change_count > HF_BATCH_CHANGES_MAX || b->trail_count == HF_BODY_METAS_MAX) {
        return false;
    }
    bool alone = audited(wr) || wr->has_ifseq;
    if (!alone && b->trail_count == 0) {
        return true; /* plain among plain: merged, so there is nothing to look up */
    }
    for (uint32_t i = 0; i < wr->change_count; i++) {
        const struct entry *e = entry_of(b, wr->change[i].key);
        if (e != NULL && (alone || e->audited)) {
            return false;
        }
    }
    return true;
}

/* Whether a key was live just before this change: by the batch so far, else by the state. */
static enum hf_err key_live(struct hf_core_writer *w, const struct entry *e, struct hf_slice key,
                            bool *live)
{
    if (e != NULL) {
        *live = e->live;
        return HF_OK;
    }
    struct hf_stored old;
    enum hf_err err = hf_state_get(w->state, key, false, &old);
    *live = err == HF_OK;
    return err == HF_NOTFOUND ? HF_OK : err;
}

static enum hf_err change_take(struct hf_core_writer *w, struct hf_write *wr, uint32_t i)
{
    struct hf_batch_builder *b = w->builder;
    const struct hf_change *c = &wr->change[i];
    struct slot *s = slot_of(b, c->key);
    struct entry *e = s->stamp == b->stamp ? &b->entry[s->index] : NULL;
    if (c->op == HF_OP_DEL) {
        bool live;
        enum hf_err err = key_live(w, e, c->key, &live);
        if (err != HF_OK) {
            return failed(w, hf_state_position(w->state).seq, err, "look up");
        }
        wr->result.deleted += live;
        if (wr->found != NULL) {
            wr->found[i] = live;
        }
    }
    if (e == NULL) {
        *s = (struct slot){.stamp = b->stamp, .index = b->count};
        e = &b->entry[b->count++];
    } else {
        b->raw_bytes -= hf_change_bytes_max(&e->change);
    }
    *e = (struct entry){.change = *c, .audited = audited(wr), .live = c->op == HF_OP_PUT};
    b->raw_bytes += hf_change_bytes_max(c);
    return HF_OK;
}

/* Over what was asked and on which condition, not by whom or why: a retry may word these anew. */
static struct hf_hash content_hash(struct hf_core_writer *w, const struct hf_write *wr)
{
    uint8_t condition[9] = {wr->has_ifseq ? 1 : 0};
    hf_store64(condition + 1, wr->has_ifseq ? wr->ifseq : 0);
    struct hf_writer ops;
    hf_writer_init(&ops, w->scratch, w->scratch_cap);
    for (uint32_t i = 0; i < wr->change_count; i++) {
        hf_body_change(&ops, &wr->change[i]);
    }
    HF_ASSERT(!ops.failed);
    struct hf_slice part[2] = {hf_slice_of(condition, sizeof(condition)), hf_writer_bytes(&ops)};
    return hf_hash_of("holdfast/v1/request", part, 2);
}

/* An id that was seen is answered from memory; *seen says so. */
static enum hf_err request_check(struct hf_core_writer *w, struct hf_write *wr,
                                 const struct hf_hash *content, bool *seen)
{
    struct hf_answered a;
    enum hf_err err = hf_state_request_get(w->state, wr->request_id, &a);
    *seen = err == HF_OK;
    if (err == HF_NOTFOUND) {
        return HF_OK;
    }
    if (err != HF_OK) {
        return failed(w, hf_state_position(w->state).seq, err, "look up request");
    }
    wr->result.seq = a.seq;
    if (hf_hash_eq(&a.content_hash, content)) {
        wr->result.repeated = true;
    } else {
        wr->result.code = HF_EXISTS;
        wr->result.text = "the request id was used for another request";
    }
    return HF_OK;
}

/* IFSEQ; *met is false when the write is refused. */
static enum hf_err condition_check(struct hf_core_writer *w, struct hf_write *wr, bool *met)
{
    *met = true;
    if (wr->has_ifseq && wr->ifseq < w->head.delta_floor) {
        wr->result.code = HF_STALE;
        wr->result.text = "the condition is older than what deleted keys are remembered for";
        *met = false;
    }
    for (uint32_t i = 0; wr->has_ifseq && *met && i < wr->change_count; i++) {
        struct hf_stored old;
        enum hf_err err = hf_state_get(w->state, wr->change[i].key, true, &old);
        if (err == HF_OK && old.seq > wr->ifseq) {
            wr->result.code = HF_CONFLICT;
            wr->result.text = "a key changed since";
            wr->result.changed = &wr->change[i];
            wr->result.changed_at = old.seq;
            *met = false;
        } else if (err != HF_OK && err != HF_NOTFOUND) {
            return failed(w, hf_state_position(w->state).seq, err, "look up");
        }
    }
    wr->result.seq = *met ? SEQ_PENDING : hf_state_position(w->state).seq;
    return HF_OK;
}

static enum hf_err write_insert(struct hf_core_writer *w, struct hf_write *wr,
                                const struct hf_hash *content)
{
    struct hf_batch_builder *b = w->builder;
    uint32_t before = b->count;
    b->first = b->first == NULL ? wr : b->first;
    enum hf_err err = HF_OK;
    for (uint32_t i = 0; i < wr->change_count && err == HF_OK; i++) {
        err = change_take(w, wr, i);
    }
    if (err != HF_OK || !audited(wr)) {
        return err;
    }
    struct hf_meta m = {.request_id = wr->request_id, .author = wr->author, .reason = wr->reason};
    b->raw_bytes += hf_meta_bytes_max(&m);
    b->trail[b->trail_count++] = (struct trail){
        .write = wr, .content = *content, .entry_first = before, .entry_count = b->count - before};
    if (wr->request_id.len == 0) {
        return HF_OK;
    }
    b->id_count++;
    /* Now, not when the batch is closed: a repetition inside this very batch must find it, and with
     * an id in it the batch is certain to be made. */
    struct hf_answered a = {.seq = hf_state_position(w->state).seq + 1, .content_hash = *content};
    err = hf_state_request_put(w->state, wr->request_id, &a);
    return err == HF_OK ? HF_OK : failed(w, a.seq, err, "remember request");
}

static enum hf_err write_take(struct hf_core_writer *w, struct hf_write *wr)
{
    struct hf_hash content = {{0}};
    enum hf_err err = HF_OK;
    bool seen = false;
    if (audited(wr)) {
        content = content_hash(w, wr);
    }
    if (wr->request_id.len > 0) {
        err = request_check(w, wr, &content, &seen);
    }
    if (err != HF_OK || seen) {
        return err;
    }
    if (!batch_takes(w->builder, wr)) {
        err = batch_close(w, wr);
        if (err != HF_OK) {
            return err;
        }
    }
    bool met;
    err = condition_check(w, wr, &met);
    return err == HF_OK && met ? write_insert(w, wr, &content) : err;
}

/* ---- the group ---- */

static enum hf_err group_apply(struct hf_core_writer *w, struct hf_group *g)
{
    struct hf_batch_builder *b = w->builder;
    b->group = g;
    memcpy(&b->hash_seed, g->seed, sizeof(b->hash_seed));
    g->change_count = 0;
    w->frames.len = 0;
    w->place_count = 0;
    batch_reset(b);
    enum hf_err err = hf_state_begin(w->state);
    if (err != HF_OK) {
        return failed(w, w->head.at.seq, err, "begin");
    }
    struct hf_write *wr = g->first;
    for (uint32_t i = 0; i < g->write_count; i++, wr = wr->next) {
        wr->result = (struct hf_write_result){.code = HF_OK};
        err = write_take(w, wr);
        if (err != HF_OK) {
            return err;
        }
    }
    err = batch_close(w, wr);
    return err == HF_OK ? dictionary_make(w) : err;
}

uint32_t hf_core_writer_sign(void *ctx, hf_seq seq, uint8_t *payload, size_t len)
{
    struct hf_core_writer *w = ctx;
    HF_ASSERT(w->place_count > 0 && seq - w->place[0].seq < w->place_count);
    uint32_t at = hf_core_writer_frame_sign(w, seq, payload, len);
    memcpy(w->frames.data + w->place[seq - w->place[0].seq].at + at, payload + at,
           HF_SIGNATURE_BYTES);
    return at;
}

static enum hf_err group_sync(struct hf_core_writer *w)
{
    enum hf_err err = HF_OK;
    for (uint32_t i = 0; i < w->place_count && err == HF_OK; i++) {
        const struct hf_frame_place *p = &w->place[i];
        err = hf_changelog_append_unsigned(w->log, p->seq,
                                           hf_slice_of(w->frames.data + p->at, p->len));
    }
    /* Also after a failed append: what is buffered becomes durable or is dropped, and recovery then
     * finds the same. */
    enum hf_err synced = w->place_count > 0 ? hf_changelog_sync(w->log) : HF_OK;
    err = err == HF_OK ? synced : err;
    if (err != HF_OK) {
        return failed(w, hf_state_position(w->state).seq, err, "append");
    }
    w->head.at = hf_state_position(w->state);
    return HF_OK;
}

enum hf_err hf_core_writer_group(struct hf_core_writer *w, struct hf_group *g)
{
    w->place_count = 0;
    enum hf_err err = w->broken ? hf_core_writer_recover(w) : HF_OK;
    if (err != HF_OK) {
        return err;
    }
    err = group_apply(w, g);
    if (err == HF_MAP_FULL) {
        hf_state_abort(w->state);
        w->broken = true;
        err = hf_state_grow(w->state);
        err = err == HF_OK ? hf_core_writer_recover(w) : failed(w, w->head.at.seq, err, "grow");
        err = err == HF_OK ? group_apply(w, g) : err;
    }
    if (err == HF_OK) {
        err = group_sync(w);
    }
    if (err != HF_OK) {
        w->broken = true;
        w->lost = w->lost || err == HF_IO;
        w->place_count = 0;
    }
    return err;
}
