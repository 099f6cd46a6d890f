/*
 * status.c - `holdfast status`: asks a daemon for HF.STATUS and shows it, once or each second.
 *
 * The core answers with itself and a list of edges, an edge with its own view; which one it is
 * shows in the reply. Names leave only these rows. --max-lag and --max-staleness turn the answer
 * into an exit status: what is not known, or has diverged, counts as beyond the limit: neither may
 * pass for "in sync" (G8, G14).
 *
 * It must not compute what the daemon knows better: lag, staleness and state are printed as told.
 * Next: status_print.c for the three forms, core/commands_admin.c for the answer.
 */
#include "core/cli/cli.h"
#include "core/cli/status.h"
#include "core/cli/text.h"
#include "hf/number.h"

#include <hiredis/hiredis.h>

#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* How long an answer is waited for: nothing has to be written for it. */
#define STATUS_ANSWER_S 10

/* Elements of the two answers, and of one edge in the core's. More may follow in a later version.
 */
#define CORE_ELEMENTS 12u
#define EDGE_ELEMENTS 17u
#define ROW_ELEMENTS 17u

/* ---- reading the reply ---- */

static void take_text(const struct redisReply *r, char *out, size_t cap)
{
    bool text = r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS;

    out[0] = '\0';
    if (text) {
        hf_text_plain(out, cap, r->str, r->len);
    }
}

static uint64_t take_number(const struct redisReply *r)
{
    return r->type == REDIS_REPLY_INTEGER && r->integer >= 0 ? (uint64_t)r->integer : HF_UNKNOWN;
}

static bool read_row(const struct redisReply *r, struct hf_status_edge *e)
{
    struct redisReply **at = r->element;
    uint64_t digest_ok;

    if (r->type != REDIS_REPLY_ARRAY || r->elements < ROW_ELEMENTS) {
        return false;
    }
    take_text(at[0], e->name, sizeof e->name);
    take_text(at[1], e->key, sizeof e->key);
    take_text(at[2], e->state, sizeof e->state);
    e->head = take_number(at[3]);
    e->received = take_number(at[4]);
    e->applied = take_number(at[5]);
    e->lag_batches = take_number(at[6]);
    e->lag_bytes = take_number(at[7]);
    e->lag_ms = take_number(at[8]);
    e->holes = take_number(at[9]);
    e->staleness_ms = take_number(at[10]);
    digest_ok = take_number(at[11]);
    e->digest_ok = digest_ok == HF_UNKNOWN ? -1 : digest_ok == 1;
    e->last_heard_ms = take_number(at[12]);
    take_text(at[13], e->version, sizeof e->version);
    e->transfer_done = take_number(at[14]);
    e->transfer_total = take_number(at[15]);
    take_text(at[16], e->store, sizeof e->store);
    if (r->elements > ROW_ELEMENTS) { /* a core of an earlier version does not say */
        take_text(at[17], e->floor, sizeof e->floor);
    }
    return true;
}

static bool read_core(struct redisReply **at, struct hf_status *s)
{
    const struct redisReply *rows = at[11];

    s->head = take_number(at[4]);
    s->committed = take_number(at[5]);
    take_text(at[6], s->digest, sizeof s->digest);
    s->log_first = take_number(at[7]);
    s->log_bytes = take_number(at[8]);
    s->live_keys = take_number(at[9]);
    take_text(at[10], s->refusing, sizeof s->refusing);
    if (rows->type != REDIS_REPLY_ARRAY) {
        return false;
    }
    s->edge = calloc(rows->elements + 1, sizeof *s->edge);
    if (s->edge == NULL) {
        return false;
    }
    for (; s->edge_count < rows->elements; s->edge_count++) {
        if (!read_row(rows->element[s->edge_count], &s->edge[s->edge_count])) {
            return false;
        }
    }
    return true;
}

/* The head that an edge knows is of no use once it hears nothing new: it may be any number behind.
 */
static uint64_t own_lag(const struct hf_status_edge *e)
{
    bool deaf = strcmp(e->state, "cut-off") == 0 || strcmp(e->state, "frozen") == 0 ||
                strcmp(e->state, "revoked") == 0;

    if (deaf || e->head == HF_UNKNOWN || e->applied == HF_UNKNOWN) {
        return HF_UNKNOWN;
    }
    return e->head > e->applied ? e->head - e->applied : 0;
}

