/*
 * report.c - the text table of a recording, and the files of the other two forms.
 *
 * The table must be readable with 200 edges: the worst come first, and the rest is counted. Next:
 * report_json.c, report_html.c.
 */
#include "sim/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

enum { CELL = HF_NAME_MAX + 1, COLUMNS = 12 };

typedef char cell[CELL];

/* ---- cells ---- */

static void put_time(cell out, hf_ms ms)
{
    if (ms < 1000) {
        snprintf(out, CELL, "%" PRId64 " ms", ms);
    } else if (ms < 120000) {
        snprintf(out, CELL, "%.1f s", (double)ms / 1000);
    } else if (ms < 7200000) {
        snprintf(out, CELL, "%.1f min", (double)ms / 60000);
    } else if (ms < 172800000) {
        snprintf(out, CELL, "%.1f h", (double)ms / 3600000);
    } else {
        snprintf(out, CELL, "%.1f d", (double)ms / 86400000);
    }
}

static void put_bytes(cell out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double n = (double)bytes;
    size_t u = 0;
    while (n >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
        n /= 1024;
        u++;
    }
    snprintf(out, CELL, u == 0 ? "%.0f %s" : "%.1f %s", n, units[u]);
}

static void put_plans(cell out, const struct record_figures *f)
{
    static const char *const names[RECORD_PLANS] = {"log", "delta", "snapshot"};
    size_t used = 0;
    snprintf(out, CELL, "-");
    for (int k = 0; k < RECORD_PLANS && used < CELL; k++) {
        if (f->plan[k] > 0) {
            used += (size_t)snprintf(out + used, CELL - used, "%s%s %u", used == 0 ? "" : ", ",
                                     names[k], f->plan[k]);
        }
    }
}

static const char *const headings[COLUMNS] = {"EDGE", "STATE",   "APPLIED",   "HEAD",
                                              "CUTS", "CUT FOR", "STALE MAX", "CAUGHT UP IN",
                                              "DOWN", "UP",      "PLANS",     "RESTARTS"};

static bool is_text_column(int column)
{
    return column < 2 || column == COLUMNS - 2;
}

static void fill_row(cell row[COLUMNS], const struct record_track *t)
{
    const struct record_figures *f = &t->figures;
    snprintf(row[0], CELL, "%s", t->name);
    snprintf(row[1], CELL, "%s", record_state_name(t->last.state));
    snprintf(row[2], CELL, "%" PRIu64, t->last.applied);
    snprintf(row[3], CELL, "%" PRIu64, t->last.head);
    snprintf(row[4], CELL, "%u", f->cuts);
    put_time(row[5], f->cut_ms);
    snprintf(row[6], CELL, "-");
    if (f->staleness_most_ms != RECORD_UNKNOWN) {
        put_time(row[6], (hf_ms)f->staleness_most_ms);
    }
    snprintf(row[7], CELL, "-");
    if (t->recovering_since != RECORD_NONE) {
        snprintf(row[7], CELL, "not yet");
    } else if (f->recovery_most_ms != RECORD_NONE) {
        put_time(row[7], f->recovery_most_ms);
    }
    put_bytes(row[8], t->last.bytes_down);
    put_bytes(row[9], t->last.bytes_up);
    put_plans(row[10], f);
    snprintf(row[11], CELL, "%u", f->restarts);
}

/* ---- the table ---- */

/* A terminal must not be told anything by a name. */
static void print_safe(const char *text, FILE *out)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        putc(c < 0x20 || c == 0x7f ? '?' : c, out);
    }
}

static void print_row(cell row[COLUMNS], const int width[COLUMNS], FILE *out)
{
    for (int c = 0; c < COLUMNS; c++) {
        int w = c + 1 == COLUMNS && is_text_column(c) ? 0 : width[c];
        fprintf(out, is_text_column(c) ? "%s%-*s" : "%s%*s", c == 0 ? "" : "  ", w, row[c]);
    }
    putc('\n', out);
}

