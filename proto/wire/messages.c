/*
 * messages.c - the plain text of control requests and replies, all but the fields of FETCH.
 *
 *     request  [counter, type, ...]
 *     JOIN     token id, proof, name, version
 *     HELLO    applied, header or empty, signature or nil, epoch id, wire min, wire max, features,
 *              version
 *     PLAN     epoch id, applied
 *     REPORT   epoch id, applied, received, digest, store state, staleness ms, changes applied,
 *              bytes received, transfer base, done, total, uptime ms, [[first, last]...],
 *              holes in all, version
 *
 *     reply    [type, code, ...]
 *     COOKIE   counter
 *     JOIN and HELLO  beacon proof, genesis, [[key id, from, key]...], limits, edge name, evidence
 *     PLAN     kind, bytes, head, reason, [split seq (DELTA) or key (SNAPSHOT)...]
 *     REPORT   beacon proof
 *     beacon proof  [signed beacon, index, [path hash...]]
 *     limits   [message max, in flight max, report ms, beacon ms]
 *
 * Invariant: what decodes is in range, in order and bounded, and unless unknown fields trail it
 * encodes to the very bytes it came from. A failed decode leaves zeroes.
 *
 * Must not: check a signature or judge a claim; who calls has the keys and knows the history.
 *
 * Read next: fetch.c, include/hf/messages.h, PROTOCOL.md section 7.
 */
#include "hf/messages.h"

#include "fetch.h"
#include "fields.h"

enum {
    ENVELOPE_FIELDS = 2, /* counter and type, or type and code */
    JOIN_FIELDS = 4,
    HELLO_FIELDS = 9,
    PLAN_FIELDS = 2,
    REPORT_FIELDS = 15,
    HOLE_FIELDS = 2,
    COOKIE_REPLY_FIELDS = 1,
    HELLO_REPLY_FIELDS = 7,
    PLAN_REPLY_FIELDS = 5,
    REPORT_REPLY_FIELDS = 1,
    PROOF_FIELDS = 3,
    CONTENT_KEY_FIELDS = 3,
    LIMITS_FIELDS = 4,
    /* A later version may report a state that this one shows as a number only; refusing the whole
     * report for it would make that edge look dead. */
    STORE_STATE_MAX = 255,
    WIRE_VERSION_MAX = 255, /* a byte in the prefix */
    IN_FLIGHT_MAX = 1024,
    INTERVAL_MS_MAX = 24 * 3600 * 1000,
};

/* ---- requests: writing ---- */

static void put_join(const struct hf_join_request *q, struct hf_writer *w)
{
    hf_write_fixed(w, q->token.b, HF_ID_BYTES);
    hf_write_fixed(w, q->proof.b, HF_HASH_BYTES);
    hf_write_bin(w, q->name);
    hf_write_bin(w, q->version);
}

static void put_hello(const struct hf_hello_request *q, struct hf_writer *w)
{
    hf_write_uint(w, q->applied);
    hf_write_bin(w, q->header);
    if (q->header.len > 0) {
        hf_write_fixed(w, q->signature.b, HF_SIGNATURE_BYTES);
    } else {
        hf_write_nil(w);
    }
    hf_write_fixed(w, q->epoch_id.b, HF_ID_BYTES);
    hf_write_uint(w, q->wire_min);
    hf_write_uint(w, q->wire_max);
    hf_write_uint(w, q->features);
    hf_write_bin(w, q->version);
    hf_write_array(w, q->dictionary_count);
    for (uint32_t i = 0; i < q->dictionary_count; i++) {
        hf_write_uint(w, q->dictionary[i]);
    }
}

static void put_plan(const struct hf_plan_request *q, struct hf_writer *w)
{
    hf_write_fixed(w, q->epoch_id.b, HF_ID_BYTES);
    hf_write_uint(w, q->applied);
}

static void put_report(const struct hf_report *q, struct hf_writer *w)
{
    HF_ASSERT(q->hole_count <= HF_REPORT_HOLES_MAX);
    hf_write_fixed(w, q->epoch_id.b, HF_ID_BYTES);
    hf_write_uint(w, q->applied);
    hf_write_uint(w, q->received);
    hf_write_fixed(w, q->digest.b, HF_HASH_BYTES);
    hf_write_uint(w, q->store_state);
    hf_write_uint(w, q->staleness_ms);
    hf_write_uint(w, q->applied_total);
    hf_write_uint(w, q->received_bytes);
    hf_write_uint(w, q->transfer_base);
    hf_write_uint(w, q->transfer_done);
    hf_write_uint(w, q->transfer_total);
    hf_write_uint(w, q->uptime_ms);
    hf_write_array(w, q->hole_count);
    for (uint32_t i = 0; i < q->hole_count; i++) {
        hf_write_array(w, HOLE_FIELDS);
        hf_write_uint(w, q->hole[i].first);
        hf_write_uint(w, q->hole[i].last);
    }
    hf_write_uint(w, q->holes_total);
    hf_write_bin(w, q->version);
}

