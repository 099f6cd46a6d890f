/*
 * core.h - the core of one stream: its driver, over the pure publisher engine and the real store.
 *
 * Path of a write: hf_core_write queues it; when the writer lane is free the publisher engine
 * orders a group; the lane puts the changes into state, seals, signs, appends to the changelog and
 * syncs once; then each write is answered and the frames are published (G3). The LMDB commit of the
 * state follows lazily; after a crash the changelog is replayed into it.
 *
 * The same object runs in holdfast-core and in the simulator: all that is outside comes through
 * struct hf_world. Threads: one owner thread calls everything here; jobs run where the world puts
 * them.
 */
#ifndef HF_CORE_H
#define HF_CORE_H

#include "hf/err.h"
#include "hf/messages.h"
#include "hf/publisher.h"
#include "hf/seal.h"
#include "hf/state.h"
#include "hf/types.h"
#include "hf/world.h"

struct hf_core;

struct hf_core_config {
    const char *dir;        /* DATA/<stream>; made when missing */
    const char *stream;     /* name */
    const char *url;        /* stream URL that join tokens name */
    const char *mark_path;  /* high-water mark kept outside dir (G13); NULL = DIR.mark, beside it */
    uint64_t log_bytes_max; /* retention of the changelog; 0 = no bound */
    hf_ms log_age_ms;       /* ... and how old a segment's last batch may get; 0 = no bound */
    hf_ms tombstone_ms;     /* a delete is remembered for so long, or until every enrolled edge
                               has it and it is 100,000 batches old, if that is sooner; 0 = as
                               delta_batches says */
    uint64_t segment_bytes; /* 0 = default */
    bool single_thread;     /* log and state start no threads of their own (simulator) */
    uint64_t map_bytes;     /* 0 = default */
    hf_ms beacon_ms;        /* 0 = 1,000 */
    hf_ms commit_ms;        /* state is committed at least this often; 0 = 1,000 */
    uint32_t commit_changes; /* ... or after so many changes; 0 = 50,000 */
    /* The writes of a group have been answered, its frames are not published yet: a good moment to
     * send the answers, since publishing takes longer. Gets the world's ctx. May be NULL. */
    void (*on_answered)(void *ctx);
    size_t waiting_bytes_max;  /* queued writes; 0 = 128 MiB; more is refused with HF_BUSY */
    uint64_t delta_batches;    /* deletes are remembered for so many batches at most, which is how
                                  far back DELTA reaches; 0 = no bound */
    bool dictionary;           /* small bodies are packed with one that is trained from them */
    size_t dictionary_samples; /* bytes that it is trained from; 0 = default, which is the most */
    hf_ms scrub_ms;            /* all records are read through once in so long; 0 = never */
};

/* Opens or creates the stream and replays the changelog. HF_MISMATCH for a directory of another
 * stream, core key or newer format; HF_CORRUPT, HF_LOCKED, HF_FULL, with a sentence in e->text.
 * `id` stays the caller's and must outlive the core. */
enum hf_err hf_core_open(const struct hf_core_config *c, const struct hf_world *world,
                         const struct hf_identity *id, struct hf_core **core, struct hf_error *e);
/* True when nothing waits, no job is under way and all is committed: the moment for hf_core_close.
 * A tick or two after the last write it becomes so by itself, unless commits fail. */
bool hf_core_idle(const struct hf_core *core);
/* Closes the store. No job may be under way and nothing may wait. What is not committed is
 * committed, which needs the thread that writes: the lane's transaction belongs to it. Where lanes
 * are threads, close only when idle; the log has everything in any case. */
void hf_core_close(struct hf_core *core);
/* The simulator's crash: drops everything without writing and answers nobody. No job may be
 * running; the world forgets those that it has not finished, whose memory is freed here. */
void hf_core_crash(struct hf_core *core);

/* ---- writes ---- */

struct hf_write_result {
    enum hf_err code; /* HF_OK; HF_CONFLICT (IFSEQ), HF_STALE (IFSEQ below the delta floor),
                         HF_EXISTS (id reused with other content), HF_FULL, HF_IO, HF_BUSY,
                         HF_TOO_BIG, HF_FORK (fenced) */
    hf_seq seq;       /* of the batch that holds it, or the head at which it changed nothing */
    bool repeated;    /* the first answer to this request id */
    uint32_t deleted; /* how many dels found a live key (for DEL's reply) */
    const char *text; /* why it was refused; borrowed, may be NULL */
    /* HF_CONFLICT: that of the write's changes whose key changed since, and when; else NULL, 0. */
    const struct hf_change *changed;
    hf_seq changed_at;
};

