/*
 * hole.c - the link between edges and a core that a test can cut without a word to either.
 *
 * One thread forwards two neighbouring ports. Cut, it reads nothing, writes nothing, accepts nobody
 * and closes nothing, so that both ends keep connections that look well, as behind a router that
 * lost its table; only the kernel still completes handshakes, up to the listener's backlog. Healed,
 * it goes on with what is still open. A rate makes the link slow in the same place.
 *
 * Invariant: bytes are never changed, dropped or reordered: TCP would not do that either. It must
 * not know what it carries. Next: harness.h.
 */
#include "tests/e2e/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

#define HOLES_MAX 4u
#define PAIRS_MAX 64u
#define PIPE_BYTES 65536u
#define TURN_MS 5

struct way {
    uint8_t bytes[PIPE_BYTES];
    size_t from, to;
    bool ended; /* the source said that nothing more comes */
};

struct hole_pair {
    int fd[2];         /* the edge's side, the core's side */
    struct way way[2]; /* [0] from the edge to the core */
};

struct e2e_hole {
    int port, to_port;
    int listener[2];
    struct hole_pair *pair[PAIRS_MAX];
    _Atomic int mode;
    _Atomic uint64_t rate;
    _Atomic uint64_t bytes;
    _Atomic uint64_t turns;
    atomic_bool stop;
    int64_t budget;
    int64_t budget_at;
    pthread_t thread;
};

static struct e2e_hole *holes[HOLES_MAX];
static size_t hole_count;

static int connect_to(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
        fcntl(fd, F_SETFL, O_NONBLOCK);
        return fd;
    }
    close(fd);
    return -1;
}

static void pair_close(struct e2e_hole *h, size_t i)
{
    close(h->pair[i]->fd[0]);
    close(h->pair[i]->fd[1]);
    free(h->pair[i]);
    h->pair[i] = NULL;
}

static void hole_accept(struct e2e_hole *h, int which)
{
    int fd = accept4(h->listener[which], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int core = fd < 0 ? -1 : connect_to(h->to_port + which);

    for (size_t i = 0; fd >= 0 && core >= 0 && i < PAIRS_MAX; i++) {
        if (h->pair[i] != NULL) {
            continue;
        }
        h->pair[i] = calloc(1, sizeof *h->pair[i]);
        h->pair[i]->fd[0] = fd;
        h->pair[i]->fd[1] = core;
        return;
    }
    if (fd >= 0) {
        close(fd);
    }
    if (core >= 0) {
        close(core);
    }
}

/* Moves what it can in one direction. False when the pair is over. */
static bool way_move(struct e2e_hole *h, struct hole_pair *p, int from)
{
    struct way *w = &p->way[from];
    bool limited = atomic_load(&h->rate) > 0;

    if (w->from == w->to && !w->ended) {
        ssize_t n = recv(p->fd[from], w->bytes, sizeof w->bytes, MSG_DONTWAIT);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        }
        w->ended = n == 0;
        w->from = 0;
        w->to = n > 0 ? (size_t)n : 0;
    }
    if (w->from < w->to && (!limited || h->budget > 0)) {
        size_t len = w->to - w->from;
        ssize_t n;

        if (limited && len > (size_t)h->budget) {
            len = (size_t)h->budget;
        }
        n = send(p->fd[1 - from], w->bytes + w->from, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        }
        w->from += n > 0 ? (size_t)n : 0;
        h->budget -= n > 0 ? n : 0;
        if (from == 1 && n > 0) {
            atomic_fetch_add(&h->bytes, (uint64_t)n);
        }
    }
    return !(w->ended && w->from == w->to);
}

/* What may be sent in this turn: a twentieth of a second's worth at most is saved up. */
static void hole_budget(struct e2e_hole *h)
{
    int64_t now = e2e_now_ms(), rate = (int64_t)atomic_load(&h->rate);

    h->budget += rate * (now - h->budget_at) / 1000;
    h->budget_at = now;
    if (h->budget > rate / 20) {
        h->budget = rate / 20;
    }
}

static void hole_turn(struct e2e_hole *h)
{
    struct pollfd p[2 + 2 * PAIRS_MAX];
    nfds_t n = 0;

    if (atomic_load(&h->mode) == E2E_HOLE_SILENT) {
        e2e_sleep_ms(TURN_MS);
        return;
    }
    for (int i = 0; i < 2; i++) {
        p[n++] = (struct pollfd){.fd = h->listener[i], .events = POLLIN};
    }
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        for (int side = 0; h->pair[i] != NULL && side < 2; side++) {
            struct way *w = &h->pair[i]->way[side];

            if (w->from == w->to) {
                p[n++] = (struct pollfd){.fd = h->pair[i]->fd[side], .events = POLLIN};
            }
        }
    }
    poll(p, n, TURN_MS);
    hole_budget(h);
    for (int i = 0; i < 2; i++) {
        if (p[i].revents != 0) {
            hole_accept(h, i);
        }
    }
    /* Each turn another one is the first, or a slow link would only ever serve the first of many.
     */
    for (size_t k = 0; k < PAIRS_MAX; k++) {
        size_t i = (k + atomic_load(&h->turns)) % PAIRS_MAX;

        if (h->pair[i] != NULL && !(way_move(h, h->pair[i], 0) && way_move(h, h->pair[i], 1))) {
            pair_close(h, i);
        }
    }
}

static void *hole_run(void *arg)
{
    struct e2e_hole *h = arg;

    while (!atomic_load(&h->stop)) {
        hole_turn(h);
        atomic_fetch_add(&h->turns, 1);
    }
    return NULL;
}

struct e2e_hole *e2e_hole_new(int to_port)
{
    struct e2e_hole *h = calloc(1, sizeof *h);

    assert_non_null(h);
    assert_true(hole_count < HOLES_MAX);
    h->to_port = to_port;
    h->port = e2e_ports(2);
    h->budget_at = e2e_now_ms();
    for (int i = 0; i < 2; i++) {
        h->listener[i] = e2e_listen(h->port + i);
        assert_true(h->listener[i] >= 0);
    }
    assert_int_equal(pthread_create(&h->thread, NULL, hole_run, h), 0);
    holes[hole_count++] = h;
    return h;
}

static void hole_free(struct e2e_hole *h)
{
    atomic_store(&h->stop, true);
    pthread_join(h->thread, NULL);
    for (size_t i = 0; i < PAIRS_MAX; i++) {
        if (h->pair[i] != NULL) {
            pair_close(h, i);
        }
    }
    close(h->listener[0]);
    close(h->listener[1]);
    free(h);
}

int e2e_hole_port(const struct e2e_hole *h)
{
    return h->port;
}

void e2e_hole_set(struct e2e_hole *h, enum e2e_hole_mode mode)
{
    uint64_t turns = atomic_load(&h->turns);

    atomic_store(&h->mode, (int)mode);
    /* The turn under way may still forward: when this returns, the mode is in force. */
    while (atomic_load(&h->turns) < turns + 2) {
        e2e_sleep_ms(1);
    }
}

void e2e_hole_rate(struct e2e_hole *h, uint64_t bytes_per_second)
{
    atomic_store(&h->rate, bytes_per_second);
}

uint64_t e2e_hole_bytes(const struct e2e_hole *h)
{
    return atomic_load(&((struct e2e_hole *)(uintptr_t)h)->bytes);
}

void e2e_holes_free(void)
{
    for (size_t i = 0; i < hole_count; i++) {
        hole_free(holes[i]);
    }
    hole_count = 0;
}
