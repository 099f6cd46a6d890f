/*
 * open.c - opening a stream at the core: create it, or recover it, or refuse it with a sentence.
 *
 *   DIR/state   the keyed state; it follows lazily, and what it lacks is replayed from the log
 *   DIR/log     the changelog: facts and frames, synced before anyone is answered
 *   mark        the high-water mark, outside DIR: a copy of DIR that was put back does not bring it
 * along
 *
 * Invariant (G13, G15): nothing is guessed. A state without its log, another core's genesis,
 * another stream's name or a newer format is refused. A directory that was rolled back is opened,
 * because its data may be read, but fenced: it must not reuse sequence numbers.
 *
 * Facts come from the state's objects first and from the log second; these are in order and
 * absolute, so the newest wins. A new stream's genesis and first content key are synced to the log
 * before the state has them: a crash in between leaves a log from which the state is made.
 */
#include "core/writer.h"

#include "core/mark.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zstd.h>

#define PATH_MAX_BYTES 1024u

struct opening {
    struct hf_core_writer *w;
    const struct hf_world *world;
    struct hf_registry *registry;
    struct hf_opened *out;
    struct hf_error *e;
    struct hf_hash genesis_chain;
    uint8_t evidence[HF_HEADER_MAX];
    size_t evidence_bytes;
    struct hf_signature evidence_signature;
};

/* ---- facts ---- */

static enum hf_err genesis_keep(struct hf_core_writer *w, struct hf_slice signed_bytes)
{
    w->genesis_signed.len = 0;
    enum hf_err err = hf_bytes_reserve(&w->genesis_signed, signed_bytes.len);
    if (err == HF_OK) {
        memcpy(w->genesis_signed.data, signed_bytes.data, signed_bytes.len);
        w->genesis_signed.len = signed_bytes.len;
    }
    return err;
}

static enum hf_err fact_take(struct opening *o, struct hf_slice bytes)
{
    struct hf_fact f;
    enum hf_err err = hf_fact_decode(bytes, &f);
    if (err != HF_OK) {
        return hf_error_set(o->e, err == HF_VERSION ? HF_MISMATCH : HF_CORRUPT, "a fact %s",
                            err == HF_VERSION ? "is of a newer version" : "is damaged");
    }
    switch (f.type) {
    case HF_FACT_GENESIS:
        err = genesis_keep(o->w, f.genesis);
        break;
    case HF_FACT_BOOT:
        o->out->boot = f.boot > o->out->boot ? f.boot : o->out->boot;
        break;
    case HF_FACT_EVIDENCE:
        memcpy(o->evidence, f.evidence.header.data, f.evidence.header.len);
        o->evidence_bytes = f.evidence.header.len;
        o->evidence_signature = f.evidence.signature;
        break;
    case HF_FACT_CONTENT_KEY:
        hf_keyring_add(&o->w->keys, &f.content_key);
        err = hf_registry_learn(o->registry, &f);
        break;
    case HF_FACT_EDGE:
    case HF_FACT_TOKEN:
        err = hf_registry_learn(o->registry, &f);
        break;
    }
    return err == HF_OK ? HF_OK : hf_error_set(o->e, err, "too many edges or tokens");
}

static enum hf_err objects_take(struct opening *o)
{
    struct hf_view *v = o->w->view;
    enum hf_err err = hf_view_renew(v);
    for (size_t i = 0; i < HF_FACT_PREFIXES && err == HF_OK; i++) {
        struct hf_slice after = {NULL, 0};
        struct hf_slice bytes;
        struct hf_slice prefix = hf_slice_str(hf_fact_prefix[i]);
        while ((err = hf_view_next_object(v, prefix, after, &after, &bytes)) == HF_OK) {
            err = fact_take(o, bytes);
            if (err != HF_OK) {
                hf_view_reset(v);
                return err;
            }
        }
        err = err == HF_NOTFOUND ? HF_OK : err;
    }
    hf_view_reset(v);
    return err == HF_OK ? HF_OK : hf_error_set(o->e, err, "read objects: %s", hf_err_text(err));
}

