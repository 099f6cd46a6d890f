/*
 * trace.c - reads a recorded link and finds what holds at a moment of it. Next: trace.h.
 */
#include "sim/real/trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECONDS_MAX 1e7
#define RTT_MS_MAX 120000.0
#define RATE_MBIT_MAX 100000.0

/* False when the line is wrong. A line without a point leaves p->at_us alone and *any false. */
static bool parse_point(char *line, struct real_trace_point *p, bool *any)
{
    double seconds;
    double rtt;
    double loss;
    double rate = 0;
    int used = 0;
    line[strcspn(line, "#\r\n")] = '\0';
    *any = line[strspn(line, " \t")] != '\0';
    if (!*any) {
        return true;
    }
    if (sscanf(line, "%lf %lf %lf%n", &seconds, &rtt, &loss, &used) != 3) {
        return false;
    }
    const char *rest = line + used + (line[used] == '%');
    used = 0;
    if (sscanf(rest, "%lf%n", &rate, &used) == 1) {
        rest += used;
    }
    if (rest[strspn(rest, " \t")] != '\0' || !(seconds >= 0 && seconds <= SECONDS_MAX) ||
        !(rtt >= 0 && rtt <= RTT_MS_MAX) || !(loss >= 0 && loss <= 100) ||
        !(rate >= 0 && rate <= RATE_MBIT_MAX)) {
        return false;
    }
    *p = (struct real_trace_point){(uint64_t)(seconds * 1e6), rtt, loss / 100,
                                   (uint64_t)(rate * 1e6)};
    return true;
}

/* Appends; times must rise. */
static bool add_point(struct real_trace *t, const struct real_trace_point *p, uint32_t *room)
{
    if (t->count > 0 && p->at_us <= t->point[t->count - 1].at_us) {
        return false;
    }
    if (t->count == *room) {
        *room = *room == 0 ? 256 : 2 * *room;
        t->point = realloc(t->point, *room * sizeof(*t->point));
        HF_ASSERT(t->point != NULL);
    }
    t->point[t->count++] = *p;
    return true;
}

/* A recording may begin at any time; its replay begins at once. */
static void shift_to_zero(struct real_trace *t)
{
    uint64_t first = t->point[0].at_us;
    for (uint32_t i = 0; i < t->count; i++) {
        t->point[i].at_us -= first;
    }
    uint64_t last = t->point[t->count - 1].at_us;
    uint64_t step = t->count > 1 ? last - t->point[t->count - 2].at_us : 1000000;
    t->period_us = last + step;
}

enum hf_err real_trace_load(const char *path, struct real_trace **out, struct hf_error *e)
{
    char line[256];
    uint32_t number = 0;
    uint32_t room = 0;
    enum hf_err rc = HF_OK;
    FILE *f = fopen(path, "re");
    *out = NULL;
    if (f == NULL) {
        return hf_error_set(e, errno == ENOENT ? HF_NOTFOUND : HF_IO, "%s: cannot be read: %s",
                            path, strerror(errno));
    }
    struct real_trace *t = calloc(1, sizeof(*t));
    HF_ASSERT(t != NULL);
    while (rc == HF_OK && fgets(line, sizeof(line), f) != NULL) {
        struct real_trace_point p;
        bool any;
        number++;
        if (!parse_point(line, &p, &any)) {
            rc = hf_error_set(e, HF_ARG,
                              "%s:%" PRIu32 ": expected `SECONDS RTT_MS LOSS%% [RATE_MBIT]`", path,
                              number);
        } else if (any && t->count == REAL_TRACE_POINTS_MAX) {
            rc = hf_error_set(e, HF_ARG, "%s:%" PRIu32 ": more than %u lines", path, number,
                              REAL_TRACE_POINTS_MAX);
        } else if (any && !add_point(t, &p, &room)) {
            rc = hf_error_set(e, HF_ARG, "%s:%" PRIu32 ": expected a later time than before", path,
                              number);
        }
    }
    fclose(f);
    if (rc == HF_OK && t->count == 0) {
        rc = hf_error_set(e, HF_ARG, "%s: there is no line in it", path);
    }
    if (rc != HF_OK) {
        real_trace_free(t);
        return rc;
    }
    shift_to_zero(t);
    *out = t;
    return HF_OK;
}

void real_trace_free(struct real_trace *t)
{
    if (t != NULL) {
        free(t->point);
        free(t);
    }
}

static uint32_t index_at(const struct real_trace *t, uint64_t at_us)
{
    uint32_t low = 0;
    uint32_t high = t->count - 1; /* the last point that is not after at_us is in [low, high] */
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (t->point[middle].at_us <= at_us) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

const struct real_trace_point *real_trace_at(const struct real_trace *t, uint64_t since_us)
{
    return &t->point[index_at(t, since_us % t->period_us)];
}

uint64_t real_trace_wait(const struct real_trace *t, uint64_t since_us)
{
    uint64_t at_us = since_us % t->period_us;
    uint32_t i = index_at(t, at_us);
    return (i + 1 < t->count ? t->point[i + 1].at_us : t->period_us) - at_us;
}
