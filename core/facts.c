/*
 * facts.c - encoding of durable facts: canonical msgpack arrays that begin with a type.
 *
 *   genesis      [1, bin signed genesis]                                   object "genesis"
 *   content key  [2, id, from seq, bin key(32)]                            "ckey/" be32(id)
 *   edge         [3, bin key(32), bin name, role, revoked 0|1,
 *                 enrolled wall ms, bin token id(16) or nil]               "edge/" name
 *   token        [4, bin id(16), bin verifier(32), bin name,
 *                 bin used-by key(32) or nil, expires wall ms]             "token/" id
 *   boot         [5, number]                                               "boot"
 *   evidence     [6, bin header, bin signature(64)]                        "evidence"
 *
 * A reader accepts more trailing elements than it knows, so that a later version can add some; an
 * unknown type is refused, because a fact that is not understood cannot be obeyed.
 */
#include "core/facts.h"

#include "hf/bytes.h"

#define FIELDS_MAX 32u

const char *const hf_fact_prefix[HF_FACT_PREFIXES] = {
    "genesis", HF_FACT_CONTENT_KEY_PREFIX, "edge/", "token/", "boot", "evidence"};

/* ---- encoding ---- */

static void edge_encode(const struct hf_edge_fact *e, struct hf_writer *w)
{
    hf_write_array(w, 7);
    hf_write_uint(w, HF_FACT_EDGE);
    hf_write_fixed(w, e->key.b, HF_KEY_BYTES);
    hf_write_bin(w, hf_slice_str(e->name));
    hf_write_uint(w, e->role);
    hf_write_uint(w, e->revoked ? 1 : 0);
    hf_write_uint(w, e->enrolled_wall_ms);
    if (e->has_token) {
        hf_write_fixed(w, e->token.b, HF_ID_BYTES);
    } else {
        hf_write_nil(w);
    }
}

static void token_encode(const struct hf_token_fact *t, struct hf_writer *w)
{
    hf_write_array(w, 6);
    hf_write_uint(w, HF_FACT_TOKEN);
    hf_write_fixed(w, t->id.b, HF_ID_BYTES);
    hf_write_fixed(w, t->verifier.b, HF_HASH_BYTES);
    hf_write_bin(w, hf_slice_str(t->name));
    if (t->used) {
        hf_write_fixed(w, t->used_by.b, HF_KEY_BYTES);
    } else {
        hf_write_nil(w);
    }
    hf_write_uint(w, t->expires_wall_ms);
}

void hf_fact_encode(const struct hf_fact *f, struct hf_writer *w)
{
    switch (f->type) {
    case HF_FACT_GENESIS:
        hf_write_array(w, 2);
        hf_write_uint(w, HF_FACT_GENESIS);
        hf_write_bin(w, f->genesis);
        return;
    case HF_FACT_CONTENT_KEY:
        hf_write_array(w, 4);
        hf_write_uint(w, HF_FACT_CONTENT_KEY);
        hf_write_uint(w, f->content_key.id);
        hf_write_uint(w, f->content_key.from);
        hf_write_fixed(w, f->content_key.key.b, HF_KEY_BYTES);
        return;
    case HF_FACT_EDGE:
        edge_encode(&f->edge, w);
        return;
    case HF_FACT_TOKEN:
        token_encode(&f->token, w);
        return;
    case HF_FACT_BOOT:
        hf_write_array(w, 2);
        hf_write_uint(w, HF_FACT_BOOT);
        hf_write_uint(w, f->boot);
        return;
    case HF_FACT_EVIDENCE:
        hf_write_array(w, 3);
        hf_write_uint(w, HF_FACT_EVIDENCE);
        hf_write_bin(w, f->evidence.header);
        hf_write_fixed(w, f->evidence.signature.b, HF_SIGNATURE_BYTES);
        return;
    }
    HF_UNREACHABLE();
}

/* ---- decoding ---- */

static void name_read(struct hf_reader *r, char name[HF_NAME_MAX + 1])
{
    struct hf_slice s = hf_read_bin(r, HF_NAME_MAX);
    memset(name, 0, HF_NAME_MAX + 1);
    if (r->failed || !hf_name_valid(s)) {
        r->failed = true;
        return;
    }
    memcpy(name, s.data, s.len);
}

