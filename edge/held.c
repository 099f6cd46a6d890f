/*
 * held.c - the table of frames between arrival and durability, sorted by seq.
 *
 * A frame enters unverified, is verified once, and leaves when its seq is durable, when it turns
 * out bad, or when the table is full and a lower one needs the room. At most one frame a seq is
 * held: a second one that arrives meanwhile is a duplicate, or, if the first proves bad, is asked
 * for again. The cheap checks come before VERIFY is ordered (PROTOCOL.md 9.1).
 */
#include "edge/replica_impl.h"

#define BAD_NOTE_MS                                                                                \
    1000 /* whoever forges frames must not fill the disk with log lines; INFO counts all */

/* Index of the first entry with seq >= `seq`. */
static uint32_t lower_bound(const struct hf_replica *r, hf_seq seq)
{
    uint32_t low = 0;
    uint32_t high = r->held_count;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (r->held[mid].seq < seq) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

struct held *held_find(struct hf_replica *r, hf_seq seq)
{
    uint32_t i = lower_bound(r, seq);
    return i < r->held_count && r->held[i].seq == seq ? &r->held[i] : NULL;
}

hf_seq held_last(const struct hf_replica *r)
{
    return r->held_count == 0 ? 0 : r->held[r->held_count - 1].seq;
}

static struct held *held_by_slot(struct hf_replica *r, uint32_t slot)
{
    for (uint32_t i = 0; i < r->held_count; i++) {
        if (r->held[i].slot == slot) {
            return &r->held[i];
        }
    }
    return NULL;
}

static void forget(struct hf_replica *r, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        r->held_bytes -= r->held[i].bytes;
        r->sealed_count -= r->held[i].state == HELD_SEALED;
    }
    r->held_count -= count;
    memmove(&r->held[first], &r->held[first + count], (r->held_count - first) * sizeof(r->held[0]));
}

static void drop_slot(struct hf_replica *r, uint32_t slot)
{
    fx_add(r, HF_REPFX_DROP)->slot = slot;
}

void held_drop(struct hf_replica *r, struct held *h)
{
    drop_slot(r, h->slot);
    forget(r, (uint32_t)(h - r->held), 1);
}

void held_release(struct hf_replica *r, hf_seq last)
{
    uint32_t count = lower_bound(r, last + 1);
    if (count > 0) {
        forget(r, 0, count);
        fx_add(r, HF_REPFX_RELEASE)->last = last;
    }
}

/* Makes room for a frame of `bytes` at `seq` by giving up higher ones. False: it is the highest, or
 * is not wanted: at best it proves that the applied one has a double, which is not worth the frames
 * that the store may be working on. */
static bool make_room(struct hf_replica *r, hf_seq seq, uint32_t bytes)
{
    while (r->held_count == r->cfg.hold_frames_max ||
           (r->held_count > 0 && r->held_bytes + bytes > r->cfg.hold_bytes_max)) {
        struct held *top = &r->held[r->held_count - 1];
        if (top->seq < seq || seq < want_first(r) || !fx_room(r)) {
            return false;
        }
        note(r, HF_NOTE_HOLD_FULL, top->seq, 0);
        held_drop(r, top);
    }
    return true;
}

static struct held *insert(struct hf_replica *r, const struct hf_replica_event *ev)
{
    uint32_t i = lower_bound(r, ev->header->seq);
    memmove(&r->held[i + 1], &r->held[i], (r->held_count - i) * sizeof(r->held[0]));
    r->held_count++;
    r->held_bytes += ev->bytes;
    struct held *h = &r->held[i];
    *h = (struct held){.seq = ev->header->seq,
                       .slot = ev->slot,
                       .bytes = ev->bytes,
                       .has_body = ev->ok,
                       .streamed = ev->type == HF_REPEV_FRAME && ev->request == 0,
                       .since = r->now,
                       .prev = ev->header->prev,
                       .chain = ev->chain};
    return h;
}