struct hf_write {
    /* Set by the caller; all slices point into memory that stays until done. */
    const struct hf_change *change;
    uint32_t change_count;
    struct hf_slice request_id; /* len 0 = none */
    struct hf_slice author;
    struct hf_slice reason;
    bool has_ifseq;
    hf_seq ifseq;
    size_t memory_bytes; /* kept until done, all in all: what counts of a write that waits */
    bool *found; /* one a change, or NULL: set for each del, true when it found a live key */
    void (*done)(struct hf_write *w, const struct hf_write_result *r); /* owner's thread, once */
    /* The core's own. */
    size_t raw_bytes; /* that it takes of a body, at most, but for HF_BODY_OVERHEAD */
    struct hf_write *next;
    struct hf_write_result result;
};

/* Checks sizes and queues. Answers through done, perhaps before it returns. The changes of one
 * write are atomic: one batch. */
void hf_core_write(struct hf_core *core, struct hf_write *w);
/* No more writes are coming at this moment: a group may begin. */
void hf_core_flush(struct hf_core *core);

/* Calls done(ctx) once all writes answered so far are visible to new views, or the commit that was
 * to make them so has failed (a full disk): hf_core_status says which. Used before a connection
 * that wrote reads. May call it before returning. */
void hf_core_when_visible(struct hf_core *core, void (*done)(void *ctx), void *ctx);
/* Views for local reads. */
struct hf_state *hf_core_state(struct hf_core *core);

/* Asks every edge on the stream to REPORT now, and at each step for some seconds (for WAIT). */
void hf_core_survey(struct hf_core *core);

/* ---- network and time ---- */

/* REPORTs are gathered, and answered at hf_core_requests_end, which follows the last request that
 * there is at this moment. Returns whether it was authentic: sealed with the key of an edge that is
 * enrolled and not revoked. It may be a repetition. */
bool hf_core_on_request(struct hf_core *core, uint64_t handle, struct hf_slice message,
                        const char *peer);
void hf_core_requests_end(struct hf_core *core);
/* Returns when it wants the next tick. */
hf_ms hf_core_on_tick(struct hf_core *core, hf_ms now);

/* ---- enrolment: each is durable before done is called ---- */

struct hf_admin_result {
    enum hf_err code;
    const char *text; /* the token of an invite, or why not; borrowed */
};
typedef void hf_admin_done(void *ctx, const struct hf_admin_result *r);

void hf_core_edge_invite(struct hf_core *core, const char *name, hf_admin_done *done, void *ctx);
void hf_core_edge_add(struct hf_core *core, const char *name, const struct hf_key *key,
                      hf_admin_done *done, void *ctx);
/* The edge of this name, and all open join tokens for it; these alone when there is no edge. */
void hf_core_edge_revoke(struct hf_core *core, const char *name, hf_admin_done *done, void *ctx);
/* The name that the next open join token is for, from place *at on (0 at first); NULL at the end.
 * Borrowed until an event is next. */
const char *hf_core_invited(const struct hf_core *core, uint32_t *at);

/* ---- inspection ---- */

struct hf_core_status {
    struct hf_id epoch_id;
    uint64_t epoch;
    hf_seq head;      /* acknowledged */
    hf_seq committed; /* in the state's last commit */
    struct hf_hash digest;
    hf_seq log_first;
    uint64_t log_bytes;
    uint64_t live_count; /* of committed */
    uint32_t edge_count;
    bool created;         /* by this start: the directory had no stream */
    const char *refusing; /* why writes are refused, NULL when they are not */
};
void hf_core_status(const struct hf_core *core, struct hf_core_status *out);
/* Row i of 0..edge_count-1, in name order. */
void hf_core_edge(const struct hf_core *core, uint32_t i, hf_ms now, struct hf_edge_row *row);
/* Where the changelog's last synced byte is: for the simulator, which tears what lies behind it. */
void hf_core_synced_at(const struct hf_core *core, char path[512], uint64_t *offset);
/* Durable edges at or above seq (for WAIT). */
uint32_t hf_core_edges_at(const struct hf_core *core, hf_seq seq);
/* One line of counters "name value\n" each, for INFO and metrics. Returns bytes written. */
size_t hf_core_counters(const struct hf_core *core, char *out, size_t cap);

#endif
