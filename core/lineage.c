/*
 * lineage.c - where an edge's history meets that of this core.
 *
 * The edge shows the signed header of its last batch. Its chain hash stands for all before it, so
 * one comparison tells whether both have the same history.
 *
 * It must not answer the edge: core/service.c does. Read lineage.h.
 */
#include "core/lineage.h"

#include "core/transfer.h"
#include "hf/batch.h"
#include "hf/state.h"

#include <stdlib.h>

struct hf_lineage {
    struct hf_lineage_config cfg;
    struct hf_view *view;
    struct hf_bytes frame; /* a frame looked up as evidence */
    uint8_t evidence[HF_HEADER_MAX + HF_SIGNED_OVERHEAD];
};

struct hf_lineage *hf_lineage_new(const struct hf_lineage_config *c)
{
    struct hf_lineage *l = calloc(1, sizeof(*l));
    if (l == NULL || hf_view_open(c->state, &l->view) != HF_OK) {
        free(l);
        return NULL;
    }
    l->cfg = *c;
    hf_view_reset(l->view);
    return l;
}

void hf_lineage_free(struct hf_lineage *l)
{
    if (l != NULL) {
        hf_view_close(l->view);
        hf_bytes_free(&l->frame);
        free(l);
    }
}

/* The chain of this core at seq; HF_NOTFOUND when it is not kept. Leaves the frame in l->frame when
 * it is in the log. */
static enum hf_err own_chain(struct hf_lineage *l, hf_seq seq, struct hf_hash *chain)
{
    struct hf_id stream;
    struct hf_frame f;
    l->frame.len = 0;
    enum hf_err err = hf_transfer_frame(l->cfg.log, seq, &l->frame);
    if (err == HF_OK &&
        hf_frame_decode(hf_slice_of(l->frame.data, l->frame.len), &stream, &f) == HF_OK) {
        *chain = hf_chain_hash(f.header);
        return HF_OK;
    }
    l->frame.len = 0;
    err = hf_view_renew(l->view);
    if (err == HF_OK) {
        err = hf_view_chain(l->view, seq, chain);
    }
    hf_view_reset(l->view);
    return err;
}

/* Of the frame that own_chain found last. */
struct hf_slice hf_lineage_evidence(struct hf_lineage *l)
{
    struct hf_id stream;
    struct hf_frame f;
    struct hf_slice none = {NULL, 0};
    if (l->frame.len == 0 ||
        hf_frame_decode(hf_slice_of(l->frame.data, l->frame.len), &stream, &f) != HF_OK) {
        return none;
    }
    struct hf_writer w;
    hf_writer_init(&w, l->evidence, sizeof(l->evidence));
    hf_signed_write(&w, f.header, &f.signature);
    return w.failed ? none : hf_writer_bytes(&w);
}

enum hf_err hf_lineage_check(struct hf_lineage *l, const struct hf_hello_request *q)
{
    static const struct hf_id none;
    const struct hf_core_head *head = l->cfg.head;
    if (!hf_id_eq(&q->epoch_id, &none) && !hf_id_eq(&q->epoch_id, &head->at.epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    if (q->applied == 0) {
        return HF_OK;
    }
    struct hf_header h;
    if (hf_header_decode(q->header, &h) != HF_OK || h.seq != q->applied) {
        return HF_MALFORMED;
    }
    const struct hf_key *signer = hf_genesis_signer(l->cfg.genesis, h.signer_id, h.seq);
    if (signer == NULL || !hf_header_verify(q->header, &q->signature, signer)) {
        return HF_AUTH;
    }
    if (!hf_id_eq(&h.epoch_id, &head->at.epoch_id)) {
        return HF_UNKNOWN_EPOCH;
    }
    struct hf_evidence_fact evidence = {.header = q->header, .signature = q->signature};
    /* The log is ahead of the head while a group is under way, or after one failed in the middle:
     * what is in it is not lost, however an edge came by it. */
    if (h.seq > head->at.seq && h.seq > hf_changelog_last(l->cfg.log)) {
        /* The edge is right, and the beacon it gets tells it that this core is behind it. */
        l->cfg.fence(l->cfg.ctx, "an edge proved a batch above this core's head", &evidence);
        return HF_OK;
    }
    struct hf_hash mine;
    struct hf_hash theirs = hf_chain_hash(q->header);
    if (own_chain(l, h.seq, &mine) == HF_OK && !hf_hash_eq(&mine, &theirs)) {
        l->cfg.fence(l->cfg.ctx, "an edge proved another batch than this core's", &evidence);
        return HF_FORK;
    }
    return HF_OK;
}
