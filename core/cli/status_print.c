/*
 * status_print.c - a status as an aligned table, as tab-separated lines, and as JSON.
 *
 * The table is for people and may change; --tsv and --json are for scripts: columns are only ever
 * added at the end. What is not known is "-", empty or null, and never 0.
 *
 * It must not ask the daemon anything. Next: status.c.
 */
#include "core/cli/status.h"

#include <inttypes.h>

#define COLUMNS 13u
#define CELL_BYTES 64u

/* ---- numbers for people ---- */

static void put_count(char *out, uint64_t n)
{
    if (n == HF_UNKNOWN) {
        snprintf(out, CELL_BYTES, "-");
    } else {
        snprintf(out, CELL_BYTES, "%" PRIu64, n);
    }
}

static void put_bytes(char *out, uint64_t n)
{
    static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)n / 1024;
    size_t i = 0;

    if (n == HF_UNKNOWN || n < 1024) {
        put_count(out, n);
        return;
    }
    while (v >= 1024 && i + 1 < sizeof unit / sizeof unit[0]) {
        v /= 1024;
        i++;
    }
    snprintf(out, CELL_BYTES, "%.1f %s", v, unit[i]);
}

static void put_time(char *out, uint64_t ms)
{
    uint64_t s = ms / 1000;

    if (ms == HF_UNKNOWN) {
        snprintf(out, CELL_BYTES, "-");
    } else if (ms < 10000) {
        snprintf(out, CELL_BYTES, "%.1fs", (double)ms / 1000);
    } else if (s < 600) {
        snprintf(out, CELL_BYTES, "%" PRIu64 "s", s);
    } else if (s < 3 * 3600) {
        snprintf(out, CELL_BYTES, "%" PRIu64 "m", s / 60);
    } else if (s < 3 * 86400) {
        snprintf(out, CELL_BYTES, "%" PRIu64 "h", s / 3600);
    } else {
        snprintf(out, CELL_BYTES, "%" PRIu64 "d", s / 86400);
    }
}

static void put_text(char *out, const char *text)
{
    snprintf(out, CELL_BYTES, "%s", text[0] == '\0' ? "-" : text);
}

/* ---- the table ---- */

struct cells {
    char at[COLUMNS][CELL_BYTES];
};

/* state, name and version are to the left, numbers to the right. */
static const char *const titles[COLUMNS] = {
    "STATE",   "NAME",  "HEAD",      "RECEIVED", "APPLIED",   "LAG",    "LAG BYTES",
    "LAG AGE", "HOLES", "STALENESS", "DIGEST",   "HEARD AGO", "VERSION"};

static bool left_column(size_t i)
{
    return i < 2 || i == COLUMNS - 1;
}

static void fill_row(const struct hf_status_edge *e, struct cells *c)
{
    put_text(c->at[0], e->state);
    put_text(c->at[1], e->name);
    put_count(c->at[2], e->head);
    put_count(c->at[3], e->received);
    put_count(c->at[4], e->applied);
    put_count(c->at[5], e->lag_batches);
    put_bytes(c->at[6], e->lag_bytes);
    put_time(c->at[7], e->lag_ms);
    put_count(c->at[8], e->holes);
    put_time(c->at[9], e->staleness_ms);
    put_text(c->at[10], e->digest_ok < 0 ? "?" : e->digest_ok > 0 ? "yes" : "NO");
    put_time(c->at[11], e->last_heard_ms);
    put_text(c->at[12], e->version);
}

static void widen(int width[COLUMNS], const struct cells *c)
{
    for (size_t i = 0; i < COLUMNS; i++) {
        int len = (int)strlen(c->at[i]);

        if (len > width[i]) {
            width[i] = len;
        }
    }
}

static void print_row(const struct cells *c, const int width[COLUMNS], FILE *out)
{
    for (size_t i = 0; i + 1 < COLUMNS; i++) {
        fprintf(out, "%*s  ", left_column(i) ? -width[i] : width[i], c->at[i]);
    }
    fprintf(out, "%s\n", c->at[COLUMNS - 1]);
}

static void print_edges(const struct hf_status *s, FILE *out)
{
    int width[COLUMNS] = {0};
    struct cells c = {0};

    for (size_t i = 0; i < COLUMNS; i++) {
        put_text(c.at[i], titles[i]);
    }
    widen(width, &c);
    for (size_t i = 0; i < s->edge_count; i++) {
        fill_row(&s->edge[i], &c);
        widen(width, &c);
    }
    for (size_t i = 0; i < COLUMNS; i++) {
        put_text(c.at[i], titles[i]);
    }
    print_row(&c, width, out);
    for (size_t i = 0; i < s->edge_count; i++) {
        fill_row(&s->edge[i], &c);
        print_row(&c, width, out);
    }
}

