/*
 * window.c - a table of mappings by descriptor. Read window.h.
 *
 * A mapping reaches beyond the end of its file, so that a file that grows page by page is not
 * mapped anew for each; nothing is touched there before fstat says that the file has come so far.
 */
#include "sim/window.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define WINDOWS 4096 /* descriptors above are left to the kernel */
#define LENGTH_LEAST ((off_t)1 << 20)

struct window {
    dev_t dev;
    ino_t ino;
    uint8_t *bytes; /* NULL: the file could not be mapped, and it need not be tried again */
    off_t len;      /* 0: nothing is known of this descriptor */
};

static struct window table[WINDOWS];

static void shut(struct window *w)
{
    if (w->bytes != NULL) {
        (void)munmap(w->bytes, (size_t)w->len);
    }
    *w = (struct window){0};
}

static void open_on(struct window *w, int fd, const struct stat *st)
{
    shut(w);
    w->dev = st->st_dev;
    w->ino = st->st_ino;
    w->len = 2 * st->st_size > LENGTH_LEAST ? 2 * st->st_size : LENGTH_LEAST;
    void *bytes = mmap(NULL, (size_t)w->len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    w->bytes = bytes == MAP_FAILED ? NULL : bytes;
}

static struct window *window_of(int fd, off_t end)
{
    struct stat st;
    if (fd < 0 || fd >= WINDOWS || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
        end > st.st_size) {
        return NULL;
    }
    struct window *w = &table[fd];
    if (w->len < end || w->dev != st.st_dev || w->ino != st.st_ino) {
        open_on(w, fd, &st);
    }
    return w->bytes == NULL ? NULL : w;
}

bool window_write(int fd, const struct iovec *parts, int count, off_t at)
{
    off_t len = 0;
    for (int i = 0; i < count; i++) {
        len += (off_t)parts[i].iov_len;
    }
    const struct window *w = window_of(fd, at + len);
    if (w == NULL) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        memcpy(w->bytes + at, parts[i].iov_base, parts[i].iov_len);
        at += (off_t)parts[i].iov_len;
    }
    return true;
}
