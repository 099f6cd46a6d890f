/*
 * kv.h - the RESP commands that core and edge share: the connection's own, and reads of the state.
 *
 * Reads go to one view that is renewed with the first read after hf_kv_drained, so a pipeline of
 * reads sees one state and costs one transaction, and no page is pinned while nobody reads.
 * PROTOCOL.md section 10.
 *
 * Threads: the loop's thread only.
 */
#ifndef HF_KV_H
#define HF_KV_H

#include <stdio.h>

#include "hf/resp.h"
#include "hf/state.h"

struct hf_kv;

struct hf_kv_config {
    struct hf_state *state;
    const char *server; /* "holdfast-edge", for HELLO */
    const char *version;
    const char *role; /* "master" or "replica", Redis's words, for HELLO */
};

enum hf_err hf_kv_new(const struct hf_kv_config *c, struct hf_kv **kv);
void hf_kv_free(struct hf_kv *kv);

/* PING ECHO HELLO COMMAND CLIENT SELECT QUIT RESET CONFIG TIME AUTH, and KEYS, which is refused.
 * False: not one of these. */
bool hf_kv_connection(struct hf_kv *kv, struct hf_resp_client *c, const struct hf_slice *argv,
                      size_t argc);
/* Whether hf_kv_connection knows the command. */
bool hf_kv_is_connection(struct hf_slice name);
/* GET MGET EXISTS STRLEN TYPE TTL PTTL SCAN DBSIZE. False: not one of these. Storage errors are
 * answered with an error that says so; they never look like an absent key. */
bool hf_kv_read(struct hf_kv *kv, struct hf_resp_client *c, const struct hf_slice *argv,
                size_t argc);
/* Whether hf_kv_read knows the command. */
bool hf_kv_is_read(struct hf_slice name);
/* The view of this moment, renewed if need be; NULL and an error reply when the store fails. */
struct hf_view *hf_kv_view(struct hf_kv *kv, struct hf_resp_client *c);
/* The live record of a key; HF_NOTFOUND also for one that no store can hold. Any other error has
 * been answered. */
enum hf_err hf_kv_get(struct hf_kv *kv, struct hf_resp_client *c, struct hf_view *v,
                      struct hf_slice key, struct hf_stored *out);
void hf_kv_drained(struct hf_kv *kv);
/* How many reads were refused because what they were to show is damaged. */
uint64_t hf_kv_damaged(const struct hf_kv *kv);

/* Case-insensitive comparison of a command or option with an upper-case word. */
bool hf_kv_is(struct hf_slice arg, const char *word);

/* The sections of INFO, in their order. */
enum hf_kv_section {
    HF_INFO_SERVER = 0,
    HF_INFO_CLIENTS,
    HF_INFO_MEMORY,
    HF_INFO_STATS,
    HF_INFO_REPLICATION,
    HF_INFO_KEYSPACE,
    HF_INFO_HOLDFAST,
    HF_INFO_SECTIONS,
};
/* Writes lines "name:value\r\n". */
typedef void hf_kv_info_print(void *ctx, FILE *out);
/* The section of that name, of this process; ctx is not used. */
void hf_kv_info_memory(void *ctx, FILE *out);
/* Answers INFO with the sections that it names, or all. */
void hf_kv_info(struct hf_resp_client *c, const struct hf_slice *argv, size_t argc,
                hf_kv_info_print *const print[HF_INFO_SECTIONS], void *ctx);

void hf_kv_arity(struct hf_resp_client *c, struct hf_slice name);
void hf_kv_unknown(struct hf_resp_client *c, struct hf_slice name);

#endif
