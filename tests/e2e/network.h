/*
 * network.h - daemons of a test in networks of their own: what a thread opens or starts between
 * _enter and _leave is in that network, for good. Everything else is where it always was.
 *
 * A network is a descriptor for setns; 0 is none, and nothing happens.
 */
#ifndef HF_TESTS_E2E_NETWORK_H
#define HF_TESTS_E2E_NETWORK_H

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Returns the network to come back to. */
static inline int network_enter(int netns)
{
    if (netns == 0) {
        return 0;
    }
    int own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (own < 0 || setns(netns, CLONE_NEWNET) != 0) {
        abort(); /* whoever has such a descriptor may do that */
    }
    return own;
}

static inline void network_leave(int own)
{
    if (own == 0) {
        return;
    }
    if (setns(own, CLONE_NEWNET) != 0) {
        abort();
    }
    close(own);
}

/* This whole program in a network of its own, with nothing but loopback: so no other program can
 * have its ports. Before any thread; needs root, and does nothing without. */
static inline void network_own(void)
{
    struct ifreq r = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0) {
        return;
    }
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &r) != 0) {
        abort();
    }
    close(fd);
}

#endif
