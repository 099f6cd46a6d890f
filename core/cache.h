/*
 * cache.h - chunks that were made lately, for edges that ask for the same range.
 *
 * A chunk is sealed under the content key and bound to its descriptor, so the same bytes may go to
 * every edge; only the envelope around them is each edge's own. Its name is the request as it is
 * encoded, without what differs from asker to asker (counter, asof min), and the content key's id.
 * At most bytes_max are kept, those asked for last. An entry that a job is sending stays until it
 * is released, even if it is dropped meanwhile: that many more of HF_MESSAGE_MAX may be there.
 *
 * An edge chooses its bounds, and with odd ones it has chunks made that nobody else will ask for.
 * So the cache is a segmented LRU (Karedla, Love and Wherry, 1994): a chunk counts as shared once
 * an edge other than the one it was made for was given it, and those that are not take the place of
 * each other as soon as they have half of the room. One edge alone can drive out no more than that.
 *
 * Owner's thread; a job may read the entry that it holds. Read next: transfer.c.
 */
#ifndef CORE_CACHE_H
#define CORE_CACHE_H

#include "hf/messages.h"

/* Room for an encoded FETCH with two keys of full length. */
#define HF_RANGE_NAME_MAX 1152u

struct hf_range_name {
    uint64_t hash;
    uint32_t len;
    uint8_t bytes[HF_RANGE_NAME_MAX];
};

/* Names a request by what its answer depends on. Edges choose the bounds: the hash is keyed, or one
 * of them could fill a bucket of the table. */
void hf_range_name(const struct hf_request *q, const struct hf_id *hash_key,
                   struct hf_range_name *out);
bool hf_range_name_eq(const struct hf_range_name *a, const struct hf_range_name *b);

struct hf_cache;

struct hf_cached {
    struct hf_slice descriptor; /* owned by the cache, as is the next */
    struct hf_slice sealed;
    hf_seq asof;
};

struct hf_cache *hf_cache_new(size_t bytes_max);
void hf_cache_free(struct hf_cache *c); /* all entries were released */
/* The chunk of that name, read at asof_min or later, for the edge of this row (registry.h); NULL
 * when there is none. Release it. */
const struct hf_cached *hf_cache_find(struct hf_cache *c, const struct hf_range_name *name,
                                      uint32_t key_id, hf_seq asof_min, uint32_t row);
void hf_cache_release(struct hf_cache *c, const struct hf_cached *entry);
/* Keeps a copy of what was made for this edge, in place of an older one. Without memory it keeps
 * nothing. */
void hf_cache_put(struct hf_cache *c, const struct hf_range_name *name,
                  const struct hf_chunk *chunk, uint32_t row);
size_t hf_cache_bytes(const struct hf_cache *c);

#endif
