/*
 * inbox.c - a bounded ring from nng's threads to the loop's thread.
 *
 * nng's callbacks run with its own locks held, so they do no more than put a message here and wake
 * the loop. Invariant: count <= cap, and bytes is the sum of the queued messages' lengths. Whoever
 * puts decides what may be lost (stream messages) and sizes the ring so that the rest always fits.
 *
 * The loop is woken under the lock: `closed` is checked under it too, so uv_async_send never meets
 * a handle that is being closed. uv_async_send is one atomic exchange when a wake-up is already
 * pending.
 *
 * Must not: wait for anything but its own short lock.
 *
 * Read next: dialer.c (on_wake).
 */
#include "proto/node/transport_impl.h"

#include <stdlib.h>

enum hf_err hf_inbox_init(struct hf_inbox *in, uv_loop_t *loop, uint32_t cap, uv_async_cb on_wake,
                          void *data)
{
    HF_ASSERT(cap > 0);
    memset(in, 0, sizeof(*in));
    in->items = calloc(cap, sizeof(*in->items));
    if (in->items == NULL) {
        return HF_NOMEM;
    }
    in->cap = cap;
    if (uv_async_init(loop, &in->async, on_wake) != 0) {
        free(in->items);
        in->items = NULL;
        return HF_IO;
    }
    in->async.data = data;
    HF_ASSERT(pthread_mutex_init(&in->lock, NULL) == 0);
    return HF_OK;
}

bool hf_inbox_put(struct hf_inbox *in, struct hf_inbox_item item)
{
    if (in->closed || in->count == in->cap) {
        nng_msg_free(item.msg);
        return false;
    }
    in->items[(in->head + in->count) % in->cap] = item;
    in->count++;
    in->bytes += item.msg == NULL ? 0 : nng_msg_len(item.msg);
    hf_inbox_wake(in);
    return true;
}

void hf_inbox_wake(struct hf_inbox *in)
{
    if (!in->closed) {
        (void)uv_async_send(&in->async);
    }
}

uint32_t hf_inbox_take(struct hf_inbox *in, struct hf_inbox_item *out, uint32_t max)
{
    uint32_t n = 0;

    for (; n < max && in->count > 0; n++) {
        out[n] = in->items[in->head];
        in->head = (in->head + 1u) % in->cap;
        in->count--;
        in->bytes -= out[n].msg == NULL ? 0 : nng_msg_len(out[n].msg);
    }
    return n;
}

void hf_inbox_close(struct hf_inbox *in, uv_close_cb on_closed)
{
    pthread_mutex_lock(&in->lock);
    in->closed = true;
    while (in->count > 0) {
        nng_msg_free(in->items[in->head].msg);
        in->head = (in->head + 1u) % in->cap;
        in->count--;
    }
    free(in->items);
    in->items = NULL;
    in->bytes = 0;
    pthread_mutex_unlock(&in->lock);
    uv_close((uv_handle_t *)&in->async, on_closed);
}
