/*
 * fuzz_signed.c - what only a core can sign: genesis, beacon, head of a carry file; and the token
 * that people copy by hand.
 *
 * A fuzzer cannot sign, so the bytes are signed here, as a core that errs (or was taken over)
 * might. Each input is given to all of them as it is. What is accepted is inside its bounds and
 * encodes again to the very bytes it came from, unless later versions have added to it; the same
 * bytes without a good signature are refused.
 *
 * Read next: proto/wire/genesis.c, beacon.c, token.c and carry.c.
 */
#include "hf/carry.h"
#include "hf/digest.h"
#include "hf/seal.h"

#include <sodium.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct hf_key signer;
static uint8_t secret[HF_SECRET_BYTES];

static void start(void)
{
    static bool started;
    uint8_t seed[crypto_sign_SEEDBYTES]; /* of PROTOCOL.md, so that its golden vectors are seeds */

    for (unsigned i = 0; i < sizeof(seed); i++) {
        seed[i] = (uint8_t)i;
    }
    if (!started) {
        HF_ASSERT(sodium_init() >= 0);
        (void)crypto_sign_seed_keypair(signer.b, secret, seed);
        started = true;
    }
}

/* [bin body, bin signature], as it travels. */
static struct hf_slice sign(const char *domain, struct hf_slice body, uint8_t *out, size_t room)
{
    struct hf_signature sig;
    struct hf_writer w;

    HF_ASSERT(hf_sign(domain, body, secret, &sig));
    hf_writer_init(&w, out, room);
    hf_signed_write(&w, body, &sig);
    HF_ASSERT(!w.failed);
    return hf_writer_bytes(&w);
}

/* True when they are the same, or those that came have more behind the known fields. */
static void check_again(struct hf_slice came, struct hf_slice again)
{
    HF_ASSERT(again.len <= came.len);
    HF_ASSERT(again.len < came.len || hf_slice_eq(again, came));
}

/* ---- genesis ---- */

static void check_genesis(const struct hf_genesis *g)
{
    HF_ASSERT(hf_name_valid(hf_slice_str(g->name)) && hf_key_eq(&g->root, &signer));
    HF_ASSERT(g->signer_count >= 1 && g->signer_count <= HF_SIGNERS_MAX);
    for (uint32_t i = 0; i < g->signer_count; i++) {
        HF_ASSERT(g->signer[i].from <= g->signer[i].to);
        HF_ASSERT(i == 0 || g->signer[i].id > g->signer[i - 1].id);
    }
}

static void as_genesis(struct hf_slice body)
{
    uint8_t bytes[HF_GENESIS_MAX + HF_SIGNED_OVERHEAD], again[HF_GENESIS_MAX];
    struct hf_slice came = sign("holdfast/v1/genesis", body, bytes, sizeof(bytes));
    struct hf_genesis g;
    struct hf_hash chain, same;
    struct hf_writer w;

    if (hf_genesis_open(came, &signer, &g, &chain) != HF_OK) {
        return;
    }
    check_genesis(&g);
    hf_writer_init(&w, again, sizeof(again));
    HF_ASSERT(hf_genesis_sign(&g, secret, &w) == HF_OK);
    check_again(came, hf_writer_bytes(&w));
    HF_ASSERT(hf_genesis_open(hf_writer_bytes(&w), &signer, &g, &same) == HF_OK);
    HF_ASSERT(w.len < came.len || hf_hash_eq(&chain, &same));
    bytes[came.len - 1] ^= 1; /* the signature */
    HF_ASSERT(hf_genesis_open(came, &signer, &g, &chain) == HF_AUTH);
}

/* ---- beacon ---- */

static void as_beacon(struct hf_slice body)
{
    uint8_t bytes[HF_SIGNED_MAX + HF_SIGNED_OVERHEAD], again[HF_BEACON_MAX];
    struct hf_slice came = sign("holdfast/v1/beacon", body, bytes, sizeof(bytes));
    struct hf_beacon b;
    struct hf_writer w;

    if (hf_beacon_decode(came, &b) != HF_OK) {
        return;
    }
    HF_ASSERT(hf_beacon_verify(came, &signer) && came.len <= HF_BEACON_MAX);
    HF_ASSERT(b.head <= HF_SEQ_MAX && b.log_floor <= b.head + 1 && b.delta_floor <= b.head);
    hf_writer_init(&w, again, sizeof(again));
    hf_beacon_sign(&b, secret, &w);
    HF_ASSERT(!w.failed);
    check_again(came, hf_writer_bytes(&w));
    bytes[came.len - 1] ^= 1;
    HF_ASSERT(!hf_beacon_verify(came, &signer));
}

