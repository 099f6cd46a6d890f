/*
 * test_loop.c - lanes, tick, signals, service manager and re-exec of the process shell.
 *
 * Started with the argument "--after-reexec" the program is what hf_reexec made of itself: it says
 * by its exit status whether it was left clean.
 */
#include "hf/loop.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#define JOBS 2000
#define POOL_NICE 2

struct test_job {
    struct hf_job job;
    int nice; /* of the thread that worked on it */
    struct fixture *f;
    int number;
    pthread_t worked_on;
    bool usr1_blocked;
    bool hold; /* work() waits for the gate */
};

struct fixture {
    struct hf_loop *loop;
    struct test_job job[JOBS];
    pthread_t main_thread;
    pthread_mutex_t gate;
    int worked[JOBS];
    atomic_int work_count;
    atomic_int started;
    int done_count;
    int exit_after;
    bool done_elsewhere;
    hf_ms ticks[64];
    int tick_count;
    hf_ms tick_every;
    hf_ms woken; /* when hf_loop_wake_at was called */
    int stops;
    int reloads;
};

static hf_ms on_tick(void *ctx, hf_ms now)
{
    struct fixture *f = ctx;
    if (f->tick_count < 64) {
        f->ticks[f->tick_count++] = now;
    }
    return now + f->tick_every;
}

static void on_stop(void *ctx)
{
    struct fixture *f = ctx;
    f->stops++;
}

