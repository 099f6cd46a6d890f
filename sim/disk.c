/*
 * disk.c - the calls that write, with a disk behind them that may refuse or forget (disk.h).
 *
 * A page is 4,096 bytes of a file at a multiple of that. Its image is taken at the first write
 * after a sync, through a descriptor of our own, since the caller may close its one before the
 * power goes. A write that is synchronous by itself (LMDB's meta pages: O_DSYNC) leaves no image
 * behind.
 */
#include "sim/disk.h"

#include "hf/err.h"
#include "sim/rng.h"
#include "sim/window.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096u

struct page {
    uint64_t number;
    bool failed; /* a sync that was to write it failed: the next one will not */
    struct page *next;
    uint8_t image[PAGE]; /* as synced last; zeros beyond the end of the file then */
};

struct file {
    dev_t dev;
    ino_t ino;
    int fd;
    struct page *pages;
    struct file *next;
};

struct disk {
    struct rng rng;
    bool remember;
    bool warm; /* LMDB's meta pages were read, and are in memory */
    int error;
    double chance;
    struct disk_counts counts;
    struct file *files;
};

static struct disk *current;

/* ---- the kernel's own ---- */

static ssize_t kernel_pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    return syscall(SYS_pwrite64, fd, bytes, len, at);
}

static ssize_t kernel_pread(int fd, void *bytes, size_t len, off_t at)
{
    return syscall(SYS_pread64, fd, bytes, len, at);
}

/* ---- pages ---- */

static void pages_drop(struct file *f, bool failed_too)
{
    struct page **at = &f->pages;
    while (*at != NULL) {
        struct page *p = *at;
        if (p->failed && !failed_too) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        free(p);
    }
}

static struct file *file_of(struct disk *d, int fd, bool make)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return NULL;
    }
    struct file *f = d->files;
    while (f != NULL && (f->dev != st.st_dev || f->ino != st.st_ino)) {
        f = f->next;
    }
    if (f != NULL || !make) {
        return f;
    }
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    /* Opened, not duplicated: a duplicate would keep the store's flock alive. */
    int own = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    f = calloc(1, sizeof(*f));
    HF_ASSERT(f != NULL && own >= 0);
    *f = (struct file){.dev = st.st_dev, .ino = st.st_ino, .fd = own, .next = d->files};
    d->files = f;
    return f;
}

static struct page *page_of(struct file *f, uint64_t number)
{
    struct page *p = f->pages;
    while (p != NULL && p->number != number) {
        p = p->next;
    }
    return p;
}

/* A write that is on the disk when the call returns takes along what its pages had before, such as
 * the old meta page that LMDB puts back, unsynced, when it could not write a new one. */
static void pages_settle(struct file *f, off_t at, size_t len)
{
    uint64_t first = (uint64_t)at / PAGE;
    uint64_t last = ((uint64_t)at + len - 1) / PAGE;
    struct page **link = &f->pages;
    while (*link != NULL) {
        struct page *p = *link;
        if (p->number < first || p->number > last) {
            link = &p->next;
            continue;
        }
        *link = p->next;
        free(p);
    }
}

