/*
 * campaign.h - what the reliability campaigns share: their command line, progress, and the result.
 *
 * A campaign is one program that does one kind of harm to real daemons, count times. It prints
 * progress to stderr and one JSON object on the last line of stdout, and exits 0 when everything
 * held, 1 when not, 2 for wrong use. run.sh turns these lines into tests/RELIABILITY.md.
 *
 *     {"campaign":"kills","ok":true,"count":1000,"seed":7,"seconds":412.1,"acknowledged":81234,...}
 *
 * A campaign that cannot run here says {"campaign":...,"skipped":"why"} and exits 0.
 * Threads: one.
 */
#ifndef TESTS_RELIABILITY_CAMPAIGN_H
#define TESTS_RELIABILITY_CAMPAIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

struct campaign_option { /* beyond --count, --seed and --help; NULL name ends the list */
    const char *name, *preset, *help;
    const char *value; /* as given, or the preset */
};

struct campaign {
    const char *name;
    uint64_t count, seed;
    struct campaign_option *option;
    json_t *result;
    double started_s, shown_s;
    uint64_t random; /* state of the generator */
};

/* Reads the command line; exits with 2 and a sentence for what it does not know. A seed of 0, the
 * preset, takes one from the kernel; it is in the result. */
void campaign_begin(struct campaign *c, const char *name, const char *what, uint64_t count,
                    struct campaign_option *options, int argc, char **argv);
const char *campaign_option(const struct campaign *c, const char *name);
/* The same numbers for the same seed. */
uint64_t campaign_random_below(struct campaign *c, uint64_t n);
/* A field of the result; a later value replaces an earlier one. */
void campaign_set(struct campaign *c, const char *name, uint64_t value);
void campaign_set_text(struct campaign *c, const char *name, const char *value);
/* NAME_p50_ms and NAME_p99_ms, and NAME_max_ms; sorts the values. */
void campaign_set_times(struct campaign *c, const char *name, double *ms, size_t count);
/* The value that 99 in 100 do not exceed; sorts the values. */
double campaign_p99(double *ms, size_t count);
/* A line on stderr now and then. */
void campaign_progress(struct campaign *c, uint64_t done);
/* Prints the result and returns the exit status. */
int campaign_end(struct campaign *c, bool ok);
int campaign_skip(struct campaign *c, const char *why);

double campaign_now_s(void);

#endif
