/*
 * audit.c - opens a batch of the log on the pool: read, unsealed, checked.
 *
 * A frame of the log was made by this core, and a checksum says that it is what was written, so
 * neither signature nor chain is looked at. Must not: read the log on the owner's thread, or keep
 * anything between two batches. Next: commands_log.c.
 */
#include "core/audit.h"

#include "core/driver_impl.h"
#include "core/registry.h"
#include "core/transfer.h"

#include <stdlib.h>
#include <zstd.h>

struct hf_audit_op {
    struct hf_job job;
    struct hf_core *core;
    struct hf_audit_op *next;
    hf_seq seq;
    hf_audit_done *done;
    void *ctx;
    struct hf_content_key *key; /* owned, guarded */
    struct hf_bytes frame, scratch, raw;
    struct hf_audit result;
};

static void op_free(struct hf_audit_op *op)
{
    hf_secret_free(op->key);
    hf_bytes_free(&op->frame);
    hf_bytes_free(&op->scratch);
    hf_bytes_free(&op->raw);
    free(op);
}

/* ---- on the pool ---- */

static enum hf_err unseal(struct hf_audit_op *op, const struct hf_frame *f)
{
    struct hf_writer scratch;
    struct hf_writer raw;
    enum hf_err err = hf_bytes_reserve(&op->scratch, f->h.body_bytes + 1);
    err = err == HF_OK ? hf_bytes_reserve(&op->raw, f->h.raw_bytes + 1) : err;
    ZSTD_DCtx *zctx = err == HF_OK ? ZSTD_createDCtx() : NULL;
    if (zctx == NULL) {
        return HF_NOMEM;
    }
    hf_writer_init(&scratch, op->scratch.data, op->scratch.cap);
    hf_writer_init(&raw, op->raw.data, op->raw.cap);
    err = hf_dictionaries_unseal(op->core->writer.dictionaries, &f->h, f->body, &op->key->key, zctx,
                                 &scratch, &raw);
    ZSTD_freeDCtx(zctx);
    if (err == HF_OK && f->h.kind == HF_BATCH_DATA) {
        err = hf_body_open(hf_writer_bytes(&raw), f->h.change_count, &op->result.body);
    }
    return err;
}

static enum hf_err open_frame(struct hf_audit_op *op)
{
    struct hf_id stream;
    struct hf_frame f;
    enum hf_err err = hf_transfer_frame(op->core->writer.log, op->seq, &op->frame);
    if (err != HF_OK) {
        return err;
    }
    err = hf_frame_decode(hf_slice_of(op->frame.data, op->frame.len), &stream, &f);
    if (err != HF_OK || f.body.data == NULL) {
        return HF_CORRUPT;
    }
    op->result.h = f.h;
    return op->key->id == f.h.content_key_id ? unseal(op, &f) : HF_SEALED;
}

static void work(struct hf_job *job)
{
    struct hf_audit_op *op = (struct hf_audit_op *)job;
    if (op->result.code == HF_OK) {
        op->result.code = open_frame(op);
    }
}

/* ---- on the owner's thread ---- */

static void run_next(struct hf_core *core);

static void done(struct hf_job *job)
{
    struct hf_audit_op *op = (struct hf_audit_op *)job;
    struct hf_core *core = op->core;
    core->audits = op->next;
    core->audits_last = op->next != NULL ? core->audits_last : NULL;
    core->audit_count--;
    core->jobs--;
    bool more = op->next != NULL; /* what is asked for by done() starts by itself */
    op->done(op->ctx, &op->result);
    op_free(op);
    if (more) {
        run_next(core);
    }
}

static void run_next(struct hf_core *core)
{
    struct hf_audit_op *op = core->audits;
    if (op == NULL) {
        return;
    }
    const struct hf_content_key *key = hf_keyring_at(hf_registry_keys(core->registry), op->seq);
    op->result.code = key == NULL ? HF_SEALED : HF_OK;
    if (key != NULL) {
        op->key = hf_secret_new(sizeof(*key));
    }
    if (op->key != NULL) {
        *op->key = *key;
    } else if (key != NULL) {
        op->result.code = HF_NOMEM;
    }
    op->job = (struct hf_job){.work = work, .done = done};
    core->jobs++;
    core->world.run(core->world.ctx, HF_LANE_POOL, &op->job);
}

void hf_core_audit(struct hf_core *core, hf_seq seq, hf_audit_done *done_with, void *ctx)
{
    struct hf_audit refused = {.code = HF_NOTFOUND};
    struct hf_audit_op *op = NULL;
    if (core->audit_count >= HF_AUDIT_WAITING) {
        refused.code = HF_BUSY;
    } else if (seq >= hf_changelog_first(core->writer.log) && seq <= core->head.at.seq) {
        op = calloc(1, sizeof(*op));
        refused.code = HF_NOMEM;
    }
    if (op == NULL) {
        done_with(ctx, &refused);
        return;
    }
    *op = (struct hf_audit_op){.core = core, .seq = seq, .done = done_with, .ctx = ctx};
    struct hf_audit_op *before = core->audits_last;
    core->audit_count++;
    core->audits_last = op;
    if (before != NULL) {
        before->next = op;
    } else {
        core->audits = op;
        run_next(core);
    }
}
