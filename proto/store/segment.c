/*
 * segment.c - the bytes of one changelog file.
 *
 * All integers are little-endian. A file is named by its number, 16 hex digits and ".seg", and has
 * a fixed size that was written with zeros (or by an earlier use) before the file got that name.
 *
 * Head, 128 bytes:
 *
 *     0  "HFLOGSEG"
 *     8  u32 version = 2, or 1 in a log that an earlier holdfast wrote
 *    12  u32 zero
 *    16  u64 number of the segment
 *    24  u64 salt
 *    32  u64 seq of the first frame
 *    40  u64 salt of the segment before, or 0
 *    48  u64 end of the segment before, or 0
 *    56  u64 size of this file
 *    64  u64 synced_at
 *    72  zeros
 *   120  u64 xxh3-64 of bytes 0..119
 *
 * Records, from offset 128 on, back to back:
 *
 *     0  "HFr", then the type (1 byte)
 *     4  u32 payload length
 *     8  u64 seq of the frame; of the frame before a fact
 *    16  u64 salt of the segment
 *    24  u64 synced_at
 *    32  u64 xxh3-64(payload, seed = xxh3-64(bytes 0..31))
 *    40  payload, zeros up to a multiple of 8
 *
 * A frame that is signed after it was written has type 3, zeros in its payload for the signature,
 * and a trailer behind it, zeros until it is signed:
 *
 *     0  u64 xxh3-64(bytes 8..79, seed = the record's xxh3-64)
 *     8  u32 where in the payload the signature begins
 *    12  u32 zero
 *    16  the signature, 64 bytes
 *
 * It stands at the end because that page is the one which the next group writes anyway.
 *
 * Invariant: bytes 0..11 of the head keep their meaning in every version. A file has its name only
 * once its head and first group are synced up to the head's synced_at. In a record, synced_at is
 * the offset in the same segment up to which all was known to be synced when the record was
 * written; it is an offset and not a seq because a fact has no seq of its own. The salt keeps what
 * an earlier use of the file left behind from being taken for a record. A trailer's checksum does
 * the same for an earlier signature.
 *
 * This file must not decide what is accepted or lost: that is recovery.c. Read changelog.c next.
 */
#include "segment.h"

#include "hf/bytes.h"

#include <xxhash.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define HEAD_MAGIC "HFLOGSEG"
#define RECORD_MAGIC "HFr"
#define TYPE_SIGNED_LATER 3u

/* One entry of 24 bytes for eight small records: a read walks four heads on average, 1 us, and the
 * index of a log of 400-byte frames is under 1 % of it. Past 16 KiB a walk would leave the cache.
 */
#define INDEX_RECORDS 8u
#define INDEX_BYTES (16u << 10)

static const uint8_t zeros[64u << 10];

/* ---- files ---- */

enum hf_err hf_segment_errno(int error)
{
    if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
        return HF_FULL;
    }
    return error == ENOMEM ? HF_NOMEM : HF_IO;
}

void hf_segment_name(uint64_t number, char name[32])
{
    snprintf(name, 32, "%016" PRIx64 ".seg", number);
}

enum hf_err hf_segment_read(int fd, void *data, size_t len, uint64_t at)
{
    uint8_t *p = data;

    while (len > 0) {
        ssize_t n = pread(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return hf_segment_errno(errno);
        }
        if (n == 0) {
            return HF_CORRUPT;
        }
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return HF_OK;
}

enum hf_err hf_segment_write(int fd, const void *data, size_t len, uint64_t at)
{
    const uint8_t *p = data;

