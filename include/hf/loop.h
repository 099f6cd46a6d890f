/*
 * loop.h - the shell of a process: libuv loop, signals, lanes for slow work, service manager.
 *
 * One loop thread owns the engine and all clients. One writer thread and a small pool run jobs
 * (world.h); their completions come back to the loop in order of completion. SIGTERM and SIGINT
 * stop the loop, SIGHUP calls on_reload. Readiness and watchdog go to $NOTIFY_SOCKET (sd_notify
 * protocol).
 */
#ifndef HF_LOOP_H
#define HF_LOOP_H

#include "hf/err.h"
#include "hf/types.h"
#include "hf/world.h"

struct uv_loop_s;
struct hf_loop;

struct hf_loop_config {
    uint32_t pool_threads; /* 0 = 2 */
    int pool_nice;         /* of the pool's threads beside the others: 0 = as they, to 19 */
    bool pair_writer;      /* the loop mostly waits for the writer lane: proto/node/pair.h */
    void *ctx;
    /* Called when due (hf_loop_wake_at); returns when it wants to be called next. */
    hf_ms (*on_tick)(void *ctx, hf_ms now);
    void (*on_stop)(void *ctx);   /* SIGTERM or SIGINT, once; end with hf_loop_exit */
    void (*on_reload)(void *ctx); /* SIGHUP */
    void (*on_again)(void *ctx);  /* SIGUSR2: the process starts itself anew */
};

enum hf_err hf_loop_open(const struct hf_loop_config *c, struct hf_loop **l, struct hf_error *e);
struct uv_loop_s *hf_loop_uv(struct hf_loop *l);
/* Runs until hf_loop_exit. */
void hf_loop_run(struct hf_loop *l);
void hf_loop_exit(struct hf_loop *l);
/* Joins the lanes (waits for running jobs, drops queued ones; no done() runs from here on) and
 * frees. What others opened on the uv loop they have begun to close by now. NULL is fine. */
void hf_loop_close(struct hf_loop *l);
/* Until the writer's next job, a program or a thread that the loop's thread begins is not bound to
 * one processor. */
void hf_loop_unpair(struct hf_loop *l);
/* Brings the next on_tick forward; never moves it back. */
void hf_loop_wake_at(struct hf_loop *l, hf_ms when);
/* Any thread may call it, but for a writer that is paired only the loop's; done() always runs on
 * the loop's thread. */
void hf_loop_job(struct hf_loop *l, enum hf_lane lane, struct hf_job *job);

hf_ms hf_clock_ms(void);           /* CLOCK_BOOTTIME */
uint64_t hf_clock_us(void);        /* CLOCK_MONOTONIC, for measurements */
uint64_t hf_clock_thread_us(void); /* processor time of the caller */
uint64_t hf_clock_wall_ms(void);

/* "READY=1", "STOPPING=1", "STATUS=..."; nothing happens without $NOTIFY_SOCKET. */
void hf_notify(const char *state);
/* Replaces the process by itself with the same arguments; all descriptors but 0-2 close with the
 * exec, and other threads have theirs until then. */
_Noreturn void hf_reexec(char **argv);

#endif
