/*
 * spare.c - one thread for one file: the spare segment.
 *
 * It is given one preparation at a time and waited for when its file is taken, so there is nothing
 * to lock. One thread for all, because one that the writer makes begins with the writer's
 * processors, which may be a single one at that time (proto/node/pair.h). A preparation that fails
 * (a full disk) is not repeated by the thread: the writer tries again itself when it needs the
 * file, and reports the error to the one who can act on it.
 *
 * It must not touch any file but its own. Read changelog.c for how a spare becomes a segment.
 */
#include "spare.h"
#include "hf/thread.h"
#include "segment.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

enum spare_state {
    SPARE_NONE,
    SPARE_STARTED, /* the thread prepares or has done so: `prepared` tells */
    SPARE_READY,
};

struct hf_spare {
    int dirfd; /* borrowed */
    uint64_t bytes;
    bool with_thread;
    bool ends; /* the thread's next order */
    enum spare_state state;
    pthread_t thread;
    sem_t ordered;
    sem_t prepared;
    enum hf_err err; /* the thread's result, with fd */
    int fd;          /* owned while READY */
    atomic_uint_fast64_t on_disk;
};

static void wait_for(sem_t *s)
{
    while (sem_wait(s) != 0) { /* a signal */
    }
}

static void *run(void *arg)
{
    struct hf_spare *s = arg;

    for (wait_for(&s->ordered); !s->ends; wait_for(&s->ordered)) {
        s->err = hf_segment_prepare(s->dirfd, HF_SPARE_NAME, s->bytes, &s->fd);
        if (s->err == HF_OK) {
            atomic_store(&s->on_disk, s->bytes);
        }
        sem_post(&s->prepared);
    }
    return NULL;
}

static bool start(struct hf_spare *s)
{
    s->with_thread = hf_thread_start(&s->thread, run, s) == 0;
    return s->with_thread;
}

struct hf_spare *hf_spare_new(int dirfd, uint64_t bytes, bool thread)
{
    struct hf_spare *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->dirfd = dirfd;
    s->bytes = bytes;
    atomic_init(&s->on_disk, 0);
    sem_init(&s->ordered, 0, 0);
    sem_init(&s->prepared, 0, 0);
    if (thread && !start(s)) {
        hf_spare_free(s);
        return NULL;
    }
    return s;
}

/* Afterwards the state is NONE or READY. */
static void settle(struct hf_spare *s)
{
    if (s->state != SPARE_STARTED) {
        return;
    }
    wait_for(&s->prepared);
    s->state = s->err == HF_OK ? SPARE_READY : SPARE_NONE;
}

void hf_spare_free(struct hf_spare *s)
{
    if (s == NULL) {
        return;
    }
    settle(s);
    if (s->with_thread) {
        s->ends = true;
        sem_post(&s->ordered);
        pthread_join(s->thread, NULL);
    }
    sem_destroy(&s->ordered);
    sem_destroy(&s->prepared);
    if (s->state == SPARE_READY) {
        unlinkat(s->dirfd, HF_SPARE_NAME, 0);
        close(s->fd);
    }
    free(s);
}

void hf_spare_want(struct hf_spare *s)
{
    if (s->with_thread && s->state == SPARE_NONE) {
        s->state = SPARE_STARTED;
        sem_post(&s->ordered);
    }
}

bool hf_spare_empty(const struct hf_spare *s)
{
    return s->state == SPARE_NONE;
}

void hf_spare_give(struct hf_spare *s, int fd)
{
    HF_ASSERT(s->state == SPARE_NONE);
    s->fd = fd;
    s->state = SPARE_READY;
    atomic_store(&s->on_disk, s->bytes);
}

enum hf_err hf_spare_take(struct hf_spare *s, uint64_t bytes, int *fd, uint64_t *size,
                          const char **name)
{
    enum hf_err err;

    if (bytes <= s->bytes) {
        settle(s);
    }
    if (bytes <= s->bytes && s->state == SPARE_READY) {
        *fd = s->fd;
        *size = s->bytes;
        *name = HF_SPARE_NAME;
        s->state = SPARE_NONE;
        atomic_store(&s->on_disk, 0);
        return HF_OK;
    }
    if (bytes < s->bytes) {
        bytes = s->bytes;
    }
    err = hf_segment_prepare(s->dirfd, HF_FRESH_NAME, bytes, fd);
    if (err != HF_OK) {
        return err;
    }
    *size = bytes;
    *name = HF_FRESH_NAME;
    return HF_OK;
}

uint64_t hf_spare_bytes(const struct hf_spare *s)
{
    return atomic_load(&s->on_disk);
}
