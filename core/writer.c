/*
 * writer.c - commit, recovery and durable facts of the writer lane.
 *
 * Recovery is one function for a crash and for a failed append (G17): abort, reopen if the device
 * failed, put the facts since the last commit back, and apply every frame that the log holds above
 * the committed state, checking epoch, seq, chain, body hash, seal and state digest again. So a
 * fault in memory or on disk shows as HF_CORRUPT or HF_DIGEST here, and the core fails closed
 * (G15). It makes the signatures again that are missing in the log: of a frame that passes those
 * checks, and of one that the state had and its chain of hashes leads to.
 *
 * A fact is appended and synced first and becomes an object of the state second. If the second
 * fails, the fact still stands: it is remembered and put again by the recovery that then comes
 * first.
 *
 * The order at a commit is state, then mark: the mark never names what is not committed. The log
 * may lose what is committed.
 */
#include "core/writer.h"

#include "core/mark.h"

#include <stdlib.h>

#define GROW_TRIES 8
/* One order must not hold the lane for long; the rest is done at the next commit. */
#define COLLECT_STEP 2000u

/* ---- growing memory ---- */

enum hf_err hf_bytes_reserve(struct hf_bytes *b, size_t n)
{
    if (b->cap - b->len >= n) {
        return HF_OK;
    }
    size_t cap = b->cap == 0 ? 4096 : b->cap;
    while (cap - b->len < n) {
        cap *= 2;
    }
    uint8_t *data = realloc(b->data, cap);
    if (data == NULL) {
        return HF_NOMEM;
    }
    b->data = data;
    b->cap = cap;
    return HF_OK;
}

void hf_bytes_free(struct hf_bytes *b)
{
    free(b->data);
    memset(b, 0, sizeof(*b));
}

/* ---- facts ---- */

enum hf_err hf_core_writer_remember(struct hf_core_writer *w, struct hf_slice fact)
{
    uint32_t len = (uint32_t)fact.len;
    HF_ASSERT(fact.len <= HF_FACT_MAX);
    enum hf_err err = hf_bytes_reserve(&w->facts, sizeof(len) + fact.len);
    if (err != HF_OK) {
        return err;
    }
    memcpy(w->facts.data + w->facts.len, &len, sizeof(len));
    memcpy(w->facts.data + w->facts.len + sizeof(len), fact.data, fact.len);
    w->facts.len += sizeof(len) + fact.len;
    return HF_OK;
}

static enum hf_err object_put(struct hf_core_writer *w, struct hf_slice bytes)
{
    struct hf_fact f;
    uint8_t name[HF_FACT_NAME_MAX];
    enum hf_err err = hf_fact_decode(bytes, &f);
    if (err != HF_OK) {
        return HF_CORRUPT;
    }
    return hf_state_object_put(w->state, hf_fact_name(&f, name), bytes);
}

static enum hf_err objects_put(struct hf_core_writer *w)
{
    size_t at = 0;
    while (at < w->facts.len) {
        uint32_t len;
        memcpy(&len, w->facts.data + at, sizeof(len));
        enum hf_err err = object_put(w, hf_slice_of(w->facts.data + at + sizeof(len), len));
        if (err != HF_OK) {
            return err;
        }
        at += sizeof(len) + len;
    }
    return HF_OK;
}

/* Appends the facts; the bytes of those that were are also remembered, for the state's objects. */
static enum hf_err facts_append(struct hf_core_writer *w, const struct hf_fact *facts,
                                uint32_t count)
{
    uint8_t bytes[HF_FACT_MAX];
    for (uint32_t i = 0; i < count; i++) {
        struct hf_writer out;
        hf_writer_init(&out, bytes, sizeof(bytes));
        hf_fact_encode(&facts[i], &out);
        HF_ASSERT(!out.failed);
        size_t before = w->facts.len;
        enum hf_err err = hf_core_writer_remember(w, hf_writer_bytes(&out));
        if (err == HF_OK) {
            err = hf_changelog_append(w->log, HF_RECORD_FACT, hf_changelog_last(w->log),
                                      hf_writer_bytes(&out));
        }
        if (err != HF_OK) {
            w->facts.len = before;
            return err;
        }
    }
    return HF_OK;
}

