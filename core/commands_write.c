/*
 * commands_write.c - SET, DEL, MSET, MULTI/EXEC and HF.APPLY: from the words of a command to a
 * write.
 *
 * Invariant: what a command asks for is one struct hf_write, so it is one batch or nothing (G4).
 * Limits are checked here too, where the key is at hand for the error's text.
 *
 * It must not order, merge or retry writes: the core does. A command that cannot be a change here
 * (options of SET, commands that compute) is refused with words, never done in part.
 * Next: commands_op.c for the write and its answer, commands.c for when a command runs.
 */
#include "core/commands_impl.h"

#include "hf/number.h"

#include <stdio.h>

/* ---- checks ---- */

/* False after an error. What is wrong is said here, where the key is at hand. */
static bool check_key(const struct hf_call *call, struct hf_slice key)
{
    static const char own[] = "\0hf/";

    if (key.len == 0) {
        hf_call_fail(call, "ERR the key is empty");
        return false;
    }
    if (key.len > HF_STORE_KEY_MAX) {
        hf_call_fail(call, "TOOBIG the key has %zu bytes, the limit is %u: %s", key.len,
                     HF_STORE_KEY_MAX, hf_show_bytes(key.data, key.len).text);
        return false;
    }
    if (key.len >= sizeof own - 1 && memcmp(key.data, own, sizeof own - 1) == 0) {
        hf_call_fail(call, "ERR keys that begin with \\x00hf/ belong to the stream itself");
        return false;
    }
    return true;
}

static bool check_put(const struct hf_call *call, struct hf_slice key, struct hf_slice value)
{
    if (!check_key(call, key)) {
        return false;
    }
    if (value.len > HF_STORE_VALUE_MAX) {
        hf_call_fail(call, "TOOBIG the value has %zu bytes, the limit is %u", value.len,
                     HF_STORE_VALUE_MAX);
        return false;
    }
    return true;
}

/* Checks a SET, MSET, DEL or UNLINK and counts what a block for it needs. */
static bool measure(const struct hf_call *call, struct hf_op_size *size)
{
    const struct hf_command *command = call->command;

    if (command->run == hf_run_del) {
        for (size_t i = 1; i < call->argc; i++) {
            if (!check_key(call, call->argv[i])) {
                return false;
            }
            size->bytes += call->argv[i].len;
        }
        size->changes += call->argc - 1;
        return true;
    }
    if (command->run == hf_run_set && call->argc != 3) {
        hf_call_fail(call,
                     "ERR SET takes a key and a value here; NX, XX, GET, EX and other options "
                     "are not supported");
        return false;
    }
    if (call->argc % 2 == 0) {
        hf_call_fail(call, "ERR wrong number of arguments for 'MSET'");
        return false;
    }
    for (size_t i = 1; i < call->argc; i += 2) {
        if (!check_put(call, call->argv[i], call->argv[i + 1])) {
            return false;
        }
        size->bytes += call->argv[i].len + call->argv[i + 1].len;
    }
    size->changes += (call->argc - 1) / 2;
    return true;
}

/* Adds the changes of a measured command. */
static void add_changes(struct hf_write_op *op, const struct hf_command *command,
                        const struct hf_slice *argv, size_t argc)
{
    if (command->run == hf_run_del) {
        for (size_t i = 1; i < argc; i++) {
            hf_op_change(op, HF_OP_DEL, argv[i], hf_slice_of(NULL, 0));
        }
        return;
    }
    for (size_t i = 1; i + 1 < argc; i += 2) {
        hf_op_change(op, HF_OP_PUT, argv[i], argv[i + 1]);
    }
}

/* ---- SET, MSET, DEL ---- */

static void run_plain(struct hf_call *call, enum hf_reply_form form)
{
    struct hf_op_size size = {0};
    struct hf_write_op *op;

    if (!measure(call, &size)) {
        return;
    }
    op = hf_op_new(call, form, size);
    if (op == NULL) {
        hf_call_fail(call, "BUSY out of memory");
        return;
    }
    add_changes(op, call->command, call->argv, call->argc);
    hf_op_start(op);
}

void hf_run_set(struct hf_call *call)
{
    run_plain(call, REPLY_OK);
}

void hf_run_mset(struct hf_call *call)
{
    run_plain(call, REPLY_OK);
}

