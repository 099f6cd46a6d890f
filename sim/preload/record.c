/*
 * record.c - appends records of calls to a file (record.h). As faults.c: system calls only, no
 * memory, no lock.
 */
#include "sim/preload/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PARTS_MAX 80 /* of a write; LMDB has 64 pages at most in one */

static int out = -1;

int hf_record_open(const char *path)
{
    out = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    return out < 0 ? -1 : 0;
}

uint64_t hf_record_position(void)
{
    return out < 0 ? 0 : (uint64_t)syscall(SYS_lseek, out, 0L, SEEK_END);
}

static void append(const struct hf_recorded *r, const char *name, const struct iovec *data,
                   int count)
{
    int before = errno;
    struct iovec part[PARTS_MAX] = {{(void *)(uintptr_t)r, sizeof(*r)},
                                    {(void *)(uintptr_t)name, r->name_bytes}};
    size_t left = (size_t)r->bytes;
    int n = 2;

    for (int i = 0; data != NULL && i < count && left > 0 && n < PARTS_MAX; i++) {
        part[n] = data[i];
        part[n].iov_len = data[i].iov_len < left ? data[i].iov_len : left;
        left -= part[n++].iov_len;
    }
    if (data != NULL && left > 0) {
        _exit(3); /* a record that is not whole would be read as something else */
    }
    (void)!syscall(SYS_writev, out, part, n);
    errno = before;
}

void hf_record_call(enum hf_recorded_kind kind, const char *name, uint64_t at, uint64_t bytes)
{
    if (out >= 0) {
        const struct hf_recorded r = {kind, (uint32_t)strlen(name) + 1, at, bytes, 0};
        append(&r, name, NULL, 0);
    }
}

void hf_record_rename(const char *from, const char *to)
{
    char both[1024];
    size_t a = strlen(from) + 1, b = strlen(to) + 1;

    if (out < 0) {
        return;
    }
    if (a + b > sizeof(both)) {
        _exit(3);
    }
    memcpy(both, from, a);
    memcpy(both + a, to, b);
    const struct hf_recorded r = {HF_RECORDED_RENAME, (uint32_t)(a + b), 0, 0, 0};
    append(&r, both, NULL, 0);
}

void hf_record_sync(const char *name, uint64_t covers)
{
    if (out >= 0) {
        const struct hf_recorded r = {HF_RECORDED_SYNC, (uint32_t)strlen(name) + 1, 0, 0, covers};
        append(&r, name, NULL, 0);
    }
}

void hf_record_write(const char *name, const struct iovec *data, int count, ssize_t n, uint64_t at,
                     int dsync)
{
    if (out >= 0 && n > 0) {
        const struct hf_recorded r = {dsync ? HF_RECORDED_DSYNC : HF_RECORDED_WRITE,
                                      (uint32_t)strlen(name) + 1, at, (uint64_t)n, 0};
        append(&r, name, data, count);
    }
}
