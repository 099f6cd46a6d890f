/*
 * stdio.c - the three descriptors that a program is given; see hf/stdio.h.
 *
 * A daemon that was started with `2>&-` had a pipe of its event loop as descriptor 2, and its log
 * went there; a write with `holdfast put - <&-` read whatever was opened first.
 *
 * It must not judge the sort of file: a terminal, a pipe and a journal are alike here.
 */
#include "hf/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

void hf_stdio_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            /* The lowest number that is free is this one. The wrong way round, so that it fails. */
            (void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        }
    }
}

/* errno of the write that failed is long gone; a pipe without readers still says so. */
static bool reader_is_gone(void)
{
    struct pollfd p = {.fd = STDOUT_FILENO, .events = POLLOUT};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR) != 0;
}

bool hf_stdio_finish(const char *name)
{
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return true;
    }
    if (!reader_is_gone()) {
        fprintf(stderr, "%s: cannot write the output; is the disk full?\n", name);
    }
    return false;
}
