/*
 * fuzz_dictionary.c - dictionaries of zstd, the bodies that need one, and the table of them.
 *
 * All of it lies behind a signature, so this is a core that errs or was taken over. The first byte
 * chooses:
 *     0  the rest is the raw body of a dictionary frame: sealed, signed, framed, opened as a HELLO
 *        brings it; what becomes a dictionary can pack and unpack
 *     1  u8 n, n times {u16 where, u8 xor}, and a body: packed with a good dictionary, damaged so,
 *        sealed, opened
 *     2  u16 raw length, and bytes sealed as if they had been packed with that dictionary
 *     3  each two bytes do something to a table, beside a plain list that says what it must hold
 *
 * The buffer for what is unpacked is exactly as large as the header says, so the sanitizer sees the
 * first byte too many. Read next: proto/store/dictionary.c, edge/dictionaries.c.
 */
#include "core/trainer.h"
#include "edge/driver_impl.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

enum { GOOD_SEQ = 1, BODY_MAX = 1 << 14, SEQS = 12, SEQ_STEP = 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct hf_genesis genesis;
static struct hf_content_key content = {.id = 3, .from = 1, .key = {{9, 9, 9}}};
static uint8_t secret[HF_SECRET_BYTES];
static const uint8_t nonce[HF_NONCE_BYTES] = {4, 5, 6};
static ZSTD_CCtx *cctx;
static ZSTD_DCtx *dctx;
static uint8_t good_raw[HF_DICTIONARY_FRAME_MAX]; /* raw body with a good dictionary */
static size_t good_len;

/* ---- a good one ---- */

static void train(void)
{
    struct hf_trainer *t = hf_trainer_new(16 << 10);
    struct hf_slice bytes;
    struct hf_writer w;
    uint32_t gain;
    char row[128];

    for (uint32_t n = 0; !hf_trainer_ready(t); n++) {
        int len =
            snprintf(row, sizeof(row), "{\"service\":\"checkout-%u\",\"port\":%u,\"zone\":%u}",
                     n * 7919 % 997, 8000 + n * 13 % 1000, n % 3);
        hf_trainer_show(t, hf_slice_of(row, (size_t)len), (size_t)len);
    }
    hf_trainer_train(t);
    HF_ASSERT(hf_trainer_take(t, &bytes, &gain));
    hf_writer_init(&w, good_raw, sizeof(good_raw));
    hf_dictionary_encode(GOOD_SEQ, bytes, &w);
    HF_ASSERT(!w.failed);
    good_len = w.len;
    hf_trainer_free(t);
}

static void start(void)
{
    static const uint8_t seed[crypto_sign_SEEDBYTES] = {7};

    if (cctx != NULL) {
        return;
    }
    HF_ASSERT(sodium_init() >= 0);
    cctx = ZSTD_createCCtx();
    dctx = ZSTD_createDCtx();
    HF_ASSERT(cctx != NULL && dctx != NULL);
    genesis = (struct hf_genesis){.signer_count = 1};
    genesis.signer[0] = (struct hf_signer){.id = 1, .role = 1, .from = 1, .to = UINT64_MAX};
    (void)crypto_sign_seed_keypair(genesis.signer[0].key.b, secret, seed);
    train();
}

/* A dictionary of any seq with the good one's bytes: its id is in them, and is put right. */
static struct hf_dictionary *make_good(hf_seq seq)
{
    uint8_t raw[HF_DICTIONARY_FRAME_MAX];
    struct hf_dictionary *d;
    struct hf_reader r;
    struct hf_writer w;

    hf_reader_init(&r, hf_slice_of(good_raw, good_len));
    (void)hf_read_array(&r, 3, 3);
    hf_read_skip(&r, 2);
    hf_writer_init(&w, raw, sizeof(raw));
    hf_dictionary_encode(seq, hf_read_bin(&r, HF_DICTIONARY_BYTES_MAX), &w);
    HF_ASSERT(hf_dictionary_new(seq, hf_writer_bytes(&w), hf_slice_str("frame"), &d) == HF_OK);
    return d;
}

/* A reference for the caller. Making one is slow, so all that are ever asked for are kept. */
static struct hf_dictionary *good_at(hf_seq seq)
{
    static struct hf_dictionaries *shelf[SEQS];
    struct hf_dictionaries **s = &shelf[seq / SEQ_STEP % SEQS];

