/*
 * spare.c - one thread for one file: the spare segment.
 *
 * The thread lives for one preparation and is joined when its file is taken, so there is nothing to
 * lock: what it writes is read after the join. A permanent thread would save 20 us in every 16 MiB.
 * A preparation that fails (a full disk) is not repeated by the thread: the writer tries again
 * itself when it needs the file, and reports the error to the one who can act on it.
 *
 * It must not touch any file but its own. Read changelog.c for how a spare becomes a segment.
 */
#include "spare.h"
#include "segment.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

enum spare_state {
    SPARE_NONE,
    SPARE_STARTED, /* the thread runs or has ended; join tells how */
    SPARE_READY,
};

struct hf_spare {
    int dirfd; /* borrowed */
    uint64_t bytes;
    bool with_thread;
    enum spare_state state;
    pthread_t thread;
    enum hf_err err; /* the thread's result, with fd */
    int fd;          /* owned while READY */
    atomic_uint_fast64_t on_disk;
};

struct hf_spare *hf_spare_new(int dirfd, uint64_t bytes, bool thread)
{
    struct hf_spare *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        return NULL;
    }
    s->dirfd = dirfd;
    s->bytes = bytes;
    s->with_thread = thread;
    atomic_init(&s->on_disk, 0);
    return s;
}

static void *prepare(void *arg)
{
    struct hf_spare *s = arg;

    s->err = hf_segment_prepare(s->dirfd, HF_SPARE_NAME, s->bytes, &s->fd);
    if (s->err == HF_OK) {
        atomic_store(&s->on_disk, s->bytes);
    }
    return NULL;
}

/* Afterwards the state is NONE or READY. */
static void settle(struct hf_spare *s)
{
    if (s->state != SPARE_STARTED) {
        return;
    }
    pthread_join(s->thread, NULL);
    s->state = s->err == HF_OK ? SPARE_READY : SPARE_NONE;
}

void hf_spare_free(struct hf_spare *s)
{
    if (s == NULL) {
        return;
    }
    settle(s);
    if (s->state == SPARE_READY) {
        unlinkat(s->dirfd, HF_SPARE_NAME, 0);
        close(s->fd);
    }
    free(s);
}

void hf_spare_want(struct hf_spare *s)
{
    sigset_t all, old;

    if (!s->with_thread || s->state != SPARE_NONE) {
        return;
    }
    /* The thread must not be the one that a signal of the process is delivered to. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&s->thread, NULL, prepare, s) == 0) {
        s->state = SPARE_STARTED;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
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
