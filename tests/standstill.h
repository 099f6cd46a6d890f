/*
 * standstill.h - how long the processors stood still, for tests that judge times: when other
 * programs have them, or other guests of the machine's host, whatever was measured came out late by
 * as much, and says nothing.
 *
 * A thread on each processor sleeps for a millisecond again and again; whatever it oversleeps by
 * more than LEEWAY_US is counted, in sum over all processors, since the one stood still while its
 * work waited for what stood still on the other. A program with nothing to do never counts, and one
 * that keeps a processor from others only when it has a higher priority than the threads, which
 * have that of whoever calls _watch. They run until the process ends.
 *
 * Any thread may ask. Next: tests/e2e/test_wan.c.
 */
#ifndef HF_TESTS_STANDSTILL_H
#define HF_TESTS_STANDSTILL_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static atomic_int_least64_t standstill_sum_us;

static inline int64_t standstill_clock_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static inline void *standstill_thread(void *processor)
{
    enum { SLEEP_US = 1000, LEEWAY_US = 1000 };
    const struct timespec sleep = {0, SLEEP_US * 1000};
    int64_t before = standstill_clock_us();
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((size_t)(uintptr_t)processor, &set);
    (void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
    for (;;) {
        nanosleep(&sleep, NULL);
        int64_t now = standstill_clock_us();
        if (now - before > SLEEP_US + LEEWAY_US) {
            atomic_fetch_add(&standstill_sum_us, now - before - SLEEP_US);
        }
        before = now;
    }
    return NULL;
}

/* Once, before the first question. */
static inline void standstill_watch(void)
{
    cpu_set_t mine;

    if (sched_getaffinity(0, sizeof(mine), &mine) != 0) {
        abort();
    }
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        pthread_t thread;
        if (!CPU_ISSET(i, &mine)) {
            continue;
        }
        if (pthread_create(&thread, NULL, standstill_thread, (void *)(uintptr_t)i) != 0) {
            abort();
        }
        pthread_detach(thread);
    }
}

/* Since _watch, in ms. Waits for the threads to have noticed what has just ended. */
static inline double standstill_ms(void)
{
    const struct timespec wait = {0, 3000000};

    nanosleep(&wait, NULL);
    return (double)atomic_load(&standstill_sum_us) / 1000;
}

#endif
