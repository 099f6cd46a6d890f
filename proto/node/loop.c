/*
 * loop.c - the shell of a process: libuv loop, signals, tick, lanes for slow work.
 *
 * One thread runs the loop and with it the engine and all clients. A lane is a queue and the
 * threads that empty it: the writer lane has one thread, so its jobs run in order; the pool lane
 * has a few. A job that has run goes to the list of completions, and the thread that makes that
 * list non-empty wakes the loop; the loop takes the whole list at once, so a burst costs one
 * wake-up.
 *
 * Invariant: done() runs on the loop's thread, once for each job that ran, in order of completion,
 * and never after hf_loop_close was called. Threads of lanes take no signals (hf/thread.h): those
 * that a daemon cares about arrive in the loop, the others at the main thread.
 *
 * Must not: know what a job does, log, or keep time in anything but hf_clock_ms (libuv's own clock
 * stands still while the machine sleeps; so no wait is longer than TICK_WAIT_MAX_MS).
 *
 * Read next: include/hf/world.h for jobs, pair.h for why the loop and the writer may share a
 * processor, service.c for the service manager and re-exec.
 */
#include "hf/loop.h"
#include "hf/thread.h"
#include "proto/node/pair.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <uv.h>

#define POOL_THREADS_DEFAULT 2u
#define POOL_THREADS_MAX 64u
/* After a suspend the tick is late by at most this; it is also a cheap guard against a lost
 * wake-up. */
#define TICK_WAIT_MAX_MS 1000
#define LANES 2u
#define SIGNALS 4u
/* How often hf_loop_close turns the loop to let handles of others finish closing. */
#define CLOSE_TURNS_MAX 64u

struct lane {
    struct hf_loop *loop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct hf_job *head;
    struct hf_job **tail;
    bool stop;
    int nice;
    uint32_t thread_count;
    pthread_t thread[POOL_THREADS_MAX];
};

struct hf_loop {
    struct hf_loop_config config;
    uv_loop_t uv;
    uv_async_t async;
    uv_timer_t tick;
    uv_timer_t watchdog;
    uv_timer_t part;
    uv_signal_t signal[SIGNALS];
    uint32_t handle_count;
    bool exiting;
    bool stopping; /* on_stop was called */
    bool in_tick;
    hf_ms due; /* of the next on_tick */
    struct lane lane[LANES];
    struct hf_pair pair; /* the loop and the writer lane */

    pthread_mutex_t done_lock;
    struct hf_job *done_head;
    struct hf_job **done_tail;
};

/* ---- clocks ---- */

static uint64_t clock_ns(clockid_t id)
{
    struct timespec t = {0};
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

hf_ms hf_clock_ms(void)
{
    return (hf_ms)(clock_ns(CLOCK_BOOTTIME) / 1000000u);
}

uint64_t hf_clock_us(void)
{
    return clock_ns(CLOCK_MONOTONIC) / 1000u;
}

uint64_t hf_clock_thread_us(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID) / 1000u;
}

uint64_t hf_clock_wall_ms(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000000u;
}

/* ---- lanes ---- */

static void push_done(struct hf_loop *l, struct hf_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&l->done_lock);
    bool was_empty = l->done_head == NULL;
    *l->done_tail = job;
    l->done_tail = &job->next;
    pthread_mutex_unlock(&l->done_lock);
    if (was_empty) {
        uv_async_send(&l->async);
    }
}

static struct hf_job *take_job(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    while (lane->head == NULL && !lane->stop) {
        pthread_cond_wait(&lane->wake, &lane->lock);
    }
    struct hf_job *job = lane->stop ? NULL : lane->head;
    if (job != NULL) {
        lane->head = job->next;
        if (lane->head == NULL) {
            lane->tail = &lane->head;
        }
    }
    pthread_mutex_unlock(&lane->lock);
    return job;
}

static void *run_lane(void *arg)
{
    struct lane *lane = arg;
    if (lane->nice > 0) { /* Linux: of this thread. Where it may not, it is as the others are. */
        (void)setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + lane->nice);
    }
    struct hf_job *job = take_job(lane);
    while (job != NULL) {
        job->work(job);
        push_done(lane->loop, job);
        job = take_job(lane);
    }
    return NULL;
}

static void lane_init(struct lane *lane, struct hf_loop *l)
{
    lane->loop = l;
    lane->tail = &lane->head;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->wake, NULL);
}

static bool lane_start(struct lane *lane, uint32_t threads)
{
    while (lane->thread_count < threads &&
           hf_thread_start(&lane->thread[lane->thread_count], run_lane, lane) == 0) {
        lane->thread_count++;
    }
    return lane->thread_count == threads;
}

static void lane_stop(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    lane->stop = true;
    pthread_cond_broadcast(&lane->wake);
    pthread_mutex_unlock(&lane->lock);
    for (uint32_t i = 0; i < lane->thread_count; i++) {
        pthread_join(lane->thread[i], NULL);
    }
    pthread_cond_destroy(&lane->wake);
    pthread_mutex_destroy(&lane->lock);
}

