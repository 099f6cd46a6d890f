/*
 * registry.c - tables of edges and tokens in memory, by name, by key and by row.
 *
 * Invariant: one row per name, one key per row, no key in two rows. Envelope keys lie in one
 * guarded block indexed by row, because a guarded allocation per edge would cost three pages each
 * and the limit on locked memory is small. It must not decide who is admitted: core/service.c and
 * core/driver.c do, and only what they made durable is learned here.
 */
#include "core/registry.h"

#include <stdlib.h>

#define TOKENS_MAX 16384u

struct hf_registry {
    uint32_t edges_max;
    uint32_t count;
    struct hf_enrolled *edge;          /* owned; by row */
    uint32_t *by_name;                 /* owned; rows in name order */
    uint32_t *by_key;                  /* owned; open addressing, row + 1, 0 = empty */
    uint32_t by_key_slots;             /* a power of two, at least twice edges_max */
    struct hf_envelope_keys *envelope; /* owned, guarded; by row */
    struct hf_token_fact *token;       /* owned */
    uint32_t token_count;
    uint32_t token_cap;
    struct hf_keyring keys;
};

struct hf_registry *hf_registry_new(uint32_t edges_max)
{
    struct hf_registry *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return NULL;
    }
    r->edges_max = edges_max;
    r->by_key_slots = 16;
    while (r->by_key_slots < 2 * edges_max) {
        r->by_key_slots *= 2;
    }
    r->edge = calloc(edges_max, sizeof(*r->edge));
    r->by_name = calloc(edges_max, sizeof(*r->by_name));
    r->by_key = calloc(r->by_key_slots, sizeof(*r->by_key));
    r->envelope = hf_secret_new(edges_max * sizeof(*r->envelope));
    enum hf_err err = hf_keyring_init(&r->keys);
    if (r->edge == NULL || r->by_name == NULL || r->by_key == NULL || r->envelope == NULL || err) {
        hf_registry_free(r);
        return NULL;
    }
    return r;
}

void hf_registry_free(struct hf_registry *r)
{
    if (r == NULL) {
        return;
    }
    hf_keyring_deinit(&r->keys);
    hf_secret_free(r->envelope);
    free(r->token);
    free(r->by_key);
    free(r->by_name);
    free(r->edge);
    free(r);
}

/* ---- finding ---- */

/* Public keys are uniform, and only enrolled ones are in the table, so their own bytes are the
 * hash. */
static uint32_t key_slot(const struct hf_registry *r, const struct hf_key *key)
{
    uint32_t h;
    memcpy(&h, key->b, sizeof(h));
    return h & (r->by_key_slots - 1);
}

struct hf_enrolled *hf_registry_by_key(const struct hf_registry *r, const struct hf_key *key)
{
    uint32_t mask = r->by_key_slots - 1;
    for (uint32_t at = key_slot(r, key); r->by_key[at] != 0; at = (at + 1) & mask) {
        struct hf_enrolled *e = &r->edge[r->by_key[at] - 1];
        if (hf_key_eq(&e->fact.key, key)) {
            return e;
        }
    }
    return NULL;
}

/* Where the name is, or would go, in the order of names. */
static uint32_t name_place(const struct hf_registry *r, const char *name)
{
    uint32_t lo = 0;
    uint32_t hi = r->count;
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (strcmp(r->edge[r->by_name[mid]].fact.name, name) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct hf_enrolled *hf_registry_by_name(const struct hf_registry *r, const char *name)
{
    uint32_t at = name_place(r, name);
    if (at == r->count) {
        return NULL;
    }
    struct hf_enrolled *e = &r->edge[r->by_name[at]];
    return strcmp(e->fact.name, name) == 0 ? e : NULL;
}

uint32_t hf_registry_count(const struct hf_registry *r)
{
    return r->count;
}

uint32_t hf_registry_max(const struct hf_registry *r)
{
    return r->edges_max;
}

const struct hf_enrolled *hf_registry_at(const struct hf_registry *r, uint32_t i)
{
    HF_ASSERT(i < r->count);
    return &r->edge[r->by_name[i]];
}

const struct hf_enrolled *hf_registry_row(const struct hf_registry *r, uint32_t row)
{
    HF_ASSERT(row < r->count);
    return &r->edge[row];
}

const struct hf_token_fact *hf_registry_token(const struct hf_registry *r, const struct hf_id *id)
{
    for (uint32_t i = 0; i < r->token_count; i++) {
        if (hf_id_eq(&r->token[i].id, id)) {
            return &r->token[i];
        }
    }
    return NULL;
}

const struct hf_token_fact *hf_registry_token_at(const struct hf_registry *r, uint32_t i)
{
    return i < r->token_count ? &r->token[i] : NULL;
}

bool hf_registry_tokens_full(const struct hf_registry *r, uint32_t more)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < r->token_count; i++) {
        open += !r->token[i].used;
    }
    return open + more >= TOKENS_MAX;
}

struct hf_keyring *hf_registry_keys(struct hf_registry *r)
{
    return &r->keys;
}

/* ---- learning ---- */

static void by_key_put(struct hf_registry *r, uint32_t row)
{
    uint32_t mask = r->by_key_slots - 1;
    uint32_t at = key_slot(r, &r->edge[row].fact.key);
    while (r->by_key[at] != 0) {
        at = (at + 1) & mask;
    }
    r->by_key[at] = row + 1;
}

