/*
 * tcp.c - how long answers of some sizes take over one TCP connection, the kernel's and
 * sim/tcp.h's.
 *
 *   tcp serve                               answers connections to port 7499, until it is killed
 *   tcp fetch ADDRESS RUNS PEERS ROUNDS SIZE...   asks it
 *   tcp virtual RTT_MS RATE_MBIT LOSS_PERCENT RUNS PEERS ROUNDS SIZE...
 *
 * Each run makes PEERS connections at once for each size, and each asks ROUNDS times for that many
 * bytes, one answer after the other. A line on stdout is one answer: size, round (from 1), seconds
 * from the request to its last byte. Losses of the virtual line differ from run to run, and are the
 * same each time. It must not judge: tcp.sh does.
 */
#include "sim/tcp.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PORT 7499
#define MESSAGE 65536u /* as large as holdfast's get */

static int usage(void)
{
    (void)fprintf(stderr, "usage: tcp serve | tcp fetch ADDRESS RUNS PEERS ROUNDS SIZE...\n"
                          "       tcp virtual RTT_MS RATE_MBIT LOSS_PERCENT RUNS PEERS ROUNDS "
                          "SIZE...\n");
    return 2;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void print(size_t size, int round, double seconds)
{
    printf("%zu %d %.4f\n", size, round, seconds);
}

/* ---- the kernel's ---- */

static int without_delay(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static bool read_all(int fd, void *to, size_t len)
{
    for (size_t got = 0; got < len;) {
        ssize_t n = read(fd, (char *)to + got, len - got);
        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
    }
    return true;
}

static void answer(int fd)
{
    static const char bytes[MESSAGE];
    uint32_t size;
    while (read_all(fd, &size, sizeof(size))) {
        for (size_t left = size; left > 0;) {
            ssize_t n = write(fd, bytes, left < MESSAGE ? left : MESSAGE);
            if (n <= 0) {
                return;
            }
            left -= (size_t)n;
        }
    }
}

static int serve(void)
{
    (void)signal(SIGCHLD, SIG_IGN);
    const int on = 1;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&any, sizeof(any)) != 0 || listen(fd, 128) != 0) {
        die("tcp serve");
    }
    printf("ready\n");
    (void)fflush(stdout);
    for (;;) {
        int peer = accept(fd, NULL, NULL);
        if (peer >= 0 && fork() == 0) {
            answer(without_delay(peer));
            _exit(0);
        }
        (void)close(peer);
    }
}

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fetch(const struct sockaddr_in *peer, int rounds, uint32_t size)
{
    static char buffer[MESSAGE];
    int fd = without_delay(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(fd, (const struct sockaddr *)peer, sizeof(*peer)) != 0) {
        die("connect");
    }
    for (int round = 1; round <= rounds; round++) {
        double from = now_s();
        if (write(fd, &size, sizeof(size)) != sizeof(size)) {
            die("ask");
        }
        for (size_t left = size; left > 0;) {
            ssize_t n = read(fd, buffer, left < MESSAGE ? left : MESSAGE);
            if (n <= 0) {
                die("answer");
            }
            left -= (size_t)n;
        }
        print(size, round, now_s() - from);
    }
    (void)close(fd);
    (void)fflush(stdout);
}

static void fetch_at_once(const struct sockaddr_in *peer, int peers, int rounds, uint32_t size)
{
    for (int i = 0; i < peers; i++) {
        pid_t child = fork();
        if (child < 0) {
            die("fork");
        }
        if (child == 0) {
            fetch(peer, rounds, size);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {
    }
}

/* ---- the virtual one ---- */

struct line {
    struct link_profile profile;
    struct hop down, up;
};

struct peer {
    struct tcp tcp;
    sim_us asked, due;
    int round; /* answers that are complete */
};

static void ask(struct peer *p, const struct line *l, sim_us now, size_t size)
{
    static const char bytes[MESSAGE];
    p->asked = now;
    p->due = now + l->profile.delay; /* the request arrives */
    for (size_t left = size; left > 0;) {
        size_t n = left < MESSAGE ? left : MESSAGE;
        tcp_write(&p->tcp, packet_new(bytes, n), 0, 0);
        left -= n;
    }
}

/* Does what is due, to the end of an answer at most. */
static void receive(struct peer *p, struct line *l, int rounds, size_t size)
{
    struct tcp_path path = {.hop = &l->down, .back = &l->up, .profile = &l->profile};
    struct packet *packet;
    uint64_t tag;
    sim_us now = p->due;
    p->due = tcp_step(&p->tcp, &path, now);
    while (tcp_take(&p->tcp, &packet, &tag)) {
        packet_unref(packet);
    }
    if (p->tcp.first == NULL) {
        print(size, ++p->round, (double)(now - p->asked) / (double)SIM_S);
        p->due = SIM_NEVER;
        if (p->round < rounds) {
            ask(p, l, now, size);
        }
    }
}

static void fetch_virtually(const struct link_profile *profile, int run, int peers, int rounds,
                            size_t size)
{
    struct line l = {.profile = *profile};
    struct peer *all = calloc((size_t)peers, sizeof(*all));
    if (all == NULL) {
        die("tcp virtual");
    }
    hop_init(&l.down, (uint64_t)run, size);
    hop_init(&l.up, (uint64_t)run, size + 1);
    for (int i = 0; i < peers; i++) {
        tcp_open(&all[i].tcp, 0, 2 * l.profile.delay);
        ask(&all[i], &l, 0, size);
    }
    for (;;) {
        struct peer *next = &all[0];
        for (int i = 1; i < peers; i++) {
            next = all[i].due < next->due ? &all[i] : next;
        }
        if (next->due == SIM_NEVER) {
            break;
        }
        receive(next, &l, rounds, size);
    }
    for (int i = 0; i < peers; i++) {
        tcp_free(&all[i].tcp);
    }
    free(all);
}

int main(int argc, char **argv)
{
    struct link_profile profile = {0};
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    bool virtually = argc > 8 && strcmp(argv[1], "virtual") == 0;
    if (argc == 2 && strcmp(argv[1], "serve") == 0) {
        return serve();
    }
    if (virtually) {
        profile.delay = (sim_us)(atof(argv[2]) * 500);
        profile.rate_bps = (uint64_t)(atof(argv[3]) * 1e6);
        profile.loss = atof(argv[4]) / 100;
    } else if (argc < 7 || strcmp(argv[1], "fetch") != 0 ||
               inet_pton(AF_INET, argv[2], &peer.sin_addr) != 1) {
        return usage();
    }
    int at = virtually ? 5 : 3;
    int runs = atoi(argv[at]);
    int peers = atoi(argv[at + 1]);
    int rounds = atoi(argv[at + 2]);
    for (int run = 1; run <= runs; run++) {
        for (int i = at + 3; i < argc; i++) {
            size_t size = strtoul(argv[i], NULL, 10);
            if (virtually) {
                fetch_virtually(&profile, run, peers, rounds, size);
            } else {
                fetch_at_once(&peer, peers, rounds, (uint32_t)size);
            }
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
