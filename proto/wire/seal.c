/*
 * seal.c - identities, signatures, keyed hashes, and the two envelopes (control messages, chunks).
 *
 * Byte level (|| joins bytes without lengths; every part but the last has a fixed length):
 *     signature   Ed25519(domain || message)
 *     keys        BLAKE2b-512("holdfast/v1/envelope" || X25519 shared secret || lower public key ||
 *                 higher public key), public keys as Ed25519 bytes in memcmp order; the first 32
 *                 bytes seal requests, the last 32 replies
 *     request     prefix(kind 4) || sender || cookie || nonce || sealed
 *     reply       prefix(kind 5) || cookie || nonce || u32le bytes of tail || sealed || tail
 *     sealed      XChaCha20-Poly1305; associated data = prefix || sender || recipient || cookie,
 *                 and behind it, for a reply, the request's nonce || tail
 *     chunk       nonce || XChaCha20-Poly1305; associated data = "holdfast/v1/chunk" || descriptor
 *
 * Invariant: a plain text comes out only when every byte that came with it was authenticated, and a
 * message opens in one direction, between one pair of nodes, and a reply for one request only. The
 * kind in the prefix is the direction.
 *
 * The tail of a reply is sealed already, under a content key: to encrypt it again would double what
 * a transfer costs both ends here. PROTOCOL.md 6.2 says what that shows to whom.
 *
 * Must not: draw randomness or read a clock (nonces are arguments, so the simulator decides them),
 * or leave a derived secret on the stack.
 *
 * Read next: include/hf/seal.h; genesis.c, beacon.c and token.c build on this; PROTOCOL.md 1 and 6.
 */
#include "hf/seal.h"

#include "hf/bytes.h"

#include <sodium.h>

/* Longest domain string; ours have about twenty characters. */
#define DOMAIN_MAX 64u
/* prefix, two keys, cookie, nonce */
#define BOUND_MAX (HF_PREFIX_BYTES + 2u * HF_KEY_BYTES + HF_COOKIE_BYTES + HF_NONCE_BYTES)
#define TAIL_LEN_BYTES 4u

static const char envelope_domain[] = "holdfast/v1/envelope";
static const char chunk_domain[] = "holdfast/v1/chunk";

/* ---- identity ---- */

enum hf_err hf_crypto_init(void)
{
    /* The only way it fails is that the kernel gives no random bytes. */
    return sodium_init() < 0 ? HF_IO : HF_OK;
}

enum hf_err hf_identity_from_seed(struct hf_identity *id, const uint8_t seed[32])
{
    id->secret = hf_secret_new(HF_SECRET_BYTES);
    if (id->secret == NULL) {
        memset(&id->public_key, 0, sizeof id->public_key);
        return HF_NOMEM;
    }
    HF_ASSERT(crypto_sign_seed_keypair(id->public_key.b, id->secret, seed) == 0);
    return HF_OK;
}

void hf_identity_free(struct hf_identity *id)
{
    hf_secret_free(id->secret);
    memset(id, 0, sizeof *id);
}

void *hf_secret_new(size_t len)
{
    return sodium_malloc(len);
}

void hf_secret_free(void *p)
{
    sodium_free(p); /* wipes; NULL is fine */
}

/* ---- signatures and hashes ---- */

/* libsodium signs one contiguous message (its multi-part form is another algorithm, Ed25519ph), so
 * domain and message are joined here. Empty when they are too long. */
static struct hf_slice join_domain(const char *domain, struct hf_slice message,
                                   uint8_t out[DOMAIN_MAX + HF_SIGNED_MAX])
{
    struct hf_writer w;

    if (strlen(domain) > DOMAIN_MAX || message.len > HF_SIGNED_MAX) {
        return hf_slice_of(NULL, 0);
    }
    hf_writer_init(&w, out, DOMAIN_MAX + HF_SIGNED_MAX);
    hf_write_raw(&w, domain, strlen(domain));
    hf_write_raw(&w, message.data, message.len);
    return hf_writer_bytes(&w);
}

bool hf_sign(const char *domain, struct hf_slice message, const uint8_t secret[HF_SECRET_BYTES],
             struct hf_signature *out)
{
    uint8_t buffer[DOMAIN_MAX + HF_SIGNED_MAX];
    struct hf_slice joined = join_domain(domain, message, buffer);