/* A dictionary that the state keeps: opened as any frame, though its seq is long past. */
static enum hf_err dictionary_take(struct hf_core_writer *w, struct hf_slice message)
{
    struct hf_id stream;
    struct hf_frame f;
    struct hf_dictionary *d;
    struct hf_writer scratch;
    struct hf_writer raw;
    hf_writer_init(&scratch, w->scratch, w->scratch_cap);
    hf_writer_init(&raw, w->raw, HF_BATCH_RAW_MAX);
    if (hf_frame_decode(message, &stream, &f) != HF_OK || f.h.kind != HF_BATCH_DICTIONARY ||
        !hf_header_verify(f.header, &f.signature, &w->id->public_key) ||
        !hf_frame_body_matches(&f)) {
        return HF_CORRUPT;
    }
    const struct hf_content_key *key = hf_keyring_find(&w->keys, f.h.content_key_id);
    if (key == NULL) {
        return HF_OK; /* left over; if the log needs it after all, its replay says so */
    }
    enum hf_err err = hf_body_unseal(&f.h, f.body, &key->key, w->dctx, &scratch, &raw);
    err = err == HF_OK ? hf_dictionary_new(f.h.seq, hf_writer_bytes(&raw), message, &d) : err;
    if (err == HF_OK) {
        hf_dictionaries_add(w->dictionaries, d);
        w->head.dictionary = f.h.seq;
    }
    return err;
}

static enum hf_err dictionaries_take(struct opening *o)
{
    struct hf_core_writer *w = o->w;
    struct hf_slice prefix = hf_slice_str(HF_DICTIONARY_PREFIX);
    struct hf_slice after = {NULL, 0};
    struct hf_slice bytes;
    enum hf_err err = hf_view_renew(w->view);
    while (err == HF_OK &&
           (err = hf_view_next_object(w->view, prefix, after, &after, &bytes)) == HF_OK) {
        err = dictionary_take(w, bytes);
    }
    hf_view_reset(w->view);
    return err == HF_NOTFOUND
               ? HF_OK
               : hf_error_set(o->e, err, "a dictionary of %s: %s", w->cfg->dir, hf_err_text(err));
}

static enum hf_err on_log_record(void *ctx, enum hf_record_type type, hf_seq seq,
                                 struct hf_slice payload)
{
    struct opening *o = ctx;
    (void)seq;
    if (type != HF_RECORD_FACT) {
        return HF_OK; /* frames are replayed once all facts are known */
    }
    if (payload.len > HF_FACT_MAX) {
        return hf_error_set(o->e, HF_CORRUPT, "a fact is too long");
    }
    enum hf_err err = fact_take(o, payload);
    return err == HF_OK ? hf_core_writer_remember(o->w, payload) : err;
}

/* ---- creating ---- */

static enum hf_err stream_create(struct opening *o)
{
    struct hf_core_writer *w = o->w;
    if (!hf_name_valid(hf_slice_str(w->cfg->stream))) {
        return hf_error_set(o->e, HF_ARG, "'%s' is not a stream name", w->cfg->stream);
    }
    struct hf_genesis g = {.epoch = 1,
                           .root = w->id->public_key,
                           .key_list_version = 1,
                           .signer_count = 1,
                           .algorithms = HF_ALGORITHMS_V1};
    g.signer[0] = (struct hf_signer){.id = HF_SIGNER_ID,
                                     .key = w->id->public_key,
                                     .role = HF_SIGNER_PUBLISH,
                                     .from = 1,
                                     .to = UINT64_MAX};
    snprintf(g.name, sizeof(g.name), "%s", w->cfg->stream);
    o->world->random(o->world->ctx, g.stream.b, HF_ID_BYTES);
    o->world->random(o->world->ctx, g.epoch_id.b, HF_ID_BYTES);
    struct hf_lthash zero;
    hf_lthash_clear(&zero);
    g.digest = hf_lthash_digest(&zero);

    uint8_t bytes[HF_GENESIS_MAX];
    struct hf_writer signed_bytes;
    hf_writer_init(&signed_bytes, bytes, sizeof(bytes));
    enum hf_err err = hf_genesis_sign(&g, w->id->secret, &signed_bytes);
    if (err != HF_OK) {
        return hf_error_set(o->e, err, "sign the genesis: %s", hf_err_text(err));
    }
    /* The genesis last: where it is whole after a crash, so is the key before it. */
    struct hf_fact f[2] = {
        {.type = HF_FACT_CONTENT_KEY, .content_key = {.id = 1, .from = 1}},
        {.type = HF_FACT_GENESIS, .genesis = hf_writer_bytes(&signed_bytes)},
    };
    o->world->random(o->world->ctx, f[0].content_key.key.b, HF_KEY_BYTES);
    err = hf_core_writer_record(w, f, 2);
    if (err != HF_OK) {
        return hf_error_set(o->e, err, "%s", w->error.text);
    }
    hf_registry_learn(o->registry, &f[0]);
    /* The objects that record put are put again by the recovery, behind hf_state_genesis. */
    hf_state_abort(w->state);
    err = genesis_keep(w, f[1].genesis);
    return err == HF_OK ? HF_OK : hf_error_set(o->e, err, "%s", hf_err_text(err));
}

