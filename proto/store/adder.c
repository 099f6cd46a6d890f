/*
 * adder.c - a queue of eights of elements, a thread that empties it, and its sum.
 *
 * The thread is woken for a few eights only: waking it costs the writer as much as hashing two, so
 * a batch of a dozen changes is left to the writer, who takes it from the queue again.
 *
 * Invariant: from `taken` to `given` wait in the ring; the eight before `taken` belongs to the
 * thread while it is busy, and so does its sum. A sum does not depend on the order.
 *
 * It must not know whose elements they are. Read tree.c for when they are given and taken,
 * proto/wire/elements.c for how they are hashed.
 */
#include "adder.h"

#include "hf/err.h"
#include "hf/thread.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RING 32u /* 100 KB; a batch of 100 changes fills 25 */
#define WAKE_AT 4u

struct hf_adder {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more; /* for the thread */
    pthread_cond_t done; /* for the writer */
    uint32_t given;
    uint32_t taken;
    bool busy;
    bool waited_for;
    bool ends;
    bool any; /* the writer's: something was given since the last take */
    struct hf_lthash sum;
    struct hf_elements ring[RING];
};

static void *run(void *arg)
{
    struct hf_adder *a = arg;

    pthread_mutex_lock(&a->lock);
    for (;;) {
        while (a->given == a->taken && !a->ends) {
            pthread_cond_wait(&a->more, &a->lock);
        }
        if (a->ends) {
            break;
        }
        struct hf_elements *e = &a->ring[a->taken++ % RING];
        a->busy = true;
        pthread_mutex_unlock(&a->lock);
        hf_elements_settle(e, &a->sum);
        pthread_mutex_lock(&a->lock);
        a->busy = false;
        if (a->waited_for) {
            pthread_cond_signal(&a->done);
        }
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

struct hf_adder *hf_adder_new(void)
{
    struct hf_adder *a = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? calloc(1, sizeof(*a)) : NULL;

    if (a == NULL) {
        return NULL;
    }
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->more, NULL);
    pthread_cond_init(&a->done, NULL);
    if (hf_thread_start(&a->thread, run, a) != 0) {
        a->ends = true;
        hf_adder_free(a);
        return NULL;
    }
    return a;
}

void hf_adder_free(struct hf_adder *a)
{
    if (a == NULL) {
        return;
    }
    if (!a->ends) {
        pthread_mutex_lock(&a->lock);
        a->ends = true;
        pthread_cond_signal(&a->more);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    pthread_cond_destroy(&a->done);
    pthread_cond_destroy(&a->more);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

bool hf_adder_give(struct hf_adder *a, const struct hf_elements *e)
{
    pthread_mutex_lock(&a->lock);
    uint32_t waiting = a->given - a->taken;
    bool room = waiting + a->busy < RING;
    if (room) {
        a->ring[a->given++ % RING] = *e;
        a->any = true;
    }
    bool wake = waiting + 1 == WAKE_AT && !a->busy;
    pthread_mutex_unlock(&a->lock);
    /* Signalled with the lock held, the woken thread would run into it at once. */
    if (wake) {
        pthread_cond_signal(&a->more);
    }
    return room;
}

/* With the lock, when nothing waits in the ring. */
static void wait_idle(struct hf_adder *a)
{
    a->waited_for = true;
    while (a->busy) {
        pthread_cond_wait(&a->done, &a->lock);
    }
    a->waited_for = false;
    a->any = false;
}

void hf_adder_take(struct hf_adder *a, struct hf_lthash *sum)
{
    if (!a->any) {
        return;
    }
    pthread_mutex_lock(&a->lock);
    while (a->given != a->taken) {
        struct hf_elements *e = &a->ring[a->taken++ % RING];
        pthread_mutex_unlock(&a->lock); /* nobody else gives, so its place is not used again */
        hf_elements_settle(e, sum);
        pthread_mutex_lock(&a->lock);
    }
    wait_idle(a);
    hf_lthash_merge(sum, &a->sum);
    hf_lthash_clear(&a->sum);
    pthread_mutex_unlock(&a->lock);
}

void hf_adder_drop(struct hf_adder *a)
{
    if (!a->any) {
        return;
    }
    pthread_mutex_lock(&a->lock);
    a->taken = a->given;
    wait_idle(a);
    hf_lthash_clear(&a->sum);
    pthread_mutex_unlock(&a->lock);
}
