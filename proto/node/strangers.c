/*
 * strangers.c - when connections of a listener are ended, and the walk that finds their sockets.
 *
 * Strangers of the control channel that are too many (pipes.c says which), and whoever is stuck in
 * the handshake: of these nng does not tell us, so they are the sockets on our ports that are in no
 * list of ours. Looking at thousands of descriptors takes some milliseconds, so a thread of libuv's
 * pool does it.
 *
 * Invariant: one walk at a time; while it is under way the list is the thread's.
 *
 * Must not: touch a pipe of nng.
 *
 * Read next: descriptors.c (hf_descriptors_end), listener.c.
 */
#include "proto/node/transport_impl.h"

#include <stdlib.h>

/* A round trip or two over a bad link: what is younger is not ended; nor, while three quarters of
 * the places are free, over a very bad one. */
#define PRESSED_MS 2000u
#define PATIENT_MS 10000u
/* What has not finished its handshake by then is ended. */
#define HANDSHAKE_MS 10000u
#define HANDSHAKE_CHECK_MS 2000u

bool hf_strangers_init(struct hf_strangers *s, uv_loop_t *loop, struct hf_pipes *pipes,
                       uint32_t places, pthread_mutex_t *lock)
{
    s->loop = loop;
    s->pipes = pipes;
    s->places = places;
    s->lock = lock;
    s->list = malloc(places * sizeof(*s->list));
    s->work.data = s;
    return s->list != NULL;
}

void hf_strangers_deinit(struct hf_strangers *s)
{
    free(s->list);
}

/* A thread of the pool. */
static void walk(uv_work_t *work)
{
    struct hf_strangers *s = work->data;

    if (s->others) {
        s->found = hf_descriptors_end_others(s->list, s->count, s->ports, HANDSHAKE_MS);
    } else {
        hf_descriptors_end(s->list, s->count, s->ports);
    }
}

static void walked(uv_work_t *work, int status)
{
    struct hf_strangers *s = work->data;

    (void)status;
    s->walking = false;
    s->handshakes_ended += s->others ? s->found : 0;
}

void hf_strangers_tick(struct hf_strangers *s, uint16_t stream_port, uint64_t now)
{
    bool pressed;

    if (s->walking) {
        return;
    }
    s->ports[HF_CHANNEL_STREAM] = stream_port;
    s->ports[HF_CHANNEL_CONTROL] = (uint16_t)(stream_port + 1u);
    pthread_mutex_lock(s->lock);
    pressed = hf_pipes_count(s->pipes) > s->places / 4;
    s->count = hf_pipes_end_strangers(s->pipes, now - (pressed ? PRESSED_MS : PATIENT_MS), s->list);
    s->others = s->count == 0 && now >= s->handshakes_ms;
    if (s->others) {
        s->count = hf_pipes_list(s->pipes, s->list);
        s->handshakes_ms = now + HANDSHAKE_CHECK_MS;
    }
    pthread_mutex_unlock(s->lock);
    if (s->count > 0 || s->others) {
        s->walking = uv_queue_work(s->loop, &s->work, walk, walked) == 0;
    }
}
