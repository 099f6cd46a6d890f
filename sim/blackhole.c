/*
 * blackhole.c - a TCP forwarder on loopback whose link can be cut without anybody being told.
 *
 * usage: holdfast-blackhole LISTEN_PORT TARGET_PORT [LISTEN_PORT TARGET_PORT]...
 *
 * A first LISTEN_PORT of 0 picks free ports, each pair's one above that of the pair before, which
 * is what a core's stream and control ports need. SIGUSR1 cuts, SIGUSR2 heals, SIGHUP only counts;
 * each prints one line with the bytes forwarded so far in both directions. SIGTERM ends it.
 *
 * Invariant: between a cut and its heal not one byte, accept, end or reset passes, in either
 * direction. What was written meanwhile waits in socket buffers and passes afterwards, as a
 * retransmission would; a connection that one side gave up ends at the other only then. A new
 * connection is taken by the kernel's backlog and hears nothing: the nearest that a process without
 * privileges comes to a dropped SYN, and harder on a dialer, for it believes to be connected.
 *
 * It must not look into the bytes, nor add delay or loss: the simulator (sim/faults.c) does that
 * for the daemons' own objects, sim/wan for real ones. Next: deploy/demo.sh, which uses it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAIRS_MAX 4u
/* An edge has three connections; redials during a cut pile up in the backlog and pass at the heal.
 */
#define LINKS_MAX 64u
#define FLOW_BYTES 32768u
/* More would let a core queue much behind a cut; fewer would refuse redials, which is no silence.
 */
#define BACKLOG 32
#define PORT_TRIES 50

struct pair {
    uint16_t listen_port, target_port;
    int fd;
};

/* One direction of a connection. */
struct flow {
    size_t begin, end; /* bytes read and not yet written */
    bool ended;        /* the source has no more, and the sink was told */
    uint8_t byte[FLOW_BYTES];
};

struct link {
    int client, target; /* -1 = free */
    struct flow up, down;
};

struct proxy {
    struct pair pair[PAIRS_MAX];
    unsigned pairs;
    struct link link[LINKS_MAX];
    bool cut;
    uint64_t up_bytes, down_bytes;
};

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "holdfast-blackhole: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- connections ---- */

static void link_close(struct link *l)
{
    close(l->client);
    close(l->target);
    l->client = l->target = -1;
}

static struct link *link_free(struct proxy *p)
{
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        if (p->link[i].client < 0) {
            return &p->link[i];
        }
    }
    return NULL;
}

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

/* Not waited for: a connect under way is not readable, and what is written to it says EAGAIN. */
static int dial(uint16_t port)
{
    struct sockaddr_in to = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

static void link_open(struct proxy *p, const struct pair *pair)
{
    const int on = 1;
    struct link *l = link_free(p);
    int client = accept4(pair->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int target = client < 0 ? -1 : dial(pair->target_port);
    if (target < 0 || l == NULL) {
        close(client);
        close(target);
        return;
    }
    /* A forwarder that gathers small writes would add to the latency that is measured across it. */
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    setsockopt(target, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    l->client = client;
    l->target = target;
    l->up.begin = l->up.end = l->down.begin = l->down.end = 0;
    l->up.ended = l->down.ended = false;
}

/* Moves what can be moved now. False when the connection is broken. */
static bool flow_move(struct flow *f, int from, int to, uint64_t *counter)
{
    if (f->begin == f->end && !f->ended) {
        ssize_t n = recv(from, f->byte, FLOW_BYTES, 0);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        f->begin = 0;
        f->end = (size_t)n;
        if (n == 0) {
            f->ended = true;
            return shutdown(to, SHUT_WR) == 0;
        }
    }
    while (f->begin < f->end) {
        ssize_t n = send(to, f->byte + f->begin, f->end - f->begin, MSG_NOSIGNAL);
        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        f->begin += (size_t)n;
        *counter += (uint64_t)n;
    }
    return true;
}

static void link_move(struct proxy *p, struct link *l)
{
    bool good = flow_move(&l->up, l->client, l->target, &p->up_bytes) &&
                flow_move(&l->down, l->target, l->client, &p->down_bytes);
    if (!good || (l->up.ended && l->down.ended)) {
        link_close(l);
    }
}

/* ---- signals ---- */

static void report(const struct proxy *p, const char *word)
{
    unsigned open = 0;
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        open += p->link[i].client >= 0;
    }
    printf("%s up=%" PRIu64 " down=%" PRIu64 " connections=%u\n", word, p->up_bytes, p->down_bytes,
           open);
}

/* False when it was told to end. */
static bool obey(struct proxy *p, int signals)
{
    struct signalfd_siginfo s;
    if (read(signals, &s, sizeof(s)) != (ssize_t)sizeof(s)) {
        return true;
    }
    switch (s.ssi_signo) {
    case SIGUSR1:
        p->cut = true;
        report(p, "cut");
        return true;
    case SIGUSR2:
        p->cut = false;
        report(p, "heal");
        return true;
    case SIGHUP:
        report(p, "count");
        return true;
    default:
        report(p, "end");
        return false;
    }
}

static int open_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_CLOEXEC);
    if (fd < 0) {
        die("signalfd");
    }
    return fd;
}

