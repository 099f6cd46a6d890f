/*
 * chunks.c - chunks of a transfer between arrival and the writer: opened and summed on the pool.
 *
 * Every byte of a transfer passes the one writer, so it does only what takes the store. Unsealing,
 * unpacking and hashing are more than half of the work on a chunk; they run here, side by side,
 * before the engine hears of the reply. A chunk is for the part that it was asked for, and for as
 * long as the engine waits for it: what was given up meanwhile is let go.
 *
 * Invariant: a chunk is in the list `opening`, or the newest of its part, or of the writer's job.
 * storing.c takes it from there.
 */
#include "edge/driver_impl.h"

#include "hf/compress.h"

#include <stdlib.h>

enum hf_err chunk_open(struct hf_edge *edge, const struct hf_chunk *c, const struct hf_key *key,
                       struct hf_writer *raw)
{
    if (c->raw_bytes > EDGE_CHUNK_RAW_MAX) {
        return HF_TOO_BIG;
    }
    bool zstd = c->compression == HF_COMPRESSION_ZSTD;
    uint8_t *out = malloc(c->raw_bytes + 1u);
    uint8_t *aside = malloc(c->sealed.len + 1u);
    ZSTD_DCtx *zctx = zstd ? decompressor_take(edge) : NULL;
    enum hf_err err = out == NULL || aside == NULL || (zstd && zctx == NULL) ? HF_NOMEM : HF_OK;
    struct hf_writer packed;
    hf_writer_init(raw, out, c->raw_bytes);
    hf_writer_init(&packed, aside, c->sealed.len);
    if (err == HF_OK) {
        err = hf_chunk_unseal(key, c->descriptor, c->sealed, &packed);
    }
    if (err == HF_OK && zstd) {
        err = hf_decompress(hf_writer_bytes(&packed), c->raw_bytes, zctx, raw);
    } else if (err == HF_OK) {
        err = packed.len == c->raw_bytes ? HF_OK : HF_MALFORMED;
        hf_write_raw(raw, packed.data, err == HF_OK ? packed.len : 0);
    }
    decompressor_keep(edge, zctx);
    free(aside);
    if (err != HF_OK) {
        free(out);
    }
    return err;
}

void chunk_free(struct chunk *c)
{
    if (c != NULL) {
        free(c->plain);
        free(c->raw);
        free(c);
    }
}

/* A damaged one is found by the store, which reads all of it anyway. */
static void open_work(struct hf_job *job)
{
    struct chunk *c = (struct chunk *)job;
    struct hf_writer raw;
    c->code = chunk_open(c->edge, &c->reply.chunk, &c->key, &raw);
    if (c->code == HF_OK) {
        c->raw = raw.data;
        hf_records_open(&c->records, hf_writer_bytes(&raw));
        hf_records_sum(&c->records, &c->sum);
    }
}

static void open_done(struct hf_job *job)
{
    struct chunk *c = (struct chunk *)job;
    struct hf_edge *edge = c->edge;
    struct pending asked = c->asked;
    struct hf_replica_event ev = {.code = c->code};
    struct chunk **at = &edge->opening;
    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    edge_job_ended(edge);
    bool awaited = !edge->abandoned && hf_replica_awaits(edge->replica, asked.id);
    if (awaited && c->code == HF_OK) {
        /* One that waits there was asked for earlier, and given up. */
        chunk_free(edge->chunk[asked.effect.part]);
        edge->chunk[asked.effect.part] = c;
    } else {
        chunk_free(c);
    }
    if (awaited) {
        session_deliver(edge, &asked, &ev);
    }
}

enum hf_err chunks_take(struct hf_edge *edge, const struct pending *asked, struct hf_slice plain)
{
    struct hf_reply copy;
    struct chunk *c = calloc(1, sizeof(*c));
    if (c == NULL || (c->plain = malloc(plain.len)) == NULL) {
        chunk_free(c);
        return HF_NOMEM;
    }
    memcpy(c->plain, plain.data, plain.len);
    enum hf_err err = hf_reply_decode(hf_slice_of(c->plain, plain.len), &copy);
    HF_ASSERT(err == HF_OK); /* the same bytes decoded a moment ago */
    const struct hf_key *key = content_key(edge, copy.fetch.chunk.key_id);
    if (key == NULL) {
        chunk_free(c);
        return HF_SEALED;
    }
    c->job = (struct hf_job){.work = open_work, .done = open_done};
    c->edge = edge;
    c->asked = *asked;
    c->reply = copy.fetch;
    c->key = *key;
    c->next = edge->opening;
    edge->opening = c;
    edge_run(edge, HF_LANE_POOL, &c->job);
    return HF_OK;
}

void chunks_clear(struct hf_edge *edge)
{
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX; i++) {
        chunk_free(edge->chunk[i]);
        edge->chunk[i] = NULL;
    }
}

void chunks_deinit(struct hf_edge *edge)
{
    chunks_clear(edge);
    for (uint32_t i = 0; i < HF_STAGE_PARTS_MAX; i++) {
        chunk_free(edge->store.chunk[i]);
    }
    while (edge->opening != NULL) {
        struct chunk *c = edge->opening;
        edge->opening = c->next;
        chunk_free(c);
    }
}