void hf_run_del(struct hf_call *call)
{
    run_plain(call, REPLY_DELETED);
}

/* ---- MULTI, EXEC, DISCARD ---- */

void hf_multi_end(struct hf_session *s)
{
    hf_held_clear(&s->multi);
    s->in_multi = false;
    s->multi_failed = false;
}

void hf_run_multi(struct hf_call *call)
{
    struct hf_session *s = call->session;

    if (s->in_multi) {
        hf_call_fail(call, "ERR MULTI calls cannot be nested");
        return;
    }
    s->in_multi = true;
    s->multi_failed = false;
    hf_resp_simple(call->client, "OK");
}

void hf_multi_spoil(struct hf_session *s, const struct hf_spoiled *by)
{
    if (by->ended) {
        hf_multi_end(s);
    }
    s->in_multi |= by->begun;
    s->multi_failed |= by->begun || by->failed;
}

void hf_multi_refused(struct hf_call *call, struct hf_spoiled *spoiled)
{
    void (*run)(struct hf_call *) = call->command != NULL ? call->command->run : NULL;

    if (run == hf_run_exec || run == hf_run_discard) {
        *spoiled = (struct hf_spoiled){.ended = true};
    } else if (run == hf_run_multi) {
        spoiled->begun = true;
    } else {
        spoiled->failed = true;
    }
}

void hf_multi_queue(struct hf_call *call)
{
    struct hf_session *s = call->session;
    struct hf_op_size size = {0};
    struct hf_held *h;

    if ((call->command->flags & CMD_QUEUES) == 0) {
        s->multi_failed = true;
        hf_call_fail(call, "ERR only SET, MSET and DEL may stand between MULTI and EXEC");
        return;
    }
    if (!measure(call, &size)) {
        s->multi_failed = true;
        return;
    }
    /* Bounded by the copies, which are larger than the batch they will make. */
    if (s->multi.bytes + size.bytes > 2 * (size_t)HF_BATCH_RAW_MAX) {
        s->multi_failed = true;
        hf_call_fail(call, "TOOBIG the transaction is over the limit of one batch");
        return;
    }
    h = hf_held_new(call, &s->multi);
    if (h == NULL) {
        s->multi_failed = true;
        hf_call_fail(call, "BUSY too much waits in open transactions");
        return;
    }
    hf_held_append(&s->multi, h);
    hf_resp_simple(call->client, "QUEUED");
}

void hf_run_discard(struct hf_call *call)
{
    if (!call->session->in_multi) {
        hf_call_fail(call, "ERR DISCARD without MULTI");
        return;
    }
    hf_multi_end(call->session);
    hf_resp_simple(call->client, "OK");
}

static struct hf_write_op *exec_op(struct hf_call *call)
{
    const struct hf_held_list *multi = &call->session->multi;
    struct hf_op_size size = {.parts = multi->count};
    struct hf_write_op *op;

    for (const struct hf_held *h = multi->first; h != NULL; h = h->next) {
        size.changes += h->argc; /* more than enough */
        size.bytes += h->bytes;
    }
    op = hf_op_new(call, REPLY_EXEC, size);
    if (op == NULL) {
        return NULL;
    }
    for (const struct hf_held *h = multi->first; h != NULL; h = h->next) {
        bool del = h->command->run == hf_run_del;

        add_changes(op, h->command, h->argv, h->argc);
        op->part[op->part_count++] = (struct hf_op_part){
            .form = del ? REPLY_DELETED : REPLY_OK,
            .changes = (uint32_t)(del ? h->argc - 1 : (h->argc - 1) / 2),
        };
    }
    return op;
}

void hf_run_exec(struct hf_call *call)
{
    struct hf_session *s = call->session;
    struct hf_resp_client *c;
    struct hf_write_op *op;

    if (!s->in_multi) {
        hf_call_fail(call, "ERR EXEC without MULTI");
        return;
    }
    if (s->multi_failed) {
        hf_call_fail(call, "EXECABORT nothing was applied because of the errors before");
        goto out;
    }
    if (s->multi.count == 0) {
        c = hf_resp_slot_begin(call->slot);
        if (c != NULL) {
            hf_resp_array(c, 0);
        }
        hf_resp_slot_end(call->slot);
        goto out;
    }
    op = exec_op(call);
    if (op != NULL) {
        hf_op_start(op);
    } else {
        hf_call_fail(call, "BUSY out of memory");
    }
out:
    hf_multi_end(s);
}

