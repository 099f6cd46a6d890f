/*
 * carry.c - the bytes of a carry file; PROTOCOL.md section 13 has them in prose.
 *
 *      0  "HFCARRY" and a zero byte
 *      8  u32le version = 1
 *     12  u32le length n of what follows
 *     16  n bytes: msgpack [bin head, bin signature], signed under holdfast/v1/carry
 *         head = [stream, epoch id, epoch, core key, edge key, edge name, nonce, kind, first, last,
 *                 records, bytes, chain]
 *   16+n  zeros up to 1024
 *   1024  records: u32le length, the first 8 bytes of the chain, the message
 *
 * The head's place is kept free until everything else is written: a file that was not finished has
 * no magic. Must not: open an envelope, or judge whether a file suits an edge (edge/import.c).
 */
#include "hf/carry.h"

#include "hf/bytes.h"
#include "hf/digest.h"
#include "proto/wire/fields.h"

#define MAGIC "HFCARRY"
#define DOMAIN "holdfast/v1/carry"
#define CHAIN_DOMAIN "holdfast/v1/carry-record"
#define FIXED 16u
#define FIELDS 13u

static bool is_sound(const struct hf_carry_head *h)
{
    bool kind = h->kind == HF_PLAN_LOG || h->kind == HF_PLAN_DELTA || h->kind == HF_PLAN_SNAPSHOT;
    return kind && h->last > 0 && h->first < h->last && h->last <= HF_SEQ_MAX && h->records > 0 &&
           h->records <= HF_CARRY_RECORDS_MAX && h->bytes > HF_CARRY_HEAD_BYTES &&
           (h->kind != HF_PLAN_SNAPSHOT || h->first == 0);
}

static void head_write(const struct hf_carry_head *h, struct hf_writer *w)
{
    hf_write_array(w, FIELDS);
    hf_write_fixed(w, h->stream.b, HF_ID_BYTES);
    hf_write_fixed(w, h->epoch_id.b, HF_ID_BYTES);
    hf_write_uint(w, h->epoch);
    hf_write_fixed(w, h->core.b, HF_KEY_BYTES);
    hf_write_fixed(w, h->edge.b, HF_KEY_BYTES);
    hf_write_bin(w, hf_slice_str(h->name));
    hf_write_fixed(w, h->nonce, HF_NONCE_BYTES);
    hf_write_uint(w, (uint64_t)h->kind);
    hf_write_uint(w, h->first);
    hf_write_uint(w, h->last);
    hf_write_uint(w, h->records);
    hf_write_uint(w, h->bytes);
    hf_write_fixed(w, h->chain.b, HF_HASH_BYTES);
}

enum hf_err hf_carry_head_sign(const struct hf_carry_head *h, const uint8_t secret[HF_SECRET_BYTES],
                               uint8_t out[HF_CARRY_HEAD_BYTES])
{
    uint8_t body[HF_CARRY_HEAD_BYTES];
    struct hf_signature sig;
    struct hf_writer w;
    struct hf_writer whole;
    memset(out, 0, HF_CARRY_HEAD_BYTES);
    if (!is_sound(h) || !hf_name_valid(hf_slice_str(h->name))) {
        return HF_ARG;
    }
    hf_writer_init(&w, body, sizeof(body));
    head_write(h, &w);
    HF_ASSERT(!w.failed);
    if (!hf_sign(DOMAIN, hf_writer_bytes(&w), secret, &sig)) {
        return HF_ARG;
    }
    hf_writer_init(&whole, out + FIXED, HF_CARRY_HEAD_BYTES - FIXED);
    hf_signed_write(&whole, hf_writer_bytes(&w), &sig);
    HF_ASSERT(!whole.failed);
    memcpy(out, MAGIC, sizeof(MAGIC));
    hf_store32(out + 8, HF_CARRY_VERSION);
    hf_store32(out + 12, (uint32_t)whole.len);
    return HF_OK;
}

static enum hf_err head_read(struct hf_slice body, struct hf_carry_head *h)
{
    struct hf_reader r;
    hf_reader_init(&r, body);
    uint32_t n = hf_fields_open(&r, FIELDS);
    hf_read_fixed(&r, h->stream.b, HF_ID_BYTES);
    hf_read_fixed(&r, h->epoch_id.b, HF_ID_BYTES);
    h->epoch = hf_read_uint(&r, UINT64_MAX);
    hf_read_fixed(&r, h->core.b, HF_KEY_BYTES);
    hf_read_fixed(&r, h->edge.b, HF_KEY_BYTES);
    struct hf_slice name = hf_read_bin(&r, HF_NAME_MAX);
    hf_read_fixed(&r, h->nonce, HF_NONCE_BYTES);
    h->kind = (enum hf_plan_kind)hf_read_uint(&r, HF_PLAN_SNAPSHOT);
    h->first = hf_read_seq(&r);
    h->last = hf_read_seq(&r);
    h->records = hf_read_uint(&r, HF_CARRY_RECORDS_MAX);
    h->bytes = hf_read_uint(&r, UINT64_MAX);
    hf_read_fixed(&r, h->chain.b, HF_HASH_BYTES);
    hf_fields_close(&r, n, FIELDS);
    if (!hf_reader_done(&r) || !hf_name_valid(name) || !is_sound(h)) {
        return HF_MALFORMED;
    }
    memcpy(h->name, name.data, name.len);
    return HF_OK;
}

enum hf_err hf_carry_head_open(const uint8_t in[HF_CARRY_HEAD_BYTES], struct hf_carry_head *h)
{
    struct hf_slice body;
    struct hf_signature sig;
    uint32_t len = hf_load32(in + 12);
    memset(h, 0, sizeof(*h));
    if (memcmp(in, MAGIC, sizeof(MAGIC)) != 0) {
        return HF_MALFORMED;
    }
    if (hf_load32(in + 8) != HF_CARRY_VERSION) {
        return HF_VERSION;
    }
    if (len > HF_CARRY_HEAD_BYTES - FIXED ||
        hf_signed_split(hf_slice_of(in + FIXED, len), len, &body, &sig) != HF_OK) {
        return HF_MALFORMED;
    }
    for (uint32_t at = FIXED + len; at < HF_CARRY_HEAD_BYTES; at++) {
        if (in[at] != 0) {
            return HF_MALFORMED;
        }
    }
    enum hf_err err = head_read(body, h);
    if (err == HF_OK && !hf_verify(DOMAIN, body, &sig, &h->core)) {
        err = HF_AUTH;
    }
    return err;
}

struct hf_hash hf_carry_chain(const struct hf_hash *before, struct hf_slice message)
{
    struct hf_slice part[2] = {hf_slice_of(before->b, HF_HASH_BYTES), message};
    return hf_hash_of(CHAIN_DOMAIN, part, 2);
}

void hf_carry_record_head(uint32_t len, const struct hf_hash *after,
                          uint8_t out[HF_CARRY_RECORD_HEAD])
{
    hf_store32(out, len);
    memcpy(out + 4, after->b, HF_CARRY_CHECK_BYTES);
}

bool hf_carry_record_read(const uint8_t in[HF_CARRY_RECORD_HEAD], uint32_t *len,
                          uint8_t check[HF_CARRY_CHECK_BYTES])
{
    *len = hf_load32(in);
    memcpy(check, in + 4, HF_CARRY_CHECK_BYTES);
    return *len > 0 && *len <= HF_MESSAGE_MAX;
}

struct hf_id hf_carry_cookie(uint64_t index)
{
    struct hf_id cookie = {{0}};
    hf_store64(cookie.b, index);
    return cookie;
}
