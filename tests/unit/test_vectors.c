/*
 * test_vectors.c - the golden vectors of proto/PROTOCOL.md, made again from their seeds.
 *
 * The expected bytes were computed by a second implementation, written from the document with other
 * libraries. A vector that changes is a new wire format and breaks every peer in the field: the
 * code is wrong then, not the table. The last test looks for each value in the document itself, so
 * that the two cannot drift apart.
 *
 * All inputs are runs of rising bytes: run(first, n) is first, first + 1, ... The history has three
 * batches: put a = 1, put b = 22, del a. See PROTOCOL.md appendix D for the list of inputs.
 */
#include "hf/digest.h"
#include "hf/messages.h"
#include "hf/records.h"
#include "hf/seal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ROOM = 512, BATCHES = 3 };

struct vector {
    const char *name;
    const char *hex;
};

static const struct vector vectors[] = {
    {"core public key", "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"},
    {"edge public key", "29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7"},
    {"element a, 1, 1", "f622a8b5a9e7902c3df9979c773b6a13f5ee5d61a39ca09d91155565f2309429"},
    {"first lanes of element a", "70e9b801469f33dc91c61d707346a199"},
    {"digest of the empty state",
     "15eff6371b4ac703a6dac0854e64b23afd3597265ad92d1d21af031f7aee415d"},
    {"digest after batch 1", "77cc865a944f929f51538f250cd6fbf2869cb36f2872ac687f949eaf1b330b17"},
    {"digest after batch 2", "03460c957f4cffa0cd52a93ad005df63a99757f1c29e34088eee1a6e73508efb"},
    {"digest after batch 3", "c22c03848e41b17c2bca3bb1a1d37ffff8b19e3700183f480633e837e7264982"},
    {"genesis", "9bc410a0a1a2a3a4a5a6a7a8a9aaabacadaeafc4046d61696e01c410b0b1b2b3b4b5b6b7b8b9babb"
                "bcbdbebfc42003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b80191"
                "9501c42003a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b80101cfff"
                "ffffffffffffffc0c42015eff6371b4ac703a6dac0854e64b23afd3597265ad92d1d21af031f7aee"
                "415d0100"},
    {"genesis signature",
     "7bc2bdd397564a624996f992d1fe8661d4dda49d5e713aed44aab8cb7589616a07786994b8ffdbf6"
     "2d91fbcc51f740caa3a807a7689d970b1a0df8ef652c5201"},
    {"genesis hash", "96b9c3dc7c9bef34272154eec683edac840af6bd464431079489b8f5860664d0"},
    {"content hash of request r1",
     "56b2108ad9e2d388ddc460755e56e1009efdc0413fb6346854ff0578000ab69e"},
    {"raw body 1",
     "92919300c40161c401319196c4027231c42056b2108ad9e2d388ddc460755e56e1009efdc0413fb6"
     "346854ff0578000ab69ec403616e6ec40566697273740001"},
    {"sealed body 1",
     "000102030405060708090a0b0c0d0e0f10111213141516172fbbdf9c7c30680d2fe716bf11253259"
     "a5d73bb07c7368af8f473d1ce8d7c1eb151e994d3e56173f4781ef83200eab4aa72a4b5944316380"
     "a8dd6988369902c99386885d9ce0ba77e9d431d053d62961"},
    {"header 1", "dc001100c410b0b1b2b3b4b5b6b7b8b9babbbcbdbebf0101c42096b9c3dc7c9bef34272154eec683"
                 "edac840af6bd464431079489b8f5860664d00101c4205153477109e9188379ca3bc3d4790fad33cd"
                 "6f45a8d3606bf6bcadcca9b0a5c168400001c42077cc865a944f929f51538f250cd6fbf2869cb36f"
                 "2872ac687f949eaf1b330b17cf0000018bcfe56800010000"},
    {"signature 1",
     "f6f38c32a01978dd9b746ed638952e55f2d2a228d8ea5549ea61f5b824fb5fc473fb67bf4dae81e0"
     "29aacc1e3d127ac08d737fd124f6ba00f95ede72910ec208"},
    {"chain hash 1", "bce2e80400f08737c8904bcedb46e30533ab7f5282a300829c2ccf4788bb3657"},
    {"chain hash 2", "5899cba914e15483edf95eb92d1fe2ac53b6b373172b21d1faeaeaed5ac62e2c"},
    {"chain hash 3", "2296a10768f0e5a9f0cc0cd8854e4903d561d8e399babdd2ce0eb749d2296c79"},
    {"leaf of the nonce", "dbb2f606bfdec98a57adae07fb799abcf5a5937058a4c3665e8ca0fe82e7cefd"},
    {"beacon", "9bc410b0b1b2b3b4b5b6b7b8b9babbbcbdbebf03c4202296a10768f0e5a9f0cc0cd8854e4903d561"
               "d8e399babdd2ce0eb749d2296c79c420c22c03848e41b17c2bca3bb1a1d37ffff8b19e3700183f48"
               "0633e837e7264982010001cf0000010000000001cf0000018bcfe573b8c420dbb2f606bfdec98a57"
               "adae07fb799abcf5a5937058a4c3665e8ca0fe82e7cefd01"},
    {"beacon signature",
     "4709c5f9e83e0d01451980dc7ad64371f6024324d503c46d04f39b19ad7883aead98dd927e88c5f7"
     "f8be123a3e4ec0e2f9ca70e344277d4eec7fb1480916880d"},
    {"root of three leaves", "13934fa602dc73f909fa81bdfb918114a36a17be8f517b3c52c28000412968bd"},
    {"request key", "6ad6ef0b3aabc4215abb3ab5b98823d8f50737255aaaa68946241eae9f51cb73"},
    {"reply key", "b303290c8cf863d7070a4fa48512f575aaa76a76fb510b59284ee3ba029988e9"},
    {"plain text of FETCH", "9b0704c410b0b1b2b3b4b5b6b7b8b9babbbcbdbebf01010300c0c4000000"},
    {"request", "48460104a0a1a2a3a4a5a6a7a8a9aaabacadaeaf29acbae141bccaf0b22e1a94d34d0bc7361e526d"
                "0bfe12c89794bc9322966dd7505152535455565758595a5b5c5d5e5f404142434445464748494a4b"
                "4c4d4e4f505152535455565769f7cdc9457bed8f6acddead1d9662ea62dbd8f519758f48b25f7de9"
                "5b85e33ca479ed806ccbd42c9bbecfc9980f"},
    {"plain text of COOKIE", "93000007"},
    {"reply", "48460105a0a1a2a3a4a5a6a7a8a9aaabacadaeaf707172737475767778797a7b7c7d7e7f98999a9b"
              "9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf0000000084b1c34d9ac965ec081a6d1110a3cd0f"
              "5f67e998"},
    {"records", "9a020000c4020000c4020101c4020402c4020000c4020300c4026261c4023232"},
    {"records in pieces",
     "9a030203c403000200c403020101c4030e0300c403060000c403040102c40461626362c40478797a77"},
    {"descriptor", "98039400ceffffffffceffffffffc4009403ceffffffffceffffffffc4000103012000"},
    {"sealed chunk",
     "d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e750dc7cb1f6479e2e96a5214b1d886e22"
     "aa8e775c13e8a1ea58eb26c3e6599c15a492b6390a1e6b276631dce26770a82e"},
    {"reply with a chunk",
     "48460105a0a1a2a3a4a5a6a7a8a9aaabacadaeaf707172737475767778797a7b7c7d7e7fb0b1b2b3"
     "b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7480000001b794a9f723557f107965b5d1a94220f"
     "3568c04d1bbaff331d1a5fb47b52e677e7d4ea08f4b5bddeb3da53301b61697ae8ca681a8af2d5d3"
     "54c0dde78c0b77f6a4e070d0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e750dc7cb1f6"
     "479e2e96a5214b1d886e22aa8e775c13e8a1ea58eb26c3e6599c15a492b6390a1e6b276631dce267"
     "70a82e"},
    {"fingerprint of a and b", "153a9ce817ac97897686266bee24e9d9ceda40f2d17b99bc4ff821f074888286"},
    {"sub-ranges",
     "93c4016101c420f622a8b5a9e7902c3df9979c773b6a13f5ee5d61a39ca09d91155565f230942993"
     "c40001c4201f17f4326ec4065d398d8ece76e97ec6d9ebe2902edff81ebee2cc8a8257ee5c"},
    {"plain text of RANGES",
     "9b0804c410b0b1b2b3b4b5b6b7b8b9babbbcbdbebf050000cd0800940000ceffffffffc400c40000"
     "02"},
    {"plain text of the RANGES reply",
     "9a0400050202000000c4009201c44d93c4016101c420f622a8b5a9e7902c3df9979c773b6a13f5ee"
     "5d61a39ca09d91155565f230942993c40001c4201f17f4326ec4065d398d8ece76e97ec6d9ebe290"
     "2edff81ebee2cc8a8257ee5c"},
    {"token verifier", "713386c2f96bdef31d135cf10f385d3fada8674c5958686d1b3fe4e41b2d2aff"},
    {"token proof", "f8b7595c3610ef7510703888ff264340851e3959d9b4eac82b5a7a1d8cab9800"},
    {"hash of frame 1", "e08211f5e4b42f005e3a2307aa6f96b527689bd076359f5802ecdc904fb61c69"},
};

