/*
 * campaign.c - command line, progress and result of a campaign (campaign.h).
 *
 * It must not decide whether a campaign held: the campaign does.
 */
#include "tests/reliability/campaign.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

double campaign_now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void help(const struct campaign *c, const char *what)
{
    printf("%s - %s\n\n  --count N    how often (default %" PRIu64 ")\n"
           "  --seed N     what is random follows from it (default: a random one)\n",
           c->name, what, c->count);
    for (const struct campaign_option *o = c->option; o != NULL && o->name != NULL; o++) {
        printf("  %s    %s (default %s)\n", o->name, o->help, o->preset);
    }
    exit(0);
}

static _Noreturn void wrong_use(const struct campaign *c, const char *word)
{
    fprintf(stderr, "%s: %s: unknown, or without its value (see --help)\n", c->name, word);
    exit(2);
}

static uint64_t number(const struct campaign *c, const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    if (end == text || *end != '\0' || *text == '-') {
        fprintf(stderr, "%s: '%s': expected a number\n", c->name, text);
        exit(2);
    }
    return n;
}

static void take(struct campaign *c, const char *name, const char *value)
{
    if (strcmp(name, "--count") == 0) {
        c->count = number(c, value);
        return;
    }
    if (strcmp(name, "--seed") == 0) {
        c->seed = number(c, value);
        return;
    }
    for (struct campaign_option *o = c->option; o != NULL && o->name != NULL; o++) {
        if (strcmp(name, o->name) == 0) {
            o->value = value;
            return;
        }
    }
    wrong_use(c, name);
}

void campaign_begin(struct campaign *c, const char *name, const char *what, uint64_t count,
                    struct campaign_option *options, int argc, char **argv)
{
    *c = (struct campaign){.name = name, .count = count, .option = options};
    for (struct campaign_option *o = options; o != NULL && o->name != NULL; o++) {
        o->value = o->preset;
    }
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--help") == 0) {
            help(c, what);
        }
        if (i + 1 >= argc) {
            wrong_use(c, argv[i]);
        }
        take(c, argv[i], argv[i + 1]);
    }
    while (c->seed == 0) {
        uint32_t r = 0;
        if (getrandom(&r, sizeof(r), 0) == sizeof(r)) {
            c->seed = r;
        }
    }
    c->random = c->seed;
    c->started_s = c->shown_s = campaign_now_s();
    c->result = json_object();
    campaign_set_text(c, "campaign", name);
    for (const struct campaign_option *o = options; o != NULL && o->name != NULL; o++) {
        campaign_set_text(c, o->name + 2, o->value);
    }
}

const char *campaign_option(const struct campaign *c, const char *name)
{
    for (const struct campaign_option *o = c->option; o != NULL && o->name != NULL; o++) {
        if (strcmp(name, o->name) == 0) {
            return o->value;
        }
    }
    abort();
}

uint64_t campaign_random_below(struct campaign *c, uint64_t n)
{
    c->random = c->random * 6364136223846793005u + 1442695040888963407u;
    return (c->random >> 33) % n;
}

void campaign_set(struct campaign *c, const char *name, uint64_t value)
{
    json_object_set_new(c->result, name, json_integer((json_int_t)value));
}

void campaign_set_text(struct campaign *c, const char *name, const char *value)
{
    json_object_set_new(c->result, name, json_string(value));
}

static int order_times(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

double campaign_p99(double *ms, size_t count)
{
    qsort(ms, count, sizeof(*ms), order_times);
    return count == 0 ? 0 : ms[count * 99 / 100];
}

static void set_ms(struct campaign *c, const char *name, const char *suffix, double ms)
{
    char field[64];

    snprintf(field, sizeof(field), "%s_%s_ms", name, suffix);
    json_object_set_new(c->result, field, json_real(ms));
}

void campaign_set_times(struct campaign *c, const char *name, double *ms, size_t count)
{
    if (count == 0) {
        return;
    }
    double p99 = campaign_p99(ms, count);
    set_ms(c, name, "p50", ms[count / 2]);
    set_ms(c, name, "p99", p99);
    set_ms(c, name, "max", ms[count - 1]);
}

void campaign_progress(struct campaign *c, uint64_t done)
{
    double now = campaign_now_s();

    if (done == 0 || now - c->shown_s < (isatty(2) ? 0.5 : 10)) {
        return;
    }
    c->shown_s = now;
    double took = now - c->started_s;
    const char *begin = isatty(2) ? "\r" : "";
    const char *end = isatty(2) ? "  " : "\n";
    if (c->count == 0) { /* until there is nothing more to do */
        fprintf(stderr, "%s%s: %" PRIu64 ", %.0f s%s", begin, c->name, done, took, end);
        return;
    }
    double left = c->count > done ? took / (double)done * (double)(c->count - done) : 0;
    fprintf(stderr, "%s%s: %" PRIu64 " of %" PRIu64 ", %.0f s, %.0f s left%s", begin, c->name, done,
            c->count, took, left, end);
}

static void print_result(struct campaign *c)
{
    char *text = json_dumps(c->result, JSON_COMPACT | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));

    printf("%s\n", text == NULL ? "{}" : text);
    fflush(stdout);
    free(text);
    json_decref(c->result);
}

int campaign_end(struct campaign *c, bool ok)
{
    if (json_object_get(c->result, "count") == NULL) {
        campaign_set(c, "count", c->count);
    }
    campaign_set(c, "seed", c->seed);
    json_object_set_new(c->result, "seconds", json_real(campaign_now_s() - c->started_s));
    json_object_set_new(c->result, "ok", json_boolean(ok));
    print_result(c);
    return ok ? 0 : 1;
}

int campaign_skip(struct campaign *c, const char *why)
{
    campaign_set_text(c, "skipped", why);
    print_result(c);
    return 0;
}
