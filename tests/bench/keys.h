/*
 * keys.h - the keys and values of catching up, and how they are written and read.
 *
 * Keys have 24 bytes, values 100 random letters that follow from the key's number and its version:
 * every process knows what must be there without being told. Version 0 is what hf_keys_fill wrote.
 * A server is whatever speaks RESP at AT: the path of a unix socket (begins with /) or ADDR:PORT.
 *
 * It must not know which server it talks to, nor measure time. Errors of a source that is written
 * to end the process; what is asked of a replica may fail, and the caller counts it. Next:
 * catchup.c, storm.c.
 */
#ifndef HF_BENCH_KEYS_H
#define HF_BENCH_KEYS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#define HF_BENCH_KEY_BYTES 24u
#define HF_BENCH_VALUE_BYTES 100u
#define HF_KEYS_WINDOW 100u /* writes that wait for their answers together */

/* Ends the process with status 1. */
__attribute__((noreturn)) void hf_keys_die(const char *what, const char *why);

/* A number that follows from x and looks random. */
uint64_t hf_keys_mix(uint64_t x);
void hf_keys_name(uint64_t n, char key[HF_BENCH_KEY_BYTES + 1]);
/* Whether r is the value of key n in this version. r may be NULL. */
bool hf_keys_is(const redisReply *r, uint64_t n, uint32_t version);

/* NULL when nobody answers. */
redisContext *hf_keys_dial(const char *at, int patience_s);
/* GET on a connection that is made again when it has failed (*c may be NULL); NULL when there is no
 * answer within patience_s. */
redisReply *hf_keys_ask(redisContext **c, const char *at, uint64_t n, int patience_s);
/* Whether every key has the value of its version: one MGET after the other. *c is NULL afterwards
 * when the connection failed. */
bool hf_keys_all(redisContext **c, const uint32_t *version, uint64_t keys);

/* Writes up to HF_KEYS_WINDOW keys at once and waits for all answers. */
void hf_keys_write(redisContext *c, const uint64_t *key, const uint32_t *version, unsigned n);
/* Writes version 0 of keys 0 to KEYS-1. */
void hf_keys_fill(const char *at, uint64_t keys);

/* What zstd at level 1 makes of keys 0 to KEYS-1 and their values, 64 KiB of them at a time: what
 * must cross a link at the least when all of these have changed. */
uint64_t hf_keys_packed_bytes(const uint32_t *version, uint64_t keys);

#endif
