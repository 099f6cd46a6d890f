/*
 * probe.h - datagrams between the nodes of an emulated network, each with the time it was sent:
 * what a test of the emulator measures with.
 *
 * The program that includes it runs under `holdfast-sim link`, whose control socket
 * $HF_WAN_CONTROL names. A failure is one of the test. Next: sim/wan/control.h.
 */
#ifndef HF_TESTS_E2E_PROBE_H
#define HF_TESTS_E2E_PROBE_H

#include "sim/wan/control.h"
#include "tests/standstill.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PORT 5000

static inline void sleep_us(int64_t us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

/* ---- the emulator ---- */

static inline void ask(const char *line)
{
    struct hf_error e;
    if (hf_wan_ask(getenv("HF_WAN_CONTROL"), line, NULL, NULL, &e) != HF_OK) {
        fail_msg("%s: %s", line, e.text);
    }
}

/* A counter of edge 1, by its column in the header of stats. */
static inline uint64_t counter(const char *way, const char *name)
{
    char *text = NULL;
    size_t len = 0;
    struct hf_error e;
    FILE *f = open_memstream(&text, &len);
    assert_int_equal(hf_wan_ask(getenv("HF_WAN_CONTROL"), "stats 1", f, NULL, &e), HF_OK);
    fclose(f);
    char *rest = NULL;
    char *head = strtok_r(text, "\n", &rest);
    char *line;
    while ((line = strtok_r(NULL, "\n", &rest)) != NULL) {
        char *column = head;
        char *value = line;
        if (strncmp(strchr(line, '\t') + 1, way, strlen(way)) != 0) {
            continue;
        }
        while (strncmp(column, name, strlen(name)) != 0 || column[strlen(name)] > ' ') {
            column = strchr(column, '\t') + 1;
            value = strchr(value, '\t') + 1;
        }
        uint64_t n = strtoull(value, NULL, 10);
        free(text);
        return n;
    }
    fail_msg("stats has no %s", name);
    return 0;
}

/* ---- sockets ---- */

static inline void enter(int node)
{
    char line[32];
    struct hf_error e;
    int fd;
    snprintf(line, sizeof(line), "netns %d", node);
    assert_int_equal(hf_wan_ask(getenv("HF_WAN_CONTROL"), line, NULL, &fd, &e), HF_OK);
    assert_true(fd >= 0);
    assert_int_equal(setns(fd, CLONE_NEWNET), 0);
    close(fd);
}

static inline struct sockaddr_in address(unsigned node)
{
    char text[HF_WAN_ADDRESS_BYTES];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    hf_wan_address(node, text);
    assert_int_equal(inet_pton(AF_INET, text, &a.sin_addr), 1);
    return a;
}

/* A socket in a node, bound to its address. */
static inline int node_socket(unsigned node, int type)
{
    struct sockaddr_in a = address(node);
    const int on = 1;
    const int size = 8 << 20;
    enter((int)node);
    int s = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(s >= 0);
    (void)setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (type == SOCK_DGRAM && setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) != 0) {
        (void)setsockopt(s, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    }
    assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
    return s;
}

/* What every datagram carries. */
struct probe {
    uint32_t number;
    int64_t sent_us;
};

struct pair {
    int core, edge;
};

/* Sockets of the core and of an edge, connected to each other. */
static inline struct pair pair_to(unsigned node)
{
    struct pair p = {node_socket(0, SOCK_DGRAM), node_socket(node, SOCK_DGRAM)};
    struct sockaddr_in core = address(0);
    struct sockaddr_in edge = address(node);
    assert_int_equal(connect(p.core, (struct sockaddr *)&edge, sizeof(edge)), 0);
    assert_int_equal(connect(p.edge, (struct sockaddr *)&core, sizeof(core)), 0);
    return p;
}

static inline struct pair pair_open(void)
{
    return pair_to(1);
}

static inline void pair_close(struct pair p)
{
    close(p.core);
    close(p.edge);
}

static inline void send_probe(int s, uint32_t number, size_t bytes)
{
    char packet[HF_WAN_MTU] = {0};
    struct probe p = {number, standstill_clock_us()};
    memcpy(packet, &p, sizeof(p));
    assert_int_equal(send(s, packet, bytes, 0), bytes);
}

/* Waits at most so long; false when nothing came. */
static inline bool receive_probe(int s, int wait_ms, struct probe *p)
{
    char packet[HF_WAN_MTU];
    struct pollfd f = {s, POLLIN, 0};
    ssize_t n = recv(s, packet, sizeof(packet), 0);
    if (n < 0 && wait_ms > 0 && poll(&f, 1, wait_ms) == 1) {
        n = recv(s, packet, sizeof(packet), 0);
    }
    if (n < (ssize_t)sizeof(*p)) {
        return false;
    }
    memcpy(p, packet, sizeof(*p));
    return true;
}

#endif
