/*
 * loop.c - the forwarder: reads packets from TUN devices, asks the link, writes them when due.
 *
 * One thread, one epoll set, no allocation after _new. A turn writes all packets that are due,
 * sleeps until the next one or until something is readable, and reads a bounded burst from each
 * device. Each packet is stamped when it is read, and waits in the flight even if it is due at
 * once, so that order never depends on the way it took.
 *
 * Invariant: a packet leaves a device of the emulator as it came in, byte for byte; only the
 * destination address is looked at. It must not know what the control commands are: control.c
 * changes shapers between turns. Next: shaper.c for fates, flight.c for waiting packets.
 */
#include "sim/wan/wan.h"

#include "sim/wan/flight.h"
#include "sim/wan/middlebox.h"
#include "sim/wan/netns.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define WATCHES_MAX 16u
#define READS_MAX 64u /* of one device before others have their turn: 0.2 ms of work */
#define EVENTS_MAX 64
#define IPV4_HEADER_BYTES 20
#define IPV4_TO 16 /* where the destination is */

struct watch {
    int fd; /* -1 = free */
    void (*ready)(void *ctx, int fd);
    void *ctx;
};

struct hf_wan {
    unsigned edges;
    int epoll;
    uint64_t stray;
    struct hf_wan_flight *flight; /* owned */
    struct watch watch[WATCHES_MAX];
    struct hf_wan_node node[HF_WAN_EDGES_MAX + 1];
    struct hf_wan_shaper hub;
    struct hf_wan_shaper link[HF_WAN_EDGES_MAX + 1][HF_WAN_WAYS]; /* [0] is not used */
    struct hf_wan_middlebox box[HF_WAN_EDGES_MAX + 1];            /* as above */
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * HF_WAN_S + (uint64_t)t.tv_nsec;
}

/* ---- making one ---- */

/* The data of an epoll event: a node's number, or that of a watch above all nodes. */
static bool poll_add(struct hf_wan *w, int fd, uint64_t id)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u64 = id};
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

static void links_init(struct hf_wan *w, const struct hf_wan_config *config)
{
    hf_wan_shaper_init(&w->hub, config->seed, 0);
    w->hub.profile.rate_bps = config->hub_bps;
    w->hub.profile.queue_ns = HF_WAN_HUB_QUEUE_NS;
    for (unsigned i = 1; i <= w->edges; i++) {
        for (unsigned way = 0; way < HF_WAN_WAYS; way++) {
            hf_wan_shaper_init(&w->link[i][way], config->seed, i * HF_WAN_WAYS + way);
            w->link[i][way].profile = config->profile;
        }
    }
}

enum hf_err hf_wan_new(const struct hf_wan_config *config, struct hf_wan **out, struct hf_error *e)
{
    struct hf_wan *w = calloc(1, sizeof(*w));
    HF_ASSERT(config->edges >= 1 && config->edges <= HF_WAN_EDGES_MAX);
    *out = NULL;
    if (w == NULL) {
        return hf_error_set(e, HF_NOMEM, "no memory");
    }
    w->edges = config->edges;
    for (unsigned i = 0; i <= HF_WAN_EDGES_MAX; i++) {
        w->node[i] = (struct hf_wan_node){-1, -1, -1};
    }
    for (unsigned i = 0; i < WATCHES_MAX; i++) {
        w->watch[i].fd = -1;
    }
    links_init(w, config);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->flight = hf_wan_flight_new();
    enum hf_err rc = w->epoll < 0 || w->flight == NULL
                         ? hf_error_set(e, HF_NOMEM, "no memory for packets")
                         : hf_wan_nodes_open(w->node, w->edges + 1, config->congestion, e);
    for (unsigned i = 0; i <= w->edges && rc == HF_OK; i++) {
        if (!poll_add(w, w->node[i].tun, i)) {
            rc = hf_error_set(e, HF_IO, "epoll: %s", strerror(errno));
        }
    }
    if (rc != HF_OK) {
        hf_wan_free(w);
        return rc;
    }
    /* The default slack lets the kernel wake a sleeper 50 us late, on every packet. */
    (void)prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    *out = w;
    return HF_OK;
}

