/*
 * history.c - see history.h.
 *
 * It must not change the state, or take damage of the own store for a fork: a record that cannot be
 * read says nothing.
 */
#include "edge/history.h"

#include <inttypes.h>

enum hf_err history_frame(struct hf_edge *edge, const struct hf_frame *f, struct hf_error *e)
{
    const struct hf_position *at = &edge->position;
    struct hf_hash chain = hf_chain_hash(f->header);
    bool other = f->h.seq == at->seq && !hf_hash_eq(&chain, &at->chain);
    bool beside = f->h.seq == at->seq + 1 && !hf_hash_eq(&f->h.prev, &at->chain);
    if (!other && !beside) {
        return HF_OK;
    }
    const struct hf_key *signer = hf_genesis_signer(&edge->genesis, f->h.signer_id, f->h.seq);
    if (signer == NULL || !hf_header_verify(f->header, &f->signature, signer)) {
        return HF_AUTH;
    }
    kept_evidence(edge, f->h.seq, f->header, &f->signature);
    return hf_error_set(e, HF_FORK,
                        "batch %" PRIu64 " of the file does not continue the history of this edge: "
                        "one of both is of a core that was rolled back",
                        f->h.seq);
}

/* The chunk is of a state at or above the own one, so what it says of a key that was changed last
 * at or below was so here, too. A delete may be forgotten here. */
static bool differs(struct hf_view *v, const struct hf_record *rec)
{
    struct hf_stored own;
    enum hf_err err = hf_view_get(v, rec->key, true, &own);
    if (err == HF_NOTFOUND) {
        return !rec->tombstone;
    }
    bool whole = rec->value.len == rec->total;
    return err == HF_OK && (own.seq != rec->seq || own.tombstone != rec->tombstone ||
                            (whole && !hf_slice_eq(own.value, rec->value)));
}

enum hf_err history_records(struct hf_edge *edge, const struct hf_chunk *c,
                            struct hf_records records, struct hf_error *e)
{
    struct hf_record rec;
    struct hf_view *v;
    enum hf_err err = HF_OK;
    if (c->asof < edge->position.seq || hf_view_open(edge->state, &v) != HF_OK) {
        return HF_OK;
    }
    while (err == HF_OK && hf_records_next(&records, &rec)) {
        if (rec.seq <= edge->position.seq && differs(v, &rec)) {
            err = hf_error_set(e, HF_FORK,
                               "batch %" PRIu64 " of the file's history is not that of this edge: "
                               "one of both is of a core that was rolled back",
                               rec.seq);
        }
    }
    hf_view_close(v);
    return err;
}
