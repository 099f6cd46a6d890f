/*
 * peer_box.h - an edge as the core sees it: an identity that seals requests and opens replies.
 *
 * peer_ask goes the whole way, cookie included; peer_send is one message as it is, for tests of
 * what the core drops or answers with a cookie. Included after core_box.h.
 */
#ifndef TEST_PEER_BOX_H
#define TEST_PEER_BOX_H

#include "core_box.h"

struct peer {
    struct box *b;
    struct hf_identity id;
    struct hf_envelope_keys keys;
    struct hf_id cookie;
    uint64_t counter;
    uint8_t nonce[HF_NONCE_BYTES];
    uint8_t message[HF_MESSAGE_MAX]; /* the last that was sent */
    size_t message_len;
    uint8_t plain[HF_MESSAGE_MAX]; /* of the last reply, which borrows from it */
    struct hf_reply reply;
    bool authentic; /* what the core says of the last message */
};

UNUSED static struct peer *peer_new(struct box *b, uint8_t seed_byte)
{
    uint8_t seed[32] = {0};
    struct peer *p = calloc(1, sizeof(*p));
    seed[31] = seed_byte;
    assert_non_null(p);
    p->b = b;
    assert_int_equal(hf_identity_from_seed(&p->id, seed), HF_OK);
    assert_int_equal(hf_envelope_derive(&p->id, &b->id.public_key, &p->keys), HF_OK);
    return p;
}

UNUSED static void peer_free(struct peer *p)
{
    hf_identity_free(&p->id);
    free(p);
}

/* Seals q into p->message; the nonce was chosen before, because a JOIN's proof needs it. */
UNUSED static void peer_seal(struct peer *p, const struct hf_request *q)
{
    uint8_t plain[4096];
    struct hf_writer w;
    struct hf_writer out;
    struct hf_envelope env = {.sender = p->id.public_key, .cookie = p->cookie};
    hf_writer_init(&w, plain, sizeof(plain));
    hf_request_encode(q, &w);
    assert_false(w.failed);
    memcpy(env.nonce, p->nonce, HF_NONCE_BYTES);
    hf_writer_init(&out, p->message, sizeof(p->message));
    hf_request_seal(&env, &p->b->id.public_key, &p->keys, hf_writer_bytes(&w), &out);
    assert_false(out.failed);
    p->message_len = out.len;
}

/* What the core has answered is in p->reply; false when there was no reply. */
UNUSED static bool peer_open(struct peer *p)
{
    struct box *b = p->b;
    if (b->reply.data == NULL) {
        return false;
    }
    struct hf_envelope env;
    struct hf_writer w;
    hf_writer_init(&w, p->plain, sizeof(p->plain));
    assert_int_equal(hf_reply_open(hf_slice_of(b->reply.data, b->reply.len), &b->id.public_key,
                                   &p->id.public_key, p->nonce, &p->keys, &env, &w),
                     HF_OK);
    p->cookie = env.cookie;
    assert_int_equal(hf_reply_decode(hf_writer_bytes(&w), &p->reply), HF_OK);
    return true;
}

/* Hands the last message to the core; false when there was no reply. */
UNUSED static bool peer_resend(struct peer *p)
{
    struct box *b = p->b;
    free(b->reply.data);
    b->reply.data = NULL;
    p->authentic =
        hf_core_on_request(b->core, 1, hf_slice_of(p->message, p->message_len), "10.0.0.1");
    hf_core_requests_end(b->core);
    box_work(b);
    return peer_open(p);
}

/* One message, with a fresh nonce and counter. */
UNUSED static bool peer_send(struct peer *p, struct hf_request *q)
{
    box_random(p->b, p->nonce, sizeof(p->nonce));
    q->counter = ++p->counter;
    peer_seal(p, q);
    return peer_resend(p);
}

/* The whole way to an answer; NULL when there is none. */
UNUSED static const struct hf_reply *peer_ask(struct peer *p, struct hf_request *q)
{
    for (int tries = 0; tries < 3; tries++) {
        if (!peer_send(p, q)) {
            return NULL;
        }
        if (p->reply.type != HF_MSG_COOKIE) {
            assert_int_equal(p->reply.type, q->type);
            return &p->reply;
        }
        p->counter = p->reply.counter > p->counter ? p->reply.counter : p->counter;
    }
    fail_msg("only cookies");
    return NULL;
}