    while (len > 0) {
        ssize_t n = pwrite(fd, p, len, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? hf_segment_errno(errno) : HF_IO;
        }
        p += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    return HF_OK;
}

enum hf_err hf_segment_zero(int fd, uint64_t from, uint64_t to)
{
    while (from < to) {
        size_t len = to - from < sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);
        enum hf_err err = hf_segment_write(fd, zeros, len, from);
        if (err != HF_OK) {
            return err;
        }
        from += len;
    }
    /* One sync for all: syncs of 64 KiB to 1 MiB pieces make a writer on the same disk wait for
     * each of them, which raised its p99 from 0.5 to 2 ms. */
    return fdatasync(fd) == 0 ? HF_OK : hf_segment_errno(errno);
}

enum hf_err hf_segment_prepare(int dirfd, const char *name, uint64_t bytes, int *fd)
{
    int f = openat(dirfd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    enum hf_err err;
    int rc;

    if (f < 0) {
        return hf_segment_errno(errno);
    }
    /* Reserving first keeps the file in one piece and fails at once on a full disk. It does not
     * save the writing: a synced group of 14 KB takes 240 us in space that is only reserved, 160 us
     * in space that was written, because the first also has to commit the file system's journal. */
    do {
        rc = posix_fallocate(f, 0, (off_t)bytes);
    } while (rc == EINTR);
    err = rc == 0 ? hf_segment_zero(f, 0, bytes) : hf_segment_errno(rc);
    if (err == HF_OK && fsync(f) != 0) {
        err = hf_segment_errno(errno);
    }
    if (err != HF_OK) {
        unlinkat(dirfd, name, 0);
        close(f);
        return err;
    }
    *fd = f;
    return HF_OK;
}

/* ---- heads ---- */

void hf_segment_head_encode(const struct hf_segment_head *h, uint8_t out[HF_SEGMENT_HEAD])
{
    memset(out, 0, HF_SEGMENT_HEAD);
    memcpy(out, HEAD_MAGIC, 8);
    hf_store32(out + 8, h->version);
    hf_store64(out + 16, h->number);
    hf_store64(out + 24, h->salt);
    hf_store64(out + 32, h->first);
    hf_store64(out + 40, h->before_salt);
    hf_store64(out + 48, h->before_end);
    hf_store64(out + 56, h->bytes);
    hf_store64(out + 64, h->synced_at);
    hf_store64(out + 120, XXH3_64bits(out, 120));
}

enum hf_err hf_segment_head_decode(const uint8_t in[HF_SEGMENT_HEAD], struct hf_segment_head *h)
{
    if (memcmp(in, HEAD_MAGIC, 8) != 0) {
        return HF_CORRUPT;
    }
    h->version = hf_load32(in + 8);
    if (h->version < 1 || h->version > HF_SEGMENT_VERSION) {
        return HF_MISMATCH;
    }
    if (hf_load64(in + 120) != XXH3_64bits(in, 120)) {
        return HF_CORRUPT;
    }
    h->number = hf_load64(in + 16);
    h->salt = hf_load64(in + 24);
    h->first = hf_load64(in + 32);
    h->before_salt = hf_load64(in + 40);
    h->before_end = hf_load64(in + 48);
    h->bytes = hf_load64(in + 56);
    h->synced_at = hf_load64(in + 64);
    if (h->bytes > HF_SEGMENT_MAX || h->synced_at > h->bytes || h->synced_at < HF_SEGMENT_HEAD ||
        h->first == 0) {
        return HF_CORRUPT;
    }
    return HF_OK;
}

uint64_t hf_log_trailer_at(const struct hf_log_record *r)
{
    return HF_LOG_RECORD_HEAD + (((uint64_t)r->len + 7) & ~UINT64_C(7));
}

uint64_t hf_log_record_size(const struct hf_log_record *r)
{
    return hf_log_trailer_at(r) + (r->trailer ? HF_LOG_TRAILER : 0);
}

void hf_log_record_begin(uint8_t *record, const struct hf_log_record *r)
{
    uint8_t *end = record + HF_LOG_RECORD_HEAD + r->len;

    memset(record, 0, HF_LOG_RECORD_HEAD);
    memcpy(record, RECORD_MAGIC, 3);
    record[3] = (uint8_t)(r->trailer ? TYPE_SIGNED_LATER : r->type);
    hf_store32(record + 4, r->len);
    hf_store64(record + 8, r->seq);
    memset(end, 0, (size_t)(record + hf_log_record_size(r) - end));
}

void hf_log_record_stamp(uint8_t *record, uint64_t salt, uint64_t synced_at)
{
    hf_store64(record + 16, salt);
    hf_store64(record + 24, synced_at);
    hf_store64(record + 32, XXH3_64bits_withSeed(record + HF_LOG_RECORD_HEAD, hf_load32(record + 4),
                                                 XXH3_64bits(record, 32)));
}

bool hf_log_record_decode(const uint8_t head[HF_LOG_RECORD_HEAD], struct hf_log_record *r)
{
    if (memcmp(head, RECORD_MAGIC, 3) != 0) {
        return false;
    }
    r->trailer = head[3] == TYPE_SIGNED_LATER;
    if (!r->trailer && head[3] != HF_RECORD_FRAME && head[3] != HF_RECORD_FACT) {
        return false;
    }
    r->type = r->trailer ? HF_RECORD_FRAME : (enum hf_record_type)head[3];
    r->len = hf_load32(head + 4);
    r->seq = hf_load64(head + 8);
    r->salt = hf_load64(head + 16);
    r->synced_at = hf_load64(head + 24);
    r->sum = hf_load64(head + 32);
    return r->len <= HF_LOG_RECORD_MAX;
}

bool hf_log_record_verify(const uint8_t head[HF_LOG_RECORD_HEAD], const uint8_t *payload,
                          const struct hf_log_record *r)
{
    return XXH3_64bits_withSeed(payload, r->len, XXH3_64bits(head, 32)) == r->sum;
}

void hf_log_trailer_encode(const struct hf_log_record *r, const uint8_t *payload, uint32_t at,
                           uint8_t trailer[HF_LOG_TRAILER])
{
    HF_ASSERT(at <= r->len && r->len - at >= HF_LOG_SIGNATURE_BYTES);
    memset(trailer, 0, HF_LOG_TRAILER);
    hf_store32(trailer + 8, at);
    memcpy(trailer + 16, payload + at, HF_LOG_SIGNATURE_BYTES);
    hf_store64(trailer, XXH3_64bits_withSeed(trailer + 8, HF_LOG_TRAILER - 8, r->sum));
}

bool hf_log_trailer_verify(const struct hf_log_record *r, const uint8_t trailer[HF_LOG_TRAILER])
{
    uint32_t at = hf_load32(trailer + 8);

    return at <= r->len && r->len - at >= HF_LOG_SIGNATURE_BYTES &&
           hf_load64(trailer) == XXH3_64bits_withSeed(trailer + 8, HF_LOG_TRAILER - 8, r->sum);
}

void hf_log_trailer_apply(const uint8_t trailer[HF_LOG_TRAILER], uint8_t *payload)
{
    memcpy(payload + hf_load32(trailer + 8), trailer + 16, HF_LOG_SIGNATURE_BYTES);
}

/* ---- the segment in memory ---- */

struct hf_segment *hf_segment_new(const struct hf_segment_head *h, int fd)
{
    struct hf_segment *s = calloc(1, sizeof(*s));