/* What it means for an edge to be near, or below, what the core still keeps; NULL when it is not.
 */
static const char *floor_note(const char *floor)
{
    static const struct {
        const char *floor, *note;
    } notes[] = {
        {"near-log", "WARNING: within 20 % of the end of the log; behind it, catching up takes a "
                     "transfer of all that changed (DELTA)"},
        {"below-log", "WARNING: the log does not reach back to it; it needs a transfer of all that "
                      "changed (DELTA)"},
        {"near-delta", "WARNING: within 20 % of the end of what deletes are remembered; behind it, "
                       "catching up takes a copy of everything (SNAPSHOT)"},
        {"below-delta", "WARNING: it needs a copy of everything (SNAPSHOT)"},
    };

    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++) {
        if (strcmp(floor, notes[i].floor) == 0) {
            return notes[i].note;
        }
    }
    return NULL;
}

/* A transfer that is under way, and what is wrong with a store, each on a line of its own. */
static void print_notes(const struct hf_status_edge *e, FILE *out)
{
    char done[CELL_BYTES], total[CELL_BYTES];

    if (e->transfer_total != HF_UNKNOWN && e->transfer_total > 0 &&
        e->transfer_done != HF_UNKNOWN && e->transfer_done < e->transfer_total) {
        put_bytes(done, e->transfer_done);
        put_bytes(total, e->transfer_total);
        fprintf(out, "%s: transfer %s of %s (%.0f %%)\n", e->name, done, total,
                100 * (double)e->transfer_done / (double)e->transfer_total);
    }
    if (e->store[0] != '\0' && strcmp(e->store, "ok") != 0) {
        fprintf(out, "%s: store %s\n", e->name, e->store);
    }
    if (floor_note(e->floor) != NULL) {
        fprintf(out, "%s: %s\n", e->name, floor_note(e->floor));
    }
}

void hf_status_print_table(const struct hf_status *s, FILE *out)
{
    char head[CELL_BYTES], keys[CELL_BYTES], log[CELL_BYTES], epoch[CELL_BYTES];

    put_count(epoch, s->epoch);
    put_count(head, s->head);
    put_count(keys, s->live_keys);
    put_bytes(log, s->log_bytes);
    fprintf(out, "%s %s  stream %s  epoch %s  head %s  keys %s", s->is_edge ? "edge" : "core",
            s->version, s->stream, epoch, head, keys);
    if (s->is_edge) {
        fprintf(out, "  core %s\n", s->core_url);
    } else {
        fprintf(out, "  log from %" PRIu64 ", %s\n", s->log_first, log);
    }
    fprintf(out, "digest %s\n", s->digest);
    if (s->refusing[0] != '\0') {
        fprintf(out, "WRITES ARE REFUSED: %s\n", s->refusing);
    }
    if (s->reason[0] != '\0') {
        fprintf(out, "THE CORE CANNOT BE REACHED: %s\n", s->reason);
    }
    fputc('\n', out);
    if (s->edge_count == 0) {
        fputs("no edge is enrolled; holdfast edge invite NAME makes a join token\n", out);
        return;
    }
    print_edges(s, out);
    for (size_t i = 0; i < s->edge_count; i++) {
        print_notes(&s->edge[i], out);
    }
}

/* ---- for scripts ---- */

static void tsv_number(uint64_t n, FILE *out)
{
    if (n != HF_UNKNOWN) {
        fprintf(out, "%" PRIu64, n);
    }
    putc('\t', out);
}

static void tsv_seconds(uint64_t ms, FILE *out)
{
    if (ms != HF_UNKNOWN) {
        fprintf(out, "%" PRIu64 ".%03" PRIu64, ms / 1000, ms % 1000);
    }
    putc('\t', out);
}

void hf_status_print_tsv(const struct hf_status *s, FILE *out)
{
    fputs("state\tname\thead\treceived\tapplied\tlag_batches\tlag_bytes\tlag_seconds\tholes\t"
          "staleness_ms\tdigest_ok\tlast_heard_ms\tversion\tfloor\n",
          out);
    for (size_t i = 0; i < s->edge_count; i++) {
        const struct hf_status_edge *e = &s->edge[i];

        fprintf(out, "%s\t%s\t", e->state, e->name);
        tsv_number(e->head, out);
        tsv_number(e->received, out);
        tsv_number(e->applied, out);
        tsv_number(e->lag_batches, out);
        tsv_number(e->lag_bytes, out);
        tsv_seconds(e->lag_ms, out);
        tsv_number(e->holes, out);
        tsv_number(e->staleness_ms, out);
        fprintf(out, "%s\t", e->digest_ok < 0 ? "" : e->digest_ok > 0 ? "true" : "false");
        tsv_number(e->last_heard_ms, out);
        fprintf(out, "%s\t%s\n", e->version, e->floor);
    }
}

