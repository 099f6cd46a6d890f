/*
 * expand.c - an element hash becomes 1,024 lanes: the ChaCha20 stream of RFC 8439 with 64-bit
 * counter and nonce 0 (the original's layout, as crypto_stream_chacha20), 32 blocks of 64 bytes.
 *
 * Two of these are summed for every change at the core and again at every edge, which made them the
 * most expensive part of a change. Where the processor has AVX-512, sixteen blocks are made side by
 * side: vector w holds word w of each of them, so a round is the same text as that of one block. It
 * takes 0.4 us instead of libsodium's 1.1. The vectors are added as they are: turning them into the
 * order of the stream is left to save and load, which run once a batch. Elsewhere libsodium makes
 * the stream, and the lanes lie in its order.
 *
 * Nothing here is secret, so constant time is not asked for (and is given). tests/unit/
 * test_expand.c holds both ways against libsodium's stream and against each other.
 *
 * It must not be used as a cipher: the nonce is fixed.
 */
#include "expand.h"
#include "wide.h"

#include <sodium.h>

#define WORDS 16u                      /* of a block */
#define WIDE 16u                       /* blocks side by side */
#define HALF_LANES (WORDS * WIDE * 2u) /* of one pass; two passes make an element */

/* ---- sixteen blocks at a time ---- */

#if HAS_WIDE

typedef uint32_t words __attribute__((vector_size(4 * WIDE)));
/* As lanes lie in memory: aligned like uint16_t only, and allowed to alias it. */
typedef uint16_t lanes __attribute__((vector_size(4 * WIDE), aligned(2), may_alias));

#define AVX512 WIDE_CODE("avx512f,avx512bw")

static bool wide(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
}

#define ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))
#define QUARTER(a, b, c, d)                                                                        \
    do {                                                                                           \
        a += b;                                                                                    \
        d = ROTATE(d ^ a, 16);                                                                     \
        c += d;                                                                                    \
        b = ROTATE(b ^ c, 12);                                                                     \
        a += b;                                                                                    \
        d = ROTATE(d ^ a, 8);                                                                      \
        c += d;                                                                                    \
        b = ROTATE(b ^ c, 7);                                                                      \
    } while (0)

/* Word w of blocks first..first + 15, for each w. */
AVX512 static void blocks(const uint32_t key[8], uint32_t first, words out[WORDS])
{
    static const uint32_t constant[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    words start[WORDS] = {{0}};
    for (unsigned i = 0; i < 4; i++) {
        start[i] += constant[i];
    }
    for (unsigned i = 0; i < 8; i++) {
        start[4 + i] += key[i];
    }
    start[12] = first + (words){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    words x[WORDS];
    for (unsigned i = 0; i < WORDS; i++) {
        x[i] = start[i];
    }
    for (unsigned i = 0; i < 10; i++) {
        QUARTER(x[0], x[4], x[8], x[12]);
        QUARTER(x[1], x[5], x[9], x[13]);
        QUARTER(x[2], x[6], x[10], x[14]);
        QUARTER(x[3], x[7], x[11], x[15]);
        QUARTER(x[0], x[5], x[10], x[15]);
        QUARTER(x[1], x[6], x[11], x[12]);
        QUARTER(x[2], x[7], x[8], x[13]);
        QUARTER(x[3], x[4], x[9], x[14]);
    }
    for (unsigned i = 0; i < WORDS; i++) {
        out[i] = x[i] + start[i];
    }
}

AVX512 static void wide_add(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES])
{
    uint32_t key[8];
    words out[WORDS];
    memcpy(key, element->b, sizeof(key)); /* x86 is little-endian, as the key is */
    for (unsigned half = 0; half < 2; half++) {
        lanes *sum = (lanes *)(lane + half * HALF_LANES);
        blocks(key, half * WIDE, out);
        for (unsigned w = 0; w < WORDS; w++) {
            sum[w] += (lanes)out[w];
        }
    }
}

AVX512 static void wide_sub(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES])
{
    uint32_t key[8];
    words out[WORDS];
    memcpy(key, element->b, sizeof(key));
    for (unsigned half = 0; half < 2; half++) {
        lanes *sum = (lanes *)(lane + half * HALF_LANES);
        blocks(key, half * WIDE, out);
        for (unsigned w = 0; w < WORDS; w++) {
            sum[w] -= (lanes)out[w];
        }
    }
}

#else

static bool wide(void)
{
    return false;
}

static void wide_add(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES])
{
    (void)element;
    (void)lane;
}

static void wide_sub(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES])
{
    (void)element;
    (void)lane;
}

#endif

/* ---- anywhere ---- */

static uint16_t host16(uint16_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap16(v);
#else
    return v;
#endif
}

/* The stream is written straight into lanes of our own: that lets the compiler add whole vectors,
 * and saves a copy of 2,048 bytes. */
static void stream(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES])
{
    static const uint8_t nonce[crypto_stream_chacha20_NONCEBYTES];
    _Static_assert(crypto_stream_chacha20_KEYBYTES == HF_HASH_BYTES, "the hash is the key");
    (void)crypto_stream_chacha20((uint8_t *)lane, HF_LTHASH_LANES * sizeof(*lane), nonce,
                                 element->b);
}

void hf_expand_add(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES])
{
    uint16_t own[HF_LTHASH_LANES];
    if (wide()) {
        wide_add(element, lane);
        return;
    }
    stream(element, own);
    for (size_t i = 0; i < HF_LTHASH_LANES; i++) {
        lane[i] = (uint16_t)(lane[i] + host16(own[i]));
    }
}

void hf_expand_sub(const struct hf_hash *element, uint16_t lane[HF_LTHASH_LANES])
{
    uint16_t own[HF_LTHASH_LANES];
    if (wide()) {
        wide_sub(element, lane);
        return;
    }
    stream(element, own);
    for (size_t i = 0; i < HF_LTHASH_LANES; i++) {
        lane[i] = (uint16_t)(lane[i] - host16(own[i]));
    }
}

/* Where lane i of the stream lies: two lanes are a word, and the words of a block are WIDE apart.
 */
static size_t place(size_t i)
{
    size_t word = i / 2 % WORDS;
    size_t block = i / (2 * WORDS) % WIDE;
    return i / HALF_LANES * HALF_LANES + 2 * (word * WIDE + block) + i % 2;
}

void hf_expand_save(const uint16_t lane[HF_LTHASH_LANES], uint8_t out[2048])
{
    bool moved = wide();
    for (size_t i = 0; i < HF_LTHASH_LANES; i++) {
        uint16_t v = host16(lane[moved ? place(i) : i]);
        memcpy(out + 2 * i, &v, sizeof(v));
    }
}

void hf_expand_load(const uint8_t in[2048], uint16_t lane[HF_LTHASH_LANES])
{
    bool moved = wide();
    for (size_t i = 0; i < HF_LTHASH_LANES; i++) {
        uint16_t v;
        memcpy(&v, in + 2 * i, sizeof(v));
        lane[moved ? place(i) : i] = host16(v);
    }
}
