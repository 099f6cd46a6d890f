/*
 * changelog.c - the durable log of a stream, as a chain of segments.
 *
 * Appending only fills a buffer. A sync writes the buffer with one pwrite and one fdatasync into
 * space that was written before, and only then do the records exist for readers. In between, while
 * the disk is writing, unsigned frames are signed; their signatures are written behind the sync. A
 * processor that has this to do is also awake when the write ends. A group is never split: one that
 * does not fit begins a new segment, which is written and synced under a temporary
 * name, renamed, and made durable by a sync of the directory. Its head names the segment before it
 * and where that one ends, so the same step also voids whatever a failed write or sync left behind
 * there.
 *
 * Invariant: an acknowledged record is on disk in a segment whose name is on disk, at an offset
 * below the one at which the next segment says that this one ends. After a failed sync no record is
 * written to the file and it is not synced again. A file becomes writable as a spare only when no
 * reader holds it and its old name is durably gone.
 *
 * It must not interpret payloads, log, or take the time. Every segment keeps one descriptor open.
 * The format is at the top of segment.c, recovery in recovery.c, the making of files in spare.c,
 * and the readers' side in log_view.c.
 */
#include "hf/changelog.h"
#include "log_view.h"
#include "recovery.h"
#include "segment.h"
#include "spare.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEGMENT_BYTES (16u << 20)
#define BUFFER_KEEP (1u << 20) /* a buffer larger than this is given back after its sync */
/* Far above what one sync should carry; it bounds the buffer and the largest segment. */
#define GROUP_MAX (256u << 20)

struct hf_changelog {
    struct hf_log_view *view;
    struct hf_spare *spare;
    char *dir; /* owned */
    int dirfd; /* holds the lock */
    uint64_t segment_bytes;
    /* What lies behind the end of the newest segment is unknown, or it is of an older version: the
     * next group begins another. */
    bool failed;
    hf_seq doubtful_from; /* signatures from here on are not known to be synced; 0 = all are */
    hf_seq unsigned_from; /* 0 = none */
    hf_changelog_sign *sign;
    void *sign_ctx;
    hf_seq appended; /* last frame appended, synced or not */
    uint8_t *buffer; /* room for a segment head, the records, and zeros to the end of a page */
    size_t len;
    size_t cap;
    size_t records;
    bool signs; /* some of the records are unsigned */
};

static uint64_t to_page(uint64_t n)
{
    return (n + HF_SEGMENT_PAGE - 1) & ~(uint64_t)(HF_SEGMENT_PAGE - 1);
}

/* ---- open and close ---- */

static enum hf_err open_dir(struct hf_changelog *log, struct hf_error *e)
{
    int parent;

    (void)mkdir(log->dir, 0700);
    log->dirfd = open(log->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (log->dirfd < 0) {
        return hf_error_set(e, errno == EACCES ? HF_PERMISSION : HF_IO, "changelog %s: %s",
                            log->dir, strerror(errno));
    }
    if (flock(log->dirfd, LOCK_EX | LOCK_NB) != 0) {
        return hf_error_set(e, errno == EWOULDBLOCK ? HF_LOCKED : HF_IO,
                            "changelog %s: cannot be locked: %s", log->dir, strerror(errno));
    }
    /* Also of a directory that was there: the run that made it may have failed to. */
    parent = openat(log->dirfd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0 || fsync(parent) != 0) {
        hf_error_set(e, HF_IO, "changelog %s: parent: %s", log->dir, strerror(errno));
        if (parent >= 0) {
            close(parent);
        }
        return HF_IO;
    }
    close(parent);
    return HF_OK;
}

static enum hf_err recover(struct hf_changelog *log, struct hf_recovery *r, struct hf_error *e)
{
    struct hf_log_view *v = log->view;
    enum hf_err err;

