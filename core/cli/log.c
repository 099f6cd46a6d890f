/*
 * log.c - `holdfast log [KEY]`: who changed what and why, the newest batch first.
 *
 * Walks the core's log from a seq downwards, one HF.LOG at a time, so it costs the core one batch
 * of memory and takes as long as there are batches to look at: a key that nobody changed is looked
 * for in all of them.
 *
 * It must not show values: they are what get is for. Next: core/commands_log.c.
 */
#include "core/cli/cli.h"
#include "core/cli/status.h"
#include "core/cli/text.h"
#include "hf/number.h"

#include <hiredis/hiredis.h>
#include <jansson.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LAST_DEFAULT "20"
#define CHANGES_SHOWN 10u /* of a batch, without --all */

struct log_options {
    const char *last, *from, *prefix;
    struct hf_slice key; /* empty: any */
    bool json, all;
    uint64_t last_n, from_seq;
};

/* ---- one batch, as HF.LOG answers it ---- */

struct change {
    const char *op;
    struct hf_slice key;
    uint64_t bytes;
};

struct request {
    struct hf_slice id, author, reason;
    uint64_t first, count; /* of its changes */
};

static struct hf_slice bytes_of(const struct redisReply *r)
{
    return hf_slice_of(r->str, r->len);
}

/* The kinds of the elements of a list, a letter each: s a text, i a number. */
static bool has_form(const struct redisReply *r, const char *form)
{
    size_t n = strlen(form);

    if (r->type != REDIS_REPLY_ARRAY || r->elements < n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (r->element[i]->type != (form[i] == 's' ? REDIS_REPLY_STRING : REDIS_REPLY_INTEGER)) {
            return false;
        }
    }
    return true;
}

static bool is_list_of(const struct redisReply *r, const char *form)
{
    bool is = r->type == REDIS_REPLY_ARRAY;

    for (size_t i = 0; is && i < r->elements; i++) {
        is = has_form(r->element[i], form);
    }
    return is;
}

static bool is_batch(const struct redisReply *r)
{
    return has_form(r, "iis") && r->elements >= 5 && is_list_of(r->element[3], "ssi") &&
           is_list_of(r->element[4], "sssii");
}

static struct change change_at(const struct redisReply *batch, size_t i)
{
    struct redisReply **e = batch->element[3]->element[i]->element;

    return (struct change){e[0]->str, bytes_of(e[1]), (uint64_t)e[2]->integer};
}

static struct request request_at(const struct redisReply *batch, size_t i)
{
    struct redisReply **e = batch->element[4]->element[i]->element;

    return (struct request){bytes_of(e[0]), bytes_of(e[1]), bytes_of(e[2]), (uint64_t)e[3]->integer,
                            (uint64_t)e[4]->integer};
}

/* The request of change i, from *at on: both are in order. False: it came without. */
static bool request_of(const struct redisReply *batch, uint64_t i, size_t *at, struct request *out)
{
    for (; *at < batch->element[4]->elements; ++*at) {
        *out = request_at(batch, *at);
        if (i < out->first || i - out->first < out->count) {
            return i >= out->first;
        }
    }
    return false;
}

static bool is_asked_for(const struct log_options *o, const struct change *c)
{
    size_t n = strlen(o->prefix);

    if (o->key.len > 0) {
        return hf_slice_eq(c->key, o->key);
    }
    return c->key.len >= n && memcmp(c->key.data, o->prefix, n) == 0;
}

static bool asks_for_all(const struct log_options *o)
{
    return o->key.len == 0 && o->prefix[0] == '\0';
}

static bool has_what_is_asked_for(const struct log_options *o, const struct redisReply *batch)
{
    if (asks_for_all(o)) {
        return true;
    }
    for (size_t i = 0; i < batch->element[3]->elements; i++) {
        struct change c = change_at(batch, i);
        if (is_asked_for(o, &c)) {
            return true;
        }
    }
    return false;
}

/* ---- for people ---- */

static void print_named(const char *before, struct hf_slice text)
{
    if (text.len > 0) {
        fputs(before, stdout);
        hf_text_escape(text, stdout);
    }
}

static void print_head(const struct redisReply *batch, const struct request *r)
{
    char stamp[32] = "?";
    uint64_t ms = (uint64_t)batch->element[1]->integer;
    time_t seconds = (time_t)(ms / 1000);
    struct tm t;

    if (gmtime_r(&seconds, &t) != NULL) {
        strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &t);
    }
    printf("%lld  %s.%03uZ", batch->element[0]->integer, stamp, (unsigned)(ms % 1000));
    if (r != NULL) {
        print_named("  by ", r->author);
        print_named("  request ", r->id);
        print_named("  reason: ", r->reason);
    }
    putchar('\n');
}

