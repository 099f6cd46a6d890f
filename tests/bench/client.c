/*
 * client.c - the one client that measures holdfast and redis-server alike, over RESP.
 *
 *   client one WRITER READER N            N writes one at a time
 *   client window WRITER READER N         N writes in windows of 100 over 20,000 keys
 *   client propagate WRITER READER N      N writes at 500/s; when each is acknowledged and visible
 *   client fill WRITER READER N           keys 0..N-1 once each, in windows of 100: a warm start
 *   client drip WRITER READER N           N writes at 10/s, READER is not asked: news for heal.sh
 *
 * WRITER and READER are ADDR:PORT. Keys have 24 bytes, values 100 random letters, each value is new
 * (so that nothing can be elided as unchanged). "Visible" is the first GET at the reader that
 * returns the value, polled on a connection of its own: the poll's round trip is part of every
 * figure, for both systems. HOLDFAST_POLL_PAUSE_US=n pauses between polls; without it they follow
 * each other, and so take a processor and a half from what is measured. Prints "name value" lines
 * for bench.sh.
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEYS 20000u
#define WINDOW 100u
#define PACE_US 2000 /* 500 a second */
#define DRIP_US 100000

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "client: %s: %s\n", what, why);
    exit(1);
}

static redisContext *dial(const char *at)
{
    char host[64];
    const char *colon = strrchr(at, ':');
    if (colon == NULL || (size_t)(colon - at) >= sizeof(host)) {
        die(at, "expected ADDR:PORT");
    }
    memcpy(host, at, (size_t)(colon - at));
    host[colon - at] = '\0';
    redisContext *c = redisConnect(host, atoi(colon + 1));
    if (c == NULL || c->err != 0) {
        die(at, c == NULL ? "no memory" : c->errstr);
    }
    return c;
}

static uint64_t random_state = 88172645463325252u;

