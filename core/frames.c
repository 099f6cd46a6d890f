/*
 * frames.c - LOG and BODY: frames as the changelog has them, and the bodies of large ones in
 * pieces.
 *
 * Frames may be fetched as soon as they are synced, before the state is committed. Each answer
 * brings at least one frame or one byte, or a code that says why not. A frame that does not fit a
 * reply goes without its body, as the last of its reply; while the body is fetched the slot keeps
 * the frame, so that it is read and checked once and not for each piece.
 *
 * It must not look at the state: what is in the log is told apart from what is committed by seq
 * alone. Read chunks.c for the other half of FETCH.
 */
#include "core/transfer_impl.h"

enum hf_err hf_transfer_frame(const struct hf_changelog *log, hf_seq seq, struct hf_bytes *out)
{
    size_t len = 0;
    out->len = 0;
    enum hf_err err = hf_bytes_reserve(out, HF_MESSAGE_MAX);
    if (err != HF_OK) {
        return err;
    }
    err = hf_changelog_read(log, seq, out->data, out->cap, &len);
    if (err == HF_TOO_BIG) {
        err = hf_bytes_reserve(out, len);
        err = err == HF_OK ? hf_changelog_read(log, seq, out->data, out->cap, &len) : err;
    }
    out->len = err == HF_OK ? len : 0;
    return err;
}

static enum hf_err frame_load(struct hf_transfer *t, hf_seq seq)
{
    if (t->frame_seq == seq) {
        return HF_OK;
    }
    t->frame_seq = 0;
    enum hf_err err = hf_transfer_frame(t->cfg->log, seq, &t->frame);
    t->frame_seq = err == HF_OK ? seq : 0;
    return err;
}

/* A large frame is kept only while its body is being fetched, piece by piece. */
void hf_transfer_let_go(struct hf_transfer *t)
{
    if (t->frame.cap > HF_MESSAGE_MAX) {
        hf_bytes_free(&t->frame);
    }
    t->frame_seq = 0;
}

hf_seq hf_transfer_log_last(const struct hf_transfer *t)
{
    hf_seq last = hf_changelog_last(t->cfg->log);
    hf_seq head = atomic_load(t->head);
    return last < head ? last : head;
}

hf_seq hf_transfer_log_first(const struct hf_transfer *t)
{
    hf_seq first = hf_changelog_first(t->cfg->log);
    return first > t->key_floor ? first : t->key_floor;
}

static enum hf_err log_bounds(const struct hf_transfer *t, hf_seq seq)
{
    if (seq > hf_transfer_log_last(t)) {
        return HF_NOT_YET;
    }
    return seq < hf_transfer_log_first(t) ? HF_BELOW_FLOOR : HF_OK;
}

/* Bytes of data that the reply may have. */
static size_t room_of(const struct hf_fetch_request *q)
{
    return q->data_max != 0 ? q->data_max : HF_REPLY_DATA_MAX;
}

/* Puts frame seq if it fits, the first whatever was asked. *ends: nothing may follow it in this
 * reply. */
static enum hf_err frame_put(struct hf_transfer *t, hf_seq seq, struct hf_writer *frames,
                             bool *ends)
{
    const size_t bin_header = 5;
    uint8_t alone[HF_HEADER_MAX + HF_FRAME_OVERHEAD];
    enum hf_err err = frame_load(t, seq);
    if (err != HF_OK) {
        return err == HF_NOTFOUND ? HF_BELOW_FLOOR : err;
    }
    struct hf_slice message = hf_slice_of(t->frame.data, t->frame.len);
    if (message.len + bin_header > HF_REPLY_DATA_MAX) {
        struct hf_writer w;
        hf_writer_init(&w, alone, sizeof(alone));
        err = hf_frame_alone(message, &w);
        if (err != HF_OK) {
            return HF_CORRUPT;
        }
        message = hf_writer_bytes(&w);
        *ends = true;
    }
    if (frames->len > 0 && frames->len + message.len + bin_header > room_of(&t->q.fetch)) {
        return HF_TOO_BIG;
    }
    hf_fetch_put_frame(frames, message);
    return HF_OK;
}

enum hf_err hf_transfer_log(struct hf_transfer *t, struct hf_fetch_reply *p)
{
    const struct hf_fetch_request *q = &t->q.fetch;
    enum hf_err err = log_bounds(t, q->first);
    if (err != HF_OK) {
        return err;
    }
    hf_seq head = hf_transfer_log_last(t);
    hf_seq last = q->last < head ? q->last : head;
    struct hf_writer frames;
    hf_writer_init(&frames, t->data, HF_MESSAGE_MAX);
    bool ends = false;
    for (hf_seq seq = q->first; seq <= last && !ends && p->frame_count < HF_REPLY_FRAMES_MAX;
         seq++) {
        err = frame_put(t, seq, &frames, &ends);
        if (err != HF_OK) {
            break;
        }
        p->frame_count++;
        p->seq = seq;
    }
    hf_transfer_let_go(t);
    p->frames = hf_writer_bytes(&frames);
    return p->frame_count > 0 ? HF_OK : err;
}

enum hf_err hf_transfer_body(struct hf_transfer *t, struct hf_fetch_reply *p)
{
    const struct hf_fetch_request *q = &t->q.fetch;
    enum hf_err err = log_bounds(t, q->first);
    if (err == HF_OK) {
        err = frame_load(t, q->first);
    }
    if (err != HF_OK) {
        return err == HF_NOTFOUND ? HF_BELOW_FLOOR : err;
    }
    struct hf_id stream;
    struct hf_frame f;
    if (hf_frame_decode(hf_slice_of(t->frame.data, t->frame.len), &stream, &f) != HF_OK) {
        return HF_CORRUPT;
    }
    if (q->offset >= f.body.len) {
        return HF_MALFORMED;
    }
    size_t left = f.body.len - q->offset;
    p->seq = q->first;
    p->offset = q->offset;
    p->total = (uint32_t)f.body.len;
    size_t room = room_of(q);
    p->body = hf_slice_of(f.body.data + q->offset, left < room ? left : room);
    return HF_OK;
}