static bool is_synchronous(int fd)
{
    return (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
}

/* Before a write: the pages that it touches are remembered as they are. */
static void remember(struct disk *d, int fd, off_t at, size_t len)
{
    if (!d->remember || len == 0) {
        return;
    }
    bool at_once = is_synchronous(fd);
    struct file *f = file_of(d, fd, !at_once);
    if (f == NULL) {
        return;
    }
    if (at_once) {
        pages_settle(f, at, len);
        return;
    }
    for (uint64_t n = (uint64_t)at / PAGE; n <= ((uint64_t)at + len - 1) / PAGE; n++) {
        struct page *p = page_of(f, n);
        if (p != NULL) {
            p->failed = false; /* dirty again, so the next sync writes it */
            continue;
        }
        p = calloc(1, sizeof(*p));
        HF_ASSERT(p != NULL && kernel_pread(f->fd, p->image, PAGE, (off_t)(n * PAGE)) >= 0);
        p->number = n;
        p->next = f->pages;
        f->pages = p;
    }
}

static void synced(struct disk *d, int fd)
{
    struct file *f = d->remember ? file_of(d, fd, false) : NULL;
    if (f != NULL) {
        pages_drop(f, false);
    }
}

/* Puts a part of the pages back to what they were at their last sync; how many. */
static uint64_t pages_lose(struct disk *d, struct file *f, double part)
{
    uint64_t count = 0;
    for (struct page *p = f->pages; p != NULL; p = p->next) {
        struct stat st;
        off_t at = (off_t)(p->number * PAGE);
        if (!rng_chance(&d->rng, part) || fstat(f->fd, &st) != 0 || at >= st.st_size) {
            continue;
        }
        size_t len = st.st_size - at < (off_t)PAGE ? (size_t)(st.st_size - at) : PAGE;
        HF_ASSERT(kernel_pwrite(f->fd, p->image, len, at) == (ssize_t)len);
        count++;
    }
    return count;
}

/* Of the failed syncs: their pages do not even last until a power cut. */
#define FORGOTTEN 0.3

static void sync_failed(struct disk *d, int fd)
{
    struct file *f = d->remember ? file_of(d, fd, false) : NULL;
    if (f == NULL) {
        return;
    }
    for (struct page *p = f->pages; p != NULL; p = p->next) {
        p->failed = true;
    }
    if (rng_chance(&d->rng, FORGOTTEN)) {
        (void)pages_lose(d, f, 0.5);
    }
}

/* ---- trouble ---- */

/* True: the call, which writes up to `end`, fails with errno set. A full disk still takes what is
 * written over bytes that it has. */
static bool fails(struct disk *d, int fd, off_t end)
{
    struct stat st;
    if (d == NULL || d->error == 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return false;
    }
    if (d->error == EDQUOT && !is_synchronous(fd)) {
        return false;
    }
    if ((d->error == ENOSPC && end <= st.st_size) || !rng_chance(&d->rng, d->chance)) {
        return false;
    }
    d->counts.full += d->error == ENOSPC || d->error == EDQUOT;
    d->counts.errors += d->error == EIO;
    errno = d->error;
    return true;
}

static bool is_data_of_lmdb(int fd)
{
    static const char name[] = "/data.mdb";
    char link[64], path[512];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path));
    ssize_t at = n - (ssize_t)strlen(name);
    return at > 0 && memcmp(path + at, name, strlen(name)) == 0;
}

/* Whether it does more with a write than to let it through. */
static bool looks(const struct disk *d)
{
    return d->remember || d->error != 0;
}

static int sync_call(long number, int fd)
{
    struct disk *d = current;
    bool may_fail = d != NULL && (d->error == EIO || d->error == EDQUOT);
    if (may_fail && rng_chance(&d->rng, d->chance)) {
        d->counts.syncs_failed++;
        sync_failed(d, fd);
        errno = d->error;
        return -1;
    }
    if (d != NULL && !looks(d)) {
        return 0; /* tmpfs has nothing to write, and this disk nothing to forget */
    }
    int rc = (int)syscall(number, fd);
    if (rc == 0 && d != NULL) {
        synced(d, fd);
    }
    return rc;
}

/* ---- in the place of libc's ---- */

/* Before each of them: false when it fails. */
static bool before_write(int fd, off_t at, size_t len)
{
    if (current == NULL) {
        return true;
    }
    if (fails(current, fd, at + (off_t)len)) {
        return false;
    }
    remember(current, fd, at, len);
    return true;
}

/* After a write that failed: one that is synchronous may be on the disk all the same. */
static void may_be_written(int fd, const void *bytes, size_t len, off_t at)
{
    int error = errno;
    if (error != ENOSPC && is_synchronous(fd) && rng_chance(&current->rng, 0.5)) {
        remember(current, fd, at, len);
        (void)kernel_pwrite(fd, bytes, len, at);
    }
    errno = error;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    struct iovec part = {(void *)(uintptr_t)bytes, len};
    if (current != NULL && !looks(current) && window_write(fd, &part, 1, at)) {
        return (ssize_t)len;
    }
    if (before_write(fd, at, len)) {
        return kernel_pwrite(fd, bytes, len, at);
    }
    may_be_written(fd, bytes, len, at);
    return -1;
}

/* Where a write without an offset begins, as far as trouble and power need to know: -1 when nobody
 * asks, or in a pipe. */
