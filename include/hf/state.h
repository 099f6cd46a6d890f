/*
 * state.h - the keyed state of one stream in LMDB, its digest, and what a transfer stages.
 *
 * Invariant (G4): the changes of a batch, the applied position and the state digest become visible
 * in one LMDB transaction or not at all. Every record carries a checksum that every read verifies
 * (G15). Readers use views (own read-only transactions) and never wait for the writer (G9). The
 * layout of the tables is specified at the top of proto/store/state.c.
 *
 * Threads: one writer at a time calls the functions that take `struct hf_state *` and change it.
 * Views may be opened by any thread; one view is used by one thread at a time.
 */
#ifndef HF_STATE_H
#define HF_STATE_H

#include "hf/batch.h"
#include "hf/digest.h"
#include "hf/err.h"
#include "hf/messages.h"
#include "hf/records.h"
#include "hf/seal.h"
#include "hf/types.h"

struct hf_state;
struct hf_view;

#define HF_STATE_FORMAT 2u /* the newest */

struct hf_state_config {
    const char *dir;    /* created by way of a temporary directory and rename */
    uint64_t map_bytes; /* 0 = 16 GiB; grows by doubling */
    bool
        chainless; /* keeps no chain hashes of past seqs: nobody asks an edge, and each is a page */
    /* The index by seq has tombstones only, which is all that an edge looks for in it: with every
     * record in it, a change would rewrite two of its pages. A store that has them all is changed
     * over when it is opened; one that has not stays as it is. */
    bool tombstone_index;
    /* Changes are hashed on a thread beside the writer's, which it pays from some twenty of them in
     * a batch. For a store that is never staged into. */
    bool adds_beside;
};

/* HF_MISMATCH for a newer format, HF_CORRUPT for a damaged one (file size is checked before mmap,
 * and each page under the tables afterwards: 0.1 s for 1,000,000 keys, more from a cold disk, but
 * not for a file that is as hf_state_vouch left it on this boot),
 * HF_LOCKED when this or another process has it open, with a sentence in e->text. */
enum hf_err hf_state_open(const struct hf_state_config *c, struct hf_state **s, struct hf_error *e);
void hf_state_close(struct hf_state *s); /* aborts an open transaction; no view may be open */
/* A clean end of the process follows, or a re-exec: the next open on this boot may skip the check
 * of all pages if nobody writes to the file until then. The first half of hf_state_close for who
 * has no time for the second; not for a crash that is simulated. Says nothing after an I/O error or
 * damage. Any thread; a commit under way only makes the word void. */
void hf_state_vouch(struct hf_state *s);

/* ---- reading: views ---- */

/* A view sees one committed state until it is renewed. It is live from open and renew to reset and
 * close; hf_state_grow and hf_state_reopen wait for live views and keep new ones waiting. */
enum hf_err hf_view_open(struct hf_state *s, struct hf_view **v);
enum hf_err hf_view_renew(struct hf_view *v); /* sees the newest committed state */
void hf_view_reset(struct hf_view *v);        /* lets the pages go; renew before the next use */
void hf_view_close(struct hf_view *v);

/* The applied position with its signed header (empty at seq 0). Borrowed from the view. */
struct hf_applied {
    struct hf_position at;
    struct hf_slice header;
    struct hf_signature signature;
    uint64_t live_count; /* keys that are not tombstones */
    hf_seq delta_floor;  /* tombstones up to here may be gone */
};
void hf_view_applied(const struct hf_view *v, struct hf_applied *a);

struct hf_stored {
    struct hf_slice key; /* borrowed from the view, zero-copy */
    struct hf_slice value;
    hf_seq seq;
    uint32_t ordinal;
    bool tombstone;
};

/* HF_NOTFOUND also for tombstones, unless `tombstones`. HF_CORRUPT when the checksum fails. */
enum hf_err hf_view_get(struct hf_view *v, struct hf_slice key, bool tombstones,
                        struct hf_stored *out);
/* The first record by key after `after` (exclusive; len 0 = from the start), tombstones included:
 * the caller bounds how many of these it steps over at a time. HF_NOTFOUND at the end. */
enum hf_err hf_view_next_record(struct hf_view *v, struct hf_slice after, struct hf_stored *out);
/* The first record by last change after (seq, ordinal), tombstones included, or these only where
 * the index has no others. HF_NOTFOUND at the end. */
