/*
 * faults.c - libholdfast-faults.so: kills, I/O errors, slow and empty syncs, a wrong wall clock.
 *
 * Each function below stands in front of the C library's of the same name and makes the system call
 * itself, so there is nothing to look up and nothing to initialise late: a call that comes before
 * the constructor passes untouched.
 *
 * Invariant: a call on anything but a file or directory below HF_FAULTS_DIR behaves as without the
 * library, sockets, pipes and logs included. Whether a descriptor counts is asked of the kernel at
 * each call (/proc/self/fd), which is slower than a table and cannot be wrong.
 *
 * It must not allocate, lock or log: it runs inside any thread of a foreign program. The settings
 * are in faults.h; the drivers are in tests/reliability/.
 */
#include "sim/preload/faults.h"
#include "sim/preload/record.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static struct hf_faults own;
static struct hf_faults *faults = &own;
static char below[PATH_MAX]; /* empty: nothing counts */
static size_t below_len;
static bool recording; /* record.h */

/* ---- settings ---- */

static _Noreturn void refuse(const char *name, const char *text, const char *expected)
{
    fprintf(stderr, "libholdfast-faults: %s=%s: expected %s\n", name, text, expected);
    _exit(2);
}

/* The number behind `text`, up to one of the characters of `ends` or the end of the text. */
static uint64_t number(const char *name, const char *text, const char *ends, const char **rest)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    if (end == text || *text == '-' || (*end != '\0' && strchr(ends, *end) == NULL)) {
        refuse(name, text, "a number");
    }
    *rest = end;
    return n;
}

static void set_kill(const char *text)
{
    const char *rest;

    faults->kill_at = number("HF_FAULTS_KILL", text, "/", &rest);
    faults->kill_half = strcmp(rest, "/half") == 0;
}

static void set_error(const char *text)
{
    static const struct {
        const char *name;
        int code;
    } known[] = {{"EIO@", EIO}, {"ENOSPC@", ENOSPC}, {"EROFS@", EROFS}, {"EDQUOT@", EDQUOT}};

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        const char *rest;
        size_t len = strlen(known[i].name);

        if (strncmp(text, known[i].name, len) == 0) {
            faults->error = (uint32_t)known[i].code;
            faults->error_at = number("HF_FAULTS_ERROR", text + len, "+", &rest);
            faults->error_stays = *rest == '+';
            return;
        }
    }
    refuse("HF_FAULTS_ERROR", text,
           "EIO@N, ENOSPC@N, EROFS@N or EDQUOT@N, with + for all from N on");
}

static void set_all(void)
{
    const char *kill_at = getenv("HF_FAULTS_KILL");
    const char *error = getenv("HF_FAULTS_ERROR");
    const char *slow = getenv("HF_FAULTS_SLOW_MS");
    const char *nosync = getenv("HF_FAULTS_NOSYNC");
    const char *clock_s = getenv("HF_FAULTS_CLOCK_S");
    const char *rest;

    if (kill_at != NULL) {
        set_kill(kill_at);
    }
    if (error != NULL) {
        set_error(error);
    }
    if (slow != NULL) {
        faults->slow_ms = (uint32_t)number("HF_FAULTS_SLOW_MS", slow, "", &rest);
    }
    faults->nosync = nosync != NULL && strcmp(nosync, "1") == 0;
    if (clock_s != NULL) {
        faults->clock_ns = (int64_t)(strtod(clock_s, NULL) * 1e9);
    }
    faults->set = 1;
}

/* By system calls only: the functions below are not to count what the library itself does. */
static void map_page(const char *path)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    void *p = MAP_FAILED;

    if (fd >= 0) {
        p = mmap(NULL, sizeof(*faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
    }
    if (p == MAP_FAILED) {
        refuse("HF_FAULTS_PAGE", path, "a file of a struct hf_faults");
    }
    faults = p;
}

__attribute__((constructor)) static void begin(void)
{
    const char *dir = getenv("HF_FAULTS_DIR");
    const char *page = getenv("HF_FAULTS_PAGE");
    const char *record = getenv("HF_FAULTS_RECORD");

    if (page != NULL) {
        map_page(page);
    }
    if (faults->set == 0) {
        set_all();
    }
    if (dir == NULL) {
        return;
    }
    if (dir[0] != '/' || strlen(dir) >= sizeof(below)) {
        refuse("HF_FAULTS_DIR", dir, "an absolute path");
    }
    if (record != NULL && (record[0] != '/' || hf_record_open(record) != 0)) {
        refuse("HF_FAULTS_RECORD", record, "an absolute path that can be written");
    }
    recording = record != NULL;
    memcpy(below, dir, strlen(dir) + 1);
    below_len = strlen(dir);
}

/* ---- which calls count ---- */

static bool is_below(const char *path)
{
    return strncmp(path, below, below_len) == 0 &&
           (path[below_len] == '/' || path[below_len] == '\0');
}

/* Where a descriptor leads; empty for what has no name in a file system. */
static void name_of(int fd, char *out, size_t cap)
{
    char link[32];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, out, cap - 1);
    out[n > 0 ? n : 0] = '\0';
}

