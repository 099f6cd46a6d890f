/*
 * ask.c - the client's side of the control socket: one line out, one answer in.
 *
 * Used by `link-exec`, `link-do`, tests and measuring programs alike. It blocks, for as long as a
 * turn of the forwarder takes, and gives up after some seconds. Next: control.h for the lines.
 */
#include "sim/wan/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 10
/* Stats of all edges: 500 lines of at most 220 bytes fit. */
#define ANSWER_MAX (160u * 1024)

/* With a time-out on the socket no call is restarted after a signal, such as that of a child which
 * ended: the caller does that, for as long as it has patience. */
static bool interrupted(time_t until)
{
    return errno == EINTR && time(NULL) < until;
}

static int dial(const char *path, time_t until)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    const struct timeval patience = {PATIENCE_S, 0};
    if (strlen(path) >= sizeof(at.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(at.sun_path, path, strlen(path) + 1);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0) {
        return -1;
    }
    (void)setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)setsockopt(s, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    while (connect(s, (struct sockaddr *)&at, sizeof(at)) != 0) {
        if (!interrupted(until)) {
            int why = errno;
            close(s);
            errno = why;
            return -1;
        }
    }
    return s;
}

static bool send_line(int s, const char *line)
{
    size_t len = strlen(line);
    return send(s, line, len, MSG_NOSIGNAL) == (ssize_t)len && send(s, "\n", 1, MSG_NOSIGNAL) == 1;
}

/* Reads to the end; a descriptor that comes along replaces *fd. Returns the length, 0 on failure.
 */
static size_t receive_all(int s, char *text, size_t cap, int *fd, time_t until)
{
    size_t len = 0;
    for (;;) {
        union {
            struct cmsghdr align;
            char byte[CMSG_SPACE(sizeof(int))];
        } buffer;
        struct iovec part = {text + len, cap - 1 - len};
        struct msghdr m = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = buffer.byte,
                           .msg_controllen = sizeof(buffer.byte)};
        ssize_t n = recvmsg(s, &m, MSG_CMSG_CLOEXEC);
        if (n < 0 && interrupted(until)) {
            continue;
        }
        if (n <= 0) {
            text[n < 0 ? 0 : len] = '\0';
            return n < 0 ? 0 : len;
        }
        const struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int))) {
            memcpy(fd, CMSG_DATA(c), sizeof(int));
        }
        len += (size_t)n;
    }
}

/* Splits the last line off and judges it. */
static enum hf_err judge(char *text, size_t len, struct hf_error *e)
{
    if (len == 0 || text[len - 1] != '\n') {
        return hf_error_set(e, HF_IO, "the emulated network did not answer");
    }
    text[len - 1] = '\0';
    char *last = strrchr(text, '\n');
    last = last == NULL ? text : last + 1;
    bool ok = strcmp(last, "ok") == 0;
    if (!ok) {
        (void)hf_error_set(e, HF_ARG, "%s", strncmp(last, "error: ", 7) == 0 ? last + 7 : last);
    }
    *last = '\0';
    return ok ? HF_OK : HF_ARG;
}

enum hf_err hf_wan_ask(const char *path, const char *line, FILE *out, int *fd, struct hf_error *e)
{
    enum hf_err rc = HF_IO;
    int passed = -1;
    char *text = malloc(ANSWER_MAX);
    time_t until = time(NULL) + PATIENCE_S;
    int s = dial(path, until);
    if (text == NULL || s < 0 || !send_line(s, line)) {
        rc = hf_error_set(e, HF_IO, "%s: %s", path, strerror(errno));
        goto out;
    }
    rc = judge(text, receive_all(s, text, ANSWER_MAX, &passed, until), e);
    if (rc == HF_OK && out != NULL) {
        fputs(text, out);
    }
out:
    if (s >= 0) {
        close(s);
    }
    free(text);
    if (fd != NULL) {
        *fd = rc == HF_OK ? passed : -1;
    }
    if (passed >= 0 && (fd == NULL || rc != HF_OK)) {
        close(passed);
    }
    return rc;
}