void hf_wan_free(struct hf_wan *w)
{
    if (w == NULL) {
        return;
    }
    for (unsigned i = 0; i <= w->edges; i++) {
        hf_wan_node_close(&w->node[i]);
    }
    if (w->epoll >= 0) {
        close(w->epoll);
    }
    hf_wan_flight_free(w->flight);
    free(w);
}

unsigned hf_wan_edges(const struct hf_wan *w)
{
    return w->edges;
}

struct hf_wan_shaper *hf_wan_link(struct hf_wan *w, unsigned edge, enum hf_wan_way way)
{
    HF_ASSERT(edge >= 1 && edge <= w->edges && way < HF_WAN_WAYS);
    return &w->link[edge][way];
}

void hf_wan_half_open(struct hf_wan *w, unsigned edge)
{
    HF_ASSERT(edge >= 1 && edge <= w->edges);
    hf_wan_middlebox_forget(&w->box[edge]);
}

struct hf_wan_shaper *hf_wan_hub(struct hf_wan *w)
{
    return &w->hub;
}

int hf_wan_netns(const struct hf_wan *w, unsigned node)
{
    HF_ASSERT(node <= w->edges);
    return w->node[node].netns;
}

uint64_t hf_wan_stray(const struct hf_wan *w)
{
    return w->stray;
}

/* A line of /proc/net/dev: name: 8 numbers of what was received, then packets, errors and drops of
 * what was sent. A packet that finds the device's queue full is such a drop. */
uint64_t hf_wan_overrun(const struct hf_wan *w, unsigned node)
{
    char text[4096];
    unsigned long long drops = 0;
    HF_ASSERT(node <= w->edges);
    ssize_t n = pread(w->node[node].statistics, text, sizeof(text) - 1, 0);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    const char *line = strstr(text, "wan0:");
    if (line == NULL ||
        sscanf(line, "wan0: %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %llu", &drops) != 1) {
        return 0;
    }
    return drops;
}

/* ---- packets ---- */

static void deliver(struct hf_wan *w, const struct hf_wan_packet *p)
{
    struct hf_wan_shaper *s = &w->link[p->edge][p->way];
    int to = w->node[p->way == HF_WAN_DOWN ? p->edge : 0].tun;
    if (s->cut) {
        s->count.cut++;
    } else if (write(to, p->byte, p->len) != (ssize_t)p->len) {
        s->count.starved++;
    } else {
        s->count.arrived_packets++;
        s->count.arrived_bytes += p->len;
    }
}

static void deliver_due(struct hf_wan *w)
{
    uint64_t now = now_ns();
    while (hf_wan_flight_next(w->flight) <= now) {
        struct hf_wan_packet *p = hf_wan_flight_pop(w->flight);
        deliver(w, p);
        hf_wan_flight_return(w->flight, p);
    }
}

/* Sets edge and way of a packet that came from a node; false when it has nowhere to go. */
static bool route(const struct hf_wan *w, unsigned from, struct hf_wan_packet *p)
{
    const uint8_t *to = p->byte + IPV4_TO;
    if (p->len < IPV4_HEADER_BYTES || p->byte[0] >> 4 != 4 || to[0] != 198 || to[1] != 18) {
        return false;
    }
    bool to_core = to[2] == 0 && to[3] == 1;
    bool to_edge = to[2] == 1 && to[3] >= 1 && to[3] <= w->edges;
    p->way = from == 0 ? HF_WAN_DOWN : HF_WAN_UP;
    p->edge = (uint16_t)(from == 0 ? to[3] : from);
    return from == 0 ? to_edge : to_core;
}

static void copy_later(struct hf_wan *w, const struct hf_wan_packet *p, uint64_t at_ns)
{
    struct hf_wan_packet *copy = hf_wan_flight_take(w->flight);
    if (copy == NULL) {
        w->link[p->edge][p->way].count.starved++;
        return;
    }
    *copy = *p;
    hf_wan_flight_add(w->flight, copy, at_ns);
}

