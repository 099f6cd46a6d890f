/*
 * clients.c - writers that never give a request up, readers that take what comes (clients.h).
 *
 * A writer's requests follow from its seed and its number, so one can be sent again as it was.
 */
#include "tests/reliability/clients.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define WRITERS_MAX 8u
#define KEPT 4096u /* numbers that a writer remembers of its newest requests */

struct client {
    struct clients *all;
    pthread_t thread;
    bool started;
    unsigned number;
    struct recorder_client c;
    _Atomic uint64_t done;
    uint64_t seq[KEPT]; /* of request n, at n % KEPT */
};

struct clients {
    struct clients_config config;
    struct client writer[WRITERS_MAX];
    struct client reader[CLIENTS_NODES_MAX];
    atomic_bool stop, at_once;
    _Atomic uint64_t newest; /* number answered to anybody */
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 31)) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 29)) * UINT64_C(0xbf58476d1ce4e5b9);
    return x ^ (x >> 32);
}

static void pause_us(unsigned us)
{
    const struct timespec t = {us / 1000000, (long)(us % 1000000) * 1000};

    nanosleep(&t, NULL);
}

/* ---- writers ---- */

struct request {
    char id[32], left[24], right[24], key[24];
    struct recorder_change change[3];
};

/* Request n of a writer: always the same. */
static void request_of(const struct client *w, uint64_t n, struct request *r)
{
    uint64_t random = mix(w->all->config.seed + w->number * UINT64_C(1000003) + n * 8191);

    snprintf(r->id, sizeof(r->id), "w%u-%" PRIu64, w->number, n);
    snprintf(r->left, sizeof(r->left), "left-%u", w->number);
    snprintf(r->right, sizeof(r->right), "right-%u", w->number);
    snprintf(r->key, sizeof(r->key), "key-%u", (unsigned)(random % CLIENTS_KEYS));
    r->change[0] = (struct recorder_change){r->left, r->id};
    r->change[1] = (struct recorder_change){r->key, (random >> 20) % 5 == 0 ? NULL : r->id};
    r->change[2] = (struct recorder_change){r->right, r->id};
}

/* False when it was not answered and nobody waits for it any more. */
static bool write_until_answered(struct client *w, uint64_t n, uint64_t *seq)
{
    struct request r = {.id = ""};

    request_of(w, n, &r);
    while (!atomic_load(&w->all->at_once)) {
        if (recorder_write(&w->c, r.id, r.change, 3, seq) == RECORDER_OK) {
            return true;
        }
        pause_us(5000);
    }
    return false;
}

static void raise_to(_Atomic uint64_t *highest, uint64_t seq)
{
    uint64_t now = atomic_load(highest);

    while (now < seq && !atomic_compare_exchange_weak(highest, &now, seq)) {
        ;
    }
}

static void *write_on(void *arg)
{
    struct client *w = arg;
    uint64_t seq = 0;

    for (uint64_t n = 1; !atomic_load(&w->all->stop); n++) {
        if (!write_until_answered(w, n, &seq)) {
            break;
        }
        w->seq[n % KEPT] = seq;
        raise_to(&w->all->newest, seq);
        atomic_store(&w->done, n);
        pause_us(w->all->config.pause_us);
    }
    return NULL;
}

/* ---- readers ---- */

static enum recorder_end read_one(struct client *r, uint64_t random)
{
    char a[24], b[24], key[24];
    const char *const pair[] = {a, key, b};
    unsigned w = (unsigned)(random >> 40) % r->all->config.writers;

    snprintf(a, sizeof(a), "left-%u", w);
    snprintf(b, sizeof(b), "right-%u", w);
    snprintf(key, sizeof(key), "key-%u", (unsigned)(random >> 8) % CLIENTS_KEYS);
    if (random % 32 == 0) {
        return recorder_status(&r->c);
    }
    if (r->number == 0 || random % 4 == 0) {
        return recorder_mget(&r->c, pair, 3);
    }
    /* Now and then a session that was told a number elsewhere. */
    return recorder_get(&r->c, random % 2 == 0 ? a : key,
                        random % 16 == 1 ? atomic_load(&r->all->newest) : 0);
}

