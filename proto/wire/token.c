/*
 * token.c - the join token that brings a new edge to its core, and the proof that it was held.
 *
 *     text      = "hfjoin1:" || base64url without padding of token
 *     token     = [url, root key, token id, secret, edge name, checksum]
 *     checksum  = first 4 bytes of BLAKE2b-256("holdfast/v1/token-text" || all bytes before it)
 *     verifier  = BLAKE2b-256("holdfast/v1/token" || secret), what the core keeps
 *     proof     = BLAKE2b-256 keyed with verifier over "holdfast/v1/join" || edge || core || nonce
 *
 * The checksum is there because people copy tokens by hand and by chat: "damaged" is a better
 * answer than a refusal by the core. It protects from nobody. The proof binds the secret to both
 * public keys and to one request, so it is of no use to who sees it.
 *
 * Invariant: no copy of the secret stays on the stack.
 * Must not: decide whether a token may still be used; the core's registry does.
 *
 * Read next: include/hf/seal.h, PROTOCOL.md section 1.
 */
#include "hf/seal.h"

#include "hf/digest.h"

#include <sodium.h>

static const char text_prefix[] = "hfjoin1:";
static const char text_family[] = "hfjoin"; /* of any version */
static const char text_domain[] = "holdfast/v1/token-text";
static const char token_domain[] = "holdfast/v1/token";
static const char join_domain[] = "holdfast/v1/join";

enum {
    TOKEN_FIELDS = 6,
    CHECKSUM_BYTES = 4,
    CHECKSUM_ENCODED = 2 + CHECKSUM_BYTES, /* bin8 header and bytes */
    TOKEN_MAX = 512,                       /* 417 at most as of now */
};

/* A URL goes into log lines and to the transport: visible ASCII only. */
static bool url_valid(struct hf_slice url)
{
    if (url.len < 1 || url.len > HF_URL_MAX) {
        return false;
    }
    for (size_t i = 0; i < url.len; i++) {
        if (url.data[i] <= ' ' || url.data[i] > '~') {
            return false;
        }
    }
    return true;
}

static void checksum(struct hf_slice bytes, uint8_t out[CHECKSUM_BYTES])
{
    struct hf_hash h = hf_hash_of(text_domain, &bytes, 1);

    memcpy(out, h.b, CHECKSUM_BYTES);
}

enum hf_err hf_token_print(const struct hf_token *t, char out[HF_TOKEN_TEXT_MAX])
{
    const size_t prefix_len = sizeof text_prefix - 1;
    uint8_t buffer[TOKEN_MAX];
    uint8_t sum[CHECKSUM_BYTES];
    struct hf_writer w;

