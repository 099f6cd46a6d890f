/*
 * recovery.c - what a changelog holds after a stop of any kind.
 *
 * Rules, in order:
 *  1. Segment numbers have no gap, and each head names the salt of the segment before it. Else:
 * damage.
 *  2. A segment that has a successor holds whole records exactly up to the offset that the
 * successor names, and ends with the frame before the successor's first. What lies behind that
 * offset is void: a failed sync left it there, and the log went on in the successor. Else: damage.
 *  3. The newest segment is read up to the first place where no whole record stands: checksum, salt
 *     and seq are right, and `visit` takes it. That place is damage when the head or any whole
 * record behind it says that it was synced, or when the state covers the frame that belongs there.
 *  4. Otherwise it is a torn tail: everything from there on is zeroed, so that what is left of a
 * torn group can never be joined to records written later.
 *  5. A frame without its signature is whole: it is for who opened the log to make it again. Damage
 *     to one that cannot.
 *  6. Accepted records that are not known to have been synced, and those before them whose
 *     signatures are not, are written once more before they are synced: if the process before
 *     this one ended after a failed sync, the kernel may show pages that it no longer holds
 *     dirty and never wrote ("fsyncgate").
 *
 * Invariant: a log that is refused is not changed; it is the evidence. This file must not skip over
 * damage. Read segment.c for the format.
 */
#include "recovery.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The segment being read: its file in memory and how far it was accepted. */
struct scan {
    struct hf_segment *segment;
    uint8_t *bytes;     /* owned */
    uint64_t len;       /* of the file, at most segment->head.bytes */
    uint64_t limit;     /* records must end at or before this */
    uint64_t synced_at; /* known to be synced up to here */
    uint64_t signed_at; /* and up to here with the signatures: a group less */
};

static enum hf_err refuse(const struct hf_recovery *r, struct hf_error *e, enum hf_err code,
                          uint64_t number, const char *what)
{
    char name[32];

    hf_segment_name(number, name);
    return hf_error_set(e, code, "changelog %s/%s: %s", r->dir, name, what);
}

/* Names the place, and the frame that was to be found there or at the next record. */
static enum hf_err damaged(const struct hf_recovery *r, struct hf_error *e, const struct scan *s,
                           const char *why)
{
    char name[32];

    hf_segment_name(s->segment->head.number, name);
    return hf_error_set(e, HF_CORRUPT,
                        "changelog %s/%s: no whole record at offset %" PRIu64 " (after seq %" PRIu64
                        "), but %s",
                        r->dir, name, s->segment->end, r->last, why);
}

/* ---- the list of segments ---- */

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static bool parse_name(const char *name, uint64_t *number)
{
    char again[32];

    if (strlen(name) != 20 || sscanf(name, "%16" SCNx64, number) != 1) {
        return false;
    }
    hf_segment_name(*number, again);
    return strcmp(name, again) == 0;
}

static enum hf_err list_numbers(DIR *d, uint64_t **numbers, size_t *count)
{
    struct dirent *entry;
    size_t cap = 0;

    for (;;) {
        uint64_t number;
        errno = 0;
        entry = readdir(d);
        if (entry == NULL) {
            return errno == 0 ? HF_OK : HF_IO;
        }
        if (!parse_name(entry->d_name, &number)) {
            continue;
        }
        if (*count == cap) {
            uint64_t *more = realloc(*numbers, (cap = cap * 2 + 16) * sizeof(*more));
            if (more == NULL) {
                return HF_NOMEM;
            }
            *numbers = more;
        }
        (*numbers)[(*count)++] = number;
    }
}

static enum hf_err find_numbers(int dirfd, uint64_t **numbers, size_t *count)
{
    int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum hf_err err;
    DIR *d;

    if (fd < 0) {
        return HF_IO;
    }
    d = fdopendir(fd);
    if (d == NULL) {
        close(fd);
        return HF_NOMEM;
    }
    err = list_numbers(d, numbers, count);
    closedir(d);
    if (*count > 0) {
        qsort(*numbers, *count, sizeof(**numbers), by_number);
    }
    return err;
}

static enum hf_err open_segment(struct hf_recovery *r, uint64_t number, struct hf_error *e)
{
    const struct hf_segment *before = r->count > 0 ? r->segments[r->count - 1] : NULL;
    uint8_t bytes[HF_SEGMENT_HEAD];
    struct hf_segment_head head;
    enum hf_err err;
    char name[32];
    int fd;