static bool fd_counts(int fd)
{
    int before = errno;
    struct stat st;
    char name[PATH_MAX];
    bool counts = false;

    /* Most calls of a daemon are on sockets and event descriptors: no path for them. */
    if (below_len > 0 && fstat(fd, &st) == 0 && (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))) {
        name_of(fd, name, sizeof(name));
        counts = is_below(name);
    }
    errno = before;
    return counts;
}

/* The whole path, in the buffer or as it is; NULL when it is too long. */
static const char *whole_path(int dirfd, const char *path, char name[2 * PATH_MAX])
{
    int before = errno;

    if (path[0] == '/') {
        return path;
    }
    if (dirfd == AT_FDCWD) {
        if (getcwd(name, PATH_MAX) == NULL) {
            name[0] = '\0';
        }
    } else {
        name_of(dirfd, name, PATH_MAX);
    }
    errno = before;
    size_t len = strlen(name);
    if (strlen(path) >= 2 * PATH_MAX - len - 1) {
        return NULL;
    }
    name[len] = '/';
    memcpy(name + len + 1, path, strlen(path) + 1);
    return name;
}

static bool path_counts(int dirfd, const char *path)
{
    char buffer[2 * PATH_MAX];

    if (below_len == 0) {
        return false;
    }
    const char *name = whole_path(dirfd, path, buffer);
    return name != NULL && is_below(name);
}

/* ---- records of what has happened ---- */

/* The name below the directory, of one that counts. */
static const char *short_name(const char *name)
{
    return is_below(name) && name[below_len] == '/' ? name + below_len + 1 : "";
}

static void record_fd(enum hf_recorded_kind kind, int fd, uint64_t at, uint64_t bytes)
{
    char name[PATH_MAX];

    name_of(fd, name, sizeof(name));
    hf_record_call(kind, short_name(name), at, bytes);
}

static void record_path(enum hf_recorded_kind kind, int dirfd, const char *path)
{
    char buffer[2 * PATH_MAX];

    hf_record_call(kind, short_name(whole_path(dirfd, path, buffer)), 0, 0);
}

static void record_write(int fd, const struct iovec *data, int count, ssize_t n, off_t at)
{
    char name[PATH_MAX];
    int flags = fcntl(fd, F_GETFL);

    name_of(fd, name, sizeof(name));
    hf_record_write(short_name(name), data, count, n, (uint64_t)at, (flags & O_DSYNC) != 0);
}

/* ---- what happens to a call that counts ---- */

#define DIES_HALFWAY (-1)

static _Noreturn void die(void)
{
    for (;;) {
        kill(getpid(), SIGKILL);
    }
}

/* Counts a call. 0: let it through; otherwise the errno to fail with, or DIES_HALFWAY: the caller
 * is a write, which lets some of it through and dies. */
static int strike(bool is_write)
{
    uint64_t n = atomic_fetch_add(&faults->calls, 1) + 1;
    uint64_t error_at = faults->error_at;

    if (faults->kill_at != 0 && n == faults->kill_at) {
        if (is_write && faults->kill_half != 0) {
            return DIES_HALFWAY;
        }
        die();
    }
    if (error_at != 0 && (n == error_at || (n > error_at && faults->error_stays != 0))) {
        atomic_fetch_add(&faults->failed, 1);
        return (int)faults->error;
    }
    return 0;
}

