/*
 * log_view.c - reading a changelog while it is written and trimmed.
 *
 * A reader finds its segment and the nearest index entry under the lock, takes a reference, and
 * does its reads without the lock: the writer never waits for a reader's disk, and trimming may
 * unlink the file meanwhile.
 *
 * Invariant: a payload is handed out only when its checksum, its salt and its seq are right, and
 * with its signature, unless the caller asks for less. Nothing but signatures is written here. Read
 * segment.c for the index and the walk, changelog.c for the writer.
 */
#include "log_view.h"

#include <stdlib.h>

struct hf_log_view *hf_log_view_new(void)
{
    struct hf_log_view *v = calloc(1, sizeof(*v));

    if (v != NULL && pthread_mutex_init(&v->lock, NULL) != 0) {
        free(v);
        return NULL;
    }
    return v;
}

void hf_log_view_free(struct hf_log_view *v)
{
    if (v == NULL) {
        return;
    }
    for (size_t i = 0; i < v->count; i++) {
        hf_segment_unref(v->segments[i]);
    }
    free(v->segments);
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* ---- readers ---- */

static hf_seq first_of(const struct hf_log_view *v)
{
    return v->count > 0 ? v->segments[0]->head.first : v->last + 1;
}

void hf_log_view_range(struct hf_log_view *v, hf_seq *first, hf_seq *last)
{
    pthread_mutex_lock(&v->lock);
    *first = first_of(v);
    *last = v->last;
    pthread_mutex_unlock(&v->lock);
}

uint64_t hf_log_view_disk_bytes(struct hf_log_view *v)
{
    uint64_t bytes;

    pthread_mutex_lock(&v->lock);
    bytes = v->disk_bytes;
    pthread_mutex_unlock(&v->lock);
    return bytes;
}

bool hf_log_view_oldest(struct hf_log_view *v, hf_seq *last)
{
    bool several;

    pthread_mutex_lock(&v->lock);
    several = v->count > 1;
    *last = several ? v->segments[0]->last : 0;
    pthread_mutex_unlock(&v->lock);
    return several;
}

/* Where to begin to look for a frame. The segment is the reader's until hf_segment_unref. */
struct place {
    struct hf_segment *segment;
    struct hf_spot spot;
    uint64_t end;
};

/* The lock is held. False when the log does not hold the frame. */
static bool find(const struct hf_log_view *v, hf_seq seq, struct place *p)
{
    size_t low = 0, high = v->count;

    if (seq < first_of(v) || seq > v->last) {
        return false;
    }
    /* Of several that begin with the same seq, all but the last hold facts only. */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (v->segments[middle]->head.first <= seq) {
            low = middle;
        } else {
            high = middle;
        }
    }
    p->segment = v->segments[low];
    p->spot = hf_segment_seek(p->segment, seq);
    p->end = p->segment->end;
    hf_segment_ref(p->segment);
    return true;
}

/* Frame bytes of the log before the frame at p. A walk that fails leaves the figure of the nearest
 * index entry, which is less than eight frames off; the read of that frame will tell what is wrong.
 */
static uint64_t bytes_before(struct place *p, hf_seq seq)
{
    uint8_t head[HF_LOG_RECORD_HEAD];

    hf_segment_walk(p->segment, &p->spot, seq, p->end, head);
    hf_segment_unref(p->segment);
    return p->spot.before;
}

uint64_t hf_log_view_bytes(struct hf_log_view *v, hf_seq first, hf_seq last)
{
    struct place from, to;
    uint64_t end;
    bool held, inner = false;

    pthread_mutex_lock(&v->lock);
    held = first <= last && last <= v->last && find(v, first, &from);
    if (held && last < v->last) {
        inner = find(v, last + 1, &to);
    }
    end = v->frame_bytes;
    pthread_mutex_unlock(&v->lock);
    if (!held) {
        return 0;
    }
    if (inner) {
        end = bytes_before(&to, last + 1);
    }
    return end - bytes_before(&from, first);
}

/* The record of a frame. */
struct found {
    struct place p;
    uint8_t head[HF_LOG_RECORD_HEAD];
    struct hf_log_record r; /* the head, decoded */
};

/* With HF_OK, and only then, the segment is the caller's to unref. */
static enum hf_err find_record(struct hf_log_view *v, hf_seq seq, struct found *f)
{
    enum hf_err err;
    bool held;

    pthread_mutex_lock(&v->lock);
    held = find(v, seq, &f->p);
    pthread_mutex_unlock(&v->lock);
    if (!held) {
        return HF_NOTFOUND;
    }
    err = hf_segment_walk(f->p.segment, &f->p.spot, seq, f->p.end, f->head);
    if (err == HF_OK && !hf_log_record_decode(f->head, &f->r)) {
        err = HF_CORRUPT;
    }
    if (err != HF_OK) {
        hf_segment_unref(f->p.segment);
    }
    return err;
}

static enum hf_err read_payload(const struct found *f, uint8_t *buffer, size_t cap)
{
    enum hf_err err;