/* ---- checks ---- */

static enum hf_err genesis_check(struct opening *o)
{
    struct hf_core_writer *w = o->w;
    struct hf_slice bytes = hf_slice_of(w->genesis_signed.data, w->genesis_signed.len);
    enum hf_err err = hf_genesis_open(bytes, &w->id->public_key, &w->genesis, &o->genesis_chain);
    if (err == HF_AUTH) {
        return hf_error_set(o->e, HF_MISMATCH, "%s belongs to another core key", w->cfg->dir);
    }
    if (err != HF_OK) {
        return hf_error_set(o->e, err == HF_MALFORMED ? HF_CORRUPT : HF_MISMATCH,
                            "the genesis in %s: %s", w->cfg->dir, hf_err_text(err));
    }
    if (strcmp(w->genesis.name, w->cfg->stream) != 0) {
        return hf_error_set(o->e, HF_MISMATCH, "%s holds the stream '%s', not '%s'", w->cfg->dir,
                            w->genesis.name, w->cfg->stream);
    }
    const struct hf_key *signer = hf_genesis_signer(&w->genesis, HF_SIGNER_ID, 1);
    if (signer == NULL || !hf_key_eq(signer, &w->id->public_key)) {
        return hf_error_set(o->e, HF_MISMATCH, "%s is signed by another key", w->cfg->dir);
    }
    return HF_OK;
}

/* A state that has no position yet gets that of the genesis. */
static enum hf_err genesis_set(struct opening *o)
{
    static const struct hf_id none;
    struct hf_core_writer *w = o->w;
    enum hf_err err = hf_state_begin(w->state);
    struct hf_position at = {.seq = 0};
    if (err == HF_OK) {
        at = hf_state_position(w->state);
    }
    if (err == HF_OK && hf_id_eq(&at.epoch_id, &none)) {
        at = (struct hf_position){.epoch_id = w->genesis.epoch_id,
                                  .seq = 0,
                                  .chain = o->genesis_chain,
                                  .digest = w->genesis.digest};
        err = hf_state_genesis(w->state, &at);
        err = err == HF_OK ? hf_state_commit(w->state) : err;
    }
    if (err != HF_OK) {
        return hf_error_set(o->e, err, "begin the state: %s", hf_err_text(err));
    }
    hf_state_abort(w->state);
    return HF_OK;
}

/* Compares a position that something outside remembers with this history; says why it is no part.
 */
static const char *contradicts(struct opening *o, const struct hf_position *p)
{
    struct hf_core_writer *w = o->w;
    if (!hf_id_eq(&p->epoch_id, &w->genesis.epoch_id)) {
        return "names another epoch";
    }
    if (p->seq > w->head.at.seq) {
        return "is ahead of this data";
    }
    struct hf_hash chain;
    enum hf_err err = hf_view_renew(w->view);
    if (err == HF_OK) {
        err = hf_view_chain(w->view, p->seq, &chain);
    }
    hf_view_reset(w->view);
    return err == HF_OK && !hf_hash_eq(&chain, &p->chain) ? "has another history" : NULL;
}

static void evidence_check(struct opening *o)
{
    struct hf_header h;
    struct hf_slice bytes = hf_slice_of(o->evidence, o->evidence_bytes);
    if (bytes.len == 0 || hf_header_decode(bytes, &h) != HF_OK ||
        !hf_header_verify(bytes, &o->evidence_signature, &o->w->id->public_key)) {
        return;
    }
    struct hf_position p = {.epoch_id = h.epoch_id, .seq = h.seq, .chain = hf_chain_hash(bytes)};
    const char *why = contradicts(o, &p);
    if (why != NULL) {
        snprintf(o->out->fenced, sizeof(o->out->fenced),
                 "an edge proved batch %llu of this core, which %s: this data was rolled back",
                 (unsigned long long)h.seq, why);
    }
}