/* ---- the loop ---- */

/* What one end waits for: to be read from when its own flow is empty, to be written to when the
 * other flow holds bytes. An end that waits for nothing is left out, or its hang-up would spin. */
static struct pollfd watch(int fd, const struct flow *out, const struct flow *in)
{
    bool read = out->begin == out->end && !out->ended;
    bool write = in->begin < in->end;
    short events = (short)((read ? POLLIN : 0) | (write ? POLLOUT : 0));
    return (struct pollfd){.fd = events == 0 ? -1 : fd, .events = events};
}

/* slot 0 = signals, then the listeners, then two for each link. poll skips fd -1. */
static nfds_t gather(struct proxy *p, int signals, struct pollfd *slot)
{
    nfds_t n = 0;
    bool room = link_free(p) != NULL;
    slot[n++] = (struct pollfd){.fd = signals, .events = POLLIN};
    for (unsigned i = 0; i < p->pairs; i++) {
        slot[n++] = (struct pollfd){.fd = p->cut || !room ? -1 : p->pair[i].fd, .events = POLLIN};
    }
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        struct link *l = &p->link[i];
        slot[n++] = watch(p->cut ? -1 : l->client, &l->up, &l->down);
        slot[n++] = watch(p->cut ? -1 : l->target, &l->down, &l->up);
    }
    return n;
}

static void run(struct proxy *p, int signals)
{
    static struct pollfd slot[1 + PAIRS_MAX + 2 * LINKS_MAX];
    for (;;) {
        nfds_t n = gather(p, signals, slot);
        if (poll(slot, n, -1) < 0 && errno != EINTR) {
            die("poll");
        }
        /* A signal comes first, and the rest is asked again: after a cut nothing may pass. */
        if (slot[0].revents != 0) {
            if (!obey(p, signals)) {
                return;
            }
            continue;
        }
        const struct pollfd *ends = slot + 1 + p->pairs;
        for (unsigned i = 0; i < LINKS_MAX; i++) {
            if (ends[2 * i].revents != 0 || ends[2 * i + 1].revents != 0) {
                link_move(p, &p->link[i]);
            }
        }
        for (unsigned i = 0; i < p->pairs; i++) {
            if (slot[1 + i].revents != 0) {
                link_open(p, &p->pair[i]);
            }
        }
    }
}

/* ---- start ---- */

static int try_listen(uint16_t *port)
{
    const int on = 1;
    struct sockaddr_in at = loopback(*port);
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        die("socket");
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(at.sin_port);
    return fd;
}

/* All pairs or none: the port above a free one may be taken. */
static bool listen_all(struct proxy *p)
{
    for (unsigned i = 0; i < p->pairs; i++) {
        uint16_t port = p->pair[i].listen_port;
        if (port == 0 && i > 0) {
            port = (uint16_t)(p->pair[i - 1].listen_port + 1);
        }
        p->pair[i].fd = try_listen(&port);
        if (p->pair[i].fd < 0) {
            while (i > 0) {
                close(p->pair[--i].fd);
            }
            return false;
        }
        p->pair[i].listen_port = port;
    }
    return true;
}

static void open_all(struct proxy *p)
{
    struct pair want[PAIRS_MAX];
    int tries = p->pair[0].listen_port == 0 ? PORT_TRIES : 1;
    memcpy(want, p->pair, sizeof(want));
    while (!listen_all(p)) {
        if (--tries == 0) {
            die("cannot listen");
        }
        memcpy(p->pair, want, sizeof(want));
    }
}

static uint16_t port_of(const char *text, bool may_be_zero)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);
    if (*text == '\0' || *end != '\0' || n > UINT16_MAX || (n == 0 && !may_be_zero)) {
        fprintf(stderr, "holdfast-blackhole: '%s' is not a port\n", text);
        exit(2);
    }
    return (uint16_t)n;
}

int main(int argc, char **argv)
{
    static struct proxy p;
    if (argc < 3 || argc % 2 == 0 || argc > 1 + 2 * (int)PAIRS_MAX) {
        fputs("usage: holdfast-blackhole LISTEN_PORT TARGET_PORT [LISTEN_PORT TARGET_PORT]...\n"
              "SIGUSR1 cuts the link without a word, SIGUSR2 heals it, SIGHUP counts bytes\n",
              stderr);
        return 2;
    }
    for (int i = 1; i < argc; i += 2) {
        struct pair *pair = &p.pair[p.pairs++];
        pair->listen_port = port_of(argv[i], true);
        pair->target_port = port_of(argv[i + 1], false);
    }
    for (unsigned i = 0; i < LINKS_MAX; i++) {
        p.link[i].client = p.link[i].target = -1;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    int signals = open_signals();
    open_all(&p);
    for (unsigned i = 0; i < p.pairs; i++) {
        printf("listen %u -> %u\n", p.pair[i].listen_port, p.pair[i].target_port);
    }
    puts("ready");
    run(&p, signals);
    return 0;
}
