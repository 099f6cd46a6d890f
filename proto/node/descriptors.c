/*
 * descriptors.c - asks the kernel about this process's own TCP sockets, tunes its listeners, and
 * ends connections of strangers.
 *
 * nng says neither when the last byte arrived on a pipe nor which descriptors it has leaked; the
 * kernel knows both. The questions walk /proc/self/fd and read TCP_INFO, about 1 us a descriptor.
 *
 * Why not only count callbacks: a message of 64 KiB takes eight seconds at 64 kbit/s, and no
 * callback comes before its last byte; messages that match no subscription never come to us at all.
 * Closing a pipe in the middle of either is exactly fault C. Why not count all descriptors against
 * the live pipes: the daemon has clients of its own, which come and go. A socket that nng leaked
 * differs from every other by being shut down, and still open.
 *
 * nng has no options for what a connection over a bad link needs at the core, but accepted sockets
 * inherit the settings of the one that listens, and that one stays open while we look at it:
 *   TCP_USER_TIMEOUT and keepalive. An edge that was cut off dials anew; what it left behind at the
 *     core would live for the kernel's 15 minutes, under the caps. Now it is gone after 30 s.
 *   SO_SNDBUF of replies. A reply of 64 KiB does not fit the 46 KiB that a connection begins with,
 *     so its context waited for the first round trips of a slow link, and HELLO and REPORT for a
 *     context. Two replies, as many as an edge has in flight, fit now: sending does not wait.
 *   The backlog. 200 edges that return together dial 400 connections within a few milliseconds, and
 *     a SYN that meets a full backlog of 128 is sent again a second later.
 *
 * nng's own way to close a connection from outside can wedge it (fault C). What it survives is a
 * peer that says it will send no more, and shutting down the receiving half of the socket looks to
 * it just like that.
 *
 * Must not: change any other socket. Another thread may close a descriptor while we look; the
 * number then answers for somebody else's socket or for none, which is harmless when only reading.
 * What is to be shut down is therefore held by a descriptor of our own, and looked at once more.
 *
 * Read next: link.c (is_quiet), listener.c (side_listen, on_tick).
 */
#include "proto/node/transport_impl.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define GONE_MS 30000
#define KEEPALIVE_IDLE_S 15
#define KEEPALIVE_PAUSE_S 5
/* The kernel doubles it, and counts its own overhead. */
#define REPLY_BUFFER_BYTES (128 * 1024)
#define BACKLOG 1024
/* More than the kernel keeps of what a peer has sent. */
#define UNREAD_MAX (256u << 20)

struct query {
    const struct hf_connection *list; /* in the order of by_peer */
    uint32_t list_count;
    const uint16_t *ports;
    bool others;
    uint32_t age_ms;
    uint32_t ended;
    uint32_t dead;
    struct hf_dead *which;
    uint16_t local_port;
    uint16_t remote_port;
    struct hf_connection_state state;
    bool replies;
};

/* getsockname or getpeername; all zeros: there is none. */
static struct hf_endpoint end_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage a = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(a);

    (void)name(fd, (struct sockaddr *)&a, &len);
    return hf_endpoint_of_kernel(&a);
}

/* 0: there is none. */
static uint16_t port_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    return end_of(fd, name).port;
}

/* We or nng shut it down, and it is not closed: no live connection is ever in one of these states.
 */
static bool is_shut_down(const struct tcp_info *info)
{
    switch (info->tcpi_state) {
    case TCP_CLOSE:
    case TCP_FIN_WAIT1:
    case TCP_FIN_WAIT2:
    case TCP_CLOSING:
    case TCP_LAST_ACK:
        return true;
    default:
        return false;
    }
}

static void count_dead(int fd, const struct tcp_info *info, struct query *q)
{
    struct stat st;

    if (is_shut_down(info) && fstat(fd, &st) == 0) {
        size_t bit = (size_t)st.st_ino % (8 * sizeof(q->which->bits));
        q->which->bits[bit / 64] |= 1ull << (bit % 64);
        q->dead++;
    }
}

static void find_dead(int fd, const struct tcp_info *info, struct query *q)
{
    q->dead += is_shut_down(info) && port_of(fd, getsockname) == q->local_port ? 1u : 0u;
}

/* An acknowledgement counts as well: it lets a partial send go on, and that must not race a close.
 */
static void find_state(int fd, const struct tcp_info *info, struct query *q)
{
    uint32_t data = info->tcpi_last_data_recv;
    uint32_t ack = info->tcpi_last_ack_recv;

    if (port_of(fd, getsockname) == q->local_port && port_of(fd, getpeername) == q->remote_port) {
        q->state.found = true;
        q->state.quiet_ms = data < ack ? data : ack;
        q->state.rtt_us = info->tcpi_rtt;
    }
}

static void each_tcp_socket(void (*visit)(int, const struct tcp_info *, struct query *),
                            struct query *q)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    if (dir == NULL) {
        return;
    }
    while ((entry = readdir(dir)) != NULL) {
        struct tcp_info info;
        socklen_t len = sizeof(info);
        char *end = NULL;
        long fd = strtol(entry->d_name, &end, 10);

        if (end == entry->d_name) {
            continue;
        }
        memset(&info, 0, sizeof(info));
        if (getsockopt((int)fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0) {
            visit((int)fd, &info, q);
        }
    }
    (void)closedir(dir);
}