static const char token_text[] =
    "hfjoin1:lsQUdGNwOi8vMTI3LjAuMC4xOjc0MTDEIAOhB7_zzhC-HXDdGOdLwJln5NYwm6UNXx3chmQS"
    "VTG4xBDg4eLj5OXm5-jp6uvs7e7vxCBgYWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f8QGZWRn"
    "ZS0xxASn6seU";

/* ---- helpers ---- */

static void run(void *out, uint8_t first, size_t n)
{
    uint8_t *p = out;

    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(first + i);
    }
}

static const char *expected(const char *name)
{
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        if (strcmp(vectors[i].name, name) == 0) {
            return vectors[i].hex;
        }
    }
    fail_msg("no vector has the name '%s'", name);
    return "";
}

static void assert_bytes(const char *name, const void *bytes, size_t len)
{
    char hex[2 * ROOM + 1];

    assert_true(len <= ROOM);
    hf_hex(bytes, len, hex);
    assert_string_equal(hex, expected(name));
}

static void assert_slice(const char *name, struct hf_slice s)
{
    assert_bytes(name, s.data, s.len);
}

static void assert_hash(const char *name, struct hf_hash h)
{
    assert_bytes(name, h.b, sizeof(h.b));
}

/* The expected bytes, as another implementation would send them. */
static struct hf_slice foreign(const char *name, uint8_t out[ROOM])
{
    const char *hex = expected(name);
    size_t len = strlen(hex) / 2;