/* Fields behind counter and type; 0 for a type that no request has. */
static uint32_t request_fields(enum hf_message_type type)
{
    switch (type) {
    case HF_MSG_COOKIE:
        return 0;
    case HF_MSG_JOIN:
        return JOIN_FIELDS;
    case HF_MSG_HELLO:
        return HELLO_FIELDS;
    case HF_MSG_PLAN:
        return PLAN_FIELDS;
    case HF_MSG_FETCH:
        return HF_FETCH_REQUEST_FIELDS;
    case HF_MSG_REPORT:
        return REPORT_FIELDS;
    }
    HF_UNREACHABLE();
}

void hf_request_encode(const struct hf_request *q, struct hf_writer *w)
{
    hf_write_array(w, ENVELOPE_FIELDS + request_fields(q->type));
    hf_write_uint(w, q->counter);
    hf_write_uint(w, q->type);
    switch (q->type) {
    case HF_MSG_COOKIE:
        break;
    case HF_MSG_JOIN:
        put_join(&q->join, w);
        return;
    case HF_MSG_HELLO:
        put_hello(&q->hello, w);
        return;
    case HF_MSG_PLAN:
        put_plan(&q->plan, w);
        return;
    case HF_MSG_FETCH:
        hf_fetch_request_put(&q->fetch, w);
        return;
    case HF_MSG_REPORT:
        put_report(&q->report, w);
        return;
    }
    HF_UNREACHABLE(); /* nobody asks for a cookie alone */
}

/* ---- requests: reading ---- */

static void get_join(struct hf_reader *r, struct hf_join_request *q)
{
    hf_read_fixed(r, q->token.b, HF_ID_BYTES);
    hf_read_fixed(r, q->proof.b, HF_HASH_BYTES);
    q->name = hf_read_bin(r, HF_NAME_MAX);
    q->version = hf_read_bin(r, HF_VERSION_TEXT_MAX);
    hf_fields_check(r, hf_name_valid(q->name));
}

static void get_hello(struct hf_reader *r, struct hf_hello_request *q)
{
    q->applied = hf_read_seq(r);
    q->header = hf_read_bin(r, HF_HEADER_MAX);
    if (q->header.len > 0) {
        hf_read_fixed(r, q->signature.b, HF_SIGNATURE_BYTES);
    } else {
        hf_fields_check(r, hf_read_nil(r));
    }
    hf_read_fixed(r, q->epoch_id.b, HF_ID_BYTES);
    q->wire_min = hf_read_u32(r, WIRE_VERSION_MAX);
    q->wire_max = hf_read_u32(r, WIRE_VERSION_MAX);
    q->features = hf_read_uint(r, UINT64_MAX);
    q->version = hf_read_bin(r, HF_VERSION_TEXT_MAX);
    q->dictionary_count = hf_read_array(r, 0, HF_DICTIONARIES_MAX);
    for (uint32_t i = 0; i < q->dictionary_count; i++) {
        q->dictionary[i] = hf_read_seq(r);
        hf_fields_check(r, q->dictionary[i] > (i == 0 ? 0 : q->dictionary[i - 1]));
    }
    hf_fields_check(r, (q->applied == 0) == (q->header.len == 0) && q->wire_min <= q->wire_max);
}

static void get_plan(struct hf_reader *r, struct hf_plan_request *q)
{
    hf_read_fixed(r, q->epoch_id.b, HF_ID_BYTES);
    q->applied = hf_read_seq(r);
}

static void get_holes(struct hf_reader *r, struct hf_report *q)
{
    hf_seq above = 0; /* the next hole begins above this */

    q->hole_count = hf_read_array(r, 0, HF_REPORT_HOLES_MAX);
    for (uint32_t i = 0; i < q->hole_count; i++) {
        uint32_t count = hf_fields_open(r, HOLE_FIELDS);

        q->hole[i].first = hf_read_seq(r);
        q->hole[i].last = hf_read_seq(r);
        hf_fields_close(r, count, HOLE_FIELDS);
        hf_fields_check(r, q->hole[i].first > above && q->hole[i].first <= q->hole[i].last);
        above = q->hole[i].last;
    }
    q->holes_total = hf_read_u32(r, UINT32_MAX);
    hf_fields_check(r, q->holes_total >= q->hole_count);
}