static void print_edges(const struct record *r, uint32_t shown, FILE *out)
{
    int width[COLUMNS] = {0};
    uint32_t *order = calloc(r->track_count, sizeof(*order));
    cell(*row)[COLUMNS] = calloc(shown + 1, sizeof(*row));
    HF_ASSERT(order != NULL && row != NULL);
    record_worst(r, order);
    for (uint32_t i = 0; i <= shown; i++) {
        if (i > 0) {
            fill_row(row[i], &r->track[order[i - 1]]);
        }
        for (int c = 0; c < COLUMNS; c++) {
            if (i == 0) {
                snprintf(row[0][c], CELL, "%s", headings[c]);
            }
            int len = (int)strlen(row[i][c]);
            width[c] = len > width[c] ? len : width[c];
        }
    }
    for (uint32_t i = 0; i <= shown; i++) {
        print_row(row[i], width, out);
    }
    free(row);
    free(order);
}

void report_expectations(const struct record *r, FILE *out)
{
    int width = 0;
    for (uint32_t i = 0; i < r->expectation_count; i++) {
        int len = (int)strlen(r->expectation[i].text);
        width = len > width ? len : width;
    }
    for (uint32_t i = 0; i < r->expectation_count; i++) {
        const struct sim_expectation *e = &r->expectation[i];
        fprintf(out, "%s", e->held ? "ok      " : "FAILED  ");
        print_safe(e->text, out);
        if (e->measured[0] != '\0') {
            fprintf(out, "%*s  ", width - (int)strlen(e->text), "");
            print_safe(e->measured, out);
        }
        putc('\n', out);
    }
}

void report_text(const struct record *r, bool all, FILE *out)
{
    uint32_t edges = r->track_count - 1;
    uint32_t shown = all || edges <= REPORT_EDGES_SHOWN ? edges : REPORT_EDGES_SHOWN;
    if (shown > 0) {
        putc('\n', out);
        print_edges(r, shown, out);
    }
    if (shown < edges) {
        fprintf(out, "and %u edges that did better (--all shows them)\n", edges - shown);
    }
    if (r->expectation_count > 0) {
        putc('\n', out);
        report_expectations(r, out);
    }
}

/* ---- files ---- */

enum hf_err report_try(const char *path, struct hf_error *e)
{
    struct stat st;
    if (path == NULL || strcmp(path, "-") == 0) {
        return HF_OK;
    }
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        return HF_OK; /* the reader of a pipe would take a look for the end */
    }
    FILE *f = fopen(path, "ae");
    if (f == NULL) {
        return hf_error_set(e, HF_IO, "%s: %s", path, strerror(errno));
    }
    (void)fclose(f);
    return HF_OK;
}

static enum hf_err write_one(const char *json, const char *path, bool page, struct hf_error *e)
{
    bool to_stdout = strcmp(path, "-") == 0;
    FILE *f = to_stdout ? stdout : fopen(path, "we");
    if (f == NULL) {
        return hf_error_set(e, HF_IO, "%s: %s", path, strerror(errno));
    }
    if (page) {
        report_html(json, f);
    } else {
        fprintf(f, "%s\n", json);
    }
    bool written = fflush(f) == 0 && !ferror(f);
    int why = errno;
    if (!to_stdout && fclose(f) != 0 && written) {
        written = false;
        why = errno;
    }
    return written ? HF_OK : hf_error_set(e, HF_IO, "%s: %s", path, strerror(why));
}

enum hf_err report_write(const struct record *r, const char *json_path, const char *html_path,
                         struct hf_error *e)
{
    enum hf_err err = HF_OK;
    if (json_path == NULL && html_path == NULL) {
        return HF_OK;
    }
    char *json = report_json(r);
    if (json_path != NULL) {
        err = write_one(json, json_path, false, e);
    }
    if (html_path != NULL && err == HF_OK) {
        err = write_one(json, html_path, true, e);
    }
    free(json);
    return err;
}