static void *read_on(void *arg)
{
    struct client *r = arg;

    for (uint64_t n = 1; !atomic_load(&r->all->stop); n++) {
        if (read_one(r, mix(r->all->config.seed + r->number + n * 131)) == RECORDER_BROKEN) {
            pause_us(5000);
        } else {
            atomic_fetch_add(&r->done, 1);
        }
        pause_us(r->all->config.pause_us);
    }
    return NULL;
}

/* ---- all ---- */

static void client_start(struct clients *all, struct client *c, unsigned number, unsigned process,
                         unsigned node, void *(*run)(void *))
{
    c->all = all;
    c->number = number;
    c->c = (struct recorder_client){.recorder = all->config.recorder,
                                    .process = process,
                                    .node = all->config.name[node],
                                    .port = all->config.port[node],
                                    .netns = all->config.netns[node]};
    c->started = pthread_create(&c->thread, NULL, run, c) == 0;
}

struct clients *clients_start(const struct clients_config *config)
{
    struct clients *c = calloc(1, sizeof(*c));

    if (c == NULL || config->writers > WRITERS_MAX || config->node_count > CLIENTS_NODES_MAX) {
        free(c);
        return NULL;
    }
    c->config = *config;
    for (unsigned i = 0; i < config->writers; i++) {
        client_start(c, &c->writer[i], i, i, 0, write_on);
    }
    for (unsigned i = 0; i < config->node_count; i++) {
        client_start(c, &c->reader[i], i, WRITERS_MAX + i, i, read_on);
    }
    return c;
}

uint64_t clients_acked(const struct clients *c)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < c->config.writers; i++) {
        n += atomic_load(&c->writer[i].done);
    }
    return n;
}

uint64_t clients_newest(const struct clients *c)
{
    return atomic_load(&c->newest);
}

uint64_t clients_read(const struct clients *c, unsigned node)
{
    return atomic_load(&c->reader[node].done);
}

static void client_stop(struct client *c)
{
    if (c->started) {
        pthread_join(c->thread, NULL);
        c->started = false;
    }
    recorder_disconnect(&c->c);
}

void clients_stop(struct clients *c, bool at_once)
{
    atomic_store(&c->at_once, at_once);
    atomic_store(&c->stop, true);
    for (unsigned i = 0; i < c->config.writers; i++) {
        client_stop(&c->writer[i]);
    }
    for (unsigned i = 0; i < c->config.node_count; i++) {
        client_stop(&c->reader[i]);
    }
}

static bool read_all_keys(struct client *r)
{
    bool good = recorder_status(&r->c) == RECORDER_OK;

    for (unsigned i = 0; i < CLIENTS_KEYS && good; i++) {
        char key[24];
        const char *const keys[] = {key};

        snprintf(key, sizeof(key), "key-%u", i);
        good = (r->number == 0 ? recorder_mget(&r->c, keys, 1) : recorder_get(&r->c, key, 0)) ==
               RECORDER_OK;
    }
    return good;
}

bool clients_finish(struct clients *c)
{
    bool good = true;

    for (unsigned i = 0; i < c->config.node_count; i++) {
        good = read_all_keys(&c->reader[i]) && good;
        recorder_disconnect(&c->reader[i].c);
    }
    return good;
}

void clients_free(struct clients *c)
{
    if (c != NULL) {
        clients_stop(c, true);
    }
    free(c);
}

uint64_t clients_lost(struct clients *c, uint64_t newest, uint64_t *asked)
{
    uint64_t lost = 0;

    *asked = 0;
    for (unsigned i = 0; i < c->config.writers; i++) {
        struct client *w = &c->writer[i];
        uint64_t last = atomic_load(&w->done);
        uint64_t kept = newest < KEPT ? newest : KEPT;

        for (uint64_t n = last > kept ? last - kept + 1 : 1; n <= last; n++) {
            struct request r = {.id = ""};
            uint64_t seq = 0;

            request_of(w, n, &r);
            lost += recorder_write(&w->c, r.id, r.change, 3, &seq) != RECORDER_OK ||
                    seq != w->seq[n % KEPT];
            ++*asked;
        }
        recorder_disconnect(&w->c);
    }
    return lost;
}
