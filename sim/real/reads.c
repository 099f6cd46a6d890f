/*
 * reads.c - clients that read at the edges, as local programs do: a random key at a time.
 *
 * They count from the edge's first full copy on. A read has failed when it got an error, no answer,
 * or none within a second, whatever the reason: a process that is stopped or gone does not answer.
 */
#include "sim/real/history.h"

#include "sim/workload.h"

#define PATIENCE_US UINT64_C(1000000)

static void judge(struct real_node *n, const redisReply *reply)
{
    bool good = reply != NULL && reply->type == REDIS_REPLY_ARRAY;
    if (n->reads == 0 && !good) {
        return; /* it has nothing complete to show yet */
    }
    n->reads++;
    n->reads_failed += !good;
}

static void on_answer(void *ctx, const redisReply *reply)
{
    struct real_node *n = ctx;
    n->read_since_us = 0;
    real_history_got(n->run->history, n, reply);
    judge(n, reply);
}

static void read_key(struct real_node *n, uint32_t key, real_answer *answer)
{
    char name[WORKLOAD_KEY_BYTES];
    const char *const words[] = {"HF.GET", name, NULL}; /* says of what moment the answer is */
    workload_key(key, name);
    if (!real_client_say(&n->reader, answer, n, words)) {
        answer(n, NULL);
    }
}

static void on_read(uv_timer_t *timer)
{
    struct real_node *n = timer->data;
    uint64_t now = real_now_us(n->run);
    if (n->read_since_us > 0) {
        if (now - n->read_since_us >= PATIENCE_US) {
            judge(n, NULL);
            n->read_since_us = now; /* still not answered: each second is one that failed */
        }
        return;
    }
    n->read_since_us = now > 0 ? now : 1;
    uint32_t key = (uint32_t)rng_below(&n->rng, n->run->script->load.keys);
    real_history_read(n->run->history, n, key);
    read_key(n, key, on_answer);
}

/* Not in the history: it would have to be a client of its own for each key. */
static void on_one_of_all(void *ctx, const redisReply *reply)
{
    judge(ctx, reply);
}

void real_reads_all(struct real_node *n)
{
    for (uint32_t k = 0; k < n->run->script->load.keys; k++) {
        read_key(n, k, on_one_of_all);
    }
}

void real_reads_start(struct real_node *n)
{
    uint64_t every = n->run->script->load.read_every_us / 1000;
    rng_seed(&n->rng, n->run->options.seed, 1000 + n->index);
    (void)uv_timer_init(&n->run->loop, &n->read_timer);
    n->read_timer.data = n;
    (void)uv_timer_start(&n->read_timer, on_read, every, every > 0 ? every : 1);
}

void real_reads_stop(struct real_node *n)
{
    (void)uv_timer_stop(&n->read_timer);
}