    assert_true(len <= ROOM);
    assert_int_equal(hf_unhex(hex, out, len), HF_OK);
    return hf_slice_of(out, len);
}

static void identity(struct hf_identity *id, uint8_t first)
{
    uint8_t seed[32];

    run(seed, first, sizeof(seed));
    assert_int_equal(hf_identity_from_seed(id, seed), HF_OK);
}

/* ---- the example history ---- */

struct batch {
    uint8_t raw_bytes[ROOM], sealed_bytes[ROOM], header_bytes[HF_HEADER_MAX], frame_bytes[2 * ROOM];
    struct hf_slice raw, sealed, header, frame;
    struct hf_header h;
    struct hf_signature signature;
    struct hf_hash chain;
};

struct history {
    struct hf_identity core, edge;
    struct hf_id stream, epoch_id;
    struct hf_key content;
    struct hf_hash request; /* content hash of the one request */
    struct hf_hash digest[BATCHES + 1];
    struct hf_genesis genesis;
    uint8_t genesis_bytes[HF_GENESIS_MAX];
    struct hf_slice genesis_signed;
    struct hf_hash genesis_hash;
    struct batch batch[BATCHES];
};

static const struct hf_change changes[BATCHES] = {
    {HF_OP_PUT, {(const uint8_t *)"a", 1}, {(const uint8_t *)"1", 1}},
    {HF_OP_PUT, {(const uint8_t *)"b", 1}, {(const uint8_t *)"22", 2}},
    {HF_OP_DEL, {(const uint8_t *)"a", 1}, {NULL, 0}},
};

static void make_digests(struct history *y)
{
    struct hf_hash a = hf_element_hash(changes[0].key, 1, changes[0].value);
    struct hf_hash b = hf_element_hash(changes[1].key, 2, changes[1].value);
    struct hf_lthash sum;

    hf_lthash_clear(&sum);
    y->digest[0] = hf_lthash_digest(&sum);
    hf_lthash_add(&sum, &a);
    y->digest[1] = hf_lthash_digest(&sum);
    hf_lthash_add(&sum, &b);
    y->digest[2] = hf_lthash_digest(&sum);
    hf_lthash_sub(&sum, &a);
    y->digest[3] = hf_lthash_digest(&sum);
}

