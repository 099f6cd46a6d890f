/*
 * carried.c - the checks of a carry file as a file: size, head, signature, every record's place in
 * the chain.
 *
 * The sentences are for the person who carried it: they say how much is there of how much, or where
 * the damage is, so that it is clear whether to copy it again or to export again.
 *
 * It must not open records; import.c does, next.
 */
#include "edge/carried.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/stat.h>

static enum hf_err head_error(const struct carried *c, enum hf_err err, const uint8_t *head,
                              const struct hf_key *core, struct hf_error *e)
{
    static const uint8_t none[8];
    char hex[2 * HF_KEY_BYTES + 1];
    if (memcmp(head, none, sizeof(none)) == 0) {
        return hf_error_set(e, HF_MALFORMED, "it was never finished: export again");
    }
    if (err == HF_VERSION) {
        return hf_error_set(e, err, "it is of a later version: upgrade this edge");
    }
    if (err == HF_MALFORMED) {
        return hf_error_set(e, err, "it is no carry file of holdfast, or its head is damaged");
    }
    if (err != HF_OK) { /* whose it is cannot be told either */
        return hf_error_set(e, err, "its head is damaged: copy it again");
    }
    if (!hf_key_eq(&c->head.core, core)) {
        hf_hex(c->head.core.b, HF_KEY_BYTES, hex);
        return hf_error_set(e, HF_MISMATCH,
                            "it comes from another core, with key %s; this edge follows another",
                            hex);
    }
    return HF_OK;
}

static enum hf_err head_check(struct carried *c, uint64_t size, const struct hf_key *core,
                              struct hf_error *e)
{
    uint8_t head[HF_CARRY_HEAD_BYTES] = {0};
    if (fread(head, 1, sizeof(head), c->file) != sizeof(head)) {
        return hf_error_set(e, HF_MALFORMED, "it is incomplete: %" PRIu64 " of at least %u bytes",
                            size, HF_CARRY_HEAD_BYTES + HF_CARRY_RECORD_HEAD);
    }
    enum hf_err err = head_error(c, hf_carry_head_open(head, &c->head), head, core, e);
    if (err != HF_OK) {
        return err;
    }
    if (size < c->head.bytes) {
        return hf_error_set(e, HF_MALFORMED,
                            "it is incomplete: %" PRIu64 " of %" PRIu64 " bytes; copy it again",
                            size, c->head.bytes);
    }
    if (size > c->head.bytes) {
        return hf_error_set(e, HF_MALFORMED,
                            "it is damaged: %" PRIu64 " bytes, but %" PRIu64 " were written", size,
                            c->head.bytes);
    }
    return HF_OK;
}

static enum hf_err to_records(struct carried *c, struct hf_error *e)
{
    c->index = 0;
    c->at = HF_CARRY_HEAD_BYTES;
    memset(&c->chain, 0, sizeof(c->chain));
    if (fseek(c->file, (long)HF_CARRY_HEAD_BYTES, SEEK_SET) != 0) {
        return hf_error_set(e, HF_IO, "%s", strerror(errno));
    }
    return HF_OK;
}

enum hf_err carried_next(struct carried *c, struct hf_slice *message, struct hf_error *e)
{
    uint8_t head[HF_CARRY_RECORD_HEAD];
    uint8_t check[HF_CARRY_CHECK_BYTES];
    uint32_t len = 0;
    if (c->index == c->head.records) {
        return HF_NOTFOUND;
    }
    bool good = fread(head, sizeof(head), 1, c->file) == 1 &&
                hf_carry_record_read(head, &len, check) && fread(c->message, len, 1, c->file) == 1;
    struct hf_hash after = c->chain;
    if (good) {
        after = hf_carry_chain(&c->chain, hf_slice_of(c->message, len));
        good = memcmp(after.b, check, sizeof(check)) == 0;
    }
    if (!good) {
        return hf_error_set(e, HF_MALFORMED,
                            "it is damaged at byte %" PRIu64 " (record %" PRIu64 " of %" PRIu64
                            "): copy it again",
                            c->at, c->index + 1, c->head.records);
    }
    c->chain = after;
    c->index++;
    c->at += sizeof(head) + len;
    *message = hf_slice_of(c->message, len);
    return HF_OK;
}

static enum hf_err read_through(struct carried *c, struct hf_error *e)
{
    struct hf_slice message;
    enum hf_err err = to_records(c, e);
    while (err == HF_OK) {
        err = carried_next(c, &message, e);
    }
    if (err != HF_NOTFOUND) {
        return err;
    }
    if (c->at != c->head.bytes || !hf_hash_eq(&c->chain, &c->head.chain)) {
        return hf_error_set(e, HF_MALFORMED, "its records are not those that the core signed");
    }
    return to_records(c, e);
}

enum hf_err carried_open(struct carried *c, const char *path, const struct hf_key *core,
                         struct hf_error *e)
{
    struct stat st;
    memset(c, 0, sizeof(*c));
    c->file = fopen(path, "re");
    if (c->file == NULL || fstat(fileno(c->file), &st) != 0) {
        hf_error_set(e, HF_IO, "%s: %s", path, strerror(errno));
        carried_close(c);
        return e->code;
    }
    enum hf_err err = S_ISREG(st.st_mode) ? head_check(c, (uint64_t)st.st_size, core, e)
                                          : hf_error_set(e, HF_MALFORMED,
                                                         "it is no file; give one that `holdfast "
                                                         "export --for` wrote");
    err = err == HF_OK ? read_through(c, e) : err;
    if (err != HF_OK) {
        carried_close(c);
        return hf_error_wrap(e, "%s", path);
    }
    return HF_OK;
}

void carried_close(struct carried *c)
{
    if (c->file != NULL) {
        fclose(c->file);
        c->file = NULL;
    }
}
