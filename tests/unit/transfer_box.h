/*
 * transfer_box.h - what the tests of PLAN and FETCH share: a core with one enrolled edge, requests
 * of each kind, and chunks opened again.
 *
 * Included by test_transfer.c, test_plan.c and test_storm.c only.
 */
#ifndef TEST_TRANSFER_BOX_H
#define TEST_TRANSFER_BOX_H

#include "peer_box.h"

#include "core/transfer.h"

#include "hf/records.h"

#include <zstd.h>

enum { CHUNK_RAW_MAX = 128 << 10 };

struct fixture {
    struct box *b;
    struct peer *p;
};

UNUSED static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    f->b = box_new();
    box_open(f->b);
    f->p = peer_new(f->b, 1);
    box_enrol(f->b, "e", f->p);
    *state = f;
    return 0;
}

UNUSED static int teardown(void **state)
{
    struct fixture *f = *state;
    peer_free(f->p);
    box_free(f->b);
    free(f);
    return 0;
}

UNUSED static struct hf_request fetch_of(struct fixture *f, enum hf_want want)
{
    struct hf_request q = {.type = HF_MSG_FETCH};
    q.fetch.epoch_id = box_status(f->b).epoch_id;
    q.fetch.want = want;
    return q;
}

UNUSED static const struct hf_reply *fetch_log(struct fixture *f, hf_seq first, hf_seq last)
{
    struct hf_request q = fetch_of(f, HF_WANT_LOG);
    q.fetch.first = first;
    q.fetch.last = last;
    return peer_ask(f->p, &q);
}

UNUSED static const struct hf_reply *fetch_body(struct fixture *f, hf_seq seq, uint32_t offset)
{
    struct hf_request q = fetch_of(f, HF_WANT_BODY);
    q.fetch.first = seq;
    q.fetch.offset = offset;
    return peer_ask(f->p, &q);
}

UNUSED static struct hf_request delta_of(struct fixture *f, struct hf_bound from, hf_seq hi)
{
    struct hf_request q = fetch_of(f, HF_WANT_DELTA);
    q.fetch.from = from;
    q.fetch.last = hi;
    return q;
}

UNUSED static struct hf_request keys_of(struct fixture *f, struct hf_bound from, const char *until)
{
    struct hf_request q = fetch_of(f, HF_WANT_KEYS);
    q.fetch.from = from;
    q.fetch.until = hf_slice_str(until);
    return q;
}

UNUSED static const struct hf_reply *fetch_delta(struct fixture *f, struct hf_bound from, hf_seq hi)
{
    struct hf_request q = delta_of(f, from, hi);
    return peer_ask(f->p, &q);
}

UNUSED static const struct hf_reply *fetch_keys(struct fixture *f, struct hf_bound from)
{
    struct hf_request q = keys_of(f, from, "");
    return peer_ask(f->p, &q);
}

UNUSED static struct hf_bound after(hf_seq seq)
{
    return (struct hf_bound){.seq = seq, .ordinal = UINT32_MAX, .offset = HF_OFFSET_END};
}

UNUSED static const struct hf_reply *plan(struct fixture *f, hf_seq applied)
{
    struct hf_request q = {.type = HF_MSG_PLAN};
    q.plan.epoch_id = box_status(f->b).epoch_id;
    q.plan.applied = applied;
    return peer_ask(f->p, &q);
}

/* Opens a chunk; the records go to out, whose memory is the caller's. */
UNUSED static struct hf_slice chunk_open(struct fixture *f, const struct hf_chunk *c, uint8_t *out)
{
    static uint8_t packed[HF_MESSAGE_MAX];
    const struct hf_content_key *key =
        hf_keyring_find(hf_registry_keys(f->b->core->registry), c->key_id);
    assert_non_null(key);
    struct hf_writer w;
    hf_writer_init(&w, packed, sizeof(packed));
    assert_int_equal(hf_chunk_unseal(&key->key, c->descriptor, c->sealed, &w), HF_OK);
    if (c->compression == HF_COMPRESSION_NONE) {
        memcpy(out, packed, w.len);
        assert_int_equal(w.len, c->raw_bytes);
    } else {
        assert_int_equal(ZSTD_decompress(out, CHUNK_RAW_MAX, packed, w.len), c->raw_bytes);
    }
    return hf_slice_of(out, c->raw_bytes);
}

UNUSED static uint32_t count_records(struct hf_slice records)
{
    struct hf_records r;
    struct hf_record rec;
    uint32_t n = 0;
    hf_records_open(&r, records);
    while (hf_records_next(&r, &rec)) {
        n++;
    }
    assert_false(r.failed);
    return n;
}

/* Hands a request to the core and runs no job; HF_OK when the pool has it, else the refusal's code.
 */
UNUSED static enum hf_err only_asked(struct fixture *f, struct peer *p, struct hf_request *q)
{
    struct hf_envelope env;
    struct hf_writer w;
    box_random(f->b, p->nonce, sizeof(p->nonce));
    q->counter = ++p->counter;
    peer_seal(p, q);
    free(f->b->reply.data);
    f->b->reply.data = NULL;
    hf_core_on_request(f->b->core, 1, hf_slice_of(p->message, p->message_len), NULL);
    if (f->b->reply.data == NULL) {
        return HF_OK;
    }
    hf_writer_init(&w, p->plain, sizeof(p->plain));
    assert_int_equal(hf_reply_open(hf_slice_of(f->b->reply.data, f->b->reply.len),
                                   &f->b->id.public_key, &p->id.public_key, p->nonce, &p->keys,
                                   &env, &w),
                     HF_OK);
    assert_int_equal(hf_reply_decode(hf_writer_bytes(&w), &p->reply), HF_OK);
    return p->reply.code;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