/* In front of a system call that returns -1 and sets errno. */
#define STRIKE(counts)                                                                             \
    do {                                                                                           \
        int struck = (counts) ? strike(false) : 0;                                                 \
        if (struck != 0) {                                                                         \
            errno = struck;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

/* ---- writes ---- */

#define OWN_POSITION INT64_MIN
/* Where n bytes were written, which may have been where the descriptor stood. */
static off_t position_of(int fd, ssize_t n, off_t at)
{
    return at == OWN_POSITION ? (off_t)syscall(SYS_lseek, fd, 0L, SEEK_CUR) - n : at;
}

static ssize_t write_at(int fd, const void *data, size_t len, off_t at)
{
    bool counts = fd_counts(fd);
    int struck = counts ? strike(true) : 0;

    if (struck > 0) {
        errno = struck;
        return -1;
    }
    if (struck == DIES_HALFWAY) {
        len /= 2;
    }
    ssize_t n = at == OWN_POSITION ? syscall(SYS_write, fd, data, len)
                                   : syscall(SYS_pwrite64, fd, data, len, at);
    if (struck == DIES_HALFWAY) {
        die();
    }
    if (counts && recording && n > 0) {
        const struct iovec all = {(void *)(uintptr_t)data, len};
        record_write(fd, &all, 1, n, position_of(fd, n, at));
    }
    return n;
}

static ssize_t writev_at(int fd, const struct iovec *iov, int count, off_t at)
{
    bool counts = fd_counts(fd);
    int struck = counts ? strike(true) : 0;

    if (struck > 0) {
        errno = struck;
        return -1;
    }
    if (struck == DIES_HALFWAY) {
        count = (count + 1) / 2;
    }
    ssize_t n = at == OWN_POSITION ? syscall(SYS_writev, fd, iov, count)
                                   : syscall(SYS_pwritev, fd, iov, count, at, 0L);
    if (struck == DIES_HALFWAY) {
        die();
    }
    if (counts && recording && n > 0) {
        record_write(fd, iov, count, n, position_of(fd, n, at));
    }
    return n;
}

EXPORT ssize_t write(int fd, const void *data, size_t len)
{
    return write_at(fd, data, len, OWN_POSITION);
}

EXPORT ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    return write_at(fd, data, len, at);
}

EXPORT ssize_t pwrite64(int fd, const void *data, size_t len, off64_t at)
{
    return write_at(fd, data, len, at);
}

EXPORT ssize_t writev(int fd, const struct iovec *iov, int count)
{
    return writev_at(fd, iov, count, OWN_POSITION);
}

EXPORT ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
    return writev_at(fd, iov, count, at);
}

EXPORT ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t at)
{
    return writev_at(fd, iov, count, at);
}

/* ---- syncs ---- */

static void be_slow(void)
{
    uint32_t ms = faults->slow_ms;

    if (ms > 0) {
        const struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
        nanosleep(&t, NULL);
    }
}

static int sync_fd(long call, int fd)
{
    bool counts = fd_counts(fd);
    uint64_t covers = hf_record_position();
    char name[PATH_MAX];

    STRIKE(counts);
    if (counts) {
        be_slow();
        if (faults->nosync != 0) {
            return 0;
        }
    }
    int rc = (int)syscall(call, fd);
    if (counts && recording && rc == 0) {
        name_of(fd, name, sizeof(name));
        hf_record_sync(short_name(name), covers);
    }
    return rc;
}

EXPORT int fsync(int fd)
{
    return sync_fd(SYS_fsync, fd);
}

EXPORT int fdatasync(int fd)
{
    return sync_fd(SYS_fdatasync, fd);
}

/* A mapping has no path here: each counts while a directory is named. */
EXPORT int msync(void *address, size_t len, int flags)
{
    STRIKE(below_len > 0);
    if (below_len > 0) {
        be_slow();
        if (faults->nosync != 0) {
            return 0;
        }
    }
    return (int)syscall(SYS_msync, address, len, flags);
}

/* ---- sizes and names ---- */

EXPORT int ftruncate(int fd, off_t size)
{
    bool counts = fd_counts(fd);

    STRIKE(counts);
    int rc = (int)syscall(SYS_ftruncate, fd, size);
    if (counts && recording && rc == 0) {
        record_fd(HF_RECORDED_SIZE, fd, (uint64_t)size, 0);
    }
    return rc;
}

EXPORT int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

EXPORT int fallocate(int fd, int mode, off_t at, off_t len)
{
    bool counts = fd_counts(fd);

    STRIKE(counts);
    int rc = (int)syscall(SYS_fallocate, fd, mode, at, len);
    if (counts && recording && rc == 0 && mode == 0) {
        record_fd(HF_RECORDED_ALLOCATE, fd, (uint64_t)at, (uint64_t)len);
    }
    return rc;
}

EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    return fallocate(fd, mode, at, len);
}

