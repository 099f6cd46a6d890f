/*
 * memory_file.h - bytes as a file with a name, without a disk: for readers that take a path.
 *
 * There is one such file a process, and it is overwritten each time: a fuzz target reads one input
 * at a time. The name is a constant, so a message that begins with it can be compared.
 */
#ifndef FUZZ_MEMORY_FILE_H
#define FUZZ_MEMORY_FILE_H

#include "hf/err.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

/* The path under which the bytes can be opened until the next call. */
static inline const char *memory_file(const void *bytes, size_t len)
{
    static char path[32];
    static int fd = -1;

    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        HF_ASSERT(fd >= 0);
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    HF_ASSERT(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, len, 0) == (ssize_t)len);
    return path;
}

#endif
