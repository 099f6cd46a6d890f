/*
 * kept.c - what an edge keeps beside the state, so that a restart does not make it forget.
 *
 * Objects in the store:
 *   "transfer"             uint total, uint done: bytes on the wire of the transfer that is staged,
 *                          written in the transaction that stores what they brought
 *   "damaged"              nothing; while it is there, the state is known to be damaged
 *   "evidence/<be64 seq>"  a header that the core signed, with its signature, which proves a fork
 *   "evidence/<be64 seq>/beacon"  a signed beacon that does: its head is that seq
 *
 * Invariant: none of it is needed to be right. What cannot be read is as if it were not there, and
 * what is known of the state itself is in the state (include/hf/state.h).
 *
 * It must not decide what follows from it: that is the engine's business.
 */
#include "edge/driver_impl.h"

#include "hf/bytes.h"

#include <stdlib.h>

#define EVIDENCE_MAX 16u
#define TRANSFER_BYTES_MAX 32u

/* ---- how far a transfer is ---- */

enum hf_err kept_transfer_put(struct hf_state *s, uint64_t total, uint64_t done)
{
    uint8_t bytes[TRANSFER_BYTES_MAX];
    struct hf_writer w;
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_write_uint(&w, total);
    hf_write_uint(&w, done);
    HF_ASSERT(!w.failed);
    return hf_state_object_put(s, hf_slice_str("transfer"), hf_writer_bytes(&w));
}

static void load_transfer(struct hf_edge *edge, struct hf_view *v)
{
    struct hf_slice bytes;
    struct hf_reader r;
    if (hf_view_object(v, hf_slice_str("transfer"), &bytes) != HF_OK) {
        return;
    }
    hf_reader_init(&r, bytes);
    uint64_t total = hf_read_uint(&r, INT64_MAX);
    uint64_t done = hf_read_uint(&r, INT64_MAX);
    if (hf_reader_done(&r)) {
        edge->kept.transfer_total = total;
        edge->kept.transfer_done = done;
    }
}

/* ---- damage ---- */

enum hf_err kept_damage_put(struct hf_state *s, bool damaged)
{
    struct hf_slice name = hf_slice_str("damaged");
    if (damaged) {
        return hf_state_object_put(s, name, hf_slice_of(NULL, 0));
    }
    enum hf_err err = hf_state_object_del(s, name);
    return err == HF_NOTFOUND ? HF_OK : err;
}

void kept_load(struct hf_edge *edge, struct hf_view *v)
{
    struct hf_slice bytes;
    load_transfer(edge, v);
    edge->kept.damaged = hf_view_object(v, hf_slice_str("damaged"), &bytes) != HF_NOTFOUND;
}

/* ---- proofs of a fork ---- */

struct evidence_job {
    struct hf_job job; /* first */
    struct hf_edge *edge;
    size_t name_len;
    size_t len;
    uint8_t name[9 + 8 + 7];
    uint8_t bytes[HF_HEADER_MAX + HF_SIGNED_OVERHEAD];
};
_Static_assert(HF_BEACON_MAX <= HF_HEADER_MAX + HF_SIGNED_OVERHEAD, "a beacon fits in, too");

/* Whether one more may be kept. The first proof for a seq is as good as any later one, and whoever
 * signs many histories must not fill the disk with them. */
static bool evidence_room(struct hf_state *s, struct hf_slice name)
{
    struct hf_slice prefix = hf_slice_str("evidence/");
    struct hf_slice at = {NULL, 0};
    struct hf_slice bytes;
    struct hf_view *v;
    uint32_t count = 0;
    bool there = false;
    if (hf_view_open(s, &v) != HF_OK) {
        return false;
    }
    while (hf_view_next_object(v, prefix, at, &at, &bytes) == HF_OK) {
        count++;
        there |= hf_slice_eq(at, name);
    }
    hf_view_close(v);
    return !there && count < EVIDENCE_MAX;
}

static enum hf_err evidence_put(void *arg)
{
    struct evidence_job *k = arg;
    struct hf_state *s = k->edge->state;
    enum hf_err err =
        hf_state_object_put(s, hf_slice_of(k->name, k->name_len), hf_slice_of(k->bytes, k->len));
    return err == HF_OK ? hf_state_commit(s) : err;
}

static void evidence_work(struct hf_job *job)
{
    struct evidence_job *k = (struct evidence_job *)job;
    struct hf_state *s = k->edge->state;
    if (evidence_room(s, hf_slice_of(k->name, k->name_len))) {
        /* If it fails: the log line has been written, and the proof comes again with the frame. */
        (void)with_room(s, evidence_put, k);
    }
}

static void evidence_done(struct hf_job *job)
{
    struct evidence_job *k = (struct evidence_job *)job;
    struct hf_edge *edge = k->edge;
    free(k);
    edge_job_ended(edge);
}

/* A job whose bytes are to be filled in; NULL without memory. */
static struct evidence_job *evidence_new(struct hf_edge *edge, hf_seq seq, const char *suffix)
{
    struct evidence_job *k = calloc(1, sizeof(*k));
    if (k == NULL) {
        return NULL;
    }
    k->job = (struct hf_job){.work = evidence_work, .done = evidence_done};
    k->edge = edge;
    memcpy(k->name, "evidence/", 9);
    hf_store64_be(k->name + 9, seq);
    memcpy(k->name + 17, suffix, strlen(suffix));
    k->name_len = 17 + strlen(suffix);
    return k;
}

void kept_evidence(struct hf_edge *edge, hf_seq seq, struct hf_slice header,
                   const struct hf_signature *signature)
{
    struct evidence_job *k = evidence_new(edge, seq, "");
    if (k == NULL) {
        return;
    }
    struct hf_writer w;
    hf_writer_init(&w, k->bytes, sizeof(k->bytes));
    hf_signed_write(&w, header, signature);
    HF_ASSERT(!w.failed);
    k->len = w.len;
    edge_run(edge, HF_LANE_WRITER, &k->job);
}

void kept_beacon(struct hf_edge *edge, hf_seq seq, struct hf_slice signed_beacon)
{
    struct evidence_job *k = evidence_new(edge, seq, "/beacon");
    if (k == NULL) {
        return;
    }
    HF_ASSERT(signed_beacon.len <= sizeof(k->bytes));
    memcpy(k->bytes, signed_beacon.data, signed_beacon.len);
    k->len = signed_beacon.len;
    edge_run(edge, HF_LANE_WRITER, &k->job);
}
