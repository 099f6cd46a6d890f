/*
 * test_pair.c - the loop and its writer on one processor while they take turns, and only then.
 *
 * With one processor there is nothing to choose, and the tests are skipped.
 */
#include "hf/loop.h"
#include "proto/node/pair.h"

#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

#define WAIT_MS 5000 /* for what comes within 20 ms on a machine that is not busy */

struct fixture {
    struct hf_loop *loop;
    struct hf_job job;
    uv_timer_t pause;
    cpu_set_t all;
    pthread_t writer;
    atomic_int writer_cpus; /* that it may run on */
    int pairs;              /* jobs that came back while both had the same one */
    int turns;
    int turns_max;
    uint64_t until_us;
    uint64_t pause_ms;  /* between two jobs */
    uint32_t beside_us; /* that the loop works while the writer has a job */
    uint32_t job_us;
    void (*when_paired)(struct fixture *f);
};

static int cpus_of(pthread_t thread)
{
    cpu_set_t set;
    assert_int_equal(pthread_getaffinity_np(thread, sizeof(set), &set), 0);
    return CPU_COUNT(&set);
}

static void give(pthread_t thread, const cpu_set_t *set)
{
    assert_int_equal(pthread_setaffinity_np(thread, sizeof(*set), set), 0);
}

static cpu_set_t only(const cpu_set_t *of, bool last)
{
    cpu_set_t set;
    int cpu = last ? CPU_SETSIZE - 1 : 0;
    while (!CPU_ISSET(cpu, of)) {
        cpu += last ? -1 : 1;
    }
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return set;
}

static void burn(uint32_t us)
{
    uint64_t end = hf_clock_thread_us() + us;
    while (hf_clock_thread_us() < end) {
    }
}

static void work(struct hf_job *job)
{
    struct fixture *f = (void *)((char *)job - offsetof(struct fixture, job));
    f->writer = pthread_self();
    atomic_store(&f->writer_cpus, cpus_of(pthread_self()));
    usleep(f->job_us);
}

static void hand_over(struct fixture *f)
{
    hf_loop_job(f->loop, HF_LANE_WRITER, &f->job);
    burn(f->beside_us);
}

static void on_pause_over(uv_timer_t *t)
{
    hand_over(t->data);
}

static void done(struct hf_job *job)
{
    struct fixture *f = (void *)((char *)job - offsetof(struct fixture, job));
    f->turns++;
    if (atomic_load(&f->writer_cpus) == 1 && cpus_of(pthread_self()) == 1) {
        f->pairs++;
        if (f->when_paired != NULL) {
            f->when_paired(f);
            return;
        }
    }
    if (f->turns == f->turns_max || hf_clock_us() >= f->until_us) {
        hf_loop_exit(f->loop);
    } else if (f->pause_ms > 0) {
        uv_timer_start(&f->pause, on_pause_over, f->pause_ms, 0);
    } else {
        hand_over(f);
    }
}

/* At most so many, in at most WAIT_MS. */
static void take_turns(struct fixture *f, int turns)
{
    f->turns_max = turns;
    f->until_us = hf_clock_us() + (uint64_t)WAIT_MS * 1000;
    hand_over(f);
    hf_loop_run(f->loop);
}

static void on_rested(uv_timer_t *t)
{
    struct fixture *f = t->data;
    hf_loop_exit(f->loop);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct hf_loop_config c = {.pair_writer = true};
    f->job = (struct hf_job){.work = work, .done = done};
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof(f->all), &f->all), 0);
    assert_int_equal(hf_loop_open(&c, &f->loop, NULL), HF_OK);
    uv_timer_init(hf_loop_uv(f->loop), &f->pause);
    f->pause.data = f;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    uv_close((uv_handle_t *)&f->pause, NULL);
    hf_loop_close(f->loop);
    give(pthread_self(), &f->all);
    free(f);
    return 0;
}

