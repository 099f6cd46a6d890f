/*
 * links.c - what a script says of links, told to the emulator by the lines of its control socket.
 *
 * A recorded trace is played by a timer: each line of it sets round trip and loss until the next.
 * Packets that the link counts are bytes of IP, both ways, as they are put onto it.
 *
 * Next: sim/wan/control.h for the lines, sim/wan/profile.h for the settings.
 */
#include "sim/real/real.h"

#include "hf/err.h"
#include "sim/hop.h"
#include "sim/wan/control.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static void ask(struct real *r, const char *line)
{
    struct hf_error e;
    if (hf_wan_ask(r->control, line, NULL, NULL, &e) != HF_OK) {
        real_fail(r, "the emulated network refused '%s': %s", line, e.text);
    }
}

/* ---- profiles ---- */

static void set_profile(struct real_node *n, double delay_ms, double loss, uint64_t rate_bps)
{
    const struct script_link *l = &n->link;
    char line[256];
    snprintf(line, sizeof(line),
             "set %" PRIu32 " delay=%.3f jitter=%.3f rate=%.6f queue=%.3fms loss=%.6f burst=%.3f "
             "reorder=%.6f duplicate=%.6f",
             n->index, delay_ms, (double)l->jitter_us / 1e3, (double)rate_bps / 1e6,
             (double)l->queue_us / 1e3, 100 * loss, l->burst, 100 * l->packet_reorder,
             100 * l->packet_duplicate);
    ask(n->run, line);
}

/* A recording that is replayed; it begins with the run, as in the virtual world. */
struct real_trace {
    uv_timer_t timer; /* first: closing it gives its address */
    struct hop_trace recorded;
};

/* How long what holds at that moment will hold still. */
static uint64_t holds_for(const struct hop_trace *t, uint64_t now_us)
{
    uint64_t at_us = now_us % t->period;
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->point[i].at > at_us) {
            return t->point[i].at - at_us;
        }
    }
    return t->period - at_us;
}

static void on_trace(uv_timer_t *timer)
{
    struct real_node *n = timer->data;
    struct real_trace *t = n->trace;
    uint64_t at_us = real_now_us(n->run);
    const struct link_profile link = {.rate_bps = n->link.rate_bps, .trace = &t->recorded};
    const struct link_profile now = hop_profile_at(&link, at_us);
    set_profile(n, (double)now.delay / 1e3, now.loss, now.rate_bps);
    (void)uv_timer_start(&t->timer, on_trace, holds_for(&t->recorded, at_us) / 1000 + 1, 0);
}

static void on_trace_closed(uv_handle_t *handle)
{
    struct real_trace *t = (struct real_trace *)(void *)handle;
    hop_trace_free(&t->recorded);
    free(t);
}

void real_links_free(struct real_node *n)
{
    if (n->trace != NULL) {
        uv_close((uv_handle_t *)&n->trace->timer, on_trace_closed);
        n->trace = NULL;
    }
}

void real_link_set(struct real_node *n, const struct script_link *link)
{
    struct hf_error e;
    n->link = *link;
    real_links_free(n);
    if (link->trace == NULL) {
        set_profile(n, (double)link->delay_us / 1e3, link->loss, link->rate_bps);
        return;
    }
    struct real_trace *t = calloc(1, sizeof(*t));
    HF_ASSERT(t != NULL);
    if (hop_trace_load(&t->recorded, link->trace, &e) != HF_OK) {
        real_fail(n->run, "%s", e.text);
        free(t);
        return;
    }
    n->trace = t;
    (void)uv_timer_init(&n->run->loop, &n->trace->timer);
    n->trace->timer.data = n;
    on_trace(&n->trace->timer);
}

void real_link_hub(struct real *r)
{
    char line[80];
    if (r->script->hub_rate_bps > 0) {
        snprintf(line, sizeof(line), "hub rate=%.6f queue=%.3fms",
                 (double)r->script->hub_rate_bps / 1e6, (double)r->script->hub_queue_us / 1e3);
        ask(r, line);
    }
}

/* ---- cuts ---- */

void real_link_cut(struct real_node *n, bool down, bool up)
{
    char line[64];
    n->cut_down |= down;
    n->cut_up |= up;
    snprintf(line, sizeof(line), "cut %" PRIu32 "%s", n->index,
             down && up ? ""
             : down     ? " down"
                        : " up");
    ask(n->run, line);
}

void real_link_heal(struct real_node *n)
{
    char line[64];
    n->cut_down = n->cut_up = false;
    snprintf(line, sizeof(line), "heal %" PRIu32, n->index);
    ask(n->run, line);
}

void real_link_half_open(struct real_node *n)
{
    char line[64];
    snprintf(line, sizeof(line), "half-open %" PRIu32, n->index);
    ask(n->run, line);
}

/* ---- counters ---- */

/* A line of the table: edge, way, packets, bytes... */
static void count_line(struct real *r, const char *line)
{
    unsigned edge;
    char way[8];
    uint64_t bytes;
    if (sscanf(line, "%u\t%7s\t%*u\t%" SCNu64, &edge, way, &bytes) != 3 || edge < 1 ||
        edge >= r->node_count) {
        return;
    }
    struct real_sample *last = &r->node[edge].last;
    *(strcmp(way, "down") == 0 ? &last->bytes_down : &last->bytes_up) = bytes;
}

/* The table of all links; the caller frees it. */
static char *table(const struct real *r)
{
    struct hf_error e;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    HF_ASSERT(f != NULL);
    (void)hf_wan_ask(r->control, "stats", f, NULL, &e);
    HF_ASSERT(fclose(f) == 0);
    return text;
}

void real_links_count(struct real *r)
{
    char *text = table(r);
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        count_line(r, line);
    }
    free(text);
}

uint64_t real_links_overrun(const struct real *r)
{
    uint64_t sum = 0;
    char *text = table(r);
    for (const char *at = text; (at = strstr(at, "\noverrun\t")) != NULL; at++) {
        uint64_t n = 0;
        (void)sscanf(at, " overrun %*u %" SCNu64, &n);
        sum += n;
    }
    free(text);
    return sum;
}
