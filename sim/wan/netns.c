/*
 * netns.c - makes namespaces with one TUN device each, in a child that hands their descriptors
 * over.
 *
 * A child, because a process in a user namespace of its own could not come back from a new network
 * namespace to the host's. Per node it unshares, opens the device, gives it address, MTU and queue,
 * and sends three descriptors over a socket pair; an error travels the same way as text.
 *
 * It must not leave anything behind: no names under /run/netns, no settings outside the new
 * namespaces. Next: netns.h, wan.h.
 */
#include "sim/wan/netns.h"

#include "sim/wan/wan.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "wan0"
#define NODE_FDS 3
/* RFC 2544's range for benchmarks: 198.18.0.1 is the core, 198.18.1.N the edges. Nothing but these
 * namespaces knows it, so it cannot collide with the host's networks. */
#define NETMASK "255.254.0.0"
/* Packets between the kernel and the forwarder: at 1 Gbit/s 48 ms of full packets, more than a busy
 * machine keeps the forwarder from running. It is no part of the emulated queue. */
#define DEVICE_QUEUE 4096

void hf_wan_address(unsigned node, char *out)
{
    HF_ASSERT(node <= HF_WAN_EDGES_MAX);
    snprintf(out, HF_WAN_ADDRESS_BYTES, node == 0 ? "198.18.0.1" : "198.18.1.%u", node);
}

void hf_wan_node_close(struct hf_wan_node *node)
{
    int *fd[NODE_FDS] = {&node->tun, &node->netns, &node->statistics};
    for (int i = 0; i < NODE_FDS; i++) {
        if (*fd[i] >= 0) {
            close(*fd[i]);
            *fd[i] = -1;
        }
    }
}

/* ---- privilege ---- */

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    return close(fd) == 0 && ok;
}

/* Tried in a child, so that the caller stays where it is. */
static int try_unshare(int flags)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        _exit(unshare(flags) == 0 ? 0 : errno);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        return errno;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : EINTR;
}

static enum hf_err enter_user_namespace(struct hf_error *e)
{
    char map[64];
    unsigned uid = geteuid();
    unsigned gid = getegid();
    if (unshare(CLONE_NEWUSER) != 0) {
        return hf_error_set(e, HF_PERMISSION, "a user namespace: %s", strerror(errno));
    }
    snprintf(map, sizeof(map), "0 %u 1", uid);
    if (!write_file("/proc/self/setgroups", "deny") || !write_file("/proc/self/uid_map", map)) {
        return hf_error_set(e, HF_PERMISSION, "user namespace, uid map: %s", strerror(errno));
    }
    snprintf(map, sizeof(map), "0 %u 1", gid);
    if (!write_file("/proc/self/gid_map", map)) {
        return hf_error_set(e, HF_PERMISSION, "user namespace, gid map: %s", strerror(errno));
    }
    return HF_OK;
}

enum hf_err hf_wan_privilege(struct hf_error *e)
{
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        return hf_error_set(e, HF_PERMISSION,
                            "needs root, or a /dev/net/tun that is open to all: /dev/net/tun: %s",
                            strerror(errno));
    }
    close(fd);
    if (try_unshare(CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWNS) == 0) {
        return HF_OK;
    }
    int why = try_unshare(CLONE_NEWUSER | CLONE_NEWNET);
    if (why != 0) {
        return hf_error_set(e, HF_PERMISSION,
                            "needs root (CAP_SYS_ADMIN) or user namespaces with network "
                            "namespaces: unshare: %s",
                            strerror(why));
    }
    return enter_user_namespace(e);
}

/* ---- one node, in the child ---- */

static int tun_open(void)
{
    struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    memcpy(r.ifr_name, DEVICE, sizeof(DEVICE));
    if (fd >= 0 && ioctl(fd, TUNSETIFF, &r) != 0) {
        int why = errno;
        close(fd);
        errno = why;
        return -1;
    }
    return fd;
}

static bool set_address(int s, struct ifreq *r, unsigned long request, const char *text)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    inet_pton(AF_INET, text, &a.sin_addr);
    memcpy(&r->ifr_addr, &a, sizeof(a));
    return ioctl(s, request, r) == 0;
}

static bool bring_up(int s, const char *device)
{
    struct ifreq r = {.ifr_flags = IFF_UP | IFF_RUNNING};
    strncpy(r.ifr_name, device, IFNAMSIZ - 1);
    return ioctl(s, SIOCSIFFLAGS, &r) == 0;
}

