/*
 * faults.h - what libholdfast-faults.so does to a process, and how a driver steers it meanwhile.
 *
 * The library is preloaded (LD_PRELOAD) into a real daemon. It counts each call that changes a file
 * below one directory, and can kill the process at the N-th of them, let it fail, make syncs slow
 * or empty, and shift the wall clock. So "kill at every write" is a loop over N until a run ends
 * with fewer than N calls.
 *
 * - HF_FAULTS_DIR=DIR: required; only files below it count; an absolute path
 * - HF_FAULTS_PAGE=FILE: a struct hf_faults that the driver has mapped too; everything below, but
 *   for the record, is read from it at each call, and the count is there after a kill -9
 * - HF_FAULTS_KILL=N: kill -9 in place of the N-th call; N/half lets half of a write through
 * - HF_FAULTS_ERROR=EIO@N: the N-th call fails (EIO, ENOSPC, EROFS, EDQUOT); EIO@N+ from it on
 * - HF_FAULTS_SLOW_MS=MS: fsync, fdatasync and msync take so much longer
 * - HF_FAULTS_NOSYNC=1: these three do nothing, and O_SYNC and O_DSYNC are taken off
 * - HF_FAULTS_CLOCK_S=S: the wall clock is off by so many seconds
 * - HF_FAULTS_RECORD=FILE: each call that counts and succeeds is written down (record.h)
 *
 * The variables fill the page where a page is given and still all zero. Processes that a daemon
 * forks or becomes by exec share the count. What counts: write, pwrite, writev, pwritev, fsync,
 * fdatasync, msync, ftruncate, fallocate, rename, unlink, mkdir, rmdir, and an open that makes
 * or empties a file, with all their variants.
 *
 * It does not see what the C library does inside itself (a FILE that is opened and flushed by
 * stdio), nor direct system calls, nor stores into a shared mapping; the store uses none of these
 * for data, only for LMDB's lock file. 64-bit Linux.
 *
 * Threads: all fields may be changed by anybody at any time.
 */
#ifndef SIM_PRELOAD_FAULTS_H
#define SIM_PRELOAD_FAULTS_H

#include <stdatomic.h>
#include <stdint.h>

struct hf_faults {
    _Atomic uint64_t calls;   /* counted so far */
    _Atomic uint64_t failed;  /* of them made to fail */
    _Atomic uint64_t kill_at; /* 0 = never; as error_at */
    _Atomic uint64_t error_at;
    _Atomic uint32_t kill_half;   /* let half of a write through before the kill */
    _Atomic uint32_t error;       /* an errno */
    _Atomic uint32_t error_stays; /* 1: every call from error_at on; 0: that one */
    _Atomic uint32_t slow_ms;
    _Atomic uint32_t nosync;  /* O_DSYNC is taken off when a file is opened, not later */
    _Atomic uint32_t set;     /* 1: the driver has filled the page, the variables do not */
    _Atomic int64_t clock_ns; /* added to CLOCK_REALTIME */
};

#endif