static void make_genesis(struct history *y)
{
    struct hf_genesis *g = &y->genesis;
    struct hf_genesis opened;
    struct hf_writer w;

    *g = (struct hf_genesis){.stream = y->stream,
                             .name = "main",
                             .epoch = 1,
                             .epoch_id = y->epoch_id,
                             .root = y->core.public_key,
                             .key_list_version = 1,
                             .signer_count = 1,
                             .signer = {{1, y->core.public_key, 1, 1, UINT64_MAX}},
                             .digest = y->digest[0],
                             .algorithms = 1};
    hf_writer_init(&w, y->genesis_bytes, sizeof(y->genesis_bytes));
    assert_int_equal(hf_genesis_sign(g, y->core.secret, &w), HF_OK);
    y->genesis_signed = hf_writer_bytes(&w);
    assert_int_equal(
        hf_genesis_open(y->genesis_signed, &y->core.public_key, &opened, &y->genesis_hash), HF_OK);
}

static void make_raw(const struct history *y, size_t i, struct batch *b)
{
    struct hf_writer w;

    hf_writer_init(&w, b->raw_bytes, sizeof(b->raw_bytes));
    hf_body_begin(&w, 1);
    hf_body_change(&w, &changes[i]);
    hf_body_meta_begin(&w, i == 0 ? 1 : 0);
    if (i == 0) {
        struct hf_meta m = {.request_id = hf_slice_str("r1"),
                            .content_hash = y->request,
                            .author = hf_slice_str("ann"),
                            .reason = hf_slice_str("first"),
                            .count = 1};

        hf_body_meta(&w, &m);
    }
    b->raw = hf_writer_bytes(&w);
}

static void make_batch(struct history *y, size_t i)
{
    struct batch *b = &y->batch[i];
    uint8_t nonce[HF_NONCE_BYTES];
    struct hf_writer w;

    make_raw(y, i, b);
    b->h = (struct hf_header){.epoch_id = y->epoch_id,
                              .epoch = 1,
                              .seq = i + 1,
                              .prev = i == 0 ? y->genesis_hash : y->batch[i - 1].chain,
                              .signer_id = 1,
                              .key_list_version = 1,
                              .digest = y->digest[i + 1],
                              .published_ms = UINT64_C(1700000000000) + 1000 * i,
                              .change_count = 1};
    run(nonce, (uint8_t)(0x18 * i), sizeof(nonce));
    hf_writer_init(&w, b->sealed_bytes, sizeof(b->sealed_bytes));
    assert_int_equal(hf_body_seal(&b->h, b->raw, 1, &y->content, nonce, NULL, NULL, &w), HF_OK);
    b->sealed = hf_writer_bytes(&w);
    hf_writer_init(&w, b->header_bytes, sizeof(b->header_bytes));
    hf_header_encode(&b->h, &w);
    b->header = hf_writer_bytes(&w);
    hf_header_sign(b->header, y->core.secret, &b->signature);
    b->chain = hf_chain_hash(b->header);
    hf_writer_init(&w, b->frame_bytes, sizeof(b->frame_bytes));
    hf_frame_encode(&y->stream, b->header, &b->signature, b->sealed, &w);
    b->frame = hf_writer_bytes(&w);
}

static int setup(void **state)
{
    static const uint8_t unconditional[9];
    struct history *y = calloc(1, sizeof(*y));
    uint8_t bytes[ROOM];
    struct hf_writer w;

    assert_non_null(y);
    assert_int_equal(hf_crypto_init(), HF_OK);
    identity(&y->core, 0x00);
    identity(&y->edge, 0x20);
    run(y->stream.b, 0xa0, sizeof(y->stream.b));
    run(y->epoch_id.b, 0xb0, sizeof(y->epoch_id.b));
    run(y->content.b, 0xc0, sizeof(y->content.b));
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_body_change(&w, &changes[0]);
    struct hf_slice part[2] = {hf_slice_of(unconditional, sizeof(unconditional)),
                               hf_writer_bytes(&w)};
    y->request = hf_hash_of("holdfast/v1/request", part, 2);
    make_digests(y);
    make_genesis(y);
    for (size_t i = 0; i < BATCHES; i++) {
        make_batch(y, i);
    }
    *state = y;
    return 0;
}

static int teardown(void **state)
{
    struct history *y = *state;

    hf_identity_free(&y->core);
    hf_identity_free(&y->edge);
    free(y);
    return 0;
}

/* ---- sections 1 and 5: identities, genesis, digest ---- */