static off_t position(int fd)
{
    window_settle(fd);
    return current != NULL && looks(current) ? (off_t)syscall(SYS_lseek, fd, 0, SEEK_CUR) : -1;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    off_t at = position(fd);
    return at < 0 || before_write(fd, at, len) ? syscall(SYS_write, fd, bytes, len) : -1;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    size_t len = 0;
    for (int i = 0; i < count; i++) {
        len += parts[i].iov_len;
    }
    if (current != NULL && !looks(current) && window_write_here(fd, parts, count)) {
        return (ssize_t)len;
    }
    off_t at = position(fd);
    return at < 0 || before_write(fd, at, len) ? syscall(SYS_writev, fd, parts, count) : -1;
}

ssize_t pread(int fd, void *bytes, size_t len, off_t at)
{
    struct disk *d = current;
    if (d == NULL || (d->error != EIO && d->warm)) {
        return kernel_pread(fd, bytes, len, at);
    }
    bool of_lmdb = is_data_of_lmdb(fd);
    if (d->error == EIO && !(of_lmdb && d->warm) && fails(d, fd, at)) {
        return -1;
    }
    d->warm |= of_lmdb;
    return kernel_pread(fd, bytes, len, at);
}

ssize_t read(int fd, void *bytes, size_t len)
{
    window_settle(fd);
    return syscall(SYS_read, fd, bytes, len);
}

off_t lseek(int fd, off_t at, int whence)
{
    if (whence == SEEK_SET && current != NULL && !looks(current) && window_seek(fd, at)) {
        return at;
    }
    window_settle(fd);
    return syscall(SYS_lseek, fd, at, whence);
}

int ftruncate(int fd, off_t len)
{
    window_settle(fd);
    window_forget(fd);
    return fails(current, fd, len) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

int close(int fd)
{
    window_forget(fd);
    return (int)syscall(SYS_close, fd);
}

int posix_fallocate(int fd, off_t at, off_t len)
{
    if (fails(current, fd, at + len)) {
        return errno;
    }
    return syscall(SYS_fallocate, fd, 0, at, len) == 0 ? 0 : errno;
}

int fsync(int fd)
{
    return sync_call(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sync_call(SYS_fdatasync, fd);
}

/* ---- names ---- */

/* Before a call that needs the file system: where every write fails, that is at its end, too. */
static bool is_at_end(void)
{
    bool at_end = current != NULL && current->error == EIO && current->chance >= 1;
    if (at_end) {
        current->counts.errors++;
        errno = EIO;
    }
    return at_end;
}

int openat(int dirfd, const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return is_at_end() ? -1 : (int)syscall(SYS_openat, dirfd, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return openat(AT_FDCWD, path, flags, mode);
}

int renameat(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
    return is_at_end() ? -1 : (int)syscall(SYS_renameat, from_dirfd, from, to_dirfd, to);
}

int rename(const char *from, const char *to)
{
    return renameat(AT_FDCWD, from, AT_FDCWD, to);
}

int unlinkat(int dirfd, const char *path, int flags)
{
    return is_at_end() ? -1 : (int)syscall(SYS_unlinkat, dirfd, path, flags);
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int mkdir(const char *path, mode_t mode)
{
    return is_at_end() ? -1 : (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

/* ---- the disk ---- */

struct disk *disk_new(uint64_t seed, bool remember)
{
    struct disk *d = calloc(1, sizeof(*d));
    HF_ASSERT(d != NULL);
    d->remember = remember;
    rng_seed(&d->rng, seed, 8);
    return d;
}

void disk_keep(struct disk *d)
{
    while (d->files != NULL) {
        struct file *f = d->files;
        d->files = f->next;
        pages_drop(f, true);
        close(f->fd);
        free(f);
    }
}

void disk_free(struct disk *d)
{
    if (d != NULL) {
        disk_keep(d);
        free(d);
    }
}

struct disk *disk_use(struct disk *d)
{
    struct disk *before = current;
    current = d;
    return before;
}

void disk_trouble(struct disk *d, int error, double chance)
{
    d->error = error;
    d->chance = chance;
}

uint64_t disk_power_cut(struct disk *d)
{
    /* All of them, none, or some: each of the three finds other bugs. */
    double lost = (double)rng_below(&d->rng, 3) / 2;
    uint64_t count = 0;
    for (struct file *f = d->files; f != NULL; f = f->next) {
        count += pages_lose(d, f, lost);
    }
    disk_keep(d);
    d->warm = false;
    return count;
}

struct disk_counts disk_counts(struct disk *d)
{
    struct disk_counts c = d->counts;
    d->counts = (struct disk_counts){0};
    return c;
}

bool disk_in_trouble(const struct disk *d)
{
    return d->error != 0;
}