static void on_reload(void *ctx)
{
    struct fixture *f = ctx;
    f->reloads++;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct hf_loop_config c = {.pool_threads = 3,
                               .pool_nice = POOL_NICE,
                               .ctx = f,
                               .on_tick = on_tick,
                               .on_stop = on_stop,
                               .on_reload = on_reload};
    f->tick_every = 100000;
    f->main_thread = pthread_self();
    pthread_mutex_init(&f->gate, NULL);
    assert_int_equal(hf_loop_open(&c, &f->loop, NULL), HF_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    hf_loop_close(f->loop);
    pthread_mutex_destroy(&f->gate);
    free(f);
    return 0;
}

static void on_time_over(uv_timer_t *t)
{
    struct fixture *f = t->data;
    hf_loop_exit(f->loop);
}

static void ignore_close(uv_handle_t *h)
{
    (void)h;
}

/* Runs the loop until hf_loop_exit, at most ms. */
static void run_for(struct fixture *f, uint64_t ms)
{
    uv_timer_t t;
    uv_timer_init(hf_loop_uv(f->loop), &t);
    t.data = f;
    uv_timer_start(&t, on_time_over, ms, 0);
    hf_loop_run(f->loop);
    uv_close((uv_handle_t *)&t, ignore_close);
    uv_run(hf_loop_uv(f->loop), UV_RUN_NOWAIT);
}

/* Turns the loop, which has run before, until there were so many ticks: however late a busy machine
 * makes them. */
static void turn_until(struct fixture *f, int ticks)
{
    hf_ms until = hf_clock_ms() + 10000;
    uv_timer_t t; /* so that a turn ends where no tick comes */
    uv_timer_init(hf_loop_uv(f->loop), &t);
    t.data = f;
    uv_timer_start(&t, on_time_over, 50, 50);
    while (f->tick_count < ticks && hf_clock_ms() < until) {
        uv_run(hf_loop_uv(f->loop), UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&t, ignore_close);
    uv_run(hf_loop_uv(f->loop), UV_RUN_NOWAIT);
    assert_true(f->tick_count >= ticks);
}

static void work(struct hf_job *job)
{
    struct test_job *t = (struct test_job *)job;
    sigset_t mask;
    if (t->hold) {
        pthread_mutex_lock(&t->f->gate);
        pthread_mutex_unlock(&t->f->gate);
    }
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    t->usr1_blocked = sigismember(&mask, SIGUSR1) == 1 && sigismember(&mask, SIGTERM) == 1;
    t->worked_on = pthread_self();
    t->nice = getpriority(PRIO_PROCESS, 0);
    t->f->worked[atomic_fetch_add(&t->f->work_count, 1)] = t->number;
}

static void done(struct hf_job *job)
{
    struct test_job *t = (struct test_job *)job;
    struct fixture *f = t->f;
    f->done_elsewhere |= !pthread_equal(pthread_self(), f->main_thread);
    if (++f->done_count == f->exit_after) {
        hf_loop_exit(f->loop);
    }
}

static void submit(struct fixture *f, int number, enum hf_lane lane)
{
    f->job[number].job.work = work;
    f->job[number].job.done = done;
    f->job[number].f = f;
    f->job[number].number = number;
    hf_loop_job(f->loop, lane, &f->job[number].job);
}

/* ---- lanes ---- */

static void the_writer_lane_runs_jobs_in_order_on_one_thread(void **state)
{
    struct fixture *f = *state;
    f->exit_after = JOBS;
    for (int i = 0; i < JOBS; i++) {
        submit(f, i, HF_LANE_WRITER);
    }
    run_for(f, 5000);
    assert_int_equal(f->done_count, JOBS);
    for (int i = 0; i < JOBS; i++) {
        assert_int_equal(f->worked[i], i);
        assert_true(pthread_equal(f->job[i].worked_on, f->job[0].worked_on));
    }
    assert_false(pthread_equal(f->job[0].worked_on, f->main_thread));
    assert_false(f->done_elsewhere);
    assert_true(f->job[0].usr1_blocked);
}

static void the_pool_runs_jobs_beside_each_other_and_beside_the_writer(void **state)
{
    struct fixture *f = *state;
    f->exit_after = 3;
    pthread_mutex_lock(&f->gate);
    f->job[0].hold = true; /* one thread of the pool, and the writer, are held up */
    f->job[1].hold = true;
    submit(f, 0, HF_LANE_POOL);
    submit(f, 1, HF_LANE_WRITER);
    for (int i = 2; i < 5; i++) {
        submit(f, i, HF_LANE_POOL);
    }
    run_for(f, 5000);
    assert_int_equal(f->done_count, 3);
    pthread_mutex_unlock(&f->gate);
    assert_true(f->job[2].usr1_blocked);
    while (atomic_load(&f->work_count) < 5) {
        usleep(1000);
    }
}

/* Each thread of it, and nobody else; as far down from where the process is as it is told. */
static void the_pool_is_nicer_than_the_others(void **state)
{
    struct fixture *f = *state;
    int own = getpriority(PRIO_PROCESS, 0);
    f->exit_after = 4;
    for (int i = 0; i < 3; i++) {
        submit(f, i, HF_LANE_POOL);
    }
    submit(f, 3, HF_LANE_WRITER);
    run_for(f, 5000);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(f->job[i].nice, own + POOL_NICE);
    }
    assert_int_equal(f->job[3].nice, own);
    assert_int_equal(getpriority(PRIO_PROCESS, 0), own);
}

static void done_again(struct hf_job *job)
{
    struct test_job *t = (struct test_job *)job;
    if (++t->f->done_count == 50) {
        hf_loop_exit(t->f->loop);
        return;
    }
    hf_loop_job(t->f->loop, HF_LANE_WRITER, job);
}

static void a_job_may_be_queued_again_when_it_is_done(void **state)
{
    struct fixture *f = *state;
    submit(f, 0, HF_LANE_WRITER);
    f->job[0].job.done = done_again;
    run_for(f, 5000);
    assert_int_equal(f->done_count, 50);
}

static void *submit_from_thread(void *arg)
{
    struct fixture *f = arg;
    for (int i = 0; i < 100; i++) {
        submit(f, i, HF_LANE_POOL);
    }
    return NULL;
}

static void any_thread_may_queue_a_job(void **state)
{
    struct fixture *f = *state;
    pthread_t t;
    f->exit_after = 100;
    assert_int_equal(pthread_create(&t, NULL, submit_from_thread, f), 0);
    run_for(f, 5000);
    pthread_join(t, NULL);
    assert_int_equal(f->done_count, 100);
    assert_false(f->done_elsewhere);
}

static void work_slowly(struct hf_job *job)
{
    struct test_job *t = (struct test_job *)job;
    atomic_fetch_add(&t->f->started, 1);
    usleep(50000);
    work(job);
}

static void closing_waits_for_the_running_job_and_drops_the_queued_ones(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        f->job[i] =
            (struct test_job){.job = {.work = work_slowly, .done = done}, .f = f, .number = i};
        hf_loop_job(f->loop, HF_LANE_WRITER, &f->job[i].job);
    }
    while (atomic_load(&f->started) == 0) {
        usleep(1000);
    }
    hf_loop_close(f->loop);
    f->loop = NULL;
    assert_int_equal(atomic_load(&f->started), 1);
    assert_int_equal(atomic_load(&f->work_count), 1);
    assert_int_equal(f->done_count, 0);
}

/* ---- tick ---- */

static void the_tick_comes_at_once_and_then_when_it_asked(void **state)
{
    struct fixture *f = *state;
    f->tick_every = 30;
    run_for(f, 5);
    assert_int_equal(f->tick_count, 1);
    turn_until(f, 5);
    for (int i = 1; i < 5; i++) {
        assert_true(f->ticks[i] - f->ticks[i - 1] >= 30);
    }
}