/* An edge's own view becomes the one row. It cannot judge its digest against the core, nor its lag
 * in bytes or time. */
static bool read_edge(struct redisReply **at, size_t elements, struct hf_status *s)
{
    struct hf_status_edge *e = calloc(1, sizeof *e);

    if (e == NULL) {
        return false;
    }
    s->is_edge = true;
    s->edge = e;
    s->edge_count = 1;
    s->head = e->head = take_number(at[4]);
    e->applied = take_number(at[5]);
    e->received = take_number(at[6]);
    take_text(at[7], s->digest, sizeof s->digest);
    take_text(at[8], e->state, sizeof e->state);
    e->holes = take_number(at[9]);
    e->staleness_ms = take_number(at[10]);
    s->live_keys = take_number(at[11]);
    take_text(at[12], e->store, sizeof e->store);
    e->transfer_done = take_number(at[13]);
    e->transfer_total = take_number(at[14]);
    take_text(at[15], s->core_url, sizeof s->core_url);
    take_text(at[16], e->name, sizeof e->name);
    if (elements > EDGE_ELEMENTS) { /* an edge of an earlier version does not say */
        take_text(at[17], s->reason, sizeof s->reason);
    }
    snprintf(e->version, sizeof e->version, "%s", s->version);
    e->lag_batches = own_lag(e);
    e->lag_bytes = e->lag_ms = e->last_heard_ms = HF_UNKNOWN;
    e->digest_ok = -1;
    return true;
}

bool hf_status_read(const struct redisReply *reply, struct hf_status *s)
{
    struct redisReply **at = reply->element;

    *s = (struct hf_status){0};
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < CORE_ELEMENTS) {
        return false;
    }
    take_text(at[0], s->version, sizeof s->version);
    take_text(at[1], s->stream, sizeof s->stream);
    s->epoch = take_number(at[2]);
    take_text(at[3], s->epoch_id, sizeof s->epoch_id);
    /* Only the core has a list there; an edge has a number of keys. */
    if (at[11]->type == REDIS_REPLY_ARRAY) {
        return read_core(at, s);
    }
    return reply->elements >= EDGE_ELEMENTS && read_edge(at, reply->elements, s);
}

void hf_status_deinit(struct hf_status *s)
{
    free(s->edge);
    *s = (struct hf_status){0};
}

/* ---- names and limits ---- */