static bool configure(unsigned index)
{
    char address[HF_WAN_ADDRESS_BYTES];
    struct ifreq r = {.ifr_name = DEVICE};
    int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (s < 0) {
        return false;
    }
    hf_wan_address(index, address);
    bool ok =
        set_address(s, &r, SIOCSIFADDR, address) && set_address(s, &r, SIOCSIFNETMASK, NETMASK);
    r.ifr_mtu = (int)HF_WAN_MTU;
    ok = ok && ioctl(s, SIOCSIFMTU, &r) == 0;
    r.ifr_qlen = DEVICE_QUEUE;
    /* Not allowed in a user namespace; the 500 packets of the default do for slow links. */
    (void)ioctl(s, SIOCSIFTXQLEN, &r);
    ok = ok && bring_up(s, DEVICE) && bring_up(s, "lo");
    int why = errno;
    close(s);
    errno = why;
    return ok;
}

/* /proc/sys and /proc/self/net show the namespace of whoever opens them. */
static const char *node_make(unsigned index, const char *congestion, int fd[NODE_FDS])
{
    if (unshare(CLONE_NEWNET) != 0) {
        return "a network namespace";
    }
    /* Where IPv6 cannot be turned off its few packets are strays, which no link counts. */
    (void)write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    if ((fd[0] = tun_open()) < 0) {
        return "a TUN device";
    }
    if (!configure(index)) {
        return "configuring the TUN device";
    }
    if (congestion != NULL &&
        !write_file("/proc/sys/net/ipv4/tcp_congestion_control", congestion)) {
        return errno == EPERM ? "this congestion control is not in "
                                "net.ipv4.tcp_allowed_congestion_control of the system"
                              : congestion;
    }
    if ((fd[1] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC)) < 0 ||
        (fd[2] = open("/proc/self/net/dev", O_RDONLY | O_CLOEXEC)) < 0) {
        return "/proc/self";
    }
    return NULL;
}

/* ---- passing them on ---- */

union fd_buffer {
    struct cmsghdr align;
    char byte[CMSG_SPACE(NODE_FDS * sizeof(int))];
};

static bool send_node(int to, const int fd[NODE_FDS])
{
    union fd_buffer buffer;
    struct iovec part = {(char[]){"+"}, 1};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = buffer.byte,
                       .msg_controllen = sizeof(buffer.byte)};
    memset(&buffer, 0, sizeof(buffer));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(NODE_FDS * sizeof(int));
    memcpy(CMSG_DATA(c), fd, NODE_FDS * sizeof(int));
    return sendmsg(to, &m, 0) == 1;
}

static _Noreturn void child_main(int to, unsigned count, const char *congestion)
{
    for (unsigned i = 0; i < count; i++) {
        int fd[NODE_FDS];
        const char *what = node_make(i, congestion, fd);
        if (what != NULL || !send_node(to, fd)) {
            dprintf(to, "%s: %s", what != NULL ? what : "passing descriptors", strerror(errno));
            _exit(1);
        }
        for (int n = 0; n < NODE_FDS; n++) {
            close(fd[n]);
        }
    }
    _exit(0);
}

static enum hf_err receive_node(int from, struct hf_wan_node *node, struct hf_error *e)
{
    union fd_buffer buffer;
    int fd[NODE_FDS];
    char text[200];
    struct iovec part = {text, sizeof(text) - 1};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = buffer.byte,
                       .msg_controllen = sizeof(buffer.byte)};
    ssize_t n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
    if (n <= 0) {
        return hf_error_set(e, HF_IO, "the child that makes namespaces died");
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    if (c == NULL || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(fd))) {
        text[n] = '\0';
        return hf_error_set(e, HF_PERMISSION, "%s", text);
    }
    memcpy(fd, CMSG_DATA(c), sizeof(fd));
    *node = (struct hf_wan_node){.tun = fd[0], .netns = fd[1], .statistics = fd[2]};
    return HF_OK;
}

enum hf_err hf_wan_nodes_open(struct hf_wan_node *node, unsigned count, const char *congestion,
                              struct hf_error *e)
{
    enum hf_err rc = HF_OK;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) {
        return hf_error_set(e, HF_IO, "socketpair: %s", strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) {
        child_main(pair[1], count, congestion);
    }
    close(pair[1]);
    if (pid < 0) {
        rc = hf_error_set(e, HF_IO, "fork: %s", strerror(errno));
    }
    for (unsigned i = 0; i < count && rc == HF_OK; i++) {
        rc = receive_node(pair[0], &node[i], e);
    }
    close(pair[0]);
    if (pid > 0) {
        (void)waitpid(pid, NULL, 0);
    }
    return rc;
}
