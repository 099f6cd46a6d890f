/*
 * cache.c - a table of chunks by name, and two lists of them by when they were last asked for:
 * those that were made for one edge, and those that another was given too.
 *
 * Invariant: `bytes` of the lists is the sum of what their entries take, and both together at most
 * bytes_max. An entry is in the table and one list, or in neither and held by a job, whose release
 * frees it.
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
    uint32_t row; /* of the edge that it was made for */
    bool shared;  /* with another: it is in that list */
    bool dropped;
    size_t bytes;   /* all of it */
    uint8_t data[]; /* name, descriptor, sealed */
};

struct list {
    size_t bytes;
    struct entry *newest;
    struct entry *oldest;
};

struct hf_cache {
    size_t bytes_max;
    struct list list[2]; /* [shared] */
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
    struct list *l = &c->list[e->shared];
    *(e->newer != NULL ? &e->newer->older : &l->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &l->oldest) = e->newer;
    l->bytes -= e->bytes;
}

static void list_add(struct hf_cache *c, struct entry *e)
{
    struct list *l = &c->list[e->shared];
    e->newer = NULL;
    e->older = l->newest;
    *(l->newest != NULL ? &l->newest->newer : &l->oldest) = e;
    l->newest = e;
    l->bytes += e->bytes;
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
    e->dropped = true;
    if (e->users == 0) {
        free(e);
    }
}

static void drop_oldest(struct hf_cache *c, const struct list *l)
{
    struct entry **at = &c->bucket[l->oldest->hash % BUCKETS];
    while (*at != l->oldest) {
        at = &(*at)->chain;
    }
    drop(c, at);
}

static void make_room(struct hf_cache *c, size_t bytes)
{
    struct list *own = &c->list[false];
    struct list *shared = &c->list[true];
    while (hf_cache_bytes(c) + bytes > c->bytes_max) {
        bool half = own->bytes + bytes > c->bytes_max / 2;
        drop_oldest(c, own->oldest != NULL && (half || shared->oldest == NULL) ? own : shared);
    }
}

const struct hf_cached *hf_cache_find(struct hf_cache *c, const struct hf_range_name *name,
                                      uint32_t key_id, hf_seq asof_min, uint32_t row)
{
    struct entry *e = *find(c, name, key_id);
    if (e == NULL || e->chunk.asof < asof_min) {
        return NULL;
    }
    list_remove(c, e);
    e->shared |= e->row != row;
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
                  const struct hf_chunk *chunk, uint32_t row)
{
    struct entry **old = find(c, name, chunk->key_id);
    if (*old != NULL && (*old)->chunk.asof >= chunk->asof) {
        return; /* two were made at once */
    }
    bool shared = *old != NULL && (*old)->shared;
    if (*old != NULL) {
        drop(c, old);
    }
    size_t bytes = sizeof(struct entry) + name->len + chunk->descriptor.len + chunk->sealed.len;
    struct entry *e = bytes <= c->bytes_max ? malloc(bytes) : NULL;
    if (e == NULL) {
        return;
    }
    make_room(c, bytes);
    *e = (struct entry){.hash = name->hash,
                        .key_id = chunk->key_id,
                        .name_len = name->len,
                        .row = row,
                        .shared = shared,
                        .bytes = bytes};
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
    list_add(c, e);
}

/* ---- life ---- */

size_t hf_cache_bytes(const struct hf_cache *c)
{
    return c->list[false].bytes + c->list[true].bytes;
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
    for (int i = 0; c != NULL && i < 2; i++) {
        while (c->list[i].oldest != NULL) {
            HF_ASSERT(c->list[i].oldest->users == 0);
            drop_oldest(c, &c->list[i]);
        }
    }
    free(c);
}