/* Returns an errno. Without the C library's way out, writing a byte a block, where the file system
 * cannot do it. */
EXPORT int posix_fallocate(int fd, off_t at, off_t len)
{
    return fallocate(fd, 0, at, len) == 0 ? 0 : errno;
}

EXPORT int posix_fallocate64(int fd, off64_t at, off64_t len)
{
    return posix_fallocate(fd, at, len);
}

EXPORT int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    bool counts = path_counts(from_fd, from) || path_counts(to_fd, to);
    char a[2 * PATH_MAX], b[2 * PATH_MAX];

    STRIKE(counts);
    int rc = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    if (counts && recording && rc == 0) {
        hf_record_rename(short_name(whole_path(from_fd, from, a)),
                         short_name(whole_path(to_fd, to, b)));
    }
    return rc;
}

EXPORT int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return renameat2(from_fd, from, to_fd, to, 0);
}

EXPORT int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

EXPORT int unlinkat(int dirfd, const char *path, int flags)
{
    bool counts = path_counts(dirfd, path);

    STRIKE(counts);
    int rc = (int)syscall(SYS_unlinkat, dirfd, path, flags);
    if (counts && recording && rc == 0) {
        record_path(HF_RECORDED_REMOVE, dirfd, path);
    }
    return rc;
}

EXPORT int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

EXPORT int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

EXPORT int mkdirat(int dirfd, const char *path, mode_t mode)
{
    bool counts = path_counts(dirfd, path);

    STRIKE(counts);
    int rc = (int)syscall(SYS_mkdirat, dirfd, path, mode);
    if (counts && recording && rc == 0) {
        record_path(HF_RECORDED_MKDIR, dirfd, path);
    }
    return rc;
}

EXPORT int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

/* ---- open ---- */

static bool exists(int dirfd, const char *path)
{
    int before = errno;
    bool found = faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;

    errno = before;
    return found;
}

static int open_at(int dirfd, const char *path, int flags, mode_t mode)
{
    bool counts = path_counts(dirfd, path);
    bool makes = counts && (flags & O_CREAT) != 0 && !exists(dirfd, path);
    bool empties = counts && (flags & O_TRUNC) != 0;

    STRIKE(makes || empties); /* Opening what exists changes nothing, with O_CREAT neither. */
    if (counts && faults->nosync != 0) {
        flags &= ~(O_SYNC | O_DSYNC);
    }
    int fd = (int)syscall(SYS_openat, dirfd, path, flags, mode);
    if (recording && fd >= 0 && (makes || empties)) {
        record_fd(makes ? HF_RECORDED_MAKE : HF_RECORDED_SIZE, fd, 0, 0);
    }
    return fd;
}

/* The mode is there only when the flags ask for it. */
#define MODE_OF(flags, mode)                                                                       \
    do {                                                                                           \
        if (((flags) & (O_CREAT | O_TMPFILE)) != 0) {                                              \
            va_list args;                                                                          \
            va_start(args, flags);                                                                 \
            (mode) = va_arg(args, mode_t);                                                         \
            va_end(args);                                                                          \
        }                                                                                          \
    } while (0)

EXPORT int open(const char *path, int flags, ...)
{
    mode_t mode = 0;

    MODE_OF(flags, mode);
    return open_at(AT_FDCWD, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;

    MODE_OF(flags, mode);
    return open_at(AT_FDCWD, path, flags, mode);
}

EXPORT int openat(int dirfd, const char *path, int flags, ...)
{
    mode_t mode = 0;

    MODE_OF(flags, mode);
    return open_at(dirfd, path, flags, mode);
}

EXPORT int openat64(int dirfd, const char *path, int flags, ...)
{
    mode_t mode = 0;

    MODE_OF(flags, mode);
    return open_at(dirfd, path, flags, mode);
}

/* ---- the wall clock ---- */

EXPORT int clock_gettime(clockid_t clock, struct timespec *t)
{
    int rc = (int)syscall(SYS_clock_gettime, clock, t);
    int64_t offset = faults->clock_ns;

    if (rc == 0 && offset != 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t nsec = t->tv_nsec + offset % 1000000000;

        t->tv_sec += offset / 1000000000 + (nsec >= 1000000000) - (nsec < 0);
        t->tv_nsec = (nsec + 1000000000) % 1000000000;
    }
    return rc;
}

EXPORT int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}

EXPORT time_t time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) {
        *out = now.tv_sec;
    }
    return now.tv_sec;
}