/* ---- HF.APPLY ---- */

/* The parts of HF.APPLY <id> [AUTHOR a] [REASON r] [IFSEQ n] SET k v | DEL k ... */
struct apply {
    struct hf_slice id, author, reason;
    bool has_ifseq;
    hf_seq ifseq;
    size_t first_change; /* index into argv */
    struct hf_op_size size;
};

static bool apply_text(const struct hf_call *call, struct hf_slice text, size_t max,
                       const char *name)
{
    if (text.len <= max) {
        return true;
    }
    hf_call_fail(call, "TOOBIG the %s has %zu bytes, the limit is %zu", name, text.len, max);
    return false;
}

/* Options up to the first SET or DEL. False after an error. */
static bool apply_options(const struct hf_call *call, struct apply *a)
{
    size_t i = 2;

    a->id = call->argv[1];
    if (!apply_text(call, a->id, HF_REQUEST_ID_MAX, "request id")) {
        return false;
    }
    for (; i + 1 < call->argc; i += 2) {
        struct hf_slice value = call->argv[i + 1];

        if (hf_kv_is(call->argv[i], "AUTHOR")) {
            a->author = value;
        } else if (hf_kv_is(call->argv[i], "REASON")) {
            a->reason = value;
        } else if (hf_kv_is(call->argv[i], "IFSEQ")) {
            a->has_ifseq = true;
            if (!hf_number_parse(value, 0, INT64_MAX, &a->ifseq)) {
                hf_call_fail(call, "ERR IFSEQ takes a sequence number");
                return false;
            }
        } else {
            break;
        }
    }
    a->first_change = i;
    return apply_text(call, a->author, HF_AUTHOR_MAX, "author") &&
           apply_text(call, a->reason, HF_REASON_MAX, "reason");
}

/* Checks the changes and counts them. False after an error. */
static bool apply_measure(const struct hf_call *call, struct apply *a)
{
    size_t i = a->first_change;

    while (i < call->argc) {
        size_t left = call->argc - i;

        if (hf_kv_is(call->argv[i], "SET") && left >= 3) {
            if (!check_put(call, call->argv[i + 1], call->argv[i + 2])) {
                return false;
            }
            a->size.bytes += call->argv[i + 1].len + call->argv[i + 2].len;
            i += 3;
        } else if (hf_kv_is(call->argv[i], "DEL") && left >= 2) {
            if (!check_key(call, call->argv[i + 1])) {
                return false;
            }
            a->size.bytes += call->argv[i + 1].len;
            i += 2;
        } else {
            hf_call_fail(call, "ERR expected SET key value or DEL key, found '%s'",
                         hf_show_bytes(call->argv[i].data, call->argv[i].len).text);
            return false;
        }
        a->size.changes++;
    }
    a->size.bytes += a->id.len + a->author.len + a->reason.len;
    if (a->size.changes == 0) {
        hf_call_fail(call, "ERR HF.APPLY needs at least one SET or DEL");
    }
    return a->size.changes > 0;
}

void hf_run_apply(struct hf_call *call)
{
    struct apply a = {0};
    struct hf_write_op *op;
    size_t i;

    if (!apply_options(call, &a) || !apply_measure(call, &a)) {
        return;
    }
    op = hf_op_new(call, REPLY_APPLY, a.size);
    if (op == NULL) {
        hf_call_fail(call, "BUSY out of memory");
        return;
    }
    op->write.request_id = hf_op_copy(op, a.id);
    op->write.author = hf_op_copy(op, a.author);
    op->write.reason = hf_op_copy(op, a.reason);
    op->write.has_ifseq = a.has_ifseq;
    op->write.ifseq = a.ifseq;
    for (i = a.first_change; i < call->argc;) {
        bool put = hf_kv_is(call->argv[i], "SET");

        if (put) {
            hf_op_change(op, HF_OP_PUT, call->argv[i + 1], call->argv[i + 2]);
        } else {
            hf_op_change(op, HF_OP_DEL, call->argv[i + 1], hf_slice_of(NULL, 0));
        }
        i += put ? 3 : 2;
    }
    hf_op_start(op);
}
