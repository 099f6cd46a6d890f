/*
 * world.h - all that a driver needs from outside: clock, entropy, slow work, and the network.
 *
 * core/driver.c and edge/driver.c run the pure engines over this table and nothing else. The
 * daemons fill it with libuv, threads and nng; the simulator with a virtual clock, inline work and
 * a modelled network. All calls are made from, and all completions arrive on, the thread that owns
 * the driver.
 */
#ifndef HF_WORLD_H
#define HF_WORLD_H

#include "hf/types.h"

/* Where slow work runs. WRITER is one thread, first in first out: it alone writes the store. POOL
 * is a few threads in any order: verifying, and reading for replies. A job of the writer begins no
 * thread and no program: they would stay on the processor that it may be bound to
 * (proto/node/pair.h). */
enum hf_lane {
    HF_LANE_WRITER = 0,
    HF_LANE_POOL = 1,
};

/* Embedded in what it works on. `work` runs on the lane, then `done` on the owner's thread. */
struct hf_job {
    void (*work)(struct hf_job *job);
    void (*done)(struct hf_job *job);
    struct hf_job *next; /* for the queue that holds it, as is the lane */
    enum hf_lane lane;
};

enum hf_channel {
    HF_CHANNEL_STREAM = 0,
    HF_CHANNEL_CONTROL = 1,
};
#define HF_CHANNELS 2u

enum hf_level {
    HF_LEVEL_ERROR = 0,
    HF_LEVEL_WARN = 1,
    HF_LEVEL_INFO = 2,
    HF_LEVEL_DEBUG = 3,
};

struct hf_world {
    void *ctx;
    hf_ms (*now)(void *ctx);        /* CLOCK_BOOTTIME */
    uint64_t (*wall_ms)(void *ctx); /* wall clock, for display and, slowed down (core/ages.h), for
                                       what is kept: no other decision depends on it */
    void (*random)(void *ctx, void *buffer, size_t len);
    void (*run)(void *ctx, enum hf_lane lane, struct hf_job *job);
    /* The driver's on_tick is due at this time; called after any event that may have moved it. */
    void (*wake_at)(void *ctx, hf_ms when);
    /* One line: "unit: sentence key=value". */
    void (*note)(void *ctx, enum hf_level level, const char *text);

    /* Edge. The reply or its absence comes back with the id, exactly once. The message is copied.
     * data: the reply is long (FETCH), and must not keep a short one waiting. */
    void (*request)(void *ctx, uint64_t id, bool data, struct hf_slice message, hf_ms timeout_ms);
    /* So many requests for data are about to come: a connection takes round trips to make. May be
     * NULL. */
    void (*expect)(void *ctx, uint32_t requests);
    void (*redial)(void *ctx, enum hf_channel channel);
    void (*subscribe)(void *ctx, const struct hf_id *stream);

    /* Core. Both copy the message; publish may lose it. `request` is the handle that came with it.
     */
    void (*publish)(void *ctx, struct hf_slice message);
    void (*reply)(void *ctx, uint64_t request, struct hf_slice message);
};

#endif
