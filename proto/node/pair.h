/*
 * pair.h - keeps two threads on one processor for as long as they take turns.
 *
 * A durable write goes from the loop to the writer lane and back, and each of the two sleeps while
 * the other works. The scheduler wakes a thread on an idle processor, which has to be woken, too:
 * 30 to 40 us for each hand-over on a virtual machine, beside 3 us on the same processor (measured
 * with futexes, pipes and eventfds alike). It cannot know that the two have nothing to do at the
 * same time. Seastar, HAProxy and nginx fix their threads to processors for good; here it is for
 * HF_PAIR_MS at a time, with a turn apart in between, so that the scheduler soon moves them away
 * from a processor which others want.
 *
 * Two that do work at the same time are better off apart. So what counts is the processor time that
 * the first spends while the second has jobs: less than the two wake-ups cost, or no pair. It is
 * watched for HF_PAIR_MS, paired or not, to decide about the next.
 *
 * The processors that the operator gives a thread (taskset, CPUAffinity=, cpusets) are what it has
 * whenever it is not paired; what he gives it meanwhile stays.
 *
 * One thread, the first of the two, makes all calls. A thread or program that one of them begins
 * while they are paired is bound as they are.
 */
#ifndef HF_PAIR_H
#define HF_PAIR_H

#include "hf/types.h"

#include <pthread.h>
#include <sched.h>

#define HF_PAIR_MS 10u

struct hf_pair {
    pthread_t thread[2];
    cpu_set_t before[2]; /* while together: where each of them may run else */
    cpu_set_t one;
    bool together;
    bool apart;   /* since the last turn */
    uint32_t out; /* jobs that the second has, since out_us of the first's processor time */
    uint64_t out_us;
    uint64_t since_us; /* the period's beginning; what was seen in it: */
    uint64_t beside_us;
    uint32_t turns;
};

/* The caller is the first. */
void hf_pair_init(struct hf_pair *p, pthread_t second);
/* The second is about to get a job. True when the two have been put together by it: part them after
 * HF_PAIR_MS. */
bool hf_pair_hand_over(struct hf_pair *p, uint64_t now_us);
/* A job has come back. */
void hf_pair_hand_back(struct hf_pair *p);
/* False: the system refused it for now. */
bool hf_pair_part(struct hf_pair *p);

#endif