/* An object of JSON under way; a name stands behind a comma unless it is the first. */
struct json {
    FILE *out;
    bool more;
};

static void json_name(struct json *j, const char *name)
{
    fprintf(j->out, "%s\"%s\":", j->more ? "," : "", name);
    j->more = true;
}

/* The texts of a status hold printable ASCII only (hf_text_plain): two characters need an escape.
 */
static void json_text(struct json *j, const char *name, const char *text)
{
    json_name(j, name);
    putc('"', j->out);
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\') {
            putc('\\', j->out);
        }
        putc(*text, j->out);
    }
    putc('"', j->out);
}

static void json_null(struct json *j, const char *name)
{
    json_name(j, name);
    fputs("null", j->out);
}

static void json_known(struct json *j, const char *name, const char *text)
{
    if (text[0] == '\0') {
        json_null(j, name);
    } else {
        json_text(j, name, text);
    }
}

static void json_number(struct json *j, const char *name, uint64_t n)
{
    if (n == HF_UNKNOWN) {
        json_null(j, name);
        return;
    }
    json_name(j, name);
    fprintf(j->out, "%" PRIu64, n);
}

static void json_seconds(struct json *j, const char *name, uint64_t ms)
{
    if (ms == HF_UNKNOWN) {
        json_null(j, name);
        return;
    }
    json_name(j, name);
    fprintf(j->out, "%" PRIu64 ".%03" PRIu64, ms / 1000, ms % 1000);
}

static void json_edge(const struct hf_status_edge *e, FILE *out)
{
    struct json j = {.out = out};

    putc('{', out);
    json_text(&j, "name", e->name);
    json_text(&j, "state", e->state);
    json_number(&j, "head", e->head);
    json_number(&j, "received", e->received);
    json_number(&j, "applied", e->applied);
    json_number(&j, "lag_batches", e->lag_batches);
    json_number(&j, "lag_bytes", e->lag_bytes);
    json_seconds(&j, "lag_seconds", e->lag_ms);
    json_number(&j, "holes", e->holes);
    json_number(&j, "staleness_ms", e->staleness_ms);
    json_name(&j, "digest_ok");
    fputs(e->digest_ok < 0 ? "null" : e->digest_ok > 0 ? "true" : "false", out);
    json_number(&j, "last_heard_ms", e->last_heard_ms);
    json_known(&j, "version", e->version);
    json_known(&j, "floor", e->floor);
    json_known(&j, "key", e->key);
    json_known(&j, "store_state", e->store);
    json_number(&j, "transfer_done", e->transfer_done);
    json_number(&j, "transfer_total", e->transfer_total);
    putc('}', out);
}

/* An edge's own view has what an edge knows: no digest_ok, no list. */
static void json_own_view(const struct hf_status *s, FILE *out)
{
    const struct hf_status_edge *e = &s->edge[0];
    struct json j = {.out = out};

    putc('{', out);
    json_text(&j, "name", e->name);
    json_text(&j, "stream", s->stream);
    json_text(&j, "state", e->state);
    json_number(&j, "epoch", s->epoch);
    json_number(&j, "head", e->head);
    json_number(&j, "received", e->received);
    json_number(&j, "applied", e->applied);
    json_text(&j, "digest", s->digest);
    json_number(&j, "lag_batches", e->lag_batches);
    json_number(&j, "holes", e->holes);
    json_number(&j, "staleness_ms", e->staleness_ms);
    json_number(&j, "live_keys", s->live_keys);
    json_text(&j, "store_state", e->store);
    json_number(&j, "transfer_done", e->transfer_done);
    json_number(&j, "transfer_total", e->transfer_total);
    json_text(&j, "core", s->core_url);
    json_text(&j, "version", s->version);
    json_text(&j, "unreached", s->reason);
    fputs("}\n", out);
}

void hf_status_print_json(const struct hf_status *s, FILE *out)
{
    struct json j = {.out = out};

    if (s->is_edge) {
        json_own_view(s, out);
        return;
    }
    putc('{', out);
    json_number(&j, "epoch", s->epoch);
    json_number(&j, "head", s->head);
    json_text(&j, "digest", s->digest);
    json_name(&j, "edges");
    putc('[', out);
    for (size_t i = 0; i < s->edge_count; i++) {
        if (i > 0) {
            putc(',', out);
        }
        json_edge(&s->edge[i], out);
    }
    putc(']', out);
    json_text(&j, "refusing", s->refusing);
    fputs("}\n", out);
}
