/*
 * keyring.c - a small sorted array of content keys; see the header for what it protects.
 *
 * Linear inserts are fine: a key is added per revocation, not per frame.
 */
#include "core/keyring.h"

enum hf_err hf_keyring_init(struct hf_keyring *k)
{
    k->count = 0;
    k->key = hf_secret_new(HF_KEYRING_ROOM * sizeof(*k->key));
    return k->key == NULL ? HF_NOMEM : HF_OK;
}

void hf_keyring_deinit(struct hf_keyring *k)
{
    hf_secret_free(k->key);
    k->key = NULL;
    k->count = 0;
}

static void remove_at(struct hf_keyring *k, uint32_t at)
{
    k->count--;
    memmove(k->key + at, k->key + at + 1, (k->count - at) * sizeof(*k->key));
}

void hf_keyring_add(struct hf_keyring *k, const struct hf_content_key *c)
{
    uint32_t at = k->count;
    while (at > 0 && k->key[at - 1].id >= c->id) {
        at--;
    }
    if (at < k->count && k->key[at].id == c->id) {
        k->key[at] = *c;
        return;
    }
    if (k->count == HF_KEYRING_ROOM) {
        if (at == 0) {
            return; /* older than all that are kept */
        }
        remove_at(k, 0);
        at--;
    }
    memmove(k->key + at + 1, k->key + at, (k->count - at) * sizeof(*k->key));
    k->key[at] = *c;
    k->count++;
}

const struct hf_content_key *hf_keyring_find(const struct hf_keyring *k, uint32_t id)
{
    for (uint32_t i = k->count; i > 0; i--) {
        if (k->key[i - 1].id == id) {
            return &k->key[i - 1];
        }
    }
    return NULL;
}

const struct hf_content_key *hf_keyring_newest(const struct hf_keyring *k)
{
    return k->count == 0 ? NULL : &k->key[k->count - 1];
}

const struct hf_content_key *hf_keyring_at(const struct hf_keyring *k, hf_seq seq)
{
    uint32_t i = k->count;
    while (i > 0 && k->key[i - 1].from > seq) {
        i--;
    }
    return i == 0 ? NULL : &k->key[i - 1];
}

/* A key that was dropped from between others left a gap in the ids. */
hf_seq hf_keyring_floor(const struct hf_keyring *k)
{
    uint32_t i = k->count;
    while (i > 1 && k->key[i - 2].id + 1 == k->key[i - 1].id) {
        i--;
    }
    return i == 0 ? 0 : k->key[i - 1].from;
}

uint32_t hf_keyring_select(const struct hf_keyring *k, hf_seq first, struct hf_content_key *out,
                           uint32_t cap)
{
    HF_ASSERT(cap >= 1);
    if (k->count == 0) {
        return 0;
    }
    uint32_t at = 0;
    while (at + 1 < k->count && k->key[at + 1].from <= first) {
        at++;
    }
    uint32_t n = 0;
    for (; at < k->count && n < cap; at++) {
        out[n++] = k->key[at];
    }
    out[n - 1] = at == k->count ? out[n - 1] : k->key[k->count - 1];
    return n;
}

static bool is_of_dictionary(const struct hf_keyring *k, uint32_t i,
                             const struct hf_keyring_needs *needs)
{
    for (uint32_t d = 0; d < needs->dictionary_count; d++) {
        if (hf_keyring_at(k, needs->dictionary[d]) == &k->key[i]) {
            return true;
        }
    }
    return false;
}

void hf_keyring_drop(struct hf_keyring *k, const struct hf_keyring_needs *needs)
{
    for (uint32_t i = 0; i + 1 < k->count;) {
        bool in_log = k->key[i + 1].from > needs->first;
        if (in_log && k->count <= HF_KEYRING_MAX) {
            return; /* and so are those behind it */
        }
        if (is_of_dictionary(k, i, needs)) {
            i++;
        } else {
            remove_at(k, i);
        }
    }
}