static void print_change(const struct change *c)
{
    printf("    %s ", c->op);
    hf_text_escape(c->key, stdout);
    if (strcmp(c->op, "put") == 0) {
        printf("  %" PRIu64 " B", c->bytes);
    }
    putchar('\n');
}

/* A head for each run of changes of one request, and for each request that changed nothing. */
static void print_text(const struct log_options *o, const struct redisReply *batch)
{
    size_t at = 0, printed_at = SIZE_MAX, shown = 0, left = 0;
    size_t count = batch->element[3]->elements;

    for (size_t i = 0; i < count; i++) {
        struct change c = change_at(batch, i);
        struct request r;
        bool has = request_of(batch, i, &at, &r);
        size_t group = has ? at : SIZE_MAX - 1;

        if (!is_asked_for(o, &c)) {
            continue;
        }
        if (shown == CHANGES_SHOWN && !o->all) {
            left++;
            continue;
        }
        if (group != printed_at) {
            print_head(batch, has ? &r : NULL);
            printed_at = group;
        }
        print_change(&c);
        shown++;
    }
    if (left > 0) {
        printf("    and %zu more (--all)\n", left);
    }
    for (size_t i = 0; i < batch->element[4]->elements; i++) {
        struct request r = request_at(batch, i);
        if (r.count == 0 && asks_for_all(o)) {
            print_head(batch, &r);
            puts("    changed nothing");
        }
    }
    if (count == 0 && batch->element[4]->elements == 0) {
        print_head(batch, NULL);
        printf("    %s\n", batch->element[2]->str);
    }
}

/* ---- for scripts ---- */

