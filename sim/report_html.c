/*
 * report_html.c - the page: report.html with style, program and JSON put where its comments say.
 *
 * These files are in the binary as they stand in sim/, so that the page needs neither them nor
 * a network. Invariant: what is put in is ours, or holds no '<' (report.h).
 */
#include "sim/report.h"

/* The assembler reads the files; the Makefile knows that this object depends on them. */
#define EMBED(name, path)                                                                          \
    __asm__(".pushsection .rodata\n" name ": .incbin \"" path "\"\n.byte 0\n.popsection\n")

EMBED("report_page", "sim/report.html");
EMBED("report_style", "sim/report.css");
EMBED("report_program", "sim/report.js");
EMBED("report_charts", "sim/report_charts.js");

extern const char report_page[], report_style[], report_program[], report_charts[];

void report_html(const char *json, FILE *out)
{
    const struct {
        const char *mark, *text;
    } parts[] = {{"/* report.css */", report_style},
                 {"{\"json\": \"of the run\"}", json},
                 {"/* report.js */", report_program},
                 {"/* report_charts.js */", report_charts}};
    const char *at = report_page;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        const char *mark = strstr(at, parts[i].mark);
        HF_ASSERT(mark != NULL);
        fwrite(at, 1, (size_t)(mark - at), out);
        fputs(parts[i].text, out);
        at = mark + strlen(parts[i].mark);
    }
    fputs(at, out);
}
