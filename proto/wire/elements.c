/*
 * elements.c - elements are hashed eight at a time on their way into a sum.
 *
 *     element hash = BLAKE2b-256("holdfast/v1/element" || u32le key bytes || key || u64le seq
 *                                || u32le value bytes || value)
 *
 * Every change takes an element out of the digest and puts one in, at the core and again at every
 * edge. Hashing was half of that: 0.37 us an element with libsodium, which hashes one message after
 * the other. Nobody looks at a sum between two changes of a batch, so they wait here until there
 * are eight, and where the processor has AVX-512 these are hashed side by side, one in each 64-bit
 * lane of the vectors. RFC 7693 has the algorithm and its names.
 *
 * Invariant: a sum and the elements that wait for it make the same state whenever they are settled.
 * Elements longer than three blocks do not wait: there the value is what takes the time.
 *
 * Nothing here is secret. Read next: expand.c for what becomes of a hash; tests/unit/
 * test_elements.c holds both ways against libsodium.
 */
#include "hf/digest.h"

#include "hf/bytes.h"
#include "hf/err.h"
#include "wide.h"

#include <sodium.h>

#define BLOCK_BYTES 128u
#define BLOCK_WORDS 16u
#define DOMAIN_BYTES (sizeof(element_domain) - 1)
#define HEAD_MAX (DOMAIN_BYTES + 4 + HF_STORE_KEY_MAX + 8 + 4)

static const char element_domain[] = "holdfast/v1/element";

/* ---- the bytes of an element ---- */

/* All but the value; the number of bytes. */
static size_t head_put(uint8_t *out, struct hf_slice key, hf_seq seq, size_t value_len)
{
    uint8_t *p = out;
    HF_ASSERT(key.len <= HF_STORE_KEY_MAX && value_len <= UINT32_MAX);
    memcpy(p, element_domain, DOMAIN_BYTES);
    hf_store32(p + DOMAIN_BYTES, (uint32_t)key.len);
    p += DOMAIN_BYTES + 4;
    if (key.len > 0) {
        memcpy(p, key.data, key.len);
    }
    p += key.len;
    hf_store64(p, seq);
    hf_store32(p + 8, (uint32_t)value_len);
    return (size_t)(p + 12 - out);
}

struct hf_hash hf_element_hash(struct hf_slice key, hf_seq seq, struct hf_slice value)
{
    uint8_t head[HEAD_MAX];
    size_t len = head_put(head, key, seq, value.len);
    crypto_generichash_state state;
    struct hf_hash out;

    crypto_generichash_init(&state, NULL, 0, HF_HASH_BYTES);
    crypto_generichash_update(&state, head, len);
    crypto_generichash_update(&state, value.data, value.len);
    crypto_generichash_final(&state, out.b, HF_HASH_BYTES);
    return out;
}

/* ---- eight messages at a time ---- */

#if HAS_WIDE

#define WIDE HF_ELEMENTS_WIDE

typedef uint64_t words __attribute__((vector_size(8 * WIDE)));

#define AVX512 WIDE_CODE("avx512f")

static const uint64_t iv[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
                               0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                               0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

static const uint8_t sigma[10][BLOCK_WORDS] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};

static bool wide(void)
{
    return __builtin_cpu_supports("avx512f");
}

#define ROTATE(x, n) ((x) >> (n) | (x) << (64 - (n)))
#define MIX(a, b, c, d, x, y)                                                                      \
    do {                                                                                           \
        a += b + (x);                                                                              \
        d = ROTATE(d ^ a, 32);                                                                     \
        c += d;                                                                                    \
        b = ROTATE(b ^ c, 24);                                                                     \
        a += b + (y);                                                                              \
        d = ROTATE(d ^ a, 16);                                                                     \
        c += d;                                                                                    \
        b = ROTATE(b ^ c, 63);                                                                     \
    } while (0)

