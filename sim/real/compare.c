/*
 * compare.c - the last word on a run: every key, at the core and at every edge, is what a client
 * was told last. Digests say the same in one line; this does not trust them.
 *
 * One question at a time, so that a million keys take no more memory than a few hundred.
 */
#include "sim/real/writer.h"

#include "hf/err.h"
#include "sim/workload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 200u /* of one MGET: 200 MiB of the largest values, 40 KiB of usual ones */

struct comparison {
    struct real *run;
    void (*done)(struct real *r);
    uint32_t node, key, count;
};

static void next(struct comparison *c);

static void on_values(void *ctx, const redisReply *reply)
{
    struct comparison *c = ctx;
    const struct real_node *n = &c->run->node[c->node];
    if (reply == NULL || reply->type != REDIS_REPLY_ARRAY || reply->elements != c->count) {
        real_fail(c->run, "%s does not answer when it is asked for all keys", n->name);
        c->count = 0;
    }
    for (uint32_t i = 0; i < c->count; i++) {
        if (!real_writer_is_last(c->run->writer, c->key + i, reply->element[i])) {
            real_fail(c->run,
                      "%s has another value of key-%06" PRIu32 " than was acknowledged last",
                      n->name, c->key + i);
        }
    }
    c->key += c->count;
    next(c);
}

static bool ask(struct comparison *c)
{
    char key[KEYS_MAX][WORKLOAD_KEY_BYTES];
    const char *word[KEYS_MAX + 1] = {"MGET"};
    size_t len[KEYS_MAX + 1] = {4};
    uint32_t left = c->run->script->load.keys - c->key;
    c->count = left < KEYS_MAX ? left : KEYS_MAX;
    for (uint32_t i = 0; i < c->count; i++) {
        workload_key(c->key + i, key[i]);
        word[1 + i] = key[i];
        len[1 + i] = strlen(key[i]);
    }
    return real_client_ask(&c->run->node[c->node].status, on_values, c, 1 + (int)c->count, word,
                           len);
}

static void next(struct comparison *c)
{
    struct real *r = c->run;
    if (c->key == r->script->load.keys) {
        c->key = 0;
        do {
            c->node++;
        } while (c->node < r->node_count && r->node[c->node].revoked);
    }
    bool over = r->failure[0] != '\0' || c->node >= r->node_count;
    if (!over && !ask(c)) {
        real_fail(r, "%s does not run at the end", r->node[c->node].name);
        over = true;
    }
    if (over) {
        c->done(r);
        free(c);
    }
}

void real_compare(struct real *r, void (*done)(struct real *r))
{
    struct comparison *c = malloc(sizeof(*c));
    HF_ASSERT(c != NULL);
    *c = (struct comparison){.run = r, .done = done};
    next(c);
}
