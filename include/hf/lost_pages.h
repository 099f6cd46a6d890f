/*
 * lost_pages.h - what becomes of a page of a mapped store that its disk does not give or take.
 *
 * A store is read through a shared map, where a disk that fails has no way to say so but SIGBUS,
 * and that ends a process whose other pages are all there (G9). From the first call on:
 *
 * - a read of data.mdb that cannot have its page (a bad sector, a file system that came to an end,
 *   a file that somebody cut off) is HF_CORRUPT, as damage is, and what mends damage mends it. The
 *   page is asked for again by the next read
 * - a page of lock.mdb that cannot be written (a file system that came to an end, XFS first of all;
 *   one that has no room for a copy) becomes this process's own. Other processes, mdb_stat say, are
 *   not seen from then on
 *
 * Any other SIGBUS ends the process, as ever; that of a page which LMDB needs for writing, too.
 * Source: mmap(2), ERRORS; LMDB 0.9.24, mdb.c, mdb_env_setup_locks.
 */
#ifndef HF_LOST_PAGES_H
#define HF_LOST_PAGES_H

#include <stdint.h>

/* Takes SIGBUS for the whole process, for good. Once, in main; a child that is to die of such a
 * page sets the signal back. */
void hf_lost_pages_outlive(void);

/* How often a page was not to be had since the start. From any thread. */
uint64_t hf_lost_pages_count(void);

#endif
