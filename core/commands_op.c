/*
 * commands_op.c - a write of a client on its way through the core, and its answer.
 *
 * The words of a command are only valid while it is delivered, so they are copied: one block holds
 * the hf_write, its changes and their bytes. Blocks of a usual size are kept for the next command,
 * so that a pipeline of SETs allocates nothing.
 *
 * Invariant: each operation that is started ends in on_done exactly once, and only there its slot
 * is completed and its block given back (G3: an answer means that it is durable). It must not touch
 * a client except through the slot: it may be gone by then. Next: commands_write.c, which fills
 * operations; hf/core.h for what becomes of a write.
 */
#include "core/commands_impl.h"

#include <inttypes.h>
#include <stdlib.h>

/* Of the blocks that are kept: enough for a change of some two hundred bytes, and as many as a
 * pipelined window of all usual clients together. */
#define BLOCK_BYTES 512u
#define BLOCKS_KEPT_MAX 8192u
/* About what the slot of its answer takes (proto/node/resp_impl.h). */
#define SLOT_BYTES 192u

/* ---- blocks ---- */

static struct hf_write_op *op_alloc(struct hf_commands *o, size_t total)
{
    struct hf_write_op *op = o->free_ops;

    if (total > BLOCK_BYTES) {
        return malloc(total);
    }
    if (op == NULL) {
        return malloc(BLOCK_BYTES);
    }
    o->free_ops = op->next_free;
    o->free_op_count--;
    return op;
}

struct hf_write_op *hf_op_new(const struct hf_call *call, enum hf_reply_form form,
                              struct hf_op_size size)
{
    size_t changes_at = (sizeof(struct hf_write_op) + 15) / 16 * 16;
    size_t parts_at = changes_at + size.changes * sizeof(struct hf_change);
    size_t found_at = parts_at + size.parts * sizeof(struct hf_op_part);
    size_t found = size.parts > 0 ? size.changes * sizeof(bool) : 0;
    size_t bytes_at = found_at + found;
    struct hf_write_op *op = op_alloc(call->owner, bytes_at + size.bytes);
    uint8_t *base = (uint8_t *)op;

    if (op == NULL) {
        return NULL;
    }
    *op = (struct hf_write_op){.session = call->session, .slot = call->slot, .form = form};
    op->kept_size = bytes_at + size.bytes <= BLOCK_BYTES;
    op->write.memory_bytes = SLOT_BYTES + (op->kept_size ? BLOCK_BYTES : bytes_at + size.bytes);
    op->change = (struct hf_change *)(void *)(base + changes_at);
    op->part = (struct hf_op_part *)(void *)(base + parts_at);
    op->bytes = base + bytes_at;
    op->write.change = op->change;
    if (found > 0) {
        op->write.found = memset(base + found_at, 0, found);
    }
    return op;
}

static void op_free(struct hf_commands *o, struct hf_write_op *op)
{
    if (!op->kept_size || o->free_op_count >= BLOCKS_KEPT_MAX) {
        free(op);
        return;
    }
    op->next_free = o->free_ops;
    o->free_ops = op;
    o->free_op_count++;
}

void hf_op_pool_free(struct hf_commands *s)
{
    while (s->free_ops != NULL) {
        struct hf_write_op *op = s->free_ops;

        s->free_ops = op->next_free;
        free(op);
    }
}

struct hf_slice hf_op_copy(struct hf_write_op *op, struct hf_slice s)
{
    uint8_t *to = op->bytes;

    if (s.len > 0) {
        memcpy(to, s.data, s.len);
    }
    op->bytes += s.len;
    return hf_slice_of(to, s.len);
}

void hf_op_change(struct hf_write_op *op, enum hf_op kind, struct hf_slice key,
                  struct hf_slice value)
{
    struct hf_change *c = op->change++;

    *c = (struct hf_change){.op = kind};
    c->key = hf_op_copy(op, key);
    if (kind == HF_OP_PUT) {
        c->value = hf_op_copy(op, value);
    }
    op->write.change_count++;
}

/* ---- answers ---- */

