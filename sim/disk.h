/*
 * disk.h - what the disk of a node does to the real writes of the real store: refuse, or forget.
 *
 * The store writes to files on tmpfs, which never fail and forget nothing. This unit takes the
 * place of pread, pwrite, write, writev, ftruncate, posix_fallocate, fsync, fdatasync, open,
 * openat, mkdir, rename, renameat, unlink and unlinkat in the whole program, LMDB included (the
 * program's own symbols come before those of libc), and that of close, lseek and read for window.h,
 * which must know of them. While disk_use names a disk, it adds:
 *
 * trouble  for a while calls fail: writes with ENOSPC or EIO, reads with EIO, syncs with EIO or, on
 *          a disk that takes writes before it has looked for room (a thin volume, a quota), with
 *          EDQUOT, as do writes that are synchronous by themselves (LMDB's meta pages: O_DSYNC).
 *          LMDB's reads fail after a power cut only: later the kernel has its meta pages in memory.
 *          After a sync that failed its pages count as clean though they are not on the disk, as in
 *          Linux, and may be as they were before at once, as where the kernel drops them, also
 *          under a map. A synchronous write that failed may be on the disk all the same. Where each
 *          call fails with EIO the file system itself is at its end: no file can be opened, made,
 *          renamed or removed either.
 * power    every page of a file that was written since its last sync is remembered as it was then;
 *          disk_power_cut puts a random part of them back. Names and lengths of files are kept:
 *          what a directory forgets is not modelled.
 *
 * A disk that is well and remembers nothing writes through window.h, which is faster. Without a
 * disk in use the calls go straight to the kernel. One thread. Linked into holdfast-sim
 * and nothing else, because it takes the place of libc in whatever it is linked into.
 */
#ifndef HF_SIM_DISK_H
#define HF_SIM_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk; /* opaque */

/* Calls that were failed since the counts were last asked for. */
struct disk_counts {
    uint64_t full, errors, syncs_failed;
};

/* remember: keep what a power cut needs, which costs a read for each page written. */
struct disk *disk_new(uint64_t seed, bool remember);
void disk_free(struct disk *d);
/* Calls from now on belong to this disk; NULL = to none. Returns the one before. */
struct disk *disk_use(struct disk *d);
/* error: 0, ENOSPC, EIO or EDQUOT. chance: that a call fails. */
void disk_trouble(struct disk *d, int error, double chance);
/* The process ended but the machine did not: nothing is lost, files are forgotten. */
void disk_keep(struct disk *d);
/* The machine lost power. Returns how many pages went back to what was synced last. */
uint64_t disk_power_cut(struct disk *d);
struct disk_counts disk_counts(struct disk *d); /* and they begin at 0 again */
bool disk_in_trouble(const struct disk *d);

#endif
