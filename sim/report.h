/*
 * report.h - a recording as a text table, as JSON, and as one HTML page.
 *
 * All three show the same figures of the same struct record. The page is the JSON and a program
 * that draws it, in one file that needs no network. sim/README.md documents the fields of the JSON.
 *
 * Names and titles may hold any bytes: in the JSON what is no UTF-8 becomes '?', and '<' is always
 * written \u003c, so that no text can end the script element that carries it; the page shows texts
 * as text only; the table shows no control characters.
 */
#ifndef HF_SIM_REPORT_H
#define HF_SIM_REPORT_H

#include <stdio.h>

#include "hf/err.h"
#include "sim/record.h"

#define REPORT_EDGES_SHOWN 20u

/* The table: an edge a row, worst first, at most REPORT_EDGES_SHOWN unless `all`; expectations. */
void report_text(const struct record *r, bool all, FILE *out);

/* The expectations alone, a line each. */
void report_expectations(const struct record *r, FILE *out);

/* One line of JSON without a newline. The caller frees it. */
char *report_json(const struct record *r);

/* The page around what report_json gave. */
void report_html(const char *json, FILE *out);

/* Whether the file can be written, before the time is spent on what comes into it; NULL and "-"
 * can. A new file is left empty, and what a file has stays. */
enum hf_err report_try(const char *path, struct hf_error *e);

/* Writes both where they are wanted: a path, "-" for standard output, NULL for not at all. On
 * failure *e says which file and why. */
enum hf_err report_write(const struct record *r, const char *json_path, const char *html_path,
                         struct hf_error *e);

#endif