static void public_keys_come_from_their_seeds(void **state)
{
    const struct history *y = *state;

    assert_bytes("core public key", y->core.public_key.b, HF_KEY_BYTES);
    assert_bytes("edge public key", y->edge.public_key.b, HF_KEY_BYTES);
}

static void digest_follows_each_batch_and_forgets_the_deleted_key(void **state)
{
    const struct history *y = *state;
    struct hf_hash a = hf_element_hash(changes[0].key, 1, changes[0].value);
    uint8_t lanes[2048];
    struct hf_lthash sum;

    assert_hash("element a, 1, 1", a);
    hf_lthash_clear(&sum);
    hf_lthash_add(&sum, &a);
    hf_lthash_save(&sum, lanes);
    assert_bytes("first lanes of element a", lanes, 16);
    assert_hash("digest of the empty state", y->digest[0]);
    assert_hash("digest after batch 1", y->digest[1]);
    assert_hash("digest after batch 2", y->digest[2]);
    assert_hash("digest after batch 3", y->digest[3]);
}

static void genesis_is_signed_and_hashed_as_written(void **state)
{
    const struct history *y = *state;
    struct hf_signature sig;
    struct hf_slice body;

    assert_int_equal(hf_signed_split(y->genesis_signed, HF_GENESIS_MAX, &body, &sig), HF_OK);
    assert_slice("genesis", body);
    assert_bytes("genesis signature", sig.b, sizeof(sig.b));
    assert_hash("genesis hash", y->genesis_hash);
}

/* ---- sections 3 and 4: batches ---- */

static void first_batch_has_these_bytes_from_raw_body_to_frame(void **state)
{
    const struct history *y = *state;
    const struct batch *b = &y->batch[0];

    assert_hash("content hash of request r1", y->request);
    assert_slice("raw body 1", b->raw);
    assert_slice("sealed body 1", b->sealed);
    assert_slice("header 1", b->header);
    assert_bytes("signature 1", b->signature.b, sizeof(b->signature.b));
    assert_int_equal(b->frame.len, 339);
    assert_hash("hash of frame 1", hf_hash_of("", &b->frame, 1));
}

static void chain_links_the_three_batches(void **state)
{
    const struct history *y = *state;

    assert_hash("chain hash 1", y->batch[0].chain);
    assert_hash("chain hash 2", y->batch[1].chain);
    assert_hash("chain hash 3", y->batch[2].chain);
}

static void foreign_body_opens_under_the_foreign_header(void **state)
{
    const struct history *y = *state;
    uint8_t header_bytes[ROOM], body_bytes[ROOM], raw_bytes[ROOM];
    struct hf_slice header = foreign("header 1", header_bytes);
    struct hf_slice sealed = foreign("sealed body 1", body_bytes);
    struct hf_frame f = {.header = header, .body = sealed};
    struct hf_signature sig;
    struct hf_writer raw, scratch = {.data = NULL};

    assert_int_equal(hf_unhex(expected("signature 1"), sig.b, sizeof(sig.b)), HF_OK);
    assert_true(hf_header_verify(header, &sig, &y->core.public_key));
    assert_int_equal(hf_header_decode(header, &f.h), HF_OK);
    assert_true(hf_frame_body_matches(&f));
    hf_writer_init(&raw, raw_bytes, sizeof(raw_bytes));
    assert_int_equal(hf_body_unseal(&f.h, sealed, &y->content, NULL, &scratch, &raw), HF_OK);
    assert_slice("raw body 1", hf_writer_bytes(&raw));
}

/* ---- section 6: beacon, envelope ---- */

static void beacon_answers_the_nonce(void **state)
{
    const struct history *y = *state;
    uint8_t nonce[HF_NONCE_BYTES], bytes[HF_BEACON_MAX];
    struct hf_beacon b = {.epoch_id = y->epoch_id,
                          .head = 3,
                          .chain = y->batch[2].chain,
                          .digest = y->digest[3],
                          .log_floor = 1,
                          .key_list_version = 1,
                          .counter = UINT64_C(1) << 40 | 1,
                          .time_ms = UINT64_C(1700000003000),
                          .has_nonce = true,
                          .signer_id = 1};
    struct hf_signature sig;
    struct hf_writer w;
    struct hf_slice body;

    run(nonce, 0x40, sizeof(nonce));
    b.nonce = hf_beacon_leaf(nonce);
    assert_hash("leaf of the nonce", b.nonce);
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_beacon_sign(&b, y->core.secret, &w);
    assert_int_equal(hf_signed_split(hf_writer_bytes(&w), HF_BEACON_MAX, &body, &sig), HF_OK);
    assert_slice("beacon", body);
    assert_bytes("beacon signature", sig.b, sizeof(sig.b));
}

