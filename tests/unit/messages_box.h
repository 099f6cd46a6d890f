/*
 * messages_box.h - what the tests of control messages share: a request and a reply with room to
 * encode them, and the two verdicts. A message that decodes must encode to the bytes it came from;
 * one that is refused must leave zeroes.
 *
 * Most refusals are made by encoding a message that breaks one rule, which the encoder does not
 * check. Helpers are static inline so that a program may leave some unused.
 */
#ifndef HF_TEST_MESSAGES_BOX_H
#define HF_TEST_MESSAGES_BOX_H

#include "hf/messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const uint8_t filler[HF_MESSAGE_MAX + 1] = {0x5a};

struct world {
    struct hf_request q, q2;
    struct hf_reply p, p2;
    uint8_t bytes[2 * HF_MESSAGE_MAX];
    uint8_t again[2 * HF_MESSAGE_MAX];
    uint8_t part[2 * HF_MESSAGE_MAX];
};

static inline int setup(void **state)
{
    *state = calloc(1, sizeof(struct world));
    assert_non_null(*state);
    return 0;
}

static inline int teardown(void **state)
{
    free(*state);
    return 0;
}

static inline struct hf_slice encode_request(struct world *w)
{
    struct hf_writer out;

    hf_writer_init(&out, w->bytes, sizeof(w->bytes));
    hf_request_encode(&w->q, &out);
    assert_false(out.failed);
    return hf_writer_bytes(&out);
}

static inline struct hf_slice encode_reply(struct world *w)
{
    struct hf_writer out;

    hf_writer_init(&out, w->bytes, sizeof(w->bytes));
    hf_reply_encode(&w->p, &out);
    assert_false(out.failed);
    return hf_writer_bytes(&out);
}

static inline void assert_request_same_bytes(struct world *w)
{
    struct hf_slice bytes = encode_request(w);
    struct hf_writer out;

    assert_int_equal(hf_request_decode(bytes, &w->q2), HF_OK);
    hf_writer_init(&out, w->again, sizeof(w->again));
    hf_request_encode(&w->q2, &out);
    assert_true(hf_slice_eq(hf_writer_bytes(&out), bytes));
}

static inline void assert_reply_same_bytes(struct world *w)
{
    struct hf_slice bytes = encode_reply(w);
    struct hf_writer out;

    assert_int_equal(hf_reply_decode(bytes, &w->p2), HF_OK);
    hf_writer_init(&out, w->again, sizeof(w->again));
    hf_reply_encode(&w->p2, &out);
    assert_true(hf_slice_eq(hf_writer_bytes(&out), bytes));
}

static inline void assert_request_refused(struct world *w)
{
    static const struct hf_request none;

    assert_int_equal(hf_request_decode(encode_request(w), &w->q2), HF_MALFORMED);
    assert_memory_equal(&w->q2, &none, sizeof(none));
}

static inline void assert_reply_refused(struct world *w)
{
    static const struct hf_reply none;

    assert_int_equal(hf_reply_decode(encode_reply(w), &w->p2), HF_MALFORMED);
    assert_memory_equal(&w->p2, &none, sizeof(none));
}

/* Runs `change` on a fresh sample and expects the result to be refused. */
#define REFUSED_REQUEST(sample, change)                                                            \
    do {                                                                                           \
        sample(w);                                                                                 \
        change;                                                                                    \
        assert_request_refused(w);                                                                 \
    } while (0)
#define REFUSED_REPLY(sample, change)                                                              \
    do {                                                                                           \
        sample(w);                                                                                 \
        change;                                                                                    \
        assert_reply_refused(w);                                                                   \
    } while (0)

static inline void begin_request(struct world *w, enum hf_message_type type)
{
    memset(&w->q, 0, sizeof(w->q));
    w->q.counter = 1234567;
    w->q.type = type;
}

static inline void begin_reply(struct world *w, enum hf_message_type type, enum hf_err code)
{
    memset(&w->p, 0, sizeof(w->p));
    w->p.type = type;
    w->p.code = code;
}

/* The message in w->bytes, cut at every length and with a byte too many. */
static inline void assert_no_other_length(struct world *w, struct hf_slice bytes, bool request)
{
    w->bytes[bytes.len] = 0;
    for (size_t len = 0; len <= bytes.len + 1; len++) {
        struct hf_slice other = hf_slice_of(bytes.data, len);
        enum hf_err err =
            request ? hf_request_decode(other, &w->q2) : hf_reply_decode(other, &w->p2);

        assert_int_equal(err, len == bytes.len ? HF_OK : HF_MALFORMED);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