    memset(out, 0, sizeof *out);
    return joined.len > 0 &&
           crypto_sign_detached(out->b, NULL, joined.data, joined.len, secret) == 0;
}

bool hf_verify(const char *domain, struct hf_slice message, const struct hf_signature *sig,
               const struct hf_key *signer)
{
    uint8_t buffer[DOMAIN_MAX + HF_SIGNED_MAX];
    struct hf_slice joined = join_domain(domain, message, buffer);

    /* libsodium refuses S + L and keys and R of small order, so a signature has one form. */
    return joined.len > 0 &&
           crypto_sign_verify_detached(sig->b, joined.data, joined.len, signer->b) == 0;
}

void hf_signed_write(struct hf_writer *w, struct hf_slice body, const struct hf_signature *sig)
{
    hf_write_array(w, 2);
    hf_write_bin(w, body);
    hf_write_fixed(w, sig->b, sizeof sig->b);
}

enum hf_err hf_signed_split(struct hf_slice bytes, size_t max, struct hf_slice *body,
                            struct hf_signature *sig)
{
    struct hf_reader r;

    hf_reader_init(&r, bytes);
    (void)hf_read_array(&r, 2, 2);
    *body = hf_read_bin(&r, max);
    hf_read_fixed(&r, sig->b, sizeof sig->b);
    if (!hf_reader_done(&r)) {
        *body = hf_slice_of(NULL, 0);
        memset(sig, 0, sizeof *sig);
        return HF_MALFORMED;
    }
    return HF_OK;
}

void hf_keyed_hash(const char *domain, const uint8_t *key, size_t key_len,
                   const struct hf_slice *parts, size_t count, uint8_t *out, size_t out_len)
{
    crypto_generichash_state state;

    HF_ASSERT(key_len >= crypto_generichash_KEYBYTES_MIN);
    HF_ASSERT(key_len <= crypto_generichash_KEYBYTES_MAX);
    HF_ASSERT(out_len >= crypto_generichash_BYTES_MIN && out_len <= crypto_generichash_BYTES_MAX);
    (void)crypto_generichash_init(&state, key, key_len, out_len);
    (void)crypto_generichash_update(&state, (const uint8_t *)domain, strlen(domain));
    for (size_t i = 0; i < count; i++) {
        (void)crypto_generichash_update(&state, parts[i].data, parts[i].len);
    }
    (void)crypto_generichash_final(&state, out, out_len);
    sodium_memzero(&state, sizeof state);
}

bool hf_secret_eq(const void *a, const void *b, size_t len)
{
    return sodium_memcmp(a, b, len) == 0;
}

/* ---- text ---- */

void hf_hex(const void *bytes, size_t len, char *out)
{
    (void)sodium_bin2hex(out, 2 * len + 1, bytes, len);
}

/* Value of a lower-case hex digit, or -1. sodium_hex2bin takes upper case too, and one key must
 * have one spelling: the text is compared and looked up as text. */
static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum hf_err hf_unhex(const char *text, void *out, size_t len)
{
    uint8_t *bytes = out;

    memset(out, 0, len);
    if (strlen(text) != 2 * len) {
        return HF_ARG;
    }
    for (size_t i = 0; i < len; i++) {
        int high = hex_digit(text[2 * i]);
        int low = hex_digit(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            memset(out, 0, len);
            return HF_ARG;
        }
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return HF_OK;
}

bool hf_name_valid(struct hf_slice name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-";

    if (name.len < 1 || name.len > HF_NAME_MAX) {
        return false;
    }
    for (size_t i = 0; i < name.len; i++) {
        if (memchr(allowed, name.data[i], sizeof allowed - 1) == NULL) {
            return false;
        }
    }
    /* A name becomes a file name and an argument: no hidden files, no options. */
    return name.data[0] != '.' && name.data[0] != '_' && name.data[0] != '-';
}

/* ---- sealed bytes through a writer ---- */

struct cipher {
    const uint8_t *key;
    const uint8_t *nonce;
    struct hf_slice bound; /* associated data */
};

static void seal(const struct cipher *c, struct hf_slice plain, struct hf_writer *w)
{
    if (w->failed || w->cap - w->len < HF_TAG_BYTES || plain.len > w->cap - w->len - HF_TAG_BYTES) {
        w->failed = true;
        return;
    }
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(w->data + w->len, NULL, plain.data, plain.len,
                                                     c->bound.data, c->bound.len, NULL, c->nonce,
                                                     c->key);
    w->len += plain.len + HF_TAG_BYTES;
}

static enum hf_err unseal(const struct cipher *c, struct hf_slice sealed, struct hf_writer *w)
{
    size_t plain_len;

    if (sealed.len < HF_TAG_BYTES) {
        return HF_AUTH;
    }
    plain_len = sealed.len - HF_TAG_BYTES;
    if (w->failed || plain_len > w->cap - w->len) {
        w->failed = true;
        return HF_TOO_BIG;
    }
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(w->data + w->len, NULL, NULL, sealed.data,
                                                   sealed.len, c->bound.data, c->bound.len,
                                                   c->nonce, c->key) != 0) {
        return HF_AUTH;
    }
    w->len += plain_len;
    return HF_OK;
}

