/*
 * pair.c - keeps two threads on one processor for as long as they take turns.
 *
 * Invariant: between hf_pair_part and the hf_pair_hand_over that returns true, both threads may run
 * where they could before. A system that refuses leaves them as they are: it costs time, nothing
 * else.
 *
 * Must not: end a pair by itself, or know what the threads do.
 *
 * Read next: loop.c, the only user.
 */
#include "proto/node/pair.h"

#include "hf/err.h"
#include "hf/loop.h"

#include <string.h>

/* Two wake-ups across processors, as measured on the virtual machines of pair.h. */
#define BESIDE_US_MAX 70u
/* Only for a load without pauses. At 500 writes a second the answers came 4 % later for it, at
 * 3,000 they come 12 % earlier. */
#define TURNS_MIN 8u

#define PERIOD_US (HF_PAIR_MS * 1000u)

void hf_pair_init(struct hf_pair *p, pthread_t second)
{
    *p = (struct hf_pair){.thread = {pthread_self(), second}};
}

/* Fails for a thread that has only one processor, too. */
static bool may_run(pthread_t thread, cpu_set_t *where)
{
    return pthread_getaffinity_np(thread, sizeof(*where), where) == 0 && CPU_COUNT(where) > 1;
}

static bool put(pthread_t thread, const cpu_set_t *where)
{
    return pthread_setaffinity_np(thread, sizeof(*where), where) == 0;
}

/* Where there is no restriction but that of the cpuset, none is left behind: a mask that is set
 * would keep the thread where it is when the cpuset grows, or a processor comes back. */
static bool put_back(pthread_t thread, const cpu_set_t *where)
{
    cpu_set_t all;
    cpu_set_t now;
    memset(&all, 0xff, sizeof(all));
    if (put(thread, &all) && pthread_getaffinity_np(thread, sizeof(now), &now) == 0 &&
        CPU_EQUAL(&now, where)) {
        return true;
    }
    return put(thread, where);
}

bool hf_pair_part(struct hf_pair *p)
{
    bool parted = true;
    for (size_t i = 0; p->together && i < 2; i++) {
        cpu_set_t now;
        bool known = pthread_getaffinity_np(p->thread[i], sizeof(now), &now) == 0;
        bool ours = known && CPU_EQUAL(&now, &p->one);
        parted &= known && put_back(p->thread[i], ours ? &p->before[i] : &now);
    }
    p->apart |= p->together;
    p->together = !parted;
    return parted;
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
    if (!put(p->thread[0], &p->one)) {
        return false;
    }
    p->together = true;
    return put(p->thread[1], &p->one) || !hf_pair_part(p);
}

bool hf_pair_hand_over(struct hf_pair *p, uint64_t now_us)
{
    bool made = false;
    uint64_t period_us = now_us - p->since_us;
    if (!p->together && !p->apart && period_us >= PERIOD_US) {
        bool in_turns = p->turns >= TURNS_MIN && p->beside_us / p->turns < BESIDE_US_MAX;
        /* What a burst did some time ago says nothing. */
        made = in_turns && period_us < 2 * PERIOD_US && put_together(p);
        p->since_us = now_us;
        p->beside_us = 0;
        p->turns = 0;
    }
    p->apart = false;
    if (p->out++ == 0) {
        p->out_us = hf_clock_thread_us();
    }
    return made;
}

void hf_pair_hand_back(struct hf_pair *p)
{
    HF_ASSERT(p->out > 0);
    p->out--;
    if (p->out == 0) {
        p->beside_us += hf_clock_thread_us() - p->out_us;
        p->turns++;
    }
}