/* How many times a packet arrives and when. The hub neither loses nor delays, so what leaves it is
 * in order, and its link can take it as if it came then. */
static unsigned fate(struct hf_wan *w, const struct hf_wan_packet *p, uint64_t at_ns[2])
{
    struct hf_wan_shaper *link = &w->link[p->edge][p->way];
    uint64_t now = now_ns();
    if (!hf_wan_middlebox_pass(&w->box[p->edge], p->byte, p->len, (enum hf_wan_way)p->way)) {
        link->count.forgotten++;
        return 0;
    }
    if (p->way == HF_WAN_DOWN) {
        if (hf_wan_shaper_offer(&w->hub, now, p->len, at_ns) == 0) {
            link->count.overflowed++;
            return 0;
        }
        now = at_ns[0];
    }
    return hf_wan_shaper_offer(link, now, p->len, at_ns);
}

/* Returns whether there was a packet to read. */
static bool take_packet(struct hf_wan *w, unsigned from)
{
    struct hf_wan_packet *p = hf_wan_flight_take(w->flight);
    uint64_t at_ns[2];
    if (p == NULL) {
        return false; /* it waits in the device until one arrives; the kernel counts what it drops
                       */
    }
    ssize_t n = read(w->node[from].tun, p->byte, sizeof(p->byte));
    p->len = n > 0 ? (uint32_t)n : 0;
    if (n <= 0 || !route(w, from, p)) {
        w->stray += n > 0;
        hf_wan_flight_return(w->flight, p);
        return n > 0;
    }
    unsigned copies = fate(w, p, at_ns);
    if (copies == 2) {
        copy_later(w, p, at_ns[1]);
    }
    if (copies == 0) {
        hf_wan_flight_return(w->flight, p);
    } else {
        hf_wan_flight_add(w->flight, p, at_ns[0]);
    }
    return true;
}

/* ---- turns ---- */

bool hf_wan_watch(struct hf_wan *w, int fd, void (*ready)(void *ctx, int fd), void *ctx)
{
    for (unsigned i = 0; i < WATCHES_MAX; i++) {
        if (w->watch[i].fd < 0) {
            w->watch[i] = (struct watch){fd, ready, ctx};
            if (!poll_add(w, fd, HF_WAN_EDGES_MAX + 1 + i)) {
                w->watch[i].fd = -1;
                return false;
            }
            return true;
        }
    }
    return false;
}

void hf_wan_unwatch(struct hf_wan *w, int fd)
{
    for (unsigned i = 0; i < WATCHES_MAX; i++) {
        if (w->watch[i].fd == fd) {
            (void)epoll_ctl(w->epoll, EPOLL_CTL_DEL, fd, NULL);
            w->watch[i].fd = -1;
        }
    }
}

static void handle(struct hf_wan *w, uint64_t id)
{
    if (id > HF_WAN_EDGES_MAX) {
        struct watch *watch = &w->watch[id - HF_WAN_EDGES_MAX - 1];
        if (watch->fd >= 0) { /* else one before it in this turn has removed it */
            watch->ready(watch->ctx, watch->fd);
        }
        return;
    }
    for (unsigned n = 0; n < READS_MAX && take_packet(w, (unsigned)id); n++) {
    }
    deliver_due(w);
}

void hf_wan_step(struct hf_wan *w)
{
    struct epoll_event event[EVENTS_MAX];
    deliver_due(w);
    uint64_t next = hf_wan_flight_next(w->flight);
    uint64_t now = now_ns();
    uint64_t wait = next > now ? next - now : 0;
    struct timespec timeout = {(time_t)(wait / HF_WAN_S), (long)(wait % HF_WAN_S)};
    int n = epoll_pwait2(w->epoll, event, EVENTS_MAX, next == UINT64_MAX ? NULL : &timeout, NULL);
    for (int i = 0; i < n; i++) {
        handle(w, event[i].data.u64);
    }
}