    r->dirfd = log->dirfd;
    r->dir = log->dir;
    err = hf_recovery_run(r, e);
    v->segments = r->segments;
    v->count = r->count;
    v->cap = r->count + (r->segments != NULL); /* one slot more was allocated */
    v->last = r->last;
    v->frame_bytes = r->frame_bytes;
    for (size_t i = 0; i < v->count; i++) {
        v->disk_bytes += v->segments[i]->head.bytes;
    }
    log->appended = r->last;
    log->failed = v->count > 0 && hf_log_view_newest(v)->head.version < HF_SEGMENT_VERSION;
    log->unsigned_from = r->unsigned_from;
    return err;
}

/* Removes what an earlier process had prepared, and makes the names that recovery saw durable: that
 * process may have ended between a rename and the sync of the directory. */
static enum hf_err tidy(struct hf_changelog *log, struct hf_error *e)
{
    unlinkat(log->dirfd, HF_SPARE_NAME, 0);
    unlinkat(log->dirfd, HF_FRESH_NAME, 0);
    if (fsync(log->dirfd) != 0) {
        return hf_error_set(e, HF_IO, "changelog %s: %s", log->dir, strerror(errno));
    }
    return HF_OK;
}

static struct hf_changelog *log_new(const struct hf_changelog_config *c)
{
    struct hf_changelog *log = calloc(1, sizeof(*log));

    if (log == NULL) {
        return NULL;
    }
    log->dirfd = -1;
    log->sign = c->sign;
    log->sign_ctx = c->sign_ctx;
    log->segment_bytes = to_page(c->segment_bytes == 0 ? SEGMENT_BYTES : c->segment_bytes);
    log->len = HF_SEGMENT_HEAD;
    log->dir = strdup(c->dir);
    log->view = hf_log_view_new();
    if (log->dir != NULL && log->view != NULL) {
        return log;
    }
    hf_changelog_close(log);
    return NULL;
}

enum hf_err hf_changelog_open(const struct hf_changelog_config *c, hf_seq from,
                              hf_changelog_visit *visit, void *ctx, struct hf_changelog **log,
                              struct hf_error *e)
{
    struct hf_recovery r = {
        .covered = c->covered, .from = from, .visit = visit, .ctx = ctx, .signs = c->sign != NULL};
    struct hf_changelog *l;
    enum hf_err err;

    *log = NULL;
    if (c->segment_bytes > HF_SEGMENT_MAX) {
        return hf_error_set(e, HF_ARG, "changelog %s: segment_bytes above 1 GiB", c->dir);
    }
    l = log_new(c);
    if (l == NULL) {
        return hf_error_set(e, HF_NOMEM, "changelog %s: out of memory", c->dir);
    }
    r.last = c->base_seq;
    err = open_dir(l, e);
    if (err == HF_OK) {
        err = recover(l, &r, e);
    }
    if (err == HF_OK) {
        err = tidy(l, e);
    }
    if (err == HF_OK) {
        l->spare = hf_spare_new(l->dirfd, l->segment_bytes, !c->single_thread);
        if (l->spare == NULL) {
            err = hf_error_set(e, HF_NOMEM, "changelog %s: out of memory", c->dir);
        }
    }
    if (err != HF_OK) {
        hf_changelog_close(l);
        return err;
    }
    /* A new log's first group would have to wait for its file. */
    if (l->view->count == 0) {
        hf_spare_want(l->spare);
    }
    *log = l;
    return HF_OK;
}

void hf_changelog_close(struct hf_changelog *log)
{
    if (log == NULL) {
        return;
    }
    hf_spare_free(log->spare);
    hf_log_view_free(log->view);
    if (log->dirfd >= 0) {
        close(log->dirfd);
    }
    free(log->buffer);
    free(log->dir);
    free(log);
}

/* ---- append ---- */

static enum hf_err make_room(struct hf_changelog *log, uint64_t size)
{
    uint64_t need = log->len + size + HF_SEGMENT_PAGE;
    size_t cap = log->cap == 0 ? 64u << 10 : log->cap;
    uint8_t *buffer;