enum hf_err hf_view_next_change(struct hf_view *v, hf_seq seq, uint32_t ordinal,
                                struct hf_stored *out);
/* Chain hash of a seq; HF_NOTFOUND when it is not kept. */
enum hf_err hf_view_chain(struct hf_view *v, hf_seq seq, struct hf_hash *chain);
/* Reads everything: checksums, byseq against state, count, and recomputes the digest. The reason is
 * in e. HF_DIGEST: records, their index, count or sum are not right, which a repair mends
 * (repair.h); HF_CORRUPT: what it does not mend. */
enum hf_err hf_view_verify(struct hf_view *v, struct hf_error *e);

/* ---- estimates: what a range would cost to send, without a scan ---- */

/* An even sample of a range of records, in its order; a range of few records is there as a whole.
 * Bytes are weights: what packing makes of them is for who knows the neighbours of a record. */
#define HF_SAMPLE_POINTS 4096u
/* Key, value, and about what the rest of a record takes in a chunk. */
static inline uint64_t hf_record_weight(uint64_t key_bytes, uint64_t value_bytes)
{
    return key_bytes + value_bytes + 6;
}
struct hf_sample_point {
    hf_seq seq;          /* changes only */
    struct hf_slice key; /* borrowed from the view */
    double bytes;        /* that this point stands for, up to and including its place */
};
struct hf_sample {
    double bytes; /* of the whole range, about */
    uint32_t count;
    struct hf_sample_point point[HF_SAMPLE_POINTS];
};
/* The distinct keys changed after seq lo, tombstones included. HF_CORRUPT. */
enum hf_err hf_view_sample_changes(struct hf_view *v, hf_seq lo, struct hf_sample *out);
/* The live keys. */
enum hf_err hf_view_sample_keys(struct hf_view *v, struct hf_sample *out);
/* Keys that cut a sample of keys into parts of about part_bytes, or larger equal ones when `max` of
 * them are too few: each is the last key of its part. Returns how many. Borrowed from the view. */
uint32_t hf_sample_cut_keys(const struct hf_sample *s, uint32_t part_bytes, uint32_t max,
                            struct hf_slice *place);

/* ---- small named objects that belong to the state (genesis, content keys, edges, counters) ----
 */

enum hf_err hf_view_object(struct hf_view *v, struct hf_slice name, struct hf_slice *bytes);
/* Iterates objects whose name begins with prefix, after `after` (full name; len 0 = first). */
enum hf_err hf_view_next_object(struct hf_view *v, struct hf_slice prefix, struct hf_slice after,
                                struct hf_slice *name, struct hf_slice *bytes);
enum hf_err hf_state_object_put(struct hf_state *s, struct hf_slice name, struct hf_slice bytes);
enum hf_err hf_state_object_del(struct hf_state *s, struct hf_slice name);

/* ---- writing: one transaction at a time ---- */

/* Any write function below opens the transaction when none is open. After any result other than
 * HF_OK the transaction must be aborted, and says the same until it is; HF_NOTFOUND, HF_ARG,
 * HF_EXISTS, HF_TOO_BIG, HF_UNKNOWN_EPOCH and HF_NOT_YET are harmless: nothing was touched.
 * HF_MAP_FULL: abort, hf_state_grow, do it again. HF_FULL: the disk is full; abort, retry later.
 * HF_IO: abort, hf_state_reopen; until then nothing more is written. Views show what was committed
 * all the while. */
enum hf_err hf_state_begin(struct hf_state *s);
/* Durable on HF_OK. HF_ARG while changes are in that no advance covers. */
enum hf_err hf_state_commit(struct hf_state *s);
void hf_state_abort(struct hf_state *s); /* everything is as at the last commit, digest included */
/* Waits until no view is live, then doubles the map. No transaction may be open. */
enum hf_err hf_state_grow(struct hf_state *s);
/* After HF_IO: closes and opens the environment; views see the new one after their next renew. When
 * the file cannot be opened or read, nothing is closed and views go on (G9); try later. HF_CORRUPT,
 * HF_IO and what else an open can say. */