static void odd_leaf_is_promoted_to_the_root(void **state)
{
    struct hf_hash leaf[3], path[HF_PROOF_MAX], root;
    uint8_t nonce[HF_NONCE_BYTES];

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        run(nonce, (uint8_t)(0x40 + 0x20 * i), sizeof(nonce));
        leaf[i] = hf_beacon_leaf(nonce);
    }
    assert_hash("root of three leaves", hf_merkle_root(leaf, 3));
    assert_int_equal(hf_merkle_path(leaf, 3, 2, path), 1);
    root = hf_merkle_fold(&leaf[2], 2, path, 1);
    assert_hash("root of three leaves", root);
}

/* The envelope that both messages of the example are under. */
static struct hf_envelope envelope(const struct history *y, uint8_t cookie, uint8_t nonce)
{
    struct hf_envelope e = {.stream = y->stream, .sender = y->edge.public_key};

    run(e.cookie.b, cookie, sizeof(e.cookie.b));
    run(e.nonce, nonce, sizeof(e.nonce));
    return e;
}

static void request_is_sealed_for_the_core(void **state)
{
    const struct history *y = *state;
    struct hf_envelope e = envelope(y, 0x50, 0x40);
    struct hf_request q = {.counter = 7, .type = HF_MSG_FETCH};
    uint8_t plain[ROOM], bytes[ROOM];
    struct hf_envelope_keys keys;
    struct hf_writer w, out;

    assert_int_equal(hf_envelope_derive(&y->edge, &y->core.public_key, &keys), HF_OK);
    assert_bytes("request key", keys.request, sizeof(keys.request));
    assert_bytes("reply key", keys.reply, sizeof(keys.reply));
    q.fetch = (struct hf_fetch_request){
        .epoch_id = y->epoch_id, .want = HF_WANT_LOG, .first = 1, .last = 3};
    hf_writer_init(&w, plain, sizeof(plain));
    hf_request_encode(&q, &w);
    assert_slice("plain text of FETCH", hf_writer_bytes(&w));
    hf_writer_init(&out, bytes, sizeof(bytes));
    hf_request_seal(&e, &y->core.public_key, &keys, hf_writer_bytes(&w), &out);
    assert_slice("request", hf_writer_bytes(&out));
}

static void foreign_reply_opens_at_the_edge(void **state)
{
    const struct history *y = *state;
    struct hf_envelope asked = envelope(y, 0x50, 0x40);
    struct hf_envelope fresh = envelope(y, 0x70, 0x98);
    uint8_t bytes[ROOM], plain[ROOM];
    struct hf_envelope_keys keys;
    struct hf_envelope got;
    struct hf_writer w;

    assert_int_equal(hf_envelope_derive(&y->edge, &y->core.public_key, &keys), HF_OK);
    hf_writer_init(&w, plain, sizeof(plain));
    assert_int_equal(hf_reply_open(foreign("reply", bytes), &y->core.public_key,
                                   &y->edge.public_key, asked.nonce, &keys, &got, &w),
                     HF_OK);
    assert_slice("plain text of COOKIE", hf_writer_bytes(&w));
    assert_true(hf_id_eq(&got.cookie, &fresh.cookie));
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_reply_seal(&fresh, &y->core.public_key, asked.nonce, &keys,
                  hf_slice_of(plain, strlen(expected("plain text of COOKIE")) / 2), 0, &w);
    assert_slice("reply", hf_writer_bytes(&w));
}

/* ---- section 8: a chunk ---- */

static void put_records(const struct hf_record *rec, unsigned count, struct hf_writer *w)
{
    uint8_t memory[HF_COLUMNS * ROOM];
    struct hf_slice block[HF_RECORDS_BLOCKS];
    struct hf_columns columns;

    hf_columns_init(&columns, memory, ROOM);
    for (unsigned i = 0; i < count; i++) {
        hf_columns_add(&columns, &rec[i]);
    }
    hf_columns_finish(&columns, w, block);
}