enum hf_err hf_core_writer_record(struct hf_core_writer *w, const struct hf_fact *facts,
                                  uint32_t count)
{
    enum hf_err err = w->broken ? hf_core_writer_recover(w) : HF_OK;
    if (err != HF_OK) {
        return err;
    }
    size_t before = w->facts.len;
    err = facts_append(w, facts, count);
    /* Also after a failed append: the log has no other way to let go of what it buffered. */
    enum hf_err synced = hf_changelog_sync(w->log);
    err = err == HF_OK ? synced : err;
    if (err != HF_OK) {
        w->broken = w->broken || synced != HF_OK; /* the log may have lost signatures with it */
        w->facts.len = synced == HF_OK ? w->facts.len : before;
        return hf_error_set(&w->error, err, "record facts seq=%llu: %s",
                            (unsigned long long)w->head.at.seq, hf_err_text(err));
    }
    for (uint32_t i = 0; i < count; i++) {
        if (facts[i].type == HF_FACT_CONTENT_KEY) {
            hf_keyring_add(&w->keys, &facts[i].content_key);
        }
    }
    for (size_t at = before; at < w->facts.len && !w->broken;) {
        uint32_t len;
        memcpy(&len, w->facts.data + at, sizeof(len));
        w->broken = object_put(w, hf_slice_of(w->facts.data + at + sizeof(len), len)) != HF_OK;
        at += sizeof(len) + len;
    }
    return HF_OK;
}

/* ---- replay ---- */

static enum hf_err corrupt(struct hf_core_writer *w, hf_seq seq, enum hf_err code, const char *what)
{
    return hf_error_set(&w->error, code, "replay seq=%llu: %s", (unsigned long long)seq, what);
}

/* Checks a frame of the log against the position and opens its body into w->raw. */
static enum hf_err frame_open(struct hf_core_writer *w, const struct hf_position *at,
                              struct hf_frame *f, struct hf_body *body)
{
    hf_seq seq = at->seq + 1;
    if (f->h.seq != seq || !hf_id_eq(&f->h.epoch_id, &at->epoch_id) ||
        !hf_hash_eq(&f->h.prev, &at->chain)) {
        return corrupt(w, seq, HF_CORRUPT, "the frame does not continue the chain");
    }
    if (f->body.data == NULL || !hf_frame_body_matches(f)) {
        return corrupt(w, seq, HF_CORRUPT, "the body is not what the header says");
    }
    const struct hf_content_key *key = hf_keyring_find(&w->keys, f->h.content_key_id);
    if (key == NULL) {
        return corrupt(w, seq, HF_CORRUPT, "its content key is not kept");
    }
    struct hf_writer scratch;
    struct hf_writer raw;
    hf_writer_init(&scratch, w->scratch, w->scratch_cap);
    hf_writer_init(&raw, w->raw, HF_BATCH_RAW_MAX);
    enum hf_err err =
        hf_dictionaries_unseal(w->dictionaries, &f->h, f->body, &key->key, w->dctx, &scratch, &raw);
    if (err == HF_OK) {
        err = hf_body_open(hf_writer_bytes(&raw), f->h.change_count, body);
    }
    return err == HF_OK ? HF_OK : corrupt(w, seq, HF_CORRUPT, "the body does not open");
}

/* Request ids are part of what a frame did: a client's retry after a crash finds its first answer.
 */
static enum hf_err requests_replay(struct hf_core_writer *w, hf_seq seq, struct hf_body *body)
{
    struct hf_meta m;
    while (hf_body_next_meta(body, &m)) {
        if (m.request_id.len == 0) {
            continue;
        }
        struct hf_answered a = {.seq = seq, .content_hash = m.content_hash};
        enum hf_err err = hf_state_request_put(w->state, m.request_id, &a);
        if (err != HF_OK) {
            return err;
        }
    }
    return HF_OK;
}