    if (*s == NULL) {
        *s = hf_dictionaries_new();
        hf_dictionaries_add(*s, make_good(seq));
    }
    return hf_dictionaries_at(*s, seq);
}

/* ---- 0: a frame that brings one ---- */

/* The whole message, as a core makes it of this raw body. */
static struct hf_slice frame_of(struct hf_slice raw, uint8_t *out, size_t room)
{
    struct hf_header h = {.kind = HF_BATCH_DICTIONARY, .epoch = 1, .seq = GOOD_SEQ, .signer_id = 1};
    uint8_t sealed_bytes[HF_DICTIONARY_FRAME_MAX], header_bytes[HF_HEADER_MAX];
    struct hf_writer sealed, header, w;
    struct hf_signature sig;

    h.raw_bytes = (uint32_t)raw.len;
    hf_writer_init(&sealed, sealed_bytes, sizeof(sealed_bytes));
    HF_ASSERT(hf_body_seal_plain(&h, raw, content.id, &content.key, nonce, &sealed) == HF_OK);
    hf_writer_init(&header, header_bytes, sizeof(header_bytes));
    hf_header_encode(&h, &header);
    hf_header_sign(hf_writer_bytes(&header), secret, &sig);
    hf_writer_init(&w, out, room);
    hf_frame_encode(&genesis.stream, hf_writer_bytes(&header), &sig, hf_writer_bytes(&sealed), &w);
    HF_ASSERT(!header.failed && !w.failed);
    return hf_writer_bytes(&w);
}

/* Unpacks into a buffer of exactly raw_bytes; the caller frees. NULL when it fails. */
static uint8_t *unseal(struct hf_dictionaries *t, const struct hf_header *h, struct hf_slice sealed)
{
    static uint8_t scratch_bytes[4 * BODY_MAX];
    uint8_t *opened = malloc(h->raw_bytes > 0 ? h->raw_bytes : 1);
    struct hf_writer scratch, raw;

    HF_ASSERT(opened != NULL);
    hf_writer_init(&scratch, scratch_bytes, sizeof(scratch_bytes));
    hf_writer_init(&raw, opened, h->raw_bytes);
    enum hf_err err = hf_dictionaries_unseal(t, h, sealed, &content.key, dctx, &scratch, &raw);
    if (err == HF_OK) {
        HF_ASSERT(raw.len == h->raw_bytes);
        return opened;
    }
    HF_ASSERT(err == HF_MALFORMED || err == HF_SEALED);
    free(opened);
    return NULL;
}

/* Seals bytes that are packed already. */
static struct hf_slice seal(struct hf_header *h, struct hf_slice plain)
{
    static uint8_t bytes[4 * BODY_MAX];
    struct hf_writer w;

    hf_writer_init(&w, bytes, sizeof(bytes));
    HF_ASSERT(hf_body_seal_plain(h, plain, content.id, &content.key, nonce, &w) == HF_OK);
    return hf_writer_bytes(&w);
}

/* Packs with the dictionary into `out`; what does not become smaller stays as it is. */
static struct hf_slice pack(const struct hf_dictionary *d, struct hf_slice raw, uint8_t *out,
                            size_t room, struct hf_header *h)
{
    enum hf_compression how;
    struct hf_writer w;

    hf_writer_init(&w, out, room);
    struct hf_slice plain = hf_dictionary_pack(d, raw, cctx, &w, &how);
    *h = (struct hf_header){.seq = 100, .raw_bytes = (uint32_t)raw.len, .compression = how};
    return plain;
}

static void brings_a_dictionary(struct hf_slice raw)
{
    uint8_t message[2 * HF_DICTIONARY_FRAME_MAX], packed[256];
    static struct hf_edge nobody; /* has no keys of its own */
    struct hf_dictionary *d;
    struct hf_header h;

    if (raw.len > HF_DICTIONARY_FRAME_MAX / 2) {
        return;
    }
    struct hf_slice frame = frame_of(raw, message, sizeof(message));
    enum hf_err err = dictionary_open(&nobody, &genesis, &content, 1, frame, &d);
    if (err != HF_OK) {
        HF_ASSERT(d == NULL && err == HF_MALFORMED);
        return;
    }
    HF_ASSERT(hf_dictionary_seq(d) == GOOD_SEQ && hf_slice_eq(hf_dictionary_frame(d), frame));
    struct hf_dictionaries *t = hf_dictionaries_new();
    hf_dictionaries_add(t, d);
    struct hf_slice text = hf_slice_str("checkout checkout checkout checkout checkout");
    struct hf_slice plain = pack(d, text, packed, sizeof(packed), &h);
    uint8_t *opened = unseal(t, &h, seal(&h, plain));
    HF_ASSERT(opened != NULL && memcmp(opened, text.data, text.len) == 0);
    free(opened);
    hf_dictionaries_free(t);
}

/* ---- 1 and 2: bodies that need one ---- */

static struct hf_dictionaries *good_table(void)
{
    static struct hf_dictionaries *t;

