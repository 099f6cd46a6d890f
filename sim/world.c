/*
 * world.c - the heap of events, and the hf_world that each node lives in.
 *
 * Time moves only from event to event. A job's work runs when it is due, immediately before its
 * done, so that a crash in between can be played both ways (world_abandon). Nothing here looks at a
 * real clock.
 */
#include "sim/sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

/* ---- heap ---- */

static bool before(const struct due *a, const struct due *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void sift_up(struct due *heap, size_t i)
{
    struct due moved = heap[i];
    for (; i > 0 && before(&moved, &heap[(i - 1) / 2]); i = (i - 1) / 2) {
        heap[i] = heap[(i - 1) / 2];
    }
    heap[i] = moved;
}

static void sift_down(struct due *heap, size_t count, size_t i)
{
    struct due moved = heap[i];
    for (size_t c = 2 * i + 1; c < count; c = 2 * i + 1) {
        c += c + 1 < count && before(&heap[c + 1], &heap[c]);
        if (!before(&heap[c], &moved)) {
            break;
        }
        heap[i] = heap[c];
        i = c;
    }
    heap[i] = moved;
}

struct event *sim_at(struct sim *sim, sim_us at, enum event_type type, uint32_t node)
{
    struct event *ev = calloc(1, sizeof(*ev));
    HF_ASSERT(ev != NULL);
    if (sim->heap_count == sim->heap_cap) {
        sim->heap_cap = sim->heap_cap == 0 ? 1024 : 2 * sim->heap_cap;
        sim->heap = realloc(sim->heap, sim->heap_cap * sizeof(*sim->heap));
        HF_ASSERT(sim->heap != NULL);
    }
    ev->at = at > sim->now ? at : sim->now;
    ev->order = ++sim->order;
    ev->type = type;
    ev->node = node;
    ev->life = sim->node[node].life;
    sim->heap[sim->heap_count] = (struct due){.at = ev->at, .order = ev->order, .event = ev};
    sift_up(sim->heap, sim->heap_count++);
    return ev;
}

bool sim_next(struct sim *sim, struct event **ev)
{
    if (sim->heap_count == 0) {
        return false;
    }
    *ev = sim->heap[0].event;
    sim->heap[0] = sim->heap[--sim->heap_count];
    sift_down(sim->heap, sim->heap_count, 0);
    return true;
}

void sim_event_free(struct event *ev)
{
    free(ev->bytes);
    free(ev);
}

/* ---- trace ---- */

void sim_trace(struct sim *sim, const struct node *n, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    len = len < (int)sizeof(text) ? len : (int)sizeof(text) - 1;
    XXH3_64bits_update(sim->trace, &sim->now, sizeof(sim->now));
    XXH3_64bits_update(sim->trace, text, (size_t)len);
    recorder_line(sim, n, text);
    if (sim->out != NULL) {
        fprintf(sim->out, "%7" PRIu64 ".%03" PRIu64 " %-10s %s\n", sim->now / SIM_S,
                sim->now / SIM_MS % 1000, n == NULL ? "-" : n->name, text);
    }
}

/* ---- a node's world ---- */

static hf_ms world_now(void *ctx)
{
    const struct node *n = ctx;
    return (hf_ms)(node_clock(n) / SIM_MS) + 1000; /* clocks do not begin at 0 */
}

static uint64_t world_wall(void *ctx)
{
    const struct node *n = ctx;
    return node_clock(n) / SIM_MS + UINT64_C(1700000000000) + (uint64_t)n->wall_step_ms;
}

static void world_random(void *ctx, void *buffer, size_t len)
{
    struct node *n = ctx;
    rng_fill(&n->rng, buffer, len);
}

static void world_run(void *ctx, enum hf_lane lane, struct hf_job *job)
{
    struct node *n = ctx;
    struct sim *sim = n->sim;
    sim_us at = sim->now + 20 + rng_below(&n->rng, 100);
    if (lane == HF_LANE_WRITER) {
        at = (n->writer_free > sim->now ? n->writer_free : sim->now) + n->disk / 2 +
             rng_below(&n->rng, n->disk + 1);
        n->writer_free = at;
    }
    struct event *ev = sim_at(sim, at, EV_JOB, n->index);
    ev->lane = lane;
    ev->job = job;
}

static void world_wake_at(void *ctx, hf_ms when)
{
    struct node *n = ctx;
    sim_us own = (sim_us)(when - 1000) * SIM_MS;
    sim_us clock = node_clock(n);
    sim_us at = when <= 1000 || own < clock ? n->sim->now : n->sim->now + (own - clock);
    if (n->tick_at != 0 && n->tick_at <= at) {
        return;
    }
    n->tick_at = at == 0 ? 1 : at;
    sim_at(n->sim, n->tick_at, EV_TICK, n->index);
}

static void note_plan(struct node *n, const char *text)
{
    const char *kind = strstr(text, "plan for the gap kind=");
    if (kind != NULL) {
        kind = strchr(kind, '=') + 1;
        n->plan = strncmp(kind, "delta", 5) == 0      ? HF_PLAN_DELTA
                  : strncmp(kind, "snapshot", 8) == 0 ? HF_PLAN_SNAPSHOT
                                                      : HF_PLAN_LOG;
    }
}

static void world_note(void *ctx, enum hf_level level, const char *text)
{
    struct node *n = ctx;
    (void)level;
    mark_note(n->sim, text);
    note_plan(n, text);
    /* The directory's name differs from run to run, and a trace must not. */
    const char *root = strstr(text, n->sim->root);
    int before = root == NULL ? 0 : (int)(root - text);
    const char *rest = root == NULL ? text : root + strlen(n->sim->root);
    sim_trace(n->sim, n, "%.*s%s", before, text, rest);
}

static void world_request(void *ctx, uint64_t id, bool data, struct hf_slice message,
                          hf_ms timeout_ms)
{
    struct node *n = ctx;
    net_request(n->sim, n, id, data, message, timeout_ms);
}

static void world_expect(void *ctx, uint32_t requests)
{
    struct node *n = ctx;
    net_expect(n->sim, n, requests);
}

static void world_redial(void *ctx, enum hf_channel channel)
{
    struct node *n = ctx;
    net_redial(n->sim, n, channel);
}

static void world_subscribe(void *ctx, const struct hf_id *stream)
{
    struct node *n = ctx;
    (void)stream; /* there is one stream in a simulation */
    n->link.subscribed = true;
}

static void world_publish(void *ctx, struct hf_slice message)
{
    struct node *n = ctx;
    net_publish(n->sim, message);
}

static void world_reply(void *ctx, uint64_t request, struct hf_slice message)
{
    struct node *n = ctx;
    net_reply(n->sim, request, message);
}

void world_init(struct node *n)
{
    n->world = (struct hf_world){.ctx = n,
                                 .now = world_now,
                                 .wall_ms = world_wall,
                                 .random = world_random,
                                 .run = world_run,
                                 .wake_at = world_wake_at,
                                 .note = world_note,
                                 .request = world_request,
                                 .expect = world_expect,
                                 .redial = world_redial,
                                 .subscribe = world_subscribe,
                                 .publish = world_publish,
                                 .reply = world_reply};
}

/* Jobs end in the order in which they were due. The writer's first few did their work before the
 * crash (durable, but nobody was told); the rest did not. */
void world_abandon(struct sim *sim, struct node *n, bool tell)
{
    size_t durable = (size_t)rng_below(&sim->rng_fault, 3);
    for (;;) {
        const struct due *first = NULL;
        for (size_t i = 0; i < sim->heap_count; i++) {
            const struct due *d = &sim->heap[i];
            const struct event *ev = d->event;
            if (ev->type == EV_JOB && ev->node == n->index && ev->life == n->life &&
                ev->job != NULL && (first == NULL || before(d, first))) {
                first = d;
            }
        }
        if (first == NULL) {
            return;
        }
        struct hf_job *job = first->event->job;
        bool writer = first->event->lane == HF_LANE_WRITER;
        first->event->job = NULL; /* the event stays in the heap, empty */
        if (writer) {
            mark_hit(sim, durable > 0 ? MARK_WORK_UNTOLD : MARK_WORK_LOST);
        }
        if (writer && durable > 0) {
            durable--;
            job->work(job);
        }
        if (tell) {
            job->done(job);
        }
    }
}
