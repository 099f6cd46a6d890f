/*
 * descriptors.c - asks the kernel about this process's own TCP sockets.
 *
 * nng says neither when the last byte arrived on a pipe, nor which descriptors it has leaked, nor
 * whether a dialer is still trying; the kernel knows all three. The questions walk /proc/self/fd
 * and read TCP_INFO, about 1 us a descriptor.
 *
 * Why not only count callbacks: a message of 64 KiB takes eight seconds at 64 kbit/s, and no
 * callback comes before its last byte; messages that match no subscription never come to us at all.
 * Closing a pipe in the middle of either is exactly fault C. Why not count all descriptors against
 * the live pipes: the daemon has clients of its own, which come and go. A socket that nng leaked
 * differs from every other by being shut down, and still open.
 *
 * Must not: change anything. Another thread may close a descriptor while we look; the number then
 * answers for somebody else's socket or for none, which is harmless when only reading.
 *
 * Read next: dialer.c (link_quiet, link_recover), listener.c (on_tick).
 */
#include "proto/node/transport_impl.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>

struct query {
    uint32_t dead;
    uint32_t dialled;
    uint16_t local_port;
    uint16_t remote_port;
    int64_t quiet_ms;
};

static uint16_t port_in(const struct sockaddr_storage *a)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;

    switch (a->ss_family) {
    case AF_INET:
        memcpy(&in, a, sizeof(in));
        return ntohs(in.sin_port);
    case AF_INET6:
        memcpy(&in6, a, sizeof(in6));
        return ntohs(in6.sin6_port);
    default:
        return 0;
    }
}

/* 0: there is none. */
static uint16_t port_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_storage a;
    socklen_t len = sizeof(a);

    return name(fd, (struct sockaddr *)&a, &len) == 0 ? port_in(&a) : 0;
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
    (void)fd;
    q->dead += is_shut_down(info) ? 1u : 0u;
}

static void find_dead(int fd, const struct tcp_info *info, struct query *q)
{
    q->dead += is_shut_down(info) && port_of(fd, getsockname) == q->local_port ? 1u : 0u;
}

static void count_dialled(int fd, const struct tcp_info *info, struct query *q)
{
    bool there = info->tcpi_state == TCP_ESTABLISHED && port_of(fd, getpeername) == q->remote_port;

    q->dialled += there || info->tcpi_state == TCP_SYN_SENT ? 1u : 0u;
}

/* An acknowledgement counts as well: it lets a partial send go on, and that must not race a close.
 */
static void find_quiet(int fd, const struct tcp_info *info, struct query *q)
{
    uint32_t data = info->tcpi_last_data_recv;
    uint32_t ack = info->tcpi_last_ack_recv;

    if (port_of(fd, getsockname) == q->local_port && port_of(fd, getpeername) == q->remote_port) {
        q->quiet_ms = data < ack ? data : ack;
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

uint32_t hf_descriptors_dead(void)
{
    struct query q = {0};

    each_tcp_socket(count_dead, &q);
    return q.dead;
}

bool hf_descriptors_is_dead(uint16_t local_port)
{
    struct query q = {.local_port = local_port};

    each_tcp_socket(find_dead, &q);
    return q.dead > 0;
}

uint32_t hf_descriptors_dialled(uint16_t remote_port)
{
    struct query q = {.remote_port = remote_port};

    each_tcp_socket(count_dialled, &q);
    return q.dialled;
}

int64_t hf_descriptors_quiet_ms(uint16_t local_port, uint16_t remote_port)
{
    struct query q = {.local_port = local_port, .remote_port = remote_port, .quiet_ms = -1};

    each_tcp_socket(find_quiet, &q);
    return q.quiet_ms;
}