    if (before != NULL && number != before->head.number + 1) {
        return refuse(r, e, HF_CORRUPT, before->head.number + 1, "missing between two others");
    }
    hf_segment_name(number, name);
    fd = openat(r->dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        return refuse(r, e, errno == EACCES ? HF_PERMISSION : HF_IO, number, "cannot be opened");
    }
    err = hf_segment_read(fd, bytes, sizeof(bytes), 0);
    if (err == HF_OK) {
        err = hf_segment_head_decode(bytes, &head);
    }
    if (err == HF_OK && head.number != number) {
        err = HF_CORRUPT;
    }
    if (err != HF_OK) {
        close(fd);
        return refuse(r, e, err, number,
                      err == HF_MISMATCH ? "written in another format version"
                                         : "no valid head at offset 0");
    }
    r->segments[r->count] = hf_segment_new(&head, fd);
    if (r->segments[r->count] == NULL) {
        return hf_error_set(e, HF_NOMEM, "changelog %s: out of memory", r->dir);
    }
    r->count++;
    if (before != NULL && head.before_salt != before->head.salt) {
        return refuse(r, e, HF_CORRUPT, number,
                      "does not follow the segment before it (offset 40)");
    }
    return HF_OK;
}

static enum hf_err open_segments(struct hf_recovery *r, struct hf_error *e)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    enum hf_err err = find_numbers(r->dirfd, &numbers, &count);

    if (err != HF_OK) {
        hf_error_set(e, err, "changelog %s: cannot be listed: %s", r->dir, hf_err_text(err));
        goto out;
    }
    r->segments = calloc(count + 1, sizeof(struct hf_segment *));
    if (r->segments == NULL) {
        err = hf_error_set(e, HF_NOMEM, "changelog %s: out of memory", r->dir);
    }
    for (size_t i = 0; err == HF_OK && i < count; i++) {
        err = open_segment(r, numbers[i], e);
    }
out:
    free(numbers);
    return err;
}

/* ---- reading one segment ---- */

static enum hf_err load(const struct hf_recovery *r, struct scan *s, struct hf_error *e)
{
    const struct hf_segment_head *h = &s->segment->head;
    struct stat st;
    enum hf_err err;

    if (fstat(s->segment->fd, &st) != 0) {
        return refuse(r, e, HF_IO, h->number, "no file size");
    }
    s->len = (uint64_t)st.st_size < h->bytes ? (uint64_t)st.st_size : h->bytes;
    s->bytes = malloc(s->len);
    if (s->bytes == NULL) {
        return refuse(r, e, HF_NOMEM, h->number, "out of memory");
    }
    err = hf_segment_read(s->segment->fd, s->bytes, s->len, 0);
    return err == HF_OK ? HF_OK : refuse(r, e, err, h->number, "cannot be read");
}

/* Whether a whole record of this use of the file stands at `at`. */
static bool whole_record(const struct scan *s, uint64_t at, struct hf_log_record *record)
{
    uint64_t limit = s->limit < s->len ? s->limit : s->len;

    if (at > limit || limit - at < HF_LOG_RECORD_HEAD) {
        return false;
    }
    if (!hf_log_record_decode(s->bytes + at, record) || record->salt != s->segment->head.salt) {
        return false;
    }
    if (hf_log_record_size(record) > limit - at) {
        return false;
    }
    return hf_log_record_verify(s->bytes + at, s->bytes + at + HF_LOG_RECORD_HEAD, record);
}

static bool in_sequence(const struct hf_recovery *r, const struct hf_log_record *record)
{
    return record->seq == (record->type == HF_RECORD_FRAME ? r->last + 1 : r->last);
}

static bool is_signed(const struct scan *s, const struct hf_log_record *record)
{
    return !record->trailer ||
           hf_log_trailer_verify(record, s->bytes + s->segment->end + hf_log_trailer_at(record));
}

static enum hf_err accept_record(struct hf_recovery *r, struct scan *s,
                                 const struct hf_log_record *record, struct hf_error *e)
{
    struct hf_slice payload =
        hf_slice_of(s->bytes + s->segment->end + HF_LOG_RECORD_HEAD, record->len);
    enum hf_err err = hf_segment_reserve(s->segment, 1);

    if (err != HF_OK) {
        return refuse(r, e, err, s->segment->head.number, "out of memory");
    }
    if (!is_signed(s, record)) {
        if (!r->signs) {
            return damaged(r, e, s, "a frame without a signature");
        }
        r->unsigned_from = r->unsigned_from == 0 ? record->seq : r->unsigned_from;
    }
    if (r->visit != NULL && (record->type == HF_RECORD_FACT || record->seq > r->from)) {
        err = r->visit(r->ctx, record->type, record->seq, payload);
        if (err != HF_OK) {
            return hf_error_set(e, err, "changelog %s: record of seq %" PRIu64 " refused: %s",
                                r->dir, record->seq, hf_err_text(err));
        }
    }
    hf_segment_note(s->segment, record, &r->frame_bytes);
    r->last = s->segment->last;
    if (record->synced_at > s->synced_at) {
        s->signed_at = s->synced_at;
        s->synced_at = record->synced_at;
    }
    return HF_OK;
}