const char *hf_error_word(enum hf_err code)
{
    switch (code) {
    case HF_CONFLICT:
        return "CONFLICT";
    case HF_STALE:
        return "STALE";
    case HF_EXISTS:
        return "REUSED";
    case HF_FULL:
    case HF_MAP_FULL:
        return "FULL";
    case HF_BUSY:
        return "BUSY";
    case HF_TOO_BIG:
        return "TOOBIG";
    case HF_FORK:
        return "FENCED";
    case HF_CORRUPT:
    case HF_DIGEST:
        return "CORRUPT";
    case HF_OK:
    case HF_ARG:
    case HF_NOMEM:
    case HF_IO:
    case HF_NOTFOUND:
    case HF_MALFORMED:
    case HF_AUTH:
    case HF_VERSION:
    case HF_UPGRADE:
    case HF_SEALED:
    case HF_NOT_YET:
    case HF_BELOW_FLOOR:
    case HF_MOVED:
    case HF_TIMEOUT:
    case HF_REVOKED:
    case HF_LOCKED:
    case HF_PERMISSION:
    case HF_READONLY:
    case HF_UNKNOWN_EPOCH:
    case HF_AGAIN:
    case HF_MISMATCH:
        return "ERR";
    }
    return "ERR";
}

/* The answers of the commands of an EXEC: each DEL says how many of its own keys were there. */
static void reply_parts(struct hf_resp_client *c, const struct hf_write_op *op)
{
    const bool *found = op->write.found;

    hf_resp_array(c, op->part_count);
    for (uint32_t i = 0; i < op->part_count; i++) {
        const struct hf_op_part *p = &op->part[i];
        int64_t deleted = 0;

        for (uint32_t k = 0; k < p->changes; k++) {
            deleted += *found++;
        }
        if (p->form == REPLY_DELETED) {
            hf_resp_integer(c, deleted);
        } else {
            hf_resp_simple(c, "OK");
        }
    }
}

/* With what the client needs to act on it: the key to read again, or where to read what to do. */
static void reply_refusal(struct hf_resp_client *c, const struct hf_write_op *op,
                          const struct hf_write_result *r)
{
    const char *text = r->text != NULL ? r->text : hf_err_text(r->code);
    const struct hf_change *changed = r->changed;

    if (changed != NULL) {
        hf_resp_error(c, "%s the key %s changed at seq %" PRIu64 ", after %" PRIu64,
                      hf_error_word(r->code),
                      hf_show_bytes(changed->key.data, changed->key.len).text, r->changed_at,
                      op->write.ifseq);
    } else if (r->code == HF_FORK) {
        hf_resp_error(c, "%s %s (RUNBOOK.md, The core says FENCED)", hf_error_word(r->code), text);
    } else {
        hf_resp_error(c, "%s %s", hf_error_word(r->code), text);
    }
}

static void reply_result(struct hf_resp_client *c, const struct hf_write_op *op,
                         const struct hf_write_result *r)
{
    if (r->code != HF_OK) {
        reply_refusal(c, op, r);
        return;
    }
    switch (op->form) {
    case REPLY_OK:
        hf_resp_simple(c, "OK");
        break;
    case REPLY_DELETED:
        hf_resp_integer(c, r->deleted);
        break;
    case REPLY_EXEC:
        reply_parts(c, op);
        break;
    case REPLY_APPLY:
        hf_resp_array(c, 2);
        hf_resp_integer(c, (int64_t)r->seq);
        hf_resp_simple(c, r->repeated ? "repeated" : "applied");
        break;
    }
}

static void on_done(struct hf_write *w, const struct hf_write_result *r)
{
    struct hf_write_op *op = (struct hf_write_op *)(void *)w;
    struct hf_session *s = op->session;
    struct hf_commands *o = s->owner;
    struct hf_resp_client *c = hf_resp_slot_begin(op->slot);

    if (c != NULL) {
        reply_result(c, op, r);
    }
    hf_resp_slot_end(op->slot);
    if (r->code == HF_OK && r->seq > s->write_seq) {
        s->write_seq = r->seq;
    }
    if (s->write_seq > s->read_seq) {
        s->read_seq = s->write_seq;
    }
    if (r->code == HF_OK) {
        s->wrote = true;
        s->unseen = false; /* another commit is to come */
    }
    o->refused_count += r->code != HF_OK;
    s->writes_open--;
    o->writes_open--;
    if (s->writes_open == 0 && s->held.first != NULL) {
        hf_session_wake(s);
    }
    op_free(o, op);
    hf_session_unref(s);
}

void hf_op_start(struct hf_write_op *op)
{
    struct hf_session *s = op->session;

    s->writes_open++;
    s->owner->writes_open++;
    s->owner->wrote_in_run = true;
    hf_session_ref(s);
    op->write.done = on_done;
    hf_core_write(s->owner->config.core, &op->write);
}