static uint64_t draw(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void make_key(uint64_t n, char key[25])
{
    snprintf(key, 25, "bench:key:%014llu", (unsigned long long)n);
}

static void make_value(char value[101])
{
    for (int i = 0; i < 100; i += 10) {
        uint64_t x = draw();
        for (int j = 0; j < 10; j++, x /= 26) {
            value[i + j] = (char)('a' + x % 26);
        }
    }
    value[100] = '\0';
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void quantiles(const char *name, uint64_t *us, size_t n)
{
    qsort(us, n, sizeof(*us), compare);
    printf("%s_p50_us %llu\n%s_p99_us %llu\n", name, (unsigned long long)us[n / 2], name,
           (unsigned long long)us[n * 99 / 100]);
}

static void expect_ok(redisContext *c)
{
    redisReply *r = NULL;
    if (redisGetReply(c, (void **)&r) != REDIS_OK || r == NULL || r->type == REDIS_REPLY_ERROR) {
        die("write", r == NULL ? c->errstr : r->str);
    }
    freeReplyObject(r);
}

/* Polls until the reader returns value; gives up after 60 s. */
static void await(redisContext *reader, const char *key, const char *value)
{
    uint64_t end = now_us() + 60000000u;
    for (;;) {
        redisReply *r = redisCommand(reader, "GET %s", key);
        bool same = r != NULL && r->type == REDIS_REPLY_STRING && strcmp(r->str, value) == 0;
        if (r == NULL) {
            die("read", reader->errstr);
        }
        freeReplyObject(r);
        if (same) {
            return;
        }
        if (now_us() > end) {
            die("read", "not at the replica after 60 s");
        }
    }
}

/* Each key in its turn when all is set, else drawn from KEYS. */
static void publish(const char *writer, const char *reader, size_t n, size_t window, bool all)
{
    redisContext *w = dial(writer);
    redisContext *r = dial(reader);
    uint64_t *us = calloc(n, sizeof(*us));
    char key[25];
    char value[101];
    uint64_t start = now_us();
    for (size_t i = 0; i < n; i += window) {
        uint64_t sent = now_us();
        for (size_t j = 0; j < window; j++) {
            make_key(all ? i + j : draw() % KEYS, key);
            make_value(value);
            redisAppendCommand(w, "SET %b %b", key, (size_t)24, value, (size_t)100);
        }
        for (size_t j = 0; j < window; j++) {
            expect_ok(w);
        }
        us[i / window] = now_us() - sent;
    }
    uint64_t acked = now_us();
    await(r, key, value);
    uint64_t there = now_us();
    printf("acked_per_s %.0f\nreplica_per_s %.0f\n", (double)n * 1e6 / (double)(acked - start),
           (double)n * 1e6 / (double)(there - start));
    quantiles("ack", us, n / window);
    free(us);
    redisFree(w);
    redisFree(r);
}

static void drip(const char *writer, size_t n)
{
    redisContext *w = dial(writer);
    char key[25];
    char value[101];
    for (size_t i = 0; i < n; i++) {
        struct timespec t = {0, DRIP_US * 1000L};
        make_key(draw() % KEYS, key);
        make_value(value);
        redisAppendCommand(w, "SET %b %b", key, (size_t)24, value, (size_t)100);
        expect_ok(w);
        nanosleep(&t, NULL);
    }
    redisFree(w);
}

/* ---- propagation ---- */

struct watch {
    uint64_t pause_us;
    redisContext *reader;
    size_t count;
    const char *key;
    uint64_t *visible;
};

/* The value of write i is i in decimal: whatever is read tells all that are visible. */
static void *watcher(void *arg)
{
    struct watch *w = arg;
    size_t seen = 0;
    while (seen < w->count) {
        redisReply *r = redisCommand(w->reader, "GET %s", w->key);
        uint64_t at = now_us();
        if (r == NULL) {
            die("read", w->reader->errstr);
        }
        size_t n = r->type == REDIS_REPLY_STRING ? strtoull(r->str, NULL, 10) : 0;
        for (; seen < n && seen < w->count; seen++) {
            w->visible[seen] = at;
        }
        freeReplyObject(r);
        if (w->pause_us > 0) {
            struct timespec t = {0, (long)w->pause_us * 1000};
            nanosleep(&t, NULL);
        }
    }
    return NULL;
}

static void propagate(const char *writer, const char *reader, size_t n)
{
    redisContext *c = dial(writer);
    uint64_t *sent = calloc(n, sizeof(uint64_t));
    uint64_t *acked = calloc(n, sizeof(uint64_t));
    uint64_t *visible = calloc(n, sizeof(uint64_t));
    const char *pause = getenv("HOLDFAST_POLL_PAUSE_US");
    struct watch w = {pause == NULL ? 0 : strtoull(pause, NULL, 10) % 1000000u, dial(reader), n,
                      "bench:propagation-key--", visible};
    char value[101];
    pthread_t thread;
    freeReplyObject(redisCommand(c, "SET %s 0", w.key));
    await(w.reader, w.key, "0");
    pthread_create(&thread, NULL, watcher, &w);
    uint64_t next = now_us() + 100000;
    for (size_t i = 0; i < n; i++, next += PACE_US) {
        while (now_us() < next) {
            struct timespec t = {0,
                                 (long)(next - now_us() < PACE_US ? next - now_us() : 100) * 1000};
            nanosleep(&t, NULL);
        }
        memset(value, 'x', 100);
        value[100] = '\0';
        int len = snprintf(value, sizeof(value), "%zu", i + 1);
        value[len] = ' ';
        sent[i] = now_us();
        redisAppendCommand(c, "SET %s %b", w.key, value, (size_t)100);
        expect_ok(c);
        acked[i] = now_us();
    }
    pthread_join(thread, NULL);
    uint64_t *us = calloc(n, sizeof(uint64_t));
    for (size_t i = 0; i < n; i++) {
        us[i] = acked[i] - sent[i];
    }
    quantiles("ack", us, n);
    for (size_t i = 0; i < n; i++) {
        us[i] = visible[i] - sent[i];
    }
    quantiles("visible", us, n);
    free(us);
    free(sent);
    free(acked);
    free(visible);
    redisFree(c);
    redisFree(w.reader);
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: client one|window|propagate|fill|drip WRITER READER N\n");
        return 2;
    }
    const char *mode = argv[1];
    size_t n = strtoull(argv[4], NULL, 10);
    size_t whole = n - n % WINDOW;
    if (n < WINDOW) {
        die(argv[4], "N is at least 100");
    }
    random_state ^= now_us() << 20;
    if (strcmp(mode, "one") == 0) {
        publish(argv[2], argv[3], n, 1, false);
    } else if (strcmp(mode, "window") == 0) {
        publish(argv[2], argv[3], whole, WINDOW, false);
    } else if (strcmp(mode, "fill") == 0) {
        publish(argv[2], argv[3], whole, WINDOW, true);
    } else if (strcmp(mode, "drip") == 0) {
        drip(argv[2], n);
    } else if (strcmp(mode, "propagate") == 0) {
        propagate(argv[2], argv[3], n);
    } else {
        die(mode, "not a thing to measure");
    }
    return 0;
}