/* The first byte is an index, the rest is a path of whole hashes. */
static void as_proof(struct hf_slice input)
{
    struct hf_hash leaf[256], path[HF_PROOF_MAX + 2], folded, own[HF_PROOF_MAX];
    size_t len = input.len / HF_HASH_BYTES;

    if (input.len % HF_HASH_BYTES != 1 || len > HF_PROOF_MAX + 2) {
        return;
    }
    size_t index = input.data[0];
    memcpy(path, input.data + 1, len * HF_HASH_BYTES);
    memset(leaf, 0, sizeof(leaf));
    for (size_t i = 0; i <= index; i++) {
        leaf[i].b[0] = (uint8_t)i;
        leaf[i].b[1] = 1; /* none is the zeros that a path of a wrong length folds to */
    }
    folded = hf_merkle_fold(&leaf[index], index, path, len);
    struct hf_hash root = hf_merkle_root(leaf, index + 1);
    size_t own_len = hf_merkle_path(leaf, index + 1, index, own);
    struct hf_hash good = hf_merkle_fold(&leaf[index], index, own, own_len);
    HF_ASSERT(hf_hash_eq(&good, &root));
    /* No other path leads to the root. */
    HF_ASSERT(!hf_hash_eq(&folded, &root) ||
              (len == own_len && memcmp(path, own, len * HF_HASH_BYTES) == 0));
}

/* ---- head of a carry file ---- */

static void check_head(struct hf_carry_head *h, const uint8_t in[HF_CARRY_HEAD_BYTES])
{
    uint8_t again[HF_CARRY_HEAD_BYTES];
    struct hf_carry_head same;

    HF_ASSERT(h->last > h->first && h->last <= HF_SEQ_MAX && h->records > 0);
    HF_ASSERT(h->bytes > HF_CARRY_HEAD_BYTES && hf_name_valid(hf_slice_str(h->name)));
    HF_ASSERT(hf_key_eq(&h->core, &signer));
    HF_ASSERT(hf_carry_head_sign(h, secret, again) == HF_OK);
    HF_ASSERT(hf_carry_head_open(again, &same) == HF_OK);
    uint32_t came = in[12] | (uint32_t)in[13] << 8, len = again[12] | (uint32_t)again[13] << 8;
    HF_ASSERT(len < came || (len == came && memcmp(again, in, 16 + len) == 0));
}

static void as_carry_head(struct hf_slice body)
{
    uint8_t in[HF_CARRY_HEAD_BYTES + HF_SIGNED_OVERHEAD] = "HFCARRY";
    struct hf_carry_head h;

    if (body.len > HF_CARRY_HEAD_BYTES - 16 - HF_SIGNED_OVERHEAD) {
        return;
    }
    struct hf_slice came = sign("holdfast/v1/carry", body, in + 16, sizeof(in) - 16);
    in[8] = HF_CARRY_VERSION;
    in[12] = (uint8_t)came.len;
    in[13] = (uint8_t)(came.len >> 8);
    enum hf_err err = hf_carry_head_open(in, &h);
    HF_ASSERT(err == HF_OK || err == HF_MALFORMED || err == HF_AUTH);
    if (err == HF_OK) {
        check_head(&h, in);
        in[16 + came.len - 1] ^= 1;
        HF_ASSERT(hf_carry_head_open(in, &h) == HF_AUTH);
    }
}

/* ---- token ---- */

static void check_token(const struct hf_token *t)
{
    char text[HF_TOKEN_TEXT_MAX];
    struct hf_token same;
    struct hf_error e = {0};

    HF_ASSERT(hf_name_valid(hf_slice_str(t->name)));
    HF_ASSERT(hf_token_print(t, text) == HF_OK && hf_token_parse(text, &same, &e) == HF_OK);
    HF_ASSERT(memcmp(t, &same, sizeof(same)) == 0);
}

/* All of a token but its checksum, which is added. */
static void as_token(struct hf_slice bytes)
{
    uint8_t whole[1024];
    char text[2048] = "hfjoin1:";
    struct hf_token t;
    struct hf_error e = {0};
    struct hf_writer w;

    if (bytes.len > sizeof(whole) - 8) {
        return;
    }
    struct hf_hash sum = hf_hash_of("holdfast/v1/token-text", &bytes, 1);
    hf_writer_init(&w, whole, sizeof(whole));
    hf_write_raw(&w, bytes.data, bytes.len);
    hf_write_fixed(&w, sum.b, 4);
    (void)sodium_bin2base64(text + 8, sizeof(text) - 8, whole, w.len,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    if (hf_token_parse(text, &t, &e) == HF_OK) {
        check_token(&t);
    } else {
        HF_ASSERT(e.code == HF_MALFORMED && e.text[0] != '\0');
    }
}

static void as_token_text(struct hf_slice bytes)
{
    char text[2048];
    struct hf_token t;
    struct hf_error e = {0};

    if (bytes.len >= sizeof(text)) {
        return;
    }
    memcpy(text, bytes.data, bytes.len);
    text[bytes.len] = '\0';
    if (hf_token_parse(text, &t, &e) == HF_OK) {
        check_token(&t);
    } else {
        HF_ASSERT(e.code == HF_ARG || e.code == HF_VERSION || e.code == HF_MALFORMED);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t nothing[1];
    struct hf_slice input = hf_slice_of(size > 0 ? data : nothing, size);

    start();
    if (size > HF_SIGNED_MAX) {
        return 0;
    }
    as_genesis(input);
    as_beacon(input);
    as_proof(input);
    as_carry_head(input);
    as_token(input);
    as_token_text(input);
    return 0;
}