UNUSED static const struct hf_reply *peer_hello(struct peer *p, const struct hf_frame *applied)
{
    struct hf_request q = {.type = HF_MSG_HELLO};
    q.hello.wire_min = q.hello.wire_max = HF_WIRE_VERSION;
    q.hello.version = hf_slice_str("1");
    if (applied != NULL) {
        q.hello.applied = applied->h.seq;
        q.hello.header = applied->header;
        q.hello.signature = applied->signature;
        q.hello.epoch_id = applied->h.epoch_id;
    }
    return peer_ask(p, &q);
}

/* The digest of the state after batch seq, from what was published. */
UNUSED static struct hf_hash peer_digest(struct box *b, hf_seq seq)
{
    struct hf_lthash none;
    struct hf_id stream;
    struct hf_frame f;
    for (uint32_t i = 0; i < b->published_count && seq > 0; i++) {
        struct hf_slice m = hf_slice_of(b->published[i].data, b->published[i].len);
        if (hf_frame_decode(m, &stream, &f) == HF_OK && f.h.seq == seq) {
            return f.h.digest;
        }
    }
    hf_lthash_clear(&none);
    return hf_lthash_digest(&none);
}

UNUSED static const struct hf_reply *peer_report(struct peer *p, hf_seq applied)
{
    struct hf_request q = {.type = HF_MSG_REPORT};
    q.report.epoch_id = box_status(p->b).epoch_id;
    q.report.applied = q.report.received = applied;
    q.report.digest = peer_digest(p->b, applied);
    q.report.version = hf_slice_str("1");
    return peer_ask(p, &q);
}

/* Makes a JOIN the message that peer_resend sends. */
UNUSED static void peer_join_seal(struct peer *p, const char *token)
{
    struct hf_token t;
    struct hf_request q = {.type = HF_MSG_JOIN, .counter = ++p->counter};
    assert_int_equal(hf_token_parse(token, &t, NULL), HF_OK);
    struct hf_hash verifier = hf_token_verifier(t.secret);
    box_random(p->b, p->nonce, sizeof(p->nonce));
    q.join.token = t.id;
    q.join.name = hf_slice_str(t.name);
    q.join.version = hf_slice_str("1");
    q.join.proof = hf_token_proof(&verifier, &p->id.public_key, &p->b->id.public_key, p->nonce);
    peer_seal(p, &q);
}

UNUSED static const struct hf_reply *peer_join(struct peer *p, const char *token)
{
    for (int tries = 0; tries < 2; tries++) {
        peer_join_seal(p, token);
        if (!peer_resend(p)) {
            return NULL;
        }
        if (p->reply.type != HF_MSG_COOKIE) {
            return &p->reply;
        }
    }
    return NULL;
}

/* ---- the operator ---- */

struct told {
    int count;
    enum hf_err code;
    char text[HF_TOKEN_TEXT_MAX];
};

UNUSED static void told_done(void *ctx, const struct hf_admin_result *r)
{
    struct told *t = ctx;
    t->count++;
    t->code = r->code;
    snprintf(t->text, sizeof(t->text), "%s", r->text != NULL ? r->text : "");
}

UNUSED static struct told box_invite(struct box *b, const char *name)
{
    struct told t = {.count = 0};
    hf_core_edge_invite(b->core, name, told_done, &t);
    box_work(b);
    assert_int_equal(t.count, 1);
    return t;
}

UNUSED static struct told box_enrol(struct box *b, const char *name, const struct peer *p)
{
    struct told t = {.count = 0};
    hf_core_edge_add(b->core, name, &p->id.public_key, told_done, &t);
    box_work(b);
    assert_int_equal(t.count, 1);
    return t;
}

UNUSED static struct told box_revoke(struct box *b, const char *name)
{
    struct told t = {.count = 0};
    hf_core_edge_revoke(b->core, name, told_done, &t);
    box_work(b);
    assert_int_equal(t.count, 1);
    return t;
}

/* One that is enrolled for that: what each revocation brings, a new content key, is what is wanted.
 */
UNUSED static struct told box_revoke_another(struct box *b, const struct peer *gone)
{
    box_enrol(b, "gone", gone);
    return box_revoke(b, "gone");
}

UNUSED static struct hf_edge_row box_row(struct box *b, uint32_t i)
{
    struct hf_edge_row row;
    hf_core_edge(b->core, i, b->now, &row);
    return row;
}

#endif