/* ---- envelope ---- */

static void derive_keys(const uint8_t shared[32], const struct hf_key *a, const struct hf_key *b,
                        struct hf_envelope_keys *keys)
{
    bool ordered = memcmp(a->b, b->b, HF_KEY_BYTES) < 0;
    crypto_generichash_state state;
    uint8_t out[64];

    (void)crypto_generichash_init(&state, NULL, 0, sizeof out);
    (void)crypto_generichash_update(&state, (const uint8_t *)envelope_domain,
                                    sizeof envelope_domain - 1);
    (void)crypto_generichash_update(&state, shared, 32);
    (void)crypto_generichash_update(&state, ordered ? a->b : b->b, HF_KEY_BYTES);
    (void)crypto_generichash_update(&state, ordered ? b->b : a->b, HF_KEY_BYTES);
    (void)crypto_generichash_final(&state, out, sizeof out);
    memcpy(keys->request, out, 32);
    memcpy(keys->reply, out + 32, 32);
    sodium_memzero(&state, sizeof state);
    sodium_memzero(out, sizeof out);
}

bool hf_key_is_point(const struct hf_key *key)
{
    uint8_t curve[crypto_scalarmult_BYTES];

    return crypto_sign_ed25519_pk_to_curve25519(curve, key->b) == 0;
}

enum hf_err hf_envelope_derive(const struct hf_identity *self, const struct hf_key *other,
                               struct hf_envelope_keys *keys)
{
    uint8_t own[crypto_scalarmult_SCALARBYTES];
    uint8_t theirs[crypto_scalarmult_BYTES];
    uint8_t shared[crypto_scalarmult_BYTES];
    bool sound;

    memset(keys, 0, sizeof *keys);
    /* Both refuse points of small order, the second also an all-zero result. */
    sound = crypto_sign_ed25519_pk_to_curve25519(theirs, other->b) == 0 &&
            crypto_sign_ed25519_sk_to_curve25519(own, self->secret) == 0 &&
            crypto_scalarmult(shared, own, theirs) == 0;
    if (sound) {
        derive_keys(shared, &self->public_key, other, keys);
    }
    sodium_memzero(own, sizeof own);
    sodium_memzero(shared, sizeof shared);
    return sound ? HF_OK : HF_AUTH;
}

/* Writes what any message is bound to. */
static void bind_parties(struct hf_writer *bound, enum hf_kind kind, const struct hf_envelope *e,
                         const struct hf_key *sender, const struct hf_key *recipient)
{
    hf_prefix_write(bound, kind, &e->stream);
    hf_write_raw(bound, sender->b, HF_KEY_BYTES);
    hf_write_raw(bound, recipient->b, HF_KEY_BYTES);
    hf_write_raw(bound, e->cookie.b, HF_COOKIE_BYTES);
}

void hf_request_seal(const struct hf_envelope *e, const struct hf_key *recipient,
                     const struct hf_envelope_keys *keys, struct hf_slice plain,
                     struct hf_writer *w)
{
    uint8_t buffer[BOUND_MAX];
    struct hf_writer bound;