void on_frame(struct hf_replica *r, const struct hf_replica_event *ev)
{
    hf_seq seq = ev->header->seq;
    bool known = seq < want_first(r);
    /* What is applied is known by its hash; another hash with a good signature is a fork. */
    bool other = seq == r->applied.seq && !hf_hash_eq(&ev->chain, &r->applied.chain);
    /* Anyone can write a foreign epoch into a frame; the beacon of a new one is signed and asks. */
    if (!r->has_genesis || !hf_id_eq(&ev->header->epoch_id, &r->applied.epoch_id)) {
        r->bad_frames++;
        drop_slot(r, ev->slot);
        return;
    }
    if ((known && !other) || held_find(r, seq) != NULL) {
        r->duplicates++;
        drop_slot(r, ev->slot);
        return;
    }
    if (!make_room(r, seq, ev->bytes)) {
        drop_slot(r, ev->slot);
        return;
    }
    struct held *h = insert(r, ev);
    h->state = HELD_VERIFYING;
    r->frame_at = r->now;
    if (!order_take(r, h)) {
        fx_add(r, HF_REPFX_VERIFY)->slot = ev->slot;
    }
}

void on_restored(struct hf_replica *r, const struct hf_replica_event *ev)
{
    hf_seq seq = ev->header->seq;
    /* Below what a transfer has reached they would fill the table for good: nothing releases them.
     */
    if (seq < want_first(r) || held_find(r, seq) != NULL || !make_room(r, seq, ev->bytes)) {
        drop_slot(r, ev->slot);
        return;
    }
    /* It was verified before it was stored, but its body has to be opened again. */
    struct held *h = insert(r, ev);
    h->state = HELD_VERIFYING;
    h->stored = true;
    fx_add(r, HF_REPFX_VERIFY)->slot = ev->slot;
}

void on_verified(struct hf_replica *r, const struct hf_replica_event *ev)
{
    struct held *h = held_by_slot(r, ev->slot);
    HF_ASSERT(h != NULL && h->state == HELD_VERIFYING);
    (void)held_verified(r, h, ev->code);
}

bool held_verified(struct hf_replica *r, struct held *h, enum hf_err code)
{
    if (code != HF_OK && code != HF_SEALED) {
        r->bad_frames++;
        bool anybody = code == HF_AUTH; /* could have sent it */
        if (!anybody || r->bad_frames == 1 || r->now - r->bad_noted >= BAD_NOTE_MS) {
            r->bad_noted = r->now;
            note(r, HF_NOTE_BAD_FRAME, h->seq, (uint64_t)code);
        }
        if (!h->streamed) {
            back_off(r, HF_REPRQ_LOG, 0); /* the core itself sent it and may well do so again */
        }
        held_drop(r, h);
        return false;
    }
    if (h->streamed) {
        share_stream(r, h->bytes);
        heard_from(r, HF_CHANNEL_STREAM);
    }
    if (h->seq == r->applied.seq && !hf_hash_eq(&h->chain, &r->applied.chain)) {
        fx_add(r, HF_REPFX_EVIDENCE)->slot = h->slot;
        diverge(r, HF_NOTE_FORK, h->seq, 0);
        held_drop(r, h);
        return false;
    }
    head_raise(r, h->seq);
    if (code == HF_SEALED) {
        h->state = HELD_SEALED;
        r->sealed_count++;
        r->need_hello = true;
        note(r, HF_NOTE_KEY_MISSING, h->seq, 0);
        if (h->retried) {
            back_off(r, HF_REPRQ_HELLO, 0); /* which was answered, but without the key */
        }
        return true;
    }
    h->state = h->has_body ? HELD_READY : HELD_NO_BODY;
    if (h->has_body && h->seq > r->received) {
        r->received = h->seq;
    }
    return true;
}

void retry_sealed(struct hf_replica *r)
{
    if (!r->keys_fresh) {
        return;
    }
    for (uint32_t i = 0; i < r->held_count && r->sealed_count > 0; i++) {
        if (r->held[i].state != HELD_SEALED) {
            continue;
        }
        if (!fx_room(r)) {
            return;
        }
        r->held[i].state = HELD_VERIFYING;
        r->held[i].retried = true;
        r->sealed_count--;
        fx_add(r, HF_REPFX_VERIFY)->slot = r->held[i].slot;
    }
    r->keys_fresh = false;
}

bool held_gap(const struct hf_replica *r, hf_seq from, hf_seq to, struct hf_range *gap)
{
    hf_seq first = from;
    uint32_t i = lower_bound(r, from);
    while (i < r->held_count && r->held[i].seq == first) {
        first++;
        i++;
    }
    if (first > to) {
        return false;
    }
    gap->first = first;
    gap->last = i < r->held_count && r->held[i].seq <= to ? r->held[i].seq - 1 : to;
    return true;
}