static void on_part(uv_timer_t *h)
{
    struct hf_loop *l = h->data;
    if (!hf_pair_part(&l->pair)) {
        uv_timer_start(h, on_part, HF_PAIR_MS, 0);
    }
}

void hf_loop_unpair(struct hf_loop *l)
{
    (void)hf_pair_part(&l->pair);
}

static bool is_paired(const struct hf_loop *l, enum hf_lane lane)
{
    return l->config.pair_writer && lane == HF_LANE_WRITER;
}

void hf_loop_job(struct hf_loop *l, enum hf_lane lane, struct hf_job *job)
{
    struct lane *to = &l->lane[lane];
    if (is_paired(l, lane) && hf_pair_hand_over(&l->pair, hf_clock_us())) {
        uv_update_time(&l->uv);
        uv_timer_start(&l->part, on_part, HF_PAIR_MS, 0);
    }
    job->next = NULL;
    job->lane = lane;
    pthread_mutex_lock(&to->lock);
    *to->tail = job;
    to->tail = &job->next;
    pthread_mutex_unlock(&to->lock);
    /* Signalled with the lock held, the woken thread would run into it at once. */
    pthread_cond_signal(&to->wake);
}

static void run_done(struct hf_loop *l)
{
    pthread_mutex_lock(&l->done_lock);
    struct hf_job *job = l->done_head;
    l->done_head = NULL;
    l->done_tail = &l->done_head;
    pthread_mutex_unlock(&l->done_lock);
    while (job != NULL) {
        struct hf_job *next = job->next; /* done() may free the job or queue it again */
        if (is_paired(l, job->lane)) {
            hf_pair_hand_back(&l->pair);
        }
        job->done(job);
        job = next;
    }
}

/* ---- tick ---- */

static void on_tick_timer(uv_timer_t *h);

static hf_ms no_tick(void *ctx, hf_ms now)
{
    (void)ctx;
    (void)now;
    return INT64_MAX;
}

static void arm_tick(struct hf_loop *l)
{
    hf_ms wait = l->due - hf_clock_ms();
    if (wait < 0) {
        wait = 0;
    }
    if (wait > TICK_WAIT_MAX_MS) {
        wait = TICK_WAIT_MAX_MS;
    }
    uv_update_time(&l->uv); /* else a long callback before this would make the timer early */
    uv_timer_start(&l->tick, on_tick_timer, (uint64_t)wait, 0);
}

/* An engine with more to do than one step holds is due again at once. libuv runs a timer of 0 that
 * a timer has set before it does anything else, for ever; by way of the async handle, clients and
 * completions have their turn in between. */
static void run_tick(struct hf_loop *l)
{
    l->due = INT64_MAX;
    l->in_tick = true;
    hf_ms next = l->config.on_tick(l->config.ctx, hf_clock_ms());
    l->in_tick = false;
    if (next < l->due) {
        l->due = next;
    }
    if (l->due > hf_clock_ms()) {
        arm_tick(l);
    } else {
        uv_timer_stop(&l->tick);
        uv_async_send(&l->async);
    }
}

static void on_tick_timer(uv_timer_t *h)
{
    struct hf_loop *l = h->data;
    if (hf_clock_ms() >= l->due) {
        run_tick(l);
    } else {
        arm_tick(l);
    }
}

static void on_async(uv_async_t *h)
{
    struct hf_loop *l = h->data;
    run_done(l);
    if (hf_clock_ms() >= l->due) {
        run_tick(l);
    }
}

void hf_loop_wake_at(struct hf_loop *l, hf_ms when)
{
    if (when >= l->due) {
        return;
    }
    l->due = when;
    if (!l->in_tick) { /* else run_tick sees to it */
        arm_tick(l);
    }
}

/* ---- signals and the service manager ---- */

static void on_signal(uv_signal_t *h, int number)
{
    struct hf_loop *l = h->data;
    if (number == SIGHUP) {
        if (l->config.on_reload != NULL) {
            l->config.on_reload(l->config.ctx);
        }
        return;
    }
    if (number == SIGUSR2) {
        if (l->config.on_again != NULL) {
            l->config.on_again(l->config.ctx);
        }
        return;
    }
    if (l->stopping) {
        return; /* Draining has its own time limit; impatience has SIGKILL. */
    }
    l->stopping = true;
    if (l->config.on_stop != NULL) {
        l->config.on_stop(l->config.ctx);
    } else {
        hf_loop_exit(l);
    }
}

static void on_watchdog(uv_timer_t *h)
{
    (void)h;
    hf_notify("WATCHDOG=1");
}

/* Milliseconds between pings, half of what the service manager allows; 0 = it does not ask. */
static uint64_t watchdog_ms(void)
{
    const char *usec = getenv("WATCHDOG_USEC");
    const char *pid = getenv("WATCHDOG_PID");
    if (usec == NULL || (pid != NULL && strtoll(pid, NULL, 10) != (long long)uv_os_getpid())) {
        return 0;
    }
    uint64_t allowed = strtoull(usec, NULL, 10);
    return allowed == 0 ? 0 : allowed / 2000u + 1;
}

/* ---- the loop ---- */