    if (s == NULL) {
        close(fd);
        return NULL;
    }
    s->head = *h;
    s->fd = fd;
    atomic_init(&s->refs, 1);
    s->end = HF_SEGMENT_HEAD;
    s->last = h->first - 1;
    return s;
}

void hf_segment_ref(struct hf_segment *s)
{
    atomic_fetch_add(&s->refs, 1);
}

void hf_segment_unref(struct hf_segment *s)
{
    if (s == NULL || atomic_fetch_sub(&s->refs, 1) != 1) {
        return;
    }
    if (s->fd >= 0) {
        close(s->fd);
    }
    free(s->index);
    free(s);
}

enum hf_err hf_segment_reserve(struct hf_segment *s, size_t records)
{
    size_t cap = s->index_cap == 0 ? 16 : s->index_cap;
    struct hf_spot *index;

    /* Every record of 16 KiB or more takes an entry of its own. */
    while (cap - s->index_count < records) {
        cap *= 2;
    }
    if (cap == s->index_cap) {
        return HF_OK;
    }
    index = realloc(s->index, cap * sizeof(*index));
    if (index == NULL) {
        return HF_NOMEM;
    }
    s->index = index;
    s->index_cap = cap;
    return HF_OK;
}

/* Only frames are looked up, so only a frame begins an entry. */
static bool wants_entry(const struct hf_segment *s, const struct hf_log_record *r)
{
    if (r->type != HF_RECORD_FRAME) {
        return false;
    }
    return s->index_count == 0 || s->unindexed >= INDEX_RECORDS ||
           s->end - s->index[s->index_count - 1].at >= INDEX_BYTES;
}

void hf_segment_note(struct hf_segment *s, const struct hf_log_record *r, uint64_t *frame_bytes)
{
    if (wants_entry(s, r)) {
        HF_ASSERT(s->index_count < s->index_cap);
        s->index[s->index_count++] = (struct hf_spot){r->seq, s->end, *frame_bytes};
        s->unindexed = 0;
    }
    s->unindexed++;
    s->fact_last = r->type == HF_RECORD_FACT;
    if (r->type == HF_RECORD_FRAME) {
        s->last = r->seq;
        *frame_bytes += r->len;
    }
    s->end += hf_log_record_size(r);
}

struct hf_spot hf_segment_seek(const struct hf_segment *s, hf_seq seq)
{
    size_t low = 0, high = s->index_count;

    HF_ASSERT(high > 0 && s->index[0].seq <= seq);
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (s->index[middle].seq <= seq) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return s->index[low];
}

enum hf_err hf_segment_walk(const struct hf_segment *s, struct hf_spot *spot, hf_seq seq,
                            uint64_t end, uint8_t head[HF_LOG_RECORD_HEAD])
{
    struct hf_log_record r;
    enum hf_err err;

    while (spot->at + HF_LOG_RECORD_HEAD <= end) {
        err = hf_segment_read(s->fd, head, HF_LOG_RECORD_HEAD, spot->at);
        if (err != HF_OK) {
            return err;
        }
        if (!hf_log_record_decode(head, &r) || r.salt != s->head.salt) {
            return HF_CORRUPT;
        }
        if (hf_log_record_size(&r) > end - spot->at) {
            return HF_CORRUPT;
        }
        if (r.type == HF_RECORD_FRAME && r.seq != spot->seq) {
            return HF_CORRUPT;
        }
        if (r.type == HF_RECORD_FRAME && r.seq == seq) {
            return HF_OK;
        }
        if (r.type == HF_RECORD_FRAME) {
            spot->seq++;
            spot->before += r.len;
        }
        spot->at += hf_log_record_size(&r);
    }
    return HF_CORRUPT;
}
