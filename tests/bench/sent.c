/*
 * sent.c - see sent.h. Two netlink sockets, made in the node's namespace by a thread that enters
 * it: a namespace is a thread's own, and the sockets keep theirs when it has ended.
 *
 * Invariant: no socket counts twice. Events are read before those that live are asked for, so a
 * socket that ends in between is missing in this total and is in the next.
 */
#include "tests/bench/sent.h"

#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The kernel's RTA_NEXT and NLMSG_NEXT cast; what they step over is aligned. */
#pragma GCC diagnostic ignored "-Wcast-align"

#define BUFFER_BYTES (64u << 10)
#define EVENTS_BYTES (8 << 20) /* tens of thousands of connections between two readings */

struct hf_sent {
    int netns;
    int events, ask; /* -1 = not open */
    struct hf_sent_bytes gone;
    uint32_t serial;
    char buffer[BUFFER_BYTES];
};

static int netlink_open(unsigned groups)
{
    struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = groups};
    struct timeval patience = {5, 0};
    const int size = EVENTS_BYTES;
    int s = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
    if (s < 0) {
        return -1;
    }
    if (setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0) {
        (void)setsockopt(s, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
    (void)setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (bind(s, (struct sockaddr *)&a, sizeof(a)) != 0) {
        close(s);
        return -1;
    }
    return s;
}

static void *open_inside(void *arg)
{
    struct hf_sent *s = arg;
    if (setns(s->netns, CLONE_NEWNET) == 0) {
        s->events = netlink_open((1u << (SKNLGRP_INET_TCP_DESTROY - 1)) |
                                 (1u << (SKNLGRP_INET6_TCP_DESTROY - 1)));
        s->ask = netlink_open(0);
    }
    return NULL;
}

struct hf_sent *hf_sent_new(int netns)
{
    struct hf_sent *s = calloc(1, sizeof(*s));
    pthread_t thread;
    if (s == NULL) {
        return NULL;
    }
    s->netns = netns;
    s->events = s->ask = -1;
    if (pthread_create(&thread, NULL, open_inside, s) == 0) {
        (void)pthread_join(thread, NULL);
    }
    if (s->events < 0 || s->ask < 0) {
        hf_sent_free(s);
        return NULL;
    }
    return s;
}

void hf_sent_free(struct hf_sent *s)
{
    if (s == NULL) {
        return;
    }
    if (s->events >= 0) {
        close(s->events);
    }
    if (s->ask >= 0) {
        close(s->ask);
    }
    free(s);
}

/* Adds the figures of one socket; a kernel that is older than a field sends a shorter struct. */
static void add_socket(const struct nlmsghdr *h, struct hf_sent_bytes *to)
{
    const struct inet_diag_msg *m = NLMSG_DATA(h);
    size_t left = h->nlmsg_len - NLMSG_LENGTH(sizeof(*m));
    const struct rtattr *a = (const struct rtattr *)(const void *)(m + 1);
    for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
        struct tcp_info info = {0};
        size_t len = RTA_PAYLOAD(a);
        if (a->rta_type == INET_DIAG_INFO) {
            memcpy(&info, RTA_DATA(a), len < sizeof(info) ? len : sizeof(info));
            to->once += info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
            to->again += info.tcpi_bytes_retrans;
            to->waiting += info.tcpi_notsent_bytes;
        }
    }
}

enum { MORE, DONE, EMPTY, LOST };

/* One datagram of messages about sockets. */
static int take(struct hf_sent *s, int fd, int flags, struct hf_sent_bytes *to)
{
    ssize_t n = recv(fd, s->buffer, sizeof(s->buffer), flags);
    if (n < 0) {
        return errno == EAGAIN && (flags & MSG_DONTWAIT) != 0 ? EMPTY : LOST;
    }
    size_t left = (size_t)n;
    struct nlmsghdr *h = (struct nlmsghdr *)(void *)s->buffer;
    for (; NLMSG_OK(h, left); h = NLMSG_NEXT(h, left)) {
        if (h->nlmsg_type == NLMSG_DONE) {
            return DONE;
        }
        if (h->nlmsg_type == NLMSG_ERROR) {
            return LOST;
        }
        add_socket(h, to);
        to->ended++;
    }
    return MORE;
}

static bool dump(struct hf_sent *s, struct hf_sent_bytes *out)
{
    struct {
        struct nlmsghdr h;
        struct inet_diag_req_v2 q;
    } ask = {.h = {.nlmsg_len = sizeof(ask),
                   .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                   .nlmsg_seq = ++s->serial},
             .q = {.sdiag_family = AF_INET,
                   .sdiag_protocol = IPPROTO_TCP,
                   .idiag_ext = 1u << (INET_DIAG_INFO - 1),
                   .idiag_states = UINT32_MAX}};
    int got = MORE;
    if (send(s->ask, &ask, sizeof(ask), 0) != (ssize_t)sizeof(ask)) {
        return false;
    }
    while (got == MORE) {
        got = take(s, s->ask, 0, out);
    }
    return got == DONE;
}

bool hf_sent_read(struct hf_sent *s, struct hf_sent_bytes *out)
{
    struct hf_sent_bytes live = {0};
    int got = MORE;
    while (got == MORE) {
        got = take(s, s->events, MSG_DONTWAIT, &s->gone);
    }
    if (got != EMPTY || !dump(s, &live)) {
        return false;
    }
    *out = (struct hf_sent_bytes){s->gone.once + live.once, s->gone.again + live.again,
                                  s->gone.waiting + live.waiting, s->gone.ended};
    return true;
}