    hf_writer_init(&bound, buffer, sizeof buffer);
    bind_parties(&bound, HF_KIND_REQUEST, e, &e->sender, recipient);
    hf_prefix_write(w, HF_KIND_REQUEST, &e->stream);
    hf_write_raw(w, e->sender.b, HF_KEY_BYTES);
    hf_write_raw(w, e->cookie.b, HF_COOKIE_BYTES);
    hf_write_raw(w, e->nonce, HF_NONCE_BYTES);
    seal(&(struct cipher){keys->request, e->nonce, hf_writer_bytes(&bound)}, plain, w);
}

/* Takes the fixed part of a message into e and the rest into sealed. */
static enum hf_err split(struct hf_slice message, enum hf_kind wanted, struct hf_envelope *e,
                         struct hf_slice *sealed)
{
    struct hf_reader r;
    enum hf_kind kind;
    enum hf_err err;
    struct hf_slice part;

    if (message.len > HF_MESSAGE_MAX) {
        return HF_TOO_BIG;
    }
    hf_reader_init(&r, message);
    err = hf_prefix_read(&r, &kind, &e->stream);
    if (err != HF_OK) {
        return err;
    }
    if (kind != wanted || hf_reader_left(&r) < HF_COOKIE_BYTES + HF_NONCE_BYTES + HF_TAG_BYTES +
                                                   (kind == HF_KIND_REQUEST ? HF_KEY_BYTES : 0)) {
        return HF_MALFORMED;
    }
    if (kind == HF_KIND_REQUEST) {
        part = hf_read_raw(&r, HF_KEY_BYTES);
        memcpy(e->sender.b, part.data, HF_KEY_BYTES);
    }
    part = hf_read_raw(&r, HF_COOKIE_BYTES);
    memcpy(e->cookie.b, part.data, HF_COOKIE_BYTES);
    part = hf_read_raw(&r, HF_NONCE_BYTES);
    memcpy(e->nonce, part.data, HF_NONCE_BYTES);
    *sealed = hf_read_raw(&r, hf_reader_left(&r));
    return HF_OK;
}

enum hf_err hf_request_split(struct hf_slice message, struct hf_envelope *e,
                             struct hf_slice *sealed)
{
    enum hf_err err;

    memset(e, 0, sizeof *e);
    *sealed = hf_slice_of(NULL, 0);
    err = split(message, HF_KIND_REQUEST, e, sealed);
    if (err != HF_OK) {
        memset(e, 0, sizeof *e);
    }
    return err;
}

enum hf_err hf_request_open(const struct hf_envelope *e, const struct hf_key *recipient,
                            const struct hf_envelope_keys *keys, struct hf_slice sealed,
                            struct hf_writer *w)
{
    uint8_t buffer[BOUND_MAX];
    struct hf_writer bound;

    hf_writer_init(&bound, buffer, sizeof buffer);
    bind_parties(&bound, HF_KIND_REQUEST, e, &e->sender, recipient);
    return unseal(&(struct cipher){keys->request, e->nonce, hf_writer_bytes(&bound)}, sealed, w);
}

static void bind_reply(struct hf_writer *bound, const struct hf_envelope *e,
                       const struct hf_key *sender, const uint8_t request_nonce[HF_NONCE_BYTES],
                       struct hf_slice tail)
{
    bind_parties(bound, HF_KIND_REPLY, e, sender, &e->sender);
    hf_write_raw(bound, request_nonce, HF_NONCE_BYTES);
    hf_write_raw(bound, tail.data, tail.len);
}

void hf_reply_seal(const struct hf_envelope *e, const struct hf_key *sender,
                   const uint8_t request_nonce[HF_NONCE_BYTES], const struct hf_envelope_keys *keys,
                   struct hf_slice plain, size_t tail_len, struct hf_writer *w)
{
    uint8_t buffer[BOUND_MAX + HF_MESSAGE_MAX];
    uint8_t len[TAIL_LEN_BYTES];
    struct hf_writer bound;

    HF_ASSERT(tail_len <= plain.len && tail_len <= HF_MESSAGE_MAX);
    struct hf_slice head = hf_slice_of(plain.data, plain.len - tail_len);
    struct hf_slice tail = hf_slice_of(plain.data + head.len, tail_len);
    hf_writer_init(&bound, buffer, sizeof buffer);
    bind_reply(&bound, e, sender, request_nonce, tail);
    hf_prefix_write(w, HF_KIND_REPLY, &e->stream);
    hf_write_raw(w, e->cookie.b, HF_COOKIE_BYTES);
    hf_write_raw(w, e->nonce, HF_NONCE_BYTES);
    hf_store32(len, (uint32_t)tail_len);
    hf_write_raw(w, len, sizeof len);
    seal(&(struct cipher){keys->reply, e->nonce, hf_writer_bytes(&bound)}, head, w);
    hf_write_raw(w, tail.data, tail.len);
}

