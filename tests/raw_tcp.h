/*
 * raw_tcp.h - peers of plain TCP that speak nng's framing, and do what nng itself never would.
 *
 * A connection begins with 8 bytes both ways, 00 "SP" 00 and a protocol; a message is a length of 8
 * bytes and as many bytes; a request begins with an id of 4 bytes whose top bit is set (PROTOCOL.md
 * 2.4). With that, and with FIN and RST at the wrong moment, every fault of PROTOCOL.md appendix A
 * can be set off from outside.
 *
 * Invariant: every call ends within seconds, and tells by its result whether it went well; what
 * that means is the caller's to say, for some callers are children without cmocka.
 *
 * Must not: use nng or anything of ours: it stands for a stranger's program.
 *
 * Read next: unit/transport_peers.h, e2e/test_transport_faults.c, e2e/test_transport_wedge.c.
 */
#ifndef HF_TESTS_RAW_TCP_H
#define HF_TESTS_RAW_TCP_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define SP_PUB 0x20u
#define SP_SUB 0x21u
#define SP_REQ 0x30u
#define SP_REP 0x31u
#define SP_SURVEYOR 0x62u
#define SP_RESPONDENT 0x63u

#define TCP_PATIENCE_S 2

static inline struct sockaddr_in tcp_loopback(uint8_t host, uint16_t port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

    in.sin_addr.s_addr = htonl(0x7f000000u + host);
    return in;
}

static inline int tcp_socket(void)
{
    const struct timeval patience = {TCP_PATIENCE_S, 0};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    return fd;
}

/* From this port of 127.0.0.host; 0: any. -1: refused. */
static inline int tcp_connect_between(uint8_t host, uint16_t own, uint16_t port)
{
    struct sockaddr_in from = tcp_loopback(host, own);
    struct sockaddr_in to = tcp_loopback(1, port);
    int on = 1;
    int fd = tcp_socket();

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&from, sizeof(from)) == 0 &&
        connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

/* From 127.0.0.host, so that caps on one address do not meet them all; -1: refused. */
static inline int tcp_connect_from(uint8_t host, uint16_t port)
{
    return tcp_connect_between(host, 0, port);
}

static inline int tcp_connect(uint16_t port)
{
    return tcp_connect_from(1, port);
}

/* Port 0 is filled in. -1: the port is taken. */
static inline int tcp_listen(uint16_t *port, int backlog)
{
    struct sockaddr_in in = tcp_loopback(1, *port);
    socklen_t len = sizeof(in);
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&in, sizeof(in)) != 0 || listen(fd, backlog) != 0 ||
        getsockname(fd, (struct sockaddr *)&in, &len) != 0) {
        close(fd);
        return -1;
    }
    *port = ntohs(in.sin_port);
    return fd;
}

/* Listens on P and P + 1, where a core would. */
static inline void tcp_listen_pair(int fds[2], uint16_t *port, int backlog)
{
    fds[1] = -1;
    while (fds[1] < 0) {
        uint16_t next;

        *port = 0;
        fds[0] = tcp_listen(port, backlog);
        next = (uint16_t)(*port + 1);
        fds[1] = fds[0] < 0 ? -1 : tcp_listen(&next, backlog);
        if (fds[0] >= 0 && fds[1] < 0) {
            close(fds[0]);
        }
    }
}

static inline bool tcp_send(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;

    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return false;
        }
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static inline bool tcp_receive(int fd, void *data, size_t len)
{
    return recv(fd, data, len, MSG_WAITALL) == (ssize_t)len;
}

/* Nothing says yet that the other side has ended it. */
static inline bool tcp_is_open(int fd)
{
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

    return n > 0 || (n < 0 && errno == EAGAIN);
}

static inline void tcp_reset(int fd)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(fd);
}

/* The end, then a reset: whoever writes now gets EPIPE instead of ECONNRESET, which nng takes for
 * "closed by ourselves". */
static inline void tcp_fin_and_reset(int fd)
{
    (void)shutdown(fd, SHUT_WR);
    tcp_reset(fd);
}

/* ---- nng's framing ---- */

static inline bool sp_hello(int fd, uint8_t protocol)
{
    uint8_t hello[8] = {0, 'S', 'P', 0, 0, protocol, 0, 0};

    return tcp_send(fd, hello, sizeof(hello)) && tcp_receive(fd, hello, sizeof(hello));
}

/* Bytes of a request or a reply on the wire; out has room for len + 12. */
static inline size_t sp_frame(uint8_t *out, uint32_t id, const void *message, size_t len)
{
    uint64_t total = len + 4;

    for (int i = 0; i < 8; i++) {
        out[i] = (uint8_t)(total >> (56 - 8 * i));
    }
    id |= 0x80000000u;
    for (int i = 0; i < 4; i++) {
        out[8 + i] = (uint8_t)(id >> (24 - 8 * i));
    }
    memcpy(out + 12, message, len);
    return len + 12;
}

/* Receives the message of a request or reply; 0: nothing came, or more than cap. */
static inline size_t sp_receive(int fd, uint8_t *message, size_t cap)
{
    uint8_t head[12];
    uint64_t len = 0;

    if (!tcp_receive(fd, head, sizeof(head))) {
        return 0;
    }
    for (int i = 0; i < 8; i++) {
        len = len << 8 | head[i];
    }
    if (len < 5 || len - 4 > cap || !tcp_receive(fd, message, (size_t)len - 4)) {
        return 0;
    }
    return (size_t)len - 4;
}

/* ---- what sets off faults C and D ---- */

/* Shakes hands, sends so many frames without a pause, and leaves. Whoever reads them finds out only
 * when it sends; its nng then closes a pipe on which bytes still arrive. */
static inline bool sp_flood_and_reset(int fd, uint8_t protocol, const uint8_t *frame, size_t len,
                                      int frames)
{
    static uint8_t block[1u << 16];
    size_t in_block = sizeof(block) / len;
    bool good;

    for (size_t i = 0; i < in_block; i++) {
        memcpy(block + i * len, frame, len);
    }
    good = sp_hello(fd, protocol);
    for (int sent = 0; good && sent < frames; sent += (int)in_block) {
        size_t rest = (size_t)(frames - sent);
        good = tcp_send(fd, block, (rest < in_block ? rest : in_block) * len);
    }
    usleep(2000);
    tcp_reset(fd);
    return good;
}

#endif
