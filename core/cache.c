/*
 * cache.c - a table of chunks by name, and a list of them by when they were last asked for.
 *
 * Invariant: `bytes` is the sum of what the entries in the table take, and at most bytes_max. An
 * entry is in the table and the list, or in neither and held by a job, whose release frees it.
 *
 * It must not judge whether a chunk is new enough for an edge's stage: who asks says so. Read
 * cache.h.
 */
#include "core/cache.h"

#include "hf/digest.h"

#include <stdlib.h>

/* Full of chunks of the least data max, 1,024 bytes each, a chain has eight entries; full of empty
 * ones it has thirty. */
#define BUCKETS 4096u
#define NAME_DOMAIN "holdfast/v1/range-name"

struct entry {
    struct hf_cached chunk; /* first */
    struct entry *chain;
    struct entry *newer;
    struct entry *older;
    uint64_t hash;
    uint32_t key_id;
    uint32_t name_len;
    uint32_t users;
    bool dropped;
    size_t bytes;   /* all of it */
    uint8_t data[]; /* name, descriptor, sealed */
};

struct hf_cache {
    size_t bytes_max;
    size_t bytes;
    struct entry *newest;
    struct entry *oldest;
    struct entry *bucket[BUCKETS];
};

/* ---- names ---- */

void hf_range_name(const struct hf_request *q, const struct hf_id *hash_key,
                   struct hf_range_name *out)
{
    struct hf_request plain = *q;
    struct hf_writer w;
    plain.counter = 0;
    if (q->type == HF_MSG_FETCH) {
        plain.fetch.asof_min = 0;
    }
    hf_writer_init(&w, out->bytes, sizeof(out->bytes));
    hf_request_encode(&plain, &w);
    HF_ASSERT(!w.failed);
    out->len = (uint32_t)w.len;
    struct hf_slice part[2] = {hf_slice_of(hash_key->b, HF_ID_BYTES), hf_writer_bytes(&w)};
    struct hf_hash hash = hf_hash_of(NAME_DOMAIN, part, 2);
    memcpy(&out->hash, hash.b, sizeof(out->hash));
}

bool hf_range_name_eq(const struct hf_range_name *a, const struct hf_range_name *b)
{
    return a->hash == b->hash && a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* ---- the list ---- */

static void list_remove(struct hf_cache *c, struct entry *e)
{
    *(e->newer != NULL ? &e->newer->older : &c->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &c->oldest) = e->newer;
}

static void list_add(struct hf_cache *c, struct entry *e)
{
    e->newer = NULL;
    e->older = c->newest;
    *(c->newest != NULL ? &c->newest->newer : &c->oldest) = e;
    c->newest = e;
}

/* ---- entries ---- */

static struct entry **find(struct hf_cache *c, const struct hf_range_name *name, uint32_t key_id)
{
    struct entry **at = &c->bucket[name->hash % BUCKETS];
    while (*at != NULL &&
           ((*at)->hash != name->hash || (*at)->key_id != key_id || (*at)->name_len != name->len ||
            memcmp((*at)->data, name->bytes, name->len) != 0)) {
        at = &(*at)->chain;
    }
    return at;
}

/* Takes an entry out of the table and the list; it is freed now, or by its last user. */
static void drop(struct hf_cache *c, struct entry **at)
{
    struct entry *e = *at;
    *at = e->chain;
    list_remove(c, e);
    c->bytes -= e->bytes;
    e->dropped = true;
    if (e->users == 0) {
        free(e);
    }
}

static void drop_oldest(struct hf_cache *c)
{
    struct entry **at = &c->bucket[c->oldest->hash % BUCKETS];
    while (*at != c->oldest) {
        at = &(*at)->chain;
    }
    drop(c, at);
}

const struct hf_cached *hf_cache_find(struct hf_cache *c, const struct hf_range_name *name,
                                      uint32_t key_id, hf_seq asof_min)
{
    struct entry *e = *find(c, name, key_id);
    if (e == NULL || e->chunk.asof < asof_min) {
        return NULL;
    }
    list_remove(c, e);
    list_add(c, e);
    e->users++;
    return &e->chunk;
}

void hf_cache_release(struct hf_cache *c, const struct hf_cached *entry)
{
    struct entry *e = (struct entry *)(uintptr_t)entry;
    (void)c;
    HF_ASSERT(e->users > 0);
    e->users--;
    if (e->dropped && e->users == 0) {
        free(e);
    }
}

void hf_cache_put(struct hf_cache *c, const struct hf_range_name *name,
                  const struct hf_chunk *chunk)
{
    struct entry **old = find(c, name, chunk->key_id);
    if (*old != NULL && (*old)->chunk.asof >= chunk->asof) {
        return; /* two were made at once */
    }
    if (*old != NULL) {
        drop(c, old);
    }
    size_t bytes = sizeof(struct entry) + name->len + chunk->descriptor.len + chunk->sealed.len;
    struct entry *e = bytes <= c->bytes_max ? malloc(bytes) : NULL;
    if (e == NULL) {
        return;
    }
    while (c->bytes + bytes > c->bytes_max) {
        drop_oldest(c);
    }
    *e = (struct entry){
        .hash = name->hash, .key_id = chunk->key_id, .name_len = name->len, .bytes = bytes};
    uint8_t *descriptor = e->data + name->len;
    uint8_t *sealed = descriptor + chunk->descriptor.len;
    memcpy(e->data, name->bytes, name->len);
    memcpy(descriptor, chunk->descriptor.data, chunk->descriptor.len);
    memcpy(sealed, chunk->sealed.data, chunk->sealed.len);
    e->chunk = (struct hf_cached){.descriptor = hf_slice_of(descriptor, chunk->descriptor.len),
                                  .sealed = hf_slice_of(sealed, chunk->sealed.len),
                                  .asof = chunk->asof};
    e->chain = c->bucket[name->hash % BUCKETS];
    c->bucket[name->hash % BUCKETS] = e;
    c->bytes += bytes;
    list_add(c, e);
}

/* ---- life ---- */

size_t hf_cache_bytes(const struct hf_cache *c)
{
    return c->bytes;
}

struct hf_cache *hf_cache_new(size_t bytes_max)
{
    struct hf_cache *c = calloc(1, sizeof(*c));
    if (c != NULL) {
        c->bytes_max = bytes_max;
    }
    return c;
}

void hf_cache_free(struct hf_cache *c)
{
    while (c != NULL && c->oldest != NULL) {
        HF_ASSERT(c->oldest->users == 0);
        drop_oldest(c);
    }
    free(c);
}