    out[0] = '\0';
    if (memchr(t->url, '\0', sizeof t->url) == NULL || !url_valid(hf_slice_str(t->url)) ||
        memchr(t->name, '\0', sizeof t->name) == NULL || !hf_name_valid(hf_slice_str(t->name))) {
        return HF_ARG;
    }
    hf_writer_init(&w, buffer, sizeof buffer);
    hf_write_array(&w, TOKEN_FIELDS);
    hf_write_bin(&w, hf_slice_str(t->url));
    hf_write_fixed(&w, t->root.b, sizeof t->root.b);
    hf_write_fixed(&w, t->id.b, sizeof t->id.b);
    hf_write_fixed(&w, t->secret, sizeof t->secret);
    hf_write_bin(&w, hf_slice_str(t->name));
    checksum(hf_writer_bytes(&w), sum);
    hf_write_fixed(&w, sum, sizeof sum);
    HF_ASSERT(!w.failed);
    memcpy(out, text_prefix, prefix_len);
    (void)sodium_bin2base64(out + prefix_len, HF_TOKEN_TEXT_MAX - prefix_len, buffer, w.len,
                            sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    sodium_memzero(buffer, sizeof buffer);
    return HF_OK;
}

static bool checksum_matches(struct hf_slice bytes)
{
    uint8_t sum[CHECKSUM_BYTES];
    size_t covered;

    if (bytes.len < CHECKSUM_ENCODED) {
        return false;
    }
    covered = bytes.len - CHECKSUM_ENCODED;
    checksum(hf_slice_of(bytes.data, covered), sum);
    return memcmp(bytes.data + bytes.len - CHECKSUM_BYTES, sum, CHECKSUM_BYTES) == 0;
}

static bool decode(struct hf_slice bytes, struct hf_token *t)
{
    uint8_t sum[CHECKSUM_BYTES];
    struct hf_reader r;
    struct hf_slice url, name;

    hf_reader_init(&r, bytes);
    (void)hf_read_array(&r, TOKEN_FIELDS, TOKEN_FIELDS);
    url = hf_read_bin(&r, HF_URL_MAX);
    hf_read_fixed(&r, t->root.b, sizeof t->root.b);
    hf_read_fixed(&r, t->id.b, sizeof t->id.b);
    hf_read_fixed(&r, t->secret, sizeof t->secret);
    name = hf_read_bin(&r, HF_NAME_MAX);
    hf_read_fixed(&r, sum, sizeof sum);
    if (!hf_reader_done(&r) || !url_valid(url) || !hf_name_valid(name)) {
        return false;
    }
    memcpy(t->url, url.data, url.len);
    memcpy(t->name, name.data, name.len);
    return true;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The text without the white space that files and terminals put around it. */
static struct hf_slice trimmed(const char *text)
{
    size_t len;

    while (blank(*text)) {
        text++;
    }
    len = strlen(text);
    while (len > 0 && blank(text[len - 1])) {
        len--;
    }
    return hf_slice_of(text, len);
}

static bool begins_with(struct hf_slice text, const char *prefix)
{
    return text.len >= strlen(prefix) && memcmp(text.data, prefix, strlen(prefix)) == 0;
}

static enum hf_err parse_bytes(struct hf_slice bytes, struct hf_token *t, struct hf_error *e)
{
    if (!checksum_matches(bytes)) {
        return hf_error_set(e, HF_MALFORMED, "join token: damaged (checksum)");
    }
    if (!decode(bytes, t)) {
        sodium_memzero(t, sizeof *t);
        return hf_error_set(e, HF_MALFORMED, "join token: damaged (fields)");
    }
    return HF_OK;
}

enum hf_err hf_token_parse(const char *text, struct hf_token *t, struct hf_error *e)
{
    const size_t prefix_len = sizeof text_prefix - 1;
    struct hf_slice s = trimmed(text);
    uint8_t buffer[TOKEN_MAX];
    size_t len;
    enum hf_err err;

    memset(t, 0, sizeof *t);
    if (!begins_with(s, text_family)) {
        return hf_error_set(e, HF_ARG, "join token: not a holdfast token");
    }
    if (!begins_with(s, text_prefix)) {
        return hf_error_set(e, HF_VERSION, "join token: of another version (this one reads \"%s\")",
                            text_prefix);
    }
    if (sodium_base642bin(buffer, sizeof buffer, (const char *)s.data + prefix_len,
                          s.len - prefix_len, NULL, &len, NULL,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0) {
        err = hf_error_set(e, HF_MALFORMED, "join token: damaged (characters or length)");
    } else {
        err = parse_bytes(hf_slice_of(buffer, len), t, e);
    }
    sodium_memzero(buffer, sizeof buffer);
    return err;
}

struct hf_hash hf_token_verifier(const uint8_t secret[32])
{
    struct hf_slice part = hf_slice_of(secret, 32);

    return hf_hash_of(token_domain, &part, 1);
}

struct hf_hash hf_token_proof(const struct hf_hash *verifier, const struct hf_key *edge,
                              const struct hf_key *core, const uint8_t nonce[HF_NONCE_BYTES])
{
    struct hf_slice parts[3] = {hf_slice_of(edge->b, HF_KEY_BYTES),
                                hf_slice_of(core->b, HF_KEY_BYTES),
                                hf_slice_of(nonce, HF_NONCE_BYTES)};
    struct hf_hash proof = {{0}};

    hf_keyed_hash(join_domain, verifier->b, sizeof verifier->b, parts, 3, proof.b, sizeof proof.b);
    return proof;
}
