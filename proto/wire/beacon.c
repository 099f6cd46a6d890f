/*
 * beacon.c - the signed word of a core about its head, and Merkle proofs of freshness.
 *
 *     signed  = [bin beacon, bin Ed25519("holdfast/v1/beacon" || beacon)]
 *     beacon  = [epoch id, head seq, head chain, head digest, log floor, delta floor, key-list
 *                version, counter, time ms, R or nil, signer id]
 *     leaf    = BLAKE2b-256("holdfast/v1/leaf" || nonce)
 *     node    = BLAKE2b-256("holdfast/v1/node" || left || right)
 *     R       = root of the tree over the leaves of the requests that are answered together
 *
 * A beacon with R proves that it was signed after the request with that nonce was made, which is
 * all that a bound on staleness needs; no clock of the core takes part.
 *
 * In the tree an odd node at the end of a level is promoted, not paired with itself: a pair of
 * equal nodes would let two lists of leaves have one root. Once a node is the last of its level,
 * its ancestors are too, and from there on it has a sibling (always on the left) exactly where its
 * index is odd. Below that level it has one everywhere. So the length of a path, compared with the
 * number of one bits left in the index, tells a promotion from a right sibling; the count need not
 * travel.
 *
 * Invariant: leaf and node have different domains, so no inner node passes as somebody's nonce.
 * Must not: compare a beacon with what is known of the history; that is the replica's business.
 *
 * Read next: include/hf/seal.h, PROTOCOL.md section 6.
 */
#include "hf/seal.h"

#include "hf/digest.h"

#include "fields.h"

static const char beacon_domain[] = "holdfast/v1/beacon";
static const char leaf_domain[] = "holdfast/v1/leaf";
static const char node_domain[] = "holdfast/v1/node";

enum {
    BEACON_FIELDS = 11,
    LEAVES_MAX = 1 << HF_PROOF_MAX,
};

/* ---- beacon ---- */

static void encode(const struct hf_beacon *b, struct hf_writer *w)
{
    hf_write_array(w, BEACON_FIELDS);
    hf_write_fixed(w, b->epoch_id.b, HF_ID_BYTES);
    hf_write_uint(w, b->head);
    hf_write_fixed(w, b->chain.b, HF_HASH_BYTES);
    hf_write_fixed(w, b->digest.b, HF_HASH_BYTES);
    hf_write_uint(w, b->log_floor);
    hf_write_uint(w, b->delta_floor);
    hf_write_uint(w, b->key_list_version);
    hf_write_uint(w, b->counter);
    hf_write_uint(w, b->time_ms);
    if (b->has_nonce) {
        hf_write_fixed(w, b->nonce.b, HF_HASH_BYTES);
    } else {
        hf_write_nil(w);
    }
    hf_write_uint(w, b->signer_id);
}

void hf_beacon_sign(const struct hf_beacon *b, const uint8_t secret[HF_SECRET_BYTES],
                    struct hf_writer *w)
{
    uint8_t buffer[HF_BEACON_MAX - HF_SIGNED_OVERHEAD];
    struct hf_signature sig;
    struct hf_writer body;

    hf_writer_init(&body, buffer, sizeof buffer);
    encode(b, &body);
    HF_ASSERT(!body.failed);
    HF_ASSERT(hf_sign(beacon_domain, hf_writer_bytes(&body), secret, &sig));
    hf_signed_write(w, hf_writer_bytes(&body), &sig);
}

static void decode(struct hf_reader *r, struct hf_beacon *b)
{
    uint32_t count = hf_fields_open(r, BEACON_FIELDS);

    hf_read_fixed(r, b->epoch_id.b, HF_ID_BYTES);
    b->head = hf_read_seq(r);
    hf_read_fixed(r, b->chain.b, HF_HASH_BYTES);
    hf_read_fixed(r, b->digest.b, HF_HASH_BYTES);
    b->log_floor = hf_read_uint(r, b->head + 1);
    b->delta_floor = hf_read_uint(r, b->head);
    b->key_list_version = hf_read_u32(r, UINT32_MAX);
    b->counter = hf_read_uint(r, UINT64_MAX);
    b->time_ms = hf_read_uint(r, INT64_MAX);
    b->has_nonce = !hf_read_nil(r);
    if (b->has_nonce) {
        hf_read_fixed(r, b->nonce.b, HF_HASH_BYTES);
    }
    b->signer_id = hf_read_u32(r, UINT32_MAX);
    hf_fields_close(r, count, BEACON_FIELDS);
}