/* A reply with that chunk, and as another implementation would send it. */
static void reply_carries(const struct history *y, const struct hf_chunk *c)
{
    struct hf_envelope asked = envelope(y, 0x50, 0x40);
    struct hf_envelope fresh = envelope(y, 0x70, 0xb0);
    struct hf_reply p = {.type = HF_MSG_FETCH, .fetch = {.want = c->want, .chunk = *c}};
    uint8_t bytes[ROOM], plain[ROOM];
    struct hf_envelope_keys keys;
    struct hf_envelope got;
    struct hf_reply back;
    struct hf_writer w, out;

    assert_int_equal(hf_envelope_derive(&y->edge, &y->core.public_key, &keys), HF_OK);
    hf_writer_init(&w, plain, sizeof(plain));
    hf_reply_encode(&p, &w);
    hf_writer_init(&out, bytes, sizeof(bytes));
    hf_reply_seal(&fresh, &y->core.public_key, asked.nonce, &keys, hf_writer_bytes(&w),
                  hf_reply_tail(&p), &out);
    assert_slice("reply with a chunk", hf_writer_bytes(&out));
    hf_writer_init(&w, plain, sizeof(plain));
    assert_int_equal(hf_reply_open(foreign("reply with a chunk", bytes), &y->core.public_key,
                                   &y->edge.public_key, asked.nonce, &keys, &got, &w),
                     HF_OK);
    assert_int_equal(hf_reply_decode(hf_writer_bytes(&w), &back), HF_OK);
    assert_true(hf_slice_eq(back.fetch.chunk.descriptor, c->descriptor));
    assert_true(hf_slice_eq(back.fetch.chunk.sealed, c->sealed));
}

/* The first value lacks its beginning and the last its end; a key leans on the one before, and two
 * records share a batch. */
static void columns_are_as_written(void **state)
{
    const struct hf_record rec[] = {
        {hf_slice_str("ab"), 7, 3, false, 5, 2, hf_slice_str("xyz")},
        {hf_slice_str("abc"), 5, 0, false, 0, 0, hf_slice_str("")},
        {hf_slice_str("b"), 5, 1, false, 4, 0, hf_slice_str("w")},
    };
    uint8_t bytes[ROOM];
    struct hf_writer w;

    (void)state;
    hf_writer_init(&w, bytes, sizeof(bytes));
    put_records(rec, 3, &w);
    assert_slice("records in pieces", hf_writer_bytes(&w));
}

static void chunk_carries_the_delta_of_the_history(void **state)
{
    const struct history *y = *state;
    struct hf_bound zero = {.offset = HF_OFFSET_END, .ordinal = UINT32_MAX};
    struct hf_bound three = {.seq = 3, .offset = HF_OFFSET_END, .ordinal = UINT32_MAX};
    struct hf_record b = {.key = changes[1].key, .seq = 2, .total = 2, .value = changes[1].value};
    struct hf_record a = {.key = changes[2].key, .seq = 3, .tombstone = true};
    uint8_t records[ROOM], descriptor[ROOM], sealed[ROOM], nonce[HF_NONCE_BYTES];
    struct hf_writer r, d, s;

    hf_writer_init(&r, records, sizeof(records));
    put_records((const struct hf_record[]){b, a}, 2, &r);
    assert_slice("records", hf_writer_bytes(&r));
    struct hf_chunk c = {.want = HF_WANT_DELTA,
                         .from = zero,
                         .to = three,
                         .end = true,
                         .asof = 3,
                         .key_id = 1,
                         .raw_bytes = (uint32_t)r.len};
    hf_writer_init(&d, descriptor, sizeof(descriptor));
    hf_chunk_describe(&c, &d);
    assert_slice("descriptor", hf_writer_bytes(&d));
    run(nonce, 0xd0, sizeof(nonce));
    hf_writer_init(&s, sealed, sizeof(sealed));
    hf_chunk_seal(&y->content, nonce, hf_writer_bytes(&d), hf_writer_bytes(&r), &s);
    assert_slice("sealed chunk", hf_writer_bytes(&s));
    c.descriptor = hf_writer_bytes(&d);
    c.sealed = hf_writer_bytes(&s);
    reply_carries(y, &c);
}

/* ---- section 1: the join token ---- */

static void token_and_its_proof_are_as_written(void **state)
{
    const struct history *y = *state;
    struct hf_token t = {
        .url = "tcp://127.0.0.1:7410", .root = y->core.public_key, .name = "edge-1"};
    char text[HF_TOKEN_TEXT_MAX];
    uint8_t nonce[HF_NONCE_BYTES];
    struct hf_hash verifier;

    run(t.id.b, 0xe0, sizeof(t.id.b));
    run(t.secret, 0x60, sizeof(t.secret));
    assert_int_equal(hf_token_print(&t, text), HF_OK);
    assert_string_equal(text, token_text);
    verifier = hf_token_verifier(t.secret);
    assert_hash("token verifier", verifier);
    run(nonce, 0x40, sizeof(nonce));
    assert_hash("token proof",
                hf_token_proof(&verifier, &y->edge.public_key, &y->core.public_key, nonce));
}

