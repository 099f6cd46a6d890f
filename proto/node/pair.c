/*
 * pair.c - keeps two threads on one processor for as long as they take turns.
 *
 * Invariant: outside of HF_PAIR_MS after hf_pair_hand_over returned true, both threads may run
 * where they could before. A system that refuses leaves them as they are: it costs time, nothing
 * else.
 *
 * Must not: keep time for its caller, or know what the threads do.
 *
 * Read next: loop.c, the only user.
 */
#include "proto/node/pair.h"

#include <time.h>

/* Two wake-ups across processors, as measured on the virtual machines of pair.h. */
#define BESIDE_NS_MAX 70000u
/* Only for a load without pauses. At 500 writes a second the answers came 4 % later for it, at
 * 3,000 they come 12 % earlier. */
#define TURNS_MIN 8u

#define PERIOD_US (HF_PAIR_MS * 1000u)

/* Of the caller. */
static uint64_t processor_ns(void)
{
    struct timespec t = {0};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void hf_pair_init(struct hf_pair *p, pthread_t second)
{
    *p = (struct hf_pair){.thread = {pthread_self(), second}};
}

/* Fails for a thread that has only one processor, too. */
static bool may_run(pthread_t thread, cpu_set_t *where)
{
    return pthread_getaffinity_np(thread, sizeof(*where), where) == 0 && CPU_COUNT(where) > 1;
}

static void put(const struct hf_pair *p, size_t i, const cpu_set_t *where)
{
    (void)pthread_setaffinity_np(p->thread[i], sizeof(*where), where);
}

static bool put_together(struct hf_pair *p)
{
    int cpu = sched_getcpu();
    size_t here = (size_t)cpu;
    if (cpu < 0 || here >= CPU_SETSIZE || !may_run(p->thread[0], &p->before[0]) ||
        !may_run(p->thread[1], &p->before[1]) || !CPU_ISSET(here, &p->before[1])) {
        return false;
    }
    CPU_ZERO(&p->one);
    CPU_SET(here, &p->one);
    put(p, 0, &p->one);
    put(p, 1, &p->one);
    p->together = true;
    return true;
}

void hf_pair_part(struct hf_pair *p)
{
    cpu_set_t now;
    for (size_t i = 0; p->together && i < 2; i++) {
        if (pthread_getaffinity_np(p->thread[i], sizeof(now), &now) == 0 &&
            CPU_EQUAL(&now, &p->one)) {
            put(p, i, &p->before[i]);
        }
    }
    p->together = false;
}

bool hf_pair_hand_over(struct hf_pair *p, uint64_t now_us)
{
    bool made = false;
    uint64_t period_us = now_us - p->since_us;
    if (!p->together && period_us >= PERIOD_US) {
        bool in_turns = p->turns >= TURNS_MIN && p->beside_ns / p->turns < BESIDE_NS_MAX;
        /* What a burst did some time ago says nothing. */
        made = in_turns && period_us < 2 * PERIOD_US && put_together(p);
        p->since_us = now_us;
        p->beside_ns = 0;
        p->turns = 0;
    }
    if (!p->out) {
        p->out = true;
        p->out_ns = processor_ns();
    }
    return made;
}

void hf_pair_hand_back(struct hf_pair *p)
{
    if (p->out) {
        p->out = false;
        p->beside_ns += processor_ns() - p->out_ns;
        p->turns++;
    }
}