    if (need > GROUP_MAX) {
        return HF_TOO_BIG;
    }
    while (cap < need) {
        cap *= 2;
    }
    if (cap == log->cap) {
        return HF_OK;
    }
    buffer = realloc(log->buffer, cap);
    if (buffer == NULL) {
        return HF_NOMEM;
    }
    log->buffer = buffer;
    log->cap = cap;
    return HF_OK;
}

static enum hf_err append(struct hf_changelog *log, struct hf_log_record *r,
                          struct hf_slice payload)
{
    enum hf_err err;
    uint64_t size;
    uint8_t *record;

    if (r->seq != (r->type == HF_RECORD_FRAME ? log->appended + 1 : log->appended)) {
        return HF_ARG;
    }
    if (payload.len > HF_LOG_RECORD_MAX) {
        return HF_TOO_BIG;
    }
    r->len = (uint32_t)payload.len;
    size = hf_log_record_size(r);
    err = make_room(log, size);
    if (err != HF_OK) {
        return err;
    }
    record = log->buffer + log->len;
    hf_log_record_begin(record, r);
    if (payload.len > 0) {
        memcpy(record + HF_LOG_RECORD_HEAD, payload.data, payload.len);
    }
    log->len += size;
    log->records++;
    log->signs |= r->trailer;
    log->appended = r->seq;
    return HF_OK;
}

enum hf_err hf_changelog_append(struct hf_changelog *log, enum hf_record_type type, hf_seq seq,
                                struct hf_slice payload)
{
    struct hf_log_record r = {.type = type, .seq = seq};

    if (type != HF_RECORD_FRAME && type != HF_RECORD_FACT) {
        return HF_ARG;
    }
    return append(log, &r, payload);
}

enum hf_err hf_changelog_append_unsigned(struct hf_changelog *log, hf_seq seq,
                                         struct hf_slice payload)
{
    struct hf_log_record r = {.type = HF_RECORD_FRAME, .seq = seq, .trailer = true};

    return log->sign == NULL ? HF_ARG : append(log, &r, payload);
}

/* ---- sync ---- */

/* The record at `at` of the buffer; returns where the next one is. */
static size_t record_at(const struct hf_changelog *log, size_t at, struct hf_log_record *r)
{
    bool ours = hf_log_record_decode(log->buffer + at, r);

    HF_ASSERT(ours);
    return at + hf_log_record_size(r);
}

static void stamp_group(struct hf_changelog *log, uint64_t salt, uint64_t synced_at)
{
    struct hf_log_record r;

    for (size_t at = HF_SEGMENT_HEAD, next; at < log->len; at = next) {
        next = record_at(log, at, &r);
        hf_log_record_stamp(log->buffer + at, salt, synced_at);
    }
}

static void sign_group(struct hf_changelog *log)
{
    struct hf_log_record r;

    for (size_t at = HF_SEGMENT_HEAD, next; at < log->len; at = next) {
        uint8_t *payload = log->buffer + at + HF_LOG_RECORD_HEAD;
        next = record_at(log, at, &r);
        if (r.trailer) {
            uint32_t place = log->sign(log->sign_ctx, r.seq, payload, r.len);
            hf_log_trailer_encode(&r, payload, place, log->buffer + next - HF_LOG_TRAILER);
        }
    }
}

/* Of a group whose first record stands at `at` of the file. */
static enum hf_err write_signatures(const struct hf_changelog *log, int fd, uint64_t first)
{
    struct hf_log_record r;
    enum hf_err err = HF_OK;

    for (size_t at = HF_SEGMENT_HEAD, next; err == HF_OK && at < log->len; at = next) {
        next = record_at(log, at, &r);
        if (r.trailer) {
            err = hf_segment_write(fd, log->buffer + next - HF_LOG_TRAILER, HF_LOG_TRAILER,
                                   first + (next - HF_SEGMENT_HEAD) - HF_LOG_TRAILER);
        }
    }
    return err;
}

/* Writes the buffer from `from` on at `at`, with zeros to the end of the page: a page that is
 * written whole is not read first, which in a recycled file would cost a read from the disk.
 * Signatures wait for the sync: on a page that is being written they would have it written again.
 */
static enum hf_err write_synced(struct hf_changelog *log, int fd, size_t from, uint64_t at)
{
    uint64_t end = at + (log->len - from);
    size_t padding = (size_t)(to_page(end) - end);
    enum hf_err err;