uint32_t hf_descriptors_dead(struct hf_dead *d)
{
    struct query q = {.which = d};

    memset(d, 0, sizeof(*d));
    each_tcp_socket(count_dead, &q);
    return q.dead;
}

uint32_t hf_descriptors_still(struct hf_dead *d, const struct hf_dead *now)
{
    uint32_t n = 0;

    for (size_t i = 0; i < sizeof(d->bits) / sizeof(d->bits[0]); i++) {
        d->bits[i] &= now->bits[i];
        n += (uint32_t)__builtin_popcountll(d->bits[i]);
    }
    return n;
}

bool hf_descriptors_is_dead(uint16_t local_port)
{
    struct query q = {.local_port = local_port};

    each_tcp_socket(find_dead, &q);
    return q.dead > 0;
}

struct hf_connection_state hf_descriptors_look(uint16_t local_port, uint16_t remote_port)
{
    struct query q = {.local_port = local_port, .remote_port = remote_port};

    each_tcp_socket(find_state, &q);
    return q.state;
}

/* ---- connections that are to end ---- */

static int by_peer(const void *a, const void *b)
{
    const struct hf_connection *x = a;
    const struct hf_connection *y = b;
    int order = memcmp(&x->peer, &y->peer, sizeof(x->peer));

    return order != 0 ? order : (int)x->channel - (int)y->channel;
}

/* *again: it was to end before. */
static bool is_to_end(int fd, const struct query *q, bool *again)
{
    struct hf_connection c = {.peer = end_of(fd, getpeername)};
    uint16_t local = port_of(fd, getsockname);
    const struct hf_connection *listed;

    c.channel = local == q->ports[HF_CHANNEL_STREAM] ? HF_CHANNEL_STREAM : HF_CHANNEL_CONTROL;
    if (c.peer.family == 0 || local != q->ports[c.channel]) {
        return false;
    }
    listed = bsearch(&c, q->list, q->list_count, sizeof(c), by_peer);
    *again = listed != NULL && listed->again;
    return (listed == NULL) == q->others;
}

static void end_connection(int fd, const struct tcp_info *info, struct query *q)
{
    bool again;
    int held;

    if (info->tcpi_state != TCP_ESTABLISHED && info->tcpi_state != TCP_CLOSE_WAIT) {
        return;
    }
    if ((q->others && info->tcpi_last_data_sent < q->age_ms) || !is_to_end(fd, q, &again)) {
        return;
    }
    held = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (held >= 0 && is_to_end(held, q, &again)) {
        (void)shutdown(held, again ? SHUT_RDWR : SHUT_RD);
        (void)recv(held, NULL, UNREAD_MAX, MSG_TRUNC | MSG_DONTWAIT);
        q->ended++;
    }
    if (held >= 0) {
        (void)close(held);
    }
}

static uint32_t end_all(struct query *q, struct hf_connection *list)
{
    qsort(list, q->list_count, sizeof(*list), by_peer);
    q->list = list;
    each_tcp_socket(end_connection, q);
    return q->ended;
}

void hf_descriptors_end(struct hf_connection *list, uint32_t count,
                        const uint16_t ports[HF_CHANNELS])
{
    struct query q = {.list_count = count, .ports = ports};

    (void)end_all(&q, list);
}

uint32_t hf_descriptors_end_others(struct hf_connection *list, uint32_t count,
                                   const uint16_t ports[HF_CHANNELS], uint32_t age_ms)
{
    struct query q = {.list_count = count, .ports = ports, .others = true, .age_ms = age_ms};

    return end_all(&q, list);
}

/* ---- our listeners ---- */

struct tuning {
    int option;
    int level;
    int value;
};

static void set_all(int fd, bool replies)
{
    static const struct tuning tunings[] = {
        {TCP_USER_TIMEOUT, IPPROTO_TCP, GONE_MS},
        {TCP_KEEPIDLE, IPPROTO_TCP, KEEPALIVE_IDLE_S},
        {TCP_KEEPINTVL, IPPROTO_TCP, KEEPALIVE_PAUSE_S},
        {SO_SNDBUF, SOL_SOCKET, REPLY_BUFFER_BYTES},
    };
    size_t count = sizeof(tunings) / sizeof(tunings[0]) - (replies ? 0 : 1u);

    for (size_t i = 0; i < count; i++) {
        const struct tuning *t = &tunings[i];
        /* A kernel that knows one of them not is only a little slower to notice. */
        (void)setsockopt(fd, t->level, t->option, &t->value, sizeof(t->value));
    }
    (void)listen(fd, BACKLOG);
}

static void tune(int fd, const struct tcp_info *info, struct query *q)
{
    if (info->tcpi_state == TCP_LISTEN && port_of(fd, getsockname) == q->local_port) {
        q->state.found = true;
        set_all(fd, q->replies);
    }
}

bool hf_descriptors_tune(uint16_t port, bool replies)
{
    struct query q = {.local_port = port, .replies = replies};

    each_tcp_socket(tune, &q);
    return q.state.found;
}