static void count_handle(struct hf_loop *l, uv_handle_t *h)
{
    h->data = l;
    l->handle_count++;
}

static int handles_open(struct hf_loop *l)
{
    static const int number[SIGNALS] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};
    int rc = uv_async_init(&l->uv, &l->async, on_async);
    if (rc != 0) {
        return rc;
    }
    count_handle(l, (uv_handle_t *)&l->async);
    uv_timer_init(&l->uv, &l->tick);
    count_handle(l, (uv_handle_t *)&l->tick);
    uv_timer_init(&l->uv, &l->watchdog);
    count_handle(l, (uv_handle_t *)&l->watchdog);
    uv_timer_init(&l->uv, &l->part);
    count_handle(l, (uv_handle_t *)&l->part);
    for (size_t i = 0; i < SIGNALS; i++) {
        rc = uv_signal_init(&l->uv, &l->signal[i]);
        if (rc != 0) {
            return rc;
        }
        count_handle(l, (uv_handle_t *)&l->signal[i]);
        rc = uv_signal_start(&l->signal[i], on_signal, number[i]);
        if (rc != 0) {
            return rc;
        }
    }
    uint64_t ping_ms = watchdog_ms();
    return ping_ms == 0 ? 0 : uv_timer_start(&l->watchdog, on_watchdog, ping_ms, ping_ms);
}

static void on_handle_closed(uv_handle_t *h)
{
    struct hf_loop *l = h->data;
    l->handle_count--;
}

static void close_handle(struct hf_loop *l, uv_handle_t *h)
{
    if (h->data == l) { /* It was opened; the memory was zeroed. */
        uv_close(h, on_handle_closed);
    }
}

enum hf_err hf_loop_open(const struct hf_loop_config *c, struct hf_loop **l, struct hf_error *e)
{
    struct hf_loop *made = calloc(1, sizeof(*made));
    if (made == NULL) {
        return hf_error_set(e, HF_NOMEM, "loop: out of memory");
    }
    made->config = *c;
    if (c->on_tick == NULL) {
        made->config.on_tick = no_tick;
    }
    int rc = uv_loop_init(&made->uv);
    if (rc != 0) {
        free(made);
        return hf_error_set(e, HF_IO, "loop: %s", uv_strerror(rc));
    }
    /* Writing to a peer that has closed is an error to handle, not a reason to die. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN); /* it means nothing here, and would end the process */
    made->done_tail = &made->done_head;
    pthread_mutex_init(&made->done_lock, NULL);
    lane_init(&made->lane[HF_LANE_WRITER], made);
    lane_init(&made->lane[HF_LANE_POOL], made);
    made->lane[HF_LANE_POOL].nice = c->pool_nice;
    uint32_t pool = c->pool_threads == 0 ? POOL_THREADS_DEFAULT : c->pool_threads;
    if (pool > POOL_THREADS_MAX) {
        pool = POOL_THREADS_MAX;
    }
    rc = handles_open(made);
    if (rc != 0) {
        hf_loop_close(made);
        return hf_error_set(e, HF_IO, "loop: %s", uv_strerror(rc));
    }
    if (!lane_start(&made->lane[HF_LANE_WRITER], 1) ||
        !lane_start(&made->lane[HF_LANE_POOL], pool)) {
        hf_loop_close(made);
        return hf_error_set(e, HF_NOMEM, "loop: cannot start a thread");
    }
    hf_pair_init(&made->pair, made->lane[HF_LANE_WRITER].thread[0]);
    *l = made;
    return HF_OK;
}

struct uv_loop_s *hf_loop_uv(struct hf_loop *l)
{
    return &l->uv;
}

void hf_loop_run(struct hf_loop *l)
{
    arm_tick(l);
    while (!l->exiting) {
        uv_run(&l->uv, UV_RUN_DEFAULT);
    }
}

void hf_loop_exit(struct hf_loop *l)
{
    l->exiting = true;
    uv_stop(&l->uv);
}

void hf_loop_close(struct hf_loop *l)
{
    if (l == NULL) {
        return;
    }
    hf_loop_unpair(l);
    lane_stop(&l->lane[HF_LANE_WRITER]);
    lane_stop(&l->lane[HF_LANE_POOL]);
    l->done_head = NULL; /* Who they would be reported to is closing. */
    l->done_tail = &l->done_head;
    close_handle(l, (uv_handle_t *)&l->async);
    close_handle(l, (uv_handle_t *)&l->tick);
    close_handle(l, (uv_handle_t *)&l->watchdog);
    close_handle(l, (uv_handle_t *)&l->part);
    for (size_t i = 0; i < SIGNALS; i++) {
        close_handle(l, (uv_handle_t *)&l->signal[i]);
    }
    while (l->handle_count > 0) {
        uv_run(&l->uv, UV_RUN_NOWAIT);
    }
    uint32_t turns = 0;
    while (uv_loop_close(&l->uv) == UV_EBUSY) {
        HF_ASSERT(turns++ < CLOSE_TURNS_MAX); /* someone did not close a handle of this loop */
        uv_run(&l->uv, UV_RUN_NOWAIT);
    }
    pthread_mutex_destroy(&l->done_lock);
    free(l);
}
