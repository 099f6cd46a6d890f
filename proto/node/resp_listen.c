/*
 * resp_listen.c - the listening sockets of the RESP server, TCP and unix.
 *
 * Sockets are made and accepted from by hand, with uv_poll to wait, because libuv answers a lack of
 * descriptors by accepting and dropping connections, or by spinning: here accepting rests 100 ms
 * and the kernel's backlog holds who comes meanwhile.
 *
 * Invariant: the unix socket is never open to another user (its mode is set before it listens, and
 * until then connecting fails), and a socket file is removed only when nobody listens on it, or at
 * the end when it is still the one that this server made.
 *
 * Must not: resolve names (a numeric address needs no network), or read from a client.
 *
 * Read next: resp.c, hf_resp_client_add.
 */
#include "proto/node/resp_impl.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 511 /* as Redis; the kernel cuts it at net.core.somaxconn */
#define ACCEPT_PAUSE_MS 100u
/* So that a flood of connections does not keep the loop from its clients. */
#define ACCEPTS_PER_TURN 64u
#define UNIX_SPARE 32u

static void resume_accepting(struct hf_resp_server *s);

/* ---- accepting ---- */

static void refuse(int fd)
{
    static const char text[] = "-ERR max number of clients reached\r\n";
    (void)!send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
}

static void on_pause_over(uv_timer_t *h)
{
    resume_accepting(h->data);
}

static void pause_accepting(struct hf_resp_server *s)
{
    for (size_t i = 0; i < 2; i++) {
        if (s->listener[i].fd >= 0) {
            uv_poll_stop(&s->listener[i].poll);
        }
    }
    uv_timer_start(&s->accept_pause, on_pause_over, ACCEPT_PAUSE_MS, 0);
}

static void on_connection(uv_poll_t *h, int status, int events)
{
    struct hf_resp_listener *l = h->data;
    struct hf_resp_server *s = l->server;
    (void)status;
    (void)events;
    for (uint32_t i = 0; i < ACCEPTS_PER_TURN && !s->closed; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)) {
            return;
        }
        if (fd < 0) { /* EMFILE, ENFILE, ENOBUFS, ENOMEM: none of them passes at once. */
            pause_accepting(s);
            return;
        }
        /* Whoever uses up the places of TCP must not lock out the operator's tool. */
        if (s->client_count >= s->config.clients_max + (l->is_unix ? UNIX_SPARE : 0)) {
            refuse(fd);
            continue;
        }
        if (!l->is_unix) {
            int on = 1;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        }
        (void)hf_resp_client_add(s, fd, l->is_unix);
    }
}

static void resume_accepting(struct hf_resp_server *s)
{
    for (size_t i = 0; i < 2; i++) {
        if (s->listener[i].fd >= 0) {
            uv_poll_start(&s->listener[i].poll, UV_READABLE, on_connection);
        }
    }
}

/* ---- TCP ---- */

/* "host:port" or "[host]:port" into its two parts. */
static bool split_address(const char *text, char host[64], char port[8])
{
    const char *colon = strrchr(text, ':');
    if (colon == NULL || strlen(colon + 1) == 0 || strlen(colon + 1) > 5) {
        return false;
    }
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (len == 0 || len >= 64) {
        return false;
    }
    memcpy(host, text, len);
    host[len] = '\0';
    snprintf(port, 8, "%s", colon + 1);
    return true;
}

static uint16_t bound_port(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof(a);
    memset(&a, 0, sizeof(a));
    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0) {
        return 0;
    }
    in_port_t port = 0;
    if (a.ss_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, &a, sizeof(six));
        port = six.sin6_port;
    } else {
        struct sockaddr_in four;
        memcpy(&four, &a, sizeof(four));
        port = four.sin_port;
    }
    return ntohs(port);
}

/* To be given to freeaddrinfo. */
static enum hf_err find_address(const char *text, struct addrinfo **found, struct hf_error *e)
{
    char host[64];
    char port[8];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE,
                             .ai_socktype = SOCK_STREAM};
    if (!split_address(text, host, port) || strtoul(port, NULL, 10) > UINT16_MAX ||
        getaddrinfo(host, port, &hints, found) != 0) {
        return hf_error_set(e, HF_ARG, "'%s' is not a numeric address and port", text);
    }
    return HF_OK;
}

enum hf_err hf_resp_address_check(const char *text, struct hf_error *e)
{
    struct addrinfo *found = NULL;
    enum hf_err err = find_address(text, &found, e);
    if (err == HF_OK) {
        freeaddrinfo(found);
    }
    return err;
}

