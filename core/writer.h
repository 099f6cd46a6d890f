/*
 * writer.h - the writer lane of a core: the one place that changes the state and appends to the
 * log.
 *
 * Invariant (G3, G4): a batch is in the open state transaction, signed, and in the changelog's sync
 * before any of its writes is answered; the state may be committed later, because the changelog
 * replays into it. After any failure the transaction is aborted and replayed, so memory, state and
 * log agree.
 *
 * All functions below run on the writer lane, or at open and close, where it cannot run; never two
 * at a time. But for _open they must not call the world: time and entropy come with the order. What
 * they learn is copied into the order; the owner's thread reads it when the job is done.
 *
 * Read next: core/open.c (opening and creating), core/group.c (batches), core/driver.c (who gives
 * orders).
 */
#ifndef CORE_WRITER_H
#define CORE_WRITER_H

#include "core/facts.h"
#include "core/keyring.h"
#include "core/registry.h"
#include "core/trainer.h"
#include "hf/changelog.h"
#include "hf/core.h"
#include "hf/state.h"

/* A group takes waiting writes up to these bounds, so that the latency of a group stays flat (about
 * 10 ms) and the memory for its frames bounded; what is left is the next group, at once. */
#define HF_GROUP_CHANGES 2000u
#define HF_GROUP_BYTES (1u << 20)

#define HF_SEED_BYTES 32u

/* Where the store stands; the lane's own, copied to the owner with every order. */
struct hf_core_head {
    struct hf_position at; /* durable */
    hf_seq committed;      /* by the state, durably too: the log below may go */
    hf_seq delta_floor;    /* of committed */
    hf_seq dictionary;     /* the newest; 0 = none */
    uint32_t gain_percent; /* that its trial found; 0 after a restart */
    uint64_t live_count;   /* of committed */
};

/* ---- growing memory ---- */

struct hf_bytes {
    uint8_t *data; /* owned */
    size_t len;
    size_t cap;
};

/* Makes room for n bytes more; HF_NOMEM. */
enum hf_err hf_bytes_reserve(struct hf_bytes *b, size_t n);
void hf_bytes_free(struct hf_bytes *b);

/* ---- the lane's own ---- */

struct hf_frame_place {
    size_t at; /* in frames.data */
    size_t len;
    hf_seq seq;
};

struct hf_batch_builder; /* group.c */

struct hf_core_writer {
    const struct hf_core_config *cfg;
    const struct hf_identity *id;
    const char *mark_path;
    struct hf_state *state;
    struct hf_changelog *log;
    struct hf_view *view;
    struct hf_genesis genesis;
    struct hf_bytes genesis_signed;
    struct hf_keyring keys;
    struct hf_core_head head;
    bool broken;            /* the transaction must be aborted and replayed before the next order */
    bool lost;              /* an input/output error: reopen the environment too */
    struct hf_bytes facts;  /* u32 length and bytes each: recorded since the last commit */
    struct hf_bytes frames; /* messages of the last group, for PUBLISH; signed once it is synced */
    struct hf_frame_place *place; /* owned */
    uint32_t place_count;
    uint32_t place_cap;
    struct hf_batch_builder *builder;
    struct hf_dictionaries *dictionaries; /* owned; read by any thread */
    struct hf_trainer *trainer;           /* owned; NULL when dictionaries are off */
    size_t packed_len;                    /* of the last body */
    uint8_t *raw;                         /* owned; HF_BATCH_RAW_MAX */
    uint8_t *scratch; /* owned; scratch_cap: compression, and content hashes before it */
    size_t scratch_cap;
    uint8_t *sealed;       /* owned; HF_BODY_SEALED_MAX */
    uint8_t *frame;        /* owned; HF_FRAME_MESSAGE_MAX: a frame being replayed */
    void *cctx;            /* owned ZSTD_CCtx */
    void *dctx;            /* owned ZSTD_DCtx */
    struct hf_error error; /* of the last order that failed */
};

/* This core's own key in its list of signers. */
#define HF_SIGNER_ID 1u

/* ---- opening (open.c) ---- */

struct hf_opened {
    char fenced[256]; /* why writes must be refused; empty when they need not be */
    uint64_t boot;    /* number of this start, from 1: durable before anything is sent */
    bool created;     /* there was no stream in the directory */
    char note[600];   /* something for the log; empty when there is nothing */
    /* Not HF_OK: the log was replayed, but there was no room to commit the state. What is committed
     * can be read, and writes must wait for a commit. The sentence is in the writer's error. */
    enum hf_err uncommitted;
};

/* Opens or creates; fills the registry from the facts. On failure everything is closed again. */
enum hf_err hf_core_writer_open(struct hf_core_writer *w, const struct hf_world *world,
                                struct hf_registry *registry, struct hf_opened *out,
                                struct hf_error *e);
void hf_core_writer_close(struct hf_core_writer *w); /* drops what is not committed */

/* Signs a frame of the group while the log writes it; ctx is the writer. */
hf_changelog_sign hf_core_writer_sign;
/* Signs a frame message in place, and the state with it if it is at that batch. Returns where the
 * signature begins. */
uint32_t hf_core_writer_frame_sign(struct hf_core_writer *w, hf_seq seq, uint8_t *message,
                                   size_t len);

/* ---- orders (writer.c, group.c) ---- */

struct hf_group {
    struct hf_write *first; /* in order of arrival, linked by next */
    uint32_t write_count;
    uint8_t seed[HF_SEED_BYTES]; /* fresh randomness: nonces are derived from it */
    uint64_t wall_ms;
    bool refused;          /* its writes have their results: nothing is to be made of them */
    uint32_t change_count; /* out: changes made */
};

/* For its raw_bytes. */
size_t hf_write_raw_bytes(const struct hf_write *w);
/* Puts the writes into batches and makes these durable. Each write's result is filled; with any
 * code but HF_OK none of them counts and RECOVER must follow. */
enum hf_err hf_core_writer_group(struct hf_core_writer *w, struct hf_group *g);

struct hf_commit {
    hf_seq collect;              /* tombstones and chain hashes up to here may go; 0 = none */
    bool mark;                   /* write the high-water mark */
    struct hf_slice object_name; /* an object to put with it; none when object is empty */
    struct hf_slice object;      /* borrowed until the job is done */
};

/* Commits the state, then writes the mark. */
enum hf_err hf_core_writer_commit(struct hf_core_writer *w, const struct hf_commit *c);
/* Aborts and replays what the log holds above the committed state, with every check made again. */
enum hf_err hf_core_writer_recover(struct hf_core_writer *w);
/* Makes facts durable. HF_OK: they are, whatever became of the state. */
enum hf_err hf_core_writer_record(struct hf_core_writer *w, const struct hf_fact *facts,
                                  uint32_t count);

/* Which content keys are needed: by the frames that somebody may still have to open. Any thread. */
struct hf_keyring_needs hf_core_writer_needs(const struct hf_core_writer *w);
/* Keeps the dictionary of a frame that was opened into raw, in the open transaction too. */
enum hf_err hf_core_writer_dictionary(struct hf_core_writer *w, hf_seq seq, struct hf_slice raw,
                                      struct hf_slice frame);
/* Remembers an encoded fact until the next commit, for replay; used by open.c. */
enum hf_err hf_core_writer_remember(struct hf_core_writer *w, struct hf_slice fact);
/* Renews the committed numbers of head from the state. */
enum hf_err hf_core_writer_look(struct hf_core_writer *w);

enum hf_err hf_batch_builder_new(struct hf_batch_builder **b);
void hf_batch_builder_free(struct hf_batch_builder *b);

#endif