enum hf_err hf_core_writer_dictionary(struct hf_core_writer *w, hf_seq seq, struct hf_slice raw,
                                      struct hf_slice frame)
{
    struct hf_dictionary *d;
    uint8_t name[HF_DICTIONARY_NAME_BYTES];
    enum hf_err err = hf_dictionary_new(seq, raw, frame, &d);
    if (err == HF_OK) {
        hf_dictionaries_add(w->dictionaries, d);
        err = hf_state_object_put(w->state, hf_dictionary_name(seq, name), frame);
    }
    return err;
}

/* A frame of the log, in w->frame. */
struct logged {
    struct hf_id stream;
    struct hf_frame f;
    size_t len;
    bool is_signed;
};

static enum hf_err frame_read(struct hf_core_writer *w, hf_seq seq, struct logged *l)
{
    enum hf_err err = hf_changelog_read_unsigned(w->log, seq, w->frame, HF_FRAME_MESSAGE_MAX,
                                                 &l->len, &l->is_signed);
    if (err != HF_OK) {
        return corrupt(w, seq, err, "the log cannot be read there");
    }
    err = hf_frame_decode(hf_slice_of(w->frame, l->len), &l->stream, &l->f);
    return err == HF_OK ? HF_OK : corrupt(w, seq, HF_CORRUPT, "not a frame");
}

uint32_t hf_core_writer_frame_sign(struct hf_core_writer *w, hf_seq seq, uint8_t *message,
                                   size_t len)
{
    struct hf_signature sig;
    uint32_t at = hf_frame_sign(message, len, w->id->secret, &sig);
    if (seq == hf_state_position(w->state).seq) {
        hf_state_sign(w->state, &sig);
    }
    return at;
}

/* Of a frame that was read and is proven: gives it the signature that it lacks. */
static enum hf_err frame_complete(struct hf_core_writer *w, hf_seq seq, const struct logged *l)
{
    if (l->is_signed) {
        return HF_OK;
    }
    uint32_t at = hf_core_writer_frame_sign(w, seq, w->frame, l->len);
    enum hf_err err = hf_changelog_sign_again(w->log, seq, w->frame, at);
    return err == HF_OK ? HF_OK : corrupt(w, seq, err, "its signature cannot be written");
}

static enum hf_err frame_replay(struct hf_core_writer *w, uint32_t *changes)
{
    struct hf_position at = hf_state_position(w->state);
    hf_seq seq = at.seq + 1;
    struct logged l;
    enum hf_err err = frame_read(w, seq, &l);
    if (err != HF_OK) {
        return err;
    }
    struct hf_body body;
    err = frame_open(w, &at, &l.f, &body);
    if (err != HF_OK) {
        return err;
    }
    err = hf_state_apply_batch(w->state, &l.f, &body);
    if (err == HF_OK) {
        err = requests_replay(w, seq, &body);
    }
    if (err == HF_OK && l.f.h.kind == HF_BATCH_DICTIONARY) {
        err = hf_core_writer_dictionary(w, seq, hf_slice_of(w->raw, l.f.h.raw_bytes),
                                        hf_slice_of(w->frame, l.len));
    }
    *changes += l.f.h.change_count;
    return err == HF_OK ? frame_complete(w, seq, &l) : corrupt(w, seq, err, hf_err_text(err));
}

/* The facts stay remembered over a commit in the middle: a failure after it puts them again. */
static enum hf_err replay(struct hf_core_writer *w)
{
    enum hf_err err = hf_state_begin(w->state);
    if (err == HF_OK) {
        err = objects_put(w);
    }
    if (err != HF_OK) {
        return corrupt(w, 0, err, hf_err_text(err));
    }
    hf_seq last = hf_changelog_last(w->log);
    struct hf_position at = hf_state_position(w->state);
    hf_dictionaries_cut(w->dictionaries, at.seq); /* those above come again, if the log has them */
    if (at.seq > last || at.seq + 1 < hf_changelog_first(w->log)) {
        return corrupt(w, at.seq, HF_CORRUPT, "the log does not reach to the committed state");
    }
    uint32_t changes = 0;
    while (err == HF_OK && hf_state_position(w->state).seq < last) {
        err = frame_replay(w, &changes);
        if (err == HF_OK && changes >= w->cfg->commit_changes) {
            changes = 0;
            err = hf_state_commit(w->state);
            err = err == HF_OK ? hf_state_begin(w->state) : err;
        }
    }
    return err;
}

