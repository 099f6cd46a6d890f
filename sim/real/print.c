/*
 * print.c - what a run shows: a progress line while it goes, a table and a verdict at its end.
 *
 * Progress goes to stderr, twice a second on a terminal and every ten seconds elsewhere; the report
 * goes to stdout. Next: watch.c, where the figures come from.
 */
#include "sim/real/judge.h"
#include "sim/real/writer.h"
#include "sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EDGES_SHOWN 20u

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

/* ---- the table ---- */

static int by_trouble(const void *a, const void *b)
{
    const struct real_node *x = *(const struct real_node *const *)a;
    const struct real_node *y = *(const struct real_node *const *)b;
    uint64_t p = x->figures.recovering ? UINT64_MAX : x->figures.recovery_most_us;
    uint64_t q = y->figures.recovering ? UINT64_MAX : y->figures.recovery_most_us;
    return p != q ? (p < q) - (p > q) : (x->index > y->index) - (x->index < y->index);
}

static void print_edge(const struct real_node *n)
{
    const struct real_figures *f = &n->figures;
    char caught_up[24] = "-";
    if (f->recovering) {
        snprintf(caught_up, sizeof(caught_up), "never");
    } else if (f->recoveries > 0) {
        snprintf(caught_up, sizeof(caught_up), "%.2f s", (double)f->recovery_most_us / 1e6);
    }
    printf("%-16s %9" PRIu64 " %9" PRIu64 " %5" PRIu32 " %8.1f s %9s %8.1f s %11" PRIu64
           " %11" PRIu64 " %7" PRIu32 "\n",
           n->name, n->last.applied, n->last.head, f->cuts, (double)f->cut_us / 1e6, caught_up,
           (double)f->staleness_most_ms / 1e3, n->last.bytes_down, n->last.bytes_up,
           n->starts > 0 ? n->starts - 1 : 0);
}

static void print_edges(const struct real *r)
{
    const struct real_node *order[SCRIPT_EDGES_MAX];
    uint32_t count = r->node_count - 1;
    uint32_t shown = count < EDGES_SHOWN ? count : EDGES_SHOWN;
    for (uint32_t i = 0; i < count; i++) {
        order[i] = &r->node[1 + i];
    }
    qsort(order, count, sizeof(order[0]), by_trouble);
    printf("%-16s %9s %9s %5s %10s %9s %10s %11s %11s %7s\n", "EDGE", "APPLIED", "HEAD", "CUTS",
           "CUT FOR", "CAUGHT UP", "STALENESS", "DOWN BYTES", "UP BYTES", "RESTART");
    for (uint32_t i = 0; i < shown; i++) {
        print_edge(order[i]);
    }
    if (shown < count) {
        printf("and %" PRIu32 " edges that caught up sooner\n", count - shown);
    }
}

/* ---- the verdict ---- */

static bool print_expectations(struct real *r)
{
    static struct sim_expectation out[SCRIPT_EXPECTATIONS_MAX];
    bool all = real_judge_end(r->judge, out);
    for (uint32_t i = 0; i < r->script->expectation_count; i++) {
        printf("%-6s expect %s: %s\n", out[i].held ? "ok" : "FAILED", out[i].text, out[i].measured);
    }
    return all;
}

static void print_writes(const struct real *r)
{
    struct real_writer_status s;
    real_writer_status(r->writer, &s);
    printf("%" PRIu64 " writes: %" PRIu64 " acknowledged (%" PRIu64 " after a retry), %" PRIu64
           " refused",
           s.sent, s.acked, s.repeated, s.refused);
    if (s.refused > 0) {
        printf(": %s", s.refusal);
    }
    if (s.left_out > 0) {
        printf("; %" PRIu64 " left out while too many were open", s.left_out);
    }
    putchar('\n');
}

bool real_print_report(struct real *r)
{
    bool held = r->failure[0] == '\0';
    uint64_t overrun = real_links_overrun(r);
    if (isatty(STDERR_FILENO) && !r->options.quiet) {
        fputs("\r\033[K", stderr);
    }
    if (r->writer != NULL) {
        print_edges(r);
        print_writes(r);
        held &= print_expectations(r);
    }
    if (overrun > 0) {
        printf("note: the machine was too busy for %" PRIu64
               " packets: figures of this run are void\n",
               overrun);
    }
    printf("%s: %s, %" PRIu64 " batches", r->options.scenario, held ? "ok" : "FAILED",
           r->node[SCRIPT_CORE].last.head);
    if (r->equal_us > 0) {
        printf(", all equal %.2f s after the end", (double)(r->equal_us - r->ended_us) / 1e6);
    }
    putchar('\n');
    if (r->failure[0] != '\0') {
        printf("VIOLATION %s\n", r->failure);
    }
    fflush(stdout);
    return held;
}