    memset(log->buffer + log->len, 0, padding);
    err = hf_segment_write(fd, log->buffer + from, log->len - from + padding, at);
    if (err != HF_OK) {
        return err;
    }
    /* Whether it could be begun does not matter: the sync does what was not. */
    (void)sync_file_range(fd, (off_t)at, (off_t)(to_page(end) - at), SYNC_FILE_RANGE_WRITE);
    sign_group(log);
    if (fdatasync(fd) != 0) {
        return hf_segment_errno(errno);
    }
    return write_signatures(log, fd, at + HF_SEGMENT_HEAD - from);
}

/* After a failed sync a page may count as written that is not, or be gone at once. The signatures
 * behind the newest frames are written again, for the kernel to write when it can; which are gone
 * is noted. */
static void doubt_signatures(struct hf_changelog *log)
{
    for (hf_seq seq = log->doubtful_from; seq != 0 && seq <= log->view->last; seq++) {
        bool is_signed;
        (void)hf_log_view_resign(log->view, seq, &is_signed); /* as well as it can */
        if (!is_signed && (log->unsigned_from == 0 || seq < log->unsigned_from)) {
            log->unsigned_from = seq;
        }
    }
}

static enum hf_err extend(struct hf_changelog *log, struct hf_segment *s)
{
    enum hf_err err;

    err = hf_log_view_reserve(log->view, s, log->records);
    if (err != HF_OK) {
        return err;
    }
    stamp_group(log, s->head.salt, s->end);
    err = write_synced(log, s->fd, HF_SEGMENT_HEAD, s->end);
    if (err != HF_OK) {
        log->failed = true;
        doubt_signatures(log);
        return err;
    }
    hf_log_view_publish(log->view, s, log->buffer + HF_SEGMENT_HEAD, log->len - HF_SEGMENT_HEAD);
    return HF_OK;
}

static enum hf_err next_head(const struct hf_changelog *log, struct hf_segment_head *h)
{
    const struct hf_segment *before = hf_log_view_newest(log->view);

    *h = (struct hf_segment_head){
        .version = HF_SEGMENT_VERSION, .number = 1, .first = log->view->last + 1};
    if (before != NULL) {
        h->number = before->head.number + 1;
        h->before_salt = before->head.salt;
        h->before_end = before->end;
    }
    h->synced_at = log->len;
    return getrandom(&h->salt, sizeof(h->salt), 0) == (ssize_t)sizeof(h->salt) ? HF_OK : HF_IO;
}

/* Head and group are synced before the file gets its name, and the name before anything is
 * promised. */
static enum hf_err write_segment(struct hf_changelog *log, const struct hf_segment_head *h, int fd,
                                 const char *temporary)
{
    enum hf_err err;
    char name[32];

    hf_segment_head_encode(h, log->buffer);
    stamp_group(log, h->salt, HF_SEGMENT_HEAD);
    err = write_synced(log, fd, 0, 0);
    if (err != HF_OK) {
        unlinkat(log->dirfd, temporary, 0);
        return err;
    }
    hf_segment_name(h->number, name);
    if (renameat(log->dirfd, temporary, log->dirfd, name) != 0) {
        err = hf_segment_errno(errno);
        unlinkat(log->dirfd, temporary, 0);
        return err;
    }
    if (fsync(log->dirfd) != 0) {
        /* Whether the name is on disk is unknown, and it would void what the segment before it took
         * from now on: so nothing goes there, and the next attempt renames over it. A crash before
         * that finds a group that was refused but is whole, as any crash inside a sync may. */
        err = hf_segment_errno(errno);
        unlinkat(log->dirfd, name, 0);
        log->failed = true;
    }
    return err;
}

/* The signatures at the end of a segment: no group follows there that would sync them. */
static enum hf_err end_segment(struct hf_changelog *log)
{
    const struct hf_segment *s = hf_log_view_newest(log->view);
    enum hf_err err;