static void get_report(struct hf_reader *r, struct hf_report *q)
{
    hf_read_fixed(r, q->epoch_id.b, HF_ID_BYTES);
    q->applied = hf_read_seq(r);
    q->received = hf_read_seq(r);
    hf_read_fixed(r, q->digest.b, HF_HASH_BYTES);
    q->store_state = hf_read_u32(r, STORE_STATE_MAX);
    q->staleness_ms = hf_read_uint(r, UINT64_MAX);
    q->applied_total = hf_read_uint(r, INT64_MAX);
    q->received_bytes = hf_read_uint(r, INT64_MAX);
    q->transfer_base = hf_read_seq(r);
    q->transfer_done = hf_read_uint(r, INT64_MAX);
    q->transfer_total = hf_read_uint(r, INT64_MAX);
    q->uptime_ms = hf_read_uint(r, INT64_MAX);
    get_holes(r, q);
    q->version = hf_read_bin(r, HF_VERSION_TEXT_MAX);
}

static void get_request(struct hf_reader *r, struct hf_request *q)
{
    switch (q->type) {
    case HF_MSG_COOKIE:
        r->failed = true;
        return;
    case HF_MSG_JOIN:
        get_join(r, &q->join);
        return;
    case HF_MSG_HELLO:
        get_hello(r, &q->hello);
        return;
    case HF_MSG_PLAN:
        get_plan(r, &q->plan);
        return;
    case HF_MSG_FETCH:
        hf_fetch_request_get(r, &q->fetch);
        return;
    case HF_MSG_REPORT:
        get_report(r, &q->report);
        return;
    }
    HF_UNREACHABLE();
}

/* Header of a message, whose type decides how many fields are known. */
static uint32_t open_message(struct hf_reader *r)
{
    return hf_read_array(r, ENVELOPE_FIELDS + 1,
                         ENVELOPE_FIELDS + REPORT_FIELDS + HF_FIELDS_UNKNOWN_MAX);
}

static void check_count(struct hf_reader *r, uint32_t count, uint32_t known)
{
    hf_fields_check(r, count >= known && count - known <= HF_FIELDS_UNKNOWN_MAX);
}

enum hf_err hf_request_decode(struct hf_slice plain, struct hf_request *q)
{
    struct hf_reader r;
    uint32_t count, known;

    memset(q, 0, sizeof *q);
    hf_reader_init(&r, plain);
    count = open_message(&r);
    q->counter = hf_read_uint(&r, INT64_MAX);
    q->type = (enum hf_message_type)hf_read_u32(&r, HF_MSG_REPORT);
    known = ENVELOPE_FIELDS + request_fields(q->type);
    check_count(&r, count, known);
    get_request(&r, q);
    hf_fields_close(&r, count, known);
    if (!hf_reader_done(&r)) {
        memset(q, 0, sizeof *q);
        return HF_MALFORMED;
    }
    return HF_OK;
}

/* ---- replies: writing ---- */

static void put_proof(const struct hf_beacon_proof *p, struct hf_writer *w)
{
    HF_ASSERT(p->path_len <= HF_PROOF_MAX);
    hf_write_array(w, PROOF_FIELDS);
    hf_write_bin(w, p->signed_beacon);
    hf_write_uint(w, p->index);
    hf_write_array(w, p->path_len);
    for (uint32_t i = 0; i < p->path_len; i++) {
        hf_write_fixed(w, p->path[i].b, HF_HASH_BYTES);
    }
}

static void put_hello_reply(const struct hf_hello_reply *p, struct hf_writer *w)
{
    HF_ASSERT(p->key_count <= HF_CONTENT_KEYS_MAX);
    put_proof(&p->beacon, w);
    hf_write_bin(w, p->genesis);
    hf_write_array(w, p->key_count);
    for (uint32_t i = 0; i < p->key_count; i++) {
        hf_write_array(w, CONTENT_KEY_FIELDS);
        hf_write_uint(w, p->key[i].id);
        hf_write_uint(w, p->key[i].from);
        hf_write_fixed(w, p->key[i].key.b, HF_KEY_BYTES);
    }
    hf_write_array(w, LIMITS_FIELDS);
    hf_write_uint(w, p->limits.message_max);
    hf_write_uint(w, p->limits.in_flight_max);
    hf_write_uint(w, p->limits.report_ms);
    hf_write_uint(w, p->limits.beacon_ms);
    hf_write_bin(w, p->edge_name);
    hf_write_bin(w, p->evidence);
    hf_write_array(w, p->dictionary_count);
    for (uint32_t i = 0; i < p->dictionary_count; i++) {
        hf_write_bin(w, p->dictionary[i]);
    }
}