    if (t == NULL) {
        t = hf_dictionaries_new();
        hf_dictionaries_add(t, good_at(GOOD_SEQ));
    }
    return t;
}

static void damaged_body(struct hf_slice input)
{
    static uint8_t packed[4 * BODY_MAX];
    size_t flips = input.len == 0 ? 0 : input.data[0] % 8u;
    struct hf_header h;

    if (input.len < 1 + 3 * flips || input.len > BODY_MAX) {
        return;
    }
    struct hf_slice raw = hf_slice_of(input.data + 1 + 3 * flips, input.len - 1 - 3 * flips);
    struct hf_dictionary *d = hf_dictionaries_at(good_table(), GOOD_SEQ);
    struct hf_slice plain = pack(d, raw, packed, sizeof(packed), &h);
    hf_dictionary_unuse(d);
    bool is_packed = h.compression == HF_COMPRESSION_DICTIONARY;
    for (size_t i = 0; i < flips && is_packed; i++) {
        const uint8_t *p = input.data + 1 + 3 * i;
        packed[(p[0] * 256u + p[1]) % plain.len] ^= p[2];
    }
    uint8_t *opened = unseal(good_table(), &h, seal(&h, plain));
    if (flips == 0 || !is_packed) {
        HF_ASSERT(opened != NULL && (raw.len == 0 || memcmp(opened, raw.data, raw.len) == 0));
    }
    free(opened);
}

static void as_if_packed(struct hf_slice input)
{
    struct hf_header h = {.seq = 100, .compression = HF_COMPRESSION_DICTIONARY};

    if (input.len >= 2 && input.len <= BODY_MAX) {
        h.raw_bytes = input.data[0] * 256u + input.data[1];
        free(unseal(good_table(), &h, seal(&h, hf_slice_of(input.data + 2, input.len - 2))));
    }
}

/* ---- 3: the table ---- */

/* What it must hold: seqs, rising; the four newest that were not cut or trimmed. */
struct model {
    hf_seq at[HF_DICTIONARIES_MAX + 1];
    uint32_t count;
};

static void model_add(struct model *m, hf_seq seq)
{
    uint32_t i = 0;

    while (i < m->count && m->at[i] < seq) {
        i++;
    }
    if (i < m->count && m->at[i] == seq) {
        return;
    }
    memmove(m->at + i + 1, m->at + i, (m->count - i) * sizeof(m->at[0]));
    m->at[i] = seq;
    if (++m->count > HF_DICTIONARIES_MAX) {
        memmove(m->at, m->at + 1, --m->count * sizeof(m->at[0]));
    }
}

static void model_trim(struct model *m, hf_seq first)
{
    while (m->count > 1 && m->at[1] + HF_DICTIONARY_LEAD <= first) {
        memmove(m->at, m->at + 1, --m->count * sizeof(m->at[0]));
    }
}

static void check_table(struct hf_dictionaries *t, const struct model *m, hf_seq frame)
{
    hf_seq seq[HF_DICTIONARIES_MAX], best = 0;

    HF_ASSERT(hf_dictionaries_list(t, seq) == m->count);
    for (uint32_t i = 0; i < m->count; i++) {
        HF_ASSERT(seq[i] == m->at[i]);
        best = m->at[i] + HF_DICTIONARY_LEAD <= frame ? m->at[i] : best;
    }
    struct hf_dictionary *d = hf_dictionaries_for(t, frame);
    HF_ASSERT(d == NULL ? best == 0 : hf_dictionary_seq(d) == best);
    hf_dictionary_unuse(d);
}

static void table(struct hf_slice input)
{
    struct hf_dictionaries *t = hf_dictionaries_new();
    struct model m = {.count = 0};

    for (size_t i = 0; i + 2 <= input.len && i < 128; i += 2) {
        hf_seq seq = 1 + (hf_seq)(input.data[i + 1] % SEQS) * SEQ_STEP;
        hf_seq any = input.data[i + 1];
        switch (input.data[i] % 3) {
        case 0:
            hf_dictionaries_add(t, good_at(seq));
            model_add(&m, seq);
            break;
        case 1:
            hf_dictionaries_cut(t, any);
            while (m.count > 0 && m.at[m.count - 1] > any) {
                m.count--;
            }
            break;
        case 2:
            hf_dictionaries_trim(t, any);
            model_trim(&m, any);
            break;
        }
        check_table(t, &m, any);
    }
    hf_dictionaries_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    start();
    if (size == 0) {
        return 0;
    }
    struct hf_slice rest = hf_slice_of(data + 1, size - 1);
    switch (data[0] & 3) {
    case 0:
        brings_a_dictionary(rest);
        return 0;
    case 1:
        damaged_body(rest);
        return 0;
    case 2:
        as_if_packed(rest);
        return 0;
    }
    table(rest);
    return 0;
}
