/*
 * print.c - what a run shows: a progress line while it goes, a table and a verdict at its end.
 *
 * Progress goes to stderr, twice a second on a terminal and every ten seconds elsewhere; the report
 * goes to stdout, and to files where they are wanted (sim/report.h), as in the virtual world.
 */
#include "sim/real/judge.h"
#include "sim/real/writer.h"
#include "sim/report.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

/* ---- progress ---- */

void real_print_progress(struct real *r)
{
    uint64_t now = real_now_us(r);
    bool terminal = isatty(STDERR_FILENO) != 0;
    uint32_t equal = 0;
    hf_seq most = 0;
    if (r->options.quiet || now - r->shown_us < (terminal ? 500000u : 10000000u)) {
        return;
    }
    r->shown_us = now;
    for (uint32_t i = 1; i < r->node_count; i++) {
        const struct real_sample *s = &r->node[i].last;
        equal += real_is_equal(r, &r->node[i]);
        most = s->head > s->applied && s->head - s->applied > most ? s->head - s->applied : most;
    }
    fprintf(stderr,
            "%s%.0f s of %.0f s: seq %" PRIu64 ", %" PRIu32 " of %" PRIu32
            " edges equal, at most %" PRIu64 " behind%s%s",
            terminal ? "\r\033[K" : "", (double)now / 1e6, (double)r->script->duration_us / 1e6,
            r->node[SCRIPT_CORE].last.head, equal, r->node_count - 1, most,
            r->ended ? "; healed, waiting for all" : "", terminal ? "" : "\n");
}

/* ---- the verdict ---- */

/* Its expectations and what became of them, into the recording. */
static bool judge(struct real *r)
{
    static struct sim_expectation out[SCRIPT_EXPECTATIONS_MAX];
    bool all = real_judge_end(r->judge, out);
    for (uint32_t i = 0; i < r->script->expectation_count; i++) {
        record_expect(r->record, out[i].text, out[i].held, out[i].measured);
    }
    return all;
}

/* What --json - or --html - writes must stand alone. */
static FILE *text_out(const struct real *r)
{
    bool taken = (r->options.json != NULL && strcmp(r->options.json, "-") == 0) ||
                 (r->options.html != NULL && strcmp(r->options.html, "-") == 0);
    return taken ? stderr : stdout;
}

static void print_writes(const struct real *r, FILE *out)
{
    struct real_writer_status s;
    real_writer_status(r->writer, &s);
    fprintf(out,
            "%" PRIu64 " writes: %" PRIu64 " acknowledged (%" PRIu64 " after a retry), %" PRIu64
            " refused",
            s.sent, s.acked, s.repeated, s.refused);
    if (s.refused > 0) {
        fprintf(out, ": %s", s.refusal);
    }
    if (s.left_out > 0) {
        fprintf(out, "; %" PRIu64 " left out while too many were open", s.left_out);
    }
    putc('\n', out);
}

bool real_print_report(struct real *r)
{
    uint64_t overrun = real_links_overrun(r);
    bool held = r->failure[0] == '\0';
    struct hf_error e;
    FILE *out = text_out(r);
    if (isatty(STDERR_FILENO) && !r->options.quiet) {
        fputs("\r\033[K", stderr);
    }
    if (r->writer != NULL) {
        snprintf(r->record->violation, sizeof(r->record->violation), "%s", r->failure);
        r->record->batches = r->node[SCRIPT_CORE].last.head;
        real_watch_end(r);
        held &= judge(r);
        report_text(r->record, r->options.all, out);
        putc('\n', out);
        print_writes(r, out);
        if (report_write(r->record, r->options.json, r->options.html, &e) != HF_OK) {
            fprintf(out, "the report is not written: %s\n", e.text);
            held = false;
        }
    }
    if (overrun > 0) {
        fprintf(out,
                "note: the machine was too busy for %" PRIu64
                " packets: figures of this run are void\n",
                overrun);
    }
    fprintf(out, "%s: %s, %" PRIu64 " batches", r->options.scenario, held ? "ok" : "FAILED",
            r->node[SCRIPT_CORE].last.head);
    if (r->equal_us > 0) {
        fprintf(out, ", all equal %.2f s after the end", (double)(r->equal_us - r->ended_us) / 1e6);
    }
    putc('\n', out);
    if (r->failure[0] != '\0') {
        fprintf(out, "VIOLATION %s\n", r->failure);
    }
    fflush(out);
    return held;
}