static void needs_two_processors(const struct fixture *f)
{
    if (CPU_COUNT(&f->all) < 2) {
        skip();
    }
}

/* Takes turns until the two are together, and goes on with `then`. */
static void until_paired(struct fixture *f, void (*then)(struct fixture *f))
{
    needs_two_processors(f);
    f->when_paired = then;
    take_turns(f, INT_MAX);
    assert_int_equal(f->pairs, 1);
}

static void assert_both_are_free(const struct fixture *f)
{
    assert_int_equal(cpus_of(pthread_self()), CPU_COUNT(&f->all));
    assert_int_equal(cpus_of(f->writer), CPU_COUNT(&f->all));
}

static void exit_loop(struct fixture *f)
{
    hf_loop_exit(f->loop);
}

static void two_that_take_turns_are_put_on_one_processor(void **state)
{
    until_paired(*state, exit_loop);
}

static void exit_later(struct fixture *f)
{
    f->pause_ms = 10 * HF_PAIR_MS;
    uv_timer_start(&f->pause, on_rested, f->pause_ms, 0);
}

static void they_part_when_there_is_nothing_more_to_do(void **state)
{
    until_paired(*state, exit_later);
    assert_both_are_free(*state);
}

static void unpair(struct fixture *f)
{
    hf_loop_unpair(f->loop);
    hf_loop_exit(f->loop);
}

static void they_part_at_once_for_a_program_that_is_to_follow(void **state)
{
    until_paired(*state, unpair);
    assert_both_are_free(*state);
}

static void a_loop_that_works_meanwhile_is_left_apart(void **state)
{
    struct fixture *f = *state;
    needs_two_processors(f);
    f->beside_us = 200;
    f->job_us = 300;
    take_turns(f, 500);
    assert_int_equal(f->pairs, 0);
}

static void a_few_jobs_now_and_then_are_left_apart(void **state)
{
    struct fixture *f = *state;
    needs_two_processors(f);
    f->pause_ms = 2;
    take_turns(f, 100);
    assert_int_equal(f->pairs, 0);
}

/* What somebody else says meanwhile is not undone. */
static void move_writer(struct fixture *f)
{
    cpu_set_t last = only(&f->all, true);
    cpu_set_t first = only(&f->all, false);
    give(f->writer, CPU_ISSET(sched_getcpu(), &first) ? &last : &first);
    exit_later(f);
}

static void where_the_operator_puts_one_it_stays(void **state)
{
    struct fixture *f = *state;
    until_paired(f, move_writer);
    assert_int_equal(cpus_of(pthread_self()), CPU_COUNT(&f->all));
    assert_int_equal(cpus_of(f->writer), 1);
}

/* One of the same two threads, without the loop. */
static struct hf_pair pair_by_hand(struct fixture *f)
{
    struct hf_pair pair;
    needs_two_processors(f);
    take_turns(f, 1); /* tells who the writer is */
    hf_pair_init(&pair, f->writer);
    return pair;
}

/* Ten jobs a millisecond apart, then the one that may put them together. */
static bool pairs_after(struct hf_pair *p, uint64_t *now_us, uint64_t pause_us)
{
    bool made = false;
    for (int i = 0; i < 10; i++, *now_us += 900) {
        made |= hf_pair_hand_over(p, *now_us);
        hf_pair_hand_back(p);
    }
    *now_us += pause_us;
    made |= hf_pair_hand_over(p, *now_us);
    hf_pair_hand_back(p);
    return made;
}

static void they_are_apart_for_a_turn_before_they_are_together_again(void **state)
{
    struct hf_pair pair = pair_by_hand(*state);
    uint64_t now_us = 1000000;
    assert_true(pairs_after(&pair, &now_us, 1000));
    assert_false(pairs_after(&pair, &now_us, 1000)); /* they are */
    assert_true(hf_pair_part(&pair));
    assert_false(hf_pair_hand_over(&pair, now_us));
    hf_pair_hand_back(&pair);
    assert_true(hf_pair_hand_over(&pair, now_us));
    hf_pair_hand_back(&pair);
    assert_true(hf_pair_part(&pair));
}

