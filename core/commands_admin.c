/*
 * commands_admin.c - HF.STATUS, HF.EDGE and WAIT: the edges, seen and managed from the core.
 *
 * HF.STATUS  [version, stream, epoch, epoch id, head, committed, digest, log first, log bytes, live
 * keys, why writes are refused or nil, edges] an edge  [name, key, state, head, received, applied,
 * lag_batches, lag_bytes, lag_ms, holes, staleness_ms, digest_ok (1, 0 or nil), last_heard_ms,
 * version, transfer_done, transfer_total, store_state, floor] Unknown numbers and texts are nil,
 * never 0 (G8). Elements are only ever added at the end.
 *
 * HF.EDGE answers when the change is durable, so a revoked edge is refused from then on (G12).
 * It must not keep anything about edges itself. Next: core/registry.c, core/cli/status.c.
 */
#include "core/commands_impl.h"

#include "hf/number.h"

#include <stdlib.h>

#define ROW_BYTES 512u /* of a reply about an edge, at most */

/* ---- HF.STATUS ---- */

static void reply_text(struct hf_resp_client *c, const char *text)
{
    if (text == NULL || text[0] == '\0') {
        hf_resp_nil(c);
    } else {
        hf_resp_bulk(c, hf_slice_str(text));
    }
}

static void reply_hex(struct hf_resp_client *c, const uint8_t *bytes, size_t len)
{
    char hex[2 * HF_HASH_BYTES + 1];

    HF_ASSERT(len <= HF_HASH_BYTES);
    hf_hex(bytes, len, hex);
    hf_resp_bulk(c, hf_slice_str(hex));
}

static void reply_edge(struct hf_resp_client *c, const struct hf_edge_row *row)
{
    bool heard = row->last_heard_ms != UINT64_MAX;

    hf_resp_array(c, 18);
    hf_resp_bulk(c, hf_slice_str(row->name));
    reply_hex(c, row->key.b, HF_KEY_BYTES);
    hf_resp_bulk(c, hf_slice_str(hf_edge_state_name(row->state)));
    hf_resp_number(c, row->head);
    hf_resp_number(c, row->received);
    hf_resp_number(c, row->applied);
    hf_resp_number(c, row->lag_batches);
    hf_resp_number(c, row->lag_bytes);
    hf_resp_number(c, row->lag_ms);
    hf_resp_number(c, row->holes);
    hf_resp_number(c, row->staleness_ms);
    hf_resp_number(c, row->digest_ok < 0 ? UINT64_MAX : (uint64_t)row->digest_ok);
    hf_resp_number(c, row->last_heard_ms);
    reply_text(c, row->version);
    hf_resp_number(c, heard ? row->transfer_done : UINT64_MAX);
    hf_resp_number(c, heard ? row->transfer_total : UINT64_MAX);
    reply_text(c, heard ? hf_store_state_name(row->store_state) : NULL);
    reply_text(c, hf_edge_floor_name(row->floor));
}

void hf_run_status(struct hf_call *call)
{
    const struct hf_commands_config *config = &call->owner->config;
    struct hf_resp_client *c = call->client;
    hf_ms now = config->now(config->ctx);
    struct hf_core_status s;
    struct hf_edge_row row;

    hf_core_status(config->core, &s);
    if (!hf_resp_fits(c, ROW_BYTES * ((size_t)s.edge_count + 1))) {
        return;
    }
    hf_resp_array(c, 12);
    hf_resp_bulk(c, hf_slice_str(config->version));
    hf_resp_bulk(c, hf_slice_str(config->stream));
    hf_resp_number(c, s.epoch);
    reply_hex(c, s.epoch_id.b, HF_ID_BYTES);
    hf_resp_number(c, s.head);
    hf_resp_number(c, s.committed);
    reply_hex(c, s.digest.b, HF_HASH_BYTES);
    hf_resp_number(c, s.log_first);
    hf_resp_number(c, s.log_bytes);
    hf_resp_number(c, s.live_count);
    reply_text(c, s.refusing);
    hf_resp_array(c, s.edge_count);
    for (uint32_t i = 0; i < s.edge_count; i++) {
        hf_core_edge(config->core, i, now, &row);
        reply_edge(c, &row);
    }
}

/* ---- HF.EDGE ---- */

/* An enrolment that the core has not answered yet. */
struct admin_op {
    struct hf_resp_slot *slot;
    bool token; /* the answer is a text */
};

static void on_admin_done(void *ctx, const struct hf_admin_result *r)
{
    struct admin_op *op = ctx;
    struct hf_resp_client *c = hf_resp_slot_begin(op->slot);

    if (c != NULL && r->code != HF_OK) {
        hf_resp_error(c, "%s %s", r->code == HF_EXISTS ? "ERR" : hf_error_word(r->code),
                      r->text != NULL ? r->text : hf_err_text(r->code));
    } else if (c != NULL && op->token) {
        hf_resp_bulk(c, hf_slice_str(r->text != NULL ? r->text : ""));
    } else if (c != NULL) {
        hf_resp_simple(c, "OK");
    }
    hf_resp_slot_end(op->slot);
    free(op);
}

