/*
 * ranges.c - RANGES: what the live records of key ranges add up to, for an edge that looks for
 * where its own differ.
 *
 * Every answer gets on: at least one sub-range, of at least one record unless the range is empty.
 * The last one reaches to the end of the range asked for when `end` says so, so that what an edge
 * has behind the core's last key is seen, too.
 *
 * It costs a hash of each record, 0.1 s for HF_RANGES_READ_MAX of them, which is why a request
 * stops there and an edge has one of these under way at a time (transfer.c). Values may be long, so
 * it stops after HF_RANGES_READ_BYTES_MAX as well: a view that is held for minutes would make the
 * file grow. A record of the core's own that cannot be read is HF_CORRUPT: nobody is repaired after
 * it. Read PROTOCOL.md section 8.5.
 */
#include "core/transfer_impl.h"

#include "hf/repair.h"

enum hf_err hf_transfer_ranges(struct hf_transfer *t, struct hf_fetch_reply *p)
{
    const struct hf_fetch_request *q = &t->q.fetch;
    struct hf_applied a = {.delta_floor = 0};
    struct hf_writer out;
    struct hf_walk w = {.after = q->from.key, .until = q->until, .hashed = true};
    uint64_t left = HF_RANGES_READ_MAX;
    uint64_t bytes_left = HF_RANGES_READ_BYTES_MAX;
    enum hf_err err = hf_transfer_shown(t, &a);
    if (err == HF_OK && t->asof_min > a.at.seq) {
        err = HF_NOT_YET;
    }
    hf_writer_init(&out, t->data, HF_MESSAGE_MAX);
    w.live_max = q->grain;
    while (err == HF_OK && !w.end && left > 0 && bytes_left > 0 &&
           p->range_count < HF_SUBRANGES_MAX) {
        w.record_max = left;
        w.byte_max = bytes_left;
        err = hf_view_walk(t->view, &w);
        if (err == HF_OK && w.unreadable > 0) {
            err = HF_CORRUPT;
        }
        if (err == HF_OK) {
            struct hf_subrange s = {.last = w.end ? q->until : w.last,
                                    .count = (uint32_t)w.live,
                                    .fingerprint = w.fingerprint};
            hf_fetch_put_range(&out, &s);
            p->range_count++;
            w.after = w.last;
            left -= w.records;
            bytes_left -= w.bytes < bytes_left ? w.bytes : bytes_left;
        }
    }
    HF_ASSERT(!out.failed);
    p->seq = a.at.seq;
    p->end = w.end;
    p->ranges = hf_writer_bytes(&out);
    return err;
}