/* Takes the bare end of a reply off what follows its nonce. */
static enum hf_err tail_split(struct hf_slice *sealed, struct hf_slice *tail)
{
    if (sealed->len < TAIL_LEN_BYTES + HF_TAG_BYTES) {
        return HF_MALFORMED;
    }
    uint32_t tail_len = hf_load32(sealed->data);
    size_t len = sealed->len - TAIL_LEN_BYTES;
    if (tail_len > len - HF_TAG_BYTES) {
        return HF_MALFORMED;
    }
    *sealed = hf_slice_of(sealed->data + TAIL_LEN_BYTES, len - tail_len);
    *tail = hf_slice_of(sealed->data + sealed->len, tail_len);
    return HF_OK;
}

enum hf_err hf_reply_open(struct hf_slice message, const struct hf_key *sender,
                          const struct hf_key *recipient,
                          const uint8_t request_nonce[HF_NONCE_BYTES],
                          const struct hf_envelope_keys *keys, struct hf_envelope *e,
                          struct hf_writer *w)
{
    uint8_t buffer[BOUND_MAX + HF_MESSAGE_MAX];
    struct hf_envelope got = {.sender = *recipient};
    struct hf_slice sealed;
    struct hf_slice tail;
    struct hf_writer bound;
    enum hf_err err;

    memset(e, 0, sizeof *e);
    err = split(message, HF_KIND_REPLY, &got, &sealed);
    err = err == HF_OK ? tail_split(&sealed, &tail) : err;
    if (err != HF_OK) {
        return err;
    }
    hf_writer_init(&bound, buffer, sizeof buffer);
    bind_reply(&bound, &got, sender, request_nonce, tail);
    size_t start = w->len;
    err = unseal(&(struct cipher){keys->reply, got.nonce, hf_writer_bytes(&bound)}, sealed, w);
    if (err != HF_OK) {
        return err;
    }
    hf_write_raw(w, tail.data, tail.len);
    if (w->failed) {
        w->len = start;
        return HF_TOO_BIG;
    }
    *e = got;
    return HF_OK;
}

/* ---- chunks ---- */

static struct hf_slice bind_descriptor(struct hf_slice descriptor, uint8_t *buffer, size_t cap)
{
    struct hf_writer bound;

    hf_writer_init(&bound, buffer, cap);
    hf_write_raw(&bound, chunk_domain, sizeof chunk_domain - 1);
    hf_write_raw(&bound, descriptor.data, descriptor.len);
    return hf_writer_bytes(&bound);
}

void hf_chunk_seal(const struct hf_key *key, const uint8_t nonce[HF_NONCE_BYTES],
                   struct hf_slice descriptor, struct hf_slice plain, struct hf_writer *out)
{
    uint8_t buffer[DOMAIN_MAX + HF_DESCRIPTOR_MAX];

    HF_ASSERT(descriptor.len <= HF_DESCRIPTOR_MAX);
    hf_write_raw(out, nonce, HF_NONCE_BYTES);
    seal(&(struct cipher){key->b, nonce, bind_descriptor(descriptor, buffer, sizeof buffer)}, plain,
         out);
}

enum hf_err hf_chunk_unseal(const struct hf_key *key, struct hf_slice descriptor,
                            struct hf_slice sealed, struct hf_writer *out)
{
    uint8_t buffer[DOMAIN_MAX + HF_DESCRIPTOR_MAX];
    struct cipher c = {.key = key->b, .nonce = sealed.data};

    if (descriptor.len > HF_DESCRIPTOR_MAX || sealed.len < HF_NONCE_BYTES + HF_TAG_BYTES) {
        return HF_MALFORMED;
    }
    c.bound = bind_descriptor(descriptor, buffer, sizeof buffer);
    return unseal(&c, hf_slice_of(sealed.data + HF_NONCE_BYTES, sealed.len - HF_NONCE_BYTES), out);
}
