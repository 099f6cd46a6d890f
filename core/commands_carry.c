/*
 * commands_carry.c - HF.CARRY: a transfer to one edge, a record at a time, for `holdfast export`.
 *
 * HF.CARRY BEGIN edge [epoch:seq]           -> [token, what is coming]
 * HF.CARRY NEXT token                       -> [record, token]; [nil, token] at the end; [empty,
 *                                              token]: nothing this time, go on
 * HF.CARRY END token records bytes chain    -> the signed head of the file
 *
 * BUSY means: the same again, a moment later. It must not look into tokens or records. Next:
 * core/carry.c, core/cli/carry.c.
 */
#include "core/carry.h"
#include "core/commands_impl.h"

#include "hf/number.h"

#include <stdlib.h>

struct carry_op {
    struct hf_resp_slot *slot;
    bool begins;
    struct hf_slice asked; /* owned, behind it: the token that was asked with */
};

static void reply_error(struct hf_resp_client *c, const struct hf_carry_result *r)
{
    hf_resp_error(c, "%s %s", hf_error_word(r->code), r->text);
}

static void on_done(void *ctx, const struct hf_carry_result *r)
{
    struct carry_op *op = ctx;
    struct hf_resp_client *c = hf_resp_slot_begin(op->slot);
    bool same = hf_slice_eq(op->asked, r->token);

    if (c != NULL && r->code != HF_OK) {
        reply_error(c, r);
    } else if (c != NULL && op->begins) {
        hf_resp_array(c, 2);
        hf_resp_bulk(c, r->token);
        hf_resp_bulk(c, hf_slice_str(r->text));
    } else if (c != NULL) {
        hf_resp_array(c, 2);
        if (r->message.len == 0 && same) {
            hf_resp_nil(c);
        } else {
            hf_resp_bulk(c, r->message);
        }
        hf_resp_bulk(c, r->token);
    }
    hf_resp_slot_end(op->slot);
    free(op);
}

static struct carry_op *op_new(struct hf_call *call, struct hf_slice token)
{
    struct carry_op *op = malloc(sizeof *op + token.len + 1);

    if (op == NULL) {
        hf_call_fail(call, "BUSY out of memory");
        return NULL;
    }
    *op = (struct carry_op){.slot = call->slot};
    if (token.len > 0) {
        memcpy(op + 1, token.data, token.len);
    }
    op->asked = hf_slice_of(op + 1, token.len);
    return op;
}

/* "EPOCH:SEQ", or "0" for everything. */
static bool read_since(struct hf_slice word, struct hf_carry_ask *ask)
{
    const uint8_t *colon = word.len > 0 ? memchr(word.data, ':', word.len) : NULL;

    if (colon == NULL) {
        return word.len == 1 && word.data[0] == '0';
    }
    ask->has_since = true;
    size_t left = (size_t)(colon - word.data);
    return hf_number_parse(hf_slice_of(word.data, left), 0, UINT64_MAX, &ask->epoch) &&
           hf_number_parse(hf_slice_of(colon + 1, word.len - left - 1), 0, HF_SEQ_MAX, &ask->since);
}

static void run_begin(struct hf_call *call)
{
    struct hf_carry_ask ask = {.has_since = false};
    struct hf_slice word = call->argv[2];
    char name[HF_NAME_MAX + 1] = "";
    struct carry_op *op;

    if (!hf_name_valid(word)) {
        hf_call_fail(call, "ERR that is not the name of an edge: holdfast edge list");
        return;
    }
    if (call->argc == 4 && !read_since(call->argv[3], &ask)) {
        hf_call_fail(call, "ERR since is EPOCH:SEQ, the epoch and the APPLIED in the status of the "
                           "edge, as 1:120; or 0 for everything");
        return;
    }
    memcpy(name, word.data, word.len);
    ask.edge = name;
    op = op_new(call, hf_slice_of(name, 0));
    if (op != NULL) {
        op->begins = true;
        hf_core_carry_begin(call->owner->config.core, &ask, on_done, op);
    }
}

static void run_next(struct hf_call *call)
{
    struct carry_op *op = op_new(call, call->argv[2]);

    if (op != NULL) {
        hf_core_carry_next(call->owner->config.core, call->argv[2], on_done, op);
    }
}

static void run_end(struct hf_call *call)
{
    uint8_t head[HF_CARRY_HEAD_BYTES];
    struct hf_carry_head written = {.records = 0};
    struct hf_resp_client *c;
    const char *text = "END token records bytes chain";
    enum hf_err err = HF_ARG;

    if (hf_number_parse(call->argv[3], 0, HF_CARRY_RECORDS_MAX, &written.records) &&
        hf_number_parse(call->argv[4], 0, INT64_MAX, &written.bytes) &&
        call->argv[5].len == HF_HASH_BYTES) {
        memcpy(written.chain.b, call->argv[5].data, HF_HASH_BYTES);
        err = hf_core_carry_end(call->owner->config.core, call->argv[2], &written, head, &text);
    }
    if (err != HF_OK) {
        hf_call_fail(call, "ERR HF.CARRY: %s", text);
        return;
    }
    c = hf_resp_slot_begin(call->slot);
    if (c != NULL) {
        hf_resp_bulk(c, hf_slice_of(head, sizeof head));
    }
    hf_resp_slot_end(call->slot);
}

void hf_run_carry(struct hf_call *call)
{
    if (hf_kv_is(call->argv[1], "BEGIN") && (call->argc == 3 || call->argc == 4)) {
        run_begin(call);
    } else if (hf_kv_is(call->argv[1], "NEXT") && call->argc == 3) {
        run_next(call);
    } else if (hf_kv_is(call->argv[1], "END") && call->argc == 6) {
        run_end(call);
    } else {
        hf_call_fail(call, "ERR HF.CARRY BEGIN edge [epoch:seq] | NEXT token | END token records "
                           "bytes chain");
    }
}
