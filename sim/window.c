/*
 * window.c - a table of mappings by descriptor. Read window.h.
 *
 * A mapping reaches beyond the end of its file, so that a file that grows page by page is not
 * mapped anew for each; nothing is touched there before fstat says that the file has come so far.
 * It is asked again only for a write beyond the end that it named last: asking before each write
 * cost more than the copies.
 */
#include "sim/window.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WINDOWS 4096 /* descriptors above are left to the kernel */
#define LENGTH_LEAST ((off_t)1 << 20)

struct window {
    uint8_t *bytes; /* NULL: nothing is mapped */
    off_t len;      /* of the mapping */
    off_t end;      /* the file is at least so long; 0 = not known */
    bool sought;    /* the descriptor's position is `at`, and the kernel does not know */
    off_t at;
};

static struct window table[WINDOWS];

void window_forget(int fd)
{
    if (fd < 0 || fd >= WINDOWS) {
        return;
    }
    struct window *w = &table[fd];
    if (w->bytes != NULL) {
        (void)munmap(w->bytes, (size_t)w->len);
        *w = (struct window){0};
    }
}

/* LMDB writes its meta pages through a descriptor that is for writing only, which nothing can be
 * mapped by: so the file is opened once more, and closed where nobody is told of it. */
static void *map(int fd, off_t len)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int own = open(path, O_RDWR | O_CLOEXEC);
    if (own < 0) {
        return MAP_FAILED;
    }
    void *bytes = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);
    (void)syscall(SYS_close, own);
    return bytes;
}

/* Sees how long the file is now, and maps it as far. False: it has no such part, or no mapping. */
static bool reach(struct window *w, int fd, off_t end)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || end > st.st_size) {
        return false;
    }
    if (w->len < end) {
        off_t len = 2 * st.st_size > LENGTH_LEAST ? 2 * st.st_size : LENGTH_LEAST;
        void *bytes = map(fd, len);
        if (bytes == MAP_FAILED) {
            return false;
        }
        if (w->bytes != NULL) {
            (void)munmap(w->bytes, (size_t)w->len);
        }
        w->bytes = bytes;
        w->len = len;
    }
    w->end = st.st_size < w->len ? st.st_size : w->len;
    return true;
}

bool window_write(int fd, const struct iovec *parts, int count, off_t at)
{
    off_t end = at;
    for (int i = 0; i < count; i++) {
        end += (off_t)parts[i].iov_len;
    }
    if (fd < 0 || fd >= WINDOWS) {
        return false;
    }
    struct window *w = &table[fd];
    if (end > w->end && !reach(w, fd, end)) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        memcpy(w->bytes + at, parts[i].iov_base, parts[i].iov_len);
        at += (off_t)parts[i].iov_len;
    }
    return true;
}

/* ---- the position ---- */

bool window_seek(int fd, off_t at)
{
    if (fd < 0 || fd >= WINDOWS || table[fd].bytes == NULL || at < 0) {
        return false;
    }
    table[fd].sought = true;
    table[fd].at = at;
    return true;
}

bool window_write_here(int fd, const struct iovec *parts, int count)
{
    if (fd < 0 || fd >= WINDOWS || !table[fd].sought ||
        !window_write(fd, parts, count, table[fd].at)) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        table[fd].at += (off_t)parts[i].iov_len;
    }
    return true;
}

void window_settle(int fd)
{
    if (fd >= 0 && fd < WINDOWS && table[fd].sought) {
        table[fd].sought = false;
        (void)syscall(SYS_lseek, fd, table[fd].at, SEEK_SET);
    }
}