/* State 2 of the history has a and b; they are asked for with a bound at the beginning. */
static void ranges_add_up_elements_and_lie_side_by_side(void **state)
{
    const struct history *y = *state;
    struct hf_request q = {.counter = 8, .type = HF_MSG_FETCH};
    struct hf_reply p = {.type = HF_MSG_FETCH};
    struct hf_subrange s[2] = {{.last = changes[0].key, .count = 1}, {.count = 1}};
    struct hf_hash both = {{0}};
    uint8_t ranges[ROOM], bytes[ROOM];
    struct hf_writer r, w;

    s[0].fingerprint = hf_element_hash(changes[0].key, 1, changes[0].value);
    s[1].fingerprint = hf_element_hash(changes[1].key, 2, changes[1].value);
    hf_fingerprint_add(&both, &s[0].fingerprint);
    hf_fingerprint_add(&both, &s[1].fingerprint);
    assert_hash("fingerprint of a and b", both);
    hf_writer_init(&r, ranges, sizeof(ranges));
    hf_fetch_put_range(&r, &s[0]);
    hf_fetch_put_range(&r, &s[1]);
    assert_slice("sub-ranges", hf_writer_bytes(&r));
    q.fetch = (struct hf_fetch_request){.epoch_id = y->epoch_id,
                                        .want = HF_WANT_RANGES,
                                        .grain = 2048,
                                        .from = {.offset = HF_OFFSET_END},
                                        .asof_min = 2};
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_request_encode(&q, &w);
    assert_slice("plain text of RANGES", hf_writer_bytes(&w));
    p.fetch = (struct hf_fetch_reply){.want = HF_WANT_RANGES,
                                      .range_count = 2,
                                      .ranges = hf_writer_bytes(&r),
                                      .end = true,
                                      .seq = 2};
    hf_writer_init(&w, bytes, sizeof(bytes));
    hf_reply_encode(&p, &w);
    assert_slice("plain text of the RANGES reply", hf_writer_bytes(&w));
}

/* ---- the document ---- */

/* The document without white space: hex may be cut into lines anywhere. */
static char *document(void)
{
    FILE *f = fopen("proto/PROTOCOL.md", "re");
    char *text = malloc(1u << 20);
    size_t len = 0;
    int c;

    if (f == NULL) {
        fail_msg("proto/PROTOCOL.md cannot be read: run this from the top of the tree");
    }
    assert_non_null(text);
    while ((c = fgetc(f)) != EOF) {
        if (c != ' ' && c != '\n') {
            assert_true(len + 1 < 1u << 20);
            text[len++] = (char)c;
        }
    }
    fclose(f);
    text[len] = '\0';
    return text;
}

static void document_shows_every_vector(void **state)
{
    char *text = document();

    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        if (strstr(text, vectors[i].hex) == NULL) {
            fail_msg("PROTOCOL.md does not show '%s'", vectors[i].name);
        }
    }
    assert_non_null(strstr(text, token_text));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(public_keys_come_from_their_seeds),
        cmocka_unit_test(ranges_add_up_elements_and_lie_side_by_side),
        cmocka_unit_test(digest_follows_each_batch_and_forgets_the_deleted_key),
        cmocka_unit_test(genesis_is_signed_and_hashed_as_written),
        cmocka_unit_test(first_batch_has_these_bytes_from_raw_body_to_frame),
        cmocka_unit_test(chain_links_the_three_batches),
        cmocka_unit_test(foreign_body_opens_under_the_foreign_header),
        cmocka_unit_test(beacon_answers_the_nonce),
        cmocka_unit_test(odd_leaf_is_promoted_to_the_root),
        cmocka_unit_test(request_is_sealed_for_the_core),
        cmocka_unit_test(foreign_reply_opens_at_the_edge),
        cmocka_unit_test(columns_are_as_written),
        cmocka_unit_test(chunk_carries_the_delta_of_the_history),
        cmocka_unit_test(token_and_its_proof_are_as_written),
        cmocka_unit_test(document_shows_every_vector),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