/* Gives frame seq its signature if it lacks it. *chain: the hash of its header, then of the one
 * that it follows. */
static enum hf_err frame_sign_again(struct hf_core_writer *w, hf_seq seq, struct hf_hash *chain)
{
    struct logged l;
    enum hf_err err = frame_read(w, seq, &l);
    if (err != HF_OK) {
        return err;
    }
    struct hf_hash hash = hf_chain_hash(l.f.header);
    if (!hf_hash_eq(&hash, chain) || !hf_id_eq(&l.stream, &w->genesis.stream) ||
        !hf_frame_body_matches(&l.f)) {
        return corrupt(w, seq, HF_CORRUPT, "it is unsigned, and not what the chain has there");
    }
    *chain = l.f.h.prev;
    return frame_complete(w, seq, &l);
}

/* Of frames that the state had. From the head of the log back along the chain: a frame is signed
 * because the one after it names its hash, or the state does, not for standing in the log. */
static enum hf_err sign_again(struct hf_core_writer *w)
{
    hf_seq from = hf_changelog_unsigned(w->log);
    struct hf_hash chain = hf_state_position(w->state).chain;
    enum hf_err err = HF_OK;
    for (hf_seq seq = hf_changelog_last(w->log); from != 0 && seq >= from && err == HF_OK; seq--) {
        err = frame_sign_again(w, seq, &chain);
    }
    if (err == HF_OK) {
        hf_changelog_signed(w->log);
    }
    return err;
}

/* One that went with a failed group is none. */
static void dictionary_look(struct hf_core_writer *w)
{
    hf_seq seq[HF_DICTIONARIES_MAX];
    uint32_t count = hf_dictionaries_list(w->dictionaries, seq);
    hf_seq newest = count > 0 ? seq[count - 1] : 0;
    w->head.gain_percent = newest == w->head.dictionary ? w->head.gain_percent : 0;
    w->head.dictionary = newest;
}

enum hf_err hf_core_writer_recover(struct hf_core_writer *w)
{
    w->broken = true;
    hf_state_abort(w->state);
    enum hf_err err = HF_OK;
    if (w->lost) {
        err = hf_state_reopen(w->state, &w->error);
        if (err != HF_OK) {
            return err;
        }
        w->lost = false;
    }
    for (int i = 0; i < GROW_TRIES; i++) {
        err = replay(w);
        err = err == HF_OK ? sign_again(w) : err;
        if (err != HF_MAP_FULL) {
            break;
        }
        hf_state_abort(w->state);
        err = hf_state_grow(w->state);
        if (err != HF_OK) {
            break;
        }
    }
    if (err != HF_OK) {
        w->lost = err == HF_IO;
        hf_state_abort(w->state);
        return err;
    }
    w->head.at = hf_state_position(w->state);
    w->broken = false;
    dictionary_look(w);
    return hf_core_writer_look(w);
}

/* ---- commit ---- */

enum hf_err hf_core_writer_look(struct hf_core_writer *w)
{
    struct hf_applied a;
    enum hf_err err = hf_view_renew(w->view);
    if (err == HF_OK) {
        hf_view_applied(w->view, &a);
        w->head.committed = a.at.seq;
        w->head.delta_floor = a.delta_floor;
        w->head.live_count = a.live_count;
    }
    hf_view_reset(w->view);
    return err;
}

struct hf_keyring_needs hf_core_writer_needs(const struct hf_core_writer *w)
{
    struct hf_keyring_needs n = {.first = hf_changelog_first(w->log)};
    n.dictionary_count = hf_dictionaries_list(w->dictionaries, n.dictionary);
    return n;
}