static void edge_decode(struct hf_reader *r, struct hf_edge_fact *e)
{
    memset(e, 0, sizeof(*e));
    hf_read_fixed(r, e->key.b, HF_KEY_BYTES);
    name_read(r, e->name);
    e->role = (uint32_t)hf_read_uint(r, UINT32_MAX);
    e->revoked = hf_read_uint(r, 1) == 1;
    e->enrolled_wall_ms = hf_read_uint(r, UINT64_MAX);
    e->has_token = !hf_read_nil(r);
    if (e->has_token) {
        hf_read_fixed(r, e->token.b, HF_ID_BYTES);
    }
}

static void token_decode(struct hf_reader *r, struct hf_token_fact *t)
{
    memset(t, 0, sizeof(*t));
    hf_read_fixed(r, t->id.b, HF_ID_BYTES);
    hf_read_fixed(r, t->verifier.b, HF_HASH_BYTES);
    name_read(r, t->name);
    t->used = !hf_read_nil(r);
    if (t->used) {
        hf_read_fixed(r, t->used_by.b, HF_KEY_BYTES);
    }
    t->expires_wall_ms = hf_read_uint(r, UINT64_MAX);
}

/* Elements of the known part of a fact, its type included; 0 for an unknown type. */
static uint32_t field_count(uint64_t type)
{
    static const uint8_t count[] = {0, 2, 4, 7, 6, 2, 3};
    return type < sizeof(count) ? count[type] : 0;
}

static void fields_decode(struct hf_reader *r, struct hf_fact *f)
{
    switch (f->type) {
    case HF_FACT_GENESIS:
        f->genesis = hf_read_bin(r, HF_GENESIS_MAX);
        return;
    case HF_FACT_CONTENT_KEY:
        f->content_key.id = (uint32_t)hf_read_uint(r, UINT32_MAX);
        f->content_key.from = hf_read_uint(r, UINT64_MAX);
        hf_read_fixed(r, f->content_key.key.b, HF_KEY_BYTES);
        return;
    case HF_FACT_EDGE:
        edge_decode(r, &f->edge);
        return;
    case HF_FACT_TOKEN:
        token_decode(r, &f->token);
        return;
    case HF_FACT_BOOT:
        f->boot = hf_read_uint(r, UINT64_MAX);
        return;
    case HF_FACT_EVIDENCE:
        f->evidence.header = hf_read_bin(r, HF_HEADER_MAX);
        hf_read_fixed(r, f->evidence.signature.b, HF_SIGNATURE_BYTES);
        return;
    }
}

enum hf_err hf_fact_decode(struct hf_slice bytes, struct hf_fact *f)
{
    struct hf_reader r;
    hf_reader_init(&r, bytes);
    memset(f, 0, sizeof(*f));
    uint32_t count = hf_read_array(&r, 2, FIELDS_MAX);
    uint64_t type = hf_read_uint(&r, UINT32_MAX);
    if (r.failed) {
        return HF_MALFORMED;
    }
    uint32_t known = field_count(type);
    if (known == 0) {
        return HF_VERSION;
    }
    if (count < known) {
        return HF_MALFORMED;
    }
    f->type = (enum hf_fact_type)type;
    fields_decode(&r, f);
    hf_read_skip(&r, count - known);
    return hf_reader_done(&r) ? HF_OK : HF_MALFORMED;
}

/* ---- names of state objects ---- */

static struct hf_slice name_make(uint8_t *name, const char *prefix, const void *rest, size_t len)
{
    size_t n = strlen(prefix);
    HF_ASSERT(n + len <= HF_FACT_NAME_MAX);
    memcpy(name, prefix, n);
    memcpy(name + n, rest, len);
    return hf_slice_of(name, n + len);
}

struct hf_slice hf_fact_name(const struct hf_fact *f, uint8_t name[HF_FACT_NAME_MAX])
{
    uint8_t id[4];
    switch (f->type) {
    case HF_FACT_GENESIS:
        return name_make(name, "genesis", "", 0);
    case HF_FACT_CONTENT_KEY:
        hf_store32_be(id, f->content_key.id);
        return name_make(name, HF_FACT_CONTENT_KEY_PREFIX, id, sizeof(id));
    case HF_FACT_EDGE:
        return name_make(name, "edge/", f->edge.name, strlen(f->edge.name));
    case HF_FACT_TOKEN:
        return name_make(name, "token/", f->token.id.b, HF_ID_BYTES);
    case HF_FACT_BOOT:
        return name_make(name, "boot", "", 0);
    case HF_FACT_EVIDENCE:
        return name_make(name, "evidence", "", 0);
    }
    HF_UNREACHABLE();
}