enum hf_err hf_state_reopen(struct hf_state *s, struct hf_error *e);
/* mdb_reader_check: frees the slots of dead readers. Any thread. */
void hf_state_reap_readers(struct hf_state *s);

/* Sets the position of an empty state (seq 0): epoch id, genesis hash as chain, zero digest. */
enum hf_err hf_state_genesis(struct hf_state *s, const struct hf_position *at);

/* Reads inside the open write transaction; borrowed until the next write. */
enum hf_err hf_state_get(struct hf_state *s, struct hf_slice key, bool tombstones,
                         struct hf_stored *out);
/* Core: writes a change unless it would change nothing (same live value; absent key deleted), which
 * *changed tells. Takes part in the digest. */
enum hf_err hf_state_upsert(struct hf_state *s, hf_seq seq, uint32_t ordinal,
                            const struct hf_change *c, bool *changed);
/* Writes a change as a frame orders it, whatever is there. */
enum hf_err hf_state_apply(struct hf_state *s, hf_seq seq, uint32_t ordinal,
                           const struct hf_change *c);
/* The digest of the state inside the open transaction. */
struct hf_hash hf_state_digest(struct hf_state *s);
/* Position inside the open transaction; and of the last commit. */
struct hf_position hf_state_position(const struct hf_state *s);
struct hf_position hf_state_committed(const struct hf_state *s);
/* Ends a batch: position, signed header and chain hash of `h`. h->seq must be position + 1. */
enum hf_err hf_state_advance(struct hf_state *s, const struct hf_header *h, struct hf_slice header,
                             const struct hf_signature *signature);
/* Replaces the signature that advance was given, before a commit: the newest batch may be signed
 * while the log is being written. */
void hf_state_sign(struct hf_state *s, const struct hf_signature *signature);
/* apply of every change, digest compared with the header's (HF_DIGEST), advance. */
enum hf_err hf_state_apply_batch(struct hf_state *s, const struct hf_frame *f,
                                 struct hf_body *body);

/* Removes tombstones with seq <= floor; raises delta_floor; *again when more is due. A call looks
 * at `max` records at most, live ones included. */
enum hf_err hf_state_collect(struct hf_state *s, hf_seq floor, uint32_t max, bool *again);
/* Forgets chain hashes below floor, at most max a call. */
enum hf_err hf_state_forget_chain(struct hf_state *s, hf_seq floor, uint32_t max);

/* ---- core: answered request ids ---- */

#define HF_REQUEST_WINDOW 100000u /* seqs that a request id is remembered for */

struct hf_answered {
    hf_seq seq;
    struct hf_hash content_hash;
};
/* Inside the open transaction. HF_NOTFOUND. */
enum hf_err hf_state_request_get(struct hf_state *s, struct hf_slice id, struct hf_answered *a);
/* Remembers it and forgets those older than the window. */
enum hf_err hf_state_request_put(struct hf_state *s, struct hf_slice id,
                                 const struct hf_answered *a);

/* ---- edge: inbox of verified frames that cannot be applied yet ---- */

enum hf_err hf_state_inbox_put(struct hf_state *s, hf_seq seq, struct hf_slice message);
enum hf_err hf_state_inbox_del(struct hf_state *s, hf_seq first, hf_seq last);
/* The first entry at or after `from`; HF_NOTFOUND at the end. The message is checked and borrowed.
 */
enum hf_err hf_view_inbox_next(struct hf_view *v, hf_seq from, hf_seq *seq,
                               struct hf_slice *message);

/* ---- edge: staging a DELTA or SNAPSHOT ---- */

/* A range is fetched in parts side by side, each with a cursor of its own. */
#define HF_STAGE_PARTS_MAX 32u

struct hf_stage_part {
    /* How far it got, and the last that belongs to it: in KEYS a key (empty = the end of the key
     * space), in DELTA (seq, UINT32_MAX, HF_OFFSET_END). Keys are owned by the state object and
     * valid until its next stage call. */
    struct hf_bound cursor, until;
    bool done;
};