/* A second job comes and goes while the first is out: what is done before and after it is counted
 * together. */
static void what_is_done_beside_any_job_counts(void **state)
{
    struct hf_pair pair = pair_by_hand(*state);
    for (uint64_t now_us = 1000000; now_us < 1100000; now_us += 500) {
        assert_false(hf_pair_hand_over(&pair, now_us));
        burn(60);
        assert_false(hf_pair_hand_over(&pair, now_us));
        hf_pair_hand_back(&pair);
        burn(60);
        hf_pair_hand_back(&pair);
    }
}

static void jobs_of_some_time_ago_say_nothing(void **state)
{
    struct hf_pair pair = pair_by_hand(*state);
    uint64_t now_us = 1000000;
    assert_false(pairs_after(&pair, &now_us, 50000));
    assert_true(pairs_after(&pair, &now_us, 1000));
    assert_true(hf_pair_part(&pair));
}

/* It is the one that the loop runs on, so that nothing else is in the way of a pair. */
static void a_writer_with_one_processor_of_its_own_keeps_it(void **state)
{
    struct hf_pair pair = pair_by_hand(*state);
    uint64_t now_us = 1000000;
    for (int i = 0; i < 10; i++) {
        cpu_set_t one;
        cpu_set_t now;
        CPU_ZERO(&one);
        CPU_SET((size_t)sched_getcpu(), &one);
        give(pair.thread[1], &one);
        assert_false(pairs_after(&pair, &now_us, 1000));
        assert_int_equal(pthread_getaffinity_np(pair.thread[1], sizeof(now), &now), 0);
        assert_true(CPU_EQUAL(&now, &one));
    }
}

/* As a service manager may tell the kernel to (SystemCallFilter=). */
static bool refuse_setaffinity(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sched_setaffinity, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static int where_it_is_refused(void)
{
    struct hf_pair pair;
    uint64_t now_us = 1000000;
    if (!refuse_setaffinity()) {
        return 2;
    }
    hf_pair_init(&pair, pthread_self()); /* the writer is not in this process */
    for (int i = 0; i < 3; i++) {
        if (pairs_after(&pair, &now_us, 1000)) {
            return 1;
        }
    }
    return 0;
}

static void what_the_system_refuses_is_let_be(void **state)
{
    struct fixture *f = *state;
    int status = -1;
    needs_two_processors(f);
    pid_t child = fork();
    if (child == 0) {
        _exit(where_it_is_refused());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void a_loop_that_is_not_to_be_paired_is_not(void **state)
{
    struct fixture *f = *state;
    struct hf_loop_config c = {.pair_writer = false};
    needs_two_processors(f);
    uv_close((uv_handle_t *)&f->pause, NULL);
    hf_loop_close(f->loop);
    assert_int_equal(hf_loop_open(&c, &f->loop, NULL), HF_OK);
    uv_timer_init(hf_loop_uv(f->loop), &f->pause);
    take_turns(f, 1000);
    assert_int_equal(f->pairs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define BOXED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        BOXED(two_that_take_turns_are_put_on_one_processor),
        BOXED(they_part_when_there_is_nothing_more_to_do),
        BOXED(they_part_at_once_for_a_program_that_is_to_follow),
        BOXED(a_loop_that_works_meanwhile_is_left_apart),
        BOXED(a_few_jobs_now_and_then_are_left_apart),
        BOXED(where_the_operator_puts_one_it_stays),
        BOXED(they_are_apart_for_a_turn_before_they_are_together_again),
        BOXED(what_is_done_beside_any_job_counts),
        BOXED(jobs_of_some_time_ago_say_nothing),
        BOXED(a_writer_with_one_processor_of_its_own_keeps_it),
        BOXED(what_the_system_refuses_is_let_be),
        BOXED(a_loop_that_is_not_to_be_paired_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