    if (log->doubtful_from == 0 || log->failed || fdatasync(s->fd) == 0) {
        return HF_OK;
    }
    err = hf_segment_errno(errno);
    log->failed = true;
    doubt_signatures(log);
    return err;
}

static enum hf_err begin_segment(struct hf_changelog *log)
{
    struct hf_segment_head h;
    struct hf_segment *s;
    const char *temporary;
    enum hf_err err;
    int fd;

    err = hf_log_view_reserve(log->view, NULL, 0);
    if (err == HF_OK) {
        err = end_segment(log);
    }
    if (err == HF_OK) {
        err = next_head(log, &h);
    }
    if (err == HF_OK) {
        err = hf_spare_take(log->spare, to_page(log->len), &fd, &h.bytes, &temporary);
    }
    if (err != HF_OK) {
        return err;
    }
    s = hf_segment_new(&h, fd);
    err = s == NULL ? HF_NOMEM : hf_segment_reserve(s, log->records);
    if (err != HF_OK) {
        unlinkat(log->dirfd, temporary, 0);
    } else {
        err = write_segment(log, &h, fd, temporary);
    }
    if (err != HF_OK) {
        hf_segment_unref(s);
        return err;
    }
    hf_log_view_publish(log->view, s, log->buffer + HF_SEGMENT_HEAD, log->len - HF_SEGMENT_HEAD);
    log->failed = false;
    return HF_OK;
}

static void empty_buffer(struct hf_changelog *log)
{
    log->len = HF_SEGMENT_HEAD;
    log->records = 0;
    log->signs = false;
    if (log->cap > BUFFER_KEEP) {
        free(log->buffer);
        log->buffer = NULL;
        log->cap = 0;
    }
}

enum hf_err hf_changelog_sync(struct hf_changelog *log)
{
    struct hf_segment *s = hf_log_view_newest(log->view);
    hf_seq last = log->view->last;
    enum hf_err err;