    if (f->r.len > cap) {
        return HF_TOO_BIG;
    }
    err = hf_segment_read(f->p.segment->fd, buffer, f->r.len, f->p.spot.at + HF_LOG_RECORD_HEAD);
    return err != HF_OK || hf_log_record_verify(f->head, buffer, &f->r) ? err : HF_CORRUPT;
}

static enum hf_err read_trailer(const struct found *f, uint8_t trailer[HF_LOG_TRAILER],
                                bool *is_signed)
{
    enum hf_err err = hf_segment_read(f->p.segment->fd, trailer, HF_LOG_TRAILER,
                                      f->p.spot.at + hf_log_trailer_at(&f->r));

    *is_signed = err == HF_OK && hf_log_trailer_verify(&f->r, trailer);
    return err;
}

static enum hf_err write_trailer(const struct found *f, const uint8_t trailer[HF_LOG_TRAILER])
{
    return hf_segment_write(f->p.segment->fd, trailer, HF_LOG_TRAILER,
                            f->p.spot.at + hf_log_trailer_at(&f->r));
}

enum hf_err hf_log_view_read(struct hf_log_view *v, hf_seq seq, uint8_t *buffer, size_t cap,
                             size_t *len, bool *is_signed)
{
    uint8_t trailer[HF_LOG_TRAILER];
    struct found f;
    bool whole = true;
    enum hf_err err = find_record(v, seq, &f);

    *len = 0;
    if (err != HF_OK) {
        return err;
    }
    *len = f.r.len;
    err = read_payload(&f, buffer, cap);
    if (err == HF_OK && f.r.trailer) {
        err = read_trailer(&f, trailer, &whole);
        if (whole) {
            hf_log_trailer_apply(trailer, buffer);
        }
    }
    hf_segment_unref(f.p.segment);
    if (is_signed != NULL) {
        *is_signed = whole;
        return err;
    }
    return err == HF_OK && !whole ? HF_CORRUPT : err;
}

/* ---- the writer ---- */

enum hf_err hf_log_view_sign(struct hf_log_view *v, hf_seq seq, const uint8_t *payload, uint32_t at)
{
    uint8_t trailer[HF_LOG_TRAILER];
    struct found f;
    enum hf_err err = find_record(v, seq, &f);

    if (err != HF_OK) {
        return err;
    }
    if (f.r.trailer) {
        hf_log_trailer_encode(&f.r, payload, at, trailer);
        err = write_trailer(&f, trailer);
    }
    hf_segment_unref(f.p.segment);
    return err;
}

enum hf_err hf_log_view_resign(struct hf_log_view *v, hf_seq seq, bool *is_signed)
{
    uint8_t trailer[HF_LOG_TRAILER];
    struct found f;
    enum hf_err err = find_record(v, seq, &f);

    *is_signed = err == HF_OK && !f.r.trailer;
    if (err != HF_OK) {
        return err;
    }
    if (f.r.trailer) {
        err = read_trailer(&f, trailer, is_signed);
        err = *is_signed ? write_trailer(&f, trailer) : err;
    }
    hf_segment_unref(f.p.segment);
    return err;
}

struct hf_segment *hf_log_view_newest(const struct hf_log_view *v)
{
    return v->count > 0 ? v->segments[v->count - 1] : NULL;
}

static enum hf_err reserve_slot(struct hf_log_view *v)
{
    size_t cap = v->cap * 2 + 8;
    struct hf_segment **more;

    if (v->count < v->cap) {
        return HF_OK;
    }
    more = realloc(v->segments, cap * sizeof(struct hf_segment *));
    if (more == NULL) {
        return HF_NOMEM;
    }
    v->segments = more;
    v->cap = cap;
    return HF_OK;
}

enum hf_err hf_log_view_reserve(struct hf_log_view *v, struct hf_segment *s, size_t records)
{
    enum hf_err err;

    pthread_mutex_lock(&v->lock);
    err = reserve_slot(v);
    if (err == HF_OK && s != NULL) {
        err = hf_segment_reserve(s, records);
    }
    pthread_mutex_unlock(&v->lock);
    return err;
}

void hf_log_view_publish(struct hf_log_view *v, struct hf_segment *s, const uint8_t *group,
                         size_t len)
{
    struct hf_log_record r;

    pthread_mutex_lock(&v->lock);
    if (s != hf_log_view_newest(v)) {
        HF_ASSERT(v->count < v->cap);
        v->segments[v->count++] = s;
        v->disk_bytes += s->head.bytes;
    }
    for (size_t at = 0; at < len; at += hf_log_record_size(&r)) {
        bool ours = hf_log_record_decode(group + at, &r);
        HF_ASSERT(ours);
        hf_segment_note(s, &r, &v->frame_bytes);
    }
    v->last = s->last;
    pthread_mutex_unlock(&v->lock);
}

struct hf_segment *hf_log_view_drop_oldest(struct hf_log_view *v)
{
    struct hf_segment *s = v->segments[0];

    pthread_mutex_lock(&v->lock);
    v->count--;
    memmove(v->segments, v->segments + 1, v->count * sizeof(struct hf_segment *));
    v->disk_bytes -= s->head.bytes;
    pthread_mutex_unlock(&v->lock);
    return s;
}
