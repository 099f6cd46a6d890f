/*
 * fuzz_changelog.c - whatever happens to the bytes of a changelog, it opens to a true prefix or not
 * at all.
 *
 * A log of nine frames in three segments is made once. The input damages a copy of its files: byte
 * 0 is what the state covers, byte 1 the length of the last file in steps of 64, and each four
 * bytes after that are a segment, an offset (2 bytes) and a value to xor. Then the log is opened.
 * If it opens, it holds frames 1..n as they were written, n is not below what the state covers, and
 * it goes on at n+1. Every other frame is one that is signed later, and a signature that was
 * damaged is made again. The directory is on tmpfs where there is one, since each input costs some
 * thirty system calls.
 */
#include "hf/changelog.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRAMES 9u
#define SEGMENTS 3u
#define SEGMENT_BYTES 4096u
#define FRAME_BYTES 1000u /* three to a segment */
#define SIGNATURE_AT 300u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static uint8_t pristine[SEGMENTS][SEGMENT_BYTES];

static void path_of(unsigned segment, char path[128])
{
    snprintf(path, 128, "%s/%016x.seg", dir, segment + 1);
}

static void frame(hf_seq seq, uint8_t out[FRAME_BYTES])
{
    for (unsigned i = 0; i < FRAME_BYTES; i++) {
        out[i] = (uint8_t)(seq * 31 + i * 7);
    }
}

static uint32_t sign(void *ctx, hf_seq seq, uint8_t *payload, size_t len)
{
    uint8_t whole[FRAME_BYTES];

    (void)ctx;
    HF_ASSERT(len == FRAME_BYTES);
    frame(seq, whole);
    memcpy(payload + SIGNATURE_AT, whole + SIGNATURE_AT, HF_LOG_SIGNATURE_BYTES);
    return SIGNATURE_AT;
}

static void sign_again(struct hf_changelog *log)
{
    uint8_t got[FRAME_BYTES];
    hf_seq from = hf_changelog_unsigned(log);
    bool is_signed;
    size_t len;

    for (hf_seq seq = from; from != 0 && seq <= hf_changelog_last(log); seq++) {
        HF_ASSERT(hf_changelog_read_unsigned(log, seq, got, sizeof(got), &len, &is_signed) ==
                  HF_OK);
        HF_ASSERT(is_signed ||
                  hf_changelog_sign_again(log, seq, got, sign(NULL, seq, got, len)) == HF_OK);
    }
    hf_changelog_signed(log);
}

static struct hf_changelog *open_log(hf_seq covered)
{
    struct hf_changelog_config c = {.dir = dir,
                                    .segment_bytes = SEGMENT_BYTES,
                                    .covered = covered,
                                    .single_thread = true,
                                    .sign = sign};
    struct hf_changelog *log;
    struct hf_error e;

    if (hf_changelog_open(&c, 0, NULL, NULL, &log, &e) == HF_OK) {
        sign_again(log);
    }
    return log;
}

static void add(struct hf_changelog *log, hf_seq seq)
{
    uint8_t bytes[FRAME_BYTES];

    frame(seq, bytes);
    enum hf_err err;
    if (seq % 2 == 0) {
        err = hf_changelog_append(log, HF_RECORD_FRAME, seq, hf_slice_of(bytes, FRAME_BYTES));
    } else {
        memset(bytes + SIGNATURE_AT, 0, HF_LOG_SIGNATURE_BYTES);
        err = hf_changelog_append_unsigned(log, seq, hf_slice_of(bytes, FRAME_BYTES));
    }
    HF_ASSERT(err == HF_OK && hf_changelog_sync(log) == HF_OK);
}

static void remove_all(void)
{
    char path[128];

    for (unsigned i = 0; i < SEGMENTS + 1; i++) {
        path_of(i, path);
        unlink(path);
    }
    rmdir(dir);
}

static void make_once(void)
{
    struct hf_changelog *log;
    char path[128];

    if (dir[0] != '\0') {
        return;
    }
    snprintf(dir, sizeof(dir), "%s/hf-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    HF_ASSERT(mkdtemp(dir) != NULL);
    atexit(remove_all);
    log = open_log(0);
    for (hf_seq seq = 1; seq <= FRAMES; seq++) {
        add(log, seq);
    }
    hf_changelog_close(log);
    for (unsigned i = 0; i < SEGMENTS; i++) {
        path_of(i, path);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        HF_ASSERT(fd >= 0 && read(fd, pristine[i], SEGMENT_BYTES) == SEGMENT_BYTES);
        close(fd);
    }
}

static void write_damaged(const uint8_t *data, size_t size)
{
    static uint8_t files[SEGMENTS][SEGMENT_BYTES];
    char path[128];

    memcpy(files, pristine, sizeof(files));
    for (size_t i = 2; i + 4 <= size; i += 4) {
        files[data[i] % SEGMENTS][(data[i + 1] * 256u + data[i + 2]) % SEGMENT_BYTES] ^=
            data[i + 3];
    }
    for (unsigned i = 0; i < SEGMENTS; i++) {
        size_t len = SEGMENT_BYTES;
        if (i == SEGMENTS - 1 && size > 1) {
            len -= (size_t)data[1] * 64 % SEGMENT_BYTES;
        }
        path_of(i, path);
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        HF_ASSERT(fd >= 0 && write(fd, files[i], len) == (ssize_t)len);
        close(fd);
    }
    path_of(SEGMENTS, path);
    unlink(path);
}

static void check_frames(const struct hf_changelog *log, hf_seq last)
{
    uint8_t got[FRAME_BYTES], want[FRAME_BYTES];
    size_t len;

    HF_ASSERT(hf_changelog_first(log) == 1 && hf_changelog_last(log) == last);
    for (hf_seq seq = 1; seq <= last; seq++) {
        frame(seq, want);
        HF_ASSERT(hf_changelog_read(log, seq, got, FRAME_BYTES, &len) == HF_OK);
        HF_ASSERT(len == FRAME_BYTES && memcmp(got, want, FRAME_BYTES) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hf_seq covered = size > 0 ? data[0] % (FRAMES + 2) : 0;
    struct hf_changelog *log;
    hf_seq last;

    make_once();
    write_damaged(data, size);
    log = open_log(covered);
    if (log == NULL) {
        return 0;
    }
    last = hf_changelog_last(log);
    HF_ASSERT(last >= covered && last <= FRAMES);
    check_frames(log, last);
    add(log, last + 1);
    hf_changelog_close(log);
    log = open_log(last + 1);
    HF_ASSERT(log != NULL);
    check_frames(log, last + 1);
    hf_changelog_close(log);
    return 0;
}