enum hf_err hf_beacon_decode(struct hf_slice signed_bytes, struct hf_beacon *b)
{
    struct hf_signature sig;
    struct hf_reader r;
    struct hf_slice body;

    memset(b, 0, sizeof *b);
    if (signed_bytes.len > HF_BEACON_MAX ||
        hf_signed_split(signed_bytes, HF_BEACON_MAX, &body, &sig) != HF_OK) {
        return HF_MALFORMED;
    }
    hf_reader_init(&r, body);
    decode(&r, b);
    if (!hf_reader_done(&r)) {
        memset(b, 0, sizeof *b);
        return HF_MALFORMED;
    }
    return HF_OK;
}

bool hf_beacon_verify(struct hf_slice signed_bytes, const struct hf_key *signer)
{
    struct hf_signature sig;
    struct hf_slice body;

    return hf_signed_split(signed_bytes, HF_BEACON_MAX, &body, &sig) == HF_OK &&
           hf_verify(beacon_domain, body, &sig, signer);
}

/* ---- Merkle tree ---- */

struct hf_hash hf_beacon_leaf(const uint8_t nonce[HF_NONCE_BYTES])
{
    struct hf_slice part = hf_slice_of(nonce, HF_NONCE_BYTES);

    return hf_hash_of(leaf_domain, &part, 1);
}

static struct hf_hash join_nodes(const struct hf_hash *left, const struct hf_hash *right)
{
    struct hf_slice parts[2] = {hf_slice_of(left->b, HF_HASH_BYTES),
                                hf_slice_of(right->b, HF_HASH_BYTES)};

    return hf_hash_of(node_domain, parts, 2);
}

/* Replaces a level by the one above it and returns that one's width. */
static size_t climb(struct hf_hash *level, size_t width)
{
    for (size_t i = 0; i + 1 < width; i += 2) {
        level[i / 2] = join_nodes(&level[i], &level[i + 1]);
    }
    if (width % 2 == 1) {
        level[width / 2] = level[width - 1];
    }
    return (width + 1) / 2;
}

struct hf_hash hf_merkle_root(const struct hf_hash *leaves, size_t count)
{
    struct hf_hash level[LEAVES_MAX];
    size_t width = count;

    HF_ASSERT(count >= 1 && count <= LEAVES_MAX);
    memcpy(level, leaves, count * sizeof *leaves);
    while (width > 1) {
        width = climb(level, width);
    }
    return level[0];
}

size_t hf_merkle_path(const struct hf_hash *leaves, size_t count, size_t index,
                      struct hf_hash path[HF_PROOF_MAX])
{
    struct hf_hash level[LEAVES_MAX];
    size_t width = count;
    size_t len = 0;

    HF_ASSERT(count >= 1 && count <= LEAVES_MAX && index < count);
    memcpy(level, leaves, count * sizeof *leaves);
    while (width > 1) {
        size_t sibling = index ^ 1;

        if (sibling < width) {
            path[len++] = level[sibling];
        }
        width = climb(level, width);
        index /= 2;
    }
    return len;
}

static size_t one_bits(size_t value)
{
    size_t count = 0;

    for (; value != 0; value &= value - 1) {
        count++;
    }
    return count;
}

struct hf_hash hf_merkle_fold(const struct hf_hash *leaf, size_t index, const struct hf_hash *path,
                              size_t path_len)
{
    struct hf_hash node = *leaf;
    size_t used = 0;

    if (index >= LEAVES_MAX || path_len > HF_PROOF_MAX || path_len < one_bits(index)) {
        return (struct hf_hash){{0}};
    }
    for (; used < path_len; index /= 2) {
        if (index % 2 == 1) {
            node = join_nodes(&path[used++], &node);
        } else if (path_len - used > one_bits(index)) {
            node = join_nodes(&node, &path[used++]);
        } /* else promoted */
    }
    return node;
}