    if (log->records == 0) {
        return HF_OK;
    }
    if (s != NULL && !log->failed && log->len - HF_SEGMENT_HEAD <= s->head.bytes - s->end) {
        err = extend(log, s);
    } else {
        err = begin_segment(log);
    }
    if (err == HF_OK) {
        log->doubtful_from = log->signs ? last + 1 : 0;
    }
    empty_buffer(log);
    if (err != HF_OK) {
        log->appended = log->view->last;
        return err;
    }
    s = hf_log_view_newest(log->view);
    if (s->end > s->head.bytes / 2) {
        hf_spare_want(log->spare);
    }
    return HF_OK;
}

/* ---- signatures that were lost ---- */

hf_seq hf_changelog_unsigned(const struct hf_changelog *log)
{
    hf_seq first = hf_changelog_first(log);

    return log->unsigned_from == 0 || log->unsigned_from > first ? log->unsigned_from : first;
}

enum hf_err hf_changelog_read_unsigned(const struct hf_changelog *log, hf_seq seq, uint8_t *buffer,
                                       size_t cap, size_t *len, bool *is_signed)
{
    return hf_log_view_read(log->view, seq, buffer, cap, len, is_signed);
}

enum hf_err hf_changelog_sign_again(struct hf_changelog *log, hf_seq seq, const uint8_t *payload,
                                    uint32_t at)
{
    if (log->doubtful_from == 0 || seq < log->doubtful_from) {
        log->doubtful_from = seq;
    }
    return hf_log_view_sign(log->view, seq, payload, at);
}

void hf_changelog_signed(struct hf_changelog *log)
{
    log->unsigned_from = 0;
}

/* ---- reading ---- */

hf_seq hf_changelog_first(const struct hf_changelog *log)
{
    hf_seq first, last;

    hf_log_view_range(log->view, &first, &last);
    return first;
}

hf_seq hf_changelog_last(const struct hf_changelog *log)
{
    hf_seq first, last;

    hf_log_view_range(log->view, &first, &last);
    return last;
}

uint64_t hf_changelog_bytes(const struct hf_changelog *log, hf_seq first, hf_seq last)
{
    return hf_log_view_bytes(log->view, first, last);
}

uint64_t hf_changelog_disk_bytes(const struct hf_changelog *log)
{
    return hf_log_view_disk_bytes(log->view) + hf_spare_bytes(log->spare);
}

bool hf_changelog_oldest(const struct hf_changelog *log, hf_seq *last)
{
    return hf_log_view_oldest(log->view, last);
}

uint64_t hf_changelog_segment_bytes(const struct hf_changelog *log)
{
    return hf_log_view_disk_bytes(log->view);
}

enum hf_err hf_changelog_read(const struct hf_changelog *log, hf_seq seq, uint8_t *buffer,
                              size_t cap, size_t *len)
{
    return hf_log_view_read(log->view, seq, buffer, cap, len, NULL);
}

void hf_changelog_synced_at(const struct hf_changelog *log, char path[512], uint64_t *offset)
{
    const struct hf_segment *s;
    char name[32];

    path[0] = '\0';
    *offset = 0;
    pthread_mutex_lock(&log->view->lock);
    s = hf_log_view_newest(log->view);
    if (s != NULL) {
        hf_segment_name(s->head.number, name);
        snprintf(path, 512, "%s/%s", log->dir, name);
        *offset = s->end;
    }
    pthread_mutex_unlock(&log->view->lock);
}

/* ---- trim ---- */

/* The newest frame stays: its signed header is what a transfer up to the head is checked against,
 * and the segments behind it may hold facts alone. A fact at the end of a segment may be younger
 * than the commit that made `keep` durable; a frame behind it that is covered shows that it is not.
 */
static bool trim_due(const struct hf_changelog *log, uint64_t bytes_max, hf_seq keep)
{
    const struct hf_log_view *v = log->view;
    const struct hf_segment *oldest;

    if (v->count < 2 || v->disk_bytes <= bytes_max) {
        return false;
    }
    oldest = v->segments[0];
    return oldest->last < v->last && oldest->last <= keep &&
           (!oldest->fact_last || oldest->last < keep);
}

enum hf_err hf_changelog_trim(struct hf_changelog *log, uint64_t bytes_max, hf_seq keep,
                              bool *again)
{
    struct hf_segment *s;
    enum hf_err err;
    bool recycle;
    char name[32];
    int rc;

    *again = false;
    if (!trim_due(log, bytes_max, keep)) {
        return HF_OK;
    }
    s = log->view->segments[0];
    recycle = s->head.bytes == log->segment_bytes && hf_spare_empty(log->spare);
    hf_segment_name(s->head.number, name);
    rc = recycle ? renameat(log->dirfd, name, log->dirfd, HF_SPARE_NAME)
                 : unlinkat(log->dirfd, name, 0);
    if (rc != 0) {
        return hf_segment_errno(errno);
    }
    hf_log_view_drop_oldest(log->view);
    /* Names must vanish in order, and a name must be gone before its file is written again: else a
     * power cut could leave a gap, or an old name on new bytes. */
    err = fsync(log->dirfd) == 0 ? HF_OK : hf_segment_errno(errno);
    if (recycle && err == HF_OK && atomic_load(&s->refs) == 1) {
        hf_spare_give(log->spare, s->fd);
        s->fd = -1;
    } else if (recycle) {
        unlinkat(log->dirfd, HF_SPARE_NAME, 0);
    }
    hf_segment_unref(s);
    *again = err == HF_OK && trim_due(log, bytes_max, keep);
    return err;
}