/* A changed key is rare (a machine was replaced), so the table is built anew instead of deleting.
 */
static void by_key_rebuild(struct hf_registry *r)
{
    memset(r->by_key, 0, r->by_key_slots * sizeof(*r->by_key));
    for (uint32_t row = 0; row < r->count; row++) {
        by_key_put(r, row);
    }
}

static enum hf_err learn_edge(struct hf_registry *r, const struct hf_edge_fact *f)
{
    struct hf_enrolled *e = hf_registry_by_name(r, f->name);
    if (e != NULL) {
        bool rekeyed = !hf_key_eq(&e->fact.key, &f->key);
        if (rekeyed) {
            e->keys_ready = false;
            e->counter_top = e->counter_seen = 0;
        }
        e->fact = *f;
        if (rekeyed) {
            by_key_rebuild(r);
        }
        return HF_OK;
    }
    if (r->count == r->edges_max) {
        return HF_FULL;
    }
    uint32_t place = name_place(r, f->name);
    uint32_t row = r->count;
    memmove(r->by_name + place + 1, r->by_name + place, (r->count - place) * sizeof(*r->by_name));
    r->by_name[place] = row;
    r->edge[row] = (struct hf_enrolled){.fact = *f, .row = row};
    r->count++;
    by_key_put(r, row);
    return HF_OK;
}

/* Room for one token more: grown, or, at the bound, taken from the oldest that is used up. */
static enum hf_err token_room(struct hf_registry *r)
{
    if (r->token_count < r->token_cap) {
        return HF_OK;
    }
    if (r->token_cap < TOKENS_MAX) {
        uint32_t cap = r->token_cap == 0 ? 64 : 2 * r->token_cap;
        struct hf_token_fact *grown = realloc(r->token, cap * sizeof(*grown));
        if (grown == NULL) {
            return HF_NOMEM;
        }
        r->token = grown;
        r->token_cap = cap;
        return HF_OK;
    }
    uint32_t i = 0;
    while (i < r->token_count && !r->token[i].used) {
        i++;
    }
    if (i == r->token_count) {
        return HF_FULL;
    }
    r->token_count--;
    memmove(r->token + i, r->token + i + 1, (r->token_count - i) * sizeof(*r->token));
    return HF_OK;
}

static enum hf_err learn_token(struct hf_registry *r, const struct hf_token_fact *f)
{
    for (uint32_t i = 0; i < r->token_count; i++) {
        if (hf_id_eq(&r->token[i].id, &f->id)) {
            r->token[i] = *f;
            return HF_OK;
        }
    }
    enum hf_err err = token_room(r);
    if (err != HF_OK) { /* one that is used up is as good as unknown */
        return err == HF_FULL && f->used ? HF_OK : err;
    }
    r->token[r->token_count++] = *f;
    return HF_OK;
}

enum hf_err hf_registry_learn(struct hf_registry *r, const struct hf_fact *f)
{
    switch (f->type) {
    case HF_FACT_EDGE:
        return learn_edge(r, &f->edge);
    case HF_FACT_TOKEN:
        return learn_token(r, &f->token);
    case HF_FACT_CONTENT_KEY:
        hf_keyring_add(&r->keys, &f->content_key);
        return HF_OK;
    case HF_FACT_GENESIS:
    case HF_FACT_BOOT:
    case HF_FACT_EVIDENCE:
        return HF_OK;
    }
    HF_UNREACHABLE();
}

/* ---- per edge ---- */

const struct hf_envelope_keys *hf_registry_envelope(struct hf_registry *r, struct hf_enrolled *e,
                                                    const struct hf_identity *self)
{
    struct hf_envelope_keys *keys = &r->envelope[e->row];
    if (!e->keys_ready) {
        if (hf_envelope_derive(self, &e->fact.key, keys) != HF_OK) {
            return NULL;
        }
        e->keys_ready = true;
    }
    return keys;
}

bool hf_quota_take(struct hf_quota *q, hf_ms now, uint32_t per_s)
{
    int64_t most = (int64_t)per_s * 1000;
    int64_t elapsed = now > q->at ? now - q->at : 0;
    bool fresh = q->at == 0 && q->credit == 0;
    q->at = now > q->at ? now : q->at;
    q->credit += elapsed < 1000 && !fresh ? elapsed * per_s : most;
    q->credit = q->credit < most ? q->credit : most;
    if (q->credit < 1000) {
        return false;
    }
    q->credit -= 1000;
    return true;
}

bool hf_registry_counter_take(struct hf_enrolled *e, uint64_t counter)
{
    if (counter > e->counter_top) {
        uint64_t ahead = counter - e->counter_top;
        e->counter_seen = ahead < 64 ? e->counter_seen << ahead : 0;
        e->counter_seen |= 1;
        e->counter_top = counter;
        return true;
    }
    uint64_t behind = e->counter_top - counter;
    uint64_t bit = behind < 64 ? (uint64_t)1 << behind : 0;
    if (bit == 0 || (e->counter_seen & bit) != 0) {
        return false;
    }
    e->counter_seen |= bit;
    return true;
}
