/*
 * loop_disk.h - an ext4 or XFS of a campaign's own, in memory, behind a loop device, that can come
 * to a sudden end under the daemons on it.
 *
 * Its end is EXT4_IOC_SHUTDOWN without flushing the journal, which XFS knows too: from then on
 * every call fails that needs the file system, reads of an open file and opening one among them,
 * but not what is mapped and in memory. On XFS the first write to a shared map fails as well, once
 * the kernel has written the page back.
 *
 * Needs root. Nothing is left behind, whatever ends the program: the disk is anonymous memory, the
 * loop device frees itself with its last user, and the mounts are in a namespace of their own. One
 * disk at a time. As daemons.h, which comes before it, a part of the program that includes it.
 */
#ifndef TESTS_RELIABILITY_LOOP_DISK_H
#define TESTS_RELIABILITY_LOOP_DISK_H

#include <linux/loop.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#define DISK_BYTES (512u << 20)   /* of which only what is written takes memory */
#define IOC_SHUTDOWN 0x8004587dUL /* EXT4_IOC_SHUTDOWN and XFS_IOC_GOINGDOWN, in no header here */
#define NO_LOG_FLUSH 2u

static int disk_fd = -1; /* a memfd */
static char mount_point[128];
static const char *disk_fs = "ext4"; /* or "xfs", set before all else */

static inline const char *mkfs(void)
{
    return strcmp(disk_fs, "xfs") == 0 ? "/sbin/mkfs.xfs" : "/sbin/mkfs.ext4";
}

/* For main: why there can be none here, or NULL; then the program has its namespace. */
static inline const char *disk_impossible(void)
{
    if (geteuid() != 0) {
        return "it needs root: a loop device and a mount";
    }
    if (unshare(CLONE_NEWNS) != 0 || mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        access("/dev/loop-control", R_OK | W_OK) != 0) {
        return "no mounts or no loop devices are allowed here";
    }
    return access(mkfs(), X_OK) == 0 ? NULL : "its mkfs is not installed";
}

/* In the test, before all else. */
static inline void disk_begin(void)
{
    snprintf(mount_point, sizeof(mount_point), "%s", e2e_path("disk"));
    assert_int_equal(mkdir(mount_point, 0700), 0);
}

/* A new one, empty; not mounted. */
static inline void disk_make(void)
{
    char path[64];

    if (disk_fd >= 0) {
        close(disk_fd);
    }
    disk_fd = memfd_create("holdfast-disk", MFD_CLOEXEC);
    assert_true(disk_fd >= 0);
    assert_int_equal(ftruncate(disk_fd, DISK_BYTES), 0);
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)getpid(), disk_fd);
    run_program((const char *const[]){mkfs(), "-q", disk_fs[0] == 'x' ? "-f" : "-F", path, NULL});
}

/* A loop device on it, gone with its last user. */
static inline int loop_open(char path[32])
{
    for (int tries = 0; tries < 100; tries++) {
        struct loop_config config = {.fd = (uint32_t)disk_fd, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
        int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        int number = ioctl(control_fd, LOOP_CTL_GET_FREE);

        close(control_fd);
        assert_true(number >= 0);
        snprintf(path, 32, "/dev/loop%d", number);
        int fd = open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            return fd;
        }
        if (fd >= 0) {
            close(fd);
        }
        e2e_sleep_ms(2); /* another program was faster */
    }
    fail_msg("no free loop device");
    return -1;
}

/* False when its journal cannot be replayed, or worse. */
static inline bool disk_mount(void)
{
    char path[32];
    int fd = loop_open(path);
    bool good = mount(path, mount_point, disk_fs, MS_NOATIME, "") == 0;

    close(fd);
    if (good) {
        snprintf(box.mounted, sizeof(box.mounted), "%s", mount_point);
    }
    return good;
}

/* Waits until nobody has it open any more. */
static inline void disk_unmount(void)
{
    int64_t until = e2e_now_ms() + SETTLE_MS;

    while (umount2(mount_point, 0) != 0) {
        assert_true(errno == EBUSY && e2e_now_ms() < until);
        e2e_sleep_ms(1);
    }
    box.mounted[0] = '\0';
}

/* Its end, until it is mounted again. `settled`: once the kernel has written back what it has in
 * memory, so that each page of a shared map is clean and the first write to it asks the disk. */
static inline void disk_stop(bool settled)
{
    uint32_t flags = NO_LOG_FLUSH;
    int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    assert_true(fd >= 0);
    assert_true(!settled || syncfs(fd) == 0);
    assert_int_equal(ioctl(fd, IOC_SHUTDOWN, &flags), 0);
    close(fd);
}

/* Moves the data of a node that is not running, which the harness made in the box, to the disk. */
static inline void disk_take(struct e2e_node *n)
{
    char path[sizeof(n->dir)];

    snprintf(path, sizeof(path), "%.90s/%.31s", mount_point, n->name);
    if (access(n->dir, F_OK) == 0) { /* one that is new makes it there */
        copy_tree(n->dir, path);
    }
    snprintf(n->dir, sizeof(n->dir), "%s", path);
    e2e_arg_set(n, "--data", path);
    int fd = open(mount_point, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(syncfs(fd), 0); /* its end is to find what the daemons sync, not cp */
    close(fd);
}

/* Before the teardown of the box. */
static inline void disk_end(void)
{
    for (size_t i = 0; i < box.node_count; i++) {
        e2e_stop(&box.node[i], SIGKILL); /* or the disk is busy */
    }
}

#endif
