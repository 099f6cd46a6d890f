/*
 * genesis.c - seq 0 of an epoch: who may sign, and where the history comes from.
 *
 *     signed   = [bin genesis, bin Ed25519("holdfast/v1/genesis" || genesis) by root]
 *     genesis  = [stream id, name, epoch, epoch id, root key, key-list version,
 *                 [[signer id, key, role, from, to]...], parent or nil, starting digest,
 *                 algorithms, critical flags]
 *     parent   = [epoch id, seq, chain, digest], where the epoch before this one ended
 *     chain    = BLAKE2b-256("holdfast/v1/chain" || genesis), the `prev` of seq 1
 *
 * Invariant: nothing is decoded before the signature under the pinned root key was checked, and the
 * genesis names that same root. What is signed passes the same rules as what is opened, so a core
 * cannot found an epoch that its edges will refuse.
 *
 * Must not: decide whether an epoch may follow another; that is the engines' business.
 *
 * Read next: include/hf/seal.h, PROTOCOL.md section 1.
 */
#include "hf/seal.h"

#include "fields.h"

static const char genesis_domain[] = "holdfast/v1/genesis";

enum {
    GENESIS_FIELDS = 11,
    SIGNER_FIELDS = 5,
    PARENT_FIELDS = 4,
    FLAGS_KNOWN = 0,
};

/* ---- rules ---- */

static bool signers_valid(const struct hf_genesis *g)
{
    if (g->signer_count < 1 || g->signer_count > HF_SIGNERS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < g->signer_count; i++) {
        if (g->signer[i].from > g->signer[i].to || g->signer[i].from > HF_SEQ_MAX) {
            return false;
        }
        /* Rising ids are distinct ids: one id means one key, for good. */
        if (i > 0 && g->signer[i].id <= g->signer[i - 1].id) {
            return false;
        }
    }
    return true;
}

static bool genesis_valid(const struct hf_genesis *g)
{
    return memchr(g->name, '\0', sizeof g->name) != NULL && hf_name_valid(hf_slice_str(g->name)) &&
           signers_valid(g) && g->epoch <= HF_SEQ_MAX &&
           (!g->has_parent || g->parent.seq <= HF_SEQ_MAX);
}

/* ---- writing ---- */

static void encode(const struct hf_genesis *g, struct hf_writer *w)
{
    hf_write_array(w, GENESIS_FIELDS);
    hf_write_fixed(w, g->stream.b, HF_ID_BYTES);
    hf_write_bin(w, hf_slice_str(g->name));
    hf_write_uint(w, g->epoch);
    hf_write_fixed(w, g->epoch_id.b, HF_ID_BYTES);
    hf_write_fixed(w, g->root.b, HF_KEY_BYTES);
    hf_write_uint(w, g->key_list_version);
    hf_write_array(w, g->signer_count);
    for (uint32_t i = 0; i < g->signer_count; i++) {
        hf_write_array(w, SIGNER_FIELDS);
        hf_write_uint(w, g->signer[i].id);
        hf_write_fixed(w, g->signer[i].key.b, HF_KEY_BYTES);
        hf_write_uint(w, g->signer[i].role);
        hf_write_uint(w, g->signer[i].from);
        hf_write_uint(w, g->signer[i].to);
    }
    if (g->has_parent) {
        hf_write_array(w, PARENT_FIELDS);
        hf_write_fixed(w, g->parent.epoch_id.b, HF_ID_BYTES);
        hf_write_uint(w, g->parent.seq);
        hf_write_fixed(w, g->parent.chain.b, HF_HASH_BYTES);
        hf_write_fixed(w, g->parent.digest.b, HF_HASH_BYTES);
    } else {
        hf_write_nil(w);
    }
    hf_write_fixed(w, g->digest.b, HF_HASH_BYTES);
    hf_write_uint(w, g->algorithms);
    hf_write_uint(w, g->flags_critical);
}

enum hf_err hf_genesis_sign(const struct hf_genesis *g, const uint8_t root_secret[HF_SECRET_BYTES],
                            struct hf_writer *w)
{
    uint8_t buffer[HF_GENESIS_MAX - HF_SIGNED_OVERHEAD];
    struct hf_signature sig;
    struct hf_writer body;

    /* libsodium keeps the public half behind the seed. */
    if (!genesis_valid(g) || g->algorithms != HF_ALGORITHMS_V1 ||
        g->flags_critical != FLAGS_KNOWN ||
        memcmp(root_secret + HF_SECRET_BYTES - HF_KEY_BYTES, g->root.b, HF_KEY_BYTES) != 0) {
        return HF_ARG;
    }
    hf_writer_init(&body, buffer, sizeof buffer);
    encode(g, &body);
    HF_ASSERT(!body.failed);
    HF_ASSERT(hf_sign(genesis_domain, hf_writer_bytes(&body), root_secret, &sig));
    hf_signed_write(w, hf_writer_bytes(&body), &sig);
    return w->failed ? HF_TOO_BIG : HF_OK;
}