struct hf_stage {
    bool active;
    enum hf_plan_kind kind; /* DELTA, SNAPSHOT or REPAIR */
    struct hf_id epoch_id;
    hf_seq base;          /* DELTA, REPAIR: applied when it began */
    hf_seq keys_head;     /* SNAPSHOT: S, the head at which KEYS began; REPAIR: base */
    bool keys_done;       /* SNAPSHOT, REPAIR: all of KEYS is staged */
    uint32_t ranges_done; /* REPAIR: ranges that are staged or in parts */
    uint32_t part_count;  /* of the range in progress, in order; 0 when none is */
    struct hf_stage_part part[HF_STAGE_PARTS_MAX];
    hf_seq covered;   /* DELTA ranges are complete up to this seq */
    hf_seq target;    /* hi of the DELTA range in progress */
    hf_seq asof;      /* the largest asof used: the switch is legal at N >= asof only */
    hf_seq tail;      /* LOG frames applied to the stage, up to this seq; >= covered */
    uint64_t bytes;   /* record bytes staged so far */
    uint64_t records; /* of chunks, since it began or this start */
};

/* All below run inside the write transaction, so staged data and cursors move together, and go back
 * together to the last commit when it is aborted. A cursor that has taken nothing of its part has
 * offset HF_OFFSET_END and names what lies before it: no key or the `until` of the part before
 * (KEYS), or (seq, UINT32_MAX) (DELTA); it is sent as the lower bound as it is. */

/* `base` is the position now, `head` that of the plan and the first target. The first range is cut
 * behind each of the `splits`, which rise and lie inside of it: keys for a SNAPSHOT, seqs for a
 * DELTA; those that do not, and those that are too many, are left out. HF_EXISTS when a stage is
 * active. It outlives a restart as long as its epoch is current and base <= applied. */
struct hf_stage_splits {
    uint32_t count;
    struct hf_bound at[HF_STAGE_PARTS_MAX - 1];
};
enum hf_err hf_state_stage_begin(struct hf_state *s, enum hf_plan_kind kind,
                                 const struct hf_position *base, hf_seq head,
                                 const struct hf_stage_splits *splits);
void hf_state_stage_get(const struct hf_state *s, struct hf_stage *out);
/* What records add to a state that knows none of their keys: half of the work of staging them, and
 * the half that needs no store. Fragments are left out, as are the records behind any damage. Pure;
 * any thread. */
struct hf_sum {
    struct hf_lthash lanes;
    uint64_t live_count;
};
void hf_records_sum(const struct hf_records *records, struct hf_sum *sum);
/* Stages the decrypted records of one chunk, whose sum is `sum`, and moves the cursor of `part` to
 * chunk->to; a record replaces an older one of the same key only (the higher (seq, ordinal) wins).
 * Fragments are joined; one whose seq changed is dropped, the tail covers it. A chunk that does not
 * begin at the cursor, or whose part is done, is HF_ARG; one with a record outside of its part or
 * read before the range's end was is HF_MALFORMED. When all parts are done the range is. */
enum hf_err hf_state_stage_chunk(struct hf_state *s, uint32_t part, const struct hf_chunk *c,
                                 const struct hf_records *records, const struct hf_sum *sum);
/* HF_MOVED from the core: gives up the fragment at the cursor and goes on behind it. */
enum hf_err hf_state_stage_skip(struct hf_state *s, uint32_t part);
/* DELTA or the second half of a SNAPSHOT: the next range is (covered, target], cut at round
 * numbers. HF_ARG while one is in progress. */
enum hf_err hf_state_stage_target(struct hf_state *s, hf_seq target);
/* The same in one part, for chunks that were made for no cut: those of a carry file. */
enum hf_err hf_state_stage_target_whole(struct hf_state *s, hf_seq target);
/* Applies LOG frame tail+1 to the stage. */
enum hf_err hf_state_stage_frame(struct hf_state *s, const struct hf_frame *f,
                                 struct hf_body *body);
/* Makes the staged state the visible one if its digest is that of `f`, whose seq is tail (or
 * covered; else, or while parts are missing, HF_ARG), and no lower than asof and what is applied
 * (else HF_NOT_YET). HF_DIGEST: abort and drop the stage. */
enum hf_err hf_state_stage_switch(struct hf_state *s, const struct hf_frame *f);
/* Gives up the stage, if there is one, and frees the tables that are not visible, also those that a
 * switch left behind, in steps; *again when more is due. */
enum hf_err hf_state_stage_drop(struct hf_state *s, bool *again);

#endif
