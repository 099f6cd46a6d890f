/*
 * commands_log.c - HF.LOG: a batch of the log, for `holdfast log`.
 *
 * HF.LOG seq  [seq, published_ms, kind, changes, requests]; a change  [op, key, bytes of the
 * value], a request  [id, author, reason, first change, how many]. Values are not in it: what
 * matters here is who changed what, and a batch may have 4 MiB of them.
 *
 * It must not go through the log by itself: whoever asks goes from one seq to the next. Next:
 * core/audit.c, core/cli/log.c.
 */
#include "core/audit.h"
#include "core/commands_impl.h"

#include "hf/number.h"

/* Of one item of a reply, beside its texts. */
#define ITEM_BYTES 128u

static void reply_changes(struct hf_resp_client *c, struct hf_body *body)
{
    static const char *const names[] = {[HF_OP_PUT] = "put", [HF_OP_DEL] = "del"};
    struct hf_change change;

    hf_resp_array(c, body->change_count);
    while (hf_body_next_change(body, &change)) {
        hf_resp_array(c, 3);
        hf_resp_bulk(c, hf_slice_str(names[change.op]));
        hf_resp_bulk(c, change.key);
        hf_resp_number(c, change.value.len);
    }
}

static void reply_requests(struct hf_resp_client *c, struct hf_body *body)
{
    struct hf_meta meta;

    hf_resp_array(c, body->meta_count);
    while (hf_body_next_meta(body, &meta)) {
        hf_resp_array(c, 5);
        hf_resp_bulk(c, meta.request_id);
        hf_resp_bulk(c, meta.author);
        hf_resp_bulk(c, meta.reason);
        hf_resp_number(c, meta.first_ordinal);
        hf_resp_number(c, meta.count);
    }
}

/* What the reply takes at most; the body is a copy, whose iterators are used up. */
static size_t reply_bytes(struct hf_body body)
{
    struct hf_change change;
    struct hf_meta meta;
    size_t n = ITEM_BYTES;

    while (hf_body_next_change(&body, &change)) {
        n += ITEM_BYTES + change.key.len;
    }
    while (hf_body_next_meta(&body, &meta)) {
        n += ITEM_BYTES + meta.request_id.len + meta.author.len + meta.reason.len;
    }
    return n;
}

static void reply_error(struct hf_resp_client *c, enum hf_err code)
{
    switch (code) {
    case HF_NOTFOUND:
        hf_resp_error(c, "NOTFOUND the log has no such batch: holdfast status shows from where on");
        break;
    case HF_SEALED:
        hf_resp_error(c, "SEALED the content key of that batch is not kept any more");
        break;
    default:
        hf_resp_error(c, "%s log: %s", hf_error_word(code), hf_err_text(code));
    }
}

static void on_done(void *ctx, struct hf_audit *a)
{
    struct hf_resp_slot *slot = ctx;
    struct hf_resp_client *c = hf_resp_slot_begin(slot);

    if (c != NULL && a->code != HF_OK) {
        reply_error(c, a->code);
    } else if (c != NULL && hf_resp_fits(c, reply_bytes(a->body))) {
        hf_resp_array(c, 5);
        hf_resp_number(c, a->h.seq);
        hf_resp_number(c, a->h.published_ms);
        hf_resp_bulk(c, hf_slice_str(a->h.kind == HF_BATCH_DATA ? "data" : "dictionary"));
        reply_changes(c, &a->body);
        reply_requests(c, &a->body);
    }
    hf_resp_slot_end(slot);
}

void hf_run_log(struct hf_call *call)
{
    uint64_t seq;

    if (!hf_number_parse(call->argv[1], 1, HF_SEQ_MAX, &seq)) {
        hf_call_fail(call, "ERR HF.LOG seq: a number from 1 on");
        return;
    }
    hf_core_audit(call->owner->config.core, seq, on_done, call->slot);
}