static void put_plan_reply(const struct hf_plan_reply *p, struct hf_writer *w)
{
    HF_ASSERT(p->split_count <= HF_PLAN_SPLITS_MAX);
    hf_write_uint(w, p->kind);
    hf_write_uint(w, p->bytes);
    hf_write_uint(w, p->head);
    hf_write_bin(w, p->reason);
    hf_write_array(w, p->split_count);
    for (uint32_t i = 0; i < p->split_count; i++) {
        if (p->kind == HF_PLAN_SNAPSHOT) {
            hf_write_bin(w, p->split_key[i]);
        } else {
            hf_write_uint(w, p->split[i]);
        }
    }
}

static uint32_t reply_fields(enum hf_message_type type)
{
    switch (type) {
    case HF_MSG_COOKIE:
        return COOKIE_REPLY_FIELDS;
    case HF_MSG_JOIN:
    case HF_MSG_HELLO:
        return HELLO_REPLY_FIELDS;
    case HF_MSG_PLAN:
        return PLAN_REPLY_FIELDS;
    case HF_MSG_FETCH:
        return HF_FETCH_REPLY_FIELDS;
    case HF_MSG_REPORT:
        return REPORT_REPLY_FIELDS;
    }
    HF_UNREACHABLE();
}

void hf_reply_encode(const struct hf_reply *p, struct hf_writer *w)
{
    hf_write_array(w, ENVELOPE_FIELDS + reply_fields(p->type));
    hf_write_uint(w, p->type);
    hf_write_uint(w, p->code);
    switch (p->type) {
    case HF_MSG_COOKIE:
        hf_write_uint(w, p->counter);
        return;
    case HF_MSG_JOIN:
    case HF_MSG_HELLO:
        put_hello_reply(&p->hello, w);
        return;
    case HF_MSG_PLAN:
        put_plan_reply(&p->plan, w);
        return;
    case HF_MSG_FETCH:
        hf_fetch_reply_put(&p->fetch, p->code, w);
        return;
    case HF_MSG_REPORT:
        put_proof(&p->report, w);
        return;
    }
    HF_UNREACHABLE();
}

size_t hf_reply_tail(const struct hf_reply *p)
{
    return p->type == HF_MSG_FETCH && p->code == HF_OK ? hf_fetch_reply_tail(&p->fetch) : 0;
}

/* ---- replies: reading ---- */

static void get_proof(struct hf_reader *r, struct hf_beacon_proof *p)
{
    uint32_t count = hf_fields_open(r, PROOF_FIELDS);

    p->signed_beacon = hf_read_bin(r, HF_BEACON_MAX);
    p->index = hf_read_u32(r, (1u << HF_PROOF_MAX) - 1);
    p->path_len = hf_read_array(r, 0, HF_PROOF_MAX);
    for (uint32_t i = 0; i < p->path_len; i++) {
        hf_read_fixed(r, p->path[i].b, HF_HASH_BYTES);
    }
    hf_fields_close(r, count, PROOF_FIELDS);
}

static void get_content_keys(struct hf_reader *r, struct hf_hello_reply *p)
{
    p->key_count = hf_read_array(r, 0, HF_CONTENT_KEYS_MAX);
    for (uint32_t i = 0; i < p->key_count; i++) {
        uint32_t count = hf_fields_open(r, CONTENT_KEY_FIELDS);

        p->key[i].id = hf_read_u32(r, UINT32_MAX);
        p->key[i].from = hf_read_seq(r);
        hf_read_fixed(r, p->key[i].key.b, HF_KEY_BYTES);
        hf_fields_close(r, count, CONTENT_KEY_FIELDS);
        /* Rising ids are distinct ids: one id means one key. */
        hf_fields_check(r, i == 0 || p->key[i].id > p->key[i - 1].id);
    }
}

static void get_limits(struct hf_reader *r, struct hf_limits *l)
{
    uint32_t count = hf_fields_open(r, LIMITS_FIELDS);

    l->message_max = hf_read_u32(r, HF_MESSAGE_MAX);
    l->in_flight_max = hf_read_u32(r, IN_FLIGHT_MAX);
    l->report_ms = hf_read_u32(r, INTERVAL_MS_MAX);
    l->beacon_ms = hf_read_u32(r, INTERVAL_MS_MAX);
    hf_fields_close(r, count, LIMITS_FIELDS);
}