/* ---- reading ---- */

static void decode_signers(struct hf_reader *r, struct hf_genesis *g)
{
    g->signer_count = hf_read_array(r, 1, HF_SIGNERS_MAX);
    for (uint32_t i = 0; i < g->signer_count; i++) {
        uint32_t count = hf_fields_open(r, SIGNER_FIELDS);

        g->signer[i].id = hf_read_u32(r, UINT32_MAX);
        hf_read_fixed(r, g->signer[i].key.b, HF_KEY_BYTES);
        g->signer[i].role = hf_read_u32(r, UINT32_MAX);
        g->signer[i].from = hf_read_seq(r);
        g->signer[i].to = hf_read_uint(r, UINT64_MAX);
        hf_fields_close(r, count, SIGNER_FIELDS);
    }
}

static void decode_parent(struct hf_reader *r, struct hf_genesis *g)
{
    uint32_t count;

    g->has_parent = !hf_read_nil(r);
    if (!g->has_parent) {
        return;
    }
    count = hf_fields_open(r, PARENT_FIELDS);
    hf_read_fixed(r, g->parent.epoch_id.b, HF_ID_BYTES);
    g->parent.seq = hf_read_seq(r);
    hf_read_fixed(r, g->parent.chain.b, HF_HASH_BYTES);
    hf_read_fixed(r, g->parent.digest.b, HF_HASH_BYTES);
    hf_fields_close(r, count, PARENT_FIELDS);
}

static enum hf_err decode(struct hf_slice body, struct hf_genesis *g)
{
    struct hf_reader r;
    struct hf_slice name;
    uint32_t count;

    hf_reader_init(&r, body);
    count = hf_fields_open(&r, GENESIS_FIELDS);
    hf_read_fixed(&r, g->stream.b, HF_ID_BYTES);
    name = hf_read_bin(&r, HF_NAME_MAX);
    g->epoch = hf_read_uint(&r, HF_SEQ_MAX);
    hf_read_fixed(&r, g->epoch_id.b, HF_ID_BYTES);
    hf_read_fixed(&r, g->root.b, HF_KEY_BYTES);
    g->key_list_version = hf_read_u32(&r, UINT32_MAX);
    decode_signers(&r, g);
    decode_parent(&r, g);
    hf_read_fixed(&r, g->digest.b, HF_HASH_BYTES);
    g->algorithms = hf_read_u32(&r, UINT32_MAX);
    g->flags_critical = hf_read_u32(&r, UINT32_MAX);
    hf_fields_close(&r, count, GENESIS_FIELDS);
    /* Checked before it is copied: a NUL inside would make another name of it. */
    if (!hf_reader_done(&r) || !hf_name_valid(name)) {
        return HF_MALFORMED;
    }
    memcpy(g->name, name.data, name.len);
    return genesis_valid(g) ? HF_OK : HF_MALFORMED;
}

static enum hf_err open_body(struct hf_slice signed_bytes, const struct hf_key *pinned_root,
                             struct hf_genesis *g, struct hf_slice *body)
{
    struct hf_signature sig;
    enum hf_err err = hf_signed_split(signed_bytes, HF_GENESIS_MAX, body, &sig);

    if (err != HF_OK) {
        return err;
    }
    if (!hf_verify(genesis_domain, *body, &sig, pinned_root)) {
        return HF_AUTH;
    }
    err = decode(*body, g);
    if (err != HF_OK) {
        return err;
    }
    if (!hf_key_eq(&g->root, pinned_root)) {
        return HF_AUTH;
    }
    if (g->algorithms != HF_ALGORITHMS_V1) {
        return HF_VERSION;
    }
    return g->flags_critical == FLAGS_KNOWN ? HF_OK : HF_UPGRADE;
}

enum hf_err hf_genesis_open(struct hf_slice signed_bytes, const struct hf_key *pinned_root,
                            struct hf_genesis *g, struct hf_hash *chain)
{
    struct hf_slice body;
    enum hf_err err;

    memset(g, 0, sizeof *g);
    memset(chain, 0, sizeof *chain);
    if (signed_bytes.len > HF_GENESIS_MAX) {
        return HF_MALFORMED;
    }
    err = open_body(signed_bytes, pinned_root, g, &body);
    if (err != HF_OK) {
        memset(g, 0, sizeof *g);
        return err;
    }
    *chain = hf_chain_hash(body);
    return HF_OK;
}

const struct hf_key *hf_genesis_signer(const struct hf_genesis *g, uint32_t signer_id, hf_seq seq)
{
    for (uint32_t i = 0; i < g->signer_count; i++) {
        const struct hf_signer *s = &g->signer[i];

        if (s->id == signer_id && s->role == HF_SIGNER_PUBLISH && seq >= s->from && seq <= s->to) {
            return &s->key;
        }
    }
    return NULL;
}