/* It is replaced without a sync, so a power cut may leave an empty one: no reason to refuse
 * service, and no reason to throw away what somebody may still read. */
static void mark_check(struct opening *o)
{
    struct hf_position p;
    enum hf_err err = hf_mark_read(o->w->mark_path, &p);
    if (err == HF_NOTFOUND) {
        return;
    }
    if (err != HF_OK) {
        bool kept = hf_mark_set_aside(o->w->mark_path) == HF_OK;
        snprintf(o->out->note, sizeof(o->out->note),
                 "high-water mark %s cannot be read (%s)%s: should this data have been rolled "
                 "back, only an edge can tell",
                 o->w->mark_path, hf_err_text(err), kept ? ", kept with .unreadable" : "");
        return;
    }
    const char *why = contradicts(o, &p);
    if (why != NULL) {
        snprintf(o->out->fenced, sizeof(o->out->fenced),
                 "the high-water mark %s (batch %llu) %s: this data was rolled back",
                 o->w->mark_path, (unsigned long long)p.seq, why);
    }
}

/* A mark that cannot be written is no reason to refuse service, but whoever put it on another disk
 * should not find out after the rollback. */
static void mark_begin(struct opening *o)
{
    const struct hf_core_writer *w = o->w;
    if (hf_mark_write(w->mark_path, &w->head.at) != HF_OK && o->out->note[0] == '\0') {
        snprintf(o->out->note, sizeof(o->out->note),
                 "high-water mark %s cannot be written, so that it will not find out a rollback; "
                 "is its directory there, and may this daemon write to it?",
                 w->mark_path);
    }
}

/* ---- opening ---- */

static enum hf_err memory_get(struct hf_core_writer *w)
{
    w->scratch_cap = ZSTD_compressBound(HF_BATCH_RAW_MAX);
    w->raw = malloc(HF_BATCH_RAW_MAX);
    w->scratch = malloc(w->scratch_cap);
    w->sealed = malloc(HF_BODY_SEALED_MAX);
    w->frame = malloc(HF_FRAME_MESSAGE_MAX);
    w->cctx = ZSTD_createCCtx();
    w->dctx = ZSTD_createDCtx();
    w->dictionaries = hf_dictionaries_new();
    w->trainer = w->cfg->dictionary ? hf_trainer_new(w->cfg->dictionary_samples) : NULL;
    if (w->dictionaries == NULL || (w->cfg->dictionary && w->trainer == NULL)) {
        return HF_NOMEM;
    }
    if (w->raw == NULL || w->scratch == NULL || w->sealed == NULL || w->frame == NULL ||
        w->cctx == NULL || w->dctx == NULL || hf_keyring_init(&w->keys) != HF_OK ||
        hf_batch_builder_new(&w->builder) != HF_OK) {
        return HF_NOMEM;
    }
    return HF_OK;
}

static enum hf_err stores_open(struct opening *o)
{
    struct hf_core_writer *w = o->w;
    char path[PATH_MAX_BYTES];
    if (mkdir(w->cfg->dir, 0700) != 0 && errno != EEXIST) {
        return hf_error_set(o->e, errno == ENOSPC ? HF_FULL : HF_IO, "make %s: %s", w->cfg->dir,
                            strerror(errno));
    }
    int n = snprintf(path, sizeof(path), "%s/state", w->cfg->dir);
    if (n < 0 || (size_t)n >= sizeof(path)) {
        return hf_error_set(o->e, HF_ARG, "the path of the data is too long");
    }
    struct hf_state_config sc = {
        .dir = path, .map_bytes = w->cfg->map_bytes, .adds_beside = !w->cfg->single_thread};
    enum hf_err err = hf_state_open(&sc, &w->state, o->e);
    if (err == HF_OK) {
        err = hf_view_open(w->state, &w->view);
        err = err == HF_OK ? hf_core_writer_look(w) : err;
    }
    if (err != HF_OK) {
        return err;
    }
    err = objects_take(o);
    if (err != HF_OK) {
        return err;
    }
    snprintf(path, sizeof(path), "%s/log", w->cfg->dir);
    struct hf_changelog_config lc = {.dir = path,
                                     .segment_bytes = w->cfg->segment_bytes,
                                     .single_thread = w->cfg->single_thread,
                                     .covered = w->head.committed,
                                     .sign = hf_core_writer_sign,
                                     .sign_ctx = w};
    /* No base_seq: a log that is gone is not replaced by an empty one that begins where the state
     * is, because what was acknowledged after the last commit would be gone with it. */
    return hf_changelog_open(&lc, UINT64_MAX, on_log_record, o, &w->log, o->e);
}

