/*
 * service.c - talking to the service manager, and starting over in place.
 *
 * hf_notify speaks the sd_notify protocol: one datagram "KEY=value" to the unix socket in
 * $NOTIFY_SOCKET, whose name is a path or, after "@", abstract. It is a dozen lines, so the library
 * that has it is not worth a dependency.
 *
 * Invariant: without $NOTIFY_SOCKET nothing happens, and with a manager that does not read, the
 * caller waits SEND_MS at most: a daemon must not hang on its supervisor.
 *
 * Must not: allocate, log, or return from hf_reexec.
 *
 * Read next: loop.c, which sends the watchdog's pings.
 */
#include "hf/loop.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define SEND_MS 500
#define EXIT_OSERR 71 /* EX_OSERR of sysexits.h: the manager starts the service again */

void hf_notify(const char *state)
{
    const char *name = getenv("NOTIFY_SOCKET");
    if (name == NULL || (name[0] != '/' && name[0] != '@')) {
        return;
    }
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    if (len < 2 || len >= sizeof(a.sun_path)) {
        return;
    }
    memcpy(a.sun_path, name, len);
    if (name[0] == '@') {
        a.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    struct timeval limit = {.tv_usec = SEND_MS * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    /* An abstract name is its exact length; a trailing zero would be another name. */
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&a, size);
    close(fd);
}

_Noreturn void hf_reexec(char **argv)
{
    sigset_t none;
    sigemptyset(&none);
    /* A blocked signal stays blocked over exec, and this may be called from a thread of a lane. */
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* By exec, not before: until then other threads go on, and one that finds its descriptor gone,
     * or become another file's, aborts in libuv without a word, or writes into that file. */
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    execv("/proc/self/exe", argv);
    static const char text[] = "error service: cannot start over\n";
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(EXIT_OSERR);
}