/* Block number `at` of each message. A message that has ended before keeps its hash. */
AVX512 static void compress(const struct hf_elements *q, unsigned at, words h[8])
{
    words m[BLOCK_WORDS];
    words v[16];
    words counted = {0};
    words last = {0};
    words going = {0};
    for (unsigned i = 0; i < WIDE; i++) {
        size_t before = at * BLOCK_BYTES;
        bool ends = q->len[i] <= before + BLOCK_BYTES;
        counted[i] = ends ? q->len[i] : before + BLOCK_BYTES;
        last[i] = ends ? UINT64_MAX : 0;
        going[i] = q->len[i] > before ? UINT64_MAX : 0;
    }
    for (unsigned w = 0; w < BLOCK_WORDS; w++) {
        size_t word = at * BLOCK_WORDS + w;
        m[w] = (words){q->message[0][word], q->message[1][word], q->message[2][word],
                       q->message[3][word], q->message[4][word], q->message[5][word],
                       q->message[6][word], q->message[7][word]};
    }
    for (unsigned i = 0; i < 8; i++) {
        v[i] = h[i];
        v[8 + i] = iv[i] + (words){0};
    }
    v[12] ^= counted;
    v[14] ^= last;
    for (unsigned round = 0; round < 12; round++) {
        const uint8_t *s = sigma[round % 10];
        MIX(v[0], v[4], v[8], v[12], m[s[0]], m[s[1]]);
        MIX(v[1], v[5], v[9], v[13], m[s[2]], m[s[3]]);
        MIX(v[2], v[6], v[10], v[14], m[s[4]], m[s[5]]);
        MIX(v[3], v[7], v[11], v[15], m[s[6]], m[s[7]]);
        MIX(v[0], v[5], v[10], v[15], m[s[8]], m[s[9]]);
        MIX(v[1], v[6], v[11], v[12], m[s[10]], m[s[11]]);
        MIX(v[2], v[7], v[8], v[13], m[s[12]], m[s[13]]);
        MIX(v[3], v[4], v[9], v[14], m[s[14]], m[s[15]]);
    }
    for (unsigned i = 0; i < 8; i++) {
        h[i] ^= (v[i] ^ v[8 + i]) & going;
    }
}

AVX512 static void wide_hash(const struct hf_elements *q, struct hf_hash out[WIDE])
{
    words h[8];
    for (unsigned i = 0; i < 8; i++) {
        h[i] = iv[i] + (words){0};
    }
    h[0] ^= 0x01010000 ^ HF_HASH_BYTES; /* no key, and no tree */
    for (unsigned at = 0; at < HF_ELEMENT_WORDS / BLOCK_WORDS; at++) {
        bool any = false;
        for (unsigned i = 0; i < WIDE; i++) {
            any |= q->len[i] > at * BLOCK_BYTES;
        }
        if (any) {
            compress(q, at, h);
        }
    }
    for (unsigned i = 0; i < WIDE; i++) {
        for (unsigned w = 0; w < HF_HASH_BYTES / 8; w++) {
            uint64_t word = h[w][i];
            memcpy(out[i].b + 8 * w, &word, 8); /* x86 is little-endian, as the hash is */
        }
    }
}

#else

static bool wide(void)
{
    return false;
}

static void wide_hash(const struct hf_elements *q, struct hf_hash out[HF_ELEMENTS_WIDE])
{
    (void)q;
    (void)out;
}

#endif

/* ---- the queue ---- */

void hf_elements_clear(struct hf_elements *q)
{
    q->count = 0;
}

static void sum_one(struct hf_lthash *sum, const struct hf_hash *element, bool gone)
{
    if (gone) {
        hf_lthash_sub(sum, element);
    } else {
        hf_lthash_add(sum, element);
    }
}

void hf_elements_settle(struct hf_elements *q, struct hf_lthash *sum)
{
    struct hf_hash hash[HF_ELEMENTS_WIDE];
    if (q->count > 1 && wide()) {
        memset(q->len + q->count, 0, (HF_ELEMENTS_WIDE - q->count) * sizeof(q->len[0]));
        wide_hash(q, hash);
    } else {
        for (uint32_t i = 0; i < q->count; i++) {
            (void)crypto_generichash(hash[i].b, HF_HASH_BYTES, (const uint8_t *)q->message[i],
                                     q->len[i], NULL, 0);
        }
    }
    for (uint32_t i = 0; i < q->count; i++) {
        sum_one(sum, &hash[i], q->gone[i]);
    }
    q->count = 0;
}

void hf_elements_note(struct hf_elements *q, struct hf_lthash *sum, const struct hf_element *e)
{
    if (DOMAIN_BYTES + 4 + e->key.len + 8 + 4 + e->value.len > sizeof(q->message[0])) {
        struct hf_hash hash = hf_element_hash(e->key, e->seq, e->value);
        sum_one(sum, &hash, e->gone);
        return;
    }
    if (hf_elements_full(q)) {
        hf_elements_settle(q, sum);
    }
    uint8_t *p = (uint8_t *)q->message[q->count];
    size_t len = head_put(p, e->key, e->seq, e->value.len);
    if (e->value.len > 0) {
        memcpy(p + len, e->value.data, e->value.len);
    }
    len += e->value.len;
    size_t padded = (len + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
    memset(p + len, 0, padded - len);
    q->len[q->count] = (uint32_t)len;
    q->gone[q->count] = e->gone;
    q->count++;
}