static void reply_edge_list(struct hf_call *call)
{
    const struct hf_commands_config *config = &call->owner->config;
    struct hf_resp_client *c = hf_resp_slot_begin(call->slot);
    hf_ms now = config->now(config->ctx);
    struct hf_core_status s;
    struct hf_edge_row row;
    const char *name;
    uint32_t invited = 0;

    if (c == NULL) {
        goto out;
    }
    hf_core_status(config->core, &s);
    for (uint32_t at = 0; hf_core_invited(config->core, &at) != NULL;) {
        invited++;
    }
    if (!hf_resp_fits(c, ROW_BYTES * ((size_t)s.edge_count + invited + 1))) {
        goto out;
    }
    hf_resp_array(c, s.edge_count + invited);
    for (uint32_t i = 0; i < s.edge_count; i++) {
        hf_core_edge(config->core, i, now, &row);
        hf_resp_array(c, 3);
        hf_resp_bulk(c, hf_slice_str(row.name));
        reply_hex(c, row.key.b, HF_KEY_BYTES);
        hf_resp_bulk(c, hf_slice_str(hf_edge_state_name(row.state)));
    }
    for (uint32_t at = 0; (name = hf_core_invited(config->core, &at)) != NULL;) {
        hf_resp_array(c, 3);
        hf_resp_bulk(c, hf_slice_str(name));
        hf_resp_bulk(c, hf_slice_str("-"));
        hf_resp_bulk(c, hf_slice_str("invited"));
    }
out:
    hf_resp_slot_end(call->slot);
}

/* The name as a C string. False after an error. */
static bool edge_name(const struct hf_call *call, char name[HF_NAME_MAX + 1])
{
    struct hf_slice word = call->argv[2];

    if (!hf_name_valid(word)) {
        hf_call_fail(call,
                     "ERR '%s' is not a name: 1 to %u of a-z 0-9 . _ -, a letter or digit first",
                     hf_show_bytes(word.data, word.len).text, HF_NAME_MAX);
        return false;
    }
    memcpy(name, word.data, word.len);
    name[word.len] = '\0';
    return true;
}

static bool edge_key(const struct hf_call *call, struct hf_key *key)
{
    struct hf_slice word = call->argv[3];
    char hex[2 * HF_KEY_BYTES + 1];

    if (word.len == sizeof hex - 1 && memchr(word.data, '\0', word.len) == NULL) {
        memcpy(hex, word.data, word.len);
        hex[word.len] = '\0';
        if (hf_unhex(hex, key->b, HF_KEY_BYTES) == HF_OK) {
            return true;
        }
    }
    hf_call_fail(call, "ERR a public key is %u lower-case hexadecimal digits", 2 * HF_KEY_BYTES);
    return false;
}

void hf_run_edge(struct hf_call *call)
{
    struct hf_core *core = call->owner->config.core;
    bool invite = hf_kv_is(call->argv[1], "INVITE") && call->argc == 3;
    bool add = hf_kv_is(call->argv[1], "ADD") && call->argc == 4;
    bool revoke = hf_kv_is(call->argv[1], "REVOKE") && call->argc == 3;
    char name[HF_NAME_MAX + 1];
    struct admin_op *op;
    struct hf_key key;

    if (hf_kv_is(call->argv[1], "LIST") && call->argc == 2) {
        reply_edge_list(call);
        return;
    }
    if (!invite && !add && !revoke) {
        hf_call_fail(call, "ERR HF.EDGE INVITE name | ADD name key | LIST | REVOKE name");
        return;
    }
    if (!edge_name(call, name) || (add && !edge_key(call, &key))) {
        return;
    }
    op = malloc(sizeof *op);
    if (op == NULL) {
        hf_call_fail(call, "BUSY out of memory");
        return;
    }
    *op = (struct admin_op){.slot = call->slot, .token = invite};
    call->owner->wrote_in_run = true;
    if (invite) {
        hf_core_edge_invite(core, name, on_admin_done, op);
    } else if (add) {
        hf_core_edge_add(core, name, &key, on_admin_done, op);
    } else {
        hf_core_edge_revoke(core, name, on_admin_done, op);
    }
}

/* ---- WAIT ---- */

bool hf_wait_arguments(const struct hf_slice *argv, size_t argc, uint64_t *edges, uint64_t *ms)
{
    return argc == 3 && hf_number_parse(argv[1], 0, UINT32_MAX, edges) &&
           hf_number_parse(argv[2], 0, INT64_MAX, ms);
}

/* Runs when enough edges have the connection's writes, or the time is over: commands.c saw to that.
 * The connection's reads then show at least what the core has acknowledged by now, so WAIT 0 0 is
 * how a new connection asks to see the writes of others. */
void hf_run_wait(struct hf_call *call)
{
    struct hf_session *s = call->session;
    struct hf_core_status status;
    uint64_t edges, ms;

    if (!hf_wait_arguments(call->argv, call->argc, &edges, &ms)) {
        hf_call_fail(call, "ERR WAIT takes a number of edges and a time in milliseconds");
        return;
    }
    hf_core_status(call->owner->config.core, &status);
    s->read_seq = status.head;
    s->wrote = true;
    hf_resp_integer(call->client, hf_core_edges_at(call->owner->config.core, s->write_seq));
}