static void on_wake_timer(uv_timer_t *t)
{
    struct fixture *f = t->data;
    hf_ms now = hf_clock_ms();
    f->woken = now;
    hf_loop_wake_at(f->loop, now + 20);
    hf_loop_wake_at(f->loop, now + 100000);
}

static void waking_brings_the_tick_forward_and_never_back(void **state)
{
    struct fixture *f = *state;
    uv_timer_t t;
    uv_timer_init(hf_loop_uv(f->loop), &t);
    t.data = f;
    uv_timer_start(&t, on_wake_timer, 30, 0);
    run_for(f, 5);
    turn_until(f, 2);
    uv_close((uv_handle_t *)&t, ignore_close);
    uv_run(hf_loop_uv(f->loop), UV_RUN_NOWAIT);
    assert_int_equal(f->tick_count, 2); /* one at the start, one that was asked for */
    assert_true(f->ticks[1] - f->woken >= 20);
}

static hf_ms tick_that_wakes_itself(void *ctx, hf_ms now)
{
    struct fixture *f = ctx;
    f->tick_count++;
    hf_loop_wake_at(f->loop, now + 10);
    return now + 100000;
}

static void waking_from_within_the_tick_counts(void **state)
{
    struct fixture *f = *state;
    struct hf_loop_config c = {.ctx = f, .on_tick = tick_that_wakes_itself};
    hf_loop_close(f->loop);
    assert_int_equal(hf_loop_open(&c, &f->loop, NULL), HF_OK);
    hf_ms began = hf_clock_ms();
    run_for(f, 5);
    turn_until(f, 5);
    assert_true(hf_clock_ms() - began >= 4 * 10);
}

static hf_ms tick_that_is_always_due(void *ctx, hf_ms now)
{
    struct fixture *f = ctx;
    f->tick_count++;
    return now;
}

static void a_tick_that_is_always_due_leaves_the_loop_its_turns(void **state)
{
    struct fixture *f = *state;
    struct hf_loop_config c = {
        .ctx = f, .on_tick = tick_that_is_always_due, .on_reload = on_reload};
    hf_loop_close(f->loop);
    assert_int_equal(hf_loop_open(&c, &f->loop, NULL), HF_OK);
    f->exit_after = 100;
    submit(f, 0, HF_LANE_POOL);
    alarm(10); /* A starved loop does not end by itself. */
    raise(SIGHUP);
    run_for(f, 100);
    alarm(0);
    assert_int_equal(f->done_count, 1);
    assert_int_equal(f->reloads, 1);
    assert_true(f->tick_count > 100);
}

/* ---- signals ---- */

static void stop_is_told_once_and_reload_each_time(void **state)
{
    struct fixture *f = *state;
    raise(SIGHUP);
    run_for(f, 20);
    assert_int_equal(f->reloads, 1);
    assert_int_equal(f->stops, 0);
    hf_loop_close(f->loop);
    struct hf_loop_config c = {.ctx = f, .on_stop = on_stop, .on_reload = on_reload};
    assert_int_equal(hf_loop_open(&c, &f->loop, NULL), HF_OK);
    raise(SIGTERM);
    raise(SIGINT);
    run_for(f, 20);
    assert_int_equal(f->stops, 1);
}

static void without_a_handler_sigterm_ends_the_loop(void **state)
{
    struct fixture *f = *state;
    struct hf_loop_config c = {.ctx = f};
    hf_loop_close(f->loop);
    assert_int_equal(hf_loop_open(&c, &f->loop, NULL), HF_OK);
    hf_ms begin = hf_clock_ms();
    raise(SIGTERM);
    run_for(f, 3000);
    assert_true(hf_clock_ms() - begin < 1000);
}

/* ---- the service manager ---- */

static int listen_datagrams(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    memcpy(a.sun_path, name, len);
    if (name[0] == '@') {
        a.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, size), 0);
    return fd;
}

static void check_notify(const char *name)
{
    char got[64] = "";
    int fd = listen_datagrams(name);
    setenv("NOTIFY_SOCKET", name, 1);
    hf_notify("READY=1");
    assert_int_equal(recv(fd, got, sizeof(got), 0), 7);
    assert_string_equal(got, "READY=1");
    unsetenv("NOTIFY_SOCKET");
    hf_notify("READY=1");
    assert_int_equal(recv(fd, got, sizeof(got), 0), -1);
    close(fd);
}

static void readiness_goes_to_a_path_or_an_abstract_name(void **state)
{
    (void)state;
    char folder[] = "/tmp/holdfast-loop-XXXXXX";
    char name[64];
    assert_non_null(mkdtemp(folder));
    snprintf(name, sizeof(name), "%s/n", folder);
    check_notify(name);
    unlink(name);
    rmdir(folder);
    snprintf(name, sizeof(name), "@holdfast-test-%ld", (long)getpid());
    check_notify(name);
}

