/*
 * client.c - hiredis' asynchronous client on a libuv loop, with a timer that dials again.
 *
 * The adapter that comes with hiredis is not used: it ignores what libuv calls an error, and that
 * is what a daemon leaves that was killed with commands unread. Its connection would hang for ever.
 *
 * Invariant: a question that was accepted is answered exactly once, with NULL if need be; hiredis
 * frees a broken connection by itself, so `connection` is forgotten in its callbacks and nowhere
 * else. Next: client.h.
 */
#include "sim/real/client.h"

#include "hf/err.h"

#include <hiredis/async.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Soon enough for a measured start, seldom enough for hundreds of edges that are down. */
#define RETRY_MS 20
#define WORDS_MAX 8

struct question {
    real_answer *answer;
    void *ctx;
};

/* ---- hiredis on libuv ---- */

struct adapter {
    uv_poll_t poll;
    redisAsyncContext *connection; /* NULL once hiredis has let go of it */
    int events;
};

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct adapter *a = poll->data;
    bool broken = status < 0; /* reading says how, and ends the connection */
    if (a->connection != NULL && (broken || (events & UV_READABLE) != 0)) {
        redisAsyncHandleRead(a->connection);
    }
    if (a->connection != NULL && !broken && (events & UV_WRITABLE) != 0) {
        redisAsyncHandleWrite(a->connection);
    }
}

static void wait_for(struct adapter *a, int events)
{
    a->events = events;
    if (events == 0) {
        (void)uv_poll_stop(&a->poll);
    } else {
        (void)uv_poll_start(&a->poll, events, on_poll);
    }
}

static void add_read(void *data)
{
    struct adapter *a = data;
    wait_for(a, a->events | UV_READABLE);
}

static void delete_read(void *data)
{
    struct adapter *a = data;
    wait_for(a, a->events & ~UV_READABLE);
}

static void add_write(void *data)
{
    struct adapter *a = data;
    wait_for(a, a->events | UV_WRITABLE);
}

static void delete_write(void *data)
{
    struct adapter *a = data;
    wait_for(a, a->events & ~UV_WRITABLE);
}

static void on_poll_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void clean_up(void *data)
{
    struct adapter *a = data;
    a->connection = NULL;
    uv_close((uv_handle_t *)&a->poll, on_poll_closed);
}

static void attach(redisAsyncContext *ac, uv_loop_t *loop)
{
    struct adapter *a = calloc(1, sizeof(*a));
    HF_ASSERT(a != NULL && uv_poll_init(loop, &a->poll, ac->c.fd) == 0);
    a->poll.data = a;
    a->connection = ac;
    ac->ev.data = a;
    ac->ev.addRead = add_read;
    ac->ev.delRead = delete_read;
    ac->ev.addWrite = add_write;
    ac->ev.delWrite = delete_write;
    ac->ev.cleanup = clean_up;
}

/* ---- dialling ---- */

static void dial(struct real_client *c);

static void on_retry(uv_timer_t *timer)
{
    dial(timer->data);
}

static void gone(struct real_client *c)
{
    bool was_up = c->up;
    c->connection = NULL;
    c->up = false;
    if (c->ending) {
        return;
    }
    (void)uv_timer_start(&c->retry, on_retry, RETRY_MS, 0);
    if (was_up && c->on_change != NULL) {
        c->on_change(c->owner, false);
    }
}

static void on_connect(const struct redisAsyncContext *ac, int status)
{
    struct real_client *c = ac->data;
    if (status != REDIS_OK) {
        gone(c);
        return;
    }
    c->up = true;
    if (c->on_change != NULL) {
        c->on_change(c->owner, true);
    }
}

static void on_disconnect(const struct redisAsyncContext *ac, int status)
{
    (void)status;
    gone(ac->data);
}

static void dial(struct real_client *c)
{
    redisAsyncContext *ac = redisAsyncConnectUnix(c->path);
    HF_ASSERT(ac != NULL);
    if (ac->err != 0) {
        redisAsyncFree(ac);
        gone(c);
        return;
    }
    attach(ac, c->loop);
    ac->data = c;
    c->connection = ac;
    (void)redisAsyncSetConnectCallback(ac, on_connect);
    (void)redisAsyncSetDisconnectCallback(ac, on_disconnect);
}

void real_client_open(struct real_client *c, uv_loop_t *loop, const char *path,
                      void (*on_change)(void *owner, bool up), void *owner)
{
    *c = (struct real_client){.loop = loop, .on_change = on_change, .owner = owner};
    HF_ASSERT(strlen(path) <= REAL_SOCKET_PATH_MAX);
    memcpy(c->path, path, strlen(path) + 1);
    (void)uv_timer_init(loop, &c->retry);
    c->retry.data = c;
    dial(c);
}

void real_client_close(struct real_client *c)
{
    if (c->loop == NULL || c->ending) {
        return;
    }
    c->ending = true;
    c->up = false;
    uv_close((uv_handle_t *)&c->retry, NULL);
    if (c->connection != NULL) {
        redisAsyncFree(c->connection);
        c->connection = NULL;
    }
}

/* ---- questions ---- */

static void on_reply(struct redisAsyncContext *ac, void *reply, void *privdata)
{
    struct question *q = privdata;
    (void)ac;
    q->answer(q->ctx, reply);
    free(q);
}

bool real_client_ask(struct real_client *c, real_answer *answer, void *ctx, int count,
                     const char *const *word, const size_t *len)
{
    if (!c->up) {
        return false;
    }
    struct question *q = malloc(sizeof(*q));
    HF_ASSERT(q != NULL);
    *q = (struct question){answer, ctx};
    /* hiredis takes words that it does not change by a pointer that says it may. */
    if (redisAsyncCommandArgv(c->connection, on_reply, q, count, (const char **)(uintptr_t)word,
                              len) != REDIS_OK) {
        free(q);
        return false;
    }
    return true;
}

bool real_client_say(struct real_client *c, real_answer *answer, void *ctx,
                     const char *const *words)
{
    size_t len[WORDS_MAX];
    int count = 0;
    for (; words[count] != NULL; count++) {
        HF_ASSERT(count < WORDS_MAX);
        len[count] = strlen(words[count]);
    }
    return real_client_ask(c, answer, ctx, count, words, len);
}
