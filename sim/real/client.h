/*
 * client.h - a RESP connection to the unix socket of a daemon, which dials again whenever it
 * breaks.
 *
 * The socket's path crosses network namespaces, so that a daemon can be asked and written to while
 * its link is cut. Every question gets its answer, in order, or NULL when the connection broke
 * first; then nobody knows what became of it. A daemon that is stopped (SIGSTOP) answers when it
 * goes on.
 *
 * Single-threaded, in the callbacks of one libuv loop. Memory that cannot be had ends the program.
 */
#ifndef HF_SIM_REAL_CLIENT_H
#define HF_SIM_REAL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include <hiredis/hiredis.h>
#include <uv.h>

/* A path longer than that is no address of a unix socket. */
#define REAL_SOCKET_PATH_MAX 107u

struct redisAsyncContext;

struct real_client {
    uv_loop_t *loop;
    char path[REAL_SOCKET_PATH_MAX + 1];
    void (*on_change)(void *owner, bool up); /* may be NULL */
    void *owner;
    uv_timer_t retry;
    struct redisAsyncContext *connection; /* NULL = none */
    bool up, ending;
};

typedef void real_answer(void *ctx, const redisReply *reply);

/* Begins to dial. path has REAL_SOCKET_PATH_MAX bytes at most. c stays where it is until the loop
 * has run after _close. */
void real_client_open(struct real_client *c, uv_loop_t *loop, const char *path,
                      void (*on_change)(void *owner, bool up), void *owner);
void real_client_close(struct real_client *c);

/* Sends a command of `count` words and calls answer(ctx, reply) once; the reply is valid until that
 * returns. False when there is no connection: answer is not called. */
bool real_client_ask(struct real_client *c, real_answer *answer, void *ctx, int count,
                     const char *const *word, const size_t *len);
/* The same for words that are strings. */
bool real_client_say(struct real_client *c, real_answer *answer, void *ctx,
                     const char *const *words /* up to NULL */);

#endif
