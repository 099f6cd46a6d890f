/*
 * disk.c - full and failing disks, by standing in for the system calls of the store.
 *
 * The store writes through the C library, LMDB's included, and the dynamic linker finds a program's
 * own functions first: these. While sim_disk_errno is set, all that writes or syncs fails with it,
 * before anything has reached the file; else the kernel is asked directly. Reading goes on, as on
 * a real disk that is full. What the model leaves out: a real file system may still overwrite
 * blocks that a file has.
 *
 * Only holdfast-sim is linked with this; the simulator prints through stdio, which does not come by
 * here. Next: run.c, which sets sim_disk_errno around a node's events.
 */
#include "sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static bool fails(void)
{
    if (sim_disk_errno != 0) {
        errno = sim_disk_errno;
    }
    return sim_disk_errno != 0;
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    return fails() ? -1 : syscall(SYS_write, fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return fails() ? -1 : syscall(SYS_pwrite64, fd, bytes, len, offset);
}

ssize_t writev(int fd, const struct iovec *v, int count)
{
    return fails() ? -1 : syscall(SYS_writev, fd, v, count);
}

/* A full disk has nothing more to sync than what it took: that works. */
int fsync(int fd)
{
    return sim_disk_errno == EIO && fails() ? -1 : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return sim_disk_errno == EIO && fails() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int posix_fallocate(int fd, off_t offset, off_t len)
{
    if (sim_disk_errno != 0) {
        return sim_disk_errno;
    }
    return syscall(SYS_fallocate, fd, 0, offset, len) == 0 ? 0 : errno;
}