static enum hf_err stream_find(struct opening *o)
{
    struct hf_core_writer *w = o->w;
    enum hf_err err = HF_OK;
    if (w->head.committed > hf_changelog_last(w->log)) {
        return hf_error_set(
            o->e, HF_CORRUPT, "the state is at batch %llu, ahead of the log, which ends at %llu",
            (unsigned long long)w->head.committed, (unsigned long long)hf_changelog_last(w->log));
    }
    if (w->genesis_signed.len == 0) {
        if (hf_changelog_last(w->log) != 0 || w->head.committed != 0) {
            return hf_error_set(o->e, HF_CORRUPT, "%s has batches but no genesis", w->cfg->dir);
        }
        err = stream_create(o);
        o->out->created = true;
    }
    if (err == HF_OK && hf_keyring_newest(&w->keys) == NULL) {
        return hf_error_set(o->e, HF_CORRUPT, "%s has a genesis but no content key", w->cfg->dir);
    }
    return err == HF_OK ? genesis_check(o) : err;
}

static enum hf_err recover(struct opening *o)
{
    struct hf_core_writer *w = o->w;
    enum hf_err err = genesis_set(o);
    err = err == HF_OK ? dictionaries_take(o) : err;
    if (err != HF_OK) {
        return err;
    }
    err = hf_core_writer_recover(w);
    if (err == HF_OK) {
        struct hf_fact boot = {.type = HF_FACT_BOOT, .boot = o->out->boot + 1};
        err = hf_core_writer_record(w, &boot, 1);
        o->out->boot++;
    }
    if (err == HF_OK) {
        struct hf_commit c = {.collect = 0, .mark = false};
        err = hf_core_writer_commit(w, &c);
        /* The log has it all, the start of this core too: readers and edges can do without. */
        o->out->uncommitted = err == HF_FULL ? err : HF_OK;
        err = err == HF_FULL ? HF_OK : err;
    }
    if (err != HF_OK) {
        return hf_error_set(o->e, err, "%s",
                            w->error.text[0] != '\0' ? w->error.text : hf_err_text(err));
    }
    mark_check(o);
    if (o->out->fenced[0] == '\0') {
        evidence_check(o);
    }
    if (o->out->fenced[0] == '\0' && o->out->uncommitted == HF_OK) {
        mark_begin(o);
    }
    return HF_OK;
}

enum hf_err hf_core_writer_open(struct hf_core_writer *w, const struct hf_world *world,
                                struct hf_registry *registry, struct hf_opened *out,
                                struct hf_error *e)
{
    struct hf_error own = {.code = HF_OK};
    struct opening o = {
        .w = w, .world = world, .registry = registry, .out = out, .e = e != NULL ? e : &own};
    memset(out, 0, sizeof(*out));
    enum hf_err err = memory_get(w);
    if (err != HF_OK) {
        hf_error_set(o.e, err, "%s", hf_err_text(err));
        goto out;
    }
    err = stores_open(&o);
    if (err != HF_OK) {
        goto out;
    }
    err = stream_find(&o);
    if (err == HF_OK) {
        err = recover(&o);
    }
out:
    if (err != HF_OK) {
        hf_core_writer_close(w);
    }
    return err;
}

void hf_core_writer_close(struct hf_core_writer *w)
{
    if (w->view != NULL) {
        hf_view_close(w->view);
    }
    if (w->state != NULL) {
        hf_state_close(w->state);
    }
    hf_changelog_close(w->log);
    hf_batch_builder_free(w->builder);
    hf_trainer_free(w->trainer);
    hf_dictionaries_free(w->dictionaries);
    if (w->keys.key != NULL) {
        hf_keyring_deinit(&w->keys);
    }
    hf_bytes_free(&w->genesis_signed);
    hf_bytes_free(&w->facts);
    hf_bytes_free(&w->frames);
    free(w->place);
    free(w->raw);
    free(w->scratch);
    free(w->sealed);
    free(w->frame);
    ZSTD_freeCCtx(w->cctx);
    ZSTD_freeDCtx(w->dctx);
    w->view = NULL;
    w->state = NULL;
    w->log = NULL;
}