static bool key_is_kept(const struct hf_core_writer *w, struct hf_slice fact)
{
    struct hf_fact f;
    return hf_fact_decode(fact, &f) != HF_OK || f.type != HF_FACT_CONTENT_KEY ||
           hf_keyring_find(&w->keys, f.content_key.id) != NULL;
}

static bool dictionary_is_kept(const struct hf_core_writer *w, struct hf_slice frame)
{
    struct hf_id stream;
    struct hf_frame f;
    if (hf_frame_decode(frame, &stream, &f) != HF_OK) {
        return true;
    }
    struct hf_dictionary *d = hf_dictionaries_at(w->dictionaries, f.h.seq);
    hf_dictionary_unuse(d);
    return d != NULL;
}

/* Deletes the objects that memory does not keep. All that are there are asked, not those that just
 * went: when a commit fails, its deletions are undone and memory goes on without them. */
static enum hf_err objects_tidy(struct hf_core_writer *w, const char *prefix,
                                bool (*is_kept)(const struct hf_core_writer *, struct hf_slice))
{
    struct hf_slice name = {NULL, 0};
    struct hf_slice bytes;
    enum hf_err err = hf_view_renew(w->view);
    while (err == HF_OK &&
           hf_view_next_object(w->view, hf_slice_str(prefix), name, &name, &bytes) == HF_OK) {
        if (!is_kept(w, bytes)) {
            err = hf_state_object_del(w->state, name);
            err = err == HF_NOTFOUND ? HF_OK : err;
        }
    }
    hf_view_reset(w->view);
    return err;
}

/* Old tombstones, chain hashes below the delta floor, dictionaries that no frame of the log can use
 * any more, and content keys that neither needs. */
static enum hf_err tidy(struct hf_core_writer *w, hf_seq collect)
{
    bool again;
    enum hf_err err = HF_OK;
    if (collect > w->head.delta_floor) {
        err = hf_state_collect(w->state, collect, COLLECT_STEP, &again);
        if (err == HF_OK) {
            err = hf_state_forget_chain(w->state, w->head.delta_floor, COLLECT_STEP);
        }
    }
    hf_dictionaries_trim(w->dictionaries, hf_changelog_first(w->log));
    struct hf_keyring_needs needs = hf_core_writer_needs(w);
    hf_keyring_drop(&w->keys, &needs);
    err = err == HF_OK ? objects_tidy(w, HF_DICTIONARY_PREFIX, dictionary_is_kept) : err;
    return err == HF_OK ? objects_tidy(w, HF_FACT_CONTENT_KEY_PREFIX, key_is_kept) : err;
}

static enum hf_err commit_once(struct hf_core_writer *w, const struct hf_commit *c)
{
    enum hf_err err = w->broken ? hf_core_writer_recover(w) : HF_OK;
    if (err == HF_OK) {
        err = hf_state_begin(w->state);
    }
    if (err == HF_OK) {
        err = tidy(w, c->collect);
    }
    if (err == HF_OK && c->object.len > 0) {
        err = hf_state_object_put(w->state, c->object_name, c->object);
    }
    return err == HF_OK ? hf_state_commit(w->state) : err;
}

enum hf_err hf_core_writer_commit(struct hf_core_writer *w, const struct hf_commit *c)
{
    enum hf_err err = commit_once(w, c);
    if (err == HF_MAP_FULL) {
        hf_state_abort(w->state);
        w->broken = true;
        err = hf_state_grow(w->state);
        err = err == HF_OK ? commit_once(w, c) : err;
    }
    if (err != HF_OK) {
        w->broken = true;
        w->lost = w->lost || err == HF_IO;
        return hf_error_set(&w->error, err, "commit seq=%llu: %s",
                            (unsigned long long)w->head.at.seq, hf_err_text(err));
    }
    w->facts.len = 0;
    err = hf_core_writer_look(w);
    if (err != HF_OK) {
        return err;
    }
    if (c->mark) {
        /* A mark that cannot be written finds less later; it is no reason to refuse service now. */
        (void)hf_mark_write(w->mark_path, &w->head.at);
    }
    return HF_OK;
}