static void get_hello_reply(struct hf_reader *r, struct hf_hello_reply *p)
{
    get_proof(r, &p->beacon);
    p->genesis = hf_read_bin(r, HF_GENESIS_MAX);
    get_content_keys(r, p);
    get_limits(r, &p->limits);
    p->edge_name = hf_read_bin(r, HF_NAME_MAX);
    p->evidence = hf_read_bin(r, HF_EVIDENCE_MAX);
    p->dictionary_count = hf_read_array(r, 0, HF_HELLO_DICTIONARIES_MAX);
    for (uint32_t i = 0; i < p->dictionary_count; i++) {
        p->dictionary[i] = hf_read_bin(r, HF_DICTIONARY_FRAME_MAX);
    }
    hf_fields_check(r, p->edge_name.len == 0 || hf_name_valid(p->edge_name));
}

/* Place i of the splits; each lies behind the one before it. */
static void get_split(struct hf_reader *r, struct hf_plan_reply *p, uint32_t i)
{
    if (p->kind == HF_PLAN_SNAPSHOT) {
        p->split_key[i] = hf_read_bin(r, HF_STORE_KEY_MAX);
        hf_fields_check(r, p->split_key[i].len > 0 &&
                               (i == 0 || hf_slice_cmp(p->split_key[i - 1], p->split_key[i]) < 0));
        return;
    }
    p->split[i] = hf_read_seq(r);
    hf_fields_check(r, p->split[i] > (i == 0 ? 0 : p->split[i - 1]) && p->split[i] < p->head);
}

static void get_plan_reply(struct hf_reader *r, struct hf_plan_reply *p)
{
    p->kind = (enum hf_plan_kind)hf_read_u32(r, HF_PLAN_SNAPSHOT);
    p->bytes = hf_read_uint(r, INT64_MAX);
    p->head = hf_read_seq(r);
    p->reason = hf_read_bin(r, HF_REASON_MAX);
    bool cut = p->kind == HF_PLAN_DELTA || p->kind == HF_PLAN_SNAPSHOT;
    p->split_count = hf_read_array(r, 0, cut ? HF_PLAN_SPLITS_MAX : 0);
    for (uint32_t i = 0; i < p->split_count; i++) {
        get_split(r, p, i);
    }
}

static void get_reply(struct hf_reader *r, struct hf_reply *p)
{
    switch (p->type) {
    case HF_MSG_COOKIE:
        p->counter = hf_read_uint(r, INT64_MAX);
        return;
    case HF_MSG_JOIN:
    case HF_MSG_HELLO:
        get_hello_reply(r, &p->hello);
        return;
    case HF_MSG_PLAN:
        get_plan_reply(r, &p->plan);
        return;
    case HF_MSG_FETCH:
        hf_fetch_reply_get(r, p->code, &p->fetch);
        return;
    case HF_MSG_REPORT:
        get_proof(r, &p->report);
        return;
    }
    HF_UNREACHABLE();
}

/* A core writes at the version of its edges, so a code that we do not know is damage. */
static enum hf_err get_code(struct hf_reader *r)
{
    uint32_t code = hf_read_u32(r, UINT8_MAX);

    switch ((enum hf_err)code) {
#define X(name, value, text) case HF_##name:
        HF_ERRORS(X)
#undef X
        return (enum hf_err)code;
    }
    r->failed = true;
    return HF_MALFORMED;
}

enum hf_err hf_reply_decode(struct hf_slice plain, struct hf_reply *p)
{
    struct hf_reader r;
    uint32_t count, known;

    memset(p, 0, sizeof *p);
    hf_reader_init(&r, plain);
    count = open_message(&r);
    p->type = (enum hf_message_type)hf_read_u32(&r, HF_MSG_REPORT);
    p->code = get_code(&r);
    known = ENVELOPE_FIELDS + reply_fields(p->type);
    check_count(&r, count, known);
    get_reply(&r, p);
    hf_fields_close(&r, count, known);
    if (!hf_reader_done(&r)) {
        memset(p, 0, sizeof *p);
        return HF_MALFORMED;
    }
    return HF_OK;
}

const char *hf_store_state_name(uint32_t state)
{
    static const char *const name[] = {
        [HF_STORE_OK] = "ok",
        [HF_STORE_FULL] = "full",
        [HF_STORE_FAILED] = "failed",
        [HF_STORE_DIVERGED] = "diverged",
    };
    return state < sizeof(name) / sizeof(name[0]) ? name[state] : NULL;
}