static enum hf_err read_records(struct hf_recovery *r, struct scan *s, struct hf_error *e)
{
    struct hf_log_record record;
    enum hf_err err;

    while (whole_record(s, s->segment->end, &record) && in_sequence(r, &record)) {
        err = accept_record(r, s, &record, e);
        if (err != HF_OK) {
            return err;
        }
    }
    return HF_OK;
}

/* ---- the end of the newest segment ---- */

/* Whether a whole record behind the end was written when the end was already synced. */
static bool synced_later(const struct scan *s)
{
    struct hf_log_record record;

    for (uint64_t at = s->segment->end + 8; at < s->len; at += 8) {
        if (whole_record(s, at, &record) && record.synced_at > s->segment->end) {
            return true;
        }
    }
    return false;
}

static enum hf_err check_tail(const struct hf_recovery *r, const struct scan *s, struct hf_error *e)
{
    if (s->segment->end < s->synced_at) {
        return damaged(r, e, s, "it was synced");
    }
    if (r->last < r->covered) {
        return damaged(r, e, s, "the state covers the next seq");
    }
    if (synced_later(s)) {
        return damaged(r, e, s, "it was synced when a later record was written");
    }
    return HF_OK;
}

static bool all_zero(const uint8_t *p, uint64_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, (size_t)len - 1) == 0);
}

/* Rules 4 and 6. */
static enum hf_err repair_tail(const struct scan *s)
{
    const struct hf_segment *segment = s->segment;
    uint64_t end = segment->end;
    enum hf_err err = HF_OK;

    if (s->signed_at < end) {
        err = hf_segment_write(segment->fd, s->bytes + s->signed_at, end - s->signed_at,
                               s->signed_at);
    }
    if (err != HF_OK) {
        return err;
    }
    if (s->len < segment->head.bytes || !all_zero(s->bytes + end, s->len - end)) {
        return hf_segment_zero(segment->fd, end, segment->head.bytes);
    }
    return fdatasync(segment->fd) == 0 ? HF_OK : hf_segment_errno(errno);
}

static enum hf_err recover_newest(struct hf_recovery *r, struct scan *s, struct hf_error *e)
{
    enum hf_err err = check_tail(r, s, e);

    if (err != HF_OK) {
        return err;
    }
    err = repair_tail(s);
    return err == HF_OK ? HF_OK
                        : refuse(r, e, err, s->segment->head.number, "its tail cannot be synced");
}

static enum hf_err recover_segment(struct hf_recovery *r, size_t i, struct hf_error *e)
{
    const struct hf_segment *after = i + 1 < r->count ? r->segments[i + 1] : NULL;
    struct scan s = {.segment = r->segments[i]};
    enum hf_err err;

    if (i == 0) {
        r->last = s.segment->head.first - 1;
    }
    s.limit = after != NULL ? after->head.before_end : s.segment->head.bytes;
    s.signed_at = HF_SEGMENT_HEAD;
    s.synced_at = s.segment->head.synced_at;
    err = load(r, &s, e);
    if (err == HF_OK) {
        err = read_records(r, &s, e);
    }
    if (err != HF_OK) {
        goto out;
    }
    if (after == NULL) {
        err = recover_newest(r, &s, e);
    } else if (s.segment->end != after->head.before_end) {
        err = damaged(r, e, &s, "the next segment follows a later offset");
    } else if (r->last + 1 != after->head.first) {
        err = damaged(r, e, &s, "the next segment begins with another seq");
    }
out:
    free(s.bytes);
    return err;
}

enum hf_err hf_recovery_run(struct hf_recovery *r, struct hf_error *e)
{
    enum hf_err err = open_segments(r, e);

    for (size_t i = 0; err == HF_OK && i < r->count; i++) {
        err = recover_segment(r, i, e);
    }
    if (err == HF_OK && r->count == 0 && r->last < r->covered) {
        return hf_error_set(e, HF_CORRUPT,
                            "changelog %s: no segment, but the state covers up to seq %" PRIu64,
                            r->dir, r->covered);
    }
    return err;
}