static enum hf_err listen_tcp(struct hf_resp_server *s, int *fd, struct hf_error *e)
{
    const char *text = s->config.tcp;
    struct addrinfo *found = NULL;
    struct hf_error inner = {.code = HF_OK};
    if (find_address(text, &found, &inner) != HF_OK) {
        return hf_error_set(e, HF_ARG, "resp: %s", inner.text);
    }
    int on = 1;
    int made = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool ok = made >= 0 && setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
              bind(made, found->ai_addr, found->ai_addrlen) == 0 && listen(made, BACKLOG) == 0;
    int error = errno;
    freeaddrinfo(found);
    if (!ok) {
        if (made >= 0) {
            close(made);
        }
        return hf_error_set(e, error == EADDRINUSE ? HF_LOCKED : HF_IO,
                            "resp: cannot listen on %s: %s", text, strerror(error));
    }
    s->port = bound_port(made);
    *fd = made;
    return HF_OK;
}

/* ---- unix ---- */

/* Removes a socket file that nobody listens on. */
static enum hf_err remove_stale(const struct sockaddr_un *a, struct hf_error *e)
{
    struct stat st;
    if (lstat(a->sun_path, &st) != 0) {
        return HF_OK; /* Also when the folder is missing: bind says so better. */
    }
    if (!S_ISSOCK(st.st_mode)) {
        return hf_error_set(e, HF_EXISTS, "resp: %s exists and is not a socket", a->sun_path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return hf_error_set(e, HF_IO, "resp: socket: %s", strerror(errno));
    }
    int rc = connect(fd, (const struct sockaddr *)a, sizeof(*a));
    int error = rc == 0 ? 0 : errno;
    close(fd);
    if (error == 0 || error == EAGAIN) { /* EAGAIN: it listens and its backlog is full. */
        return hf_error_set(e, HF_LOCKED, "resp: another process listens on %s", a->sun_path);
    }
    if (error != ECONNREFUSED || unlink(a->sun_path) != 0) {
        return hf_error_set(e, HF_IO, "resp: cannot replace %s: %s", a->sun_path,
                            strerror(error != ECONNREFUSED ? error : errno));
    }
    return HF_OK;
}

static enum hf_err listen_unix(struct hf_resp_server *s, int *fd, struct hf_error *e)
{
    const char *path = s->config.unix_path;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof(a.sun_path)) {
        return hf_error_set(e, HF_ARG, "resp: a socket path has 1 to %zu bytes, \"%s\" has %zu",
                            sizeof(a.sun_path) - 1, path, len);
    }
    memcpy(a.sun_path, path, len + 1);
    enum hf_err rc = remove_stale(&a, e);
    if (rc != HF_OK) {
        return rc;
    }
    int made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct stat st;
    bool bound = made >= 0 && bind(made, (const struct sockaddr *)&a, sizeof(a)) == 0;
    if (!bound || chmod(path, 0600) != 0 || lstat(path, &st) != 0 || listen(made, BACKLOG) != 0) {
        rc = hf_error_set(e, errno == EACCES ? HF_PERMISSION : HF_IO,
                          "resp: cannot listen on %s: %s", path, strerror(errno));
        if (bound) {
            unlink(path);
        }
        if (made >= 0) {
            close(made);
        }
        return rc;
    }
    memcpy(s->unix_path, path, len + 1);
    s->unix_dev = st.st_dev;
    s->unix_ino = st.st_ino;
    *fd = made;
    return HF_OK;
}

/* ---- both ---- */

static enum hf_err watch(struct hf_resp_listener *l, int fd, struct hf_error *e)
{
    int rc = uv_poll_init(l->server->loop, &l->poll, fd);
    if (rc != 0) {
        close(fd);
        return hf_error_set(e, HF_IO, "resp: cannot poll: %s", uv_strerror(rc));
    }
    l->fd = fd;
    l->poll.data = l;
    l->server->handle_count++;
    return HF_OK;
}

enum hf_err hf_resp_listen(struct hf_resp_server *s, struct hf_error *e)
{
    enum hf_err rc = HF_OK;
    int fd = -1;
    if (s->config.tcp != NULL) {
        rc = listen_tcp(s, &fd, e);
        if (rc == HF_OK) {
            rc = watch(&s->listener[0], fd, e);
        }
    }
    if (rc == HF_OK && s->config.unix_path != NULL) {
        rc = listen_unix(s, &fd, e);
        if (rc == HF_OK) {
            rc = watch(&s->listener[1], fd, e);
        }
    }
    if (rc == HF_OK) {
        resume_accepting(s);
    }
    return rc;
}

static void on_listener_closed(uv_handle_t *h)
{
    struct hf_resp_listener *l = h->data;
    h->data = l->server;
    hf_resp_handle_closed(h);
}

void hf_resp_unlisten(struct hf_resp_server *s)
{
    struct stat st;
    if (s->unix_path[0] != '\0' && lstat(s->unix_path, &st) == 0 && st.st_dev == s->unix_dev &&
        st.st_ino == s->unix_ino) {
        unlink(s->unix_path);
    }
    for (size_t i = 0; i < 2; i++) {
        struct hf_resp_listener *l = &s->listener[i];
        if (l->fd >= 0) {
            uv_poll_stop(&l->poll);
            close(l->fd);
            l->fd = -1;
            uv_close((uv_handle_t *)&l->poll, on_listener_closed);
        }
    }
}