static json_t *json_change(const struct change *c, size_t ordinal)
{
    json_t *object = json_pack("{s:I, s:s, s:I}", "ordinal", (json_int_t)ordinal, "op", c->op,
                               "bytes", (json_int_t)c->bytes);

    if (!hf_text_json_set(object, "key", c->key)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *json_request(const struct request *r)
{
    json_t *object =
        json_pack("{s:I, s:I}", "first", (json_int_t)r->first, "count", (json_int_t)r->count);

    if (!hf_text_json_set(object, "id", r->id) || !hf_text_json_set(object, "author", r->author) ||
        !hf_text_json_set(object, "reason", r->reason)) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static bool print_json(const struct log_options *o, const struct redisReply *batch)
{
    json_t *changes = json_array(), *requests = json_array();
    bool ok = true;

    for (size_t i = 0; i < batch->element[3]->elements && ok; i++) {
        struct change c = change_at(batch, i);
        if (is_asked_for(o, &c)) {
            ok = json_array_append_new(changes, json_change(&c, i)) == 0;
        }
    }
    for (size_t i = 0; i < batch->element[4]->elements && ok; i++) {
        struct request r = request_at(batch, i);
        ok = json_array_append_new(requests, json_request(&r)) == 0;
    }
    json_t *object =
        json_pack("{s:I, s:I, s:s, s:o, s:o}", "seq", (json_int_t)batch->element[0]->integer,
                  "published_ms", (json_int_t)batch->element[1]->integer, "kind",
                  batch->element[2]->str, "changes", changes, "requests", requests);
    ok = ok && object != NULL && json_dumpf(object, stdout, JSON_COMPACT) == 0 &&
         putchar('\n') != EOF;
    json_decref(object);
    if (!ok && !ferror(stdout)) { /* main says what went wrong with the output */
        hf_cli_fail("out of memory");
    }
    return ok;
}

/* ---- the walk ---- */

enum asked { ASKED_BATCH, ASKED_GONE, ASKED_SEALED, ASKED_IN_VAIN };

static bool is_error(const struct redisReply *r, const char *word)
{
    return r->type == REDIS_REPLY_ERROR && strncmp(r->str, word, strlen(word)) == 0;
}

/* The batch at seq into *out, which the caller frees in any case. In vain: after a message. */
static enum asked ask(struct hf_cli *cli, uint64_t seq, struct redisReply **out)
{
    char number[24];
    struct hf_slice command[2] = {hf_slice_str("HF.LOG")};
    struct redisReply *r = NULL;

    snprintf(number, sizeof number, "%" PRIu64, seq);
    command[1] = hf_slice_str(number);
    if (hf_cli_send(cli, command, 2) && hf_cli_flush(cli)) {
        r = hf_cli_answer(cli);
    }
    *out = r;
    if (r == NULL) {
        return ASKED_IN_VAIN;
    }
    if (is_batch(r)) {
        return ASKED_BATCH;
    }
    if (is_error(r, "NOTFOUND")) {
        return ASKED_GONE;
    }
    if (is_error(r, "SEALED")) {
        return ASKED_SEALED;
    }
    if (!hf_cli_refused(r)) {
        hf_cli_fail("%s did not answer as a core does", cli->target);
    }
    return ASKED_IN_VAIN;
}

/* Where the log begins and ends. */
static bool ask_bounds(struct hf_cli *cli, uint64_t *first, uint64_t *last)
{
    const struct hf_slice command = hf_slice_str("HF.STATUS");
    struct redisReply *r = hf_cli_call(cli, &command, 1);
    struct hf_status s = {.is_edge = false};
    bool ok = r != NULL && hf_status_read(r, &s);

    if (ok && s.is_edge) {
        ok = false;
        hf_cli_fail("%s is an edge, and the log is the core's", cli->target);
    }
    *first = s.log_first;
    *last = s.head;
    hf_status_deinit(&s);
    freeReplyObject(r);
    return ok;
}

static bool show(const struct log_options *o, const struct redisReply *batch)
{
    if (o->json) {
        return print_json(o, batch);
    }
    print_text(o, batch);
    return !ferror(stdout);
}

static int walk(struct hf_cli *cli, const struct log_options *o)
{
    uint64_t first, seq, shown = 0;
    enum asked asked = ASKED_BATCH;

    if (!hf_cli_connect(cli) || !ask_bounds(cli, &first, &seq)) {
        return HF_CLI_NO;
    }
    seq = o->from != NULL && o->from_seq < seq ? o->from_seq : seq;
    for (; seq >= first && seq > 0 && (o->last_n == 0 || shown < o->last_n); seq--) {
        struct redisReply *batch = NULL;
        bool ok = true;

        asked = ask(cli, seq, &batch);
        if (asked == ASKED_BATCH && has_what_is_asked_for(o, batch)) {
            shown++;
            ok = show(o, batch);
        } else if (asked == ASKED_SEALED) {
            fprintf(stderr, "%" PRIu64 "  sealed with a key that the core has not kept\n", seq);
        }
        freeReplyObject(batch);
        if (!ok || asked == ASKED_IN_VAIN) {
            return HF_CLI_NO;
        }
        if (asked == ASKED_GONE) { /* trimmed in the meantime */
            first = seq + 1;
        }
    }
    if (seq < first && first > 1 && !o->json) {
        fprintf(stderr, "the log begins at %" PRIu64 ": what was before is not known any more\n",
                first);
    }
    return shown > 0 ? HF_CLI_OK : HF_CLI_NO;
}

int hf_cli_log(struct hf_cli *cli, int argc, char **argv)
{
    struct log_options o = {.last = LAST_DEFAULT, .prefix = ""};
    const struct hf_cli_option options[] = {
        {"last", "N", &o.last, NULL, "the newest N batches (default 20, 0: all that the log has)"},
        {"from", "SEQ", &o.from, NULL, "from this batch downwards"},
        {"prefix", "P", &o.prefix, NULL, "only changes of keys that begin with P"},
        {"all", NULL, NULL, &o.all, "all changes of a batch, not only ten"},
        {"json", NULL, NULL, &o.json, "one JSON object a batch"},
    };

    if (!hf_cli_options(cli, options, sizeof options / sizeof options[0], argc, argv)) {
        return cli->status;
    }
    if (argc - cli->first > 1) {
        return hf_cli_usage(cli, "log takes one key at most");
    }
    if (argc > cli->first) {
        o.key = hf_slice_str(argv[cli->first]);
    }
    if (!hf_number_parse(hf_slice_str(o.last), 0, UINT64_MAX, &o.last_n)) {
        return hf_cli_usage(cli, "--last %.30s is not a number", o.last);
    }
    if (o.from != NULL && !hf_number_parse(hf_slice_str(o.from), 1, UINT64_MAX, &o.from_seq)) {
        return hf_cli_usage(cli, "--from %.30s is not a seq", o.from);
    }
    return walk(cli, &o);
}
