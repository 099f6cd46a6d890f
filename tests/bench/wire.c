/*
 * wire.c - time, and the emulated link, for catchup.c and storm.c.
 */
#include "tests/bench/wire.h"
#include "tests/bench/keys.h"

#include "sim/wan/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t hf_now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

void hf_sleep_us(uint64_t us)
{
    struct timespec t = {(time_t)(us / 1000000u), (long)(us % 1000000u) * 1000};
    nanosleep(&t, NULL);
}

void hf_wire_do(const char *control, const char *line)
{
    struct hf_error e;
    if (hf_wan_ask(control, line, NULL, NULL, &e) != HF_OK) {
        hf_keys_die(line, e.text);
    }
}

/* A line of an edge: edge, way, packets, bytes, arrived packets, arrived bytes, lost, overflowed.
 */
static void add_line(struct hf_wire *w, const char *line)
{
    char way[8];
    uint64_t bytes, arrived, overflowed, overrun;
    if (sscanf(line, "%*u %7s %*u %" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64, way, &bytes, &arrived,
               &overflowed) == 4) {
        bool down = strcmp(way, "down") == 0;
        *(down ? &w->down : &w->up) += bytes;
        w->arrived += down ? arrived : 0;
        w->overflowed += overflowed;
    } else if (sscanf(line, "overrun %*u %" SCNu64, &overrun) == 1) {
        w->overrun += overrun;
    }
}

struct hf_wire hf_wire_read(const char *control, const char *edges)
{
    struct hf_wire w = {0};
    struct hf_error e;
    char question[32];
    char *text = NULL, *rest = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    snprintf(question, sizeof(question), "stats %s", edges);
    if (f == NULL || hf_wan_ask(control, question, f, NULL, &e) != HF_OK || fclose(f) != 0) {
        hf_keys_die(question, "no answer");
    }
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        add_line(&w, line);
    }
    free(text);
    return w;
}
