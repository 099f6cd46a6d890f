/*
 * record.h - what libholdfast-faults.so writes down of the calls that change files, for a driver
 * that wants to know what a disk may hold after a power cut (tests/reliability/lost.c).
 *
 *     HF_FAULTS_RECORD=FILE    each call that counts and succeeds is appended, an absolute path
 *
 * A record is a struct hf_recorded, the name (below HF_FAULTS_DIR; of a rename both, each with its
 * zero), and for a write its bytes. It is there once the call has returned, by one append each, so
 * neither locks nor order among threads are needed: a sync says how much of the file was there when
 * it began, and has made durable what that part says of its file, or of its directory's names.
 */
#ifndef SIM_PRELOAD_RECORD_H
#define SIM_PRELOAD_RECORD_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum hf_recorded_kind {
    HF_RECORDED_WRITE = 1, /* at, bytes */
    HF_RECORDED_DSYNC,     /* the same, durable when it returns */
    HF_RECORDED_SIZE,      /* ftruncate: at; an open with O_TRUNC: 0 */
    HF_RECORDED_ALLOCATE,  /* at, bytes */
    HF_RECORDED_SYNC,      /* covers */
    HF_RECORDED_MAKE,      /* a file */
    HF_RECORDED_RENAME,
    HF_RECORDED_REMOVE, /* a file or directory */
    HF_RECORDED_MKDIR,
};

struct hf_recorded {
    uint32_t kind, name_bytes;
    uint64_t at, bytes;
    uint64_t covers; /* of a sync: bytes of this file that were there when it began */
};

/* For the library itself; all do nothing without hf_record_open, and keep errno. */
int hf_record_open(const char *path); /* 0, or -1 */
uint64_t hf_record_position(void);
void hf_record_call(enum hf_recorded_kind kind, const char *name, uint64_t at, uint64_t bytes);
void hf_record_rename(const char *from, const char *to);
void hf_record_sync(const char *name, uint64_t covers);
/* n bytes of these were written. */
void hf_record_write(const char *name, const struct iovec *data, int count, ssize_t n, uint64_t at,
                     int dsync);

#endif