static bool is_named(const struct hf_status_edge *e, char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(e->name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

const char *hf_status_choose(struct hf_status *s, char *const *names, size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        size_t at = 0;

        while (at < s->edge_count && strcmp(s->edge[at].name, names[i]) != 0) {
            at++;
        }
        if (at == s->edge_count) {
            return names[i];
        }
    }
    for (size_t i = 0; count > 0 && i < s->edge_count; i++) {
        if (is_named(&s->edge[i], names, count)) {
            s->edge[kept++] = s->edge[i];
        }
    }
    s->edge_count = count > 0 ? kept : s->edge_count;
    return NULL;
}

bool hf_status_within(const struct hf_status *s, uint64_t lag_max, uint64_t staleness_ms_max)
{
    for (size_t i = 0; i < s->edge_count; i++) {
        const struct hf_status_edge *e = &s->edge[i];

        /* At the core that is what somebody wanted; an edge that is asked itself gets nothing new.
         */
        if (!s->is_edge && strcmp(e->state, "revoked") == 0) {
            continue;
        }
        if (e->lag_batches > lag_max || e->staleness_ms > staleness_ms_max ||
            strcmp(e->state, "diverged") == 0) {
            return false;
        }
    }
    return true;
}

/* ---- the subcommand ---- */

struct status_options {
    bool json, tsv, watch;
    const char *max_lag, *max_staleness; /* NULL = not asked */
    uint64_t lag_max, staleness_ms_max;  /* HF_UNKNOWN = no limit */
    char **names;
    size_t name_count;
};

static volatile sig_atomic_t stopped;

static void on_interrupt(int sig)
{
    (void)sig;
    stopped = 1;
}

static int fail_name(const struct hf_status *s, const char *name)
{
    if (s->is_edge) {
        return hf_cli_fail("no edge is called %.100s here: this is the edge %s", name,
                           s->edge[0].name[0] == '\0' ? "-" : s->edge[0].name);
    }
    return hf_cli_fail("no edge is called %.100s (holdfast edge list)", name);
}

static void print(const struct hf_status *s, const struct status_options *o)
{
    if (o->watch && isatty(STDOUT_FILENO)) {
        fputs("\033[H\033[J", stdout);
    }
    if (o->json) {
        hf_status_print_json(s, stdout);
    } else if (o->tsv) {
        hf_status_print_tsv(s, stdout);
    } else {
        hf_status_print_table(s, stdout);
    }
    fflush(stdout);
}

/* Asks once and prints. */
static int show_once(struct hf_cli *cli, const struct status_options *o)
{
    const struct hf_slice command = hf_slice_str("HF.STATUS");
    const char *missing;
    struct redisReply *reply;
    struct hf_status s;
    int status = HF_CLI_OK;

    cli->answer_s = STATUS_ANSWER_S;
    if (!hf_cli_connect(cli)) {
        return HF_CLI_NO;
    }
    reply = hf_cli_call(cli, &command, 1);
    if (reply == NULL) {
        return HF_CLI_NO;
    }
    if (!hf_status_read(reply, &s)) {
        status = hf_cli_fail("%s did not answer as a core or an edge does", cli->target);
        goto out;
    }
    missing = hf_status_choose(&s, o->names, o->name_count);
    if (missing != NULL) {
        status = fail_name(&s, missing);
        goto out;
    }
    print(&s, o);
    if ((o->max_lag != NULL || o->max_staleness != NULL) &&
        !hf_status_within(&s, o->lag_max, o->staleness_ms_max)) {
        status = HF_CLI_NO;
    }
out:
    hf_status_deinit(&s);
    freeReplyObject(reply);
    return status;
}

/* Each second until SIGINT. A daemon that is restarted is found again. */
static int watch(struct hf_cli *cli, const struct status_options *o)
{
    const struct sigaction action = {.sa_handler = on_interrupt};
    const struct timespec second = {1, 0};
    int status = HF_CLI_OK;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    while (!stopped && !ferror(stdout)) {
        status = show_once(cli, o);
        if (status != HF_CLI_OK) {
            hf_cli_disconnect(cli);
        }
        nanosleep(&second, NULL);
    }
    return status;
}

/* HF_UNKNOWN, which nothing exceeds, when the option was not given. False when it is no number. */
static bool take_limit(const char *text, uint64_t unit, uint64_t *limit)
{
    uint64_t n;

    *limit = HF_UNKNOWN;
    if (text == NULL) {
        return true;
    }
    if (!hf_number_parse(hf_slice_str(text), 0, (UINT64_MAX - 1) / unit, &n)) {
        return false;
    }
    *limit = n * unit;
    return true;
}

int hf_cli_status(struct hf_cli *cli, int argc, char **argv)
{
    struct status_options o = {0};
    const struct hf_cli_option options[] = {
        {"json", NULL, NULL, &o.json, "print one JSON object"},
        {"tsv", NULL, NULL, &o.tsv, "print a header line and one line an edge, tab-separated"},
        {"watch", NULL, NULL, &o.watch, "print again each second until interrupted"},
        {"max-lag", "N", &o.max_lag, NULL,
         "exit status 1 if an edge is more than N batches behind or has diverged, or its lag is "
         "unknown"},
        {"max-staleness", "SECONDS", &o.max_staleness, NULL,
         "exit status 1 if the data of an edge may be older than this or has diverged, or its age "
         "is unknown"},
    };

    if (!hf_cli_options(cli, options, sizeof options / sizeof options[0], argc, argv)) {
        return cli->status;
    }
    o.names = argv + cli->first;
    o.name_count = (size_t)(argc - cli->first);
    for (size_t i = 0; i < o.name_count; i++) {
        if (o.names[i][0] == '-') { /* no name begins so */
            return hf_cli_usage(cli, "options stand before names: %.60s", o.names[i]);
        }
    }
    if (o.json && o.tsv) {
        return hf_cli_usage(cli, "--json and --tsv exclude each other");
    }
    if (!take_limit(o.max_lag, 1, &o.lag_max)) {
        return hf_cli_usage(cli, "--max-lag %.30s is not a number", o.max_lag);
    }
    if (!take_limit(o.max_staleness, 1000, &o.staleness_ms_max)) {
        return hf_cli_usage(cli, "--max-staleness %.30s is not a number of seconds",
                            o.max_staleness);
    }
    return o.watch ? watch(cli, &o) : show_once(cli, &o);
}
