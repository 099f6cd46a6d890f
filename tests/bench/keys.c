/*
 * keys.c - see keys.h. Letters rather than bytes, since what people store can be compressed: these
 * become 41 % smaller, which is as much as their 26 in 256 allow.
 *
 * Invariant: a value depends on nothing but key and version. Next: keys.h.
 */
#include "tests/bench/keys.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define SWEEP 500u /* keys of one MGET */
#define PATIENCE_S 60
#define BLOCK_BYTES (64u << 10) /* what a chunk of the protocol holds before it is compressed */

void hf_keys_die(const char *what, const char *why)
{
    fprintf(stderr, "catchup: %s: %s\n", what, why);
    exit(1);
}

uint64_t hf_keys_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

void hf_keys_name(uint64_t n, char key[HF_BENCH_KEY_BYTES + 1])
{
    snprintf(key, HF_BENCH_KEY_BYTES + 1, "bench:key:%014" PRIu64, n % UINT64_C(100000000000000));
}

static void make_value(uint64_t n, uint32_t version, char value[HF_BENCH_VALUE_BYTES])
{
    for (unsigned i = 0; i < HF_BENCH_VALUE_BYTES; i += 10) {
        uint64_t x =
            hf_keys_mix((n + 1) * UINT64_C(0x9e3779b97f4a7c15) + ((uint64_t)version << 8) + i);
        for (unsigned j = 0; j < 10; j++, x /= 26) {
            value[i + j] = (char)('a' + x % 26);
        }
    }
}

bool hf_keys_is(const redisReply *r, uint64_t n, uint32_t version)
{
    char value[HF_BENCH_VALUE_BYTES];
    if (r == NULL || r->type != REDIS_REPLY_STRING || r->len != HF_BENCH_VALUE_BYTES) {
        return false;
    }
    make_value(n, version, value);
    return memcmp(r->str, value, HF_BENCH_VALUE_BYTES) == 0;
}

/* ---- connections ---- */

redisContext *hf_keys_dial(const char *at, int patience_s)
{
    char host[64];
    const char *colon = strrchr(at, ':');
    struct timeval patience = {patience_s, 0};
    redisContext *c = NULL;
    if (*at == '/') {
        c = redisConnectUnixWithTimeout(at, patience);
    } else if (colon != NULL && (size_t)(colon - at) < sizeof(host)) {
        memcpy(host, at, (size_t)(colon - at));
        host[colon - at] = '\0';
        c = redisConnectWithTimeout(host, atoi(colon + 1), patience);
    }
    if (c != NULL && c->err == 0 && redisSetTimeout(c, patience) == REDIS_OK) {
        return c;
    }
    if (c != NULL) {
        redisFree(c);
    }
    return NULL;
}

redisReply *hf_keys_ask(redisContext **c, const char *at, uint64_t n, int patience_s)
{
    char key[HF_BENCH_KEY_BYTES + 1];
    hf_keys_name(n, key);
    if (*c == NULL) {
        *c = hf_keys_dial(at, patience_s);
    }
    redisReply *r = *c == NULL ? NULL : redisCommand(*c, "GET %b", key, (size_t)HF_BENCH_KEY_BYTES);
    if (r == NULL && *c != NULL) {
        redisFree(*c);
        *c = NULL;
    }
    return r;
}

bool hf_keys_all(redisContext **c, const uint32_t *version, uint64_t keys)
{
    const char *word[SWEEP + 1] = {"MGET"};
    size_t len[SWEEP + 1] = {4};
    static char key[SWEEP][HF_BENCH_KEY_BYTES + 1];
    bool same = true;
    for (uint64_t i = 0; same && i < keys; i += SWEEP) {
        unsigned n = keys - i < SWEEP ? (unsigned)(keys - i) : SWEEP;
        for (unsigned j = 0; j < n; j++) {
            hf_keys_name(i + j, key[j]);
            word[j + 1] = key[j];
            len[j + 1] = HF_BENCH_KEY_BYTES;
        }
        redisReply *reply = redisCommandArgv(*c, (int)n + 1, word, len);
        if (reply == NULL) {
            redisFree(*c);
            *c = NULL;
            return false;
        }
        same = reply->type == REDIS_REPLY_ARRAY && reply->elements == n;
        for (unsigned j = 0; same && j < n; j++) {
            same = hf_keys_is(reply->element[j], i + j, version[i + j]);
        }
        freeReplyObject(reply);
    }
    return same;
}

/* ---- writing ---- */

void hf_keys_write(redisContext *c, const uint64_t *key, const uint32_t *version, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        char name[HF_BENCH_KEY_BYTES + 1];
        char value[HF_BENCH_VALUE_BYTES];
        hf_keys_name(key[i], name);
        make_value(key[i], version[i], value);
        redisAppendCommand(c, "SET %b %b", name, (size_t)HF_BENCH_KEY_BYTES, value,
                           (size_t)HF_BENCH_VALUE_BYTES);
    }
    for (unsigned i = 0; i < n; i++) {
        redisReply *r = NULL;
        if (redisGetReply(c, (void **)&r) != REDIS_OK || r->type == REDIS_REPLY_ERROR) {
            hf_keys_die("write", r == NULL ? c->errstr : r->str);
        }
        freeReplyObject(r);
    }
}

void hf_keys_fill(const char *at, uint64_t keys)
{
    redisContext *c = hf_keys_dial(at, PATIENCE_S);
    uint64_t key[HF_KEYS_WINDOW];
    static const uint32_t version[HF_KEYS_WINDOW];
    if (c == NULL) {
        hf_keys_die(at, "no server");
    }
    for (uint64_t i = 0; i < keys; i += HF_KEYS_WINDOW) {
        unsigned n = keys - i < HF_KEYS_WINDOW ? (unsigned)(keys - i) : HF_KEYS_WINDOW;
        for (unsigned j = 0; j < n; j++) {
            key[j] = i + j;
        }
        hf_keys_write(c, key, version, n);
    }
    redisFree(c);
}

/* ---- the physical limit ---- */

static uint64_t packed(const char *block, size_t len)
{
    static char out[ZSTD_COMPRESSBOUND(BLOCK_BYTES)];
    size_t n = ZSTD_compress(out, sizeof(out), block, len, 1);
    if (ZSTD_isError(n)) {
        hf_keys_die("zstd", ZSTD_getErrorName(n));
    }
    return n;
}

uint64_t hf_keys_packed_bytes(const uint32_t *version, uint64_t keys)
{
    static char block[BLOCK_BYTES];
    uint64_t bytes = 0;
    size_t len = 0;
    for (uint64_t i = 0; i < keys; i++) {
        char name[HF_BENCH_KEY_BYTES + 1];
        if (len + HF_BENCH_KEY_BYTES + HF_BENCH_VALUE_BYTES > sizeof(block)) {
            bytes += packed(block, len);
            len = 0;
        }
        hf_keys_name(i, name);
        memcpy(block + len, name, HF_BENCH_KEY_BYTES);
        make_value(i, version[i], block + len + HF_BENCH_KEY_BYTES);
        len += HF_BENCH_KEY_BYTES + HF_BENCH_VALUE_BYTES;
    }
    return bytes + (len > 0 ? packed(block, len) : 0);
}