/* Pings that have come since the last call. */
static unsigned pings(int fd)
{
    char got[64] = "";
    unsigned n = 0;
    while (recv(fd, got, sizeof(got), 0) == 10 && strcmp(got, "WATCHDOG=1") == 0) {
        n++;
    }
    return n;
}

/* A busy machine may make any ping late: so it is waited for four of them, not counted how many
 * there are after a time, and only that they are not too many is a matter of the clock. */
static void the_watchdog_is_fed_while_the_loop_turns(void **state)
{
    (void)state;
    enum { PINGS = 4, EVERY_MS = 21, PATIENCE_MS = 10000 };
    char name[64];
    struct fixture f = {0};
    struct hf_loop_config c = {.ctx = &f};
    snprintf(name, sizeof(name), "@holdfast-test-%ld", (long)getpid());
    int fd = listen_datagrams(name);
    setenv("NOTIFY_SOCKET", name, 1);
    setenv("WATCHDOG_USEC", "40000", 1);
    hf_ms began = hf_clock_ms();
    assert_int_equal(hf_loop_open(&c, &f.loop, NULL), HF_OK);
    unsigned count = 0;
    while (count < PINGS && hf_clock_ms() < began + PATIENCE_MS) {
        uv_run(hf_loop_uv(f.loop), UV_RUN_ONCE);
        count += pings(fd);
    }
    assert_true(count >= PINGS);
    assert_true(count <= (unsigned)(hf_clock_ms() - began) / EVERY_MS + 1);
    usleep(3 * EVERY_MS * 1000);
    assert_int_equal(pings(fd), 0);
    hf_loop_close(f.loop);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    close(fd);
}

/* ---- starting over ---- */

static void reexec_closes_descriptors_and_keeps_arguments(void **state)
{
    (void)state;
    int fd = open("/dev/null", O_RDONLY); /* no O_CLOEXEC on purpose */
    assert_true(fd >= 3);
    pid_t child = fork();
    if (child == 0) {
        char program[] = "test_loop";
        char flag[] = "--after-reexec";
        char *argv[] = {program, flag, NULL};
        sigset_t all;
        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        hf_reexec(argv);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 42);
    close(fd);
}

/* What uv_async_send does: it ends the process when it cannot write. */
static void *wake_a_loop(void *event)
{
    const uint64_t one = 1;
    for (;;) {
        if (write(*(int *)event, &one, sizeof(one)) != sizeof(one)) {
            abort();
        }
    }
    return NULL;
}

static void threads_at_work_find_their_descriptors_until_reexec_ends_them(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            char program[] = "test_loop";
            char flag[] = "--after-reexec";
            char *argv[] = {program, flag, NULL};
            int event = eventfd(0, EFD_CLOEXEC);
            pthread_t thread;
            for (int t = 0; t < 4; t++) {
                pthread_create(&thread, NULL, wake_a_loop, &event);
            }
            usleep(2000);
            hf_reexec(argv);
        }
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 42);
    }
}

static int after_reexec(void)
{
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    if (sigismember(&mask, SIGTERM)) {
        return 1;
    }
    for (int fd = 3; fd < 256; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            return 2;
        }
    }
    return 42;
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--after-reexec") == 0) {
        return after_reexec();
    }
    const struct CMUnitTest tests[] = {
        LOOP_TEST(the_writer_lane_runs_jobs_in_order_on_one_thread),
        LOOP_TEST(the_pool_runs_jobs_beside_each_other_and_beside_the_writer),
        LOOP_TEST(the_pool_is_nicer_than_the_others),
        LOOP_TEST(a_job_may_be_queued_again_when_it_is_done),
        LOOP_TEST(any_thread_may_queue_a_job),
        LOOP_TEST(closing_waits_for_the_running_job_and_drops_the_queued_ones),
        LOOP_TEST(the_tick_comes_at_once_and_then_when_it_asked),
        LOOP_TEST(waking_brings_the_tick_forward_and_never_back),
        LOOP_TEST(waking_from_within_the_tick_counts),
        LOOP_TEST(a_tick_that_is_always_due_leaves_the_loop_its_turns),
        LOOP_TEST(stop_is_told_once_and_reload_each_time),
        LOOP_TEST(without_a_handler_sigterm_ends_the_loop),
        cmocka_unit_test(readiness_goes_to_a_path_or_an_abstract_name),
        cmocka_unit_test(the_watchdog_is_fed_while_the_loop_turns),
        cmocka_unit_test(reexec_closes_descriptors_and_keeps_arguments),
        cmocka_unit_test(threads_at_work_find_their_descriptors_until_reexec_ends_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
